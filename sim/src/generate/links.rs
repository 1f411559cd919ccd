//! What goes wrong with single links in the plan of a seed, and who speaks the next version of the protocol.

use super::faults::{Maker, Swarm, fault, outage};
use crate::event::{MICRO, MILLI, SECOND, Time};
use crate::fault::{Fault, FaultKind};
use crate::network::Disturbance;
use crate::plan::{Latency, NodePlan};
use crate::random::{Draws, Purpose};

/// The first number of these kinds of faults in the ids of faults.
const FIRST: usize = 64;

/// Per kind: the most of its faults in a run.
const KINDS: [(u64, Maker); 15] = [
    (4, lossy),
    (3, thinned),
    (4, corrupt),
    (4, replayed),
    (3, congested),
    (3, grey),
    (3, clogged),
    (2, dribbling),
    (3, undialable),
    (2, translated),
    (2, flap),
    (6, silence),
    (6, half_open),
    (8, overtake),
    (6, rebind),
];

/// The faults of links: none in half of the runs, a third of the kinds in the others.
pub(super) fn faults(swarm: &Swarm) -> Vec<Fault> {
    let mut draws = Draws::new(swarm.seed, Purpose::Swarm, FIRST as u64, 0);
    let mut faults = Vec::new();
    if draws.percent(50) {
        return faults;
    }
    for (kind, (most, make)) in KINDS.into_iter().enumerate() {
        let times = draws.spread(1, most);
        if draws.percent(35) {
            faults.extend((0..times).map(|ordinal| fault(swarm, FIRST + kind, ordinal, make)));
        }
    }
    faults
}

/// In some runs bytes travel in times that have a long tail.
pub(super) fn latency(seed: u64, usual: Latency) -> Latency {
    let mut draws = Draws::new(seed, Purpose::Swarm, FIRST as u64 + 1, 0);
    let base = match usual {
        Latency::Fixed(base) | Latency::Uniform(base, _) | Latency::Tail { base, .. } => base.max(1),
        other => return other,
    };
    match draws.weighted(&[70, 10, 10, 10]) {
        0 => usual,
        1 => Latency::Exponential { mean: base, most: base * 30 },
        2 => Latency::LogNormal { median: base, spread: draws.between(20, 250), most: base * 200 },
        _ => Latency::Bimodal {
            quick: (base / 2, base),
            slow: (base * 10, base * 40 + 50 * MILLI),
            one_in: draws.spread(2, 60),
        },
    }
}

/// In some runs some nodes speak the next version of the protocol.
pub(super) fn next_versions(seed: u64, nodes: &mut [NodePlan]) {
    let mut draws = Draws::new(seed, Purpose::Swarm, FIRST as u64 + 2, 0);
    if draws.percent(25) {
        nodes.iter_mut().for_each(|node| node.next_version = draws.percent(50));
    }
}

fn pair(swarm: &Swarm, draws: &mut Draws) -> (usize, usize) {
    let (a, b) = draws.pick(&swarm.edges);
    if draws.percent(50) { (a, b) } else { (b, a) }
}

fn disturb(swarm: &Swarm, draws: &mut Draws, length: Time, what: Disturbance) -> FaultKind {
    let (from, to) = pair(swarm, draws);
    FaultKind::Disturb { from, to, both: draws.percent(50), what, length }
}

/// Some disturbances only show over time.
fn long(draws: &mut Draws) -> Time {
    draws.spread(500 * MILLI, 16 * SECOND)
}

fn lossy(swarm: &Swarm, draws: &mut Draws, _: Time) -> FaultKind {
    let what = Disturbance::Lossy {
        enter_one_in: draws.spread(3, 200),
        leave_one_in: draws.spread(2, 40),
        lost_percent: draws.between(20, 100),
        retransmit: draws.spread(20 * MILLI, 400 * MILLI),
        tries: draws.between(1, 6) as u32,
    };
    let length = long(draws);
    disturb(swarm, draws, length, what)
}

fn thinned(swarm: &Swarm, draws: &mut Draws, _: Time) -> FaultKind {
    let (what, length) = (Disturbance::Thinned { one_in: draws.spread(2, 40) }, long(draws));
    disturb(swarm, draws, length, what)
}

fn corrupt(swarm: &Swarm, draws: &mut Draws, _: Time) -> FaultKind {
    let what = Disturbance::Corrupt { one_in: draws.spread(4, 400), caught: draws.percent(50) };
    let length = long(draws);
    disturb(swarm, draws, length, what)
}

fn replayed(swarm: &Swarm, draws: &mut Draws, _: Time) -> FaultKind {
    let (what, length) = (Disturbance::Replayed { one_in: draws.spread(2, 40) }, long(draws));
    disturb(swarm, draws, length, what)
}

fn congested(swarm: &Swarm, draws: &mut Draws, _: Time) -> FaultKind {
    let what = Disturbance::Congested {
        bandwidth: draws.spread(5_000, 500_000),
        queue: if draws.percent(50) { draws.spread(2_000, 100_000) } else { 0 },
    };
    let length = outage(draws);
    disturb(swarm, draws, length, what)
}

fn grey(swarm: &Swarm, draws: &mut Draws, _: Time) -> FaultKind {
    let (what, length) = (Disturbance::Grey { most: draws.spread(100, 4_000) as usize }, outage(draws));
    disturb(swarm, draws, length, what)
}

fn clogged(swarm: &Swarm, draws: &mut Draws, _: Time) -> FaultKind {
    let (what, length) =
        (Disturbance::Clogged { holds: draws.spread(1_000, 500_000) as usize }, outage(draws));
    disturb(swarm, draws, length, what)
}

fn dribbling(swarm: &Swarm, draws: &mut Draws, _: Time) -> FaultKind {
    let what = Disturbance::Dribbling {
        piece: draws.pick(&[1, 1, 3, 20, 300]),
        gap: draws.spread(MICRO, 2 * MILLI),
        writes: draws.percent(50),
    };
    let length = draws.spread(20 * MILLI, SECOND);
    disturb(swarm, draws, length, what)
}

fn undialable(swarm: &Swarm, draws: &mut Draws, _: Time) -> FaultKind {
    let (what, length) = (Disturbance::Undialable { refuses: draws.percent(50) }, outage(draws));
    disturb(swarm, draws, length, what)
}

fn translated(swarm: &Swarm, draws: &mut Draws, _: Time) -> FaultKind {
    let what =
        Disturbance::Translated { idle: draws.spread(80 * MILLI, 4 * SECOND), answers: draws.percent(50) };
    let length = long(draws);
    disturb(swarm, draws, length, what)
}

fn flap(swarm: &Swarm, draws: &mut Draws, _: Time) -> FaultKind {
    let (a, b) = draws.pick(&swarm.edges);
    let shortest = draws.spread(MILLI, 20 * MILLI);
    let longest = draws.spread(shortest, 3 * SECOND);
    FaultKind::Flap { a, b, shortest, longest, length: draws.spread(100 * MILLI, 8 * SECOND) }
}

fn silence(swarm: &Swarm, draws: &mut Draws, _: Time) -> FaultKind {
    let (from, to) = pair(swarm, draws);
    FaultKind::Silence { from, to }
}

fn half_open(swarm: &Swarm, draws: &mut Draws, _: Time) -> FaultKind {
    let (forgets, believes) = pair(swarm, draws);
    FaultKind::HalfOpen { forgets, believes }
}

fn overtake(swarm: &Swarm, draws: &mut Draws, _: Time) -> FaultKind {
    let (from, to) = pair(swarm, draws);
    FaultKind::Overtake { from, to, by: draws.spread(MILLI, 3 * SECOND) }
}

fn rebind(swarm: &Swarm, draws: &mut Draws, _: Time) -> FaultKind {
    FaultKind::Rebind { node: swarm.victim(draws) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Plan;
    use std::collections::BTreeMap;

    /// The kind of a fault of a link, from the number in its id.
    fn kind(fault: &Fault) -> Option<u64> {
        (fault.id >> 16).checked_sub(FIRST as u64).filter(|kind| *kind < KINDS.len() as u64)
    }

    #[test]
    fn every_kind_occurs_in_some_runs_and_is_absent_in_most() {
        let mut runs: BTreeMap<u64, u32> = BTreeMap::new();
        let (mut calm, mut mixed, mut tails) = (0, 0, [0u32; 3]);
        for seed in 0..1000 {
            let plan = Plan::generate(seed);
            let mut kinds: Vec<u64> = plan.faults.iter().filter_map(kind).collect();
            kinds.sort_unstable();
            kinds.dedup();
            calm += u32::from(kinds.is_empty());
            kinds.into_iter().for_each(|kind| *runs.entry(kind).or_default() += 1);
            let next = plan.nodes.iter().filter(|node| node.next_version).count();
            mixed += u32::from(next > 0 && next < plan.nodes.len());
            match plan.network.latency {
                Latency::Exponential { .. } => tails[0] += 1,
                Latency::LogNormal { .. } => tails[1] += 1,
                Latency::Bimodal { .. } => tails[2] += 1,
                _ => {}
            }
        }
        assert_eq!(runs.len(), KINDS.len());
        assert!(runs.values().all(|runs| (100..300).contains(runs)), "{runs:?}");
        assert!((400..600).contains(&calm), "{calm} of 1000 runs have none");
        assert!((100..300).contains(&mixed), "{mixed} of 1000 runs have two versions");
        assert!(tails.iter().all(|runs| (50..200).contains(runs)), "{tails:?}");
    }
}
