//! The mesh that is measured: three processes of this very program on loopback, or one that runs already.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::{Instant, sleep};
use wattle_proto::api::{
    CloseClientDataStreamRequest, JoinMeshRequest, MeshStatus, OpenClientDataStreamRequest, SeedMeshRequest,
    StreamHandle, WrongNode,
};

use super::PATIENCE;
use crate::address::Directory;
use crate::api::Token;
use crate::api::convert::id_text;
use crate::client::{Client, Failure, Finder, Peer, connect};
use crate::process::Process;

const LOOK_AGAIN: Duration = Duration::from_millis(20);
const NAMES: [&str; 3] = ["a", "b", "c"];

/// A node of it.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) name: String,
    pub(super) peer: Peer,
    pub(super) client: Client,
    /// Its process, if it runs on this machine.
    pub(super) pid: Option<u32>,
}

/// The mesh, and which of its nodes are the ends of streams.
#[derive(Debug)]
pub(super) struct Mesh {
    pub(super) nodes: Vec<Node>,
    source: usize,
    targets: Vec<usize>,
    /// In front of the directory: they end before it goes.
    processes: Vec<Process>,
    own: Option<TempDir>,
    opened: Vec<String>,
}

/// Which nodes are to be the ends, and how nodes that are started are linked.
#[derive(Clone, Debug)]
pub(super) struct Ends {
    pub(super) source: Option<String>,
    pub(super) targets: Vec<String>,
    /// Each dials the one before it only, and the last one listens nowhere.
    pub(super) line: bool,
}

fn failed(what: &str) -> impl Fn(std::io::Error) -> Failure {
    move |error| Failure::Failed(format!("{what}: {error}"))
}

impl Mesh {
    /// Starts three nodes with their data in a new directory in `data`. They all dial each other unless they are to form a line.
    pub(super) async fn start(data: Option<&Path>, ends: &Ends) -> Result<Self, Failure> {
        let mut making = tempfile::Builder::new();
        making.prefix("wattle-bench-");
        let own = match data {
            Some(data) => making.tempdir_in(data),
            None => making.tempdir(),
        };
        let own = own.map_err(failed("cannot make a directory for the nodes' data"))?;
        let program = std::env::current_exe().map_err(failed("cannot find this program"))?;
        let mut processes = Vec::new();
        for name in NAMES {
            processes
                .push(Process::reserve(&program, own.path(), name).map_err(failed("cannot prepare a node"))?);
        }
        let addresses: Vec<SocketAddr> = processes.iter().map(|process| process.mesh_address).collect();
        for (at, process) in processes.iter_mut().enumerate() {
            let dials = |other: usize| if ends.line { other + 1 == at } else { other != at };
            let others: Vec<_> =
                (0..NAMES.len()).filter(|other| dials(*other)).map(|other| addresses[other]).collect();
            let listens = !ends.line || at + 1 < NAMES.len();
            process.configure(listens, &others, "").map_err(failed("cannot write settings"))?;
            process.spawn(&[]).map_err(failed("cannot start a node"))?;
        }
        let mut nodes = Vec::new();
        for process in &mut processes {
            nodes.push(ready(process).await?);
        }
        form(&mut nodes).await?;
        let source = place(&nodes, ends.source.as_deref().unwrap_or(NAMES[0]))?;
        let named = ends.targets.iter().map(|target| place(&nodes, target)).collect::<Result<Vec<_>, _>>()?;
        // In a line, the one that is furthest away.
        let other = if ends.line && source == 0 { NAMES.len() - 1 } else { (source + 1) % NAMES.len() };
        let targets = if named.is_empty() { vec![other] } else { named };
        Self { nodes, source, targets, processes, own: Some(own), opened: Vec::new() }.checked()
    }

    /// Uses the mesh of a node that runs.
    pub(super) async fn running(
        finder: &Finder,
        directory: &Directory,
        ends: &Ends,
    ) -> Result<Self, Failure> {
        let peer = finder.only().await?;
        let mut client = Client::connect(peer).await?;
        let seen = client.status().await?;
        let alive = directory.alive().map_err(failed("cannot look for nodes"))?;
        let mut nodes = Vec::new();
        for member in &seen.members {
            let there = WrongNode {
                node: member.node.clone(),
                name: member.name.clone(),
                address: member.api.clone(),
            };
            let Ok(peer) = finder.told(&there) else { continue };
            let Ok(client) = Client::connect(peer.clone()).await else { continue };
            let id = id_text(&member.node);
            let pid = alive.iter().find(|address| address.id == id).map(|address| address.pid);
            nodes.push(Node { name: member.name.clone(), peer, client, pid });
        }
        let source = place(&nodes, ends.source.as_deref().unwrap_or(&seen.name))?;
        let named = ends.targets.iter().map(|target| place(&nodes, target)).collect::<Result<Vec<_>, _>>()?;
        let targets = if named.is_empty() {
            (0..nodes.len()).filter(|at| *at != source).take(1).collect()
        } else {
            named
        };
        Self { nodes, source, targets, processes: Vec::new(), own: None, opened: Vec::new() }.checked()
    }

    fn checked(self) -> Result<Self, Failure> {
        match self.targets.as_slice() {
            [] => {
                Err(Failure::Usage("the mesh has no other node that can be asked: give one more".to_owned()))
            }
            [target] if *target == self.source => {
                Err(Failure::Usage(format!("{} cannot be source and target", self.source().name)))
            }
            [_] => Ok(self),
            _ => Err(Failure::Usage("a stream has one target: give --targets one name".to_owned())),
        }
    }

    pub(super) fn source(&self) -> &Node {
        &self.nodes[self.source]
    }

    pub(super) fn targets(&self) -> Vec<&Node> {
        self.targets.iter().map(|target| &self.nodes[*target]).collect()
    }

    /// Where the nodes' data is, if they are ours.
    pub(super) fn data(&self) -> Option<&Path> {
        self.own.as_ref().map(TempDir::path)
    }

    /// Kills the source's process and starts it again at once.
    pub(super) fn fell_source(&mut self) -> Result<(), Failure> {
        let process = &mut self.processes[self.source];
        process.kill();
        process.spawn(&[]).map_err(failed("cannot start the source again"))?;
        self.nodes[self.source].pid = process.pid();
        Ok(())
    }

    /// Connects to the source again.
    pub(super) async fn meet_source(&mut self) -> Result<(), Failure> {
        let node = &mut self.nodes[self.source];
        node.client = Client::connect(node.peer.clone()).await?;
        Ok(())
    }

    /// What every node says of itself.
    pub(super) async fn statuses(&self) -> Result<Vec<MeshStatus>, Failure> {
        let asked: Vec<_> = self
            .nodes
            .iter()
            .map(|node| {
                let mut client = node.client.clone();
                tokio::spawn(async move { client.status().await })
            })
            .collect();
        let mut statuses = Vec::with_capacity(asked.len());
        for status in asked {
            statuses.push(status.await.map_err(|error| Failure::Failed(error.to_string()))??);
        }
        Ok(statuses)
    }

    /// What opens a stream between the ends. It is closed by [`Mesh::clear`].
    pub(super) fn opening(&mut self, name: String) -> OpenClientDataStreamRequest {
        self.opened.push(name.clone());
        let target = self.nodes[self.targets[0]].name.clone();
        OpenClientDataStreamRequest {
            name,
            source: self.source().name.clone(),
            targets: vec![target],
            ..OpenClientDataStreamRequest::default()
        }
    }

    /// Opens a stream between the ends.
    pub(super) async fn open(&mut self, name: String) -> Result<StreamHandle, Failure> {
        let request = self.opening(name);
        self.nodes[self.source].client.open_stream(request).await
    }

    /// Closes what was opened, in a mesh that stays.
    pub(super) async fn clear(&mut self) {
        if self.own.is_some() {
            return;
        }
        let client = &mut self.nodes[self.source].client;
        for name in self.opened.drain(..) {
            let closed = client
                .data
                .close_client_data_stream(CloseClientDataStreamRequest { name, tenant: String::new() });
            // Whoever cannot be asked now may close them by hand.
            let _ = connect::answer(&client.peer.clone(), closed).await;
        }
    }
}

fn place(nodes: &[Node], name: &str) -> Result<usize, Failure> {
    nodes.iter().position(|node| node.name == name).ok_or_else(|| {
        let names: Vec<_> = nodes.iter().map(|node| node.name.as_str()).collect();
        Failure::Usage(format!("no node called {name} can be asked; there are {}", names.join(", ")))
    })
}

/// Waits until a node answers.
async fn ready(process: &mut Process) -> Result<Node, Failure> {
    let begun = Instant::now();
    loop {
        let last = match Token::read(&process.token_file()) {
            Ok(token) => {
                let peer = Peer::at(&process.api.to_string(), Some(&token));
                match Client::connect(peer.clone()).await {
                    Ok(client) => {
                        return Ok(Node { name: process.name.clone(), peer, client, pid: process.pid() });
                    }
                    Err(failure) => failure.to_string(),
                }
            }
            Err(error) => error.to_string(),
        };
        if process.ended().is_some() || begun.elapsed() > PATIENCE {
            let (name, log) = (&process.name, process.log());
            return Err(Failure::Failed(format!("node {name} does not answer: {last}\n{log}")));
        }
        sleep(LOOK_AGAIN).await;
    }
}

/// Makes a mesh of nodes that belong to none.
async fn form(nodes: &mut [Node]) -> Result<(), Failure> {
    let Some((first, others)) = nodes.split_first_mut() else { return Ok(()) };
    let seed = first.client.mesh.seed_mesh(SeedMeshRequest { name: "bench".to_owned() });
    let token = connect::answer(&first.peer, seed).await?.token;
    for node in &mut *others {
        let join = node.client.mesh.join_mesh(JoinMeshRequest { token: token.clone() });
        connect::answer(&node.peer, join).await?;
    }
    let begun = Instant::now();
    for node in nodes.iter_mut() {
        loop {
            let status = node.client.status().await?;
            let reachable = status.members.iter().filter(|member| member.reachable).count();
            let voters = status.control.map_or(0, |control| control.voters.len());
            if reachable == NAMES.len() && voters == NAMES.len() {
                break;
            }
            if begun.elapsed() > PATIENCE {
                return Err(Failure::Failed(format!("node {} does not see the others", node.name)));
            }
            sleep(LOOK_AGAIN).await;
        }
    }
    Ok(())
}
