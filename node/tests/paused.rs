//! Streams of tenants that are paused, resumed and throttled, with real processes: what an operator types, what a publisher is told, and what outlasts a kill.

mod common;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{until, wattle};

/// Publishes what a file holds. It ends at once if the stream takes nothing in.
fn publish(root: &Path, stream: &str, lines: &[&str], patience: &str) -> (i32, String, String) {
    let path = root.join(stream);
    std::fs::write(&path, lines.join("\n") + "\n").expect("written");
    let path = path.to_str().expect("text");
    wattle(root, &["publish", stream, path, "--writer", "lines", "--patience", patience])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_is_paused_and_resumed_whatever_is_killed_meanwhile() {
    let root = tempfile::tempdir().expect("a directory");
    let root = root.path();
    let [mut a, _b, _c] = common::line(root, "").await;
    until(root, &["status", "--node", "b"], |text| text.contains("voters a, b, c")).await;
    for (name, more) in [
        ("orders", &["--tenant", "acme", "--qos", "PRIORITY", "--priority", "3"][..]),
        ("logs", &["--tenant", "acme", "--priority", "-2"]),
    ] {
        let open = ["stream", "open", name, "--from", "a", "--to", "c"];
        let (code, _, error) = wattle(root, &[&open, more].concat());
        assert_eq!(code, 0, "{error}");
    }
    let (code, _, error) =
        wattle(root, &["stream", "open", "orders", "--from", "a", "--to", "c", "--tenant", "other"]);
    assert_eq!(code, 1);
    assert!(error.contains("is tenant acme's, not other's"), "{error}");
    let list = common::json(root, &["stream", "list", "--tenant", "acme"]);
    let names: Vec<&str> =
        list.as_array().expect("streams").iter().flat_map(|one| one["name"].as_str()).collect();
    assert_eq!(names, ["logs", "orders"]);
    let orders = &list[1];
    assert_eq!((&orders["qos"], &orders["priority"]), (&"PRIORITY".into(), &3.into()));

    assert_eq!(publish(root, "orders", &["one", "two"], "9").0, 0);
    let (code, text, error) = wattle(root, &["stream", "pause", "--tenant", "acme", "--node", "b"]);
    assert_eq!(code, 0, "{error}");
    assert!(text.contains("all streams of tenant acme (2 are open now), asked for at b"), "{text}");
    until(root, &["stream", "show", "orders"], |text| text.contains("resume --tenant acme`")).await;

    // A source that was killed goes by it from its start on.
    a.kill();
    a.spawn();
    until(root, &["status", "--node", "a"], |text| text.contains("2 streams are paused")).await;
    let (code, _, error) = publish(root, "orders", &["one", "two", "three"], "1");
    assert_eq!(code, 1);
    assert!(error.contains("waiting: stream \"orders\" is paused, as was asked for at node b"), "{error}");
    assert_eq!(error.matches("waiting:").count(), 1, "that is said once: {error}");
    assert!(error.contains("nothing moved for 1 s"), "{error}");
    // What was accepted before is handed over, and what another stream takes in goes on.
    let (_, text, _) = wattle(root, &["subscribe", "orders", "--count", "2"]);
    assert_eq!(text, "one\ntwo\n");
    assert_eq!(publish(root, "words", &["a word"], "9").0, 0, "the default tenant's");
    let shown = common::json(root, &["stream", "show", "orders", "--tenant", "acme"]);
    assert_eq!(shown["rules"][0]["scope"], serde_json::json!({ "tenant": "acme" }), "{shown}");
    assert_eq!(shown["rules"][0]["paused"]["at"], "b", "{shown}");
    assert!(shown["waiting_for"][0].as_str().expect("why").contains("it is paused"), "{shown}");

    // One that waits goes on by itself when it is resumed.
    let path = root.join("orders");
    let waiting = Command::new(env!("CARGO_BIN_EXE_wattle"))
        .args(["publish", "orders", path.to_str().expect("text"), "--writer", "lines"])
        .env("WATTLE_RUNTIME_DIR", root.join("runtime"))
        .env("XDG_STATE_HOME", root.join("state"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let (code, text, error) = wattle(root, &["stream", "pause", "orders"]);
    assert_eq!(code, 0, "{error}");
    assert!(text.contains("Paused: stream orders"), "{text}");
    let (_, text, _) = wattle(root, &["stream", "resume", "--tenant", "acme"]);
    assert!(text.contains("1 of them stay paused by something else"), "{text}");
    tokio::time::sleep(Duration::from_millis(300)).await;
    let (_, text, _) = wattle(root, &["stream", "resume", "orders"]);
    assert_eq!(text.trim(), "Neither paused, nor throttled, nor failed: stream orders.");
    let ended = waiting.wait_with_output().expect("it ends");
    let (text, error) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    assert!(ended.status.success(), "{error}");
    assert!(text.contains("1 accepted, 2 already there"), "{text}");
    let (_, text, _) = wattle(root, &["subscribe", "orders", "--count", "1"]);
    assert_eq!(text, "three\n", "nothing comes twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_names_another_tenant_is_refused_and_changes_nothing() {
    let root = tempfile::tempdir().expect("a directory");
    let root = root.path();
    let _mesh = common::line(root, "").await;
    let open = ["stream", "open", "orders", "--from", "a", "--to", "c", "--tenant", "acme"];
    assert_eq!(wattle(root, &open).0, 0);
    let file = root.join("lines");
    std::fs::write(&file, "one\n").expect("written");
    let file = file.to_str().expect("text");
    for command in [
        &["publish", "orders", file][..],
        &["publish", "orders", "--whole", file],
        &["subscribe", "orders", "--count", "1"],
        &["stream", "show", "orders"],
        &["stream", "members", "orders"],
        &["stream", "members", "orders", "--drain", "c"],
        &["stream", "seal", "orders", "--lost", "a"],
        &["stream", "pause", "orders"],
        &["stream", "throttle", "orders", "--messages", "1"],
        &["stream", "parked", "list", "orders", "--at", "c"],
        &["stream", "parked", "discard", "orders", "1", "--at", "c", "--reason", "none"],
        &["stream", "close", "orders"],
    ] {
        let (code, _, error) = wattle(root, &[command, &["--tenant", "other"]].concat());
        assert_eq!(code, 1, "{command:?}: {error}");
        assert!(error.contains("is tenant acme's, not other's"), "{command:?}: {error}");
    }
    let shown = common::json(root, &["stream", "show", "orders", "--tenant", "acme"]);
    assert_eq!((&shown["accepted"], &shown["rules"]), (&0.into(), &serde_json::json!([])), "{shown}");
    let (code, _, error) = wattle(root, &["publish", "orders", file, "--tenant", "acme"]);
    assert_eq!(code, 0, "{error}");
    let (_, text, _) = wattle(root, &["subscribe", "orders", "--count", "1", "--tenant", "acme"]);
    assert_eq!(text, "one\n");
    assert_eq!(wattle(root, &["stream", "close", "orders", "--tenant", "acme"]).0, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_throttled_stream_takes_its_rate_and_publishers_wait_for_it() {
    let root = tempfile::tempdir().expect("a directory");
    let root = root.path();
    let _mesh = common::line(root, "").await;
    let throttle = ["stream", "throttle", "--priority-below", "1", "--messages", "20", "--node", "a"];
    let (code, text, error) = wattle(root, &throttle);
    assert_eq!(code, 0, "{error}");
    assert!(text.ends_with("At each source no more than 20 messages a second are taken in.\n"), "{text}");
    let file = root.join("lines");
    let lines: String = (1..=100).map(|number| format!("line {number}\n")).collect();
    std::fs::write(&file, lines).expect("written");
    let begun = Instant::now();
    let command = ["publish", "words", file.to_str().expect("text"), "--batch", "5", "--patience", "2"];
    let (code, text, error) = wattle(root, &command);
    let took = begun.elapsed();
    assert_eq!(code, 0, "{error}");
    assert!(text.contains("100 accepted"), "{text}");
    assert_eq!(error.matches("waiting:").count(), 1, "{error}");
    assert!(error.contains("takes no more than 20 messages a second in"), "{error}");
    assert!(took >= Duration::from_millis(3_600), "a second's worth at once, and the rest in four: {took:?}");
    let (_, text, _) = wattle(root, &["stream", "throttle", "--priority-below", "1", "--off"]);
    assert!(
        text.starts_with("Neither paused, nor throttled, nor failed: all streams of a priority below 1"),
        "{text}"
    );
    let begun = Instant::now();
    let again = [&command[..], &["--writer", "another"]].concat();
    assert_eq!(wattle(root, &again).0, 0);
    assert!(begun.elapsed() < Duration::from_secs(3), "it is throttled no more");
}
