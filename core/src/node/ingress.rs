//! Bytes on their way in: frames, relaying, and which part a message is for.

use alloc::format;
use alloc::string::{String, ToString as _};

use bytes::Bytes;
use prost::Message as _;
use wattle_proto::envelope::View;
use wattle_proto::frame::{Class, Decoder, FrameError, FrameKind, Kind, Message, Path, RelayHeader, Step};
use wattle_proto::node::Notice;
use wattle_proto::node::notice::Reason;

use super::Node;
use super::egress::{Dropped, Outgoing};
use super::gate::NothingHeld;
use super::output::{CloseReason, DialId};
use super::parcel::Parcel;
use crate::id::{GroupId, LaneId, NodeId};
use crate::link::{LabelError, Standing};
use crate::payload::Payload;
use crate::planted::Bug;
use crate::rare;
use crate::sometimes;
use crate::sorted_map::SortedMap;
use crate::work::PublicKey;
use crate::{link, mesh, raft, route, stream};

/// The receiving side of every open lane.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lanes {
    open: SortedMap<LaneId, Lane>,
}

#[derive(Clone, Debug)]
struct Lane {
    decoder: Decoder,
    peer_key: PublicKey,
    dialled: bool,
    /// Set once the other end broke the protocol: nothing more is read.
    broken: bool,
}

impl Lanes {
    /// Takes bytes and gives whole frames, as large as both ends agreed on at most; a fault is told once.
    fn frames(
        &mut self,
        lane: LaneId,
        bytes: Option<Bytes>,
        max_frame: usize,
    ) -> Result<Option<wattle_proto::frame::Frame>, FrameError> {
        let Some(lane) = self.open.get_mut(&lane).filter(|lane| !lane.broken) else { return Ok(None) };
        lane.decoder.set_limit(max_frame);
        if let Some(bytes) = bytes {
            lane.decoder.push(bytes);
        }
        lane.decoder.next().inspect_err(|_| lane.broken = true)
    }

    pub(crate) fn key(&self, lane: LaneId) -> Option<PublicKey> {
        self.open.get(&lane).map(|lane| lane.peer_key)
    }

    /// Whether this node opened it.
    pub(crate) fn dialled(&self, lane: LaneId) -> bool {
        self.open.get(&lane).is_some_and(|lane| lane.dialled)
    }
}

impl Node {
    pub(super) fn lane_up(&mut self, lane: LaneId, dial: Option<DialId>, peer_key: PublicKey) {
        self.lanes
            .open
            .insert(lane, Lane { decoder: Decoder::new(), peer_key, dialled: dial.is_some(), broken: false });
        self.egress.open(lane);
        self.links.handle(self.now, link::Input::LaneUp { lane, dial, peer_key });
    }

    pub(super) fn lane_down(&mut self, lane: LaneId) {
        if self.lanes.open.remove(&lane).is_some() {
            self.links.handle(self.now, link::Input::LaneDown { lane });
            self.wire();
            self.egress.close(lane);
        }
    }

    pub(super) fn received(&mut self, lane: LaneId, bytes: Bytes) {
        self.links.handle(self.now, link::Input::Heard { lane });
        let mut bytes = Some(bytes);
        loop {
            let max_frame = self.links.max_frame(lane);
            match self.lanes.frames(lane, bytes.take(), max_frame) {
                Ok(Some(frame)) => {
                    let hello = frame.kind() == FrameKind::Hello;
                    for message in frame {
                        if let Err(fault) = self.message(lane, hello, message) {
                            return self.misbehaved(lane, fault);
                        }
                        // What one message changes (a handshake ends, a lane closes) holds for the next.
                        self.wire();
                    }
                }
                Ok(None) => return,
                Err(error) => return self.misbehaved(lane, error.to_string()),
            }
        }
    }

    fn misbehaved(&mut self, lane: LaneId, fault: String) {
        sometimes!(LaneMisbehaved);
        if let Some(lane) = self.lanes.open.get_mut(&lane) {
            lane.broken = true;
        }
        self.links.handle(self.now, link::Input::Close { lane, reason: CloseReason::Misbehaved(fault) });
    }

    /// One message of a lane. An error is the other end's fault.
    fn message(&mut self, lane: LaneId, hello: bool, message: Message) -> Result<(), String> {
        let now = self.now;
        let kind = message.relay.kind();
        if kind == Kind::Link {
            let message = link::Message::decode(message.header).map_err(|error| error.to_string())?;
            if hello != matches!(message, link::Message::Hello(_)) {
                return Err("a hello goes in a hello frame, and nothing else does".to_string());
            }
            self.links.handle(now, link::Input::Message { lane, message });
            return Ok(());
        }
        let standing = self.links.standing(lane);
        if kind == Kind::Join {
            let (Standing::Joining, Some(peer_key)) = (standing, self.lanes.key(lane)) else {
                return Err("a join message on a lane that is not for joining".to_string());
            };
            let message = mesh::JoinMessage::decode(&message.header).map_err(|error| error.to_string())?;
            self.mesh.handle(now, mesh::Input::JoinMessage { lane, peer_key, message });
            return Ok(());
        }
        if standing == Standing::Contending {
            return Ok(());
        }
        let Standing::Linked(neighbour) = standing else {
            return Err(format!("a message of kind {kind:?} before the handshake"));
        };
        if kind == Kind::Route {
            let message = route::Message::decode(message.header).map_err(|error| error.to_string())?;
            return self.routes.hear(now, neighbour, &message).map_err(|error| error.to_string());
        }
        self.relay_or_take(neighbour, message)
    }

    /// A message that travels end to end: on to the next link, or into this node.
    fn relay_or_take(&mut self, neighbour: NodeId, message: Message) -> Result<(), String> {
        let Some(arrived_on) = self.links.label(neighbour) else { return Ok(()) };
        let before = message.relay;
        let mut relay = before;
        let step = relay.step(arrived_on);
        let spent = || step == Step::Arrived && before.ttl() == 0 && !before.path().labels().is_empty();
        if self.config.planted.strikes(Bug::TtlBeforeArrival, spent) {
            self.notify(neighbour, &before, Reason::Ttl);
            return Ok(());
        }
        if self.config.planted.strikes(Bug::TtlKept, || before.ttl() > 0) {
            relay = relay.with_ttl(before.ttl());
        }
        match step {
            Step::Arrived => {
                // Only its source read it before: the neighbour that brought it is not to blame.
                if self.arrived(neighbour, message).is_err() {
                    self.dropped.malformed += 1;
                }
                Ok(())
            }
            Step::Expired => {
                self.notify(neighbour, &before, Reason::Ttl);
                Ok(())
            }
            Step::Relay(label) => {
                self.relay(neighbour, label, before, relay, message);
                Ok(())
            }
        }
    }

    fn relay(
        &mut self,
        neighbour: NodeId,
        label: u16,
        before: RelayHeader,
        relay: RelayHeader,
        message: Message,
    ) {
        let next = match self.links.next(neighbour, label) {
            Ok(next) => next,
            Err(LabelError::NoLink(_)) => {
                sometimes!(RelayLinkDown);
                if self.config.planted.has(Bug::RouteLoop) {
                    return self.send_back(neighbour, label, &before, message);
                }
                return self.notify(neighbour, &before, Reason::LinkDown);
            }
            Err(LabelError::WrongTag(_)) => {
                sometimes!(RelayLabelStale);
                return self.notify(neighbour, &before, Reason::WrongLabel);
            }
            Err(LabelError::Back(_)) => {
                rare!(RelayLabelLedBack);
                return self.notify(neighbour, &before, Reason::WrongLabel);
            }
        };
        let outgoing = Outgoing { relay, header: message.header, payload: Payload::from(message.payload) };
        match self.egress.queue_for_neighbour(next, outgoing) {
            Ok(()) => {}
            Err(Dropped::NoLink) => self.notify(neighbour, &before, Reason::LinkDown),
            Err(Dropped::Full) => self.notify(neighbour, &before, Reason::QueueFull),
        }
    }

    /// The planted loop: back to where the message came from, which sends it here again, and no hop is counted.
    fn send_back(&mut self, neighbour: NodeId, label: u16, before: &RelayHeader, message: Message) {
        let Some(back_here) = self.routes.label_of(neighbour, self.config.identity.node) else { return };
        let mut labels = alloc::vec![back_here, label];
        labels.extend_from_slice(before.path().ahead().get(1..).unwrap_or_default());
        let Ok(path) = Path::new(&labels) else { return };
        let relay =
            RelayHeader::along(before.kind(), before.class(), path).with_ttl(before.ttl().saturating_add(1));
        let outgoing = Outgoing { relay, header: message.header, payload: Payload::from(message.payload) };
        let _ = self.egress.queue_for_neighbour(neighbour, outgoing);
    }

    /// Tells the source that its message was dropped here. Notices about notices are not sent.
    fn notify(&mut self, neighbour: NodeId, dropped: &RelayHeader, reason: Reason) {
        if dropped.kind() == Kind::Notice {
            return;
        }
        let notice = Notice {
            reason: reason.into(),
            relay: Bytes::copy_from_slice(&self.config.identity.node.to_bytes()),
            hop: dropped.path().hop() as u32,
        };
        let relay = RelayHeader::along(Kind::Notice, Class::Control, dropped.path().back());
        let header = Bytes::from(notice.encode_to_vec());
        // A hint: if it does not fit either, the source learns by its deadlines.
        let _ =
            self.egress.queue_for_neighbour(neighbour, Outgoing { relay, header, payload: Payload::new() });
    }

    fn arrived(&mut self, neighbour: NodeId, message: Message) -> Result<(), String> {
        if message.relay.kind() == Kind::Notice {
            let notice = Notice::decode(message.header)
                .map_err(|error| format!("a notice that cannot be read: {error}"))?;
            sometimes!(NoticeCame);
            self.dropped.notices[usize::try_from(notice.reason).unwrap_or_default().min(5)] += 1;
            return Ok(());
        }
        let header = message.header;
        let envelope =
            View::read(&header).map_err(|error| format!("an envelope that cannot be read: {error}"))?;
        let (Some(source), Some(target)) =
            (NodeId::from_slice(envelope.source(&header)), NodeId::from_slice(envelope.target(&header)))
        else {
            return Err("an envelope without source and target".to_string());
        };
        let own = self.config.identity.node;
        if (target != own && !self.config.planted.has(Bug::StaleLabelFollowed)) || source == own {
            rare!(WrongTarget);
            self.notify(neighbour, &message.relay, Reason::WrongTarget);
            return Ok(());
        }
        if !self.mesh.is_member(source) {
            sometimes!(SourceUnknown);
            self.mesh.handle(self.now, mesh::Input::Unknown { node: source, through: neighbour });
            return Ok(());
        }
        if self.mesh.is_double() || self.mesh.is_twice(source) {
            // Of two copies of a node nothing counts that either says (rule C6).
            return Ok(());
        }
        if self.routes.is_reached(source) {
            self.ways.reached(source);
        } else {
            self.ways.note(self.now.monotonic, source, neighbour, message.relay.path().back());
        }
        let group = GroupId::from_slice(envelope.group(&header));
        self.deliver(source, message.relay.kind(), group, envelope.body(&header), message.payload)
    }

    /// A message for this node, whoever brought it.
    pub(super) fn deliver(
        &mut self,
        from: NodeId,
        kind: Kind,
        group: Option<GroupId>,
        body: Bytes,
        payload: Bytes,
    ) -> Result<(), String> {
        let now = self.now;
        match kind {
            Kind::Pair => {
                let beat = link::pairs::Beat::decode(body).map_err(|error| error.to_string())?;
                self.pairs.handle(now, link::pairs::Input::Beat { from, beat });
            }
            Kind::Raft => {
                let group = group.ok_or("a consensus message without a group")?;
                let message = raft::Message::decode(payload).map_err(|error| error.to_string())?;
                self.consensus(group, from, message);
            }
            Kind::Mesh => {
                let message = mesh::Message::decode(&payload).map_err(|error| error.to_string())?;
                self.mesh.handle(now, mesh::Input::Message { from, message });
            }
            Kind::Stream => {
                let message = stream::Message::decode(body, payload).map_err(|error| error.to_string())?;
                self.streams.handle(now, stream::Input::Message { from, message });
            }
            Kind::Link | Kind::Route | Kind::Join | Kind::Notice => {
                return Err(format!("a message of kind {kind:?} in an envelope"));
            }
        }
        Ok(())
    }

    /// A consensus message: through the gate, if it is for the log of a stream.
    pub(super) fn consensus(&mut self, group: GroupId, from: NodeId, message: raft::Message) {
        let now = self.now;
        let mut passed = if group == GroupId::CONTROL {
            // Who has not heard yet that this node was taken out, and is a member again, speaks to nobody.
            let stale = message.addressee.is_some_and(|replica| self.mesh.had_replica(replica));
            sometimes!(FormerReplicaMeant, stale);
            Some(message).filter(|_| !stale)
        } else if !self.groups.contains(group) {
            None
        } else {
            let streams = &mut self.streams;
            let passed = self.gate.offer(group, from, message, |data| streams.admit(now, group.into(), data));
            streams.foresee(now, group.into(), self.gate.behind(group));
            passed
        };
        let cut = || passed.as_ref().and_then(raft::Message::append).is_some_and(|append| append.cut);
        if self.config.planted.strikes(Bug::CutNotSaid, cut)
            && let Some(raft::Message { body: raft::Body::Append(append), .. }) = &mut passed
        {
            append.cut = false;
        }
        if let Some(message) = passed {
            self.groups.handle(now, raft::Input::Message { from, group, message: message.into() });
        }
    }

    /// Bytes or room came, for which an append may wait.
    pub(super) fn offer_again(&mut self, group: GroupId) {
        let now = self.now;
        let streams = &mut self.streams;
        let offered = self.gate.offer_again(group, |data| streams.admit(now, group.into(), data));
        streams.foresee(now, group.into(), self.gate.behind(group));
        let input = match offered {
            Ok(None) => return,
            Ok(Some((from, message))) => raft::Input::Message { from, group, message: message.into() },
            Err(NothingHeld) if self.config.planted.has(Bug::RestNotAskedFor) => return,
            Err(NothingHeld) => {
                sometimes!(RestAskedFor);
                self.gate.asked(group);
                raft::Input::AskAgain { group }
            }
        };
        self.groups.handle(now, input);
    }

    /// The neighbour by which a node is reached, and the path from there.
    fn way_to(&mut self, node: NodeId) -> Option<(NodeId, Path)> {
        if let Some(path) = self.routes.path(node) {
            self.ways.reached(node);
            return Some((path.first, Path::new(&path.labels).ok()?));
        }
        let back = self.ways.back(self.now.monotonic, node);
        sometimes!(AnsweredTheWayItCame, back.is_some());
        back
    }

    /// Sends a parcel on its way. One that has no way is dropped: whoever sent it sends again by its own deadline.
    pub(super) fn post(&mut self, parcel: Parcel) {
        let own = self.config.identity.node;
        if parcel.to == own {
            return self.loopback.push_back(parcel);
        }
        if self.mesh.is_double() {
            return;
        }
        let Some((first, path)) = self.way_to(parcel.to) else {
            sometimes!(NoPath);
            self.dropped.unroutable += 1;
            return;
        };
        let relay = RelayHeader::along(parcel.kind, parcel.class, path);
        let header = parcel.envelope(own);
        if self
            .egress
            .queue_for_neighbour(first, Outgoing { relay, header, payload: parcel.payload })
            .is_err()
        {
            self.dropped.unroutable += 1;
        }
    }
}
