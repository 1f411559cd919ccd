//! What a source that does not lead is told of what most members hold.

use super::members::{SECOND, SOURCE, World};
use super::world::{INSTANCE, node};
use crate::digest::Chain;
use crate::ends::Policy;
use crate::id::{AuthorityEpoch, LogIndex, RequestId, Sequence, Term};
use crate::node::command::Waited;
use crate::planted::Planted;
use crate::recovery::LogPlace;
use crate::sealing::Sealed;
use crate::stream::Input;
use crate::time::Span;

/// A target leads, and a third of five members comes to hold what the source published. What the leader says of that by itself is lost.
fn word_lost(policy: Policy, planted: Planted) -> (World, RequestId) {
    let mut world = World::with_bug(4, policy, planted);
    world.lead(1);
    world.run(SECOND);
    [3, 4].into_iter().for_each(|away| world.silence(away));
    world.deaf.insert(2);
    let request = world.publish(1, 5, Waited::Replicated);
    world.run(SECOND);
    assert_eq!(world.told(request), Some(Waited::Accepted), "two of five hold it");
    world.untold = true;
    world.deaf.clear();
    world.run(Span::secs(30));
    (world, request)
}

#[test]
fn a_source_asks_for_what_it_was_not_told() {
    for policy in [Policy::All, Policy::Count(1)] {
        let (world, request) = word_lost(policy.clone(), Planted::none());
        assert_eq!(world.told(request), Some(Waited::Replicated), "{policy:?}");
    }
}

/// The source's log lags at the tenth message while twenty are replicated by those who burn. It goes on with one more, and accepts ten anew.
fn after_a_seal(planted: Planted) -> (World, RequestId) {
    let mut world = World::with_bug(4, Policy::Count(1), planted);
    world.lead(1);
    world.run(SECOND);
    world.publish(1, 10, Waited::Accepted);
    world.run(SECOND);
    world.silence(4);
    let held = world.members[SOURCE].held;
    world.deaf.insert(SOURCE);
    let request = world.publish(11, 10, Waited::Replicated);
    world.run(SECOND);
    assert_eq!(world.members[SOURCE].held, held, "the log does not come to the source");
    assert_eq!(world.told(request), Some(Waited::Accepted));
    for lost in [1, 2, 3] {
        world.silence(lost);
    }
    // The end is where the log of the source ends. It founds the group anew, and votes alone.
    let place = LogPlace { index: LogIndex(held as u64), term: Term(1), chain: Chain::default() };
    let sealed = Sealed {
        authority: AuthorityEpoch(1),
        lost: [1, 2, 3].map(node).into(),
        waits_for: [].into(),
        end: Some((node(SOURCE), place)),
        sequence: Some(Sequence(10)),
        heard: Sequence(20),
        former: [].into(),
    };
    for left in [SOURCE, 4] {
        world.give(left, Input::Sealed { instance: INSTANCE, sealed: sealed.clone() });
    }
    world.deaf.clear();
    world.found(SOURCE);
    world.run(Span::secs(10));
    (world, request)
}

#[test]
fn what_the_lost_held_is_not_replicated_after_a_seal() {
    let (mut world, request) = after_a_seal(Planted::none());
    assert_eq!(world.status(SOURCE).accepted, Sequence(20));
    assert_eq!(world.told(request), Some(Waited::Accepted), "one of two holds it");
    world.back(4);
    world.run(Span::secs(10));
    assert_eq!(world.told(request), Some(Waited::Replicated));
}

#[cfg(feature = "planted")]
#[test]
fn planted_bugs_of_what_is_replicated_show() {
    use crate::planted::Bug;
    let (world, request) = word_lost(Policy::All, Planted::only(Bug::ReplicatedToldOnce));
    assert_eq!(world.told(request), Some(Waited::Accepted));
    let (world, request) = after_a_seal(Planted::only(Bug::ReplicatedByTheLost));
    assert_eq!(world.told(request), Some(Waited::Replicated));
}
