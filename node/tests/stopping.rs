//! Members that take no part for a while, with real processes: by command, and at the end of a process.

mod common;

use std::time::{Duration, Instant};

use common::{until, wattle};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_is_stopped_and_started_by_command() {
    let root = tempfile::tempdir().expect("a directory");
    let [mut a, b, _c] = common::line(root.path(), "").await;
    let root = root.path();
    until(root, &["status", "--node", "b"], |text| {
        text.contains("voters a, b, c") && text.contains("a leads")
    })
    .await;
    until(root, &["status", "--node", "b"], |text| text.contains("HEALTHY: all 3 members")).await;

    let since = Instant::now();
    let (code, text, error) = wattle(root, &["mesh", "stop", "--node", "a"]);
    assert_eq!(code, 0, "{text}{error}");
    assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
    let (_, text, _) = wattle(root, &["status", "--node", "b"]);
    assert!(text.contains("stopped"), "it was told before the answer: {text}");
    assert!(text.contains("b leads") || text.contains("c leads"), "another leads already: {text}");
    until(root, &["status", "--node", "b"], |text| {
        text.contains("DEGRADED: 1 of 3 members cannot be reached")
    })
    .await;
    let (_, text, _) = wattle(root, &["status", "--node", "a"]);
    assert!(text.contains("The mesh is stopped at this node"), "{text}");
    let (code, _, error) =
        wattle(root, &["stream", "open", "more", "--from", "a", "--to", "b", "--node", "a"]);
    assert_eq!(code, 1);
    assert!(error.contains("stopped at this node") && error.contains("wattle mesh start"), "{error}");
    assert_eq!(wattle(root, &["mesh", "stop", "--node", "a"]).0, 0, "twice is once");

    // A process that starts anew is stopped still.
    a.kill();
    a.spawn();
    a.ready().await;
    until(root, &["status", "--node", "a"], |text| text.contains("The mesh is stopped at this node")).await;
    let (_, text, _) = wattle(root, &["status", "--node", "b"]);
    assert!(text.contains("stopped"), "{text}");
    let (code, text, error) = wattle(root, &["mesh", "start", "--node", "a"]);
    assert_eq!((code, text.contains("takes part in mesh test")), (0, true), "{text}{error}");
    until(root, &["status", "--node", "b"], |text| {
        text.contains("HEALTHY: all 3") && !text.contains("stopped")
    })
    .await;
    let (code, text, error) = wattle(root, &["mesh", "start", "--node", "a", "-o", "json"]);
    assert_eq!((code, text.contains("\"stopped\":false")), (0, true), "{text}{error}");
    drop(b);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_ends_says_goodbye_and_comes_back_by_itself() {
    let root = tempfile::tempdir().expect("a directory");
    let [mut a, b, _c] = common::line(root.path(), "").await;
    let root = root.path();
    until(root, &["status", "--node", "b"], |text| {
        text.contains("voters a, b, c") && text.contains("a leads")
    })
    .await;
    a.terminate();
    assert_eq!(a.ended(), Some(0));
    let (_, text, _) = wattle(root, &["status", "--node", "b"]);
    assert!(text.contains("stopped"), "it was told at once: {text}");
    assert!(text.contains("b leads") || text.contains("c leads"), "{text}");
    a.spawn();
    until(root, &["status", "--node", "b"], |text| {
        text.contains("HEALTHY: all 3") && !text.contains("stopped")
    })
    .await;
    drop(b);
}
