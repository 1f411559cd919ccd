//! What is late of a former life: messages and answers that come once their sender or addressee has started anew (rules C2, E3).

use super::harness::{Cluster, GROUP, member};
use crate::id::{BootId, NodeId};
use crate::raft::{Body, Input, Message, Place, RoleName};
use crate::time::Span;

#[test]
fn an_answer_to_a_former_life_does_not_raise_the_term_while_marks_are_awaited() {
    for vote in [false, true] {
        let mut cluster = Cluster::new(29, GROUP, 3, 3, 0);
        cluster.settle(Span::secs(2));
        let victim = cluster.leader().expect("a leader");
        let image = cluster.replicas[victim].disk.clone();
        cluster.propose(victim, "one");
        cluster.settle(Span::secs(1));
        cluster.crash(victim);
        cluster.replicas[victim].disk = image;
        cluster.start(victim);
        cluster.network.clear();
        let term = cluster.place(victim).term;
        let last = Place::default();
        let body = if vote {
            Body::VoteReply { pre: false, granted: false, last }
        } else {
            Body::AppendReply {
                number: 0,
                matched: false,
                place: last,
                more: false,
                waiting: false,
                round: 0,
                fed: false,
            }
        };
        cluster.hear(victim, (victim + 1) % 3, term.next().next(), body);
        let place = cluster.place(victim);
        assert_eq!((place.role, place.term), (RoleName::Verifying, term));
        cluster.goes_on(3);
        assert!(!cluster.configuration(victim).voters.contains(&member(victim)), "it was recognised");
    }
}

#[test]
fn an_answer_to_an_earlier_start_does_not_count() {
    let mut cluster = Cluster::new(34, GROUP, 2, 1, 1);
    cluster.settle(Span::millis(500));
    cluster.crash(0);
    cluster.network.clear();
    cluster.start(0);
    cluster.sync_all(0);
    cluster.deliver(0);
    cluster.sync_all(1);
    let answers = core::mem::take(&mut cluster.network);
    assert!(matches!(answers[..], [(_, _, Message { body: Body::Recall { question: false, .. }, .. })]));
    cluster.crash(0);
    cluster.start(0);
    cluster.sync_all(0);
    let questions = core::mem::replace(&mut cluster.network, answers);
    cluster.deliver(0);
    assert_eq!(cluster.role(0), Some(RoleName::Verifying));
    cluster.network = questions;
    cluster.deliver(0);
    cluster.sync_all(1);
    cluster.deliver(0);
    assert_ne!(cluster.role(0), Some(RoleName::Verifying), "this start was answered");
}

#[test]
fn who_waits_for_an_answer_asks_less_and_less_often() {
    let mut cluster = Cluster::new(35, GROUP, 2, 1, 1);
    cluster.settle(Span::millis(500));
    cluster.crash(1);
    cluster.crash(0);
    cluster.start(0);
    let asked = |cluster: &mut Cluster, span: Span| {
        let end = cluster.now + span;
        let mut asked = 0;
        while cluster.now < end {
            cluster.now += Span::millis(10);
            cluster.deadline(0);
            cluster.sync_all(0);
            asked += core::mem::take(&mut cluster.network).len();
        }
        asked
    };
    assert_eq!(asked(&mut cluster, Span::millis(10)), 1);
    let count = asked(&mut cluster, Span::secs(10));
    assert!((10..=13).contains(&count), "{count} questions in ten seconds");
    let node = member(1).node;
    for input in [Input::PeerBoot { node, boot: BootId(9) }, Input::PairAlive { node }] {
        cluster.tell(0, input);
        let count = asked(&mut cluster, Span::millis(700));
        assert_eq!(count, 3, "at once, and as often as at the start");
    }
}

#[test]
fn a_late_append_does_not_make_anybody_believe_in_a_leader_that_forgot() {
    for seed in 0..20 {
        let mut cluster = Cluster::new(seed, GROUP, 3, 3, 0);
        cluster.settle(Span::secs(2));
        let leader = cluster.leader().expect("a leader");
        let misled = (leader + 1) % 3;
        let image = cluster.replicas[leader].disk.clone();
        cluster.propose(leader, "one");
        cluster.sync_all(leader);
        let of_pair = |(from, to, _): &&(NodeId, NodeId, Message)| {
            (*from, *to) == (member(leader).node, member(misled).node)
        };
        let late = cluster.network.iter().rfind(of_pair).expect("an append").clone();
        cluster.settle(Span::secs(1));
        // The leader starts anew on an older disk. What it said in its former life comes once everybody has heard of the new one.
        cluster.take_back(leader, image);
        cluster.settle(Span::millis(30));
        cluster.network.push(late);
        cluster.settle(Span::secs(5));
        let now = cluster.leader();
        assert!(now.is_some_and(|now| now != leader), "seed {seed}: the two others elect one of them");
    }
}

/// All hear what they wait for, and nothing else happens.
fn be_verified(cluster: &mut Cluster) {
    while (0..2).any(|node| cluster.role(node) == Some(RoleName::Verifying)) {
        (0..2).for_each(|node| cluster.sync_all(node));
        cluster.deliver_all();
    }
}

#[test]
fn what_an_only_voter_sent_in_its_former_life_does_not_come_in_behind_the_answer_to_its_new_one() {
    for restarts in [false, true] {
        let mut cluster = Cluster::new(41, GROUP, 2, 1, 1);
        cluster.settle(Span::secs(1));
        let image = cluster.replicas[0].disk.clone();
        let held = cluster.replicas[0].groups.status(GROUP).expect("there").last.index;
        cluster.propose(0, "one");
        cluster.sync_all(0);
        // It decided that alone; the word of it is under way for long.
        let late = core::mem::take(&mut cluster.network);
        assert!(
            late.iter()
                .any(|(.., message)| message.append().is_some_and(|append| !append.entries.is_empty()))
        );
        cluster.agreed.retain(|(_, index), _| *index <= held);
        cluster.take_back(0, image);
        be_verified(&mut cluster);
        if restarts {
            cluster.crash(1);
            cluster.restart(1);
            be_verified(&mut cluster);
        }
        let present = core::mem::replace(&mut cluster.network, late);
        cluster.deliver_all();
        cluster.sync_all(1);
        cluster.network.extend(present);
        cluster.settle(Span::secs(1));
        assert_eq!(cluster.role(1), Some(RoleName::Learner), "nothing contradicts what it holds");
        cluster.goes_on(1);
        assert_eq!(cluster.commands(1), ["the end"]);
    }
}

/// A question that comes after that of a later life leaves the later one unheard, until it asks again.
#[test]
fn an_only_voter_that_is_taken_for_its_former_life_asks_again() {
    let mut cluster = Cluster::new(46, GROUP, 2, 1, 1);
    cluster.settle(Span::secs(1));
    cluster.crash(0);
    cluster.network.clear();
    cluster.start(0);
    cluster.sync_all(0);
    let late = core::mem::take(&mut cluster.network);
    assert!(!late.is_empty());
    cluster.crash(0);
    cluster.restart(0);
    cluster.settle(Span::secs(1));
    cluster.network.extend(late);
    cluster.settle(Span::millis(100));
    cluster.goes_on(1);
}

/// Once others vote, a start is verified without the word of all; who has not heard of it must not be deaf to it for ever.
#[test]
fn who_heard_an_only_voter_hears_its_next_life_beside_other_voters() {
    let mut cluster = Cluster::new(48, GROUP, 4, 1, 3);
    cluster.settle(Span::secs(1));
    cluster.crash(0);
    cluster.restart(0);
    cluster.settle(Span::secs(1));
    cluster.change(&[0, 1, 2], &[3]);
    cluster.settle(Span::secs(1));
    cluster.cut.extend([(0, 3), (3, 0)]);
    cluster.crash(0);
    cluster.restart(0);
    cluster.settle(Span::secs(2));
    while cluster.leader() != Some(0) {
        let leader = cluster.leader();
        leader.into_iter().for_each(|leader| cluster.crash(leader));
        cluster.settle(Span::secs(2));
        leader.into_iter().for_each(|leader| cluster.restart(leader));
        cluster.settle(Span::millis(200));
    }
    cluster.cut.clear();
    cluster.propose(0, "one");
    cluster.settle(Span::secs(3));
    assert_eq!((cluster.leader(), cluster.commands(3)), (Some(0), cluster.commands(0)));
}
