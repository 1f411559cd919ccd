//! Groups whose owner says who is out of them, and who votes.

use alloc::format;
use alloc::vec::Vec;

use super::harness::{Cluster, Disk, GROUP, member};
use crate::id::NodeId;
use crate::planted::Planted;
use crate::raft::{Config, Input, founding_replica};
use crate::time::Span;

fn cluster(seed: u64, size: (usize, usize, usize)) -> (Cluster, usize) {
    with_bug(seed, size, Planted::none())
}

fn with_bug(seed: u64, size: (usize, usize, usize), planted: Planted) -> (Cluster, usize) {
    let config = Config { of_streams: true, ..Config::default() };
    let mut cluster = Cluster::with_config(seed, GROUP, size, planted, config);
    cluster.settle(Span::secs(2));
    let leader = cluster.leader().expect("a leader");
    (cluster, leader)
}

/// The owner says it as often as it takes.
fn conform(cluster: &mut Cluster, leader: usize, voters: &[usize], out: usize) {
    conform_with(cluster, leader, voters, &[out], &[]);
}

/// The same, with some who came later.
fn conform_with(cluster: &mut Cluster, leader: usize, voters: &[usize], out: &[usize], learners: &[usize]) {
    let nodes =
        |places: &[usize]| -> Vec<NodeId> { places.iter().map(|&place| member(place).node).collect() };
    for _ in 0..20 {
        let input = Input::Conform {
            group: GROUP,
            voters: nodes(voters),
            out: nodes(out),
            learners: nodes(learners),
        };
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
        learners: [].into(),
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

#[test]
fn nobody_waits_for_a_learner_that_is_gone_too_and_it_votes_when_it_comes() {
    let (mut cluster, leader) = cluster(4, (7, 5, 2));
    let gone = (0..5).find(|&node| node != leader).expect("another");
    cluster.crash(gone);
    cluster.crash(5);
    let voters: Vec<usize> = (0..6).filter(|&node| node != gone).collect();
    conform(&mut cluster, leader, &voters, gone);
    assert!(cluster.replicas[leader].conforms > 0, "whoever is out is out");
    let (vote, learn) = places(&cluster, leader);
    assert_eq!((vote.len(), learn), (4, [5, 6].into()));
    cluster.restart(5);
    cluster.settle(Span::secs(5));
    let (vote, learn) = places(&cluster, leader);
    assert_eq!((vote.len(), learn), (5, [6].into()));
}

/// A member of three loses its disk while another is taken out. Who votes in the end.
fn returns_during_a_change(planted: Planted) -> (Vec<u128>, Vec<u128>) {
    let (mut cluster, leader) = with_bug(5, (3, 3, 0), planted);
    let (gone, other) = ((leader + 1) % 3, (leader + 2) % 3);
    let before = cluster.replicas[other].disk.clone();
    for number in 0..3 {
        cluster.propose(leader, &format!("{number}"));
    }
    cluster.settle(Span::secs(1));
    cluster.take_back(other, before);
    // It is admitted under its fresh id, and has not caught up.
    let learns = |cluster: &Cluster| !cluster.configuration(leader).learners.is_empty();
    for _ in 0..40 {
        if !learns(&cluster) {
            (0..3).for_each(|node| cluster.sync_all(node));
            cluster.deliver_all();
        }
    }
    assert!(learns(&cluster), "{:?}", cluster.place(other));
    cluster.cut.extend([(leader, other), (other, leader)]);
    conform(&mut cluster, leader, &[leader], gone);
    cluster.cut.clear();
    cluster.crash(gone);
    cluster.settle(Span::secs(5));
    assert_eq!(cluster.leader(), Some(leader));
    let (vote, mut learn) = places(&cluster, leader);
    learn.retain(|&node| node == other as u128);
    (vote, learn)
}

#[test]
fn who_returns_under_a_fresh_id_while_its_vote_is_taken_learns_from_then_on() {
    let (vote, learn) = returns_during_a_change(Planted::none());
    assert_eq!((vote.len(), learn.len()), (1, 1));
}

#[cfg(feature = "planted")]
#[test]
fn who_returns_under_a_fresh_id_and_votes_all_the_same_is_seen() {
    let planted = Planted::only(crate::planted::Bug::ReturnsAsVoter);
    assert_eq!(returns_during_a_change(planted).0.len(), 2);
}

/// Who came to vote alone forgets that, and the one that is out is not there. Whether it leads in the end.
fn forgets_that_it_votes_alone(planted: Planted) -> bool {
    let (mut cluster, leader) = with_bug(6, (3, 3, 0), planted);
    let before = cluster.replicas[leader].disk.clone();
    let (gone, other) = ((leader + 1) % 3, (leader + 2) % 3);
    cluster.propose(leader, "one");
    cluster.settle(Span::secs(1));
    conform(&mut cluster, leader, &[leader], gone);
    cluster.propose(leader, "two");
    cluster.settle(Span::secs(1));
    cluster.crash(gone);
    cluster.take_back(leader, before);
    cluster.settle(Span::secs(20));
    if cluster.leader().is_none() {
        return false;
    }
    cluster.propose(leader, "three");
    cluster.settle(Span::secs(1));
    assert_eq!(cluster.commands(other), ["one", "two", "three"]);
    assert_eq!(places(&cluster, leader), ([leader as u128].into(), [other as u128].into()));
    true
}

#[test]
fn who_forgets_that_it_votes_alone_is_told_so_and_copies_its_log_back() {
    assert!(forgets_that_it_votes_alone(Planted::none()));
}

#[cfg(feature = "planted")]
#[test]
fn an_id_that_is_needed_and_given_up_is_seen() {
    assert!(!forgets_that_it_votes_alone(Planted::only(crate::planted::Bug::NeededIdGivenUp)));
}

#[test]
fn a_node_that_comes_learns_under_a_fresh_id_and_both_who_learn_vote_at_one_time() {
    let (mut cluster, leader) = cluster(7, (3, 1, 1));
    assert_eq!(leader, 0);
    for number in 0..3 {
        cluster.propose(leader, &format!("{number}"));
    }
    cluster.settle(Span::secs(1));
    assert_eq!(cluster.commands(2).len(), 0, "it is no member, and hears nothing");
    conform_with(&mut cluster, leader, &[], &[], &[2]);
    let (vote, learn) = places(&cluster, leader);
    assert_eq!((vote, learn), ([0].into(), [1, 2].into()));
    assert_ne!(cluster.place(2).replica, founding_replica(member(2).node), "an id of its own");
    assert_eq!(cluster.commands(2), ["0", "1", "2"]);
    // The other one is away: nobody votes beside the one who decides.
    cluster.crash(1);
    cluster.propose(leader, "3");
    cluster.settle(Span::secs(1));
    conform_with(&mut cluster, leader, &[0, 1, 2], &[], &[2]);
    assert_eq!(places(&cluster, leader).0, [0]);
    assert!(cluster.replicas[leader].conforms > 0, "and nobody waits for that");
    cluster.restart(1);
    cluster.settle(Span::secs(5));
    conform_with(&mut cluster, leader, &[0, 1, 2], &[], &[2]);
    assert_eq!(places(&cluster, leader).0, [0, 1, 2]);
    cluster.crash(leader);
    cluster.settle(Span::secs(10));
    assert!(cluster.leader().is_some_and(|next| next != leader), "either of them can be missed");
}

/// Nobody but the newcomer itself could say that it knows more than the others, and nobody knows whom to ask.
#[test]
fn who_comes_to_a_source_that_votes_alone_is_told_nothing_before_the_other_target_can_name_it() {
    for returns in [true, false] {
        let (mut cluster, leader) = cluster(10, (3, 1, 1));
        cluster.propose(leader, "one");
        cluster.settle(Span::secs(1));
        let image = cluster.replicas[leader].disk.clone();
        cluster.crash(1);
        conform_with(&mut cluster, leader, &[], &[], &[2]);
        cluster.propose(leader, "two");
        cluster.settle(Span::secs(1));
        assert_eq!(cluster.commands(2).len(), 0, "the other one does not know of it, silent as it is");
        if returns {
            cluster.restart(1);
        } else {
            cluster.settle(Config::default().witness_patience);
        }
        conform_with(&mut cluster, leader, &[], &[], &[2]);
        assert_eq!(cluster.commands(2), ["one", "two"], "the other one is back: {returns}");
        if returns {
            cluster.propose(leader, "three");
            cluster.settle(Span::secs(1));
            cluster.take_back(leader, image);
            cluster.settle(Span::secs(10));
            assert_eq!(cluster.commands(leader), ["one", "two", "three"]);
        }
    }
}

#[test]
fn who_forgets_that_it_came_takes_another_id_and_is_brought_up_again() {
    let (mut cluster, leader) = cluster(8, (3, 1, 1));
    let nothing = cluster.replicas[2].disk.clone();
    cluster.propose(leader, "one");
    conform_with(&mut cluster, leader, &[0, 1, 2], &[], &[2]);
    assert_eq!(places(&cluster, leader).0, [0, 1, 2]);
    let before = cluster.place(2).replica;
    for disk in [nothing, Disk::default()] {
        cluster.propose(leader, "more");
        cluster.settle(Span::secs(1));
        cluster.take_back(2, disk);
        cluster.settle(Span::secs(10));
        assert_ne!(cluster.place(2).replica, before);
        assert_eq!(cluster.commands(2), cluster.commands(leader));
        conform_with(&mut cluster, leader, &[0, 1, 2], &[], &[2]);
        assert_eq!(places(&cluster, leader).0, [0, 1, 2], "and votes again");
    }
}

#[test]
fn who_comes_to_a_log_that_was_cut_is_sent_the_state() {
    let (mut cluster, leader) = cluster(9, (4, 3, 0));
    for number in 0..20 {
        cluster.propose(leader, &format!("{number}"));
    }
    cluster.settle(Span::secs(1));
    cluster.compact(leader, 2);
    let voters: Vec<usize> = (0..4).collect();
    conform_with(&mut cluster, leader, &voters, &[], &[3]);
    let (vote, learn) = places(&cluster, leader);
    assert_eq!((vote.len(), learn.len()), (4, 0));
    cluster.propose(leader, "behind");
    cluster.settle(Span::secs(1));
    assert_eq!(cluster.commands(3).last().map(|data| &data[..]), Some(&b"behind"[..]));
}

/// What the configuration is when one of two learners has caught up where one votes.
#[cfg(feature = "planted")]
#[test]
fn a_second_voter_beside_the_only_one_is_seen() {
    let planted = Planted::only(crate::planted::Bug::SecondVotesFirst);
    let (mut cluster, leader) = with_bug(7, (3, 1, 1), planted);
    conform_with(&mut cluster, leader, &[], &[], &[2]);
    cluster.crash(1);
    cluster.propose(leader, "one");
    cluster.settle(Span::secs(1));
    conform_with(&mut cluster, leader, &[0, 1, 2], &[], &[2]);
    assert_eq!(places(&cluster, leader).0.len(), 2);
}
