//! Administration: seeding the mesh, joining it, opening streams; each asked again until it is done, as a careful operator would.

use wattle_core::ends::{Poison, Policy, Terms};
use wattle_core::id::RequestId;
use wattle_core::node::command::{Command, Refusal, Reply};
use wattle_core::time::Span;

use crate::checker::{Checked, ensure};
use crate::desk::{Call, Desk, request_of};
use crate::event::{Actor, MILLI, SECOND, Time};
use crate::plan::{CompletePlan, Plan, PoisonPlan};
use crate::random::{Draws, Purpose};

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Errand {
    Seed,
    Join { through: usize },
    Open { stream: usize, command: Command },
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    /// A token was asked for, or the errand itself.
    Asked {
        request: RequestId,
        until: Time,
    },
    Done,
}

/// One errand at one node.
#[derive(Debug)]
pub(crate) struct Task {
    index: usize,
    node: usize,
    errand: Errand,
    earliest: Time,
    state: State,
    /// The join token in hand, kept for the next try.
    token: Option<String>,
    epoch: u64,
    ordinal: u64,
    trouble: String,
    /// It had a membership that is over, and its node may not know that yet.
    again: bool,
}

impl Task {
    /// The errands of a plan: first one per node, in order, then one per stream.
    #[must_use]
    pub(crate) fn all(plan: &Plan) -> Vec<Self> {
        let new = |index, node, earliest, errand| Self {
            index,
            node,
            errand,
            earliest,
            state: State::Waiting,
            token: None,
            epoch: 0,
            ordinal: 0,
            trouble: "never asked".into(),
            again: false,
        };
        let nodes = plan.nodes.iter().enumerate().map(|(node, entry)| {
            let errand = entry.joins_through.map_or(Errand::Seed, |through| Errand::Join { through });
            new(node, node, entry.joins_at, errand)
        });
        let streams = plan.streams.iter().enumerate().map(|(stream, entry)| {
            let name = |node: usize| plan.nodes[node].name.clone();
            let command = Command::OpenStream {
                name: entry.name.clone(),
                source: plan.nodes[entry.source].name.clone(),
                targets: entry.opened().map(name).collect(),
                terms: Terms {
                    policy: match &entry.complete {
                        CompletePlan::All => Policy::All,
                        CompletePlan::Count(count) => Policy::Count(*count),
                        CompletePlan::Named(named) => {
                            Policy::Named(named.iter().copied().map(name).collect())
                        }
                    },
                    poison: entry.poison.as_ref().map_or(Poison::Block, PoisonPlan::policy),
                    keep: entry.keep.retention(),
                    rank: plan.rank(&entry.name),
                    detach_after: Span(entry.detach_after),
                },
            };
            new(plan.nodes.len() + stream, entry.asked_at, entry.opens_at, Errand::Open { stream, command })
        });
        nodes.chain(streams).collect()
    }

    /// Whether it makes a node a member.
    #[must_use]
    pub(crate) fn is_joining(&self) -> bool {
        matches!(self.errand, Errand::Seed | Errand::Join { .. })
    }

    /// Whether it opens that stream of the plan.
    #[must_use]
    pub(crate) fn opens(&self, stream: usize) -> bool {
        matches!(self.errand, Errand::Open { stream: opened, .. } if opened == stream)
    }

    /// The stream of the plan that it opens.
    pub(crate) fn opening(&self) -> Option<usize> {
        if let Errand::Open { stream, .. } = self.errand { Some(stream) } else { None }
    }

    /// Whether it is done.
    #[must_use]
    pub(crate) fn done(&self) -> bool {
        self.state == State::Done
    }

    /// The node that is asked.
    pub(crate) fn node(&self) -> usize {
        self.node
    }

    /// What is left to do, in words.
    #[must_use]
    pub(crate) fn owed(&self) -> Option<String> {
        (!self.done()).then(|| format!("{:?} at node {}: {}", self.errand, self.node, self.trouble))
    }

    /// The tasks that must be done before this one is asked.
    pub(crate) fn waits_for(&self) -> [Option<usize>; 2] {
        match self.errand {
            Errand::Seed => [None, None],
            Errand::Join { through } => [Some(through), None],
            Errand::Open { .. } => [Some(self.node), None],
        }
    }

    /// Sets the first wake.
    pub(crate) fn start(&mut self, desk: &mut Desk<'_>) {
        self.sleep(desk, self.earliest);
    }

    fn sleep(&mut self, desk: &mut Desk<'_>, time: Time) {
        self.epoch += 1;
        desk.wake(Actor::Task(self.index), self.epoch, time);
    }

    fn rest(&mut self, desk: &mut Desk<'_>) {
        self.ordinal += 1;
        let mut draws = Draws::new(desk.seed, Purpose::Task, self.index as u64, self.ordinal);
        self.sleep(desk, draws.between(50 * MILLI, 400 * MILLI));
    }

    /// Goes on. `ready` tells whether all it waits for is done.
    pub(crate) fn wake(&mut self, desk: &mut Desk<'_>, epoch: u64, ready: bool) {
        if epoch != self.epoch || self.done() {
            return;
        }
        if let State::Asked { until, .. } = self.state {
            if desk.now < until {
                return self.sleep(desk, until - desk.now);
            }
            self.trouble = "no answer in time".into();
            self.state = State::Waiting;
        }
        if !ready {
            self.trouble = "waits for another node to be a member".into();
            return self.rest(desk);
        }
        let (node, command) = match (&self.errand, &self.token) {
            (Errand::Seed, _) => (self.node, Command::Seed { name: "woodland".into() }),
            (Errand::Join { .. }, Some(token)) => (self.node, Command::Join { token: token.clone() }),
            (Errand::Join { through }, _) => (*through, Command::Invite),
            (Errand::Open { command, .. }, _) => (self.node, command.clone()),
        };
        self.ordinal += 1;
        let request = request_of(Actor::Task(self.index), self.ordinal);
        self.state = State::Asked { request, until: desk.now + 5 * SECOND };
        desk.call(node, Call::Command(request, command));
        self.sleep(desk, 5 * SECOND);
    }

    /// A node answers.
    ///
    /// # Errors
    /// X7.
    pub(crate) fn reply(
        &mut self,
        desk: &mut Desk<'_>,
        request: RequestId,
        reply: &Result<Reply, Refusal>,
    ) -> Checked {
        let current = matches!(self.state, State::Asked { request: asked, .. } if asked == request);
        match (&self.errand, reply) {
            (
                Errand::Open { stream, command: Command::OpenStream { name, .. } },
                Ok(Reply::StreamOpened { instance, .. }),
            ) => {
                desk.books.streams[*stream].named(*instance)?;
                desk.books.agreement.opened(name, *instance)?;
                self.state = State::Done;
            }
            (Errand::Open { .. }, Err(refusal @ Refusal::OpenElsewhere { .. })) => {
                ensure!(false, "X7", "nobody opened this stream with other ends: {refusal}");
            }
            (Errand::Join { .. } | Errand::Seed, Ok(Reply::Joined { .. } | Reply::Seeded { .. })) => {
                desk.books.updates.joined(self.node, desk.now);
                self.state = State::Done;
            }
            (Errand::Join { .. } | Errand::Seed, Err(Refusal::AlreadyMember(_)))
                if !self.again || desk.books.departures.has_parted(self.node) =>
            {
                self.state = State::Done;
            }
            (Errand::Join { .. }, Ok(Reply::Token { token })) if current => {
                self.token = Some(token.clone());
                self.state = State::Waiting;
                self.sleep(desk, 0);
            }
            (_, Err(refusal)) if current => {
                if matches!(
                    refusal,
                    Refusal::BadToken(_)
                        | Refusal::JoinRefused(_)
                        | Refusal::JoinBarred { .. }
                        | Refusal::Impostor(_)
                ) {
                    self.token = None;
                }
                self.trouble = refusal.to_string();
                self.state = State::Waiting;
                self.rest(desk);
            }
            _ => {}
        }
        Ok(())
    }

    /// The node that was asked is gone, or was not there.
    pub(crate) fn lost(&mut self, desk: &mut Desk<'_>, request: Option<RequestId>, node: usize) {
        let State::Asked { request: asked, .. } = self.state else { return };
        let concerned = match request {
            Some(request) => request == asked,
            None => node == self.node || matches!(self.errand, Errand::Join { through } if through == node),
        };
        if concerned {
            self.trouble = "the node went down".into();
            self.state = State::Waiting;
            self.rest(desk);
        }
    }

    /// The node is no member any more; `again` if it may not know that yet.
    pub(crate) fn join_again(&mut self, desk: &mut Desk<'_>, through: usize, again: bool) {
        self.errand = Errand::Join { through };
        self.again = again;
        self.token = None;
        self.begin_again(desk);
    }

    /// What it achieved is gone.
    pub(crate) fn begin_again(&mut self, desk: &mut Desk<'_>) {
        self.state = State::Waiting;
        self.rest(desk);
    }

    /// All faults are over: nobody waits longer than needed.
    pub(crate) fn heal(&mut self, desk: &mut Desk<'_>) {
        if self.state == State::Waiting {
            self.sleep(desk, 0);
        }
    }
}
