//! How far a mesh is on its way to a whole.

use std::fmt;

use crate::machine::Machine;
use crate::process::{Process, State};
use crate::world::World;

/// Who has come in, and who knows everybody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// All nodes of the plan.
    pub nodes: usize,
    /// How many were told that they belong to the mesh.
    pub joined: usize,
    /// How many know all nodes as members.
    pub knowing: usize,
    /// What one that did not join waits for.
    pub waiting: Option<String>,
}

impl Standing {
    /// Whether the mesh is whole.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.joined == self.nodes && self.knowing == self.nodes
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { nodes, joined, knowing, waiting } = self;
        write!(f, "{joined} of {nodes} nodes had joined, {knowing} knew all")?;
        waiting.as_ref().map_or(Ok(()), |what| write!(f, "; {what}"))
    }
}

impl<M: Machine> World<M> {
    /// How far the mesh is.
    pub(crate) fn standing(&self) -> Standing {
        let nodes = self.processes.len();
        let knows_all = |process: &&Process<M>| {
            let machine = process.machine.as_ref().filter(|_| process.state == State::Up);
            machine.is_some_and(|machine| machine.member_count() == nodes)
        };
        let knowing = self.processes.iter().filter(knows_all).count();
        Standing { nodes, joined: self.workload.joined(), knowing, waiting: self.workload.unjoined() }
    }
}
