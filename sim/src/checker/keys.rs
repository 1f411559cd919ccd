//! X41: keys that give way to others.

use std::collections::BTreeMap;

use wattle_core::event::MeshEvent;
use wattle_core::id::{LaneId, NodeId};
use wattle_core::node::Status;
use wattle_core::node::output::Event;
use wattle_core::node::status::MemberStatus;
use wattle_core::work::PublicKey;

use super::{Checked, ensure};
use crate::event::{SECOND, Time};

/// How long what is said last on a connection may take, by a clock that may be slow.
const LAST_WORDS: Time = 2 * SECOND;

/// What one start of a node told of keys, and the lanes that it was given.
#[derive(Clone, Debug, Default)]
struct Told {
    /// Of each member: its keys by the numbers of their rotations, and the last number before which all are retired.
    keys: BTreeMap<NodeId, (BTreeMap<u64, PublicKey>, u64)>,
    /// When it last told that one is retired.
    retired: Time,
    /// Connections: whose they are, under which key, and whether anything came.
    lanes: BTreeMap<LaneId, (NodeId, PublicKey, bool)>,
}

/// In the end all members accept the same keys of each: those that the log tells, and none that anybody showed beside it. In words if not.
#[must_use]
pub fn disagree_on_keys(statuses: &[Status]) -> Option<String> {
    let mut first: BTreeMap<NodeId, (NodeId, &MemberStatus)> = BTreeMap::new();
    for status in statuses {
        for member in &status.members {
            let &mut (other, known) = first.entry(member.node).or_insert((status.node, member));
            if (&known.keys, known.rotation) != (&member.keys, member.rotation) {
                return Some(format!(
                    "{} accepts {} keys of {} by rotation {}, and {other} {} by rotation {}",
                    status.node,
                    member.keys.len(),
                    member.node,
                    member.rotation,
                    known.keys.len(),
                    known.rotation
                ));
            }
        }
    }
    None
}

/// What nodes told of the keys of members.
#[derive(Debug)]
pub struct Keys {
    told: Vec<Told>,
    /// Every node's first key.
    first: BTreeMap<NodeId, PublicKey>,
}

impl Keys {
    /// Of nodes with those first keys.
    #[must_use]
    pub fn new(first: impl Iterator<Item = (NodeId, PublicKey)>) -> Self {
        let first: BTreeMap<_, _> = first.collect();
        Self { told: vec![Told::default(); first.len()], first }
    }

    /// A node starts, perhaps on an older disk.
    pub fn starts(&mut self, node: usize) {
        self.told[node] = Told::default();
    }

    /// A connection is up, and its far end proved a key.
    pub fn lane_up(&mut self, node: usize, lane: LaneId, peer: NodeId, key: PublicKey) {
        self.told[node].lanes.insert(lane, (peer, key, false));
    }

    /// Something came on a connection.
    pub fn heard(&mut self, node: usize, lane: LaneId) {
        if let Some((_, _, heard)) = self.told[node].lanes.get_mut(&lane) {
            *heard = true;
        }
    }

    /// A node wants a connection closed, or it is gone.
    pub fn lane_over(&mut self, node: usize, lane: LaneId) {
        self.told[node].lanes.remove(&lane);
    }

    /// A node proves another key on connections from now on.
    ///
    /// # Errors
    /// X41 if that key would not outlast its end.
    pub fn shown(node: usize, stored: bool) -> Checked {
        ensure!(stored, "X41", "node {node} proves a key that is not on its disk");
        Ok(())
    }

    /// A node tells something.
    ///
    /// # Errors
    /// X41 if a sound node says that its key is retired.
    pub fn event(&mut self, now: Time, node: usize, event: &Event) -> Checked {
        match event {
            Event::Mesh(MeshEvent::NodeKeyChanged { node: of, key, number, retired, .. }) => {
                let told = &mut self.told[node];
                let (keys, before) = told.keys.entry(*of).or_default();
                keys.insert(*number, *key);
                if *retired {
                    told.retired = now;
                    *before = (*before).max(*number);
                }
            }
            Event::KeyRetired { why } => {
                ensure!(false, "X41", "node {node}, whose keys nobody took back, is locked out: {why}");
            }
            _ => {}
        }
        Ok(())
    }

    /// A while has passed. Connections on which nobody ever said hello may wait for that; a last word may be under way on others.
    ///
    /// # Errors
    /// X41 if it keeps a connection under a key that it knows to be retired.
    pub fn rests(&self, now: Time, node: usize) -> Checked {
        let Told { keys, lanes, retired } = &self.told[node];
        if now < retired + LAST_WORDS {
            return Ok(());
        }
        for (lane, (peer, key, _)) in lanes.iter().filter(|(_, (_, _, heard))| *heard) {
            let Some((known, before)) = keys.get(peer).filter(|(_, before)| *before > 0) else { continue };
            let present = known.get(before) == Some(key);
            let earlier = known.range(..before).any(|(_, earlier)| earlier == key);
            let first = self.first.get(peer) == Some(key);
            ensure!(
                present || !(earlier || first),
                "X41",
                "node {node} keeps {lane} to {peer} under a key that it knows to be retired"
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;

    #[test]
    fn a_key_that_one_node_alone_accepts_is_seen() {
        let key = |byte| PublicKey([byte; 32]);
        let seen = |keys: &[PublicKey], rotation| {
            let mut status = fixture::status(1, Vec::new());
            status.members.push(fixture::member(7, keys, rotation));
            status
        };
        let sound = seen(&[key(2)], 1);
        assert_eq!(disagree_on_keys(&[sound.clone(), fixture::status(3, Vec::new()), sound.clone()]), None);
        for (keys, rotation) in [(&[key(2), key(9)][..], 1), (&[key(1)], 1), (&[key(2)], 2)] {
            assert!(disagree_on_keys(&[sound.clone(), seen(keys, rotation)]).is_some());
        }
    }
}
