//! Those who have a node's identity key give way to another. What they asked for goes on by itself; in the end every node has one key.

use wattle_core::id::RequestId;
use wattle_core::node::command::{Command, Refusal, Reply};

use crate::desk::{Call, Desk, request_of};
use crate::event::{Actor, MILLI, SECOND, Time};
use crate::plan::{Plan, RotationPlan};
use crate::random::{Draws, Purpose};

/// A node answers within its own patience, by a clock that may be slow; an end waits for the members.
const PATIENCE: Time = 25 * SECOND;

/// One rotation.
#[derive(Debug)]
pub(crate) struct Rotator {
    index: usize,
    plan: RotationPlan,
    asked: Option<(RequestId, Time)>,
    done: bool,
    epoch: u64,
    ordinal: u64,
}

impl Rotator {
    /// The rotation in that place of a plan.
    pub(crate) fn new(index: usize, plan: &Plan) -> Self {
        Self { index, plan: plan.rotations[index], asked: None, done: false, epoch: 0, ordinal: 0 }
    }

    /// Sets the first wake.
    pub(crate) fn start(&mut self, desk: &mut Desk<'_>) {
        self.sleep(desk, self.plan.at);
    }

    fn sleep(&mut self, desk: &mut Desk<'_>, time: Time) {
        self.epoch += 1;
        desk.wake(Actor::Rotator(self.index), self.epoch, time);
    }

    fn rest(&mut self, desk: &mut Desk<'_>) {
        self.asked = None;
        self.ordinal += 1;
        let mut draws = Draws::new(desk.seed, Purpose::Rotation, 1 + self.index as u64, self.ordinal);
        self.sleep(desk, draws.between(50 * MILLI, 400 * MILLI));
    }

    /// Goes on. `ready` tells whether all nodes were members.
    pub(crate) fn wake(&mut self, desk: &mut Desk<'_>, epoch: u64, ready: bool) {
        if epoch != self.epoch || self.done {
            return;
        }
        // Nothing is begun in a world that is to come to rest.
        self.done = desk.healed;
        if self.done || self.asked.is_some_and(|(_, until)| desk.now < until) {
            return;
        }
        if !ready {
            return self.rest(desk);
        }
        self.ordinal += 1;
        let request = request_of(Actor::Rotator(self.index), self.ordinal);
        self.asked = Some((request, desk.now + PATIENCE));
        let command = Command::RotateNodeKey { finish: self.plan.finish };
        desk.call(self.plan.node, Call::Command(request, command));
        self.sleep(desk, PATIENCE);
    }

    /// A node answers.
    pub(crate) fn reply(&mut self, desk: &mut Desk<'_>, request: RequestId, reply: &Result<Reply, Refusal>) {
        if self.asked.is_none_or(|(asked, _)| asked != request) {
            return;
        }
        match reply {
            Ok(_) | Err(Refusal::RotationUnderWay(_)) => self.done = true,
            Err(_) => self.rest(desk),
        }
    }

    /// The node that was asked is gone, or was not there. What it did with what it was asked shows when it is back.
    pub(crate) fn lost(&mut self, desk: &mut Desk<'_>, request: Option<RequestId>, node: usize) {
        let Some((asked, _)) = self.asked else { return };
        if request.map_or(node == self.plan.node, |request| request == asked) {
            self.rest(desk);
        }
    }
}
