//! What the part is told.

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;

use super::recover::View as RecoverView;
use super::updates;
use super::wire::{JoinMessage, Message};
use crate::agreed::ConfigCommand;
use crate::configuration::Configuration;
use crate::description::Description;
use crate::ends::Terms;
use crate::flow::{FailedAt, FlowWish, Tenant};
use crate::id::{
    AuthorityEpoch, BootId, LaneId, LogIndex, NodeId, RequestId, Sequence, StreamInstance, Term,
};
use crate::members::MembersWish;
use crate::recovery::{LogEnd, LogTrail, RecoverCommand};
use crate::sealing::StreamEnd;
use crate::time::Span;
use crate::work::{Done, PublicKey};

/// What was persisted up to some step; comes back once that is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Receipt(pub u64);

/// A committed entry of the control group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Its place.
    pub index: LogIndex,
    /// The term it was proposed in.
    pub term: Term,
    /// Whether it is a command; otherwise it is the group's own business.
    pub command: bool,
    /// The command.
    pub data: Bytes,
}

/// What the part is told.
#[derive(Clone, Debug)]
pub enum Input {
    /// Begin a mesh.
    Seed {
        /// Who asks.
        request: RequestId,
        /// The mesh's name.
        name: String,
    },
    /// Make a join token.
    Invite {
        /// Who asks.
        request: RequestId,
    },
    /// Join a mesh.
    Join {
        /// Who asks.
        request: RequestId,
        /// The token's text.
        token: String,
    },
    /// Open a stream.
    OpenStream {
        /// Who asks.
        request: RequestId,
        /// Its name.
        name: String,
        /// Name or id of its source.
        source: String,
        /// Names or ids of its targets.
        targets: Vec<String>,
        /// What is asked of it.
        terms: Terms<String>,
    },
    /// Change whether, or how fast, streams take messages in.
    ChangeFlow {
        /// Who asks.
        request: RequestId,
        /// What.
        wish: FlowWish,
    },
    /// Something that is asked for about a stream is to be done if the stream is that tenant's.
    Within {
        /// Whose it must be.
        tenant: Tenant,
        /// What is asked for: to close it, to seal it, to change its members, or its flow.
        input: Box<Self>,
    },
    /// Close a stream.
    CloseStream {
        /// Who asks.
        request: RequestId,
        /// Its name.
        name: String,
    },
    /// Seal a stream without those who are lost.
    SealStream {
        /// Who asks.
        request: RequestId,
        /// The stream's name.
        name: String,
        /// Names or ids of the lost.
        lost: Vec<String>,
    },
    /// Answers [`super::Output::FenceStream`].
    StreamEnd {
        /// Of which stream.
        instance: StreamInstance,
        /// For which seal.
        authority: AuthorityEpoch,
        /// Where its log ends, or why that cannot be said now.
        end: Result<StreamEnd, String>,
    },
    /// The log that a stream is gone on from is applied here up to its end.
    StreamSettled {
        /// Which stream.
        instance: StreamInstance,
        /// For which seal.
        authority: AuthorityEpoch,
        /// The last message in it.
        sequence: Sequence,
    },
    /// Change the members of a stream.
    ChangeMembers {
        /// Who asks.
        request: RequestId,
        /// What.
        wish: MembersWish,
    },
    /// The handler of this node, a target, failed at a message as often as the policy of the stream bears; that is on its disk. Told again until it is known in the mesh.
    StreamFailed {
        /// Which stream.
        instance: StreamInstance,
        /// At what.
        failed: FailedAt,
    },
    /// A target processed nothing for as long as its stream bears, and this node leads its group. Told again while that lasts.
    TargetIdle {
        /// Which stream.
        instance: StreamInstance,
        /// Under which it leads.
        authority: AuthorityEpoch,
        /// Who.
        target: NodeId,
        /// For how long, while it led.
        idle: Span,
    },
    /// A change of a stream's members is done, and this node leads its group.
    MembersChanged {
        /// Which stream.
        instance: StreamInstance,
        /// Under which it was done.
        authority: AuthorityEpoch,
        /// The change.
        number: LogIndex,
        /// The first message that a target owes which was added; `None` if nobody joined.
        first: Option<Sequence>,
    },
    /// Say what this node is.
    Describe {
        /// Who asks.
        request: RequestId,
        /// What it is.
        description: Description,
    },
    /// Something about updates.
    Updates(updates::Input),
    /// Something about agreed configuration.
    Config {
        /// Who asks.
        request: RequestId,
        /// What.
        command: ConfigCommand,
    },
    /// Take a member out.
    Evict {
        /// Who asks.
        request: RequestId,
        /// Name or id of the member.
        member: String,
    },
    /// Leave the mesh.
    Leave {
        /// Who asks.
        request: RequestId,
        /// Although this node is an end of open streams.
        force: bool,
    },
    /// Something about the recovery of a lost quorum.
    Recover {
        /// Who asks.
        request: RequestId,
        /// What.
        command: RecoverCommand,
        /// What the rest of the node knows.
        view: RecoverView,
    },
    /// Answers [`super::Output::Fence`].
    LogEnd {
        /// For which recovery.
        era: u64,
        /// Where the log ends, or why that cannot be said now.
        end: Result<LogEnd, String>,
        /// What it holds that was not applied yet.
        held: Vec<Applied>,
        /// Whether that is all of it.
        whole: bool,
    },
    /// Answers [`super::Output::Compare`].
    Compared {
        /// Up to here both logs are one.
        shared: LogIndex,
        /// What the log here holds that was not applied yet.
        held: Vec<Applied>,
        /// Whether that is all of it.
        whole: bool,
    },
    /// Answers [`super::Output::Found`].
    Founded {
        /// For which recovery.
        era: u64,
        /// From what, if it began just now; or why not.
        done: Result<Option<LogTrail>, String>,
    },
    /// The control group goes on under that number here.
    Era(u64),
    /// Take no part in the mesh from now on.
    Stop {
        /// Who asks.
        request: RequestId,
        /// Until somebody asks to start; otherwise until this process ends.
        lasting: bool,
    },
    /// Take part again.
    Start {
        /// Who asks.
        request: RequestId,
    },
    /// Answers [`super::Output::HandOver`].
    HandedOver {
        /// How many groups this node leads that another could lead.
        left: usize,
        /// Whether any link is up.
        neighbours: bool,
    },
    /// A member says that it is stopped, or that it goes on.
    OtherStopped {
        /// Which.
        node: NodeId,
        /// Whether it is stopped.
        stopped: bool,
    },
    /// Another start of this node is said to be about.
    Rival {
        /// Which.
        boot: BootId,
        /// What that one says itself, encoded, or nothing.
        claim: Bytes,
    },
    /// A member shows a record of a node's identity.
    Identity(Bytes),
    /// Have this node's own key give way to another.
    RotateNodeKey {
        /// Who asks.
        request: RequestId,
        /// The old key is to be good no more as soon as that can be; also of a rotation under way.
        finish: bool,
    },
    /// A neighbour says that the key this node proved is retired.
    KeyRetired(Bytes),
    /// Paths to members may be other ones than before.
    RoutesChanged,
    /// Answers [`super::Output::Look`]: the members that no path leads to.
    Unreached(BTreeSet<NodeId>),
    /// A neighbour shows what raised the mesh epoch.
    Fenced {
        /// Not read yet.
        proof: Bytes,
        /// Who signed it, and who let them in; not read yet.
        endorsement: Bytes,
    },
    /// A lane dialled for joining is up.
    JoinLaneUp {
        /// Which.
        lane: LaneId,
        /// The key its far end has proven.
        peer_key: PublicKey,
        /// What may lead to it from an earlier one; not read yet.
        rotations: Bytes,
    },
    /// A dial for joining came to nothing.
    JoinFailed {
        /// Where.
        address: String,
        /// Why, in words.
        what: String,
    },
    /// Something was said on a lane between a joiner and a member; both ends get it.
    JoinMessage {
        /// Which.
        lane: LaneId,
        /// The key its far end has proven.
        peer_key: PublicKey,
        /// What was said.
        message: JoinMessage,
    },
    /// Such a lane is gone.
    JoinLaneDown {
        /// Which.
        lane: LaneId,
    },
    /// A node that is no member as far as this one knows wants to be a neighbour, and shows who let it in.
    Stranger {
        /// Who it says it is.
        node: NodeId,
        /// The key it has proven.
        key: PublicKey,
        /// Its admission, its admitter's, and so on; not read yet.
        endorsement: Bytes,
    },
    /// A message came from a node that is no member as far as this one knows.
    Unknown {
        /// The node.
        node: NodeId,
        /// The member that brought it.
        through: NodeId,
    },
    /// A member says something.
    Message {
        /// Who.
        from: NodeId,
        /// What.
        message: Message,
    },
    /// Entries of the control group, committed and durable here.
    Apply {
        /// In order.
        entries: Vec<Applied>,
    },
    /// This node's place in the control group.
    Role {
        /// Whether it leads.
        leading: bool,
        /// The term.
        term: Term,
        /// Who leads, if known.
        leader: Option<NodeId>,
    },
    /// A proposal is in the leader's log.
    Proposed {
        /// Which.
        context: u64,
        /// Where.
        index: LogIndex,
    },
    /// Answers [`super::Output::Read`].
    ReadReady {
        /// As asked for.
        context: u64,
    },
    /// A proposal or a change was not taken.
    Refused {
        /// Which.
        context: u64,
        /// Who leads, if known.
        leader: Option<NodeId>,
    },
    /// A member's durable index has grown; told to the leader.
    Match {
        /// Whose.
        node: NodeId,
        /// How far.
        index: LogIndex,
    },
    /// The group's configuration, when it is appended and when it is committed; also once after a restart.
    Configured {
        /// Who takes part.
        configuration: Configuration,
        /// Where it stands.
        index: LogIndex,
        /// Whether it is committed.
        committed: bool,
    },
    /// A member needs a snapshot.
    SnapshotWanted {
        /// Who.
        to: NodeId,
    },
    /// A snapshot has come.
    Install {
        /// From whom.
        from: NodeId,
        /// The last entry it covers.
        index: LogIndex,
        /// The state.
        data: Bytes,
    },
    /// A job is done.
    WorkDone {
        /// Which.
        token: u64,
        /// Its result.
        done: Done,
    },
    /// What was persisted up to this receipt is on disk.
    Durable(Receipt),
    /// A node was not heard end to end for a while.
    PairSuspect {
        /// Which.
        node: NodeId,
    },
    /// It is heard again.
    PairAlive {
        /// Which.
        node: NodeId,
    },
    /// The moment given by `next_deadline` has come.
    Deadline,
}
