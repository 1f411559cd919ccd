//! Who the members are, for those who talk to them: what the log tells, and until it does, what else is known.
//!
//! The whole roster is told when a node begins to belong to a mesh, and when something may have gone from it. Otherwise only the members that came or
//! changed are: at each node, each of a thousand joins would cost as much as there are members (M15).

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::state::Member;
use super::wire::RosterEntry;
use super::{Mesh, Output};
use crate::id::NodeId;
use crate::planted::Bug;
use crate::work::PublicKey;

impl Mesh {
    /// The members, in order of their ids: as agreed, and for a moment after a start as the last life knew them.
    pub fn members(&self) -> impl Iterator<Item = &Member> + '_ {
        let agreed = self.state.members.values().filter(|member| self.marks.recalled(member.node).is_none());
        let mut all: Vec<&Member> = agreed.chain(self.marks.all_recalled()).collect();
        all.sort_unstable_by_key(|member| member.node);
        all.into_iter()
    }

    /// How many they are.
    #[must_use]
    pub fn member_count(&self) -> usize {
        let agreed = &self.state.members;
        agreed.len() + self.marks.all_recalled().filter(|member| !agreed.contains_key(&member.node)).count()
    }

    /// One member.
    #[must_use]
    pub fn member(&self, node: NodeId) -> Option<&Member> {
        self.marks.recalled(node).or_else(|| self.state.members.get(&node))
    }

    /// Whether `node` is a member as far as is known here; a node that just joined also goes by what it was told then, and a node that was away
    /// by introductions.
    #[must_use]
    pub fn is_member(&self, node: NodeId) -> bool {
        self.state.members.contains_key(&node) || self.heard_of(node).is_some()
    }

    /// The current key of a member.
    #[must_use]
    pub fn key_of(&self, node: NodeId) -> Option<PublicKey> {
        let agreed = self.state.members.get(&node).and_then(|m| m.keys.first());
        agreed.copied().or_else(|| self.heard_of(node).and_then(|keys| keys.first().copied()))
    }

    /// The members for those who talk to them.
    #[must_use]
    pub fn roster(&self) -> Vec<RosterEntry> {
        let mut all: BTreeMap<NodeId, RosterEntry> = BTreeMap::new();
        if let Some(membership) = self.membership.as_ref().filter(|_| !self.caught_up()) {
            all.extend(membership.roster.iter().map(|entry| (entry.node, entry.clone())));
        }
        all.extend(self.introductions.known().map(|e| (e.node, e.clone())));
        for member in self.state.members.values() {
            all.insert(member.node, roster_entry(member));
        }
        all.extend(self.marks.all_recalled().map(|member| (member.node, roster_entry(member))));
        all.into_values().collect()
    }

    /// Whether the state tells at least as much as this node was told when it joined: it contains the node itself, as it joined.
    pub(super) fn caught_up(&self) -> bool {
        let own = self.state.members.get(&self.own);
        own.zip(self.membership.as_ref()).is_some_and(|(member, told)| member.replica == told.replica)
    }

    /// The keys of `node` as it was known in the last life, or told when this node joined, or by introduction, while that is the best there is.
    fn heard_of(&self, node: NodeId) -> Option<&[PublicKey]> {
        let recalled = self.marks.recalled(node).map(|member| &member.keys[..]);
        let joining = || {
            let membership = self.membership.as_ref().filter(|_| !self.caught_up())?;
            membership.roster.iter().find(|entry| entry.node == node).map(|entry| &entry.keys[..])
        };
        let introduced = || self.introductions.get(node).map(|entry| &entry.keys[..]);
        recalled.or_else(joining).or_else(introduced)
    }

    /// Tells everything: all members, and what this node shows of itself.
    pub(super) fn announce_roster(&mut self) {
        self.announce_bounds();
        let roster = self.roster();
        self.outputs.push_back(Output::Roster(roster));
        self.announce_endorsement();
    }

    /// Tells of members that entries just admitted or changed.
    pub(super) fn announce_members(&mut self, changed: &[NodeId]) {
        self.announce_bounds();
        let member = |node: &NodeId| self.state.members.get(node).map(roster_entry);
        let members: Vec<RosterEntry> = changed.iter().filter_map(member).collect();
        if !self.planted.strikes(Bug::NewMembersNotTold, || !members.is_empty()) {
            self.outputs.push_back(Output::Members(members));
        }
        if self.endorsers(self.own).any(|member| changed.contains(&member.node)) {
            self.announce_endorsement();
        }
    }

    fn announce_endorsement(&mut self) {
        let endorsement = self.endorsement(self.own);
        self.outputs.push_back(Output::Endorsement(endorsement));
    }
}

/// A member for those who talk to it.
fn roster_entry(member: &Member) -> RosterEntry {
    RosterEntry {
        node: member.node,
        name: member.name.clone(),
        keys: member.keys.clone(),
        addresses: member.addresses.clone(),
    }
}
