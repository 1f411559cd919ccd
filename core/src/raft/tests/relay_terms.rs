//! What learners of the control group that feed each other say to their leaders (decision 17).

use alloc::vec::Vec;

use super::harness::{Cluster, member};
use super::relay::{VOTERS, a_fed_one, all_hold, fed, holds, relayed, relayed_by, travels};
use crate::id::{GroupId, NodeId};
use crate::planted::Planted;
use crate::raft::{Body, Config, Input, Output};
use crate::time::Span;

/// A voter that leads, one that is to lead next, one that feeds a learner, and that learner.
struct Parts {
    first: usize,
    second: usize,
    feeder: usize,
    learner: usize,
}

/// Nothing crosses between two nodes.
fn part(cluster: &mut Cluster, one: usize, other: usize) {
    cluster.cut.extend([(one, other), (other, one)]);
}

/// Small steps until something is so.
fn until(cluster: &mut Cluster, what: &str, so: impl Fn(&Cluster) -> bool) {
    let end = cluster.now + Span::secs(10);
    while !so(cluster) {
        assert!(cluster.now < end, "not in time: {what}");
        cluster.settle(Span::millis(10));
    }
}

/// The first leader has an entry that nobody else has, and stands still; the second is elected, has its own entry in that place, is heard by the
/// learners, and stands still; the first is elected again and commits its entry, which only its voter and the learner that this one feeds take.
fn commits_what_another_leader_lacks(cluster: &mut Cluster) -> Parts {
    let (seen, _) = travels(cluster, "third", Span::secs(1));
    let first = cluster.leader().expect("a leader");
    cluster.propose(first, "lonely");
    cluster.sync_all(first);
    cluster.network.clear();
    cluster.replicas[first].up = false;
    let granted = |cluster: &Cluster| {
        let mut votes = cluster.network.iter();
        votes.find(|(.., m)| matches!(m.body, Body::VoteReply { pre: false, granted: true, .. })).cloned()
    };
    until(cluster, "a vote", |cluster| granted(cluster).is_some());
    let (feeder, second, _) = granted(cluster).expect("just seen");
    let [feeder, second] = [feeder, second].map(|node: NodeId| node.0 as usize - 1);
    cluster.cut.insert((second, feeder));
    let learners = VOTERS..cluster.replicas.len();
    let term = cluster.place(second).term;
    let heard = |cluster: &Cluster, node: usize| cluster.place(node).term == term;
    until(cluster, "the learners hear it", |cluster| learners.clone().all(|node| heard(cluster, node)));
    assert_eq!(cluster.leader(), Some(second));
    let at = cluster.place(second).last.index;
    assert!(cluster.place(feeder).last.index < at, "its entry came to nobody");
    cluster.replicas[second].up = false;
    let child = seen.iter().find(|(from, _, leads)| !leads && *from == member(feeder).node);
    let learner = child.map(|(_, to, _)| to.0 as usize - 1).expect("it feeds one");
    for node in learners {
        part(cluster, first, node);
        if node != learner {
            part(cluster, learner, node);
        }
    }
    cluster.network.clear();
    cluster.replicas[first].up = true;
    until(cluster, "the learner is fed", |cluster| cluster.place(learner).commit == at);
    assert!(cluster.place(feeder).term > term);
    Parts { first, second, feeder, learner }
}

#[test]
fn a_leader_of_an_earlier_term_hears_from_who_was_fed_that_it_is_deposed() {
    deposed(Planted::none());
}

fn deposed(planted: Planted) {
    let config = Config { fan_out: 2, message_entries: 1, ..Config::default() };
    let mut cluster = relayed_by(60, 8, planted, config);
    let Parts { first, second, feeder, learner } = commits_what_another_leader_lacks(&mut cluster);
    [first, feeder].into_iter().for_each(|node| part(&mut cluster, second, node));
    part(&mut cluster, feeder, learner);
    cluster.network.clear();
    // Whoever feeds it goes away, so it turns to its leader, as far as it knows of one.
    let term = cluster.place(feeder).term;
    cluster.hear(learner, feeder, term, Body::Unfed);
    cluster.replicas[second].up = true;
    // It did not hear the learner for a moment, so that it speaks to it.
    let node = member(learner).node;
    cluster.tell(second, Input::PairSuspect { node });
    cluster.tell(second, Input::PairAlive { node });
    cluster.settle(Span::millis(200));
    assert_eq!(cluster.place(second).term, term, "it heard of the later leader from who was fed by others");
    assert!(cluster.replicas.iter().all(|replica| !replica.stopped), "stopped without cause");
    cluster.heal();
    travels(&mut cluster, "the end", Span::secs(10));
    assert!(all_hold(&cluster, "the end"));
}

#[cfg(feature = "planted")]
#[test]
fn a_term_of_a_feeder_that_is_ignored_is_missed() {
    assert!(super::relay::breaks(crate::planted::Bug::FedTermIgnored, deposed), "R27");
}

/// What a learner says to its leader when nobody feeds it any more, after others fed it what its leader never compared.
fn asks_its_leader(seed: u64, loses_feeder: impl Fn(&mut Cluster, usize, usize)) {
    let mut cluster = relayed(seed, 8, 2, Planted::none());
    let (feeder, learner) = a_fed_one(&mut cluster);
    let leader = cluster.leader().expect("a leader");
    for text in ["a", "b", "c"] {
        travels(&mut cluster, text, Span::secs(1));
    }
    cluster.settle(Span::millis(100));
    let commit = cluster.place(learner).commit;
    cluster.compact(leader, 0);
    cluster.sync_all(leader);
    cluster.network.clear();
    loses_feeder(&mut cluster, feeder, learner);
    cluster.sync_all(learner);
    let to_leader = |from: NodeId, to: NodeId| (from, to) == (member(learner).node, member(leader).node);
    let said = cluster.network.iter().filter(|(from, to, _)| to_leader(*from, *to));
    let said: Vec<_> = said
        .filter_map(|(.., message)| match message.body {
            Body::AppendReply { matched, place, fed, .. } => Some((matched, place.index, fed)),
            _ => None,
        })
        .collect();
    assert_eq!(said, [(false, commit, false)], "it vouches for what its leader never compared");
    cluster.outputs = Some(Vec::new());
    travels(&mut cluster, "d", Span::secs(1));
    assert!(all_hold(&cluster, "d"));
    let states = cluster.outputs.take().expect("recorded").into_iter();
    let mut states = states.filter(|(_, output)| matches!(output, Output::SnapshotWanted { .. }));
    assert!(states.next().is_none(), "it has all that was cut off");
}

#[test]
fn who_was_fed_vouches_for_nothing_that_its_leader_did_not_compare() {
    asks_its_leader(61, |cluster, feeder, learner| {
        let term = cluster.place(learner).term;
        cluster.hear(learner, feeder, term, Body::Unfed);
    });
    asks_its_leader(62, |cluster, feeder, learner| {
        let (mut other, term) = (cluster.place(learner).last, cluster.place(learner).term);
        other.chain.0[0] ^= 1;
        cluster.hear(learner, feeder, term, fed(other, term));
    });
    asks_its_leader(63, |cluster, _, learner| {
        cluster.tell(learner, Input::Unanswered { group: GroupId::CONTROL });
    });
}

/// While an only voter is to be joined by others, it is needed still, and remembers of nobody what others passed on (rule C3).
#[test]
fn nobody_is_fed_by_others_while_the_former_only_voter_is_needed() {
    let config = Config { fan_out: 1, ..Config::default() };
    let mut cluster = Cluster::with_config(64, GroupId::CONTROL, (9, 1, 8), Planted::none(), config);
    cluster.settle(Span::secs(2));
    cluster.change(&[0, 1, 2], &[3, 4, 5, 6, 7, 8]);
    let mut joint = 0;
    for _ in 0..300 {
        cluster.settle(Span::millis(10));
        let needed = |node: NodeId| cluster.configuration(node.0 as usize - 1).needs(member(0));
        joint += usize::from(needed(NodeId(9)));
        for (from, _, message) in &cluster.network {
            // Whoever asks knows the configuration; whoever is asked may be behind.
            let asks = matches!(message.body, Body::Feed { .. });
            assert!(!asks || !needed(*from), "{from}: {message:?}");
        }
    }
    assert!(joint > 0);
    assert_eq!(cluster.configuration(8).voters.len(), VOTERS);
    let (seen, _) = travels(&mut cluster, "third", Span::secs(1));
    assert!(seen.iter().any(|(.., leads)| !leads), "now they are fed");
}

/// A member led a learner before it fed it. What it sends is lost, and an old answer comes late.
#[test]
fn an_answer_to_what_was_led_does_not_count_for_what_is_fed() {
    let mut cluster = relayed(65, 8, 2, Planted::none());
    let (feeder, learner) = a_fed_one(&mut cluster);
    cluster.settle(Span::secs(6));
    for other in (0..cluster.replicas.len()).filter(|&node| node != feeder && node != learner) {
        part(&mut cluster, other, learner);
    }
    cluster.cut.insert((feeder, learner));
    let (place, term) = (cluster.place(learner).last, cluster.place(learner).term);
    let leader = cluster.leader().expect("a leader");
    cluster.propose(leader, "fourth");
    cluster.settle(Span::millis(100));
    let (number, matched, fed) = (5_000, true, false);
    let late = Body::AppendReply { number, matched, place, more: false, waiting: false, round: 0, fed };
    cluster.hear(feeder, learner, term, late);
    cluster.cut.remove(&(feeder, learner));
    cluster.settle(Span::secs(1));
    assert!(holds(&cluster, learner, "fourth"), "what was lost is sent again");
}

/// One of a chain hears no more from its feeder. It finds another; those behind it keep theirs, whoever of them is asked first.
#[test]
fn who_is_behind_one_that_lost_its_feeder_keeps_its_own() {
    for phase in 0..4 {
        let mut cluster = relayed(66, 8, 1, Planted::none());
        let (seen, _) = travels(&mut cluster, "third", Span::secs(1));
        let feeds = |node: NodeId| seen.iter().any(|(from, _, leads)| !leads && *from == node);
        let from_voter = |from: NodeId| (from.0 as usize) <= VOTERS;
        let pair = seen.iter().find(|(from, to, leads)| !leads && from_voter(*from) && feeds(*to));
        let (feeder, learner) = pair.map(|(from, to, _)| (*from, *to)).expect("a chain");
        cluster.settle(Span::millis(4_000 + 500 * phase));
        part(&mut cluster, feeder.0 as usize - 1, learner.0 as usize - 1);
        for text in ["a", "b", "c"] {
            let leader = cluster.leader().expect("a leader");
            cluster.propose(leader, text);
            let end = cluster.now + Span::secs(5);
            while cluster.now < end {
                cluster.settle_and_follow(&mut |from, to, message| {
                    let drops =
                        matches!(message.body, Body::Unfed) && feeds(to) && !from_voter(to) && to < from;
                    assert!(!drops || from == learner, "{phase}: {from} drops {to}, behind {learner}");
                });
            }
            assert!(all_hold(&cluster, text), "{phase}: {text}");
        }
        let (_, took) = travels(&mut cluster, "d", Span::secs(5));
        assert!(took < Span::millis(500), "{phase}: all are fed again: {took}");
    }
}

#[test]
fn a_replica_that_is_removed_tells_those_it_fed() {
    let mut cluster = relayed(67, 8, 1, Planted::none());
    let (feeder, learner) = a_fed_one(&mut cluster);
    cluster.settle(Span::millis(100));
    cluster.network.clear();
    cluster.tell(feeder, Input::Remove { group: GroupId::CONTROL });
    let mut said = cluster.network.iter().filter(|(.., message)| matches!(message.body, Body::Unfed));
    assert!(said.any(|(from, to, _)| (*from, *to) == (member(feeder).node, member(learner).node)));
}
