//! The words that are never mixed, each a type of its own.

use core::fmt;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }

        impl $name {
            /// The number after this one.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0 + 1)
            }

            /// The number before this one, or zero.
            #[must_use]
            pub const fn before(self) -> Self {
                Self(self.0.saturating_sub(1))
            }
        }
    };
}

macro_rules! identity {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u128);

        impl $name {
            /// 16 bytes, big endian: the form on the wire and on disk.
            #[must_use]
            pub const fn to_bytes(self) -> [u8; 16] {
                self.0.to_be_bytes()
            }

            /// Reads the 16-byte form; `None` for any other length.
            #[must_use]
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                Some(Self(u128::from_be_bytes(bytes.try_into().ok()?)))
            }

            /// Reads the 26-character text form (Crockford base 32, either case).
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                parse_base32(text).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_base32(self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_base32(self.0, f)
            }
        }
    };
}

identity!(
    /// A node: BLAKE3 of its first Ed25519 key, derived once and then stored.
    NodeId
);
identity!(
    /// A mesh, made when it is seeded.
    MeshId
);
identity!(
    /// A consensus group. [`GroupId::CONTROL`] is the mesh control group; every other group bears the id of its stream instance.
    GroupId
);
identity!(
    /// One life of a stream, fresh at each creation, so that a stream opened again under an old name shares nothing with it.
    StreamInstance
);
identity!(
    /// A publisher that numbers its messages from 1 without gaps.
    WriterId
);
identity!(
    /// Drawn at random at each start of a node. Scopes credits, labels and pair sessions.
    BootId
);
identity!(
    /// A group member's disk history: drawn when a replica starts blank, replaced when its disk was rolled back.
    ReplicaId
);
identity!(
    /// The id of one message (a ULID: 48 bits of milliseconds, 80 bits that make it unique).
    MessageId
);

identity!(
    /// Names an update for all its repeats; given by the sender.
    UpdateId
);

impl GroupId {
    /// The mesh control group.
    pub const CONTROL: Self = Self(0);
}

impl From<StreamInstance> for GroupId {
    fn from(instance: StreamInstance) -> Self {
        Self(instance.0)
    }
}

impl From<GroupId> for StreamInstance {
    fn from(group: GroupId) -> Self {
        Self(group.0)
    }
}

number!(
    /// Grows by one at each start of a node; persisted.
    Generation(u64)
);
number!(
    /// A Raft term.
    Term(u64)
);
number!(
    /// A position in a group's log; the first entry has index 1.
    LogIndex(u64)
);
number!(
    /// One per start of a stream's source, given at apply of its session entry. 0: no session yet.
    SessionEpoch(u64)
);
number!(
    /// Moved only by the control group, past a lost quorum.
    AuthorityEpoch(u64)
);
number!(
    /// A message's place in its stream; contiguous from 1.
    Sequence(u64)
);
number!(
    /// A message's place among those of its writer; contiguous from 1.
    WriterSequence(u64)
);
number!(
    /// An update's place among those of its kind; contiguous from 1.
    UpdateNumber(u64)
);
number!(
    /// Raised by eviction and by the fenced recovery of the mesh's own quorum.
    MeshEpoch(u64)
);
number!(
    /// Names one attachment of a handler; a newer one fences it.
    AttachToken(u64)
);
number!(
    /// One connection under a link, named by the world that opened it; never used twice in one life of a node.
    LaneId(u64)
);
number!(
    /// Pairs a command of the application with its replies; chosen by the caller, unique while open.
    RequestId(u64)
);
number!(
    /// A row of the journal, and the ticket of its write. Grows by one per write, from 1.
    Ticket(u64)
);

const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

fn write_base32(value: u128, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut text = [0u8; 26];
    for (place, byte) in text.iter_mut().enumerate() {
        let shift = 125 - 5 * place as u32;
        *byte = ALPHABET[(value >> shift) as usize & 31];
    }
    f.pad(core::str::from_utf8(&text).unwrap_or_default())
}

fn parse_base32(text: &str) -> Option<u128> {
    if text.len() != 26 {
        return None;
    }
    text.bytes().try_fold(0u128, |value, byte| {
        let digit = ALPHABET.iter().position(|&c| c == byte.to_ascii_uppercase())?;
        value.checked_mul(32)?.checked_add(digit as u128)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn text_form_survives_a_round_trip_and_refuses_overflow() {
        for value in [0, 1, u128::MAX, 0x0123_4567_89ab_cdef_0011_2233_4455_6677] {
            assert_eq!(NodeId::parse(&NodeId(value).to_string()), Some(NodeId(value)));
        }
        assert_eq!(NodeId::parse("ZZZZZZZZZZZZZZZZZZZZZZZZZZ"), None, "130 bits do not fit");
        assert_eq!(NodeId::parse("short"), None);
    }
}
