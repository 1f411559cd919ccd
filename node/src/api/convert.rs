//! Between the core's types and those of the API.

use bytes::Bytes;
use tonic::Status;
use wattle_core::ends::Policy;
use wattle_core::id::{AuthorityEpoch, MeshId, NodeId, Sequence, StreamInstance, WriterId};
use wattle_core::members::StreamMembers;
use wattle_core::mesh::Activity;
use wattle_core::node::command::{Position, Receipt, Staged, Waited};
use wattle_core::node::output::{Delivered, MeshMode, Standing};
use wattle_core::node::status as core;
use wattle_core::sealing::Sealed;
use wattle_proto::api;

use super::{errors, flow, mesh_config};
use crate::world::{Listed, Written};

fn id(bytes: [u8; 16]) -> Bytes {
    Bytes::copy_from_slice(&bytes)
}

/// A node's id on the wire.
#[must_use]
pub fn node(node: NodeId) -> Bytes {
    id(node.to_bytes())
}

/// A mesh's id on the wire.
#[must_use]
pub fn mesh(mesh: MeshId) -> Bytes {
    id(mesh.to_bytes())
}

/// A stream's life on the wire.
#[must_use]
pub fn instance(instance: StreamInstance) -> Bytes {
    id(instance.to_bytes())
}

/// A writer's id on the wire.
#[must_use]
pub fn writer(writer: WriterId) -> Bytes {
    id(writer.to_bytes())
}

/// Reads a writer's id.
///
/// # Errors
/// When it is not 16 bytes long.
pub fn read_writer(bytes: &[u8]) -> Result<WriterId, Status> {
    WriterId::from_slice(bytes).ok_or_else(|| errors::invalid("a writer id has 16 bytes"))
}

/// Reads a position.
///
/// # Errors
/// When its instance is not 16 bytes long.
pub fn read_position(position: &api::Position) -> Result<Position, Status> {
    let instance = StreamInstance::from_slice(&position.instance)
        .ok_or_else(|| errors::invalid("a position's instance has 16 bytes"))?;
    Ok(Position {
        instance,
        authority: AuthorityEpoch(position.authority),
        sequence: Sequence(position.sequence),
    })
}

/// A position on the wire.
#[must_use]
pub fn position(position: Position) -> api::Position {
    api::Position {
        instance: instance(position.instance),
        authority: position.authority.0,
        sequence: position.sequence.0,
    }
}

/// How far a publisher wants to wait.
///
/// # Errors
/// When the number is not one of the levels.
pub fn read_level(level: i32) -> Result<Option<Waited>, Status> {
    match api::Level::try_from(level) {
        Ok(api::Level::Unspecified) => Ok(None),
        Ok(api::Level::Accepted) => Ok(Some(Waited::Accepted)),
        Ok(api::Level::Replicated) => Ok(Some(Waited::Replicated)),
        Ok(api::Level::Completed) => Ok(Some(Waited::Completed)),
        Err(_) => Err(errors::invalid(format!("{level} is not a level to wait for"))),
    }
}

/// A level on the wire.
#[must_use]
pub const fn level(level: Waited) -> api::Level {
    match level {
        Waited::Accepted => api::Level::Accepted,
        Waited::Replicated => api::Level::Replicated,
        Waited::Completed => api::Level::Completed,
    }
}

/// A receipt on the wire.
#[must_use]
pub fn receipt(receipt: &Receipt) -> api::Receipt {
    api::Receipt {
        level: level(receipt.level).into(),
        instance: instance(receipt.instance),
        authority: receipt.authority.0,
        session: receipt.session.0,
        first_writer: receipt.first_writer.0,
        last_writer: receipt.last_writer.0,
        first: receipt.first.0,
        last: receipt.last.0,
        provisional: receipt.provisional,
        duplicate: receipt.duplicate,
    }
}

/// What is staged of the message of that number.
#[must_use]
pub fn staged(number: u64, staged: &Staged) -> api::Staged {
    api::Staged { number, total: staged.total, upto: staged.upto, part_bytes: staged.part_bytes }
}

/// A message on its way to a handler.
#[must_use]
pub fn message(message: Delivered) -> api::Message {
    api::Message {
        sequence: message.sequence.0,
        id: id(message.id.to_bytes()),
        writer: writer(message.writer),
        writer_sequence: message.writer_sequence.0,
        data: message.bytes,
        piece: message.piece.map(|piece| api::Piece {
            offset: piece.offset,
            total: piece.total,
            digest: Bytes::copy_from_slice(&piece.whole.0),
        }),
        parked: message.parked,
    }
}

/// The whole picture.
#[must_use]
pub fn status(status: core::Status, written: Written, handlers: Vec<Listed>) -> api::MeshStatus {
    api::MeshStatus {
        node: node(status.node),
        name: status.name,
        boot: id(status.boot.to_bytes()),
        generation: status.generation.0,
        mesh: status.mesh.map(mesh),
        config: status.mesh.map(|_| mesh_config::mesh_config(&status.settings, &status.mesh_name)),
        mesh_name: status.mesh_name,
        members: status.members.into_iter().map(member).collect(),
        links: status.links.iter().map(link).collect(),
        control: status.control.map(group),
        streams: status.streams.into_iter().map(stream).collect(),
        refusing: status.refusing,
        journal_bytes: status.journal_bytes,
        journal_live_bytes: status.journal_live_bytes,
        journal_written_bytes: written.bytes,
        journal_syncs: written.syncs,
        log_bytes: status.logs.logs,
        log_read_bytes: status.logs.read,
        log_stored_runs: status.logs.stored_runs,
        log_loads: status.logs.loads,
        updates: status.updates.into_iter().map(super::updates::status).collect(),
        epoch: status.epoch.number,
        epoch_digest: Bytes::copy_from_slice(&status.epoch.digest.0),
        parted: status.parted,
        former: status.former.into_iter().map(former).collect(),
        standing: status.standing.map(standing),
        recovery: super::recovery::status(status.recovery),
        activity: activity(status.activity).into(),
        duplicate: status.duplicate,
        handlers: handlers.into_iter().map(super::handlers::status).collect(),
    }
}

/// The mode of a mesh on the wire.
#[must_use]
pub const fn mode(mode: MeshMode) -> api::MeshMode {
    match mode {
        MeshMode::Healthy => api::MeshMode::Healthy,
        MeshMode::Degraded => api::MeshMode::Degraded,
        MeshMode::Critical => api::MeshMode::Critical,
    }
}

/// Whether a node takes part in its mesh, on the wire.
const fn activity(activity: Activity) -> api::MeshActivity {
    match activity {
        Activity::Running => api::MeshActivity::Running,
        Activity::Stopping => api::MeshActivity::Stopping,
        Activity::Stopped => api::MeshActivity::Stopped,
    }
}

/// How the mesh is, on the wire.
#[must_use]
pub fn standing(standing: Standing) -> api::MeshStanding {
    let Standing { mode: now, unreachable, members, quorum } = standing;
    api::MeshStanding { mode: mode(now).into(), unreachable, members, quorum }
}

fn former(former: core::FormerStatus) -> api::FormerMember {
    let core::FormerStatus { node: id, name, epoch, left } = former;
    api::FormerMember { node: node(id), name, epoch, left }
}

fn member(member: core::MemberStatus) -> api::MemberStatus {
    api::MemberStatus {
        node: node(member.node),
        name: member.name,
        addresses: member.addresses,
        api: member.api,
        reachable: member.reachable,
        hops: member.hops,
        voter: member.voter,
        stopped: member.stopped,
        duplicated: member.duplicated,
        keys: member.keys.iter().map(|key| key.0.to_vec().into()).collect(),
        rotation: member.rotation,
        region: member.region,
        voting: member.voting,
        description: member.described.as_ref().map(super::nodes::description),
    }
}

fn link(link: &core::LinkStatus) -> api::LinkStatus {
    api::LinkStatus {
        a: node(link.a),
        b: node(link.b),
        cost_micros: link.cost,
        rtt_nanos: link.rtt.map(|rtt| rtt.as_nanos()),
    }
}

fn group(group: core::GroupStatus) -> api::GroupStatus {
    api::GroupStatus {
        role: group.role.to_owned(),
        term: group.term.0,
        leader: group.leader.map(node),
        voters: group.voters.into_iter().map(node).collect(),
        learners: group.learners.into_iter().map(node).collect(),
        commit: group.commit.0,
        last: group.last.0,
        stopped: group.stopped,
    }
}

fn stream(stream: core::StreamStatus) -> api::StreamStatus {
    let about = |(scope, rule): &(_, _)| flow::rule_out(flow::scope_out(scope, &stream.name), rule);
    let (park_after, fail_after) = stream.poison.parts();
    api::StreamStatus {
        rules: stream.rules.iter().map(about).collect(),
        tenant: stream.rank.tenant.to_string(),
        qos: flow::qos_out(stream.rank.qos).into(),
        priority: stream.rank.priority,
        name: stream.name,
        instance: instance(stream.instance),
        source: node(stream.source),
        targets: stream.targets.into_iter().map(target).collect(),
        complete: Some(policy_out(&stream.policy)),
        leader: stream.leader.map(node),
        local: stream.local,
        session: stream.session.0,
        authority: stream.authority.0,
        accepted: stream.accepted.0,
        replicated: stream.replicated.0,
        holders: stream.holders.into_iter().map(node).collect(),
        processed: stream.processed.0,
        completed: stream.completed.0,
        released: stream.released.0,
        handler: stream.handler.map(|token| token.0),
        outbox_bytes: stream.outbox_bytes,
        waiting_for: stream.waiting_for,
        stopped: stream.stopped,
        park_after,
        fail_after,
        detach_after_millis: stream.detach_after.as_millis(),
        failing: stream.failing.map(super::parked::failing),
        gone: stream.gone.into_iter().map(node).collect(),
        seal: stream.seal.map(|sealed| seal(stream.instance, sealed)),
        orphaned: stream.orphaned,
        members: members(stream.instance, stream.members),
        keep: super::keeping::retention(stream.keep),
        kept: stream.local.then(|| super::keeping::kept(stream.kept)),
        replays: stream.replays,
    }
}

fn members(stream: StreamInstance, members: StreamMembers) -> Option<api::StreamMembers> {
    (members != StreamMembers::default()).then(|| super::members::told(stream, members))
}

fn target(target: core::TargetStatus) -> api::StreamTarget {
    api::StreamTarget {
        node: node(target.node),
        processed: target.processed.0,
        reached: target.reached,
        handler: target.handler.map(|token| token.0),
        parked: target.parked,
        idle_millis: target.idle.map(wattle_core::time::Span::as_millis),
    }
}

fn policy_out(policy: &Policy) -> api::StreamPolicy {
    let (count, named) = policy.parts();
    api::StreamPolicy { count, named: named.iter().map(ToString::to_string).collect() }
}

/// By whom a message must be processed, as it is asked for.
///
/// # Errors
/// It is said in two ways.
pub(super) fn policy(policy: Option<api::StreamPolicy>) -> Result<Policy<String>, Status> {
    let api::StreamPolicy { count, named } = policy.unwrap_or_default();
    if count > 0 && !named.is_empty() {
        return Err(Status::invalid_argument(
            "a message is completed by so many targets, or by targets that are named: give one of the two",
        ));
    }
    Ok(Policy::of(count, named))
}

/// How far a stream is sealed.
pub(super) fn seal(stream: StreamInstance, sealed: Sealed) -> api::StreamSeal {
    let end = sealed.end.map(|(_, place)| place).unwrap_or_default();
    api::StreamSeal {
        instance: instance(stream),
        authority: sealed.authority.0,
        lost: sealed.lost.into_iter().map(node).collect(),
        waits_for: sealed.waits_for.into_iter().map(node).collect(),
        founder: sealed.end.map(|(founder, _)| node(founder)).unwrap_or_default(),
        end_index: end.index.0,
        end_term: end.term.0,
        sequence: sealed.sequence.map(|sequence| sequence.0),
        heard: sealed.heard.0,
    }
}

/// The text form of an id from the wire; what is not an id is shown as bytes.
#[must_use]
pub fn id_text(bytes: &[u8]) -> String {
    NodeId::from_slice(bytes).map_or_else(|| format!("{bytes:?}"), |id| id.to_string())
}
