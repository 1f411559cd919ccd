//! A node that is about to go hands over what it leads.

use alloc::collections::BTreeSet;

use super::harness::{Cluster, GROUP, member};
use crate::time::Span;

#[test]
fn what_is_led_is_handed_to_the_best_voter_that_is_there() {
    let mut cluster = Cluster::new(70, GROUP, 4, 3, 1);
    cluster.settle(Span::secs(2));
    let leader = cluster.leader().expect("a leader");
    let (next, other) = ((leader + 1) % 3, (leader + 2) % 3);
    let away = BTreeSet::from([member(next).node]);
    assert_eq!(cluster.hand_over(leader, &away), 1);
    assert_eq!(cluster.hand_over(leader, &away), 1, "under way");
    assert_eq!(cluster.hand_over(next, &BTreeSet::new()), 0, "it leads nothing");
    cluster.settle(Span::millis(300));
    assert_eq!(cluster.leader(), Some(other));
    assert_eq!(cluster.hand_over(leader, &away), 0);

    let nobody = BTreeSet::from([member(leader).node, member(next).node]);
    assert_eq!(cluster.hand_over(other, &nobody), 0, "who learns cannot lead");
    cluster.settle(Span::secs(1));
    assert_eq!(cluster.leader(), Some(other));
}

#[test]
fn nothing_is_handed_over_without_a_quorum_that_could_elect_another() {
    let mut cluster = Cluster::new(71, GROUP, 5, 5, 0);
    cluster.settle(Span::secs(2));
    let leader = cluster.leader().expect("a leader");
    let away =
        |count: usize| (1..=count).map(|step| member((leader + step) % 5).node).collect::<BTreeSet<_>>();
    assert_eq!(cluster.hand_over(leader, &away(3)), 0, "two of five elect nobody");
    assert_eq!(cluster.hand_over(leader, &away(2)), 1);
}
