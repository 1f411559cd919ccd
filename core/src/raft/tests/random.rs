//! Random histories of a group whose members change, hand over leadership, cut their logs and read. Beside what [`Cluster`] asserts, every
//! read must be answered with an index at or above all that anybody had applied when it was asked (R14), and nobody may be taken for one whose
//! disk was rolled back.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use super::harness::{Cluster, GROUP, member};
use crate::configuration::Member;
use crate::id::LogIndex;
use crate::planted::Planted;
use crate::raft::Input;

const STEPS: usize = 2_500;
/// Histories from this seed on have frames of many messages.
const FRAMES: u64 = 300;

/// A group and what its readers may expect.
struct History {
    cluster: Cluster,
    /// Reads by number: what was applied anywhere when they were asked.
    asked: BTreeMap<u64, LogIndex>,
    nodes: Vec<usize>,
    /// Whether messages also come many at a time, as relays pack them.
    frames: bool,
    /// How many reads were answered.
    answered: usize,
}

impl History {
    fn new(seed: u64, planted: Planted) -> Self {
        let (size, voters, learners) = [(3, 3, 0), (5, 3, 2), (5, 5, 0), (4, 3, 0)][seed as usize % 4];
        let mut cluster = Cluster::with_bug(seed + 7_000, GROUP, (size, voters, learners), planted);
        cluster.disks_are_kept = true;
        if seed.is_multiple_of(3) {
            cluster.keep_logs_within(seed % 7 * 100);
        }
        Self {
            cluster,
            asked: BTreeMap::new(),
            nodes: (0..size).collect(),
            frames: seed >= FRAMES,
            answered: 0,
        }
    }

    fn step(&mut self) {
        self.cluster.stir();
        let node = self.cluster.rng.below(self.nodes.len() as u64) as usize;
        if !self.cluster.replicas[node].up {
            return;
        }
        match self.cluster.rng.below(200) {
            0..12 => self.read(node),
            12..14 => self.transfer(),
            14..17 => self.change(),
            17..20 => {
                let keep = self.cluster.rng.below(4);
                self.cluster.compact(node, keep);
            }
            // Whoever leads is cut off: it is the last to know that it leads no more.
            20 => {
                if let Some(leader) = self.cluster.leader() {
                    let others = self.nodes.iter().filter(|&&other| other != leader);
                    self.cluster.cut.extend(others.flat_map(|&other| [(leader, other), (other, leader)]));
                    self.read(leader);
                }
            }
            21..41 if self.frames => self.cluster.deliver_together(node),
            _ => {}
        }
        self.judge_reads();
    }

    fn read(&mut self, node: usize) {
        let number = 1_000 + self.asked.len() as u64;
        let known = self.cluster.agreed.last_key_value().map_or(LogIndex(0), |((_, index), _)| *index);
        self.asked.insert(number, known);
        self.cluster.read(node, number);
    }

    fn judge_reads(&mut self) {
        for node in &self.nodes {
            for (number, index) in self.cluster.replicas[*node].read.drain(..) {
                let known = self.asked[&number];
                assert!(
                    index >= known,
                    "R14: node {node} read {number} at {index}, and {known} was applied before"
                );
                self.answered += 1;
            }
        }
    }

    fn transfer(&mut self) {
        let to = member(self.cluster.rng.below(self.nodes.len() as u64) as usize).node;
        if let Some(leader) = self.cluster.leader() {
            self.cluster.tell(leader, Input::Transfer { group: GROUP, to, context: 1 });
        }
    }

    /// Some vote, some learn, some go; who went may come back. Nobody votes who does not hold the entry that took it in: it would have to
    /// vote for whoever is to send it that.
    fn change(&mut self) {
        let Some(leader) = self.cluster.leader() else { return };
        let present = self.cluster.configuration(leader);
        let (mut voters, mut learners): (BTreeSet<Member>, BTreeSet<Member>) = Default::default();
        for &node in &self.nodes {
            let one = member(node);
            let knows = present.votes(one) || present.learners.contains(&one) && self.holds_its_name(node);
            match self.cluster.rng.below(5) {
                0..3 if knows => voters.insert(one),
                0..4 => learners.insert(one),
                _ => false,
            };
        }
        let (voters, learners) = (voters.into_iter().collect(), learners.into_iter().collect());
        self.cluster.tell(leader, Input::Change { group: GROUP, voters, learners, context: 1 });
    }

    fn holds_its_name(&self, node: usize) -> bool {
        let known = self.cluster.configuration(node);
        // On its disk: a crash takes the rest, and then it would not know that it votes.
        let place = self.cluster.place(node);
        known.members().any(|one| one == member(node)) && place.durable == place.last
    }

    /// All comes back; the present members agree, and one of them reads.
    fn ends_well(mut self, seed: u64) -> usize {
        self.cluster.heal();
        let leader = self.cluster.leader().unwrap_or_else(|| {
            let all = self.nodes.iter().map(|&node| self.cluster.replicas[node].groups.status(GROUP));
            panic!("seed {seed}: nobody leads after healing: {:#?}", all.collect::<Vec<_>>())
        });
        self.cluster.propose(leader, "the end");
        self.read(leader);
        let before = self.answered;
        self.cluster.settle(crate::time::Span::secs(2));
        self.judge_reads();
        assert!(self.answered > before, "seed {seed}: the last read was not answered");
        let commands = self.cluster.commands(leader);
        assert_eq!(commands.last().map(|c| &c[..]), Some(&b"the end"[..]), "seed {seed}: nothing commits");
        for one in self.cluster.configuration(leader).members() {
            let node = (one.node.0 - 1) as usize;
            assert_eq!(self.cluster.commands(node), commands, "seed {seed}, node {node}");
        }
        self.answered
    }
}

fn run(seed: u64, planted: Planted) -> usize {
    let mut history = History::new(seed, planted);
    (0..STEPS).for_each(|_| history.step());
    history.ends_well(seed)
}

#[test]
fn whoever_reads_in_a_random_history_reads_all_that_was_applied_before() {
    let seeds = (0..70).chain(FRAMES..FRAMES + 20);
    let answered: usize = seeds.map(|seed| run(seed, Planted::none())).sum();
    assert!(answered > 400, "{answered} reads were answered");
}

/// Bugs of reads, for which no node asks yet, and of changes that are rare in a mesh.
#[cfg(feature = "planted")]
#[test]
fn planted_bugs_are_found_in_random_histories() {
    extern crate std;
    use crate::planted::Bug;

    let bugs = [
        Bug::ReadBeforeOwnTerm,
        Bug::ReadRoundReused,
        Bug::LeaderReadsAlone,
        Bug::ReadsAlikeInEachLife,
        Bug::MatchesUnsorted,
        Bug::HalfIsEnough,
        Bug::SilentVotersLeftOut,
        Bug::OutgoingHalfIgnored,
        Bug::CommitGoesBack,
        Bug::RemovedLeaderCounts,
        Bug::CandidateVotesAgain,
        Bug::TermSetBack,
        Bug::PreVoteTakesVote,
        Bug::MatchGoesBack,
        Bug::SnapshotDropsSuffix,
        Bug::SnapshotSetsTerm,
        Bug::ConfigurationActsAtCommit,
        Bug::BytesStayUnderWay,
        Bug::PreVoteTermIgnored,
        Bug::StateStaysCounted,
        Bug::NewVoterDoesNotStand,
    ];
    let mut missed = Vec::new();
    for bug in bugs {
        let fails = |seed: &u64| std::panic::catch_unwind(|| run(*seed, Planted::only(bug))).is_err();
        match (0..2 * FRAMES).find(fails) {
            Some(seed) => std::println!("{}: seed {seed}", bug.describe().name),
            None => missed.push(bug.describe().name),
        }
    }
    assert!(missed.is_empty(), "not found: {missed:?}");
}
