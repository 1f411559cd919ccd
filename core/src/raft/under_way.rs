//! Appends that are under way to a member. Most members have none most of the time, and there may be thousands of groups: so the room for them
//! is not kept with each member, but lent.

use alloc::boxed::Box;
use alloc::collections::VecDeque;

use smallvec::SmallVec;

use crate::id::LogIndex;

/// An append that was not answered yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flight {
    pub(super) number: u64,
    pub(super) commit: LogIndex,
    /// What its entries take on their way.
    pub(super) bytes: u64,
}

/// What is under way to one member: never nothing. Who has something under way borrows the room for it from all others of its node that have not.
#[derive(Clone, Debug, Default)]
pub(super) struct UnderWay {
    /// The oldest first. There is room for what one round after the other has under way.
    pub(super) flights: SmallVec<[Flight; 4]>,
    /// What all of them take on their way.
    pub(super) bytes: u64,
}

/// Room for what is under way, kept for whoever needs it next. It tells nothing of any group, so two nodes that differ only in it are alike.
#[derive(Clone, Default)]
pub(super) struct Spare(VecDeque<Box<UnderWay>>);

impl Spare {
    /// So much of it is kept.
    const MOST: usize = 64;

    pub(super) fn take(&mut self) -> Box<UnderWay> {
        self.0.pop_back().unwrap_or_default()
    }

    /// What a burst took is given back to the system.
    pub(super) fn put_back(&mut self, mut under_way: Box<UnderWay>) {
        if self.0.len() < Self::MOST && !under_way.flights.spilled() {
            under_way.flights.clear();
            under_way.bytes = 0;
            self.0.push_back(under_way);
        }
    }
}

impl core::fmt::Debug for Spare {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Spare")
    }
}
