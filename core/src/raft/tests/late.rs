//! Answers that come again, or late, count for nothing more. A node of a mesh hardly shows what would come of it otherwise: who is elected by one vote
//! too few is elected all the same, as a rule, and what one answer said too much the next one puts right.

use alloc::vec::Vec;

use super::harness::{Cluster, GROUP, member};
use crate::planted::Planted;
use crate::raft::{Body, Input, RoleName};
use crate::time::Span;

/// Of five voters one stands, and one votes for it; that vote comes twice. What the candidate is by then, and with the vote of a third.
fn elected_by(planted: Planted) -> (Option<RoleName>, Option<RoleName>) {
    let mut cluster = Cluster::with_bug(57, GROUP, (5, 5, 0), planted);
    cluster.settle(Span::secs(2));
    let leader = cluster.leader().expect("a leader");
    let term = cluster.place(leader).term;
    let others: Vec<usize> = (0..5).filter(|&node| node != leader).collect();
    let candidate = others[0];
    cluster.hear(candidate, leader, term, Body::Stand);
    cluster.network.clear();
    let last = cluster.place(others[1]).last;
    let vote = || Body::VoteReply { pre: false, granted: true, last };
    cluster.hear(candidate, others[1], term.next(), vote());
    cluster.hear(candidate, others[1], term.next(), vote());
    let by_two = cluster.role(candidate);
    cluster.hear(candidate, others[2], term.next(), vote());
    (by_two, cluster.role(candidate))
}

#[test]
fn a_vote_that_comes_twice_counts_once() {
    assert_eq!(elected_by(Planted::none()), (Some(RoleName::Candidate), Some(RoleName::Leader)));
}

/// Who led, was replaced and leads again is answered what it sent the first time. The reads that this confirms, of which the first was asked for then.
fn confirmed_by(planted: Planted) -> Vec<u64> {
    let mut cluster = Cluster::with_bug(58, GROUP, (3, 3, 0), planted);
    cluster.settle(Span::secs(2));
    let leader = cluster.leader().expect("a leader");
    cluster.read(leader, 1);
    cluster.deliver_all();
    (0..3).for_each(|node| cluster.sync_all(node));
    let late = cluster.network.clone();
    let round = |message: &crate::raft::Message| matches!(message.body, Body::AppendReply { round: 1.., .. });
    assert!(late.iter().any(|(.., message)| round(message)), "its round is answered");
    cluster.settle(Span::millis(500));
    let other = (leader + 1) % 3;
    for (from, to) in [(leader, other), (other, leader)] {
        cluster.tell(from, Input::Transfer { group: GROUP, to: member(to).node, context: 9 });
        cluster.settle(Span::secs(2));
        assert_eq!(cluster.leader(), Some(to));
    }
    cluster.read(leader, 2);
    cluster.sync_all(leader);
    cluster.network = late;
    cluster.deliver_all();
    cluster.replicas[leader].read.iter().map(|(number, _)| *number).collect()
}

#[test]
fn an_answer_of_an_earlier_term_confirms_no_read() {
    assert_eq!(confirmed_by(Planted::none()), [1]);
}

#[cfg(feature = "planted")]
mod planted {
    extern crate std;

    use super::*;
    use crate::planted::Bug;

    fn broken(act: impl FnOnce() + std::panic::UnwindSafe) -> std::string::String {
        let what = std::panic::catch_unwind(act).expect_err("an invariant is broken");
        what.downcast_ref::<std::string::String>().cloned().unwrap_or_else(|| {
            what.downcast_ref::<&str>().map(|text| std::string::String::from(*text)).unwrap_or_default()
        })
    }

    #[test]
    fn each_of_these_answers_breaks_an_invariant_if_it_counts() {
        let by_two = broken(|| {
            let _ = elected_by(Planted::only(Bug::SecondAnswerCounted));
        });
        assert!(by_two.contains("R31"), "{by_two}");
        let older = broken(|| {
            let _ = confirmed_by(Planted::only(Bug::OlderAnswerCounted));
        });
        assert!(older.contains("R32"), "{older}");
    }
}
