//! The composition: ingress, wiring, egress, durability, journal.
//!
//! A step is one call of [`Node::handle`]. The input goes to the part it concerns, that part's outputs go through the wiring to other
//! parts, until all are quiet. Then the step ends: everything it wrote becomes one row, and what it sends waits for that row or
//! leaves at once, as each part said. Rows that are durable let go what they held, which may begin the next step at once.
//!
//! The order of calls: `recover`, `Row`*, `Synced`?, `Recovered`; then, for ever, `handle` followed by `poll_output` until `None` and
//! `poll_transmit` for each of `ready_lanes` with room in its socket; `poll_timeout` says when to call again without an event.

pub mod command;
mod durability;
mod egress;
pub mod gate;
mod ingress;
pub mod input;
pub mod journal;
pub mod output;
mod parcel;
mod recovery;
mod report;
pub mod status;
mod tracked;
mod ways;
mod wiring;
mod within;
mod without_quorum;

use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;

pub use input::Input;
pub use output::{Deadline, Output, Transmit};
pub use status::Status;

use self::durability::Durability;
use self::egress::Egress;
use self::gate::Gate;
use self::ingress::Lanes;
use self::journal::Journal;
use self::output::{LoadId, Timer};
use self::parcel::{Held, Parcel};
use self::tracked::Tracked;
use self::ways::Ways;
use crate::id::{BootId, LaneId, NodeId, Ticket, UpdateNumber};
use crate::level::Level;
use crate::link::{Links, Pairs};
use crate::mesh::Mesh;
use crate::planted::{Bug, Planted};
use crate::raft::Groups;
use crate::rng::{Purpose, Rng};
use crate::route::Routes;
use crate::stream::Streams;
use crate::time::{Instant, Now};
use crate::work::PublicKey;
use crate::{link, mesh, raft, route, stream};

/// Who a node is. Stored beside the journal by the world, because it comes before everything in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Derived from the first key, then kept.
    pub node: NodeId,
    /// Unique in the mesh, for people.
    pub name: String,
    /// The first key on its disk: it proves that on every connection until it knows of a better one.
    pub key: PublicKey,
    /// The key that is to take its place, if there is one.
    pub next_key: Option<PublicKey>,
    /// The rotation that brought the first; 0 if it is the node's first key.
    pub key_number: u64,
    /// Where others can dial it, `host:port`; empty if it only dials out.
    pub addresses: Vec<String>,
    /// Where its API listens, told to clients that ask the wrong node.
    pub api: Option<String>,
}

impl Identity {
    /// A node with its first key.
    #[must_use]
    pub fn new(name: String, key: PublicKey, addresses: Vec<String>) -> Self {
        Self { node: key.first_node_id(), name, key, next_key: None, key_number: 0, addresses, api: None }
    }
}

/// Settings of a node.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who it is.
    pub identity: Identity,
    /// Neighbours to dial and keep dialling, `host:port`.
    pub dial: Vec<String>,
    /// The journal.
    pub journal: journal::Config,
    /// Neighbours.
    pub link: link::Config,
    /// Heartbeats between nodes that share groups.
    pub pairs: link::pairs::Config,
    /// Link states.
    pub route: route::Config,
    /// Consensus.
    pub raft: raft::Config,
    /// The control group's state.
    pub mesh: mesh::Config,
    /// Streams.
    pub stream: stream::Config,
    /// Appends that wait for their bytes.
    pub gate: gate::Config,
    /// A deliberate bug, to measure the simulator.
    pub planted: Planted,
}

impl Config {
    /// The defaults for a node of that identity.
    #[must_use]
    pub fn new(identity: Identity) -> Self {
        let Identity { name, key, next_key, key_number, addresses, api, .. } = identity.clone();
        let mesh =
            mesh::Config { next_key, key_number, ..mesh::Config::new(name.clone(), key, addresses, api) };
        Self {
            identity,
            dial: Vec::new(),
            journal: journal::Config { rows_may_tear: false, slack_bytes: 1 << 20 },
            link: link::Config::new(name),
            pairs: link::pairs::Config::default(),
            route: route::Config::default(),
            raft: raft::Config::default(),
            mesh,
            stream: stream::Config::default(),
            gate: gate::Config::default(),
            planted: Planted::none(),
        }
    }
}

/// Why an input was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// A write failed earlier; reopen the store and recover a new node (after a failed sync: in a new process).
    #[error("the node stopped because a write failed: {0}; reopen the store and start it again")]
    Stopped(String),
    /// Only rows are taken before `Recovered`, and none after.
    #[error("this input does not belong to this phase of the node's life")]
    OutOfPhase,
    /// The stored rows do not add up. Nothing was invented and nothing was changed.
    #[error("the journal is damaged: {0}")]
    Damaged(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    Recovering,
    Running,
    Stopped(Rejected),
}

/// Whom a load is for.
#[derive(Clone, Copy, Debug)]
enum Loading {
    /// A payload of the stream part.
    Payload { token: u64, located: journal::Located },
    /// Entries of a log.
    Entries { token: u64, located: journal::Located },
    /// The oldest row, to be moved.
    Straggler,
}

/// A node.
#[derive(Clone, Debug)]
pub struct Node {
    config: Config,
    boot: BootId,
    phase: Phase,
    now: Now,
    links: Tracked<Links>,
    pairs: Tracked<Pairs>,
    routes: Tracked<Routes>,
    groups: Tracked<Groups>,
    mesh: Tracked<Mesh>,
    streams: Tracked<Streams>,
    gate: Gate,
    lanes: Lanes,
    egress: Tracked<Egress>,
    durability: Durability<Held>,
    journal: Journal,
    loads: BTreeMap<LoadId, Loading>,
    next_load: LoadId,
    outputs: VecDeque<Output>,
    /// Parcels this node sent to itself.
    loopback: VecDeque<Parcel>,
    ways: Ways,
    /// As of so many computations of paths the mesh part was told that they are other ones.
    routes_seen: u64,
    dropped: Drops,
}

/// What was lost on its way, since the start. Every loss is made good by somebody's deadline.
#[derive(Clone, Copy, Debug, Default)]
struct Drops {
    /// No path led to the target, or its queue was full.
    unroutable: u64,
    /// It came from its source in a form that cannot be read.
    malformed: u64,
    /// Relays told us that they dropped, by reason.
    notices: [u64; 6],
}

impl Node {
    /// A node about to read its journal. `seed` is the root of all its random numbers, `boot` its name for this start.
    #[must_use]
    pub fn recover(config: Config, seed: [u8; 32], boot: BootId) -> Self {
        let own = config.identity.node;
        let planted = config.planted;
        let rng = |purpose| Rng::stream(seed, purpose);
        Self {
            links: Tracked::new(Links::new(config.link.clone(), own, boot, rng(Purpose::Link), planted)),
            pairs: Tracked::new(Pairs::new(config.pairs.clone(), own, boot, rng(Purpose::Pair), planted)),
            routes: Tracked::new(
                Routes::new(config.route.clone(), own, rng(Purpose::Route), planted).with_boot(boot),
            ),
            groups: Tracked::new(Groups::new(
                raft::Config { of_streams: true, ..config.raft.clone() },
                own,
                rng(Purpose::Raft),
                planted,
            )),
            mesh: Tracked::new(Mesh::new(config.mesh.clone(), own, rng(Purpose::Mesh), planted)),
            streams: Tracked::new(Streams::new(
                config.stream.clone(),
                own,
                boot,
                rng(Purpose::Stream),
                planted,
            )),
            gate: Gate::new(config.gate),
            lanes: Lanes::default(),
            egress: Tracked::new(Egress::default()),
            durability: Durability::new(planted),
            journal: Journal::new(config.journal, planted)
                .recalling(raft::recall, config.raft.recalled_bytes()),
            loads: BTreeMap::new(),
            next_load: LoadId(1),
            outputs: VecDeque::new(),
            loopback: VecDeque::new(),
            ways: Ways::default(),
            routes_seen: 0,
            dropped: Drops::default(),
            phase: Phase::Recovering,
            now: Now::default(),
            boot,
            config,
        }
    }

    /// Tells the node something.
    ///
    /// # Errors
    /// [`Rejected`] says why the input was not taken; nothing changed then.
    pub fn handle(&mut self, now: Now, input: Input) -> Result<(), Rejected> {
        assert!(now.monotonic >= self.now.monotonic, "N1: the monotonic clock went back");
        match (&self.phase, &input) {
            (Phase::Stopped(why), _) => return Err(why.clone()),
            (Phase::Recovering, Input::Row { .. } | Input::Synced { .. } | Input::Recovered) => {}
            (Phase::Recovering, _)
            | (Phase::Running, Input::Row { .. } | Input::Synced { .. } | Input::Recovered) => {
                return Err(Rejected::OutOfPhase);
            }
            (Phase::Running, _) => {}
        }
        self.now = now;
        match input {
            Input::Row { ticket, bytes } => self.journal.restore(ticket, &bytes),
            Input::Synced { upto } => self.journal.vouch(upto),
            Input::Recovered => {
                if let Err(damage) = self.start() {
                    let why = Rejected::Damaged(damage);
                    self.phase = Phase::Stopped(why.clone());
                    return Err(why);
                }
                self.phase = Phase::Running;
                self.settle();
            }
            Input::WriteFailed { .. } if self.config.planted.has(Bug::FailedWriteIgnored) => {}
            Input::WriteFailed { reason } => self.stop(Rejected::Stopped(reason)),
            input => {
                self.take(input);
                self.settle();
            }
        }
        self.note_deadlines();
        Ok(())
    }

    /// The next thing the node wants done.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Lanes that have something to send.
    pub fn ready_lanes(&self) -> impl Iterator<Item = LaneId> + '_ {
        self.egress.ready()
    }

    /// Appends whole frames for `lane` to `buffer`, about `max` bytes at most (one message may exceed it). Not called
    /// while the lane's socket is full: that is the backpressure.
    pub fn poll_transmit(
        &mut self,
        now: Now,
        lane: LaneId,
        max: usize,
        buffer: &mut Vec<u8>,
    ) -> Option<Transmit> {
        assert!(now.monotonic >= self.now.monotonic, "N1: the monotonic clock went back");
        let len = self.egress.transmit(lane, max, buffer);
        (len > 0).then_some(Transmit { lane, len })
    }

    /// When to come back, and for what.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Deadline> {
        if self.phase != Phase::Running {
            return None;
        }
        let deadline = |timer, at: Option<Instant>| at.map(|at| Deadline { at, timer });
        [
            deadline(Timer::Link, self.links.deadline()),
            deadline(Timer::Pair, self.pairs.deadline()),
            deadline(Timer::Route, self.routes.deadline()),
            deadline(Timer::Raft, self.groups.deadline()),
            deadline(Timer::Mesh, self.mesh.deadline()),
            deadline(Timer::Stream, self.streams.deadline()),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Ends a step: what it touched may wait for other moments now.
    fn note_deadlines(&mut self) {
        self.links.note(Links::next_deadline);
        self.pairs.note(Pairs::next_deadline);
        self.routes.note(Routes::next_deadline);
        self.groups.note(Groups::next_deadline);
        self.mesh.note(Mesh::next_deadline);
        self.streams.note(Streams::next_deadline);
    }

    /// Panics if an invariant does not hold; the message begins with its number. Unless all is to be checked in full, a part to which
    /// nothing was done since it was checked is not checked again.
    pub fn check_invariants(&self, level: Level) {
        assert!(!self.config.planted.has(Bug::Canary), "N0: the canary sings");
        let rewired = self.links.is_unchecked() || self.routes.is_unchecked();
        self.links.check(level, Links::check_invariants);
        self.pairs.check(level, Pairs::check_invariants);
        self.routes.check(level, Routes::check_invariants);
        self.groups.check(level, Groups::check_invariants);
        self.mesh.check(level, Mesh::check_invariants);
        self.streams.check(level, Streams::check_invariants);
        self.egress.check(level, Egress::check_invariants);
        self.durability.check_invariants();
        self.journal.check_invariants(level);
        if rewired || level == Level::Full {
            let linked = self.links.neighbours().eq(self.routes.neighbours());
            assert!(linked, "N4: the routes do not know which links are up");
        }
        if level == Level::Full {
            let all = self
                .mesh
                .members()
                .all(|member| self.links.keys_of(member.node) == Some(&self.mesh.accepted_keys(member.node)));
            let only = self.links.roster().all(|node| {
                let keys = self.mesh.accepted_keys(node);
                !keys.is_empty() && self.links.keys_of(node) == Some(&keys)
            });
            assert!(all && only, "M15: the links do not know the members");
            self.check_deadlines();
        }
        assert!(self.loopback.is_empty(), "N2: a step ended with parcels to itself undelivered");
        for (group, first) in self.gate.waiting() {
            let waits = self.streams.awaits(group.into(), first);
            assert!(
                waits,
                "N5: an append of {group} waits for nothing: what it waited for is here, and nobody says so"
            );
        }
    }

    fn check_deadlines(&self) {
        let noted = self.links.deadline() == self.links.next_deadline()
            && self.pairs.deadline() == self.pairs.next_deadline()
            && self.routes.deadline() == self.routes.next_deadline()
            && self.groups.deadline() == self.groups.next_deadline()
            && self.mesh.deadline() == self.mesh.next_deadline()
            && self.streams.deadline() == self.streams.next_deadline();
        assert!(noted || self.phase != Phase::Running, "N6: a deadline moved, and the node does not know");
    }

    /// Hands an input of the running phase to whom it concerns.
    fn take(&mut self, input: Input) {
        let now = self.now;
        match input {
            Input::Row { .. } | Input::Synced { .. } | Input::Recovered | Input::WriteFailed { .. } => {}
            Input::LaneUp { lane, dial, peer_key } => self.lane_up(lane, dial, peer_key),
            Input::LaneDown { lane } => self.lane_down(lane),
            Input::DialFailed { dial } => self.links.handle(now, link::Input::DialFailed { dial }),
            Input::Received { lane, bytes } => self.received(lane, bytes),
            Input::Deadline => self.deadline(),
            Input::Persisted { upto } => self.persisted(upto),
            Input::Loaded { load, bytes } => self.loaded(load, bytes),
            Input::Space { .. } if self.config.planted.has(Bug::SpaceIgnored) => {}
            Input::Space { free } => self.streams.handle(now, stream::Input::Space { free }),
            Input::WorkDone { work, done } => self.work_done(work, done),
            Input::Command { request, command } => self.command(request, command),
            Input::Forget { request } => self.streams.handle(now, stream::Input::Forget { request }),
            Input::Verdict { token, upto } if self.mesh.hands_updates_to(token) => {
                let upto = UpdateNumber(upto.0);
                let input = mesh::updates::Input::Verdict { token, upto };
                self.mesh.handle(now, mesh::Input::Updates(input));
            }
            Input::Verdict { token, upto } => {
                self.streams.handle(now, stream::Input::Verdict { token, upto })
            }
            Input::Failed { token, sequence, reason } => {
                self.streams.handle(now, stream::Input::Failed { token, sequence, reason });
            }
            Input::Retried { token, sequence } => {
                self.streams.handle(now, stream::Input::Retried { token, sequence });
            }
            Input::Took { token, bytes } => self.streams.handle(now, stream::Input::Took { token, bytes }),
            Input::Detach { token } if self.mesh.hands_updates_to(token) => {
                let input = mesh::updates::Input::Detach { token };
                self.mesh.handle(now, mesh::Input::Updates(input));
            }
            Input::Detach { token } => self.streams.handle(now, stream::Input::Detach { token }),
        }
    }

    fn deadline(&mut self) {
        let now = self.now;
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now.monotonic);
        if due(self.links.deadline()) {
            self.links.handle(now, link::Input::Deadline);
        }
        if due(self.pairs.deadline()) {
            self.pairs.handle(now, link::pairs::Input::Deadline);
        }
        if due(self.routes.deadline()) {
            self.routes.handle(now, route::Input::Deadline);
        }
        if due(self.groups.deadline()) {
            self.groups.handle(now, raft::Input::Deadline);
        }
        if due(self.mesh.deadline()) {
            self.mesh.handle(now, mesh::Input::Deadline);
        }
        if due(self.streams.deadline()) {
            self.streams.handle(now, stream::Input::Deadline);
        }
    }

    fn persisted(&mut self, upto: Ticket) {
        self.durability.persisted(upto);
        self.journal.persisted(upto);
    }

    fn stop(&mut self, why: Rejected) {
        self.outputs.clear();
        self.phase = Phase::Stopped(why);
    }

    /// Runs the wiring until every part is quiet, ends the step, and goes on with what that lets go. A node that stopped in this
    /// step says nothing more: what it would write or send may rest on what it could not read.
    fn settle(&mut self) {
        if self.phase != Phase::Running {
            return;
        }
        loop {
            self.wire();
            self.move_stragglers();
            self.seal();
            let mut released = false;
            while let Some(held) = self.durability.release() {
                self.let_go(held);
                released = true;
            }
            if !released {
                break;
            }
        }
        let computed = self.routes.computed_count();
        if computed != self.routes_seen {
            self.routes_seen = computed;
            self.mesh.handle(self.now, mesh::Input::RoutesChanged);
        }
        if let Some(below) = self.journal.trim() {
            self.outputs.push_back(Output::Trim { below });
        }
    }

    /// Ends a step: what it wrote becomes one row.
    fn seal(&mut self) {
        let row = self.journal.seal();
        self.durability.seal(row.as_ref().map(|(ticket, _)| *ticket), self.now.monotonic);
        if let Some((ticket, row)) = row {
            self.outputs.push_back(Output::Write { ticket, row });
        }
        let oldest = self.durability.oldest_unsynced();
        self.pairs.handle(self.now, link::pairs::Input::OldestWrite(oldest));
    }

    fn next_load(&mut self) -> LoadId {
        let load = self.next_load;
        self.next_load = LoadId(load.0 + 1);
        load
    }

    fn move_stragglers(&mut self) {
        if let Some((row, len)) = self.journal.straggler(!self.streams.accepts()) {
            let load = self.next_load();
            self.loads.insert(load, Loading::Straggler);
            self.outputs.push_back(Output::Load { load, row, offset: 0, len });
        }
    }

    /// The newest load of a payload asked for after `load`.
    fn later(&self, load: LoadId) -> Option<u64> {
        let payload = |loading: &Loading| match loading {
            Loading::Payload { token, .. } => Some(*token),
            Loading::Entries { .. } | Loading::Straggler => None,
        };
        self.loads.range(load..).rev().find_map(|(_, loading)| payload(loading))
    }

    fn loaded(&mut self, load: LoadId, bytes: Option<bytes::Bytes>) {
        match self.loads.remove(&load) {
            Some(Loading::Straggler) => {
                if let Err(what) = self.journal.move_row(bytes) {
                    self.stop(Rejected::Damaged(what));
                }
            }
            Some(Loading::Payload { token, located }) => {
                self.journal.loaded(located.row);
                let mixed = self.config.planted.strikes(Bug::LoadToWrongAsker, || self.later(load).is_some());
                let token = self.later(load).filter(|_| mixed).unwrap_or(token);
                let bytes = bytes.filter(|bytes| located.is(bytes));
                self.streams.handle(self.now, stream::Input::Loaded { token, bytes });
            }
            Some(Loading::Entries { token, located }) => {
                self.journal.loaded(located.row);
                let bytes = bytes.filter(|bytes| located.is(bytes));
                if let Err(damage) = self.groups.loaded(self.now, token, bytes.as_ref()) {
                    let what = alloc::format!("row {} cannot be read back: {damage}", located.row);
                    self.stop(Rejected::Damaged(what));
                }
            }
            None => {}
        }
    }
}

#[cfg(test)]
mod tests;
