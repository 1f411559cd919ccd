//! One source and several targets.

use alloc::vec::Vec;

use super::members::{SECOND, SOURCE, World};
use super::world::{INSTANCE, NAME, node};
use crate::ends::Policy;
use crate::id::{AuthorityEpoch, RequestId, Sequence};
use crate::node::command::{Refusal, Reply, Waited};
use crate::planted::Planted;
use crate::sealing::Sealed;
use crate::stream::Input;
use crate::time::Span;

#[test]
fn all_targets_are_handed_everything_and_completed_follows_the_policy() {
    let mut world = World::new(3, Policy::Count(2));
    world.members[3].stuck = true;
    world.lead(SOURCE);
    world.run(SECOND);
    let request = world.publish(1, 10, Waited::Completed);
    world.run(SECOND);
    assert_eq!(world.told(request), Some(Waited::Completed), "two of three have processed it");
    let status = world.status(SOURCE);
    assert_eq!(
        (status.completed, status.released, status.processed),
        (Sequence(10), Sequence(0), Sequence(10))
    );
    let targets: Vec<u64> = status.targets.iter().map(|target| target.processed.0).collect();
    assert_eq!(targets, [10, 10, 0]);
    assert!(status.waiting_for.iter().any(|what| what.contains(&alloc::format!("{}", node(3)))));
    let token = world.members[3].token.expect("attached");
    world.give(3, Input::Verdict { token, upto: Sequence(10) });
    world.run(SECOND);
    for which in 0..=3 {
        assert_eq!(world.status(which).released, Sequence(10), "at {which}");
        assert_eq!(world.members[which].seen.len(), if which == SOURCE { 0 } else { 10 });
    }
}

#[test]
fn a_named_set_completes_and_the_others_hold_back_only_the_bytes() {
    let mut world = World::new(3, Policy::Named([node(2)].into()));
    (world.members[1].stuck, world.members[3].stuck) = (true, true);
    world.lead(SOURCE);
    world.run(SECOND);
    let request = world.publish(1, 3, Waited::Completed);
    world.run(SECOND);
    assert_eq!(world.told(request), Some(Waited::Completed));
    let status = world.status(2);
    assert_eq!((status.completed, status.released), (Sequence(3), Sequence(0)));
}

#[test]
fn a_source_that_does_not_lead_offers_and_what_fell_with_a_leader_is_offered_to_the_next() {
    let mut world = World::new(2, Policy::All);
    world.lead(1);
    world.run(SECOND);
    let first = world.publish(1, 5, Waited::Completed);
    world.run(SECOND);
    assert_eq!(world.told(first), Some(Waited::Completed), "the leader proposed it");
    assert!(world.steered.contains(&node(SOURCE)), "the source should lead");
    // The next batches reach the leader, and fall with it.
    let silent = world.leader.take();
    let lost = world.publish(6, 5, Waited::Completed);
    world.settle();
    assert_eq!(world.told(lost), Some(Waited::Accepted));
    world.silence(silent.expect("it led"));
    world.lead(2);
    world.run(SECOND);
    let more = world.publish(11, 5, Waited::Replicated);
    world.run(SECOND);
    assert_eq!(world.told(more), Some(Waited::Replicated), "two of three hold it");
    assert_eq!(world.told(lost), Some(Waited::Replicated), "one target is away");
    world.back(1);
    world.run(Span::secs(10));
    assert_eq!(world.told(lost), Some(Waited::Completed));
    for which in [1, 2] {
        assert_eq!(world.members[which].seen, (1..=15).collect::<Vec<u64>>());
    }
}

#[test]
fn replicated_means_most_members_not_most_voters() {
    let mut world = World::new(6, Policy::All);
    world.lead(SOURCE);
    world.run(SECOND);
    for which in 3..=6 {
        world.silence(which);
    }
    let request = world.publish(1, 4, Waited::Replicated);
    world.run(SECOND);
    assert_eq!(world.commit, world.log.len(), "three of five voters decide");
    assert_eq!(world.told(request), Some(Waited::Accepted), "three of seven members hold it");
    world.back(6);
    world.run(Span::secs(10));
    assert_eq!(world.told(request), Some(Waited::Replicated), "a learner is the fourth");
}

/// A policy may be met by fewer than hold what is called replicated.
#[test]
fn what_the_policy_completes_is_replicated_when_most_members_hold_it() {
    let mut world = World::new(6, Policy::Count(1));
    world.lead(SOURCE);
    world.run(SECOND);
    for which in 3..=6 {
        world.silence(which);
    }
    let (replicated, completed) =
        (world.publish(1, 4, Waited::Replicated), world.publish(5, 4, Waited::Completed));
    world.run(SECOND);
    assert_eq!(world.told(completed), Some(Waited::Completed), "one target has processed it");
    assert_eq!(world.told(replicated), Some(Waited::Accepted), "three of seven members hold it");
    let status = world.status(SOURCE);
    assert_eq!((status.completed, status.replicated), (Sequence(8), Sequence(0)));
    world.back(6);
    world.run(Span::secs(10));
    assert_eq!(world.told(replicated), Some(Waited::Replicated));
    assert_eq!(world.status(SOURCE).replicated, Sequence(8));
}

/// What is handed over after a seal is of another authority than the handler's position names.
#[test]
fn a_handler_attaches_again_when_its_source_goes_on_under_another_authority() {
    let mut world = World::new(3, Policy::All);
    world.lead(SOURCE);
    world.run(SECOND);
    let token = world.members[1].token.expect("attached");
    let sealed = |authority| Sealed {
        authority: AuthorityEpoch(authority),
        lost: [node(2), node(3)].into(),
        waits_for: [].into(),
        end: None,
        sequence: None,
        heard: Sequence(0),
        former: [].into(),
    };
    // Nobody took over: it is to attach again.
    let outrun = |world: &World| {
        let told = |(_, reply): &&(RequestId, Result<Reply, Refusal>)| *reply == Ok(Reply::Outrun { token });
        world.replies.iter().filter(told).count()
    };
    assert_eq!(outrun(&world), 0);
    for _ in 0..2 {
        world.give(1, Input::Sealed { instance: INSTANCE, sealed: sealed(1) });
        assert_eq!(outrun(&world), 1, "once for each authority");
    }
    assert!(world.status(1).handler.is_none());
}

#[test]
fn marks_are_told_to_each_new_leader() {
    let mut world = World::new(3, Policy::All);
    world.lead(SOURCE);
    world.run(SECOND);
    world.members[3].stuck = true;
    world.publish(1, 6, Waited::Accepted);
    world.run(SECOND);
    world.silence(SOURCE);
    world.lead(1);
    world.run(SECOND);
    assert_eq!(world.status(1).targets[1].processed, Sequence(6), "the second target told the new leader");
    let token = world.members[3].token.expect("attached");
    world.give(3, Input::Verdict { token, upto: Sequence(6) });
    world.run(SECOND);
    for which in 1..=3 {
        assert_eq!(world.status(which).completed, Sequence(6), "without the source, at {which}");
    }
}

#[test]
fn bytes_that_the_source_cannot_send_any_more_come_from_another_holder() {
    let mut world = World::new(3, Policy::Count(1));
    world.lead(SOURCE);
    world.run(SECOND);
    world.silence(3);
    let request = world.publish(1, 6, Waited::Replicated);
    world.run(SECOND);
    assert_eq!(world.told(request), Some(Waited::Replicated));
    world.silence(SOURCE);
    world.lead(1);
    world.back(3);
    let sent = world.payloads;
    world.run(Span::secs(10));
    assert_eq!((world.members[3].seen.len(), world.payloads), (6, sent), "not from the source");
}

#[test]
fn who_has_to_get_bytes_elsewhere_asks_for_the_next_ones_at_once() {
    let mut world = World::new(3, Policy::Count(1));
    world.lead(SOURCE);
    world.run(SECOND);
    world.silence(3);
    for number in 1..=40 {
        world.publish(number, 1, Waited::Replicated);
        world.run(Span::millis(10));
    }
    // The source is there, as far as anybody knows, and sends nothing.
    world.cut.insert(SOURCE);
    world.lead(1);
    world.back(3);
    world.run(Span::secs(3));
    assert_eq!(world.members[3].seen.len(), 40, "one after the other would take a pause each");
}

/// A source that starts anew can have no session before the log of its former one is held by most members, and sends nothing before it has one.
#[test]
fn what_a_former_start_of_the_source_left_in_the_log_is_asked_for_together() {
    let mut world = World::new(2, Policy::All);
    world.lead(SOURCE);
    world.run(SECOND);
    world.publish(1, 5, Waited::Accepted);
    world.run(SECOND);
    world.silence(1);
    world.deaf.insert(2);
    for number in 6..=105 {
        world.publish(number, 1, Waited::Accepted);
        world.run(Span::millis(10));
    }
    world.start_again(SOURCE);
    // What was held here is forgotten.
    world.start_again(2);
    let request = world.request();
    world.give(2, Input::Attach { request, stream: NAME.into(), presented: None, window: 100 });
    world.deaf.clear();
    let before = world.payloads;
    world.lead(SOURCE);
    world.run(SECOND);
    assert_eq!(world.members[2].held, world.log.len(), "one after the other would take twenty seconds");
    world.run(Span::secs(3));
    assert_eq!(world.members[2].seen.last(), Some(&105));
    assert!(world.payloads - before <= 110, "{} payloads for a hundred batches", world.payloads - before);
}

/// A target is stuck, another one processes message by message: what that leaves in the log is counted, and noted once.
fn message_by_message(planted: Planted) -> (World, u64) {
    let mut world = World::with_bug(2, Policy::Count(1), planted);
    (world.members[1].stuck, world.members[2].stuck) = (true, true);
    world.lead(SOURCE);
    world.run(SECOND);
    world.publish(1, 300, Waited::Accepted);
    world.run(SECOND);
    let token = world.members[1].token.expect("attached");
    for upto in 1..=300 {
        world.give(1, Input::Verdict { token, upto: Sequence(upto) });
        world.settle();
    }
    world.run(SECOND);
    assert_eq!(world.status(SOURCE).completed, Sequence(300));
    let streams = &world.members[SOURCE].streams;
    let stream = &streams.streams[&INSTANCE];
    let besides = stream.kept_memory(&streams.common) + stream.store.stored_bytes() - stream.store.bytes();
    (world, besides)
}

#[test]
fn what_is_completed_message_by_message_while_a_target_is_stuck_is_noted_once_and_counted() {
    let (world, besides) = message_by_message(Planted::none());
    assert!(besides >= 300 * 128, "{besides} bytes for 300 entries");
    for which in 0..=2 {
        let noted = world.members[which].streams.streams[&INSTANCE].tail.len();
        assert!(noted <= 8, "{noted} notes at {which}");
    }
}

#[cfg(feature = "planted")]
#[test]
fn completions_that_are_not_counted_show() {
    assert_eq!(message_by_message(Planted::only(crate::planted::Bug::CompletionsUncounted)).1, 0);
}

/// The source leads, and the log names what it accepted, of which nobody else has anything; then all start again, and nothing is known to be committed.
fn all_start_again(planted: Planted) -> World {
    let mut world = World::with_bug(2, Policy::All, planted);
    world.lead(SOURCE);
    world.run(SECOND);
    [1, 2].into_iter().for_each(|target| world.silence(target));
    for number in 1..=40 {
        world.publish(number, 1, Waited::Accepted);
        world.run(Span::millis(10));
    }
    assert!(world.log.len() > 40, "the log names them");
    [SOURCE, 1, 2].into_iter().for_each(|which| world.start_again(which));
    world.commit = 0;
    [1, 2].into_iter().for_each(|target| world.back(target));
    world.lead(SOURCE);
    world.run(Span::secs(5));
    world
}

#[test]
fn what_a_source_that_began_left_in_the_log_is_asked_for_together() {
    let world = all_start_again(Planted::none());
    assert_eq!(world.status(1).accepted, Sequence(40));
    assert_eq!(world.status(2).accepted, Sequence(40));
}

#[cfg(feature = "planted")]
#[test]
fn bytes_that_are_asked_for_one_by_one_are_seen() {
    let world = all_start_again(Planted::only(crate::planted::Bug::AskedOneByOne));
    assert!(world.status(1).accepted < Sequence(30));
}
