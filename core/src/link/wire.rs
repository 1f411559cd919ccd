//! Typed messages to Protobuf and back. Decoding checks everything and bounds every list.

use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;
use prost::Message as _;
use wattle_proto::link as wire;

use super::message::{Fence, Hello, Message, Purpose};
use super::pairs::{Beat, LEADS_PAGE_MAX, LEADS_PAGES_MAX, LeadsDigest, LeadsPage};
use crate::digest::Digest;
use crate::epoch::Epoch;
use crate::id::{BootId, Generation, GroupId, MeshId, NodeId, Term};
use crate::time::Span;

/// The most proofs of a mesh epoch that a message has.
pub(super) const PROOFS_MAX: usize = 16;
/// The most bytes that a claim or record of a node's identity has.
const IDENTITY_MAX: usize = 512;
/// The most bytes that say how a node came to its key.
const ROTATIONS_BYTES_MAX: usize = 4096;
/// The longest name taken from a peer, in bytes.
const NAME_MAX: usize = 255;

/// A peer sent bytes that are no message, and what is wrong with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed message: {0}")]
pub struct Malformed(pub &'static str);

impl Message {
    /// The Protobuf form.
    #[must_use]
    pub fn to_wire(&self) -> wire::Message {
        let kind = match self {
            Self::Hello(hello) => wire::message::Kind::Hello(hello_to_wire(hello)),
            Self::Confirm => wire::message::Kind::Confirm(wire::Confirm {}),
            Self::Ping { sent } => wire::message::Kind::Ping(wire::Ping { sent: *sent }),
            Self::Pong { echo } => wire::message::Kind::Pong(wire::Pong { echo: *echo }),
            Self::Leaving => wire::message::Kind::Leaving(wire::Leaving {}),
            Self::Fenced(Fence { proof, endorsement }) => wire::message::Kind::Fenced(wire::Fenced {
                proof: proof.clone(),
                endorsement: endorsement.clone(),
            }),
            Self::Raised { epoch_proofs } => {
                wire::message::Kind::Raised(wire::Raised { epoch_proofs: epoch_proofs.clone() })
            }
            Self::Rival { boot, claim } => {
                wire::message::Kind::Rival(wire::Rival { boot: id_bytes(boot.0), claim: claim.clone() })
            }
            Self::Claimed { claim } => wire::message::Kind::Claimed(wire::Claimed { claim: claim.clone() }),
            Self::Barred { record } => wire::message::Kind::Barred(wire::Barred { record: record.clone() }),
            Self::KeyRetired { rotations } => {
                wire::message::Kind::KeyRetired(wire::KeyRetired { rotations: rotations.clone() })
            }
            Self::Unknown => return wire::Message::default(),
        };
        wire::Message { kind: Some(kind) }
    }

    /// The bytes on the wire.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        self.to_wire().encode_to_vec().into()
    }

    /// Reads the bytes on the wire.
    ///
    /// # Errors
    /// [`Malformed`] says what is wrong with them.
    pub fn decode(bytes: Bytes) -> Result<Self, Malformed> {
        let message = wire::Message::decode(bytes).map_err(|_| Malformed("not a link message"))?;
        let Some(kind) = message.kind else { return Ok(Self::Unknown) };
        Ok(match kind {
            wire::message::Kind::Hello(hello) => Self::Hello(hello_from_wire(hello)?),
            wire::message::Kind::Confirm(_) => Self::Confirm,
            wire::message::Kind::Ping(ping) => Self::Ping { sent: ping.sent },
            wire::message::Kind::Pong(pong) => Self::Pong { echo: pong.echo },
            wire::message::Kind::Leaving(_) => Self::Leaving,
            wire::message::Kind::Fenced(fenced) => {
                Self::Fenced(Fence { proof: fenced.proof, endorsement: fenced.endorsement })
            }
            wire::message::Kind::Raised(raised) => {
                Self::Raised { epoch_proofs: proofs(raised.epoch_proofs)? }
            }
            wire::message::Kind::Rival(rival) => Self::Rival {
                boot: BootId(id(&rival.boot, "rival with a boot id that is not 16 bytes")?),
                claim: identity(rival.claim)?,
            },
            wire::message::Kind::Claimed(claimed) => Self::Claimed { claim: identity(claimed.claim)? },
            wire::message::Kind::KeyRetired(retired) => {
                Self::KeyRetired { rotations: rotations(retired.rotations)? }
            }
            wire::message::Kind::Barred(barred) => Self::Barred { record: identity(barred.record)? },
        })
    }
}

fn id(bytes: &[u8], what: &'static str) -> Result<u128, Malformed> {
    NodeId::from_slice(bytes).map(|id| id.0).ok_or(Malformed(what))
}

fn id_bytes(id: u128) -> Vec<u8> {
    id.to_be_bytes().to_vec()
}

fn proofs(proofs: Vec<Bytes>) -> Result<Vec<Bytes>, Malformed> {
    if proofs.len() > PROOFS_MAX {
        return Err(Malformed("too many proofs of an epoch"));
    }
    Ok(proofs)
}

/// What is said of a node's identity.
fn identity(bytes: Bytes) -> Result<Bytes, Malformed> {
    if bytes.len() > IDENTITY_MAX {
        return Err(Malformed("too many bytes about an identity"));
    }
    Ok(bytes)
}

/// How a node came to its key.
fn rotations(bytes: Bytes) -> Result<Bytes, Malformed> {
    if bytes.len() > ROTATIONS_BYTES_MAX {
        return Err(Malformed("too many bytes about a key"));
    }
    Ok(bytes)
}

fn hello_to_wire(hello: &Hello) -> wire::Hello {
    let purpose = match hello.purpose {
        Purpose::Link => wire::Purpose::Link,
        Purpose::Join => wire::Purpose::Join,
    };
    wire::Hello {
        version_low: hello.version_low.into(),
        version_high: hello.version_high.into(),
        mesh: hello.mesh.map(|mesh| id_bytes(mesh.0)).unwrap_or_default(),
        purpose: purpose.into(),
        node: id_bytes(hello.node.0),
        name: hello.name.clone(),
        generation: hello.generation.0,
        boot: id_bytes(hello.boot.0),
        nonce: hello.nonce,
        max_frame: hello.max_frame,
        endorsement: hello.endorsement.clone(),
        epoch: hello.epoch.number,
        epoch_digest: match hello.epoch.number {
            0 => Vec::new(),
            _ => hello.epoch.digest.0.to_vec(),
        },
        epoch_proofs: hello.epoch_proofs.clone(),
        round: hello.round,
        identity: hello.identity.clone(),
        key_rank: hello.key_rank,
    }
}

fn hello_from_wire(hello: wire::Hello) -> Result<Hello, Malformed> {
    let purpose = match hello.purpose() {
        wire::Purpose::Link => Purpose::Link,
        wire::Purpose::Join => Purpose::Join,
        wire::Purpose::Unspecified => return Err(Malformed("hello without a known purpose")),
    };
    if hello.name.len() > NAME_MAX {
        return Err(Malformed("hello with a name of over 255 bytes"));
    }
    let version =
        |number: u32| u16::try_from(number).map_err(|_| Malformed("hello with a version over 65535"));
    let mesh = match hello.mesh.is_empty() {
        true => None,
        false => Some(MeshId(id(&hello.mesh, "hello with a mesh id that is not 16 bytes")?)),
    };
    let digest = match hello.epoch {
        0 => Digest::default(),
        _ => Digest::from_slice(&hello.epoch_digest)
            .ok_or(Malformed("hello with the digest of an epoch that is not 32 bytes"))?,
    };
    Ok(Hello {
        version_low: version(hello.version_low)?,
        version_high: version(hello.version_high)?,
        mesh,
        purpose,
        node: NodeId(id(&hello.node, "hello with a node id that is not 16 bytes")?),
        name: String::from(hello.name.trim()),
        generation: Generation(hello.generation),
        boot: BootId(id(&hello.boot, "hello with a boot id that is not 16 bytes")?),
        nonce: hello.nonce,
        max_frame: hello.max_frame,
        endorsement: hello.endorsement,
        epoch: Epoch { number: hello.epoch, digest },
        epoch_proofs: proofs(hello.epoch_proofs)?,
        round: hello.round,
        identity: identity(hello.identity)?,
        key_rank: hello.key_rank,
    })
}

impl Beat {
    /// The bytes on the wire.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let leads = self.leads.as_ref().map(|page| wire::LeadsPage {
            page: page.page,
            pages: page.pages,
            led: page
                .groups
                .iter()
                .map(|(group, term)| wire::Led { group: id_bytes(group.0), term: term.0 })
                .collect(),
        });
        let beat = wire::Beat {
            boot: id_bytes(self.boot.0),
            generation: self.generation.0,
            number: self.number,
            lag: self.lag.0,
            pause: self.pause.0,
            oldest_write: self.oldest_write.map(|age| age.0),
            leads_digest: self.leads_digest.0.to_vec(),
            seen_digest: self.seen_digest.map(|seen| seen.0.to_vec()).unwrap_or_default(),
            leads,
        };
        beat.encode_to_vec().into()
    }

    /// Reads the bytes on the wire.
    ///
    /// # Errors
    /// [`Malformed`] says what is wrong with them.
    pub fn decode(bytes: Bytes) -> Result<Self, Malformed> {
        let beat = wire::Beat::decode(bytes).map_err(|_| Malformed("not a beat"))?;
        let digest = |bytes: &[u8]| {
            bytes
                .try_into()
                .map(LeadsDigest)
                .map_err(|_| Malformed("beat with a digest that is not 16 bytes"))
        };
        let seen_digest = match beat.seen_digest.is_empty() {
            true => None,
            false => Some(digest(&beat.seen_digest)?),
        };
        Ok(Self {
            boot: BootId(id(&beat.boot, "beat with a boot id that is not 16 bytes")?),
            generation: Generation(beat.generation),
            number: beat.number,
            lag: Span(beat.lag),
            pause: Span(beat.pause),
            oldest_write: beat.oldest_write.map(Span),
            leads_digest: digest(&beat.leads_digest)?,
            seen_digest,
            leads: beat.leads.map(page_from_wire).transpose()?,
        })
    }
}

fn page_from_wire(page: wire::LeadsPage) -> Result<LeadsPage, Malformed> {
    if page.pages == 0 || page.pages > LEADS_PAGES_MAX || page.page >= page.pages {
        return Err(Malformed("beat with a page out of range"));
    }
    if page.led.len() > LEADS_PAGE_MAX {
        return Err(Malformed("beat with too many groups on a page"));
    }
    let groups: Result<Vec<_>, Malformed> = page
        .led
        .iter()
        .map(|led| {
            Ok((GroupId(id(&led.group, "beat with a group id that is not 16 bytes")?), Term(led.term)))
        })
        .collect();
    Ok(LeadsPage { page: page.page, pages: page.pages, groups: groups? })
}
