//! Link states, flooding, and the cheapest path to everybody.
//!
//! Every node floods what it knows of its own links, as OSPF and IS-IS do; every node holds what all others said and
//! computes paths from itself (Dijkstra). A path is chosen at the source and travels with the message, so tables that disagree for
//! a moment make no loops: no two nodes' views are combined within one path.
//!
//! A link state is newer if its (generation, sequence) is higher. The generation grows at each start of its origin, so a restarted node
//! is believed at once; a node that meets a state of its own that it did not write, or that is newer than the one it wrote, jumps above it.
//! The links within a state travel encoded: they are read once, by who learns something new, and passed on as they came.
//! States are flooded to all neighbours but the one they came from. One of a node that is no member yet waits until it is. A new neighbour is given the whole table; from time to time neighbours
//! compare digests of their tables, and those that differ send theirs, which mends whatever was lost.
//!
//! # Invariants
//! - T1: the table holds states of members only, at most one each, and never replaces one by an older one.
//! - T2: a link counts only when both ends list it; the node's own links count while they are up.
//! - T3: a path is simple, has at most 15 relays, and one label per relay: that relay's own for its next link.
//! - T4: of several cheapest paths every computation picks the same one.
//! - T5: this node's own state is the newest of its kind in its table, and says what its links are, costs excepted that have not
//!   settled yet, and links that came up within the pause after a burst of such. A link that went down is in it no more.
//! - T6: what a peer can make this node hold is bounded: members times links per node, and as much of others as is held.
//! - T7: a state of a node that is no member is held until the node is one, and then taken. Only if one had to be given up are whole tables
//!   asked for when the members grow. Nothing is held of members.
//! - T8: news for a neighbour leaves at once, or, after a burst, together with what follows it within a pause. None is left out.
//! - T10: what counts of the identity of nodes is told to all neighbours, late comers included; how much that is, this node's owner bounds.
//! - T9: no path leads to, or over, a node whose state says that it is stopped; such a state counts until its origin says something later.

mod burst;
mod config;
mod cost;
mod flood;
mod graph;
mod held;
mod message;
mod paths;
mod records;
mod routes;
mod stopped;
mod table;
#[cfg(test)]
mod tests;
mod wire;

use alloc::collections::BTreeSet;

use bytes::Bytes;
pub use config::Config;
pub use message::{Adjacency, Announcement, LinkState, Message, TableDigest};
pub use paths::Path;
pub use records::Record;
pub use routes::{KnownLink, Routes};
pub use wire::Malformed;

use crate::id::{BootId, NodeId};

/// The most relays on a path.
pub const RELAYS_MAX: usize = wattle_proto::frame::MAX_PATH;
/// The most links of one node.
pub const ADJACENCIES_MAX: usize = 1024;

/// What [`Routes`] is told.
#[derive(Clone, Debug)]
pub enum Input {
    /// The link to a neighbour is up.
    LinkUp {
        /// The neighbour.
        node: NodeId,
        /// This node's label for the link.
        label: u16,
    },
    /// The link to a neighbour is down.
    LinkDown {
        /// The neighbour.
        node: NodeId,
    },
    /// What sending over a link costs now.
    Cost {
        /// The neighbour.
        node: NodeId,
        /// Microseconds.
        micros: u32,
    },
    /// The members of the mesh: all of them.
    Members(BTreeSet<NodeId>),
    /// Members beside those that were told.
    Joined(BTreeSet<NodeId>),
    /// What this start claims of another start of this node: all nodes are told with its links. Not read here.
    Claim(Bytes),
    /// What counts of a node's identity: all nodes are told. `None`: nothing is known of it any more.
    Record {
        /// Whose.
        node: NodeId,
        /// What.
        record: Option<Record>,
    },
    /// Say to all nodes that this one stops, or that it goes on.
    Stopped(bool),
    /// The deadline was reached, or the caller looks in.
    Deadline,
}

/// What [`Routes`] wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send to a neighbour.
    Send {
        /// The neighbour.
        to: NodeId,
        /// What.
        message: Message,
    },
    /// Another start of this node writes link states above those of this one.
    Rival {
        /// Which.
        boot: BootId,
        /// What it claims, or nothing; not read here.
        claim: Bytes,
    },
    /// A neighbour passes on what counts of a node's identity: not read here.
    Record(Bytes),
    /// Another node says that it is stopped, or that it goes on.
    Stopped {
        /// Which.
        node: NodeId,
        /// Whether it is stopped.
        stopped: bool,
    },
}
