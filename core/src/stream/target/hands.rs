//! What somebody has in hand: handed over, and not settled.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::super::entry::MESSAGE_OVERHEAD;
use super::super::store::Kept;
use crate::id::Sequence;
use crate::node::output::Delivered;
use crate::payload::Payload;
use crate::rare;

/// What a handler, or a replay, has in hand.
#[derive(Clone, Debug, Default)]
pub(super) struct Hands {
    /// Deliveries that are not settled: last message, how many, weight.
    pub(super) out: VecDeque<(Sequence, u64, u64)>,
    /// How many messages these are, and their weight.
    pub(super) count: u64,
    pub(super) bytes: u64,
    /// Of the message that is being handed over in pieces, the part that was handed over last.
    pub(super) inside: Option<Sequence>,
    /// Bytes of all pieces that were handed over, and of those that the application took.
    pieces: u64,
    took: u64,
    /// The largest piece handed over.
    pub(super) piece_most: u64,
}

/// What of a batch goes into hands at once.
#[derive(Debug)]
pub(super) struct Filled {
    pub(super) messages: Vec<Delivered>,
    pub(super) weight: u64,
    /// The sequence behind the last of them.
    pub(super) behind: Sequence,
}

impl Hands {
    /// The messages of a batch that fit, from the first of `bounds` up to the second: so many, and of so much weight with what is in hand, of which one goes in any
    /// case; in front of where it `stops`, if that is not the first. `None` if the payload is shorter than the batch says.
    pub(super) fn fill(
        &self,
        kept: &Kept,
        payload: &Payload,
        (next, until): (Sequence, Sequence),
        (room, bytes): (u64, u64),
        stops: impl Fn(Sequence) -> bool,
    ) -> Option<Filled> {
        let mut filled = Filled { messages: Vec::new(), weight: 0, behind: next };
        for at in kept.batch.messages().skip((next.0 - kept.first.0) as usize) {
            let sequence = filled.behind;
            let count = filled.messages.len() as u64;
            if sequence > until || count >= room || (count > 0 && stops(sequence)) {
                break;
            }
            let (more, before) = (at.length as u64 + MESSAGE_OVERHEAD, self.bytes + filled.weight);
            if before > 0 && before + more > bytes {
                rare!(WindowBytesFull);
                break;
            }
            filled.weight += more;
            filled.behind = sequence.next();
            filled.messages.push(Delivered {
                sequence,
                id: at.id,
                writer: at.writer,
                writer_sequence: at.writer_sequence,
                bytes: payload.slice(at.offset, at.length)?,
                piece: None,
                parked: false,
            });
        }
        Some(filled)
    }

    /// So many messages are handed over, up to that one.
    pub(super) fn hand(&mut self, last: Sequence, count: u64, weight: u64) {
        self.out.push_back((last, count, weight));
        self.count += count;
        self.bytes += weight;
    }

    /// The part at `at` of the message that ends at `last` is handed over. With the last part the message counts.
    pub(super) fn hand_piece(&mut self, at: Sequence, last: Sequence, len: u64) {
        self.pieces += len;
        self.piece_most = self.piece_most.max(len);
        self.inside = (at < last).then_some(at);
        if at == last {
            self.hand(last, 1, MESSAGE_OVERHEAD);
        }
    }

    /// Everything up to here is settled.
    pub(super) fn settle(&mut self, upto: Sequence) {
        while let Some(&(last, count, bytes)) = self.out.front()
            && last <= upto
        {
            self.out.pop_front();
            self.count -= count;
            self.bytes -= bytes;
        }
    }

    /// The application took so many bytes of pieces by now.
    pub(super) fn take(&mut self, bytes: u64) {
        self.took = self.took.max(bytes.min(self.pieces));
    }

    /// Bytes of pieces that were handed over and not taken.
    pub(super) fn untaken(&self) -> u64 {
        self.pieces - self.took
    }

    /// Nothing more fits until everything up to here is settled.
    pub(super) fn wait_behind(&mut self, upto: Sequence, window: u64) {
        self.out.push_back((upto, window, 0));
        self.count = window;
    }
}
