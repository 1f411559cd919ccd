//! What travels end to end, and what waits for the disk.

use bytes::Bytes;
use wattle_proto::envelope;
use wattle_proto::frame::{Class, Kind};

use crate::id::{GroupId, LaneId, NodeId};
use crate::link;
use crate::payload::Payload;
use crate::{mesh, raft, stream};

/// A message from one node to another, encoded for its kind.
#[derive(Clone, Debug)]
pub(crate) struct Parcel {
    pub(crate) to: NodeId,
    pub(crate) kind: Kind,
    pub(crate) class: Class,
    pub(crate) group: Option<GroupId>,
    /// The kind's own header; travels in the envelope.
    pub(crate) body: Bytes,
    pub(crate) payload: Payload,
}

impl Parcel {
    /// The header that the ends read.
    pub(crate) fn envelope(&self, source: NodeId) -> Bytes {
        let group = self.group.map(GroupId::to_bytes);
        let group = group.as_ref().map_or(&[][..], |group| group);
        envelope::encode(&source.to_bytes(), &self.to.to_bytes(), group, &self.body)
    }
}

/// What waits until everything written before it is durable.
#[derive(Clone, Debug)]
pub(crate) enum Held {
    /// A message for the other end of a lane.
    Lane { lane: LaneId, message: link::Message },
    /// A message of the join exchange.
    Join { lane: LaneId, body: Bytes },
    /// A message for another node.
    Parcel(Parcel),
    /// A consensus group wants to know.
    Raft(raft::Receipt),
    /// The mesh part wants to know.
    Mesh(mesh::Receipt),
    /// The stream part wants to know.
    Stream(stream::Receipt),
}
