//! Partial connectivity: the three scenarios in which engines that elect by direct links stall (OmniPaxos, EuroSys 2023, section 2). Here messages
//! between any two nodes travel over those that are left, so within four election timeouts there is a leader that stays, and whoever asks
//! for something is answered.

use wattle_sim::fault::{Fault, FaultKind, Trigger};
use wattle_sim::plan::{DiskPlan, Edge, Latency, Plan, RegistryPlan, ReplicationPlan, Wish, node_name};
use wattle_sim::trace::Recording;
use wattle_sim::world::run;

const MILLI: u64 = 1_000_000;
/// When ways are cut: the mesh has formed, and all five vote.
const CUT: u64 = 8_000 * MILLI;
/// How long they stay so.
const LENGTH: u64 = 8_000 * MILLI;
/// Four times the longest wait of an election.
const BOUND: u64 = 4 * 300 * MILLI;
/// How long it takes until a node that is gone is known to be: heartbeats of pairs that do not come.
const SUSPICION: u64 = 1_000 * MILLI;

/// Five nodes, each linked with each, a millisecond apart; the first founds the mesh and leads it.
fn five(faults: Vec<FaultKind>) -> Plan {
    let mut plan = (0..).map(Plan::generate).find(|plan| plan.nodes.len() == 5).expect("many");
    plan.streams.clear();
    plan.registry.clear();
    plan.departures.clear();
    plan.forsaken = None;
    plan.beyond_repair = false;
    plan.network.latency = Latency::Fixed(MILLI);
    plan.network.links.clear();
    (plan.network.bandwidth, plan.network.window) = (0, 256 << 10);
    (plan.network.split_one_in, plan.network.duplicate_one_in) = (0, 0);
    plan.disk = DiskPlan { sync: (MILLI, MILLI), slack: 16 << 20, capacity: 64 << 20, ..plan.disk };
    plan.replication = ReplicationPlan::default();
    for (index, node) in plan.nodes.iter_mut().enumerate() {
        (node.name, node.listens, node.next_version) = (node_name(index), true, false);
        (node.disk_factor, node.clock_ppm, node.wall_offset) = (1, 0, 0);
        node.joins_through = (index > 0).then_some(0);
        (node.boots_at, node.joins_at) = (0, index as u64 * 200 * MILLI);
    }
    let pairs = (0..5).flat_map(|a| (a + 1..5).map(move |b| (a, b)));
    plan.edges = pairs.map(|(a, b)| Edge { a, b, a_dials: true, b_dials: true }).collect();
    let named = |(id, kind)| Fault { id: id as u64, when: Trigger::At(CUT), kind };
    plan.faults = faults.into_iter().enumerate().map(named).collect();
    plan.fault_phase = CUT + LENGTH;
    plan
}

/// The ways between all pairs but these are cut.
fn only(left: &[(usize, usize)]) -> Vec<FaultKind> {
    let pairs = (0..5).flat_map(|a| (a + 1..5).map(move |b| (a, b)));
    let cut = pairs.filter(|pair| !left.contains(pair));
    cut.map(|(from, to)| FaultKind::Cut { from, to, both: true, length: LENGTH }).collect()
}

/// When and at which node somebody began or ceased to lead the control group.
fn leaders(lines: &[String]) -> Vec<(u64, String, bool)> {
    let mut found: Vec<(u64, String, bool)> = Vec::new();
    for line in
        lines.iter().filter(|line| line.contains("event RoleChanged { group: 00000000000000000000000000"))
    {
        let mut words = line.split_whitespace();
        let (Some(at), Some(name)) = (words.next().and_then(|at| at.parse::<f64>().ok()), words.next())
        else {
            continue;
        };
        let leads = line.contains("role: \"leader\"");
        let led = found.iter().rev().find(|(_, other, _)| other == name).is_some_and(|(.., led)| *led);
        if leads != led {
            found.push(((at * 1e9) as u64, name.to_owned(), leads));
        }
    }
    found
}

/// Asks each of these nodes to open a name of its own a while after the cut, and sees that all are told so while ways are cut, and that whoever
/// leads then leads by `bound` after the cut and stays.
fn goes_on(mut plan: Plan, asked: &[usize], bound: u64) {
    let wish = |(name, &node)| RegistryPlan {
        at: CUT + bound + 500 * MILLI,
        node,
        leader: false,
        name: name as u64,
        wish: Wish::Open { source: asked[0], target: asked[1] },
    };
    plan.registry = asked.iter().enumerate().map(wish).collect();
    plan.check().expect("it can be run");
    let outcome = run(&plan, Recording::All);
    assert!(outcome.verdict.is_pass(), "{}", outcome.verdict);
    let changes = leaders(&outcome.lines);
    let during = changes.iter().filter(|(at, ..)| (CUT + bound..CUT + LENGTH).contains(at));
    assert_eq!(during.count(), 0, "leaders change later than {bound} ns after the cut: {changes:?}");
    let leads = |name: &String| {
        let last = changes.iter().rev().find(|(at, other, _)| *at < CUT + bound && other == name);
        last.is_some_and(|(.., leads)| *leads)
    };
    assert!(plan.nodes.iter().any(|node| leads(&node.name)), "nobody leads: {changes:?}");
    let answered = outcome.lines.iter().filter(|line| {
        let at =
            line.split_whitespace().next().and_then(|at| at.parse::<f64>().ok()).unwrap_or_default() * 1e9;
        line.contains("StreamOpen") && (CUT as f64..(CUT + LENGTH) as f64).contains(&at)
    });
    assert!(answered.count() >= asked.len(), "not all were answered while ways were cut");
}

/// All ways but those to one node that does not lead are cut: the leader hears one other at first hand, and no majority.
#[test]
fn a_leader_that_hears_a_majority_over_another_goes_on() {
    goes_on(five(only(&[(0, 1), (1, 2), (1, 3), (1, 4)])), &[0, 1, 2, 3, 4], BOUND);
}

/// The leader is gone, and the only node that hears a majority at first hand was cut off from it before, so that its log is behind: others are
/// elected with its help.
#[test]
fn whoever_holds_everything_is_elected_over_one_that_is_behind() {
    let mut plan = five(only(&[(0, 1), (1, 2), (1, 3), (1, 4)]));
    let gone = FaultKind::Isolate { node: 0, inbound: true, outbound: true, length: LENGTH };
    plan.faults.push(Fault { id: 100, when: Trigger::At(CUT), kind: gone });
    let behind = FaultKind::Pause { node: 1, length: 300 * MILLI };
    plan.faults.push(Fault { id: 101, when: Trigger::At(CUT - 300 * MILLI), kind: behind });
    goes_on(plan, &[1, 2, 3, 4], SUSPICION + BOUND);
}

/// The nodes are left as a chain with the leader at its end: each end would take the other for gone, and they would depose each other in turn.
#[test]
fn the_ends_of_a_chain_do_not_depose_each_other() {
    goes_on(five(only(&[(0, 1), (1, 2), (2, 3), (3, 4)])), &[0, 1, 2, 3, 4], BOUND);
}
