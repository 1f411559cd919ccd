//! What was told to those who read and write agreed configuration: one order of all of it must explain every answer, and a version must
//! mean one write.

use std::collections::{BTreeMap, BTreeSet};

use super::linear::{Call, History, Model, OPERATIONS_MOST, linearizable};
use super::watching::{Watched, Watching};
use super::{Checked, ensure};
use crate::event::Time;

/// The most wishes for one key in a run.
pub const WISHES_MOST: usize = OPERATIONS_MOST;

/// What was asked of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// To write a value that tells who asked; if a version is given, only if the key holds it (0: if there is no such key).
    Set(Option<u64>),
    /// To take it away.
    Delete,
    /// What it holds, with all that was answered before.
    Get,
    /// What it holds, as the asked node knows.
    Peek,
}

/// What was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// It is written.
    Written(u64),
    /// It holds another version (0: it is not there), and was not written.
    Conflict(u64),
    /// It is taken away.
    Deleted(u64),
    /// It is not there.
    Absent,
    /// What it holds: whose write, and which version that has.
    Found {
        /// Who wrote it.
        who: usize,
        /// Its version.
        version: u64,
    },
}

/// Who asked what, and what was answered, if it was.
type Question = (usize, Asked, Option<Told>);

/// Stands for everybody whose write was neither answered nor found: who it was makes no difference to anybody.
const NOBODY: usize = usize::MAX;

/// All wishes, by key.
#[derive(Debug, Default)]
pub struct Configuration {
    calls: History<Question>,
    /// What each version was said to be: of which key, and whose write (`None`: it took the key away).
    versions: BTreeMap<u64, (u64, Option<usize>)>,
    latest: BTreeMap<u64, u64>,
    watching: Watching,
    /// Somebody alone held what was decided, and lost it: what was told before and after need not fit together.
    torn: bool,
}

impl Configuration {
    /// The version of a key that anybody was told last; 0 if it was said not to be there, or nothing was said.
    #[must_use]
    pub fn latest(&self, key: u64) -> u64 {
        self.latest.get(&key).copied().unwrap_or(0)
    }

    /// Where the last answer to a watcher ended.
    #[must_use]
    pub fn watched(&self) -> Option<u64> {
        self.watching.last()
    }

    /// A watcher is answered.
    ///
    /// # Errors
    /// X23.
    pub fn tells_watcher(&mut self, told: Watched) -> Checked {
        if self.torn { Ok(()) } else { self.watching.told(told) }
    }

    /// Somebody asks something of a key.
    pub fn asks(&mut self, who: usize, key: u64, now: Time, what: Asked) {
        self.calls.asks(who, key, now, (who, what, None));
    }

    /// Somebody is answered.
    ///
    /// # Errors
    /// X22, if a version means two things.
    pub fn told(&mut self, who: usize, now: Time, told: Told) -> Checked {
        let Some((key, call)) = self.calls.answered(who, now) else { return Ok(()) };
        call.operation.2 = Some(told);
        let peeked = call.operation.1 == Asked::Peek;
        let (version, whose) = match told {
            Told::Written(version) => (version, Some(Some(who))),
            Told::Found { who, version } => (version, Some(Some(who))),
            Told::Deleted(version) => (version, Some(None)),
            Told::Conflict(version) => (version, None),
            Told::Absent => (0, None),
        };
        if !peeked {
            let there = if matches!(told, Told::Deleted(_)) { 0 } else { version };
            self.latest.insert(key, there);
        }
        let Some(whose) = whose.filter(|_| !self.torn) else { return Ok(()) };
        let meant = *self.versions.entry(version).or_insert((key, whose));
        ensure!(
            meant == (key, whose),
            "X22",
            "version {version} was said to be {meant:?} (key, whose write), and now {:?}",
            (key, whose)
        );
        Ok(())
    }

    /// A disk that alone held something decided is about to be taken back. Until now everything fits together.
    ///
    /// # Errors
    /// X22.
    pub fn tears(&mut self) -> Checked {
        let checked = self.finish();
        self.torn = true;
        checked
    }

    /// Judges everything that was told.
    ///
    /// # Errors
    /// X22.
    pub fn finish(&self) -> Checked {
        if self.torn {
            return Ok(());
        }
        let written = self.versions.iter().map(|(&version, &(key, whose))| (version, (key, whose.is_some())));
        self.watching.finish(&written.collect())?;
        for (key, calls) in self.calls.objects() {
            let told = || calls.iter().filter_map(|call| call.operation.2);
            let found: BTreeSet<usize> = told()
                .filter_map(|told| match told {
                    Told::Found { who, .. } => Some(who),
                    _ => None,
                })
                .collect();
            let written = told().filter_map(|told| match told {
                Told::Written(version) => Some(version),
                _ => None,
            });
            let model = Key { written: written.collect() };
            let known = |who: usize, told: Option<Told>| told.is_some() || found.contains(&who);
            let judged: Vec<Call<Question>> = calls
                .iter()
                .filter(|call| call.operation.1 != Asked::Peek)
                .map(|call| {
                    let (who, asked, told) = call.operation;
                    let who = if known(who, told) { who } else { NOBODY };
                    Call { operation: (who, asked, told), ..call.clone() }
                })
                .collect();
            ensure!(
                linearizable(&model, None, &judged),
                "X22",
                "no order of what was asked of key {key} explains the answers: {judged:?}"
            );
        }
        Ok(())
    }
}

/// A key as the object it should be.
struct Key {
    /// The versions of writes that were answered.
    written: BTreeSet<u64>,
}

/// Whose write a key holds, and its version, which is unknown while nobody who wrote or found it was told.
type State = Option<(usize, Option<u64>)>;

impl Key {
    /// What the key holds if it is taken to be of that version (0: not there); `None` if it cannot be.
    fn taken_for(&self, state: State, version: u64) -> Option<State> {
        match state {
            None => (version == 0).then_some(None),
            Some((_, Some(known))) => (known == version).then_some(state),
            // A write that was not answered.
            Some((who, None)) => {
                (version != 0 && !self.written.contains(&version)).then_some(Some((who, Some(version))))
            }
        }
    }
}

impl Model for Key {
    type State = State;
    type Operation = Question;

    fn apply(&self, state: &State, &(who, asked, told): &Question) -> Option<State> {
        let state = *state;
        match (asked, told) {
            (Asked::Set(None), Some(Told::Written(version))) => Some(Some((who, Some(version)))),
            (Asked::Set(None), None) => Some(Some((who, None))),
            (Asked::Set(Some(expected)), Some(Told::Written(version))) => {
                self.taken_for(state, expected).map(|_| Some((who, Some(version))))
            }
            (Asked::Set(Some(expected)), None) => self.taken_for(state, expected).map(|_| Some((who, None))),
            (Asked::Set(Some(expected)), Some(Told::Conflict(present))) if present != expected => {
                self.taken_for(state, present)
            }
            (Asked::Delete, None | Some(Told::Deleted(_))) => state.map(|_| None),
            (Asked::Delete | Asked::Get, Some(Told::Absent)) => self.taken_for(state, 0),
            (Asked::Get, Some(Told::Found { who: wrote, version })) => {
                state.filter(|(holds, _)| *holds == wrote)?;
                self.found(state, version)
            }
            // Not so. And what was never answered and would change nothing need not have happened: the search is spared it.
            _ => None,
        }
    }

    fn only_looks(&self, (_, _, told): &Question) -> bool {
        matches!(told, Some(Told::Found { .. } | Told::Absent | Told::Conflict(_)))
    }
}

impl Key {
    /// Like [`Self::taken_for`], of a value whose writer is known: that others were answered about this version is no objection if
    /// nobody but its writer was.
    fn found(&self, state: State, version: u64) -> Option<State> {
        match state {
            Some((who, None)) => (!self.written.contains(&version)).then_some(Some((who, Some(version)))),
            Some((_, Some(known))) => (known == version).then_some(state),
            None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When something was asked, what, and what was told when.
    type Line = (Time, Asked, Option<(Time, Told)>);

    fn judge(calls: &[Line]) -> bool {
        let mut configuration = Configuration::default();
        for (who, (from, asked, told)) in calls.iter().enumerate() {
            configuration.asks(who, 0, *from, *asked);
            if let Some((until, told)) = told
                && configuration.told(who, *until, *told).is_err()
            {
                return false;
            }
        }
        configuration.finish().is_ok()
    }

    const SET: Line = (0, Asked::Set(None), Some((5, Told::Written(7))));

    fn found(who: usize, version: u64) -> Told {
        Told::Found { who, version }
    }

    #[test]
    fn a_read_finds_what_was_written_before_it_was_asked() {
        assert!(judge(&[SET, (6, Asked::Get, Some((8, found(0, 7))))]));
        assert!(!judge(&[SET, (6, Asked::Get, Some((8, Told::Absent)))]), "a stale read");
        assert!(judge(&[SET, (4, Asked::Get, Some((8, Told::Absent)))]), "they overlap");
        assert!(judge(&[SET, (6, Asked::Peek, Some((8, Told::Absent)))]), "it may be old");
        assert!(!judge(&[SET, (6, Asked::Peek, Some((8, found(3, 7))))]), "and never wrong");
        assert!(!judge(&[SET, (6, Asked::Get, Some((8, found(0, 9))))]), "one write, two versions");
    }

    #[test]
    fn of_two_who_expect_one_version_one_is_done() {
        let swap = |from, told| (from, Asked::Set(Some(7)), Some((from + 5, told)));
        let (done, refused) = (swap(10, Told::Written(8)), swap(10, Told::Conflict(8)));
        assert!(judge(&[SET, done, refused]));
        assert!(!judge(&[SET, done, swap(10, Told::Written(9))]), "both");
        assert!(!judge(&[SET, refused]), "nobody wrote what stood in the way");
        assert!(judge(&[SET, refused, (9, Asked::Set(None), None)]), "unless it was not answered");
        let create = |told| (10, Asked::Set(Some(0)), Some((15, told)));
        assert!(judge(&[SET, create(Told::Conflict(7))]));
        assert!(!judge(&[SET, create(Told::Written(8))]), "it was there");
        let gone = (6, Asked::Delete, Some((8, Told::Deleted(8))));
        assert!(judge(&[SET, gone, create(Told::Written(9))]));
        assert!(!judge(&[SET, gone, create(Told::Written(8))]), "a version comes once");
    }

    #[test]
    fn what_was_never_answered_may_have_happened() {
        let lost = (0, Asked::Set(None), None);
        let get = |from, told| (from, Asked::Get, Some((from + 2, told)));
        assert!(judge(&[lost, get(6, found(0, 4)), get(9, found(0, 4))]));
        assert!(judge(&[lost, get(6, Told::Absent), get(9, found(0, 4))]), "late");
        assert!(!judge(&[lost, get(6, found(0, 4)), get(9, Told::Absent)]), "it does not go away again");
        assert!(!judge(&[lost, get(6, found(0, 4)), get(9, found(0, 5))]), "it happens once");
    }

    #[test]
    fn what_was_lost_with_the_only_disk_that_held_it_need_not_fit_what_comes_later() {
        let mut torn = Configuration::default();
        torn.asks(0, 0, 1, Asked::Set(None));
        assert!(torn.told(0, 2, Told::Written(7)).is_ok() && torn.tears().is_ok());
        torn.asks(1, 0, 3, Asked::Set(None));
        assert!(torn.told(1, 4, Told::Written(7)).is_ok() && torn.finish().is_ok());
    }

    #[test]
    fn many_wishes_that_nobody_was_answered_are_judged() {
        let lost = |at: Time| (at, if at.is_multiple_of(3) { Asked::Delete } else { Asked::Set(None) }, None);
        let mut calls: Vec<Line> = (0..60).map(lost).collect();
        calls.extend((0..60).map(|n| (100 + 10 * n, Asked::Get, Some((105 + 10 * n, Told::Absent)))));
        assert!(judge(&calls));
        calls.push((1_000, Asked::Get, Some((1_005, found(1, 4)))));
        assert!(judge(&calls), "one of them came late");
        calls.push((1_010, Asked::Get, Some((1_015, found(0, 5)))));
        assert!(!judge(&calls), "that one took the key away");
    }
}
