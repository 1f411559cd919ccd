//! A disk of rows. What is written is pending until a sync ends that began after it; a crash keeps of the pending rows a prefix,
//! or, on a disk without transactions, any subset, some of them torn. Trims are carried out whenever it pleases the disk.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use crate::event::Time;
use crate::plan::DiskPlan;
use crate::random::Draws;

/// However slow a disk is: an access begun under a fault ends soon after the fault.
const SLOWEST: Time = 3_000 * crate::event::MILLI;

/// What is lost and torn in pieces of this size.
const SECTOR: usize = 512;

/// A disk.
#[derive(Debug)]
pub struct Disk {
    plan: DiskPlan,
    /// Synced rows by ticket.
    rows: BTreeMap<u64, Bytes>,
    /// Rows that no sync has covered, in the order they were written.
    pending: VecDeque<(u64, Bytes)>,
    /// How many of them the sync under way covers.
    syncing: Option<usize>,
    used: u64,
    /// Less than planned while somebody else fills the disk.
    capacity: u64,
    /// How many times longer everything takes.
    slowness: u64,
    failing: bool,
    /// A row found no room: what is written after it must not stay without it.
    refusing: bool,
    image: Option<BTreeMap<u64, Bytes>>,
    told_free: Option<u64>,
}

/// How a write was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// It is pending.
    Pending,
    /// It fits neither the disk nor its reserve: the next sync fails.
    NoRoom,
}

/// How a sync ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Synced {
    /// Everything up to this ticket is safe.
    Upto(u64),
    /// It failed; nothing is known of what it covered.
    Failed,
}

impl Disk {
    /// An empty disk.
    #[must_use]
    pub fn new(plan: DiskPlan) -> Self {
        Self {
            plan,
            rows: BTreeMap::new(),
            pending: VecDeque::new(),
            syncing: None,
            used: 0,
            capacity: plan.capacity,
            slowness: 1,
            failing: false,
            refusing: false,
            image: None,
            told_free: None,
        }
    }

    /// All rows in rising order of tickets, as a node reads them when it starts.
    pub fn rows(&self) -> impl Iterator<Item = (u64, &Bytes)> {
        self.rows.iter().map(|(&ticket, row)| (ticket, row))
    }

    /// Takes a row.
    pub fn write(&mut self, ticket: u64, row: Bytes) -> Written {
        let len = row.len() as u64;
        if self.refusing || self.used + len > self.capacity + self.plan.reserve {
            self.refusing = true;
            self.failing = true;
            return Written::NoRoom;
        }
        self.used += len;
        self.pending.push_back((ticket, row));
        Written::Pending
    }

    /// Begins a sync if there is something to sync and none is under way; says how long it takes.
    pub fn begin_sync(&mut self, draws: &mut Draws) -> Option<Time> {
        if self.syncing.is_some() || (self.pending.is_empty() && !self.refusing) {
            return None;
        }
        self.syncing = Some(self.pending.len());
        Some(self.takes(draws))
    }

    /// How long one access takes now.
    pub fn takes(&self, draws: &mut Draws) -> Time {
        let (fastest, slowest) = self.plan.sync;
        draws.between(fastest, slowest).saturating_mul(self.slowness).min(SLOWEST)
    }

    /// The sync under way ends.
    pub fn end_sync(&mut self) -> Synced {
        let covered = self.syncing.take().unwrap_or(0);
        if self.failing {
            return Synced::Failed;
        }
        let mut upto = 0;
        for (ticket, row) in self.pending.drain(..covered) {
            upto = ticket.max(upto);
            if let Some(old) = self.rows.insert(ticket, row) {
                self.used -= old.len() as u64;
            }
        }
        Synced::Upto(upto)
    }

    /// Part of a row, synced or not; `None` if it is not there.
    #[must_use]
    pub fn load(&self, ticket: u64, offset: usize, len: usize) -> Option<Bytes> {
        let pending = self.pending.iter().rev().find(|(number, _)| *number == ticket).map(|(_, row)| row);
        let row = pending.or_else(|| self.rows.get(&ticket))?;
        (offset.checked_add(len)? <= row.len()).then(|| row.slice(offset..offset + len))
    }

    /// Removes the rows below a ticket.
    pub fn trim(&mut self, below: u64) {
        let kept = self.rows.split_off(&below);
        self.used -= self.rows.values().map(|row| row.len() as u64).sum::<u64>();
        self.rows = kept;
    }

    /// The machine stops: decides what of the pending rows was on disk by then. Says how many were kept whole, torn, lost.
    pub fn crash(&mut self, draws: &mut Draws) -> Left {
        let pending = std::mem::take(&mut self.pending);
        let mut left = Left::default();
        if self.plan.rows_may_tear {
            let mood = draws.index(4);
            for (ticket, row) in pending {
                let fate = match mood {
                    0 => Fate::Lost,
                    1 => Fate::Kept,
                    _ => [Fate::Kept, Fate::Lost, Fate::Torn][draws.index(3)],
                };
                match fate {
                    Fate::Kept => self.keep(ticket, row, &mut left.kept),
                    Fate::Torn => self.keep(ticket, tear(&row, draws), &mut left.torn),
                    Fate::Lost => left.lost += 1,
                }
            }
        } else {
            let kept = draws.index(pending.len() + 1);
            for (place, (ticket, row)) in pending.into_iter().enumerate() {
                if place < kept {
                    self.keep(ticket, row, &mut left.kept);
                } else {
                    left.lost += 1;
                }
            }
        }
        self.restart();
        left
    }

    fn keep(&mut self, ticket: u64, row: Bytes, count: &mut usize) {
        self.rows.insert(ticket, row);
        *count += 1;
    }

    fn restart(&mut self) {
        self.pending.clear();
        self.syncing = None;
        self.failing = false;
        self.refusing = false;
        self.told_free = None;
        self.used = self.rows.values().map(|row| row.len() as u64).sum();
    }

    /// Remembers the synced rows as they are now.
    pub fn take_image(&mut self) {
        self.image = Some(self.rows.clone());
    }

    /// Puts the remembered rows in place of the present ones; `false` if none were remembered.
    pub fn roll_back(&mut self) -> bool {
        let Some(image) = self.image.clone() else { return false };
        self.rows = image;
        self.restart();
        true
    }

    /// The next sync fails.
    pub fn fail_next_sync(&mut self) {
        self.failing = true;
    }

    /// Somebody else fills the disk so that only `left` bytes are free, or (`None`) cleans up again.
    pub fn fill(&mut self, left: Option<u64>) {
        self.capacity =
            left.map_or(self.plan.capacity, |left| self.used.saturating_add(left).min(self.plan.capacity));
    }

    /// Everything takes so many times as long.
    pub fn slow(&mut self, factor: u64) {
        self.slowness = factor;
    }

    /// Quick, roomy and sound from now on.
    pub fn heal(&mut self) {
        self.capacity = self.plan.capacity;
        self.slowness = 1;
        self.failing = self.refusing;
        self.plan.sync = (self.plan.sync.0.min(200_000), self.plan.sync.0.min(200_000) * 2);
    }

    /// How many bytes are free beside the reserve, if that changed notably since it was last told.
    pub fn news_of_space(&mut self) -> Option<u64> {
        let free = self.capacity.saturating_sub(self.used);
        let notable = self.told_free.is_none_or(|told| {
            let change = free.abs_diff(told);
            change > told / 64 || (free == 0) != (told == 0)
        });
        notable.then(|| {
            self.told_free = Some(free);
            free
        })
    }
}

#[derive(Clone, Copy)]
enum Fate {
    Kept,
    Torn,
    Lost,
}

/// What a crash left of the pending rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// Whole.
    pub kept: usize,
    /// Damaged.
    pub torn: usize,
    /// Gone.
    pub lost: usize,
}

/// A row as a crash in the middle of its write leaves it: cut short, or with sectors that were never written.
fn tear(row: &Bytes, draws: &mut Draws) -> Bytes {
    if draws.percent(50) {
        return row.slice(..draws.index(row.len().max(1)));
    }
    let mut torn = row.to_vec();
    let victim = draws.index(torn.len().div_ceil(SECTOR).max(1));
    let zeros = draws.percent(50);
    for (place, sector) in torn.chunks_mut(SECTOR).enumerate() {
        if place == victim || draws.percent(30) {
            sector.iter_mut().for_each(|byte| *byte = if zeros { 0 } else { draws.u64() as u8 });
        }
    }
    torn.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Purpose;

    fn disk(rows_may_tear: bool) -> Disk {
        Disk::new(DiskPlan { sync: (10, 20), rows_may_tear, slack: 1_000, capacity: 10_000, reserve: 2_000 })
    }

    fn draws(ordinal: u64) -> Draws {
        Draws::new(3, Purpose::Crash, 0, ordinal)
    }

    fn row(ticket: u64) -> Bytes {
        Bytes::from(vec![ticket as u8; 700])
    }

    #[test]
    fn a_sync_covers_what_was_pending_when_it_began_and_no_more() {
        let mut disk = disk(false);
        assert_eq!(disk.begin_sync(&mut draws(0)), None, "nothing to sync");
        disk.write(1, row(1));
        disk.write(2, row(2));
        assert!((10..=20).contains(&disk.begin_sync(&mut draws(0)).expect("two rows wait")));
        disk.write(3, row(3));
        assert_eq!(disk.begin_sync(&mut draws(0)), None, "one is under way");
        assert_eq!(disk.end_sync(), Synced::Upto(2));
        assert_eq!(disk.load(3, 0, 3).as_deref(), Some(&[3, 3, 3][..]), "a load sees pending rows");
        let left = disk.crash(&mut draws(1));
        assert_eq!(left.kept + left.lost, 1);
        assert!(disk.rows().map(|(ticket, _)| ticket).take(2).eq([1, 2]), "synced rows survive");
    }

    #[test]
    fn a_crash_of_a_transactional_disk_keeps_every_prefix_now_and_then_and_nothing_else() {
        let mut seen = [0; 5];
        for ordinal in 0..200 {
            let mut disk = disk(false);
            (1..=4).for_each(|ticket| assert_eq!(disk.write(ticket, row(ticket)), Written::Pending));
            disk.crash(&mut draws(ordinal));
            let kept: Vec<u64> = disk.rows().map(|(ticket, _)| ticket).collect();
            assert_eq!(kept, (1..=kept.len() as u64).collect::<Vec<_>>());
            assert!(disk.rows().all(|(ticket, bytes)| *bytes == row(ticket)));
            seen[kept.len()] += 1;
        }
        assert!(seen.iter().all(|&times| times > 10), "{seen:?}");
    }

    #[test]
    fn a_crash_of_a_raw_disk_leaves_gaps_and_torn_rows() {
        let (mut gaps, mut torn, mut whole) = (0, 0, 0);
        for ordinal in 0..200 {
            let mut disk = disk(true);
            (1..=4).for_each(|ticket| assert_eq!(disk.write(ticket, row(ticket)), Written::Pending));
            let left = disk.crash(&mut draws(ordinal));
            let kept: Vec<u64> = disk.rows().map(|(ticket, _)| ticket).collect();
            gaps += u32::from(kept != (1..=kept.len() as u64).collect::<Vec<_>>());
            torn += u32::from(left.torn > 0);
            whole += u32::from(left.kept == 4);
            let damaged = disk.rows().filter(|(ticket, bytes)| **bytes != row(*ticket)).count();
            assert!(damaged <= left.torn);
        }
        assert!(gaps > 40 && torn > 40 && whole > 20, "gaps {gaps}, torn {torn}, whole {whole}");
    }

    #[test]
    fn an_image_brings_back_exactly_what_was_synced_then() {
        let mut disk = disk(false);
        assert!(!disk.roll_back(), "there is no image yet");
        disk.write(1, row(1));
        disk.begin_sync(&mut draws(0));
        disk.end_sync();
        disk.write(2, row(2));
        disk.take_image();
        disk.begin_sync(&mut draws(0));
        disk.end_sync();
        assert!(disk.roll_back());
        assert!(disk.rows().map(|(ticket, _)| ticket).eq([1]));
    }

    #[test]
    fn a_full_disk_tells_its_space_lives_on_its_reserve_and_then_refuses() {
        let mut disk = disk(false);
        assert_eq!(disk.news_of_space(), Some(10_000));
        assert_eq!(disk.news_of_space(), None, "nothing new");
        disk.fill(Some(500));
        assert_eq!(disk.news_of_space(), Some(500));
        assert_eq!(disk.write(1, row(1)), Written::Pending);
        assert_eq!(disk.news_of_space(), Some(0));
        assert_eq!(disk.write(2, row(2)), Written::Pending);
        assert_eq!(disk.write(3, row(3)), Written::Pending);
        assert_eq!(disk.write(4, row(4)), Written::NoRoom, "500 and the reserve of 2000 hold three rows");
        assert_eq!(disk.write(5, Bytes::new()), Written::NoRoom, "nothing stays that came after");
        disk.begin_sync(&mut draws(0)).expect("the failure must be told");
        assert_eq!(disk.end_sync(), Synced::Failed);
        disk.crash(&mut draws(0));
        disk.fill(None);
        assert_eq!(disk.write(4, row(4)), Written::Pending);
    }

    #[test]
    fn a_failed_sync_says_so_once_and_a_trim_removes_what_lies_below() {
        let mut disk = disk(false);
        for ticket in 1..=3 {
            disk.write(ticket, row(ticket));
        }
        disk.fail_next_sync();
        disk.begin_sync(&mut draws(0));
        assert_eq!(disk.end_sync(), Synced::Failed);
        disk.crash(&mut Draws::new(5, Purpose::Crash, 0, 1));
        disk.write(9, row(9));
        disk.begin_sync(&mut draws(0));
        assert_eq!(disk.end_sync(), Synced::Upto(9));
        disk.trim(9);
        assert!(disk.rows().map(|(ticket, _)| ticket).eq([9]));
        assert_eq!(disk.used, 700);
    }

    #[test]
    fn a_slow_disk_takes_its_time_until_it_heals() {
        let mut disk = disk(false);
        disk.slow(100);
        assert!(disk.takes(&mut draws(0)) >= 1_000);
        disk.heal();
        assert!(disk.takes(&mut draws(0)) <= 20);
    }
}
