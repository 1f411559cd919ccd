//! Who the members are, for those who talk to them: what the log tells, and until it does, what else is known.
//!
//! The whole roster is told when a node begins to belong to a mesh, and when something may have gone from it. Otherwise only the members that came or
//! changed are: at each node, each of a thousand joins would cost as much as there are members (M15).

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use bytes::Bytes;

use super::rotation;
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

    /// The keys that are good for `node`, everywhere: on connections and under whatever it signs. They are those of the last entry that this node knows, in
    /// this life or the one before; until the log tells of the node, those it was told or shown; and a next key that it was shown leads from these.
    /// None for a node that is no member.
    #[must_use]
    pub fn accepted_keys(&self, node: NodeId) -> Vec<PublicKey> {
        let (number, told) = self.told_keys(node);
        let mut keys = self.introductions.led_to(node, number, told);
        if self.planted.has(Bug::RetiredKeyAccepted) {
            let records = self.member(node).map(|member| &member.rotations.records);
            keys.extend(records.into_iter().flatten().map(|rotation| rotation.old));
            keys.dedup();
        }
        keys
    }

    /// The keys of a node without those it has shown since, and the number of its last rotation that counts in them.
    pub(super) fn told_keys(&self, node: NodeId) -> (u64, Vec<PublicKey>) {
        match self.member(node) {
            Some(member) => (member.rotations.number, member.keys.clone()),
            None => (0, self.heard_of(node).map(<[PublicKey]>::to_vec).unwrap_or_default()),
        }
    }

    /// The members for those who talk to them.
    #[must_use]
    pub fn roster(&self) -> Vec<RosterEntry> {
        let mut all: BTreeMap<NodeId, RosterEntry> = BTreeMap::new();
        if let Some(membership) = self.membership.as_ref().filter(|_| !self.caught_up()) {
            all.extend(membership.roster.iter().map(|entry| (entry.node, entry.clone())));
        }
        all.extend(self.introductions.known().map(|e| (e.node, e.clone())));
        for member in self.state.members.values().chain(self.marks.all_recalled()) {
            all.insert(member.node, self.roster_entry(member));
        }
        // Also of whom only the join or others told: what was shown since counts.
        all.values_mut().for_each(|entry| entry.keys = self.accepted_keys(entry.node));
        all.into_values().collect()
    }

    /// Whether the state tells at least as much as this node was told when it joined: it contains the node itself, as it joined.
    pub(super) fn caught_up(&self) -> bool {
        let own = self.state.members.get(&self.own);
        own.zip(self.membership.as_ref()).is_some_and(|(member, told)| member.replica == told.replica)
    }

    /// The keys of `node` as it was known in the last life, or told when this node joined, or by introduction, while that is the best there is.
    pub(super) fn heard_of(&self, node: NodeId) -> Option<&[PublicKey]> {
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
        let member = |node: &NodeId| self.member(*node).map(|member| self.roster_entry(member));
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
        let own = self.state.members.get(&self.own);
        let rotations = own.map(|own| rotation::encode(&own.rotations.records)).unwrap_or_default();
        self.outputs.push_back(Output::Endorsement { endorsement, rotations });
    }

    /// A member for those who talk to it.
    fn roster_entry(&self, member: &Member) -> RosterEntry {
        let records = &member.rotations.records;
        let gave_up = records.iter().any(|rotation| rotation.retired.is_some());
        RosterEntry {
            node: member.node,
            name: member.name.clone(),
            keys: self.accepted_keys(member.node),
            addresses: member.addresses.clone(),
            rotations: if gave_up { rotation::encode(records) } else { Bytes::new() },
        }
    }
}
