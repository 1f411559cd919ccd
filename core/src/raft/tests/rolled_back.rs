//! Disks of members that come back older than they were (rules C2, C5).

use alloc::vec::Vec;

use super::harness::{Cluster, GROUP, member};
use crate::id::{GroupId, LogIndex, ReplicaId};
use crate::planted::Planted;
use crate::raft::{Append, Body, Config, Input, Message, Place, RoleName};
use crate::time::Span;

#[test]
fn who_was_the_only_voter_and_is_not_any_more_returns_as_one_of_several() {
    let mut cluster = Cluster::new(21, GROUP, 3, 1, 2);
    cluster.settle(Span::millis(500));
    cluster.propose(0, "one");
    cluster.settle(Span::millis(500));
    let image = cluster.replicas[0].disk.clone();
    cluster.change(&[0, 1, 2], &[]);
    cluster.settle(Span::secs(1));
    cluster.propose(0, "two");
    cluster.settle(Span::secs(1));
    cluster.take_back(0, image);
    cluster.goes_on(3);
    assert_eq!(cluster.commands(0), ["one", "two", "the end"]);
}

#[test]
fn a_leader_that_falls_before_it_has_committed_a_fresh_replica_id_leaves_nobody_outside() {
    let mut cluster = Cluster::new(22, GROUP, 3, 3, 0);
    cluster.settle(Span::secs(2));
    let leader = cluster.leader().expect("a leader");
    let (victim, other) = ((leader + 1) % 3, (leader + 2) % 3);
    let image = cluster.replicas[victim].disk.clone();
    cluster.propose(leader, "one");
    cluster.settle(Span::millis(500));
    cluster.cut.extend([(leader, other), (other, leader)]);
    cluster.take_back(victim, image);
    // The leader speaks to the fresh replica id and loses the entry that admits it.
    for _ in 0..20 {
        cluster.sync_all(victim);
        cluster.deliver_all();
    }
    let place = cluster.place(victim);
    assert_ne!(place.replica, member(victim).replica, "it took a fresh replica id");
    assert_eq!(place.role, RoleName::Learner, "it was admitted, as far as it knows");
    cluster.sync_all(victim);
    cluster.network.clear();
    cluster.crash(leader);
    cluster.cut.clear();
    cluster.restart(leader);
    assert!(cluster.configuration(leader).voters.contains(&member(victim)), "nobody else knows of it");
    cluster.goes_on(3);
}

#[test]
fn the_control_group_looks_for_a_member_that_forgot_everybody() {
    let mut cluster = Cluster::new(24, GroupId::CONTROL, 2, 1, 0);
    cluster.settle(Span::millis(500));
    let image = cluster.replicas[1].disk.clone();
    cluster.change(&[0], &[1]);
    cluster.propose(0, "one");
    cluster.settle(Span::secs(1));
    assert_eq!(cluster.commands(1), ["one"]);
    cluster.crash(1);
    cluster.settle(Span::secs(1));
    cluster.replicas[1].disk = image;
    cluster.start(1);
    cluster.settle(Span::secs(4));
    assert_eq!(cluster.commands(1), ["one"], "it shares no pair with anybody, so nobody heard of its start");
}

#[test]
fn a_member_that_forgot_everybody_a_second_time_is_admitted_again() {
    let mut cluster = Cluster::new(29, GroupId::CONTROL, 2, 1, 0);
    cluster.settle(Span::millis(500));
    let image = cluster.replicas[1].disk.clone();
    cluster.change(&[0], &[1]);
    for text in ["one", "two", "three"] {
        cluster.propose(0, text);
        cluster.settle(Span::secs(4));
        assert_eq!(cluster.commands(1), cluster.commands(0), "{text}");
        let learners = cluster.configuration(0).learners;
        assert_eq!(learners == [member(1)], text == "one", "{text}: a fresh replica id each time");
        cluster.take_back(1, image.clone());
    }
    cluster.goes_on(1);
}

#[test]
fn a_candidate_that_forgot_its_term_is_told_of_it() {
    let mut cluster = Cluster::new(28, GROUP, 3, 3, 0);
    cluster.settle(Span::secs(2));
    let leader = cluster.leader().expect("a leader");
    let (victim, other) = ((leader + 1) % 3, (leader + 2) % 3);
    let image = cluster.replicas[victim].disk.clone();
    let term = cluster.place(victim).term;
    // It asks for votes in the next term, is heard, and gets none.
    let last = Place::default();
    let message = Message {
        sender: member(victim).replica,
        addressee: None,
        term: term.next(),
        life: 0,
        era: 0,
        body: Body::Vote { pre: false, last },
    };
    for node in [leader, other] {
        let from = member(victim).node;
        cluster.tell(node, Input::Message { from, group: GROUP, message: message.clone().into() });
        cluster.sync_all(node);
    }
    cluster.network.clear();
    cluster.take_back(victim, image);
    cluster.goes_on(3);
    let voters = cluster.configuration(leader).voters;
    assert!(!voters.contains(&member(victim)), "it came back under a fresh replica id");
}

#[test]
fn a_disk_that_is_taken_back_to_where_it_waited_under_a_fresh_id_takes_another_one() {
    let mut cluster = Cluster::new(31, GROUP, 3, 3, 0);
    cluster.settle(Span::secs(2));
    let leader = cluster.leader().expect("a leader");
    let victim = (leader + 1) % 3;
    let image = cluster.replicas[victim].disk.clone();
    cluster.propose(leader, "one");
    cluster.settle(Span::millis(500));
    cluster.take_back(victim, image);
    while cluster.place(victim).replica == member(victim).replica {
        cluster.settle(Span::millis(10));
    }
    let (fresh, waiting) = (cluster.place(victim).replica, cluster.replicas[victim].disk.clone());
    let votes_as = |cluster: &Cluster, replica| {
        let leader = cluster.leader().expect("a leader");
        let node = member(victim).node;
        cluster.configuration(leader).voters.contains(&crate::configuration::Member { node, replica })
    };
    cluster.settle(Span::secs(2));
    assert!(votes_as(&cluster, fresh), "it was admitted, and has voted and answered since");
    cluster.take_back(victim, waiting);
    assert_ne!(cluster.place(victim).replica, fresh);
    cluster.goes_on(3);
    assert!(!votes_as(&cluster, fresh), "what it vouched for under that id is forgotten");
}

/// A leader cannot begin a change while another is under way; who asks again then may be somebody else.
#[test]
fn a_fresh_id_that_was_asked_for_in_vain_is_forgotten_with_the_disk_that_bore_it() {
    let mut cluster = Cluster::new(33, GROUP, 3, 3, 0);
    cluster.settle(Span::secs(2));
    let leader = cluster.leader().expect("a leader");
    let victim = (leader + 1) % 3;
    let image = cluster.replicas[victim].disk.clone();
    cluster.propose(leader, "one");
    cluster.settle(Span::millis(500));
    let voters = cluster.configuration(leader).voters;
    cluster.tell(leader, Input::Change { group: GROUP, voters, learners: Vec::new(), context: 1 });
    let message = Message {
        sender: ReplicaId(77),
        addressee: None,
        term: cluster.place(leader).term,
        life: 0,
        era: 0,
        body: Body::Renamed { old: member(victim).replica },
    };
    cluster.tell(leader, Input::Message { from: member(victim).node, group: GROUP, message: message.into() });
    cluster.take_back(victim, image);
    cluster.goes_on(3);
    let voters = cluster.configuration(leader).voters;
    assert!(voters.iter().all(|voter| voter.replica != ReplicaId(77)), "nobody bears that id any more");
}

/// Nobody who is there knows what a disk forgot, so its replica is elected, in a term in which nobody remembers it. Then one is back who does.
fn elected_with_less(planted: Planted) -> Cluster {
    let mut cluster = Cluster::with_bug(34, GROUP, (3, 3, 0), planted);
    cluster.settle(Span::secs(2));
    let leader = cluster.leader().expect("a leader");
    let (other, third) = ((leader + 1) % 3, (leader + 2) % 3);
    let image = cluster.replicas[leader].disk.clone();
    cluster.cut.extend([(leader, third), (third, leader), (other, third), (third, other)]);
    cluster.propose(leader, "one");
    cluster.settle(Span::secs(1));
    assert_eq!(cluster.commands(other), ["one"]);
    cluster.cut = [(leader, other), (other, leader), (other, third), (third, other)].into();
    cluster.take_back(leader, image);
    let elected = |cluster: &Cluster| cluster.role(leader) == Some(RoleName::Leader);
    for _ in 0..1_000 {
        if !elected(&cluster) {
            cluster.settle(Span::millis(10));
        }
    }
    assert!(elected(&cluster), "by those who do not know");
    // It falls before it has told anybody anything, and starts again with that term on its disk.
    cluster.network.clear();
    cluster.sync_all(leader);
    cluster.crash(leader);
    cluster.cut = [(leader, third), (third, leader)].into();
    cluster.restart(leader);
    cluster
}

#[test]
fn who_led_with_less_than_it_vouched_for_is_told_by_whoever_remembers() {
    let mut cluster = elected_with_less(Planted::none());
    cluster.settle(Span::secs(2));
    cluster.cut.clear();
    cluster.goes_on(3);
    assert_eq!(cluster.commands(0), ["one", "the end"]);
}

/// A node leads a term, is heard by another, and is brought back behind a longer log of an earlier term, of which only the beginning comes. Then it leads
/// again with that, and whoever heard it before remembers more of it than it began with.
fn set_back_and_elected(planted: Planted) -> (Cluster, usize) {
    let config = Config { message_entries: 1, ..Config::default() };
    let mut cluster = Cluster::with_config(36, GROUP, (3, 3, 0), planted, config);
    cluster.settle(Span::secs(2));
    let first = cluster.leader().expect("a leader");
    let others = [(first + 1) % 3, (first + 2) % 3];
    let alone = |node: usize| (0..3).flat_map(move |other| [(node, other), (other, node)]);
    let leads = |cluster: &Cluster, node: usize| cluster.role(node) == Some(RoleName::Leader);

    cluster.cut.extend(alone(first));
    cluster.propose(first, "one");
    cluster.sync_all(first);
    let earlier = cluster.place(first).last;
    while !others.iter().any(|&node| leads(&cluster, node)) {
        cluster.settle(Span::millis(1));
    }
    let [second, third] = if leads(&cluster, others[0]) { others } else { [others[1], others[0]] };
    cluster.cut.extend(alone(second));
    cluster.network.clear();
    cluster.propose(second, "two");
    cluster.propose(second, "three");
    cluster.sync_all(second);
    let vouched = cluster.place(second).last;
    assert_eq!(cluster.place(third).last.index.next(), earlier.index, "nothing of either came there");

    // One append comes that goes on behind those that are lost: it is refused, and what it vouches for is remembered.
    let append = Append {
        previous: vouched,
        commit: LogIndex(0),
        durable: vouched,
        entries: Vec::new().into(),
        number: 9,
        round: 0,
        copy: false,
        cut: false,
    };
    let term = cluster.place(second).term;
    cluster.hear(first, second, term, Body::Append(append));
    assert_eq!((cluster.place(first).term, cluster.place(first).last), (term, earlier));

    cluster.cut = alone(second).collect();
    while !leads(&cluster, first) {
        cluster.settle(Span::millis(1));
    }
    cluster.cut = alone(third).collect();
    cluster.network.clear();
    while cluster.place(second).last != earlier {
        cluster.settle(Span::millis(1));
    }
    assert!(earlier.rank() < vouched.rank());

    cluster.cut = alone(first).collect();
    cluster.network.clear();
    while !leads(&cluster, second) {
        cluster.settle(Span::millis(1));
    }
    cluster.settle(Span::secs(1));
    cluster.crash(first);
    cluster.restart(first);
    cluster.cut.clear();
    (cluster, second)
}

#[test]
fn a_log_that_was_rightly_set_back_is_no_disk_that_was_rolled_back() {
    let (mut cluster, elected) = set_back_and_elected(Planted::none());
    cluster.goes_on(3);
    assert_eq!(cluster.place(elected).replica, member(elected).replica);
    assert_eq!(cluster.commands(elected), ["one", "the end"]);
}

#[cfg(feature = "planted")]
#[test]
fn without_knowing_of_that_it_gives_up_its_id() {
    let (mut cluster, elected) = set_back_and_elected(Planted::only(crate::planted::Bug::SetBackUnnoticed));
    cluster.settle(Span::secs(2));
    assert_ne!(cluster.place(elected).replica, member(elected).replica);
}

#[cfg(feature = "planted")]
#[test]
fn without_that_what_it_forgot_is_lost() {
    use crate::planted::Bug;
    let mut cluster = elected_with_less(Planted::only(Bug::LedFromLessBelieved));
    cluster.settle(Span::secs(2));
    cluster.cut.clear();
    cluster.settle(Span::secs(8));
    let leader = cluster.leader();
    assert!(leader.is_none_or(|leader| cluster.commands(leader) != ["one"]), "decided by two of three");
}
