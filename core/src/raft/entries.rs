//! Runs of entries that are shared, not copied: the log, the messages to all members, the write and the owner hold the same memory.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::{Deref, Range};

use super::message::{Entry, EntryKind};

/// A run of entries, as cheap to clone and to cut as a pointer.
#[derive(Clone, Default)]
pub struct Entries {
    run: Option<Arc<[Entry]>>,
    start: u32,
    /// Behind the last, and [`CONFIGURES`].
    end: u32,
}

/// Whether any of the run changes the configuration: most runs change none, and need not be looked through.
const CONFIGURES: u32 = 1 << 31;

impl Entries {
    /// An empty run.
    #[must_use]
    pub const fn new() -> Self {
        Self { run: None, start: 0, end: 0 }
    }

    /// Makes a run of what was gathered. Room for one entry stays: most who gather, gather one again.
    pub(super) fn take(gathered: &mut Vec<Entry>) -> Self {
        if gathered.capacity() > 1 {
            return core::mem::take(gathered).into();
        }
        let Some(entry) = gathered.pop() else { return Self::new() };
        let configures = if entry.kind == EntryKind::Configuration { CONFIGURES } else { 0 };
        Self { run: Some(Arc::new([entry])), start: 0, end: 1 | configures }
    }

    /// A part of this run.
    ///
    /// # Panics
    /// If `range` reaches beyond it.
    #[must_use]
    pub fn part(&self, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= self.len(), "a part of {} entries", self.len());
        if range.is_empty() {
            return Self::new();
        }
        let start = self.start + range.start as u32;
        let end = (start + range.len() as u32) | (self.end & CONFIGURES);
        Self { run: self.run.clone(), start, end }
    }

    /// Those that change the configuration.
    pub(super) fn configurations(&self) -> impl Iterator<Item = &Entry> {
        let all: &[Entry] = if self.end & CONFIGURES > 0 { self } else { &[] };
        all.iter().filter(|entry| entry.kind == EntryKind::Configuration)
    }
}

impl Deref for Entries {
    type Target = [Entry];

    fn deref(&self) -> &[Entry] {
        self.run.as_ref().map_or(&[], |run| &run[self.start as usize..(self.end & !CONFIGURES) as usize])
    }
}

impl From<Vec<Entry>> for Entries {
    fn from(entries: Vec<Entry>) -> Self {
        let count = u32::try_from(entries.len()).ok().filter(|count| *count < CONFIGURES);
        let Some(count) = count else { unreachable!("messages and logs hold fewer") };
        let changes = entries.iter().any(|entry| entry.kind == EntryKind::Configuration);
        let run = (count > 0).then(|| Arc::from(entries));
        Self { run, start: 0, end: if changes { count | CONFIGURES } else { count } }
    }
}

impl FromIterator<Entry> for Entries {
    fn from_iter<I: IntoIterator<Item = Entry>>(entries: I) -> Self {
        entries.into_iter().collect::<Vec<_>>().into()
    }
}

impl<'a> IntoIterator for &'a Entries {
    type Item = &'a Entry;
    type IntoIter = core::slice::Iter<'a, Entry>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl PartialEq for Entries {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Entries {}

impl core::fmt::Debug for Entries {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::id::{LogIndex, Term};

    fn entry(index: u64, kind: EntryKind) -> Entry {
        Entry { index: LogIndex(index), term: Term(1), kind, data: Bytes::new(), weight: 0 }
    }

    #[test]
    fn a_part_is_the_same_memory_and_parts_of_parts_are_parts() {
        let run: Entries = (1..=5).map(|index| entry(index, EntryKind::Command)).collect();
        let part = run.part(1..4);
        let inner = part.part(1..3);
        assert_eq!(inner.iter().map(|entry| entry.index.0).collect::<Vec<_>>(), [3, 4]);
        assert!(core::ptr::eq(&run[2], &inner[0]));
        assert_eq!(inner.part(1..1), Entries::new());
        assert!(run.configurations().next().is_none());
        let changes: Entries =
            [EntryKind::Blank, EntryKind::Configuration].into_iter().map(|kind| entry(1, kind)).collect();
        assert_eq!(changes.configurations().count(), 1);
        assert_eq!(changes.part(0..1).configurations().count(), 0);
    }
}
