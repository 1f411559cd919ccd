//! `wattle dev`: a mesh to try things with: several nodes in one process, over real loopback sockets.
//!
//! The nodes form a line: each dials the one before it, and the last one listens nowhere, as a laptop behind NAT would.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;
use wattle_core::id::MeshId;
use wattle_core::node::command::{Command, Refusal, Reply};
use wattle_core::node::status::Status;
use wattle_io::Running;

use crate::address::{DIRECTORY_VARIABLE, Directory};
use crate::client::Failure;
use crate::output::{Output, table};
use crate::serve::Serving;
use crate::stop::Stop;

/// How many nodes there can be: one per letter.
pub const NODES_MAX: usize = 26;
/// How long nodes may take to see each other before the table is printed as it is.
const READY_TIMEOUT: Duration = Duration::from_secs(4);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Where the data is, and whether it stays.
enum Data {
    Kept(PathBuf),
    Temporary(TempDir),
}

impl Data {
    fn path(&self) -> &Path {
        match self {
            Self::Kept(path) => path,
            Self::Temporary(directory) => directory.path(),
        }
    }

    fn survives(&self) -> bool {
        matches!(self, Self::Kept(_))
    }
}

/// Runs the mesh until it is asked to stop.
///
/// # Errors
/// When a node cannot start or stops by itself, or the mesh cannot be formed.
pub async fn dev(
    nodes: usize,
    data: Option<PathBuf>,
    directory: &Directory,
    output: Output,
) -> Result<(), Failure> {
    if !(2..=NODES_MAX).contains(&nodes) {
        return Err(Failure::Usage(format!("--nodes must be between 2 and {NODES_MAX}")));
    }
    let mut stop =
        Stop::on_signals().map_err(|error| Failure::Failed(format!("cannot listen for signals: {error}")))?;
    let data = match data {
        Some(path) => Data::Kept(path),
        None => Data::Temporary(
            tempfile::Builder::new()
                .prefix("wattle-dev-")
                .tempdir()
                .map_err(|error| Failure::Failed(format!("cannot make a temporary directory: {error}")))?,
        ),
    };
    let mut line = Vec::new();
    let outcome = tokio::select! {
        outcome = live(&mut line, nodes, &data, directory, output) => outcome,
        () = stop.asked() => Ok(()),
    };
    // From the far end, so that nobody logs a lost neighbour.
    while let Some(serving) = line.pop() {
        serving.stop().await;
    }
    outcome
}

async fn live(
    line: &mut Vec<Serving>,
    nodes: usize,
    data: &Data,
    directory: &Directory,
    output: Output,
) -> Result<(), Failure> {
    for place in 0..nodes {
        let before = line.last();
        let serving = start(place, nodes, before, data.path(), directory).await.map_err(Failure::Failed)?;
        line.push(serving);
    }
    let mesh = form(line).await?;
    let statuses = wait_until_ready(line).await;
    let commands = commands(directory, line);
    output.print(
        || text(line, &statuses, data, &commands),
        || {
            json!({
                "mesh": mesh.map(|mesh| mesh.to_string()),
                "data_dir": data.path(),
                "data_survives": data.survives(),
                "nodes": nodes_json(line),
                "links": links(&statuses).iter().map(|(a, b)| json!([a, b])).collect::<Vec<_>>(),
                "next": commands,
            })
        },
    );
    let mut ends: Vec<_> = line.iter().map(|serving| Box::pin(serving.stopped())).collect();
    let (at, reason) = std::future::poll_fn(|context| {
        for (at, end) in ends.iter_mut().enumerate() {
            if let std::task::Poll::Ready(reason) = end.as_mut().poll(context) {
                return std::task::Poll::Ready((at, reason));
            }
        }
        std::task::Poll::Pending
    })
    .await;
    Err(Failure::Failed(format!("node {} {reason}", line[at].address.name)))
}

async fn start(
    place: usize,
    nodes: usize,
    before: Option<&Serving>,
    data: &Path,
    directory: &Directory,
) -> Result<Serving, String> {
    let name = char::from(b'a' + place as u8).to_string();
    let listens = place + 1 < nodes;
    let settings = wattle_io::Settings {
        listen: if listens { vec!["127.0.0.1:0".to_owned()] } else { Vec::new() },
        dial: before.and_then(listening).into_iter().collect(),
        name: Some(name.clone()),
        // Several nodes share one disk here, and none of them is meant to grow.
        reserve_bytes: 16 << 20,
        ..wattle_io::Settings::new(data.join(&name))
    };
    let api = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    Serving::start(settings, Vec::new(), api, directory)
        .await
        .map_err(|error| format!("node {name}: {error}"))
}

fn listening(serving: &Serving) -> Option<String> {
    serving.running.listening().first().map(ToString::to_string)
}

/// Makes the nodes one mesh, unless they are from an earlier run: the first seeds it, each other joins at the one before.
async fn form(line: &[Serving]) -> Result<Option<MeshId>, Failure> {
    let mut mesh = None;
    for (at, serving) in line.iter().enumerate() {
        let name = &serving.address.name;
        let known = status(&serving.running).await?.mesh;
        mesh = match (known, mesh) {
            (Some(known), Some(mesh)) if known != mesh => {
                return Err(Failure::Failed(format!(
                    "node {name} belongs to another mesh: its data is not of this line; use another --data directory"
                )));
            }
            (Some(known), _) => Some(known),
            (None, _) if at == 0 => {
                match ask(&serving.running, Command::Seed { name: "dev".to_owned() }).await? {
                    Reply::Seeded { mesh, .. } => Some(mesh),
                    other => return Err(unexpected(&other)),
                }
            }
            (None, _) => {
                let token = invite(&line[at - 1].running).await?;
                match ask(&serving.running, Command::Join { token }).await? {
                    Reply::Joined { mesh } => Some(mesh),
                    other => return Err(unexpected(&other)),
                }
            }
        };
    }
    Ok(mesh)
}

/// A token of a member; one that has just joined may first have to catch up.
async fn invite(running: &Running) -> Result<String, Failure> {
    let until = tokio::time::Instant::now() + READY_TIMEOUT;
    loop {
        let refusal = match running.submit(Command::Invite).await.next().await {
            Some(Ok(Reply::Token { token })) => return Ok(token),
            Some(Ok(other)) => return Err(unexpected(&other)),
            Some(Err(refusal)) => refusal,
            None => return Err(Failure::Failed(format!("node {} stopped", running.name()))),
        };
        let passes = matches!(refusal, Refusal::NotMember | Refusal::NoQuorum | Refusal::Busy);
        if !passes || tokio::time::Instant::now() >= until {
            return Err(Failure::Failed(format!("node {}: {refusal}", running.name())));
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

async fn status(running: &Running) -> Result<Status, Failure> {
    running.status().await.ok_or_else(|| Failure::Failed(format!("node {} stopped", running.name())))
}

async fn ask(running: &Running, command: Command) -> Result<Reply, Failure> {
    match running.submit(command).await.next().await {
        Some(Ok(reply)) => Ok(reply),
        Some(Err(refusal)) => Err(Failure::Failed(format!("node {}: {refusal}", running.name()))),
        None => Err(Failure::Failed(format!("node {} stopped", running.name()))),
    }
}

fn unexpected(reply: &Reply) -> Failure {
    Failure::Failed(format!("a node answered something else than it was asked: {reply:?}"))
}

/// Waits until every node sees every other one and a path to it, or the time is up: the table then shows what is missing.
async fn wait_until_ready(line: &[Serving]) -> Vec<Status> {
    let until = tokio::time::Instant::now() + READY_TIMEOUT;
    loop {
        let mut statuses = Vec::new();
        for serving in line {
            statuses.extend(serving.running.status().await);
        }
        let ready = statuses.len() == line.len()
            && statuses.iter().all(|status| {
                status.members.len() >= line.len() && status.members.iter().all(|member| member.reachable)
            });
        if ready || tokio::time::Instant::now() >= until {
            return statuses;
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Every link that some node knows of, by names.
fn links(statuses: &[Status]) -> Vec<(String, String)> {
    let name = |id| {
        statuses.iter().find(|status| status.node == id).map_or_else(|| format!("{id}"), |s| s.name.clone())
    };
    let mut links: Vec<_> = statuses
        .iter()
        .flat_map(|status| &status.links)
        .map(|link| {
            let (a, b) = (name(link.a), name(link.b));
            if a <= b { (a, b) } else { (b, a) }
        })
        .collect();
    links.sort();
    links.dedup();
    links
}

fn nodes_json(line: &[Serving]) -> Vec<serde_json::Value> {
    line.iter()
        .map(|serving| {
            let address = &serving.address;
            json!({
                "name": address.name, "id": address.id, "mesh": listening(serving), "api": address.api,
                "token_file": address.token,
            })
        })
        .collect()
}

fn text(line: &[Serving], statuses: &[Status], data: &Data, commands: &[String]) -> String {
    let rows = line.iter().map(|serving| {
        let address = &serving.address;
        let mesh = listening(serving).unwrap_or_else(|| "only dials out".to_owned());
        [address.name.clone(), address.id.clone(), mesh, address.api.clone()].to_vec()
    });
    let nodes = table(&["node", "id", "mesh address", "API"], rows);
    let links =
        table(&["link", "", ""], links(statuses).into_iter().map(|(a, b)| vec![a, "-".to_owned(), b]));
    let survives = if data.survives() {
        "it stays when this ends"
    } else {
        "it goes when this ends; keep it with --data DIR"
    };
    let ready = statuses.len() == line.len()
        && statuses.iter().all(|status| {
            status.members.len() == line.len() && status.members.iter().all(|member| member.reachable)
        });
    let note = if ready {
        ""
    } else {
        "\nNot every node has found every other one yet: `wattle status` shows how it goes on.\n"
    };
    format!(
        "{} nodes in this process, data in {}: {survives}.\n\n{nodes}\n{links}{note}\nTo try in another terminal:\n{}\n\nCtrl-C ends it.",
        line.len(),
        data.path().display(),
        commands.iter().map(|command| format!("  {command}")).collect::<Vec<_>>().join("\n"),
    )
}

/// The exact next commands, as they work from the directory this was started in.
fn commands(directory: &Directory, line: &[Serving]) -> Vec<String> {
    let own = own_command();
    let prefix = match std::env::var_os(DIRECTORY_VARIABLE) {
        Some(_) => format!("{DIRECTORY_VARIABLE}={} {own}", directory.path().display()),
        None => own,
    };
    let first = line.first().map_or("a", |serving| &serving.address.name);
    let last = line.last().map_or("c", |serving| &serving.address.name);
    vec![
        format!("{prefix} status"),
        format!("{prefix} stream open words --from {first} --to {last}"),
        format!("{prefix} publish words {}", some_text()),
        format!("{prefix} subscribe words --at {last}"),
        format!("{prefix} stream show words"),
    ]
}

/// A text that is on most machines, so that the command works as it stands.
fn some_text() -> &'static str {
    ["/usr/share/dict/words", "/etc/services", "/etc/protocols", "/etc/passwd"]
        .into_iter()
        .find(|path| std::fs::File::open(path).is_ok())
        .unwrap_or("FILE")
}

/// How to call this program: by name where the path finds it, else by a path.
fn own_command() -> String {
    let Ok(own) = std::env::current_exe().and_then(|own| own.canonicalize()) else {
        return "wattle".to_owned();
    };
    let on_path = std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path)
            .any(|folder| folder.join("wattle").canonicalize().is_ok_and(|found| found == own))
    });
    if on_path {
        return "wattle".to_owned();
    }
    let here = std::env::current_dir().and_then(|here| here.canonicalize());
    match here.ok().and_then(|here| own.strip_prefix(here).ok().map(Path::to_owned)) {
        Some(relative) => format!("./{}", relative.display()),
        None => own.display().to_string(),
    }
}
