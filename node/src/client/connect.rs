//! A connection to one node's API.

use std::error::Error;
use std::time::Duration;

use tonic::metadata::AsciiMetadataValue;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};
use wattle_proto::api::mesh_data_service_client::MeshDataServiceClient;
use wattle_proto::api::mesh_service_client::MeshServiceClient;
use wattle_proto::api::{
    FindWriterRequest, FindWriterResponse, GetMeshStatusRequest, InviteToMeshRequest, MemberStatus,
    MeshStatus, OpenClientDataStreamRequest, StreamHandle,
};

use super::failure::Failure;
use super::find::Peer;
use crate::api::{MESSAGE_BYTES_MAX, Token};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a single answer may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Shows the token with every call.
#[derive(Clone)]
pub struct Bearer(AsciiMetadataValue);

impl std::fmt::Debug for Bearer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Bearer(..)")
    }
}

impl Bearer {
    /// The metadata for a token.
    ///
    /// # Errors
    /// When the token holds characters that metadata cannot carry.
    pub fn new(token: &Token) -> Result<Self, Failure> {
        let mut value: AsciiMetadataValue = token
            .bearer()
            .parse()
            .map_err(|_| Failure::Usage("the API token holds characters that no token has".to_owned()))?;
        value.set_sensitive(true);
        Ok(Self(value))
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

type Authorised = InterceptedService<Channel, Bearer>;

/// A connection to one node's API.
#[derive(Clone, Debug)]
pub struct Client {
    /// The node at the other end.
    pub peer: Peer,
    /// Its service for the mesh.
    pub mesh: MeshServiceClient<Authorised>,
    /// Its service for streams.
    pub data: MeshDataServiceClient<Authorised>,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// When nobody answers there, or there is no token to show.
    pub async fn connect(peer: Peer) -> Result<Self, Failure> {
        let token = peer.token()?;
        let endpoint = Endpoint::from_shared(format!("http://{}", peer.api))
            .map_err(|_| Failure::Usage(format!("{} is not an address: write host:port", peer.api)))?
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .initial_connection_window_size(8 << 20)
            .initial_stream_window_size(4 << 20);
        let channel = endpoint.connect().await.map_err(|error| {
            let mut cause: &dyn Error = &error;
            while let Some(deeper) = cause.source() {
                cause = deeper;
            }
            Failure::Unreachable(format!("{peer} does not answer: {cause}"))
        })?;
        let authorised = InterceptedService::new(channel, Bearer::new(&token)?);
        let mesh = MeshServiceClient::new(authorised.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX);
        let data = MeshDataServiceClient::new(authorised)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        Ok(Self { peer, mesh, data })
    }

    /// What the node knows.
    ///
    /// # Errors
    /// When it does not answer or refuses.
    pub async fn status(&mut self) -> Result<MeshStatus, Failure> {
        let peer = self.peer.clone();
        answer(&peer, self.mesh.get_mesh_status(GetMeshStatusRequest {})).await
    }

    /// A join token of this node; its name instead if nobody could dial it to use one.
    ///
    /// # Errors
    /// When the node does not answer or refuses.
    pub async fn invite(&mut self) -> Result<Result<String, String>, Failure> {
        let status = self.status().await?;
        let only_dials = |member: &MemberStatus| member.node == status.node && member.addresses.is_empty();
        if status.members.iter().any(only_dials) {
            return Ok(Err(status.name));
        }
        let peer = self.peer.clone();
        answer(&peer, self.mesh.invite_to_mesh(InviteToMeshRequest {})).await.map(|invited| Ok(invited.token))
    }

    /// Opens a stream.
    ///
    /// # Errors
    /// When the node does not answer or refuses.
    pub async fn open_stream(
        &mut self,
        request: OpenClientDataStreamRequest,
    ) -> Result<StreamHandle, Failure> {
        let peer = self.peer.clone();
        answer(&peer, self.data.open_client_data_stream(request)).await
    }

    /// The number a writer's next message must bear.
    ///
    /// # Errors
    /// When the node does not answer or refuses.
    pub async fn find_writer(&mut self, request: FindWriterRequest) -> Result<u64, Failure> {
        let peer = self.peer.clone();
        Ok(answer(&peer, self.data.find_writer(request)).await?.next)
    }

    /// Asks all that a node knows of a writer.
    ///
    /// # Errors
    /// When the node does not answer or refuses.
    pub async fn writer(&mut self, request: FindWriterRequest) -> Result<FindWriterResponse, Failure> {
        let peer = self.peer.clone();
        answer(&peer, self.data.find_writer(request)).await
    }
}

/// Awaits a single answer, for a bounded time.
///
/// # Errors
/// When the node does not answer or refuses.
pub async fn answer<T>(
    peer: &Peer,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, Failure> {
    match tokio::time::timeout(REQUEST_TIMEOUT, call).await {
        Ok(answer) => Ok(answer?.into_inner()),
        Err(_) => {
            Err(Failure::Unreachable(format!("{peer} gave no answer within {} s", REQUEST_TIMEOUT.as_secs())))
        }
    }
}
