//! A set of slots. Those of the groups that one node takes part in lie close together, so they are kept as bits of words.

use alloc::collections::BTreeMap;

use super::slots::Slot;

/// Slots in rising order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SlotSet {
    /// By the number of the word; none is zero.
    words: BTreeMap<u32, u64>,
}

/// The number of the word that holds a slot, and its bit there.
const fn place(Slot(slot): Slot) -> (u32, u64) {
    (slot / u64::BITS, 1 << (slot % u64::BITS))
}

impl SlotSet {
    pub(super) fn insert(&mut self, slot: Slot) {
        let (number, bit) = place(slot);
        *self.words.entry(number).or_default() |= bit;
    }

    pub(super) fn remove(&mut self, slot: Slot) {
        let (number, bit) = place(slot);
        if let Some(word) = self.words.get_mut(&number) {
            *word &= !bit;
            if *word == 0 {
                self.words.remove(&number);
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Slot> + '_ {
        self.words.iter().flat_map(|(number, word)| {
            let bits = (0..u64::BITS).filter(move |bit| word >> bit & 1 == 1);
            bits.map(move |bit| Slot(number * u64::BITS + bit))
        })
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;
    use alloc::vec::Vec;

    use super::*;
    use crate::rng::{Purpose, Rng};

    #[test]
    fn it_holds_what_a_tree_of_slots_holds() {
        let mut rng = Rng::stream([5; 32], Purpose::Raft);
        let (mut set, mut tree) = (SlotSet::default(), BTreeSet::new());
        for _ in 0..4_000 {
            let slot = Slot(rng.below(300) as u32);
            if rng.below(2) == 0 {
                set.insert(slot);
                tree.insert(slot);
            } else {
                set.remove(slot);
                tree.remove(&slot);
            }
            assert!(set.iter().eq(tree.iter().copied()));
            assert_eq!(set.is_empty(), tree.is_empty());
        }
        for slot in tree {
            set.remove(slot);
        }
        assert_eq!(set, SlotSet::default(), "{:?}", set.iter().collect::<Vec<_>>());
    }
}
