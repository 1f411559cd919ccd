//! A node whose data directory was copied, with real processes: both are stopped and say so, and the one that is kept comes back.

mod common;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use common::Process;

/// Exit code, answer, and what was said beside it.
fn wattle(root: &Path, arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_wattle"))
        .args(arguments)
        .env("WATTLE_RUNTIME_DIR", root.join("runtime"))
        .env("XDG_STATE_HOME", root.join("state"))
        .env_remove("WATTLE_TOKEN")
        .output()
        .expect("the program starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (output.status.code().expect("an exit code"), text(output.stdout), text(output.stderr))
}

/// Repeats `wattle status` until it says what is awaited.
async fn until(root: &Path, node: &str, awaited: impl Fn(&str) -> bool) -> String {
    let start = Instant::now();
    loop {
        let (_, text, error) = wattle(root, &["status", "--node", node]);
        if awaited(&text) {
            return text;
        }
        assert!(start.elapsed() < Duration::from_secs(40), "{node}: {text}{error}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_copies_of_a_node_are_stopped_and_the_one_that_is_kept_comes_back() {
    let directory = tempfile::tempdir().expect("a directory");
    let root = directory.path();
    let [_a, b, mut c] = common::line(root, "").await;
    until(root, "a", |text| text.contains("voters a, b, c") && text.contains("HEALTHY: all 3")).await;
    c.kill();
    let elsewhere = root.join("elsewhere");
    copy(&c.dir.join("data"), &elsewhere.join("c").join("data"));
    c.spawn();
    until(root, "a", |text| text.contains("HEALTHY: all 3")).await;

    let mut twin = Process::start(&elsewhere, "c", false, &[b.mesh_address], "");
    for place in [root, elsewhere.as_path()] {
        let text = until(place, "c", |text| text.contains("DUPLICATE IDENTITY")).await;
        assert!(text.contains("--keep-identity") && text.contains("seen by"), "{text}");
    }
    let text = until(root, "a", |text| text.contains("runs twice")).await;
    assert!(text.contains("two starts of c run at once"), "{text}");
    let (code, _, error) =
        wattle(root, &["stream", "open", "more", "--from", "c", "--to", "a", "--node", "c"]);
    assert_eq!(code, 1);
    assert!(error.contains("two starts of this node run at once"), "{error}");
    let (code, _, error) = wattle(root, &["mesh", "start", "--node", "c"]);
    assert_eq!((code, error.contains("--keep-identity")), (1, true), "{error}");

    // Its next start knows; the one that is kept is told so.
    twin.kill();
    c.kill();
    c.spawn();
    c.ready().await;
    until(root, "c", |text| text.contains("DUPLICATE IDENTITY")).await;
    c.kill();
    c.spawn_with(&["--keep-identity"]);
    until(root, "a", |text| {
        text.contains("HEALTHY: all 3") && text.contains("voters a, b, c") && !text.contains("runs twice")
    })
    .await;
    let (code, text, error) =
        wattle(root, &["stream", "open", "more", "--from", "c", "--to", "a", "--node", "c"]);
    assert_eq!(code, 0, "{text}{error}");
    drop(b);
}
