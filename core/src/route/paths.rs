//! From a table of link states to paths with labels.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use smallvec::SmallVec;

use super::RELAYS_MAX;
use super::cost::OwnLink;
use super::graph::{Found, Graph};
use super::table::Table;
use crate::id::NodeId;
use crate::planted::Bug;
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
    let found = numbered.graph.paths(numbered.number(own).expect("the root is numbered"), RELAYS_MAX + 1);
    let nodes = numbered.nodes.iter().zip(found);
    nodes.filter_map(|(node, found)| Some((*node, numbered.label(table, &found?)))).collect()
}

/// The nodes that matter, numbered in the order of their ids, so that ties between numbers are ties between ids.
struct Numbered {
    nodes: Vec<NodeId>,
    graph: Graph,
}

impl Numbered {
    fn new(own: NodeId, links: &SortedMap<NodeId, OwnLink>, table: &Table) -> Self {
        let mut nodes: Vec<NodeId> = table.origins().chain(links.keys().copied()).chain([own]).collect();
        nodes.sort_unstable();
        nodes.dedup();
        let mut numbered = Self { nodes, graph: Graph::default() };
        numbered.graph.edges =
            numbered.nodes.iter().map(|node| numbered.edges(*node, own, links, table)).collect();
        numbered
    }

    fn number(&self, node: NodeId) -> Option<u32> {
        self.nodes.binary_search(&node).ok().map(|number| number as u32)
    }

    /// T2: what the node itself sees, for its own links; what both ends list, for all others.
    fn edges(
        &self,
        node: NodeId,
        own: NodeId,
        links: &SortedMap<NodeId, OwnLink>,
        table: &Table,
    ) -> Vec<(u32, u32)> {
        if node == own {
            return links.iter().filter_map(|(to, link)| Some((self.number(*to)?, link.cost))).collect();
        }
        let Some(state) = table.get(node) else { return Vec::new() };
        let listed = state.adjacencies().iter().filter(|adjacency| {
            let back = table.get(adjacency.neighbour).and_then(|other| other.link(node));
            adjacency.neighbour != own && (back.is_some() || table.planted.has(Bug::OneWayLinkUsed))
        });
        listed.filter_map(|adjacency| Some((self.number(adjacency.neighbour)?, adjacency.cost))).collect()
    }

    /// Puts the relays' labels to a path.
    fn label(&self, table: &Table, found: &Found) -> Path {
        let nodes: Vec<NodeId> = found.nodes.iter().map(|number| self.nodes[*number as usize]).collect();
        let label = |pair: &[NodeId]| {
            let link = table.get(pair[0]).and_then(|state| state.link(pair[1]));
            link.expect("T3: a relay lists the link a path takes").label
        };
        Path { first: nodes[0], labels: nodes.windows(2).map(label).collect(), cost: found.cost }
    }
}
