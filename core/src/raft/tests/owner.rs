//! What the owner of a group keeps in these tests: the list of what it was given.

use alloc::vec::Vec;

use bytes::Bytes;

use crate::id::{LogIndex, Term};
use crate::raft::{Entry, EntryKind};

/// As it goes into a snapshot.
pub(super) fn encode(applied: &[Entry]) -> Bytes {
    let mut out = Vec::new();
    for entry in applied {
        out.extend_from_slice(&entry.index.0.to_le_bytes());
        out.extend_from_slice(&entry.term.0.to_le_bytes());
        out.push(entry.kind as u8);
        out.extend_from_slice(&(entry.data.len() as u32).to_le_bytes());
        out.extend_from_slice(&entry.data);
    }
    out.into()
}

/// And comes out of one.
pub(super) fn decode(data: &Bytes) -> Vec<Entry> {
    let (mut applied, mut at) = (Vec::new(), 0);
    while at < data.len() {
        let number = |from: usize| u64::from_le_bytes(data[from..from + 8].try_into().expect("8 bytes"));
        let kind =
            [EntryKind::Blank, EntryKind::Command, EntryKind::Configuration][usize::from(data[at + 16])];
        let len = u32::from_le_bytes(data[at + 17..at + 21].try_into().expect("4 bytes")) as usize;
        applied.push(Entry {
            index: LogIndex(number(at)),
            term: Term(number(at + 8)),
            kind,
            data: data.slice(at + 21..at + 21 + len),
            weight: 0,
        });
        at += 21 + len;
    }
    applied
}
