//! Bytes to the target: in order, durable, under a current session, within its credit (rules A3, B3).

use alloc::collections::VecDeque;

use super::super::common::Common;
use super::super::entry::held_weight;
use super::super::member::{Part, Stream};
use super::super::message::{Body, Data, Standing};
use crate::id::Sequence;
use crate::planted::Bug;
use crate::rare;
use crate::sometimes;
use crate::time::{Instant, Now, Span};

/// How far sending has come.
#[derive(Clone, Debug, Default)]
pub(super) struct Sender {
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

    /// A new session, or a new start of the target: it says anew where it stands before anything is sent.
    pub(in crate::stream) fn restart_sender(&mut self, common: &mut Common, now: Now) {
        self.source.sender = Sender::default();
        self.source.sender.rewind(self.floor.taken);
        self.source.sender.asked = true;
        self.tell_standing(common, true, 0);
        self.pump_source(common, now);
    }

    /// The target told where it stands.
    pub(super) fn credit(&mut self, standing: &Standing) {
        let sender = &mut self.source.sender;
        sender.asked = false;
        sender.room = standing.room;
        let have = if standing.epoch == self.head.session { standing.have } else { standing.taken };
        if !sender.known {
            sender.known = true;
            sender.rewind(have.max(self.floor.taken));
        } else {
            sender.acknowledge(have.min(sender.sent));
        }
    }

    /// Sends what may be sent.
    pub(super) fn pump_sender(&mut self, common: &mut Common, _now: Now) {
        if !self.source.current || !self.source.sender.known {
            return;
        }
        // In its present start: what it held before its disk was rolled back is sent again.
        let held = self.peer.holds.max(self.floor.taken);
        self.source.sender.acknowledge(held);
        loop {
            let next = self.source.sender.sent.next();
            let Some(slot) = self.slot_at(next) else { return };
            let Some(kept) = self.store.get(slot) else { return };
            // S5: what was taken here is durable, for apply waits for that.
            if !(kept.durable || kept.taken.is_some() || common.planted.has(Bug::SentBeforeDurable)) {
                return;
            }
            let (last, bytes) = (kept.last(), held_weight(kept.batch.bytes()));
            let sender = &self.source.sender;
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
            self.send_data(common, slot);
            let sender = &mut self.source.sender;
            sender.sent = last;
            sender.flight.push_back((last, bytes));
            sender.flight_bytes += bytes;
        }
    }

    /// Sends the bytes of a batch, which are at hand.
    pub(in crate::stream) fn send_data(&mut self, common: &mut Common, slot: u64) {
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
            bytes: payload.clone(),
        };
        common.say(self.other, self.instance, Body::Data(data));
    }

    /// Whether the target owes an answer.
    fn unanswered(&self) -> bool {
        let sender = &self.source.sender;
        if !self.source.current {
            return false;
        }
        !sender.known || sender.asked || sender.acked < self.source.accepted.max(self.head.taken)
    }

    /// Whether the source waits for anything that must be said again if nothing comes.
    pub(in crate::stream) fn source_outstanding(&self) -> bool {
        let owed = !self.source.closing.is_empty() || self.source.proposed < self.store.outbox.len();
        let session = self.leading && !self.source.session_proposed && !self.source.current;
        let completion =
            self.source.completing.is_none() && self.source.heard.min(self.head.taken) > self.head.completed;
        self.unanswered() || session || (self.leading && self.source.current && (owed || completion))
    }

    /// Nothing came for a while: ask, and send again what made no progress.
    pub(in crate::stream) fn restate_source(&mut self, common: &mut Common, now: Now) {
        if self.unanswered() {
            let sender = &mut self.source.sender;
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
            self.tell_standing(common, true, 0);
        }
        self.pump_source(common, now);
    }
}
