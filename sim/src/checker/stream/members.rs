//! What becomes of the ledger of a stream whose members change (X30).

use wattle_core::id::Sequence;
use wattle_core::node::command::Waited;

use super::super::{Checked, ensure};
use super::StreamLedger;
use super::kept::most;
use crate::plan::Change;

impl StreamLedger {
    /// An operator wants the target on that node to be taken out: from now on it may be done without. One that is to be drained has to process at least what
    /// was told replicated before.
    pub fn may_leave(&mut self, node: usize, change: Change) {
        let end = self.end(node).unwrap_or_default();
        let place = (end.trailing_zeros() as usize).saturating_sub(1);
        if change == Change::Drain && self.leaving & end == 0 {
            let messages = self.writers.iter().flat_map(|writer| &writer.messages);
            let told = messages.filter(|message| message.level >= Some(Waited::Replicated));
            let upto = told.filter_map(|message| message.sequence).max().unwrap_or_default();
            self.drains.insert(place, upto);
        }
        if self.leaving & end == 0 {
            self.leaving_known = false;
        }
        self.leaving |= end;
        self.count_anew();
    }

    /// The targets that an operator wants to be taken out, without those that are to be drained and have not processed what they have to.
    fn may_be_gone(&self) -> u64 {
        let owes = |&(&place, &upto): &(&usize, &u64)| self.reported[place] < upto;
        self.drains.iter().filter(owes).fold(self.leaving, |all, (place, _)| all & !(2 << place))
    }

    /// The target on that node is out: what its handler does counts no more. Whatever was told replicated, and is not handed over to everybody who stays, lies
    /// on the disks of most of these (rule D1).
    ///
    /// # Errors
    /// X30.
    pub fn taken_out(&mut self, node: usize) -> Checked {
        let end = self.end(node).unwrap_or_default();
        let place = (end.trailing_zeros() as usize).saturating_sub(1);
        let owed = self.drains.get(&place).copied().unwrap_or_default();
        // With a disk, what was told replicated may be gone from the log that the others go on with.
        ensure!(
            self.disk_lost || self.reported.get(place).is_none_or(|&reported| reported >= owed),
            "X30",
            "stream {}: node {node} was drained, and its handler reported success up to {} of {owed} that were told replicated before",
            self.index,
            self.reported[place]
        );
        self.out |= end;
        self.count_anew();
        let (index, ends) = (self.index, self.delivered.len() as u32 + 1);
        for (place, writer) in self.writers.iter().enumerate() {
            for (message, number) in writer.messages.iter().zip(1..) {
                // Whoever is yet to be taken out may be the only one to whom it was handed.
                let served = self.everywhere_but(message, self.lost | self.out);
                // What was told under an authority that ended, and is not in front of its end, is void.
                let void = message.sequence > self.source_sealed && self.source_sealed.is_some();
                // Of what has several parts only the first says whose it is.
                let one = message.parts == 1;
                let told = one && message.level >= Some(Waited::Replicated) && !served && !void;
                ensure!(
                    !told || self.blind || self.disk_lost || most(message.held, self.lost | self.out, ends),
                    "X30",
                    "stream {index}: node {node} is taken out, and message {number} of writer {place}, told {:?}, lies on the disks of {:b} only",
                    message.level,
                    message.held
                );
            }
        }
        Ok(())
    }

    /// Up to where the handler at a node reported success while it counted.
    #[must_use]
    pub fn success_at(&self, node: usize) -> Sequence {
        let place = (self.end(node).unwrap_or_default().trailing_zeros() as usize).wrapping_sub(1);
        Sequence(self.reported.get(place).copied().unwrap_or_default())
    }

    /// The disk of an end lost what it had reported safe: what lies there now tells nothing of what those who stay held.
    pub fn a_disk_lost(&mut self, node: usize) {
        self.disk_lost |= self.end(node).is_some();
    }

    /// Whether the target at that place was taken out, as far as anybody said.
    pub(super) fn is_out(&self, place: usize) -> bool {
        self.out & 2 << place != 0
    }

    /// Up to where handlers reported so much success that it is completed: by all, or without those who were lost or taken out, or are being.
    pub(super) fn completed_without(&self, plan: &crate::plan::StreamPlan) -> u64 {
        let sets = [0, self.lost, self.lost | self.out, self.lost | self.out | self.may_be_gone()];
        let by = |gone: u64| plan.completed(&self.reported, |place| gone & 2 << place != 0);
        sets.map(by).into_iter().max().unwrap_or_default()
    }
}
