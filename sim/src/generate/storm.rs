//! Runs about starts that end before they have done anything. A disk stalls while much is to be written; then the node crashes, and
//! crashes again soon after each start, so that rows of several starts come to lie beside each other, each start having written over
//! some of what those before it left behind.

use super::contest::ask;
use super::faults::Swarm;
use crate::event::{MILLI, SECOND, Time};
use crate::fault::{Fault, FaultKind, Trigger};
use crate::plan::Plan;
use crate::random::{Draws, Purpose};
use crate::trouble::Trouble;

/// One run in so many is about that.
const ONE_IN: u64 = 8;
/// The names of these faults begin here.
const KIND: u64 = 56;

/// Adds such storms to some plans.
pub(super) fn storm(plan: &mut Plan) {
    let mut draws = Draws::new(plan.seed, Purpose::Storm, 0, 0);
    if draws.one_in(ONE_IN) {
        stage(plan, draws);
    }
}

pub(super) fn stage(plan: &mut Plan, mut draws: Draws) {
    plan.disk.rows_may_tear = draws.percent(80);
    plan.disk.slack = draws.pick(&[2_000, plan.disk.slack]);
    let ends: Vec<usize> = plan.streams.iter().flat_map(|stream| stream.ends()).collect();
    let swarm = Swarm {
        draws: draws.clone(),
        seed: plan.seed,
        count: plan.nodes.len(),
        edges: Vec::new(),
        favourite: draws.pick(&ends),
        from: (SECOND).min(plan.fault_phase / 4),
        until: plan.fault_phase,
    };
    for round in 0..draws.between(1, 4) {
        let mut draws = Draws::new(plan.seed, Purpose::Storm, 1, round);
        let at = swarm.moment(&mut draws);
        let node = swarm.victim(&mut draws);
        ask(plan, &mut draws, at);
        plan.faults.extend(one(&mut draws, at, node, round));
    }
    let until = plan.fault_phase;
    plan.faults.retain(|fault| fault.when.time().is_none_or(|begins| begins <= until));
}

fn one(draws: &mut Draws, at: Time, node: usize, round: u64) -> Vec<Fault> {
    let id = |kind: u64| KIND << 16 | kind << 8 | round;
    let length = draws.spread(300 * MILLI, 3 * SECOND);
    let what = Trouble::StalledDisk { length };
    let stalls = FaultKind::Trouble { node, what };
    let crashes = Trouble::CrashLoop {
        times: draws.between(2, 8) as u32,
        runs: draws.spread(MILLI, 300 * MILLI),
        down: draws.spread(MILLI, 30 * MILLI),
    };
    let then = at + draws.spread(10 * MILLI, 600 * MILLI).min(length);
    let mut faults = vec![
        Fault { id: id(0), when: Trigger::At(at), kind: stalls },
        Fault { id: id(1), when: Trigger::At(then), kind: FaultKind::Trouble { node, what: crashes } },
    ];
    if draws.percent(30) {
        // A row that never came to its place lets an earlier start show through.
        let what = if draws.percent(50) { Trouble::PhantomWrite } else { Trouble::MisdirectedWrite };
        let at = at + draws.below(then - at + SECOND);
        faults.push(Fault { id: id(2), when: Trigger::At(at), kind: FaultKind::Trouble { node, what } });
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::super::plans_about;

    #[test]
    fn some_plans_have_storms_and_most_have_none() {
        let runs = plans_about(super::KIND, 1000).len();
        assert!((90..=160).contains(&runs), "{runs}");
    }
}
