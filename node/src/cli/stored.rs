//! `wattle stream stored`, and `wattle stream set-stored`.

use std::path::PathBuf;

use clap::Args;
use wattle_core::id::{AuthorityEpoch, Sequence};
use wattle_proto::api::{
    MeshStatus, ReadHandlerStoreRequest, ReadHandlerStoreResponse, RunHandlerAgainRequest,
};

use super::commands::Desk;
use crate::client::{Client, Failure, connect};
use crate::handlers::store::set_position;
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

#[derive(Args, Debug)]
pub(super) struct SetStoredArgs {
    /// The file of the handler
    file: PathBuf,
    /// The message after which it is to go on
    #[arg(long, value_name = "N")]
    after: u64,
    /// The authority of that, as the refusal names it; the one it has unless given
    #[arg(long, value_name = "N")]
    authority: Option<u64>,
}

impl Desk {
    pub(super) fn set_stored(&self, arguments: SetStoredArgs) -> Result<(), Failure> {
        let SetStoredArgs { file, after, authority } = arguments;
        let set =
            set_position(&file, Sequence(after), authority.map(AuthorityEpoch)).map_err(Failure::Failed)?;
        self.output.print(|| handlers::set_text(&set), || handlers::set_json(&set));
        Ok(())
    }

    pub(super) async fn handle_again(&self, stream: String, at: Option<&str>) -> Result<(), Failure> {
        let mut client = self.having(&stream, at, |_| true).await?;
        let request = RunHandlerAgainRequest { stream };
        let peer = client.peer.clone();
        connect::answer(&peer, client.data.run_handler_again(request)).await?;
        self.output.remark("it begins again; `wattle stream show` tells how far it is");
        Ok(())
    }

    pub(super) async fn stored(&self, arguments: StoredArgs) -> Result<(), Failure> {
        let StoredArgs { stream, at, prefix, mut after, count } = arguments;
        let mut left = count.unwrap_or(u64::MAX);
        let mut client = self.having(&stream, at.as_deref(), |kind| kind == "store").await?;
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

    /// The node to be asked: the one named, or else the first of this machine that has a handler of such a kind for the stream.
    async fn having(
        &self,
        stream: &str,
        at: Option<&str>,
        kind: impl Fn(&str) -> bool,
    ) -> Result<Client, Failure> {
        let has = |status: &MeshStatus| {
            status.handlers.iter().any(|handler| handler.stream == stream && kind(&handler.name))
        };
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
            if !several || client.status().await.is_ok_and(|status| has(&status)) {
                return Ok(client);
            }
        }
        Err(failed.unwrap_or_else(|| {
            Failure::Failed(format!(
                "no node of this machine has such a handler for a stream {stream:?}: give the target that does with --at, or a [[handler]] in its settings"
            ))
        }))
    }
}
