//! A node's process: the machine while it runs, its disk and clock, its lanes, and what is under way for it.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use wattle_core::id::{LaneId, NodeId};
use wattle_core::node::Identity;
use wattle_core::node::output::LoadId;
use wattle_core::work::{Done, PublicKey, WorkId, public_key};

use crate::clock::Clock;
use crate::disk::Disk;
use crate::disk::ledger::Expected;
use crate::event::{Event, Side, Time};
use crate::keyring::Keyring;
use crate::plan::{DiskPlan, Plan};
use crate::random::{Draws, Purpose};

/// A load that was asked for.
#[derive(Clone, Copy, Debug)]
pub struct Loading {
    /// The node's name for it.
    pub load: LoadId,
    /// The row.
    pub row: u64,
    /// First byte.
    pub offset: usize,
    /// How many.
    pub len: usize,
}

/// What a process does now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not started, or crashed.
    Down,
    /// Runs.
    Up,
    /// Stands still; the number tells one pause from the next.
    Paused(u32),
}

/// The sleep of a whole machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sleep {
    /// The pause of the process that it is.
    pub pause: u32,
    /// When it began.
    pub since: Time,
    /// Whether the monotonic clock counts it.
    pub counted: bool,
}

/// A node's process.
#[derive(Debug)]
pub struct Process<M> {
    /// Who it is.
    pub identity: Identity,
    /// Its identity keys, on disk.
    pub keyring: Keyring,
    /// The one it proves on new connections.
    pub shown: PublicKey,
    /// The machine, while it runs.
    pub machine: Option<Box<M>>,
    /// What it does.
    pub state: State,
    /// Counts its starts and ends: grows when it goes down, so that whatever was under way is void.
    pub life: u32,
    /// Its disk.
    pub disk: Disk,
    /// Its clocks.
    pub clock: Clock,
    /// Connections by the node's name for them.
    pub lanes: BTreeMap<LaneId, (usize, Side)>,
    /// The next name for a connection.
    pub next_lane: u64,
    /// The deadline that an event is set for, and the number of that event.
    pub armed: Option<(Time, u64)>,
    /// How many deadlines were set.
    pub armings: u64,
    /// Loads by slot.
    pub loads: Vec<Loading>,
    /// How many of them are not answered, or were answered in the step under way.
    pub open_loads: u32,
    /// Finished work by slot, until it is told.
    pub works: Vec<Option<(WorkId, Done)>>,
    /// What came while it stood still.
    pub backlog: Vec<Event>,
    /// Crash after so many outputs of a step, in the first step that has more; with the fault's place in the plan.
    pub crash_after: Option<(u32, usize)>,
    /// How many rows it wrote since that was asked last.
    pub wrote: u32,
    /// Whether a write failed in this life.
    pub write_failed: bool,
    /// Accesses of the disk so far, for its draws.
    pub accesses: u64,
    /// Pauses so far.
    pub pauses: u32,
    /// How often it stepped without time passing.
    pub spins: u32,
    /// When it stepped last.
    pub stepped_at: Time,
    /// How long the machine takes for an input; 0 for no time. Meanwhile what comes waits in `inbox`.
    pub service: Time,
    /// What waits for a slow machine.
    pub inbox: VecDeque<Event>,
    /// Per peer: how many faults keep its sockets to that peer full.
    pub blocked: Vec<u8>,
    /// Its whole machine sleeps.
    pub asleep: Option<Sleep>,
    /// Its timers fire at multiples of this only; 0 if they are exact.
    pub slack: Time,
    /// It crashes again after its next start: the fault's place in the plan, and how many crashes are left.
    pub crash_loop: Option<(usize, u32)>,
    /// What its start must come to, until it has started.
    pub expected: Option<Expected>,
    /// Whether the disk gave it, in this life, something else than was written.
    pub misread: bool,
}

impl<M> Process<M> {
    /// The process of a plan's node, not started yet.
    #[must_use]
    pub fn new(plan: &Plan, node: usize) -> Self {
        let entry = &plan.nodes[node];
        let (low, high) = plan.disk.sync;
        let mut draws = Draws::new(plan.seed, Purpose::Node, node as u64, 0);
        let secret = draws.bytes32();
        let key: PublicKey = public_key(&secret);
        let addresses = if entry.listens { vec![plan.address(node)] } else { Vec::new() };
        let start = Draws::new(plan.seed, Purpose::Clock, node as u64, 1).below(1 << 50);
        Self {
            identity: Identity::new(entry.name.clone(), key, addresses),
            keyring: Keyring::new(secret),
            shown: key,
            machine: None,
            state: State::Down,
            life: 0,
            disk: Disk::new(DiskPlan {
                sync: (low * entry.disk_factor, high * entry.disk_factor),
                ..plan.disk
            }),
            clock: Clock::new(start, entry.clock_ppm, entry.wall_offset),
            lanes: BTreeMap::new(),
            next_lane: 1,
            armed: None,
            armings: 0,
            loads: Vec::new(),
            open_loads: 0,
            works: Vec::new(),
            backlog: Vec::new(),
            crash_after: None,
            wrote: 0,
            write_failed: false,
            accesses: 0,
            pauses: 0,
            spins: 0,
            stepped_at: 0,
            service: 0,
            inbox: VecDeque::new(),
            blocked: vec![0; plan.nodes.len()],
            asleep: None,
            slack: 0,
            crash_loop: None,
            expected: None,
            misread: false,
        }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.identity.node
    }

    /// Whether there is a machine, even if it stands still.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.state != State::Down
    }

    /// Forgets everything that does not survive the end of a process. What was on its way to the disk is the disk's business.
    pub fn end(&mut self) {
        self.machine = None;
        self.state = State::Down;
        self.life += 1;
        self.lanes.clear();
        self.armed = None;
        self.loads.clear();
        self.works.clear();
        self.backlog.clear();
        self.crash_after = None;
        self.wrote = 0;
        self.write_failed = false;
        if std::mem::take(&mut self.open_loads) > 0 {
            self.disk.ended_within_loads();
        }
        self.inbox.clear();
        self.asleep = None;
        self.expected = None;
        self.misread = false;
        self.keyring.end();
    }

    /// Nothing hinders it any more. Says whether its deadlines come at other moments now.
    pub fn heal(&mut self, now: Time, ppm: i32) -> bool {
        self.crash_after = None;
        self.crash_loop = None;
        self.blocked.fill(0);
        let loose = std::mem::take(&mut self.slack) > 0;
        let drifts = self.clock.ppm() != ppm;
        if drifts {
            self.clock.run_at(now, ppm);
        }
        loose || drifts
    }

    /// The answer to a load, as the disk gives it now.
    #[must_use]
    pub fn loaded(&self, slot: usize) -> (LoadId, Option<Bytes>) {
        let Loading { load, row, offset, len } = self.loads[slot];
        (load, self.disk.load(row, offset, len))
    }

    /// Whether a load gives something else than was written.
    #[must_use]
    pub fn misreads(&self, slot: usize) -> bool {
        let Loading { row, offset, len, .. } = self.loads[slot];
        self.disk.misreads(row, offset, len)
    }

    /// A stream of draws for the next access of the disk.
    pub fn disk_draws(&mut self, seed: u64, node: usize) -> Draws {
        self.accesses += 1;
        Draws::new(seed, Purpose::Disk, node as u64, self.accesses)
    }
}
