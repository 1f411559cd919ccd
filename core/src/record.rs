//! What parts ask to have written. A record is the unit of meaning, a row of the journal the unit of writing: all records of
//! one step share one row and so become durable together or not at all.

use bytes::Bytes;

use crate::payload::Payload;

/// The part a record belongs to. The number is stored: never reuse one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Owner {
    /// The node itself: identity and generation.
    Node = 1,
    /// The control group's state.
    Mesh = 2,
    /// Consensus groups.
    Raft = 3,
    /// Streams.
    Stream = 4,
}

impl Owner {
    /// The owner of that stored number.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Node,
            2 => Self::Mesh,
            3 => Self::Raft,
            4 => Self::Stream,
            _ => return None,
        })
    }
}

/// Names a record. Of two records with equal keys the later one is alive; the earlier is dead and may be trimmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Whose record.
    pub owner: Owner,
    /// The owner's own division (state, log, payloads, marks ...).
    pub space: u8,
    /// What it is about: a group, a stream instance, a node.
    pub id: u128,
    /// Place within (owner, space, id); 0 for state that is overwritten.
    pub slot: u64,
}

/// A record to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its name.
    pub key: Key,
    /// The last slot it covers (a run of log entries covers several); equals `key.slot` for most.
    pub last_slot: u64,
    /// What the owner reads back at recovery. Small.
    pub head: Bytes,
    /// Bytes the owner does not read at recovery but may load later. Any size; never copied on the way to the disk.
    pub payload: Payload,
}

impl Record {
    /// A record that covers its own slot and has no payload.
    #[must_use]
    pub fn state(key: Key, head: Bytes) -> Self {
        Self { key, last_slot: key.slot, head, payload: Payload::new() }
    }
}

/// All records of (owner, space, id) whose last slot lies below `below` are dead from this step on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forget {
    /// Whose records.
    pub owner: Owner,
    /// The owner's division.
    pub space: u8,
    /// What they are about.
    pub id: u128,
    /// The first slot that stays. `u64::MAX` forgets all.
    pub below: u64,
}

/// What the record of a thing says of all records of that thing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// A thing that begins anew is in another history: what was settled in one is not in another.
    pub history: u64,
    /// What lies in this history up to that slot was settled when the record was written.
    pub upto: u64,
}

/// A stored record that passes its checksum and yet makes no sense to its owner: written by a newer version, or damaged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("record {key:?} cannot be read: {what}")]
pub struct Damaged {
    /// Which record.
    pub key: Key,
    /// What is wrong with it.
    pub what: alloc::string::String,
}
