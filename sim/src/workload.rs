//! Everybody outside the nodes: tasks, publishers, handlers.

use wattle_core::id::{NodeId, RequestId};
use wattle_core::node::command::{Refusal, Reply};
use wattle_core::node::output::Delivery;
use wattle_core::update::UpdateDelivery;

use crate::changer::Changer;
use crate::checker::{Checked, Failure};
use crate::clerk::Clerk;
use crate::desk::{Call, Desk, actor_of};
use crate::event::Actor;
use crate::handler::Handler;
use crate::leaver::{Leaver, Return};
use crate::operator::Operator;
use crate::pauser::Pauser;
use crate::plan::Plan;
use crate::processor::Processor;
use crate::publisher::Publisher;
use crate::reader::Reader;
use crate::registrar::Registrar;
use crate::rotator::Rotator;
use crate::sealer::Sealer;
use crate::sender::Sender;
use crate::stopper::Stopper;
use crate::task::Task;

/// Of whom something is still wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owed {
    /// Of the mesh, by way of the node that was asked.
    Mesh {
        /// That node.
        at: usize,
    },
    /// Of the mesh, by way of the node that was asked: to open a stream of the plan.
    Opening {
        /// That node.
        at: usize,
        /// The stream.
        stream: usize,
    },
    /// Of the survivors of a lost quorum.
    Recovery,
    /// Of the mesh and of a stream, whose members are to change.
    Change {
        /// The stream.
        stream: usize,
    },
    /// Of a stream, by a publisher.
    Stream(usize),
    /// Of a stream, by the handler at one of its targets.
    Handler {
        /// That target.
        at: usize,
        /// The stream.
        stream: usize,
    },
}

/// All actors of a run.
#[derive(Debug)]
pub struct Workload {
    tasks: Vec<Task>,
    publishers: Vec<Publisher>,
    handlers: Vec<Handler>,
    readers: Vec<Reader>,
    registrars: Vec<Registrar>,
    senders: Vec<Sender>,
    processors: Vec<Processor>,
    clerks: Vec<Clerk>,
    leavers: Vec<Leaver>,
    stoppers: Vec<Stopper>,
    rotators: Vec<Rotator>,
    operator: Option<Operator>,
    sealer: Option<Sealer>,
    changer: Changer,
    pauser: Pauser,
}

impl Workload {
    /// The actors of a plan whose nodes have these ids.
    #[must_use]
    pub fn new(plan: &Plan, ids: &[NodeId]) -> Self {
        let mut publishers = Vec::new();
        for (stream, entry) in plan.streams.iter().enumerate() {
            for writer in 0..entry.publishers.len() {
                publishers.push(Publisher::new(plan.seed, publishers.len(), stream, entry, writer));
            }
        }
        let handler =
            |(number, &(stream, place)): (usize, &(usize, usize))| Handler::new(number, stream, place, plan);
        let handlers = plan.handlers().iter().enumerate().map(handler).collect();
        let registrars = (0..plan.registry.len()).map(|index| Registrar::new(index, plan, ids)).collect();
        let senders = (0..plan.sends().len()).map(|index| Sender::new(index, plan)).collect();
        let processors = Processor::all(plan.updates.as_ref(), plan.nodes.len());
        let clerks = plan.config.iter().enumerate().map(|(index, wish)| Clerk::new(index, *wish)).collect();
        let leavers = (0..plan.departures.len()).map(|index| Leaver::new(index, plan)).collect();
        let stoppers = (0..plan.stops.len()).map(|index| Stopper::new(index, plan)).collect();
        let rotators = (0..plan.rotations.len()).map(|index| Rotator::new(index, plan)).collect();
        Self {
            tasks: Task::all(plan),
            publishers,
            handlers,
            readers: Reader::all(plan),
            registrars,
            senders,
            processors,
            clerks,
            leavers,
            stoppers,
            rotators,
            operator: Operator::new(plan),
            sealer: Sealer::new(plan),
            changer: Changer::new(plan),
            pauser: Pauser::new(plan),
        }
    }

    /// Sets the first wakes.
    pub fn start(&mut self, desk: &mut Desk<'_>) {
        self.tasks.iter_mut().for_each(|task| task.start(desk));
        self.publishers.iter_mut().for_each(|publisher| publisher.start(desk));
        self.handlers.iter_mut().for_each(|handler| handler.start(desk));
        self.readers.iter_mut().for_each(|reader| reader.start(desk));
        self.registrars.iter_mut().for_each(|registrar| registrar.start(desk));
        self.senders.iter_mut().for_each(|sender| sender.start(desk));
        self.processors.iter_mut().for_each(|processor| processor.start(desk));
        self.clerks.iter_mut().for_each(|clerk| clerk.start(desk));
        self.leavers.iter_mut().for_each(|leaver| leaver.start(desk));
        self.stoppers.iter_mut().for_each(|stopper| stopper.start(desk));
        self.rotators.iter_mut().for_each(|rotator| rotator.start(desk));
        self.operator.iter_mut().for_each(|operator| operator.start(desk));
        self.sealer.iter_mut().for_each(|sealer| sealer.start(desk));
        self.changer.start(desk);
        self.pauser.start(desk);
    }

    /// Somebody goes on.
    ///
    /// # Errors
    /// A broken promise.
    pub fn wake(&mut self, desk: &mut Desk<'_>, actor: Actor, epoch: u64) -> Checked {
        match actor {
            Actor::Task(index) => {
                let mut waits_for = self.tasks[index].waits_for().into_iter().flatten();
                let ready = waits_for.all(|task| self.tasks[task].done());
                self.tasks[index].wake(desk, epoch, ready);
            }
            Actor::Publisher(index) => self.publishers[index].wake(desk, epoch),
            Actor::Handler(index) => self.handlers[index].wake(desk, epoch)?,
            Actor::Reader(index) => self.readers[index].wake(desk, epoch),
            Actor::Registrar(index) => self.registrars[index].wake(desk),
            Actor::Sender(index) => self.senders[index].wake(desk, epoch),
            Actor::Processor(index) => self.processors[index].wake(desk, epoch),
            Actor::Clerk(index) => self.clerks[index].wake(desk),
            Actor::Operator(1) => {
                let ready = self.all_joined();
                self.sealer.iter_mut().for_each(|sealer| sealer.wake(desk, epoch, ready));
            }
            Actor::Operator(2) => {
                let ready = self.all_joined();
                self.changer.wake(desk, epoch, ready);
            }
            Actor::Operator(3) => {
                let ready = self.all_joined();
                self.pauser.wake(desk, epoch, ready);
            }
            Actor::Operator(_) => {
                let ready = self.all_joined();
                self.operator.iter_mut().for_each(|operator| operator.wake(desk, epoch, ready));
            }
            Actor::Stopper(index) => {
                let ready = self.all_joined();
                self.stoppers[index].wake(desk, epoch, ready);
            }
            Actor::Rotator(index) => {
                let ready = self.all_joined();
                self.rotators[index].wake(desk, epoch, ready);
            }
            Actor::Leaver(index) => {
                let ready = self.all_joined();
                if let Some(Return { node, through }) = self.leavers[index].wake(desk, epoch, ready) {
                    self.rejoins(desk, node, through, true);
                }
            }
        }
        Ok(())
    }

    /// A node answers somebody.
    ///
    /// # Errors
    /// A broken promise.
    pub fn reply(
        &mut self,
        desk: &mut Desk<'_>,
        request: RequestId,
        reply: &Result<Reply, Refusal>,
    ) -> Checked {
        match actor_of(request) {
            Some(Actor::Task(index)) => self.tasks[index].reply(desk, request, reply),
            Some(Actor::Publisher(index)) => self.publishers[index].reply(desk, request, reply),
            Some(Actor::Handler(index)) => self.handlers[index].reply(desk, request, reply),
            Some(Actor::Reader(index)) => self.readers[index].reply(desk, request, reply),
            Some(Actor::Registrar(index)) => {
                self.registrars[index].reply(desk, request, reply);
                Ok(())
            }
            Some(Actor::Sender(index)) => self.senders[index].reply(desk, request, reply),
            Some(Actor::Processor(index)) => self.processors[index].reply(desk, request, reply),
            Some(Actor::Clerk(index)) => self.clerks[index].reply(desk, request, reply),
            Some(Actor::Leaver(index)) => {
                self.leavers[index].reply(desk, request, reply);
                Ok(())
            }
            Some(Actor::Rotator(index)) => {
                self.rotators[index].reply(desk, request, reply);
                Ok(())
            }
            Some(Actor::Stopper(index)) => {
                self.stoppers[index].reply(desk, request, reply);
                Ok(())
            }
            Some(Actor::Operator(1)) => {
                self.sealer.as_mut().map_or(Ok(()), |sealer| sealer.reply(desk, request, reply))
            }
            Some(Actor::Operator(2)) => self.changer.reply(desk, request, reply),
            Some(Actor::Operator(3)) => self.pauser.reply(desk, request, reply),
            Some(Actor::Operator(_)) => {
                self.operator.iter_mut().for_each(|operator| operator.reply(desk, request, reply));
                Ok(())
            }
            None => Err(Failure::new(
                "X4",
                format!("an answer to request {request}, which nobody made: {reply:?}"),
            )),
        }
    }

    /// A node hands messages over.
    ///
    /// # Errors
    /// A broken promise.
    pub fn delivered(&mut self, desk: &mut Desk<'_>, node: usize, delivery: &Delivery) -> Checked {
        if let Some(reader) = self.readers.iter_mut().find(|reader| reader.has(node, delivery.token)) {
            return reader.delivered(desk, delivery);
        }
        let index = desk.books.streams.iter().position(|stream| stream.instance() == Some(delivery.instance));
        let mut handlers = self.handlers.iter_mut();
        match handlers.find(|handler| Some(handler.stream()) == index && handler.node() == node) {
            Some(handler) => handler.delivered(desk, delivery),
            None => {
                Err(Failure::new("X1", format!("a call for {}, which is no known stream", delivery.instance)))
            }
        }
    }

    /// A node hands updates over.
    ///
    /// # Errors
    /// A broken promise.
    pub fn updates_delivered(
        &mut self,
        desk: &mut Desk<'_>,
        node: usize,
        delivery: &UpdateDelivery,
    ) -> Checked {
        match self.processors.get_mut(2 * node + delivery.kind.index()) {
            Some(processor) => processor.delivered(desk, delivery),
            None => Err(Failure::new("X24", format!("updates at node {node}, where nobody attached"))),
        }
    }

    /// A call is about to be taken by a node.
    pub fn arrives(&mut self, desk: &mut Desk<'_>, node: usize, call: &Call) {
        for handler in self.handlers.iter_mut().filter(|handler| handler.node() == node) {
            handler.arrives(desk, call);
        }
        for processor in self.processors.iter().filter(|processor| processor.node() == node) {
            processor.arrives(desk, call);
        }
    }

    /// A call found its node down.
    pub fn unreachable(&mut self, desk: &mut Desk<'_>, node: usize, call: &Call) {
        let Call::Command(request, _) = *call else { return };
        match actor_of(request) {
            Some(Actor::Task(index)) => self.tasks[index].lost(desk, Some(request), node),
            Some(Actor::Publisher(index)) => self.publishers[index].lost(desk, Some(request), node),
            Some(Actor::Handler(index)) => self.handlers[index].lost(desk, Some(request), node),
            Some(Actor::Reader(index)) => self.readers[index].lost(desk, Some(request), node),
            Some(Actor::Sender(index)) => self.senders[index].lost(desk, Some(request), node),
            Some(Actor::Processor(index)) => self.processors[index].lost(desk, Some(request), node),
            Some(Actor::Leaver(index)) => self.leavers[index].lost(desk, Some(request), node),
            Some(Actor::Stopper(index)) => self.stoppers[index].lost(desk, Some(request), node),
            Some(Actor::Rotator(index)) => self.rotators[index].lost(desk, Some(request), node),
            Some(Actor::Operator(1)) => {
                self.sealer.iter_mut().for_each(|sealer| sealer.lost(desk, Some(request), node));
            }
            Some(Actor::Operator(2)) => self.changer.lost(desk, Some(request), node),
            Some(Actor::Operator(3)) => self.pauser.lost(desk, Some(request), node),
            Some(Actor::Operator(_)) => {
                self.operator.iter_mut().for_each(|operator| operator.lost(desk, Some(request), node));
            }
            Some(Actor::Registrar(_) | Actor::Clerk(_)) | None => {}
        }
    }

    /// A node is gone, with every open call and attachment.
    pub fn node_down(&mut self, desk: &mut Desk<'_>, node: usize) {
        self.tasks.iter_mut().for_each(|task| task.lost(desk, None, node));
        self.publishers.iter_mut().for_each(|publisher| publisher.lost(desk, None, node));
        self.handlers.iter_mut().for_each(|handler| handler.lost(desk, None, node));
        self.readers.iter_mut().for_each(|reader| reader.lost(desk, None, node));
        self.senders.iter_mut().for_each(|sender| sender.lost(desk, None, node));
        self.processors.iter_mut().for_each(|processor| processor.lost(desk, None, node));
        self.leavers.iter_mut().for_each(|leaver| leaver.lost(desk, None, node));
        self.stoppers.iter_mut().for_each(|stopper| stopper.lost(desk, None, node));
        self.rotators.iter_mut().for_each(|rotator| rotator.lost(desk, None, node));
        self.operator.iter_mut().for_each(|operator| operator.lost(desk, None, node));
        self.sealer.iter_mut().for_each(|sealer| sealer.lost(desk, None, node));
        self.changer.lost(desk, None, node);
        self.pauser.lost(desk, None, node);
    }

    /// A node's disk was taken back.
    pub fn taken_back(&mut self, desk: &mut Desk<'_>, node: usize) {
        self.stoppers.iter_mut().for_each(|stopper| stopper.taken_back(desk, node));
    }

    /// A node is no member any more and joins again, through another. `evicted`: it may not know yet that it is none.
    pub fn rejoins(&mut self, desk: &mut Desk<'_>, node: usize, through: usize, evicted: bool) {
        let mut own = self.tasks.iter_mut().filter(|task| task.is_joining());
        if let Some(task) = own.nth(node) {
            task.join_again(desk, through, evicted);
        }
    }

    /// A stream that was opened is known to nobody any more: whoever opened it does so again.
    pub fn opens_again(&mut self, desk: &mut Desk<'_>, stream: usize) {
        let task = self.tasks.iter_mut().find(|task| task.opens(stream));
        if let Some(task) = task.filter(|task| task.done()) {
            task.begin_again(desk);
        }
    }

    /// All faults are over.
    pub fn heal(&mut self, desk: &mut Desk<'_>) {
        self.tasks.iter_mut().for_each(|task| task.heal(desk));
        self.publishers.iter_mut().for_each(|publisher| publisher.heal(desk));
        self.handlers.iter_mut().for_each(|handler| handler.heal(desk));
        self.senders.iter_mut().for_each(|sender| sender.heal(desk));
        self.processors.iter_mut().for_each(|processor| processor.heal(desk));
        self.leavers.iter_mut().for_each(|leaver| leaver.heal(desk));
        self.stoppers.iter_mut().for_each(|stopper| stopper.heal(desk));
        self.operator.iter_mut().for_each(|operator| operator.heal(desk));
        self.sealer.iter_mut().for_each(|sealer| sealer.heal(desk));
        self.changer.heal(desk);
        self.pauser.heal(desk);
    }

    /// Whether every node was told that it belongs to the mesh.
    #[must_use]
    pub fn all_joined(&self) -> bool {
        self.tasks.iter().filter(|task| task.is_joining()).all(Task::done)
    }

    /// How many nodes were told so.
    #[must_use]
    pub fn joined(&self) -> usize {
        self.tasks.iter().filter(|task| task.is_joining() && task.done()).count()
    }

    /// What one that was not told so waits for, in words.
    #[must_use]
    pub fn unjoined(&self) -> Option<String> {
        self.tasks.iter().filter(|task| task.is_joining()).find_map(Task::owed)
    }

    /// What somebody still wants, in words, and of whom.
    pub fn owed(&self) -> impl Iterator<Item = (Owed, String)> + '_ {
        let tasks = self.tasks.iter();
        let from = |task: &Task| match task.opening() {
            Some(stream) => Owed::Opening { at: task.node(), stream },
            None => Owed::Mesh { at: task.node() },
        };
        let tasks = tasks.filter_map(move |task| task.owed().map(|what| (from(task), what)));
        let leavers = self.leavers.iter();
        let leavers = leavers.filter_map(|l| l.owed().map(|what| (Owed::Mesh { at: l.node() }, what)));
        let stoppers = self.stoppers.iter();
        let stoppers = stoppers.filter_map(|s| s.owed().map(|what| (Owed::Mesh { at: s.node() }, what)));
        let operator =
            self.operator.iter().filter_map(|operator| operator.owed().map(|what| (Owed::Recovery, what)));
        let sealer = self.sealer.iter().filter_map(|sealer| sealer.owed().map(|what| (Owed::Recovery, what)));
        let changer = self.changer.owed().map(|(stream, what)| (Owed::Change { stream }, what));
        let pauser = self.pauser.owed().map(|what| (Owed::Recovery, what));
        let publishers = self.publishers.iter();
        let publishers = publishers.filter_map(|p| p.owed().map(|what| (Owed::Stream(p.stream()), what)));
        let handlers = self.handlers.iter();
        let whose = |handler: &Handler| Owed::Handler { at: handler.node(), stream: handler.stream() };
        let handlers = handlers.filter_map(move |h| h.owed().map(|what| (whose(h), what)));
        let senders = self.senders.iter();
        let senders = senders.filter_map(|s| s.owed().map(|what| (Owed::Mesh { at: s.node() }, what)));
        let processors = self.processors.iter();
        let processors = processors.filter_map(|p| p.owed().map(|what| (Owed::Mesh { at: p.node() }, what)));
        tasks
            .chain(leavers)
            .chain(stoppers)
            .chain(operator)
            .chain(sealer)
            .chain(changer)
            .chain(pauser)
            .chain(publishers)
            .chain(handlers)
            .chain(senders)
            .chain(processors)
    }
}
