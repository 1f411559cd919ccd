//! Those who see to it that nodes go: somebody has a member evicted, or a member leaves. Each asks until it is done, as a careful operator
//! would, and some bring the node back later.

use wattle_core::id::RequestId;
use wattle_core::node::command::{Command, Refusal, Reply};

use crate::desk::{Call, Desk, request_of};
use crate::event::{Actor, MILLI, SECOND, Time};
use crate::plan::{DeparturePlan, Parting, Plan};
use crate::random::{Draws, Purpose};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    Asked {
        request: RequestId,
        until: Time,
    },
    /// It is gone, and comes back later if that is planned.
    Gone,
    Done,
}

/// One departure.
#[derive(Debug)]
pub(crate) struct Leaver {
    index: usize,
    plan: DeparturePlan,
    command: Command,
    state: State,
    epoch: u64,
    ordinal: u64,
    trouble: String,
}

/// A node joins again, through another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Return {
    pub(crate) node: usize,
    pub(crate) through: usize,
}

impl Leaver {
    /// The departure in that place of a plan.
    pub(crate) fn new(index: usize, plan: &Plan) -> Self {
        let entry = plan.departures[index];
        let command = match entry.parting {
            Parting::Evict => Command::Evict { member: plan.nodes[entry.node].name.clone() },
            Parting::Leave => Command::Leave { force: true },
        };
        let trouble = "never asked".into();
        Self { index, plan: entry, command, state: State::Waiting, epoch: 0, ordinal: 0, trouble }
    }

    /// The node that is asked.
    pub(crate) fn node(&self) -> usize {
        match self.plan.parting {
            Parting::Evict => self.plan.asked_at,
            Parting::Leave => self.plan.node,
        }
    }

    /// What is left to do, in words.
    pub(crate) fn owed(&self) -> Option<String> {
        match self.state {
            State::Waiting | State::Asked { .. } => {
                Some(format!("{:?} of node {}: {}", self.plan.parting, self.plan.node, self.trouble))
            }
            State::Gone => Some(format!("node {} was to come back", self.plan.node)),
            State::Done => None,
        }
    }

    /// Sets the first wake.
    pub(crate) fn start(&mut self, desk: &mut Desk<'_>) {
        self.sleep(desk, self.plan.at);
    }

    fn sleep(&mut self, desk: &mut Desk<'_>, time: Time) {
        self.epoch += 1;
        desk.wake(Actor::Leaver(self.index), self.epoch, time);
    }

    fn rest(&mut self, desk: &mut Desk<'_>) {
        self.ordinal += 1;
        let mut draws = Draws::new(desk.seed, Purpose::Departure, self.index as u64, self.ordinal);
        self.sleep(desk, draws.between(50 * MILLI, 400 * MILLI));
    }

    /// Goes on. `ready` tells whether all nodes were members.
    pub(crate) fn wake(&mut self, desk: &mut Desk<'_>, epoch: u64, ready: bool) -> Option<Return> {
        if epoch != self.epoch {
            return None;
        }
        match self.state {
            State::Done => return None,
            State::Gone => {
                self.state = State::Done;
                let through = self.plan.returns.map(|(_, through)| through)?;
                desk.books.departures.comes_back(self.plan.node, through);
                desk.books.updates.departed(self.plan.node);
                return Some(Return { node: self.plan.node, through });
            }
            State::Asked { until, .. } if desk.now < until => {
                self.sleep(desk, until - desk.now);
                return None;
            }
            State::Asked { .. } => self.trouble = "no answer in time".into(),
            State::Waiting => {}
        }
        self.state = State::Waiting;
        if !ready {
            self.rest(desk);
            return None;
        }
        self.ordinal += 1;
        let request = request_of(Actor::Leaver(self.index), self.ordinal);
        self.state = State::Asked { request, until: desk.now + 12 * SECOND };
        desk.call(self.node(), Call::Command(request, self.command.clone()));
        self.sleep(desk, 12 * SECOND);
        None
    }

    /// A node answers.
    pub(crate) fn reply(&mut self, desk: &mut Desk<'_>, request: RequestId, reply: &Result<Reply, Refusal>) {
        if matches!(self.state, State::Gone | State::Done) {
            return;
        }
        match reply {
            // All were members when it was asked first, so who is none now was taken out.
            Ok(Reply::Evicted { .. } | Reply::Left)
            | Err(Refusal::UnknownNode(_) | Refusal::Evicted(_) | Refusal::NotMember) => self.gone(desk),
            Ok(_) => {}
            Err(refusal) => {
                if matches!(self.state, State::Asked { request: asked, .. } if asked == request) {
                    self.trouble = refusal.to_string();
                    self.state = State::Waiting;
                    self.rest(desk);
                }
            }
        }
    }

    fn gone(&mut self, desk: &mut Desk<'_>) {
        desk.books.departures.acknowledged(self.plan.node);
        match self.plan.returns {
            Some((after, _)) => {
                self.state = State::Gone;
                let after = if desk.healed { after.min(SECOND) } else { after };
                self.sleep(desk, after);
            }
            None => self.state = State::Done,
        }
    }

    /// The node that was asked is gone, or was not there.
    pub(crate) fn lost(&mut self, desk: &mut Desk<'_>, request: Option<RequestId>, node: usize) {
        let State::Asked { request: asked, .. } = self.state else { return };
        if request.map_or(node == self.node(), |request| request == asked) {
            self.trouble = "the node went down".into();
            self.state = State::Waiting;
            self.rest(desk);
        }
    }

    /// All faults are over: nobody waits longer than needed.
    pub(crate) fn heal(&mut self, desk: &mut Desk<'_>) {
        if matches!(self.state, State::Waiting | State::Gone) {
            self.sleep(desk, SECOND);
        }
    }
}
