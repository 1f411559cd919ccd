//! Labels: how relays name their links, in 16 bits.
//!
//! The lower 10 bits number the link, the upper 6 are a tag of this start, never zero: a label learnt before a restart does not lead to
//! somebody else after it. Any [`STARTS`] starts in a row have tags of their own, by the count of starts: right after a restart messages
//! are on their way with labels of the start before. Behind a disk that was taken back, starts count alike; the boot id tells those apart
//! (except by chance, one in [`CHANCES`], which the relay or the ends notice). A neighbour keeps its number over reconnections, so that a
//! flap changes no path.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::id::{BootId, Generation, NodeId};
use crate::rare;

const NUMBER_BITS: u32 = 10;
/// The most neighbours a node can have.
pub(super) const LINKS_MAX: usize = 1 << NUMBER_BITS;
/// So many starts in a row have tags of their own. A label of an earlier one that is still in use leads astray in one of [`CHANCES`] cases: then a relay refuses
/// a message that would go back, and the end one that is for another.
const STARTS: u64 = 3;
/// Two starts that count alike share a tag in one of so many cases. Together these make 63 tags: as many as six bits hold without zero.
const CHANCES: u128 = 21;

/// Why a label leads nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    /// It was given out by another start of this node.
    #[error("label {0:#06x} was not given out by this start of the node")]
    WrongTag(u16),
    /// No neighbour has that number, or its link is down.
    #[error("label {0:#06x} leads to no neighbour that is up")]
    NoLink(u16),
    /// It leads to the neighbour that the message came from. No path does, so it was read from a table that is no longer true.
    #[error("label {0:#06x} leads back to where the message came from")]
    Back(u16),
}

#[derive(Clone, Debug)]
struct Slot {
    node: NodeId,
    up: bool,
    /// Order of release, to give away first what was released longest ago.
    released: u64,
}

/// The labels of one start of a node.
#[derive(Clone, Debug)]
pub(super) struct Labels {
    tag: u16,
    slots: Vec<Slot>,
    by_node: BTreeMap<NodeId, u16>,
    releases: u64,
}

impl Labels {
    pub(super) fn new(boot: BootId, generation: Generation) -> Self {
        let start = (generation.0 % STARTS) as u16;
        let tag = 1 + start * CHANCES as u16 + (boot.0 % CHANCES) as u16;
        Self { tag, slots: Vec::new(), by_node: BTreeMap::new(), releases: 0 }
    }

    fn label(&self, number: u16) -> u16 {
        self.tag << NUMBER_BITS | number
    }

    /// The label for a neighbour that comes up; `None` if all numbers are taken by others that are up.
    pub(super) fn assign(&mut self, node: NodeId) -> Option<u16> {
        let number = match self.by_node.get(&node) {
            Some(&number) => number,
            None if self.slots.len() < LINKS_MAX => {
                self.slots.push(Slot { node, up: false, released: 0 });
                (self.slots.len() - 1) as u16
            }
            None => {
                let free = self.slots.iter().enumerate().filter(|(_, slot)| !slot.up);
                let (number, slot) = free.min_by_key(|(_, slot)| slot.released)?;
                rare!(LabelGivenAway);
                self.by_node.remove(&slot.node);
                number as u16
            }
        };
        self.by_node.insert(node, number);
        self.slots[usize::from(number)] = Slot { node, up: true, released: 0 };
        Some(self.label(number))
    }

    /// The neighbour is down; its number is kept for it as long as possible.
    pub(super) fn release(&mut self, node: NodeId) {
        if let Some(&number) = self.by_node.get(&node) {
            self.releases += 1;
            let slot = &mut self.slots[usize::from(number)];
            slot.up = false;
            slot.released = self.releases;
        }
    }

    /// The label of a neighbour that is up.
    pub(super) fn of(&self, node: NodeId) -> Option<u16> {
        let number = *self.by_node.get(&node)?;
        self.slots[usize::from(number)].up.then(|| self.label(number))
    }

    /// The neighbour a label leads to.
    pub(super) fn resolve(&self, label: u16) -> Result<NodeId, LabelError> {
        if label >> NUMBER_BITS != self.tag {
            return Err(LabelError::WrongTag(label));
        }
        self.numbered(label)
    }

    /// The neighbour whose link bears the number of a label.
    pub(super) fn numbered(&self, label: u16) -> Result<NodeId, LabelError> {
        let number = usize::from(label) % LINKS_MAX;
        match self.slots.get(number) {
            Some(slot) if slot.up => Ok(slot.node),
            _ => Err(LabelError::NoLink(label)),
        }
    }

    pub(super) fn check_invariants(&self) {
        for (node, &number) in &self.by_node {
            assert_eq!(
                self.slots[usize::from(number)].node,
                *node,
                "L7: number {number} belongs to two neighbours"
            );
        }
        assert_eq!(self.by_node.len(), self.slots.len(), "L7: a number without a neighbour");
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_label_of_another_start_is_refused() {
        let mut before = Labels::new(BootId(7), Generation(1));
        let mut after = Labels::new(BootId(8), Generation(2));
        let old = before.assign(NodeId(1)).unwrap();
        let new = after.assign(NodeId(2)).unwrap();
        assert_ne!(old, new);
        assert_eq!(after.resolve(old), Err(LabelError::WrongTag(old)));
        assert_eq!(after.resolve(new), Ok(NodeId(2)));
        assert_eq!(after.resolve(new + 1), Err(LabelError::NoLink(new + 1)));
    }

    #[test]
    fn starts_in_a_row_never_share_a_tag_and_those_that_count_alike_seldom() {
        let tag = |boot, generation| Labels::new(BootId(boot), Generation(generation)).tag;
        for generation in 0..20 {
            for boots in 0..21 {
                let row: BTreeSet<u16> =
                    (0..STARTS).map(|start| tag(boots * u128::from(start), generation + start)).collect();
                assert_eq!(row.len(), 3, "whatever the boots");
            }
            let alike: BTreeSet<u16> = (0..CHANCES).map(|boot| tag(boot, generation)).collect();
            assert_eq!(alike.len(), 21);
        }
        let all: BTreeSet<u16> = (0..63).map(|start| tag(start / 3, start as u64)).collect();
        assert_eq!(all, (1..64).collect(), "none is zero, and all fit into six bits");
    }

    #[test]
    fn a_neighbour_keeps_its_label_and_a_link_that_is_down_has_none() {
        let mut labels = Labels::new(BootId(7), Generation(1));
        let first = labels.assign(NodeId(1)).unwrap();
        labels.release(NodeId(1));
        assert_eq!((labels.of(NodeId(1)), labels.resolve(first)), (None, Err(LabelError::NoLink(first))));
        let second = labels.assign(NodeId(2)).unwrap();
        assert_ne!(first, second);
        assert_eq!(labels.assign(NodeId(1)), Some(first));
        labels.check_invariants();
    }

    #[test]
    fn when_numbers_run_out_the_one_released_longest_ago_is_given_away() {
        let mut labels = Labels::new(BootId(7), Generation(1));
        let given: Vec<u16> = (0..1024).map(|node| labels.assign(NodeId(node)).unwrap()).collect();
        assert_eq!(labels.assign(NodeId(2000)), None, "all are up");
        labels.release(NodeId(5));
        labels.release(NodeId(3));
        assert_eq!(labels.assign(NodeId(2000)), Some(given[5]));
        assert_eq!(labels.assign(NodeId(2001)), Some(given[3]));
        assert_eq!(labels.of(NodeId(5)), None);
        labels.check_invariants();
    }
}
