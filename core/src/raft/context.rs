//! What the replicas of a node share while one of them acts.

use alloc::boxed::Box;
use alloc::collections::{BTreeSet, VecDeque};

use super::config::Config;
use super::flow::Flows;
use super::group::Group;
use super::message::{Body, Message};
use super::shelf::Shelf;
use super::{Output, Receipt, Write, Written};
use crate::id::{GroupId, LogIndex, NodeId};
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
    /// Names histories of logs.
    pub(super) histories: &'a mut Rng,
    pub(super) suspects: &'a BTreeSet<NodeId>,
    pub(super) planted: Planted,
    pub(super) out: &'a mut VecDeque<Output>,
    pub(super) held: &'a mut Held,
    /// What is under way to each node.
    pub(super) flows: &'a mut Flows,
    /// What is read back from the disk.
    pub(super) shelf: &'a mut Shelf,
    /// Leaders that are followed anew.
    pub(super) follows: &'a mut BTreeSet<NodeId>,
}

/// What waits for the writes of the step: it is polled behind them.
#[derive(Clone, Debug, Default)]
pub(super) struct Held {
    outputs: VecDeque<Output>,
    acknowledgements: VecDeque<Acknowledgement>,
}

/// An answer to an append.
#[derive(Clone, Debug)]
pub(super) struct Acknowledgement {
    pub(super) group: GroupId,
    pub(super) to: NodeId,
    pub(super) message: Box<Message>,
}

impl Acknowledgement {
    /// Whether `newer` says all that this one says: both found the logs equal, and ask for nothing.
    fn is_covered_by(&self, newer: &Self) -> bool {
        let (one, other) = (&*self.message, &*newer.message);
        let (Some((number, index, round)), Some(further)) = (plain(&one.body), plain(&other.body)) else {
            return false;
        };
        let same = (self.group, self.to, one.sender, one.addressee)
            == (newer.group, newer.to, other.sender, other.addressee)
            && (one.era, one.term) == (other.era, other.term);
        same && further.0 >= number && further.1 >= index && further.2 >= round
    }
}

/// Of an answer that found the logs equal and asks for nothing: to which append, up to where, in which round of reads.
fn plain(body: &Body) -> Option<(u64, LogIndex, u64)> {
    match body {
        &Body::AppendReply { number, matched: true, place, more: false, waiting: false, round, .. } => {
            Some((number, place.index, round))
        }
        _ => None,
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
        let next = self.outputs.pop_front();
        if next.is_some() {
            return next;
        }
        let Acknowledgement { group, to, message } = self.acknowledgements.pop_front()?;
        Some(Output::Send { to, group, message, when: When::Durable })
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

    /// Something of a group is to be written, with what is to be remembered of its members.
    pub(super) fn write(&mut self, write: Write) {
        self.out.push_back(Output::Persist(write));
    }

    /// Wants to hear when everything of this step is durable.
    pub(super) fn notify(&mut self, group: &Group, what: Written) {
        let (group, generation) = (group.id, group.generation);
        self.held.outputs.push_back(Output::Notify(Receipt { group, generation, what }));
    }
}

impl super::replication::Reply {
    pub(super) fn body(self) -> Body {
        let Self { number, matched, place, more, waiting, round, fed } = self;
        Body::AppendReply { number, matched, place, more, waiting, round, fed }
    }
}
