//! Two starts of one node at the door of a third, or at each other's (rule C6), as far as links go: L12.
//!
//! A start that finds another one in its place, or that is put out of its place by a later one, is told which (`Rival`): a hint, as the other may have
//! ended just before. If it lives it answers with what it claims (`Claimed`), which is handed to the one that has the place. What that
//! means is judged elsewhere. Who is known to exist twice, or to be a copy that does not count, is turned away and shown by what (`Barred`).

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;

use super::lane::{Lane, Phase};
use super::links::Links;
use super::{Hello, Message, Output, Purpose};
use crate::id::{BootId, LaneId, NodeId};
use crate::node::output::{CloseReason, Event};
use crate::planted::Bug;
use crate::rare;
use crate::sometimes;
use crate::time::Instant;

/// Which starts of a node are turned away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bar {
    /// Those of disks of an earlier round.
    pub below: u64,
    /// Why, for people.
    pub words: String,
    /// What they are shown; not read here.
    pub record: Bytes,
}

/// What this start says of its own identity.
#[derive(Clone, Debug, Default)]
pub(super) struct Identity {
    /// The round of its disk, and what began it.
    pub(super) round: u64,
    pub(super) record: Bytes,
    /// Of which other start it claims something, and what.
    claim: Option<(BootId, Bytes)>,
}

impl Links {
    /// How often an operator said of this disk that it is the only copy, and what shows that.
    pub fn note_round(&mut self, round: u64, record: Bytes) {
        self.identity.round = round;
        self.identity.record = record;
    }

    /// This start claims something of another: whoever told it of that one hears it.
    pub(super) fn on_claim(&mut self, now: Instant, other: BootId, claim: Bytes) {
        let asked = |lane: &Lane| lane.rival_heard.is_some() && !matches!(lane.phase, Phase::Closed);
        let asked: Vec<LaneId> =
            self.lanes.iter().filter(|(_, lane)| asked(lane)).map(|(&id, _)| id).collect();
        self.identity.claim = Some((other, claim.clone()));
        for id in asked {
            self.answer_rival(now, id, claim.clone());
        }
    }

    /// Says what this start claims to whoever told it of another one. If that one has its place there, nothing more comes of the lane.
    fn answer_rival(&mut self, now: Instant, id: LaneId, claim: Bytes) {
        self.send(id, Message::Claimed { claim });
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        if lane.rival_heard == Some(true) && !matches!(lane.phase, Phase::Fenced { .. }) {
            self.detach(now, id, "another start of this node has its place there");
            if let Some(lane) = self.lanes.get_mut(&id) {
                lane.phase = Phase::Fenced { until: now + self.config.drain };
            }
            self.arm(id);
        }
    }

    /// Certain starts of a node are turned away from now on, or none.
    pub(super) fn on_bar(&mut self, now: Instant, node: NodeId, bar: Option<Bar>) {
        let Some(bar) = bar else { return drop(self.bars.remove(&node)) };
        let barred = |lane: &Lane| lane.peer().is_some_and(|p| p.node == node && p.round < bar.below);
        let lanes = self.lanes.iter().filter(|(_, lane)| barred(lane));
        let lanes: Vec<LaneId> = lanes.map(|(&id, _)| id).collect();
        self.bars.insert(node, bar.clone());
        if node == self.own {
            self.show_copies(&bar.record);
        }
        for id in lanes {
            self.show_bar(now, id, node, &bar);
        }
    }

    /// Other copies of this very node are at the far end of a lane, and may hear of it from nobody else.
    fn show_copies(&mut self, record: &Bytes) {
        let copy = |lane: &Lane| lane.rival_told.is_some_and(|(node, _)| node == self.own);
        let open = |lane: &Lane| !matches!(lane.phase, Phase::Closed);
        let copies = self.lanes.iter().filter(|(_, lane)| copy(lane) && open(lane));
        let copies: Vec<LaneId> = copies.map(|(&id, _)| id).collect();
        for id in copies {
            self.send(id, Message::Barred { record: record.clone() });
        }
    }

    fn show_bar(&mut self, now: Instant, id: LaneId, node: NodeId, bar: &Bar) {
        rare!(BarredShown);
        self.send(id, Message::Barred { record: bar.record.clone() });
        self.dismiss(now, id, node, bar.words.clone());
    }

    /// What bars a start that says hello.
    pub(super) fn bar_of(&self, hello: &Hello) -> Option<&Bar> {
        let bar = self.bars.get(&hello.node).filter(|bar| hello.round < bar.below)?;
        (!self.planted.has(Bug::BarNotKept)).then_some(bar)
    }

    /// A hello was refused: whoever has reason to wonder is told of the start in its way. `true` if it was.
    pub(super) fn turns_rival_away(&mut self, now: Instant, id: LaneId, hello: &Hello) -> bool {
        let Some(lane) = self.lanes.get(&id) else { return false };
        let ours = hello.purpose == Purpose::Link && hello.mesh.is_some() && hello.mesh == self.mesh;
        if !ours || !self.is_member(hello.node, &lane.key) {
            return false;
        }
        if let Some(bar) = self.bar_of(hello).cloned() {
            self.look_at_identity(hello);
            self.show_bar(now, id, hello.node, &bar);
            return true;
        }
        let place = match hello.node == self.own {
            true => Some(self.boot),
            false => self.links.get(&hello.node).map(|link| link.boot),
        };
        let Some(boot) = place.filter(|boot| *boot != hello.boot) else { return false };
        if hello.node == self.own {
            self.emit(Output::Rival { boot: hello.boot, claim: Bytes::new() });
        }
        let words = alloc::format!("another start of {} is connected: {boot}", hello.node);
        let (node, reason) = (Some(hello.node), CloseReason::Unwelcome(words));
        self.emit(Output::Event(Event::PeerRefused { node, reason }));
        self.tell_rival(now, id, (hello.node, hello.boot), boot);
        true
    }

    /// Tells a start which other one has its place, and hears on that lane only what it answers.
    fn tell_rival(&mut self, now: Instant, id: LaneId, told: (NodeId, BootId), boot: BootId) {
        sometimes!(RivalTold);
        self.send(id, Message::Rival { boot, claim: Bytes::new() });
        self.detach(now, id, "another start of that node is connected");
        if let Some(lane) = self.lanes.get_mut(&id) {
            lane.phase = Phase::Fenced { until: now + self.config.drain };
            lane.rival_told = Some(told);
        }
        self.arm(id);
    }

    /// A later start has taken the place of another: should that one live, it is to know.
    pub(super) fn tell_replaced(&mut self, now: Instant, node: NodeId, boot: BootId) {
        let Some(link) = self.links.get(&node).filter(|link| link.boot != boot) else { return };
        let (before, lanes) = (link.boot, link.lanes.clone());
        self.take_down(now, node);
        for id in lanes {
            self.tell_rival(now, id, (node, before), boot);
        }
    }

    /// The other end says that another start of this node is about.
    pub(super) fn on_rival(&mut self, now: Instant, id: LaneId, boot: BootId, claim: Bytes) {
        let Some(lane) = self.lanes.get_mut(&id).filter(|lane| !matches!(lane.phase, Phase::Closed)) else {
            return;
        };
        // Where the other one is known to claim something, it does not have this one's place.
        lane.rival_heard = Some(claim.is_empty());
        if let Some((_, own)) = self.identity.claim.clone().filter(|(other, _)| *other == boot) {
            self.answer_rival(now, id, own);
        }
        self.emit(Output::Rival { boot, claim });
    }

    /// A start that was told of another one lives, and says what it claims.
    pub(super) fn on_claimed(&mut self, id: LaneId, claim: Bytes) {
        let Some((node, boot)) = self.lanes.get(&id).and_then(|lane| lane.rival_told) else { return };
        if node == self.own {
            return self.emit(Output::Rival { boot, claim });
        }
        let Some(link) = self.links.get(&node).filter(|link| link.boot != boot) else { return };
        rare!(ClaimHandedOn);
        self.send(link.current, Message::Rival { boot, claim });
    }

    /// The other end shows that this node exists twice, or that another copy of it counts.
    pub(super) fn on_barred(&mut self, now: Instant, id: LaneId, record: Bytes) {
        let done = |lane: &Lane| match lane.phase {
            Phase::Closed => true,
            Phase::Fenced { .. } => lane.rival_heard.is_none(),
            _ => false,
        };
        if self.lanes.get(&id).is_none_or(done) {
            return;
        }
        self.emit(Output::Identity(record));
        let words = String::from("the other end says that this node exists twice");
        self.close(now, id, CloseReason::Unwelcome(words));
    }

    /// A hello shows of which copy it is, if it is of a later round than is known here.
    pub(super) fn look_at_identity(&mut self, hello: &Hello) {
        let known = self.bars.get(&hello.node).map_or(0, |bar| bar.below);
        if hello.round >= known && !hello.identity.is_empty() {
            self.emit(Output::Identity(hello.identity.clone()));
        }
    }

    pub(super) fn check_bars(&self) {
        for (node, bar) in &self.bars {
            let of_node = self.lanes.values().filter_map(Lane::peer).filter(|peer| peer.node == *node);
            let kept = self.planted.has(Bug::BarNotKept) || of_node.into_iter().all(|p| p.round >= bar.below);
            assert!(kept, "L12: a start of {node} that is barred is a neighbour");
        }
    }
}

pub(super) type Bars = BTreeMap<NodeId, Bar>;
