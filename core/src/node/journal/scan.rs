//! Recovery: which of the rows found on disk are the journal, and whether that is all of it.
//!
//! A crash may leave the unsynced end of the journal missing, or, on a raw disk, full of holes and torn rows. Such an end was never
//! acknowledged to anybody and is cut off. Whatever a later row vouches for (`synced`) must be there whole: if it is not, the disk lost
//! or changed it, and the node must not start as if nothing had happened.
//!
//! A disk that never wrote a row, and said that it had, may still hold what an earlier start left in its place: a sound row of the right
//! number. Its generation gives it away only while a row in front of it is there. So each row also names, by its checksum, the row that it was
//! written behind.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;

use super::index::Place;
use super::recalled::{Recall, Recalled};
use super::row::{self, Born, Extent, Stored};
use crate::id::{Generation, Ticket};
use crate::planted::{Bug, Planted};
use crate::rare;
use crate::record::Key;
use crate::sometimes;

/// A record found alive, in the order of birth.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) key: Key,
    pub(super) last_slot: u64,
    pub(super) born: Born,
    pub(super) row: Ticket,
    pub(super) head: Bytes,
    pub(super) extent: Extent,
    pub(super) payload: Option<Bytes>,
}

impl Found {
    /// Bytes that it takes in a row.
    pub(super) fn footprint(&self) -> u32 {
        row::footprint(self.head.len(), self.extent.len as usize)
    }

    pub(super) fn place(&self) -> Place {
        let Self { last_slot, born, row, extent, .. } = *self;
        Place { last_slot, born, row, extent, footprint: self.footprint() }
    }
}

#[derive(Clone, Debug)]
struct Row {
    generation: Generation,
    synced: Ticket,
    floor: Ticket,
    previous: u32,
    checksum: u32,
    bytes: u32,
    records: Vec<Stored>,
}

/// The rows seen so far.
#[derive(Clone, Debug)]
pub(super) struct Scan {
    rows: BTreeMap<Ticket, Result<Row, String>>,
    /// The store's own word.
    vouched: Ticket,
    recalled: Recalled,
    planted: Planted,
}

/// Rows without a gap between them.
struct Run {
    end: Ticket,
    floor: Ticket,
    generation: Generation,
    wrong: Option<String>,
}

/// What the rows add up to.
#[derive(Clone, Debug)]
pub(super) struct Recovered {
    /// The first row on the disk, or `floor`: below `floor` lies what was given up and is not gone.
    pub(super) first: Ticket,
    /// The first row that counts; `last + 1` if there is none.
    pub(super) floor: Ticket,
    /// The last row that counts.
    pub(super) last: Ticket,
    /// The checksum of that row; 0 if it is not there.
    pub(super) checksum: u32,
    /// Highest generation found, also in rows that do not count.
    pub(super) generation: Generation,
    /// Size of each row from `floor` to `last`.
    pub(super) sizes: Vec<u32>,
    /// Live records, in order of birth.
    pub(super) found: Vec<Found>,
    /// Places in `found`, in the order of keys.
    pub(super) by_key: Vec<u32>,
}

impl Scan {
    pub(super) fn new(planted: Planted) -> Self {
        Self { rows: BTreeMap::new(), vouched: Ticket(0), recalled: Recalled::default(), planted }
    }

    /// Payloads of which `recall` says so are read, and those that need not be stay within `bytes`.
    pub(super) fn recalling(&mut self, recall: Recall, bytes: u64) {
        self.recalled = Recalled::new(recall, bytes);
    }

    /// The store knows that every row up to `upto` was on disk once.
    pub(super) fn vouch(&mut self, upto: Ticket) {
        self.vouched = self.vouched.max(upto);
    }

    /// Takes one row as read.
    pub(super) fn push(&mut self, ticket: Ticket, bytes: &Bytes) {
        let row = row::decode(bytes, self.planted).and_then(|(header, mut records)| {
            if header.ticket != ticket {
                return Err(format!("it says that it is row {}", header.ticket));
            }
            // Heads are copied out so that the row's payload bytes can go.
            self.recalled.vouched(header.synced);
            for (place, record) in records.iter_mut().enumerate() {
                record.head = Bytes::copy_from_slice(&record.head);
                self.recalled.take((ticket, place), record, bytes);
            }
            Ok(Row {
                generation: header.generation,
                synced: header.synced,
                floor: header.floor,
                previous: header.previous,
                checksum: row::checksum(bytes),
                bytes: bytes.len() as u32,
                records,
            })
        });
        self.rows.insert(ticket, row);
        while let Some((row, place)) = self.recalled.next_to_go() {
            let row = self.rows.get_mut(&row).and_then(|row| row.as_mut().ok());
            if let Some(record) = row.and_then(|row| row.records.get_mut(place)) {
                record.payload = None;
            }
        }
    }

    /// Decides what counts.
    ///
    /// A row's word on the floor holds only if the row itself counts, so the floor is first taken from rows that others vouch for, and
    /// raised by what follows them without a gap.
    ///
    /// # Errors
    /// A row that was vouched for is missing or damaged; the text says which.
    pub(super) fn finish(self, rows_may_tear: bool) -> Result<Recovered, String> {
        let sound = || self.rows.iter().filter_map(|(&ticket, row)| Some((ticket, row.as_ref().ok()?)));
        let by_rows = sound().map(|(_, row)| row.synced).max().unwrap_or_default();
        let ignored = self.planted.strikes(Bug::StoreMarkIgnored, || self.vouched > by_rows);
        let vouched = if ignored { by_rows } else { by_rows.max(self.vouched) };
        let generation = sound().map(|(_, row)| row.generation).max().unwrap_or_default();
        let settled = sound().filter(|(ticket, _)| *ticket <= vouched).map(|(_, row)| row.floor).max();
        let settled = settled.unwrap_or_default().max(Ticket(1));
        let first = self.rows.range(settled..).next().map_or(settled, |(&ticket, _)| ticket);
        let mut run = self.run(first);
        let floor = run.floor.max(settled);
        if floor < first {
            // The rows in front of the first one did not go by a trim.
            let wrong = run.wrong.filter(|_| run.end == first);
            run = Run { end: settled, floor: settled, generation: Generation(0), wrong };
        }
        let (end, wrong) = (run.end, run.wrong);
        let more = self.rows.range(end..).next_back().map(|(&ticket, _)| ticket);
        if end <= vouched {
            sometimes!(DamageFound);
            let what = wrong.unwrap_or_else(|| format!("row {end} is missing"));
            return Err(format!("{what}, though row {vouched} and all before it were once safely on disk"));
        }
        if !rows_may_tear && let Some(more) = more {
            let what = wrong.unwrap_or_else(|| format!("row {end} is missing while row {more} is there"));
            return Err(what);
        }
        sometimes!(RowsBehindAHole, more.is_some());
        // Also rows that do not count bear a generation: the next start must not use it again, or such a row could join its timeline.
        Ok(self.gather(floor.min(end), end, generation))
    }

    /// The rows from `first` on that follow each other without a gap.
    fn run(&self, first: Ticket) -> Run {
        let mut run = Run { end: first, floor: Ticket(0), generation: Generation(0), wrong: None };
        loop {
            match self.rows.get(&run.end) {
                // A lower generation was left behind by a boot before the one that wrote the rows in front of it.
                Some(Ok(row))
                    if row.generation >= run.generation || self.planted.has(Bug::OlderGenerationJoins) =>
                {
                    if !self.is_followed(run.end, row) && !self.planted.has(Bug::RowChainIgnored) {
                        rare!(RowOfAnEarlierStart);
                        run.wrong =
                            Some(format!("row {} is not the one that the next was written behind", run.end));
                        return run;
                    }
                    run.generation = row.generation;
                    run.floor = run.floor.max(row.floor);
                    run.end = run.end.next();
                }
                Some(Err(_)) if self.planted.has(Bug::TornRowSkipped) => run.end = run.end.next(),
                Some(Err(what)) => {
                    sometimes!(RowTorn);
                    run.wrong = Some(format!("row {} cannot be trusted: {what}", run.end));
                    return run;
                }
                Some(Ok(_)) => {
                    sometimes!(OlderRowsBehind);
                    return run;
                }
                None => return run,
            }
        }
    }

    /// Whether the next row, if it is of the same timeline, was written behind this very row.
    fn is_followed(&self, ticket: Ticket, row: &Row) -> bool {
        let next = self.rows.get(&ticket.next()).and_then(|next| next.as_ref().ok());
        // One of a lower generation was left behind: it says nothing about this row.
        next.filter(|next| next.generation >= row.generation)
            .is_none_or(|next| next.previous == 0 || next.previous == row.checksum)
    }

    fn gather(self, floor: Ticket, end: Ticket, generation: Generation) -> Recovered {
        let first = self.rows.keys().next().map_or(floor, |&first| first.min(floor));
        // Also of a row that was given up and is not gone: what is written next stands behind it.
        let checksum =
            self.rows.get(&end.before()).and_then(|row| row.as_ref().ok()).map_or(0, |row| row.checksum);
        let mut sizes = Vec::new();
        let counting = self.rows.range(floor..end).filter_map(|(_, row)| row.as_ref().ok());
        let mut found = Vec::with_capacity(counting.map(|row| row.records.len()).sum());
        for (ticket, row) in self.rows.into_iter().filter(|(t, _)| (floor..end).contains(t)) {
            sizes.push(row.as_ref().map_or(0, |row| row.bytes));
            let Ok(row) = row else { continue };
            found.extend(row.records.into_iter().map(|stored| {
                let Stored { key, last_slot, born, head, extent, payload } = stored;
                Found { key, last_slot, born, row: ticket, head, extent, payload }
            }));
        }
        let by_key = keep_alive(&mut found, self.planted);
        Recovered { first, floor, last: end.before(), checksum, generation, sizes, found, by_key }
    }
}

/// Leaves the records that are alive, in the order of their birth. There may be millions, in order but for those that were moved. Returns
/// their places in the order of keys.
fn keep_alive(found: &mut Vec<Found>, planted: Planted) -> Vec<u32> {
    found.sort_by_key(|found| (found.born, found.row));
    // A moved copy stands in a later row and replaces the original.
    found.dedup_by(|later, earlier| {
        let same = later.born == earlier.born;
        if same {
            core::mem::swap(later, earlier);
        }
        same
    });
    let mut by_key: Vec<(Key, u32)> = found.iter().zip(0..).map(|(found, at)| (found.key, at)).collect();
    by_key.sort_unstable();
    let mut alive = alloc::vec![false; found.len()];
    let mut kept = Vec::with_capacity(found.len());
    for same in by_key.chunk_by(|one, other| one.0 == other.0) {
        let oldest = planted.strikes(Bug::OlderRecordWins, || same.len() > 1);
        let newest = if oldest { same.first() } else { same.last() };
        if let Some(&(_, at)) = newest {
            alive[at as usize] = true;
            kept.push(at);
        }
    }
    drop(by_key);
    // Where each is once the dead are gone.
    let mut places = Vec::with_capacity(alive.len());
    let mut living = 0;
    for &alive in &alive {
        places.push(living);
        living += u32::from(alive);
    }
    kept.iter_mut().for_each(|at| *at = places[*at as usize]);
    let mut alive = alive.into_iter();
    found.retain(|_| alive.next().unwrap_or(false));
    kept
}
