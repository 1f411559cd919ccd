//! The commands, shared by the small binary `wattle-sim` and by `wattle sim`. One file per family of commands.

mod bench;
mod diff;
#[cfg(feature = "planted")]
mod score;
mod shrink;
mod single;
mod swarm;

use std::io::{self, Write};
use std::path::PathBuf;

use wattle_core::planted::Bug;

use crate::explain::Explain;
use crate::outcome::Outcome;
use crate::plan::Plan;
use crate::seed::Seed;
use crate::stop::Stop;
use crate::text;
use crate::trace::Recording;
use crate::world;

/// A planted bug was looked for and not found.
pub const NOT_FOUND: u8 = 12;
/// Two runs that should be the same differ.
pub const UNSTEADY: u8 = 13;
/// A coverage mark that is not rare stayed dark.
pub const DARK: u8 = 14;
/// A signal came while something was left to do, and what was done passes.
pub const STOPPED: u8 = 15;
/// The arguments or a plan file make no sense.
pub const USAGE: u8 = 2;

const EXIT_CODES: &str = "\
Exit codes:
   0  all pass; with a planted bug in a swarm: it was found; a plan was shrunk
   2  the arguments or a plan file make no sense; there is nothing to shrink, for the plan passes
  10  a promise was broken
  11  no progress after all faults ended
  12  a planted bug was looked for and not found
  13  two runs that should be the same differ
  14  a coverage mark that is not rare stayed dark
  15  stopped by SIGINT or SIGTERM with something left to do, and nothing found so far
 130  ended at once by a second such signal";

/// What to simulate.
#[derive(Clone, Debug, clap::Subcommand)]
#[command(after_help = EXIT_CODES)]
pub enum Command {
    /// Run one seed and print one line about it
    #[command(after_help = EXIT_CODES)]
    Run {
        /// The seed of the plan: a number, or a profile and a number, as in raft:7
        seed: Seed,
        /// Plant a deliberate bug in every node (needs a build with the feature `planted`)
        #[arg(long, value_name = "NAME")]
        planted: Option<String>,
        /// Print the plan and every event
        #[arg(short, long)]
        verbose: bool,
        /// Write every step and the hash after it to a file, for `diff`
        #[arg(long, value_name = "FILE")]
        steps: Option<PathBuf>,
        /// Where to show the run
        #[command(flatten)]
        explain: Explain,
    },
    /// Print the plan of a seed, to be read, edited and replayed
    Plan {
        /// The seed of the plan: a number, or a profile and a number, as in raft:7
        seed: Seed,
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
        /// Where to show the run
        #[command(flatten)]
        explain: Explain,
    },
    /// Make a failing plan smaller, as long as it breaks the same promise
    #[command(after_help = EXIT_CODES)]
    Shrink(shrink::Arguments),
    /// Run many seeds, up to the first that fails
    #[command(after_help = EXIT_CODES)]
    Swarm(swarm::Swarm),
    /// Name the first event at which two runs part
    #[command(after_help = EXIT_CODES)]
    Diff {
        /// A seed, a plan file (.toml), or a record that `run --steps` wrote, of this build or another
        one: String,
        /// The other
        other: String,
        /// Plant a deliberate bug in every node of the second run (needs a build with the feature `planted`)
        #[arg(long, value_name = "NAME")]
        planted: Option<String>,
    },
    /// Measure how fast simulated time and events pass, with every check on, on one thread
    #[command(after_help = EXIT_CODES)]
    Bench(bench::Bench),
    /// Plant every deliberate bug and see within how many seeds each is found
    #[cfg(feature = "planted")]
    #[command(after_help = EXIT_CODES)]
    Score(score::Score),
}

/// How a single plan is run: tests put other nodes in the place of the real one.
type Runner = fn(&Plan, Recording) -> Outcome;

/// How a run is shown beside the line about it.
#[derive(Clone, Copy)]
struct Shown<'a> {
    /// Print the plan and every event.
    verbose: bool,
    /// The files in which to explain it.
    explain: &'a Explain,
}

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
        Command::Run { seed, planted, steps: Some(file), .. } => {
            diff::record(*seed, planted.as_deref(), file)
        }
        Command::Run { seed, planted, verbose, explain, steps: None } => {
            let shown = Shown { verbose: *verbose, explain };
            single::run(*seed, planted.as_deref(), shown, program, runner, out)
        }
        Command::Plan { seed, output } => single::plan(*seed, output.as_deref(), out),
        Command::Replay { file, planted, verbose, explain } => {
            let shown = Shown { verbose: *verbose, explain };
            single::replay(file, planted.as_deref(), shown, program, runner, out)
        }
        Command::Shrink(arguments) => shrink::run(arguments, program, &shrink::runner(arguments), out),
        Command::Swarm(asked) => swarm::run(asked, program, out),
        Command::Bench(asked) => bench::run(asked, program, out),
        Command::Diff { one, other, planted } => diff::run(one, other, planted.as_deref(), out),
        #[cfg(feature = "planted")]
        Command::Score(asked) => score::run(asked, out),
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

/// From now on signals stop what goes on, so that it ends with what it came to.
fn listen() -> Result<Stop, Trouble> {
    Stop::on_signals().map_err(|error| Trouble::Usage(format!("cannot listen for signals: {error}")))
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
