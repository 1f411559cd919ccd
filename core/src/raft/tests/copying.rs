//! An only voter whose disk comes back older than it was takes its log back from its learners (rule C3).

use alloc::vec::Vec;

use bytes::Bytes;

use super::harness::{Cluster, GROUP, member};
use crate::id::{LogIndex, Term};
use crate::planted::Planted;
use crate::raft::{Append, Body, Config, Entry, EntryKind, Input, Place, RoleName};
use crate::time::Span;

#[test]
fn a_learner_that_missed_the_fresh_replica_id_of_the_only_voter_can_still_answer() {
    let mut cluster = Cluster::new(23, GROUP, 2, 1, 1);
    cluster.settle(Span::millis(500));
    let image = cluster.replicas[0].disk.clone();
    cluster.propose(0, "one");
    cluster.settle(Span::millis(500));
    cluster.take_back(0, image);
    // The learner hears of the fresh replica id, and crashes before that is on its disk.
    while cluster.configuration(1).voters == [member(0)] {
        cluster.sync_all(1);
        cluster.now += Span::millis(10);
        cluster.deadline(0);
        cluster.sync_all(0);
        cluster.deliver_all();
    }
    cluster.network.clear();
    cluster.crash(1);
    cluster.propose(0, "two");
    cluster.settle(Span::millis(300));
    cluster.restart(1);
    assert_eq!(cluster.configuration(1).voters, [member(0)], "it knows the old replica id only");
    cluster.crash(0);
    cluster.restart(0);
    cluster.goes_on(1);
    assert_eq!(cluster.commands(1), ["one", "two", "the end"]);
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
        cluster.deliver_all();
    }
    cluster.sync_all(1);
    cluster.network.clear();
    cluster.crash(0);
    cluster.replicas[0].disk = image;
    assert_eq!(cluster.commands(1), ["one"]);
    let upto = cluster.replicas[1].applied.last().expect("applied").index;
    // The entry with which that term began was known to the lost disk alone.
    cluster.agreed.retain(|(_, index), _| *index <= upto.next());
    cluster.tell(1, Input::Compact { group: GROUP, upto });
    cluster.restart(0);
    cluster.settle(Span::millis(10));
    assert_eq!(cluster.role(0), Some(RoleName::Verifying));
    cluster.goes_on(1);
    assert_eq!(cluster.commands(1), ["one", "two", "the end"]);
    assert_ne!(cluster.configuration(0).voters, [member(0)], "it was amnesic");
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
    cluster.goes_on(1);
    assert_eq!(cluster.commands(1), ["one", "two", "the end"]);
    assert_ne!(cluster.configuration(0).voters, [member(0)], "it was amnesic");
}

/// The learner that an old log names is out by now, and the one that came is not named there.
#[test]
fn an_only_voter_asks_whom_its_owner_knows_and_waits_for_nobody_who_is_out() {
    let mut cluster = Cluster::new(41, GROUP, 3, 1, 0);
    cluster.settle(Span::millis(500));
    let learn = |cluster: &mut Cluster, learners: &[usize]| {
        cluster.change(&[0], learners);
        cluster.settle(Span::secs(1));
    };
    learn(&mut cluster, &[1]);
    let image = cluster.replicas[0].disk.clone();
    learn(&mut cluster, &[1, 2]);
    cluster.propose(0, "one");
    learn(&mut cluster, &[2]);
    cluster.propose(0, "two");
    cluster.settle(Span::secs(1));
    assert_eq!(cluster.commands(2), ["one", "two"]);
    cluster.crash(1);
    cluster.take_back(0, image);
    cluster.settle(Span::secs(20));
    assert_eq!(cluster.leader(), None, "it asks the one that its log names, which is gone");
    let known = |node: usize| member(node).node;
    let (members, out) = ([known(0), known(2)].into(), [known(1)].into());
    cluster.tell(0, Input::Known { group: GROUP, members, out });
    cluster.settle(Span::secs(2));
    assert_eq!(cluster.leader(), Some(0));
    assert_eq!(cluster.commands(0), ["one", "two"]);
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
    cluster.take_back(0, image);
    cluster.goes_on(1);
    assert_eq!(cluster.commands(0), ["one", "the end"]);
    assert_ne!(cluster.configuration(0).voters, [member(0)], "it was told of its old disk");
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
    cluster.take_back(0, image);
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
        cluster.deliver_all();
    }
    assert!((6..=12).contains(&asked), "asked {asked} times");
    cluster.goes_on(1);
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
    cluster.deliver_all();
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
            cluster.agreed.retain(|(_, index), _| *index <= last.index);
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
        data: Bytes::new(),
        weight: 0,
    };
    let held: Vec<Entry> = (1..=entries).map(blank).collect();
    let durable = held.iter().fold(last, |place, entry| place.then(entry));
    let passes = if cut { 1 } else { held.len() };
    let commit = LogIndex(last.index.0 + committed);
    let entries = held[..passes].to_vec();
    let body = Append {
        previous: last,
        commit,
        durable,
        entries: entries.into(),
        number: 0,
        round: 0,
        copy: true,
        cut,
    };
    cluster.hear(0, node, Term(term), Body::Append(body));
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
        to.collect::<Vec<_>>()
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

/// A log is not cut within a run that is only stored. What the owner of a stream let go of in there names bytes that nobody has any more: a copy
/// that brought it would wait for them for ever (rule B1).
#[test]
fn what_the_owner_of_a_stream_let_go_of_is_not_copied_though_the_log_goes_further_back() {
    let config = Config { of_streams: true, ..Config::default() };
    let mut cluster = Cluster::with_config(31, GROUP, (2, 1, 1), Planted::none(), config);
    cluster.keep_logs_within(20_000);
    let text = "x".repeat(436);
    let propose = |cluster: &mut Cluster, count: usize| {
        for _ in 0..count {
            cluster.propose(0, &text);
            cluster.settle(Span::millis(10));
        }
    };
    propose(&mut cluster, 20);
    // The learner is given a long run at once, and the voter's disk will be one of meanwhile.
    cluster.cut.insert((0, 1));
    propose(&mut cluster, 10);
    let (image, kept) = (cluster.replicas[0].disk.clone(), cluster.replicas[0].applied.clone());
    let place = kept.last().expect("applied").index;
    propose(&mut cluster, 10);
    cluster.cut.clear();
    cluster.settle(Span::secs(1));
    propose(&mut cluster, 60);
    cluster.settle(Span::secs(1));
    let gone = LogIndex(place.0 + 5);
    cluster.tell(1, Input::Compact { group: GROUP, upto: gone });
    let first = cluster.replicas[1].groups.status(GROUP).expect("there").first;
    assert!(first <= place, "the log begins at {first}, and a copy from {place} on is to be had");
    cluster.replicas[0].kept = kept;
    cluster.take_back(0, image);
    let mut oldest = LogIndex(u64::MAX);
    for _ in 0..300 {
        cluster.settle_and_watch(&mut |message| match &message.body {
            Body::Append(append) if append.copy => {
                let first = append.entries.first().map_or(oldest, |entry| entry.index);
                oldest = oldest.min(first);
            }
            _ => {}
        });
    }
    assert!(oldest > gone, "entry {oldest} is copied, and the owner let go of what is named up to {gone}");
    cluster.goes_on(1);
}

/// The same, of what a leader sends a member that lags.
#[test]
fn what_the_owner_of_a_stream_let_go_of_is_not_sent_though_the_log_goes_further_back() {
    let config = Config { of_streams: true, ..Config::default() };
    let mut cluster = Cluster::with_config(32, GROUP, (3, 3, 0), Planted::none(), config);
    cluster.keep_logs_within(20_000);
    cluster.settle(Span::secs(2));
    let first = cluster.leader().expect("a leader");
    let (leader, away) = ((first + 1) % 3, (first + 2) % 3);
    let text = "x".repeat(436);
    let begin = cluster.replicas[away].applied.last().expect("applied").index;
    cluster.crash(away);
    // Who will lead is given long runs.
    for _ in 0..8 {
        cluster.cut.insert((first, leader));
        (0..10).for_each(|_| cluster.propose(first, &text));
        cluster.settle(Span::millis(20));
        cluster.cut.clear();
        cluster.settle(Span::millis(500));
    }
    cluster.tell(first, Input::Transfer { group: GROUP, to: member(leader).node, context: 1 });
    cluster.settle(Span::secs(1));
    assert_eq!(cluster.leader(), Some(leader));
    let gone = LogIndex(begin.0 + 5);
    cluster.tell(leader, Input::Compact { group: GROUP, upto: gone });
    let first = cluster.replicas[leader].groups.status(GROUP).expect("there").first;
    assert!(first <= begin.next(), "the log begins at {first}, and {begin} is what is known to be there");
    cluster.restart(away);
    let mut oldest = LogIndex(u64::MAX);
    for _ in 0..200 {
        cluster.settle_and_watch(&mut |message| {
            if let Body::Append(append) = &message.body {
                oldest = oldest.min(append.entries.first().map_or(oldest, |entry| entry.index));
            }
        });
    }
    assert!(oldest > gone, "entry {oldest} is sent, and the owner let go of what is named up to {gone}");
    cluster.goes_on(3);
}
