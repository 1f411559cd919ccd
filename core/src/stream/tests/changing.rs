//! Members of a stream change while it is open.

use alloc::vec::Vec;

use super::members::{SECOND, SOURCE, World};
use super::world::{INSTANCE, NAME, node};
use crate::digest::Chain;
use crate::ends::{Poison, Policy};
use crate::id::{AuthorityEpoch, LogIndex, Sequence, Term};
use crate::members::{ChangeKind, MemberChange, StreamMembers, TakenOut};
use crate::node::command::{Refusal, Waited};
use crate::parked::ParkedCommand;
use crate::planted::Planted;
use crate::recovery::LogPlace;
use crate::sealing::Sealed;
use crate::stream::store::space;
use crate::stream::wire::{Stored, decode_state, encode_state};
use crate::stream::{Input, Marks};
use crate::time::Span;

pub(super) fn intended(which: usize) -> StreamMembers {
    let (number, kind) = (LogIndex(77), ChangeKind::Detach);
    let change = MemberChange { number, node: node(which), kind, reason: "gone".into() };
    StreamMembers { change: Some(change), ..StreamMembers::default() }
}

fn drained(which: usize) -> StreamMembers {
    let mut members = intended(which);
    members.change.as_mut().expect("intended").kind = ChangeKind::Drain;
    members
}

pub(super) fn outcome(which: usize) -> StreamMembers {
    let out = TakenOut { node: node(which), kind: ChangeKind::Detach, reason: "gone".into() };
    StreamMembers { out: [out].into(), ..StreamMembers::default() }
}

impl World {
    pub(super) fn tell_members(&mut self, to: impl IntoIterator<Item = usize>, members: &StreamMembers) {
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
fn who_is_taken_out_lets_go_of_what_it_parked_and_says_so() {
    let mut world = World::between(3, Policy::All, Poison::Park { attempts: 1 }, Planted::none());
    world.members[3].stuck = true;
    world.lead(SOURCE);
    world.run(SECOND);
    let request = world.publish(1, 2, Waited::Completed);
    world.run(SECOND);
    let token = world.members[3].token.expect("attached");
    world.give(3, Input::Failed { token, sequence: Sequence(1), reason: "no".into() });
    world.give(3, Input::Verdict { token, upto: Sequence(2) });
    world.run(SECOND);
    assert_eq!(world.told(request), Some(Waited::Completed), "what is parked counts as processed");
    for which in [SOURCE, 3] {
        let parked: Vec<u64> = world.status(which).targets.iter().map(|target| target.parked).collect();
        assert_eq!(parked, [0, 0, 1], "at {which}");
    }
    world.tell_members(0..4, &intended(3));
    world.run(SECOND);
    world.tell_members(0..4, &outcome(3));
    world.run(SECOND);
    assert_eq!(world.parked_dropped, 1);
    let (request, stream) = (world.request(), NAME.into());
    let command = ParkedCommand::List { after: Sequence(0), most: 9 };
    world.give(3, Input::Parked { request, stream, command });
    let refusal = world.replies.iter().rfind(|(asked, _)| *asked == request).expect("answered");
    assert_eq!(refusal.1, Err(Refusal::TakenOut("gone".into())));
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

/// What a target that is on its way out alone has processed is completed. Since that is known nothing was told replicated.
fn completed_by_who_goes(planted: Planted) -> World {
    let mut world = World::with_bug(2, Policy::Count(1), planted);
    world.members[2].stuck = true;
    world.lead(SOURCE);
    world.run(SECOND);
    world.deaf.insert(1);
    let first = world.publish(1, 4, Waited::Completed);
    let last = world.publish(5, 1, Waited::Replicated);
    world.tell_members(0..3, &drained(2));
    world.run(SECOND);
    let token = world.members[2].token.expect("attached");
    world.give(2, Input::Verdict { token, upto: Sequence(4) });
    world.run(SECOND);
    assert_eq!(world.told(first), Some(Waited::Completed), "by the second");
    world.give(2, Input::Verdict { token, upto: Sequence(5) });
    world.run(SECOND);
    assert_eq!(world.told(last), Some(Waited::Accepted), "of those who stay the source alone holds it");
    world
}

#[test]
fn nobody_is_taken_out_before_those_who_stay_hold_what_it_alone_completed() {
    let mut world = completed_by_who_goes(Planted::none());
    assert!(world.conformed.is_none(), "the first does not hold it");
    world.deaf.clear();
    world.run(Span::secs(3));
    assert_eq!(world.conformed, Some(([node(SOURCE)].into(), [node(2)].into())));
}

#[cfg(feature = "planted")]
#[test]
fn a_leader_that_does_not_ask_for_what_is_completed_is_seen() {
    let planted = Planted::only(crate::planted::Bug::CopiedWithoutCompleted);
    assert!(completed_by_who_goes(planted).conformed.is_some());
}

/// What was told replicated lies with the source and with a target that is to go, when the source starts again.
fn begun_again(planted: Planted) -> World {
    let mut world = World::with_bug(2, Policy::All, planted);
    world.lead(SOURCE);
    world.run(SECOND);
    world.publish(1, 9, Waited::Completed);
    world.run(Span::secs(30));
    assert_eq!(world.status(SOURCE).released, Sequence(9));
    world.deaf.insert(1);
    let request = world.publish(10, 1, Waited::Replicated);
    world.run(SECOND);
    assert_eq!(world.told(request), Some(Waited::Replicated), "the source and the second hold it");
    world.tell_members(0..3, &intended(2));
    world.run(SECOND);
    assert!(world.conformed.is_none(), "the first does not");
    world.start_again(SOURCE);
    world.tell_members([SOURCE], &intended(2));
    world.lead(SOURCE);
    world.run(Span::secs(5));
    world
}

#[test]
fn what_was_told_before_a_leader_began_is_asked_of_those_who_stay() {
    let mut world = begun_again(Planted::none());
    assert!(world.conformed.is_none(), "the first still does not hold what was told replicated");
    world.deaf.clear();
    world.run(Span::secs(5));
    assert_eq!(world.conformed, Some(([node(SOURCE)].into(), [node(2)].into())));
}

#[cfg(feature = "planted")]
#[test]
fn a_leader_that_forgets_what_was_told_before_is_seen() {
    assert!(begun_again(Planted::only(crate::planted::Bug::ToldForgotten)).conformed.is_some());
}

/// The target that is on its way out leads, and holds with the source what the other does not: whether that is told replicated.
fn told_by_who_goes(planted: Planted) -> Option<Waited> {
    let mut world = World::with_bug(2, Policy::All, planted);
    world.members[2].stuck = true;
    world.lead(SOURCE);
    world.run(SECOND);
    world.publish(1, 5, Waited::Completed);
    world.run(SECOND);
    world.lead(2);
    world.run(SECOND);
    world.tell_members(0..3, &drained(2));
    world.deaf.insert(1);
    let request = world.publish(6, 5, Waited::Replicated);
    world.run(SECOND);
    let held = world.members[SOURCE].held;
    assert_eq!((held, world.commit), (world.log.len(), held), "two of three hold it");
    world.told(request)
}

#[test]
fn a_leader_that_is_on_its_way_out_does_not_count_itself_among_those_who_stay() {
    assert_eq!(
        told_by_who_goes(Planted::none()),
        Some(Waited::Accepted),
        "of those who stay the source alone does"
    );
}

#[cfg(feature = "planted")]
#[test]
fn a_leader_that_counts_who_goes_is_seen() {
    let planted = Planted::only(crate::planted::Bug::ReplicatedByWhoGoes);
    assert_eq!(told_by_who_goes(planted), Some(Waited::Replicated));
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
fn who_is_out_holds_the_log_with_its_bytes_as_long_as_its_group_may_need_it() {
    let mut world = World::new(3, Policy::All);
    world.members[1].stuck = true;
    world.conforms = false;
    world.lead(SOURCE);
    world.run(SECOND);
    world.tell_members(0..4, &intended(3));
    world.run(SECOND);
    assert!(world.status(3).stopped.is_some());
    world.publish(1, 5, Waited::Accepted);
    world.run(Span::secs(5));
    assert_eq!(world.members[3].held, world.log.len());
    assert_eq!(world.status(3).processed, Sequence(0), "and hands nothing over");
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

/// The state of a member, as it is sent to who is behind.
fn state_of(world: &World, which: usize) -> Stored {
    let state = world.members[which].records.values().find(|record| record.key.space == space::STATE);
    decode_state(&state.expect("what is let go is let go with a state").head).expect("as written")
}

/// A member is given a state, and goes on from there.
fn install(world: &mut World, which: usize, from: usize, stored: &Stored) -> bool {
    let (index, data) = (stored.state.applied, encode_state(stored));
    world.give(which, Input::Install { instance: INSTANCE, from: node(from), index, data });
    let taken = world.installed.pop().expect("answered");
    if taken {
        let member = &mut world.members[which];
        (member.held, member.applied) = (index.0 as usize, index.0 as usize);
    }
    taken
}

/// A target that was taken out, or drained of nothing, and is in its group yet, is sent the state of its source, which let go of what it was not waited for.
fn sent_a_state(planted: Planted, drained: bool) -> (World, bool) {
    let mut world = World::with_bug(2, Policy::Count(1), planted);
    (world.members[2].stuck, world.conforms) = (true, false);
    world.lead(SOURCE);
    world.run(SECOND);
    world.deaf.insert(2);
    world.publish(1, 5, Waited::Completed);
    world.run(SECOND);
    world.tell_members(0..2, &intended(2));
    world.run(Span::secs(30));
    assert_eq!(world.status(SOURCE).released, Sequence(5), "all who stay are past it");
    let mut stored = state_of(&world, SOURCE);
    assert!(stored.state.is_out(1) && stored.state.taken == Sequence(5));
    if drained {
        (stored.state.out, stored.state.drained) = (0, Some((1, Sequence(0))));
    }
    let taken = install(&mut world, 2, SOURCE, &stored);
    (world, taken)
}

/// What handlers are told there.
fn refused_at(world: &mut World, which: usize) -> Refusal {
    let request = world.request();
    world.give(which, Input::Attach { request, stream: NAME.into(), presented: None, window: 9 });
    let answer = world.replies.iter().rfind(|(asked, _)| *asked == request).expect("answered");
    answer.1.clone().expect_err("nobody is served there")
}

#[test]
fn who_is_out_goes_on_with_its_log_behind_what_others_let_go_and_has_not_processed_it() {
    for drained in [false, true] {
        let (mut world, taken) = sent_a_state(Planted::none(), drained);
        assert!(taken, "its group may need it to acknowledge");
        world.deaf.clear();
        // The other one keeps for itself what it is asked for.
        world.members[1].stuck = true;
        world.publish(6, 5, Waited::Completed);
        world.run(Span::secs(5));
        assert_eq!(world.members[2].held, world.log.len(), "it follows the log");
        assert_eq!(world.status(2).processed, Sequence(0));
        assert!(matches!(refused_at(&mut world, 2), Refusal::TakenOut(_)));
        world.lead(1);
        world.run(Span::secs(5));
        assert_eq!((world.status(2).processed, world.members[2].held), (Sequence(0), world.log.len()));
        world.start_again(2);
        world.members[2].applied = world.members[2].streams.applied_index(INSTANCE).0 as usize;
        assert!(matches!(refused_at(&mut world, 2), Refusal::TakenOut(_)), "its records say so");
        world.lead(SOURCE);
        world.run(Span::secs(5));
        assert_eq!((world.status(2).processed, world.members[2].held), (Sequence(0), world.log.len()));
        assert_eq!(world.members[2].seen, []);
        // It is behind once more.
        world.deaf.insert(2);
        world.members[1].stuck = false;
        let token = world.members[1].token.expect("attached");
        world.give(1, Input::Verdict { token, upto: Sequence(10) });
        world.publish(11, 5, Waited::Completed);
        world.run(Span::secs(5));
        let stored = state_of(&world, SOURCE);
        assert!(install(&mut world, 2, SOURCE, &stored));
        assert_eq!(world.status(2).processed, Sequence(0));
    }
}

#[test]
fn who_is_out_and_has_processed_what_others_let_go_says_so() {
    let (mut world, _) = sent_a_state(Planted::none(), false);
    let mut stored = state_of(&world, SOURCE);
    stored.marks.raise(1, Sequence(5));
    stored.state.applied = stored.state.applied.next();
    assert!(install(&mut world, 2, SOURCE, &stored));
    assert_eq!(world.status(2).processed, Sequence(5), "others heard it say that");
}

#[cfg(feature = "planted")]
#[test]
fn a_target_that_passes_what_others_let_go_or_takes_no_state_is_seen() {
    for drained in [false, true] {
        let planted = Planted::only(crate::planted::Bug::TakenOutPassesAll);
        assert_eq!(sent_a_state(planted, drained).0.status(2).processed, Sequence(5));
        let planted = Planted::only(crate::planted::Bug::TakenOutTakesNothing);
        assert!(!sent_a_state(planted, drained).1);
    }
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

/// Without the source, from the log of that target, which ends at that message.
pub(super) fn seal_without_source(world: &mut World, founder: usize, sequence: Option<u64>) {
    world.silence(SOURCE);
    let index = LogIndex(world.members[founder].held as u64);
    let sealed = Sealed {
        authority: AuthorityEpoch(1),
        lost: [node(SOURCE)].into(),
        waits_for: [].into(),
        end: Some((node(founder), LogPlace { index, term: Term(1), chain: Chain::default() })),
        sequence: sequence.map(Sequence),
        heard: Sequence(20),
        former: [].into(),
    };
    for left in 1..world.members.len() {
        world.give(left, Input::Sealed { instance: INSTANCE, sealed: sealed.clone() });
    }
}

#[test]
fn a_target_that_found_its_own_entry_is_in_again_where_a_seal_goes_on_from_its_log() {
    let mut world = World::new(2, Policy::All);
    world.lead(SOURCE);
    world.run(SECOND);
    world.publish(1, 5, Waited::Accepted);
    world.run(SECOND);
    // The first holds what was told replicated, and not the entry that takes the second out, nor what follows; the second does, and nobody hears of the outcome.
    world.deaf.insert(1);
    world.tell_members([SOURCE], &intended(2));
    world.publish(6, 5, Waited::Accepted);
    world.settle();
    assert!(world.conformed.take().is_some() && world.status(2).stopped.is_some());
    assert_eq!(world.members[2].held, world.log.len());
    seal_without_source(&mut world, 2, None);
    assert!(world.status(2).stopped.is_none());
    world.deaf.clear();
    world.found(2);
    world.run(SECOND);
    assert_eq!(world.settled.last(), Some(&Sequence(10)), "it applies its log up to the end");
    seal_without_source(&mut world, 2, Some(10));
    let request = world.request();
    world.give(2, Input::Attach { request, stream: NAME.into(), presented: None, window: 9 });
    world.run(Span::secs(5));
    for target in [1, 2] {
        assert_eq!(world.members[target].seen.len(), 10, "target {target}");
    }
    assert_eq!(world.status(1).completed, Sequence(10));
}

/// A target that found its own entry, and from whose log a seal went on, loses its disk, and is given the state of the other one; before it hears of the seal, or
/// after that.
fn founder_without_its_disk(hears_first: bool) -> World {
    let mut world = World::new(2, Policy::All);
    world.lead(SOURCE);
    world.run(SECOND);
    world.publish(1, 5, Waited::Accepted);
    world.run(SECOND);
    world.deaf.insert(1);
    world.tell_members([SOURCE], &intended(2));
    world.settle();
    assert!(world.conformed.take().is_some() && world.status(2).stopped.is_some());
    seal_without_source(&mut world, 2, None);
    world.deaf.clear();
    world.found(2);
    world.run(SECOND);
    seal_without_source(&mut world, 2, Some(5));
    let request = world.request();
    world.give(2, Input::Attach { request, stream: NAME.into(), presented: None, window: 9 });
    world.run(Span::secs(5));
    let mut stored = state_of(&world, 1);
    assert!(stored.state.is_out(1) && stored.state.taken == Sequence(5));
    stored.marks = Marks::default();
    world.members[2].records.clear();
    (world.members[2].held, world.members[2].seen) = (0, Vec::new());
    world.start_again(2);
    for hears in [hears_first, !hears_first] {
        if hears {
            seal_without_source(&mut world, 2, Some(5));
        } else {
            assert!(install(&mut world, 2, 1, &stored));
        }
    }
    world
}

#[test]
fn a_founder_that_lost_its_disk_copies_its_log_back_though_that_takes_it_out() {
    for hears_first in [true, false] {
        let mut world = founder_without_its_disk(hears_first);
        let status = world.status(2);
        assert_eq!((status.stopped, status.processed), (None, Sequence(5)), "{hears_first}");
        let request = world.request();
        world.give(2, Input::Attach { request, stream: NAME.into(), presented: None, window: 9 });
        world.run(SECOND);
        assert!(world.status(2).handler.is_some());
    }
}

#[test]
fn who_is_out_and_then_named_lost_waits_for_no_bytes() {
    let mut world = World::new(2, Policy::All);
    world.conforms = false;
    world.lead(SOURCE);
    world.run(SECOND);
    world.tell_members(0..3, &intended(2));
    world.run(SECOND);
    assert!(world.status(2).stopped.is_some());
    // What an append names does not come.
    world.cut.insert(SOURCE);
    world.publish(1, 1, Waited::Accepted);
    let (_, data) = world.log.last().cloned().expect("proposed");
    let (now, data) = (world.at(), data.expect("a batch"));
    assert!(!world.members[2].streams.admit(now, INSTANCE, &data).passes());
    let waits = |world: &World| !world.members[2].streams.streams[&INSTANCE].wanted.is_empty();
    assert!(waits(&world));
    let sealed = Sealed {
        authority: AuthorityEpoch(1),
        lost: [node(2)].into(),
        waits_for: [].into(),
        end: None,
        sequence: None,
        heard: Sequence(0),
        former: [].into(),
    };
    world.give(2, Input::Sealed { instance: INSTANCE, sealed });
    assert!(!waits(&world));
    assert!(
        !world.members[2].streams.admit(now, INSTANCE, &data).passes() && !waits(&world),
        "nor does it begin to"
    );
    assert_eq!(world.members[2].streams.next_deadline(), None);
}

#[test]
fn a_target_that_was_to_be_drained_and_is_named_lost_is_taken_out() {
    let mut world = World::new(2, Policy::All);
    world.members[2].stuck = true;
    world.lead(SOURCE);
    world.run(SECOND);
    world.publish(1, 5, Waited::Accepted);
    world.run(SECOND);
    world.tell_members(0..3, &drained(2));
    world.run(SECOND);
    world.silence(2);
    let index = LogIndex(world.members[SOURCE].held as u64);
    let sealed = Sealed {
        authority: AuthorityEpoch(1),
        lost: [node(2)].into(),
        waits_for: [].into(),
        end: Some((node(SOURCE), LogPlace { index, term: Term(1), chain: Chain::default() })),
        sequence: Some(Sequence(5)),
        heard: Sequence(5),
        former: [].into(),
    };
    [SOURCE, 1].into_iter().for_each(|left| {
        world.give(left, Input::Sealed { instance: INSTANCE, sealed: sealed.clone() });
    });
    world.found(SOURCE);
    world.run(Span::secs(5));
    assert_eq!(world.changed.first(), Some(&LogIndex(77)));
}
