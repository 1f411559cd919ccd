//! One file of the journal, as it is known in memory.

use std::io;
use std::path::{Path, PathBuf};

use super::frame::{Frame, Frames, HEADER, Heading, Kind, SEGMENT_HEADER, framed};
use super::{BLOCK, Files, Part};

const EXTENSION: &str = "rows";

/// Where a row lies in its segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) ticket: u64,
    pub(super) at: u32,
    pub(super) len: u32,
}

/// A segment: rows in rising order of tickets.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) path: PathBuf,
    /// The ticket it was made for.
    pub(super) first: u64,
    pub(super) salt: u64,
    pub(super) places: Vec<Place>,
    /// Where its last frame ends.
    pub(super) end: u64,
    /// The highest row of which a mark in it says that it was durable, and where that mark ends: all in front of that was on the disk.
    pub(super) marked: Option<(u64, u64)>,
    /// Where its file ends.
    pub(super) size: u64,
    /// What lies in front of this is dead and was given back to the disk.
    pub(super) given_back: u64,
    /// Nothing is written behind the last frame.
    pub(super) clean: bool,
}

/// What a file of the journal turned out to be.
pub(super) enum Found {
    Segment(Segment),
    /// A crash came before its first sync.
    Unfinished,
}

impl Segment {
    /// One without rows.
    pub(super) fn new(path: PathBuf, first: u64, salt: u64, size: u64) -> Self {
        let end = SEGMENT_HEADER as u64;
        Self { path, first, salt, places: Vec::new(), end, marked: None, size, given_back: 0, clean: true }
    }

    pub(super) fn path(directory: &Path, first: u64) -> PathBuf {
        directory.join(format!("{first:020}.{EXTENSION}"))
    }

    /// The segments in a directory, oldest first.
    pub(super) fn list(files: &impl Files, directory: &Path) -> io::Result<Vec<PathBuf>> {
        let mut found = files.list(directory)?;
        found.retain(|path| path.extension().is_some_and(|extension| extension == EXTENSION));
        found.sort();
        Ok(found)
    }

    /// The ticket that a file's name says it was made for.
    ///
    /// # Errors
    /// It says none, in words.
    pub(super) fn named(path: &Path) -> Result<u64, String> {
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        stem.and_then(|stem| stem.parse().ok())
            .ok_or_else(|| "its name is not the number of a row".to_owned())
    }

    /// Reads a file's bytes for what they are.
    ///
    /// # Errors
    /// Why they are no segment, in words.
    pub(super) fn read(path: PathBuf, bytes: &[u8]) -> Result<Found, String> {
        let Heading { first, salt } = match Heading::decode(bytes) {
            Ok(heading) => heading,
            // It is synced before anything else is written to it.
            Err(_) if Heading::is_unfinished(bytes) => return Ok(Found::Unfinished),
            Err(what) => return Err(what),
        };
        if Self::named(&path)? != first {
            return Err(format!("it says that it begins with row {first}"));
        }
        let mut segment = Self::new(path, first, salt, bytes.len() as u64);
        for frame in Frames::of(bytes, salt) {
            segment.take(&frame);
        }
        let rest = usize::try_from(segment.end).ok().and_then(|end| bytes.get(end..)).unwrap_or_default();
        segment.clean = rest.iter().all(|&byte| byte == 0);
        // What was dead in front of its rows was given back, all but the block of the header.
        let places = segment.places.first();
        let in_front = places.map_or(0, |place| (u64::from(place.at) - HEADER as u64) / BLOCK * BLOCK);
        segment.given_back = if in_front > BLOCK { in_front } else { 0 };
        Ok(Found::Segment(segment))
    }

    fn take(&mut self, frame: &Frame) {
        let end = frame.end() as u64;
        match frame.kind {
            Kind::Mark if self.marked.is_none_or(|(upto, _)| upto <= frame.ticket) => {
                self.marked = Some((frame.ticket, end));
            }
            Kind::Mark => {}
            // What is searched for where nothing can be read may be found in what is dead.
            Kind::Row if frame.ticket <= self.last().unwrap_or(self.first.saturating_sub(1)) => return,
            Kind::Row => {
                let (at, len) = (frame.at as u32, frame.len as u32);
                self.places.push(Place { ticket: frame.ticket, at, len });
            }
        }
        self.end = end;
    }

    /// Its last row.
    pub(super) fn last(&self) -> Option<u64> {
        self.places.last().map(|place| place.ticket)
    }

    /// Forgets the rows from one on, and with them what stands behind. No mark speaks for one of them.
    pub(super) fn cut(&mut self, ticket: u64) {
        self.places.truncate(self.below(ticket));
        let end = |place: &Place| u64::from(place.at) + (framed(place.len as usize) - HEADER) as u64;
        let rows = self.places.last().map_or(SEGMENT_HEADER as u64, end);
        // The marks in front of what is cut still count.
        self.end = self.marked.map_or(rows, |(_, end)| rows.max(end));
        self.clean = false;
    }

    /// How many of its rows lie below a ticket.
    pub(super) fn below(&self, ticket: u64) -> usize {
        self.places.partition_point(|place| place.ticket < ticket)
    }

    /// Where the frame of the first row that is not below a ticket begins.
    pub(super) fn alive_from(&self, ticket: u64) -> u64 {
        self.places.get(self.below(ticket)).map_or(self.end, |place| u64::from(place.at) - HEADER as u64)
    }

    /// A row's place in its file.
    pub(super) fn find(&self, part: &Part) -> Option<Place> {
        let at = self.places.binary_search_by_key(&part.row.0, |place| place.ticket).ok()?;
        self.places.get(at).copied()
    }

    /// Bytes of the disk that its frames take.
    pub(super) fn used(&self) -> u64 {
        self.end.saturating_sub(self.given_back)
    }

    /// Bytes of the disk that it takes.
    pub(super) fn held(&self) -> u64 {
        self.size.saturating_sub(self.given_back)
    }
}
