//! Disks that come back older than they were, where more than one thing goes wrong (rules C2, C3, C5).

use alloc::vec;

use bytes::Bytes;

use super::harness::{Cluster, Disk, GROUP, member};
use crate::configuration::Configuration;
use crate::id::{BootId, GroupId, LogIndex, NodeId, Term};
use crate::raft::{Append, Body, Config, Entry, EntryKind, Input, Message, Place, RoleName};
use crate::time::Span;

pub(super) fn configuration(cluster: &Cluster, node: usize) -> Configuration {
    cluster.replicas[node].groups.status(cluster.group).expect("there").configuration
}

/// Everybody holds what everybody else holds, and the group still commits.
pub(super) fn goes_on(cluster: &mut Cluster, voters: usize) {
    cluster.settle(Span::secs(8));
    let leader = cluster.leader().expect("a leader");
    cluster.propose(leader, "the end");
    cluster.settle(Span::secs(2));
    let commands = cluster.commands(leader);
    assert_eq!(commands.last().map(|command| &command[..]), Some(&b"the end"[..]));
    for node in 0..cluster.replicas.len() {
        assert_eq!(cluster.commands(node), commands, "node {node}");
    }
    let configuration = configuration(cluster, leader);
    assert_eq!((configuration.voters.len(), configuration.is_joint()), (voters, false));
}

#[test]
fn who_was_the_only_voter_and_is_not_any_more_returns_as_one_of_several() {
    let mut cluster = Cluster::new(21, GROUP, 3, 1, 2);
    cluster.settle(Span::millis(500));
    cluster.propose(0, "one");
    cluster.settle(Span::millis(500));
    let image = cluster.replicas[0].disk.clone();
    let voters = (0..3).map(member).collect();
    cluster.tell(0, Input::Change { group: GROUP, voters, learners: vec![], context: 1 });
    cluster.settle(Span::secs(1));
    cluster.propose(0, "two");
    cluster.settle(Span::secs(1));
    cluster.crash(0);
    cluster.replicas[0].disk = image;
    cluster.restart(0);
    goes_on(&mut cluster, 3);
    assert_eq!(cluster.commands(0), ["one", "two", "the end"]);
}

#[test]
fn a_replica_that_holds_nothing_votes_for_nobody() {
    let mut cluster = Cluster::new(24, GROUP, 4, 3, 0);
    cluster.settle(Span::secs(2));
    cluster.network.clear();
    let last = Place { index: LogIndex(9), term: Term(8), ..Place::default() };
    for pre in [true, false] {
        let (sender, addressee) = (member(0).replica, Some(member(3).replica));
        let message = Message { sender, addressee, term: Term(9), body: Body::Vote { pre, last } };
        cluster.tell(3, Input::Message { from: member(0).node, group: GROUP, message });
    }
    cluster.sync_all(3);
    let place = cluster.replicas[3].groups.places().next().expect("there");
    assert_eq!(
        (place.term, place.vote),
        (Term(0), None),
        "it may have voted before its disk was rolled back"
    );
    assert!(cluster.network.is_empty(), "it says nothing");
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
    cluster.crash(victim);
    cluster.replicas[victim].disk = image;
    cluster.restart(victim);
    // The leader speaks to the fresh replica id and loses the entry that admits it.
    for _ in 0..20 {
        cluster.sync_all(victim);
        for _ in 0..cluster.network.len() {
            cluster.deliver(0);
        }
    }
    let place = cluster.replicas[victim].groups.places().next().expect("there");
    assert_ne!(place.replica, member(victim).replica, "it took a fresh replica id");
    assert_eq!(place.role, RoleName::Learner, "it was admitted, as far as it knows");
    cluster.sync_all(victim);
    cluster.network.clear();
    cluster.crash(leader);
    cluster.cut.clear();
    cluster.restart(leader);
    assert!(configuration(&cluster, leader).voters.contains(&member(victim)), "nobody else knows of it");
    goes_on(&mut cluster, 3);
}

#[test]
fn a_learner_that_missed_the_fresh_replica_id_of_the_only_voter_can_still_answer() {
    let mut cluster = Cluster::new(23, GROUP, 2, 1, 1);
    cluster.settle(Span::millis(500));
    let image = cluster.replicas[0].disk.clone();
    cluster.propose(0, "one");
    cluster.settle(Span::millis(500));
    cluster.crash(0);
    cluster.replicas[0].disk = image;
    cluster.restart(0);
    // The learner hears of the fresh replica id, and crashes before that is on its disk.
    while configuration(&cluster, 1).voters == [member(0)] {
        cluster.sync_all(1);
        cluster.now += Span::millis(10);
        cluster.deadline(0);
        cluster.sync_all(0);
        for _ in 0..cluster.network.len() {
            cluster.deliver(0);
        }
    }
    cluster.network.clear();
    cluster.crash(1);
    cluster.propose(0, "two");
    cluster.settle(Span::millis(300));
    cluster.restart(1);
    assert_eq!(configuration(&cluster, 1).voters, [member(0)], "it knows the old replica id only");
    cluster.crash(0);
    cluster.restart(0);
    goes_on(&mut cluster, 1);
    assert_eq!(cluster.commands(1), ["one", "two", "the end"]);
}

#[test]
fn the_control_group_looks_for_a_member_that_forgot_everybody() {
    let mut cluster = Cluster::new(24, GroupId::CONTROL, 2, 1, 0);
    cluster.settle(Span::millis(500));
    let image = cluster.replicas[1].disk.clone();
    let (voters, learners) = (vec![member(0)], vec![member(1)]);
    cluster.tell(0, Input::Change { group: GroupId::CONTROL, voters, learners, context: 1 });
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
    let (voters, learners) = (vec![member(0)], vec![member(1)]);
    cluster.tell(0, Input::Change { group: GroupId::CONTROL, voters, learners, context: 1 });
    for text in ["one", "two", "three"] {
        cluster.propose(0, text);
        cluster.settle(Span::secs(4));
        assert_eq!(cluster.commands(1), cluster.commands(0), "{text}");
        let learners = configuration(&cluster, 0).learners;
        assert_eq!(learners == [member(1)], text == "one", "{text}: a fresh replica id each time");
        cluster.crash(1);
        cluster.replicas[1].disk = image.clone();
        cluster.restart(1);
    }
    goes_on(&mut cluster, 1);
}

#[test]
fn an_only_voter_that_is_ahead_of_its_learner_keeps_what_it_has() {
    let mut cluster = Cluster::new(25, GROUP, 2, 1, 1);
    cluster.settle(Span::millis(500));
    cluster.propose(0, "one");
    cluster.settle(Span::millis(500));
    cluster.cut.insert((0, 1));
    cluster.propose(0, "two");
    cluster.settle(Span::millis(300));
    let image = cluster.replicas[0].disk.clone();
    cluster.crash(0);
    cluster.network.clear();
    cluster.cut.clear();
    cluster.restart(0);
    // The learner hears of the next term, and not of what it lacks.
    let learner = |cluster: &Cluster| cluster.replicas[1].groups.status(GROUP).expect("there");
    let term = learner(&cluster).term;
    while learner(&cluster).term == term || learner(&cluster).leader.is_none() {
        cluster.now += Span::millis(10);
        for node in [0, 1] {
            cluster.deadline(node);
            cluster.sync_all(node);
        }
        for _ in 0..cluster.network.len() {
            cluster.deliver(0);
        }
    }
    cluster.sync_all(1);
    cluster.network.clear();
    cluster.crash(0);
    cluster.replicas[0].disk = image;
    assert_eq!(cluster.commands(1), ["one"]);
    let upto = cluster.replicas[1].applied.last().expect("applied").index;
    // The entry with which that term began was known to the lost disk alone.
    cluster.agreed.retain(|index, _| *index <= upto.next());
    cluster.tell(1, Input::Compact { group: GROUP, upto });
    cluster.restart(0);
    cluster.settle(Span::millis(10));
    assert_eq!(cluster.role(0), Some(RoleName::Verifying));
    goes_on(&mut cluster, 1);
    assert_eq!(cluster.commands(1), ["one", "two", "the end"]);
    assert_ne!(configuration(&cluster, 0).voters, [member(0)], "it was amnesic");
}

#[test]
fn a_learner_that_was_given_the_state_alone_remembers_who_gave_it() {
    let mut cluster = Cluster::new(26, GROUP, 2, 1, 1);
    cluster.settle(Span::millis(500));
    let image = cluster.replicas[0].disk.clone();
    cluster.crash(1);
    for text in ["one", "two"] {
        cluster.propose(0, text);
        cluster.settle(Span::millis(100));
    }
    let upto = cluster.replicas[0].applied.last().expect("applied").index;
    cluster.tell(0, Input::Compact { group: GROUP, upto });
    cluster.sync_all(0);
    cluster.restart(1);
    while cluster.commands(1).len() < 2 {
        cluster.settle(Span::millis(1));
    }
    // No append follows the snapshot: the disk of the only voter is lost, and with it everything that the learner does not hold.
    cluster.crash(0);
    cluster.sync_all(1);
    cluster.network.clear();
    cluster.replicas[0].disk = image;
    cluster.restart(0);
    goes_on(&mut cluster, 1);
    assert_eq!(cluster.commands(1), ["one", "two", "the end"]);
    assert_ne!(configuration(&cluster, 0).voters, [member(0)], "it was amnesic");
}

/// One of three decides something more with the others and falls. They go on, and its disk is taken back.
pub(super) fn the_others_go_on(cluster: &mut Cluster, image: Disk) {
    cluster.propose(0, "one");
    cluster.settle(Span::secs(1));
    cluster.crash(0);
    cluster.replicas[0].disk = image;
    cluster.settle(Span::secs(2));
    assert!(matches!(cluster.leader(), Some(1 | 2)));
}

/// A founder whose disk forgot that others vote waits for its learners, and not for ever (rule C3). Then it leads, and commits what nobody else
/// has. When it hears the others' leader it must neither end their terms for ever nor stop them.
#[test]
fn a_founder_that_forgot_the_other_voters_stops_alone() {
    let mut cluster = Cluster::new(26, GroupId::CONTROL, 3, 1, 0);
    cluster.settle(Span::millis(500));
    let (voters, learners) = (vec![member(0)], vec![member(1), member(2)]);
    cluster.tell(0, Input::Change { group: GroupId::CONTROL, voters, learners, context: 1 });
    cluster.settle(Span::secs(1));
    let image = cluster.replicas[0].disk.clone();
    let voters = (0..3).map(member).collect();
    cluster.tell(0, Input::Change { group: GroupId::CONTROL, voters, learners: vec![], context: 2 });
    cluster.settle(Span::secs(1));
    the_others_go_on(&mut cluster, image);
    // What it does in a world of its own is nobody else's.
    let (agreed, leaders) = (core::mem::take(&mut cluster.agreed), core::mem::take(&mut cluster.leaders));
    cluster.cut.extend([(0, 1), (1, 0), (0, 2), (2, 0)]);
    cluster.restart(0);
    cluster.settle(Span::secs(3));
    cluster.propose(0, "delusion");
    cluster.settle(Span::millis(50));
    assert_eq!(cluster.commands(0), ["delusion"]);
    (cluster.agreed, cluster.leaders) = (agreed, leaders);
    cluster.cut.retain(|&(from, _)| from == 0);
    cluster.settle(Span::secs(2));
    assert_eq!(cluster.role(0), Some(RoleName::Amnesic), "somebody else leads");
    cluster.cut.clear();
    cluster.settle(Span::secs(4));
    assert_eq!(cluster.role(0), Some(RoleName::Stopped));
    let leader = cluster.leader().expect("the others go on");
    cluster.propose(leader, "two");
    cluster.settle(Span::secs(1));
    for node in [1, 2] {
        assert_eq!(cluster.commands(node), ["one", "two"]);
    }
    cluster.crash(0);
    cluster.restart(0);
    cluster.settle(Span::secs(2));
    assert_eq!(cluster.role(0), Some(RoleName::Stopped));
    assert!(!cluster.replicas[1].stopped && !cluster.replicas[2].stopped, "it keeps its stop to itself");
}

#[test]
fn an_only_voter_vouches_for_what_it_sends() {
    let mut cluster = Cluster::new(27, GROUP, 2, 1, 1);
    cluster.settle(Span::millis(500));
    let image = cluster.replicas[0].disk.clone();
    cluster.propose(0, "one");
    cluster.sync_all(0);
    cluster.deliver(0);
    // All that the learner ever heard of the entry is the one append that brought it.
    cluster.sync_all(1);
    cluster.network.clear();
    cluster.crash(0);
    cluster.replicas[0].disk = image;
    cluster.restart(0);
    goes_on(&mut cluster, 1);
    assert_eq!(cluster.commands(0), ["one", "the end"]);
    assert_ne!(configuration(&cluster, 0).voters, [member(0)], "it was told of its old disk");
}

#[test]
fn a_candidate_that_forgot_its_term_is_told_of_it() {
    let mut cluster = Cluster::new(28, GROUP, 3, 3, 0);
    cluster.settle(Span::secs(2));
    let leader = cluster.leader().expect("a leader");
    let (victim, other) = ((leader + 1) % 3, (leader + 2) % 3);
    let image = cluster.replicas[victim].disk.clone();
    let term = cluster.replicas[victim].groups.places().next().expect("there").term;
    // It asks for votes in the next term, is heard, and gets none.
    let last = Place::default();
    let message = Message {
        sender: member(victim).replica,
        addressee: None,
        term: term.next(),
        body: Body::Vote { pre: false, last },
    };
    for node in [leader, other] {
        let from = member(victim).node;
        cluster.tell(node, Input::Message { from, group: GROUP, message: message.clone() });
        cluster.sync_all(node);
    }
    cluster.network.clear();
    cluster.crash(victim);
    cluster.replicas[victim].disk = image;
    cluster.restart(victim);
    goes_on(&mut cluster, 3);
    let voters = configuration(&cluster, leader).voters;
    assert!(!voters.contains(&member(victim)), "it came back under a fresh replica id");
}

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
        let term = cluster.replicas[victim].groups.places().next().expect("there").term;
        let last = Place::default();
        let body = if vote {
            Body::VoteReply { pre: false, granted: false, last }
        } else {
            Body::AppendReply { number: 0, matched: false, place: last, more: false, waiting: false }
        };
        let from = member((victim + 1) % 3);
        let message = Message {
            sender: from.replica,
            addressee: Some(member(victim).replica),
            term: term.next().next(),
            body,
        };
        cluster.tell(victim, Input::Message { from: from.node, group: GROUP, message });
        let place = cluster.replicas[victim].groups.places().next().expect("there");
        assert_eq!((place.role, place.term), (RoleName::Verifying, term));
        goes_on(&mut cluster, 3);
        assert!(!configuration(&cluster, victim).voters.contains(&member(victim)), "it was recognised");
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

/// Each answer to a question that was asked twice must not lead to a question of its own: a network that doubles messages, or a path slower
/// than the asking again, would make thousands of them.
#[test]
fn a_log_of_many_pieces_is_copied_in_one_conversation_though_every_message_comes_twice() {
    let mut cluster = Cluster::new(28, GROUP, 2, 1, 1);
    cluster.settle(Span::millis(500));
    let image = cluster.replicas[0].disk.clone();
    // Nine entries fill a message.
    let text = "x".repeat(Config::default().message_bytes / 10);
    for _ in 0..60 {
        cluster.propose(0, &text);
        cluster.settle(Span::millis(20));
    }
    cluster.crash(0);
    cluster.replicas[0].disk = image;
    cluster.restart(0);
    let mut asked = 0;
    while !matches!(cluster.role(0), Some(RoleName::Leader)) {
        cluster.now += Span::millis(10);
        cluster.deadline(0);
        cluster.sync_all(0);
        cluster.sync_all(1);
        asked +=
            cluster.network.iter().filter(|(.., message)| matches!(message.body, Body::Copy { .. })).count();
        let twins = cluster.network.clone();
        cluster.network.extend(twins);
        for _ in 0..cluster.network.len() {
            cluster.deliver(0);
        }
    }
    assert!((6..=12).contains(&asked), "asked {asked} times");
    goes_on(&mut cluster, 1);
    assert_eq!(cluster.commands(0).len(), 61);
}

/// The only voter of three, with its disk taken back, has asked both others for their logs. What it asked them with comes back, too.
fn copying() -> (Cluster, Place) {
    let mut cluster = Cluster::new(31, GROUP, 3, 1, 2);
    cluster.settle(Span::secs(1));
    let image = cluster.replicas[0].disk.clone();
    cluster.propose(0, "lost");
    cluster.settle(Span::millis(500));
    cluster.crash(0);
    cluster.replicas[0].disk = image;
    cluster.start(0);
    cluster.sync_all(0);
    for _ in 0..cluster.network.len() {
        cluster.deliver(0);
    }
    cluster.sync_all(1);
    cluster.sync_all(2);
    let asked = |cluster: &Cluster| {
        cluster.network.iter().find_map(|(.., message)| match message.body {
            Body::Copy { last } => Some(last),
            _ => None,
        })
    };
    for _ in 0..4 {
        if let Some(last) = asked(&cluster) {
            cluster.network.clear();
            // The others will answer as if something else had been agreed on behind this.
            cluster.agreed.retain(|index, _| *index <= last.index);
            return (cluster, last);
        }
        cluster.deliver(0);
        for node in 0..cluster.replicas.len() {
            cluster.sync_all(node);
        }
    }
    panic!("it asks for nothing");
}

/// A member's answer: blank entries of one term, the first of them committed or not.
fn answers(
    cluster: &mut Cluster,
    node: usize,
    last: Place,
    term: u64,
    entries: u64,
    committed: u64,
    cut: bool,
) {
    let blank = |ahead| Entry {
        index: LogIndex(last.index.0 + ahead),
        term: Term(term),
        kind: EntryKind::Blank,
        data: bytes::Bytes::new(),
        weight: 0,
    };
    let held: vec::Vec<Entry> = (1..=entries).map(blank).collect();
    let durable = held.iter().fold(last, |place, entry| place.then(entry));
    let passes = if cut { 1 } else { held.len() };
    let commit = LogIndex(last.index.0 + committed);
    let entries = held[..passes].to_vec();
    let body = Append { previous: last, commit, durable, entries, number: 0, copy: true, cut };
    let message = Message {
        sender: member(node).replica,
        addressee: Some(member(0).replica),
        term: Term(term),
        body: Body::Append(body),
    };
    cluster.tell(0, Input::Message { from: member(node).node, group: GROUP, message });
    cluster.sync_all(0);
}

#[test]
fn an_older_end_of_a_log_says_nothing_against_what_was_copied_as_committed() {
    let (mut cluster, last) = copying();
    answers(&mut cluster, 1, last, 7, 2, 2, false);
    answers(&mut cluster, 2, last, 6, 1, 0, false);
    assert!(!cluster.replicas[0].stopped);
    assert_ne!(cluster.role(0), Some(RoleName::Amnesic), "both were heard");

    let (mut cluster, last) = copying();
    answers(&mut cluster, 1, last, 7, 2, 2, false);
    answers(&mut cluster, 2, last, 6, 1, 1, false);
    assert!(cluster.replicas[0].stopped, "two histories are committed");

    let (mut cluster, last) = copying();
    answers(&mut cluster, 1, last, 7, 2, 2, false);
    answers(&mut cluster, 2, last, 8, 1, 0, false);
    assert!(cluster.replicas[0].stopped, "a later log lacks what is committed");
}

#[test]
fn the_rest_of_a_copy_that_waited_for_bytes_is_asked_for_when_they_come() {
    let (mut cluster, last) = copying();
    let questions = |cluster: &mut Cluster| {
        cluster.sync_all(0);
        let sent = core::mem::take(&mut cluster.network).into_iter();
        let to = sent.filter(|(.., message)| matches!(message.body, Body::Copy { .. })).map(|(_, to, _)| to);
        to.collect::<vec::Vec<_>>()
    };
    cluster.tell(0, Input::AskAgain { group: GROUP });
    assert_eq!(questions(&mut cluster), [], "nobody's answer waits");
    answers(&mut cluster, 1, last, 7, 3, 0, true);
    assert_eq!(questions(&mut cluster), [], "nothing came yet");
    cluster.tell(0, Input::AskAgain { group: GROUP });
    assert_eq!(questions(&mut cluster), [member(1).node]);
    cluster.tell(0, Input::AskAgain { group: GROUP });
    assert_eq!(questions(&mut cluster), [], "it is asked once");
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
        cluster.crash(leader);
        cluster.replicas[leader].disk = image;
        cluster.restart(leader);
        cluster.settle(Span::millis(30));
        cluster.network.push(late);
        cluster.settle(Span::secs(5));
        let now = cluster.leader();
        assert!(now.is_some_and(|now| now != leader), "seed {seed}: the two others elect one of them");
    }
}

#[test]
fn what_an_only_voter_sent_in_its_former_life_does_not_come_in_behind_the_answer_to_its_new_one() {
    let mut cluster = Cluster::new(41, GROUP, 2, 1, 1);
    cluster.settle(Span::secs(1));
    let image = cluster.replicas[0].disk.clone();
    let held = cluster.replicas[0].groups.status(GROUP).expect("there").last.index;
    cluster.propose(0, "one");
    cluster.sync_all(0);
    // It decided that alone; the word of it is under way for long.
    let late = core::mem::take(&mut cluster.network);
    assert!(
        late.iter().any(|(.., message)| message.append().is_some_and(|append| !append.entries.is_empty()))
    );
    cluster.crash(0);
    cluster.replicas[0].disk = image;
    cluster.agreed.retain(|index, _| *index <= held);
    cluster.restart(0);
    cluster.settle(Span::millis(300));
    cluster.network.extend(late);
    cluster.settle(Span::secs(1));
    assert_eq!(cluster.role(1), Some(RoleName::Learner), "nothing contradicts what it holds");
    goes_on(&mut cluster, 1);
    assert_eq!(cluster.commands(1), ["the end"]);
}

#[test]
fn who_knows_of_no_configuration_votes_for_nobody() {
    let mut cluster = Cluster::new(42, GROUP, 4, 3, 0);
    cluster.settle(Span::secs(2));
    cluster.network.clear();
    let first =
        Entry { index: LogIndex(1), term: Term(1), kind: EntryKind::Blank, data: Bytes::new(), weight: 0 };
    let append = Append {
        previous: Place::default(),
        commit: LogIndex(1),
        durable: Place::default().then(&first),
        entries: vec![first.clone()],
        number: 1,
        copy: false,
        cut: false,
    };
    let say = |cluster: &mut Cluster, term, body| {
        let message = Message { sender: member(0).replica, addressee: Some(member(3).replica), term, body };
        cluster.tell(3, Input::Message { from: member(0).node, group: GROUP, message });
        cluster.sync_all(3);
    };
    cluster.agreed.clear();
    say(&mut cluster, Term(1), Body::Append(append));
    let place = cluster.replicas[3].groups.place(GROUP, LogIndex(1));
    assert_eq!(
        place,
        Some(Place::default().then(&first)),
        "it holds an entry, and none that says who takes part"
    );
    cluster.network.clear();
    say(
        &mut cluster,
        Term(9),
        Body::Vote { pre: false, last: Place { term: Term(8), ..place.expect("there") } },
    );
    let voted = |message: &Message| matches!(message.body, Body::VoteReply { granted: true, .. });
    assert!(!cluster.network.iter().any(|(.., message)| voted(message)));
}
