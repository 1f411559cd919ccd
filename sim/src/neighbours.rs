//! What a world's checkers hear of neighbours and peers: links, dials, and which start of whom counts where.

use wattle_core::agreed::ConfigReply;
use wattle_core::event::MeshEvent;
use wattle_core::id::{GroupId, NodeId};
use wattle_core::node::Input;
use wattle_core::node::command::Reply;
use wattle_core::node::output::{CloseReason, DialId, Event, Output};

use crate::checker::{Failure, News};
use crate::machine::Machine;
use crate::network::End;
use crate::world::World;

impl<M: Machine> World<M> {
    /// A dial came to nothing.
    pub(crate) fn dial_failed(&mut self, node: usize, to: Option<usize>, dial: DialId) {
        if let Some(peer) = to {
            self.links.dial_failed(node, peer);
        }
        self.step(node, Input::DialFailed { dial });
    }

    /// A node took in beats of others' newest starts.
    pub(crate) fn heard(&mut self, news: &[News], end: End) {
        let process = &self.processes[end.node];
        if process.life != end.life {
            return;
        }
        let Some(machine) = &process.machine else { return };
        if self.books.departures.any() {
            // Whoever was let in again is a stranger to those that have not heard of it, and beats of strangers count nowhere; neither do those on a
            // connection whose ends are at different mesh epochs.
            return;
        }
        for news in news {
            let held = machine.peer_start(self.processes[news.peer].id());
            if let Err(failure) = self.peers.heard(end.node, news, held) {
                return self.fail(failure);
            }
        }
    }

    /// A node tells somebody that a change of the configuration is decided.
    pub(crate) fn acknowledges(&mut self, node: usize, machine: &M, output: &Output) {
        if let Output::Reply { reply: Ok(Reply::Config(reply)), .. } = output
            && let ConfigReply::Written { version } | ConfigReply::Deleted { version } = *reply
        {
            let held = machine.group_place_at(GroupId::CONTROL, version);
            self.books.recoveries.acknowledges(node, version, held);
        }
    }

    /// A node that tells of a start of another may know that one only since a moment ago.
    pub(crate) fn meets(&mut self, node: usize, machine: &M, output: &Output) {
        if let Output::Event(Event::PeerStarted { node: peer, .. }) = output
            && let Some(since) = machine.peer_met(*peer)
        {
            self.peers.met(node, *peer, since);
        }
    }

    /// A node tells that it takes no part for a while, or that it does again.
    pub(crate) fn stops_or_starts(&mut self, node: usize, event: &Event) {
        let own = self.processes[node].id();
        match event {
            Event::Mesh(MeshEvent::NodeStopped { node: whose, .. }) if *whose == own => {
                self.links.stops(node)
            }
            Event::Mesh(MeshEvent::NodeStarted { node: whose, .. }) if *whose == own => {
                self.links.goes_on(node)
            }
            _ => {}
        }
    }

    /// A node tells of a link, or of a start of another node.
    pub(crate) fn tells_of_neighbours(&mut self, node: usize, event: &Event) -> Result<(), Failure> {
        let now = self.processes[node].clock.read(self.now).monotonic;
        let place = |id: &NodeId| self.processes.iter().position(|process| process.id() == *id);
        match event {
            Event::LinkUp { node: peer } => {
                if let Some(peer) = place(peer) {
                    self.links.link_up(node, peer, now);
                }
            }
            Event::LinkDown { node: peer } => {
                if let Some(peer) = place(peer) {
                    let dials = self.plan.dials(node, peer);
                    self.links.link_down(node, peer, now, dials);
                }
            }
            // It belongs to the mesh no more, for this node: what goes on between the two ends for that.
            Event::PeerRefused { node: Some(peer), reason: CloseReason::Unwelcome(_) } => {
                if let Some(peer) = place(peer) {
                    self.links.refuses(node, peer);
                }
            }
            Event::PeerStarted { node: peer, boot } => self.peers.counts(node, now, *peer, *boot)?,
            _ => {}
        }
        Ok(())
    }
}
