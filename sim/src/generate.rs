//! How a seed becomes a plan. Faults are placed per run, never per unit of time, so that short runs are as hostile as long ones,
//! and each run switches whole kinds of faults on or off (swarm testing): a fault that is always there hides what it prevents.

mod contest;
mod fork;
mod late;
mod links;
mod moments;
pub(crate) mod scale;
mod storm;
mod trouble;

use crate::event::{MICRO, MILLI, SECOND, Time};
use crate::fault::{Fault, FaultKind, Trigger};
use crate::plan::{
    DiskPlan, Edge, FORMAT, Forsaken, ForsakenPlan, HandlerKind, HandlerPlan, Interruption, InterruptionKind,
    Latency, LinkPlan, NetworkPlan, NodePlan, PROGRESS_BOUND, Plan, PublisherPlan, RegistryPlan,
    ReplicationPlan, StreamPlan, Wish, node_name,
};
use crate::random::{Draws, Purpose};
use crate::scarce::scarce;

/// The most nodes that a seed's plan has.
const LARGEST: usize = 6;

/// The plan of `seed`.
pub(crate) fn plan(seed: u64) -> Plan {
    let mut draws = Draws::new(seed, Purpose::Topology, 0, 0);
    let count = 2 + draws.weighted(&[15, 35, 20, 18, 12]);
    let fault_phase = Draws::new(seed, Purpose::Swarm, 1, 0).spread(4 * SECOND, 24 * SECOND);
    let (mut nodes, edges) = topology(seed, count);
    clocks(seed, &mut nodes);
    disks(seed, &mut nodes);
    links::next_versions(seed, &mut nodes);
    let streams = streams(seed, count, fault_phase);
    let registry = registry(seed, count, fault_phase);
    let (faults, beyond_repair) = faults(seed, count, &edges, &streams, fault_phase);
    let mut plan = Plan {
        format: FORMAT,
        note: None,
        seed,
        planted: None,
        breaks: None,
        nodes,
        streams,
        registry,
        faults,
        beyond_repair,
        forsaken: forsaken(seed, count),
        network: network(seed, &edges),
        edges,
        disk: disk(seed),
        replication: replication(seed),
        fault_phase,
        progress_bound: PROGRESS_BOUND,
    };
    contest::contest(&mut plan);
    storm::storm(&mut plan);
    fork::fork(&mut plan);
    late::late(&mut plan);
    scarce(&mut plan);
    plan
}

#[derive(Clone, Copy)]
enum Shape {
    Line,
    Star,
    Ring,
    Tree,
    Full,
    Random,
}

fn topology(seed: u64, count: usize) -> (Vec<NodePlan>, Vec<Edge>) {
    let mut draws = Draws::new(seed, Purpose::Topology, 1, 0);
    let shape = draws.pick(&[
        Shape::Line,
        Shape::Line,
        Shape::Star,
        Shape::Ring,
        Shape::Tree,
        Shape::Full,
        Shape::Random,
    ]);
    let parents: Vec<usize> = (0..count)
        .map(|index| match shape {
            Shape::Line | Shape::Ring => index.saturating_sub(1),
            Shape::Star => 0,
            Shape::Tree | Shape::Full | Shape::Random => draws.index(index.max(1)),
        })
        .collect();
    let outbound_percent = draws.pick(&[0, 30, 80]);
    let listens: Vec<bool> = (0..count)
        .map(|index| {
            let parent_of_some = (1..count).any(|child| parents[child] == index);
            index == 0 || parent_of_some || !draws.percent(outbound_percent)
        })
        .collect();
    let mut edges: Vec<Edge> = Vec::new();
    for (child, &parent) in parents.iter().enumerate().skip(1) {
        edges.push(edge(&mut draws, &listens, parent, child));
    }
    for a in 0..count {
        for b in a + 1..count {
            let wanted = match shape {
                Shape::Line | Shape::Star | Shape::Tree => false,
                Shape::Ring => count > 2 && a == 0 && b == count - 1,
                Shape::Full => true,
                Shape::Random => draws.percent(35),
            };
            let there = edges.iter().any(|edge| (edge.a.min(edge.b), edge.a.max(edge.b)) == (a, b));
            if wanted && !there && (listens[a] || listens[b]) {
                edges.push(edge(&mut draws, &listens, a, b));
            }
        }
    }
    let rush = draws.percent(40);
    let mut joins_at = 0;
    let nodes = (0..count)
        .map(|index| {
            joins_at += if rush { draws.below(50 * MILLI) } else { draws.below(800 * MILLI) };
            NodePlan {
                name: node_name(index),
                listens: listens[index],
                boots_at: draws.below(300 * MILLI),
                joins_through: (index > 0).then(|| parents[index]),
                joins_at,
                clock_ppm: 0,
                wall_offset: 0,
                disk_factor: 1,
                next_version: false,
            }
        })
        .collect();
    (nodes, edges)
}

fn edge(draws: &mut Draws, listens: &[bool], a: usize, b: usize) -> Edge {
    match (listens[a], listens[b]) {
        (true, false) => Edge { a, b, a_dials: false, b_dials: true },
        (false, _) => Edge { a, b, a_dials: true, b_dials: false },
        (true, true) => {
            let who = draws.index(3);
            Edge { a, b, a_dials: who != 0, b_dials: who != 1 }
        }
    }
}

fn clocks(seed: u64, nodes: &mut [NodePlan]) {
    let drifting = Draws::new(seed, Purpose::Clock, LARGEST as u64, 0).percent(50);
    for (index, node) in nodes.iter_mut().enumerate() {
        let mut draws = Draws::new(seed, Purpose::Clock, index as u64, 0);
        if drifting {
            node.clock_ppm = draws.below(400) as i32 - 200;
            node.wall_offset = draws.below(4000) as i64 - 2000;
        }
    }
}

/// In some runs some disks are much slower than others, so that a leader's may be the last to have what it sent.
fn disks(seed: u64, nodes: &mut [NodePlan]) {
    let mut draws = Draws::new(seed, Purpose::Swarm, 4, 0);
    if draws.percent(35) {
        for node in nodes {
            node.disk_factor = draws.pick(&[1, 1, 4, 20]);
        }
    }
}

fn network(seed: u64, edges: &[Edge]) -> NetworkPlan {
    let mut draws = Draws::new(seed, Purpose::Link, 0, 0);
    let usual = draws.spread(50 * MICRO, 20 * MILLI);
    let character = draws.index(4);
    let around = |base: Time| {
        let usual = match character {
            0 => Latency::Fixed(base),
            1 => Latency::Uniform(base / 2, base * 2),
            2 => Latency::Tail { base, one_in: 40, slow: base * 20 + 200 * MILLI },
            _ => Latency::Uniform(base / 10, base * 8),
        };
        links::latency(seed, usual)
    };
    let link = |(from, to): (usize, usize)| {
        let mut draws = Draws::new(seed, Purpose::Link, 1 + Draws::link(from, to), 0);
        LinkPlan { from, to, latency: around(draws.spread(usual / 4 + 1, usual * 4)) }
    };
    let mut draws = Draws::new(seed, Purpose::Swarm, 2, 0);
    NetworkPlan {
        latency: around(usual),
        links: edges.iter().flat_map(|edge| [(edge.a, edge.b), (edge.b, edge.a)]).map(link).collect(),
        bandwidth: if draws.percent(20) { draws.spread(200_000, 20_000_000) } else { 0 },
        window: draws.spread(2 << 10, 256 << 10) as usize,
        split_one_in: draws.pick(&[0, 8, 8, 2]),
        duplicate_one_in: draws.pick(&[0, 0, 50, 8]),
    }
}

fn disk(seed: u64) -> DiskPlan {
    let mut draws = Draws::new(seed, Purpose::Swarm, 3, 0);
    let fastest = draws.spread(20 * MICRO, 4 * MILLI);
    let spread = draws.pick(&[1, 3, 20]);
    DiskPlan {
        sync: (fastest, fastest * spread),
        rows_may_tear: draws.percent(40),
        slack: draws.pick(&[2_000, 50_000, 16 << 20]),
        capacity: 64 << 20,
        reserve: 8 << 20,
    }
}

fn replication(seed: u64) -> ReplicationPlan {
    let mut draws = Draws::new(seed, Purpose::Swarm, 5, 0);
    ReplicationPlan {
        entries: draws.pick(&[1, 1, 3, 256]),
        bytes: draws.pick(&[1, 4 << 10, 256 << 10, 256 << 10]),
        window: draws.pick(&[1, 2, 32, 32]),
        held: draws.pick(&[0, 1_000, 32 << 20, 32 << 20]),
    }
}

fn streams(seed: u64, count: usize, fault_phase: Time) -> Vec<StreamPlan> {
    let mut draws = Draws::new(seed, Purpose::Topology, 2, 0);
    let number = 1 + draws.weighted(&[50, 25, 15, 10]);
    (0..number)
        .map(|index| {
            let mut draws = Draws::new(seed, Purpose::Topology, 3 + index as u64, 0);
            let source = draws.index(count);
            let target = (source + 1 + draws.index(count - 1)) % count;
            let writers = 1 + draws.weighted(&[60, 30, 10]);
            StreamPlan {
                name: format!("stream-{index}"),
                source,
                target,
                asked_at: draws.index(count),
                opens_at: draws.below(fault_phase / 4),
                publishers: (0..writers)
                    .map(|writer| publisher(seed, index * 8 + writer, fault_phase))
                    .collect(),
                handler: handler(seed, index, fault_phase),
            }
        })
        .collect()
}

/// In some runs a minority never heals.
fn forsaken(seed: u64, count: usize) -> Option<ForsakenPlan> {
    let mut draws = Draws::new(seed, Purpose::Forsaken, 0, 0);
    if count < 3 || draws.percent(60) {
        return None;
    }
    let how = draws.pick(&[Forsaken::Down, Forsaken::CutOff, Forsaken::Shouting]);
    let mut nodes: Vec<usize> = (0..count).collect();
    for _ in 0..draws.between(count as u64 / 2 + 1, count as u64 - 1) {
        nodes.remove(draws.index(nodes.len()));
    }
    Some(ForsakenPlan { nodes, how })
}

/// Names that several open and close, in bursts, so that what is asked at different nodes overlaps.
fn registry(seed: u64, count: usize, fault_phase: Time) -> Vec<RegistryPlan> {
    let mut draws = Draws::new(seed, Purpose::Registry, 0, 0);
    if draws.percent(50) {
        return Vec::new();
    }
    let names = draws.between(1, 2);
    let bursts = draws.spread(1, 8);
    let mut wishes = Vec::new();
    for burst in 0..bursts {
        let mut draws = Draws::new(seed, Purpose::Registry, 1, burst);
        let (at, name) = (draws.below(fault_phase), draws.below(names));
        let within = draws.spread(MILLI, 500 * MILLI);
        for _ in 0..draws.between(2, 5) {
            let source = draws.index(count);
            let target = (source + 1 + draws.index(count - 1)) % count;
            let wish = if draws.percent(60) { Wish::Open { source, target } } else { Wish::Close };
            wishes.push(RegistryPlan {
                at: at + draws.below(within),
                node: draws.index(count),
                leader: false,
                name,
                wish,
            });
        }
    }
    wishes.sort_by_key(|wish| wish.at);
    wishes
}

fn publisher(seed: u64, who: usize, fault_phase: Time) -> PublisherPlan {
    let mut draws = Draws::new(seed, Purpose::Publisher, who as u64, u64::MAX);
    let messages = draws.spread(3, 300);
    let batch_most = draws.spread(1, 32);
    let hasty = draws.percent(40);
    let pause_most = if hasty { 5 * MILLI } else { fault_phase / (messages / batch_most + 1) };
    PublisherPlan {
        starts_at: draws.below(fault_phase / 2),
        messages,
        batch: (1, batch_most),
        bytes: (17, draws.spread(20, 600)),
        long_one_in: draws.pick(&[0, 0, 60]),
        waits: draws.pick(&[[1, 0, 0], [0, 0, 1], [1, 1, 1], [8, 1, 1], [0, 1, 0]]),
        pipeline: draws.pick(&[1, 1, 2, 4]),
        pause: (0, pause_most.max(1)),
        repeats: draws.pick(&[0, 0, 1, 2]),
        patience: draws.spread(400 * MILLI, 6 * SECOND),
        answers_lost_one_in: draws.pick(&[0, 0, 4, 20]),
        asks_one_in: draws.pick(&[0, 1, 3]),
        gaps_one_in: draws.pick(&[0, 0, 10]),
        closes: draws.percent(30),
    }
}

fn handler(seed: u64, who: usize, fault_phase: Time) -> HandlerPlan {
    let mut draws = Draws::new(seed, Purpose::Handler, who as u64, u64::MAX);
    let slowest = draws.spread(10 * MICRO, 300 * MILLI);
    let interrupted = draws.pick(&[0, 0, 1, 4]);
    let mut interruptions: Vec<Interruption> = (0..interrupted)
        .map(|_| Interruption {
            at: draws.below(fault_phase),
            kind: draws.pick(&[InterruptionKind::Detach, InterruptionKind::Takeover]),
            away: draws.spread(10 * MILLI, 3 * SECOND),
        })
        .collect();
    interruptions.sort_by_key(|interruption| interruption.at);
    HandlerPlan {
        attaches_at: draws.below(fault_phase / 2),
        kind: draws.pick(&[HandlerKind::Transactional, HandlerKind::Transactional, HandlerKind::Idempotent]),
        window: draws.pick(&[(1, 1), (1, 8), (16, 64), (256, 256)]),
        service: (slowest / 20, slowest),
        interruptions,
        forges_one_in: Draws::new(seed, Purpose::Forged, who as u64, u64::MAX).pick(&[0, 2, 4]),
    }
}

/// Switches and weights of the kinds of faults.
struct Swarm {
    draws: Draws,
    seed: u64,
    count: usize,
    edges: Vec<(usize, usize)>,
    favourite: usize,
    from: Time,
    until: Time,
}

impl Swarm {
    /// How many faults of a kind this run has: none in half of the runs.
    fn times(&mut self, most: u64) -> u64 {
        if self.draws.percent(50) { self.draws.spread(1, most) } else { 0 }
    }

    /// The victim of a fault: often the run's favourite, so that one node is hit again while it still recovers.
    fn victim(&self, draws: &mut Draws) -> usize {
        if draws.percent(40) { self.favourite } else { draws.index(self.count) }
    }

    fn moment(&self, draws: &mut Draws) -> Time {
        draws.between(self.from, self.until)
    }
}

type Maker = fn(&Swarm, &mut Draws, Time) -> FaultKind;

fn faults(
    seed: u64,
    count: usize,
    edges: &[Edge],
    streams: &[StreamPlan],
    fault_phase: Time,
) -> (Vec<Fault>, bool) {
    let mut draws = Draws::new(seed, Purpose::Swarm, 0, 0);
    let ends: Vec<usize> = streams.iter().flat_map(|stream| [stream.source, stream.target]).collect();
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
    faults.extend(links::faults(&swarm));
    faults.extend(moments::faults(&swarm, &faults));
    let (troubles, beyond_repair) = trouble::troubles(&swarm);
    faults.extend(troubles);
    faults.sort_by_key(|fault| (fault.when.time(), fault.id));
    (faults, beyond_repair)
}

fn fault(swarm: &Swarm, kind: usize, ordinal: u64, make: Maker) -> Fault {
    let id = (kind as u64) << 16 | ordinal;
    let mut draws = Draws::new(swarm.seed, Purpose::Fault, id, 0);
    let at = swarm.moment(&mut draws);
    Fault { id, when: Trigger::At(at), kind: make(swarm, &mut draws, at) }
}

fn outage(draws: &mut Draws) -> Time {
    draws.spread(20 * MILLI, 4 * SECOND)
}

fn crash(swarm: &Swarm, draws: &mut Draws, _: Time) -> FaultKind {
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

fn pause(swarm: &Swarm, draws: &mut Draws, _: Time) -> FaultKind {
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

fn slow(swarm: &Swarm, draws: &mut Draws, _: Time) -> FaultKind {
    let (a, b) = draws.pick(&swarm.edges);
    let (from, to) = if draws.percent(50) { (a, b) } else { (b, a) };
    FaultKind::Slow { from, to, extra: draws.spread(5 * MILLI, SECOND), length: outage(draws) }
}

fn slow_disk(swarm: &Swarm, draws: &mut Draws, _: Time) -> FaultKind {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_plan_can_be_run_and_is_connected() {
        for seed in 0..2000 {
            let plan = plan(seed);
            plan.check().unwrap_or_else(|what| panic!("seed {seed}: {what}\n{plan:#?}"));
            let mut reached = vec![0];
            while let Some(next) = (0..plan.nodes.len())
                .find(|&node| !reached.contains(&node) && reached.iter().any(|&from| plan.linked(from, node)))
            {
                reached.push(next);
            }
            assert_eq!(reached.len(), plan.nodes.len(), "seed {seed} is in pieces");
            assert!(
                plan.faults.iter().all(|fault| fault.when.time().is_none_or(|at| at <= plan.fault_phase))
            );
        }
    }

    #[test]
    fn every_kind_of_fault_and_of_topology_occurs_and_every_kind_is_absent_in_many_runs() {
        let mut runs_with = [0u32; 14];
        let mut sizes = [0u32; LARGEST + 1];
        let mut outbound_only = 0;
        for seed in 0..1000 {
            let plan = plan(seed);
            let mut kinds = [false; 14];
            for fault in &plan.faults {
                if let Some(kind) = kind(&fault.kind) {
                    kinds[kind] = true;
                }
            }
            for (count, present) in runs_with.iter_mut().zip(kinds) {
                *count += u32::from(present);
            }
            sizes[plan.nodes.len()] += 1;
            outbound_only += u32::from(plan.nodes.iter().any(|node| !node.listens));
        }
        for (kind, &runs) in runs_with.iter().enumerate() {
            assert!((60..=800).contains(&runs), "kind {kind} occurs in {runs} of 1000 runs");
        }
        assert!(sizes[2..].iter().all(|&runs| runs > 50), "{sizes:?}");
        assert!(outbound_only > 100, "{outbound_only}");
    }

    fn kind(kind: &FaultKind) -> Option<usize> {
        let kind = match kind {
            FaultKind::Crash { .. } => 0,
            FaultKind::Pause { .. } => 1,
            FaultKind::Cut { .. } => 2,
            FaultKind::Isolate { .. } => 3,
            FaultKind::Partition { .. } => 4,
            FaultKind::Reset { .. } => 5,
            FaultKind::Slow { .. } => 6,
            FaultKind::SlowDisk { .. } => 7,
            FaultKind::FullDisk { .. } => 8,
            FaultKind::FailedWrite { .. } => 9,
            FaultKind::RolledBack { .. } => 10,
            FaultKind::WallStep { .. } => 11,
            FaultKind::Depose { .. } => 12,
            FaultKind::Disturb { .. }
            | FaultKind::Flap { .. }
            | FaultKind::Silence { .. }
            | FaultKind::HalfOpen { .. }
            | FaultKind::Overtake { .. }
            | FaultKind::Rebind { .. } => 13,
            FaultKind::Trouble { .. } => return None,
        };
        Some(kind)
    }
}
