//! What the part wants.

use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;

use super::doubles::Told;
use super::eviction::Former;
use super::input::Receipt;
use super::wire::{JoinMessage, Message, RosterEntry};
use crate::configuration::{Configuration, Member as Replica};
use crate::ends::Ends;
use crate::epoch::Epoch;
use crate::flow::Rules;
use crate::id::{
    AuthorityEpoch, BootId, LaneId, LogIndex, MeshId, NodeId, ReplicaId, RequestId, StreamInstance, Term,
};
use crate::members::StreamMembers;
use crate::node::command::{Refusal, Reply};
use crate::node::output::{CloseReason, Event};
use crate::record::{Forget, Record};
use crate::recovery::{LogPlace, LogTrail};
use crate::sealing::Sealed;
use crate::update::UpdateDelivery;
use crate::when::When;
use crate::work::{Job, PublicKey};

/// What the part wants.
#[derive(Clone, Debug)]
pub enum Output {
    /// Write a record, in one row with all others of this step.
    Persist(Record),
    /// Records are dead.
    Forget(Forget),
    /// Tell when everything persisted so far is on disk.
    Notify(Receipt),
    /// Tell by [`super::Input::ReadReady`] when all that is committed now is applied here, or by [`super::Input::Refused`] that nobody knows.
    Read {
        /// Its number.
        context: u64,
    },
    /// The leader of the control group left a question of this node unanswered: it may not lead any more.
    Unanswered,
    /// Do a job.
    Work {
        /// Its number.
        token: u64,
        /// What to do.
        job: Job,
    },
    /// Dial once, to join.
    DialJoin {
        /// Where.
        address: String,
    },
    /// Say something on a join lane.
    SendLane {
        /// Which.
        lane: LaneId,
        /// What.
        message: JoinMessage,
        /// When.
        when: When,
    },
    /// Close a join lane, once what was sent on it has left.
    CloseLane {
        /// Which.
        lane: LaneId,
        /// Why.
        reason: CloseReason,
    },
    /// Say something to a member.
    Send {
        /// To whom.
        to: NodeId,
        /// What.
        message: Message,
        /// When.
        when: When,
    },
    /// Put an entry into the control group's log.
    Propose {
        /// The entry.
        data: Bytes,
        /// Comes back with the answer.
        context: u64,
    },
    /// Take part in the control group. Repeated at each start; harmless if the group exists.
    CreateGroup {
        /// Under this replica id.
        replica: ReplicaId,
        /// Its first members; empty to wait until a leader tells.
        founding: Configuration,
    },
    /// Change who takes part in the control group.
    Change {
        /// Who votes.
        voters: Vec<Replica>,
        /// Who only learns.
        learners: Vec<Replica>,
        /// Comes back if it is refused.
        context: u64,
    },
    /// The control group's log may be cut.
    Compact {
        /// Up to and including this entry.
        upto: LogIndex,
    },
    /// Answers [`Input::SnapshotWanted`].
    Snapshot {
        /// For whom.
        to: NodeId,
        /// The last entry it covers.
        index: LogIndex,
        /// The state.
        data: Bytes,
    },
    /// Answers [`Input::Install`].
    Installed {
        /// Whether the state was taken; it is persisted in this step then.
        taken: bool,
    },
    /// This node belongs to a mesh. Comes when that is so and again at each start.
    Became {
        /// Which mesh.
        mesh: MeshId,
        /// Addresses to dial and keep dialling from now on; empty at a start.
        remember: Vec<String>,
    },
    /// Addresses to dial and keep dialling, remembered from an earlier life.
    Remembered {
        /// `host:port` each.
        addresses: Vec<String>,
    },
    /// All members: in place of whoever was told before.
    Roster(Vec<RosterEntry>),
    /// Members that are new, or of whom something has changed since they were told.
    Members(Vec<RosterEntry>),
    /// What this node shows to members that do not know it: comes with the roster, and when it has changed.
    Endorsement {
        /// Its admission, its admitter's, and so on.
        endorsement: Bytes,
        /// Its own rotations, for joiners.
        rotations: Bytes,
    },
    /// Prove that key of this node's on new connections.
    ShowKey {
        /// Which.
        key: PublicKey,
        /// The rotation that brought it.
        number: u64,
    },
    /// Where the mesh stands. Comes before the roster that follows from it.
    Bounds {
        /// Its epoch.
        epoch: Epoch,
        /// What raised it to that, and to some epochs before; the last first.
        proofs: Vec<Bytes>,
        /// Who is to be turned away, and told why.
        former: Vec<Former>,
    },
    /// This node belongs to no mesh any more: its replica of the control group goes, and nobody is a neighbour.
    Parted,
    /// A node is no member any more, and this node's log may not tell so before somebody vouches for this node: nobody waits for its word.
    Gone(NodeId),
    /// The replica of the control group says nothing further, but where its log ends.
    Fence {
        /// Under which numbers it may go on, the present one last.
        eras: Vec<u64>,
        /// Who is lost.
        lost: Vec<NodeId>,
    },
    /// The control group goes on as before.
    Unfence,
    /// The replica of the control group goes on alone.
    Found {
        /// Under which number.
        era: u64,
        /// Above which term.
        above: Term,
        /// What its log must hold.
        holds: LogPlace,
        /// Who goes on with it.
        survivors: Vec<NodeId>,
    },
    /// Tell how the log of the control group compares with that one.
    Compare(LogTrail),
    /// Tell which members no path leads to.
    Look,
    /// Have others lead what this node leads, and tell how much is left.
    HandOver,
    /// Say to all nodes that this one stops, or that it goes on.
    Farewell(bool),
    /// Take fresh replica ids in all groups: another copy of this node may have spoken under the old ones.
    Rejoin,
    /// What this start says of another start of its node that is about.
    Claim {
        /// The other.
        other: BootId,
        /// The encoded claim.
        claim: Bytes,
    },
    /// What counts of a node's identity, or that nothing is known of it any more.
    Identity {
        /// Whose.
        node: NodeId,
        /// What.
        told: Option<Told>,
    },
    /// Let no link be up from now on, or let them come up again.
    Offline(bool),
    /// A stream is open. May be repeated.
    StreamOpened {
        /// Its name.
        name: String,
        /// Its life.
        instance: StreamInstance,
        /// Its ends.
        ends: Ends,
        /// This node was taken in anew since it was opened (M79).
        anew: bool,
    },
    /// A stream whose group lost its quorum is sealed, or is further on the way to that. Follows [`Output::StreamOpened`]; may be repeated.
    StreamSealed {
        /// Its life.
        instance: StreamInstance,
        /// How far.
        sealed: Sealed,
    },
    /// The members of a stream are to change, or did. Stands before [`Output::StreamOpened`] or after it; may be repeated.
    StreamMembers {
        /// Its life.
        instance: StreamInstance,
        /// How they differ from those it was opened with.
        members: StreamMembers,
    },
    /// How often a stream was resumed after it had failed. May be repeated.
    StreamResumed {
        /// Its life.
        instance: StreamInstance,
        /// How often.
        resumed: u64,
    },
    /// Shut the stream's replica here off from its group. Answered by [`super::Input::StreamEnd`].
    FenceStream {
        /// Which stream.
        instance: StreamInstance,
        /// Under which authority it goes on.
        authority: AuthorityEpoch,
        /// Who is taken for lost.
        lost: Vec<NodeId>,
    },
    /// Found the stream's group anew.
    FoundStream {
        /// Which stream.
        instance: StreamInstance,
        /// Under which authority.
        authority: AuthorityEpoch,
        /// No survivor entered a higher term.
        above: Term,
        /// Where the log ended when this node said so: it must do so still.
        holds: LogPlace,
        /// Who goes on.
        survivors: Vec<NodeId>,
    },
    /// What is said of whether, and how fast, streams take messages in: in the place of all that was told before.
    Rules(Rules),
    /// A stream is closed. May be repeated.
    StreamClosed {
        /// Its life.
        instance: StreamInstance,
        /// Its name.
        name: String,
    },
    /// Hand updates over.
    DeliverUpdates(UpdateDelivery),
    /// Answers a command.
    Reply {
        /// Which.
        request: RequestId,
        /// The answer.
        reply: Result<Reply, Refusal>,
    },
    /// Something to know.
    Event(Event),
}
