//! What the starts of a node say of its identity, under its own key (rule C6).
//!
//! A [`Claim`] names another start of the same node that was about while its signer ran. Boot ids are drawn at random at each start: of two starts
//! that follow one another only the later one can name the earlier one, which had ended when the other id was drawn. Two claims that name each other
//! therefore prove that both starts ran at once, or that whoever holds the key lies about itself. Nobody need be trusted, and nobody else can make them.
//!
//! An operator ends that by saying of one start that it is the only copy: a new *round* of the identity begins with it. What is of an earlier round
//! counts for nothing any more, whoever repeats it.

use alloc::vec::Vec;

use bytes::Bytes;
use prost::Message as _;
use wattle_proto::mesh as proto;

use super::transcript::Transcript;
use super::wire::{self, Malformed, id_bytes};
use crate::id::{BootId, NodeId};
use crate::work::{Job, PublicKey};

/// Rounds stay below this, so that there is always a next one.
const ROUNDS_MAX: u64 = 1 << 32;

/// What one start of a node says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Whose start.
    pub node: NodeId,
    /// How often an operator had said of a copy that it is the only one.
    pub round: u64,
    /// The start that speaks.
    pub boot: BootId,
    /// The other start that was about; `None`: an operator says that this is the only copy.
    pub other: Option<BootId>,
    /// The node's, under [`Self::statement`].
    pub signature: Bytes,
}

/// What counts of a node's identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// Two starts were about at once.
    Twice([Claim; 2]),
    /// A round began with the only copy.
    Only(Claim),
}

impl Claim {
    /// What is signed.
    #[must_use]
    pub fn statement(&self) -> Bytes {
        let kind = match self.other {
            Some(_) => "wattle 2026 another start of this node is about v1",
            None => "wattle 2026 only copy of this node v1",
        };
        let transcript = Transcript::plain(kind)
            .field(&self.node.to_bytes())
            .field(&self.round.to_be_bytes())
            .field(&self.boot.to_bytes())
            .field(&self.other.unwrap_or_default().to_bytes());
        Bytes::copy_from_slice(transcript.finish().as_bytes())
    }

    /// Whether it and another one name each other, in one round.
    #[must_use]
    pub fn answers(&self, other: &Self) -> bool {
        self.node == other.node
            && self.round == other.round
            && self.other == Some(other.boot)
            && other.other == Some(self.boot)
    }

    pub(super) fn check(&self, keys: &[PublicKey]) -> Job {
        Job::Verify { keys: keys.to_vec(), message: self.statement(), signature: self.signature.clone() }
    }

    /// The bytes that travel.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        claim_out(self).encode_to_vec().into()
    }

    /// Reads them.
    ///
    /// # Errors
    /// [`Malformed`] names the field.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        claim_in(proto::IdentityClaim::decode(bytes).map_err(|_| Malformed("identity claim"))?)
    }
}

impl Record {
    /// Whose.
    #[must_use]
    pub const fn node(&self) -> NodeId {
        match self {
            Self::Twice([claim, _]) | Self::Only(claim) => claim.node,
        }
    }

    /// The round it is of.
    #[must_use]
    pub const fn round(&self) -> u64 {
        match self {
            Self::Twice([claim, _]) | Self::Only(claim) => claim.round,
        }
    }

    /// Of two of one node the later counts. Two that are as late as each other bar the same starts.
    #[must_use]
    pub const fn lateness(&self) -> u64 {
        2 * self.round() + matches!(self, Self::Twice(_)) as u64
    }

    /// Starts of a disk of an earlier round than this are barred.
    #[must_use]
    pub const fn bar(&self) -> u64 {
        match self {
            Self::Twice([claim, _]) => claim.round + 1,
            Self::Only(claim) => claim.round,
        }
    }

    /// The starts it speaks of.
    pub fn boots(&self) -> impl Iterator<Item = BootId> + '_ {
        self.claims().iter().map(|claim| claim.boot)
    }

    pub(super) fn claims(&self) -> &[Claim] {
        match self {
            Self::Twice(claims) => claims,
            Self::Only(claim) => core::slice::from_ref(claim),
        }
    }

    /// The bytes that travel.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        self.to_wire().encode_to_vec().into()
    }

    /// Reads them; what they say fits together then, and nothing is signed for sure.
    ///
    /// # Errors
    /// [`Malformed`] says what does not.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        Self::from_wire(proto::IdentityRecord::decode(bytes).map_err(|_| Malformed("identity record"))?)
    }

    pub(super) fn to_wire(&self) -> proto::IdentityRecord {
        proto::IdentityRecord { claims: self.claims().iter().map(claim_out).collect() }
    }

    pub(super) fn from_wire(stored: proto::IdentityRecord) -> Result<Self, Malformed> {
        if stored.claims.len() > 2 {
            return Err(Malformed("an identity record of too many claims"));
        }
        let claims = stored.claims.into_iter().map(claim_in).collect::<Result<Vec<_>, _>>()?;
        match <[Claim; 2]>::try_from(claims) {
            Ok([one, other]) if one.answers(&other) => Ok(Self::Twice([one, other])),
            Ok(_) => Err(Malformed("two claims that do not name each other")),
            Err(mut claims) => match claims.pop() {
                Some(claim) if claim.other.is_none() && claim.round > 0 => Ok(Self::Only(claim)),
                _ => Err(Malformed("an identity record that says nothing")),
            },
        }
    }
}

fn claim_out(claim: &Claim) -> proto::IdentityClaim {
    proto::IdentityClaim {
        node: id_bytes(claim.node.to_bytes()),
        round: claim.round,
        boot: id_bytes(claim.boot.to_bytes()),
        other: claim.other.map(|other| id_bytes(other.to_bytes())).unwrap_or_default(),
        signature: claim.signature.clone(),
    }
}

fn claim_in(stored: proto::IdentityClaim) -> Result<Claim, Malformed> {
    let boot = |bytes: &Bytes| BootId::from_slice(bytes).ok_or(Malformed("a start that is not 16 bytes"));
    let (speaker, other) = (boot(&stored.boot)?, &stored.other);
    let other = if other.is_empty() { None } else { Some(boot(other)?) };
    if other == Some(speaker) {
        return Err(Malformed("a start that names itself"));
    }
    if stored.round >= ROUNDS_MAX {
        return Err(Malformed("a round that no node reaches"));
    }
    Ok(Claim {
        node: wire::node(&stored.node)?,
        round: stored.round,
        boot: speaker,
        other,
        signature: wire::signature(stored.signature)?,
    })
}
