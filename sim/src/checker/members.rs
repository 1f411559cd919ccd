//! Members of streams that change (X30, X32). From outside three things are known: what the operator asked for, how each node says that the members of a stream differ
//! from its ends, and what publishers and handlers were told. Only what was asked for is done, once, in one order for everybody; who is out keeps nothing.

use std::collections::{BTreeMap, BTreeSet};

use wattle_core::id::NodeId;
use wattle_core::members::{Added, ChangeKind, StreamMembers};
use wattle_core::node::status::StreamStatus;

use super::{Failure, ensure};

/// The book of changes.
#[derive(Debug, Default)]
pub struct Members {
    asked: BTreeSet<(usize, NodeId)>,
    /// Who of each stream was asked for last.
    last: BTreeMap<usize, NodeId>,
    /// Who was taken out of each stream, as far as anybody said.
    out: BTreeMap<usize, Vec<NodeId>>,
    /// Who was to be added.
    asked_in: BTreeSet<(usize, NodeId)>,
    /// Who was added to each stream, as far as anybody said, and the first message that it owes.
    added: BTreeMap<usize, Vec<Added>>,
}

impl Members {
    /// An operator asks for a node to be added to a stream.
    pub fn asked_in(&mut self, stream: usize, node: NodeId) {
        self.asked_in.insert((stream, node));
    }

    /// Somebody says who was added to a stream. Gives those of whom nobody had said before with which message they begin.
    ///
    /// # Errors
    /// X32.
    pub fn told_added(
        &mut self,
        stream: usize,
        members: &StreamMembers,
    ) -> Result<Vec<(NodeId, u64)>, Failure> {
        for node in members.late() {
            ensure!(
                self.asked_in.contains(&(stream, node)),
                "X32",
                "stream {stream}: {node} is added, and nobody asked for that"
            );
        }
        let known = self.added.entry(stream).or_default();
        let common = known.len().min(members.added.len());
        ensure!(
            known[..common] == members.added[..common],
            "X32",
            "stream {stream}: some say that {known:?} were added, others {:?}",
            members.added
        );
        let fresh = &members.added[common..];
        known.extend(fresh);
        Ok(fresh.iter().filter_map(|added| Some((added.node, added.first?.0))).collect())
    }

    /// An operator asks for a target to be taken out of a stream.
    pub fn asked(&mut self, stream: usize, node: NodeId) {
        self.asked.insert((stream, node));
        self.last.insert(stream, node);
    }

    /// A target may be taken out of a stream though nobody asked for that; who goes first of several is not known.
    pub fn may_go(&mut self, stream: usize, node: NodeId) {
        self.asked.insert((stream, node));
        self.last.remove(&stream);
    }

    /// Who of a stream was asked for last: one that is out, or is to be next.
    #[must_use]
    pub fn leaving(&self, stream: usize) -> Option<NodeId> {
        self.last.get(&stream).copied()
    }

    /// Whether a node was taken out of a stream, or is to be.
    #[must_use]
    pub fn leaves(&self, stream: usize, node: NodeId) -> bool {
        self.asked.contains(&(stream, node))
    }

    /// Who was taken out of a stream, as far as anybody said.
    #[must_use]
    pub fn out(&self, stream: usize) -> &[NodeId] {
        self.out.get(&stream).map_or(&[], Vec::as_slice)
    }

    /// Somebody says how the members of a stream changed, or are to. Gives those that nobody had said before to be out.
    ///
    /// # Errors
    /// X30.
    pub fn told(&mut self, stream: usize, members: &StreamMembers) -> Result<Vec<NodeId>, Failure> {
        let said: Vec<NodeId> = members.out.iter().map(|out| out.node).collect();
        let change = members.change.as_ref().map(|change| change.node);
        let adds = members.change.as_ref().is_some_and(|change| matches!(change.kind, ChangeKind::Add(_)));
        let declined = |node: NodeId| self.asked_in.contains(&(stream, node));
        for &node in said.iter().chain(change.iter().filter(|_| !adds)) {
            ensure!(
                self.asked.contains(&(stream, node)) || declined(node),
                "X30",
                "stream {stream}: {node} is taken out, and nobody asked for that"
            );
        }
        let known = self.out.entry(stream).or_default();
        let common = known.len().min(said.len());
        ensure!(
            known[..common] == said[..common],
            "X30",
            "stream {stream}: some say that {known:?} were taken out, others {said:?}"
        );
        ensure!(
            change.is_none_or(|node| !said.contains(&node)),
            "X30",
            "stream {stream}: {change:?} is out, and is being taken out"
        );
        let fresh = said[common..].to_vec();
        known.extend(&fresh);
        Ok(fresh)
    }

    /// What is still owed to changes of a stream, by what its ends show. One from whose log a sealed stream goes on cannot be taken out of it.
    #[must_use]
    pub fn owed(
        &self,
        stream: usize,
        shown: &[(NodeId, &StreamStatus)],
        founded: impl Fn(NodeId) -> bool,
    ) -> Option<String> {
        let out = self.out(stream);
        shown.iter().find_map(|(node, status)| {
            let keeps = out.contains(node) && status.local;
            let change = status.members.change.as_ref().filter(|change| !founded(change.node));
            let added = self.added.get(&stream).map_or(0, Vec::len);
            let open = change.is_some()
                || status.members.out.len() != out.len()
                || status.members.added.len() != added;
            (keeps || open).then(|| {
                format!(
                    "stream {stream}: {out:?} were taken out, and {node} (which takes part: {}) says {:?}: waits for {:?}",
                    status.local, status.members, status.waiting_for
                )
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use wattle_core::id::LogIndex;
    use wattle_core::members::{MemberChange, TakenOut};

    use super::super::fixture::stream;
    use super::*;

    fn members(change: Option<u128>, out: &[u128]) -> StreamMembers {
        let (kind, reason) = (ChangeKind::Detach, String::new);
        let change = change.map(|node| MemberChange {
            number: LogIndex(3),
            node: NodeId(node),
            kind,
            reason: reason(),
        });
        let out = out.iter().map(|&node| TakenOut { node: NodeId(node), kind, reason: reason() });
        StreamMembers { change, out: out.collect(), ..StreamMembers::default() }
    }

    fn book() -> Members {
        let mut book = Members::default();
        book.asked(0, NodeId(2));
        book.asked(0, NodeId(3));
        book
    }

    #[test]
    fn only_what_was_asked_for_is_done_and_in_one_order() {
        let mut book = book();
        assert_eq!(book.told(0, &members(Some(2), &[])), Ok(vec![]));
        assert!(
            book.told(0, &members(Some(4), &[])).is_err() && book.told(1, &members(Some(2), &[])).is_err()
        );
        assert_eq!(book.told(0, &members(Some(3), &[2])), Ok(vec![NodeId(2)]));
        assert_eq!(book.told(0, &members(None, &[])), Ok(vec![]), "who knows less says less");
        assert!(
            book.told(0, &members(None, &[3])).is_err() && book.told(0, &members(Some(2), &[2])).is_err()
        );
        assert_eq!((book.told(0, &members(None, &[2, 3])), book.out(0).len()), (Ok(vec![NodeId(3)]), 2));
    }

    #[test]
    fn in_the_end_everybody_knows_and_who_is_out_keeps_nothing() {
        let mut book = book();
        book.told(0, &members(None, &[2])).unwrap();
        let mut status = stream(4);
        status.local = true;
        status.members = members(None, &[2]);
        assert_eq!(book.owed(0, &[(NodeId(1), &status)], |_| false), None);
        assert!(book.owed(0, &[(NodeId(2), &status)], |_| false).is_some(), "it takes part");
        status.local = false;
        assert_eq!(book.owed(0, &[(NodeId(2), &status)], |_| false), None);
        status.members = members(Some(3), &[2]);
        assert!(book.owed(0, &[(NodeId(1), &status)], |_| false).is_some(), "one is not done");
        assert_eq!(book.owed(0, &[(NodeId(1), &status)], |node| node == NodeId(3)), None, "it cannot be");
    }
}
