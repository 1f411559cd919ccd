//! Typed messages to Protobuf and back. Decoding checks everything and bounds every list.

use alloc::sync::Arc;
use alloc::vec::Vec;

use bytes::Bytes;
use prost::Message as _;
use wattle_proto::route as wire;

use super::message::{Adjacency, Aged, LinkState, Message, TableDigest};
use super::{ADJACENCIES_MAX, RELAYS_MAX};
use crate::id::{Generation, NodeId};
use crate::time::Span;

/// The most link states in one message.
pub(super) const STATES_MAX: usize = 512;
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
            Self::Flood(states) => {
                wire::message::Kind::Flood(wire::Flood { states: states.iter().map(state_to_wire).collect() })
            }
            Self::Ask => wire::message::Kind::Ask(wire::Ask {}),
            Self::Summary(digest) => {
                wire::message::Kind::Summary(wire::Summary { digest: Bytes::copy_from_slice(&digest.0) })
            }
        };
        wire::Message { kind: Some(kind) }.encode_to_vec().into()
    }

    /// Reads the bytes on the wire.
    ///
    /// # Errors
    /// [`Malformed`] says what is wrong with them.
    pub fn decode(bytes: Bytes) -> Result<Self, Malformed> {
        let message = wire::Message::decode(bytes).map_err(|_| Malformed("not a route message"))?;
        match message.kind.ok_or(Malformed("empty route message"))? {
            wire::message::Kind::Flood(flood) if flood.states.len() > STATES_MAX => {
                Err(Malformed("flood of too many link states"))
            }
            wire::message::Kind::Flood(flood) => {
                flood.states.into_iter().map(state_from_wire).collect::<Result<_, _>>().map(Self::Flood)
            }
            wire::message::Kind::Ask(_) => Ok(Self::Ask),
            wire::message::Kind::Summary(summary) => {
                let digest = summary.digest.as_ref().try_into();
                digest
                    .map(|digest| Self::Summary(TableDigest(digest)))
                    .map_err(|_| Malformed("summary without a digest"))
            }
        }
    }
}

fn state_to_wire(aged: &Aged) -> wire::LinkState {
    let adjacency = |adjacency: &Adjacency| wire::Adjacency {
        neighbour: Bytes::copy_from_slice(&adjacency.neighbour.to_bytes()),
        cost: adjacency.cost,
        label: adjacency.label.into(),
    };
    wire::LinkState {
        origin: Bytes::copy_from_slice(&aged.state.origin.to_bytes()),
        generation: aged.state.generation.0,
        sequence: aged.state.sequence,
        age: u32::try_from(aged.age.as_millis() / 1000).unwrap_or(u32::MAX),
        adjacencies: aged.state.adjacencies.iter().map(adjacency).collect(),
    }
}

fn state_from_wire(state: wire::LinkState) -> Result<Aged, Malformed> {
    if state.adjacencies.len() > ADJACENCIES_MAX {
        return Err(Malformed("link state with too many links"));
    }
    if state.generation >= NUMBER_MAX || state.sequence >= NUMBER_MAX {
        return Err(Malformed("link state with an impossible version"));
    }
    let origin = NodeId::from_slice(&state.origin)
        .ok_or(Malformed("link state with an origin that is not 16 bytes"))?;
    let adjacencies = state.adjacencies.iter().map(adjacency_from_wire).collect::<Result<Vec<_>, _>>()?;
    let rising = adjacencies.windows(2).all(|pair| pair[0].neighbour < pair[1].neighbour);
    if !rising {
        return Err(Malformed("link state with links out of order"));
    }
    if adjacencies.iter().any(|adjacency| adjacency.neighbour == origin) {
        return Err(Malformed("link state with a link from a node to itself"));
    }
    let age = Span::secs(u64::from(state.age));
    let state =
        LinkState { origin, generation: Generation(state.generation), sequence: state.sequence, adjacencies };
    Ok(Aged { state: Arc::new(state), age })
}

fn adjacency_from_wire(adjacency: &wire::Adjacency) -> Result<Adjacency, Malformed> {
    Ok(Adjacency {
        neighbour: NodeId::from_slice(&adjacency.neighbour)
            .ok_or(Malformed("link with a neighbour that is not 16 bytes"))?,
        cost: Some(adjacency.cost).filter(|cost| *cost > 0).ok_or(Malformed("link that costs nothing"))?,
        label: u16::try_from(adjacency.label).map_err(|_| Malformed("link with a label over 65535"))?,
    })
}
