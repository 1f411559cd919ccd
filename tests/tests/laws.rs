//! The six laws of the contract between a node and its world, one test each.

use bytes::Bytes;
use wattle_core::ends::Terms;
use wattle_core::id::{LaneId, Ticket};
use wattle_core::level::Level;
use wattle_core::node::command::{Command, Reply};
use wattle_core::node::{Input, Output, Rejected};
use wattle_core::rng::{Purpose, Rng};
use wattle_core::time::{Instant, Span};
use wattle_core::work::PublicKey;
use wattle_tests::Solo;

/// Law 1: what was polled may run; so nothing that depends on the disk is polled before the disk has it.
#[test]
fn no_answer_is_polled_before_what_it_rests_on_is_durable() {
    let mut solo = Solo::new("one");
    solo.command(1, Command::Seed { name: "mesh".into() });
    let mut syncs = 0;
    while solo.rows.keys().next_back().is_some_and(|&last| last > solo.synced) {
        assert_eq!(solo.replies(), [], "answered with rows above {} unsynced", solo.synced);
        let lane = LaneId(100 + syncs);
        let up = Input::LaneUp { lane, dial: None, peer_key: PublicKey([7; 32]) };
        solo.tell(up).expect("running");
        solo.sync();
        solo.tell(Input::Deadline).expect("running");
        syncs += 1;
        assert!(syncs < 50, "the node never stops writing");
    }
    let replies = solo.replies();
    assert!(matches!(&replies[..], [(1, Ok(Reply::Seeded { .. }))]), "{replies:?}");
    assert!(syncs >= 2, "membership, the first vote and the first entry are rows of their own");
}

/// Law 2: tickets grow one by one, are answered as prefixes, and a failed write ends the node.
#[test]
fn writes_are_one_sequence_and_a_failed_one_ends_the_node() {
    let mut solo = Solo::new("two");
    solo.seed();
    let tickets: Vec<u64> = solo.rows.keys().map(|ticket| ticket.0).collect();
    assert!(tickets.windows(2).all(|pair| pair[1] == pair[0] + 1), "{tickets:?}");
    solo.tell(Input::WriteFailed { reason: "the disk is on fire".into() }).expect("taken");
    let refused = solo.tell(Input::Deadline).expect_err("it stopped");
    assert!(matches!(&refused, Rejected::Stopped(why) if why.contains("on fire")), "{refused}");
    assert!(solo.node.poll_output().is_none() && solo.node.poll_timeout().is_none());
    let keep = solo.synced;
    solo.restart(keep).expect("what was durable is whole");
    solo.sync();
    solo.pass(Span::secs(2));
    let status = solo.node.status(solo.now).expect("running");
    assert_eq!(status.control.expect("a member").role, "leader");
    assert_eq!(status.members.len(), 1);
}

/// Law 2, the other half: every prefix of the rows is a disk one can start from.
#[test]
fn every_prefix_of_the_rows_recovers() {
    let mut grown = Solo::new("prefix");
    grown.seed();
    for keep in (0..=grown.synced.0).map(Ticket) {
        let mut solo = grown.clone();
        solo.restart(keep).unwrap_or_else(|why| panic!("rows up to {keep}: {why}"));
        solo.sync();
        solo.pass(Span::secs(2));
        solo.node.check_invariants(Level::Full);
    }
}

/// Law 3: the monotonic clock never goes back.
#[test]
#[should_panic(expected = "N1: the monotonic clock went back")]
fn a_clock_that_goes_back_is_the_worlds_fault() {
    let mut solo = Solo::new("three");
    solo.pass(Span::secs(1));
    solo.tell(Input::Deadline).expect("running");
    solo.now.monotonic = Instant(5);
    let _ = solo.tell(Input::Deadline);
}

/// Law 4: same calls, same answers, to the byte.
#[test]
fn the_same_calls_get_the_same_answers() {
    let run = || {
        let mut solo = Solo::new("four");
        solo.seed();
        let up = Input::LaneUp { lane: LaneId(1), dial: None, peer_key: PublicKey([9; 32]) };
        solo.tell(up).expect("running");
        solo.command(2, Command::Invite);
        solo.command(
            3,
            Command::OpenStream {
                name: "s".into(),
                source: "four".into(),
                targets: vec!["nobody".into()],
                terms: Terms::default(),
            },
        );
        solo.sync();
        solo.pass(Span::secs(3));
        (solo.transmit(LaneId(1)), solo.transcript, solo.rows)
    };
    let (first, second) = (run(), run());
    assert_eq!(first, second);
    assert!(first.1.len() > 10);
}

/// Law 5: bytes from a peer lead to a value, never to a panic, and hold bounded memory.
#[test]
fn noise_on_a_lane_closes_the_lane_and_nothing_else() {
    let mut solo = Solo::new("five");
    solo.seed();
    let mut rng = Rng::stream([5; 32], Purpose::Link);
    for lane in (1..=500).map(LaneId) {
        let up = Input::LaneUp { lane, dial: None, peer_key: PublicKey(rng.bytes32()) };
        solo.tell(up).expect("running");
        let hello = solo.transmit(lane);
        for _ in 0..rng.between(1, 6) {
            let mut bytes: Vec<u8> = (0..rng.below(300)).map(|_| rng.u64() as u8).collect();
            if rng.below(2) == 0 {
                // A sound start, so that the noise reaches deeper.
                bytes = [b"WTLE\x01\x00\x01\x00".as_slice(), &(bytes.len() as u32).to_le_bytes(), &bytes]
                    .concat();
            } else if rng.below(2) == 0 {
                bytes = [hello.as_slice(), &bytes].concat();
            }
            solo.tell(Input::Received { lane, bytes: Bytes::from(bytes) }).expect("running");
        }
        solo.node.check_invariants(Level::Cheap);
        let closed =
            solo.outputs.iter().any(|output| matches!(output, Output::Close { lane: l, .. } if *l == lane));
        if closed || rng.below(2) == 0 {
            solo.tell(Input::LaneDown { lane }).expect("running");
        }
        solo.outputs.clear();
    }
    solo.pass(Span::secs(30));
    solo.node.check_invariants(Level::Full);
    solo.command(9, Command::Invite);
    solo.sync();
    assert!(matches!(&solo.replies()[..], [(9, Ok(Reply::Token { .. }))]), "the node goes on");
}

/// Law 6: a node is a value; a copy goes its own way from the same place.
#[test]
fn a_copy_behaves_like_the_original() {
    let mut solo = Solo::new("six");
    solo.command(1, Command::Seed { name: "mesh".into() });
    for _ in 0..20 {
        let mut copy = solo.clone();
        for world in [&mut solo, &mut copy] {
            world.sync();
            world.pass(Span::millis(20));
            world.node.check_invariants(Level::Full);
        }
        assert_eq!(solo.transcript, copy.transcript);
        assert_eq!(solo.rows, copy.rows);
    }
}
