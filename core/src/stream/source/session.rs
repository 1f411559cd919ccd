//! Sessions, and what a source proposes (rules A1, A2, A5).

use alloc::string::String;
use alloc::vec::Vec;

use super::super::Output;
use super::super::changing::CHANGE;
use super::super::common::Common;
use super::super::entry::Entry;
use super::super::keeping::KEEP;
use super::super::lead::COMPLETE;
use super::super::member::{Part, Stream};
use super::super::message::{Body, Standing};
use super::super::state::Effect;
use super::super::wire::encode_entry;
use crate::id::{NodeId, RequestId, Sequence, SessionEpoch, WriterId};
use crate::node::command::Reply;
use crate::planted::Bug;
use crate::rare;
use crate::sometimes;
use crate::time::Now;

/// Numbers of proposals that are not descriptors (those bear their slot).
const SESSION: u64 = u64::MAX;
const CLOSE: u64 = u64::MAX - 2;

impl Stream {
    /// This source leads, or somebody else does, or nobody: what it proposed may have come to nothing (rule A1).
    pub(in crate::stream) fn leadership_moved(&mut self, common: &mut Common, now: Now) {
        let kept = |stream: &Self| !stream.leading && stream.source.proposed > 0;
        if !common.planted.strikes(Bug::OffersNotRepeated, || kept(self)) {
            self.propose_again();
        }
        self.pump_source(common, now);
    }

    /// Everything that is owed to the log is proposed again, or offered to whoever leads.
    pub(super) fn propose_again(&mut self) {
        self.source.session_proposed = false;
        self.source.proposed = 0;
        for (_, proposed) in self.source.closing.values_mut() {
            *proposed = false;
        }
    }

    /// Who leads in place of this source, if that is known.
    pub(in crate::stream) fn led_by(&self) -> Option<NodeId> {
        self.leader.filter(|leader| !self.leading && self.peer(*leader).is_some() && !self.is_lost(*leader))
    }

    /// Whether what is proposed now follows the end of the log, or is for another to judge.
    fn may_propose(&self) -> bool {
        self.knows_end() || self.led_by().is_some()
    }

    /// Whoever leads says where its log ends: what was offered behind that was lost.
    pub(in crate::stream) fn must_follow(
        &mut self,
        common: &mut Common,
        now: Now,
        from: NodeId,
        epoch: SessionEpoch,
        taken: Sequence,
    ) {
        if self.part != Part::Source || self.led_by() != Some(from) || epoch != self.head.session {
            return;
        }
        let passed = |slot: &u64| self.store.get(*slot).is_some_and(|kept| kept.last() <= taken);
        let there = self.store.outbox.partition_point(passed);
        if there < self.source.proposed {
            rare!(OfferedBehindGap);
            self.source.proposed = there;
            self.pump_source(common, now);
        }
    }

    /// Whoever leads says what most members hold. What was counted under another authority was counted with those who are lost (S18).
    pub(super) fn replicated_elsewhere(&mut self, common: &mut Common, standing: &Standing) {
        let other = standing.authority != self.authority();
        if standing.replicated > self.source.told_replicated
            && (!other || common.planted.strikes(Bug::ReplicatedByTheLost, || true))
        {
            self.source.told_replicated = standing.replicated;
            self.fire_replicated(common);
        }
    }

    /// Whoever leads in place of this source may know that more is held by most members than it is known here: its word was lost, or is to come.
    pub(super) fn unreplicated(&self) -> bool {
        let known = self.source.replicated.max(self.head.released);
        let leader = self.led_by().and_then(|leader| self.peer(leader)).filter(|peer| !peer.silent);
        leader.is_some() && self.source.current && known < self.head.taken
    }

    /// A proposal was not appended: it is made again when this stream is looked at next.
    pub(in crate::stream) fn refused(&mut self, common: &Common, now: Now, context: u64) {
        rare!(StreamProposalRefused);
        match context {
            SESSION => self.source.session_proposed = false,
            COMPLETE => self.completing = false,
            KEEP => self.keep_refused(),
            CHANGE => self.change_again(common),
            CLOSE => self.source.closing.values_mut().for_each(|(_, proposed)| *proposed = false),
            _ if self.part == Part::Target => self.offer_refused(context),
            _ => self.source.proposed = 0,
        }
        let soon = now.monotonic + common.config.restate;
        self.restate_at = Some(self.restate_at.map_or(soon, |at| at.min(soon)));
    }

    fn propose(&self, common: &mut Common, entry: Entry, weight: u64, context: u64) {
        let instance = self.instance;
        match self.led_by() {
            Some(leader) => common.say(leader, instance, Body::Offer(entry)),
            None => {
                let data = encode_entry(&entry);
                common.emit(Output::Propose { instance, data, weight, unhurried: false, context });
            }
        }
    }

    /// Proposes and sends whatever may be proposed and sent now.
    pub(in crate::stream) fn pump_source(&mut self, common: &mut Common, now: Now) {
        if self.stopped.is_some() || self.part != Part::Source {
            return;
        }
        if self.may_propose() {
            if self.source.current {
                self.propose_batches(common);
                self.propose_completion(common);
                self.propose_closings(common);
            } else {
                self.propose_session(common);
            }
        }
        self.pump_senders(common);
        self.arm(common, now);
    }

    fn propose_session(&mut self, common: &mut Common) {
        if !core::mem::replace(&mut self.source.session_proposed, true) {
            let entry = Entry::Session { source: common.own, boot: common.boot, follows: self.head.session };
            self.propose(common, entry, 0, SESSION);
            self.source.current |= common.planted.has(Bug::SessionCurrentWhenProposed);
        }
    }

    /// In order, without gaps, a bounded number at a time.
    fn propose_batches(&mut self, common: &mut Common) {
        while self.source.proposed < common.config.proposals {
            let Some(&slot) = self.store.outbox.get(self.source.proposed) else { return };
            let Some(kept) = self.store.get(slot) else { return };
            // A3: what leaves with an append waits for the disk there.
            if !self.leading && !kept.durable {
                return;
            }
            let (mut epoch, batch) = (self.head.session, kept.batch.clone());
            if common.planted.strikes(Bug::ProposedUnderOldEpoch, || batch.identity.boot != common.boot) {
                epoch = SessionEpoch(epoch.0 - 1);
            }
            let weight = batch.bytes();
            let entry = Entry::Descriptor { epoch, first: kept.first, batch };
            self.source.proposed += 1;
            self.propose(common, entry, weight, slot);
        }
    }

    /// A writer is closed after all it wrote is taken.
    fn propose_closings(&mut self, common: &mut Common) {
        let closing = &self.source.closing;
        let unproposed: Vec<WriterId> =
            closing.iter().filter(|(_, (_, proposed))| !proposed).map(|(&writer, _)| writer).collect();
        for writer in unproposed {
            if self.place(writer) > self.head.writers.get(writer).last {
                continue;
            }
            if let Some((_, proposed)) = self.source.closing.get_mut(&writer) {
                *proposed = true;
            }
            self.propose(common, Entry::CloseWriter { writer }, 0, CLOSE);
        }
    }

    /// What an applied entry means to the source.
    pub(in crate::stream) fn source_applied(
        &mut self,
        common: &mut Common,
        now: Now,
        effect: Effect,
        entry: Option<&Entry>,
    ) {
        match effect {
            Effect::Session { boot } if boot == common.boot || common.planted.has(Bug::ForeignSession) => {
                self.session_current(common, now)
            }
            Effect::Session { .. } => {
                sometimes!(AnotherSession);
                self.source.session_proposed &= common.planted.has(Bug::SessionNotProposedAgain);
                if core::mem::replace(&mut self.source.current, false) {
                    self.superseded(common);
                }
            }
            Effect::Taken { first } => {
                self.source.proposed = self.source.proposed.saturating_sub(1);
                let kept = self.store.holding(first).and_then(|slot| self.store.get(slot));
                self.source.places.hand_on(&kept.expect("just taken").batch, &self.head.writers);
            }
            Effect::Completed { upto, .. } => {
                let before = core::mem::replace(&mut self.source.told_completed, upto);
                let kept = core::mem::replace(&mut self.source.told_released, self.head.released);
                self.fire_completed(common, before, kept);
            }
            Effect::Closed { writer } => {
                let asked: Vec<RequestId> =
                    self.source.closing.remove(&writer).map(|(asked, _)| asked).unwrap_or_default();
                for request in asked {
                    self.waited_for_closing(common, request);
                    common.reply(request, Ok(Reply::WriterClosed));
                }
            }
            Effect::Draining { .. }
            | Effect::Detached { .. }
            | Effect::Joined { .. }
            | Effect::Kept { .. } => {}
            Effect::Nothing => self.no_op(common, entry),
        }
    }

    /// Its session was the current one, and another is (rule A5).
    fn superseded(&mut self, common: &mut Common) {
        let reason = "another start of this source opened a session: its disk was cloned";
        if !common.planted.has(Bug::SupersededByStateGoesOn) {
            self.stop(common, String::from(reason));
        }
    }

    /// Something proposed came to nothing: propose again what is still owed (rule A1).
    fn no_op(&mut self, common: &Common, entry: Option<&Entry>) {
        match entry {
            Some(Entry::Session { .. }) if common.planted.has(Bug::SessionNotProposedAgain) => {}
            Some(Entry::Session { .. }) => {
                rare!(SessionCameToNothing);
                self.source.session_proposed = false;
            }
            Some(Entry::Descriptor { epoch, first, .. })
                if *epoch == self.head.session && *first > self.head.taken.next() =>
            {
                rare!(DescriptorOutOfOrder);
                self.source.proposed = 0;
            }
            _ => {}
        }
    }

    /// The session of this start is the current one: numbers are final from now on (rule A4).
    fn session_current(&mut self, common: &mut Common, now: Now) {
        self.source.current = true;
        self.source.proposed = 0;
        self.completing = false;
        if !common.planted.has(Bug::DedupeForgotten) {
            self.void_taken(common);
        }
        sometimes!(Renumbered, self.misnumbered());
        if !common.planted.strikes(Bug::NotRenumbered, || self.misnumbered()) {
            self.renumber();
        }
        self.drop_futile_uploads(common);
        self.restart_senders(common, now);
    }

    /// What was offered under the current session, whose numbers are final, and lies below the state that replaced the log: it was taken, and all targets
    /// are past it, though this member did not live through that.
    fn pass_outbox(&mut self, common: &mut Common) {
        let passed = |slot: &u64| self.store.get(*slot).is_some_and(|kept| kept.last() <= self.head.taken);
        let passed: Vec<u64> = self.store.outbox.iter().copied().take_while(passed).collect();
        for slot in passed {
            sometimes!(OfferTakenUnseen);
            let Some(kept) = self.discard(common, slot) else { continue };
            self.source.places.hand_on(&kept.batch, &self.head.writers);
            self.released_unseen(common, kept);
        }
    }

    /// The log was replaced by a member's state.
    pub(in crate::stream) fn session_passed(&mut self, common: &mut Common, now: Now) {
        let before = core::mem::replace(&mut self.source.current, self.head.boot == common.boot);
        sometimes!(LogReplacedByState);
        self.propose_again();
        self.source.told_completed = self.head.completed;
        self.source.told_released = self.head.released;
        match (before, self.source.current) {
            (true, true) => self.pass_outbox(common),
            // Its entry lies below the state.
            (false, true) => self.session_current(common, now),
            (true, false) => self.superseded(common),
            (false, false) => {}
        }
        self.pump_source(common, now);
    }
}
