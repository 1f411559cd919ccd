//! One table from refusals to gRPC codes, reasons and hints, and the way back.

use bytes::Bytes;
use prost::Message;
use tonic::{Code, Status};
use wattle_core::agreed::ConfigRefusal;
use wattle_core::members::MembersRefusal;
use wattle_core::node::command::{JoinBar, Refusal};
use wattle_core::parked::ParkedRefusal;
use wattle_core::sealing::SealRefusal;
use wattle_io::Ended;
use wattle_proto::api::{Behind, ErrorDetail, MeshMode, Reason, Refused, WrongNode};

/// The name under which [`ErrorDetail`] travels in the details of a status.
const TYPE_URL: &str = "type.googleapis.com/wattle.api.v1.ErrorDetail";

/// `google.rpc.Status`, the form in which gRPC tools expect details.
#[derive(Clone, PartialEq, prost::Message)]
struct RichStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, prost::Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "bytes", tag = "2")]
    value: Bytes,
}

/// What a refusal is called on the wire.
fn classify(refusal: &Refusal) -> (Code, Reason, &'static str) {
    match refusal {
        Refusal::AlreadyMember(_) => (
            Code::AlreadyExists,
            Reason::AlreadyMember,
            "start a node with an empty data directory to make or join another mesh",
        ),
        Refusal::NotMember => (Code::FailedPrecondition, Reason::NotMember, ""),
        Refusal::BadToken(_) => (
            Code::InvalidArgument,
            Reason::BadToken,
            "copy the whole token, or make a new one with `wattle mesh invite`",
        ),
        Refusal::JoinRefused(_) => (
            Code::PermissionDenied,
            Reason::JoinRefused,
            "make a new token with `wattle mesh invite` at a member",
        ),
        Refusal::JoinBarred { bar, .. } => classify_bar(*bar),
        Refusal::Impostor(_) => (Code::PermissionDenied, Reason::Impostor, ""),
        Refusal::Evicted(_) => (Code::FailedPrecondition, Reason::Evicted, ""),
        Refusal::DuplicateIdentity(_) => (Code::FailedPrecondition, Reason::DuplicateIdentity, ""),
        Refusal::KeyRetired(_) => (Code::FailedPrecondition, Reason::KeyRetired, ""),
        Refusal::RotationUnderWay(_) => (Code::FailedPrecondition, Reason::RotationUnderWay, ""),
        Refusal::RotationPutOff { .. } => (Code::FailedPrecondition, Reason::RotationPutOff, ""),
        Refusal::KeyNotStored(_) => (
            Code::ResourceExhausted,
            Reason::KeyNotStored,
            "see to the data directory of that node, and ask again",
        ),
        Refusal::MeshStopped => {
            (Code::FailedPrecondition, Reason::MeshStopped, "`wattle mesh start` lets it take part again")
        }
        Refusal::StoppedMeanwhile => (
            Code::Unavailable,
            Reason::StoppedMeanwhile,
            "read what is there before you ask again; `wattle mesh start` lets this node take part again",
        ),
        Refusal::StreamsOpen { .. } => {
            (Code::FailedPrecondition, Reason::StreamsOpen, "`wattle stream close` ends a stream for good")
        }
        Refusal::LastMember => (Code::FailedPrecondition, Reason::LastMember, ""),
        Refusal::OnlyVoter(_) => {
            (Code::FailedPrecondition, Reason::OnlyVoter, "`wattle status` shows who can be reached")
        }
        Refusal::KeepsStreams { .. } => (Code::FailedPrecondition, Reason::KeepsStreams, ""),
        Refusal::UnknownNode(_) => (Code::NotFound, Reason::UnknownNode, "`wattle status` lists the members"),
        Refusal::UnknownStream(_) => {
            (Code::NotFound, Reason::UnknownStream, "`wattle stream list` lists the open streams")
        }
        Refusal::OpenElsewhere { .. } => (Code::AlreadyExists, Reason::OpenElsewhere, ""),
        Refusal::BadEnds(_) => (Code::InvalidArgument, Reason::BadEnds, "`wattle status` lists the members"),
        Refusal::WrongNode { .. } => (Code::FailedPrecondition, Reason::WrongNode, "ask the node named here"),
        Refusal::Critical { .. } => (
            Code::FailedPrecondition,
            Reason::Critical,
            "`wattle status` shows who cannot be reached; `wattle mesh evict` takes out who is lost",
        ),
        Refusal::NoQuorum => (
            Code::Unavailable,
            Reason::NoQuorum,
            "`wattle status` shows which voters are missing; if they are lost for good, `wattle mesh recover` goes on without them",
        ),
        Refusal::Config(refusal) => classify_config(refusal),
        Refusal::Recovery(refusal) => super::recovery::classify(refusal),
        Refusal::Backpressure { .. } => {
            (Code::ResourceExhausted, Reason::Backpressure, "`wattle stream show` tells what it waits for")
        }
        Refusal::NoSpace { .. } => (Code::ResourceExhausted, Reason::NoSpace, ""),
        Refusal::NoSpaceAt { .. } => (Code::ResourceExhausted, Reason::NoSpaceAt, ""),
        Refusal::WrongOffset { .. } => {
            (Code::OutOfRange, Reason::WrongOffset, "FindWriter tells what is staged of a message")
        }
        Refusal::WholeChanged { .. } => (Code::FailedPrecondition, Reason::WholeChanged, ""),
        Refusal::WrongDigest { .. } => (Code::DataLoss, Reason::WrongDigest, ""),
        Refusal::TooManyUploads { .. } => (Code::ResourceExhausted, Reason::TooManyUploads, ""),
        Refusal::BegunAnew => (Code::Aborted, Reason::BegunAnew, ""),
        Refusal::WriterGap { .. } => (Code::OutOfRange, Reason::WriterGap, ""),
        Refusal::TooManyWriters { .. } => (Code::FailedPrecondition, Reason::Invalid, ""),
        Refusal::WriterClosed => (Code::FailedPrecondition, Reason::WriterClosed, ""),
        Refusal::TooLarge { .. } => (
            Code::InvalidArgument,
            Reason::TooLarge,
            "cut it into smaller ones, or keep large data elsewhere and send where it is",
        ),
        Refusal::Busy => (Code::ResourceExhausted, Reason::Busy, ""),
        Refusal::Superseded => (Code::Aborted, Reason::Fenced, ""),
        Refusal::ForeignPosition(_) => (
            Code::FailedPrecondition,
            Reason::ForeignPosition,
            "the stream was closed and opened again, or the position is another stream's: begin with a new position file and output",
        ),
        Refusal::Parked(ParkedRefusal::NotParked(_)) => (Code::NotFound, Reason::NotParked, ""),
        Refusal::Parked(ParkedRefusal::Unreadable(_)) => (Code::DataLoss, Reason::NotParked, ""),
        Refusal::Parked(
            ParkedRefusal::NoHandler(_) | ParkedRefusal::Retrying(_) | ParkedRefusal::HandlerGone(_),
        ) => (Code::FailedPrecondition, Reason::NotRetried, ""),
        Refusal::Released { .. } => (Code::OutOfRange, Reason::Released, ""),
        Refusal::TooManyReplays { .. } => (Code::ResourceExhausted, Reason::TooManyReplays, ""),
        Refusal::NotKept { .. } => (
            Code::FailedPrecondition,
            Reason::NotKept,
            "begin with a new position file and output to go on where the node has what follows, or bring back a newer copy",
        ),
        Refusal::StreamStopped(_) => (
            Code::FailedPrecondition,
            Reason::StreamStopped,
            "`wattle stream show` says what happened; an operator must decide",
        ),
        Refusal::Seal(SealRefusal::NobodyLost | SealRefusal::NotOfStream(_)) => {
            (Code::InvalidArgument, Reason::NotSealed, "`wattle stream list` shows source and target")
        }
        Refusal::Seal(SealRefusal::LostReachable(_)) => (Code::FailedPrecondition, Reason::LostReachable, ""),
        Refusal::Seal(SealRefusal::NotMissed(_)) => (Code::Unavailable, Reason::NotMissed, ""),
        Refusal::Seal(SealRefusal::Quorum(_)) => (Code::FailedPrecondition, Reason::QuorumLives, ""),
        Refusal::Seal(SealRefusal::NobodyLeft) => (Code::FailedPrecondition, Reason::NotSealed, ""),
        Refusal::Members(MembersRefusal::UnderWay(_) | MembersRefusal::BeingSealed) => (
            Code::FailedPrecondition,
            Reason::ChangeUnderWay,
            "`wattle stream show` tells what that waits for",
        ),
        Refusal::Members(MembersRefusal::NotTarget(_) | MembersRefusal::NoReason) => {
            (Code::InvalidArgument, Reason::MembersStay, "`wattle stream list` shows source and targets")
        }
        Refusal::Members(
            MembersRefusal::NotKept { .. } | MembersRefusal::AboveEnd { .. } | MembersRefusal::NoMessage,
        ) => {
            (Code::OutOfRange, Reason::MembersStay, "`--from first-kept` begins with the first that is kept")
        }
        Refusal::Members(_) => (Code::FailedPrecondition, Reason::MembersStay, ""),
        Refusal::Flow(refusal) => super::flow::classify(refusal),
        Refusal::TakenOut(_) => (
            Code::FailedPrecondition,
            Reason::TakenOut,
            "`wattle stream show` tells who is a target now; what the handler was given counts as far as it was reported before",
        ),
        Refusal::SealedOut(_) => (
            Code::FailedPrecondition,
            Reason::SealedOut,
            "`wattle stream show` says how many messages this node keeps as orphaned; publish what matters again on another stream",
        ),
        Refusal::AboveSeal { .. } => (
            Code::FailedPrecondition,
            Reason::AboveSeal,
            "an operator must decide: restore the handler's store to the sealed end or below, or keep what it holds beyond that and begin another stream",
        ),
        Refusal::StreamClosed => (Code::Aborted, Reason::StreamClosed, ""),
        Refusal::UpdatesFull { .. } => (
            Code::ResourceExhausted,
            Reason::UpdatesFull,
            "`wattle status` shows who is behind; `wattle update subscribe` at that node processes what waits there",
        ),
        Refusal::UpdateTooOld { .. } => (Code::OutOfRange, Reason::UpdateTooOld, ""),
        Refusal::UpdateIdTaken { .. } => (Code::AlreadyExists, Reason::UpdateIdTaken, ""),
        Refusal::Invalid(_) => (Code::InvalidArgument, Reason::Invalid, ""),
    }
}

fn classify_bar(bar: JoinBar) -> (Code, Reason, &'static str) {
    match bar {
        JoinBar::Closed => (
            Code::FailedPrecondition,
            Reason::JoinClosed,
            "a member can open the mesh with `wattle mesh config set --join key-required`",
        ),
        JoinBar::WrongKey => (
            Code::PermissionDenied,
            Reason::JoinKeyWrong,
            "get a token from `wattle mesh invite`, or the join key from `wattle mesh key rotate`, at a member",
        ),
        JoinBar::ExpiredKey => (
            Code::FailedPrecondition,
            Reason::JoinKeyExpired,
            "make a new one at a member: `wattle mesh invite` or `wattle mesh key rotate`",
        ),
        JoinBar::ExhaustedKey => (
            Code::ResourceExhausted,
            Reason::JoinKeyExhausted,
            "make a new one at a member: `wattle mesh invite` or `wattle mesh key rotate`",
        ),
    }
}

fn classify_config(refusal: &ConfigRefusal) -> (Code, Reason, &'static str) {
    match refusal {
        ConfigRefusal::Conflict { .. } | ConfigRefusal::SettingsConflict { .. } => (
            Code::Aborted,
            Reason::VersionConflict,
            "somebody else wrote it: read it again, decide again, and write with the version read",
        ),
        ConfigRefusal::UnknownKey(_) => {
            (Code::NotFound, Reason::UnknownKey, "`wattle config list` lists the keys")
        }
        ConfigRefusal::BadKey(_) => (Code::InvalidArgument, Reason::BadKey, ""),
        ConfigRefusal::ValueTooLarge { .. } => (
            Code::InvalidArgument,
            Reason::ValueTooLarge,
            "keep large data elsewhere, and write here where it is",
        ),
        ConfigRefusal::Full(_) => (Code::ResourceExhausted, Reason::ConfigFull, ""),
        ConfigRefusal::Refused { .. } => (Code::InvalidArgument, Reason::ValueRefused, ""),
    }
}

/// Whether the same request may be taken later.
fn retriable(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::NoQuorum
            | Reason::Backpressure
            | Reason::NoSpace
            | Reason::NoSpaceAt
            | Reason::TooManyUploads
            | Reason::TooManyReplays
            | Reason::WrongOffset
            | Reason::Busy
            | Reason::OnlyVoter
            | Reason::Critical
            | Reason::SurvivorMissing
            | Reason::RecoveryUnderWay
            | Reason::RecoveryUnfinished
            | Reason::NotReady
            | Reason::MeshStopped
            | Reason::DuplicateIdentity
            | Reason::RotationUnderWay
            | Reason::RotationPutOff
            | Reason::KeyNotStored
            | Reason::UpdatesFull
            | Reason::Paused
            | Reason::Throttled
    )
}

/// What a program is told of a refusal.
#[must_use]
pub fn detail(refusal: &Refusal) -> ErrorDetail {
    let (_, reason, hint) = classify(refusal);
    let mut detail = ErrorDetail {
        reason: reason.into(),
        hint: hint.to_owned(),
        retriable: retriable(reason),
        ..ErrorDetail::default()
    };
    match refusal {
        Refusal::Critical { .. } | Refusal::NoQuorum => detail.mode = MeshMode::Critical.into(),
        Refusal::StreamsOpen { names, .. } => detail.streams.clone_from(names),
        Refusal::AlreadyMember(mesh) | Refusal::KeepsStreams { mesh, .. } => {
            detail.mesh = Some(Bytes::copy_from_slice(&mesh.to_bytes()))
        }
        Refusal::WrongNode { node, name, address } => {
            detail.wrong_node = Some(WrongNode {
                node: Bytes::copy_from_slice(&node.to_bytes()),
                name: name.clone(),
                address: address.clone(),
            });
        }
        Refusal::NoSpaceAt { free, .. } => detail.free_bytes = Some(*free),
        Refusal::WrongOffset { expected, .. } => detail.expected_offset = Some(*expected),
        Refusal::Released { first, .. } => detail.first_kept = Some(first.0),
        Refusal::TooManyReplays { limit } | Refusal::TooManyUploads { limit } => {
            detail.limit_bytes = Some(*limit)
        }
        Refusal::WriterGap { expected, .. } => detail.expected_writer_sequence = Some(expected.0),
        Refusal::Backpressure { behind, processed, accepted } => {
            detail.behind =
                Some(Behind { name: behind.clone(), processed: processed.0, accepted: accepted.0 });
        }
        Refusal::Config(ConfigRefusal::Conflict { present, .. }) => {
            detail.present_version = Some(present.map_or(0, |version| version.0));
        }
        Refusal::Config(ConfigRefusal::SettingsConflict { present }) => {
            detail.present_version = Some(present.0);
        }
        Refusal::Config(ConfigRefusal::ValueTooLarge { limit, .. }) => detail.limit_bytes = Some(*limit),
        Refusal::NoSpace { free } => detail.free_bytes = Some(*free),
        Refusal::TooLarge { limit, .. } | Refusal::TooManyWriters { limit } => {
            detail.limit_bytes = Some(*limit)
        }
        Refusal::UpdatesFull { behind, lagging, .. } => {
            detail.lagging = lagging.iter().map(super::updates::lag).collect();
            detail.lagging_count = Some(*behind);
        }
        Refusal::UpdateIdTaken { number } => detail.update_number = Some(number.0),
        Refusal::Flow(refusal) => super::flow::fill(&mut detail, refusal),
        Refusal::NotMember
        | Refusal::MeshStopped
        | Refusal::DuplicateIdentity(_)
        | Refusal::KeyRetired(_)
        | Refusal::RotationUnderWay(_)
        | Refusal::RotationPutOff { .. }
        | Refusal::KeyNotStored(_)
        | Refusal::StoppedMeanwhile
        | Refusal::UpdateTooOld { .. }
        | Refusal::Config(_)
        | Refusal::BadToken(_)
        | Refusal::JoinRefused(_)
        | Refusal::JoinBarred { .. }
        | Refusal::Impostor(_)
        | Refusal::Evicted(_)
        | Refusal::LastMember
        | Refusal::Recovery(_)
        | Refusal::OnlyVoter(_)
        | Refusal::UnknownNode(_)
        | Refusal::UnknownStream(_)
        | Refusal::OpenElsewhere { .. }
        | Refusal::BadEnds(_)
        | Refusal::WriterClosed
        | Refusal::WholeChanged { .. }
        | Refusal::WrongDigest { .. }
        | Refusal::BegunAnew
        | Refusal::Busy
        | Refusal::Superseded
        | Refusal::ForeignPosition(_)
        | Refusal::NotKept { .. }
        | Refusal::StreamStopped(_)
        | Refusal::StreamClosed
        | Refusal::Seal(_)
        | Refusal::Members(_)
        | Refusal::Parked(_)
        | Refusal::TakenOut(_)
        | Refusal::SealedOut(_)
        | Refusal::AboveSeal { .. }
        | Refusal::Invalid(_) => {}
    }
    detail
}

/// A refusal as the status that ends a call.
#[must_use]
pub fn status(refusal: &Refusal) -> Status {
    let (code, _, _) = classify(refusal);
    with_detail(code, refusal.to_string(), detail(refusal))
}

/// A refusal of one array of messages within a call that goes on.
#[must_use]
pub fn refused(first_writer: u64, last_writer: u64, refusal: &Refusal) -> Refused {
    let (code, _, _) = classify(refusal);
    Refused {
        first_writer,
        last_writer,
        code: code.into(),
        message: refusal.to_string(),
        detail: Some(detail(refusal)),
    }
}

/// The node is no member any more, so a call that goes on ends.
pub fn parted(left: bool, why: String) -> Status {
    status(&if left { Refusal::NotMember } else { Refusal::Evicted(why) })
}

/// An attached handler is served no more.
#[must_use]
pub fn ended(token: u64, why: &Ended) -> Status {
    let (reason, retriable, message, hint) = match why {
        Ended::TakenOver => (
            Reason::Fenced,
            false,
            format!(
                "another handler of this stream attached and took over from this one (attachment {token})"
            ),
            "only the newest handler of a stream is served: find the other one, or attach again to take over from it",
        ),
        Ended::Outrun => (
            Reason::Outrun,
            true,
            format!(
                "the stream went on past attachment {token}: more is processed, or let go, than it was handed"
            ),
            "attach again with the position you have: the answer says where you go on",
        ),
        Ended::Replayed => return Status::ok("the replay has ended"),
        Ended::Refused(refusal) => return status(refusal),
    };
    let detail =
        ErrorDetail { reason: reason.into(), hint: hint.to_owned(), retriable, ..ErrorDetail::default() };
    with_detail(Code::Aborted, message, detail)
}

/// The node stopped before it answered.
#[must_use]
pub fn node_stopped() -> Status {
    let detail = ErrorDetail {
        reason: Reason::NodeStopped.into(),
        hint: "ask again once it runs: publishing again under the same numbers never doubles anything"
            .to_owned(),
        retriable: true,
        ..ErrorDetail::default()
    };
    with_detail(Code::Unavailable, "the node stopped before it answered".to_owned(), detail)
}

/// The node's settings have a handler for that stream.
#[must_use]
pub fn has_handler(stream: &str, kind: &str) -> Status {
    let what = format!(
        "stream {stream:?} has a handler at this node, the {kind} of its settings: it would end, and never get what is acknowledged here"
    );
    let hint = "`wattle subscribe --take-over` if that is meant; `wattle stream handle` has the other one begin again afterwards";
    with_reason(Code::FailedPrecondition, Reason::HasHandler, what, hint)
}

/// No token, or a wrong one.
#[must_use]
pub fn unauthenticated(what: &str) -> Status {
    let detail = ErrorDetail {
        reason: Reason::Unauthenticated.into(),
        hint: "send `authorization: Bearer TOKEN` with the token in the file `api-token` of the node's data directory"
            .to_owned(),
        ..ErrorDetail::default()
    };
    with_detail(Code::Unauthenticated, what.to_owned(), detail)
}

/// A request that cannot be understood.
#[must_use]
pub fn invalid(what: impl Into<String>) -> Status {
    status(&Refusal::Invalid(what.into()))
}

/// An acknowledgement of messages above `handed`, the last one that was handed over.
pub(super) fn not_handed_over(acknowledged: u64, handed: u64) -> Status {
    let what = format!("{acknowledged} was acknowledged, but only what is up to {handed} was handed over");
    let hint = "nothing of it counts, and what was acknowledged before without a gap does: attach again, and acknowledge what is handed over then";
    with_reason(Code::InvalidArgument, Reason::NotHandedOver, what, hint)
}

/// A refusal of the API itself.
pub(super) fn with_reason(code: Code, reason: Reason, message: String, hint: &str) -> Status {
    let detail = ErrorDetail { reason: reason.into(), hint: hint.to_owned(), ..ErrorDetail::default() };
    with_detail(code, message, detail)
}

fn with_detail(code: Code, message: String, detail: ErrorDetail) -> Status {
    let any = Any { type_url: TYPE_URL.to_owned(), value: detail.encode_to_vec().into() };
    let rich = RichStatus { code: code.into(), message: message.clone(), details: vec![any] };
    Status::with_details(code, message, rich.encode_to_vec().into())
}

/// The detail in a status, if it holds one.
#[must_use]
pub fn detail_of(status: &Status) -> Option<ErrorDetail> {
    let rich = RichStatus::decode(status.details()).ok()?;
    let any = rich.details.into_iter().find(|any| any.type_url == TYPE_URL)?;
    ErrorDetail::decode(any.value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use wattle_core::digest::Digest;
    use wattle_core::ends::{BadEnds, Ends};
    use wattle_core::flow::{Failed, FailedAt, FlowRefusal, Rate, Said, Scope, Tenant};
    use wattle_core::id::{AuthorityEpoch, LogIndex, MeshId, NodeId, Sequence, UpdateNumber, WriterSequence};
    use wattle_core::recovery::RecoverRefusal;
    use wattle_core::time::{Span, Wall};
    use wattle_core::update::{Lagging, UpdateKind};
    use wattle_proto::api::flow_scope::Which;

    fn every_refusal() -> Vec<Refusal> {
        let text = || "text".to_owned();
        vec![
            Refusal::AlreadyMember(MeshId(7)),
            Refusal::NotMember,
            Refusal::BadToken(text()),
            Refusal::JoinRefused(text()),
            Refusal::JoinBarred { bar: JoinBar::Closed, reason: text() },
            Refusal::JoinBarred { bar: JoinBar::WrongKey, reason: text() },
            Refusal::JoinBarred { bar: JoinBar::ExpiredKey, reason: text() },
            Refusal::JoinBarred { bar: JoinBar::ExhaustedKey, reason: text() },
            Refusal::Impostor(text()),
            Refusal::Evicted(text()),
            Refusal::Critical { unreachable: 2, members: 4 },
            Refusal::StreamsOpen { names: vec![text()], more: 2 },
            Refusal::LastMember,
            Refusal::MeshStopped,
            Refusal::DuplicateIdentity(text()),
            Refusal::KeyRetired(text()),
            Refusal::RotationUnderWay(3),
            Refusal::RotationPutOff { why: text(), again: wattle_core::time::Span::secs(5) },
            Refusal::KeyNotStored(text()),
            Refusal::StoppedMeanwhile,
            Refusal::OnlyVoter(text()),
            Refusal::Recovery(RecoverRefusal::Quorum { voters: text() }),
            Refusal::Recovery(RecoverRefusal::LostReachable(text())),
            Refusal::Recovery(RecoverRefusal::Missing { names: text(), several: true }),
            Refusal::Recovery(RecoverRefusal::NotReady(text())),
            Refusal::Recovery(RecoverRefusal::UnderWay { attempt: 3, asked_at: text() }),
            Refusal::Recovery(RecoverRefusal::Declined { name: text(), why: text() }),
            Refusal::Recovery(RecoverRefusal::Unfinished { waits: text() }),
            Refusal::Recovery(RecoverRefusal::NothingToWithdraw),
            Refusal::KeepsStreams { mesh: MeshId(7), streams: 3 },
            Refusal::UnknownNode(text()),
            Refusal::UnknownStream(text()),
            Refusal::OpenElsewhere { name: text(), ends: Box::new(Ends::between(NodeId(1), NodeId(2))) },
            Refusal::BadEnds(BadEnds::Twice),
            Refusal::WrongNode { node: NodeId(9), name: text(), address: Some(text()) },
            Refusal::NoQuorum,
            Refusal::Backpressure { behind: text(), processed: Sequence(3), accepted: Sequence(4) },
            Refusal::NoSpace { free: 5 },
            Refusal::NoSpaceAt { node: NodeId(9), free: 5 },
            Refusal::WrongOffset { expected: 1024, got: 2048 },
            Refusal::WholeChanged { was: 5000, now: 6000 },
            Refusal::WrongDigest { said: Digest::of_bytes(b"a"), found: Digest::of_bytes(b"b") },
            Refusal::TooManyUploads { limit: 64 },
            Refusal::BegunAnew,
            Refusal::WriterGap { expected: WriterSequence(6), got: WriterSequence(8) },
            Refusal::WriterClosed,
            Refusal::TooLarge { what: "a message", got: 10, limit: 9 },
            Refusal::Busy,
            Refusal::ForeignPosition(text()),
            Refusal::NotKept { position: Sequence(1), kept: Sequence(5), authority: AuthorityEpoch(2) },
            Refusal::StreamStopped(text()),
            Refusal::StreamClosed,
            Refusal::UpdatesFull {
                kind: UpdateKind::Mesh,
                last: UpdateNumber(9),
                behind: 2,
                lagging: vec![Lagging { node: NodeId(3), name: text(), processed: UpdateNumber(4) }],
            },
            Refusal::UpdateTooOld { after: UpdateNumber(1), forgotten: UpdateNumber(2) },
            Refusal::UpdateIdTaken { number: UpdateNumber(8) },
            Refusal::Seal(SealRefusal::NobodyLost),
            Refusal::Seal(SealRefusal::NotMissed(text())),
            Refusal::SealedOut(text()),
            Refusal::Members(MembersRefusal::LastTarget(text())),
            Refusal::Members(MembersRefusal::UnderWay(text())),
            Refusal::Flow(FlowRefusal::WrongTenant {
                stream: text(),
                tenant: Tenant::default(),
                named: Tenant::new("acme").unwrap(),
            }),
            Refusal::Flow(FlowRefusal::Paused {
                stream: text(),
                scope: Scope::Below(3),
                said: Said { at: NodeId(1), time: Wall(2) },
                name: Some(text()),
            }),
            Refusal::Flow(FlowRefusal::Throttled {
                stream: text(),
                scope: Scope::Below(3),
                rate: Rate::new(1, 0).unwrap(),
                again: Span::micros(1_500),
            }),
            Refusal::Flow(FlowRefusal::Failed {
                stream: text(),
                failed: Box::new(failed()),
                name: Some(text()),
            }),
            Refusal::Flow(FlowRefusal::TooMany),
            Refusal::TakenOut(text()),
            Refusal::Parked(ParkedRefusal::NotParked(Sequence(3))),
            Refusal::Parked(ParkedRefusal::NoHandler(Sequence(3))),
            Refusal::AboveSeal { position: Sequence(9), end: Sequence(7) },
            Refusal::Released { wanted: Sequence(3), first: Sequence(9) },
            Refusal::TooManyReplays { limit: 4 },
            Refusal::Invalid(text()),
            Refusal::Config(ConfigRefusal::Conflict { key: text(), present: Some(LogIndex(7)) }),
            Refusal::Config(ConfigRefusal::UnknownKey(text())),
            Refusal::Config(ConfigRefusal::BadKey(text())),
            Refusal::Config(ConfigRefusal::ValueTooLarge { got: 10, limit: 9 }),
            Refusal::Config(ConfigRefusal::Full(text())),
            Refusal::Config(ConfigRefusal::Refused { key: text(), why: text() }),
        ]
    }

    fn failed() -> Failed {
        let at = FailedAt { sequence: Sequence(17), attempts: 5, reason: "no room".into(), resumed: 2 };
        Failed { target: NodeId(3), at, time: Wall(2) }
    }

    #[test]
    fn every_refusal_has_a_reason_of_its_own_and_survives_the_wire() {
        let mut reasons = BTreeSet::new();
        for refusal in every_refusal() {
            let sent = status(&refusal);
            assert_ne!(sent.code(), Code::Ok);
            assert_eq!(sent.message(), refusal.to_string());
            let found = detail_of(&sent).expect("a detail");
            assert_eq!(found, detail(&refusal));
            assert_ne!(found.reason(), Reason::Unspecified);
            assert!(reasons.insert(found.reason), "{refusal:?} shares its reason");
        }
        let ends = [ended(1, &Ended::TakenOver), ended(1, &Ended::Outrun)];
        let others = [node_stopped(), unauthenticated("x"), has_handler("x", "y"), not_handed_over(7, 3)];
        for other in ends.into_iter().chain(others) {
            assert!(reasons.insert(detail_of(&other).unwrap().reason));
        }
        let known: BTreeSet<i32> = (1..1_000).filter(|number| Reason::try_from(*number).is_ok()).collect();
        assert_eq!(reasons, known, "a reason is given by nobody");
    }

    #[test]
    fn what_a_program_needs_to_go_on_is_in_the_detail() {
        let wrong =
            detail(&Refusal::WrongNode { node: NodeId(9), name: "b".into(), address: Some("h:1".into()) });
        let wrong = wrong.wrong_node.unwrap();
        assert_eq!((wrong.name.as_str(), wrong.address.as_deref()), ("b", Some("h:1")));
        assert_eq!(NodeId::from_slice(&wrong.node), Some(NodeId(9)));
        let gap = detail(&Refusal::WriterGap { expected: WriterSequence(6), got: WriterSequence(8) });
        assert_eq!(gap.expected_writer_sequence, Some(6));
        let gone = detail(&Refusal::Released { wanted: Sequence(3), first: Sequence(9) });
        assert_eq!((gone.first_kept, gone.retriable), (Some(9), false));
        let conflict =
            |present| detail(&Refusal::Config(ConfigRefusal::Conflict { key: "k".into(), present }));
        assert_eq!(conflict(Some(LogIndex(7))).present_version, Some(7));
        assert_eq!(conflict(None).present_version, Some(0));
        assert!(detail(&Refusal::Busy).retriable && !detail(&Refusal::WriterClosed).retriable);
        let (stream, scope) = ("words".to_owned(), Scope::Tenant(Tenant::default()));
        let (rate, again) = (Rate::new(1, 0).unwrap(), Span::micros(1_500));
        let throttled = FlowRefusal::Throttled { stream: stream.clone(), scope: scope.clone(), rate, again };
        let throttled = detail(&throttled.into());
        assert!(throttled.retriable && throttled.retry_after_millis == Some(2));
        let said = Said { at: NodeId(1), time: Wall(2) };
        let paused = detail(&FlowRefusal::Paused { stream, scope, said, name: None }.into());
        let by = paused.paused_by.and_then(|scope| scope.which);
        assert!(paused.retriable && by == Some(Which::Tenant("default".to_owned())));
        let stream = "words".to_owned();
        let failed = detail(&FlowRefusal::Failed { stream, failed: Box::new(failed()), name: None }.into());
        assert!(!failed.retriable, "somebody has to see to it");
        assert_eq!(failed.failed.map(|failed| (failed.sequence, failed.attempts)), Some((17, 5)));
        let critical = detail(&Refusal::Critical { unreachable: 2, members: 4 });
        assert!(critical.retriable && critical.mode() == MeshMode::Critical);
        assert_eq!(detail(&Refusal::NoQuorum).mode(), MeshMode::Critical);
        assert_eq!(detail_of(&Status::internal("of another make")), None);
    }
}
