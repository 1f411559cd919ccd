//! A member is taken out: by others, or because it asked to go. Each time the mesh epoch rises by one (rule E2).
//!
//! An [`Eviction`] says what it follows, whom it takes out, and under which replica id; the leader that puts it into the log signs it. So it proves to
//! whoever was away that the epoch was raised, and to whoever was taken out that it was.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;
use prost::Message as _;
use wattle_proto::mesh as proto;

use super::entry::Request;
use super::recovery::RecoveryOf;
use super::room::description_bytes;
use super::state::{Effect, FORMER_MAX, Member, State};
use super::trail::{trail_bytes, trail_in, trail_out};
use super::transcript::Transcript;
use super::wire::{self, Malformed, id_bytes};
use crate::digest::Digest;
use crate::epoch::Epoch;
use crate::id::{MeshId, NodeId, ReplicaId};
use crate::node::command::Refusal;
use crate::time::Wall;
use crate::work::PublicKey;

/// How many former members are remembered. The oldest give way: they are strangers then, whose admissions are of an epoch that is over.
pub(super) const EVICTED_MAX: usize = 512;
/// The most a former member takes of the encoded state.
pub(super) const EVICTED_BYTES: usize = 804;
/// How many streams a refusal names.
const STREAMS_NAMED: usize = 8;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evict {
    /// Name or id of the member.
    pub member: String,
    /// Whether it asks itself.
    pub left: bool,
    /// Whether it goes although it is an end of open streams.
    pub force: bool,
    /// The leader says that nobody can vote in its place.
    pub blocked: bool,
    /// What the leader says the entry does; without it nothing is done.
    pub raise: Option<Box<Eviction>>,
}

/// Raises the mesh epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Eviction {
    /// The epoch's number from now on.
    pub number: u64,
    /// The digest of the epoch before.
    pub previous: Digest,
    /// The request that is served by it.
    pub request: Request,
    /// Where that was made.
    pub origin: NodeId,
    /// Who is taken out.
    pub node: NodeId,
    /// Its replica of the control group, as told when it was admitted.
    pub replica: ReplicaId,
    /// Whether it asked for that itself.
    pub left: bool,
    /// Who put it into the log.
    pub leader: NodeId,
    /// The leader's signature under [`Self::statement`].
    pub signature: Bytes,
    /// Set if the quorum was lost, and the others went on without it.
    pub recovery: Option<RecoveryOf>,
}

/// A former member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evicted {
    /// What took it out.
    pub eviction: Eviction,
    /// Its name.
    pub name: String,
    /// The replica ids it had before the last, newest last.
    pub former: Vec<ReplicaId>,
    /// When.
    pub time: Wall,
    /// The keys it had: it comes back under one of them or not at all.
    pub keys: Vec<PublicKey>,
    /// How many rotations of its key had begun.
    pub rotated: u64,
}

/// A former member for those who must turn it away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Former {
    /// Who.
    pub node: NodeId,
    /// What happened, for people.
    pub words: String,
    /// What it is shown of that.
    pub proof: Bytes,
    /// Who signed that, and who let them in.
    pub endorsement: Bytes,
}

impl Eviction {
    /// What the leader signs.
    #[must_use]
    pub fn statement(&self, mesh: MeshId) -> Bytes {
        let kind = match self.recovery {
            None => "wattle 2026 eviction v1",
            Some(_) => "wattle 2026 recovery v1",
        };
        let transcript = Transcript::plain(kind)
            .field(&mesh.to_bytes())
            .field(&self.number.to_be_bytes())
            .field(&self.previous.0)
            .field(&self.request.0.to_be_bytes())
            .field(&self.origin.to_bytes())
            .field(&self.node.to_bytes())
            .field(&self.replica.to_bytes())
            .field(&[u8::from(self.left)])
            .field(&self.leader.to_bytes());
        let transcript = match &self.recovery {
            None => transcript,
            Some(of) => transcript.field(&of.attempt.to_be_bytes()).field(&trail_bytes(&of.trail)),
        };
        Bytes::copy_from_slice(transcript.finish().as_bytes())
    }

    /// The epoch that it raises the mesh to.
    #[must_use]
    pub fn epoch(&self, mesh: MeshId) -> Epoch {
        Epoch { number: self.number, digest: Digest::from_slice(&self.statement(mesh)).unwrap_or_default() }
    }

    /// The bytes that prove it.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        eviction_out(self).encode_to_vec().into()
    }

    /// Reads the bytes.
    ///
    /// # Errors
    /// [`Malformed`] names the field.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        eviction_in(proto::Eviction::decode(bytes).map_err(|_| Malformed("eviction"))?)
    }
}

impl Evicted {
    /// Whether that replica is one it had.
    pub(super) fn had(&self, replica: ReplicaId) -> bool {
        self.eviction.replica == replica || self.former.contains(&replica)
    }

    /// Its name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// All its replica ids, as many as are remembered of a member.
    pub(super) fn replicas(mut self) -> Vec<ReplicaId> {
        self.former.push(self.eviction.replica);
        if self.former.len() > FORMER_MAX {
            self.former.remove(0);
        }
        self.former
    }

    /// What happened, for people.
    pub(super) fn words(&self) -> String {
        let Eviction { node, number, left, ref recovery, .. } = self.eviction;
        let name = &self.name;
        if let Some(RecoveryOf { attempt, .. }) = recovery {
            return alloc::format!(
                "{node} ({name:?}) was lost when the mesh lost its quorum, and was evicted by recovery {attempt} (epoch {number}): it must \
                 join anew, with a new token"
            );
        }
        if left {
            alloc::format!(
                "{node} ({name:?}) left the mesh (epoch {number}): it must join anew, with a new token"
            )
        } else {
            alloc::format!(
                "{node} ({name:?}) was evicted from the mesh (epoch {number}): it must join anew, with a new token"
            )
        }
    }
}

impl State {
    /// The member that would be taken out; it need not be so yet.
    pub(super) fn may_evict(&self, wish: &Evict) -> Result<NodeId, Refusal> {
        let Some(node) = self.resolve(&wish.member) else {
            return Err(Refusal::UnknownNode(wish.member.clone()));
        };
        if self.members.len() == 1 {
            return Err(Refusal::LastMember);
        }
        let ends = self.streams.values().filter(|stream| stream.concerns(node));
        if wish.left && !wish.force {
            let mut names: Vec<String> = ends.map(|stream| stream.name.clone()).collect();
            if !names.is_empty() {
                let more = names.len().saturating_sub(STREAMS_NAMED);
                names.truncate(STREAMS_NAMED);
                return Err(Refusal::StreamsOpen { names, more: more as u64 });
            }
        }
        Ok(node)
    }

    pub(super) fn evict(&mut self, request: Request, wish: &Evict) -> Result<Effect, Refusal> {
        let node = self.may_evict(wish)?;
        let Some(raise) = &wish.raise else {
            // Somebody could have done it and cannot now, or could not then.
            return Err(if wish.blocked { Refusal::OnlyVoter(wish.member.clone()) } else { Refusal::Busy });
        };
        let Some(member) = self.members.get(&node) else { return Err(Refusal::Busy) };
        let follows = raise.number == self.epoch.number + 1 && raise.previous == self.epoch.digest;
        let meant = raise.node == node
            && raise.replica == member.replica
            && raise.left == wish.left
            && raise.request == request;
        if !follows || !meant {
            // Another leader was quicker.
            return Err(Refusal::Busy);
        }
        self.take_out(raise);
        Ok(Effect::Evicted { node, number: raise.number, left: raise.left })
    }

    /// A member is none any more, and the epoch is another.
    pub(super) fn take_out(&mut self, raise: &Eviction) {
        let node = raise.node;
        let (Some(mesh), Some(member)) = (self.mesh, self.members.remove(&node)) else { return };
        self.names.remove(&member.name);
        self.bytes -= member.bytes();
        if let Some(described) = self.descriptions.remove(&node) {
            self.bytes -= description_bytes(&described);
        }
        // Nothing is kept for it any more.
        self.updates.settle(&self.members);
        self.epoch = raise.epoch(mesh);
        self.raised = Some(raise.clone());
        if self.evicted.len() >= EVICTED_MAX {
            let oldest = self.evicted.values().min_by_key(|e| e.eviction.number).map(|e| e.eviction.node);
            oldest.and_then(|oldest| self.evicted.remove(&oldest));
        }
        let Member { name, former, keys, rotations, .. } = member;
        let rotated = rotations.number;
        let evicted = Evicted { eviction: raise.clone(), name, former, time: self.time, keys, rotated };
        self.evicted.insert(node, evicted);
    }

    /// What to say of an eviction that was decided before.
    pub(super) fn recall_eviction(
        &self,
        request: Request,
        wish: &Evict,
        done: bool,
    ) -> Result<Effect, Refusal> {
        let known = self.evicted.values().map(|evicted| &evicted.eviction);
        match known.chain(&self.raised).find(|eviction| eviction.request == request) {
            Some(&Eviction { node, number, left, .. }) if done => Ok(Effect::Evicted { node, number, left }),
            _ => Err(self.may_evict(wish).err().unwrap_or(Refusal::Busy)),
        }
    }

    /// Panics if an invariant does not hold.
    pub(super) fn check_evicted(&self) {
        assert!(self.evicted.len() <= EVICTED_MAX, "M5: former members are bounded");
        let last = self.raised.as_ref().map_or(0, |raised| raised.number);
        assert_eq!(self.epoch.number, last, "M25: the epoch is that of the last eviction");
        for (node, evicted) in &self.evicted {
            assert!(!self.members.contains_key(node), "M26: {node} is a member, and was taken out");
            assert!(evicted.eviction.number <= last, "M25: an eviction is of an epoch to come");
        }
    }
}

pub(super) fn eviction_out(eviction: &Eviction) -> proto::Eviction {
    proto::Eviction {
        number: eviction.number,
        previous: Bytes::copy_from_slice(&eviction.previous.0),
        request: id_bytes(eviction.request.0.to_be_bytes()),
        origin: id_bytes(eviction.origin.to_bytes()),
        node: id_bytes(eviction.node.to_bytes()),
        replica: id_bytes(eviction.replica.to_bytes()),
        left: eviction.left,
        leader: id_bytes(eviction.leader.to_bytes()),
        signature: eviction.signature.clone(),
        recovery: eviction
            .recovery
            .as_ref()
            .map(|of| proto::RecoveryOf { attempt: of.attempt, trail: Some(trail_out(&of.trail)) }),
    }
}

pub(super) fn eviction_in(eviction: proto::Eviction) -> Result<Eviction, Malformed> {
    if eviction.number == 0 {
        return Err(Malformed("an eviction that raises nothing"));
    }
    Ok(Eviction {
        number: eviction.number,
        previous: Digest::from_slice(&eviction.previous).ok_or(Malformed("the digest of an epoch"))?,
        request: wire::request(&eviction.request)?,
        origin: wire::node(&eviction.origin)?,
        node: wire::node(&eviction.node)?,
        replica: wire::replica(&eviction.replica)?,
        left: eviction.left,
        leader: wire::node(&eviction.leader)?,
        signature: wire::signature(eviction.signature)?,
        recovery: eviction
            .recovery
            .map(|of| Ok(RecoveryOf { attempt: of.attempt, trail: trail_in(of.trail)? }))
            .transpose()?,
    })
}

pub(super) fn evict_out(wish: &Evict) -> proto::Evict {
    proto::Evict {
        member: wish.member.clone(),
        left: wish.left,
        force: wish.force,
        blocked: wish.blocked,
        raise: wish.raise.as_deref().map(eviction_out),
    }
}

pub(super) fn evict_in(wish: proto::Evict) -> Result<Evict, Malformed> {
    Ok(Evict {
        member: wire::text(wish.member, wire::TEXT_MAX)?,
        left: wish.left,
        force: wish.force,
        blocked: wish.blocked,
        raise: wish.raise.map(eviction_in).transpose()?.map(Box::new),
    })
}

pub(super) fn evicted_out(evicted: &Evicted) -> proto::Evicted {
    proto::Evicted {
        eviction: Some(eviction_out(&evicted.eviction)),
        name: evicted.name.clone(),
        former: evicted.former.iter().map(|replica| id_bytes(replica.to_bytes())).collect(),
        time: evicted.time.0,
        keys: evicted.keys.iter().map(wire::key_bytes).collect(),
        rotated: evicted.rotated,
    }
}

pub(super) fn evicted_in(evicted: proto::Evicted) -> Result<Evicted, Malformed> {
    if evicted.former.len() > FORMER_MAX {
        return Err(Malformed("former replicas"));
    }
    Ok(Evicted {
        eviction: eviction_in(evicted.eviction.ok_or(Malformed("a former member without an eviction"))?)?,
        name: wire::text(evicted.name, wire::TEXT_MAX)?,
        former: evicted.former.iter().map(|replica| wire::replica(replica)).collect::<Result<_, _>>()?,
        time: Wall(evicted.time),
        keys: wire::keys(&evicted.keys)?,
        rotated: evicted.rotated,
    })
}
