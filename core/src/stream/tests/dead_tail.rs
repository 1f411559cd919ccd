//! Parts at the end of a sealed log, of a message that nobody will ever have whole.

use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;

use super::changing::seal_without_source;
use super::members::{SECOND, SOURCE, World};
use super::world::{INSTANCE, NAME, large, node};
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
use crate::stream::heads::Whole;
use crate::stream::wire::encode_entry;
use crate::stream::{Body, Data, Entry, Input, Message};
use crate::time::{Span, Wall};
use crate::work::{Done, Job, perform};

const PART: usize = 1 << 10;

/// The source has the log take so many parts of a message for each attempt to send it, and dies each time; the first target alone hears of that.
fn attempt(world: &mut World, parts: u64) {
    let bytes = large(9, 1, 10 * PART);
    let first = world.status(1).accepted.next();
    let whole = Whole {
        upload: 1,
        first,
        boot: BootId(100),
        writer: WriterId(9),
        number: WriterSequence(1),
        total: bytes.len() as u64,
        size: PART as u64,
        digest: Digest::of_bytes(&bytes),
        base: MessageId(first.0.into()),
        wall: Wall(1),
    };
    for place in 0..parts {
        let offset = place * PART as u64;
        let piece = Bytes::copy_from_slice(&bytes[offset as usize..][..PART]);
        let Done::Digest(digest) = perform(&Job::Part { offset, bytes: piece.clone().into() }, &[]) else {
            panic!("a digest");
        };
        let batch = whole.part(place, digest);
        let (epoch, first) = (SessionEpoch(1), Sequence(first.0 + place));
        let data = Data {
            boot: BootId(100),
            epoch,
            first,
            count: 1,
            identity: batch.identity,
            offset: Some(offset),
            bytes: piece.into(),
        };
        let message = Message { instance: INSTANCE, body: Body::Data(data) };
        world.give(1, Input::Message { from: node(SOURCE), message });
        let entry = encode_entry(&Entry::Descriptor { epoch, first, batch });
        world.log.push((Term(world.term), Some(entry)));
        world.settle();
    }
    assert_eq!(world.members[1].held, world.log.len());
    // It goes on from its own log.
    world.commit = world.log.len();
    world.settle();
}

/// Two messages, and behind them so many parts of each attempt to send a third one. Then the source is lost, and the first target goes on without it.
fn sealed(attempts: &[u64], stuck: Option<usize>) -> World {
    let mut world = World::new(3, Policy::All);
    if let Some(stuck) = stuck {
        world.members[stuck].stuck = true;
    }
    world.lead(SOURCE);
    world.run(SECOND);
    world.publish(1, 2, Waited::Accepted);
    world.run(SECOND);
    world.deaf.extend([2, 3]);
    attempts.iter().for_each(|&parts| attempt(&mut world, parts));
    seal_without_source(&mut world, 1, None);
    world.deaf.clear();
    world.found(1);
    world.run(Span::secs(5));
    let end = 2 + attempts.iter().sum::<u64>();
    assert_eq!(world.settled.last(), Some(&Sequence(end)));
    seal_without_source(&mut world, 1, Some(end));
    world.run(Span::secs(5));
    world
}

fn present(world: &mut World, which: usize, position: Option<(u64, u64)>) -> RequestId {
    let request = world.request();
    let presented = position.map(|(authority, sequence)| Position {
        instance: INSTANCE,
        authority: AuthorityEpoch(authority),
        sequence: Sequence(sequence),
    });
    world.give(which, Input::Attach { request, stream: String::from(NAME), presented, window: 9 });
    request
}

/// Where a handler goes on, if it is known.
fn answer(world: &World, request: RequestId) -> Option<Result<Sequence, Refusal>> {
    let (_, reply) = world.replies.iter().find(|(other, _)| *other == request)?;
    Some(match reply {
        Ok(Reply::Attached { position, .. }) => Ok(position.sequence),
        Ok(other) => panic!("{other:?}"),
        Err(refusal) => Err(refusal.clone()),
    })
}

#[test]
fn parts_of_one_attempt_or_of_several_at_the_end_of_a_sealed_log_are_passed_with_the_last_message() {
    for attempts in [&[3][..], &[4, 3], &[2, 1, 5]] {
        let mut world = sealed(attempts, None);
        let end = Sequence(2 + attempts.iter().sum::<u64>());
        for target in 1..=3 {
            let status = world.status(target);
            let stands = (status.processed, status.completed, status.released);
            assert_eq!(stands, (end, end, end), "target {target}, {attempts:?}");
            assert_eq!(world.members[target].seen, [1, 2]);
        }
        for which in [1, 2] {
            let none = present(&mut world, which, None);
            world.run(SECOND);
            assert_eq!(answer(&world, none), Some(Ok(Sequence(2))), "{attempts:?}");
            for authority in [0, 1] {
                let own = present(&mut world, which, Some((authority, 2)));
                world.run(SECOND);
                assert_eq!(answer(&world, own), Some(Ok(Sequence(2))), "{attempts:?}");
            }
        }
        world.start_again(2);
        world.members[2].applied = world.members[2].streams.applied_index(INSTANCE).0 as usize;
        seal_without_source(&mut world, 1, Some(end.0));
        let own = present(&mut world, 2, Some((0, 2)));
        world.run(SECOND);
        assert_eq!(
            answer(&world, own),
            Some(Ok(Sequence(2))),
            "its records say where the last message ended"
        );
    }
}

/// Another target holds the floor down: after a start the log is read again, and the mark stands behind the parts at its end.
fn starts_again(planted: Planted) -> (World, RequestId) {
    let mut world = sealed(&[3], Some(3));
    assert_eq!(world.status(2).processed, Sequence(5));
    world.planted = planted;
    world.start_again(2);
    seal_without_source(&mut world, 1, Some(5));
    assert_eq!(world.status(2).processed, Sequence(5));
    let request = present(&mut world, 2, None);
    (world, request)
}

#[test]
fn nobody_is_told_where_to_go_on_before_it_is_known_what_stands_at_the_mark() {
    let (mut world, request) = starts_again(Planted::none());
    assert_eq!(answer(&world, request), None);
    world.found(1);
    world.run(Span::secs(5));
    assert_eq!(answer(&world, request), Some(Ok(Sequence(2))));
}

#[cfg(feature = "planted")]
#[test]
fn a_handler_that_is_attached_behind_a_dead_tail_is_seen() {
    let (world, request) = starts_again(Planted::only(crate::planted::Bug::AttachedBehindDeadTail));
    assert_eq!(answer(&world, request), Some(Ok(Sequence(5))));
}

#[test]
fn parts_that_were_passed_stay_so_while_it_is_not_known_where_a_second_seal_ends() {
    for stuck in [None, Some(3)] {
        let mut world = sealed(&[4, 3], stuck);
        assert_eq!(world.status(2).processed, Sequence(9));
        let again = |sequence: Option<u64>| Sealed {
            authority: AuthorityEpoch(2),
            lost: [node(SOURCE), node(1)].into(),
            waits_for: [].into(),
            end: sequence.map(|_| {
                let index = LogIndex(world.members[2].held as u64);
                (node(2), LogPlace { index, term: Term(1), chain: Chain::default() })
            }),
            sequence: sequence.map(Sequence),
            heard: Sequence(9),
            former: [(AuthorityEpoch(1), Sequence(9))].into(),
        };
        let (open, done) = (again(None), again(Some(9)));
        world.silence(1);
        for left in [2, 3] {
            world.give(left, Input::Sealed { instance: INSTANCE, sealed: open.clone() });
        }
        let waits: Vec<RequestId> =
            [Some((0, 2)), Some((1, 2))].map(|position| present(&mut world, 2, position)).into();
        world.run(SECOND);
        assert_eq!(answer(&world, waits[0]), Some(Err(Refusal::Superseded)));
        assert_eq!(answer(&world, waits[1]), None, "nobody knows yet what of its authority counts");
        let none = present(&mut world, 2, None);
        world.run(SECOND);
        assert_eq!(answer(&world, none), Some(Ok(Sequence(2))));
        for left in [2, 3] {
            world.give(left, Input::Sealed { instance: INSTANCE, sealed: done.clone() });
        }
        world.found(2);
        world.run(Span::secs(5));
        for authority in 0..=2 {
            let own = present(&mut world, 2, Some((authority, 2)));
            world.run(SECOND);
            assert_eq!(answer(&world, own), Some(Ok(Sequence(2))), "of authority {authority}");
        }
        assert_eq!(world.status(2).completed, if stuck.is_some() { Sequence(0) } else { Sequence(9) });
    }
}
