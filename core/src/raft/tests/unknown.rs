//! Replicas that do not know yet, or no longer, who takes part: the entry that says so is not in their logs.

use bytes::Bytes;

use super::harness::{Cluster, GROUP, member};
use crate::id::{GroupId, LogIndex, Term};
use crate::raft::{Append, Body, Entry, EntryKind, Message, Place};
use crate::time::Span;

#[test]
fn a_follower_notices_that_a_leader_is_gone_that_it_does_not_know_as_a_voter() {
    let mut cluster = Cluster::new(31, GroupId::CONTROL, 3, 1, 2);
    cluster.settle(Span::millis(500));
    cluster.cut.insert((0, 2));
    cluster.change(&[0, 1, 2], &[]);
    cluster.settle(Span::secs(1));
    assert_eq!(cluster.configuration(0).voters.len(), 3);
    assert_eq!(cluster.configuration(2).voters, [member(0)], "it has not heard of the others");
    cluster.crash(0);
    cluster.cut.clear();
    let led_by = |cluster: &Cluster, node: usize| {
        cluster.replicas[node].groups.status(GroupId::CONTROL).expect("there").leader
    };
    for _ in 0..1_000 {
        cluster.settle(Span::millis(10));
        if led_by(&cluster, 2) == Some(member(1).node) {
            break;
        }
    }
    // It follows the new leader, which falls before it has told more than that it leads.
    assert_eq!(led_by(&cluster, 2), Some(member(1).node));
    assert_eq!(cluster.configuration(2).voters, [member(0)]);
    cluster.crash(1);
    cluster.network.clear();
    cluster.restart(0);
    cluster.settle(Span::secs(8));
    assert!(matches!(cluster.leader(), Some(0 | 2)), "two of three voters are there");
    cluster.restart(1);
    cluster.goes_on(3);
}

#[test]
fn a_replica_that_holds_nothing_votes_for_nobody() {
    let mut cluster = Cluster::new(24, GROUP, 4, 3, 0);
    cluster.settle(Span::secs(2));
    cluster.network.clear();
    let last = Place { index: LogIndex(9), term: Term(8), ..Place::default() };
    for pre in [true, false] {
        cluster.hear(3, 0, Term(9), Body::Vote { pre, last });
    }
    let place = cluster.place(3);
    assert_eq!(
        (place.term, place.vote),
        (Term(0), None),
        "it may have voted before its disk was rolled back"
    );
    assert!(cluster.network.is_empty(), "it says nothing");
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
        entries: [first.clone()].into_iter().collect(),
        number: 1,
        copy: false,
        round: 0,
        cut: false,
    };
    cluster.agreed.clear();
    cluster.hear(3, 0, Term(1), Body::Append(append));
    let place = cluster.replicas[3].groups.place(GROUP, LogIndex(1));
    assert_eq!(
        place,
        Some(Place::default().then(&first)),
        "it holds an entry, and none that says who takes part"
    );
    cluster.network.clear();
    let last = Place { term: Term(8), ..place.expect("there") };
    cluster.hear(3, 0, Term(9), Body::Vote { pre: false, last });
    let voted = |message: &Message| matches!(message.body, Body::VoteReply { granted: true, .. });
    assert!(!cluster.network.iter().any(|(.., message)| voted(message)));
}
