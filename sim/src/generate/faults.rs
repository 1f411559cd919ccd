//! Which faults a run has: each kind is in half of all runs or fewer, and weighs very differently where it is.

use crate::event::{MICRO, MILLI, SECOND, Time};
use crate::fault::{Fault, FaultKind, Trigger};
use crate::plan::{Edge, StreamPlan};
use crate::random::{Draws, Purpose};

/// Switches and weights of the kinds of faults.
pub(super) struct Swarm {
    pub(super) draws: Draws,
    pub(super) seed: u64,
    pub(super) count: usize,
    pub(super) edges: Vec<(usize, usize)>,
    pub(super) favourite: usize,
    pub(super) from: Time,
    pub(super) until: Time,
}

impl Swarm {
    /// How many faults of a kind this run has: none in half of the runs.
    pub(super) fn times(&mut self, most: u64) -> u64 {
        if self.draws.percent(50) { self.draws.spread(1, most) } else { 0 }
    }

    /// The victim of a fault: often the run's favourite, so that one node is hit again while it still recovers.
    pub(super) fn victim(&self, draws: &mut Draws) -> usize {
        if draws.percent(40) { self.favourite } else { draws.index(self.count) }
    }

    pub(super) fn moment(&self, draws: &mut Draws) -> Time {
        draws.between(self.from, self.until)
    }
}

pub(super) type Maker = fn(&Swarm, &mut Draws, Time) -> FaultKind;

pub(super) fn faults(
    seed: u64,
    count: usize,
    edges: &[Edge],
    streams: &[StreamPlan],
    fault_phase: Time,
) -> (Vec<Fault>, bool) {
    let mut draws = Draws::new(seed, Purpose::Swarm, 0, 0);
    let ends: Vec<usize> = streams.iter().flat_map(|stream| stream.ends()).collect();
    let from = if draws.percent(30) { 0 } else { (2 * SECOND).min(fault_phase / 3) };
    let favourite = draws.pick(&ends);
    let edges = edges.iter().map(|edge| (edge.a, edge.b)).collect();
    let mut swarm = Swarm { draws, seed, count, edges, favourite, from, until: fault_phase };
    let kinds: [(u64, Maker); 11] = [
        (8, crash),
        (4, crash_within_a_step),
        (4, pause),
        (6, cut),
        (3, isolate),
        (3, partition),
        (12, reset),
        (4, slow),
        (3, slow_disk),
        (2, wall_step),
        (3, depose),
    ];
    let mut faults = Vec::new();
    for (kind, (most, make)) in kinds.into_iter().enumerate() {
        for ordinal in 0..swarm.times(most) {
            faults.push(fault(&swarm, kind, ordinal, make));
        }
    }
    let rare: [(u64, Maker); 2] = [(8, full_disk), (6, failed_write)];
    for (kind, (one_in, make)) in rare.into_iter().enumerate() {
        if swarm.draws.one_in(one_in) {
            faults.push(fault(&swarm, 20 + kind, 0, make));
        }
    }
    if swarm.draws.one_in(8) {
        for ordinal in 0..swarm.draws.between(2, 6) {
            faults.push(fault(&swarm, 31, ordinal, quarrel));
        }
    }
    if swarm.draws.one_in(6) {
        let victim = if swarm.draws.percent(60) { favourite } else { swarm.draws.index(count) };
        for ordinal in 0..swarm.draws.between(1, 2) {
            let mut fault = fault(&swarm, 30, ordinal, rolled_back);
            if let FaultKind::RolledBack { node, .. } = &mut fault.kind {
                *node = victim;
            }
            faults.push(fault);
        }
    }
    faults.extend(super::links::faults(&swarm));
    faults.extend(super::moments::faults(&swarm, &faults));
    let (troubles, beyond_repair) = super::trouble::troubles(&swarm);
    faults.extend(troubles);
    // Whoever thins these out draws for each in this order.
    faults.sort_by_key(|fault| (fault.when.time(), fault.id));
    (faults, beyond_repair)
}

pub(super) fn fault(swarm: &Swarm, kind: usize, ordinal: u64, make: Maker) -> Fault {
    let id = (kind as u64) << 16 | ordinal;
    let mut draws = Draws::new(swarm.seed, Purpose::Fault, id, 0);
    let at = swarm.moment(&mut draws);
    Fault { id, when: Trigger::At(at), kind: make(swarm, &mut draws, at) }
}

pub(super) fn outage(draws: &mut Draws) -> Time {
    draws.spread(20 * MILLI, 4 * SECOND)
}

pub(super) fn crash(swarm: &Swarm, draws: &mut Draws, _: Time) -> FaultKind {
    FaultKind::Crash {
        node: swarm.victim(draws),
        power: draws.percent(50),
        after_outputs: None,
        down: draws.spread(MILLI, 3 * SECOND),
    }
}

fn crash_within_a_step(swarm: &Swarm, draws: &mut Draws, _: Time) -> FaultKind {
    FaultKind::Crash {
        node: swarm.victim(draws),
        power: draws.percent(50),
        after_outputs: Some(draws.below(5) as u32),
        down: draws.spread(MILLI, 3 * SECOND),
    }
}

pub(super) fn pause(swarm: &Swarm, draws: &mut Draws, _: Time) -> FaultKind {
    FaultKind::Pause { node: swarm.victim(draws), length: outage(draws) }
}

fn cut(swarm: &Swarm, draws: &mut Draws, _: Time) -> FaultKind {
    let (a, b) = draws.pick(&swarm.edges);
    let (from, to) = if draws.percent(50) { (a, b) } else { (b, a) };
    FaultKind::Cut { from, to, both: draws.percent(50), length: outage(draws) }
}

fn isolate(swarm: &Swarm, draws: &mut Draws, _: Time) -> FaultKind {
    let ways = draws.index(3);
    FaultKind::Isolate {
        node: swarm.victim(draws),
        inbound: ways != 0,
        outbound: ways != 1,
        length: outage(draws),
    }
}

fn partition(swarm: &Swarm, draws: &mut Draws, _: Time) -> FaultKind {
    let side = draws.between(1, (1 << swarm.count) - 2);
    let side = (0..swarm.count).filter(|node| side >> node & 1 == 1).collect();
    FaultKind::Partition { side, length: outage(draws) }
}

fn reset(swarm: &Swarm, draws: &mut Draws, _: Time) -> FaultKind {
    let (a, b) = draws.pick(&swarm.edges);
    FaultKind::Reset { a, b, late: draws.percent(50) }
}

pub(super) fn slow(swarm: &Swarm, draws: &mut Draws, _: Time) -> FaultKind {
    let (a, b) = draws.pick(&swarm.edges);
    let (from, to) = if draws.percent(50) { (a, b) } else { (b, a) };
    FaultKind::Slow { from, to, extra: draws.spread(5 * MILLI, SECOND), length: outage(draws) }
}

pub(super) fn slow_disk(swarm: &Swarm, draws: &mut Draws, _: Time) -> FaultKind {
    FaultKind::SlowDisk { node: swarm.victim(draws), factor: draws.spread(5, 500), length: outage(draws) }
}

fn full_disk(swarm: &Swarm, draws: &mut Draws, _: Time) -> FaultKind {
    FaultKind::FullDisk { node: swarm.victim(draws), left: draws.below(20_000), length: outage(draws) }
}

fn failed_write(swarm: &Swarm, draws: &mut Draws, _: Time) -> FaultKind {
    FaultKind::FailedWrite { node: swarm.victim(draws) }
}

fn rolled_back(_: &Swarm, draws: &mut Draws, at: Time) -> FaultKind {
    let age = draws.spread(MILLI, 6 * SECOND);
    FaultKind::RolledBack { node: 0, image_at: at.saturating_sub(age), down: draws.spread(MILLI, 3 * SECOND) }
}

fn depose(_: &Swarm, draws: &mut Draws, _: Time) -> FaultKind {
    FaultKind::Depose {
        times: draws.between(1, 6) as u32,
        delay: draws.spread(MICRO, SECOND),
        length: draws.spread(400 * MILLI, 4 * SECOND),
        crash: draws.percent(30),
    }
}

/// Leaders fall so soon after they are elected that what they began is known to nobody else, and come back soon.
fn quarrel(_: &Swarm, draws: &mut Draws, _: Time) -> FaultKind {
    FaultKind::Depose {
        times: draws.between(2, 4) as u32,
        delay: draws.spread(MICRO, 20 * MILLI),
        length: draws.spread(600 * MILLI, 3 * SECOND),
        crash: draws.percent(15),
    }
}

fn wall_step(swarm: &Swarm, draws: &mut Draws, _: Time) -> FaultKind {
    let size = draws.spread(10, 7_200_000) as i64;
    FaultKind::WallStep { node: swarm.victim(draws), millis: if draws.percent(50) { size } else { -size } }
}
