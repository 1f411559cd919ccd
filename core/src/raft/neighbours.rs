//! The nodes that the replicas here share groups with: by whom a replica is found, whose liveness matters, and which groups are led for whom.
//!
//! All of it follows from the configurations and the roles of the groups. A node may have ten thousand of these and one changes at a time, so
//! what a group adds is counted, and only what changed is told.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::group::Group;
use super::roles::Role;
use super::slot_set::SlotSet;
use super::slots::Slot;
use crate::configuration::Configuration;
use crate::id::{GroupId, NodeId, Term};

/// The other nodes whose liveness matters to a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peers {
    /// Whose silence is acted upon.
    pub near: BTreeSet<NodeId>,
    /// The others; a node may be among both.
    pub far: BTreeSet<NodeId>,
}

/// A group with a member on `node`, and whether this node leads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Led {
    /// Where the member is.
    pub node: NodeId,
    /// The group.
    pub group: GroupId,
    /// Since which term this node leads it; `None` if it leads it no more, or for nobody on that node.
    pub term: Option<Term>,
}

/// What changed since it was asked for last.
#[derive(Clone, Debug, Default)]
pub struct Moved {
    /// All peers, if they are others than before.
    pub peers: Option<Peers>,
    /// What is led anew, under another term, or no more; in the order in which it happened.
    pub led: Vec<Led>,
}

/// How much the liveness of a node means to a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Nearness {
    Near,
    Far,
    /// Nothing.
    Listed,
}

/// The nodes by which a replica is found, by what they follow from: its members', its own among them, and that of the leader it follows.
#[derive(Clone, Debug, Default)]
pub(super) struct Listing {
    /// Who its members are; `None` if it is found by nobody yet.
    members: Option<Arc<Configuration>>,
    /// The node of a leader that does not vote there.
    stranger: Option<Box<NodeId>>,
    /// Whether the replica votes.
    votes: bool,
    /// Whether it leads.
    leads: bool,
}

impl Listing {
    /// As it is to be by now.
    fn of(group: &Group, own: NodeId) -> Self {
        let members = group.log.shared_configuration();
        let votes = |node: NodeId| members.voters.iter().chain(&members.outgoing).any(|m| m.node == node);
        let stranger = group.followed().filter(|&leader| !votes(leader)).map(Box::new);
        let leads = matches!(group.role, Role::Leader(_));
        Self { members: Some(Arc::clone(members)), stranger, votes: group.is_voter(own), leads }
    }

    /// By which nodes a replica of that group on `own` is found, and what their liveness means to it: that of voters, and of whoever leads; to a
    /// voter also that of learners. A leader may have been elected by a configuration that has not come here yet: unwatched, it would be taken to
    /// live for ever. A mesh of a thousand nodes has five thousand pairs of a voter and a learner in its control group. Nothing there waits for a
    /// learner, which decides nothing by itself either, so these pairs are far. In other groups owners talk to each other, whoever votes: they
    /// need not be quick to hear that one of them is silent, but each must hear of the other's next start.
    fn nodes(&self, id: GroupId, own: NodeId) -> BTreeMap<NodeId, Nearness> {
        let mut nodes = BTreeMap::new();
        let Some(members) = &self.members else { return nodes };
        let control = id == GroupId::CONTROL;
        let to_voters = if self.votes || !control { Nearness::Near } else { Nearness::Far };
        let to_learners = match (self.votes, control) {
            (true, true) => Nearness::Far,
            (true, false) => Nearness::Near,
            (false, false) => Nearness::Far,
            (false, true) => Nearness::Listed,
        };
        let mut add = |node, nearness| {
            let nearness = if node == own { Nearness::Listed } else { nearness };
            let known = nodes.entry(node).or_insert(nearness);
            *known = nearness.min(*known);
        };
        members.voters.iter().chain(&members.outgoing).for_each(|member| add(member.node, to_voters));
        self.stranger.iter().for_each(|node| add(**node, to_voters));
        members.members().for_each(|member| add(member.node, Nearness::Listed));
        members.learners.iter().for_each(|member| add(member.node, to_learners));
        nodes
    }
}

/// What all replicas here have to do with one node.
#[derive(Clone, Debug, Default)]
struct Shared {
    slots: SlotSet,
    /// To how many groups it is near, and far.
    near: u32,
    far: u32,
}

impl Shared {
    fn count(&mut self, nearness: Nearness) -> Option<&mut u32> {
        match nearness {
            Nearness::Near => Some(&mut self.near),
            Nearness::Far => Some(&mut self.far),
            Nearness::Listed => None,
        }
    }
}

/// All nodes that replicas here are found by.
#[derive(Clone, Debug, Default)]
pub(super) struct Neighbours {
    by_node: BTreeMap<NodeId, Shared>,
    peers_moved: bool,
    led: Vec<Led>,
}

impl Neighbours {
    /// The replicas whose group has a member on `node`, or follows it.
    pub(super) fn with_member_on(&self, node: NodeId) -> impl Iterator<Item = Slot> + '_ {
        self.by_node.get(&node).into_iter().flat_map(|shared| shared.slots.iter())
    }

    /// Lists a replica on `own` anew.
    pub(super) fn list(&mut self, own: NodeId, group: &mut Group) {
        let listing = Listing::of(group, own);
        let after = listing.nodes(group.id, own);
        let (leads, term) = (listing.leads, Some(group.term));
        let listed = core::mem::replace(&mut group.listing, listing);
        let (before, was_led) = (listed.nodes(group.id, own), listed.leads);
        group.listed = true;
        for (&node, &nearness) in before.iter().filter(|(node, nearness)| after.get(node) != Some(nearness)) {
            self.leave(node, nearness, group.slot, !after.contains_key(&node));
        }
        for node in nearest_first(&before).filter(|&node| was_led && node != own) {
            if !leads || !after.contains_key(&node) {
                self.led.push(Led { node, group: group.id, term: None });
            }
        }
        for (&node, &nearness) in &after {
            if before.get(&node) != Some(&nearness) {
                self.join(node, nearness, group.slot);
            }
            if leads && node != own {
                self.led.push(Led { node, group: group.id, term });
            }
        }
    }

    /// Lets a replica on `own` go.
    pub(super) fn unlist(&mut self, own: NodeId, group: &Group) {
        let listed = group.listing.nodes(group.id, own);
        for (&node, &nearness) in &listed {
            self.leave(node, nearness, group.slot, true);
        }
        for node in nearest_first(&listed).filter(|&node| group.listing.leads && node != own) {
            self.led.push(Led { node, group: group.id, term: None });
        }
    }

    fn join(&mut self, node: NodeId, nearness: Nearness, slot: Slot) {
        let shared = self.by_node.entry(node).or_default();
        shared.slots.insert(slot);
        if let Some(count) = shared.count(nearness) {
            *count += 1;
            self.peers_moved |= *count == 1;
        }
    }

    fn leave(&mut self, node: NodeId, nearness: Nearness, slot: Slot, for_good: bool) {
        let Some(shared) = self.by_node.get_mut(&node) else { return };
        if let Some(count) = shared.count(nearness) {
            *count -= 1;
            self.peers_moved |= *count == 0;
        }
        if for_good {
            shared.slots.remove(slot);
            if shared.slots.is_empty() {
                self.by_node.remove(&node);
            }
        }
    }

    /// Whose liveness matters.
    pub(super) fn peers(&self) -> Peers {
        let those = |counted: fn(&Shared) -> u32| {
            self.by_node.iter().filter(|(_, shared)| counted(shared) > 0).map(|(node, _)| *node).collect()
        };
        Peers { near: those(|shared| shared.near), far: those(|shared| shared.far) }
    }

    /// What changed since the last call, if anything did.
    pub(super) fn take_moved(&mut self) -> Option<Moved> {
        let led = core::mem::take(&mut self.led);
        let peers = core::mem::take(&mut self.peers_moved).then(|| self.peers());
        (peers.is_some() || !led.is_empty()).then_some(Moved { peers, led })
    }

    /// Panics unless what is counted is what these replicas add up to.
    pub(super) fn check<'a>(&self, own: NodeId, groups: impl Iterator<Item = &'a Group>) {
        let mut counted = Self::default();
        for group in groups {
            let (listing, id) = (Listing::of(group, own), group.id);
            let nodes = listing.nodes(id, own);
            assert!(group.listing.nodes(id, own) == nodes, "R13: {id} is listed wrongly");
            assert_eq!(group.listing.leads, listing.leads, "R13: who leads {id}");
            nodes.into_iter().for_each(|(node, nearness)| counted.join(node, nearness, group.slot));
        }
        let plain = |neighbours: &Self| -> Vec<(NodeId, Vec<Slot>, u32, u32)> {
            let shared = neighbours.by_node.iter();
            shared.map(|(node, s)| (*node, s.slots.iter().collect(), s.near, s.far)).collect()
        };
        assert_eq!(plain(self), plain(&counted), "R13: the nodes that share groups with this one");
    }
}

/// Those nodes, the near ones first.
fn nearest_first(nodes: &BTreeMap<NodeId, Nearness>) -> impl Iterator<Item = NodeId> {
    let mut parts: Vec<(Nearness, NodeId)> =
        nodes.iter().map(|(&node, &nearness)| (nearness, node)).collect();
    parts.sort_unstable();
    parts.into_iter().map(|(_, node)| node)
}
