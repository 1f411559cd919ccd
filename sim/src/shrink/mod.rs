//! A plan that fails made smaller, as long as it fails in the same way.
//!
//! The same way means: the same promise is broken, and the control passes. The control of a plan with a deliberate bug is the plan
//! without it; that of a lack of progress is the plan without its faults, so that no plan is taken in which too much is asked within
//! too short a time. Which plan is the smaller one [`Size`] says. Every plan that is kept is smaller than the one before, so the
//! search ends; it ends earlier when its time or its runs are used up.
//!
//! Unless time ends it, what comes out depends on the plan and the number of runs alone, not on how many runs go on at once.

mod kinds;
mod nodes;
mod numbers;
mod passes;
mod plain;
mod size;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use self::passes::{CHEAPER, Edit, Grain, Hint, PASSES, Pass};
pub use self::size::Size;
use crate::event::Time;
use crate::outcome::{Outcome, Verdict};
use crate::plan::Plan;
use crate::trace::digest;

/// Runs a plan, or gives up after so many events.
pub type Run<'a> = dyn Fn(&Plan, u64) -> Option<Outcome> + Sync + 'a;

/// How many other seeds are tried for what shifts many draws: first a few, then more.
const OTHER_SEEDS: [u64; 2] = [2, 8];

/// While a run takes more events than this to fail, what makes runs shorter is tried first.
const COSTLY: u64 = 200_000;
/// A smaller plan may take so many events more to fail, beside half as many again as the best so far.
const EVENTS_MORE: u64 = 50_000;

/// What ends a search that would go on.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The time it may take.
    pub time: Duration,
    /// How many runs it may take, those of controls included.
    pub runs: u64,
    /// How many runs go on at once.
    pub jobs: usize,
}

/// How far a search has come.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// What was made less of.
    pub pass: &'static str,
    /// Whether other seeds were tried too.
    pub reseeded: bool,
    /// How large the plan is now.
    pub size: Size,
    /// How many runs that took so far.
    pub runs: u64,
}

/// What a search came to.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// The smallest plan that was seen failing.
    pub plan: Plan,
    /// What it came to.
    pub outcome: Outcome,
    /// The promise that it breaks, as the plan at the beginning did.
    pub checker: String,
    /// How large the plan was at the beginning.
    pub before: Size,
    /// How large it is now.
    pub after: Size,
    /// How many runs that took.
    pub runs: u64,
    /// Whether it ended because nothing smaller was left to try, and not by its limits.
    pub complete: bool,
}

/// Why there is nothing to make smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NothingToShrink {
    /// The plan passes.
    Passes,
    /// With a bug planted it fails, and without it too.
    FailsWithoutBug,
}

/// Makes a plan smaller, and tells of every pass that did.
///
/// # Errors
/// If the plan does not fail to begin with, or not because of its bug.
pub fn shrink(
    plan: &Plan,
    run: &Run<'_>,
    limits: Limits,
    report: &mut dyn FnMut(&Progress),
) -> Result<Shrunk, NothingToShrink> {
    let mut search = Search::new(plan, run, limits)?;
    search.make_cheaper(report);
    loop {
        let smaller = search.round(&[Grain::Parts, Grain::Coarse], 1, report)
            || OTHER_SEEDS.into_iter().any(|seeds| search.round(&[Grain::Parts], seeds, report))
            || search.round(&[Grain::Fine], 1, report);
        if !smaller {
            break;
        }
    }
    Ok(Shrunk {
        before: Size::of(plan),
        after: search.size,
        complete: !search.spent,
        plan: search.best,
        outcome: search.outcome,
        checker: search.checker,
        runs: search.runs,
    })
}

/// What must pass for a failure to count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Control {
    /// The plan without its bug.
    WithoutBug,
    /// The plan without its faults.
    Calm,
    Nothing,
}

impl Control {
    fn of(self, plan: &Plan) -> Option<Plan> {
        match self {
            Self::WithoutBug => Some(plan.clone().with_bug(None)),
            Self::Calm => Some(Plan { faults: Vec::new(), ..plan.clone() }),
            Self::Nothing => None,
        }
    }
}

struct Search<'a> {
    run: &'a Run<'a>,
    limits: Limits,
    begun: Instant,
    runs: u64,
    /// Its time or its runs are used up.
    spent: bool,
    /// Digests of the plans that were tried.
    tried: BTreeSet<u64>,
    best: Plan,
    size: Size,
    outcome: Outcome,
    checker: String,
    control: Control,
    /// No control needs more events than this.
    events_most: u64,
}

/// What became of a plan that was tried.
struct Trial {
    /// If it fails in the same way, what it came to.
    failed: Option<Outcome>,
    runs: u64,
}

impl<'a> Search<'a> {
    fn new(plan: &Plan, run: &'a Run<'a>, limits: Limits) -> Result<Self, NothingToShrink> {
        let begun = Instant::now();
        let outcome = run(plan, u64::MAX).ok_or(NothingToShrink::Passes)?;
        let checker = outcome.verdict.broken().ok_or(NothingToShrink::Passes)?.to_owned();
        let passes = |control: Control| {
            control.of(plan).and_then(|control| run(&control, u64::MAX)).filter(|it| it.verdict.is_pass())
        };
        let (control, events) = if plan.planted.is_some() {
            (Control::WithoutBug, passes(Control::WithoutBug).ok_or(NothingToShrink::FailsWithoutBug)?.events)
        } else {
            match Some(Control::Calm).filter(|_| checker == "progress").and_then(passes) {
                Some(calm) => (Control::Calm, calm.events),
                None => (Control::Nothing, 0),
            }
        };
        Ok(Self {
            run,
            limits,
            begun,
            runs: 2,
            spent: false,
            tried: BTreeSet::from([fingerprint(plan)]),
            best: plan.clone(),
            size: Size::of(plan),
            events_most: 3 * outcome.events.max(events) + 100_000,
            outcome,
            checker,
            control,
        })
    }

    /// All passes of some grains once. Whether any made the plan smaller, and there is more to try.
    fn round(&mut self, grains: &[Grain], seeds: u64, report: &mut dyn FnMut(&Progress)) -> bool {
        let mut smaller = false;
        for pass in PASSES.iter().filter(|pass| grains.contains(&pass.grain)) {
            smaller |= self.carry_out(pass, seeds, report);
        }
        smaller && !self.spent
    }

    /// What shortens runs goes first while they are long, though it is worth less than a fault: each run that is tried for the rest is
    /// the cheaper for it.
    fn make_cheaper(&mut self, report: &mut dyn FnMut(&Progress)) {
        for pass in &CHEAPER {
            if self.outcome.events > COSTLY && !self.spent {
                self.carry_out(pass, 1, report);
            }
        }
    }

    fn carry_out(&mut self, pass: &Pass, seeds: u64, report: &mut dyn FnMut(&Progress)) -> bool {
        let smaller = self.makes_smaller(pass, seeds);
        if smaller {
            let reseeded = seeds > 1;
            report(&Progress { pass: pass.name, reseeded, size: self.size, runs: self.runs });
        }
        smaller
    }

    /// One pass: after each success it goes on with what it tries on the smaller plan.
    fn makes_smaller(&mut self, pass: &Pass, seeds: u64) -> bool {
        let mut smaller = false;
        let mut next = 0;
        let mut edits = (pass.edits)(&self.best, self.hint());
        while !self.spent {
            let batch = self.batch(&edits, seeds, next);
            let Some(&(last, _)) = batch.last() else {
                self.spent |= self.is_late();
                break;
            };
            match self.first_that_fails(batch) {
                Some(place) => {
                    smaller = true;
                    next = place;
                    edits = (pass.edits)(&self.best, self.hint());
                }
                None => next = last + 1,
            }
        }
        smaller
    }

    fn is_late(&self) -> bool {
        self.begun.elapsed() > self.limits.time
    }

    fn hint(&self) -> Hint {
        let broken_at = match self.outcome.verdict {
            Verdict::Safety { at, .. } => Some::<Time>(at.0),
            _ => None,
        };
        Hint { broken_at }
    }

    /// The next plans that are smaller and were not tried, as many as run at once, each with its place.
    fn batch(&self, edits: &[Edit], seeds: u64, from: usize) -> Vec<(usize, Plan)> {
        let places = from..edits.len() * seeds as usize;
        let mut chosen = BTreeSet::new();
        let plan = |place: usize| {
            let mut plan = edits[place / seeds as usize](&self.best)?;
            if seeds > 1 {
                plan.seed = place as u64 % seeds;
            }
            let fresh = plan != self.best && Size::of(&plan) < self.size && plan.check().is_ok();
            let mark = fingerprint(&plan);
            (fresh && !self.tried.contains(&mark) && chosen.insert(mark)).then_some((place, plan))
        };
        // In a very large mesh even plans that are not run take their time.
        places.take_while(|_| !self.is_late()).filter_map(plan).take(self.limits.jobs.max(1)).collect()
    }

    /// Runs a batch and keeps the first plan that fails in the same way. Those behind it count as never run, so that the search
    /// goes the same way however many run at once.
    fn first_that_fails(&mut self, batch: Vec<(usize, Plan)>) -> Option<usize> {
        let trials: Vec<Trial> = std::thread::scope(|scope| {
            let search = &*self;
            let running: Vec<_> =
                batch.iter().map(|(_, plan)| scope.spawn(move || search.attempt(plan))).collect();
            running.into_iter().map(|trial| trial.join().expect("a run does not panic")).collect()
        });
        for ((place, plan), trial) in batch.into_iter().zip(trials) {
            self.runs += trial.runs;
            self.spent |= self.runs > self.limits.runs || self.is_late();
            self.tried.insert(fingerprint(&plan));
            if let Some(outcome) = trial.failed {
                self.size = Size::of(&plan);
                (self.best, self.outcome) = (plan, outcome);
                return Some(place);
            }
            if self.spent {
                return None;
            }
        }
        None
    }

    fn attempt(&self, plan: &Plan) -> Trial {
        // What has not failed by then is not the failure that came sooner.
        let needed = self.outcome.events;
        let failed = (self.run)(plan, needed + needed / 2 + EVENTS_MORE)
            .filter(|outcome| outcome.verdict.broken() == Some(self.checker.as_str()));
        let Some(control) = failed.as_ref().and_then(|_| self.control.of(plan)) else {
            return Trial { failed, runs: 1 };
        };
        let sound = (self.run)(&control, self.events_most).is_some_and(|outcome| outcome.verdict.is_pass());
        Trial { failed: failed.filter(|_| sound), runs: 2 }
    }
}

fn fingerprint(plan: &Plan) -> u64 {
    digest(format!("{plan:?}").as_bytes())
}

#[cfg(test)]
mod tests;
