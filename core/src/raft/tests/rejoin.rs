//! A node that is kept although its disk was copied (rule C6).

use super::harness::{Cluster, GROUP, member};
use crate::planted::Planted;
use crate::raft::{Config, RoleName};
use crate::time::Span;

#[test]
fn who_is_kept_comes_back_under_a_fresh_replica_id() {
    for alone in [false, true] {
        let (count, voters) = if alone { (2, 1) } else { (4, 3) };
        let mut cluster = Cluster::new(80, GROUP, count, voters, 1);
        cluster.settle(Span::secs(2));
        let leader = cluster.leader().expect("a leader");
        cluster.propose(leader, "one");
        cluster.settle(Span::secs(1));
        let before = cluster.replicas[leader].groups.places().next().expect("a replica").replica;
        cluster.crash(leader);
        cluster.restart(leader);
        cluster.rejoin(leader);
        assert_eq!(cluster.role(leader), Some(RoleName::Amnesic), "it neither votes nor leads as it is");
        cluster.settle(Span::secs(5));
        let after = cluster.replicas[leader].groups.places().next().expect("a replica").replica;
        assert_ne!(before, after);
        assert_ne!(cluster.role(leader), Some(RoleName::Amnesic), "it was admitted");
        let now = cluster.leader().expect("a leader");
        cluster.propose(now, "two");
        cluster.settle(Span::secs(1));
        for node in 0..count {
            assert_eq!(cluster.commands(node), ["one", "two"], "node {node}");
        }
        assert!(cluster.replicas[now].groups.configuration(GROUP).is_some_and(|configuration| {
            configuration.on(member(leader).node).any(|member| member.replica == after)
        }));
    }
}

/// A disk of three was lost, with an entry that only one of the others holds, which cannot be heard: nobody else could tell it.
#[test]
fn who_founded_a_group_before_it_was_taken_in_anew_counts_only_when_all_know_of_nothing() {
    let config = Config { of_streams: true, ..Config::default() };
    let mut cluster = Cluster::with_config(81, GROUP, (3, 3, 0), Planted::none(), config);
    cluster.settle(Span::secs(2));
    let leader = cluster.leader().expect("a leader");
    let [away, lost] = [(leader + 1) % 3, (leader + 2) % 3];
    cluster.cut = [(leader, away), (away, leader), (lost, away), (away, lost)].into();
    cluster.propose(leader, "one");
    cluster.settle(Span::millis(300));
    assert_eq!([leader, lost, away].map(|node| cluster.commands(node).len()), [1, 1, 0]);
    cluster.crash(lost);
    let replica = &mut cluster.replicas[lost];
    replica.disk.clear();
    replica.applied.clear();
    replica.kept.clear();
    replica.anew = true;
    cluster.cut = [(leader, away), (away, leader), (lost, leader), (leader, lost)].into();
    cluster.restart(lost);
    cluster.settle(Span::secs(4));
    assert_eq!(cluster.role(lost), Some(RoleName::Verifying), "its owner knows that it forgot");
    cluster.crash(lost);
    cluster.restart(lost);
    cluster.settle(Span::secs(4));
    assert_eq!(cluster.leader(), None, "the one that it can hear lacks what it had");
    cluster.cut.clear();
    cluster.goes_on(3);
    assert_eq!(cluster.commands(lost), ["one", "the end"]);
    assert_ne!(cluster.place(lost).replica, member(lost).replica);
}

/// One of five was never heard before its disk was lost, and another one is gone for good: nobody can say for it that it knows of nothing.
#[test]
fn who_was_taken_in_anew_is_admitted_under_a_fresh_id_where_not_all_can_be_asked() {
    let config = Config { of_streams: true, ..Config::default() };
    let mut cluster = Cluster::with_config(82, GROUP, (5, 5, 0), Planted::none(), config);
    cluster.crash(4);
    cluster.replicas[4].disk.clear();
    cluster.settle(Span::secs(2));
    let leader = cluster.leader().expect("a leader");
    let gone = (0..4).find(|&node| node != leader).expect("there are more");
    cluster.crash(gone);
    cluster.replicas[4].anew = true;
    cluster.restart(4);
    cluster.settle(Span::secs(20));
    assert_ne!(cluster.place(4).replica, member(4).replica);
    assert_eq!(cluster.role(4), Some(RoleName::Follower), "it was admitted");
    cluster.restart(gone);
    cluster.goes_on(5);
}
