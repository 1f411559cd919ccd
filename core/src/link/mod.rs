//! Neighbours, and heartbeats between nodes that share groups.
//!
//! [`Links`] owns what lies between two nodes with a connection: who may be a neighbour, which of several connections
//! carries the link, whether it lives, and dialling again when it does not. A *lane* is one connection, a *link* is what is made
//! of the lanes to one neighbour. [`Pairs`] (in [`pairs`]) owns the heartbeats that go end to end, over any number of relays.
//!
//! # A lane's life
//! The world has proven the peer's key (TLS, both sides) before a lane is up. The dialling end says [`Hello`]; the other checks
//! it against the roster and answers with its own; the dialling end checks that and says `Confirm`, the other answers
//! with `Confirm`. Whoever has the other's agreement may use the lane: the dialling end after the hello, the accepting end
//! after the confirmation.
//!
//! # Several lanes at once
//! Both ends may dial at the same time, and an end that lost a connection dials while the other still believes in it. So nobody is
//! refused for being second. Older lanes prove themselves with a ping, the new one once it is confirmed; those that do not are closed. Of those that do,
//! both ends prefer the same one (newest generation, then newer keys, then smaller dialling node, then its smaller nonce), switch to it once it is confirmed, say
//! `Leaving` as their last word on the others, and close on hearing it.
//!
//! # Invariants
//! - L1: a lane belongs to a neighbour only if the roster maps the node its hello named to the key it proved.
//! - L2: a link that is up has a current lane: usable, not being left.
//! - L3: all lanes of a link are of the boot the link was announced with, and it is announced down before it is announced with another.
//! - L4: a lane is left only while a confirmed lane that both ends prefer carries the link.
//! - L5: a target is waiting, being dialled, being greeted, or its node is up; it is never given up.
//! - L6: lanes of strangers, and dials under way, never exceed their bounds.
//! - L7: labels: no two neighbours share one, and that of a neighbour that is up resolves to it.
//! - L8: every lane that is not closed has a deadline.
//! - L9: `Up` and `Down` alternate for each node.
//! - L10: who was taken out of the mesh, and is no member again, is no neighbour; it is told why.
//! - L12: a start that is barred, because its node exists twice or another copy of it is the only one, is no neighbour; it is shown by what.
//! - L13: no link is carried by a lane whose key its node gave up, as far as the roster tells; who comes with one is shown by what.
//! - L14: while a node has two keys, a link to it that this node dialled, and that is carried under the first, is about to be renewed, or is being.
//! - L11: a node that is offline has no link, greets nobody and dials nobody.
//!
//! Those of the pairs stand in [`pairs`].

mod config;
mod dial;
mod fence;
mod handshake;
mod invariants;
mod label;
mod lane;
mod links;
mod message;
mod offline;
mod own_key;
pub mod pairs;
mod rivals;
mod roster;
mod survivor;
#[cfg(test)]
mod tests;
mod wire;

use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;
pub use config::Config;
pub use fence::{Banned, Bounds};
pub use label::LabelError;
pub use links::{Links, Standing};
pub use message::{Fence, Hello, Message, Purpose};
pub use pairs::{Beat, LeadsPage, Pairs};
pub use rivals::Bar;
pub use wire::Malformed;

use crate::id::{BootId, Generation, LaneId, MeshId, NodeId};
use crate::node::output::{CloseReason, DialId, Event};
use crate::time::Span;
use crate::when::When;
use crate::work::PublicKey;

/// What [`Links`] is told.
#[derive(Clone, Debug)]
pub enum Input {
    /// A connection is up, its far end's key proven.
    LaneUp {
        /// Its name.
        lane: LaneId,
        /// The dial it answers; `None` when it was accepted.
        dial: Option<DialId>,
        /// The proven key.
        peer_key: PublicKey,
    },
    /// A connection ended. Comes once for each `LaneUp`.
    LaneDown {
        /// Which.
        lane: LaneId,
    },
    /// A dial came to nothing.
    DialFailed {
        /// Which.
        dial: DialId,
    },
    /// A message between neighbours.
    Message {
        /// The lane it came on.
        lane: LaneId,
        /// The message.
        message: Message,
    },
    /// Any bytes came: the lane lives.
    Heard {
        /// Which.
        lane: LaneId,
    },
    /// Another part, or the frame codec, wants the lane closed.
    Close {
        /// Which.
        lane: LaneId,
        /// Why.
        reason: CloseReason,
    },
    /// This node belongs to a mesh.
    Mesh(MeshId),
    /// The members and the keys each may prove: the whole list.
    Roster(Vec<(NodeId, Vec<PublicKey>)>),
    /// Members beside those of the list, or with other keys than there.
    Members(Vec<(NodeId, Vec<PublicKey>)>),
    /// What this node's hello shows to an end that does not know it as a member.
    Endorsement(Bytes),
    /// What leads from keys this node had to the one it has: shown to a joiner.
    OwnRotations(Bytes),
    /// On connections from now on this node proves a key that came by that rotation; neighbours are dialled anew.
    KeyShown {
        /// Counts the rotations of its key.
        number: u64,
    },
    /// A member gave up a key: whoever comes with it is shown this.
    GaveUpKey {
        /// Which.
        node: NodeId,
        /// Not read here.
        rotations: Bytes,
    },
    /// Where the mesh stands: its epoch, and who is no member any more.
    Bounds(Bounds),
    /// This node belongs to no mesh any more.
    Parted,
    /// This start claims something of another start of its node.
    Claim {
        /// The other.
        other: BootId,
        /// What; not read here.
        claim: Bytes,
    },
    /// Which starts of a node are turned away, if any.
    Bar {
        /// Whose.
        node: NodeId,
        /// Which.
        bar: Option<Bar>,
    },
    /// No link is to be up from now on, or links may come up again.
    Offline(bool),
    /// Dial there and keep dialling, for as long as this node lives.
    Target {
        /// `host:port`.
        address: String,
    },
    /// Dial there once, to join.
    JoinTarget {
        /// `host:port`.
        address: String,
    },
    /// The deadline was reached, or the caller looks in.
    Deadline,
}

/// What [`Links`] wants or tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Open a connection.
    Dial {
        /// Name of the dial.
        dial: DialId,
        /// `host:port`.
        address: String,
    },
    /// Close a connection.
    Close {
        /// Which.
        lane: LaneId,
        /// Why.
        reason: CloseReason,
    },
    /// Send over this very lane. A [`Message::Hello`] goes in a hello frame.
    Send {
        /// Which.
        lane: LaneId,
        /// What.
        message: Message,
        /// When it may leave.
        when: When,
    },
    /// A neighbour is there.
    Up {
        /// Who.
        node: NodeId,
        /// The lane that carries the link.
        lane: LaneId,
        /// Its start.
        boot: BootId,
        /// Its count of starts.
        generation: Generation,
        /// This node's label for the link.
        label: u16,
    },
    /// The link is carried by another lane from now on. What waits for the old one may go over this one.
    Switched {
        /// The neighbour.
        node: NodeId,
        /// The lane that carries the link.
        lane: LaneId,
    },
    /// The neighbour is gone.
    Down {
        /// Who.
        node: NodeId,
    },
    /// The smoothed round-trip time of a link.
    Rtt {
        /// The neighbour.
        node: NodeId,
        /// There and back.
        rtt: Span,
    },
    /// A node of this mesh that the roster does not name, or not under that key, was turned away. It showed an endorsement: if that is good it may be named when
    /// it comes again.
    Stranger {
        /// Who it says it is.
        node: NodeId,
        /// The key it has proven.
        key: PublicKey,
        /// Not read here.
        endorsement: Bytes,
    },
    /// Another start of this node is said to be about.
    Rival {
        /// Which.
        boot: BootId,
        /// What that one claims, or nothing; not read here.
        claim: Bytes,
    },
    /// Somebody shows a record of a node's identity, its own or this node's; not read here.
    Identity(Bytes),
    /// The other end says that the key this node proved is retired, and by what; not read here.
    KeyRetired(Bytes),
    /// A neighbour shows what raised the mesh epoch, or took this very node out.
    Fenced(Fence),
    /// A lane for joining is open: `peer_key` is proven, whose it is has still to be judged.
    JoinLaneUp {
        /// Which.
        lane: LaneId,
        /// The proven key.
        peer_key: PublicKey,
        /// What may lead to it from an earlier one; not read here.
        rotations: Bytes,
    },
    /// A lane for joining is gone.
    JoinLaneDown {
        /// Which.
        lane: LaneId,
    },
    /// A dial for joining came to nothing: no lane will come of it.
    JoinFailed {
        /// `host:port`.
        address: String,
        /// What happened, for people.
        what: String,
    },
    /// For operators and logs: who was refused or cut off.
    Event(Event),
}
