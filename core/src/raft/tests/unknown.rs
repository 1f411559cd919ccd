//! Leaders whom a follower's own configuration does not name as voters: the entry that made them so has not come yet.

use alloc::vec;

use super::harness::{Cluster, member};
use super::rolled_back::{configuration, goes_on};
use crate::id::GroupId;
use crate::raft::Input;
use crate::time::Span;

#[test]
fn a_follower_notices_that_a_leader_is_gone_that_it_does_not_know_as_a_voter() {
    let mut cluster = Cluster::new(31, GroupId::CONTROL, 3, 1, 2);
    cluster.settle(Span::millis(500));
    cluster.cut.insert((0, 2));
    let voters = (0..3).map(member).collect();
    cluster.tell(0, Input::Change { group: GroupId::CONTROL, voters, learners: vec![], context: 1 });
    cluster.settle(Span::secs(1));
    assert_eq!(configuration(&cluster, 0).voters.len(), 3);
    assert_eq!(configuration(&cluster, 2).voters, [member(0)], "it has not heard of the others");
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
    assert_eq!(configuration(&cluster, 2).voters, [member(0)]);
    cluster.crash(1);
    cluster.network.clear();
    cluster.restart(0);
    cluster.settle(Span::secs(8));
    assert!(matches!(cluster.leader(), Some(0 | 2)), "two of three voters are there");
    cluster.restart(1);
    goes_on(&mut cluster, 3);
}
