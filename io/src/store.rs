//! The journal on disk: rows one behind the other in files of bounded size, one write and one sync per batch.
//!
//! Rows only ever grow at the high end and are trimmed at the low end. The store trusts its caller with the order of tickets
//! and trusts the disk with nothing: bytes are handed to the core as they were read, which checks them. A crash may leave any part of what
//! was not synced; the core tells that end from damage. What it cuts off is taken away before anything is written in its place.
//!
//! A file is given its blocks, and its name is synced, before the first row in it counts. A write that finds the disk full gives up the
//! reserve and is made again. What still fails after that is final, and so is any failed sync: nobody knows then what is on the disk.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use wattle_core::id::Ticket;
use wattle_core::payload::Payload;

use self::error::about;
pub use self::error::{RecoveryError, StoreError};
pub use self::files::{Files, System};
use self::frame::{Heading, Kind, SEGMENT_HEADER, framed};
use self::index::{Index, Shared};
pub use self::index::{Part, Reader};
use self::segment::{Place, Segment};
pub use self::tally::{Tally, Written};
use crate::clock::entropy;
use crate::space::{Reserve, is_full};

mod error;
mod files;
mod frame;
mod index;
mod recover;
mod segment;
mod tally;

/// Size of a segment; a row that does not fit has one of its own. Larger: fewer files and syncs of names; smaller: a start reads less at a
/// time, and what is trimmed goes sooner.
const SEGMENT: u64 = 16 << 20;
/// Sizes to fall back to on a disk that is nearly full.
const SMALLER: [u64; 3] = [4 << 20, 1 << 20, 0];
/// Segments that one commit takes away at most, so that a long trim never holds up a write for long.
const TRIM_SEGMENTS: usize = 16;
/// Dead bytes in front of the oldest living row that are given back to the disk at a time: at least so many, and at least this part of the
/// journal.
const GIVE_BACK: u64 = 64 << 10;
const GIVE_BACK_PART: u64 = 16;
/// Room for rows that are put together, kept from one commit to the next.
const BUFFER_KEPT: usize = 1 << 20;
/// Bytes of a mark.
const MARK: u64 = framed(0) as u64;
/// Blocks that a file system can give back.
const BLOCK: u64 = 4096;

/// The last segment, as the writer knows it.
#[derive(Debug)]
struct Tail<File> {
    file: File,
    path: PathBuf,
    salt: u64,
    end: u64,
    size: u64,
}

/// The rows of one node.
#[derive(Debug)]
pub struct Store<F: Files = System> {
    directory: PathBuf,
    files: F,
    reserve: Arc<Reserve>,
    shared: Shared<F>,
    /// How large a segment is made.
    segment: u64,
    /// Where the next row goes, once something was written.
    tail: Option<Tail<F::File>>,
    recovered: bool,
    /// Rows below this one are to go.
    trim_below: u64,
    /// The last row of which the files say that it was durable, and the last that is.
    marked: u64,
    durable: u64,
    used: u64,
    held: u64,
    buffer: Vec<u8>,
    failed: bool,
    /// What a crash left before its first sync.
    unfinished: Option<PathBuf>,
    /// What was read at the end of the last segment, and from where on: it may not be on the disk.
    doubtful: Option<(u64, Bytes)>,
    gives_back: bool,
    tally: Arc<Tally>,
}

impl Store {
    /// Opens the journal in a directory, or makes it. Reads nothing of it yet.
    ///
    /// # Errors
    /// What the system said.
    pub fn open(directory: &Path, reserve: Arc<Reserve>) -> Result<Self, StoreError> {
        let earlier = directory.with_extension("redb");
        if earlier.exists() {
            return Err(StoreError::Earlier { path: earlier });
        }
        Self::open_on(directory, reserve, System)
    }
}

impl<F: Files> Store<F> {
    /// Opens the journal on a file system of its own.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_on(directory: &Path, reserve: Arc<Reserve>, files: F) -> Result<Self, StoreError> {
        files.make_directory(directory).map_err(about(directory))?;
        // Else a power failure might take the directory's name, and with it all that is synced into it. One that is there may have been made by
        // a start that came no further.
        let parent = directory.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        files.sync_directory(parent).map_err(about(parent))?;
        Ok(Self {
            directory: directory.to_owned(),
            shared: Shared::new(files.clone()),
            files,
            reserve,
            segment: SEGMENT,
            tail: None,
            recovered: false,
            trim_below: 0,
            marked: 0,
            durable: 0,
            used: 0,
            held: 0,
            buffer: Vec::new(),
            failed: false,
            unfinished: None,
            doubtful: None,
            gives_back: true,
            tally: Arc::default(),
        })
    }

    /// Counts what it writes from now on there.
    #[must_use]
    pub fn counting(mut self, tally: Arc<Tally>) -> Self {
        self.tally = tally;
        self
    }

    /// Rows below this one may go; the next commits take them away, a bounded number of segments each.
    pub fn trim(&mut self, below: Ticket) {
        self.trim_below = self.trim_below.max(below.0);
    }

    /// Whether rows wait to be taken away.
    #[must_use]
    pub fn has_trims(&self) -> bool {
        self.shared.read().below < self.trim_below
    }

    /// Bytes that the rows take on the disk, dead ones that are not given back yet included.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.used
    }

    /// Bytes of the disk that the journal has: what is not used of it will be.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.held
    }

    /// Writes rows, in one write with one sync, and takes trimmed ones away. A `quick` commit costs a second sync: it leaves a mark which
    /// tells the next start that all rows up to here were durable, and so what is missing of them was lost.
    ///
    /// # Errors
    /// The store's. It takes no commit after one that failed.
    pub fn commit(&mut self, rows: &[(Ticket, Payload)], quick: bool) -> Result<(), StoreError> {
        if self.failed {
            return Err(StoreError::Failed);
        }
        let done = self.write(rows, quick).and_then(|()| self.take_away());
        self.failed = done.is_err();
        self.count();
        done
    }

    fn write(&mut self, rows: &[(Ticket, Payload)], quick: bool) -> Result<(), StoreError> {
        let Some((first, _)) = rows.first() else {
            return if quick { self.mark() } else { Ok(()) };
        };
        if !self.recovered {
            self.skim()?;
        }
        if self.tail.is_none() {
            self.settle()?;
            self.go_on_at(first.0)?;
        }
        let mut places = Vec::with_capacity(rows.len());
        for (ticket, row) in rows {
            let needed = framed(row.len()) as u64;
            let fits =
                |tail: &Tail<F::File>| tail.end + self.buffer.len() as u64 + needed + MARK <= tail.size;
            if !self.tail.as_ref().is_some_and(fits) {
                self.flush(&mut places)?;
                self.new_segment(ticket.0, needed)?;
            }
            let Some(&Tail { salt, end, .. }) = self.tail.as_ref() else { continue };
            let at = frame::put(&mut self.buffer, salt, Kind::Row, ticket.0, row.pieces());
            // A row and its place have 32 bits: only one row stands in a segment larger than usual.
            places.push(Place { ticket: ticket.0, at: (end + at as u64) as u32, len: row.len() as u32 });
        }
        self.flush(&mut places)?;
        if quick { self.mark() } else { Ok(()) }
    }

    /// Leaves a mark for what is durable.
    fn mark(&mut self) -> Result<(), StoreError> {
        let Some(&Tail { salt, end, size, .. }) = self.tail.as_ref() else { return Ok(()) };
        // Behind every row there is room for one.
        if self.marked < self.durable && end + MARK <= size {
            frame::put(&mut self.buffer, salt, Kind::Mark, self.durable, &[]);
            self.flush(&mut Vec::new())?;
            self.marked = self.durable;
        }
        Ok(())
    }

    /// Writes and syncs what was put together. The rows in it can be loaded then.
    fn flush(&mut self, places: &mut Vec<Place>) -> Result<(), StoreError> {
        let Some(tail) = self.tail.as_mut().filter(|_| !self.buffer.is_empty()) else { return Ok(()) };
        with_reserve(&self.reserve, || self.files.write(&tail.file, &self.buffer, tail.end))
            .map_err(about(&tail.path))?;
        self.tally.wrote(self.buffer.len());
        self.files.sync(&tail.file).map_err(about(&tail.path))?;
        self.tally.synced();
        tail.end += self.buffer.len() as u64;
        self.durable = places.last().map_or(self.durable, |place| place.ticket);
        if let Some(last) = self.shared.write().segments.back_mut() {
            last.end = tail.end;
            last.places.append(places);
        }
        self.buffer.clear();
        self.buffer.shrink_to(BUFFER_KEPT);
        Ok(())
    }

    /// Begins a segment that takes so many bytes of frames at least.
    fn new_segment(&mut self, first: u64, needed: u64) -> Result<(), StoreError> {
        if self.tail.as_ref().is_some_and(|tail| tail.end == SEGMENT_HEADER as u64) {
            return self.grow(needed);
        }
        let path = Segment::path(&self.directory, first);
        let salt = entropy().map(u64::from_le_bytes).map_err(about(&path))?;
        let file = self.files.create(&path).map_err(about(&path))?;
        let made = self.allocate(&file, 0, needed).and_then(|size| {
            let heading = Heading { first, salt }.encode();
            self.files.write(&file, &heading, 0)?;
            self.tally.wrote(heading.len());
            self.sync(&file)?;
            Ok(size)
        });
        let size = made.map_err(about(&path))?;
        self.sync_names()?;
        // That there is a segment says that all in front of it was durable.
        self.marked = self.marked.max(first.saturating_sub(1));
        let segment = Segment::new(path.clone(), first, salt, size);
        let end = segment.end;
        let mut index = self.shared.write();
        if let (Some(before), Some(last)) = (&self.tail, index.segments.back_mut()) {
            // What it has too much is free for others. That need not be durable.
            if last.size > last.end && self.files.set_len(&before.file, last.end).is_ok() {
                last.size = last.end;
            }
        }
        index.segments.push_back(segment);
        self.tail = Some(Tail { file, path, salt, end, size });
        Ok(())
    }

    /// Gives the segment that a crash left without rows the room that it needs.
    fn grow(&mut self, needed: u64) -> Result<(), StoreError> {
        let Some(tail) = &self.tail else { return Ok(()) };
        let grown = self.allocate(&tail.file, tail.end, needed);
        let size = grown.and_then(|size| self.sync(&tail.file).map(|()| size)).map_err(about(&tail.path))?;
        let mut index = self.shared.write();
        if let (Some(tail), Some(last)) = (&mut self.tail, index.segments.back_mut()) {
            (tail.size, last.size) = (size, size);
        }
        Ok(())
    }

    /// Gives a segment without rows its blocks: as many as there should be, or as the disk has. What it holds up to `keep` stays.
    fn allocate(&self, file: &F::File, keep: u64, needed: u64) -> io::Result<u64> {
        let needed = (SEGMENT_HEADER as u64 + needed + MARK).next_multiple_of(BLOCK);
        let mut size = needed.max(self.segment);
        for smaller in SMALLER {
            match self.files.allocate(file, size) {
                Err(error) if is_full(&error) => {
                    // It may hold what there was.
                    self.files.set_len(file, keep)?;
                    size = needed.max(smaller);
                }
                done => return done.map(|()| size),
            }
        }
        with_reserve(&self.reserve, || self.files.allocate(file, size))?;
        Ok(size)
    }

    /// Takes away what was trimmed, a bounded part of it.
    fn take_away(&mut self) -> Result<(), StoreError> {
        if !self.has_trims() {
            return Ok(());
        }
        let shared = self.shared.clone();
        let index = shared.read();
        let takes = self.is_first_dead(&index) || self.dead_in_front(&index).is_some();
        drop(index);
        if takes {
            // The row that states what is dead must be known for sound, whatever a crash leaves of the dead.
            self.mark()?;
            if self.marked < self.durable {
                return Ok(());
            }
        }
        let mut index = shared.write();
        for _ in 0..TRIM_SEGMENTS {
            if !self.is_first_dead(&index) {
                break;
            }
            if let Some(gone) = index.segments.pop_front() {
                self.files.remove(&gone.path).map_err(about(&gone.path))?;
            }
        }
        if self.is_first_dead(&index) {
            // The rest is for the next commit.
            return Ok(());
        }
        index.below = self.trim_below;
        if let Some((from, bytes)) = self.dead_in_front(&index)
            && let Some(oldest) = index.segments.front_mut()
        {
            let file = self.files.open(&oldest.path).map_err(about(&oldest.path))?;
            self.gives_back = self.files.punch(&file, from, bytes);
            if self.gives_back {
                oldest.given_back = from + bytes;
            }
        }
        Ok(())
    }

    /// Whether the oldest segment can go. The last one never can: what is written next goes there.
    fn is_first_dead(&self, index: &Index) -> bool {
        index.segments.get(1).is_some_and(|second| second.first <= self.trim_below)
    }

    /// Which part of the oldest segment is to be given back: the header stays.
    fn dead_in_front(&self, index: &Index) -> Option<(u64, u64)> {
        let oldest = index.segments.front().filter(|_| self.gives_back)?;
        let from = oldest.given_back.max(BLOCK);
        let upto = oldest.alive_from(self.trim_below) / BLOCK * BLOCK;
        let worth = GIVE_BACK.max(self.used / GIVE_BACK_PART);
        (upto >= from + worth).then(|| (from, upto - from))
    }

    fn count(&mut self) {
        let index = self.shared.read();
        self.used = index.segments.iter().map(Segment::used).sum();
        self.held = index.segments.iter().map(Segment::held).sum();
    }

    /// A reader of committed rows, for another thread.
    #[must_use]
    pub fn reader(&self) -> Reader<F> {
        Reader { shared: self.shared.clone() }
    }

    fn sync(&self, file: &F::File) -> io::Result<()> {
        self.tally.synced();
        self.files.sync(file)
    }

    fn sync_names(&self) -> Result<(), StoreError> {
        self.tally.synced();
        self.files.sync_directory(&self.directory).map_err(about(&self.directory))
    }
}

/// Gives up the reserve rather than fail for want of space.
fn with_reserve(reserve: &Reserve, act: impl Fn() -> io::Result<()>) -> io::Result<()> {
    match act() {
        Err(error) if is_full(&error) && reserve.give_up() => act(),
        result => result,
    }
}

#[cfg(test)]
mod tests;
