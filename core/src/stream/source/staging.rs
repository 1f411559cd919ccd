//! Large messages: their parts are written as they come, and enter the outbox together when the last one is there.
//!
//! Nothing of a message stands in the stream's order before that: a slow publisher holds nobody up, and one that never comes back neither. What is staged is
//! durable: after a death, of the publisher or of this node, it goes on where it was. Room for all of it is set aside before its first byte is taken.

use alloc::string::String;
use alloc::vec::Vec;

use super::super::common::{Common, Work};
use super::super::entry::{BATCH_OVERHEAD, MESSAGE_OVERHEAD, SPAN_OVERHEAD};
use super::super::flow::Load;
use super::super::heads::{StagedPart, Whole, encode_staged, encode_whole};
use super::super::member::Stream;
use super::super::store::{Kept, forget_staged, key, space, staged_key};
use super::super::{Output, Receipt};
use super::Waiter;
use super::accept::message_id;
use super::uploads::{Coming, Upload};
use crate::digest::Digest;
use crate::id::{RequestId, Sequence, WriterId, WriterSequence};
use crate::node::command::{PartOf, Refusal, Reply, Staged};
use crate::payload::Payload;
use crate::planted::Bug;
use crate::rare;
use crate::record::Record;
use crate::sometimes;
use crate::time::Now;
use crate::work::Job;

impl Stream {
    pub(in crate::stream) fn stage(
        &mut self,
        common: &mut Common,
        now: Now,
        request: RequestId,
        part: PartOf,
    ) {
        if let Err(refusal) = self.try_stage(common, now, request, part) {
            common.reply(request, Err(refusal));
        }
    }

    fn try_stage(
        &mut self,
        common: &mut Common,
        now: Now,
        request: RequestId,
        wish: PartOf,
    ) -> Result<(), Refusal> {
        let PartOf { writer, number, wait, .. } = wish;
        if let Some(refusal) = self.stop_refusal() {
            return Err(refusal);
        }
        if number.0 == 0 {
            return Err(Refusal::Invalid(String::from("writer sequences begin with 1")));
        }
        let (place, size) = (self.place(writer), common.config.part_bytes);
        if wish.total <= size {
            let text = alloc::format!("a message of up to {size} bytes is published as any other");
            return Err(Refusal::Invalid(text));
        }
        let limit = common.config.whole_bytes;
        if wish.total > limit {
            return Err(Refusal::TooLarge { what: "a message", got: wish.total, limit });
        }
        if self.source.waiting.full(&common.config, wait) {
            return Err(Refusal::Busy);
        }
        let waiter = Waiter {
            request,
            writer,
            first: number.0,
            last: number.0,
            at: 0,
            wait,
            told: None,
            duplicate: number.0 <= place,
        };
        if number.0 <= place {
            rare!(PartOfAccepted);
            self.answer_repeated(common, waiter);
            return Ok(());
        }
        if self.writer_closed(writer) {
            return Err(Refusal::WriterClosed);
        }
        self.room_for_writer(common, writer)?;
        if number.0 > place + 1 {
            return Err(Refusal::WriterGap { expected: WriterSequence(place + 1), got: number });
        }
        self.take_part(common, now, wish, waiter)
    }

    /// Takes the next part of a message that none is accepted of.
    fn take_part(
        &mut self,
        common: &mut Common,
        now: Now,
        wish: PartOf,
        waiter: Waiter,
    ) -> Result<(), Refusal> {
        let (PartOf { writer, number, total, offset, digest, .. }, request) = (wish.clone(), waiter.request);
        let load = Load { messages: u64::from(offset == 0), bytes: wish.bytes.len() as u64 };
        self.may_come(common, now, load)?;
        let known = self.source.staging.upload(writer).filter(|upload| upload.number == number);
        if offset == 0 {
            let fresh = Upload::new(0, number, total, common.config.part_bytes);
            if let Some(refusal) = fresh.refuses(&wish) {
                return Err(refusal);
            }
            self.begin_staging(common, now, writer, fresh)?;
        } else {
            let Some(known) = known else { return Err(Refusal::WrongOffset { expected: 0, got: offset }) };
            if let Some(refusal) = known.refuses(&wish) {
                return Err(refusal);
            }
            if known.coming.len() + known.unanswered.len() >= common.config.parts_coming {
                rare!(PartsWait);
                return Err(Refusal::Busy);
            }
        }
        let bytes = Payload::from(wish.bytes);
        let instance = self.instance;
        if digest.is_some() {
            self.waits(common, &waiter);
        }
        let Some(upload) = self.source.staging.0.as_mut().and_then(|stages| stages.uploads.get_mut(&writer))
        else {
            return Err(Refusal::WrongOffset { expected: 0, got: offset });
        };
        upload.received += bytes.len() as u64;
        common.flow.charge(now, instance, &self.ends.rank, load);
        upload.end = digest.map(|digest| (digest, Some(waiter)));
        upload.coming.push_back(Coming { offset, bytes: bytes.clone(), digest: None, request });
        common.work(Work::Stage(instance, writer, upload.id, offset), Job::Part { offset, bytes });
        if common.planted.strikes(Bug::PartsDeduped, || offset == 0) {
            self.source.places.reach(writer, number);
        }
        Ok(())
    }

    /// Sets room aside for all of a message; what its writer had staged before goes.
    fn begin_staging(
        &mut self,
        common: &mut Common,
        now: Now,
        writer: WriterId,
        fresh: Upload,
    ) -> Result<(), Refusal> {
        let total = fresh.total;
        let before = self.source.staging.upload(writer).map(|old| (old.total, old.total - old.written));
        let (old_total, old_to_come) = before.unwrap_or_default();
        let count = self.source.staging.uploads().count();
        if before.is_none() && count >= common.config.uploads {
            return Err(Refusal::TooManyUploads { limit: common.config.uploads as u64 });
        }
        let parts = total.div_ceil(fresh.size);
        let memory = parts * (BATCH_OVERHEAD + MESSAGE_OVERHEAD + SPAN_OVERHEAD);
        if let Some(refusal) = self.full(common, memory) {
            return Err(refusal);
        }
        if !common.may_accept(total.saturating_sub(old_to_come)) {
            sometimes!(NoRoomForWhole);
            return Err(Refusal::NoSpace { free: common.free });
        }
        let kept =
            self.store.part_bytes() - self.history_weight().1 + self.source.staging.bytes() - old_total;
        if kept + total > common.config.whole_bytes {
            rare!(WholesFull);
            return Err(self.backpressure(common));
        }
        if let Some((node, free)) = self.target_without_room(total) {
            // That was true when it said so: the next try is judged by what it says to this.
            self.ask_for_room(common, now, node);
            return Err(Refusal::NoSpaceAt { node, free });
        }
        rare!(BegunAnew, before.is_some());
        let mut id = common.rng.u128();
        if common.planted.has(Bug::PartsOfTwoMessages) {
            id = self.source.staging.upload(writer).map_or(id, |old| old.id);
        }
        self.give_up_staging(common, writer);
        common.reserved += total;
        self.source.staging.stages().uploads.insert(writer, Upload { id, ..fresh });
        Ok(())
    }

    /// A target that said that it has not that much room. What one said that is not heard any more is of long ago.
    fn target_without_room(&self, total: u64) -> Option<(crate::id::NodeId, u64)> {
        let targets = self
            .peers
            .iter()
            .filter(|peer| self.ends.place(peer.node).is_some() && !self.is_gone(peer.node) && !peer.silent);
        let said =
            targets.filter_map(|peer| Some((peer.node, peer.standing.filter(|_| peer.knows_us)?.space)));
        said.into_iter().find(|&(_, space)| space < total)
    }

    /// What this writer staged goes, and who waits for it is told.
    pub(in crate::stream) fn give_up_staging(&mut self, common: &mut Common, writer: WriterId) {
        self.end_staging(common, writer, &Refusal::BegunAnew);
    }

    fn end_staging(&mut self, common: &mut Common, writer: WriterId, refusal: &Refusal) {
        let Some(upload) = self.source.staging.remove(writer) else { return };
        common.reserved -= upload.total - upload.written;
        if !common.planted.strikes(Bug::PartsOfTwoMessages, || upload.written > 0) {
            common.emit(Output::Forget(forget_staged(upload.id, u64::MAX)));
        }
        if let Some((_, Some(waiter))) = &upload.end {
            self.waited(common, waiter);
        }
        let mut requests: Vec<RequestId> = upload.requests().collect();
        requests.sort_unstable();
        requests.dedup();
        for request in requests {
            common.reply(request, Err(refusal.clone()));
        }
    }

    /// The digest of a part is known. Parts are written in order.
    pub(in crate::stream) fn staged(
        &mut self,
        common: &mut Common,
        now: Now,
        (writer, id, offset): (WriterId, u128, u64),
        digest: Digest,
    ) {
        if self.stopped.is_some() {
            return;
        }
        let instance = self.instance;
        let Some(upload) = self.source.staging.upload_mut(writer, id) else { return };
        if let Some(part) = upload.coming.iter_mut().find(|part| part.offset == offset) {
            part.digest = Some(digest);
        }
        let (number, total, size) = (upload.number, upload.total, upload.size);
        while let Some(digest) = upload.coming.front().and_then(|part| part.digest)
            && let Some(Coming { bytes, request, .. }) = upload.coming.pop_front()
        {
            let len = bytes.len() as u64;
            upload.written += len;
            common.reserved -= len;
            upload.tree.push(digest);
            upload.digests.push(digest);
            let key = staged_key(id, upload.tree.parts());
            let head = encode_staged(&StagedPart { instance, writer, number, total, size, digest });
            common.emit(Output::Persist(Record { key, last_slot: key.slot, head, payload: bytes }));
            if upload.written < total {
                upload.unanswered.push_back((upload.written, request));
                common.notify(Receipt::Staged { instance, writer, upload: id, upto: upload.written });
            }
        }
        self.enter_staged(common, now);
        self.pump_source(common, now);
    }

    /// Parts are durable.
    pub(in crate::stream) fn staged_durable(
        &mut self,
        common: &mut Common,
        now: Now,
        (writer, id, upto): (WriterId, u128, u64),
    ) {
        let Some(upload) = self.source.staging.upload_mut(writer, id) else { return };
        upload.durable = upload.durable.max(upto);
        let staged = upload.held();
        while let Some(&(upto, request)) = upload.unanswered.front()
            && upto <= upload.durable
        {
            upload.unanswered.pop_front();
            common.reply(request, Ok(Reply::Staged(Staged { upto, ..staged })));
        }
        self.enter_staged(common, now);
        self.pump_source(common, now);
    }

    /// Messages of which all parts are written enter the outbox, once their publishers were told of all but the last, and nothing else of their writers is
    /// to come there before.
    pub(super) fn enter_staged(&mut self, common: &mut Common, now: Now) {
        let whole = |(writer, upload): (WriterId, &Upload)| {
            let there =
                upload.written == upload.total && upload.end.is_some() && upload.unanswered.is_empty();
            (there && !self.queues(writer)).then_some(writer)
        };
        let whole: Vec<WriterId> = self.source.staging.uploads().filter_map(whole).collect();
        for writer in whole {
            let Some(upload) = self.source.staging.upload(writer) else { continue };
            let (found, said) =
                (upload.tree.root().unwrap_or_default(), upload.end.as_ref().map(|(said, _)| *said));
            let differs = said.is_some_and(|said| said != found);
            if differs && !common.planted.strikes(Bug::WholeUnchecked, || true) {
                sometimes!(WholeNotAsCalled);
                let said = said.unwrap_or_default();
                self.end_staging(common, writer, &Refusal::WrongDigest { said, found });
                continue;
            }
            if let Some(upload) = self.source.staging.remove(writer) {
                self.enter(common, now, writer, upload);
            }
        }
    }

    /// All parts of a message enter the outbox, next to each other: one record says so.
    fn enter(&mut self, common: &mut Common, now: Now, writer: WriterId, upload: Upload) {
        let Upload { id, number, total, size, digests, end, .. } = upload;
        let Some((digest, waiter)) = end else { return };
        let first = self.source.numbered.max(self.head.taken).next();
        let base = message_id(common, now);
        let (boot, wall) = (common.boot, now.wall);
        let whole = Whole { upload: id, first, boot, writer, number, total, size, digest, base, wall };
        if self.covered(writer) >= number.0 {
            rare!(WholeTakenBefore);
            common.emit(Output::Forget(forget_staged(id, u64::MAX)));
            if let Some(waiter) = waiter {
                self.waited(common, &waiter);
                self.answer_again(common, waiter);
            }
            return;
        }
        let mut slot = 0;
        let mut begin = 0;
        for (place, digest) in digests.into_iter().enumerate() {
            let batch = whole.part(place as u64, digest);
            slot = self.store.new_slot();
            begin = if place == 0 { slot } else { begin };
            let (first, origin) = (Sequence(first.0 + place as u64), Some((id, place as u64 + 1)));
            let waiters = Vec::new();
            self.store
                .insert(slot, Kept { batch, first, own: true, durable: false, taken: None, waiters, origin });
        }
        sometimes!(WholeEntered);
        let key = key(self.instance, space::PAYLOAD, begin);
        let head = encode_whole(&whole);
        common.emit(Output::Persist(Record { key, last_slot: slot, head, payload: Payload::new() }));
        self.source.numbered = Sequence(first.0 + slot - begin);
        self.source.places.reach(writer, number);
        if let Some(kept) = self.store.get_mut(slot) {
            kept.waiters.extend(waiter);
        }
        common.notify(Receipt::Accepted { instance: self.instance, slot });
    }

    /// What is held of a message that entered the outbox, and is not known to be durable there.
    pub(super) fn entering(&self, writer: WriterId, number: WriterSequence) -> Option<Staged> {
        let (slot, ..) = self.store.find(writer, number.0, number.0).first().copied()?;
        let kept = self.store.get(slot).filter(|kept| !kept.durable)?;
        let part = kept.batch.part.as_deref()?;
        let (_, parts) = kept.origin?;
        let part_bytes = part.offset / (parts - 1).max(1);
        Some(Staged { total: part.total, upto: part.offset, part_bytes })
    }

    /// What the log, or the outbox, has by now needs not be staged any more.
    pub(super) fn drop_futile_uploads(&mut self, common: &mut Common) {
        let futile =
            |(writer, upload): (WriterId, &Upload)| (upload.number.0 <= self.place(writer)).then_some(writer);
        let futile: Vec<WriterId> = self.source.staging.uploads().filter_map(futile).collect();
        for writer in futile {
            rare!(StagedForNothing);
            self.give_up_staging(common, writer);
        }
    }

    /// A writer gives up what it staged.
    pub(in crate::stream) fn give_up(&mut self, common: &mut Common, request: RequestId, writer: WriterId) {
        if let Some(refusal) = self.stop_refusal() {
            return common.reply(request, Err(refusal));
        }
        self.give_up_staging(common, writer);
        let (total, upto, part_bytes) = (0, 0, common.config.part_bytes);
        common.reply(request, Ok(Reply::Staged(Staged { total, upto, part_bytes })));
    }
}
