//! Members that take no part for a while, and where in the world nodes say that they are.

use super::is_special;
use crate::event::{MILLI, SECOND};
use crate::fault::{Fault, FaultKind, Trigger};
use crate::plan::{Plan, StopPlan};
use crate::random::{Draws, Purpose};

/// One plan in so many has members that stop, of those that are not about something else.
const ONE_IN: u64 = 5;
/// The names of the faults that only plans with stops have begin here.
const KIND: u64 = 92;

/// Nodes of some plans are in several regions, and fewer vote than there are.
pub(super) fn regions(plan: &mut Plan) {
    let mut draws = Draws::new(plan.seed, Purpose::Region, 0, 0);
    if plan.nodes.len() < 3 || draws.percent(70) {
        return;
    }
    let regions = draws.between(2, 3);
    for node in &mut plan.nodes {
        let region = draws.below(regions);
        node.region = (!draws.one_in(8)).then(|| format!("region-{region}"));
    }
    if plan.nodes.len() >= 4 && draws.percent(70) {
        plan.replication.voters = 3;
    }
}

/// A member or two of some plans stop, and are started again.
pub(super) fn stops(plan: &mut Plan) {
    let mut draws = Draws::new(plan.seed, Purpose::Stop, 0, 0);
    let special = is_special(plan);
    if special || plan.recovery.is_some() || !draws.one_in(ONE_IN) {
        return;
    }
    stage(plan, draws);
}

pub(super) fn stage(plan: &mut Plan, mut draws: Draws) {
    for ordinal in 0..draws.between(1, 2) {
        let node = draws.index(plan.nodes.len());
        let at = SECOND + draws.below(plan.fault_phase);
        let (lasting, away) = (draws.percent(60), draws.spread(10 * MILLI, 8 * SECOND));
        if plan.stops.iter().any(|stop| stop.node == node) {
            continue;
        }
        plan.stops.push(StopPlan { at, node, lasting, away });
        // While it stops, or is stopped.
        let crashes = at + draws.spread(MILLI, 4 * SECOND);
        if draws.percent(40) {
            fall(plan, &mut draws, KIND << 16 | ordinal, node, crashes);
        }
    }
}

/// A node falls in the middle of what was begun at it, if that is before faults end.
pub(super) fn fall(plan: &mut Plan, draws: &mut Draws, id: u64, node: usize, at: u64) {
    if at < plan.fault_phase {
        let (power, down) = (draws.percent(50), draws.spread(MILLI, 2 * SECOND));
        let after_outputs = draws.percent(50).then(|| draws.below(8) as u32);
        let kind = FaultKind::Crash { node, power, after_outputs, down };
        plan.faults.push(Fault { id, when: Trigger::At(at), kind });
    }
}

#[cfg(test)]
mod tests {
    use crate::plan::Plan;

    #[test]
    fn some_members_stop_in_both_ways_and_some_nodes_are_in_several_regions() {
        let plans: Vec<Plan> = (0..1000).map(Plan::generate).collect();
        let with = plans.iter().filter(|plan| !plan.stops.is_empty()).count();
        assert!((80..300).contains(&with), "{with} of 1000 runs");
        let all = || plans.iter().flat_map(|plan| &plan.stops);
        assert!(all().any(|stop| stop.lasting) && all().any(|stop| !stop.lasting));
        let spread = |plan: &&Plan| plan.nodes.iter().filter(|node| node.region.is_some()).count() > 1;
        let spread = plans.iter().filter(spread).count();
        assert!((100..400).contains(&spread), "{spread} of 1000 runs");
    }
}
