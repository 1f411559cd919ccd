//! Where the living records are.
//!
//! A node has few things that records are about (groups, streams, itself) and of some of them many records: a log, what waits for a target.
//! These come with rising slots and go from the front. So a tree finds the thing, and what lies under a thing is a queue in the order of
//! slots; for the many things of which only one record lives, it is that record.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use super::row::{Born, Extent};
use crate::id::Ticket;
use crate::record::{Key, Owner};

/// Where a living record is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) last_slot: u64,
    pub(super) born: Born,
    pub(super) row: Ticket,
    pub(super) extent: Extent,
    pub(super) footprint: u32,
}

/// What records are about: a key without its slot, laid out so that a tree of them is small.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Thing {
    id: [u64; 2],
    owner: Owner,
    space: u8,
}

impl Thing {
    fn new(owner: Owner, space: u8, id: u128) -> Self {
        Self { id: [(id >> 64) as u64, id as u64], owner, space }
    }

    fn of(key: &Key) -> Self {
        Self::new(key.owner, key.space, key.id)
    }

    fn key(&self, slot: u64) -> Key {
        let [high, low] = self.id;
        Key { owner: self.owner, space: self.space, id: u128::from(high) << 64 | u128::from(low), slot }
    }
}

type Slot = (u64, Place);

/// The living records of one thing, in the order of their slots; never none.
#[derive(Clone, Debug)]
enum Slots {
    One(Slot),
    Many(VecDeque<Slot>),
}

impl Slots {
    fn get(&self, slot: u64) -> Option<&Place> {
        match self {
            Self::One((at, place)) => (*at == slot).then_some(place),
            Self::Many(many) => {
                many.get(many.binary_search_by_key(&slot, |(at, _)| *at).ok()?).map(|(_, place)| place)
            }
        }
    }

    /// Gives back what stood there.
    fn insert(&mut self, slot: u64, place: Place) -> Option<Place> {
        let many = match self {
            Self::One((at, before)) if *at == slot => return Some(core::mem::replace(before, place)),
            Self::One(one) => {
                *self = Self::Many(VecDeque::from([*one]));
                return self.insert(slot, place);
            }
            Self::Many(many) => many,
        };
        if many.back().is_none_or(|(last, _)| *last < slot) {
            many.push_back((slot, place));
            return None;
        }
        match many.binary_search_by_key(&slot, |(at, _)| *at) {
            Ok(at) => Some(core::mem::replace(&mut many[at].1, place)),
            Err(at) => {
                many.insert(at, (slot, place));
                None
            }
        }
    }

    fn iter(&self) -> impl Iterator<Item = &Slot> {
        let (one, many) = match self {
            Self::One(one) => (Some(one), None),
            Self::Many(many) => (None, Some(many)),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }

    /// Takes out those in front of a slot for which it is asked. `false` if none is left.
    fn retain(&mut self, below: u64, mut stays: impl FnMut(&Place) -> bool) -> bool {
        let many = match self {
            Self::One((at, place)) => return *at >= below || stays(place),
            Self::Many(many) => many,
        };
        let mut kept = Vec::new();
        while let Some(front) = many.front().copied().filter(|(slot, _)| *slot < below) {
            many.pop_front();
            if stays(&front.1) {
                kept.push(front);
            }
        }
        kept.into_iter().rev().for_each(|kept| many.push_front(kept));
        if let (1, Some(one)) = (many.len(), many.front().copied()) {
            *self = Self::One(one);
            return true;
        }
        // What a long queue took is not kept for a short one.
        if many.capacity() > 4 * many.len().max(4) {
            many.shrink_to(2 * many.len());
        }
        !many.is_empty()
    }
}

/// The living records.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    things: BTreeMap<Thing, Slots>,
}

impl Index {
    /// That of records in the order of their keys, each key once.
    pub(super) fn of(sorted: impl Iterator<Item = (Key, Place)>) -> Self {
        let mut things: Vec<(Thing, Slots)> = Vec::new();
        for (key, place) in sorted {
            let thing = Thing::of(&key);
            match things.last_mut().filter(|(last, _)| *last == thing) {
                Some((_, slots)) => drop(slots.insert(key.slot, place)),
                None => things.push((thing, Slots::One((key.slot, place)))),
            }
        }
        // All at once: a tree is quicker made than grown.
        Self { things: things.into_iter().collect() }
    }

    pub(super) fn get(&self, key: &Key) -> Option<&Place> {
        self.things.get(&Thing::of(key))?.get(key.slot)
    }

    /// Gives back what stood there.
    pub(super) fn insert(&mut self, key: &Key, place: Place) -> Option<Place> {
        use alloc::collections::btree_map::Entry;
        match self.things.entry(Thing::of(key)) {
            Entry::Occupied(slots) => slots.into_mut().insert(key.slot, place),
            Entry::Vacant(none) => {
                none.insert(Slots::One((key.slot, place)));
                None
            }
        }
    }

    /// Takes out the records of a thing in front of a slot, those that `stays` says of excepted.
    pub(super) fn retain(
        &mut self,
        (owner, space, id): (Owner, u8, u128),
        below: u64,
        stays: impl FnMut(&Place) -> bool,
    ) {
        let thing = Thing::new(owner, space, id);
        if self.things.get_mut(&thing).is_some_and(|slots| !slots.retain(below, stays)) {
            self.things.remove(&thing);
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Key, &Place)> {
        self.things
            .iter()
            .flat_map(|(thing, slots)| slots.iter().map(|(slot, place)| (thing.key(*slot), place)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Purpose, Rng};

    fn place(row: u64, last_slot: u64) -> Place {
        let born = Born { row: Ticket(row), place: 0 };
        Place {
            last_slot,
            born,
            row: Ticket(row),
            extent: Extent { offset: 0, len: 0, crc: 0 },
            footprint: 1,
        }
    }

    #[test]
    fn an_index_is_what_a_tree_of_keys_would_be() {
        let mut rng = Rng::stream([5; 32], Purpose::Mesh);
        let mut below = |bound: u64| rng.below(bound);
        let (mut index, mut twin) = (Index::default(), BTreeMap::new());
        for row in 0..20_000 {
            let (owner, space) = ([Owner::Raft, Owner::Stream][below(2) as usize], below(2) as u8);
            // Some things have one record, some many; most come behind the last.
            let id = u128::from(below(4)) << 60;
            let slot = if id == 0 { below(2) } else { row / 40 + below(12) };
            let key = Key { owner, space, id, slot };
            if below(8) == 0 {
                let from = Key { slot: 0, ..key };
                index.retain((owner, space, id), slot, |place| place.last_slot >= slot);
                let dead: Vec<Key> = twin.range(from..key).map(|(key, _)| *key).collect();
                for key in dead {
                    let place: Place = twin[&key];
                    if place.last_slot < slot {
                        twin.remove(&key);
                    }
                }
            } else {
                let new = place(row, slot + below(3));
                let before = index.insert(&key, new).map(|before| before.row);
                assert_eq!(before, twin.insert(key, new).map(|before| before.row));
            }
            assert_eq!(index.get(&key).map(|place| place.row), twin.get(&key).map(|place| place.row));
            if row % 50 == 0 {
                let mut all: Vec<(Key, Ticket)> = index.iter().map(|(key, place)| (key, place.row)).collect();
                all.sort_unstable();
                assert!(all.iter().copied().eq(twin.iter().map(|(key, place)| (*key, place.row))));
                let again = Index::of(twin.iter().map(|(key, place)| (*key, *place)));
                assert!(
                    again
                        .iter()
                        .map(|(key, place)| (key, place.row))
                        .eq(index.iter().map(|(key, place)| (key, place.row)))
                );
            }
        }
    }
}
