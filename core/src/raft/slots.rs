//! Where the replicas of a node live: found by group, by the nodes of their members, and by when they are due.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use super::group::Group;
use super::neighbours::{Moved, Neighbours, Peers};
use super::roles::Standing;
use crate::id::{GroupId, NodeId};
use crate::time::Instant;

/// The place of a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Slot(pub(super) u32);

impl Slot {
    /// Of a replica that has no place yet.
    pub(super) const NONE: Self = Self(u32::MAX);
}

/// All replicas of a node.
#[derive(Clone, Debug)]
pub(super) struct Slots {
    own: NodeId,
    slots: Vec<Option<Box<Group>>>,
    free: Vec<Slot>,
    by_id: BTreeMap<GroupId, Slot>,
    /// How many replicas were ever taken in.
    generations: u32,
    neighbours: Neighbours,
    /// When each is to be woken: at its next deadline, or before it. Most deadlines move before they are reached, and nothing is done here for
    /// that.
    due: BTreeSet<(Instant, Slot)>,
}

impl Slots {
    /// None yet, on `own`.
    pub(super) fn new(own: NodeId) -> Self {
        Self {
            own,
            slots: Vec::new(),
            free: Vec::new(),
            by_id: BTreeMap::new(),
            generations: 0,
            neighbours: Neighbours::default(),
            due: BTreeSet::new(),
        }
    }

    /// Takes a replica in; its group has none here yet.
    pub(super) fn insert(&mut self, mut group: Group) {
        let slot = self.free.pop().unwrap_or_else(|| {
            if self.slots.len() == self.slots.capacity() {
                self.slots.reserve_exact(1 + self.slots.len() / 8);
            }
            self.slots.push(None);
            Slot(self.slots.len() as u32 - 1)
        });
        self.generations += 1;
        (group.slot, group.generation) = (slot, self.generations);
        self.by_id.insert(group.id, slot);
        self.slots[slot.0 as usize] = Some(Box::new(group));
    }

    /// Lets a replica go. Whether it was here.
    pub(super) fn remove(&mut self, id: GroupId) -> bool {
        let Some(slot) = self.by_id.remove(&id) else { return false };
        let Some(group) = self.slots[slot.0 as usize].take() else { return false };
        self.neighbours.unlist(self.own, &group);
        if let Some(at) = group.armed {
            self.due.remove(&(at.instant(), slot));
        }
        self.free.push(slot);
        true
    }

    pub(super) fn find(&self, id: GroupId) -> Option<Slot> {
        self.by_id.get(&id).copied()
    }

    pub(super) fn by_id(&self, id: GroupId) -> Option<&Group> {
        self.slots[self.find(id)?.0 as usize].as_deref()
    }

    /// So many slots there are, taken or free.
    pub(super) fn count(&self) -> u32 {
        self.slots.len() as u32
    }

    pub(super) fn get(&self, slot: Slot) -> Option<&Group> {
        self.slots.get(slot.0 as usize)?.as_deref()
    }

    pub(super) fn get_mut(&mut self, slot: Slot) -> Option<&mut Group> {
        self.slots.get_mut(slot.0 as usize)?.as_deref_mut()
    }

    /// All replicas, in the order of their groups.
    pub(super) fn values(&self) -> impl Iterator<Item = &Group> {
        self.by_id.values().filter_map(|slot| self.slots[slot.0 as usize].as_deref())
    }

    /// The slots of all replicas, in the order of their groups.
    pub(super) fn all(&self) -> Vec<Slot> {
        self.by_id.values().copied().collect()
    }

    /// The replicas whose group has a member on `node`, or follows it.
    pub(super) fn with_member_on(&self, node: NodeId) -> Vec<Slot> {
        self.neighbours.with_member_on(node).collect()
    }

    /// Whose liveness matters.
    pub(super) fn peers(&self) -> Peers {
        self.neighbours.peers()
    }

    /// What changed of the nodes that share groups with this one since the last call, if anything did.
    pub(super) fn take_moved(&mut self) -> Option<Moved> {
        self.neighbours.take_moved()
    }

    /// The replica in a slot may have other members, another leader, or wait for another moment than before.
    pub(super) fn note(&mut self, slot: Slot) {
        let Some(group) = self.slots[slot.0 as usize].as_mut() else { return };
        let stopped = matches!(group.standing, Standing::Stopped { .. });
        if stopped {
            group.wake = None;
        }
        if let Some(wake) = group.wake
            && group.armed.is_none_or(|armed| wake.instant() < armed.instant())
        {
            if let Some(before) = group.armed.replace(wake) {
                self.due.remove(&(before.instant(), slot));
            }
            self.due.insert((wake.instant(), slot));
        }
        if !group.listed {
            self.neighbours.list(self.own, group);
        }
    }

    /// A replica that is due by `now`, if there is one. It is not due any more.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<Slot> {
        let &(at, slot) = self.due.first().filter(|(at, _)| *at <= now)?;
        self.due.remove(&(at, slot));
        if let Some(group) = self.get_mut(slot) {
            group.armed = None;
        }
        Some(slot)
    }

    /// When the next is due, or before.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|&(at, _)| at)
    }

    /// Panics unless every replica is found in every way.
    pub(super) fn check(&self) {
        for (id, slot) in &self.by_id {
            let group =
                self.slots[slot.0 as usize].as_ref().expect("R13: a group is listed that is not here");
            assert_eq!((group.id, group.slot), (*id, *slot), "R13: a group is not where it is looked for");
            let due = group.armed.is_none_or(|at| self.due.contains(&(at.instant(), *slot)));
            assert!(due, "R11: {id} waits for a moment that does not come");
            let woken = group
                .wake
                .is_none_or(|wake| group.armed.is_some_and(|armed| armed.instant() <= wake.instant()));
            assert!(woken, "R11: {id} is to be woken, and nobody will");
        }
        self.neighbours.check(self.own, self.values());
        let here = self.slots.iter().flatten().count();
        assert_eq!((here, self.free.len()), (self.by_id.len(), self.slots.len() - here), "R13: a lost slot");
    }
}
