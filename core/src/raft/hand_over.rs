//! A node that is about to go hands over what it leads, so that nobody has to find out that it is gone first.

use alloc::collections::BTreeSet;
use core::cmp::Reverse;

use super::context::Context;
use super::group::Group;
use super::groups::Groups;
use super::quorum::carried;
use super::roles::Role;
use crate::id::NodeId;
use crate::rare;
use crate::time::Now;

/// How many groups begin to be handed over in one step: each has messages to send, and elections follow.
const AT_ONCE: usize = 256;
/// Nobody waits for the answer.
const UNASKED: u64 = u64::MAX;

impl Groups {
    /// Begins to hand over the groups that this node leads and another could lead, some of them at a time: not one of those `away`, nor one that is
    /// not heard, and not without a quorum that could elect it. Says how many such groups it still leads; call again until there are none.
    pub fn hand_over(&mut self, now: Now, away: &BTreeSet<NodeId>) -> usize {
        let (mut left, mut room) = (0, AT_ONCE);
        for slot in self.slots() {
            self.act(now.monotonic, slot, |group, context| {
                left += usize::from(group.hand_over_to_best(context, away, &mut room));
            });
        }
        left
    }
}

impl Group {
    fn hand_over_to_best(
        &mut self,
        context: &mut Context<'_>,
        away: &BTreeSet<NodeId>,
        room: &mut usize,
    ) -> bool {
        let Role::Leader(leading) = &self.role else { return false };
        let configuration = self.log.configuration();
        let own = context.own;
        let here = |node: NodeId| !context.suspects.contains(&node) && !away.contains(&node);
        if !carried(configuration, |member| member.node == own || here(member.node), context.planted) {
            rare!(NobodyToHandOverTo);
            return false;
        }
        if leading.transfer.is_some() {
            return true;
        }
        let able =
            leading.progress.iter().map(|progress| (progress.member, progress.matched)).filter(
                |&(member, _)| configuration.votes(member) && member.node != own && here(member.node),
            );
        let best = able.max_by_key(|&(member, matched)| (matched, Reverse(member.node)));
        let Some(to) = best.map(|(member, _)| member.node) else { return false };
        let settled = self.log.configured_at() <= self.commit && !configuration.is_joint();
        if settled && self.commit >= leading.begins && *room > 0 {
            *room -= 1;
            self.transfer(context, to, UNASKED);
        }
        true
    }
}
