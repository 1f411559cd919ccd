//! A mesh that lost its quorum, with real processes: what is refused, what an operator types, and what the lost find when they come back.

mod common;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

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

/// Repeats a command until its answer, or what is said beside it, is the one awaited.
async fn until(root: &Path, arguments: &[&str], awaited: impl Fn(&str) -> bool) -> String {
    let start = Instant::now();
    loop {
        let (_, text, error) = wattle(root, arguments);
        let said = format!("{text}{error}");
        if awaited(&said) {
            return said;
        }
        assert!(start.elapsed() < Duration::from_secs(40), "{arguments:?}: {said}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_survivor_goes_on_and_the_lost_decide_nothing_more_when_they_come_back() {
    let root = tempfile::tempdir().expect("a directory");
    let [mut a, mut b, c] = common::line(root.path(), "").await;
    let root = root.path();
    until(root, &["status", "--node", "c"], |text| text.contains("voters a, b, c")).await;
    let (code, _, error) = wattle(root, &["config", "set", "limits/upload", "1", "--node", "c"]);
    assert_eq!(code, 0, "{error}");
    let (code, _, error) = wattle(root, &["mesh", "recover", "--lost", "b", "--yes", "--node", "c"]);
    assert_eq!(code, 1);
    assert!(error.contains("wattle mesh evict"), "{error}");

    a.kill();
    b.kill();
    until(root, &["status", "--node", "c"], |text| text.contains("nobody leads the control group")).await;
    let (code, _, error) = wattle(root, &["config", "set", "limits/upload", "2", "--node", "c"]);
    assert_eq!(code, 1, "{error}");
    let (code, _, error) = wattle(root, &["mesh", "recover", "--lost", "a", "--yes", "--node", "c"]);
    assert_eq!(code, 1);
    assert!(error.contains("b can not be reached and is not named lost"), "{error}");

    let plan = until(root, &["mesh", "recover", "--lost", "a,b", "--node", "c"], |said| {
        said.contains("Nothing was done")
    });
    let plan = plan.await;
    assert!(plan.contains("evict for good: a (voter), b (voter)"), "{plan}");
    let (code, text, error) =
        wattle(root, &["mesh", "recover", "--lost", "a,b", "--yes", "--node", "c", "-o", "json"]);
    assert_eq!(code, 0, "{text}{error}");
    assert!(text.contains("\"epoch\":2"), "{text}");
    let status =
        until(root, &["status", "--node", "c"], |text| text.contains("HEALTHY: all 1 members")).await;
    assert!(status.contains("Recovery 1, ordered at c") && status.contains("voters c"), "{status}");
    let (code, _, error) = wattle(root, &["config", "set", "limits/upload", "3", "--node", "c"]);
    assert_eq!(code, 0, "{error}");

    // The lost come back: b is a majority with a, until it meets c.
    b.spawn();
    b.ready().await;
    let api = b.api.to_string();
    until(root, &["status", "--node", &api], |text| text.contains("named lost when mesh")).await;
    a.spawn();
    a.ready().await;
    let (code, _, error) = wattle(root, &["config", "set", "limits/upload", "4", "--node", &api]);
    assert_eq!(code, 1);
    assert!(error.contains("evicted by recovery 1"), "{error}");
    let (code, text, error) = wattle(root, &["config", "get", "limits/upload", "--node", "c"]);
    assert_eq!((code, text.trim().ends_with('3')), (0, true), "{text}{error}");
    let log = std::fs::read_to_string(c.dir.join("log")).expect("a log");
    assert!(log.contains("recovery of a lost quorum"), "{log}");
}
