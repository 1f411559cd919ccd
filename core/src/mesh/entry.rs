//! What stands in the control group's log.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;

use super::eviction::Evict;
use super::failing::StreamFailed;
use super::idle::TargetIdle;
use super::members::MembersChanged;
use super::recovery::Recover;
use super::rotation::Step;
use super::sealing::{ReportEnd, SettleEnd};
use super::transcript::Transcript;
use super::updates;
use crate::agreed::Expected;
use crate::description::Described;
use crate::ends::Terms;
use crate::flow::{FlowWish, Tenant};
use crate::id::{LogIndex, MeshId, NodeId, ReplicaId, StreamInstance};
use crate::members::MembersWish;
use crate::time::{Span, Wall};
use crate::work::PublicKey;

/// Names a request for as long as anybody may repeat it: 128 random bits drawn by the node it was made at. A stream bears the id
/// of the request that opened it as its instance, so a request decided once (M4) is an instance used once.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Request(pub u128);

impl core::fmt::Debug for Request {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}", StreamInstance(self.0))
    }
}

/// A command of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The node the request was made at.
    pub origin: NodeId,
    /// The request.
    pub request: Request,
    /// What the origin had applied when it made the request: tells requests too old to be remembered from new ones.
    pub seen: LogIndex,
    /// The leader's wall clock, forced to grow. The only time that apply knows.
    pub time: Wall,
    /// What to do.
    pub body: Body,
}

/// What an entry does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Begins the mesh; only ever the first.
    Found {
        /// The mesh.
        mesh: MeshId,
        /// Its name.
        name: String,
        /// The founder, admitted by itself.
        first: Admission,
    },
    /// Admits a node, or gives a member whose disk was lost a fresh replica id.
    Admit(Admission),
    /// A member can be reached elsewhere now.
    Update {
        /// The member.
        node: NodeId,
        /// Where others dial it.
        addresses: Vec<String>,
        /// Where its API listens.
        api: Option<String>,
        /// Where in the world it is.
        region: Option<String>,
    },
    /// Opens a stream. Names are resolved when the entry is applied, so that all members resolve them alike.
    Open {
        /// The stream's name.
        name: String,
        /// Name or id of its source.
        source: String,
        /// Names or ids of its targets.
        targets: Vec<String>,
        /// What is asked of it.
        terms: Terms<String>,
    },
    /// Closes the stream of that name.
    Close {
        /// The stream's name.
        name: String,
    },
    /// Members of a stream's group are lost for good.
    SealStream {
        /// The stream's name.
        name: String,
        /// Their names or ids.
        lost: Vec<String>,
        /// The stream's life, if the origin knew it.
        instance: Option<StreamInstance>,
        /// Those of them that the origin knew, and that no path had led to for a while.
        missed: Vec<NodeId>,
    },
    /// A survivor says where its log of a stream ends.
    ReportEnd(Box<ReportEnd>),
    /// Whoever founded a stream's group anew says which message was the last.
    SettleEnd(SettleEnd),
    /// The members of a stream are to change.
    ChangeMembers(Box<MembersWish>),
    /// They did.
    MembersChanged(MembersChanged),
    /// A member says what it is.
    Describe {
        /// The member.
        node: NodeId,
        /// What it says.
        described: Described,
    },
    /// Something about updates.
    Updates(updates::Change),
    /// Gives a key of the agreed configuration a value.
    SetConfig {
        /// The key.
        key: String,
        /// The value.
        value: Bytes,
        /// What must be there before.
        expected: Expected,
    },
    /// Takes a key of the agreed configuration away.
    DeleteConfig {
        /// The key.
        key: String,
        /// What must be there before.
        expected: Expected,
    },
    /// Admits a node that showed the mesh's join key.
    AdmitByKey {
        /// The node.
        admission: Admission,
        /// The entry that set the key.
        key: LogIndex,
    },
    /// The mesh has a new join key.
    RotateKey {
        /// Random.
        salt: [u8; 16],
        /// The salted hash of its secret.
        hash: [u8; 32],
        /// How long it is good from then on; `None` for ever.
        lifetime: Option<Span>,
        /// How many nodes it admits; `None` for any number.
        uses: Option<u32>,
    },
    /// Changes settings of the mesh, all or none.
    Configure {
        /// Keys and their values; `None` takes a key away.
        changes: Vec<(String, Option<Bytes>)>,
        /// The version that the settings must have, if it matters.
        expected: Option<LogIndex>,
    },
    /// Takes a member out.
    Evict(Evict),
    /// A member's key gives way to another.
    RotateNodeKey {
        /// The member.
        node: NodeId,
        /// How far.
        step: Step,
    },
    /// Goes on without those with whom the quorum was lost.
    Recover(Box<Recover>),
    /// Whether, or how fast, streams take messages in.
    Flow(Box<FlowWish>),
    /// A target's handler failed at a message as often as the policy of the stream bears.
    StreamFailed(Box<StreamFailed>),
    /// A target processed nothing for as long as its stream bears.
    TargetIdle(Box<TargetIdle>),
    /// Does something about a stream, if it is that tenant's.
    Within {
        /// Whose it must be.
        tenant: Tenant,
        /// What to do; not another one of these.
        body: Box<Self>,
    },
    /// Refuses the request, for the mesh is critical.
    Forbidden {
        /// How many members the leader could not reach.
        unreachable: u64,
        /// How many there were.
        members: u64,
    },
}

impl Body {
    /// The admission, if it is one.
    #[must_use]
    pub fn admission(&self) -> Option<&Admission> {
        match self {
            Self::Admit(admission) | Self::AdmitByKey { admission, .. } => Some(admission),
            _ => None,
        }
    }
}

/// A node as its admitting member presents it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admission {
    /// Its id.
    pub node: NodeId,
    /// Its name.
    pub name: String,
    /// The key it proved.
    pub key: PublicKey,
    /// Where others dial it.
    pub addresses: Vec<String>,
    /// Where its API listens.
    pub api: Option<String>,
    /// Its replica of the control group.
    pub replica: ReplicaId,
    /// Who lets it in.
    pub admitter: NodeId,
    /// The admitter's signature under [`Self::statement`].
    pub signature: Bytes,
}

impl Admission {
    /// What the admitter signs. Addresses are left out: they change, and are told by the member itself.
    #[must_use]
    pub fn statement(&self, mesh: MeshId) -> Bytes {
        let hash = Transcript::plain("wattle 2026 admission v1")
            .field(&mesh.to_bytes())
            .field(&self.node.to_bytes())
            .field(self.name.as_bytes())
            .field(&self.key.0)
            .field(&self.replica.to_bytes())
            .field(&self.admitter.to_bytes())
            .finish();
        Bytes::copy_from_slice(hash.as_bytes())
    }
}
