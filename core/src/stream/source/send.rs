//! Bytes to each target: in order, durable, under a current session, within its credit (rules A3, B3).

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::super::Output;
use super::super::common::Common;
use super::super::entry::held_weight;
use super::super::member::{Part, Stream};
use super::super::message::{Body, Data, Standing};
use super::super::peer::Peer;
use crate::id::{NodeId, Sequence};
use crate::planted::Bug;
use crate::rare;
use crate::sometimes;
use crate::time::{Instant, Now, Span};

/// How far sending to a target has come.
#[derive(Clone, Debug, Default)]
pub(in crate::stream) struct Sender {
    /// The last message sent.
    sent: Sequence,
    /// The last message that the target has.
    acked: Sequence,
    /// Batches sent and not acknowledged: last message, and what the target counts for it.
    flight: VecDeque<(Sequence, u64)>,
    flight_bytes: u64,
    /// Credit beyond `acked`, as stated last.
    room: u64,
    /// The target has told, in its present start and to our present one, where it stands.
    known: bool,
    /// `acked` when it was last looked at.
    seen: Sequence,
    /// The last question asked.
    asked: bool,
    /// When it was asked how much room it has, and has said nothing since.
    room_asked: Option<Instant>,
    /// When what is under way was last sent again, and how long it must have been since for it to be sent again without progress.
    resent: Option<Instant>,
    pause: Span,
}

impl Sender {
    fn acknowledge(&mut self, upto: Sequence) {
        self.acked = self.acked.max(upto);
        while self.flight.front().is_some_and(|&(last, _)| last <= self.acked) {
            self.flight_bytes -= self.flight.pop_front().map_or(0, |(_, bytes)| bytes);
        }
        self.sent = self.sent.max(self.acked);
    }

    fn rewind(&mut self, to: Sequence) {
        self.acked = to;
        self.sent = to;
        self.flight.clear();
        self.flight_bytes = 0;
    }
}

impl Stream {
    /// The slot of the batch that holds `sequence`, taken or not.
    fn slot_at(&self, sequence: Sequence) -> Option<u64> {
        if sequence <= self.head.taken {
            return self.store.holding(sequence);
        }
        let outbox = &self.store.outbox;
        let place =
            outbox.partition_point(|&slot| self.store.get(slot).is_some_and(|kept| kept.last() < sequence));
        outbox.get(place).copied()
    }

    /// A new session: every target says anew where it stands before anything is sent to it.
    pub(super) fn restart_senders(&mut self, common: &mut Common, now: Now) {
        let nodes: Vec<NodeId> = self.peers.iter().map(|peer| peer.node).collect();
        for node in nodes {
            self.begin_sender(common, node);
        }
        self.pump_source(common, now);
    }

    /// A new start of a target: it says anew where it stands.
    pub(in crate::stream) fn restart_sender(&mut self, common: &mut Common, now: Now, node: NodeId) {
        self.begin_sender(common, node);
        self.pump_source(common, now);
    }

    fn begin_sender(&mut self, common: &mut Common, node: NodeId) {
        let floor = self.floor.taken;
        let Some(peer) = self.peer_mut(node) else { return };
        peer.sender = Sender::default();
        peer.sender.rewind(floor);
        peer.sender.asked = true;
        self.tell_standing(common, node, true, 0);
    }

    /// A target told where it stands, if it said so to this start.
    pub(super) fn credit(&mut self, node: NodeId, standing: &Standing) {
        let (session, floor) = (self.head.session, self.floor.taken);
        let Some(peer) = self.peer_mut(node).filter(|peer| peer.knows_us) else { return };
        let sender = &mut peer.sender;
        sender.asked = false;
        sender.room_asked = None;
        sender.room = standing.room;
        let have = if standing.epoch == session { standing.have } else { standing.taken };
        if !sender.known {
            sender.known = true;
            sender.rewind(have.max(floor));
        } else {
            sender.acknowledge(have.min(sender.sent));
        }
    }

    /// Asks a target how much room it has, once for all who want to know that, and again when no answer came.
    pub(super) fn ask_for_room(&mut self, common: &mut Common, now: Now, node: NodeId) {
        let Some(peer) = self.peer_mut(node) else { return };
        let again = |at: Instant| now.monotonic.since(at) >= common.config.restate;
        if peer.sender.room_asked.is_none_or(again) {
            peer.sender.room_asked = Some(now.monotonic);
            self.tell_standing(common, node, true, 0);
        }
    }

    /// Sends what may be sent.
    pub(super) fn pump_senders(&mut self, common: &mut Common) {
        if self.source.current {
            (0..self.peers.len()).for_each(|place| self.pump_sender(common, place));
        }
    }

    fn pump_sender(&mut self, common: &mut Common, place: usize) {
        let floor = self.floor.taken;
        if self.is_out(self.peers[place].node) {
            return;
        }
        let Some(peer) = self.peers.get_mut(place).filter(|peer| peer.sender.known) else { return };
        // In its present start: what it held before its disk was rolled back is sent again.
        peer.sender.acknowledge(peer.holds.max(floor));
        let node = peer.node;
        loop {
            let next = self.peers[place].sender.sent.next();
            let Some(slot) = self.slot_at(next) else { return };
            let Some(kept) = self.store.get(slot) else { return };
            // S5: what was taken here is durable, for apply waits for that.
            if !(kept.durable || kept.taken.is_some() || common.planted.has(Bug::SentBeforeDurable)) {
                return;
            }
            let (last, bytes) = (kept.last(), held_weight(kept.batch.bytes()));
            let sender = &self.peers[place].sender;
            let under_way = sender.flight_bytes + bytes;
            let fits = under_way <= common.config.flight_bytes || sender.flight.is_empty();
            sometimes!(CreditUsedUp, under_way > sender.room);
            rare!(FlightFull, !fits);
            if under_way > sender.room || !fits {
                return;
            }
            if self.payload(common, slot).is_none() {
                sometimes!(SentFromDisk);
                // Read ahead by one.
                if let Some(slot) = self.slot_at(last.next()) {
                    let _ = self.payload(common, slot);
                }
                return;
            }
            self.send_data(common, node, slot);
            let sender = &mut self.peers[place].sender;
            sender.sent = last;
            sender.flight.push_back((last, bytes));
            sender.flight_bytes += bytes;
        }
    }

    /// Sends the bytes of a batch, which are at hand, to another member.
    pub(in crate::stream) fn send_data(&self, common: &mut Common, to: NodeId, slot: u64) {
        let (Some(kept), Some(payload)) = (self.store.get(slot), common.cache.get(self.instance, slot))
        else {
            return;
        };
        assert!(
            self.part != Part::Source || kept.durable || kept.taken.is_some(),
            "S5: the bytes at {} leave before they are durable",
            kept.first
        );
        let data = Data {
            boot: common.boot,
            epoch: self.head.session,
            first: kept.first,
            count: kept.batch.live(),
            identity: kept.batch.identity,
            offset: kept.batch.part.as_ref().map(|part| part.offset),
            bytes: payload.clone(),
        };
        common.say(to, self.instance, Body::Data(data));
    }

    /// Whether a target owes an answer. Of several, one that is silent is asked when it is heard again; and one at which the stream stopped, after its next
    /// start.
    fn unanswered(&self, peer: &Peer) -> bool {
        let sender = &peer.sender;
        let away = peer.stopped() || peer.silent && self.peers.len() > 1;
        if !self.source.current || self.is_gone(peer.node) || away {
            return false;
        }
        !sender.known || sender.asked || sender.acked < self.source.accepted.max(self.head.taken)
    }

    /// Whether whoever leads owes an answer to an offer.
    fn owes_leader(&self) -> bool {
        !self.source.current || !self.source.closing.is_empty() || !self.store.outbox.is_empty()
    }

    /// Whether the source waits for anything that must be said again if nothing comes.
    pub(in crate::stream) fn source_outstanding(&self, common: &Common) -> bool {
        if self.peers.iter().any(|peer| self.unanswered(peer)) {
            return true;
        }
        if self.led_by().is_some() {
            return self.owes_leader() || self.unreplicated();
        }
        let owed = !self.source.closing.is_empty() || self.source.proposed < self.store.outbox.len();
        let session = self.leading && !self.source.session_proposed && !self.source.current;
        session || (self.leading && self.source.current && (owed || self.owes_completion(common)))
    }

    /// Nothing came for a while: ask, and send again what made no progress.
    pub(in crate::stream) fn restate_source(&mut self, common: &mut Common, now: Now) {
        if self.led_by().is_some() && self.owes_leader() {
            let before = self.source.restated.replace(self.head.taken);
            if before == Some(self.head.taken) {
                // Rule E3: no answer is a reason to doubt who leads.
                sometimes!(OfferedAnew);
                common.emit(Output::Unanswered { instance: self.instance });
                if !common.planted.strikes(Bug::OffersNotRepeated, || self.source.proposed > 0) {
                    self.propose_again();
                }
            }
        }
        for place in 0..self.peers.len() {
            self.restate_to(common, now, place);
        }
        let unsure = self.unreplicated() && !common.planted.has(Bug::ReplicatedToldOnce);
        if let Some(leader) = self.led_by().filter(|_| unsure) {
            rare!(ReplicatedAskedFor);
            self.tell_standing(common, leader, true, 0);
        }
        self.pump_source(common, now);
    }

    fn restate_to(&mut self, common: &mut Common, now: Now, place: usize) {
        if self.unanswered(&self.peers[place]) {
            let peer = &mut self.peers[place];
            let (node, sender) = (peer.node, &mut peer.sender);
            let stuck = sender.known && sender.acked == sender.seen && !sender.flight.is_empty();
            if !stuck {
                sender.pause = Span::default();
            } else if sender.resent.is_none_or(|at| now.monotonic.since(at) >= sender.pause) {
                sometimes!(SentAgain);
                // The target may answer and the bytes still wait before a lane that is full: each time they get twice as long.
                sender.rewind(sender.acked);
                sender.resent = Some(now.monotonic);
                let longer = sender.pause.times(2).max(common.config.restate);
                sender.pause = longer.min(common.config.restate_most);
            }
            sender.seen = sender.acked;
            sender.asked = true;
            self.tell_standing(common, node, true, 0);
        }
    }
}
