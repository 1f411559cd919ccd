//! How many calls a handler has whose marks are not durable (S7), across those who attach one after the other.

use alloc::string::String;

use super::members::{self, SECOND};
use super::promises::{attached_at, world};
use super::world::{INSTANCE, NAME, TARGET, World, node};
use crate::ends::Policy;
use crate::id::{BootId, Sequence};
use crate::node::command::Waited;
use crate::planted::Planted;
use crate::stream::{Body, Input, Message, Standing};
use crate::time::Span;

/// One message is processed, which is not on disk when another handler attaches.
fn takes_over(planted: Planted) -> World {
    let mut world = world();
    world.planted = planted;
    world.verdicts = false;
    // Bugs are those of the machine that starts.
    world.crash(TARGET, 0);
    world.start(TARGET);
    world.run(Span::millis(300));
    world.attach(None, 1);
    world.publish(1, 1, 3, Waited::Accepted);
    world.run(Span::millis(300));
    assert_eq!(world.effects.len(), 1, "its window is one");
    let token = world.token.expect("attached");
    world.give(TARGET, Input::Verdict { token, upto: Sequence(1) });
    world.give(TARGET, Input::Detach { token });
    // The verdict had room made for the next one, which nobody took.
    world.position = 1;
    world.effects.truncate(1);
    let request = world.attach(None, 1);
    assert_eq!(attached_at(&world, request), Some(Sequence(1)));
    world
}

#[test]
fn who_takes_over_is_handed_nothing_before_what_was_processed_is_on_disk() {
    let mut world = takes_over(Planted::none());
    assert_eq!(world.effects.len(), 1, "a crash now would have two calls handed over again");
    world.run(Span::millis(300));
    assert_eq!(world.effects.len(), 2);
}

#[cfg(feature = "planted")]
#[test]
fn calls_of_a_former_handler_that_are_forgotten_are_seen() {
    let world = takes_over(Planted::only(crate::planted::Bug::FormerCallsForgotten));
    assert_eq!(world.effects.len(), 2);
}

/// A handler has the first message in its hands when the source, which heard its mark before the target's disk was taken back, tells it. Others wait.
fn recalled(planted: Planted) -> members::World {
    let mut world = members::World::with_bug(2, Policy::All, planted);
    world.members[1].stuck = true;
    world.lead(members::SOURCE);
    world.run(SECOND);
    let request = world.request();
    world.give(1, Input::Attach { request, stream: String::from(NAME), presented: None, window: 1 });
    world.publish(1, 3, Waited::Accepted);
    world.run(SECOND);
    assert_eq!(world.members[1].seen, [1], "its window is one");
    let heard = Sequence(1);
    let standing = Standing { boot: BootId(100), serial: 1 << 40, heard, ..Standing::default() };
    let message = Message { instance: INSTANCE, body: Body::Status(standing) };
    world.give(1, Input::Message { from: node(members::SOURCE), message });
    world.run(SECOND);
    assert_eq!(world.status(1).processed, Sequence(1));
    world
}

#[test]
fn what_others_know_to_be_processed_is_in_a_handlers_hands_until_it_is_done() {
    let mut world = recalled(Planted::none());
    assert_eq!(world.members[1].seen, [1], "its window is one");
    let token = world.members[1].token.expect("it was not told to attach again");
    world.give(1, Input::Verdict { token, upto: Sequence(1) });
    world.run(SECOND);
    assert_eq!(world.members[1].seen, [1, 2]);
}

#[cfg(feature = "planted")]
#[test]
fn a_recalled_mark_that_counts_as_a_verdict_is_seen() {
    let world = recalled(Planted::only(crate::planted::Bug::RecalledMarkSettles));
    assert_eq!(world.members[1].seen, [1, 2]);
}
