//! Those who send updates to all members: each has one, asks until it is acknowledged, and perhaps sends it again to see that it counts once.

use bytes::Bytes;
use wattle_core::id::{RequestId, UpdateId, UpdateNumber};
use wattle_core::node::command::{Command, Refusal, Reply};
use wattle_core::update::{UpdateCommand, UpdateFate, UpdateReply};

use crate::checker::{Checked, ensure};
use crate::desk::{Call, Desk, request_of};
use crate::event::{Actor, MILLI, SECOND, Time};
use crate::plan::{Plan, SendPlan};
use crate::random::{Draws, Purpose};

/// How long an answer is waited for: longer than a node tries, and now and then shorter.
const PATIENCE: (Time, Time) = (500 * MILLI, 12 * SECOND);

/// What was asked last.
#[derive(Clone, Copy, Debug)]
struct Asked {
    request: RequestId,
    node: usize,
    until: Time,
}

/// One update and its sender.
#[derive(Debug)]
pub(crate) struct Sender {
    index: usize,
    plan: SendPlan,
    nodes: usize,
    id: UpdateId,
    payload: Bytes,
    asked: Option<Asked>,
    /// Taken without waiting: its fate is asked next.
    taken: bool,
    /// How often it must still be acknowledged.
    left: u32,
    epoch: u64,
    ordinal: u64,
    trouble: String,
}

impl Sender {
    /// The sender of the plan's update `index`.
    #[must_use]
    pub(crate) fn new(index: usize, plan: &Plan) -> Self {
        let send = plan.sends()[index];
        let (id, payload) = content(plan.seed, index, &send);
        Self {
            index,
            plan: send,
            nodes: plan.nodes.len(),
            id,
            payload,
            asked: None,
            taken: false,
            left: 1 + send.repeats,
            epoch: 0,
            ordinal: 0,
            trouble: "never asked".into(),
        }
    }

    /// The node it asks.
    #[must_use]
    pub(crate) fn node(&self) -> usize {
        self.plan.node
    }

    /// What is left to do, in words.
    #[must_use]
    pub(crate) fn owed(&self) -> Option<String> {
        (self.left > 0).then(|| {
            format!("update {} is not acknowledged at node {}: {}", self.index, self.plan.node, self.trouble)
        })
    }

    /// Sets the first wake.
    pub(crate) fn start(&mut self, desk: &mut Desk<'_>) {
        self.sleep(desk, self.plan.at);
    }

    fn sleep(&mut self, desk: &mut Desk<'_>, time: Time) {
        self.epoch += 1;
        desk.wake(Actor::Sender(self.index), self.epoch, time);
    }

    fn draws(&self, desk: &Desk<'_>) -> Draws {
        Draws::new(desk.seed, Purpose::Updates, 1 << 32 | self.index as u64, self.ordinal)
    }

    fn rest(&mut self, desk: &mut Desk<'_>) {
        self.asked = None;
        self.ordinal += 1;
        let pause = self.draws(desk).between(50 * MILLI, 500 * MILLI);
        self.sleep(desk, pause);
    }

    /// Goes on.
    pub(crate) fn wake(&mut self, desk: &mut Desk<'_>, epoch: u64) {
        if epoch != self.epoch || self.left == 0 {
            return;
        }
        if let Some(asked) = self.asked {
            if desk.now < asked.until {
                return self.sleep(desk, asked.until - desk.now);
            }
            self.trouble = "no answer in time".into();
        }
        self.ordinal += 1;
        let mut draws = self.draws(desk);
        // Its repeats come in at any node, and a fate is asked where it was taken.
        let elsewhere = self.left <= self.plan.repeats && !self.taken && !desk.healed;
        let node = if elsewhere { draws.index(self.nodes) } else { self.plan.node };
        let kind = self.plan.kind.into();
        let command = if self.taken {
            UpdateCommand::Find { kind, id: self.id }
        } else {
            desk.books.updates.asks(self.index, desk.now);
            UpdateCommand::Send {
                kind,
                id: Some(self.id),
                after: Some(UpdateNumber(0)),
                key: format!("key-{}", self.index),
                payload: self.payload.clone(),
                wait: self.plan.waits,
            }
        };
        let request = request_of(Actor::Sender(self.index), self.ordinal);
        let patience = draws.spread(PATIENCE.0, PATIENCE.1);
        self.asked = Some(Asked { request, node, until: desk.now + patience });
        desk.call(node, Call::Command(request, Command::Update(command)));
        self.sleep(desk, patience);
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
        let current = self.asked.is_some_and(|asked| asked.request == request);
        match reply {
            Ok(Reply::Update(UpdateReply::Sent { number, .. }))
            | Ok(Reply::Update(UpdateReply::Fate(UpdateFate::Committed(number)))) => {
                desk.books.updates.acknowledged(self.index, *number)?;
                if current {
                    self.left -= 1;
                    self.taken = false;
                    self.rest(desk);
                }
            }
            Ok(Reply::Update(UpdateReply::Taken { .. })) if current => {
                self.taken = true;
                self.rest(desk);
            }
            Ok(Reply::Update(UpdateReply::Fate(fate))) if current => {
                self.trouble = format!("its fate is {fate:?}");
                self.taken = *fate == UpdateFate::Pending;
                self.rest(desk);
            }
            Ok(_) => {}
            Err(refusal) => {
                let wrong = matches!(
                    refusal,
                    Refusal::UpdateIdTaken { .. } | Refusal::UpdateTooOld { .. } | Refusal::TooLarge { .. }
                );
                ensure!(!wrong, "X24", "update {} was refused without a reason: {refusal}", self.index);
                if current {
                    self.trouble = refusal.to_string();
                    self.rest(desk);
                }
            }
        }
        Ok(())
    }

    /// The node that was asked is gone, or was not there.
    pub(crate) fn lost(&mut self, desk: &mut Desk<'_>, request: Option<RequestId>, node: usize) {
        let concerned = |asked: Asked| match request {
            Some(request) => request == asked.request,
            None => node == asked.node,
        };
        if self.asked.is_some_and(concerned) {
            self.trouble = "the node went down".into();
            self.taken = false;
            self.rest(desk);
        }
    }

    /// All faults are over: nobody waits longer than needed.
    pub(crate) fn heal(&mut self, desk: &mut Desk<'_>) {
        if self.left > 0 && self.asked.is_none() {
            self.sleep(desk, 0);
        }
    }
}

/// The id and the bytes of an update of a plan.
#[must_use]
pub(crate) fn content(seed: u64, index: usize, send: &SendPlan) -> (UpdateId, Bytes) {
    let mut draws = Draws::new(seed, Purpose::Updates, 1 << 33, index as u64);
    let id = u128::from(draws.u64()) << 64 | u128::from(draws.u64());
    let mut bytes = vec![index as u8; usize::try_from(send.bytes).unwrap_or(usize::MAX)];
    bytes[..16].copy_from_slice(&id.to_be_bytes());
    (UpdateId(id), bytes.into())
}
