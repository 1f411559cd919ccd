//! Runs in which a node becomes a target of a stream that is open, and may be taken out again.

use super::workload::handler;
use super::{is_special, whole_early};
use crate::event::{MILLI, SECOND};
use crate::fault::{Fault, FaultKind, Trigger};
use crate::plan::{Change, ChangePlan, CompletePlan, Plan, TargetPlan};
use crate::random::{Draws, Purpose};
use crate::trouble::Trouble;

/// So many of a hundred plans that have streams and somebody who is no end of them, of those that are not about something else.
const PERCENT: u64 = 60;
/// The names of the faults that only such runs have begin here.
const KIND: u64 = 102;
/// The numbers of handlers of targets that come later begin here.
const HANDLERS: usize = 1 << 12;

/// Targets come to streams of some plans.
pub(super) fn additions(plan: &mut Plan) {
    let draws = Draws::new(plan.seed, Purpose::Additions, 0, 0);
    let special = is_special(plan);
    let damaged = plan.faults.iter().any(|fault| fault.kind.damages());
    let other = !plan.departures.is_empty() || !plan.stops.is_empty() || !plan.rotations.is_empty();
    if !special && !damaged && !other {
        stage(plan, draws);
    }
}

/// A target comes to a stream, if there is a node that may, and nothing else becomes of members.
pub(super) fn stage(plan: &mut Plan, mut draws: Draws) {
    let other =
        !plan.changes.is_empty() || plan.seal.is_some() || plan.forsaken.is_some() || plan.recovery.is_some();
    let outside = |plan: &Plan, stream: usize| -> Vec<usize> {
        let ends: Vec<usize> = plan.streams[stream].ends().collect();
        (0..plan.nodes.len()).filter(|node| !ends.contains(node)).collect()
    };
    let streams: Vec<usize> =
        (0..plan.streams.len()).filter(|&stream| !outside(plan, stream).is_empty()).collect();
    if other || streams.is_empty() || !draws.percent(PERCENT) {
        return;
    }
    plan.beyond_repair = false;
    whole_early(plan);
    let stream = streams[draws.index(streams.len())];
    for publisher in &mut plan.streams[stream].publishers {
        publisher.starts_at = publisher.starts_at.min(draws.between(SECOND, 4 * SECOND));
    }
    plan.fault_phase = plan.fault_phase.max(draws.between(10 * SECOND, 16 * SECOND));
    let falls = plan.faults.iter().any(|fault| matches!(fault.kind, FaultKind::Crash { .. }));
    let mut at = draws.between(3 * SECOND, 6 * SECOND);
    let count = if draws.percent(25) { 2 } else { 1 };
    for ordinal in 0..count {
        let candidates = outside(plan, stream);
        let Some(&node) = candidates.get(draws.index(candidates.len().max(1))) else { break };
        let change = match draws.index(10) {
            0..4 => Change::Add,
            4..7 => Change::AddNow,
            _ => Change::AddAt(draws.spread(1, 64)),
        };
        let place = HANDLERS + stream * 8 + ordinal;
        let target = TargetPlan { node, handler: handler(plan.seed, place, plan.fault_phase) };
        plan.streams[stream].later.push(target);
        asked(plan, &mut draws, (stream, node), change, at);
        fall(plan, &mut draws, (stream, node), (ordinal as u64, at), falls);
        at += draws.between(100 * MILLI, 3 * SECOND);
        if draws.percent(35) {
            leaves(plan, &mut draws, (stream, node), at);
            at += draws.between(100 * MILLI, 3 * SECOND);
        }
    }
}

fn asked(plan: &mut Plan, draws: &mut Draws, (stream, node): (usize, usize), change: Change, at: u64) {
    let asked_at = draws.index(plan.nodes.len());
    let stream = plan.streams[stream].name.clone();
    plan.changes.push(ChangePlan { stream, node, change, at, asked_at });
}

/// Ends fall about the moment at which one more is to come, or that one does, or is cut off.
fn fall(
    plan: &mut Plan,
    draws: &mut Draws,
    (stream, node): (usize, usize),
    (ordinal, at): (u64, u64),
    falls: bool,
) {
    let ends: Vec<usize> = plan.streams[stream].ends().collect();
    for fault in 0..draws.below(4) {
        let which = if draws.percent(40) { node } else { ends[draws.index(ends.len())] };
        let length = draws.spread(MILLI, 3 * SECOND);
        let when = Trigger::At((at + draws.spread(MILLI, 3 * SECOND)).saturating_sub(draws.below(SECOND)));
        let after_outputs = draws.percent(50).then(|| draws.below(8) as u32);
        let kind = match falls && draws.percent(70) {
            true => FaultKind::Crash { node: which, power: draws.percent(50), after_outputs, down: length },
            false => FaultKind::Isolate { node: which, inbound: true, outbound: true, length },
        };
        plan.faults.push(Fault { id: KIND << 16 | (8 * ordinal + fault), when, kind });
    }
}

/// Who is to come loses its disk in some runs, before it came or after that.
pub(super) fn forgets(plan: &mut Plan, mut draws: Draws) {
    let comes =
        plan.changes.iter().find(|change| change.change.adds()).map(|change| (change.node, change.at));
    let Some((node, at)) = comes.filter(|_| draws.percent(25)) else { return };
    let at = at + draws.spread(MILLI, 3 * SECOND);
    let down = draws.spread(MILLI, SECOND);
    let kind = match draws.percent(50) {
        true => FaultKind::Trouble { node, what: Trouble::EmptyDisk { down } },
        false => FaultKind::RolledBack { node, image_at: at - draws.spread(MILLI, at), down },
    };
    plan.faults.push(Fault { id: KIND << 16 | 1 << 8, when: Trigger::At(at), kind });
}

/// Whoever came, or was there before, is taken out again, if somebody is left whom the policy means.
fn leaves(plan: &mut Plan, draws: &mut Draws, (stream, came): (usize, usize), at: u64) {
    let entry = &plan.streams[stream];
    let all = entry.complete == CompletePlan::All;
    let was_there: Vec<usize> = entry.opened().collect();
    let out = |node: usize| plan.changes.iter().any(|change| change.node == node && !change.change.adds());
    let node = if draws.percent(50) { came } else { was_there[draws.index(was_there.len())] };
    if !out(node) {
        let change = if all && draws.percent(60) { Change::Drain } else { Change::Detach };
        asked(plan, draws, (stream, node), change, at);
    }
}

#[cfg(test)]
mod tests {
    use crate::plan::{Change, Plan};

    #[test]
    fn targets_come_to_streams_in_some_runs() {
        let plans: Vec<Plan> = (0..2000).map(Plan::generate).collect();
        let adds = |plan: &&Plan| plan.changes.iter().any(|change| change.change.adds());
        let with: Vec<&Plan> = plans.iter().filter(adds).collect();
        assert!((40..600).contains(&with.len()), "{} of 2000 runs", with.len());
        let to_three = |plan: &&&Plan| {
            let stream = plan.stream_named(&plan.changes[0].stream).expect("it is one of its streams");
            plan.streams[stream].more.is_empty()
        };
        assert!(with.iter().filter(to_three).count() >= 10, "from two members to three");
        for change in [Change::Add, Change::AddNow, Change::Drain, Change::Detach] {
            let has = |plan: &&&Plan| plan.changes.iter().any(|other| other.change == change);
            assert!(with.iter().filter(has).count() >= 5, "{change:?}");
        }
        assert!(plans.iter().all(|plan| plan.check().is_ok()));
    }
}
