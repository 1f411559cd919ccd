//! The mesh's own join key: one secret for all who may join, agreed on, where a token is a matter between a joiner and the node that made it.
//!
//! The members agree on a salted hash, an expiry and a count of uses; nobody keeps the secret. It is in the text that `mesh key rotate` prints, together
//! with the doors: members that can be dialled, each with the hash of its key. A joiner tells the secret only to one of these (M8), over a connection
//! that is encrypted and proves the key; that member hashes it and compares. So neither the log nor a disk or snapshot of a member lets anybody in (M19).
//!
//! Uses are counted by the log, which alone knows of all doors: a member proposes the admission and names the key, and whether the key is still the
//! present one, has not expired and has a use left is decided when it is applied.

use alloc::string::String;
use alloc::vec::Vec;

use super::Mesh;
use super::entry::Body;
use super::state::{Effect, State};
use super::token::{Door, JoinToken, Secret};
use super::transcript::Transcript;
use crate::agreed::{ConfigReply, JoinPolicy, KeyStatus};
use crate::digest::Digest;
use crate::id::{LogIndex, MeshId, NodeId, RequestId};
use crate::node::command::{JoinBar, Refusal, Reply};
use crate::time::{Now, Span, Wall};

/// Most doors that a key's text names.
pub(super) const DOORS_MAX: usize = 4;
/// The longest that a key may be good for: a hundred years.
const LIFETIME_MAX: Span = Span::secs(100 * 366 * 24 * 3600);

/// What members agree on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinKey {
    /// The entry that set it.
    pub version: LogIndex,
    /// Random, so that equal secrets have different hashes.
    pub salt: [u8; 16],
    /// See [`hash`].
    pub hash: [u8; 32],
    /// When it stops being good, by the time in the log.
    pub expiry: Option<Wall>,
    /// How many nodes it admits.
    pub uses: Option<u32>,
    /// How many it admitted.
    pub used: u32,
    /// The mesh epoch in which it was set: it lets nobody in again who was taken out since.
    pub epoch: u64,
}

/// The hash of a secret. A slow one defends words that people choose; this secret is 256 random bits.
pub(super) fn hash(mesh: MeshId, salt: &[u8; 16], secret: &Secret) -> [u8; 32] {
    *Transcript::plain("wattle 2026 mesh join key v1")
        .field(&mesh.to_bytes())
        .field(salt)
        .field(&secret.0)
        .finish()
        .as_bytes()
}

impl JoinKey {
    /// Whether `secret` is the one, in constant time.
    pub(super) fn opens(&self, mesh: MeshId, secret: &Secret) -> bool {
        blake3::Hash::from_bytes(hash(mesh, &self.salt, secret)) == blake3::Hash::from_bytes(self.hash)
    }

    /// What bars whoever comes with it at that time, if anything does.
    pub(super) fn bar(&self, time: Wall) -> Result<(), Refusal> {
        if self.expiry.is_some_and(|expiry| time > expiry) {
            return Err(barred(
                JoinBar::ExpiredKey,
                "the mesh's join key has expired: ask for a new one (`wattle mesh key rotate`)",
            ));
        }
        if let Some(uses) = self.uses.filter(|uses| self.used >= *uses) {
            return Err(barred(
                JoinBar::ExhaustedKey,
                alloc::format!(
                    "the mesh's join key was used by {uses} nodes, which is all it allows: ask for a new one (`wattle mesh key rotate`)"
                ),
            ));
        }
        Ok(())
    }

    pub(super) fn status(&self) -> KeyStatus {
        KeyStatus { version: self.version, expiry: self.expiry, uses: self.uses, used: self.used }
    }
}

pub(super) fn barred(bar: JoinBar, reason: impl Into<String>) -> Refusal {
    Refusal::JoinBarred { bar, reason: reason.into() }
}

/// What is said when nobody may join.
pub(super) fn closed() -> Refusal {
    let what = "it is closed: nobody can join until a member changes that (`wattle mesh config set --join key-required`)";
    barred(JoinBar::Closed, what)
}

impl State {
    /// Whether the policy and the key, if one is named, admit a node; nothing is asked of one that is a member under the same replica id already.
    pub(super) fn may_join(&self, node: NodeId, again: bool, key: Option<LogIndex>) -> Result<(), Refusal> {
        if again {
            return Ok(());
        }
        let policy = self.config.settings().join_policy;
        if policy == JoinPolicy::Closed {
            return Err(closed());
        }
        let Some(version) = key.filter(|_| policy == JoinPolicy::KeyRequired) else { return Ok(()) };
        let Some(known) = self.join_key.as_ref().filter(|known| known.version == version) else {
            return Err(barred(
                JoinBar::WrongKey,
                "the mesh has another join key by now: ask for the new one",
            ));
        };
        // Who is a member and comes back with an empty disk takes nobody's place.
        if self.members.contains_key(&node) && known.expiry.is_none_or(|expiry| self.time <= expiry) {
            return Ok(());
        }
        known.bar(self.time)
    }

    /// A node that was no member was admitted with the key. While none is asked for, none is used.
    pub(super) fn count_use(&mut self, version: LogIndex) {
        if self.config.settings().join_policy != JoinPolicy::KeyRequired {
            return;
        }
        if let Some(key) = self.join_key.as_mut().filter(|key| key.version == version) {
            key.used = key.used.saturating_add(1);
            let most = key.uses.unwrap_or(u32::MAX);
            assert!(key.used <= most, "M19: a key admits no more nodes than it allows");
        }
    }

    pub(super) fn rotate_key(
        &mut self,
        index: LogIndex,
        salt: [u8; 16],
        hash: [u8; 32],
        lifetime: Option<Span>,
        uses: Option<u32>,
    ) -> Result<Effect, Refusal> {
        check_limits(lifetime, uses)?;
        let expiry = lifetime.map(|lifetime| Wall(self.time.0.saturating_add(lifetime.as_millis())));
        self.join_key =
            Some(JoinKey { version: index, salt, hash, expiry, uses, used: 0, epoch: self.epoch.number });
        Ok(Effect::KeyRotated(index))
    }
}

/// Whether a key may be good so long and so often.
pub(super) fn check_limits(lifetime: Option<Span>, uses: Option<u32>) -> Result<(), Refusal> {
    if lifetime.is_some_and(|lifetime| lifetime < Span::secs(1) || lifetime > LIFETIME_MAX) {
        return Err(Refusal::Invalid(
            "a join key is good for at least a second and at most 100 years".into(),
        ));
    }
    if uses == Some(0) {
        return Err(Refusal::Invalid("a join key admits at least one node".into()));
    }
    Ok(())
}

impl Mesh {
    pub(super) fn on_rotate_key(
        &mut self,
        now: Now,
        request: RequestId,
        lifetime: Option<Span>,
        uses: Option<u32>,
    ) {
        let Some(mesh) = self.mesh_id() else { return self.reply(request, Err(Refusal::NotMember)) };
        if let Err(refusal) = check_limits(lifetime, uses) {
            return self.reply(request, Err(refusal));
        }
        if self.doors().is_empty() {
            let why =
                "no member can be dialled, so a key would lead nowhere: give one an address to listen on";
            return self.reply(request, Err(Refusal::Invalid(why.into())));
        }
        let secret = Secret(self.rng.bytes32());
        let salt = self.rng.u128().to_be_bytes();
        let body = Body::RotateKey { salt, hash: hash(mesh, &salt, &secret), lifetime, uses };
        self.secrets.insert(request, secret);
        self.on_client_request(now, request, body);
        if !self.requests.is_open(request) {
            self.secrets.remove(&request);
        }
    }

    /// The key is agreed on: whoever asked is told the secret, and where it is good.
    pub(super) fn key_rotated(&mut self, request: RequestId, version: LogIndex) -> Result<Reply, Refusal> {
        let secret = self.secrets.remove(&request);
        let key = self.state.join_key.as_ref().filter(|key| key.version == version);
        let (Some(secret), Some(key), Some(mesh)) = (secret, key, self.mesh_id()) else {
            let what = "another key took this one's place at once: rotate it again";
            return Err(Refusal::Invalid(what.into()));
        };
        let mut doors = self.doors();
        if doors.is_empty() {
            return Err(Refusal::Invalid("no member can be dialled any more: rotate it again".into()));
        }
        let first = doors.remove(0);
        let token = JoinToken {
            mesh,
            node: first.node,
            key_hash: first.key_hash,
            addresses: first.addresses,
            secret,
            expiry: key.expiry.unwrap_or(Wall(u64::MAX)),
            mesh_key: true,
            others: doors,
        };
        let key = key.status();
        Ok(Reply::Config(ConfigReply::KeyRotated { text: token.to_text(), key }))
    }

    /// Members that can be dialled: this node, then voters, then others.
    fn doors(&self) -> Vec<Door> {
        let voters = self.voters();
        let mut members: Vec<_> = self.state.members.values().filter(|m| !m.addresses.is_empty()).collect();
        members.sort_by_key(|m| (m.node != self.own, !voters.contains(&m.node), m.index, m.node));
        let door = |member: &&super::Member| {
            let key = member.keys.first()?;
            let (node, addresses) = (member.node, member.addresses.clone());
            Some(Door { node, key_hash: Digest::of_bytes(&key.0), addresses })
        };
        members.iter().filter_map(door).take(DOORS_MAX).collect()
    }
}
