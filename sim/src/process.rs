//! A node's process: the machine while it runs, its disk and clock, its lanes, and what is under way for it.

use std::collections::BTreeMap;

use bytes::Bytes;
use wattle_core::id::{LaneId, NodeId};
use wattle_core::node::Identity;
use wattle_core::node::output::LoadId;
use wattle_core::work::{Done, PublicKey, WorkId, public_key};

use crate::clock::Clock;
use crate::disk::Disk;
use crate::event::{Event, Side, Time};
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

/// A node's process.
#[derive(Debug)]
pub struct Process<M> {
    /// Who it is.
    pub identity: Identity,
    /// Its secret key.
    pub secret: [u8; 32],
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
            identity: Identity {
                node: key.first_node_id(),
                name: entry.name.clone(),
                key,
                addresses,
                api: None,
            },
            secret,
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
            works: Vec::new(),
            backlog: Vec::new(),
            crash_after: None,
            wrote: 0,
            write_failed: false,
            accesses: 0,
            pauses: 0,
            spins: 0,
            stepped_at: 0,
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
    }

    /// The answer to a load, as the disk gives it now.
    #[must_use]
    pub fn loaded(&self, slot: usize) -> (LoadId, Option<Bytes>) {
        let Loading { load, row, offset, len } = self.loads[slot];
        (load, self.disk.load(row, offset, len))
    }

    /// A stream of draws for the next access of the disk.
    pub fn disk_draws(&mut self, seed: u64, node: usize) -> Draws {
        self.accesses += 1;
        Draws::new(seed, Purpose::Disk, node as u64, self.accesses)
    }
}
