//! Runs in which a log forks within one term. A leader falls, another leads with the one vote that is left; then its disk is taken back to
//! before that, and the only one that heard it is cut off. Nobody can tell it that it led: it may lead in that term again, and put other
//! entries where the one that is cut off holds the first. When the two meet, they must stop rather than go on parted (rule C1).

use crate::event::{MILLI, SECOND, Time};
use crate::fault::{Condition, Fault, FaultKind, Moment, Trigger};
use crate::plan::{Plan, RegistryPlan, Wish};
use crate::random::{Draws, Purpose};

use super::contest::{FIRST, calm_down, link_all};

/// One run of three nodes in so many is about that.
const ONE_IN: u64 = 16;
/// The names of these faults begin here.
const KIND: u64 = 60;
/// How much is asked of whoever leads, so that a term holds other entries each time.
const ASKED: u64 = 60;

/// Turns some plans into such runs.
pub(super) fn fork(plan: &mut Plan) {
    let mut draws = Draws::new(plan.seed, Purpose::Fork, 0, 0);
    if plan.nodes.len() == 3 && draws.one_in(ONE_IN) {
        stage(plan, draws);
    }
}

pub(super) fn stage(plan: &mut Plan, mut draws: Draws) {
    link_all(plan, &mut draws);
    calm_down(plan, &mut draws);
    plan.forsaken = None;
    let falls = FIRST + draws.below(SECOND);
    // The node that seeds the mesh leads it at first.
    let next = draws.between(1, 2) as usize;
    let hears = 3 - next;
    let down = draws.between(1_200 * MILLI, 2_500 * MILLI);
    let leads = Condition {
        moment: Moment::Lead,
        node: Some(next),
        nth: 1,
        after: draws.between(100 * MILLI, 400 * MILLI),
    };
    let mut holds_back = |node, at| {
        let length = draws.between(150 * MILLI, 400 * MILLI);
        (Trigger::At(at), FaultKind::Pause { node, length })
    };
    // Who stood still waits longer before it asks for votes: the same node is to win the term each time.
    let first = holds_back(hears, falls + 350 * MILLI);
    let again = holds_back(0, falls + down + 600 * MILLI);
    let kinds = [
        first,
        again,
        (
            Trigger::At(falls),
            // It stays away until another was elected and fell: else it would know of that election.
            FaultKind::Crash { node: 0, power: draws.percent(50), after_outputs: None, down },
        ),
        (
            Trigger::On(leads),
            FaultKind::Isolate {
                node: hears,
                inbound: true,
                outbound: true,
                length: draws.between(3 * SECOND, 5 * SECOND),
            },
        ),
        (
            Trigger::On(leads),
            FaultKind::RolledBack {
                node: next,
                image_at: falls + draws.between(10 * MILLI, 100 * MILLI),
                down: draws.spread(MILLI, 100 * MILLI),
            },
        ),
    ];
    let named = |(ordinal, (when, kind))| Fault { id: KIND << 16 | ordinal as u64, when, kind };
    plan.faults = kinds.into_iter().enumerate().map(named).collect();
    plan.fault_phase = falls + 7 * SECOND;
    ask(plan, &mut draws, falls + 300 * MILLI);
}

/// Whoever leads is asked this and that from a moment on.
fn ask(plan: &mut Plan, draws: &mut Draws, from: Time) {
    let wish = |_| RegistryPlan {
        at: from + draws.below(5 * SECOND),
        node: draws.index(3),
        leader: true,
        name: draws.below(2),
        wish: if draws.percent(20) { Wish::Open { source: 0, target: 1 } } else { Wish::Close },
    };
    plan.updates = None;
    plan.registry = (0..ASKED).map(wish).collect();
}

#[cfg(test)]
mod tests {
    use super::super::plans_about;
    use crate::fault::FaultKind;

    #[test]
    fn some_plans_take_a_leaders_disk_back_to_before_it_led() {
        let forks = plans_about(super::KIND, 2000);
        assert!((20..=80).contains(&forks.len()), "{}", forks.len());
        for plan in forks.iter().filter(|plan| plan.disk.capacity > 4 << 20) {
            let back = plan.faults.iter().filter(|fault| matches!(fault.kind, FaultKind::RolledBack { .. }));
            assert_eq!(back.count(), 1, "seed {}", plan.seed);
        }
    }
}
