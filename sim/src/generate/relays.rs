//! Meshes in which few vote and nobody feeds more than one learner, so that the others are fed by each other.

use crate::event::{MILLI, SECOND};
use crate::fault::{Condition, Fault, FaultKind, Moment, Trigger};
use crate::plan::Plan;
use crate::random::{Draws, Purpose};

/// The names of the faults that only such runs have begin here.
const KIND: u64 = 176;

/// One plan in so many of those that have learners enough.
const ONE_IN: u64 = 3;
/// Three voters, a learner that the leader feeds, and one that somebody else does.
const NODES_LEAST: usize = 5;
/// Of so many there is a learner that belongs to another learner: three belong to the voters.
const NODES_MANY: usize = 7;
/// One plan in so many that are about consensus has as many, or two more.
const MANY_ONE_IN: u64 = 12;

/// When somebody falls, and how far into the run the number of that may lie.
const MOMENTS: [(Moment, u64); 3] = [(Moment::SendFeed, 8), (Moment::SendFed, 40), (Moment::SendUnfed, 4)];

/// How many nodes a plan has that is to have `count`.
pub(super) fn size(seed: u64, count: usize) -> usize {
    let mut draws = Draws::new(seed, Purpose::Relay, 1, 0);
    let many = NODES_MANY as u64;
    if draws.one_in(MANY_ONE_IN) { draws.between(many, many + 2) as usize } else { count }
}

/// Turns some plans into such ones.
pub(super) fn relays(plan: &mut Plan) {
    let mut draws = Draws::new(plan.seed, Purpose::Relay, 0, 0);
    let count = plan.nodes.len();
    if count < NODES_LEAST || !(draws.one_in(ONE_IN) || count >= NODES_MANY && draws.percent(60)) {
        return;
    }
    (plan.replication.voters, plan.replication.fan_out) = (3, 1);
    if draws.percent(50) {
        fall(plan, &mut draws);
    }
}

/// Members fall, or are not heard, when they ask to be fed or feed somebody.
fn fall(plan: &mut Plan, draws: &mut Draws) {
    let lost = plan.recovery.as_ref().map_or(&[][..], |recovery| &recovery.lost);
    let able: Vec<usize> = (0..plan.nodes.len()).filter(|node| !lost.contains(node)).collect();
    // As many runs as before stay without any crash.
    let crashes = plan.faults.iter().any(|fault| matches!(fault.kind, FaultKind::Crash { .. }));
    for ordinal in 0..draws.between(1, 3) {
        let (moment, most) = draws.pick(&MOMENTS);
        let node = draws.pick(&able);
        let nth = draws.spread(1, most) as u32;
        let after = draws.below(20 * MILLI);
        let length = draws.spread(MILLI, 2 * SECOND);
        let kind = match draws.weighted(&[if crashes { 50 } else { 0 }, 25, 25]) {
            0 => FaultKind::Crash { node, power: draws.percent(50), after_outputs: None, down: length },
            1 => FaultKind::Pause { node, length },
            _ => FaultKind::Isolate { node, inbound: draws.percent(50), outbound: true, length },
        };
        let when = Trigger::On(Condition { moment, node: Some(node), nth, after });
        plan.faults.push(Fault { id: KIND << 16 | ordinal, when, kind });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::{Profile, Seed};

    #[test]
    fn learners_belong_to_learners_in_runs_of_each_profile_that_is_about_consensus() {
        for profile in [Profile::Raft, Profile::Recovery] {
            let (mut fed, mut many, mut hit) = (0, 0, 0);
            for number in 0..600 {
                let plan = super::super::plan(Seed { profile, number });
                plan.check().unwrap_or_else(|what| panic!("{profile:?} {number}: {what}\n{plan:#?}"));
                let relayed = plan.replication.fan_out == 1;
                fed += u32::from(relayed);
                many += u32::from(relayed && plan.nodes.len() >= NODES_MANY);
                hit += u32::from(plan.faults.iter().any(|fault| fault.id >> 16 == KIND));
            }
            assert!(fed > 60 && many > 20 && hit > 25, "{profile:?}: {fed} {many} {hit}");
        }
    }
}
