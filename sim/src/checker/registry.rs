//! What was told to those who open and close contested names: one order of all of it must explain every answer.

use std::collections::BTreeSet;

use wattle_core::id::{NodeId, StreamInstance};

use super::linear::{History, Model, OPERATIONS_MOST, linearizable};
use super::{Checked, ensure};
use crate::event::Time;

/// The most calls for one name of the registry in a run: each may stand for two operations.
pub const CALLS_MOST: usize = OPERATIONS_MOST / 2;

/// The ends of a stream: source and target.
pub type Ends = (NodeId, NodeId);

/// What was asked of the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// To open the name between these nodes.
    Open(Ends),
    /// To close it.
    Close,
}

/// What was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// It is open as asked: this is its life, and whether it began with this call.
    Opened(StreamInstance, bool),
    /// It is open between other nodes.
    Elsewhere(Ends),
    /// It is closed.
    Closed,
    /// It was not open.
    Absent,
}

/// What was asked for a name, and what was answered, if it was.
type Question = (Asked, Option<Told>);

/// All calls, by name.
#[derive(Debug, Default)]
pub struct Registry {
    calls: History<Question>,
    /// Somebody alone held what was decided, and lost it: what was told before and after need not fit together.
    torn: bool,
}

impl Registry {
    /// Somebody asks something of a name.
    pub fn asks(&mut self, who: usize, name: u64, now: Time, what: Asked) {
        self.calls.asks(who, name, now, (what, None));
    }

    /// Somebody is answered.
    pub fn told(&mut self, who: usize, now: Time, told: Told) {
        let Some((name, call)) = self.calls.answered(who, now) else { return };
        call.operation.1 = Some(told);
        let (from, asked) = (call.from, call.operation.0);
        if matches!(told, Told::Opened(_, false)) {
            // A node that skipped entries by a snapshot asks again, and tells what is open now. Its first asking may have opened a life that is
            // over since: an opening of which nobody was told.
            self.calls.happened_since(name, from, (asked, None));
        }
    }

    /// A disk that alone held something decided is about to be taken back. Until now everything fits together.
    ///
    /// # Errors
    /// X14.
    pub fn tears(&mut self) -> Checked {
        let checked = self.finish();
        self.torn = true;
        checked
    }

    /// Whether something decided was lost so.
    #[must_use]
    pub fn is_torn(&self) -> bool {
        self.torn
    }

    /// Judges everything that was told.
    ///
    /// # Errors
    /// X14.
    pub fn finish(&self) -> Checked {
        if self.torn {
            return Ok(());
        }
        for (name, calls) in self.calls.objects() {
            let began = calls.iter().filter_map(|call| match call.operation.1 {
                Some(Told::Opened(life, true)) => Some(life),
                _ => None,
            });
            let lives: BTreeSet<StreamInstance> = began.clone().collect();
            ensure!(
                lives.len() == began.count(),
                "X14",
                "a life of contested name {name} began twice: {calls:?}"
            );
            ensure!(
                linearizable(&Name { began: lives }, None, calls),
                "X14",
                "no order of what was asked of contested name {name} explains the answers: {calls:?}"
            );
        }
        Ok(())
    }
}

/// A name of the registry as the object it should be.
struct Name {
    /// The lives whose beginning somebody was told.
    began: BTreeSet<StreamInstance>,
}

/// Whether a name is open, and between whom. The life is unknown while nobody who opened or found it was told.
type State = Option<(Option<StreamInstance>, Ends)>;

impl Model for Name {
    type State = State;
    type Operation = Question;

    fn apply(&self, state: &State, &(asked, told): &Question) -> Option<State> {
        let same = Some(*state);
        match (asked, told, *state) {
            (Asked::Open(ends), None, None) => Some(Some((None, ends))),
            (Asked::Open(ends), Some(Told::Opened(life, true)), None) => Some(Some((Some(life), ends))),
            (Asked::Open(ends), Some(Told::Opened(life, false)), Some((known, open))) if ends == open => {
                match known {
                    Some(known) if known == life => same,
                    Some(_) => None,
                    None => (!self.began.contains(&life)).then_some(Some((Some(life), ends))),
                }
            }
            (Asked::Open(ends), Some(Told::Elsewhere(said)), Some((_, open)))
                if ends != open && said == open =>
            {
                same
            }
            (Asked::Close, Some(Told::Absent), None) => same,
            (Asked::Close, None | Some(Told::Closed), Some(_)) => Some(None),
            // Not so. And what was never answered and would change nothing need not have happened: the search is spared it.
            _ => None,
        }
    }

    fn only_looks(&self, (_, told): &Question) -> bool {
        // Whoever finds it open under a life that nobody knew names that life, and so leaves later ones less freedom, never more.
        matches!(told, Some(Told::Opened(_, false) | Told::Elsewhere(_) | Told::Absent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Ends = (NodeId(1), NodeId(2));
    const THERE: Ends = (NodeId(2), NodeId(1));

    /// When something was asked, what, and what was told when.
    type Line = (Time, Asked, Option<(Time, Told)>);

    fn judge(calls: &[Line]) -> bool {
        let mut registry = Registry::default();
        for (who, (from, asked, told)) in calls.iter().enumerate() {
            registry.asks(who, 0, *from, *asked);
            if let Some((until, told)) = told {
                registry.told(who, *until, *told);
            }
        }
        registry.finish().is_ok()
    }

    #[test]
    fn what_was_lost_with_the_only_disk_that_held_it_need_not_fit_what_comes_later() {
        let mut registry = Registry::default();
        let opened = |life| Told::Opened(StreamInstance(life), true);
        registry.asks(0, 0, 1, Asked::Open(HERE));
        registry.told(0, 2, opened(7));
        let mut torn = Registry { calls: registry.calls.clone(), ..Registry::default() };
        for registry in [&mut registry, &mut torn] {
            registry.asks(1, 0, 3, Asked::Open(HERE));
        }
        assert!(torn.tears().is_ok());
        for registry in [&mut registry, &mut torn] {
            registry.told(1, 4, opened(8));
        }
        assert!(registry.finish().is_err() && torn.finish().is_ok());
        assert!(registry.tears().is_err(), "what was told before the loss is judged");
    }

    #[test]
    fn a_name_is_open_from_its_opening_to_its_closing_and_has_a_new_life_each_time() {
        let life = |n, began| Told::Opened(StreamInstance(n), began);
        let opened = (0, Asked::Open(HERE), Some((5, life(7, true))));
        let closed = (10, Asked::Close, Some((15, Told::Closed)));
        assert!(judge(&[opened, (6, Asked::Open(HERE), Some((8, life(7, false)))), closed]));
        assert!(judge(&[opened, (6, Asked::Open(THERE), Some((8, Told::Elsewhere(HERE)))), closed]));
        assert!(judge(&[opened, closed, (20, Asked::Open(THERE), Some((30, life(8, true))))]));
        assert!(
            !judge(&[opened, closed, (20, Asked::Open(THERE), Some((30, life(7, true))))]),
            "an old life"
        );
        assert!(
            !judge(&[opened, closed, (20, Asked::Open(HERE), Some((30, life(7, false))))]),
            "a stale answer"
        );
        assert!(!judge(&[opened, (6, Asked::Close, Some((8, Told::Absent)))]), "it is there");
        assert!(
            !judge(&[opened, closed, (20, Asked::Open(THERE), Some((30, Told::Elsewhere(HERE))))]),
            "it is gone"
        );
        assert!(!judge(&[opened, (6, Asked::Open(HERE), Some((9, life(8, true))))]), "open already");
    }

    #[test]
    fn what_was_found_open_may_have_been_opened_before_by_the_same_call() {
        let life = |n, began| Told::Opened(StreamInstance(n), began);
        let asked_twice = (0, Asked::Open(HERE), Some((50, life(8, false))));
        let closed = (10, Asked::Close, Some((15, Told::Closed)));
        assert!(judge(&[asked_twice, closed, (20, Asked::Open(HERE), Some((30, life(8, true))))]));
        let (found, late) =
            ((0, Asked::Open(HERE), Some((50, life(8, true)))), (60, Asked::Close, Some((65, Told::Closed))));
        assert!(
            !judge(&[found, late, (70, Asked::Open(HERE), Some((80, life(8, false))))]),
            "a life is over once"
        );
    }

    #[test]
    fn the_most_calls_that_a_plan_may_have_are_judged() {
        let found = Told::Opened(StreamInstance(1), false);
        let mut calls: Vec<Line> =
            vec![(0, Asked::Open(HERE), Some((1, Told::Opened(StreamInstance(1), true))))];
        calls.extend(
            (1..CALLS_MOST as u64).map(|at| (10 * at, Asked::Open(HERE), Some((10 * at + 5, found)))),
        );
        assert!(judge(&calls));
    }

    #[test]
    fn what_was_never_answered_may_have_happened() {
        let life = |began| Told::Opened(StreamInstance(7), began);
        let lost = (0, Asked::Open(HERE), None);
        assert!(judge(&[lost, (6, Asked::Open(HERE), Some((8, life(false))))]));
        assert!(judge(&[lost, (6, Asked::Open(HERE), Some((8, life(true))))]));
        assert!(judge(&[lost, (6, Asked::Open(THERE), Some((8, Told::Elsewhere(HERE))))]));
        assert!(
            !judge(&[lost, (6, Asked::Open(HERE), Some((8, Told::Elsewhere(THERE))))]),
            "nobody asked for that"
        );
    }
}
