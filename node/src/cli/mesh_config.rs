//! `wattle mesh config`: the settings of the mesh itself.

use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;
use wattle_proto::api::{GetMeshConfigRequest, JoinPolicy, SetMeshConfigRequest};

use super::commands::Desk;
use super::config::Fresh;
use crate::client::config::once;
use crate::client::{Failure, connect, follow};
use crate::output::{config, mesh_config};

#[derive(Args, Debug)]
pub(super) struct MeshConfigArgs {
    #[command(subcommand)]
    set: Option<MeshConfigCommand>,
    #[command(flatten)]
    fresh: Fresh,
}

#[derive(Debug, Subcommand)]
enum MeshConfigCommand {
    /// Change settings of the mesh: all that are given, or none
    Set(SetArgs),
}

#[derive(Args, Debug)]
#[group(required = true, multiple = true, args = ["name", "description", "voters", "join"])]
struct SetArgs {
    /// Name of the mesh, for people: 1 to 64 bytes
    #[arg(long)]
    name: Option<String>,
    /// What it is for: up to 1024 bytes
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// How many members vote in the control group, if there are as many: 1, 3, 5 or 7; `default` leaves it to each node's settings
    #[arg(long, value_name = "N", value_parser = voters)]
    voters: Option<u32>,
    /// Who may join: anybody who finds a member, whoever shows a key or token, or nobody
    #[arg(long, value_enum, value_name = "POLICY")]
    join: Option<Policy>,
    /// Only if the settings have this version; 0 if none was ever changed
    #[arg(long, value_name = "VERSION")]
    expect: Option<u64>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Policy {
    /// No secret is asked for: any text of a key or token will do, also one that is no longer good
    Open,
    /// The mesh's join key, or a token of a member, must be shown
    KeyRequired,
    /// Nobody can join
    Closed,
}

impl From<Policy> for JoinPolicy {
    fn from(policy: Policy) -> Self {
        match policy {
            Policy::Open => Self::Open,
            Policy::KeyRequired => Self::KeyRequired,
            Policy::Closed => Self::Closed,
        }
    }
}

fn voters(text: &str) -> Result<u32, String> {
    match text {
        "default" => Ok(0),
        "1" | "3" | "5" | "7" => Ok(text.parse().unwrap_or(0)),
        _ => Err("it takes 1, 3, 5, 7 or default".to_owned()),
    }
}

impl Desk {
    pub(super) async fn mesh_config(&self, arguments: MeshConfigArgs) -> Result<(), Failure> {
        match arguments.set {
            Some(MeshConfigCommand::Set(set)) => self.set_mesh_config(set).await,
            None => self.show_mesh_config(arguments.fresh).await,
        }
    }

    async fn show_mesh_config(&self, fresh: Fresh) -> Result<(), Failure> {
        let request = GetMeshConfigRequest { consistency: fresh.consistency() };
        let (found, _) = follow(&self.finder, self.finder.peers(None).await?, async |client| {
            let peer = client.peer.clone();
            connect::answer(&peer, client.mesh.get_mesh_config(request)).await
        })
        .await?;
        if let Some(age) = config::age(found.at.as_ref()) {
            self.output.remark(&age);
        }
        let config = found.config.unwrap_or_default();
        let key = found.key;
        self.output.print(
            || mesh_config::text(&config, key.as_ref()),
            || {
                let mut value = mesh_config::json(&config);
                value["join_key"] = key.map_or(serde_json::Value::Null, |key| {
                    json!({
                        "version": key.version, "uses": key.uses, "used": key.used, "expires_millis": key.expires_millis,
                    })
                });
                value
            },
        );
        Ok(())
    }

    async fn set_mesh_config(&self, set: SetArgs) -> Result<(), Failure> {
        let SetArgs { name, description, voters, join, expect } = set;
        let request = SetMeshConfigRequest {
            expected_version: expect,
            name,
            description,
            control_voters: voters,
            join_policy: join.map(|policy| JoinPolicy::from(policy).into()),
        };
        let written = once(&self.finder, async |client| {
            let peer = client.peer.clone();
            connect::answer(&peer, client.mesh.set_mesh_config(request.clone())).await
        })
        .await?;
        self.output.print(
            || format!("The settings of the mesh are changed: version {}", written.version),
            || json!({ "version": written.version }),
        );
        Ok(())
    }
}
