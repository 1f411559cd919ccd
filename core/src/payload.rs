//! Payload bytes, carried as pieces so that nothing is copied to make them contiguous.

use alloc::vec::Vec;
use core::fmt;

use bytes::{Buf, Bytes, BytesMut};
use smallvec::SmallVec;

/// A run of bytes held as a list of shared pieces. Cloning shares, slicing shares, joining appends.
#[derive(Clone, Default)]
pub struct Payload {
    /// One nearly always: it needs no memory of its own.
    pieces: SmallVec<[Bytes; 1]>,
    len: usize,
}

impl Payload {
    /// No bytes.
    #[must_use]
    pub fn new() -> Self {
        Self { pieces: SmallVec::new(), len: 0 }
    }

    /// Length in bytes.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no bytes.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends a piece without copying it.
    pub fn push(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.len += piece.len();
            self.pieces.push(piece);
        }
    }

    /// Appends all pieces of `other` without copying them.
    pub fn append(&mut self, other: Self) {
        self.len += other.len;
        self.pieces.extend(other.pieces);
    }

    /// The pieces in order.
    #[must_use]
    pub fn pieces(&self) -> &[Bytes] {
        &self.pieces
    }

    /// The bytes `from..from + len` as one piece: shared if they lie within one piece, copied otherwise.
    /// `None` if the range reaches past the end.
    #[must_use]
    pub fn slice(&self, from: usize, len: usize) -> Option<Bytes> {
        if from.checked_add(len)? > self.len {
            return None;
        }
        let mut skip = from;
        let mut gathered: Option<BytesMut> = None;
        for piece in &self.pieces {
            if skip >= piece.len() {
                skip -= piece.len();
                continue;
            }
            let have = gathered.as_ref().map_or(0, BytesMut::len);
            let take = (len - have).min(piece.len() - skip);
            if have == 0 && take == len {
                return Some(piece.slice(skip..skip + take));
            }
            gathered
                .get_or_insert_with(|| BytesMut::with_capacity(len))
                .extend_from_slice(&piece[skip..skip + take]);
            skip = 0;
            if have + take == len {
                break;
            }
        }
        Some(gathered.unwrap_or_default().freeze())
    }

    /// All bytes as one piece: shared if there is one piece, copied otherwise.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        self.slice(0, self.len).unwrap_or_default()
    }

    /// Copies all bytes to the end of `out`.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        for piece in &self.pieces {
            out.extend_from_slice(piece.chunk());
        }
    }
}

impl From<Bytes> for Payload {
    fn from(piece: Bytes) -> Self {
        let mut payload = Self::new();
        payload.push(piece);
        payload
    }
}

impl PartialEq for Payload {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len
            && self.pieces.iter().flat_map(|p| p.iter()).eq(other.pieces.iter().flat_map(|p| p.iter()))
    }
}

impl Eq for Payload {}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} bytes in {} pieces)", self.len, self.pieces.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_share_within_a_piece_and_gather_across_pieces() {
        let mut payload = Payload::from(Bytes::from_static(b"hello "));
        payload.push(Bytes::from_static(b"wide "));
        payload.push(Bytes::from_static(b"world"));
        assert_eq!(payload.slice(6, 4).as_deref(), Some(&b"wide"[..]));
        assert_eq!(payload.slice(4, 9).as_deref(), Some(&b"o wide wo"[..]));
        assert_eq!(payload.slice(0, 16).as_deref(), Some(&b"hello wide world"[..]));
        assert_eq!(payload.slice(16, 0).as_deref(), Some(&b""[..]));
        assert_eq!(payload.slice(12, 5), None);
    }
}
