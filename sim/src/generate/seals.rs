//! Runs in which nodes are lost for good, as far as an operator knows: the source of streams, or two ends of one with several targets. The operator has those sealed
//! that lost their quorum; then the lost come back.

use super::{is_special, whole_early};
use crate::event::{MILLI, SECOND};
use crate::fault::{Fault, FaultKind, Trigger};
use crate::plan::{CompletePlan, ConfigWish, Plan, SealPlan, VOTERS};
use crate::random::{Draws, Purpose};

/// One plan in so many has streams that are sealed, of those that are not about something else.
const ONE_IN: u64 = 8;
/// The same for those of so many nodes that two may be lost and most are left of those who vote on the mesh.
const ONE_IN_LARGER: u64 = 2;
const ENOUGH: usize = 5;
/// The names of the faults that only such runs have begin here.
const KIND: u64 = 100;
/// Those of the faults by which nodes are lost.
const LOST: u64 = 64;

/// Nodes of some plans are lost, and streams are sealed without them.
pub(super) fn seals(plan: &mut Plan) {
    let mut draws = Draws::new(plan.seed, Purpose::Seal, 0, 0);
    let one_in = if plan.nodes.len() < ENOUGH { ONE_IN } else { ONE_IN_LARGER };
    let special = is_special(plan);
    // What is lost with a disk has its own rules, and so has who never heals.
    let damaged = plan.faults.iter().any(|fault| fault.kind.damages());
    let other =
        damaged || !plan.departures.is_empty() || !plan.stops.is_empty() || !plan.rotations.is_empty();
    if special || other || plan.nodes.len() < 3 || plan.streams.is_empty() || !draws.one_in(one_in) {
        return;
    }
    stage(plan, draws);
}

/// Such nodes are lost, in a plan of at least three nodes and one stream in which nothing else is lost.
pub(super) fn stage(plan: &mut Plan, mut draws: Draws) {
    plan.beyond_repair = false;
    plan.forsaken = None;
    let lost = if plan.nodes.len() >= ENOUGH { several(plan, &mut draws) } else { Vec::new() };
    let stream = draws.index(plan.streams.len());
    let (node, target) = match lost[..] {
        [node, ..] => (node, draws.index(plan.nodes.len())),
        [] => (plan.streams[stream].source, plan.streams[stream].target),
    };
    whole_early(plan);
    if lost.is_empty() {
        // Of several voters enough are left: there is nothing to seal.
        for stream in &mut plan.streams {
            stream.more.clear();
            stream.complete = CompletePlan::All;
        }
    }
    let lost = if lost.is_empty() { vec![node] } else { lost };
    for stream in plan.streams.iter_mut().filter(|stream| stream.needs_seal(&lost)) {
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
        0..5 => Loss::Isolated(true),
        5 => Loss::Isolated(false),
        _ if !falls => Loss::Isolated(true),
        6 if lost.len() > 1 => Loss::Together,
        _ => Loss::Down,
    };
    let isolate = |node, inbound, outbound| FaultKind::Isolate { node, inbound, outbound, length: until };
    let fates: Vec<FaultKind> = match kind {
        // Whoever is lost together may decide together.
        Loss::Together => [FaultKind::Partition { side: lost.clone(), length: until }].into(),
        Loss::Isolated(true) => lost.iter().map(|&node| isolate(node, true, true)).collect(),
        Loss::Isolated(false) => lost.iter().map(|&node| isolate(node, draws.percent(50), false)).collect(),
        Loss::Down => {
            let down = |&node: &usize| FaultKind::Crash {
                node,
                power: draws.percent(50),
                after_outputs: None,
                down: until,
            };
            lost.iter().map(down).collect()
        }
    };
    let mut add = |ordinal, at, kind| {
        plan.faults.push(Fault { id: KIND << 16 | ordinal, when: Trigger::At(at), kind });
    };
    for (ordinal, fate) in (0..).zip(fates) {
        add(LOST + ordinal, lost_at, fate);
    }
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
    let others: Vec<usize> = (0..plan.nodes.len()).filter(|other| !lost.contains(other)).collect();
    let asked_at = others[draws.index(others.len())];
    plan.seal = Some(SealPlan { at, asked_at, node, more: lost[1..].to_vec() });
}

/// How nodes are lost.
enum Loss {
    /// Each is cut off from everybody, in both directions or only as far as it sends.
    Isolated(bool),
    /// They are cut off from the others, and not from each other.
    Together,
    /// They fall.
    Down,
}

/// Two of the ends of a stream with two or three targets, with which its quorum goes: the source or not. Most of those who vote on the mesh are left.
fn several(plan: &mut Plan, draws: &mut Draws) -> Vec<usize> {
    let with: Vec<usize> =
        (0..plan.streams.len()).filter(|&stream| !plan.streams[stream].more.is_empty()).collect();
    if with.is_empty() {
        return Vec::new();
    }
    for stream in &mut plan.streams {
        stream.more.truncate(2);
        let first = stream.target;
        stream.complete = match draws.index(4) {
            0 if !stream.more.is_empty() => CompletePlan::Count(1),
            1 if !stream.more.is_empty() => CompletePlan::Named(vec![first]),
            _ => CompletePlan::All,
        };
    }
    plan.replication.voters = VOTERS;
    plan.config.retain(|wish| !matches!(wish.wish, ConfigWish::Voters(_)));
    let mut ends: Vec<usize> = plan.streams[with[draws.index(with.len())]].ends().collect();
    let mut lost: Vec<usize> = (0..2).map(|_| ends.swap_remove(draws.index(ends.len()))).collect();
    lost.sort_unstable();
    lost
}

#[cfg(test)]
mod tests {
    use crate::plan::Plan;

    #[test]
    fn streams_of_some_runs_are_sealed() {
        let plans: Vec<Plan> = (0..2000).map(Plan::generate).collect();
        let with = plans.iter().filter(|plan| plan.seal.is_some()).count();
        assert!((20..250).contains(&with), "{with} of 2000 runs");
        let sealed = |plan: &&Plan, source: bool| {
            let lost = plan.seal.as_ref().map(|seal| seal.lost()).unwrap_or_default();
            let mut streams = plan.streams.iter().filter(|stream| stream.needs_seal(&lost));
            streams.any(|stream| !stream.more.is_empty() && lost.contains(&stream.source) != source)
        };
        for source in [false, true] {
            let several = plans.iter().filter(|plan| sealed(plan, source)).count();
            assert!(several >= 8, "{several} of 2000 runs seal several targets, their source left: {source}");
        }
    }
}
