//! Who may lead (X7): whoever leads a term was voted for by a majority of those that decide, each of which counts once.
//!
//! What a replica shows after each step is whom it voted for in its term. Where several messages come at once it may vote in a term and be in
//! a later one by the time it is looked at; of such a term nobody can say whom it voted for.

use std::collections::BTreeMap;

use wattle_core::configuration::{Configuration, Member};
use wattle_core::id::{GroupId, NodeId, Term};
use wattle_core::raft::{GroupPlace, RoleName};

use super::{Checked, ensure};

/// So many terms of a group are remembered: whoever wins one does so soon after it began.
const TERMS_MOST: u64 = 256;

/// What one replica showed.
#[derive(Clone, Debug, Default)]
struct Voter {
    term: Term,
    /// Whom it voted for, by term.
    cast: BTreeMap<Term, NodeId>,
    /// The first of some terms, and the last, in which it may have voted unseen.
    unseen: Vec<(Term, Term)>,
}

impl Voter {
    fn shows(&mut self, place: &GroupPlace) {
        if place.term > self.term {
            let voted = self.cast.contains_key(&self.term);
            let first = if voted { self.term.next() } else { self.term };
            if first < place.term {
                self.unseen.push((first, Term(place.term.0 - 1)));
            }
            self.term = place.term;
            let oldest = Term(place.term.0.saturating_sub(TERMS_MOST));
            self.cast = self.cast.split_off(&oldest);
            self.unseen.retain(|(_, last)| *last >= oldest);
        }
        if let Some(vote) = place.vote {
            self.cast.insert(place.term, vote.node);
        }
    }

    fn may_have_voted(&self, term: Term, candidate: NodeId) -> bool {
        let unseen = self.unseen.iter().any(|&(first, last)| (first..=last).contains(&term));
        self.cast.get(&term).map_or(unseen, |&vote| vote == candidate)
    }
}

/// Whom everybody voted for.
#[derive(Clone, Debug, Default)]
pub struct Votes {
    voters: BTreeMap<(GroupId, NodeId), Voter>,
    /// The last term that a node was seen to lead.
    led: BTreeMap<(GroupId, NodeId), Term>,
}

impl Votes {
    /// A node shows where its replica stands after a step. Whether it leads, and did not in that term when it was seen last.
    pub fn shows(&mut self, node: NodeId, place: &GroupPlace) -> bool {
        let key = (place.group, node);
        self.voters.entry(key).or_default().shows(place);
        place.role == RoleName::Leader && self.led.insert(key, place.term) != Some(place.term)
    }

    /// A node has begun to lead by this configuration.
    ///
    /// # Errors
    /// X7.
    pub fn leads(&self, node: NodeId, place: &GroupPlace, configuration: &Configuration) -> Checked {
        let granted = |member: &&Member| {
            let voter = self.voters.get(&(place.group, member.node));
            voter.is_some_and(|voter| voter.may_have_voted(place.term, node))
        };
        for half in [&configuration.voters, &configuration.outgoing] {
            let votes = half.iter().filter(granted).count();
            ensure!(
                half.is_empty() || 2 * votes > half.len(),
                "X7",
                "{node} leads group {} in term {} by {votes} votes of {}",
                place.group,
                place.term,
                half.len()
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use wattle_core::id::{LogIndex, ReplicaId};
    use wattle_core::raft::Place;

    use super::*;

    fn member(number: u128) -> Member {
        Member { node: NodeId(number), replica: ReplicaId(number) }
    }

    fn place(node: u128, term: u64, vote: Option<u128>, role: RoleName) -> GroupPlace {
        GroupPlace {
            group: GroupId::CONTROL,
            replica: ReplicaId(node),
            role,
            term: Term(term),
            vote: vote.map(member),
            era: 0,
            commit: LogIndex(0),
            durable: Place::default(),
            last: Place::default(),
        }
    }

    fn of_five() -> Configuration {
        Configuration::simple((1..=5).map(member).collect(), Vec::new())
    }

    /// Node 1 leads term 4, for which these voted.
    fn led_by_votes_of(voters: &[u128]) -> Checked {
        let mut votes = Votes::default();
        for &node in voters {
            assert!(!votes.shows(NodeId(node), &place(node, 4, Some(1), RoleName::Follower)));
        }
        let leader = place(1, 4, Some(1), RoleName::Leader);
        assert!(votes.shows(NodeId(1), &leader));
        assert!(!votes.shows(NodeId(1), &leader), "that is known");
        votes.leads(NodeId(1), &leader, &of_five())
    }

    #[test]
    fn three_of_five_are_a_majority_and_two_are_not() {
        led_by_votes_of(&[2, 3]).unwrap();
        assert_eq!(led_by_votes_of(&[2]).unwrap_err().checker, "X7");
    }

    #[test]
    fn each_half_of_a_joint_configuration_has_a_majority_of_its_own() {
        let mut votes = Votes::default();
        for node in [1, 2, 3] {
            votes.shows(NodeId(node), &place(node, 4, Some(1), RoleName::Follower));
        }
        let mut joint = of_five();
        joint.outgoing = [1, 2, 6].map(member).to_vec();
        let leader = place(1, 4, Some(1), RoleName::Leader);
        votes.leads(NodeId(1), &leader, &joint).unwrap();
        joint.outgoing = [1, 6, 7].map(member).to_vec();
        votes.leads(NodeId(1), &leader, &joint).unwrap_err();
    }

    #[test]
    fn whoever_was_in_a_later_term_when_it_was_seen_may_have_voted_and_whoever_voted_for_another_has_not() {
        let leader = place(1, 4, Some(1), RoleName::Leader);
        for (vote, wins) in [(None, true), (Some(2), false)] {
            let mut votes = Votes::default();
            for node in [1, 3] {
                votes.shows(NodeId(node), &place(node, 4, Some(1), RoleName::Follower));
            }
            votes.shows(NodeId(2), &place(2, 4, vote, RoleName::Follower));
            votes.leads(NodeId(1), &leader, &of_five()).unwrap_err();
            votes.shows(NodeId(2), &place(2, 5, None, RoleName::Follower));
            assert_eq!(votes.leads(NodeId(1), &leader, &of_five()).is_ok(), wins);
        }
    }
}
