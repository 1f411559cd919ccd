//! What neighbours tell each other about links.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use bytes::Bytes;

use super::wire::{self, Malformed};
use crate::id::{BootId, Generation, NodeId};
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

/// What decides which of two link states counts: (generation, sequence), and between two of one version, which only a node that exists
/// twice can have written, whether it is stopped, the encoded links and the start that wrote it, so that all tables agree even then.
pub(super) type Rank<'a> = (Generation, u64, bool, &'a [u8], BootId);

/// All links of one node: encoded as its origin did, and read.
#[derive(Clone, Debug)]
pub struct LinkState {
    generation: Generation,
    sequence: u64,
    origin: NodeId,
    stopped: bool,
    boot: BootId,
    claim: Bytes,
    adjacencies: Arc<[Adjacency]>,
    links: Bytes,
}

impl LinkState {
    /// What a node says of its own links, which are by neighbour, each once.
    #[must_use]
    pub fn new(
        (generation, sequence): (Generation, u64),
        origin: NodeId,
        adjacencies: Arc<[Adjacency]>,
    ) -> Self {
        let links = wire::encode_links(&adjacencies);
        let (stopped, boot, claim) = (false, BootId::default(), Bytes::new());
        Self { generation, sequence, origin, stopped, boot, claim, adjacencies, links }
    }

    /// The same, saying which start of its origin wrote it, and what that claims of another start of it.
    #[must_use]
    pub fn by(self, boot: BootId, claim: Bytes) -> Self {
        Self { boot, claim, ..self }
    }

    /// The same, saying whether its origin is stopped.
    #[must_use]
    pub fn with_stopped(self, stopped: bool) -> Self {
        Self { stopped, ..self }
    }

    /// Whether its origin is stopped: its links count for nothing.
    #[must_use]
    pub const fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// What is compared first.
    #[must_use]
    pub const fn version(&self) -> (Generation, u64) {
        (self.generation, self.sequence)
    }

    /// Whose links.
    #[must_use]
    pub const fn origin(&self) -> NodeId {
        self.origin
    }

    /// The links, by neighbour, each once.
    #[must_use]
    pub fn adjacencies(&self) -> &[Adjacency] {
        &self.adjacencies
    }

    pub(super) fn rank(&self) -> Rank<'_> {
        (self.generation, self.sequence, self.stopped, &self.links, self.boot)
    }

    /// Whether another state of the same node says the same of its links.
    pub(super) fn same_links(&self, other: &Self) -> bool {
        self.links == other.links && self.stopped == other.stopped
    }

    /// The link to a neighbour.
    #[must_use]
    pub fn link(&self, neighbour: NodeId) -> Option<&Adjacency> {
        let place =
            self.adjacencies.binary_search_by_key(&neighbour, |adjacency| adjacency.neighbour).ok()?;
        self.adjacencies.get(place)
    }

    /// The state as it travels. Its encoded links are shared, not copied.
    #[must_use]
    pub fn announcement(&self, age: Span) -> Announcement {
        let Self { generation, sequence, origin, stopped, boot, .. } = *self;
        let (links, claim) = (self.links.clone(), self.claim.clone());
        Announcement { generation, sequence, origin, age, stopped, boot, claim, links }
    }
}

/// A link state as it travels: its links are not read yet.
///
/// [`Message::decode`] checks whose it is, its version, and how long the encoded links are. What they say is checked by
/// [`Announcement::read`], which is called when the state is news: a node hears most states once from each neighbour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// The origin's count of starts.
    pub generation: Generation,
    /// Grows with each announcement.
    pub sequence: u64,
    /// Whose links.
    pub origin: NodeId,
    /// How long ago the origin wrote it, as far as is known.
    pub age: Span,
    /// Whether the origin is stopped.
    pub stopped: bool,
    /// The start of the origin that wrote it.
    pub boot: BootId,
    /// What that claims of another start of the origin, if it met one; not read here.
    pub claim: Bytes,
    /// The encoded links. Of a message that came, they are a part of the buffer that it came in.
    pub links: Bytes,
}

impl Announcement {
    pub(super) fn rank(&self) -> Rank<'_> {
        (self.generation, self.sequence, self.stopped, &self.links, self.boot)
    }

    /// Reads the links, into memory of their own, so that the buffer of the message can go.
    ///
    /// # Errors
    /// [`Malformed`] if they are no list of links, too many, out of order or twice there, or if one leads nowhere new: to the origin
    /// itself, at no cost, or with a label that is none.
    pub fn read(&self) -> Result<LinkState, Malformed> {
        let adjacencies = wire::decode_links(self.origin, &self.links)?;
        let Self { generation, sequence, origin, stopped, boot, .. } = *self;
        let (claim, links) = (kept(&self.claim), kept(&self.links));
        Ok(LinkState { generation, sequence, origin, stopped, boot, claim, adjacencies, links })
    }

    /// Like [`Announcement::read`], where another state of the same origin is known already: if it says the same of the links, they
    /// are neither read nor copied.
    pub(super) fn read_after(&self, known: Option<&LinkState>) -> Result<LinkState, Malformed> {
        match known {
            Some(known) if known.links == self.links => {
                let Self { generation, sequence, stopped, boot, .. } = *self;
                Ok(LinkState {
                    generation,
                    sequence,
                    stopped,
                    boot,
                    claim: kept(&self.claim),
                    ..known.clone()
                })
            }
            _ => self.read(),
        }
    }

    /// The same with links in memory of their own, to be kept longer than the message.
    pub(super) fn to_keep(&self) -> Self {
        Self { links: kept(&self.links), claim: kept(&self.claim), ..*self }
    }
}

/// Bytes in memory of their own.
fn kept(bytes: &Bytes) -> Bytes {
    if bytes.is_empty() { Bytes::new() } else { Bytes::copy_from_slice(bytes) }
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
    Flood(Vec<Announcement>),
    /// Send me your whole table.
    Ask,
    /// What my whole table looks like.
    Summary(TableDigest),
    /// What counts of the identity of nodes, encoded; not read here.
    Records(Vec<Bytes>),
    /// Something that only a later version knows: it says nothing to this one.
    Unknown,
}
