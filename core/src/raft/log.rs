//! The log of one replica: entries above a base, their chain, and how much of them is durable.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::delta::Delta;
use super::message::{Entry, EntryKind, Place};
use super::wire::decode_delta;
use crate::configuration::{Configuration, Member};
use crate::digest::Chain;
use crate::id::{LogIndex, Term};
use crate::planted::{Bug, Planted};
use crate::rare;
use crate::sometimes;

/// Entries behind a base. Everything up to the base is committed and lives on in the owner's state.
#[derive(Clone, Debug)]
pub(super) struct Log {
    base: Place,
    entries: VecDeque<(Entry, Chain)>,
    /// The configuration that is in force at the base.
    founding: Configuration,
    /// What the entries change of it, by index.
    deltas: Vec<(LogIndex, Delta)>,
    /// What they come to: the configuration in force.
    configuration: Configuration,
    durable: LogIndex,
    /// Appends on their way to the disk: serial number, last index (lowered by truncation).
    writing: VecDeque<(u64, LogIndex)>,
    serial: u64,
    planted: Planted,
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
    pub(super) fn new(base: Place, configuration: Configuration, planted: Planted) -> Self {
        Self {
            base,
            entries: VecDeque::new(),
            founding: configuration.clone(),
            deltas: Vec::new(),
            configuration,
            durable: base.index,
            writing: VecDeque::new(),
            serial: 0,
            planted,
        }
    }

    pub(super) fn base(&self) -> Place {
        self.base
    }

    pub(super) fn first(&self) -> LogIndex {
        self.base.index.next()
    }

    pub(super) fn last(&self) -> Place {
        self.entries.back().map_or(self.base, |(entry, chain)| Place {
            index: entry.index,
            term: entry.term,
            chain: *chain,
        })
    }

    pub(super) fn durable(&self) -> LogIndex {
        self.durable
    }

    /// The durable end of the log.
    pub(super) fn durable_place(&self) -> Place {
        self.place(self.durable).unwrap_or(self.base)
    }

    pub(super) fn place(&self, index: LogIndex) -> Option<Place> {
        if index == self.base.index {
            return Some(self.base);
        }
        let at = index.0.checked_sub(self.base.index.0 + 1)?;
        let (entry, chain) = self.entries.get(usize::try_from(at).ok()?)?;
        Some(Place { index, term: entry.term, chain: *chain })
    }

    /// Entries from `from` on, up to so many and so many bytes; one at least, if there is one.
    pub(super) fn slice(&self, from: LogIndex, upto: LogIndex, most: usize, most_bytes: usize) -> Vec<Entry> {
        let mut bytes = 0;
        let start = (from.0.saturating_sub(self.base.index.0 + 1)) as usize;
        let wanted = self.entries.iter().skip(start).take(most).take_while(|(entry, _)| entry.index <= upto);
        let taken = wanted.take_while(|(entry, _)| {
            let fits = bytes == 0 || bytes + entry.data.len() <= most_bytes;
            bytes += entry.data.len().max(1);
            fits
        });
        taken.map(|(entry, _)| entry.clone()).collect()
    }

    pub(super) fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    /// Where the configuration in force stands.
    pub(super) fn configured_at(&self) -> LogIndex {
        self.deltas.last().map_or(self.base.index, |(at, _)| *at)
    }

    /// The entry that made a learner of `member`, of which it has been one since; the base if that lies behind.
    pub(super) fn named_at(&self, member: Member) -> LogIndex {
        let named = |(_, delta): &&(LogIndex, Delta)| delta.joining.binary_search(&member).is_ok();
        self.deltas.iter().rev().find(named).map_or(self.base.index, |(at, _)| *at)
    }

    /// How many configurations stand above `index`.
    pub(super) fn configurations_above(&self, index: LogIndex) -> usize {
        self.deltas.iter().rev().take_while(|(at, _)| *at > index).count()
    }

    /// The configuration in force at `index`.
    pub(super) fn configuration_at(&self, index: LogIndex) -> Configuration {
        if index >= self.configured_at() {
            return self.configuration.clone();
        }
        let upto = self.deltas.iter().take_while(|(at, _)| *at <= index).count();
        self.changed_by(&self.deltas[..upto])
    }

    /// What changes make of the configuration at the base.
    fn changed_by(&self, deltas: &[(LogIndex, Delta)]) -> Configuration {
        let mut configuration = self.founding.clone();
        deltas.iter().for_each(|(_, delta)| delta.apply(&mut configuration));
        configuration
    }

    /// The first of `entries` that changes a configuration other than the one in force where it would stand, if there is one (R9).
    pub(super) fn misfit(&self, entries: &[Entry]) -> Option<LogIndex> {
        let mut changes = entries.iter().filter(|entry| entry.kind == EntryKind::Configuration).peekable();
        changes.peek()?;
        // What stands behind their beginning is cut off before they take its place.
        let mut configuration = self.configuration_at(entries.first()?.index.before());
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
        if place.index < self.base.index {
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
            Some(_) | None => Err(Mismatch::Differs),
        }
    }

    /// The last index up to which another log that holds `place` may be equal: entries of later terms are not in it.
    pub(super) fn may_agree_upto(&self, place: Place) -> LogIndex {
        let older = |(entry, _): &(Entry, Chain)| entry.index <= place.index && entry.term <= place.term;
        LogIndex(self.base.index.0 + self.entries.partition_point(older) as u64)
    }

    /// The place before the first entry of the term that the entry at `index` has, or the end of the log if it is not there.
    pub(super) fn before_term_at(&self, index: LogIndex) -> Place {
        let Some(term) = self.term(index) else { return self.last() };
        let older = self.entries.partition_point(|(entry, _)| entry.term < term);
        self.place(LogIndex(self.base.index.0 + older as u64)).unwrap_or(self.base)
    }

    /// Compares entries behind `previous`, at which the logs agree, with what stands here: up to where both are equal if the rest is put in
    /// place, and that rest, from the first that differs or is missing. Entries that end below the base cover the base: it is committed.
    pub(super) fn compare(
        &self,
        previous: Place,
        mut entries: Vec<Entry>,
    ) -> Result<(LogIndex, Vec<Entry>), Mismatch> {
        let covered = LogIndex(previous.index.0 + entries.len() as u64);
        if covered < self.base.index {
            sometimes!(AppendBelowBase);
            return Ok((self.base.index, Vec::new()));
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
                Err(Mismatch::Differs) if place.index > self.base.index => {
                    differs = differs.or(Some(at));
                }
                Err(Mismatch::Forked(_) | Mismatch::Differs) => return Err(Mismatch::Forked(place.index)),
            }
        }
        // Only what stands here above the base can be equal: what was skipped below it was compared at the base, through the chain.
        Ok((covered, differs.map_or_else(Vec::new, |at| entries.split_off(at))))
    }

    /// Adds an entry at the end, without writing it.
    pub(super) fn push(&mut self, entry: Entry) {
        let last = self.last();
        assert_eq!(entry.index, last.index.next(), "R2: entry {} behind {}", entry.index, last.index);
        assert!(entry.term >= last.term, "R2: term {} behind term {}", entry.term, last.term);
        let chain = last.then(&entry).chain;
        if entry.kind == EntryKind::Configuration {
            let delta = decode_delta(&entry.data).expect("checked when it was decoded or made");
            assert!(delta.fits(&self.configuration), "R9: {} changes what is not in force", entry.index);
            delta.apply(&mut self.configuration);
            self.deltas.push((entry.index, delta));
        }
        self.entries.push_back((entry, chain));
    }

    /// Removes everything from `index` on, and with it what the disk was said to hold of it.
    pub(super) fn truncate(&mut self, index: LogIndex) {
        assert!(
            index > self.base.index,
            "R3: truncation at {index} reaches below the base {}",
            self.base.index
        );
        rare!(ConfigurationCut, self.configurations_above(index.before()) > 0);
        self.entries.truncate((index.0 - self.base.index.0 - 1) as usize);
        if self.configured_at() >= index && !self.planted.has(Bug::ConfigurationSurvivesCut) {
            self.configuration = self.configuration_at(index.before());
            self.deltas.retain(|(at, _)| *at < index);
        }
        let end = index.before();
        self.durable = self.durable.min(end);
        sometimes!(WriteOfCutUnderWay, self.writing.iter().any(|(_, last)| *last > end));
        for (_, last) in &mut self.writing {
            if !self.planted.strikes(Bug::WrittenNotLowered, || *last > end) {
                *last = (*last).min(end);
            }
        }
    }

    /// The end of the log goes to the disk now; the number comes back through [`Self::written`].
    pub(super) fn writing(&mut self) -> u64 {
        self.serial += 1;
        self.writing.push_back((self.serial, self.last().index));
        self.serial
    }

    /// A write is durable, and all before it. Whether the durable end moved.
    pub(super) fn written(&mut self, serial: u64) -> bool {
        let before = self.durable;
        while let Some(&(number, last)) = self.writing.front()
            && number <= serial
        {
            self.durable = self.durable.max(last);
            self.writing.pop_front();
        }
        self.durable > before
    }

    /// Everything read back at recovery is durable.
    pub(super) fn all_durable(&mut self) {
        self.durable = self.last().index;
    }

    /// Drops entries up to `index`, which becomes the base.
    pub(super) fn compact(&mut self, index: LogIndex) {
        let Some(place) = self.place(index).filter(|place| place.index > self.base.index) else { return };
        let founding = self.configuration_at(index);
        if !self.planted.strikes(Bug::CutKeepsOldConfiguration, || founding != self.founding) {
            self.founding = founding;
        }
        self.entries.drain(..(index.0 - self.base.index.0) as usize);
        self.deltas.retain(|(at, _)| *at > index);
        self.base = place;
        self.durable = self.durable.max(place.index);
    }

    /// Starts anew behind a snapshot. A log that holds the snapshot's place keeps what follows it.
    pub(super) fn reset(&mut self, place: Place, configuration: Configuration) {
        if self.place(place.index) == Some(place) {
            sometimes!(SnapshotKeptSuffix);
            self.compact(place.index);
            self.founding = configuration;
            self.configuration = self.changed_by(&self.deltas);
            return;
        }
        let serial = self.serial;
        *self = Self::new(place, configuration, self.planted);
        self.serial = serial;
    }

    /// Term at which the entry at `index` was proposed.
    pub(super) fn term(&self, index: LogIndex) -> Option<Term> {
        self.place(index).map(|place| place.term)
    }

    pub(super) fn check_invariants(&self) {
        let mut place = self.base;
        for (entry, chain) in &self.entries {
            assert_eq!(entry.index, place.index.next(), "R2: a gap in the log");
            place = place.then(entry);
            assert_eq!(*chain, place.chain, "R2: the chain is broken at {}", entry.index);
        }
        assert!(
            self.durable <= place.index && self.durable >= self.base.index,
            "R3: durable outside the log"
        );
        assert!(self.deltas.is_sorted_by_key(|(at, _)| *at), "R5: configurations out of order");
        let changes = self.entries.iter().filter(|(entry, _)| entry.kind == EntryKind::Configuration);
        assert!(
            self.deltas.iter().map(|(at, _)| *at).eq(changes.map(|(entry, _)| entry.index)),
            "R5: the configurations are not those of the log"
        );
        let follows = self.changed_by(&self.deltas) == self.configuration;
        assert!(follows, "R9: the configuration does not follow from the log");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{NodeId, ReplicaId};
    use crate::raft::wire::encode_delta;
    use bytes::Bytes;

    fn log(terms: &[u64]) -> Log {
        let mut log = Log::new(Place::default(), Configuration::default(), Planted::none());
        for &term in terms {
            push(&mut log, term);
        }
        log
    }

    fn push(log: &mut Log, term: u64) {
        let index = log.last().index.next();
        log.push(Entry { index, term: Term(term), kind: EntryKind::Command, data: Bytes::new(), weight: 0 });
    }

    #[test]
    fn truncation_lowers_what_is_durable_and_what_is_being_written() {
        let mut log = log(&[1, 1]);
        let first = log.writing();
        push(&mut log, 1);
        let second = log.writing();
        assert!(log.written(first));
        assert_eq!(log.durable(), LogIndex(2));
        log.truncate(LogIndex(2));
        push(&mut log, 2);
        push(&mut log, 2);
        let third = log.writing();
        assert!(!log.written(second), "the second write held entries that are no more");
        assert_eq!(log.durable(), LogIndex(1));
        assert!(log.written(third));
        assert_eq!(log.durable(), LogIndex(3));
    }

    #[test]
    fn equal_places_with_other_content_are_a_fork() {
        let mut a = log(&[1, 1]);
        let mut b = log(&[1, 1]);
        a.push(Entry {
            index: LogIndex(3),
            term: Term(2),
            kind: EntryKind::Command,
            data: Bytes::new(),
            weight: 0,
        });
        let data = Bytes::from_static(b"other");
        b.push(Entry { index: LogIndex(3), term: Term(2), kind: EntryKind::Command, data, weight: 0 });
        assert_eq!(a.agrees(b.last()), Err(Mismatch::Forked(LogIndex(3))));
        assert_eq!(a.agrees(log(&[1, 1]).last()), Ok(()));
        assert_eq!(a.agrees(log(&[1, 1, 3]).last()), Err(Mismatch::Differs));
        assert_eq!(a.agrees(log(&[1, 1, 2, 2]).last()), Err(Mismatch::Differs));
    }

    fn learners(numbers: &[u128]) -> Configuration {
        let member = |&n: &u128| Member { node: NodeId(n), replica: ReplicaId(n) };
        Configuration::simple(Vec::new(), numbers.iter().map(member).collect())
    }

    fn change(index: u64, before: &[u128], after: &[u128]) -> Entry {
        let data = encode_delta(&Delta::between(&learners(before), &learners(after)));
        Entry { index: LogIndex(index), term: Term(1), kind: EntryKind::Configuration, data, weight: 0 }
    }

    #[test]
    fn the_configuration_follows_from_the_log_whatever_is_cut_at_either_end() {
        let mut log = log(&[1]);
        let steps: [&[u128]; 4] = [&[], &[1, 2], &[2, 3], &[3]];
        for (before, after) in steps.iter().zip(&steps[1..]) {
            log.push(change(log.last().index.next().0, before, after));
        }
        let at = |log: &Log, index| log.configuration_at(LogIndex(index));
        for (index, step) in (1..).zip(&steps) {
            assert_eq!(at(&log, index), learners(step));
        }
        let named = |log: &Log, n| log.named_at(Member { node: NodeId(n), replica: ReplicaId(n) });
        assert_eq!([1, 2, 3].map(|n| named(&log, n)), [2, 2, 3].map(LogIndex));
        log.truncate(LogIndex(4));
        assert_eq!((log.configuration(), log.configured_at()), (&learners(&[2, 3]), LogIndex(3)));
        log.compact(LogIndex(2));
        assert_eq!((at(&log, 2), at(&log, 3)), (learners(&[1, 2]), learners(&[2, 3])));
        log.compact(LogIndex(3));
        assert_eq!((log.configuration(), log.configured_at()), (&learners(&[2, 3]), LogIndex(3)));
        assert_eq!(named(&log, 3), LogIndex(3), "at the base or before");
        log.check_invariants();
    }

    #[test]
    fn an_entry_that_changes_another_configuration_does_not_fit() {
        let mut log = log(&[1]);
        log.push(change(2, &[], &[1, 2]));
        assert_eq!(log.misfit(&[change(3, &[1, 2], &[1]), change(4, &[1], &[])]), None);
        assert_eq!(log.misfit(&[change(3, &[], &[2])]), Some(LogIndex(3)), "it learns already");
        assert_eq!(log.misfit(&[change(3, &[1, 2], &[1]), change(4, &[2], &[])]), Some(LogIndex(4)));
        assert_eq!(log.misfit(&[change(2, &[], &[2])]), None, "in the place of what stands there");
        let blank = Entry { kind: EntryKind::Blank, data: Bytes::new(), ..change(2, &[], &[]) };
        assert_eq!(log.misfit(&[blank, change(3, &[], &[2])]), None, "what stands there is cut off");
    }

    #[test]
    fn compaction_and_reset_keep_what_follows() {
        let mut log = log(&[1, 1, 2, 2]);
        let place = log.place(LogIndex(3)).expect("there");
        log.compact(LogIndex(2));
        assert_eq!((log.first(), log.last().index), (LogIndex(3), LogIndex(4)));
        log.reset(place, Configuration::default());
        assert_eq!((log.first(), log.last().index), (LogIndex(4), LogIndex(4)));
        log.check_invariants();
        log.reset(
            Place { index: LogIndex(9), term: Term(3), chain: Chain([1; 16]) },
            Configuration::default(),
        );
        assert_eq!((log.base().index, log.last().index), (LogIndex(9), LogIndex(9)));
    }
}
