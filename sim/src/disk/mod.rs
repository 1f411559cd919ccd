//! A disk of rows. What is written is pending until a sync ends that began after it; a crash keeps of the pending rows a prefix,
//! or, on a disk without transactions, any subset, some of them torn. Trims are carried out whenever it pleases the disk.
//!
//! A disk may also lie: [`damage`] is what it does to rows that it reported safe, [`ledger`] knows what of that a node must notice.

pub mod damage;
pub mod ledger;
mod marks;
pub(crate) mod payloads;

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use self::damage::{Lie, Reach, Rot, rotten, torn};
use self::ledger::{Expected, Harm, Ledger, Wound};
use self::marks::Marks;
use crate::coverage::sometimes;
use crate::event::Time;
use crate::plan::DiskPlan;
use crate::random::Draws;

/// However slow a disk is: an access begun under a fault ends soon after the fault.
const SLOWEST: Time = 3_000 * crate::event::MILLI;

/// A row.
#[derive(Clone, Debug)]
struct Row {
    bytes: Bytes,
    /// Up to where the node knew its rows safe when it wrote this one.
    vouches: u64,
    /// When it was reported safe.
    since: Time,
}

impl Row {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }
}

/// A disk.
#[derive(Clone, Debug)]
pub struct Disk {
    plan: DiskPlan,
    /// Synced rows by ticket.
    rows: BTreeMap<u64, Row>,
    /// Rows that no sync has covered, in the order they were written.
    pending: VecDeque<(u64, Row)>,
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
    image: Option<Image>,
    told_free: Option<u64>,
    ledger: Ledger,
    marks: Marks,
    /// The next sync that works lies in this way.
    lie: Option<(Lie, Draws)>,
    /// What the next failing sync covers is taken for written and never will be.
    losing: bool,
    /// Nothing more fits, the reserve included, once so many more rows were written.
    rows_left: Option<u64>,
    /// No access ends before.
    stalled_until: Time,
}

/// A disk as it was once.
#[derive(Clone, Debug)]
struct Image {
    rows: BTreeMap<u64, Row>,
    ledger: Ledger,
    marks: Marks,
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
            ledger: Ledger::default(),
            marks: Marks::default(),
            lie: None,
            losing: false,
            rows_left: None,
            stalled_until: 0,
        }
    }

    /// All rows in rising order of tickets, as a node reads them when it starts.
    pub fn rows(&self) -> impl Iterator<Item = (u64, &Bytes)> {
        self.rows.iter().map(|(&ticket, row)| (ticket, &row.bytes))
    }

    /// Up to which row the disk itself says that all were durable once.
    #[must_use]
    pub fn marked(&self) -> u64 {
        self.marks.kept()
    }

    /// It is that late: what a disk at rest does by itself was done.
    pub fn passes(&mut self, now: Time) {
        self.marks.wakes(now);
    }

    /// Takes a row.
    pub fn write(&mut self, ticket: u64, row: Bytes) -> Written {
        let len = row.len() as u64;
        self.ledger.written(ticket);
        sometimes!(SpaceEnded, self.rows_left == Some(0));
        if self.refusing || self.rows_left == Some(0) || self.used + len > self.capacity + self.plan.reserve {
            self.refusing = true;
            self.failing = true;
            return Written::NoRoom;
        }
        self.rows_left = self.rows_left.map(|left| left - 1);
        self.used += len;
        self.pending.push_back((ticket, Row { bytes: row, vouches: self.ledger.told, since: 0 }));
        Written::Pending
    }

    /// The rows that the sync under way makes durable, unless it fails.
    pub fn under_way(&self) -> impl Iterator<Item = &Bytes> {
        let covered = if self.failing { 0 } else { self.syncing.unwrap_or(0) };
        self.pending.iter().take(covered).map(|(_, row)| &row.bytes)
    }

    /// Whether nothing waits for a sync, and nothing was lost with one that failed.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        self.pending.is_empty() && !self.failing
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
    pub fn end_sync(&mut self, now: Time) -> Synced {
        let covered = self.syncing.take().unwrap_or(0);
        if self.failing {
            if std::mem::take(&mut self.losing) {
                sometimes!(SyncLostPages);
                // A transaction that follows a lost one is lost with it.
                let lost = if self.plan.rows_may_tear { covered } else { self.pending.len() };
                self.pending.drain(..lost).for_each(|(_, row)| self.used -= row.len());
            }
            sometimes!(SyncFailed);
            return Synced::Failed;
        }
        let mut rows: Vec<(u64, Row)> = self.pending.drain(..covered).collect();
        rows.iter_mut().for_each(|(_, row)| row.since = now);
        let upto = rows.iter().map(|&(ticket, _)| ticket).max().unwrap_or(0);
        let bytes = rows.iter().map(|(_, row)| row.len()).sum();
        self.marks.synced(now, self.ledger.told, upto, bytes, self.pending.is_empty());
        self.ledger.told = self.ledger.told.max(upto);
        if !rows.is_empty()
            && let Some((lie, draws)) = self.lie.take()
        {
            self.tell_a_lie(lie, draws, &mut rows);
        }
        for (ticket, row) in rows {
            self.store(ticket, row);
        }
        Synced::Upto(upto)
    }

    fn store(&mut self, ticket: u64, row: Row) {
        self.ledger.stored(ticket);
        if let Some(old) = self.rows.insert(ticket, row) {
            self.used -= old.len();
        }
    }

    /// One of the rows that a sync covers does not get where it belongs.
    fn tell_a_lie(&mut self, lie: Lie, mut draws: Draws, rows: &mut Vec<(u64, Row)>) {
        let (ticket, row) = rows.remove(draws.index(rows.len()));
        sometimes!(RowNeverWritten, lie == Lie::Phantom);
        self.used -= row.len();
        // What an earlier start left in the row's own place is no place of another.
        let others = self.rows.len() - usize::from(self.rows.contains_key(&ticket));
        if lie == Lie::Misdirected && others > 0 {
            sometimes!(RowMisdirected);
            let place = draws.index(others);
            let victim = self.rows.keys().copied().filter(|&other| other != ticket).nth(place);
            victim.into_iter().for_each(|victim| self.replace(victim, row.bytes.clone()));
        }
        self.ledger.torn.remove(&ticket);
        self.ledger.wounds.insert(ticket, Wound { harm: Harm::Missing, original: row });
    }

    /// Puts other bytes in the place of a row.
    fn replace(&mut self, ticket: u64, bytes: Bytes) {
        let Some(row) = self.rows.get_mut(&ticket) else { return };
        let old = std::mem::replace(&mut row.bytes, bytes);
        self.used = self.used + row.len() - old.len() as u64;
        if self.ledger.torn.contains(&ticket) {
            return;
        }
        let original = Row { bytes: old, ..row.clone() };
        self.ledger.wounds.entry(ticket).or_insert(Wound { harm: Harm::Changed, original });
    }

    /// Part of a row, synced or not; `None` if it is not there.
    #[must_use]
    pub fn load(&self, ticket: u64, offset: usize, len: usize) -> Option<Bytes> {
        let pending = self.pending.iter().rev().find(|(number, _)| *number == ticket).map(|(_, row)| row);
        if pending.is_none() && self.harmed(ticket) == Some(Harm::Unreadable) {
            return None;
        }
        let row = &pending.or_else(|| self.rows.get(&ticket))?.bytes;
        (offset.checked_add(len)? <= row.len()).then(|| row.slice(offset..offset + len))
    }

    /// Whether a load of that part of a row gives something else than was written.
    #[must_use]
    pub fn misreads(&self, ticket: u64, offset: usize, len: usize) -> bool {
        let Some(wound) = self.ledger.wounds.get(&ticket) else { return false };
        let written = wound.original.bytes.get(offset..offset + len);
        self.load(ticket, offset, len).as_deref() != written
    }

    /// The node gives up all rows below a ticket; they go when it pleases the disk.
    pub fn give_up(&mut self, below: u64) {
        self.ledger.gives_up(below);
    }

    /// The node ended while loads were under way: it may have given up rows, and have kept its word on that until they are done.
    pub fn ended_within_loads(&mut self) {
        self.ledger.hushed = true;
    }

    /// Removes the rows below a ticket, once a mark says that the rows were durable by which they were given up.
    pub fn trim(&mut self, below: u64) {
        self.marks.keep(self.ledger.told);
        let kept = self.rows.split_off(&below);
        self.used -= self.rows.values().map(Row::len).sum::<u64>();
        self.rows = kept;
        self.ledger.trimmed(below);
    }

    /// The machine stops: decides what of the pending rows was on disk by then. Says how many were kept whole, torn, lost.
    pub fn crash(&mut self, now: Time, draws: &mut Draws) -> Left {
        let mut pending = std::mem::take(&mut self.pending);
        pending.iter_mut().for_each(|(_, row)| row.since = now);
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
                    Fate::Torn => {
                        let bytes = torn(&row.bytes, draws);
                        let damaged = bytes != row.bytes;
                        self.keep(ticket, Row { bytes, ..row }, &mut left.torn);
                        if damaged {
                            self.ledger.torn.insert(ticket);
                        }
                    }
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
        let lucky = draws.percent(50);
        self.marks.crash(now, self.plan.sync.1, lucky);
        // What was not reported safe and is there may state more given up than the node said; its next start says it.
        self.ledger.hushed |= left.kept > 0;
        self.restart();
        left
    }

    fn keep(&mut self, ticket: u64, row: Row, count: &mut usize) {
        self.ledger.stored(ticket);
        self.rows.insert(ticket, row);
        *count += 1;
    }

    fn restart(&mut self) {
        self.pending.clear();
        self.syncing = None;
        self.failing = false;
        self.refusing = false;
        self.told_free = None;
        self.losing = false;
        self.rows_left = None;
        self.ledger.begun = false;
        self.used = self.rows.values().map(Row::len).sum();
    }

    /// Remembers the synced rows as they are now.
    pub fn take_image(&mut self) {
        let marks = self.marks.clone();
        self.image = Some(Image { rows: self.rows.clone(), ledger: self.ledger.clone(), marks });
    }

    /// Puts the remembered rows in place of the present ones; `false` if none were remembered.
    pub fn roll_back(&mut self) -> bool {
        let Some(image) = self.image.clone() else { return false };
        self.rows = image.rows;
        self.ledger = image.ledger;
        self.marks = image.marks;
        self.restart();
        true
    }

    /// An empty disk is put in its place.
    pub fn empty(&mut self) {
        self.rows.clear();
        self.image = None;
        self.lie = None;
        self.ledger = Ledger::default();
        self.marks = Marks::default();
        self.restart();
    }

    /// The next sync that has something to write lies about it.
    pub fn lie(&mut self, lie: Lie, draws: Draws) {
        self.lie = Some((lie, draws));
    }

    /// The next sync fails, and what it covers will never be on disk, whatever becomes of what is written after it.
    pub fn lose_next_sync(&mut self) {
        self.failing = true;
        self.losing = true;
    }

    /// After so many more rows nothing fits any more, the reserve included, until the process ends.
    pub fn end_of_space(&mut self, rows: u64) {
        self.rows_left = Some(rows);
    }

    /// No access ends before that moment.
    pub fn stall(&mut self, until: Time) {
        self.stalled_until = self.stalled_until.max(until);
    }

    /// Before which moment no access ends; 0 if it does not stall.
    #[must_use]
    pub fn stalled_until(&self) -> Time {
        self.stalled_until
    }

    /// Rows go bad at rest, each drawn among those within reach. Says which.
    pub fn rot(&mut self, rot: Rot, reach: Reach, rows: usize, draws: &mut Draws) -> Vec<u64> {
        let mut victims = self.within(reach, rows, draws);
        victims.retain(|ticket| {
            let Some(row) = self.rows.get(ticket).filter(|row| !row.bytes.is_empty()) else { return false };
            let bad = rotten(&row.bytes, rot, draws);
            sometimes!(RowRotted);
            self.replace(*ticket, bad);
            true
        });
        if reach == Reach::Any && draws.percent(25) {
            self.marks.lose();
        }
        victims
    }

    /// Rows cannot be read any more. Says which.
    pub fn unreadable(&mut self, reach: Reach, rows: usize, draws: &mut Draws) -> Vec<u64> {
        let victims = self.within(reach, rows, draws);
        for &ticket in &victims {
            let Some(row) = self.rows.get(&ticket) else { continue };
            let wound = Wound { harm: Harm::Unreadable, original: row.clone() };
            sometimes!(RowUnreadable);
            self.ledger.torn.remove(&ticket);
            self.ledger.wounds.entry(ticket).or_insert(wound).harm = Harm::Unreadable;
        }
        victims
    }

    /// Draws sound rows within reach.
    fn within(&self, reach: Reach, rows: usize, draws: &mut Draws) -> Vec<u64> {
        let vouched = self.ledger.vouched(&self.rows).max(self.marks.kept());
        let floor = self.ledger.floor(vouched);
        let sound =
            |ticket: &u64| !self.ledger.torn.contains(ticket) && !self.ledger.wounds.contains_key(ticket);
        let reached = |ticket: &u64| match reach {
            Reach::Dead => *ticket < floor,
            // The last rows that vouch must stay, else nothing would show what is damaged.
            Reach::Vouched => (floor..=vouched).contains(ticket),
            Reach::Any => true,
        };
        let mut all: Vec<u64> = self.rows.keys().copied().filter(sound).filter(reached).collect();
        let chosen = (0..rows.min(all.len())).map(|_| all.remove(draws.index(all.len())));
        chosen.collect()
    }

    /// What is wrong with a row, if anything is.
    #[must_use]
    pub fn harmed(&self, ticket: u64) -> Option<Harm> {
        self.ledger.wounds.get(&ticket).map(|wound| wound.harm)
    }

    /// Whether any row that was reported safe is not.
    #[must_use]
    pub fn is_wounded(&self) -> bool {
        !self.ledger.wounds.is_empty()
    }

    /// What a start on this disk must come to.
    #[must_use]
    pub fn expects(&self) -> Expected {
        self.ledger.expects(&self.rows, self.marks.kept(), self.plan.rows_may_tear)
    }

    /// Somebody has a copy of every damaged row and puts it in its place.
    pub fn mend(&mut self) {
        self.lie = None;
        for (ticket, wound) in std::mem::take(&mut self.ledger.wounds) {
            self.used += wound.original.len();
            self.store(ticket, wound.original);
        }
    }

    /// What was lost is lost: nobody will notice it any more.
    pub fn accept_loss(&mut self) {
        self.ledger.wounds.clear();
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
        self.losing = false;
        self.lie = None;
        self.rows_left = None;
        self.stalled_until = 0;
        self.plan.sync = (self.plan.sync.0.min(200_000), self.plan.sync.0.min(200_000) * 2);
    }

    /// What the node was told last, in its present life.
    pub fn told_free(&self) -> Option<u64> {
        self.told_free
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

#[cfg(test)]
mod tests;
