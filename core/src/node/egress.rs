//! Messages on their way out: a queue per link and class, encoded only when the world asks for bytes.
//!
//! Every queue is bounded in bytes; what does not fit is refused, and whoever sent it sends again by its own deadline.
//!
//! Invariants:
//! - **G1** The bytes counted for a queue are those of the messages in it, and never above its limit plus one message.

use alloc::collections::{BTreeSet, VecDeque};
use alloc::vec::Vec;

use bytes::Bytes;
use wattle_proto::frame::{Class, FrameKind, FrameWriter, Kind, MAX_FRAME, RelayHeader};

use crate::id::{LaneId, NodeId};
use crate::level::Level;
use crate::payload::Payload;
use crate::rare;
use crate::sometimes;
use crate::sorted_map::SortedMap;

/// Most bytes that may wait for one link, by class.
const LIMITS: [usize; 3] = [4 << 20, 8 << 20, 16 << 20];

/// So much of what may be overtaken is in one buffer: nothing that comes to be urgent waits for more of it.
const BULK_BYTES: usize = 12 << 10;

/// A message ready to be encoded.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    pub(crate) relay: RelayHeader,
    pub(crate) header: Bytes,
    pub(crate) payload: Payload,
}

impl Outgoing {
    fn len(&self) -> usize {
        self.relay.encoded_len() + self.header.len() + self.payload.len()
    }
}

#[derive(Clone, Debug, Default)]
struct Queue {
    messages: VecDeque<Outgoing>,
    bytes: usize,
}

#[derive(Clone, Debug)]
struct Link {
    lane: LaneId,
    queues: [Queue; 3],
}

#[derive(Clone, Debug, Default)]
struct Lane {
    hello: Option<Outgoing>,
    own: Queue,
    neighbour: Option<NodeId>,
}

/// The queue a link's messages did not fit into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dropped {
    NoLink,
    Full,
}

/// All queues of a node.
#[derive(Clone, Debug, Default)]
pub(crate) struct Egress {
    lanes: SortedMap<LaneId, Lane>,
    links: SortedMap<NodeId, Link>,
    ready: BTreeSet<LaneId>,
}

impl Egress {
    pub(crate) fn open(&mut self, lane: LaneId) {
        self.lanes.insert(lane, Lane::default());
    }

    pub(crate) fn close(&mut self, lane: LaneId) {
        self.lanes.remove(&lane);
        self.ready.remove(&lane);
    }

    /// From now on the link to `neighbour` goes over `lane`. What waits for the neighbour goes over it, too.
    pub(crate) fn link(&mut self, neighbour: NodeId, lane: LaneId) {
        if let Some(before) = self.links.get(&neighbour).map(|link| link.lane)
            && let Some(lane) = self.lanes.get_mut(&before)
        {
            lane.neighbour = None;
        }
        if let Some(lane) = self.lanes.get_mut(&lane) {
            lane.neighbour = Some(neighbour);
        }
        let link = self.links.get_or_insert_with(neighbour, || Link { lane, queues: Default::default() });
        link.lane = lane;
        if link.queues.iter().any(|queue| !queue.messages.is_empty()) {
            sometimes!(QueueFollowedLink);
            self.ready.insert(lane);
        }
    }

    /// The link is gone, and with it what waited for it.
    pub(crate) fn unlink(&mut self, neighbour: NodeId) {
        if let Some(link) = self.links.remove(&neighbour)
            && let Some(lane) = self.lanes.get_mut(&link.lane)
        {
            lane.neighbour = None;
        }
    }

    /// Queues the hello of a lane.
    pub(crate) fn hello(&mut self, lane: LaneId, header: Bytes) {
        if let Some(state) = self.lanes.get_mut(&lane) {
            let relay = RelayHeader::direct(Kind::Link, Class::Control);
            state.hello = Some(Outgoing { relay, header, payload: Payload::new() });
            self.ready.insert(lane);
        }
    }

    /// Queues a message for one lane, whoever is at its other end.
    pub(crate) fn queue_for_lane(&mut self, lane: LaneId, message: Outgoing) -> Result<(), Dropped> {
        let state = self.lanes.get_mut(&lane).ok_or(Dropped::NoLink)?;
        push(&mut state.own, message, LIMITS[0])?;
        self.ready.insert(lane);
        Ok(())
    }

    /// Queues a message for a neighbour.
    pub(crate) fn queue_for_neighbour(
        &mut self,
        neighbour: NodeId,
        mut message: Outgoing,
    ) -> Result<(), Dropped> {
        let link = self.links.get_mut(&neighbour).ok_or(Dropped::NoLink)?;
        let class = message.relay.class() as usize;
        if link.queues[class].bytes > LIMITS[class] / 2 {
            rare!(CongestionMarked);
            message.relay.mark_congested();
        }
        push(&mut link.queues[class], message, LIMITS[class])?;
        self.ready.insert(link.lane);
        Ok(())
    }

    pub(crate) fn ready(&self) -> impl Iterator<Item = LaneId> + '_ {
        self.ready.iter().copied()
    }

    /// Appends about `max` bytes of whole frames for `lane` to `out` and tells how many.
    pub(crate) fn transmit(&mut self, lane: LaneId, max: usize, out: &mut Vec<u8>) -> usize {
        let start = out.len();
        let Some(state) = self.lanes.get_mut(&lane) else { return 0 };
        if let Some(hello) = state.hello.take() {
            let mut frame = FrameWriter::begin(out, FrameKind::Hello, MAX_FRAME);
            let written = frame.append(&hello.relay, &hello.header, hello.payload.pieces());
            assert!(written.is_ok(), "G1: a hello always fits into a frame");
            frame.finish();
        }
        let mut frame = FrameWriter::begin(out, FrameKind::Batch, MAX_FRAME);
        let mut more = drain(&mut state.own, &mut frame, max);
        if let Some(link) = state.neighbour.and_then(|neighbour| self.links.get_mut(&neighbour)) {
            let [control, others @ ..] = &mut link.queues;
            more = more || drain(control, &mut frame, max);
            let most = max.min(frame.len() + BULK_BYTES);
            for queue in others {
                more = more || drain(queue, &mut frame, most);
            }
        }
        frame.finish();
        if !more {
            self.ready.remove(&lane);
        }
        out.len() - start
    }

    pub(crate) fn check_invariants(&self, level: Level) {
        for lane in self.lanes.values() {
            lane.own.check(LIMITS[0], level);
        }
        for link in self.links.values() {
            for (queue, limit) in link.queues.iter().zip(LIMITS) {
                queue.check(limit, level);
            }
        }
    }
}

impl Queue {
    fn check(&self, limit: usize, level: Level) {
        assert!(self.bytes <= limit, "G1: {} bytes wait where {limit} may", self.bytes);
        if level == Level::Full {
            let bytes: usize = self.messages.iter().map(Outgoing::len).sum();
            assert_eq!(bytes, self.bytes, "G1: bytes are counted wrong");
        }
    }
}

fn push(queue: &mut Queue, message: Outgoing, limit: usize) -> Result<(), Dropped> {
    let len = message.len();
    let never_fits = len > MAX_FRAME || message.header.len() > usize::from(u16::MAX);
    if queue.bytes + len > limit || never_fits {
        return Err(Dropped::Full);
    }
    queue.bytes += len;
    queue.messages.push_back(message);
    Ok(())
}

/// Moves messages into the frame until it holds `max` bytes. Whether some are left.
fn drain(queue: &mut Queue, frame: &mut FrameWriter<'_>, max: usize) -> bool {
    while let Some(message) = queue.messages.front() {
        let len = message.len();
        if frame.len() + len > max && !frame.is_empty() {
            return true;
        }
        if frame.append(&message.relay, &message.header, message.payload.pieces()).is_err() {
            return true;
        }
        queue.bytes -= len;
        queue.messages.pop_front();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use wattle_proto::frame::Decoder;

    const LANE: LaneId = LaneId(1);
    const PEER: NodeId = NodeId(7);

    fn message(class: Class, bytes: &[u8]) -> Outgoing {
        let relay = RelayHeader::direct(Kind::Stream, class);
        Outgoing { relay, header: Bytes::new(), payload: Payload::from(Bytes::copy_from_slice(bytes)) }
    }

    fn sent(egress: &mut Egress, max: usize) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        egress.transmit(LANE, max, &mut out);
        let mut decoder = Decoder::new();
        decoder.set_limit(MAX_FRAME);
        decoder.push(Bytes::from(out));
        let mut messages = Vec::new();
        while let Some(frame) = decoder.next().expect("well formed") {
            messages.extend(frame.into_iter().map(|m| m.payload.to_vec()));
        }
        messages
    }

    #[test]
    fn control_overtakes_bulk_and_a_frame_stays_near_its_size() {
        let mut egress = Egress::default();
        egress.open(LANE);
        egress.link(PEER, LANE);
        for byte in 0..3 {
            egress.queue_for_neighbour(PEER, message(Class::Bulk, &[byte; 100])).expect("room");
        }
        egress.queue_for_neighbour(PEER, message(Class::Control, b"first")).expect("room");
        assert_eq!(sent(&mut egress, 150), [b"first".to_vec(), alloc::vec![0; 100]]);
        assert_eq!(egress.ready().collect::<Vec<_>>(), [LANE]);
        assert_eq!(sent(&mut egress, 1), [alloc::vec![1; 100]], "one message always goes");
        egress.queue_for_neighbour(PEER, message(Class::Control, b"late")).expect("room");
        assert_eq!(sent(&mut egress, 100), [b"late"], "before what waits, however long it has");
        assert_eq!(sent(&mut egress, 1000), [alloc::vec![2; 100]]);
        assert_eq!(egress.ready().count(), 0);
    }

    #[test]
    fn little_of_what_may_be_overtaken_is_in_a_large_buffer() {
        let mut egress = Egress::default();
        egress.open(LANE);
        egress.link(PEER, LANE);
        for class in [Class::Bulk, Class::Priority, Class::Control] {
            for _ in 0..30 {
                egress.queue_for_neighbour(PEER, message(class, &[class as u8; 1000])).expect("room");
            }
        }
        let mut buffer = || {
            let bytes = sent(&mut egress, 64 << 10);
            [Class::Control, Class::Priority, Class::Bulk]
                .map(|class| bytes.iter().filter(|m| m[0] == class as u8).count())
        };
        assert_eq!(buffer(), [30, 12, 0]);
        assert_eq!(buffer(), [0, 12, 0]);
        assert_eq!(buffer(), [0, 6, 6]);
        assert_eq!(buffer(), [0, 0, 12]);
    }

    #[test]
    fn queues_refuse_what_is_over_their_limit_and_follow_the_link_to_another_lane() {
        let mut egress = Egress::default();
        assert_eq!(egress.queue_for_neighbour(PEER, message(Class::Bulk, b"x")), Err(Dropped::NoLink));
        egress.open(LaneId(9));
        egress.link(PEER, LaneId(9));
        let large = alloc::vec![1; 3 << 20];
        while egress.queue_for_neighbour(PEER, message(Class::Bulk, &large)).is_ok() {}
        egress.check_invariants(Level::Full);
        assert_eq!(egress.queue_for_neighbour(PEER, message(Class::Bulk, &large)), Err(Dropped::Full));
        egress.open(LANE);
        egress.link(PEER, LANE);
        egress.close(LaneId(9));
        let mut arrived = 0;
        while egress.ready().next() == Some(LANE) {
            arrived += sent(&mut egress, 1 << 16).len();
        }
        assert_eq!(arrived, 5);
        egress.unlink(PEER);
        assert_eq!(egress.queue_for_neighbour(PEER, message(Class::Bulk, b"x")), Err(Dropped::NoLink));
    }
}
