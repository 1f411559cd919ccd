//! The gate: an append for a stream's log goes to the consensus group only as far as the bytes of its entries are here (rule B1).
//!
//! The prefix, the term and the commit index (clamped to the prefix) pass at once; the rest is held, one append per group, and offered
//! again when bytes arrive. What cannot be held is dropped: the acknowledgement says that the append was cut, and the group asks again (B2).

use alloc::collections::BTreeMap;

use crate::id::{GroupId, NodeId};
use crate::raft;

/// Most groups with a held append.
const HELD_MAX: usize = 4096;

/// Appends that wait for bytes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gate {
    held: BTreeMap<GroupId, (NodeId, raft::Message)>,
}

impl Gate {
    /// Splits an append at its first entry whose bytes are missing and keeps the rest. Returns what may pass now.
    pub(crate) fn offer(
        &mut self,
        group: GroupId,
        from: NodeId,
        message: raft::Message,
        mut admit: impl FnMut(&[u8]) -> bool,
    ) -> raft::Message {
        let Some(append) = message.append() else { return message };
        let passing = append.entries.iter().take_while(|entry| match entry.kind {
            raft::EntryKind::Command => admit(&entry.data),
            raft::EntryKind::Blank | raft::EntryKind::Configuration => true,
        });
        let passing = passing.count();
        if passing == append.entries.len() {
            // Anything older that is held would only repeat or contradict this.
            self.held.remove(&group);
            return message;
        }
        let mut passed = message.clone();
        passed.cut(passing);
        if self.held.contains_key(&group) || self.held.len() < HELD_MAX {
            self.held.insert(group, (from, message));
        }
        passed
    }

    /// Takes what is held for a group, to be offered again.
    pub(crate) fn take(&mut self, group: GroupId) -> Option<(NodeId, raft::Message)> {
        self.held.remove(&group)
    }
}
