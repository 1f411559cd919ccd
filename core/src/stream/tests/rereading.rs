//! Replays: what is kept is read again beside the handler, and moves nothing.

use alloc::string::String;
use alloc::vec::Vec;

use super::keeping::{first_kept, keeps, publish};
use super::members::{SECOND, World as Several};
use super::world::{INSTANCE, NAME, SOURCE, TARGET, World, body, large, node};
use crate::ends::{Ends, Policy};
use crate::id::{AttachToken, AuthorityEpoch, RequestId, Sequence, WriterId};
use crate::node::command::{Range, Refusal, Reply, Waited};
use crate::planted::Planted;
use crate::retention::Retention;
use crate::sealing::Sealed;
use crate::stream::{Config, Input};
use crate::time::Span;

fn world(settings: impl FnOnce(&mut Config)) -> World {
    keeps(Retention { messages: 50, ..Retention::default() }, settings)
}

fn range(from: u64, to: u64) -> Range {
    let given = |number| (number > 0).then_some(Sequence(number));
    Range { from: given(from), to: given(to) }
}

/// Asks to read again; the request, and the token if it was granted.
fn replay(world: &mut World, range: Range, window: u32) -> (RequestId, Option<AttachToken>) {
    let request = world.request();
    world.replays.insert(request);
    world.give(TARGET, Input::Replay { request, stream: String::from(NAME), range, window });
    world.run(Span::millis(300));
    let token = match world.answers(request).first() {
        Some(Ok(Reply::Attached { token, .. })) => Some(*token),
        _ => None,
    };
    (request, token)
}

/// What was handed over under a token.
fn seen(world: &World, token: AttachToken) -> Vec<u64> {
    let of_it = world.deliveries.iter().filter(|delivery| delivery.token == token);
    let messages = of_it.flat_map(|delivery| &delivery.messages);
    messages.map(|message| message.sequence.0).collect()
}

fn done(world: &mut World, token: AttachToken, upto: u64) {
    world.give(TARGET, Input::Verdict { token, upto: Sequence(upto) });
    world.run(Span::millis(300));
}

#[test]
fn what_is_kept_is_read_again_beside_the_handler() {
    let mut world = world(|_| {});
    publish(&mut world, 1, 40);
    let (request, token) = replay(&mut world, range(0, 0), 10);
    let token = token.expect("granted");
    assert_eq!(seen(&world, token), (1..=10).collect::<Vec<_>>(), "a window of it");
    done(&mut world, token, 4);
    assert_eq!(seen(&world, token), (1..=14).collect::<Vec<_>>());
    done(&mut world, token, 99);
    assert_eq!(seen(&world, token).len(), 14, "what was not handed over is not done");
    let first = &world.deliveries.iter().find(|delivery| delivery.token == token).unwrap().messages[0];
    assert_eq!(first.bytes, body(WriterId(1), 1));
    publish(&mut world, 41, 5);
    assert_eq!(world.status(TARGET).processed, Sequence(45), "the handler goes on");
    for upto in (14..=45).step_by(10).chain([45]) {
        done(&mut world, token, upto);
    }
    assert_eq!(seen(&world, token), (1..=45).collect::<Vec<_>>(), "and so does the replay");
    publish(&mut world, 46, 1);
    world.run(Span::millis(300));
    assert_eq!(seen(&world, token).last(), Some(&46), "on and on");
    assert_eq!((world.answers(request).len(), world.status(TARGET).replays), (1, 1));
    world.give(TARGET, Input::Detach { token });
    assert_eq!(world.status(TARGET).replays, 0);
    done(&mut world, token, 46);
    assert_eq!(world.status(TARGET).processed, Sequence(46));
}

#[test]
fn a_replay_moves_no_mark_and_is_not_ahead_of_the_handler() {
    let mut world = world(|_| {});
    publish(&mut world, 1, 10);
    world.verdicts = false;
    world.publish(1, 11, 10, Waited::Replicated);
    world.run(Span::millis(500));
    let (_, token) = replay(&mut world, range(6, 0), 100);
    let token = token.expect("granted");
    assert_eq!(seen(&world, token), (6..=10).collect::<Vec<_>>(), "the handler has not done more");
    done(&mut world, token, 10);
    done(&mut world, token, 20);
    assert_eq!(world.status(TARGET).processed, Sequence(10));
    let handler = world.token.expect("attached");
    done(&mut world, handler, 15);
    assert_eq!(world.status(TARGET).processed, Sequence(15));
    assert_eq!(seen(&world, token), (6..=15).collect::<Vec<_>>());
    let (_, ahead) = replay(&mut world, range(18, 0), 100);
    let ahead = ahead.expect("granted: it will come");
    assert!(seen(&world, ahead).is_empty());
    done(&mut world, handler, 20);
    assert_eq!(seen(&world, ahead), [18, 19, 20]);
}

#[test]
fn a_replay_ends_with_its_range() {
    let mut world = world(|_| {});
    publish(&mut world, 1, 20);
    let (request, token) = replay(&mut world, range(5, 8), 2);
    let token = token.expect("granted");
    done(&mut world, token, 6);
    assert_eq!(seen(&world, token), [5, 6, 7, 8]);
    assert_eq!(world.answers(request).last(), Some(&&Ok(Reply::Replayed { token })));
    assert_eq!(world.status(TARGET).replays, 0);
    for (wrong, window) in [(range(8, 7), 1), (range(5, 6), 0)] {
        let (request, token) = replay(&mut world, wrong, window);
        assert!(matches!(world.answers(request)[..], [Err(Refusal::Invalid(_))]) && token.is_none());
    }
    let zero = Range { from: Some(Sequence(0)), to: None };
    let (request, _) = replay(&mut world, zero, 1);
    assert!(matches!(world.answers(request)[..], [Err(Refusal::Invalid(_))]));
}

#[test]
fn what_is_gone_is_refused_and_what_goes_under_a_replay_ends_it_by_name() {
    let mut world = world(|_| {});
    publish(&mut world, 1, 60);
    assert_eq!(first_kept(&world), [11, 11]);
    let (request, _) = replay(&mut world, range(10, 0), 5);
    let gone = Refusal::Released { wanted: Sequence(10), first: Sequence(11) };
    assert_eq!(world.answers(request), [&Err(gone)]);
    let (request, token) = replay(&mut world, range(0, 0), 5);
    let token = token.expect("granted");
    assert_eq!(seen(&world, token), (11..=15).collect::<Vec<_>>());
    publish(&mut world, 61, 5);
    assert_eq!(world.answers(request).len(), 1, "what it has may go");
    publish(&mut world, 66, 1);
    let gone = Refusal::Released { wanted: Sequence(16), first: Sequence(17) };
    assert_eq!(world.answers(request).last(), Some(&&Err(gone)));
    done(&mut world, token, 15);
    assert_eq!(seen(&world, token).len(), 5, "nothing comes under its token any more");
}

#[test]
fn replays_are_bounded_in_number_and_in_bytes() {
    let mut world = world(|config| (config.replays, config.replay_bytes) = (2, 2_000));
    publish(&mut world, 1, 40);
    let tokens: Vec<_> = (0..2).map(|_| replay(&mut world, range(0, 0), 1_000).1.expect("granted")).collect();
    for &token in &tokens {
        let bytes: u64 = seen(&world, token).iter().map(|at| body(WriterId(1), *at).len() as u64).sum();
        assert!(bytes <= 2_000 && !seen(&world, token).is_empty(), "{bytes}");
    }
    let (request, _) = replay(&mut world, range(0, 0), 1);
    assert_eq!(world.answers(request), [&Err(Refusal::TooManyReplays { limit: 2 })]);
    world.give(TARGET, Input::Detach { token: tokens[0] });
    assert!(replay(&mut world, range(0, 0), 1).1.is_some(), "there is room for another one");
}

#[test]
fn large_messages_are_read_again_in_pieces_as_they_are_taken() {
    const KIB: usize = 1 << 10;
    let mut world = world(|config| {
        config.part_bytes = KIB as u64;
        (config.window_bytes, config.replay_bytes) = (8 << 10, 2 << 10);
    });
    publish(&mut world, 1, 2);
    let whole = large(2, 1, 9 * KIB + 10);
    for offset in (0..whole.len() as u64).step_by(KIB) {
        world.stage(2, 1, &whole, offset, Waited::Completed);
        world.run(Span::millis(30));
    }
    world.run(Span::millis(500));
    assert_eq!(world.status(TARGET).processed, Sequence(12));
    // From the midst of it: it bears the number of its last part.
    let (_, token) = replay(&mut world, range(5, 12), 4);
    let token = token.expect("granted");
    let pieces = |world: &World| {
        let of_it = world.deliveries.iter().filter(|delivery| delivery.token == token);
        let messages = of_it.flat_map(|delivery| &delivery.messages);
        messages.flat_map(|message| message.bytes.to_vec()).collect::<Vec<u8>>()
    };
    assert_eq!(pieces(&world).len(), 2 * KIB, "as much as it may have");
    for _ in 0..20 {
        let bytes = pieces(&world).len() as u64;
        world.give(TARGET, Input::Took { token, bytes });
        world.run(Span::millis(100));
    }
    assert!(pieces(&world) == whole, "the pieces are the message");
    assert!(seen(&world, token).iter().all(|sequence| *sequence == 12));
    assert_eq!(world.status(TARGET).replays, 0, "its range is handed over");
}

/// A target that has yet to copy its log back knows as little of where messages end.
#[test]
fn a_replay_from_inside_a_message_that_is_yet_to_come_is_handed_all_of_it() {
    const KIB: usize = 1 << 10;
    let mut world = world(|config| config.part_bytes = KIB as u64);
    publish(&mut world, 1, 2);
    let (_, token) = replay(&mut world, range(5, 0), 4);
    let token = token.expect("granted");
    let whole = large(2, 1, 4 * KIB);
    for offset in (0..whole.len() as u64).step_by(KIB) {
        world.stage(2, 1, &whole, offset, Waited::Completed);
        world.run(Span::millis(30));
    }
    world.run(Span::millis(500));
    world.publish(1, 3, 1, Waited::Accepted);
    world.run(Span::millis(500));
    assert_eq!(seen(&world, token), [6, 6, 6, 6, 7]);
}

#[test]
fn a_stream_that_closes_ends_its_replays() {
    let mut world = world(|_| {});
    publish(&mut world, 1, 5);
    let (request, token) = replay(&mut world, range(0, 0), 2);
    assert!(token.is_some());
    world.give(TARGET, Input::Closed { instance: INSTANCE });
    assert_eq!(world.answers(request).last(), Some(&&Err(Refusal::StreamClosed)));
}

/// A stream to three targets that keeps its last messages.
fn to_three(messages: u64) -> Several {
    let targets = (1..=3).map(node).collect();
    let ends = Ends::new(node(SOURCE), targets, Policy::Count(2));
    let keep = Retention { messages, ..Retention::default() };
    let mut world = Several::of(ends.and_then(|ends| ends.keeping(keep)).expect("fits"), Planted::none());
    world.lead(SOURCE);
    world.run(SECOND);
    world
}

/// Asks to read all that is kept again at a target; the token.
fn all_again(world: &mut Several, which: usize) -> AttachToken {
    let request = world.request();
    world.replays.insert(request);
    let (stream, range) = (String::from(NAME), Range::default());
    world.give(which, Input::Replay { request, stream, range, window: 1_000 });
    let (_, reply) = world.replies.iter().find(|(of, _)| *of == request).expect("answered");
    match reply {
        Ok(Reply::Attached { token, .. }) => *token,
        other => panic!("not granted: {other:?}"),
    }
}

#[test]
fn targets_keep_the_same_whoever_leads_and_each_is_read_again_as_far_as_it_has_processed() {
    let mut world = to_three(10);
    for number in 1..=30 {
        world.publish(number, 1, Waited::Accepted);
        world.run(SECOND);
    }
    let first = |world: &Several| (0..=3).map(|which| world.status(which).kept.first.0).collect::<Vec<_>>();
    assert_eq!(first(&world), [21; 4]);
    world.members[3].stuck = true;
    world.silence(SOURCE);
    world.lead(1);
    world.run(SECOND);
    assert_eq!(first(&world), [21; 4]);
    world.back(SOURCE);
    for number in 31..=50 {
        world.publish(number, 1, Waited::Accepted);
        world.run(SECOND);
    }
    assert_eq!(first(&world), [31; 4], "one of them has yet to process the rest");
    let [done, behind] = [2, 3].map(|which| all_again(&mut world, which));
    assert_eq!(world.reread[&done], (31..=50).collect::<Vec<_>>());
    assert!(world.reread[&behind].is_empty());
    let token = world.members[3].token.expect("attached");
    world.give(3, Input::Verdict { token, upto: Sequence(50) });
    world.run(Span::secs(10));
    assert_eq!(world.reread[&behind], (31..=50).collect::<Vec<_>>());
    assert_eq!(first(&world), [41; 4], "the leader of now lets go of the same");
    assert_eq!(world.members[2].seen, (1..=50).collect::<Vec<_>>(), "to a handler nothing came twice");
}

/// A number may be that of another message from then on.
#[test]
fn a_replay_ends_at_a_seal_and_may_be_begun_again() {
    let mut world = to_three(10);
    for number in 1..=5 {
        world.publish(number, 1, Waited::Accepted);
        world.run(SECOND);
    }
    let token = all_again(&mut world, 1);
    let sealed = Sealed {
        authority: AuthorityEpoch(1),
        lost: [node(2), node(3)].into(),
        waits_for: [].into(),
        end: None,
        sequence: None,
        heard: Sequence(0),
        former: [].into(),
    };
    for _ in 0..2 {
        world.give(1, Input::Sealed { instance: INSTANCE, sealed: sealed.clone() });
        let outrun = world.replies.iter().filter(|(_, reply)| *reply == Ok(Reply::Outrun { token }));
        assert_eq!((outrun.count(), world.status(1).replays), (1, 0), "once for each authority");
    }
    let again = all_again(&mut world, 1);
    assert_eq!(world.reread[&again], [1, 2, 3, 4, 5]);
    world.give(1, Input::Verdict { token, upto: Sequence(5) });
    assert_eq!(world.status(1).replays, 1);
}

#[cfg(feature = "planted")]
mod bugs {
    extern crate std;

    use super::*;
    use crate::planted::Bug;

    fn with(bug: Bug) -> World {
        let mut world = World::new(7);
        world.planted = Planted::only(bug);
        world.keep = Retention { messages: 20, ..Retention::default() };
        world.start(SOURCE);
        world.start(TARGET);
        world.lead();
        world.run(Span::millis(300));
        world.attach(None, 100);
        world.run(Span::millis(300));
        publish(&mut world, 1, 20);
        world
    }

    #[test]
    fn a_replay_that_runs_ahead_of_the_handler_is_seen() {
        let ahead = std::panic::catch_unwind(|| {
            let mut world = with(Bug::ReplayAheadOfHandler);
            world.verdicts = false;
            world.publish(1, 21, 5, Waited::Accepted);
            world.run(Span::millis(300));
            let (_, token) = replay(&mut world, range(10, 0), 100);
            done(&mut world, token.expect("granted"), 25);
        });
        assert!(ahead.is_err(), "S37");
    }

    #[test]
    fn a_replay_that_moves_the_mark_has_a_start_go_back() {
        let mut world = with(Bug::ReplayMovesMark);
        let (_, token) = replay(&mut world, range(1, 0), 5);
        done(&mut world, token.expect("granted"), 5);
        assert_eq!(world.status(TARGET).processed, Sequence(20));
        world.cut = true;
        world.crash(TARGET, 0);
        world.start(TARGET);
        assert_eq!(world.status(TARGET).processed, Sequence(5));
    }

    #[test]
    fn a_replay_that_skips_a_gap_does() {
        let mut world = with(Bug::ReplaySkipsGap);
        let (_, token) = replay(&mut world, range(1, 0), 5);
        let token = token.expect("granted");
        publish(&mut world, 21, 10);
        done(&mut world, token, 5);
        assert!(seen(&world, token).contains(&11) && !seen(&world, token).contains(&6));
    }
}
