//! `wattle sim`: the simulator, the same as the small binary of wattle-sim.

use std::io::{self, Write};
use std::process::ExitCode;

use serde_json::json;
use wattle_sim::cli::{self, Command};

use crate::output::Output;

/// Carries out a command of the simulator. Its exit codes are its own: 10 a promise was broken, 11 no progress, 12 a planted bug was not
/// found. For programs, the lines that people would read come in one object with the exit code.
#[must_use]
pub fn run(command: &Command, output: Output) -> ExitCode {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let outcome = match output {
        Output::Text => cli::run(command, "wattle sim", &mut out),
        Output::Json => as_json(command, &mut out),
    };
    match outcome.and_then(|code| out.flush().map(|()| code)) {
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

fn as_json(command: &Command, out: &mut dyn Write) -> io::Result<u8> {
    let mut text = Vec::new();
    let code = cli::run(command, "wattle sim", &mut text)?;
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text.lines().collect();
    writeln!(out, "{}", json!({ "exit_code": code, "lines": lines }))?;
    Ok(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_get_the_exit_code_and_the_lines_in_one_object() {
        let mut out = Vec::new();
        let command = Command::Replay {
            file: "no such plan.toml".into(),
            planted: None,
            verbose: false,
            explain: wattle_sim::explain::Explain::default(),
        };
        assert_eq!(as_json(&command, &mut out).unwrap(), cli::USAGE);
        let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(value["exit_code"], cli::USAGE);
        assert!(value["lines"][0].as_str().unwrap().contains("no such plan"));
    }
}
