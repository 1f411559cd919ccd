//! Many seeds: `swarm`.

use std::io::Write;
use std::ops::Range;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use wattle_core::coverage::Sighting;

use super::{DARK, NOT_FOUND, STOPPED, Trouble, UNSTEADY, find_bug, listen, reproduce};
use crate::coverage;
use crate::seed::Profile;
use crate::swarm::{self, Request, Summary};

pub(super) fn parse_budget(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no time: write it as 90s, 10m or 8h");
    let at = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let number: u64 = text[..at].parse().map_err(|_| wrong())?;
    let unit = match &text[at..] {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err(wrong()),
    };
    Ok(Duration::from_secs(number.saturating_mul(unit)))
}

pub(super) fn parse_range(text: &str) -> Result<Range<u64>, String> {
    let (from, to) = text.split_once("..").ok_or("write it as FROM..TO, for example 0..2000")?;
    let number = |text: &str| text.parse::<u64>().map_err(|_| format!("{text:?} is no number"));
    let (from, to) = (number(from)?, number(to)?);
    if from >= to { Err(format!("there is no seed in {from}..{to}")) } else { Ok(from..to) }
}

/// How many seeds are run, and how.
#[derive(Clone, Debug, clap::Args)]
pub struct Swarm {
    /// The seeds, the last one not included
    #[arg(long, value_name = "FROM..TO", value_parser = parse_range)]
    seeds: Range<u64>,
    /// What the runs are about: general (everything), raft (elections, changes of members, short logs, faulty disks), recovery (a quorum is lost) or
    /// streams (several targets, ends that fall, lose their disks or are lost for good)
    #[arg(long, value_name = "NAME", default_value = "general")]
    profile: Profile,
    /// How many seeds at a time; as many as there are cores unless given
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// Begin no further seed after this time, such as 90s or 10m
    #[arg(long, value_name = "TIME", value_parser = parse_budget)]
    budget: Option<Duration>,
    /// Plant a deliberate bug in every node, and see within how many seeds it is found; a failure counts if the same
    /// seed passes without the bug
    #[arg(long, value_name = "NAME")]
    planted: Option<String>,
    /// Go on after the first failure and count what is broken how often
    #[arg(long)]
    all: bool,
    /// Run every seed twice and see that both runs are the same
    #[arg(long)]
    twice: bool,
    /// Tell which coverage marks were hit, and fail if one stayed dark that is not rare
    #[arg(long)]
    coverage: bool,
}

pub(super) fn run(asked: &Swarm, program: &str, out: &mut dyn Write) -> Result<u8, Trouble> {
    let seeds = asked.seeds.clone();
    let bug = find_bug(asked.planted.as_deref())?;
    let profile = asked.profile;
    let mut request = Request { profile, bug, all: asked.all, twice: asked.twice, ..Request::of(seeds) };
    request.jobs = asked.jobs.unwrap_or(request.jobs);
    let begun = Instant::now();
    request.until = asked.budget.map(|budget| begun + budget);
    request.stop = listen()?;
    let bar = bar(asked.seeds.end - asked.seeds.start);
    let summary = swarm::run(&request, &|done| bar.set_position(done));
    bar.finish_and_clear();
    count(&summary, request.jobs, begun.elapsed(), out)?;
    #[cfg(feature = "planted")]
    if let Some(bug) = request.bug {
        let (reached, triggered) = wattle_core::planted::counts::of(bug);
        writeln!(out, "its place was reached {reached} times and made a difference {triggered} times")?;
    }
    let dark = if asked.coverage { coverage(coverage::all(), out)? } else { 0 };
    match judge(&summary, (profile, &asked.seeds), asked.planted.as_deref(), program, out)? {
        0 if dark > 0 => Ok(DARK),
        code => Ok(code),
    }
}

/// A progress bar for whoever looks at a terminal.
pub(super) fn bar(steps: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(steps), ProgressDrawTarget::stderr_with_hz(4));
    let style = ProgressStyle::with_template("{msg}{wide_bar} {pos}/{len} · {per_sec} · {eta} left");
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// Tells which marks were hit. Gives the number of dark ones that should not be.
pub(super) fn coverage(marks: impl Iterator<Item = Sighting>, out: &mut dyn Write) -> Result<usize, Trouble> {
    let (mut hit, mut all, mut dark) = (0, 0, 0);
    for mark in marks {
        all += 1;
        hit += usize::from(mark.hit);
        if !mark.hit {
            let word = if mark.rarity.is_sometimes() { "DARK" } else { "dark, and rare" };
            dark += usize::from(mark.rarity.is_sometimes());
            writeln!(out, "{word}: {}: {}", mark.name, mark.what)?;
        }
    }
    writeln!(out, "{hit} of {all} coverage marks were hit")?;
    Ok(dark)
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
    (profile, seeds): (Profile, &Range<u64>),
    planted: Option<&str>,
    program: &str,
    out: &mut dyn Write,
) -> Result<u8, Trouble> {
    if let Some(seed) = summary.unsteady.iter().min() {
        writeln!(
            out,
            "NOT DETERMINISTIC: {} seeds gave another run the second time, seed {seed} first",
            summary.unsteady.len()
        )?;
        let seed = profile.seed(*seed);
        writeln!(out, "{}", reproduce(&format!("diff {seed} {seed}"), planted, program))?;
        return Ok(UNSTEADY);
    }
    if summary.stopped {
        let Range { start, end } = *seeds;
        let upto = start + summary.seeds;
        writeln!(out, "stopped by a signal: seeds {start}..{upto} of {start}..{end} are done")?;
    }
    match (&summary.failure, planted) {
        (None, None) if summary.stopped => {
            writeln!(out, "all of these pass")?;
            Ok(STOPPED)
        }
        (None, Some(name)) if summary.stopped => {
            writeln!(out, "{name} was not found among these")?;
            Ok(STOPPED)
        }
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
            writeln!(out, "{}", reproduce(&format!("run {}", profile.seed(failure.seed)), planted, program))?;
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
    use wattle_core::coverage::Rarity;

    use super::*;

    #[test]
    fn ranges_are_read_and_nonsense_is_refused_with_a_reason() {
        assert_eq!(parse_range("0..2000"), Ok(0..2000));
        for wrong in ["7", "5..5", "9..3", "a..b", ".."] {
            assert!(parse_range(wrong).is_err(), "{wrong}");
        }
        assert_eq!(parse_budget("10m"), Ok(Duration::from_secs(600)));
        for wrong in ["10", "m", "5d", "-3s", ""] {
            assert!(parse_budget(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_dark_mark_is_named_and_counts_unless_it_is_rare() {
        let mark = |rarity, hit| Sighting { name: "Mark", what: "a place", rarity, hit };
        let marks = [(Rarity::Sometimes, true), (Rarity::Sometimes, false), (Rarity::Rare, false)];
        let mut text = Vec::new();
        let dark = coverage(marks.into_iter().map(|(rarity, hit)| mark(rarity, hit)), &mut text);
        assert!(matches!(dark, Ok(1)));
        let text = String::from_utf8(text).unwrap();
        assert!(text.contains("DARK: Mark: a place") && text.contains("1 of 3"), "{text}");
    }
}
