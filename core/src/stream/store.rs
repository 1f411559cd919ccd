//! The batches a member keeps, the records behind them, and the payloads it has at hand.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;

use super::entry::{Batch, CACHED_OVERHEAD, Identity};
use super::source::Waiter;
use crate::id::{LogIndex, Sequence, StreamInstance, WriterId};
use crate::payload::Payload;
use crate::record::{Forget, Key, Owner};

/// The spaces of this part's records. The numbers are stored: never reuse one.
pub(super) mod space {
    /// The state at the floor; one record per stream.
    pub(crate) const STATE: u8 = 1;
    /// Payloads; the slot is a node-local number that grows per stream.
    pub(crate) const PAYLOAD: u8 = 2;
    /// The processed mark; one record per stream.
    pub(crate) const MARK: u8 = 3;
    /// Writers that are to be closed, until the state says so; the slot is a number that grows per stream.
    pub(crate) const CLOSING: u8 = 4;
    /// Parts of large messages; the id is that of the upload, and the slot the number of the part, from 1.
    pub(crate) const STAGED: u8 = 5;
    /// The message that the handler of a target fails at; one record per stream.
    pub(crate) const FAILING: u8 = 6;
    /// Messages that were parked, each under an id of its own.
    pub(crate) const PARKED: u8 = 7;
    /// All of them whose id is that of the stream.
    pub(crate) const ALL: [u8; 5] = [STATE, PAYLOAD, MARK, CLOSING, FAILING];
}

pub(super) fn key(instance: StreamInstance, space: u8, slot: u64) -> Key {
    Key { owner: Owner::Stream, space, id: instance.0, slot }
}

pub(super) fn staged_key(upload: u128, part: u64) -> Key {
    Key { owner: Owner::Stream, space: space::STAGED, id: upload, slot: part }
}

pub(super) fn parked_key(id: u128) -> Key {
    Key { owner: Owner::Stream, space: space::PARKED, id, slot: 0 }
}

/// The record of a parked message is dead.
pub(super) fn forget_parked(id: u128) -> Forget {
    Forget { owner: Owner::Stream, space: space::PARKED, id, below: u64::MAX }
}

/// The parts of an upload up to that one are dead.
pub(super) fn forget_staged(upload: u128, upto: u64) -> Forget {
    Forget { owner: Owner::Stream, space: space::STAGED, id: upload, below: upto.saturating_add(1) }
}

pub(super) fn forget(instance: StreamInstance, space: u8, below: u64) -> Forget {
    Forget { owner: Owner::Stream, space, id: instance.0, below }
}

/// A batch whose payload record was written here.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub(super) batch: Batch,
    /// The first message's current sequence; provisional until the batch is taken or the session current.
    pub(super) first: Sequence,
    /// Accepted here, rather than received.
    pub(super) own: bool,
    pub(super) durable: bool,
    /// The entry that took it.
    pub(super) taken: Option<LogIndex>,
    /// Publishers that wait for it.
    pub(super) waiters: Vec<Waiter>,
    /// It is a part that was staged here: under which upload, and its number there, from 1.
    pub(super) origin: Option<(u128, u64)>,
}

impl Kept {
    /// The record of its payload.
    pub(super) fn key(&self, instance: StreamInstance, slot: u64) -> Key {
        match self.origin {
            Some((upload, part)) => staged_key(upload, part),
            None => key(instance, space::PAYLOAD, slot),
        }
    }

    pub(super) fn last(&self) -> Sequence {
        Sequence((self.first.0 + self.batch.live()).saturating_sub(1))
    }

    /// Bytes of its payload that are on disk, and not those of a part.
    fn stored_bytes(&self) -> u64 {
        if self.durable { self.batch.bytes() - self.batch.part_bytes() } else { 0 }
    }
}

/// All batches a member keeps of one stream.
#[derive(Clone, Debug, Default)]
pub(super) struct Store {
    /// Each by itself: a tree has room for several where it holds one.
    kept: BTreeMap<u64, Box<Kept>>,
    by_identity: BTreeMap<Identity, u64>,
    /// Taken and not yet below the floor, by first sequence.
    pub(super) taken: BTreeMap<Sequence, u64>,
    /// Received and not yet taken.
    pub(super) pending: BTreeSet<u64>,
    /// Accepted here and not yet taken, in order.
    pub(super) outbox: VecDeque<u64>,
    /// (writer, last writer sequence, slot) to first writer sequence, of all live spans.
    spans: BTreeMap<(WriterId, u64, u64), u64>,
    next_slot: u64,
    bytes: u64,
    /// Bytes of parts: they are on disk, and count by themselves.
    part_bytes: u64,
    /// Bytes of other payloads that are on disk: what is not at hand of them is loaded.
    stored: u64,
}

impl Store {
    pub(super) fn get(&self, slot: u64) -> Option<&Kept> {
        self.kept.get(&slot).map(Box::as_ref)
    }

    pub(super) fn get_mut(&mut self, slot: u64) -> Option<&mut Kept> {
        self.kept.get_mut(&slot).map(Box::as_mut)
    }

    pub(super) fn slot_of(&self, identity: &Identity) -> Option<u64> {
        self.by_identity.get(identity).copied()
    }

    /// Bytes of all batches, their bookkeeping included.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes of all batches that are parts.
    pub(super) fn part_bytes(&self) -> u64 {
        self.part_bytes
    }

    /// Bytes of payloads that are on disk alone, those of parts aside.
    pub(super) fn stored_bytes(&self) -> u64 {
        self.stored
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &Kept)> + '_ {
        self.kept.iter().map(|(&slot, kept)| (slot, &**kept))
    }

    /// The slot of the taken batch that holds `sequence`.
    pub(super) fn holding(&self, sequence: Sequence) -> Option<u64> {
        let (_, &slot) = self.taken.range(..=sequence).next_back()?;
        (self.kept.get(&slot)?.last() >= sequence).then_some(slot)
    }

    /// No slot below this one is used again.
    pub(super) fn skip_slots(&mut self, below: u64) {
        self.next_slot = self.next_slot.max(below);
    }

    pub(super) fn new_slot(&mut self) -> u64 {
        let slot = self.next_slot.max(1);
        self.next_slot = slot + 1;
        slot
    }

    /// The lowest slot that is alive.
    pub(super) fn slot_floor(&self) -> u64 {
        self.kept.keys().next().copied().unwrap_or(self.next_slot.max(1))
    }

    pub(super) fn insert(&mut self, slot: u64, kept: Kept) {
        self.skip_slots(slot + 1);
        self.bytes += kept.batch.weight();
        self.part_bytes += kept.batch.part_bytes();
        self.stored += kept.stored_bytes();
        self.by_identity.insert(kept.batch.identity, slot);
        if kept.own {
            self.outbox.push_back(slot);
        } else {
            self.pending.insert(slot);
        }
        self.index(slot, &kept.batch);
        self.kept.insert(slot, Box::new(kept));
    }

    /// The record of a batch is durable.
    pub(super) fn written(&mut self, slot: u64) {
        if let Some(kept) = self.kept.get_mut(&slot) {
            self.stored -= kept.stored_bytes();
            kept.durable = true;
            self.stored += kept.stored_bytes();
        }
    }

    /// Puts another reading of the same batch in place: other messages of it are void. Returns who waited by the reading before, if it
    /// was another one.
    pub(super) fn reread(&mut self, slot: u64, batch: Batch) -> Vec<Waiter> {
        let changed = self.kept.get_mut(&slot).filter(|kept| kept.batch != batch);
        let Some(kept) = changed else { return Vec::new() };
        let waiters = core::mem::take(&mut kept.waiters);
        self.stored -= kept.stored_bytes();
        let before = core::mem::replace(&mut kept.batch, batch);
        let after = kept.batch.clone();
        self.stored += kept.stored_bytes();
        self.bytes = self.bytes - before.weight() + after.weight();
        self.part_bytes = self.part_bytes - before.part_bytes() + after.part_bytes();
        self.unindex(slot, &before);
        self.index(slot, &after);
        waiters
    }

    /// The log took the batch at `first`.
    pub(super) fn take(&mut self, slot: u64, first: Sequence, index: LogIndex) {
        let Some(kept) = self.kept.get_mut(&slot) else { return };
        kept.first = first;
        kept.taken = Some(index);
        self.taken.insert(first, slot);
        if kept.own {
            if self.outbox.front() == Some(&slot) {
                self.outbox.pop_front();
            } else {
                self.outbox.retain(|&other| other != slot);
            }
        } else {
            self.pending.remove(&slot);
        }
    }

    pub(super) fn remove(&mut self, slot: u64) -> Option<Kept> {
        let kept = self.kept.remove(&slot)?;
        self.bytes -= kept.batch.weight();
        self.part_bytes -= kept.batch.part_bytes();
        self.stored -= kept.stored_bytes();
        self.by_identity.remove(&kept.batch.identity);
        self.unindex(slot, &kept.batch);
        if kept.taken.is_some() {
            self.taken.remove(&kept.first);
        } else if kept.own {
            self.outbox.retain(|&other| other != slot);
        } else {
            self.pending.remove(&slot);
        }
        Some(*kept)
    }

    /// A message of several parts is found where it ends.
    fn index(&mut self, slot: u64, batch: &Batch) {
        if !batch.ends() {
            return;
        }
        for span in batch.spans.iter().filter(|span| !span.void) {
            self.spans.insert((span.writer, span.last().0, slot), span.first.0);
        }
    }

    fn unindex(&mut self, slot: u64, batch: &Batch) {
        for span in batch.spans.iter().filter(|span| !span.void) {
            self.spans.remove(&(span.writer, span.last().0, slot));
        }
    }

    /// Where the messages `from..=upto` of a writer are: (slot, first, last), in order. What is in no batch is left out.
    pub(super) fn find(&self, writer: WriterId, from: u64, upto: u64) -> Vec<(u64, u64, u64)> {
        let mut found = Vec::new();
        let mut next = from;
        for (&(_, last, slot), &first) in self.spans.range((writer, from, 0)..=(writer, u64::MAX, u64::MAX)) {
            if next > upto || first > upto {
                break;
            }
            if last < next {
                continue;
            }
            let part = (slot, first.max(next), last.min(upto));
            next = part.2 + 1;
            found.push(part);
        }
        found
    }

    pub(super) fn check(&self) {
        let bytes: u64 = self.kept.values().map(|kept| kept.batch.weight()).sum();
        assert_eq!(bytes, self.bytes, "S3: the bytes of the batches kept are miscounted");
        let parts: u64 = self.kept.values().map(|kept| kept.batch.part_bytes()).sum();
        assert_eq!(parts, self.part_bytes, "S24: the bytes of parts are miscounted");
        let stored: u64 = self.kept.values().map(|kept| kept.stored_bytes()).sum();
        assert_eq!(stored, self.stored, "S3: the bytes on disk are miscounted");
        let parts = self.taken.len() + self.pending.len() + self.outbox.len();
        assert_eq!(parts, self.kept.len(), "S3: a batch is kept under two headings, or under none");
    }
}

/// Payloads at hand, oldest out first. What is not here is loaded.
#[derive(Clone, Debug, Default)]
pub(super) struct Cache {
    held: BTreeMap<(StreamInstance, u64), Payload>,
    order: VecDeque<(StreamInstance, u64)>,
    bytes: u64,
}

impl Cache {
    pub(super) fn get(&self, instance: StreamInstance, slot: u64) -> Option<&Payload> {
        self.held.get(&(instance, slot))
    }

    /// Keeps a payload, and lets the oldest go until at most `limit` bytes are kept (the newest always stays).
    pub(super) fn put(&mut self, instance: StreamInstance, slot: u64, payload: Payload, limit: u64) {
        self.bytes += cached(&payload);
        if let Some(before) = self.held.insert((instance, slot), payload) {
            self.bytes -= cached(&before);
        } else {
            self.order.push_back((instance, slot));
        }
        while self.bytes > limit && self.held.len() > 1 {
            let Some(oldest) = self.order.pop_front() else { break };
            if let Some(gone) = self.held.remove(&oldest) {
                self.bytes -= cached(&gone);
            }
        }
    }

    pub(super) fn remove(&mut self, instance: StreamInstance, slot: u64) {
        if let Some(gone) = self.held.remove(&(instance, slot)) {
            self.bytes -= cached(&gone);
        }
        // Names of what is gone leave the order as they come to its front, so that it stays as short as what is held.
        while self.order.front().is_some_and(|oldest| !self.held.contains_key(oldest)) {
            self.order.pop_front();
        }
        if self.order.len() > 2 * self.held.len() + 64 {
            self.order.retain(|name| self.held.contains_key(name));
        }
    }
}

/// What a payload at hand costs.
fn cached(payload: &Payload) -> u64 {
    payload.len() as u64 + CACHED_OVERHEAD
}

#[cfg(test)]
mod tests {
    use super::super::entry::{BATCH_OVERHEAD, MESSAGE_OVERHEAD, SPAN_OVERHEAD, Span, held_weight};
    use super::super::member::Stream;
    use super::super::message::Data;
    use super::super::state::Effect;
    use super::*;
    use crate::digest::Digest;
    use crate::id::{BootId, MessageId, WriterSequence};
    use crate::record::Record;
    use crate::time::Wall;

    /// What entries of a tree cost: its nodes are two thirds full.
    fn tree<K, V>() -> u64 {
        ((size_of::<K>() + size_of::<V>()) * 3 / 2) as u64
    }

    /// What the allocator adds to a block, and rounds it up by.
    const BLOCK: u64 = 24;

    fn batch() -> Batch {
        let identity = Identity { boot: BootId(1), first: Sequence(1), digest: Digest::default() };
        let span = Span { writer: WriterId(1), first: WriterSequence(1), count: 1, void: false };
        Batch {
            identity,
            spans: [span].into(),
            lengths: [1].into(),
            base: MessageId(1),
            wall: Wall(0),
            part: None,
        }
    }

    /// Beside its group, and where the journal notes its records.
    #[test]
    fn a_stream_in_which_nothing_happens_takes_one_block_of_less_than_a_kibibyte_and_a_half() {
        assert!(size_of::<Stream>() <= 1_472, "{}", size_of::<Stream>());
    }

    #[test]
    fn the_weight_of_a_batch_is_the_memory_it_takes() {
        let kept = tree::<u64, Box<Kept>>() + size_of::<Kept>() as u64;
        let indexes = kept + tree::<Identity, u64>() + tree::<Sequence, u64>();
        // Beside what took it, what was completed until the next one was taken.
        let applied = 2 * size_of::<(LogIndex, Effect)>() as u64;
        // The log's entry: its head, and the descriptor as it is encoded. The journal notes where two records lie, in queues that may be half
        // empty.
        let entry = 2 * size_of::<Record>() as u64 + 192;
        let noted = 2 * 2 * size_of::<[u64; 7]>() as u64;
        let kept = indexes + applied + entry + noted + 5 * BLOCK;
        assert!(kept <= BATCH_OVERHEAD, "a batch costs {kept}");
        let span = tree::<(WriterId, u64, u64), u64>() + size_of::<Span>() as u64;
        assert!(span <= SPAN_OVERHEAD, "a span costs {span}");
        assert_eq!(batch().weight(), 1 + BATCH_OVERHEAD + SPAN_OVERHEAD + MESSAGE_OVERHEAD);
    }

    #[test]
    fn what_is_held_or_at_hand_is_counted_with_what_it_costs() {
        let pieces = size_of::<bytes::Bytes>() as u64 + 2 * BLOCK;
        let cached = tree::<(StreamInstance, u64), Payload>() + 32 + pieces;
        assert!(cached <= CACHED_OVERHEAD, "a payload at hand costs {cached}");
        let held = tree::<Identity, (Sequence, u64, Payload)>() + tree::<Sequence, Identity>() + pieces;
        assert!(held <= held_weight(0), "a payload that is held costs {held}");
        let verifying = tree::<u64, Data>() + tree::<Identity, u64>() + pieces;
        assert!(verifying <= held_weight(0), "a payload that is being verified costs {verifying}");
        let mut cache = Cache::default();
        for slot in 0..100 {
            let byte = bytes::Bytes::from_static(b"x");
            cache.put(StreamInstance(1), slot, byte.into(), 10 * (1 + CACHED_OVERHEAD));
        }
        assert_eq!(cache.held.len(), 10);
    }
}
