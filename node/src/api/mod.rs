//! The API for applications and operators: gRPC over HTTP/2, with health and reflection.

pub mod auth;
mod config;
pub mod convert;
mod data;
pub mod errors;
mod events;
mod flow;
mod handlers;
mod keeping;
mod members;
mod mesh;
mod mesh_config;
mod nodes;
mod parked;
mod publish;
mod recovery;
mod subscribe;
mod updates;

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tracing::Instrument as _;
use wattle_proto::api::DESCRIPTORS;
use wattle_proto::api::mesh_data_service_server::MeshDataServiceServer;
use wattle_proto::api::mesh_service_server::MeshServiceServer;

use crate::handlers::Configured;
use crate::world::World;
pub use auth::Token;

/// The largest request or response. It bounds what one call can make the node hold at once.
pub const MESSAGE_BYTES_MAX: usize = 8 << 20;

/// Calls that one client may have open over one connection.
const CALLS_MAX: u32 = 1024;

/// How long open calls may go on after the server was told to stop.
const STOP_GRACE: Duration = Duration::from_millis(300);

/// A listening API.
#[derive(Debug)]
pub struct Api {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Api {
    /// Serves `world`, and what its handlers keep, on a socket that already listens.
    ///
    /// # Errors
    /// When the socket has no local address.
    pub fn serve<W: World>(
        listener: TcpListener,
        world: W,
        configured: Configured,
        token: &Token,
    ) -> std::io::Result<Self> {
        let address = listener.local_addr()?;
        let guard = token.guard();
        let (health_reporter, health) = tonic_health::server::health_reporter();
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .build_v1()
            .expect("the descriptors were made by the compiler of this build");
        let mesh = MeshServiceServer::new(mesh::Mesh::new(world.clone()));
        let data = MeshDataServiceServer::new(data::Data::new(world, configured))
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let server = Server::builder()
            .http2_keepalive_interval(Some(Duration::from_secs(10)))
            .http2_keepalive_timeout(Some(Duration::from_secs(20)))
            .initial_connection_window_size(8 << 20)
            .initial_stream_window_size(4 << 20)
            .max_concurrent_streams(CALLS_MAX)
            .add_service(health)
            .add_service(InterceptedService::new(reflection, guard.clone()))
            .add_service(InterceptedService::new(mesh, guard.clone()))
            .add_service(InterceptedService::new(data, guard));
        let (stop, stopped) = oneshot::channel();
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let task = async move {
            health_reporter.set_service_status("", tonic_health::ServingStatus::Serving).await;
            health_reporter.set_serving::<MeshServiceServer<mesh::Mesh<W>>>().await;
            health_reporter.set_serving::<MeshDataServiceServer<data::Data<W>>>().await;
            let serving = server.serve_with_incoming_shutdown(incoming, async {
                // A dropped sender means the same as a sent word: stop.
                let _ = stopped.await;
            });
            if let Err(error) = serving.await {
                tracing::error!(%error, "the API stopped");
            }
        };
        let task = tokio::spawn(task.in_current_span());
        Ok(Self { address, stop, task })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no more calls and gives open ones a moment to end, as they do once the node has stopped.
    pub async fn stop(mut self) {
        // Nobody listens if the server has ended by itself.
        let _ = self.stop.send(());
        if tokio::time::timeout(STOP_GRACE, &mut self.task).await.is_err() {
            self.task.abort();
        }
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_activity;
#[cfg(test)]
mod tests_events;
#[cfg(test)]
mod tests_flow;
#[cfg(test)]
mod tests_recovery;
#[cfg(test)]
mod tests_updates;
