//! What a member keeps of a stream: the state at its floor, written when the floor moves up, and the state of a member that is ahead,
//! taken over.

use alloc::format;
use alloc::vec::Vec;

use super::Output;
use super::common::Common;
use super::member::{Part, Stream};
use super::state::Effect;
use super::store::{Kept, forget, key, space};
use super::wire::{Stored, encode_state};
use crate::id::{LogIndex, NodeId, Sequence};
use crate::node::output::Event;
use crate::planted::Bug;
use crate::rare;
use crate::record::Record;
use crate::sometimes;
use crate::time::Now;

impl Stream {
    /// Up to where bytes may go: everything released, at the target also marked durably and passed by a handler that replays. One that was passed over keeps
    /// nothing for itself.
    fn releasable(&self, common: &Common) -> Sequence {
        match self.part {
            Part::Target if !self.is_passed() => {
                self.let_go(common).min(self.target.mark_durable).min(self.target.replaying_from())
            }
            _ => self.let_go(common),
        }
    }

    /// Panics if something may go, and nothing is about to see to that.
    pub(super) fn check_goes(&self) {
        let target = self.part == Part::Target;
        let own = if target {
            self.target.mark_durable.min(self.target.replaying_from())
        } else {
            self.head.released
        };
        let bound = own.min(self.head.released);
        let oldest = self.store.taken.values().next().and_then(|&slot| self.store.get(slot));
        let goes = self.stopped.is_none() && oldest.is_some_and(|kept| kept.last() <= bound);
        assert!(
            !goes || self.checkpoint_at.is_some(),
            "S26: {} keeps what lies behind {}, and everything up to {bound} may go",
            self.instance,
            self.floor.taken
        );
    }

    /// Up to where nobody needs the bytes any more (S16).
    fn let_go(&self, common: &Common) -> Sequence {
        let slow = || self.head.released < self.head.completed;
        if common.planted.strikes(Bug::ReleasedBeforeSlowest, slow) {
            return self.head.completed;
        }
        self.head.released
    }

    /// Writes the state at a new floor now, later, or not at all.
    pub(super) fn maybe_checkpoint(&mut self, common: &mut Common, now: Now) {
        let entries = self.applied_since >= common.config.checkpoint_entries;
        if entries || self.freed_since >= common.config.checkpoint_bytes {
            self.checkpoint(common);
        } else if self.applied_since > 0 {
            self.checkpoint_soon(common, now);
        }
    }

    pub(super) fn freed(&mut self, bytes: u64) {
        self.freed_since += bytes;
    }

    /// Moves the floor up and writes the state there; the records below it die in the same step (rule A1).
    pub(super) fn checkpoint(&mut self, common: &mut Common) {
        self.checkpoint_at = None;
        self.applied_since = 0;
        self.freed_since = 0;
        let mut bound = self.releasable(common);
        if common
            .planted
            .strikes(Bug::ReleasedOnCommit, || self.part == Part::Source && bound < self.head.taken)
        {
            bound = self.head.taken;
        }
        let before = self.floor.applied;
        while let Some(&(index, effect)) = self.tail.front() {
            let mut gone = None;
            if let Effect::Taken { first } = effect {
                let slot = self.store.taken.get(&first).copied();
                let slot = slot.expect("a batch taken above the floor is kept");
                if self.store.get(slot).is_some_and(|kept| kept.last() > bound) {
                    break;
                }
                gone = self.discard(common, slot);
            }
            self.tail.pop_front();
            self.floor.advance(index, effect, gone.as_ref().map(|kept| &kept.batch));
            if let Effect::Joined { place, .. } = effect {
                self.floor.join_as(&self.head, place);
            }
        }
        if self.floor.applied > before {
            // The entry that completed it may stand above the floor: a restart must know it all the same.
            self.floor.completed = self.floor.completed.max(self.floor.taken);
            self.floor.released = self.floor.released.max(self.floor.taken);
            self.drop_passed(common);
            self.parked_released(common);
            self.persist_state(common);
            self.outrun_replays(common);
        }
    }

    /// A batch is dead: nothing of it is kept.
    pub(super) fn discard(&mut self, common: &mut Common, slot: u64) -> Option<Kept> {
        common.cache.remove(self.instance, slot);
        let kept = self.store.remove(slot)?;
        self.forget_kept(&kept);
        if let Some((upload, part)) = kept.origin {
            self.source.staging.trim(upload, part);
        }
        Some(kept)
    }

    /// Lets go of received batches that the floor has passed without taking them.
    pub(super) fn drop_passed(&mut self, common: &mut Common) {
        let taken = self.floor.taken;
        let passed = |slot: &&u64| self.store.get(**slot).is_none_or(|kept| kept.last() <= taken);
        let passed: Vec<u64> = self.store.pending.iter().filter(passed).copied().collect();
        // Publishers that repeat may have been told to wait for one of them: what they wait for stands elsewhere, or was released.
        let gone: Vec<Kept> = passed.into_iter().filter_map(|slot| self.discard(common, slot)).collect();
        for kept in gone {
            self.wait_elsewhere(common, kept.waiters);
        }
    }

    /// The state at a new floor is written in a while, if it is not to be sooner.
    pub(super) fn checkpoint_soon(&mut self, common: &Common, now: Now) {
        self.checkpoint_at.get_or_insert(now.monotonic + common.config.checkpoint_after);
    }

    fn stored_state(&self, common: &Common) -> Stored {
        let (mut state, marks) = (self.floor.clone(), self.heard.clone());
        if common.planted.strikes(Bug::JoinForgottenByState, || !state.joined().is_empty()) {
            state.forget_joined();
        }
        Stored { state, marks, slot_floor: self.store.slot_floor() }
    }

    /// Another member has let go of everything up to here: every target is past it, though the entry that says so may stand behind bytes for
    /// which this member has no room (rule B3).
    pub(super) fn released_elsewhere(&mut self, common: &Common, now: Now, upto: Sequence) {
        let upto = self.whole_up_to(upto.min(self.head.taken).min(self.target.mark_durable));
        if upto > self.head.released {
            sometimes!(ReleasedElsewhere);
            self.head.released = upto;
            self.head.completed = self.head.completed.max(upto);
            self.checkpoint_soon(common, now);
        }
    }

    pub(super) fn persist_state(&mut self, common: &mut Common) {
        let mut stored = self.stored_state(common);
        let ahead = || self.head.applied > self.floor.applied;
        let kept = |writer| !self.store.find(writer, 1, u64::MAX).is_empty();
        if common
            .planted
            .strikes(Bug::DedupeDiesWithRecords, || self.floor.writers.iter().any(|(id, _)| !kept(id)))
        {
            stored.state.writers.retain(kept);
        }
        if common.planted.strikes(Bug::StateAheadOfFloor, ahead) {
            stored.state = self.head.clone();
        }
        let mut slot_floor = stored.slot_floor;
        if common.planted.strikes(Bug::TrimmedOneTooFar, || self.store.iter().next().is_some()) {
            slot_floor += 1;
        }
        let state = Record::state(key(self.instance, space::STATE, 0), encode_state(&stored));
        common.emit(Output::Persist(state));
        common.emit(Output::Forget(forget(self.instance, space::PAYLOAD, slot_floor)));
        self.drop_closing_records(common);
        self.source.staging.trims().for_each(|forget| common.emit(Output::Forget(forget)));
        let cut = common.planted.strikes(Bug::LogCutAtHead, || self.head.applied > self.floor.applied);
        let upto = if cut { self.head.applied } else { self.floor.applied };
        common.emit(Output::Compact { instance: self.instance, upto });
    }

    pub(super) fn snapshot(&mut self, common: &mut Common, to: NodeId) {
        let (instance, index) = (self.instance, self.floor.applied);
        let data = encode_state(&self.stored_state(common));
        let (bytes, limit) = (data.len() as u64, common.config.snapshot_bytes as u64);
        if bytes <= limit {
            self.oversized = None;
            return common.emit(Output::Snapshot { instance, to, index, data });
        }
        // It is asked for again and again; that is told once.
        if self.oversized.replace(bytes).is_none() {
            let stream = self.name.clone();
            common.emit(Output::Event(Event::StateTooLarge { stream, node: to, bytes, limit }));
        }
    }

    /// Takes over the state of a member that is ahead. It stands at that member's floor: no bytes above it are implied.
    pub(super) fn install(
        &mut self,
        common: &mut Common,
        now: Now,
        from: NodeId,
        (index, data): (LogIndex, &[u8]),
    ) {
        let instance = self.instance;
        let found = super::wire::decode_state(data).ok();
        let found = found.filter(|stored| stored.state.applied == index && index > self.head.applied);
        let found = found.filter(|stored| self.fits(&stored.state));
        let refused = |stream: &Self, stored: &Stored| {
            let passed = || stream.stopped.is_some() || stream.may_be_passed(common.own, &stored.state);
            stream.rests() || passed() && common.planted.strikes(Bug::TakenOutTakesNothing, || true)
        };
        let Some(stored) = found.filter(|stored| !refused(self, stored)) else {
            rare!(StreamStateRefused);
            return common.emit(Output::Installed { instance, taken: false });
        };
        let lacks = stored.state.lacks(&self.head);
        if let Some(what) = lacks.filter(|_| !common.planted.has(Bug::OtherHistoryInstalled)) {
            rare!(StateOfAnotherHistory);
            let reason = format!(
                "{from} sends its state at entry {index}, and that is without {what} that are committed here: the disk of a member was rolled back, \
                 and others decided again what it forgot"
            );
            return common.emit(Output::Contradicted { instance, reason });
        }
        for slot in self.store.taken.values().copied().collect::<Vec<_>>() {
            // Of an own batch below the end there may be publishers that wait: it ended well.
            if let Some(kept) = self.discard(common, slot) {
                self.released_unseen(common, kept);
            }
        }
        sometimes!(StreamStateTaken);
        self.head = stored.state.clone();
        self.floor = stored.state;
        self.tail.clear();
        self.keep_anew();
        self.drop_passed(common);
        self.persist_state(common);
        self.heard.raise_all(&stored.marks);
        self.follow_ends(common.own);
        if self.part == Part::Target {
            // S22: what was let go there this member was not waited for, and did not process. It goes on with its log alone.
            let passed = self.may_be_passed(common.own, &self.floor);
            let passed = passed && !common.planted.strikes(Bug::TakenOutPassesAll, || true);
            // Whoever else lets go of bytes knows that this target is past them, or does not owe them.
            let let_go = if passed { Sequence(0) } else { self.floor.taken };
            let known = self.ends.place(common.own).map(|place| self.heard.get(place));
            let mark = known.unwrap_or_default().max(let_go);
            if !common.planted.strikes(Bug::SnapshotWithoutMark, || mark > self.target.mark) {
                self.raise_mark(common, mark);
            }
        }
        common.emit(Output::Installed { instance, taken: true });
        rare!(TargetPassed, self.is_passed());
        self.left_out(common);
        self.fence_outrun(common);
        self.outrun_replays(common);
        let wanted = self.wants_nothing(common);
        match self.part {
            Part::Source => self.session_passed(common, now),
            Part::Target => self.pump_target(common, now),
            Part::Unknown => {}
        }
        self.look_again(common, wanted);
    }
}
