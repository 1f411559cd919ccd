//! `wattle node`: one node and its identity.

use clap::{Args, Subcommand};
use serde_json::json;
use wattle_proto::api::{MemberStatus, MeshStatus, RotateNodeKeyRequest};

use super::commands::Desk;
use crate::api::convert::id_text;
use crate::client::{Client, Failure, connect};
use crate::output::fingerprint;

#[derive(Debug, Subcommand)]
pub(super) enum NodeCommand {
    /// Show who the node is, and its keys
    Show,
    /// The node's identity key
    #[command(subcommand)]
    Key(NodeKeyCommand),
}

#[derive(Debug, Subcommand)]
pub(super) enum NodeKeyCommand {
    /// Give the node a new identity key in the place of the one it has
    ///
    /// The node makes the key, keeps it beside the present one, and has the mesh agree on it. For a while either is good, so that no link is lost; once
    /// the members know the new one, the old one is retired for good. That goes on by itself, whatever is started anew meanwhile. The id of the
    /// node stays. Keep no copy of the data directory from before as a backup: its key is good no more.
    Rotate(RotateArgs),
}

#[derive(Args, Debug)]
pub(super) struct RotateArgs {
    /// Retire the old key as soon as that can be, also of a rotation under way: it may have been stolen. Members that are away hear of the new one when they
    /// come back
    #[arg(long)]
    finish: bool,
}

impl Desk {
    pub(super) async fn node_command(&self, command: NodeCommand) -> Result<(), Failure> {
        match command {
            NodeCommand::Show => self.show_node().await,
            NodeCommand::Key(NodeKeyCommand::Rotate(RotateArgs { finish })) => {
                self.rotate_node_key(finish).await
            }
        }
    }

    async fn rotate_node_key(&self, finish: bool) -> Result<(), Failure> {
        let mut client = Client::connect(self.finder.only().await?).await?;
        let peer = client.peer.clone();
        let request = RotateNodeKeyRequest { finish };
        let rotated = connect::answer(&peer, client.mesh.rotate_node_key(request)).await?;
        let key = fingerprint(&rotated.key);
        self.output.print(
            || match rotated.retired {
                true => format!("the key of this node is {key} from now on; the one before is retired"),
                false => format!(
                    "the next key of this node is {key}: it and the one before are both good until the members know it, which takes some seconds \
                     (`wattle node show` tells how far that is)"
                ),
            },
            || json!({ "key": key, "retired": rotated.retired }),
        );
        Ok(())
    }

    async fn show_node(&self) -> Result<(), Failure> {
        let mut client = Client::connect(self.finder.only().await?).await?;
        let status = client.status().await?;
        let own =
            status.members.iter().find(|member| member.node == status.node).cloned().unwrap_or_default();
        self.output.print(|| text(&status, &own), || json(&status, &own));
        Ok(())
    }
}

fn text(status: &MeshStatus, own: &MemberStatus) -> String {
    let keys: Vec<String> = own.keys.iter().map(|key| fingerprint(key)).collect();
    let rotation = match (&keys[..], own.rotation) {
        ([], _) => "belongs to no mesh, which would know its key".to_owned(),
        ([old, next], number) => format!("key {old} gives way to {next} (rotation {number}): both are good"),
        ([key, ..], 0) => format!("key {key}, its first"),
        ([key, ..], number) => format!("key {key}, since rotation {number}"),
    };
    format!("node {} ({})\n{rotation}", status.name, id_text(&status.node))
}

fn json(status: &MeshStatus, own: &MemberStatus) -> serde_json::Value {
    json!({
        "name": status.name, "id": id_text(&status.node), "keys": own.keys.iter().map(|key| fingerprint(key)).collect::<Vec<_>>(),
        "rotation": own.rotation,
    })
}
