//! Frame codec: what the bytes of a connection look like.
//!
//! A connection is a sequence of *frames*. A frame is a header of 12 bytes and a batch of whole messages; messages never
//! straddle frames. All numbers are little endian.
//!
//! ```text
//! frame    magic "WTLE" 4 · version u16 · type u16 · size u32 · then `size` bytes of messages
//! message  kind u8 · class u8 · flags u8 · ttl u8 · repairs left u8 · path length u8 · hop index u8 · reserved u8
//!          · tenant u32 · header length u16 · payload length u32
//!          · path: `path length` labels of u16 · Protobuf header · payload
//! ```
//!
//! The *relay header* is everything before the Protobuf header: all that a relay reads or writes. Labels from the hop index
//! on are still to be used; as a relay consumes a label it writes the label of the link the message arrived on in its
//! place, so that the consumed part, read backwards, is the way back.
//!
//! Versions: the frame header keeps this layout for ever, and a [`FrameKind::Hello`] always bears version 1, so that any
//! two ends can at least agree on a version; every other frame bears the version agreed on. Frame types and message kinds
//! with the highest bit set may be skipped by an end that does not know them, all others that are unknown are refused, and so are
//! unknown classes, flags and reserved bytes other than zero. A message of a known kind whose Protobuf body holds none of the alternatives that an
//! end knows is skipped by it; only a hello must be one.
//!
//! Sizes are checked against the limit of the connection before anything is allocated for them: [`HANDSHAKE_FRAME`] until
//! the handshake is done, then what both ends agreed on, at most [`MAX_FRAME`].

mod decoder;
mod relay;
#[cfg(test)]
mod tests;
mod walk;
mod writer;

use bytes::Bytes;

pub use decoder::{Decoder, Frame, Messages};
pub use relay::{Class, Kind, Path, RelayHeader, Step, TooLong};
pub use walk::{Glance, Walk};
pub use writer::{FrameWriter, Full};

/// The first bytes of every frame.
pub const MAGIC: [u8; 4] = *b"WTLE";
/// The versions of the protocol spoken here, lowest and highest.
pub const VERSIONS: (u16, u16) = (1, 1);
/// Bytes before the messages of a frame.
pub const FRAME_HEADER: usize = 12;
/// Bytes of a relay header without its path.
pub const RELAY_HEADER: usize = 18;
/// The most labels a path may have: the most relays between two ends.
pub const MAX_PATH: usize = 15;
/// The most message bytes a frame may hold once the handshake is done.
pub const MAX_FRAME: usize = 4 << 20;
/// The most message bytes a frame may hold before that.
pub const HANDSHAKE_FRAME: usize = 64 << 10;

/// What a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u16)]
pub enum FrameKind {
    /// Opens a connection, from both ends: exactly one message of kind [`Kind::Link`], in version 1 whatever is agreed on.
    Hello = 1,
    /// One message or more.
    Batch = 2,
}

impl FrameKind {
    const fn from_number(number: u16) -> Option<Self> {
        match number {
            1 => Some(Self::Hello),
            2 => Some(Self::Batch),
            _ => None,
        }
    }
}

/// Frame types from here on may be skipped by an end that does not know them.
const OPTIONAL_FRAMES: u16 = 0x8000;
/// Message kinds from here on may be skipped by an end that does not know them.
const OPTIONAL_KINDS: u8 = 0x80;

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// What relays read and write.
    pub relay: RelayHeader,
    /// The Protobuf header, read by the ends only.
    pub header: Bytes,
    /// The payload, read by the ends only.
    pub payload: Bytes,
}

impl Message {
    /// Bytes it takes within a frame.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        self.relay.encoded_len() + self.header.len() + self.payload.len()
    }
}

/// Why the bytes of a connection were refused, and where. Nothing after that place can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{fault} at byte {offset} of the connection")]
pub struct FrameError {
    /// Offset of the first byte of what was refused, counted from the start of the connection.
    pub offset: u64,
    /// What is wrong there.
    pub fault: Fault,
}

/// What can be wrong with the bytes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Not this protocol.
    #[error("not a Wattle frame (it must begin with WTLE)")]
    Magic,
    /// A version that is not spoken here.
    #[error("frame of version {0}, which is not spoken here")]
    Version(u16),
    /// A frame type that is not known and must not be skipped.
    #[error("unknown frame type {0}")]
    FrameType(u16),
    /// More than may be sent now.
    #[error("frame of {size} bytes, over the limit of {limit}")]
    TooLarge {
        /// What the frame says.
        size: u32,
        /// The limit now.
        limit: u32,
    },
    /// No message in it.
    #[error("empty frame")]
    Empty,
    /// A hello with anything but one message of kind link in it.
    #[error("hello frame that does not hold exactly one link message")]
    Hello,
    /// The frame ends within a message.
    #[error("message cut off by the end of its frame")]
    Cut,
    /// A kind that is not known and must not be skipped.
    #[error("unknown message kind {0}")]
    Kind(u8),
    /// Unknown class.
    #[error("unknown message class {0}")]
    Class(u8),
    /// Unknown flags.
    #[error("unknown message flags {0:#04x}")]
    Flags(u8),
    /// A reserved byte that is not zero.
    #[error("reserved byte that is {0}, not 0")]
    Reserved(u8),
    /// More labels than a path may have.
    #[error("path of {0} labels")]
    PathLength(u8),
    /// A hop index behind the end of the path.
    #[error("hop index {hop} in a path of {length} labels")]
    HopIndex {
        /// The hop index.
        hop: u8,
        /// The number of labels.
        length: u8,
    },
    /// A path where the kind is for neighbours only.
    #[error("message of kind {0:?}, for neighbours only, with a path")]
    PathForbidden(Kind),
}
