//! An operator who pauses and throttles streams, and resumes them: asks until each is done, one after the other, and has all of them take messages in again when the world heals.

use std::collections::{BTreeSet, VecDeque};

use wattle_core::flow::{FlowChange, FlowWish, Rank, Rate};
use wattle_core::id::RequestId;
use wattle_core::node::command::{Command, Refusal, Reply};

use crate::checker::{Checked, Failure};
use crate::desk::{Call, Desk, request_of};
use crate::event::{Actor, MILLI, SECOND, Time};
use crate::fault::FaultKind;
use crate::plan::{FlowPlan, Plan, ScopePlan};
use crate::random::{Draws, Purpose};
use crate::trouble::Trouble;

/// Beside the operators of a lost quorum, of seals and of members.
const ACTOR: Actor = Actor::Operator(3);
/// How long an answer is waited for.
const PATIENCE: Time = 12 * SECOND;
/// How often what may come late is taken back in a healed world, and how long lies between.
const ROUNDS: u32 = 4;
const BETWEEN_ROUNDS: Time = 5 * SECOND;

/// Something to ask for.
#[derive(Clone, Debug)]
struct Order {
    at: Time,
    node: usize,
    scope: ScopePlan,
    change: FlowChange,
}

impl Order {
    /// The rate that is asked for, if one is, or that there be none.
    fn rate(&self) -> Option<Option<Rate>> {
        match self.change {
            FlowChange::Throttle(rate) => Some(Some(rate)),
            FlowChange::Unthrottle => Some(None),
            FlowChange::Pause | FlowChange::Resume => None,
        }
    }
}

/// A stream, as this operator knows it.
#[derive(Debug)]
struct Known {
    name: String,
    rank: Rank,
    source: usize,
}

/// The operator.
#[derive(Debug)]
pub(crate) struct Pauser {
    left: VecDeque<Order>,
    streams: Vec<Known>,
    /// Of each node, by how many parts per million its clock runs too fast at most.
    clocks: Vec<u32>,
    /// What was asked for last, until when an answer is waited for, and of which node.
    asked: Option<(RequestId, Time, usize)>,
    /// Who is asked in a healed world.
    whom: usize,
    /// What was asked for, and may stand.
    touched: BTreeSet<ScopePlan>,
    /// Whether something was asked for of which nobody knows what became: it may be done later.
    unsure: bool,
    rounds: u32,
    healed: bool,
    epoch: u64,
    ordinal: u64,
    trouble: String,
}

impl Pauser {
    /// The operator of a plan.
    pub(crate) fn new(plan: &Plan) -> Self {
        let known = |stream: &crate::plan::StreamPlan| {
            let (name, rank, source) = (stream.name.clone(), plan.rank(&stream.name), stream.source);
            Known { name, rank, source }
        };
        let mut left: Vec<Order> = plan.flow.iter().flat_map(orders).collect();
        left.sort_by_key(|order| order.at);
        Self {
            left: left.into(),
            streams: plan.streams.iter().map(known).collect(),
            clocks: (0..plan.nodes.len()).map(|node| fastest(plan, node)).collect(),
            asked: None,
            whom: 0,
            touched: BTreeSet::new(),
            unsure: false,
            rounds: 0,
            healed: false,
            epoch: 0,
            ordinal: 0,
            trouble: "never asked".into(),
        }
    }

    /// What is left to do in a healed world, in words.
    pub(crate) fn owed(&self) -> Option<String> {
        let order = self.left.front().filter(|_| self.rounds <= 1)?;
        Some(format!("{:?} of {:?}: {}", order.change, order.scope, self.trouble))
    }

    /// Sets the first wake.
    pub(crate) fn start(&mut self, desk: &mut Desk<'_>) {
        if let Some(order) = self.left.front() {
            let at = order.at;
            self.sleep(desk, at);
        }
    }

    fn sleep(&mut self, desk: &mut Desk<'_>, time: Time) {
        self.epoch += 1;
        desk.wake(ACTOR, self.epoch, time);
    }

    fn rest(&mut self, desk: &mut Desk<'_>) {
        self.asked = None;
        self.ordinal += 1;
        let mut draws = Draws::new(desk.seed, Purpose::Flow, 1, self.ordinal);
        let soon = draws.between(20 * MILLI, 300 * MILLI);
        let at = self.left.front().map_or(0, |order| order.at);
        self.sleep(desk, soon.max(at.saturating_sub(desk.now)));
    }

    /// Goes on. `ready` tells whether all nodes were members.
    pub(crate) fn wake(&mut self, desk: &mut Desk<'_>, epoch: u64, ready: bool) {
        if epoch != self.epoch {
            return;
        }
        if self.asked.is_some_and(|(_, until, _)| desk.now < until) {
            return self.sleep(desk, 100 * MILLI);
        }
        if self.asked.take().is_some() {
            self.fails(desk, "no answer in time");
        }
        let Some(order) = self.left.front().cloned() else { return self.next_round(desk) };
        let known = match &order.scope {
            ScopePlan::Stream(name) => {
                let stream = self.streams.iter().position(|stream| stream.name == *name);
                stream.is_some_and(|stream| desk.books.streams[stream].instance().is_some())
            }
            ScopePlan::Tenant(_) | ScopePlan::Below(_) => true,
        };
        if !ready || !known {
            self.trouble = "nobody knows of the stream".into();
            return self.rest(desk);
        }
        if order.change == FlowChange::Resume {
            desk.books.flows.resumes(&order.scope);
        }
        if let Some(rate) = order.rate() {
            desk.books.flows.changes_rate(&order.scope, rate);
        }
        self.touched.insert(order.scope.clone());
        self.ordinal += 1;
        let request = request_of(ACTOR, self.ordinal);
        let node = if self.healed { self.whom } else { order.node };
        self.asked = Some((request, desk.now + PATIENCE, node));
        let wish = FlowWish { which: order.scope.which(), change: order.change };
        desk.call(node, Call::Command(request, Command::ChangeFlow(wish)));
        self.sleep(desk, 100 * MILLI);
    }

    /// Nothing is known of what became of what was asked for; the next try goes to another node.
    fn fails(&mut self, desk: &mut Desk<'_>, why: &str) {
        self.trouble = why.into();
        self.unsure = true;
        if let Some(order) = self.left.front() {
            if order.change == FlowChange::Resume {
                desk.books.flows.doubts(&order.scope);
            }
            if let Some(rate) = order.rate() {
                desk.books.flows.doubts_rate(&order.scope, rate);
            }
        }
        self.whom = (self.whom + 1) % self.clocks.len();
    }

    /// A node answers.
    ///
    /// # Errors
    /// X34, X35.
    pub(crate) fn reply(
        &mut self,
        desk: &mut Desk<'_>,
        request: RequestId,
        reply: &Result<Reply, Refusal>,
    ) -> Checked {
        let Some((_, _, node)) = self.asked.filter(|(asked, ..)| *asked == request) else { return Ok(()) };
        let Some(order) = self.left.front().cloned() else { return Ok(()) };
        match reply {
            Ok(Reply::Flow(told)) => {
                let (rule, change) = (&told.rule, order.change);
                let fits = match change {
                    FlowChange::Pause => rule.paused.is_some() || self.unsure,
                    FlowChange::Resume => rule.paused.is_none() || self.unsure,
                    FlowChange::Throttle(_) | FlowChange::Unthrottle => {
                        order.rate() == Some(rule.rate.map(|(rate, _)| rate)) || self.unsure
                    }
                };
                if !fits {
                    let checker = if order.rate().is_some() { "X35" } else { "X34" };
                    let message = format!("{change:?} of {:?} is answered by {rule:?}", order.scope);
                    return Err(Failure::new(checker, message));
                }
                self.left.pop_front();
                let known = self.streams.iter().enumerate();
                let of = known.filter(|(_, known)| {
                    known.source == node && order.scope.covers(&known.name, &known.rank)
                });
                let streams: BTreeSet<usize> = of.map(|(stream, _)| stream).collect();
                if let Some(said) = rule.paused {
                    desk.books.flows.agreed(&order.scope, said);
                    for stream in &streams {
                        desk.books.flows.paused(*stream, &order.scope);
                    }
                }
                if let Some((rate, _)) = rule.rate {
                    let source = (node, self.clocks[node]);
                    desk.books.flows.throttled(&order.scope, source, rate, streams);
                }
            }
            Ok(other) => self.fails(desk, &format!("{other:?}")),
            Err(refusal) => self.fails(desk, &refusal.to_string()),
        }
        self.rest(desk);
        Ok(())
    }

    /// The node that was asked is gone, or was not there.
    pub(crate) fn lost(&mut self, desk: &mut Desk<'_>, request: Option<RequestId>, node: usize) {
        if request.is_none() {
            let of = self.streams.iter().enumerate().filter(|(_, known)| known.source == node);
            let streams: Vec<usize> = of.map(|(stream, _)| stream).collect();
            desk.books.flows.fell(desk.now, node, &streams);
        }
        let Some((asked, _, at)) = self.asked else { return };
        if request.map_or(node == at, |request| request == asked) {
            self.fails(desk, "the node went down");
            self.rest(desk);
        }
    }

    /// All faults are over: everything is to be taken in again, and as fast as it comes.
    pub(crate) fn heal(&mut self, desk: &mut Desk<'_>) {
        self.healed = true;
        self.left.clear();
        if self.asked.take().is_some() {
            self.unsure = true;
        }
        self.begin_round();
        if !self.left.is_empty() {
            self.sleep(desk, SECOND);
        }
    }

    fn begin_round(&mut self) {
        self.rounds += 1;
        let lift = |scope: &ScopePlan| {
            let both = [FlowChange::Resume, FlowChange::Unthrottle];
            both.map(|change| Order { at: 0, node: 0, scope: scope.clone(), change })
        };
        self.left = self.touched.iter().flat_map(lift).collect();
    }

    /// What was asked for without an answer may be done after it was taken back.
    fn next_round(&mut self, desk: &mut Desk<'_>) {
        if self.healed && self.unsure && self.rounds < ROUNDS && !self.touched.is_empty() {
            self.begin_round();
            self.sleep(desk, BETWEEN_ROUNDS);
        }
    }
}

/// By how many parts per million the clock of a node runs too fast at most.
fn fastest(plan: &Plan, node: usize) -> u32 {
    let drifts = plan.faults.iter().filter_map(|fault| match fault.kind {
        FaultKind::Trouble { node: of, what: Trouble::Drift { ppm, .. } } if of == node => Some(ppm),
        _ => None,
    });
    drifts.chain([plan.nodes[node].clock_ppm, 0]).max().unwrap_or_default().unsigned_abs()
}

/// What a plan asks for.
fn orders(flow: &FlowPlan) -> Vec<Order> {
    let mut orders = Vec::new();
    for pause in &flow.pauses {
        let order = |at, node, change| Order { at, node, scope: pause.scope.clone(), change };
        orders.push(order(pause.at, pause.asked_at, FlowChange::Pause));
        orders.push(order(pause.at + pause.length, pause.resumed_at, FlowChange::Resume));
    }
    for throttle in &flow.throttles {
        let (at, node, scope) = (throttle.at, throttle.asked_at, throttle.scope.clone());
        orders.push(Order { at, node, scope, change: FlowChange::Throttle(throttle.rate()) });
    }
    orders
}
