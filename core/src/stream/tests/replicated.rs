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

/// The others go on without those targets, from where the log of the founder ends: at that message. It votes alone.
fn seal(world: &mut World, lost: &[usize], founder: usize, sequence: u64) {
    let index = LogIndex(world.members[founder].held as u64);
    let sealed = Sealed {
        authority: AuthorityEpoch(1),
        lost: lost.iter().copied().map(node).collect(),
        waits_for: [].into(),
        end: Some((node(founder), LogPlace { index, term: Term(1), chain: Chain::default() })),
        sequence: Some(Sequence(sequence)),
        heard: Sequence(20),
        former: [].into(),
    };
    for left in (0..world.members.len()).filter(|left| !lost.contains(left)) {
        world.give(left, Input::Sealed { instance: INSTANCE, sealed: sealed.clone() });
    }
    world.deaf.clear();
    world.found(founder);
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
    seal(&mut world, &[1, 2, 3], SOURCE, 10);
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

/// The source leads, twenty messages are replicated by it and those who burn, and it goes on with one who holds none of them.
fn source_goes_on(planted: Planted) -> (World, RequestId) {
    let mut world = World::with_bug(4, Policy::All, planted);
    world.lead(SOURCE);
    world.run(SECOND);
    world.silence(4);
    let before = world.publish(1, 20, Waited::Replicated);
    world.run(SECOND);
    assert_eq!(world.told(before), Some(Waited::Replicated), "four of five hold it");
    for lost in [1, 2, 3] {
        world.silence(lost);
    }
    seal(&mut world, &[1, 2, 3], SOURCE, 20);
    world.run(SECOND);
    let again = world.publish(1, 20, Waited::Replicated);
    world.run(SECOND);
    (world, again)
}

#[test]
fn what_a_source_counted_with_the_lost_is_not_replicated_after_a_seal() {
    let (mut world, again) = source_goes_on(Planted::none());
    assert_eq!(world.told(again), Some(Waited::Accepted), "one of two holds it");
    world.back(4);
    world.run(Span::secs(10));
    assert_eq!(world.told(again), Some(Waited::Replicated));
}

/// What a replica held says nothing of the one that takes its place on its node, whose disk may have forgotten that.
fn replaced(planted: Planted) -> (World, RequestId) {
    let mut world = World::with_bug(5, Policy::All, planted);
    world.lead(SOURCE);
    world.run(SECOND);
    [3, 4].into_iter().for_each(|away| world.silence(away));
    world.deaf.insert(5);
    for index in [1_000, 0].map(LogIndex) {
        world.give(SOURCE, Input::Match { instance: INSTANCE, node: node(5), index });
    }
    let request = world.publish(1, 5, Waited::Replicated);
    world.run(SECOND);
    (world, request)
}

#[test]
fn what_a_replica_held_does_not_count_for_the_next_one_on_its_node() {
    let (world, request) = replaced(Planted::none());
    assert_eq!(world.told(request), Some(Waited::Accepted), "three of six hold it");
}

#[test]
fn a_source_asks_ever_more_rarely_what_nobody_can_tell_it_yet() {
    let mut world = World::new(4, Policy::All);
    world.lead(1);
    world.run(SECOND);
    world.silence(4);
    seal(&mut world, &[4], 1, 0);
    [2, 3].into_iter().for_each(|away| world.silence(away));
    let request = world.publish(1, 5, Waited::Replicated);
    world.run(Span::secs(10));
    assert_eq!(world.told(request), Some(Waited::Accepted), "committed, and held by two of four");
    let before = world.said;
    world.run(Span::secs(64));
    let said = world.said - before;
    assert!((1..200).contains(&said), "{said} messages of three members in a minute");
}

#[cfg(feature = "planted")]
#[test]
fn planted_bugs_of_what_is_replicated_show() {
    use crate::planted::Bug;
    let (world, request) = word_lost(Policy::All, Planted::only(Bug::ReplicatedToldOnce));
    assert_eq!(world.told(request), Some(Waited::Accepted));
    let (world, request) = after_a_seal(Planted::only(Bug::ReplicatedByTheLost));
    assert_eq!(world.told(request), Some(Waited::Replicated));
    let (world, again) = source_goes_on(Planted::only(Bug::SourceKeepsItsCount));
    assert_eq!(world.told(again), Some(Waited::Replicated));
    let (world, request) = replaced(Planted::only(Bug::FormerReplicaHolds));
    assert_eq!(world.told(request), Some(Waited::Replicated));
}
