//! The gate: an append for a stream's log goes to the consensus group only as far as the bytes of its entries are here (rule B1).
//!
//! The prefix, the term and the commit index (clamped to the prefix) pass at once, and the acknowledgement says that the rest waits. The
//! rest is held, one append per group, joined by those that follow it, and offered again when bytes arrive. What cannot be held is dropped,
//! and the group asks for it when bytes arrive (rule B2).

use alloc::collections::BTreeMap;

use crate::id::{GroupId, NodeId};
use crate::raft;

/// Most groups with a held append.
const HELD_MAX: usize = 4096;
/// Most entries held for one group.
const ENTRIES_MAX: usize = 4096;

/// Appends that wait for bytes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gate {
    held: BTreeMap<GroupId, (NodeId, raft::Message)>,
}

impl Gate {
    /// Splits an append at its first entry whose bytes are missing and keeps the whole of it. Returns what may pass now: nothing, if the
    /// append only continues the one that is held.
    pub(crate) fn offer(
        &mut self,
        group: GroupId,
        from: NodeId,
        message: raft::Message,
        mut admit: impl FnMut(&[u8]) -> bool,
    ) -> Option<raft::Message> {
        if self.joins(group, from, &message) {
            return None;
        }
        let Some(append) = message.append() else { return Some(message) };
        let passing = append.entries.iter().take_while(|entry| match entry.kind {
            raft::EntryKind::Command => admit(&entry.data),
            raft::EntryKind::Blank | raft::EntryKind::Configuration => true,
        });
        let passing = passing.count();
        if passing == append.entries.len() {
            // Whatever is held is older, and would only repeat or contradict this.
            self.held.remove(&group);
            return Some(message);
        }
        let mut passed = message.clone();
        passed.cut(passing);
        if self.held.contains_key(&group) || self.held.len() < HELD_MAX {
            self.held.insert(group, (from, message));
        }
        Some(passed)
    }

    /// Adds an append to the held one, if it continues it.
    fn joins(&mut self, group: GroupId, from: NodeId, message: &raft::Message) -> bool {
        let Some((holder, held)) = self.held.get_mut(&group) else { return false };
        let alike = *holder == from
            && (held.sender, held.addressee, held.term) == (message.sender, message.addressee, message.term);
        match (&mut held.body, message.append()) {
            (raft::Body::Append(held), Some(next)) => {
                let end = held.entries.last().map_or(held.previous.index, |entry| entry.index);
                let follows = alike && !held.copy && !next.copy && next.previous.index == end;
                if !follows || held.entries.len() + next.entries.len() > ENTRIES_MAX {
                    return false;
                }
                held.entries.extend(next.entries.iter().cloned());
                held.commit = held.commit.max(next.commit);
                held.durable = next.durable;
                held.number = next.number;
                true
            }
            _ => false,
        }
    }

    /// Takes what is held for a group, to be offered again.
    pub(crate) fn take(&mut self, group: GroupId) -> Option<(NodeId, raft::Message)> {
        self.held.remove(&group)
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use bytes::Bytes;

    use super::*;
    use crate::id::{LogIndex, ReplicaId, Term};
    use crate::raft::{Append, Body, Entry, EntryKind, Message, Place};

    const GROUP: GroupId = GroupId(3);
    const PEER: NodeId = NodeId(9);

    fn append(first: u64, count: u64, commit: u64) -> Message {
        let previous = Place { index: LogIndex(first - 1), ..Place::default() };
        let entry = |index| Entry {
            index: LogIndex(index),
            term: Term(1),
            kind: EntryKind::Command,
            data: Bytes::from(alloc::vec![index as u8]),
            weight: 0,
        };
        let entries = (first..first + count).map(entry).collect();
        let durable = Place::default();
        let body = Append {
            previous,
            commit: LogIndex(commit),
            durable,
            entries,
            number: first,
            copy: false,
            cut: false,
        };
        Message { sender: ReplicaId(1), addressee: None, term: Term(1), body: Body::Append(body) }
    }

    fn passed(message: Option<Message>) -> Option<(Vec<u64>, u64, bool)> {
        let message = message?;
        let append = message.append().expect("an append");
        Some((append.entries.iter().map(|entry| entry.index.0).collect(), append.commit.0, append.cut))
    }

    #[test]
    fn an_append_passes_as_far_as_its_bytes_are_here_and_the_rest_when_they_come() {
        let mut gate = Gate::default();
        let here = |upto: u8| move |data: &[u8]| data[0] <= upto;
        assert_eq!(
            passed(gate.offer(GROUP, PEER, append(1, 3, 3), here(1))),
            Some((alloc::vec![1], 1, true))
        );
        assert_eq!(passed(gate.offer(GROUP, PEER, append(4, 2, 5), here(1))), None, "it joins what is held");
        let (from, held) = gate.take(GROUP).expect("held");
        assert_eq!(
            passed(gate.offer(GROUP, from, held, here(5))),
            Some((alloc::vec![1, 2, 3, 4, 5], 5, false))
        );
        assert!(gate.take(GROUP).is_none());
    }

    #[test]
    fn what_does_not_continue_the_held_append_takes_its_place() {
        let mut gate = Gate::default();
        let nothing = |_: &[u8]| false;
        assert_eq!(passed(gate.offer(GROUP, PEER, append(1, 2, 0), nothing)), Some((alloc::vec![], 0, true)));
        assert_eq!(passed(gate.offer(GROUP, PEER, append(7, 1, 0), nothing)), Some((alloc::vec![], 0, true)));
        let held = gate.take(GROUP).map(|(_, message)| message);
        assert_eq!(passed(held), Some((alloc::vec![7], 0, false)));
    }
}
