//! The mesh epoch (rule E2): how often the mesh was cut anew, and by what.

use core::fmt;

use crate::digest::Digest;

/// A number, and the digest of what raised the mesh to it. Two nodes at one number with other digests are of two meshes that once were
/// one: nothing merges by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch {
    /// Grows by one each time.
    pub number: u64,
    /// Of what raised the mesh to it; zero while nothing has.
    pub digest: Digest,
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:?})", self.number, self.digest)
    }
}
