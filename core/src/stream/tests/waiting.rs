//! Who waits: bounded by how long it may wait, and forgotten when it is gone.

use alloc::string::ToString as _;
use alloc::vec::Vec;

use super::promises::{receipts, refusal};
use super::world::{NAME, SOURCE, TARGET, World};
use crate::id::{RequestId, WriterId};
use crate::node::command::{Refusal, Reply, Waited};
use crate::stream::Input;
use crate::time::Span;

/// A source that leads and whose target is out of reach.
fn alone(waiting_later: usize) -> World {
    let mut world = World::new(5);
    world.config.waiting_later = waiting_later;
    world.start(SOURCE);
    world.start(TARGET);
    world.lead();
    world.run(Span::millis(300));
    world.cut = true;
    world
}

fn levels(world: &World, request: RequestId) -> Vec<Waited> {
    receipts(world, request).iter().map(|receipt| receipt.level).collect()
}

fn close(world: &mut World, writer: u128) -> RequestId {
    let request = world.request();
    let (stream, writer) = (NAME.to_string(), WriterId(writer));
    world.give(SOURCE, Input::CloseWriter { request, stream, writer });
    request
}

#[test]
fn who_waits_for_the_target_keeps_out_nobody_who_waits_only_for_accepted() {
    let mut world = alone(3);
    let waits: Vec<RequestId> =
        (1..=3).map(|writer| world.publish(writer, 1, 2, Waited::Completed)).collect();
    world.run(Span::millis(100));
    let one_more = world.publish(4, 1, 1, Waited::Replicated);
    assert_eq!(refusal(&world, one_more), Refusal::Busy);
    let closing = close(&mut world, 9);
    assert_eq!(refusal(&world, closing), Refusal::Busy);
    let quick = world.publish(4, 1, 1, Waited::Accepted);
    world.run(Span::millis(100));
    assert_eq!(levels(&world, quick), [Waited::Accepted]);
    world.cut = false;
    world.attach(None, 100);
    world.run(Span::secs(2));
    for request in waits {
        assert_eq!(levels(&world, request).last(), Some(&Waited::Completed));
    }
}

#[test]
fn a_client_that_went_away_waits_no_more() {
    let mut world = alone(2);
    let gone = world.publish(1, 1, 3, Waited::Completed);
    world.run(Span::millis(100));
    let repeated = world.publish(1, 2, 4, Waited::Completed);
    world.give(SOURCE, Input::Forget { request: repeated });
    world.give(SOURCE, Input::Forget { request: gone });
    let closing = close(&mut world, 7);
    world.give(SOURCE, Input::Forget { request: closing });
    world.give(SOURCE, Input::Forget { request: RequestId(1 << 60) });
    let [first, second] = [2, 3].map(|writer| world.publish(writer, 1, 1, Waited::Completed));
    world.run(Span::millis(100));
    let crowded = world.publish(4, 1, 1, Waited::Completed);
    assert_eq!(refusal(&world, crowded), Refusal::Busy);
    world.cut = false;
    world.attach(None, 100);
    world.run(Span::secs(2));
    assert_eq!(world.position, 7, "what was asked for is done all the same");
    assert_eq!(levels(&world, gone), [Waited::Accepted], "and nothing is told after it was forgotten");
    assert!(levels(&world, repeated).len() <= 1);
    for request in [first, second] {
        assert_eq!(levels(&world, request).last(), Some(&Waited::Completed));
    }
    let closed = close(&mut world, 7);
    assert_eq!(world.answers(closed), [&Ok(Reply::WriterClosed)]);
    assert!(world.answers(closing).is_empty());
}

#[test]
fn a_handler_that_gave_up_waiting_to_be_attached_takes_nothing_over() {
    let mut world = alone(2);
    world.cut = false;
    let working = world.attach(None, 100);
    world.cut = true;
    let hanging = world.attach(Some(2), 100);
    world.run(Span::millis(300));
    world.give(TARGET, Input::Forget { request: hanging });
    world.publish(1, 1, 5, Waited::Accepted);
    world.cut = false;
    world.run(Span::secs(2));
    assert_eq!((world.position, world.answers(working).len()), (5, 1), "attached, and nothing since");
    assert!(world.answers(hanging).is_empty());
}
