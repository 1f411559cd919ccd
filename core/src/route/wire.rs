//! Typed messages to Protobuf and back. Decoding checks everything and bounds every list; the links of a link state are decoded by
//! themselves, when somebody needs them.

use alloc::sync::Arc;
use alloc::vec::Vec;

use bytes::Bytes;
use prost::Message as _;
use wattle_proto::route as wire;

use super::message::{Adjacency, Announcement, Message, TableDigest};
use super::{ADJACENCIES_MAX, RELAYS_MAX};
use crate::id::{BootId, Generation, NodeId};
use crate::time::Span;

/// The most link states in one message.
pub(super) const STATES_MAX: usize = 512;
/// The most bytes of encoded links in a link state: an honest origin needs at most 30 for each. As a message has room for more,
/// whoever takes such a state in can pass it on.
pub(super) const LINKS_BYTES_MAX: usize = 32 * ADJACENCIES_MAX;
/// The most bytes of a record or claim of a node's identity.
pub(super) const RECORD_MAX: usize = 512;
/// The most records in one message.
pub(super) const RECORDS_IN_MESSAGE: usize = 64;
/// Generations and sequences of peers stay below this, so that one can always jump above them.
pub(super) const NUMBER_MAX: u64 = 1 << 62;

const _: () = assert!(RELAYS_MAX == 15, "the proto file says so");

/// A peer sent bytes that are no message, and what is wrong with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed message: {0}")]
pub struct Malformed(pub &'static str);

impl Message {
    /// The bytes on the wire.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let kind = match self {
            Self::Flood(announcements) => {
                let origins = id_bytes(announcements.iter().map(|announcement| announcement.origin));
                let states = announcements.iter().zip(origins).map(state_to_wire).collect();
                wire::message::Kind::Flood(wire::Flood { states })
            }
            Self::Ask => wire::message::Kind::Ask(wire::Ask {}),
            Self::Records(records) => {
                wire::message::Kind::Records(wire::Records { records: records.clone() })
            }
            Self::Summary(digest) => {
                wire::message::Kind::Summary(wire::Summary { digest: Bytes::copy_from_slice(&digest.0) })
            }
            Self::Unknown => return Bytes::new(),
        };
        wire::Message { kind: Some(kind) }.encode_to_vec().into()
    }

    /// Reads the bytes on the wire, but for the links of link states: see [`Announcement`].
    ///
    /// # Errors
    /// [`Malformed`] says what is wrong with them.
    pub fn decode(bytes: Bytes) -> Result<Self, Malformed> {
        let message = wire::Message::decode(bytes).map_err(|_| Malformed("not a route message"))?;
        let Some(kind) = message.kind else { return Ok(Self::Unknown) };
        match kind {
            wire::message::Kind::Flood(flood) if flood.states.len() > STATES_MAX => {
                Err(Malformed("flood of too many link states"))
            }
            wire::message::Kind::Flood(flood) => {
                flood.states.into_iter().map(state_from_wire).collect::<Result<_, _>>().map(Self::Flood)
            }
            wire::message::Kind::Ask(_) => Ok(Self::Ask),
            wire::message::Kind::Records(said)
                if said.records.len() > RECORDS_IN_MESSAGE
                    || said.records.iter().any(|record| record.len() > RECORD_MAX) =>
            {
                Err(Malformed("too much about identities"))
            }
            wire::message::Kind::Records(said) => Ok(Self::Records(said.records)),
            wire::message::Kind::Summary(summary) => {
                let digest = summary.digest.as_ref().try_into();
                digest
                    .map(|digest| Self::Summary(TableDigest(digest)))
                    .map_err(|_| Malformed("summary without a digest"))
            }
        }
    }
}

/// The bytes of each of many ids, all in one piece of memory.
fn id_bytes(ids: impl Iterator<Item = NodeId>) -> impl Iterator<Item = Bytes> {
    let mut bytes = Bytes::from(ids.flat_map(NodeId::to_bytes).collect::<Vec<u8>>());
    core::iter::from_fn(move || (!bytes.is_empty()).then(|| bytes.split_to(size_of::<NodeId>())))
}

fn state_to_wire((announcement, origin): (&Announcement, Bytes)) -> wire::LinkState {
    wire::LinkState {
        origin,
        generation: announcement.generation.0,
        sequence: announcement.sequence,
        age: u32::try_from(announcement.age.as_millis() / 1000).unwrap_or(u32::MAX),
        links: announcement.links.clone(),
        stopped: announcement.stopped,
        boot: Bytes::copy_from_slice(&announcement.boot.to_bytes()),
        claim: announcement.claim.clone(),
    }
}

fn state_from_wire(state: wire::LinkState) -> Result<Announcement, Malformed> {
    if state.links.len() > LINKS_BYTES_MAX {
        return Err(Malformed("link state with too many bytes of links"));
    }
    if state.generation >= NUMBER_MAX || state.sequence >= NUMBER_MAX {
        return Err(Malformed("link state with an impossible version"));
    }
    // A goodbye holds until its origin outdoes it, which it must be able to.
    if state.stopped && state.generation >= NUMBER_MAX / 2 {
        return Err(Malformed("goodbye under a generation that no node reaches"));
    }
    let origin = NodeId::from_slice(&state.origin)
        .ok_or(Malformed("link state with an origin that is not 16 bytes"))?;
    let age = Span::secs(u64::from(state.age));
    let generation = Generation(state.generation);
    let (sequence, stopped, claim) = (state.sequence, state.stopped, state.claim);
    let boot = match state.boot.is_empty() {
        true => BootId::default(),
        false => BootId::from_slice(&state.boot)
            .ok_or(Malformed("link state with a start that is not 16 bytes"))?,
    };
    if claim.len() > RECORD_MAX {
        return Err(Malformed("link state with too long a claim"));
    }
    Ok(Announcement { origin, generation, sequence, age, stopped, boot, claim, links: state.links })
}

/// The links of a link state, as [`decode_links`] reads them.
pub(super) fn encode_links(adjacencies: &[Adjacency]) -> Bytes {
    let neighbours = id_bytes(adjacencies.iter().map(|adjacency| adjacency.neighbour));
    let to_wire = |(adjacency, neighbour): (&Adjacency, Bytes)| wire::Adjacency {
        neighbour,
        cost: adjacency.cost,
        label: adjacency.label.into(),
    };
    let adjacencies = adjacencies.iter().zip(neighbours).map(to_wire).collect();
    wire::Links { adjacencies }.encode_to_vec().into()
}

/// Reads the links of `origin`.
pub(super) fn decode_links(origin: NodeId, links: &Bytes) -> Result<Arc<[Adjacency]>, Malformed> {
    let links = wire::Links::decode(links.clone()).map_err(|_| Malformed("link state without a list"))?;
    if links.adjacencies.len() > ADJACENCIES_MAX {
        return Err(Malformed("link state with too many links"));
    }
    let adjacencies =
        links.adjacencies.iter().map(adjacency_from_wire).collect::<Result<Arc<[Adjacency]>, _>>()?;
    let rising = adjacencies.windows(2).all(|pair| pair[0].neighbour < pair[1].neighbour);
    if !rising {
        return Err(Malformed("link state with links out of order"));
    }
    if adjacencies.iter().any(|adjacency| adjacency.neighbour == origin) {
        return Err(Malformed("link state with a link from a node to itself"));
    }
    Ok(adjacencies)
}

fn adjacency_from_wire(adjacency: &wire::Adjacency) -> Result<Adjacency, Malformed> {
    Ok(Adjacency {
        neighbour: NodeId::from_slice(&adjacency.neighbour)
            .ok_or(Malformed("link with a neighbour that is not 16 bytes"))?,
        cost: Some(adjacency.cost).filter(|cost| *cost > 0).ok_or(Malformed("link that costs nothing"))?,
        label: u16::try_from(adjacency.label).map_err(|_| Malformed("link with a label over 65535"))?,
    })
}
