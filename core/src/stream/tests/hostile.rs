//! Members that say what they should not (S20).

use bytes::Bytes;

use super::members::{SECOND, SOURCE, World};
use super::world::{INSTANCE, node};
use crate::digest::Digest;
use crate::ends::Policy;
use crate::id::{AuthorityEpoch, BootId, MessageId, Sequence, SessionEpoch, WriterId, WriterSequence};
use crate::node::command::Waited;
use crate::planted::Planted;
use crate::sealing::Sealed;
use crate::stream::wire::encode_entry;
use crate::stream::{Batch, Body, Data, Entry, Identity, Input, Message, Output, Span, Standing};
use crate::time::Wall;

fn world(leader: usize, planted: Planted) -> World {
    let mut world = World::with_bug(3, Policy::All, planted);
    world.lead(leader);
    world.run(SECOND);
    world.publish(1, 5, Waited::Accepted);
    world.run(SECOND);
    world
}

fn say(world: &mut World, from: usize, to: usize, body: Body) {
    world.give(to, Input::Message { from: node(from), message: Message { instance: INSTANCE, body } });
}

fn batch(first: u64, bytes: &'static [u8], messages: u64) -> Batch {
    let digest = Digest::of_bytes(bytes);
    let identity = Identity { boot: BootId(100), first: Sequence(first), digest };
    let span = Span { writer: WriterId(9), first: WriterSequence(1), count: messages, void: false };
    let mut lengths = alloc::vec![0; messages as usize];
    lengths[0] = bytes.len() as u32;
    Batch { identity, spans: [span].into(), lengths, base: MessageId(1), wall: Wall(0), part: None }
}

/// A member that neither is the source nor leads claims that another one has processed what there never was.
fn mark_claimed(planted: Planted, from: usize) -> Sequence {
    let mut world = world(SOURCE, planted);
    let heard = Sequence(1 << 40);
    let boot = BootId(100 + from as u128);
    let standing = Standing { boot, serial: 1 << 40, heard, ..Standing::default() };
    say(&mut world, from, 2, Body::Status(standing));
    world.members[2].streams.status(world.at())[0].processed
}

#[test]
fn only_who_is_told_marks_has_a_word_on_them() {
    assert_eq!(mark_claimed(Planted::none(), 3), Sequence(5));
    assert_eq!(mark_claimed(Planted::none(), SOURCE), Sequence(1 << 40), "a disk may have been taken back");
}

#[test]
fn past_the_loss_of_the_source_a_target_is_told_its_mark_by_those_who_are_left() {
    let mut world = world(SOURCE, Planted::none());
    world.silence(SOURCE);
    let sealed = Sealed {
        authority: AuthorityEpoch(1),
        lost: [node(SOURCE)].into(),
        waits_for: [].into(),
        end: None,
        sequence: None,
        heard: Sequence(5),
        former: [].into(),
    };
    world.give(2, Input::Sealed { instance: INSTANCE, sealed });
    let standing = Standing { boot: BootId(103), serial: 1 << 40, heard: Sequence(9), ..Standing::default() };
    say(&mut world, 3, 2, Body::Status(standing));
    assert_eq!(world.members[2].streams.status(world.at())[0].processed, Sequence(9));
}

/// A target waits for bytes of which it asked nobody yet, for the source is to send them; another member sends them.
fn bytes_of(planted: Planted, from: usize) -> bool {
    let mut world = world(SOURCE, planted);
    let batch = batch(6, b"abc", 1);
    let identity = batch.identity;
    let entry = Entry::Descriptor { epoch: SessionEpoch(1), first: Sequence(6), batch };
    let now = world.at();
    assert!(!world.members[2].streams.admit(now, INSTANCE, &encode_entry(&entry)).passes());
    let data = Data {
        boot: BootId(100 + from as u128),
        epoch: SessionEpoch(1),
        first: Sequence(6),
        count: 1,
        identity,
        offset: None,
        bytes: Bytes::from_static(b"abc").into(),
    };
    say(&mut world, from, 2, Body::Data(data));
    world.members[2].streams.awaits(INSTANCE, Some(&encode_entry(&entry)))
}

#[test]
fn bytes_are_taken_of_the_source_or_of_whom_they_were_asked() {
    assert!(bytes_of(Planted::none(), 3), "it was not asked");
    assert!(!bytes_of(Planted::none(), SOURCE));
}

/// A target waits for bytes, and holds what the source sent behind them, or not: whether it asks for them at once.
fn asks_at_once(later: bool) -> bool {
    let mut world = world(SOURCE, Planted::none());
    let (awaited, behind) = (batch(6, b"abc", 1), batch(7, b"def", 1));
    if later {
        let data = Data {
            boot: BootId(100),
            epoch: SessionEpoch(1),
            first: Sequence(7),
            count: 1,
            identity: behind.identity,
            offset: None,
            bytes: Bytes::from_static(b"def").into(),
        };
        say(&mut world, SOURCE, 2, Body::Data(data));
    }
    let identity = awaited.identity;
    let entry = Entry::Descriptor { epoch: SessionEpoch(1), first: Sequence(6), batch: awaited };
    let now = world.at();
    let streams = &mut world.members[2].streams;
    assert!(!streams.admit(now, INSTANCE, &encode_entry(&entry)).passes());
    let asks = |output: Output| matches!(output, Output::Send { message, .. } if message.body == Body::Want(identity));
    core::iter::from_fn(|| streams.poll()).any(asks)
}

#[test]
fn what_the_source_passed_over_is_asked_for_at_once() {
    assert!(!asks_at_once(false), "it is on its way");
    assert!(asks_at_once(true), "the source sends in order");
}

/// How often a target's question for the same bytes is answered, asked ten times at once.
fn answers(planted: Planted) -> usize {
    let mut world = world(SOURCE, planted);
    world.members[3].stuck = true;
    world.publish(6, 1, Waited::Accepted);
    world.run(SECOND);
    let streams = &world.members[SOURCE].streams.streams;
    let kept = streams[&INSTANCE].store.iter().last().expect("it is kept").1;
    let (identity, before) = (kept.batch.identity, world.payloads);
    for _ in 0..10 {
        say(&mut world, 2, SOURCE, Body::Want(identity));
    }
    world.payloads - before
}

#[test]
fn the_same_question_is_answered_once_in_a_while() {
    assert_eq!(answers(Planted::none()), 1);
}

/// What a leader keeps of offers behind a gap.
fn offered(planted: Planted) -> u64 {
    let mut world = world(1, planted);
    for at in 0..200 {
        let (first, batch) = (100 + at * 65_536, batch(1, b"abc", 65_536));
        let entry = Entry::Descriptor { epoch: SessionEpoch(1), first: Sequence(first), batch };
        say(&mut world, SOURCE, 1, Body::Offer(entry));
    }
    let streams = &world.members[1].streams.streams;
    streams[&INSTANCE].lead.as_ref().expect("it leads").offered
}

#[test]
fn offers_are_weighed() {
    let offered = offered(Planted::none());
    assert!((1..=8 << 20).contains(&offered), "{offered}");
}

#[cfg(feature = "planted")]
#[test]
fn planted_bugs_of_what_is_believed_show() {
    use crate::planted::Bug;
    assert_ne!(mark_claimed(Planted::only(Bug::AnybodyRecallsMarks), 3), Sequence(5));
    assert!(!bytes_of(Planted::only(Bug::BytesOfAnybody), 3));
    assert_eq!(answers(Planted::only(Bug::EveryWantAnswered)), 10);
    assert!(offered(Planted::only(Bug::OffersUnweighed)) > 8 << 20);
}
