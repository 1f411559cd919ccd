//! Which of several lanes carries the link, and how the others go.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use super::lane::Preference;
use super::links::Links;
use super::{Message, Output};
use crate::id::{BootId, Generation, LaneId, NodeId};
use crate::node::output::CloseReason;
use crate::planted::Bug;
use crate::sometimes;
use crate::time::Instant;

/// A neighbour that is there.
#[derive(Clone, Debug)]
pub(super) struct Link {
    pub(super) boot: BootId,
    pub(super) generation: Generation,
    /// The lane that carries it.
    pub(super) current: LaneId,
    /// All lanes that could, and those that are being left.
    pub(super) lanes: BTreeSet<LaneId>,
    since: Instant,
    /// How often it was to be renewed since keys last changed.
    pub(super) renewals: u32,
}

impl Link {
    pub(super) fn new(boot: BootId, generation: Generation, lane: LaneId, since: Instant) -> Self {
        Self { boot, generation, current: lane, lanes: BTreeSet::from([lane]), since, renewals: 0 }
    }
}

impl Links {
    /// The lane of a link that is preferred, among those not being left; with `confirmed`, among those that both ends confirmed.
    fn preferred(&self, link: &Link, confirmed: bool) -> Option<LaneId> {
        let fit = |id: &LaneId| -> Option<(bool, Preference, LaneId)> {
            let linked = self.lanes.get(id)?.linked()?;
            let unconfirmed = linked.unconfirmed.is_some();
            let fits = linked.leaving.is_none() && !(confirmed && unconfirmed);
            fits.then_some((unconfirmed, linked.peer.preference, *id))
        };
        link.lanes.iter().filter_map(fit).min().map(|(_, _, id)| id)
    }

    /// Chooses the lane that carries the link, and leaves the others. Waits while any lane still has to prove itself: the preferred
    /// one may be one that only this end believes in.
    pub(super) fn settle(&mut self, now: Instant, node: NodeId) {
        let Some(link) = self.links.get(&node) else { return };
        let linked = |id: &LaneId| self.lanes.get(id).and_then(|lane| lane.linked());
        if link.lanes.iter().filter_map(linked).any(|linked| linked.probe.is_some()) {
            return;
        }
        let Some(best) = self.preferred(link, true) else { return };
        let confirmed =
            |id: &LaneId| linked(id).is_some_and(|l| l.unconfirmed.is_none() && l.leaving.is_none());
        let surplus: Vec<LaneId> =
            link.lanes.iter().copied().filter(|id| *id != best && confirmed(id)).collect();
        sometimes!(LinkSuperseded, !surplus.is_empty());
        self.switch(node, best);
        for id in surplus {
            self.leave(now, id, best);
        }
        self.renew_if_old(now, node);
    }

    fn switch(&mut self, node: NodeId, lane: LaneId) {
        let Some(link) = self.links.get_mut(&node) else { return };
        if link.current != lane {
            link.current = lane;
            if !self.planted.has(Bug::SwitchNotTold) {
                self.emit(Output::Switched { node, lane });
            }
            if let Some(rtt) = self.rtt(node) {
                self.emit(Output::Rtt { node, rtt });
            }
        }
    }

    fn leave(&mut self, now: Instant, id: LaneId, survivor: LaneId) {
        let survivor = self.lanes.get(&survivor).and_then(|lane| lane.linked());
        assert!(
            survivor.is_some_and(|linked| linked.unconfirmed.is_none()),
            "L4: lane {id} is left for nothing"
        );
        if let Some(linked) = self.lanes.get_mut(&id).and_then(|lane| lane.linked_mut()) {
            linked.leaving = Some(now + self.config.drain);
            self.send(id, Message::Leaving);
            self.arm(id);
        }
    }

    /// The other end has said its last word on a lane.
    pub(super) fn on_leaving(&mut self, now: Instant, id: LaneId) {
        let Some(lane) = self.lanes.get(&id) else { return };
        match lane.linked() {
            Some(linked) if linked.unconfirmed.is_none() => {
                sometimes!(FarewellHeard);
                self.close(now, id, CloseReason::Surplus);
            }
            Some(_) => self.misbehaved(now, id, "a farewell before the handshake was done"),
            None if lane.peer().is_some() => {
                self.misbehaved(now, id, "a farewell before the handshake was done")
            }
            None => {}
        }
    }

    /// A lane of a link is gone.
    pub(super) fn lost(&mut self, now: Instant, node: NodeId, id: LaneId) {
        let Some(link) = self.links.get_mut(&node) else { return };
        link.lanes.remove(&id);
        if link.current != id {
            return self.settle(now, node);
        }
        let Some(link) = self.links.get(&node) else { return };
        match self.preferred(link, false) {
            Some(other) => {
                sometimes!(LinkSwitched);
                self.switch(node, other);
                self.settle(now, node);
            }
            None => self.down(now, node),
        }
    }

    /// Ends a link and closes whatever lanes it has.
    pub(super) fn down(&mut self, now: Instant, node: NodeId) {
        for id in self.take_down(now, node) {
            self.close(now, id, CloseReason::Surplus);
        }
    }

    /// Ends a link. Gives the lanes it had.
    pub(super) fn take_down(&mut self, now: Instant, node: NodeId) -> BTreeSet<LaneId> {
        let Some(link) = self.links.remove(&node) else { return BTreeSet::new() };
        self.labels.release(node);
        if !self.planted.has(Bug::NobodyRedials) {
            self.targets.arm(now, node, now.since(link.since), &self.config, &mut self.rng);
        }
        self.emit(Output::Down { node });
        link.lanes
    }
}
