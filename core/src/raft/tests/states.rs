//! States that are copied back to an only voter (rule C3), and what is heard while one comes in (R15, R16).

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use bytes::Bytes;

use super::harness::{Cluster, Disk, GROUP, member};
use crate::configuration::Configuration;
use crate::id::{LogIndex, NodeId, Term};
use crate::raft::{Append, Body, Entry, EntryKind, Input, Mark, Message, Place, RoleName};
use crate::time::Span;

const LONG: usize = 200_000;

/// Several long commands, each applied before the next.
fn propose_long(cluster: &mut Cluster, count: usize) {
    for number in 0..count {
        cluster.propose(0, &String::from_iter([char::from(b'a' + number as u8)]).repeat(LONG));
        cluster.settle(Span::millis(50));
    }
}

/// An only voter and its learners, of whom the first `behind` hear less; all have cut their logs. The voter's disk as it was in the beginning.
fn givers(seed: u64, learners: usize, behind: usize) -> (Cluster, Disk) {
    let mut cluster = Cluster::new(seed, GROUP, 1 + learners, 1, learners);
    cluster.settle(Span::millis(500));
    let image = cluster.replicas[0].disk.clone();
    propose_long(&mut cluster, 8);
    for node in 1..=behind {
        cluster.cut.extend([(0, node), (node, 0)]);
    }
    propose_long(&mut cluster, 2);
    for node in 1..=learners {
        cluster.compact(node, 0);
    }
    cluster.settle(Span::millis(50));
    cluster.cut.clear();
    cluster.network.clear();
    (cluster, image)
}

/// Chunks that were sent in these steps, of which `lose` loses some. A step takes 50 ms and brings no more than so many messages to each node, in
/// the order in which they were sent.
fn run(cluster: &mut Cluster, steps: usize, many: usize, mut lose: impl FnMut(usize) -> bool) -> usize {
    let mut chunks = 0;
    for _ in 0..steps {
        cluster.now += Span::millis(50);
        let mut under_way = core::mem::take(&mut cluster.network);
        let mut brought = vec![0; cluster.replicas.len()];
        under_way.retain(|(from, to, message)| {
            let count = &mut brought[(to.0 - 1) as usize];
            if *count == many {
                return true;
            }
            *count += 1;
            let chunk = matches!(message.body, Body::Snapshot(_));
            chunks += usize::from(chunk);
            if !(chunk && lose(chunks)) {
                cluster.carry(*from, *to, message.clone());
            }
            false
        });
        under_way.append(&mut cluster.network);
        cluster.network = under_way;
        for node in 0..cluster.replicas.len() {
            cluster.deadline(node);
            cluster.sync_all(node);
        }
        if cluster.role(0) == Some(RoleName::Leader) {
            break;
        }
    }
    chunks + cluster.network.iter().filter(|(.., message)| matches!(message.body, Body::Snapshot(_))).count()
}

#[test]
fn a_chunk_that_is_lost_while_a_state_is_copied_back_is_not_paid_for_with_thousands() {
    let (mut cluster, image) = givers(80, 1, 0);
    cluster.take_back(0, image);
    // 31 chunks; one of the first window is lost.
    let chunks = run(&mut cluster, 100, usize::MAX, |count| count == 3);
    assert_eq!(cluster.role(0), Some(RoleName::Leader));
    assert_eq!(cluster.commands(0).len(), 10);
    assert!((31..=31 + 3 * 8).contains(&chunks), "{chunks} chunks for 31");
}

#[test]
fn a_state_comes_back_though_each_chunk_comes_twice() {
    let (mut cluster, image) = givers(81, 1, 0);
    cluster.take_back(0, image);
    let mut chunks = 0;
    while cluster.role(0) != Some(RoleName::Leader) {
        let twins = cluster.network.clone();
        cluster.network.extend(twins);
        chunks += run(&mut cluster, 1, usize::MAX, |_| false);
        assert!(chunks < 1_000, "{chunks} chunks for 31");
    }
}

#[test]
fn of_two_who_give_states_of_different_places_both_come_to_an_end() {
    let (mut cluster, image) = givers(82, 2, 1);
    let ends: Vec<_> = (1..3).map(|node| cluster.place(node).last.index).collect();
    assert!(ends[0] < ends[1], "{ends:?}");
    cluster.take_back(0, image);
    // Neither state comes within a second.
    let chunks = run(&mut cluster, 400, 1, |_| false);
    assert_eq!(cluster.role(0), Some(RoleName::Leader), "after {chunks} chunks");
    assert_eq!(cluster.commands(0).len(), 10);
    assert!(chunks < 300, "{chunks} chunks for 25 and 31");
}

/// Whatever of a kind is under way.
fn take(cluster: &mut Cluster, wanted: impl Fn(&Message) -> bool) -> Vec<(NodeId, NodeId, Message)> {
    let (taken, rest) =
        core::mem::take(&mut cluster.network).into_iter().partition(|(.., message)| wanted(message));
    cluster.network = rest;
    taken
}

/// A leader of three has sent a member the whole state that it needs, in one chunk: leader, member, the chunk.
fn one_chunk(seed: u64) -> (Cluster, usize, usize, (NodeId, Message)) {
    let mut cluster = Cluster::new(seed, GROUP, 3, 3, 0);
    cluster.settle(Span::secs(2));
    let leader = cluster.leader().expect("a leader");
    let away = (leader + 1) % 3;
    cluster.cut.extend((0..3).filter(|&node| node != away).flat_map(|node| [(away, node), (node, away)]));
    cluster.propose(leader, "one");
    cluster.settle(Span::millis(50));
    cluster.compact(leader, 0);
    cluster.settle(Span::millis(50));
    cluster.cut.clear();
    loop {
        let chunks = take(&mut cluster, |message| matches!(message.body, Body::Snapshot(_)));
        if let Some((from, _, chunk)) = chunks.into_iter().next() {
            cluster.network.clear();
            return (cluster, leader, away, (from, chunk));
        }
        cluster.now += Span::millis(10);
        cluster.deadline(leader);
        cluster.sync_all(leader);
        if !cluster.network.iter().any(|(.., message)| matches!(message.body, Body::Snapshot(_))) {
            cluster.deliver_all();
            (0..3).for_each(|node| cluster.sync_all(node));
        }
    }
}

fn said(cluster: &Cluster, from: usize, to: usize, term: Term, body: Body) -> (NodeId, Message) {
    let (sender, addressee) = (member(from).replica, Some(cluster.place(to).replica));
    (member(from).node, Message { sender, addressee, term, life: 0, era: 0, body })
}

fn acknowledged(cluster: &mut Cluster, node: usize) -> bool {
    cluster.sync_all(node);
    let acknowledges = |message: &Message| matches!(message.body, Body::AppendReply { matched: true, .. });
    cluster.network.iter().any(|(from, _, message)| *from == member(node).node && acknowledges(message))
}

#[test]
fn who_sent_a_state_is_remembered_for_the_term_in_which_it_did() {
    let (mut cluster, leader, away, chunk) = one_chunk(83);
    let other = (leader + 2) % 3;
    let later = cluster.place(leader).term.next();
    let vote = said(&cluster, other, away, later, Body::Vote { pre: false, last: Place::default() });
    cluster.carry_together(away, vec![chunk, vote]);
    assert_eq!(cluster.commands(away), ["one"]);
    assert!(!acknowledged(&mut cluster, away), "nobody asked in that term");
    cluster.network.clear();
    // The leader starts anew, and never heard of the later term.
    cluster.crash(leader);
    cluster.restart(leader);
    assert!(cluster.place(leader).term < later);
    cluster.outputs = Some(Vec::new());
    cluster.goes_on(3);
    assert_eq!(cluster.place(leader).replica, member(leader).replica, "its disk is sound");
}

#[test]
fn a_state_is_not_shown_to_the_owner_of_a_replica_that_turns_out_to_be_amnesic() {
    let (mut cluster, leader, away, chunk) = one_chunk(84);
    let replica = cluster.place(away).replica;
    let term = cluster.place(leader).term;
    let mark = Mark { replica, term: term.next(), vote: None, last: Place::default() };
    let recall = Body::Recall { mark: Some(mark), question: false, start: 0, alone: false, needed: false };
    let recall = said(&cluster, leader, away, term, recall);
    cluster.carry_together(away, vec![chunk, recall]);
    assert_eq!(cluster.role(away), Some(RoleName::Amnesic));
    assert!(cluster.commands(away).is_empty() && !acknowledged(&mut cluster, away));
    cluster.goes_on(3);
}

#[test]
fn a_state_that_its_owner_is_offered_does_not_give_way_to_another() {
    let (mut cluster, leader, away, chunk) = one_chunk(85);
    let Body::Snapshot(state) = &chunk.1.body else { panic!("a chunk") };
    let mut other = state.clone();
    other.place.index = other.place.index.next();
    (other.total, other.number) = (other.total + 1, other.number + 1);
    let other = said(&cluster, leader, away, chunk.1.term, Body::Snapshot(other));
    cluster.carry_together(away, vec![chunk, other]);
    let place = cluster.place(away);
    assert_eq!(cluster.commands(away), ["one"]);
    assert_eq!(place.last.index, cluster.replicas[away].applied.last().expect("applied").index);
    cluster.goes_on(3);
}

#[test]
fn a_state_that_the_log_has_overtaken_is_not_shown_to_the_owner() {
    let (mut cluster, leader, away, chunk) = one_chunk(86);
    // The other member's log goes back to the beginning: it is told by appends.
    let other = (leader + 2) % 3;
    let term = cluster.place(leader).term.next();
    let entries = cluster.replicas[other].applied.clone();
    let previous = Place::default();
    let commit = entries.last().expect("applied").index;
    let append = Append {
        previous,
        commit,
        durable: previous,
        entries: entries.into(),
        number: 1,
        round: 0,
        copy: false,
        cut: false,
    };
    let append = said(&cluster, other, away, term, Body::Append(append));
    cluster.carry_together(away, vec![chunk, append]);
    cluster.sync_all(away);
    assert_eq!(cluster.commands(away), ["one"]);
}

#[test]
fn a_write_of_a_replica_that_was_removed_says_nothing_for_its_successor() {
    let mut cluster = Cluster::new(87, GROUP, 3, 3, 0);
    cluster.sync_all(0);
    let blank =
        Entry { index: LogIndex(1), term: Term(1), kind: EntryKind::Blank, data: Bytes::new(), weight: 0 };
    let append = Append {
        previous: Place::default(),
        commit: LogIndex(1),
        durable: Place::default(),
        entries: vec![blank].into(),
        number: 1,
        round: 0,
        copy: false,
        cut: false,
    };
    let append = said(&cluster, 1, 0, Term(1), Body::Append(append));
    cluster.carry_together(0, vec![append.clone()]);
    // What was written comes to the disk only now that the group begins anew.
    cluster.tell(0, Input::Remove { group: GROUP });
    let founding = Configuration::simple((0..3).map(member).collect(), Vec::new());
    cluster.tell(0, Input::Create { group: GROUP, replica: member(0).replica, founding, anew: false });
    cluster.carry_together(0, vec![append]);
    cluster.sync_until_notified(0, 1);
    assert_eq!(cluster.place(0).durable.index, LogIndex(0), "its own log is not on the disk yet");
    assert!(cluster.replicas[0].applied.is_empty());
    cluster.sync_until_notified(0, 1);
    assert_eq!(cluster.place(0).durable.index, LogIndex(1));
}

#[test]
fn of_a_state_that_contradicts_what_is_committed_nothing_is_kept() {
    let (mut cluster, _) = givers(84, 1, 0);
    cluster.crash(1);
    propose_long(&mut cluster, 2);
    cluster.compact(0, 0);
    cluster.contradict = true;
    cluster.restart(1);
    cluster.settle(Span::secs(5));
    assert_eq!(cluster.role(1), Some(RoleName::Stopped));
    assert_eq!(cluster.replicas[1].groups.states().0, 0);
}
