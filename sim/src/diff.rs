//! Where two runs part. Runs go on side by side and are compared after each event by their hashes; a run may also come from a
//! record that another build, or another machine, wrote.

use std::collections::VecDeque;
use std::io::{self, BufRead, Write};

use wattle_core::node::Node;

use crate::plan::Plan;
use crate::trace::Recording;
use crate::world::{World, show};

/// How many lines from before the parting are kept.
const BEFORE: usize = 12;
/// More lines than one event ever gives.
const LINES_OF_AN_EVENT: usize = 4096;

/// An event of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// The hash over everything up to here.
    pub trace: u128,
    /// What happened, in words: when, where, what.
    pub lines: Vec<String>,
}

/// A run, event by event.
pub enum Run {
    /// It happens now.
    Live(Box<World<Node>>),
    /// It happened elsewhere and was written down by [`record`].
    Recorded(Box<dyn BufRead>, String),
}

impl Run {
    /// The run of a plan.
    #[must_use]
    pub fn of(plan: &Plan) -> Self {
        let mut world = World::new(plan.clone(), Recording::Last(LINES_OF_AN_EVENT));
        world.start();
        Self::Live(Box::new(world))
    }

    /// The run in a record.
    ///
    /// # Errors
    /// If the record cannot be read or is none.
    pub fn recorded(mut record: Box<dyn BufRead>) -> io::Result<Self> {
        let mut first = String::new();
        record.read_line(&mut first)?;
        if first.strip_prefix(HASH).is_none() {
            return Err(invalid("this is no record of a run: write one with `run SEED --steps FILE`"));
        }
        Ok(Self::Recorded(record, first))
    }

    /// The next event, if the run is not over.
    ///
    /// # Errors
    /// If a record cannot be read or is damaged.
    pub fn step(&mut self) -> io::Result<Option<Step>> {
        match self {
            Self::Live(world) => Ok(world.verdict.is_none().then(|| {
                world.next();
                let mut lines = world.trace.take_lines();
                if lines.is_empty() {
                    lines.push(format!("{} nothing to see", show(world.now)));
                }
                if let Some(verdict) = &world.verdict {
                    lines.push(verdict.to_string());
                }
                Step { trace: world.trace.hash(), lines }
            })),
            Self::Recorded(record, head) => {
                let Some(hash) = head.strip_prefix(HASH) else { return Ok(None) };
                let trace = u128::from_str_radix(hash.trim_end(), 16)
                    .map_err(|_| invalid("a hash of the record is no number: the record is damaged"))?;
                let mut lines = Vec::new();
                loop {
                    head.clear();
                    record.read_line(head)?;
                    match head.strip_prefix(LINE) {
                        Some(line) => lines.push(line.trim_end().into()),
                        None => break,
                    }
                }
                Ok(Some(Step { trace, lines }))
            }
        }
    }
}

const HASH: &str = "# ";
const LINE: &str = "  ";

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Writes a run down, for a comparison with the same run elsewhere: per event the hash over everything so far, then lines for people.
///
/// # Errors
/// If `out` cannot be written.
pub fn record(plan: &Plan, out: &mut dyn Write) -> io::Result<()> {
    let mut run = Run::of(plan);
    while let Some(step) = run.step()? {
        writeln!(out, "{HASH}{:032x}", step.trace)?;
        for line in step.lines {
            writeln!(out, "{LINE}{}", line.replace('\n', " "))?;
        }
    }
    Ok(())
}

/// How two runs compare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// Every event was the same.
    Same {
        /// How many.
        events: u64,
        /// The hash over all of them.
        trace: u128,
    },
    /// An event differs.
    Parted {
        /// Its number, from 1.
        event: u64,
        /// The last lines of what both did before.
        before: Vec<String>,
        /// What each did; `None` if its run was over.
        steps: [Option<Step>; 2],
    },
}

/// Compares two runs up to the first event that differs.
///
/// # Errors
/// If a record cannot be read or is damaged.
pub fn diff(mut one: Run, mut other: Run) -> io::Result<Comparison> {
    let mut before = VecDeque::new();
    let (mut events, mut trace) = (0, 0);
    loop {
        let steps = [one.step()?, other.step()?];
        let hashes = steps.each_ref().map(|step| step.as_ref().map(|step| step.trace));
        match (hashes[0] == hashes[1], steps) {
            (true, [Some(step), _]) => {
                events += 1;
                trace = step.trace;
                before.extend(step.lines);
                before.drain(..before.len().saturating_sub(BEFORE));
            }
            (true, [None, _]) => return Ok(Comparison::Same { events, trace }),
            (false, steps) => {
                return Ok(Comparison::Parted { event: events + 1, before: before.into(), steps });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parted(one: Run, other: Run) -> (u64, Vec<String>, [Vec<String>; 2]) {
        let Ok(Comparison::Parted { event, before, steps }) = diff(one, other) else {
            panic!("they are the same");
        };
        (event, before, steps.map(|step| step.expect("neither is over").lines))
    }

    #[test]
    fn a_fault_less_parts_two_runs_at_the_moment_at_which_it_was_to_begin() {
        let with = Plan::generate(7);
        let mut without = with.clone();
        without.faults.pop().expect("seed 7 has faults");
        let (event, before, sides) = parted(Run::of(&with), Run::of(&without));
        assert!(event > 1 && before.len() == BEFORE, "event {event}: {before:?}");
        assert!(sides[0].iter().any(|line| line.contains("== fault")), "{sides:?}");
        assert!(sides[1].iter().all(|line| !line.contains("== fault")), "{sides:?}");
    }

    #[test]
    fn a_run_and_its_record_are_the_same_until_the_record_is_changed() {
        let plan = Plan::generate(3);
        let mut text = Vec::new();
        record(&plan, &mut text).unwrap();
        let recorded = |text: Vec<u8>| Run::recorded(Box::new(io::Cursor::new(text))).unwrap();
        let outcome = crate::world::run(&plan, Recording::Off);
        let same = Comparison::Same { events: outcome.events, trace: outcome.trace };
        assert_eq!(diff(Run::of(&plan), recorded(text.clone())).unwrap(), same);
        let hashes = text.split_inclusive(|&byte| byte == b'\n').filter(|line| line.starts_with(b"# "));
        let at =
            hashes.clone().take(41).last().expect("41 events").as_ptr() as usize - text.as_ptr() as usize;
        text[at + 2] = if text[at + 2] == b'0' { b'1' } else { b'0' };
        assert_eq!(parted(Run::of(&plan), recorded(text)).0, 41);
    }

    #[test]
    fn what_is_no_record_is_refused_with_the_command_that_writes_one() {
        let Err(error) = Run::recorded(Box::new(io::Cursor::new("format = 1\n"))) else {
            panic!("it is none")
        };
        assert!(error.to_string().contains("--steps"), "{error}");
    }
}
