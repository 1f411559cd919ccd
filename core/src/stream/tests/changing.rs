//! Members of a stream change while it is open.

use alloc::vec::Vec;

use super::members::{SECOND, SOURCE, World};
use super::world::{INSTANCE, NAME, node};
use crate::ends::Policy;
use crate::id::{LogIndex, Sequence};
use crate::members::{ChangeKind, MemberChange, StreamMembers, TakenOut};
use crate::node::command::{Refusal, Waited};
use crate::planted::Planted;
use crate::stream::Input;
use crate::stream::store::space;
use crate::stream::wire::decode_state;
use crate::time::Span;

fn intended(which: usize) -> StreamMembers {
    let (number, kind) = (LogIndex(77), ChangeKind::Detach);
    let change = MemberChange { number, node: node(which), kind, reason: "gone".into() };
    StreamMembers { change: Some(change), out: Vec::new() }
}

fn drained(which: usize) -> StreamMembers {
    let mut members = intended(which);
    members.change.as_mut().expect("intended").kind = ChangeKind::Drain;
    members
}

fn outcome(which: usize) -> StreamMembers {
    let out = TakenOut { node: node(which), kind: ChangeKind::Detach, reason: "gone".into() };
    StreamMembers { change: None, out: [out].into() }
}

impl World {
    fn tell_members(&mut self, to: impl IntoIterator<Item = usize>, members: &StreamMembers) {
        for which in to {
            self.give(which, Input::Members { instance: INSTANCE, members: members.clone() });
        }
    }
}

#[test]
fn without_a_target_that_is_gone_all_is_completed_and_let_go_and_the_leader_says_when_it_is_done() {
    let mut world = World::new(3, Policy::All);
    world.lead(SOURCE);
    world.run(SECOND);
    world.silence(3);
    let request = world.publish(1, 10, Waited::Completed);
    world.run(SECOND);
    assert_eq!(world.told(request), Some(Waited::Replicated), "one target is away");
    world.tell_members(0..3, &intended(3));
    world.run(SECOND);
    assert_eq!(world.told(request), Some(Waited::Completed));
    assert_eq!(world.status(SOURCE).released, Sequence(10));
    let conformed = world.conformed.clone().expect("its replica is out of the group");
    assert_eq!(conformed, ((0..3).map(node).collect(), [node(3)].into()));
    assert_eq!(world.changed.first(), Some(&LogIndex(77)));
    world.tell_members(0..3, &outcome(3));
    let told = world.changed.len();
    world.run(Span::secs(5));
    assert_eq!(world.changed.len(), told, "nothing more is to be said");
}

#[test]
fn who_is_out_counts_no_more_when_it_is_back_and_hands_nothing_over() {
    let mut world = World::new(3, Policy::Count(2));
    world.lead(SOURCE);
    world.run(SECOND);
    world.silence(3);
    world.tell_members(0..3, &intended(3));
    world.run(SECOND);
    world.tell_members(0..3, &outcome(3));
    // Of the two that are left one is stuck: two of two have to process it.
    world.members[2].stuck = true;
    let request = world.publish(1, 4, Waited::Completed);
    world.run(SECOND);
    world.back(3);
    world.run(SECOND);
    // A word of it, as if it had processed them.
    let mark = crate::stream::Message { instance: INSTANCE, body: crate::stream::Body::Mark(Sequence(4)) };
    world.give(SOURCE, Input::Message { from: node(3), message: mark });
    world.run(SECOND);
    assert_eq!(world.told(request), Some(Waited::Replicated));
    world.tell_members([3], &outcome(3));
    assert!(world.members[3].records.is_empty() || world.members[3].streams.is_out(INSTANCE));
    let asked = world.request();
    world.give(3, Input::Attach { request: asked, stream: NAME.into(), presented: None, window: 9 });
    let refusal = world.replies.iter().rfind(|(request, _)| *request == asked).expect("answered");
    assert_eq!(refusal.1, Err(Refusal::TakenOut("gone".into())));
    assert_eq!(world.members[3].seen, []);
}

#[test]
fn the_next_leader_goes_on_from_wherever_the_one_before_came_to() {
    let mut world = World::new(3, Policy::All);
    world.lead(SOURCE);
    world.run(SECOND);
    world.silence(3);
    world.publish(1, 5, Waited::Accepted);
    world.run(SECOND);
    // The entry is proposed, and falls with its leader.
    world.deaf.extend([1, 2]);
    world.tell_members(0..3, &intended(3));
    world.settle();
    world.deaf.clear();
    world.silence(SOURCE);
    world.lead(1);
    world.run(SECOND);
    assert_eq!(world.status(1).released, Sequence(0), "two of four decide nothing");
    world.back(SOURCE);
    world.run(Span::secs(5));
    assert_eq!(world.status(1).released, Sequence(5));
    assert_eq!(world.changed.first(), Some(&LogIndex(77)));
}

#[test]
fn nobody_is_taken_out_before_those_who_stay_hold_what_was_told_replicated() {
    let mut world = World::new(2, Policy::Count(1));
    world.lead(SOURCE);
    world.run(SECOND);
    world.deaf.insert(1);
    let request = world.publish(1, 5, Waited::Replicated);
    world.run(SECOND);
    assert_eq!(world.told(request), Some(Waited::Replicated), "the source and the second hold it");
    world.tell_members(0..3, &intended(2));
    world.run(SECOND);
    assert!(world.conformed.is_none(), "the first does not");
    assert!(world.status(SOURCE).waiting_for.iter().any(|what| what.contains("are to hold")));
    let request = world.publish(6, 5, Waited::Replicated);
    world.run(SECOND);
    assert_eq!(
        world.told(request),
        Some(Waited::Accepted),
        "most of the old members are not most of the new"
    );
    world.deaf.clear();
    world.run(Span::secs(3));
    assert_eq!(world.told(request), Some(Waited::Replicated));
    assert_eq!(world.conformed, Some(([node(SOURCE)].into(), [node(2)].into())), "the source alone votes");
}

#[test]
fn nobody_is_taken_out_before_those_who_stay_hold_what_it_alone_completed() {
    let mut world = World::new(2, Policy::Count(1));
    world.lead(SOURCE);
    world.run(SECOND);
    world.deaf.insert(1);
    // The entry is not in the log yet when its target completes more.
    world.tell_members([1, 2], &intended(2));
    let request = world.publish(1, 5, Waited::Completed);
    world.settle();
    world.tell_members([SOURCE], &intended(2));
    world.run(SECOND);
    assert_eq!(world.told(request), Some(Waited::Completed), "by the second");
    assert!(world.conformed.is_none(), "the first does not hold it");
    world.deaf.clear();
    world.run(Span::secs(3));
    assert_eq!(world.conformed, Some(([node(SOURCE)].into(), [node(2)].into())));
}

#[test]
fn who_finds_in_the_log_that_it_is_out_stops_and_one_that_leads_leaves_that_to_others() {
    let mut world = World::new(3, Policy::All);
    world.lead(3);
    world.run(SECOND);
    world.publish(1, 5, Waited::Accepted);
    world.run(SECOND);
    world.tell_members(0..4, &intended(3));
    world.run(SECOND);
    assert!(world.resigned.contains(&3) && world.conformed.is_none(), "it does not decide about itself");
    world.lead(SOURCE);
    world.run(SECOND);
    assert_eq!(world.conformed.as_ref().map(|(_, out)| out.clone()), Some([node(3)].into()));
    assert!(world.status(3).stopped.is_some());
    let asked = world.request();
    world.give(3, Input::Attach { request: asked, stream: NAME.into(), presented: None, window: 9 });
    let refusal = world.replies.iter().rfind(|(request, _)| *request == asked).expect("answered");
    assert!(matches!(refusal.1, Err(Refusal::TakenOut(_))));
}

#[test]
fn a_target_that_is_drained_is_required_up_to_where_that_was_decided_and_gone_when_it_is_there() {
    let mut world = World::new(2, Policy::All);
    world.members[2].stuck = true;
    world.lead(SOURCE);
    world.run(SECOND);
    let before = world.publish(1, 5, Waited::Completed);
    world.run(SECOND);
    world.tell_members(0..3, &drained(2));
    world.run(SECOND);
    let behind = world.publish(6, 5, Waited::Completed);
    world.run(SECOND);
    assert_eq!(world.told(before), Some(Waited::Replicated), "it has to process these");
    assert_eq!(world.told(behind), Some(Waited::Replicated), "what is completed is so in order");
    assert!(world.conformed.is_none());
    assert!(world.status(SOURCE).waiting_for.iter().any(|what| what.ends_with("everything up to 5")));
    let token = world.members[2].token.expect("attached");
    world.give(2, Input::Verdict { token, upto: Sequence(4) });
    world.run(SECOND);
    assert_eq!((world.status(SOURCE).released, world.conformed.is_none()), (Sequence(4), true));
    world.give(2, Input::Verdict { token, upto: Sequence(5) });
    world.run(Span::secs(3));
    assert_eq!(world.told(behind), Some(Waited::Completed), "these it has not to process");
    assert_eq!(world.status(SOURCE).released, Sequence(10));
    assert_eq!(world.conformed, Some(([node(SOURCE)].into(), [node(2)].into())));
    assert_eq!(world.changed.first(), Some(&LogIndex(77)));
}

#[test]
fn a_target_that_is_lost_while_it_is_drained_can_be_detached() {
    let mut world = World::new(3, Policy::All);
    world.members[3].stuck = true;
    world.lead(SOURCE);
    world.run(SECOND);
    let request = world.publish(1, 5, Waited::Completed);
    world.run(SECOND);
    world.tell_members(0..4, &drained(3));
    world.run(SECOND);
    world.silence(3);
    world.run(SECOND);
    assert_eq!(world.told(request), Some(Waited::Replicated));
    let mut instead = intended(3);
    instead.change.as_mut().expect("intended").number = LogIndex(78);
    world.tell_members(0..3, &instead);
    world.run(SECOND);
    assert_eq!(world.told(request), Some(Waited::Completed));
    assert_eq!(world.changed.first(), Some(&LogIndex(78)));
}

#[test]
fn a_target_that_leads_while_it_is_drained_goes_on_until_its_source_does() {
    let mut world = World::new(3, Policy::All);
    world.lead(3);
    world.run(SECOND);
    world.publish(1, 5, Waited::Accepted);
    world.run(SECOND);
    world.tell_members(0..4, &drained(3));
    world.run(SECOND);
    assert!(!world.resigned.contains(&3) && world.steered.contains(&node(SOURCE)));
    world.lead(SOURCE);
    world.run(SECOND);
    assert_eq!(world.conformed.as_ref().map(|(_, out)| out.clone()), Some([node(3)].into()));
}

/// A target that was taken out is sent the state of its source, which let go of what was kept for it: what its mark is then.
fn sent_a_state(planted: Planted) -> Sequence {
    let mut world = World::with_bug(2, Policy::Count(1), planted);
    world.members[2].stuck = true;
    world.lead(SOURCE);
    world.run(SECOND);
    world.deaf.insert(2);
    world.publish(1, 5, Waited::Completed);
    world.run(SECOND);
    world.tell_members(0..2, &intended(2));
    world.run(Span::secs(30));
    assert_eq!(world.status(SOURCE).released, Sequence(5), "all who stay are past it");
    let state = world.members[SOURCE].records.values().find(|record| record.key.space == space::STATE);
    let state = state.expect("what is let go is let go with a state").head.clone();
    let stored = decode_state(&state).expect("as written");
    assert!(stored.state.is_out(1) && stored.state.taken == Sequence(5));
    let index = stored.state.applied;
    world.give(2, Input::Install { instance: INSTANCE, from: node(SOURCE), index, data: state });
    world.status(2).processed
}

#[test]
fn who_is_out_does_not_take_over_what_others_let_go_for_what_it_processed() {
    assert_eq!(sent_a_state(Planted::none()), Sequence(0));
}

#[cfg(feature = "planted")]
#[test]
fn a_target_that_passes_what_others_let_go_is_seen() {
    let planted = Planted::only(crate::planted::Bug::TakenOutPassesAll);
    assert_eq!(sent_a_state(planted), Sequence(5));
}

/// A leader proposes the entry of a change, which is lost with its leadership, and leads again after one who knew nothing of the change.
fn led_again(planted: Planted) -> World {
    let mut world = World::with_bug(3, Policy::All, planted);
    world.lead(SOURCE);
    world.run(SECOND);
    world.deaf.extend([1, 2, 3]);
    world.tell_members([SOURCE], &intended(3));
    world.settle();
    world.members[SOURCE].held = world.commit;
    world.deaf.clear();
    world.lead(1);
    world.run(SECOND);
    world.lead(SOURCE);
    world.run(Span::secs(5));
    world
}

#[test]
fn what_was_proposed_under_an_earlier_term_is_proposed_again() {
    assert_eq!(led_again(Planted::none()).changed.first(), Some(&LogIndex(77)));
}

#[cfg(feature = "planted")]
#[test]
fn a_change_that_is_proposed_once_is_seen() {
    assert_eq!(led_again(Planted::only(crate::planted::Bug::ChangeProposedOnce)).changed, []);
}
