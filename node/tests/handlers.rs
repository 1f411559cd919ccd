//! Handlers that nodes run by their settings: real processes, what an operator types, and what is kept when they are killed.

mod common;

use std::path::Path;
use std::time::Duration;

use common::{Process, until, wattle};

/// Two nodes of which the second has these handlers, and a stream `words` between them.
async fn pair(root: &Path, handlers: &str) -> [Process; 2] {
    let a = Process::start(root, "a", true, &[], "");
    a.ready().await;
    let (code, text, error) = wattle(root, &["mesh", "seed", "--node", "a"]);
    assert_eq!(code, 0, "{error}");
    let token = text.split_whitespace().last().expect("a token").to_owned();
    let b = Process::start(root, "b", false, &[a.mesh_address], handlers);
    b.ready().await;
    let (code, _, error) = wattle(root, &["mesh", "join", "--node", "b", &token]);
    assert_eq!(code, 0, "{error}");
    [a, b]
}

fn open(root: &Path) {
    let (code, _, error) = wattle(root, &["stream", "open", "words", "--from", "a", "--to", "b"]);
    assert_eq!(code, 0, "{error}");
}

/// Publishes these lines behind what was published before.
fn publish(root: &Path, lines: &[String], wait: &str) {
    let path = root.join("lines");
    std::fs::write(&path, lines.join("\n") + "\n").expect("written");
    let file = path.to_str().expect("text");
    let (code, _, error) =
        wattle(root, &["publish", "words", file, "--node", "a", "--writer", "lines", "--wait", wait]);
    assert_eq!(code, 0, "{error}");
}

fn stored(root: &Path, more: &[&str]) -> String {
    let (code, text, error) = wattle(root, &[&["stream", "stored", "words", "--at", "b"], more].concat());
    assert_eq!(code, 0, "{error}");
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_holds_every_message_once_and_in_order_though_its_node_is_killed() {
    let root = tempfile::tempdir().expect("a directory");
    let root = root.path();
    let handlers = "\n[[handler]]\nstream = \"words\"\nkind = \"store\"\nbatch = 16\n";
    let [_a, mut b] = pair(root, handlers).await;
    until(root, &["status", "--node", "b"], |text| text.contains("waiting: no stream is called \"words\""))
        .await;
    open(root);
    let mut lines = Vec::new();
    for round in 0..5 {
        lines.extend((0..2000).map(|number| format!("line {round} {number}")));
        publish(root, &lines, "accepted");
        // In the middle of its work, or nearly.
        tokio::time::sleep(Duration::from_millis(40 * round)).await;
        b.kill();
        b.spawn();
        b.ready().await;
    }
    publish(root, &lines, "completed");
    let shown = until(root, &["stream", "show", "words"], |text| text.contains("done 10000, attached")).await;
    assert!(shown.contains("store at b: received 10000, done 10000, attached"), "{shown}");
    let text = stored(root, &[]);
    let expected: Vec<_> =
        lines.iter().zip(1..).map(|(line, at): (_, u64)| format!("{at}\t{line}")).collect();
    assert_eq!(text.lines().collect::<Vec<_>>(), expected);
    assert_eq!(stored(root, &["--after", "9998"]).lines().count(), 2);
    assert_eq!(stored(root, &["--count", "1500"]).lines().count(), 1500);

    // Another stream of that name is not the one that the file belongs to.
    let (code, _, error) = wattle(root, &["stream", "close", "words"]);
    assert_eq!(code, 0, "{error}");
    open(root);
    let text =
        until(root, &["stream", "show", "words"], |text| text.contains("does not belong to this stream"))
            .await;
    assert!(text.contains("store at b: received"), "{text}");
    assert_eq!(stored(root, &["--count", "1"]), "1\tline 0 0\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_cannot_be_applied_blocks_and_is_shown_where_people_look() {
    let root = tempfile::tempdir().expect("a directory");
    let root = root.path();
    let handlers = "\n[[handler]]\nstream = \"words\"\nkind = \"store\"\nkeep = \"values\"\nfile = \"kept/values.redb\"\n";
    let [_a, b] = pair(root, handlers).await;
    open(root);
    let put = |key: &str, value: u64| format!("{{\"put\": \"{key}\", \"value\": {value}}}");
    publish(root, &[put("one", 1), put("two", 2), "nonsense".to_owned(), put("three", 3)], "replicated");
    let shown = until(root, &["stream", "show", "words"], |text| text.contains("failed on message 3")).await;
    assert!(shown.contains("done 2") && shown.contains("is wanted"), "{shown}");
    assert_eq!(stored(root, &[]), "one\t1\ntwo\t2\n");
    let (_, status, _) = wattle(root, &["status", "--node", "b"]);
    assert!(
        status.contains("HANDLER OF") && status.contains("warning: the handler store of stream words"),
        "{status}"
    );
    let (_, json, _) = wattle(root, &["stream", "show", "words", "-o", "json"]);
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json["handlers"][0]["handler"]["trouble"]["message"], 3, "{json}");
    assert!(b.dir.join("kept/values.redb").exists(), "beside the settings");
    let (code, _, error) = wattle(root, &["stream", "stored", "words", "--at", "a"]);
    assert_eq!(code, 1);
    assert!(error.contains("keeps nothing of a stream \"words\""), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_no_op_handler_lets_a_stream_go_on() {
    let root = tempfile::tempdir().expect("a directory");
    let root = root.path();
    let [_a, _b] = pair(root, "\n[[handler]]\nstream = \"words\"\nkind = \"no-op\"\n").await;
    open(root);
    publish(root, &["one".to_owned(), "two".to_owned()], "completed");
    let (_, shown, _) = wattle(root, &["stream", "show", "words"]);
    assert!(shown.contains("no-op at b: received 2, done 2, attached"), "{shown}");
}

#[test]
fn what_is_wrong_with_a_handler_is_said_at_the_start() {
    let root = tempfile::tempdir().expect("a directory");
    let start = |handlers: &str| {
        let mut node = Process::start(root.path(), "a", true, &[], handlers);
        assert_ne!(node.ended(), Some(0));
        node.log()
    };
    let log = start("\n[[handler]]\nstream = \"words\"\nkind = \"stor\"\n");
    assert!(log.contains("no kind of handler is called \"stor\""), "{log}");
    std::fs::write(root.path().join("taken"), "no directory").expect("written");
    let log = start("\n[[handler]]\nstream = \"words\"\nkind = \"store\"\nfile = \"../taken/words.redb\"\n");
    assert!(log.contains("the handler of stream \"words\": cannot make"), "{log}");
}
