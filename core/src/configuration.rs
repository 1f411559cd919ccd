//! Who takes part in a consensus group.

use alloc::vec::Vec;

use crate::id::{NodeId, ReplicaId};

/// One replica of a group: a node, and the history of its disk. A node whose disk was rolled back comes back under a
/// fresh replica id and counts as somebody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Member {
    /// The node it lives on.
    pub node: NodeId,
    /// The disk history.
    pub replica: ReplicaId,
}

impl Member {
    /// Stands where no member is named.
    pub(crate) const NOBODY: Self = Self { node: NodeId(0), replica: ReplicaId(0) };
}

/// The members of a group. Joint while `outgoing` is not empty: decisions then need a majority of `voters` *and* of `outgoing`
/// (Ongaro's thesis, section 4.3). Lists are sorted by member and hold each node at most once.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Configuration {
    /// The (incoming) voters.
    pub voters: Vec<Member>,
    /// The voters of the configuration being left; empty unless joint.
    pub outgoing: Vec<Member>,
    /// Members that receive the log and do not vote.
    pub learners: Vec<Member>,
}

impl Configuration {
    /// A configuration that is not joint.
    #[must_use]
    pub fn simple(mut voters: Vec<Member>, mut learners: Vec<Member>) -> Self {
        voters.sort_unstable();
        learners.sort_unstable();
        Self { voters, outgoing: Vec::new(), learners }
    }

    /// Whether two majorities are needed.
    #[must_use]
    pub fn is_joint(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Whether nobody is named: a replica that waits to be told.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.voters.is_empty() && self.learners.is_empty()
    }

    /// All members, each once: voters, then outgoing voters that are not incoming ones, then learners.
    pub fn members(&self) -> impl Iterator<Item = Member> + '_ {
        let leaving = self.outgoing.iter().filter(|m| !self.voters.contains(m));
        let learners = self.learners.iter().filter(|m| !self.outgoing.contains(m));
        self.voters.iter().chain(leaving).chain(learners).copied()
    }

    /// The members that live on `node`: one, or two while a replica id is being replaced.
    pub fn on(&self, node: NodeId) -> impl Iterator<Item = Member> + '_ {
        let there = move |member: &&Member| member.node == node;
        let leaving = self.outgoing.iter().filter(|m| !self.voters.contains(m));
        let from = self.learners.partition_point(|member| member.node < node);
        let learners = self.learners[from..].iter().take_while(there);
        let learners = learners.filter(|m| !self.outgoing.contains(m));
        self.voters.iter().filter(there).chain(leaving.filter(there)).chain(learners).copied()
    }

    /// Whether nothing can be decided without `member`: it is a half of its own.
    #[must_use]
    pub fn needs(&self, member: Member) -> bool {
        self.voters == [member] || self.outgoing == [member]
    }

    /// Whether no list names a node twice.
    #[must_use]
    pub fn has_each_node_once(&self) -> bool {
        let lists = [&self.voters, &self.outgoing, &self.learners];
        lists.iter().all(|list| list.windows(2).all(|pair| pair[0].node < pair[1].node))
    }

    /// Whether `member` votes, in either half.
    #[must_use]
    pub fn votes(&self, member: Member) -> bool {
        self.voters.contains(&member) || self.outgoing.contains(&member)
    }
}
