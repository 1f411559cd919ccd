//! A group whose owner says who is out of it, and who votes (rules C5, D1).
//!
//! The owner says so again and again. Each time the leader makes the next change, if none is under way: it takes out whoever is out, and of those who are left it has as
//! many vote as are to, in one joint change; whoever votes no more goes on as a learner, under the replica id it has, and is not promoted again if it was about to be.
//! Who is to learn and is no member comes in as a learner under the id that follows from its node; there it waits under a fresh one, and is admitted under that as
//! whoever lost its disk is (rule C5): so a node that came and forgot it bears another id each time.
//!
//! Then learners that are to vote are promoted, as after any admission; nobody waits for that. What the owner is told is told only of a configuration
//! that is committed (R37).

use alloc::vec::Vec;

use super::context::Context;
use super::group::Group;
use super::roles::Role;
use super::{Output, founding_replica};
use crate::configuration::{Configuration, Member};
use crate::id::NodeId;
use crate::planted::Bug;
use crate::rare;

impl Group {
    /// Takes a step towards a configuration without those who are `out`, in which these vote (whoever votes, if nobody is named) and the `learners` learn at least,
    /// or tells that it is in force.
    pub(super) fn conform(
        &mut self,
        context: &mut Context<'_>,
        voters: &[NodeId],
        out: &[NodeId],
        learners: &[NodeId],
    ) {
        if !matches!(self.role, Role::Leader(_)) {
            return;
        }
        self.expect_only(context, voters);
        let configuration = self.log.configuration();
        let stays = |member: &Member| !out.contains(&member.node);
        let votes = |member: &Member| stays(member) && (voters.is_empty() || voters.contains(&member.node));
        let kept: Vec<Member> = configuration.voters.iter().copied().filter(votes).collect();
        let others = configuration.members().filter(|member| stays(member) && !kept.contains(member));
        let missing = learners.iter().filter(|node| configuration.on(**node).next().is_none());
        let missing = missing.map(|&node| Member { node, replica: founding_replica(node) });
        let others = others.chain(missing).collect();
        let wanted = Configuration::simple(kept, others);
        let same = wanted == *configuration;
        let settled = !configuration.is_joint() && self.log.configured_at() <= self.commit;
        if !settled && !context.planted.strikes(Bug::ConformedBeforeCommitted, || same) {
            return;
        }
        if !same {
            // Whoever leads goes on doing so: it says later that all is done.
            if wanted.votes(self.member(context.own)) {
                rare!(GroupConforms);
                self.change(context, wanted.voters, wanted.learners, None);
            }
            return;
        }
        let committed = self.log.configured_at() <= self.commit;
        assert!(committed, "R37: the owner is told of a configuration that is not committed");
        context.out.push_back(Output::Conforms { group: self.id });
        self.tell_where(context, learners);
        // Whoever is to vote and does not may be gone for good: nobody waits for that.
        let votes = |node: &NodeId| wanted.voters.iter().any(|member| member.node == *node);
        if !voters.iter().all(votes) {
            self.expect_voters(context, voters);
        }
    }

    /// The owner may not have known yet who comes when that member told where it stands.
    fn tell_where(&self, context: &mut Context<'_>, learners: &[NodeId]) {
        let Role::Leader(leading) = &self.role else { return };
        for progress in learners.iter().filter_map(|node| leading.progress.on(*node)) {
            let (group, node, index) = (self.id, progress.member.node, progress.matched);
            context.out.push_back(Output::Match { group, node, index });
        }
    }
}
