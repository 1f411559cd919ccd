//! A replica whose owner is of no use any more (R34).

use super::harness::{Cluster, GROUP, member};
use crate::raft::{Config, Input, RoleName};
use crate::time::Span;

fn of_streams(seed: u64, voters: usize, learners: usize) -> Cluster {
    let config = Config { of_streams: true, ..Config::default() };
    let sizes = (voters + learners, voters, learners);
    let mut cluster = Cluster::with_config(seed, GROUP, sizes, crate::planted::Planted::none(), config);
    cluster.settle(Span::secs(2));
    cluster
}

#[test]
fn a_leader_that_resigns_is_followed_by_another_and_votes_and_never_leads_again() {
    let mut cluster = of_streams(70, 3, 0);
    let leader = cluster.leader().expect("a leader");
    cluster.tell(leader, Input::Resign { group: GROUP, leaves: false });
    assert_ne!(cluster.role(leader), Some(RoleName::Leader));
    cluster.settle(Span::secs(2));
    let next = cluster.leader().expect("another leads");
    assert_ne!(next, leader);
    cluster.tell(next, Input::Transfer { group: GROUP, to: member(leader).node, context: 1 });
    cluster.settle(Span::secs(1));
    assert_ne!(cluster.leader(), Some(leader), "it does not stand when it is told");
    // Its vote counts: of the two others one is away.
    let third = 3 - leader - next;
    cluster.crash(next);
    cluster.settle(Span::secs(4));
    assert_eq!(cluster.leader(), Some(third));
    cluster.restart(next);
    cluster.goes_on(3);
    // In another life it may serve.
    cluster.crash(leader);
    cluster.restart(leader);
    cluster.settle(Span::secs(2));
    let next = cluster.leader().expect("a leader");
    cluster.tell(next, Input::Transfer { group: GROUP, to: member(leader).node, context: 2 });
    cluster.settle(Span::secs(1));
    assert_eq!(cluster.leader(), Some(leader));
}

#[test]
fn an_only_voter_that_resigns_goes_on_keeping_the_log() {
    let mut cluster = of_streams(71, 1, 1);
    cluster.tell(0, Input::Resign { group: GROUP, leaves: false });
    cluster.goes_on(1);
    assert_eq!(cluster.leader(), Some(0));
}
