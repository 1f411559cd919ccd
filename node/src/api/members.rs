//! Changes of a stream's members, between the API and the core.

use bytes::Bytes;
use tonic::Status;
use wattle_core::id::{NodeId, StreamInstance};
use wattle_core::members::{ChangeKind, MembersWish, StreamMembers};
use wattle_proto::api;
use wattle_proto::api::change_client_data_stream_members_request::Change;

/// What is asked for.
///
/// # Errors
/// Nothing is.
pub(super) fn wish(request: api::ChangeClientDataStreamMembersRequest) -> Result<MembersWish, Status> {
    let nothing = || Status::invalid_argument("say how the members of the stream are to change");
    let (kind, target, reason) = match request.change.ok_or_else(nothing)? {
        Change::Detach(api::DetachTarget { node, reason }) => (ChangeKind::Detach, node, reason),
        Change::Drain(api::DrainTarget { node, reason }) => (ChangeKind::Drain, node, reason),
    };
    Ok(MembersWish { stream: request.name, target, kind, reason })
}

fn change(node: NodeId, kind: ChangeKind, reason: String) -> api::MemberChange {
    let kind = match kind {
        ChangeKind::Detach => "detach",
        ChangeKind::Drain => "drain",
    };
    api::MemberChange { node: Bytes::copy_from_slice(&node.to_bytes()), kind: kind.to_owned(), reason }
}

/// How the members of a stream differ from those it was opened with.
pub(super) fn told(stream: StreamInstance, members: StreamMembers) -> api::StreamMembers {
    api::StreamMembers {
        instance: Bytes::copy_from_slice(&stream.to_bytes()),
        change: members.change.map(|under_way| change(under_way.node, under_way.kind, under_way.reason)),
        out: members.out.into_iter().map(|out| change(out.node, out.kind, out.reason)).collect(),
    }
}
