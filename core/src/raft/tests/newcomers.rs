//! Learners that an only voter has just named (rule C3).

use alloc::vec::Vec;

use super::harness::{Cluster, member};
use crate::id::GroupId;
use crate::raft::Config;
use crate::time::{Instant, Span};

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

#[test]
fn each_of_many_newcomers_waits_for_itself_however_fast_the_others_come() {
    let mut cluster = founder_and_witness(37, 5);
    // The witness is heard and hears nothing.
    cluster.cut.insert((0, 1));
    let (mut named, mut told) = ([None::<Instant>; 7], [None::<Instant>; 7]);
    for step in 0..500 {
        let last = 2 + step / 50;
        if step % 50 == 0 && last < 7 {
            name_upto(&mut cluster, last);
            named[last] = Some(cluster.now);
        }
        cluster.settle(Span::millis(10));
        for node in (2..7).filter(|&node| was_told(&cluster, node)) {
            told[node].get_or_insert(cluster.now);
        }
    }
    let patience = Config::default().alone_patience;
    let waited = |node: usize| told[node].expect("it was told").since(named[node].expect("it was named"));
    assert!(waited(2) >= patience, "{:?}", waited(2));
    // The first one that was told is a witness for those named before it has answered.
    for node in 2..7 {
        assert!(waited(node) <= patience + Span::millis(50), "node {node}: {:?}", waited(node));
    }
}

#[test]
fn a_witness_need_not_hold_more_than_the_entry_that_names_the_newcomer() {
    let mut cluster = founder_and_witness(38, 3);
    name_upto(&mut cluster, 2);
    cluster.deliver_all();
    cluster.sync_all(1);
    // The witness answers, and before that has come somebody else is named.
    let answer = core::mem::take(&mut cluster.network);
    name_upto(&mut cluster, 3);
    cluster.network = answer;
    cluster.cut.insert((0, 1));
    for _ in 0..4 {
        cluster.deliver_all();
        (0..4).for_each(|node| cluster.sync_all(node));
    }
    assert!(was_told(&cluster, 2), "another can name it");
    assert!(!was_told(&cluster, 3), "nobody else can name it");
    // Whoever was told is a witness as good as any other; and is not made to wait again, though it has not answered everything yet.
    cluster.settle(Span::millis(500));
    assert!(was_told(&cluster, 3));
    name_upto(&mut cluster, 4);
    cluster.settle(Span::millis(100));
    assert!(was_told(&cluster, 4));
}
