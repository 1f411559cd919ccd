//! `wattle stream stored`.

use clap::Args;
use wattle_proto::api::{MeshStatus, ReadHandlerStoreRequest, ReadHandlerStoreResponse};

use super::commands::Desk;
use crate::client::{Client, Failure, connect};
use crate::output::{Output, handlers};

#[derive(Args, Debug)]
pub(super) struct StoredArgs {
    /// The stream
    stream: String,
    /// The target that keeps it, if several nodes do
    #[arg(long, value_name = "NODE")]
    at: Option<String>,
    /// Only keys that begin so
    #[arg(long, value_name = "TEXT", default_value = "")]
    prefix: String,
    /// Only what comes after this key, or after the message of this sequence
    #[arg(long, value_name = "KEY", default_value = "")]
    after: String,
    /// End after that many
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
}

impl Desk {
    pub(super) async fn stored(&self, arguments: StoredArgs) -> Result<(), Failure> {
        let StoredArgs { stream, at, prefix, mut after, count } = arguments;
        let mut left = count.unwrap_or(u64::MAX);
        let mut client = self.keeper(&stream, at.as_deref()).await?;
        loop {
            let count = u32::try_from(left).unwrap_or(u32::MAX);
            let request =
                ReadHandlerStoreRequest { stream: stream.clone(), prefix: prefix.clone(), after, count };
            let peer = client.peer.clone();
            let read = connect::answer(&peer, client.data.read_handler_store(request)).await?;
            self.print_stored(&read);
            left = left.saturating_sub(read.entries.len() as u64);
            match read.entries.last() {
                Some(last) if read.more && left > 0 => after = last.key.clone(),
                _ => return Ok(()),
            }
        }
    }

    fn print_stored(&self, read: &ReadHandlerStoreResponse) {
        // An empty answer is no empty line.
        if self.output == Output::Json || !read.entries.is_empty() {
            self.output.print(|| handlers::stored_text(read), || handlers::stored_json(read));
        }
    }

    /// The node to be asked: the one named, or else the first of this machine that keeps something of the stream.
    async fn keeper(&self, stream: &str, at: Option<&str>) -> Result<Client, Failure> {
        let peers = self.finder.peers(at).await?;
        let several = peers.len() > 1;
        let mut failed = None;
        for peer in peers {
            let mut client = match Client::connect(peer).await {
                Ok(client) => client,
                Err(failure) => {
                    failed = failed.or(Some(failure));
                    continue;
                }
            };
            if !several || client.status().await.is_ok_and(|status| keeps(&status, stream)) {
                return Ok(client);
            }
        }
        Err(failed.unwrap_or_else(|| {
            Failure::Failed(format!(
                "no node of this machine keeps anything of a stream {stream:?}: give the target that does with --at, or a handler of kind \"store\" in its settings"
            ))
        }))
    }
}

fn keeps(status: &MeshStatus, stream: &str) -> bool {
    status.handlers.iter().any(|handler| handler.stream == stream && handler.name == "store")
}
