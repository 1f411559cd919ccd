//! A stream that keeps its last messages, with real processes: they are read again beside its handler, also after the target was killed, and what is gone is named.

mod common;

use common::{until, wattle};

fn publish(root: &std::path::Path, count: u32) {
    let path = root.join("lines");
    let lines: String = (1..=count).map(|number| format!("{number}\n")).collect();
    std::fs::write(&path, lines).expect("written");
    let path = path.to_str().expect("text");
    // One message a batch: what goes goes by batches.
    let publish = ["publish", "kept", path, "--writer", "lines", "--wait", "accepted", "--batch", "1"];
    let (code, _, error) = wattle(root, &publish);
    assert_eq!(code, 0, "{error}");
}

fn numbers(from: u32, to: u32) -> String {
    (from..=to).map(|number| format!("{number}\n")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_stream_keeps_is_read_again_and_what_is_gone_is_refused_by_name() {
    let root = tempfile::tempdir().expect("a directory");
    let root = root.path();
    let [_a, mut b, _c] = common::line(root, "").await;
    let open =
        ["stream", "open", "kept", "--from", "a", "--to", "b", "--keep-bytes", "300", "--keep-for", "1s"];
    let (code, _, error) = wattle(root, &open);
    assert_eq!(code, 0, "{error}");
    assert_eq!(wattle(root, &open).0, 0, "the same again");
    let (code, _, error) = wattle(root, &open[..open.len() - 2]);
    assert_eq!(code, 1);
    assert!(
        error.contains("b, keeps the last 300 bytes, and what is younger than 1s: close it first"),
        "{error}"
    );

    publish(root, 60);
    let (code, text, _) = wattle(root, &["subscribe", "kept", "--count", "60"]);
    assert_eq!((code, text), (0, numbers(1, 60)));
    let (code, text, error) = wattle(root, &["subscribe", "kept", "--replay", "--from", "11", "--to", "20"]);
    assert_eq!((code, text), (0, numbers(11, 20)), "{error}");
    let shown = until(root, &["stream", "show", "kept"], |text| text.contains("processed   60")).await;
    assert!(shown.contains("keeps       the last 300 bytes, and what is younger than 1s"), "{shown}");
    assert!(shown.contains("kept        from message 1 on"), "{shown}");

    b.kill();
    b.spawn();
    until(root, &["status", "--node", "b"], |text| text.contains("kept")).await;
    let (code, text, error) =
        wattle(root, &["subscribe", "kept", "--at", "b", "--replay", "--from", "first-kept", "--to", "60"]);
    assert_eq!((code, text), (0, numbers(1, 60)), "{error}");

    publish(root, 400);
    let (code, _, error) = wattle(root, &["subscribe", "kept", "--count", "340"]);
    assert_eq!(code, 0, "{error}");
    let gone = |text: &str| text.contains("kept        from message ") && !text.contains("from message 1 on");
    until(root, &["stream", "show", "kept"], gone).await;
    // That is said as soon as one end lets go, and the target does in its own time.
    let first = ["subscribe", "kept", "--at", "b", "--replay", "--from", "1", "--to", "400"];
    until(root, &first, |said| said.contains("message 1 of the stream is gone")).await;
    assert_eq!(wattle(root, &first).0, 1, "and it stays gone");
}
