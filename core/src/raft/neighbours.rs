//! The nodes that the replicas here share groups with: by whom a replica is found, whose liveness matters, and which groups are led for whom.
//!
//! All of it follows from the configurations and the roles of the groups. A node may have ten thousand of these and one changes at a time, so
//! what a group adds is counted, and only what changed is told.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use super::group::{Group, Role};
use super::slots::Slot;
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

/// The nodes by which a replica is found: its members', its own among them, and that of the leader it follows.
#[derive(Clone, Debug, Default)]
pub(super) struct Listing {
    /// Those near, then those far, then the rest; each part in order.
    nodes: Box<[NodeId]>,
    near: u32,
    far: u32,
}

impl Listing {
    fn new(nodes: &BTreeMap<NodeId, Nearness>) -> Self {
        let mut parts: Vec<(Nearness, NodeId)> =
            nodes.iter().map(|(node, nearness)| (*nearness, *node)).collect();
        parts.sort_unstable();
        let count = |part| parts.iter().filter(|(nearness, _)| *nearness == part).count() as u32;
        let (near, far) = (count(Nearness::Near), count(Nearness::Far));
        Self { nodes: parts.into_iter().map(|(_, node)| node).collect(), near, far }
    }

    fn iter(&self) -> impl Iterator<Item = (NodeId, Nearness)> + '_ {
        let (near, far) = (self.near as usize, (self.near + self.far) as usize);
        self.nodes.iter().enumerate().map(move |(place, node)| match place {
            _ if place < near => (*node, Nearness::Near),
            _ if place < far => (*node, Nearness::Far),
            _ => (*node, Nearness::Listed),
        })
    }
}

/// What all replicas here have to do with one node.
#[derive(Clone, Debug, Default)]
struct Shared {
    slots: BTreeSet<Slot>,
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
        self.by_node.get(&node).into_iter().flat_map(|shared| &shared.slots).copied()
    }

    /// Lists a replica on `own` anew.
    pub(super) fn list(&mut self, own: NodeId, group: &mut Group) {
        let after = nodes_of(group, own);
        let before = core::mem::replace(&mut group.listing, Listing::new(&after));
        let (was_led, term) = (group.listed_as_led, led_term(group));
        (group.listed, group.listed_as_led) = (true, term.is_some());
        for (node, nearness) in before.iter() {
            if after.get(&node) != Some(&nearness) {
                self.leave(node, nearness, group.slot, !after.contains_key(&node));
            }
            if was_led && node != own && (term.is_none() || !after.contains_key(&node)) {
                self.led.push(Led { node, group: group.id, term: None });
            }
        }
        let before: BTreeMap<NodeId, Nearness> = before.iter().collect();
        for (&node, &nearness) in &after {
            if before.get(&node) != Some(&nearness) {
                self.join(node, nearness, group.slot);
            }
            if term.is_some() && node != own {
                self.led.push(Led { node, group: group.id, term });
            }
        }
    }

    /// Lets a replica on `own` go.
    pub(super) fn unlist(&mut self, own: NodeId, group: &Group) {
        for (node, nearness) in group.listing.iter() {
            self.leave(node, nearness, group.slot, true);
            if group.listed_as_led && node != own {
                self.led.push(Led { node, group: group.id, term: None });
            }
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
            shared.slots.remove(&slot);
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
            let nodes = nodes_of(group, own);
            assert!(
                group.listing.iter().collect::<BTreeMap<_, _>>() == nodes,
                "R13: {} is listed wrongly",
                group.id
            );
            assert_eq!(group.listed_as_led, led_term(group).is_some(), "R13: who leads {}", group.id);
            nodes.into_iter().for_each(|(node, nearness)| counted.join(node, nearness, group.slot));
        }
        let plain = |neighbours: &Self| -> Vec<(NodeId, Vec<Slot>, u32, u32)> {
            let shared = neighbours.by_node.iter();
            shared.map(|(node, s)| (*node, s.slots.iter().copied().collect(), s.near, s.far)).collect()
        };
        assert_eq!(plain(self), plain(&counted), "R13: the nodes that share groups with this one");
    }
}

fn led_term(group: &Group) -> Option<Term> {
    matches!(group.role, Role::Leader(_)).then_some(group.term)
}

/// By which nodes a replica on `own` is found, and what their liveness means to it: that of voters, and of whoever leads; to a voter also that of
/// learners. A leader may have been elected by a configuration that has not come here yet: unwatched, it would be taken to live for ever. A
/// mesh of a thousand nodes has five thousand pairs of a voter and a learner in its control group. Nothing there waits for a learner, which
/// decides nothing by itself either, so these pairs are far.
fn nodes_of(group: &Group, own: NodeId) -> BTreeMap<NodeId, Nearness> {
    let configuration = group.log.configuration();
    let votes = group.is_voter(own);
    let control = group.id == GroupId::CONTROL;
    let to_voters = if votes || !control { Nearness::Near } else { Nearness::Far };
    let to_learners = match (votes, control) {
        (true, true) => Nearness::Far,
        (true, false) => Nearness::Near,
        (false, _) => Nearness::Listed,
    };
    let mut nodes = BTreeMap::new();
    let mut add = |node, nearness| {
        let nearness = if node == own { Nearness::Listed } else { nearness };
        nodes.entry(node).and_modify(|held: &mut Nearness| *held = (*held).min(nearness)).or_insert(nearness);
    };
    configuration.voters.iter().chain(&configuration.outgoing).for_each(|member| add(member.node, to_voters));
    group.followed().into_iter().for_each(|node| add(node, to_voters));
    configuration.members().for_each(|member| add(member.node, Nearness::Listed));
    configuration.learners.iter().for_each(|member| add(member.node, to_learners));
    nodes
}
