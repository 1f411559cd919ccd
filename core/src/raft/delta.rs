//! What a configuration entry says: not who takes part, but what becomes different of who did before it.
//!
//! A group has few voters and may have a thousand learners. Were all of them named in every entry, each node that joins would send a list
//! of all nodes to all nodes. So an entry names the voters, and of the learners only those that come and go. What is in force behind an
//! entry follows from the log up to it and the configuration of its base (R9).

use alloc::vec::Vec;

use super::wire::MEMBERS_MAX;
use crate::configuration::{Configuration, Member};

/// What an entry changes. Lists are sorted and hold each member once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Delta {
    /// The voters from now on.
    pub(super) voters: Vec<Member>,
    /// The voters being left from now on; empty unless joint.
    pub(super) outgoing: Vec<Member>,
    /// Who learns from now on.
    pub(super) joining: Vec<Member>,
    /// Who no longer learns: who leaves, or votes now.
    pub(super) leaving: Vec<Member>,
}

impl Delta {
    /// What leads from one configuration to another.
    pub(super) fn between(before: &Configuration, after: &Configuration) -> Self {
        Self {
            voters: after.voters.clone(),
            outgoing: after.outgoing.clone(),
            joining: without(&after.learners, &before.learners),
            leaving: without(&before.learners, &after.learners),
        }
    }

    /// Whether it says something about the learners of `configuration` that can be true: nobody comes who is there, or goes who is not, and
    /// they do not become more than a record can name.
    pub(super) fn fits(&self, configuration: &Configuration) -> bool {
        let learns = |member: &Member| configuration.learners.binary_search(member).is_ok();
        let known = self.leaving.iter().all(learns) && !self.joining.iter().any(learns);
        known && configuration.learners.len() - self.leaving.len() + self.joining.len() <= MEMBERS_MAX
    }

    /// Makes the configuration behind the entry of the one before it.
    pub(super) fn apply(&self, configuration: &mut Configuration) {
        configuration.voters.clone_from(&self.voters);
        configuration.outgoing.clone_from(&self.outgoing);
        let learners = &mut configuration.learners;
        if !self.leaving.is_empty() {
            learners.retain(|member| self.leaving.binary_search(member).is_err());
        }
        if !self.joining.is_empty() {
            learners.extend_from_slice(&self.joining);
            // Two sorted runs: this sort merges them.
            learners.sort();
            learners.dedup();
        }
    }
}

/// The members of one sorted list that another does not hold.
fn without(list: &[Member], other: &[Member]) -> Vec<Member> {
    list.iter().filter(|member| other.binary_search(member).is_err()).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{NodeId, ReplicaId};

    fn list(numbers: &[u128]) -> Vec<Member> {
        numbers.iter().map(|&n| Member { node: NodeId(n), replica: ReplicaId(n) }).collect()
    }

    #[test]
    fn a_delta_leads_from_any_configuration_to_any_other_and_fits_no_third() {
        let lists: Vec<Vec<Member>> = (0..16u128)
            .map(|bits| list(&(0..4).filter(|bit| bits >> bit & 1 == 1).collect::<Vec<_>>()))
            .collect();
        for before in &lists {
            for after in &lists {
                let from = Configuration { learners: before.clone(), ..Configuration::default() };
                let to = Configuration { learners: after.clone(), voters: list(&[7]), outgoing: list(&[8]) };
                let delta = Delta::between(&from, &to);
                assert!(delta.fits(&from));
                let mut made = from.clone();
                delta.apply(&mut made);
                assert_eq!(made, to);
                assert_eq!(delta.fits(&made), before == after);
                assert!(delta.joining.len() + delta.leaving.len() <= 4, "only what differs is named");
            }
        }
    }
}
