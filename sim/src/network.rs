//! The network: dials, connections, and two ordered byte streams per connection that arrive in chunks.
//!
//! A connection never loses or reorders bytes within one direction, as TCP does not; everything else may happen to it: it stalls
//! across a cut, breaks with its bytes lost, is noticed by one end long before the other, delivers its last bytes after a newer
//! connection is up. As a hardening beyond TCP, whole frames (never handshakes) may arrive twice, late, or not at all.

mod disturb;
mod disturbed;
mod latency;
mod links;
mod loss;
mod outage;
mod silence;
mod tamper;

use std::collections::VecDeque;

use bytes::Bytes;
use wattle_core::id::LaneId;
use wattle_core::node::output::DialId;

use crate::event::{Event, MICRO, MILLI, Queue, SECOND, Side, Time};
use crate::frames::Frames;
use crate::plan::{Edge, Latency, NetworkPlan};
use crate::random::{Draws, Purpose};
use disturb::Disturbances;
use links::Links;

pub use disturb::Disturbance;

/// What an end of a connection knows of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndState {
    /// It was not told yet.
    Pending,
    /// It may send and receive.
    Up,
    /// It asked for the end; it still receives.
    Closing,
    /// It was told that it is over.
    Down,
}

/// One end of a connection.
#[derive(Clone, Copy, Debug)]
pub struct End {
    /// The node.
    pub node: usize,
    /// The node's life that it belongs to.
    pub life: u32,
    /// The node's name for it, once it is up.
    pub lane: LaneId,
    /// What the node knows.
    pub state: EndState,
}

#[derive(Debug)]
struct Chunk {
    due: Time,
    bytes: Bytes,
    /// What [`Network::carry`] said when they were sent.
    sent: u32,
    /// Whether it takes room in the window of its sender.
    counted: bool,
}

/// The bytes that travel from one end to the other.
#[derive(Debug, Default)]
struct Pipe {
    queue: VecDeque<Chunk>,
    under_way: usize,
    last_due: Time,
    /// When the last byte handed over will have left, under a limited bandwidth.
    free_at: Time,
    ordinal: u64,
    /// Whether an `Arrive` for the first chunk is in the queue of events.
    armed: bool,
    /// Whether what is sent from now on vanishes.
    lost: bool,
    /// Whether not even its end is heard at the other end.
    silent: bool,
    /// Whether the sender is done: the receiver is told once the queue is empty.
    finished: bool,
    /// A copy of a frame that arrives again behind a later one.
    again: Option<Bytes>,
}

/// A connection between two nodes.
#[derive(Debug)]
pub struct Connection {
    /// The dialling end, then the accepting one.
    pub ends: [End; 2],
    /// The dial it answers.
    pub dial: DialId,
    pipes: [Pipe; 2],
    broken: bool,
    /// When either end spoke last.
    touched: Time,
}

impl Connection {
    fn over(&self) -> bool {
        self.ends.iter().all(|end| end.state == EndState::Down)
    }
}

/// A dial under way.
#[derive(Clone, Copy, Debug)]
pub struct Dial {
    /// Who dials.
    pub from: usize,
    /// In which life.
    pub life: u32,
    /// The dialler's name for it.
    pub dial: DialId,
    /// Whom, if the address is anybody's.
    pub to: Option<usize>,
}

/// What a dial met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Met {
    /// Nobody listens there, or nobody is up.
    Nobody,
    /// A node in that life.
    Somebody {
        /// Its life.
        life: u32,
    },
}

/// What happened to a chunk that was due.
#[derive(Debug, PartialEq, Eq)]
pub enum Arrival {
    /// Nothing may be handed over now.
    Nothing,
    /// These bytes reach the end.
    Bytes(Bytes),
}

/// All links, dials and connections.
#[derive(Debug)]
pub struct Network {
    seed: u64,
    plan: NetworkPlan,
    links: Links,
    disturbed: Disturbances,
    connections: Vec<Connection>,
    dials: Vec<Dial>,
    duplicated: u64,
    /// Frames repeated since somebody asked.
    doubled: Vec<Bytes>,
    /// What goes with the bytes sent next, and what came with those that arrived last; 0 for nothing.
    carried: u32,
    arrived: u32,
    /// What went with bytes that will never arrive, and where they were to arrive, since somebody asked.
    lost: Vec<(u32, usize)>,
}

impl Network {
    /// A network in which exactly the pairs of `edges` can ever be connected.
    #[must_use]
    pub fn new(seed: u64, plan: NetworkPlan, edges: &[Edge]) -> Self {
        Self {
            seed,
            links: Links::new(&plan, edges),
            plan,
            disturbed: Disturbances::default(),
            connections: Vec::new(),
            dials: Vec::new(),
            duplicated: 0,
            doubled: Vec::new(),
            carried: 0,
            arrived: 0,
            lost: Vec::new(),
        }
    }

    /// A connection.
    #[must_use]
    pub fn connection(&self, connection: usize) -> &Connection {
        &self.connections[connection]
    }

    /// A dial.
    #[must_use]
    pub fn dial_of(&self, slot: usize) -> Dial {
        self.dials[slot]
    }

    /// How many frames were delivered twice so far.
    #[must_use]
    pub fn duplicated(&self) -> u64 {
        self.duplicated
    }

    /// The frames that were repeated since this was asked last.
    pub fn take_doubled(&mut self) -> Vec<Bytes> {
        std::mem::take(&mut self.doubled)
    }

    fn latency(&self, from: usize, to: usize, ordinal: u64) -> Time {
        let Some(link) = self.links.get(from, to) else { return 0 };
        let mut draws = Draws::new(self.seed, Purpose::Latency, Draws::link(from, to), ordinal);
        let usual = match link.latency {
            Latency::Fixed(time) => time,
            Latency::Uniform(low, high) => draws.between(low, high),
            Latency::Tail { base, one_in, slow } => {
                if draws.one_in(one_in) {
                    draws.between(base, slow)
                } else {
                    base
                }
            }
            Latency::Exponential { mean, most } => latency::exponential(&mut draws, mean, most),
            Latency::LogNormal { median, spread, most } => {
                latency::log_normal(&mut draws, median, spread, most)
            }
            Latency::Bimodal { quick, slow, one_in } => {
                let (low, high) = if draws.one_in(one_in) { slow } else { quick };
                draws.between(low, high)
            }
        };
        usual + link.slower
    }

    fn is_cut(&self, one: usize, other: usize) -> bool {
        self.links.stalled(one, other) || self.links.stalled(other, one)
    }

    /// Puts a number on the bytes that are sent next, for a recorder; 0 for none.
    pub fn carry(&mut self, number: u32) {
        self.carried = number;
    }

    /// The number on the bytes that arrived last.
    #[must_use]
    pub fn arrived(&self) -> u32 {
        self.arrived
    }

    /// The numbers on bytes that were lost since this was asked last, and where they were to arrive.
    pub fn take_lost(&mut self) -> Vec<(u32, usize)> {
        std::mem::take(&mut self.lost)
    }

    /// A node dials.
    pub fn dial(&mut self, queue: &mut Queue, now: Time, dial: Dial) {
        let slot = self.dials.len();
        self.dials.push(dial);
        let Some(to) = dial.to.filter(|&to| self.links.get(dial.from, to).is_some()) else {
            let mut draws = Draws::new(self.seed, Purpose::Connection, slot as u64, 1);
            queue.push(now + draws.spread(50 * MICRO, 50 * MILLI), Event::DialFailed { slot });
            return;
        };
        match self.disturbed.undialable(dial.from, to) {
            _ if self.is_cut(dial.from, to) => return self.time_out(queue, now, slot),
            Some(false) => return self.time_out(queue, now, slot),
            Some(true) => {
                let back =
                    self.latency(dial.from, to, slot as u64) + self.latency(to, dial.from, slot as u64);
                return queue.push(now + back, Event::DialFailed { slot });
            }
            None => {}
        }
        queue.push(now + self.latency(dial.from, to, slot as u64), Event::Dialled { slot });
    }

    fn time_out(&self, queue: &mut Queue, now: Time, slot: usize) {
        let mut draws = Draws::new(self.seed, Purpose::Connection, slot as u64, 2);
        queue.push(now + draws.between(SECOND, 3 * SECOND), Event::DialFailed { slot });
    }

    /// A dial arrives and meets somebody or nobody.
    pub fn dialled(&mut self, queue: &mut Queue, now: Time, slot: usize, met: Met) {
        let Dial { from, life, dial, to } = self.dials[slot];
        let to = to.expect("a dial to no address fails without arriving");
        if self.is_cut(from, to) {
            return self.time_out(queue, now, slot);
        }
        let back = now + self.latency(to, from, slot as u64);
        let Met::Somebody { life: acceptor } = met else {
            queue.push(back, Event::DialFailed { slot });
            return;
        };
        let end = |node, life| End { node, life, lane: LaneId(0), state: EndState::Pending };
        let connection = self.connections.len();
        self.connections.push(Connection {
            ends: [end(from, life), end(to, acceptor)],
            dial,
            pipes: Default::default(),
            broken: false,
            touched: now,
        });
        let mut draws = Draws::new(self.seed, Purpose::Connection, slot as u64, 3);
        let handshake = draws.between(0, 2 * (back - now));
        queue.push(now + handshake, Event::LaneUp { connection, side: 1 });
        queue.push(back + draws.between(0, handshake), Event::LaneUp { connection, side: 0 });
    }

    /// An end is told that it is up; `false` if it is over before it began. What arrived before waits for it.
    pub fn lane_up(
        &mut self,
        queue: &mut Queue,
        now: Time,
        connection: usize,
        side: Side,
        lane: LaneId,
    ) -> bool {
        let entry = &mut self.connections[connection];
        if entry.ends[side].state != EndState::Pending {
            return false;
        }
        entry.ends[side].state = EndState::Up;
        entry.ends[side].lane = lane;
        self.arm(queue, now, connection, 1 - side);
        true
    }

    /// An end is told that it is over. Gives what it knew before.
    pub fn lane_down(&mut self, connection: usize, side: Side) -> EndState {
        let entry = &mut self.connections[connection];
        let before = entry.ends[side].state;
        entry.ends[side].state = EndState::Down;
        entry.pipes[1 - side].lost = true;
        lose(&mut self.lost, &mut entry.pipes[1 - side], entry.ends[side].node);
        if entry.over() {
            lose(&mut self.lost, &mut entry.pipes[side], entry.ends[1 - side].node);
            entry.pipes = Default::default();
        }
        before
    }

    /// How many bytes may be handed over at an end now; 0 while its socket is full or it may not send.
    #[must_use]
    pub fn room(&self, connection: usize, side: Side) -> usize {
        let entry = &self.connections[connection];
        if entry.ends[side].state != EndState::Up {
            return 0;
        }
        let under_way = entry.pipes[side].under_way;
        if under_way > 0 && self.disturbed.write_short(entry.ends[side].node, entry.ends[1 - side].node) {
            return 0;
        }
        self.plan.window.saturating_sub(under_way)
    }

    /// Bytes leave an end.
    pub fn send(&mut self, queue: &mut Queue, now: Time, connection: usize, side: Side, bytes: Bytes) {
        let (from, to) = self.pair(connection, side);
        self.translate(queue, now, connection, side);
        let entry = &mut self.connections[connection];
        entry.pipes[side].ordinal += 1;
        if entry.pipes[side].lost {
            if self.carried != 0 {
                self.lost.push((self.carried, to));
            }
            return;
        }
        let ordinal = (connection as u64) << 24 ^ entry.pipes[side].ordinal;
        if self.disturbed.on_mut(from, to).is_some() {
            return self.send_disturbed(queue, now, connection, side, bytes, ordinal);
        }
        let mut draws = Draws::new(self.seed, Purpose::Split, Draws::link(from, to), ordinal);
        let bytes = self.duplicate(connection, side, bytes, ordinal);
        let pieces = if draws.one_in(self.plan.split_one_in) { draws.between(2, 4) } else { 1 };
        let mut rest = bytes;
        for piece in 0..pieces {
            let len = if piece + 1 == pieces { rest.len() } else { draws.index(rest.len() + 1) };
            let chunk = rest.split_to(len);
            if chunk.is_empty() {
                continue;
            }
            self.enqueue(connection, side, now, chunk, ordinal << 3 ^ piece, true);
        }
        self.arm(queue, now, connection, side);
    }

    /// A run of bytes sets out at `leaves`, behind all that left before it.
    fn enqueue(
        &mut self,
        connection: usize,
        side: Side,
        leaves: Time,
        chunk: Bytes,
        ordinal: u64,
        counted: bool,
    ) {
        let (from, to) = self.pair(connection, side);
        let travel = self.latency(from, to, ordinal);
        let pipe = &mut self.connections[connection].pipes[side];
        if let Some(time) = (chunk.len() as u64 * SECOND).checked_div(self.plan.bandwidth) {
            pipe.free_at = pipe.free_at.max(leaves) + time;
        }
        pipe.last_due = pipe.last_due.max(pipe.free_at.max(leaves) + travel);
        if counted {
            pipe.under_way += chunk.len();
        }
        pipe.queue.push_back(Chunk { due: pipe.last_due, bytes: chunk, sent: self.carried, counted });
    }

    /// Puts copies of some frames behind their originals, or behind frames of a later call.
    fn duplicate(&mut self, connection: usize, side: Side, bytes: Bytes, ordinal: u64) -> Bytes {
        if self.plan.duplicate_one_in == 0 {
            return bytes;
        }
        let (from, to) = self.pair(connection, side);
        let mut draws = Draws::new(self.seed, Purpose::Duplicate, Draws::link(from, to), ordinal);
        let pipe = &mut self.connections[connection].pipes[side];
        let mut again = pipe.again.take();
        let mut out = Vec::with_capacity(bytes.len());
        for frame in Frames::new(&bytes) {
            out.extend_from_slice(&bytes[frame.range.clone()]);
            if let Some(copy) = again.take() {
                out.extend_from_slice(&copy);
                self.duplicated += 1;
            }
            if frame.repeatable && draws.one_in(self.plan.duplicate_one_in) {
                let copy = bytes.slice(frame.range);
                self.doubled.push(copy.clone());
                if draws.percent(50) {
                    out.extend_from_slice(&copy);
                    self.duplicated += 1;
                } else {
                    again = Some(copy);
                }
            }
        }
        pipe.again = again;
        out.into()
    }

    fn pair(&self, connection: usize, side: Side) -> (usize, usize) {
        let ends = &self.connections[connection].ends;
        (ends[side].node, ends[1 - side].node)
    }

    /// Sees to it that the first chunk sent by `side` will arrive, unless something stands in its way.
    fn arm(&mut self, queue: &mut Queue, now: Time, connection: usize, side: Side) {
        let (from, to) = self.pair(connection, side);
        let entry = &mut self.connections[connection];
        let ready = matches!(entry.ends[1 - side].state, EndState::Up | EndState::Closing);
        let pipe = &mut entry.pipes[side];
        if pipe.armed || !ready || self.links.stalled(from, to) {
            return;
        }
        if self.disturbed.stall(from, to, pipe.queue.front().map(|chunk| chunk.bytes.len())) {
            return;
        }
        if let Some(first) = pipe.queue.front() {
            pipe.armed = true;
            queue.push(first.due.max(now), Event::Arrive { connection, side: 1 - side });
        } else if pipe.finished {
            pipe.finished = false;
            queue.push(pipe.last_due.max(now), Event::LaneDown { connection, side: 1 - side });
        }
    }

    /// The first chunk on its way to an end is due.
    pub fn arrive(&mut self, queue: &mut Queue, now: Time, connection: usize, side: Side) -> Arrival {
        let sender = 1 - side;
        let (from, to) = self.pair(connection, sender);
        let cut = self.links.stalled(from, to);
        let pipe = &mut self.connections[connection].pipes[sender];
        pipe.armed = false;
        if cut || self.disturbed.stall(from, to, pipe.queue.front().map(|chunk| chunk.bytes.len())) {
            return Arrival::Nothing;
        }
        // After healing, an event that was set before may come too early for what is first now.
        let due = pipe.queue.front().is_some_and(|chunk| chunk.due <= now);
        let arrival = match due.then(|| pipe.queue.pop_front()).flatten() {
            Some(chunk) => {
                self.arrived = chunk.sent;
                if chunk.counted {
                    pipe.under_way -= chunk.bytes.len();
                }
                Arrival::Bytes(chunk.bytes)
            }
            None => Arrival::Nothing,
        };
        self.arm(queue, now, connection, sender);
        arrival
    }

    /// An end wants no more: what it sent still arrives, then the other end is told.
    pub fn close(&mut self, queue: &mut Queue, now: Time, connection: usize, side: Side) {
        let entry = &mut self.connections[connection];
        if entry.ends[side].state != EndState::Up {
            return;
        }
        entry.ends[side].state = EndState::Closing;
        let mut draws = Draws::new(self.seed, Purpose::Connection, connection as u64, 4);
        queue.push(now + draws.spread(10 * MICRO, 20 * MILLI), Event::LaneDown { connection, side });
        if !entry.broken && !entry.pipes[side].silent {
            entry.pipes[side].finished = true;
            self.arm(queue, now, connection, side);
        }
    }
}

/// Empties a pipe whose bytes were to arrive at a node.
fn lose(lost: &mut Vec<(u32, usize)>, pipe: &mut Pipe, to: usize) {
    lost.extend(pipe.queue.drain(..).filter(|chunk| chunk.sent != 0).map(|chunk| (chunk.sent, to)));
}

#[cfg(test)]
mod tests;
