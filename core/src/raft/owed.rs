//! What a leader has to tell a member by now.
//!
//! - What a stream's leader sends is on its disk: it is the source almost always, and must not send what it may forget (rule A3; thesis 10.2.1 has others
//!   send meanwhile). So is what an only voter sends: its own write commits an entry, and one message says both.
//! - Learners of the control group are told what is committed (R10).
//! - Learners of a stream's group need not hear at once of what was proposed as unhurried, which says how far things are and decides nothing at them:
//!   they hear of it with the next that they need, or after a while.

use super::config::Config;
use super::context::Context;
use super::group::Group;
use super::progress::Progress;
use super::roles::{Leading, Role, Unhurried};
use crate::id::{GroupId, LogIndex, NodeId};
use crate::planted::Bug;
use crate::sometimes;

/// What a member has to be told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owed {
    /// Entries up to there.
    pub(super) last: LogIndex,
    /// That it is committed up to there.
    pub(super) commit: LogIndex,
}

impl Group {
    /// Whether what this leader sends has to be on its disk.
    pub(super) fn sends_durably(&self, config: &Config, own: NodeId) -> bool {
        config.is_of_stream(self.id) || self.is_only_voter(own)
    }

    /// Whether that member of the control group is told only what is committed.
    pub(super) fn follows(&self, progress: &Progress) -> bool {
        self.id == GroupId::CONTROL && !self.log.configuration().votes(progress.member)
    }

    /// What that member has to be told by now.
    pub(super) fn owed(&self, config: &Config, own: NodeId, leading: &Leading, progress: &Progress) -> Owed {
        let mut last = self.log.last().index;
        if self.sends_durably(config, own) {
            last = last.min(self.log.durable());
        }
        if self.follows(progress) {
            last = last.min(self.commit);
        }
        let commit = self.commit.min(last);
        if let Some(Unhurried { from, upto, .. }) = leading.unhurried
            && last <= upto
            && !self.log.configuration().votes(progress.member)
            && progress.next >= from
            && progress.told() >= commit.min(from.before())
        {
            return Owed { last: progress.next.before(), commit: commit.min(from.before()) };
        }
        Owed { last, commit }
    }

    /// The last entry is unhurried: whoever only learns may wait for it, and for those in front of it that wait.
    pub(super) fn may_wait(&mut self, context: &Context<'_>) {
        let (last, learners) = (self.log.last().index, !self.log.configuration().learners.is_empty());
        let Role::Leader(leading) = &mut self.role else { return };
        if !learners || !context.config.is_of_stream(self.id) {
            return;
        }
        let at = context.now + context.config.unhurried;
        let waits = leading.unhurried.filter(|unhurried| unhurried.upto == last.before());
        let from = waits.map_or(last, |unhurried| unhurried.from);
        leading.unhurried = Some(Unhurried { from, upto: last, at: at.into() });
        self.wake_at(at);
    }

    /// Who waited for what is unhurried is told by now.
    pub(super) fn end_waiting(&mut self, context: &Context<'_>) {
        let Role::Leader(leading) = &mut self.role else { return };
        if leading.unhurried.take_if(|unhurried| unhurried.at.instant() <= context.now).is_some() {
            sometimes!(UnhurriedToldAtLast);
            if !context.planted.has(Bug::UnhurriedForgotten) {
                self.news_for_all();
            }
        }
    }
}
