//! Each kind of trouble at a single node happens, and is seen.

use wattle_core::node::Node;

use super::{Wrong, seconds, toy};
use crate::disk::damage::{Reach, Rot};
use crate::event::{MILLI, SECOND, Time};
use crate::fault::{Fault, FaultKind, Trigger};
use crate::outcome::{Outcome, Verdict};
use crate::plan::Plan;
use crate::toy::Toy;
use crate::trace::Recording;
use crate::trouble::Trouble;
use crate::world::World;

fn trouble(node: usize, what: Trouble) -> FaultKind {
    FaultKind::Trouble { node, what }
}

/// A calm plan in which all three nodes are linked with each other and a busy stream leads from birch to cedar.
fn busy(what: Trouble) -> Plan {
    let mut plan = (0..)
        .map(|seed| {
            let mut plan = Plan::generate(seed);
            plan.updates = None;
            plan.faults.clear();
            plan
        })
        .find(|plan| plan.nodes.len() == 3 && plan.edges.len() == 3 && !plan.disk.rows_may_tear)
        .expect("there are many");
    plan.beyond_repair = false;
    plan.streams.truncate(1);
    plan.nodes.iter_mut().for_each(|node| (node.clock_ppm, node.disk_factor) = (0, 1));
    plan.disk.sync = (MILLI, 2 * MILLI);
    plan.network.bandwidth = 0;
    let stream = &mut plan.streams[0];
    (stream.source, stream.target, stream.asked_at, stream.opens_at) = (1, 2, 1, 0);
    stream.publishers.truncate(1);
    let publisher = &mut stream.publishers[0];
    (publisher.starts_at, publisher.messages, publisher.batch) = (SECOND, 900, (1, 2));
    (publisher.pause, publisher.pipeline, publisher.closes) = ((10 * MILLI, 20 * MILLI), 2, false);
    (publisher.answers_lost_one_in, publisher.gaps_one_in) = (0, 0);
    stream.handler.attaches_at = 0;
    stream.handler.interruptions.clear();
    stream.handler.service = (MILLI, 5 * MILLI);
    plan.fault_phase = 6 * SECOND;
    plan.faults = vec![Fault { id: 1, when: Trigger::At(3 * SECOND), kind: trouble(1, what) }];
    plan
}

/// Birch crashes a little after its trouble began.
fn and_crash(mut plan: Plan) -> Plan {
    let crash = FaultKind::Crash { node: 1, power: false, after_outputs: None, down: 100 * MILLI };
    plan.faults.push(Fault { id: 2, when: Trigger::At(3_400 * MILLI), kind: crash });
    plan
}

fn run(plan: Plan) -> Outcome {
    World::<Node>::new(plan, Recording::All).run()
}

/// The lines about birch of a run that passes.
fn birch(plan: Plan) -> Vec<String> {
    let outcome = run(plan);
    assert!(outcome.verdict.is_pass(), "{}", outcome.verdict);
    outcome.lines.into_iter().filter(|line| line.contains("birch ")).collect()
}

fn has(lines: &[String], what: &str) -> usize {
    lines.iter().filter(|line| line.contains(what)).count()
}

fn within(lines: &[String], from: f64, to: f64) -> impl Iterator<Item = &String> {
    lines.iter().filter(move |line| (from..to).contains(&seconds(line)))
}

#[test]
fn a_slow_node_takes_one_input_after_the_other_and_catches_up_when_it_is_quick_again() {
    let lines = birch(busy(Trouble::SlowNode { service: 40 * MILLI, length: SECOND }));
    let steps = |from, to| -> Vec<f64> {
        let mut steps: Vec<f64> =
            within(&lines, from, to).filter(|line| line.contains("<- ")).map(|line| seconds(line)).collect();
        steps.dedup();
        steps
    };
    let slow = steps(3.000_001, 4.0);
    assert!(slow.len() > 15, "it is kept busy: {slow:?}");
    assert!(slow.windows(2).all(|pair| pair[1] - pair[0] > 0.039), "{slow:?}");
    let late = within(&lines, 3.999_9, 4.000_1).filter(|line| line.contains("<- ")).count();
    assert!(late > 5, "what waited comes at once: {late}");
}

#[test]
fn a_blocked_sender_sends_nothing_and_then_goes_on_at_once() {
    for peer in [None, Some(0), Some(2)] {
        let lines = birch(busy(Trouble::BlockedSender { peer, length: 400 * MILLI }));
        let sent = |from, to| {
            within(&lines, from, to).filter(|line| line.contains("-> ") && line.contains(" on lane "))
        };
        let (before, during) = (sent(2.6, 3.0).count(), sent(3.000_001, 3.399_99).count());
        assert!(before > 20 && during < before, "{before} before, {during} during");
        assert_eq!(during == 0, peer.is_none());
        assert!(sent(3.399_99, 3.400_1).count() > 0, "full sockets are empty again");
    }
}

#[test]
fn a_crash_loop_crashes_as_often_as_it_says() {
    let runs = 50 * MILLI;
    let lines = birch(busy(Trouble::CrashLoop { times: 5, runs, down: 20 * MILLI }));
    assert_eq!(has(&lines, "== crashes;"), 5);
    assert_eq!(has(&lines, "== crashes again, "), 5);
    assert_eq!(has(&lines, "== starts, life "), 6);
}

#[test]
fn a_node_with_an_empty_disk_joins_again_and_goes_on() {
    let lines = birch(busy(Trouble::EmptyDisk { down: 100 * MILLI }));
    let emptied = lines.iter().position(|line| line.contains("== its disk is empty")).expect("it is");
    assert!(lines[emptied..].iter().any(|line| line.contains("Joined")), "it joined again");
    assert!(lines[emptied..].iter().any(|line| line.contains("<- persisted up to 1")), "its rows begin anew");
}

#[test]
fn of_a_node_that_lost_its_disk_nothing_is_kept_before_it_has_joined_again() {
    let mut world = World::<Node>::new(busy(Trouble::EmptyDisk { down: 100 * MILLI }), Recording::Off);
    world.start();
    let goes_on_until = |world: &mut World<Node>, done: fn(&World<Node>) -> bool| {
        while !done(world) {
            assert!(world.verdict.is_none() && world.now < 6 * SECOND);
            world.next();
        }
        world.back_up(1);
        world.images[1].is_some()
    };
    assert!(!goes_on_until(&mut world, |world| world.now > 3 * SECOND && world.processes[1].is_up()));
    assert!(goes_on_until(&mut world, |world| world.custody.joined(1)));
}

#[test]
fn what_a_failed_sync_covered_is_not_there_when_a_new_process_reads() {
    let lines = birch(busy(Trouble::LostPages));
    let failed = lines.iter().position(|line| line.contains("<- write failed")).expect("it is told");
    assert!(lines[failed..].iter().any(|line| line.contains("kept: 0, torn: 0, lost: 0")));
    let number = |line: &String| line.rsplit(' ').next().and_then(|word| word.parse::<u64>().ok());
    let persisted = lines[..failed].iter().rev().find(|line| line.contains("<- persisted")).and_then(number);
    let write = lines[failed..].iter().find(|line| line.contains("-> write")).expect("it writes again");
    let ticket =
        write.split(' ').skip_while(|word| *word != "write").nth(1).and_then(|word| word.parse().ok());
    assert_eq!(ticket, persisted.map(|upto| upto + 1), "the rows of the failed sync are gone");
}

#[test]
fn space_that_ends_within_a_batch_stops_the_node_until_it_starts_again() {
    let lines = birch(busy(Trouble::OutOfSpace { rows: 3 }));
    assert!(has(&lines, "== no room for row") > 0);
    assert_eq!((has(&lines, "<- write failed"), has(&lines, "== starts, life 1")), (1, 1));
}

#[test]
fn a_stalled_disk_ends_no_access_until_it_goes_on() {
    let lines = birch(busy(Trouble::StalledDisk { length: 700 * MILLI }));
    let persisted = |from, to| within(&lines, from, to).filter(|line| line.contains("<- persisted")).count();
    assert!(persisted(2.5, 3.0) > 5);
    assert_eq!(persisted(3.000_001, 3.699_99), 0);
    assert_eq!(persisted(3.699_99, 3.700_001), 1);
}

#[test]
fn rot_is_refused_at_the_next_start_and_an_operator_sees_to_it() {
    for rot in [Rot::Bit, Rot::Byte, Rot::Sector] {
        let lines = birch(and_crash(busy(Trouble::BitRot { rot, reach: Reach::Vouched, rows: 2 })));
        assert_eq!(has(&lines, "== its disk is damaged: Refusal"), 1);
        assert_eq!(has(&lines, "== refuses: the journal is damaged"), 1);
        assert_eq!(has(&lines, "== its disk is put right"), 1);
    }
}

#[test]
fn rows_that_cannot_be_read_keep_a_node_from_starting() {
    let lines = birch(and_crash(busy(Trouble::ReadErrors { reach: Reach::Vouched, rows: 1 })));
    assert_eq!(has(&lines, "== its disk is damaged: Unreadable"), 1);
    assert_eq!(has(&lines, "== its disk is put right"), 1);
    assert_eq!(has(&lines, "== starts, life"), 2, "it is not even asked");
}

#[test]
fn phantom_and_misdirected_writes_are_refused_at_the_next_start() {
    for what in [Trouble::PhantomWrite, Trouble::MisdirectedWrite] {
        let lines = birch(and_crash(busy(what)));
        assert_eq!(has(&lines, "== its disk is damaged: Refusal"), 1);
        assert_eq!(has(&lines, "== refuses: the journal is damaged"), 1);
    }
}

#[test]
fn beyond_repair_nobody_sees_to_it_and_nothing_is_owed() {
    let mut plan = and_crash(busy(Trouble::BitRot { rot: Rot::Byte, reach: Reach::Any, rows: 50 }));
    plan.beyond_repair = true;
    let outcome = run(plan);
    let Verdict::NotOwed { what } = &outcome.verdict else { panic!("{}", outcome.verdict) };
    assert!(what.contains("node 1: the journal is damaged"), "{what}");
    assert_eq!(has(&outcome.lines, "== its disk is put right"), 0);
}

#[test]
fn a_node_that_starts_on_a_damaged_disk_is_found() {
    toy::reset(Wrong::Nothing);
    let plan = and_crash(busy(Trouble::ReadErrors { reach: Reach::Vouched, rows: 1 }));
    let passes = World::<Toy>::new(plan.without_large(), Recording::Off).run();
    assert!(passes.verdict.is_pass(), "a toy that never sees the damage is well: {}", passes.verdict);
    let plan = and_crash(busy(Trouble::PhantomWrite));
    let outcome = World::<Toy>::new(plan.without_large(), Recording::Off).run();
    assert_eq!(outcome.verdict.broken(), Some("X16"), "a toy believes every disk: {}", outcome.verdict);
}

#[test]
fn a_node_that_refuses_a_sound_disk_is_found() {
    let mut plan = and_crash(busy(Trouble::LostPages));
    plan.faults.remove(0);
    let mut world = World::<Node>::new(plan, Recording::Off);
    world.start();
    while world.now < 3_420 * MILLI {
        world.next();
    }
    // Behind the back of the ledger.
    world.processes[1].disk.forge_hole();
    assert_eq!(world.run_on().verdict.broken(), Some("X11"));
}

/// What the monotonic clock of birch showed at these moments.
fn clock(what: Trouble, moments: [Time; 2]) -> [u64; 2] {
    let mut world = World::<Node>::new(busy(what), Recording::Off);
    world.start();
    moments.map(|moment| {
        while world.now < moment {
            world.next();
        }
        world.processes[1].clock.read(moment).monotonic.0
    })
}

#[test]
fn a_clock_drifts_for_as_long_as_it_says() {
    let length = SECOND;
    let ran = |ppm| {
        let [from, to] = clock(Trouble::Drift { ppm, length }, [2 * SECOND, 5 * SECOND]);
        (to - from) as i64 - 3 * SECOND as i64
    };
    assert_eq!((ran(20_000), ran(-20_000)), (20_000_000, -20_000_000));
}

#[test]
fn a_machine_that_sleeps_hears_nothing_and_its_clock_counts_that_or_does_not() {
    for (counted, ran) in [(true, 3 * SECOND), (false, 2_200 * MILLI)] {
        let asleep = Trouble::Suspend { counted, length: 800 * MILLI };
        let [from, to] = clock(asleep.clone(), [2 * SECOND, 5 * SECOND]);
        assert_eq!(to - from, ran);
        let lines = birch(busy(asleep));
        assert_eq!(within(&lines, 3.000_001, 3.8).filter(|line| !line.contains("==")).count(), 0);
        assert!(within(&lines, 3.8, 3.9).count() > 10, "it goes on");
    }
}

#[test]
fn loose_timers_fire_many_at_once_and_late() {
    let lines = birch(busy(Trouble::TimerSlack { slack: 50 * MILLI, length: SECOND }));
    let fired = |from, to| within(&lines, from, to).filter(|line| line.contains("<- deadline"));
    let early: Vec<_> = fired(3.000_001, 4.0).filter(|line| (seconds(line) * 20.0).fract() > 0.001).collect();
    assert!(early.is_empty(), "{early:?}");
    assert!((5..=20).contains(&fired(3.000_001, 4.0).count()));
    assert!(fired(2.0, 3.0).any(|line| (seconds(line) * 20.0).fract() > 0.001));
}
