//! Who is no member any more, and which mesh epoch this node is at (rule E2).
//!
//! A node that was taken out is turned away by everybody who knows, and shown by what: it may never hear of it otherwise. The lane on which that is
//! said counts for nothing from then on; it stays open for a moment so that the word arrives before the end does. Two nodes at one epoch by
//! different entries are of two meshes that once were one, and turn each other away.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;

use super::lane::Phase;
use super::links::Links;
use super::message::Fence;
use super::wire::PROOFS_MAX;
use super::{Hello, Message, Output, Purpose};
use crate::epoch::Epoch;
use crate::id::{LaneId, NodeId};
use crate::node::output::{CloseReason, Event};
use crate::planted::Bug;
use crate::sometimes;
use crate::time::Instant;

/// A node that is no member any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Banned {
    /// What happened to it, for people.
    pub words: String,
    /// What it is shown.
    pub fence: Fence,
}

/// Where the mesh stands, as this part was told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// The mesh epoch.
    pub epoch: Epoch,
    /// What raised the mesh to it, and to some epochs before; the last first.
    pub proofs: Vec<Bytes>,
    /// Who is no member any more.
    pub banned: BTreeMap<NodeId, Banned>,
}

impl Links {
    /// The mesh epoch was raised, or somebody who had been taken out is a member again.
    pub(super) fn on_bounds(&mut self, bounds: Bounds) {
        self.bounds = bounds;
        let linked: Vec<LaneId> =
            self.lanes.iter().filter(|(_, lane)| lane.linked().is_some()).map(|(&id, _)| id).collect();
        linked.into_iter().for_each(|id| self.show_epoch(id));
    }

    /// Shows a neighbour what raised the epoch since the hello it heard here. The log tells it, too; but one that has just started takes
    /// nothing of the log before it has heard voters that may be gone.
    pub(super) fn show_epoch(&mut self, id: LaneId) {
        let number = self.bounds.epoch.number;
        let Some(lane) = self.lanes.get_mut(&id).filter(|lane| lane.shown < number) else { return };
        lane.shown = number;
        sometimes!(RaisedEpochShown);
        let epoch_proofs = self.proofs();
        self.send(id, Message::Raised { epoch_proofs });
    }

    /// This node belongs to no mesh any more.
    pub(super) fn on_parted(&mut self, now: Instant) {
        self.mesh = None;
        self.bounds = Bounds::default();
        self.bars.clear();
        self.forget_endorsement();
        self.on_roster(now, Vec::new());
    }

    /// Whether a hello comes from beyond the bounds of this mesh.
    pub(super) fn check_epoch(&self, hello: &Hello) -> Result<(), CloseReason> {
        let own = self.bounds.epoch;
        let parted = hello.epoch.number == own.number && hello.epoch.digest != own.digest;
        if parted && !self.planted.has(Bug::EpochNotCompared) {
            return Err(CloseReason::Unwelcome(format!(
                "it is at mesh epoch {}, and this node at {own}: the mesh was cut in two, and one side must join the other anew",
                hello.epoch
            )));
        }
        match self.banned(hello.node) {
            Some(banned) => Err(CloseReason::Unwelcome(banned.words.clone())),
            None => Ok(()),
        }
    }

    /// What is known of a node that is no member any more.
    pub(super) fn banned(&self, node: NodeId) -> Option<&Banned> {
        let banned = self.bounds.banned.get(&node).filter(|_| !self.roster.contains_key(&node));
        banned.filter(|_| !self.planted.strikes(Bug::EpochNotCompared, || true))
    }

    /// Whether a hello may be of somebody admitted since this node last heard: who is at a lower epoch than this node would be known here.
    pub(super) fn may_be_newer(&self, hello: &Hello) -> bool {
        let behind = hello.epoch.number < self.bounds.epoch.number;
        !behind || self.planted.strikes(Bug::EpochNotCompared, || true)
    }

    /// Ends a lane whose hello was refused. Who has reason to wonder is told more than that.
    pub(super) fn turn_away(&mut self, now: Instant, id: LaneId, hello: &Hello, reason: CloseReason) {
        let dialled = self.lanes.get(&id).is_some_and(|lane| lane.dialled);
        let ours = hello.purpose == Purpose::Link && hello.mesh.is_some() && hello.mesh == self.mesh;
        match (self.banned(hello.node).cloned(), reason) {
            (Some(banned), CloseReason::Unwelcome(_)) if ours => self.fence(now, id, hello.node, banned),
            (None, CloseReason::Unwelcome(words)) if ours && !dialled && self.check_epoch(hello).is_err() => {
                // It sees for itself which epoch this node is at.
                let nonce = self.lanes.get(&id).map_or(0, |lane| lane.nonce);
                self.send_hello(id, hello.purpose, nonce);
                self.dismiss(now, id, hello.node, words);
            }
            (_, reason) => self.close(now, id, reason),
        }
    }

    /// What this node's hello shows of its epoch.
    pub(super) fn proofs(&self) -> Vec<Bytes> {
        self.bounds.proofs.iter().take(PROOFS_MAX).cloned().collect()
    }

    /// A hello shows a higher epoch than this node knows of: what proves it is looked at.
    pub(super) fn note_epoch(&mut self, hello: &Hello) {
        if hello.epoch.number > self.bounds.epoch.number {
            sometimes!(HigherEpochShown);
            self.look_at(hello.epoch_proofs.iter().cloned());
        }
    }

    /// The epoch rose since the other end's hello.
    pub(super) fn on_raised(&mut self, id: LaneId, proofs: Vec<Bytes>) {
        if self.lanes.get(&id).is_some_and(|lane| lane.linked().is_some()) {
            self.look_at(proofs);
        }
    }

    /// Only the mesh part reads what proves an epoch.
    fn look_at(&mut self, proofs: impl IntoIterator<Item = Bytes>) {
        for proof in proofs {
            self.emit(Output::Fenced(Fence { proof, endorsement: Bytes::new() }));
        }
    }

    /// Says to whoever is no member any more what took it out.
    pub(super) fn fence(&mut self, now: Instant, id: LaneId, node: NodeId, banned: Banned) {
        sometimes!(FormerMemberFenced);
        self.send(id, Message::Fenced(banned.fence));
        self.dismiss(now, id, node, banned.words);
    }

    /// Says and hears nothing further on a lane, and leaves what was said last a moment to arrive.
    pub(super) fn dismiss(&mut self, now: Instant, id: LaneId, node: NodeId, words: String) {
        self.detach(now, id, &words);
        let reason = CloseReason::Unwelcome(words);
        self.emit(Output::Event(Event::PeerRefused { node: Some(node), reason }));
        if let Some(lane) = self.lanes.get_mut(&id) {
            lane.phase = Phase::Fenced { until: now + self.config.drain };
        }
        self.arm(id);
    }

    /// The other end says that this node is no member any more.
    pub(super) fn on_fenced(&mut self, now: Instant, id: LaneId, fence: Fence) {
        let fenced = self.lanes.get(&id).is_some_and(|lane| matches!(lane.phase, Phase::Fenced { .. }));
        if fenced || self.standing(id) == super::Standing::Closed {
            return;
        }
        sometimes!(FenceHeard);
        self.emit(Output::Fenced(fence));
        let words = String::from("the other end says that this node is no member of its mesh any more");
        self.close(now, id, CloseReason::Unwelcome(words));
    }
}
