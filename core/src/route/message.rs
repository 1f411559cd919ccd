//! What neighbours tell each other about links.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use crate::id::{Generation, NodeId};
use crate::time::Span;

/// One link, as the node at one end of it sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Adjacency {
    /// The node at the other end.
    pub neighbour: NodeId,
    /// Microseconds, at least 1.
    pub cost: u32,
    /// How the node that speaks names the link.
    pub label: u16,
}

/// All links of one node. Values order by (generation, sequence); the content decides between two of one version, which only a
/// node that exists twice can have written, so that all tables agree even then.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LinkState {
    /// The origin's count of starts.
    pub generation: Generation,
    /// Grows with each announcement.
    pub sequence: u64,
    /// Whose links.
    pub origin: NodeId,
    /// By neighbour, each once.
    pub adjacencies: Vec<Adjacency>,
}

impl LinkState {
    /// What is compared first.
    #[must_use]
    pub const fn version(&self) -> (Generation, u64) {
        (self.generation, self.sequence)
    }

    /// The link to a neighbour.
    #[must_use]
    pub fn link(&self, neighbour: NodeId) -> Option<&Adjacency> {
        let place =
            self.adjacencies.binary_search_by_key(&neighbour, |adjacency| adjacency.neighbour).ok()?;
        self.adjacencies.get(place)
    }
}

/// A link state, and how long ago its origin wrote it, as far as is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aged {
    /// The state.
    pub state: Arc<LinkState>,
    /// Its age.
    pub age: Span,
}

/// Digest of a whole table.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct TableDigest(pub [u8; 16]);

impl fmt::Debug for TableDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

/// A message between neighbours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Link states that may be news.
    Flood(Vec<Aged>),
    /// Send me your whole table.
    Ask,
    /// What my whole table looks like.
    Summary(TableDigest),
}
