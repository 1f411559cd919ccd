//! Runs in which the source of streams is lost for good, as far as an operator knows, who has them sealed; then it comes back.

use crate::event::{MILLI, SECOND};
use crate::fault::{Fault, FaultKind, Trigger};
use crate::plan::CompletePlan;
use crate::plan::{Plan, SealPlan};
use crate::random::{Draws, Purpose};

/// One plan in so many has streams that are sealed, of those that are not about something else.
const ONE_IN: u64 = 8;
/// Faults of plans that are about one thing bear names of these kinds.
const SPECIAL: std::ops::RangeInclusive<u64> = 56..=62;
/// The names of the faults that only such runs have begin here.
const KIND: u64 = 100;

/// A source of some plans is lost, and its streams are sealed.
pub(super) fn seals(plan: &mut Plan) {
    let mut draws = Draws::new(plan.seed, Purpose::Seal, 0, 0);
    let special = plan.faults.iter().any(|fault| fault.id >> 16 == 48 || SPECIAL.contains(&(fault.id >> 16)));
    // What is lost with a disk has its own rules, and so has who never heals.
    let damaged = plan.faults.iter().any(|fault| fault.kind.damages());
    let other =
        damaged || !plan.departures.is_empty() || !plan.stops.is_empty() || !plan.rotations.is_empty();
    if special || other || plan.nodes.len() < 3 || plan.streams.is_empty() || !draws.one_in(ONE_IN) {
        return;
    }
    plan.beyond_repair = false;
    plan.forsaken = None;
    let stream = draws.index(plan.streams.len());
    let (node, target) = (plan.streams[stream].source, plan.streams[stream].target);
    for node in &mut plan.nodes {
        node.boots_at = node.boots_at.min(500 * MILLI);
        node.joins_at = node.joins_at.min(SECOND);
    }
    // Of several voters enough are left: there is nothing to seal.
    for stream in &mut plan.streams {
        stream.more.clear();
        stream.complete = CompletePlan::All;
    }
    for stream in plan.streams.iter_mut().filter(|stream| stream.source == node) {
        for publisher in &mut stream.publishers {
            publisher.starts_at = publisher.starts_at.min(draws.between(SECOND, 4 * SECOND));
        }
    }
    plan.fault_phase = plan.fault_phase.max(draws.between(12 * SECOND, 18 * SECOND));
    let lost_at = draws.between(3 * SECOND, 6 * SECOND);
    let at = lost_at + draws.between(100 * MILLI, 4 * SECOND);
    let until = match draws.index(10) {
        // It comes back in the midst of it.
        0..4 => at - lost_at + draws.spread(MILLI, 4 * SECOND),
        _ => plan.fault_phase,
    };
    // A run in which nobody falls stays one.
    let falls = plan.faults.iter().any(|fault| matches!(fault.kind, FaultKind::Crash { .. }));
    let kind = match draws.index(10) {
        0..5 => FaultKind::Isolate { node, inbound: true, outbound: true, length: until },
        5 => FaultKind::Isolate { node, inbound: draws.percent(50), outbound: false, length: until },
        _ if !falls => FaultKind::Isolate { node, inbound: true, outbound: true, length: until },
        _ => FaultKind::Crash { node, power: draws.percent(50), after_outputs: None, down: until },
    };
    let mut add = |ordinal, at, kind| {
        plan.faults.push(Fault { id: KIND << 16 | ordinal, when: Trigger::At(at), kind });
    };
    add(0, lost_at, kind);
    // Who goes on falls, too, for a while.
    let count = draws.below(3);
    for ordinal in 0..if falls { count } else { 0 } {
        let node = if draws.percent(70) { target } else { draws.index(plan.nodes.len()) };
        let after_outputs = draws.percent(50).then(|| draws.below(8) as u32);
        let (power, down) = (draws.percent(50), draws.spread(MILLI, 2 * SECOND));
        add(
            1 + ordinal,
            draws.between(at, at + 4 * SECOND),
            FaultKind::Crash { node, power, after_outputs, down },
        );
    }
    let others: Vec<usize> = (0..plan.nodes.len()).filter(|other| *other != node).collect();
    plan.seal = Some(SealPlan { at, asked_at: others[draws.index(others.len())], node });
}

#[cfg(test)]
mod tests {
    use crate::plan::Plan;

    #[test]
    fn streams_of_some_runs_are_sealed() {
        let plans: Vec<Plan> = (0..2000).map(Plan::generate).collect();
        let with = plans.iter().filter(|plan| plan.seal.is_some()).count();
        assert!((20..250).contains(&with), "{with} of 2000 runs");
    }
}
