//! A group that lost its quorum is founded anew by its survivors (R20 to R22).

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use super::harness::{Cluster, member};
use crate::id::{GroupId, LogIndex, NodeId, Term};
use crate::planted::{Bug, Planted};
use crate::raft::{Body, End, Fence, Founding, Input, Output, Place, RoleName};
use crate::time::Span;

const ERA: u64 = 77;

fn nodes(places: &[usize]) -> Vec<NodeId> {
    places.iter().map(|&place| member(place).node).collect()
}

/// All survivors are fenced, and say where their logs end, or why not.
pub(super) fn fence(
    cluster: &mut Cluster,
    era: u64,
    survivors: &[usize],
    lost: &[usize],
) -> BTreeMap<usize, Result<End, String>> {
    let mut ends = BTreeMap::new();
    for &node in survivors {
        let mut fence = cluster.fences.get(&node).cloned().unwrap_or(Fence::default());
        fence.lost = nodes(lost);
        if fence.eras.last() != Some(&era) {
            fence.eras.push(era);
        }
        cluster.fences.insert(node, fence.clone());
        cluster.outputs = Some(Vec::new());
        cluster.tell(node, Input::Fence { group: cluster.group, fence });
        cluster.sync_all(node);
        for (_, output) in cluster.outputs.take().unwrap_or_default() {
            if let Output::Fenced { end, .. } = output {
                ends.insert(node, end);
            }
        }
    }
    ends
}

/// What the owners make of the ends: whom they would ask, the best last, and what its log must hold.
fn choose(ends: &BTreeMap<usize, Result<End, String>>) -> (Vec<usize>, Term, crate::raft::Place) {
    let ends: BTreeMap<usize, End> =
        ends.iter().map(|(&node, end)| (node, end.clone().expect("it knows its end"))).collect();
    let mut order: Vec<usize> = ends.keys().copied().collect();
    order.sort_by_key(|node| ends[node].last.rank());
    let above = ends.values().map(|end| end.term).max().unwrap();
    let holds = ends.values().map(|end| end.certain).max_by_key(|place| place.index).unwrap();
    (order, above, holds)
}

/// Whether that node goes on.
fn found(cluster: &mut Cluster, node: usize, founding: Founding) -> Result<(), String> {
    cluster.outputs = Some(Vec::new());
    cluster.tell(node, Input::Found { group: cluster.group, founding });
    let outputs = cluster.outputs.take().unwrap_or_default();
    let done = outputs.into_iter().find_map(|(_, output)| match output {
        Output::Founded { done, .. } => Some(done.map(drop)),
        _ => None,
    });
    done.expect("it is answered")
}

/// The survivors go on under that era; who founded.
fn recover(cluster: &mut Cluster, era: u64, survivors: &[usize], lost: &[usize]) -> usize {
    let ends = fence(cluster, era, survivors, lost);
    let (mut order, above, holds) = choose(&ends);
    if cluster.planted.has(Bug::FounderNotHighest) {
        order.reverse();
    }
    for &node in order.iter().rev() {
        let founding = Founding { era, above, holds, ends: false, survivors: nodes(survivors) };
        if found(cluster, node, founding).is_ok() {
            return node;
        }
    }
    panic!("nobody holds what is committed");
}

fn five() -> Cluster {
    let mut cluster = Cluster::new(5, GroupId::CONTROL, 6, 5, 1);
    cluster.settle(Span::secs(1));
    let leader = cluster.leader().expect("a leader");
    cluster.propose(leader, "before");
    cluster.settle(Span::secs(1));
    cluster
}

/// Three voters of the five are down; who these are, and the others.
fn five_without_three() -> (Cluster, [usize; 3], [usize; 3]) {
    let mut cluster = five();
    let (lost, survivors) = ([0, 1, 2], [3, 4, 5]);
    for node in lost {
        cluster.crash(node);
    }
    cluster.settle(Span::secs(1));
    (cluster, lost, survivors)
}

#[test]
fn survivors_go_on_and_the_lost_are_not_heard_when_they_come_back() {
    let mut cluster = five();
    let leader = cluster.leader().unwrap();
    let lost: Vec<usize> = (0..5).filter(|node| (node + 5 - leader) % 5 < 3).collect();
    let survivors: Vec<usize> = (0..6).filter(|node| !lost.contains(node)).collect();
    for &node in &lost {
        cluster.crash(node);
    }
    cluster.settle(Span::secs(2));
    assert_eq!(cluster.leader(), None);
    let founder = recover(&mut cluster, ERA, &survivors, &lost);
    cluster.settle(Span::secs(1));
    cluster.propose(founder, "after");
    cluster.settle(Span::secs(1));
    for &node in &survivors {
        assert_eq!(cluster.commands(node), ["before", "after"].map(bytes::Bytes::from), "node {node}");
        assert_eq!(cluster.place(node).era, ERA);
    }
    assert_eq!(cluster.configuration(founder).voters, [member(founder)]);
    for &node in &lost {
        cluster.restart(node);
    }
    cluster.settle(Span::secs(3));
    // They are a majority of what they know, and go on by themselves.
    let theirs =
        lost.iter().copied().find(|&node| cluster.role(node) == Some(RoleName::Leader)).expect("they elect");
    cluster.propose(theirs, "elsewhere");
    cluster.settle(Span::secs(2));
    assert!(cluster.commands(theirs).contains(&"elsewhere".into()));
    for &node in &survivors {
        assert_eq!(cluster.commands(node).len(), 2, "node {node} heard the lost");
        assert!(!cluster.replicas[node].stopped);
    }
}

#[test]
fn a_fenced_replica_says_nothing_that_counts_and_remembers_it_after_a_crash() {
    let mut cluster = five();
    let leader = cluster.leader().unwrap();
    let lost: Vec<usize> = (0..5).filter(|&node| (node + 5 - leader) % 5 < 3).collect();
    let survivors: Vec<usize> = (0..6).filter(|node| !lost.contains(node)).collect();
    for &node in &survivors {
        cluster.cut.extend(lost.iter().flat_map(|&other| [(node, other), (other, node)]));
    }
    cluster.settle(Span::secs(1));
    let ends = fence(&mut cluster, ERA, &survivors, &lost);
    cluster.crash(survivors[0]);
    cluster.restart(survivors[0]);
    cluster.cut.clear();
    cluster.settle(Span::secs(1));
    cluster.propose(leader, "not here");
    cluster.settle(Span::secs(2));
    let again = fence(&mut cluster, ERA, &survivors, &lost);
    for &node in &survivors {
        assert!(cluster.commands(node).len() <= 1, "node {node}");
        let (before, after) = (ends[&node].clone().unwrap(), again[&node].clone().unwrap());
        assert_eq!((before.last, before.term), (after.last, after.term), "node {node}");
    }
    // Taken back, they follow as before.
    for &node in &survivors {
        cluster.fences.remove(&node);
        cluster.tell(node, Input::Unfence { group: GroupId::CONTROL });
    }
    cluster.settle(Span::secs(3));
    for &node in &survivors {
        assert_eq!(cluster.commands(node).len(), 2, "node {node}");
    }
}

#[test]
fn who_lacks_what_another_survivor_knows_to_be_committed_does_not_found() {
    // Three voters. The first leads term 1 and appends to the second; the third leads term 2 without that, and holds an entry of its own
    // in its place; the first comes back in term 3, has its entry committed by the second, and falls.
    let mut cluster = Cluster::new(9, GroupId::CONTROL, 4, 3, 1);
    cluster.settle(Span::secs(1));
    let leader = cluster.leader().unwrap();
    let others: Vec<usize> = (0..3).filter(|&node| node != leader).collect();
    let (second, third) = (others[0], others[1]);
    let last = cluster.place(second).last;
    let term = cluster.place(second).term;
    let entry = |term: u64, text: &'static str| crate::raft::Entry {
        index: last.index.next(),
        term: Term(term),
        kind: crate::raft::EntryKind::Command,
        data: text.into(),
        weight: 0,
    };
    let append = |entry: crate::raft::Entry, commit| {
        let entries = [entry].into_iter().collect();
        let durable = last;
        Body::Append(crate::raft::Append {
            previous: last,
            commit,
            durable,
            entries,
            number: 1,
            round: 0,
            copy: false,
            cut: false,
        })
    };
    cluster.crash(leader);
    let committed = append(entry(term.0, "committed"), last.index.next());
    cluster.hear(second, leader, Term(term.0 + 2), committed);
    let stale = append(entry(term.0 + 1, "stale"), last.index);
    cluster.hear(third, leader, Term(term.0 + 1), stale);
    assert!(cluster.place(third).last.rank() > cluster.place(second).last.rank());
    let (survivors, lost) = ([second, third, 3], [leader]);
    let ends = fence(&mut cluster, ERA, &survivors, &lost);
    assert!(ends[&second].as_ref().unwrap_err().contains("quorum"), "two of three are one: {ends:?}");
    for node in survivors {
        cluster.fences.remove(&node);
        cluster.tell(node, Input::Unfence { group: GroupId::CONTROL });
    }
    // Of the same logs, were there two more voters lost.
    let (_, above, holds) = choose(&BTreeMap::from([
        (
            second,
            Ok(End { term: Term(9), last: cluster.place(second).last, certain: cluster.place(second).last }),
        ),
        (third, Ok(End { term: Term(9), last: cluster.place(third).last, certain: last })),
    ]));
    for node in [second, third] {
        let fence = Fence {
            eras: [ERA].into(),
            lost: nodes(&[leader, if node == second { third } else { second }]),
            everybody: false,
        };
        cluster.tell(node, Input::Fence { group: GroupId::CONTROL, fence });
        cluster.sync_all(node);
    }
    let founding = Founding { era: ERA, above, holds, ends: false, survivors: nodes(&[second, third]) };
    let why = found(&mut cluster, third, founding.clone()).unwrap_err();
    assert!(why.contains("does not hold entry"), "{why}");
    assert_eq!(found(&mut cluster, second, founding.clone()), Ok(()));
    assert_eq!(found(&mut cluster, second, founding), Ok(()), "asked twice");
    cluster.settle(Span::secs(2));
    assert!(cluster.commands(second).contains(&"committed".into()));
}

#[test]
fn a_founder_whose_log_goes_on_behind_what_was_said_to_be_its_end_stops() {
    let (mut cluster, lost, survivors) = five_without_three();
    let ends = fence(&mut cluster, ERA, &survivors, &lost);
    let (order, above, holds) = choose(&ends);
    let founder = *order.last().expect("somebody");
    let holds = Place { index: LogIndex(holds.index.0 - 1), ..holds };
    let founding = Founding { era: ERA, above, holds, ends: true, survivors: nodes(&survivors) };
    assert!(found(&mut cluster, founder, founding).is_err());
    assert_eq!(cluster.role(founder), Some(RoleName::Stopped));
}

#[test]
fn a_founding_that_a_crash_undoes_is_done_again_and_one_that_is_on_disk_goes_on() {
    let (mut cluster, lost, survivors) = five_without_three();
    let founder = recover(&mut cluster, ERA, &survivors, &lost);
    cluster.crash(founder);
    cluster.restart(founder);
    cluster.settle(Span::secs(2));
    assert_eq!((cluster.place(founder).era, cluster.leader()), (0, None), "nothing of it was on disk");
    let again = recover(&mut cluster, ERA, &survivors, &lost);
    assert_eq!(again, founder);
    cluster.sync_all(founder);
    cluster.crash(founder);
    cluster.restart(founder);
    cluster.settle(Span::secs(3));
    assert_eq!((cluster.place(founder).era, cluster.leader()), (ERA, Some(founder)));
    cluster.propose(founder, "after");
    cluster.settle(Span::secs(1));
    for node in survivors {
        assert!(cluster.commands(node).contains(&"after".into()), "node {node}");
    }
}

/// A random history, in the middle of which three of five are lost, live on, and come back.
fn history(seed: u64, planted: Planted) {
    let mut cluster = Cluster::with_bug(seed, GroupId::CONTROL, (6, 5, 1), planted);
    cluster.settle(Span::secs(1));
    for _ in 0..400 {
        cluster.stir();
    }
    let lost: Vec<usize> = (0..3).map(|place| (place + seed as usize) % 5).collect();
    let survivors: Vec<usize> = (0..6).filter(|node| !lost.contains(node)).collect();
    for &node in &survivors {
        if !cluster.replicas[node].up {
            cluster.restart(node);
        }
    }
    for node in 0..6 {
        if lost.contains(&node) && seed.is_multiple_of(2) && cluster.replicas[node].up {
            cluster.crash(node);
        }
    }
    cluster.cut = survivors.iter().flat_map(|&a| lost.iter().flat_map(move |&b| [(a, b), (b, a)])).collect();
    cluster.settle(Span::secs(1));
    let before: Vec<_> = survivors.iter().map(|&node| cluster.replicas[node].applied.clone()).collect();
    // Some are fenced for a recovery that nobody brought to its end.
    fence(&mut cluster, 5, &survivors[1..], &lost);
    // A start asks the other survivors first.
    cluster.settle(Span::secs(2));
    fence(&mut cluster, ERA, &survivors, &lost);
    cluster.settle(Span::secs(2));
    let founder = recover(&mut cluster, ERA, &survivors, &lost);
    cluster.sync_all(founder);
    for &node in &lost {
        if !cluster.replicas[node].up {
            cluster.restart(node);
        }
    }
    cluster.cut.clear();
    for step in 0..600 {
        if step % 100 == 0 && cluster.replicas[founder].up {
            cluster.propose(founder, "after");
        }
        cluster.stir();
    }
    cluster.heal();
    assert_eq!(cluster.role(founder), Some(RoleName::Leader), "seed {seed}");
    cluster.propose(founder, "the end");
    cluster.settle(Span::secs(2));
    let commands = cluster.commands(founder);
    assert_eq!(commands.last(), Some(&"the end".into()), "seed {seed}");
    for (&node, before) in survivors.iter().zip(&before) {
        assert_eq!(cluster.commands(node), commands, "seed {seed}: node {node}");
        let applied = &cluster.replicas[node].applied;
        assert_eq!(applied[..before.len()], before[..], "seed {seed}: node {node} kept what it applied");
        assert_eq!(cluster.place(node).era, ERA, "seed {seed}: node {node}");
    }
    for node in lost {
        assert_eq!(cluster.place(node).era, 0, "seed {seed}: node {node} was lost");
    }
}

#[test]
fn whatever_happened_before_and_whoever_lives_on_survivors_keep_what_they_applied_and_agree() {
    (0..12).for_each(|seed| history(seed, Planted::none()));
}

#[cfg(feature = "planted")]
#[test]
fn planted_bugs_of_recoveries_are_found_in_random_histories() {
    extern crate std;

    for bug in [Bug::EraNotCompared, Bug::FounderNotHighest] {
        let fails = |seed: &u64| std::panic::catch_unwind(|| history(*seed, Planted::only(bug))).is_err();
        let found = (0..60).find(fails);
        assert!(found.is_some(), "not found: {}", bug.describe().name);
        std::println!("{}: seed {found:?}", bug.describe().name);
    }
}

/// A message of a survivor that goes on under that era.
fn said(cluster: &mut Cluster, (from, to): (usize, usize), era: u64, body: Body) {
    let (sender, addressee, term) =
        (member(from).replica, Some(member(to).replica), cluster.place(from).term);
    let message = crate::raft::Message { sender, addressee, term, life: 0, era, body };
    cluster.tell(
        to,
        Input::Message { from: member(from).node, group: GroupId::CONTROL, message: message.into() },
    );
    cluster.sync_all(to);
}

#[test]
fn a_founder_that_is_ordered_again_is_no_quorum_by_itself() {
    let (mut cluster, lost, survivors) = five_without_three();
    let founder = recover(&mut cluster, ERA, &survivors, &lost);
    // Whether the others have heard of it or not.
    for (heard, again) in [(false, ERA + 1), (true, ERA + 2)] {
        cluster.sync_all(founder);
        if heard {
            cluster.settle(Span::secs(1));
        }
        let ends = fence(&mut cluster, again, &survivors, &lost);
        assert!(ends.values().all(Result::is_ok), "{ends:?}");
        recover(&mut cluster, again, &survivors, &lost);
    }
    cluster.settle(Span::secs(1));
    let leader = cluster.leader().expect("one goes on");
    cluster.propose(leader, "after");
    cluster.settle(Span::secs(1));
    for node in survivors {
        assert_eq!(cluster.commands(node), ["before", "after"].map(bytes::Bytes::from), "node {node}");
        assert_eq!(cluster.place(node).era, ERA + 2);
    }
}

/// Three survivors, of which one founded and another heard of it; the third did not.
fn founded_and_half_told() -> (Cluster, usize, usize, usize) {
    let (mut cluster, lost, survivors) = five_without_three();
    let founder = recover(&mut cluster, ERA, &survivors, &lost);
    let others: Vec<usize> = survivors.into_iter().filter(|&node| node != founder).collect();
    let (told, untold) = (others[0], others[1]);
    cluster.cut.extend(survivors.iter().filter(|&&node| node != untold).map(|&node| (node, untold)));
    cluster.settle(Span::secs(1));
    assert_eq!((cluster.place(told).era, cluster.place(untold).era), (ERA, 0));
    (cluster, founder, told, untold)
}

#[test]
fn what_survivors_ask_each_other_under_an_earlier_recovery_does_not_end_a_later_fence() {
    let (mut cluster, _, told, untold) = founded_and_half_told();
    let (lost, survivors) = ([0, 1, 2], [3, 4, 5]);
    fence(&mut cluster, ERA + 1, &survivors, &lost);
    said(
        &mut cluster,
        (told, untold),
        ERA,
        Body::Recall { mark: None, question: true, start: 5, alone: false, needed: false },
    );
    assert_eq!(cluster.place(untold).era, 0, "nobody leads who says that");
    recover(&mut cluster, ERA + 1, &survivors, &lost);
    cluster.cut.clear();
    cluster.settle(Span::secs(2));
    for node in survivors {
        assert_eq!(cluster.place(node).era, ERA + 1, "node {node}");
    }
}

#[test]
fn an_earlier_founder_that_goes_on_is_followed_and_a_later_one_after_it() {
    // Nobody founds the later one: the earlier founder was never asked.
    for later in [false, true] {
        let (mut cluster, founder, told, untold) = founded_and_half_told();
        let (lost, survivors) = ([0, 1, 2], [3, 4, 5]);
        fence(&mut cluster, ERA + 1, &[told, untold], &lost);
        cluster.cut.clear();
        cluster.settle(Span::secs(2));
        cluster.propose(founder, "after");
        cluster.settle(Span::secs(1));
        for node in survivors {
            assert_eq!((cluster.place(node).era, cluster.commands(node).len()), (ERA, 2), "node {node}");
            assert_ne!(cluster.role(node), Some(RoleName::Candidate));
        }
        if !later {
            // What it founded has grown by one of those that are fenced, and needs its vote.
            let [voters, learners] =
                [&[founder, told][..], &[untold]].map(|nodes| nodes.iter().copied().map(member).collect());
            cluster.tell(founder, Input::Change { group: GroupId::CONTROL, voters, learners, context: 1 });
            cluster.settle(Span::secs(1));
            cluster.crash(founder);
            cluster.restart(founder);
            cluster.settle(Span::secs(3));
            assert_eq!(cluster.leader(), Some(founder));
        } else {
            recover(&mut cluster, ERA + 1, &survivors, &lost);
            cluster.settle(Span::secs(2));
            assert!(survivors.iter().all(|&node| cluster.place(node).era == ERA + 1));
        }
    }
}

#[test]
fn what_a_learner_holds_is_certain_only_as_far_as_it_was_told() {
    let mut cluster = five();
    let leader = cluster.leader().unwrap();
    let (last, term) = (cluster.place(5).last, cluster.place(leader).term);
    for node in 0..5 {
        cluster.crash(node);
    }
    cluster.settle(Span::secs(1));
    // A start forgets nothing of what was known to be committed.
    cluster.crash(5);
    cluster.restart(5);
    let ends = fence(&mut cluster, ERA, &[5], &[0, 1, 2, 3, 4]);
    assert_eq!(ends[&5].as_ref().unwrap().certain, last);
    cluster.fences.remove(&5);
    cluster.tell(5, Input::Unfence { group: GroupId::CONTROL });
    // It is about to vote, and the append was cut in front of the entry that says so.
    let entry = crate::raft::Entry {
        index: last.index.next(),
        term,
        kind: crate::raft::EntryKind::Command,
        data: "not committed".into(),
        weight: 0,
    };
    let append = crate::raft::Append {
        previous: last,
        commit: last.index,
        durable: last,
        entries: [entry].into_iter().collect(),
        number: 1,
        round: 0,
        copy: false,
        cut: false,
    };
    cluster.hear(5, leader, term, Body::Append(append));
    let ends = fence(&mut cluster, ERA + 1, &[5], &[0, 1, 2, 3, 4]);
    let end = ends[&5].clone().unwrap();
    assert_eq!((end.last.index, end.certain), (last.index.next(), last));
}

/// Three voters, and a survivor of one of them whose log says nothing of a change by which that one alone came to vote: what the two others say when they are fenced.
fn fenced_with_old_voters(everybody: bool, planted: Planted) -> Vec<bool> {
    let mut cluster = Cluster::with_bug(9, GroupId::CONTROL, (3, 3, 0), planted);
    cluster.settle(Span::secs(1));
    let lost = cluster.leader().expect("a leader");
    cluster.crash(lost);
    let survivors: Vec<usize> = (0..3).filter(|&node| node != lost).collect();
    for &node in &survivors {
        cluster.fences.insert(node, Fence { everybody, ..Fence::default() });
    }
    let ends = fence(&mut cluster, ERA, &survivors, &[lost]);
    ends.values().map(Result::is_ok).collect()
}

#[test]
fn where_everybody_is_asked_survivors_answer_that_were_a_quorum_by_an_old_log() {
    assert_eq!(fenced_with_old_voters(true, Planted::none()), [true; 2]);
    assert_eq!(fenced_with_old_voters(false, Planted::none()), [false; 2], "one of them may not be asked");
}

#[cfg(feature = "planted")]
#[test]
fn a_survivor_that_waits_for_a_quorum_of_an_old_log_is_seen() {
    assert_eq!(fenced_with_old_voters(true, Planted::only(Bug::OldVotersAreAQuorum)), [false; 2]);
}

#[test]
fn a_replica_whose_owner_leaves_says_where_its_log_ends_and_one_whose_owner_stopped_does_not() {
    let (mut cluster, lost, survivors) = five_without_three();
    for (node, leaves) in [(survivors[0], true), (survivors[1], false)] {
        cluster.tell(node, Input::Resign { group: GroupId::CONTROL, leaves });
    }
    let ends = fence(&mut cluster, ERA, &survivors, &lost);
    assert_eq!(ends.values().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true]);
}
