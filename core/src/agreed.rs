//! Words of agreed configuration: what is asked of the table that all members hold alike, and what is answered.
//!
//! Every write is an entry of the control group's log, and the *version* of what it wrote is that entry's index: it grows with each write, over all
//! keys together, and never comes twice.

use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;

use crate::id::LogIndex;
use crate::time::{Span, Wall};

/// Longest key.
pub const KEY_BYTES_MAX: usize = 256;
/// Largest value.
pub const VALUE_BYTES_MAX: usize = 64 << 10;
/// Most keys.
pub const KEYS_MAX: usize = 10_000;
/// What all keys and values may take of the stored state, in which others need room.
pub const CONFIG_BYTES_MAX: usize = 1 << 20;
/// Most settings changed together.
pub const CHANGES_MAX: usize = 16;
/// Most records of one page of a listing.
pub const PAGE_MAX: u32 = 1_000;

/// What a write expects to find.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Expected {
    /// Whatever is there.
    #[default]
    Any,
    /// No such key.
    Absent,
    /// What that entry wrote.
    Version(LogIndex),
}

impl Expected {
    /// As a number: 0 stands for a key that is not there, which no entry wrote.
    #[must_use]
    pub const fn to_number(self) -> Option<u64> {
        match self {
            Self::Any => None,
            Self::Absent => Some(0),
            Self::Version(version) => Some(version.0),
        }
    }

    /// Reads the number.
    #[must_use]
    pub const fn from_number(number: Option<u64>) -> Self {
        match number {
            None => Self::Any,
            Some(0) => Self::Absent,
            Some(version) => Self::Version(LogIndex(version)),
        }
    }

    /// Whether a key whose value has that version (`None`: there is none) is as expected.
    #[must_use]
    pub fn fits(self, present: Option<LogIndex>) -> bool {
        match self {
            Self::Any => true,
            Self::Absent => present.is_none(),
            Self::Version(version) => present == Some(version),
        }
    }
}

/// How fresh an answer must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Consistency {
    /// It holds every write that was answered before the question was asked, wherever. Needs a quorum.
    #[default]
    Linearizable,
    /// What the asked node has applied, and how long ago. Always answered.
    Local,
}

/// A wish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigCommand {
    /// Give a key a value. Answered by [`ConfigReply::Written`].
    Set {
        /// The key.
        key: String,
        /// The value.
        value: Bytes,
        /// What must be there before.
        expected: Expected,
    },
    /// Take a key away. Answered by [`ConfigReply::Deleted`].
    Delete {
        /// The key.
        key: String,
        /// What must be there before.
        expected: Expected,
    },
    /// Give the mesh a new join key, in place of the one before. Answered by [`ConfigReply::KeyRotated`].
    RotateKey {
        /// How long it is good; `None` for ever.
        lifetime: Option<Span>,
        /// How many nodes it admits; `None` for any number.
        uses: Option<u32>,
    },
    /// Change settings of the mesh itself, all or none. Answered by [`ConfigReply::Written`].
    Configure {
        /// Keys and their values; `None` takes a key away, so that the default counts again.
        changes: Vec<(String, Option<Bytes>)>,
        /// The version that the settings must have, if it matters; 0 while none was ever changed.
        expected: Option<LogIndex>,
    },
    /// What the settings of the mesh are. Answered by [`ConfigReply::Settings`].
    Settings {
        /// How fresh the answer must be.
        consistency: Consistency,
    },
    /// Read a key. Answered by [`ConfigReply::Record`].
    Get {
        /// The key.
        key: String,
        /// How fresh the answer must be.
        consistency: Consistency,
    },
    /// Read all keys that begin so, in order, a page at a time. Answered by [`ConfigReply::Listed`].
    List {
        /// How they begin.
        prefix: String,
        /// Only keys behind this one; empty for the first page.
        after: String,
        /// How many at most; 0 for [`PAGE_MAX`].
        limit: u32,
        /// How fresh the answer must be.
        consistency: Consistency,
    },
    /// What is written under keys that begin so. Answered by [`ConfigReply::Changes`], once: as soon as there is something to tell, or else
    /// after a while with nothing. Whoever watches asks again from [`ConfigReply::Changes`]`::upto`.
    Watch {
        /// How they begin.
        prefix: String,
        /// Only what was written by later entries; `None` to begin with all that is there.
        after: Option<LogIndex>,
    },
}

impl ConfigCommand {
    /// About how many bytes it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        64 + match self {
            Self::Set { key, value, .. } => key.len() + value.len(),
            Self::Configure { changes, .. } => changes.iter().map(change_bytes).sum(),
            Self::Settings { .. } | Self::RotateKey { .. } => 0,
            Self::Delete { key, .. } | Self::Get { key, .. } => key.len(),
            Self::List { prefix, after, .. } => prefix.len() + after.len(),
            Self::Watch { prefix, .. } => prefix.len(),
        }
    }
}

fn change_bytes((key, value): &(String, Option<Bytes>)) -> usize {
    key.len() + value.as_ref().map_or(0, Bytes::len)
}

/// Who may join.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum JoinPolicy {
    /// Whoever knows where a member is, and its key's hash: no secret is asked for.
    Open,
    /// Whoever shows the mesh's join key, or a token that a member made.
    #[default]
    KeyRequired,
    /// Nobody.
    Closed,
}

impl JoinPolicy {
    /// All of them, by name.
    pub const ALL: [(&'static str, Self); 3] =
        [("open", Self::Open), ("key_required", Self::KeyRequired), ("closed", Self::Closed)];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        Self::ALL[self as usize].0
    }

    /// The one of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, policy)| *policy)
    }
}

/// What everybody may know of the mesh's join key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyStatus {
    /// The entry that set it.
    pub version: LogIndex,
    /// When it stops being good; `None` if never.
    pub expiry: Option<Wall>,
    /// How many nodes it admits; `None` for any number.
    pub uses: Option<u32>,
    /// How many it admitted.
    pub used: u32,
}

/// The settings of the mesh itself, as its members agreed on them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MeshSettings {
    /// The entry that last changed any of them; 0 if none ever did.
    pub version: LogIndex,
    /// The name of the mesh, if it is no longer the one it was made under.
    pub name: Option<String>,
    /// What it is for, in words.
    pub description: Option<String>,
    /// How many members shall vote in the control group, as far as there are enough; `None` leaves it to each leader's own settings.
    pub voters: Option<usize>,
    /// Who may join.
    pub join_policy: JoinPolicy,
}

/// A key and what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigRecord {
    /// The key.
    pub key: String,
    /// Its value.
    pub value: Bytes,
    /// The entry that wrote it.
    pub version: LogIndex,
    /// The entry that wrote the key when it was not there.
    pub created: LogIndex,
}

/// A write that was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigChange {
    /// The key.
    pub key: String,
    /// The entry that did it.
    pub version: LogIndex,
    /// What is there since; `None` if the key was taken away.
    pub record: Option<ConfigRecord>,
}

/// From when an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadPoint {
    /// The last entry that the answering node had applied.
    pub applied: LogIndex,
    /// What the answer was asked for as.
    pub consistency: Consistency,
    /// How long ago the node applied its last entry: nothing newer has reached it since. `None` if it has applied none since it started.
    pub age: Option<Span>,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigReply {
    /// The key has the value.
    Written {
        /// The entry that wrote it.
        version: LogIndex,
    },
    /// The key is gone.
    Deleted {
        /// The entry that took it away.
        version: LogIndex,
    },
    /// The mesh has a new join key.
    KeyRotated {
        /// To be given to `mesh join`. Nobody keeps it.
        text: String,
        /// What everybody may know of it.
        key: KeyStatus,
    },
    /// The settings of the mesh.
    Settings {
        /// What they are.
        settings: MeshSettings,
        /// The mesh's join key, if it has one.
        key: Option<KeyStatus>,
        /// From when this is.
        at: ReadPoint,
    },
    /// What a key holds.
    Record {
        /// `None` if there is no such key.
        record: Option<ConfigRecord>,
        /// From when this is.
        at: ReadPoint,
    },
    /// A page of a listing.
    Listed {
        /// In order of their keys.
        records: Vec<ConfigRecord>,
        /// Whether there are more behind the last one.
        more: bool,
        /// From when this is; each page is from its own moment.
        at: ReadPoint,
    },
    /// What was written.
    Changes {
        /// Whether this is a listing of all that is there, in place of whatever was told before: what was written since is no longer known one by one.
        fresh: bool,
        /// In the order in which they were done; in order of keys in a fresh listing.
        changes: Vec<ConfigChange>,
        /// Everything up to this entry has been told.
        upto: LogIndex,
    },
}

/// Why a wish was not done. Nothing of it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigRefusal {
    /// The key does not hold what was expected.
    #[error("{key:?} {}: it was not written", stands(*present))]
    Conflict {
        /// The key.
        key: String,
        /// The version of what is there; `None` if there is no such key.
        present: Option<LogIndex>,
    },
    /// The settings of the mesh have another version than was expected.
    #[error(
        "the settings of the mesh stand at version {present}, which is not what was expected: none was changed"
    )]
    SettingsConflict {
        /// The version they have.
        present: LogIndex,
    },
    /// A key that is not there cannot be taken away.
    #[error("there is no key {0:?}")]
    UnknownKey(String),
    /// A key or prefix that cannot be one.
    #[error("{0}")]
    BadKey(String),
    /// A value over the limit.
    #[error("a value of {got} bytes is over the limit of {limit}")]
    ValueTooLarge {
        /// Its size.
        got: u64,
        /// The limit.
        limit: u64,
    },
    /// There is no room.
    #[error("{0}")]
    Full(String),
    /// The handler of a reserved key does not take the value.
    #[error("{key:?} does not take this value: {why}")]
    Refused {
        /// The key.
        key: String,
        /// What would be taken.
        why: String,
    },
}

fn stands(present: Option<LogIndex>) -> String {
    match present {
        Some(version) => alloc::format!("stands at version {version}, which is not what was expected"),
        None => String::from("is not there, which is not what was expected"),
    }
}
