//! Members whose identity keys give way to others.

use super::stops::fall;
use crate::event::{MILLI, SECOND};
use crate::plan::{Plan, RotationPlan};
use crate::random::{Draws, Purpose};

/// One plan in so many has members with new keys.
const ONE_IN: u64 = 5;
/// The names of the faults that only these plans have begin here.
const KIND: u64 = 94;

/// A key or two, or three of them one after the other at one node, give way; and the node may crash in the middle.
pub(super) fn rotations(plan: &mut Plan) {
    let mut draws = Draws::new(plan.seed, Purpose::Rotation, 0, 0);
    if plan.recovery.is_some() || !draws.one_in(ONE_IN) {
        return;
    }
    let one = draws.percent(30).then(|| draws.index(plan.nodes.len()));
    for ordinal in 0..draws.between(1, 3) {
        let node = one.unwrap_or_else(|| draws.index(plan.nodes.len()));
        let at = SECOND + draws.below(plan.fault_phase);
        plan.rotations.push(RotationPlan { at, node, finish: draws.percent(30) });
        let crashes = at + draws.spread(MILLI, 6 * SECOND);
        if draws.percent(60) {
            fall(plan, &mut draws, KIND << 16 | ordinal, node, crashes);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::plan::Plan;

    #[test]
    fn some_keys_give_way_by_themselves_and_some_at_once() {
        let plans: Vec<Plan> = (0..1000).map(Plan::generate).collect();
        let with = plans.iter().filter(|plan| !plan.rotations.is_empty()).count();
        assert!((120..300).contains(&with), "{with} of 1000 runs");
        let all = || plans.iter().flat_map(|plan| &plan.rotations);
        assert!(all().any(|rotation| rotation.finish) && all().any(|rotation| !rotation.finish));
    }
}
