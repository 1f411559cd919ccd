//! The seal of a stream whose group lost its quorum: what is told, and why it is refused.

use alloc::string::String;
use alloc::vec::Vec;

use crate::id::{AuthorityEpoch, LogIndex, NodeId, Sequence, Term};
use crate::recovery::LogPlace;

/// Where a survivor's log of a stream ends, for good unless a founder says otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamEnd {
    /// The highest term it entered.
    pub term: Term,
    /// The last entry.
    pub last: LogPlace,
    /// The last entry that it knows to be committed.
    pub certain: LogPlace,
    /// The terms of the log behind that, each with its first entry; oldest first, the last [`crate::recovery::TRAIL_TERMS_MAX`] of them.
    pub terms: Vec<(Term, LogIndex)>,
    /// The last message of which the survivor heard from those who are lost, whether it holds it or not.
    pub heard: Sequence,
}

/// A stream whose group lost its quorum, as far as it is sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// The authority under which it goes on.
    pub authority: AuthorityEpoch,
    /// Everybody who was ever named lost.
    pub lost: Vec<NodeId>,
    /// Survivors that have not said where their logs end.
    pub waits_for: Vec<NodeId>,
    /// Whose log is gone on from, and where it ended.
    pub end: Option<(NodeId, LogPlace)>,
    /// The last message in front of that end. What was accepted above it is void (rule D3).
    pub sequence: Option<Sequence>,
    /// The last message of which any survivor heard from those who are lost; they may have accepted more.
    pub heard: Sequence,
    /// The seals before this one, oldest first: the authority that began, and the last message in front of it; 0 if whoever knew is lost, too.
    pub former: Vec<(AuthorityEpoch, Sequence)>,
}

/// Why a stream was not sealed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealRefusal {
    /// Nobody was named.
    #[error(
        "name the members of the stream's group that are lost for good, as `wattle stream list` calls them"
    )]
    NobodyLost,
    /// A named one has no part in it.
    #[error("{0} is neither source nor target of this stream")]
    NotOfStream(String),
    /// There is no need.
    #[error(
        "without {0} the group of this stream still has a quorum, and cannot be sealed: it goes on. What is not processed by all targets is kept until the source is full: take targets out that are gone for good, `wattle stream members --detach`"
    )]
    Quorum(String),
    /// There is nobody to go on.
    #[error("nobody of this stream's group would be left: `wattle stream close` ends the stream")]
    NobodyLeft,
    /// A named one lives.
    #[error(
        "{0}, named lost, can be reached now: bring its node to an end for good first, or have it leave the mesh"
    )]
    LostReachable(String),
    /// A named one may only be late.
    #[error(
        "no path leads to {0}, named lost, but not for long enough to tell that it is not about to come: ask again in a few seconds"
    )]
    NotMissed(String),
}
