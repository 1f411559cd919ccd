//! How fast runs are: simulated time and events per second of the processor, with every check on, on one thread.
//!
//! How fast simulated time passes depends on how much happens in it, so the two are always told together: seconds per second, events
//! per second, and how many events a simulated second has.

use std::fmt;
use std::time::{Duration, Instant};

use wattle_core::node::Node;

use crate::event::{MILLI, SECOND, Time};
use crate::forming::Standing;
use crate::generate::scale;
use crate::outcome::Verdict;
use crate::plan::Plan;
use crate::swarm::processor_time;
use crate::trace::Recording;
use crate::world::World;

/// How often it is looked at whether a mesh has formed.
const FORMED_EVERY: Time = 250 * MILLI;
/// After so many events the clock is looked at.
const LOOK_EVERY: u64 = 256;
/// The seed of the large meshes.
const SEED: u64 = 1;
/// A plan of a seed counts as hostile for long from this on.
const LONG_FAULT_PHASE: Time = 16 * SECOND;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    /// Plans of seeds that have five nodes and a long phase of faults, one after the other, to their ends.
    Five,
    /// A large mesh at a constant load with some faults, from the moment at which all have joined.
    Scale(usize),
}

/// How much of a case is measured.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// So much simulated time.
    pub simulated: Time,
    /// Or so much time of the processor, if that is over first. For a mesh to form as much again is given.
    pub budget: Duration,
}

/// A stretch of runs, and what it cost.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stretch {
    /// Simulated time.
    pub simulated: Time,
    /// Events.
    pub events: u64,
    /// How often a node was checked after a step, and the whole mesh after a while.
    pub checks: u64,
    /// By the clock on the wall.
    pub wall: Duration,
    /// By the clock of the thread, which stands still while others use the processor.
    pub processor: Duration,
}

impl Stretch {
    fn add(&mut self, other: Self) {
        self.simulated += other.simulated;
        self.events += other.events;
        self.checks += other.checks;
        self.wall += other.wall;
        self.processor += other.processor;
    }

    /// Events in a second of the processor.
    #[must_use]
    pub fn events_per_second(&self) -> f64 {
        ratio(self.events as f64, self.processor.as_secs_f64())
    }

    /// Simulated seconds in a second of the processor.
    #[must_use]
    pub fn speed(&self) -> f64 {
        ratio(self.seconds(), self.processor.as_secs_f64())
    }

    /// Simulated seconds in a second on the wall.
    #[must_use]
    pub fn speed_by_wall(&self) -> f64 {
        ratio(self.seconds(), self.wall.as_secs_f64())
    }

    /// Events in a simulated second.
    #[must_use]
    pub fn density(&self) -> f64 {
        ratio(self.events as f64, self.seconds())
    }

    /// The simulated time in seconds.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.simulated as f64 / SECOND as f64
    }
}

fn ratio(of: f64, to: f64) -> f64 {
    if to > 0.0 { of / to } else { 0.0 }
}

/// What a case came to.
#[derive(Clone, Debug)]
pub struct Figures {
    /// How many nodes each mesh has.
    pub nodes: usize,
    /// How many runs were begun.
    pub runs: u64,
    /// Until every node had joined and knew all, or as long as was given for it: of large meshes only.
    pub forming: Option<Stretch>,
    /// What is measured; nothing of a mesh that did not form.
    pub measured: Stretch,
    /// Why a mesh was not measured.
    pub unformed: Option<Unformed>,
    /// The first run that failed: its seed and how.
    pub failure: Option<(u64, Verdict)>,
}

/// A mesh that did not form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unformed {
    /// How far it was.
    pub standing: Standing,
    /// How much simulated time had passed.
    pub passed: Time,
    /// How much it is given.
    pub given: Time,
    /// Whether the budget ended it.
    pub budget: bool,
}

impl fmt::Display for Unformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |time: Time| time as f64 / SECOND as f64;
        let (passed, given) = (seconds(self.passed), seconds(self.given));
        match self.budget {
            true => write!(
                f,
                "the budget was used up after {passed:.1} of the {given:.1} simulated seconds given to form: "
            ),
            false => write!(f, "it did not form within {passed:.1} simulated seconds: "),
        }?;
        self.standing.fmt(f)
    }
}

/// Measures a case.
#[must_use]
pub fn measure(case: Case, bounds: Bounds) -> Figures {
    match case {
        Case::Five => five(bounds),
        Case::Scale(nodes) => large(nodes, bounds),
    }
}

/// Plans of five nodes under faults for long, by seed.
fn hostile_plans() -> impl Iterator<Item = Plan> {
    let plans = (0..).map(Plan::generate);
    plans.filter(|plan| plan.nodes.len() == 5 && plan.fault_phase >= LONG_FAULT_PHASE)
}

fn five(bounds: Bounds) -> Figures {
    let mut figures = Figures {
        nodes: 5,
        runs: 0,
        forming: None,
        measured: Stretch::default(),
        unformed: None,
        failure: None,
    };
    for plan in hostile_plans() {
        let left = bounds.budget.saturating_sub(figures.measured.processor);
        if left.is_zero() || figures.measured.simulated >= bounds.simulated {
            break;
        }
        let mut run = Run::new(plan);
        figures.runs += 1;
        figures.measured.add(run.until(left, |_| false));
        figures.failure = run.failure();
        if figures.failure.is_some() {
            break;
        }
    }
    figures
}

fn large(nodes: usize, bounds: Bounds) -> Figures {
    let plan = scale::plan(nodes, SEED, bounds.simulated);
    let from = plan.fault_phase - bounds.simulated;
    let until = plan.fault_phase;
    let mut run = Run::new(plan);
    let forming = run.form(bounds.budget, from);
    let left = bounds.budget.saturating_sub(forming.processor);
    run.until(left, |world| world.now >= from);
    let standing = run.world.standing();
    let budget = run.world.now < from && run.world.verdict.is_none();
    let (passed, given) = (run.world.now, from);
    let unformed = (budget || !standing.is_whole()).then_some(Unformed { standing, passed, given, budget });
    let measured = match unformed {
        // The checkers look at all nodes of a large mesh rarely: they need not have seen it yet.
        None => {
            run.world.complete = true;
            run.until(bounds.budget, |world| world.now >= until)
        }
        Some(_) => Stretch::default(),
    };
    Figures { nodes, runs: 1, forming: Some(forming), measured, unformed, failure: run.failure() }
}

struct Run {
    world: World<Node>,
}

impl Run {
    fn new(plan: Plan) -> Self {
        let mut world = World::<Node>::new(plan, Recording::Off);
        world.start();
        Self { world }
    }

    /// Runs until the mesh has formed, or time is up.
    fn form(&mut self, budget: Duration, until: Time) -> Stretch {
        let mut forming = Stretch::default();
        while self.world.verdict.is_none() && forming.processor < budget && self.world.now < until {
            let look = (self.world.now + FORMED_EVERY).min(until);
            forming.add(self.until(budget.saturating_sub(forming.processor), |world| world.now >= look));
            if self.world.workload.all_joined() && self.world.standing().is_whole() {
                break;
            }
        }
        forming
    }

    /// Runs on until it ends, the budget is used up, or there is enough.
    fn until(&mut self, budget: Duration, enough: impl Fn(&World<Node>) -> bool) -> Stretch {
        let world = &mut self.world;
        let (wall, processor) = (Instant::now(), processor_time());
        let (now, events, checks) = (world.now, world.events, world.checks);
        while world.verdict.is_none() && !enough(world) {
            world.next();
            if world.events.is_multiple_of(LOOK_EVERY) && processor_time() - processor >= budget {
                break;
            }
        }
        Stretch {
            simulated: world.now - now,
            events: world.events - events,
            checks: world.checks - checks,
            wall: wall.elapsed(),
            processor: processor_time() - processor,
        }
    }

    fn failure(&self) -> Option<(u64, Verdict)> {
        let verdict = self.world.verdict.as_ref().filter(|verdict| !verdict.is_pass())?;
        Some((self.world.plan.seed, verdict.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_nodes_are_measured_over_whole_runs_and_every_step_is_checked() {
        let figures =
            measure(Case::Five, Bounds { simulated: 20 * SECOND, budget: Duration::from_secs(300) });
        assert_eq!((figures.nodes, figures.unformed, figures.failure), (5, None, None));
        assert!(figures.runs >= 1 && figures.measured.simulated >= 20 * SECOND);
        assert!(figures.measured.checks * 4 > figures.measured.events, "{:?}", figures.measured);
    }

    #[test]
    fn a_larger_mesh_forms_and_is_measured_at_its_load() {
        let figures =
            measure(Case::Scale(12), Bounds { simulated: 3 * SECOND, budget: Duration::from_secs(300) });
        assert!(figures.unformed.is_none() && figures.failure.is_none(), "{figures:?}");
        assert!(figures.forming.unwrap().seconds() < 8.0, "it forms sooner than it is given: {figures:?}");
        assert!((3.0..3.1).contains(&figures.measured.seconds()), "{figures:?}");
        assert!(figures.measured.density() > 1_000.0, "{figures:?}");
    }

    #[test]
    fn a_budget_that_is_used_up_ends_it() {
        let figures = measure(Case::Scale(40), Bounds { simulated: SECOND, budget: Duration::ZERO });
        assert!(figures.unformed.unwrap().budget && figures.measured.events == 0);
        let figures = measure(Case::Five, Bounds { simulated: SECOND, budget: Duration::ZERO });
        assert_eq!((figures.runs, figures.failure), (0, None));
    }
}
