//! The settings of the mesh itself: agreed configuration with names and types of its own.

use bytes::Bytes;
use tonic::Status;
use wattle_core::agreed::{self as core, ConfigCommand, ConfigReply, MeshSettings};
use wattle_core::id::LogIndex;
use wattle_core::mesh::handlers::{DESCRIPTION, JOIN_POLICY, NAME, VOTERS};
use wattle_core::node::command::Reply;
use wattle_core::time::Span;
use wattle_proto::api::{
    GetMeshConfigRequest, GetMeshConfigResponse, JoinKeyStatus, JoinPolicy, MeshConfig, RotateJoinKeyRequest,
    RotateJoinKeyResponse, SetMeshConfigRequest, SetMeshConfigResponse,
};

use super::config::{point, read_consistency, tell};
use super::errors;
use super::mesh::out_of_place;
use crate::world::World;

pub(super) async fn get<W: World>(
    world: &W,
    request: GetMeshConfigRequest,
) -> Result<GetMeshConfigResponse, Status> {
    let consistency = read_consistency(request.consistency)?;
    let status = world.status().await.ok_or_else(errors::node_stopped)?;
    match tell(world, ConfigCommand::Settings { consistency }).await? {
        ConfigReply::Settings { settings, key: known, at } => {
            let config = mesh_config(&settings, &status.mesh_name);
            Ok(GetMeshConfigResponse { config: Some(config), at: Some(point(at)), key: known.map(key) })
        }
        other => Err(out_of_place(&Reply::Config(other))),
    }
}

pub(super) async fn set<W: World>(
    world: &W,
    request: SetMeshConfigRequest,
) -> Result<SetMeshConfigResponse, Status> {
    let expected = request.expected_version.map(LogIndex);
    match tell(world, ConfigCommand::Configure { changes: changes(request)?, expected }).await? {
        ConfigReply::Written { version } => Ok(SetMeshConfigResponse { version: version.0 }),
        other => Err(out_of_place(&Reply::Config(other))),
    }
}

pub(super) async fn rotate<W: World>(
    world: &W,
    request: RotateJoinKeyRequest,
) -> Result<RotateJoinKeyResponse, Status> {
    let lifetime = request.lifetime_seconds.map(|seconds| Span(seconds.saturating_mul(1_000_000_000)));
    match tell(world, ConfigCommand::RotateKey { lifetime, uses: request.uses }).await? {
        ConfigReply::KeyRotated { text, key: rotated } => {
            Ok(RotateJoinKeyResponse { text, key: Some(key(rotated)) })
        }
        other => Err(out_of_place(&Reply::Config(other))),
    }
}

fn key(key: core::KeyStatus) -> JoinKeyStatus {
    JoinKeyStatus {
        version: key.version.0,
        expires_millis: key.expiry.map(|expiry| expiry.0),
        uses: key.uses,
        used: key.used,
    }
}

/// What is to be written under which keys.
fn changes(request: SetMeshConfigRequest) -> Result<Vec<(String, Option<Bytes>)>, Status> {
    let SetMeshConfigRequest { expected_version: _, name, description, control_voters, join_policy } =
        request;
    let policy = join_policy.map(read_policy).transpose()?;
    // Without a value the default counts again.
    let voters = control_voters.map(|voters| if voters == 0 { None } else { Some(voters.to_string()) });
    let wanted = [
        (NAME, name.map(Some)),
        (DESCRIPTION, description.map(Some)),
        (VOTERS, voters),
        (JOIN_POLICY, policy),
    ];
    let given = wanted.into_iter().filter_map(|(key, change)| Some((key, change?)));
    let changes: Vec<(String, Option<Bytes>)> =
        given.map(|(key, value)| (key.to_owned(), value.map(Bytes::from))).collect();
    if changes.is_empty() {
        return Err(errors::invalid(
            "nothing is to be changed: give the name, the description or another setting",
        ));
    }
    Ok(changes)
}

/// What a policy is called in the table.
fn read_policy(number: i32) -> Result<Option<String>, Status> {
    let policy = match JoinPolicy::try_from(number) {
        Ok(JoinPolicy::Open) => core::JoinPolicy::Open,
        Ok(JoinPolicy::KeyRequired) => core::JoinPolicy::KeyRequired,
        Ok(JoinPolicy::Closed) => core::JoinPolicy::Closed,
        Ok(JoinPolicy::Unspecified) | Err(_) => {
            let what = format!("{number} is no join policy: 1 is open, 2 asks for a key, 3 is closed");
            return Err(errors::invalid(what));
        }
    };
    Ok(Some(policy.name().to_owned()))
}

/// The settings on the wire.
pub(super) fn mesh_config(settings: &MeshSettings, mesh_name: &str) -> MeshConfig {
    MeshConfig {
        version: settings.version.0,
        name: settings.name.clone().unwrap_or_else(|| mesh_name.to_owned()),
        description: settings.description.clone().unwrap_or_default(),
        control_voters: settings.voters.and_then(|voters| u32::try_from(voters).ok()),
        join_policy: match settings.join_policy {
            core::JoinPolicy::Open => JoinPolicy::Open,
            core::JoinPolicy::KeyRequired => JoinPolicy::KeyRequired,
            core::JoinPolicy::Closed => JoinPolicy::Closed,
        }
        .into(),
    }
}
