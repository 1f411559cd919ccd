//! Linearizability: operations that overlap must come out as if each had happened at one moment between its call and its answer.
//!
//! The search is that of Wing and Gong ("Testing and verifying concurrent objects", 1993) with the states already seen left out
//! (Lowe, "Testing for linearizability", 2017). Histories of different keys are judged apart, which is sound as
//! linearizability is local (Herlihy and Wing, 1990).

use std::collections::{BTreeMap, BTreeSet};

use crate::event::Time;

/// The most operations of one key that are judged together.
pub(super) const OPERATIONS_MOST: usize = 128;

/// What one object does, one operation after the other.
pub(super) trait Model {
    /// What it holds.
    type State: Clone + Ord;
    /// An operation together with what was answered.
    type Operation: PartialEq;

    /// What it holds after an operation; `None` if that operation cannot be answered in this way then. One without an answer that
    /// would change nothing may give `None`, too: it need not have happened.
    fn apply(&self, state: &Self::State, operation: &Self::Operation) -> Option<Self::State>;

    /// Whether an operation does nothing wherever it can happen but look, so that nothing that comes later can need it later.
    fn only_looks(&self, operation: &Self::Operation) -> bool;
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

/// Who asked what of which object, and when they were answered.
#[derive(Clone, Debug)]
pub(super) struct History<O> {
    calls: BTreeMap<u64, Vec<Call<O>>>,
    /// Object and place of the call of each who asked.
    places: BTreeMap<usize, (u64, usize)>,
}

impl<O> Default for History<O> {
    fn default() -> Self {
        Self { calls: BTreeMap::new(), places: BTreeMap::new() }
    }
}

impl<O> History<O> {
    /// Somebody asks something of an object.
    pub(super) fn asks(&mut self, who: usize, object: u64, now: Time, operation: O) {
        let place = self.happened_since(object, now, operation);
        self.places.insert(who, (object, place));
    }

    /// An operation may have happened since then, without anybody being answered. Gives its place.
    pub(super) fn happened_since(&mut self, object: u64, from: Time, operation: O) -> usize {
        let calls = self.calls.entry(object).or_default();
        calls.push(Call { from, until: None, operation });
        calls.len() - 1
    }

    /// Somebody who asked is answered: of which object, and the call.
    pub(super) fn answered(&mut self, who: usize, now: Time) -> Option<(u64, &mut Call<O>)> {
        let &(object, place) = self.places.get(&who)?;
        let call = self.calls.get_mut(&object)?.get_mut(place)?;
        call.until = Some(now);
        Some((object, call))
    }

    /// All objects, with all that was asked of them.
    pub(super) fn objects(&self) -> impl Iterator<Item = (u64, &[Call<O>])> {
        self.calls.iter().map(|(&object, calls)| (object, calls.as_slice()))
    }
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
    // The search goes into what is pushed last: first into what was answered first.
    let mut order: Vec<usize> = (0..calls.len()).collect();
    order.sort_by_key(|&place| std::cmp::Reverse((calls[place].until.unwrap_or(Time::MAX), place)));
    let mut seen = BTreeSet::new();
    let mut open = vec![(0u128, start)];
    while let Some((done, state)) = open.pop() {
        if done & wanted == wanted {
            return true;
        }
        if !seen.insert((done, state.clone())) {
            continue;
        }
        let left = |place: usize| done >> place & 1 == 0;
        // Whoever was asked only after another's answer cannot have happened before it.
        let ends = (0..calls.len()).filter(|&place| left(place)).filter_map(|place| calls[place].until);
        let earliest = ends.min().unwrap_or(Time::MAX);
        let may = |place: usize| left(place) && calls[place].from <= earliest;
        let before = open.len();
        for &place in order.iter().filter(|&&place| may(place)) {
            let call = &calls[place];
            let Some(next) = model.apply(&state, &call.operation) else { continue };
            match call.until {
                // Who only looks, and sees now what was answered, may as well look now as later.
                Some(_) if next == state && model.only_looks(&call.operation) => {
                    open.truncate(before);
                    open.push((done | 1 << place, next));
                    break;
                }
                Some(_) => {}
                // What nobody was answered may happen later, too, or never: to happen without effect serves nothing.
                None if next == state => continue,
                // Of equal calls that nobody was answered, any stands for all.
                None => {
                    let twin = |other: usize| {
                        calls[other].until.is_none() && calls[other].operation == call.operation
                    };
                    if (0..place).any(|other| may(other) && twin(other)) {
                        continue;
                    }
                }
            }
            open.push((done | 1 << place, next));
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Register;

    #[derive(Clone, Copy, Debug, PartialEq)]
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

        fn only_looks(&self, step: &Step) -> bool {
            matches!(step, Step::Read(_))
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
    fn a_history_with_many_calls_that_nobody_was_answered_is_judged() {
        use Step::{Read, Write};
        let lost = |n: u64| (n, None, Write((n % 3) as u8));
        let mut calls: Vec<_> = (0..60).map(lost).collect();
        calls.extend((0..60).map(|n| (100 + n, Some(110 + n), Read((n % 2) as u8))));
        assert!(judge(&calls));
        calls.push((300, Some(310), Read(3)));
        assert!(!judge(&calls), "nobody wrote a 3");
    }

    /// All orders, without any short cut.
    fn judge_slowly(done: u32, state: u8, calls: &[(Time, Option<Time>, Step)]) -> bool {
        let left = || calls.iter().enumerate().filter(|(place, _)| done >> place & 1 == 0);
        let Some(earliest) = left().filter_map(|(_, call)| call.1).min() else { return true };
        left().filter(|(_, call)| call.0 <= earliest).any(|(place, call)| {
            let next = Register.apply(&state, &call.2);
            next.is_some_and(|next| judge_slowly(done | 1 << place, next, calls))
        })
    }

    #[test]
    fn the_short_cuts_change_no_judgement() {
        let mut judged = [0; 2];
        for seed in 0..4_000 {
            let mut draws = crate::random::Draws::new(seed, crate::random::Purpose::Registry, 0, 0);
            let call = |_| {
                let from = draws.below(12);
                let until = (!draws.percent(40)).then(|| from + draws.below(8));
                let value = draws.below(3) as u8;
                let step = if draws.percent(50) { Step::Write(value) } else { Step::Read(value) };
                (from, until, step)
            };
            let calls: Vec<_> = (0..6).map(call).collect();
            assert_eq!(judge(&calls), judge_slowly(0, 0, &calls), "{calls:?}");
            judged[usize::from(judge(&calls))] += 1;
        }
        assert!(judged.iter().all(|&times| times > 500), "{judged:?}");
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
