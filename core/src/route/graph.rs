//! Cheapest paths from one node, as arithmetic on numbered nodes.
//!
//! Dijkstra's algorithm, with (cost, hops, number of the predecessor) as the order, so that the result does not depend on the order of
//! the work. Where the cheapest path has more links than allowed, the cheapest among the shorter ones is found link by link
//! (Bellman and Ford); meshes are small enough in diameter for that to be rare.

use alloc::collections::BinaryHeap;
use alloc::vec;
use alloc::vec::Vec;
use core::cmp::Reverse;

/// A directed graph whose nodes are numbered from 0. Costs are at least 1.
#[derive(Clone, Debug, Default)]
pub(super) struct Graph {
    /// Where each node's edges begin, and where the last one's end.
    starts: Vec<u32>,
    /// (target, cost) of one node after the other, of each by target, each once.
    edges: Vec<(u32, u32)>,
}

/// The best known way to a node: cost, links, and the node before. The smallest is best.
type Best = (u64, u32, u32);

/// Where the root itself stands: it has no node before.
const ROOT: u32 = u32::MAX;
/// Of a node that no way leads to.
const NOWHERE: Best = (u64::MAX, u32::MAX, ROOT);

/// A path: its cost, and the nodes from the one after the root to the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) cost: u64,
    pub(super) nodes: Vec<u32>,
}

/// The cheapest simple paths from one node to all others, each put together when it is asked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Tree {
    root: u32,
    links_max: u32,
    best: Vec<Best>,
    /// If the cheapest path to some node has too many links: per number of links allowed, from 0, the best way to each node.
    layers: Vec<Vec<Option<Best>>>,
}

impl Tree {
    /// The path to a node; `None` for the root, and for whom no path leads to.
    pub(super) fn path(&self, target: u32) -> Option<Found> {
        let (cost, links) = self.reach(target)?;
        let nodes = match self.best[target as usize] {
            (_, links, _) if links <= self.links_max => {
                walk(target, links, |node, _| Some(self.best[node as usize]))
            }
            _ => walk(target, links, |node, back| self.layers[links as usize - back][node as usize]),
        };
        Some(Found { cost, nodes })
    }

    /// What the path to a node costs, and how many links it has.
    pub(super) fn reach(&self, target: u32) -> Option<(u64, u32)> {
        let best = *self.best.get(target as usize)?;
        let (cost, links, _) = match best {
            NOWHERE => return None,
            _ if target == self.root => return None,
            (_, links, _) if links <= self.links_max => best,
            _ => self.layers.last()?[target as usize]?,
        };
        Some((cost, links))
    }
}

impl Graph {
    /// A graph without nodes, with room for some.
    pub(super) fn with_room(nodes: usize) -> Self {
        let mut starts = Vec::with_capacity(nodes + 1);
        starts.push(0);
        Self { starts, edges: Vec::with_capacity(4 * nodes) }
    }

    /// Adds the next node with its edges, which are by target, each once.
    pub(super) fn push(&mut self, edges: impl IntoIterator<Item = (u32, u32)>) {
        self.edges.extend(edges);
        self.starts.push(self.edges.len() as u32);
    }

    /// How many nodes there are.
    pub(super) fn len(&self) -> usize {
        self.starts.len().saturating_sub(1)
    }

    /// Where the edges of a node stand among those of all.
    pub(super) fn span(&self, node: u32) -> core::ops::Range<usize> {
        self.starts[node as usize] as usize..self.starts[node as usize + 1] as usize
    }

    /// The edges of a node.
    pub(super) fn edges(&self, node: u32) -> &[(u32, u32)] {
        &self.edges[self.span(node)]
    }

    /// Where the edge from one node to another stands among those of all.
    pub(super) fn edge(&self, from: u32, to: u32) -> Option<usize> {
        let place = self.edges(from).binary_search_by_key(&to, |&(target, _)| target).ok()?;
        Some(self.starts[from as usize] as usize + place)
    }

    /// The cheapest simple paths from `root` with at most `links_max` links.
    pub(super) fn paths(&self, root: u32, links_max: usize) -> Tree {
        let best = self.dijkstra(root);
        let too_long = best.iter().any(|best| *best != NOWHERE && best.1 as usize > links_max);
        let layers = if too_long { self.layers(root, links_max) } else { Vec::new() };
        Tree { root, links_max: links_max as u32, best, layers }
    }

    fn dijkstra(&self, root: u32) -> Vec<Best> {
        let mut best = vec![NOWHERE; self.len()];
        let mut open = BinaryHeap::with_capacity(self.len());
        best[root as usize] = (0, 0, ROOT);
        open.push(Reverse(((0, 0, ROOT), root)));
        while let Some(Reverse((way, node))) = open.pop() {
            if way != best[node as usize] {
                // A better way was found since.
                continue;
            }
            let (cost, links, _) = way;
            for &(target, price) in self.edges(node) {
                let candidate = (cost + u64::from(price), links + 1, node);
                if candidate < best[target as usize] {
                    best[target as usize] = candidate;
                    open.push(Reverse((candidate, target)));
                }
            }
        }
        best
    }

    /// Per number of links allowed, from 0: the best way to each node.
    fn layers(&self, root: u32, links_max: usize) -> Vec<Vec<Option<Best>>> {
        let mut first = vec![None; self.len()];
        first[root as usize] = Some((0, 0, ROOT));
        let mut layers = vec![first];
        for allowed in 0..links_max {
            let before = &layers[allowed];
            let mut layer = before.clone();
            for (node, way) in before.iter().enumerate() {
                let Some((cost, links, _)) = *way else { continue };
                for &(target, price) in self.edges(node as u32) {
                    let candidate = (cost + u64::from(price), links + 1, node as u32);
                    let known = &mut layer[target as usize];
                    if known.is_none_or(|known| candidate < known) {
                        *known = Some(candidate);
                    }
                }
            }
            layers.push(layer);
        }
        layers
    }
}

/// Follows predecessors from a target to the root; `best` is asked for a node and how many links back from the target it lies.
fn walk(target: u32, links: u32, best: impl Fn(u32, usize) -> Option<Best>) -> Vec<u32> {
    let mut nodes = Vec::with_capacity(links as usize);
    let mut node = target;
    while let Some((_, _, before)) = best(node, nodes.len())
        && before != ROOT
    {
        nodes.push(node);
        node = before;
    }
    nodes.reverse();
    nodes
}
