//! Entries that are on the disk only: who is sent them, who is given them after a start, and what if they are not what was written.

use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;

use super::force::fence;
use super::harness::{Cluster, GROUP, member};
use crate::id::{GroupId, LogIndex, NodeId};
use crate::planted::Planted;
use crate::raft::{Body, Input, Memory, Message};
use crate::record::Damaged;
use crate::time::{Now, Span, Wall};

/// What logs may take, and an entry that is a fortieth of that.
const ROOM: u64 = 20_000;
const LONG: usize = 436;
/// What an entry of that takes.
const ENTRY: u64 = 500;

fn memory(cluster: &Cluster, node: usize) -> Memory {
    cluster.replicas[node].groups.memory()
}

fn text(number: usize) -> String {
    alloc::format!("{number:>LONG$}")
}

/// Three voters, one of them away; the first leads, and has written so many entries behind each other. Also that one.
fn one_away(seed: u64, entries: usize, planted: Planted) -> (Cluster, usize, usize) {
    let mut cluster = Cluster::with_bug(seed, GROUP, (3, 3, 0), planted);
    cluster.disks_are_kept = true;
    cluster.keep_logs_within(ROOM);
    cluster.settle(Span::secs(2));
    let leader = cluster.leader().expect("a leader");
    let away = (leader + 1) % 3;
    cluster.crash(away);
    for number in 0..entries {
        cluster.propose(leader, &text(number));
        if number % 3 == 2 {
            cluster.settle(Span::millis(20));
        }
        for node in (0..3).filter(|&node| node != away) {
            let Memory { logs, read, .. } = memory(&cluster, node);
            let most = ROOM + 16 * ENTRY;
            assert!(logs + read <= most, "logs take {logs} and {read} bytes, with room for {ROOM}");
        }
    }
    cluster.settle(Span::millis(100));
    (cluster, leader, away)
}

/// A small step, in which those nodes read from their disks for whom `reads` says so. Messages arrive in the order in which they were sent.
fn step_in_order(cluster: &mut Cluster, reads: impl Fn(usize) -> bool) {
    cluster.now += Span::millis(10);
    for node in 0..cluster.replicas.len() {
        cluster.deadline(node);
        cluster.sync_all(node);
        if reads(node) {
            cluster.read_all(node);
        }
    }
    for _ in 0..cluster.network.len() {
        let (from, to, message) = cluster.network.remove(0);
        cluster.carry(from, to, message);
    }
}

/// Lets time pass until a node reads something: its loads, in the order in which they were asked for.
fn loads(cluster: &mut Cluster, node: usize) -> Vec<(u64, Option<Bytes>)> {
    while cluster.replicas[node].loads.is_empty() {
        cluster.now += Span::millis(10);
        (0..3).for_each(|node| cluster.deadline(node));
        (0..3).for_each(|node| cluster.sync_all(node));
        cluster.deliver_all();
    }
    cluster.replicas[node].loads.drain(..).collect()
}

fn answer(cluster: &mut Cluster, node: usize, token: u64, payload: Option<Bytes>) -> Result<(), Damaged> {
    let now = Now { monotonic: cluster.now, wall: Wall(0) };
    let answered = cluster.replicas[node].groups.loaded(now, token, payload.as_ref());
    cluster.drain(node);
    answered
}

#[test]
fn a_member_that_was_away_is_sent_what_its_leader_has_on_the_disk_only() {
    let (mut cluster, leader, away) = one_away(40, 300, Planted::none());
    assert!(memory(&cluster, leader).stored_runs > 50, "{:?}", memory(&cluster, leader));
    cluster.restart(away);
    cluster.settle(Span::secs(8));
    assert_eq!(cluster.commands(away), cluster.commands(leader));
    assert_eq!(cluster.commands(away).len(), 300);
    let Memory { logs, read, loads, .. } = memory(&cluster, leader);
    assert!(loads > 50 && logs + read <= ROOM + ENTRY, "{loads} loads, {logs} and {read} bytes");
    // It has let go of what it was sent, too.
    assert!(memory(&cluster, away).logs <= ROOM);
}

#[test]
fn only_the_member_that_lags_waits_for_the_disk() {
    let (mut cluster, leader, away) = one_away(41, 120, Planted::none());
    let other = 3 - leader - away;
    cluster.restart(away);
    // The disk of the leader reads nothing.
    for number in 120..130 {
        cluster.propose(leader, &text(number));
        for _ in 0..10 {
            cluster.now += Span::millis(10);
            (0..3).for_each(|node| cluster.deadline(node));
            (0..3).for_each(|node| cluster.sync_all(node));
            cluster.deliver_all();
        }
    }
    assert!(!cluster.replicas[leader].loads.is_empty(), "something is to be read");
    assert_eq!((cluster.commands(other).len(), cluster.commands(away).len()), (130, 3));
    cluster.settle(Span::secs(4));
    assert_eq!(cluster.commands(away).len(), 130);
}

#[test]
fn two_members_at_one_place_are_served_by_one_load() {
    let mut cluster = Cluster::with_bug(42, GROUP, (5, 5, 0), Planted::none());
    cluster.keep_logs_within(4 * ROOM);
    cluster.settle(Span::secs(2));
    let leader = cluster.leader().expect("a leader");
    let away: Vec<usize> = (0..5).filter(|&node| node != leader).take(2).collect();
    away.iter().for_each(|&node| cluster.crash(node));
    for number in 0..360 {
        cluster.propose(leader, &text(number));
        cluster.settle(Span::millis(20));
    }
    away.iter().for_each(|&node| cluster.restart(node));
    // The disk of the leader reads nothing until both are waited for.
    for _ in 0..100 {
        step_in_order(&mut cluster, |node| node != leader);
    }
    let asked = cluster.replicas[leader].loads.len();
    assert!((1..=5).contains(&asked), "{asked} loads");
    cluster.network.clear();
    cluster.read_all(leader);
    let sent = |node: usize| {
        let to = |message: &&(NodeId, NodeId, Message)| message.1 == member(node).node;
        let first = cluster.network.iter().find(to).map(|(_, _, message)| message);
        first.and_then(Message::append).map(|append| (append.previous.index, append.entries.clone()))
    };
    let (first, second) = (sent(away[0]).expect("it was read"), sent(away[1]).expect("it was read"));
    assert_eq!(first.0, second.0);
    assert!(core::ptr::eq(&first.1[0], &second.1[0]), "both are sent the same memory");
    cluster.settle(Span::secs(8));
    assert!(away.iter().all(|&node| cluster.commands(node).len() == 360));
}

#[test]
fn a_start_leaves_on_the_disk_what_is_settled_and_gives_it_to_its_owner() {
    let (mut cluster, leader, away) = one_away(43, 300, Planted::none());
    let commands = cluster.commands(leader);
    for node in (0..3).filter(|&node| node != away) {
        cluster.crash(node);
        cluster.restart(node);
        let Memory { logs, stored_runs, .. } = memory(&cluster, node);
        assert!(logs <= 8 * ENTRY && stored_runs > 50, "{logs} bytes, {stored_runs} runs stored");
    }
    cluster.settle(Span::secs(10));
    for node in (0..3).filter(|&node| node != away) {
        assert_eq!(cluster.commands(node), commands);
    }
    cluster.propose(cluster.leader().expect("a leader"), "the end");
    cluster.settle(Span::secs(1));
    assert_eq!(cluster.commands(leader).len(), 301);
}

/// Nobody leads any more, and nobody will: what was decided and is on the disk only is looked through all the same.
#[test]
fn a_survivor_that_starts_without_a_quorum_looks_through_what_it_has_stored() {
    survivor_looks_through(Planted::none());
}

fn survivor_looks_through(planted: Planted) {
    let (mut cluster, leader, away) = one_away(49, 150, planted);
    let other = 3 - leader - away;
    cluster.crash(leader);
    let commands = cluster.commands(other);
    cluster.crash(other);
    cluster.restart(other);
    assert!(memory(&cluster, other).stored_runs > 25, "{:?}", memory(&cluster, other));
    let ends = |cluster: &mut Cluster| {
        let end = fence(cluster, 77, &[other], &[leader, away]).remove(&other).expect("it says so");
        end.map(|end| (end, cluster.replicas[other].groups.not_applied(GROUP)))
    };
    let why = ends(&mut cluster).expect_err("it reads first");
    assert!(why.contains("being read"), "{why}");
    cluster.settle(Span::secs(4));
    assert_eq!(cluster.leader(), None);
    let (end, (held, whole)) = ends(&mut cluster).expect("everything was read");
    assert!(whole && held.len() < 10, "{} entries", held.len());
    assert!(cluster.commands(other).len() + held.len() >= commands.len());
    assert!(commands.starts_with(&cluster.commands(other)));
    assert_eq!(held.last().map(|entry| entry.index), Some(end.last.index));
}

#[test]
fn a_log_cut_in_the_middle_of_a_run_that_is_stored_keeps_the_run() {
    let (mut cluster, leader, away) = one_away(44, 120, Planted::none());
    let last = cluster.place(leader).last.index;
    for upto in (1..=last.0).step_by(7).map(LogIndex) {
        cluster.tell(leader, Input::Compact { group: GROUP, upto });
        let first = cluster.replicas[leader].groups.status(GROUP).expect("there").first;
        assert!(first <= upto.next() && upto.0 < first.0 + 3, "cut at {first} for {upto}");
    }
    cluster.sync_all(leader);
    cluster.crash(leader);
    cluster.replicas[leader].kept = cluster.replicas[leader].applied.clone();
    cluster.restart(leader);
    cluster.restart(away);
    cluster.settle(Span::secs(8));
    assert_eq!(cluster.commands(away).len(), 120);
}

#[test]
fn entries_that_are_not_those_that_were_written_are_not_used() {
    entries_are_compared(Planted::none());
}

fn entries_are_compared(planted: Planted) {
    let (mut cluster, leader, away) = one_away(45, 120, planted);
    cluster.restart(away);
    let asked = loads(&mut cluster, leader);
    let image = cluster.replicas[leader].groups.clone();
    cluster.network.clear();
    let (token, payload) = asked[0].clone();
    let payload = payload.expect("it was written");
    let mut other = payload.to_vec();
    let last = other.len() - 1;
    other[last] ^= 1;
    let wrong = [None, Some(Bytes::new()), Some(payload.slice(..last)), Some(other.into())];
    for wrong in wrong {
        cluster.replicas[leader].groups = image.clone();
        let damaged = answer(&mut cluster, leader, token, wrong).expect_err("it is not what was written");
        assert!(damaged.what.contains("cannot be read back"), "{damaged}");
        let sent = cluster.network.iter().filter(|(_, to, _)| *to == member(away).node);
        let empty = |body: &Body| matches!(body, Body::Append(append) if !append.entries.is_empty());
        assert!(!sent.clone().any(|(_, _, message)| empty(&message.body)), "something of it is sent");
    }
}

#[test]
fn what_was_read_for_a_replica_that_was_removed_is_not_given_to_the_next() {
    let (mut cluster, leader, away) = one_away(46, 60, Planted::none());
    cluster.restart(away);
    let asked = loads(&mut cluster, leader);
    cluster.tell(leader, Input::Remove { group: GROUP });
    cluster.tell(
        leader,
        Input::Create {
            group: GROUP,
            replica: member(leader).replica,
            founding: crate::configuration::Configuration::default(),
            anew: false,
        },
    );
    for (token, payload) in asked {
        answer(&mut cluster, leader, token, payload).expect("nobody needs it");
        answer(&mut cluster, leader, token, None).expect("it was answered");
    }
    let Memory { logs, read, stored_runs, .. } = memory(&cluster, leader);
    assert_eq!((logs, read, stored_runs), (0, 0, 0));
}

/// A founder whose disk forgot is given its log back by a learner that has it on the disk only.
#[test]
fn a_copy_of_a_log_is_given_from_the_disk() {
    let mut cluster = Cluster::new(47, GroupId::CONTROL, 2, 1, 0);
    cluster.settle(Span::millis(500));
    cluster.change(&[0], &[1]);
    cluster.settle(Span::secs(1));
    let image = cluster.replicas[0].disk.clone();
    cluster.keep_logs_within(ROOM);
    cluster.settle(Span::secs(4));
    for number in 0..150 {
        cluster.propose(0, &text(number));
        cluster.settle(Span::millis(20));
    }
    assert!(memory(&cluster, 1).stored_runs > 50);
    let commands = cluster.commands(1);
    assert_eq!(commands.len(), 150);
    cluster.take_back(0, image);
    cluster.settle(Span::secs(20));
    assert_eq!(cluster.commands(0), commands);
    assert!(memory(&cluster, 1).loads > 50);
    cluster.goes_on(1);
}

#[test]
fn what_is_not_durable_stays_in_memory() {
    unsynced_stay(Planted::none());
}

fn unsynced_stay(planted: Planted) {
    let (mut cluster, leader, _) = one_away(48, 30, planted);
    for number in 30..130 {
        cluster.propose(leader, &text(number));
    }
    assert!(memory(&cluster, leader).logs >= 100 * ENTRY, "{:?}", memory(&cluster, leader));
    cluster.settle(Span::secs(1));
    assert!(memory(&cluster, leader).logs <= ROOM, "{:?}", memory(&cluster, leader));
}

/// Each is met where an ordinary history goes, and noticed.
#[cfg(feature = "planted")]
#[test]
fn planted_bugs_of_what_is_stored_are_found() {
    extern crate std;
    use std::panic::catch_unwind;

    use crate::planted::Bug;

    for bug in [Bug::EvictedNotCountedBack, Bug::LoadNotCountedBack, Bug::LoadWakesNobody] {
        let found = catch_unwind(|| {
            let (mut cluster, leader, away) = one_away(40, 300, Planted::only(bug));
            cluster.restart(away);
            cluster.settle(Span::secs(8));
            assert_eq!(cluster.commands(away), cluster.commands(leader));
        });
        assert!(found.is_err(), "{}", bug.describe().name);
    }
    for (bug, test) in [
        (Bug::EvictedUnsynced, unsynced_stay as fn(Planted)),
        (Bug::ReadChainNotCompared, entries_are_compared),
        (Bug::StoredTakenForUndecided, survivor_looks_through),
    ] {
        assert!(catch_unwind(|| test(Planted::only(bug))).is_err(), "{}", bug.describe().name);
    }
}
