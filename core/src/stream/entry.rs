//! Batches, and what stands in a stream's log.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::marks::Marks;
use crate::digest::Digest;
use crate::id::{BootId, MessageId, NodeId, Sequence, SessionEpoch, WriterId, WriterSequence};
use crate::retention::Scarce;
use crate::time::Wall;

/// Memory a message costs beside its bytes: its length here and in the log, or its handle while it waits or is handed over.
pub(super) const MESSAGE_OVERHEAD: u64 = 32;
/// Memory a batch costs beside its messages, wherever it is kept: its place in the store and its indexes, the log's entry that names it
/// (in memory while it may have to be sent again), and the journal's notes on both their records.
pub(super) const BATCH_OVERHEAD: u64 = 1536;
/// Memory an entry costs that names no batch, while it may have to be sent again or applied anew: itself with up to 64 marks, what the log notes of its
/// run, and the journal of its record.
pub(super) const ENTRY_OVERHEAD: u64 = 256;
/// Memory each run of one writer's messages costs, with its place in the index of writers.
pub(super) const SPAN_OVERHEAD: u64 = 160;
/// Memory a request costs whose messages are not in a batch yet.
pub(super) const QUEUED_OVERHEAD: u64 = 256;
/// Memory a payload costs beside its bytes that is at hand for sending and delivering.
pub(super) const CACHED_OVERHEAD: u64 = 256;
/// Memory a payload costs beside its bytes that is verified and waits to be named. Both ends count it: credit is memory at the target.
const HELD_OVERHEAD: u64 = 512;

/// What the target counts for a payload of that many bytes until the log names it.
pub(super) const fn held_weight(bytes: u64) -> u64 {
    bytes + HELD_OVERHEAD
}

/// What a payload is called for ever, whatever numbers its messages bear later (rule A2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Identity {
    /// The start of the source that accepted it.
    pub boot: BootId,
    /// The first sequence it bore then.
    pub first: Sequence,
    /// BLAKE3 of its bytes.
    pub digest: Digest,
}

/// Consecutive messages of one writer inside a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Who wrote them.
    pub writer: WriterId,
    /// The first one's writer sequence.
    pub first: WriterSequence,
    /// How many.
    pub count: u64,
    /// They were found to be taken already: they bear no sequence and are not delivered (rule A4).
    pub void: bool,
}

impl Span {
    /// The last one's writer sequence.
    #[must_use]
    pub const fn last(&self) -> WriterSequence {
        WriterSequence((self.first.0 + self.count).saturating_sub(1))
    }
}

/// What a batch is part of, if its one message is a piece of a larger one. Such batches stand next to each other in the log, each at a sequence of its
/// own; the message bears the sequence of its last part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its first byte within the whole.
    pub offset: u64,
    /// Bytes of the whole.
    pub total: u64,
    /// BLAKE3 of the whole.
    pub whole: Digest,
}

/// A batch, all but its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Its name.
    pub identity: Identity,
    /// Whose messages it holds, in order.
    pub spans: Vec<Span>,
    /// The length of each message.
    pub lengths: Vec<u32>,
    /// The first message's id; the others count up from it.
    pub base: MessageId,
    /// When it was accepted, for people.
    pub wall: Wall,
    /// Its one message is a part of a larger one, and its digest is the chaining value of that part.
    pub part: Option<Box<Part>>,
}

impl Batch {
    /// How many of its messages bear a sequence.
    #[must_use]
    pub fn live(&self) -> u64 {
        self.spans.iter().filter(|span| !span.void).map(|span| span.count).sum()
    }

    /// Bytes of its payload.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.lengths.iter().map(|&length| u64::from(length)).sum()
    }

    /// Bytes of its payload, and of memory that goes with it: what limits count. The bytes of parts have a limit of their own.
    #[must_use]
    pub fn weight(&self) -> u64 {
        let (messages, spans) = (self.lengths.len() as u64, self.spans.len() as u64);
        let bytes = self.bytes() - self.part_bytes();
        bytes + BATCH_OVERHEAD + MESSAGE_OVERHEAD * messages + SPAN_OVERHEAD * spans
    }

    /// Bytes of its payload, if it is a part.
    #[must_use]
    pub fn part_bytes(&self) -> u64 {
        self.part.as_ref().map_or(0, |_| self.bytes())
    }

    /// Whether a message ends with it: whether it is no part, or the last one.
    #[must_use]
    pub fn ends(&self) -> bool {
        self.part.as_ref().is_none_or(|part| part.offset + self.bytes() == part.total)
    }

    /// Whether a message begins with it.
    #[must_use]
    pub fn begins(&self) -> bool {
        self.part.as_ref().is_none_or(|part| part.offset == 0)
    }

    /// The writer and the writer sequence of its first message.
    pub(super) fn written(&self) -> Option<(WriterId, WriterSequence)> {
        self.spans.first().map(|span| (span.writer, span.first))
    }

    /// What it costs in memory while it is offered, and its bytes are elsewhere.
    #[must_use]
    pub(super) fn outline(&self) -> u64 {
        let (messages, spans) = (self.lengths.len(), self.spans.len());
        (size_of::<Self>() + messages * size_of::<u32>() + spans * size_of::<Span>()) as u64
    }

    /// Makes void what `covered` says was taken: for a writer, the last writer sequence taken. Returns whether anything changed.
    pub fn void_covered(&mut self, covered: impl Fn(WriterId) -> u64) -> bool {
        let mut spans = Vec::with_capacity(self.spans.len());
        let mut changed = false;
        for span in &self.spans {
            let upto = covered(span.writer);
            if span.void || upto < span.first.0 {
                spans.push(*span);
                continue;
            }
            changed = true;
            let gone = (upto - span.first.0 + 1).min(span.count);
            spans.push(Span { count: gone, void: true, ..*span });
            if gone < span.count {
                let first = WriterSequence(span.first.0 + gone);
                spans.push(Span { first, count: span.count - gone, ..*span });
            }
        }
        self.spans = spans;
        changed
    }

    /// The messages that bear a sequence, in order.
    pub fn messages(&self) -> impl Iterator<Item = MessageAt> + '_ {
        let mut offset = 0usize;
        let mut lengths = self.lengths.iter().enumerate();
        let each = self.spans.iter().flat_map(|span| (0..span.count).map(move |n| (span, n)));
        each.filter_map(move |(span, n)| {
            let (place, &length) = lengths.next()?;
            let at = MessageAt {
                writer: span.writer,
                writer_sequence: WriterSequence(span.first.0 + n),
                id: MessageId(self.base.0.wrapping_add(place as u128)),
                offset,
                length: length as usize,
            };
            offset += at.length;
            (!span.void).then_some(at)
        })
    }

    /// For each live span, how many live messages stand before it.
    pub fn placed(&self) -> impl Iterator<Item = (Span, u64)> + '_ {
        let mut before = 0;
        self.spans.iter().filter(|span| !span.void).map(move |span| {
            let at = before;
            before += span.count;
            (*span, at)
        })
    }
}

/// Where a message lies in its batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageAt {
    /// Who wrote it.
    pub writer: WriterId,
    /// Its place among the writer's messages.
    pub writer_sequence: WriterSequence,
    /// Its id.
    pub id: MessageId,
    /// Its first byte within the payload.
    pub offset: usize,
    /// Its length.
    pub length: usize,
}

/// A command in a stream's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A start of the source opens a session (rule A5).
    Session {
        /// The source.
        source: NodeId,
        /// Its start.
        boot: BootId,
        /// The session this follows: taken only if that one is current.
        follows: SessionEpoch,
    },
    /// A batch takes its place (rule A1).
    Descriptor {
        /// The session under which it is proposed.
        epoch: SessionEpoch,
        /// The first message's sequence.
        first: Sequence,
        /// The batch.
        batch: Batch,
    },
    /// Targets have processed so much. Who proposes it counts; applied, it only makes these numbers grow.
    Complete {
        /// The last message that is processed by whom it must be.
        upto: Sequence,
        /// The last message that every target has processed.
        released: Sequence,
        /// What each target has processed: who is below `upto` was missing.
        marks: Marks,
    },
    /// A writer writes no more.
    CloseWriter {
        /// Who.
        writer: WriterId,
    },
    /// A target has to process everything in front of this, and nothing behind it.
    Drain {
        /// Its place among the targets.
        place: usize,
    },
    /// A target is out from here on (S22).
    Detach {
        /// Its place among the targets.
        place: usize,
    },
    /// Of a stream with a retention: what the time is, and what goes before its time. Both only grow.
    Keep {
        /// The time, by the clock of whoever leads.
        clock: Wall,
        /// Up to this message; 0 if nothing does.
        gone: Sequence,
        /// The member, by its place among all of them, that has too little of what.
        by: Option<(u8, Scarce)>,
    },
    /// A node is a target from here on (S28), or never will be.
    Join {
        /// Its place among the targets: the next one.
        place: usize,
        /// Which.
        node: NodeId,
        /// It owes what is behind this message, or else what is behind this entry.
        behind: Option<Sequence>,
        /// It is none, and out as if it had been.
        declined: bool,
    },
}
