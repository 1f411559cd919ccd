//! The entries of a log as shared runs, with the chain at the end of each.
//!
//! Entries are appended in batches, and a batch is what travels, is written and is handed to the owner. So the log keeps batches; what is
//! appended one by one gathers in an open run until somebody needs it whole. Chains within a run are computed when somebody asks for one:
//! most places that are asked for are ends of runs, for a message ends where a run does.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::entries::Entries;
use super::message::{Entry, Place};
use crate::id::{LogIndex, Term};

/// So many of the last runs are looked at one by one.
const NEAR: usize = 4;

/// A closed run. What is asked all the time of it is kept beside it.
#[derive(Clone, Debug)]
struct Segment {
    entries: Entries,
    first: LogIndex,
    /// Its last entry.
    end: Place,
    /// What its entries contain.
    bytes: usize,
}

impl Segment {
    /// A run of so many bytes up to `end`; it is not empty.
    fn new(entries: Entries, end: Place, bytes: usize) -> Self {
        Self { first: entries[0].index, entries, end, bytes }
    }

    /// A part of a run that ends at `end`.
    fn of(entries: Entries, end: Place) -> Self {
        let bytes = entries.iter().map(|entry| entry.data.len()).sum();
        Self::new(entries, end, bytes)
    }
}

/// How large a run may become.
#[derive(Clone, Copy, Debug)]
pub(super) struct RunLimits {
    pub(super) entries: usize,
    pub(super) bytes: usize,
}

impl RunLimits {
    /// Whether a run of so much takes another entry. One entry always fits.
    fn fits(&self, entries: usize, bytes: usize, next: &Entry) -> bool {
        entries == 0 || (entries < self.entries && bytes + next.data.len() <= self.bytes)
    }
}

/// Contiguous entries behind a base.
#[derive(Clone, Debug)]
pub(super) struct Segments {
    base: Place,
    closed: VecDeque<Segment>,
    /// Appended one by one behind the closed runs.
    open: Vec<Entry>,
    /// What these contain.
    open_bytes: usize,
    /// How long the last open run became: the next may become as long.
    usual: usize,
    end: Place,
}

impl Segments {
    pub(super) fn new(base: Place) -> Self {
        Self { base, closed: VecDeque::new(), open: Vec::new(), open_bytes: 0, usual: 0, end: base }
    }

    pub(super) fn base(&self) -> Place {
        self.base
    }

    pub(super) fn end(&self) -> Place {
        self.end
    }

    fn closed_end(&self) -> Place {
        self.closed.back().map_or(self.base, |segment| segment.end)
    }

    /// Adds one entry.
    pub(super) fn push(&mut self, entry: Entry) {
        self.end = self.end.then(&entry);
        if self.open.is_empty() {
            self.open.reserve_exact(self.usual.max(1));
        }
        self.open_bytes += entry.data.len();
        self.open.push(entry);
    }

    /// Adds a run, in one piece.
    pub(super) fn append(&mut self, entries: Entries) {
        self.close(RunLimits { entries: usize::MAX, bytes: usize::MAX });
        let mut bytes = 0;
        for entry in &entries {
            self.end = self.end.then(entry);
            bytes += entry.data.len();
        }
        if !entries.is_empty() {
            self.keep(Segment::new(entries, self.end, bytes));
        }
    }

    /// Adds a closed run. Most logs are short most of the time, and there may be thousands.
    fn keep(&mut self, segment: Segment) {
        let held = self.closed.len();
        if held < NEAR && held == self.closed.capacity() {
            self.closed.reserve_exact(1);
        }
        self.closed.push_back(segment);
    }

    /// Makes runs of what is open.
    pub(super) fn close(&mut self, limits: RunLimits) {
        if self.open.is_empty() {
            return;
        }
        self.usual = self.open.len();
        let bytes = core::mem::take(&mut self.open_bytes);
        if self.open.len() <= limits.entries && bytes <= limits.bytes {
            let entries = Entries::take(&mut self.open);
            return self.keep(Segment::new(entries, self.end, bytes));
        }
        let mut open = core::mem::take(&mut self.open).into_iter().peekable();
        let mut end = self.closed_end();
        while open.peek().is_some() {
            let (mut run, mut bytes) = (Vec::new(), 0);
            while let Some(entry) = open.next_if(|entry| limits.fits(run.len(), bytes, entry)) {
                bytes += entry.data.len();
                end = end.then(&entry);
                run.push(entry);
            }
            self.keep(Segment::new(run.into(), end, bytes));
        }
    }

    /// The closed run that holds `index`: mostly one of the last.
    #[inline]
    fn find(&self, index: LogIndex) -> Option<usize> {
        let last = self.closed.back()?;
        if index > last.end.index {
            return None;
        }
        let at = self.closed.len() - 1;
        if index >= last.first { Some(at) } else { self.find_before(at, index) }
    }

    /// The same among the first runs.
    fn find_before(&self, count: usize, index: LogIndex) -> Option<usize> {
        for at in (count.saturating_sub(NEAR)..count).rev() {
            if self.closed[at].first <= index {
                return Some(at);
            }
        }
        self.closed.partition_point(|segment| segment.first <= index).checked_sub(1)
    }

    pub(super) fn get(&self, index: LogIndex) -> Option<&Entry> {
        if let Some(first) = self.open.first().filter(|first| index >= first.index) {
            return self.open.get((index.0 - first.index.0) as usize);
        }
        let segment = &self.closed[self.find(index)?];
        segment.entries.get((index.0 - segment.first.0) as usize)
    }

    /// Term of the entry at `index`, or of the base.
    pub(super) fn term(&self, index: LogIndex) -> Option<Term> {
        if index == self.base.index {
            return Some(self.base.term);
        }
        if index == self.end.index {
            return Some(self.end.term);
        }
        self.get(index).map(|entry| entry.term)
    }

    pub(super) fn place(&self, index: LogIndex) -> Option<Place> {
        if index == self.end.index {
            return Some(self.end);
        }
        if index == self.base.index {
            return Some(self.base);
        }
        if index < self.base.index || index > self.end.index {
            return None;
        }
        if let Some(last) = self.closed.back()
            && last.first == index.next()
        {
            // What the last run follows.
            let before = self.closed.len().checked_sub(2);
            return Some(before.map_or(self.base, |before| self.closed[before].end));
        }
        let closed_end = self.closed_end();
        if index > closed_end.index {
            let upto = (index.0 - closed_end.index.0) as usize;
            return Some(self.open[..upto].iter().fold(closed_end, Place::then));
        }
        let at = self.find(index)?;
        let segment = &self.closed[at];
        if segment.end.index == index {
            return Some(segment.end);
        }
        let before = at.checked_sub(1).map_or(self.base, |before| self.closed[before].end);
        let upto = (index.0 - before.index.0) as usize;
        Some(segment.entries[..upto].iter().fold(before, Place::then))
    }

    /// Entries from `from` to `upto`, as many as the limits allow and one at least if there is one. A run, or a part of one, is shared; short
    /// ones are gathered.
    pub(super) fn slice(&self, from: LogIndex, upto: LogIndex, limits: RunLimits) -> Entries {
        let upto = upto.min(self.end.index);
        if let Some(last) = self.closed.back()
            && (last.first, last.end.index) == (from, upto)
            && last.entries.len() <= limits.entries
            && last.bytes <= limits.bytes
        {
            return last.entries.clone();
        }
        if from > upto || from <= self.base.index {
            return Entries::new();
        }
        if let Some(at) = self.find(from) {
            let segment = &self.closed[at];
            let skip = (from.0 - segment.first.0) as usize;
            let most = (upto.0 + 1 - from.0) as usize;
            let end = segment.entries.len().min(skip + most);
            let run = &segment.entries[skip..end];
            let bytes = run.iter().map(|entry| entry.data.len()).sum::<usize>();
            let alone = upto == segment.end.index || end < segment.entries.len() || {
                let next = self.get(segment.end.index.next());
                next.is_none_or(|next| !limits.fits(run.len(), bytes, next))
            };
            if alone && run.len() <= limits.entries && (bytes <= limits.bytes || run.len() == 1) {
                return segment.entries.part(skip..end);
            }
        }
        let (mut run, mut bytes) = (Vec::new(), 0);
        for entry in self.range(from, upto) {
            if !limits.fits(run.len(), bytes, entry) {
                break;
            }
            bytes += entry.data.len();
            run.push(entry.clone());
        }
        run.into()
    }

    /// The entries from `from` to `upto`.
    pub(super) fn range(&self, from: LogIndex, upto: LogIndex) -> impl Iterator<Item = &Entry> {
        let at = self.find(from).unwrap_or(self.closed.len());
        let closed = self.closed.range(at..).flat_map(|segment| segment.entries.iter());
        closed
            .chain(&self.open)
            .skip_while(move |entry| entry.index < from)
            .take_while(move |entry| entry.index <= upto)
    }

    /// The last index whose entry fulfils `holds`, which is true of all entries up to some place and of none behind it.
    pub(super) fn last_while(&self, holds: impl Fn(&Entry) -> bool) -> LogIndex {
        if self.open.first().is_some_and(&holds) {
            let count = self.open.partition_point(holds);
            return self.open[count - 1].index;
        }
        let runs = self.closed.partition_point(|segment| holds(&segment.entries[0]));
        let Some(run) = runs.checked_sub(1) else { return self.base.index };
        let segment = &self.closed[run];
        segment.entries[segment.entries.partition_point(holds) - 1].index
    }

    /// Removes everything behind `end`, which is not below the base.
    pub(super) fn truncate(&mut self, end: LogIndex) {
        let Some(place) = self.place(end) else { return };
        self.open.retain(|entry| entry.index <= end);
        self.open_bytes = self.open.iter().map(|entry| entry.data.len()).sum();
        while self.closed.back().is_some_and(|segment| segment.first > end) {
            self.closed.pop_back();
        }
        if let Some(segment) = self.closed.back_mut().filter(|segment| segment.end.index > end) {
            let keep = (end.0 + 1 - segment.first.0) as usize;
            *segment = Segment::of(segment.entries.part(0..keep), place);
        }
        self.end = place;
    }

    /// Removes everything up to `base`, which is in here.
    pub(super) fn advance(&mut self, base: Place) {
        while self.closed.front().is_some_and(|segment| segment.end.index <= base.index) {
            self.closed.pop_front();
        }
        if let Some(segment) = self.closed.front_mut().filter(|segment| segment.first <= base.index) {
            let skip = (base.index.0 + 1 - segment.first.0) as usize;
            *segment = Segment::of(segment.entries.part(skip..segment.entries.len()), segment.end);
        } else {
            self.open.retain(|entry| entry.index > base.index);
            self.open_bytes = self.open.iter().map(|entry| entry.data.len()).sum();
        }
        // What a burst took is given back; what one round after the other takes stays.
        if self.closed.capacity() > 8 * (self.closed.len() + NEAR) {
            self.closed.shrink_to(self.closed.len() + NEAR);
        }
        self.base = base;
    }

    /// All entries, for checks.
    pub(super) fn all(&self) -> impl Iterator<Item = &Entry> {
        self.range(self.base.index.next(), self.end.index)
    }

    /// Panics unless entries are contiguous and the chains are theirs.
    pub(super) fn check(&self) {
        let mut place = self.base;
        for segment in &self.closed {
            assert_eq!(segment.first, place.index.next(), "R2: a gap in the log");
            for entry in &segment.entries {
                assert_eq!(entry.index, place.index.next(), "R2: a gap in the log");
                assert!(entry.term >= place.term, "R2: the term falls at {}", entry.index);
                place = place.then(entry);
            }
            assert_eq!(segment.end, place, "R2: the chain is broken at {}", place.index);
            let bytes: usize = segment.entries.iter().map(|entry| entry.data.len()).sum();
            assert_eq!(segment.bytes, bytes, "R12: what a run weighs, up to {}", place.index);
        }
        for entry in &self.open {
            assert_eq!(entry.index, place.index.next(), "R2: a gap in the log");
            place = place.then(entry);
        }
        let open: usize = self.open.iter().map(|entry| entry.data.len()).sum();
        assert_eq!(self.open_bytes, open, "R12: what the open run weighs");
        assert_eq!(self.end, place, "R2: the chain is broken at the end");
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::raft::message::EntryKind;
    use crate::rng::{Purpose, Rng};

    const LIMITS: RunLimits = RunLimits { entries: 5, bytes: 40 };

    fn entry(index: u64, term: u64, len: u64) -> Entry {
        let data = Bytes::from(alloc::vec![index as u8; len as usize]);
        Entry { index: LogIndex(index), term: Term(term), kind: EntryKind::Command, data, weight: 0 }
    }

    /// The twin is a plain list with a place for every entry.
    struct List(Vec<(Entry, Place)>, Place);

    impl List {
        fn end(&self) -> Place {
            self.0.last().map_or(self.1, |(_, place)| *place)
        }

        fn push(&mut self, entry: Entry) {
            let place = self.end().then(&entry);
            self.0.push((entry, place));
        }

        fn place(&self, index: LogIndex) -> Option<Place> {
            if index == self.1.index {
                return Some(self.1);
            }
            self.0.iter().map(|(_, place)| *place).find(|place| place.index == index)
        }
    }

    fn slice_of(list: &List, from: LogIndex, upto: LogIndex) -> Vec<Entry> {
        let mut bytes = 0;
        let wanted = list.0.iter().map(|(entry, _)| entry).filter(|e| e.index >= from && e.index <= upto);
        let (mut run, mut whole) = (Vec::new(), true);
        wanted.for_each(|entry| {
            whole &= LIMITS.fits(run.len(), bytes, entry);
            if whole {
                bytes += entry.data.len();
                run.push(entry.clone());
            }
        });
        run
    }

    #[test]
    fn it_holds_what_a_plain_list_holds_whatever_is_done_to_it() {
        let mut rng = Rng::stream([3; 32], Purpose::Raft);
        let base = Place::default();
        let (mut log, mut list, mut term) = (Segments::new(base), List(Vec::new(), base), 1);
        for _ in 0..4_000 {
            let end = list.end().index.0;
            let any = LogIndex(rng.between(list.1.index.0, end));
            term += rng.below(2);
            match rng.below(9) {
                0..=2 => {
                    let entry = entry(end + 1, term, rng.below(20));
                    list.push(entry.clone());
                    log.push(entry);
                }
                3 | 4 => {
                    let count = rng.below(7);
                    let run: Vec<Entry> = (1..=count).map(|n| entry(end + n, term, 4)).collect();
                    run.iter().for_each(|entry| list.push(entry.clone()));
                    log.append(run.into());
                }
                5 => log.close(LIMITS),
                6 => {
                    list.0.retain(|(entry, _)| entry.index <= any);
                    log.truncate(any);
                }
                7 => {
                    let place = list.place(any).expect("in the list");
                    list.0.retain(|(entry, _)| entry.index > any);
                    list.1 = place;
                    log.advance(place);
                }
                _ => {
                    let from = any.next();
                    let upto = LogIndex(rng.between(any.0, end));
                    assert_eq!(log.slice(from, upto, LIMITS)[..], slice_of(&list, from, upto)[..]);
                    let older = Term(rng.below(term + 1));
                    let last = list.0.iter().rev().find(|(entry, _)| entry.term < older);
                    let last = last.map_or(list.1.index, |(entry, _)| entry.index);
                    assert_eq!(log.last_while(|entry| entry.term < older), last);
                }
            }
            log.check();
            assert_eq!(log.end(), list.end());
            let index = LogIndex(rng.below(list.end().index.0 + 3));
            assert_eq!(log.place(index), list.place(index));
            assert_eq!(log.term(index), list.place(index).map(|place| place.term));
            let in_list = list.0.iter().map(|(entry, _)| entry).find(|entry| entry.index == index);
            assert_eq!(log.get(index), in_list);
            assert!(log.all().eq(list.0.iter().map(|(entry, _)| entry)));
        }
    }

    #[test]
    fn a_batch_is_shared_by_all_who_read_it() {
        let mut log = Segments::new(Place::default());
        (1..=4).for_each(|index| log.push(entry(index, 1, 4)));
        log.close(LIMITS);
        let [a, b] = [1, 1].map(|from| log.slice(LogIndex(from), LogIndex(4), LIMITS));
        assert!(core::ptr::eq(&a[0], &b[0]));
        log.append([entry(5, 1, 4)].into_iter().collect());
        let gathered = log.slice(LogIndex(1), LogIndex(5), LIMITS);
        assert_eq!(gathered.len(), 5, "short runs travel together");
    }
}
