//! What becomes of connections, as their ends notice it.

use wattle_core::node::Input;

use crate::machine::Machine;
use crate::network::{Arrival, EndState, Met};
use crate::process::State;
use crate::world::World;

impl<M: Machine> World<M> {
    pub(crate) fn dialled(&mut self, slot: usize) {
        let dial = self.network.dial_of(slot);
        if self.processes[dial.from].life != dial.life {
            return;
        }
        let met = match dial.to {
            Some(to) if self.plan.nodes[to].listens && self.processes[to].is_up() => {
                Met::Somebody { life: self.processes[to].life }
            }
            _ => Met::Nobody,
        };
        self.network.dialled(&mut self.queue, self.now, slot, met);
    }

    pub(crate) fn lane_up(&mut self, connection: usize, side: usize) {
        let entry = self.network.connection(connection);
        let (node, peer) = (entry.ends[side].node, entry.ends[1 - side].node);
        let dial = (side == 0).then_some(entry.dial);
        let process = &mut self.processes[node];
        let lane = wattle_core::id::LaneId(process.next_lane);
        if !self.network.lane_up(&mut self.queue, self.now, connection, side, lane) {
            return;
        }
        process.next_lane += 1;
        process.lanes.insert(lane, (connection, side));
        let read = process.clock.read(self.now).monotonic;
        self.links.lane_up(node, peer, connection, side == 0, read);
        let peer_key = self.processes[peer].shown;
        self.books.keys.lane_up(node, lane, self.processes[peer].id(), peer_key);
        self.step(node, Input::LaneUp { lane, dial, peer_key });
    }

    pub(crate) fn lane_down(&mut self, connection: usize, side: usize) {
        self.explain_end(connection, side);
        let before = self.network.lane_down(connection, side);
        self.next_version.forget((connection, side));
        let entry = self.network.connection(connection);
        let (end, peer, dial) = (entry.ends[side], entry.ends[1 - side].node, entry.dial);
        match before {
            EndState::Up | EndState::Closing => {
                self.links.lane_down(end.node, peer, connection);
                self.processes[end.node].lanes.remove(&end.lane);
                self.books.keys.lane_over(end.node, end.lane);
                self.step(end.node, Input::LaneDown { lane: end.lane });
            }
            EndState::Pending if side == 0 => self.dial_failed(end.node, Some(peer), dial),
            EndState::Pending | EndState::Down => {}
        }
    }

    pub(crate) fn arrive(&mut self, connection: usize, side: usize) {
        let sender_was_full = self.network.room(connection, 1 - side) == 0;
        let Arrival::Bytes(bytes) = self.network.arrive(&mut self.queue, self.now, connection, side) else {
            return;
        };
        let ends = self.network.connection(connection).ends;
        let bytes = match self.next_version.speaks(ends[side].node) {
            true => self.next_version.receives((connection, side), bytes),
            false => bytes,
        };
        if !bytes.is_empty() {
            let node = ends[side].node;
            // What a neighbour that fell left on its way may come behind its next start, whose link has taken the place of this one.
            let lives = self.processes[ends[1 - side].node].life == ends[1 - side].life;
            let open = ends[side].state == EndState::Up && lives && self.peers.waits(node);
            let news = if open { self.peers.news(node, &bytes) } else { Vec::new() };
            self.books.keys.heard(node, ends[side].lane);
            self.step(node, Input::Received { lane: ends[side].lane, bytes });
            self.heard(&news, ends[side]);
        }
        let sender = ends[1 - side];
        let process = &self.processes[sender.node];
        if sender_was_full && process.state == State::Up && process.life == sender.life {
            self.pump(sender.node);
        }
    }
}
