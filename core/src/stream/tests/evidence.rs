//! What a member knows of the log by what it was told, or did itself: and when it knows better.

use alloc::string::String;

use super::members::{SECOND, SOURCE, World};
use super::world::{INSTANCE, NAME, node};
use crate::digest::{Chain, Digest};
use crate::ends::Policy;
use crate::id::{
    AuthorityEpoch, BootId, LogIndex, MessageId, RequestId, Sequence, SessionEpoch, Term, WriterId,
    WriterSequence,
};
use crate::node::command::{Position, Refusal, Reply, Waited};
use crate::planted::Planted;
use crate::recovery::LogPlace;
use crate::sealing::Sealed;
use crate::stream::wire::{decode_entry, decode_state, encode_entry, encode_state};
use crate::stream::{Batch, Entry, Identity, Input, Output, Span};
use crate::time::Wall;

/// A target that processed ten messages, of which the other one holds the bytes, starts anew from its records.
fn processed(planted: Planted) -> (World, Option<LogIndex>, Option<LogIndex>) {
    let mut world = World::with_bug(2, Policy::Count(1), planted);
    world.members[2].stuck = true;
    world.lead(SOURCE);
    world.run(SECOND);
    world.publish(1, 10, Waited::Accepted);
    world.run(SECOND);
    world.publish(11, 1, Waited::Accepted);
    world.members[1].stuck = true;
    let streams = world.restored(1);
    let floor = streams.applied_index(INSTANCE).0 as usize;
    let all = world.behind(floor);
    let whole = streams.proven(INSTANCE, all.iter().cloned());
    let cut = streams.proven(INSTANCE, all.into_iter().take(0));
    (world, whole, cut)
}

#[test]
fn what_a_target_processed_proves_that_its_log_is_committed_so_far() {
    let (world, whole, cut) = processed(Planted::none());
    let processed = Sequence(10);
    let descriptor = |data: &bytes::Bytes| matches!(decode_entry(data), Ok(Entry::Descriptor { first, .. }) if first <= processed);
    let last = world.behind(0).into_iter().rev().find(|entry| descriptor(&entry.data)).expect("taken");
    assert_eq!(whole, Some(last.index));
    assert_eq!(cut, None, "a log that was taken back holds less, and proves nothing");
}

/// An append names bytes that nobody has, and waits for them at the second target.
fn waits_in_vain(planted: Planted) -> World {
    let mut world = World::with_bug(2, Policy::All, planted);
    world.lead(SOURCE);
    world.run(SECOND);
    world.publish(1, 5, Waited::Accepted);
    world.run(SECOND);
    let identity = Identity { boot: BootId(7), first: Sequence(6), digest: Digest([7; 32]) };
    let span = Span { writer: WriterId(9), first: WriterSequence(1), count: 1, void: false };
    let (spans, lengths) = ([span].into(), [3].into());
    let batch = Batch { identity, spans, lengths, base: MessageId(1), wall: Wall(0), part: None };
    let entry = Entry::Descriptor { epoch: SessionEpoch(1), first: Sequence(6), batch };
    let now = world.at();
    let streams = &mut world.members[2].streams;
    assert!(!streams.admit(now, INSTANCE, &encode_entry(&entry)).passes() && streams.awaits(INSTANCE, None));
    world
}

fn waits(world: &World) -> bool {
    world.members[2].streams.awaits(INSTANCE, None)
}

#[test]
fn bytes_are_wanted_no_longer_than_the_append_that_names_them_counts() {
    let mut world = waits_in_vain(Planted::none());
    world.lead(1);
    assert!(!waits(&world), "whoever leads now names them again, or does without");
    let mut world = waits_in_vain(Planted::none());
    world.publish(6, 1, Waited::Accepted);
    world.run(SECOND);
    world.run(SECOND);
    assert!(!waits(&world), "another batch took their place");
    let mut world = waits_in_vain(Planted::none());
    install(&mut world, 2, |_| {});
    assert!(!waits(&world), "a state took the place of that log");
}

/// A member is given the state of the first target, changed a little.
fn install(world: &mut World, which: usize, change: impl FnOnce(&mut crate::stream::wire::Stored)) {
    let now = world.at();
    let streams = &mut world.members[1].streams;
    streams.handle(now, Input::SnapshotWanted { instance: INSTANCE, to: node(which) });
    let mut data = None;
    while let Some(output) = streams.poll() {
        if let Output::Snapshot { data: state, .. } = output {
            data = Some(state);
        }
    }
    let mut stored = decode_state(&data.expect("it has a state")).expect("it is one");
    stored.state.applied = LogIndex(1000);
    change(&mut stored);
    let (index, from, data) = (stored.state.applied, node(1), encode_state(&stored));
    world.give(which, Input::Install { instance: INSTANCE, from, index, data });
}

/// A source whose session is current is given a state in which another start's is.
fn superseded(planted: Planted) -> World {
    let mut world = World::with_bug(2, Policy::All, planted);
    world.lead(SOURCE);
    world.run(SECOND);
    install(&mut world, SOURCE, |stored| {
        (stored.state.session, stored.state.boot) = (SessionEpoch(2), BootId(999));
    });
    world
}

#[test]
fn a_source_that_is_superseded_in_a_state_stops() {
    assert!(superseded(Planted::none()).status(SOURCE).stopped.is_some());
}

/// A member to which ten messages are committed is given a state that goes on from the fifth.
fn forgotten(planted: Planted) -> (World, RequestId) {
    let mut world = World::with_bug(2, Policy::All, planted);
    world.lead(SOURCE);
    world.run(SECOND);
    world.members.iter_mut().for_each(|member| member.stuck = true);
    world.publish(1, 5, Waited::Accepted);
    let request = world.publish(6, 5, Waited::Completed);
    world.run(SECOND);
    install(&mut world, SOURCE, |stored| {
        (stored.state.taken, stored.state.completed, stored.state.released) =
            (Sequence(5), Sequence(5), Sequence(5));
    });
    (world, request)
}

#[test]
fn a_state_without_what_is_committed_here_is_of_another_history() {
    let (world, request) = forgotten(Planted::none());
    assert_eq!(world.told(request), Some(Waited::Replicated), "nobody has processed the last five");
    assert!(world.contradicted.contains(&SOURCE));
}

/// A target founded the stream anew, and its source lives.
fn founded(planted: Planted) -> World {
    let mut world = World::with_bug(4, Policy::Count(1), planted);
    world.lead(SOURCE);
    world.run(SECOND);
    world.publish(1, 10, Waited::Accepted);
    world.run(SECOND);
    for lost in [2, 3, 4] {
        world.silence(lost);
    }
    let place = LogPlace { index: LogIndex(world.log.len() as u64), term: Term(1), chain: Chain::default() };
    let sealed = Sealed {
        authority: AuthorityEpoch(1),
        lost: [2, 3, 4].map(node).into(),
        waits_for: [].into(),
        end: Some((node(1), place)),
        sequence: Some(Sequence(10)),
        heard: Sequence(10),
        former: [].into(),
    };
    for left in [SOURCE, 1] {
        world.give(left, Input::Sealed { instance: INSTANCE, sealed: sealed.clone() });
    }
    world.found(1);
    world.run(SECOND);
    world
}

fn present(world: &mut World, authority: u64, sequence: u64) -> RequestId {
    let request = world.request();
    let (authority, sequence) = (AuthorityEpoch(authority), Sequence(sequence));
    let presented = Some(Position { instance: INSTANCE, authority, sequence });
    let stream = String::from(NAME);
    world.give(1, Input::Attach { request, stream, presented, window: 8 });
    world.run(crate::time::Span::secs(20));
    request
}

fn answer(world: &World, request: RequestId) -> Option<&Result<Reply, Refusal>> {
    world.replies.iter().find(|(other, _)| *other == request).map(|(_, reply)| reply)
}

#[test]
fn a_target_that_founded_the_stream_tells_a_handler_where_it_stands() {
    let mut world = founded(Planted::none());
    for (authority, sequence) in [(1, 99), (7, 3)] {
        let request = present(&mut world, authority, sequence);
        let answer = answer(&world, request);
        assert!(matches!(answer, Some(Err(Refusal::ForeignPosition(_)))), "{answer:?}");
    }
    let request = present(&mut world, 1, 10);
    assert!(matches!(answer(&world, request), Some(Ok(Reply::Attached { .. }))));
}

#[cfg(feature = "planted")]
#[test]
fn planted_bugs_of_what_is_known_show() {
    use crate::planted::Bug;
    assert_eq!(processed(Planted::only(Bug::MarkProvesNothing)).1, None);
    let mut world = waits_in_vain(Planted::only(Bug::WantedForEver));
    world.lead(1);
    assert!(waits(&world));
    let (world, request) = forgotten(Planted::only(Bug::OtherHistoryInstalled));
    assert_eq!(world.told(request), Some(Waited::Completed));
    assert!(superseded(Planted::only(Bug::SupersededByStateGoesOn)).status(SOURCE).stopped.is_none());
    let mut world = founded(Planted::only(Bug::FounderAsksTheSource));
    let request = present(&mut world, 1, 99);
    assert!(answer(&world, request).is_none());
}
