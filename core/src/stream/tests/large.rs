//! Messages of several parts.

use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;

use super::promises::{receipts, refusal};
use super::world::{NAME, SOURCE, TARGET, World, large, node};
use crate::digest::Digest;
use crate::id::{RequestId, Sequence, WriterId, WriterSequence};
use crate::node::command::{PartOf, Refusal, Reply, Staged, Waited};
use crate::stream::Input;
use crate::time::Span;

const KIB: usize = 1 << 10;

/// Parts of a kibibyte, in a world where few of them are in memory at once.
fn small() -> World {
    let mut world = World::new(7);
    world.config.part_bytes = KIB as u64;
    world.config.cache_bytes = 8 << 10;
    world.config.window_bytes = 4 << 10;
    world.config.flight_bytes = 16 << 10;
    world.start(SOURCE);
    world.start(TARGET);
    world.lead();
    world.run(Span::millis(300));
    world
}

/// Stages the parts of a message from `offset` on, up to `upto`.
fn stage(world: &mut World, number: u64, whole: &[u8], (from, upto): (u64, u64)) -> RequestId {
    let mut last = RequestId(0);
    for offset in (from..upto).step_by(world.config.part_bytes as usize) {
        last = world.stage(1, number, whole, offset, Waited::Completed);
        world.run(Span::millis(20));
    }
    last
}

fn staged(world: &World, request: RequestId) -> Option<u64> {
    match world.answers(request).last() {
        Some(Ok(Reply::Staged(Staged { upto, .. }))) => Some(*upto),
        _ => None,
    }
}

#[test]
fn a_message_of_many_parts_is_one_message_and_holds_up_nobody_before_it_is_whole() {
    let mut world = small();
    world.attach(None, 4);
    let whole = large(1, 1, 100 * KIB + 10);
    let half = stage(&mut world, 1, &whole, (0, 50 << 10));
    assert_eq!(staged(&world, half), Some(50 << 10), "what is durable is told");
    let other = world.publish(2, 1, 3, Waited::Completed);
    world.run(Span::millis(500));
    assert_eq!(receipts(&world, other).last().map(|receipt| receipt.last), Some(Sequence(3)));
    let last = stage(&mut world, 1, &whole, (50 << 10, whole.len() as u64));
    let behind = world.publish(2, 4, 1, Waited::Completed);
    world.run(Span::secs(1));
    let found = receipts(&world, last);
    let levels: Vec<Waited> = found.iter().map(|receipt| receipt.level).collect();
    assert_eq!(levels, [Waited::Accepted, Waited::Replicated, Waited::Completed]);
    // A sequence for each part, of which the message bears the last.
    assert!(found.iter().all(|receipt| (receipt.first, receipt.last) == (Sequence(104), Sequence(104))));
    assert_eq!(receipts(&world, behind).last().map(|receipt| receipt.last), Some(Sequence(105)));
    assert!(world.effects.contains(&(WriterId(1), 1, Bytes::from(whole.clone()))));
    assert_eq!(world.effects.len(), 5);
    let again = world.stage(1, 1, &whole, 0, Waited::Completed);
    world.run(Span::millis(100));
    assert!(receipts(&world, again).last().is_some_and(|receipt| receipt.duplicate));
    assert_eq!(world.effects.len(), 5, "a repeat is none");
}

#[test]
fn what_is_staged_outlives_its_source_and_is_gone_on_with() {
    let mut world = small();
    world.attach(None, 4);
    let whole = large(1, 1, 40 * KIB);
    stage(&mut world, 1, &whole, (0, 20 << 10));
    for upto in [20u64 << 10, 30 << 10, 39 << 10] {
        world.crash(SOURCE, 0);
        world.start(SOURCE);
        world.run(Span::millis(10));
        world.lead();
        world.run(Span::millis(500));
        let (next, held) = world.find(1);
        assert_eq!((next, held.map(|held| (held.total, held.upto))), (1, Some((40 << 10, upto))));
        stage(&mut world, 1, &whole, (upto, (upto + (10 << 10)).min(39 << 10)));
    }
    assert_eq!(world.status(SOURCE).accepted, Sequence(0), "nothing of it is in the stream yet");
    let last = stage(&mut world, 1, &whole, (39 << 10, 40 << 10));
    world.run(Span::millis(5));
    world.crash(SOURCE, 0);
    world.start(SOURCE);
    world.lead();
    world.run(Span::secs(2));
    assert_eq!(world.effects, [(WriterId(1), 1, Bytes::from(whole))], "{:?}", world.answers(last));
    assert_eq!(world.find(1), (2, None));
    let live: usize = world.alive(SOURCE);
    assert!(live < 8 * KIB, "{live} bytes are kept of what is processed");
}

#[test]
fn what_is_staged_before_the_group_decided_anything_outlives_its_source_too() {
    let mut world = World::new(7);
    world.config.part_bytes = KIB as u64;
    world.start(SOURCE);
    world.start(TARGET);
    let whole = large(1, 1, 10 * KIB);
    stage(&mut world, 1, &whole, (0, 5 << 10));
    world.crash(SOURCE, 0);
    world.start(SOURCE);
    assert_eq!(world.find(1).1.map(|held| held.upto), Some(5 << 10));
}

#[test]
fn a_handler_has_few_pieces_at_a_time_and_the_rest_waits_on_the_disk() {
    let mut world = small();
    world.hoards = true;
    world.attach(None, 1);
    let whole = large(1, 1, 64 * KIB);
    stage(&mut world, 1, &whole, (0, 64 << 10));
    world.run(Span::secs(1));
    assert_eq!(world.pieces.len(), 4 * KIB, "as many as its window has bytes");
    world.publish(2, 1, 1, Waited::Accepted);
    let (token, mut took) = (world.token.unwrap(), 0);
    while world.effects.is_empty() {
        took += KIB as u64;
        world.give(TARGET, Input::Took { token, bytes: took });
        world.run(Span::millis(20));
        assert!(world.took - took.min(world.took) <= 4 << 10);
    }
    assert_eq!(world.effects[0].2, Bytes::from(whole));
    world.run(Span::millis(500));
    assert_eq!(world.effects.len(), 2, "what came behind it");
}

#[test]
fn a_handler_that_comes_back_in_the_middle_begins_the_message_again() {
    let mut world = small();
    world.hoards = true;
    world.attach(None, 1);
    let whole = large(1, 1, 30 * KIB);
    stage(&mut world, 1, &whole, (0, 30 << 10));
    world.run(Span::secs(1));
    assert_eq!(world.pieces.len(), 4 * KIB);
    let token = world.token.unwrap();
    world.give(TARGET, Input::Verdict { token, upto: Sequence(3) });
    world.give(TARGET, Input::Verdict { token, upto: Sequence(30) });
    world.run(Span::millis(100));
    assert_eq!(
        world.status(TARGET).processed,
        Sequence(0),
        "success for a message that was not handed over is none"
    );
    let inside = world.attach(Some(3), 1);
    world.run(Span::millis(300));
    assert!(matches!(refusal(&world, inside), Refusal::ForeignPosition(what) if what.contains("inside")));
    world.hoards = false;
    world.attach(None, 1);
    world.run(Span::secs(1));
    assert_eq!(world.effects, [(WriterId(1), 1, Bytes::from(whole))]);
    assert_eq!(world.status(TARGET).processed, Sequence(30));
    let token = world.token.unwrap();
    world.give(TARGET, Input::Verdict { token, upto: Sequence(20) });
    assert_eq!(world.status(TARGET).processed, Sequence(30));
}

#[test]
fn what_cannot_be_staged_is_refused_each_with_its_reason_and_changes_nothing() {
    let mut world = small();
    let whole = large(1, 1, 10 * KIB);
    stage(&mut world, 1, &whole, (0, 4 << 10));
    let part = |offset, len: usize, total| PartOf {
        writer: WriterId(1),
        number: WriterSequence(1),
        total,
        offset,
        bytes: Bytes::from(alloc::vec![0; len]),
        digest: None,
        wait: Waited::Accepted,
    };
    let limit = world.config.whole_bytes;
    let mut told = |part| {
        let request = world.stage_part(part);
        refusal(&world, request)
    };
    let (kib, total) = (KIB as u64, 10 << 10);
    assert_eq!(told(part(5 * kib, KIB, total)), Refusal::WrongOffset { expected: 4 * kib, got: 5 * kib });
    assert_eq!(told(part(3 * kib, KIB, total)), Refusal::WrongOffset { expected: 4 * kib, got: 3 * kib });
    assert_eq!(told(part(4 * kib, KIB, total + 1)), Refusal::WholeChanged { was: total, now: total + 1 });
    assert_eq!(told(part(0, KIB, limit + 1)), Refusal::TooLarge { what: "a message", got: limit + 1, limit });
    assert!(matches!(told(part(0, KIB, kib)), Refusal::Invalid(what) if what.contains("any other")));
    assert!(
        matches!(told(part(4 * kib, KIB - 1, total)), Refusal::Invalid(what) if what.contains("must be in it"))
    );
    let early = PartOf { digest: Some(Digest::default()), ..part(4 * kib, KIB, total) };
    assert!(matches!(told(early), Refusal::Invalid(what) if what.contains("only the last")));
    let gap = PartOf { number: WriterSequence(3), ..part(0, KIB, total) };
    assert_eq!(told(gap), Refusal::WriterGap { expected: WriterSequence(1), got: WriterSequence(3) });
    assert_eq!(
        told(PartOf { writer: WriterId(9), ..part(kib, KIB, total) }),
        Refusal::WrongOffset { expected: 0, got: kib }
    );
    assert_eq!(world.find(1).1.map(|held| held.upto), Some(4 << 10), "nothing changed");
    stage(&mut world, 1, &whole, (4 << 10, 9 << 10));
    let bare = world.stage_part(part(9 * kib, KIB, total));
    assert!(matches!(refusal(&world, bare), Refusal::Invalid(what) if what.contains("must say")));
    let forged = PartOf { digest: Some(Digest::of_bytes(&whole)), ..part(9 * kib, KIB, total) };
    let forged = world.stage_part(forged);
    world.run(Span::millis(100));
    assert!(
        matches!(refusal(&world, forged), Refusal::WrongDigest { said, .. } if said == Digest::of_bytes(&whole))
    );
    assert_eq!(world.find(1), (1, None), "none of it is kept");
    assert_eq!(world.status(SOURCE).accepted, Sequence(0));
}

#[test]
fn parts_that_come_faster_than_they_are_on_disk_are_refused_and_may_come_again() {
    let mut world = small();
    world.config.parts_coming = 3;
    world.crash(SOURCE, 0);
    world.start(SOURCE);
    let whole = large(1, 1, 64 * KIB);
    let (mut open, mut next, mut refused) = (Vec::new(), 0, 0);
    while next < 60 << 10 {
        let request = world.stage(1, 1, &whole, next, Waited::Accepted);
        match world.answers(request).last() {
            Some(Err(Refusal::Busy)) => refused += 1,
            Some(answer) => panic!("{answer:?}"),
            None => {
                next += KIB as u64;
                open.push(request);
            }
        }
        assert!(open.len() <= 3, "{} parts are in memory", open.len());
        world.run(Span::micros(300));
        open.retain(|&request| world.answers(request).is_empty());
    }
    assert!(refused > 0);
    world.run(Span::millis(50));
    assert_eq!(world.find(1).1.map(|held| held.upto), Some(60 << 10));
}

#[test]
fn room_for_all_of_a_message_is_set_aside_before_its_first_byte_and_given_back() {
    let mut world = small();
    let free = world.config.space_floor + world.config.intake_room + (64 << 10);
    world.give(SOURCE, Input::Space { free });
    let whole = large(1, 1, 40 * KIB);
    stage(&mut world, 1, &whole, (0, 2 << 10));
    let other = world.stage(2, 1, &large(2, 1, 30 * KIB), 0, Waited::Accepted);
    assert_eq!(refusal(&world, other), Refusal::NoSpace { free }, "the first message has the room");
    let anew = world.stage(1, 1, &large(1, 1, 60 * KIB), 0, Waited::Accepted);
    world.run(Span::millis(50));
    assert_eq!(staged(&world, anew), Some(1 << 10), "begun anew, it counts once");
    let request = world.request();
    let (stream, writer) = (String::from(NAME), WriterId(1));
    world.give(SOURCE, Input::GiveUp { request, stream, writer });
    assert_eq!(staged(&world, request), Some(0));
    let other = world.stage(2, 1, &large(2, 1, 60 * KIB), 0, Waited::Accepted);
    world.run(Span::millis(50));
    assert_eq!(staged(&world, other), Some(1 << 10));
    // An ordinary message takes the place of the large one.
    world.publish(2, 1, 1, Waited::Accepted);
    world.run(Span::millis(50));
    assert_eq!(world.find(2), (2, None));
    world.give(SOURCE, Input::Space { free: 1 << 40 });
    world.give(TARGET, Input::Space { free: world.config.space_floor + (30 << 10) });
    world.run(Span::millis(500));
    let there = world.stage(1, 1, &whole, 0, Waited::Accepted);
    assert!(matches!(refusal(&world, there), Refusal::NoSpaceAt { free, .. } if free == 30 << 10));
    world.give(TARGET, Input::Space { free: 1 << 40 });
    let late = world.stage(1, 1, &whole, 0, Waited::Accepted);
    assert!(matches!(refusal(&world, late), Refusal::NoSpaceAt { .. }), "as far as was said");
    world.run(Span::millis(50));
    let again = world.stage(1, 1, &whole, 0, Waited::Accepted);
    world.run(Span::millis(50));
    assert_eq!(staged(&world, again), Some(1 << 10), "it was asked");
    world.config.whole_bytes = 50 << 10;
    world.config.uploads = 2;
    world.crash(SOURCE, 0);
    world.start(SOURCE);
    world.lead();
    world.give(TARGET, Input::Space { free: 1 << 40 });
    world.run(Span::millis(500));
    stage(&mut world, 1, &whole, (0, 2 << 10));
    let full = world.stage(3, 1, &large(3, 1, 20 * KIB), 0, Waited::Accepted);
    assert!(matches!(refusal(&world, full), Refusal::Backpressure { .. }));
    world.stage(3, 1, &large(3, 1, 2 * KIB), 0, Waited::Accepted);
    let many = world.stage(4, 1, &large(4, 1, 2 * KIB), 0, Waited::Accepted);
    assert_eq!(refusal(&world, many), Refusal::TooManyUploads { limit: 2 });
}

#[test]
fn a_target_is_asked_for_its_room_once_at_a_time_and_refuses_none_when_it_is_silent() {
    let mut world = small();
    world.give(TARGET, Input::Space { free: world.config.space_floor + (30 << 10) });
    // It says so with the next word that it owes.
    world.publish(2, 1, 1, Waited::Accepted);
    world.run(Span::millis(500));
    let (whole, said) = (large(1, 1, 40 * KIB), world.said);
    world.cut = true;
    let tries = |world: &mut World| {
        for _ in 0..10 {
            let there = world.stage(1, 1, &whole, 0, Waited::Accepted);
            assert!(matches!(refusal(world, there), Refusal::NoSpaceAt { free, .. } if free == 30 << 10));
        }
    };
    tries(&mut world);
    assert_eq!(world.said, said + 1, "one question for ten tries");
    // It is lost.
    world.run(Span::millis(400));
    let said = world.said;
    tries(&mut world);
    assert_eq!(world.said, said + 1);
    world.give(SOURCE, Input::PairSuspect { node: node(TARGET) });
    let away = world.stage(1, 1, &whole, 0, Waited::Accepted);
    world.run(Span::millis(50));
    assert_eq!(staged(&world, away), Some(1 << 10), "what it said was of long ago");
}

#[test]
fn a_source_that_forgot_that_a_message_was_whole_leaves_the_parts_behind_or_goes_on_with_them() {
    for other in [false, true] {
        let mut world = small();
        world.attach(None, 4);
        world.publish(2, 1, 2, Waited::Accepted);
        world.run(Span::millis(500));
        let whole = large(1, 1, 60 * KIB);
        stage(&mut world, 1, &whole, (0, 60 << 10));
        // Some of it is taken by the log, and then the source forgets that it ever was.
        world.run(Span::millis(1));
        let rows = world.rows(SOURCE);
        world.cut = true;
        world.crash(SOURCE, rows.min(40));
        world.cut = false;
        world.start(SOURCE);
        for _ in 0..60 {
            world.lead();
            world.run(Span::millis(300));
        }
        let whole = if other { large(1, 2, 61 * KIB) } else { whole };
        let (next, _) = world.find(1);
        if next == 1 {
            let last = stage(&mut world, 1, &whole, (0, whole.len() as u64));
            world.run(Span::secs(1));
            assert!(
                !receipts(&world, last).is_empty(),
                "{:?} {:?}",
                world.answers(last),
                world.status(SOURCE)
            );
        }
        world.publish(2, 3, 1, Waited::Accepted);
        world.run(Span::secs(3));
        let (source, target) = (world.status(SOURCE), world.status(TARGET));
        let of_it = world.effects.iter().filter(|(writer, ..)| *writer == WriterId(1)).count();
        assert_eq!(of_it, 1, "{source:?} {target:?} {}", world.pieces.len());
        assert_eq!(world.effects.len(), 4);
    }
}
