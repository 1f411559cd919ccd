//! What counts of the identity of nodes that exist twice, or did: it goes where link states go, and is read and believed elsewhere.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use bytes::Bytes;

use super::Output;
use super::message::{Message, TableDigest};
use super::routes::Routes;
use super::wire::RECORDS_IN_MESSAGE;
use crate::id::NodeId;

/// A record, encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Two that are equally late say the same to all who need it.
    pub lateness: u64,
    /// Not read here.
    pub bytes: Bytes,
}

/// All that are known.
#[derive(Clone, Debug, Default)]
pub(super) struct Records(BTreeMap<NodeId, Record>);

impl Records {
    /// All of them, for a neighbour that needs the whole table.
    pub(super) fn messages(&self, to: NodeId) -> Vec<Output> {
        let all: Vec<Bytes> = self.0.values().map(|record| record.bytes.clone()).collect();
        let message = |records: &[Bytes]| Output::Send { to, message: Message::Records(records.to_vec()) };
        all.chunks(RECORDS_IN_MESSAGE).map(message).collect()
    }
}

impl Routes {
    /// Something else counts of a node's identity from now on: neighbours are told at once.
    pub(super) fn on_record(&mut self, node: NodeId, record: Option<Record>) {
        let Some(record) = record else { return drop(self.records.0.remove(&node)) };
        for &to in self.links.keys() {
            let message = Message::Records(Vec::from([record.bytes.clone()]));
            self.outputs.push_back(Output::Send { to, message });
        }
        self.records.0.insert(node, record);
    }

    /// What neighbours compare.
    pub(super) fn digest(&self) -> TableDigest {
        let table = self.table.digest();
        if self.records.0.is_empty() {
            return table;
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(&table.0);
        for (node, record) in &self.records.0 {
            hasher.update(&node.to_bytes());
            hasher.update(&record.lateness.to_le_bytes());
        }
        let mut digest = [0; 16];
        digest.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        TableDigest(digest)
    }
}
