//! What every node last said about its links.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;

use super::message::{Aged, LinkState, TableDigest};
use crate::id::NodeId;
use crate::planted::{Bug, Planted};
use crate::time::{Instant, Span};

/// A link state as it came.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) state: Arc<LinkState>,
    /// Its age when it came.
    pub(super) age: Span,
    pub(super) came: Instant,
}

impl Entry {
    pub(super) fn age(&self, now: Instant) -> Span {
        self.age + now.since(self.came)
    }

    /// The state with its age now.
    pub(super) fn aged(&self, now: Instant) -> Aged {
        Aged { state: self.state.clone(), age: self.age(now) }
    }
}

/// Link states, at most one per origin.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    entries: BTreeMap<NodeId, Entry>,
    pub(super) planted: Planted,
}

/// What became of a link state that was offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Offered {
    /// It is news; `links` tells whether it says anything else than the one before.
    Taken { links: bool },
    /// It is known.
    Known,
    /// A newer one is known.
    Stale,
}

impl Table {
    pub(super) fn new(planted: Planted) -> Self {
        Self { entries: BTreeMap::new(), planted }
    }

    pub(super) fn get(&self, origin: NodeId) -> Option<&Arc<LinkState>> {
        self.entries.get(&origin).map(|entry| &entry.state)
    }

    pub(super) fn origins(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.entries.keys().copied()
    }

    pub(super) fn states(&self) -> impl Iterator<Item = &Arc<LinkState>> {
        self.entries.values().map(|entry| &entry.state)
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Takes a state in if it is newer than the one known (T1).
    pub(super) fn offer(&mut self, now: Instant, aged: &Aged) -> Offered {
        let Aged { state, age } = aged;
        let links = match self.entries.get(&state.origin) {
            Some(known)
                if known.state >= *state
                    || self
                        .planted
                        .strikes(Bug::GenerationNotCompared, || known.state.sequence >= state.sequence) =>
            {
                return if known.state == *state { Offered::Known } else { Offered::Stale };
            }
            Some(known) => known.state.adjacencies != state.adjacencies,
            None => true,
        };
        self.entries.insert(state.origin, Entry { state: state.clone(), age: *age, came: now });
        Offered::Taken { links }
    }

    /// A state with its age now.
    pub(super) fn aged(&self, now: Instant, origin: NodeId) -> Option<Aged> {
        self.entries.get(&origin).map(|entry| entry.aged(now))
    }

    /// Forgets whoever is not among `members`. `true` if there was somebody.
    pub(super) fn keep(&mut self, members: &BTreeSet<NodeId>) -> bool {
        let before = self.len();
        self.entries.retain(|origin, _| members.contains(origin));
        self.len() < before
    }

    /// Forgets states, other than that of `own`, that nobody has announced anew for `lifetime`. `true` if there were any.
    pub(super) fn expire(&mut self, now: Instant, lifetime: Span, own: NodeId) -> bool {
        let before = self.len();
        self.entries.retain(|origin, entry| *origin == own || entry.age(now) < lifetime);
        self.len() < before
    }

    /// What neighbours compare.
    pub(super) fn digest(&self) -> TableDigest {
        let mut hasher = blake3::Hasher::new();
        for state in self.states() {
            hasher.update(&state.origin.to_bytes());
            hasher.update(&state.generation.0.to_le_bytes());
            hasher.update(&state.sequence.to_le_bytes());
        }
        let mut digest = [0; 16];
        digest.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        TableDigest(digest)
    }
}
