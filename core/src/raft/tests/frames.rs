//! Frames: several messages that one replica hears before anything comes of the first.

use alloc::vec::Vec;

use super::harness::{Cluster, member};
use crate::id::NodeId;
use crate::raft::{Input, Message};

impl Cluster {
    /// Messages arrive together, as a relay packs them.
    pub(super) fn carry_together(&mut self, to: usize, messages: Vec<(NodeId, Message)>) {
        for (from, message) in messages {
            self.tell_later(to, Input::Message { from, group: self.group, message: message.into() });
        }
        self.drain(to);
    }

    /// Everything that is under way to one node arrives together, in any order.
    pub(super) fn deliver_together(&mut self, to: usize) {
        let node = member(to).node;
        let (mut frame, others): (Vec<_>, Vec<_>) =
            core::mem::take(&mut self.network).into_iter().partition(|(_, addressee, _)| *addressee == node);
        self.network = others;
        for last in (1..frame.len()).rev() {
            let place = self.rng.below(last as u64 + 1) as usize;
            frame.swap(place, last);
        }
        let passes = |from: NodeId| !self.cut.contains(&((from.0 - 1) as usize, to));
        let frame = frame.into_iter().filter(|(from, ..)| passes(*from));
        let frame: Vec<_> = frame.map(|(from, _, message)| (from, message)).collect();
        if self.replicas[to].up {
            self.carry_together(to, frame);
        }
    }
}
