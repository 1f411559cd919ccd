//! Accepting: dedupe, limits, batches.

use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use bytes::Bytes;

use super::super::Receipt;
use super::super::common::{Common, Work};
use super::super::entry::{Batch, ENTRY_OVERHEAD, Identity, MESSAGE_OVERHEAD, QUEUED_OVERHEAD, Span};
use super::super::flow::Load;
use super::super::member::Stream;
use super::{Item, Waiter};
use crate::digest::Digest;
use crate::id::{MessageId, RequestId, Sequence, SessionEpoch, WriterId, WriterSequence};
use crate::node::command::{self, Refusal, Reply, Waited};
use crate::payload::Payload;
use crate::planted::Bug;
use crate::rare;
use crate::sometimes;
use crate::time::Now;
use crate::work::Job;

/// Bytes on disk that an outbox may have whatever is left there.
const OUTBOX_SHARE: u64 = 64 << 20;

/// A request to publish.
#[derive(Clone, Debug)]
pub(in crate::stream) struct Wish {
    pub(in crate::stream) request: RequestId,
    pub(in crate::stream) writer: WriterId,
    pub(in crate::stream) first: WriterSequence,
    pub(in crate::stream) messages: Vec<Bytes>,
    pub(in crate::stream) wait: Waited,
}

impl Stream {
    /// The last writer sequence accepted of a writer, what is only queued included.
    pub(super) fn place(&self, writer: WriterId) -> u64 {
        self.source.places.get(writer).last.max(self.head.writers.get(writer).last)
    }

    /// The last of a writer's messages that the log has taken. A closed writer is no exception: what was accepted of it before this
    /// start knew is owed as any other message.
    pub(super) fn covered(&self, writer: WriterId) -> u64 {
        self.head.writers.get(writer).last
    }

    pub(super) fn writer_closed(&self, writer: WriterId) -> bool {
        self.head.writers.get(writer).closed || self.source.closing.contains_key(&writer)
    }

    pub(in crate::stream) fn find_writer(&self, common: &Common, writer: WriterId) -> Result<Reply, Refusal> {
        // A publisher that is told where it stands takes what lies in front of that for good; here it may be void.
        if let Some(refusal) = self.stop_refusal() {
            return Err(refusal);
        }
        if self.writer_closed(writer) {
            return Err(Refusal::WriterClosed);
        }
        let mut place = self.durable_place(writer);
        if common.planted.strikes(Bug::FindWriterUndurable, || place < self.place(writer)) {
            place = self.place(writer);
        }
        let next = WriterSequence(place + 1);
        let staged = self.source.staging.held(writer, next).or_else(|| self.entering(writer, next));
        Ok(Reply::Writer { next, staged, part_bytes: common.config.part_bytes })
    }

    /// The last writer sequence of a writer that is durable with all before it: a publisher that resumes behind it loses nothing.
    fn durable_place(&self, writer: WriterId) -> u64 {
        let waiting = self.source.forming.iter().chain(&self.source.queue);
        let queued = waiting.filter(|item| item.writer == writer).map(|item| item.first);
        let undurable = |slot: &u64| self.store.get(*slot).filter(|kept| !kept.durable);
        let writing = self.store.outbox.iter().rev().map_while(undurable);
        let written = writing.flat_map(|kept| &kept.batch.spans).filter(|span| span.writer == writer);
        let first = queued.chain(written.map(|span| span.first.0)).min();
        first.map_or(self.place(writer), |first| first - 1)
    }

    pub(in crate::stream) fn close_writer(
        &mut self,
        common: &mut Common,
        request: RequestId,
        writer: WriterId,
    ) {
        if let Some(refusal) = self.stop_refusal() {
            return common.reply(request, Err(refusal));
        }
        if self.head.writers.get(writer).closed {
            return common.reply(request, Ok(Reply::WriterClosed));
        }
        if self.source.waiting.full(&common.config, Waited::Completed) {
            return common.reply(request, Err(Refusal::Busy));
        }
        if let Err(refusal) = self.room_for_writer(common, writer) {
            return common.reply(request, Err(refusal));
        }
        self.waits_for_closing(common, request, writer);
        self.give_up_staging(common, writer);
        self.close_from_now_on(common, writer);
        self.source.closing.entry(writer).or_default().0.push(request);
    }

    /// Whether messages of that writer wait to be formed into a batch.
    pub(super) fn queues(&self, writer: WriterId) -> bool {
        self.source.forming.iter().chain(&self.source.queue).any(|item| item.writer == writer)
    }

    /// Whether a writer is known, or one more may be.
    pub(super) fn room_for_writer(&self, common: &Common, writer: WriterId) -> Result<(), Refusal> {
        let (known, places, closing) = (&self.head.writers, &self.source.places, &self.source.closing);
        let limit = common.config.writers;
        let old = known.knows(writer) || places.knows(writer) || closing.contains_key(&writer);
        if old || known.len() + places.len() + closing.len() < limit {
            return Ok(());
        }
        // Some are counted twice there.
        let placed = places.iter().filter(|&(id, _)| !known.knows(id)).count();
        let closed = closing.keys().filter(|&&id| !known.knows(id) && !places.knows(id)).count();
        let all = known.len() + placed + closed;
        if all < limit { Ok(()) } else { Err(Refusal::TooManyWriters { limit: limit as u64 }) }
    }

    /// Why nothing can be accepted now, whatever it is.
    pub(in crate::stream) fn refusal(&self, common: &Common, more: u64) -> Option<Refusal> {
        if let Some(refusal) = self.stop_refusal() {
            return Some(refusal);
        }
        if !common.may_accept(more) {
            sometimes!(NoRoomRefused);
            return Some(Refusal::NoSpace { free: common.free });
        }
        self.full(common, more)
    }

    /// Why so much more cannot be kept until it is released: it is in memory until it is on disk, and what goes with it stays there. No stream takes more of the disk than
    /// it leaves, so that a target that is away stops no other stream.
    pub(super) fn full(&self, common: &Common, more: u64) -> Option<Refusal> {
        let coming = self.source.unformed + more;
        let (memory, disk) = (self.kept_memory(common) + coming, self.kept_stored() + coming);
        let on_disk = disk > common.config.outbox_bytes || disk > OUTBOX_SHARE && disk > common.free;
        rare!(OutboxOnDiskFull, on_disk);
        let full = memory > common.config.outbox_memory || on_disk;
        full.then(|| self.backpressure(common))
    }

    pub(super) fn backpressure(&self, common: &Common) -> Refusal {
        Refusal::Backpressure {
            behind: self.behind(common),
            processed: self.processed_by_all(common),
            accepted: self.source.accepted,
        }
    }

    /// Bytes of payloads on disk that are kept until they are released.
    fn kept_stored(&self) -> u64 {
        // What is kept for its own sake holds up nobody. Some of that may not be known to be on disk here: the log brought it back.
        self.store.stored_bytes().saturating_sub(self.history_stored())
    }

    /// Memory that goes with what is kept until it is released: with batches, and with what the log holds besides. Where a target is behind the policy that is what the
    /// others complete, message by message perhaps, and at every member.
    pub(in crate::stream) fn kept_memory(&self, common: &Common) -> u64 {
        let slow = self.past_all() < self.head.completed;
        let ((history, _), (ends, batches)) = (self.history_weight(), self.history_ends());
        let entries = self.head.applied.0 - ends.0;
        let besides = entries.saturating_sub((self.store.taken.len() as u64).saturating_sub(batches));
        let counted = slow && !common.planted.has(Bug::CompletionsUncounted);
        self.store.bytes() - history - self.kept_stored() + if counted { besides * ENTRY_OVERHEAD } else { 0 }
    }

    /// What every target is known to have processed.
    pub(in crate::stream) fn processed_by_all(&self, common: &Common) -> Sequence {
        let (_, processed) = self.heard_upto(common);
        processed.max(self.head.released)
    }

    /// The targets behind which no other is.
    fn behind(&self, common: &Common) -> String {
        let least = self.processed_by_all(common);
        let targets = self.ends.targets.iter().enumerate();
        let behind = targets.filter(|(place, node)| self.heard.get(*place) <= least && !self.is_gone(**node));
        behind.map(|(_, node)| node.to_string()).collect::<Vec<_>>().join(", ")
    }

    pub(in crate::stream) fn publish(&mut self, common: &mut Common, now: Now, wish: Wish) {
        let request = wish.request;
        if let Err(refusal) = self.accept(common, now, wish) {
            common.reply(request, Err(refusal));
        }
        self.form(common);
        self.pump_source(common, now);
    }

    fn accept(&mut self, common: &mut Common, now: Now, wish: Wish) -> Result<(), Refusal> {
        let Wish { request, writer, first, mut messages, wait } = wish;
        if let Some(refusal) = self.stop_refusal() {
            return Err(refusal);
        }
        if first.0 == 0 {
            return Err(Refusal::Invalid(String::from("writer sequences begin with 1")));
        }
        let Some(last) =
            first.0.checked_add(messages.len() as u64).map(|end| end - 1).filter(|&last| last >= first.0)
        else {
            return Err(Refusal::Invalid(String::from("there is nothing to publish")));
        };
        let limit = common.config.message_bytes;
        if let Some(large) = messages.iter().map(Bytes::len).find(|&len| len > limit) {
            return Err(Refusal::TooLarge { what: "a message", got: large as u64, limit: limit as u64 });
        }
        let place = self.place(writer);
        let repeated = last.min(place);
        if last > place && self.writer_closed(writer) && !common.planted.has(Bug::ClosedWriterGoesOn) {
            sometimes!(ClosedWriterRefused);
            return Err(Refusal::WriterClosed);
        }
        if last > place {
            self.room_for_writer(common, writer)?;
        }
        if first.0 > place + 1 && !common.planted.has(Bug::WriterGapAccepted) {
            sometimes!(WriterGapRefused);
            return Err(Refusal::WriterGap { expected: WriterSequence(place + 1), got: first });
        }
        if self.source.waiting.full(&common.config, wait) {
            return Err(Refusal::Busy);
        }
        let new_from = first.0.max(place + 1);
        if last >= new_from {
            messages.drain(..(new_from - first.0) as usize);
            let bytes: u64 = messages.iter().map(|message| message.len() as u64).sum();
            let more = bytes + QUEUED_OVERHEAD + MESSAGE_OVERHEAD * messages.len() as u64;
            if let Some(refusal) = self.refusal(common, more) {
                return Err(refusal);
            }
            self.let_in(common, now, Load { messages: messages.len() as u64, bytes })?;
        }
        let waiter = |first, last, duplicate| Waiter {
            request,
            writer,
            first,
            last,
            at: 0,
            wait,
            told: None,
            duplicate,
        };
        sometimes!(PartlyDuplicate, first.0 <= repeated && last >= new_from);
        if first.0 <= repeated {
            sometimes!(DuplicateAnswered);
            self.answer_repeated(common, waiter(first.0, repeated, true));
        }
        if last >= new_from {
            // The next message of this writer is another one than it began to stage.
            self.give_up_staging(common, writer);
            self.source.places.reach(writer, WriterSequence(last));
            self.enqueue(common, waiter(new_from, last, false), messages);
        }
        Ok(())
    }

    /// Cuts new messages into pieces that fit into a batch and queues them.
    fn enqueue(&mut self, common: &mut Common, waiter: Waiter, messages: Vec<Bytes>) {
        assert!(!self.is_paused(common), "S30: {} takes messages in while it is paused", self.instance);
        let mut first = waiter.first;
        let mut piece: Vec<Bytes> = Vec::new();
        let mut bytes = 0;
        let mut pieces = Vec::new();
        for message in messages {
            let full = piece.len() >= common.config.batch_messages
                || bytes + message.len() > common.config.batch_bytes;
            if full && !piece.is_empty() {
                pieces.push(core::mem::take(&mut piece));
                bytes = 0;
            }
            bytes += message.len();
            piece.push(message);
        }
        pieces.push(piece);
        for messages in pieces {
            let last = first + messages.len() as u64 - 1;
            let part = Waiter { first, last, ..waiter };
            let item = Item { writer: waiter.writer, first, messages, waiters: alloc::vec![part] };
            self.waits(common, &part);
            self.source.unformed += item.weight();
            common.unformed += item.weight();
            let before = |other: &Item| other.writer == waiter.writer;
            let reversed = || self.source.queue.back().is_some_and(before);
            if common.planted.strikes(Bug::QueueReversed, reversed) {
                self.source.queue.push_front(item);
            } else {
                self.source.queue.push_back(item);
            }
            first = last + 1;
        }
    }

    /// Starts a digest job over what is queued, unless one is under way: what comes meanwhile forms the next batch.
    pub(in crate::stream) fn form(&mut self, common: &mut Common) {
        if !self.source.forming.is_empty() || self.stopped.is_some() {
            return;
        }
        let mut payload = Payload::new();
        let mut messages = 0;
        while let Some(item) = self.source.queue.front() {
            messages += item.messages.len();
            let too_many = messages > common.config.batch_messages;
            let too_large = payload.len() as u64 + item.bytes() > common.config.batch_bytes as u64;
            if !self.source.forming.is_empty() && (too_many || too_large) {
                break;
            }
            item.messages.iter().for_each(|message| payload.push(message.clone()));
            self.source.forming.extend(self.source.queue.pop_front());
        }
        if !self.source.forming.is_empty() {
            common.work(Work::Form(self.instance), Job::Digest(payload));
        }
    }

    /// The batch has its name: number it, write it, and propose it if that may be.
    pub(in crate::stream) fn formed(&mut self, common: &mut Common, now: Now, digest: Digest) {
        let items = core::mem::take(&mut self.source.forming);
        if items.is_empty() || self.stopped.is_some() {
            return;
        }
        let weight = items.iter().map(Item::weight).sum::<u64>();
        self.source.unformed -= weight;
        common.unformed -= weight;
        let first = self.source.numbered.max(self.head.taken).next();
        let mut payload = Payload::new();
        let mut waiters = Vec::new();
        let (mut spans, mut lengths): (Vec<Span>, Vec<u32>) = (Vec::new(), Vec::new());
        for item in items {
            let count = item.messages.len() as u64;
            match spans.last_mut() {
                Some(span) if span.writer == item.writer && span.last().0 + 1 == item.first => {
                    span.count += count
                }
                _ => {
                    let first = WriterSequence(item.first);
                    spans.push(Span { writer: item.writer, first, count, void: false });
                }
            }
            for message in item.messages {
                lengths.push(u32::try_from(message.len()).expect("messages are limited when accepted"));
                payload.push(message);
            }
            waiters.extend(item.waiters);
        }
        let identity = Identity { boot: common.boot, first, digest };
        let base = message_id(common, now);
        let mut batch = Batch { identity, spans, lengths, base, wall: now.wall, part: None };
        // The log may have told of more than was known when these were queued.
        batch.void_covered(|writer| self.covered(writer));
        rare!(FormedForNothing, batch.live() == 0);
        if batch.live() > 0 {
            self.source.numbered = Sequence(first.0 + batch.live() - 1);
            let slot = self.keep(common, first, batch, payload, true);
            if common.planted.has(Bug::AcceptedBeforeDurable) {
                self.accepted(common, now, slot);
            } else {
                common.notify(Receipt::Accepted { instance: self.instance, slot });
            }
        }
        for waiter in waiters {
            self.waited(common, &waiter);
            self.answer_again(common, waiter);
        }
        self.enter_staged(common, now);
        self.form(common);
        self.pump_source(common, now);
    }

    /// A batch is durable, and so are the parts in front of it if it is the last of a message: that is `accepted`.
    pub(in crate::stream) fn accepted(&mut self, common: &mut Common, now: Now, slot: u64) {
        let Some(kept) = self.store.get(slot) else { return };
        let last = kept.last();
        let parts = kept.origin.map_or(1, |(_, part)| part);
        for durable in slot.saturating_sub(parts - 1)..=slot {
            self.store.written(durable);
        }
        self.source.accepted = self.source.accepted.max(last);
        self.report(common, slot);
        self.pump_source(common, now);
    }

    /// Answers for messages that stand somewhere already, and lets the publisher wait for the rest.
    pub(in crate::stream) fn answer_repeated(&mut self, common: &mut Common, waiter: Waiter) {
        let mut next = waiter.first;
        let found = self.store.find(waiter.writer, waiter.first, waiter.last);
        for (slot, first, last) in found {
            if first > next {
                self.unstored(common, &waiter, next, first - 1);
            }
            next = last + 1;
            let kept = self.store.get_mut(slot).expect("a span stands in a batch that is kept");
            let holds =
                |span: &Span| span.writer == waiter.writer && span.first.0 <= first && last <= span.last().0;
            let at = kept.batch.placed().find(|(span, _)| holds(span));
            let at = at.map_or(0, |(span, before)| {
                let within = first - span.first.0;
                let start = common.planted.strikes(Bug::RepeatToldBatchStart, || within > 0);
                before + if start { 0 } else { within }
            });
            let part = Waiter { first, last, at, ..waiter };
            kept.waiters.push(part);
            self.waits(common, &part);
            self.report(common, slot);
        }
        if next <= waiter.last {
            self.unstored(common, &waiter, next, waiter.last);
        }
    }

    /// Answers anew a publisher whose batch the log held already, perhaps in part: only that part was accepted before.
    pub(super) fn answer_again(&mut self, common: &mut Common, waiter: Waiter) {
        let covered = self.covered(waiter.writer);
        if waiter.first <= covered {
            let last = waiter.last.min(covered);
            self.answer_repeated(common, Waiter { last, duplicate: true, ..waiter });
        }
        if waiter.last > covered {
            self.answer_repeated(common, Waiter { first: waiter.first.max(covered + 1), ..waiter });
        }
    }

    /// Messages of no batch: either queued, or released long ago.
    fn unstored(&mut self, common: &mut Common, waiter: &Waiter, from: u64, upto: u64) {
        let mut next = from;
        let items = self.source.forming.iter_mut().chain(self.source.queue.iter_mut());
        let mut parts = Vec::new();
        let mut released = Vec::new();
        for item in items.filter(|item| item.writer == waiter.writer) {
            let (first, last) = (item.first.max(next), item.last().min(upto));
            if first > last {
                continue;
            }
            if first > next {
                released.push((next, first - 1));
            }
            let part = Waiter { first, last, ..*waiter };
            item.waiters.push(part);
            parts.push(part);
            next = last + 1;
        }
        parts.iter().for_each(|part| self.waits(common, part));
        if next <= upto {
            released.push((next, upto));
        }
        for (first, last) in released {
            self.tell(common, &mut Waiter { first, last, ..*waiter }, |_| true, None);
        }
    }

    /// Tells a publisher of each level that is `reached`, that it waits for and was not told of.
    pub(in crate::stream) fn tell(
        &self,
        common: &mut Common,
        waiter: &mut Waiter,
        reached: impl Fn(Waited) -> bool,
        sequences: Option<(Sequence, Sequence)>,
    ) {
        let (first, last) = sequences.unwrap_or_default();
        for level in [Waited::Accepted, Waited::Replicated, Waited::Completed] {
            if !reached(level) || level > waiter.wait || waiter.told >= Some(level) {
                continue;
            }
            waiter.told = Some(level);
            let provisional = !self.source.current
                && sequences.is_some()
                && level == Waited::Accepted
                && !common.planted.has(Bug::ProvisionalCalledFinal);
            let receipt = command::Receipt {
                level,
                instance: self.instance,
                authority: self.authority(),
                session: if provisional { SessionEpoch(0) } else { self.head.session },
                first_writer: WriterSequence(waiter.first),
                last_writer: WriterSequence(waiter.last),
                first,
                last,
                provisional,
                duplicate: waiter.duplicate,
            };
            common.reply(waiter.request, Ok(Reply::Published(receipt)));
        }
    }
}

/// A fresh ULID. Its last bits leave room to count the messages of a batch up from it.
pub(super) fn message_id(common: &mut Common, now: Now) -> MessageId {
    let random = common.rng.u128() & ((1 << 79) - 1);
    MessageId(u128::from(now.wall.0 & ((1 << 48) - 1)) << 80 | random)
}
