//! Majorities, as arithmetic.

use smallvec::SmallVec;

use crate::configuration::{Configuration, Member};
use crate::id::LogIndex;
use crate::planted::{Bug, Planted};

/// The highest index that a majority of `members` has reached. An empty half of a joint configuration holds nothing back.
fn majority_index(members: &[Member], reached: impl Fn(Member) -> LogIndex, planted: Planted) -> LogIndex {
    if members.is_empty() {
        return LogIndex(u64::MAX);
    }
    if let &[a, b, c] = members
        && !cfg!(feature = "planted")
    {
        // The middle one of three, which is what most groups have.
        let (a, b, c) = (reached(a), reached(b), reached(c));
        return a.min(b).max(a.max(b).min(c));
    }
    let mut indexes: SmallVec<[LogIndex; 7]> = members.iter().map(|&member| reached(member)).collect();
    indexes.sort_unstable();
    // Of n sorted rising, the value at (n - 1) / 2 is reached by n - (n - 1) / 2 = floor(n / 2) + 1 members.
    let quorum = (indexes.len() - 1) / 2;
    if planted.strikes(Bug::QuorumOffByOne, || indexes.get(quorum + 1) > Some(&indexes[quorum])) {
        return indexes[quorum + 1];
    }
    if planted.strikes(Bug::HalfIsEnough, || indexes[indexes.len() / 2] > indexes[quorum]) {
        return indexes[indexes.len() / 2];
    }
    let unsorted = || reached(members[quorum]);
    if planted.strikes(Bug::MatchesUnsorted, || unsorted() > indexes[quorum]) {
        return unsorted();
    }
    indexes[quorum]
}

/// The highest index that a majority of the voters has reached: of both halves, if the configuration is joint.
pub(super) fn committed(
    configuration: &Configuration,
    reached: impl Fn(Member) -> LogIndex,
    planted: Planted,
) -> LogIndex {
    if configuration.voters.is_empty() {
        return LogIndex(0);
    }
    let (incoming, outgoing) = (
        majority_index(&configuration.voters, &reached, planted),
        majority_index(&configuration.outgoing, &reached, planted),
    );
    if planted.strikes(Bug::OutgoingHalfIgnored, || outgoing < incoming) {
        return incoming;
    }
    incoming.min(outgoing)
}

/// Whether those for whom `yes` holds decide: a majority of both halves.
pub(super) fn carried(configuration: &Configuration, yes: impl Fn(Member) -> bool, planted: Planted) -> bool {
    let most = |members: &[Member]| {
        let twice = 2 * members.iter().filter(|&&m| yes(m)).count();
        let half = || twice == members.len() && twice > 0;
        twice > members.len() || planted.strikes(Bug::HalfIsEnough, half)
    };
    let incoming = most(&configuration.voters);
    let outgoing = configuration.outgoing.is_empty() || most(&configuration.outgoing);
    incoming && (outgoing || planted.has(Bug::OutgoingHalfIgnored))
}

/// The same, for checks: whatever bug is planted counts right here.
pub(super) fn is_majority(configuration: &Configuration, yes: impl Fn(Member) -> bool) -> bool {
    carried(configuration, yes, Planted::none())
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;
    use crate::id::{NodeId, ReplicaId};
    use crate::rng::{Purpose, Rng};

    const PLANTED: Planted = Planted::none();

    fn member(number: u64) -> Member {
        Member { node: NodeId(number.into()), replica: ReplicaId(number.into()) }
    }

    /// The twin tries every index and counts.
    fn naive(configuration: &Configuration, reached: &dyn Fn(Member) -> LogIndex) -> LogIndex {
        let enough = |members: &[Member], index: u64| {
            let have = members.iter().filter(|&&m| reached(m).0 >= index).count();
            members.is_empty() || have * 2 > members.len()
        };
        let best =
            (0..=20).rev().find(|&i| enough(&configuration.voters, i) && enough(&configuration.outgoing, i));
        LogIndex(best.unwrap_or(0))
    }

    #[test]
    fn agrees_with_counting_for_every_size_and_joint_mixture() {
        let mut rng = Rng::stream([1; 32], Purpose::Raft);
        for _ in 0..20_000 {
            let pick = |rng: &mut Rng, low| (0..rng.between(low, 7)).map(member).collect::<Vec<_>>();
            let shift = rng.below(5);
            let voters = pick(&mut rng, 1);
            let outgoing = pick(&mut rng, 0).into_iter().map(|m| member(m.node.0 as u64 + shift)).collect();
            let configuration = Configuration { voters, outgoing, learners: Vec::new() };
            let indexes: Vec<u64> = (0..16).map(|_| rng.below(20)).collect();
            let reached = |m: Member| LogIndex(indexes[m.node.0 as usize]);
            let index = committed(&configuration, reached, PLANTED);
            assert_eq!(index, naive(&configuration, &reached), "{configuration:?} {indexes:?}");
            assert!(carried(&configuration, |m| reached(m) >= index, PLANTED));
            assert!(!carried(&configuration, |m| reached(m) > index, PLANTED));
        }
    }

    #[test]
    fn half_of_an_even_number_is_no_majority() {
        let configuration = Configuration::simple((0..4).map(member).collect(), Vec::new());
        assert!(!carried(&configuration, |m| m.node.0 < 2, PLANTED));
        assert!(carried(&configuration, |m| m.node.0 < 3, PLANTED));
    }
}
