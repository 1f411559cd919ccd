//! Entries that are read back from the disk, and how much of all logs of a node is in memory.
//!
//! Logs let go of what is durable and was given to their owners when all of them take more than the budget (see
//! [`stored`](super::stored)): in turns, the oldest run first, and never the last. Whoever needs such a run later asks for it: a leader for a member that
//! lags, a replica whose owner is to be given it after a start, a member that gives a copy of its log. What was read stands on a shelf for a
//! while, so that several members at the same place are served by one load. Loads are few and bounded in bytes; who finds no room waits in line.
//! A few of the runs that follow are read ahead.
//!
//! Invariants:
//! - **R23** What is only stored is durable and committed: it was given to the owner here, or an earlier life knew. Then it is given to the owner without
//!   waiting for anybody.
//! - **R24** What logs, shelf and loads take is counted as it is, and is within the budget unless nothing can be let go: each group keeps its last
//!   run, and what is not durable or not applied. One load is made in any case.
//! - **R25** What is read back is what was appended: its chain ends where the log says, or the node stops and names the record.
//! - **R26** Who waits for a run is told when it was read, or stands in line.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};

use super::copy::Question;
use super::entries::Entries;
use super::message::{Entry, Place};
use super::slots::Slot;
use super::stored::Run;
use crate::id::LogIndex;
use crate::planted::{Bug, Planted};
use crate::sometimes;

/// One part in so many of the budget may be on the shelf or under way.
pub(super) const SHELF_PART: u64 = 4;
/// One part in so many may be read ahead for one who reads on.
const AHEAD_PART: u64 = 16;
/// Runs that may be read ahead.
pub(super) const AHEAD: usize = 4;
/// Loads under way.
const LOADS: usize = 64;
/// Members that may wait for a copy of what one replica reads.
const QUESTIONS: usize = 8;
/// Letting go begins above the budget and ends when this part of it is free.
const SLACK_PART: u64 = 8;

/// A run of a replica by its end. No other replica has the same generation.
pub(super) type Name = (u32, LogIndex);

/// A run that is being read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    pub(super) name: Name,
    /// Where the replica lives, if it is still there.
    pub(super) slot: Slot,
    /// As it was when it was asked for.
    pub(super) run: Run,
}

/// A run that was read.
#[derive(Clone, Debug)]
struct Kept {
    entries: Entries,
    end: Place,
    cost: u64,
    /// The later, the larger.
    used: u64,
}

impl Kept {
    /// Whether it holds that run: one that ends there may have begun elsewhere, before the log was cut and filled again.
    fn serves(&self, run: &Run) -> bool {
        self.end == run.end && self.entries.first().is_some_and(|first| first.index <= run.first)
    }
}

/// What is kept and read for all groups of a node.
#[derive(Clone, Debug)]
pub(super) struct Shelf {
    budget: u64,
    planted: Planted,
    /// What the logs of all groups take.
    pub(super) held: u64,
    kept: BTreeMap<Name, Kept>,
    /// Their names by when they were used last.
    order: BTreeMap<u64, Name>,
    uses: u64,
    /// What they take.
    kept_bytes: u64,
    /// By token.
    reading: BTreeMap<u64, Reading>,
    by_name: BTreeMap<Name, u64>,
    /// What these will take.
    reading_bytes: u64,
    last_token: u64,
    /// Who found no room for a load, the longest waiting first.
    line: VecDeque<Slot>,
    in_line: BTreeSet<Slot>,
    /// Whose turn it is: all others who come stand in line, if there is one.
    turn: Option<Slot>,
    /// Members that asked for a copy of what is being read, by the generation of the replica that was asked.
    questions: BTreeMap<u32, VecDeque<Question>>,
    /// No log can let go of anything, but those that were acted on since.
    pub(super) exhausted: bool,
    /// Whose turn it is to let go.
    pub(super) hand: u32,
    /// How many runs were read since the start.
    pub(super) loads: u64,
}

impl Shelf {
    pub(super) fn new(budget: u64, planted: Planted) -> Self {
        Self {
            budget,
            planted,
            held: 0,
            kept: BTreeMap::new(),
            order: BTreeMap::new(),
            uses: 0,
            kept_bytes: 0,
            reading: BTreeMap::new(),
            by_name: BTreeMap::new(),
            reading_bytes: 0,
            last_token: 0,
            line: VecDeque::new(),
            in_line: BTreeSet::new(),
            turn: None,
            questions: BTreeMap::new(),
            exhausted: false,
            hand: 0,
            loads: 0,
        }
    }

    /// What all of it takes, in bytes.
    #[inline]
    pub(super) fn taken(&self) -> u64 {
        self.held + self.kept_bytes + self.reading_bytes
    }

    /// Whether that is more than the budget.
    #[inline]
    pub(super) fn is_over(&self) -> bool {
        self.taken() > self.budget
    }

    /// Whether enough was let go.
    pub(super) fn has_slack(&self) -> bool {
        self.taken() <= self.budget - self.budget / SLACK_PART
    }

    /// How much of what was read may be under way to one member.
    pub(super) fn for_one(&self) -> u64 {
        self.budget / SHELF_PART / 2
    }

    /// How much a log lets go in one turn, at least.
    pub(super) fn quantum(&self) -> u64 {
        (self.budget / 64).max(1)
    }

    /// Entries of a run that was read, from `from` up to `upto`, and the place in front of them, if the run is here. `before`: the place in front of
    /// the run.
    pub(super) fn part(
        &mut self,
        (generation, before): (u32, Place),
        run: &Run,
        (from, upto): (LogIndex, LogIndex),
    ) -> Option<(Place, Entries)> {
        let name = (generation, run.end.index);
        let uses = self.uses + 1;
        let kept = self.kept.get_mut(&name).filter(|kept| kept.serves(run))?;
        self.uses = uses;
        self.order.remove(&kept.used);
        kept.used = uses;
        self.order.insert(uses, name);
        let first = kept.entries.first()?.index;
        let here = (before.index.0 + 1 - first.0) as usize..kept.entries.len();
        let entries = kept.entries.part(here);
        let skip = (from.0 - before.index.0 - 1) as usize;
        let previous = entries[..skip].iter().fold(before, Place::then);
        // What is asked for may end within the run, or in front of it.
        let end = upto.min(run.end.index).0.saturating_sub(before.index.0) as usize;
        Some((previous, entries.part(skip..end.max(skip))))
    }

    /// Whether a run is here, or on its way.
    pub(super) fn has(&self, generation: u32, run: &Run) -> bool {
        let name = (generation, run.end.index);
        self.by_name.contains_key(&name) || self.kept.get(&name).is_some_and(|kept| kept.serves(run))
    }

    /// Notes that a run is to be read and gives the token of the load, if there is room. `ahead`: what is read ahead already, if nobody needs this
    /// one yet.
    pub(super) fn read(&mut self, reading: Reading, ahead: Option<(usize, u64)>) -> Option<u64> {
        let cost = reading.run.cost;
        let part = self.budget / SHELF_PART;
        if !self.line.is_empty() && (ahead.is_some() || self.turn != Some(reading.slot)) {
            return None;
        }
        let fits = match ahead {
            Some((runs, bytes)) => {
                let reads_on = runs < AHEAD && bytes + cost <= self.budget / AHEAD_PART;
                reads_on && self.reading.len() < LOADS / 2 && self.reading_bytes + cost <= part
            }
            None => {
                let room = self.reading.len() < LOADS && self.reading_bytes + cost <= part;
                room || self.reading.is_empty()
            }
        };
        if !fits {
            return None;
        }
        self.last_token += 1;
        self.reading_bytes += cost;
        self.by_name.insert(reading.name, self.last_token);
        self.reading.insert(self.last_token, reading);
        Some(self.last_token)
    }

    /// The replica in `slot` is told when there is room again.
    pub(super) fn wait(&mut self, slot: Slot) {
        sometimes!(LoadWaitedInLine);
        if self.in_line.insert(slot) {
            self.line.push_back(slot);
        }
    }

    /// A load is answered.
    pub(super) fn answered(&mut self, token: u64) -> Option<Reading> {
        let reading = self.reading.remove(&token)?;
        self.by_name.remove(&reading.name);
        if !self.planted.has(Bug::LoadNotCountedBack) {
            self.reading_bytes -= reading.run.cost;
        }
        Some(reading)
    }

    /// How many wait for room.
    pub(super) fn line_len(&self) -> usize {
        self.line.len()
    }

    /// Who waits longest for room, if there is any.
    pub(super) fn next_in_line(&mut self) -> Option<Slot> {
        self.turn = None;
        let spent = self.reading.len() >= LOADS || self.reading_bytes >= self.budget / SHELF_PART;
        if spent && !self.reading.is_empty() {
            return None;
        }
        let slot = self.line.pop_front()?;
        self.in_line.remove(&slot);
        self.turn = Some(slot);
        Some(slot)
    }

    /// Nobody is called from the line any more.
    pub(super) fn end_turns(&mut self) {
        self.turn = None;
    }

    /// Puts a run on the shelf, and takes away what was used longest ago if there is too much.
    pub(super) fn keep(&mut self, name: Name, entries: Entries, end: Place) {
        let bytes: usize = entries.iter().map(|entry| entry.data.len()).sum();
        let cost = (bytes + entries.len() * size_of::<Entry>()) as u64;
        self.loads += 1;
        self.uses += 1;
        let used = self.uses;
        self.discard(name);
        self.kept_bytes += cost;
        self.kept.insert(name, Kept { entries, end, cost, used });
        self.order.insert(used, name);
        while self.kept_bytes > self.budget / SHELF_PART && self.kept.len() > 1 {
            let Some((_, &oldest)) = self.order.first_key_value() else { break };
            self.discard(oldest);
        }
    }

    fn discard(&mut self, name: Name) {
        if let Some(gone) = self.kept.remove(&name) {
            self.order.remove(&gone.used);
            self.kept_bytes -= gone.cost;
        }
    }

    /// A member asks for what is being read. Of each only the last question counts; of many, the last few.
    pub(super) fn ask(&mut self, generation: u32, question: Question) {
        let asked = self.questions.entry(generation).or_default();
        asked.retain(|other| other.asker != question.asker);
        if asked.len() == QUESTIONS {
            asked.pop_front();
        }
        asked.push_back(question);
    }

    /// Who asked.
    pub(super) fn take_questions(&mut self, generation: u32) -> VecDeque<Question> {
        self.questions.remove(&generation).unwrap_or_default()
    }

    /// A replica is gone, and its log with it.
    pub(super) fn forget(&mut self, generation: u32) {
        self.questions.remove(&generation);
        let gone = (generation, LogIndex(0))..=(generation, LogIndex(u64::MAX));
        while let Some((&name, _)) = self.kept.range(gone.clone()).next() {
            self.discard(name);
        }
    }

    /// Whether the replica in `slot` will be told something.
    pub(super) fn attends(&self, slot: Slot) -> bool {
        self.in_line.contains(&slot) || self.reading.values().any(|reading| reading.slot == slot)
    }

    /// What is on the shelf and under way, in bytes.
    pub(super) fn read_bytes(&self) -> u64 {
        self.kept_bytes + self.reading_bytes
    }

    /// Panics unless everything is counted as it is. `held`: what the logs take.
    pub(super) fn check(&self, held: u64) {
        assert_eq!(self.held, held, "R24: what the logs take");
        let kept: u64 = self.kept.values().map(|kept| kept.cost).sum();
        assert_eq!(self.kept_bytes, kept, "R24: what stands on the shelf");
        let reading: u64 = self.reading.values().map(|reading| reading.run.cost).sum();
        assert_eq!(self.reading_bytes, reading, "R24: what is under way from the disk");
        let same = self.by_name.len() == self.reading.len() && self.order.len() == self.kept.len();
        assert!(same && self.line.len() == self.in_line.len(), "R24: a run is lost on the shelf");
        assert!(
            self.line.is_empty() || !self.reading.is_empty(),
            "R26: who stands in line is called by nobody"
        );
        assert!(self.kept.len() <= 1 || kept <= self.budget / SHELF_PART, "R24: {kept} bytes on the shelf");
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::id::Term;

    fn reading(slot: u32) -> Reading {
        let run = Run { first: LogIndex(1), end: Place::default(), slot: LogIndex(1), cost: 100 };
        Reading { name: (slot, LogIndex(u64::from(slot))), slot: Slot(slot), run }
    }

    #[test]
    fn who_finds_no_room_is_called_in_turn_though_the_one_before_reads_on() {
        let mut shelf = Shelf::new(0, Planted::none());
        let first = shelf.read(reading(1), None).expect("one load is made in any case");
        for slot in [2, 3] {
            assert_eq!(shelf.read(reading(slot), None), None);
            shelf.wait(Slot(slot));
        }
        shelf.answered(first).expect("it was asked for");
        assert_eq!(shelf.read(reading(1), None), None, "others wait");
        shelf.wait(Slot(1));
        for slot in [2, 3, 1] {
            assert_eq!(shelf.next_in_line(), Some(Slot(slot)));
            let token = shelf.read(reading(slot), None).expect("it is its turn");
            assert_eq!(shelf.next_in_line(), None, "the room is taken");
            shelf.check(0);
            shelf.answered(token).expect("it was asked for");
        }
        assert_eq!(shelf.next_in_line(), None);
        shelf.check(0);
    }

    #[test]
    fn of_a_run_nothing_is_given_beyond_what_is_asked_for_but_the_place_in_front() {
        let mut shelf = Shelf::new(1 << 20, Planted::none());
        let entry = |index| Entry {
            index: LogIndex(index),
            term: Term(1),
            kind: crate::raft::EntryKind::Command,
            data: Bytes::new(),
            weight: 0,
        };
        let entries: Entries = [entry(5), entry(6)].into_iter().collect();
        let before = Place { index: LogIndex(4), term: Term(1), ..Place::default() };
        let end = entries.iter().fold(before, Place::then);
        let run = Run { first: LogIndex(5), end, slot: LogIndex(5), cost: 0 };
        shelf.keep((1, end.index), entries.clone(), end);
        for (upto, given) in [(3, 0), (4, 0), (5, 0), (6, 1), (9, 1)] {
            let (previous, part) =
                shelf.part((1, before), &run, (LogIndex(6), LogIndex(upto))).expect("it is here");
            assert_eq!((previous, part.len()), (before.then(&entries[0]), given), "up to {upto}");
        }
    }
}
