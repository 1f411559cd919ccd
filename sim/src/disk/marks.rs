//! What the files of a disk say of rows: that every one up to a certain row was durable. The store leaves such marks when the disk is at
//! rest, now and then under load, before dead rows are taken away, and whenever it begins another file. A crash may come between a mark and
//! its sync. What is wrong with a row in front of a mark is never a torn end.

use crate::event::{MILLI, SECOND, Time};

/// How long nothing is written before a mark is left.
const IDLE: Time = 250 * MILLI;
/// How often, at least, one is left under load.
const EVERY: Time = 5 * SECOND;
/// Bytes of a file: so few that most runs come to several.
const FILE: u64 = 32 << 10;

/// The marks of one disk.
#[derive(Clone, Debug, Default)]
pub(super) struct Marks {
    /// What the newest mark on the disk says.
    kept: u64,
    /// What the one before says.
    before: u64,
    /// Written, and synced with the next row, unless a crash comes first.
    pending: Option<u64>,
    /// When the last one was left.
    at: Time,
    /// Since when nothing waits to be written, and up to which row everything is on the disk.
    rest: Option<(Time, u64)>,
    /// Bytes in the last file.
    filled: u64,
}

impl Marks {
    /// Every row up to this one was on the disk once.
    pub(super) fn kept(&self) -> u64 {
        self.kept
    }

    /// A mark for rows up to this one is on the disk.
    pub(super) fn keep(&mut self, upto: u64) {
        if upto > self.kept {
            self.before = std::mem::replace(&mut self.kept, upto);
        }
    }

    /// A row is about to be written.
    pub(super) fn wakes(&mut self, now: Time) {
        if let Some((since, upto)) = self.rest.take()
            && now >= since + IDLE
        {
            self.at = since + IDLE;
            self.keep(upto);
        }
    }

    /// A sync ended: of rows behind `from`, so many bytes, after which everything up to a row is on the disk.
    pub(super) fn synced(&mut self, now: Time, from: u64, upto: u64, bytes: u64, at_rest: bool) {
        if let Some(upto) = self.pending.take() {
            self.keep(upto);
        }
        self.filled += bytes;
        if self.filled > FILE {
            self.filled = bytes;
            self.keep(from);
        }
        if now >= self.at + EVERY {
            self.at = now;
            self.pending = Some(upto);
        }
        self.rest = at_rest.then_some((now, upto));
    }

    /// The machine stops. `lucky`: a mark that was not synced yet is there.
    pub(super) fn crash(&mut self, now: Time, takes: Time, lucky: bool) {
        let rests = self.rest.take().filter(|(since, _)| now >= since + IDLE);
        if let Some((since, upto)) = rests
            && (lucky || now >= since + IDLE + takes)
        {
            self.keep(upto);
        }
        if let Some(upto) = self.pending.take().filter(|_| lucky) {
            self.keep(upto);
        }
        *self = Self { kept: self.kept, before: self.before, ..Self::default() };
    }

    /// The newest mark can be read no more.
    pub(super) fn lose(&mut self) {
        self.kept = self.before;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_left_at_rest_and_counts_once_it_is_synced() {
        let mut marks = Marks::default();
        marks.synced(SECOND, 0, 7, 100, true);
        marks.wakes(SECOND + IDLE - 1);
        assert_eq!(marks.kept(), 0, "nothing was at rest");
        marks.synced(2 * SECOND, 7, 9, 100, true);
        for (now, lucky, kept) in
            [(IDLE - 1, true, 0), (IDLE, false, 0), (IDLE, true, 9), (IDLE + MILLI, false, 9)]
        {
            let mut marks = marks.clone();
            marks.crash(2 * SECOND + now, MILLI, lucky);
            assert_eq!(marks.kept(), kept, "{now} {lucky}");
        }
        marks.wakes(2 * SECOND + IDLE);
        assert_eq!(marks.kept(), 9);
    }

    #[test]
    fn a_mark_is_left_under_load_and_comes_to_the_disk_with_what_is_written_next() {
        let mut marks = Marks::default();
        marks.synced(EVERY, 0, 7, 100, false);
        let mut crashed = marks.clone();
        crashed.crash(EVERY + 1, MILLI, false);
        assert_eq!(crashed.kept(), 0);
        marks.synced(EVERY + MILLI, 7, 8, 100, false);
        assert_eq!(marks.kept(), 7);
        marks.synced(EVERY + 2 * MILLI, 8, 9, 100, false);
        assert_eq!(marks.kept(), 7, "not so soon again");
    }

    #[test]
    fn another_file_says_that_what_lies_in_front_of_it_was_durable_and_a_lost_mark_leaves_the_one_before() {
        let mut marks = Marks::default();
        marks.synced(1, 0, 3, FILE, false);
        assert_eq!(marks.kept(), 0);
        marks.synced(2, 3, 5, 10, false);
        assert_eq!(marks.kept(), 3);
        marks.keep(5);
        marks.lose();
        assert_eq!(marks.kept(), 3);
    }
}
