//! A node that is about to go hands over what it leads, so that nobody has to find out that it is gone first.

use alloc::collections::BTreeSet;
use core::cmp::Reverse;

use super::context::Context;
use super::group::{Group, Role};
use super::groups::Groups;
use crate::id::NodeId;
use crate::time::Now;

/// Nobody waits for the answer.
const UNASKED: u64 = u64::MAX;

impl Groups {
    /// Begins to hand over every group that this node leads and another could lead: not one of those `away`, nor one that is not heard. Says how
    /// many such groups it still leads; call again until there are none.
    pub fn hand_over(&mut self, now: Now, away: &BTreeSet<NodeId>) -> usize {
        let mut left = 0;
        for slot in self.slots() {
            self.act(now.monotonic, slot, |group, context| {
                left += usize::from(group.hand_over_to_best(context, away));
            });
        }
        left
    }
}

impl Group {
    fn hand_over_to_best(&mut self, context: &mut Context<'_>, away: &BTreeSet<NodeId>) -> bool {
        let Role::Leader(leading) = &self.role else { return false };
        if leading.transfer.is_some() {
            return true;
        }
        let configuration = self.log.configuration();
        let able = leading.progress.iter().filter(|(node, progress)| {
            let here = **node == context.own || context.suspects.contains(node) || away.contains(node);
            configuration.votes(progress.member) && !here
        });
        let best = able.max_by_key(|(node, progress)| (progress.matched, Reverse(**node)));
        let Some(to) = best.map(|(node, _)| *node) else { return false };
        let settled = self.log.configured_at() <= self.commit && !configuration.is_joint();
        if settled && self.commit >= leading.begins {
            self.transfer(context, to, UNASKED);
        }
        true
    }
}
