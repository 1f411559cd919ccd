//! What is wrong with the rows of a disk, and what a node that reads them owes: to start as if nothing had happened, to refuse, or,
//! where nothing on the disk can show the loss, to start without what it lost.
//!
//! The ledger knows the contract and no format: which rows the node was told are safe, which it gave up by a trim, and, of each row,
//! up to where the node knew its rows safe when it wrote it. A row *vouches* for all rows up to there, and so does a mark of the disk.

use std::collections::{BTreeMap, BTreeSet};

use super::Row;
use crate::coverage::sometimes;
use crate::event::Time;

/// What became of a row that was reported safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Harm {
    /// Its bytes are others.
    Changed,
    /// It is not there.
    Missing,
    /// The disk gives an error instead of it.
    Unreadable,
}

/// A row that was reported safe and is not.
#[derive(Clone, Debug)]
pub(super) struct Wound {
    pub(super) harm: Harm,
    /// What it held, for whoever has a copy.
    pub(super) original: Row,
}

/// What a start on this disk must come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// The node starts: nothing that counts is damaged.
    Start,
    /// The node refuses: this row is damaged, and others on the disk show that it was safe once.
    Refusal(u64),
    /// Both are right: a row that the node gave up is damaged, and it cannot know for certain yet that it gave it up.
    Either,
    /// The node starts, and has forgotten this row and all after it; nothing on the disk shows it. The first was safe since then.
    Loss(u64, Time),
    /// The same; but the word for a trim may be lost as well. If it is, rows are missing in front, and the node refuses.
    LossOrRefusal(u64, Time),
    /// The disk cannot read this row: the node is not even asked.
    Unreadable(u64),
}

impl Expected {
    /// Whether a node may refuse to start.
    #[must_use]
    pub fn may_refuse(self) -> bool {
        matches!(self, Self::Refusal(_) | Self::Either | Self::LossOrRefusal(..))
    }
}

/// The ledger of one disk.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    pub(super) wounds: BTreeMap<u64, Wound>,
    /// Rows that a crash left damaged before anybody was told that they are safe.
    pub(super) torn: BTreeSet<u64>,
    /// Everything up to this row is safe, as the node was told or found when it started.
    pub(super) told: u64,
    /// Whether the node has written since its start; its first row shows what it found.
    pub(super) begun: bool,
    /// All below is gone.
    gone: u64,
    /// The node may have given up more than it said.
    pub(super) hushed: bool,
    /// What the node gave up, and up to where it knew its rows safe when it did so.
    given_up: Vec<(u64, u64)>,
}

impl Ledger {
    /// A row is written under this ticket.
    pub(super) fn written(&mut self, ticket: u64) {
        if !self.begun {
            self.begun = true;
            self.told = ticket.saturating_sub(1);
        }
    }

    /// The node gives up all rows below a ticket.
    pub(super) fn gives_up(&mut self, below: u64) {
        let before = self.given_up.last().map_or(0, |&(below, _)| below);
        if below > before {
            self.given_up.push((below, self.told));
            self.hushed = false;
        }
    }

    /// Rows below a ticket are gone.
    pub(super) fn trimmed(&mut self, below: u64) {
        self.gone = self.gone.max(below);
        if !self.wounds.is_empty() {
            self.wounds = self.wounds.split_off(&below);
        }
        if !self.torn.is_empty() {
            self.torn = self.torn.split_off(&below);
        }
        // One older word is kept: it may be the only one that a later row vouches for.
        while self.given_up.len() > 8 {
            self.given_up.remove(0);
        }
    }

    /// A row is on disk as it was written.
    pub(super) fn stored(&mut self, ticket: u64) {
        if !self.wounds.is_empty() {
            self.wounds.remove(&ticket);
        }
        if !self.torn.is_empty() {
            self.torn.remove(&ticket);
        }
    }

    /// Up to where the sound rows vouch.
    pub(super) fn vouched(&self, rows: &BTreeMap<u64, Row>) -> u64 {
        let sound = |ticket: &u64| {
            !self.torn.contains(ticket)
                && self.wounds.get(ticket).is_none_or(|wound| wound.harm == Harm::Unreadable)
        };
        rows.iter().filter(|(ticket, _)| sound(ticket)).map(|(_, row)| row.vouches).max().unwrap_or(0)
    }

    /// The first row that counts, as the rows on disk show it to whoever trusts only what others vouch for.
    pub(super) fn floor(&self, vouched: u64) -> u64 {
        let settled = self.given_up.iter().filter(|&&(_, told)| told <= vouched);
        settled.map(|&(below, _)| below).max().unwrap_or(0)
    }

    /// What a start on these rows must come to, where the disk itself says that all up to `marked` were safe once.
    pub(super) fn expects(&self, rows: &BTreeMap<u64, Row>, marked: u64, rows_may_tear: bool) -> Expected {
        if self.wounds.is_empty() {
            return Expected::Start;
        }
        if let Some((&ticket, _)) = self.wounds.iter().find(|(_, wound)| wound.harm == Harm::Unreadable) {
            return Expected::Unreadable(ticket);
        }
        let by_rows = self.vouched(rows);
        let vouched = by_rows.max(marked);
        let floor = self.floor(vouched);
        let given_up = self.given_up.last().map_or(0, |&(below, _)| below);
        let mut either = false;
        for (&ticket, wound) in self.wounds.range(floor..) {
            if ticket < given_up {
                either = true;
                continue;
            }
            if ticket <= vouched {
                if self.hushed {
                    either = true;
                    continue;
                }
                sometimes!(OnlyMarkSpoke, ticket > by_rows);
                return Expected::Refusal(ticket);
            }
            if !rows_may_tear && rows.range(ticket..).next().is_some() {
                return Expected::Refusal(ticket);
            }
            if ticket <= self.told {
                let since = wound.original.since;
                let trims_lost =
                    self.given_up.iter().any(|&(below, told)| below <= self.gone && told >= ticket);
                return if either || trims_lost {
                    Expected::LossOrRefusal(ticket, since)
                } else {
                    Expected::Loss(ticket, since)
                };
            }
        }
        if either { Expected::Either } else { Expected::Start }
    }
}
