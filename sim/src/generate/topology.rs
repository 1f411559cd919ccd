//! Which nodes there are, who can dial whom, and what is odd about each of them.

use crate::event::MILLI;
use crate::plan::{Edge, NodePlan, node_name};
use crate::random::{Draws, Purpose};

/// The most nodes that a seed's plan has.
pub(super) const LARGEST: usize = 6;

#[derive(Clone, Copy)]
enum Shape {
    Line,
    Star,
    Ring,
    Tree,
    Full,
    Random,
}

pub(super) fn topology(seed: u64, count: usize) -> (Vec<NodePlan>, Vec<Edge>) {
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
                region: None,
            }
        })
        .collect();
    (nodes, edges)
}

pub(super) fn edge(draws: &mut Draws, listens: &[bool], a: usize, b: usize) -> Edge {
    match (listens[a], listens[b]) {
        (true, false) => Edge { a, b, a_dials: false, b_dials: true },
        (false, _) => Edge { a, b, a_dials: true, b_dials: false },
        (true, true) => {
            let who = draws.index(3);
            Edge { a, b, a_dials: who != 0, b_dials: who != 1 }
        }
    }
}

pub(super) fn clocks(seed: u64, nodes: &mut [NodePlan]) {
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
pub(super) fn disks(seed: u64, nodes: &mut [NodePlan]) {
    let mut draws = Draws::new(seed, Purpose::Swarm, 4, 0);
    if draws.percent(35) {
        for node in nodes {
            node.disk_factor = draws.pick(&[1, 1, 4, 20]);
        }
    }
}
