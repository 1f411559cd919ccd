//! An operator of a mesh that lost its quorum: asks a survivor to go on without the lost until that is done, and that the mesh takes a write
//! then. What is not done when the lost come back is taken back, everywhere.

use wattle_core::agreed::{ConfigCommand, ConfigReply, Expected};
use wattle_core::id::{GroupId, RequestId};
use wattle_core::node::command::{Command, Refusal, Reply};
use wattle_core::recovery::{RecoverCommand, RecoverRefusal, RecoverReply};

use crate::desk::{Call, Desk, request_of};
use crate::event::{Actor, MILLI, SECOND, Time};
use crate::plan::{Plan, RecoveryPlan};
use crate::random::{Draws, Purpose};

/// What is written when the mesh has gone on.
const KEY: &str = "operator/after";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Survivors are to go on.
    Recover,
    /// So many survivors in a row said that they take part in nothing: what is under way is taken back.
    Withdraw(usize),
    /// The mesh is to take a write.
    Write,
    Done,
}

/// The operator.
#[derive(Debug)]
pub(crate) struct Operator {
    plan: RecoveryPlan,
    names: Vec<String>,
    survivors: Vec<usize>,
    /// How often one was asked that did not do it.
    asks: usize,
    step: Step,
    asked: Option<(RequestId, Time)>,
    epoch: u64,
    ordinal: u64,
    trouble: String,
}

impl Operator {
    /// The operator of a plan, if it has one.
    pub(crate) fn new(plan: &Plan) -> Option<Self> {
        let recovery = plan.recovery.clone()?;
        let names = recovery.lost.iter().map(|&node| plan.nodes[node].name.clone()).collect();
        let survivors: Vec<usize> =
            (0..plan.nodes.len()).filter(|node| !recovery.lost.contains(node)).collect();
        let (trouble, asked_at) = ("never asked".into(), recovery.asked_at);
        Some(Self {
            plan: recovery,
            names,
            asks: survivors.iter().position(|node| *node == asked_at).unwrap_or_default(),
            survivors,
            step: Step::Recover,
            asked: None,
            epoch: 0,
            ordinal: 0,
            trouble,
        })
    }

    /// The survivor that is asked now.
    pub(crate) fn node(&self) -> usize {
        match self.step {
            Step::Withdraw(place) => self.survivors[place % self.survivors.len()],
            Step::Recover if self.plan.wanders => self.survivors[self.asks % self.survivors.len()],
            Step::Recover | Step::Write | Step::Done => self.plan.asked_at,
        }
    }

    /// What is left to do, in words.
    pub(crate) fn owed(&self) -> Option<String> {
        (self.step != Step::Done)
            .then(|| format!("the recovery of a lost quorum ({:?}): {}", self.step, self.trouble))
    }

    /// Sets the first wake.
    pub(crate) fn start(&mut self, desk: &mut Desk<'_>) {
        self.sleep(desk, self.plan.at);
    }

    fn sleep(&mut self, desk: &mut Desk<'_>, time: Time) {
        self.epoch += 1;
        desk.wake(Actor::Operator(0), self.epoch, time);
    }

    fn rest(&mut self, desk: &mut Desk<'_>) {
        self.asked = None;
        self.asks += 1;
        self.ordinal += 1;
        let mut draws = Draws::new(desk.seed, Purpose::Recovery, 1, self.ordinal);
        self.sleep(desk, draws.between(50 * MILLI, 600 * MILLI));
    }

    /// Goes on. `ready` tells whether all nodes were members.
    pub(crate) fn wake(&mut self, desk: &mut Desk<'_>, epoch: u64, ready: bool) {
        if epoch != self.epoch || self.step == Step::Done {
            return;
        }
        if self.asked.is_some_and(|(_, until)| desk.now < until) {
            return self.sleep(desk, 100 * MILLI);
        }
        if !ready {
            return self.rest(desk);
        }
        let recovered = desk.books.recoveries.has_recovered();
        self.step = match self.step {
            Step::Recover | Step::Withdraw(_) if recovered => Step::Write,
            Step::Recover if desk.healed => Step::Withdraw(0),
            step => step,
        };
        let command = match self.step {
            Step::Recover => {
                desk.books.recoveries.orders();
                // Which of the two is right is judged by the book of recoveries.
                desk.books.logs.divides(GroupId::CONTROL);
                Command::Recover(RecoverCommand::Recover { lost: self.names.clone() })
            }
            Step::Withdraw(place) if place >= 2 * self.survivors.len() => {
                // Nothing was ever under way, or it was taken back.
                self.step = Step::Done;
                return;
            }
            Step::Withdraw(_) => {
                desk.books.recoveries.withdraws();
                Command::Recover(RecoverCommand::Withdraw)
            }
            Step::Write => {
                let (key, value) = (KEY.to_owned(), bytes::Bytes::from_static(b"1"));
                Command::Config(ConfigCommand::Set { key, value, expected: Expected::Any })
            }
            Step::Done => return,
        };
        self.ordinal += 1;
        let request = request_of(Actor::Operator(0), self.ordinal);
        self.asked = Some((request, desk.now + 25 * SECOND));
        desk.call(self.node(), Call::Command(request, command));
        self.sleep(desk, 100 * MILLI);
    }

    /// A node answers.
    pub(crate) fn reply(&mut self, desk: &mut Desk<'_>, request: RequestId, reply: &Result<Reply, Refusal>) {
        if self.asked.is_none_or(|(asked, _)| asked != request) || self.step == Step::Done {
            return;
        }
        match (self.step, reply) {
            (Step::Recover | Step::Withdraw(_), Ok(Reply::Recovery(RecoverReply::Recovered(_)))) => {
                desk.books.recoveries.recovered();
            }
            (Step::Write, Ok(Reply::Config(ConfigReply::Written { .. }))) => {
                self.step = Step::Done;
                return;
            }
            (Step::Withdraw(place), Err(Refusal::Recovery(RecoverRefusal::NothingToWithdraw))) => {
                self.step = Step::Withdraw(place + 1);
            }
            (Step::Withdraw(_), Ok(_)) => self.step = Step::Withdraw(0),
            (Step::Withdraw(place), Err(_)) => {
                // Another one may have heard of a higher attempt. All of them must say that there is nothing.
                self.step = Step::Withdraw((place + 1) % self.survivors.len());
            }
            _ => {}
        }
        if let Err(refusal) = reply {
            self.trouble = refusal.to_string();
        }
        self.rest(desk);
    }

    /// The node that was asked is gone, or was not there.
    pub(crate) fn lost(&mut self, desk: &mut Desk<'_>, request: Option<RequestId>, node: usize) {
        let Some((asked, _)) = self.asked else { return };
        if request.map_or(node == self.node(), |request| request == asked) {
            self.trouble = "the node went down".into();
            self.rest(desk);
        }
    }

    /// All faults are over.
    pub(crate) fn heal(&mut self, desk: &mut Desk<'_>) {
        if self.asked.is_none() && self.step != Step::Done {
            self.sleep(desk, SECOND);
        }
    }
}
