//! Messages of several parts, handed over in pieces: only when all are taken (S25), and the next one when the application took those before.

use alloc::format;

use bytes::Bytes;

use super::super::Output;
use super::super::common::Common;
use super::super::entry::{Batch, MESSAGE_OVERHEAD};
use super::super::member::Stream;
use super::super::parts::Run;
use crate::id::{AttachToken, Sequence};
use crate::node::command::Refusal;
use crate::node::output::{Delivered, Delivery, Piece};
use crate::planted::Bug;
use crate::rare;
use crate::sometimes;
use crate::time::Now;

/// Batches that are read ahead of a handler that is handed a large message.
const READ_AHEAD: u64 = 4;

/// A part of the message that ends at `last`, as it is handed over.
pub(super) fn piece_of(batch: &Batch, bytes: Bytes, last: Sequence) -> Option<Delivered> {
    let (part, message) = (batch.part.as_deref()?, batch.messages().next()?);
    Some(Delivered {
        sequence: last,
        id: message.id,
        writer: message.writer,
        writer_sequence: message.writer_sequence,
        bytes,
        piece: Some(Piece { offset: part.offset, total: part.total, whole: part.whole }),
        parked: false,
    })
}

impl Stream {
    /// The application took pieces.
    pub(in crate::stream) fn took(&mut self, common: &mut Common, now: Now, token: AttachToken, bytes: u64) {
        if let Some(handler) = self.target.handler.as_mut().filter(|handler| handler.token == token) {
            handler.hands.take(bytes);
            self.pump_target(common, now);
        }
    }

    /// Bytes of pieces that were handed over and not taken, and what one piece may have.
    pub(in crate::stream) fn untaken(&self) -> Option<(u64, u64)> {
        let handler = self.target.handler.as_ref()?;
        Some((handler.hands.untaken(), handler.hands.piece_most))
    }

    /// Why nobody can stand at a position, if it lies inside a message.
    pub(in crate::stream) fn inside_a_message(&self, position: Sequence) -> Option<Refusal> {
        let inside = self.whole_up_to(position) < position;
        inside.then(|| {
            let what = format!("it is {position}, which lies inside a message of several parts");
            Refusal::ForeignPosition(what)
        })
    }

    /// Where somebody stands who processed all up to that message: nothing is to come of what lies behind the last one of a sealed log.
    pub(super) fn past_dead_tail(&self, position: Sequence) -> Sequence {
        let last = self.dead_tail().is_some_and(|ended| position == ended);
        if last { self.head.taken } else { position }
    }

    /// The last message of those who stand there.
    pub(super) fn before_dead_tail(&self, position: Sequence) -> Sequence {
        self.dead_tail().filter(|_| position == self.head.taken).unwrap_or(position)
    }

    /// Behind all messages of a sealed log stand parts of one that nobody will ever have whole: that is processed with them.
    pub(super) fn pass_dead_tail(&mut self, common: &mut Common, now: Now) {
        let Some(ended) = self.dead_tail() else { return };
        let (mark, taken) = (self.target.mark, self.head.taken);
        if mark >= ended && mark < taken {
            rare!(DeadTailPassed);
            self.pass_mark(common, taken);
        }
        let passed = self.target.mark >= taken;
        if let Some(handler) = self.target.handler.as_mut().filter(|handler| passed && handler.done >= ended)
            && handler.done < taken
        {
            (handler.handed, handler.done, handler.replaying) = (taken, taken, false);
            self.checkpoint_soon(common, now);
        }
        self.fence_outrun(common);
    }

    /// Hands over the next piece of the message whose first part stands at `first`. `false` if that cannot be now.
    pub(super) fn hand_over_parts(&mut self, common: &mut Common, first: Sequence, upto: Sequence) -> bool {
        let last = match self.run_from(first, upto) {
            Run::Whole(last) => last,
            Run::Coming => {
                rare!(PartsToCome);
                return false;
            }
            Run::Broken(next) => {
                rare!(PartsLeftBehind);
                if let Some(handler) = &mut self.target.handler {
                    handler.handed = next.before();
                }
                return true;
            }
        };
        let Some(handler) = &self.target.handler else { return false };
        let hands = &handler.hands;
        let (at, untaken) = (hands.inside.map_or(first, Sequence::next), hands.untaken());
        // The message counts when it is whole, beside those that are out.
        if hands.bytes > 0 && hands.bytes + MESSAGE_OVERHEAD > common.config.window_bytes {
            return false;
        }
        let Some(slot) = self.store.holding(at) else { return false };
        let len = self.store.get(slot).map_or(0, |kept| kept.batch.bytes());
        if untaken > 0 && untaken + len > common.config.window_bytes {
            sometimes!(PiecesNotTaken);
            if common.planted.strikes(Bug::OverflowAcked, || at < last) {
                self.move_mark(common, last);
                self.target
                    .handler
                    .iter_mut()
                    .for_each(|handler| (handler.handed, handler.hands.inside) = (last, None));
            }
            return false;
        }
        let Some(payload) = self.payload_to_deliver(common, slot) else { return false };
        let Some(kept) = self.store.get(slot) else { return false };
        let Some(delivered) = piece_of(&kept.batch, payload.to_bytes(), last) else { return false };
        self.handed_piece(common, at, last, len);
        let Some(handler) = &self.target.handler else { return false };
        let (token, instance) = (handler.token, self.instance);
        // Nobody is likely to ask for it soon again.
        common.cache.remove(instance, slot);
        common.emit(Output::Deliver(Delivery { token, instance, messages: [delivered].into() }));
        for ahead in 1..=READ_AHEAD {
            let next = Sequence(at.0 + ahead);
            if let Some(slot) = self.store.holding(next).filter(|_| next <= last) {
                let _ = self.payload(common, slot);
            }
        }
        true
    }

    /// The part at `at` of the message that ends at `last` is handed over.
    fn handed_piece(&mut self, common: &mut Common, at: Sequence, last: Sequence, len: u64) {
        let Some(handler) = &mut self.target.handler else { return };
        handler.hands.hand_piece(at, last, len);
        sometimes!(HandedInPieces, at < last);
        if at == last {
            handler.handed = last;
        } else if at > self.target.mark && common.planted.strikes(Bug::PartAcknowledged, || true) {
            self.move_mark(common, at);
        }
    }
}
