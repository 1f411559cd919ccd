//! Those who stop members and start them again: an operator who stops a node's mesh until it is started, or a service that ends its process in good order.

use wattle_core::id::RequestId;
use wattle_core::node::command::{Command, Refusal, Reply};

use crate::coverage::sometimes;
use crate::desk::{Call, Desk, request_of};
use crate::event::{Actor, MILLI, SECOND, Time};
use crate::plan::{Plan, StopPlan};
use crate::random::{Draws, Purpose};

/// A stop takes no longer than five seconds, by a clock that may be slow, at a node that may have been stalled.
const PATIENCE: Time = 6 * SECOND;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    Stopping {
        request: RequestId,
        until: Time,
    },
    /// It is stopped, or may be.
    Away,
    Starting {
        request: RequestId,
        until: Time,
    },
    Done,
}

/// One stop.
#[derive(Debug)]
pub(crate) struct Stopper {
    index: usize,
    plan: StopPlan,
    state: State,
    epoch: u64,
    ordinal: u64,
    trouble: String,
}

impl Stopper {
    /// The stop in that place of a plan.
    pub(crate) fn new(index: usize, plan: &Plan) -> Self {
        let trouble = "never asked".into();
        Self { index, plan: plan.stops[index], state: State::Waiting, epoch: 0, ordinal: 0, trouble }
    }

    /// The node that is asked.
    pub(crate) fn node(&self) -> usize {
        self.plan.node
    }

    /// What is left to do, in words.
    pub(crate) fn owed(&self) -> Option<String> {
        let open = !matches!(self.state, State::Waiting | State::Done);
        open.then(|| format!("node {} was to be started again: {}", self.plan.node, self.trouble))
    }

    /// Sets the first wake.
    pub(crate) fn start(&mut self, desk: &mut Desk<'_>) {
        self.sleep(desk, self.plan.at);
    }

    fn sleep(&mut self, desk: &mut Desk<'_>, time: Time) {
        self.epoch += 1;
        desk.wake(Actor::Stopper(self.index), self.epoch, time);
    }

    fn rest(&mut self, desk: &mut Desk<'_>) {
        self.ordinal += 1;
        let mut draws = Draws::new(desk.seed, Purpose::Stop, 1 + self.index as u64, self.ordinal);
        self.sleep(desk, draws.between(50 * MILLI, 400 * MILLI));
    }

    fn ask(&mut self, desk: &mut Desk<'_>, command: Command) -> RequestId {
        self.ordinal += 1;
        let request = request_of(Actor::Stopper(self.index), self.ordinal);
        desk.call(self.plan.node, Call::Command(request, command));
        request
    }

    /// Goes on. `ready` tells whether all nodes were members.
    pub(crate) fn wake(&mut self, desk: &mut Desk<'_>, epoch: u64, ready: bool) {
        if epoch != self.epoch {
            return;
        }
        let now = desk.now;
        match self.state {
            State::Waiting if desk.healed => self.state = State::Done,
            State::Waiting if !ready => self.rest(desk),
            State::Waiting => {
                let (lasting, until) = (self.plan.lasting, now + PATIENCE);
                let request = self.ask(desk, Command::StopMesh { lasting });
                self.state = State::Stopping { request, until };
                self.sleep(desk, PATIENCE);
            }
            State::Stopping { until, .. } | State::Starting { until, .. } if now < until => {
                self.sleep(desk, until - now);
            }
            State::Done => {}
            State::Stopping { .. } | State::Starting { .. } | State::Away => {
                desk.books.stops.starts(self.plan.node);
                let request = self.ask(desk, Command::StartMesh);
                self.state = State::Starting { request, until: now + PATIENCE };
                self.sleep(desk, PATIENCE);
            }
        }
    }

    /// A node answers.
    pub(crate) fn reply(&mut self, desk: &mut Desk<'_>, request: RequestId, reply: &Result<Reply, Refusal>) {
        match self.state {
            State::Stopping { request: asked, .. } if asked == request => self.stopped(desk, reply),
            State::Starting { request: asked, .. } if asked == request => match reply {
                Ok(_) => self.state = State::Done,
                Err(refusal) => {
                    self.trouble = refusal.to_string();
                    self.state = State::Away;
                    self.rest(desk);
                }
            },
            _ => {}
        }
    }

    fn stopped(&mut self, desk: &mut Desk<'_>, reply: &Result<Reply, Refusal>) {
        let StopPlan { node, lasting, away, .. } = self.plan;
        self.state = State::Away;
        if reply.is_err() {
            return self.rest(desk);
        }
        let away = if desk.healed { away.min(SECOND) } else { away };
        desk.books.stops.stopped(node, desk.now, lasting);
        if !lasting {
            desk.books.stops.ends(node, away);
        }
        self.sleep(desk, away);
    }

    /// The node that was asked is gone, or was not there.
    pub(crate) fn lost(&mut self, desk: &mut Desk<'_>, request: Option<RequestId>, node: usize) {
        let (State::Stopping { request: asked, .. } | State::Starting { request: asked, .. }) = self.state
        else {
            return;
        };
        if request.map_or(node == self.plan.node, |request| request == asked) {
            self.trouble = "the node went down".into();
            self.state = State::Away;
            self.rest(desk);
        }
    }

    /// A disk was taken back, perhaps to when its node was stopped. It was to be started again.
    pub(crate) fn taken_back(&mut self, desk: &mut Desk<'_>, node: usize) {
        if node == self.plan.node && self.plan.lasting && self.state == State::Done && self.ordinal > 0 {
            sometimes!(StartedOnceMore);
            self.trouble = "its disk was taken back".into();
            self.state = State::Away;
            self.rest(desk);
        }
    }

    /// All faults are over: nobody waits longer than needed.
    pub(crate) fn heal(&mut self, desk: &mut Desk<'_>) {
        if matches!(self.state, State::Waiting | State::Away) {
            self.sleep(desk, 0);
        }
    }
}
