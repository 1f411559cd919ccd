//! Requests on their way to the log: kept and repeated where they were made, checked and stamped where the group is led.
//!
//! A request is done when the node it was made at has *applied* its entry (M10); nobody sends it an answer for that. It is sent again until then, and a
//! repeat that reaches the log a second time changes nothing (M4).

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::ToString;
use alloc::vec::Vec;

use super::entry::{Body, Entry, Request};
use super::rotation::Step;
use super::state::Effect;
use super::updates::Change;
use super::wire::{Message, Verdict};
use super::{Mesh, Output, updates};
use crate::agreed::ConfigReply;
use crate::id::{LogIndex, NodeId, RequestId, StreamInstance, UpdateId};
use crate::node::command::{Refusal, Reply};
use crate::planted::Bug;
use crate::rare;
use crate::sometimes;
use crate::time::{Instant, Now, Wall};
use crate::update::{UpdateKind, UpdateReply};
use crate::when::When;
use crate::work::Job;

/// What a request is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A command of the application.
    Client(RequestId),
    /// A node wants to join through this one.
    Admission(NodeId),
    /// The mesh begins.
    Founding,
    /// This node's own addresses changed.
    OwnChange,
    /// An update is sent.
    Update {
        /// Of which kind.
        kind: UpdateKind,
        /// Which.
        id: UpdateId,
        /// Who waits for it.
        waits: Option<RequestId>,
    },
    /// As leader: what members have processed.
    Cursors,
    /// What this node says of itself.
    Describe,
    /// This node has a next key.
    NextKey,
    /// The old one is good no more.
    RetireKey,
    /// A word that this node owes to the seal of a stream.
    Seal(StreamInstance),
    /// The members of a stream changed, as this node, which leads its group, says.
    Members(StreamInstance),
    /// The handler of this node fails at a message of a stream.
    Failed(StreamInstance),
    /// A target of a stream stands still, as this node says, which leads its group.
    Idle(StreamInstance),
}

#[derive(Clone, Debug)]
struct Pending {
    purpose: Purpose,
    seen: LogIndex,
    body: Body,
    /// Whom it was last sent to.
    asked: Option<NodeId>,
    /// It was given to a leader once, and may be done whatever is heard of that.
    sent: bool,
    again: Instant,
    deadline: Option<Instant>,
}

#[derive(Clone, Debug)]
enum Stage {
    /// The signatures under it are being checked: one, and those that are left.
    Verifying { token: u64, left: Vec<Job>, seen: LogIndex, body: Box<Body> },
    /// In the log, or about to be.
    Proposed { context: u64 },
}

/// Requests made here, and requests served as leader.
#[derive(Clone, Debug, Default)]
pub(super) struct Requests {
    pending: BTreeMap<Request, Pending>,
    served: BTreeMap<(NodeId, Request), Stage>,
    contexts: BTreeMap<u64, (NodeId, Request)>,
    verifying: BTreeMap<u64, (NodeId, Request)>,
    stamped: Wall,
}

impl Requests {
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.pending.values().map(|p| p.deadline.map_or(p.again, |d| d.min(p.again))).min()
    }

    pub(super) fn forget_served(&mut self) {
        self.served.clear();
        self.contexts.clear();
        self.verifying.clear();
    }

    /// Ends the requests of applications, and gives them.
    pub(super) fn take_clients(&mut self) -> Vec<(Request, RequestId, Body)> {
        let pending = core::mem::take(&mut self.pending);
        let client = |(request, pending): (Request, Pending)| match pending.purpose {
            Purpose::Client(id) | Purpose::Update { waits: Some(id), .. } => {
                Some((request, id, pending.body))
            }
            Purpose::Admission(_)
            | Purpose::Update { waits: None, .. }
            | Purpose::Cursors
            | Purpose::Describe
            | Purpose::Founding
            | Purpose::NextKey
            | Purpose::RetireKey
            | Purpose::Seal(_)
            | Purpose::Members(_)
            | Purpose::Failed(_)
            | Purpose::Idle(_)
            | Purpose::OwnChange => None,
        };
        pending.into_iter().filter_map(client).collect()
    }

    /// Nothing is asked or served any more.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    pub(super) fn has(&self, purpose: &Purpose) -> bool {
        self.pending.values().any(|p| p.purpose == *purpose)
    }

    /// How many requests are for such a purpose.
    pub(super) fn count(&self, purpose: impl Fn(&Purpose) -> bool) -> usize {
        self.pending.values().filter(|p| purpose(&p.purpose)).count()
    }

    /// Asks for it no more; what was asked may be done yet.
    pub(super) fn give_up(&mut self, purpose: &Purpose) {
        self.pending.retain(|_, pending| pending.purpose != *purpose);
    }

    /// Whether the command is on its way to the log.
    pub(super) fn is_open(&self, request: RequestId) -> bool {
        self.has(&Purpose::Client(request))
    }

    pub(super) fn pending(&self) -> usize {
        self.pending.len()
    }

    #[cfg(test)]
    pub(super) fn waiting(&self) -> impl Iterator<Item = Request> + '_ {
        self.pending.keys().copied()
    }

    pub(super) fn served(&self) -> usize {
        self.served.len()
    }

    fn drop_served(&mut self, key: (NodeId, Request)) {
        match self.served.remove(&key) {
            Some(Stage::Verifying { token, .. }) => drop(self.verifying.remove(&token)),
            Some(Stage::Proposed { context }) => drop(self.contexts.remove(&context)),
            None => {}
        }
    }
}

impl Mesh {
    /// Makes a request and sends it on its way. `deadline` is when it is refused for want of a quorum.
    pub(super) fn submit(&mut self, now: Now, purpose: Purpose, body: Body, deadline: Option<Instant>) {
        let request = Request(self.rng.u128());
        let again = now.monotonic + self.config.request_retry;
        let seen = self.state.applied;
        let pending = Pending { purpose, seen, body, asked: None, sent: false, again, deadline };
        self.requests.pending.insert(request, pending);
        self.ask(now, request);
    }

    pub(super) fn on_client_request(&mut self, now: Now, request: RequestId, body: Body) {
        if self.membership.is_none() {
            return self.reply(request, Err(Refusal::NotMember));
        }
        if self.requests.pending.len() >= self.config.requests_max {
            return self.reply(request, Err(Refusal::Busy));
        }
        let bytes: usize = self.requests.pending.values().map(|pending| pending.body.bytes()).sum();
        if bytes + body.bytes() > self.config.request_bytes_max {
            return self.reply(request, Err(Refusal::Busy));
        }
        if let Body::Close { name } = &body
            && self.planted.strikes(Bug::RefusedByWhatItKnows, || self.stream(name).is_none())
        {
            return self.reply(request, Err(Refusal::UnknownStream(name.clone())));
        }
        if self.lacks_quorum() {
            // Nobody was asked, so nothing of it is done.
            sometimes!(RefusedAtOnce);
            return self.reply(request, Err(Refusal::NoQuorum));
        }
        let leaves = matches!(&body, Body::Evict(wish) if wish.left);
        let timeout = if leaves { self.config.leave_timeout } else { self.config.request_timeout };
        let deadline = Some(now.monotonic + timeout);
        self.submit(now, Purpose::Client(request), body, deadline);
    }

    fn ask(&mut self, now: Now, request: Request) {
        let leader = self.control.to_ask(self.own);
        let leading = self.control.leading;
        let Some(pending) = self.requests.pending.get_mut(&request) else { return };
        pending.again = now.monotonic + self.config.request_retry;
        let (seen, body) = (pending.seen, pending.body.clone());
        pending.sent |= leading || leader.is_some();
        if leading {
            pending.asked = None;
            self.serve(now, self.own, request, seen, body);
        } else if let Some(leader) = leader {
            pending.asked = Some(leader);
            self.forward(leader, request, seen, body);
        }
    }

    fn forward(&mut self, to: NodeId, request: Request, seen: LogIndex, body: Body) {
        // A token's use is on disk before its admission leaves (M9).
        let when = if body.admission().is_some() { When::Durable } else { When::Now };
        let message = Message::Forward { request, seen, body: Box::new(body) };
        self.outputs.push_back(Output::Send { to, message, when });
    }

    /// There is a new leader, or none: everything open is asked again.
    pub(super) fn ask_again(&mut self, now: Now) {
        let open: Vec<Request> = self.requests.pending.keys().copied().collect();
        for request in open {
            self.ask(now, request);
        }
    }

    pub(super) fn on_message(&mut self, now: Now, from: NodeId, message: Message) {
        match message {
            Message::Forward { request, seen, body } => {
                if matches!(*body, Body::Found { .. } | Body::Forbidden { .. } | Body::Recover(_)) {
                    return self.answer(from, request, Verdict::Refused("nobody asks for that".into()));
                }
                if !self.state.members.contains_key(&from) {
                    rare!(AskedByAStranger);
                    // Whoever is here on the word of others changes nothing; and a new leader may not have applied its admission yet.
                    return self.answer(from, request, Verdict::Busy);
                }
                self.serve(now, from, request, seen, *body);
            }
            Message::Answer { request, verdict } => self.on_answer(now, from, request, verdict),
            Message::WhoIs { node } => self.on_who_is(from, node),
            Message::Introduce { endorsement } => self.on_introduce(&endorsement),
            Message::Processed { cursors } => self.on_processed(now, from, cursors),
            Message::Recovery(message) => self.on_recovery_message(now, from, message),
        }
    }

    fn on_answer(&mut self, now: Now, from: NodeId, request: Request, verdict: Verdict) {
        let Some(pending) = self.requests.pending.get_mut(&request) else { return };
        if pending.asked != Some(from) {
            return;
        }
        match verdict {
            Verdict::NotLeader(Some(leader)) if leader != from && leader != self.own => {
                sometimes!(RequestSentOn);
                pending.asked = Some(leader);
                pending.again = now.monotonic + self.config.request_retry;
                let (seen, body) = (pending.seen, pending.body.clone());
                self.forward(leader, request, seen, body);
            }
            Verdict::NotLeader(_) => {}
            // It does answer.
            Verdict::Busy => pending.asked = None,
            Verdict::Refused(reason) => self.fail(now, request, Refusal::Invalid(reason)),
        }
    }

    /// Takes a request as leader.
    fn serve(&mut self, now: Now, from: NodeId, request: Request, seen: LogIndex, body: Body) {
        if !self.control.leading {
            let leader = self.control.leader.filter(|&l| l != self.own);
            return self.answer(from, request, Verdict::NotLeader(leader));
        }
        if self.is_fenced() {
            // Nothing is done before the lost are taken out (M35).
            return self.answer(from, request, Verdict::Busy);
        }
        let key = (from, request);
        if self.requests.served.contains_key(&key) {
            sometimes!(RequestServedTwice);
            return;
        }
        if self.requests.served.len() >= self.config.served_max {
            return self.answer(from, request, Verdict::Busy);
        }
        if let Body::Update { node, .. } = &body
            && *node != from
        {
            return self.answer(from, request, Verdict::Refused("a member speaks for itself only".into()));
        }
        match &body {
            Body::Describe { node, .. } | Body::RotateNodeKey { node, .. } if *node != from => {
                let reason = "a member speaks for itself only".into();
                return self.answer(from, request, Verdict::Refused(reason));
            }
            Body::RotateNodeKey { node, step: Step::Retire { hurry, .. } } => {
                let member = self.state.members.get(node);
                if member.is_some_and(|member| !self.may_retire(now, member, *hurry)) {
                    sometimes!(RetirementWaits);
                    return self.answer(from, request, Verdict::Busy);
                }
            }
            Body::Updates(Change::Processed { .. }) if from != self.own => {
                let reason = "what members have processed is gathered by the leader".into();
                return self.answer(from, request, Verdict::Refused(reason));
            }
            Body::Updates(Change::Send { .. }) => {
                if !self.sending.has_room(self.config.updates_served_max) {
                    return self.answer(from, request, Verdict::Busy);
                }
                self.sending.proposed(from, request);
            }
            _ => {}
        }
        if let Err(refusal) = body.check() {
            // It cannot be done later either, so no copy of it will be.
            return self.answer(from, request, Verdict::Refused(refusal.to_string()));
        }
        if let Body::Evict(wish) = body {
            return self.serve_eviction(now, key, seen, wish);
        }
        match self.signatures_under(from, &body) {
            Ok(jobs) => self.verify(now, key, seen, body, jobs),
            // It may follow from what is not applied here yet.
            Err(_) if seen > self.state.applied => self.answer(from, request, Verdict::Busy),
            Err(refusal) => self.answer(from, request, Verdict::Refused(refusal.to_string())),
        }
    }

    /// What to check before a request of a member goes into the log: nothing that is signed may fill it and be refused by everybody.
    fn signatures_under(&self, from: NodeId, body: &Body) -> Result<Vec<Job>, Refusal> {
        if let Body::RotateNodeKey { node, step } = body {
            return self.state.check_step(*node, step);
        }
        let Some(admission) = body.admission() else { return Ok(Vec::new()) };
        let signers = self.accepted_keys(from);
        let mesh = self.mesh_id().filter(|_| admission.admitter == from && !signers.is_empty());
        let mesh = mesh.ok_or_else(|| Refusal::Invalid("it does not bear its admitter's name".into()))?;
        let (message, signature) = (admission.statement(mesh), admission.signature.clone());
        Ok(Vec::from([Job::Verify { keys: signers, message, signature }]))
    }

    /// Has the signatures under a request checked; then it goes into the log.
    fn verify(&mut self, now: Now, key: (NodeId, Request), seen: LogIndex, body: Body, mut left: Vec<Job>) {
        let Some(job) = left.pop() else { return self.propose(now, key, seen, body) };
        let token = self.next_number();
        self.requests.served.insert(key, Stage::Verifying { token, left, seen, body: Box::new(body) });
        self.requests.verifying.insert(token, key);
        self.outputs.push_back(Output::Work { token, job });
    }

    pub(super) fn on_verified(&mut self, now: Now, token: u64, valid: bool) {
        let Some(key) = self.requests.verifying.remove(&token) else { return };
        let Some(Stage::Verifying { left, seen, body, .. }) = self.requests.served.remove(&key) else {
            return;
        };
        if valid {
            return self.verify(now, key, seen, *body, left);
        }
        rare!(StepNotSigned, matches!(*body, Body::RotateNodeKey { .. }));
        let reason = "a signature under it is not of who should have signed it";
        self.answer(key.0, key.1, Verdict::Refused(reason.into()));
    }

    pub(super) fn propose(&mut self, now: Now, key: (NodeId, Request), seen: LogIndex, body: Body) {
        assert!(self.control.leading, "M6: only the leader stamps and proposes");
        let body = self.unless_forbidden(key.1, body);
        let after = self.requests.stamped.max(self.state.time);
        let time = Wall(now.wall.0.max(after.0.saturating_add(1)));
        self.requests.stamped = time;
        if self.planted.strikes(Bug::AnsweredBeforeCommit, || matches!(body, Body::Open { .. })) {
            let effect = Effect::Opened { instance: StreamInstance(key.1.0), created: true };
            self.on_decided(now, key.0, key.1, Ok(effect));
        }
        let entry = Entry { origin: key.0, request: key.1, seen, time, body };
        let context = self.next_number();
        self.requests.served.insert(key, Stage::Proposed { context });
        self.requests.contexts.insert(context, key);
        self.outputs.push_back(Output::Propose { data: entry.encode(), context });
    }

    pub(super) fn on_proposal_refused(&mut self, context: u64, leader: Option<NodeId>) {
        let Some(key) = self.requests.contexts.remove(&context) else { return };
        self.requests.served.remove(&key);
        self.sending.over(key.0, key.1);
        self.end_evicting(key);
        let leader = leader.filter(|&l| l != self.own);
        self.answer(key.0, key.1, Verdict::NotLeader(leader));
    }

    pub(super) fn answer(&mut self, to: NodeId, request: Request, verdict: Verdict) {
        if to == self.own {
            // Own requests are asked again by their deadline; only a verdict for good ends them at once.
            match verdict {
                Verdict::Refused(reason) => self.failed.push((request, Refusal::Invalid(reason))),
                Verdict::NotLeader(_) | Verdict::Busy => {}
            }
            return;
        }
        let message = Message::Answer { request, verdict };
        self.outputs.push_back(Output::Send { to, message, when: When::Now });
    }

    /// An entry was applied here: whoever waited for it is told.
    pub(super) fn on_decided(
        &mut self,
        now: Now,
        origin: NodeId,
        request: Request,
        result: Result<Effect, Refusal>,
    ) {
        self.requests.drop_served((origin, request));
        self.sending.over(origin, request);
        self.end_evicting((origin, request));
        if origin != self.own {
            return;
        }
        let Some(pending) = self.requests.pending.remove(&request) else { return };
        match (pending.purpose, result) {
            (Purpose::Client(id), Ok(Effect::KeyRotated(version))) => {
                let reply = self.key_rotated(id, version);
                self.reply(id, reply);
            }
            (Purpose::Client(id), Ok(effect @ Effect::Evicted { .. })) => self.evicted_reply(id, &effect),
            (Purpose::Client(id), Ok(Effect::Flow { scope, .. })) => self.flow_reply(id, &scope),
            (Purpose::Client(id), Ok(effect)) => {
                let reply = match effect {
                    Effect::Opened { instance, created } => Ok(Reply::StreamOpened { instance, created }),
                    Effect::Closed(_) => Ok(Reply::StreamClosed),
                    Effect::Sealed { instance, .. } => self.sealed_reply(instance),
                    Effect::Members { instance, .. } => self.members_reply(instance),
                    Effect::Updates(updates::Effect::PolicySet) => Ok(Reply::Update(UpdateReply::PolicySet)),
                    Effect::ConfigSet(version) | Effect::Configured(version) => {
                        Ok(Reply::Config(ConfigReply::Written { version }))
                    }
                    Effect::ConfigDeleted(version) => Ok(Reply::Config(ConfigReply::Deleted { version })),
                    // No client asks for these: whoever leads put something else under the request's number.
                    Effect::Founded
                    | Effect::Admitted(_)
                    | Effect::Updated(_)
                    | Effect::Described(_)
                    | Effect::Updates(_)
                    | Effect::KeyRotated(_)
                    | Effect::KeyChanged { .. }
                    | Effect::Recovered { .. }
                    | Effect::Flow { .. }
                    | Effect::Evicted { .. } => {
                        let reason = "the mesh decided something else under this request's number";
                        Err(Refusal::Invalid(reason.into()))
                    }
                };
                self.reply(id, reply);
            }
            (Purpose::Client(id), Err(refusal)) => {
                self.secrets.remove(&id);
                self.reply(id, Err(refusal));
            }
            (Purpose::Admission(node), result) => self.on_admission_decided(now, node, result),
            (Purpose::Update { kind, id, waits }, result) => {
                self.on_update_decided((kind, id), waits, result);
            }
            (Purpose::Describe, result) => self.on_described(now, result),
            (Purpose::NextKey | Purpose::RetireKey, result) => self.on_rotation_decided(now, &result),
            // What is still owed then is said again.
            (
                Purpose::Founding
                | Purpose::OwnChange
                | Purpose::Cursors
                | Purpose::Seal(_)
                | Purpose::Members(_)
                | Purpose::Failed(_)
                | Purpose::Idle(_),
                _,
            ) => {}
        }
    }

    fn fail(&mut self, now: Now, request: Request, refusal: Refusal) {
        let Some(pending) = self.requests.pending.remove(&request) else { return };
        match pending.purpose {
            Purpose::Client(id) => {
                self.secrets.remove(&id);
                self.reply(id, Err(refusal));
            }
            Purpose::Admission(node) => self.on_admission_decided(now, node, Err(refusal)),
            Purpose::Update { kind, id, waits } => self.on_update_decided((kind, id), waits, Err(refusal)),
            Purpose::Describe => self.on_described(now, Err(refusal)),
            Purpose::NextKey | Purpose::RetireKey => self.on_rotation_decided(now, &Err(refusal)),
            Purpose::Founding
            | Purpose::OwnChange
            | Purpose::Cursors
            | Purpose::Seal(_)
            | Purpose::Members(_)
            | Purpose::Failed(_)
            | Purpose::Idle(_) => {}
        }
    }

    /// Ends the requests that applications wait for: with one refusal those that nobody was asked for yet, with another those that may be done.
    pub(super) fn fail_clients(&mut self, now: Now, unasked: &Refusal, asked: Option<&Refusal>) {
        let waited = |purpose: &Purpose| {
            matches!(purpose, Purpose::Client(_) | Purpose::Update { waits: Some(_), .. })
        };
        let open = self.requests.pending.iter().filter(|(_, p)| waited(&p.purpose));
        let open: Vec<(Request, bool)> = open.map(|(request, p)| (*request, p.sent)).collect();
        for (request, sent) in open {
            if let Some(refusal) = if sent { asked } else { Some(unasked) } {
                self.fail(now, request, refusal.clone());
            }
        }
    }

    /// Ends requests that were refused for good while something else was being done.
    pub(super) fn settle_failed(&mut self, now: Now) {
        for (request, refusal) in core::mem::take(&mut self.failed) {
            self.fail(now, request, refusal);
        }
    }

    pub(super) fn on_request_deadline(&mut self, now: Now) {
        let due = |p: &Pending| p.deadline.is_some_and(|d| d <= now.monotonic);
        let over: Vec<Request> =
            self.requests.pending.iter().filter(|(_, p)| due(p)).map(|(r, _)| *r).collect();
        for request in over {
            sometimes!(RequestTimedOut);
            self.fail(now, request, Refusal::NoQuorum);
        }
        let leader = self.control.leader;
        let again = self.requests.pending.iter().filter(|(_, p)| p.again <= now.monotonic);
        let (again, asked): (Vec<Request>, Vec<Option<NodeId>>) = again.map(|(r, p)| (*r, p.asked)).unzip();
        if leader.is_some() && asked.contains(&leader) {
            self.on_unanswered();
        }
        for request in again {
            self.ask(now, request);
        }
    }

    /// The leader did not answer in time. It may be gone unnoticed: a group in which nothing happens says nothing (rule E3).
    pub(super) fn on_unanswered(&mut self) {
        sometimes!(QuestionUnanswered);
        self.outputs.push_back(Output::Unanswered);
    }

    /// The mesh is there: nobody needs to begin it any more.
    pub(super) fn drop_founding(&mut self) {
        self.requests.pending.retain(|_, p| p.purpose != Purpose::Founding);
    }

    /// Tells the mesh where this node is reached now, if that is not what it knows.
    pub(super) fn announce_own_change(&mut self, now: Now) {
        let Some(member) = self.state.members.get(&self.own) else { return };
        let same = member.addresses == self.config.addresses
            && member.api == self.config.api
            && member.region == self.config.region;
        let known = self.control.leading || self.control.leader.is_some();
        if same || !known || self.requests.has(&Purpose::OwnChange) {
            return;
        }
        let body = Body::Update {
            node: self.own,
            addresses: self.config.addresses.clone(),
            api: self.config.api.clone(),
            region: self.config.region.clone(),
        };
        let deadline = Some(now.monotonic + self.config.request_timeout);
        self.submit(now, Purpose::OwnChange, body, deadline);
    }
}
