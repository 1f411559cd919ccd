//! The desk at which those outside the nodes (tasks, publishers, handlers) do their business: it carries their calls to the nodes,
//! wakes them, and keeps the ledgers by which the promises are judged.

use wattle_core::flow::Failed;
use wattle_core::id::{AttachToken, NodeId, RequestId, Sequence};
use wattle_core::members::StreamMembers;
use wattle_core::node::Input;
use wattle_core::node::command::Command;
use wattle_core::sealing::Sealed;

use crate::checker::{
    Agreement, Checked, Configuration, Departures, Failures, Flows, Handling, Idle, Keys, Logs, Members,
    Recoveries, Registry, Seals, Stops, StreamLedger, UpdateLedger, Votes,
};
use crate::event::{Actor, Event, MICRO, MILLI, Queue, Time};
use crate::plan::{Change, ScopePlan};
use crate::random::{Draws, Purpose};

/// What is said to a node.
#[derive(Clone, Debug)]
pub enum Call {
    /// A command.
    Command(RequestId, Command),
    /// A handler's success.
    Verdict(AttachToken, u64),
    /// A handler failed at a message.
    Failed(AttachToken, u64),
    /// A handler processed a message that was parked.
    Retried(AttachToken, u64),
    /// A handler took so many bytes of pieces.
    Took(AttachToken, u64),
    /// A handler leaves.
    Detach(AttachToken),
}

impl Call {
    /// The call as a node takes it.
    #[must_use]
    pub fn into_input(self) -> Input {
        match self {
            Self::Command(request, command) => Input::Command { request, command },
            Self::Took(token, bytes) => Input::Took { token, bytes },
            Self::Failed(token, sequence) => {
                let reason = format!("message {sequence} is not wanted");
                Input::Failed { token, sequence: Sequence(sequence), reason }
            }
            Self::Retried(token, sequence) => Input::Retried { token, sequence: Sequence(sequence) },
            Self::Verdict(token, upto) => Input::Verdict { token, upto: Sequence(upto) },
            Self::Detach(token) => Input::Detach { token },
        }
    }
}

/// Calls under way to nodes.
#[derive(Debug, Default)]
pub struct Calls {
    slots: Vec<Option<(usize, Call)>>,
    free: Vec<usize>,
}

impl Calls {
    fn put(&mut self, node: usize, call: Call) -> usize {
        if let Some(slot) = self.free.pop() {
            self.slots[slot] = Some((node, call));
            return slot;
        }
        self.slots.push(Some((node, call)));
        self.slots.len() - 1
    }

    /// The node that a call is for.
    #[must_use]
    pub fn node(&self, slot: usize) -> Option<usize> {
        self.slots[slot].as_ref().map(|(node, _)| *node)
    }

    /// Takes a call that arrived.
    pub fn take(&mut self, slot: usize) -> Option<(usize, Call)> {
        let call = self.slots[slot].take()?;
        self.free.push(slot);
        Some(call)
    }
}

const ORDINAL_BITS: u32 = 40;
const INDEX_BITS: u32 = 16;

/// The name of an actor's request.
#[must_use]
pub fn request_of(actor: Actor, ordinal: u64) -> RequestId {
    let (kind, index) = match actor {
        Actor::Task(index) => (1, index),
        Actor::Publisher(index) => (2, index),
        Actor::Handler(index) => (3, index),
        Actor::Registrar(index) => (4, index),
        Actor::Sender(index) => (10, index),
        Actor::Processor(index) => (11, index),
        Actor::Clerk(index) => (5, index),
        Actor::Leaver(index) => (90, index),
        Actor::Stopper(index) => (91, index),
        Actor::Rotator(index) => (94, index),
        Actor::Operator(index) => (160, index),
        Actor::Reader(index) => (170, index),
    };
    RequestId(kind << (ORDINAL_BITS + INDEX_BITS) | (index as u64) << ORDINAL_BITS | ordinal)
}

/// Whose request it is.
#[must_use]
pub fn actor_of(request: RequestId) -> Option<Actor> {
    let index = (request.0 >> ORDINAL_BITS) as usize & ((1 << INDEX_BITS) - 1);
    match request.0 >> (ORDINAL_BITS + INDEX_BITS) {
        1 => Some(Actor::Task(index)),
        2 => Some(Actor::Publisher(index)),
        3 => Some(Actor::Handler(index)),
        4 => Some(Actor::Registrar(index)),
        10 => Some(Actor::Sender(index)),
        11 => Some(Actor::Processor(index)),
        5 => Some(Actor::Clerk(index)),
        90 => Some(Actor::Leaver(index)),
        91 => Some(Actor::Stopper(index)),
        94 => Some(Actor::Rotator(index)),
        160 => Some(Actor::Operator(index)),
        170 => Some(Actor::Reader(index)),
        _ => None,
    }
}

/// What is known outside the nodes, and by which the promises are judged.
#[derive(Debug)]
pub struct Books {
    /// Who is who: the id of each node.
    pub ids: Vec<NodeId>,
    /// One ledger per stream of the plan.
    pub streams: Vec<StreamLedger>,
    /// The calls of each stream's handler.
    pub handlings: Vec<Handling>,
    /// What nodes agree on.
    pub agreement: Agreement,
    /// What was told of contested names.
    pub registry: Registry,
    /// What was sent to all members.
    pub updates: UpdateLedger,
    /// What was told of agreed configuration.
    pub configuration: Configuration,
    /// Who is no member any more.
    pub departures: Departures,
    /// Who goes on without whom.
    pub recoveries: Recoveries,
    /// Which streams are sealed.
    pub seals: Seals,
    /// How the members of streams changed.
    pub members: Members,
    /// Which streams are paused.
    pub flows: Flows,
    /// Which streams failed.
    pub failures: Failures,
    /// Whose handlers stand still.
    pub idle: Idle,
    /// Who was told to take no part for a while.
    pub stops: Stops,
    /// What was told of keys that give way.
    pub keys: Keys,
    /// What groups committed.
    pub logs: Logs,
    /// Who voted for whom.
    pub votes: Votes,
    /// Whether a disk lost something in this run that it had reported safe, so that a stream may stop.
    pub may_stop: bool,
}

impl Books {
    /// Somebody says how far a stream is sealed.
    ///
    /// # Errors
    /// X28.
    pub fn sealed(&mut self, stream: usize, sealed: &Sealed) -> Checked {
        self.seals.told(stream, sealed)?;
        let lost = sealed.lost.iter().filter_map(|lost| self.ids.iter().position(|id| id == lost));
        self.streams[stream].sealed(lost, self.seals.end(stream))
    }

    /// A node, perhaps the source, says that a stream failed: it takes nothing in until somebody asks for a resume, if nobody has yet.
    ///
    /// # Errors
    /// X42.
    pub fn stream_failed(&mut self, stream: usize, failed: &Failed, at_source: bool) -> Checked {
        let node = self.ids.iter().position(|id| *id == failed.target);
        let (place, attempts) = self.streams[stream].fails_at(node);
        let stands = self.failures.told(stream, place, failed, attempts)?;
        if let Some(name) = self.streams[stream].name().filter(|_| stands && at_source) {
            self.flows.failed(stream, &ScopePlan::Stream(name));
        }
        Ok(())
    }

    /// An operator asks for a target to be taken out of a stream.
    pub fn asks_for_change(&mut self, stream: usize, node: usize, change: Change) {
        if change.adds() {
            self.streams[stream].may_come(node);
            return self.members.asked_in(stream, self.ids[node]);
        }
        self.members.asked(stream, self.ids[node]);
        self.streams[stream].may_leave(node, change);
    }

    /// Somebody says how the members of a stream changed, or are to.
    ///
    /// # Errors
    /// X30, X32, X43.
    pub fn changed(&mut self, stream: usize, members: &StreamMembers) -> Checked {
        for (node, first) in self.members.told_added(stream, members)? {
            let node = self.ids.iter().position(|id| *id == node);
            let place = node.and_then(|node| self.streams[stream].place_of(node));
            if let Some(place) = place {
                self.streams[stream].joins(place, first)?;
            }
        }
        for out in self.members.told(stream, members)? {
            let Some(node) = self.ids.iter().position(|id| *id == out) else { continue };
            self.streams[stream].taken_out(node)?;
            self.idle.taken_out(stream, out, &self.streams[stream])?;
        }
        Ok(())
    }

    /// The target of a stream on that node stands still for about as long as that bears: from now on it may be detached, as if somebody had asked for that.
    pub fn stands_still(&mut self, stream: usize, node: usize) {
        self.members.may_go(stream, self.ids[node]);
        self.streams[stream].may_leave(node, Change::Detach);
        self.idle.stands_still(stream, self.ids[node]);
    }
}

/// The desk, for the length of one event.
pub struct Desk<'a> {
    /// The present moment.
    pub now: Time,
    /// The root of all random streams.
    pub seed: u64,
    /// Whether all faults are over.
    pub healed: bool,
    /// Who leads the control group, as far as anybody said.
    pub leader: Option<usize>,
    /// What will happen.
    pub queue: &'a mut Queue,
    /// Calls under way.
    pub calls: &'a mut Calls,
    /// The books.
    pub books: &'a mut Books,
}

impl Desk<'_> {
    /// Sends a call to a node; it takes a moment.
    pub fn call(&mut self, node: usize, call: Call) {
        let time = self.travels(&call);
        let slot = self.calls.put(node, call);
        self.queue.push(self.now + time, Event::Call { slot });
    }

    /// Sends two calls of which the second must not overtake the first.
    pub fn call_in_order(&mut self, node: usize, call: Call, last: &mut Time) {
        *last = (self.now + self.travels(&call)).max(*last + 1);
        let slot = self.calls.put(node, call);
        self.queue.push(*last, Event::Call { slot });
    }

    /// How long a call travels: drawn for itself, whatever else is under way.
    fn travels(&self, call: &Call) -> Time {
        let (who, ordinal) = match *call {
            Call::Command(request, _) => (request.0, 0),
            Call::Verdict(token, upto)
            | Call::Took(token, upto)
            | Call::Failed(token, upto)
            | Call::Retried(token, upto) => (token.0, upto),
            Call::Detach(token) => (token.0, u64::MAX),
        };
        Draws::new(self.seed, Purpose::Call, who, ordinal).spread(5 * MICRO, MILLI)
    }

    /// Wakes an actor later.
    pub fn wake(&mut self, actor: Actor, epoch: u64, after: Time) {
        self.queue.push(self.now + after, Event::Wake { actor, epoch });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_leads_back_to_its_actor() {
        for actor in [
            Actor::Task(0),
            Actor::Publisher(65_535),
            Actor::Handler(3),
            Actor::Registrar(9),
            Actor::Clerk(7),
            Actor::Leaver(1),
            Actor::Operator(0),
            Actor::Stopper(2),
            Actor::Rotator(3),
            Actor::Sender(1),
            Actor::Processor(7),
            Actor::Reader(4),
        ] {
            assert_eq!(actor_of(request_of(actor, (1 << 40) - 1)), Some(actor));
        }
        assert_eq!(actor_of(RequestId(5)), None);
    }
}
