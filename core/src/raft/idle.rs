//! When a group is silent, and who wakes it.
//!
//! There is no tick and no heartbeat per group, so a group in which nothing happens sends nothing, writes nothing and waits for no moment: a
//! thousand of them cost their memory. That is not a mode that is entered, and nobody has to agree to it. It is what is left when
//! nobody owes anything:
//!
//! - A leader owes a member what it lacks: entries (in the control group a learner only those that are committed; see `owed`), the commit index, a state,
//!   a round of reads. What it sent and was not answered it sends again. While a quorum of nodes is suspect it owes its resignation.
//! - Who feeds another learner of the control group owes it what is committed here; who asked to be fed waits for the answer for a while.
//! - A voter owes the group an election while it knows no leader, or doubts it.
//! - Whoever started anew, copies its log back or took a fresh replica id owes the others its question, until it is answered.
//!
//! A group is woken by
//!
//! 1. a proposal, a change of members, a transfer, or a read;
//! 2. the suspicion of a pair: followers doubt a leader on that node, a leader counts whether a quorum is left, and in the control group speaks
//!    to the silent one until it answers;
//! 3. a node that is heard again: its leaders send what it missed, and who waits for an answer asks again;
//! 4. another boot of a node: followers doubt a leader there, and a leader finds out what is left there of the log (also if what was sent to
//!    the former life was answered by it);
//! 5. what a node says it leads: who follows it in a group that is not listed, or in an older term, doubts it (rule E3). Who hears a
//!    leader that it did not follow, or doubted, asks for that list anew;
//! 6. an owner whose question its leader left unanswered: the leader is doubted;
//! 7. the start of this node: it asks what it vouched for;
//! 8. bytes or room that come where an append had to be cut, and a state that the owner gives;
//! 9. any message of another replica.
//!
//! Doubt is cheap where it is wrong: who doubts asks whether it should stand (a pre-vote), those who hear the leader say no, and the leader
//! says that it is there.
//!
//! Invariants:
//! - **R18** Nobody waits in silence for what is owed to it: a voter that knows no leader, or doubts it, is to stand; a leader whose member lacks
//!   something is to send it again. Asserted when nothing is left to be given out.
//! - **R19** Who owes nothing waits for no moment.

use super::config::Config;
use super::group::{Group, News};
use super::owed::Owed;
use super::roles::{Leading, Role, Standing};
use crate::id::{LogIndex, NodeId};

impl Group {
    /// Panics if somebody waits for what nobody will do, or for a moment at which there is nothing to do.
    pub(super) fn check_waits(&self, config: &Config, own: NodeId) {
        if self.busy || self.news != News::None || self.standing != Standing::Sound {
            return;
        }
        let owes = match &self.role {
            Role::Leader(leading) => self.check_members(config, own, leading),
            Role::Follower { .. } => {
                let doubts = self.doubts_its_leader();
                // Who is fenced waits for a founder, and for its owner; who gives way, for others.
                let excused = self.fence.is_some() || self.gives_way(own);
                let stands = self.election.is_some() || !self.is_voter(own) || excused;
                assert!(
                    stands || !doubts,
                    "R18: {} knows of no leader, or doubts it, and does nothing",
                    self.id
                );
                doubts
            }
            Role::PreCandidate { .. } | Role::Candidate { .. } => {
                let stands = self.election.is_some() || self.is_only_voter(own);
                assert!(stands || !self.is_voter(own), "R18: {} stands, and will not stand again", self.id);
                true
            }
        };
        let states = self.receiving.is_some() || self.copying_to.is_some();
        let feeds = self.check_children();
        let owes = owes || states || feeds || self.election.is_some();
        let next = self.next_deadline();
        assert!(owes || next.is_none(), "R19: {} is idle and waits until {next:?}", self.id);
    }

    /// Whether a leader owes anybody something; panics if it does, and does nothing for it.
    fn check_members(&self, config: &Config, own: NodeId, leading: &Leading) -> bool {
        let mut owes = leading.quorum_lost.is_some()
            || leading.transfer.is_some()
            || leading.newcomers().next().is_some()
            || leading.unhurried.is_some();
        for progress in leading.progress.iter() {
            let node = progress.member.node;
            let Owed { last, commit } = self.owed(config, own, leading, progress);
            let lacks = progress.lacks(last, commit);
            let waits = leading.is_newcomer(node);
            assert!(
                !lacks || waits || progress.is_attended(),
                "R18: {node} lacks something of {} up to {last}, and nothing is sent to it: {progress:?}",
                self.id
            );
            owes |= lacks;
        }
        owes
    }

    /// The owner asked its leader for something, and was not answered in time: it may not lead any more.
    pub(super) fn unanswered(&mut self, context: &mut super::context::Context<'_>) {
        if let Some(leader) = self.followed() {
            self.leader_in_doubt(context, leader);
        }
        if self.is_fed() {
            // What it waits for may have been decided, and not have come.
            self.drop_feeder(context);
            self.ask_leader(context);
        }
    }
}

impl super::progress::Progress {
    /// Whether it is not known to hold the log up to `last`, and to have heard that it is committed up to `commit`.
    fn lacks(&self, last: LogIndex, commit: LogIndex) -> bool {
        self.matched < last || self.heard < commit || self.is_awaited() || !self.is_streaming()
    }
}
