//! Beginning a mesh, and making tokens for others.
//!
//! Seeding is two durable steps. First, in one row: this node belongs to mesh X and is the only voter of its control
//! group. Then the log's first command, by which everybody else will know the founder. A restart before the first step finds
//! nothing and starts clean; one between the two finds the first and goes on.

use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;

use super::entry::{Admission, Body};
use super::handlers::{bad_mesh_name, valid_mesh_name};
use super::requests::Purpose;
use super::state::{bad_node_name, valid_node_name};
use super::store::{IssuedToken, Membership};
use super::token::{JoinToken, Secret};
use super::{Awaited, Mesh, Output};
use crate::configuration::{Configuration, Member as Replica};
use crate::digest::Digest;
use crate::id::{MeshId, ReplicaId, RequestId};
use crate::node::command::{Refusal, Reply};
use crate::time::{Instant, Now, Wall};

/// A seeding that was asked for and is not answered yet.
#[derive(Clone, Debug)]
pub(super) struct Seeding {
    request: RequestId,
    mesh: MeshId,
    name: String,
    replica: ReplicaId,
    /// The signature being made, until the first step.
    signing: Option<u64>,
    pub(super) deadline: Instant,
}

impl Mesh {
    pub(super) fn on_seed(&mut self, now: Now, request: RequestId, name: String) {
        if let Some(membership) = &self.membership {
            return self.reply(request, Err(Refusal::AlreadyMember(membership.mesh)));
        }
        if let Some(refusal) = self.keeps_streams_of_another(None) {
            return self.reply(request, Err(refusal));
        }
        if self.seeding.is_some() || self.join_is_awaited() {
            return self.reply(request, Err(Refusal::Busy));
        }
        if !valid_mesh_name(&name) {
            return self.reply(request, Err(Refusal::Invalid(bad_mesh_name(&name))));
        }
        if !valid_node_name(&self.config.name) {
            return self.reply(request, Err(Refusal::Invalid(bad_node_name(&self.config.name))));
        }
        self.give_up_join();
        // A ULID: 48 bits of milliseconds, 80 random bits.
        let mesh = MeshId(u128::from(now.wall.0) << 80 | self.rng.u128() >> 48);
        let replica = ReplicaId(self.rng.u128());
        let message = self.own_admission(replica, Bytes::new()).statement(mesh);
        let token = self.sign(message);
        let deadline = now.monotonic + self.config.join_timeout;
        self.seeding = Some(Seeding { request, mesh, name, replica, signing: Some(token), deadline });
    }

    fn own_admission(&self, replica: ReplicaId, signature: Bytes) -> Admission {
        Admission {
            node: self.own,
            name: self.config.name.clone(),
            key: self.keys.shown(),
            addresses: self.config.addresses.clone(),
            api: self.config.api.clone(),
            replica,
            admitter: self.own,
            signature,
        }
    }

    /// The founder's signature is there: the first step. `false` if the signature was asked for something else.
    pub(super) fn on_founding_signed(&mut self, token: u64, signature: &[u8]) -> bool {
        let Some(seeding) = &mut self.seeding else { return false };
        if seeding.signing != Some(token) {
            return false;
        }
        seeding.signing = None;
        let membership = Membership {
            mesh: seeding.mesh,
            mesh_name: seeding.name.clone(),
            replica: seeding.replica,
            founding: Some(Bytes::copy_from_slice(signature)),
            remember: Vec::new(),
            roster: Vec::new(),
        };
        self.outputs.push_back(Output::Persist(membership.record()));
        self.belong(membership);
        true
    }

    /// This node belongs to a mesh from now on (M12).
    pub(super) fn belong(&mut self, membership: Membership) {
        assert!(self.membership.is_none(), "M12: a node belongs to one mesh, once");
        self.outputs.push_back(Output::CreateGroup {
            replica: membership.replica,
            founding: self.founding_configuration(&membership),
        });
        self.begin_cursors(membership.mesh);
        let remember = membership.remember.clone();
        self.outputs.push_back(Output::Became { mesh: membership.mesh, remember });
        self.membership = Some(membership);
    }

    /// The founder votes alone; everybody else waits to be told by a leader.
    pub(super) fn founding_configuration(&self, membership: &Membership) -> Configuration {
        if membership.founding.is_none() {
            return Configuration::default();
        }
        Configuration::simple(
            Vec::from([Replica { node: self.own, replica: membership.replica }]),
            Vec::new(),
        )
    }

    /// The second step: the mesh's first command, unless the log has it.
    pub(super) fn ensure_founding(&mut self, now: Now) {
        let Some(membership) = &self.membership else { return };
        let Some(signature) = membership.founding.clone() else { return };
        if self.state.mesh.is_some() || self.requests.has(&Purpose::Founding) {
            return;
        }
        let body = Body::Found {
            mesh: membership.mesh,
            name: membership.mesh_name.clone(),
            first: self.own_admission(membership.replica, signature),
        };
        self.submit(now, Purpose::Founding, body, None);
    }

    /// The mesh has begun, durably: the seeding is answered with a first token.
    pub(super) fn on_founded(&mut self, now: Now) {
        self.drop_founding();
        if let Some(seeding) = self.seeding.take() {
            let mesh = seeding.mesh;
            if let Some(token) = self.issue_token(now) {
                self.reply_when_durable(seeding.request, Reply::Seeded { mesh, token });
            } else {
                self.reply(seeding.request, Err(Refusal::Busy));
            }
        }
    }

    pub(super) fn on_seed_deadline(&mut self, now: Now) {
        if let Some(seeding) = self.seeding.take_if(|s| s.deadline <= now.monotonic) {
            self.reply(seeding.request, Err(Refusal::NoQuorum));
        }
    }

    pub(super) fn on_invite(&mut self, now: Now, request: RequestId) {
        if self.state.mesh.is_none() || self.membership.is_none() {
            return self.reply(request, Err(Refusal::NotMember));
        }
        match self.issue_token(now) {
            Some(token) => self.reply_when_durable(request, Reply::Token { token }),
            // Every token is being used this very moment.
            None => self.reply(request, Err(Refusal::Busy)),
        }
    }

    fn issue_token(&mut self, now: Now) -> Option<String> {
        self.drop_expired_tokens(now);
        if !self.make_room_for_tokens(self.config.tokens_max.saturating_sub(1)) {
            return None;
        }
        let secret = Secret(self.rng.bytes32());
        let token = JoinToken {
            mesh: self.mesh_id()?,
            node: self.own,
            key_hash: Digest::of_bytes(&self.keys.shown().0),
            addresses: self.config.addresses.clone(),
            secret,
            expiry: Wall(now.wall.0.saturating_add(self.config.token_lifetime.as_millis())),
            mesh_key: false,
            others: Vec::new(),
        };
        let issued = IssuedToken {
            verifier: token.secret.verifier(),
            expiry: token.expiry,
            uses: self.config.token_uses,
            redeemed: Vec::new(),
            epoch: self.state.epoch.number,
        };
        let id = token.secret.token_id();
        self.outputs.push_back(Output::Persist(issued.record(id)));
        self.tokens.insert(id, issued);
        Some(token.to_text())
    }

    fn reply_when_durable(&mut self, request: RequestId, reply: Reply) {
        self.when_durable(Awaited::Reply(request, Ok(reply)));
    }
}
