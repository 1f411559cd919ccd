//! From a table of link states to paths with labels.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use smallvec::SmallVec;

use super::RELAYS_MAX;
use super::cost::OwnLink;
use super::graph::{Found, Graph, Tree};
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
    listed: Listed,
    tree: Tree,
}

/// What each node lists, as numbers.
#[derive(Clone, Debug, Default)]
struct Listed {
    /// The nodes that matter, numbered in the order of their ids, so that ties between numbers are ties between ids.
    nodes: Vec<NodeId>,
    /// As of which change of the table each one's links are; 0 without any.
    as_of: Vec<u64>,
    graph: Graph,
    /// Per edge of the graph, how the node it begins at names it.
    labels: Vec<u16>,
}

impl Paths {
    /// As `table` is now. Of the paths `before`, of the same node and table, what did not change is taken as it was.
    pub(super) fn compute(
        before: &Self,
        own: NodeId,
        links: &SortedMap<NodeId, OwnLink>,
        table: &Table,
    ) -> Self {
        let listed = Listed::new(&before.listed, own, links, table);
        let root = listed.number(own).expect("the root is numbered");
        let tree = listed.by_both_ends(root, table.planted).paths(root, RELAYS_MAX + 1);
        Self { listed, tree }
    }

    /// The path to a node; `None` for the one they begin at.
    pub(super) fn to(&self, node: NodeId) -> Option<Path> {
        self.path(self.listed.number(node)?)
    }

    /// Whether a path leads to a node.
    pub(super) fn lead_to(&self, node: NodeId) -> bool {
        self.listed.number(node).is_some_and(|number| self.tree.reach(number).is_some())
    }

    /// All of them.
    pub(super) fn all(&self) -> BTreeMap<NodeId, Path> {
        let numbered = (0..).zip(&self.listed.nodes);
        numbered.filter_map(|(number, node)| Some((*node, self.path(number)?))).collect()
    }

    /// Puts the relays' labels to a path.
    fn path(&self, number: u32) -> Option<Path> {
        let Found { cost, nodes } = self.tree.path(number)?;
        let Listed { graph, labels, .. } = &self.listed;
        let label = |pair: &[u32]| {
            labels[graph.edge(pair[0], pair[1]).expect("T3: a relay lists the link a path takes")]
        };
        let labels = nodes.windows(2).map(label).collect();
        Some(Path { first: self.listed.nodes[nodes[0] as usize], labels, cost })
    }
}

impl Listed {
    fn new(before: &Self, own: NodeId, links: &SortedMap<NodeId, OwnLink>, table: &Table) -> Self {
        let mut nodes: Vec<NodeId> = table.origins().chain(links.keys().copied()).chain([own]).collect();
        nodes.sort_unstable();
        nodes.dedup();
        let same_nodes = nodes == before.nodes;
        let (graph, as_of) = (Graph::with_room(nodes.len()), Vec::with_capacity(nodes.len()));
        let mut new = Self { nodes, as_of, graph, labels: Vec::with_capacity(before.labels.len()) };
        // Both are in the order of ids.
        let mut states = table.numbered_states().peekable();
        for number in 0..new.nodes.len() {
            let node = new.nodes[number];
            let state = states.next_if(|(state, _)| state.origin() == node);
            let as_of = state.map_or(0, |(_, as_of)| as_of);
            new.as_of.push(as_of);
            if node == own {
                new.push(links.iter().map(|(to, link)| (*to, link.cost, link.label)));
            } else if same_nodes && before.as_of[number] == as_of {
                new.graph.push(before.graph.edges(number as u32).iter().copied());
                new.labels.extend_from_slice(&before.labels[before.graph.span(number as u32)]);
            } else {
                // T9: the links of who is stopped count for nothing.
                let goes_on = state.filter(|(state, _)| !state.is_stopped());
                let adjacencies = goes_on.map_or(&[][..], |(state, _)| state.adjacencies());
                let others = adjacencies.iter().filter(|adjacency| adjacency.neighbour != own);
                new.push(others.map(|link| (link.neighbour, link.cost, link.label)));
            }
        }
        new
    }

    /// Adds what the next node lists, as far as it leads to nodes that matter.
    fn push(&mut self, links: impl Iterator<Item = (NodeId, u32, u16)>) {
        let Self { nodes, graph, labels, .. } = self;
        graph.push(links.filter_map(|(node, cost, label)| {
            let to = number(nodes, node)?;
            labels.push(label);
            Some((to, cost))
        }));
    }

    fn number(&self, node: NodeId) -> Option<u32> {
        number(&self.nodes, node)
    }

    /// T2: of all other nodes what both ends list, and of its own links what the node itself sees.
    fn by_both_ends(&self, own: u32, planted: Planted) -> Graph {
        let mut both = Graph::with_room(self.nodes.len());
        for from in 0..self.nodes.len() as u32 {
            let counts =
                |to| from == own || self.graph.edge(to, from).is_some() || planted.has(Bug::OneWayLinkUsed);
            both.push(self.graph.edges(from).iter().copied().filter(|&(to, _)| counts(to)));
        }
        both
    }
}

fn number(nodes: &[NodeId], node: NodeId) -> Option<u32> {
    nodes.binary_search(&node).ok().map(|number| number as u32)
}
