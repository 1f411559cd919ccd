//! Runs about a former life. What a node sent is still under way on slow links, others are away, and the node comes back with a disk from before it
//! sent that. Alone it may have decided much: nothing of it may come in behind what it decides next (rule C3).

use crate::event::{MILLI, SECOND};
use crate::fault::{Fault, FaultKind, Trigger};
use crate::plan::Plan;
use crate::random::{Draws, Purpose};

use super::contest::{FIRST, ask, calm_down};

/// One run in so many is about that.
const ONE_IN: u64 = 32;
/// The names of these faults begin here.
const KIND: u64 = 62;

/// Turns some plans into such runs.
pub(super) fn former(plan: &mut Plan) {
    let mut draws = Draws::new(plan.seed, Purpose::Former, 0, 0);
    let count = plan.nodes.len();
    if !(2..=4).contains(&count) || !draws.one_in(ONE_IN) {
        return;
    }
    calm_down(plan, &mut draws);
    plan.forsaken = None;
    // A stream's source alone decides for ever, the founder of a mesh until the others have joined.
    let of_a_stream = plan.streams.first().map(|stream| stream.source).filter(|_| draws.percent(60));
    let node = of_a_stream.unwrap_or(0);
    let founding = of_a_stream.is_none() && count > 2;
    let falls =
        if founding { draws.between(300 * MILLI, 2 * SECOND) } else { FIRST + draws.below(2 * SECOND) };
    for stream in plan.streams.iter_mut().filter(|_| !founding) {
        stream.publishers.iter_mut().for_each(|writer| writer.starts_at = falls - draws.below(SECOND));
    }
    let asked = falls - draws.below(300 * MILLI);
    ask(plan, &mut draws, asked);
    let mut kinds = Vec::new();
    let links = plan.edges.iter().flat_map(|edge| [(edge.a, edge.b), (edge.b, edge.a)]);
    // What goes around a slow link overtakes what is on it.
    let share = draws.pick(&[0, 30, 60]);
    for (from, to) in links.filter(|&(from, _)| from != node || count == 2) {
        if draws.percent(share) {
            let begins = falls - draws.below(300 * MILLI);
            let length = falls - begins + draws.spread(MILLI, 500 * MILLI);
            kinds.push((
                begins,
                FaultKind::Slow { from, to, extra: draws.spread(20 * MILLI, SECOND), length },
            ));
        }
    }
    let other = (node + 1 + draws.index(count - 1)) % count;
    let begins = falls - draws.below(300 * MILLI);
    let length = draws.spread(100 * MILLI, 6 * SECOND);
    match draws.index(4) {
        0 | 1 => {
            kinds.push((begins, FaultKind::Isolate { node: other, inbound: true, outbound: true, length }))
        }
        2 => {
            let crash = FaultKind::Crash { node: other, power: false, after_outputs: None, down: length };
            kinds.push((begins, crash));
        }
        _ => {}
    }
    let image_at = falls - draws.spread(5 * MILLI, SECOND).min(falls);
    kinds.push((falls, FaultKind::RolledBack { node, image_at, down: draws.spread(MILLI, 200 * MILLI) }));
    let named =
        |(ordinal, (at, kind))| Fault { id: KIND << 16 | ordinal as u64, when: Trigger::At(at), kind };
    plan.faults = kinds.into_iter().enumerate().map(named).collect();
    plan.fault_phase = falls + 4 * SECOND;
}

#[cfg(test)]
mod tests {
    use crate::fault::FaultKind;
    use crate::plan::Plan;

    #[test]
    fn some_plans_take_a_disk_back_while_what_it_sent_is_under_way() {
        let plans = (0..2000)
            .map(Plan::generate)
            .filter(|plan| plan.faults.iter().any(|fault| fault.id >> 16 == super::KIND));
        let plans: Vec<Plan> = plans.collect();
        assert!((20..=80).contains(&plans.len()), "{}", plans.len());
        let slow = |plan: &Plan| plan.faults.iter().any(|fault| matches!(fault.kind, FaultKind::Slow { .. }));
        assert!(plans.iter().filter(|plan| slow(plan)).count() > plans.len() / 3);
        for plan in plans.iter().filter(|plan| plan.disk.capacity > 4 << 20) {
            let back = plan.faults.iter().filter(|fault| matches!(fault.kind, FaultKind::RolledBack { .. }));
            assert_eq!(back.count(), 1, "seed {}", plan.seed);
        }
    }
}
