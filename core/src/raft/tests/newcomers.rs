//! Learners that an only voter has just named (rule C3).

use alloc::vec::Vec;

use super::harness::{Cluster, member};
use crate::id::GroupId;
use crate::time::Span;

/// A founder with a learner that has vouched for something to it, and so many others that wait to be named.
fn founder_and_witness(seed: u64, newcomers: usize) -> Cluster {
    let mut cluster = Cluster::new(seed, GroupId::CONTROL, 2 + newcomers, 1, 0);
    cluster.settle(Span::millis(500));
    cluster.change(&[0], &[1]);
    cluster.settle(Span::secs(1));
    cluster
}

/// The founder names all up to that node.
fn name_upto(cluster: &mut Cluster, last: usize) {
    cluster.change(&[0], &(1..=last).collect::<Vec<_>>());
    cluster.sync_all(0);
}

fn was_told(cluster: &Cluster, node: usize) -> bool {
    !cluster.configuration(node).is_empty()
}

/// Nobody but the newcomer itself could say that it knows more than the others, and nobody knows whom to ask.
#[test]
fn a_newcomer_is_told_nothing_before_another_learner_can_name_it() {
    for returns in [true, false] {
        let mut cluster = founder_and_witness(36, 1);
        let image = cluster.replicas[0].disk.clone();
        cluster.cut.extend([(0, 1), (1, 0)]);
        name_upto(&mut cluster, 2);
        cluster.propose(0, "one");
        cluster.settle(Span::millis(100));
        assert!(!was_told(&cluster, 2), "the other learner does not know of it");
        if returns {
            cluster.cut.clear();
            cluster.settle(Span::millis(1_500));
            assert_eq!(cluster.configuration(1).learners, [member(1), member(2)]);
        } else {
            cluster.settle(Span::millis(2_500));
        }
        assert_eq!(cluster.commands(2), ["one"], "the other learner is back: {returns}");
        if returns {
            cluster.take_back(0, image);
            cluster.goes_on(1);
            assert_eq!(cluster.commands(0), ["one", "the end"]);
        }
    }
}
