//! Disks that are smaller than what is published: both ends of a stream fill up, and what was accepted gets through only as the handler
//! makes room for it. Nodes may be full of what they accepted for each other. No healing gives such a disk more room.

use crate::plan::Plan;
use crate::random::{Draws, Purpose};

/// One run in so many has such disks.
const ONE_IN: u64 = 6;
/// Messages in a request, at most: none of them is longer than 48 KiB.
const LARGEST_REQUEST: u64 = 6;
/// Free bytes below which a node accepts nothing.
const FLOOR: u64 = 3 << 20;

/// Makes the disks of some plans small, and the publishers write more than fits.
pub(crate) fn scarce(plan: &mut Plan) {
    let mut draws = Draws::new(plan.seed, Purpose::Swarm, 40, 0);
    if !draws.one_in(ONE_IN) || forgets_what_it_sent(plan) {
        return;
    }
    plan.disk.capacity = FLOOR + draws.spread(400_000, 1_200_000);
    plan.disk.slack = 2_000;
    if plan.streams.len() > 1 || plan.streams.iter().any(|stream| !stream.more.is_empty()) {
        // Who stays away would keep the disk of its source full, of which the other streams need some, and the other targets.
        plan.forsaken = None;
    }
    for stream in &mut plan.streams {
        for publisher in &mut stream.publishers {
            publisher.messages = publisher.messages.max(draws.between(40, 200));
            publisher.long_one_in = draws.between(1, 4);
            // What is asked for at once must fit into what a drained node has free.
            publisher.batch.1 = publisher.batch.1.min(LARGEST_REQUEST);
            publisher.waits = [1, 0, 0];
        }
        if draws.percent(50) {
            stream.handler.attaches_at = draws.between(plan.fault_phase / 2, plan.fault_phase);
        }
    }
}

/// Whether the source of a stream may lose what its target holds. It accepts without knowing that, and a disk full of what it accepted has
/// no room left to take back the bytes that its log names: nobody but the source can say that they are completed.
fn forgets_what_it_sent(plan: &Plan) -> bool {
    let source = |node: usize| plan.streams.iter().any(|stream| stream.source == node);
    plan.faults.iter().any(|fault| fault.kind.damages() && fault.kind.nodes().into_iter().any(source))
}

#[cfg(test)]
mod tests {
    use crate::outcome::Verdict;
    use crate::plan::Plan;
    use crate::trace::Recording;
    use crate::world;

    fn scarce(seed: u64) -> Option<Plan> {
        let plan = Plan::generate(seed);
        (plan.disk.capacity < 5 << 20).then_some(plan)
    }

    #[test]
    fn some_plans_have_scarce_disks_and_most_of_them_publish_more_than_fits() {
        let plans: Vec<Plan> = (0..1000).filter_map(scarce).collect();
        assert!((60..=150).contains(&plans.len()), "{} of 1000", plans.len());
        let overfull = plans.iter().filter(|plan| plan.workload_bytes() > plan.disk.capacity - super::FLOOR);
        assert!(overfull.count() * 2 > plans.len());
    }

    #[test]
    fn nodes_full_of_what_they_accepted_for_each_other_let_it_through() {
        let crossing = |plan: &Plan| {
            let back = |a: usize, b: usize| {
                plan.streams
                    .iter()
                    .any(|stream| stream.source == a && stream.targets().any(|target| target == b))
            };
            plan.streams.iter().any(|stream| stream.targets().any(|target| back(target, stream.source)))
        };
        let mut both_full = 0;
        for plan in (0..).filter_map(scarce).filter(crossing).take(6) {
            let outcome = world::run(&plan, Recording::All);
            assert!(outcome.verdict.is_pass(), "seed {}: {}", plan.seed, outcome.verdict);
            let full = |node: &&crate::plan::NodePlan| {
                let refuses = format!("{:8} -> refuse", node.name);
                outcome.lines.iter().any(|line| line.contains(&refuses) && line.contains("is nearly full"))
            };
            both_full += u32::from(plan.nodes.iter().filter(full).count() >= 2);
        }
        assert!(both_full >= 1, "no two nodes were full in any run");
    }

    #[test]
    fn on_scarce_disks_publishing_is_refused_and_goes_on_until_everything_is_through() {
        let mut refused = 0;
        let whole = |plan: &Plan| !plan.faults.iter().any(|fault| fault.kind.damages());
        for plan in (0..).filter_map(scarce).filter(whole).take(8) {
            let outcome = world::run(&plan, Recording::All);
            assert_eq!(outcome.verdict, Verdict::Pass, "seed {}", plan.seed);
            refused += u32::from(outcome.lines.iter().any(|line| line.contains("is nearly full")));
        }
        assert!(refused >= 1, "{refused} of 8 runs were full at some time");
    }
}
