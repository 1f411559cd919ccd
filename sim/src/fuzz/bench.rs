//! A real node and all that surrounds it, held in the hand: operations are done to it, and after each one it is examined.

use std::collections::BTreeMap;
use std::rc::Rc;

use bytes::Bytes;
use wattle_core::id::{BootId, LaneId, RequestId, Ticket};
use wattle_core::level::Level;
use wattle_core::node::output::{DialId, LoadId};
use wattle_core::node::{Input, Node, Output, Rejected};
use wattle_core::time::{Now, Span};
use wattle_core::work::{Job, PublicKey, WorkId, perform, public_key};
use wattle_proto::frame::{Decoder, MAX_FRAME};

use super::operation::{Operation, changed};
use super::source::Source;
use super::tape::{Life, Tape};
use crate::random::{Draws, Purpose};

/// Lanes that a fuzz target brings up have names from here on.
const OWN_LANES: u64 = 1 << 40;
/// A node that asks to be woken more often than this without time passing spins.
const SPINS_MOST: u32 = 1_000;
/// A single lane is not asked for more in one turn.
const SENT_MOST: usize = 64 << 20;

/// What came of operations, to see that they reach the node's depths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Operations.
    pub operations: u64,
    /// Changed messages after which their lane was still open.
    pub borne: u64,
    /// Changed messages, or noise, for which the lane was closed.
    pub closed: u64,
    /// Starts on what a crash left.
    pub recovered: u64,
    /// Starts refused because the rows do not add up.
    pub refused: u64,
    /// Rows written.
    pub rows: u64,
    /// Messages handed to handlers.
    pub delivered: u64,
    /// Nodes that stopped for good.
    pub stopped: u64,
}

impl Tally {
    /// Adds what another one counted.
    pub fn add(&mut self, other: &Self) {
        let Self { operations, borne, closed, recovered, refused, rows, delivered, stopped } = other;
        self.operations += operations;
        self.borne += borne;
        self.closed += closed;
        self.recovered += recovered;
        self.refused += refused;
        self.rows += rows;
        self.delivered += delivered;
        self.stopped += stopped;
    }
}

#[derive(Clone, Debug)]
struct Lane {
    /// Reads what the node sends.
    decoder: Decoder,
    /// The node wants it closed.
    closing: bool,
}

/// The node on the bench.
#[derive(Clone)]
pub struct Bench {
    tape: Rc<Tape>,
    life: usize,
    /// The next recorded input.
    next: usize,
    node: Node,
    now: Now,
    boots: u128,
    rows: BTreeMap<Ticket, Bytes>,
    written: Ticket,
    synced: Ticket,
    lanes: BTreeMap<LaneId, Lane>,
    lanes_made: u64,
    dials: Vec<DialId>,
    works: Vec<(WorkId, Job)>,
    loads: Vec<(LoadId, Ticket, usize, usize)>,
    requests: Vec<RequestId>,
    stopped: bool,
    /// The disk was rolled back, and refused for that.
    refused: bool,
    /// What came of it so far.
    pub tally: Tally,
}

impl Bench {
    /// The node of a recorded life, started on an empty disk.
    #[must_use]
    pub fn new(tape: &Rc<Tape>, life: usize) -> Self {
        let Life { config, seed, boot, inputs, .. } = &tape.lives[life];
        let mut bench = Self {
            tape: Rc::clone(tape),
            life,
            next: 0,
            node: Node::recover(config.clone(), *seed, *boot),
            now: inputs.first().map(|(now, _)| *now).unwrap_or_default(),
            boots: 0,
            rows: BTreeMap::new(),
            written: Ticket(0),
            synced: Ticket(0),
            lanes: BTreeMap::new(),
            lanes_made: 0,
            dials: Vec::new(),
            works: Vec::new(),
            loads: Vec::new(),
            requests: Vec::new(),
            stopped: false,
            refused: false,
            tally: Tally::default(),
        };
        bench.tell(Input::Recovered);
        bench
    }

    /// The same with the first `count` recorded inputs done, everything sent.
    #[must_use]
    pub fn played(tape: &Rc<Tape>, life: usize, count: usize) -> Self {
        let mut bench = Self::new(tape, life);
        for _ in 0..count {
            bench.go_on();
            bench.transmit_all();
        }
        bench.tally = Tally::default();
        bench
    }

    fn life(&self) -> &Life {
        &self.tape.lives[self.life]
    }

    fn secret(&self) -> [u8; 32] {
        secret(self.life)
    }

    /// Does one thing to the node, and examines it.
    pub fn apply(&mut self, operation: Operation) {
        self.tally.operations += 1;
        match operation {
            Operation::Continue(count) => (0..count).for_each(|_| self.go_on()),
            Operation::Pass(span) => self.pass(span),
            Operation::Call(call) => {
                let input = call.into_input();
                if let Input::Command { request, .. } = &input {
                    self.requests.push(*request);
                }
                self.tell(input);
            }
            Operation::Forget(place) => {
                if let Some(&request) = pick(&self.requests, place) {
                    self.tell(Input::Forget { request });
                }
            }
            Operation::LaneUp { dialled, peer } => self.lane_up(dialled, peer),
            Operation::LaneDown(place) => {
                if let Some(lane) = self.lane(place) {
                    self.lanes.remove(&lane);
                    self.tell(Input::LaneDown { lane });
                }
            }
            Operation::DialFailed(place) => {
                if let Some(dial) = take(&mut self.dials, place) {
                    self.tell(Input::DialFailed { dial });
                }
            }
            Operation::Hear { lane, message, change, mutation } => {
                let Some(said) = pick(&self.tape.said, message) else { return };
                let bytes = changed(said, change, &mut Source::new(&mutation));
                self.hear(lane, bytes.into());
            }
            Operation::Noise { lane, bytes } => self.hear(lane, bytes.into()),
            Operation::Persist(count) => self.persist(count),
            Operation::WriteFailed => self.tell(Input::WriteFailed { reason: "as asked".into() }),
            Operation::Loaded(place, given) => {
                if let Some(load) = take(&mut self.loads, place) {
                    self.loaded(load, given);
                }
            }
            Operation::WorkDone(place) => {
                if let Some((work, job)) = take(&mut self.works, place) {
                    self.tell(Input::WorkDone { work, done: perform(&job, &[self.secret()]) });
                }
            }
            Operation::Space(free) => self.tell(Input::Space { free }),
            Operation::Transmit { lane, max } => {
                if let Some(lane) = self.lane(lane) {
                    self.transmit(lane, max);
                }
            }
            Operation::OutOfPhase => {
                let answer = self.node.handle(self.now, Input::Recovered);
                let expected = |answer: &Rejected| self.stopped || *answer == Rejected::OutOfPhase;
                assert!(answer.as_ref().is_err_and(expected), "out of phase: {answer:?}");
            }
            Operation::Crash { rows, rolled_back } => self.crash(rows, rolled_back),
        }
        self.node.check_invariants(Level::Cheap);
    }

    /// The end: whatever is still open is answered, time passes, and all invariants hold.
    pub fn finish(&mut self) {
        for _ in 0..3 {
            for (work, job) in std::mem::take(&mut self.works) {
                self.tell(Input::WorkDone { work, done: perform(&job, &[self.secret()]) });
            }
            for load in std::mem::take(&mut self.loads) {
                self.loaded(load, true);
            }
            self.persist(usize::MAX);
            self.transmit_all();
            self.pass(Span::millis(300));
        }
        self.node.check_invariants(Level::Full);
    }

    /// The next recorded input happens, if it still fits what surrounds the node.
    fn go_on(&mut self) {
        let Some((now, input)) = self.life().inputs.get(self.next).cloned() else { return };
        self.next += 1;
        self.now.monotonic = self.now.monotonic.max(now.monotonic);
        self.now.wall = now.wall;
        match input {
            Input::Row { .. } | Input::Synced { .. } | Input::Recovered | Input::WriteFailed { .. } => {}
            Input::LaneUp { lane, dial, peer_key } => {
                let known = dial.is_none_or(|dial| {
                    self.dials
                        .iter()
                        .position(|&open| open == dial)
                        .map(|place| self.dials.remove(place))
                        .is_some()
                });
                if known {
                    self.open(lane);
                    self.tell(Input::LaneUp { lane, dial, peer_key });
                }
            }
            Input::LaneDown { lane } => {
                if self.lanes.remove(&lane).is_some() {
                    self.tell(Input::LaneDown { lane });
                }
            }
            Input::DialFailed { dial } => {
                if let Some(place) = self.dials.iter().position(|&open| open == dial) {
                    self.dials.remove(place);
                    self.tell(Input::DialFailed { dial });
                }
            }
            Input::Received { lane, bytes } => {
                if self.lanes.get(&lane).is_some_and(|lane| !lane.closing) {
                    self.tell(Input::Received { lane, bytes });
                }
            }
            Input::Persisted { upto } => {
                let ahead =
                    self.rows.keys().filter(|&&ticket| ticket > self.synced && ticket <= upto).count();
                self.persist(ahead);
            }
            Input::Loaded { load, .. } => {
                if let Some(place) = self.loads.iter().position(|(open, ..)| *open == load) {
                    let load = self.loads.remove(place);
                    self.loaded(load, true);
                }
            }
            Input::WorkDone { work, .. } => {
                if let Some(place) = self.works.iter().position(|(open, _)| *open == work) {
                    let (work, job) = self.works.remove(place);
                    self.tell(Input::WorkDone { work, done: perform(&job, &[self.secret()]) });
                }
            }
            input => self.tell(input),
        }
    }

    fn tell(&mut self, input: Input) {
        match self.node.handle(self.now, input) {
            Ok(()) => self.take_outputs(),
            Err(Rejected::OutOfPhase) => panic!("an input of the running phase is out of phase"),
            Err(Rejected::Stopped(_) | Rejected::Damaged(_)) => {}
        }
        self.look_whether_stopped();
    }

    /// A node that stopped wants nothing, says nothing, and takes nothing any more.
    fn look_whether_stopped(&mut self) {
        if self.stopped {
            assert!(self.node.poll_output().is_none() && self.node.poll_timeout().is_none());
            return;
        }
        let refused = self.node.clone().handle(self.now, Input::Deadline);
        self.stopped = matches!(refused, Err(Rejected::Stopped(_) | Rejected::Damaged(_)));
        self.tally.stopped += u64::from(self.stopped);
    }

    fn take_outputs(&mut self) {
        while let Some(output) = self.node.poll_output() {
            match output {
                Output::Write { ticket, row } => {
                    assert_eq!(ticket, self.written.next(), "rows have numbers without gaps");
                    self.written = ticket;
                    self.rows.insert(ticket, row.to_bytes());
                    self.tally.rows += 1;
                }
                Output::Trim { below } => {
                    assert!(below <= self.synced.next(), "row {below} is trimmed before it is synced");
                    self.rows.retain(|&ticket, _| ticket >= below);
                }
                Output::Load { load, row, offset, len } => {
                    let bytes =
                        self.rows.get(&row).unwrap_or_else(|| panic!("load of row {row}, which is gone"));
                    let (from, len) = (offset as usize, len as usize);
                    assert!(from + len <= bytes.len(), "load beyond the end of row {row}");
                    self.loads.push((load, row, from, len));
                }
                Output::Work { work, job } => self.works.push((work, job)),
                Output::Dial { dial, .. } => self.dials.push(dial),
                Output::Close { lane, .. } => {
                    if let Some(lane) = self.lanes.get_mut(&lane) {
                        lane.closing = true;
                    }
                }
                Output::Deliver(delivery) => self.tally.delivered += delivery.messages.len() as u64,
                Output::Reply { .. } | Output::Event(_) | Output::ShowKey(_) | Output::DeliverUpdates(_) => {}
            }
        }
    }

    fn open(&mut self, lane: LaneId) {
        let mut decoder = Decoder::new();
        decoder.set_limit(MAX_FRAME);
        self.lanes.insert(lane, Lane { decoder, closing: false });
    }

    fn lane(&self, place: usize) -> Option<LaneId> {
        let lanes: Vec<LaneId> = self.lanes.keys().copied().collect();
        pick(&lanes, place).copied()
    }

    fn lane_up(&mut self, dialled: bool, peer: usize) {
        let dial = if dialled { take(&mut self.dials, 0) } else { None };
        if dialled && dial.is_none() {
            return;
        }
        let lane = LaneId(OWN_LANES + self.lanes_made);
        self.lanes_made += 1;
        self.open(lane);
        let stranger = PublicKey([9; 32]);
        let peer_key = if peer < self.tape.lives.len() { public_key(&secret(peer)) } else { stranger };
        self.tell(Input::LaneUp { lane, dial, peer_key });
    }

    fn hear(&mut self, place: usize, bytes: Bytes) {
        let Some(lane) = self.lane(place).filter(|lane| !self.lanes[lane].closing) else { return };
        self.tell(Input::Received { lane, bytes });
        let closed = self.lanes.get(&lane).is_none_or(|lane| lane.closing);
        self.tally.closed += u64::from(closed);
        self.tally.borne += u64::from(!closed);
    }

    fn persist(&mut self, count: usize) {
        let waiting = self.rows.range(self.synced.next()..).map(|(&ticket, _)| ticket);
        if let Some(upto) = waiting.take(count).last() {
            self.synced = upto;
            self.tell(Input::Persisted { upto });
        }
    }

    fn loaded(&mut self, (load, row, from, len): (LoadId, Ticket, usize, usize), given: bool) {
        let row =
            self.rows.get(&row).unwrap_or_else(|| panic!("row {row} was trimmed while it was being loaded"));
        let bytes = given.then(|| row.slice(from..from + len));
        self.tell(Input::Loaded { load, bytes });
    }

    fn pass(&mut self, span: Span) {
        let end = self.now.monotonic + span;
        let mut spins = 0;
        while let Some(deadline) = self.node.poll_timeout().filter(|deadline| deadline.at <= end) {
            spins = if deadline.at > self.now.monotonic { 0 } else { spins + 1 };
            assert!(spins < SPINS_MOST, "the node wants to be woken at once, again and again: {deadline:?}");
            self.now.monotonic = self.now.monotonic.max(deadline.at);
            self.tell(Input::Deadline);
        }
        self.now.monotonic = end;
    }

    /// Takes what a lane would send; it must be readable.
    fn transmit(&mut self, lane: LaneId, max: usize) -> bool {
        let mut buffer = Vec::new();
        let sent = self.node.poll_transmit(self.now, lane, max, &mut buffer);
        let Some(sent) = sent else {
            assert!(buffer.is_empty(), "bytes that are not sent");
            return false;
        };
        assert!(sent.lane == lane && sent.len == buffer.len() && sent.len > 0, "{sent:?} for lane {lane}");
        if let Some(Lane { decoder, .. }) = self.lanes.get_mut(&lane) {
            decoder.push(buffer.into());
            while let Some(frame) =
                decoder.next().unwrap_or_else(|error| panic!("a node sends what is refused: {error}"))
            {
                assert!(frame.into_iter().count() > 0, "an empty frame");
            }
            assert_eq!(decoder.held(), 0, "a transmit ends within a frame");
        }
        true
    }

    fn transmit_all(&mut self) {
        let lanes: Vec<LaneId> = self.node.ready_lanes().collect();
        for lane in lanes {
            let mut turns = 0;
            while self.transmit(lane, 64 << 10) {
                turns += 1;
                assert!(turns < SENT_MOST >> 16, "lane {lane} never runs dry");
            }
        }
    }

    fn crash(&mut self, rows: usize, rolled_back: bool) {
        let keep = if rolled_back {
            Ticket(self.synced.0.saturating_sub(rows as u64))
        } else {
            Ticket((self.synced.0 + rows as u64).min(self.written.0))
        };
        self.rows.retain(|&ticket, _| ticket <= keep);
        self.boots += 1;
        let Life { config, seed, boot, .. } = self.life();
        let mut seed = *seed;
        seed[0] ^= self.boots as u8;
        self.node = Node::recover(config.clone(), seed, BootId(boot.0.wrapping_add(self.boots)));
        self.lanes.clear();
        self.dials.clear();
        self.works.clear();
        self.loads.clear();
        self.stopped = false;
        self.synced = keep;
        self.written = self.rows.keys().next_back().copied().unwrap_or(keep);
        for (&ticket, bytes) in &self.rows {
            self.node
                .handle(self.now, Input::Row { ticket, bytes: bytes.clone() })
                .expect("taken while recovering");
        }
        match self.node.handle(self.now, Input::Recovered) {
            Ok(()) => {
                self.tally.recovered += 1;
                self.refused = false;
                if self.rows.is_empty() {
                    // The numbers begin anew on an empty disk.
                    (self.written, self.synced) = (Ticket(0), Ticket(0));
                }
                self.take_outputs();
            }
            Err(Rejected::Damaged(_)) if rolled_back || self.refused => {
                self.tally.refused += 1;
                (self.refused, self.stopped) = (true, true);
            }
            Err(refused) => panic!("a lawful crash left a disk that is refused: {refused}"),
        }
    }
}

/// The secret key of the node of that place in the recorded run.
fn secret(node: usize) -> [u8; 32] {
    Draws::new(super::tape::SEED, Purpose::Node, node as u64, 0).bytes32()
}

fn pick<T>(things: &[T], place: usize) -> Option<&T> {
    things.get(place % things.len().max(1))
}

fn take<T>(things: &mut Vec<T>, place: usize) -> Option<T> {
    if things.is_empty() { None } else { Some(things.remove(place % things.len())) }
}
