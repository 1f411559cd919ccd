//! What the two ends of a pair tell each other.

use alloc::vec::Vec;
use core::fmt;

use xxhash_rust::xxh3::xxh3_128;

use crate::id::{BootId, Generation, GroupId, Term};
use crate::time::Span;

/// Digest of a list of groups that one node leads for another: the sum of what stands for each group, so that one more or less costs as much in a
/// long list as in a short one. It tells lists apart that came about by chance; the sender may say of itself what it likes anyway.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct LeadsDigest(pub [u8; 16]);

impl LeadsDigest {
    /// Of a list, in any order.
    #[must_use]
    pub fn of(groups: &[(GroupId, Term)]) -> Self {
        groups.iter().fold(Self::default(), |digest, led| digest.with(*led))
    }

    /// With one group more.
    #[must_use]
    pub(super) fn with(self, led: (GroupId, Term)) -> Self {
        Self(u128::from_le_bytes(self.0).wrapping_add(Self::one(led)).to_le_bytes())
    }

    /// Without one of its groups.
    #[must_use]
    pub(super) fn without(self, led: (GroupId, Term)) -> Self {
        Self(u128::from_le_bytes(self.0).wrapping_sub(Self::one(led)).to_le_bytes())
    }

    fn one((group, term): (GroupId, Term)) -> u128 {
        let mut bytes = [0; 24];
        bytes[..16].copy_from_slice(&group.to_bytes());
        bytes[16..].copy_from_slice(&term.0.to_le_bytes());
        xxh3_128(&bytes)
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
