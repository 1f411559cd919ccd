//! Digests: BLAKE3 over payloads, and the chain that makes two logs comparable at one place.

use core::fmt;

use xxhash_rust::xxh3::xxh3_128;

use crate::id::{LogIndex, Term};
use crate::payload::Payload;

/// BLAKE3 of a batch's payload.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The digest of `payload`.
    #[must_use]
    pub fn of(payload: &Payload) -> Self {
        let mut hasher = blake3::Hasher::new();
        for piece in payload.pieces() {
            hasher.update(piece);
        }
        Self(*hasher.finalize().as_bytes())
    }

    /// The digest of plain bytes.
    #[must_use]
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// Reads the 32-byte form; `None` for any other length.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        Some(Self(bytes.try_into().ok()?))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in &self.0[..6] {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

/// The chained digest of a log up to and including one entry: equal chains at a place mean equal logs up to there. It tells disks that forgot
/// from disks that did not, among members that are authenticated; so a fast hash does (XXH3, 128 bits), and no secret is needed.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Chain(pub [u8; 16]);

impl Chain {
    /// The chain of an empty log.
    pub const EMPTY: Self = Self([0; 16]);

    /// The chain after one more entry. `data` is the entry as encoded in the log (bounded: payloads are referred to by digest).
    #[must_use]
    pub fn then(self, term: Term, index: LogIndex, kind: u8, data: &[u8]) -> Self {
        let content = xxh3_128(data);
        let mut link = [0; 49];
        link[..16].copy_from_slice(&self.0);
        link[16..24].copy_from_slice(&term.0.to_le_bytes());
        link[24..32].copy_from_slice(&index.0.to_le_bytes());
        link[32..48].copy_from_slice(&content.to_le_bytes());
        link[48] = kind;
        Self(xxh3_128(&link).to_le_bytes())
    }

    /// Reads the 16-byte form; `None` for any other length.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        Some(Self(bytes.try_into().ok()?))
    }
}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in &self.0[..4] {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}
