//! A founder whose disk is rolled back while nothing can be decided without it (rule C3).

use alloc::vec::Vec;

use super::harness::{Cluster, Disk, GROUP, member};
use crate::id::GroupId;
use crate::planted::Planted;
use crate::raft::{Body, Message, Place, RoleName};
use crate::time::Span;

/// A control group of three: the first votes, the others learn.
fn founder_and_learners(seed: u64) -> Cluster {
    let mut cluster = Cluster::new(seed, GroupId::CONTROL, 3, 1, 0);
    cluster.settle(Span::millis(500));
    cluster.change(&[0], &[1, 2]);
    cluster.settle(Span::secs(1));
    cluster
}

fn between(a: usize, b: usize) -> [(usize, usize); 2] {
    [(a, b), (b, a)]
}

/// A founder tells both learners one thing, and another one to only one of them: the other is cut off. Its disk as it was before.
fn tell_all_but(cluster: &mut Cluster, away: usize) -> Disk {
    let image = cluster.replicas[0].disk.clone();
    cluster.propose(0, "one");
    cluster.settle(Span::millis(500));
    cluster.cut.extend(between(0, away));
    cluster.propose(0, "two");
    cluster.settle(Span::millis(500));
    assert_eq!((cluster.commands(away).len(), cluster.commands(3 - away).len()), (1, 2));
    image
}

/// A founder that fell while a change was under way, and forgot it: one of the two that are to vote holds the joint configuration, the
/// other one is down. Neither can be elected without it.
fn forgotten_change(seed: u64) -> Cluster {
    let mut cluster = founder_and_learners(seed);
    let image = cluster.replicas[0].disk.clone();
    cluster.crash(2);
    // What the founder hears of the change would commit it.
    cluster.cut.insert((1, 0));
    cluster.change(&[0, 1, 2], &[]);
    cluster.settle(Span::secs(1));
    cluster.crash(0);
    cluster.replicas[0].disk = image;
    cluster.cut.clear();
    cluster.settle(Span::secs(1));
    assert!(cluster.configuration(1).is_joint());
    assert_eq!(cluster.leader(), None);
    cluster
}

#[test]
fn a_founder_that_forgot_a_change_under_way_has_it_back_from_those_about_to_vote() {
    let mut cluster = forgotten_change(31);
    cluster.restart(2);
    cluster.restart(0);
    cluster.goes_on(3);
    assert!(!cluster.configuration(0).voters.contains(&member(0)), "under a fresh replica id");
}

#[test]
fn a_founder_takes_its_log_back_from_the_learner_that_knows_most() {
    let mut cluster = founder_and_learners(32);
    let image = tell_all_but(&mut cluster, 1);
    cluster.cut = between(0, 2).into();
    cluster.take_back(0, image);
    cluster.settle(Span::secs(1));
    assert_eq!(cluster.role(0), Some(RoleName::Amnesic), "the other learner may know more");
    cluster.cut.clear();
    cluster.goes_on(1);
    assert_eq!(cluster.commands(0), ["one", "two", "the end"]);
}

#[test]
fn a_founder_takes_nothing_for_whole_before_all_learners_have_answered() {
    let mut cluster = founder_and_learners(33);
    let image = cluster.replicas[0].disk.clone();
    cluster.cut.extend(between(0, 1));
    cluster.propose(0, "one");
    cluster.settle(Span::millis(500));
    assert_eq!((cluster.commands(1).len(), cluster.commands(2).len()), (0, 1));
    cluster.cut = between(0, 2).into();
    cluster.take_back(0, image);
    cluster.settle(Span::secs(1));
    assert_eq!(cluster.role(0), Some(RoleName::Verifying), "who answered knows of nothing");
    cluster.cut.clear();
    cluster.goes_on(1);
    assert_eq!(cluster.commands(0), ["one", "the end"]);
}

#[test]
fn a_founder_waits_for_a_silent_learner_only_so_long() {
    for rolled_back in [false, true] {
        let mut cluster = founder_and_learners(34);
        let image = cluster.replicas[0].disk.clone();
        cluster.propose(0, "one");
        cluster.settle(Span::millis(500));
        cluster.crash(0);
        cluster.crash(2);
        if rolled_back {
            cluster.replicas[0].disk = image;
        }
        cluster.restart(0);
        cluster.settle(Span::millis(1_500));
        assert_eq!(cluster.leader(), None, "rolled back: {rolled_back}");
        cluster.settle(Span::millis(1_000));
        assert_eq!(cluster.leader(), Some(0), "rolled back: {rolled_back}");
        cluster.restart(2);
        cluster.goes_on(1);
        assert_eq!(cluster.commands(0), ["one", "the end"]);
    }
}

/// Patience ends for who stays silent. Who comes back last may know more than whoever came back first.
#[test]
fn a_founder_that_copies_waits_anew_when_somebody_answers() {
    let mut cluster = founder_and_learners(36);
    let image = tell_all_but(&mut cluster, 2);
    cluster.take_back(0, image);
    while cluster.role(0) == Some(RoleName::Verifying) {
        cluster.settle(Span::millis(1));
    }
    cluster.network.clear();
    cluster.cut.extend(between(0, 1));
    cluster.settle(Span::secs(5));
    assert_eq!(cluster.role(0), Some(RoleName::Amnesic), "nobody was heard");
    cluster.cut = between(0, 1).into();
    cluster.settle(Span::secs(1));
    cluster.cut.clear();
    cluster.goes_on(1);
    assert_eq!(cluster.commands(0), ["one", "two", "the end"]);
}

/// Whoever asks is not silent, though it cannot answer before it is verified.
#[test]
fn a_founder_that_copies_waits_for_a_learner_that_starts() {
    let mut cluster = founder_and_learners(49);
    let image = tell_all_but(&mut cluster, 2);
    cluster.crash(1);
    cluster.cut.clear();
    cluster.take_back(0, image);
    let copies = |cluster: &Cluster| {
        let copy = |message: &Message| message.append().is_some_and(|append| append.copy);
        cluster.network.iter().any(|(.., message)| copy(message))
    };
    while !copies(&cluster) {
        cluster.settle(Span::millis(10));
    }
    cluster.settle(Span::millis(1_980));
    assert_eq!(cluster.role(0), Some(RoleName::Amnesic));
    cluster.restart(1);
    cluster.goes_on(1);
    assert_eq!(cluster.commands(0), ["one", "two", "the end"]);
}

/// Whoever is to vote in a change under way may have decided something together with the founder: their majority is waited for without limit.
#[test]
fn a_founder_that_forgot_a_change_under_way_hears_most_of_those_about_to_vote() {
    let mut cluster = forgotten_change(35);
    cluster.restart(0);
    cluster.settle(Span::secs(4));
    assert_eq!(cluster.role(0), Some(RoleName::Amnesic));
    assert!(cluster.configuration(0).is_joint(), "it has what the one it hears can give");
    cluster.restart(2);
    cluster.goes_on(3);
}

/// A change under way was committed by the founder alone, in a life that it forgot; and it helped another to lead, which nothing can be decided under
/// without the founder. That one's commit index proves nothing: were the founder to wait for its admission, nobody could grant it.
#[test]
fn a_founder_that_copies_is_needed_by_the_leader_it_helped_to_elect() {
    let mut cluster = founder_and_learners(50);
    let image = cluster.replicas[0].disk.clone();
    // What the founder hears of the change would commit it.
    cluster.cut.extend([(1, 0), (2, 0)]);
    cluster.change(&[0, 1, 2], &[]);
    cluster.settle(Span::millis(300));
    assert!(cluster.configuration(1).is_joint());
    cluster.crash(0);
    cluster.cut.clear();
    // It asks nobody for votes itself; so another leads by its vote.
    cluster.start(0);
    while cluster.leader().is_none() {
        cluster.network.retain(|(from, _, message)| {
            *from != member(0).node || !matches!(message.body, Body::Vote { .. })
        });
        cluster.settle(Span::millis(10));
    }
    let leader = cluster.leader().expect("just seen");
    assert_ne!(leader, 0);
    // The new term's first entry does not come to the founder.
    cluster.crash(0);
    cluster.network.clear();
    cluster.replicas[0].disk = image;
    assert!(cluster.configuration(leader).is_joint(), "nothing was decided in that term");
    cluster.restart(0);
    // What that one sends as a leader comes before its log.
    for _ in 0..100 {
        cluster.settle(Span::millis(10));
        let copy = |message: &Message| message.append().is_some_and(|append| append.copy);
        cluster.network.retain(|(.., message)| !copy(message));
    }
    assert_eq!(cluster.role(0), Some(RoleName::Amnesic));
    cluster.goes_on(3);
}

/// The founder alone holds the end of a change: by that entry others could do without it, by what they hold they cannot. It led once more with their
/// votes, and forgot that. Nobody could admit it.
#[test]
fn a_founder_that_alone_holds_the_end_of_a_change_is_needed_until_that_is_decided() {
    let mut cluster = founder_and_learners(52);
    cluster.change(&[0, 1, 2], &[]);
    let changed = |cluster: &Cluster| {
        let configuration = cluster.configuration(0);
        configuration.voters.len() == 3 && !configuration.is_joint()
    };
    while !changed(&cluster) {
        for node in 0..3 {
            cluster.sync_all(node);
        }
        cluster.deliver(0);
    }
    cluster.network.clear();
    cluster.sync_all(0);
    cluster.network.clear();
    let image = cluster.replicas[0].disk.clone();
    assert!((1..3).all(|node| cluster.configuration(node).is_joint()));
    cluster.crash(0);
    cluster.restart(0);
    while cluster.leader() != Some(0) {
        cluster.settle(Span::millis(1));
        let end = |message: &Message| message.append().is_some_and(|append| !append.entries.is_empty());
        cluster.network.retain(|(.., message)| !end(message));
    }
    cluster.network.clear();
    cluster.take_back(0, image);
    assert!((1..3).all(|node| cluster.configuration(node).is_joint()));
    cluster.goes_on(3);
}

/// Who leads may not be known here: the founder's disk is from before it came. By its log others decide, and nobody else has to be heard.
#[test]
fn a_founder_that_copies_hears_a_leader_it_does_not_know() {
    let mut cluster = Cluster::new(51, GroupId::CONTROL, 4, 1, 0);
    cluster.settle(Span::millis(500));
    cluster.change(&[0], &[1]);
    cluster.settle(Span::secs(1));
    let image = cluster.replicas[0].disk.clone();
    cluster.change(&[0], &[1, 2, 3]);
    cluster.settle(Span::secs(1));
    cluster.change(&[0, 2, 3], &[1]);
    cluster.settle(Span::secs(1));
    cluster.propose(0, "one");
    cluster.settle(Span::secs(1));
    cluster.crash(0);
    cluster.settle(Span::secs(2));
    assert!(matches!(cluster.leader(), Some(2 | 3)));
    // The only one that it remembers can tell it that it forgot, and nothing more.
    cluster.replicas[0].disk = image;
    cluster.restart(0);
    while cluster.role(0) != Some(RoleName::Amnesic) {
        cluster.settle(Span::millis(10));
    }
    cluster.crash(1);
    cluster.settle(Span::secs(4));
    assert_eq!(cluster.commands(0), ["one"], "it was admitted again");
    cluster.restart(1);
    cluster.goes_on(3);
}

/// One of three decides something more with the others and falls. They go on, and its disk is taken back.
fn the_others_go_on(cluster: &mut Cluster, image: Disk) {
    cluster.propose(0, "one");
    cluster.settle(Span::secs(1));
    cluster.crash(0);
    cluster.replicas[0].disk = image;
    cluster.settle(Span::secs(2));
    assert!(matches!(cluster.leader(), Some(1 | 2)));
}

/// The founder of three is down, and its disk forgot that the others vote, too.
fn parted_from_the_others(planted: Planted) -> Cluster {
    let mut cluster = Cluster::with_bug(26, GroupId::CONTROL, (3, 1, 0), planted);
    cluster.settle(Span::millis(500));
    cluster.change(&[0], &[1, 2]);
    cluster.settle(Span::secs(1));
    let image = cluster.replicas[0].disk.clone();
    cluster.change(&[0, 1, 2], &[]);
    cluster.settle(Span::secs(1));
    the_others_go_on(&mut cluster, image);
    cluster
}

/// It starts where it hears nobody, until it leads.
fn leads_alone(cluster: &mut Cluster) {
    cluster.cut.extend([between(0, 1), between(0, 2)].concat());
    cluster.restart(0);
    cluster.settle(Span::secs(3));
}

/// A founder whose disk forgot that others vote waits for its learners, and not for ever (rule C3). Then it leads, and commits what nobody else
/// has. When it hears the others' leader it must neither end their terms for ever nor stop them.
#[test]
fn a_founder_that_forgot_the_other_voters_stops_alone() {
    let mut cluster = parted_from_the_others(Planted::none());
    // What it does in a world of its own is nobody else's.
    let (agreed, leaders) = (core::mem::take(&mut cluster.agreed), core::mem::take(&mut cluster.leaders));
    leads_alone(&mut cluster);
    cluster.propose(0, "delusion");
    cluster.settle(Span::millis(50));
    assert_eq!(cluster.commands(0), ["delusion"]);
    (cluster.agreed, cluster.leaders) = (agreed, leaders);
    cluster.cut.retain(|&(from, _)| from == 0);
    cluster.settle(Span::secs(2));
    assert_eq!(cluster.role(0), Some(RoleName::Amnesic), "somebody else leads");
    cluster.cut.clear();
    cluster.settle(Span::secs(4));
    assert_eq!(cluster.role(0), Some(RoleName::Stopped));
    let leader = cluster.leader().expect("the others go on");
    cluster.propose(leader, "two");
    cluster.settle(Span::secs(1));
    for node in [1, 2] {
        assert_eq!(cluster.commands(node), ["one", "two"]);
    }
    cluster.crash(0);
    cluster.restart(0);
    cluster.settle(Span::secs(2));
    assert_eq!(cluster.role(0), Some(RoleName::Stopped));
    assert!(!cluster.replicas[1].stopped && !cluster.replicas[2].stopped, "it keeps its stop to itself");
}

/// The same, and it starts anew before it hears more, with most of what it decided on the disk only: committed, by its own word.
#[test]
fn a_founder_that_was_alone_knows_that_after_a_start() {
    was_alone(Planted::none());
}

fn was_alone(planted: Planted) {
    let mut cluster = parted_from_the_others(planted);
    let (agreed, leaders) = (core::mem::take(&mut cluster.agreed), core::mem::take(&mut cluster.leaders));
    leads_alone(&mut cluster);
    for _ in 0..20 {
        cluster.propose(0, "delusion");
        cluster.settle(Span::millis(20));
    }
    (cluster.agreed, cluster.leaders) = (agreed, leaders);
    cluster.cut.retain(|&(from, _)| from == 0);
    cluster.settle(Span::secs(2));
    assert_eq!(cluster.role(0), Some(RoleName::Amnesic), "somebody else leads");
    cluster.crash(0);
    cluster.log_bytes = 0;
    let others = (core::mem::take(&mut cluster.agreed), core::mem::take(&mut cluster.leaders));
    cluster.restart(0);
    cluster.read_all(0);
    assert!(cluster.commands(0).len() > 15, "it was given what it decided");
    (cluster.agreed, cluster.leaders) = others;
    cluster.cut.clear();
    cluster.settle(Span::secs(4));
    assert_eq!(cluster.role(0), Some(RoleName::Stopped));
    assert!(!cluster.replicas[1].stopped && !cluster.replicas[2].stopped, "it keeps its stop to itself");
    let leader = cluster.leader().expect("the others go on");
    cluster.propose(leader, "two");
    cluster.settle(Span::secs(1));
    assert_eq!(cluster.commands(3 - leader), ["one", "two"]);
}

#[cfg(feature = "planted")]
#[test]
fn a_delusion_that_a_start_forgets_is_found() {
    extern crate std;

    let bug = crate::planted::Bug::DelusionForgotten;
    assert!(std::panic::catch_unwind(|| was_alone(Planted::only(bug))).is_err());
}

/// A founder that forgot everybody and has decided much since, in many terms of its own; and two others that have decided less without it, and hold
/// entries that they could not decide.
fn two_worlds(seed: u64) -> Cluster {
    let mut cluster = Cluster::new(seed, GroupId::CONTROL, 3, 1, 0);
    cluster.settle(Span::millis(500));
    let image = cluster.replicas[0].disk.clone();
    cluster.change(&[0, 1, 2], &[]);
    cluster.settle(Span::secs(2));
    the_others_go_on(&mut cluster, image);
    // What it does in a world of its own is nobody else's.
    let others = (core::mem::take(&mut cluster.agreed), core::mem::take(&mut cluster.leaders));
    cluster.cut = [between(0, 1), between(0, 2)].concat().into_iter().collect();
    for _ in 0..8 {
        cluster.crash(0);
        cluster.restart(0);
        cluster.settle(Span::millis(100));
        (0..5).for_each(|_| cluster.propose(0, "alone"));
        cluster.settle(Span::millis(100));
    }
    assert_eq!(cluster.role(0), Some(RoleName::Leader));
    assert_eq!(cluster.commands(0).len(), 40);
    (cluster.agreed, cluster.leaders) = others;
    let leader = (1..3).find(|&node| cluster.role(node) == Some(RoleName::Leader)).expect("two of three");
    cluster.cut.insert((3 - leader, leader));
    ["x", "y", "z"].iter().for_each(|text| cluster.propose(leader, text));
    cluster.settle(Span::millis(100));
    assert_eq!(cluster.commands(leader), ["one"]);
    cluster
}

/// Whoever of the others is elected, the founder hears of it first: it must not end each term before anything is decided in it. They start anew, so they
/// know of nothing that it is committed, and what they say at first proves nothing. Most of it may be lost, too.
#[test]
fn a_founder_that_decided_more_than_those_it_forgot_yields_to_them() {
    for (seed, lossy) in [(36, false), (37, false), (38, true), (39, true)] {
        let mut cluster = two_worlds(seed);
        [1, 2].iter().for_each(|&node| cluster.crash(node));
        cluster.cut.clear();
        [1, 2].iter().for_each(|&node| cluster.restart(node));
        for _ in 0..2_000 {
            cluster.cut.clear();
            if lossy && cluster.rng.below(3) > 0 {
                cluster.cut.extend([(1, 0), (2, 0)]);
            }
            cluster.settle(Span::millis(10));
        }
        cluster.cut.clear();
        assert_eq!(cluster.role(0), Some(RoleName::Stopped), "seed {seed}: what it decided alone is void");
        let leader = cluster.leader().expect("the others go on");
        cluster.propose(leader, "two");
        cluster.settle(Span::secs(1));
        for node in [1, 2] {
            assert_eq!(cluster.commands(node), ["one", "x", "y", "z", "two"], "seed {seed}, node {node}");
        }
    }
}

#[test]
fn a_question_that_comes_again_late_raises_no_term() {
    let mut cluster = Cluster::new(44, GROUP, 2, 1, 1);
    let mut questions = Vec::new();
    for _ in 0..3 {
        cluster.settle(Span::secs(1));
        cluster.crash(0);
        cluster.network.clear();
        cluster.restart(0);
        cluster.sync_all(0);
        questions.extend(cluster.network.clone());
    }
    cluster.settle(Span::secs(1));
    let term = |cluster: &Cluster| cluster.replicas[0].groups.status(GROUP).expect("there").term;
    let before = term(&cluster);
    cluster.network.extend(questions);
    cluster.settle(Span::secs(1));
    assert_eq!(term(&cluster), before);
    assert_eq!(cluster.role(0), Some(RoleName::Leader));
}

/// What the network repeats is no other request: it does not end the term that the founder has just helped to begin.
#[test]
fn a_founder_that_is_asked_twice_for_one_vote_hears_the_candidate_out() {
    let mut cluster = founder_and_learners(47);
    let place = cluster.place(0);
    let term = place.term.next().next();
    let last = Place { term: place.term.next(), ..place.last };
    for _ in 0..2 {
        cluster.hear(0, 1, term, Body::Vote { pre: false, last });
        cluster.deadline(0);
        assert_eq!(cluster.role(0), Some(RoleName::Follower));
        assert_eq!(cluster.place(0).term, term);
    }
    cluster.settle(Span::secs(10));
    assert_eq!(cluster.role(0), Some(RoleName::Leader), "nobody led");
}

/// By their disks those who are left do not know yet that a change is over, so the founder that forgot it takes itself for needed; then they elect one of
/// themselves, with its vote, and decide. It must not lead under the id under which it vouched for what it forgot.
#[test]
fn a_founder_that_is_needed_no_more_when_it_could_lead_gives_up_its_id() {
    let mut cluster = founder_and_learners(53);
    let image = cluster.replicas[0].disk.clone();
    cluster.change(&[0, 1, 2], &[]);
    cluster.settle(Span::secs(1));
    assert_eq!((cluster.configuration(1).voters.len(), cluster.configuration(1).is_joint()), (3, false));
    for text in ["one", "two"] {
        // What it vouches for is remembered with what comes next.
        cluster.propose(0, text);
        cluster.settle(Span::millis(300));
    }
    (0..3).for_each(|node| cluster.crash(node));
    cluster.network.clear();
    cluster.replicas[0].disk = image;
    // Neither of the others leads before the founder has their logs.
    cluster.cut.extend(between(1, 2));
    (0..3).rev().for_each(|node| cluster.restart(node));
    for _ in 0..2_000 {
        if cluster.leader().is_some() {
            break;
        }
        cluster.network.retain(|(from, _, message)| {
            *from != member(0).node || !matches!(message.body, Body::Vote { .. })
        });
        cluster.settle(Span::millis(5));
    }
    let leader = cluster.leader().expect("one of the others, by its vote");
    assert_ne!(leader, 0);
    cluster.cut.clear();
    cluster.goes_on(3);
    assert_ne!(cluster.place(0).replica, member(0).replica, "what it vouched for under that id it forgot");
}
