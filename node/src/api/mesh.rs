//! The service that makes, grows and shows the mesh.

use tonic::{Request, Response, Status, async_trait};
use wattle_core::node::command::{Command, Reply};
use wattle_core::update::UpdateKind;
use wattle_proto::api::mesh_service_server::MeshService;
use wattle_proto::api::{
    BroadcastResult, FindUpdateRequest, GetMeshStatusRequest, InviteToMeshRequest, InviteToMeshResponse,
    JoinMeshRequest, JoinMeshResponse, MeshEvent, MeshEventFilter, MeshStatus, NodeDescription,
    SeedMeshRequest, SeedMeshResponse, SendUpdateRequest, SetUpdatePolicyRequest, SetUpdatePolicyResponse,
};

use super::data::Answers;
use super::{convert, errors, events, nodes, updates};
use crate::world::{Replies, World};

pub(super) struct Mesh<W> {
    world: W,
}

impl<W: World> Mesh<W> {
    pub(super) fn new(world: W) -> Self {
        Self { world }
    }
}

/// Gives a command and awaits its only answer.
pub(super) async fn ask<W: World>(world: &W, command: Command) -> Result<Reply, Status> {
    let mut replies = world.command(command).await;
    match replies.next().await {
        Some(Ok(reply)) => Ok(reply),
        Some(Err(refusal)) => Err(errors::status(&refusal)),
        None => Err(errors::node_stopped()),
    }
}

/// The core answered with a reply that does not belong to the command: an error of ours.
pub(super) fn out_of_place(reply: &Reply) -> Status {
    tracing::error!(?reply, "a command was answered with another's reply");
    Status::internal("the node answered something else than it was asked")
}

#[async_trait]
impl<W: World> MeshService for Mesh<W> {
    type WatchMeshEventsStream = Answers<MeshEvent>;

    async fn seed_mesh(
        &self,
        request: Request<SeedMeshRequest>,
    ) -> Result<Response<SeedMeshResponse>, Status> {
        let name = request.into_inner().name;
        match ask(&self.world, Command::Seed { name }).await? {
            Reply::Seeded { mesh, token } => {
                Ok(Response::new(SeedMeshResponse { mesh: convert::mesh(mesh), token }))
            }
            other => Err(out_of_place(&other)),
        }
    }

    async fn invite_to_mesh(
        &self,
        _: Request<InviteToMeshRequest>,
    ) -> Result<Response<InviteToMeshResponse>, Status> {
        match ask(&self.world, Command::Invite).await? {
            Reply::Token { token } => Ok(Response::new(InviteToMeshResponse { token })),
            other => Err(out_of_place(&other)),
        }
    }

    async fn join_mesh(
        &self,
        request: Request<JoinMeshRequest>,
    ) -> Result<Response<JoinMeshResponse>, Status> {
        let token = request.into_inner().token;
        match ask(&self.world, Command::Join { token }).await? {
            Reply::Joined { mesh } => Ok(Response::new(JoinMeshResponse { mesh: convert::mesh(mesh) })),
            other => Err(out_of_place(&other)),
        }
    }

    async fn get_mesh_status(
        &self,
        _: Request<GetMeshStatusRequest>,
    ) -> Result<Response<MeshStatus>, Status> {
        let status = self.world.status().await.ok_or_else(errors::node_stopped)?;
        Ok(Response::new(convert::status(status)))
    }

    async fn send_node_update(
        &self,
        request: Request<NodeDescription>,
    ) -> Result<Response<BroadcastResult>, Status> {
        nodes::send(&self.world, request.into_inner()).await.map(Response::new)
    }

    async fn send_mesh_update(
        &self,
        request: Request<SendUpdateRequest>,
    ) -> Result<Response<BroadcastResult>, Status> {
        updates::send(&self.world, UpdateKind::Mesh, request.into_inner()).await.map(Response::new)
    }

    async fn send_system_update(
        &self,
        request: Request<SendUpdateRequest>,
    ) -> Result<Response<BroadcastResult>, Status> {
        self.send_mesh_update(request).await
    }

    async fn send_internal_db_update(
        &self,
        request: Request<SendUpdateRequest>,
    ) -> Result<Response<BroadcastResult>, Status> {
        updates::send(&self.world, UpdateKind::Database, request.into_inner()).await.map(Response::new)
    }

    async fn find_update(
        &self,
        request: Request<FindUpdateRequest>,
    ) -> Result<Response<BroadcastResult>, Status> {
        updates::find(&self.world, request.into_inner()).await.map(Response::new)
    }

    async fn watch_mesh_events(
        &self,
        request: Request<MeshEventFilter>,
    ) -> Result<Response<Self::WatchMeshEventsStream>, Status> {
        events::serve(&self.world, &request.into_inner()).map(Response::new)
    }

    async fn set_update_policy(
        &self,
        request: Request<SetUpdatePolicyRequest>,
    ) -> Result<Response<SetUpdatePolicyResponse>, Status> {
        updates::set_policy(&self.world, &request.into_inner()).await.map(Response::new)
    }
}
