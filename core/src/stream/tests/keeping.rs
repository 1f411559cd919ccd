//! What is kept of what all have processed, for how long, and what gives way.

use super::world::{INSTANCE, SOURCE, TARGET, World, node};
use crate::id::Sequence;
use crate::node::command::Waited;
use crate::retention::{Retention, Scarce, Short};
use crate::stream::{Config, Input};
use crate::time::Span;

/// A stream that keeps something, and a handler that processes at once.
pub(super) fn keeps(keep: Retention, settings: impl FnOnce(&mut Config)) -> World {
    let mut world = World::new(7);
    world.keep = keep;
    settings(&mut world.config);
    world.start(SOURCE);
    world.start(TARGET);
    world.lead();
    world.run(Span::millis(300));
    world.attach(None, 100);
    world.run(Span::millis(300));
    world
}

/// Publishes messages one at a time, until they are processed.
pub(super) fn publish(world: &mut World, first: u64, count: u64) {
    for number in first..first + count {
        world.publish(1, number, 1, Waited::Accepted);
        world.run(Span::millis(40));
    }
    world.run(Span::millis(500));
    assert_eq!(world.position, first + count - 1);
}

/// The first message that each end keeps.
pub(super) fn first_kept(world: &World) -> [u64; 2] {
    [SOURCE, TARGET].map(|which| world.status(which).kept.first.0)
}

fn messages(messages: u64) -> Retention {
    Retention { messages, ..Retention::default() }
}

fn span(span: Span) -> Retention {
    Retention { span, ..Retention::default() }
}

#[test]
fn the_last_messages_are_kept_and_those_before_them_go() {
    let mut world = keeps(messages(10), |_| {});
    publish(&mut world, 1, 9);
    assert_eq!((first_kept(&world), world.status(SOURCE).completed), ([1, 1], Sequence(9)));
    publish(&mut world, 10, 31);
    assert_eq!(first_kept(&world), [31, 31]);
    let status = world.status(SOURCE);
    assert_eq!((status.released, status.kept.messages, status.kept.short), (Sequence(30), 10, None));
    assert!(status.waiting_for.is_empty(), "nobody waits: {:?}", status.waiting_for);
    world.run(Span::secs(100));
    assert_eq!(first_kept(&world), [31, 31], "time takes none of them");
    assert!(world.alive(SOURCE) < 12 * 700, "{} bytes are on the disk", world.alive(SOURCE));
}

#[test]
fn the_last_bytes_are_kept() {
    let mut world = keeps(Retention { bytes: 4_000, ..Retention::default() }, |_| {});
    publish(&mut world, 1, 60);
    let kept = world.status(TARGET).kept;
    assert!((4_000..4_700).contains(&kept.bytes), "{} bytes are kept", kept.bytes);
    assert_eq!(first_kept(&world), [kept.first.0; 2]);
}

#[test]
fn a_message_is_kept_while_any_limit_wants_it() {
    let keep = Retention { messages: 5, bytes: 1, span: Span::secs(20) };
    let mut world = keeps(keep, |_| {});
    publish(&mut world, 1, 20);
    world.run(Span::secs(10));
    assert_eq!(first_kept(&world), [1, 1], "they are young");
    world.run(Span::secs(20));
    assert_eq!(first_kept(&world), [16, 16], "the last five are wanted however old they are");
}

#[test]
fn messages_are_kept_for_a_time_and_not_much_longer() {
    let mut world = keeps(span(Span::secs(60)), |_| {});
    publish(&mut world, 1, 5);
    world.run(Span::secs(30));
    publish(&mut world, 6, 5);
    world.run(Span::secs(28));
    assert_eq!(first_kept(&world), [1, 1], "the first is not a minute old");
    world.run(Span::secs(6));
    assert_eq!(first_kept(&world), [6, 6]);
    world.run(Span::secs(31));
    assert_eq!(first_kept(&world), [11, 11]);
    let rows = world.rows(SOURCE);
    world.run(Span::secs(600));
    assert_eq!(world.rows(SOURCE), rows, "a stream in which nothing grows old writes nothing");
}

#[test]
fn a_clock_that_steps_makes_nothing_older_and_one_that_goes_back_holds_nothing_up_for_ever() {
    let mut world = keeps(span(Span::secs(60)), |_| {});
    publish(&mut world, 1, 5);
    world.ahead = 3_600_000;
    publish(&mut world, 6, 5);
    world.run(Span::secs(40));
    assert_eq!(first_kept(&world), [1, 1], "an hour passed on the wall alone");
    world.ahead = 0;
    world.run(Span::secs(30));
    assert_eq!(first_kept(&world), [11, 11]);
}

#[test]
fn a_start_knows_how_old_everything_is_and_the_time_only_grows() {
    let mut world = keeps(span(Span::secs(60)), |_| {});
    publish(&mut world, 1, 5);
    world.run(Span::secs(30));
    world.ahead = 0;
    world.crash(SOURCE, 0);
    world.start(SOURCE);
    world.run(Span::secs(1));
    world.lead();
    world.run(Span::secs(24));
    assert_eq!(first_kept(&world), [1, 1]);
    world.run(Span::secs(12));
    assert_eq!(first_kept(&world), [6, 6]);
    let clock = |world: &World| {
        world.machines[SOURCE].streams.as_ref().expect("it runs").streams[&INSTANCE].head.clock()
    };
    let before = clock(&world);
    publish(&mut world, 6, 1);
    assert!(clock(&world) > before);
}

#[test]
fn what_is_kept_for_its_own_sake_holds_up_no_publisher() {
    let mut world = keeps(messages(1_000_000), |config| config.outbox_memory = 32 << 10);
    publish(&mut world, 1, 200);
    let status = world.status(SOURCE);
    assert_eq!((status.accepted, status.kept.first), (Sequence(200), Sequence(1)));
    assert!(status.kept.bytes > 32 << 10 && status.outbox_bytes < 32 << 10, "{status:?}");
    world.verdicts = false;
    let mut refused = 0;
    for number in 201..=300 {
        let request = world.publish(1, number, 1, Waited::Accepted);
        world.run(Span::millis(40));
        refused += u64::from(world.answers(request).iter().any(|answer| answer.is_err()));
    }
    assert!(refused > 50, "a handler that stands still does: {refused}");
}

#[test]
fn history_gives_way_where_a_disk_has_little_room_and_says_so() {
    for which in [SOURCE, TARGET] {
        let mut world = keeps(messages(1_000_000), |config| config.history_room = 20_000);
        let kept = world.config.space_floor + world.config.intake_room;
        publish(&mut world, 1, 200);
        assert_eq!(first_kept(&world), [1, 1]);
        world.give(which, Input::Space { free: kept + 10_000 });
        world.run(Span::millis(1_000));
        world.give(which, Input::Space { free: kept + 30_000 });
        world.run(Span::secs(20));
        let first = first_kept(&world)[0];
        assert!((40..120).contains(&first), "20,000 bytes went: {first}");
        assert_eq!(first_kept(&world), [first; 2]);
        let short = Short { upto: Sequence(first - 1), node: node(which), scarce: Scarce::Disk };
        assert_eq!([SOURCE, TARGET].map(|end| world.status(end).kept.short), [Some(short); 2]);
        publish(&mut world, 201, 20);
        assert_eq!(first_kept(&world), [first; 2], "there is room again");
        world.crash(SOURCE, 0);
        world.start(SOURCE);
        world.lead();
        world.run(Span::secs(1));
        assert_eq!(world.status(SOURCE).kept.short, Some(short), "a start knows it");
    }
}

#[test]
fn history_gives_way_to_nothing_that_is_owed() {
    let mut world = keeps(messages(1_000_000), |config| config.history_room = 20_000);
    publish(&mut world, 1, 20);
    world.verdicts = false;
    for number in 21..=60 {
        world.publish(1, number, 1, Waited::Accepted);
        world.run(Span::millis(40));
    }
    let kept = world.config.space_floor + world.config.intake_room;
    world.give(SOURCE, Input::Space { free: kept + 10 });
    world.run(Span::secs(30));
    assert_eq!(first_kept(&world), [21, 21], "what the handler has not processed stays");
}

#[test]
fn the_index_of_history_is_bounded() {
    let mut world = keeps(messages(1_000_000), |config| config.history_memory = 200_000);
    publish(&mut world, 1, 300);
    world.run(Span::secs(5));
    let kept = world.status(SOURCE).kept;
    assert!((70..130).contains(&kept.messages), "{kept:?}");
    let short = kept.short.expect("it says so");
    assert_eq!((short.node, short.scarce), (node(SOURCE), Scarce::Memory));
}

#[cfg(feature = "planted")]
#[test]
fn a_limit_that_is_passed_over_is_seen() {
    let keep = Retention { messages: 50, bytes: 1, ..Retention::default() };
    let mut world = World::new(7);
    world.planted = crate::planted::Planted::only(crate::planted::Bug::KeptByOneLimit);
    world.keep = keep;
    world.start(SOURCE);
    world.start(TARGET);
    world.lead();
    world.run(Span::millis(300));
    world.attach(None, 100);
    world.run(Span::millis(300));
    publish(&mut world, 1, 20);
    assert!(first_kept(&world)[0] > 1);
}
