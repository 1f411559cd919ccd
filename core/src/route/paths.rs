//! From a table of link states to paths with labels.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use smallvec::SmallVec;

use super::RELAYS_MAX;
use super::cost::OwnLink;
use super::graph::{Found, Graph, Tree};
use super::message::LinkState;
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

/// The cheapest paths from a node to each that it reaches. A large mesh has many of which few are asked for between two changes, so each is
/// put together when it is asked for: as the table was when they were computed.
#[derive(Clone, Debug, Default)]
pub(super) struct Paths {
    /// The nodes that matter, numbered in the order of their ids, so that ties between numbers are ties between ids.
    nodes: Vec<NodeId>,
    graph: Graph,
    /// Per edge of the graph, how the node it begins at names it.
    labels: Vec<u16>,
    tree: Tree,
}

impl Paths {
    pub(super) fn compute(own: NodeId, links: &SortedMap<NodeId, OwnLink>, table: &Table) -> Self {
        let mut nodes: Vec<NodeId> = table.origins().chain(links.keys().copied()).chain([own]).collect();
        nodes.sort_unstable();
        nodes.dedup();
        let (graph, labels) = both_ends(listed(own, &nodes, links, table), own, &nodes, table.planted);
        let root = number(&nodes, own).expect("the root is numbered");
        let tree = graph.paths(root, RELAYS_MAX + 1);
        Self { nodes, graph, labels, tree }
    }

    /// The path to a node; `None` for the one they begin at.
    pub(super) fn to(&self, node: NodeId) -> Option<Path> {
        self.path(number(&self.nodes, node)?)
    }

    /// Whether a path leads to a node.
    pub(super) fn lead_to(&self, node: NodeId) -> bool {
        number(&self.nodes, node).is_some_and(|number| self.tree.reach(number).is_some())
    }

    /// All of them.
    pub(super) fn all(&self) -> BTreeMap<NodeId, Path> {
        let numbered = (0..).zip(&self.nodes);
        numbered.filter_map(|(number, node)| Some((*node, self.path(number)?))).collect()
    }

    /// Puts the relays' labels to a path.
    fn path(&self, number: u32) -> Option<Path> {
        let Found { cost, nodes } = self.tree.path(number)?;
        let label = |pair: &[u32]| {
            let edge = self.graph.edge(pair[0], pair[1]);
            self.labels[edge.expect("T3: a relay lists the link a path takes")]
        };
        let labels = nodes.windows(2).map(label).collect();
        Some(Path { first: self.nodes[nodes[0] as usize], labels, cost })
    }
}

fn number(nodes: &[NodeId], node: NodeId) -> Option<u32> {
    nodes.binary_search(&node).ok().map(|number| number as u32)
}

/// What each node lists, with the labels beside it. T2: of its own links, what the node itself sees.
fn listed(
    own: NodeId,
    nodes: &[NodeId],
    links: &SortedMap<NodeId, OwnLink>,
    table: &Table,
) -> (Graph, Vec<u16>) {
    let mut graph = Graph::with_room(nodes.len());
    let mut labels = Vec::new();
    // Both are in the order of ids.
    let mut states = table.states().peekable();
    for &node in nodes {
        let state = states.next_if(|state| state.origin() == node);
        if node == own {
            let edges =
                links.iter().filter_map(|(to, link)| Some((number(nodes, *to)?, link.cost, link.label)));
            graph.push(edges.map(|(to, cost, label)| {
                labels.push(label);
                (to, cost)
            }));
            continue;
        }
        let adjacencies = state.map_or(&[][..], LinkState::adjacencies);
        let others = adjacencies.iter().filter(|adjacency| adjacency.neighbour != own);
        graph.push(others.filter_map(|adjacency| {
            let to = number(nodes, adjacency.neighbour)?;
            labels.push(adjacency.label);
            Some((to, adjacency.cost))
        }));
    }
    (graph, labels)
}

/// T2: of all nodes but the own one, only what both ends list.
fn both_ends(
    (listed, names): (Graph, Vec<u16>),
    own: NodeId,
    nodes: &[NodeId],
    planted: Planted,
) -> (Graph, Vec<u16>) {
    let mut graph = Graph::with_room(nodes.len());
    let mut labels = Vec::with_capacity(names.len());
    for (from, node) in (0..).zip(nodes) {
        let edges = listed.edges(from).iter().zip(&names[listed.span(from)]);
        graph.push(edges.filter_map(|(&(to, cost), &label)| {
            let counts = *node == own || listed.edge(to, from).is_some() || planted.has(Bug::OneWayLinkUsed);
            counts.then(|| {
                labels.push(label);
                (to, cost)
            })
        }));
    }
    (graph, labels)
}
