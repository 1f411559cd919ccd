//! The world as a whole, around toys: what is right passes, what is wrong is found, and everything can be repeated.

mod links;
mod trouble;

use crate::event::{MILLI, SECOND, Time};
use crate::fault::{Condition, Fault, FaultKind, Moment, Trigger};
use crate::network::Disturbance;
use crate::outcome::{Outcome, Verdict};
use crate::plan::{CompletePlan, Plan};
use crate::toy::{self, Toy, Wrong};
use crate::trace::Recording;
use crate::world::World;

/// Plans that a toy can bear: it has no protection against disks that do not keep what they reported safe and spoiled bytes, does not notice connections that
/// die without a word, speaks no version of the protocol at all, and never lets go of what is processed.
fn plan(seed: u64) -> Plan {
    let mut plan = Plan::generate(seed);
    plan.disk.capacity = plan.disk.capacity.max(64 << 20);
    // Its mesh is led by the first node for ever, never stops, and tells nobody anything.
    plan.forsaken = None;
    plan.seal = None;
    plan.updates = None;
    plan.flow = None;
    plan.departures.clear();
    plan.stops.clear();
    // Its streams have one target.
    plan.changes.clear();
    for stream in &mut plan.streams {
        stream.more.clear();
        stream.later.clear();
        stream.complete = CompletePlan::All;
    }
    plan.faults.retain(|fault| match &fault.kind {
        FaultKind::Disturb { what, .. } => {
            !matches!(*what, Disturbance::Corrupt { caught: false, .. } | Disturbance::Translated { .. })
        }
        FaultKind::Silence { .. } | FaultKind::HalfOpen { .. } | FaultKind::Rebind { .. } => false,
        kind => !kind.damages(),
    });
    plan.nodes.iter_mut().for_each(|node| node.next_version = false);
    plan
}

fn run(plan: Plan, wrong: Wrong, recording: Recording) -> Outcome {
    toy::reset(wrong);
    World::<Toy>::new(plan.without_large(), recording).run()
}

fn found(wrong: Wrong, seeds: u64) -> Option<String> {
    (0..seeds).find_map(|seed| match run(plan(seed), wrong, Recording::Off).verdict {
        Verdict::Pass | Verdict::NotOwed { .. } => None,
        Verdict::Safety { checker, .. } => Some(checker),
        Verdict::NoProgress { .. } => Some("progress".into()),
    })
}

#[test]
fn a_right_node_passes_under_all_faults() {
    let mut deliveries = 0;
    for seed in 0..150 {
        let outcome = run(plan(seed), Wrong::Nothing, Recording::Off);
        assert!(outcome.verdict.is_pass(), "seed {seed}: {}", outcome.verdict);
        deliveries += outcome.deliveries;
    }
    assert!(deliveries > 5_000, "{deliveries}");
}

#[test]
fn equal_plans_give_equal_outcomes_whether_or_not_lines_are_kept() {
    for seed in 0..10 {
        let one = run(plan(seed), Wrong::Nothing, Recording::Off);
        let other = run(plan(seed), Wrong::Nothing, Recording::Last(5));
        assert_eq!(other.lines.len(), 5);
        assert_eq!(one, Outcome { lines: Vec::new(), ..other });
    }
}

#[test]
fn other_seeds_give_other_traces() {
    let traces: Vec<u128> =
        (0..10).map(|seed| run(plan(seed), Wrong::Nothing, Recording::Off).trace).collect();
    for (place, trace) in traces.iter().enumerate() {
        assert!(!traces[..place].contains(trace));
    }
}

#[test]
fn receipts_before_the_sync_are_found() {
    let checker = found(Wrong::BeforeSync, 100).expect("a crash loses what was promised");
    assert!(["X2", "X3", "X4", "X9", "X1", "X10"].contains(&checker.as_str()), "{checker}");
}

#[test]
fn forgotten_writers_are_found() {
    let checker = found(Wrong::ForgetsWriters, 100).expect("a repeat after a restart doubles");
    assert!(["X2", "X9", "X3"].contains(&checker.as_str()), "{checker}");
}

#[test]
fn closed_writers_that_write_on_are_found() {
    assert_eq!(found(Wrong::ForgetsClosed, 300).as_deref(), Some("X10"));
}

#[test]
fn forgotten_marks_are_found() {
    assert_eq!(found(Wrong::ForgetsMarks, 100).as_deref(), Some("X5"));
}

#[test]
fn verdicts_of_replaced_handlers_are_found() {
    // The stale verdict moves the mark over messages nobody was handed: skipped (X1), called completed (X4), or a watermark out of order (X6).
    let checker = found(Wrong::NoFencing, 300).expect("messages are skipped");
    assert!(["X1", "X4", "X6"].contains(&checker.as_str()), "{checker}");
}

#[test]
fn refused_messages_that_stay_are_found() {
    let checker = found(Wrong::KeepsRefused, 100).expect("the forbidden message shows up");
    assert!(["X10", "X2"].contains(&checker.as_str()), "{checker}");
}

#[test]
fn circling_messages_are_found() {
    assert_eq!(found(Wrong::Circles, 100).as_deref(), Some("X8"));
}

#[test]
fn lost_progress_is_found() {
    assert_eq!(found(Wrong::NeverResends, 100).as_deref(), Some("progress"));
}

#[test]
fn two_leaders_are_found() {
    assert_eq!(found(Wrong::AllLead, 3).as_deref(), Some("X7"));
}

#[test]
fn writes_that_ignore_the_version_they_expect_are_found() {
    assert_eq!(found(Wrong::IgnoresVersions, 100).as_deref(), Some("X22"));
}

#[test]
fn a_panic_inside_a_node_is_a_broken_promise_with_its_own_name() {
    assert_eq!(found(Wrong::Asserts, 10).as_deref(), Some("T1"));
}

/// A calm plan with one fault.
fn calm(kind: FaultKind) -> Plan {
    calm_until(Trigger::At(3 * SECOND), kind)
}

fn calm_until(when: Trigger, kind: FaultKind) -> Plan {
    let mut plan = (0..).map(plan).find(|plan| plan.nodes.len() == 3).expect("there are many");
    plan.faults = vec![Fault { id: 1, when, kind }];
    plan.fault_phase = 6 * SECOND;
    plan
}

fn lines(plan: Plan) -> Vec<String> {
    let outcome = run(plan, Wrong::Nothing, Recording::All);
    assert!(outcome.verdict.is_pass(), "{}", outcome.verdict);
    assert_eq!(outcome.faults, 1);
    outcome.lines
}

fn seconds(line: &str) -> f64 {
    line.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0.0)
}

#[test]
fn a_crash_ends_a_life_and_a_new_one_begins() {
    let crash = |after_outputs| FaultKind::Crash { node: 1, power: true, after_outputs, down: SECOND };
    for after in [None, Some(0), Some(1)] {
        let lines = lines(calm(crash(after)));
        let at = |what: &str| lines.iter().position(|line| line.contains(what) && line.contains("birch"));
        let (crashed, again) =
            (at("== crashes").expect("it crashes"), at("life 1").expect("it starts again"));
        let between = seconds(&lines[again]) - seconds(&lines[crashed]);
        assert!(between > 0.9, "it is down for a second: {between}");
        let dead = lines[crashed + 1..again].iter().filter(|line| line.contains("birch ")).count();
        assert_eq!(dead, 0, "the dead say nothing");
        if let Some(after) = after {
            let step =
                lines[..crashed].iter().rev().find(|line| line.contains("<-")).expect("it was in a step");
            let outputs = lines[..crashed].iter().rev().take_while(|line| *line != step).count();
            assert_eq!(outputs as u32, after, "so many outputs were carried out");
        }
    }
}

#[test]
fn a_pause_holds_everything_back_and_then_lets_it_come() {
    let lines = lines(calm(FaultKind::Pause { node: 1, length: 700 * MILLI }));
    let of_node: Vec<f64> = lines
        .iter()
        .filter(|line| line.contains("birch ") && !line.contains("=="))
        .map(|line| seconds(line))
        .collect();
    assert!(of_node.iter().all(|&at| !(3.000_001..3.7).contains(&at)), "it says nothing for 700 ms");
    assert!(of_node.iter().any(|&at| (3.7..3.71).contains(&at)), "and then goes on at once");
}

#[test]
fn a_failed_sync_is_told_and_the_node_starts_again() {
    let mut plan = calm(FaultKind::FailedWrite { node: 0 });
    plan.streams[0].source = 0;
    plan.streams[0].target = 1;
    plan.streams[0].publishers[0].starts_at = 4 * SECOND;
    let lines = lines(plan);
    let failed = lines.iter().position(|line| line.contains("write failed")).expect("it is told");
    assert!(lines[failed..].iter().any(|line| line.contains("ash") && line.contains("life 1")));
}

#[test]
fn a_full_disk_is_told_and_told_again_when_there_is_room() {
    let lines = lines(calm(FaultKind::FullDisk { node: 2, left: 100, length: SECOND }));
    let told: Vec<&String> =
        lines.iter().filter(|line| line.contains("cedar") && line.contains("<- space")).collect();
    let small = told.iter().position(|line| line.ends_with("<- space 100")).expect("it is told");
    assert!(told[small + 1..].iter().any(|line| line.len() > "<- space 100000".len() + 20), "{told:?}");
}

#[test]
fn a_rolled_back_disk_forgets_and_the_checkers_excuse_what_it_alone_held() {
    let mut plan = calm(FaultKind::RolledBack { node: 0, image_at: 2 * SECOND, down: 100 * MILLI });
    plan.streams.truncate(1);
    plan.streams[0].source = 0;
    plan.streams[0].target = 1;
    plan.streams[0].opens_at = 0;
    plan.streams[0].handler.attaches_at = 20 * SECOND;
    plan.streams[0].publishers.truncate(1);
    let publisher = &mut plan.streams[0].publishers[0];
    publisher.starts_at = 2_100 * MILLI;
    publisher.messages = 5;
    publisher.waits = [1, 0, 0];
    publisher.pause = (1, 2);
    toy::reset(Wrong::Nothing);
    let mut world = World::<Toy>::new(plan.without_large(), Recording::All);
    world.start();
    while world.now < 3_050 * MILLI {
        world.next();
    }
    assert_eq!(world.images[0].map(|at| at / SECOND), Some(2));
    assert_eq!(world.processes[0].disk.rows().count(), 0, "nothing was written before the image");
    assert_eq!(world.books.streams[0].accepted(0), 0, "what it alone held is void");
}

#[test]
fn a_wall_clock_that_steps_moves_no_deadline() {
    let without = run(calm(FaultKind::WallStep { node: 0, millis: 0 }), Wrong::Nothing, Recording::Off);
    let with = run(calm(FaultKind::WallStep { node: 0, millis: -3_600_000 }), Wrong::Nothing, Recording::Off);
    assert_eq!((with.events, with.deliveries), (without.events, without.deliveries));
}

#[test]
fn removing_a_fault_leaves_all_other_draws_as_they_were() {
    let whole = plan(3);
    let mut part = whole.clone();
    let removed = part.faults.pop().expect("this plan has faults");
    let lines = |plan| run(plan, Wrong::Nothing, Recording::All).lines;
    let (whole, part) = (lines(whole), lines(part));
    let before = |lines: &[String]| -> Vec<String> {
        let until = (removed.when.time().expect("it has a time") / 1_000) as f64 / 1e6;
        lines.iter().take_while(|line| seconds(line) < until).cloned().collect()
    };
    let (whole, part) = (before(&whole), before(&part));
    assert!(whole.len() > 100);
    let parting = whole.iter().zip(&part).find(|(one, other)| one != other);
    assert_eq!((parting, whole.len()), (None, part.len()));
}

/// The lines of a calm run in which node 0 is the source of a stream to node 1, with one fault that waits for a moment.
fn lines_until(moment: Moment, node: Option<usize>, nth: u32, after: Time, kind: FaultKind) -> Vec<String> {
    let mut plan = calm_until(Trigger::On(Condition { moment, node, nth, after }), kind);
    for stream in &mut plan.streams {
        (stream.source, stream.target) = (0, 1);
    }
    lines(plan)
}

fn crash(node: usize) -> FaultKind {
    FaultKind::Crash { node, power: false, after_outputs: None, down: SECOND }
}

/// The last line of a node before it crashed.
fn last_before_crash<'a>(lines: &'a [String], name: &str) -> &'a str {
    let crashed = lines.iter().position(|line| line.contains("== crashes")).expect("it crashes");
    let own = |line: &&String| line.contains(name) && !line.contains("== fault");
    lines[..crashed].iter().rev().find(own).expect("it was alive")
}

#[test]
fn a_crash_at_a_write_ends_the_step_right_behind_it() {
    for nth in 1..6 {
        let lines = lines_until(Moment::Write, Some(0), nth, 0, crash(0));
        let last = last_before_crash(&lines, "ash ");
        assert!(last.contains("-> write "), "{last}");
    }
}

#[test]
fn a_crash_between_write_and_sync_finds_the_row_unsynced() {
    for nth in 1..12 {
        let lines = lines_until(Moment::WriteUnsynced, Some(0), nth, 10_000, crash(0));
        let crashed = lines.iter().position(|line| line.contains("== crashes")).expect("it crashes");
        let none = "kept: 0, torn: 0, lost: 0";
        assert!(!lines[crashed].contains(none), "nothing was unsynced: {}", lines[crashed]);
        let wrote = lines[..crashed].iter().rfind(|line| line.contains("ash ") && line.contains("-> write "));
        let between = seconds(&lines[crashed]) - seconds(wrote.expect("it wrote"));
        assert!((0.000_009..0.000_012).contains(&between), "{between}");
    }
}

#[test]
fn a_pause_after_a_delivery_begins_so_long_after_it() {
    let lines = lines_until(Moment::Deliver, None, 2, 300_000, FaultKind::Pause { node: 1, length: SECOND });
    let fault = lines.iter().position(|line| line.contains("== fault")).expect("it happens");
    let exactly = seconds(&lines[fault]);
    let delivered: Vec<f64> =
        lines[..fault].iter().filter(|line| line.contains("-> deliver")).map(|line| seconds(line)).collect();
    assert!(delivered.iter().any(|at| (exactly - at - 0.0003).abs() < 0.000_002), "{exactly}: {delivered:?}");
}

#[test]
fn a_moment_that_never_comes_begins_no_fault() {
    let when = Trigger::On(Condition { moment: Moment::Boot, node: Some(2), nth: 9, after: 0 });
    let outcome = run(calm_until(when, crash(2)), Wrong::Nothing, Recording::Off);
    assert!(outcome.verdict.is_pass());
    assert_eq!(outcome.faults, 0);
}

#[test]
fn what_a_real_node_says_is_a_moment() {
    let mut missing = Vec::new();
    for &moment in Moment::ALL {
        let kind = FaultKind::WallStep { node: 0, millis: 1 };
        let fires = |seed| {
            let mut plan = Plan::generate(seed);
            let at = plan.fault_phase / 2;
            let depose = |crash| FaultKind::Depose { times: 1, delay: MILLI, length: 2 * SECOND, crash };
            let when = Trigger::On(Condition { moment, node: None, nth: 1, after: 0 });
            plan.faults = vec![
                Fault { id: 1, when: Trigger::At(at), kind: depose(true) },
                Fault { id: 2, when: Trigger::At(at), kind: depose(false) },
                Fault { id: 3, when, kind: kind.clone() },
            ];
            crate::world::run(&plan, Recording::Off).faults == 3
        };
        if !(0..6).any(fires) {
            missing.push(moment);
        }
    }
    // Only a replica whose disk was taken back takes a fresh id, few meshes have learners that others than their leader feed, and only who
    // lost a quorum for good goes on without it.
    let recovery = [Moment::SendOrder, Moment::SendLogEnd, Moment::SendFound, Moment::SendFounded];
    let fed = [Moment::SendFeed, Moment::SendFed, Moment::SendUnfed];
    assert_eq!(missing, [&[Moment::SendRenamed][..], &fed, &recovery].concat());
}

#[test]
fn a_mesh_of_forty_nodes_runs_and_comes_back_from_its_text() {
    let mut plan = Plan::generate(1);
    plan.faults.clear();
    plan.network.links.clear();
    let count = 40;
    let first = plan.nodes[0].clone();
    plan.nodes = (0..count)
        .map(|index| crate::plan::NodePlan {
            name: crate::plan::node_name(index),
            listens: true,
            joins_through: (index > 0).then(|| (index - 1) / 3),
            joins_at: index as Time * 20 * MILLI,
            ..first.clone()
        })
        .collect();
    plan.edges = (1..count)
        .map(|index| crate::plan::Edge { a: index, b: (index - 1) / 3, a_dials: true, b_dials: false })
        .collect();
    plan.departures.clear();
    plan.stops.clear();
    plan.streams.truncate(1);
    (plan.streams[0].source, plan.streams[0].target, plan.streams[0].asked_at) = (0, 1, 0);
    plan.streams[0].more.clear();
    plan.streams[0].later.clear();
    plan.changes.clear();
    plan.flow = None;
    let partition = FaultKind::Partition { side: (20..count).collect(), length: SECOND };
    plan.faults = vec![Fault { id: 1, when: Trigger::At(4 * SECOND), kind: partition }];
    let back = Plan::from_toml(&plan.to_toml()).expect("it was just written");
    assert_eq!(back, plan);
    let outcome = run(back, Wrong::Nothing, Recording::Off);
    assert!(outcome.verdict.is_pass(), "{}", outcome.verdict);
    assert_eq!((outcome.nodes, outcome.faults), (count, 1));
}
