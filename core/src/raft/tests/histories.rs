//! What records say was committed counts for the log that they are of: not for the next of the same id, nor for what took the place of entries
//! that a rolled-back disk had decided alone (R30).

use alloc::vec::Vec;

use prost::Message as _;
use wattle_proto::raft::RunHead;

use super::force::fence;
use super::harness::{Cluster, member};
use crate::id::{GroupId, LogIndex};
use crate::planted::Planted;
use crate::raft::{Config, Input};
use crate::time::Span;

/// Records of logs.
const LOG: u8 = 2;

fn write_down(cluster: &mut Cluster, count: usize) {
    for number in 0..count {
        let leader = cluster.leader().expect("a leader");
        cluster.propose(leader, &alloc::format!("{number} of {count}"));
        cluster.settle(Span::millis(20));
    }
    cluster.settle(Span::secs(1));
}

/// A leader is cut off, and has some entries more on its disk that nobody decides. Up to where its log is decided.
fn has_undecided(cluster: &mut Cluster, leader: usize) -> LogIndex {
    cut_off(cluster, leader);
    let decided = cluster.place(leader).commit;
    for number in 0..20 {
        cluster.propose(leader, &alloc::format!("undecided {number}"));
        cluster.sync_all(leader);
    }
    assert_eq!((cluster.place(leader).commit, cluster.place(leader).last.index.0), (decided, decided.0 + 20));
    decided
}

fn cut_off(cluster: &mut Cluster, node: usize) {
    for other in (0..cluster.replicas.len()).filter(|&other| other != node) {
        cluster.cut.extend([(node, other), (other, node)]);
    }
}

/// It starts with so much room for its log, and says what of that is decided for certain.
fn says_of_its_log(cluster: &mut Cluster, node: usize, log_bytes: u64) -> LogIndex {
    cluster.log_bytes = log_bytes;
    cluster.crash(node);
    cluster.restart(node);
    cluster.read_all(node);
    let others: Vec<usize> = (0..cluster.replicas.len()).filter(|&other| other != node).collect();
    let ends = fence(cluster, 77, &[node], &others);
    ends[&node].as_ref().expect("nobody else is asked").certain.index
}

#[test]
fn what_a_log_decided_says_nothing_of_the_next_under_its_id() {
    come_again(Planted::none());
}

fn come_again(planted: Planted) {
    for log_bytes in [Config::default().log_bytes, 0] {
        let mut cluster = Cluster::with_bug(80, GroupId::CONTROL, (3, 3, 0), planted);
        cluster.settle(Span::secs(2));
        write_down(&mut cluster, 60);
        let before: Vec<_> = cluster.replicas.iter().map(|replica| replica.disk.clone()).collect();
        for node in 0..3 {
            cluster.tell(node, Input::Remove { group: GroupId::CONTROL });
            cluster.sync_all(node);
        }
        cluster.network.clear();
        cluster.agreed.clear();
        cluster.leaders.clear();
        for node in 0..3 {
            cluster.replicas[node].applied.clear();
            cluster.create(node);
        }
        cluster.settle(Span::secs(2));
        write_down(&mut cluster, 5);
        let leader = cluster.leader().expect("a leader");
        let decided = has_undecided(&mut cluster, leader);
        // What was forgotten is not trimmed.
        let disk = &mut cluster.replicas[leader].disk;
        let newer = core::mem::take(disk);
        let back = before[leader].iter().filter(|(key, _)| key.space == LOG);
        disk.extend(back.filter(|(key, _)| newer.iter().all(|(other, _)| other != key)).cloned());
        assert!(disk.len() > 20, "most of it stood behind what there is now");
        disk.extend(newer);
        let certain = says_of_its_log(&mut cluster, leader, log_bytes);
        assert!(certain <= decided, "{certain} is taken for decided, and {decided} is");
    }
}

#[test]
fn what_a_rolled_back_disk_decided_alone_says_nothing_of_what_took_its_place() {
    deluded(Planted::none());
}

fn deluded(planted: Planted) {
    for log_bytes in [Config::default().log_bytes, 0] {
        let mut cluster = Cluster::with_bug(81, GroupId::CONTROL, (3, 3, 0), planted);
        cluster.settle(Span::secs(2));
        write_down(&mut cluster, 5);
        let old = cluster.leader().expect("a leader");
        has_undecided(&mut cluster, old);
        cluster.crash(old);
        // As a disk would say that was taken back to when its replica alone voted.
        for (_, record) in cluster.replicas[old].disk.iter_mut().filter(|(key, _)| key.space == LOG) {
            let mut head = RunHead::decode(record.head.clone()).expect("just written");
            head.commit = record.last_slot;
            record.head = head.encode_to_vec().into();
        }
        cluster.cut.clear();
        cluster.settle(Span::secs(4));
        write_down(&mut cluster, 1);
        cluster.restart(old);
        cluster.settle(Span::secs(4));
        let leader = cluster.leader().expect("a leader");
        assert_eq!(cluster.commands(old), cluster.commands(leader), "what others decided took its place");
        cluster.tell(leader, Input::Transfer { group: GroupId::CONTROL, to: member(old).node, context: 1 });
        cluster.settle(Span::secs(2));
        assert_eq!(cluster.leader(), Some(old));
        let decided = has_undecided(&mut cluster, old);
        let certain = says_of_its_log(&mut cluster, old, log_bytes);
        assert!(certain <= decided, "{certain} is taken for decided, and {decided} is");
    }
}

/// Each calls something decided that is not.
#[cfg(feature = "planted")]
#[test]
fn planted_bugs_of_histories_are_found() {
    extern crate std;

    use crate::planted::Bug;

    let tests = [(Bug::HistoryIgnored, come_again as fn(Planted)), (Bug::HistoryOutlivesCut, deluded)];
    for (bug, test) in tests {
        assert!(std::panic::catch_unwind(|| test(Planted::only(bug))).is_err(), "{}", bug.describe().name);
    }
}
