//! The face of the part: inputs to reactions, deadlines, and what others may ask.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;

use super::dial::{TargetId, Targets};
use super::fence::Bounds;
use super::label::Labels;
use super::lane::{Lane, Phase};
use super::own_key::OwnKey;
use super::rivals::{Bars, Identity};
use super::survivor::Link;
use super::{Config, Hello, Input, LabelError, Message, Output, Purpose};
use crate::id::{BootId, Generation, LaneId, MeshId, NodeId};
use crate::node::output::{CloseReason, DialId, Event};
use crate::planted::{Bug, Planted};
use crate::rare;
use crate::rng::Rng;
use crate::sometimes;
use crate::sorted_map::SortedMap;
use crate::time::{Instant, Now, Span};
use crate::when::When;
use crate::work::PublicKey;

/// What messages a lane may carry now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing any more.
    Closed,
    /// Link messages only: the handshake is under way.
    Greeting,
    /// Link messages; what else comes is passed over: the other end is about to hear that another start has its place.
    Contending,
    /// Link and join messages.
    Joining,
    /// Everything: that neighbour is at the other end.
    Linked(NodeId),
}

/// All neighbours of a node.
#[derive(Clone, Debug)]
pub struct Links {
    pub(super) config: Config,
    pub(super) own: NodeId,
    pub(super) boot: BootId,
    pub(super) generation: Option<Generation>,
    pub(super) mesh: Option<MeshId>,
    pub(super) roster: BTreeMap<NodeId, Vec<PublicKey>>,
    pub(super) member_keys: BTreeSet<PublicKey>,
    /// How many keys of its member came before a key, as far as this start was told. 0 is left out.
    pub(super) ranks: BTreeMap<PublicKey, u32>,
    endorsement: Bytes,
    pub(super) bounds: Bounds,
    pub(super) bars: Bars,
    pub(super) identity: Identity,
    pub(super) own_key: OwnKey,
    /// What shows who comes with a key that a member gave up that this is so.
    pub(super) gave_up: BTreeMap<NodeId, Bytes>,
    pub(super) lanes: SortedMap<LaneId, Lane>,
    pub(super) links: SortedMap<NodeId, Link>,
    pub(super) labels: Labels,
    pub(super) targets: Targets,
    pub(super) rng: Rng,
    pub(super) planted: Planted,
    pub(super) strangers: usize,
    pub(super) timers: BTreeSet<(Instant, LaneId)>,
    pub(super) offline: bool,
    outputs: VecDeque<Output>,
}

impl Links {
    /// A node without neighbours. `boot` names this start.
    #[must_use]
    pub fn new(config: Config, own: NodeId, boot: BootId, rng: Rng, planted: Planted) -> Self {
        Self {
            labels: Labels::new(boot, Generation(0)),
            config,
            own,
            boot,
            generation: None,
            mesh: None,
            roster: BTreeMap::new(),
            member_keys: BTreeSet::new(),
            ranks: BTreeMap::new(),
            endorsement: Bytes::new(),
            bounds: Bounds::default(),
            bars: Bars::new(),
            identity: Identity::default(),
            own_key: OwnKey::default(),
            gave_up: BTreeMap::new(),
            lanes: SortedMap::new(),
            links: SortedMap::new(),
            targets: Targets::new(planted),
            planted,
            rng,
            strangers: 0,
            timers: BTreeSet::new(),
            offline: false,
            outputs: VecDeque::new(),
        }
    }

    /// Recovery is over: this start's generation is known, and its record handed in for writing.
    pub fn restored(&mut self, now: Now, generation: Generation) {
        self.generation = Some(generation);
        // Until now no lane was taken and no label given out.
        self.labels = Labels::new(self.boot, generation);
        self.dial_due(now.monotonic);
    }

    /// Something happened.
    pub fn handle(&mut self, now: Now, input: Input) {
        let now = now.monotonic;
        self.forgive_own_stall(now);
        match input {
            Input::LaneUp { lane, dial, peer_key } => self.on_lane_up(now, lane, dial, peer_key),
            Input::LaneDown { lane } => self.on_lane_down(now, lane),
            Input::DialFailed { dial } => self.on_dial_failed(now, dial),
            Input::Message { lane, message } => self.on_message(now, lane, message),
            Input::Heard { lane } => self.on_heard(now, lane),
            Input::Close { lane, reason } => self.close(now, lane, reason),
            Input::Mesh(mesh) => self.mesh = Some(mesh),
            Input::Roster(roster) => self.on_roster(now, roster),
            Input::Members(members) => self.on_members(now, members),
            Input::Endorsement(endorsement) => self.endorsement = endorsement,
            Input::OwnRotations(rotations) => self.own_key.rotations = rotations,
            Input::KeyShown { number } => self.on_key_shown(now, number),
            Input::GaveUpKey { node, rotations } => drop(self.gave_up.insert(node, rotations)),
            Input::Bounds(bounds) => self.on_bounds(bounds),
            Input::Parted => self.on_parted(now),
            Input::Claim { other, claim } => self.on_claim(now, other, claim),
            Input::Bar { node, bar } => self.on_bar(now, node, bar),
            Input::Offline(offline) => self.on_offline(now, offline),
            Input::Target { address } => self.targets.keep(now, address),
            Input::JoinTarget { address } => self.targets.join(now, address),
            Input::Deadline => {}
        }
        self.run_due(now);
        self.dial_due(now);
    }

    /// The next output; call until `None` after each [`Links::handle`].
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to come back at the latest.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let lane = self.timers.first().map(|&(at, _)| at);
        let dial = match self.generation {
            Some(_) if !self.offline => self.targets.next_due(&self.config, self.mesh.is_some()),
            _ => None,
        };
        lane.into_iter().chain(dial).min()
    }

    /// What messages a lane may carry now. Anything else on it is misbehaviour.
    #[must_use]
    pub fn standing(&self, lane: LaneId) -> Standing {
        let lane = self.lanes.get(&lane);
        let told = lane.is_some_and(|lane| lane.rival_told.is_some());
        match lane.map(|lane| &lane.phase) {
            Some(Phase::Fenced { .. }) if told => Standing::Contending,
            None | Some(Phase::Closed | Phase::Fenced { .. }) => Standing::Closed,
            Some(Phase::Greeting { .. } | Phase::Confirming { .. }) => Standing::Greeting,
            Some(Phase::Joining { .. }) => Standing::Joining,
            Some(Phase::Linked(linked)) => Standing::Linked(linked.peer.node),
        }
    }

    /// The largest frame, in bytes of messages, that both ends of a lane take.
    #[must_use]
    pub fn max_frame(&self, lane: LaneId) -> usize {
        self.lanes.get(&lane).map_or(wattle_proto::frame::HANDSHAKE_FRAME, |lane| lane.max_frame)
    }

    /// The lane that carries the link to a neighbour.
    #[must_use]
    pub fn lane(&self, node: NodeId) -> Option<LaneId> {
        Some(self.links.get(&node)?.current)
    }

    /// This node's label for its link to a neighbour.
    #[must_use]
    pub fn label(&self, node: NodeId) -> Option<u16> {
        self.labels.of(node)
    }

    /// The neighbour to which a message goes on that came from another neighbour and names one of this node's labels.
    ///
    /// # Errors
    /// [`LabelError`] if it is not a label of this start, its link is down, or it leads back to where the message came from.
    pub fn next(&self, from: NodeId, label: u16) -> Result<NodeId, LabelError> {
        match self.labels.resolve(label) {
            Err(LabelError::WrongTag(_)) if self.planted.has(Bug::StaleLabelFollowed) => {
                self.labels.numbered(label)
            }
            Ok(next) if next == from && !self.returns_are_planted() => Err(LabelError::Back(label)),
            resolved => resolved,
        }
    }

    /// Whether a bug is planted that needs messages to go back to where they came from.
    fn returns_are_planted(&self) -> bool {
        self.planted.has(Bug::StaleLabelFollowed) || self.planted.has(Bug::RouteLoop)
    }

    /// Neighbours whose link is up.
    pub fn neighbours(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.links.keys().copied()
    }

    /// The start and the count of starts of a neighbour whose link is up.
    #[must_use]
    pub fn start_of(&self, node: NodeId) -> Option<(BootId, Generation)> {
        self.links.get(&node).map(|link| (link.boot, link.generation))
    }

    /// The smoothed round-trip time of a link.
    #[must_use]
    pub fn rtt(&self, node: NodeId) -> Option<Span> {
        self.lanes.get(&self.links.get(&node)?.current)?.rtt
    }

    fn on_lane_up(&mut self, now: Instant, id: LaneId, dial: Option<DialId>, key: PublicKey) {
        assert!(!self.lanes.contains_key(&id), "the world named two connections {id}");
        let target = dial.and_then(|dial| self.targets.connected(dial, id));
        let joining = target.and_then(|id| self.targets.get(id)).is_some_and(|target| target.joining);
        let stranger = dial.is_none() && !self.member_keys.contains(&key);
        let surplus = stranger && self.strangers >= self.config.strangers_max;
        let lane = Lane {
            key,
            dialled: dial.is_some(),
            target,
            stranger: stranger && !surplus,
            nonce: self.rng.u64(),
            phase: Phase::Greeting { until: now + self.config.handshake_timeout },
            max_frame: wattle_proto::frame::HANDSHAKE_FRAME,
            heard: now,
            ping_at: now,
            rtt: None,
            rank_said: 0,
            own_number: self.own_key.proven(now, dial, &self.config),
            shown: 0,
            rival_heard: None,
            rival_told: None,
            wake: None,
        };
        let nonce = lane.nonce;
        self.strangers += usize::from(lane.stranger);
        self.lanes.insert(id, lane);
        if self.offline {
            return self.close(now, id, CloseReason::Stopping);
        }
        if surplus || self.generation.is_none() {
            rare!(StrangersCrowd, surplus);
            rare!(DialledWhileStarting, !surplus);
            let words =
                if surplus { "too many strangers are at the door" } else { "this node is still starting" };
            self.close(now, id, CloseReason::Unwelcome(String::from(words)));
            return;
        }
        if dial.is_some() {
            let purpose = if joining { Purpose::Join } else { Purpose::Link };
            self.send_hello(id, purpose, nonce);
        }
        self.arm(id);
    }

    fn on_lane_down(&mut self, now: Instant, id: LaneId) {
        self.detach(now, id, "the connection ended during the handshake");
        self.lanes.remove(&id);
    }

    fn on_dial_failed(&mut self, now: Instant, dial: DialId) {
        if let Some(target) = self.targets.dialled(dial) {
            sometimes!(DialFailed);
            self.retry(now, target, "the address did not answer");
        }
    }

    /// A dial, or the handshake after it, came to nothing.
    fn retry(&mut self, now: Instant, id: TargetId, what: &str) {
        let node = self.targets.get(id).and_then(|target| target.node);
        if let Some(gone) = self.targets.retry(now, id, &self.config, &mut self.rng) {
            self.emit(Output::JoinFailed { address: gone.address, what: String::from(what) });
        }
        // The other end may have dialled meanwhile, or this was to renew the link.
        if let Some(node) = node.filter(|node| self.links.contains_key(node)) {
            self.targets.rest(node);
            self.renew_if_old(now, node);
        }
    }

    fn on_heard(&mut self, now: Instant, id: LaneId) {
        if let Some(lane) = self.lanes.get_mut(&id) {
            lane.heard = now;
        }
    }

    fn on_message(&mut self, now: Instant, id: LaneId, message: Message) {
        self.on_heard(now, id);
        match message {
            Message::Hello(hello) => self.on_hello(now, id, hello),
            Message::Confirm => self.on_confirm(now, id),
            Message::Ping { sent } => self.on_ping(now, id, sent),
            Message::Pong { echo } => self.on_pong(now, id, echo),
            Message::Leaving => self.on_leaving(now, id),
            Message::Fenced(fence) => self.on_fenced(now, id, fence),
            Message::Raised { epoch_proofs } => self.on_raised(id, epoch_proofs),
            Message::Rival { boot, claim } => self.on_rival(now, id, boot, claim),
            Message::Claimed { claim } => self.on_claimed(id, claim),
            Message::Barred { record } => self.on_barred(now, id, record),
            Message::KeyRetired { rotations } => self.on_key_retired(now, id, rotations),
            Message::Unknown => sometimes!(UnknownKindSkipped),
        }
        self.arm(id);
    }

    fn on_ping(&mut self, now: Instant, id: LaneId, sent: u64) {
        match self.standing(id) {
            Standing::Closed | Standing::Contending => {}
            Standing::Greeting => self.misbehaved(now, id, "a ping before the handshake was done"),
            Standing::Joining | Standing::Linked(_) if self.said_farewell(id) => {}
            Standing::Joining | Standing::Linked(_) => self.send(id, Message::Pong { echo: sent }),
        }
    }

    fn on_pong(&mut self, now: Instant, id: LaneId, echo: u64) {
        let echo = Instant(echo);
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        rare!(EchoAbsurd, echo > now || now.since(echo) > self.config.silent);
        // The figure comes from the peer: one from the future or the distant past measures nothing.
        if echo > now || now.since(echo) > self.config.silent {
            return;
        }
        let Some(linked) = lane.linked_mut() else { return };
        let node = linked.peer.node;
        let proven = linked.probe.is_some_and(|probe| echo >= probe.sent);
        sometimes!(ProbeAnswered, proven);
        if proven {
            linked.probe = None;
        }
        let rtt = lane.measured(now.since(echo));
        if self.lane(node) == Some(id) {
            self.emit(Output::Rtt { node, rtt });
        }
        if proven {
            self.settle(now, node);
        }
    }

    /// Says who this node is, and what it wants of the other end.
    pub(super) fn send_hello(&mut self, lane: LaneId, purpose: Purpose, nonce: u64) {
        let (version_low, version_high) = wattle_proto::frame::VERSIONS;
        let mut answers = false;
        let mut key_rank = 0;
        if let Some(lane) = self.lanes.get_mut(&lane) {
            key_rank = self.ranks.get(&lane.key).copied().unwrap_or_default();
            (lane.shown, lane.rank_said) = (self.bounds.epoch.number, key_rank);
            answers = !lane.dialled;
        }
        let hello = Hello {
            version_low,
            version_high,
            mesh: self.mesh,
            purpose,
            node: self.own,
            name: self.config.name.clone(),
            generation: self.generation.expect("lanes are refused before the generation is known"),
            boot: self.boot,
            nonce,
            max_frame: self.config.max_frame,
            endorsement: match purpose {
                Purpose::Link => self.endorsement.clone(),
                Purpose::Join if answers => self.own_key.rotations.clone(),
                Purpose::Join => Bytes::new(),
            },
            epoch: self.bounds.epoch,
            epoch_proofs: if purpose == Purpose::Link { self.proofs() } else { Vec::new() },
            round: self.identity.round,
            identity: if purpose == Purpose::Link { self.identity.record.clone() } else { Bytes::new() },
            key_rank,
        };
        // The generation is said aloud only when it is on disk: a start that nobody remembers must not have been heard.
        let early = self.planted.has(Bug::GenerationToldEarly);
        let when = if early { When::Now } else { When::Durable };
        self.emit(Output::Send { lane, message: Message::Hello(hello), when });
    }

    pub(super) fn forget_endorsement(&mut self) {
        self.endorsement = Bytes::new();
    }

    pub(super) fn send(&mut self, lane: LaneId, message: Message) {
        self.emit(Output::Send { lane, message, when: When::Now });
    }

    pub(super) fn emit(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    pub(super) fn misbehaved(&mut self, now: Instant, lane: LaneId, what: &str) {
        self.close(now, lane, CloseReason::Misbehaved(String::from(what)));
    }

    /// Asks the world to close a lane; from here on it counts for nothing.
    pub(super) fn close(&mut self, now: Instant, id: LaneId, reason: CloseReason) {
        if matches!(self.standing(id), Standing::Closed | Standing::Contending) {
            return;
        }
        let words = match &reason {
            CloseReason::Misbehaved(what) | CloseReason::Unwelcome(what) => what.clone(),
            CloseReason::HandshakeTimeout => {
                String::from("the other end did not finish the handshake in time")
            }
            CloseReason::Silent => String::from("the other end fell silent"),
            CloseReason::Surplus | CloseReason::Stopping => String::from("the lane was closed here"),
        };
        let node = self.lanes.get(&id).and_then(Lane::peer).map(|peer| peer.node);
        self.emit(Output::Close { lane: id, reason: reason.clone() });
        if !matches!(reason, CloseReason::Surplus | CloseReason::Stopping) {
            self.emit(Output::Event(Event::PeerRefused { node, reason }));
        }
        self.detach(now, id, &words);
    }

    /// Takes a lane out of everything it took part in.
    pub(super) fn detach(&mut self, now: Instant, id: LaneId, words: &str) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        let phase = core::mem::replace(&mut lane.phase, Phase::Closed);
        let target = lane.target.take();
        if core::mem::take(&mut lane.stranger) {
            self.strangers -= 1;
        }
        self.arm(id);
        match phase {
            Phase::Linked(linked) => self.lost(now, linked.peer.node, id),
            Phase::Joining { .. } => {
                self.emit(Output::JoinLaneDown { lane: id });
                target.into_iter().for_each(|target| self.targets.joined(target));
            }
            Phase::Greeting { .. } | Phase::Confirming { .. } => {
                target.into_iter().for_each(|target| self.retry(now, target, words));
            }
            Phase::Fenced { .. } | Phase::Closed => {}
        }
    }

    pub(super) fn no_stranger(&mut self, id: LaneId) {
        if let Some(lane) = self.lanes.get_mut(&id)
            && core::mem::take(&mut lane.stranger)
        {
            self.strangers -= 1;
        }
    }

    /// Brings a lane's entry among the timers up to date. News that only move its deadline further out need not come here: it is
    /// looked at too early then, once.
    pub(super) fn arm(&mut self, id: LaneId) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        let due = lane.due(&self.config);
        if due != lane.wake {
            lane.wake.into_iter().for_each(|at| {
                self.timers.remove(&(at, id));
            });
            due.into_iter().for_each(|at| {
                self.timers.insert((at, id));
            });
            lane.wake = due;
        }
    }

    fn run_due(&mut self, now: Instant) {
        while let Some(&(at, id)) = self.timers.first()
            && at <= now
        {
            self.timers.pop_first();
            if let Some(lane) = self.lanes.get_mut(&id) {
                lane.wake = None;
            }
            self.on_lane_due(now, id);
            self.arm(id);
        }
    }

    fn on_lane_due(&mut self, now: Instant, id: LaneId) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        let unheard = lane.linked().is_some() && lane.heard + self.config.silent <= now;
        if self.planted.strikes(Bug::DeadLaneKept, || unheard) {
            lane.heard = now;
        }
        let past = |limit: Option<Instant>| limit.is_some_and(|limit| limit <= now);
        let silent = lane.heard + self.config.silent <= now;
        let reason = match &lane.phase {
            Phase::Fenced { until } if *until <= now => {
                self.emit(Output::Close { lane: id, reason: CloseReason::Surplus });
                return self.detach(now, id, "");
            }
            Phase::Fenced { .. } | Phase::Closed => return,
            Phase::Greeting { until } | Phase::Confirming { until, .. } | Phase::Joining { until }
                if *until <= now =>
            {
                Some(CloseReason::HandshakeTimeout)
            }
            Phase::Greeting { .. } | Phase::Confirming { .. } => return,
            Phase::Linked(linked) if past(linked.unconfirmed) => Some(CloseReason::HandshakeTimeout),
            Phase::Linked(linked) if past(linked.leaving) => Some(CloseReason::Surplus),
            Phase::Linked(linked) if past(linked.probe.map(|probe| probe.until)) => Some(CloseReason::Silent),
            Phase::Linked(_) | Phase::Joining { .. } => silent.then_some(CloseReason::Silent),
        };
        sometimes!(LaneSilent, matches!(reason, Some(CloseReason::Silent)));
        sometimes!(HandshakeTimedOut, matches!(reason, Some(CloseReason::HandshakeTimeout)));
        match reason {
            Some(reason) => self.close(now, id, reason),
            None => self.ping_if_due(now, id),
        }
    }

    /// What was said to be the last message on a lane is the last.
    fn said_farewell(&self, id: LaneId) -> bool {
        self.lanes.get(&id).and_then(Lane::linked).is_some_and(|linked| linked.leaving.is_some())
    }

    fn ping_if_due(&mut self, now: Instant, id: LaneId) {
        let leaving = self.said_farewell(id);
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        if lane.ping_at <= now {
            lane.ping_at = now + self.config.keepalive;
            if !leaving {
                self.send(id, Message::Ping { sent: now.0 });
            }
        }
    }

    pub(super) fn dial_due(&mut self, now: Instant) {
        if self.generation.is_none() || self.offline {
            return;
        }
        while let Some((dial, address)) = self.targets.take_due(now, &self.config, self.mesh.is_some()) {
            self.emit(Output::Dial { dial, address });
        }
    }

    /// Whoever comes late to its own deadline has stood still, and accuses nobody for that time.
    fn forgive_own_stall(&mut self, now: Instant) {
        let Some(due) = self.next_deadline() else { return };
        let late = now.since(due);
        if late > self.config.stall {
            sometimes!(OwnStallForgiven);
            let ids: Vec<LaneId> = self.lanes.keys().copied().collect();
            for id in ids {
                if let Some(lane) = self.lanes.get_mut(&id) {
                    lane.forgive(late);
                }
                self.arm(id);
            }
        }
    }
}
