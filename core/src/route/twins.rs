//! A node that exists twice. Each of the two hears link states of its own that it did not write, and writes above them; so does a node
//! that finds what an earlier start of it wrote. Such a state bears the boot id of its writer and of the one it was written against. Who reads
//! that the other one wrote against *this* start knows that the other lived after this one began: both live (rule C6).
//!
//! A third node may find it out, too, at its own door. Its link state says so to all others, for as long as that is so.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::Output;
use super::message::{Announcement, Contest, Found, LinkState};
use super::routes::Routes;
use crate::id::{BootId, NodeId};
use crate::rare;
use crate::sometimes;
use crate::time::Instant;

/// The most nodes of which one link state says that two starts live.
pub(super) const FOUND_MAX: usize = 16;

impl Routes {
    /// Names this start.
    #[must_use]
    pub fn with_boot(mut self, boot: BootId) -> Self {
        self.boot = boot;
        self
    }

    /// A state of this very node that it did not write is about to be outdone.
    pub(super) fn contest(&mut self, said: &Announcement) {
        let writer = said.contest.map(|contest| contest.writer).filter(|writer| *writer != self.boot);
        let known = self.contested.and_then(|contest| contest.rival);
        sometimes!(OwnStateContested, writer.is_some());
        self.contested = Some(Contest { writer: self.boot, rival: writer.or(known) });
        let (Some(writer), Some(Contest { rival, .. })) = (writer, said.contest) else { return };
        if rival == Some(self.boot) {
            rare!(TwinHeardOfItself);
            self.outputs.push_back(Output::Twin { other: writer });
        }
    }

    /// This start is kept of two that lived: its state says which it is.
    pub fn note_kept(&mut self) {
        self.contested = Some(Contest { writer: self.boot, rival: None });
    }

    /// This node stops because another start of it lives: its state says so.
    pub fn note_twin(&mut self, other: BootId) {
        self.contested = Some(Contest { writer: self.boot, rival: Some(other) });
    }

    /// This node found that two starts of another live, or that this is over: all others are told.
    pub(super) fn on_found(&mut self, now: Instant, node: NodeId, twins: Option<[BootId; 2]>) {
        let before = match twins {
            Some(twins) => self.twins.insert(node, twins),
            None => self.twins.remove(&node),
        };
        if before != twins {
            self.announce(now);
        }
    }

    /// What this node's own state says of others.
    pub(super) fn found(&self) -> Vec<Found> {
        self.twins.iter().take(FOUND_MAX).map(|(&node, &twins)| Found { node, twins }).collect()
    }

    /// A state of another node is about to be taken: tells of whom it says that two starts live, and of whom no longer.
    pub(super) fn note_twins(&mut self, said: &Announcement) {
        let before = told(self.table.get(said.origin).map(LinkState::found), self.twins_of(said.origin));
        let own = said.contest.filter(|_| said.stopped).and_then(|contest| pair(said.origin, contest));
        let after = told(Some(&said.found), own);
        for (&node, _) in before.iter().filter(|(node, _)| !after.contains_key(node)) {
            self.outputs.push_back(Output::Twins { node, twins: None });
        }
        for (&node, &twins) in after.iter().filter(|(node, twins)| before.get(node) != Some(twins)) {
            self.outputs.push_back(Output::Twins { node, twins: Some(twins) });
        }
        if let Some(contest) = said.contest.filter(|_| !said.stopped) {
            self.outputs.push_back(Output::Heard { node: said.origin, boot: contest.writer });
        }
    }

    /// The two starts of a node that live, as its own state says: a node that stops for that says which.
    fn twins_of(&self, node: NodeId) -> Option<Found> {
        let state = self.table.get(node).filter(|state| state.is_stopped())?;
        pair(node, state.contest()?)
    }
}

fn pair(node: NodeId, contest: Contest) -> Option<Found> {
    let (one, other) = (contest.writer, contest.rival?);
    Some(Found { node, twins: [one.min(other), one.max(other)] })
}

fn told(found: Option<&[Found]>, own: Option<Found>) -> BTreeMap<NodeId, [BootId; 2]> {
    found.into_iter().flatten().copied().chain(own).map(|found| (found.node, found.twins)).collect()
}
