//! Learners that the only voter of the control group does not know yet (rule C3).
//!
//! An only voter whose disk was rolled back asks whom its log names, and then whom their logs name. Of a learner that it has named last, its old
//! disk knows nothing; and if that learner alone held the entry that names it, nobody could say whom to ask. So whoever never vouched for
//! anything here is told nothing before another learner holds that entry, too. A mesh must not stand still because one other member is away:
//! that is waited for no longer than an only voter waits after a start.

use super::group::{Context, Group, Role};
use crate::configuration::Member;
use crate::id::{GroupId, NodeId};
use crate::sometimes;

impl Group {
    /// This replica leads from now on, or has changed the members: whether anybody must wait to be told anything.
    pub(super) fn introduce(&mut self, context: &Context<'_>) {
        let alone = self.id == GroupId::CONTROL && self.is_only_voter(context.own);
        let learners = &self.log.configuration().learners;
        let heard = |member: &Member| !context.suspects.contains(&member.node);
        let newcomer = learners.iter().any(|member| !self.has_vouched(*member));
        let witness = learners.iter().any(|member| self.has_vouched(*member) && heard(member));
        let until = context.now + context.config.alone_patience;
        sometimes!(NewcomerWaits, alone && newcomer && witness);
        if let Role::Leader(leading) = &mut self.role {
            leading.introduce_at = (alone && newcomer && witness).then_some(until);
        }
    }

    /// Whether a member is told nothing yet.
    pub(super) fn waits_for_a_witness(&self, node: NodeId) -> bool {
        let Role::Leader(leading) = &self.role else { return false };
        leading.introduce_at.is_some()
            && leading.progress.get(&node).is_some_and(|progress| !self.has_vouched(progress.member))
    }

    /// A member holds more than before: perhaps the entry that names who waits.
    pub(super) fn has_witness(&mut self, context: &mut Context<'_>) {
        let named_at = self.log.configured_at();
        let Role::Leader(leading) = &mut self.role else { return };
        if leading.introduce_at.is_some()
            && leading.progress.values().any(|progress| progress.matched >= named_at)
        {
            leading.introduce_at = None;
            self.replicate(context);
        }
    }

    /// No other learner has answered in time: the mesh goes on without.
    pub(super) fn introduce_unwitnessed(&mut self, context: &mut Context<'_>) {
        let Role::Leader(leading) = &mut self.role else { return };
        if leading.introduce_at.is_some_and(|at| at <= context.now) {
            sometimes!(NewcomerUnwitnessed);
            leading.introduce_at = None;
            self.replicate(context);
        }
    }

    /// Whether a replica ever vouched for anything here.
    fn has_vouched(&self, member: Member) -> bool {
        self.marks.get(&member.node).is_some_and(|mark| mark.replica == member.replica)
    }
}
