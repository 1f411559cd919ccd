//! A node that takes no part in its mesh for a while (L11): it closes what it has, turns away who comes, and dials nobody.

use alloc::vec::Vec;

use super::lane::Phase;
use super::links::Links;
use crate::id::LaneId;
use crate::node::output::CloseReason;
use crate::sometimes;
use crate::time::Instant;

impl Links {
    /// Goes offline, or comes back: then whoever is known is dialled at once.
    pub(super) fn on_offline(&mut self, now: Instant, offline: bool) {
        if self.offline == offline {
            return;
        }
        self.offline = offline;
        if !offline {
            sometimes!(CameOnline);
            return self.targets.begin_anew(now);
        }
        let open: Vec<LaneId> = self.lanes.keys().copied().collect();
        for lane in open {
            self.close(now, lane, CloseReason::Stopping);
        }
    }

    /// Whether this node takes no part now.
    #[must_use]
    pub const fn is_offline(&self) -> bool {
        self.offline
    }

    pub(super) fn check_offline(&self) {
        let talks = |phase: &Phase| !matches!(phase, Phase::Closed | Phase::Fenced { .. });
        let quiet = self.links.keys().next().is_none() && !self.lanes.values().any(|lane| talks(&lane.phase));
        assert!(quiet || !self.offline, "L11: this node is offline and talks to somebody");
    }
}
