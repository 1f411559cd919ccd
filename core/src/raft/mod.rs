//! Consensus groups: Raft (Ongaro and Ousterhout, 2014; Ongaro's thesis) with pre-vote, check-quorum, learners and joint consensus
//! that acts at append; chained digests and vouched marks that recognise a disk that was rolled back.
//!
//! There is no tick and no heartbeat per group. Whether a *node* lives is known from heartbeats per pair of nodes; a group arms its election when
//! the leader's pair is suspect, the leader's boot changed, its node says that it does not lead, or it left a question unanswered. Writing is an output;
//! what must wait for the disk says so and waits elsewhere. Everything of one step is one row, so a term, its vote, a truncation and the entries that
//! replace what was cut are durable together.
//!
//! Invariants:
//! - **R1** A replica leads at most once per term, and votes for at most one candidate per term.
//! - **R2** A log is contiguous, its terms never fall, its chain covers every entry.
//! - **R3** `base <= applied <= commit <= last`, and applied never exceeds what is durable here.
//! - **R4** Term and commit index never go back in one life.
//! - **R5** At most one configuration is not committed.
//! - **R6** Only entries of the leader's own term are committed by counting (section 5.4.2 of the paper).
//! - **R7** Nothing at or below the commit index is truncated: the group stops instead (rule C2).
//! - **R8** A replica that is verifying, amnesic or stopped neither votes, campaigns nor acknowledges (rules C2, C3, C5).
//! - **R9** The configuration in force at an index follows from that of the base and the entries behind it: an entry says what it changes,
//!   and stands only where that can be changed.
//! - **R10** In the control group, who only learns is sent what is committed, and nothing else.
//! - **R11** A replica that waits for a moment is woken by then.
//! - **R12** What is under way to a node, and what waits to be committed, is what was sent and proposed: added and taken off by one measure.
//! - **R13** A replica is found by its group, by its members' nodes and by the leader it follows.
//! - **R14** A read is answered with an index at which an entry of the leader's term was committed, and which a quorum confirmed in a round that
//!   began after it was asked for.
//! - **R20** A fenced replica says nothing that counts, but to a founder that began before; nobody hears what is said under another recovery than its
//!   own (see `force`).
//! - **R21** Whoever founds a group anew holds what any survivor knows to be committed, decides alone at first, and leads above every term heard.
//! - **R22** A replica goes on under an era only if it was fenced for it, and keeps it from the write that begins it.
//! - **R15** A state that comes in reaches further than what is committed here. When the owner has taken it, it counts as said in the term in
//!   which it was sent: whoever sent it is remembered for that term, and answered only in that term.
//! - **R16** What states that come in take, over all groups of a node, is within a budget; one is taken in any case.
//! - **R17** A receipt speaks for the replica that asked for it, and for no other of its group.
//! - **R23** to **R26** What is only stored of a log, and what is read back: see [`shelf`].
//! - **R27** to **R29** Who is fed by others than its leader, see [`relay`].
//! - **R30** What a record says was committed counts for the history in which its log was then. A log that is created or begins behind a state is
//!   in another one, and so is one of which something was cut that an earlier life took for committed.
//! - **R31** Whoever begins to lead was voted for by a majority, of both halves if the configuration is joint.
//! - **R32** What a leader commits by counting is durable with such a majority, by what its members said in its term.
//! - **R33** What a leader takes to be durable at a member does not go back.
//! - **R34** Whose owner is of no use leads only where nobody else votes.
//! - **R35** In a configuration each node votes at most once, and learns at most once.
//! - **R36** Whoever begins to lead holds what it vouched for in earlier terms, as far as anybody remembers it to this replica id.
//! - **R37** The owner is told that the group conforms to its word only when the configuration that does is committed; nobody votes then whom it does not name, nor
//!   comes to.
//! - **R38** Who copied its log back puts its fresh replica id into the first entry with which it leads. If it is needed no more by then, it gives the old one up and leads nothing.
//! - **R18**, **R19** Nobody waits in silence for what is owed to it, and who owes nothing waits for nothing: see [`idle`].

mod amnesia;
mod change;
mod codec;
mod config;
mod conforming;
mod context;
mod copy;
mod delta;
mod election;
mod entries;
mod feeding;
mod flow;
mod following;
mod force;
mod group;
mod groups;
mod hand_over;
mod idle;
mod introduction;
mod known;
mod log;
mod members;
mod memory;
mod message;
mod miscount;
mod neighbours;
mod owed;
mod progress;
mod quorum;
mod read;
mod reading;
mod receiving;
mod rejoin;
mod relay;
mod remembered;
mod replication;
mod roles;
mod segments;
mod sharing;
mod shelf;
mod slot_set;
mod slots;
mod snapshot;
mod steady;
mod store;
mod stored;
#[cfg(test)]
mod tests;
mod trail;
mod transfer;
mod under_way;
mod view;
mod wire;
mod write;

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use bytes::Bytes;

pub use config::Config;
pub use entries::Entries;
pub use force::{End, Fence, Founding};
pub use groups::Groups;
pub use memory::Memory;
pub use message::{Append, Body, Entry, EntryKind, Mark, Message, Place, Snapshot};
pub use neighbours::{Led, Moved, Peers};
pub use store::recall;
pub use trail::Trail;
pub use wire::Malformed;
pub use write::Write;

use crate::configuration::{Configuration, Member};
use crate::id::{BootId, GroupId, LogIndex, NodeId, ReplicaId, Term};
use crate::record::{Forget, Key};
use crate::time::Span;
use crate::when::When;

/// Comes back as [`Input::Durable`] once everything written before it is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    group: GroupId,
    /// Of the replica that asked for it (R17).
    generation: u32,
    what: Written,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Written {
    /// The end of the log, as of that serial number.
    Log(u64),
    /// The own vote in that term.
    Vote(Term),
}

/// What a replica is in its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoleName {
    /// It leads.
    Leader,
    /// It votes and follows.
    Follower,
    /// It stands for election, or asks whether it should.
    Candidate,
    /// It receives the log and does not vote.
    Learner,
    /// It restarted and waits to be told what it once vouched for.
    Verifying,
    /// Its disk was rolled back.
    Amnesic,
    /// The group stopped here.
    Stopped,
}

impl RoleName {
    /// The word for it.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Leader => "leader",
            Self::Follower => "follower",
            Self::Candidate => "candidate",
            Self::Learner => "learner",
            Self::Verifying => "verifying",
            Self::Amnesic => "amnesic",
            Self::Stopped => "stopped",
        }
    }
}

/// Why a proposal or change was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusedReason {
    /// Somebody else leads, or nobody.
    NotLeader {
        /// Who, if known.
        leader: Option<NodeId>,
    },
    /// The group stopped here, or is not here.
    Stopped,
    /// Another change is not committed yet, or nothing of this term is.
    ChangeUnderWay,
    /// Too much is uncommitted, or too many reads wait.
    Full,
    /// Another is about to lead.
    Transferring,
    /// Only a voter can lead.
    NotVoter,
    /// It refers to more bytes than an entry may.
    TooHeavy,
}

impl RefusedReason {
    /// Whom to ask instead, if known.
    #[must_use]
    pub const fn leader(self) -> Option<NodeId> {
        match self {
            Self::NotLeader { leader } => leader,
            Self::Stopped
            | Self::ChangeUnderWay
            | Self::Full
            | Self::Transferring
            | Self::NotVoter
            | Self::TooHeavy => None,
        }
    }
}

/// What [`Groups`] is told.
#[derive(Clone, Debug)]
pub enum Input {
    /// A replica of a group lives here from now on. Does nothing if there is one already.
    Create {
        /// Which group.
        group: GroupId,
        /// This replica.
        replica: ReplicaId,
        /// The founding configuration, equal at all founders; empty for a replica that waits to be told by a leader. Whoever votes in it asks the
        /// others first what it may have vouched for before its disk was rolled back to before this.
        founding: Configuration,
        /// This node was there, and forgot all of it, before it was taken in anew: whatever it vouched for then, it does not know of it.
        anew: bool,
    },
    /// The same for a node that comes while the group goes on: no founder, and no member yet. It takes a fresh replica id and waits to be admitted under that (rule C5).
    Await {
        /// Which group.
        group: GroupId,
        /// The id in place of which it is admitted.
        replica: ReplicaId,
        /// What its founders began with.
        founding: Configuration,
    },
    /// The group is gone: everything of it is forgotten.
    Remove {
        /// Which.
        group: GroupId,
    },
    /// A message from another replica.
    Message {
        /// Its node.
        from: NodeId,
        /// The group.
        group: GroupId,
        /// What it says.
        message: Box<Message>,
    },
    /// Bytes or room came after an append was cut (rule B2).
    AskAgain {
        /// Which group.
        group: GroupId,
    },
    /// Append a command. Answered by [`Output::Proposed`] or [`Output::Refused`].
    Propose {
        /// Which group.
        group: GroupId,
        /// The command.
        data: Bytes,
        /// Bytes of payload it refers to.
        weight: u64,
        /// Learners of a stream's group need not hear of it before they hear of something else, for [`Config::unhurried`] at most.
        unhurried: bool,
        /// Returned in the answer.
        context: u64,
    },
    /// Read what is true now. Answered by [`Output::ReadReady`] or [`Output::Refused`]; by nothing if a message is lost: ask again.
    Read {
        /// Which group.
        group: GroupId,
        /// Returned in the answer.
        context: u64,
    },
    /// The voter on that node is to lead. Until it does, or an election's time is over, proposals are refused. Answered only by
    /// [`Output::Refused`], if it cannot be tried; whoever leads then says so as after any election.
    Transfer {
        /// Which group.
        group: GroupId,
        /// Who is to lead.
        to: NodeId,
        /// Returned in the answer.
        context: u64,
    },
    /// Change the members. Answered by [`Output::Proposed`] (of the first entry) or [`Output::Refused`].
    Change {
        /// Which group.
        group: GroupId,
        /// The voters wanted.
        voters: Vec<Member>,
        /// The learners wanted.
        learners: Vec<Member>,
        /// Returned in the answer.
        context: u64,
    },
    /// The owner's state up to `upto` is in this step's row or an earlier one: the entries may go.
    Compact {
        /// Which group.
        group: GroupId,
        /// Up to here.
        upto: LogIndex,
    },
    /// Answers [`Output::SnapshotWanted`].
    Snapshot {
        /// Which group.
        group: GroupId,
        /// For whom.
        to: NodeId,
        /// The owner's applied index.
        index: LogIndex,
        /// Its state.
        data: Bytes,
    },
    /// Answers [`Output::Install`].
    Installed {
        /// Which group.
        group: GroupId,
        /// Whether the owner took it and wrote it in this step.
        taken: bool,
    },
    /// Answers [`Output::Install`], too: the state is without something that is committed here (rule C2).
    Contradicted {
        /// Which group.
        group: GroupId,
        /// What is missing.
        reason: String,
    },
    /// What a receipt stands for is durable.
    Durable(Receipt),
    /// A node with which groups are shared may be gone.
    PairSuspect {
        /// Which.
        node: NodeId,
    },
    /// It is heard (again).
    PairAlive {
        /// Which.
        node: NodeId,
    },
    /// A boot id of that node was heard for the first time.
    PeerBoot {
        /// Which.
        node: NodeId,
        /// Its boot.
        boot: BootId,
    },
    /// What that node says it leads among the groups it shares with this one (rule E3).
    Leads {
        /// Which node.
        node: NodeId,
        /// The groups and terms.
        groups: Vec<(GroupId, Term)>,
    },
    /// A node is out of the group for good, whatever the log says so far: nobody waits for its word about the past.
    Gone {
        /// Which group.
        group: GroupId,
        /// The node.
        node: NodeId,
    },
    /// Shut the replica off from its group. Answered by [`Output::Fenced`], unless the group goes on under the last of the fence's eras already.
    Fence {
        /// Which group.
        group: GroupId,
        /// What is shut out.
        fence: Fence,
    },
    /// The recovery was withdrawn.
    Unfence {
        /// Which group.
        group: GroupId,
    },
    /// Go on as the only voter. Answered by [`Output::Founded`].
    Found {
        /// Which group.
        group: GroupId,
        /// From where.
        founding: Founding,
    },
    /// The owner asked its leader for something and was not answered in time.
    Unanswered {
        /// Which group.
        group: GroupId,
    },
    /// Who votes by the owner's word. If this replica leads, a learner on one of these nodes votes once it has caught up: one that came back under a fresh
    /// replica id, and that an earlier leader was to promote.
    Voting {
        /// Which group.
        group: GroupId,
        /// On which nodes.
        nodes: Vec<NodeId>,
    },
    /// Who is a member, and who is out for good, by what the owner knows from elsewhere than the log: a disk that was rolled back may hold one from before they came
    /// and went (rule C3).
    Known {
        /// Which group.
        group: GroupId,
        /// On which nodes its members are.
        members: Vec<NodeId>,
        /// Who was one.
        out: Vec<NodeId>,
    },
    /// Who is out of the group by the owner's word, and who votes in it; nobody, if it makes no difference. Said again until it is answered by
    /// [`Output::Conforms`].
    Conform {
        /// Which group.
        group: GroupId,
        /// On which nodes there are to be voters.
        voters: Vec<NodeId>,
        /// On which nodes there is to be no member.
        out: Vec<NodeId>,
        /// On which nodes there is to be one, who learns if it does not vote.
        learners: Vec<NodeId>,
    },
    /// The owner is of no use any more until the next start: this replica is to lead, or to stand, only where nobody else could.
    Resign {
        /// Which group.
        group: GroupId,
        /// It is only to leave the group, and is otherwise as it was: where its log ends counts.
        leaves: bool,
    },
    /// This node's own loop stood still: nobody is accused for that time.
    Stalled {
        /// How long.
        by: Span,
    },
    /// A deadline was reached.
    Deadline,
}

/// What [`Groups`] wants or tells.
#[derive(Clone, Debug)]
pub enum Output {
    /// Write this in the row of this step.
    Persist(Write),
    /// These records are dead.
    Forget(Forget),
    /// Load the whole payload of a record; answered by [`Groups::loaded`].
    Load {
        /// Returned in the answer.
        token: u64,
        /// The record.
        key: Key,
    },
    /// Give this back once everything written so far is durable.
    Notify(Receipt),
    /// Send a message.
    Send {
        /// To the replica on that node.
        to: NodeId,
        /// Of that group.
        group: GroupId,
        /// The message.
        message: Box<Message>,
        /// When it may leave.
        when: When,
    },
    /// Entries that are committed and durable here, in order, each once per life; blank and configuration entries included.
    Apply {
        /// Which group.
        group: GroupId,
        /// The entries.
        entries: Entries,
    },
    /// A proposal was appended at the leader; it may still be lost.
    Proposed {
        /// Which group.
        group: GroupId,
        /// As proposed.
        context: u64,
        /// Where.
        index: LogIndex,
        /// When.
        term: Term,
    },
    /// A proposal was not taken.
    Refused {
        /// Which group.
        group: GroupId,
        /// As proposed.
        context: u64,
        /// Why.
        reason: RefusedReason,
    },
    /// What is applied by now is at least what was committed when the read was asked for.
    ReadReady {
        /// Which group.
        group: GroupId,
        /// As asked.
        context: u64,
        /// What was committed.
        index: LogIndex,
    },
    /// Role, term or leader changed.
    Role {
        /// Which group.
        group: GroupId,
        /// The role.
        role: RoleName,
        /// The term.
        term: Term,
        /// Who leads, if known.
        leader: Option<NodeId>,
    },
    /// A voter follows a leader that it did not know or had doubted. What it heard may have been under way since before that node's last
    /// start, so what the node says it leads must be heard again (rule E3).
    Follows {
        /// The leader.
        node: NodeId,
    },
    /// At the leader: a member's durable end moved; back to 0 if another replica takes its place, of which nothing is known yet.
    Match {
        /// Which group.
        group: GroupId,
        /// Whose.
        node: NodeId,
        /// To where.
        index: LogIndex,
    },
    /// A configuration came into force, or was committed.
    Configured {
        /// Which group.
        group: GroupId,
        /// The configuration.
        configuration: Arc<Configuration>,
        /// Where it stands.
        index: LogIndex,
        /// Whether it is committed.
        committed: bool,
    },
    /// At the leader: the configuration that its owner asked for is committed.
    Conforms {
        /// Which group.
        group: GroupId,
    },
    /// The leader needs the owner's state for a member whose log does not reach back far enough.
    SnapshotWanted {
        /// Which group.
        group: GroupId,
        /// For whom.
        to: NodeId,
    },
    /// The owner is offered a state; it answers with [`Input::Installed`].
    Install {
        /// Which group.
        group: GroupId,
        /// From whom.
        from: NodeId,
        /// Up to where it reaches.
        index: LogIndex,
        /// The term there.
        term: Term,
        /// The state.
        data: Bytes,
    },
    /// The replica is fenced. What it says may leave once everything of this step is durable.
    Fenced {
        /// Which group.
        group: GroupId,
        /// For which era.
        era: u64,
        /// Where its log ends, or why it cannot say so now.
        end: Result<End, String>,
    },
    /// The group goes on under that era here; also once after a restart.
    Era {
        /// Which group.
        group: GroupId,
        /// Which.
        era: u64,
    },
    /// The group was founded anew here, or why not.
    Founded {
        /// Which group.
        group: GroupId,
        /// Under which era.
        era: u64,
        /// What it goes on from, if it began just now; or why not.
        done: Result<Option<Trail>, String>,
    },
    /// A rolled-back disk was recognised.
    Amnesia {
        /// Which group.
        group: GroupId,
        /// Whose disk.
        node: NodeId,
        /// What was found, and what happens now.
        what: String,
    },
    /// The group stopped here.
    Stopped {
        /// Which group.
        group: GroupId,
        /// Why.
        reason: String,
    },
}

/// A group as seen here.
#[derive(Clone, Debug)]
pub struct GroupStatus {
    /// Role.
    pub role: RoleName,
    /// Term.
    pub term: Term,
    /// Who leads, if known.
    pub leader: Option<NodeId>,
    /// The configuration in force.
    pub configuration: Configuration,
    /// Commit index.
    pub commit: LogIndex,
    /// Last index handed to the owner.
    pub applied: LogIndex,
    /// Where the log ends.
    pub last: Place,
    /// What of it is durable.
    pub durable: LogIndex,
    /// First index in the log.
    pub first: LogIndex,
    /// Why it stopped, if it did.
    pub stopped: Option<String>,
}

/// Where a replica stands: plain numbers, cheap enough to be asked for after every step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupPlace {
    /// Which group.
    pub group: GroupId,
    /// Under which name the replica acts.
    pub replica: ReplicaId,
    /// Role.
    pub role: RoleName,
    /// Term.
    pub term: Term,
    /// Whom it voted for in that term.
    pub vote: Option<Member>,
    /// The recovery under which it goes on; 0 before the first.
    pub era: u64,
    /// Commit index.
    pub commit: LogIndex,
    /// The end of what is durable of the log.
    pub durable: Place,
    /// The end of the log.
    pub last: Place,
}

/// The replica id of a founder: derived, so that all founders of a group agree on each other's without talking. It is the same in all groups that a node
/// founds, so that groups of the same members keep one configuration between them.
#[must_use]
pub fn founding_replica(node: NodeId) -> ReplicaId {
    let digest = crate::digest::Digest::of_bytes(&node.to_bytes());
    let mut id = [0; 16];
    id.copy_from_slice(&digest.0[..16]);
    ReplicaId(u128::from_be_bytes(id))
}
