//! Learners that an only voter does not know yet (rule C3).
//!
//! An only voter whose disk was rolled back asks whom its log names, and then whom their logs name. Of a learner that it has named last, its old
//! disk knows nothing; and if that learner alone held the entry that names it, nobody could say whom to ask. So whoever never vouched for
//! anything here is told nothing before another learner holds that entry, too. A mesh must not stand still because one other member is away:
//! that is waited for no longer than an only voter waits after a start. A stream can wait longer: who comes to one that has one target is no hurry, and
//! what was told there must not be forked away; so it waits for a target that is silent, too, as long as one may take that comes back.
//!
//! Each newcomer waits for itself, from when it was named, and for the entry that named it: those who join faster than a witness answers must
//! not make each other wait.

use alloc::vec::Vec;

use super::context::Context;
use super::group::Group;
use super::roles::{Entering, Role};
use crate::configuration::Member;
use crate::id::{GroupId, LogIndex, NodeId};
use crate::planted::Bug;
use crate::sometimes;
use crate::time::Instant;

/// A learner that is told nothing yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Newcomer {
    pub(super) member: Member,
    /// The entry that names it.
    named: LogIndex,
    /// When it is told all the same.
    pub(super) until: Instant,
}

impl Group {
    /// This replica leads from now on: whoever is named by its log and never vouched for anything may have to wait.
    pub(super) fn introduce_all(&mut self, context: &Context<'_>) {
        let learners = self.log.configuration().learners.iter();
        let unknown = learners.filter(|member| !self.has_vouched(**member));
        let joining = unknown.map(|&member| (member, self.log.named_at(member))).collect();
        self.introduce(context, joining);
    }

    /// These learn from now on, by the entries at those places: whether they must wait to be told anything.
    pub(super) fn introduce(&mut self, context: &Context<'_>, mut joining: Vec<(Member, LogIndex)>) {
        joining.retain(|(member, _)| !self.has_vouched(*member));
        let of_stream = context.config.is_of_stream(self.id);
        let alone = (of_stream || self.id == GroupId::CONTROL) && self.is_only_voter(context.own);
        let known = |member: &Member| match of_stream {
            false => self.has_vouched(*member) && !context.suspects.contains(&member.node),
            true => joining.iter().all(|(joins, _)| joins != member) && !self.is_newcomer(member.node),
        };
        let wait = alone && !joining.is_empty() && self.log.configuration().learners.iter().any(known);
        sometimes!(NewcomerWaits, wait);
        let until = context.now
            + match of_stream {
                false => context.config.alone_patience,
                true => context.config.witness_patience,
            };
        let Role::Leader(leading) = &mut self.role else { return };
        let progress = &leading.progress;
        let learns = |node, member| progress.on(node).is_some_and(|known| known.member == member);
        Entering::change(&mut leading.entering, |entering| {
            entering.newcomers.retain(|&node, newcomer| learns(node, newcomer.member));
            let newcomers = joining.into_iter().map(|(member, named)| Newcomer { member, named, until });
            let waiting = newcomers.filter(|_| wait);
            entering.newcomers.extend(waiting.map(|newcomer| (newcomer.member.node, newcomer)));
        });
        if wait {
            self.wake_at(until);
        }
    }

    pub(super) fn is_newcomer(&self, node: NodeId) -> bool {
        matches!(&self.role, Role::Leader(leading) if leading.is_newcomer(node))
    }

    /// Whether a member is told nothing yet.
    pub(super) fn waits_for_a_witness(&self, context: &Context<'_>, node: NodeId) -> bool {
        self.is_newcomer(node) && !context.planted.has(Bug::NewcomerToldAtOnce)
    }

    /// A member holds more than before: perhaps the entry that names somebody who waits.
    pub(super) fn witness(&mut self, by: Member) {
        let Role::Leader(leading) = &self.role else { return };
        let Some(progress) = leading.progress.on(by.node).filter(|_| self.has_vouched(by)) else { return };
        let matched = progress.matched;
        self.tell_newcomers(|newcomer| newcomer.member != by && newcomer.named <= matched);
    }

    /// No other learner has answered in time: the mesh goes on without.
    pub(super) fn introduce_unwitnessed(&mut self, context: &mut Context<'_>) {
        let now = context.now;
        if self.tell_newcomers(|newcomer| newcomer.until <= now) {
            sometimes!(NewcomerUnwitnessed);
        }
    }

    /// Whoever of those that wait is meant waits no longer. Whether there was anybody.
    fn tell_newcomers(&mut self, meant: impl Fn(&Newcomer) -> bool) -> bool {
        let Role::Leader(leading) = &mut self.role else { return false };
        let nodes: Vec<NodeId> =
            leading.newcomers().filter(|&newcomer| meant(newcomer)).map(|n| n.member.node).collect();
        if !nodes.is_empty() {
            let told = |entering: &mut Entering| entering.newcomers.retain(|node, _| !nodes.contains(node));
            Entering::change(&mut leading.entering, told);
        }
        for &node in &nodes {
            self.news_for(node);
        }
        !nodes.is_empty()
    }

    /// Whether a replica ever vouched for anything here.
    fn has_vouched(&self, member: Member) -> bool {
        self.marks.get(&member.node).is_some_and(|known| known.replica() == member.replica)
    }
}
