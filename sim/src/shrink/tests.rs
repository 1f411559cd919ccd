use std::sync::atomic::{AtomicU64, Ordering};

use wattle_core::planted::Bug;
use wattle_core::time::Span;

use super::*;
use crate::fault::FaultKind;
use crate::toy::{self, Toy, Wrong};
use crate::world::World;

const LIMITS: Limits = Limits { time: Duration::from_secs(600), runs: 100_000, jobs: 1 };

fn outcome(plan: &Plan, checker: Option<&str>) -> Outcome {
    let broken = |checker: &str| Verdict::Safety {
        checker: checker.into(),
        message: "as the test wants it".into(),
        at: Span(plan.fault_phase / 2),
    };
    Outcome {
        seed: plan.seed,
        nodes: plan.nodes.len(),
        events: 100,
        faults: plan.faults.len() as u64,
        simulated: Span(plan.fault_phase),
        trace: 1,
        deliveries: 0,
        peak_traffic: (0, 0),
        verdict: checker.map_or(Verdict::Pass, broken),
        lines: Vec::new(),
    }
}

/// A plan with many faults, among them a crash, and several nodes.
fn large() -> Plan {
    let crashes = |plan: &Plan| plan.faults.iter().filter(|fault| is_crash(&fault.kind)).count();
    (0..)
        .map(Plan::generate)
        .find(|plan| plan.nodes.len() >= 5 && plan.faults.len() > 15 && crashes(plan) > 2)
        .expect("some seed has that")
}

fn is_crash(kind: &FaultKind) -> bool {
    matches!(kind, FaultKind::Crash { .. })
}

fn shrunk(plan: &Plan, run: &Run<'_>, limits: Limits) -> Shrunk {
    shrink(plan, run, limits, &mut |_| ()).expect("it fails to begin with")
}

#[test]
fn only_what_matters_is_left() {
    // It takes a crash at the source of a stream, and nothing else.
    let fails = |plan: &Plan| {
        let sources: Vec<usize> = plan.streams.iter().map(|stream| stream.source).collect();
        plan.faults.iter().any(|fault| is_crash(&fault.kind) && sources.contains(&fault.kind.nodes()[0]))
    };
    let plan = large();
    assert!(fails(&plan));
    let done = shrunk(&plan, &|plan, _| Some(outcome(plan, fails(plan).then_some("X5"))), LIMITS);
    let Size { faults, nodes, streams, publishers, extras, messages, edges, .. } = done.after;
    assert_eq!((faults, nodes, streams, publishers, extras, messages, edges), (1, 2, 1, 0, 0, 0, 1));
    assert!(done.complete && fails(&done.plan) && done.before > done.after);
    assert_eq!(super::plain::features(&done.plan), 0);
    let FaultKind::Crash { power, after_outputs, down, .. } = done.plan.faults[0].kind else {
        panic!("{:?}", done.plan.faults);
    };
    assert_eq!((power, after_outputs, down, done.plan.fault_phase), (false, None, 0, 0));
    assert_eq!(Plan::from_toml(&done.plan.to_toml()), Ok(done.plan));
}

#[test]
fn another_promise_is_not_followed() {
    // Below four faults it is another promise that breaks.
    let broken = |plan: &Plan| if plan.faults.len() >= 4 { "X5" } else { "X1" };
    let done = shrunk(&large(), &|plan, _| Some(outcome(plan, Some(broken(plan)))), LIMITS);
    assert_eq!((done.after.faults, done.checker.as_str()), (4, "X5"));
    assert_eq!(done.outcome.verdict.broken(), Some("X5"));
}

#[test]
fn with_a_bug_planted_the_plan_keeps_passing_without_it() {
    let bug = Bug::named("route-loop");
    // Below three faults it fails with and without the bug.
    let broken = |plan: &Plan| (plan.planted.is_some() || plan.faults.len() < 3).then_some("X5");
    let run: &Run<'_> = &|plan, _| Some(outcome(plan, broken(plan)));
    assert_eq!(shrunk(&large().with_bug(bug), run, LIMITS).after.faults, 3);
    let mut small = large().with_bug(bug);
    small.faults.truncate(2);
    let nothing = shrink(&small, run, LIMITS, &mut |_| ()).expect_err("it is not the bug");
    assert_eq!(nothing, NothingToShrink::FailsWithoutBug);
    let nothing = shrink(&large(), run, LIMITS, &mut |_| ()).expect_err("it passes");
    assert_eq!(nothing, NothingToShrink::Passes);
}

#[test]
fn a_lack_of_progress_is_not_made_of_too_little_time() {
    let fails =
        |plan: &Plan| plan.faults.iter().any(|fault| is_crash(&fault.kind)) || plan.fault_phase < 1000;
    let run: &Run<'_> = &|plan, _| {
        let stuck = Verdict::NoProgress { what: "it waits".into() };
        let verdict = if fails(plan) { stuck } else { Verdict::Pass };
        Some(Outcome { verdict, ..outcome(plan, None) })
    };
    let done = shrunk(&large(), run, LIMITS);
    assert_eq!((done.checker.as_str(), done.after.faults), ("progress", 1));
    assert_eq!(done.plan.fault_phase, 1000, "below, it fails without any fault");
}

#[test]
fn what_shifts_draws_is_tried_with_other_seeds_too() {
    // With fewer than three faults it fails only under one seed.
    let fails = |plan: &Plan| plan.faults.len() > 2 || plan.seed == 6;
    let done = shrunk(&large(), &|plan, _| Some(outcome(plan, fails(plan).then_some("X5"))), LIMITS);
    assert_eq!((done.after.faults, done.plan.seed), (0, 6));
}

#[test]
fn it_goes_the_same_way_however_many_run_at_once_and_stops_at_its_limits() {
    let fails = |plan: &Plan| plan.faults.len() > 3 && plan.nodes.len() > 2 && plan.messages() > 7;
    let count = AtomicU64::new(0);
    let run: &Run<'_> = &|plan, events| {
        count.fetch_add(1, Ordering::Relaxed);
        assert!(events >= 50_000);
        Some(outcome(plan, fails(plan).then_some("X5")))
    };
    let one = shrunk(&large(), run, LIMITS);
    assert!(one.complete && one.runs <= count.load(Ordering::Relaxed) + 1);
    let many = shrunk(&large(), run, Limits { jobs: 4, ..LIMITS });
    assert_eq!((&many.plan, many.runs), (&one.plan, one.runs));
    for jobs in [1, 4] {
        let stopped = shrunk(&large(), run, Limits { runs: 40, jobs, ..LIMITS });
        assert!(!stopped.complete && stopped.runs <= 42 && stopped.after > one.after);
        assert!(stopped.after < stopped.before && fails(&stopped.plan));
    }
    let late = shrunk(&large(), run, Limits { time: Duration::ZERO, ..LIMITS });
    assert!(!late.complete && late.runs < 10);
}

#[test]
fn a_run_that_is_given_up_is_not_taken() {
    let run: &Run<'_> =
        &|plan, events| (plan.faults.len() > 5 || events == u64::MAX).then(|| outcome(plan, Some("X5")));
    assert_eq!(shrunk(&large(), run, LIMITS).after.faults, 6);
}

#[test]
fn a_plan_that_takes_much_longer_to_fail_than_the_best_is_not_taken() {
    // An odd number of faults takes twice as long to bring it to light.
    let mut plan = large();
    plan.faults.truncate(16);
    let needed = |plan: &Plan| 150_000 * (1 + plan.faults.len() as u64 % 2);
    let fails = |plan: &Plan| plan.faults.len() > 4;
    let run: &Run<'_> = &|plan, events| {
        let done = Outcome { events: needed(plan), ..outcome(plan, fails(plan).then_some("X5")) };
        (needed(plan) <= events).then_some(done)
    };
    assert_eq!(shrunk(&plan, run, LIMITS).after.faults, 6);
}

#[test]
fn what_makes_runs_shorter_is_tried_first_where_they_are_long() {
    let phase = large().fault_phase;
    for (events_each, first) in [(1_000, "faults"), (100_000, "messages")] {
        let run: &Run<'_> = &|plan, _| {
            let broken = (plan.faults.len() > 4).then_some("X5");
            let events = events_each * plan.messages().min(100);
            // A shorter phase is another failure.
            let broken = broken.filter(|_| plan.fault_phase == phase);
            Some(Outcome { events, ..outcome(plan, broken) })
        };
        let mut passes = Vec::new();
        let mut plan = large();
        plan.streams.iter_mut().flat_map(|stream| &mut stream.publishers).for_each(|own| own.messages = 300);
        let limits = Limits { runs: 300, ..LIMITS };
        shrink(&plan, run, limits, &mut |progress| passes.push(progress.pass)).expect("it fails");
        assert_eq!(passes.first(), Some(&first), "{passes:?}");
    }
}

#[test]
fn a_toy_that_forgets_its_marks_is_shown_by_one_crash_between_two_nodes() {
    let plan = |seed| {
        let mut plan = Plan::generate(seed);
        plan.registry.clear();
        plan.updates = None;
        plan.config.clear();
        plan.forsaken = None;
        plan.disk.capacity = 64 << 20;
        plan.nodes.iter_mut().for_each(|node| node.next_version = false);
        plan.faults.retain(|fault| is_crash(&fault.kind));
        plan
    };
    let run: &Run<'_> = &|plan, events| {
        toy::reset(Wrong::ForgetsMarks);
        World::<Toy>::new(plan.clone(), crate::trace::Recording::Off).run_within(|so_far| so_far >= events)
    };
    let breaks = |plan: &Plan| run(plan, u64::MAX).and_then(|it| it.verdict.broken().map(str::to_owned));
    let plan =
        (0..).map(plan).find(|plan| breaks(plan).as_deref() == Some("X5")).expect("some seed shows it");
    let done = shrunk(&plan, run, Limits { runs: 3_000, ..LIMITS });
    assert_eq!(breaks(&done.plan).as_deref(), Some("X5"));
    assert_eq!((done.after.faults, done.after.nodes, done.after.streams), (1, 2, 1), "{:#?}", done.plan);
}
