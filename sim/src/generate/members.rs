//! Runs in which a target is gone for good, as far as an operator knows, or is to go though it lives: it is taken out of a stream that goes on.

use crate::event::{MILLI, SECOND};
use crate::fault::{Fault, FaultKind, Trigger};
use crate::plan::{Change, ChangePlan, CompletePlan, Plan, StreamPlan};
use crate::random::{Draws, Purpose};

/// So many of a hundred plans that have a stream with several targets, of those that are not about something else.
const PERCENT: u64 = 80;
/// Faults of plans that are about one thing bear names of these kinds.
const SPECIAL: std::ops::RangeInclusive<u64> = 56..=62;
/// The names of the faults that only such runs have begin here.
const KIND: u64 = 101;
/// Those of the faults by which a target is lost.
const LOST: u64 = 64;

/// Members of streams of some plans change.
pub(super) fn members(plan: &mut Plan) {
    let mut draws = Draws::new(plan.seed, Purpose::Members, 0, 0);
    let special = plan.faults.iter().any(|fault| fault.id >> 16 == 48 || SPECIAL.contains(&(fault.id >> 16)));
    let damaged = plan.faults.iter().any(|fault| fault.kind.damages());
    let other = !plan.departures.is_empty() || !plan.stops.is_empty() || !plan.rotations.is_empty();
    if special || damaged || other || plan.seal.is_some() || !draws.percent(PERCENT) {
        return;
    }
    stage(plan, draws);
}

/// Members of a stream with several targets change, if there is one.
pub(super) fn stage(plan: &mut Plan, mut draws: Draws) {
    let several: Vec<usize> =
        (0..plan.streams.len()).filter(|&stream| !plan.streams[stream].more.is_empty()).collect();
    if several.is_empty() {
        return;
    }
    plan.beyond_repair = false;
    plan.forsaken = None;
    for node in &mut plan.nodes {
        node.boots_at = node.boots_at.min(500 * MILLI);
        node.joins_at = node.joins_at.min(SECOND);
    }
    let stream = several[draws.index(several.len())];
    for publisher in &mut plan.streams[stream].publishers {
        publisher.starts_at = publisher.starts_at.min(draws.between(SECOND, 4 * SECOND));
    }
    plan.fault_phase = plan.fault_phase.max(draws.between(10 * SECOND, 16 * SECOND));
    // A run in which nobody falls stays one.
    let falls = plan.faults.iter().any(|fault| matches!(fault.kind, FaultKind::Crash { .. }));
    let mut targets: Vec<usize> = plan.streams[stream].targets().collect();
    let mut at = draws.between(3 * SECOND, 6 * SECOND);
    let count = if targets.len() > 2 && draws.percent(40) { 2 } else { 1 };
    for ordinal in 0..count {
        let node = targets.swap_remove(draws.index(targets.len()));
        at += draws.between(100 * MILLI, 3 * SECOND);
        loses(plan, &mut draws, (ordinal, node), at, falls);
        let others: Vec<usize> = (0..plan.nodes.len()).filter(|other| *other != node).collect();
        let asked_at = others[draws.index(others.len())];
        let name = plan.streams[stream].name.clone();
        let drains = draws.percent(40) && drainable(&mut plan.streams[stream], node, &targets);
        let change = if drains { Change::Drain } else { Change::Detach };
        plan.changes.push(ChangePlan { stream: name, node, change, at, asked_at });
        let (source, other) = (plan.streams[stream].source, targets[draws.index(targets.len())]);
        for fault in 0..if falls { draws.below(3) } else { 0 } {
            let node = if draws.percent(60) { source } else { other };
            let after_outputs = draws.percent(50).then(|| draws.below(8) as u32);
            let (power, down) = (draws.percent(50), draws.spread(MILLI, 2 * SECOND));
            let when = Trigger::At(at + draws.spread(MILLI, 2 * SECOND));
            let kind = FaultKind::Crash { node, power, after_outputs, down };
            plan.faults.push(Fault { id: KIND << 16 | (1 + 8 * ordinal + fault), when, kind });
        }
    }
}

/// Whether the policy of a stream stays what it is without a target, of which the others are left; it is made to be if that is easily done.
fn drainable(stream: &mut StreamPlan, node: usize, left: &[usize]) -> bool {
    match &mut stream.complete {
        CompletePlan::All => true,
        CompletePlan::Count(count) => {
            *count = (*count).min(left.len() as u32);
            true
        }
        CompletePlan::Named(named) => named.iter().any(|other| *other != node && left.contains(other)),
    }
}

/// A target is lost somewhat before the operator takes it out; or it lives, and goes on for as long as it is let.
fn loses(plan: &mut Plan, draws: &mut Draws, (ordinal, node): (u64, usize), at: u64, falls: bool) {
    let lost_at = at - draws.between(MILLI, 2 * SECOND);
    let length = match draws.index(10) {
        // It comes back in the midst of it.
        0..5 => at - lost_at + draws.spread(MILLI, 4 * SECOND),
        _ => plan.fault_phase,
    };
    let kind = match draws.index(10) {
        0..3 => FaultKind::Isolate { node, inbound: true, outbound: true, length },
        3 => FaultKind::Isolate { node, inbound: draws.percent(50), outbound: false, length },
        4..7 if falls => {
            FaultKind::Crash { node, power: draws.percent(50), after_outputs: None, down: length }
        }
        _ => return,
    };
    plan.faults.push(Fault { id: KIND << 16 | (LOST + ordinal), when: Trigger::At(lost_at), kind });
}

#[cfg(test)]
mod tests {
    use crate::plan::{Change, Plan};

    #[test]
    fn members_of_streams_change_in_some_runs() {
        let plans: Vec<Plan> = (0..2000).map(Plan::generate).collect();
        let with: Vec<&Plan> = plans.iter().filter(|plan| !plan.changes.is_empty()).collect();
        assert!((40..400).contains(&with.len()), "{} of 2000 runs", with.len());
        let stream =
            |plan: &Plan| plan.stream_named(&plan.changes[0].stream).expect("it is one of its streams");
        let to_two = |plan: &&&Plan| plan.streams[stream(plan)].more.len() == 1;
        assert!(with.iter().filter(to_two).count() >= 10, "from three members to two");
        let drains = |plan: &&&Plan| plan.changes.iter().any(|change| change.change == Change::Drain);
        assert!(with.iter().filter(drains).count() >= 10, "drained");
        assert!(with.iter().filter(|plan| plan.changes.len() > 1).count() >= 5, "one after the other");
    }
}
