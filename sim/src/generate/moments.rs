//! Faults that begin when something happens. What protocols break on lies between two things that a node does, and there a time
//! drawn at random hardly ever falls.

use super::faults::{Swarm, outage};
use crate::event::{MICRO, MILLI, SECOND, Time};
use crate::fault::{Condition, Fault, FaultKind, Moment, Trigger};
use crate::random::{Draws, Purpose};

/// What a run's moments are about. Most runs have one subject, so that a thing is disturbed again while the node still recovers.
const SUBJECTS: [(Moment, u64); 13] = [
    // The moment, and how far into the run its number may lie.
    (Moment::WriteUnsynced, 120),
    (Moment::WriteUnsynced, 20),
    (Moment::Write, 120),
    (Moment::Synced, 60),
    (Moment::Lead, 4),
    (Moment::SendVote, 8),
    (Moment::SendVoteRequest, 8),
    (Moment::SendAppend, 60),
    (Moment::SendAppendReply, 60),
    (Moment::SendStream, 40),
    (Moment::Accept, 40),
    (Moment::Deliver, 40),
    (Moment::Boot, 3),
];

/// The faults of this run that wait for a moment: none in most runs. `planned` are the faults that begin at a time.
pub(super) fn faults(swarm: &Swarm, planned: &[Fault]) -> Vec<Fault> {
    let mut draws = Draws::new(swarm.seed, Purpose::Moment, 0, 0);
    if !draws.percent(40) {
        return Vec::new();
    }
    let subject = draws.percent(70).then(|| draws.pick(&SUBJECTS));
    // More than one disk taken back is more than a group must bear.
    let rolls_back = draws.percent(15).then(|| {
        let victim = planned.iter().find_map(|fault| fault.kind.rolls_back());
        victim.unwrap_or(swarm.favourite)
    });
    let number = draws.between(1, 5);
    // Many runs stay without any crash: crashes hide what goes wrong with a long memory.
    let crashes =
        draws.percent(40) || planned.iter().any(|fault| matches!(fault.kind, FaultKind::Crash { .. }));
    let fault = |ordinal| {
        let id = 40 << 16 | ordinal;
        let mut draws = Draws::new(swarm.seed, Purpose::Moment, id, 0);
        let (moment, most) = subject.unwrap_or_else(|| draws.pick(&SUBJECTS));
        let node = swarm.victim(&mut draws);
        let nth = draws.spread(1, most) as u32;
        let condition = Condition { moment, node: Some(node), nth, after: after(&mut draws) };
        match rolls_back.filter(|_| ordinal == 0) {
            Some(victim) => {
                let image_at = draws.between(0, swarm.until);
                let down = draws.spread(MILLI, 3 * SECOND);
                let condition = Condition { node: Some(victim), ..condition };
                Fault {
                    id,
                    when: Trigger::On(condition),
                    kind: FaultKind::RolledBack { node: victim, image_at, down },
                }
            }
            None => Fault { id, when: Trigger::On(condition), kind: kind(swarm, &mut draws, node, crashes) },
        }
    };
    (0..number).map(fault).collect()
}

/// At once, within a sync, or while what it caused is under way.
fn after(draws: &mut Draws) -> Time {
    match draws.index(4) {
        0 | 1 => 0,
        2 => draws.spread(MICRO, MILLI),
        _ => draws.spread(MICRO, 50 * MILLI),
    }
}

fn kind(swarm: &Swarm, draws: &mut Draws, node: usize, crashes: bool) -> FaultKind {
    match draws.weighted(&[if crashes { 50 } else { 0 }, 15, 15, 15, 5]) {
        0 => FaultKind::Crash {
            node,
            power: draws.percent(50),
            after_outputs: None,
            down: draws.spread(MILLI, 2 * SECOND),
        },
        1 => FaultKind::Pause { node, length: outage(draws) },
        2 => {
            let ways = draws.index(3);
            FaultKind::Isolate { node, inbound: ways != 0, outbound: ways != 1, length: outage(draws) }
        }
        3 => {
            let own: Vec<(usize, usize)> =
                swarm.edges.iter().copied().filter(|&(a, b)| a == node || b == node).collect();
            let (a, b) = draws.pick(&own);
            let (from, to) = if draws.percent(50) { (a, b) } else { (b, a) };
            FaultKind::Cut { from, to, both: draws.percent(50), length: outage(draws) }
        }
        _ => FaultKind::FailedWrite { node },
    }
}

#[cfg(test)]
mod tests {
    use crate::fault::{Moment, Trigger};
    use crate::plan::Plan;
    use crate::trace::Recording;
    use crate::world::run;

    #[test]
    fn every_subject_occurs_and_no_plan_takes_two_disks_back() {
        let mut runs = 0;
        let mut seen = vec![0u32; Moment::ALL.len()];
        for seed in 0..1000 {
            let plan = Plan::generate(seed);
            let conditions = plan.faults.iter().filter_map(|fault| match fault.when {
                Trigger::On(condition) => Some(condition.moment),
                Trigger::At(_) => None,
            });
            let conditions: Vec<Moment> = conditions.collect();
            runs += u32::from(!conditions.is_empty());
            conditions.iter().for_each(|&moment| seen[moment as usize] += 1);
            let mut victims: Vec<usize> =
                plan.faults.iter().filter_map(|fault| fault.kind.rolls_back()).collect();
            victims.dedup();
            assert!(victims.len() < 2, "seed {seed} takes back the disks of {victims:?}");
        }
        assert!((300..500).contains(&runs), "{runs}");
        for (moment, _) in super::SUBJECTS {
            assert!(seen[moment as usize] > 20, "{moment:?} occurs {} times", seen[moment as usize]);
        }
    }

    #[test]
    fn most_moments_come() {
        let (mut planned, mut fired) = (0, 0);
        for seed in 0..60 {
            let plan = Plan::generate(seed);
            if plan.faults.iter().any(|fault| matches!(fault.when, Trigger::On(_))) {
                planned += plan.faults.len() as u64;
                fired += run(&plan, Recording::Off).faults;
            }
        }
        assert!(planned > 50 && fired * 10 > planned * 7, "of {planned} faults {fired} happened");
    }
}
