//! What happens to a mesh, as one node learns of it. Plain data for operators and applications.
//!
//! Each node tells what it learns, when it learns it: what the control group decided when it is applied there, and who fails as far as that node
//! listens (a voter to everybody, others to the voters). After a start a node may tell again what came after the state it had stored.

use alloc::string::String;
use alloc::vec::Vec;

use crate::id::{LogIndex, NodeId, StreamInstance, Term, UpdateNumber};
use crate::recovery::RecoveryStage;
use crate::update::UpdateKind;
use crate::work::PublicKey;

/// How a member went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Departure {
    /// Whether it was taken out; otherwise it had asked for that itself.
    pub evicted: bool,
    /// The number of the mesh epoch since then.
    pub epoch: u64,
    /// The node that was asked for it.
    pub asked_at: NodeId,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MeshEvent {
    /// A node is a member.
    NodeJoined {
        /// Which.
        node: NodeId,
        /// Its name.
        name: String,
    },
    /// A node is no member any more.
    NodeLeft {
        /// Which.
        node: NodeId,
        /// Its name.
        name: String,
        /// How; `None` if that is remembered no longer.
        how: Option<Departure>,
    },
    /// Something about a member is another: its name, its addresses, its replica, or what it says of itself.
    NodeUpdated {
        /// Which.
        node: NodeId,
        /// Its name.
        name: String,
    },
    /// A member was not heard for a while.
    NodeFailed {
        /// Which.
        node: NodeId,
        /// Its name.
        name: String,
    },
    /// It is heard again.
    NodeRecovered {
        /// Which.
        node: NodeId,
        /// Its name.
        name: String,
    },
    /// A member says that it takes no part from now on.
    NodeStopped {
        /// Which.
        node: NodeId,
        /// Its name.
        name: String,
    },
    /// A member that was stopped takes part again.
    NodeStarted {
        /// Which.
        node: NodeId,
        /// Its name.
        name: String,
    },
    /// A member exists twice: its data directory was copied and both copies run. Nobody hears either.
    NodeDuplicated {
        /// Which.
        node: NodeId,
        /// Its name.
        name: String,
    },
    /// A member has another key: beside the one it had, or from now on in its place.
    NodeKeyChanged {
        /// Which.
        node: NodeId,
        /// Its name.
        name: String,
        /// The new key.
        key: PublicKey,
        /// Counts the rotations of its key.
        number: u64,
        /// Whether the old key is good no more.
        retired: bool,
    },
    /// Another node leads the control group, or none is known to.
    LeaderChanged {
        /// Who leads.
        leader: Option<NodeId>,
        /// Since which term.
        term: Term,
        /// Whether it is this node: whoever does duties for the whole mesh begins or ends them.
        here: bool,
    },
    /// A key of the agreed configuration, or a setting of the mesh, was set or taken away.
    ConfigChanged {
        /// Which.
        key: String,
        /// To what; `None` if it was taken away, and for keys of applications, whose values may be long.
        value: Option<String>,
        /// The entry that did it; what there is to read then has this version, unless the key was taken away.
        version: LogIndex,
        /// Whether the key is gone.
        deleted: bool,
    },
    /// A stream was opened.
    StreamOpened {
        /// Its name.
        name: String,
        /// Its life.
        instance: StreamInstance,
    },
    /// A stream was closed.
    StreamClosed {
        /// Its name.
        name: String,
        /// Its life.
        instance: StreamInstance,
    },
    /// Something about the recovery of a mesh that lost its quorum.
    Recovery {
        /// What.
        stage: RecoveryStage,
        /// Which attempt.
        attempt: u64,
        /// The number of the mesh epoch: before it while it has not come to its end, afterwards the one since.
        epoch: u64,
        /// The node that was asked for it.
        asked_at: NodeId,
        /// The names of the lost, or the first of them; none where they are told elsewhere.
        lost: Vec<String>,
    },
    /// An update to all members was agreed on. Of those that come with a state only the last is told.
    UpdateCommitted {
        /// Its kind.
        kind: UpdateKind,
        /// Its number.
        number: UpdateNumber,
    },
}
