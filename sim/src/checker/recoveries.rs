//! The recovery of a lost quorum (X26): what survivors had applied stays, nothing that the lost decided since is ever applied by a survivor that
//! went on, the lost are no members there, and the two sides are at other epochs.

use std::collections::{BTreeMap, BTreeSet};

use wattle_core::digest::Chain;
use wattle_core::epoch::Epoch;
use wattle_core::id::{LogIndex, NodeId};
use wattle_core::node::Status;
use wattle_core::raft::Place;

use super::{Checked, ensure};

/// What is known of both sides.
#[derive(Clone, Debug, Default)]
pub struct Recoveries {
    lost: BTreeSet<usize>,
    ordered: bool,
    recovered: bool,
    /// What survivors showed as committed.
    decided: BTreeMap<LogIndex, (Chain, usize)>,
    /// What the lost showed as committed since the recovery was ordered.
    elsewhere: BTreeMap<LogIndex, BTreeSet<Chain>>,
    /// Which attempt a survivor takes part in, once that is on its disk.
    fenced: BTreeMap<usize, u64>,
    /// Somebody may have taken back what was under way.
    withdrawn: bool,
    /// The epoch of survivors that went on.
    epoch: Option<Epoch>,
    /// What each of the lost told somebody is decided.
    acknowledged: BTreeMap<usize, BTreeMap<LogIndex, Chain>>,
    /// Which of that survivors went on without.
    void: BTreeMap<usize, LogIndex>,
}

impl Recoveries {
    /// These nodes of a plan will be lost.
    #[must_use]
    pub fn new(lost: &[usize]) -> Self {
        Self { lost: lost.iter().copied().collect(), ..Self::default() }
    }

    /// Survivors are asked to go on.
    pub fn orders(&mut self) {
        self.ordered = true;
    }

    /// Survivors are asked to take that back.
    pub fn withdraws(&mut self) {
        self.withdrawn = true;
    }

    /// Somebody was told that they do.
    pub fn recovered(&mut self) {
        self.recovered = true;
    }

    /// A node told somebody that a change is decided, by that entry of its log.
    pub fn acknowledges(&mut self, node: usize, index: LogIndex, held: Option<Place>) {
        if let Some(place) = held.filter(|_| self.lost.contains(&node)) {
            self.acknowledged.entry(node).or_default().insert(index, place.chain);
        }
    }

    /// Whether there may be two histories of the mesh.
    #[must_use]
    pub fn has_ordered(&self) -> bool {
        self.ordered
    }

    /// Whether survivors go on without the lost.
    #[must_use]
    pub fn has_recovered(&self) -> bool {
        self.recovered
    }

    /// Who is lost, once survivors go on.
    pub fn gone(&self) -> impl Iterator<Item = usize> + '_ {
        self.lost.iter().copied().filter(|_| self.recovered)
    }

    /// A node shows its status; `synced` if all that it wrote is on disk; `held` knows what its log holds.
    ///
    /// # Errors
    /// X26.
    pub fn seen(
        &mut self,
        node: usize,
        status: &Status,
        synced: bool,
        whose: impl Fn(NodeId) -> Option<usize>,
        held: impl Fn(LogIndex) -> Option<Place>,
    ) -> Checked {
        if let Some(index) = self.void.get(&node).filter(|_| status.mesh.is_none() && status.parted.is_some())
        {
            ensure!(
                false,
                "X26",
                "node {node} is one of the lost, and gave up entry {index}, which it had acknowledged and others went on without"
            );
        }
        let Some(control) = status.control.as_ref().filter(|_| !self.lost.is_empty()) else { return Ok(()) };
        if self.lost.contains(&node) {
            return self.lost_seen(node, status, control.commit, control.chain);
        }
        for (&index, &(chain, by)) in self.decided.range(..=control.commit) {
            ensure!(
                held(index).is_none_or(|place| place.chain == chain),
                "X26",
                "survivor {node} holds something else at {index} than survivor {by} had applied"
            );
        }
        let fenced = status.recovery.fenced.as_ref().map(|fenced| fenced.attempt);
        if let Some(&attempt) = self.fenced.get(&node) {
            let over = fenced >= Some(attempt) || status.recovery.last.is_some() || self.withdrawn;
            ensure!(over, "X26", "survivor {node} took part in attempt {attempt}, and forgot it");
        }
        if let Some(attempt) = fenced.filter(|_| synced) {
            self.fenced.insert(node, attempt);
        }
        if synced {
            // What is not on the disk of a survivor may go with its next crash, and nobody else who is left need hold it.
            self.decided.entry(control.commit).or_insert((control.chain, node));
        }
        let Some(last) = &status.recovery.last else { return Ok(()) };
        self.recovered = true;
        self.epoch = Some(status.epoch);
        ensure!(
            status.epoch.number >= last.number && last.number > last.before.number,
            "X26",
            "survivor {node} went on at mesh epoch {}, from {}",
            status.epoch,
            last.before
        );
        let named = |id: NodeId| whose(id).is_some_and(|place| self.lost.contains(&place));
        ensure!(
            !status.members.iter().any(|member| named(member.node)),
            "X26",
            "survivor {node} went on, and one of the lost is a member"
        );
        for (&lost, entries) in &self.acknowledged {
            let gone = |(index, chain): &(&LogIndex, &Chain)| {
                **index > last.end || held(**index).is_some_and(|place| place.chain != **chain)
            };
            if let Some((&index, _)) = entries.iter().find(gone) {
                self.void.insert(lost, index);
            }
        }
        for (&index, chains) in self.elsewhere.range(last.end.next()..=control.commit) {
            let taken = held(index).is_some_and(|place| chains.contains(&place.chain));
            ensure!(!taken, "X26", "survivor {node} applied entry {index} of the lost");
        }
        Ok(())
    }

    fn lost_seen(&mut self, node: usize, status: &Status, commit: LogIndex, chain: Chain) -> Checked {
        if self.ordered {
            self.elsewhere.entry(commit).or_default().insert(chain);
        }
        let Some(epoch) = self.epoch.filter(|_| status.mesh.is_some()) else { return Ok(()) };
        let same = epoch.number > 0 && status.epoch == epoch;
        ensure!(
            !same,
            "X26",
            "node {node} is one of the lost, and at the epoch {epoch} of those that went on"
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;
    use wattle_core::id::{MeshId, Term};
    use wattle_core::node::status::GroupStatus;
    use wattle_core::recovery::{Recovered, RecoveryStatus};
    use wattle_core::time::Wall;

    fn shows(node: u128, commit: u64, chain: u8, number: u64) -> Status {
        let recovered = Recovered {
            attempt: 1,
            era: 9,
            asked_at: NodeId(3),
            founder: NodeId(3),
            end: LogIndex(4),
            before: Epoch::default(),
            number,
            time: Wall(0),
            lost: Vec::new(),
        };
        let control = GroupStatus {
            role: "follower",
            term: Term(1),
            leader: None,
            voters: Vec::new(),
            learners: Vec::new(),
            commit: LogIndex(commit),
            applied: LogIndex(commit),
            last: LogIndex(commit),
            chain: Chain([chain; 16]),
            stopped: None,
        };
        let last = (number > 0).then_some(recovered);
        let recovery = RecoveryStatus { last, ..RecoveryStatus::default() };
        let epoch = Epoch { number, ..Epoch::default() };
        Status {
            control: Some(control),
            recovery,
            epoch,
            mesh: Some(MeshId(1)),
            ..fixture::status(node, Vec::new())
        }
    }

    fn place(index: LogIndex, chain: u8) -> Option<Place> {
        Some(Place { index, term: Term(1), chain: Chain([chain; 16]) })
    }

    #[test]
    fn what_the_lost_decided_since_is_not_to_be_found_where_others_went_on() {
        let mut book = Recoveries::new(&[1]);
        let nobody = |_: NodeId| None;
        book.seen(2, &shows(3, 4, 4, 0), true, nobody, |index| place(index, 4)).unwrap();
        book.orders();
        book.seen(1, &shows(2, 6, 6, 0), true, nobody, |_| None).unwrap();
        book.seen(2, &shows(3, 5, 5, 1), true, nobody, |index| {
            place(index, if index.0 == 4 { 4 } else { 5 })
        })
        .unwrap();
        assert!(book.has_recovered());
        assert_eq!(book.gone().collect::<Vec<_>>(), [1]);
        let taken = |index: LogIndex| place(index, index.0 as u8);
        let why = book.seen(2, &shows(3, 7, 7, 1), true, nobody, taken).unwrap_err();
        assert!(format!("{why:?}").contains("applied entry 6 of the lost"), "{why:?}");
        let why = book.seen(2, &shows(3, 7, 7, 1), true, nobody, |index| place(index, 9)).unwrap_err();
        assert!(format!("{why:?}").contains("had applied"), "{why:?}");
        let why = book.seen(1, &shows(2, 7, 7, 1), true, nobody, |_| None).unwrap_err();
        assert!(format!("{why:?}").contains("one of the lost"), "{why:?}");
    }

    #[test]
    fn who_acknowledged_what_others_went_on_without_does_not_give_it_up() {
        let mut book = Recoveries::new(&[1]);
        let nobody = |_: NodeId| None;
        book.acknowledges(1, LogIndex(4), place(LogIndex(4), 4));
        book.acknowledges(1, LogIndex(6), place(LogIndex(6), 6));
        let parted =
            || Status { mesh: None, parted: Some("named lost".into()), ..fixture::status(2, Vec::new()) };
        book.seen(1, &parted(), true, nobody, |_| None).unwrap();
        book.seen(2, &shows(3, 7, 7, 1), true, nobody, |index| place(index, 4)).unwrap();
        let why = book.seen(1, &parted(), true, nobody, |_| None).unwrap_err();
        assert!(format!("{why:?}").contains("entry 6"), "{why:?}");
    }

    #[test]
    fn who_goes_on_is_at_a_higher_epoch_and_the_lost_are_no_members() {
        let mut book = Recoveries::new(&[1]);
        let mut status = shows(3, 5, 5, 1);
        if let Some(last) = &mut status.recovery.last {
            last.before.number = 1;
        }
        assert!(book.seen(2, &status, true, |_| None, |_| None).is_err());
    }
}
