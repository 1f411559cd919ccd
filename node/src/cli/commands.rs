//! Commands that ask a node.

use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use wattle_core::id::WriterId;
use wattle_proto::api::{
    CloseClientDataStreamRequest, JoinMeshRequest, MeshStatus, OpenClientDataStreamRequest, Reason,
    SealClientDataStreamRequest, SeedMeshRequest, StreamHandle, StreamStatus, WrongNode,
};

use super::{PublishArgs, SubscribeArgs};
use crate::api::convert::id_text;
use crate::client::publish::{self, Grpc, record};
use crate::client::source::Source;
use crate::client::subscribe::{self, Format, PositionFile, Stdout, WholeDir};
use crate::client::{Client, Failure, Finder, connect, follow};
use crate::output::{Names, Output, flow, handlers, status, stream};
use crate::stop::Stop;

/// How long `stream open` waits for the stream's ends to hear of it.
const OPEN_WAIT: Duration = Duration::from_secs(2);

/// How long `stream seal` waits for the seal to be settled.
const SEAL_WAIT: Duration = Duration::from_secs(20);

/// What all of them need.
pub(super) struct Desk {
    pub(super) finder: Finder,
    pub(super) output: Output,
    /// Where to keep what must be kept if the user has no home.
    pub(super) state: PathBuf,
}

impl Desk {
    pub(super) async fn seed(&self, name: String) -> Result<(), Failure> {
        let peer = self.finder.only().await?;
        let mut client = Client::connect(peer.clone()).await?;
        let seeded =
            connect::answer(&peer, client.mesh.seed_mesh(SeedMeshRequest { name: name.clone() })).await?;
        self.output.print(
            || {
                format!(
                    "Mesh {name} ({}) is made. On each node that shall join, run:\n\n  wattle mesh join {}",
                    id_text(&seeded.mesh),
                    seeded.token
                )
            },
            || json!({ "mesh": id_text(&seeded.mesh), "name": name, "token": seeded.token }),
        );
        Ok(())
    }

    pub(super) async fn invite(&self) -> Result<(), Failure> {
        let mut only_dial = Vec::new();
        let mut failed = None;
        for peer in self.finder.peers(None).await? {
            match follow(&self.finder, vec![peer], async |client| client.invite().await).await {
                Ok((Ok(token), _)) => {
                    self.output.print(|| token.clone(), || json!({ "token": token }));
                    return Ok(());
                }
                Ok((Err(name), _)) => only_dial.push(name),
                Err(failure) => failed = failed.or(Some(failure)),
            }
        }
        Err(failed.unwrap_or_else(|| {
            Failure::Failed(format!(
                "nobody can dial {}, so a token of it would lead nowhere: ask a member that accepts connections, with --node \
                 (`wattle status` shows their addresses)",
                only_dial.join(" or ")
            ))
        }))
    }

    pub(super) async fn join(&self, token: String) -> Result<(), Failure> {
        let token = if token == "-" {
            let mut text = String::new();
            std::io::stdin()
                .read_to_string(&mut text)
                .map_err(|error| Failure::Failed(format!("cannot read the token: {error}")))?;
            text.trim().to_owned()
        } else {
            token
        };
        let peer = self.finder.only().await?;
        let mut client = Client::connect(peer.clone()).await?;
        let joined = connect::answer(&peer, client.mesh.join_mesh(JoinMeshRequest { token })).await?;
        let mesh = id_text(&joined.mesh);
        self.output.print(|| format!("{peer} is a member of mesh {mesh} now."), || json!({ "mesh": mesh }));
        Ok(())
    }

    pub(super) async fn status(&self) -> Result<(), Failure> {
        let status = self.ask_status().await?;
        self.output.print(|| status::text(&status), || status::json(&status));
        Ok(())
    }

    pub(super) async fn list(&self, tenant: Option<String>) -> Result<(), Failure> {
        let mut status = self.ask_status().await?;
        status.streams.retain(|one| tenant.as_ref().is_none_or(|tenant| one.tenant == *tenant));
        let names = Names::of(&status);
        self.output.print(
            || stream::list_text(&status),
            || status.streams.iter().map(|one| stream::json(one, &names)).collect(),
        );
        Ok(())
    }

    /// What the best node knows: with several on this machine, one that belongs to a mesh.
    pub(super) async fn ask_status(&self) -> Result<MeshStatus, Failure> {
        let peers = self.finder.peers(None).await?;
        let mut outside = None;
        let mut failed = None;
        for peer in peers {
            let answer = match Client::connect(peer).await {
                Ok(mut client) => client.status().await,
                Err(failure) => Err(failure),
            };
            match answer {
                Ok(status) if status.mesh.is_some() => return Ok(status::sorted(status)),
                Ok(status) => outside = outside.or(Some(status)),
                Err(failure) => failed = failed.or(Some(failure)),
            }
        }
        match (outside, failed) {
            (Some(outside), _) => Ok(outside),
            (None, Some(failure)) => Err(failure),
            (None, None) => Err(Failure::Unreachable("there is no node to ask".to_owned())),
        }
    }

    pub(super) async fn open(&self, request: OpenClientDataStreamRequest) -> Result<(), Failure> {
        let peers = self.finder.peers(None).await?;
        let OpenClientDataStreamRequest { name, source: from, targets, complete, .. } = request.clone();
        let to = stream::ends_text(&targets, &complete.unwrap_or_default());
        let asked = follow(&self.finder, peers, async |client| client.open_stream(request.clone()).await);
        let (handle, mut client) = match asked.await {
            Ok(opened) => opened,
            Err(failure) => return Err(self.in_names(failure, &name).await),
        };
        let absent = match client.status().await {
            Ok(seen) => self.wait_until_known(&seen, &handle).await,
            Err(_) => Vec::new(),
        };
        let instance = id_text(&handle.instance);
        self.output.print(
            || {
                let done = if handle.created { "is open" } else { "was open already" };
                let waiting = match &absent[..] {
                    [] => String::new(),
                    [absent] => format!("; waiting for {absent}: what is published is kept until it is back"),
                    several => format!(
                        "; waiting for {}: what is published is kept until they are back",
                        several.join(", ")
                    ),
                };
                format!("Stream {name} from {from} to {to} {done} ({instance}){waiting}")
            },
            || json!({ "name": name, "instance": instance, "created": handle.created, "waiting_for": absent }),
        );
        Ok(())
    }

    /// A node refuses with ids; people know names.
    async fn in_names(&self, failure: Failure, name: &str) -> Failure {
        let Failure::Refused { detail, .. } = &failure else { return failure };
        let Ok(seen) = self.ask_status().await else { return failure };
        let open = seen.streams.iter().find(|known| known.name == name);
        match (detail.reason(), open) {
            (Reason::OpenElsewhere, Some(open)) => {
                let names = Names::of(&seen);
                let (source, to) = (names.name(&open.source), stream::opened_text(open, &names));
                let rank = flow::rank_text(open).map(|rank| format!(", {rank}")).unwrap_or_default();
                let message = format!(
                    "stream {name:?} is already open from {source} to {to}{rank}: close it first, or choose another name"
                );
                Failure::Refused { message, detail: detail.clone() }
            }
            _ => failure,
        }
    }

    /// Waits a moment until the stream's ends know it, so that the next command finds it. Gives the names of targets that have no path now:
    /// worth a word, and no reason to fail, because messages wait for them.
    async fn wait_until_known(&self, seen: &MeshStatus, handle: &StreamHandle) -> Vec<String> {
        let stream = seen.streams.iter().find(|stream| stream.instance == handle.instance);
        let Some(stream) = stream else { return Vec::new() };
        let until = tokio::time::Instant::now() + OPEN_WAIT;
        for node in stream::ends(stream) {
            while let Some(status) = self.status_of(seen, node).await {
                let known =
                    status.streams.iter().any(|stream| stream.instance == handle.instance && stream.local);
                if known || tokio::time::Instant::now() >= until {
                    break;
                }
                tokio::time::sleep(OPEN_WAIT / 100).await;
            }
        }
        let away = |node: &Bytes| {
            let member = seen.members.iter().find(|member| member.node == *node)?;
            (!member.reachable).then(|| member.name.clone())
        };
        stream.targets.iter().filter_map(|target| away(&target.node)).collect()
    }

    pub(super) async fn close(&self, name: String, tenant: String) -> Result<(), Failure> {
        let peers = self.finder.peers(None).await?;
        follow(&self.finder, peers, async |client| {
            let peer = client.peer.clone();
            let request = CloseClientDataStreamRequest { name: name.clone(), tenant: tenant.clone() };
            connect::answer(&peer, client.data.close_client_data_stream(request)).await
        })
        .await?;
        self.output.print(|| format!("Stream {name} is closed."), || json!({ "name": name, "closed": true }));
        Ok(())
    }

    /// Asks until the seal is settled, or it is clear what it waits for.
    pub(super) async fn seal(&self, name: String, lost: Vec<String>, tenant: String) -> Result<(), Failure> {
        let seen = self.ask_status().await?;
        let until = tokio::time::Instant::now() + SEAL_WAIT;
        loop {
            let peers = self.finder.peers(None).await?;
            let (seal, _) = follow(&self.finder, peers, async |client| {
                let peer = client.peer.clone();
                let (lost, tenant) = (lost.clone(), tenant.clone());
                let request = SealClientDataStreamRequest { name: name.clone(), lost, tenant };
                connect::answer(&peer, client.data.seal_client_data_stream(request)).await
            })
            .await?;
            if seal.sequence.is_some() || tokio::time::Instant::now() >= until {
                let names = Names::of(&seen);
                self.output.print(
                    || stream::seal_text(&name, &seal, &names),
                    || stream::seal_json(&name, &seal, &names),
                );
                return Ok(());
            }
            tokio::time::sleep(SEAL_WAIT / 100).await;
        }
    }

    pub(super) async fn show(&self, name: String, tenant: String) -> Result<(), Failure> {
        let seen = self.ask_status().await?;
        let find = |status: &MeshStatus| status.streams.iter().find(|stream| stream.name == name).cloned();
        let Some(known) = find(&seen) else {
            return Err(Failure::Failed(format!(
                "no stream is called {name:?}: `wattle stream list` lists the open streams"
            )));
        };
        super::flow::is_of(&known, &tenant)?;
        let names = Names::of(&seen);
        let mut answers: Vec<(Bytes, StreamStatus)> = Vec::new();
        let mut running = Vec::new();
        for node in stream::ends(&known) {
            let there = match seen.node == *node {
                true => Some(seen.clone()),
                false => self.status_of(&seen, node).await,
            };
            let Some(there) = there else { continue };
            answers.extend(find(&there).map(|answer| (node.clone(), answer)));
            let its = there.handlers.into_iter().filter(|handler| handler.stream == name);
            running.extend(its.map(|handler| (node.clone(), handler)));
        }
        let asked: Vec<Bytes> = answers.iter().map(|(node, _)| node.clone()).collect();
        let merged = stream::merge(answers).unwrap_or(known);
        self.output.print(
            || stream::show_text(&merged, &names, &asked) + &handlers::of_stream(&running, &names),
            || {
                let at = |(node, handler): &(Bytes, _)| (names.name(node), handlers::json(handler));
                let mut shown = stream::json(&merged, &names);
                shown["handlers"] = running
                    .iter()
                    .map(at)
                    .map(|(node, handler)| json!({ "node": node, "handler": handler }))
                    .collect();
                shown
            },
        );
        Ok(())
    }

    /// What another member says, if it can be asked from here.
    async fn status_of(&self, seen: &MeshStatus, node: &[u8]) -> Option<MeshStatus> {
        let member = seen.members.iter().find(|member| member.node == *node)?;
        let there =
            WrongNode { node: member.node.clone(), name: member.name.clone(), address: member.api.clone() };
        let peer = self.finder.told(&there).ok()?;
        Client::connect(peer).await.ok()?.status().await.ok()
    }

    pub(super) async fn publish(&self, arguments: PublishArgs) -> Result<(), Failure> {
        if arguments.whole.is_some() {
            return self.publish_whole(arguments).await;
        }
        let path = arguments.file.as_deref();
        let source = Source::open(path).map_err(|error| {
            let shown = path.map_or_else(|| "standard input".to_owned(), |path| path.display().to_string());
            Failure::Failed(format!("cannot read {shown}: {error}"))
        })?;
        let shown = source.shown().to_owned();
        let stream = arguments.stream;
        let writer = arguments
            .writer
            .map(|text| WriterId::parse(&text).unwrap_or_else(|| record::writer_of_name(&stream, &text)));
        let tenant = arguments.of.tenant();
        let plan = publish::Plan {
            stream: stream.clone(),
            tenant: tenant.clone(),
            writer,
            wait: arguments.wait.into(),
            batch_lines: arguments.batch as usize,
            patience: arguments.patience,
            records: record::directory(&self.state),
            machine: record::machine(),
        };
        let begun = std::time::Instant::now();
        let mut route = Grpc::new(&self.finder).of(tenant);
        let mut resumed_at = None;
        let summary = publish::publish(&mut route, source, &plan, |told| match told {
            publish::Told::Resumes { line, checked } => {
                resumed_at = Some(line);
                let doubt = if checked {
                    ""
                } else {
                    " (the lines before it were not compared: there is no record of them here)"
                };
                self.output.remark(&format!("{shown}: goes on at line {line}{doubt}"));
            }
            publish::Told::Waits(why) => self.output.remark(&format!("waiting: {why}")),
            publish::Told::Reconnects(why) => self.output.remark(&format!("{why}; connecting again")),
        })
        .await?;
        let seconds = begun.elapsed().as_secs_f64();
        let level = publish::level_name(plan.wait);
        self.output.print(
            || {
                format!(
                    "{stream}: {} {level}, {} already there (writer {}, {seconds:.2} s)",
                    summary.accepted, summary.already_there, summary.writer
                )
            },
            || {
                json!({
                    "stream": stream, "writer": summary.writer.to_string(), "level": level, "accepted": summary.accepted,
                    "already_there": summary.already_there, "resumed_at": resumed_at,
                    "last_sequence": summary.last_sequence, "seconds": seconds,
                })
            },
        );
        Ok(())
    }

    pub(super) async fn subscribe(&self, arguments: SubscribeArgs) -> Result<(), Failure> {
        let format = match self.output {
            Output::Text => Format::Text,
            Output::Json => Format::Json,
        };
        let stop = Stop::on_signals()
            .map_err(|error| Failure::Failed(format!("cannot listen for signals: {error}")))?;
        let plan = subscribe::Plan {
            stream: arguments.stream,
            tenant: arguments.of.tenant(),
            at: arguments.at,
            count: arguments.count,
            until: arguments.until.or(arguments.replay.to),
            window: arguments.window,
            take_over: arguments.take_over,
            replay: arguments.replay.wish(),
            patience: arguments.patience,
        };
        let tell = |told| {
            if let subscribe::Told::Reconnects(why) = told {
                self.output.remark(&format!("{why}; connecting again"));
            }
        };
        let summary = match (arguments.position_file, arguments.output_file) {
            _ if arguments.whole_dir.is_some() => {
                let folder = arguments.whole_dir.unwrap_or_default();
                let sink = WholeDir::open(&folder)
                    .map_err(|error| Failure::Failed(format!("{}: {error}", folder.display())))?;
                subscribe::subscribe(&self.finder, &plan, sink, stop, tell).await?
            }
            (Some(position), Some(output)) => {
                let sink = PositionFile::open(&position, &output, &plan.stream, format)
                    .map_err(|error| Failure::Failed(error.to_string()))?;
                subscribe::subscribe(&self.finder, &plan, sink, stop, tell).await?
            }
            _ => subscribe::subscribe(&self.finder, &plan, Stdout::new(format), stop, tell).await?,
        };
        self.output.remark(&format!(
            "{}: {} messages, up to sequence {}",
            plan.stream, summary.messages, summary.sequence
        ));
        Ok(())
    }
}
