//! The commands, shared by the small binary `wattle-sim` and by `wattle sim`.

use std::io::{self, Write};
use std::ops::Range;
use std::time::Instant;

use wattle_core::planted::Bug;

use crate::outcome::Outcome;
use crate::plan::Plan;
use crate::swarm::{self, Request};
use crate::trace::Recording;
use crate::world;

/// A planted bug was looked for and not found.
pub const NOT_FOUND: u8 = 12;
/// The arguments make no sense.
pub const USAGE: u8 = 2;

/// How many of the last lines of a failing run are shown.
const LINES: usize = 60;

/// What to simulate.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Command {
    /// Run one seed and print one line about it
    #[command(
        after_help = "Exit codes: 0 pass, 10 a promise was broken, 11 no progress after all faults ended."
    )]
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
    /// Run many seeds, up to the first that fails
    #[command(
        after_help = "Exit codes: 0 all pass, 10 a promise was broken, 11 no progress after all faults ended.\n\
                      With --planted: 0 the bug was found, 12 it was not."
    )]
    Swarm {
        /// The seeds, the last one not included
        #[arg(long, value_name = "FROM..TO", value_parser = parse_range)]
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

fn parse_range(text: &str) -> Result<Range<u64>, String> {
    let (from, to) = text.split_once("..").ok_or("write it as FROM..TO, for example 0..2000")?;
    let number = |text: &str| text.parse::<u64>().map_err(|_| format!("{text:?} is no number"));
    let (from, to) = (number(from)?, number(to)?);
    if from >= to { Err(format!("there is no seed in {from}..{to}")) } else { Ok(from..to) }
}

/// Carries out a command. `program` is how it was called, for the command that repeats a failure. Gives the exit code.
///
/// # Errors
/// If `out` cannot be written.
pub fn run(command: &Command, program: &str, out: &mut dyn Write) -> io::Result<u8> {
    let (Command::Run { planted, .. } | Command::Swarm { planted, .. }) = command;
    let bug = match planted.as_deref().map(find_bug).transpose() {
        Ok(bug) => bug,
        Err(what) => {
            writeln!(out, "{what}")?;
            return Ok(USAGE);
        }
    };
    match command {
        Command::Run { seed, planted, verbose } => {
            run_one(*seed, bug, planted.as_deref(), *verbose, program, out)
        }
        Command::Swarm { seeds, jobs, planted, all } => {
            let jobs = jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
            let request = Request { seeds: seeds.clone(), jobs, bug, all: *all };
            run_swarm(&request, planted.as_deref(), program, out)
        }
    }
}

fn find_bug(name: &str) -> Result<Bug, String> {
    let known = || Bug::ALL.iter().map(|entry| entry.name).collect::<Vec<_>>().join(", ");
    let bug = Bug::named(name).ok_or_else(|| format!("no bug is called {name:?}; there are: {}", known()))?;
    if cfg!(feature = "planted") {
        return Ok(bug);
    }
    Err("this build carries no planted bugs: build with `--features planted`".into())
}

fn line(outcome: &Outcome, wall: std::time::Duration) -> String {
    format!(
        "seed {} · {} nodes · {} events · {} faults · {} deliveries · {} simulated · {:.3}s wall · trace {:032x} · {}",
        outcome.seed,
        outcome.nodes,
        outcome.events,
        outcome.faults,
        outcome.deliveries,
        outcome.simulated,
        wall.as_secs_f64(),
        outcome.trace,
        outcome.verdict
    )
}

fn reproduce(seed: u64, planted: Option<&str>, program: &str) -> String {
    let planted = planted.map(|name| format!(" --planted {name}")).unwrap_or_default();
    format!("reproduce: {program} run {seed}{planted}")
}

fn run_one(
    seed: u64,
    bug: Option<Bug>,
    planted: Option<&str>,
    verbose: bool,
    program: &str,
    out: &mut dyn Write,
) -> io::Result<u8> {
    let plan = Plan::generate(seed).with_bug(bug);
    let recording = if verbose { Recording::All } else { Recording::Off };
    if verbose {
        writeln!(out, "{plan:#?}")?;
    }
    let begun = Instant::now();
    let outcome = world::run(&plan, recording);
    let wall = begun.elapsed();
    for text in &outcome.lines {
        writeln!(out, "{text}")?;
    }
    writeln!(out, "{}", line(&outcome, wall))?;
    if outcome.verdict.is_pass() {
        return Ok(0);
    }
    if !verbose {
        // The lines cost more than the run: they are made in a second run, which must be the same.
        let again = world::run(&plan, Recording::Last(LINES));
        for text in &again.lines {
            writeln!(out, "  {text}")?;
        }
        if again.trace != outcome.trace {
            writeln!(out, "NOT DETERMINISTIC: the second run has trace {:032x}", again.trace)?;
        }
    }
    writeln!(out, "{}", reproduce(seed, planted, program))?;
    Ok(outcome.verdict.exit_code())
}

fn run_swarm(request: &Request, planted: Option<&str>, program: &str, out: &mut dyn Write) -> io::Result<u8> {
    let begun = Instant::now();
    let summary = swarm::run(request, &|_| ());
    let (seeds, jobs) = (&request.seeds, request.jobs);
    let wall = begun.elapsed().as_secs_f64();
    let simulated = summary.simulated as f64 / 1e9;
    writeln!(
        out,
        "{} seeds · {} events · {} faults · {} deliveries · {simulated:.0}s simulated · {wall:.1}s wall on {jobs} threads · {:.0} events/s · {:.0} times real time · traces {:032x}",
        summary.seeds,
        summary.events,
        summary.faults,
        summary.deliveries,
        summary.events as f64 / wall,
        simulated / wall,
        summary.trace,
    )?;
    if let Some((slowest, seed)) = summary.slowest() {
        writeln!(
            out,
            "a seed took {:.1} ms in the middle and {:.1} ms at most (seed {seed})",
            summary.median().as_secs_f64() * 1e3,
            slowest.as_secs_f64() * 1e3
        )?;
    }
    for (checker, (count, first)) in &summary.failures {
        writeln!(out, "{checker}: {count} seeds, the first is {first}")?;
    }
    if summary.not_owed > 0 {
        writeln!(
            out,
            "in {} of them something did not go on after a rolled-back disk, which is not owed",
            summary.not_owed
        )?;
    }
    if summary.spoiled > 0 {
        writeln!(out, "{} seeds fail without the bug, too, and do not count", summary.spoiled)?;
    }
    #[cfg(feature = "planted")]
    if let Some(bug) = request.bug {
        let (reached, triggered) = wattle_core::planted::counts::of(bug);
        writeln!(out, "its place was reached {reached} times and made a difference {triggered} times")?;
    }
    match (&summary.failure, planted) {
        (None, None) => {
            writeln!(out, "all pass")?;
            Ok(0)
        }
        (None, Some(name)) => {
            writeln!(out, "{name} was NOT FOUND within {} seeds", seeds.end - seeds.start)?;
            Ok(NOT_FOUND)
        }
        (Some(failure), _) => {
            writeln!(out, "seed {}: {}", failure.seed, failure.verdict)?;
            writeln!(out, "{}", reproduce(failure.seed, planted, program))?;
            if let Some(name) = planted {
                writeln!(out, "{name} was found within {} seeds", failure.seed - seeds.start + 1)?;
                return Ok(0);
            }
            Ok(failure.verdict.exit_code())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_and_nonsense_is_refused_with_a_reason() {
        assert_eq!(parse_range("0..2000"), Ok(0..2000));
        for wrong in ["7", "5..5", "9..3", "a..b", ".."] {
            assert!(parse_range(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_unknown_bug_is_answered_with_the_known_ones() {
        let what = find_bug("vote-not-persistent").expect_err("there is no such bug");
        assert!(what.contains("vote-not-persisted"), "{what}");
        assert_eq!(find_bug("route-loop").is_ok(), cfg!(feature = "planted"));
    }

    #[test]
    fn the_command_that_repeats_a_failure_names_the_bug() {
        assert_eq!(reproduce(7, None, "wattle sim"), "reproduce: wattle sim run 7");
        assert_eq!(
            reproduce(7, Some("route-loop"), "wattle-sim"),
            "reproduce: wattle-sim run 7 --planted route-loop"
        );
    }
}
