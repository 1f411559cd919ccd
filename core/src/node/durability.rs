//! What must wait for the disk waits here, and only here.
//!
//! Parts say [`When::Durable`]; neither they nor the world know tickets. Everything of one step shares one row, so what a step holds back
//! waits for the newest row made so far, that of the step included.
//!
//! Invariants:
//! - **D1** Nothing is released before its ticket is persisted.
//! - **D2** What is held leaves in the order in which it was held.

use alloc::collections::VecDeque;

use crate::id::Ticket;
use crate::planted::{Bug, Planted};
use crate::sometimes;
use crate::time::Instant;
use crate::when::When;

/// Holds items until the disk has caught up.
#[derive(Clone, Debug)]
pub(crate) struct Durability<T> {
    planted: Planted,
    persisted: Ticket,
    made: Ticket,
    /// When each unsynced row was made.
    unsynced: VecDeque<(Ticket, Instant)>,
    held: VecDeque<(Ticket, T)>,
    /// Held in the step under way, whose row has no number yet.
    step: VecDeque<T>,
}

impl<T> Durability<T> {
    pub(crate) fn new(planted: Planted) -> Self {
        Self {
            planted,
            persisted: Ticket(0),
            made: Ticket(0),
            unsynced: VecDeque::new(),
            held: VecDeque::new(),
            step: VecDeque::new(),
        }
    }

    /// Starts from a journal that ends, durably, with `last`.
    pub(crate) fn begin(&mut self, last: Ticket) {
        self.persisted = last;
        self.made = last;
    }

    /// Gives `item` back at once, or keeps it until everything written so far is durable.
    #[must_use]
    pub(crate) fn hold(&mut self, when: When, item: T) -> Option<T> {
        if when == When::Now || self.planted.has(Bug::SendBeforeSync) {
            return Some(item);
        }
        self.step.push_back(item);
        None
    }

    /// Ends a step; `made` is its row, if it wrote one.
    pub(crate) fn seal(&mut self, made: Option<Ticket>, now: Instant) {
        if let Some(ticket) = made {
            self.made = ticket;
            self.unsynced.push_back((ticket, now));
        }
        let ticket = self.made;
        if made.is_none() && self.planted.strikes(Bug::RowlessStepWaitsForNothing, || ticket > self.persisted)
        {
            while let Some(item) = self.step.pop_back() {
                self.held.push_front((Ticket(0), item));
            }
        }
        sometimes!(
            StepWaitedForEarlierRow,
            made.is_none() && !self.step.is_empty() && ticket > self.persisted
        );
        self.held.extend(self.step.drain(..).map(|item| (ticket, item)));
    }

    /// Everything up to `upto` is on disk. Tickets never given out are ignored.
    pub(crate) fn persisted(&mut self, upto: Ticket) {
        self.persisted = self.persisted.max(upto.min(self.made));
        while self.unsynced.front().is_some_and(|&(ticket, _)| ticket <= self.persisted) {
            self.unsynced.pop_front();
        }
    }

    /// The next item that may leave.
    pub(crate) fn release(&mut self) -> Option<T> {
        let &(ticket, _) = self.held.front()?;
        let early = self.planted.strikes(Bug::ReleasedOneRowEarly, || ticket == self.persisted.next());
        if ticket > self.persisted && !early {
            return None;
        }
        self.held.pop_front().map(|(_, item)| item)
    }

    /// When the oldest row that is not durable was made.
    pub(crate) fn oldest_unsynced(&self) -> Option<Instant> {
        self.unsynced.front().map(|&(_, at)| at)
    }

    pub(crate) fn check_invariants(&self) {
        assert!(self.persisted <= self.made, "D1: ticket {} is persisted and was never made", self.persisted);
        let mut last = Ticket(0);
        for &(ticket, _) in &self.held {
            assert!(last <= ticket, "D2: held out of order");
            last = ticket;
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    fn released(durability: &mut Durability<u32>) -> Vec<u32> {
        core::iter::from_fn(|| durability.release()).collect()
    }

    #[test]
    fn what_is_held_waits_for_the_row_of_its_own_step_and_leaves_in_order() {
        let mut durability = Durability::new(Planted::none());
        assert_eq!(durability.hold(When::Now, 1), Some(1));
        assert_eq!(durability.hold(When::Durable, 2), None);
        durability.seal(Some(Ticket(1)), Instant(5));
        assert_eq!(durability.hold(When::Durable, 3), None);
        durability.seal(None, Instant(6));
        assert_eq!(durability.hold(When::Durable, 4), None);
        durability.seal(Some(Ticket(2)), Instant(7));
        assert_eq!(released(&mut durability), []);
        durability.persisted(Ticket(1));
        assert_eq!(released(&mut durability), [2, 3], "a step without a row waits for the row before it");
        assert_eq!(durability.oldest_unsynced(), Some(Instant(7)));
        durability.persisted(Ticket(2));
        assert_eq!(released(&mut durability), [4]);
        assert_eq!(durability.oldest_unsynced(), None);
        durability.check_invariants();
    }

    #[test]
    fn a_ticket_from_nowhere_releases_nothing() {
        let mut durability = Durability::new(Planted::none());
        assert_eq!(durability.hold(When::Durable, 1), None);
        durability.seal(Some(Ticket(1)), Instant(0));
        durability.persisted(Ticket(9));
        assert_eq!(released(&mut durability), [1]);
        assert_eq!(durability.hold(When::Durable, 2), None);
        durability.seal(Some(Ticket(2)), Instant(0));
        assert_eq!(released(&mut durability), [], "the ticket of row 2 had not been given out then");
    }
}
