//! The service that makes, grows and shows the mesh.

use tonic::{Request, Response, Status, async_trait};
use wattle_core::node::command::{Command, Reply};
use wattle_core::update::UpdateKind;
use wattle_proto::api::mesh_service_server::MeshService;
use wattle_proto::api::{
    BroadcastResult, DeleteConfigRequest, DeleteConfigResponse, EvictNodeRequest, EvictNodeResponse,
    FindUpdateRequest, GetConfigRequest, GetConfigResponse, GetMeshConfigRequest, GetMeshConfigResponse,
    GetMeshStatusRequest, InviteToMeshRequest, InviteToMeshResponse, JoinMeshRequest, JoinMeshResponse,
    LeaveMeshRequest, LeaveMeshResponse, ListConfigRequest, ListConfigResponse, MeshEvent, MeshEventFilter,
    MeshStatus, NodeDescription, RecoverMeshRequest, RecoverMeshResponse, RotateJoinKeyRequest,
    RotateJoinKeyResponse, RotateNodeKeyRequest, RotateNodeKeyResponse, SeedMeshRequest, SeedMeshResponse,
    SendUpdateRequest, SetConfigRequest, SetConfigResponse, SetMeshConfigRequest, SetMeshConfigResponse,
    SetUpdatePolicyRequest, SetUpdatePolicyResponse, StartMeshRequest, StopMeshRequest, WatchConfigRequest,
    WatchConfigResponse,
};

use super::data::Answers;
use super::{config, convert, errors, events, mesh_config, nodes, recovery, updates};
use crate::world::{Replies, World};

pub(super) struct Mesh<W> {
    world: W,
}

impl<W: World> Mesh<W> {
    pub(super) fn new(world: W) -> Self {
        Self { world }
    }

    async fn status(&self) -> Result<Response<MeshStatus>, Status> {
        let status = self.world.status().await.ok_or_else(errors::node_stopped)?;
        Ok(Response::new(convert::status(status, self.world.written(), self.world.handlers())))
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

    async fn leave_mesh(
        &self,
        request: Request<LeaveMeshRequest>,
    ) -> Result<Response<LeaveMeshResponse>, Status> {
        match ask(&self.world, Command::Leave { force: request.into_inner().force }).await? {
            Reply::Left => Ok(Response::new(LeaveMeshResponse {})),
            other => Err(out_of_place(&other)),
        }
    }

    async fn stop_mesh(&self, _: Request<StopMeshRequest>) -> Result<Response<MeshStatus>, Status> {
        match ask(&self.world, Command::StopMesh { lasting: true }).await? {
            Reply::MeshStopped => self.status().await,
            other => Err(out_of_place(&other)),
        }
    }

    async fn start_mesh(&self, _: Request<StartMeshRequest>) -> Result<Response<MeshStatus>, Status> {
        match ask(&self.world, Command::StartMesh).await? {
            Reply::MeshStarted => self.status().await,
            other => Err(out_of_place(&other)),
        }
    }

    async fn evict_node(
        &self,
        request: Request<EvictNodeRequest>,
    ) -> Result<Response<EvictNodeResponse>, Status> {
        match ask(&self.world, Command::Evict { member: request.into_inner().member }).await? {
            Reply::Evicted { node, epoch } => {
                Ok(Response::new(EvictNodeResponse { node: convert::node(node), epoch }))
            }
            other => Err(out_of_place(&other)),
        }
    }

    async fn recover_mesh(
        &self,
        request: Request<RecoverMeshRequest>,
    ) -> Result<Response<RecoverMeshResponse>, Status> {
        recovery::recover(&self.world, request.into_inner()).await.map(Response::new)
    }

    async fn get_mesh_status(
        &self,
        _: Request<GetMeshStatusRequest>,
    ) -> Result<Response<MeshStatus>, Status> {
        self.status().await
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

    async fn set_config(
        &self,
        request: Request<SetConfigRequest>,
    ) -> Result<Response<SetConfigResponse>, Status> {
        config::set(&self.world, request.into_inner()).await.map(Response::new)
    }

    async fn delete_config(
        &self,
        request: Request<DeleteConfigRequest>,
    ) -> Result<Response<DeleteConfigResponse>, Status> {
        config::delete(&self.world, request.into_inner()).await.map(Response::new)
    }

    async fn get_config(
        &self,
        request: Request<GetConfigRequest>,
    ) -> Result<Response<GetConfigResponse>, Status> {
        config::get(&self.world, request.into_inner()).await.map(Response::new)
    }

    async fn list_config(
        &self,
        request: Request<ListConfigRequest>,
    ) -> Result<Response<ListConfigResponse>, Status> {
        config::list(&self.world, request.into_inner()).await.map(Response::new)
    }

    async fn get_mesh_config(
        &self,
        request: Request<GetMeshConfigRequest>,
    ) -> Result<Response<GetMeshConfigResponse>, Status> {
        mesh_config::get(&self.world, request.into_inner()).await.map(Response::new)
    }

    async fn set_mesh_config(
        &self,
        request: Request<SetMeshConfigRequest>,
    ) -> Result<Response<SetMeshConfigResponse>, Status> {
        mesh_config::set(&self.world, request.into_inner()).await.map(Response::new)
    }

    async fn rotate_join_key(
        &self,
        request: Request<RotateJoinKeyRequest>,
    ) -> Result<Response<RotateJoinKeyResponse>, Status> {
        mesh_config::rotate(&self.world, request.into_inner()).await.map(Response::new)
    }

    async fn rotate_node_key(
        &self,
        request: Request<RotateNodeKeyRequest>,
    ) -> Result<Response<RotateNodeKeyResponse>, Status> {
        let finish = request.into_inner().finish;
        match ask(&self.world, Command::RotateNodeKey { finish }).await? {
            Reply::NodeKey { key, retired } => {
                Ok(Response::new(RotateNodeKeyResponse { key: key.0.to_vec().into(), retired }))
            }
            other => Err(out_of_place(&other)),
        }
    }

    type WatchConfigStream = Answers<WatchConfigResponse>;

    async fn watch_config(
        &self,
        request: Request<WatchConfigRequest>,
    ) -> Result<Response<Self::WatchConfigStream>, Status> {
        Ok(Response::new(config::watch(self.world.clone(), request.into_inner())))
    }
}
