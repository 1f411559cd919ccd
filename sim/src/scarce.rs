//! Disks that are smaller than what is published: both ends of a stream fill up, and what was accepted gets through only as the handler
//! makes room for it. No healing gives such a disk more room.

use crate::plan::{Plan, ReplicationPlan};
use crate::random::{Draws, Purpose};

/// One run in so many has such disks.
const ONE_IN: u64 = 6;
/// Free bytes below which a node takes nothing.
const FLOOR: u64 = 1 << 20;

/// Makes the disks of some plans small, and the publishers of their only stream write more than fits.
pub(crate) fn scarce(plan: &mut Plan) {
    let mut draws = Draws::new(plan.seed, Purpose::Swarm, 40, 0);
    // A source that forgot what its target holds must take it back, and a disk full of what it accepted since has no room for it.
    if !draws.one_in(ONE_IN) || plan.faults.iter().any(|fault| fault.kind.damages()) {
        return;
    }
    // Room for the largest batch beside what a drained node keeps.
    plan.disk.capacity = FLOOR + draws.spread(400_000, 1_200_000);
    plan.disk.slack = 2_000;
    // What a gate drops is sent again behind all else; whether two full disks always get on with that is not settled.
    plan.replication.held = ReplicationPlan::default().held;
    // With another stream the same disk might be full of what no handler of this one can free.
    plan.streams.truncate(1);
    for stream in &mut plan.streams {
        for publisher in &mut stream.publishers {
            publisher.messages = publisher.messages.max(draws.between(40, 200));
            publisher.long_one_in = draws.between(1, 4);
            publisher.waits = [1, 0, 0];
        }
        if draws.percent(50) {
            stream.handler.attaches_at = draws.between(plan.fault_phase / 2, plan.fault_phase);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::outcome::Verdict;
    use crate::plan::Plan;
    use crate::trace::Recording;
    use crate::world;

    fn scarce(seed: u64) -> Option<Plan> {
        let plan = Plan::generate(seed);
        (plan.disk.capacity < 4 << 20).then_some(plan)
    }

    #[test]
    fn some_plans_have_scarce_disks_and_most_of_them_publish_more_than_fits() {
        let plans: Vec<Plan> = (0..1000).filter_map(scarce).collect();
        assert!((60..=150).contains(&plans.len()), "{} of 1000", plans.len());
        let overfull = plans.iter().filter(|plan| plan.workload_bytes() > plan.disk.capacity - super::FLOOR);
        assert!(overfull.count() * 2 > plans.len());
    }

    #[test]
    fn on_scarce_disks_publishing_is_refused_and_goes_on_until_everything_is_through() {
        let mut refused = 0;
        for plan in (0..).filter_map(scarce).take(3) {
            let outcome = world::run(&plan, Recording::All);
            assert_eq!(outcome.verdict, Verdict::Pass, "seed {}", plan.seed);
            refused += u32::from(outcome.lines.iter().any(|line| line.contains("is nearly full")));
        }
        assert!(refused >= 1, "{refused} of 3 runs were full at some time");
    }
}
