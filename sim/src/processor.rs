//! Handlers of updates: one per node and kind. Each attaches, works through what it is given and reports success; now and then it ends
//! within its work and forgets it.

use std::collections::VecDeque;

use wattle_core::id::{AttachToken, RequestId};
use wattle_core::node::command::{Command, Refusal, Reply};
use wattle_core::update::{UpdateCommand, UpdateDelivery, UpdateKind, UpdateReply};

use crate::checker::Checked;
use crate::desk::{Call, Desk, request_of};
use crate::event::{Actor, MICRO, MILLI, SECOND, Time};
use crate::plan::UpdatesPlan;
use crate::random::{Draws, Purpose};

const PATIENCE: Time = 4 * SECOND;

/// The handler of one kind at one node.
#[derive(Debug)]
pub(crate) struct Processor {
    index: usize,
    node: usize,
    kind: UpdateKind,
    plan: UpdatesPlan,
    attached: Option<AttachToken>,
    /// Handed over and not worked through: the numbers up to which each item goes.
    queue: VecDeque<u64>,
    busy_until: Option<Time>,
    /// The attachment asked for last, with its window.
    asked: Option<(RequestId, u32)>,
    ask_again_at: Time,
    epoch: u64,
    ordinal: u64,
    last_call: Time,
    trouble: String,
}

impl Processor {
    /// All of a plan: one per node and kind, in that order; none if nobody sends.
    #[must_use]
    pub(crate) fn all(plan: Option<&UpdatesPlan>, nodes: usize) -> Vec<Self> {
        let Some(plan) = plan else { return Vec::new() };
        let new = |index: usize| Self {
            index,
            node: index / 2,
            kind: UpdateKind::ALL[index % 2],
            plan: plan.clone(),
            attached: None,
            queue: VecDeque::new(),
            busy_until: None,
            asked: None,
            ask_again_at: 0,
            epoch: 0,
            ordinal: 0,
            last_call: 0,
            trouble: "never asked".into(),
        };
        (0..2 * nodes).map(new).collect()
    }

    /// The node it attaches to.
    #[must_use]
    pub(crate) fn node(&self) -> usize {
        self.node
    }

    /// What keeps it from working, in words.
    #[must_use]
    pub(crate) fn owed(&self) -> Option<String> {
        self.attached.is_none().then(|| {
            format!(
                "the handler of {} updates at node {} is not attached: {}",
                self.kind.name(),
                self.node,
                self.trouble
            )
        })
    }

    /// Sets the first wake.
    pub(crate) fn start(&mut self, desk: &mut Desk<'_>) {
        let pause = self.draws(desk).spread(MILLI, 4 * SECOND);
        self.ask_again_at = pause;
        self.sleep(desk, pause);
    }

    fn sleep(&mut self, desk: &mut Desk<'_>, time: Time) {
        self.epoch += 1;
        desk.wake(Actor::Processor(self.index), self.epoch, time);
    }

    fn draws(&mut self, desk: &Desk<'_>) -> Draws {
        self.ordinal += 1;
        Draws::new(desk.seed, Purpose::Updates, 1 << 34 | self.index as u64, self.ordinal)
    }

    fn sleep_until_needed(&mut self, desk: &mut Desk<'_>) {
        let attach = self.attached.is_none().then_some(self.ask_again_at);
        if let Some(at) = [self.busy_until, attach].into_iter().flatten().min() {
            self.sleep(desk, at.saturating_sub(desk.now));
        }
    }

    /// Goes on.
    pub(crate) fn wake(&mut self, desk: &mut Desk<'_>, epoch: u64) {
        if epoch != self.epoch {
            return;
        }
        self.work(desk);
        if self.attached.is_none() && desk.now >= self.ask_again_at {
            self.attach(desk);
        }
        self.sleep_until_needed(desk);
    }

    fn attach(&mut self, desk: &mut Desk<'_>) {
        let window =
            self.draws(desk).between(u64::from(self.plan.window.0), u64::from(self.plan.window.1)) as u32;
        let request = request_of(Actor::Processor(self.index), self.ordinal);
        self.asked = Some((request, window));
        let command = Command::Update(UpdateCommand::Attach { kind: self.kind, window });
        desk.call_in_order(self.node, Call::Command(request, command), &mut self.last_call);
        self.ask_again_at = desk.now + PATIENCE;
    }

    fn service(&mut self, desk: &Desk<'_>) -> Time {
        let (low, high) = if desk.healed { (10 * MICRO, MILLI) } else { self.plan.service };
        self.draws(desk).between(low, high).max(1)
    }

    fn work(&mut self, desk: &mut Desk<'_>) {
        let Some(token) = self.attached.filter(|_| self.busy_until.is_some_and(|until| until <= desk.now))
        else {
            return;
        };
        let crashes = self.plan.crashes_one_in;
        if !desk.healed && self.draws(desk).one_in(crashes) {
            desk.call_in_order(self.node, Call::Detach(token), &mut self.last_call);
            return self.lose(desk, "it ended within its work");
        }
        let count = self.draws(desk).between(1, self.queue.len() as u64) as usize;
        let Some(upto) = self.queue.drain(..count).next_back() else { return };
        self.busy_until = if self.queue.is_empty() { None } else { Some(desk.now + self.service(desk)) };
        desk.call_in_order(self.node, Call::Verdict(token, upto), &mut self.last_call);
    }

    /// Updates are handed over.
    ///
    /// # Errors
    /// X24.
    pub(crate) fn delivered(&mut self, desk: &mut Desk<'_>, delivery: &UpdateDelivery) -> Checked {
        desk.books.updates.handed(self.node, delivery)?;
        if self.attached != Some(delivery.token) {
            return Ok(());
        }
        self.queue.extend(delivery.items.iter().map(|item| item.last().0));
        if self.busy_until.is_none() {
            self.busy_until = Some(desk.now + self.service(desk));
            self.sleep_until_needed(desk);
        }
        Ok(())
    }

    /// A node answers.
    ///
    /// # Errors
    /// X24.
    pub(crate) fn reply(
        &mut self,
        desk: &mut Desk<'_>,
        request: RequestId,
        reply: &Result<Reply, Refusal>,
    ) -> Checked {
        match reply {
            Ok(Reply::Update(UpdateReply::Attached { token, after })) => {
                // The last one asked for is attached last: calls do not overtake each other.
                let window =
                    self.asked.filter(|(asked, _)| *asked == request).map_or(self.plan.window.1, |(_, w)| w);
                desk.books.updates.attached(self.node, self.kind, *token, after.0, window)?;
                self.attached = Some(*token);
                self.queue.clear();
                self.busy_until = None;
            }
            Ok(Reply::Fenced { token } | Reply::Outrun { token }) => {
                if self.attached == Some(*token) {
                    desk.books.updates.gone(self.node, self.kind);
                    self.lose(desk, "another took over, or the node knew more");
                }
            }
            Ok(_) => {}
            Err(refusal) => {
                if self.asked.is_some_and(|(asked, _)| asked == request) {
                    if self.attached.is_some() {
                        // Its node is no member any more.
                        desk.books.updates.gone(self.node, self.kind);
                        self.lose(desk, "it was ended");
                    }
                    self.asked = None;
                    self.trouble = refusal.to_string();
                    self.ask_again_at = desk.now + self.draws(desk).between(50 * MILLI, 500 * MILLI);
                }
            }
        }
        self.sleep_until_needed(desk);
        Ok(())
    }

    fn lose(&mut self, desk: &mut Desk<'_>, why: &str) {
        self.attached = None;
        self.asked = None;
        self.queue.clear();
        self.busy_until = None;
        self.trouble = why.into();
        self.ask_again_at = desk.now + self.draws(desk).spread(MILLI, SECOND);
        self.sleep_until_needed(desk);
    }

    /// A call reaches the node at this moment.
    pub(crate) fn arrives(&self, desk: &mut Desk<'_>, call: &Call) {
        match *call {
            Call::Took(..) | Call::Failed(..) | Call::Retried(..) => {}
            Call::Verdict(token, upto) => desk.books.updates.reported(self.node, self.kind, token, upto),
            Call::Detach(token) => desk.books.updates.left(self.node, self.kind, token),
            Call::Command(..) => {}
        }
    }

    /// A call did not reach its node, or the node is gone with the attachment.
    pub(crate) fn lost(&mut self, desk: &mut Desk<'_>, request: Option<RequestId>, node: usize) {
        if node != self.node {
            return;
        }
        if request.is_none() {
            desk.books.updates.gone(self.node, self.kind);
        }
        if request.is_none() || self.asked.is_some_and(|(asked, _)| Some(asked) == request) {
            self.lose(desk, "the node went down");
        }
    }

    /// All faults are over.
    pub(crate) fn heal(&mut self, desk: &mut Desk<'_>) {
        self.ask_again_at = self.ask_again_at.min(desk.now);
        self.busy_until = self.busy_until.map(|until| until.min(desk.now + MILLI));
        self.sleep(desk, 0);
    }
}
