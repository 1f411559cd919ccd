//! Logs that hold different entries of one term: a disk was rolled back, and nobody recognised it in time (rules C1, C2).

use alloc::vec;
use alloc::vec::Vec;

use bytes::Bytes;

use super::harness::{Cluster, GROUP, member};
use crate::digest::Chain;
use crate::id::{LogIndex, Term};
use crate::raft::{Append, Body, Entry, EntryKind, Input, Message, Place, RoleName};
use crate::time::Span;

/// Entries behind `previous`, by term and content.
fn entries(previous: Place, list: &[(u64, &'static str)]) -> Vec<Entry> {
    let typed = |(at, &(term, text)): (usize, &(u64, &'static str))| Entry {
        index: LogIndex(previous.index.0 + 1 + at as u64),
        term: Term(term),
        kind: EntryKind::Command,
        data: Bytes::from_static(text.as_bytes()),
        weight: 0,
    };
    list.iter().enumerate().map(typed).collect()
}

/// The place behind entries that follow `previous`.
fn behind(previous: Place, list: &[(u64, &'static str)]) -> Place {
    entries(previous, list).iter().fold(previous, Place::then)
}

fn append(previous: Place, commit: u64, list: &[(u64, &'static str)]) -> Body {
    let entries = entries(previous, list);
    let (commit, durable) = (LogIndex(commit), Place::default());
    Body::Append(Append {
        previous,
        commit,
        durable,
        entries: entries.into(),
        number: 1,
        copy: false,
        round: 0,
        cut: false,
    })
}

/// What `from` says in `term`, as if it had been sent.
fn say(cluster: &mut Cluster, from: usize, to: usize, term: u64, body: Body) {
    let (sender, addressee) = (member(from).replica, Some(member(to).replica));
    let message = Message { sender, addressee, term: Term(term), life: 0, era: 0, body };
    let from = member(from).node;
    cluster.tell(to, Input::Message { from, group: cluster.group, message: message.into() });
}

/// What `node` says now, to whom.
fn said(cluster: &mut Cluster, node: usize) -> Vec<(usize, Body)> {
    cluster.sync_all(node);
    let sent = core::mem::take(&mut cluster.network);
    sent.into_iter().map(|(_, to, message)| ((to.0 - 1) as usize, message.body)).collect()
}

/// Node 0 of three holds what member 1 sent it in term 1, and what it is told then makes it stop with all it holds.
fn stops(held: &[(u64, &'static str)], commit: u64, compacted: bool, then: (u64, Body)) {
    let mut cluster = Cluster::new(30, GROUP, 3, 3, 0);
    let term = held.last().expect("something").0;
    say(&mut cluster, 1, 0, term, append(Place::default(), commit, held));
    said(&mut cluster, 0);
    if compacted {
        cluster.tell(0, Input::Compact { group: GROUP, upto: LogIndex(commit) });
    }
    let before = cluster.replicas[0].groups.places().next().expect("there").last;
    assert_eq!(before, behind(Place::default(), held));
    say(&mut cluster, 1, 0, then.0, then.1);
    assert_eq!(cluster.role(0), Some(RoleName::Stopped));
    assert_eq!(cluster.replicas[0].groups.places().next().expect("there").last, before, "nothing is cut");
    let told: Vec<usize> = said(&mut cluster, 0)
        .into_iter()
        .filter_map(|(to, body)| matches!(body, Body::Stop { .. }).then_some(to))
        .collect();
    assert_eq!(told, [1, 2], "the others hear of it");
}

#[test]
fn an_entry_of_the_same_term_with_other_content_stops_the_group() {
    let one = behind(Place::default(), &[(1, "one")]);
    let fork = append(one, 0, &[(1, "other"), (2, "three")]);
    stops(&[(1, "one"), (1, "two")], 1, false, (2, fork));
}

#[test]
fn a_fork_behind_an_ordinary_conflict_stops_the_group() {
    let one = behind(Place::default(), &[(1, "one")]);
    let fork = append(one, 0, &[(2, "two"), (3, "three")]);
    stops(&[(1, "one"), (1, "two"), (3, "three")], 1, false, (3, fork));
}

#[test]
fn a_fork_at_the_place_before_an_append_stops_the_group() {
    let other = behind(Place::default(), &[(1, "one"), (1, "other")]);
    stops(&[(1, "one"), (1, "two")], 1, false, (2, append(other, 0, &[(2, "three")])));
}

#[test]
fn a_fork_below_the_base_is_seen_at_the_base() {
    let one = behind(Place::default(), &[(1, "one")]);
    let fork = append(one, 0, &[(1, "other"), (1, "three"), (1, "four")]);
    stops(&[(1, "one"), (1, "two"), (1, "three")], 3, true, (2, fork));
    let earlier = append(one, 0, &[(1, "two"), (1, "three"), (1, "four")]);
    stops(&[(1, "one"), (1, "two"), (5, "three")], 3, true, (5, earlier));
    let (one, held) = (behind(Place::default(), &[(1, "one")]), [(1, "one"), (1, "two"), (1, "three")]);
    stops(&held, 3, true, (2, append(one, 0, &[(1, "two"), (1, "other")])));
}

#[test]
fn equal_entries_below_the_base_are_passed_over() {
    let mut cluster = Cluster::new(31, GROUP, 3, 3, 0);
    let held = [(1, "one"), (1, "two"), (1, "three")];
    say(&mut cluster, 1, 0, 1, append(Place::default(), 3, &held));
    said(&mut cluster, 0);
    cluster.tell(0, Input::Compact { group: GROUP, upto: LogIndex(3) });
    let one = behind(Place::default(), &held[..1]);
    say(&mut cluster, 1, 0, 1, append(one, 3, &[(1, "two"), (1, "three"), (1, "four")]));
    let replies = said(&mut cluster, 0);
    let four = behind(Place::default(), &[held[0], held[1], held[2], (1, "four")]);
    let matched = |at: Place| {
        let expected = Body::AppendReply {
            number: 1,
            matched: true,
            place: at,
            more: false,
            waiting: false,
            round: 0,
            fed: false,
        };
        vec![(1, expected)]
    };
    assert_eq!(replies, matched(four));
    // What ends below the base is answered with the base: whoever leads holds what is committed.
    say(&mut cluster, 1, 0, 1, append(one, 3, &[(1, "two")]));
    assert_eq!(said(&mut cluster, 0), matched(behind(Place::default(), &held)));
}

#[test]
fn a_leader_that_lacks_what_its_member_has_committed_stops() {
    let mut cluster = Cluster::new(32, GROUP, 2, 1, 1);
    cluster.settle(Span::millis(500));
    assert_eq!(cluster.leader(), Some(0));
    let status = cluster.replicas[0].groups.status(GROUP).expect("there");
    let place = Place { index: LogIndex(100), ..status.last };
    cluster.network.clear();
    let reply = Body::AppendReply {
        number: 99,
        matched: true,
        place,
        more: false,
        waiting: false,
        round: 0,
        fed: false,
    };
    say(&mut cluster, 1, 0, status.term.0, reply);
    assert_eq!(cluster.role(0), Some(RoleName::Stopped));
    assert!(said(&mut cluster, 0).iter().all(|(_, body)| matches!(body, Body::Stop { .. })), "no appends");
}

#[test]
fn two_leaders_of_one_term_stop_the_group() {
    let mut cluster = Cluster::new(33, GROUP, 3, 3, 0);
    say(&mut cluster, 1, 0, 4, append(Place::default(), 0, &[]));
    say(&mut cluster, 2, 0, 5, append(Place::default(), 0, &[]));
    assert_eq!(cluster.role(0), Some(RoleName::Follower), "one each");
    say(&mut cluster, 1, 0, 5, append(Place::default(), 0, &[]));
    assert_eq!(cluster.role(0), Some(RoleName::Stopped));
}

#[test]
fn a_stop_that_was_lost_is_said_again() {
    let mut cluster = Cluster::new(36, GROUP, 3, 3, 0);
    cluster.settle(Span::secs(2));
    let leader = cluster.leader().expect("a leader");
    let stopped = (leader + 1) % 3;
    let status = cluster.replicas[stopped].groups.status(GROUP).expect("there");
    let other = Place { chain: Chain([7; 16]), ..status.last };
    say(&mut cluster, leader, stopped, status.term.0, append(other, 0, &[]));
    assert_eq!(cluster.role(stopped), Some(RoleName::Stopped));
    cluster.sync_all(stopped);
    cluster.network.clear();
    cluster.crash(stopped);
    cluster.start(stopped);
    cluster.propose(leader, "one");
    cluster.settle(Span::secs(2));
    assert!(cluster.replicas.iter().all(|replica| replica.stopped), "all of them");
    cluster.settle(Span::millis(100));
    let stop = Body::Stop { reason: "again".into() };
    say(&mut cluster, leader, stopped, status.term.0, stop);
    assert_eq!(said(&mut cluster, stopped), [], "a stop is not answered");
}

#[test]
fn a_diverged_member_is_walked_back_whole_terms_at_a_time() {
    let mut cluster = Cluster::new(37, GROUP, 3, 3, 0);
    let held: Vec<(u64, &'static str)> =
        [(1, "one")].into_iter().chain([(2, "two"); 200]).chain([(4, "four"); 300]).collect();
    let lead: Vec<(u64, &'static str)> =
        [(1, "one")].into_iter().chain([(2, "two"); 100]).chain([(3, "three"); 300]).collect();
    say(&mut cluster, 1, 0, 4, append(Place::default(), 1, &held));
    said(&mut cluster, 0);
    let (mut trips, mut end) = (0, lead.len());
    loop {
        trips += 1;
        let previous = behind(Place::default(), &lead[..end]);
        say(&mut cluster, 2, 0, 5, append(previous, 1, &[]));
        let replies = said(&mut cluster, 0);
        let [(2, Body::AppendReply { matched, place, .. })] = replies[..] else { panic!("{replies:?}") };
        if matched {
            break;
        }
        assert!(place.index < previous.index);
        end = place.index.0 as usize;
    }
    assert!(trips <= 3, "{trips} round trips");
}

#[test]
fn a_leader_passes_over_its_entries_of_terms_later_than_its_member_names() {
    let mut cluster = Cluster::new(39, GROUP, 3, 3, 0);
    let held: Vec<(u64, &'static str)> = [(1, "one")].into_iter().chain([(4, "four"); 300]).collect();
    say(&mut cluster, 1, 0, 4, append(Place::default(), 1, &held));
    cluster.crash(1);
    cluster.crash(2);
    while cluster.role(0) != Some(RoleName::Candidate) {
        cluster.settle(Span::millis(10));
    }
    for pre in [true, false] {
        let granted = Body::VoteReply { pre, granted: true, last: Place::default() };
        say(&mut cluster, 2, 0, 5, granted);
        cluster.sync_all(0);
    }
    assert_eq!(cluster.leader(), Some(0));
    let probe = |cluster: &mut Cluster| {
        let sent = said(cluster, 0).into_iter().filter(|&(to, _)| to == 2);
        let appends = sent.filter_map(|(_, body)| match body {
            Body::Append(append) => Some((append.number, append.previous.index)),
            _ => None,
        });
        appends.last().expect("it probes")
    };
    let (number, previous) = probe(&mut cluster);
    assert!(previous > LogIndex(300));
    let place = Place { index: LogIndex(200), term: Term(2), chain: Chain([7; 16]) };
    let reply = Body::AppendReply {
        number,
        matched: false,
        place,
        more: false,
        waiting: false,
        round: 0,
        fed: false,
    };
    say(&mut cluster, 2, 0, 5, reply);
    assert_eq!(probe(&mut cluster).1, LogIndex(1));
}

/// As above, with both ends real.
#[test]
fn a_leader_finds_where_a_diverged_member_parted_in_a_few_round_trips() {
    let mut cluster = Cluster::new(38, GROUP, 3, 3, 0);
    cluster.settle(Span::secs(2));
    let old = cluster.leader().expect("a leader");
    let others: Vec<usize> = (0..3).filter(|&node| node != old).collect();
    let cut: Vec<(usize, usize)> = others.iter().flat_map(|&node| [(old, node), (node, old)]).collect();
    cluster.cut.extend(cut);
    for _ in 0..200 {
        cluster.propose(old, "old");
    }
    cluster.sync_all(old);
    cluster.settle(Span::secs(2));
    let new = *others.iter().find(|&&node| cluster.role(node) == Some(RoleName::Leader)).expect("another");
    let third = others.into_iter().find(|&node| node != new).expect("there");
    cluster.cut.extend([(new, third), (third, new)]);
    for _ in 0..150 {
        cluster.propose(new, "new");
    }
    cluster.sync_all(new);
    cluster.crash(third);
    cluster.settle(Span::secs(1));
    cluster.cut.clear();
    let mut refused = 0;
    for _ in 0..400 {
        cluster.settle_and_watch(&mut |message| {
            refused += usize::from(matches!(message.body, Body::AppendReply { matched: false, .. }));
        });
    }
    assert_eq!(cluster.leader(), Some(new));
    assert_eq!(cluster.commands(old), cluster.commands(new));
    assert!((1..=4).contains(&refused), "{refused} round trips");
}
