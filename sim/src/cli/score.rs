//! How strong the simulator is: `score`.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};

use wattle_core::planted::{Bug, Description, Family};

use super::swarm::{bar, parse_range};
use super::{NOT_FOUND, STOPPED, Trouble, find_bug, listen};
use crate::ablate::{self, QUICK, State, needed};
use crate::score::{self, summary};
use crate::seed::Profile;
use crate::stop::Stop;
use crate::swarm::Request;

/// Which bugs are looked for, and where.
#[derive(Clone, Debug, clap::Args)]
pub struct Score {
    /// Only the bugs of a family: raft, mesh, stream (or streams), durability, journal, route, link, node
    #[arg(long, value_name = "NAME", value_parser = parse_family)]
    family: Option<Family>,
    /// Only this bug; may be given several times
    #[arg(long = "bug", value_name = "NAME")]
    bugs: Vec<String>,
    /// The seeds, the last one not included
    #[arg(long, value_name = "FROM..TO", value_parser = parse_range, default_value = "0..10000")]
    seeds: Range<u64>,
    /// What the runs are about: general, raft, recovery or streams. Unless given, raft for the family of that name, but for its bugs that only recoveries
    /// show, and streams for that of streams
    #[arg(long, value_name = "NAME")]
    profile: Option<Profile>,
    /// How many seeds at a time; as many as there are cores unless given
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// Keep what is known in a file after each bug, and go on from there
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Then look again for every bug that was found quickly, with one kind of fault or one checker switched off at a time
    #[arg(long, requires = "state")]
    ablate: bool,
    /// Write the tables into a document, between its lines `<!-- score begins -->` and `<!-- score ends -->`, and the same
    /// with `ablation`; with the profiles raft and streams, between those with `raft score` and `streams score`
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
}

fn parse_family(name: &str) -> Result<Family, String> {
    let known = || Family::ALL.map(|(name, _)| name).join(", ");
    let found = Family::ALL.into_iter().find(|(other, _)| *other == name.strip_suffix('s').unwrap_or(name));
    found.map(|(_, family)| family).ok_or_else(|| format!("there are: {}", known()))
}

pub(super) fn run(asked: &Score, out: &mut dyn Write) -> Result<u8, Trouble> {
    let jobs = asked.jobs.unwrap_or(Request::of(0..1).jobs);
    let bugs = chosen(asked)?;
    let profile = asked.profile.unwrap_or(match asked.family {
        Some(Family::Raft) => Profile::Raft,
        Some(Family::Stream) => Profile::Streams,
        _ => Profile::General,
    });
    if asked.ablate && profile != Profile::General {
        return Err(Trouble::Usage("--ablate goes with the general profile".into()));
    }
    let mut state = asked.state.as_deref().map_or(Ok(State::of(profile)), |file| read(file, profile))?;
    let stop = listen()?;
    let mut whole = score_all(asked, &bugs, &mut state, jobs, &stop)?;
    let scores: Vec<score::Score> = bugs.iter().filter_map(|bug| state.score(bug.name).cloned()).collect();
    let table = score::table(&scores);
    write!(out, "{table}")?;
    if asked.ablate && whole {
        out.flush()?;
        whole = ablate_all(asked, &bugs, &mut state, jobs, &stop)?;
        write!(out, "\n{}", ablate::table(&state))?;
    }
    if let Some(file) = asked.write.as_ref().filter(|_| whole) {
        write_tables(file, &table, &state)?;
    }
    let summary = summary(&scores);
    if asked.bugs.is_empty() && asked.family.is_none_or(|family| family == Family::Raft) {
        let unasked = score::UNASKED.len();
        writeln!(
            out,
            "{unasked} bugs of reads are left to the tests of the core: no node reads through the engine yet"
        )?;
    }
    let show = |seeds: Option<u64>| seeds.map_or("never".into(), |seeds: u64| seeds.to_string());
    writeln!(
        out,
        "{} of {} bugs detected · seeds in the middle {} · for 95 % {}",
        summary.detected,
        summary.bugs,
        show(summary.median),
        show(summary.most)
    )?;
    let seconds =
        |millis: Option<u64>| millis.map_or("never".into(), |m| format!("{}.{:03}", m / 1000, m % 1000));
    let (median, most) = score::seconds(&scores);
    writeln!(out, "seconds of one core in the middle {} · at most {}", seconds(median), seconds(most))?;
    if !whole {
        let (done, all) = (scores.len(), bugs.len());
        writeln!(
            out,
            "stopped by a signal: {done} of {all} bugs were looked for, and no document was written"
        )?;
        if let Some(file) = &asked.state {
            writeln!(out, "the same command goes on from {}", file.display())?;
        }
        return Ok(STOPPED);
    }
    Ok(if summary.detected == summary.bugs { 0 } else { NOT_FOUND })
}

/// Looks for every bug that is not known yet. Whether it came to the end.
fn score_all(
    asked: &Score,
    bugs: &[&Description],
    state: &mut State,
    jobs: usize,
    stop: &Stop,
) -> Result<bool, Trouble> {
    let asked_for = asked.seeds.end.saturating_sub(asked.seeds.start);
    until_stopped(
        bugs.to_vec(),
        |bug| bug.name,
        |bug| {
            // Who escaped in fewer seeds than are asked for now is looked for again.
            if state.score(bug.name).is_some_and(|known| known.detected.is_some() || known.tried >= asked_for)
            {
                return Ok(true);
            }
            let profile = score::home(bug.bug, state.profile);
            let request = Request { profile, jobs, ..Request::of(asked.seeds.clone()) };
            let Some(scored) = score::score(bug, Request { stop: stop.clone(), ..request }) else {
                return Ok(false);
            };
            state.scores.retain(|known| known.bug != bug.name);
            state.scores.push(scored);
            keep(asked, state)?;
            Ok(true)
        },
    )
}

/// Does something for each, with a bar that names it, until that says that it did not come to its end. Whether all did.
fn until_stopped<T>(
    all: Vec<T>,
    name: impl Fn(&T) -> &'static str,
    mut carry_out: impl FnMut(T) -> Result<bool, Trouble>,
) -> Result<bool, Trouble> {
    let bar = bar(all.len() as u64);
    let mut whole = true;
    for one in all {
        bar.set_message(format!("{} ", name(&one)));
        whole = carry_out(one)?;
        if !whole {
            break;
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(whole)
}

fn chosen(asked: &Score) -> Result<Vec<&'static Description>, Trouble> {
    let mut named = BTreeSet::new();
    for name in &asked.bugs {
        if let Some(bug) = find_bug(Some(name))? {
            named.insert(bug.describe().name);
        }
    }
    let wanted = |bug: &&Description| {
        asked.family.is_none_or(|family| family == bug.family)
            && (named.is_empty() && !score::UNASKED.contains(&bug.bug) || named.contains(bug.name))
    };
    Ok(Bug::ALL.iter().filter(wanted).collect())
}

/// Looks again for what was found quickly, unless that was done before. Whether it came to the end.
fn ablate_all(
    asked: &Score,
    bugs: &[&Description],
    state: &mut State,
    jobs: usize,
    stop: &Stop,
) -> Result<bool, Trouble> {
    let mut left = Vec::new();
    for bug in bugs {
        let quick = state.detection(bug.name).filter(|found| found.seeds <= QUICK);
        let parts = quick.map(needed).unwrap_or_default();
        let done = |part: &_| state.pairs.iter().any(|pair| pair.bug == bug.name && pair.without == *part);
        left.extend(parts.into_iter().filter(|part| !done(part)).map(|part| (*bug, part)));
    }
    until_stopped(
        left,
        |(bug, _)| bug.name,
        |(bug, part)| {
            let Some(pair) = ablate::ablate(bug, &part, jobs, stop) else { return Ok(false) };
            state.pairs.push(pair);
            keep(asked, state)?;
            Ok(true)
        },
    )
}

fn read(file: &Path, profile: Profile) -> Result<State, Trouble> {
    if !file.exists() {
        return Ok(State::of(profile));
    }
    let wrong = |what: String| Trouble::Usage(format!("{}: {what}", file.display()));
    let text = fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
    let state: State = toml::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    if state.profile != profile {
        let known = state.profile.name();
        return Err(wrong(format!(
            "it is about the profile {known}, not {}: name another file",
            profile.name()
        )));
    }
    Ok(state)
}

fn keep(asked: &Score, state: &State) -> Result<(), Trouble> {
    let Some(file) = &asked.state else { return Ok(()) };
    let wrong = |what: String| Trouble::Usage(format!("cannot write {}: {what}", file.display()));
    let text = toml::to_string(state).map_err(|error| wrong(error.to_string()))?;
    let new = file.with_extension("new");
    // Renamed over the old: whoever stops this half-way finds the old or the new.
    fs::write(&new, text).and_then(|()| fs::rename(&new, file)).map_err(|error| wrong(error.to_string()))
}

fn write_tables(file: &Path, table: &str, state: &State) -> Result<(), Trouble> {
    let wrong = |what: String| Trouble::Usage(format!("{}: {what}", file.display()));
    let mut text = fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
    let name = match state.profile {
        Profile::General => "score",
        Profile::Raft | Profile::Recovery => "raft score",
        Profile::Streams => "streams score",
    };
    text = score::replace(&text, name, table).map_err(wrong)?;
    if !state.pairs.is_empty() {
        text = score::replace(&text, "ablation", &ablate::table(state)).map_err(wrong)?;
    }
    fs::write(file, text).map_err(|error| wrong(error.to_string()))
}
