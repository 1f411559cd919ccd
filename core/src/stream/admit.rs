//! The gate of one stream (rules B1 to B3): what may be appended here, and the bytes that appends wait for.

use alloc::vec::Vec;

use super::Output;
use super::common::Common;
use super::entry::{Entry, Identity, held_weight};
use super::member::{Part, Stream, Wanted};
use super::message::Body;
use super::peer::bit_of;
use super::wire::decode_entry;
use crate::id::{NodeId, Sequence};
use crate::planted::Bug;
use crate::rare;
use crate::sometimes;
use crate::time::Now;

/// Whether a log entry may be appended here (rule B1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Its bytes are here, or it names none.
    Passes,
    /// Its bytes are here, and being looked at.
    Soon,
    /// Its bytes, or room for them, are yet to come.
    Waits,
}

impl Admission {
    /// Whether it may be appended now.
    #[must_use]
    pub fn passes(self) -> bool {
        self == Self::Passes
    }
}

impl Stream {
    /// Whether a log entry may be appended here. If its bytes are verified and not yet written, they are written now, so that they
    /// share the append's row.
    pub(super) fn admit(&mut self, common: &mut Common, now: Now, data: &[u8]) -> Admission {
        let Ok(Entry::Descriptor { epoch, first, batch }) = decode_entry(data) else {
            return Admission::Passes;
        };
        let last = Sequence((first.0 + batch.live()).saturating_sub(1));
        // What is certainly a no-op names no bytes that anybody will read.
        let futile = epoch < self.head.session || last <= self.head.taken;
        if futile || self.store.slot_of(&batch.identity).is_some() {
            return Admission::Passes;
        }
        if !common.has_space_for(batch.bytes()) {
            // Rule B2: the append waits, and nothing is asked for that could not be written.
            self.starved = true;
            sometimes!(AppendStarved);
            return Admission::Waits;
        }
        self.starved = false;
        if let Some(payload) = self.held.take(&batch.identity) {
            self.wanted.remove(&batch.identity);
            sometimes!(SourceTookBack, self.part == Part::Source);
            if payload.len() as u64 != batch.bytes() {
                self.stop(
                    common,
                    alloc::format!("the batch at {first} is not as long as its descriptor says"),
                );
                return Admission::Waits;
            }
            let slot = self.keep(common, first, batch, payload, false);
            self.store.written(slot);
            self.target.unsaid = true;
            return Admission::Passes;
        }
        if common.planted.has(Bug::DescriptorWithoutPayload) {
            return Admission::Passes;
        }
        // Of what the lost sent nobody is left who has the bytes.
        if !self.alone() {
            let wanted = Wanted { bytes: batch.bytes(), session: epoch, last, ..Wanted::default() };
            self.want(common, now, batch.identity, wanted);
        }
        let soon = self.held.is_verifying(&batch.identity) && self.wanted.contains_key(&batch.identity);
        sometimes!(BytesLookedAt, soon);
        if soon { Admission::Soon } else { Admission::Waits }
    }

    /// Whether an entry that names bytes could be appended at once: they are here, and there is room for them.
    pub(super) fn could_admit(&self, common: &Common, data: &[u8]) -> bool {
        let Ok(Entry::Descriptor { batch, .. }) = decode_entry(data) else { return false };
        let kept = self.store.slot_of(&batch.identity).is_some();
        kept || common.has_space_for(batch.bytes()) && self.held.get(&batch.identity).is_some()
    }

    /// Notes that an append waits for the bytes of a batch.
    fn want(&mut self, common: &mut Common, now: Now, identity: Identity, wanted: Wanted) {
        let bytes = wanted.bytes;
        if self.wanted.contains_key(&identity) || self.rests() {
            return;
        }
        let all: u64 = self.wanted.values().map(|wanted| held_weight(wanted.bytes)).sum();
        if self.wanted.len() >= common.config.wanted || all + held_weight(bytes) > common.config.receive_bytes
        {
            rare!(WantedGaveWay);
            // An append stops at the first batch that is missing: what was wanted before is of appends that this one replaced.
            self.wanted.clear();
        }
        let expected = self.expects(&identity, &wanted);
        self.target.asks_ahead = !expected;
        let asked = expected.then_some(now.monotonic);
        self.wanted.insert(identity, Wanted { asked, ..wanted });
        if asked.is_none() {
            self.ask_for_wanted(common, now, false);
        }
    }

    /// Whether bytes that an entry names are under way here already, most likely, without being asked for.
    fn expects(&self, identity: &Identity, wanted: &Wanted) -> bool {
        let former = wanted.session <= self.head.session && self.source_began();
        self.is_sent_to() && !former && !self.held.passed(identity, wanted.last)
    }

    /// Whether the source sends to this member: to a target, unless bytes had to come from another holder lately.
    fn is_sent_to(&self) -> bool {
        self.part == Part::Target
            && !self.target.repairs
            && self.source_peer().is_some_and(|peer| !peer.silent || self.peers.len() == 1)
            && !self.is_lost(self.ends.source)
    }

    /// Whether the source started anew, has no session yet as far as is known here, and sent nothing: before it has, it sends nothing but what it is asked for,
    /// and what its former starts left in the log may have to come here for it to get one.
    pub(super) fn source_began(&self) -> bool {
        let boot = self.source_peer().and_then(|peer| peer.boot);
        !self.target.sent_to && boot.is_some_and(|boot| boot != self.head.boot)
    }

    /// Asks for the bytes of an entry behind one that waits for its own, unless they are under way, or there are enough others. Whether to go on with
    /// the next one.
    pub(super) fn foresee(&mut self, common: &Common, data: &[u8]) -> bool {
        let Ok(Entry::Descriptor { epoch, first, batch }) = decode_entry(data) else { return true };
        let (identity, bytes) = (batch.identity, batch.bytes());
        let last = Sequence((first.0 + batch.live()).saturating_sub(1));
        let wanted = Wanted { bytes, session: epoch, last, ..Wanted::default() };
        let futile = epoch < self.head.session || last <= self.head.taken;
        let here = self.store.slot_of(&identity).is_some() || self.held.get(&identity).is_some();
        if futile || here || self.wanted.contains_key(&identity) || self.expects(&identity, &wanted) {
            return true;
        }
        let asked: u64 = self.wanted.values().map(|wanted| held_weight(wanted.bytes)).sum();
        let all = self.held.bytes() + asked + held_weight(bytes);
        // As much as is given to one who asks, in the time after which it asks again (S20).
        let most = common.config.flight_bytes.min(common.config.receive_bytes);
        if self.wanted.len() >= common.config.wanted || all > most || !common.has_space_for(all) {
            rare!(ForeseenEnough);
            return false;
        }
        sometimes!(AskedAhead);
        self.wanted.insert(identity, wanted);
        true
    }

    /// What was waited for is named by appends that count no more (S19). Whether there was anything: then what is held is to be looked at again, and asks
    /// anew for what it needs.
    pub(super) fn wants_nothing(&mut self, common: &Common) -> bool {
        let any = !self.wanted.is_empty() && !common.planted.has(Bug::WantedForEver);
        if any {
            rare!(WantedLetGo);
            self.wanted.clear();
        }
        any
    }

    /// Nothing is taken here any more, if this member rests (S19).
    pub(super) fn want_no_more(&mut self) {
        if self.rests() {
            self.wanted.clear();
            self.starved = false;
        }
    }

    /// See [`Self::wants_nothing`].
    pub(super) fn look_again(&self, common: &mut Common, any: bool) {
        if any {
            common.emit(Output::OfferAgain { instance: self.instance });
        }
    }

    /// Nobody needs what is certainly a no-op by now.
    pub(super) fn drop_futile(&mut self, common: &mut Common) {
        let head = (self.head.session, self.head.taken);
        let futile = |wanted: &Wanted| wanted.session < head.0 || wanted.last <= head.1;
        let any = self.wanted.values().any(futile) && self.wants_nothing(common);
        self.look_again(common, any);
    }

    /// Asks for the bytes that appends wait for. Those asked for lately are left out unless `all`.
    pub(super) fn ask_for_wanted(&mut self, common: &mut Common, now: Now, all: bool) {
        let instance = self.instance;
        let holders = self.holders_to_ask();
        for (identity, wanted) in &mut self.wanted {
            let patience = common.config.pause_after(wanted.times);
            let due = wanted.asked.is_none_or(|at| now.monotonic.since(at) >= patience);
            if (due || all) && common.has_space_for(wanted.bytes) {
                sometimes!(BytesAskedForAgain, wanted.times > 0);
                wanted.asked = Some(now.monotonic);
                let turn = if all { 0 } else { wanted.times as usize };
                wanted.times = if all { 1 } else { wanted.times.saturating_add(1) };
                if let Some(&holder) = holders.get(turn % holders.len().max(1)) {
                    rare!(BytesAskedOfAnother, turn > 0 && holders.len() > 1);
                    wanted.of |= bit_of(&self.peers, holder);
                    common.say(holder, instance, Body::Want(*identity));
                }
            }
        }
    }

    /// Whom to ask for bytes: who leads, then the source, then the others, one after the other. Who is silent is left out, unless all are.
    fn holders_to_ask(&self) -> Vec<NodeId> {
        let left = || self.peers.iter().filter(|peer| !self.is_gone(peer.node));
        let heard = left().filter(|peer| !peer.silent && !peer.stopped()).map(|peer| peer.node);
        let mut holders: Vec<NodeId> = heard.collect();
        if holders.is_empty() {
            holders = left().map(|peer| peer.node).collect();
        }
        let (leader, source) = (self.leader, self.ends.source);
        holders.sort_by_key(|&node| (Some(node) != leader, node != source));
        holders
    }

    /// Another member wants the bytes of a batch. A question is some seventy bytes, and its answer may be a megabyte: so a member is given what may be
    /// under way to it in the time after which it asks again, and the same once (S20).
    pub(super) fn answer_want(&mut self, common: &mut Common, now: Now, from: NodeId, identity: &Identity) {
        let Some(slot) = self.store.slot_of(identity) else { return };
        let bytes = self.store.get(slot).map_or(0, |kept| held_weight(kept.batch.bytes()));
        let answered = self.peer_mut(from).is_some_and(|peer| {
            peer.served.serves(
                now.monotonic,
                (slot, bytes),
                common.config.restate,
                common.config.flight_bytes,
            )
        });
        if !answered && !common.planted.strikes(Bug::EveryWantAnswered, || true) {
            return rare!(WantPutOff);
        }
        // S5: a source shows nothing that is not durable.
        if self.part == Part::Source && !self.store.get(slot).is_some_and(|kept| kept.durable) {
            return;
        }
        if self.payload(common, slot).is_some() {
            self.send_data(common, from, slot);
        } else {
            self.answering.insert((slot, from));
        }
    }
}
