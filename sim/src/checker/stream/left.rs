//! Who of a stream's ends is there to do what is owed.

use crate::plan::{CompletePlan, StreamPlan, VOTERS_MOST};

/// Ends of a stream that are left of it, if they can decide anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// Whether the source is.
    pub source: bool,
    /// Which targets are.
    targets: Vec<bool>,
    /// Whether its policy can be met by them.
    pub policy: bool,
    /// Whether they are most of its members.
    pub most: bool,
}

impl Left {
    /// Everybody, of a stream to so many targets.
    #[must_use]
    pub fn all(targets: usize) -> Self {
        Self { source: true, targets: vec![true; targets], policy: true, most: true }
    }

    /// Whom a stream is left without those that are `away`, and those who are `out` of it; `None` if its group can decide nothing then. At most five of its
    /// members vote, and the source alone beside one target.
    #[must_use]
    pub fn without(
        plan: &StreamPlan,
        out: impl Fn(usize) -> bool,
        away: impl Fn(usize) -> bool,
    ) -> Option<Self> {
        let here: Vec<bool> = plan.ends().filter(|&node| !out(node)).map(|node| !away(node)).collect();
        let voters = if here.len() == 2 { 1 } else { here.len().min(VOTERS_MOST) };
        let rules = |of: &[bool]| 2 * of.iter().filter(|&&here| here).count() > of.len();
        let alone = here.len() == 2 && here.contains(&false);
        if !rules(&here[..voters]) || alone {
            return None;
        }
        let count = here[1..].iter().filter(|&&here| here).count();
        let all = count + 1 == here.len();
        let policy = match &plan.complete {
            CompletePlan::All => all,
            CompletePlan::Count(needed) => count >= (*needed as usize).min(here.len() - 1),
            CompletePlan::Named(named) if named.iter().all(|&node| out(node)) => all,
            CompletePlan::Named(named) => !named.iter().any(|&node| away(node) && !out(node)),
        };
        let targets = plan.targets().map(|node| !out(node) && !away(node)).collect();
        Some(Self { source: here[0], most: rules(&here), targets, policy })
    }

    /// Whom a stream is left that was sealed without the `lost`: what the others do is all there is.
    #[must_use]
    pub fn sealed(plan: &StreamPlan, lost: impl Fn(usize) -> bool) -> Self {
        let targets: Vec<bool> = plan.targets().map(|node| !lost(node)).collect();
        // Nobody processes anything any more where all targets are lost.
        Self { source: !lost(plan.source), policy: targets.contains(&true), targets, most: true }
    }

    /// Whether the target in that place is left.
    #[must_use]
    pub fn has(&self, place: usize) -> bool {
        self.targets.get(place) == Some(&true)
    }

    /// Whether publishers get all that they wait for.
    #[must_use]
    pub fn serves(&self) -> bool {
        self.source && self.policy && self.most
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Plan, TargetPlan};

    fn stream(targets: usize, complete: CompletePlan) -> StreamPlan {
        let mut stream = Plan::generate(1).streams.swap_remove(0);
        let more = |node| TargetPlan { node, handler: stream.handler.clone() };
        stream.more = (2..=targets).map(more).collect();
        StreamPlan { source: 0, target: 1, later: Vec::new(), complete, ..stream }
    }

    #[test]
    fn a_stream_goes_on_while_most_of_its_voters_are_left_and_completes_by_its_policy() {
        let left = |targets, complete, away: &[usize]| {
            Left::without(&stream(targets, complete), |_| false, |node| away.contains(&node))
        };
        assert_eq!(left(1, CompletePlan::All, &[]), Some(Left::all(1)));
        assert_eq!(left(1, CompletePlan::All, &[1]), None, "its only target");
        assert_eq!(left(2, CompletePlan::All, &[0, 1]), None, "two of three");
        let one = left(2, CompletePlan::All, &[2]).unwrap();
        assert!(one.source && one.has(0) && !one.has(1) && !one.policy && one.most);
        assert!(left(2, CompletePlan::Count(1), &[2]).unwrap().policy);
        assert!(left(3, CompletePlan::Named(vec![1, 3]), &[2]).unwrap().policy);
        assert!(!left(3, CompletePlan::Named(vec![1, 3]), &[3]).unwrap().policy);
        let learner = left(5, CompletePlan::Count(2), &[0, 1]).unwrap();
        assert!(!learner.source && learner.policy && learner.most);
        assert_eq!(left(5, CompletePlan::Count(2), &[0, 1, 2]), None, "three of five voters");
        let out = |targets, complete, out: &[usize], away: &[usize]| {
            Left::without(&stream(targets, complete), |node| out.contains(&node), |node| away.contains(&node))
        };
        assert!(out(3, CompletePlan::All, &[3], &[]).unwrap().serves(), "who is out is not waited for");
        assert!(!out(3, CompletePlan::Count(2), &[3], &[2]).unwrap().policy);
        assert!(out(3, CompletePlan::Named(vec![3]), &[3], &[]).unwrap().policy);
        assert_eq!(out(2, CompletePlan::All, &[2], &[1]), None, "two are left, and one of them is away");
        assert!(!left(5, CompletePlan::Count(2), &[1, 2, 5]).is_some_and(|left| left.most), "three of six");
    }
}
