//! What a node knows of itself and the mesh, for people: plain data, gathered on demand.

use alloc::string::String;
use alloc::vec::Vec;

use crate::agreed::MeshSettings;
use crate::description::Described;
use crate::digest::Chain;
use crate::ends::{Ends, Poison, Policy};
use crate::epoch::Epoch;
use crate::flow::{Rank, Rule, Scope};
use crate::id::{
    AttachToken, AuthorityEpoch, BootId, Generation, LogIndex, MeshId, NodeId, Sequence, SessionEpoch,
    StreamInstance, Term,
};
use crate::members::StreamMembers;
use crate::mesh::Activity;
use crate::node::output::Standing;
use crate::parked::Failing;
use crate::raft::Memory;
use crate::recovery::RecoveryStatus;
use crate::retention::{Kept, Retention};
use crate::sealing::Sealed;
use crate::time::Span;
use crate::update::UpdateStatus;
use crate::work::PublicKey;

/// The whole picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// This node.
    pub node: NodeId,
    /// Its name.
    pub name: String,
    /// This start.
    pub boot: BootId,
    /// The count of starts.
    pub generation: Generation,
    /// The mesh it belongs to.
    pub mesh: Option<MeshId>,
    /// The mesh's name.
    pub mesh_name: String,
    /// The settings of the mesh, as this node has applied them.
    pub settings: MeshSettings,
    /// The mesh epoch: how often a member was taken out.
    pub epoch: Epoch,
    /// How the mesh is, as this node sees it; `None` while it belongs to none, and for a moment after its start.
    pub standing: Option<Standing>,
    /// Whether this node takes part in its mesh.
    pub activity: Activity,
    /// Why this node takes no part and what to do, if it exists twice or another copy of it is the only one.
    pub duplicate: Option<String>,
    /// What happened to this node, and what to do, if its disk holds nothing but a key that was retired.
    pub key_retired: Option<String>,
    /// Why this node is no member any more, if it was one.
    pub parted: Option<String>,
    /// Recoveries of a lost quorum.
    pub recovery: RecoveryStatus,
    /// Former members, of the last epochs.
    pub former: Vec<FormerStatus>,
    /// Every member this node knows of.
    pub members: Vec<MemberStatus>,
    /// Every link this node knows of, each once.
    pub links: Vec<LinkStatus>,
    /// The control group as seen here.
    pub control: Option<GroupStatus>,
    /// The streams that start or end here, and those it only knows by name.
    pub streams: Vec<StreamStatus>,
    /// Updates to all members, one entry per kind; none while it belongs to no mesh.
    pub updates: Vec<UpdateStatus>,
    /// Why publishing is refused, if it is.
    pub refusing: Option<String>,
    /// The journal: bytes held, of them alive.
    pub journal_bytes: u64,
    /// Bytes of records that are alive.
    pub journal_live_bytes: u64,
    /// What the logs of all groups take in memory, and what of them is on the disk only.
    pub logs: Memory,
}

/// A member as seen from here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberStatus {
    /// Its id.
    pub node: NodeId,
    /// Its name.
    pub name: String,
    /// Where others dial it; empty if it only dials out.
    pub addresses: Vec<String>,
    /// Where its API listens.
    pub api: Option<String>,
    /// Whether a path leads there now (`true` for the node itself).
    pub reachable: bool,
    /// Links to go over; 0 for the node itself, `None` without a path.
    pub hops: Option<u32>,
    /// Where in the world it is, if it says so.
    pub region: Option<String>,
    /// Why it votes or does not, as far as this node knows.
    pub voting: String,
    /// Whether it says that it is stopped.
    pub stopped: bool,
    /// Whether it exists twice, as far as this node knows: nobody hears what it says.
    pub duplicated: bool,
    /// Its accepted keys: the present one, and while it gives way the next.
    pub keys: Vec<PublicKey>,
    /// How many rotations of its key were begun.
    pub rotation: u64,
    /// Whether it votes in the control group.
    pub voter: bool,
    /// What it says of itself.
    pub described: Option<Described>,
}

/// A former member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormerStatus {
    /// Its id.
    pub node: NodeId,
    /// Its name.
    pub name: String,
    /// The number of the mesh epoch since it is gone.
    pub epoch: u64,
    /// Whether it had asked for that.
    pub left: bool,
}

/// A link between two nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkStatus {
    /// One end.
    pub a: NodeId,
    /// The other.
    pub b: NodeId,
    /// Its cost as announced, in microseconds.
    pub cost: u32,
    /// Round-trip time, known for own links.
    pub rtt: Option<Span>,
}

/// A consensus group as seen here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupStatus {
    /// `leader`, `follower`, `learner` ...
    pub role: &'static str,
    /// Term.
    pub term: Term,
    /// Who leads, if known.
    pub leader: Option<NodeId>,
    /// The voters.
    pub voters: Vec<NodeId>,
    /// The learners.
    pub learners: Vec<NodeId>,
    /// Commit index.
    pub commit: LogIndex,
    /// Up to here its owner has taken it.
    pub applied: LogIndex,
    /// Last index in the log.
    pub last: LogIndex,
    /// The digest of everything up to the commit index: equal wherever that index is equal.
    pub chain: Chain,
    /// Why it stopped, if it did.
    pub stopped: Option<String>,
}

/// A stream as seen here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamStatus {
    /// Name.
    pub name: String,
    /// Its life.
    pub instance: StreamInstance,
    /// Who accepts.
    pub source: NodeId,
    /// Who processes, and how far each has come.
    pub targets: Vec<TargetStatus>,
    /// By whom of them a message must be processed.
    pub policy: Policy,
    /// Whose it is, and what ranks it.
    pub rank: Rank,
    /// What is said of whether, and how fast, it takes messages in.
    pub rules: Vec<(Scope, Rule)>,
    /// Whether the figures below are known here (this node is the source or a target).
    pub local: bool,
    /// Who leads its group, if known.
    pub leader: Option<NodeId>,
    /// Current session.
    pub session: SessionEpoch,
    /// Current authority.
    pub authority: AuthorityEpoch,
    /// Durable at the source.
    pub accepted: Sequence,
    /// Committed and durable at a majority of members.
    pub replicated: Sequence,
    /// Who is known to hold everything up to `replicated`, in its present start: a node that is away is not named, nor one that came
    /// back on an older disk.
    pub holders: Vec<NodeId>,
    /// At a target, processed by it; at the source, by as many targets as the policy asks for.
    pub processed: Sequence,
    /// The policy is met and a committed entry says so.
    pub completed: Sequence,
    /// Bytes up to here may go.
    pub released: Sequence,
    /// The attached handler, known at its target.
    pub handler: Option<AttachToken>,
    /// What becomes of a message that a handler fails at again and again.
    pub poison: Poison,
    /// The message that the handler fails at, known at its target.
    pub failing: Option<Failing>,
    /// Bytes waiting in the outbox, known at the source.
    pub outbox_bytes: u64,
    /// What it waits for, in words; empty if nothing.
    pub waiting_for: Vec<String>,
    /// What is asked to be kept of it.
    pub keep: Retention,
    /// What is kept here.
    pub kept: Kept,
    /// A target that processes nothing for so long is detached; 0: never.
    pub detach_after: Span,
    /// Who reads it again here.
    pub replays: u64,
    /// Why it stopped, if it did.
    pub stopped: Option<String>,
    /// How far it is sealed, if its group lost its quorum for good.
    pub seal: Option<Sealed>,
    /// How its members differ from those above, with which it was opened.
    pub members: StreamMembers,
    /// Messages that this node accepted and that those who go on without it do not hold; known where it is shut out, once the seal is settled.
    pub orphaned: Option<u64>,
    /// Its ends that are no members any more: it waits until they are again, or it is sealed.
    pub gone: Vec<NodeId>,
}

/// A stream as a handler at one of its targets finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Served {
    /// Its life.
    pub instance: StreamInstance,
    /// The authority of now.
    pub authority: AuthorityEpoch,
    /// The last message that this node keeps no more, or does not owe, because it became a target later; 0 if it keeps all.
    pub gone: Sequence,
    /// The last message that is known here to be committed.
    pub taken: Sequence,
}

/// A target of a stream as seen here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TargetStatus {
    /// Which node.
    pub node: NodeId,
    /// What it has processed, durably, as far as it is known here.
    pub processed: Sequence,
    /// Whether it is heard, and said where it stands.
    pub reached: bool,
    /// The attached handler, known at that target.
    pub handler: Option<AttachToken>,
    /// How many messages are parked there, as far as it is known here.
    pub parked: u64,
    /// For how long it processed nothing though there is something to process, as the source sees it, or whoever leads; `None` where nothing is owed, and at others.
    pub idle: Option<Span>,
}

impl StreamStatus {
    /// A stream of which only the ends are known.
    #[must_use]
    pub fn between(ends: &Ends, name: String, instance: StreamInstance) -> Self {
        let target = |&node| TargetStatus {
            node,
            processed: Sequence(0),
            reached: false,
            handler: None,
            parked: 0,
            idle: None,
        };
        Self {
            name,
            instance,
            source: ends.source,
            targets: ends.targets.iter().map(target).collect(),
            policy: ends.policy.clone(),
            rank: ends.rank.clone(),
            rules: Vec::new(),
            local: false,
            leader: None,
            session: SessionEpoch(0),
            authority: AuthorityEpoch(0),
            accepted: Sequence(0),
            replicated: Sequence(0),
            holders: Vec::new(),
            processed: Sequence(0),
            completed: Sequence(0),
            released: Sequence(0),
            handler: None,
            poison: ends.poison,
            failing: None,
            outbox_bytes: 0,
            waiting_for: Vec::new(),
            keep: ends.keep,
            kept: Kept::default(),
            detach_after: ends.detach_after,
            replays: 0,
            stopped: None,
            seal: None,
            members: StreamMembers::default(),
            orphaned: None,
            gone: Vec::new(),
        }
    }

    /// Its source and its targets.
    pub fn ends(&self) -> impl Iterator<Item = NodeId> + '_ {
        core::iter::once(self.source).chain(self.targets.iter().map(|target| target.node))
    }
}
