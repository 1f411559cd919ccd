//! The life of a mesh after its leaders died: two more join, one is evicted while it runs and a voter while it is stopped, and in the end a
//! majority of the voters is lost.

use std::path::Path;
use std::time::{Duration, Instant};

use tonic::{Code, Response, Status};
use wattle_node::api::errors::detail_of;
use wattle_proto::api::{
    Consistency, ErrorDetail, EvictNodeRequest, GetConfigRequest, JoinMeshRequest, MeshMode, MeshStatus,
    Reason, SetConfigRequest,
};

use crate::cluster::{Cluster, LIMIT, control};
use crate::common::{Process, wattle};

/// Nobody waits longer for a refusal: three times what a node waits for the control group.
const REFUSED_WITHIN: Duration = Duration::from_secs(30);

/// Everything, one after the other, on a mesh of five voters.
pub(crate) async fn come_and_go(mut cluster: Cluster, root: &Path) {
    two_join(&mut cluster, root).await;
    one_is_evicted_while_it_runs(&mut cluster).await;
    a_voter_is_evicted_while_it_is_stopped(&mut cluster).await;
    let lost = a_majority_is_lost(&mut cluster, root).await;
    they_come_back(&mut cluster, &lost).await;
}

/// What was refused, how, and after how long.
fn refused<T>(what: &str, start: Instant, answer: Result<Response<T>, Status>) -> (Code, ErrorDetail) {
    let took = start.elapsed();
    let Err(status) = answer else { panic!("{what}: it was not refused") };
    let detail = detail_of(&status).unwrap_or_default();
    let reason = detail.reason().as_str_name();
    println!("  {what}: {:?} {reason} after {took:.1?}: {}", status.code(), status.message());
    assert!(took < REFUSED_WITHIN, "{what}: refused late");
    (status.code(), detail)
}

async fn two_join(cluster: &mut Cluster, root: &Path) {
    let others: Vec<_> = cluster.nodes.iter().map(|node| node.mesh_address).collect();
    let token = cluster.invite(1).await;
    for name in ["f", "g"] {
        let node = Process::start(root, name, true, &others, "");
        let joined = node.ready().await.join_mesh(JoinMeshRequest { token: token.clone() }).await;
        joined.expect("joins");
        cluster.nodes.push(node);
    }
    for node in 0..cluster.nodes.len() {
        let all = |status: &_| members(status).len() == 7 && control(status).voters.len() == 5;
        cluster.until(node, all).await;
    }
    println!("f and g joined: seven members, five voters");
}

fn members(status: &MeshStatus) -> Vec<&str> {
    status.members.iter().map(|member| member.name.as_str()).collect()
}

/// It knows that it was evicted, is refused with what it has, and joins with a token made since.
async fn comes_back_with_a_new_token_only(cluster: &Cluster, node: usize, old: &str, asked: usize) {
    let name = cluster.nodes[node].name;
    let parted = cluster.until(node, |status| status.parted.is_some()).await;
    assert!(parted.mesh.is_none() && parted.members.is_empty(), "{parted:?}");
    let mut mesh = cluster.nodes[node].ready().await;
    let set = SetConfigRequest { key: "app/late".into(), value: "x".into(), expected_version: None };
    let (_, detail) = refused(&format!("{name} writes"), Instant::now(), mesh.set_config(set).await);
    assert_eq!(detail.reason(), Reason::Evicted);
    let join = |token: &str| JoinMeshRequest { token: token.to_owned() };
    let start = Instant::now();
    let (code, _) =
        refused(&format!("{name} joins with the old token"), start, mesh.join_mesh(join(old)).await);
    assert_ne!(code, Code::Unavailable, "for good");
    let gone = cluster.until(asked, |status| !members(status).contains(&name)).await;
    assert!(gone.former.iter().any(|former| former.name == name && !former.left), "{gone:?}");

    let token = cluster.invite(asked).await;
    mesh.join_mesh(join(&token)).await.expect("joins with a new token");
    cluster.until(asked, |status| members(status).contains(&name)).await;
    cluster.until(node, |status| status.parted.is_none() && status.members.len() == 7).await;
    println!("  {name} joined again with a token made since");
}

async fn one_is_evicted_while_it_runs(cluster: &mut Cluster) {
    let (asked, node) = (1, 6);
    let old = cluster.invite(asked).await;
    let evict = EvictNodeRequest { member: "g".into() };
    let evicted = cluster.nodes[asked].ready().await.evict_node(evict).await.expect("evicted").into_inner();
    println!("g was evicted while it ran: mesh epoch {}", evicted.epoch);
    cluster.until(node, |status| status.parted.is_some()).await;
    cluster.nodes[node].kill();
    cluster.nodes[node].spawn();
    comes_back_with_a_new_token_only(cluster, node, &old, asked).await;
}

async fn a_voter_is_evicted_while_it_is_stopped(cluster: &mut Cluster) {
    let (node, _) = cluster.leader().await;
    let asked = (node + 1) % 5;
    let old = cluster.invite(asked).await;
    let id = cluster.status(node).await.expect("it answers").node;
    cluster.nodes[node].kill();
    let name = cluster.nodes[node].name;
    let start = Instant::now();
    let evict = EvictNodeRequest { member: name.into() };
    let evicted = cluster.nodes[asked].ready().await.evict_node(evict).await.expect("evicted").into_inner();
    println!(
        "{name}, killed while it led, was evicted after {:.1?}: mesh epoch {}",
        start.elapsed(),
        evicted.epoch
    );
    let replaced = |status: &_| {
        let voters = control(status).voters;
        voters.len() == 5 && !voters.contains(&id)
    };
    cluster.until(asked, replaced).await;
    println!("  five others vote after {:.1?}", start.elapsed());
    cluster.nodes[node].spawn();
    comes_back_with_a_new_token_only(cluster, node, &old, asked).await;
}

fn is_healthy(status: &MeshStatus) -> bool {
    status.standing.is_some_and(|standing| standing.mode() == MeshMode::Healthy)
}

fn set(value: &'static str) -> SetConfigRequest {
    SetConfigRequest { key: "app/kept".into(), value: value.into(), expected_version: None }
}

fn get(consistency: Consistency) -> GetConfigRequest {
    GetConfigRequest { key: "app/kept".into(), consistency: consistency.into() }
}

/// Kills three of five voters. The mesh says so, refuses what needs them within a bound, and reads what it knows. Gives who was killed.
async fn a_majority_is_lost(cluster: &mut Cluster, root: &Path) -> Vec<usize> {
    let status = cluster.until(0, is_healthy).await;
    let voters = control(&status).voters;
    let votes =
        |name: &str| status.members.iter().any(|member| member.name == name && voters.contains(&member.node));
    let (voting, learning): (Vec<usize>, Vec<usize>) =
        (0..cluster.nodes.len()).partition(|&node| votes(cluster.nodes[node].name));
    let (lost, left) = (voting[..3].to_vec(), [voting[3], learning[0]]);
    let written = cluster.nodes[left[0]].ready().await.set_config(set("before")).await;
    let version = written.expect("written").into_inner().version;
    for node in left {
        let mut mesh = cluster.nodes[node].ready().await;
        mesh.get_config(get(Consistency::Linearizable)).await.expect("it has applied it");
    }
    for &node in &lost {
        cluster.nodes[node].kill();
    }
    let names: Vec<&str> = lost.iter().map(|&node| cluster.nodes[node].name).collect();
    println!("{} of five voters were killed: {}", lost.len(), names.join(", "));
    for node in left {
        is_read_only(cluster, root, node, version).await;
    }
    lost
}

async fn is_read_only(cluster: &Cluster, root: &Path, node: usize, version: u64) {
    let name = cluster.nodes[node].name;
    let mut mesh = cluster.nodes[node].ready().await;
    let start = Instant::now();
    let (code, detail) = refused(&format!("{name} writes"), start, mesh.set_config(set("meanwhile")).await);
    assert_eq!((code, detail.reason()), (Code::Unavailable, Reason::NoQuorum));
    assert_eq!(detail.mode(), MeshMode::Critical);
    let start = Instant::now();
    let answer = mesh.get_config(get(Consistency::Linearizable)).await;
    let (code, detail) = refused(&format!("{name} reads linearizably"), start, answer);
    assert_eq!((code, detail.reason()), (Code::Unavailable, Reason::NoQuorum));
    let found = mesh.get_config(get(Consistency::Local)).await.expect("a local read").into_inner();
    assert_eq!(found.record.map(|record| (record.value, record.version)), Some(("before".into(), version)));
    let unled = |status: &MeshStatus| status.standing.is_some_and(|standing| !standing.quorum);
    let standing = cluster.until(node, unled).await.standing.expect("it is said");
    assert_eq!(standing.mode(), MeshMode::Critical);
    let (_, text, error) = wattle(root, &["status", "--node", name]);
    let says = "nobody leads the control group, so the configuration is read-only";
    assert!(text.contains(says), "{text}{error}");
    println!("  {name} reads locally; its status: {}", text.lines().nth(1).unwrap_or_default());
}

async fn they_come_back(cluster: &mut Cluster, lost: &[usize]) {
    for &node in lost {
        cluster.nodes[node].spawn();
    }
    let start = Instant::now();
    while cluster.nodes[lost[0]].ready().await.set_config(set("after")).await.is_err() {
        assert!(start.elapsed() < LIMIT, "{}", cluster.report().await);
    }
    for node in 0..cluster.nodes.len() {
        cluster.until(node, is_healthy).await;
        let mut mesh = cluster.nodes[node].ready().await;
        let found = mesh.get_config(get(Consistency::Linearizable)).await.expect("a read").into_inner();
        assert_eq!(found.record.map(|record| record.value), Some("after".into()));
    }
    println!("  they are back: all are healthy after {:.1?}", start.elapsed());
}
