//! The way to a stream's source.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::async_trait;
use wattle_core::id::WriterId;
use wattle_proto::api::FindWriterRequest;

use super::Call;
use crate::api::convert;
use crate::client::{Client, Failure, Finder, follow};

/// How long a node may take to open a call.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);
/// Requests handed to the connection and not yet written: at least a window of batches, so that sending never waits for answers.
const REQUESTS_QUEUED: usize = 64;

/// The way to a stream's source.
#[async_trait(?Send)]
pub trait Route {
    /// Finds the source and asks where the writer stands.
    async fn find(&mut self, stream: &str, writer: WriterId) -> Result<u64, Failure>;

    /// Opens a publishing call at the node found last.
    async fn open(&mut self) -> Result<Call, Failure>;
}

/// The way over gRPC.
#[derive(Debug)]
pub struct Grpc<'a> {
    finder: &'a Finder,
    client: Option<Client>,
    /// Whose the stream must be; empty: anybody's.
    tenant: String,
}

impl<'a> Grpc<'a> {
    /// A way that begins at what `finder` finds.
    #[must_use]
    pub const fn new(finder: &'a Finder) -> Self {
        Self { finder, client: None, tenant: String::new() }
    }

    /// The same to a stream that must be that tenant's, unless it is empty.
    #[must_use]
    pub fn of(self, tenant: String) -> Self {
        Self { tenant, ..self }
    }

    /// Asks where a writer stands.
    pub(super) fn question(&self, stream: &str, writer: WriterId) -> FindWriterRequest {
        let (stream, tenant) = (stream.to_owned(), self.tenant.clone());
        FindWriterRequest { stream, writer: convert::writer(writer), tenant }
    }

    /// The node found last, to be asked more.
    pub(super) const fn client_mut(&mut self) -> Option<&mut Client> {
        self.client.as_mut()
    }

    /// The node found last.
    #[must_use]
    pub const fn client(&self) -> Option<&Client> {
        self.client.as_ref()
    }
}

#[async_trait(?Send)]
impl Route for Grpc<'_> {
    async fn find(&mut self, stream: &str, writer: WriterId) -> Result<u64, Failure> {
        let request = self.question(stream, writer);
        let mut peers = self.finder.peers(None).await?;
        // The node that was right before is most likely right again.
        if let Some(last) = self.client.take() {
            peers.sort_by_key(|peer| peer.api != last.peer.api);
        }
        let (next, client) =
            follow(self.finder, peers, async |client| client.find_writer(request.clone()).await).await?;
        self.client = Some(client);
        Ok(next)
    }

    async fn open(&mut self) -> Result<Call, Failure> {
        let client =
            self.client.as_mut().ok_or_else(|| Failure::Failed("no node was found yet".to_owned()))?;
        let (requests, outgoing) = mpsc::channel(REQUESTS_QUEUED);
        let opening = client.data.publish_client_data(ReceiverStream::new(outgoing));
        let mut incoming = match tokio::time::timeout(OPEN_TIMEOUT, opening).await {
            Ok(opened) => opened?.into_inner(),
            Err(_) => return Err(Failure::Unreachable(format!("{} does not answer", client.peer))),
        };
        let (answers, received) = mpsc::channel(REQUESTS_QUEUED);
        tokio::spawn(async move {
            loop {
                let answer = match incoming.message().await {
                    Ok(Some(answer)) => Ok(answer),
                    Ok(None) => return,
                    Err(status) => Err(Failure::from(status)),
                };
                let over = answer.is_err();
                if answers.send(answer).await.is_err() || over {
                    return;
                }
            }
        });
        Ok(Call { requests, answers: received })
    }
}
