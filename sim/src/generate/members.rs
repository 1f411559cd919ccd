//! Runs in which a target is gone for good, as far as an operator knows, or is to go though it lives: it is taken out of a stream that goes on.

use super::{is_special, whole_early};
use crate::checker::Left;
use crate::event::{MILLI, SECOND};
use crate::fault::{Fault, FaultKind, Trigger};
use crate::plan::{Change, ChangePlan, CompletePlan, Forsaken, ForsakenPlan, Plan, SealPlan, StreamPlan};
use crate::random::{Draws, Purpose};

/// So many of a hundred plans that have a stream with several targets, of those that are not about something else.
const PERCENT: u64 = 80;
/// The names of the faults that only such runs have begin here.
const KIND: u64 = 101;
/// Those of the faults by which a target is lost, and those by which ends are that stay.
const LOST: u64 = 64;
const QUORUM: u64 = 96;
const AWAY: u64 = 112;
/// In so many of a hundred such plans the stream loses its quorum in the midst of it.
const SEALED: u64 = 25;
/// So many nodes can do without two of them.
const ENOUGH: usize = 5;

/// Members of streams of some plans change.
pub(super) fn members(plan: &mut Plan) {
    let mut draws = Draws::new(plan.seed, Purpose::Members, 0, 0);
    let special = is_special(plan);
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
    whole_early(plan);
    let stream = several[draws.index(several.len())];
    for publisher in &mut plan.streams[stream].publishers {
        publisher.starts_at = publisher.starts_at.min(draws.between(SECOND, 4 * SECOND));
    }
    plan.fault_phase = plan.fault_phase.max(draws.between(10 * SECOND, 16 * SECOND));
    // A run in which nobody falls stays one.
    let falls = plan.faults.iter().any(|fault| matches!(fault.kind, FaultKind::Crash { .. }));
    let mut targets: Vec<usize> = plan.streams[stream].targets().collect();
    let mut at = draws.between(3 * SECOND, 6 * SECOND);
    // Somebody may be gone for good of whom nobody asks.
    if targets.len() > 3 && falls && draws.percent(25) {
        let node = targets.swap_remove(draws.index(targets.len()));
        let lost_at = at - draws.between(MILLI, 2 * SECOND);
        if forsake(plan, (stream, node), Forsaken::Down) {
            let kind = FaultKind::Crash { node, power: true, after_outputs: None, down: plan.fault_phase };
            plan.faults.push(Fault { id: KIND << 16 | (LOST + 8), when: Trigger::At(lost_at), kind });
        }
    }
    let sealed = plan.forsaken.is_none() && draws.percent(SEALED);
    let count = if !sealed && targets.len() > 2 && draws.percent(40) { 2 } else { 1 };
    for ordinal in 0..count {
        let node = targets.swap_remove(draws.index(targets.len()));
        at += draws.between(100 * MILLI, 3 * SECOND);
        if falls && draws.percent(25) {
            // Who goes lives, who stays is away, and the source forgets what it told.
            let (source, other) = (plan.streams[stream].source, targets[draws.index(targets.len())]);
            let crash = |node, down| FaultKind::Crash { node, power: false, after_outputs: None, down };
            let (away, down) = (at - draws.between(MILLI, 2 * SECOND), draws.between(SECOND, 6 * SECOND));
            let again = at + draws.spread(MILLI, 2 * SECOND);
            let faults = [(away, crash(other, down)), (again, crash(source, draws.spread(MILLI, SECOND)))];
            for (fault, (when, kind)) in (0..).zip(faults) {
                let id = KIND << 16 | (AWAY + 2 * ordinal + fault);
                plan.faults.push(Fault { id, when: Trigger::At(when), kind });
            }
            let change = asked(plan, &mut draws, (stream, node), at, &targets, false);
            plan.changes.push(change);
            continue;
        }
        let lost = loses(plan, &mut draws, (ordinal, node), at, falls);
        let for_good =
            lost.is_some_and(|how| !sealed && draws.percent(60) && forsake(plan, (stream, node), how));
        let change = asked(plan, &mut draws, (stream, node), at, &targets, for_good);
        plan.changes.push(change);
        let (source, other) = (plan.streams[stream].source, targets[draws.index(targets.len())]);
        for fault in 0..if falls { draws.below(3) } else { 0 } {
            let node = if draws.percent(60) { source } else { other };
            let after_outputs = draws.percent(50).then(|| draws.below(8) as u32);
            let (power, down) = (draws.percent(50), draws.spread(MILLI, 2 * SECOND));
            let when = Trigger::At(at + draws.spread(MILLI, 2 * SECOND));
            let kind = FaultKind::Crash { node, power, after_outputs, down };
            plan.faults.push(Fault { id: KIND << 16 | (1 + 8 * ordinal + fault), when, kind });
        }
        if sealed {
            lose_quorum(plan, &mut draws, (stream, node), at, falls);
        }
    }
    // Who is asked first may have been lost second.
    let source = plan.streams[stream].source;
    let forsaken = plan.forsaken.iter().flat_map(|forsaken| &forsaken.nodes).copied().collect::<Vec<_>>();
    for change in plan.changes.iter_mut().filter(|change| forsaken.contains(&change.asked_at)) {
        change.asked_at = source;
    }
}

/// What an operator asks for at that moment, of a target of a stream of which these are left.
fn asked(
    plan: &mut Plan,
    draws: &mut Draws,
    (stream, node): (usize, usize),
    at: u64,
    targets: &[usize],
    for_good: bool,
) -> ChangePlan {
    let forsaken = |other: &usize| plan.forsaken.as_ref().is_some_and(|plan| plan.nodes.contains(other));
    let there = |other: &usize| *other != node && !forsaken(other);
    let others: Vec<usize> = (0..plan.nodes.len()).filter(there).collect();
    let asked_at = others[draws.index(others.len())];
    let name = plan.streams[stream].name.clone();
    // Who is gone does not process any more.
    let drains = !for_good && draws.percent(40) && drainable(&mut plan.streams[stream], node, targets);
    let change = if drains { Change::Drain } else { Change::Detach };
    ChangePlan { stream: name, node, change, at, asked_at }
}

/// Ends of a stream of which one is taken out at that moment are lost about then, and those who stay, or those there were before, can decide nothing without them:
/// the stream is sealed.
fn lose_quorum(plan: &mut Plan, draws: &mut Draws, (stream, leaves): (usize, usize), at: u64, falls: bool) {
    let ends = plan.streams[stream].ends().filter(|end| *end != leaves || draws.percent(20));
    let mut ends: Vec<usize> = ends.collect();
    let count = if plan.streams[stream].more.len() == 1 { 1 } else { 2 };
    if count == 2 && plan.nodes.len() < ENOUGH {
        return;
    }
    let first = if draws.percent(60) { 0 } else { draws.index(ends.len()) };
    let mut lost = vec![ends.swap_remove(first)];
    if count == 2 {
        lost.push(ends.swap_remove(draws.index(ends.len())));
    }
    lost.sort_unstable();
    let lost_at = at - SECOND + draws.between(MILLI, 3 * SECOND);
    let sealed_at = lost_at + draws.between(100 * MILLI, 4 * SECOND);
    plan.fault_phase = plan.fault_phase.max(sealed_at + draws.between(4 * SECOND, 8 * SECOND));
    let down = if draws.percent(40) {
        sealed_at - lost_at + draws.spread(MILLI, 4 * SECOND)
    } else {
        plan.fault_phase
    };
    for (ordinal, &node) in (0..).zip(&lost) {
        let kind = if falls && draws.percent(40) {
            FaultKind::Crash { node, power: draws.percent(50), after_outputs: None, down }
        } else {
            FaultKind::Isolate { node, inbound: true, outbound: true, length: down }
        };
        plan.faults.push(Fault { id: KIND << 16 | (QUORUM + ordinal), when: Trigger::At(lost_at), kind });
    }
    let there: Vec<usize> = (0..plan.nodes.len()).filter(|node| !lost.contains(node)).collect();
    let asked_at = there[draws.index(there.len())];
    for change in plan.changes.iter_mut().filter(|change| lost.contains(&change.asked_at)) {
        change.asked_at = asked_at;
    }
    plan.seal = Some(SealPlan { at: sealed_at, asked_at, node: lost[0], more: lost[1..].to_vec() });
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

/// One more end of a stream stays broken in the healed world, if the others can go on without all of those, whoever of them is taken out. All of them do in one way.
fn forsake(plan: &mut Plan, (stream, node): (usize, usize), how: Forsaken) -> bool {
    let mut nodes = plan.forsaken.iter().flat_map(|forsaken| &forsaken.nodes).copied().collect::<Vec<_>>();
    let other = plan.forsaken.as_ref().is_some_and(|forsaken| forsaken.how != how);
    nodes.push(node);
    let left = |out: &[usize]| {
        Left::without(&plan.streams[stream], |node| out.contains(&node), |node| nodes.contains(&node))
    };
    let goes_on = |out: &[usize]| left(out).is_some_and(|left| left.most);
    let goes_on = goes_on(&[]) && nodes.iter().all(|&out| goes_on(&[out]));
    if other || !goes_on || 2 * nodes.len() >= plan.nodes.len() {
        return false;
    }
    plan.forsaken = Some(ForsakenPlan { nodes, how });
    true
}

/// A target is lost somewhat before the operator takes it out; or it lives, and goes on for as long as it is let. How it stays broken, if it is not to heal before
/// the others do.
fn loses(
    plan: &mut Plan,
    draws: &mut Draws,
    (ordinal, node): (u64, usize),
    at: u64,
    falls: bool,
) -> Option<Forsaken> {
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
        _ => return None,
    };
    let how = match kind {
        FaultKind::Crash { .. } => Some(Forsaken::Down),
        FaultKind::Isolate { inbound: true, outbound: true, .. } => Some(Forsaken::CutOff),
        _ => None,
    };
    let how = how.filter(|_| length == plan.fault_phase);
    plan.faults.push(Fault { id: KIND << 16 | (LOST + ordinal), when: Trigger::At(lost_at), kind });
    how
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
        let gone = |plan: &Plan, node| plan.forsaken.as_ref().is_some_and(|plan| plan.nodes.contains(&node));
        let for_good = |plan: &&&Plan| plan.changes.iter().any(|change| gone(plan, change.node));
        assert!(with.iter().filter(for_good).count() >= 3, "lost for good");
        assert!(with.iter().filter(|plan| plan.seal.is_some()).count() >= 8, "sealed in the midst of it");
    }
}
