//! What is tried, in which order: first what takes most away.

use super::nodes::{Heritage, without};
use super::numbers::{counts, in_order, smaller, times};
use super::{kinds, plain};
use crate::event::Time;
use crate::plan::Plan;

/// A plan that may be smaller, or `None` if there is none of this make.
pub(super) type Edit = Box<dyn Fn(&Plan) -> Option<Plan>>;

/// What a pass may look at beside the plan.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hint {
    /// When the promise is broken, if that is a moment.
    pub(super) broken_at: Option<Time>,
}

/// How much a pass may take away at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grain {
    /// Parts of the plan: this shifts so many draws that other seeds are worth a try.
    Parts,
    /// Much, in a few runs.
    Coarse,
    /// A little, in many runs.
    Fine,
}

/// A way to make plans smaller.
pub(super) struct Pass {
    /// What it makes less of.
    pub(super) name: &'static str,
    /// How much it may take away at once.
    pub(super) grain: Grain,
    /// What it tries on such a plan.
    pub(super) edits: fn(&Plan, Hint) -> Vec<Edit>,
}

const fn pass(name: &'static str, grain: Grain, edits: fn(&Plan, Hint) -> Vec<Edit>) -> Pass {
    Pass { name, grain, edits }
}

/// All passes, in their order.
pub(super) const PASSES: [Pass; 13] = [
    pass("faults", Grain::Parts, faults),
    pass("nodes", Grain::Parts, nodes),
    pass("streams", Grain::Parts, streams),
    pass("publishers", Grain::Parts, publishers),
    pass("calls", Grain::Parts, calls),
    pass("phase", Grain::Coarse, phase),
    pass("pace", Grain::Coarse, faster),
    pass("messages", Grain::Parts, messages),
    pass("links", Grain::Parts, links),
    pass("features", Grain::Coarse, features),
    pass("kinds", Grain::Parts, simpler_faults),
    pass("times", Grain::Fine, shorter_times),
    pass("counts", Grain::Fine, smaller_counts),
];

/// What makes runs shorter, whatever else it leaves.
pub(super) const CHEAPER: [Pass; 5] = [
    pass("phase", Grain::Coarse, phase),
    pass("messages", Grain::Parts, messages),
    pass("calls", Grain::Parts, calls),
    pass("streams", Grain::Parts, streams),
    pass("publishers", Grain::Parts, publishers),
];

/// Above so many nodes, not every node is tried in the place of every other.
const FEW: usize = 8;

fn edit(change: impl Fn(&mut Plan) + 'static) -> Edit {
    Box::new(move |plan| {
        let mut changed = plan.clone();
        change(&mut changed);
        in_order(&mut changed);
        Some(changed)
    })
}

/// Ranges of `count` things: all, each half, each quarter, and so on to each single one.
fn ranges(count: usize) -> Vec<std::ops::Range<usize>> {
    let mut ranges = Vec::new();
    let mut size = count;
    while size > 0 {
        ranges.extend((0..count).step_by(size).map(|from| from..(from + size).min(count)));
        size = if size == 1 { 0 } else { size.div_ceil(2) };
    }
    ranges
}

fn faults(plan: &Plan, _: Hint) -> Vec<Edit> {
    let drop = |range: std::ops::Range<usize>| edit(move |plan| drop(plan.faults.drain(range.clone())));
    ranges(plan.faults.len()).into_iter().map(drop).collect()
}

fn nodes(plan: &Plan, _: Hint) -> Vec<Edit> {
    let count = plan.nodes.len();
    let mut edits: Vec<Edit> = Vec::new();
    for range in ranges(count).into_iter().filter(|range| range.len() > 1 && range.len() < count) {
        edits.push(Box::new(move |plan| without_range(plan, range.clone())));
    }
    for heirs_each in [parents, others] {
        for gone in (0..count).rev() {
            for heir in heirs_each(plan, gone) {
                for heritage in [Heritage::Dropped, Heritage::Inherited] {
                    edits.push(Box::new(move |plan| without(plan, gone, heir, heritage)));
                }
            }
        }
    }
    edits
}

/// Who takes the place of a node: whom it joined through.
fn parents(plan: &Plan, gone: usize) -> Vec<usize> {
    vec![plan.nodes[gone].joins_through.unwrap_or(1)]
}

/// Who else may, in a small mesh.
fn others(plan: &Plan, gone: usize) -> Vec<usize> {
    let count = plan.nodes.len();
    let parents = parents(plan, gone);
    (0..count).filter(|other| count <= FEW && *other != gone && !parents.contains(other)).collect()
}

/// The plan without as many nodes of a range as can be missed.
fn without_range(plan: &Plan, range: std::ops::Range<usize>) -> Option<Plan> {
    let mut smaller: Option<Plan> = None;
    for gone in range.rev() {
        let plan = smaller.as_ref().unwrap_or(plan);
        let heir = parents(plan, gone)[0];
        if let Some(without) = without(plan, gone, heir, Heritage::Dropped) {
            smaller = Some(without);
        }
    }
    smaller
}

fn streams(plan: &Plan, _: Hint) -> Vec<Edit> {
    let drop = |range: std::ops::Range<usize>| {
        edit(move |plan| {
            drop(plan.streams.drain(range.clone()));
            plan.drop_idle_changes();
            plan.drop_idle_flow();
        })
    };
    ranges(plan.streams.len()).into_iter().map(drop).collect()
}

fn publishers(plan: &Plan, _: Hint) -> Vec<Edit> {
    let each = plan
        .streams
        .iter()
        .enumerate()
        .flat_map(|(stream, entry)| (0..entry.publishers.len()).map(move |writer| (stream, writer)));
    let drop = |(stream, writer): (usize, usize)| {
        edit(move |plan: &mut Plan| {
            plan.streams[stream].publishers.remove(writer);
        })
    };
    each.map(drop).collect()
}

fn calls(plan: &Plan, _: Hint) -> Vec<Edit> {
    let mut edits: Vec<Edit> = Vec::new();
    for range in ranges(plan.registry.len()) {
        edits.push(edit(move |plan| drop(plan.registry.drain(range.clone()))));
    }
    if plan.updates.is_some() {
        edits.push(edit(|plan| plan.updates = None));
    }
    for range in ranges(plan.sends().len()) {
        edits.push(edit(move |plan| {
            if let Some(updates) = &mut plan.updates {
                drop(updates.sends.drain(range.clone()));
            }
        }));
    }
    for range in ranges(plan.config.len()) {
        edits.push(edit(move |plan| drop(plan.config.drain(range.clone()))));
    }
    for range in ranges(plan.departures.len()) {
        edits.push(edit(move |plan| drop(plan.departures.drain(range.clone()))));
    }
    for range in ranges(plan.changes.len()) {
        edits.push(edit(move |plan| drop(plan.changes.drain(range.clone()))));
    }
    for range in ranges(plan.flow.as_ref().map_or(0, |flow| flow.pauses.len())) {
        edits.push(edit(move |plan| {
            plan.flow.iter_mut().for_each(|flow| drop(flow.pauses.drain(range.clone())));
            plan.drop_idle_flow();
        }));
    }
    for range in ranges(plan.flow.as_ref().map_or(0, |flow| flow.throttles.len())) {
        edits.push(edit(move |plan| {
            plan.flow.iter_mut().for_each(|flow| drop(flow.throttles.drain(range.clone())));
            plan.drop_idle_flow();
        }));
    }
    for range in ranges(plan.rotations.len()) {
        edits.push(edit(move |plan| drop(plan.rotations.drain(range.clone()))));
    }
    for range in ranges(plan.stops.len()) {
        edits.push(edit(move |plan| drop(plan.stops.drain(range.clone()))));
    }
    edits.push(edit(|plan| plan.nodes.iter_mut().for_each(|node| node.region = None)));
    for departure in 0..plan.departures.len() {
        edits.push(edit(move |plan| plan.departures[departure].returns = None));
    }
    for (stream, entry) in plan.streams.iter().enumerate() {
        for range in ranges(entry.handler.interruptions.len()) {
            edits.push(edit(move |plan| {
                drop(plan.streams[stream].handler.interruptions.drain(range.clone()));
            }));
        }
    }
    edits
}

/// The phase with faults ends when the promise is broken, or after the last fault.
fn phase(plan: &Plan, hint: Hint) -> Vec<Edit> {
    let end = |fault: &crate::fault::Fault| {
        let length = fault.kind.clone().times_mut().into_iter().map(|time| *time).max().unwrap_or(0);
        fault.when.time().map(|at| at + length)
    };
    let last = plan.faults.iter().filter_map(end).max().unwrap_or(0);
    let ends = [Some(last + 1), hint.broken_at.map(|at| at + 1)].into_iter().flatten();
    let ends = ends.chain(smaller(plan.fault_phase, 0));
    ends.map(|end| edit(move |plan| plan.fault_phase = end)).collect()
}

fn messages(plan: &Plan, _: Hint) -> Vec<Edit> {
    let mut edits = vec![edit(|plan| {
        plan.streams.iter_mut().flat_map(|stream| &mut stream.publishers).for_each(|own| own.messages = 1);
    })];
    for (stream, entry) in plan.streams.iter().enumerate() {
        for (writer, own) in entry.publishers.iter().enumerate() {
            for fewer in smaller(own.messages, 1) {
                edits.push(edit(move |plan| plan.streams[stream].publishers[writer].messages = fewer));
            }
        }
    }
    edits
}

/// Links that nobody joined over.
fn links(plan: &Plan, _: Hint) -> Vec<Edit> {
    let spare = plan.edges.iter().enumerate().filter(|(_, edge)| {
        let joined = |child: usize, parent| plan.nodes[child].joins_through == Some(parent);
        !joined(edge.a, edge.b) && !joined(edge.b, edge.a)
    });
    let drop = |(place, _)| {
        edit(move |plan: &mut Plan| {
            let edge = plan.edges.remove(place);
            let own = |from, to| (from, to) == (edge.a, edge.b) || (from, to) == (edge.b, edge.a);
            plan.network.links.retain(|link| !own(link.from, link.to));
        })
    };
    spare.map(drop).collect()
}

fn features(plan: &Plan, _: Hint) -> Vec<Edit> {
    let all = edit(|plan| plain::setters(&plan.clone()).iter().for_each(|setter| setter(plan)));
    std::iter::once(all).chain(plain::setters(plan).into_iter().map(edit)).collect()
}

fn simpler_faults(plan: &Plan, _: Hint) -> Vec<Edit> {
    let mut edits = Vec::new();
    for (place, fault) in plan.faults.iter().enumerate() {
        for simple in kinds::simpler(fault, plan) {
            edits.push(edit(move |plan| plan.faults[place] = simple.clone()));
        }
    }
    edits
}

/// All times together, so that nothing changes places.
fn faster(_: &Plan, _: Hint) -> Vec<Edit> {
    let all =
        |tenths: u64| edit(move |plan| times(plan).into_iter().for_each(|time| *time = *time / 10 * tenths));
    let starts = edit(|plan| {
        for node in &mut plan.nodes {
            (node.boots_at, node.joins_at) = (0, 0);
        }
    });
    vec![all(5), all(8), starts]
}

fn shorter_times(plan: &Plan, _: Hint) -> Vec<Edit> {
    let mut edits = Vec::new();
    let mut scratch = plan.clone();
    for (place, time) in times(&mut scratch).into_iter().enumerate() {
        for shorter in smaller(*time, 0) {
            edits.push(edit(move |plan| *times(plan)[place] = shorter));
        }
    }
    edits
}

fn smaller_counts(plan: &Plan, _: Hint) -> Vec<Edit> {
    let mut scratch = plan.clone();
    let mut edits = Vec::new();
    for (place, (count, least)) in counts(&mut scratch).into_iter().enumerate() {
        for fewer in smaller(*count, least) {
            edits.push(edit(move |plan| *counts(plan)[place].0 = fewer));
        }
    }
    edits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_go_from_everything_to_every_single_one() {
        assert!(ranges(0).is_empty());
        assert_eq!(ranges(2), [0..2, 0..1, 1..2]);
        assert_eq!(ranges(3), [0..3, 0..2, 2..3, 0..1, 1..2, 2..3]);
    }

    #[test]
    fn what_a_pass_tries_can_be_run_or_is_no_smaller_and_every_pass_finds_something() {
        let mut found = [0u32; PASSES.len()];
        for seed in 0..60 {
            let plan = Plan::generate(seed);
            let size = super::super::Size::of(&plan);
            let hint = Hint { broken_at: Some(plan.fault_phase / 2) };
            for (pass, found) in PASSES.iter().zip(&mut found) {
                for edit in (pass.edits)(&plan, hint) {
                    let Some(tried) = edit(&plan) else { continue };
                    assert_eq!(tried.check(), Ok(()), "seed {seed}, {}", pass.name);
                    *found += u32::from(super::super::Size::of(&tried) < size);
                }
            }
        }
        assert!(found.iter().all(|&found| found > 20), "{found:?}");
    }

    #[test]
    fn a_large_mesh_loses_many_nodes_at_once() {
        let mut plan = Plan::generate(3);
        let first = plan.nodes[0].clone();
        let node = |index: usize| crate::plan::NodePlan {
            name: crate::plan::node_name(index),
            joins_through: index.checked_sub(1),
            ..first.clone()
        };
        plan.nodes = (0..64).map(node).collect();
        let edge = |index| crate::plan::Edge { a: index, b: index - 1, a_dials: true, b_dials: false };
        plan.edges = (1..64).map(edge).collect();
        plan.network.links.clear();
        plan.streams.clear();
        plan.registry.clear();
        plan.config.clear();
        plan.faults.clear();
        let half = without_range(&plan, 32..64).expect("nobody needs them");
        assert_eq!((half.nodes.len(), half.check()), (32, Ok(())));
        assert!(nodes(&plan, Hint { broken_at: None }).len() < 300);
    }
}
