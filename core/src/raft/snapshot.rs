//! Snapshots: the owner's state, in chunks, for a log that does not reach back far enough. This is the end that sends; see [`receiving`] for
//! the other.
//!
//! The sender holds the state until it has arrived and sends a few chunks ahead; the receiver answers each with how much of it is here. What is
//! lost is sent again from there, once: by its timer if a leader sends it; if a state is given back, when several answers are alike, or
//! when it is asked again. No answer that brings no news is followed by chunks of its own: seven of eight chunks behind a
//! lost one are answered alike, and were each followed by a window of chunks, they would soon be thousands.
//!
//! [`receiving`]: super::receiving

use alloc::boxed::Box;
use alloc::sync::Arc;

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_128;

use super::Output;
use super::config::Config;
use super::context::Context;
use super::flow::Flows;
use super::group::Group;
use super::message::{Body, Place, Snapshot};
use super::progress::Progress;
use super::roles::Role;
use crate::configuration::{Configuration, Member};
use crate::id::{LogIndex, NodeId};
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
    /// Answers that said the same as the one before.
    alike: u8,
}

/// So many answers that say the same tell of a chunk that was lost, and not of two that changed places on their way.
const LOST: u8 = 3;

impl Sending {
    fn new(place: Place, configuration: Arc<Configuration>, data: Bytes, number: u64) -> Self {
        let digest = xxh3_128(&data);
        Self { place, configuration, data, digest, number, here: 0, sent: 0, begun: false, alike: 0 }
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

    /// It is sent from its beginning: the receiver may have let go of what it had. Its first answer says whether it did.
    fn begin_again(&mut self) {
        (self.here, self.sent, self.begun, self.alike) = (0, 0, false, 0);
    }

    /// The receiver holds so much of it. What is no longer under way, or `None` if this is no news.
    pub(super) fn arrived(&mut self, here: usize) -> Option<u64> {
        let here = here.min(self.data.len());
        if here <= self.here {
            return None;
        }
        let before = self.under_way();
        (self.here, self.alike) = (here, 0);
        self.sent = self.sent.max(here);
        Some(before.saturating_sub(self.under_way()))
    }

    /// As [`Self::arrived`], where no timer sends again what was lost. Whether there is something to send: more, or what is missing, once.
    fn answered(&mut self, here: usize) -> bool {
        let news = self.arrived(here).is_some();
        if !news && here == self.here && here > 0 {
            self.alike = self.alike.saturating_add(1);
            if self.alike == LOST {
                self.rewind();
                return true;
            }
        }
        news
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

impl Group {
    /// The owner's state up to `upto` is written. That of the control group holds all there is; entries of a stream refer to bytes, which are gone.
    pub(super) fn lets_go(&mut self, config: &Config, upto: LogIndex) {
        if config.is_of_stream(self.id) && upto > self.log.base().index {
            let past = self.past_mut();
            past.let_go = past.let_go.max(upto);
        }
    }

    /// Where what is given of this log to others begins: whoever lacks an entry up to here needs the state (rule B1).
    pub(super) fn given_behind(&self) -> LogIndex {
        self.log.base().index.max(self.past().let_go)
    }

    /// The owner gives its state, for a member that needs it.
    pub(super) fn send_snapshot(
        &mut self,
        context: &mut Context<'_>,
        to: NodeId,
        index: LogIndex,
        data: Bytes,
    ) {
        // Else it will be known when the member is asked for again.
        let Some(place) = self.place_or_read(context, index) else { return };
        let off = context.planted.has(Bug::SnapshotOffByOne);
        let place = if off { self.log.place(index.next()).unwrap_or(place) } else { place };
        let configuration = self.log.configuration_at(index);
        let asks = |asker: &&mut Box<CopyingTo>| asker.member.node == to && asker.sending.is_none();
        if let Some(asker) = self.copying_to.as_mut().filter(asks) {
            asker.sending = Some(Sending::new(place, configuration, data, 0));
            return self.send_copied_state(context);
        }
        let Role::Leader(leading) = &mut self.role else { return };
        let Some(progress) = leading.progress.on_mut(to).filter(|progress| progress.awaits_snapshot()) else {
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
        let Some(progress) = leading.progress.on_mut(node) else { return false };
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
            let Some(asker) = asker else { return };
            if asker.sending.as_mut().is_some_and(|sending| sending.answered(here)) {
                asker.until = context.now + context.config.snapshot_patience;
                self.send_copied_state(context);
            }
            return;
        }
        let (now, config) = (context.now, context.config);
        let Role::Leader(leading) = &mut self.role else { return };
        if let Some(progress) = leading.progress.on_mut(from.node).filter(|p| p.member == from) {
            progress.state_arrived((number, here), config, context.flows, now);
            self.wake_for(from.node);
            self.news_for(from.node);
        }
    }
}

/// A member that lost its log and asked for a state (rule C3).
#[derive(Clone, Debug)]
pub(super) struct CopyingTo {
    member: Member,
    /// The life in which it asked: in another it holds nothing of what came before.
    life: u64,
    sending: Option<Sending>,
    /// The state is let go then, unless it asks again or answers.
    pub(super) until: Instant,
}

impl CopyingTo {
    /// Whether what was begun for it still serves one that holds everything up to `last`.
    fn serves(&self, member: Member, life: u64, last: LogIndex) -> bool {
        let goes_further = |sending: &Sending| sending.place.index > last;
        (self.member, self.life) == (member, life) && self.sending.as_ref().is_none_or(goes_further)
    }
}

impl Group {
    /// A member that copies its log back needs a state. What was begun is gone on with: another state would have another place, and what it has
    /// of this one would be of no use to it.
    pub(super) fn give_state(&mut self, context: &mut Context<'_>, asker: Member, life: u64, last: LogIndex) {
        sometimes!(CopyBeganWithState);
        let until = context.now + context.config.snapshot_patience;
        let given = self.copying_to.as_mut().filter(|given| given.serves(asker, life, last));
        match given {
            Some(given) => {
                given.until = until;
                if let Some(sending) = &mut given.sending {
                    rare!(CopyGoneOnWith);
                    sending.begin_again();
                    return self.send_copied_state(context);
                }
            }
            None => {
                self.copying_to = Some(Box::new(CopyingTo { member: asker, life, sending: None, until }));
            }
        }
        self.wake_at(until);
        context.out.push_back(Output::SnapshotWanted { group: self.id, to: asker.node });
    }

    /// Whoever leads does not copy its log back any more.
    pub(super) fn needs_no_state(&mut self, node: NodeId) {
        self.copying_to.take_if(|given| given.member.node == node);
    }
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
