//! Keys that give way to others, as far as links go: L13 and L14.
//!
//! While a node has two keys, its neighbours and it dial each other anew until each link is carried by a lane under the new key: that must be so before the old
//! one is good no more. Which of two lanes is under the newer key counts by what either end saw the other prove. A lane under a key that was given up is closed. Who comes with such a key, because its disk was taken back, is shown what retired it.

use alloc::vec::Vec;

use bytes::Bytes;

use super::dial::State;
use super::lane::Phase;
use super::links::Links;
use super::survivor::Link;
use super::{Config, Hello, Message, Output, Purpose, Standing};
use crate::id::{LaneId, NodeId};
use crate::node::output::{CloseReason, DialId};
use crate::planted::Bug;
use crate::rare;
use crate::sometimes;
use crate::time::{Instant, Span};
use crate::work::PublicKey;

/// How many renewals of a link that came to nothing are followed by the next one after the same time. After that the time doubles: its node has two keys for long,
/// and proves the first.
const RENEWALS_SOON: u32 = 4;
/// How often it doubles.
const DOUBLINGS_MAX: u32 = 6;

/// What this node says of its own key.
#[derive(Clone, Debug, Default)]
pub(super) struct OwnKey {
    /// The rotation that brought it.
    number: u32,
    /// The one that brought the key it proved before.
    before: u32,
    /// Since when it proves it.
    since: Instant,
    /// From this dial on.
    first_dial: DialId,
    /// What leads to it from earlier ones.
    pub(super) rotations: Bytes,
}

impl OwnKey {
    /// The rotation that brought the key that this node proved on a lane that is up now. A lane that was accepted just after another key was shown may still have
    /// been made under the one before.
    pub(super) fn proven(&self, now: Instant, dial: Option<DialId>, config: &Config) -> u32 {
        let since = match dial {
            Some(dial) => dial >= self.first_dial,
            None => now >= self.since + config.handshake_timeout,
        };
        if since { self.number } else { self.before }
    }
}

impl Links {
    /// This node proves another key from now on: neighbours that it dialled it dials anew.
    pub(super) fn on_key_shown(&mut self, now: Instant, number: u64) {
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        if self.own_key.number == number {
            return;
        }
        let before = core::mem::replace(&mut self.own_key.number, number);
        (self.own_key.before, self.own_key.since) = (before, now);
        self.own_key.first_dial = self.targets.next_dial();
        let nodes: Vec<NodeId> = self.neighbours().collect();
        for node in nodes {
            self.renew(now, node, Span::ZERO);
        }
    }

    /// Members have other keys now: links under keys that give way are to be carried by lanes under others.
    pub(super) fn renew_from(&mut self, now: Instant, changed: &[NodeId]) {
        let own = changed.contains(&self.own);
        let concerned = |node: &NodeId| own || changed.contains(node);
        let nodes: Vec<NodeId> = match changed.is_empty() {
            true => Vec::new(),
            false => self.neighbours().filter(concerned).collect(),
        };
        for node in nodes {
            if let Some(link) = self.links.get_mut(&node) {
                link.renewals = 0;
            }
            self.renew_if_old(now, node);
        }
    }

    /// Has a link that still is carried under a key that gives way renewed, again and again, until it is not.
    pub(super) fn renew_if_old(&mut self, now: Instant, node: NodeId) {
        let Some(link) = self.links.get(&node).filter(|link| self.is_old(node, link)) else { return };
        let doublings = link.renewals.saturating_sub(RENEWALS_SOON).min(DOUBLINGS_MAX);
        self.renew(now, node, self.config.renew_after.times(1 << doublings));
    }

    fn renew(&mut self, now: Instant, node: NodeId, pause: Span) {
        let Some(link) = self.links.get_mut(&node) else { return };
        if self.planted.strikes(Bug::LinkRenewedOnce, || link.renewals > 0) {
            return;
        }
        if self.targets.renew(now + pause, node) {
            sometimes!(LinkRenewed);
            rare!(LinkRenewedAgain, link.renewals > 0);
            link.renewals = link.renewals.saturating_add(1);
        }
    }

    /// Whether the lane of a link is under the first of two keys of its node, or of this one.
    fn is_old(&self, node: NodeId, link: &Link) -> bool {
        let Some(lane) = self.lanes.get(&link.current) else { return false };
        let newest =
            |of: NodeId| self.roster.get(&of).filter(|keys| keys.len() > 1).and_then(|keys| keys.last());
        let own = newest(self.own).is_some() && lane.own_number < self.own_key.number;
        own || newest(node).is_some_and(|key| *key != lane.key)
    }

    /// Notes how new the keys of a member are among those that it had. Whether they are others than before.
    pub(super) fn rank_keys(&mut self, node: NodeId, keys: &[PublicKey]) -> bool {
        let before = self.roster.get(&node).map_or(&[][..], |before| &before[..]);
        if before == keys {
            return false;
        }
        let rank = |key: &PublicKey| self.ranks.get(key).copied().unwrap_or_default();
        let top = before.iter().map(rank).max().map(|top| top.saturating_add(1));
        let top = top.unwrap_or(u32::from(keys.len() > 1));
        if let Some(&last) = keys.last().filter(|last| before.last() != Some(last) && top > 0) {
            self.ranks.insert(last, top);
        }
        true
    }

    pub(super) fn check_renewals(&self) {
        for (node, link) in self.links.iter().filter(|(node, link)| self.is_old(**node, link)) {
            let linked = link.lanes.iter().filter_map(|id| self.lanes.get(id)?.linked());
            let unsettled =
                linked.into_iter().any(|linked| linked.probe.is_some() || linked.unconfirmed.is_some());
            let mut with = self.targets.with(*node).peekable();
            let idle = with.peek().is_some() && with.all(|target| target.state == State::Resting);
            assert!(unsettled || !idle, "L14: nobody renews the link to {node}, whose key gives way");
        }
    }

    /// Shows a node that proved a key it gave up what says so. `false` if it did not.
    pub(super) fn shows_retired(&mut self, now: Instant, id: LaneId, hello: &Hello) -> bool {
        let Some(lane) = self.lanes.get(&id) else { return false };
        let ours = hello.purpose == Purpose::Link && hello.mesh.is_some() && hello.mesh == self.mesh;
        let known = self.roster.contains_key(&hello.node) && !self.is_member(hello.node, &lane.key);
        let Some(rotations) = self.gave_up.get(&hello.node).filter(|_| ours && known).cloned() else {
            return false;
        };
        rare!(RetiredKeyShown);
        self.send(id, Message::KeyRetired { rotations });
        let words = alloc::format!("its key is none of those of {}, which gave up keys", hello.node);
        self.dismiss(now, id, hello.node, words);
        true
    }

    /// The other end says that the key this node proved is retired.
    pub(super) fn on_key_retired(&mut self, now: Instant, id: LaneId, rotations: Bytes) {
        let over = self.lanes.get(&id).is_none_or(|lane| matches!(lane.phase, Phase::Fenced { .. }));
        if over || self.standing(id) == Standing::Closed {
            return;
        }
        // Whoever stole the key could make such a proof himself, and reaches this node without being let in anywhere.
        if self.is_other_member(id) {
            self.emit(Output::KeyRetired(rotations));
        } else {
            rare!(RetirementByStranger);
        }
        let words = alloc::string::String::from("the other end says that the key of this node is retired");
        self.close(now, id, CloseReason::Unwelcome(words));
    }

    /// Whether the other end of a lane proved a key of another member.
    fn is_other_member(&self, id: LaneId) -> bool {
        let Some(lane) = self.lanes.get(&id) else { return false };
        self.roster.iter().any(|(node, keys)| *node != self.own && keys.contains(&lane.key))
    }
}
