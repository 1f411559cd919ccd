//! One large message through three processes in a line, by the command line: publisher, source and target are killed with SIGKILL half-way, each goes on, and no
//! node ever holds more than a part of it in memory.

mod common;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{Process, json, wattle};
use wattle_node::api::convert;
use wattle_node::client::publish::record::writer_of_name;
use wattle_proto::api::{FindWriterRequest, Staged};

const STREAM: &str = "words";
const WRITER: &str = "whole";
/// What each node may have in memory at any moment.
const RESIDENT_KIB_MAX: u64 = 256 << 10;
/// Nothing here takes longer.
const PATIENCE: Duration = Duration::from_secs(600);

/// Looks at what processes have in memory, again and again.
struct Watch {
    pids: Arc<Mutex<BTreeMap<&'static str, u32>>>,
    most: Arc<Mutex<BTreeMap<&'static str, u64>>>,
    over: Arc<AtomicBool>,
}

impl Watch {
    fn begin(nodes: &[Process]) -> Self {
        let pids = nodes.iter().map(|node| (node.name, node.pid().expect("running"))).collect();
        let watch = Self { pids: Arc::new(Mutex::new(pids)), most: Arc::default(), over: Arc::default() };
        let (pids, most, over) = (Arc::clone(&watch.pids), Arc::clone(&watch.most), Arc::clone(&watch.over));
        std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                for (name, pid) in pids.lock().expect("whole").clone() {
                    let kib = resident_kib(pid);
                    let mut most = most.lock().expect("whole");
                    let known = most.entry(name).or_default();
                    *known = kib.max(*known);
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        watch
    }

    fn restarted(&self, node: &Process) {
        self.pids.lock().expect("whole").insert(node.name, node.pid().expect("running"));
    }

    fn end(self) -> BTreeMap<&'static str, u64> {
        self.over.store(true, Ordering::Relaxed);
        self.most.lock().expect("whole").clone()
    }
}

/// 0 of a process that is gone.
fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn spawn(root: &Path, arguments: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_wattle"))
        .args(arguments)
        .env("WATTLE_RUNTIME_DIR", root.join("runtime"))
        .env("XDG_STATE_HOME", root.join("state"))
        .env_remove("WATTLE_TOKEN")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts")
}

fn finished(child: Child) -> String {
    let output = child.wait_with_output().expect("it ends");
    let (text, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}{error}");
    text.into_owned()
}

/// A file of bytes that no two places have alike; its digest.
fn write_file(path: &Path, bytes: usize) -> blake3::Hash {
    let mut file = std::io::BufWriter::new(std::fs::File::create(path).expect("a file"));
    let (mut hasher, mut word) = (blake3::Hasher::new(), 1u64);
    let mut left = bytes;
    while left > 0 {
        word = word.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        let piece = &word.to_le_bytes()[..left.min(8)];
        file.write_all(piece).expect("written");
        hasher.update(piece);
        left -= piece.len();
    }
    file.flush().expect("written");
    hasher.finalize()
}

fn digest_of(path: &Path) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    std::io::copy(&mut std::fs::File::open(path).expect("a file"), &mut hasher).expect("read");
    hasher.finalize()
}

/// What the source has staged.
async fn staged(source: &Process) -> Option<Staged> {
    let writer = convert::writer(writer_of_name(STREAM, WRITER));
    let mut data = source.data().await?;
    data.find_writer(FindWriterRequest { stream: STREAM.into(), writer, tenant: String::new() })
        .await
        .ok()?
        .into_inner()
        .staged
}

/// The files in a folder, with how long they are.
fn files(folder: &Path) -> Vec<(PathBuf, u64)> {
    let Ok(found) = std::fs::read_dir(folder) else { return Vec::new() };
    let found = found.filter_map(|file| file.ok());
    found.filter_map(|file| Some((file.path(), file.metadata().ok()?.len()))).collect()
}

async fn awaited<T>(what: &str, mut found: impl AsyncFnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = found().await {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "{what} did not come");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Publishes so many bytes as one message, with deaths half-way.
async fn goes_through(bytes: usize) {
    let root = tempfile::tempdir().expect("a directory");
    let root = root.path();
    let nodes = common::line(root, "").await;
    let watch = Watch::begin(&nodes);
    let [mut a, _b, mut c] = nodes;
    let (path, folder) = (root.join("file"), root.join("messages"));
    let digest = write_file(&path, bytes);
    let (file, messages) = (path.to_str().expect("text"), folder.to_str().expect("text"));
    let publish = [
        "publish",
        STREAM,
        "--whole",
        file,
        "--writer",
        WRITER,
        "--wait",
        "completed",
        "--patience",
        "300",
        "-o",
        "json",
    ];
    let begun = Instant::now();
    let mut publisher = spawn(root, &publish);
    let half = bytes as u64 / 2;
    awaited("half of it at the source", async || staged(&a).await.filter(|staged| staged.upto >= half)).await;
    publisher.kill().expect("killed");
    publisher.wait().expect("dead");
    a.kill();
    a.spawn();
    watch.restarted(&a);
    let held = awaited("what is staged", async || staged(&a).await).await;
    assert!(held.upto >= half && held.upto < bytes as u64, "{held:?}");
    let publisher = spawn(root, &publish);
    let subscribe = ["subscribe", STREAM, "--at", "c", "--whole-dir", messages, "--count", "1"];
    let subscriber = spawn(root, &subscribe);
    let some = async || files(&folder).into_iter().find(|(_, len)| *len >= half);
    awaited("half of it at the target's handler", some).await;
    c.kill();
    c.spawn();
    watch.restarted(&c);
    finished(subscriber);
    let said: serde_json::Value = serde_json::from_str(&finished(publisher)).expect("JSON");
    let most = watch.end();
    eprintln!("{bytes} bytes in {:?}, at most resident in KiB: {most:?}; {said}", begun.elapsed());
    assert!(said["already_there"].as_u64().expect("a number") >= half, "it goes on where it was: {said}");
    let parts = (bytes as u64).div_ceil(256 << 10);
    assert_eq!(
        said["sequence"].as_u64(),
        Some(parts),
        "a sequence for each part, of which it bears the last"
    );
    let found = files(&folder);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(digest_of(&found[0].0) == digest, "what came is what was sent");
    assert!(most.values().all(|kib| *kib < RESIDENT_KIB_MAX), "{most:?} KiB were resident");
    let status = json(root, &["stream", "show", STREAM]);
    assert!(status.to_string().contains(&format!("\"completed\":{parts}")), "{status}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_message_arrives_though_publisher_source_and_target_die_half_way() {
    goes_through((20 << 20) + 123).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a gibibyte: cargo test --release -p wattle-node --test large -- --ignored --nocapture"]
async fn a_gibibyte_arrives_though_publisher_source_and_target_die_half_way() {
    goes_through(1 << 30).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_file_is_published_once_and_bad_parts_are_refused_by_name() {
    let root = tempfile::tempdir().expect("a directory");
    let root = root.path();
    let _nodes = common::line(root, "").await;
    let (small, large) = (root.join("small"), root.join("large"));
    std::fs::write(&small, "few bytes").expect("written");
    write_file(&large, 300 << 10);
    for path in [&small, &large] {
        let publish = ["publish", STREAM, "--whole", path.to_str().expect("text")];
        let first = json(root, &publish);
        assert_eq!(first["already_there"], 0, "{first}");
        let again = json(root, &publish);
        assert_eq!(again["already_there"], again["bytes"], "{again}");
        assert_eq!(again["sequence"], first["sequence"]);
    }
    let folder = root.join("messages");
    let subscribe =
        ["subscribe", STREAM, "--at", "c", "--whole-dir", folder.to_str().expect("text"), "--count", "2"];
    let (code, _, error) = wattle(root, &subscribe);
    assert_eq!(code, 0, "{error}");
    let mut lengths: Vec<u64> = files(&folder).into_iter().map(|(_, len)| len).collect();
    lengths.sort_unstable();
    assert_eq!(lengths, [9, 300 << 10]);
    let (code, _, error) = wattle(root, &["publish", STREAM, "--whole", root.to_str().expect("text")]);
    assert_eq!(code, 1);
    assert!(error.contains("regular file"), "{error}");
}
