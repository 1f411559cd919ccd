//! The simulated world: a plan set going. Time jumps from event to event; every event is followed by the checks.

use std::collections::BTreeMap;

use bytes::BytesMut;
use wattle_core::id::{GroupId, LogIndex, NodeId};
use wattle_core::node::{Config, Input, Node};
use wattle_core::raft::GroupPlace;
use wattle_core::time::Span;
use wattle_core::work::Done;

use crate::checker::{
    Agreement, Configuration, Departures, Failure, Failures, Flows, Handling, Idle, Keys, Logs, Members,
    Neighbours, Pauses, Peers, Recoveries, Registry, Relays, Seals, Starts, Stops, StreamLedger, Traffic,
    UpdateLedger, Votes, Watermarks,
};
use crate::custody::Custody;
use crate::desk::{Books, Calls};
use crate::event::{Event, Queue, SECOND, Time};
use crate::fault::{FaultKind, Trigger};
use crate::machine::Machine;
use crate::network::Network;
use crate::next_version::NextVersion;
use crate::outcome::{Outcome, Verdict};
use crate::plan::Plan;
use crate::process::{Process, State};
use crate::publisher::writer_id;
use crate::record::{History, Recorder};
use crate::settle::SAMPLE_EVERY;
use crate::trace::{Recording, Trace};
use crate::triggers::Triggers;
use crate::workload::Workload;

/// A run with more events than this is no run but a storm.
const EVENTS_MOST: u64 = 3_000_000;
/// The same for larger meshes, for each node.
const EVENTS_MOST_PER_NODE: u64 = 500_000;

/// A plan set going with nodes of kind `M`.
pub struct World<M> {
    pub(crate) plan: Plan,
    pub(crate) now: Time,
    pub(crate) queue: Queue,
    pub(crate) processes: Vec<Process<M>>,
    pub(crate) network: Network,
    /// Per node: the places in the plan of its edges.
    pub(crate) neighbours: Vec<Vec<usize>>,
    /// Who is dialled by which address.
    pub(crate) addresses: BTreeMap<String, usize>,
    pub(crate) triggers: Triggers,
    pub(crate) calls: Calls,
    pub(crate) books: Books,
    pub(crate) workload: Workload,
    pub(crate) traffic: Traffic,
    pub(crate) relays: Relays,
    pub(crate) trace: Trace,
    pub(crate) recorder: Option<Box<Recorder>>,
    pub(crate) healed: bool,
    pub(crate) events: u64,
    /// How often a node was checked after a step, and the whole mesh after a while.
    pub(crate) checks: u64,
    pub(crate) faults: u64,
    pub(crate) deliveries: u64,
    pub(crate) lanes: Vec<wattle_core::id::LaneId>,
    pub(crate) buffer: Vec<u8>,
    /// What was sent is kept in pieces of this: an allocation for many chunks, not two for each.
    pub(crate) sent: BytesMut,
    pub(crate) places: Vec<GroupPlace>,
    /// Who leads the control group, as far as anybody said.
    pub(crate) leader: Option<usize>,
    /// Faults that wait for leaders: their place in the plan, and how many leaders they hit so far.
    pub(crate) deposing: Vec<(usize, u32)>,
    pub(crate) next_version: NextVersion,
    /// Links that flap, by the fault's place in the plan, and whether they are down now.
    pub(crate) flapping: std::collections::BTreeMap<usize, bool>,
    /// Whether every node is a member and every member knows them all.
    pub(crate) complete: bool,
    /// Who stays broken in a healed world.
    pub(crate) forsaken: Vec<usize>,
    /// What is damaged for good.
    pub(crate) custody: Custody,
    /// Per node: when its image was taken.
    pub(crate) images: Vec<Option<Time>>,
    /// Per node: in which life and after which entry its state of the control group was digested last.
    pub(crate) digested: Vec<Option<(u32, Option<LogIndex>)>>,
    pub(crate) watermarks: Watermarks,
    pub(crate) peers: Peers,
    pub(crate) links: Neighbours,
    pub(crate) starts: Starts,
    pub(crate) content_since: Option<Time>,
    /// Who votes in the control group, as its leader says.
    pub(crate) voters: Vec<NodeId>,
    pub(crate) verdict: Option<Verdict>,
    /// A checker whose failures are overlooked, to learn what only it sees.
    muted: Option<String>,
}

/// The desk of a world for the length of one event.
macro_rules! desk {
    ($world:expr) => {
        $crate::desk::Desk {
            now: $world.now,
            seed: $world.plan.seed,
            healed: $world.healed,
            leader: $world.leader,
            queue: &mut $world.queue,
            calls: &mut $world.calls,
            books: &mut $world.books,
        }
    };
}
pub(crate) use desk;

/// Runs a plan with the real node.
#[must_use]
pub fn run(plan: &Plan, recording: Recording) -> Outcome {
    World::<Node>::new(plan.clone(), recording).run()
}

/// The same, given up once `enough` says so of the number of events so far: then `None`.
#[must_use]
pub fn run_within(plan: &Plan, enough: impl Fn(u64) -> bool) -> Option<Outcome> {
    World::<Node>::new(plan.clone(), Recording::Off).run_within(enough)
}

/// Runs a plan with the real node and keeps what happened, with its causes.
///
/// # Panics
/// If the plan cannot be run: see [`Plan::check`].
#[must_use]
pub fn record(plan: &Plan) -> (Outcome, History) {
    World::<Node>::new(plan.clone(), Recording::Events).run_recorded()
}

impl<M: Machine> World<M> {
    /// The world of a plan, before anything happened.
    ///
    /// # Panics
    /// If the plan cannot be run: see [`Plan::check`].
    #[must_use]
    pub fn new(plan: Plan, recording: Recording) -> Self {
        if let Err(what) = plan.check() {
            panic!("this plan cannot be run: {what}");
        }
        let ledger = |(index, stream): (usize, &crate::plan::StreamPlan)| {
            let ids: Vec<_> = (0..stream.publishers.len()).map(|w| writer_id(plan.seed, index, w)).collect();
            let ledger = StreamLedger::new(index, &ids).to(stream);
            if M::ROWS_CAN_BE_READ { ledger } else { ledger.blind_to_disks() }
        };
        let nodes = plan.nodes.len();
        let processes: Vec<Process<M>> = (0..nodes).map(|node| Process::new(&plan, node)).collect();
        let books = Books {
            ids: processes.iter().map(Process::id).collect(),
            streams: plan.streams.iter().enumerate().map(ledger).collect(),
            handlings: plan.handlers().iter().map(|&(stream, _)| Handling::new(stream)).collect(),
            agreement: Agreement::new(plan.streams.iter().map(|stream| stream.name.as_str())),
            registry: Registry::default(),
            updates: UpdateLedger::new(&plan),
            configuration: Configuration::default(),
            departures: Departures::default(),
            recoveries: Recoveries::new(plan.recovery.as_ref().map_or(&[], |recovery| &recovery.lost)),
            seals: Seals::default(),
            members: Members::default(),
            flows: Flows::default(),
            failures: Failures::default(),
            idle: Idle::default(),
            stops: Stops::default(),
            keys: Keys::new(processes.iter().map(|process| (process.id(), process.identity.key))),
            logs: Logs::default(),
            votes: Votes::default(),
            may_stop: false,
        };
        let ids: Vec<_> = processes.iter().map(|process| process.id()).collect();
        let defaults = Config::new(processes[0].identity.clone());
        Self {
            now: 0,
            queue: Queue::new(plan.seed),
            processes,
            network: Network::new(plan.seed, plan.network.clone(), &plan.edges),
            neighbours: neighbours(&plan),
            addresses: (0..nodes).map(|node| (plan.address(node), node)).collect(),
            triggers: Triggers::new(&plan.faults),
            calls: Calls::default(),
            books,
            workload: Workload::new(&plan, &ids),
            relays: Relays::new(ids.clone()),
            traffic: Traffic::new(
                nodes,
                plan.workload_bytes() + plan.update_bytes(),
                plan.records() + plan.update_calls(),
            ),
            trace: Trace::new(recording),
            recorder: (recording == Recording::Events).then(|| Box::new(Recorder::new(nodes))),
            healed: false,
            events: 0,
            checks: 0,
            faults: 0,
            deliveries: 0,
            lanes: Vec::new(),
            buffer: Vec::new(),
            sent: BytesMut::new(),
            places: Vec::new(),
            leader: None,
            deposing: Vec::new(),
            next_version: NextVersion::new(plan.nodes.iter().map(|node| node.next_version).collect()),
            flapping: std::collections::BTreeMap::new(),
            complete: false,
            forsaken: Vec::new(),
            custody: Custody::new(nodes),
            images: vec![None; nodes],
            digested: vec![None; nodes],
            watermarks: Watermarks::default(),
            peers: Peers::new(ids, defaults.pairs.suspect),
            links: Neighbours::new(Pauses {
                healthy: defaults.link.healthy,
                redial: defaults.link.redial_base,
                handshake: defaults.link.handshake_timeout,
            }),
            starts: Starts::new(nodes),
            content_since: None,
            voters: Vec::new(),
            verdict: None,
            muted: None,
            plan,
        }
    }

    /// The same world, in which one checker's failures are overlooked; a node that panics under its number crashes.
    #[must_use]
    pub fn muting(self, checker: &str) -> Self {
        Self { muted: Some(checker.into()), ..self }
    }

    /// Runs to the end.
    #[must_use]
    pub fn run(mut self) -> Outcome {
        self.run_to_end()
    }

    /// Runs to the end and gives what was recorded, too.
    pub(crate) fn run_recorded(mut self) -> (Outcome, History) {
        let outcome = self.run_to_end();
        let history = self.explain_finish(&outcome).expect("a world that records has a recorder");
        (outcome, history)
    }

    fn run_to_end(&mut self) -> Outcome {
        self.start();
        self.run_on()
    }

    /// Runs on to the end.
    pub(crate) fn run_on(&mut self) -> Outcome {
        while self.verdict.is_none() {
            self.next();
        }
        self.outcome()
    }

    /// Runs to the end, or gives up once `enough` says so of the number of events so far.
    #[must_use]
    pub fn run_within(mut self, enough: impl Fn(u64) -> bool) -> Option<Outcome> {
        self.start();
        while self.verdict.is_none() {
            if enough(self.events) {
                return None;
            }
            self.next();
        }
        Some(self.outcome())
    }

    fn outcome(&mut self) -> Outcome {
        let verdict = self.verdict.take().expect("a run ends with a verdict");
        Outcome {
            seed: self.plan.seed,
            nodes: self.plan.nodes.len(),
            events: self.events,
            faults: self.faults,
            simulated: Span(self.now),
            trace: self.trace.hash(),
            deliveries: self.deliveries,
            peak_traffic: self.traffic.peak(),
            verdict,
            lines: self.trace.take_lines(),
        }
    }

    pub(crate) fn start(&mut self) {
        for (node, entry) in self.plan.nodes.iter().enumerate() {
            self.queue.push(entry.boots_at, Event::Boot { node, life: 0 });
        }
        for (index, fault) in self.plan.faults.iter().enumerate() {
            if let Trigger::At(at) = fault.when {
                self.queue.push(at, Event::Fault { index });
            }
            if let FaultKind::RolledBack { image_at, .. } = fault.kind {
                self.queue.push(image_at, Event::Image { index });
            }
        }
        self.queue.push(self.plan.fault_phase, Event::Heal);
        self.queue.push(SAMPLE_EVERY, Event::Sample);
        self.workload.start(&mut desk!(self));
    }

    /// Lets the next event happen.
    pub(crate) fn next(&mut self) {
        let Some((at, event)) = self.queue.pop() else {
            return self.stall("nothing will happen any more".into());
        };
        debug_assert!(at >= self.now, "time goes back");
        self.now = at;
        self.events += 1;
        if self.events > self.events_most() {
            // Even overlooked, a storm ends somewhere.
            self.muted = None;
            return self.fail(Failure::new("X8", format!("more than {} events", self.events_most())));
        }
        self.explain_event();
        self.happen(event);
        self.explain_losses();
    }

    fn events_most(&self) -> u64 {
        EVENTS_MOST.max(EVENTS_MOST_PER_NODE * self.processes.len() as u64)
    }

    pub(crate) fn overlooks(&self, failure: &Failure) -> bool {
        self.muted.as_ref().is_some_and(|muted| *muted == failure.checker)
    }

    pub(crate) fn fail(&mut self, failure: Failure) {
        if self.overlooks(&failure) {
            return;
        }
        let logs = &self.books.logs;
        let may_differ = |group| match group {
            // What was decided the first time may be void, and told all the same: nobody is left then who committed it.
            GroupId::CONTROL => logs.excused(group),
            stream => logs.decided_twice(stream),
        };
        if failure.decided_by.is_some_and(may_differ) {
            // A replica that lost something counted untold, and the group decided twice: nothing that follows from it can be judged any more.
            self.verdict.get_or_insert(Verdict::NotOwed { what: failure.message });
            return;
        }
        let at = Span(self.now);
        self.trace.line(|| format!("{} BROKEN {}: {}", show(at.0), failure.checker, failure.message));
        self.verdict.get_or_insert(Verdict::Safety {
            checker: failure.checker,
            message: failure.message,
            at,
        });
    }

    pub(crate) fn stall(&mut self, what: String) {
        self.verdict.get_or_insert(Verdict::NoProgress { what });
    }

    pub(crate) fn judge(&mut self, checked: Result<(), Failure>) {
        if let Err(failure) = checked {
            self.fail(failure);
        }
    }

    pub(crate) fn note(&mut self, node: usize, kind: u8, content: u64, line: impl FnOnce() -> String) {
        self.trace.add(self.now, node, kind, content);
        let (now, name) = (self.now, &self.plan.nodes[node].name);
        match &mut self.recorder {
            None => self.trace.line(|| format!("{} {name:8} {}", show(now), line())),
            Some(recorder) => {
                recorder.note(now, node, kind, line());
            }
        }
    }

    /// Whose event it is, and in which life.
    fn owner(&self, event: &Event) -> Option<(usize, u32)> {
        match *event {
            Event::Serve { node, life }
            | Event::CrashAgain { node, life, .. }
            | Event::End { node, life, .. }
            | Event::Timer { node, life, .. }
            | Event::Synced { node, life }
            | Event::Loaded { node, life, .. }
            | Event::Worked { node, life, .. }
            | Event::Trim { node, life, .. } => Some((node, life)),
            Event::LaneUp { connection, side }
            | Event::LaneDown { connection, side }
            | Event::Arrive { connection, side } => {
                let end = &self.network.connection(connection).ends[side];
                Some((end.node, end.life))
            }
            Event::DialFailed { slot } => {
                let dial = self.network.dial_of(slot);
                Some((dial.from, dial.life))
            }
            Event::Call { slot } => self.calls.node(slot).map(|node| (node, self.processes[node].life)),
            _ => None,
        }
    }

    fn happen(&mut self, event: Event) {
        if let Some((node, life)) = self.owner(&event) {
            let process = &mut self.processes[node];
            if matches!(process.state, State::Paused(_)) && process.life == life {
                process.backlog.push(event);
                return;
            }
            if process.life != life || !process.is_up() && !matches!(event, Event::Call { .. }) {
                return;
            }
            let stalled = process.disk.stalled_until();
            if stalled > self.now && matches!(event, Event::Synced { .. } | Event::Loaded { .. }) {
                return self.queue.push_in_order(stalled, event);
            }
            let waits = !matches!(event, Event::Serve { .. } | Event::CrashAgain { .. });
            if process.service > 0 && process.is_up() && waits {
                return self.queue_up(node, event);
            }
        }
        self.perform(event);
    }

    /// What an event does, now that nothing holds it up.
    pub(crate) fn perform(&mut self, event: Event) {
        match event {
            Event::Boot { node, life } => self.boot(node, life),
            Event::Resume { node, pause } => self.resume(node, pause),
            Event::Serve { node, .. } => self.serve_next(node),
            Event::CrashAgain { index, node, .. } => self.crashes_again(index, node),
            Event::Repair { node, life } => self.repair(node, life),
            Event::End { node, life, down } => self.crash(node, false, 3 << 60 | u64::from(life), down),
            Event::Timer { node, armed, .. } => self.timer(node, armed),
            Event::Synced { node, .. } => self.synced(node),
            Event::Loaded { node, slot, .. } => self.loaded(node, slot),
            Event::Worked { node, slot, .. } => {
                if let Some((work, done)) = self.processes[node].works[slot].take() {
                    if matches!(done, Done::NextKey(_) | Done::Kept(_)) {
                        self.processes[node].keyring.settle();
                    }
                    self.step(node, Input::WorkDone { work, done });
                }
            }
            Event::Trim { node, below, .. } => self.trim(node, below),
            Event::Dialled { slot } => self.dialled(slot),
            Event::DialFailed { slot } => {
                let dial = self.network.dial_of(slot);
                self.dial_failed(dial.from, dial.to, dial.dial);
            }
            Event::LaneUp { connection, side } => self.lane_up(connection, side),
            Event::LaneDown { connection, side } => self.lane_down(connection, side),
            Event::Arrive { connection, side } => self.arrive(connection, side),
            Event::Impatient { connection } => {
                self.network.impatient(&mut self.queue, self.now, connection);
            }
            Event::Break { connection } => self.network.breaks(&mut self.queue, self.now, connection),
            Event::Flap { index, stroke } => self.flap(index, stroke),
            Event::Call { slot } => self.called(slot),
            Event::Wake { actor, epoch } => {
                let checked = self.workload.wake(&mut desk!(self), actor, epoch);
                self.judge(checked);
            }
            Event::Fault { index } => self.inject(index),
            Event::FaultEnd { index } => self.relieve(index),
            Event::Strike { index, node, stroke } => self.strike(index, node, stroke),
            Event::StrikeEnd { index, node } => self.strike_over(index, node),
            Event::Image { index } => self.take_image(index),
            Event::Sample => self.sample(),
            Event::Heal => self.heal(),
        }
    }

    fn called(&mut self, slot: usize) {
        let Some((node, call)) = self.calls.take(slot) else { return };
        if !self.processes[node].is_up() {
            self.workload.unreachable(&mut desk!(self), node, &call);
            return;
        }
        self.workload.arrives(&mut desk!(self), node, &call);
        self.step(node, call.into_input());
    }
}

/// Per node: the places of its edges.
fn neighbours(plan: &Plan) -> Vec<Vec<usize>> {
    let mut neighbours = vec![Vec::new(); plan.nodes.len()];
    for (place, edge) in plan.edges.iter().enumerate() {
        neighbours[edge.a].push(place);
        neighbours[edge.b].push(place);
    }
    neighbours
}

/// A moment for people.
pub(crate) fn show(time: Time) -> String {
    format!("{:>3}.{:06}", time / SECOND, time / 1_000 % 1_000_000)
}
