//! The relay header: fixed, little endian, and valid by construction.

use alloc::vec::Vec;

use super::{Fault, MAX_PATH, OPTIONAL_KINDS, RELAY_HEADER};

/// Which part of a node a message is for. The numbers are on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Between neighbours: handshake and keepalive. Never relayed.
    Link = 1,
    /// Heartbeats between nodes that share groups.
    Pair = 2,
    /// Link states. Never relayed; each node floods them on itself.
    Route = 3,
    /// Consensus.
    Raft = 4,
    /// Requests and answers between members.
    Mesh = 5,
    /// Streams.
    Stream = 6,
    /// Joining. Never relayed.
    Join = 7,
    /// A relay tells the source what became of a message.
    Notice = 8,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 8] =
        [Self::Link, Self::Pair, Self::Route, Self::Raft, Self::Mesh, Self::Stream, Self::Join, Self::Notice];

    /// The kind of that number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == number)
    }

    /// Whether it stays between neighbours.
    #[must_use]
    pub const fn is_local(self) -> bool {
        matches!(self, Self::Link | Self::Route | Self::Join)
    }
}

/// How a message is queued. Lower goes first. The numbers are on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Class {
    /// What keeps links, tables and groups alive: small, first.
    Control = 0,
    /// Small data for which somebody waits.
    Priority = 1,
    /// Everything large.
    Bulk = 2,
}

impl Class {
    /// All classes, first come first.
    pub const ALL: [Self; 3] = [Self::Control, Self::Priority, Self::Bulk];

    /// The class of that number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|class| *class as u8 == number)
    }
}

/// More than [`MAX_PATH`] labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a path of {0} labels; at most 15 fit")]
pub struct TooLong(pub usize);

/// The labels of a path. Those before [`Path::hop`] are used up and hold the way back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Path {
    labels: [u16; MAX_PATH],
    length: u8,
    hop: u8,
}

impl Path {
    /// To a neighbour, without relays.
    pub const DIRECT: Self = Self { labels: [0; MAX_PATH], length: 0, hop: 0 };

    /// A path about to be travelled: one label per relay, in order.
    ///
    /// # Errors
    /// [`TooLong`] if there are more than [`MAX_PATH`].
    pub fn new(labels: &[u16]) -> Result<Self, TooLong> {
        let mut path = Self::DIRECT;
        path.labels.get_mut(..labels.len()).ok_or(TooLong(labels.len()))?.copy_from_slice(labels);
        path.length = labels.len() as u8;
        Ok(path)
    }

    /// All labels: those that lead back, then those still to be used.
    #[must_use]
    pub fn labels(&self) -> &[u16] {
        &self.labels[..usize::from(self.length)]
    }

    /// How many labels are used up.
    #[must_use]
    pub const fn hop(&self) -> usize {
        self.hop as usize
    }

    /// The labels still to be used.
    #[must_use]
    pub fn ahead(&self) -> &[u16] {
        &self.labels[usize::from(self.hop)..usize::from(self.length)]
    }

    /// The path back to the source, for a message that leaves over the link on which this one arrived: the labels the
    /// relays wrote, last one first.
    #[must_use]
    pub fn back(&self) -> Self {
        let mut back = Self::DIRECT;
        for (place, label) in self.labels[..usize::from(self.hop)].iter().rev().enumerate() {
            back.labels[place] = *label;
        }
        back.length = self.hop;
        back
    }
}

/// What a node does with a message that came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It is for this node.
    Arrived,
    /// It goes on over the link of this label.
    Relay(u16),
    /// It was relayed as often as it may be: drop it, and tell the source.
    Expired,
}

/// All that a relay reads or writes. A value of this type is always well formed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelayHeader {
    kind: Kind,
    class: Class,
    congested: bool,
    ttl: u8,
    repairs_left: u8,
    tenant: u32,
    path: Path,
}

/// The lengths of what follows a relay header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lengths {
    pub(super) header: usize,
    pub(super) payload: usize,
}

impl RelayHeader {
    /// For the neighbour at the other end of the lane.
    #[must_use]
    pub const fn direct(kind: Kind, class: Class) -> Self {
        Self { kind, class, congested: false, ttl: 0, repairs_left: 0, tenant: 0, path: Path::DIRECT }
    }

    /// For a node `path` leads to. It may be relayed as often as the path says and no more.
    ///
    /// # Panics
    /// If the kind is for neighbours only and the path is not empty: such a message has no business beyond them.
    #[must_use]
    pub fn along(kind: Kind, class: Class, path: Path) -> Self {
        assert!(path.length == 0 || !kind.is_local(), "{kind:?} is for neighbours only");
        Self { ttl: path.length - path.hop, path, ..Self::direct(kind, class) }
    }

    /// The same for another tenant; 0 is the mesh itself.
    #[must_use]
    pub const fn of_tenant(mut self, tenant: u32) -> Self {
        self.tenant = tenant;
        self
    }

    /// The same with another bound on how often it may be relayed.
    #[must_use]
    pub const fn with_ttl(mut self, ttl: u8) -> Self {
        self.ttl = ttl;
        self
    }

    /// The part it is for.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// How it is queued.
    #[must_use]
    pub const fn class(&self) -> Class {
        self.class
    }

    /// Whether a relay on the way had a long queue.
    #[must_use]
    pub const fn congested(&self) -> bool {
        self.congested
    }

    /// A relay with a long queue says so. The mark is never taken away.
    pub const fn mark_congested(&mut self) {
        self.congested = true;
    }

    /// How often it may still be relayed.
    #[must_use]
    pub const fn ttl(&self) -> u8 {
        self.ttl
    }

    /// How often its path may still be repaired.
    #[must_use]
    pub const fn repairs_left(&self) -> u8 {
        self.repairs_left
    }

    /// Whose traffic it is.
    #[must_use]
    pub const fn tenant(&self) -> u32 {
        self.tenant
    }

    /// Its path.
    #[must_use]
    pub const fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the next step on the path, at a node that received the message over its link `arrived_on`. The one place
    /// where labels are used up and the ttl falls; a message for this node arrives whatever its ttl says.
    pub fn step(&mut self, arrived_on: u16) -> Step {
        let hop = usize::from(self.path.hop);
        if self.path.hop == self.path.length {
            return Step::Arrived;
        }
        if self.ttl == 0 {
            return Step::Expired;
        }
        self.ttl -= 1;
        self.path.hop += 1;
        Step::Relay(core::mem::replace(&mut self.path.labels[hop], arrived_on))
    }

    /// Bytes it takes.
    #[must_use]
    pub const fn encoded_len(&self) -> usize {
        RELAY_HEADER + 2 * self.path.length as usize
    }

    pub(super) fn write(&self, header_len: u16, payload_len: u32, out: &mut Vec<u8>) {
        out.extend_from_slice(&[
            self.kind as u8,
            self.class as u8,
            u8::from(self.congested),
            self.ttl,
            self.repairs_left,
            self.path.length,
            self.path.hop,
            0,
        ]);
        out.extend_from_slice(&self.tenant.to_le_bytes());
        out.extend_from_slice(&header_len.to_le_bytes());
        out.extend_from_slice(&payload_len.to_le_bytes());
        for label in self.path.labels() {
            out.extend_from_slice(&label.to_le_bytes());
        }
    }

    /// Reads a relay header at the start of `bytes`; the lengths it gives lie within `bytes`. `None` in the place of the header
    /// is a message of a kind that is not known here and may be skipped. An error says how far into the bytes the fault is.
    pub(super) fn parse(bytes: &[u8]) -> Result<(Option<Self>, Lengths, usize), (usize, Fault)> {
        let Some((fixed, rest)) = bytes.split_first_chunk::<RELAY_HEADER>() else {
            return Err((0, Fault::Cut));
        };
        let &[
            kind,
            class,
            flags,
            ttl,
            repairs_left,
            length,
            hop,
            reserved,
            t0,
            t1,
            t2,
            t3,
            h0,
            h1,
            p0,
            p1,
            p2,
            p3,
        ] = fixed;
        let known = Kind::from_number(kind);
        if known.is_none() && kind < OPTIONAL_KINDS {
            return Err((0, Fault::Kind(kind)));
        }
        let class = Class::from_number(class).ok_or((1, Fault::Class(class)))?;
        if flags > 1 {
            return Err((2, Fault::Flags(flags)));
        }
        if usize::from(length) > MAX_PATH {
            return Err((5, Fault::PathLength(length)));
        }
        if hop > length {
            return Err((6, Fault::HopIndex { hop, length }));
        }
        if reserved != 0 {
            return Err((7, Fault::Reserved(reserved)));
        }
        if let Some(kind) = known
            && kind.is_local()
            && length > 0
        {
            return Err((5, Fault::PathForbidden(kind)));
        }
        let lengths = Lengths {
            header: usize::from(u16::from_le_bytes([h0, h1])),
            payload: u32::from_le_bytes([p0, p1, p2, p3]) as usize,
        };
        let path_bytes = 2 * usize::from(length);
        let after_path = rest.len().checked_sub(path_bytes).ok_or((0, Fault::Cut))?;
        let after_header = after_path.checked_sub(lengths.header).ok_or((0, Fault::Cut))?;
        after_header.checked_sub(lengths.payload).ok_or((0, Fault::Cut))?;
        let mut path = Path { labels: [0; MAX_PATH], length, hop };
        for (label, pair) in path.labels.iter_mut().zip(rest[..path_bytes].chunks_exact(2)) {
            *label = u16::from_le_bytes([pair[0], pair[1]]);
        }
        let tenant = u32::from_le_bytes([t0, t1, t2, t3]);
        let relay =
            known.map(|kind| Self { kind, class, congested: flags == 1, ttl, repairs_left, tenant, path });
        Ok((relay, lengths, RELAY_HEADER + path_bytes))
    }
}
