//! The service for streams of data.

use std::pin::Pin;

use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming, async_trait};
use wattle_core::ends::{Poison, Terms};
use wattle_core::flow::FlowChange;
use wattle_core::node::command::{Command, Refusal, Reply};
use wattle_core::update::UpdateKind;
use wattle_proto::api::mesh_data_service_server::MeshDataService;
use wattle_proto::api::{
    ChangeClientDataStreamMembersRequest, CloseClientDataStreamRequest, CloseClientDataStreamResponse,
    CloseWriterRequest, CloseWriterResponse, DiscardParkedRequest, DiscardParkedResponse, FindWriterRequest,
    FindWriterResponse, GiveUpStagedRequest, GiveUpStagedResponse, ListParkedRequest, ListParkedResponse,
    NodeUpdate, OpenClientDataStreamRequest, PauseClientDataStreamRequest, PublishRequest, PublishResponse,
    ReadHandlerStoreRequest, ReadHandlerStoreResponse, ResumeClientDataStreamRequest, RetryParkedRequest,
    RetryParkedResponse, RunHandlerAgainRequest, RunHandlerAgainResponse, SealClientDataStreamRequest,
    ShowParkedRequest, ShowParkedResponse, StreamFlow, StreamHandle, StreamMembers, StreamSeal,
    SubscribeNodeUpdatesRequest, SubscribeRequest, SubscribeResponse, SubscribeUpdatesRequest,
    SubscribeUpdatesResponse, ThrottleClientDataStreamRequest,
};

use super::mesh::{ask, out_of_place};
use super::{convert, errors, flow, handlers, keeping, members, nodes, parked, publish, subscribe, updates};
use crate::handlers::Configured;
use crate::world::World;

pub(super) struct Data<W> {
    world: W,
    configured: Configured,
}

impl<W: World> Data<W> {
    pub(super) fn new(world: W, configured: Configured) -> Self {
        Self { world, configured }
    }
}

/// What streaming calls answer with.
pub(super) type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Where a streaming call puts its answers. It is closed when the client is gone.
pub(super) type Sender<T> = mpsc::Sender<Result<T, Status>>;

/// The answers of a call that runs as a task of its own. At most `queued` are ready and not yet written; the status that the call fails
/// with comes last.
pub(super) fn answers<T, F>(queued: usize, run: impl FnOnce(Sender<T>) -> F) -> Answers<T>
where
    T: Send + 'static,
    F: Future<Output = Result<(), Status>> + Send + 'static,
{
    let (sender, receiver) = mpsc::channel(queued);
    let call = run(sender.clone());
    tokio::spawn(async move {
        if let Err(status) = call.await {
            // The client is gone if nobody takes it.
            let _ = sender.send(Err(status)).await;
        }
    });
    Box::pin(ReceiverStream::new(receiver))
}

#[async_trait]
impl<W: World> MeshDataService for Data<W> {
    type PublishClientDataStream = Answers<PublishResponse>;
    type SubscribeClientDataStream = Answers<SubscribeResponse>;
    type SubscribeNodeUpdatesStream = Answers<NodeUpdate>;
    type SubscribeMeshUpdatesStream = Answers<SubscribeUpdatesResponse>;
    type SubscribeInternalDBUpdatesStream = Answers<SubscribeUpdatesResponse>;

    async fn open_client_data_stream(
        &self,
        request: Request<OpenClientDataStreamRequest>,
    ) -> Result<Response<StreamHandle>, Status> {
        let OpenClientDataStreamRequest {
            name,
            source,
            targets,
            complete,
            park_after,
            fail_after,
            detach_after_millis,
            keep,
            tenant,
            qos,
            priority,
        } = request.into_inner();
        let poison = Poison::of(park_after, fail_after).map_err(Refusal::BadEnds);
        let terms = Terms {
            policy: convert::policy(complete)?,
            poison: poison.map_err(|refusal| errors::status(&refusal))?,
            keep: keeping::read(keep)?,
            rank: flow::rank(&tenant, qos, priority)?,
            detach_after: keeping::span(detach_after_millis)?,
        };
        let open = Command::OpenStream { name: name.clone(), source, targets, terms };
        match ask(&self.world, open).await? {
            Reply::StreamOpened { instance, created } => {
                Ok(Response::new(StreamHandle { name, instance: convert::instance(instance), created }))
            }
            other => Err(out_of_place(&other)),
        }
    }

    async fn close_client_data_stream(
        &self,
        request: Request<CloseClientDataStreamRequest>,
    ) -> Result<Response<CloseClientDataStreamResponse>, Status> {
        let CloseClientDataStreamRequest { name, tenant } = request.into_inner();
        match ask(&self.world, flow::within(&tenant, Command::CloseStream { name })?).await? {
            Reply::StreamClosed => Ok(Response::new(CloseClientDataStreamResponse {})),
            other => Err(out_of_place(&other)),
        }
    }

    async fn seal_client_data_stream(
        &self,
        request: Request<SealClientDataStreamRequest>,
    ) -> Result<Response<StreamSeal>, Status> {
        let SealClientDataStreamRequest { name, lost, tenant } = request.into_inner();
        match ask(&self.world, flow::within(&tenant, Command::SealStream { name, lost })?).await? {
            Reply::StreamSealed { instance, sealed } => Ok(Response::new(convert::seal(instance, sealed))),
            other => Err(out_of_place(&other)),
        }
    }

    async fn change_client_data_stream_members(
        &self,
        request: Request<ChangeClientDataStreamMembersRequest>,
    ) -> Result<Response<StreamMembers>, Status> {
        let request = request.into_inner();
        let tenant = request.tenant.clone();
        let wish = members::wish(request)?;
        match ask(&self.world, flow::within(&tenant, Command::ChangeMembers(wish))?).await? {
            Reply::StreamMembers { instance, members } => Ok(Response::new(members::told(instance, members))),
            other => Err(out_of_place(&other)),
        }
    }

    async fn pause_client_data_stream(
        &self,
        request: Request<PauseClientDataStreamRequest>,
    ) -> Result<Response<StreamFlow>, Status> {
        let PauseClientDataStreamRequest { scope, tenant } = request.into_inner();
        flow::change(&self.world, scope, &tenant, FlowChange::Pause).await.map(Response::new)
    }

    async fn resume_client_data_stream(
        &self,
        request: Request<ResumeClientDataStreamRequest>,
    ) -> Result<Response<StreamFlow>, Status> {
        let ResumeClientDataStreamRequest { scope, tenant } = request.into_inner();
        flow::change(&self.world, scope, &tenant, FlowChange::Resume).await.map(Response::new)
    }

    async fn throttle_client_data_stream(
        &self,
        request: Request<ThrottleClientDataStreamRequest>,
    ) -> Result<Response<StreamFlow>, Status> {
        let ThrottleClientDataStreamRequest { scope, tenant, messages, bytes, off } = request.into_inner();
        let change = flow::throttle(messages, bytes, off)?;
        flow::change(&self.world, scope, &tenant, change).await.map(Response::new)
    }

    async fn publish_client_data(
        &self,
        request: Request<Streaming<PublishRequest>>,
    ) -> Result<Response<Self::PublishClientDataStream>, Status> {
        Ok(Response::new(publish::serve(self.world.clone(), request.into_inner())))
    }

    async fn find_writer(
        &self,
        request: Request<FindWriterRequest>,
    ) -> Result<Response<FindWriterResponse>, Status> {
        let FindWriterRequest { stream, writer, tenant } = request.into_inner();
        let writer = convert::read_writer(&writer)?;
        match ask(&self.world, flow::within(&tenant, Command::FindWriter { stream, writer })?).await? {
            Reply::Writer { next, staged, part_bytes } => {
                let staged = staged.map(|staged| convert::staged(next.0, &staged));
                Ok(Response::new(FindWriterResponse { next: next.0, staged, part_bytes }))
            }
            other => Err(out_of_place(&other)),
        }
    }

    async fn give_up_staged(
        &self,
        request: Request<GiveUpStagedRequest>,
    ) -> Result<Response<GiveUpStagedResponse>, Status> {
        let GiveUpStagedRequest { stream, writer, tenant } = request.into_inner();
        let writer = convert::read_writer(&writer)?;
        match ask(&self.world, flow::within(&tenant, Command::GiveUpStaged { stream, writer })?).await? {
            Reply::Staged(_) => Ok(Response::new(GiveUpStagedResponse {})),
            other => Err(out_of_place(&other)),
        }
    }

    async fn close_writer(
        &self,
        request: Request<CloseWriterRequest>,
    ) -> Result<Response<CloseWriterResponse>, Status> {
        let CloseWriterRequest { stream, writer, tenant } = request.into_inner();
        let writer = convert::read_writer(&writer)?;
        match ask(&self.world, flow::within(&tenant, Command::CloseWriter { stream, writer })?).await? {
            Reply::WriterClosed => Ok(Response::new(CloseWriterResponse {})),
            other => Err(out_of_place(&other)),
        }
    }

    async fn run_handler_again(
        &self,
        request: Request<RunHandlerAgainRequest>,
    ) -> Result<Response<RunHandlerAgainResponse>, Status> {
        handlers::again(&self.world, &self.configured, &request.into_inner().stream).map(Response::new)
    }

    async fn read_handler_store(
        &self,
        request: Request<ReadHandlerStoreRequest>,
    ) -> Result<Response<ReadHandlerStoreResponse>, Status> {
        handlers::read(&self.configured, request.into_inner()).await.map(Response::new)
    }

    async fn list_parked(
        &self,
        request: Request<ListParkedRequest>,
    ) -> Result<Response<ListParkedResponse>, Status> {
        parked::list(&self.world, request.into_inner()).await.map(Response::new)
    }

    async fn show_parked(
        &self,
        request: Request<ShowParkedRequest>,
    ) -> Result<Response<ShowParkedResponse>, Status> {
        parked::show(&self.world, request.into_inner()).await.map(Response::new)
    }

    async fn retry_parked(
        &self,
        request: Request<RetryParkedRequest>,
    ) -> Result<Response<RetryParkedResponse>, Status> {
        parked::retry(&self.world, request.into_inner()).await.map(Response::new)
    }

    async fn discard_parked(
        &self,
        request: Request<DiscardParkedRequest>,
    ) -> Result<Response<DiscardParkedResponse>, Status> {
        parked::discard(&self.world, request.into_inner()).await.map(Response::new)
    }

    async fn subscribe_client_data(
        &self,
        request: Request<Streaming<SubscribeRequest>>,
    ) -> Result<Response<Self::SubscribeClientDataStream>, Status> {
        Ok(Response::new(subscribe::serve(self.world.clone(), self.configured.clone(), request.into_inner())))
    }

    async fn subscribe_node_updates(
        &self,
        _: Request<SubscribeNodeUpdatesRequest>,
    ) -> Result<Response<Self::SubscribeNodeUpdatesStream>, Status> {
        Ok(Response::new(nodes::serve(self.world.clone())))
    }

    async fn subscribe_mesh_updates(
        &self,
        request: Request<Streaming<SubscribeUpdatesRequest>>,
    ) -> Result<Response<Self::SubscribeMeshUpdatesStream>, Status> {
        Ok(Response::new(updates::serve(self.world.clone(), UpdateKind::Mesh, request.into_inner())))
    }

    async fn subscribe_internal_db_updates(
        &self,
        request: Request<Streaming<SubscribeUpdatesRequest>>,
    ) -> Result<Response<Self::SubscribeInternalDBUpdatesStream>, Status> {
        Ok(Response::new(updates::serve(self.world.clone(), UpdateKind::Database, request.into_inner())))
    }
}
