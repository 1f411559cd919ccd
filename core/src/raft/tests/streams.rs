//! Groups of streams in which several vote: what their leaders send is on their disks (rule A3), and whoever founds one asks first (rule C2).

use alloc::format;
use alloc::vec::Vec;

use super::harness::{Cluster, GROUP, member};
use crate::id::GroupId;
use crate::planted::Planted;
use crate::raft::{Append, Body, Config, Input, Message, RoleName};
use crate::time::Span;

fn cluster(seed: u64, group: GroupId, (size, voters, learners): (usize, usize, usize)) -> Cluster {
    let config = Config { of_streams: true, ..Config::default() };
    Cluster::with_config(seed, group, (size, voters, learners), Planted::none(), config)
}

/// Lets random things happen, and counts the entries that left a node before they were on its disk, and all.
fn sent_early(group: GroupId, seed: u64) -> (usize, usize) {
    let mut cluster = cluster(seed, group, (3, 3, 0));
    let (mut early, mut all) = (0, 0);
    for _ in 0..4_000 {
        let mut before: Vec<(u64, u64)> = cluster.network.iter().map(numbered).collect();
        before.sort_unstable();
        cluster.stir();
        let fresh = |sent: &&_| before.binary_search(&numbered(sent)).is_err();
        for (from, _, message) in cluster.network.iter().filter(fresh) {
            let place = cluster.place((from.0 - 1) as usize);
            let Body::Append(Append { entries, .. }) = &message.body else { continue };
            let Some(last) = entries.last().filter(|_| place.term == message.term) else { continue };
            all += 1;
            early += usize::from(last.index > place.durable.index);
        }
    }
    (early, all)
}

/// What tells one message under way from the others, nearly always.
fn numbered((from, to, message): &(crate::id::NodeId, crate::id::NodeId, Message)) -> (u64, u64) {
    let number = if let Body::Append(append) = &message.body { append.number } else { 0 };
    ((from.0 << 8 | to.0) as u64, message.term.0 << 32 | number)
}

#[test]
fn whoever_leads_a_stream_sends_what_is_on_its_disk_though_several_vote() {
    let (early, all) =
        (0..20).map(|seed| sent_early(GROUP, seed)).fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1));
    assert!(early == 0 && all > 1_000, "{early} of {all} appends left too early");
    // The control group need not wait: the harness sees the difference.
    let early: usize = (0..5).map(|seed| sent_early(GroupId::CONTROL, seed).0).sum();
    assert!(early > 20, "{early}");
}

/// Three vote from the beginning, and the third knows nothing: it was cut off. The second comes back with the disk it had before the group was there.
fn founder_forgets(group: GroupId) -> (Cluster, usize, usize) {
    let mut cluster = cluster(3, group, (3, 3, 0));
    let empty = Vec::new();
    cluster.settle(Span::secs(2));
    let leader = cluster.leader().expect("a leader");
    let (forgetful, away) = ((leader + 1) % 3, (leader + 2) % 3);
    let others = [leader, forgetful];
    cluster.cut.extend(others.iter().flat_map(|&other| [(other, away), (away, other)]));
    for number in 0..5 {
        cluster.propose(leader, &format!("{number}"));
        cluster.settle(Span::millis(50));
    }
    assert_eq!((cluster.commands(forgetful).len(), cluster.commands(away).len()), (5, 0));
    cluster.replicas[forgetful].kept.clear();
    cluster.take_back(forgetful, empty);
    (cluster, leader, forgetful)
}

#[test]
fn a_founder_of_a_stream_whose_disk_is_older_than_the_group_asks_before_it_votes() {
    let (mut cluster, leader, forgetful) = founder_forgets(GROUP);
    assert_eq!(cluster.role(forgetful), Some(RoleName::Verifying), "nobody told it anything yet");
    // Only those two may decide, and one of them has to know what the other vouched for.
    cluster.settle(Span::secs(2));
    assert_ne!(cluster.place(forgetful).replica, member(forgetful).replica, "it was told");
    assert_eq!(cluster.commands(leader).len(), 5);
    cluster.cut.clear();
    // It learns under its fresh name until the owner has it vote.
    cluster.goes_on(2);
    assert_eq!(cluster.commands(forgetful).len(), 6, "and nothing is lost");
}

#[test]
fn a_founder_of_a_stream_is_told_by_one_of_any_majority_that_its_disk_forgot() {
    let (mut cluster, leader, forgetful) = founder_forgets(GROUP);
    // Its vote would elect the third, that lacks what the other two committed.
    let away = 3 - leader - forgetful;
    cluster.cut.clear();
    cluster.cut.extend([(leader, away), (away, leader)]);
    for _ in 0..300 {
        cluster.settle(Span::millis(10));
        assert_ne!(cluster.leader(), Some(away), "it leads without what was committed");
    }
    cluster.cut.clear();
    cluster.goes_on(2);
    assert_eq!(cluster.commands(away).len(), 6);
}

/// Who was to be promoted is known to the leader that admitted it only. That one followed another before it came to it.
#[test]
fn a_voter_that_an_earlier_leader_was_to_promote_votes_again_at_the_word_of_the_owner() {
    let (mut cluster, _, forgetful) = founder_forgets(GROUP);
    cluster.settle(Span::secs(2));
    cluster.cut.clear();
    cluster.goes_on(2);
    let leader = cluster.leader().expect("a leader");
    assert!(!cluster.configuration(leader).voters.iter().any(|voter| voter.node == member(forgetful).node));
    let nodes: Vec<_> = (0..3).map(|node| member(node).node).collect();
    cluster.tell(leader, Input::Voting { group: GROUP, nodes });
    cluster.goes_on(3);
}

/// Owners talk to each other whether they vote or not. In the control group nobody waits for a learner's learner.
#[test]
fn learners_of_a_stream_hear_of_each_others_starts() {
    for (group, far) in [(GROUP, true), (GroupId::CONTROL, false)] {
        let mut cluster = cluster(41, group, (3, 1, 2));
        cluster.settle(Span::secs(1));
        let peers = cluster.replicas[1].groups.peers();
        assert_eq!(peers.far.contains(&member(2).node), far);
        assert!(!peers.near.contains(&member(2).node), "its silence stops nothing");
    }
}

/// The entries on their way to a node, by message.
fn under_way_to(cluster: &Cluster, node: usize) -> Vec<usize> {
    let appends = cluster.network.iter().filter(|(_, to, _)| *to == member(node).node);
    let entries = appends.filter_map(|(_, _, message)| message.append().map(|append| append.entries.len()));
    entries.filter(|count| *count > 0).collect()
}

#[test]
fn a_learner_of_a_stream_hears_of_what_is_unhurried_with_what_follows_once_that_is_on_disk() {
    let mut cluster = cluster(51, GROUP, (2, 1, 1));
    cluster.settle(Span::secs(2));
    let propose = |cluster: &mut Cluster, text: &'static str, unhurried| {
        let data = text.into();
        cluster.tell(0, Input::Propose { group: GROUP, data, weight: 0, unhurried, context: 0 });
    };
    for text in ["waits", "waits, too"] {
        propose(&mut cluster, text, true);
        cluster.sync_all(0);
        assert_eq!(under_way_to(&cluster, 1), [], "{text}");
    }
    propose(&mut cluster, "is needed", false);
    assert_eq!(under_way_to(&cluster, 1), [], "it is not on disk yet");
    cluster.sync_all(0);
    assert_eq!(under_way_to(&cluster, 1), [3], "together");
    cluster.settle(Span::secs(1));
    propose(&mut cluster, "is followed by nothing", true);
    cluster.settle(Span::millis(50));
    assert_eq!((cluster.commands(0).len(), cluster.commands(1).len()), (4, 3));
    cluster.settle(Span::millis(100));
    assert_eq!(cluster.commands(1).len(), 4, "it is told after a while");
}
