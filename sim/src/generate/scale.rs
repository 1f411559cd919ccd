//! Plans of large meshes at a constant load, to measure by: a sparse random graph, a few streams that are written to evenly, and a few faults
//! of the common kinds, evenly spread.

use crate::event::{MICRO, MILLI, SECOND, Time};
use crate::fault::{Fault, FaultKind, Trigger};
use crate::plan::CompletePlan;
use crate::plan::{
    DiskPlan, Edge, FORMAT, HandlerKind, HandlerPlan, KeepPlan, Latency, NetworkPlan, NodePlan,
    PROGRESS_BOUND, Plan, PublisherPlan, ReplicationPlan, StreamPlan, node_name,
};
use crate::random::{Draws, Purpose};

/// What tells these draws from those of the plans of seeds.
const OURS: u64 = 1 << 40;
/// Streams, per node and at most.
const NODES_PER_STREAM: usize = 25;
const STREAMS_MOST: usize = 8;
/// How many calls a publisher makes in a second, and how many messages go into each.
const CALLS_PER_SECOND: u64 = 10;
const MESSAGES_PER_CALL: u64 = 8;
/// One fault in so much time, whatever the size of the mesh.
const FAULT_EVERY: Time = SECOND;
/// Long enough for a mesh of any size to form, and for the checkers to see that, before its faults begin.
const FORMING_BASE: Time = 8 * SECOND;
const FORMING_PER_NODE: Time = 12 * MILLI;

/// A mesh of `nodes` nodes, at work for `length` after it had time to form.
pub(crate) fn plan(nodes: usize, seed: u64, length: Time) -> Plan {
    let forming = FORMING_BASE + nodes as Time * FORMING_PER_NODE;
    let until = forming + length;
    let (entries, edges) = tree(nodes, seed);
    Plan {
        format: FORMAT,
        note: None,
        seed,
        planted: None,
        streams: streams(nodes, seed, forming, length),
        registry: Vec::new(),
        updates: None,
        config: Vec::new(),
        departures: Vec::new(),
        stops: Vec::new(),
        rotations: Vec::new(),
        recovery: None,
        seal: None,
        changes: Vec::new(),
        flow: None,
        faults: faults(nodes, seed, &edges, forming, until),
        beyond_repair: false,
        breaks: None,
        forsaken: None,
        nodes: entries,
        edges,
        network: NetworkPlan {
            latency: Latency::Uniform(MILLI, 10 * MILLI),
            links: Vec::new(),
            bandwidth: 0,
            window: 1 << 20,
            split_one_in: 8,
            duplicate_one_in: 50,
        },
        disk: DiskPlan {
            sync: (200 * MICRO, 4 * MILLI),
            rows_may_tear: true,
            slack: 1 << 20,
            capacity: 256 << 20,
            reserve: 8 << 20,
        },
        replication: ReplicationPlan::default(),
        fault_phase: until,
        progress_bound: PROGRESS_BOUND,
    }
}

/// Every node joins through an earlier one, mostly of the first quarter of these, so that paths stay short; a quarter as many links again lie
/// across.
fn tree(count: usize, seed: u64) -> (Vec<NodePlan>, Vec<Edge>) {
    let mut draws = Draws::new(seed, Purpose::Topology, OURS, 0);
    let parents: Vec<usize> = (0..count).map(|index| draws.index((index / 4).max(1))).collect();
    let mut pairs: std::collections::BTreeSet<(usize, usize)> =
        parents.iter().enumerate().skip(1).map(|(child, &parent)| (parent, child)).collect();
    for _ in 0..count / 4 {
        let (one, other) = (draws.index(count), draws.index(count));
        if one != other {
            pairs.insert((one.min(other), one.max(other)));
        }
    }
    // The later one dials, as it does when it joins.
    let edges = pairs.into_iter().map(|(a, b)| Edge { a, b, a_dials: false, b_dials: true }).collect();
    let node = |(index, &parent): (usize, &usize)| NodePlan {
        name: node_name(index),
        listens: true,
        boots_at: draws.below(300 * MILLI),
        joins_through: (index > 0).then_some(parent),
        joins_at: 0,
        clock_ppm: draws.below(400) as i32 - 200,
        wall_offset: 0,
        disk_factor: 1,
        next_version: false,
        region: None,
    };
    (parents.iter().enumerate().map(node).collect(), edges)
}

fn streams(nodes: usize, seed: u64, from: Time, length: Time) -> Vec<StreamPlan> {
    if nodes < 2 {
        return Vec::new();
    }
    let calls = (length / SECOND + 1) * CALLS_PER_SECOND;
    let publisher = PublisherPlan {
        starts_at: from,
        messages: calls * MESSAGES_PER_CALL,
        batch: (MESSAGES_PER_CALL, MESSAGES_PER_CALL),
        bytes: (64, 256),
        long_one_in: 0,
        large_one_in: 0,
        waits: [1, 1, 1],
        pipeline: 4,
        pause: (0, 2 * SECOND / CALLS_PER_SECOND),
        repeats: 0,
        patience: 4 * SECOND,
        answers_lost_one_in: 20,
        asks_one_in: 3,
        gaps_one_in: 0,
        closes: false,
    };
    let stream = |index| {
        let mut draws = Draws::new(seed, Purpose::Topology, OURS, 1 + index as u64);
        let source = draws.index(nodes);
        StreamPlan {
            name: format!("stream-{index}"),
            source,
            target: (source + 1 + draws.index(nodes - 1)) % nodes,
            more: Vec::new(),
            later: Vec::new(),
            complete: CompletePlan::All,
            keep: KeepPlan::default(),
            detach_after: 0,
            readers: Vec::new(),
            asked_at: source,
            opens_at: from - 5 * SECOND,
            publishers: vec![publisher.clone()],
            handler: HandlerPlan {
                attaches_at: from,
                kind: HandlerKind::Transactional,
                window: (16, 64),
                service: (100 * MICRO, 5 * MILLI),
                interruptions: Vec::new(),
                stands_still_at: 0,
                forges_one_in: 0,
            },
            poison: None,
        }
    };
    (0..(nodes / NODES_PER_STREAM).clamp(1, STREAMS_MOST)).map(stream).collect()
}

fn faults(nodes: usize, seed: u64, edges: &[Edge], from: Time, until: Time) -> Vec<Fault> {
    if edges.is_empty() {
        return Vec::new();
    }
    let fault = |id: u64| {
        let mut draws = Draws::new(seed, Purpose::Fault, OURS | id, 0);
        let at = from + id * FAULT_EVERY + draws.below(FAULT_EVERY);
        let node = draws.index(nodes);
        let Edge { a, b, .. } = draws.pick(edges);
        let length = draws.spread(100 * MILLI, 2 * SECOND);
        let kind = match draws.index(4) {
            0 => FaultKind::Crash {
                node,
                power: draws.percent(50),
                after_outputs: None,
                down: draws.spread(MILLI, SECOND),
            },
            1 => FaultKind::Cut { from: a, to: b, both: draws.percent(50), length },
            2 => FaultKind::Reset { a, b, late: draws.percent(50) },
            _ => FaultKind::SlowDisk { node, factor: draws.spread(5, 50), length },
        };
        Fault { id, when: Trigger::At(at), kind }
    };
    (0..(until - from) / FAULT_EVERY).map(fault).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_of_every_size_can_be_run_and_are_sparse() {
        for nodes in [2, 3, 10, 100, 1_000, 2_000] {
            let plan = plan(nodes, 1, 10 * SECOND);
            plan.check().unwrap_or_else(|what| panic!("{nodes} nodes: {what}"));
            assert!(plan.edges.len() < nodes + nodes / 3 && !plan.streams.is_empty());
            assert!(plan.faults.len() == 10);
        }
    }
}
