//! Two starts of one node at the door of a third (rule C6, L12).
//!
//! A node that starts anew is met by neighbours that may still believe in its former start. So a start that wants to be a neighbour beside
//! another waits, and both are asked. Whoever does not answer goes: the other is the node. If both answer what was asked once both were known, both
//! lived at that moment, whatever their counts of starts say and however long anything was under way: a disk was copied. Both are told, as the last
//! word to them, and neither is a neighbour again.

use alloc::format;
use alloc::vec::Vec;

use super::lane::{Peer, Phase};
use super::links::Links;
use super::{Hello, Message, Output};
use crate::id::{BootId, LaneId, NodeId};
use crate::node::output::CloseReason;
use crate::planted::Bug;
use crate::rare;
use crate::sometimes;
use crate::time::Instant;

/// Two starts of one node that live at the same time, the smaller first.
pub type Twins = [BootId; 2];

/// The two in the order in which they are named.
#[must_use]
pub fn twins(one: BootId, other: BootId) -> Twins {
    [one.min(other), one.max(other)]
}

/// Who has answered since both were known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Contest {
    incumbent: BootId,
    newcomer: BootId,
    since: Instant,
    incumbent_lives: bool,
    newcomer_lives: bool,
}

impl Links {
    /// Another start of a neighbour has its hello accepted: it waits until one of the two is silent.
    pub(super) fn contend(&mut self, now: Instant, id: LaneId, peer: Peer) {
        sometimes!(StartsContend);
        let (node, newcomer) = (peer.node, peer.boot);
        let Some(incumbent) = self.links.get(&node).map(|link| link.boot) else { return };
        self.no_stranger(id);
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        lane.phase = Phase::Contending { peer, until: now + self.config.handshake_timeout };
        let known = self.contests.get(&node);
        if known.is_none_or(|known| (known.incumbent, known.newcomer) != (incumbent, newcomer)) {
            let (incumbent_lives, newcomer_lives) = (false, false);
            let contest = Contest { incumbent, newcomer, since: now, incumbent_lives, newcomer_lives };
            self.contests.insert(node, contest);
        }
        self.probe_lanes(now, node);
        self.send(id, Message::Ping { sent: now.0 });
        self.arm(id);
    }

    /// A lane answers what was asked at `echo`: what that says of a contest of its node.
    pub(super) fn answers_contest(&mut self, now: Instant, id: LaneId, echo: Instant) {
        let Some((node, boot)) = self.lanes.get(&id).and_then(|lane| lane.peer()).map(|p| (p.node, p.boot))
        else {
            return;
        };
        let Some(contest) = self.contests.get_mut(&node) else { return };
        let early = echo < contest.since;
        if early && !self.planted.strikes(Bug::EarlyAnswerCounts, || early) {
            rare!(AnsweredBeforeContest);
            return;
        }
        contest.incumbent_lives |= boot == contest.incumbent;
        contest.newcomer_lives |= boot == contest.newcomer;
        let Contest { incumbent, newcomer, .. } = *contest;
        if contest.incumbent_lives && contest.newcomer_lives {
            rare!(TwinsFound);
            self.found_twins(now, node, twins(incumbent, newcomer));
            self.emit(Output::Twins { node, twins: twins(incumbent, newcomer) });
        }
    }

    /// The link of a node is down: whoever waited to take its place dials anew, and so does this node.
    pub(super) fn end_contest(&mut self, now: Instant, node: NodeId) {
        if self.contests.remove(&node).is_some() {
            sometimes!(ContestOver);
            for id in self.contending(node) {
                self.close(now, id, CloseReason::Surplus);
            }
        }
    }

    /// Forgets a contest whose newcomer is gone.
    pub(super) fn leave_contest(&mut self, node: NodeId) {
        if self.contending(node).is_empty() {
            self.contests.remove(&node);
        }
    }

    fn contending(&self, node: NodeId) -> Vec<LaneId> {
        let of_node = |phase: &Phase| matches!(phase, Phase::Contending { peer, .. } if peer.node == node);
        self.lanes.iter().filter(|(_, lane)| of_node(&lane.phase)).map(|(id, _)| *id).collect()
    }

    /// Two starts of a node live: neither is a neighbour, and both are told.
    pub(super) fn found_twins(&mut self, now: Instant, node: NodeId, twins: Twins) {
        self.twins.insert(node, twins);
        self.contests.remove(&node);
        let mut lanes = self.contending(node);
        lanes.extend(self.links.get(&node).into_iter().flat_map(|link| link.lanes.iter().copied()));
        for id in lanes {
            self.tell_twin(now, id, node, twins);
        }
    }

    fn tell_twin(&mut self, now: Instant, id: LaneId, node: NodeId, twins: Twins) {
        if self.lanes.get(&id).is_some_and(|lane| matches!(lane.phase, Phase::Closed | Phase::Fenced { .. }))
        {
            return;
        }
        self.send(id, Message::Twins(twins));
        self.dismiss(now, id, node, format!("two starts of {node} live, {} and {}", twins[0], twins[1]));
    }

    /// A start says hello that is known to be one of two: it may not have heard of that.
    pub(super) fn turns_twin_away(&mut self, now: Instant, id: LaneId, hello: &Hello) -> bool {
        let Some(&twins) = self.twins.get(&hello.node).filter(|twins| twins.contains(&hello.boot)) else {
            return false;
        };
        rare!(TwinCameBack);
        self.tell_twin(now, id, hello.node, twins);
        true
    }

    /// What was found out while its handshake was under way keeps a start from being a neighbour.
    pub(super) fn becomes_no_neighbour(&mut self, now: Instant, id: LaneId, peer: &Peer) -> bool {
        let twins = self.twins.get(&peer.node).copied().filter(|twins| twins.contains(&peer.boot));
        twins.inspect(|&twins| self.tell_twin(now, id, peer.node, twins)).is_some()
    }

    /// A hello of this very node's identity, by another start. The connection was made in the life of this one, so both live.
    pub(super) fn meets_itself(&mut self, id: LaneId, hello: &Hello) {
        let key = self.lanes.get(&id).map(|lane| lane.key).unwrap_or_default();
        if hello.node == self.own && hello.boot != self.boot && self.is_member(self.own, &key) {
            rare!(MetItself);
            let twins = twins(self.boot, hello.boot);
            self.emit(Output::Twin { twins, seen_by: None });
        }
    }

    /// A neighbour says that two starts of this node live.
    pub(super) fn on_twins(&mut self, now: Instant, id: LaneId, twins: Twins) {
        let Some(lane) = self.lanes.get(&id) else { return };
        let key = lane.key;
        let of_member = self.roster.iter().find(|(_, keys)| keys.contains(&key)).map(|(node, _)| *node);
        if matches!(lane.phase, Phase::Closed | Phase::Fenced { .. }) {
            return;
        }
        if let Some(node) = of_member.filter(|_| twins.contains(&self.boot)) {
            self.emit(Output::Twin { twins, seen_by: Some(node) });
        }
        let words = alloc::string::String::from("the other end says that two starts of this node live");
        self.close(now, id, CloseReason::Unwelcome(words));
    }

    /// What others found out of a node: two of its starts live, or a later one has taken the place of both.
    pub(super) fn told_of_twins(&mut self, now: Instant, node: NodeId, twins: Option<Twins>) {
        match twins {
            Some(twins) if node != self.own => self.found_twins(now, node, twins),
            _ => drop(self.twins.remove(&node)),
        }
    }

    /// A start of a node is heard: if it is a third one, what was known of the two is over.
    pub fn hears_start(&mut self, node: NodeId, boot: BootId) {
        if self.twins.get(&node).is_some_and(|twins| !twins.contains(&boot)) {
            rare!(TwinsOver);
            self.twins.remove(&node);
            self.emit(Output::TwinsOver { node });
        }
    }

    /// The two starts of a node that live, as far as this node knows: nothing that either says counts.
    #[must_use]
    pub fn twins_of(&self, node: NodeId) -> Option<Twins> {
        self.twins.get(&node).copied()
    }

    pub(super) fn check_contests(&self) {
        for (node, twins) in &self.twins {
            let linked = self.links.get(node).is_some_and(|link| twins.contains(&link.boot));
            assert!(!linked, "L12: one of two starts of {node} is a neighbour");
        }
        for (node, contest) in &self.contests {
            let boot = self.links.get(node).map(|link| link.boot);
            assert_eq!(boot, Some(contest.incumbent), "L12: nobody stands against the newcomer of {node}");
            assert!(!self.contending(*node).is_empty(), "L12: nobody wants the place of {node}");
        }
    }
}
