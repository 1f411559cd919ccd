//! A group in which nothing happens is silent, and each of the things that are to wake it does (see `idle`).

use alloc::vec::Vec;

use super::harness::{Cluster, GROUP, member};
use crate::configuration::Configuration;
use crate::id::{BootId, GroupId, LogIndex, NodeId};
use crate::raft::{Input, Output, RoleName};
use crate::time::Span;

/// Three voters and a learner, silent; the leader and another voter.
fn silent(seed: u64, group: GroupId) -> (Cluster, usize, usize) {
    let mut cluster = Cluster::new(seed, group, 4, 3, 1);
    cluster.settle(Span::secs(2));
    let leader = cluster.leader().expect("a leader");
    cluster.propose(leader, "one");
    cluster.settle(Span::secs(2));
    assert_silent(&mut cluster);
    (cluster, leader, (leader + 1) % 3)
}

fn assert_silent(cluster: &mut Cluster) {
    cluster.outputs = Some(Vec::new());
    for _ in 0..600 {
        cluster.settle(Span::millis(100));
    }
    assert!(cluster.network.is_empty());
    assert!(cluster.outputs.take().expect("told to").is_empty(), "nothing is sent, written or told");
    let waits =
        cluster.replicas.iter().filter(|replica| replica.up).map(|replica| replica.groups.next_deadline());
    assert!(waits.into_iter().all(|at| at.is_none()), "nobody waits for a moment");
}

fn followed(cluster: &Cluster, node: usize) -> Option<NodeId> {
    cluster.replicas[node].groups.status(cluster.group).expect("there").leader
}

fn is_to_stand(cluster: &Cluster, node: usize) -> bool {
    cluster.replicas[node].groups.next_deadline().is_some()
}

#[test]
fn a_group_in_which_nothing_happens_is_silent_for_as_long_as_that_lasts() {
    silent(100, GROUP);
    silent(101, GroupId::CONTROL);
}

#[test]
fn a_silent_group_has_an_idle_member_catch_up_that_was_away_and_is_silent_again() {
    let (mut cluster, leader, other) = silent(102, GROUP);
    cluster.crash(other);
    cluster.settle(Span::secs(1));
    assert_silent(&mut cluster);
    // Nobody waits for it, until there is something that it lacks.
    cluster.propose(leader, "two");
    cluster.settle(Span::secs(1));
    assert!(is_to_stand(&cluster, leader));
    cluster.restart(other);
    cluster.settle(Span::secs(2));
    assert_eq!(cluster.commands(other).len(), 2);
    assert_silent(&mut cluster);
}

#[test]
fn a_proposal_a_change_and_a_read_wake_it() {
    let (mut cluster, leader, other) = silent(103, GROUP);
    cluster.propose(leader, "two");
    cluster.settle(Span::millis(100));
    assert!((0..4).all(|node| cluster.commands(node).len() == 2), "the learner, too");
    cluster.settle(Span::secs(1));
    cluster.read(other, 7);
    cluster.settle(Span::millis(100));
    assert_eq!(cluster.replicas[other].read.len(), 1);
    let (voters, learners) = ((0..4).map(member).collect(), Vec::new());
    cluster.tell(leader, Input::Change { group: GROUP, voters, learners, context: 1 });
    cluster.settle(Span::secs(1));
    assert!((0..4).all(|node| cluster.configuration(node).voters.len() == 4));
    cluster.tell(leader, Input::Transfer { group: GROUP, to: member(other).node, context: 1 });
    cluster.settle(Span::secs(1));
    assert_eq!(cluster.leader(), Some(other));
    assert_silent(&mut cluster);
}

#[test]
fn the_suspicion_of_the_leaders_node_wakes_its_followers_and_of_a_quorum_its_leader() {
    let (mut cluster, leader, other) = silent(104, GROUP);
    let third = (leader + 2) % 3;
    cluster.tell(other, Input::PairSuspect { node: member(third).node });
    assert!(!is_to_stand(&cluster, other), "that one does not lead");
    cluster.tell(other, Input::PairSuspect { node: member(leader).node });
    assert!(is_to_stand(&cluster, other));
    cluster.tell(leader, Input::PairSuspect { node: member(other).node });
    assert!(!is_to_stand(&cluster, leader), "a quorum is left");
    cluster.tell(leader, Input::PairSuspect { node: member(third).node });
    assert!(is_to_stand(&cluster, leader));
    // All of that was wrong.
    for (node, of) in [(other, leader), (other, third), (leader, other), (leader, third)] {
        cluster.tell(node, Input::PairAlive { node: member(of).node });
    }
    let term = cluster.place(leader).term;
    cluster.settle(Span::secs(2));
    assert_eq!((cluster.leader(), cluster.place(leader).term), (Some(leader), term));
    assert_silent(&mut cluster);
}

#[test]
fn another_boot_of_the_leaders_node_wakes_its_followers_and_of_a_members_node_its_leader() {
    let (mut cluster, leader, other) = silent(105, GROUP);
    cluster.tell(other, Input::PeerBoot { node: member(leader).node, boot: BootId(99) });
    assert!(is_to_stand(&cluster, other));
    cluster.settle(Span::secs(2));
    assert_eq!((cluster.leader(), followed(&cluster, other)), (Some(leader), Some(member(leader).node)));
    assert_silent(&mut cluster);
    cluster.tell(leader, Input::PeerBoot { node: member(other).node, boot: BootId(99) });
    assert!(cluster.network.iter().any(|(_, to, _)| *to == member(other).node), "what is left there?");
    cluster.settle(Span::secs(1));
    assert_silent(&mut cluster);
}

#[test]
fn a_node_that_says_that_it_does_not_lead_wakes_its_followers() {
    let (mut cluster, leader, other) = silent(106, GROUP);
    let (node, term) = (member(leader).node, cluster.place(leader).term);
    cluster.tell(other, Input::Leads { node, groups: [(GROUP, term)].into() });
    assert!(!is_to_stand(&cluster, other));
    cluster.tell(other, Input::Leads { node: member((leader + 2) % 3).node, groups: Vec::new() });
    assert!(!is_to_stand(&cluster, other), "nobody took that one for its leader");
    cluster.tell(other, Input::Leads { node, groups: Vec::new() });
    assert!(is_to_stand(&cluster, other));
    cluster.outputs = Some(Vec::new());
    cluster.settle(Span::secs(2));
    let outputs = cluster.outputs.take().expect("told to");
    let compared = |(at, output): &(usize, Output)| {
        *at == other && matches!(output, Output::Follows { node: led } if *led == node)
    };
    assert!(outputs.iter().any(compared), "it wants to hear again what that node leads");
    assert_silent(&mut cluster);
}

#[test]
fn a_question_that_was_not_answered_wakes_a_follower_whose_leader_is_gone_unnoticed() {
    let (mut cluster, leader, other) = silent(107, GROUP);
    cluster.tell(other, Input::Unanswered { group: GROUP });
    assert!(is_to_stand(&cluster, other));
    cluster.settle(Span::secs(1));
    assert_eq!(cluster.leader(), Some(leader), "it leads, and says so");
    cluster.tell(3, Input::Unanswered { group: GROUP });
    cluster.tell(leader, Input::Unanswered { group: GROUP });
    assert_silent(&mut cluster);
    assert_eq!(cluster.role(3), Some(RoleName::Learner));
}

#[test]
fn a_start_wakes_the_one_that_starts_and_a_leader_that_had_heard_all_from_its_former_life() {
    let (mut cluster, leader, other) = silent(108, GROUP);
    // What it held was heard by all, and its disk was taken back since.
    let image = cluster.replicas[other].disk.clone();
    cluster.propose(leader, "two");
    cluster.settle(Span::secs(1));
    assert_silent(&mut cluster);
    cluster.take_back(other, image);
    assert!(is_to_stand(&cluster, other), "it asks what it vouched for");
    cluster.settle(Span::secs(4));
    assert_eq!(cluster.commands(other).len(), 2);
    assert_silent(&mut cluster);
}

#[test]
fn a_learner_that_is_behind_keeps_a_leader_awake_until_it_is_not() {
    let (mut cluster, leader, _) = silent(109, GROUP);
    cluster.cut.extend([(leader, 3), (3, leader)]);
    cluster.propose(leader, "two");
    cluster.settle(Span::secs(1));
    assert!(is_to_stand(&cluster, leader), "what it lacks is sent again");
    cluster.cut.clear();
    cluster.settle(Span::secs(2));
    assert_eq!(cluster.commands(3).len(), 2);
    assert_silent(&mut cluster);
    let learners = Configuration::simple((0..3).map(member).collect(), [member(3)].into());
    assert_eq!(cluster.configuration(leader), learners);
    assert!(cluster.place(leader).commit > LogIndex(2));
}

#[test]
fn a_learner_that_doubts_its_leader_stands_once_it_hears_that_it_votes() {
    let (mut cluster, leader, _) = silent(110, GROUP);
    cluster.tell(
        leader,
        Input::Change {
            group: GROUP,
            voters: (0..4).map(member).collect(),
            learners: Vec::new(),
            context: 1,
        },
    );
    // The leader's node falls silent, and this is the last that comes from there.
    cluster.tell(3, Input::PairSuspect { node: member(leader).node });
    assert!(!is_to_stand(&cluster, 3));
    cluster.deliver_all();
    assert!(cluster.configuration(3).votes(member(3)));
    assert!(is_to_stand(&cluster, 3));
}
