//! Runs about a former life. A node alone decides: the founder of a mesh until the others have joined, and a stream's source for ever. Then it comes
//! back with a disk from before it sent what is still under way, or before it knew of whom it told that; or with none at all. Nothing of
//! its former life may come in behind what it decides next, and whatever others hold of it must be found (rule C3).

use crate::event::{MILLI, SECOND, Time};
use crate::fault::{Fault, FaultKind, Trigger};
use crate::network::Disturbance;
use crate::plan::Plan;
use crate::random::{Draws, Purpose};
use crate::trouble::Trouble;

use super::contest::{FIRST, ask, calm_down};

/// One run in so many is about that.
const ONE_IN: u64 = 24;
/// The names of these faults begin here.
const KIND: u64 = 62;

/// Turns some plans into such runs.
pub(super) fn former(plan: &mut Plan) {
    let mut draws = Draws::new(plan.seed, Purpose::Former, 0, 0);
    if (2..=4).contains(&plan.nodes.len()) && draws.one_in(ONE_IN) {
        stage(plan, draws);
    }
}

pub(super) fn stage(plan: &mut Plan, mut draws: Draws) {
    calm_down(plan, &mut draws);
    plan.forsaken = None;
    plan.updates = None;
    plan.faults.clear();
    let scene = draws.pick(&[source, source, newcomer, tails, tails, leader]);
    let falls = scene(plan, &mut draws);
    for (ordinal, fault) in plan.faults.iter_mut().enumerate() {
        fault.id = KIND << 16 | ordinal as u64;
    }
    plan.fault_phase = falls + 4 * SECOND;
}

/// A stream's source has much under way when it falls, and its target has little room.
fn source(plan: &mut Plan, draws: &mut Draws) -> Time {
    let falls = FIRST + draws.below(2 * SECOND);
    let Some(stream) = plan.streams.first_mut() else { return leader(plan, draws) };
    let node = stream.source;
    for publisher in &mut stream.publishers {
        publisher.starts_at = falls - draws.spread(5 * MILLI, FIRST);
        publisher.messages = draws.between(20, 300);
        publisher.batch = (1, draws.between(1, 50));
    }
    plan.replication.held = draws.pick(&[0, 0, 1_000, 32 << 20]);
    if draws.percent(40) {
        fall_before(plan, draws, node, falls);
    }
    slow_down(plan, draws, node, falls);
    lose_other(plan, draws, node, falls);
    if node != 0 && draws.percent(50) {
        let what = Trouble::EmptyDisk { down: draws.spread(MILLI, 200 * MILLI) };
        add(plan, falls, FaultKind::Trouble { node, what });
    } else {
        let image_at = falls - draws.spread(5 * MILLI, SECOND);
        take_back(plan, draws, node, falls, image_at);
    }
    falls
}

/// A founder falls while somebody joins, of whom the others do not know yet.
fn newcomer(plan: &mut Plan, draws: &mut Draws) -> Time {
    let joins = draws.between(300 * MILLI, 2 * SECOND);
    if let Some(last) = plan.nodes.last_mut() {
        last.joins_at = joins;
    }
    let falls = joins + draws.spread(20 * MILLI, SECOND);
    ask(plan, draws, joins);
    slow_down(plan, draws, 0, falls);
    lose_other(plan, draws, 0, falls);
    let image_at = joins + draws.below(200 * MILLI);
    take_back(plan, draws, 0, falls, image_at.saturating_sub(100 * MILLI).min(falls));
    falls
}

/// A founder falls twice. What it sent the first time came to one member only, which then is away for long, and ends in a term that came to nothing.
fn tails(plan: &mut Plan, draws: &mut Draws) -> Time {
    let first = draws.between(300 * MILLI, 1_500 * MILLI);
    let slow = FaultKind::SlowDisk { node: 0, factor: draws.spread(5, 100), length: 300 * MILLI };
    add(plan, first - 200 * MILLI, slow);
    ask(plan, draws, first - 100 * MILLI);
    let down = draws.spread(MILLI, 200 * MILLI);
    add(plan, first, FaultKind::Crash { node: 0, power: draws.percent(50), after_outputs: None, down });
    let away = FaultKind::Isolate {
        node: 1 + draws.index(plan.nodes.len() - 1),
        inbound: true,
        outbound: true,
        length: draws.between(3 * SECOND, 8 * SECOND),
    };
    let leaves = first + draws.below(100 * MILLI);
    add(plan, leaves, away);
    let again = first + draws.between(SECOND, 3 * SECOND);
    ask(plan, draws, again);
    let falls = again + draws.spread(20 * MILLI, 2 * SECOND);
    let image_at = first + draws.below(2 * SECOND);
    take_back(plan, draws, 0, falls, image_at.saturating_sub(200 * MILLI).min(falls));
    falls
}

/// Whoever founded the mesh falls once others vote, too. What it sent before comes again later.
fn leader(plan: &mut Plan, draws: &mut Draws) -> Time {
    let falls = FIRST + draws.below(3 * SECOND);
    ask(plan, draws, falls - 200 * MILLI);
    for to in (1..plan.nodes.len()).filter(|&to| plan.linked(0, to)).collect::<Vec<_>>() {
        if draws.percent(70) {
            let what = Disturbance::Replayed { one_in: draws.between(1, 10) };
            let begins = falls - draws.below(SECOND);
            add(plan, begins, FaultKind::Disturb { from: 0, to, both: true, what, length: 7 * SECOND });
        }
    }
    let image_at = falls - draws.spread(5 * MILLI, SECOND);
    take_back(plan, draws, 0, falls, image_at);
    falls
}

fn add(plan: &mut Plan, at: Time, kind: FaultKind) {
    plan.faults.push(Fault { id: 0, when: Trigger::At(at), kind });
}

fn take_back(plan: &mut Plan, draws: &mut Draws, node: usize, at: Time, image_at: Time) {
    add(plan, at, FaultKind::RolledBack { node, image_at, down: draws.spread(MILLI, 200 * MILLI) });
}

/// It had several lives, and others had, too: their logs have tails of terms that came to nothing.
fn fall_before(plan: &mut Plan, draws: &mut Draws, node: usize, falls: Time) {
    for _ in 0..draws.between(1, 3) {
        let node = if draws.percent(70) { node } else { draws.index(plan.nodes.len()) };
        let down = draws.spread(MILLI, SECOND);
        let at = falls.saturating_sub(draws.spread(30 * MILLI, 3 * SECOND));
        add(plan, at, FaultKind::Crash { node, power: false, after_outputs: None, down });
    }
}

/// What goes around a slow link overtakes what is on it.
fn slow_down(plan: &mut Plan, draws: &mut Draws, node: usize, falls: Time) {
    let share = draws.pick(&[0, 30, 60]);
    let links: Vec<_> = plan.edges.iter().flat_map(|edge| [(edge.a, edge.b), (edge.b, edge.a)]).collect();
    let far = plan.nodes.len() > 2;
    for (from, to) in links.into_iter().filter(|&(from, _)| from != node || !far) {
        if draws.percent(share) {
            let begins = falls.saturating_sub(draws.below(300 * MILLI));
            let length = falls - begins + draws.spread(MILLI, 500 * MILLI);
            add(plan, begins, FaultKind::Slow { from, to, extra: draws.spread(20 * MILLI, SECOND), length });
        }
    }
    if draws.percent(20) {
        let length = draws.spread(300 * MILLI, 2 * SECOND);
        let factor = draws.spread(5, 100);
        add(plan, falls.saturating_sub(length), FaultKind::SlowDisk { node, factor, length });
    }
}

/// One of the others is away for a while, and may come back when the rest has gone on without it.
fn lose_other(plan: &mut Plan, draws: &mut Draws, node: usize, falls: Time) {
    let count = plan.nodes.len();
    let other = (node + 1 + draws.index(count - 1)) % count;
    let begins = falls.saturating_sub(draws.below(500 * MILLI));
    let length = draws.spread(100 * MILLI, 6 * SECOND);
    let kind = match draws.index(5) {
        0 | 1 => FaultKind::Isolate { node: other, inbound: true, outbound: true, length },
        2 => FaultKind::Crash { node: other, power: false, after_outputs: None, down: length },
        3 => {
            let edge = draws.pick(&plan.edges);
            FaultKind::Reset { a: edge.a, b: edge.b, late: draws.percent(50) }
        }
        _ => return,
    };
    add(plan, begins, kind);
}

#[cfg(test)]
mod tests {
    use super::super::plans_about;
    use crate::fault::FaultKind;

    #[test]
    fn some_plans_take_a_disk_from_whoever_decides_alone() {
        let plans = plans_about(super::KIND, 2000);
        assert!((30..=90).contains(&plans.len()), "{}", plans.len());
        let with = |wanted: fn(&FaultKind) -> bool| {
            plans.iter().filter(|plan| plan.faults.iter().any(|fault| wanted(&fault.kind))).count()
        };
        let back = with(|kind| matches!(kind, FaultKind::RolledBack { .. }));
        let emptied = with(|kind| matches!(kind, FaultKind::Trouble { .. }));
        assert!(back > emptied && emptied > 3, "{back} taken back, {emptied} emptied");
        assert!(with(|kind| matches!(kind, FaultKind::Slow { .. })) > plans.len() / 4);
    }
}
