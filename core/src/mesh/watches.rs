//! Watching agreed configuration.
//!
//! A watch is asked again and again, each time from where the answer before ended, and at any member: an answer tells all that was written
//! since, in order, without gaps (M18). So nothing has to be kept of a watcher between two questions, and one that is slow holds back nobody. What was
//! written lately is remembered here, bounded; a watcher that comes from before that is given all there is instead, and told so.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;

use super::Mesh;
use crate::agreed::{ConfigChange, ConfigReply};
use crate::id::{LogIndex, RequestId};
use crate::node::command::{Refusal, Reply};
use crate::planted::Bug;
use crate::sometimes;
use crate::time::{Instant, Now};

/// Most changes that are remembered.
const HISTORY_MAX: usize = 4_096;
/// Most bytes of them.
const HISTORY_BYTES_MAX: usize = 2 << 20;
/// Bytes of one answer, after which it ends.
const ANSWER_BYTES_MAX: usize = 256 << 10;
/// What a change takes beside its key and value, about.
const CHANGE_BYTES: usize = 96;

/// What was written lately.
#[derive(Clone, Debug, Default)]
struct History {
    /// Changes up to this entry are forgotten, or were never known.
    floor: LogIndex,
    changes: VecDeque<ConfigChange>,
    bytes: usize,
}

impl History {
    fn begin(&mut self, floor: LogIndex) {
        *self = Self { floor, ..Self::default() };
    }

    fn push(&mut self, change: ConfigChange) {
        let last = self.changes.back().map_or(self.floor, |last| last.version);
        assert!(change.version >= last, "M18: changes are remembered in order");
        self.bytes += bytes(&change);
        self.changes.push_back(change);
        while self.changes.len() > HISTORY_MAX || self.bytes > HISTORY_BYTES_MAX {
            let Some(oldest) = self.changes.pop_front() else { return };
            self.bytes -= bytes(&oldest);
            self.floor = oldest.version;
        }
    }

    /// The changes of later entries than `after`, of keys that begin with `prefix`, and up to where they are told; `None` if not all are known.
    fn since(
        &self,
        after: LogIndex,
        prefix: &str,
        applied: LogIndex,
    ) -> Option<(Vec<ConfigChange>, LogIndex)> {
        if after < self.floor {
            return None;
        }
        let first = self.changes.partition_point(|change| change.version <= after);
        let (mut told, mut size, mut upto) = (Vec::new(), 0, after);
        for change in self.changes.range(first..) {
            // Between two entries, never within one.
            if size > ANSWER_BYTES_MAX && change.version > upto {
                return Some((told, upto));
            }
            upto = change.version;
            if change.key.starts_with(prefix) {
                size += bytes(change);
                told.push(change.clone());
            }
        }
        Some((told, applied))
    }
}

fn bytes(change: &ConfigChange) -> usize {
    CHANGE_BYTES + change.key.len() + change.record.as_ref().map_or(0, |record| record.value.len())
}

/// Somebody who waits for something to be written.
#[derive(Clone, Debug)]
struct Watch {
    prefix: String,
    after: LogIndex,
    until: Instant,
}

/// Watches of this node.
#[derive(Clone, Debug, Default)]
pub(super) struct Watches {
    history: History,
    waiting: BTreeMap<RequestId, Watch>,
}

impl Watches {
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.waiting.values().map(|watch| watch.until).min()
    }

    /// Ends all of them, and gives whoever waits. What was written stays known.
    pub(super) fn take(&mut self) -> Vec<RequestId> {
        core::mem::take(&mut self.waiting).into_keys().collect()
    }

    pub(super) fn note(&mut self, change: ConfigChange) {
        self.history.push(change);
    }

    /// The state is of that entry, and what led to it is not known.
    pub(super) fn begin(&mut self, applied: LogIndex) {
        self.history.begin(applied);
    }
}

impl Mesh {
    pub(super) fn on_watch_config(
        &mut self,
        now: Now,
        request: RequestId,
        prefix: String,
        after: Option<LogIndex>,
    ) {
        if let Err(refusal) = super::table::check_prefix(&prefix) {
            return self.reply(request, Err(refusal.into()));
        }
        if self.membership.is_none() {
            return self.reply(request, Err(Refusal::NotMember));
        }
        let Some(after) = after else { return self.tell_all(request, &prefix) };
        if self.tell_changes(request, &prefix, after) {
            return;
        }
        if self.watches.waiting.len() >= self.config.watches_max {
            return self.reply(request, Err(Refusal::Busy));
        }
        let after = after.max(self.state.applied);
        let until = now.monotonic + self.config.watch_wait;
        self.watches.waiting.insert(request, Watch { prefix, after, until });
    }

    /// Something may have been written.
    pub(super) fn serve_watches(&mut self) {
        let waiting = core::mem::take(&mut self.watches.waiting);
        for (request, mut watch) in waiting {
            if !self.tell_changes(request, &watch.prefix, watch.after) {
                // There was nothing for it up to here: it need not come from before that again.
                watch.after = watch.after.max(self.state.applied);
                self.watches.waiting.insert(request, watch);
            }
        }
    }

    /// Watches that have waited long enough are told that nothing was written: whoever is gone need not be remembered.
    pub(super) fn on_watch_deadline(&mut self, now: Now) {
        let over = self.watches.waiting.iter().filter(|(_, watch)| watch.until <= now.monotonic);
        let over: Vec<RequestId> = over.map(|(request, _)| *request).collect();
        for request in over {
            let Some(watch) = self.watches.waiting.remove(&request) else { continue };
            // Behind what this node has applied, if the node asked before was further.
            let reply = ConfigReply::Changes { fresh: false, changes: Vec::new(), upto: watch.after };
            self.reply(request, Ok(Reply::Config(reply)));
        }
    }

    /// Tells what was written since, if anything was. Whether there was something to tell.
    fn tell_changes(&mut self, request: RequestId, prefix: &str, after: LogIndex) -> bool {
        let applied = self.state.applied;
        if after >= applied {
            return false;
        }
        // A bug takes what is remembered for all there was.
        let from = if self.planted.strikes(Bug::WatchSkipsForgotten, || after < self.watches.history.floor) {
            after.max(self.watches.history.floor)
        } else {
            after
        };
        let Some((changes, upto)) = self.watches.history.since(from, prefix, applied) else {
            sometimes!(WatchBeginsAgain);
            self.tell_all(request, prefix);
            return true;
        };
        if changes.is_empty() {
            return false;
        }
        assert!(after < changes[0].version && upto <= applied, "M18: what is told follows what was told");
        assert!(
            changes.windows(2).all(|pair| pair[0].version <= pair[1].version),
            "M18: changes are told in order"
        );
        self.reply(request, Ok(Reply::Config(ConfigReply::Changes { fresh: false, changes, upto })));
        true
    }

    fn tell_all(&mut self, request: RequestId, prefix: &str) {
        let change = |record: crate::agreed::ConfigRecord| ConfigChange {
            key: record.key.clone(),
            version: record.version,
            record: Some(record),
        };
        let changes = self.state.config.range(prefix, "").map(change).collect();
        let upto = self.state.applied;
        self.reply(request, Ok(Reply::Config(ConfigReply::Changes { fresh: true, changes, upto })));
    }

    /// Panics if an invariant does not hold.
    pub(super) fn check_watches(&self) {
        let watches = &self.watches;
        assert!(watches.waiting.len() <= self.config.watches_max, "M5: watches are bounded");
        assert!(watches.history.changes.len() <= HISTORY_MAX, "M5: remembered changes are bounded");
        assert!(watches.history.floor <= self.state.applied, "M18: nothing is forgotten that is to come");
    }
}
