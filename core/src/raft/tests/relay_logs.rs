//! What a member that feeds others keeps for them when its log is cut (decision 17).

use super::harness::member;
use super::relay::{VOTERS, a_fed_one, all_hold, holds, relayed, travels};
use crate::id::LogIndex;
use crate::planted::Planted;
use crate::raft::{Body, RoleName};
use crate::time::Span;

/// A member feeds a learner that nobody else reaches. So many entries are lost on the way, and so long afterwards its log is cut. Then whether the
/// learner has them soon after all.
fn cut_before_all_came(seed: u64, lost: u64, after: Span) -> bool {
    let mut cluster = relayed(seed, 8, 2, Planted::none());
    let (feeder, learner) = a_fed_one(&mut cluster);
    cluster.settle(Span::secs(6));
    for other in (0..VOTERS + 8).filter(|&node| node != learner) {
        cluster.cut.extend([(other, learner), (learner, other)]);
    }
    let leader = cluster.leader().expect("a leader");
    for number in 1..=lost {
        cluster.propose(leader, &alloc::format!("{number} of {lost}"));
    }
    let last = alloc::format!("{lost} of {lost}");
    cluster.settle(after);
    assert!(holds(&cluster, feeder, &last) && !holds(&cluster, learner, &last));
    cluster.compact(feeder, 0);
    cluster.sync_all(feeder);
    cluster.cut.remove(&(feeder, learner));
    cluster.cut.remove(&(learner, feeder));
    let (from, to) = (member(feeder).node, member(learner).node);
    let mut left = false;
    let end = cluster.now + Span::secs(2);
    while cluster.now < end {
        cluster.settle_and_follow(&mut |by, of, message| {
            left |= (by, of) == (from, to) && matches!(message.body, Body::Unfed);
        });
    }
    let came = holds(&cluster, learner, &last);
    assert_eq!(left, !came, "who is too far behind is told so");
    cluster.heal();
    travels(&mut cluster, "the end", Span::secs(10));
    assert!(all_hold(&cluster, "the end"));
    came
}

#[test]
fn what_a_child_is_about_to_be_sent_stays_when_a_log_is_cut_if_it_is_little() {
    // Before the first of them seemed to be lost, and after that.
    for after in [100, 400].map(Span::millis) {
        assert!(cut_before_all_came(70, 1, after), "one, {after}");
        assert!(cut_before_all_came(71, 20, after), "20, {after}");
        assert!(!cut_before_all_came(72, 100, after), "100, {after}");
    }
}

/// All start anew with most of their logs on the disk only, and with states that end within a run of that. Before anything is committed again, a
/// voter is asked by a learner that holds all it holds.
#[test]
fn who_starts_with_a_log_that_is_only_stored_can_be_asked_to_feed() {
    let mut cluster = relayed(73, 8, 2, Planted::none());
    cluster.keep_logs_within(20_000);
    cluster.settle(Span::secs(4));
    for burst in 0..40 {
        let leader = cluster.leader().expect("a leader");
        for number in 0..5 {
            cluster.propose(leader, &alloc::format!("{burst:>400} {number}"));
        }
        cluster.settle(Span::millis(100));
    }
    cluster.settle(Span::secs(2));
    let nodes = 0..VOTERS + 8;
    nodes.clone().for_each(|node| cluster.crash(node));
    for node in nodes {
        let replica = &mut cluster.replicas[node];
        replica.kept = replica.applied[..103].to_vec();
        cluster.restart(node);
        assert!(cluster.replicas[node].groups.memory().stored_runs > 10, "node {node}");
    }
    let follows = |cluster: &super::harness::Cluster, node: usize| {
        cluster.role(node) == Some(RoleName::Follower)
            && cluster.replicas[node]
                .groups
                .status(cluster.group)
                .is_some_and(|status| status.leader.is_some())
    };
    let learner = VOTERS + 7;
    let mut asked = 0;
    while asked < 20 {
        cluster.settle(Span::millis(10));
        for voter in (0..VOTERS).filter(|&voter| follows(&cluster, voter)).collect::<alloc::vec::Vec<_>>() {
            let place = cluster.place(voter);
            cluster.hear(voter, learner, place.term, Body::Feed { last: place.last, heard: LogIndex(0) });
            asked += 1;
        }
    }
    cluster.settle(Span::secs(10));
    travels(&mut cluster, "the end", Span::secs(10));
    assert!(all_hold(&cluster, "the end"));
}
