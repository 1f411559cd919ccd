//! Membership: joint consensus that acts at append, one change at a time (thesis 4.3).

use alloc::vec::Vec;

use super::context::Context;
use super::delta::Delta;
use super::group::Group;
use super::message::EntryKind;
use super::roles::{Entering, Role, Standing};
use super::wire::encode_delta;
use super::{Output, RefusedReason};
use crate::configuration::{Configuration, Member};
use crate::id::{GroupId, NodeId, ReplicaId};
use crate::planted::Bug;
use crate::rare;
use crate::sometimes;

impl Group {
    /// Asks for another configuration, and says whether it was appended. `number` is that of whoever asked; a change that the group makes by
    /// itself has none, and its owner hears of it only by what becomes of the configuration.
    pub(super) fn change(
        &mut self,
        context: &mut Context<'_>,
        voters: Vec<Member>,
        learners: Vec<Member>,
        number: Option<u64>,
    ) -> bool {
        let refusal = match (&self.standing, &self.role) {
            (Standing::Stopped { .. }, _) => Some(RefusedReason::Stopped),
            (_, Role::Leader(leading)) => {
                let busy = self.log.configured_at() > self.commit || self.log.configuration().is_joint();
                let busy = busy && !context.planted.has(Bug::TwoChangesUnderWay);
                (busy || self.commit < leading.begins || voters.is_empty())
                    .then_some(RefusedReason::ChangeUnderWay)
            }
            _ => Some(RefusedReason::NotLeader { leader: self.leader(context.own) }),
        };
        if let Some(reason) = refusal {
            sometimes!(ChangeRefused);
            if let Some(number) = number {
                context.out.push_back(Output::Refused { group: self.id, context: number, reason });
            }
            return false;
        }
        let current = self.log.configuration().voters.clone();
        let mut wanted = Configuration::simple(voters, learners);
        wanted.voters.dedup();
        wanted.learners.dedup();
        wanted.learners.retain(|member| !wanted.voters.contains(member));
        if wanted.voters != current {
            // Whoever only learns in the control group is sent what is committed (R10): who votes no more leaves that group first, and comes back. In
            // a stream's it goes on as a learner, in the change that takes its vote.
            if self.id == GroupId::CONTROL {
                wanted.learners.retain(|member| !current.contains(member));
            }
            wanted.outgoing = current;
        }
        let index = self.append_configuration(context, &wanted);
        if let Some(number) = number {
            let term = self.term;
            context.out.push_back(Output::Proposed { group: self.id, context: number, index, term });
        }
        self.news_for_all();
        true
    }

    fn append_configuration(
        &mut self,
        context: &mut Context<'_>,
        configuration: &Configuration,
    ) -> crate::id::LogIndex {
        let before = self.log.configuration();
        let delta = Delta::between(before, configuration);
        // Whom to ask is known by node: another id of one that others can name changes nothing about that. The control group waits for each.
        let named = |node: NodeId| before.on(node).next().is_some() && !self.is_newcomer(node);
        let again = |node: NodeId| context.config.is_of_stream(self.id) && named(node);
        let fresh: Vec<Member> = delta.joining.iter().copied().filter(|member| !again(member.node)).collect();
        let index = self.append_own(context, EntryKind::Configuration, encode_delta(&delta));
        self.track_members(context);
        self.introduce(context, fresh.into_iter().map(|member| (member, index)).collect());
        self.check_quorum(context);
        index
    }

    /// What follows once the configuration in force is committed.
    pub(super) fn configuration_committed(&mut self, context: &mut Context<'_>) {
        if self.log.configured_at() > self.commit || !matches!(self.role, Role::Leader(_)) {
            return;
        }
        let configuration = self.log.configuration();
        if configuration.is_joint() {
            sometimes!(JointCommitted);
            let (voters, learners) = (configuration.voters.clone(), configuration.learners.clone());
            let settled = Configuration::simple(voters, learners);
            self.append_configuration(context, &settled);
        } else if !configuration.votes(self.member(context.own)) {
            rare!(LeaderVotedOut);
            // Tell everybody of the commit, then leave it to them.
            self.news_for_all();
            self.send_news(context);
            self.follow(context, None);
        }
    }

    /// A member lost part of its disk and goes on under a fresh replica id: the leader puts the new one in the old one's
    /// place, as a learner (rule C5).
    pub(super) fn handle_renamed(
        &mut self,
        context: &mut Context<'_>,
        from: NodeId,
        fresh: ReplicaId,
        old: ReplicaId,
    ) {
        let (old, fresh) = (Member { node: from, replica: old }, Member { node: from, replica: fresh });
        let configuration = self.log.configuration().clone();
        let holds = |wanted| configuration.on(from).any(|member| member == wanted);
        if self.recalls_needed(context, old) {
            return;
        }
        if !holds(old) || holds(fresh) {
            sometimes!(FreshIdKnown, holds(old));
            return;
        }
        let Role::Leader(leading) = &self.role else { return };
        let returning = leading.entering.as_ref().is_some_and(|entering| entering.returning.contains(&old));
        let voted = returning || configuration.votes(old);
        let voters = configuration.voters.into_iter().filter(|&member| member != old).collect();
        let learners =
            configuration.learners.into_iter().filter(|&member| member != old).chain([fresh]).collect();
        let admitted = self.change(context, voters, learners, None);
        sometimes!(FreshIdAdmitted, admitted);
        // Else it asks again, perhaps under another id: its disk may be taken back before anybody has admitted this one.
        if voted && (admitted || context.planted.strikes(Bug::UnadmittedPromoted, || true)) {
            let Role::Leader(leading) = &mut self.role else { return };
            Entering::change(&mut leading.entering, |entering| {
                entering.returning.remove(&old);
                entering.returning.insert(fresh);
            });
        }
    }

    /// Learners on these nodes are to vote. Who was to be promoted is known to the leader that admitted them, and goes with it.
    pub(super) fn expect_voters(&mut self, context: &mut Context<'_>, nodes: &[NodeId]) {
        let learners = self.log.configuration().learners.iter().copied();
        let returning: Vec<Member> = learners.filter(|member| nodes.contains(&member.node)).collect();
        let Role::Leader(leading) = &mut self.role else { return };
        if context.planted.strikes(Bug::PromotionForgotten, || !returning.is_empty()) {
            return;
        }
        rare!(PromotionTakenOver, !returning.is_empty());
        Entering::change(&mut leading.entering, |entering| entering.returning.extend(returning));
        self.promote_all_returned(context);
    }

    /// Nobody else is to vote but who is on these nodes: a former voter that came back under a fresh id stays a learner, if its owner goes on with fewer.
    pub(super) fn expect_only(&mut self, context: &mut Context<'_>, nodes: &[NodeId]) {
        let Role::Leader(leading) = &mut self.role else { return };
        let returning = leading.entering.as_ref().map(|entering| entering.returning.iter());
        let other = |member: &Member| !nodes.contains(&member.node);
        let others = !nodes.is_empty() && returning.is_some_and(|mut returning| returning.any(other));
        if others && !context.planted.strikes(Bug::ReturnsAsVoter, || true) {
            rare!(ReturnsAsLearner);
            Entering::change(&mut leading.entering, |entering| {
                entering.returning.retain(|member| !other(member))
            });
        }
    }

    /// More is committed. Whoever has acknowledged all of that before has nothing more to say in a group in which nothing happens.
    pub(super) fn promote_all_returned(&mut self, context: &mut Context<'_>) {
        let Role::Leader(leading) = &self.role else { return };
        let Some(entering) = &leading.entering else { return };
        let returning: Vec<Member> = entering.returning.iter().copied().collect();
        for member in returning {
            self.promote_returned(context, member);
        }
    }

    /// A former voter has caught up under its fresh replica id: it votes again. So does a learner whose owner says that it is to.
    ///
    /// Of two who vote neither could be missed. So where the source of a stream voted alone, those who come to vote beside it do so at one time, in one joint change.
    pub(super) fn promote_returned(&mut self, context: &mut Context<'_>, member: Member) {
        let unadmitted = context.planted.has(Bug::UnadmittedPromoted);
        let Role::Leader(leading) = &self.role else { return };
        let Some(entering) = &leading.entering else { return };
        let caught_up = |member: &Member| {
            let progress = leading.progress.on(member.node);
            let progress = progress.filter(|progress| progress.member == *member || unadmitted);
            progress.map(|progress| progress.matched) >= Some(self.commit)
        };
        let settled = self.log.configured_at() <= self.commit && !self.log.configuration().is_joint();
        // Else the change would be refused, and nobody would ask for it again.
        let settled = settled && self.commit >= leading.begins;
        if !settled || !entering.returning.contains(&member) || !caught_up(&member) {
            return;
        }
        let alone = context.config.is_of_stream(self.id) && self.log.configuration().voters.len() == 1;
        let ready: Vec<Member> = match alone {
            true => entering.returning.iter().copied().filter(caught_up).collect(),
            false => Vec::from([member]),
        };
        let few = alone && ready.len() < 2 && !context.planted.has(Bug::ReturnsAsVoter);
        if few && !context.planted.strikes(Bug::SecondVotesFirst, || true) {
            return rare!(SecondVoterWaits);
        }
        sometimes!(FormerVoterPromoted, !alone);
        rare!(VotersPromotedTogether, alone);
        let mut voters = self.log.configuration().voters.clone();
        voters.extend(&ready);
        let learners = self.log.configuration().learners.clone();
        if let Role::Leader(leading) = &mut self.role {
            Entering::change(&mut leading.entering, |entering| {
                entering.returning.retain(|member| !ready.contains(member));
            });
        }
        self.change(context, voters, learners, None);
    }
}
