//! Joining, seen by the node that lets others in.
//!
//! Nothing is kept of a stranger until its proof is right. Then its admission is signed, put into the log through the leader, and
//! answered once this node has applied it. A repeat, after a lost answer, costs neither an entry nor a use of the token.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;

use super::entry::{Admission, Body};
use super::join::JOIN_VERSION;
use super::join_key::{self, JoinKey};
use super::requests::Purpose;
use super::state::Effect;
use super::store::{IssuedToken, Space};
use super::token::Verifier;
use super::wire::{JoinMessage, JoinRequest, ROSTER_MAX, RosterEntry};
use super::{Mesh, Output};
use crate::agreed::JoinPolicy;
use crate::id::{LaneId, LogIndex, MeshId, NodeId};
use crate::node::command::{JoinBar, Refusal};
use crate::node::output::{CloseReason, Event};
use crate::rare;
use crate::sometimes;
use crate::time::{Instant, Now};
use crate::when::When;
use crate::work::PublicKey;

/// A node in the middle of being admitted.
#[derive(Clone, Debug)]
pub(super) struct Admitting {
    /// Where its answer goes; `None` once the lane is gone.
    lane: Option<LaneId>,
    /// What it came with.
    by: By,
    admission: Admission,
    /// The signature being made, until the request goes to the log.
    signing: Option<u64>,
}

/// Admissions under way, and lanes that have their answer.
#[derive(Clone, Debug, Default)]
pub(super) struct Admissions {
    open: BTreeMap<NodeId, Admitting>,
    answered: BTreeMap<LaneId, Instant>,
}

impl Admissions {
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.answered.values().min().copied()
    }

    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    /// Ends all of them, and gives their lanes.
    pub(super) fn take_lanes(&mut self) -> Vec<LaneId> {
        let open = core::mem::take(&mut self.open).into_values().filter_map(|admitting| admitting.lane);
        open.chain(core::mem::take(&mut self.answered).into_keys()).collect()
    }
}

/// What a joiner came with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    /// A token of this node.
    Token(u128),
    /// The mesh's join key, set by that entry.
    Key(LogIndex),
    /// Nothing that counts: the mesh is open.
    Nothing,
}

/// Why a joiner is not admitted.
struct Rejection {
    reason: String,
    retry: bool,
    bar: Option<JoinBar>,
}

impl Rejection {
    fn never(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), retry: false, bar: None }
    }

    fn later(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), retry: true, bar: None }
    }

    fn barred(bar: JoinBar, reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), retry: false, bar: Some(bar) }
    }

    fn of(refusal: Refusal) -> Self {
        match refusal {
            Refusal::JoinBarred { bar, reason } => Self::barred(bar, reason),
            other => Self::never(alloc::format!("{other}")),
        }
    }
}

/// What a proper request leads to.
enum Judgement {
    /// It is a member under exactly this replica: answer again.
    Member,
    /// Sign and propose.
    Admit(Box<Admission>, By),
}

impl Mesh {
    pub(super) fn on_join_request(
        &mut self,
        now: Now,
        lane: LaneId,
        peer_key: PublicKey,
        request: Box<JoinRequest>,
    ) {
        match self.judge(now, &peer_key, &request) {
            Ok(Judgement::Member) => {
                sometimes!(MemberToldAgain);
                self.accept(now, lane, request.node);
            }
            Ok(Judgement::Admit(admission, by)) => self.begin_admission(now, lane, by, *admission),
            Err(rejection) => self.reject(now, lane, Some(request.node), rejection),
        }
    }

    /// Whether this request may be granted, from what is known here. The log has the last word.
    fn judge(&self, now: Now, peer_key: &PublicKey, request: &JoinRequest) -> Result<Judgement, Rejection> {
        if request.version != JOIN_VERSION {
            return Err(Rejection::never(alloc::format!(
                "it speaks version {} of joining, and this mesh version {JOIN_VERSION}",
                request.version
            )));
        }
        let Some(mesh) = self.state.mesh.filter(|_| self.membership.is_some()) else {
            return Err(Rejection::later("the node that was asked has not caught up with its mesh yet"));
        };
        if request.key != *peer_key {
            return Err(Rejection::never("the key it names is not the key it proved"));
        }
        if request.mesh.is_some_and(|wanted| wanted != mesh) {
            return Err(Rejection::never("the node that was asked belongs to another mesh"));
        }
        let proven = self.proven(mesh, request);
        let open = self.settings().join_policy == JoinPolicy::Open;
        if let Err(reason) = proven
            && !open
        {
            return Err(Rejection::barred(JoinBar::WrongKey, reason));
        }
        if request.node == self.own {
            return Err(Rejection::never("its identity is the one of the node it asked: one is a copy"));
        }
        let member = self.member(request.node);
        if member.is_some_and(|m| m.keys.contains(peer_key) && m.replica == request.replica) {
            return Ok(Judgement::Member);
        }
        if self.settings().join_policy == JoinPolicy::Closed {
            return Err(Rejection::of(join_key::closed()));
        }
        self.still_wanted(&proven, request.node)?;
        let by = match proven {
            Ok(by) if !open => by,
            _ => By::Nothing,
        };
        self.still_good(now, by, request.node)?;
        let admission = Admission {
            node: request.node,
            name: request.name.clone(),
            key: request.key,
            addresses: request.addresses.clone(),
            api: request.api.clone(),
            replica: request.replica,
            admitter: self.own,
            signature: Bytes::new(),
        };
        self.state.may_admit(&admission).map_err(Rejection::never)?;
        Ok(Judgement::Admit(Box::new(admission), by))
    }

    /// Whether who was taken out comes with something made since (M26).
    fn still_wanted(&self, proven: &Result<By, &'static str>, node: NodeId) -> Result<(), Rejection> {
        let Some(gone) = self.state.evicted.get(&node) else { return Ok(()) };
        let since = match proven {
            Ok(By::Token(id)) => self.tokens.get(id).is_some_and(|token| token.epoch >= gone.eviction.number),
            Ok(By::Key(_)) => {
                self.state.join_key.as_ref().is_some_and(|key| key.epoch >= gone.eviction.number)
            }
            Ok(By::Nothing) | Err(_) => false,
        };
        if since {
            return Ok(());
        }
        Err(Rejection::never(alloc::format!("{}; the token shown was made before that", gone.words())))
    }

    /// What the joiner proves to know; in words why that is nothing.
    fn proven(&self, mesh: MeshId, request: &JoinRequest) -> Result<By, &'static str> {
        let Some(secret) = &request.secret else {
            let token = self.tokens.get(&request.token);
            let token = token.filter(|token| self.is_meant(&token.verifier, mesh, request));
            return token
                .map(|_| By::Token(request.token))
                .ok_or("this node has made no such token, or it is no longer good: ask for a new one");
        };
        let key = self.state.join_key.as_ref().filter(|key| key.opens(mesh, secret));
        let bound = self.is_meant(&secret.verifier(), mesh, request);
        key.filter(|_| bound).map(|key| By::Key(key.version)).ok_or(
            "this is not the mesh's join key, or no longer: ask for the new one (`wattle mesh key rotate`)",
        )
    }

    /// Whether the proof of a joiner is meant for this node: under the key that it proved to the joiner, one of its own.
    fn is_meant(&self, verifier: &Verifier, mesh: MeshId, request: &JoinRequest) -> bool {
        self.keys.held().iter().any(|key| verifier.accepts(mesh, key, request))
    }

    /// Whether what a joiner came with is still good for it, as far as is known here.
    fn still_good(&self, now: Now, by: By, node: NodeId) -> Result<(), Rejection> {
        match by {
            By::Token(id) => {
                let Some(token) = self.tokens.get(&id) else { return Ok(()) };
                if now.wall > token.expiry {
                    let reason = "the token has expired: ask for a new one";
                    return Err(Rejection::barred(JoinBar::ExpiredKey, reason));
                }
                if !token.has_use_for(node) {
                    let reason = alloc::format!(
                        "the token was used by {} nodes, which is all it allows: ask for a new one",
                        token.uses
                    );
                    return Err(Rejection::barred(JoinBar::ExhaustedKey, reason));
                }
                Ok(())
            }
            By::Key(version) => {
                self.state.may_join(node, false, Some(version)).map_err(Rejection::of)?;
                // The time in the log stands still while nothing is written.
                let expired = |key: &&JoinKey| key.expiry.is_some_and(|expiry| now.wall > expiry);
                match self.state.join_key.as_ref().filter(expired) {
                    Some(key) => key.bar(now.wall).map_err(Rejection::of),
                    None => Ok(()),
                }
            }
            By::Nothing => Ok(()),
        }
    }

    fn begin_admission(&mut self, now: Now, lane: LaneId, by: By, admission: Admission) {
        let node = admission.node;
        if let Some(open) = self.admissions.open.get_mut(&node) {
            if open.admission.replica == admission.replica {
                sometimes!(JoinerCameAnew);
                // The same joiner on a new connection: the answer goes there.
                let old = open.lane.replace(lane).filter(|&old| old != lane);
                if let Some(old) = old {
                    self.close(old, CloseReason::Surplus);
                }
                return;
            }
            rare!(EarlierJoinUnderWay);
            let reason = "an earlier join of this node is still under way";
            return self.reject(now, lane, Some(node), Rejection::later(reason));
        }
        if self.admissions.open.len() >= self.config.joins_max {
            let reason = "too many nodes are joining here at once";
            return self.reject(now, lane, Some(node), Rejection::later(reason));
        }
        let Some(mesh) = self.mesh_id() else { return };
        let work = self.sign(admission.statement(mesh));
        let admitting = Admitting { lane: Some(lane), by, admission, signing: Some(work) };
        self.admissions.open.insert(node, admitting);
    }

    /// The admission is signed: the token's use is recorded, then the log is asked.
    pub(super) fn on_admission_signed(&mut self, now: Now, work: u64, signature: &[u8]) {
        let Some(admitting) = self.admissions.open.values_mut().find(|a| a.signing == Some(work)) else {
            return;
        };
        admitting.signing = None;
        admitting.admission.signature = Bytes::copy_from_slice(signature);
        let (node, by, admission) = (admitting.admission.node, admitting.by, admitting.admission.clone());
        if let By::Token(id) = by
            && !self.redeem(id, node)
        {
            let reason = "the token is used up or has expired: ask for a new one";
            let refusal = join_key::barred(JoinBar::ExhaustedKey, reason);
            return self.on_admission_decided(now, node, Err(refusal));
        }
        let body = match by {
            By::Key(key) => Body::AdmitByKey { admission, key },
            By::Token(_) | By::Nothing => Body::Admit(admission),
        };
        let deadline = Some(now.monotonic + self.config.admission_timeout);
        self.submit(now, Purpose::Admission(node), body, deadline);
    }

    /// Records that a node uses a token. Whether it may.
    fn redeem(&mut self, id: u128, node: NodeId) -> bool {
        let Some(token) = self.tokens.get_mut(&id).filter(|t| t.has_use_for(node)) else { return false };
        if !token.redeemed.contains(&node) {
            token.redeemed.push(node);
            assert!(
                token.redeemed.len() <= token.uses as usize,
                "M9: a token admits no more nodes than it allows"
            );
            let record = token.record(id);
            self.outputs.push_back(Output::Persist(record));
        }
        true
    }

    /// The log (or the lack of one) has decided about an admission.
    pub(super) fn on_admission_decided(&mut self, now: Now, node: NodeId, result: Result<Effect, Refusal>) {
        let Some(admitting) = self.admissions.open.remove(&node) else { return };
        match result {
            Ok(_) => {
                if let Some(lane) = admitting.lane {
                    self.accept(now, lane, node);
                }
            }
            Err(Refusal::JoinRefused(reason)) => {
                self.give_back(admitting.by, node);
                self.reject_open(now, &admitting, Rejection::never(reason));
            }
            Err(refusal @ Refusal::JoinBarred { .. }) => {
                self.give_back(admitting.by, node);
                self.reject_open(now, &admitting, Rejection::of(refusal));
            }
            Err(Refusal::NoQuorum) => {
                sometimes!(AdmissionWithoutQuorum);
                let reason =
                    "the mesh has no quorum now, so nobody can join: wait until enough voters are back";
                self.reject_open(now, &admitting, Rejection::later(reason));
            }
            Err(refusal) => {
                self.reject_open(now, &admitting, Rejection::later(alloc::format!("{refusal}")));
            }
        }
    }

    /// A join that was refused for good leaves the token's use to somebody else.
    fn give_back(&mut self, by: By, node: NodeId) {
        let By::Token(id) = by else { return };
        let known = self.member(node).is_some();
        let Some(token) = self.tokens.get_mut(&id) else { return };
        if token.redeemed.contains(&node) && !known {
            rare!(TokenUseGivenBack);
            token.redeemed.retain(|&n| n != node);
            let record = token.record(id);
            self.outputs.push_back(Output::Persist(record));
        }
    }

    fn reject_open(&mut self, now: Now, admitting: &Admitting, rejection: Rejection) {
        if let Some(lane) = admitting.lane {
            self.reject(now, lane, Some(admitting.admission.node), rejection);
        }
    }

    fn reject(&mut self, now: Now, lane: LaneId, node: Option<NodeId>, rejection: Rejection) {
        let Rejection { reason, retry, bar } = rejection;
        let refused = Event::PeerRefused { node, reason: CloseReason::Unwelcome(reason.clone()) };
        self.outputs.push_back(Output::Event(refused));
        let message = JoinMessage::Rejected { reason, retry, bar };
        self.outputs.push_back(Output::SendLane { lane, message, when: When::Now });
        self.answered(now, lane);
    }

    fn accept(&mut self, now: Now, lane: LaneId, joiner: NodeId) {
        let Some(mesh) = self.mesh_id() else { return };
        let message = JoinMessage::Accepted {
            mesh,
            mesh_name: self.mesh_name().into(),
            admitter: self.own,
            members: self.roster_for_joiner(joiner),
        };
        // Whoever was let in counts on being known here after any restart.
        self.outputs.push_back(Output::SendLane { lane, message, when: When::Durable });
        self.answered(now, lane);
    }

    /// The joiner closes when it has its answer; a lane that lingers is closed here.
    fn answered(&mut self, now: Now, lane: LaneId) {
        self.admissions.answered.insert(lane, now.monotonic + self.config.linger);
        if self.admissions.answered.len() > self.config.joins_max.saturating_mul(4)
            && let Some((&oldest, _)) = self.admissions.answered.iter().min_by_key(|&(_, at)| at)
        {
            self.admissions.answered.remove(&oldest);
            self.close(oldest, CloseReason::Surplus);
        }
    }

    /// This node and the joiner, then voters, then others, as many as fit.
    fn roster_for_joiner(&self, joiner: NodeId) -> Vec<RosterEntry> {
        let voters = self.voters();
        let all = self.roster();
        let rank = |e: &RosterEntry| match e.node {
            // It may hold two keys, and begin again before it hears more.
            node if node == self.own || node == joiner => 0,
            node if voters.contains(&node) => 1,
            _ => 2,
        };
        let mut ranked: Vec<(u8, RosterEntry)> = all.into_iter().map(|e| (rank(&e), e)).collect();
        ranked.sort_by_key(|(rank, _)| *rank);
        ranked.truncate(ROSTER_MAX);
        ranked.into_iter().map(|(_, entry)| entry).collect()
    }

    pub(super) fn on_admitting_lane_down(&mut self, lane: LaneId) {
        self.admissions.answered.remove(&lane);
        for admitting in self.admissions.open.values_mut() {
            if admitting.lane == Some(lane) {
                admitting.lane = None;
            }
        }
    }

    pub(super) fn on_linger_deadline(&mut self, now: Now) {
        let due: Vec<LaneId> = self
            .admissions
            .answered
            .iter()
            .filter(|&(_, at)| *at <= now.monotonic)
            .map(|(lane, _)| *lane)
            .collect();
        for lane in due {
            self.admissions.answered.remove(&lane);
            self.close(lane, CloseReason::Surplus);
        }
    }

    /// Leaves no more than `most` tokens: those that are used up go first, then the oldest, so that inviting never ends. `false`
    /// if too many are being used this very moment.
    pub(super) fn make_room_for_tokens(&mut self, most: usize) -> bool {
        while self.tokens.len() > most {
            let idle = self
                .tokens
                .iter()
                .filter(|(id, _)| self.admissions.open.values().all(|a| a.by != By::Token(**id)));
            let order = |(id, token): &(&u128, &IssuedToken)| (!token.is_used_up(), token.expiry, **id);
            let Some(id) = idle.min_by_key(order).map(|(id, _)| *id) else {
                return false;
            };
            self.drop_token(id);
        }
        true
    }

    fn drop_token(&mut self, id: u128) {
        self.tokens.remove(&id);
        self.outputs.push_back(Output::Forget(Space::Token.forget(id)));
    }

    pub(super) fn drop_expired_tokens(&mut self, now: Now) {
        let expired: Vec<u128> =
            self.tokens.iter().filter(|(_, t)| t.expiry < now.wall).map(|(id, _)| *id).collect();
        for id in expired {
            self.drop_token(id);
        }
    }
}
