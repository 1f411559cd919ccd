//! Rows in redb: one table from ticket to bytes, one transaction and so one sync per batch.
//!
//! Rows only ever grow at the high end and are trimmed at the low end. The store trusts its caller with the order of tickets
//! and trusts the disk with nothing: bytes are handed to the core as they were read, which checks them.
//!
//! A commit that finds the disk full gives up the reserve and writes again, below redb, before anything was synced: redb
//! takes any error it sees as final. What still fails after that is final here too.

use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use bytes::Bytes;
use redb::backends::FileBackend;
use redb::{
    Database, ReadableDatabase as _, ReadableTable as _, StorageBackend, TableDefinition, TableError,
};
use wattle_core::id::Ticket;
use wattle_core::payload::Payload;

use crate::space::{Reserve, is_full};

const ROWS: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("rows");

/// Rows that one commit trims at least, so that a long trim never holds up a write for long.
const TRIM_ROWS: u64 = 1024;
/// Rows that one commit may trim for each row it writes, so that trimming keeps ahead of writing.
const TRIM_ROWS_PER_WRITTEN: u64 = 4;

/// What the store says went wrong.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StoreError(Box<redb::Error>);

impl StoreError {
    fn new(error: impl Into<redb::Error>) -> Self {
        Self(Box::new(error.into()))
    }
}

/// Why recovery ended early.
#[derive(Debug)]
pub enum RecoveryError<E> {
    /// The store cannot be read.
    Store(StoreError),
    /// Whoever took the rows refused one.
    Refused(E),
}

/// Held for reading by all who use the database, and for writing to compact it.
#[derive(Clone, Debug)]
struct Shared(Arc<RwLock<Database>>);

impl Shared {
    fn get(&self) -> RwLockReadGuard<'_, Database> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The rows of one node.
#[derive(Debug)]
pub struct Store {
    database: Shared,
    /// The lowest row that may still be there.
    first: u64,
    /// Rows below this one are to go.
    trim_below: u64,
    used: u64,
}

impl Store {
    /// Opens the journal, or makes it. After a crash this reads the whole file, unless the last commit was a quick one.
    ///
    /// # Errors
    /// What the store said: not a journal, damaged beyond repair, unreadable.
    pub fn open(path: &Path, cache_bytes: usize, reserve: Arc<Reserve>) -> Result<Self, StoreError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(redb::StorageError::from)
            .map_err(StoreError::new)?;
        let backend = FileBackend::new(file).map_err(StoreError::new)?;
        let store = Self::open_backend(backend, cache_bytes, reserve)?;
        if let Some(directory) = path.parent() {
            // Else a power failure might take the file's name, and with it all that was synced into it.
            let synced = File::open(directory).and_then(|directory| directory.sync_all());
            synced.map_err(redb::StorageError::from).map_err(StoreError::new)?;
        }
        Ok(store)
    }

    fn open_backend(
        backend: impl StorageBackend,
        cache_bytes: usize,
        reserve: Arc<Reserve>,
    ) -> Result<Self, StoreError> {
        let database = Database::builder()
            .set_cache_size(cache_bytes)
            .set_repair_callback(|session| {
                tracing::info!(progress = session.progress(), "the journal was not closed: checking it");
            })
            .create_with_backend(Reserving { inner: backend, reserve })
            .map_err(StoreError::new)?;
        // Only where it is missing: a commit would make the next opening slow, should the process die right after it.
        let known = database.begin_read().map_err(StoreError::new)?.open_table(ROWS).map(drop);
        match known {
            Ok(()) => {}
            Err(TableError::TableDoesNotExist(_)) => {
                let transaction = database.begin_write().map_err(StoreError::new)?;
                transaction.open_table(ROWS).map_err(StoreError::new)?;
                transaction.commit().map_err(StoreError::new)?;
            }
            Err(error) => return Err(StoreError::new(error)),
        }
        Ok(Self { database: Shared(Arc::new(RwLock::new(database))), first: 0, trim_below: 0, used: 0 })
    }

    /// Hands over every row in rising order of tickets. To be called once, before the first commit.
    ///
    /// # Errors
    /// [`RecoveryError`]: the store's, or whatever `take` said of a row.
    pub fn recover<E>(
        &mut self,
        mut take: impl FnMut(Ticket, Bytes) -> Result<(), E>,
    ) -> Result<(), RecoveryError<E>> {
        let failed = |error: redb::StorageError| RecoveryError::Store(StoreError::new(error));
        let database = self.database.get();
        let transaction =
            database.begin_read().map_err(|error| RecoveryError::Store(StoreError::new(error)))?;
        let table =
            transaction.open_table(ROWS).map_err(|error| RecoveryError::Store(StoreError::new(error)))?;
        let mut first = None;
        for row in table.iter().map_err(failed)? {
            let (ticket, bytes) = row.map_err(failed)?;
            first.get_or_insert(ticket.value());
            self.used += footprint(bytes.value().len());
            take(Ticket(ticket.value()), Bytes::copy_from_slice(bytes.value()))
                .map_err(RecoveryError::Refused)?;
        }
        self.first = first.unwrap_or(0);
        Ok(())
    }

    /// Rows below this one may go; the next commits take them away, a bounded number each.
    pub fn trim(&mut self, below: Ticket) {
        self.trim_below = self.trim_below.max(below.0);
    }

    /// Whether rows wait to be taken away.
    #[must_use]
    pub fn has_trims(&self) -> bool {
        self.first < self.trim_below
    }

    /// Bytes that the rows need on disk, about.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.used
    }

    /// Writes rows and takes trimmed ones away, in one transaction with one sync. A `quick` commit costs a second sync and
    /// makes the next opening quick, should the process die before another commit.
    ///
    /// # Errors
    /// The store's. It takes no commit after one that failed.
    pub fn commit(&mut self, rows: &[(Ticket, Payload)], quick: bool) -> Result<(), StoreError> {
        let mut transaction = self.database.get().begin_write().map_err(StoreError::new)?;
        transaction.set_quick_repair(quick);
        let quota = TRIM_ROWS + TRIM_ROWS_PER_WRITTEN * rows.len() as u64;
        let below = self.trim_below.min(self.first.saturating_add(quota));
        let mut freed = 0;
        let mut written = 0;
        {
            let mut table = transaction.open_table(ROWS).map_err(StoreError::new)?;
            for (ticket, row) in rows {
                let mut place = table.insert_reserve(ticket.0, row.len()).map_err(StoreError::new)?;
                let mut rest = place.as_mut();
                for piece in row.pieces() {
                    let (here, after) = rest.split_at_mut(piece.len());
                    here.copy_from_slice(piece);
                    rest = after;
                }
                written += footprint(row.len());
            }
            if self.first < below {
                let gone = |_, row: &[u8]| {
                    freed += footprint(row.len());
                    false
                };
                table.retain_in(self.first..below, gone).map_err(StoreError::new)?;
            }
        }
        transaction.commit().map_err(StoreError::new)?;
        self.first = self.first.max(below);
        self.used = (self.used + written).saturating_sub(freed);
        Ok(())
    }

    /// Moves the rows together and gives what is left of the file back to the disk. Takes as long as writing all rows again;
    /// loads and commits wait.
    ///
    /// # Errors
    /// The store's. It takes no commit after that.
    pub fn compact(&mut self) -> Result<(), StoreError> {
        let mut database = self.database.0.write().unwrap_or_else(PoisonError::into_inner);
        database.compact().map_err(StoreError::new)?;
        Ok(())
    }

    /// A reader of committed rows, for another thread.
    #[must_use]
    pub fn reader(&self) -> Reader {
        Reader { database: self.database.clone() }
    }
}

/// Reads committed rows.
#[derive(Clone, Debug)]
pub struct Reader {
    database: Shared,
}

impl Reader {
    /// Reads parts of rows, all from one view of the store. A row or part that is not there gives `None`.
    ///
    /// # Errors
    /// The store's.
    pub fn load(&self, parts: &[Part]) -> Result<Vec<Option<Bytes>>, StoreError> {
        let database = self.database.get();
        let transaction = database.begin_read().map_err(StoreError::new)?;
        let table = transaction.open_table(ROWS).map_err(StoreError::new)?;
        let mut loaded = Vec::with_capacity(parts.len());
        for part in parts {
            let row = table.get(part.row.0).map_err(StoreError::new)?;
            loaded.push(row.and_then(|row| part.of(row.value()).map(Bytes::copy_from_slice)));
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

impl Part {
    fn of<'a>(&self, row: &'a [u8]) -> Option<&'a [u8]> {
        row.get(self.offset as usize..)?.get(..self.len as usize)
    }
}

/// About what a row takes on disk: small rows share a page, as many as fit; a row over a page has a run of pages of its own,
/// rounded up to a power of two.
fn footprint(len: usize) -> u64 {
    const PAGE: u64 = 4096;
    const PAGE_HEADER: u64 = 8;
    const ROW_HEADER: u64 = 12;
    let row = len as u64 + ROW_HEADER;
    match (PAGE - PAGE_HEADER) / row {
        0 => (row + PAGE_HEADER).next_power_of_two(),
        rows_per_page => PAGE / rows_per_page,
    }
}

/// Storage that gives up the reserve rather than fail for want of space.
#[derive(Debug)]
struct Reserving<B> {
    inner: B,
    reserve: Arc<Reserve>,
}

impl<B: StorageBackend> Reserving<B> {
    fn with_reserve(&self, write: impl Fn(&B) -> io::Result<()>) -> io::Result<()> {
        match write(&self.inner) {
            Err(error) if is_full(&error) && self.reserve.give_up() => write(&self.inner),
            result => result,
        }
    }
}

impl<B: StorageBackend> StorageBackend for Reserving<B> {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.inner.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.with_reserve(|inner| inner.set_len(len))
    }

    /// Never made again: after a failed sync nobody knows which pages are on disk.
    fn sync_data(&self) -> io::Result<()> {
        self.inner.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.with_reserve(|inner| inner.write(offset, data))
    }

    fn close(&self) -> io::Result<()> {
        self.inner.close()
    }
}

#[cfg(test)]
mod tests;
