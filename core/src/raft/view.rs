//! A replica as seen from outside, and what must be true of it.

use super::config::Config;
use super::group::Group;
use super::introduction::Newcomer;
use super::roles::{Role, Standing};
use super::{GroupPlace, GroupStatus, RoleName};
use crate::id::NodeId;
use crate::level::Level;

impl Group {
    pub(super) fn role_name(&self, own: NodeId) -> RoleName {
        match (&self.standing, &self.role) {
            (Standing::Stopped { .. }, _) => RoleName::Stopped,
            (Standing::Copying { .. } | Standing::Renamed { .. }, _) => RoleName::Amnesic,
            (Standing::Verifying { .. }, _) => RoleName::Verifying,
            (Standing::Sound, Role::Leader(_)) => RoleName::Leader,
            (Standing::Sound, Role::PreCandidate { .. } | Role::Candidate { .. }) => RoleName::Candidate,
            (Standing::Sound, Role::Follower { .. }) if self.is_voter(own) => RoleName::Follower,
            (Standing::Sound, Role::Follower { .. }) => RoleName::Learner,
        }
    }

    pub(super) fn status(&self, own: NodeId) -> GroupStatus {
        GroupStatus {
            role: self.role_name(own),
            term: self.term,
            leader: self.leader(own),
            configuration: self.log.configuration().clone(),
            commit: self.commit,
            applied: self.applied,
            last: self.log.last(),
            durable: self.log.durable(),
            first: self.log.first(),
            stopped: match &self.standing {
                Standing::Stopped(stopped) => Some(stopped.reason.clone()),
                _ => None,
            },
        }
    }

    pub(super) fn standpoint(&self, own: NodeId) -> GroupPlace {
        GroupPlace {
            group: self.id,
            replica: self.replica,
            role: self.role_name(own),
            term: self.term,
            vote: self.vote(),
            era: self.era,
            commit: self.commit,
            durable: self.log.durable_place(),
            last: self.log.last(),
        }
    }

    pub(super) fn check_invariants(&self, config: &Config, own: NodeId, level: Level) {
        let (base, last) = (self.log.base().index, self.log.last().index);
        assert!(base <= self.applied, "R3: applied {} below the base {base}", self.applied);
        assert!(self.applied <= self.commit, "R3: applied {} above commit {}", self.applied, self.commit);
        assert!(self.applied <= self.log.durable(), "R3: applied {} before it is durable", self.applied);
        let durable = self.log.durable();
        assert!(durable <= last, "R3: durable up to {durable}, and the log ends at {last}");
        assert!(self.commit <= last.max(self.applied), "R3: commit {} above the end {last}", self.commit);
        assert!(self.log.last().term <= self.term, "R4: an entry of a term that has not begun");
        let next = self.next_deadline();
        let woken = next.is_none_or(|next| self.wake.is_some_and(|wake| wake.instant() <= next));
        assert!(
            woken || matches!(self.standing, Standing::Stopped { .. }),
            "R11: due at {next:?}, woken at {:?}",
            self.wake
        );
        if let Some(fence) = &self.fence {
            let follows = matches!(self.role, Role::Follower { .. });
            assert!(follows && self.election.is_none(), "R20: a fenced replica leads or stands");
            let begun = self.leader(own).is_none() || fence.eras.contains(&self.era);
            assert!(begun, "R20: a fenced replica follows somebody who founded nothing");
            assert!(fence.eras.last() != Some(&self.era), "R22: fenced for the era it goes on under");
        }
        let begun = self.receiving.as_ref().and_then(|receiving| receiving.awaited());
        let serves = begun.is_none_or(|place| place.index > self.commit);
        assert!(serves, "R15: a state up to {begun:?} comes in, and {} is committed here", self.commit);
        let leads = !matches!(self.role, Role::Follower { .. });
        assert!(!leads || !self.gives_way(own), "R34: a replica leads or stands whose owner is of no use");
        if let Role::Leader(leading) = &self.role {
            assert_eq!(self.standing, Standing::Sound, "R8: a replica leads that must not");
            assert!(self.log.configured_at() <= last, "R5: a configuration beyond the log");
            assert!(leading.progress.on(own).is_none(), "R1: a leader replicates to itself");
            let tracked = |newcomer: &Newcomer| {
                leading.progress.on(newcomer.member.node).is_some_and(|p| p.member == newcomer.member)
            };
            assert!(leading.newcomers().all(tracked), "R1: somebody waits who is no member");
            assert!(self.log.configuration().has_each_node_once(), "R35: a node takes part twice");
            let pending = self.log.configurations_above(self.commit);
            assert!(self.commit < leading.begins || pending <= 1, "R5: {pending} configurations pend");
            self.check_rounds();
            if level == Level::Full {
                let counted = leading.progress.iter().all(|p| p.under_way() == p.count_under_way());
                assert!(counted, "R12: what is under way is not what was sent");
                let uncommitted = self.burden_upto(last);
                assert_eq!(leading.uncommitted, uncommitted, "R12: what waits to be committed");
            }
        }
        let stored = self.log.stored_upto().unwrap_or_default();
        assert!(stored <= self.commit, "R23: up to {stored} only stored, and {} is committed", self.commit);
        self.check_relay(own);
        if level == Level::Full {
            self.check_waits(config, own);
            self.log.check_invariants();
        }
    }
}
