//! What people read who use the program against real nodes.

mod common;

use std::time::{Duration, Instant};

use common::{Process, wattle};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mesh_with_one_voter_says_what_losing_it_would_mean() {
    let root = tempfile::tempdir().expect("a directory");
    let a = Process::start(root.path(), "a", true, &[], "");
    a.ready().await;
    // Its address file follows its API.
    let start = Instant::now();
    let (mut code, mut text, mut error) = wattle(root.path(), &["status"]);
    while code == 3 && start.elapsed() < Duration::from_secs(20) {
        tokio::time::sleep(Duration::from_millis(20)).await;
        (code, text, error) = wattle(root.path(), &["status"]);
    }
    assert_eq!(code, 0, "{error}");
    assert!(text.contains("belongs to no mesh yet") && text.contains("wattle mesh seed"), "{text}");
    assert_eq!(wattle(root.path(), &["mesh", "seed", "--name", "alone"]).0, 0);
    let (_, text, _) = wattle(root.path(), &["status"]);
    assert!(text.contains("warning: a is the only voter of the control group."), "{text}");
    assert!(text.contains("If its disk is lost, the mesh's configuration cannot change any more"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_name_nodes_and_say_what_to_do() {
    let root = tempfile::tempdir().expect("a directory");
    let _nodes = common::line(root.path(), "").await;
    let wattle = |arguments: &[&str]| wattle(root.path(), arguments);

    let (code, _, error) = wattle(&["stream", "open", "words", "--from", "b", "--to", "c"]);
    assert_eq!(code, 1);
    assert!(error.contains("already open from a to c: close it first"), "{error}");

    let (code, _, error) = wattle(&["mesh", "invite", "--node", "c"]);
    assert_eq!(code, 1);
    assert!(error.contains("nobody can dial c") && error.contains("--node"), "{error}");
    assert!(wattle(&["mesh", "invite", "--node", "b"]).1.starts_with("wattle1."));

    let (code, _, error) = wattle(&["status", "--node", "b:x"]);
    assert_eq!(code, 2);
    assert!(error.contains("HOST:PORT"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_shows_its_watermarks_by_target() {
    let root = tempfile::tempdir().expect("a directory");
    let _nodes = common::line(root.path(), "").await;
    let lines = root.path().join("lines");
    std::fs::write(&lines, "one\ntwo\nthree\n").expect("written");
    let wattle = |arguments: &[&str]| wattle(root.path(), arguments);
    let lines = lines.to_str().expect("text");
    assert_eq!(wattle(&["publish", "words", lines, "--wait", "replicated"]).0, 0);
    let (code, text, _) = wattle(&["subscribe", "words", "--at", "c", "--count", "2"]);
    assert_eq!((code, text.as_str()), (0, "one\ntwo\n"));
    // What was acknowledged counts once that is on the target's disk.
    let start = Instant::now();
    let text = loop {
        let (_, text, _) = wattle(&["stream", "show", "words"]);
        if text.contains("processed   2  by target c") {
            break text;
        }
        assert!(start.elapsed() < Duration::from_secs(20), "{text}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert!(text.contains("replicated  3  committed, and durable at a, c"), "{text}");
    assert!(text.contains("the target's handler: none is attached"), "{text}");
    let (_, json, _) = wattle(&["stream", "show", "words", "-o", "json"]);
    let mut shown: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    let idle = shown["targets"][0].as_object_mut().and_then(|target| target.remove("idle_millis"));
    assert!(idle.is_some_and(|idle| idle.is_u64()), "one is left to process: {json}");
    assert_eq!(
        shown["targets"],
        serde_json::json!([{ "node": "c", "processed": 2, "parked": 0, "handler": null }])
    );
}
