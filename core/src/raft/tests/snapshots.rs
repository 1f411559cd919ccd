//! States in chunks.

use alloc::collections::BTreeSet;
use alloc::string::String;

use super::harness::{Cluster, GROUP};
use crate::id::LogIndex;
use crate::raft::{Body, Input};
use crate::time::Span;

const LONG: usize = 200_000;

/// A leader whose log begins behind a state of several chunks, and the member that was away.
fn behind(seed: u64, others: usize) -> (Cluster, usize, usize) {
    let mut cluster = Cluster::new(seed, GROUP, 3, 3, 0);
    cluster.settle(Span::secs(2));
    let leader = cluster.leader().expect("a leader");
    let away = (leader + 1) % 3;
    for node in (0..3).filter(|&node| node != away) {
        cluster.cut.extend([(away, node), (node, away)]);
    }
    for number in 0..others {
        cluster.propose(leader, &String::from_iter([char::from(b'a' + number as u8)]).repeat(LONG));
        cluster.settle(Span::millis(50));
    }
    let leader = cluster.leader().expect("a leader");
    for node in (0..3).filter(|&node| node != away) {
        let upto = cluster.place(node).commit;
        cluster.tell(node, Input::Compact { group: GROUP, upto });
    }
    cluster.settle(Span::millis(50));
    (cluster, leader, away)
}

/// Lets time pass; the snapshots that are delivered, by where their chunks begin.
fn chunks(cluster: &mut Cluster, steps: usize, mut lose: impl FnMut(usize) -> bool) -> BTreeSet<u64> {
    let (mut seen, mut count) = (BTreeSet::new(), 0);
    for _ in 0..steps {
        cluster.network.retain(|(_, _, message)| {
            let chunk = matches!(message.body, Body::Snapshot(_));
            count += usize::from(chunk);
            !(chunk && lose(count))
        });
        cluster.settle_and_watch(&mut |message| {
            if let Body::Snapshot(chunk) = &message.body {
                seen.insert(chunk.offset);
            }
        });
    }
    seen
}

#[test]
fn a_member_that_was_away_is_sent_the_state_in_chunks_and_then_the_log() {
    let (mut cluster, leader, away) = behind(70, 3);
    cluster.cut.clear();
    let seen = chunks(&mut cluster, 60, |_| false);
    assert!(seen.len() >= 3 * LONG / 65_536, "{seen:?}");
    cluster.propose(leader, "the end");
    cluster.settle(Span::secs(1));
    assert_eq!(cluster.commands(away), cluster.commands(leader));
    assert_eq!(cluster.commands(away).len(), 4);
}

#[test]
fn what_is_lost_of_a_state_is_sent_again_and_nothing_else() {
    let (mut cluster, leader, away) = behind(71, 4);
    cluster.cut.clear();
    // Every third chunk is lost.
    chunks(&mut cluster, 1_000, |count| count % 3 == 0);
    assert_eq!(cluster.commands(away), cluster.commands(leader));
}

#[test]
fn a_receiver_that_starts_anew_in_the_middle_is_sent_it_from_the_beginning() {
    let (mut cluster, leader, away) = behind(72, 5);
    cluster.cut.clear();
    while !cluster.network.iter().any(|(_, _, m)| matches!(&m.body, Body::Snapshot(s) if s.offset > 0)) {
        cluster.settle_and_watch(&mut |_| {});
    }
    cluster.crash(away);
    cluster.settle(Span::millis(20));
    cluster.restart(away);
    cluster.settle(Span::secs(4));
    assert_eq!(cluster.commands(away), cluster.commands(leader));
}

#[test]
fn a_state_that_is_not_what_was_meant_is_not_taken() {
    let (mut cluster, leader, away) = behind(73, 2);
    cluster.cut.clear();
    let mut spoilt = 0;
    for _ in 0..20 {
        for (_, _, message) in &mut cluster.network {
            if let Body::Snapshot(chunk) = &mut message.body
                && chunk.offset > 0
                && spoilt == 0
            {
                spoilt += 1;
                let mut data = chunk.data.to_vec();
                data[0] ^= 1;
                chunk.data = data.into();
            }
        }
        cluster.settle_and_watch(&mut |_| {});
    }
    assert_eq!(spoilt, 1);
    cluster.settle(Span::secs(4));
    assert_eq!(cluster.commands(away), cluster.commands(leader));
    assert!(cluster.place(away).commit > LogIndex(0));
}
