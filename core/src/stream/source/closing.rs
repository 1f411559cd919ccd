//! Writers that write no more: refused from the moment it is asked for, also after a restart.

use super::super::Output;
use super::super::common::Common;
use super::super::member::Stream;
use super::super::store::{forget, key, space};
use super::super::wire::encode_closing;
use crate::id::WriterId;
use crate::record::Record;
use crate::sometimes;

impl Stream {
    /// From now on nothing of this writer is accepted. The record is written before the entry can be, so a start that finds the entry
    /// in its log, not yet applied, refuses as well.
    pub(super) fn close_from_now_on(&mut self, common: &mut Common, writer: WriterId) {
        if self.source.closing.contains_key(&writer) {
            return;
        }
        let slot = self.source.closing_slot + 1;
        self.restore_closing(slot, writer);
        let key = key(self.instance, space::CLOSING, slot);
        common.emit(Output::Persist(Record::state(key, encode_closing(writer))));
    }

    /// A record says that this writer is to be closed.
    pub(in crate::stream) fn restore_closing(&mut self, slot: u64, writer: WriterId) {
        self.source.closing_slot = self.source.closing_slot.max(slot);
        self.source.closing_records.insert(slot, writer);
    }

    /// An earlier start was asked to close these writers: it is proposed again, though nobody waits for it here.
    pub(super) fn go_on_closing(&mut self) {
        for &writer in self.source.closing_records.values() {
            if !self.head.writers.get(writer).closed {
                sometimes!(ClosingTakenUp);
                self.source.closing.entry(writer).or_default();
            }
        }
    }

    /// The state at the floor, which is being written, says of some writers that they are closed: their records are dead.
    pub(in crate::stream) fn drop_closing_records(&mut self, common: &mut Common) {
        let before = self.source.closing_records.len();
        let closed = &self.floor.writers;
        self.source.closing_records.retain(|_, writer| !closed.get(*writer).closed);
        if self.source.closing_records.len() < before {
            let next = self.source.closing_slot + 1;
            let below = self.source.closing_records.keys().next().copied().unwrap_or(next);
            common.emit(Output::Forget(forget(self.instance, space::CLOSING, below)));
        }
    }
}
