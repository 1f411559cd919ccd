//! Whose disks hold which messages of streams. What publishers are told of that is judged by it (X29).

use bytes::Bytes;

use crate::checker::StreamLedger;
use crate::content;
use crate::disk::payloads::payloads;
use crate::machine::Machine;
use crate::world::World;

impl<M: Machine> World<M> {
    /// A sync ends: what it covers is on a node's disk from now on, whatever becomes of it there.
    pub(crate) fn keeps(&mut self, node: usize) {
        let rows = self.processes[node].disk.under_way();
        rows.for_each(|row| read(&mut self.books.streams, node, row, StreamLedger::on_disk));
    }

    /// A node's disk may hold less than it did, or more than was known to be safe there.
    pub(crate) fn look_at_disk(&mut self, node: usize) {
        self.books.streams.iter_mut().for_each(|ledger| ledger.disk_in_doubt(node));
        let rows = self.processes[node].disk.rows();
        rows.for_each(|(_, row)| read(&mut self.books.streams, node, row, StreamLedger::found_on_disk));
    }
}

fn read(
    ledgers: &mut [StreamLedger],
    node: usize,
    row: &Bytes,
    note: impl Fn(&mut StreamLedger, usize, &[u8]),
) {
    for (instance, bytes) in payloads(row) {
        let named = content::read(&bytes).and_then(|name| ledgers.get_mut(name.stream));
        if let Some(ledger) = named.filter(|ledger| ledger.instance().is_none_or(|known| known == instance)) {
            note(ledger, node, &bytes);
        }
    }
}
