//! Leadership that is handed over.

use super::harness::{Cluster, GROUP, member};
use crate::raft::{Config, Input, RoleName};
use crate::time::Span;

fn cluster(seed: u64) -> (Cluster, usize, usize) {
    let mut cluster = Cluster::new(seed, GROUP, 4, 3, 1);
    cluster.settle(Span::secs(2));
    let leader = cluster.leader().expect("a leader");
    (cluster, leader, (leader + 1) % 3)
}

fn transfer(cluster: &mut Cluster, from: usize, to: usize, number: u64) {
    cluster.tell(from, Input::Transfer { group: GROUP, to: member(to).node, context: number });
}

#[test]
fn the_voter_that_is_wanted_leads_at_once_and_holds_everything() {
    let (mut cluster, old, new) = cluster(60);
    cluster.propose(old, "one");
    transfer(&mut cluster, old, new, 1);
    cluster.settle(Config::default().election_min);
    assert_eq!(cluster.leader(), Some(new));
    assert_eq!(cluster.role(old), Some(RoleName::Follower));
    assert!(!cluster.replicas[old].numbers.contains(&1));
    cluster.propose(new, "two");
    cluster.settle(Span::secs(1));
    for node in 0..4 {
        assert_eq!(cluster.commands(node), ["one", "two"], "node {node}");
    }
}

#[test]
fn nothing_is_proposed_meanwhile_and_a_transfer_that_fails_is_given_up() {
    let (mut cluster, leader, deaf) = cluster(61);
    cluster.cut.insert((leader, deaf));
    transfer(&mut cluster, leader, deaf, 1);
    cluster.tell(
        leader,
        Input::Propose { group: GROUP, data: "one".into(), weight: 0, unhurried: false, context: 2 },
    );
    assert!(cluster.replicas[leader].numbers.contains(&2));
    assert!(cluster.commands(leader).is_empty());
    transfer(&mut cluster, leader, deaf, 3);
    assert!(cluster.replicas[leader].numbers.contains(&3), "one at a time");
    cluster.cut.clear();
    cluster.settle(Config::default().election_max + Span::millis(50));
    let leader = cluster.leader().expect("a leader");
    cluster.propose(leader, "two");
    cluster.settle(Span::secs(1));
    assert_eq!(cluster.commands(leader), ["two"]);
}

#[test]
fn only_a_voter_can_be_wanted_and_only_by_the_leader() {
    let (mut cluster, leader, other) = cluster(62);
    transfer(&mut cluster, leader, 3, 1);
    transfer(&mut cluster, other, leader, 2);
    assert!(cluster.replicas[leader].numbers.contains(&1), "it learns");
    assert!(cluster.replicas[other].numbers.contains(&2), "it does not lead");
    transfer(&mut cluster, leader, leader, 3);
    cluster.settle(Span::secs(1));
    assert_eq!(cluster.leader(), Some(leader));
}
