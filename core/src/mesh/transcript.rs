//! Hashes over several fields that cannot be shifted into one another: each field is preceded by its length.

/// A hash under way.
pub(super) struct Transcript(blake3::Hasher);

impl Transcript {
    /// A plain hash for one purpose; `purpose` must be unique in the program.
    pub(super) fn plain(purpose: &str) -> Self {
        Self(blake3::Hasher::new_derive_key(purpose))
    }

    /// A hash only the holders of `key` can compute.
    pub(super) fn keyed(key: &[u8; 32], purpose: &str) -> Self {
        Self(blake3::Hasher::new_keyed(key)).field(purpose.as_bytes())
    }

    /// Adds a field.
    pub(super) fn field(mut self, bytes: &[u8]) -> Self {
        self.0.update(&(bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
        self
    }

    /// The result. Comparing two of them takes the same time wherever they differ.
    pub(super) fn finish(&self) -> blake3::Hash {
        self.0.finalize()
    }
}
