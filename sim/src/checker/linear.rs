//! Linearizability: operations that overlap must come out as if each had happened at one moment between its call and its answer.
//!
//! The search is that of Wing and Gong ("Testing and verifying concurrent objects", 1993) with the states already seen left out
//! (Lowe, "Testing for linearizability", 2017). Histories of different keys are judged apart, which is sound as
//! linearizability is local (Herlihy and Wing, 1990).

use std::collections::BTreeSet;

use crate::event::Time;

/// The most operations of one key that are judged together.
pub const OPERATIONS_MOST: usize = 128;

/// What one object does, one operation after the other.
pub(super) trait Model {
    /// What it holds.
    type State: Clone + Ord;
    /// An operation together with what was answered.
    type Operation;

    /// What it holds after an operation; `None` if that operation cannot be answered in this way then. One without an answer that
    /// would change nothing may give `None`, too: it need not have happened.
    fn apply(&self, state: &Self::State, operation: &Self::Operation) -> Option<Self::State>;
}

/// An operation as it was seen from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Call<O> {
    /// When it was asked.
    pub(super) from: Time,
    /// When it was answered; `None` if it never was, so that it may have happened at any time since, or not at all.
    pub(super) until: Option<Time>,
    /// What was asked, and answered.
    pub(super) operation: O,
}

/// Whether an order of all answered operations (and of some of the others) explains the answers.
///
/// # Panics
/// If there are more than [`OPERATIONS_MOST`] operations.
#[must_use]
pub(super) fn linearizable<M: Model>(model: &M, start: M::State, calls: &[Call<M::Operation>]) -> bool {
    assert!(calls.len() <= OPERATIONS_MOST, "{} operations are too many to judge", calls.len());
    let answered = calls.iter().enumerate().filter(|(_, call)| call.until.is_some());
    let wanted = answered.map(|(place, _)| 1u128 << place).sum::<u128>();
    let mut seen = BTreeSet::new();
    let mut open = vec![(0u128, start)];
    while let Some((done, state)) = open.pop() {
        if done & wanted == wanted {
            return true;
        }
        if !seen.insert((done, state.clone())) {
            continue;
        }
        let left = || calls.iter().enumerate().filter(|(place, _)| done >> place & 1 == 0);
        // Whoever was asked only after another's answer cannot have happened before it.
        let earliest = left().filter_map(|(_, call)| call.until).min().unwrap_or(Time::MAX);
        for (place, call) in left().filter(|(_, call)| call.from <= earliest) {
            if let Some(next) = model.apply(&state, &call.operation) {
                open.push((done | 1 << place, next));
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Register;

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Write(u8),
        Read(u8),
    }

    impl Model for Register {
        type State = u8;
        type Operation = Step;

        fn apply(&self, state: &u8, step: &Step) -> Option<u8> {
            match *step {
                Step::Write(value) => Some(value),
                Step::Read(value) => (*state == value).then_some(value),
            }
        }
    }

    fn judge(calls: &[(Time, Option<Time>, Step)]) -> bool {
        let call = |&(from, until, operation): &(Time, Option<Time>, Step)| Call { from, until, operation };
        linearizable(&Register, 0, &calls.iter().map(call).collect::<Vec<_>>())
    }

    #[test]
    fn overlapping_operations_may_come_in_any_order_and_others_may_not() {
        use Step::{Read, Write};
        assert!(judge(&[(0, Some(10), Write(1)), (5, Some(15), Read(0)), (5, Some(15), Read(1))]));
        assert!(!judge(&[(0, Some(10), Write(1)), (11, Some(15), Read(0))]), "a stale read");
        assert!(
            !judge(&[(0, Some(20), Write(1)), (1, Some(5), Read(1)), (6, Some(9), Read(0))]),
            "back in time"
        );
        assert!(judge(&[(0, Some(3), Write(1)), (3, Some(4), Read(0))]), "they touch, so they overlap");
    }

    #[test]
    fn an_operation_without_an_answer_happens_late_or_never_but_not_before_it_was_asked() {
        use Step::{Read, Write};
        let reads =
            |first, second| [(0, None, Write(1)), (10, Some(20), Read(first)), (30, Some(40), Read(second))];
        assert!(judge(&reads(0, 0)) && judge(&reads(0, 1)) && judge(&reads(1, 1)));
        assert!(!judge(&reads(1, 0)), "it happens once");
        assert!(!judge(&[(10, None, Write(1)), (0, Some(5), Read(1))]), "nobody asked yet");
    }

    #[test]
    fn a_long_history_of_many_clients_is_judged() {
        let write = |n: u64| (n * 2, Some(n * 2 + 7), Step::Write(n as u8));
        let mut calls: Vec<_> = (0..60).map(write).collect();
        calls.push((200, Some(210), Step::Read(59)));
        assert!(judge(&calls));
        calls.push((220, Some(230), Step::Read(11)));
        assert!(!judge(&calls), "11 was overwritten long ago");
    }
}
