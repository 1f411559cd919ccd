//! What a leader knows of each other member.

use alloc::vec::Vec;

use super::progress::Progress;
use crate::id::NodeId;

/// What a leader knows of the other members: each node once, in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Members {
    all: Vec<Progress>,
}

impl Members {
    fn place(&self, node: NodeId) -> Result<usize, usize> {
        self.all.binary_search_by(|progress| progress.member.node.cmp(&node))
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// Where the one on that node stands.
    #[inline]
    pub(super) fn position(&self, node: NodeId) -> Option<usize> {
        self.place(node).ok()
    }

    /// The one that stands at that place, if there are so many.
    #[inline]
    pub(super) fn at(&self, place: usize) -> Option<&Progress> {
        self.all.get(place)
    }

    /// The one that stands at that place, if there are so many.
    #[inline]
    pub(super) fn at_mut(&mut self, place: usize) -> Option<&mut Progress> {
        self.all.get_mut(place)
    }

    /// The one on that node.
    pub(super) fn on(&self, node: NodeId) -> Option<&Progress> {
        self.all.get(self.position(node)?)
    }

    /// The one on that node.
    pub(super) fn on_mut(&mut self, node: NodeId) -> Option<&mut Progress> {
        let place = self.position(node)?;
        self.all.get_mut(place)
    }

    /// The one on the node of `progress`, which is put there if there is none.
    pub(super) fn on_or(&mut self, progress: Progress) -> &mut Progress {
        let place = self.place(progress.member.node).unwrap_or_else(|place| {
            if self.all.len() == self.all.capacity() {
                // Most stay as many as they are when a leader begins, and there may be thousands of leaders.
                self.all.reserve_exact(1 + self.all.len() / 2);
            }
            self.all.insert(place, progress);
            place
        });
        &mut self.all[place]
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Progress> {
        self.all.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Progress> {
        self.all.iter_mut()
    }

    /// Removes those for which `stays` is false.
    pub(super) fn retain(&mut self, stays: impl FnMut(&mut Progress) -> bool) {
        self.all.retain_mut(stays);
    }
}
