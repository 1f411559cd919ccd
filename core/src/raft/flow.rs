//! What is under way to each node, over all groups, and whose turn it is.
//!
//! Groups share the way to a node. Each may have one message of entries under way whatever the others do; beyond that, all together
//! are held to a budget of bytes per node, and who found it spent waits in line: one message a turn. So a group that could fill the way
//! alone leaves the others their share.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};

use super::message::Entry;
use super::slots::Slot;
use super::under_way::Spare;
use crate::id::NodeId;
use crate::planted::Planted;

/// What an entry takes on its way, in bytes: its content, and about what surrounds it. What it refers to travels apart from it.
pub(super) fn size(entry: &Entry) -> u64 {
    entry.data.len() as u64 + 16
}

/// What an entry takes until it is decided: with the bytes it refers to, which its leader and its members hold meanwhile.
pub(super) fn burden(entry: &Entry) -> u64 {
    size(entry).saturating_add(entry.weight)
}

/// So many nodes are remembered while nothing is under way to them: most are sent something again.
const KEPT: usize = 64;

/// What is under way to one node.
#[derive(Clone, Debug, Default)]
struct Flow {
    bytes: u64,
    /// Groups that found the budget spent, the longest waiting first.
    line: VecDeque<Slot>,
}

/// What is under way to all nodes.
#[derive(Clone, Debug)]
pub(super) struct Flows {
    /// Bytes that may be under way to one node.
    budget: u64,
    nodes: BTreeMap<NodeId, Flow>,
    /// Nodes for which somebody waits, and which may have room again.
    open: BTreeSet<NodeId>,
    /// What this node's leaders have proposed and not committed, by [`burden`].
    pub(super) uncommitted: u64,
    /// What states that come in to this node's replicas take, or will when they are whole.
    pub(super) states: u64,
    /// Room for what is under way.
    pub(super) spare: Spare,
    pub(super) planted: Planted,
}

impl Flows {
    pub(super) fn new(budget: u64, planted: Planted) -> Self {
        let (nodes, open, spare) = (BTreeMap::new(), BTreeSet::new(), Spare::default());
        Self { budget, nodes, open, uncommitted: 0, states: 0, spare, planted }
    }

    /// Whether the budget towards `node` is spent.
    pub(super) fn is_full(&self, node: NodeId) -> bool {
        self.nodes.get(&node).is_some_and(|flow| flow.bytes >= self.budget)
    }

    /// The group in `slot` waits in line for `node`.
    pub(super) fn wait(&mut self, node: NodeId, slot: Slot) {
        self.nodes.entry(node).or_default().line.push_back(slot);
    }

    /// So much leaves for `node`.
    pub(super) fn sent(&mut self, node: NodeId, bytes: u64) {
        if bytes > 0 {
            self.nodes.entry(node).or_default().bytes += bytes;
        }
    }

    /// So much is no longer under way to `node`.
    pub(super) fn arrived(&mut self, node: NodeId, bytes: u64) {
        if bytes == 0 {
            return;
        }
        let Some(flow) = self.nodes.get_mut(&node) else { return };
        assert!(flow.bytes >= bytes, "R12: more arrived at {node} than was sent");
        flow.bytes -= bytes;
        if !flow.line.is_empty() {
            self.open.insert(node);
        } else if flow.bytes == 0 && self.nodes.len() > KEPT {
            self.nodes.remove(&node);
        }
    }

    /// Whether somebody's turn may have come.
    pub(super) fn may_have_turns(&self) -> bool {
        !self.open.is_empty()
    }

    /// Whose turn has come, and towards which node. It sends one message at most before the next is asked for.
    pub(super) fn next_turn(&mut self) -> Option<(NodeId, Slot)> {
        while let Some(&node) = self.open.first() {
            let next = self.nodes.get_mut(&node).filter(|flow| flow.bytes < self.budget);
            if let Some(slot) = next.and_then(|flow| flow.line.pop_front()) {
                return Some((node, slot));
            }
            self.open.pop_first();
        }
        None
    }

    /// What is under way to `node`.
    pub(super) fn under_way(&self, node: NodeId) -> u64 {
        self.nodes.get(&node).map_or(0, |flow| flow.bytes)
    }

    /// The nodes to which something is under way.
    pub(super) fn nodes(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.nodes.iter().filter(|(_, flow)| flow.bytes > 0).map(|(&node, _)| node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_comes_to_its_turn_in_order_and_one_message_at_a_time() {
        let (near, far) = (NodeId(1), NodeId(2));
        let mut flows = Flows::new(100, Planted::none());
        flows.sent(near, 150);
        flows.sent(far, 20);
        assert!(flows.is_full(near) && !flows.is_full(far));
        (0..3).for_each(|slot| flows.wait(near, Slot(slot)));
        flows.arrived(near, 20);
        assert_eq!(flows.next_turn(), None, "the budget is still spent");
        flows.arrived(near, 60);
        assert_eq!(flows.next_turn(), Some((near, Slot(0))));
        flows.sent(near, 40);
        assert_eq!(flows.next_turn(), None);
        flows.arrived(near, 110);
        assert_eq!(flows.next_turn(), Some((near, Slot(1))));
        assert_eq!(flows.next_turn(), Some((near, Slot(2))), "who sent nothing takes nobody's turn");
        assert_eq!(flows.next_turn(), None);
        flows.arrived(far, 20);
        assert_eq!(flows.nodes().count(), 0);
    }
}
