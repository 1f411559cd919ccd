//! What a node is told.

use alloc::string::String;

use bytes::Bytes;

use super::command::Command;
use super::output::{DialId, LoadId};
use crate::id::{AttachToken, LaneId, RequestId, Sequence, Ticket};
use crate::work::{Done, PublicKey, WorkId};

/// Everything that can happen to a node.
#[derive(Clone, Debug)]
pub enum Input {
    /// One stored row, in rising order of tickets. Only before [`Input::Recovered`].
    Row {
        /// The number it was written under.
        ticket: Ticket,
        /// Its bytes as read, trusted in nothing: the core checks them.
        bytes: Bytes,
    },
    /// The world knows that every row up to this one was on disk once. Only before [`Input::Recovered`].
    Synced {
        /// The last such row.
        upto: Ticket,
    },
    /// There are no more rows: the node starts. Refused when the rows do not add up.
    Recovered,
    /// A connection is up and its far end has proven that it holds `peer_key` (TLS 1.3, both sides).
    LaneUp {
        /// The world's name for the connection, never used before in this life of the node.
        lane: LaneId,
        /// The dial it answers; `None` when it was accepted.
        dial: Option<DialId>,
        /// The proven key.
        peer_key: PublicKey,
    },
    /// A connection ended, for whatever reason. Comes once for each `LaneUp`, also after [`super::Output::Close`].
    LaneDown {
        /// Which.
        lane: LaneId,
    },
    /// A dial came to nothing.
    DialFailed {
        /// Which.
        dial: DialId,
    },
    /// Bytes from a connection, cut anywhere.
    Received {
        /// Which.
        lane: LaneId,
        /// The next bytes of its stream.
        bytes: Bytes,
    },
    /// A deadline given by `poll_timeout` was reached (or the world looks in for any other reason; it is harmless).
    Deadline,
    /// All writes up to and including this ticket are on disk.
    Persisted {
        /// Grows from call to call.
        upto: Ticket,
    },
    /// A write failed. The node stops; see law 2.
    WriteFailed {
        /// What the world saw, for people.
        reason: String,
    },
    /// Answers [`super::Output::Load`].
    Loaded {
        /// Which load.
        load: LoadId,
        /// The bytes asked for; `None` if the store cannot give them.
        bytes: Option<Bytes>,
    },
    /// How many bytes the store can still take, the reserve for draining not counted. Told at start and when it changes notably.
    Space {
        /// Bytes.
        free: u64,
    },
    /// Answers [`super::Output::Work`].
    WorkDone {
        /// Which job.
        work: WorkId,
        /// Its result.
        done: Done,
    },
    /// The application wants something.
    Command {
        /// Ties the replies to it.
        request: RequestId,
        /// What it wants.
        command: Command,
    },
    /// Nobody waits for the answers to a request any more (the client went away). What it asked for is done all the same, except that
    /// a handler that is not attached yet will not be. Harmless for a request that is answered or was never made.
    Forget {
        /// Which.
        request: RequestId,
    },
    /// A handler succeeded for everything up to `upto`.
    Verdict {
        /// Under which attachment.
        token: AttachToken,
        /// The last message it is done with.
        upto: Sequence,
    },
    /// A handler failed at the message behind the last one it is done with, or at a parked one that it was handed again. Answered by
    /// [`super::command::Reply::Failed`] to the request that attached it, unless it was parked: until then it must not try again, for the message may be about to be parked.
    Failed {
        /// Under which attachment.
        token: AttachToken,
        /// The message.
        sequence: Sequence,
        /// What the handler says; so much of it is kept as [`crate::parked::REASON_BYTES`].
        reason: String,
    },
    /// A handler succeeded with a parked message that it was handed again.
    Retried {
        /// Under which attachment.
        token: AttachToken,
        /// The message.
        sequence: Sequence,
    },
    /// The application took pieces of large messages that it was handed: others are handed over only when it did.
    Took {
        /// Under which attachment.
        token: AttachToken,
        /// Bytes of all pieces handed over under it and taken. Saying it twice grants nothing twice.
        bytes: u64,
    },
    /// A handler is gone (its connection closed).
    Detach {
        /// Which attachment.
        token: AttachToken,
    },
}
