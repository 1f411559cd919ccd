//! Hello and confirmation: who may be a neighbour.

use alloc::format;
use alloc::string::String;
use core::cmp::Reverse;

use bytes::Bytes;

use wattle_proto::frame::{HANDSHAKE_FRAME, VERSIONS};

use super::lane::{Lane, Linked, Peer, Phase, Probe};
use super::links::Links;
use super::survivor::Link;
use super::{Hello, Message, Output, Purpose};
use crate::id::{LaneId, NodeId};
use crate::node::output::CloseReason;
use crate::planted::Bug;
use crate::rare;
use crate::sometimes;
use crate::time::Instant;
use crate::work::PublicKey;

fn unwelcome<T>(words: String) -> Result<T, CloseReason> {
    Err(CloseReason::Unwelcome(words))
}

impl Links {
    pub(super) fn on_hello(&mut self, now: Instant, id: LaneId, hello: Hello) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        match lane.phase {
            Phase::Greeting { .. } => {}
            Phase::Fenced { .. } | Phase::Closed => return,
            _ => return self.misbehaved(now, id, "a second hello"),
        }
        lane.max_frame = (hello.max_frame.min(self.config.max_frame) as usize).max(HANDSHAKE_FRAME);
        let (nonce, dialled) = (lane.nonce, lane.dialled);
        let joining =
            lane.target.and_then(|target| self.targets.get(target)).is_some_and(|target| target.joining);
        let purpose = if joining { Purpose::Join } else { Purpose::Link };
        if dialled && hello.purpose != purpose {
            return self.misbehaved(now, id, "a hello that answers another question");
        }
        if let Err(reason) = self.check_hello(id, &hello) {
            sometimes!(HelloRefused);
            // What stands in the way may be a lane that is dead already.
            let key = self.lanes.get(&id).map(|lane| lane.key).unwrap_or_default();
            if self.is_member(hello.node, &key) {
                self.probe_lanes(now, hello.node);
            }
            self.tell_of_stranger(key, &hello);
            if self.shows_retired(now, id, &hello) {
                return;
            }
            if matches!(reason, CloseReason::Unwelcome(_)) && self.turns_rival_away(now, id, &hello) {
                return;
            }
            return self.turn_away(now, id, &hello, reason);
        }
        if hello.purpose == Purpose::Link {
            self.note_epoch(&hello);
            self.look_at_identity(&hello);
        }
        if !dialled {
            self.send_hello(id, hello.purpose, nonce);
        }
        match hello.purpose {
            Purpose::Join => self.open_for_joining(now, id, hello.endorsement),
            Purpose::Link if dialled => {
                let peer = self.peer_of(id, &hello, self.own, nonce);
                self.send(id, Message::Confirm);
                self.take_up(now, id, peer, Some(now + self.config.handshake_timeout));
            }
            Purpose::Link => {
                let own_first = self.planted.has(Bug::KeepsOwnDial);
                let dialler = if own_first { NodeId(u128::MAX) } else { hello.node };
                let peer = self.peer_of(id, &hello, dialler, hello.nonce);
                if let Some(lane) = self.lanes.get_mut(&id) {
                    lane.phase = Phase::Confirming { peer, until: now + self.config.handshake_timeout };
                }
            }
        }
    }

    /// Who is turned away only because nothing is known of it here, or not of its key, may be a member since this node last heard.
    fn tell_of_stranger(&mut self, key: PublicKey, hello: &Hello) {
        let Hello { mesh, purpose, node, ref endorsement, .. } = *hello;
        let (low, high) = VERSIONS;
        let same_mesh = mesh.is_some() && mesh == self.mesh && purpose == Purpose::Link;
        let understood = hello.version_low <= high && low <= hello.version_high;
        if same_mesh
            && understood
            && node != self.own
            && !self.is_member(node, &key)
            && !endorsement.is_empty()
            && self.may_be_newer(hello)
        {
            sometimes!(StrangerEndorsed);
            self.emit(Output::Stranger { node, key, endorsement: endorsement.clone() });
        }
    }

    fn peer_of(&self, id: LaneId, hello: &Hello, dialler: NodeId, nonce: u64) -> Peer {
        // What each end said of the other's key: so both count the same, whatever either knows by now.
        let said = self.lanes.get(&id).map_or(0, |lane| lane.rank_said);
        let keys = said.saturating_add(hello.key_rank);
        Peer {
            node: hello.node,
            boot: hello.boot,
            generation: hello.generation,
            round: hello.round,
            preference: (Reverse(hello.generation), Reverse(keys), dialler, nonce),
        }
    }

    pub(super) fn on_confirm(&mut self, now: Instant, id: LaneId) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        match &mut lane.phase {
            Phase::Fenced { .. } | Phase::Closed => {}
            Phase::Confirming { peer, .. } => {
                let peer = peer.clone();
                // Others may have come up, or gone from the roster's graces, since the hello.
                if let Err(reason) = self.check_start(&peer) {
                    rare!(OvertakenWhileConfirming);
                    self.probe_lanes(now, peer.node);
                    return self.close(now, id, reason);
                }
                self.send(id, Message::Confirm);
                self.take_up(now, id, peer, None);
            }
            Phase::Linked(linked) if linked.unconfirmed.is_some() => {
                linked.unconfirmed = None;
                let node = linked.peer.node;
                self.prove_confirmed(now, node, id);
                self.settle(now, node);
            }
            // Said twice, perhaps: it changes nothing.
            Phase::Linked(_) => {}
            _ => self.misbehaved(now, id, "a confirmation that nobody waits for"),
        }
    }

    fn check_hello(&self, id: LaneId, hello: &Hello) -> Result<(), CloseReason> {
        let Some(lane) = self.lanes.get(&id) else { return Ok(()) };
        let (low, high) = VERSIONS;
        if hello.version_low > hello.version_high {
            return Err(CloseReason::Misbehaved(String::from("a range of versions that is upside down")));
        }
        if hello.version_high < low || hello.version_low > high {
            return unwelcome(format!(
                "it speaks versions {} to {}, this node {low} to {high}",
                hello.version_low, hello.version_high
            ));
        }
        if (hello.max_frame as usize) < HANDSHAKE_FRAME {
            return Err(CloseReason::Misbehaved(format!(
                "it takes frames of {} bytes only",
                hello.max_frame
            )));
        }
        if hello.node == self.own {
            return unwelcome(String::from("it is this node itself, or says so"));
        }
        match hello.purpose {
            Purpose::Link => self.check_member(id, lane, hello),
            Purpose::Join if lane.dialled => match hello.mesh {
                Some(_) => Ok(()),
                None => unwelcome(String::from("it belongs to no mesh that one could join")),
            },
            Purpose::Join => self.check_joiner(hello),
        }
    }

    fn check_member(&self, id: LaneId, lane: &Lane, hello: &Hello) -> Result<(), CloseReason> {
        let Some(mesh) = self.mesh else {
            return unwelcome(String::from("this node belongs to no mesh yet"));
        };
        match hello.mesh {
            Some(theirs) if theirs == mesh => {}
            Some(theirs) => return unwelcome(format!("it belongs to mesh {theirs}, this node to {mesh}")),
            None => return unwelcome(String::from("it belongs to no mesh yet")),
        }
        self.check_epoch(hello)?;
        if !self.roster.contains_key(&hello.node) {
            return unwelcome(format!(
                "{} ({:?}) is not a member as far as this node knows",
                hello.node, hello.name
            ));
        }
        if !self.is_member(hello.node, &lane.key) {
            return unwelcome(format!("its key is none of those of {}", hello.node));
        }
        if let Some(bar) = self.bar_of(hello) {
            return unwelcome(bar.words.clone());
        }
        let of_node = |lane: &&Lane| lane.peer().is_some_and(|peer| peer.node == hello.node);
        if self.lanes.values().filter(of_node).count() >= self.config.lanes_per_neighbour_max {
            return unwelcome(format!("{} has as many lanes as one neighbour may have", hello.node));
        }
        self.check_start(&self.peer_of(id, hello, self.own, 0))
    }

    /// A later start replaces an earlier one. Of anything else there is one at a time, for as long as it answers.
    fn check_start(&self, peer: &Peer) -> Result<(), CloseReason> {
        match self.links.get(&peer.node) {
            Some(link) if link.boot != peer.boot && peer.generation <= link.generation => unwelcome(format!(
                "another start of {} (number {}) is connected, and this is number {}",
                peer.node, link.generation, peer.generation
            )),
            _ => Ok(()),
        }
    }

    /// Whether its key is its own is judged with its wish: it may have been a member under that key.
    fn check_joiner(&self, hello: &Hello) -> Result<(), CloseReason> {
        if self.mesh.is_none() {
            return unwelcome(String::from("this node belongs to no mesh, so nobody can join through it"));
        }
        if hello.mesh.is_some() {
            return unwelcome(String::from("it wants to join and belongs to a mesh already"));
        }
        Ok(())
    }

    fn open_for_joining(&mut self, now: Instant, id: LaneId, rotations: Bytes) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        lane.phase = Phase::Joining { until: now + self.config.join_timeout };
        lane.ping_at = now + self.config.keepalive;
        let peer_key = lane.key;
        if let Some(target) = lane.target {
            self.targets.answered(target, None);
        }
        self.emit(Output::JoinLaneUp { lane: id, peer_key, rotations });
    }

    /// A lane may be used from here on.
    fn take_up(&mut self, now: Instant, id: LaneId, peer: Peer, unconfirmed: Option<Instant>) {
        let node = peer.node;
        self.no_stranger(id);
        if self.links.get(&node).is_some_and(|link| link.boot != peer.boot)
            && !self.planted.has(Bug::NewBootJoinsOldLink)
        {
            sometimes!(NeighbourStartedAnew);
            // L3: `check_start` let only a later start pass. Whatever the earlier one left behind is dead.
            self.tell_replaced(now, node, peer.boot);
        }
        let Some(label) = self.labels.assign(node) else {
            rare!(LabelsUsedUp);
            let words = String::from("this node has as many neighbours as it can have");
            return self.close(now, id, CloseReason::Unwelcome(words));
        };
        self.probe_lanes(now, node);
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        let target = lane.target;
        let (boot, generation) = (peer.boot, peer.generation);
        lane.phase = Phase::Linked(Linked { peer, unconfirmed, probe: None, leaving: None });
        lane.ping_at = now;
        if let Some(target) = target {
            self.targets.answered(target, Some(node));
        }
        self.show_epoch(id);
        if let Some(link) = self.links.get_mut(&node) {
            link.lanes.insert(id);
            if unconfirmed.is_none() {
                self.prove_confirmed(now, node, id);
            }
        } else {
            self.links.insert(node, Link::new(boot, generation, id, now));
            self.targets.rest(node);
            self.emit(Output::Up { node, lane: id, boot, generation, label });
        }
        self.settle(now, node);
    }

    /// Lets a lane that both ends have just confirmed prove itself, if there are others: the confirmation may have been under way
    /// for long, and the other end may have lost this very lane meanwhile. Others that live must not be left for it.
    fn prove_confirmed(&mut self, now: Instant, node: NodeId, id: LaneId) {
        let alone = self.links.get(&node).is_none_or(|link| link.lanes.len() < 2);
        let Some(lane) = self.lanes.get_mut(&id).filter(|_| !alone) else { return };
        lane.ping_at = now + self.config.keepalive;
        let Some(linked) = lane.linked_mut() else { return };
        // Of its round trip nothing is known yet: it has as long as its handshake had.
        linked.probe = Some(Probe { sent: now, until: now + self.config.handshake_timeout });
        self.send(id, Message::Ping { sent: now.0 });
        self.arm(id);
    }

    /// Lets the lanes a neighbour has prove themselves, also those that are asked already: an answer may be under way from before the other end lost
    /// the lane and dialled anew.
    fn probe_lanes(&mut self, now: Instant, node: NodeId) {
        let Some(link) = self.links.get(&node) else { return };
        let ids: alloc::vec::Vec<LaneId> = link.lanes.iter().copied().collect();
        for id in ids {
            let Some(lane) = self.lanes.get_mut(&id) else { continue };
            let patience = lane.rtt.unwrap_or_default().times(3).max(self.config.probe);
            let Some(linked) = lane.linked_mut() else { continue };
            if linked.leaving.is_none() {
                sometimes!(LaneProbed);
                // One that was just confirmed has as long as it was given.
                let given = linked.probe.map_or(now, |probe| probe.until);
                linked.probe = Some(Probe { sent: now, until: given.max(now + patience) });
                self.send(id, Message::Ping { sent: now.0 });
                self.arm(id);
            }
        }
    }
}
