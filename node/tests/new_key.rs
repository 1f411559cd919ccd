//! A node's identity key gives way to a new one, while the mesh works.

mod common;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::{Door, Process, json, line, until};
use tokio::task::JoinHandle;
use wattle_proto::api::{
    MeshEventFilter, MeshEventKind, RotateNodeKeyRequest, RotateNodeKeyResponse, SetConfigRequest,
};

/// Writes of configuration at one node, one after the other, until it is told to end: how many were done, and the longest wait for one.
fn load(door: Door, end: &Arc<AtomicBool>) -> JoinHandle<(u32, Duration)> {
    let end = Arc::clone(end);
    tokio::spawn(async move {
        let mut mesh = door.mesh().await.expect("it answers");
        let (mut done, mut longest, mut since) = (0, Duration::ZERO, Instant::now());
        while !end.load(Ordering::Relaxed) {
            let value = done.to_string().into_bytes().into();
            let request = SetConfigRequest { key: "load".into(), value, ..SetConfigRequest::default() };
            if mesh.set_config(request).await.is_ok() {
                done += 1;
                longest = longest.max(since.elapsed());
                since = Instant::now();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        (done, longest)
    })
}

async fn rotate(node: &Process, finish: bool) -> RotateNodeKeyResponse {
    let mut mesh = node.ready().await;
    mesh.rotate_node_key(RotateNodeKeyRequest { finish }).await.expect("it rotates").into_inner()
}

/// Waits until the key file says that the rotation of that number is over.
async fn rotated(node: &Process, number: u64) {
    let start = Instant::now();
    loop {
        let file = std::fs::read_to_string(node.dir.join("data/identity.toml")).expect("a key file");
        if file.contains(&format!("rotation = {number}")) && !file.contains("next = ") {
            return;
        }
        assert!(start.elapsed() < Duration::from_secs(60), "{}", node.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn keys(root: &Path, at: &str, of: &str) -> Vec<String> {
    let status = json(root, &["status", "--node", at]);
    let members = status["members"].as_array().expect("members");
    let member = members.iter().find(|member| member["name"] == of).expect("a member");
    let keys = member["keys"].as_array().expect("keys").iter();
    keys.map(|key| key.as_str().expect("a text").to_owned()).collect()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let to = to.join(entry.file_name());
        match entry.file_type().expect("a type").is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(std::fs::copy(entry.path(), to).expect("copied")),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_gives_way_under_load_and_its_old_copies_are_refused() {
    let temporary = tempfile::tempdir().expect("a directory");
    let root = temporary.path();
    let [a, mut b, mut c] = line(root, "").await;
    let end = Arc::new(AtomicBool::new(false));
    let writes = load(a.door(), &end);

    // Of a node in the middle, without a gap: the links stay.
    let first = keys(root, "a", "b");
    let filter = MeshEventFilter { kinds: vec![MeshEventKind::LinkDown.into()] };
    let mut downs = b.ready().await.watch_mesh_events(filter).await.expect("events").into_inner();
    let new = rotate(&b, false).await;
    assert!(!new.retired);
    let both = keys(root, "b", "b");
    assert_eq!((both.len(), &both[..1]), (2, &first[..]), "either is good");
    let refused =
        b.ready().await.rotate_node_key(RotateNodeKeyRequest::default()).await.expect_err("under way");
    assert!(refused.message().contains("--finish"), "{refused}");
    rotated(&b, 1).await;
    assert_eq!(keys(root, "c", "b"), both[1..]);
    let shown = json(root, &["node", "show", "--node", "b"]);
    assert_eq!((shown["keys"][0].as_str(), shown["rotation"].as_u64()), (Some(both[1].as_str()), Some(1)));
    let down = tokio::time::timeout(Duration::from_secs(2), downs.message()).await;
    assert!(down.is_err(), "a link went down: {down:?}");

    // Of a node that is killed in the middle of it.
    let identity = c.dir.join("data/identity.toml");
    let old = std::fs::read(&identity).expect("a key file");
    rotate(&c, false).await;
    c.kill();
    assert!(String::from_utf8_lossy(&std::fs::read(&identity).expect("a key file")).contains("next = "));
    c.spawn();
    rotated(&c, 1).await;
    end.store(true, Ordering::Relaxed);
    let (done, longest) = writes.await.expect("they end");
    println!("{done} writes, the longest took {longest:?}");
    assert!(done > 200 && longest < Duration::from_secs(3), "{done} writes, the longest took {longest:?}");

    // The old copy of the key file.
    c.kill();
    let good = std::fs::read(&identity).expect("a key file");
    std::fs::write(&identity, old).expect("written");
    c.spawn();
    assert_eq!(c.ended(), Some(1), "{}", c.log());
    assert!(c.log().contains("put back the identity.toml of after that rotation"), "{}", c.log());
    std::fs::write(&identity, good).expect("written");
    c.spawn();
    c.ready().await;

    // The old copy of the whole directory: those who turn it away tell it.
    b.kill();
    copy(&b.dir.join("data"), &b.dir.join("backup"));
    b.spawn();
    b.ready().await;
    let said = until(root, &["node", "key", "rotate", "--finish", "--node", "b"], |said| {
        said.contains("the key of")
    })
    .await;
    assert!(said.contains("the one before is retired"), "{said}");
    rotated(&b, 2).await;
    b.kill();
    std::fs::remove_dir_all(b.dir.join("data")).expect("removed");
    std::fs::rename(b.dir.join("backup"), b.dir.join("data")).expect("moved");
    b.spawn();
    assert_eq!(b.ended(), Some(1), "{}", b.log());
    assert!(b.log().contains("was retired by rotation 2"), "{}", b.log());
}
