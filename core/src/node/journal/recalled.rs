//! Payloads that are read at a start: those that must be, and of the others the last, as far as there is room.
//!
//! Their owner says in each record up to where its things are settled, by what was known when it was written. That counts once a later row vouches for
//! the row that says so: then the row is part of the journal, or there is no start. It counts for records of the same history only: an id may come
//! again, and what was forgotten of its former life may still be on the disk. The last record of a thing is read whatever is said.

use alloc::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::row::{Born, Stored};
use crate::id::Ticket;
use crate::record::{Key, Owner, Settled};

/// Says of a record whether its payload is read at a start, in which history of its thing it is, and up to which slot payloads need not be read in
/// that if there is no room: what was settled when it was written.
pub type Recall = fn(&Key, &Bytes) -> Option<Settled>;

/// What records are about.
type Thing = (Owner, u8, u128);

/// A payload that was read.
#[derive(Clone, Copy, Debug)]
struct Held {
    row: Ticket,
    place: usize,
    thing: Thing,
    history: u64,
    born: Born,
    last_slot: u64,
    len: u64,
}

/// What a record says, and which one it is.
#[derive(Clone, Copy, Debug)]
struct Said {
    row: Ticket,
    thing: Thing,
    settled: Settled,
    born: Born,
}

/// What was read so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Recalled {
    recall: Option<Recall>,
    budget: u64,
    bytes: u64,
    /// The oldest first, but for those that could not go when it was their turn.
    held: VecDeque<Held>,
    /// By the history it is said of.
    settled: BTreeMap<(Thing, u64), u64>,
    /// The last record of each thing that counts.
    last: BTreeMap<Thing, Born>,
    /// What rows say of that for which no row vouches so far.
    said: VecDeque<Said>,
    /// So many are looked at before the next row: it brought half as many.
    turns: usize,
}

impl Recalled {
    pub(super) fn new(recall: Recall, budget: u64) -> Self {
        Self { recall: Some(recall), budget, ..Self::default() }
    }

    /// Every row up to `synced` counts, or there is no start.
    pub(super) fn vouched(&mut self, synced: Ticket) {
        while let Some(&Said { thing, settled, born, .. }) =
            self.said.front().filter(|said| said.row <= synced)
        {
            let known = self.settled.entry((thing, settled.history)).or_default();
            *known = settled.upto.max(*known);
            let last = self.last.entry(thing).or_insert(born);
            *last = born.max(*last);
            self.said.pop_front();
        }
    }

    /// Takes a record of a row, which is the one at that place in it.
    pub(super) fn take(&mut self, (row, place): (Ticket, usize), record: &mut Stored, bytes: &[u8]) {
        let Some(settled) = self.recall.and_then(|recall| recall(&record.key, &record.head)) else { return };
        let thing = (record.key.owner, record.key.space, record.key.id);
        let born = record.born;
        self.said.push_back(Said { row, thing, settled, born });
        let (from, len) = (record.extent.offset as usize, record.extent.len as usize);
        if len > 0 {
            record.payload = bytes.get(from..from + len).map(Bytes::copy_from_slice);
            self.bytes += len as u64;
            let (history, last_slot) = (settled.history, record.last_slot);
            self.held.push_back(Held { row, place, thing, history, born, last_slot, len: len as u64 });
            self.turns += 2;
        }
    }

    /// The next that is let go, because there is no room: its row, and its place there.
    pub(super) fn next_to_go(&mut self) -> Option<(Ticket, usize)> {
        while self.bytes > self.budget && self.turns > 0 {
            self.turns -= 1;
            let oldest = self.held.pop_front()?;
            let settled = self.settled.get(&(oldest.thing, oldest.history));
            let is_last = self.last.get(&oldest.thing).is_none_or(|&last| oldest.born >= last);
            if !is_last && settled.is_some_and(|&settled| oldest.last_slot <= settled) {
                self.bytes -= oldest.len;
                return Some((oldest.row, oldest.place));
            }
            self.held.push_back(oldest);
        }
        self.turns = 0;
        None
    }
}
