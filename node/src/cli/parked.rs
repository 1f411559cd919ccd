//! `wattle stream parked`.

use clap::{Args, Subcommand};
use wattle_proto::api::{
    DiscardParkedRequest, ListParkedRequest, ListParkedResponse, ParkedMessage, RetryParkedRequest,
    ShowParkedRequest,
};

use super::commands::Desk;
use super::flow::TenantArgs;
use crate::client::{Client, Failure, connect, follow};
use crate::output::parked;

#[derive(Debug, Subcommand)]
pub(super) enum ParkedCommand {
    /// List what is parked, oldest first
    List(Where),
    /// Print one parked message: what is known of it, and its bytes
    Show {
        #[command(flatten)]
        place: Where,
        /// Its sequence
        sequence: u64,
    },
    /// Hand parked messages to the attached handler again, under the same keys
    ///
    /// What the handler processes is parked no more; where it fails again the message stays, and the command says so and fails. The handler's position stays where it is.
    Retry {
        #[command(flatten)]
        place: Where,
        #[command(flatten)]
        which: Which,
    },
    /// Let parked messages go for good
    Discard {
        #[command(flatten)]
        place: Where,
        #[command(flatten)]
        which: Which,
        /// Why, for the log of the target
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
}

#[derive(Args, Debug)]
pub(super) struct Where {
    /// The stream
    stream: String,
    /// The target, if the stream has several or it is not the node that is asked
    #[arg(long, value_name = "NODE")]
    at: Option<String>,
    #[command(flatten)]
    of: TenantArgs,
}

impl Where {
    fn tenant(&self) -> String {
        self.of.tenant()
    }
}

#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub(super) struct Which {
    /// The sequence of one
    sequence: Option<u64>,
    /// All that are parked now
    #[arg(long)]
    all: bool,
}

impl Desk {
    pub(super) async fn parked(&self, command: ParkedCommand) -> Result<(), Failure> {
        match command {
            ParkedCommand::List(place) => {
                let (_, found) = self.found(&place).await?;
                self.output.print(|| parked::list_text(&found), || parked::list_json(&found));
                Ok(())
            }
            ParkedCommand::Show { place, sequence } => self.show_parked(&place, sequence).await,
            ParkedCommand::Retry { place, which } => self.retry_parked(&place, &which).await,
            ParkedCommand::Discard { place, which, reason } => {
                self.discard_parked(&place, &which, &reason).await
            }
        }
    }

    /// All that is parked, and the target that says so.
    async fn found(&self, place: &Where) -> Result<(Client, Vec<ParkedMessage>), Failure> {
        let list = |after| ListParkedRequest {
            stream: place.stream.clone(),
            after,
            count: 0,
            tenant: place.tenant(),
        };
        let peers = self.finder.peers(place.at.as_deref()).await?;
        let asked = follow(&self.finder, peers, async |client: &mut Client| {
            let peer = client.peer.clone();
            connect::answer(&peer, client.data.list_parked(list(0))).await
        });
        let (ListParkedResponse { mut messages, mut more }, mut client) = asked.await?;
        let peer = client.peer.clone();
        while let (true, Some(last)) = (more, messages.last()) {
            let next = client.data.list_parked(list(last.sequence));
            let next = connect::answer(&peer, next).await?;
            messages.extend(next.messages);
            more = next.more;
        }
        Ok((client, messages))
    }

    /// Those that are meant, and the target that has them.
    async fn meant(&self, place: &Where, which: &Which) -> Result<(Client, Vec<u64>), Failure> {
        let (client, found) = self.found(place).await?;
        let meant = match which.sequence {
            Some(sequence) => vec![sequence],
            None => found.iter().map(|message| message.sequence).collect(),
        };
        Ok((client, meant))
    }

    async fn show_parked(&self, place: &Where, sequence: u64) -> Result<(), Failure> {
        let peers = self.finder.peers(place.at.as_deref()).await?;
        let asked = follow(&self.finder, peers, async |client: &mut Client| {
            let peer = client.peer.clone();
            let (stream, tenant) = (place.stream.clone(), place.tenant());
            let request = ShowParkedRequest { stream, sequence, tenant };
            connect::answer(&peer, client.data.show_parked(request)).await
        });
        let (shown, _) = asked.await?;
        self.output.print(|| parked::shown_text(&shown), || parked::shown_json(&shown));
        Ok(())
    }

    async fn retry_parked(&self, place: &Where, which: &Which) -> Result<(), Failure> {
        let (mut client, meant) = self.meant(place, which).await?;
        let (mut handled, mut failed) = (0, Vec::new());
        let peer = client.peer.clone();
        for sequence in meant {
            let (stream, tenant) = (place.stream.clone(), place.tenant());
            let request = RetryParkedRequest { stream, sequence, tenant };
            let answer = connect::answer(&peer, client.data.retry_parked(request)).await?;
            if answer.handled {
                handled += 1;
            } else {
                let told =
                    format!("message {sequence} failed again ({} times): {}", answer.attempts, answer.reason);
                self.output.remark(&told);
                failed.push(sequence);
            }
        }
        if !failed.is_empty() {
            let failed: Vec<String> = failed.iter().map(u64::to_string).collect();
            return Err(Failure::Failed(format!("{handled} processed; still parked: {}", failed.join(", "))));
        }
        self.output.print(|| parked::retried_text(handled), || parked::retried_json(handled));
        Ok(())
    }

    async fn discard_parked(&self, place: &Where, which: &Which, reason: &str) -> Result<(), Failure> {
        let (mut client, meant) = self.meant(place, which).await?;
        let peer = client.peer.clone();
        for &sequence in &meant {
            let (stream, tenant, reason) = (place.stream.clone(), place.tenant(), reason.to_owned());
            let request = DiscardParkedRequest { stream, sequence, reason, tenant };
            connect::answer(&peer, client.data.discard_parked(request)).await?;
        }
        self.output.print(|| parked::discarded_text(&meant), || parked::discarded_json(&meant));
        Ok(())
    }
}
