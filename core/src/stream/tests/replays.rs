//! A handler that replays, and what is kept for it.

use alloc::string::String;

use super::members::{SECOND, SOURCE, World};
use super::world::{INSTANCE, NAME};
use crate::ends::Policy;
use crate::id::{AuthorityEpoch, Sequence};
use crate::node::command::{Position, Waited};
use crate::planted::Planted;
use crate::stream::Input;

/// The handler of the first target replays from its third message on, and stands there when everybody has processed everything.
fn replays(planted: Planted) -> World {
    let mut world = World::with_bug(2, Policy::All, planted);
    world.members[2].stuck = true;
    world.lead(SOURCE);
    world.run(SECOND);
    for number in 1..=8 {
        world.publish(number, 1, Waited::Accepted);
        world.run(SECOND);
    }
    assert_eq!(world.status(1).processed, Sequence(8));
    world.members[1].stuck = true;
    world.members[1].seen.truncate(3);
    let presented = Position { instance: INSTANCE, authority: AuthorityEpoch(0), sequence: Sequence(3) };
    let request = world.request();
    let stream = String::from(NAME);
    world.give(1, Input::Attach { request, stream, presented: Some(presented), window: 2 });
    world.run(SECOND);
    let token = world.members[2].token.expect("attached");
    world.give(2, Input::Verdict { token, upto: Sequence(8) });
    world.run(SECOND);
    assert_eq!(kept_behind(&world), Sequence(3), "the rest is read again");
    assert_eq!(world.members[1].seen, [1, 2, 3, 4, 5]);
    world
}

fn kept_behind(world: &World) -> Sequence {
    world.members[1].streams.streams[&INSTANCE].floor.taken
}

fn leaves(world: &mut World) -> Sequence {
    let token = world.members[1].token.expect("attached");
    world.give(1, Input::Detach { token });
    world.run(SECOND);
    kept_behind(world)
}

#[test]
fn what_was_kept_for_a_replay_alone_goes_with_its_handler() {
    assert_eq!(leaves(&mut replays(Planted::none())), Sequence(8));
    // Another one takes over, which needs none of it.
    let mut world = replays(Planted::none());
    let request = world.request();
    world.give(1, Input::Attach { request, stream: String::from(NAME), presented: None, window: 2 });
    world.run(SECOND);
    assert_eq!(kept_behind(&world), Sequence(8));
}

#[cfg(feature = "planted")]
#[test]
fn a_replay_that_holds_on_is_seen() {
    extern crate std;
    let planted = Planted::only(crate::planted::Bug::ReplayHoldsOn);
    let left = std::panic::catch_unwind(|| leaves(&mut replays(planted)));
    assert!(left.is_err(), "S26");
}
