//! Changes of a stream's members, between the API and the core.

use bytes::Bytes;
use tonic::Status;
use wattle_core::id::{NodeId, Sequence, StreamInstance};
use wattle_core::members::{Added, ChangeKind, MembersWish, Start, StreamMembers};
use wattle_proto::api;
use wattle_proto::api::add_target::Start as Begin;
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
        Change::Add(api::AddTarget { node, start, reason }) => {
            let start = match start {
                None | Some(Begin::FirstKept(_)) => Start::FirstKept,
                Some(Begin::Now(_)) => Start::Now,
                Some(Begin::Message(message)) => Start::At(Sequence(message)),
            };
            (ChangeKind::Add(start), node, reason)
        }
    };
    Ok(MembersWish { stream: request.name, target, kind, reason })
}

fn change(node: NodeId, kind: ChangeKind, reason: String) -> api::MemberChange {
    let kind = match kind {
        ChangeKind::Add(_) => "add",
        ChangeKind::Detach => "detach",
        ChangeKind::Drain => "drain",
    };
    api::MemberChange { node: Bytes::copy_from_slice(&node.to_bytes()), kind: kind.to_owned(), reason }
}

fn added(added: &Added) -> api::AddedTarget {
    let node = Bytes::copy_from_slice(&added.node.to_bytes());
    api::AddedTarget { node, first: added.first.map(|first| first.0) }
}

/// How the members of a stream differ from those it was opened with.
pub(super) fn told(stream: StreamInstance, members: StreamMembers) -> api::StreamMembers {
    api::StreamMembers {
        instance: Bytes::copy_from_slice(&stream.to_bytes()),
        change: members.change.map(|under_way| change(under_way.node, under_way.kind, under_way.reason)),
        added: members.added.iter().map(added).collect(),
        out: members.out.into_iter().map(|out| change(out.node, out.kind, out.reason)).collect(),
    }
}
