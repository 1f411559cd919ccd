//! Trouble at single nodes: which kinds a run has, and how much of each.

use super::faults::{Swarm, outage};
use crate::disk::damage::{Reach, Rot};
use crate::event::{MICRO, MILLI, SECOND};
use crate::fault::{Fault, FaultKind, Trigger};
use crate::plan::Plan;
use crate::random::{Draws, Purpose};
use crate::trouble::Trouble;

type Maker = fn(&Swarm, &mut Draws) -> Trouble;

/// Every kind, and how often at most it happens in a run that has it.
const KINDS: [(u64, Maker); 14] = [
    (3, slow_node),
    (3, blocked_sender),
    (1, crash_loop),
    (1, empty_disk),
    (2, |_, _| Trouble::LostPages),
    (2, out_of_space),
    (2, stalled_disk),
    (4, bit_rot),
    (3, read_errors),
    (2, |_, _| Trouble::PhantomWrite),
    (2, |_, _| Trouble::MisdirectedWrite),
    (3, drift),
    (2, suspend),
    (2, timer_slack),
];
/// The names of these faults begin here.
const FIRST: u64 = 128;

/// The trouble of a run; none in half of the runs. And whether damage in it is beyond repair.
pub(super) fn troubles(swarm: &Swarm) -> (Vec<Fault>, bool) {
    let mut switches = Draws::new(swarm.seed, Purpose::Swarm, 6, 0);
    let mut faults = Vec::new();
    if switches.percent(50) {
        return (faults, false);
    }
    let beyond_repair = switches.one_in(8);
    for (kind, (most, make)) in KINDS.into_iter().enumerate() {
        let times = if switches.percent(30) { switches.between(1, most) } else { 0 };
        for ordinal in 0..times {
            let id = (FIRST + kind as u64) << 16 | ordinal;
            let mut draws = Draws::new(swarm.seed, Purpose::Fault, id, 0);
            let when = Trigger::At(swarm.moment(&mut draws));
            let node = swarm.victim(&mut draws);
            let what = make(swarm, &mut draws);
            faults.push(Fault { id, when, kind: FaultKind::Trouble { node, what } });
        }
    }
    (faults, beyond_repair)
}

/// A node loses all that its disk held, in so many of a hundred cases, or goes back to an older state of it: so many times, and no other disk comes to
/// harm. The names of these faults begin with that one.
pub(super) fn lose_disk(
    plan: &mut Plan,
    draws: &mut Draws,
    (id, node): (u64, usize),
    times: u64,
    emptied: u64,
) {
    plan.faults.retain(|fault| !fault.kind.damages());
    plan.beyond_repair = false;
    let until = plan.fault_phase;
    for ordinal in 0..times {
        let at = draws.between(super::contest::FIRST.min(until), until);
        let down = draws.spread(MILLI, SECOND);
        let kind = if draws.percent(emptied) {
            FaultKind::Trouble { node, what: Trouble::EmptyDisk { down } }
        } else {
            FaultKind::RolledBack { node, image_at: at - draws.spread(MILLI, at), down }
        };
        plan.faults.push(Fault { id: id | ordinal, when: Trigger::At(at), kind });
    }
}

fn slow_node(_: &Swarm, draws: &mut Draws) -> Trouble {
    Trouble::SlowNode { service: draws.spread(20 * MICRO, 20 * MILLI), length: outage(draws) }
}

fn blocked_sender(swarm: &Swarm, draws: &mut Draws) -> Trouble {
    let peer = draws.percent(60).then(|| draws.index(swarm.count));
    Trouble::BlockedSender { peer, length: outage(draws) }
}

fn crash_loop(_: &Swarm, draws: &mut Draws) -> Trouble {
    Trouble::CrashLoop {
        times: draws.between(2, 8) as u32,
        runs: draws.spread(MICRO, 500 * MILLI),
        down: draws.spread(MILLI, 300 * MILLI),
    }
}

fn empty_disk(_: &Swarm, draws: &mut Draws) -> Trouble {
    Trouble::EmptyDisk { down: draws.spread(MILLI, 3 * SECOND) }
}

fn out_of_space(_: &Swarm, draws: &mut Draws) -> Trouble {
    Trouble::OutOfSpace { rows: draws.spread(1, 30) - 1 }
}

fn stalled_disk(_: &Swarm, draws: &mut Draws) -> Trouble {
    Trouble::StalledDisk { length: outage(draws) }
}

fn reach(draws: &mut Draws) -> Reach {
    draws.pick(&[Reach::Dead, Reach::Vouched, Reach::Vouched])
}

fn bit_rot(_: &Swarm, draws: &mut Draws) -> Trouble {
    let rot = draws.pick(&[Rot::Bit, Rot::Byte, Rot::Sector]);
    Trouble::BitRot { rot, reach: reach(draws), rows: draws.spread(1, 8) as usize }
}

fn read_errors(_: &Swarm, draws: &mut Draws) -> Trouble {
    Trouble::ReadErrors { reach: reach(draws), rows: draws.spread(1, 4) as usize }
}

/// Far more than quartz does; machines that are moved about while they run do it.
fn drift(_: &Swarm, draws: &mut Draws) -> Trouble {
    let size = draws.spread(100, 30_000) as i32;
    Trouble::Drift { ppm: if draws.percent(50) { size } else { -size }, length: outage(draws) }
}

fn suspend(_: &Swarm, draws: &mut Draws) -> Trouble {
    Trouble::Suspend { counted: draws.percent(50), length: outage(draws) }
}

fn timer_slack(_: &Swarm, draws: &mut Draws) -> Trouble {
    Trouble::TimerSlack { slack: draws.spread(50 * MICRO, 60 * MILLI), length: outage(draws) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crate::fault::FaultKind;
    use crate::plan::Plan;

    #[test]
    fn every_kind_of_trouble_occurs_and_every_kind_is_absent_in_most_runs() {
        let mut runs_with: BTreeMap<String, u32> = BTreeMap::new();
        let (mut calm, mut beyond) = (0, 0);
        for seed in 0..1000 {
            let plan = Plan::generate(seed);
            let troubles = plan.faults.iter().filter_map(|fault| match &fault.kind {
                FaultKind::Trouble { what, .. } => Some(format!("{what:?}")),
                _ => None,
            });
            let kind = |trouble: String| trouble.split_whitespace().next().unwrap_or_default().to_owned();
            let kinds: std::collections::BTreeSet<String> = troubles.map(kind).collect();
            calm += u32::from(kinds.is_empty());
            beyond += u32::from(plan.beyond_repair);
            kinds.into_iter().for_each(|kind| *runs_with.entry(kind).or_default() += 1);
        }
        assert_eq!(runs_with.len(), super::KINDS.len(), "{runs_with:?}");
        assert!(runs_with.values().all(|&runs| (60..=300).contains(&runs)), "{runs_with:?}");
        assert!((300..600).contains(&calm), "{calm}");
        assert!((30..100).contains(&beyond), "{beyond}");
    }
}
