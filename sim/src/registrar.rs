//! Those who open and close contested names of streams: each asks once, and one order must explain what all of them were told.

use wattle_core::ends::Terms;
use wattle_core::id::{NodeId, RequestId};
use wattle_core::node::command::{Command, Refusal, Reply};

use crate::checker::{Told, Wished};
use crate::desk::{Call, Desk, request_of};
use crate::event::Actor;
use crate::plan::{Plan, RegistryPlan, Wish};

/// One wish, asked once.
#[derive(Debug)]
pub(crate) struct Registrar {
    index: usize,
    plan: RegistryPlan,
    command: Command,
    wished: Wished,
}

impl Registrar {
    /// The wish in that place of a plan.
    #[must_use]
    pub(crate) fn new(index: usize, plan: &Plan, ids: &[NodeId]) -> Self {
        let entry = plan.registry[index];
        let name = format!("contested-{}", entry.name);
        let (command, wished) = match entry.wish {
            Wish::Open { source, target } => {
                let named = |node: usize| plan.nodes[node].name.clone();
                let targets = vec![named(target)];
                let ends = (ids[source], ids[target]);
                let source = named(source);
                let command = Command::OpenStream { name, source, targets, terms: Terms::default() };
                (command, Wished::Open(ends))
            }
            Wish::Close => (Command::CloseStream { name }, Wished::Close),
        };
        Self { index, plan: entry, command, wished }
    }

    /// Sets its only wake.
    pub(crate) fn start(&mut self, desk: &mut Desk<'_>) {
        desk.wake(Actor::Registrar(self.index), 0, self.plan.at);
    }

    /// Asks.
    pub(crate) fn wake(&mut self, desk: &mut Desk<'_>) {
        desk.books.registry.asks(self.index, self.plan.name, desk.now, self.wished);
        let request = request_of(Actor::Registrar(self.index), 0);
        let node = desk.leader.filter(|_| self.plan.leader).unwrap_or(self.plan.node);
        desk.call(node, Call::Command(request, self.command.clone()));
    }

    /// A node answers. What it refuses for other reasons than what the name stands for may have happened all the same.
    pub(crate) fn reply(&mut self, desk: &mut Desk<'_>, request: RequestId, reply: &Result<Reply, Refusal>) {
        debug_assert_eq!(request, request_of(Actor::Registrar(self.index), 0));
        let told = match reply {
            Ok(Reply::StreamOpened { instance, created }) => Told::Opened(*instance, *created),
            Ok(Reply::StreamClosed) => Told::Closed,
            Err(Refusal::OpenElsewhere { ends, .. }) => Told::Elsewhere((ends.source, ends.targets[0])),
            Err(Refusal::UnknownStream(_)) => Told::Absent,
            _ => return,
        };
        desk.books.registry.told(self.index, desk.now, told);
    }
}
