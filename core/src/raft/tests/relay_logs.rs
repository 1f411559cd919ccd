//! What a member that feeds others keeps for them when its log is cut (decision 17).

use super::harness::member;
use super::relay::{VOTERS, a_fed_one, all_hold, holds, relayed, travels};
use crate::planted::Planted;
use crate::raft::Body;
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
