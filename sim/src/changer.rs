//! An operator who has targets taken out of streams: asks until each change is done, one after the other.

use std::collections::VecDeque;

use wattle_core::id::RequestId;
use wattle_core::members::{ChangeKind, MembersRefusal, MembersWish, Start};
use wattle_core::node::command::{Command, Refusal, Reply};

use crate::checker::Checked;
use crate::desk::{Call, Desk, request_of};
use crate::event::{Actor, MILLI, SECOND, Time};
use crate::plan::{ChangePlan, Plan};
use crate::random::{Draws, Purpose};

/// Beside the operators of a lost quorum.
const ACTOR: Actor = Actor::Operator(2);

/// The operator.
#[derive(Debug)]
pub(crate) struct Changer {
    /// What is left to do, and as it is asked for.
    left: VecDeque<(ChangePlan, MembersWish)>,
    /// The names of the streams.
    streams: Vec<String>,
    asked: Option<(RequestId, Time)>,
    epoch: u64,
    ordinal: u64,
    trouble: String,
}

impl Changer {
    /// The operator of a plan.
    pub(crate) fn new(plan: &Plan) -> Self {
        let wish = |change: &ChangePlan| MembersWish {
            stream: change.stream.clone(),
            target: plan.nodes[change.node].name.clone(),
            kind: change.change.kind(),
            reason: "the plan says so".into(),
        };
        let left = plan.changes.iter().map(|change| (change.clone(), wish(change))).collect();
        let streams = plan.streams.iter().map(|stream| stream.name.clone()).collect();
        Self { left, streams, asked: None, epoch: 0, ordinal: 0, trouble: "never asked".into() }
    }

    /// What is left to do, in words, and of which stream.
    pub(crate) fn owed(&self) -> Option<(usize, String)> {
        let (change, MembersWish { stream, target, kind, .. }) = self.left.front()?;
        Some((self.place(change)?, format!("stream {stream}: {kind:?} of {target}: {}", self.trouble)))
    }

    fn place(&self, change: &ChangePlan) -> Option<usize> {
        self.streams.iter().position(|name| *name == change.stream)
    }

    /// Sets the first wake.
    pub(crate) fn start(&mut self, desk: &mut Desk<'_>) {
        if let Some((change, _)) = self.left.front() {
            let at = change.at;
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
        let mut draws = Draws::new(desk.seed, Purpose::Members, 1, self.ordinal);
        let soon = draws.between(50 * MILLI, 600 * MILLI);
        let at = self.left.front().map_or(0, |(change, _)| change.at);
        self.sleep(desk, soon.max(at.saturating_sub(desk.now)));
    }

    /// Goes on. `ready` tells whether all nodes were members.
    pub(crate) fn wake(&mut self, desk: &mut Desk<'_>, epoch: u64, ready: bool) {
        let Some((change, wish)) = self.left.front().cloned().filter(|_| epoch == self.epoch) else {
            return;
        };
        if self.asked.is_some_and(|(_, until)| desk.now < until) {
            return self.sleep(desk, 100 * MILLI);
        }
        let stream = self.place(&change).filter(|&stream| desk.books.streams[stream].instance().is_some());
        let Some(stream) = stream.filter(|_| ready) else {
            self.trouble = "nobody knows of the stream".into();
            return self.rest(desk);
        };
        desk.books.asks_for_change(stream, change.node, change.change);
        self.ordinal += 1;
        let request = request_of(ACTOR, self.ordinal);
        self.asked = Some((request, desk.now + 12 * SECOND));
        desk.call(change.asked_at, Call::Command(request, Command::ChangeMembers(wish)));
        self.sleep(desk, 100 * MILLI);
    }

    /// A node answers.
    ///
    /// # Errors
    /// X30.
    pub(crate) fn reply(
        &mut self,
        desk: &mut Desk<'_>,
        request: RequestId,
        reply: &Result<Reply, Refusal>,
    ) -> Checked {
        if self.asked.is_none_or(|(asked, _)| asked != request) {
            return Ok(());
        }
        let Some((change, _)) = self.left.front() else { return Ok(()) };
        match reply {
            Ok(Reply::StreamMembers { members, .. }) => {
                let node = desk.books.ids[change.node];
                let adds = change.change.adds();
                if let Some(stream) = self.place(change) {
                    desk.books.changed(stream, members)?;
                }
                self.trouble = format!("{members:?}");
                let founded =
                    self.place(change).is_some_and(|stream| desk.books.seals.goes_on_from(stream, node));
                let joined = adds && members.added.iter().any(|added| added.node == node);
                if members.taken_out(node).is_some() || joined || founded {
                    self.left.pop_front();
                }
            }
            Err(Refusal::Members(MembersRefusal::UnderWay(what))) => {
                self.trouble = format!("another is under way, and nobody asked for it: {what}");
            }
            // Who admitted it forgot that with a disk.
            Err(Refusal::UnknownNode(_)) if desk.books.may_stop => drop(self.left.pop_front()),
            // What it was to begin with is not kept, or not there yet.
            Err(Refusal::Members(MembersRefusal::NotKept { .. } | MembersRefusal::AboveEnd { .. })) => {
                self.trouble = "another start".into();
                self.left
                    .iter_mut()
                    .take(1)
                    .for_each(|(_, wish)| wish.kind = ChangeKind::Add(Start::FirstKept));
            }
            // The stream was sealed without it, or without all others.
            Err(Refusal::Members(
                MembersRefusal::Lost(_) | MembersRefusal::LastTarget(_) | MembersRefusal::Sealed,
            )) => {
                drop(self.left.pop_front());
            }
            Ok(other) => self.trouble = format!("{other:?}"),
            Err(refusal) => self.trouble = refusal.to_string(),
        }
        self.rest(desk);
        Ok(())
    }

    /// The node that was asked is gone, or was not there.
    pub(crate) fn lost(&mut self, desk: &mut Desk<'_>, request: Option<RequestId>, node: usize) {
        let Some((asked, _)) = self.asked else { return };
        let at = self.left.front().map(|(change, _)| change.asked_at);
        if request.map_or(Some(node) == at, |request| request == asked) {
            self.trouble = "the node went down".into();
            self.rest(desk);
        }
    }

    /// All faults are over.
    pub(crate) fn heal(&mut self, desk: &mut Desk<'_>) {
        if self.asked.is_none() && !self.left.is_empty() {
            self.sleep(desk, SECOND);
        }
    }
}
