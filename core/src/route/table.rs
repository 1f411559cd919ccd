//! What every node last said about its links.

use alloc::collections::{BTreeMap, BTreeSet};
use core::cmp::Ordering;

use super::message::{Announcement, LinkState, Rank, TableDigest};
use crate::id::NodeId;
use crate::planted::{Bug, Planted};
use crate::time::{Instant, Span};

/// A link state as it came.
#[derive(Clone, Debug)]
struct Entry {
    state: LinkState,
    /// Its age when it came.
    age: Span,
    came: Instant,
    /// By how many changes of links the table was what it is when this one's links came.
    links_as_of: u64,
}

impl Entry {
    fn age(&self, now: Instant) -> Span {
        self.age + now.since(self.came)
    }
}

/// Link states, at most one per origin.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    entries: BTreeMap<NodeId, Entry>,
    /// How often a state came that says anything else of its links than the one before.
    changes: u64,
    pub(super) planted: Planted,
}

/// How a link state stands to the one in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is newer, or there is none.
    News,
    /// It is known.
    Known,
    /// A newer one is known.
    Stale,
}

/// What became of a link state that was offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Offered {
    /// It is news; `links` tells whether it says anything else than the one before.
    Taken { links: bool },
    /// One as new is known.
    Refused,
}

impl Table {
    pub(super) fn new(planted: Planted) -> Self {
        Self { entries: BTreeMap::new(), changes: 0, planted }
    }

    pub(super) fn get(&self, origin: NodeId) -> Option<&LinkState> {
        self.entries.get(&origin).map(|entry| &entry.state)
    }

    pub(super) fn origins(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.entries.keys().copied()
    }

    pub(super) fn states(&self) -> impl Iterator<Item = &LinkState> {
        self.entries.values().map(|entry| &entry.state)
    }

    /// All states, each with a number that is another one whenever its links are.
    pub(super) fn numbered_states(&self) -> impl Iterator<Item = (&LinkState, u64)> {
        self.entries.values().map(|entry| (&entry.state, entry.links_as_of))
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether a state of `origin` that ranks so is newer than the one known (T1).
    pub(super) fn standing(&self, origin: NodeId, rank: Rank<'_>) -> Standing {
        let Some(known) = self.get(origin).map(LinkState::rank) else { return Standing::News };
        let lower = || known.1 >= rank.1;
        match known.cmp(&rank) {
            Ordering::Equal => Standing::Known,
            Ordering::Greater => Standing::Stale,
            Ordering::Less if self.planted.strikes(Bug::GenerationNotCompared, lower) => Standing::Stale,
            Ordering::Less => Standing::News,
        }
    }

    /// Takes a state in that is news. `true` if it says anything else of the links than the one before.
    pub(super) fn put(&mut self, now: Instant, state: LinkState, age: Span) -> bool {
        let known = self.entries.get(&state.origin()).filter(|known| known.state.same_links(&state));
        let known = known.map(|known| known.links_as_of);
        let links_as_of = known.unwrap_or_else(|| {
            self.changes += 1;
            self.changes
        });
        self.entries.insert(state.origin(), Entry { state, age, came: now, links_as_of });
        known.is_none()
    }

    /// Takes a state in if it is news.
    pub(super) fn offer(&mut self, now: Instant, state: LinkState, age: Span) -> Offered {
        match self.standing(state.origin(), state.rank()) {
            Standing::News => Offered::Taken { links: self.put(now, state, age) },
            Standing::Known | Standing::Stale => Offered::Refused,
        }
    }

    /// A state with its age now.
    pub(super) fn announcement(&self, now: Instant, origin: NodeId) -> Option<Announcement> {
        self.entries.get(&origin).map(|entry| entry.state.announcement(entry.age(now)))
    }

    /// Forgets whoever is not among `members`. `true` if there was somebody.
    pub(super) fn keep(&mut self, members: &BTreeSet<NodeId>) -> bool {
        let before = self.len();
        self.entries.retain(|origin, _| members.contains(origin));
        self.len() < before
    }

    /// Forgets states, other than that of `own`, that nobody has announced anew for `lifetime`. `true` if there were any. Who is stopped
    /// announces nothing, and is stopped still.
    pub(super) fn expire(&mut self, now: Instant, lifetime: Span, own: NodeId) -> bool {
        let before = self.len();
        let counts = |entry: &Entry| entry.state.is_stopped() || entry.age(now) < lifetime;
        self.entries.retain(|origin, entry| *origin == own || counts(entry));
        self.len() < before
    }

    /// What neighbours compare.
    pub(super) fn digest(&self) -> TableDigest {
        let mut hasher = blake3::Hasher::new();
        for state in self.states() {
            hasher.update(&state.origin().to_bytes());
            let (generation, sequence) = state.version();
            hasher.update(&generation.0.to_le_bytes());
            hasher.update(&sequence.to_le_bytes());
            if !self.planted.strikes(Bug::StoppedNotCompared, || state.is_stopped()) {
                hasher.update(&[u8::from(state.is_stopped())]);
            }
        }
        let mut digest = [0; 16];
        digest.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        TableDigest(digest)
    }
}
