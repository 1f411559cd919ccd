//! What the two ends of a pair tell each other.

use alloc::vec::Vec;
use core::fmt;

use crate::id::{BootId, Generation, GroupId, Term};
use crate::time::Span;

/// Digest of a list of groups that one node leads for another.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct LeadsDigest(pub [u8; 16]);

impl LeadsDigest {
    /// Of a list sorted by group.
    #[must_use]
    pub fn of(groups: &[(GroupId, Term)]) -> Self {
        let mut hasher = blake3::Hasher::new();
        for (group, term) in groups {
            hasher.update(&group.to_bytes());
            hasher.update(&term.0.to_le_bytes());
        }
        let mut digest = [0; 16];
        digest.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        Self(digest)
    }
}

impl fmt::Debug for LeadsDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

/// A heartbeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beat {
    /// The sender's start.
    pub boot: BootId,
    /// Its count of starts.
    pub generation: Generation,
    /// Counts the sender's beats to the receiver in this start.
    pub number: u64,
    /// After how long at the most the next one leaves.
    pub pause: Span,
    /// How late its loop ran when it came to its last deadline.
    pub lag: Span,
    /// How long its oldest unsynced write has waited.
    pub oldest_write: Option<Span>,
    /// Digest of the list it leads for the receiver.
    pub leads_digest: LeadsDigest,
    /// Digest of the last list it has from the receiver.
    pub seen_digest: Option<LeadsDigest>,
    /// Part of its list, while the receiver is not known to have it.
    pub leads: Option<LeadsPage>,
}

/// Part of a list of groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeadsPage {
    /// Which, from 0.
    pub page: u32,
    /// Of how many.
    pub pages: u32,
    /// The groups on it, in order.
    pub groups: Vec<(GroupId, Term)>,
}
