//! Connections of which the two ends think differently: dead without a word, forgotten by one end, or overtaken by a newer one.

use super::disturb::Disturbance;
use super::{EndState, Network, lose};
use crate::coverage::sometimes;
use crate::event::{Event, MICRO, MILLI, Queue, Side, Time};
use crate::random::{Draws, Purpose};

impl Network {
    /// The connections between two nodes of which neither end was told that they are over, each with the side of `from`.
    fn living(&self, from: usize, to: usize) -> Vec<(usize, Side)> {
        let alive = |connection: &usize| {
            let entry = &self.connections[*connection];
            !entry.broken && entry.ends.iter().all(|end| end.state != EndState::Down)
        };
        (0..self.connections.len())
            .filter(alive)
            .flat_map(|connection| [(connection, 0), (connection, 1)])
            .filter(|&(connection, side)| self.pair(connection, side) == (from, to))
            .collect()
    }

    /// Bytes of one direction of a connection vanish from now on, the end of it included, and nobody is told.
    fn hush(&mut self, connection: usize, side: Side) {
        let entry = &mut self.connections[connection];
        let to = entry.ends[1 - side].node;
        let pipe = &mut entry.pipes[side];
        pipe.lost = true;
        pipe.silent = true;
        pipe.finished = false;
        pipe.again = None;
        lose(&mut self.lost, pipe, to);
    }

    /// The connections that are up from one node to another die that way without a word; dials meet nothing of it.
    pub fn silence(&mut self, from: usize, to: usize) {
        for (connection, side) in self.living(from, to) {
            self.hush(connection, side);
        }
    }

    /// One node forgets its connections to another, which is not told: its bytes vanish.
    pub fn half_open(&mut self, queue: &mut Queue, now: Time, forgets: usize, believes: usize) {
        for (connection, side) in self.living(forgets, believes) {
            self.hush(connection, 0);
            self.hush(connection, 1);
            let mut draws = Draws::new(self.seed, Purpose::Connection, connection as u64, 8);
            queue.push(now + draws.spread(10 * MICRO, MILLI), Event::LaneDown { connection, side });
        }
    }

    /// The address translation before a node starts anew: all connections that it dialled are dead, and nobody is told.
    pub fn rebind(&mut self, node: usize) {
        for connection in 0..self.connections.len() {
            let entry = &self.connections[connection];
            if entry.ends[0].node == node && !entry.broken && !entry.over() {
                self.hush(connection, 0);
                self.hush(connection, 1);
            }
        }
    }

    /// Connections break for the sender at once; for the receiver only after what is under way has come, `by` later than it would
    /// have: behind the first bytes of a newer connection, if the sender dials soon.
    pub fn overtake(&mut self, queue: &mut Queue, now: Time, from: usize, to: usize, by: Time) {
        for (connection, side) in self.living(from, to) {
            self.hush(connection, 1 - side);
            let mut draws = Draws::new(self.seed, Purpose::Connection, connection as u64, 9);
            let entry = &mut self.connections[connection];
            entry.broken = true;
            let pipe = &mut entry.pipes[side];
            pipe.lost = true;
            pipe.finished = false;
            pipe.again = None;
            pipe.queue.iter_mut().for_each(|chunk| chunk.due += by);
            pipe.last_due += by;
            let last = pipe.queue.back().map_or(0, |chunk| chunk.due).max(now + by);
            queue.push(now + draws.spread(10 * MICRO, MILLI), Event::LaneDown { connection, side });
            queue.push(last + MILLI, Event::LaneDown { connection, side: 1 - side });
        }
    }

    /// An end is about to speak: if the address translation on the way has forgotten the connection, it is dead.
    pub(super) fn translate(&mut self, queue: &mut Queue, now: Time, connection: usize, side: Side) {
        let entry = &mut self.connections[connection];
        let idle_for = now - std::mem::replace(&mut entry.touched, now);
        if self.disturbed.is_empty() || entry.broken {
            return;
        }
        let (dialler, acceptor) = (entry.ends[0].node, entry.ends[1].node);
        let forgotten = self.disturbed.on(dialler, acceptor).find_map(|what| match what {
            Disturbance::Translated { idle, answers } if idle_for > idle => Some(answers),
            _ => None,
        });
        let Some(answers) = forgotten else { return };
        sometimes!(TranslationForgot);
        self.hush(connection, 0);
        self.hush(connection, 1);
        if answers && side == 0 {
            let back = self.latency(dialler, acceptor, connection as u64)
                + self.latency(acceptor, dialler, connection as u64);
            queue.push(now + back, Event::LaneDown { connection, side: 0 });
        }
    }

    /// A connection that was spoiled, or that lost too much, ends for both ends.
    pub fn breaks(&mut self, queue: &mut Queue, now: Time, connection: usize) {
        self.break_up(queue, now, connection, false);
    }
}
