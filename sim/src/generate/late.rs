//! Runs in which votes come again late. Two nodes ask the third for its vote in one term; whoever did not get it hears instead what it was
//! granted in an earlier term, which was kept on the way. It must not count: the other has won.

use crate::event::{MILLI, SECOND};
use crate::fault::{Fault, FaultKind, Trigger};
use crate::network::Disturbance;
use crate::plan::{Latency, Plan};
use crate::random::{Draws, Purpose};

use super::contest::{FIRST, calm_down, link_all};

/// One run of three nodes in so many is about that.
const ONE_IN: u64 = 10;
/// The names of these faults begin here.
const KIND: u64 = 61;

/// Turns some plans into such runs: leaders fall quickly one after the other, and every link repeats what it carried before.
pub(super) fn late(plan: &mut Plan) {
    let mut draws = Draws::new(plan.seed, Purpose::Late, 0, 0);
    if plan.nodes.len() == 3 && draws.one_in(ONE_IN) {
        stage(plan, draws);
    }
}

pub(super) fn stage(plan: &mut Plan, mut draws: Draws) {
    link_all(plan, &mut draws);
    calm_down(plan, &mut draws);
    plan.forsaken = None;
    plan.registry.clear();
    plan.updates = None;
    plan.config.clear();
    // Votes travel nearly as long as an election waits: two are candidates in one term before either hears of the other.
    let usual = draws.spread(15 * MILLI, 60 * MILLI);
    plan.network.latency = Latency::Uniform(usual / 2, usual * 3);
    plan.network.links.clear();
    let rounds = draws.between(4, 10);
    let length = rounds * SECOND;
    let mut kinds = Vec::new();
    for round in 0..rounds {
        let falls = FaultKind::Depose {
            times: draws.between(1, 4) as u32,
            delay: draws.spread(MILLI, 200 * MILLI),
            length: draws.spread(300 * MILLI, 2 * SECOND),
            crash: false,
        };
        kinds.push((FIRST + round * SECOND + draws.below(SECOND), falls));
    }
    for (from, to) in [(0, 1), (0, 2), (1, 2)] {
        let what = Disturbance::Replayed { one_in: draws.between(1, 2) };
        let again = FaultKind::Disturb { from, to, both: true, what, length };
        kinds.push((FIRST - draws.below(SECOND), again));
    }
    let named =
        |(ordinal, (at, kind))| Fault { id: KIND << 16 | ordinal as u64, when: Trigger::At(at), kind };
    plan.faults = kinds.into_iter().enumerate().map(named).collect();
    plan.fault_phase = FIRST + length;
}

#[cfg(test)]
mod tests {
    use super::super::plans_about;
    use crate::fault::FaultKind;

    #[test]
    fn some_plans_repeat_old_votes_while_leaders_fall() {
        let plans = plans_about(super::KIND, 1000);
        assert!((15..=60).contains(&plans.len()), "{}", plans.len());
        for plan in &plans {
            let count =
                |wanted: fn(&FaultKind) -> bool| plan.faults.iter().filter(|f| wanted(&f.kind)).count();
            assert!(count(|kind| matches!(kind, FaultKind::Depose { .. })) >= 4, "seed {}", plan.seed);
            assert_eq!(count(|kind| matches!(kind, FaultKind::Disturb { .. })), 3, "seed {}", plan.seed);
        }
    }
}
