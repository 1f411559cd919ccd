//! Commands about who belongs to the mesh: how members go.

use serde_json::json;
use wattle_proto::api::{EvictNodeRequest, LeaveMeshRequest};

use super::commands::Desk;
use crate::api::convert::id_text;
use crate::client::{Client, Failure, connect, follow};

impl Desk {
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
