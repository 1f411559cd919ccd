//! Reads without entries (R14).

use alloc::vec::Vec;

use super::harness::{Cluster, GROUP, member};
use crate::id::LogIndex;
use crate::raft::{Body, Input, Message, RoleName};
use crate::time::Span;

fn cluster(seed: u64) -> (Cluster, usize) {
    let mut cluster = Cluster::new(seed, GROUP, 4, 3, 1);
    cluster.settle(Span::secs(2));
    let leader = cluster.leader().expect("a leader");
    (cluster, leader)
}

#[test]
fn everybody_reads_what_was_committed_before_it_asked() {
    let (mut cluster, leader) = cluster(50);
    cluster.propose(leader, "one");
    cluster.settle(Span::millis(50));
    let committed = cluster.place(leader).commit;
    for node in 0..4 {
        cluster.read(node, node as u64);
    }
    assert!(cluster.replicas.iter().all(|replica| replica.read.is_empty()), "nobody confirmed it yet");
    cluster.settle(Span::millis(100));
    for node in 0..4 {
        assert_eq!(cluster.replicas[node].read, [(node as u64, committed)], "node {node}");
    }
}

#[test]
fn a_leader_that_was_replaced_unknown_to_itself_answers_no_read() {
    let (mut cluster, old) = cluster(51);
    let others: Vec<usize> = (0..4).filter(|&node| node != old).collect();
    cluster.cut.extend(others.iter().flat_map(|&node| [(old, node), (node, old)]));
    // It reads at once, before it knows that it is alone, and again later.
    cluster.read(old, 1);
    cluster.settle(Span::secs(2));
    cluster.read(old, 2);
    cluster.settle(Span::millis(100));
    let new = cluster.leader().filter(|&leader| leader != old).expect("another leader");
    cluster.propose(new, "one");
    cluster.settle(Span::millis(200));
    cluster.cut.clear();
    cluster.settle(Span::secs(2));
    assert_eq!(cluster.replicas[old].read, []);
    assert!(cluster.replicas[old].numbers.is_superset(&[1, 2].into()), "it says so");
    cluster.read(old, 3);
    cluster.settle(Span::millis(200));
    assert_eq!(cluster.replicas[old].read, [(3, cluster.place(new).commit)]);
}

#[test]
fn late_answers_to_one_round_do_not_confirm_the_next() {
    let (mut cluster, leader) = cluster(52);
    cluster.read(leader, 1);
    let first = core::mem::take(&mut cluster.network);
    assert!(first.iter().any(|(_, _, message)| message.append().is_some_and(|append| append.round > 0)));
    // The first round is answered while nobody hears of the second.
    cluster.network = first;
    cluster.deliver_all();
    (0..4).for_each(|node| cluster.sync_all(node));
    let answers = core::mem::take(&mut cluster.network);
    cluster.read(leader, 2);
    cluster.network = answers;
    cluster.deliver_all();
    let read: Vec<u64> = cluster.replicas[leader].read.iter().map(|(number, _)| *number).collect();
    assert_eq!(read, [1]);
    cluster.settle(Span::millis(500));
    assert_eq!(cluster.replicas[leader].read.len(), 2, "it is asked again, and answered");
}

#[test]
fn a_new_leader_reads_nothing_before_it_has_decided_something() {
    let (mut cluster, old) = cluster(53);
    cluster.propose(old, "one");
    // The entry is committed, and only the old leader knows.
    cluster.settle_and_watch(&mut |_| {});
    let committed = cluster.place(old).commit;
    cluster.crash(old);
    let new = loop {
        cluster.settle_and_watch(&mut |_| {});
        if let Some(leader) = cluster.leader() {
            break leader;
        }
    };
    cluster.read(new, 1);
    cluster.settle(Span::millis(500));
    let [(1, index)] = cluster.replicas[new].read[..] else { panic!("it was not answered") };
    assert!(index > committed, "its own first entry is behind {committed}");
}

#[test]
fn reads_are_bounded_and_refused_where_nobody_leads() {
    let mut cluster = Cluster::new(54, GROUP, 3, 3, 0);
    cluster.read(0, 7);
    assert!(cluster.replicas[0].numbers.contains(&7), "nobody leads");
    cluster.settle(Span::secs(2));
    let leader = cluster.leader().expect("a leader");
    cluster.cut.extend((0..3).flat_map(|node| [(leader, node), (node, leader)]));
    for number in 0..5_000 {
        cluster.read(leader, 100 + number);
    }
    assert!(!cluster.replicas[leader].numbers.contains(&(100 + 4_095)));
    assert!(cluster.replicas[leader].numbers.contains(&(100 + 4_096)));
}

#[test]
fn an_answer_nobody_asked_for_is_ignored() {
    let (mut cluster, leader) = cluster(55);
    let other = (0..3).find(|&node| node != leader).expect("another");
    let term = cluster.place(leader).term;
    cluster.hear(other, leader, term, Body::ReadReply { number: 9, index: LogIndex(1) });
    assert_eq!(cluster.replicas[other].read, []);
    assert_eq!(cluster.role(other), Some(RoleName::Follower));
    cluster.tell(other, Input::Read { group: GROUP, context: 4 });
    cluster.settle(Span::millis(100));
    assert_eq!(cluster.replicas[other].read.len(), 1);
    assert!(cluster.place(other).replica == member(other).replica);
}

#[test]
fn an_answer_to_a_read_of_the_life_before_confirms_none_of_this_life() {
    let (mut cluster, leader) = cluster(56);
    let reader = (0..3).find(|&node| node != leader).expect("another");
    cluster.read(reader, 1);
    // The question, the round, its answers; then the leader's word is under way.
    let confirms = |message: &Message| matches!(message.body, Body::ReadReply { .. });
    for _ in 0..20 {
        if cluster.network.iter().any(|(_, _, message)| confirms(message)) {
            break;
        }
        cluster.deliver(0);
        (0..4).for_each(|node| cluster.sync_all(node));
    }
    assert!(cluster.network.iter().any(|(_, _, message)| confirms(message)));
    let late = core::mem::take(&mut cluster.network);
    cluster.crash(reader);
    cluster.propose(leader, "one");
    cluster.settle(Span::millis(200));
    cluster.restart(reader);
    cluster.settle(Span::secs(1));
    let committed = cluster.place(leader).commit;
    cluster.read(reader, 2);
    let question = core::mem::replace(&mut cluster.network, late);
    cluster.deliver_all();
    assert_eq!(cluster.replicas[reader].read, [], "it is true of before it asked");
    cluster.network.extend(question);
    cluster.settle(Span::millis(200));
    assert_eq!(cluster.replicas[reader].read, [(2, committed)]);
}
