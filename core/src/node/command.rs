//! What applications and operators ask for, and what they are told.

use alloc::boxed::Box;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use bytes::Bytes;

use crate::agreed::{ConfigCommand, ConfigRefusal, ConfigReply};
use crate::description::Description;
use crate::digest::Digest;
use crate::ends::{BadEnds, Ends, Terms};
use crate::flow::{FlowRefusal, FlowTold, FlowWish, Tenant};
use crate::id::{
    AttachToken, AuthorityEpoch, MeshId, NodeId, Sequence, SessionEpoch, StreamInstance, UpdateNumber,
    WriterId, WriterSequence,
};
use crate::members::{MembersRefusal, MembersWish, StreamMembers};
use crate::parked::{ParkedCommand, ParkedRefusal, ParkedReply};
use crate::recovery::{RecoverCommand, RecoverRefusal, RecoverReply};
use crate::sealing::{SealRefusal, Sealed};
use crate::time::Span;
use crate::update::{Lagging, UpdateCommand, UpdateKind, UpdateReply};
use crate::work::PublicKey;

/// A wish of the application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Make a new mesh with this node as its first member. Answered by [`Reply::Seeded`].
    Seed {
        /// Name of the mesh, for people.
        name: String,
    },
    /// Make a join token. Answered by [`Reply::Token`].
    Invite,
    /// Join the mesh of a token. Answered by [`Reply::Joined`].
    Join {
        /// What `mesh seed` or `mesh invite` printed.
        token: String,
    },
    /// Open a stream, or find the one of that name. Answered by [`Reply::StreamOpened`].
    OpenStream {
        /// Name, unique in the mesh while open.
        name: String,
        /// Name or id of the node that accepts.
        source: String,
        /// Names or ids of the nodes that process.
        targets: Vec<String>,
        /// What is asked of it.
        terms: Terms<String>,
    },
    /// Close a stream: nothing more is accepted and its bytes go. Answered by [`Reply::StreamClosed`].
    CloseStream {
        /// Its name.
        name: String,
    },
    /// Members of a stream's group are lost for good, and with them its quorum: seal the stream, and go on without them. Answered by
    /// [`Reply::StreamSealed`]; asking again tells how far that is.
    SealStream {
        /// The stream's name.
        name: String,
        /// Names or ids of those who are lost.
        lost: Vec<String>,
    },
    /// The members of an open stream are to change. Answered by [`Reply::StreamMembers`]; asking again tells how far that is.
    ChangeMembers(MembersWish),
    /// Whether, or how fast, streams take messages in is to change. Answered by [`Reply::Flow`].
    ChangeFlow(FlowWish),
    /// Do something about an open stream if it is that tenant's; otherwise nothing is done, and [`FlowRefusal::WrongTenant`] is the answer.
    Within {
        /// Whose it must be.
        tenant: Tenant,
        /// What to do.
        command: Box<Self>,
    },
    /// Something about agreed configuration. Answered by [`Reply::Config`].
    Config(ConfigCommand),
    /// Take a member out of the mesh. It needs not be reachable. Answered by [`Reply::Evicted`].
    Evict {
        /// Name or id of the member.
        member: String,
    },
    /// Go on without those with whom the mesh lost its quorum. Answered by [`Reply::Recovery`].
    Recover(RecoverCommand),
    /// Have this node's identity key give way to a new one, during which either is good. Answered by [`Reply::NodeKey`].
    RotateNodeKey {
        /// The old key is to be good no more as soon as that can be, also of a rotation under way; the answer comes then.
        finish: bool,
    },
    /// Leave the mesh. Answered by [`Reply::Left`].
    Leave {
        /// Although this node is an end of open streams: they wait until they are closed or sealed.
        force: bool,
    },
    /// Take no part in the mesh for a while: others lead what this node leads, all nodes are told, links go. Answered by [`Reply::MeshStopped`], within
    /// five seconds; of a node that is stopped already, too.
    StopMesh {
        /// Until somebody starts it, whatever starts of the process lie between; otherwise until the process ends, which is about to.
        lasting: bool,
    },
    /// Take part in the mesh again. Answered by [`Reply::MeshStarted`], also where nothing was stopped.
    StartMesh,
    /// Publish messages. Answered by [`Reply::Published`] for each level up to `wait`, lowest first.
    Publish {
        /// The stream's name.
        stream: String,
        /// Who writes.
        writer: WriterId,
        /// The writer's number for the first message; the others follow without gaps.
        first: WriterSequence,
        /// The messages.
        messages: Vec<Bytes>,
        /// How far the publisher waits.
        wait: Waited,
    },
    /// Publish a part of a large message. Answered by [`Reply::Staged`] when it is durable; the last part as [`Command::Publish`] is.
    Stage {
        /// The stream's name.
        stream: String,
        /// The part.
        part: PartOf,
    },
    /// Give up what a writer has staged. Answered by [`Reply::Staged`] with nothing.
    GiveUpStaged {
        /// The stream's name.
        stream: String,
        /// Whose.
        writer: WriterId,
    },
    /// Where a writer stands: what to number the next message. Answered by [`Reply::Writer`].
    FindWriter {
        /// The stream's name.
        stream: String,
        /// Who writes.
        writer: WriterId,
    },
    /// End a writer id for good. Answered by [`Reply::WriterClosed`] once that is committed.
    CloseWriter {
        /// The stream's name.
        stream: String,
        /// Who will write no more.
        writer: WriterId,
    },
    /// Attach a handler; it takes over from the one before. Answered by [`Reply::Attached`], then deliveries.
    Attach {
        /// The stream's name.
        stream: String,
        /// The handler's own position, for handlers that keep it with their effects; `None` otherwise.
        presented: Option<Position>,
        /// How many messages may be handed over before a verdict is owed; at least 1.
        window: u32,
    },
    /// Read messages that this target has processed and still keeps, beside its handler and without moving anything. Answered by [`Reply::Attached`], then
    /// deliveries, and at the end of the range by [`Reply::Replayed`].
    Replay {
        /// The stream's name.
        stream: String,
        /// Which of them.
        range: Range,
        /// How many messages may be handed over before a verdict is owed; at least 1.
        window: u32,
    },
    /// Something about the parked messages of a stream, asked at the target where they are. Answered by [`Reply::Parked`].
    Parked {
        /// The stream's name.
        stream: String,
        /// What.
        command: ParkedCommand,
    },
    /// Say what this node is. Answered by [`Reply::Described`] once it is agreed on, or something later that this node says.
    Describe(Description),
    /// Something about updates. Answered by [`Reply::Update`].
    Update(UpdateCommand),
}

impl Command {
    /// What is to be done, whoever's the stream must be.
    #[must_use]
    pub fn inner(&self) -> &Self {
        if let Self::Within { command, .. } = self { command.inner() } else { self }
    }

    /// The open stream that it is about, by name.
    #[must_use]
    pub fn stream(&self) -> Option<&str> {
        match self {
            Self::CloseStream { name } | Self::SealStream { name, .. } => Some(name),
            Self::ChangeMembers(wish) => Some(&wish.stream),
            Self::Publish { stream, .. }
            | Self::Stage { stream, .. }
            | Self::GiveUpStaged { stream, .. }
            | Self::FindWriter { stream, .. }
            | Self::CloseWriter { stream, .. }
            | Self::Attach { stream, .. }
            | Self::Replay { stream, .. }
            | Self::Parked { stream, .. } => Some(stream),
            Self::Within { command, .. } => command.stream(),
            _ => None,
        }
    }
}

/// A part of a message that is too large to be published at once. Parts come in order, without waiting for each other's answers; all but the last are as
/// long as the node wishes ([`Reply::Writer`]), and begin where a part of that length can. What is staged is durable, and none of it is
/// published before the last part is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartOf {
    /// Who writes.
    pub writer: WriterId,
    /// The writer's number for the message: its next.
    pub number: WriterSequence,
    /// Bytes of the whole message.
    pub total: u64,
    /// The part's first byte. 0 begins the message anew, whatever was staged of it.
    pub offset: u64,
    /// The part.
    pub bytes: Bytes,
    /// With the last part: BLAKE3 of the whole message.
    pub digest: Option<Digest>,
    /// How far the publisher waits for the message; counts with the last part.
    pub wait: Waited,
}

/// Messages that are to be read again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Range {
    /// The first; `None`: the first that is kept.
    pub from: Option<Sequence>,
    /// The last; `None`: whatever is processed, on and on.
    pub to: Option<Sequence>,
}

/// What is staged of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Staged {
    /// Bytes of the whole.
    pub total: u64,
    /// Bytes that are durable: the next part begins there.
    pub upto: u64,
    /// Bytes of each part but the last.
    pub part_bytes: u64,
}

/// A handler's place in a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The stream's life it belongs to.
    pub instance: StreamInstance,
    /// The authority under which the sequence was given.
    pub authority: AuthorityEpoch,
    /// The last message whose effect is stored; 0 for none.
    pub sequence: Sequence,
}

/// How far a message has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Waited {
    /// Durable at the source.
    Accepted,
    /// Committed, and durable at a majority of members.
    Replicated,
    /// Processed by whom it must be, and a committed entry says so.
    Completed,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The mesh exists.
    Seeded {
        /// Its id.
        mesh: MeshId,
        /// A token with which others may join.
        token: String,
    },
    /// A join token.
    Token {
        /// To be given to `mesh join`.
        token: String,
    },
    /// This node is a member.
    Joined {
        /// Of this mesh.
        mesh: MeshId,
    },
    /// The stream is open.
    StreamOpened {
        /// Its life.
        instance: StreamInstance,
        /// `false` if it was open already.
        created: bool,
    },
    /// The stream is closed.
    StreamClosed,
    /// The stream is sealed, or is on the way to that.
    StreamSealed {
        /// Its life.
        instance: StreamInstance,
        /// How far.
        sealed: Sealed,
    },
    /// The members of the stream are to change, or did.
    StreamMembers {
        /// Its life.
        instance: StreamInstance,
        /// How they differ from those it was opened with.
        members: StreamMembers,
    },
    /// What the rule says now that a change was asked for of.
    Flow(Box<FlowTold>),
    /// About agreed configuration.
    Config(ConfigReply),
    /// The member is one no more.
    Evicted {
        /// Who.
        node: NodeId,
        /// The mesh epoch since then.
        epoch: u64,
    },
    /// About the recovery of a lost quorum.
    Recovery(RecoverReply),
    /// This node has another key.
    NodeKey {
        /// Which.
        key: PublicKey,
        /// Whether the old one is good no more.
        retired: bool,
    },
    /// This node belongs to no mesh any more.
    Left,
    /// This node takes no part in its mesh.
    MeshStopped,
    /// This node takes part in its mesh, or waits for one to seed or to join.
    MeshStarted,
    /// A run of messages has come this far. Comes once per level, lowest first, up to the one waited for.
    Published(Receipt),
    /// Where a writer stands.
    Writer {
        /// The number its next message must bear.
        next: WriterSequence,
        /// What is staged of that message, if it is a large one.
        staged: Option<Staged>,
        /// Bytes of each part but the last of a large message that begins now.
        part_bytes: u64,
    },
    /// Parts of a large message are durable.
    Staged(Staged),
    /// The writer's id is closed.
    WriterClosed,
    /// A handler is attached.
    Attached {
        /// Its token.
        token: AttachToken,
        /// The stream's life.
        instance: StreamInstance,
        /// Deliveries start after this position.
        position: Position,
    },
    /// Another handler took over; nothing more comes under this token.
    Fenced {
        /// The old token.
        token: AttachToken,
    },
    /// The handler stands below what is processed, or below what is kept: this member's disk had forgotten a mark, or a floor passed a
    /// replay. Nothing more comes under this token; attaching again tells where the handler goes on.
    Outrun {
        /// The old token.
        token: AttachToken,
    },
    /// A replay handed over the last message of its range; nothing more comes under this token.
    Replayed {
        /// Its token.
        token: AttachToken,
    },
    /// The handler failed at a message, and knows now what to do; said to the request that attached it.
    Failed {
        /// Its token.
        token: AttachToken,
        /// The message.
        sequence: Sequence,
        /// Whether it is to go on behind the message, which is parked, durably, or known to be processed; otherwise it is to try again.
        passed: bool,
    },
    /// About parked messages.
    Parked(ParkedReply),
    /// What this node says of itself is agreed on.
    Described {
        /// Which of the descriptions of this start holds.
        counter: u64,
    },
    /// Something about updates.
    Update(UpdateReply),
}

/// What a publisher is told of a run of messages. If they had been accepted before and are released by now, all that is known of them is
/// that they were processed: each level asked for is told at once, up to *completed*, with `duplicate` set and the sequences 0 to 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The level reached.
    pub level: Waited,
    /// The stream's life.
    pub instance: StreamInstance,
    /// The authority under which it was given.
    pub authority: AuthorityEpoch,
    /// The session; 0 while `provisional`.
    pub session: SessionEpoch,
    /// The first message's writer sequence.
    pub first_writer: WriterSequence,
    /// The last message's writer sequence.
    pub last_writer: WriterSequence,
    /// The first message's sequence. 0, like the last, for a repeat whose bytes are released: it is completed, and its
    /// sequences are no longer known.
    pub first: Sequence,
    /// The last message's sequence.
    pub last: Sequence,
    /// Whether the sequences may still change: given before the session entry was applied.
    pub provisional: bool,
    /// Whether all of these messages had been accepted before.
    pub duplicate: bool,
}

/// What bars a node that wants to join.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinBar {
    /// Nobody may join now.
    Closed,
    /// The key or token is not known, or no longer.
    WrongKey,
    /// It has expired.
    ExpiredKey,
    /// It has admitted as many nodes as it allows.
    ExhaustedKey,
}

impl JoinBar {
    const ALL: [Self; 4] = [Self::Closed, Self::WrongKey, Self::ExpiredKey, Self::ExhaustedKey];

    /// Its number on the wire, from 1.
    #[must_use]
    pub const fn to_number(self) -> u32 {
        self as u32 + 1
    }

    /// Reads the number; `None` for 0 and for what another version may mean by it.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.get(usize::try_from(number.checked_sub(1)?).ok()?).copied()
    }
}

/// Why a command was not done, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Seeding or joining twice.
    #[error("this node already belongs to mesh {0}")]
    AlreadyMember(MeshId),
    /// Anything that needs a mesh.
    #[error("this node belongs to no mesh yet: run `wattle mesh seed` or `wattle mesh join`")]
    NotMember,
    /// A token that cannot be read.
    #[error("the join token is not valid: {0}")]
    BadToken(String),
    /// The admitting node said no.
    #[error("the mesh refused this node: {0}")]
    JoinRefused(String),
    /// The policy or the key does not let this node in.
    #[error("the mesh refused this node: {reason}")]
    JoinBarred {
        /// What bars it.
        bar: JoinBar,
        /// In words.
        reason: String,
    },
    /// The admitting node is not the one that made the token.
    #[error("the node at {0} is not the one that made this token: do not trust it, and ask for a new token")]
    Impostor(String),
    /// This node was taken out of its mesh.
    #[error("{0}")]
    Evicted(String),
    /// An operator stopped this node's mesh.
    #[error("the mesh is stopped at this node: `wattle mesh start` lets it take part again")]
    MeshStopped,
    /// This node exists twice, or another copy of it is the only one.
    #[error("{0}")]
    DuplicateIdentity(String),
    /// This node's disk holds nothing but a key that was retired.
    #[error("{0}")]
    KeyRetired(String),
    /// The key of this node is giving way to another already.
    #[error(
        "the key of this node is giving way to another already (rotation {0}): that ends by itself once the members know the new one; `wattle node key rotate --finish` ends it now"
    )]
    RotationUnderWay(u64),
    /// The mesh did not agree on a step of a rotation. The node tries again by itself after `again`.
    #[error("the key of this node has not given way to another yet, and is to do so by itself: tried again in {} s. {why}", again.as_millis() / 1000)]
    RotationPutOff {
        /// What was in the way.
        why: String,
        /// When it tries again.
        again: Span,
    },
    /// A step of a rotation could not be written to the disk.
    #[error("the keys of this node could not be written: {0}")]
    KeyNotStored(String),
    /// An operator stopped this node's mesh while a change was under way.
    #[error(
        "the mesh was stopped at this node before it was known what became of this: it may have been done, or be done yet"
    )]
    StoppedMeanwhile,
    /// A node that would leave is an end of open streams.
    #[error(
        "this node is an end of {} open streams ({}{}): close them first, or leave with --force, which lets them wait until they are closed",
        names.len() as u64 + more,
        names.join(", "),
        if *more > 0 { ", ..." } else { "" }
    )]
    StreamsOpen {
        /// Some of them.
        names: Vec<String>,
        /// How many more there are.
        more: u64,
    },
    /// Nobody would be left.
    #[error(
        "this is the last member of its mesh, and a mesh has one at least: to end the mesh, stop the node and remove its data directory"
    )]
    LastMember,
    /// Nothing could be decided without that member.
    #[error(
        "{0} is the only voter of the control group, and no other member can take its place now: bring another one within reach first"
    )]
    OnlyVoter(String),
    /// A node that keeps the data of streams of one mesh would belong to another.
    #[error(
        "this node keeps the data of {streams} streams of mesh {mesh}, of which it was a member: join that mesh again, or start with an empty data directory"
    )]
    KeepsStreams {
        /// That mesh.
        mesh: MeshId,
        /// How many.
        streams: u64,
    },
    /// A node name or id that no member has.
    #[error("no member of the mesh is called {0:?}")]
    UnknownNode(String),
    /// A stream name that is not open.
    #[error("no stream is called {0:?}: open it first with `wattle stream open`")]
    UnknownStream(String),
    /// The stream is open with other ends.
    #[error(
        "stream {name:?} is already open from {}: close it first, or choose another name",
        .ends.words(|node| node.to_string())
    )]
    OpenElsewhere {
        /// Its name.
        name: String,
        /// Its ends.
        ends: Box<Ends>,
    },
    /// These nodes cannot be the ends of a stream.
    #[error("{0}")]
    BadEnds(BadEnds),
    /// Another node must be asked.
    #[error("this is done at node {name} ({node}){}", address.as_deref().map(|a| alloc::format!(", API at {a}")).unwrap_or_default())]
    WrongNode {
        /// Its id.
        node: NodeId,
        /// Its name.
        name: String,
        /// Where its API listens, if known.
        address: Option<String>,
    },
    /// The control group has no leader that answers.
    #[error(
        "the mesh is read-only (CRITICAL): the control group has no quorum now, so configuration cannot change until enough voters are back"
    )]
    NoQuorum,
    /// Something about agreed configuration cannot be.
    #[error(transparent)]
    Config(#[from] ConfigRefusal),
    /// A recovery of a lost quorum was not done.
    #[error(transparent)]
    Recovery(#[from] RecoverRefusal),
    /// A stream was not sealed.
    #[error(transparent)]
    Seal(#[from] SealRefusal),
    /// The members of a stream were not changed.
    #[error(transparent)]
    Members(#[from] MembersRefusal),
    /// A stream takes nothing in now, or is another tenant's.
    #[error(transparent)]
    Flow(#[from] FlowRefusal),
    /// Something about parked messages cannot be.
    #[error(transparent)]
    Parked(#[from] ParkedRefusal),
    /// This node is no target of the stream any more.
    #[error("this node was taken out of the stream and serves it no more: {0}")]
    TakenOut(String),
    /// Others go on with the stream without this node (rule D4).
    #[error("the stream was sealed, and this node is shut out of it: {0}")]
    SealedOut(String),
    /// A presented position above the end at which its authority was sealed (rule D4).
    #[error(
        "the handler's position is {position}, and the stream was sealed at {end}: what it holds above that is void; bring its store back to {end} or below, or begin another stream"
    )]
    AboveSeal {
        /// The position.
        position: Sequence,
        /// The last message in front of the end.
        end: Sequence,
    },
    /// Half of the mesh or more cannot be reached.
    #[error(
        "the mesh is CRITICAL: {unreachable} of {members} members cannot be reached from the leader, and until fewer than half are away nothing but an \
         eviction changes its configuration; open streams go on"
    )]
    Critical {
        /// How many cannot be reached.
        unreachable: u64,
        /// How many members there are.
        members: u64,
    },
    /// The log or its disk is full; who is behind.
    #[error(
        "the stream is full: {behind} has processed only up to {processed} while {accepted} are accepted; publish again later. What is gone for good is waited for, too: then close the stream, and open one without it"
    )]
    Backpressure {
        /// The target that is behind.
        behind: String,
        /// What it has processed.
        processed: Sequence,
        /// What is accepted.
        accepted: Sequence,
    },
    /// The disk is nearly full.
    #[error(
        "the disk of this node is nearly full ({free} bytes left beside the reserve): free some space; what was accepted is safe"
    )]
    NoSpace {
        /// Bytes left.
        free: u64,
    },
    /// A target's disk is nearly full.
    #[error(
        "the disk of target {node} has room for {free} bytes beside the reserve, and a large message is taken only if all of it fits: free some space there, or publish again later"
    )]
    NoSpaceAt {
        /// The target.
        node: NodeId,
        /// Bytes it has said to be free.
        free: u64,
    },
    /// A part of a large message that is not the next one.
    #[error(
        "the part begins at byte {got} of the message, and {expected} bytes of it are here: go on at {expected}, or begin the message anew at 0"
    )]
    WrongOffset {
        /// Where the next part begins.
        expected: u64,
        /// Where this one begins.
        got: u64,
    },
    /// A large message that goes on with another size.
    #[error(
        "the message was begun with {was} bytes and goes on with {now}: it changed meanwhile; begin it anew at byte 0"
    )]
    WholeChanged {
        /// Its size when it was begun.
        was: u64,
        /// Its size now.
        now: u64,
    },
    /// The parts of a large message are not what its publisher calls the whole.
    #[error(
        "what came of the message is not what its publisher says it is (BLAKE3 {}, not {}): none of it is kept; publish it again from its first byte",
        blake3::Hash::from(found.0),
        blake3::Hash::from(said.0)
    )]
    WrongDigest {
        /// What the publisher said.
        said: Digest,
        /// What came.
        found: Digest,
    },
    /// Too many large messages are being staged.
    #[error(
        "{limit} large messages are being staged in the stream already, the most it may have: publish again when one of them is whole, or have its writer give it up"
    )]
    TooManyUploads {
        /// How many there may be.
        limit: u64,
    },
    /// The parts of a large message were given up for another message of its writer.
    #[error("the message was begun anew, or its writer gave it up, while a part of it was on its way")]
    BegunAnew,
    /// A writer skipped numbers (rule A7).
    #[error(
        "writer sequence {got} leaves a gap: {expected} is expected; repeat from there, or close the writer and use a new one"
    )]
    WriterGap {
        /// What must come next.
        expected: WriterSequence,
        /// What came.
        got: WriterSequence,
    },
    /// A new writer id where no more can be remembered.
    #[error(
        "the stream has {limit} writers, the most it may have, and each is remembered as long as it is open: publish under a writer id that it knows, or open another stream"
    )]
    TooManyWriters {
        /// How many it may have.
        limit: u64,
    },
    /// A closed writer id.
    #[error("this writer id is closed for this stream: use a new one")]
    WriterClosed,
    /// Something over its limit.
    #[error("{what} of {got} bytes is over the limit of {limit}")]
    TooLarge {
        /// What it is, with its article.
        what: &'static str,
        /// Its size.
        got: u64,
        /// The limit.
        limit: u64,
    },
    /// Too many requests wait.
    #[error("too much is waiting in this node: try again shortly")]
    Busy,
    /// A newer handler came while this one waited to be attached.
    #[error("another handler came while this one waited to be attached")]
    Superseded,
    /// A presented position from another life of the stream, or above what was ever committed.
    #[error("the presented position does not belong to this stream: {0}")]
    ForeignPosition(String),
    /// A presented position below what this node still keeps of the stream.
    #[error(
        "the handler's store is older than what this stream keeps: it stands at {position}, and the messages up to {kept} are gone; bring back a newer copy of \
         it, or let it go on after message {kept} (authority {authority}) without what lies between"
    )]
    NotKept {
        /// The position.
        position: Sequence,
        /// The last message that is gone.
        kept: Sequence,
        /// The authority of now.
        authority: AuthorityEpoch,
    },
    /// A message that is to be read again is kept no more.
    #[error(
        "message {wanted} of the stream is gone from this node, which keeps it from message {first} on: replay it from there, and open streams with a longer retention"
    )]
    Released {
        /// The message.
        wanted: Sequence,
        /// The first one that is kept.
        first: Sequence,
    },
    /// Too many are reading streams again at this node.
    #[error(
        "{limit} replays are under way at this node already, the most it may have: try again when one of them has ended"
    )]
    TooManyReplays {
        /// How many there may be.
        limit: u64,
    },
    /// The stream's group stopped on this node.
    #[error("the stream is stopped on this node: {0}")]
    StreamStopped(String),
    /// The stream is closed while something waited.
    #[error("the stream was closed")]
    StreamClosed,
    /// As many updates are kept as may be, because members have not processed them.
    #[error(
        "no room for another {} update: number {} of {last} must first be processed by {}{}; attach a handler there, or allow to pass over who is behind",
        kind.name(),
        lagging.first().map_or(0, |first| first.processed.0 + 1),
        lagging.iter().map(|one| one.name.as_str()).collect::<Vec<_>>().join(", "),
        if *behind > lagging.len() as u64 { ", among others" } else { "" }
    )]
    UpdatesFull {
        /// Their kind.
        kind: UpdateKind,
        /// The last one agreed on.
        last: UpdateNumber,
        /// How many members hold it up.
        behind: u64,
        /// Some of them.
        lagging: Vec<Lagging>,
    },
    /// The id may have been forgotten since the sender first used it.
    #[error(
        "too many updates came since this id was first used (after number {after}): ids up to number {forgotten} are forgotten, so it may be among them; compare what you sent with what your handler was given"
    )]
    UpdateTooOld {
        /// What the sender knew.
        after: UpdateNumber,
        /// Ids up to this number are forgotten.
        forgotten: UpdateNumber,
    },
    /// The id names another update.
    #[error(
        "this id already names update {number}, which says something else: give each update an id of its own"
    )]
    UpdateIdTaken {
        /// The update it names.
        number: UpdateNumber,
    },
    /// An argument out of range.
    #[error("{0}")]
    Invalid(String),
}
