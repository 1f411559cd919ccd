//! What a node wants done. An output that was polled may run at once, whatever it is: all waiting happens inside.

use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;

use super::command::{Refusal, Reply};
use crate::digest::Digest;
use crate::event::MeshEvent;
use crate::id::{
    AttachToken, LaneId, MessageId, NodeId, RequestId, Sequence, StreamInstance, Ticket, WriterId,
    WriterSequence,
};
use crate::payload::Payload;
use crate::time::Instant;
use crate::update::UpdateDelivery;
use crate::work::{Job, PublicKey, WorkId};

/// Names a dial; never used twice in one life of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DialId(pub u64);

/// Names a load; never used twice in one life of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LoadId(pub u64);

/// Everything a node can ask of its world.
#[derive(Clone, Debug)]
pub enum Output {
    /// Write one row. Rows come in rising order of tickets and become durable as prefixes; answered by `Persisted`.
    Write {
        /// The row's number.
        ticket: Ticket,
        /// Its bytes.
        row: Payload,
    },
    /// Rows below this one are dead and may go, whenever convenient.
    Trim {
        /// The first row that stays.
        below: Ticket,
    },
    /// Read part of a row; sees every write polled before. Answered by `Loaded`.
    Load {
        /// Name of this load.
        load: LoadId,
        /// The row.
        row: Ticket,
        /// First byte.
        offset: u32,
        /// How many.
        len: u32,
    },
    /// Do heavy work; answered by `WorkDone`.
    Work {
        /// Name of the job.
        work: WorkId,
        /// What to do.
        job: Job,
    },
    /// Open a connection; answered by `LaneUp` or `DialFailed`.
    Dial {
        /// Name of this dial.
        dial: DialId,
        /// `host:port`.
        address: String,
    },
    /// Close a connection, after what was handed out by `poll_transmit` has been sent; answered by `LaneDown`.
    Close {
        /// Which.
        lane: LaneId,
        /// Why, for people.
        reason: CloseReason,
    },
    /// Prove that identity key of the node's own on connections made from now on; those that are up stay as they are.
    ShowKey(PublicKey),
    /// Messages for a handler, in order.
    Deliver(Delivery),
    /// Updates for a handler, in order.
    DeliverUpdates(UpdateDelivery),
    /// Answers a command. Some commands are answered several times; see [`Reply`].
    Reply {
        /// Which command.
        request: RequestId,
        /// The answer.
        reply: Result<Reply, Refusal>,
    },
    /// Something an operator or a log may want to know.
    Event(Event),
}

/// Why a connection is closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// Another connection to the same neighbour carries the link.
    Surplus,
    /// The other end broke the protocol; what it did.
    Misbehaved(String),
    /// The other end is not who it must be, or not of this mesh; what does not fit.
    Unwelcome(String),
    /// Nothing was heard for the keepalive timeout.
    Silent,
    /// The handshake did not end in time.
    HandshakeTimeout,
    /// The node stops.
    Stopping,
}

/// Messages handed to a handler.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The attachment they are for.
    pub token: AttachToken,
    /// The stream.
    pub instance: StreamInstance,
    /// In order, without gaps.
    pub messages: Vec<Delivered>,
}

/// One message as its handler sees it.
#[derive(Clone, Debug)]
pub struct Delivered {
    /// Its place in the stream.
    pub sequence: Sequence,
    /// Its id.
    pub id: MessageId,
    /// Who wrote it. (instance, writer, writer sequence) is the stable key for idempotent handlers.
    pub writer: WriterId,
    /// Its place among the writer's messages.
    pub writer_sequence: WriterSequence,
    /// What was published, or a piece of it.
    pub bytes: Bytes,
    /// Which piece of a large message this is; a whole message otherwise. The pieces of a message follow each other, in order, under one sequence, and a
    /// verdict is given for the message when its last piece was taken.
    pub piece: Option<Piece>,
    /// It was parked, and is handed over again, outside of the position: success is told for it alone.
    pub parked: bool,
}

/// A piece of a large message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Its first byte.
    pub offset: u64,
    /// Bytes of the message.
    pub total: u64,
    /// BLAKE3 of the message.
    pub whole: Digest,
}

/// What an operator or a log may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A link to a neighbour came up.
    LinkUp {
        /// The neighbour.
        node: NodeId,
    },
    /// The last connection to a neighbour is gone.
    LinkDown {
        /// The neighbour.
        node: NodeId,
    },
    /// A start of a node that shares groups with this one is heard for the first time, or counts again.
    PeerStarted {
        /// Who.
        node: NodeId,
        /// The start.
        boot: crate::id::BootId,
    },
    /// A peer was refused or cut off; why.
    PeerRefused {
        /// Who, if known.
        node: Option<NodeId>,
        /// Why.
        reason: CloseReason,
    },
    /// This node's role in a group changed.
    RoleChanged {
        /// The group.
        group: crate::id::GroupId,
        /// `leader`, `follower`, `candidate`, `learner`, `verifying`, `amnesic` or `stopped`.
        role: &'static str,
        /// Its term.
        term: crate::id::Term,
    },
    /// A replica's disk was rolled back, or a log was found beside what it vouched for; what was done.
    Amnesia {
        /// The group.
        group: crate::id::GroupId,
        /// Whose disk.
        node: NodeId,
        /// What was found and what happens now.
        what: String,
    },
    /// A group stopped on this node and says why; it needs an operator.
    GroupStopped {
        /// The group.
        group: crate::id::GroupId,
        /// Why.
        reason: String,
    },
    /// A member is so far behind a stream's log that it needs the state, and the state is too large to be sent. It stays behind, and
    /// what waits for it does not end: open another stream.
    StateTooLarge {
        /// The stream.
        stream: String,
        /// Who is behind.
        node: NodeId,
        /// Bytes of the state; its writers are most of it.
        bytes: u64,
        /// Bytes that can be sent.
        limit: u64,
    },
    /// A target laid a message aside, for its handler failed at it as often as the stream's policy bears.
    Parked {
        /// The stream.
        stream: String,
        /// The message.
        sequence: Sequence,
        /// How often.
        attempts: u32,
        /// What the handler said last.
        reason: String,
    },
    /// A message that was parked is parked no more.
    Unparked {
        /// The stream.
        stream: String,
        /// The message.
        sequence: Sequence,
        /// Why it was discarded; `None` if its handler processed it.
        discarded: Option<String>,
    },
    /// Messages that were parked went with their stream, which was closed, or with this node's part in it.
    ParkedDropped {
        /// The stream.
        stream: String,
        /// How many.
        count: u64,
    },
    /// Something happened to the mesh.
    Mesh(MeshEvent),
    /// This node left its mesh or was evicted from it.
    Parted {
        /// The mesh.
        mesh: crate::id::MeshId,
        /// Whether it had asked for that.
        left: bool,
        /// What happened, and what to do.
        why: String,
    },
    /// This node exists twice, or another copy of it is the only one: it takes no part.
    DuplicateIdentity {
        /// The starts that were about at once, or that of the only copy.
        boots: Vec<crate::id::BootId>,
        /// What happened, and what to do.
        why: String,
    },
    /// This node's disk holds nothing but an identity key that was retired: it takes no part.
    KeyRetired {
        /// What happened, and what to do.
        why: String,
    },
    /// The mode of the mesh changed, as this node sees it.
    ModeChanged(Standing),
    /// Accepting stopped for want of disk space, or started again.
    Space {
        /// Whether publishing is accepted.
        accepting: bool,
    },
}

/// How the mesh is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MeshMode {
    /// Every member can be reached.
    Healthy,
    /// Fewer than half of the members cannot be reached.
    Degraded,
    /// Half of the members or more cannot be reached, or nobody leads the control group: but for evictions nothing of the configuration
    /// changes; open streams go on.
    Critical,
}

/// The mode of the mesh as one node sees it, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The mode.
    pub mode: MeshMode,
    /// How many members cannot be reached.
    pub unreachable: u64,
    /// How many there are.
    pub members: u64,
    /// Whether a leader of the control group is known and can be reached. Without one the configuration can only be read.
    pub quorum: bool,
}

/// Bytes that were put into the caller's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// The connection they are for.
    pub lane: LaneId,
    /// How many bytes were appended.
    pub len: usize,
}

/// When to come back, and for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline {
    /// When.
    pub at: Instant,
    /// The part that waits.
    pub timer: Timer,
}

/// Who waits for a deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// Handshakes, keepalives, redials.
    Link,
    /// Heartbeats between nodes that share groups.
    Pair,
    /// Flooding.
    Route,
    /// Elections and retransmission.
    Raft,
    /// Joins and forwarded requests.
    Mesh,
    /// Resending and batching of streams.
    Stream,
}
