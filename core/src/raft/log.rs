//! The log of one replica: entries above a base, their chain, what they make of the configuration, and how much of them is durable.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use smallvec::SmallVec;

use super::delta::Delta;
use super::entries::Entries;
use super::message::{Entry, EntryKind, Place};
use super::segments::{RunLimits, Segments};
use super::stored::Run;
use super::wire::decode_delta;
use crate::configuration::{Configuration, Member};
use crate::id::{LogIndex, Term};
use crate::planted::{Bug, Planted};
use crate::rare;
use crate::sometimes;

/// Entries behind a base. Everything up to the base is committed and lives on in the owner's state.
#[derive(Clone, Debug)]
pub(super) struct Log {
    segments: Segments,
    /// The configuration in force.
    configuration: Arc<Configuration>,
    /// How it came to that, if it is not simply the one at the base.
    changes: Option<Box<Changes>>,
    durable: LogIndex,
    /// The first entry that was not given to be written.
    unwritten: LogIndex,
    /// Appends on their way to the disk: serial number, last index (lowered by truncation).
    writing: SmallVec<[(u64, LogIndex); 1]>,
    serial: u64,
    planted: Planted,
}

/// How a log comes to the configuration in force.
#[derive(Clone, Debug)]
struct Changes {
    /// The configuration that is in force at the base.
    founding: Arc<Configuration>,
    /// What the entries change of it, by index.
    deltas: Vec<(LogIndex, Delta)>,
}

/// What is wrong with an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mismatch {
    /// The log ends before the place, or holds another term there: the leader must go back.
    Differs,
    /// Same index and term, or the committed base, and other content (rule C1): a disk was rolled back.
    Forked(LogIndex),
}

impl Log {
    pub(super) fn new(base: Place, configuration: Arc<Configuration>, planted: Planted) -> Self {
        Self {
            segments: Segments::new(base),
            configuration,
            changes: None,
            durable: base.index,
            unwritten: base.index.next(),
            writing: SmallVec::new(),
            serial: 0,
            planted,
        }
    }

    pub(super) fn base(&self) -> Place {
        self.segments.base()
    }

    pub(super) fn first(&self) -> LogIndex {
        self.base().index.next()
    }

    pub(super) fn last(&self) -> Place {
        self.segments.end()
    }

    pub(super) fn durable(&self) -> LogIndex {
        self.durable
    }

    /// The durable end of the log.
    pub(super) fn durable_place(&self) -> Place {
        self.place(self.durable).unwrap_or(self.base())
    }

    /// The place at `index`, if it is known: not in the middle of a run that is only stored.
    #[inline]
    pub(super) fn place(&self, index: LogIndex) -> Option<Place> {
        self.segments.place(index)
    }

    /// The last place up to `index` that is known, the base at least.
    pub(super) fn place_upto(&self, index: LogIndex) -> Place {
        let before = || self.segments.stored_run(index).map(|(before, _)| before);
        self.place(index).or_else(before).unwrap_or(self.base())
    }

    /// Whether the log holds what ends at `place`, above the base, as far as is known here.
    pub(super) fn holds(&self, place: Place) -> bool {
        place.index <= self.last().index && self.agrees(place).is_ok()
    }

    /// Up to where the log is only stored, if any of it is: all that is decided.
    pub(super) fn stored_upto(&self) -> Option<LogIndex> {
        self.segments.stored_upto()
    }

    /// The run that is only stored and holds `index`, and the place in front of it.
    #[inline]
    pub(super) fn stored_run(&self, index: LogIndex) -> Option<(Place, Run)> {
        self.segments.stored_run(index)
    }

    /// How many runs are only stored.
    pub(super) fn stored_runs(&self) -> usize {
        self.segments.stored_runs()
    }

    /// What the entries in memory take.
    #[inline]
    pub(super) fn held(&self) -> u64 {
        self.segments.held()
    }

    /// Lets go of the contents of the oldest run that is durable and was given to the owner, which is all up to `applied`. Says what that
    /// frees.
    pub(super) fn evict(&mut self, applied: LogIndex) -> Option<u64> {
        let durable = applied.min(self.durable);
        let early = || self.segments.end().index > durable;
        let upto =
            if self.planted.strikes(Bug::EvictedUnsynced, early) { self.last().index } else { durable };
        self.segments.evict(upto)
    }

    /// What it could let go of.
    pub(super) fn evictable(&self, applied: LogIndex) -> u64 {
        self.segments.evictable(applied.min(self.durable))
    }

    /// Adds a run that was read back and need not be in memory, with the configurations in it; none may be in memory yet.
    ///
    /// # Errors
    /// The entry that changes another configuration than the one in force.
    pub(super) fn append_stored(
        &mut self,
        run: Run,
        changes: Vec<(LogIndex, Delta)>,
    ) -> Result<(), LogIndex> {
        for (index, delta) in changes {
            if !delta.fits(&self.configuration) {
                return Err(index);
            }
            self.change(index, delta);
        }
        self.segments.push_stored(run);
        Ok(())
    }

    /// Adds a run that was read back from the record of that slot.
    pub(super) fn append_read(&mut self, entries: Entries, slot: LogIndex) {
        self.append(entries);
        self.segments.last_is_of(slot);
    }

    /// Entries from `from` on, within limits; one at least, if there is one.
    pub(super) fn slice(&self, from: LogIndex, upto: LogIndex, limits: RunLimits) -> Entries {
        self.segments.slice(from, upto, limits)
    }

    /// The entries from `from` to `upto`.
    pub(super) fn range(&self, from: LogIndex, upto: LogIndex) -> impl Iterator<Item = &Entry> {
        self.segments.range(from, upto)
    }

    /// Whether that is the configuration in force: not one that is equal to it, but the very same.
    pub(super) fn is_configured_by(&self, configuration: &Arc<Configuration>) -> bool {
        Arc::ptr_eq(&self.configuration, configuration)
    }

    /// What is appended one by one becomes runs that can be shared.
    pub(super) fn close(&mut self, limits: RunLimits) {
        self.segments.close(limits);
    }

    pub(super) fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    /// The same, for whoever keeps it.
    pub(super) fn shared_configuration(&self) -> &Arc<Configuration> {
        &self.configuration
    }

    /// The configuration at the base.
    fn founding(&self) -> &Arc<Configuration> {
        self.changes.as_ref().map_or(&self.configuration, |changes| &changes.founding)
    }

    /// What entries change of it, by index.
    fn deltas(&self) -> &[(LogIndex, Delta)] {
        self.changes.as_ref().map_or(&[], |changes| &changes.deltas)
    }

    /// Where the configuration in force stands.
    pub(super) fn configured_at(&self) -> LogIndex {
        self.deltas().last().map_or(self.base().index, |(at, _)| *at)
    }

    /// The entry that made a learner of `member`, of which it has been one since; the base if that lies behind.
    pub(super) fn named_at(&self, member: Member) -> LogIndex {
        let named = |(_, delta): &&(LogIndex, Delta)| delta.joining.binary_search(&member).is_ok();
        self.deltas().iter().rev().find(named).map_or(self.base().index, |(at, _)| *at)
    }

    /// How many configurations stand above `index`.
    pub(super) fn configurations_above(&self, index: LogIndex) -> usize {
        self.deltas().iter().rev().take_while(|(at, _)| *at > index).count()
    }

    /// The configuration in force at `index`.
    pub(super) fn configuration_at(&self, index: LogIndex) -> Arc<Configuration> {
        if index >= self.configured_at() {
            return Arc::clone(&self.configuration);
        }
        let upto = self.deltas().iter().take_while(|(at, _)| *at <= index).count();
        self.changed_by(upto)
    }

    /// The configurations in force at `index` and behind it.
    pub(super) fn configurations_since(&self, index: LogIndex) -> impl Iterator<Item = Arc<Configuration>> {
        let before = self.deltas().iter().take_while(|(at, _)| *at <= index).count();
        (before..=self.deltas().len()).map(|changes| self.changed_by(changes))
    }

    /// What the first changes make of the configuration at the base.
    fn changed_by(&self, changes: usize) -> Arc<Configuration> {
        if changes == 0 {
            return Arc::clone(self.founding());
        }
        let mut configuration = Configuration::clone(self.founding());
        self.deltas()[..changes].iter().for_each(|(_, delta)| delta.apply(&mut configuration));
        Arc::new(configuration)
    }

    /// The first of `entries` that changes a configuration other than the one in force where it would stand, if there is one (R9).
    pub(super) fn misfit(&self, entries: &Entries) -> Option<LogIndex> {
        let mut changes = entries.configurations().peekable();
        changes.peek()?;
        // What stands behind their beginning is cut off before they take its place.
        let mut configuration = Configuration::clone(&self.configuration_at(entries.first()?.index.before()));
        changes.find_map(|entry| match decode_delta(&entry.data) {
            Ok(delta) if delta.fits(&configuration) => {
                delta.apply(&mut configuration);
                None
            }
            Ok(_) | Err(_) => Some(entry.index),
        })
    }

    /// Whether the log agrees with another one at `place`. Nothing is known here of places below the base: what follows them tells, at the base.
    pub(super) fn agrees(&self, place: Place) -> Result<(), Mismatch> {
        if place.index < self.base().index {
            return Ok(());
        }
        match self.place(place.index) {
            Some(own) if own == place => Ok(()),
            Some(own) if own.term == place.term => {
                if self.planted.has(Bug::ChainNotCompared) {
                    Ok(())
                } else {
                    Err(Mismatch::Forked(place.index))
                }
            }
            None if self.segments.stored_term(place.index) == Some(place.term) => {
                // In the middle of a run that is only stored. What follows tells, at its end.
                sometimes!(PlaceWithinStored);
                Ok(())
            }
            Some(_) | None => Err(Mismatch::Differs),
        }
    }

    /// The last index up to which another log that holds `place` may be equal: entries of later terms are not in it.
    pub(super) fn may_agree_upto(&self, place: Place) -> LogIndex {
        self.segments.last_upto(place.index, place.term)
    }

    /// The place before the first entry of the term that the entry at `index` has, or the end of the log if it is not there.
    pub(super) fn before_term_at(&self, index: LogIndex) -> Place {
        let Some(term) = self.term(index) else { return self.last() };
        let older = self.segments.last_upto(LogIndex(u64::MAX), Term(term.0.saturating_sub(1)));
        self.place(older).unwrap_or(self.base())
    }

    /// Compares entries behind `previous`, at which the logs agree, with what stands here: up to where both are equal if the rest is put in
    /// place, and that rest, from the first that differs or is missing. Entries that end below the base cover the base, and those that end
    /// within a run that is only stored cover that run: both are committed.
    pub(super) fn compare(
        &self,
        previous: Place,
        entries: &Entries,
    ) -> Result<(LogIndex, Entries), Mismatch> {
        let covered = LogIndex(previous.index.0 + entries.len() as u64);
        if previous == self.last() {
            return Ok((covered, entries.clone()));
        }
        if covered < self.base().index {
            sometimes!(AppendBelowBase);
            return Ok((self.base().index, Entries::new()));
        }
        let (mut place, mut differs) = (previous, None);
        for (at, entry) in entries.iter().enumerate() {
            if entry.index > self.last().index {
                // Nothing stands there, nor behind it: the chain is computed once, when these are put in place.
                differs = differs.or(Some(at));
                break;
            }
            place = place.then(entry);
            match self.agrees(place) {
                Ok(()) => {}
                Err(Mismatch::Differs) if place.index > self.base().index => {
                    differs = differs.or(Some(at));
                }
                Err(Mismatch::Forked(_) | Mismatch::Differs) => return Err(Mismatch::Forked(place.index)),
            }
        }
        if differs.is_none()
            && let Some((_, run)) = self.stored_run(covered)
        {
            return Ok((run.end.index, Entries::new()));
        }
        // Only what stands here above the base can be equal: what was skipped below it was compared at the base, through the chain.
        Ok((covered, differs.map_or_else(Entries::new, |at| entries.part(at..entries.len()))))
    }

    /// Adds an entry at the end, without writing it.
    pub(super) fn push(&mut self, entry: Entry) {
        let last = self.last();
        assert_eq!(entry.index, last.index.next(), "R2: entry {} behind {}", entry.index, last.index);
        assert!(entry.term >= last.term, "R2: term {} behind term {}", entry.term, last.term);
        if entry.kind == EntryKind::Configuration {
            self.configure(&entry);
        }
        self.segments.push(entry);
    }

    /// Adds a run at the end, without writing it.
    pub(super) fn append(&mut self, entries: Entries) {
        let last = self.last();
        let Some(first) = entries.first() else { return };
        assert_eq!(first.index, last.index.next(), "R2: entry {} behind {}", first.index, last.index);
        assert!(first.term >= last.term, "R2: term {} behind term {}", first.term, last.term);
        entries.configurations().for_each(|entry| self.configure(entry));
        self.segments.append(entries);
    }

    fn configure(&mut self, entry: &Entry) {
        let delta = decode_delta(&entry.data).expect("checked when it was decoded or made");
        self.change(entry.index, delta);
    }

    fn change(&mut self, index: LogIndex, delta: Delta) {
        assert!(delta.fits(&self.configuration), "R9: {index} changes what is not in force");
        let mut configuration = Configuration::clone(&self.configuration);
        delta.apply(&mut configuration);
        let before = core::mem::replace(&mut self.configuration, Arc::new(configuration));
        let nothing = || Box::new(Changes { founding: before, deltas: Vec::new() });
        self.changes.get_or_insert_with(nothing).deltas.push((index, delta));
    }

    /// Removes everything from `index` on, and with it what the disk was said to hold of it.
    pub(super) fn truncate(&mut self, index: LogIndex) {
        let base = self.base().index;
        assert!(index > base, "R3: truncation at {index} reaches below the base {base}");
        rare!(ConfigurationCut, self.configurations_above(index.before()) > 0);
        let end = index.before();
        self.segments.truncate(end);
        if self.configured_at() >= index && !self.planted.has(Bug::ConfigurationSurvivesCut) {
            let configuration = self.configuration_at(end);
            self.keep_changes(configuration, |at| at < index);
        }
        self.durable = self.durable.min(end);
        self.unwritten = self.unwritten.min(index);
        sometimes!(WriteOfCutUnderWay, self.writing.iter().any(|(_, last)| *last > end));
        for (_, last) in &mut self.writing {
            if !self.planted.strikes(Bug::WrittenNotLowered, || *last > end) {
                *last = (*last).min(end);
            }
        }
    }

    /// Whether entries wait to be written.
    pub(super) fn has_unwritten(&self) -> bool {
        self.unwritten <= self.last().index
    }

    /// The next run to be written, entries of one term, and the place in front of it. When all are, [`Self::writing`] follows.
    pub(super) fn take_unwritten(&mut self, limits: RunLimits) -> Option<(Place, Entries)> {
        let (before, run, end) = self.segments.take_run(self.unwritten, limits)?;
        self.unwritten = end.index.next();
        Some((before, run))
    }

    /// The end of the log goes to the disk now; the number comes back through [`Self::written`].
    pub(super) fn writing(&mut self) -> u64 {
        self.serial += 1;
        self.writing.push((self.serial, self.last().index));
        self.serial
    }

    /// A write is durable, and all before it. Whether the durable end moved.
    pub(super) fn written(&mut self, serial: u64) -> bool {
        assert!(serial <= self.serial, "R17: write {serial} is durable, and {} were made", self.serial);
        let before = self.durable;
        let mut written = 0;
        for &(_, last) in self.writing.iter().take_while(|(number, _)| *number <= serial) {
            self.durable = self.durable.max(last);
            written += 1;
        }
        self.writing.drain(..written);
        self.durable > before
    }

    /// Another configuration is in force, and these of the changes stay.
    fn keep_changes(&mut self, configuration: Arc<Configuration>, stays: impl Fn(LogIndex) -> bool) {
        self.configuration = configuration;
        let Some(changes) = &mut self.changes else { return };
        changes.deltas.retain(|(at, _)| stays(*at));
        if changes.deltas.is_empty() && Arc::ptr_eq(&changes.founding, &self.configuration) {
            self.changes = None;
        }
    }

    /// Everything read back at recovery is durable.
    pub(super) fn all_durable(&mut self) {
        self.durable = self.last().index;
        self.unwritten = self.durable.next();
    }

    /// Drops entries up to `index`, which becomes the base, or the last place before it that is known.
    pub(super) fn compact(&mut self, index: LogIndex) {
        let place = self.place_upto(index.min(self.last().index));
        sometimes!(CutWithinStored, place.index < index);
        if place.index > self.base().index {
            self.advance(place);
        }
    }

    fn advance(&mut self, place: Place) {
        let index = place.index;
        let founding = self.configuration_at(index);
        if !self.planted.strikes(Bug::CutKeepsOldConfiguration, || founding != *self.founding())
            && let Some(changes) = &mut self.changes
        {
            changes.founding = founding;
        }
        self.segments.advance(place);
        self.keep_changes(Arc::clone(&self.configuration), |at| at > index);
        self.durable = self.durable.max(index);
        self.unwritten = self.unwritten.max(index.next());
    }

    /// Starts anew behind a snapshot. A log that holds the snapshot's place keeps what follows it.
    pub(super) fn reset(&mut self, place: Place, configuration: Configuration) {
        let keeps = place.index >= self.base().index && self.holds(place);
        if keeps && !self.planted.strikes(Bug::SnapshotDropsSuffix, || self.last().index > place.index) {
            sometimes!(SnapshotKeptSuffix);
            if place.index > self.base().index {
                self.advance(place);
            }
            let configuration = Arc::new(configuration);
            match &mut self.changes {
                None => self.configuration = configuration,
                Some(changes) => {
                    changes.founding = configuration;
                    self.configuration = self.changed_by(self.deltas().len());
                }
            }
            return;
        }
        let serial = self.serial;
        *self = Self::new(place, Arc::new(configuration), self.planted);
        self.serial = serial;
    }

    /// Term at which the entry at `index` was proposed.
    pub(super) fn term(&self, index: LogIndex) -> Option<Term> {
        self.segments.term(index)
    }

    pub(super) fn check_invariants(&self) {
        self.segments.check();
        let (base, last) = (self.base().index, self.last().index);
        assert!(self.durable <= last && self.durable >= base, "R3: durable outside the log");
        let unwritten = self.unwritten;
        let follows = unwritten > self.durable && unwritten <= last.next();
        assert!(follows, "R3: unwritten from {unwritten}, durable up to {}", self.durable);
        assert!(self.deltas().is_sorted_by_key(|(at, _)| *at), "R5: configurations out of order");
        let changes = self.segments.all().filter(|entry| entry.kind == EntryKind::Configuration);
        let stored = self.stored_upto().unwrap_or_default();
        let here = self.deltas().iter().map(|(at, _)| *at).filter(|at| *at > stored);
        assert!(here.eq(changes.map(|entry| entry.index)), "R5: the configurations are not those of the log");
        assert!(stored <= self.durable, "R23: what is not durable up to {stored} is taken for stored");
        let follows = self.changed_by(self.deltas().len()) == self.configuration;
        assert!(follows, "R9: the configuration does not follow from the log");
    }
}

#[cfg(test)]
mod tests;
