//! What a start makes of the files that it finds.
//!
//! - A crash leaves the end of the last segment in any state, and perhaps one segment behind it that has nothing in it yet. Whatever else
//!   is wrong with the files is damage.
//! - Of what lies behind the last mark nobody knows that it is on the disk, though it can be read: the process that wrote it may have ended
//!   before its sync, and after a sync that failed the system keeps in memory, as if it were written, what is not. So it is written again
//!   and synced before anything is answered by it; but not before the rows are found to be sound, for what is damaged is left as it is.
//! - That there is a segment says that every row in front of it was durable, for it is begun after their sync.

use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;
use std::thread;

use bytes::Bytes;
use wattle_core::id::Ticket;

use super::segment::{Found, Place, Segment};
use super::{Files, RecoveryError, Store, StoreError, Tail, about, with_reserve};
use crate::space::is_full;

/// Segments read ahead of the one whose rows are being taken.
const READ_AHEAD: usize = 1;

impl<F: Files> Store<F> {
    /// Hands over every row in rising order of tickets. To be called once, before the first commit. Returns the last row that is known to
    /// have been durable. Changes nothing: that the others are takes [`Self::settle`].
    ///
    /// # Errors
    /// [`RecoveryError`]: the store's, or whatever `take` said of a row. Nothing can be committed then.
    pub fn recover<E>(
        &mut self,
        take: impl FnMut(Ticket, Bytes) -> Result<(), E>,
    ) -> Result<Ticket, RecoveryError<E>> {
        self.failed = true;
        self.read_all(take)?;
        self.recovered = true;
        self.failed = false;
        self.count();
        Ok(Ticket(self.marked))
    }

    /// Makes durable whatever was handed over. Nothing may be answered by it before.
    ///
    /// # Errors
    /// The store's. Nothing can be committed then.
    pub fn settle(&mut self) -> Result<(), StoreError> {
        if self.failed {
            return Err(StoreError::Failed);
        }
        let settled = self.write_again();
        self.failed = settled.is_err();
        settled
    }

    /// Finds out what is there without handing it to anybody.
    pub(super) fn skim(&mut self) -> Result<(), StoreError> {
        match self.recover(|_, _| Ok::<(), std::convert::Infallible>(())) {
            Ok(_) => self.settle(),
            Err(RecoveryError::Store(error)) => Err(error),
            Err(RecoveryError::Refused(never)) => match never {},
        }
    }

    fn read_all<E>(
        &mut self,
        mut take: impl FnMut(Ticket, Bytes) -> Result<(), E>,
    ) -> Result<(), RecoveryError<E>> {
        let stored = RecoveryError::Store;
        let paths = Segment::list(&self.files, &self.directory).map_err(about(&self.directory));
        let paths = paths.map_err(stored)?;
        let mut last = Bytes::new();
        let (ahead, read) = sync_channel(READ_AHEAD);
        thread::scope(|scope| {
            let (reads, files) = (paths.clone(), self.files.clone());
            // What is read is checked and decoded meanwhile.
            scope.spawn(move || {
                reads.iter().map(|path| files.read(path)).try_for_each(|bytes| ahead.send(bytes))
            });
            for (path, bytes) in paths.into_iter().zip(read) {
                let bytes = Bytes::from(bytes.map_err(about(&path)).map_err(stored)?);
                let Some(places) = self.found(path, &bytes).map_err(stored)? else { continue };
                for Place { ticket, at, len } in places {
                    let row = bytes.slice(at as usize..(at + len) as usize);
                    take(Ticket(ticket), row).map_err(RecoveryError::Refused)?;
                }
                last = bytes;
            }
            Ok(())
        })?;
        self.doubt(&last);
        Ok(())
    }

    /// Takes a segment in. Returns the rows that are handed over; `None` if nothing is in it yet.
    fn found(&mut self, path: PathBuf, bytes: &[u8]) -> Result<Option<Vec<Place>>, StoreError> {
        let damaged = |path: &Path, what| StoreError::Damaged { path: path.to_owned(), what };
        if let Some(unfinished) = &self.unfinished {
            let what = "nothing is in it, though another segment was begun behind it";
            return Err(damaged(unfinished, what.to_owned()));
        }
        let first = Segment::named(&path).map_err(|what| damaged(&path, what))?;
        let mut index = self.shared.write();
        let before = index.segments.back();
        if let Some((before, row)) = before.and_then(|before| Some((before, before.last()?)))
            && row >= first
        {
            let what = format!("it has row {row}, though another segment begins with row {first}");
            return Err(damaged(&before.path, what));
        }
        self.marked = self.marked.max(first.saturating_sub(1));
        match Segment::read(path.clone(), bytes).map_err(|what| damaged(&path, what))? {
            Found::Unfinished => {
                self.unfinished = Some(path);
                Ok(None)
            }
            Found::Segment(segment) => {
                let places = segment.places.clone();
                self.marked = self.marked.max(segment.marked.map_or(0, |(upto, _)| upto));
                index.segments.push_back(segment);
                Ok(Some(places))
            }
        }
    }

    /// Remembers what of the last segment, which is `bytes`, may not be on the disk. The segments in front of it are.
    fn doubt(&mut self, bytes: &Bytes) {
        let mut index = self.shared.write();
        let Some(last) = index.segments.back_mut() else { return };
        let from = last.marked.map_or(0, |(_, end)| end);
        let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
        let doubtful = bytes.slice(place(from)..place(last.end));
        // How long it is on the disk is doubtful then, too.
        last.clean &= doubtful.is_empty();
        self.doubtful = Some((from, doubtful));
    }

    fn write_again(&mut self) -> Result<(), StoreError> {
        let Some((from, doubtful)) = self.doubtful.take() else { return Ok(()) };
        // The names first: a segment that is there and nowhere else said to be must stay.
        self.sync_names()?;
        let index = self.shared.read();
        let Some(last) = index.segments.back().filter(|_| !doubtful.is_empty()) else { return Ok(()) };
        let file = self.files.open(&last.path).map_err(about(&last.path))?;
        with_reserve(&self.reserve, || self.files.write(&file, &doubtful, from))
            .map_err(about(&last.path))?;
        self.tally.wrote(doubtful.len());
        self.sync(&file).map_err(about(&last.path))
    }

    /// Takes away everything from a row on: it was found and does not count. Then the rows that take its place may be written.
    pub(super) fn go_on_at(&mut self, first: u64) -> Result<(), StoreError> {
        if first <= self.marked {
            return Err(StoreError::Overwrites { first, marked: self.marked });
        }
        if let Some(path) = self.unfinished.take() {
            self.files.remove(&path).map_err(about(&path))?;
            self.sync_names()?;
        }
        self.durable = first - 1;
        let mut index = self.shared.write();
        let Some(last) = index.segments.back_mut() else { return Ok(()) };
        if last.last().is_some_and(|row| row >= first) {
            last.cut(first);
        }
        let file = self.files.open(&last.path).map_err(about(&last.path))?;
        if !last.clean {
            last.size = self.emptied(&file, last.end, last.size).map_err(about(&last.path))?;
            last.clean = true;
        }
        let (path, salt, end, size) = (last.path.clone(), last.salt, last.end, last.size);
        self.tail = Some(Tail { file, path, salt, end, size });
        Ok(())
    }

    /// Takes away what a file has behind its end, and gives it room for so much again if there is any. Returns how long it is.
    fn emptied(&self, file: &F::File, end: u64, size: u64) -> std::io::Result<u64> {
        self.files.set_len(file, end)?;
        let size = size.max(end);
        let size = match with_reserve(&self.reserve, || self.files.allocate(file, size)) {
            // Then what is written next has a file of its own, as large as there is room for.
            Err(error) if is_full(&error) => self.files.set_len(file, end).map(|()| end)?,
            done => done.map(|()| size)?,
        };
        self.sync(file)?;
        Ok(size)
    }
}
