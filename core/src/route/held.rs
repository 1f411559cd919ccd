//! Link states of nodes that are no members yet, as far as this node knows.
//!
//! Link states travel as fast as the links allow, and members become known through the log of the control group: the state of a node that
//! has just joined comes before the node is known to be a member. It waits here, so that nobody need be asked for it again: in a
//! growing mesh every node would ask all its neighbours for everything each time.

use alloc::collections::{BTreeMap, BTreeSet};

use super::flood::weight;
use super::message::{Announcement, LinkState};
use super::wire::Malformed;
use crate::id::NodeId;
use crate::time::{Instant, Span};

/// The most bytes held, by the same count as for messages (T6). More than that many a mesh gains at once only while it forms; then
/// whole tables are asked for.
pub(super) const HELD_BYTES_MAX: usize = 256 << 10;

#[derive(Clone, Debug)]
struct Waiting {
    /// The state, encoded: many wait at once while a mesh forms, and most are outdated before they are taken.
    announcement: Announcement,
    came: Instant,
    /// The neighbour it came from.
    from: NodeId,
    /// Grows with each that comes.
    place: u64,
}

impl Waiting {
    fn age(&self, now: Instant) -> Span {
        self.announcement.age + now.since(self.came)
    }
}

/// Link states that wait for their origins to become members, at most one per origin.
#[derive(Clone, Debug, Default)]
pub(super) struct Held {
    waiting: BTreeMap<NodeId, Waiting>,
    /// Origins in the order in which they came.
    order: BTreeMap<u64, NodeId>,
    bytes: usize,
    places: u64,
    /// Whether one was given up that its origin may be missed by, when it becomes a member.
    gave_up: bool,
}

impl Held {
    /// Holds a state unless one as new is held. The oldest make room. What is not news is not read.
    pub(super) fn hold(
        &mut self,
        now: Instant,
        from: NodeId,
        announcement: &Announcement,
    ) -> Result<(), Malformed> {
        let origin = announcement.origin;
        match self.waiting.get(&origin) {
            Some(known) if known.announcement.rank() >= announcement.rank() => return Ok(()),
            Some(known) if known.announcement.links == announcement.links => {}
            _ => drop(announcement.read()?),
        }
        self.remove(origin);
        self.places += 1;
        self.bytes += weight(announcement);
        self.order.insert(self.places, origin);
        let waiting = Waiting { announcement: announcement.to_keep(), came: now, from, place: self.places };
        self.waiting.insert(origin, waiting);
        while self.bytes > HELD_BYTES_MAX {
            let Some((_, &oldest)) = self.order.first_key_value() else { break };
            self.remove(oldest);
            self.gave_up = true;
        }
        Ok(())
    }

    fn remove(&mut self, origin: NodeId) -> Option<Waiting> {
        let waiting = self.waiting.remove(&origin)?;
        self.order.remove(&waiting.place);
        self.bytes -= weight(&waiting.announcement);
        Some(waiting)
    }

    /// The state of an origin that is a member now, the neighbour it came from, and its age.
    pub(super) fn take(&mut self, now: Instant, origin: NodeId) -> Option<(NodeId, LinkState, Span)> {
        let waiting = self.remove(origin)?;
        let state = waiting.announcement.read().expect("what is held could be read when it came");
        Some((waiting.from, state, waiting.age(now)))
    }

    /// Who was a member and is none any more: states of it are in no table, and neighbours need not repeat them.
    pub(super) fn give_up(&mut self) {
        self.gave_up = true;
    }

    /// Whether states were given up since this was asked last.
    pub(super) fn gave_up(&mut self) -> bool {
        core::mem::take(&mut self.gave_up)
    }

    /// Forgets states that count no more because of their age.
    pub(super) fn expire(&mut self, now: Instant, lifetime: Span) {
        let old = self.waiting.iter().filter(|(_, waiting)| waiting.age(now) >= lifetime);
        let old: BTreeSet<NodeId> = old.map(|(origin, _)| *origin).collect();
        old.into_iter().for_each(|origin| drop(self.remove(origin)));
    }

    /// Whose states are held.
    pub(super) fn origins(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.waiting.keys().copied()
    }

    /// How much is held.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}
