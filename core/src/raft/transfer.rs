//! Leadership is handed over (thesis 3.10): nothing is proposed meanwhile, the other one catches up, and stands for election at once. If it does
//! not lead after an election's time, the old leader goes on.

use alloc::boxed::Box;

use super::context::Context;
use super::group::Group;
use super::message::Body;
use super::roles::{Role, Standing};
use super::{Output, RefusedReason};
use crate::configuration::Member;
use crate::id::{NodeId, Term};
use crate::rare;
use crate::time::Instant;
use crate::when::When;

/// A transfer under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Transfer {
    to: Member,
    /// When it is given up.
    pub(super) until: Instant,
    /// It was told to stand.
    told: bool,
}

impl Group {
    /// The owner wants the voter on `node` to lead.
    pub(super) fn transfer(&mut self, context: &mut Context<'_>, node: NodeId, number: u64) {
        let configuration = self.log.configuration();
        let to = configuration.on(node).find(|&member| configuration.votes(member));
        let settled = self.log.configured_at() <= self.commit && !configuration.is_joint();
        let refusal = match (&self.standing, &self.role, to) {
            (Standing::Stopped { .. }, ..) => Some(RefusedReason::Stopped),
            (_, Role::Leader(_), Some(_)) if node == context.own => return,
            (_, Role::Leader(leading), Some(_)) => {
                let busy = leading.transfer.is_some() || !settled || self.commit < leading.begins;
                busy.then_some(RefusedReason::ChangeUnderWay)
            }
            (_, Role::Leader(_), None) => Some(RefusedReason::NotVoter),
            _ => Some(RefusedReason::NotLeader { leader: self.leader(context.own) }),
        };
        if let Some(reason) = refusal {
            return context.out.push_back(Output::Refused { group: self.id, context: number, reason });
        }
        let until = context.now + context.config.election_max;
        let (Role::Leader(leading), Some(to)) = (&mut self.role, to) else { return };
        rare!(TransferBegun);
        leading.transfer = Some(Box::new(Transfer { to, until, told: false }));
        self.wake_at(until);
        self.news_for(node);
        self.hand_over(context);
    }

    /// Tells the one that is to lead to stand, once it holds everything.
    pub(super) fn hand_over(&mut self, context: &mut Context<'_>) {
        let last = self.log.last().index;
        let Role::Leader(leading) = &mut self.role else { return };
        let Some(transfer) = leading.transfer.as_deref_mut().filter(|transfer| !transfer.told) else {
            return;
        };
        let to = transfer.to;
        let progress = leading.progress.on(to.node).filter(|progress| progress.member == to);
        if progress.is_some_and(|progress| progress.matched == last) {
            transfer.told = true;
            self.answer(context, to, self.term, Body::Stand, When::Now);
        }
    }

    /// A transfer that came to nothing is over.
    pub(super) fn end_transfer(&mut self, context: &Context<'_>) {
        let Role::Leader(leading) = &mut self.role else { return };
        if leading.transfer.as_ref().is_some_and(|transfer| transfer.until <= context.now) {
            rare!(TransferGivenUp);
            leading.transfer = None;
        }
    }

    /// The leader of this term wants this replica to lead the next.
    pub(super) fn handle_stand(&mut self, context: &mut Context<'_>, from: NodeId, term: Term) {
        if term == self.term
            && self.followed() == Some(from)
            && self.may_stand(context)
            && !self.give_up_kept_id(context)
        {
            rare!(StoodWhenTold);
            self.campaign(context);
        }
    }
}
