//! From a table of link states to paths with labels.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use smallvec::SmallVec;

use super::RELAYS_MAX;
use super::cost::OwnLink;
use super::graph::{Found, Graph};
use super::message::{Adjacency, LinkState};
use super::table::Table;
use crate::id::NodeId;
use crate::planted::{Bug, Planted};
use crate::sorted_map::SortedMap;

/// How to reach a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// The neighbour to send to; the node itself if it is one.
    pub first: NodeId,
    /// One label per relay, in order: each relay's own for its next link.
    pub labels: SmallVec<[u16; RELAYS_MAX]>,
    /// Sum of the links' costs, in microseconds.
    pub cost: u64,
}

impl Path {
    /// Links to go over.
    #[must_use]
    pub fn hops(&self) -> usize {
        self.labels.len() + 1
    }
}

/// The cheapest path from `own` to each node it reaches.
pub(super) fn compute(
    own: NodeId,
    links: &SortedMap<NodeId, OwnLink>,
    table: &Table,
) -> BTreeMap<NodeId, Path> {
    let numbered = Numbered::new(own, links, table);
    let root = numbered.number(own).expect("the root is numbered");
    let edges = numbered.nodes.iter().zip(&numbered.states);
    let edges = edges.map(|(node, state)| match state {
        _ if *node == own => numbered.own_edges(links),
        Some(state) => numbered.edges(state, own, table.planted),
        None => Vec::new(),
    });
    let found = Graph { edges: edges.collect() }.paths(root, RELAYS_MAX + 1);
    let nodes = numbered.nodes.iter().zip(found);
    nodes.filter_map(|(node, found)| Some((*node, numbered.label(&found?)))).collect()
}

/// The nodes that matter, numbered in the order of their ids, so that ties between numbers are ties between ids.
struct Numbered<'a> {
    nodes: Vec<NodeId>,
    /// By number, so that a link is looked up without a search for the node.
    states: Vec<Option<&'a LinkState>>,
}

impl<'a> Numbered<'a> {
    fn new(own: NodeId, links: &SortedMap<NodeId, OwnLink>, table: &'a Table) -> Self {
        let mut nodes: Vec<NodeId> = table.origins().chain(links.keys().copied()).chain([own]).collect();
        nodes.sort_unstable();
        nodes.dedup();
        let states = nodes.iter().map(|node| table.get(*node)).collect();
        Self { nodes, states }
    }

    fn number(&self, node: NodeId) -> Option<u32> {
        self.nodes.binary_search(&node).ok().map(|number| number as u32)
    }

    fn state(&self, number: u32) -> Option<&'a LinkState> {
        self.states[number as usize]
    }

    /// T2: of its own links, what the node itself sees.
    fn own_edges(&self, links: &SortedMap<NodeId, OwnLink>) -> Vec<(u32, u32)> {
        links.iter().filter_map(|(to, link)| Some((self.number(*to)?, link.cost))).collect()
    }

    /// T2: of all others, what both ends list.
    fn edges(&self, state: &LinkState, own: NodeId, planted: Planted) -> Vec<(u32, u32)> {
        let listed = state.adjacencies().iter().filter(|adjacency| adjacency.neighbour != own);
        let edge = |adjacency: &Adjacency| {
            let to = self.number(adjacency.neighbour)?;
            let back = self.state(to).and_then(|other| other.link(state.origin()));
            (back.is_some() || planted.has(Bug::OneWayLinkUsed)).then_some((to, adjacency.cost))
        };
        listed.filter_map(edge).collect()
    }

    /// Puts the relays' labels to a path.
    fn label(&self, found: &Found) -> Path {
        let node = |number: u32| self.nodes[number as usize];
        let label = |pair: &[u32]| {
            let link = self.state(pair[0]).and_then(|state| state.link(node(pair[1])));
            link.expect("T3: a relay lists the link a path takes").label
        };
        let labels = found.nodes.windows(2).map(label).collect();
        Path { first: node(found.nodes[0]), labels, cost: found.cost }
    }
}
