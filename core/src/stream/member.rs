//! One stream at one of its ends: what source and targets have in common.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use bytes::Bytes;

use super::codec::encode_head;
use super::common::{Common, Load};
use super::entry::{Entry, Identity};
use super::idle::Idle;
use super::lead::Lead;
use super::marks::Marks;
use super::message::{Body, Standing};
use super::parts;
use super::peer::Peer;
use super::source::Source;
use super::state::{Effect, LogState};
use super::store::{Kept, Store, key, space};
use super::target::Target;
use super::wire::decode_entry;
use super::{Applied, Input, Output};
use crate::ends::Ends;
use crate::id::{BootId, LogIndex, NodeId, Sequence, SessionEpoch, StreamInstance, Term};
use crate::payload::Payload;
use crate::planted::Bug;
use crate::record::Record;
use crate::sealing::Sealed;
use crate::sometimes;
use crate::time::{Instant, Now};

/// What this node is to a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Not told yet: only records, or news of the group, came so far.
    Unknown,
    Source,
    Target,
}

/// A payload an append waits for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wanted {
    /// When it was asked for last.
    pub(super) asked: Option<Instant>,
    /// How often it was asked for: each time it gets twice as long, for what was sent may wait before a lane that is full.
    pub(super) times: u32,
    pub(super) bytes: u64,
    /// Of whom it was asked: a bit for each other member, by its place among them.
    pub(super) of: u64,
    /// The session of the descriptor that names it, and its last message: once both are past, nobody needs it.
    pub(super) session: SessionEpoch,
    pub(super) last: Sequence,
}

/// One stream.
#[derive(Clone, Debug)]
pub(super) struct Stream {
    pub(super) instance: StreamInstance,
    pub(super) name: String,
    pub(super) part: Part,
    /// The ends as the log has them: who joined stands behind those it was opened with.
    pub(super) ends: Arc<Ends>,
    pub(super) opened: Arc<Ends>,
    /// The other members, and whoever is to be one, in the order in which they came to be known.
    pub(super) peers: Vec<Peer>,
    /// The state after everything applied.
    pub(super) head: LogState,
    /// The state at the place below which every batch is released.
    pub(super) floor: LogState,
    /// What the entries between floor and head did.
    pub(super) tail: VecDeque<(LogIndex, Effect)>,
    pub(super) store: Store,
    pub(super) leading: bool,
    /// In this term.
    pub(super) term: Term,
    /// Who leads, as far as it is known here.
    pub(super) leader: Option<NodeId>,
    /// The term of the last entry applied, by this start.
    pub(super) applied_term: Term,
    /// The entry in front of which, and at which, everything stands that was committed when this member began to lead.
    pub(super) led_behind: LogIndex,
    /// What a leader that is not the source keeps.
    pub(super) lead: Option<Box<Lead>>,
    /// The highest processed mark heard of each target (rule C4).
    pub(super) heard: Marks,
    /// Since when targets stand still, once somebody had something to process.
    pub(super) idle: Option<Box<Idle>>,
    /// A completion is under way.
    pub(super) completing: bool,
    pub(super) stopped: Option<String>,
    /// Others go on with the stream without this member.
    pub(super) shut_out: bool,
    /// A change of its members that is under way.
    pub(super) changing: Option<Box<super::changing::Changing>>,
    /// The changes that are done, if there are any.
    pub(super) recorded: Option<Box<super::recorded::Recorded>>,
    /// What is known of its seal, if its group lost its quorum.
    pub(super) seal: Option<Box<Sealed>>,
    /// What the group said before the stream was opened here.
    pub(super) early: VecDeque<Input>,
    /// Payloads an append waits for.
    pub(super) wanted: BTreeMap<Identity, Wanted>,
    /// A member needs the state, which has so many bytes that it cannot be sent.
    pub(super) oversized: Option<u64>,
    /// An append waits for space on the disk.
    pub(super) starved: bool,
    /// Verified payloads that no admitted entry names yet.
    pub(super) held: super::target::Held,
    /// What a stream with a retention remembers of it.
    pub(super) keeping: Option<Box<super::keeping::Keeping>>,
    /// Slots being loaded.
    pub(super) loading: BTreeSet<u64>,
    /// Slots whose payload was asked for, and by whom.
    pub(super) answering: BTreeSet<(u64, NodeId)>,
    pub(super) checkpoint_at: Option<Instant>,
    pub(super) restate_at: Option<Instant>,
    /// How often was restated since anything was heard of another member.
    restated: u32,
    /// The deadline under which this stream stands in the list of deadlines.
    pub(super) armed: Option<Instant>,
    /// Entries applied since the last checkpoint, and bytes freed.
    pub(super) applied_since: usize,
    pub(super) freed_since: u64,
    pub(super) source: Source,
    pub(super) target: Target,
}

impl Stream {
    pub(super) fn new(instance: StreamInstance) -> Self {
        Self {
            instance,
            name: String::new(),
            part: Part::Unknown,
            ends: Arc::default(),
            opened: Arc::default(),
            peers: Vec::new(),
            head: LogState::default(),
            floor: LogState::default(),
            tail: VecDeque::new(),
            store: Store::default(),
            leading: false,
            term: Term(0),
            leader: None,
            applied_term: Term(0),
            led_behind: LogIndex(0),
            lead: None,
            heard: Marks::default(),
            idle: None,
            completing: false,
            stopped: None,
            shut_out: false,
            changing: None,
            recorded: None,
            seal: None,
            early: VecDeque::new(),
            wanted: BTreeMap::new(),
            oversized: None,
            starved: false,
            held: super::target::Held::default(),
            keeping: None,
            loading: BTreeSet::new(),
            answering: BTreeSet::new(),
            checkpoint_at: None,
            restate_at: None,
            restated: 0,
            armed: None,
            applied_since: 0,
            freed_since: 0,
            source: Source::default(),
            target: Target::default(),
        }
    }

    /// The other member on that node, if it is one.
    pub(super) fn peer(&self, node: NodeId) -> Option<&Peer> {
        self.peers.iter().find(|peer| peer.node == node)
    }

    pub(super) fn peer_mut(&mut self, node: NodeId) -> Option<&mut Peer> {
        self.peers.iter_mut().find(|peer| peer.node == node)
    }

    /// Whether another member is heard.
    pub(super) fn silent(&mut self, node: NodeId, silent: bool) {
        if let Some(peer) = self.peer_mut(node) {
            peer.silent = silent;
        }
    }

    /// What is known of the source, at a target.
    pub(super) fn source_peer(&self) -> Option<&Peer> {
        self.peer(self.ends.source)
    }

    /// Whether it is known here, at the leader, where the log ends: everything in it that others proposed is applied (S15).
    pub(super) fn knows_end(&self) -> bool {
        self.leading && self.applied_term == self.term
    }

    /// Stops taking part: everything stays as it is, for an operator to see.
    pub(super) fn stop(&mut self, common: &mut Common, reason: String) {
        if self.stopped.is_none() {
            self.stopped = Some(reason);
            sometimes!(StreamStopped);
            self.refuse_waiting(common);
            self.resign(common);
            self.want_no_more();
        }
    }

    /// Others are to do without this member until its next start (S17).
    fn resign(&mut self, common: &mut Common) {
        if !common.planted.strikes(Bug::StoppedStillLeads, || self.leading) {
            common.emit(Output::Resign { instance: self.instance, leaves: self.is_out_itself() });
        }
        if self.shut_out {
            return;
        }
        let others: Vec<NodeId> = self.peers.iter().map(|peer| peer.node).collect();
        for node in others {
            self.tell_standing(common, node, false, 0);
        }
    }

    pub(super) fn apply(&mut self, common: &mut Common, now: Now, entries: Vec<Applied>) {
        for applied in entries {
            let gap = || self.stopped.is_some() && applied.index != self.head.applied.next();
            if self.rests() || gap() {
                return;
            }
            if applied.index > self.head.applied {
                self.apply_one(common, now, &applied);
            }
        }
        self.fire_replicated(common);
        self.go_on_changing(common);
        self.pump(common, now);
        self.settle_seal(common);
        self.maybe_checkpoint(common, now);
    }

    /// Does what can be done now.
    pub(super) fn pump(&mut self, common: &mut Common, now: Now) {
        match self.part {
            Part::Source => self.pump_source(common, now),
            Part::Target => self.pump_target(common, now),
            Part::Unknown => {}
        }
    }

    fn apply_one(&mut self, common: &mut Common, now: Now, applied: &Applied) {
        let mut entry = None;
        if applied.command {
            match decode_entry(&applied.data) {
                Ok(found) => entry = Some(found),
                Err(what) => {
                    let place = applied.index;
                    let reason = alloc::format!(
                        "entry {place} of its log cannot be read ({what}): run a newer version"
                    );
                    return self.stop(common, reason);
                }
            }
        }
        let lenient = common.planted.has(Bug::DedupeForgotten);
        // S28: who is one already, or stands elsewhere, does not join.
        let means = entry.as_ref().filter(|entry| self.may_be_joined_by(entry));
        let effect = means.map_or(Effect::Nothing, |entry| self.head.effect(entry, lenient));
        let mut slot = None;
        let mut moved = Vec::new();
        if let (Effect::Taken { first }, Some(Entry::Descriptor { batch, .. })) = (effect, &entry) {
            if parts::forged(&self.head.open, batch) && !common.planted.has(Bug::WholeUnchecked) {
                return self.stop(
                    common,
                    alloc::format!("the parts of the message that ends at {first} are not what it is called"),
                );
            }
            let found = self.store.slot_of(&batch.identity).unwrap_or_else(|| {
                assert!(
                    common.planted.has(Bug::DescriptorWithoutPayload),
                    "S3: {} takes {first} and has no bytes of it",
                    self.instance
                );
                let slot = self.store.new_slot();
                let batch = batch.clone();
                let kept = Kept {
                    batch,
                    first,
                    own: false,
                    durable: false,
                    taken: None,
                    waiters: Vec::new(),
                    origin: None,
                };
                self.store.insert(slot, kept);
                slot
            });
            moved = self.store.reread(found, batch.clone());
            self.store.take(found, first, applied.index);
            slot = Some(found);
        }
        self.check_let_go(entry.as_ref());
        if let Some(reason) = self.lets_go_early(common, entry.as_ref()) {
            return self.stop(common, reason);
        }
        let batch = slot.and_then(|slot| self.store.get(slot)).map(|kept| &kept.batch);
        if matches!(effect, Effect::Detached { .. } | Effect::Joined { .. }) && self.part == Part::Source {
            self.source.processed_before = self.processed_by_enough(common);
        }
        if let (Effect::Joined { .. }, Some(Entry::Join { place, node, behind, .. })) = (effect, &entry) {
            let joined = self.head.joining(*place, *node, *behind);
            self.head.join(joined);
        }
        self.head.advance(applied.index, effect, batch);
        let knew = self.knows_end();
        self.applied_term = applied.term;
        if self.knows_end() && !knew {
            self.led_behind = applied.index;
        }
        self.note(applied.index, effect);
        self.keep_applied(effect, entry.as_ref());
        self.applied_since += 1;
        self.wait_anew(common, moved);
        if let Some(Entry::Complete { marks, .. }) = &entry {
            self.heard.raise_all(marks);
            self.completing &= common.planted.has(Bug::CompletionOnce) && effect != Effect::Nothing;
        }
        self.lead_applied(entry.as_ref());
        self.detached(common, effect);
        self.joined(common, effect);
        match self.part {
            Part::Source => self.source_applied(common, now, effect, entry.as_ref()),
            Part::Target => self.target_applied(effect),
            Part::Unknown => {}
        }
        if let Effect::Completed { .. } = effect {
            self.checkpoint_soon(common, now);
        }
    }

    /// Notes what an entry did, for the floor to follow. Where a target is behind the policy, others complete message by message while the floor stands:
    /// what comes to the same is one note.
    fn note(&mut self, index: LogIndex, effect: Effect) {
        let folds = matches!(effect, Effect::Completed { .. } | Effect::Nothing);
        match self.tail.back_mut() {
            Some(last @ (_, Effect::Nothing)) if folds => *last = (index, effect),
            Some((last, Effect::Completed { upto, released })) if folds => {
                *last = index;
                if let Effect::Completed { upto: more, released: gone } = effect {
                    (*upto, *released) = ((*upto).max(more), (*released).max(gone));
                }
            }
            _ => self.tail.push_back((index, effect)),
        }
    }

    /// Writes a payload record.
    pub(super) fn keep(
        &mut self,
        common: &mut Common,
        first: Sequence,
        batch: super::entry::Batch,
        payload: Payload,
        own: bool,
    ) -> u64 {
        let slot = self.store.new_slot();
        common.emit(Output::Persist(Record {
            key: key(self.instance, space::PAYLOAD, slot),
            last_slot: slot,
            head: encode_head(own, first, &batch),
            payload: payload.clone(),
        }));
        // Parts are handed over when all are here: until then there may come more of them than memory is for.
        if batch.part.is_none() {
            common.remember(self.instance, slot, payload);
        }
        self.store.insert(
            slot,
            Kept { batch, first, own, durable: false, taken: None, waiters: Vec::new(), origin: None },
        );
        slot
    }

    /// The payload of a batch; if it is not at hand, it is loaded and `None` is returned for now.
    pub(super) fn payload(&mut self, common: &mut Common, slot: u64) -> Option<Payload> {
        if let Some(payload) = common.cache.get(self.instance, slot) {
            return Some(payload.clone());
        }
        let key = self.store.get(slot)?.key(self.instance, slot);
        if self.loading.insert(slot) {
            common.load(Load::Batch(self.instance, slot), key);
        }
        None
    }

    pub(super) fn loaded(&mut self, common: &mut Common, now: Now, slot: u64, bytes: Option<Bytes>) {
        self.loading.remove(&slot);
        let asked = self.asked_for(slot);
        let Some(kept) = self.store.get(slot) else { return };
        let Some(bytes) = bytes.filter(|bytes| bytes.len() as u64 == kept.batch.bytes()) else {
            let first = kept.first;
            return self
                .stop(common, alloc::format!("the stored bytes of the batch at {first} cannot be read"));
        };
        common.remember(self.instance, slot, bytes.into());
        for node in asked {
            self.send_data(common, node, slot);
        }
        self.pump(common, now);
    }

    /// Who asked for the payload in a slot, and waits for it to be loaded.
    fn asked_for(&mut self, slot: u64) -> Vec<NodeId> {
        let asked = self.answering.range((slot, NodeId(0))..=(slot, NodeId(u128::MAX)));
        let asked: Vec<NodeId> = asked.map(|&(_, node)| node).collect();
        for &node in &asked {
            self.answering.remove(&(slot, node));
        }
        asked
    }

    /// Makes sure that what is owed is said again if nothing comes.
    pub(super) fn arm(&mut self, common: &Common, now: Now) {
        let takes_part = || {
            self.lead_outstanding(common)
                || self.changes()
                || self.owes_recorded()
                || match self.part {
                    Part::Source => self.source_outstanding(common),
                    Part::Target => self.target_outstanding(common),
                    Part::Unknown => false,
                }
        };
        let waits = !self.wanted.is_empty() && !self.rests();
        let outstanding = waits || self.stopped.is_none() && takes_part();
        if !outstanding {
            self.restate_at = None;
        } else if self.restate_at.is_none() {
            self.restate_at = Some(now.monotonic + common.config.pause_after(self.restated));
        }
        self.watch_targets(common, now);
        self.tend(common, now);
    }

    /// Another member is heard of: what is restated next is restated soon.
    pub(super) fn news(&mut self, common: &Common, now: Now) {
        if core::mem::take(&mut self.restated) > 0 {
            let soon = now.monotonic + common.config.restate;
            self.restate_at = self.restate_at.map(|at| at.min(soon));
        }
    }

    pub(super) fn deadline_reached(&mut self, common: &mut Common, now: Now) {
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now.monotonic);
        let restates = due(self.restate_at);
        if restates {
            self.restate_at = None;
            self.restated = self.restated.saturating_add(1);
            self.drop_futile(common);
            self.ask_for_wanted(common, now, false);
        }
        if self.stopped.is_some() {
            return self.arm(common, now);
        }
        if due(self.target.patience_until) {
            sometimes!(NoWordFromSource);
            self.greet();
            self.pump_target(common, now);
        }
        if due(self.checkpoint_at) {
            self.checkpoint(common);
        }
        self.keep_on(common, now);
        self.detach_idle(common, now);
        if restates {
            self.steer(common, now);
            self.go_on_changing(common);
            match self.part {
                Part::Source => self.restate_source(common, now),
                Part::Target => self.restate_target(common, now),
                Part::Unknown => {}
            }
            self.arm(common, now);
        }
    }

    /// Another member said something.
    pub(super) fn heard(&mut self, common: &mut Common, now: Now, from: NodeId, body: Body) {
        if self.stopped.is_some() {
            match body {
                Body::Status(Standing { ask: ask @ 1.., .. }) if !self.shut_out => {
                    self.tell_standing(common, from, false, ask);
                }
                Body::Data(data) if !self.rests() => {
                    self.receive(common, from, data);
                    self.arm(common, now);
                }
                _ => {}
            }
            return;
        }
        if !self.is_said_again(from, &body) {
            self.news(common, now);
        }
        match body {
            Body::Data(data) => self.receive(common, from, data),
            Body::Want(identity) => self.answer_want(common, now, from, &identity),
            Body::Mark(upto) => self.marked(common, now, from, upto),
            Body::Status(standing) => self.peer_stands(common, now, from, &standing),
            Body::Offer(entry) => self.offered(common, now, from, entry),
            Body::Follow { epoch, taken } => self.must_follow(common, now, from, epoch, taken),
            Body::SealedOut(_) => {}
        }
        self.arm(common, now);
    }

    /// Whether another member says what it said last. Who asks for what is not there yet is answered so, and would ask as often as it can if each
    /// answer were news.
    fn is_said_again(&self, from: NodeId, body: &Body) -> bool {
        let Body::Status(standing) = body else { return false };
        let before = self.peer(from).and_then(|peer| peer.standing);
        before.is_some_and(|before| before.says_the_same(standing))
    }

    fn peer_stands(&mut self, common: &mut Common, now: Now, from: NodeId, standing: &Standing) {
        let Some(peer) = self.peer(from) else { return };
        let older = peer.standing.is_some_and(|before| before.serial >= standing.serial);
        if older || peer.boot.is_some_and(|boot| boot != standing.boot) {
            return;
        }
        if peer.boot.is_none() {
            self.learn_boot(common, from, standing.boot);
        }
        // What a former start of this node asked bears numbers that this one uses again.
        let mine = standing.peer == common.boot;
        let standing = &if mine { *standing } else { Standing { answer: 0, confirmed: false, ..*standing } };
        let Some(peer) = self.peer_mut(from) else { return };
        peer.standing = Some(*standing);
        peer.holds = peer.holds.max(standing.taken);
        peer.knows_us = mine;
        if from == self.ends.source {
            self.lead.iter_mut().for_each(|lead| lead.source_stands(standing));
        }
        match self.part {
            Part::Source => self.target_stands(common, now, from, standing),
            Part::Target => self.member_stands(common, now, from, standing),
            Part::Unknown => {}
        }
    }

    /// Another member is known by this start from now on: where another stood, and how it numbered what it sent, counts no more.
    fn learn_boot(&mut self, common: &Common, node: NodeId, boot: BootId) {
        if let Some(peer) = self.peer_mut(node) {
            peer.learn_boot(boot);
        }
        let ahead = || self.held.epoch > self.head.session;
        let source = self.part == Part::Target && node == self.ends.source;
        self.lead.iter_mut().filter(|_| source).for_each(|lead| lead.source_left());
        self.target.sent_to &= !source;
        if source && !common.planted.strikes(Bug::StartKeepsSession, ahead) {
            self.held.begin_start(self.head.session);
        }
    }

    /// Another member started anew.
    pub(super) fn peer_started(&mut self, common: &mut Common, now: Now, node: NodeId, boot: BootId) {
        let Some(peer) = self.peer(node) else { return };
        sometimes!(PeerStartedAnew, peer.boot.is_some_and(|known| known != boot));
        if peer.boot == Some(boot) || self.rests() || self.is_gone(node) {
            return;
        }
        self.news(common, now);
        self.learn_boot(common, node, boot);
        if let Some(peer) = self.peer_mut(node) {
            peer.silent = false;
        }
        if self.stopped.is_some() {
            self.ask_for_wanted(common, now, true);
            return self.arm(common, now);
        }
        match self.part {
            Part::Source => {
                self.ask_for_wanted(common, now, true);
                self.restart_sender(common, now, node);
            }
            Part::Target => self.greet_again(common, now, node),
            Part::Unknown => {}
        }
        self.arm(common, now);
    }

    /// When this stream wants to be looked at.
    pub(super) fn deadline(&self) -> Option<Instant> {
        if self.rests() {
            return None;
        }
        if self.stopped.is_some() {
            return self.restate_at;
        }
        let keeps = self.keeping.as_ref().and_then(|keeping| keeping.due);
        let looks = sooner(keeps, self.idle.as_ref().and_then(|idle| idle.due));
        sooner(sooner(self.checkpoint_at, self.restate_at), sooner(self.target.patience_until, looks))
    }
}

/// The sooner of two moments, of which there may be none.
fn sooner(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        _ => one.or(other),
    }
}
