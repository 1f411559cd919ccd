//! The commands, shared by the small binary `wattle-sim` and by `wattle sim`. One file per family of commands.

mod single;
mod swarm;

use std::io::{self, Write};
use std::ops::Range;
use std::path::PathBuf;

use wattle_core::planted::Bug;

use crate::outcome::Outcome;
use crate::plan::Plan;
use crate::text;
use crate::trace::Recording;
use crate::world;

/// A planted bug was looked for and not found.
pub const NOT_FOUND: u8 = 12;
/// The arguments or a plan file make no sense.
pub const USAGE: u8 = 2;

const EXIT_CODES: &str = "\
Exit codes:
   0  all pass; with a planted bug in a swarm: it was found
   2  the arguments or a plan file make no sense
  10  a promise was broken
  11  no progress after all faults ended
  12  a planted bug was looked for and not found";

/// What to simulate.
#[derive(Clone, Debug, clap::Subcommand)]
#[command(after_help = EXIT_CODES)]
pub enum Command {
    /// Run one seed and print one line about it
    #[command(after_help = EXIT_CODES)]
    Run {
        /// The seed of the plan
        seed: u64,
        /// Plant a deliberate bug in every node (needs a build with the feature `planted`)
        #[arg(long, value_name = "NAME")]
        planted: Option<String>,
        /// Print the plan and every event
        #[arg(short, long)]
        verbose: bool,
    },
    /// Print the plan of a seed, to be read, edited and replayed
    Plan {
        /// The seed of the plan
        seed: u64,
        /// Write it to a file instead
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Run a plan from a file
    #[command(after_help = EXIT_CODES)]
    Replay {
        /// The file, as `plan` writes it
        file: PathBuf,
        /// Plant a deliberate bug in every node, whatever the plan says (needs a build with the feature `planted`)
        #[arg(long, value_name = "NAME")]
        planted: Option<String>,
        /// Print the plan and every event
        #[arg(short, long)]
        verbose: bool,
    },
    /// Run many seeds, up to the first that fails
    #[command(after_help = EXIT_CODES)]
    Swarm {
        /// The seeds, the last one not included
        #[arg(long, value_name = "FROM..TO", value_parser = swarm::parse_range)]
        seeds: Range<u64>,
        /// How many seeds at a time; as many as there are cores unless given
        #[arg(long, value_name = "N")]
        jobs: Option<usize>,
        /// Plant a deliberate bug in every node, and see within how many seeds it is found; a failure counts if the same
        /// seed passes without the bug
        #[arg(long, value_name = "NAME")]
        planted: Option<String>,
        /// Go on after the first failure and count what is broken how often
        #[arg(long)]
        all: bool,
    },
}

/// How a single plan is run: tests put other nodes in the place of the real one.
type Runner = fn(&Plan, Recording) -> Outcome;

/// Why a command was not carried out.
enum Trouble {
    /// The arguments or a file make no sense; in words.
    Usage(String),
    /// The output cannot be written.
    Output(io::Error),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

/// Carries out a command. `program` is how it was called, for the command that repeats a failure. Gives the exit code.
///
/// # Errors
/// If `out` cannot be written.
pub fn run(command: &Command, program: &str, out: &mut dyn Write) -> io::Result<u8> {
    carry_out(command, program, world::run, out)
}

fn carry_out(command: &Command, program: &str, runner: Runner, out: &mut dyn Write) -> io::Result<u8> {
    let done = match command {
        Command::Run { seed, planted, verbose } => {
            single::run(*seed, planted.as_deref(), *verbose, program, runner, out)
        }
        Command::Plan { seed, output } => single::plan(*seed, output.as_deref(), out),
        Command::Replay { file, planted, verbose } => {
            single::replay(file, planted.as_deref(), *verbose, program, runner, out)
        }
        Command::Swarm { seeds, jobs, planted, all } => {
            swarm::run(seeds, *jobs, planted.as_deref(), *all, program, out)
        }
    };
    match done {
        Ok(code) => Ok(code),
        Err(Trouble::Usage(what)) => {
            writeln!(out, "{what}")?;
            Ok(USAGE)
        }
        Err(Trouble::Output(error)) => Err(error),
    }
}

/// The bug of a name on the command line, if this build can plant any.
fn find_bug(name: Option<&str>) -> Result<Option<Bug>, Trouble> {
    let bug = name.map(text::find_bug).transpose().map_err(Trouble::Usage)?;
    can_plant(bug)
}

fn can_plant(bug: Option<Bug>) -> Result<Option<Bug>, Trouble> {
    if bug.is_none() || cfg!(feature = "planted") {
        return Ok(bug);
    }
    Err(Trouble::Usage("this build carries no planted bugs: build with `--features planted`".into()))
}

/// The command that repeats a failure: `what` was run, with a bug planted by the command line or without.
fn reproduce(what: &str, planted: Option<&str>, program: &str) -> String {
    let planted = planted.map(|name| format!(" --planted {name}")).unwrap_or_default();
    format!("reproduce: {program} {what}{planted}")
}

#[cfg(test)]
mod tests;
