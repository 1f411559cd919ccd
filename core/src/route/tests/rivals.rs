//! Two starts of one node, seen by link states (rule C6, T10).

use super::*;
use crate::id::BootId;

const ONE: BootId = BootId(71);
const OTHER: BootId = BootId(72);
const CLAIM: Bytes = Bytes::from_static(b"claim");

/// A start of node 1, which takes itself for a member among four.
fn start(now: Instant, boot: BootId, generation: u64) -> Routes {
    let mut routes =
        Routes::new(Config::default(), id(1), rng(boot.0 as u64), Planted::none()).with_boot(boot);
    routes.restored(at(now), Generation(generation));
    take_step(&mut routes, now, Input::Members(members(1..=4)));
    routes
}

fn rivals(outputs: &[Output]) -> Vec<(BootId, Bytes)> {
    let rival = |output: &Output| match output {
        Output::Rival { boot, claim } => Some((*boot, claim.clone())),
        _ => None,
    };
    outputs.iter().filter_map(rival).collect()
}

/// Hands the own state of one start to another.
fn hear(routes: &mut Routes, of: &Routes, now: Instant) -> Vec<Output> {
    let said = of.table.announcement(now, id(1)).expect("it has one");
    let message = Message::decode(Message::Flood(vec![said]).encode()).expect("it can be read");
    take_step(routes, now, Step::Hear { from: id(2), message })
}

#[test]
fn two_starts_that_write_above_each_other_hear_of_each_other_and_what_they_claim() {
    // The counts of starts may be equal: both began on one disk.
    for generation in [4, 5] {
        let mut now = Instant(5_000_000_000);
        let (mut one, mut other) = (start(now, ONE, 4), start(now, OTHER, generation));
        for routes in [&mut one, &mut other] {
            take_step(routes, now, Input::LinkUp { node: id(2), label: 1 });
        }
        take_step(&mut other, now, Input::Claim(CLAIM));
        let (mut by_one, mut by_other) = (Vec::new(), Vec::new());
        for _ in 0..4 {
            now += Span::secs(2);
            by_one.extend(rivals(&hear(&mut one, &other, now)));
            take_step(&mut one, now + Span::secs(1), Input::Deadline);
            now += Span::secs(2);
            by_other.extend(rivals(&hear(&mut other, &one, now)));
            take_step(&mut other, now + Span::secs(1), Input::Deadline);
        }
        assert!(by_one.contains(&(OTHER, CLAIM)), "{generation}");
        assert!(by_other.contains(&(ONE, Bytes::new())), "{generation}");
    }
}

#[test]
fn an_ordinary_start_finds_no_rival_in_what_the_one_before_it_said() {
    let now = Instant(5_000_000_000);
    let mut old = start(now, ONE, 4);
    for round in 0..5 {
        take_step(&mut old, now + Span::secs(round), Input::LinkUp { node: id(2), label: 1 });
        take_step(&mut old, now + Span::secs(round), Input::LinkDown { node: id(2) });
    }
    let mut new = start(now, OTHER, 5);
    take_step(&mut new, now, Input::LinkUp { node: id(2), label: 1 });
    assert_eq!(rivals(&hear(&mut new, &old, now + Span::secs(9))), []);
}

#[test]
fn records_reach_all_and_whoever_comes_later_has_them_from_its_neighbours() {
    let record = |lateness| Some(Record { lateness, bytes: Bytes::from_static(b"record") });
    let mut world = World::new(4, 8);
    for (a, b) in [(2, 3), (3, 4)] {
        world.connect(a, b, 10);
    }
    world.run(Span::secs(3));
    world.input(2, Input::Record { node: id(1), record: record(1) });
    world.run(Span::secs(1));
    assert_eq!(world.records, [(3, Bytes::from_static(b"record"))], "whoever believes it passes it on");
    world.input(3, Input::Record { node: id(1), record: record(1) });
    world.run(Span::secs(1));
    assert!(world.records.contains(&(4, Bytes::from_static(b"record"))));
    world.records.clear();
    // 4 did not believe it. 2 and 3 agree.
    world.run(Span::secs(200));
    assert!(world.records.iter().any(|(node, _)| *node == 4), "tables that differ are compared");
    assert!(world.records.iter().all(|(node, _)| [3, 4].contains(node)), "{:?}", world.records);
    world.disconnect(2, 3);
    world.input(2, Input::Record { node: id(1), record: None });
    world.records.clear();
    world.connect(2, 3, 10);
    world.run(Span::secs(1));
    assert!(world.records.iter().any(|(node, _)| *node == 2));
}
