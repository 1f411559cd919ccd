//! Nodes become targets of a stream while it is open.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::members::{SECOND, SOURCE, World};
use super::recorded::joins_unheard;
use super::world::{INSTANCE, NAME, node};
use crate::ends::{Ends, Policy};
use crate::id::{BootId, LogIndex, RequestId, Sequence, Term};
use crate::members::{Added, ChangeKind, MemberChange, MembersRefusal, Start, StreamMembers};
use crate::node::command::{Position, Range, Refusal, Reply, Waited};
use crate::planted::Planted;
use crate::retention::Retention;
use crate::stream::entry::Entry;
use crate::stream::state::LogState;
use crate::stream::wire::{Stored, decode_entry, decode_state, encode_entry, encode_state};
use crate::stream::{Body, Config, Input, Message, Standing};
use crate::time::Span;

fn wished(which: usize, kind: ChangeKind, number: u64) -> StreamMembers {
    let (number, reason) = (LogIndex(number), "more".into());
    let change = MemberChange { number, node: node(which), kind, reason };
    StreamMembers { change: Some(change), ..StreamMembers::default() }
}

pub(super) fn added(which: usize, start: Start) -> StreamMembers {
    wished(which, ChangeKind::Add(start), 80)
}

impl World {
    /// It is intended that a node joins, which is there, and has a handler.
    fn add(&mut self, start: Start) -> usize {
        let which = self.comes();
        self.tell_members(0..which + 1, &added(which, start));
        self.meets(which);
        self.handler_at(which);
        which
    }

    pub(super) fn handler_at(&mut self, which: usize) {
        let request = self.request();
        self.give(which, Input::Attach { request, stream: NAME.into(), presented: None, window: 100 });
    }
}

#[test]
fn a_node_is_brought_up_joins_and_is_handed_everything_from_its_start_and_asked_for_what_follows() {
    let mut world = World::new(1, Policy::All);
    world.members[1].stuck = true;
    world.lead(SOURCE);
    world.run(SECOND);
    let before = world.publish(1, 10, Waited::Completed);
    world.run(SECOND);
    let which = world.add(Start::At(Sequence(4)));
    world.members[which].begins = 4;
    world.run(SECOND);
    assert_eq!((world.changed.first(), world.first), (Some(&LogIndex(80)), Some(Sequence(4))));
    assert_eq!(world.members[which].seen, (4..=10).collect::<Vec<_>>());
    assert_eq!(world.told(before), Some(Waited::Replicated), "the first has them yet to process");
    world.members[which].stuck = true;
    let token = world.members[1].token.expect("attached");
    world.give(1, Input::Verdict { token, upto: Sequence(10) });
    world.run(SECOND);
    assert_eq!(world.told(before), Some(Waited::Completed));
    assert_eq!(world.status(SOURCE).released, Sequence(10), "both are past them");
    world.members[1].stuck = false;
    let behind = world.publish(11, 5, Waited::Completed);
    world.run(SECOND);
    assert_eq!(world.told(behind), Some(Waited::Replicated), "it is one of all");
    let token = world.members[which].token.expect("attached");
    world.give(which, Input::Verdict { token, upto: Sequence(15) });
    world.run(SECOND);
    assert_eq!(world.told(behind), Some(Waited::Completed));
    let (voters, _) = world.conformed.clone().expect("its group has it");
    assert_eq!(voters, [0, 1, 2].map(node), "both vote with the source");
    let targets: Vec<_> = world.status(SOURCE).targets.iter().map(|target| target.node).collect();
    assert_eq!(targets, [node(1)], "until the outcome is told");
    let first = Some(Sequence(4));
    let outcome =
        StreamMembers { added: [Added { node: node(which), first }].into(), ..StreamMembers::default() };
    world.tell_members(0..3, &outcome);
    let status = world.status(SOURCE);
    assert_eq!(status.targets.iter().map(|target| target.processed.0).collect::<Vec<_>>(), [15, 15]);
    let told = world.changed.len();
    world.run(Span::secs(5));
    assert_eq!(world.changed.len(), told, "nothing more is to be said");
}

#[test]
fn what_it_is_to_begin_with_is_kept_until_it_is_there() {
    let from = |first: u64| (first..=11).collect::<Vec<_>>();
    for (start, released, first) in [
        (Start::At(Sequence(6)), 5, 6),
        (Start::FirstKept, 3, 4),
        (Start::At(Sequence(2)), 3, 4),
        (Start::Now, 9, 10),
    ] {
        let (kept, seen) = started(start, first);
        assert_eq!((kept.0, seen), (released, from(first)), "{start:?}");
    }
}

/// How far a stream has let go while a node is to join that is away, and what that is handed when it is there.
fn started(start: Start, first: u64) -> (Sequence, Vec<u64>) {
    let mut world = World::new(2, Policy::All);
    world.members[2].stuck = true;
    world.lead(SOURCE);
    world.publish(1, 9, Waited::Accepted);
    world.run(SECOND);
    let token = world.members[2].token.expect("attached");
    world.give(2, Input::Verdict { token, upto: Sequence(3) });
    world.run(SECOND);
    let which = world.comes();
    world.members[which].begins = first;
    world.silence(which);
    world.tell_members(0..which + 1, &added(which, start));
    world.give(2, Input::Verdict { token, upto: Sequence(9) });
    world.members[2].stuck = false;
    world.run(Span::secs(5));
    let released = world.status(SOURCE).released;
    assert_eq!(world.status(SOURCE).completed, Sequence(9), "nobody waits for it with that");
    assert!(world.status(SOURCE).waiting_for.iter().any(|what| what.contains("is to be reachable")));
    assert!(world.changed.is_empty());
    world.back(which);
    world.meets(which);
    world.handler_at(which);
    world.run(Span::secs(5));
    assert_eq!(world.first, Some(Sequence(first)), "{start:?}");
    world.publish(10, 2, Waited::Accepted);
    world.run(SECOND);
    (released, world.members[which].seen.clone())
}

#[test]
fn whoever_leads_next_goes_on_from_wherever_the_one_before_came_to() {
    let mut world = World::new(2, Policy::All);
    world.lead(SOURCE);
    world.publish(1, 5, Waited::Accepted);
    world.run(SECOND);
    world.conforms = false;
    let which = world.add(Start::Now);
    world.members[which].begins = 6;
    world.run(SECOND);
    assert!(world.admitted.is_empty() && world.first.is_none(), "it is no member of the group yet");
    world.conforms = true;
    world.silence(SOURCE);
    world.lead(1);
    world.run(SECOND);
    assert_eq!(world.first, Some(Sequence(6)), "it learns, joins, and that is told");
    world.changed.clear();
    world.back(SOURCE);
    world.lead(2);
    world.run(SECOND);
    assert_eq!(
        world.changed.first(),
        Some(&LogIndex(80)),
        "it is told by the next one, too, until that is recorded"
    );
    let joins = world.log.iter().filter_map(|(_, data)| decode_entry(data.as_ref()?).ok());
    let joins = joins.filter(|entry| matches!(entry, Entry::Join { .. })).count();
    assert_eq!(joins, 1);
    world.publish(6, 3, Waited::Accepted);
    world.run(SECOND);
    assert_eq!(world.members[which].seen, [6, 7, 8]);
}

#[test]
fn an_entry_that_fell_with_its_leader_is_proposed_again_and_decides_the_start_anew() {
    let mut world = World::new(2, Policy::All);
    world.lead(SOURCE);
    world.publish(1, 5, Waited::Accepted);
    world.run(SECOND);
    // Nobody hears of the entry.
    let which = world.comes();
    world.meets(which);
    world.tell_members([SOURCE, which], &added(which, Start::Now));
    world.deaf.extend([1, 2]);
    world.settle();
    assert!(world.admitted.contains(&which) && world.first.is_none());
    world.deaf.clear();
    world.lead(1);
    world.tell_members([1, 2], &added(which, Start::Now));
    world.publish(6, 2, Waited::Accepted);
    world.run(SECOND);
    assert!(world.first.is_some());
    world.members[which].begins = world.first.expect("it joined").0;
    world.handler_at(which);
    world.publish(8, 2, Waited::Accepted);
    world.run(SECOND);
    assert_eq!(world.members[which].seen.last(), Some(&9));
}

/// What a node did before it joined, or after, and a start of it.
fn started_anew(joined: bool) {
    let mut world = World::new(2, Policy::All);
    world.lead(SOURCE);
    world.publish(1, 5, Waited::Accepted);
    world.members[1].stuck = true;
    world.run(SECOND);
    world.conforms = joined;
    let which = world.add(Start::Now);
    world.members[which].begins = if joined { 6 } else { 10 };
    world.run(SECOND);
    world.publish(6, 4, Waited::Accepted);
    world.run(Span::secs(3));
    assert_eq!(world.members[which].seen.len(), if joined { 4 } else { 0 });
    world.conforms = true;
    world.start_again(which);
    world.tell_members([which], &added(which, Start::Now));
    world.lead(SOURCE);
    world.run(SECOND);
    world.handler_at(which);
    world.publish(10, 3, Waited::Accepted);
    world.run(Span::secs(5));
    let first = world.first.expect("it joined").0;
    assert_eq!(world.members[which].seen.first(), Some(&first).filter(|_| joined).or(Some(&10)));
    assert_eq!(world.members[which].seen.last(), Some(&12));
}

#[test]
fn a_start_of_the_new_target_goes_on_where_it_was_before_it_joined_and_after() {
    started_anew(true);
    started_anew(false);
}

#[test]
fn a_node_that_was_to_join_and_is_taken_back_does_not_and_bytes_wait_for_it_no_more() {
    let mut world = World::new(2, Policy::All);
    world.lead(SOURCE);
    world.run(SECOND);
    let which = world.comes();
    world.tell_members(0..3, &added(which, Start::FirstKept));
    world.silence(which);
    world.publish(1, 5, Waited::Accepted);
    world.run(SECOND);
    assert_eq!((world.status(SOURCE).completed, world.status(SOURCE).released), (Sequence(5), Sequence(0)));
    let mut back = wished(which, ChangeKind::Detach, 81);
    back.added = [Added { node: node(which), first: None }].into();
    world.tell_members(0..3, &back);
    world.run(SECOND);
    assert_eq!(world.status(SOURCE).released, Sequence(5));
    assert_eq!((world.changed.first(), world.first), (Some(&LogIndex(81)), None));
    assert_eq!(world.conformed.as_ref().map(|(_, out)| out.clone()), Some([node(which)].into()));
    // Who leads next, and has not heard of that, has it join no more.
    world.tell_members([1], &added(which, Start::FirstKept));
    world.lead(1);
    world.run(SECOND);
    assert!(world.first.is_none());
}

/// A node has joined, and that is not said to be done. What its source and it hold, and the other target does not.
fn told_by_the_newcomer(planted: Planted, done: bool) -> Option<Waited> {
    let mut world = World::with_bug(1, Policy::All, planted);
    world.lead(SOURCE);
    world.run(SECOND);
    world.publish(1, 5, Waited::Accepted);
    let which = world.add(Start::FirstKept);
    world.run(SECOND);
    assert!(world.members[which].token.is_some(), "it joined");
    if done {
        let added = [Added { node: node(which), first: Some(Sequence(1)) }].into();
        world.tell_members(0..3, &StreamMembers { added, ..StreamMembers::default() });
    }
    world.deaf.insert(1);
    let request = world.publish(6, 5, Waited::Replicated);
    world.run(SECOND);
    assert_eq!(world.members[which].held, world.log.len(), "two of three hold it");
    world.told(request)
}

#[test]
fn until_an_addition_is_done_most_of_those_who_were_there_before_are_to_hold_what_is_told_replicated() {
    assert_eq!(told_by_the_newcomer(Planted::none(), false), Some(Waited::Accepted));
    assert_eq!(
        told_by_the_newcomer(Planted::none(), true),
        Some(Waited::Replicated),
        "then it is one of three"
    );
}

#[test]
fn who_is_always_a_little_behind_joins_all_the_same() {
    let mut world = World::new(2, Policy::All);
    world.lead(SOURCE);
    world.run(SECOND);
    world.publish(1, 5, Waited::Accepted);
    world.run(SECOND);
    let which = world.comes();
    world.deaf.insert(which);
    world.tell_members(0..which + 1, &added(which, Start::Now));
    let joins = |world: &World| {
        let mut entries = world.log.iter().filter_map(|(_, data)| decode_entry(data.as_deref()?).ok());
        entries.any(|entry| matches!(entry, Entry::Join { .. }))
    };
    let holds = |world: &mut World, behind: usize| {
        let index = LogIndex((world.log.len() - behind) as u64);
        world.give(SOURCE, Input::Match { instance: INSTANCE, node: node(which), index });
        world.run(SECOND);
        joins(world)
    };
    assert!(!holds(&mut world, 2), "it lacks what was told replicated before it began to catch up");
    let before = world.log.len();
    world.publish(6, 5, Waited::Replicated);
    world.run(SECOND);
    let since = world.log.len() - before;
    assert!(since > 0 && holds(&mut world, since), "what was told since most hold");
}

/// The log of a member may be of another version, and is never a panic.
#[test]
fn an_entry_or_a_state_by_which_nobody_can_join_is_nothing() {
    let mut world = World::new(2, Policy::All);
    world.lead(SOURCE);
    world.run(SECOND);
    for (place, who) in [(5, 7), (2, SOURCE), (2, 1), (1, 7)] {
        let entry = Entry::Join { place, node: node(who), behind: None, declined: false };
        world.log.push((Term(world.term), Some(encode_entry(&entry))));
        world.members[SOURCE].held = world.log.len();
        world.run(SECOND);
        assert_eq!(world.members[1].applied, world.log.len());
        assert_eq!(world.status(1).stopped, None);
    }
    let index = LogIndex(world.log.len() as u64 + 9);
    for places in [[3, 4], [2, 2], [0, 1]] {
        let mut state = LogState { applied: index, ..LogState::default() };
        for (place, who) in places.into_iter().zip([7, 8]) {
            let joined = state.joining(place, node(who), None);
            state.join(joined);
        }
        let stored = Stored { state, marks: Default::default(), slot_floor: 1 };
        let data = encode_state(&stored);
        world.give(1, Input::Install { instance: INSTANCE, from: node(SOURCE), index, data });
        assert_eq!(world.installed.last(), Some(&false));
    }
}

#[test]
fn who_joined_can_be_taken_out_again() {
    let mut world = World::new(1, Policy::All);
    world.lead(SOURCE);
    world.run(SECOND);
    let which = world.add(Start::FirstKept);
    world.run(SECOND);
    assert!(world.first.is_some());
    let mut drain = wished(which, ChangeKind::Drain, 90);
    drain.added = [Added { node: node(which), first: world.first }].into();
    world.publish(1, 5, Waited::Accepted);
    world.run(SECOND);
    world.tell_members(0..3, &drain);
    world.run(SECOND);
    assert_eq!(world.changed.last(), Some(&LogIndex(90)));
    assert_eq!(
        world.conformed,
        Some(([node(SOURCE)].into(), [node(which)].into())),
        "the source alone votes again"
    );
    let request = world.publish(6, 5, Waited::Completed);
    world.run(SECOND);
    assert_eq!(world.told(request), Some(Waited::Completed));
}

#[test]
fn a_handler_that_stored_nothing_begins_where_its_target_does() {
    let mut world = World::new(1, Policy::All);
    world.members[1].stuck = true;
    world.lead(SOURCE);
    world.publish(1, 9, Waited::Accepted);
    world.run(SECOND);
    let which = world.comes();
    world.meets(which);
    world.members[which].begins = 6;
    world.tell_members(0..which + 1, &added(which, Start::At(Sequence(6))));
    let beginning =
        Position { instance: INSTANCE, authority: crate::id::AuthorityEpoch(0), sequence: Sequence(0) };
    let request = world.request();
    let presented = Some(beginning);
    world.give(which, Input::Attach { request, stream: NAME.into(), presented, window: 9 });
    world.run(SECOND);
    assert_eq!(world.members[which].seen, [6, 7, 8, 9]);
    let reply = world.replies.iter().find(|(asked, _)| *asked == request).expect("attached");
    let Ok(Reply::Attached { position, .. }) = &reply.1 else { panic!("{reply:?}") };
    assert_eq!(position.sequence, Sequence(5));
    assert_eq!(world.members[which].streams.served(NAME).unwrap().expect("a target").gone, Sequence(5));
}

#[test]
fn a_start_that_cannot_be_is_known_where_the_stream_is() {
    let mut world = World::new(1, Policy::All);
    world.lead(SOURCE);
    world.publish(1, 9, Waited::Accepted);
    world.run(SECOND);
    let may =
        |which: usize, start: u64| world.members[which].streams.may_begin(NAME, Start::At(Sequence(start)));
    let (start, first, end) = (Sequence(9), Sequence(10), Sequence(9));
    assert_eq!(may(SOURCE, 9), Err(MembersRefusal::NotKept { start, first }));
    assert_eq!(may(SOURCE, 10), Ok(()));
    assert_eq!(may(SOURCE, 11), Err(MembersRefusal::AboveEnd { start: Sequence(11), end }));
    assert_eq!(may(1, 11), Ok(()), "it may be behind");
}

#[test]
fn a_state_says_who_joined_and_who_is_given_one_is_past_what_was_let_go() {
    let mut state = LogState { taken: Sequence(9), ..LogState::default() };
    let joined = state.joining(2, node(5), Some(Sequence(4)));
    state.join(joined);
    state.taken = Sequence(20);
    let later = state.joining(3, node(6), None);
    assert_eq!((later.late.behind, later.late.joined), (Sequence(20), Sequence(20)));
    state.join(later);
    let stored = Stored { state: state.clone(), marks: Default::default(), slot_floor: 1 };
    assert_eq!(decode_state(&encode_state(&stored)), Ok(stored));
    assert_eq!(LogState::default().lacks(&state), Some("messages"));
    let without = LogState { joined: Box::default(), ..state.clone() };
    assert_eq!(without.lacks(&state), Some("a target that joined"));
    for entry in [
        Entry::Join { place: 4, node: node(5), behind: Some(Sequence(3)), declined: false },
        Entry::Join { place: 4, node: node(5), behind: None, declined: true },
    ] {
        assert_eq!(decode_entry(&encode_entry(&entry)), Ok(entry.clone()));
        assert_eq!(state.effect(&entry, false), crate::stream::state::Effect::Nothing, "it joined before");
    }
}

#[cfg(feature = "planted")]
mod planted {
    use super::*;
    use crate::planted::Bug;

    #[test]
    fn what_only_the_newcomer_and_its_source_hold_is_seen_where_that_is_told() {
        let planted = Planted::only(Bug::ReplicatedByNewcomer);
        assert_eq!(told_by_the_newcomer(planted, false), Some(Waited::Replicated));
    }

    /// A node that is away is added while the others go on. Whether it joined.
    #[test]
    fn who_joins_before_it_holds_anything_is_seen() {
        for (planted, joins) in [(Planted::none(), false), (Planted::only(Bug::JoinedBeforeCaughtUp), true)] {
            let mut world = World::with_bug(2, Policy::All, planted);
            world.lead(SOURCE);
            world.publish(1, 9, Waited::Accepted);
            world.run(SECOND);
            let which = world.comes();
            world.silence(which);
            world.tell_members(0..3, &added(which, Start::Now));
            world.run(SECOND);
            assert_eq!(world.first.is_some(), joins);
        }
    }

    /// Two of three process what is in front of its joining, and two are asked for: whether that is completed by the one of them and the newcomer.
    #[test]
    fn who_counts_for_what_is_in_front_of_its_joining_is_seen() {
        for (planted, completed) in [(Planted::none(), 4), (Planted::only(Bug::AddedCountsForEarlier), 10)] {
            let mut world = World::with_bug(3, Policy::Count(2), planted);
            (2..=3).for_each(|which| world.members[which].stuck = true);
            world.lead(SOURCE);
            world.publish(1, 9, Waited::Accepted);
            world.run(SECOND);
            let token = world.members[2].token.expect("attached");
            world.give(2, Input::Verdict { token, upto: Sequence(4) });
            world.run(SECOND);
            let which = world.add(Start::Now);
            world.members[which].begins = 10;
            world.run(SECOND);
            world.publish(10, 1, Waited::Accepted);
            world.run(SECOND);
            assert_eq!(world.status(SOURCE).completed, Sequence(completed));
        }
    }

    #[test]
    #[should_panic(expected = "S21")]
    fn what_passes_the_newcomer_is_seen() {
        let mut world = World::with_bug(2, Policy::Count(1), Planted::only(Bug::ReleasePassesNewcomer));
        world.lead(SOURCE);
        world.run(SECOND);
        let which = world.add(Start::Now);
        world.members[which].stuck = true;
        world.run(SECOND);
        world.publish(1, 5, Waited::Accepted);
        world.run(SECOND);
    }
}

/// A stream that keeps its last hundred messages, of which there are ten; its target has processed them.
fn kept() -> World {
    let keep = Retention { messages: 100, ..Retention::default() };
    let ends = Ends::between(node(SOURCE), node(1)).keeping(keep).expect("fits");
    let mut world = World::of(ends, Planted::none());
    world.lead(SOURCE);
    world.run(SECOND);
    for number in 1..=10 {
        world.publish(number, 1, Waited::Accepted);
        world.run(SECOND);
    }
    let status = world.status(SOURCE);
    assert_eq!((status.completed, status.released, status.kept.messages), (Sequence(10), Sequence(0), 10));
    world
}

#[test]
fn what_was_kept_is_owed_to_who_comes_later_and_gives_way_when_that_is_past_it() {
    let mut world = kept();
    let which = world.add(Start::FirstKept);
    world.members[which].stuck = true;
    world.run(Span::secs(5));
    assert_eq!(world.members[which].seen, (1..=10).collect::<Vec<_>>());
    let config = Config::default();
    world.give(SOURCE, Input::Space { free: config.space_floor + config.intake_room + 1 });
    world.run(Span::secs(60));
    let kept = world.status(SOURCE).kept;
    assert_eq!((kept.first, kept.short), (Sequence(1), None), "it has processed none of it");
    let token = world.members[which].token.expect("attached");
    world.give(which, Input::Verdict { token, upto: Sequence(4) });
    world.run(Span::secs(60));
    let kept = world.status(SOURCE).kept;
    assert_eq!((kept.first, kept.short.map(|short| short.upto)), (Sequence(5), Some(Sequence(4))));
}

#[test]
fn nobody_reads_again_what_is_in_front_of_the_start_of_who_came_later() {
    let mut world = kept();
    let which = world.add(Start::Now);
    world.members[which].begins = 11;
    let replay = |world: &mut World, from: Option<u64>| -> RequestId {
        let (request, stream) = (world.request(), NAME.into());
        world.replays.insert(request);
        let range = Range { from: from.map(Sequence), to: None };
        world.give(which, Input::Replay { request, stream, range, window: 100 });
        world.run(SECOND);
        request
    };
    let answer = |world: &World, request: RequestId| {
        let answers = world.replies.iter().filter(|(of, _)| *of == request);
        answers.map(|(_, answer)| answer.clone()).next_back()
    };
    let early = replay(&mut world, None);
    world.run(Span::secs(5));
    assert_eq!(world.first, Some(Sequence(11)), "it joined");
    let released = |wanted| Err(Refusal::Released { wanted: Sequence(wanted), first: Sequence(11) });
    assert_eq!(answer(&world, early), Some(released(1)), "that began before it joined");
    let before = replay(&mut world, Some(5));
    assert_eq!(answer(&world, before), Some(released(5)), "it keeps that, and processed none of it");
    world.publish(11, 2, Waited::Accepted);
    world.run(SECOND);
    let all = replay(&mut world, None);
    let Some(Ok(Reply::Attached { token, .. })) = answer(&world, all) else { panic!("it is granted") };
    assert_eq!(world.reread[&token], [11, 12]);
}

/// The source knows that it joined, and is past what stands in front of its start.
fn tell_its_mark(world: &mut World, which: usize) {
    let (boot, peer) = (BootId(100 + SOURCE as u128), BootId(100 + which as u128));
    let standing = Standing { boot, peer, serial: 1 << 40, heard: Sequence(7), ..Standing::default() };
    let message = Message { instance: INSTANCE, body: Body::Status(standing) };
    world.give(which, Input::Message { from: node(SOURCE), message });
    world.run(SECOND);
    assert_eq!(world.members[which].streams.streams[&INSTANCE].target.mark, Sequence(7));
}

#[test]
fn a_replay_is_handed_nothing_for_a_mark_of_which_the_log_does_not_know_here() {
    let (mut world, which, request) = joins_unheard(Planted::none());
    tell_its_mark(&mut world, which);
    assert!(world.reread.values().all(Vec::is_empty));
    world.deaf.clear();
    world.run(Span::secs(5));
    let refusal = Refusal::Released { wanted: Sequence(1), first: Sequence(8) };
    assert_eq!(world.replies.iter().rfind(|(of, _)| *of == request), Some(&(request, Err(refusal))));
    assert!(world.reread.values().all(Vec::is_empty));
}

#[cfg(feature = "planted")]
#[test]
fn a_replay_that_is_handed_what_stands_in_front_of_a_start_is_seen() {
    let planted = Planted::only(crate::planted::Bug::ReplayBeforeJoining);
    let (mut world, which, _) = joins_unheard(planted);
    tell_its_mark(&mut world, which);
    assert_eq!(world.reread.values().next(), Some(&(1..=7).collect()));
}
