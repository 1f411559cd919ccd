//! The entries of a log as shared runs, with the chain at the end of each.
//!
//! Entries are appended in batches, and a batch is what travels, is written and is handed to the owner. So the log keeps batches; what is
//! appended one by one gathers in an open run until somebody needs it whole. Chains within a run are computed when somebody asks for one:
//! most places that are asked for are ends of runs, for a message ends where a run does. What is written is cut into records where the log
//! has runs, so that the contents of a run can go when nobody here needs them any more: then only its outline stays (see
//! [`stored`](super::stored)).

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::entries::Entries;
use super::message::{Entry, Place};
use super::stored::{Run, Stored};
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
    bytes: u32,
    /// So many entries of its record stand in front of it: the log was cut there.
    cut: u32,
}

/// What an entry contains. Nothing that long travels, nor goes into one record.
fn weight(entry: &Entry) -> u32 {
    u32::try_from(entry.data.len()).unwrap_or(u32::MAX)
}

/// What so many entries take in memory that contain so much.
fn cost(entries: usize, bytes: usize) -> u64 {
    (entries * size_of::<Entry>() + bytes) as u64
}

impl Segment {
    /// A run of so many bytes up to `end`; it is not empty.
    fn new(entries: Entries, end: Place, bytes: usize) -> Self {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        Self { first: entries[0].index, entries, end, bytes, cut: 0 }
    }

    fn cost(&self) -> u64 {
        cost(self.entries.len(), self.bytes as usize)
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

    /// How many of the first entries of a run it takes.
    pub(super) fn count(&self, run: &[Entry]) -> usize {
        let mut bytes = 0;
        let fitting = run.iter().enumerate().take_while(|(at, entry)| {
            let fits = self.fits(*at, bytes, entry);
            bytes += entry.data.len();
            fits
        });
        fitting.count()
    }
}

/// Contiguous entries behind a base.
#[derive(Clone, Debug)]
pub(super) struct Segments {
    /// What of them is only stored; the rest follows.
    stored: Option<Box<Stored>>,
    /// What the runs in memory stand behind.
    from: Place,
    closed: VecDeque<Segment>,
    /// What the closed runs take.
    held: u64,
    /// Appended one by one behind the closed runs.
    open: Vec<Entry>,
    /// What these contain.
    open_bytes: u32,
    /// How long the last open run became: the next may become as long.
    usual: u32,
    end: Place,
}

impl Segments {
    pub(super) fn new(base: Place) -> Self {
        Self {
            stored: None,
            from: base,
            closed: VecDeque::new(),
            held: 0,
            open: Vec::new(),
            open_bytes: 0,
            usual: 0,
            end: base,
        }
    }

    #[inline]
    pub(super) fn base(&self) -> Place {
        self.stored.as_ref().map_or(self.from, |stored| stored.base())
    }

    /// Up to where the log is only stored, if any of it is.
    pub(super) fn stored_upto(&self) -> Option<LogIndex> {
        self.stored.as_ref().map(|_| self.from.index)
    }

    /// The run that is only stored and holds `index`, and the place in front of it.
    #[inline]
    pub(super) fn stored_run(&self, index: LogIndex) -> Option<(Place, Run)> {
        self.stored.as_ref()?.find(index)
    }

    /// Term of the entry at `index`, if that is only stored.
    pub(super) fn stored_term(&self, index: LogIndex) -> Option<Term> {
        self.stored.as_ref()?.term(index)
    }

    /// How many runs are only stored.
    pub(super) fn stored_runs(&self) -> usize {
        self.stored.as_ref().map_or(0, |stored| stored.len())
    }

    /// What the entries in memory take.
    #[inline]
    pub(super) fn held(&self) -> u64 {
        self.held + cost(self.open.len(), self.open_bytes as usize)
    }

    pub(super) fn end(&self) -> Place {
        self.end
    }

    fn closed_end(&self) -> Place {
        self.closed.back().map_or(self.from, |segment| segment.end)
    }

    /// Adds one entry.
    pub(super) fn push(&mut self, entry: Entry) {
        self.end = self.end.then(&entry);
        if self.open.is_empty() {
            self.open.reserve_exact(self.usual.max(1) as usize);
        }
        self.open_bytes += weight(&entry);
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
        self.held += segment.cost();
        self.closed.push_back(segment);
    }

    /// Makes runs of what is open.
    pub(super) fn close(&mut self, limits: RunLimits) {
        if self.open.is_empty() {
            return;
        }
        self.usual = self.open.len() as u32;
        let bytes = core::mem::take(&mut self.open_bytes) as usize;
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
        if index == self.from.index {
            return Some(self.from.term);
        }
        if index == self.end.index {
            return Some(self.end.term);
        }
        if index < self.from.index {
            return self.stored_term(index);
        }
        self.get(index).map(|entry| entry.term)
    }

    /// The place at `index`, if it is known: not in the middle of a run that is only stored.
    pub(super) fn place(&self, index: LogIndex) -> Option<Place> {
        if index == self.end.index {
            return Some(self.end);
        }
        if index == self.from.index {
            return Some(self.from);
        }
        if index < self.from.index {
            return self.stored.as_ref()?.place(index);
        }
        if index > self.end.index {
            return None;
        }
        if let Some(last) = self.closed.back()
            && last.first == index.next()
        {
            // What the last run follows.
            let before = self.closed.len().checked_sub(2);
            return Some(before.map_or(self.from, |before| self.closed[before].end));
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
        let before = at.checked_sub(1).map_or(self.from, |before| self.closed[before].end);
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
            && last.bytes as usize <= limits.bytes
        {
            return last.entries.clone();
        }
        if from > upto || from <= self.from.index {
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
            let fits = limits.count(run);
            if fits < run.len() {
                return segment.entries.part(skip..skip + fits);
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

    /// The last index up to `index` at which an entry has that term or an older one.
    pub(super) fn last_upto(&self, index: LogIndex, term: Term) -> LogIndex {
        let holds = |entry: &Entry| entry.index <= index && entry.term <= term;
        if self.open.first().is_some_and(holds) {
            let count = self.open.partition_point(holds);
            return self.open[count - 1].index;
        }
        let runs = self.closed.partition_point(|segment| holds(&segment.entries[0]));
        let Some(run) = runs.checked_sub(1) else {
            return self.stored.as_ref().map_or(self.from.index, |stored| stored.last_upto(index, term));
        };
        let segment = &self.closed[run];
        segment.entries[segment.entries.partition_point(holds) - 1].index
    }

    /// The next run to be written, from `from` on: entries of one term, with the places in front of them and at their end. What it holds is one
    /// run of the log from now on, so that a record holds whole runs.
    pub(super) fn take_run(&mut self, from: LogIndex, limits: RunLimits) -> Option<(Place, Entries, Place)> {
        if let Some(last) = self.closed.back()
            && last.first == from
            && last.entries[0].term == last.end.term
            && last.entries.len() <= limits.entries
            && (last.bytes as usize <= limits.bytes || last.entries.len() == 1)
        {
            return Some((self.place(from.before())?, last.entries.clone(), last.end));
        }
        let upto = self.last_upto(self.end.index, self.term(from)?);
        let run = self.slice(from, upto, limits);
        let end = self.place(run.last()?.index)?;
        self.recast(run.clone(), end);
        Some((self.place(from.before())?, run, end))
    }

    /// Puts a run in the place of those that hold its entries; one begins where it begins.
    fn recast(&mut self, run: Entries, end: Place) {
        let Some(at) = self.find(run[0].index) else { return };
        if self.closed[at].end == end {
            return;
        }
        let mut rest = None;
        while let Some(old) = self.closed.get(at).filter(|old| old.first <= end.index) {
            self.held -= old.cost();
            if old.end.index > end.index {
                let skip = (end.index.0 + 1 - old.first.0) as usize;
                rest = Some(Segment::of(old.entries.part(skip..old.entries.len()), old.end));
            }
            self.closed.remove(at);
        }
        for (at, segment) in (at..).zip([Segment::of(run, end)].into_iter().chain(rest)) {
            self.held += segment.cost();
            self.closed.insert(at, segment);
        }
    }

    /// Lets go of the contents of the oldest run in memory, if it ends at or below `upto`. The last one stays. Says what that frees.
    pub(super) fn evict(&mut self, upto: LogIndex) -> Option<u64> {
        if self.closed.len() < 2 || self.closed.front()?.end.index > upto {
            return None;
        }
        let oldest = self.closed.pop_front()?;
        let cost = oldest.cost();
        self.held -= cost;
        let slot = LogIndex(oldest.first.0 - u64::from(oldest.cut));
        self.push_stored(Run { first: oldest.first, end: oldest.end, slot, cost });
        Some(cost)
    }

    /// What [`Self::evict`] could free.
    pub(super) fn evictable(&self, upto: LogIndex) -> u64 {
        let all = self.closed.len().saturating_sub(1);
        self.closed.iter().take(all).take_while(|run| run.end.index <= upto).map(Segment::cost).sum()
    }

    /// The last run is the end of what the record of that slot holds.
    pub(super) fn last_is_of(&mut self, slot: LogIndex) {
        if let Some(last) = self.closed.back_mut() {
            last.cut = (last.first.0 - slot.0) as u32;
        }
    }

    /// Adds a run that is only stored behind all others, where nothing is in memory.
    pub(super) fn push_stored(&mut self, run: Run) {
        let base = self.from;
        self.stored.get_or_insert_with(|| Box::new(Stored::new(base))).push(run);
        self.from = run.end;
        if self.closed.is_empty() && self.open.is_empty() {
            self.end = run.end;
        }
    }

    /// Removes everything behind `end`, which is not below the base.
    pub(super) fn truncate(&mut self, end: LogIndex) {
        let Some(place) = self.place(end) else { return };
        assert!(end >= self.from.index, "R23: what is only stored is cut at {end}");
        self.open.retain(|entry| entry.index <= end);
        self.open_bytes = self.open.iter().map(weight).sum();
        while let Some(last) = self.closed.back().filter(|segment| segment.first > end) {
            self.held -= last.cost();
            self.closed.pop_back();
        }
        if let Some(segment) = self.closed.back_mut().filter(|segment| segment.end.index > end) {
            self.held -= segment.cost();
            let keep = (end.0 + 1 - segment.first.0) as usize;
            let cut = segment.cut;
            *segment = Segment { cut, ..Segment::of(segment.entries.part(0..keep), place) };
            self.held += segment.cost();
        }
        self.end = place;
    }

    /// Removes everything up to `base`, which is in here.
    pub(super) fn advance(&mut self, base: Place) {
        if let Some(stored) = self.stored.as_mut().filter(|stored| base.index < stored.end().index) {
            return stored.advance(base);
        }
        self.stored = None;
        while let Some(first) = self.closed.front().filter(|segment| segment.end.index <= base.index) {
            self.held -= first.cost();
            self.closed.pop_front();
        }
        if let Some(segment) = self.closed.front_mut().filter(|segment| segment.first <= base.index) {
            self.held -= segment.cost();
            let skip = (base.index.0 + 1 - segment.first.0) as usize;
            let cut = segment.cut + skip as u32;
            let rest = segment.entries.part(skip..segment.entries.len());
            *segment = Segment { cut, ..Segment::of(rest, segment.end) };
            self.held += segment.cost();
        } else {
            self.open.retain(|entry| entry.index > base.index);
            self.open_bytes = self.open.iter().map(weight).sum();
        }
        // What a burst took is given back; what one round after the other takes stays, but for that of a log that is empty now.
        if self.closed.is_empty() && self.open.is_empty() {
            (self.closed, self.open) = (VecDeque::new(), Vec::new());
        } else if self.closed.capacity() > 8 * (self.closed.len() + NEAR) {
            self.closed.shrink_to(self.closed.len() + NEAR);
        }
        self.from = base;
    }

    /// All entries in memory, for checks.
    pub(super) fn all(&self) -> impl Iterator<Item = &Entry> {
        self.range(self.from.index.next(), self.end.index)
    }

    /// Panics unless entries are contiguous and the chains are theirs.
    pub(super) fn check(&self) {
        if let Some(stored) = &self.stored {
            stored.check();
            assert_eq!(stored.end(), self.from, "R2: a gap behind what is stored of the log");
        }
        let mut place = self.from;
        for segment in &self.closed {
            assert_eq!(segment.first, place.index.next(), "R2: a gap in the log");
            for entry in &segment.entries {
                assert_eq!(entry.index, place.index.next(), "R2: a gap in the log");
                assert!(entry.term >= place.term, "R2: the term falls at {}", entry.index);
                place = place.then(entry);
            }
            assert_eq!(segment.end, place, "R2: the chain is broken at {}", place.index);
            let bytes: usize = segment.entries.iter().map(|entry| entry.data.len()).sum();
            assert_eq!(segment.bytes as usize, bytes, "R12: what a run weighs, up to {}", place.index);
        }
        let held: u64 = self.closed.iter().map(Segment::cost).sum();
        assert_eq!(self.held, held, "R24: what the runs in memory take");
        for entry in &self.open {
            assert_eq!(entry.index, place.index.next(), "R2: a gap in the log");
            place = place.then(entry);
        }
        let open: u32 = self.open.iter().map(weight).sum();
        assert_eq!(self.open_bytes, open, "R12: what the open run weighs");
        assert_eq!(self.end, place, "R2: the chain is broken at the end");
    }
}

#[cfg(test)]
mod tests;
