//! Nodes that say that they stop. A link state carries the word: it reaches everybody the stopping node reaches, whoever comes later has it
//! from its neighbours, and what the node says when it goes on replaces it.

use super::Output;
use super::message::LinkState;
use super::routes::Routes;
use crate::id::NodeId;
use crate::sometimes;
use crate::time::Instant;

impl Routes {
    /// This node stops, or goes on: the others are told at once.
    pub(super) fn on_stopped(&mut self, now: Instant, stopped: bool) {
        if self.stopped != stopped {
            self.stopped = stopped;
            self.announce(now);
        }
    }

    /// A state of another node is about to be taken: tells if that stopped, or goes on.
    pub(super) fn note_stopped(&mut self, node: NodeId, stopped: bool) {
        if self.is_stopped(node) != stopped {
            sometimes!(NodeSaidItStops, stopped);
            self.outputs.push_back(Output::Stopped { node, stopped });
        }
    }

    /// Whether a node says that it is stopped.
    #[must_use]
    pub fn is_stopped(&self, node: NodeId) -> bool {
        self.table.get(node).is_some_and(LinkState::is_stopped)
    }
}
