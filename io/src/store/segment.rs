//! One file of the journal, as it is known in memory.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::frame::{Frames, HEADER, Heading, Kind, SEGMENT_HEADER};
use super::{BLOCK, Part};

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
    /// Where its file ends.
    pub(super) size: u64,
    /// What lies in front of this is dead and was given back to the disk.
    pub(super) given_back: u64,
    /// Nothing is written behind the last frame.
    pub(super) clean: bool,
}

/// What a file of the journal turned out to be.
pub(super) enum Found {
    Segment {
        segment: Segment,
        /// The highest row that a mark in it says was durable.
        marked: u64,
    },
    /// A crash came before its first sync.
    Unfinished,
}

impl Segment {
    pub(super) fn path(directory: &Path, first: u64) -> PathBuf {
        directory.join(format!("{first:020}.{EXTENSION}"))
    }

    /// The segments in a directory, oldest first.
    pub(super) fn list(directory: &Path) -> io::Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == EXTENSION) {
                found.push(path);
            }
        }
        found.sort();
        Ok(found)
    }

    /// Reads a file's bytes for what they are.
    ///
    /// # Errors
    /// Why they are no segment, in words.
    pub(super) fn read(path: PathBuf, bytes: &[u8]) -> Result<Found, String> {
        let Heading { first, salt } = match Heading::decode(bytes) {
            Ok(heading) => heading,
            // It is synced before anything else is written to it.
            Err(_) if bytes.iter().all(|&byte| byte == 0) => return Ok(Found::Unfinished),
            Err(what) => return Err(what),
        };
        let named = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
        if named != Some(first) {
            return Err(format!("it says that it begins with row {first}"));
        }
        let (mut end, mut marked) = (SEGMENT_HEADER as u64, 0);
        let mut places: Vec<Place> = Vec::new();
        for frame in Frames::of(bytes, salt) {
            let follows = places.last().is_none_or(|last| last.ticket < frame.ticket);
            match frame.kind {
                Kind::Mark => marked = marked.max(frame.ticket),
                // What is searched for where nothing can be read may be found in what is dead.
                Kind::Row if !follows || frame.ticket < first => continue,
                Kind::Row => {
                    let (at, len) = (frame.at as u32, frame.len as u32);
                    places.push(Place { ticket: frame.ticket, at, len });
                }
            }
            end = frame.end() as u64;
        }
        let clean = usize::try_from(end).ok().and_then(|end| bytes.get(end..)).unwrap_or_default();
        let clean = clean.iter().all(|&byte| byte == 0);
        let size = bytes.len() as u64;
        // What was dead in front of its rows was given back, all but the block of the header.
        let in_front =
            places.first().map_or(0, |place| (u64::from(place.at) - HEADER as u64) / BLOCK * BLOCK);
        let given_back = if in_front > BLOCK { in_front } else { 0 };
        let segment = Self { path, first, salt, places, end, size, given_back, clean };
        Ok(Found::Segment { segment, marked })
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

    pub(super) fn open(&self) -> io::Result<File> {
        File::open(&self.path)
    }
}
