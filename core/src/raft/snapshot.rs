//! Snapshots: the owner's state, in chunks, for a log that does not reach back far enough.
//!
//! The sender holds the state until it has arrived and sends a few chunks ahead; the receiver answers each with how much of it is here. What is
//! lost is sent again from there, also by another sender, and after the way was cut: a state is known by its place, its length and its digest.
//! Only a whole state is offered to the owner, and nothing of it counts before the owner has taken it. A restart begins anew: what had come was
//! in memory.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_128;

use super::Output;
use super::config::Config;
use super::context::Context;
use super::entries::Entries;
use super::flow::Flows;
use super::group::{Group, Role};
use super::message::{Body, Place, Snapshot};
use super::progress::Progress;
use super::replication::Reply;
use crate::configuration::{Configuration, Member};
use crate::id::{LogIndex, NodeId, Term};
use crate::planted::Bug;
use crate::rare;
use crate::sometimes;
use crate::time::Instant;
use crate::when::When;

/// A state that is sent in chunks.
#[derive(Clone, Debug)]
pub(super) struct Sending {
    place: Place,
    configuration: Arc<Configuration>,
    data: Bytes,
    digest: u128,
    /// Returned in the answers.
    number: u64,
    /// So much has arrived.
    here: usize,
    /// So much was sent.
    sent: usize,
    /// The first chunk was sent.
    begun: bool,
}

impl Sending {
    fn new(place: Place, configuration: Arc<Configuration>, data: Bytes, number: u64) -> Self {
        let digest = xxh3_128(&data);
        Self { place, configuration, data, digest, number, here: 0, sent: 0, begun: false }
    }

    pub(super) const fn number(&self) -> u64 {
        self.number
    }

    /// What is under way.
    pub(super) fn under_way(&self) -> u64 {
        (self.sent - self.here) as u64
    }

    /// Nothing is under way: what has not arrived is sent again.
    pub(super) fn rewind(&mut self) {
        self.sent = self.here;
        self.begun = self.here > 0;
    }

    /// The receiver holds so much of it. What is no longer under way, or `None` if this is no news.
    pub(super) fn arrived(&mut self, here: usize) -> Option<u64> {
        let here = here.min(self.data.len());
        if here <= self.here {
            return None;
        }
        let before = self.under_way();
        self.here = here;
        self.sent = self.sent.max(here);
        Some(before.saturating_sub(self.under_way()))
    }

    /// The next chunk, if there is one and a window of so many has room. An empty state has one chunk, too.
    fn next(&mut self, chunk: usize, window: usize, copy: bool) -> Option<Snapshot> {
        let all_sent = self.begun && self.sent == self.data.len();
        if all_sent || self.sent - self.here >= chunk * window {
            return None;
        }
        self.begun = true;
        let end = self.data.len().min(self.sent + chunk);
        let data = self.data.slice(self.sent..end);
        let offset = core::mem::replace(&mut self.sent, end) as u64;
        let configuration =
            if offset == 0 { Configuration::clone(&self.configuration) } else { Configuration::default() };
        let (total, digest) = (self.data.len() as u64, self.digest);
        let Self { place, number, .. } = *self;
        Some(Snapshot { place, configuration, total, digest, offset, data, number, copy })
    }
}

/// A state that comes in chunks.
#[derive(Clone, Debug)]
pub(super) struct Receiving {
    from: Member,
    place: Place,
    configuration: Configuration,
    total: u64,
    digest: u128,
    number: u64,
    copy: bool,
    data: Vec<u8>,
    /// It was offered to the owner.
    offered: bool,
}

impl Receiving {
    fn is(&self, chunk: &Snapshot) -> bool {
        (self.place, self.total, self.digest, self.copy)
            == (chunk.place, chunk.total, chunk.digest, chunk.copy)
    }
}

impl Group {
    /// The owner gives its state, for a member that needs it.
    pub(super) fn send_snapshot(
        &mut self,
        context: &mut Context<'_>,
        to: NodeId,
        index: LogIndex,
        data: Bytes,
    ) {
        let Some(place) = self.log.place(index) else { return };
        let off = context.planted.has(Bug::SnapshotOffByOne);
        let place = if off { self.log.place(index.next()).unwrap_or(place) } else { place };
        let configuration = self.log.configuration_at(index);
        let asks = |asker: &&mut Box<CopyingTo>| asker.member.node == to && asker.sending.is_none();
        if let Some(asker) = self.copying_to.as_mut().filter(asks) {
            asker.sending = Some(Sending::new(place, configuration, data, 0));
            return self.send_copied_state(context);
        }
        let Role::Leader(leading) = &mut self.role else { return };
        let Some(progress) = leading.progress.get_mut(&to).filter(|progress| progress.awaits_snapshot())
        else {
            return;
        };
        leading.next_number += 1;
        progress.send_state(Sending::new(place, configuration, data, leading.next_number), context.now);
        self.wake_for(to);
        self.news_for(to);
    }

    /// The next chunk for a member, if there is room. Whether one was sent.
    pub(super) fn send_chunk(&mut self, context: &mut Context<'_>, node: NodeId) -> bool {
        let (chunk, window) = (context.config.chunk_bytes, context.config.chunks);
        let Role::Leader(leading) = &mut self.role else { return false };
        let Some(progress) = leading.progress.get_mut(&node) else { return false };
        if progress.must_wait(context.flows, self.slot) {
            return false;
        }
        let next = progress.sending().and_then(|sending| sending.next(chunk, window, false));
        let Some(snapshot) = next else { return false };
        progress.chunk_sent(snapshot.data.len() as u64, context.flows, context.now);
        sometimes!(SnapshotInChunks, snapshot.offset > 0);
        self.send(context, node, self.term, Body::Snapshot(Box::new(snapshot)), When::Durable);
        self.wake_for(node);
        true
    }

    /// Sends a member that copies its log back what there is room for.
    fn send_copied_state(&mut self, context: &mut Context<'_>) {
        let (chunk, window) = (context.config.chunk_bytes, context.config.chunks);
        while let Some(asker) = &mut self.copying_to {
            let to = asker.member;
            let next = asker.sending.as_mut().and_then(|sending| sending.next(chunk, window, true));
            let Some(snapshot) = next else { return };
            self.answer(context, to, self.term, Body::Snapshot(Box::new(snapshot)), When::Durable);
        }
    }

    /// A member says how much of a state it holds.
    pub(super) fn handle_snapshot_reply(
        &mut self,
        context: &mut Context<'_>,
        from: Member,
        number: u64,
        here: u64,
    ) {
        let here = usize::try_from(here).unwrap_or(usize::MAX);
        if number == 0 {
            let asker = self.copying_to.as_mut().filter(|asker| asker.member == from);
            if let Some(sending) = asker.and_then(|asker| asker.sending.as_mut()) {
                // It asks again what it does not get: there is no timer for it here.
                if sending.arrived(here).is_none() {
                    sending.rewind();
                }
                self.send_copied_state(context);
            }
            return;
        }
        let (now, config) = (context.now, context.config);
        let Role::Leader(leading) = &mut self.role else { return };
        if let Some(progress) = leading.progress.get_mut(&from.node).filter(|p| p.member == from) {
            progress.state_arrived((number, here), config, context.flows, now);
            self.wake_for(from.node);
            self.news_for(from.node);
        }
    }

    pub(super) fn handle_snapshot(
        &mut self,
        context: &mut Context<'_>,
        from: Member,
        term: Term,
        snapshot: Snapshot,
    ) {
        if snapshot.copy {
            if !self.copies_from(from.node) {
                return;
            }
            self.be_patient_anew(context);
        } else if self.finds_others(
            context,
            from.node,
            term,
            (snapshot.place, &Entries::new()),
            snapshot.place.index,
        ) || !self.accepts_leader(context, from, term)
        {
            return;
        }
        let outdated = snapshot.place.index <= self.commit;
        if outdated && !context.planted.strikes(Bug::OutdatedSnapshotTaken, || !snapshot.copy) {
            sometimes!(SnapshotOutdated);
            self.receiving = None;
            // Out of date (etcd#1763): what is committed here goes further.
            if snapshot.copy {
                return self.copied_state(context, from.node, self.commit);
            }
            return self.snapshot_matched(context, from, snapshot.number);
        }
        self.take_chunk(context, from, snapshot);
    }

    /// Puts a chunk where it belongs, and says how much is here.
    fn take_chunk(&mut self, context: &mut Context<'_>, from: Member, chunk: Snapshot) {
        if chunk.total > context.config.snapshot_bytes {
            rare!(SnapshotTooLarge);
            return;
        }
        let known = self.receiving.as_ref().is_some_and(|receiving| receiving.is(&chunk));
        let (number, copy) = (chunk.number, chunk.copy);
        if !known && chunk.offset > 0 {
            // Its beginning was lost, or was for another life of this node.
            return self.say_here(context, from, number, 0);
        }
        let Snapshot { place, configuration, total, digest, offset, data, .. } = chunk;
        if !known {
            rare!(OtherSnapshotBegan, self.receiving.is_some());
            let receiving = Receiving {
                from,
                place,
                configuration,
                total,
                digest,
                number,
                copy,
                data: Vec::new(),
                offered: false,
            };
            self.receiving = Some(Box::new(receiving));
        }
        let Some(receiving) = &mut self.receiving else { return };
        rare!(SnapshotResumed, receiving.number != number);
        (receiving.from, receiving.number) = (from, number);
        if receiving.offered {
            return;
        }
        let misplaced = context.planted.strikes(Bug::ChunkMisplaced, || offset > receiving.data.len() as u64);
        if offset == receiving.data.len() as u64 || misplaced {
            receiving.data.extend_from_slice(&data);
        }
        let here = receiving.data.len() as u64;
        if here < total {
            return self.say_here(context, from, number, here);
        }
        let state = core::mem::take(&mut receiving.data);
        if state.len() as u64 != total || (xxh3_128(&state) != digest && !misplaced) {
            rare!(SnapshotDamaged);
            self.receiving = None;
            return self.say_here(context, from, number, 0);
        }
        receiving.offered = true;
        let (group, from, index, term) = (self.id, from.node, place.index, place.term);
        context.out.push_back(Output::Install { group, from, index, term, data: state.into() });
    }

    fn say_here(&self, context: &mut Context<'_>, to: Member, number: u64, here: u64) {
        self.answer(context, to, self.term, Body::SnapshotReply { number, here }, When::Now);
    }

    /// The owner took the state, in this step, or did not.
    pub(super) fn installed(&mut self, context: &mut Context<'_>, taken: bool) {
        let Some(receiving) = self.receiving.take_if(|receiving| receiving.offered) else { return };
        let Receiving { from, place, configuration, number, copy, .. } = *receiving;
        let outdated = place.index <= self.commit;
        if !taken || outdated && !context.planted.strikes(Bug::OutdatedSnapshotTaken, || !copy) {
            rare!(StateNotTaken);
            return;
        }
        let known = self.log.configuration();
        let outdated = context.planted.strikes(Bug::SnapshotKeepsConfiguration, || *known != configuration);
        let configuration = if outdated { known.clone() } else { configuration };
        self.log.reset(place, configuration);
        let lower = context.planted.strikes(Bug::SnapshotSetsTerm, || place.term < self.term);
        if place.term > self.term || lower {
            (self.term, self.vote) = (place.term, None);
        }
        self.commit = self.commit.max(place.index);
        self.applied = self.applied.max(place.index);
        if !copy {
            // Who sends a state vouches for it (rule C2). An append may never follow.
            self.vouched(context, from, self.term, place, None);
        }
        self.write_reset(context);
        self.tell_configuration(context);
        sometimes!(StateTaken);
        if copy {
            self.copied_state(context, from.node, self.log.base().index);
        } else {
            self.snapshot_matched(context, from, number);
        }
    }

    fn snapshot_matched(&mut self, context: &mut Context<'_>, to: Member, number: u64) {
        let place = self.log.place(self.commit.min(self.log.durable())).unwrap_or(self.log.base());
        self.acknowledge(context, to, Reply::matched(number, place, 0));
    }
}

/// A member that lost its log and asked for a state (rule C3).
#[derive(Clone, Debug)]
pub(super) struct CopyingTo {
    pub(super) member: Member,
    pub(super) sending: Option<Sending>,
}

impl Progress {
    /// It holds so much of the state that is sent to it.
    pub(super) fn state_arrived(
        &mut self,
        (number, here): (u64, usize),
        config: &Config,
        flows: &mut Flows,
        now: Instant,
    ) {
        let Some(sending) = self.sending().filter(|sending| sending.number == number) else { return };
        if here == 0 && sending.here > 0 {
            // It was restarted, or did not take what had come: it is asked anew what it needs.
            rare!(SnapshotGivenUp);
            return self.give_up_state(flows);
        }
        if let Some(bytes) = sending.arrived(here) {
            flows.arrived(self.member.node, bytes);
            self.answered(config, now);
        }
    }
}
