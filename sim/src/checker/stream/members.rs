//! What becomes of the ledger of a stream whose members change (X30, X32).

use wattle_core::id::Sequence;
use wattle_core::node::command::Waited;

use super::super::stretches::completed_at_most;
use super::super::{Checked, ensure};
use super::kept::most;
use super::{Message, StreamLedger};
use crate::plan::{Change, CompletePlan};

/// A target that came later.
#[derive(Clone, Copy, Debug)]
pub(super) struct Late {
    /// The first message that it owes.
    first: u64,
    /// More than stood in front of its joining.
    joined_by: u64,
    /// How many came before it.
    order: usize,
}

impl StreamLedger {
    /// The target at that place came: it owes what there is from that message on.
    ///
    /// # Errors
    /// X32.
    pub fn joins(&mut self, place: usize, first: u64) -> Checked {
        let index = self.index;
        let known = self.late.get(&place).map(|late| late.first);
        self.holds_what_counted(place, first)?;
        ensure!(
            known.is_none_or(|known| known == first),
            "X32",
            "stream {index}: target {place} came later, and begins with {first} for some and with {known:?} for others"
        );
        if known.is_some() {
            return Ok(());
        }
        let messages = self.writers.iter().flat_map(|writer| &writer.messages);
        let joined_by = messages.map(|message| message.parts.max(1) * u64::from(message.sent.max(1))).sum();
        ensure!(
            first <= joined_by + 1,
            "X32",
            "stream {index}: target {place} begins with {first}, and there are {joined_by} messages"
        );
        self.awaited &= !(2 << place);
        let order = self.late.len();
        self.late.insert(place, Late { first, joined_by, order });
        self.delivered[place] = first - 1;
        self.reported[place] = self.reported[place].max(first - 1);
        self.count_anew();
        Ok(())
    }

    /// An operator asks for the target on that node to come: it holds what was told replicated by then when it does.
    pub fn may_come(&mut self, node: usize) {
        let Some(place) = self.place_of(node).filter(|place| !self.comes_with.contains_key(place)) else {
            return;
        };
        let messages = self.writers.iter().flat_map(|writer| &writer.messages);
        let told = messages.filter(|message| message.level >= Some(Waited::Replicated));
        let upto = told.filter_map(|message| message.sequence).max().unwrap_or_default();
        self.comes_with.insert(place, upto);
    }

    fn holds_what_counted(&self, place: usize, first: u64) -> Checked {
        let upto = self.comes_with.get(&place).copied().unwrap_or_default();
        let owed = |message: &&Message| {
            let told = message.level >= Some(Waited::Replicated) && message.parts == 1;
            told && message.sequence.is_some_and(|sequence| (first..=upto).contains(&sequence))
        };
        let held = |message: &Message| message.held & 2 << place != 0 || message.delivered & 1 << place != 0;
        let mut messages = self.writers.iter().flat_map(|writer| &writer.messages);
        let lacks = messages.find(|message| owed(message) && !held(message));
        ensure!(
            lacks.is_none() || self.blind || self.disk_lost || self.late.contains_key(&place),
            "X32",
            "stream {}: target {place} joined, and does not hold {:?}, which was told replicated before anybody asked for it",
            self.index,
            lacks.and_then(|message| message.sequence)
        );
        Ok(())
    }

    /// Whether the target at that place is one that comes later.
    #[must_use]
    pub fn comes_later(&self, place: usize) -> bool {
        self.plan.as_ref().is_some_and(|plan| plan.late().contains(&place))
    }

    /// The first message that the target at that place owes, and more than stood in front of its joining, if it came later, and as far as anybody said.
    #[must_use]
    pub fn late(&self, place: usize) -> Option<(u64, u64)> {
        self.late.get(&place).map(|late| (late.first, late.joined_by))
    }

    /// The targets that need not be given a message, a bit for each by its place: it is in front of what they owe, or they are yet to come.
    pub(super) fn not_owed(&self, message: &Message) -> u64 {
        let in_front = |late: &Late| message.sequence.is_none_or(|sequence| sequence < late.first);
        let late = self.late.iter().filter(|(_, late)| in_front(late));
        late.fold(self.awaited >> 1, |all, (place, _)| all | 1 << place)
    }

    /// Whether nobody who stays is owed what stands at a sequence: whoever was is out, or on its way out, and whoever came since begins behind it.
    pub(super) fn owed_to_nobody(&self, sequence: u64) -> bool {
        let gone = self.out | self.awaited | self.may_be_gone();
        let stays = |place: &usize| gone & 2 << place == 0;
        let mut stay = (0..self.delivered.len()).filter(stays).peekable();
        stay.peek().is_some()
            && stay.all(|place| self.late.get(&place).is_some_and(|late| sequence < late.first))
    }

    /// Somebody is handed a message.
    ///
    /// # Errors
    /// X32.
    pub(super) fn is_target(&self, place: usize, sequence: u64) -> Checked {
        let first = self.late.get(&place).map(|late| late.first);
        ensure!(
            !self.comes_later(place) || first.is_some_and(|first| sequence >= first),
            "X32",
            "stream {}: target {place} is handed {sequence}, and begins with {first:?}",
            self.index
        );
        Ok(())
    }

    /// Whether a message may be the first of a writer that a target which came later is handed: those before it are in front of what that owes.
    pub(super) fn begins_with(&self, place: usize, writer: usize, number: u64) -> bool {
        let Some(late) = self.late.get(&place) else { return false };
        let before = self.writers[writer].messages.iter().take(number as usize - 1);
        before.filter_map(|message| message.sequence).all(|sequence| sequence < late.first)
    }

    /// Whether a node is to be a target, and is none yet.
    #[must_use]
    pub fn is_awaited(&self, node: usize) -> bool {
        self.end(node).is_some_and(|end| self.awaited & end != 0)
    }

    /// Whether somebody was asked for who is yet to come.
    #[must_use]
    pub fn may_be_joined(&self) -> bool {
        self.comes_with.keys().any(|place| self.awaited & 2 << place != 0)
    }

    /// Whether the target at that place is out, or yet to come.
    pub(super) fn is_absent(&self, place: usize) -> bool {
        (self.out | self.awaited) & 2 << place != 0
    }

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
                    !told
                        || self.blind
                        || self.disk_lost
                        || most(message.held, self.lost | self.out | self.awaited, ends),
                    "X30",
                    "stream {index}: node {node} is taken out, and message {number} of writer {place}, told {:?}, lies on the disks of {:b} only",
                    message.level,
                    message.held
                );
            }
        }
        Ok(())
    }

    /// Whether those who are not out can meet the policy as it was meant.
    #[must_use]
    pub fn policy_can_be_met(&self) -> bool {
        let Some(plan) = &self.plan else { return true };
        let left = || plan.targets().enumerate().filter(|(place, _)| !self.is_absent(*place));
        match &plan.complete {
            CompletePlan::All => left().next().is_some(),
            CompletePlan::Count(count) => left().count() >= *count as usize,
            CompletePlan::Named(named) => left().any(|(_, node)| named.contains(&node)),
        }
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
        let gone = self.lost | self.out;
        let going = self.may_be_gone() & !gone;
        // Of several any one may be the first.
        let one = (0..u64::BITS).map(|end| 1 << end).filter(|end| going & end != 0).map(|end| gone | end);
        let sets = [0, self.lost, gone, gone | going].into_iter().chain(one);
        let ends = (2u64 << self.reported.len()) - 2;
        let by = |gone: u64| {
            let gone = gone | self.awaited;
            let mut came: Vec<(usize, Late)> =
                self.late.iter().map(|(&place, &late)| (place, late)).collect();
            came.retain(|(place, _)| gone & 2 << place == 0);
            came.sort_by_key(|(_, late)| late.order);
            let bounds: Vec<(u64, u64)> = came.iter().map(|(_, late)| (late.first, late.joined_by)).collect();
            completed_at_most(&bounds, |asked| {
                let without = came[asked..].iter().fold(gone, |all, (place, _)| all | 2 << place);
                (without & ends != ends)
                    .then(|| plan.completed(&self.reported, |place| without & 2 << place != 0))
            })
        };
        sets.map(by).max().unwrap_or_default()
    }
}
