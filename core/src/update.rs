//! Updates: short messages from one node to all members, in an order of their own for each kind. Plain data, shared by the part that
//! carries them, the node and its world.

use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;

use crate::id::{AttachToken, NodeId, UpdateId, UpdateNumber};
use crate::time::Wall;

/// A class of updates. Each is an ordered sequence of its own, numbered from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum UpdateKind {
    /// What concerns the mesh: also called system updates.
    Mesh,
    /// Changes of an application's database.
    Database,
}

impl UpdateKind {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Mesh, Self::Database];

    /// Its place in [`Self::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Its name, for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mesh => "mesh",
            Self::Database => "db",
        }
    }
}

/// An update as its handlers see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// Its place among those of its kind.
    pub number: UpdateNumber,
    /// Given by the sender: equal for all repeats.
    pub id: UpdateId,
    /// The node it was sent at.
    pub origin: NodeId,
    /// What it is about, in the sender's words.
    pub key: String,
    /// What it says.
    pub payload: Bytes,
    /// When it was agreed on, by the leader's clock; grows with the number.
    pub time: Wall,
}

/// What is handed to a handler of updates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpdateItem {
    /// The next update.
    Update(Update),
    /// These were let go before this member had processed them, as the policy allows: whatever they said must be learnt elsewhere.
    Gap {
        /// The first that is missing.
        first: UpdateNumber,
        /// The last that is missing.
        last: UpdateNumber,
    },
}

impl UpdateItem {
    /// The number up to which it goes: to be named in the verdict.
    #[must_use]
    pub const fn last(&self) -> UpdateNumber {
        match self {
            Self::Update(update) => update.number,
            Self::Gap { last, .. } => *last,
        }
    }
}

/// Updates handed to a handler, in order.
#[derive(Clone, Debug)]
pub struct UpdateDelivery {
    /// The attachment they are for.
    pub token: AttachToken,
    /// Their kind.
    pub kind: UpdateKind,
    /// Each begins where the one before ended.
    pub items: Vec<UpdateItem>,
}

/// What an application asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpdateCommand {
    /// Send an update to every member. Answered by [`UpdateReply::Sent`] once it is agreed on, or by [`UpdateReply::Taken`] at once.
    Send {
        /// Of which kind.
        kind: UpdateKind,
        /// The same for every repeat, so that repeating never doubles; `None` for one that will not be repeated.
        id: Option<UpdateId>,
        /// The last number that the sender knew of when it used this id for the first time. Ids of the last
        /// [`crate::mesh::updates::IDS_MAX`] updates are remembered: a repeat that comes later than that is refused if this tells so, and
        /// counts as a new update if it is `None`.
        after: Option<UpdateNumber>,
        /// What it is about.
        key: String,
        /// What it says.
        payload: Bytes,
        /// Whether the answer waits until it is agreed on.
        wait: bool,
    },
    /// What became of an update. Answered by [`UpdateReply::Fate`].
    Find {
        /// Of which kind.
        kind: UpdateKind,
        /// Which.
        id: UpdateId,
    },
    /// Attach this node's handler of a kind; it takes over from the one before. Answered by [`UpdateReply::Attached`], then deliveries.
    Attach {
        /// Which kind.
        kind: UpdateKind,
        /// How many updates may be handed over before a verdict is owed; at least 1.
        window: u32,
    },
    /// Whether members that hold up a full history may be passed over. Answered by [`UpdateReply::PolicySet`].
    PassOver {
        /// Which kind.
        kind: UpdateKind,
        /// Whether they may.
        allowed: bool,
    },
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpdateReply {
    /// The update is agreed on: every member will be handed it.
    Sent {
        /// Its id.
        id: UpdateId,
        /// Its number.
        number: UpdateNumber,
        /// Whether it had been agreed on before.
        repeated: bool,
    },
    /// The update is on its way; asking for its fate tells what became of it.
    Taken {
        /// Its id: the ticket to ask with.
        id: UpdateId,
    },
    /// What became of an update.
    Fate(UpdateFate),
    /// A handler is attached.
    Attached {
        /// Its token.
        token: AttachToken,
        /// Updates come after this one.
        after: UpdateNumber,
    },
    /// The policy is as asked.
    PolicySet,
}

/// What became of an update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpdateFate {
    /// This node still tries.
    Pending,
    /// It is agreed on under this number.
    Committed(UpdateNumber),
    /// It was refused or came to nothing in time, for this reason.
    Failed(String),
    /// This node does not know: it was never asked, has started anew since, or it is too long ago. Sending it again under its id and its
    /// first `after` never doubles it.
    Unknown,
}

/// A member that has not processed everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lagging {
    /// Which.
    pub node: NodeId,
    /// Its name.
    pub name: String,
    /// What it has processed, as far as the mesh was told.
    pub processed: UpdateNumber,
}

/// A kind of updates as seen here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpdateStatus {
    /// Which kind.
    pub kind: UpdateKind,
    /// The last one agreed on.
    pub last: UpdateNumber,
    /// Those after this one are kept.
    pub floor: UpdateNumber,
    /// Bytes kept.
    pub bytes: u64,
    /// Bytes that may be kept.
    pub bytes_max: u64,
    /// Whether members that hold up a full history may be passed over.
    pub pass_over: bool,
    /// What this node's handler has processed.
    pub processed: UpdateNumber,
    /// The handler attached here.
    pub handler: Option<AttachToken>,
    /// How many members have not processed everything.
    pub behind: u64,
    /// Those furthest behind, a few of them.
    pub lagging: Vec<Lagging>,
}
