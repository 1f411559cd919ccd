//! The rival: the same rows in one table of redb, from ticket to bytes, one transaction per batch.

use std::path::Path;

use bytes::Bytes;
use redb::{Database, ReadableDatabase as _, ReadableTable as _, StorageBackend, TableDefinition};
use wattle_core::id::Ticket;
use wattle_core::payload::Payload;

const ROWS: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("rows");
const CACHE: usize = 64 << 20;

pub(crate) struct Rival(Database);

impl Rival {
    pub(crate) fn open(backend: impl StorageBackend) -> Self {
        let database = Database::builder().set_cache_size(CACHE).create_with_backend(backend);
        Self(database.expect("a database"))
    }

    pub(crate) fn open_file(path: &Path) -> Self {
        Self(Database::builder().set_cache_size(CACHE).create(path).expect("a database"))
    }

    /// `quick`: with what makes the next opening quick after a crash, which takes a second sync.
    pub(crate) fn commit(&self, rows: &[(Ticket, Payload)], quick: bool) {
        let mut transaction = self.0.begin_write().expect("writable");
        transaction.set_quick_repair(quick);
        {
            let mut table = transaction.open_table(ROWS).expect("rows");
            for (ticket, row) in rows {
                let mut place = table.insert_reserve(ticket.0, row.len()).expect("room");
                let mut rest = place.as_mut();
                for piece in row.pieces() {
                    let (here, after) = rest.split_at_mut(piece.len());
                    here.copy_from_slice(piece);
                    rest = after;
                }
            }
        }
        transaction.commit().expect("committed");
    }

    pub(crate) fn trim(&self, below: Ticket) {
        let transaction = self.0.begin_write().expect("writable");
        transaction.open_table(ROWS).expect("rows").retain_in(0..below.0, |_, _| false).expect("trimmed");
        transaction.commit().expect("committed");
    }

    /// Every row, as a start reads them.
    pub(crate) fn read(&self, mut take: impl FnMut(Ticket, Bytes)) {
        let table = self.0.begin_read().expect("readable").open_table(ROWS).expect("rows");
        for row in table.iter().expect("rows") {
            let (ticket, bytes) = row.expect("a row");
            take(Ticket(ticket.value()), Bytes::copy_from_slice(bytes.value()));
        }
    }
}
