//! `wattle sim`: the simulator, the same as the small binary of wattle-sim.

use std::io::{self, Write};
use std::process::ExitCode;

use wattle_sim::cli::{self, Command};

/// Carries out a command of the simulator. Its exit codes are its own: 10 a promise was broken, 11 no progress, 12 a planted bug was not
/// found.
#[must_use]
pub fn run(command: &Command) -> ExitCode {
    let mut out = io::BufWriter::new(io::stdout().lock());
    match cli::run(command, "wattle sim", &mut out).and_then(|code| out.flush().map(|()| code)) {
        Ok(code) => ExitCode::from(code),
        // Whoever reads only the first lines of the output closes it early.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell if this fails.
            let _ = writeln!(io::stderr().lock(), "error: cannot write what was found: {error}");
            ExitCode::FAILURE
        }
    }
}
