//! How much the store has written, for whoever asks from another thread.

use std::sync::atomic::{AtomicU64, Ordering};

/// What was written since the start, and how often the disk was waited for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Bytes handed to the disk: rows with what frames them, marks and headings.
    pub bytes: u64,
    /// Syncs, of files and of the directory.
    pub syncs: u64,
}

/// Counts it.
#[derive(Debug, Default)]
pub struct Tally {
    bytes: AtomicU64,
    syncs: AtomicU64,
}

impl Tally {
    pub(super) fn wrote(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn synced(&self) {
        self.syncs.fetch_add(1, Ordering::Relaxed);
    }

    /// What it comes to until now.
    #[must_use]
    pub fn written(&self) -> Written {
        Written { bytes: self.bytes.load(Ordering::Relaxed), syncs: self.syncs.load(Ordering::Relaxed) }
    }
}
