//! The simulator by itself: quick to build, for CI and for hunting.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser;
use wattle_sim::cli::{self, Command};

/// A simulated Wattle mesh: seeds, faults and checkers around the very core that runs in production
#[derive(Parser)]
#[command(name = "wattle-sim", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    match cli::run(&arguments.command, "wattle-sim", &mut out).and_then(|code| out.flush().map(|()| code)) {
        Ok(code) => ExitCode::from(code),
        // Whoever reads only the first lines of the output closes it early.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("wattle-sim: {error}");
            ExitCode::FAILURE
        }
    }
}
