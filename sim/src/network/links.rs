//! Which pairs are linked, and how each direction fares now: per node the few neighbours it has, not a table of all pairs.

use crate::event::Time;
use crate::plan::{Edge, Latency, NetworkPlan};

/// One direction between two linked nodes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    to: usize,
    /// How long chunks travel.
    pub(super) latency: Latency,
    /// How many faults stall it now.
    pub(super) cuts: u32,
    /// Since when.
    pub(super) cut_since: Time,
    /// How much longer everything takes now.
    pub(super) slower: Time,
}

/// All links.
#[derive(Debug)]
pub(super) struct Links {
    /// Per node, by neighbour in rising order.
    from: Vec<Vec<Link>>,
}

impl Links {
    /// The links along `edges`.
    pub(super) fn new(plan: &NetworkPlan, edges: &[Edge]) -> Self {
        let nodes = edges.iter().map(|edge| edge.a.max(edge.b) + 1).max().unwrap_or(0);
        let mut from = vec![Vec::new(); nodes];
        for (one, other) in edges.iter().flat_map(|edge| [(edge.a, edge.b), (edge.b, edge.a)]) {
            let link = Link { to: other, latency: plan.latency, cuts: 0, cut_since: 0, slower: 0 };
            from[one].push(link);
        }
        from.iter_mut().for_each(|links| links.sort_by_key(|link| link.to));
        let mut links = Self { from };
        for special in &plan.links {
            if let Some(link) = links.get_mut(special.from, special.to) {
                link.latency = special.latency;
            }
        }
        links
    }

    /// From one node to another, if they are linked.
    pub(super) fn get(&self, from: usize, to: usize) -> Option<&Link> {
        let links = self.from.get(from)?;
        links.binary_search_by_key(&to, |link| link.to).ok().map(|place| &links[place])
    }

    /// The same, to change it.
    pub(super) fn get_mut(&mut self, from: usize, to: usize) -> Option<&mut Link> {
        let links = self.from.get_mut(from)?;
        links.binary_search_by_key(&to, |link| link.to).ok().map(|place| &mut links[place])
    }

    /// All of them.
    pub(super) fn each(&mut self) -> impl Iterator<Item = &mut Link> {
        self.from.iter_mut().flatten()
    }

    /// Whether bytes from one to the other stall.
    pub(super) fn stalled(&self, from: usize, to: usize) -> bool {
        self.get(from, to).is_some_and(|link| link.cuts > 0)
    }
}
