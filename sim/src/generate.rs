//! How a seed becomes a plan. Faults are placed per run, never per unit of time, so that short runs are as hostile as long ones,
//! and each run switches whole kinds of faults on or off (swarm testing): a fault that is always there hides what it prevents.

mod additions;
mod contest;
pub(crate) mod departures;
mod faults;
mod flow;
mod fork;
mod former;
mod idle;
mod late;
mod links;
mod members;
mod moments;
mod raft;
mod reading;
mod recovery;
mod relays;
mod rotations;
pub(crate) mod scale;
mod seals;
mod stops;
mod storm;
mod streams;
mod topology;
mod trouble;
mod updates;
mod workload;

use crate::event::{MICRO, MILLI, SECOND, Time};
use crate::plan::{
    DiskPlan, Edge, FAN_OUT, FORMAT, Forsaken, ForsakenPlan, LOG_BYTES, Latency, LinkPlan, NetworkPlan,
    PROGRESS_BOUND, Plan, ReplicationPlan, VOTERS,
};
use crate::random::{Draws, Purpose};
use crate::scarce::scarce;
use crate::seed::{Profile, Seed};

/// The plan of a seed.
pub(crate) fn plan(seed: Seed) -> Plan {
    match seed.profile {
        Profile::General => general(seed.number),
        Profile::Raft => raft::plan(seed.number),
        Profile::Recovery => recovery::plan(seed.number),
        Profile::Streams => streams::plan(seed.number),
    }
}

/// Whether a plan is about one thing: its faults bear names of these kinds.
fn is_special(plan: &Plan) -> bool {
    plan.faults.iter().any(|fault| matches!(fault.id >> 16, 48 | 56..=62))
}

/// The mesh is whole before anything becomes of it.
fn whole_early(plan: &mut Plan) {
    for node in &mut plan.nodes {
        node.boots_at = node.boots_at.min(500 * MILLI);
        node.joins_at = node.joins_at.min(SECOND);
    }
}

fn general(seed: u64) -> Plan {
    let mut draws = Draws::new(seed, Purpose::Topology, 0, 0);
    let count = 2 + draws.weighted(&[15, 35, 20, 18, 12]);
    let fault_phase = Draws::new(seed, Purpose::Swarm, 1, 0).spread(4 * SECOND, 24 * SECOND);
    let mut plan = basic(seed, count, fault_phase);
    contest::contest(&mut plan);
    storm::storm(&mut plan);
    fork::fork(&mut plan);
    late::late(&mut plan);
    former::former(&mut plan);
    departures::departures(&mut plan);
    stops::regions(&mut plan);
    stops::stops(&mut plan);
    rotations::rotations(&mut plan);
    relays::relays(&mut plan);
    seals::seals(&mut plan);
    members::members(&mut plan);
    additions::additions(&mut plan);
    flow::flow(&mut plan);
    sort(&mut plan);
    // What waits for a member that is gone keeps its bytes, and may fill a small disk for good.
    if plan.departures.is_empty() && plan.seal.is_none() && plan.changes.is_empty() {
        scarce(&mut plan);
    }
    updates::settle(&mut plan);
    plan
}

/// What a plan is in the order of.
fn sort(plan: &mut Plan) {
    plan.faults.sort_by_key(|fault| (fault.when.time(), fault.id));
    plan.registry.sort_by_key(|wish| wish.at);
    plan.config.retain(|wish| wish.at <= plan.fault_phase && wish.node < plan.nodes.len());
    plan.config.sort_by_key(|wish| wish.at);
}

/// A plan about nothing in particular.
fn basic(seed: u64, count: usize, fault_phase: Time) -> Plan {
    let (mut nodes, edges) = topology::topology(seed, count);
    topology::clocks(seed, &mut nodes);
    topology::disks(seed, &mut nodes);
    links::next_versions(seed, &mut nodes);
    let streams = workload::streams(seed, count, fault_phase);
    let registry = workload::registry(seed, count, fault_phase);
    let config = workload::config(seed, count, fault_phase);
    let (faults, beyond_repair) = faults::faults(seed, count, &edges, &streams, fault_phase);
    Plan {
        format: FORMAT,
        note: None,
        seed,
        planted: None,
        breaks: None,
        nodes,
        streams,
        registry,
        updates: updates::updates(seed, count, fault_phase),
        config,
        departures: Vec::new(),
        stops: Vec::new(),
        rotations: Vec::new(),
        recovery: None,
        seal: None,
        changes: Vec::new(),
        flow: None,
        faults,
        beyond_repair,
        forsaken: forsaken(seed, count),
        network: network(seed, &edges),
        edges,
        disk: disk(seed),
        replication: replication(seed),
        fault_phase,
        progress_bound: PROGRESS_BOUND,
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
        log: draws.pick(&[0, 600, 4_000, 20_000, LOG_BYTES, LOG_BYTES]),
        voters: VOTERS,
        fan_out: FAN_OUT,
    }
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

/// The plans of the first so many seeds in which a fault bears a name of that kind.
#[cfg(test)]
fn plans_about(kind: u64, seeds: u64) -> Vec<Plan> {
    let about = |plan: &Plan| plan.faults.iter().any(|fault| fault.id >> 16 == kind);
    (0..seeds).map(general).filter(about).collect()
}

#[cfg(test)]
mod tests {
    use super::topology::LARGEST;
    use super::*;
    use crate::fault::FaultKind;

    #[test]
    fn every_plan_can_be_run_and_is_connected() {
        for seed in 0..2000 {
            let plan = general(seed);
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
            let plan = general(seed);
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
