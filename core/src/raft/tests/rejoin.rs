//! A node that is kept although its disk was copied (rule C6).

use super::harness::{Cluster, GROUP, member};
use crate::raft::RoleName;
use crate::time::Span;

#[test]
fn who_is_kept_comes_back_under_a_fresh_replica_id() {
    for alone in [false, true] {
        let (count, voters) = if alone { (2, 1) } else { (4, 3) };
        let mut cluster = Cluster::new(80, GROUP, count, voters, 1);
        cluster.settle(Span::secs(2));
        let leader = cluster.leader().expect("a leader");
        cluster.propose(leader, "one");
        cluster.settle(Span::secs(1));
        let before = cluster.replicas[leader].groups.places().next().expect("a replica").replica;
        cluster.crash(leader);
        cluster.restart(leader);
        cluster.rejoin(leader);
        assert_eq!(cluster.role(leader), Some(RoleName::Amnesic), "it neither votes nor leads as it is");
        cluster.settle(Span::secs(5));
        let after = cluster.replicas[leader].groups.places().next().expect("a replica").replica;
        assert_ne!(before, after);
        assert_ne!(cluster.role(leader), Some(RoleName::Amnesic), "it was admitted");
        let now = cluster.leader().expect("a leader");
        cluster.propose(now, "two");
        cluster.settle(Span::secs(1));
        for node in 0..count {
            assert_eq!(cluster.commands(node), ["one", "two"], "node {node}");
        }
        assert!(cluster.replicas[now].groups.configuration(GROUP).is_some_and(|configuration| {
            configuration.on(member(leader).node).any(|member| member.replica == after)
        }));
    }
}
