//! What a segment of the journal is made of. A row is framed by 24 bytes that tell where it ends; what it says is checked by the core.
//!
//! ```text
//! segment  offset  size  field
//!               0     8  "WTLSEGMT"
//!               8     4  version (1)
//!              12     4  CRC-32C of the other 28 bytes
//!              16     8  the ticket of its first row, which is its name too
//!              24     8  salt: random
//!            4096        frames, each at a multiple of 8
//!
//! frame         0     4  "WTLR": a row; "WTLS": a mark, without content
//!               4     4  length of the content
//!               8     8  the row's ticket; of a mark: every row up to this one was durable
//!              16     4  CRC-32C of the salt and of the 16 bytes before
//!              20     4  zero
//!              24        the content, and zeros up to the next multiple of 8
//! ```
//! Integers are little endian.
//!
//! Where no frame can be read, the next one is looked for: a damaged frame must not hide that there are rows behind it. The salt keeps what
//! people publish from passing for a frame there.

use bytes::Bytes;
use wattle_core::crc32c::Crc32c;

const SEGMENT_MAGIC: [u8; 8] = *b"WTLSEGMT";
const VERSION: u32 = 1;
/// Bytes of a segment before its frames: a block, so that all frames can be given back.
pub(super) const SEGMENT_HEADER: usize = 4096;
const HEADING: usize = 32;

const ROW: [u8; 4] = *b"WTLR";
const MARK: [u8; 4] = *b"WTLS";
pub(super) const HEADER: usize = 24;
const CHECKED: usize = 16;
const ALIGNMENT: usize = 8;

/// The fixed part of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Heading {
    pub(super) first: u64,
    pub(super) salt: u64,
}

fn number(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes)
}

fn short(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_le_bytes)
}

impl Heading {
    fn crc(bytes: &[u8; HEADING]) -> u32 {
        let mut crc = Crc32c::new();
        crc.update(&bytes[..12]);
        crc.update(&bytes[16..]);
        crc.finish()
    }

    pub(super) fn encode(self) -> [u8; HEADING] {
        let mut bytes = [0; HEADING];
        bytes[..8].copy_from_slice(&SEGMENT_MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.first.to_le_bytes());
        bytes[24..].copy_from_slice(&self.salt.to_le_bytes());
        let crc = Self::crc(&bytes);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Whether these bytes may be what a crash left of the write that begins a segment: nothing, or a part of the beginning.
    pub(super) fn is_unfinished(segment: &[u8]) -> bool {
        let (heading, rest) = segment.split_at(segment.len().min(HEADING));
        let begins = heading.iter().zip(&SEGMENT_MAGIC).all(|(byte, magic)| *byte == 0 || byte == magic);
        let whole = segment.first_chunk().is_some_and(|bytes| short(bytes, 12) == Self::crc(bytes));
        begins && !whole && rest.iter().all(|&byte| byte == 0)
    }

    /// Reads the beginning of a segment.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub(super) fn decode(segment: &[u8]) -> Result<Self, String> {
        let bytes: &[u8; HEADING] =
            segment.first_chunk().ok_or("it is shorter than the header of a segment")?;
        if bytes[..8] != SEGMENT_MAGIC {
            return Err("it does not begin like a segment of a journal".to_owned());
        }
        if short(bytes, 12) != Self::crc(bytes) {
            return Err("the checksum of its header does not match".to_owned());
        }
        let version = short(bytes, 8);
        if version != VERSION {
            return Err(format!("it is a segment of format {version}, this build reads {VERSION}"));
        }
        Ok(Self { first: number(bytes, 16), salt: number(bytes, 24) })
    }
}

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Row,
    Mark,
}

/// A frame as found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) kind: Kind,
    pub(super) ticket: u64,
    /// Where the content begins, and how long it is.
    pub(super) at: usize,
    pub(super) len: usize,
}

impl Frame {
    /// Where the next frame begins.
    pub(super) fn end(&self) -> usize {
        (self.at + self.len).next_multiple_of(ALIGNMENT)
    }

    /// The frame that begins at `at`, if there is a whole one.
    fn read(segment: &[u8], salt: u64, at: usize) -> Option<Self> {
        let header: &[u8; HEADER] = segment.get(at..)?.first_chunk()?;
        let kind = match *header.first_chunk()? {
            ROW => Kind::Row,
            MARK => Kind::Mark,
            _ => return None,
        };
        if short(header, CHECKED) != crc(salt, header) {
            return None;
        }
        let frame = Self { kind, ticket: number(header, 8), at: at + HEADER, len: short(header, 4) as usize };
        (frame.at + frame.len <= segment.len()).then_some(frame)
    }
}

fn crc(salt: u64, header: &[u8; HEADER]) -> u32 {
    let mut crc = Crc32c::new();
    crc.update(&salt.to_le_bytes());
    crc.update(&header[..CHECKED]);
    crc.finish()
}

/// Bytes that a row of that length takes.
pub(super) const fn framed(len: usize) -> usize {
    HEADER + len.next_multiple_of(ALIGNMENT)
}

/// Appends a frame. Returns where in `out` its content begins.
pub(super) fn put(out: &mut Vec<u8>, salt: u64, kind: Kind, ticket: u64, content: &[Bytes]) -> usize {
    let len: usize = content.iter().map(Bytes::len).sum();
    let mut header = [0; HEADER];
    header[..4].copy_from_slice(match kind {
        Kind::Row => &ROW,
        Kind::Mark => &MARK,
    });
    // Rows are a few hundred MiB at most: what makes them is bounded by the core.
    header[4..8].copy_from_slice(&(len as u32).to_le_bytes());
    header[8..16].copy_from_slice(&ticket.to_le_bytes());
    let crc = crc(salt, &header);
    header[CHECKED..CHECKED + 4].copy_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(&header);
    let at = out.len();
    content.iter().for_each(|piece| out.extend_from_slice(piece));
    out.resize(at + len.next_multiple_of(ALIGNMENT), 0);
    at
}

/// All frames of a segment that can be read.
pub(super) struct Frames<'a> {
    segment: &'a [u8],
    salt: u64,
    at: usize,
}

impl<'a> Frames<'a> {
    pub(super) fn of(segment: &'a [u8], salt: u64) -> Self {
        Self { segment, salt, at: SEGMENT_HEADER }
    }
}

impl Iterator for Frames<'_> {
    type Item = Frame;

    fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = Frame::read(self.segment, self.salt, self.at) {
                self.at = frame.end();
                return Some(frame);
            }
            let rest = self.segment.get(self.at + ALIGNMENT..)?;
            let begins = |place: &[u8]| place[..4] == ROW || place[..4] == MARK;
            self.at += ALIGNMENT * (1 + rest.chunks_exact(ALIGNMENT).position(begins)?);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SALT: u64 = 0x1234_5678_9ABC_DEF0;

    fn segment(rows: &[&'static [u8]]) -> Vec<u8> {
        let mut out = Heading { first: 1, salt: SALT }.encode().to_vec();
        out.resize(SEGMENT_HEADER, 0);
        for (ticket, row) in (1..).zip(rows) {
            let at = put(&mut out, SALT, Kind::Row, ticket, &[Bytes::from_static(row)]);
            assert_eq!(&out[at..at + row.len()], *row);
            assert_eq!(out.len() % ALIGNMENT, 0);
        }
        out
    }

    fn tickets(segment: &[u8]) -> Vec<u64> {
        Frames::of(segment, SALT).map(|frame| frame.ticket).collect()
    }

    #[test]
    fn frames_come_back_in_order_and_the_end_is_where_none_follows() {
        let mut bytes = segment(&[b"one", b"", b"three of them"]);
        let end = bytes.len();
        put(&mut bytes, SALT, Kind::Mark, 3, &[]);
        bytes.resize(bytes.len() + 4096, 0);
        let frames: Vec<Frame> = Frames::of(&bytes, SALT).collect();
        assert_eq!(frames.iter().map(|frame| frame.len).collect::<Vec<_>>(), [3, 0, 13, 0]);
        assert_eq!(frames[2].end(), end);
        assert_eq!((frames[3].kind, frames[3].at), (Kind::Mark, end + HEADER));
    }

    #[test]
    fn a_damaged_frame_does_not_hide_those_behind_it() {
        let whole = segment(&[b"first row of this segment", b"second row of this segment", b"third"]);
        for bit in SEGMENT_HEADER * 8..(SEGMENT_HEADER + HEADER - 4) * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(tickets(&bytes), [2, 3], "bit {bit}");
        }
    }

    #[test]
    fn content_that_looks_like_a_frame_is_none() {
        let mut forged = Vec::new();
        put(&mut forged, SALT ^ 1, Kind::Row, 9, &[Bytes::from_static(b"forged")]);
        let mut bytes = segment(&[]);
        put(&mut bytes, SALT, Kind::Row, 1, &[Bytes::from(forged)]);
        put(&mut bytes, SALT, Kind::Row, 2, &[Bytes::from_static(b"behind")]);
        // The frame around it cannot be read: its content is searched.
        bytes[SEGMENT_HEADER + 5] ^= 1;
        assert_eq!(tickets(&bytes), [2]);
    }

    #[test]
    fn every_flipped_bit_of_a_segments_header_is_noticed() {
        let heading = Heading { first: 77, salt: SALT };
        let bytes = heading.encode();
        assert_eq!(Heading::decode(&bytes), Ok(heading));
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(Heading::decode(&damaged).is_err(), "bit {bit}");
        }
        assert!(Heading::decode(&bytes[..31]).is_err());
    }

    #[test]
    fn a_frame_takes_the_bytes_that_are_counted_for_it() {
        for len in 0..40 {
            let mut out = Vec::new();
            put(&mut out, SALT, Kind::Row, 1, &[Bytes::from(vec![1; len])]);
            assert_eq!(out.len(), framed(len), "{len}");
        }
    }
}
