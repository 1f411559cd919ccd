//! Commands about who belongs to the mesh and takes part in it: how members go, stop and start.

use serde_json::json;
use wattle_proto::api::{EvictNodeRequest, LeaveMeshRequest, StartMeshRequest, StopMeshRequest};

use super::commands::Desk;
use crate::api::convert::id_text;
use crate::client::{Client, Failure, connect, follow};

impl Desk {
    pub(super) async fn stop_mesh(&self) -> Result<(), Failure> {
        let peer = self.finder.only().await?;
        let mut client = Client::connect(peer.clone()).await?;
        connect::answer(&peer, client.mesh.stop_mesh(StopMeshRequest {})).await?;
        self.output.print(
            || {
                format!(
                    "{peer} takes no part in its mesh any more, also if it is started anew. `wattle mesh start` brings it back."
                )
            },
            || json!({ "stopped": true }),
        );
        Ok(())
    }

    pub(super) async fn start_mesh(&self) -> Result<(), Failure> {
        let peer = self.finder.only().await?;
        let mut client = Client::connect(peer.clone()).await?;
        let status = connect::answer(&peer, client.mesh.start_mesh(StartMeshRequest {})).await?;
        let member = status.mesh.is_some();
        self.output.print(
            || match member {
                true => format!("{peer} takes part in mesh {}.", status.mesh_name),
                false => format!(
                    "{peer} belongs to no mesh: it waits for `wattle mesh seed` or `wattle mesh join`."
                ),
            },
            || json!({ "stopped": false, "member": member }),
        );
        Ok(())
    }

    pub(super) async fn leave(&self, force: bool) -> Result<(), Failure> {
        let peer = self.finder.only().await?;
        let mut client = Client::connect(peer.clone()).await?;
        connect::answer(&peer, client.mesh.leave_mesh(LeaveMeshRequest { force })).await?;
        self.output.print(
            || {
                format!(
                    "{peer} belongs to no mesh any more. `wattle mesh join` with a new token brings it back."
                )
            },
            || json!({ "left": true }),
        );
        Ok(())
    }

    pub(super) async fn evict(&self, member: String) -> Result<(), Failure> {
        let peers = self.finder.peers(None).await?;
        let (evicted, _) = follow(&self.finder, peers, async |client| {
            let peer = client.peer.clone();
            let request = EvictNodeRequest { member: member.clone() };
            connect::answer(&peer, client.mesh.evict_node(request)).await
        })
        .await?;
        let node = id_text(&evicted.node);
        self.output.print(
            || {
                format!(
                    "{member} ({node}) is no member any more (mesh epoch {}). It comes back only by `wattle mesh join` with a new token.",
                    evicted.epoch
                )
            },
            || json!({ "node": node, "epoch": evicted.epoch }),
        );
        Ok(())
    }
}
