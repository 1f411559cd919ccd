//! A founder whose disk is rolled back while nothing can be decided without it (rule C3).

use alloc::vec;
use alloc::vec::Vec;

use super::harness::{Cluster, GROUP, member};
use super::rolled_back::{configuration, goes_on, the_others_go_on};
use crate::id::GroupId;
use crate::raft::{Input, RoleName};
use crate::time::Span;

/// A control group of three: the first votes, the others learn.
fn founder_and_learners(seed: u64) -> Cluster {
    let mut cluster = Cluster::new(seed, GroupId::CONTROL, 3, 1, 0);
    cluster.settle(Span::millis(500));
    let (voters, learners) = (vec![member(0)], vec![member(1), member(2)]);
    cluster.tell(0, Input::Change { group: GroupId::CONTROL, voters, learners, context: 1 });
    cluster.settle(Span::secs(1));
    cluster
}

fn between(a: usize, b: usize) -> [(usize, usize); 2] {
    [(a, b), (b, a)]
}

/// A founder that fell while a change was under way, and forgot it: one of the two that are to vote holds the joint configuration, the
/// other one is down. Neither can be elected without it.
fn forgotten_change(seed: u64) -> Cluster {
    let mut cluster = founder_and_learners(seed);
    let image = cluster.replicas[0].disk.clone();
    cluster.crash(2);
    // What the founder hears of the change would commit it.
    cluster.cut.insert((1, 0));
    let voters = (0..3).map(member).collect();
    cluster.tell(0, Input::Change { group: GroupId::CONTROL, voters, learners: vec![], context: 2 });
    cluster.settle(Span::secs(1));
    cluster.crash(0);
    cluster.replicas[0].disk = image;
    cluster.cut.clear();
    cluster.settle(Span::secs(1));
    assert!(configuration(&cluster, 1).is_joint());
    assert_eq!(cluster.leader(), None);
    cluster
}

#[test]
fn a_founder_that_forgot_a_change_under_way_has_it_back_from_those_about_to_vote() {
    let mut cluster = forgotten_change(31);
    cluster.restart(2);
    cluster.restart(0);
    goes_on(&mut cluster, 3);
    assert!(!configuration(&cluster, 0).voters.contains(&member(0)), "under a fresh replica id");
}

#[test]
fn a_founder_takes_its_log_back_from_the_learner_that_knows_most() {
    let mut cluster = founder_and_learners(32);
    let image = cluster.replicas[0].disk.clone();
    cluster.propose(0, "one");
    cluster.settle(Span::millis(500));
    cluster.cut.extend(between(0, 1));
    cluster.propose(0, "two");
    cluster.settle(Span::millis(500));
    assert_eq!((cluster.commands(1).len(), cluster.commands(2).len()), (1, 2));
    cluster.crash(0);
    cluster.replicas[0].disk = image;
    cluster.cut = between(0, 2).into();
    cluster.restart(0);
    cluster.settle(Span::secs(1));
    assert_eq!(cluster.role(0), Some(RoleName::Amnesic), "the other learner may know more");
    cluster.cut.clear();
    goes_on(&mut cluster, 1);
    assert_eq!(cluster.commands(0), ["one", "two", "the end"]);
}

#[test]
fn a_founder_takes_nothing_for_whole_before_all_learners_have_answered() {
    let mut cluster = founder_and_learners(33);
    let image = cluster.replicas[0].disk.clone();
    cluster.cut.extend(between(0, 1));
    cluster.propose(0, "one");
    cluster.settle(Span::millis(500));
    assert_eq!((cluster.commands(1).len(), cluster.commands(2).len()), (0, 1));
    cluster.crash(0);
    cluster.replicas[0].disk = image;
    cluster.cut = between(0, 2).into();
    cluster.restart(0);
    cluster.settle(Span::secs(1));
    assert_eq!(cluster.role(0), Some(RoleName::Verifying), "who answered knows of nothing");
    cluster.cut.clear();
    goes_on(&mut cluster, 1);
    assert_eq!(cluster.commands(0), ["one", "the end"]);
}

#[test]
fn a_founder_waits_for_a_silent_learner_only_so_long() {
    for rolled_back in [false, true] {
        let mut cluster = founder_and_learners(34);
        let image = cluster.replicas[0].disk.clone();
        cluster.propose(0, "one");
        cluster.settle(Span::millis(500));
        cluster.crash(0);
        cluster.crash(2);
        if rolled_back {
            cluster.replicas[0].disk = image;
        }
        cluster.restart(0);
        cluster.settle(Span::millis(1_500));
        assert_eq!(cluster.leader(), None, "rolled back: {rolled_back}");
        cluster.settle(Span::millis(1_000));
        assert_eq!(cluster.leader(), Some(0), "rolled back: {rolled_back}");
        cluster.restart(2);
        goes_on(&mut cluster, 1);
        assert_eq!(cluster.commands(0), ["one", "the end"]);
    }
}

/// Patience ends for who stays silent. Who comes back last may know more than whoever came back first.
#[test]
fn a_founder_that_copies_waits_anew_when_somebody_answers() {
    let mut cluster = founder_and_learners(36);
    let image = cluster.replicas[0].disk.clone();
    cluster.propose(0, "one");
    cluster.settle(Span::millis(500));
    cluster.cut.extend(between(0, 2));
    cluster.propose(0, "two");
    cluster.settle(Span::millis(500));
    assert_eq!((cluster.commands(1).len(), cluster.commands(2).len()), (2, 1));
    cluster.crash(0);
    cluster.replicas[0].disk = image;
    cluster.restart(0);
    while cluster.role(0) == Some(RoleName::Verifying) {
        cluster.settle(Span::millis(1));
    }
    cluster.network.clear();
    cluster.cut.extend(between(0, 1));
    cluster.settle(Span::secs(5));
    assert_eq!(cluster.role(0), Some(RoleName::Amnesic), "nobody was heard");
    cluster.cut = between(0, 1).into();
    cluster.settle(Span::secs(1));
    cluster.cut.clear();
    goes_on(&mut cluster, 1);
    assert_eq!(cluster.commands(0), ["one", "two", "the end"]);
}

/// Whoever is to vote in a change under way may have decided something together with the founder: their majority is waited for without limit.
#[test]
fn a_founder_that_forgot_a_change_under_way_hears_most_of_those_about_to_vote() {
    let mut cluster = forgotten_change(35);
    cluster.restart(0);
    cluster.settle(Span::secs(4));
    assert_eq!(cluster.role(0), Some(RoleName::Amnesic));
    assert!(configuration(&cluster, 0).is_joint(), "it has what the one it hears can give");
    cluster.restart(2);
    goes_on(&mut cluster, 3);
}

/// A founder that forgot everybody and has decided much since, in many terms of its own; and two others that have decided less without it, and hold
/// entries that they could not decide.
fn two_worlds(seed: u64) -> Cluster {
    let mut cluster = Cluster::new(seed, GroupId::CONTROL, 3, 1, 0);
    cluster.settle(Span::millis(500));
    let image = cluster.replicas[0].disk.clone();
    let voters = (0..3).map(member).collect();
    cluster.tell(0, Input::Change { group: GroupId::CONTROL, voters, learners: vec![], context: 1 });
    cluster.settle(Span::secs(2));
    the_others_go_on(&mut cluster, image);
    // What it does in a world of its own is nobody else's.
    let others = (core::mem::take(&mut cluster.agreed), core::mem::take(&mut cluster.leaders));
    cluster.cut = [between(0, 1), between(0, 2)].concat().into_iter().collect();
    for _ in 0..8 {
        cluster.crash(0);
        cluster.restart(0);
        cluster.settle(Span::millis(100));
        (0..5).for_each(|_| cluster.propose(0, "alone"));
        cluster.settle(Span::millis(100));
    }
    assert_eq!(cluster.role(0), Some(RoleName::Leader));
    assert_eq!(cluster.commands(0).len(), 40);
    (cluster.agreed, cluster.leaders) = others;
    let leader = (1..3).find(|&node| cluster.role(node) == Some(RoleName::Leader)).expect("two of three");
    cluster.cut.insert((3 - leader, leader));
    ["x", "y", "z"].iter().for_each(|text| cluster.propose(leader, text));
    cluster.settle(Span::millis(100));
    assert_eq!(cluster.commands(leader), ["one"]);
    cluster
}

/// Whoever of the others is elected, the founder hears of it first: it must not end each term before anything is decided in it. They start anew, so they
/// know of nothing that it is committed, and what they say at first proves nothing. Most of it may be lost, too.
#[test]
fn a_founder_that_decided_more_than_those_it_forgot_yields_to_them() {
    for (seed, lossy) in [(36, false), (37, false), (38, true), (39, true)] {
        let mut cluster = two_worlds(seed);
        [1, 2].iter().for_each(|&node| cluster.crash(node));
        cluster.cut.clear();
        [1, 2].iter().for_each(|&node| cluster.restart(node));
        for _ in 0..2_000 {
            cluster.cut.clear();
            if lossy && cluster.rng.below(3) > 0 {
                cluster.cut.extend([(1, 0), (2, 0)]);
            }
            cluster.settle(Span::millis(10));
        }
        cluster.cut.clear();
        assert_eq!(cluster.role(0), Some(RoleName::Stopped), "seed {seed}: what it decided alone is void");
        let leader = cluster.leader().expect("the others go on");
        cluster.propose(leader, "two");
        cluster.settle(Span::secs(1));
        for node in [1, 2] {
            assert_eq!(cluster.commands(node), ["one", "x", "y", "z", "two"], "seed {seed}, node {node}");
        }
    }
}

/// Nobody but the newcomer itself could say that it knows more than the others, and nobody knows whom to ask.
#[test]
fn a_newcomer_is_told_nothing_before_another_learner_can_name_it() {
    for returns in [true, false] {
        let mut cluster = Cluster::new(36, GroupId::CONTROL, 3, 1, 0);
        cluster.settle(Span::millis(500));
        let name = |cluster: &mut Cluster, learners| {
            let voters = vec![member(0)];
            cluster.tell(0, Input::Change { group: GroupId::CONTROL, voters, learners, context: 1 });
        };
        name(&mut cluster, vec![member(1)]);
        cluster.settle(Span::secs(1));
        let image = cluster.replicas[0].disk.clone();
        cluster.cut.extend(between(0, 1));
        name(&mut cluster, vec![member(1), member(2)]);
        cluster.propose(0, "one");
        cluster.settle(Span::millis(100));
        assert!(configuration(&cluster, 2).is_empty(), "the other learner does not know of it");
        if returns {
            cluster.cut.clear();
            cluster.settle(Span::millis(1_500));
            assert_eq!(configuration(&cluster, 1).learners, [member(1), member(2)]);
        } else {
            cluster.settle(Span::millis(2_500));
        }
        assert_eq!(cluster.commands(2), ["one"], "the other learner is back: {returns}");
        if returns {
            cluster.crash(0);
            cluster.replicas[0].disk = image;
            cluster.restart(0);
            goes_on(&mut cluster, 1);
            assert_eq!(cluster.commands(0), ["one", "the end"]);
        }
    }
}

/// Both started anew. Were the learner to enter a later term before it knows what its own disk forgot, that would hide it.
#[test]
fn who_is_not_verified_yet_answers_an_only_voter_once_it_is() {
    let mut cluster = Cluster::new(43, GROUP, 2, 1, 1);
    cluster.settle(Span::secs(1));
    let term = |cluster: &Cluster| cluster.replicas[1].groups.status(GROUP).expect("there").term;
    let before = term(&cluster);
    [0, 1].iter().for_each(|&node| cluster.crash(node));
    cluster.network.clear();
    [0, 1].iter().for_each(|&node| {
        cluster.restart(node);
        cluster.sync_all(node);
    });
    let questions = core::mem::take(&mut cluster.network);
    let (of_the_voter, of_the_learner): (Vec<_>, Vec<_>) =
        questions.into_iter().partition(|&(from, ..)| from == member(0).node);
    cluster.network = of_the_voter;
    (0..cluster.network.len()).for_each(|_| cluster.deliver(0));
    cluster.sync_all(1);
    assert!(cluster.network.is_empty(), "{:?}", cluster.network);
    assert_eq!(term(&cluster), before);
    cluster.network = of_the_learner;
    cluster.settle(Span::millis(60));
    assert!(term(&cluster) > before, "the former life is shut out");
    assert_eq!(cluster.role(0), Some(RoleName::Leader), "without another question");
    goes_on(&mut cluster, 1);
}

#[test]
fn a_question_that_comes_again_late_raises_no_term() {
    let mut cluster = Cluster::new(44, GROUP, 2, 1, 1);
    let mut questions = Vec::new();
    for _ in 0..3 {
        cluster.settle(Span::secs(1));
        cluster.crash(0);
        cluster.network.clear();
        cluster.restart(0);
        cluster.sync_all(0);
        questions.extend(cluster.network.clone());
    }
    cluster.settle(Span::secs(1));
    let term = |cluster: &Cluster| cluster.replicas[0].groups.status(GROUP).expect("there").term;
    let before = term(&cluster);
    cluster.network.extend(questions);
    cluster.settle(Span::secs(1));
    assert_eq!(term(&cluster), before);
    assert_eq!(cluster.role(0), Some(RoleName::Leader));
}
