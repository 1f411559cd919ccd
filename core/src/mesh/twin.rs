//! A node that exists twice (rule C6, M39). Its disk was copied, and both run: whatever either vouches for, the other may contradict. Both stop, at
//! their next starts, too, until an operator keeps one, which goes on under fresh replica ids.

use alloc::string::{String, ToString as _};

use super::{Mesh, Output};
use crate::event::MeshEvent;
use crate::id::{BootId, NodeId};
use crate::node::output::Event;
use crate::planted::Bug;
use crate::rare;
use crate::time::Now;

/// Two starts of this node that live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Twin {
    /// The start that heard of it, and the other.
    pub boots: [BootId; 2],
    /// The neighbour that found it out, unless this node did.
    pub seen_by: Option<NodeId>,
    /// Its name.
    pub seen_by_name: String,
}

impl Twin {
    /// What happened and what to do, for people.
    #[must_use]
    pub fn words(&self) -> String {
        let [one, other] = self.boots;
        let by = if self.seen_by.is_some() { self.seen_by_name.as_str() } else { "this node itself" };
        alloc::format!(
            "two starts of this node run at once, {one} and {other} (seen by {by}): its data directory was copied, so both are stopped. Make sure that \
             only one of the two goes on running, and start that one with `wattle run --keep-identity`; the other is to begin with an \
             empty data directory"
        )
    }
}

impl Mesh {
    /// Whether another start of this node lives: nothing that this one says counts.
    #[must_use]
    pub fn is_twin(&self) -> bool {
        self.membership.is_some() && self.stopping.twin().is_some()
    }

    /// Why this node is stopped, if another start of it lives.
    #[must_use]
    pub fn twin(&self) -> Option<&Twin> {
        self.stopping.twin().filter(|_| self.membership.is_some())
    }

    /// Another start of this very node lives.
    pub(super) fn on_twin(&mut self, now: Now, boots: [BootId; 2], seen_by: Option<NodeId>) {
        if self.membership.is_none() || self.is_twin() || self.planted.has(Bug::TwinGoesOn) {
            return;
        }
        rare!(TwinStopped);
        let name = seen_by.and_then(|node| self.member(node)).map(|member| member.name.clone());
        let seen_by_name = name.or_else(|| seen_by.map(|node| node.to_string())).unwrap_or_default();
        let twin = Twin { boots, seen_by, seen_by_name };
        self.outputs.push_back(Output::Event(Event::DuplicateIdentity { boots, seen_by, why: twin.words() }));
        let (node, name) = (self.own, self.config.name.clone());
        self.tell(MeshEvent::NodeDuplicated { node, name });
        self.stop_as_twin(now, twin);
    }

    /// Two starts of another member live, or a later one took the place of both.
    pub(super) fn on_others_twins(&mut self, node: NodeId, twins: bool) {
        if let Some(member) = self.state.members.get(&node).filter(|_| twins) {
            let name = member.name.clone();
            self.tell(MeshEvent::NodeDuplicated { node, name });
        }
    }
}
