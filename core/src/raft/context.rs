//! What the replicas of a node share while one of them acts.

use alloc::boxed::Box;
use alloc::collections::{BTreeSet, VecDeque};

use super::config::Config;
use super::flow::Flows;
use super::group::Group;
use super::message::{Body, Message};
use super::{Output, Receipt, Written};
use crate::configuration::Member;
use crate::id::{GroupId, NodeId, ReplicaId, Term};
use crate::planted::Planted;
use crate::rng::Rng;
use crate::time::Instant;
use crate::when::When;

/// What a replica shares with all others of its node.
pub(super) struct Context<'a> {
    pub(super) now: Instant,
    pub(super) own: NodeId,
    pub(super) config: &'a Config,
    pub(super) rng: &'a mut Rng,
    pub(super) suspects: &'a BTreeSet<NodeId>,
    pub(super) planted: Planted,
    pub(super) out: &'a mut VecDeque<Output>,
    pub(super) held: &'a mut Held,
    /// What is under way to each node.
    pub(super) flows: &'a mut Flows,
    /// Leaders that are followed anew.
    pub(super) follows: &'a mut BTreeSet<NodeId>,
}

/// What waits for the writes of the step: it is polled behind them.
#[derive(Clone, Debug, Default)]
pub(super) struct Held {
    outputs: VecDeque<Output>,
    acknowledgements: VecDeque<Acknowledgement>,
}

/// What a group last answered to appends in this step.
#[derive(Clone, Debug)]
pub(super) struct Acknowledgement {
    pub(super) group: GroupId,
    pub(super) sender: ReplicaId,
    pub(super) life: u64,
    pub(super) era: u64,
    pub(super) to: Member,
    pub(super) term: Term,
    pub(super) reply: super::replication::Reply,
}

impl Acknowledgement {
    /// Whether `newer` says all that this one says: both found the logs equal, and ask for nothing.
    fn is_covered_by(&self, newer: &Self) -> bool {
        let plain = |one: &Self| one.reply.matched && !one.reply.more && !one.reply.waiting;
        let same = (self.group, self.sender, self.era, self.to, self.term)
            == (newer.group, newer.sender, newer.era, newer.to, newer.term);
        let further = newer.reply.number >= self.reply.number
            && newer.reply.place.index >= self.reply.place.index
            && newer.reply.round >= self.reply.round;
        same && further && plain(self) && plain(newer)
    }

    fn message(self) -> Output {
        let Self { group, sender, life, era, to, term, reply } = self;
        let addressee = Some(to.replica);
        let message = Box::new(Message { sender, addressee, term, life, era, body: reply.body() });
        Output::Send { to: to.node, group, message, when: When::Durable }
    }
}

impl Held {
    /// Keeps an answer to an append. Of several in one step that say the same, the last is enough.
    pub(super) fn acknowledge(&mut self, acknowledgement: Acknowledgement) {
        match self.acknowledgements.back_mut() {
            Some(last) if last.is_covered_by(&acknowledgement) => *last = acknowledgement,
            _ => self.acknowledgements.push_back(acknowledgement),
        }
    }

    /// The next thing that waited, once everything was given to be written.
    pub(super) fn pop(&mut self) -> Option<Output> {
        self.outputs.pop_front().or_else(|| self.acknowledgements.pop_front().map(Acknowledgement::message))
    }
}

impl Context<'_> {
    /// Sends a message, behind the writes of this step if it waits for them.
    pub(super) fn send(&mut self, to: NodeId, group: GroupId, message: Box<Message>, when: When) {
        let output = Output::Send { to, group, message, when };
        match when {
            When::Now => self.out.push_back(output),
            When::Durable => self.held.outputs.push_back(output),
        }
    }

    /// Wants to hear when everything of this step is durable.
    pub(super) fn notify(&mut self, group: &Group, what: Written) {
        let (group, generation) = (group.id, group.generation);
        self.held.outputs.push_back(Output::Notify(Receipt { group, generation, what }));
    }
}

impl super::replication::Reply {
    pub(super) fn body(self) -> Body {
        let Self { number, matched, place, more, waiting, round } = self;
        Body::AppendReply { number, matched, place, more, waiting, round }
    }
}
