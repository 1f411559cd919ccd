//! Who waits for what, and what becomes of accepted batches until the log takes them.

use alloc::vec::Vec;

use super::super::common::Common;
use super::super::entry::Batch;
use super::super::member::{Part, Stream};
use super::super::store::Kept;
use super::Waiter;
use crate::id::Sequence;
use crate::node::command::{Refusal, Waited};
use crate::planted::Bug;
use crate::rare;
use crate::sometimes;

impl Stream {
    /// Tells the publishers that wait for a batch what it has reached.
    pub(in crate::stream) fn report(&mut self, common: &mut Common, slot: u64) {
        let Some(kept) = self.store.get_mut(slot) else { return };
        // A batch that the log brought back was durable when the log's end was.
        let repeated = || kept.waiters.iter().any(|waiter| waiter.duplicate);
        let known = kept.durable
            || kept.taken.is_some()
            || common.planted.strikes(Bug::RepeatAnsweredBeforeDurable, repeated);
        if kept.waiters.is_empty() || !known {
            return;
        }
        let first = kept.first;
        let replicated = kept.taken.is_some() && kept.last() <= self.source.replicated;
        let waiters = core::mem::take(&mut kept.waiters);
        let taken = kept.taken.is_some();
        let mut left = Vec::new();
        for mut waiter in waiters {
            let from = Sequence(first.0 + waiter.at);
            let upto = Sequence(from.0 + waiter.last - waiter.first);
            // A policy may be met by fewer than most members.
            let completed = taken && upto <= self.head.completed;
            let reached = |level| match level {
                Waited::Accepted => true,
                Waited::Replicated => replicated,
                Waited::Completed => completed,
            };
            self.tell(common, &mut waiter, reached, Some((from, upto)));
            if waiter.told == Some(waiter.wait) {
                self.waited(common, &waiter);
            } else {
                left.push(waiter);
            }
        }
        if let Some(kept) = self.store.get_mut(slot) {
            kept.waiters = left;
        }
    }

    /// `completed` rose from `before`, or `released` from `kept`: tells who waits for the one, and counts the other.
    pub(in crate::stream) fn fire_completed(
        &mut self,
        common: &mut Common,
        before: Sequence,
        kept: Sequence,
    ) {
        let (completed, released) = (self.head.completed, self.head.released);
        let next = before.min(self.source.replicated).next();
        // All targets hold what they all processed; what the policy calls completed perhaps one of them does.
        let by_policy = common.planted.strikes(Bug::ReplicatedByPolicy, || completed > released);
        self.source.replicated = self.source.replicated.max(if by_policy { completed } else { released });
        let mut slots = Vec::new();
        let from = self.store.holding(next).and_then(|slot| self.store.get(slot));
        let from = from.map_or(next, |kept| kept.first);
        for (_, &slot) in self.store.taken.range(from..=completed.max(from)) {
            slots.push(slot);
        }
        for slot in slots {
            self.report(common, slot);
        }
        let gone = self.store.taken.range(kept.next()..=self.head.released.max(kept.next()));
        let gone = gone.filter_map(|(_, &slot)| self.store.get(slot));
        let gone = gone.filter(|batch| batch.last() <= self.head.released);
        self.freed(gone.map(|batch| batch.batch.bytes()).sum());
    }

    /// A batch is gone whose release this member did not live through: it ended well.
    pub(in crate::stream) fn released_unseen(&mut self, common: &mut Common, kept: Kept) {
        for mut waiter in kept.waiters {
            rare!(ReleasedUnseen);
            let from = Sequence(kept.first.0 + waiter.at);
            let upto = Sequence(from.0 + waiter.last - waiter.first);
            self.tell(common, &mut waiter, |_| true, Some((from, upto)));
            self.waited(common, &waiter);
        }
    }

    /// The stream begins here as source: what was accepted and not known to be taken waits again, in order.
    pub(in crate::stream) fn begin_source(&mut self, common: &mut Common) {
        self.go_on_closing();
        if !common.planted.has(Bug::DedupeForgotten) {
            self.void_taken(common);
            for slot in self.store.outbox.clone() {
                if let Some(kept) = self.store.get(slot) {
                    self.source.places.take(&kept.batch);
                }
            }
        }
        self.renumber();
        self.source.accepted = self.source.numbered.max(self.head.taken);
        self.drop_futile_uploads(common);
    }

    /// Makes void what the log holds already (rule A4), by writer spans, never by number.
    pub(super) fn void_taken(&mut self, common: &mut Common) {
        let mut moved: Vec<Waiter> = Vec::new();
        for slot in self.store.outbox.clone() {
            let Some(mut batch) = self.store.get(slot).map(|kept| kept.batch.clone()) else { continue };
            if common.planted.strikes(Bug::DedupeByNumber, || self.passed_by_number(slot)) {
                moved.extend(self.discard(common, slot).into_iter().flat_map(|kept| kept.waiters));
                continue;
            }
            if !batch.void_covered(|writer| self.covered(writer)) {
                continue;
            }
            sometimes!(OutboxTakenBefore, batch.live() == 0);
            sometimes!(OutboxTakenInPart, batch.live() > 0);
            if batch.live() == 0 {
                moved.extend(self.discard(common, slot).into_iter().flat_map(|kept| kept.waiters));
            } else {
                moved.extend(self.store.reread(slot, batch));
            }
        }
        self.wait_elsewhere(common, moved);
    }

    /// The log took the batch with other messages void than were thought here: what its publishers wait for lies elsewhere in it, or in
    /// another batch.
    pub(in crate::stream) fn wait_anew(&mut self, common: &mut Common, waiters: Vec<Waiter>) {
        for waiter in waiters {
            self.waited(common, &waiter);
            self.answer_repeated(common, waiter);
        }
    }

    /// The batch that these publishers waited for is not the one that holds what they wait for.
    pub(in crate::stream) fn wait_elsewhere(&mut self, common: &mut Common, waiters: Vec<Waiter>) {
        for waiter in waiters {
            self.waited(common, &waiter);
            self.answer_again(common, waiter);
        }
    }

    /// Whether the log has passed the number of a batch of which it took not everything.
    fn passed_by_number(&self, slot: u64) -> bool {
        let uncovered = |batch: &Batch| {
            let mut batch = batch.clone();
            batch.void_covered(|writer| self.covered(writer));
            batch.live() > 0
        };
        self.store.get(slot).is_some_and(|kept| kept.last() <= self.head.taken && uncovered(&kept.batch))
    }

    /// Whether the outbox is not numbered from after the last message taken.
    pub(super) fn misnumbered(&self) -> bool {
        let first = self.store.outbox.front().and_then(|&slot| self.store.get(slot));
        first.is_some_and(|kept| kept.first != self.head.taken.next())
    }

    /// Numbers the outbox contiguously after the last message taken.
    pub(super) fn renumber(&mut self) {
        let mut next = self.head.taken.next();
        let mut accepted = self.head.taken;
        for slot in self.store.outbox.clone() {
            let Some(kept) = self.store.get_mut(slot) else { continue };
            kept.first = next;
            next = kept.last().next();
            if kept.durable {
                accepted = kept.last();
            }
        }
        self.source.numbered = next.before();
        self.source.accepted = accepted;
    }

    /// Nothing will come of what waits here: says so.
    pub(in crate::stream) fn refuse_waiting(&mut self, common: &mut Common) {
        let refusal = self.stop_refusal().unwrap_or(Refusal::StreamClosed);
        if self.part == Part::Source {
            let mut requests = Vec::new();
            let slots: Vec<u64> = self.store.iter().map(|(slot, _)| slot).collect();
            for slot in slots {
                let waiters = self.store.get_mut(slot).map(|kept| core::mem::take(&mut kept.waiters));
                requests.extend(waiters.into_iter().flatten().map(|waiter| waiter.request));
            }
            let items = core::mem::take(&mut self.source.forming).into_iter();
            for item in items.chain(core::mem::take(&mut self.source.queue)) {
                requests.extend(item.waiters.into_iter().map(|waiter| waiter.request));
            }
            requests.extend(self.source.staging.requests());
            for (asked, _) in core::mem::take(&mut self.source.closing).into_values() {
                requests.extend(asked);
            }
            requests.sort_unstable();
            requests.dedup();
            self.nobody_waits(common, &requests);
            common.unformed -= core::mem::take(&mut self.source.unformed);
            for request in requests {
                common.reply(request, Err(refusal.clone()));
            }
        }
        self.refuse_handlers(common, &refusal);
    }
}
