//! Learners of the control group that feed each other (decision 17).

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use bytes::Bytes;

use super::harness::{Cluster, member};
use crate::id::{GroupId, LogIndex, NodeId, Term};
use crate::planted::Planted;
use crate::raft::{Append, Body, Config, Entries, Entry, EntryKind, Place, RoleName};
use crate::time::Span;

pub(super) const VOTERS: usize = 3;

/// Three voters and so many learners; each member feeds so many of them.
pub(super) fn relayed(seed: u64, learners: usize, fan_out: usize, planted: Planted) -> Cluster {
    relayed_by(seed, learners, planted, Config { fan_out, ..Config::default() })
}

/// The same, with other settings.
pub(super) fn relayed_by(seed: u64, learners: usize, planted: Planted, config: Config) -> Cluster {
    let sizes = (VOTERS + learners, VOTERS, learners);
    let mut cluster = Cluster::with_config(seed, GroupId::CONTROL, sizes, planted, config);
    cluster.settle(Span::secs(2));
    for text in ["first", "second"] {
        let leader = cluster.leader().expect("a leader");
        cluster.propose(leader, text);
        cluster.settle(Span::secs(3));
    }
    cluster
}

/// What travels until everybody who is up holds a new command, at most for so long: from whom to whom, and whether it is an append of a leader.
pub(super) fn travels(cluster: &mut Cluster, text: &str, most: Span) -> (Vec<(NodeId, NodeId, bool)>, Span) {
    let leader = cluster.leader().expect("a leader");
    let (from, mut seen) = (cluster.now, Vec::new());
    cluster.propose(leader, text);
    while cluster.now < from + most && !all_hold(cluster, text) {
        cluster.settle_and_follow(&mut |from, to, message| match &message.body {
            Body::Append(append) if !append.entries.is_empty() => seen.push((from, to, true)),
            Body::Fed(append) if !append.entries.is_empty() => seen.push((from, to, false)),
            _ => {}
        });
    }
    (seen, cluster.now.since(from))
}

pub(super) fn holds(cluster: &Cluster, node: usize, text: &str) -> bool {
    cluster.commands(node).last().map(|command| &command[..]) == Some(text.as_bytes())
}

pub(super) fn all_hold(cluster: &Cluster, text: &str) -> bool {
    (0..cluster.replicas.len())
        .filter(|&node| cluster.replicas[node].up)
        .all(|node| holds(cluster, node, text))
}

/// To how many learners a leader sends entries itself.
fn led(cluster: &Cluster, seen: &[(NodeId, NodeId, bool)]) -> usize {
    let voters = cluster.configuration(cluster.leader().expect("a leader")).voters;
    let learners =
        seen.iter().filter(|(_, to, leads)| *leads && voters.iter().all(|voter| voter.node != *to));
    learners.map(|(_, to, _)| to).collect::<BTreeSet<_>>().len()
}

/// Who feeds somebody, and is no voter.
fn feeds(seen: &[(NodeId, NodeId, bool)]) -> BTreeSet<usize> {
    let feeders = seen.iter().filter(|(_, _, leads)| !leads).map(|(from, ..)| from.0 as usize - 1);
    feeders.filter(|&node| node >= VOTERS).collect()
}

#[test]
fn a_leader_sends_an_entry_to_the_voters_and_a_few_learners_and_all_have_it_soon() {
    let mut cluster = relayed(1, 14, 2, Planted::none());
    let (seen, took) = travels(&mut cluster, "third", Span::secs(1));
    assert!(took < Span::millis(150), "it took {took}: {seen:?}");
    assert!(led(&cluster, &seen) <= 2, "{seen:?}");
    let mut fed: Vec<NodeId> = seen.iter().filter(|(_, _, leads)| !leads).map(|(_, to, _)| *to).collect();
    fed.sort_unstable();
    assert!(fed.len() >= 12, "{fed:?}");
    assert!(fed.is_sorted_by(|a, b| a < b), "somebody was fed twice: {fed:?}");
    assert!(!feeds(&seen).is_empty(), "learners feed learners");
}

#[test]
fn a_small_mesh_is_fed_by_its_leader() {
    let mut cluster = relayed(2, 6, 16, Planted::none());
    let (seen, _) = travels(&mut cluster, "third", Span::secs(1));
    assert_eq!((led(&cluster, &seen), feeds(&seen).len()), (6, 0));
}

#[test]
fn a_mesh_in_which_nothing_happens_is_silent_once_everybody_was_asked() {
    let mut cluster = relayed(3, 14, 2, Planted::none());
    travels(&mut cluster, "third", Span::secs(1));
    cluster.settle(Span::secs(6));
    let mut said = 0;
    for _ in 0..1_000 {
        cluster.settle_and_watch(&mut |_| said += 1);
    }
    assert_eq!(said, 0);
    for node in 0..cluster.replicas.len() {
        assert_eq!(cluster.replicas[node].groups.next_deadline(), None, "node {node}");
    }
}

/// Everybody has an entry, and the learners' answers do not come through at first.
#[test]
fn what_a_leader_knows_of_who_is_fed_comes_from_its_own_answers() {
    let mut cluster = relayed(4, 14, 2, Planted::none());
    let leader = cluster.leader().expect("a leader");
    cluster.cut.extend((VOTERS..17).map(|learner| (learner, leader)));
    let known = |cluster: &mut Cluster, span| {
        cluster.outputs = Some(Vec::new());
        cluster.settle(span);
        let commit = cluster.place(leader).commit;
        let outputs = cluster.outputs.take().expect("recorded").into_iter();
        let known = outputs.filter_map(|(node, output)| match output {
            crate::raft::Output::Match { node: of, index, .. } if node == leader && index == commit => {
                Some(of)
            }
            _ => None,
        });
        known.collect::<BTreeSet<_>>()
    };
    cluster.propose(leader, "third");
    let voters = known(&mut cluster, Span::secs(4));
    assert!(all_hold(&cluster, "third"));
    assert!(voters.iter().all(|node| node.0 as usize <= VOTERS), "{voters:?}");
    cluster.cut.clear();
    let learners = known(&mut cluster, Span::secs(6));
    assert_eq!(voters.union(&learners).count(), 17, "{voters:?} {learners:?}");
}

/// A feeder falls. What comes then reaches those behind it when the leader asks for it, and what comes after that at once.
#[test]
fn who_is_fed_by_a_node_that_fell_silent_finds_another() {
    for seed in 0..2 {
        let mut cluster = relayed(10 + seed, 12, 2, Planted::none());
        let (seen, _) = travels(&mut cluster, "third", Span::secs(1));
        let feeder = *feeds(&seen).first().expect("learners feed learners");
        cluster.crash(feeder);
        let (_, took) = travels(&mut cluster, "fourth", Span::secs(20));
        assert!(took < Span::secs(6), "seed {seed}: {took}");
        cluster.settle(Span::secs(2));
        travels(&mut cluster, "fifth", Span::secs(20));
        cluster.settle(Span::secs(6));
        let (seen, took) = travels(&mut cluster, "sixth", Span::secs(20));
        assert!(took < Span::millis(500), "seed {seed}: {took}");
        assert!(led(&cluster, &seen) <= 4, "seed {seed}: {seen:?}");
        cluster.heal();
        assert!(all_hold(&cluster, "sixth"), "seed {seed}");
    }
}

/// Half of the learners are down, and one of three voters.
#[test]
fn everybody_who_is_up_gets_each_entry_while_half_of_the_members_are_down() {
    for seed in 0..2 {
        let mut cluster = relayed(20 + seed, 12, 2, Planted::none());
        let leader = cluster.leader().expect("a leader");
        let silent: Vec<usize> = (0..15)
            .filter(|&node| node != leader && (node + seed as usize).is_multiple_of(2))
            .take(7)
            .collect();
        let voters = silent.iter().filter(|&&node| node < VOTERS).count();
        let silent: Vec<usize> = silent.into_iter().skip(voters.saturating_sub(1)).collect();
        silent.iter().for_each(|&node| cluster.crash(node));
        for (number, text) in ["a", "b", "c", "d"].into_iter().enumerate() {
            let (_, took) = travels(&mut cluster, text, Span::secs(30));
            assert!(all_hold(&cluster, text), "seed {seed}: {text} took {took}, {silent:?}");
            assert!(took < Span::secs(10), "seed {seed}: entry {number} took {took}");
            cluster.settle(Span::secs(5));
        }
        cluster.heal();
        assert!(all_hold(&cluster, "d"));
    }
}

#[test]
fn a_mesh_that_was_parted_is_fed_again_when_it_is_whole() {
    let mut cluster = relayed(30, 12, 2, Planted::none());
    let away: Vec<usize> = (0..15).filter(|&node| node >= VOTERS && node % 2 == 0).collect();
    for &node in &away {
        for other in (0..15).filter(|other| !away.contains(other)) {
            cluster.cut.extend([(node, other), (other, node)]);
        }
    }
    for text in ["a", "b", "c"] {
        let leader = cluster.leader().expect("a leader");
        cluster.propose(leader, text);
        cluster.settle(Span::secs(4));
    }
    assert!(away.iter().all(|&node| !holds(&cluster, node, "c")));
    cluster.cut.clear();
    cluster.settle(Span::secs(4));
    assert!(all_hold(&cluster, "c"));
}

/// Whoever fed a learner comes to lead: it feeds nobody any more, and owes everybody everything.
#[test]
fn a_feeder_that_comes_to_lead_goes_on_as_a_leader() {
    let mut cluster = relayed(31, 14, 2, Planted::none());
    for round in 0..3 {
        let leader = cluster.leader().expect("a leader");
        cluster.crash(leader);
        cluster.settle(Span::secs(3));
        let (_, took) = travels(&mut cluster, &alloc::format!("round {round}"), Span::secs(20));
        assert!(took < Span::secs(8), "{took}");
        cluster.heal();
    }
    let (seen, took) = travels(&mut cluster, "the end", Span::secs(20));
    assert!(took < Span::secs(1), "{took}");
    assert!(led(&cluster, &seen) < 14, "{seen:?}");
}

fn entry_behind(place: Place, term: Term) -> Entry {
    let data = Bytes::from_static(b"made up");
    Entry { index: place.index.next(), term, kind: EntryKind::Command, data, weight: 0 }
}

/// What a learner would be fed behind `previous`.
pub(super) fn fed(previous: Place, term: Term) -> Body {
    let entries: Entries = [entry_behind(previous, term)].into_iter().collect();
    let (commit, durable) = (previous.index.next(), Place::default());
    Body::Fed(Append { previous, commit, durable, entries, number: 77, round: 0, copy: false, cut: false })
}

/// The learner that somebody else than the leader feeds, and who does.
pub(super) fn a_fed_one(cluster: &mut Cluster) -> (usize, usize) {
    let (seen, _) = travels(cluster, "third", Span::secs(1));
    let (from, to, _) = seen.iter().find(|(.., leads)| !leads).expect("somebody is fed");
    (from.0 as usize - 1, to.0 as usize - 1)
}

/// A learner hears from its feeder what stands behind something else than it has.
fn is_fed_what_does_not_fit(cluster: &mut Cluster) {
    let (feeder, learner) = a_fed_one(cluster);
    let (last, term) = (cluster.place(learner).last, cluster.place(learner).term);
    let mut other = last;
    other.chain.0[0] ^= 1;
    cluster.hear(learner, feeder, term, fed(other, term));
    assert_eq!(cluster.place(learner).last, last);
}

#[test]
fn what_does_not_fit_the_chain_is_not_taken_and_stops_nobody() {
    let mut cluster = relayed(40, 14, 2, Planted::none());
    is_fed_what_does_not_fit(&mut cluster);
    let (_, took) = travels(&mut cluster, "fourth", Span::secs(10));
    assert!(took < Span::secs(1), "its leader took over: {took}");
    assert!(cluster.replicas.iter().all(|replica| !replica.stopped));
}

#[test]
fn nobody_is_fed_by_a_member_that_was_not_asked() {
    let mut cluster = relayed(41, 14, 2, Planted::none());
    let (feeder, learner) = a_fed_one(&mut cluster);
    let (last, term) = (cluster.place(learner).last, cluster.place(learner).term);
    let stranger = (VOTERS..17).find(|node| *node != feeder && *node != learner).expect("there are others");
    cluster.hear(learner, stranger, term, fed(last, term));
    assert_eq!(cluster.place(learner).last, last);
    let leader = cluster.leader().expect("a leader");
    let voter = (0..VOTERS).find(|&node| node != leader).expect("there are others");
    cluster.hear(voter, stranger, term, fed(last, term));
    assert_eq!(cluster.place(voter).last, last, "nobody feeds a voter");
}

/// No learner feeds one that stands before it: nobody feeds itself through others, whatever they know. All others ask, and ask again.
#[test]
fn nobody_feeds_more_than_it_may_nor_a_learner_one_that_stands_before_it() {
    let mut cluster = relayed(42, 14, 2, Planted::none());
    let leader = cluster.leader().expect("a leader");
    let term = cluster.place(leader).term;
    let voter = (0..VOTERS).find(|&node| node != leader).expect("there are others");
    for feeder in [voter, 5] {
        cluster.network.clear();
        for asker in (VOTERS..17).chain(VOTERS..17).filter(|&asker| asker != feeder) {
            let last = cluster.place(asker).last;
            cluster.hear(feeder, asker, term, Body::Feed { last, heard: LogIndex(0) });
        }
        let fed = |(from, to, message): &(NodeId, NodeId, crate::raft::Message)| {
            (*from == member(feeder).node && matches!(message.body, Body::Fed(_))).then_some(*to)
        };
        let fed: BTreeSet<NodeId> = cluster.network.iter().filter_map(fed).collect();
        assert_eq!(fed.len(), 4, "{feeder} feeds {fed:?}");
        let behind = |node: &NodeId| feeder == voter || *node > member(feeder).node;
        assert!(fed.iter().all(behind), "{feeder} feeds {fed:?}");
    }
    cluster.settle(Span::secs(6));
    let (_, took) = travels(&mut cluster, "third", Span::secs(10));
    assert!(took < Span::secs(1), "{took}");
}

#[test]
fn a_member_that_is_behind_does_not_feed_one_that_heard_of_more() {
    let mut cluster = relayed(43, 14, 2, Planted::none());
    let last = cluster.place(16).last;
    let term = cluster.place(16).term;
    cluster.network.clear();
    cluster.hear(5, 16, term, Body::Feed { last, heard: last.index.next() });
    let declined = |message: &crate::raft::Message| matches!(message.body, Body::Unfed);
    assert!(cluster.network.iter().any(|(from, to, m)| (from.0, to.0) == (6, 17) && declined(m)));
}

/// A learner that learns by relay is rolled back: the one that fed it remembers what it vouched for, and so does the leader that asked it.
#[test]
fn a_rolled_back_learner_that_was_fed_returns_under_a_fresh_replica_id() {
    let mut cluster = relayed(44, 14, 2, Planted::none());
    let (_, learner) = a_fed_one(&mut cluster);
    let image = cluster.replicas[learner].disk.clone();
    travels(&mut cluster, "fourth", Span::secs(1));
    cluster.take_back(learner, image);
    cluster.settle(Span::secs(4));
    travels(&mut cluster, "fifth", Span::secs(6));
    assert!(all_hold(&cluster, "fifth"));
    let leader = cluster.leader().expect("a leader");
    assert!(!cluster.configuration(leader).learners.contains(&member(learner)), "it was recognised");
}

/// Losses, doubles, cuts, crashes, as for other groups, in a mesh in which everybody feeds one other.
#[test]
fn random_histories_of_meshes_that_feed_themselves_keep_every_promise() {
    for seed in 0..8 {
        let message_entries = if seed % 4 < 2 { 1 } else { Config::default().message_entries };
        let config = Config { fan_out: 1 + seed as usize % 2, message_entries, ..Config::default() };
        let sizes = (9, VOTERS, 6);
        let mut cluster = Cluster::with_config(seed + 3000, GroupId::CONTROL, sizes, Planted::none(), config);
        for _ in 0..3_000 {
            cluster.stir();
        }
        cluster.heal();
        cluster.settle(Span::secs(4));
        assert!(
            cluster.replicas.iter().all(|replica| !replica.stopped),
            "seed {seed}: stopped without cause"
        );
        let leader = cluster.leader().unwrap_or_else(|| panic!("seed {seed}: no leader"));
        let (_, took) = travels(&mut cluster, "the end", Span::secs(10));
        assert!(all_hold(&cluster, "the end"), "seed {seed}: {took}");
        let commands = cluster.commands(leader);
        assert!((0..9).all(|node| cluster.commands(node) == commands), "seed {seed}");
        assert!((0..9).all(|node| cluster.role(node) != Some(RoleName::Stopped)));
    }
}

/// Whether the test fails with that bug in every node.
#[cfg(feature = "planted")]
pub(super) fn breaks(bug: crate::planted::Bug, run: impl Fn(Planted) + core::panic::RefUnwindSafe) -> bool {
    extern crate std;
    run(Planted::none());
    std::panic::catch_unwind(|| run(Planted::only(bug))).is_err()
}

#[cfg(feature = "planted")]
#[test]
fn each_of_these_bugs_breaks_an_invariant_or_a_promise() {
    use crate::planted::Bug;

    let many = |planted: Planted| {
        let mut cluster = relayed(50, 8, 1, planted);
        for _ in 0..20 {
            let leader = cluster.leader().expect("a leader");
            cluster.propose(leader, "one of many");
            cluster.settle(Span::millis(10));
        }
    };
    assert!(breaks(Bug::UncommittedPassedOn, many), "R27");
    let fallen = |planted: Planted| {
        let mut cluster = relayed(51, 8, 1, planted);
        let (feeder, _) = a_fed_one(&mut cluster);
        cluster.crash(feeder);
        for text in ["fourth", "fifth"] {
            travels(&mut cluster, text, Span::secs(20));
            cluster.settle(Span::secs(6));
        }
        assert!(all_hold(&cluster, "fifth"));
        let (_, took) = travels(&mut cluster, "sixth", Span::secs(20));
        assert!(took < Span::secs(1));
    };
    assert!(breaks(Bug::SilentFeederKept, fallen), "it waits for its leader each time");
    assert!(breaks(Bug::FedNeverReviewed, fallen), "R18");
    let led_alone = |planted: Planted| {
        let mut cluster = relayed(55, 8, 1, planted);
        let (_, learner) = a_fed_one(&mut cluster);
        let leader = cluster.leader().expect("a leader");
        for other in (0..11).filter(|&node| node != leader && node != learner) {
            cluster.cut.extend([(learner, other), (other, learner)]);
        }
        travels(&mut cluster, "fourth", Span::secs(20));
        assert!(holds(&cluster, learner, "fourth"), "its leader is all it has");
    };
    assert!(breaks(Bug::FedTakenForMatched, led_alone), "what is taken for held is never sent");
    let made_up = |planted: Planted| {
        let mut cluster = relayed(52, 8, 1, planted);
        is_fed_what_does_not_fit(&mut cluster);
    };
    assert!(breaks(Bug::FedRunNotCompared, made_up), "the chain");
    let asked = |planted: Planted| {
        let mut cluster = relayed(53, 8, 1, planted);
        let leader = cluster.leader().expect("a leader");
        let term = cluster.place(leader).term;
        let voter = (0..VOTERS).find(|&node| node != leader).expect("there are others");
        for asker in VOTERS..11 {
            let last = cluster.place(asker).last;
            cluster.hear(voter, asker, term, Body::Feed { last, heard: LogIndex(0) });
        }
    };
    assert!(breaks(Bug::FeedsAnyNumber, asked), "R28");
    let behind = |planted: Planted| {
        let mut cluster = relayed(54, 8, 1, planted);
        let (last, term) = (cluster.place(5).last, cluster.place(5).term);
        cluster.hear(9, 5, term, Body::Feed { last, heard: LogIndex(0) });
    };
    assert!(breaks(Bug::FedInCircles, behind), "R28");
}
