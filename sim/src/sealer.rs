//! An operator who lost nodes for good, and with them the quorum of streams, and has these sealed: asks until each is settled. What was not begun when they
//! come back is let be.

use std::collections::VecDeque;

use wattle_core::id::RequestId;
use wattle_core::node::command::{Command, Refusal, Reply};
use wattle_core::sealing::SealRefusal;

use crate::checker::Checked;
use crate::desk::{Call, Desk, request_of};
use crate::event::{Actor, MILLI, SECOND, Time};
use crate::plan::{Plan, SealPlan, StreamPlan};
use crate::random::{Draws, Purpose};

/// Beside the operator of a lost quorum.
const ACTOR: Actor = Actor::Operator(1);

/// The operator.
#[derive(Debug)]
pub(crate) struct Sealer {
    plan: SealPlan,
    /// The streams that are to be sealed, in the order in which they are asked for, their names, and who of their ends is lost.
    left: VecDeque<(usize, String, Vec<String>)>,
    asked: Option<(RequestId, Time)>,
    epoch: u64,
    ordinal: u64,
    trouble: String,
}

impl Sealer {
    /// The operator of a plan, if it has one.
    pub(crate) fn new(plan: &Plan) -> Option<Self> {
        let seal = plan.seal.clone()?;
        let lost = seal.lost();
        // While its members change fewer may be enough.
        let changes = |stream: &StreamPlan| {
            plan.changes.iter().any(|change| change.stream == stream.name)
                && stream.ends().any(|node| lost.contains(&node))
        };
        let sealed = |stream: &StreamPlan| stream.needs_seal(&lost) || changes(stream);
        let streams = plan.streams.iter().enumerate().filter(|(_, stream)| sealed(stream));
        let named = |stream: &StreamPlan| {
            let ends = stream.ends().filter(|node| lost.contains(node));
            ends.map(|node| plan.nodes[node].name.clone()).collect()
        };
        Some(Self {
            plan: seal,
            left: streams.map(|(index, stream)| (index, stream.name.clone(), named(stream))).collect(),
            asked: None,
            epoch: 0,
            ordinal: 0,
            trouble: "never asked".into(),
        })
    }

    /// What is left to do, in words.
    pub(crate) fn owed(&self) -> Option<String> {
        let (_, name, lost) = self.left.front()?;
        Some(format!("stream {name} is to be sealed without {}: {}", lost.join(", "), self.trouble))
    }

    /// Sets the first wake.
    pub(crate) fn start(&mut self, desk: &mut Desk<'_>) {
        self.sleep(desk, self.plan.at);
    }

    fn sleep(&mut self, desk: &mut Desk<'_>, time: Time) {
        self.epoch += 1;
        desk.wake(ACTOR, self.epoch, time);
    }

    fn rest(&mut self, desk: &mut Desk<'_>) {
        self.asked = None;
        self.left.rotate_left(usize::from(!self.left.is_empty()));
        self.ordinal += 1;
        let mut draws = Draws::new(desk.seed, Purpose::Seal, 1, self.ordinal);
        self.sleep(desk, draws.between(50 * MILLI, 600 * MILLI));
    }

    /// Goes on. `ready` tells whether all nodes were members.
    pub(crate) fn wake(&mut self, desk: &mut Desk<'_>, epoch: u64, ready: bool) {
        let Some((stream, name, lost)) = self.left.front().cloned().filter(|_| epoch == self.epoch) else {
            return;
        };
        if self.asked.is_some_and(|(_, until)| desk.now < until) {
            return self.sleep(desk, 100 * MILLI);
        }
        // A stream that nobody knows of yet cannot be divided either.
        let Some(instance) = desk.books.streams[stream].instance().filter(|_| ready) else {
            if desk.healed {
                self.left.pop_front();
            }
            return self.rest(desk);
        };
        desk.books.seals.asked(stream);
        desk.books.streams[stream].may_be_lost(self.plan.lost().into_iter());
        // The lost may go on, and so may the others: which of them is right is judged by the book of seals.
        desk.books.logs.divides(instance.into());
        self.ordinal += 1;
        let request = request_of(ACTOR, self.ordinal);
        self.asked = Some((request, desk.now + 12 * SECOND));
        desk.call(self.plan.asked_at, Call::Command(request, Command::SealStream { name, lost }));
        self.sleep(desk, 100 * MILLI);
    }

    /// A node answers.
    ///
    /// # Errors
    /// X28.
    pub(crate) fn reply(
        &mut self,
        desk: &mut Desk<'_>,
        request: RequestId,
        reply: &Result<Reply, Refusal>,
    ) -> Checked {
        if self.asked.is_none_or(|(asked, _)| asked != request) {
            return Ok(());
        }
        let Some(&(stream, ..)) = self.left.front() else { return Ok(()) };
        match reply {
            Ok(Reply::StreamSealed { sealed, .. }) => {
                desk.books.sealed(stream, sealed)?;
                if sealed.sequence.is_some() {
                    self.left.pop_front();
                }
            }
            // It is back, and nothing was begun.
            Err(Refusal::Seal(SealRefusal::LostReachable(_))) if desk.healed => drop(self.left.pop_front()),
            // The stream goes on without them, or who was lost is out of it.
            Err(Refusal::Seal(SealRefusal::Quorum(_) | SealRefusal::NotOfStream(_))) if desk.healed => {
                drop(self.left.pop_front());
            }
            _ => {}
        }
        if let Err(refusal) = reply {
            self.trouble = refusal.to_string();
        }
        self.rest(desk);
        Ok(())
    }

    /// The node that was asked is gone, or was not there.
    pub(crate) fn lost(&mut self, desk: &mut Desk<'_>, request: Option<RequestId>, node: usize) {
        let Some((asked, _)) = self.asked else { return };
        if request.map_or(node == self.plan.asked_at, |request| request == asked) {
            self.trouble = "the node went down".into();
            self.rest(desk);
        }
    }

    /// All faults are over.
    pub(crate) fn heal(&mut self, desk: &mut Desk<'_>) {
        if self.asked.is_none() {
            self.sleep(desk, SECOND);
        }
    }
}
