//! Messages that a target laid aside, for it could not process them: what is asked about them, and what is told.

use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;

use crate::id::{AuthorityEpoch, MessageId, Sequence, WriterId, WriterSequence};
use crate::time::Wall;

/// Most bytes of a reason that is kept with a message.
pub const REASON_BYTES: usize = 512;
/// Most messages that one answer lists.
pub const LISTED_MAX: u32 = 256;

/// What an operator asks about the parked messages of a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParkedCommand {
    /// Which there are.
    List {
        /// Those behind this one.
        after: Sequence,
        /// So many of them, and no more than [`LISTED_MAX`].
        most: u32,
    },
    /// One, with its bytes.
    Show(Sequence),
    /// Hand one to the attached handler again, outside of its position. Answered when the handler says what came of it.
    Retry(Sequence),
    /// Let one go for good.
    Discard {
        /// Which.
        sequence: Sequence,
        /// Why, for the log.
        reason: String,
    },
}

/// A message that was parked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParkedMessage {
    /// Its place in the stream.
    pub sequence: Sequence,
    /// The authority under which it was parked.
    pub authority: AuthorityEpoch,
    /// Its id.
    pub id: MessageId,
    /// Who wrote it.
    pub writer: WriterId,
    /// Its place among the writer's messages.
    pub writer_sequence: WriterSequence,
    /// Its length.
    pub bytes: u64,
    /// How often it failed, retries included.
    pub attempts: u32,
    /// What the handler said last.
    pub reason: String,
    /// When it failed first.
    pub since: Wall,
    /// When it was parked.
    pub parked: Wall,
}

/// What is answered to a [`ParkedCommand`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParkedReply {
    /// Those there are, in order.
    List {
        /// The first of those asked for.
        parked: Vec<ParkedMessage>,
        /// Whether there are more behind them.
        more: bool,
    },
    /// One of them.
    Shown {
        /// Which.
        message: ParkedMessage,
        /// What was published.
        body: Bytes,
    },
    /// The handler succeeded, and that is durable: the message is parked no more.
    Handled,
    /// The handler failed again, and the message stays parked.
    FailedAgain {
        /// How often in all.
        attempts: u32,
        /// What the handler said.
        reason: String,
    },
    /// The message is gone, durably.
    Discarded,
}

/// Why a parked message was not retried, shown or discarded, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParkedRefusal {
    /// Nothing is parked there.
    #[error("message {0} is not parked at this target: `wattle stream parked list` shows what is")]
    NotParked(Sequence),
    /// Nobody is there to be handed it.
    #[error("no handler of the stream is attached at this target: attach one, and then retry message {0}")]
    NoHandler(Sequence),
    /// One is retried at a time.
    #[error(
        "the handler is at parked message {0}, and one is retried at a time: try again when that came to an end"
    )]
    Retrying(Sequence),
    /// The handler was gone before it said what came of it.
    #[error(
        "the handler was gone before it said whether it processed message {0}: it stays parked; whoever retries it, mind that it may have been processed (its key is the same)"
    )]
    HandlerGone(Sequence),
    /// The disk does not give its bytes.
    #[error("the bytes of parked message {0} cannot be read from the disk of this node")]
    Unreadable(Sequence),
}

/// A message that a target's handler fails at, as far as it has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failing {
    /// Which.
    pub sequence: Sequence,
    /// How often it failed.
    pub attempts: u32,
    /// What the handler said last.
    pub reason: String,
    /// When it failed first.
    pub since: Wall,
    /// Why it is not parked, though the policy says so and it failed often enough.
    pub held_up: Option<NotParked>,
}

/// Why a message is not parked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotParked {
    /// It comes in pieces.
    #[error("it is too large for one record, and such a message is not parked")]
    InPieces,
    /// As many are parked as may be.
    #[error("{0} messages are parked at this target, the most it may have: retry or discard some")]
    TooMany(u64),
    /// So many bytes are parked that this one does not fit.
    #[error(
        "{0} bytes are parked at this target, and this message does not fit beside them: retry or discard some"
    )]
    TooLarge(u64),
    /// The disk is nearly full.
    #[error("the disk of this node is nearly full")]
    NoSpace,
}
