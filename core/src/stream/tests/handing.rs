//! How many calls a handler has whose marks are not durable (S7), across those who attach one after the other.

use super::promises::{attached_at, world};
use super::world::{TARGET, World};
use crate::id::Sequence;
use crate::node::command::Waited;
use crate::planted::Planted;
use crate::stream::Input;
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
