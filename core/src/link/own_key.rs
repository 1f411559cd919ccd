//! Keys that give way to others, as far as links go: L13.
//!
//! While a node has two keys, its neighbours and it dial each other anew, so that each link comes to be carried by a lane under the new key before the old one
//! is good no more. A lane under a key that was given up is closed. Who comes with such a key, because its disk was taken back, is shown what retired it.

use bytes::Bytes;

use super::lane::Phase;
use super::links::Links;
use super::{Hello, Message, Output, Purpose, Standing};
use crate::id::{LaneId, NodeId};
use crate::node::output::CloseReason;
use crate::rare;
use crate::sometimes;
use crate::time::Instant;
use crate::work::PublicKey;

/// What this node says of its own key.
#[derive(Clone, Debug, Default)]
pub(super) struct OwnKey {
    /// The rotation that brought it.
    pub(super) number: u32,
    /// What leads to it from earlier ones.
    pub(super) rotations: Bytes,
}

impl Links {
    /// This node proves another key from now on: neighbours that it dialled it dials anew.
    pub(super) fn on_key_shown(&mut self, now: Instant, number: u64) {
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        let news = self.own_key.number != number;
        self.own_key.number = number;
        let nodes: alloc::vec::Vec<NodeId> = self.neighbours().filter(|_| news).collect();
        for node in nodes {
            sometimes!(LinkRenewed);
            self.targets.renew(now, node);
        }
    }

    /// A member may have another key soon: if this node dialled it, it dials it anew.
    pub(super) fn renew_from(&mut self, now: Instant, node: NodeId, keys: &[PublicKey]) {
        let lane = self.lane(node).and_then(|lane| self.lanes.get(&lane));
        if keys.len() > 1 && lane.is_some_and(|lane| keys.first() == Some(&lane.key)) {
            self.targets.renew(now + self.config.renew_after, node);
        }
    }

    /// Shows a node that proved a key it gave up what says so. `false` if it did not.
    pub(super) fn shows_retired(&mut self, now: Instant, id: LaneId, hello: &Hello) -> bool {
        let Some(lane) = self.lanes.get(&id) else { return false };
        let ours = hello.purpose == Purpose::Link && hello.mesh.is_some() && hello.mesh == self.mesh;
        let known = self.roster.contains_key(&hello.node) && !self.is_member(hello.node, &lane.key);
        let Some(rotations) = self.gave_up.get(&hello.node).filter(|_| ours && known).cloned() else {
            return false;
        };
        rare!(RetiredKeyShown);
        self.send(id, Message::KeyRetired { rotations });
        let words = alloc::format!("its key is none of those of {}, which gave up keys", hello.node);
        self.dismiss(now, id, hello.node, words);
        true
    }

    /// The other end says that the key this node proved is retired.
    pub(super) fn on_key_retired(&mut self, now: Instant, id: LaneId, rotations: Bytes) {
        let over = self.lanes.get(&id).is_none_or(|lane| matches!(lane.phase, Phase::Fenced { .. }));
        if over || self.standing(id) == Standing::Closed {
            return;
        }
        // Whoever stole the key could make such a proof himself, and reaches this node without being let in anywhere.
        if self.is_other_member(id) {
            self.emit(Output::KeyRetired(rotations));
        } else {
            rare!(RetirementByStranger);
        }
        let words = alloc::string::String::from("the other end says that the key of this node is retired");
        self.close(now, id, CloseReason::Unwelcome(words));
    }

    /// Whether the other end of a lane proved a key of another member.
    fn is_other_member(&self, id: LaneId) -> bool {
        let Some(lane) = self.lanes.get(&id) else { return false };
        self.roster.iter().any(|(node, keys)| *node != self.own && keys.contains(&lane.key))
    }
}
