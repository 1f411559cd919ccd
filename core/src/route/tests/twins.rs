//! A node that exists twice.

use super::*;
use crate::id::BootId;

const ONE: BootId = BootId(71);
const OTHER: BootId = BootId(72);

/// A start of node 1, with nodes 2 and 3 around.
fn start(boot: BootId, generation: u64) -> Routes {
    let mut routes = Routes::new(Config::default(), id(1), rng(9), Planted::none()).with_boot(boot);
    routes.restored(at(Instant(5_000_000_000)), Generation(generation));
    take_step(&mut routes, Instant(5_000_000_000), Input::Members(members(1..=3)));
    routes
}

fn own_state(routes: &Routes) -> Announcement {
    routes.table.announcement(Instant(5_000_000_000), id(1)).expect("it has one")
}

/// Hands the own state of one start to another; what that says besides sending.
fn hear(routes: &mut Routes, said: Announcement, now: Instant) -> Vec<Output> {
    let message = Message::decode(Message::Flood(vec![said]).encode()).expect("it can be read");
    let step = Step::Hear { from: id(2), message };
    let outputs = take_step(routes, now, step);
    outputs.into_iter().filter(|output| !matches!(output, Output::Send { .. })).collect()
}

#[test]
fn each_of_two_copies_finds_out_by_itself_that_the_other_lives() {
    let mut now = Instant(5_000_000_000);
    let (mut one, mut other) = (start(ONE, 4), start(OTHER, 5));
    for routes in [&mut one, &mut other] {
        take_step(routes, now, Input::LinkUp { node: id(2), label: 1 });
    }
    let mut found = [false, false];
    for _ in 0..8 {
        now += Span::secs(2);
        let said = own_state(&other);
        let first = hear(&mut one, said, now);
        found[0] |= first.contains(&Output::Twin { other: OTHER });
        take_step(&mut one, now + Span::secs(1), Input::Deadline);
        now += Span::secs(2);
        let said = own_state(&one);
        let second = hear(&mut other, said, now);
        found[1] |= second.contains(&Output::Twin { other: ONE });
        take_step(&mut other, now + Span::secs(1), Input::Deadline);
    }
    assert_eq!(found, [true, true]);
}

#[test]
fn a_later_start_that_finds_what_an_earlier_one_wrote_is_alone() {
    let now = Instant(9_000_000_000);
    let mut old = start(ONE, 4);
    for round in 0..5 {
        take_step(&mut old, now + Span::secs(round), Input::LinkUp { node: id(2), label: 1 });
        take_step(&mut old, now + Span::secs(round), Input::LinkDown { node: id(2) });
    }
    // Its disk was taken back: the later start counts lower.
    let mut new = start(OTHER, 3);
    take_step(&mut new, now, Input::LinkUp { node: id(2), label: 1 });
    for round in 0..5 {
        let said = own_state(&old);
        assert_eq!(hear(&mut new, said, now + Span::secs(10 + round)), []);
    }
    take_step(&mut new, now + Span::secs(20), Input::Deadline);
    let contest = own_state(&new).contest.expect("it wrote above another");
    assert_eq!((contest.writer, contest.rival), (OTHER, None));
}

#[test]
fn all_hear_of_two_copies_that_stopped_and_of_the_one_that_goes_on() {
    let now = Instant(5_000_000_000);
    let mut routes = Routes::new(Config::default(), id(3), rng(3), Planted::none());
    routes.restored(at(now), Generation(1));
    take_step(&mut routes, now, Input::Members(members(1..=3)));
    take_step(&mut routes, now, Input::LinkUp { node: id(2), label: 1 });
    let mut one = start(ONE, 4);
    one.note_twin(OTHER);
    take_step(&mut one, now, Input::Stopped(true));
    let outputs = hear(&mut routes, own_state(&one), now);
    let twins = Some([ONE, OTHER]);
    assert!(outputs.contains(&Output::Twins { node: id(1), twins }), "{outputs:?}");
    let third = BootId(73);
    let mut kept = start(third, 4);
    kept.note_kept();
    take_step(&mut kept, now, Input::LinkUp { node: id(2), label: 1 });
    hear(&mut kept, own_state(&one), now + Span::secs(1));
    take_step(&mut kept, now + Span::secs(2), Input::Deadline);
    let outputs = hear(&mut routes, own_state(&kept), now + Span::secs(3));
    assert!(outputs.contains(&Output::Twins { node: id(1), twins: None }), "{outputs:?}");
    assert!(outputs.contains(&Output::Heard { node: id(1), boot: third }), "{outputs:?}");
}

#[test]
fn what_a_third_node_found_is_told_to_all_and_taken_back() {
    let mut world = World::new(4, 8);
    for (a, b) in [(2, 3), (3, 4)] {
        world.connect(a, b, 10);
    }
    world.run(Span::secs(3));
    for twins in [Some([ONE, OTHER]), None] {
        world.told.clear();
        world.input(2, Input::Found { node: id(1), twins });
        world.run(Span::secs(3));
        let told = Output::Twins { node: id(1), twins };
        assert_eq!(world.told, [(3, told.clone()), (4, told)]);
    }
}
