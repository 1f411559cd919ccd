//! Which members are the best voters, and when one takes the place of another: spread over regions first, then those that were away least, then
//! those that have been members longest.
//!
//! One voter is exchanged for one learner at a time (M40), and only where the change can be committed: by a majority of those that voted before and of
//! those that vote then. Who was away for long goes first. Else an exchange must spread the voters over regions: the squares of the numbers
//! per region add up to less each time, so it comes to rest.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::voters::{Change, View};
use crate::configuration::Member as Replica;
use crate::id::NodeId;

impl View<'_> {
    /// Where a member is; nothing if it does not say.
    fn region(&self, node: NodeId) -> &str {
        self.members.get(&node).and_then(|member| member.region.as_deref()).unwrap_or_default()
    }

    fn regions(&self, voters: &[Replica]) -> BTreeMap<&str, usize> {
        let mut counts = BTreeMap::new();
        for voter in voters {
            *counts.entry(self.region(voter.node)).or_default() += 1;
        }
        counts
    }

    fn falls(&self, node: NodeId) -> u32 {
        self.falls.get(&node).copied().unwrap_or_default()
    }

    /// Up to so many of `able` that go best with `voters`, the best first.
    pub(super) fn choose(&self, voters: &[Replica], mut able: Vec<Replica>, most: usize) -> Vec<Replica> {
        let (mut all, mut chosen) = (voters.to_vec(), Vec::new());
        while chosen.len() < most {
            let counts = self.regions(&all);
            let worth = |replica: &Replica| {
                let near = counts.get(self.region(replica.node)).copied().unwrap_or_default();
                let index = self.members.get(&replica.node).map(|member| member.index);
                let held = self.held.contains(&replica.node);
                (held, near, self.falls(replica.node), index, replica.node)
            };
            let best = able.iter().enumerate().min_by_key(|(_, replica)| worth(replica));
            let Some(place) = best.map(|(place, _)| place) else { break };
            let best = able.swap_remove(place);
            all.push(best);
            chosen.push(best);
        }
        chosen
    }

    /// Those of `voters` that vote on if `want` of them do: who decides, who is heard, and so that the regions are even.
    pub(super) fn keep(&self, voters: &[Replica], want: usize) -> Vec<Replica> {
        let mut stay = voters.to_vec();
        while stay.len() > want {
            let counts = self.regions(&stay);
            let worth = |replica: &Replica| {
                let crowd = counts.get(self.region(replica.node)).copied().unwrap_or_default();
                let index = self.members.get(&replica.node).map(|member| member.index);
                (replica.node != self.own, self.suspects.contains(&replica.node), crowd, index, replica.node)
            };
            let worst = stay.iter().enumerate().max_by_key(|(_, replica)| worth(replica));
            let Some(place) = worst.map(|(place, _)| place) else { break };
            stay.remove(place);
        }
        stay
    }

    /// A learner for a voter that was away for long.
    pub(super) fn replace_lost(&self) -> Option<Change> {
        let lost = self.movable().filter(|voter| self.lost.contains(&voter.node));
        let lost = lost.min_by_key(|voter| voter.node)?;
        let stay: Vec<Replica> = self.configuration.voters.iter().filter(|v| **v != lost).copied().collect();
        let next = *self.choose(&stay, self.fit(), 1).first()?;
        self.exchange(lost, next)
    }

    /// A learner of a region with few voters for a voter of one with many.
    pub(super) fn spread(&self) -> Option<Change> {
        let voters = &self.configuration.voters;
        if voters.iter().any(|voter| self.suspects.contains(&voter.node)) {
            return None;
        }
        let counts = self.regions(voters);
        let count = |node: NodeId| counts.get(self.region(node)).copied().unwrap_or_default();
        let placed: Vec<Replica> =
            self.fit().into_iter().filter(|r| !self.region(r.node).is_empty()).collect();
        let next = *self.choose(voters, placed, 1).first()?;
        let index = |node: NodeId| self.members.get(&node).map(|member| member.index);
        let crowded = self.movable().filter(|voter| count(voter.node) >= count(next.node) + 2);
        let goes = crowded.max_by_key(|v| (count(v.node), self.falls(v.node), index(v.node), v.node))?;
        self.exchange(goes, next)
    }

    /// Voters that another may take the place of: not who decides this, while nobody is about to be taken out.
    fn movable(&self) -> impl Iterator<Item = Replica> + '_ {
        let free = self.settled() && self.departing.is_none();
        self.configuration.voters.iter().filter(move |voter| free && voter.node != self.own).copied()
    }

    fn exchange(&self, goes: Replica, comes: Replica) -> Option<Change> {
        let before = &self.configuration.voters;
        let after: Vec<Replica> =
            before.iter().filter(|voter| **voter != goes).copied().chain([comes]).collect();
        let heard = |voters: &[Replica]| {
            voters.iter().filter(|voter| !self.suspects.contains(&voter.node)).count() * 2 > voters.len()
        };
        if !heard(before) || !heard(&after) {
            return None;
        }
        assert_eq!(after.len(), before.len(), "M40: a voter is exchanged for one other");
        let mut learners = self.configuration.learners.clone();
        learners.retain(|learner| *learner != comes);
        learners.push(goes);
        self.changed(after, learners)
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;
    use alloc::string::String;

    use super::super::Member;
    use super::*;
    use crate::configuration::Configuration;
    use crate::id::{LogIndex, ReplicaId};
    use crate::time::Wall;
    use crate::work::PublicKey;

    /// Members 1, 2, ... with their regions, of which the first `voting` vote.
    struct Mesh {
        members: BTreeMap<NodeId, Member>,
        configuration: Configuration,
        matches: BTreeMap<NodeId, LogIndex>,
        named: BTreeMap<NodeId, LogIndex>,
        suspects: BTreeSet<NodeId>,
        lost: BTreeSet<NodeId>,
        held: BTreeSet<NodeId>,
        falls: BTreeMap<NodeId, u32>,
    }

    fn node(number: u128) -> NodeId {
        NodeId(number)
    }

    fn replica(number: u128) -> Replica {
        Replica { node: node(number), replica: ReplicaId(number + 100) }
    }

    fn set(numbers: &[u128]) -> BTreeSet<NodeId> {
        numbers.iter().map(|&number| node(number)).collect()
    }

    impl Mesh {
        fn new(regions: &[&str], voting: usize) -> Self {
            let numbers = 1..=regions.len() as u128;
            let member = |(number, region): (u128, &&str)| {
                let member = Member {
                    node: node(number),
                    name: alloc::format!("n{number}"),
                    keys: alloc::vec![PublicKey([number as u8; 32])],
                    admitted: PublicKey([number as u8; 32]),
                    rotations: Default::default(),
                    addresses: Vec::new(),
                    api: None,
                    region: Some(String::from(*region)).filter(|region| !region.is_empty()),
                    replica: replica(number).replica,
                    former: Vec::new(),
                    admitter: node(1),
                    signature: bytes::Bytes::new(),
                    joined: Wall(0),
                    taken_in: LogIndex(0),
                    index: LogIndex(number as u64),
                };
                (member.node, member)
            };
            let all: Vec<Replica> = numbers.clone().map(replica).collect();
            let (voters, learners) = all.split_at(voting);
            Self {
                members: numbers.clone().zip(regions).map(member).collect(),
                configuration: Configuration::simple(voters.to_vec(), learners.to_vec()),
                matches: numbers.clone().map(|number| (node(number), LogIndex(50))).collect(),
                named: numbers.map(|number| (node(number), LogIndex(1))).collect(),
                suspects: BTreeSet::new(),
                lost: BTreeSet::new(),
                held: BTreeSet::new(),
                falls: BTreeMap::new(),
            }
        }

        fn view<'a>(&'a self, demoted: &'a BTreeMap<NodeId, super::super::voters::Demoted>) -> View<'a> {
            View {
                members: &self.members,
                configuration: &self.configuration,
                matches: &self.matches,
                applied: LogIndex(50),
                named: &self.named,
                suspects: &self.suspects,
                lost: &self.lost,
                held: &self.held,
                falls: &self.falls,
                demoted,
                own: node(1),
                departing: None,
                keep_evicted: false,
                voters_max: 5,
                caught_up_within: 64,
            }
        }

        /// Lets the leader change the group until it rests; who votes then, and after how many changes.
        fn rest(&mut self) -> (Vec<u128>, usize) {
            let none = BTreeMap::new();
            for changes in 0..100 {
                let view = self.view(&none);
                let change = view.promote().or_else(|| view.demote()).or_else(|| view.replace_lost());
                let Some(change) = change.or_else(|| view.spread()) else {
                    let mut voters: Vec<u128> = self.configuration.voters.iter().map(|r| r.node.0).collect();
                    voters.sort_unstable();
                    return (voters, changes);
                };
                assert_eq!(change.voters.len() % 2, 1, "the number stays odd");
                self.configuration = Configuration::simple(change.voters, change.learners);
            }
            panic!("it never rests: {:?}", self.configuration);
        }
    }

    #[test]
    fn voters_are_spread_over_regions() {
        let table: [(&str, &[&str], usize, &[u128]); 8] = [
            ("nobody says", &["", "", "", "", "", "", ""], 1, &[1, 2, 3, 4, 5]),
            ("one region", &["a", "a", "a", "a", "a", "a"], 1, &[1, 2, 3, 4, 5]),
            ("grown", &["a", "a", "a", "b", "b", "c", "c"], 1, &[1, 2, 4, 5, 6]),
            ("told late", &["a", "a", "a", "a", "a", "b", "c"], 5, &[1, 2, 3, 6, 7]),
            ("two of five", &["a", "a", "a", "a", "a", "b"], 5, &[1, 2, 3, 4, 6]),
            ("even already", &["a", "b", "c", "a", "b", "c"], 5, &[1, 2, 3, 4, 5]),
            ("some do not say", &["", "", "", "", "", "b", ""], 5, &[1, 2, 3, 4, 6]),
            ("not to who does not say", &["a", "a", "a", "a", "a", ""], 5, &[1, 2, 3, 4, 5]),
        ];
        for (what, regions, voting, expected) in table {
            let (voters, changes) = Mesh::new(regions, voting).rest();
            assert_eq!(voters, expected, "{what}");
            assert!(changes <= 4, "{what}: {changes} changes");
        }
    }

    #[test]
    fn who_is_lost_is_replaced_where_that_can_be_decided() {
        // What it is about, members, who is not heard, of these for long, who flaps, who votes then.
        let table: [(&str, usize, [&[u128]; 4]); 7] = [
            ("nobody", 6, [&[], &[], &[], &[1, 2, 3, 4, 5]]),
            ("one", 6, [&[3], &[3], &[], &[1, 2, 4, 5, 6]]),
            ("not yet for long", 6, [&[3], &[], &[], &[1, 2, 3, 4, 5]]),
            ("two", 7, [&[2, 3], &[2, 3], &[], &[1, 4, 5, 6, 7]]),
            ("two, and one to take their place", 6, [&[2, 3], &[2, 3], &[], &[1, 3, 4, 5, 6]]),
            ("no majority left", 7, [&[2, 3, 4], &[2, 3, 4], &[], &[1, 2, 3, 4, 5]]),
            ("by who flaps", 6, [&[3], &[3], &[6], &[1, 2, 3, 4, 5]]),
        ];
        for (what, members, [suspects, lost, held, expected]) in table {
            let mut mesh = Mesh::new(&alloc::vec![""; members], 5);
            (mesh.suspects, mesh.lost, mesh.held) = (set(suspects), set(lost), set(held));
            assert_eq!(mesh.rest().0, expected, "{what}");
        }
    }

    #[test]
    fn of_equal_regions_who_was_away_least_is_taken_and_the_longest_member_next() {
        let mut mesh = Mesh::new(&["a", "a", "a", "b", "b", "b"], 3);
        mesh.falls = BTreeMap::from([(node(4), 3), (node(5), 1), (node(6), 1)]);
        let none = BTreeMap::new();
        let chosen = mesh.view(&none).choose(&mesh.configuration.voters, mesh.view(&none).fit(), 2);
        assert_eq!(chosen, [replica(5), replica(6)]);
        mesh.held = set(&[5]);
        let chosen = mesh.view(&none).choose(&mesh.configuration.voters, mesh.view(&none).fit(), 3);
        assert_eq!(chosen, [replica(6), replica(4)], "who flaps is not fit");
    }

    #[test]
    fn when_fewer_vote_the_crowded_regions_give_them_up() {
        let mut mesh = Mesh::new(&["a", "b", "b", "b", "c"], 5);
        let none = BTreeMap::new();
        let keep = |mesh: &Mesh, want| -> Vec<u128> {
            mesh.view(&none).keep(&mesh.configuration.voters, want).iter().map(|r| r.node.0).collect()
        };
        assert_eq!(keep(&mesh, 3), [1, 2, 5]);
        mesh.suspects = set(&[5]);
        assert_eq!(keep(&mesh, 3), [1, 2, 3], "first who is not heard");
        assert_eq!(keep(&mesh, 1), [1], "never who decides");
    }
}
