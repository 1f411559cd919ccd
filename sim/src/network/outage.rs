//! What goes wrong with connections: resets, dead nodes, cuts, delays; and the end of all of it.

use super::disturb::Disturbances;
use super::{EndState, Network, lose};
use crate::coverage::sometimes;
use crate::event::{Event, MICRO, MILLI, Queue, SECOND, Time};
use crate::plan::Latency;
use crate::random::{Draws, Purpose};

impl Network {
    /// A connection breaks. Both ends learn of it, in their own time; `late` lets bytes under way arrive until then.
    pub(super) fn break_up(&mut self, queue: &mut Queue, now: Time, connection: usize, late: bool) {
        let entry = &mut self.connections[connection];
        if entry.broken || entry.over() {
            return;
        }
        entry.broken = true;
        let mut draws = Draws::new(self.seed, Purpose::Connection, connection as u64, 5);
        let slow_side = draws.index(2);
        for side in [0, 1] {
            entry.pipes[side].lost = true;
            entry.pipes[side].again = None;
            if !late {
                lose(&mut self.lost, &mut entry.pipes[side], entry.ends[1 - side].node);
            }
            let delay = if late && side == slow_side {
                draws.spread(5 * MILLI, 3 * SECOND)
            } else {
                draws.spread(20 * MICRO, 20 * MILLI)
            };
            queue.push(now + delay, Event::LaneDown { connection, side });
        }
    }

    /// Every connection between two nodes breaks.
    pub fn reset(&mut self, queue: &mut Queue, now: Time, one: usize, other: usize, late: bool) {
        for connection in 0..self.connections.len() {
            let (from, to) = self.pair(connection, 0);
            if (from, to) == (one, other) || (from, to) == (other, one) {
                self.break_up(queue, now, connection, late);
            }
        }
    }

    /// A node is gone, and with it its ends. The far ends learn of it: at once, or late when its power failed.
    pub fn node_down(&mut self, queue: &mut Queue, now: Time, node: usize, power: bool) {
        for (connection, entry) in self.connections.iter_mut().enumerate() {
            for side in [0, 1] {
                if entry.ends[side].node != node || entry.ends[side].state == EndState::Down {
                    continue;
                }
                entry.ends[side].state = EndState::Down;
                let mut draws = Draws::new(self.seed, Purpose::Connection, connection as u64, 6);
                let delay = draws.spread(50 * MICRO, if power { 3 * SECOND } else { 5 * MILLI });
                let heard = !entry.broken && !entry.pipes[side].silent;
                if entry.ends[1 - side].state != EndState::Down && heard {
                    entry.broken = true;
                    queue.push(now + delay, Event::LaneDown { connection, side: 1 - side });
                }
                lose(&mut self.lost, &mut entry.pipes[1 - side], node);
                entry.pipes[1 - side].lost = true;
                let to = entry.ends[1 - side].node;
                let sent = &mut entry.pipes[side];
                sent.finished = false;
                if power {
                    // What the dead host had not yet put on the wire is gone with it.
                    sent.queue.retain(|chunk| {
                        let leaves = chunk.due <= now + delay;
                        if !leaves && chunk.sent != 0 {
                            self.lost.push((chunk.sent, to));
                        }
                        leaves
                    });
                }
                sent.lost = true;
            }
        }
    }

    /// Bytes from one node to another stall, or flow again.
    pub fn cut(&mut self, queue: &mut Queue, now: Time, from: usize, to: usize, stalled: bool) {
        let Some(link) = self.links.get_mut(from, to) else { return };
        if !stalled {
            link.cuts -= 1;
            if link.cuts == 0 {
                self.flow(queue, now, from, to);
            }
            return;
        }
        link.cuts += 1;
        if link.cuts > 1 {
            return;
        }
        link.cut_since = now;
        for connection in 0..self.connections.len() {
            let (one, other) = self.pair(connection, 0);
            if !self.connections[connection].over()
                && ((one, other) == (from, to) || (other, one) == (from, to))
            {
                let mut draws = Draws::new(self.seed, Purpose::Connection, connection as u64, 7);
                let patience = draws.spread(300 * MILLI, 8 * SECOND);
                queue.push(now + patience, Event::Impatient { connection });
            }
        }
    }

    /// What stalled from one node to another arrives, all at once.
    pub(super) fn flow(&mut self, queue: &mut Queue, now: Time, from: usize, to: usize) {
        for connection in 0..self.connections.len() {
            for side in [0, 1] {
                if self.pair(connection, side) == (from, to) {
                    self.arm(queue, now, connection, side);
                }
            }
        }
    }

    /// Breaks a connection across which nothing went for the patience of its ends.
    pub fn impatient(&mut self, queue: &mut Queue, now: Time, connection: usize) {
        let mut draws = Draws::new(self.seed, Purpose::Connection, connection as u64, 7);
        let patience = draws.spread(300 * MILLI, 8 * SECOND);
        let (one, other) = self.pair(connection, 0);
        let stalled = |from: usize, to: usize| {
            let link = self.links.get(from, to);
            link.is_some_and(|link| link.cuts > 0 && now >= link.cut_since + patience)
        };
        if stalled(one, other) || stalled(other, one) {
            sometimes!(StalledTooLong);
            let late = draws.percent(50);
            self.break_up(queue, now, connection, late);
        }
    }

    /// Bytes from one node to another take longer by so much; 0 ends it.
    pub fn slow(&mut self, from: usize, to: usize, extra: Time) {
        if let Some(link) = self.links.get_mut(from, to) {
            link.slower = extra;
        }
    }

    /// Everything flows, quickly, from now on.
    pub fn heal(&mut self, queue: &mut Queue, now: Time) {
        self.disturbed = Disturbances::default();
        for link in self.links.each() {
            (link.cuts, link.slower) = (0, 0);
            link.latency = Latency::Uniform(100 * MICRO, MILLI);
        }
        self.plan.bandwidth = 0;
        self.plan.duplicate_one_in = 0;
        for connection in 0..self.connections.len() {
            for side in [0, 1] {
                let pipe = &mut self.connections[connection].pipes[side];
                let limit = now + 50 * MILLI;
                pipe.last_due = pipe.last_due.min(limit);
                pipe.free_at = pipe.free_at.min(now);
                for chunk in &mut pipe.queue {
                    chunk.due = chunk.due.min(limit);
                }
                // The event that was set may lie far ahead: another comes earlier, and the old one finds what is left.
                pipe.armed = false;
                self.arm(queue, now, connection, side);
            }
        }
    }
}
