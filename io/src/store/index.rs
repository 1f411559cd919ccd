//! Where every row lies, and how it is read again.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;
use wattle_core::id::Ticket;

use super::segment::{Place, Segment};
use super::{Files, StoreError, System, about};

/// The segments, for the thread that writes and the one that loads.
#[derive(Clone, Debug)]
pub(super) struct Shared<F> {
    index: Arc<RwLock<Index>>,
    files: F,
}

#[derive(Debug, Default)]
pub(super) struct Index {
    pub(super) segments: VecDeque<Segment>,
    /// Rows below this one are gone, whatever the files still hold.
    pub(super) below: u64,
}

impl<F> Shared<F> {
    pub(super) fn new(files: F) -> Self {
        Self { index: Arc::default(), files }
    }

    pub(super) fn read(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn write(&self) -> RwLockWriteGuard<'_, Index> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Index {
    fn find(&self, part: &Part) -> Option<(&Segment, Place)> {
        if part.row.0 < self.below {
            return None;
        }
        let behind = self.segments.partition_point(|segment| segment.first <= part.row.0);
        let segment = self.segments.get(behind.checked_sub(1)?)?;
        Some((segment, segment.find(part)?))
    }
}

/// Reads committed rows.
#[derive(Clone, Debug)]
pub struct Reader<F = System> {
    pub(super) shared: Shared<F>,
}

impl<F: Files> Reader<F> {
    /// Reads parts of rows. A row or part that is not there gives `None`.
    ///
    /// # Errors
    /// The store's.
    pub fn load(&self, parts: &[Part]) -> Result<Vec<Option<Bytes>>, StoreError> {
        let files = &self.shared.files;
        let mut open: Option<(u64, PathBuf, F::File)> = None;
        let mut loaded = Vec::with_capacity(parts.len());
        for part in parts {
            let index = self.shared.read();
            let found = index
                .find(part)
                .filter(|(_, place)| part.offset.checked_add(part.len).is_some_and(|end| end <= place.len));
            let Some((segment, place)) = found else {
                loaded.push(None);
                continue;
            };
            // A row is there as long as its file is in the index.
            if open.as_ref().is_none_or(|(first, _, _)| *first != segment.first) {
                let file = files.open_to_read(&segment.path).map_err(about(&segment.path))?;
                open = Some((segment.first, segment.path.clone(), file));
            }
            drop(index);
            let Some((_, path, file)) = &open else { continue };
            let mut bytes = vec![0; part.len as usize];
            let at = u64::from(place.at) + u64::from(part.offset);
            files.read_at(file, &mut bytes, at).map_err(about(path))?;
            loaded.push(Some(Bytes::from(bytes)));
        }
        Ok(loaded)
    }
}

/// A part of a row.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// The row.
    pub row: Ticket,
    /// First byte.
    pub offset: u32,
    /// How many.
    pub len: u32,
}
