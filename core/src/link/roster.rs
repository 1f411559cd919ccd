//! Whose keys are taken for a member's.

use alloc::format;
use alloc::vec::Vec;

use super::links::Links;
use crate::id::{LaneId, NodeId};
use crate::node::output::CloseReason;
use crate::time::Instant;
use crate::work::PublicKey;

impl Links {
    /// Members changed: who is not one any more, or not under that key, is no neighbour.
    pub(super) fn on_roster(&mut self, now: Instant, roster: Vec<(NodeId, Vec<PublicKey>)>) {
        let changed: Vec<NodeId> =
            roster.iter().filter(|(node, keys)| self.rank_keys(*node, keys)).map(|(node, _)| *node).collect();
        self.roster = roster.into_iter().collect();
        self.close_unwelcome(now);
        self.renew_from(now, &changed);
    }

    /// Members came, or have other keys now; all others stay as they are.
    pub(super) fn on_members(&mut self, now: Instant, members: Vec<(NodeId, Vec<PublicKey>)>) {
        let (mut changed, mut replaced) = (Vec::new(), false);
        for (node, keys) in members {
            if self.rank_keys(node, &keys) {
                self.member_keys.extend(keys.iter().copied());
                replaced |= self.roster.insert(node, keys).is_some();
                changed.push(node);
            }
        }
        if replaced {
            // A key that is not accepted any more may have a lane.
            self.close_unwelcome(now);
        }
        self.renew_from(now, &changed);
    }

    fn close_unwelcome(&mut self, now: Instant) {
        let roster = &self.roster;
        self.gave_up.retain(|node, _| roster.contains_key(node));
        self.member_keys = self.roster.values().flatten().copied().collect();
        let member_keys = &self.member_keys;
        self.ranks.retain(|key, _| member_keys.contains(key));
        let unwelcome: Vec<(LaneId, NodeId)> = self
            .lanes
            .iter()
            .filter_map(|(&id, lane)| Some((id, lane.peer()?.node, lane.key)))
            .filter(|(_, node, key)| !self.is_member(*node, key))
            .map(|(id, node, _)| (id, node))
            .collect();
        for (id, node) in unwelcome {
            if let Some(banned) = self.banned(node).cloned() {
                self.fence(now, id, node, banned);
                continue;
            }
            self.close(
                now,
                id,
                CloseReason::Unwelcome(format!("{node} is no member under this key any more")),
            );
        }
    }

    /// The members, as this part was told.
    pub fn roster(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.roster.keys().copied()
    }

    /// The keys of a member, as this part was told.
    #[must_use]
    pub fn keys_of(&self, node: NodeId) -> Option<&Vec<PublicKey>> {
        self.roster.get(&node)
    }

    pub(super) fn is_member(&self, node: NodeId, key: &PublicKey) -> bool {
        self.roster.get(&node).is_some_and(|keys| keys.contains(key))
    }
}
