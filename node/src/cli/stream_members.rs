//! `wattle stream members`.

use std::time::Duration;

use clap::Args;
use wattle_proto::api::add_target::Start;
use wattle_proto::api::change_client_data_stream_members_request::Change;
use wattle_proto::api::{
    AddTarget, ChangeClientDataStreamMembersRequest, DetachTarget, DrainTarget, StreamMembers,
};

use super::commands::Desk;
use super::flow::TenantArgs;
use crate::client::{Failure, connect, follow};
use crate::output::{Names, members};

/// How long it waits for a change to be done.
const WAIT: Duration = Duration::from_secs(20);

/// Why a target is drained, if nobody says.
const DRAINED: &str = "an operator had it drained";

#[derive(Debug, Args)]
pub(super) struct MembersArgs {
    /// The stream's name
    name: String,
    #[command(flatten)]
    of: TenantArgs,
    /// Take a target out that is gone for good, whatever it has processed: name or id
    ///
    /// The stream goes on without it: it is waited for no more, and what was kept for it is let go. Should it come back, nothing that it does for this stream
    /// counts, and it lets go of what it holds of it. Needs most of those who vote in the stream's group; where these are lost, too, see `wattle stream seal`.
    #[arg(long, value_name = "NODE", requires = "reason", conflicts_with = "drain")]
    detach: Option<String>,
    /// Take a target out that lives, once it has processed everything that the stream holds by then: name or id
    ///
    /// What is published later it need not process. If it is lost before it comes to that, it can still be detached.
    #[arg(long, value_name = "NODE")]
    drain: Option<String>,
    /// Have a member of the mesh become a target, which is no end of the stream and never was: name or id
    ///
    /// It is brought up with what the stream keeps, and then handed everything from its start on. From its joining on a message is completed by all only if it has
    /// processed it, too. Until it has joined nothing is let go from its start on; should it be lost before that, `--detach` takes the change back.
    #[arg(long, value_name = "NODE", conflicts_with_all = ["detach", "drain"])]
    add: Option<String>,
    /// With which message it begins: `first-kept`, `now`, or the number of one that is kept
    #[arg(long, value_name = "START", requires = "add", default_value = "first-kept", value_parser = start)]
    from: Start,
    /// Why, for whoever looks at the stream later
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

/// With which message a target begins.
fn start(text: &str) -> Result<Start, String> {
    match text {
        "first-kept" => Ok(Start::FirstKept(true)),
        "now" => Ok(Start::Now(true)),
        number => number.parse().ok().filter(|number| *number > 0).map(Start::Message).ok_or_else(|| {
            "say first-kept, now, or the number of a message: they are counted from 1".to_owned()
        }),
    }
}

impl Desk {
    /// Asks until the change is done, or it is clear what it waits for. Without one, tells who the members are.
    pub(super) async fn members(&self, arguments: MembersArgs) -> Result<(), Failure> {
        let MembersArgs { name, of, detach, drain, add, from, reason } = arguments;
        let seen = self.ask_status().await?;
        let names = Names::of(&seen);
        let add = add.map(|node| {
            let reason = reason.clone().unwrap_or_default();
            Change::Add(AddTarget { node, start: Some(from), reason })
        });
        let reason = reason.unwrap_or_else(|| DRAINED.to_owned());
        let detach = detach.map(|node| Change::Detach(DetachTarget { node, reason: reason.clone() }));
        let drain = drain.map(|node| Change::Drain(DrainTarget { node, reason }));
        let Some(change) = detach.or(drain).or(add) else {
            let known = seen.streams.iter().find(|stream| stream.name == name);
            let Some(stream) = known else {
                return Err(Failure::Failed(format!(
                    "no stream is called {name:?}: `wattle stream list` lists the open streams"
                )));
            };
            super::flow::is_of(stream, &of.tenant())?;
            self.output.print(|| members::text(stream, &names), || members::json(stream, &names));
            return Ok(());
        };
        let told = self.change_members(&name, &of.tenant(), &change).await?;
        self.output
            .print(|| members::told_text(&name, &told, &names), || members::told_json(&name, &told, &names));
        Ok(())
    }

    async fn change_members(
        &self,
        name: &str,
        tenant: &str,
        change: &Change,
    ) -> Result<StreamMembers, Failure> {
        let until = tokio::time::Instant::now() + WAIT;
        loop {
            let peers = self.finder.peers(None).await?;
            let (told, _) = follow(&self.finder, peers, async |client| {
                let peer = client.peer.clone();
                let request = ChangeClientDataStreamMembersRequest {
                    name: name.to_owned(),
                    tenant: tenant.to_owned(),
                    change: Some(change.clone()),
                };
                connect::answer(&peer, client.data.change_client_data_stream_members(request)).await
            })
            .await?;
            if told.change.is_none() || tokio::time::Instant::now() >= until {
                return Ok(told);
            }
            tokio::time::sleep(WAIT / 100).await;
        }
    }
}
