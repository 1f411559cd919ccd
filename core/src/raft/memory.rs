//! What logs take in memory: the loads that are answered, and what goes when it is too much. See [`shelf`](super::shelf).

use bytes::Bytes;

use super::Groups;
use super::group::Group;
use super::progress::Progress;
use super::roles::{Role, Standing};
use super::shelf::Reading;
use super::slots::Slot;
use super::store::decode_run;
use super::write::{LOG, key};
use crate::planted::Bug;
use crate::record::Damaged;
use crate::time::Now;
use crate::{rare, sometimes};

/// What the logs of a node take in memory, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Entries of logs.
    pub logs: u64,
    /// Entries that were read back, or are about to be.
    pub read: u64,
    /// Runs of entries that are on the disk only.
    pub stored_runs: u64,
    /// Runs that were read back since the start.
    pub loads: u64,
}

impl Groups {
    /// A record that was asked for was read; `None` if it was not to be had, or is not what was written.
    ///
    /// # Errors
    /// [`Damaged`] if that is not what the log of its group had there. Nothing of it is used.
    pub fn loaded(&mut self, now: Now, token: u64, payload: Option<&Bytes>) -> Result<(), Damaged> {
        let Some(Reading { name, slot, run }) = self.shelf.answered(token) else { return Ok(()) };
        let mut damaged = None;
        let other = |group: &Group| group.generation != name.0;
        if self.groups.get(slot).is_none_or(other) {
            rare!(LoadOfARemovedReplica);
        } else {
            self.act(now.monotonic, slot, |group, context| {
                let entries = payload.and_then(|payload| decode_run(run.slot, payload).ok());
                match group.read_back(context, &run, entries) {
                    Ok(Some((end, entries))) => context.shelf.keep(name, entries, end),
                    Ok(None) => {}
                    Err(what) => {
                        let what =
                            alloc::format!("the entries up to {} cannot be read back: {what}", run.end.index);
                        damaged = Some(Damaged { key: key(group.id, LOG, run.slot.0), what });
                    }
                }
                if damaged.is_none() && !context.planted.has(Bug::LoadWakesNobody) {
                    group.go_on_reading(context);
                }
            });
        }
        // Each once: what is wanted may be too much for the room there is.
        for _ in 0..self.shelf.line_len() {
            let Some(slot) = self.shelf.next_in_line() else { break };
            self.act(now.monotonic, slot, Group::go_on_reading);
        }
        self.shelf.end_turns();
        damaged.map_or(Ok(()), Err)
    }

    /// What the logs take in memory.
    #[must_use]
    pub fn memory(&self) -> Memory {
        Memory {
            logs: self.shelf.held,
            read: self.shelf.read_bytes(),
            stored_runs: self.groups.values().map(|group| group.log.stored_runs() as u64).sum(),
            loads: self.shelf.loads,
        }
    }

    /// Logs let go of their oldest runs, in turns, until there is room enough or nothing that can go.
    pub(super) fn make_room(&mut self) {
        if self.shelf.exhausted {
            return;
        }
        let (count, mut passed) = (self.groups.count(), 0);
        while !self.shelf.has_slack() && passed <= count {
            self.shelf.hand = if self.shelf.hand + 1 < count { self.shelf.hand + 1 } else { 0 };
            passed = if self.let_go(Slot(self.shelf.hand)) { 0 } else { passed + 1 };
        }
        self.shelf.exhausted = self.shelf.is_over();
    }

    /// The log in a slot lets go of its oldest runs: as many as are one turn. Whether there were any.
    pub(super) fn let_go(&mut self, slot: Slot) -> bool {
        let Some(group) = self.groups.get_mut(slot) else { return false };
        let mut freed = 0;
        while freed < self.shelf.quantum() && !self.shelf.has_slack() {
            let Some(cost) = group.log.evict(group.applied) else { break };
            sometimes!(RunLetGo);
            freed += cost.max(1);
            self.shelf.held -= if self.planted.has(Bug::EvictedNotCountedBack) { 0 } else { cost };
        }
        self.shelf.exhausted &= self.shelf.is_over();
        freed > 0
    }

    pub(super) fn check_memory(&self) {
        self.shelf.check(self.groups.values().map(|group| group.log.held()).sum());
        if !self.out.is_empty() || !self.busy.is_empty() {
            return;
        }
        let stays = |group: &Group| group.log.evictable(group.applied) == 0;
        assert!(
            !self.shelf.is_over() || self.groups.values().all(stays),
            "R24: logs take {} bytes, and some could go",
            self.shelf.taken()
        );
        for group in self.groups.values() {
            let reads = match &group.role {
                Role::Leader(leading) => leading.progress.iter().any(Progress::is_reading),
                _ => false,
            };
            let waits = reads || group.awaits_stored();
            let stopped = matches!(group.standing, Standing::Stopped { .. });
            assert!(
                !waits || stopped || self.shelf.attends(group.slot),
                "R26: {} waits for what nobody reads",
                group.id
            );
        }
    }
}
