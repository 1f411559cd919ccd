//! Joining, seen by the node that wants in.
//!
//! The token tells where to dial and the hash of the key that must answer there. Nothing is said to any other key, and nothing
//! before this node's replica id is on disk (M8). A lost connection or a mesh without a quorum is tried again until the
//! command's deadline; a plain no ends the join. A restart goes on with the stored join.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::rotation;
use super::state::{bad_node_name, valid_node_name};
use super::store::{Membership, StoredJoin};
use super::token::{Door, JoinToken, TokenError};
use super::wire::{JoinMessage, JoinRequest, RosterEntry};
use super::{Awaited, Mesh, Output};
use crate::digest::Digest;
use crate::id::{LaneId, MeshId, NodeId, ReplicaId, RequestId};
use crate::node::command::{JoinBar, Refusal, Reply};
use crate::node::output::{CloseReason, Event};
use crate::planted::Bug;
use crate::rare;
use crate::sometimes;
use crate::time::{Instant, Now, Span};
use crate::when::When;
use crate::work::{Job, PublicKey};

/// Version of the conversation between joiner and admitting node.
pub const JOIN_VERSION: u32 = 1;

/// A join under way.
#[derive(Clone, Debug)]
pub(super) struct Joining {
    /// Who waits; nobody after a restart.
    request: Option<RequestId>,
    token: JoinToken,
    pub(super) replica: ReplicaId,
    /// Whether the replica id is on disk: nothing is dialled before.
    stored: bool,
    /// The connection to the right node.
    lane: Option<LaneId>,
    /// A connection to a node that may be the right one under a later key, and what is left to check of that.
    proving: Option<Proving>,
    dials: u32,
    again: Instant,
    deadline: Instant,
    /// What was last in the way.
    trouble: String,
    /// Whether the admitting node itself said so: that tells more than silence after it.
    told: bool,
    /// Why it was refused under the other of two keys.
    refused: Option<String>,
}

/// The node that the token names may have another key by now.
#[derive(Clone, Debug)]
struct Proving {
    lane: LaneId,
    peer_key: PublicKey,
    token: u64,
    left: Vec<Job>,
}

/// A join that succeeded, answered when this node has applied its own admission: whatever it is asked then works.
#[derive(Clone, Copy, Debug)]
pub(super) struct Welcome {
    pub(super) request: RequestId,
    mesh: MeshId,
    /// It is answered by then in any case: the node is a member, though it knows little of its mesh yet.
    pub(super) until: Instant,
}

impl Joining {
    pub(super) fn next_deadline(&self) -> Instant {
        if self.stored { self.again.min(self.deadline) } else { self.deadline }
    }

    /// Notes what is in the way, unless more is known.
    fn note(&mut self, trouble: &str) {
        if !self.told {
            self.trouble = trouble.into();
        }
    }

    /// What was dialled last, and who must answer there.
    fn way(&self) -> Option<(String, Door)> {
        let ways = self.token.ways();
        let last = self.dials.saturating_sub(1) as usize % ways.len().max(1);
        ways.into_iter().nth(last)
    }

    fn address(&self) -> String {
        self.way().map(|(address, _)| address).unwrap_or_default()
    }
}

impl Mesh {
    pub(super) fn on_join(&mut self, now: Now, request: RequestId, text: &str) {
        if let Some(membership) = &self.membership {
            return self.reply(request, Err(Refusal::AlreadyMember(membership.mesh)));
        }
        if self.seeding.is_some() {
            return self.reply(request, Err(Refusal::Busy));
        }
        if !valid_node_name(&self.config.name) {
            return self.reply(request, Err(Refusal::Invalid(bad_node_name(&self.config.name))));
        }
        let token = match self.read_token(text) {
            Ok(token) => token,
            Err(reason) => return self.reply(request, Err(Refusal::BadToken(reason))),
        };
        if let Some(refusal) = self.keeps_streams_of_another(Some(token.mesh)) {
            return self.reply(request, Err(refusal));
        }
        if self.joining.as_ref().is_some_and(|j| j.token == token) {
            return self.take_over_join(now, request);
        }
        self.give_up_join();
        let replica = self.spare_replica.take().unwrap_or_else(|| ReplicaId(self.rng.u128()));
        let stored = StoredJoin { token: Some(token.to_text()), replica: Some(replica) };
        self.outputs.push_back(Output::Persist(stored.record()));
        self.joining = Some(self.new_joining(now, Some(request), token, replica));
        self.when_durable(Awaited::JoinStored(replica));
    }

    /// The same join is asked for again: it goes on for whoever asked last, with fresh patience.
    fn take_over_join(&mut self, now: Now, request: RequestId) {
        sometimes!(JoinTakenOver);
        let deadline = now.monotonic + self.config.join_timeout;
        let Some(joining) = &mut self.joining else { return };
        joining.deadline = deadline;
        let before = joining.request.replace(request);
        if joining.lane.is_none() {
            joining.dials = 0;
            if joining.stored {
                self.dial(now);
            }
        }
        if let Some(before) = before {
            self.reply(before, Err(displaced()));
        }
    }

    /// Ends a join under way for the sake of a newer command.
    pub(super) fn give_up_join(&mut self) {
        self.end_join(Err(displaced()));
    }

    /// Whether somebody waits for a join under way.
    pub(super) fn join_is_awaited(&self) -> bool {
        self.joining.as_ref().is_some_and(|j| j.request.is_some())
    }

    /// The link part could not open a lane.
    pub(super) fn on_join_failed(&mut self, address: &str, what: &str) {
        let Some(joining) = self.joining.as_mut().filter(|j| j.lane.is_none()) else { return };
        if joining.token.ways().iter().any(|(known, _)| known == address) {
            joining.note(&alloc::format!("{address}: {what}"));
        }
    }

    fn read_token(&self, text: &str) -> Result<JoinToken, String> {
        let token = JoinToken::parse(text).map_err(|error: TokenError| error.to_string())?;
        if token.node == self.own && !token.mesh_key {
            return Err("this node made it itself".into());
        }
        if token.ways().is_empty() {
            return Err("it names no address, because the node that made it cannot be dialled: \
                        make one at a node that can"
                .into());
        }
        Ok(token)
    }

    fn new_joining(
        &self,
        now: Now,
        request: Option<RequestId>,
        token: JoinToken,
        replica: ReplicaId,
    ) -> Joining {
        let addresses: Vec<String> = token.ways().into_iter().map(|(address, _)| address).collect();
        let trouble = alloc::format!("nobody answered at {}", addresses.join(", "));
        let deadline = now.monotonic + self.config.join_timeout;
        let again = now.monotonic;
        Joining {
            request,
            token,
            replica,
            stored: false,
            lane: None,
            proving: None,
            dials: 0,
            again,
            deadline,
            trouble,
            told: false,
            refused: None,
        }
    }

    /// Goes on with a join found on disk.
    pub(super) fn resume_join(&mut self, now: Now, stored: StoredJoin) {
        self.spare_replica = stored.replica;
        let (Some(text), Some(replica)) = (stored.token, stored.replica) else { return };
        match self.read_token(&text) {
            Ok(token) => {
                self.spare_replica = None;
                sometimes!(JoinWentOn);
                self.joining = Some(self.new_joining(now, None, token, replica));
                self.on_join_stored(now, replica);
            }
            // Only a change of this node's identity or program makes a stored token unreadable: start clean.
            Err(_) => self
                .outputs
                .push_back(Output::Persist(StoredJoin { token: None, replica: Some(replica) }.record())),
        }
    }

    pub(super) fn on_join_stored(&mut self, now: Now, replica: ReplicaId) {
        if let Some(joining) = self.joining.as_mut().filter(|j| j.replica == replica) {
            joining.stored = true;
            self.dial(now);
        }
    }

    fn dial(&mut self, now: Now) {
        let retry = self.config.join_retry;
        let Some(joining) = &mut self.joining else { return };
        assert!(joining.stored, "M8: a joiner's replica id is on disk before it dials");
        let round = joining.dials / joining.token.ways().len().max(1) as u32;
        joining.again = now.monotonic + retry.times(1 << round.min(3));
        joining.dials = joining.dials.saturating_add(1);
        let address = joining.address();
        self.outputs.push_back(Output::DialJoin { address });
    }

    /// A dialled lane is up and its far end has proven `peer_key`.
    pub(super) fn on_join_lane_up(&mut self, now: Now, lane: LaneId, peer_key: PublicKey, rotations: &[u8]) {
        let Some(joining) = self.joining.as_mut().filter(|j| j.lane.is_none() && j.proving.is_none()) else {
            return self.close(lane, CloseReason::Surplus);
        };
        let Some((_, door)) = joining.way() else { return self.close(lane, CloseReason::Surplus) };
        if Digest::of_bytes(&peer_key.0) == door.key_hash {
            return self.ask_to_join(now, lane, peer_key);
        }
        // The token may be older than the key.
        let rotations = rotation::decode(rotations).unwrap_or_default();
        let named = |key: &PublicKey| Digest::of_bytes(&key.0) == door.key_hash;
        let from: Vec<PublicKey> = rotations.iter().map(|r| r.old).filter(named).take(1).collect();
        let (keys, mut left) = rotation::lead(door.node, &rotations, &from);
        match left.pop() {
            Some(job) if keys.contains(&peer_key) => {
                let token = self.next_number();
                if let Some(joining) = &mut self.joining {
                    joining.proving = Some(Proving { lane, peer_key, token, left });
                    joining.again = now.monotonic + self.config.join_retry.times(8);
                }
                self.outputs.push_back(Output::Work { token, job });
            }
            _ => self.meet_impostor(lane),
        }
    }

    /// A signature under a rotation was checked; `false` if it belongs to no join.
    pub(super) fn on_door_verified(&mut self, now: Now, token: u64, valid: bool) -> bool {
        let Some(joining) = &mut self.joining else { return false };
        let Some(mut proving) = joining.proving.take_if(|proving| proving.token == token) else {
            return false;
        };
        if !valid {
            self.meet_impostor(proving.lane);
            return true;
        }
        if let Some(job) = proving.left.pop() {
            proving.token = self.next_number();
            self.outputs.push_back(Output::Work { token: proving.token, job });
            if let Some(joining) = &mut self.joining {
                joining.proving = Some(proving);
            }
        } else {
            rare!(JoinedUnderLaterKey);
            self.ask_to_join(now, proving.lane, proving.peer_key);
        }
        true
    }

    fn meet_impostor(&mut self, lane: LaneId) {
        let reason = CloseReason::Unwelcome("it does not hold the key that the join token names".into());
        rare!(JoinedAnImpostor);
        let address = self.joining.as_ref().map(Joining::address).unwrap_or_default();
        self.close(lane, reason.clone());
        self.outputs.push_back(Output::Event(Event::PeerRefused { node: None, reason }));
        self.end_join(Err(Refusal::Impostor(address)));
    }

    /// The right node is at the other end.
    fn ask_to_join(&mut self, now: Now, lane: LaneId, peer_key: PublicKey) {
        let Some(joining) = &mut self.joining else { return };
        joining.lane = Some(lane);
        joining.note("the admitting node did not answer");
        joining.again =
            now.monotonic + self.config.admission_timeout + self.config.join_retry.at_most(Span::secs(1));
        let nonce = self.rng.u128().to_be_bytes();
        let mut request = JoinRequest {
            version: JOIN_VERSION,
            token: joining.token.secret.token_id(),
            node: self.own,
            name: self.config.name.clone(),
            key: self.keys.shown(),
            addresses: self.config.addresses.clone(),
            api: self.config.api.clone(),
            replica: joining.replica,
            nonce,
            mac: [0; 32],
            mesh: Some(joining.token.mesh),
            secret: joining.token.mesh_key.then(|| joining.token.secret.clone()),
        };
        request.mac = joining.token.secret.verifier().mac(joining.token.mesh, &peer_key, &request);
        let message = JoinMessage::Request(alloc::boxed::Box::new(request));
        self.outputs.push_back(Output::SendLane { lane, message, when: When::Now });
    }

    pub(super) fn on_joining_lane_down(&mut self, now: Now, lane: LaneId) {
        let retry = self.config.join_retry;
        if let Some(joining) = self.joining.as_mut()
            && joining.proving.take_if(|proving| proving.lane == lane).is_some()
        {
            joining.note("the connection was lost before an answer came");
            joining.again = now.monotonic + retry;
        }
        if let Some(joining) = self.joining.as_mut().filter(|j| j.lane == Some(lane)) {
            joining.lane = None;
            sometimes!(JoinAnswerLost);
            joining.note("the connection was lost before an answer came");
            joining.again = now.monotonic + retry;
        }
    }

    pub(super) fn on_rejected(
        &mut self,
        now: Now,
        lane: LaneId,
        reason: String,
        retry: bool,
        bar: Option<JoinBar>,
    ) {
        let Some(joining) = self.joining.as_mut().filter(|j| j.lane == Some(lane)) else { return };
        let other = self.keys.held().iter().find(|key| **key != self.keys.shown()).copied();
        let other = other.filter(|_| !retry && bar.is_none() && joining.refused.is_none());
        if !retry && other.is_none() {
            let refusal = match (bar, joining.refused.clone().filter(|earlier| *earlier != reason)) {
                (Some(bar), _) => Refusal::JoinBarred { bar, reason },
                (None, Some(earlier)) => {
                    Refusal::JoinRefused(alloc::format!("{reason} (and under its other key: {earlier})"))
                }
                (None, None) => Refusal::JoinRefused(reason),
            };
            return self.end_join(Err(refusal));
        }
        joining.lane = None;
        if let Some(key) = other {
            // Of a rotation that did not come to its end before it lost its membership it does not know how far it came.
            rare!(JoinsUnderOtherKey);
            joining.refused = Some(reason.clone());
            self.show_key(key);
        } else {
            sometimes!(JoinPutOff);
        }
        let Some(joining) = &mut self.joining else { return };
        joining.trouble = reason;
        joining.told = true;
        joining.again = now.monotonic + self.config.join_retry;
        self.close(lane, CloseReason::Surplus);
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of the answer, and where it came from")]
    pub(super) fn on_accepted(
        &mut self,
        now: Now,
        lane: LaneId,
        peer_key: PublicKey,
        mesh: MeshId,
        mesh_name: String,
        admitter: NodeId,
        members: Vec<RosterEntry>,
    ) {
        let Some(joining) = self.joining.as_ref().filter(|j| j.lane == Some(lane)) else { return };
        let named = members.iter().any(|m| m.node == admitter && m.keys.contains(&peer_key));
        let asked = joining.way().map(|(_, door)| door.node);
        if mesh != joining.token.mesh || Some(admitter) != asked || !named {
            let reason = "its answer does not fit the token".into();
            return self.end_join(Err(Refusal::JoinRefused(reason)));
        }
        let membership = Membership {
            mesh,
            mesh_name,
            replica: joining.replica,
            founding: None,
            remember: Vec::from([joining.address()]),
            roster: members,
        };
        if self.planted.has(Bug::RosterNotWritten) {
            let short = Membership { roster: Vec::new(), ..membership.clone() };
            self.outputs.push_back(Output::Persist(short.record()));
        } else {
            self.outputs.push_back(Output::Persist(membership.record()));
        }
        self.belong(membership);
        self.announce_roster();
        if let Some(request) = self.joining.as_mut().and_then(|j| j.request.take()) {
            let until = now.monotonic + self.config.join_timeout;
            self.welcome = Some(Welcome { request, mesh, until });
        }
        self.end_join(Ok(()));
    }

    /// Answers the join, once this node has applied its own admission.
    pub(super) fn say_welcome(&mut self) {
        if self.caught_up() {
            self.settle_kept_streams();
        }
        if self.caught_up()
            && let Some(welcome) = self.welcome.take()
        {
            self.when_durable(Awaited::Reply(welcome.request, Ok(Reply::Joined { mesh: welcome.mesh })));
        }
    }

    pub(super) fn on_welcome_deadline(&mut self, now: Now) {
        if let Some(welcome) = self.welcome.take_if(|w| w.until <= now.monotonic) {
            rare!(WelcomeLate);
            self.when_durable(Awaited::Reply(welcome.request, Ok(Reply::Joined { mesh: welcome.mesh })));
        }
    }

    /// The join is over: its record is overwritten, its lane closes, whoever waits is told.
    fn end_join(&mut self, result: Result<(), Refusal>) {
        let Some(joining) = self.joining.take() else { return };
        self.spare_replica = result.is_err().then_some(joining.replica);
        let stored = StoredJoin { token: None, replica: self.spare_replica };
        self.outputs.push_back(Output::Persist(stored.record()));
        let first = self.keys.held().first().copied();
        if let Some(first) = first.filter(|_| joining.refused.is_some() && result.is_err()) {
            // The other one was no better.
            self.show_key(first);
        }
        if let Some(lane) = joining.lane.or(joining.proving.map(|proving| proving.lane)) {
            self.close(lane, CloseReason::Surplus);
        }
        if let (Some(request), Err(refusal)) = (joining.request, result) {
            // A refusal waits for the disk: a restart must not go on with what was said to be over.
            self.when_durable(Awaited::Reply(request, Err(refusal)));
        }
    }

    pub(super) fn on_join_deadline(&mut self, now: Now) {
        let Some(joining) = &mut self.joining else { return };
        if joining.deadline <= now.monotonic {
            rare!(JoinTimedOut);
            let trouble = core::mem::take(&mut joining.trouble);
            return self.end_join(Err(Refusal::JoinRefused(trouble)));
        }
        if joining.stored && joining.again <= now.monotonic {
            sometimes!(JoinDialledAgain);
            let proving = joining.proving.take().map(|proving| proving.lane);
            if let Some(lane) = joining.lane.take().or(proving) {
                self.close(lane, CloseReason::Silent);
            }
            self.dial(now);
        }
    }
}

fn displaced() -> Refusal {
    Refusal::JoinRefused("a newer command took the place of this join".into())
}
