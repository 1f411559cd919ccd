//! Bytes from the source: verified, held within the credit, written when the log names them.

use alloc::collections::BTreeMap;

use super::super::Output;
use super::super::common::{Common, Work};
use super::super::entry::{Identity, held_weight};
use super::super::member::{Part, Stream, Wanted};
use super::super::message::{Body, Data, Standing};
use super::super::peer::bit_of;
use crate::digest::Digest;
use crate::id::{NodeId, Sequence, SessionEpoch};
use crate::payload::Payload;
use crate::planted::Bug;
use crate::rare;
use crate::sometimes;
use crate::time::Now;
use crate::work::Job;

/// Verified payloads that no admitted entry names yet, and those being verified.
#[derive(Clone, Debug, Default)]
pub(in crate::stream) struct Held {
    by_identity: BTreeMap<Identity, (Sequence, u64, Payload)>,
    by_first: BTreeMap<Sequence, Identity>,
    /// Bytes held, what they cost beside themselves included.
    bytes: u64,
    /// Being verified: bytes each, counted likewise. By who sent them: what one calls by a name is no word on what another does.
    verifying: BTreeMap<(Identity, NodeId), u64>,
    /// The session whose numbers these are.
    pub(in crate::stream) epoch: SessionEpoch,
}

impl Held {
    /// Numbers of an older session say nothing about what follows what.
    pub(in crate::stream) fn begin_session(&mut self, epoch: SessionEpoch) {
        if epoch > self.epoch {
            self.epoch = epoch;
            self.by_first.clear();
        }
    }

    /// The source started anew. It may have forgotten sessions with its disk, and counts on from those that the log knows: what its former starts
    /// said beyond that numbers nothing any more.
    pub(in crate::stream) fn begin_start(&mut self, current: SessionEpoch) {
        rare!(SessionForgotten, self.epoch > current);
        self.epoch = current;
        self.by_first.clear();
    }

    /// Bytes held or being verified.
    pub(in crate::stream) fn bytes(&self) -> u64 {
        self.bytes + self.verifying()
    }

    /// Bytes that bear a number, or are being verified and may come to bear one: what the source counts as under way. The others only wait to be named
    /// by an append, and give way to whatever comes.
    fn numbered(&self) -> u64 {
        let held = self.by_first.values().filter_map(|identity| self.get(identity));
        held.map(|payload| held_weight(payload.len() as u64)).sum::<u64>() + self.verifying()
    }

    /// What bears a number of an older session, or of a former start of the source.
    fn numberless(&self) -> impl Iterator<Item = &Identity> {
        let known = |(identity, (first, _, _)): &(&Identity, &(Sequence, u64, Payload))| {
            self.by_first.get(first) == Some(*identity)
        };
        self.by_identity.iter().filter(move |entry| !known(entry)).map(|(identity, _)| identity)
    }

    /// What is held already comes under a number, perhaps another than before.
    fn renumber(&mut self, identity: Identity, number: Sequence) {
        let Some((first, _, _)) = self.by_identity.get_mut(&identity) else { return };
        let before = core::mem::replace(first, number);
        if self.by_first.get(&before) == Some(&identity) {
            self.by_first.remove(&before);
        }
        self.by_first.insert(number, identity);
    }

    /// Whether bytes that bear no later number than `last` will not come by themselves: what the source sent behind them is here, and it sends in order.
    pub(in crate::stream) fn passed(&self, identity: &Identity, last: Sequence) -> bool {
        let later = || self.by_first.range(last.next()..).next().is_some();
        later() && !self.is_verifying(identity)
    }

    /// Whether bytes that somebody calls so are being verified.
    pub(in crate::stream) fn is_verifying(&self, identity: &Identity) -> bool {
        let mut of = self.verifying.range((*identity, NodeId(0))..=(*identity, NodeId(u128::MAX)));
        of.next().is_some()
    }

    fn verifying(&self) -> u64 {
        self.verifying.values().sum()
    }

    pub(in crate::stream) fn is_empty(&self) -> bool {
        self.by_identity.is_empty()
    }

    pub(in crate::stream) fn get(&self, identity: &Identity) -> Option<&Payload> {
        self.by_identity.get(identity).map(|(_, _, payload)| payload)
    }

    pub(in crate::stream) fn take(&mut self, identity: &Identity) -> Option<Payload> {
        let (first, _, payload) = self.by_identity.remove(identity)?;
        if self.by_first.get(&first) == Some(identity) {
            self.by_first.remove(&first);
        }
        self.bytes -= held_weight(payload.len() as u64);
        Some(payload)
    }

    fn put(&mut self, data: Data, numbered: bool) {
        self.take(&data.identity);
        self.bytes += held_weight(data.bytes.len() as u64);
        if numbered {
            self.by_first.insert(data.first, data.identity);
        }
        self.by_identity.insert(data.identity, (data.first, data.count, data.bytes));
    }

    /// Lets go of what lies at or below `taken`, unless an append waits for it.
    fn drop_taken(&mut self, taken: Sequence, wanted: &BTreeMap<Identity, Wanted>) {
        let dead = |(identity, (first, count, _)): (&Identity, &(Sequence, u64, Payload))| {
            let passed = first.0 + count - 1 <= taken.0;
            (passed && !wanted.contains_key(identity)).then_some(*identity)
        };
        let dead: alloc::vec::Vec<Identity> = self.by_identity.iter().filter_map(dead).collect();
        for identity in dead {
            self.take(&identity);
        }
    }

    /// The last message of which bytes are held.
    pub(in crate::stream) fn last(&self) -> Sequence {
        let ends =
            self.by_identity.values().map(|(first, count, _)| Sequence((first.0 + count).saturating_sub(1)));
        ends.max().unwrap_or_default()
    }

    /// The end of what is held contiguously from `from` on.
    fn contiguous(&self, from: Sequence) -> Sequence {
        let mut have = from;
        while let Some(identity) = self.by_first.get(&have.next()) {
            let Some((first, count, _)) = self.by_identity.get(identity) else { break };
            have = Sequence(first.0 + count - 1);
        }
        have
    }
}

impl Stream {
    /// Everything up to here is written or held.
    pub(in crate::stream) fn have(&self) -> Sequence {
        self.held.contiguous(self.have_written())
    }

    /// Everything up to here is written.
    pub(in crate::stream) fn have_written(&self) -> Sequence {
        let mut have = self.head.taken;
        // Admitted and not yet applied: few, for the source commits by itself.
        let mut admitted: alloc::vec::Vec<(Sequence, Sequence)> = self
            .store
            .pending
            .iter()
            .filter_map(|&slot| self.store.get(slot).map(|kept| (kept.first, kept.last())))
            .collect();
        admitted.sort_unstable();
        for (first, last) in admitted {
            if first == have.next() {
                have = last;
            }
        }
        have
    }

    /// The batch that holds `sequence`: one that was taken (S6), unless a bug is planted.
    pub(super) fn holding_or_admitted(&self, common: &Common, sequence: Sequence) -> Option<u64> {
        let taken = self.store.holding(sequence);
        if taken.is_some() || !common.planted.has(Bug::HandlerBeforeCommit) {
            return taken;
        }
        let holds = |slot: &u64| {
            self.store.get(*slot).is_some_and(|kept| kept.first <= sequence && sequence <= kept.last())
        };
        self.store.pending.iter().copied().find(holds)
    }

    /// The payload of a batch to be handed over. If a bug let a batch in without its bytes, they are asked for only now.
    pub(super) fn payload_to_deliver(&mut self, common: &mut Common, slot: u64) -> Option<Payload> {
        if common.planted.has(Bug::DescriptorWithoutPayload) {
            let kept = self.store.get(slot)?;
            let identity = kept.batch.identity;
            if let Some(payload) = self.held.get(&identity).cloned() {
                common.remember(self.instance, slot, payload);
            } else if !kept.durable && common.cache.get(self.instance, slot).is_none() {
                let bytes = kept.batch.bytes();
                self.wanted.entry(identity).or_insert(Wanted { bytes, ..Wanted::default() });
                return None;
            }
        }
        self.payload(common, slot)
    }

    /// Bytes the source may send beyond `have` (rule B3).
    pub(in crate::stream) fn room(&self, common: &Common) -> u64 {
        let space = common.free.saturating_sub(common.config.space_floor);
        common.config.receive_bytes.min(space).saturating_sub(self.held.numbered())
    }

    /// Bytes came. Who is not the source numbers nothing: what comes from there must have been asked for.
    pub(in crate::stream) fn receive(&mut self, common: &mut Common, from: NodeId, data: Data) {
        let boot = self.peer(from).and_then(|peer| peer.boot);
        let len = data.bytes.len() as u64;
        let source = from == self.ends.source;
        let bit = bit_of(&self.peers, from);
        let asked = |wanted: &Wanted| {
            source || wanted.of & bit != 0 || common.planted.strikes(Bug::BytesOfAnybody, || true)
        };
        let wanted =
            self.wanted.get(&data.identity).is_some_and(|wanted| wanted.bytes == len && asked(wanted));
        if self.rests() || boot.is_some_and(|boot| boot != data.boot) || (!source && !wanted) {
            return;
        }
        sometimes!(BytesOfAnother, !source && self.part == Part::Target);
        if source {
            self.held.begin_session(data.epoch);
        }
        let known = self.held.verifying.contains_key(&(data.identity, from))
            || self.held.get(&data.identity).is_some()
            || (!wanted && self.store.slot_of(&data.identity).is_some());
        let stale = data.epoch < self.held.epoch || data.first.0 + data.count - 1 <= self.head.taken.0;
        sometimes!(BytesKnown, known);
        sometimes!(BytesTooLate, stale && !wanted);
        if known || (stale && !wanted) {
            if !stale && source {
                self.held.renumber(data.identity, data.first);
            }
            self.target.unsaid = true;
            return;
        }
        let len = held_weight(len);
        if self.held.bytes() + len > common.config.receive_bytes && !self.make_room(common, &data, wanted) {
            self.target.unsaid = true;
            return;
        }
        self.held.verifying.insert((data.identity, from), len);
        let bytes = data.bytes.clone();
        let job = data
            .offset
            .map_or_else(|| Job::Digest(bytes.clone()), |offset| Job::Part { offset, bytes: bytes.clone() });
        common.work(Work::Verify(self.instance, data, from), job);
    }

    /// Lets go of what lies farther ahead, for bytes that are needed first.
    fn make_room(&mut self, common: &Common, data: &Data, wanted: bool) -> bool {
        let limit = common.config.receive_bytes;
        let len = held_weight(data.bytes.len() as u64);
        while self.held.bytes() + len > limit {
            let spare = |identity: &&Identity| !self.wanted.contains_key(*identity);
            let farthest = || self.held.by_first.iter().rev().find(|(_, identity)| spare(identity));
            let ahead = || farthest().filter(|&(&first, _)| wanted || first > data.first);
            let victim = self.held.numberless().find(spare).or_else(|| ahead().map(|(_, identity)| identity));
            let Some(&victim) = victim else { break };
            rare!(HeldGaveWay);
            self.held.take(&victim);
        }
        // What appends wait for is bounded by itself, and so is what is being verified.
        let verifying = self.held.verifying();
        let urgent = wanted && (verifying == 0 || verifying + len <= limit);
        urgent || self.held.bytes() + len <= limit
    }

    /// The digest of bytes that came is known.
    pub(in crate::stream) fn verified(
        &mut self,
        common: &mut Common,
        now: Now,
        data: Data,
        from: NodeId,
        digest: Digest,
    ) {
        self.held.verifying.remove(&(data.identity, from));
        let source = from == self.ends.source;
        rare!(BytesNotWhatTheyAreCalled, digest != data.identity.digest);
        if self.rests() {
            return;
        }
        if digest != data.identity.digest {
            // An append may have been held because they were here.
            if self.wanted.contains_key(&data.identity) {
                common.emit(Output::OfferAgain { instance: self.instance });
            }
            return;
        }
        let wanted = self.wanted.remove(&data.identity);
        let bit = bit_of(&self.peers, from);
        // What the source sends without being asked shows that it does.
        let unasked = source && wanted.is_none_or(|wanted| wanted.of & bit == 0);
        // So does what it sends only then, while it has no session: the rest is to be asked for, too.
        let began = self.source_began();
        let asks = !source || began && !common.planted.strikes(Bug::AskedOneByOne, || !unasked);
        self.target.repairs = !unasked && (self.target.repairs || asks);
        self.target.sent_to |= unasked;
        let wanted = wanted.is_some();
        if let Some(slot) = self.store.slot_of(&data.identity) {
            if wanted {
                common.remember(self.instance, slot, data.bytes);
                self.pump_target(common, now);
            }
            return;
        }
        self.target.received_since += held_weight(data.bytes.len() as u64);
        // Another session or another start of the source may have begun meanwhile.
        let boot = self.source_peer().and_then(|peer| peer.boot);
        let numbered = source && data.epoch >= self.held.epoch && boot.is_none_or(|boot| boot == data.boot);
        if wanted || numbered {
            self.held.put(data, numbered);
        }
        if wanted && !common.planted.has(Bug::BytesWakeNobody) {
            common.emit(Output::OfferAgain { instance: self.instance });
        }
        if self.part == Part::Target {
            // An offer may wait for them.
            self.pump_lead(common, now);
            self.say_progress(common);
            self.arm(common, now);
        }
    }

    /// Tells the source of progress or room, if it is worth a message.
    pub(in crate::stream) fn say_progress(&mut self, common: &mut Common) {
        if self.target.received_since >= common.config.flight_bytes / 4 {
            self.tell_standing(common, self.ends.source, false, 0);
        }
    }

    /// What was applied leaves nothing to hold for it.
    pub(in crate::stream) fn drop_held(&mut self) {
        if !self.held.is_empty() {
            self.held.drop_taken(self.head.taken, &self.wanted);
        }
    }

    /// Tells another member where this one stands.
    pub(in crate::stream) fn tell_standing(
        &mut self,
        common: &mut Common,
        to: NodeId,
        ask: bool,
        answer: u64,
    ) {
        let serial = common.serial();
        let (target, stopped) = (self.part == Part::Target, self.stopped.is_some());
        let current = self.source.current || self.part == Part::Target && self.lead.is_some();
        let heard = self.ends.place(to).map(|place| self.heard.get(place));
        let standing = Standing {
            boot: common.boot,
            peer: self.peer(to).and_then(|peer| peer.boot).unwrap_or_default(),
            serial,
            epoch: if target { self.held.epoch.max(self.head.session) } else { self.head.session },
            have: if target { self.have() } else { self.head.taken },
            room: if target && !stopped { self.room(common) } else { 0 },
            taken: self.head.taken,
            mark: if target { self.target.mark_durable } else { Sequence(0) },
            heard: heard.unwrap_or_default(),
            confirmed: current && self.knows_end() && !stopped,
            ask: if ask { serial } else { 0 },
            answer,
            floor: self.floor.taken,
            stopped,
            authority: self.authority(),
            space: common.free.saturating_sub(common.config.space_floor),
            parked: if target { self.parked() } else { 0 },
            replicated: self.lead.as_ref().map(|_| self.source.replicated).unwrap_or_default(),
        };
        if target && to == self.ends.source {
            self.target.unsaid = false;
            self.target.received_since = 0;
        }
        if !self.is_gone(to) {
            common.say(to, self.instance, Body::Status(standing));
        }
    }
}
