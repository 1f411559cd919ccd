//! Five voters, and who leads them.

use std::path::Path;
use std::time::{Duration, Instant};

use wattle_proto::api::{
    GetMeshStatusRequest, GroupStatus, InviteToMeshRequest, JoinMeshRequest, MeshStatus, SeedMeshRequest,
};

use crate::common::{Door, Mesh, Process};

/// How long anything may take that must come to pass: many times what it takes.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// Nodes that all dial each other.
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Process>,
}

impl Cluster {
    /// Five nodes in a mesh, all of them voters.
    pub(crate) async fn start(root: &Path) -> Self {
        let nodes: Vec<Process> = ["a", "b", "c", "d", "e"].map(|name| Process::reserve(root, name)).into();
        let mut cluster = Self { nodes };
        for node in 0..cluster.nodes.len() {
            let others = cluster.nodes.iter().enumerate().filter(|&(other, _)| other != node);
            let dial: Vec<_> = others.map(|(_, other)| other.mesh_address).collect();
            cluster.nodes[node].configure(true, &dial, "");
            cluster.nodes[node].spawn();
        }
        let seeded = cluster.nodes[0].ready().await.seed_mesh(SeedMeshRequest { name: "test".into() }).await;
        let token = seeded.expect("seeded").into_inner().token;
        for node in &cluster.nodes[1..] {
            let joined = node.ready().await.join_mesh(JoinMeshRequest { token: token.clone() }).await;
            joined.expect("joins");
        }
        cluster.until(0, |status| control(status).voters.len() == 5).await;
        cluster
    }

    pub(crate) fn doors(&self) -> Vec<Door> {
        self.nodes.iter().map(Process::door).collect()
    }

    /// Clients of all nodes that answer, but not of `without`.
    pub(crate) async fn clients(&self, without: Option<usize>) -> Vec<(&'static str, Mesh)> {
        let mut clients = Vec::new();
        for (_, node) in self.nodes.iter().enumerate().filter(|&(node, _)| Some(node) != without) {
            if let Some(mesh) = node.mesh().await {
                clients.push((node.name, mesh));
            }
        }
        clients
    }

    /// What a node says, if it answers now.
    pub(crate) async fn status(&self, node: usize) -> Option<MeshStatus> {
        let mut mesh = self.nodes[node].mesh().await?;
        let status =
            tokio::time::timeout(Duration::from_secs(2), mesh.get_mesh_status(GetMeshStatusRequest {}));
        Some(status.await.ok()?.ok()?.into_inner())
    }

    /// Waits until a node says what is awaited.
    pub(crate) async fn until(&self, node: usize, awaited: impl Fn(&MeshStatus) -> bool) -> MeshStatus {
        let start = Instant::now();
        loop {
            let status = self.status(node).await;
            if let Some(status) = status.clone().filter(&awaited) {
                return status;
            }
            if start.elapsed() > LIMIT {
                panic!("{} says {status:#?}\n{}", self.nodes[node].name, self.report().await);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The node that says it leads, in the highest term that anybody leads, once there is one.
    pub(crate) async fn leader(&self) -> (usize, u64) {
        let start = Instant::now();
        loop {
            let mut leading = Vec::new();
            for node in 0..self.nodes.len() {
                let control = self.status(node).await.and_then(|status| status.control);
                if let Some(control) = control.filter(|control| control.role == "leader") {
                    leading.push((control.term, node));
                }
            }
            if let Some((term, node)) = leading.into_iter().max() {
                return (node, term);
            }
            if start.elapsed() > LIMIT {
                panic!("nobody leads\n{}", self.report().await);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// A token for one that joins.
    pub(crate) async fn invite(&self, node: usize) -> String {
        let invited = self.nodes[node].ready().await.invite_to_mesh(InviteToMeshRequest {}).await;
        invited.expect("a token").into_inner().token
    }

    /// What every node says of itself, and the end of its log.
    pub(crate) async fn report(&self) -> String {
        let mut report = String::new();
        for (number, node) in self.nodes.iter().enumerate() {
            let log = node.log();
            let tail: Vec<&str> = log.lines().rev().take(30).collect();
            let tail = tail.into_iter().rev().collect::<Vec<_>>().join("\n");
            let control = self.status(number).await.and_then(|status| status.control);
            report += &format!("== {} {control:?}\n{tail}\n", node.name);
        }
        report
    }
}

/// The control group as a member sees it.
pub(crate) fn control(status: &MeshStatus) -> GroupStatus {
    status.control.clone().unwrap_or_default()
}
