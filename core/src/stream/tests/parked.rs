//! Messages that the handler fails at.

use alloc::string::ToString as _;
use alloc::vec::Vec;

use super::promises::{receipts, refusal};
use super::world::{INSTANCE, SOURCE, TARGET, World, body, large, node};
use crate::digest::Chain;
use crate::ends::Poison;
use crate::id::{AuthorityEpoch, LogIndex, RequestId, Sequence, Term, WriterId};
use crate::node::command::{Refusal, Reply, Waited};
use crate::node::output::Event;
use crate::parked::{NotParked, ParkedCommand, ParkedMessage, ParkedRefusal, ParkedReply};
use crate::recovery::LogPlace;
use crate::sealing::Sealed;
use crate::stream::{Body, Input, Message};
use crate::time::Span;

/// A handler that fails at these, where a message is parked after three attempts.
fn failing_at(seed: u64, bad: &[u64]) -> World {
    let mut world = World::new(seed);
    world.poison = Poison::Park { attempts: 3 };
    world.bad = bad.iter().copied().collect();
    begin(&mut world);
    world
}

fn begin(world: &mut World) {
    world.start(SOURCE);
    world.start(TARGET);
    world.lead();
    world.run(Span::millis(300));
}

fn restart(world: &mut World) {
    world.crash(TARGET, 0);
    world.start(TARGET);
    world.run(Span::millis(300));
}

fn ask(world: &mut World, command: ParkedCommand) -> Result<ParkedReply, Refusal> {
    let request = world.parked(command);
    world.run(Span::millis(300));
    answer(world, request)
}

fn answer(world: &World, request: RequestId) -> Result<ParkedReply, Refusal> {
    match world.answers(request).last() {
        Some(Ok(Reply::Parked(reply))) => Ok(reply.clone()),
        Some(Err(refusal)) => Err(refusal.clone()),
        other => panic!("no answer about what is parked: {other:?}"),
    }
}

fn parked(world: &mut World) -> Vec<ParkedMessage> {
    match ask(world, ParkedCommand::List { after: Sequence(0), most: 100 }) {
        Ok(ParkedReply::List { parked, more: false }) => parked,
        other => panic!("no list: {other:?}"),
    }
}

fn sequences(world: &mut World) -> Vec<u64> {
    parked(world).iter().map(|message| message.sequence.0).collect()
}

/// The numbers of the messages of which the handler has the effect, in its order.
fn effects(world: &World) -> Vec<u64> {
    world.effects.iter().map(|(_, number, _)| *number).collect()
}

fn discard(sequence: u64) -> ParkedCommand {
    ParkedCommand::Discard { sequence: Sequence(sequence), reason: "it is of no use".into() }
}

#[test]
fn what_fails_as_often_as_the_policy_bears_is_parked_and_what_is_behind_it_goes_on() {
    let mut world = failing_at(7, &[3, 6, 7]);
    world.attach(None, 4);
    let request = world.publish(1, 1, 10, Waited::Completed);
    world.run(Span::secs(2));
    assert_eq!(receipts(&world, request).last().map(|receipt| receipt.level), Some(Waited::Completed));
    assert_eq!(effects(&world), [1, 2, 4, 5, 8, 9, 10]);
    assert!(world.failures.values().all(|&failed| failed == 3), "{:?}", world.failures);
    let found = parked(&mut world);
    assert_eq!(found.iter().map(|message| message.sequence.0).collect::<Vec<_>>(), [3, 6, 7]);
    for message in &found {
        assert_eq!((message.writer, message.writer_sequence.0), (WriterId(1), message.sequence.0));
        assert_eq!(
            (message.attempts, message.bytes),
            (3, body(WriterId(1), message.sequence.0).len() as u64)
        );
        assert_eq!(message.reason, alloc::format!("message {} is bad", message.sequence));
        assert!(message.since.0 > 0 && message.parked >= message.since);
    }
    for which in [SOURCE, TARGET] {
        let status = world.status(which);
        assert_eq!((status.completed, status.released), (Sequence(10), Sequence(10)));
        assert_eq!(status.targets[0].parked, 3, "at {which}");
        assert_eq!(status.failing, None);
    }
    // The log lets its bytes go; those that are parked stay, and are what was published.
    world.run(Span::secs(2));
    for which in [0, 1] {
        let kept: usize = [3, 6, 7].iter().map(|&at| body(WriterId(1), at).len()).sum();
        assert_eq!(world.alive(TARGET), kept);
        for message in &found {
            let shown = ask(&mut world, ParkedCommand::Show(message.sequence));
            let body = body(WriterId(1), message.sequence.0);
            assert_eq!(shown, Ok(ParkedReply::Shown { message: message.clone(), body }), "start {which}");
        }
        restart(&mut world);
    }
    let told = |event: &&Event| matches!(event, Event::Parked { attempts: 3, .. });
    assert_eq!(world.events.iter().filter(told).count(), 3);
}

#[test]
fn attempts_are_counted_through_starts_and_handlers() {
    for seed in 0..20 {
        let mut world = failing_at(seed, &[2]);
        world.poison = Poison::Park { attempts: 6 };
        restart(&mut world);
        world.publish(1, 1, 3, Waited::Accepted);
        world.run(Span::secs(1));
        let mut before = 0;
        for round in 1..=2 {
            world.attach(None, 4);
            while world.failures.get(&2).is_none_or(|failed| *failed < round * 2) {
                assert!(world.next(world.now + Span::secs(5).as_nanos()), "it is handed over");
            }
            // It hears nothing more.
            world.token = None;
            world.run(Span::millis(20));
            let failing = world.status(TARGET).failing.expect("it fails");
            assert_eq!((failing.sequence, failing.held_up), (Sequence(2), None));
            assert!(failing.attempts >= before + 2, "{failing:?}, {before} before");
            before = failing.attempts;
            assert_eq!(failing.reason, "message 2 is bad");
            assert_eq!(world.status(SOURCE).targets[0].parked, 0);
            restart(&mut world);
            let kept = world.status(TARGET).failing.expect("it is written down");
            assert_eq!(kept.attempts, before, "seed {seed}");
        }
        world.attach(None, 4);
        world.run(Span::secs(1));
        assert_eq!(parked(&mut world).iter().map(|message| message.attempts).collect::<Vec<_>>(), [6]);
        assert_eq!(world.failures[&2], 6, "seed {seed}");
        assert_eq!(effects(&world).last(), Some(&3));
    }
}

#[test]
fn without_a_policy_it_is_tried_for_ever_and_the_status_says_so() {
    let mut world = World::new(5);
    world.bad = [2].into();
    begin(&mut world);
    world.attach(None, 4);
    world.publish(1, 1, 4, Waited::Accepted);
    world.run(Span::secs(1));
    let failing = world.status(TARGET).failing.expect("it fails");
    assert!(failing.attempts > 20 && failing.held_up.is_none(), "{failing:?}");
    let waits = alloc::format!("message 2, at which the handler failed {} times", failing.attempts);
    assert!(world.status(TARGET).waiting_for.contains(&waits), "{:?}", world.status(TARGET).waiting_for);
    assert_eq!(effects(&world), [1]);
    world.bad.clear();
    world.run(Span::secs(1));
    assert_eq!((effects(&world).len(), world.status(TARGET).failing), (4, None));
    assert_eq!(sequences(&mut world), []);
}

#[test]
fn a_message_is_processed_or_parked_whenever_a_target_falls() {
    // The handler keeps its position with its effects: they outlive every crash, and nothing may come twice or be missing.
    for seed in 0..150 {
        let mut world = failing_at(seed, &[2, 3, 7, 8, 9, 15]);
        world.config.window_messages = 1 + seed as u32 % 6;
        restart(&mut world);
        world.attach(Some(0), 8);
        world.publish(1, 1, 20, Waited::Accepted);
        let mut falls = 0;
        while world.status(TARGET).processed < Sequence(20) {
            let steps = world.rng.between(1, 60);
            for _ in 0..steps {
                world.next(world.now + Span::secs(1).as_nanos());
            }
            if world.rng.below(3) == 0 {
                restart(&mut world);
                world.attach(Some(world.position), 8);
            }
            falls += 1;
            assert!(falls < 5_000, "seed {seed}: it comes to no end, at {}", world.position);
        }
        world.run(Span::secs(1));
        assert_eq!(sequences(&mut world), [2, 3, 7, 8, 9, 15], "seed {seed}");
        let good: Vec<u64> = (1..=20).filter(|at| !world.bad.contains(at)).collect();
        assert_eq!(effects(&world), good, "seed {seed}");
    }
}

#[test]
fn a_handler_that_keeps_its_position_stands_where_it_stood_though_the_log_let_go_of_what_was_parked() {
    let mut world = failing_at(7, &[4, 5, 6]);
    world.attach(Some(0), 4);
    world.publish(1, 1, 6, Waited::Completed);
    world.run(Span::secs(4));
    assert_eq!((world.position, world.status(TARGET).released), (3, Sequence(6)));
    for left in [&[4, 5, 6][..], &[4, 6], &[]] {
        restart(&mut world);
        let attached = world.attach(Some(3), 4);
        world.run(Span::millis(300));
        assert!(matches!(world.answers(attached).last(), Some(Ok(Reply::Attached { .. }))));
        assert_eq!(sequences(&mut world), left);
        for sequence in [5, 4, 6].into_iter().filter(|at| (left.len() == 3) == (*at == 5)) {
            let _ = ask(&mut world, discard(sequence));
        }
    }
    world.publish(1, 7, 1, Waited::Accepted);
    world.run(Span::secs(1));
    assert_eq!(effects(&world), [1, 2, 3, 7]);
    let foreign = world.attach(Some(2), 4);
    world.run(Span::secs(3));
    assert!(matches!(refusal(&world, foreign), Refusal::NotKept { .. }), "that was processed, and is gone");
}

#[test]
fn who_replays_is_handed_nothing_that_is_parked_and_may_park_more() {
    let mut world = failing_at(7, &[3, 5]);
    world.attach(Some(0), 8);
    // The source hears nothing, so that nothing is let go.
    world.publish(1, 1, 6, Waited::Accepted);
    world.run(Span::millis(3));
    while world.status(TARGET).accepted < Sequence(6) {
        world.next(world.now + Span::secs(1).as_nanos());
    }
    world.cut = true;
    world.run(Span::secs(1));
    assert_eq!(effects(&world), [1, 2, 4, 6]);
    assert_eq!(sequences(&mut world), [3, 5]);
    // A backup is brought back, and the handler does not like something else any more.
    (world.position, world.bad) = (1, [2, 3, 5].into());
    world.effects.truncate(1);
    world.attach(Some(1), 8);
    world.run(Span::secs(1));
    assert_eq!(effects(&world), [1, 4, 6]);
    assert_eq!(sequences(&mut world), [2, 3, 5]);
    assert_eq!(world.status(TARGET).processed, Sequence(6));
}

#[test]
fn a_retry_is_outside_of_the_position_and_ends_once_it_succeeds() {
    let mut world = failing_at(7, &[2, 4]);
    assert_eq!(
        ask(&mut world, ParkedCommand::Retry(Sequence(2))),
        Err(ParkedRefusal::NotParked(Sequence(2)).into())
    );
    world.attach(None, 8);
    world.publish(1, 1, 5, Waited::Accepted);
    world.run(Span::secs(1));
    let again = ParkedReply::FailedAgain { attempts: 4, reason: "message 2 is bad".into() };
    assert_eq!(ask(&mut world, ParkedCommand::Retry(Sequence(2))), Ok(again));
    restart(&mut world);
    let gone = ParkedRefusal::NoHandler(Sequence(2));
    assert_eq!(ask(&mut world, ParkedCommand::Retry(Sequence(2))), Err(gone.into()));
    assert_eq!(parked(&mut world).iter().map(|message| message.attempts).collect::<Vec<_>>(), [4, 3]);
    world.attach(None, 8);
    world.run(Span::millis(300));
    world.bad.clear();
    let before = world.status(TARGET).processed;
    world.publish(1, 6, 1, Waited::Accepted);
    assert_eq!(ask(&mut world, ParkedCommand::Retry(Sequence(2))), Ok(ParkedReply::Handled));
    world.run(Span::secs(1));
    assert_eq!((before, world.status(TARGET).processed), (Sequence(5), Sequence(6)));
    assert_eq!(world.retried, [(2, false), (2, true)]);
    for _ in 0..2 {
        assert_eq!(sequences(&mut world), [4]);
        restart(&mut world);
    }
    assert_eq!(world.status(SOURCE).targets[0].parked, 1);
    let handled = Event::Unparked { stream: "orders".into(), sequence: Sequence(2), discarded: None };
    assert_eq!(world.events.iter().filter(|event| **event == handled).count(), 1);
}

#[test]
fn one_is_retried_at_a_time_and_a_handler_that_goes_leaves_it_parked() {
    let mut world = failing_at(7, &[2, 4]);
    world.attach(None, 8);
    world.publish(1, 1, 5, Waited::Accepted);
    world.run(Span::secs(1));
    let (first, second) =
        (world.parked(ParkedCommand::Retry(Sequence(4))), world.parked(ParkedCommand::Retry(Sequence(2))));
    let busy = Refusal::from(ParkedRefusal::Retrying(Sequence(4)));
    assert_eq!(answer(&world, second), Err(busy.clone()));
    let discarded = world.parked(discard(4));
    assert_eq!(answer(&world, discarded), Err(busy));
    let token = world.token.expect("attached");
    world.give(TARGET, Input::Detach { token });
    assert_eq!(answer(&world, first), Err(ParkedRefusal::HandlerGone(Sequence(4)).into()));
    // What it says afterwards counts for nothing.
    world.bad.clear();
    world.give(TARGET, Input::Retried { token, sequence: Sequence(4) });
    world.run(Span::secs(1));
    assert_eq!(sequences(&mut world), [2, 4]);
    // Whoever asked may be gone: it is done all the same.
    world.attach(None, 8);
    world.run(Span::millis(300));
    let asked = world.parked(ParkedCommand::Retry(Sequence(4)));
    world.give(TARGET, Input::Forget { request: asked });
    world.run(Span::secs(1));
    assert!(world.answers(asked).is_empty());
    assert_eq!(sequences(&mut world), [2]);
}

#[test]
fn bytes_that_come_for_a_retry_that_is_over_are_handed_to_nobody() {
    for seed in 0..20 {
        let mut world = failing_at(seed, &[2]);
        world.attach(None, 8);
        world.publish(1, 1, 3, Waited::Accepted);
        world.run(Span::secs(1));
        // The handler leaves before the bytes are here, and the message is tried again by the next one.
        world.parked(ParkedCommand::Retry(Sequence(2)));
        let token = world.token.expect("attached");
        world.give(TARGET, Input::Detach { token });
        world.attach(None, 8);
        let again = world.parked(ParkedCommand::Retry(Sequence(2)));
        world.run(Span::secs(1));
        let failed = ParkedReply::FailedAgain { attempts: 4, reason: "message 2 is bad".into() };
        assert_eq!(answer(&world, again), Ok(failed), "seed {seed}");
        assert_eq!(world.retried, [(2, false)], "seed {seed}");
    }
}

#[test]
fn what_is_discarded_is_gone_for_good_and_the_reason_is_told() {
    let mut world = failing_at(7, &[2, 3]);
    world.attach(None, 8);
    world.publish(1, 1, 5, Waited::Accepted);
    world.run(Span::secs(1));
    assert_eq!(ask(&mut world, discard(2)), Ok(ParkedReply::Discarded));
    assert_eq!(ask(&mut world, discard(2)), Err(ParkedRefusal::NotParked(Sequence(2)).into()));
    restart(&mut world);
    assert_eq!(sequences(&mut world), [3]);
    let (stream, discarded) = ("orders".to_string(), Some("it is of no use".to_string()));
    assert!(world.events.contains(&Event::Unparked { stream, sequence: Sequence(2), discarded }));
    // It is answered only when that is durable, and so is whoever asks what is left.
    for durable in [false, true] {
        let request = world.parked(discard(3));
        let list = world.parked(ParkedCommand::List { after: Sequence(0), most: 1 });
        assert!(world.answers(request).is_empty() && world.answers(list).is_empty());
        if !durable {
            world.lose_unsynced(TARGET);
            restart(&mut world);
            assert_eq!(sequences(&mut world), [3]);
            continue;
        }
        world.run(Span::secs(2));
        assert_eq!(answer(&world, request), Ok(ParkedReply::Discarded));
        assert_eq!(answer(&world, list), Ok(ParkedReply::List { parked: Vec::new(), more: false }));
    }
    assert_eq!(world.alive(TARGET), 0);
}

#[test]
fn what_is_parked_is_bounded_and_what_does_not_fit_holds_up_the_rest_until_there_is_room() {
    for (limit, why) in [
        ("messages", NotParked::TooMany(2)),
        ("bytes", NotParked::TooLarge(0)),
        ("space", NotParked::NoSpace),
    ] {
        let mut world = failing_at(7, &[2, 3, 5]);
        if limit == "messages" {
            world.config.parked_messages = 2;
        }
        let (two, three, five) =
            (body(WriterId(1), 2).len(), body(WriterId(1), 3).len(), body(WriterId(1), 5).len());
        if limit == "bytes" {
            world.config.parked_bytes = (two + three + five - 1) as u64;
        }
        restart(&mut world);
        world.attach(None, 8);
        world.publish(1, 1, 4, Waited::Accepted);
        world.run(Span::secs(1));
        assert_eq!(sequences(&mut world), [2, 3], "{limit}");
        if limit == "space" {
            // What is not there yet would not be taken in.
            world.token = None;
        }
        world.publish(1, 5, 2, Waited::Accepted);
        world.run(Span::secs(1));
        if limit == "space" {
            world.give(TARGET, Input::Space { free: world.config.space_floor + 1 });
            world.attach(None, 8);
            world.run(Span::secs(1));
        }
        let failing = world.status(TARGET).failing.expect("it is held up");
        let why = if limit == "bytes" { NotParked::TooLarge((two + three) as u64) } else { why };
        assert_eq!((failing.sequence, failing.held_up), (Sequence(5), Some(why)));
        assert!(failing.attempts > 3);
        assert!(world.status(TARGET).waiting_for.iter().any(|what| what.contains(&why.to_string())));
        assert_eq!(effects(&world), [1, 4]);
        match limit {
            "space" => world.give(TARGET, Input::Space { free: u64::MAX }),
            _ => drop(ask(&mut world, discard(2))),
        }
        world.run(Span::secs(1));
        assert_eq!((effects(&world), world.status(TARGET).failing), (alloc::vec![1, 4, 6], None), "{limit}");
    }
}

#[test]
fn a_message_in_pieces_is_not_parked_and_the_status_says_so() {
    let mut world = World::new(7);
    (world.config.part_bytes, world.poison) = (1024, Poison::Park { attempts: 2 });
    begin(&mut world);
    world.bad = [10].into();
    world.attach(None, 8);
    let whole = large(1, 1, 10 << 10);
    for offset in (0..10 << 10).step_by(1024) {
        world.stage(1, 1, &whole, offset, Waited::Accepted);
        world.run(Span::millis(20));
    }
    world.run(Span::secs(1));
    let failing = world.status(TARGET).failing.expect("it is held up");
    assert_eq!((failing.sequence, failing.held_up), (Sequence(10), Some(NotParked::InPieces)));
    assert!(failing.attempts > 10);
    world.bad.clear();
    world.run(Span::secs(1));
    assert_eq!((world.effects.len(), world.status(TARGET).processed), (1, Sequence(10)));
}

#[test]
fn what_is_parked_outlives_a_seal_and_is_tried_again_under_the_next_authority() {
    let mut world = failing_at(7, &[2, 4]);
    world.attach(None, 8);
    world.publish(1, 1, 4, Waited::Completed);
    world.run(Span::secs(1));
    world.cut = true;
    let sealed = |sequence: Option<u64>| Sealed {
        authority: AuthorityEpoch(1),
        lost: [node(SOURCE)].into(),
        waits_for: [].into(),
        end: Some((node(TARGET), LogPlace { index: LogIndex(1), term: Term(1), chain: Chain::default() })),
        sequence: sequence.map(Sequence),
        heard: Sequence(0),
        former: [].into(),
    };
    for sequence in [None, Some(4)] {
        world.give(TARGET, Input::Sealed { instance: INSTANCE, sealed: sealed(sequence) });
        world.go_on_alone();
        world.run(Span::secs(1));
    }
    assert_eq!(sequences(&mut world), [2, 4]);
    // A handler of before stands in front of what was parked last.
    let attached = world.attach(Some(3), 8);
    world.run(Span::secs(1));
    assert!(matches!(world.answers(attached).first(), Some(Ok(Reply::Attached { .. }))));
    world.bad.clear();
    assert_eq!(ask(&mut world, ParkedCommand::Retry(Sequence(2))), Ok(ParkedReply::Handled));
    assert_eq!(ask(&mut world, discard(4)), Ok(ParkedReply::Discarded));
    assert_eq!((effects(&world), world.status(TARGET).completed), (alloc::vec![1, 3], Sequence(4)));
}

#[test]
fn who_is_shut_out_shows_what_it_parked_until_it_is_discarded() {
    let mut world = failing_at(7, &[2]);
    world.attach(None, 8);
    world.publish(1, 1, 3, Waited::Accepted);
    world.run(Span::secs(1));
    let body = Body::SealedOut(AuthorityEpoch(1));
    let message = Message { instance: INSTANCE, body };
    world.give(TARGET, Input::Message { from: node(SOURCE), message });
    assert!(world.status(TARGET).stopped.is_some());
    assert_eq!(sequences(&mut world), [2]);
    assert!(matches!(ask(&mut world, ParkedCommand::Retry(Sequence(2))), Err(Refusal::SealedOut(_))));
    assert_eq!(ask(&mut world, discard(2)), Ok(ParkedReply::Discarded));
    assert_eq!(sequences(&mut world), []);
}

#[test]
fn what_is_parked_goes_with_its_stream_and_outlives_a_stop() {
    let mut world = failing_at(7, &[2, 3]);
    world.attach(None, 8);
    world.publish(1, 1, 4, Waited::Accepted);
    world.run(Span::secs(1));
    world.give(TARGET, Input::Stopped { instance: INSTANCE, reason: "a test".into() });
    assert_eq!(sequences(&mut world), [2, 3]);
    assert!(matches!(ask(&mut world, ParkedCommand::Retry(Sequence(2))), Err(Refusal::StreamStopped(_))));
    assert_eq!(ask(&mut world, discard(2)), Ok(ParkedReply::Discarded));
    world.give(TARGET, Input::Closed { instance: INSTANCE });
    world.run(Span::secs(1));
    assert_eq!(world.alive(TARGET), 0);
    let dropped = Event::ParkedDropped { stream: "orders".into(), count: 1 };
    assert!(world.events.contains(&dropped));
    let list = ParkedCommand::List { after: Sequence(0), most: 1 };
    assert!(matches!(ask(&mut world, list), Err(Refusal::UnknownStream(_))));
}
