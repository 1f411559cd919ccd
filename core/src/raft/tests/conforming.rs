//! Groups whose owner says who is out of them, and who votes.

use alloc::format;
use alloc::vec::Vec;

use super::harness::{Cluster, GROUP, member};
use crate::id::NodeId;
use crate::planted::Planted;
use crate::raft::{Config, Input};
use crate::time::Span;

fn cluster(seed: u64, size: (usize, usize, usize)) -> (Cluster, usize) {
    let config = Config { of_streams: true, ..Config::default() };
    let mut cluster = Cluster::with_config(seed, GROUP, size, Planted::none(), config);
    cluster.settle(Span::secs(2));
    let leader = cluster.leader().expect("a leader");
    (cluster, leader)
}

/// The owner says it as often as it takes.
fn conform(cluster: &mut Cluster, leader: usize, voters: &[usize], out: usize) {
    let nodes =
        |places: &[usize]| -> Vec<NodeId> { places.iter().map(|&place| member(place).node).collect() };
    for _ in 0..20 {
        let input = Input::Conform { group: GROUP, voters: nodes(voters), out: nodes(&[out]) };
        cluster.tell(leader, input);
        cluster.settle(Span::millis(200));
    }
}

fn places(cluster: &Cluster, node: usize) -> (Vec<u128>, Vec<u128>) {
    let configuration = cluster.configuration(node);
    assert!(!configuration.is_joint());
    let list = |members: &[crate::configuration::Member]| members.iter().map(|m| m.node.0 - 1).collect();
    (list(&configuration.voters), list(&configuration.learners))
}

#[test]
fn of_three_of_which_one_is_gone_the_other_two_are_one_that_votes_and_one_that_learns() {
    let (mut cluster, leader) = cluster(1, (3, 3, 0));
    let (gone, other) = ((leader + 1) % 3, (leader + 2) % 3);
    cluster.crash(gone);
    conform(&mut cluster, leader, &[leader], gone);
    assert!(cluster.replicas[leader].conforms > 0);
    for node in [leader, other] {
        assert_eq!(places(&cluster, node), ([leader as u128].into(), [other as u128].into()));
    }
    assert_eq!(cluster.place(other).replica, member(other).replica, "it is the replica that it was");
    cluster.propose(leader, "more");
    cluster.settle(Span::secs(1));
    assert_eq!(cluster.commands(other), ["more"], "it goes on learning");
    // Who is out has no say, whatever it remembers.
    cluster.restart(gone);
    cluster.settle(Span::secs(5));
    assert_eq!(cluster.leader(), Some(leader));
    assert_eq!(cluster.commands(gone).len(), 0, "and hears nothing");
}

#[test]
fn nothing_is_told_while_those_who_are_left_cannot_decide() {
    let (mut cluster, leader) = cluster(2, (3, 3, 0));
    let (gone, other) = ((leader + 1) % 3, (leader + 2) % 3);
    cluster.cut.extend([gone, other].iter().flat_map(|&away| [(leader, away), (away, leader)]));
    let input = Input::Conform {
        group: GROUP,
        voters: [member(leader).node].into(),
        out: [member(gone).node].into(),
    };
    for _ in 0..5 {
        cluster.tell(leader, input.clone());
        cluster.settle(Span::millis(20));
    }
    assert_eq!(cluster.replicas[leader].conforms, 0, "the old members have not agreed");
    cluster.cut.clear();
    cluster.settle(Span::secs(2));
    let leader = cluster.leader().expect("a leader");
    let gone = (leader + 1) % 3;
    conform(&mut cluster, leader, &[leader], gone);
    assert!(cluster.replicas[leader].conforms > 0);
}

#[test]
fn a_learner_takes_the_place_of_a_voter_that_is_out() {
    let (mut cluster, leader) = cluster(3, (6, 5, 1));
    for number in 0..3 {
        cluster.propose(leader, &format!("{number}"));
    }
    cluster.settle(Span::secs(1));
    let gone = (0..5).find(|&node| node != leader).expect("another");
    cluster.crash(gone);
    let voters: Vec<usize> = (0..6).filter(|&node| node != gone).collect();
    conform(&mut cluster, leader, &voters, gone);
    assert!(cluster.replicas[leader].conforms > 0);
    let (vote, learn) = places(&cluster, leader);
    assert_eq!((vote.len(), learn.len()), (5, 0));
    assert!(vote.contains(&5) && !vote.contains(&(gone as u128)));
}
