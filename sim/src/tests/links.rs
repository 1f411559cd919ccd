//! Faults of links and two versions of the wire, in worlds of real nodes.

use wattle_core::node::Node;

use super::seconds;
use crate::event::{MILLI, SECOND};
use crate::fault::{Fault, FaultKind, Trigger};
use crate::network::Disturbance;
use crate::outcome::Outcome;
use crate::plan::Plan;
use crate::trace::Recording;
use crate::world::{World, run};

/// Three nodes, and nothing goes wrong but what the test wants.
fn calm(kinds: Vec<FaultKind>) -> Plan {
    let mut plan = (0..).map(Plan::generate).find(|plan| plan.nodes.len() == 3).expect("there are many");
    plan.departures.clear();
    let fault = |(id, kind)| Fault { id: id as u64, when: Trigger::At(4 * SECOND), kind };
    plan.faults = kinds.into_iter().enumerate().map(fault).collect();
    plan.nodes.iter_mut().for_each(|node| node.next_version = false);
    plan.fault_phase = 12 * SECOND;
    plan
}

/// A fault on the first link, from the end that dials.
fn on_first_link(kind: impl FnOnce(usize, usize) -> FaultKind) -> Plan {
    let mut plan = calm(Vec::new());
    let edge = &mut plan.edges[0];
    let (from, to) = if edge.a_dials { (edge.a, edge.b) } else { (edge.b, edge.a) };
    plan.faults = vec![Fault { id: 1, when: Trigger::At(4 * SECOND), kind: kind(from, to) }];
    plan
}

fn passes(plan: &Plan) -> Outcome {
    let outcome = run(plan, Recording::All);
    assert!(outcome.verdict.is_pass(), "{}", outcome.verdict);
    outcome
}

fn times(outcome: &Outcome, what: &str) -> Vec<f64> {
    outcome.lines.iter().filter(|line| line.contains(what)).map(|line| seconds(line)).collect()
}

#[test]
fn a_flapping_link_goes_down_and_comes_back_until_the_fault_ends() {
    let outcome = passes(&on_first_link(|a, b| FaultKind::Flap {
        a,
        b,
        shortest: 5 * MILLI,
        longest: 400 * MILLI,
        length: 5 * SECOND,
    }));
    let (downs, backs) = (times(&outcome, "goes down"), times(&outcome, "comes back"));
    assert!(
        downs.len() > 10 && backs.len().abs_diff(downs.len()) <= 1,
        "{} and {}",
        downs.len(),
        backs.len()
    );
    assert!(downs.iter().chain(&backs).all(|at| (4.0..9.001).contains(at)), "{downs:?} {backs:?}");
    let stays: Vec<f64> = downs.iter().zip(&backs).map(|(down, back)| back - down).collect();
    assert!(stays.iter().any(|stay| *stay < 0.03) && stays.iter().any(|stay| *stay > 0.1), "{stays:?}");
}

#[test]
fn a_node_notices_that_the_other_end_forgot_and_connects_anew() {
    let outcome = passes(&on_first_link(|from, to| FaultKind::HalfOpen { forgets: to, believes: from }));
    let silent = times(&outcome, "Silent");
    assert!(silent.iter().any(|at| (4.0..8.5).contains(at)), "{silent:?}");
    let up = times(&outcome, "up (dial");
    assert!(up.iter().any(|at| *at > 4.0), "{up:?}");
}

#[test]
fn two_ends_behind_a_translation_that_started_anew_both_notice() {
    let outcome = passes(&on_first_link(|from, _| FaultKind::Rebind { node: from }));
    let silent = times(&outcome, "Silent");
    assert!(silent.iter().filter(|at| (4.0..8.5).contains(*at)).count() >= 2, "{silent:?}");
}

#[test]
fn bytes_that_are_spoiled_are_refused_and_never_believed() {
    let outcome = passes(&on_first_link(|from, to| FaultKind::Disturb {
        from,
        to,
        both: true,
        what: Disturbance::Corrupt { one_in: 6, caught: false },
        length: 4 * SECOND,
    }));
    let refused = times(&outcome, "Misbehaved");
    assert!(!refused.is_empty() && refused.iter().all(|at| (4.0..8.6).contains(at)), "{refused:?}");
}

#[test]
fn a_link_that_cannot_be_dialled_is_dialled_in_vain_and_ends_when_its_time_is_over() {
    let mut plan = on_first_link(|a, b| FaultKind::Reset { a, b, late: false });
    let edge = plan.edges[0];
    let what = Disturbance::Undialable { refuses: true };
    let kind = FaultKind::Disturb { from: edge.a, to: edge.b, both: true, what, length: 3 * SECOND };
    plan.faults.insert(0, Fault { id: 9, when: Trigger::At(3_900 * MILLI), kind });
    let outcome = passes(&plan);
    let up = times(&outcome, "up (dial");
    assert!(!up.iter().any(|at| (4.01..6.9).contains(at)), "{up:?}");
    assert!(up.iter().any(|at| *at > 6.9), "{up:?}");
    assert!(times(&outcome, "-> dial").iter().any(|at| (4.0..6.9).contains(at)), "it tries");
    assert!(times(&outcome, "== over").iter().all(|at| (6.899..6.901).contains(at)));
}

#[test]
fn two_versions_live_in_one_mesh_and_nobody_is_refused() {
    for old in 0..3 {
        let mut plan = calm(Vec::new());
        plan.nodes.iter_mut().enumerate().for_each(|(index, node)| node.next_version = index != old);
        let outcome = passes(&plan);
        assert_eq!(times(&outcome, "Misbehaved"), [] as [f64; 0], "old node {old}");
        assert!(outcome.deliveries >= plan.messages(), "{} of {}", outcome.deliveries, plan.messages());
    }
}

#[test]
fn two_nodes_that_both_speak_the_next_version_speak_it() {
    for (speak, agreed) in [(true, true), (false, false)] {
        let mut plan = calm(Vec::new());
        plan.nodes[0].next_version = true;
        plan.nodes.iter_mut().skip(1).for_each(|node| node.next_version = speak);
        let mut world = World::<Node>::new(plan, Recording::Off);
        world.start();
        while world.now < 4 * SECOND {
            world.next();
        }
        assert_eq!(world.next_version.agreed(), agreed);
    }
}
