//! The journal: one ordered sequence of rows per node, and the index of what in it is alive.
//!
//! All records of one step share one row, so they become durable together or not at all. A record dies when a later one
//! bears its key or its owner forgets it; a row dies with its last record. Only a prefix of the rows is ever trimmed, after a row that
//! states the new floor is on disk. Stragglers, live records in old rows, are moved to the end once less than 30 % of the
//! journal is alive, or, while the store has little room left, once more than a sixteenth of it is dead: what is written and read again
//! for a byte gained stays bounded. A moved record keeps its place of birth, so recovery replays records in the order in which they were
//! written.
//!
//! Invariants:
//! - **J1** Row numbers are contiguous; each row states the floor that holds once it is durable, and names the row in front of it.
//! - **J2** No row with a live record lies below the floor.
//! - **J3** Nothing is trimmed before a row that states the floor is durable, nor while a load from below it is under way.
//! - **J4** The live counts of the rows add up to the index.

mod index;
mod recalled;
mod row;
mod scan;

use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;

use self::index::{Index, Place};
pub use self::recalled::Recall;
use self::row::{Born, Entry, Extent, Header};
use self::scan::Scan;
use crate::crc32c::crc32c;
use crate::id::{Generation, Ticket};
use crate::level::Level;
use crate::payload::Payload;
use crate::planted::{Bug, Planted};
use crate::record::{Forget, Key, Record};
use crate::sometimes;

/// While room is scarce, one part in so many of the journal may be dead.
const DEAD_WHEN_SCARCE: u64 = 16;
/// And then the journal is let grow to this many bytes, whatever the settings say.
const SLACK_WHEN_SCARCE: u64 = 1 << 20;

/// Settings of the journal.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Whether a crash may leave any subset of the unsynced rows, torn ones included (a raw disk), or only a prefix of
    /// them (a transactional store). Decides what a bad row at the end means.
    pub rows_may_tear: bool,
    /// Below this many bytes nothing is moved, unless room is scarce. More saves rewriting, less saves disk and reading at a start.
    pub slack_bytes: u64,
}

/// Where a payload is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Located {
    /// In which row.
    pub row: Ticket,
    /// From which byte of it on.
    pub offset: u32,
    /// How many bytes.
    pub len: u32,
    crc: u32,
}

impl Located {
    /// Whether `bytes` are what was written there.
    #[must_use]
    pub fn is(&self, bytes: &[u8]) -> bool {
        bytes.len() == self.len as usize && crc32c(bytes) == self.crc
    }
}

/// A record that recovery found alive.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its name.
    pub key: Key,
    /// The last slot it covers.
    pub last_slot: u64,
    /// What its owner reads back.
    pub head: Bytes,
    /// How long its payload is.
    pub payload_len: usize,
    /// The payload, where it was asked for and there was room; see [`Journal::recalling`].
    pub payload: Option<Bytes>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Row {
    bytes: u32,
    live: u32,
}

/// The journal of one node.
#[derive(Clone, Debug)]
pub struct Journal {
    config: Config,
    generation: Generation,
    scan: Option<Scan>,
    /// The row of `rows[0]`.
    floor: Ticket,
    rows: VecDeque<Row>,
    places: Index,
    synced: Ticket,
    /// The checksum of the last row made, or 0.
    checksum: u32,
    /// Floors stated by rows that are not durable yet.
    stated: VecDeque<(Ticket, Ticket)>,
    /// The floor of the newest durable row.
    trimmable: Ticket,
    trimmed: Ticket,
    bytes: u64,
    live_bytes: u64,
    /// Records of the step under way.
    pending: Vec<Entry>,
    moving: Option<Ticket>,
    loads: BTreeMap<Ticket, u32>,
    planted: Planted,
}

impl Journal {
    /// A journal whose rows are about to be read.
    #[must_use]
    pub fn new(config: Config, planted: Planted) -> Self {
        Self {
            config,
            generation: Generation(0),
            scan: Some(Scan::new(planted)),
            floor: Ticket(1),
            rows: VecDeque::new(),
            places: Index::default(),
            synced: Ticket(0),
            checksum: 0,
            stated: VecDeque::new(),
            trimmable: Ticket(1),
            trimmed: Ticket(1),
            bytes: 0,
            live_bytes: 0,
            pending: Vec::new(),
            moving: None,
            loads: BTreeMap::new(),
            planted,
        }
    }

    /// At a start, payloads of which `recall` says so are read with their records; those that are settled stay within so many bytes.
    #[must_use]
    pub fn recalling(mut self, recall: Recall, bytes: u64) -> Self {
        if let Some(scan) = &mut self.scan {
            scan.recalling(recall, bytes);
        }
        self
    }

    /// Takes one stored row. Only before [`Self::recovered`].
    pub fn restore(&mut self, ticket: Ticket, bytes: &Bytes) {
        if let Some(scan) = &mut self.scan {
            scan.push(ticket, bytes);
        }
    }

    /// Takes the store's word that every row up to `upto` was on disk once. Only before [`Self::recovered`].
    pub fn vouch(&mut self, upto: Ticket) {
        if let Some(scan) = &mut self.scan {
            scan.vouch(upto);
        }
    }

    /// Ends recovery: the live records in the order in which they were written.
    ///
    /// # Errors
    /// The rows do not add up; says why.
    pub fn recovered(&mut self) -> Result<Vec<Found>, String> {
        let scan = self.scan.take().unwrap_or_else(|| Scan::new(self.planted));
        let recovered = scan.finish(self.config.rows_may_tear)?;
        self.generation = recovered.generation;
        self.floor = recovered.floor;
        // A crash may have come between the row that states the floor and the trim: it is asked for again once a row of this start repeats it.
        self.trimmable = recovered.first;
        self.trimmed = recovered.first;
        self.synced = recovered.last;
        self.checksum = recovered.checksum;
        self.rows = recovered.sizes.iter().map(|&bytes| Row { bytes, live: 0 }).collect();
        self.bytes = recovered.sizes.iter().map(|&bytes| u64::from(bytes)).sum();
        for found in &recovered.found {
            self.live_bytes += u64::from(found.footprint());
            if let Some(row) = self.row_mut(found.row) {
                row.live += 1;
            }
        }
        let by_key = recovered.by_key.iter().filter_map(|&at| recovered.found.get(at as usize));
        self.places = Index::of(by_key.map(|found| (found.key, found.place())));
        let found = recovered.found.into_iter().map(
            |scan::Found { key, last_slot, head, extent, payload, .. }| Found {
                key,
                last_slot,
                head,
                payload_len: extent.len as usize,
                payload,
            },
        );
        Ok(found.collect())
    }

    /// The generation found on disk: that of the last start that wrote anything.
    pub(crate) fn generation(&self) -> Generation {
        self.generation
    }

    /// Rows written from now on belong to this generation.
    pub fn begin(&mut self, generation: Generation) {
        assert!(
            generation > self.generation,
            "J1: generation {generation} does not follow {}",
            self.generation
        );
        self.generation = generation;
    }

    /// Adds a record to the row of this step.
    pub fn append(&mut self, record: Record) {
        self.pending.push(Entry { record, moved_from: None });
    }

    /// Lets records die, from this step on.
    pub fn forget(&mut self, forget: &Forget) {
        let Forget { owner, space, id, below } = *forget;
        let mut dead = Vec::new();
        self.places.retain((owner, space, id), below, |place| {
            let spans = place.last_slot >= below && !self.planted.has(Bug::ForgetTakesSpanningRun);
            if !spans {
                dead.push(*place);
            }
            spans
        });
        for place in dead {
            self.let_die(place);
        }
        self.pending.retain(|entry| {
            let k = entry.record.key;
            (k.owner, k.space, k.id) != (owner, space, id) || entry.record.last_slot >= below
        });
    }

    /// Ends the step: its row, if it wrote anything.
    pub fn seal(&mut self) -> Option<(Ticket, Payload)> {
        if self.pending.is_empty() {
            return None;
        }
        let entries = core::mem::take(&mut self.pending);
        let ticket = self.next();
        let extents = row::extents(&entries);
        // The floor depends on this row's own effects: what it supersedes or moves is dead once it is durable.
        self.rows.push_back(Row::default());
        for (at, (entry, &extent)) in entries.iter().zip(&extents).enumerate() {
            let record = &entry.record;
            let born = entry.moved_from.unwrap_or(Born { row: ticket, place: at as u32 });
            let footprint = row::footprint(record.head.len(), record.payload.len());
            let last_slot = record.last_slot;
            self.place(record.key, Place { last_slot, born, row: ticket, extent, footprint });
        }
        self.raise_floor(ticket);
        let header = Header {
            ticket,
            generation: self.generation,
            synced: self.synced,
            floor: self.floor,
            previous: self.checksum,
        };
        let bytes = row::encode(header, entries, &extents);
        self.checksum = bytes.pieces().first().map_or(0, |header| row::checksum(header));
        if let Some(row) = self.rows.back_mut() {
            row.bytes = bytes.len() as u32;
        }
        self.bytes += bytes.len() as u64;
        self.stated.push_back((ticket, self.floor));
        if self.planted.strikes(Bug::TrimBeforeFloorDurable, || self.trimmable < self.floor) {
            self.trimmable = self.floor;
        }
        Some((ticket, bytes))
    }

    /// The last row made, or 0.
    pub fn last(&self) -> Ticket {
        self.next().before()
    }

    /// Everything up to `upto` is on disk.
    pub fn persisted(&mut self, upto: Ticket) {
        self.synced = self.synced.max(upto);
        while let Some(&(ticket, floor)) = self.stated.front()
            && ticket <= upto
        {
            self.trimmable = self.trimmable.max(floor);
            self.stated.pop_front();
        }
    }

    /// Rows that may be trimmed now: everything below the returned ticket.
    pub fn trim(&mut self) -> Option<Ticket> {
        let busy = self.loads.keys().next().is_some_and(|&row| row < self.trimmable);
        let busy = busy && !self.planted.has(Bug::TrimmedUnderLoad);
        sometimes!(TrimWaitedForLoad, busy);
        if busy || self.trimmable <= self.trimmed {
            return None;
        }
        self.trimmed = self.trimmable;
        if self.planted.has(Bug::TrimOneTooFar) {
            return Some(self.trimmed.next());
        }
        Some(self.trimmed)
    }

    /// Where the payload of a record lies. Until [`Self::loaded`] is called for it, its row is not trimmed.
    pub fn load(&mut self, key: Key) -> Option<Located> {
        let place = self.places.get(&key)?;
        let Extent { offset, len, crc } = place.extent;
        *self.loads.entry(place.row).or_default() += 1;
        Some(Located { row: place.row, offset, len, crc })
    }

    /// The payload of a record that is in no row yet, for it came in this step.
    pub(crate) fn unwritten(&self, key: Key) -> Option<&Payload> {
        self.pending.iter().rev().find(|entry| entry.record.key == key).map(|entry| &entry.record.payload)
    }

    /// A load from `row` ended.
    pub fn loaded(&mut self, row: Ticket) {
        if let Some(count) = self.loads.get_mut(&row) {
            *count -= 1;
            if *count == 0 {
                self.loads.remove(&row);
            }
        }
    }

    /// The oldest row, if its live records should be moved to the end: the caller loads it whole and gives it to [`Self::move_row`].
    /// `scarce`: the store has little room left, so that dead records may keep living ones out.
    pub(crate) fn straggler(&mut self, scarce: bool) -> Option<(Ticket, u32)> {
        // What moving can free; a row's header is there however little it holds.
        let dead = self.bytes.saturating_sub(self.live_bytes + row::HEADER as u64 * self.rows.len() as u64);
        let sparse = self.live_bytes * 10 < self.bytes * 3;
        let slack =
            if scarce { self.config.slack_bytes.min(SLACK_WHEN_SCARCE) } else { self.config.slack_bytes };
        let wasteful = sparse || (scarce && dead > self.bytes / DEAD_WHEN_SCARCE);
        let wasteful = wasteful && self.bytes > slack;
        let oldest = *self.rows.front()?;
        if !wasteful || self.moving.is_some() || self.floor > self.synced || oldest.live == 0 {
            return None;
        }
        sometimes!(RowMoved);
        sometimes!(RowMovedForRoom, !sparse);
        self.moving = Some(self.floor);
        *self.loads.entry(self.floor).or_default() += 1;
        Some((self.floor, oldest.bytes))
    }

    /// Adds the live records of a loaded row to the row of this step.
    ///
    /// # Errors
    /// The row cannot be read any more.
    pub(crate) fn move_row(&mut self, bytes: Option<Bytes>) -> Result<(), String> {
        let Some(ticket) = self.moving.take() else { return Ok(()) };
        self.loaded(ticket);
        let unreadable = |what: String| alloc::format!("row {ticket} cannot be read back: {what}");
        let bytes = bytes.ok_or_else(|| unreadable("the store does not give it".into()))?;
        let (header, stored) = row::decode(&bytes, self.planted).map_err(unreadable)?;
        if header.ticket != ticket {
            return Err(unreadable(alloc::format!("it says that it is row {}", header.ticket)));
        }
        for record in stored {
            let alive =
                self.places.get(&record.key).is_some_and(|p| p.row == ticket && p.born == record.born);
            let superseded = self.pending.iter().any(|entry| entry.record.key == record.key);
            sometimes!(RecordDiedWhileMoved, !alive || superseded);
            if alive && !superseded {
                let (from, len) = (record.extent.offset as usize, record.extent.len as usize);
                let payload = Payload::from(bytes.slice(from..from + len));
                let moved =
                    Record { key: record.key, last_slot: record.last_slot, head: record.head, payload };
                let born = Some(record.born).filter(|_| !self.planted.has(Bug::MovedRecordBornAnew));
                self.pending.push(Entry { record: moved, moved_from: born });
            }
        }
        Ok(())
    }

    /// Bytes on disk, and how many of them are alive.
    pub(crate) fn size(&self) -> (u64, u64) {
        (self.bytes, self.live_bytes)
    }

    pub(crate) fn check_invariants(&self, level: Level) {
        assert!(
            self.trimmed <= self.trimmable && self.trimmable <= self.floor,
            "J3: trimmed above a durable floor"
        );
        if level == Level::Full {
            let mut live = alloc::vec![0u32; self.rows.len()];
            for (key, place) in self.places.iter() {
                assert!(
                    place.row >= self.floor,
                    "J2: {key:?} lives in row {} below floor {}",
                    place.row,
                    self.floor
                );
                live[(place.row.0 - self.floor.0) as usize] += 1;
            }
            let counted = self.rows.iter().map(|row| row.live);
            assert!(counted.eq(live), "J4: live counts do not add up");
        }
    }

    fn next(&self) -> Ticket {
        Ticket(self.floor.0 + self.rows.len() as u64)
    }

    fn place(&mut self, key: Key, place: Place) {
        self.live_bytes += u64::from(place.footprint);
        if let Some(row) = self.row_mut(place.row) {
            row.live += 1;
        }
        if let Some(before) = self.places.insert(&key, place) {
            self.let_die(before);
        }
    }

    fn let_die(&mut self, place: Place) {
        self.live_bytes -= u64::from(place.footprint);
        if let Some(row) = self.row_mut(place.row) {
            row.live -= 1;
        }
    }

    fn row_mut(&mut self, ticket: Ticket) -> Option<&mut Row> {
        let place = ticket.0.checked_sub(self.floor.0)?;
        self.rows.get_mut(usize::try_from(place).ok()?)
    }

    fn raise_floor(&mut self, newest: Ticket) {
        while self.floor < newest
            && let Some(row) = self.rows.front()
            && row.live == 0
        {
            self.bytes -= u64::from(row.bytes);
            self.rows.pop_front();
            self.floor = self.floor.next();
        }
    }
}

#[cfg(test)]
mod tests;
