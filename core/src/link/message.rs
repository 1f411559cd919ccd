//! What neighbours say to each other.

use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;

use crate::epoch::Epoch;
use crate::id::{BootId, Generation, MeshId, NodeId};

/// What a lane is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// Both ends are members of one mesh.
    Link,
    /// The dialling end wants to become a member.
    Join,
}

/// The first message in each direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The lowest version spoken.
    pub version_low: u16,
    /// The highest version spoken.
    pub version_high: u16,
    /// The mesh it belongs to.
    pub mesh: Option<MeshId>,
    /// What the lane is for.
    pub purpose: Purpose,
    /// Who speaks.
    pub node: NodeId,
    /// Its name, for people.
    pub name: String,
    /// Its count of starts.
    pub generation: Generation,
    /// This start.
    pub boot: BootId,
    /// Drawn for this connection.
    pub nonce: u64,
    /// The largest frame it takes, in bytes of messages.
    pub max_frame: u32,
    /// Shows an end that does not know the sender who let it in; shows a joiner what leads to the sender's key. A joiner shows nothing.
    pub endorsement: Bytes,
    /// The sender's mesh epoch.
    pub epoch: Epoch,
    /// What raised the mesh to it, and to some epochs before; not read here.
    pub epoch_proofs: Vec<Bytes>,
    /// How often an operator said of the sender's disk that it is the only copy.
    pub round: u64,
    /// What shows that; not read here.
    pub identity: Bytes,
    /// How new the key is that the receiver proved on this lane: the sender counts those that it was told of, in the order in which they came.
    pub key_rank: u32,
}

/// A message between neighbours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Opens a lane.
    Hello(Hello),
    /// The other end's hello was accepted.
    Confirm,
    /// Wants a pong.
    Ping {
        /// The sender's clock, given back unread.
        sent: u64,
    },
    /// Answers a ping.
    Pong {
        /// What the ping said.
        echo: u64,
    },
    /// The last message on a lane whose link goes on over another.
    Leaving,
    /// The last message to a node that is no member any more: what shows it that.
    Fenced(Fence),
    /// The mesh epoch has risen since the sender's hello: what proves it, not read here.
    Raised {
        /// The last one first.
        epoch_proofs: Vec<Bytes>,
    },
    /// Another start of the receiver is about.
    Rival {
        /// Which.
        boot: BootId,
        /// What that one claims of the receiver, or nothing; not read here.
        claim: Bytes,
    },
    /// What the sender claims of another start of its node; not read here.
    Claimed {
        /// The encoded claim.
        claim: Bytes,
    },
    /// The last message to a start that is turned away, because its node exists twice or another copy of it is the only one.
    Barred {
        /// What shows that; not read here.
        record: Bytes,
    },
    /// The last message to a node that proved a key it gave up.
    KeyRetired {
        /// What shows that; not read here.
        rotations: Bytes,
    },
    /// Something that only a later version knows: it says nothing to this one.
    Unknown,
}

/// What a node is shown that is no member any more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fence {
    /// What took it out; not read here.
    pub proof: Bytes,
    /// Shows who signed that; not read here.
    pub endorsement: Bytes,
}
