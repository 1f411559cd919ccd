//! A map for the few things that are looked at all the time: neighbours, lanes, dials. One run of memory in the order of its keys, so that
//! to go over it is a loop over an array; a tree of the same few entries costs several times as much to walk. To insert and remove moves
//! what lies behind, so this is for tens of entries, not for thousands.

use alloc::vec::Vec;

/// A map in the order of its keys, with the methods of [`alloc::collections::BTreeMap`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SortedMap<K, V> {
    entries: Vec<(K, V)>,
}

impl<K, V> Default for SortedMap<K, V> {
    fn default() -> Self {
        Self { entries: Vec::new() }
    }
}

impl<K: Ord, V> SortedMap<K, V> {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Room for one more. Most of these maps stay as small as they are when they are filled, and there may be thousands.
    fn make_room(&mut self) {
        if self.entries.len() == self.entries.capacity() {
            self.entries.reserve_exact(1 + self.entries.len() / 2);
        }
    }

    fn place(&self, key: &K) -> Result<usize, usize> {
        self.entries.binary_search_by(|(other, _)| other.cmp(key))
    }

    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.place(key).ok().map(|place| &self.entries[place].1)
    }

    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.place(key).ok().map(|place| &mut self.entries[place].1)
    }

    /// How many keys there are.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// What stands at that place, if there are so many.
    pub(crate) fn at_mut(&mut self, place: usize) -> Option<&mut V> {
        self.entries.get_mut(place).map(|(_, value)| value)
    }

    pub(crate) fn contains_key(&self, key: &K) -> bool {
        self.place(key).is_ok()
    }

    /// Gives what the key led to before.
    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        match self.place(&key) {
            Ok(place) => Some(core::mem::replace(&mut self.entries[place].1, value)),
            Err(place) => {
                self.make_room();
                self.entries.insert(place, (key, value));
                None
            }
        }
    }

    /// What the key leads to, after `make` if it led nowhere.
    pub(crate) fn get_or_insert_with(&mut self, key: K, make: impl FnOnce() -> V) -> &mut V {
        let place = self.place(&key).unwrap_or_else(|place| {
            self.make_room();
            self.entries.insert(place, (key, make()));
            place
        });
        &mut self.entries[place].1
    }

    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        self.place(key).ok().map(|place| self.entries.remove(place).1)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.entries.iter().map(|(key, value)| (key, value))
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (&K, &mut V)> {
        self.entries.iter_mut().map(|(key, value)| (&*key, value))
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &K> {
        self.entries.iter().map(|(key, _)| key)
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.entries.iter().map(|(_, value)| value)
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.entries.iter_mut().map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeMap;

    use super::*;
    use crate::rng::{Purpose, Rng};

    #[test]
    fn it_does_what_a_tree_does() {
        let mut rng = Rng::stream([7; 32], Purpose::Route);
        let (mut map, mut tree) = (SortedMap::new(), BTreeMap::new());
        for step in 0..5_000_u64 {
            let key = rng.below(24);
            match rng.below(5) {
                0 | 1 => assert_eq!(map.insert(key, step), tree.insert(key, step)),
                2 => assert_eq!(map.remove(&key), tree.remove(&key)),
                3 => {
                    assert_eq!(map.get_or_insert_with(key, || step), tree.entry(key).or_insert(step));
                }
                _ => {
                    map.values_mut().for_each(|value| *value += 1);
                    map.iter_mut().filter(|(key, _)| **key == 3).for_each(|(_, value)| *value += 1);
                    tree.values_mut().for_each(|value| *value += 1);
                    tree.iter_mut().filter(|(key, _)| **key == 3).for_each(|(_, value)| *value += 1);
                }
            }
            assert_eq!(map.get(&key), tree.get(&key));
            assert_eq!(map.get_mut(&key), tree.get_mut(&key));
            assert_eq!(map.contains_key(&key), tree.contains_key(&key));
            let place = tree.range(..key).count();
            assert_eq!(map.at_mut(place), tree.range_mut(key..).next().map(|(_, value)| value));
            assert!(map.iter().eq(&tree) && map.keys().eq(tree.keys()) && map.values().eq(tree.values()));
        }
    }
}
