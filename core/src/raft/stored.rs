//! The older part of a log, of which only the outline is in memory: where each run of entries stands, and in which record.
//!
//! What the owner was given, and the disk holds, needs no memory: a member that lags is sent it from the disk (see [`shelf`](super::shelf)). Of
//! a run that is only there, its two ends are known. A place in its middle is known by its term, for a record has entries of one term; its chain
//! is in its entries.

use alloc::collections::VecDeque;

use super::message::Place;
use crate::id::{LogIndex, Term};

/// A run of entries of one term, which a record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) first: LogIndex,
    /// Its last entry.
    pub(super) end: Place,
    /// The slot of the record. Where the log was cut in the middle of a run, that begins before it.
    pub(super) slot: LogIndex,
    /// What its entries take in memory.
    pub(super) cost: u64,
}

/// Runs, the oldest first, and never none.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    /// What they stand behind.
    base: Place,
    runs: VecDeque<Run>,
}

impl Stored {
    pub(super) const fn new(base: Place) -> Self {
        Self { base, runs: VecDeque::new() }
    }

    pub(super) fn base(&self) -> Place {
        self.base
    }

    pub(super) fn push(&mut self, run: Run) {
        self.runs.push_back(run);
    }

    /// Where the last of them ends.
    pub(super) fn end(&self) -> Place {
        self.runs.back().map_or(self.base, |run| run.end)
    }

    /// The run that holds `index`, and the place in front of it.
    pub(super) fn find(&self, index: LogIndex) -> Option<(Place, Run)> {
        let at = self.runs.partition_point(|run| run.first <= index).checked_sub(1)?;
        let run = *self.runs.get(at).filter(|run| index <= run.end.index)?;
        Some((at.checked_sub(1).map_or(self.base, |before| self.runs[before].end), run))
    }

    /// Term of the entry at `index`, or of the base.
    pub(super) fn term(&self, index: LogIndex) -> Option<Term> {
        if index == self.base.index {
            return Some(self.base.term);
        }
        self.find(index).map(|(_, run)| run.end.term)
    }

    /// The place at `index`, if a run ends there.
    pub(super) fn place(&self, index: LogIndex) -> Option<Place> {
        if index == self.base.index {
            return Some(self.base);
        }
        self.find(index).map(|(_, run)| run.end).filter(|end| end.index == index)
    }

    /// The last index up to `index` at which an entry has that term or an older one.
    pub(super) fn last_upto(&self, index: LogIndex, term: Term) -> LogIndex {
        let upto = self.runs.partition_point(|run| run.first <= index && run.end.term <= term);
        upto.checked_sub(1).map_or(self.base.index, |at| self.runs[at].end.index.min(index))
    }

    /// Removes everything up to `base`, behind which something is left.
    pub(super) fn advance(&mut self, base: Place) {
        while self.runs.front().is_some_and(|run| run.end.index <= base.index) {
            self.runs.pop_front();
        }
        if let Some(cut) = self.runs.front_mut().filter(|run| run.first <= base.index) {
            cut.first = base.index.next();
        }
        if self.runs.capacity() > 4 * self.runs.len().max(4) {
            self.runs.shrink_to(2 * self.runs.len());
        }
        self.base = base;
    }

    /// How many runs there are.
    pub(super) fn len(&self) -> usize {
        self.runs.len()
    }

    /// Panics unless the runs follow each other.
    pub(super) fn check(&self) {
        assert!(!self.runs.is_empty(), "R23: an outline of nothing is kept");
        let mut place = self.base;
        for run in &self.runs {
            assert_eq!(run.first, place.index.next(), "R2: a gap in what is stored of the log");
            assert!(run.slot <= run.first && run.first <= run.end.index, "R23: a run without entries");
            assert!(run.end.term >= place.term, "R2: the term falls at {}", run.first);
            place = run.end;
        }
    }
}
