//! Who votes in the control group: pure arithmetic over members, configuration and progress.
//!
//! Every member takes part, most as learners. The number of voters is odd and grows with the mesh: one member, one voter; three
//! members, three; five, five. Two voters would survive no more losses than one, and four no more than three. A change
//! is one at a time (M7), and a voter is added only when it is alive and has caught up, so that no change holds up commits.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use super::state::Member;
use crate::configuration::{Configuration, Member as Replica};
use crate::id::{LogIndex, NodeId, ReplicaId};

/// A change to ask of the group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) voters: Vec<Replica>,
    pub(super) learners: Vec<Replica>,
}

/// A voter that is on its way to be a learner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Demoted {
    /// Under which replica id it voted.
    pub(super) replica: ReplicaId,
    /// Under which it had been admitted: what it voted under counts until it is admitted anew.
    pub(super) agreed: ReplicaId,
}

/// What the decision rests on.
pub(super) struct View<'a> {
    pub(super) members: &'a BTreeMap<NodeId, Member>,
    pub(super) configuration: &'a Configuration,
    /// Durable indexes as the leader knows them.
    pub(super) matches: &'a BTreeMap<NodeId, LogIndex>,
    /// What this node itself has applied: nobody is caught up who is far behind it.
    pub(super) applied: LogIndex,
    /// Where each member was named: whose log does not hold that does not know the group, and cannot vote in it.
    pub(super) named: &'a BTreeMap<NodeId, LogIndex>,
    pub(super) suspects: &'a BTreeSet<NodeId>,
    /// Who is not heard for so long that another is to vote in its place.
    pub(super) lost: &'a BTreeSet<NodeId>,
    /// Who was away more than once lately, and is not made a voter for a while.
    pub(super) held: &'a BTreeSet<NodeId>,
    /// How often members were away lately; who is not named was not.
    pub(super) falls: &'a BTreeMap<NodeId, u32>,
    /// Who voted in the configuration before, and does not any more.
    pub(super) demoted: &'a BTreeMap<NodeId, Demoted>,
    /// This node, which leads.
    pub(super) own: NodeId,
    /// Who is about to be taken out: the group must decide without it first.
    pub(super) departing: Option<NodeId>,
    /// A planted bug: who is no member goes on voting.
    pub(super) keep_evicted: bool,
    pub(super) voters_max: usize,
    pub(super) caught_up_within: u64,
}

impl View<'_> {
    /// Whether a change can be thought of at all.
    pub(super) fn settled(&self) -> bool {
        !self.configuration.is_joint() && !self.configuration.voters.is_empty()
    }

    /// Members the group does not know become learners; members that came back with an empty disk are taken in anew.
    pub(super) fn take_in(&self) -> Option<Change> {
        if !self.settled() {
            return None;
        }
        let given_up =
            |r: &Replica| self.members.get(&r.node).is_some_and(|member| member.former.contains(&r.replica));
        let mut voters = self.configuration.voters.clone();
        if !voters.iter().all(given_up) {
            voters.retain(|r| !given_up(r));
        }
        let mut learners = self.configuration.learners.clone();
        learners.retain(|r| !given_up(r) && !self.is_gone(r));
        self.let_go(&mut voters, &mut learners);
        let known: BTreeSet<NodeId> = voters.iter().chain(&learners).map(|r| r.node).collect();
        let missing = self.members.values().filter(|member| !known.contains(&member.node));
        learners.extend(missing.map(|member| self.replica_of(member)));
        self.changed(voters, learners)
    }

    /// Under which replica id a member that is not in the group comes into it. Whoever voted until just now keeps the one it voted under: the
    /// group may have given it a fresh one since its admission.
    fn replica_of(&self, member: &Member) -> Replica {
        let demoted = self.demoted.get(&member.node).filter(|demoted| demoted.agreed == member.replica);
        let replica = demoted.map_or(member.replica, |demoted| demoted.replica);
        Replica { node: member.node, replica }
    }

    /// How many members there are but the one that is about to go.
    fn remaining(&self) -> usize {
        self.members.keys().filter(|node| self.departing != Some(**node)).count()
    }

    /// Whether a replica is of nobody that is a member.
    fn is_gone(&self, replica: &Replica) -> bool {
        !self.members.contains_key(&replica.node) && !self.keep_evicted
    }

    /// Takes out of the voters who goes, and puts learners in their place, so that the number stays odd. Nothing changes while nobody could vote then.
    fn let_go(&self, voters: &mut Vec<Replica>, learners: &mut Vec<Replica>) {
        let departs = |r: &Replica| self.departing == Some(r.node) && !self.keep_evicted;
        let goes = |r: &Replica| self.is_gone(r) || departs(r);
        if !voters.iter().any(goes) {
            return;
        }
        let mut stay: Vec<Replica> = voters.iter().filter(|r| !goes(r)).copied().collect();
        let able: Vec<Replica> = self.able().into_iter().filter(|r| learners.contains(r)).collect();
        let want = odd(wanted(self.remaining(), self.voters_max).min(stay.len() + able.len()));
        if want == 0 {
            return;
        }
        let kept = self.keep(&stay, want.min(stay.len()));
        learners.extend(stay.iter().filter(|r| !kept.contains(r)));
        stay = kept;
        learners.extend(voters.iter().filter(|r| departs(r)));
        stay.extend(self.choose(&stay, able, want - stay.len()));
        learners.retain(|r| !stay.contains(r));
        *voters = stay;
    }

    /// The learners that could vote at once, and have been steady.
    pub(super) fn fit(&self) -> Vec<Replica> {
        self.able().into_iter().filter(|replica| !self.held.contains(&replica.node)).collect()
    }

    /// The learners that could vote at once.
    fn able(&self) -> Vec<Replica> {
        let last = self.matches.values().copied().max().unwrap_or_default().max(self.applied);
        self.configuration
            .learners
            .iter()
            .filter(|r| self.members.contains_key(&r.node) && !self.suspects.contains(&r.node))
            .filter(|r| self.departing != Some(r.node))
            .filter(|r| {
                let near = |m: LogIndex| last.0.saturating_sub(m.0) <= self.caught_up_within;
                let knows = |m: LogIndex| self.named.get(&r.node).is_some_and(|&named| m >= named);
                self.matches.get(&r.node).is_some_and(|&m| knows(m) && near(m))
            })
            .copied()
            .collect()
    }

    /// Learners become voters, two at a time or more, so that the number of voters stays odd.
    pub(super) fn promote(&self) -> Option<Change> {
        let have = self.configuration.voters.len();
        let want = wanted(self.remaining(), self.voters_max);
        if !self.settled() || have >= want {
            return None;
        }
        let fit = self.fit();
        let can = odd(want.min(have + fit.len()));
        if can <= have {
            return None;
        }
        let chosen = self.choose(&self.configuration.voters, fit, can - have);
        let mut voters = self.configuration.voters.clone();
        voters.extend_from_slice(&chosen);
        let mut learners = self.configuration.learners.clone();
        learners.retain(|r| !chosen.contains(r));
        self.changed(voters, learners)
    }

    /// Voters become learners when there are more of them than wanted: first those that are not heard, then those of crowded regions, then the
    /// newest. Never the one that decides this, and only if a majority of those that stay is heard, or the change could not be committed.
    pub(super) fn demote(&self) -> Option<Change> {
        let have = self.configuration.voters.len();
        let want = wanted(self.remaining(), self.voters_max);
        if !self.settled() || have <= want {
            return None;
        }
        let voters = self.keep(&self.configuration.voters, want);
        let dropped = self.configuration.voters.iter().filter(|r| !voters.contains(r)).copied();
        let heard = voters.iter().filter(|r| !self.suspects.contains(&r.node)).count();
        if heard * 2 <= voters.len() {
            return None;
        }
        let mut learners = self.configuration.learners.clone();
        learners.extend(dropped);
        self.changed(voters, learners)
    }

    pub(super) fn changed(&self, voters: Vec<Replica>, learners: Vec<Replica>) -> Option<Change> {
        let next = Configuration::simple(voters, learners);
        assert!(!next.voters.is_empty(), "M7: a group keeps a voter");
        let same = next.voters == self.configuration.voters && next.learners == self.configuration.learners;
        (!same).then_some(Change { voters: next.voters, learners: next.learners })
    }
}

/// How many voters a mesh of that many members should have.
#[must_use]
pub(super) fn wanted(members: usize, most: usize) -> usize {
    odd(members.min(most)).max(1)
}

/// The largest odd number not above `n`, or 0.
fn odd(n: usize) -> usize {
    if n == 0 || n % 2 == 1 { n } else { n - 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_voters_is_odd_and_grows_with_the_mesh() {
        let numbers: Vec<usize> = (0..9).map(|members| wanted(members, 5)).collect();
        assert_eq!(numbers, [1, 1, 1, 3, 3, 5, 5, 5, 5]);
        assert_eq!(wanted(9, 7), 7);
        assert_eq!(wanted(9, 4), 3, "an even limit counts as the odd one below");
    }
}
