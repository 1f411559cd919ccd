//! A node whose data directory was copied, with real processes: both end and say why, the mesh goes on, and the only copy comes back.

mod common;

use std::path::Path;
use std::time::{Duration, Instant};

use common::{Process, until, wattle};

/// How the program ends whose node exists twice.
const DUPLICATE: Option<i32> = Some(4);

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("copied");
        }
    }
}

fn open(root: &Path, name: &str, to: &str, node: &str) -> (i32, String) {
    let (code, _, error) = wattle(root, &["stream", "open", name, "--from", "a", "--to", to, "--node", node]);
    (code, error)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_copies_of_a_node_end_and_the_only_one_comes_back() {
    let directory = tempfile::tempdir().expect("a directory");
    let root = directory.path();
    let [a, b, mut c] = common::line(root, "").await;
    until(root, &["status", "--node", "a"], |text| {
        text.contains("voters a, b, c") && text.contains("HEALTHY: all 3")
    })
    .await;
    c.kill();
    let elsewhere = root.join("elsewhere");
    copy(&c.dir.join("data"), &elsewhere.join("c").join("data"));
    c.spawn();
    until(root, &["status", "--node", "a"], |text| text.contains("HEALTHY: all 3")).await;

    let start = Instant::now();
    let mut twin = Process::start(&elsewhere, "c", false, &[a.mesh_address], "");
    for process in [&mut twin, &mut c] {
        assert_eq!(process.ended(), DUPLICATE, "{}", process.log());
        let log = process.log();
        assert!(log.contains("both copies ran at once") && log.contains("--only-copy"), "{log}");
    }
    assert!(start.elapsed() < Duration::from_secs(10), "they ended after {:?}", start.elapsed());
    let text = until(root, &["status", "--node", "a"], |text| {
        text.contains("exists twice: its data directory was copied")
    })
    .await;
    assert!(text.contains("exists twice"), "{text}");
    let (code, error) = open(root, "others", "b", "a");
    assert_eq!(code, 0, "the mesh goes on: {error}");

    // A third start of either knows, and goes on only if it is said to be the only copy.
    for process in [&mut c, &mut twin] {
        process.spawn();
        assert_eq!(process.ended(), DUPLICATE, "{}", process.log());
    }
    c.spawn_with(&["--only-copy"]);
    until(root, &["status", "--node", "a"], |text| {
        text.contains("HEALTHY: all 3") && !text.contains("exists twice")
    })
    .await;
    until(root, &["status", "--node", "a"], |text| text.contains("voters a, b, c")).await;
    let (code, error) = open(root, "more", "c", "c");
    assert_eq!(code, 0, "{error}");
    // It was said once; the other copy is turned away.
    c.kill();
    c.spawn();
    c.ready().await;
    std::fs::remove_dir_all(twin.dir.join("data")).expect("removed");
    drop(b);
}
