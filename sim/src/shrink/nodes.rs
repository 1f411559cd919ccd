//! A plan with a node less: what named the node is dropped or names another, and everything keeps its meaning under the new numbers.

use std::collections::BTreeSet;

use crate::fault::{Fault, FaultKind, Trigger};
use crate::generate::departures::hangs_together;
use crate::plan::CompletePlan;
use crate::plan::{Edge, Plan, Wish};

/// What becomes of streams, calls and faults that name a node which goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heritage {
    /// They go with it.
    Dropped,
    /// They go to the node that takes its place.
    Inherited,
}

/// The plan without the node `gone`; its edges lead to `heir` instead, so that the mesh stays in one piece. `None` if that cannot
/// be: somebody would have nobody to join through, or nobody to dial.
pub(super) fn without(plan: &Plan, gone: usize, heir: usize, heritage: Heritage) -> Option<Plan> {
    if gone == heir || plan.nodes.len() < 2 {
        return None;
    }
    let heir = if heir > gone { heir - 1 } else { heir };
    let moved = |node: usize| match node {
        node if node == gone => heir,
        node if node > gone => node - 1,
        node => node,
    };
    let kept = |node: usize| match heritage {
        Heritage::Dropped if node == gone => None,
        _ => Some(moved(node)),
    };
    let mut smaller = plan.clone();
    smaller.nodes.remove(gone);
    rewire(&mut smaller, &moved)?;
    reparent(&mut smaller, &moved)?;
    keep_streams(&mut smaller, &moved, &kept);
    let count = smaller.nodes.len();
    if let Some(mut forsaken) = smaller.forsaken.take() {
        let left: BTreeSet<usize> = forsaken.nodes.iter().filter_map(|&node| kept(node)).collect();
        forsaken.nodes = left.into_iter().collect();
        smaller.forsaken = (!forsaken.nodes.is_empty()).then_some(forsaken);
    }
    if let Some(mut recovery) = smaller.recovery.take() {
        recovery.lost = recovery
            .lost
            .iter()
            .filter_map(|&node| kept(node))
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect();
        recovery.asked_at = kept(recovery.asked_at)?;
        smaller.recovery = Some(recovery);
    }
    if let Some(mut seal) = smaller.seal.take() {
        (seal.asked_at, seal.node) = (kept(seal.asked_at)?, kept(seal.node)?);
        seal.more = seal.more.iter().filter_map(|&node| kept(node)).collect();
        smaller.seal = Some(seal);
    }
    smaller.changes.retain_mut(|change| {
        let places = kept(change.node).zip(kept(change.asked_at));
        (change.node, change.asked_at) = places.unwrap_or_default();
        places.is_some()
    });
    smaller.drop_idle_changes();
    for pause in smaller.flow.iter_mut().flat_map(|flow| &mut flow.pauses) {
        (pause.asked_at, pause.resumed_at) = (moved(pause.asked_at), moved(pause.resumed_at));
    }
    for throttle in smaller.flow.iter_mut().flat_map(|flow| &mut flow.throttles) {
        throttle.asked_at = moved(throttle.asked_at);
    }
    smaller.drop_idle_flow();
    let gone: Vec<usize> = smaller.departures.iter().map(|departure| departure.node).collect();
    if !gone.is_empty() && !hangs_together(&smaller, &gone) {
        smaller.departures.clear();
    }
    smaller.faults.retain_mut(|fault| keep_fault(fault, &kept, count));
    smaller.check().is_ok().then_some(smaller)
}

/// The edges under the new numbers, each once.
fn rewire(plan: &mut Plan, moved: &dyn Fn(usize) -> usize) -> Option<()> {
    let mut seen = BTreeSet::new();
    for edge in &mut plan.edges {
        (edge.a, edge.b) = (moved(edge.a), moved(edge.b));
    }
    plan.edges.retain(|edge| edge.a != edge.b && seen.insert((edge.a.min(edge.b), edge.a.max(edge.b))));
    for edge in &mut plan.edges {
        edge.a_dials &= plan.nodes[edge.b].listens;
        edge.b_dials &= plan.nodes[edge.a].listens;
        if !edge.a_dials && !edge.b_dials {
            edge.a_dials = plan.nodes[edge.b].listens;
            edge.b_dials = plan.nodes[edge.a].listens;
        }
        if !edge.a_dials && !edge.b_dials {
            return None;
        }
    }
    let mut named = BTreeSet::new();
    for link in &mut plan.network.links {
        (link.from, link.to) = (moved(link.from), moved(link.to));
    }
    plan.network.links.retain(|link| link.from != link.to && named.insert((link.from, link.to)));
    Some(())
}

/// Everybody joins through whom they did, or through another who is there before them.
fn reparent(plan: &mut Plan, moved: &dyn Fn(usize) -> usize) -> Option<()> {
    let neighbour = |edge: &Edge, node: usize| match *edge {
        Edge { a, b, .. } if a == node => Some(b),
        Edge { a, b, .. } if b == node => Some(a),
        _ => None,
    };
    plan.nodes[0].joins_through = None;
    for node in 1..plan.nodes.len() {
        let able = |other: &usize| *other < node && plan.nodes[*other].listens;
        let around = || plan.edges.iter().filter_map(|edge| neighbour(edge, node));
        let before = plan.nodes[node].joins_through.map(moved).filter(able);
        let parent = before.filter(|before| around().any(|other| other == *before));
        plan.nodes[node].joins_through = Some(parent.or_else(|| around().find(able))?);
    }
    Some(())
}

fn keep_streams(plan: &mut Plan, moved: &dyn Fn(usize) -> usize, kept: &dyn Fn(usize) -> Option<usize>) {
    plan.streams.retain_mut(|stream| {
        let (Some(source), Some(target)) = (kept(stream.source), kept(stream.target)) else { return false };
        (stream.source, stream.target, stream.asked_at) = (source, target, moved(stream.asked_at));
        let mut left = BTreeSet::from([source, target]);
        for targets in [&mut stream.more, &mut stream.later] {
            targets.retain_mut(|target| {
                let node = kept(target.node).filter(|&node| left.insert(node));
                target.node = node.unwrap_or_default();
                node.is_some()
            });
        }
        let targets = stream.targets().count();
        stream.readers.retain(|reader| reader.place < targets);
        stream.complete = match core::mem::take(&mut stream.complete) {
            CompletePlan::Count(count) if count as usize <= stream.opened().count() => {
                CompletePlan::Count(count)
            }
            CompletePlan::Named(named) => {
                let named: Vec<usize> = named.into_iter().filter_map(kept).collect();
                let known = !named.is_empty() && named.iter().all(|node| stream.opened().any(|t| t == *node));
                if known { CompletePlan::Named(named) } else { CompletePlan::All }
            }
            _ => CompletePlan::All,
        };
        source != target
    });
    if let Some(updates) = &mut plan.updates {
        updates.sends.retain_mut(|send| {
            let left = kept(send.node);
            send.node = left.unwrap_or_default();
            left.is_some()
        });
    }
    plan.config.retain_mut(|wish| {
        let Some(node) = kept(wish.node) else { return false };
        wish.node = node;
        true
    });
    plan.departures.retain_mut(|departure| {
        let (Some(node), Some(asked_at)) = (kept(departure.node), kept(departure.asked_at)) else {
            return false;
        };
        (departure.node, departure.asked_at) = (node, asked_at);
        departure.returns = departure.returns.and_then(|(after, through)| Some((after, kept(through)?)));
        node != asked_at
    });
    let mut stopped = BTreeSet::new();
    plan.stops.retain_mut(|stop| {
        let Some(node) = kept(stop.node) else { return false };
        stop.node = node;
        stopped.insert(node)
    });
    plan.rotations.retain_mut(|rotation| {
        let Some(node) = kept(rotation.node) else { return false };
        rotation.node = node;
        true
    });
    plan.registry.retain_mut(|call| {
        let Some(node) = kept(call.node) else { return false };
        call.node = node;
        match &mut call.wish {
            Wish::Close => true,
            Wish::Open { source, target } => {
                let (Some(from), Some(to)) = (kept(*source), kept(*target)) else { return false };
                (*source, *target) = (from, to);
                from != to
            }
        }
    });
}

/// Brings a fault to the new numbers. Whether there is anything left of it.
fn keep_fault(fault: &mut Fault, kept: &dyn Fn(usize) -> Option<usize>, count: usize) -> bool {
    if let Trigger::On(condition) = &mut fault.when
        && let Some(node) = condition.node
    {
        let Some(node) = kept(node) else { return false };
        condition.node = Some(node);
    }
    if let FaultKind::Partition { side, .. } = &mut fault.kind {
        let left: BTreeSet<usize> = side.iter().filter_map(|&node| kept(node)).collect();
        *side = left.into_iter().collect();
        return !side.is_empty() && side.len() < count;
    }
    let distinct = |kind: &FaultKind| kind.nodes().into_iter().collect::<BTreeSet<_>>().len();
    let before = distinct(&fault.kind);
    for node in fault.kind.nodes_mut() {
        let Some(moved) = kept(*node) else { return false };
        *node = moved;
    }
    distinct(&fault.kind) == before
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_node_of_any_plan_can_go_or_is_refused_and_what_is_left_can_be_run_and_is_in_one_piece() {
        let (mut gone, mut refused) = (0, 0);
        for seed in 0..300 {
            let plan = Plan::generate(seed);
            let count = plan.nodes.len();
            for (node, heir) in (0..count).flat_map(|node| (0..count).map(move |heir| (node, heir))) {
                for heritage in [Heritage::Dropped, Heritage::Inherited] {
                    let Some(smaller) = without(&plan, node, heir, heritage) else {
                        refused += u32::from(node != heir);
                        continue;
                    };
                    gone += 1;
                    assert_eq!((smaller.nodes.len(), smaller.check()), (count - 1, Ok(())), "seed {seed}");
                    let mut reached = BTreeSet::from([0]);
                    while let Some(next) = (0..count - 1).find(|next| {
                        !reached.contains(next) && reached.iter().any(|&from| smaller.linked(from, *next))
                    }) {
                        reached.insert(next);
                    }
                    assert_eq!(reached.len(), count - 1, "seed {seed} without {node} is in pieces");
                }
            }
        }
        assert!(gone > 5_000 && refused > 100 && refused < gone, "{gone} {refused}");
    }

    #[test]
    fn what_named_a_node_goes_with_it_or_to_its_heir_and_the_rest_follows_its_nodes() {
        let mut plan = crate::plan::Plan::generate(0);
        let seed =
            (0..).find(|&seed| Plan::generate(seed).nodes.len() == 4).expect("some plan has four nodes");
        plan.clone_from(&Plan::generate(seed));
        plan.nodes.iter_mut().for_each(|node| node.listens = true);
        plan.edges = (1..4).map(|node| Edge { a: node - 1, b: node, a_dials: true, b_dials: true }).collect();
        (1..4).for_each(|node| plan.nodes[node].joins_through = Some(node - 1));
        plan.network.links.clear();
        plan.registry.clear();
        plan.config.clear();
        plan.streams.truncate(1);
        (plan.streams[0].source, plan.streams[0].target, plan.streams[0].asked_at) = (3, 0, 1);
        let fault = |id, kind| Fault { id, when: Trigger::At(1), kind };
        plan.faults = vec![
            fault(1, FaultKind::Partition { side: vec![1, 3], length: 1 }),
            fault(2, FaultKind::Cut { from: 1, to: 2, both: true, length: 1 }),
            fault(3, FaultKind::FailedWrite { node: 3 }),
        ];
        let kinds = |plan: &Plan| plan.faults.iter().map(|fault| fault.kind.nodes()).collect::<Vec<_>>();
        let dropped = without(&plan, 1, 0, Heritage::Dropped).expect("the rest hangs together");
        assert_eq!(kinds(&dropped), [vec![2], vec![2]]);
        assert_eq!(dropped.nodes[1].joins_through, Some(0));
        assert_eq!(dropped.nodes[1].name, plan.nodes[2].name);
        let stream = &dropped.streams[0];
        assert_eq!((stream.source, stream.target, stream.asked_at), (2, 0, 0));
        let inherited = without(&plan, 1, 0, Heritage::Inherited).expect("the rest hangs together");
        assert_eq!(kinds(&inherited), [vec![0, 2], vec![0, 1], vec![2]]);
        let whole = without(&plan, 3, 0, Heritage::Inherited).expect("the rest hangs together");
        assert!(whole.streams.is_empty(), "it would begin and end at one node");
    }
}
