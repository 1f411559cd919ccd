//! Each promise by itself.

use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use bytes::Bytes;

use super::world::{INSTANCE, NAME, SOURCE, TARGET, World, node};
use crate::id::{AttachToken, AuthorityEpoch, RequestId, Sequence, StreamInstance, WriterId, WriterSequence};
use crate::node::command::{Position, Receipt, Refusal, Reply, Waited};
use crate::stream::Input;
use crate::time::Span;

pub(super) fn world() -> World {
    let mut world = World::new(7);
    world.start(SOURCE);
    world.start(TARGET);
    world.lead();
    world.run(Span::millis(300));
    world
}

pub(super) fn receipts(world: &World, request: RequestId) -> Vec<Receipt> {
    let receipt = |reply: &&Result<Reply, Refusal>| match reply {
        Ok(Reply::Published(receipt)) => Some(*receipt),
        _ => None,
    };
    world.answers(request).iter().filter_map(receipt).collect()
}

pub(super) fn refusal(world: &World, request: RequestId) -> Refusal {
    match world.answers(request).last() {
        Some(Err(refusal)) => refusal.clone(),
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn a_publisher_hears_each_level_once_and_a_repetition_hears_the_same() {
    let mut world = world();
    world.attach(None, 4);
    let request = world.publish(1, 1, 5, Waited::Completed);
    world.run(Span::millis(500));
    let found = receipts(&world, request);
    let levels: Vec<Waited> = found.iter().map(|receipt| receipt.level).collect();
    assert_eq!(levels, [Waited::Accepted, Waited::Replicated, Waited::Completed]);
    for receipt in &found {
        assert_eq!((receipt.first, receipt.last), (Sequence(1), Sequence(5)));
        assert!(!receipt.provisional && !receipt.duplicate && receipt.session.0 == 1);
    }
    assert_eq!(world.effects.len(), 5);
    let again = world.publish(1, 3, 5, Waited::Completed);
    world.run(Span::millis(500));
    let old: Vec<Receipt> = receipts(&world, again).into_iter().filter(|receipt| receipt.duplicate).collect();
    let new: Vec<Receipt> =
        receipts(&world, again).into_iter().filter(|receipt| !receipt.duplicate).collect();
    assert_eq!(old.last().map(|at| (at.level, at.last_writer)), Some((Waited::Completed, WriterSequence(5))));
    assert_eq!(new.last().map(|at| (at.level, at.first)), Some((Waited::Completed, Sequence(6))));
    assert_eq!(world.effects.len(), 7, "two of the five were new");
}

#[test]
fn what_cannot_be_accepted_is_refused_with_the_reason() {
    let mut world = world();
    world.publish(1, 1, 2, Waited::Accepted);
    let gap = world.publish(1, 4, 1, Waited::Accepted);
    let (expected, got) = (WriterSequence(3), WriterSequence(4));
    assert_eq!(refusal(&world, gap), Refusal::WriterGap { expected, got });
    let large = world.request();
    let publish = |request, stream: &str, messages| Input::Publish {
        request,
        stream: stream.to_string(),
        writer: WriterId(9),
        first: WriterSequence(1),
        messages,
        wait: Waited::Accepted,
    };
    let limit = world.config.message_bytes;
    world.give(SOURCE, publish(large, NAME, [Bytes::from(alloc::vec![0; limit + 1])].into()));
    assert!(matches!(refusal(&world, large), Refusal::TooLarge { .. }));
    let elsewhere = world.request();
    world.give(TARGET, publish(elsewhere, NAME, [Bytes::new()].into()));
    let wrong = Refusal::WrongNode { node: node(SOURCE), name: String::new(), address: None };
    assert_eq!(refusal(&world, elsewhere), wrong);
    let unknown = world.request();
    world.give(SOURCE, publish(unknown, "nothing", [Bytes::new()].into()));
    assert_eq!(refusal(&world, unknown), Refusal::UnknownStream("nothing".to_string()));
    world.give(SOURCE, Input::Space { free: 10 });
    let full = world.publish(2, 1, 1, Waited::Accepted);
    assert_eq!(refusal(&world, full), Refusal::NoSpace { free: 10 });
}

#[test]
fn a_full_outbox_names_who_is_behind_and_empties_again() {
    let mut world = World::new(3);
    world.config.outbox_memory = 20_000;
    world.start(SOURCE);
    world.start(TARGET);
    world.lead();
    world.run(Span::millis(300));
    let mut next = 1;
    let refused = loop {
        let request = world.publish(1, next, 10, Waited::Accepted);
        world.run(Span::millis(20));
        if receipts(&world, request).is_empty() {
            break request;
        }
        next += 10;
        assert!(next < 1_000, "never full");
    };
    let (processed, accepted) = (Sequence(0), Sequence(next - 1));
    assert_eq!(
        refusal(&world, refused),
        Refusal::Backpressure { behind: node(TARGET).to_string(), processed, accepted }
    );
    world.attach(None, 16);
    world.run(Span::secs(3));
    let request = world.publish(1, next, 10, Waited::Completed);
    world.run(Span::secs(1));
    assert_eq!(receipts(&world, request).last().map(|receipt| receipt.level), Some(Waited::Completed));
}

#[test]
fn the_newest_handler_fences_the_one_before() {
    let mut world = world();
    world.verdicts = false;
    let first = world.attach(None, 2);
    let old = world.token.expect("attached");
    world.publish(1, 1, 6, Waited::Accepted);
    world.run(Span::millis(300));
    assert_eq!(world.effects.len(), 2, "no more than the window without a verdict");
    world.position = 0;
    world.effects.clear();
    world.attach(None, 3);
    assert_eq!(world.answers(first).last(), Some(&&Ok(Reply::Fenced { token: old })));
    world.run(Span::millis(300));
    assert_eq!(world.effects.len(), 3, "the calls in flight are handed over again");
    world.give(TARGET, Input::Verdict { token: old, upto: Sequence(2) });
    world.run(Span::millis(300));
    assert_eq!(world.effects.len(), 3, "a verdict under the old token counts for nothing");
    let token = world.token.unwrap_or(AttachToken(0));
    world.give(TARGET, Input::Verdict { token, upto: Sequence(3) });
    world.run(Span::millis(300));
    assert_eq!(world.effects.len(), 6);
}

#[test]
fn a_handler_that_is_refused_or_waits_takes_nothing_from_the_one_that_works() {
    let mut world = world();
    let working = world.attach(None, 8);
    world.publish(1, 1, 8, Waited::Accepted);
    world.run(Span::secs(1));
    let gone = world.attach(Some(2), 8);
    assert!(refusal(&world, gone).to_string().contains("are gone"));
    let above = world.attach(Some(9), 8);
    world.run(Span::millis(300));
    assert!(refusal(&world, above).to_string().contains("the stream ends at 8"));
    let hanging = world.attach(Some(30), 8);
    world.cut = true;
    world.run(Span::millis(300));
    let newer = world.attach(Some(20), 8);
    assert_eq!(refusal(&world, hanging), Refusal::Superseded);
    world.cut = false;
    world.publish(1, 9, 3, Waited::Accepted);
    world.run(Span::secs(2));
    assert_eq!(world.answers(working).len(), 1, "attached, and nothing since");
    assert_eq!(world.position, 11, "its verdicts count");
    assert!(refusal(&world, newer).to_string().contains("the stream ends at"));
}

#[test]
fn a_presented_position_is_weighed() {
    let mut world = world();
    world.attach(None, 8);
    world.publish(1, 1, 8, Waited::Accepted);
    world.run(Span::secs(1));
    assert_eq!(world.effects.len(), 8);
    let foreign = world.request();
    let presented =
        Some(Position { instance: StreamInstance(1), authority: AuthorityEpoch(0), sequence: Sequence(3) });
    world.give(TARGET, Input::Attach { request: foreign, stream: NAME.to_string(), presented, window: 1 });
    assert!(matches!(refusal(&world, foreign), Refusal::ForeignPosition(_)));
    let gone = world.attach(Some(2), 1);
    assert!(refusal(&world, gone).to_string().contains("are gone"));
    let above = world.attach(Some(9), 1);
    assert!(world.answers(above).is_empty(), "the source is asked first");
    world.run(Span::millis(300));
    assert!(refusal(&world, above).to_string().contains("the stream ends at 8"));
    world.cut = true;
    let waits = world.attach(Some(9), 1);
    world.run(Span::secs(1));
    assert!(world.answers(waits).is_empty(), "only the source can say that it is foreign");
    world.publish(1, 9, 1, Waited::Accepted);
    world.position = 9;
    world.cut = false;
    world.run(Span::secs(2));
    assert!(matches!(world.answers(waits).first(), Some(Ok(Reply::Attached { .. }))));
    let status =
        world.machines[SOURCE].streams.as_ref().map(|streams| streams.status(world.at())).unwrap_or_default();
    assert_eq!(status[0].completed, Sequence(9), "the mark moved forward to the position");
}

pub(super) fn attached_at(world: &World, request: RequestId) -> Option<Sequence> {
    world.answers(request).iter().find_map(|reply| match reply {
        Ok(Reply::Attached { position, .. }) => Some(position.sequence),
        _ => None,
    })
}

/// The target has lost its mark: a handler processed eight messages, and the disk knows of fewer. The source is out of reach.
fn rolled_back_target() -> World {
    let mut world = world();
    world.attach(None, 8);
    for first in 1..=8 {
        world.publish(1, first, 1, Waited::Accepted);
        world.run(Span::millis(100));
    }
    assert_eq!(world.position, 8);
    world.cut = true;
    world.crash(TARGET, 12);
    world.start(TARGET);
    world
}

#[test]
fn a_handler_hears_where_it_goes_on_only_when_the_source_told_what_it_knows_of_the_mark() {
    let mut world = rolled_back_target();
    let waits = world.attach(None, 8);
    world.run(Span::millis(500));
    assert!(world.answers(waits).is_empty(), "this disk may have forgotten");
    world.cut = false;
    world.run(Span::millis(500));
    assert_eq!(attached_at(&world, waits), Some(Sequence(8)));
    world.publish(1, 9, 3, Waited::Accepted);
    world.run(Span::secs(2));
    assert_eq!((world.position, world.effects.len()), (11, 11), "each message once");
}

#[test]
fn a_handler_that_went_on_too_early_attaches_again_instead_of_meeting_a_gap() {
    let mut world = rolled_back_target();
    let early = world.attach(None, 8);
    world.run(Span::millis(1_500));
    let at = attached_at(&world, early).expect("patience ends");
    assert!(at < Sequence(8), "its disk knows no better");
    let old = world.token.take().expect("attached");
    world.cut = false;
    world.run(Span::millis(500));
    assert_eq!(world.answers(early).last(), Some(&&Ok(Reply::Outrun { token: old })));
    let again = world.attach(None, 8);
    assert_eq!(attached_at(&world, again), Some(Sequence(8)));
    world.publish(1, 9, 3, Waited::Accepted);
    world.run(Span::secs(2));
    assert_eq!((world.position, world.effects.len()), (11, 11), "each message once");
}

#[test]
fn a_restored_database_is_brought_up_to_date_from_what_is_kept() {
    let mut world = world();
    world.attach(None, 8);
    world.publish(1, 1, 3, Waited::Accepted);
    world.run(Span::millis(200));
    world.cut = true;
    world.crash(SOURCE, 0);
    world.run(Span::millis(200));
    let floor = world.machines[TARGET].streams.as_ref().map(|streams| streams.applied_index(INSTANCE));
    assert!(floor.is_some());
    world.cut = false;
    world.start(SOURCE);
    world.lead();
    world.verdicts = false;
    world.publish(1, 4, 4, Waited::Accepted);
    world.run(Span::secs(1));
    let token = world.token.unwrap_or(AttachToken(0));
    world.give(TARGET, Input::Verdict { token, upto: Sequence(6) });
    // The mark is at 6, and 7 is not done: the batch is kept whole.
    world.run(Span::secs(1));
    world.position = 4;
    world.effects.truncate(4);
    world.attach(Some(4), 8);
    world.run(Span::millis(100));
    assert_eq!(world.effects.len(), 7, "5 and 6 are handed over again, then 7");
    let status =
        world.machines[TARGET].streams.as_ref().map(|streams| streams.status(world.at())).unwrap_or_default();
    assert_eq!(status[0].processed, Sequence(6), "the watermark stays");
}

#[test]
fn a_closed_writer_writes_no_more_and_a_closed_stream_answers_everybody() {
    let mut world = world();
    world.publish(1, 1, 1, Waited::Accepted);
    let close = world.request();
    world.give(SOURCE, Input::CloseWriter { request: close, stream: NAME.to_string(), writer: WriterId(1) });
    let refused = world.publish(1, 2, 1, Waited::Accepted);
    assert_eq!(refusal(&world, refused), Refusal::WriterClosed);
    world.run(Span::millis(500));
    assert_eq!(world.answers(close), [&Ok(Reply::WriterClosed)]);
    world.crash(SOURCE, 0);
    world.start(SOURCE);
    world.lead();
    world.run(Span::millis(500));
    let refused = world.publish(1, 2, 1, Waited::Accepted);
    assert_eq!(refusal(&world, refused), Refusal::WriterClosed);
    let pending = world.publish(2, 1, 1, Waited::Completed);
    world.run(Span::millis(500));
    world.give(SOURCE, Input::Closed { instance: INSTANCE });
    assert_eq!(refusal(&world, pending), Refusal::StreamClosed);
    let streams = world.machines[SOURCE].streams.as_ref().map(|streams| streams.instances().count());
    assert_eq!(streams, Some(0));
}

#[test]
fn a_rolled_back_source_drops_what_the_log_holds_and_numbers_the_rest_anew() {
    let mut world = world();
    world.verdicts = false;
    world.attach(None, 100);
    world.publish(1, 1, 10, Waited::Accepted);
    world.run(Span::millis(400));
    world.publish(2, 1, 3, Waited::Accepted);
    world.run(Span::millis(400));
    assert_eq!(world.effects.len(), 13);
    world.cut = true;
    world.crash(SOURCE, 1_000);
    world.start(SOURCE);
    let repeated = world.publish(1, 1, 12, Waited::Completed);
    world.run(Span::millis(200));
    let first = receipts(&world, repeated);
    assert_eq!(first.len(), 1, "accepted without the target");
    assert!(first[0].provisional && first[0].last == Sequence(12));
    world.cut = false;
    let mut tries = 0;
    while !world.copy_back() {
        world.run(Span::millis(100));
        tries += 1;
        assert!(tries < 50, "the target's store has the bytes");
    }
    world.run(Span::millis(100));
    world.lead();
    world.verdicts = true;
    world.run(Span::secs(1));
    let position = world.position;
    world.attach(Some(position), 100);
    world.run(Span::secs(2));
    assert_eq!(world.effects.len(), 15, "two of the twelve were new");
    let done = receipts(&world, repeated);
    let completed: Vec<&Receipt> = done.iter().filter(|receipt| receipt.level == Waited::Completed).collect();
    let messages: u64 = completed.iter().map(|at| at.last_writer.0 - at.first_writer.0 + 1).sum();
    assert_eq!(messages, 12, "{done:#?}");
    assert!(completed.iter().any(|receipt| receipt.last == Sequence(15)));
    for receipt in completed {
        assert_eq!(receipt.duplicate, receipt.last_writer.0 <= 10, "ten of them came again: {receipt:?}");
    }
}

#[test]
fn the_status_names_who_is_known_to_hold_what_is_replicated() {
    let mut world = world();
    world.verdicts = false;
    world.attach(None, 100);
    let both = [node(SOURCE), node(TARGET)];
    for first in 1..=8 {
        world.publish(1, first, 1, Waited::Accepted);
        world.run(Span::millis(100));
    }
    for which in [SOURCE, TARGET] {
        let status = world.status(which);
        assert_eq!((status.replicated, &*status.holders), (Sequence(8), &both[..]));
    }
    world.cut = true;
    world.crash(TARGET, 12);
    world.start(TARGET);
    world.run(Span::millis(100));
    assert_eq!(world.status(SOURCE).holders, [node(SOURCE)], "nobody knows what its disk still holds");
    assert_eq!(world.status(TARGET).holders, [node(TARGET)]);
    assert!(world.status(TARGET).replicated < Sequence(8), "it was rolled back");
    world.cut = false;
    world.run(Span::secs(2));
    for which in [SOURCE, TARGET] {
        let status = world.status(which);
        assert_eq!((status.replicated, &*status.holders), (Sequence(8), &both[..]), "it has caught up");
    }
}
