//! What the ends of a stream say to each other.

use bytes::Bytes;

use super::entry::{Entry, Identity};
use crate::id::{AuthorityEpoch, BootId, Sequence, SessionEpoch, StreamInstance};
use crate::payload::Payload;

/// A message between the ends of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The stream.
    pub instance: StreamInstance,
    /// What is said.
    pub body: Body,
}

/// What is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// The bytes of a batch.
    Data(Data),
    /// Send me the bytes of that batch.
    Want(Identity),
    /// Processed up to here, durably (rules F1, F2).
    Mark(Sequence),
    /// Where the sender stands.
    Status(Standing),
    /// The stream goes on under this authority, without whom this is said to.
    SealedOut(AuthorityEpoch),
    /// From a source that does not lead: append this (rule A1).
    Offer(Entry),
    /// To an offer that does not follow the log's end: where that is (rule A6).
    Follow {
        /// The session.
        epoch: SessionEpoch,
        /// The last message.
        taken: Sequence,
    },
}

/// The bytes of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Data {
    /// The sender's start.
    pub boot: BootId,
    /// The session the sender knows.
    pub epoch: SessionEpoch,
    /// The first message's sequence.
    pub first: Sequence,
    /// How many messages bear a sequence.
    pub count: u64,
    /// Which batch.
    pub identity: Identity,
    /// Where it lies within a whole, if it is part of one: by that its digest is told from others.
    pub offset: Option<u64>,
    /// The bytes.
    pub bytes: Payload,
}

/// Where a member stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// The sender's start.
    pub boot: BootId,
    /// The receiver's start to which this is said.
    pub peer: BootId,
    /// Grows within a boot.
    pub serial: u64,
    /// The session the figures belong to.
    pub epoch: SessionEpoch,
    /// Everything up to here is held, verified.
    pub have: Sequence,
    /// Bytes that may be sent beyond `have` (rule B3), each batch counted with what it costs besides. Absolute: saying it twice grants
    /// nothing twice.
    pub room: u64,
    /// The last message taken at apply.
    pub taken: Sequence,
    /// From a target, its processed mark.
    pub mark: Sequence,
    /// The highest processed mark heard of the receiver, if that is a target (rule C4).
    pub heard: Sequence,
    /// The sender leads, and has applied what came before: `taken` is the committed end.
    pub confirmed: bool,
    /// Not 0: please answer, naming this number.
    pub ask: u64,
    /// The number of the question this answers, or 0.
    pub answer: u64,
    /// Bytes up to here may be gone at the sender.
    pub floor: Sequence,
    /// The stream stopped at the sender, which does nothing for it until its next start.
    pub stopped: bool,
    /// The authority under which the sender serves.
    pub authority: AuthorityEpoch,
    /// Bytes that the sender's disk has room for.
    pub space: u64,
    /// From a target: how many messages are parked there.
    pub parked: u64,
    /// From whoever leads in place of the source: everything up to here is committed, and durable at most of those who are left under that authority.
    pub replicated: Sequence,
}

impl Standing {
    /// Whether another statement of the same member says the same: questions and answers tie them to others and say nothing.
    #[must_use]
    pub fn says_the_same(&self, other: &Self) -> bool {
        let Self { serial, ask, answer, .. } = *other;
        Self { serial, ask, answer, ..*self } == *other
    }
}

/// Bytes that say nothing a stream understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a stream message cannot be read: {0}")]
pub struct Malformed(pub &'static str);

impl Message {
    /// The header for the receiving end, and the payload that relays pass on unread.
    #[must_use]
    pub fn encode(&self) -> (Bytes, Payload) {
        super::wire::encode_message(self)
    }

    /// Reads what [`Message::encode`] wrote.
    ///
    /// # Errors
    /// [`Malformed`] names what is missing or out of range.
    pub fn decode(header: Bytes, payload: Bytes) -> Result<Self, Malformed> {
        super::wire::decode_message(header, payload)
    }
}
