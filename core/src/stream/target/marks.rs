//! Telling what was processed, to the source and to whoever leads, until they know it (rules E3, F2).

use alloc::vec::Vec;

use super::super::Output;
use super::super::common::Common;
use super::super::member::Stream;
use super::super::message::Body;
use super::super::peer::Peer;
use crate::id::{NodeId, Sequence};
use crate::planted::Bug;
use crate::sometimes;
use crate::time::Now;

impl Stream {
    /// What this target has processed is known here, too, should it lead.
    pub(super) fn tell_own_mark(&mut self, common: &Common) {
        if let Some(place) = self.ends.place(common.own) {
            self.heard.raise(place, self.target.mark_durable);
        }
    }

    /// Who must hear of marks: the source, and whoever leads.
    fn is_superior(&self, node: NodeId) -> bool {
        (node == self.ends.source || Some(node) == self.leader) && !self.is_gone(node)
    }

    pub(super) fn superiors(&self) -> impl Iterator<Item = &Peer> {
        self.peers.iter().filter(|peer| self.is_superior(peer.node))
    }

    pub(super) fn tell_mark(&mut self, common: &mut Common) {
        // S8: only what is durable is told.
        let (mark, instance) = (self.target.mark_durable, self.instance);
        for place in 0..self.peers.len() {
            let Peer { node, told_mark, .. } = self.peers[place];
            if mark > told_mark && self.is_superior(node) {
                self.peers[place].told_mark = mark;
                common.say(node, instance, Body::Mark(mark));
            }
        }
    }

    /// Another member leads: it may have heard nothing of this target (rule E3).
    pub(in crate::stream) fn tell_new_leader(&mut self, common: &mut Common, now: Now) {
        if self.stopped.is_some() || self.peers.len() == 1 {
            return;
        }
        let marked = || self.target.mark_durable > Sequence(0);
        if !common.planted.strikes(Bug::MarkNotRestated, marked)
            && let Some(leader) = self.leader
            && let Some(peer) = self.peer_mut(leader)
        {
            peer.told_mark = Sequence(0);
            self.tell_mark(common);
        }
        self.pump_target(common, now);
    }

    /// Who of those who must hear of marks does not know this one's.
    fn unheard_by(&self, common: &Common) -> impl Iterator<Item = NodeId> {
        let (mark, source) = (self.target.mark_durable, self.ends.source);
        let forgets = common.planted.has(Bug::MarkNotRestated);
        let unheard = move |peer: &&Peer| {
            let ignored = forgets && peer.node != source;
            let hears = !peer.silent && !peer.stopped() && !ignored && mark > Sequence(0);
            hears && peer.standing.is_none_or(|said| said.heard < mark)
        };
        self.superiors().filter(unheard).map(|peer| peer.node)
    }

    /// Whether it is not known that what this target processed is known. Of two members the other one's entry says so, and only its answers tell what
    /// may be let go while that entry stands behind bytes for which there is no room (rule B3).
    fn unmarked(&self, common: &Common) -> bool {
        match self.peers.len() {
            1 => self.target.mark_durable > self.head.completed,
            _ => self.unheard_by(common).next().is_some() || self.starved,
        }
    }

    /// Whether the target waits for anything that must be said again if nothing comes.
    pub(in crate::stream) fn target_outstanding(&self, common: &Common) -> bool {
        if self.owes_failure(common) {
            return true;
        }
        if self.superiors().next().is_none() {
            return false;
        }
        self.unmarked(common)
            || self.target.attaching.is_some()
            || !self.target.greeted
            || self.target.unsaid
            || !self.held.is_empty()
    }

    /// Nothing came for a while: says again what counts.
    pub(in crate::stream) fn restate_target(&mut self, common: &mut Common, now: Now) {
        self.tell_failure(common);
        let unmarked = self.unmarked(common);
        if unmarked && self.peers.len() == 1 {
            self.peers.iter_mut().for_each(|peer| peer.told_mark = Sequence(0));
        }
        for node in self.unheard_by(common).collect::<Vec<_>>() {
            let (mark, leads) = (self.target.mark_durable, Some(node) == self.leader && self.peers.len() > 1);
            let Some(peer) = self.peer_mut(node) else { continue };
            let heard = peer.standing.map(|said| said.heard).unwrap_or_default();
            let before = core::mem::replace(&mut peer.asked_mark, mark);
            peer.told_mark = Sequence(0);
            if leads && heard < before {
                // Rule E3: no answer is a reason to doubt who leads.
                sometimes!(MarkUnanswered);
                common.emit(Output::Unanswered { instance: self.instance });
            }
        }
        self.tell_mark(common);
        // What completes the marks may stand in the log behind bytes for which there is no room, and a source that knows these bytes
        // to be held here has nothing to ask: only its answer tells what is released (rule B3).
        let ask = unmarked || !self.target.greeted;
        if self.target.attaching.is_some() {
            self.ask_attaching(common, now);
        } else if ask {
            self.ask_all(common);
        } else if self.target.unsaid || !self.held.is_empty() {
            self.tell_standing(common, self.ends.source, false, 0);
        }
        self.pump_target(common, now);
    }

    /// Another member started anew: it forgot what it was told.
    pub(in crate::stream) fn greet_again(&mut self, common: &mut Common, now: Now, node: NodeId) {
        self.tell_mark(common);
        self.ask_for_wanted(common, now, true);
        if self.is_superior(node) {
            self.tell_standing(common, node, true, 0);
            self.ask_attaching(common, now);
        }
    }

    /// Tells the source, and whoever leads, where this target stands, and asks where they do.
    pub(super) fn ask_all(&mut self, common: &mut Common) {
        for node in self.superiors().map(|peer| peer.node).collect::<Vec<_>>() {
            self.tell_standing(common, node, true, 0);
        }
    }
}
