//! Cheapest paths from one node, as arithmetic on numbered nodes.
//!
//! Dijkstra's algorithm, with (cost, hops, number of the predecessor) as the order, so that the result does not depend on the order of
//! the work. Where the cheapest path has more links than allowed, the cheapest among the shorter ones is found link by link
//! (Bellman and Ford); meshes are small enough in diameter for that to be rare.

use alloc::collections::BTreeSet;
use alloc::vec;
use alloc::vec::Vec;

/// A directed graph whose nodes are numbered from 0. Costs are at least 1.
#[derive(Clone, Debug, Default)]
pub(super) struct Graph {
    /// Per node: (target, cost), by target, each once.
    pub(super) edges: Vec<Vec<(u32, u32)>>,
}

/// The best known way to a node: cost, links, and the node before. The smallest is best.
type Best = (u64, u32, u32);

/// Where the root itself stands: it has no node before.
const ROOT: u32 = u32::MAX;

/// A path: its cost, and the nodes from the one after the root to the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) cost: u64,
    pub(super) nodes: Vec<u32>,
}

impl Graph {
    /// The cheapest simple path from `root` to every node it reaches with at most `links_max` links; `None` for the rest and for the root.
    pub(super) fn paths(&self, root: u32, links_max: usize) -> Vec<Option<Found>> {
        let best = self.dijkstra(root);
        let too_long = best.iter().flatten().any(|&(_, links, _)| links as usize > links_max);
        let layers = if too_long { self.layers(root, links_max) } else { Vec::new() };
        (0..self.edges.len() as u32)
            .map(|target| match best[target as usize] {
                None => None,
                Some(_) if target == root => None,
                Some((cost, links, _)) if links as usize <= links_max => {
                    let nodes = walk(target, |node, _| best[node as usize]);
                    Some(Found { cost, nodes })
                }
                Some(_) => {
                    let last = layers.last()?;
                    let (cost, links, _) = last[target as usize]?;
                    let nodes = walk(target, |node, back| layers[links as usize - back][node as usize]);
                    Some(Found { cost, nodes })
                }
            })
            .collect()
    }

    fn dijkstra(&self, root: u32) -> Vec<Option<Best>> {
        let mut best: Vec<Option<Best>> = vec![None; self.edges.len()];
        let mut open: BTreeSet<(Best, u32)> = BTreeSet::new();
        best[root as usize] = Some((0, 0, ROOT));
        open.insert(((0, 0, ROOT), root));
        while let Some(((cost, links, _), node)) = open.pop_first() {
            for &(target, price) in &self.edges[node as usize] {
                let candidate = (cost + u64::from(price), links + 1, node);
                let known = &mut best[target as usize];
                if known.is_none_or(|known| candidate < known) {
                    if let Some(worse) = known.replace(candidate) {
                        open.remove(&(worse, target));
                    }
                    open.insert((candidate, target));
                }
            }
        }
        best
    }

    /// Per number of links allowed, from 0: the best way to each node.
    fn layers(&self, root: u32, links_max: usize) -> Vec<Vec<Option<Best>>> {
        let mut first = vec![None; self.edges.len()];
        first[root as usize] = Some((0, 0, ROOT));
        let mut layers = vec![first];
        for allowed in 0..links_max {
            let before = &layers[allowed];
            let mut layer = before.clone();
            for (node, way) in before.iter().enumerate() {
                let Some((cost, links, _)) = *way else { continue };
                for &(target, price) in &self.edges[node] {
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
fn walk(target: u32, best: impl Fn(u32, usize) -> Option<Best>) -> Vec<u32> {
    let mut nodes = Vec::new();
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
