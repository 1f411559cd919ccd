//! Many seeds: `swarm`.

use std::io::Write;
use std::ops::Range;
use std::time::{Duration, Instant};

use super::{NOT_FOUND, Trouble, find_bug, reproduce};
use crate::swarm::{self, Request, Summary};

pub(super) fn parse_range(text: &str) -> Result<Range<u64>, String> {
    let (from, to) = text.split_once("..").ok_or("write it as FROM..TO, for example 0..2000")?;
    let number = |text: &str| text.parse::<u64>().map_err(|_| format!("{text:?} is no number"));
    let (from, to) = (number(from)?, number(to)?);
    if from >= to { Err(format!("there is no seed in {from}..{to}")) } else { Ok(from..to) }
}

pub(super) fn run(
    seeds: &Range<u64>,
    jobs: Option<usize>,
    planted: Option<&str>,
    all: bool,
    program: &str,
    out: &mut dyn Write,
) -> Result<u8, Trouble> {
    let bug = find_bug(planted)?;
    let jobs = jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let request = Request { seeds: seeds.clone(), jobs, bug, all };
    let begun = Instant::now();
    let summary = swarm::run(&request, &|_| ());
    count(&summary, jobs, begun.elapsed(), out)?;
    judge(&summary, seeds, planted, program, out)
}

fn count(summary: &Summary, jobs: usize, wall: Duration, out: &mut dyn Write) -> Result<(), Trouble> {
    let wall = wall.as_secs_f64();
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
    Ok(())
}

/// What a swarm came to, and the exit code.
pub(super) fn judge(
    summary: &Summary,
    seeds: &Range<u64>,
    planted: Option<&str>,
    program: &str,
    out: &mut dyn Write,
) -> Result<u8, Trouble> {
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
            writeln!(out, "{}", reproduce(&format!("run {}", failure.seed), planted, program))?;
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
}
