//! Writers that write no more: nothing is accepted of them, and nothing accepted is lost for it.

use alloc::string::ToString as _;

use super::promises::{receipts, refusal, world};
use super::world::{INSTANCE, NAME, SOURCE, TARGET, World, node};
use crate::id::{RequestId, WriterId};
use crate::node::command::{Refusal, Reply, Waited};
use crate::node::output::Event;
use crate::stream::Input;
use crate::time::Span;

fn close(world: &mut World, writer: u128) -> RequestId {
    let request = world.request();
    let writer = WriterId(writer);
    world.give(SOURCE, Input::CloseWriter { request, stream: NAME.to_string(), writer });
    request
}

/// A writer wrote ten messages and a handler is done with none of them, so that the entry that closes it stays above the floor.
fn backlog() -> World {
    let mut world = world();
    world.verdicts = false;
    world.attach(None, 100);
    world.publish(1, 1, 10, Waited::Accepted);
    world.run(Span::millis(300));
    world
}

/// The backlog is worked off, and everything else with it.
fn work_off(world: &mut World) {
    world.cut = false;
    world.verdicts = true;
    world.lead();
    world.run(Span::secs(1));
    let position = world.position;
    world.attach(Some(position), 100);
    world.run(Span::secs(3));
}

#[test]
fn a_writer_that_was_closed_stays_closed_when_the_source_starts_again_before_its_log_is_applied() {
    let mut world = backlog();
    let closed = close(&mut world, 1);
    world.run(Span::millis(300));
    assert_eq!(world.answers(closed), [&Ok(Reply::WriterClosed)]);
    world.cut = true;
    world.crash(SOURCE, 0);
    world.start(SOURCE);
    let late = world.publish(1, 11, 1, Waited::Accepted);
    world.run(Span::millis(300));
    assert_eq!(refusal(&world, late), Refusal::WriterClosed, "not accepted, to be dropped later");
    work_off(&mut world);
    assert_eq!(world.position, 10);
    let late = world.publish(1, 11, 1, Waited::Accepted);
    assert_eq!(refusal(&world, late), Refusal::WriterClosed);
    world.crash(SOURCE, 0);
    world.start(SOURCE);
    let late = world.publish(1, 11, 1, Waited::Accepted);
    assert_eq!(refusal(&world, late), Refusal::WriterClosed, "the state says so by now");
}

#[test]
fn a_writer_whose_closing_was_not_proposed_yet_is_closed_after_a_restart() {
    let mut world = world();
    world.cut = true;
    world.crash(SOURCE, 0);
    world.start(SOURCE);
    world.publish(1, 1, 3, Waited::Accepted);
    let unanswered = close(&mut world, 1);
    world.run(Span::millis(300));
    assert!(world.answers(unanswered).is_empty(), "nothing can be committed yet");
    world.crash(SOURCE, 0);
    world.start(SOURCE);
    let late = world.publish(1, 4, 1, Waited::Accepted);
    assert_eq!(refusal(&world, late), Refusal::WriterClosed);
    work_off(&mut world);
    assert_eq!(world.position, 3, "what was accepted before is processed");
    let again = close(&mut world, 1);
    assert_eq!(world.answers(again), [&Ok(Reply::WriterClosed)], "it was proposed again by itself");
}

#[test]
fn what_a_rolled_back_source_accepts_of_a_writer_it_forgot_to_have_closed_is_processed() {
    let mut world = backlog();
    let closed = close(&mut world, 1);
    world.run(Span::millis(300));
    assert_eq!(world.answers(closed), [&Ok(Reply::WriterClosed)]);
    world.cut = true;
    world.crash(SOURCE, 1_000);
    world.start(SOURCE);
    let accepted = world.publish(1, 1, 12, Waited::Accepted);
    world.run(Span::millis(200));
    assert_eq!(receipts(&world, accepted).len(), 1);
    world.cut = false;
    while !world.copy_back() {
        world.run(Span::millis(100));
        assert!(world.now < Span::secs(20).as_nanos(), "the target's store has the bytes");
    }
    work_off(&mut world);
    assert_eq!(world.effects.len(), 12, "ten were in the log, two were accepted since");
    let late = world.publish(1, 13, 1, Waited::Accepted);
    assert_eq!(refusal(&world, late), Refusal::WriterClosed, "it is closed all the same");
}

#[test]
fn a_stream_knows_a_bounded_number_of_writers_and_those_it_knows_go_on() {
    let mut world = World::new(19);
    world.config.writers = 4;
    world.start(SOURCE);
    world.start(TARGET);
    world.lead();
    world.attach(None, 100);
    world.run(Span::millis(300));
    world.publish(1, 1, 2, Waited::Accepted);
    world.publish(2, 1, 2, Waited::Accepted);
    world.run(Span::secs(1));
    close(&mut world, 3);
    world.publish(4, 1, 1, Waited::Accepted);
    let refused = world.publish(5, 1, 1, Waited::Accepted);
    let limit = Refusal::TooManyWriters { limit: 4 };
    assert_eq!(refusal(&world, refused), limit, "while the others are still on their way");
    world.run(Span::secs(1));
    let refused = world.publish(5, 1, 1, Waited::Accepted);
    assert_eq!(refusal(&world, refused), limit);
    let refused = close(&mut world, 6);
    assert_eq!(refusal(&world, refused), limit, "a closed writer is remembered, too");
    for writer in [1, 2] {
        let known = world.publish(writer, 3, 1, Waited::Completed);
        let closed = close(&mut world, writer);
        world.run(Span::secs(1));
        assert_eq!(receipts(&world, known).last().map(|at| at.level), Some(Waited::Completed));
        assert_eq!(world.answers(closed), [&Ok(Reply::WriterClosed)]);
    }
    world.crash(SOURCE, 0);
    world.start(SOURCE);
    let refused = world.publish(5, 1, 1, Waited::Accepted);
    assert_eq!(refusal(&world, refused), limit);
}

#[test]
fn a_state_that_is_too_large_to_be_sent_is_told_once() {
    let mut world = World::new(19);
    world.config.snapshot_bytes = 100;
    world.start(SOURCE);
    world.start(TARGET);
    world.lead();
    world.attach(None, 100);
    for writer in 1..10 {
        world.publish(writer, 1, 1, Waited::Accepted);
    }
    world.run(Span::secs(2));
    for _ in 0..3 {
        world.give(SOURCE, Input::SnapshotWanted { instance: INSTANCE, to: node(TARGET) });
    }
    let [Event::StateTooLarge { stream, bytes, limit: 100, .. }] = &*world.events else {
        panic!("told {:?}", world.events);
    };
    assert!(stream == NAME && *bytes > 9 * 18);
    let waits = world.status(SOURCE).waiting_for;
    assert!(waits.iter().any(|what| what.contains("too large")), "{waits:?}");
}
