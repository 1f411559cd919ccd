//! A part of the node that knows whether anything was done to it.
//!
//! Most steps concern one or two parts. What a step did not touch has the deadline it had and keeps the invariants it kept: neither is
//! worked out again. Whoever borrows a part to change it counts as a change, whatever it does with it, so nobody can forget to say so.

use core::cell::Cell;
use core::ops::{Deref, DerefMut};

use crate::level::Level;
use crate::time::Instant;

/// A part, and how often it was borrowed to be changed.
#[derive(Clone, Debug)]
pub(super) struct Tracked<T> {
    inner: T,
    changes: u64,
    /// As of so many changes the deadline is known.
    noted: Option<u64>,
    deadline: Option<Instant>,
    /// After so many changes the invariants were looked at.
    checked: Cell<Option<u64>>,
}

impl<T> Tracked<T> {
    pub(super) const fn new(inner: T) -> Self {
        Self { inner, changes: 0, noted: None, deadline: None, checked: Cell::new(None) }
    }

    /// Moves with every change.
    pub(super) const fn changes(&self) -> u64 {
        self.changes
    }

    /// Takes what the part says out of it, which is no change: neither a deadline nor an invariant rests on what waits to be heard.
    pub(super) fn take<O>(&mut self, poll: impl FnOnce(&mut T) -> Option<O>) -> Option<O> {
        poll(&mut self.inner)
    }

    /// Notes the deadline, if it may have moved.
    pub(super) fn note(&mut self, next: impl FnOnce(&T) -> Option<Instant>) {
        if self.noted != Some(self.changes) {
            self.noted = Some(self.changes);
            self.deadline = next(&self.inner);
        }
    }

    /// The deadline noted last.
    pub(super) const fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Whether anything was done to it since it was checked.
    pub(super) fn is_unchecked(&self) -> bool {
        self.checked.get() != Some(self.changes)
    }

    /// Checks it, if anything was done to it since, or if everything is to be checked.
    pub(super) fn check(&self, level: Level, check: impl FnOnce(&T, Level)) {
        if level == Level::Full || self.is_unchecked() {
            check(&self.inner, level);
            self.checked.set(Some(self.changes));
        }
    }
}

impl<T> Deref for Tracked<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T> DerefMut for Tracked<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.changes += 1;
        &mut self.inner
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checks(part: &Tracked<u64>, level: Level) -> bool {
        let looked = Cell::new(false);
        part.check(level, |_, _| looked.set(true));
        looked.get()
    }

    #[test]
    fn what_changed_is_checked_once_and_what_did_not_only_when_everything_is() {
        let mut part = Tracked::new(1);
        assert!(checks(&part, Level::Cheap), "nobody looked at it yet");
        assert!(!checks(&part, Level::Cheap));
        assert!(checks(&part, Level::Full));
        *part += 1;
        assert!(part.is_unchecked());
        assert!(checks(&part, Level::Cheap));
        assert!(!part.is_unchecked());
        assert_eq!(part.take(|number| Some(*number)), Some(2));
        assert!(!checks(&part, Level::Cheap), "to be heard is no change");
    }

    #[test]
    fn a_check_that_fails_is_made_again() {
        let part = Tracked::new(1);
        let failing = core::panic::AssertUnwindSafe(|| part.check(Level::Cheap, |_, _| panic!("broken")));
        extern crate std;
        assert!(std::panic::catch_unwind(failing).is_err());
        assert!(part.is_unchecked());
    }

    #[test]
    fn a_deadline_is_worked_out_again_after_a_change() {
        let mut part = Tracked::new(5);
        part.note(|&at| Some(Instant(at)));
        part.note(|_| unreachable!("nothing changed"));
        assert_eq!(part.deadline(), Some(Instant(5)));
        *part = 7;
        assert_eq!(part.deadline(), Some(Instant(5)), "until it is noted");
        part.note(|&at| Some(Instant(at)));
        assert_eq!(part.deadline(), Some(Instant(7)));
    }
}
