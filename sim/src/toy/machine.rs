//! A toy as the world drives it, and what it tells of itself.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use wattle_core::configuration::Configuration;
use wattle_core::ends::Ends;
use wattle_core::id::{
    BootId, Generation, GroupId, LaneId, LogIndex, MeshId, NodeId, Sequence, SessionEpoch, StreamInstance,
    Term,
};
use wattle_core::level::Level;
use wattle_core::node::command::Refusal;
use wattle_core::node::output::{Event, Timer};
use wattle_core::node::status::{GroupStatus, MemberStatus, StreamStatus};
use wattle_core::node::{Config, Deadline, Input, Output, Rejected, Status, Transmit};
use wattle_core::raft::{GroupPlace, Place};
use wattle_core::time::{Instant, Now};

use super::{SHARED, Source, Toy, WRONG, Wrong};
use crate::machine::Machine;

impl Machine for Toy {
    const ROWS_CAN_BE_READ: bool = false;

    fn recover(config: Config, _: [u8; 32], boot: BootId) -> Self {
        Self {
            config,
            boot,
            generation: SHARED.with_borrow_mut(|shared| {
                shared.starts += 1;
                Generation(shared.starts)
            }),
            wrong: WRONG.with_borrow(|wrong| *wrong),
            outputs: VecDeque::new(),
            lanes: BTreeMap::new(),
            seen: BTreeSet::new(),
            counter: 0,
            sources: BTreeMap::new(),
            targets: BTreeMap::new(),
            writers: BTreeMap::new(),
            last_row: 0,
            highest_row: 0,
            then: VecDeque::new(),
            wake: Instant(u64::MAX),
            redial: Vec::new(),
            dials: BTreeMap::new(),
            dialled: BTreeMap::new(),
            next_dial: 0,
            tokens: boot.0 as u64 >> 16 << 8,
            free: u64::MAX,
            stopped: false,
        }
    }

    fn handle(&mut self, now: Now, input: Input) -> Result<(), Rejected> {
        if self.stopped {
            return Err(Rejected::Stopped("a write failed".into()));
        }
        match input {
            Input::Row { ticket, bytes } => self.row(ticket.0, &bytes),
            Input::Synced { .. } => {}
            Input::Recovered => {
                self.tick(now.monotonic);
                for address in self.config.dial.clone() {
                    self.dial(address);
                }
                if self.wrong == Wrong::AllLead {
                    let group = wattle_core::id::GroupId::CONTROL;
                    let event = Event::RoleChanged { group, role: "leader", term: Term(1) };
                    self.outputs.push_back(Output::Event(event));
                }
            }
            Input::LaneUp { lane, dial, .. } => {
                self.lanes.insert(lane, Default::default());
                let address = dial.and_then(|dial| self.dials.remove(&dial.0));
                self.dialled.extend(address.map(|address| (lane, address)));
            }
            Input::LaneDown { lane } => {
                self.lanes.remove(&lane);
                self.redial.extend(self.dialled.remove(&lane));
            }
            Input::DialFailed { dial } => self.redial.extend(self.dials.remove(&dial.0)),
            Input::Received { lane, bytes } => self.received(lane, &bytes),
            Input::Deadline => self.tick(now.monotonic),
            Input::Persisted { upto } => self.persisted(upto.0),
            Input::WriteFailed { .. } => self.stopped = true,
            Input::Space { free } => self.free = free,
            Input::Command { request, command } => {
                if let Some(reply) = self.command(request, command) {
                    self.outputs.push_back(Output::Reply { request, reply });
                }
            }
            Input::Took { .. } | Input::Failed { .. } | Input::Retried { .. } => {}
            Input::Verdict { token, upto } => self.verdict(token, upto.0),
            Input::Detach { token } => {
                for target in self.targets.values_mut() {
                    if target.handler.is_some_and(|(current, ..)| current == token) {
                        target.handler = None;
                    }
                }
            }
            Input::Loaded { .. } | Input::WorkDone { .. } | Input::Forget { .. } => {}
        }
        Ok(())
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn ready_lanes(&self, lanes: &mut Vec<LaneId>) {
        lanes.extend(self.lanes.iter().filter(|(_, (_, queue))| !queue.is_empty()).map(|(lane, _)| *lane));
    }

    fn poll_transmit(&mut self, _: Now, lane: LaneId, max: usize, buffer: &mut Vec<u8>) -> Option<Transmit> {
        let (_, queue) = self.lanes.get_mut(&lane)?;
        while let Some(frame) = queue.front()
            && (buffer.is_empty() || buffer.len() + frame.len() <= max)
        {
            buffer.extend_from_slice(frame);
            queue.pop_front();
        }
        (!buffer.is_empty()).then_some(Transmit { lane, len: buffer.len() })
    }

    fn poll_timeout(&self) -> Option<Deadline> {
        (!self.stopped).then_some(Deadline { at: self.wake, timer: Timer::Stream })
    }

    fn check_invariants(&self, _: Level) {
        for (instance, source) in &self.sources {
            let limit = if self.wrong == Wrong::Asserts { 20 } else { u64::MAX };
            assert!(source.durable < limit, "T1: stream {instance} grows");
        }
    }

    fn group_places(&self, _: &mut Vec<GroupPlace>) {}

    fn group_place_at(&self, _: GroupId, _: LogIndex) -> Option<Place> {
        None
    }

    fn group_configuration(&self, _: GroupId) -> Option<&Configuration> {
        None
    }

    fn status(&self, _: Now) -> Option<Status> {
        let (members, streams) =
            SHARED.with_borrow(|shared| (shared.members.clone(), shared.streams.clone()));
        let own = members.iter().any(|(node, _)| *node == self.me());
        let first = members.first().map(|(node, _)| *node);
        let member = |(node, name): &(NodeId, String)| MemberStatus {
            node: *node,
            name: name.clone(),
            addresses: Vec::new(),
            api: None,
            reachable: true,
            hops: None,
            stopped: false,
            duplicated: false,
            keys: Vec::new(),
            rotation: 0,
            region: None,
            voting: String::new(),
            voter: Some(*node) == first,
            described: None,
        };
        let stream = |(name, instance, source, target): &(String, StreamInstance, NodeId, NodeId)| {
            let known = self.sources.get(&instance.0).filter(|_| *source == self.me());
            let count = |pick: fn(&Source) -> u64| Sequence(known.map_or(0, pick));
            StreamStatus {
                local: known.is_some(),
                session: SessionEpoch(1),
                accepted: count(|source| source.durable),
                replicated: count(|source| source.acked),
                processed: count(|source| source.marked),
                completed: count(|source| source.marked),
                ..StreamStatus::between(&Ends::between(*source, *target), name.clone(), *instance)
            }
        };
        Some(Status {
            recovery: wattle_core::recovery::RecoveryStatus::default(),
            node: self.me(),
            name: self.config.identity.name.clone(),
            boot: self.boot,
            generation: self.generation,
            mesh: own.then_some(MeshId(1)),
            mesh_name: String::new(),
            settings: wattle_core::agreed::MeshSettings::default(),
            epoch: wattle_core::epoch::Epoch::default(),
            parted: None,
            duplicate: None,
            key_retired: None,
            standing: None,
            activity: wattle_core::mesh::Activity::Running,
            former: Vec::new(),
            members: members.iter().map(member).collect(),
            updates: Vec::new(),
            links: Vec::new(),
            control: Some(GroupStatus {
                role: "follower",
                term: Term(1),
                leader: first,
                voters: first.into_iter().collect(),
                learners: Vec::new(),
                commit: LogIndex(0),
                applied: LogIndex(0),
                last: LogIndex(0),
                chain: wattle_core::digest::Chain::default(),
                stopped: None,
            }),
            streams: streams.iter().filter(|stream| !stream.0.is_empty()).map(stream).collect(),
            refusing: self.is_full().then(|| Refusal::NoSpace { free: self.free }.to_string()),
            journal_bytes: 0,
            journal_live_bytes: 0,
            logs: Default::default(),
        })
    }
}
