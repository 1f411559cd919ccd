//! What a replica does about entries that are only on the disk. See [`shelf`](super::shelf).

use super::Output;
use super::context::Context;
use super::entries::Entries;
use super::group::Group;
use super::message::Place;
use super::roles::Role;
use super::segments::RunLimits;
use super::shelf::Reading;
use super::stored::Run;
use super::write::{LOG, key};
use crate::id::LogIndex;
use crate::sometimes;

impl Group {
    /// Entries from `from` to `upto` that are only stored, within limits, and the place in front of them. `None` if they are not at hand: they
    /// are read, and whoever needs them is told.
    pub(super) fn stored_entries(
        &self,
        context: &mut Context<'_>,
        (before, run): (Place, Run),
        (from, upto): (LogIndex, LogIndex),
        limits: RunLimits,
    ) -> Option<(Place, Entries)> {
        let part = context.shelf.part((self.generation, before), &run, (from, upto));
        if part.is_none() {
            self.read_run(context, run);
        }
        self.read_ahead(context, run);
        let (previous, entries) = part?;
        let fits = limits.count(&entries);
        Some((previous, entries.part(0..fits)))
    }

    /// The member at that place is sent nothing until entries for it were read.
    pub(super) fn waits_for_entries(&mut self, place: usize) {
        let Role::Leader(leading) = &mut self.role else { return };
        if let Some(progress) = leading.progress.at_mut(place) {
            progress.begins_reading();
        }
    }

    /// The place at `index`, if it is known or at hand. Else it will be.
    pub(super) fn place_or_read(&self, context: &mut Context<'_>, index: LogIndex) -> Option<Place> {
        let known = self.log.place(index);
        let Some((before, run)) = self.log.stored_run(index).filter(|_| known.is_none()) else {
            return known;
        };
        let limits = RunLimits { entries: usize::MAX, bytes: usize::MAX };
        let (previous, entries) =
            self.stored_entries(context, (before, run), (before.index.next(), index), limits)?;
        Some(entries.iter().fold(previous, Place::then))
    }

    fn reading(&self, run: Run) -> Reading {
        Reading { name: (self.generation, run.end.index), slot: self.slot, run }
    }

    fn read_run(&self, context: &mut Context<'_>, run: Run) {
        if context.shelf.has(self.generation, &run) {
            sometimes!(LoadShared);
            return;
        }
        match context.shelf.read(self.reading(run), None) {
            Some(token) => self.load(context, token, run),
            None => context.shelf.wait(self.slot),
        }
    }

    /// Reads some of the runs behind `run`, if there is room: they will be asked for next.
    fn read_ahead(&self, context: &mut Context<'_>, run: Run) {
        let (mut at, mut runs, mut bytes) = (run.end.index.next(), 0, 0);
        while let Some((_, next)) = self.log.stored_run(at) {
            if !context.shelf.has(self.generation, &next) {
                let Some(token) = context.shelf.read(self.reading(next), Some((runs, bytes))) else { return };
                sometimes!(EntriesReadAhead);
                self.load(context, token, next);
            }
            (at, runs, bytes) = (next.end.index.next(), runs + 1, bytes + next.cost);
            if runs >= super::shelf::AHEAD {
                return;
            }
        }
    }

    fn load(&self, context: &mut Context<'_>, token: u64, run: Run) {
        context.out.push_back(Output::Load { token, key: key(self.id, LOG, run.slot.0) });
    }

    /// The entries of a run that was read, if the log still has it there and they are those that it had.
    ///
    /// # Errors
    /// They are others.
    pub(super) fn read_back(
        &self,
        context: &Context<'_>,
        run: &Run,
        entries: Option<Entries>,
    ) -> Result<Option<(Place, Entries)>, &'static str> {
        let now = self.log.stored_run(run.end.index);
        let Some((before, now)) = now.filter(|(_, now)| (now.end, now.slot) == (run.end, run.slot)) else {
            sometimes!(LoadOutlived);
            return Ok(None);
        };
        let entries = entries.ok_or("it is not there, or not what was written")?;
        let (skip, end) = ((now.first.0 - now.slot.0) as usize, (now.end.index.0 + 1 - now.slot.0) as usize);
        if end > entries.len() {
            return Err("it ends too early");
        }
        let entries = entries.part(skip..end);
        let found = entries.iter().fold(before, Place::then);
        let other = found != now.end;
        if other && !context.planted.has(crate::planted::Bug::ReadChainNotCompared) {
            return Err("its entries are not those that the log had there");
        }
        Ok(Some((now.end, entries)))
    }

    /// Something was read, or there is room to read: what waited for that goes on.
    pub(super) fn go_on_reading(&mut self, context: &mut Context<'_>) {
        if self.awaits_stored() {
            sometimes!(StoredApplied);
            self.apply(context);
        }
        let mut waiting = alloc::vec::Vec::new();
        if let Role::Leader(leading) = &mut self.role {
            for progress in leading.progress.iter_mut() {
                if progress.ends_reading() {
                    waiting.push(progress.member.node);
                }
            }
        }
        for node in waiting {
            self.news_for(node);
        }
        self.give_copies_again(context);
    }

    /// Whether the owner waits for entries that are only stored.
    pub(super) fn awaits_stored(&self) -> bool {
        self.applied < self.commit.min(self.log.durable())
            && self.log.stored_run(self.applied.next()).is_some()
    }
}
