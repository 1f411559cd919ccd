//! Updates on their way: from an application's wish to the entry, and what became of those that nobody waited for.

use alloc::collections::{BTreeSet, VecDeque};
use alloc::string::{String, ToString};

use bytes::Bytes;

use super::Input;
use super::history::Sent;
use super::table::{Change, Effect};
use crate::id::{AttachToken, NodeId, RequestId, UpdateId, UpdateNumber};
use crate::mesh::Mesh;
use crate::mesh::entry::{Body, Request};
use crate::mesh::requests::Purpose;
use crate::node::command::{Refusal, Reply};
use crate::rare;
use crate::time::Now;
use crate::update::{UpdateCommand, UpdateFate, UpdateKind, UpdateReply, UpdateStatus};

/// How many failures of updates that nobody waited for are remembered.
const FAILED_MAX: usize = 256;

/// What is under way, and what came to nothing.
#[derive(Clone, Debug, Default)]
pub(in crate::mesh) struct Sending {
    /// Updates proposed here as leader and not applied yet.
    proposed: BTreeSet<(NodeId, Request)>,
    failed: VecDeque<(UpdateKind, UpdateId, String)>,
}

impl Sending {
    /// Whether a leader that proposes at most so many updates at once has room for another.
    pub(in crate::mesh) fn has_room(&self, most: usize) -> bool {
        self.proposed.len() < most
    }

    pub(in crate::mesh) fn proposed(&mut self, from: NodeId, request: Request) {
        self.proposed.insert((from, request));
    }

    pub(in crate::mesh) fn over(&mut self, from: NodeId, request: Request) {
        self.proposed.remove(&(from, request));
    }

    pub(in crate::mesh) fn forget(&mut self) {
        self.proposed.clear();
    }

    pub(in crate::mesh) fn check(&self, most: usize) {
        assert!(self.proposed.len() <= most, "M5: updates under way are bounded");
        assert!(self.failed.len() <= FAILED_MAX, "M5: remembered failures are bounded");
    }
}

impl Mesh {
    pub(in crate::mesh) fn on_updates(&mut self, now: Now, input: Input) {
        match input {
            Input::Command { request, command } => self.on_update_command(now, request, command),
            Input::Verdict { token, upto } => self.on_update_verdict(token, upto),
            Input::Detach { token } => self.on_update_detach(token),
        }
    }

    fn on_update_command(&mut self, now: Now, request: RequestId, command: UpdateCommand) {
        match command {
            UpdateCommand::Send { kind, id, after, key, payload, wait } => {
                self.on_send_update(now, request, kind, (id, after), (key, payload), wait);
            }
            UpdateCommand::Find { kind, id } => {
                let fate = UpdateReply::Fate(self.fate(kind, id));
                self.reply(request, Ok(Reply::Update(fate)));
            }
            UpdateCommand::Attach { kind, window } => self.on_attach_updates(request, kind, window),
            UpdateCommand::PassOver { kind, allowed } => {
                let change = Change::PassOver { kind, allowed };
                self.on_client_request(now, request, Body::Updates(change));
            }
        }
    }

    fn on_send_update(
        &mut self,
        now: Now,
        request: RequestId,
        kind: UpdateKind,
        (id, after): (Option<UpdateId>, Option<UpdateNumber>),
        (key, payload): (String, Bytes),
        wait: bool,
    ) {
        if self.membership.is_none() {
            return self.reply(request, Err(Refusal::NotMember));
        }
        let history = self.state.updates.history(kind);
        let after = after.unwrap_or_else(|| history.last());
        let id = id.unwrap_or_else(|| UpdateId(self.rng.u128()));
        let sent = Sent { id, after, key, payload };
        if let Err(refusal) = sent.fits() {
            return self.reply(request, Err(refusal));
        }
        let sending = |purpose: &Purpose| matches!(purpose, Purpose::Update { .. });
        if self.requests.count(sending) >= self.config.updates_pending_max {
            return self.reply(request, Err(Refusal::Busy));
        }
        if !wait {
            self.reply(request, Ok(Reply::Update(UpdateReply::Taken { id })));
        }
        let purpose = Purpose::Update { kind, id, waits: wait.then_some(request) };
        let deadline = Some(now.monotonic + self.config.request_timeout);
        self.submit(now, purpose, Body::Updates(Change::Send { kind, sent }), deadline);
    }

    /// An update that was sent here is decided, or came to nothing in time.
    pub(in crate::mesh) fn on_update_decided(
        &mut self,
        (kind, id): (UpdateKind, UpdateId),
        waits: Option<RequestId>,
        result: Result<crate::mesh::state::Effect, Refusal>,
    ) {
        use crate::mesh::state::Effect as E;
        let result = match result {
            Ok(E::Updates(Effect::Sent { id, number, repeated, .. })) => {
                Ok(Reply::Update(UpdateReply::Sent { id, number, repeated }))
            }
            Ok(_) => {
                let reason = "the mesh decided something else under this request's number";
                Err(Refusal::Invalid(reason.into()))
            }
            Err(refusal) => Err(refusal),
        };
        match (waits, result) {
            (Some(request), result) => self.reply(request, result),
            (None, Ok(_)) => {}
            (None, Err(refusal)) => {
                rare!(UpdateFailedUnwaited);
                self.sending.failed.push_back((kind, id, refusal.to_string()));
                if self.sending.failed.len() > FAILED_MAX {
                    self.sending.failed.pop_front();
                }
            }
        }
    }

    fn fate(&self, kind: UpdateKind, id: UpdateId) -> UpdateFate {
        if let Some(number) = self.state.updates.history(kind).number(id) {
            return UpdateFate::Committed(number);
        }
        let pending = |purpose: &Purpose| matches!(purpose, Purpose::Update { kind: k, id: i, .. } if (*k, *i) == (kind, id));
        if self.requests.count(pending) > 0 {
            return UpdateFate::Pending;
        }
        let mut failed = self.sending.failed.iter().rev();
        match failed.find(|(k, i, _)| (*k, *i) == (kind, id)) {
            Some((_, _, why)) => UpdateFate::Failed(why.clone()),
            None => UpdateFate::Unknown,
        }
    }

    /// Whether it is the token of a handler of updates.
    #[must_use]
    pub fn hands_updates_to(&self, token: AttachToken) -> bool {
        self.handlers.of_token(token).is_some()
    }

    /// What people are told of updates.
    #[must_use]
    pub fn update_status(&self) -> alloc::vec::Vec<UpdateStatus> {
        let status = |kind: UpdateKind| {
            let history = self.state.updates.history(kind);
            let (behind, lagging) = self.state.updates.lagging(kind, &self.state.members);
            UpdateStatus {
                kind,
                last: history.last(),
                floor: history.floor(),
                bytes: history.bytes() as u64,
                bytes_max: super::HISTORY_BYTES_MAX as u64,
                pass_over: history.passes_over(),
                processed: self.update_cursor(kind),
                handler: self.update_handler(kind),
                behind,
                lagging,
            }
        };
        let known = self.membership.is_some();
        UpdateKind::ALL.into_iter().filter(|_| known).map(status).collect()
    }
}
