//! A stream to several targets, with real processes: what an operator types, what each target is handed, and what becomes of it when the source is killed.

mod common;

use common::{until, wattle};

/// Publishes these lines behind what was published before.
fn publish(root: &std::path::Path, lines: &[&str], wait: &str) -> (i32, String, String) {
    let path = root.join("lines");
    std::fs::write(&path, lines.join("\n") + "\n").expect("written");
    wattle(root, &["publish", "fan", path.to_str().expect("text"), "--writer", "lines", "--wait", wait])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_target_is_handed_everything_and_the_policy_says_what_is_completed() {
    let root = tempfile::tempdir().expect("a directory");
    let root = root.path();
    let [mut a, _b, _c] = common::line(root, "").await;
    let (code, _, error) =
        wattle(root, &["stream", "open", "fan", "--source", "a", "--target", "b", "--complete", "2"]);
    assert_eq!(code, 1);
    assert!(error.contains("so many of them as there are"), "{error}");
    let open =
        ["stream", "open", "fan", "--source", "a", "--target", "b", "--target", "c", "--complete", "1"];
    let (code, text, error) = wattle(root, &open);
    assert_eq!(code, 0, "{error}");
    assert!(text.contains("from a to b, c (completed by 1 of 2)"), "{text}");
    let (code, _, error) = wattle(root, &open[..open.len() - 2]);
    assert_eq!(code, 1, "by all is another policy");
    assert!(error.contains("already open from a to b, c (completed by 1 of 2)"), "{error}");

    let (code, _, error) = publish(root, &["one", "two", "three"], "replicated");
    assert_eq!(code, 0, "{error}");
    let (code, text, _) = wattle(root, &["subscribe", "fan", "--at", "b", "--count", "3"]);
    assert_eq!((code, text.as_str()), (0, "one\ntwo\nthree\n"));
    let shown = until(root, &["stream", "show", "fan"], |text| text.contains("completed   3")).await;
    assert!(shown.contains("target c          processed 0, 3 behind"), "{shown}");
    assert!(shown.contains("released    0"), "{shown}");

    a.kill();
    a.spawn();
    until(root, &["status", "--node", "a"], |text| text.contains("fan")).await;
    let lines = ["one", "two", "three", "four", "five"];
    let (code, _, error) = publish(root, &lines, "replicated");
    assert_eq!(code, 0, "{error}");
    let (_, text, _) = wattle(root, &["subscribe", "fan", "--at", "c", "--count", "5"]);
    assert_eq!(text.lines().collect::<Vec<_>>(), lines);
    let (_, text, _) = wattle(root, &["subscribe", "fan", "--at", "b", "--count", "2"]);
    assert_eq!(text, "four\nfive\n", "nothing comes twice");
    until(root, &["stream", "show", "fan"], |text| text.contains("released    5")).await;
}

/// What `stream members` is asked to do about a target of "fan".
fn detach(root: &std::path::Path, node: &str, reason: &str) -> (i32, String, String) {
    wattle(root, &["stream", "members", "fan", "--detach", node, "--reason", reason, "--node", "b"])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_is_gone_is_detached_and_told_so_when_it_comes_back() {
    let root = tempfile::tempdir().expect("a directory");
    let root = root.path();
    let [a, _b, mut c] = common::line(root, "").await;
    until(root, &["status", "--node", "b"], |text| text.contains("voters a, b, c")).await;
    let open = ["stream", "open", "fan", "--source", "a", "--target", "b", "--target", "c"];
    assert_eq!(wattle(root, &open).0, 0);
    let (code, _, error) = publish(root, &["one"], "replicated");
    assert_eq!(code, 0, "{error}");
    for (node, says) in
        [("a", "is the source of this stream"), ("z", "no member of the mesh is called"), ("b", "")]
    {
        let (code, text, error) = match says {
            "" => wattle(root, &["stream", "members", "fan", "--detach", node]),
            _ => detach(root, node, "it burnt"),
        };
        assert_ne!(code, 0, "{text}");
        assert!(error.contains(if says.is_empty() { "--reason" } else { says }), "{node}: {error}");
    }

    c.kill();
    let (code, _, error) = publish(root, &["one", "two", "three"], "accepted");
    assert_eq!(code, 0, "{error}");
    let (code, text, _) = wattle(root, &["subscribe", "fan", "--at", "b", "--count", "3"]);
    assert_eq!((code, text.as_str()), (0, "one\ntwo\nthree\n"));
    let shown =
        until(root, &["stream", "show", "fan"], |text| text.contains("target b          processed 3")).await;
    assert!(shown.contains("completed   0"), "all means c, too: {shown}");
    let (code, text, error) = detach(root, "c", "it burnt");
    assert_eq!(code, 0, "{error}");
    assert!(text.contains("goes on with its other members. c was detached: it burnt."), "{text}");
    let shown = until(root, &["stream", "show", "fan"], |text| text.contains("released    3")).await;
    assert!(shown.contains("completed   3") && shown.contains("c was detached: it burnt"), "{shown}");
    let (code, text, error) = detach(root, "c", "again");
    assert_eq!((code, text.contains("it burnt")), (0, true), "it is out for good: {text}{error}");
    let (code, _, error) = detach(root, "b", "too");
    assert_eq!(code, 1);
    assert!(error.contains("b is the last target of this stream"), "{error}");

    c.spawn();
    c.ready().await;
    until(root, &["stream", "show", "fan", "--node", "c"], |text| text.contains("c was detached")).await;
    let (code, _, error) = wattle(root, &["subscribe", "fan", "--at", "c", "--count", "1"]);
    assert_ne!(code, 0);
    assert!(
        error.contains("this node was taken out of the stream and serves it no more: it burnt"),
        "{error}"
    );
    // The source alone votes now, and goes on alone.
    let lines = ["one", "two", "three", "four"];
    let (code, _, error) = publish(root, &lines, "replicated");
    assert_eq!(code, 0, "{error}");
    let members = common::json(root, &["stream", "members", "fan"]);
    assert_eq!(members["targets"], serde_json::json!(["b"]), "{members}");
    assert_eq!(members["out"][0]["node"], "c", "{members}");
    drop(a);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_lives_is_drained_unless_the_policy_needs_it() {
    let root = tempfile::tempdir().expect("a directory");
    let root = root.path();
    let _mesh = common::line(root, "").await;
    let open =
        ["stream", "open", "fan", "--source", "a", "--target", "b", "--target", "c", "--complete", "b"];
    assert_eq!(wattle(root, &open).0, 0);
    let drain = |node: &str| wattle(root, &["stream", "members", "fan", "--drain", node]);
    let (code, _, error) = drain("b");
    assert_eq!(code, 1);
    assert!(error.contains("b is the last of those by whom a message must be processed"), "{error}");
    let (code, _, error) = publish(root, &["one", "two"], "replicated");
    assert_eq!(code, 0, "{error}");
    for node in ["b", "c"] {
        let (code, text, _) = wattle(root, &["subscribe", "fan", "--at", node, "--count", "2"]);
        assert_eq!((code, text.as_str()), (0, "one\ntwo\n"));
    }
    let (code, text, error) = drain("c");
    assert_eq!(code, 0, "{error}");
    assert!(text.contains("c was drained: an operator had it drained."), "{text}");
    let (code, _, error) = publish(root, &["one", "two", "three"], "replicated");
    assert_eq!(code, 0, "{error}");
    let (code, _, error) = wattle(root, &["subscribe", "fan", "--at", "c", "--count", "1"]);
    assert_ne!(code, 0);
    assert!(error.contains("this node was taken out of the stream"), "{error}");
    let (_, text, _) = wattle(root, &["subscribe", "fan", "--at", "b", "--count", "1"]);
    assert_eq!(text, "three\n");
    until(root, &["stream", "show", "fan"], |text| text.contains("released    3")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_is_added_to_a_stream_that_goes_on_and_completes_what_follows_with_the_other() {
    let root = tempfile::tempdir().expect("a directory");
    let root = root.path();
    let [_a, _b, mut c] = common::line(root, "").await;
    assert_eq!(wattle(root, &["stream", "open", "fan", "--source", "a", "--target", "b"]).0, 0);
    let (code, _, error) = publish(root, &["one", "two", "three", "four"], "accepted");
    assert_eq!(code, 0, "{error}");
    let (code, text, _) = wattle(root, &["subscribe", "fan", "--at", "b", "--count", "2"]);
    assert_eq!((code, text.as_str()), (0, "one\ntwo\n"));
    until(root, &["stream", "show", "fan"], |text| text.contains("released    2")).await;

    let add = |node: &str, from: &str| {
        wattle(root, &["stream", "members", "fan", "--add", node, "--from", from, "--node", "a"])
    };
    for (node, from, says) in [
        ("a", "now", "is the source of this stream"),
        ("b", "now", "b is a target of this stream already"),
        ("z", "now", "no member of the mesh is called"),
        ("c", "2", "message 2 is not kept any more: the first that is kept is 3"),
        ("c", "6", "message 6 is above the end of the stream, which is 4"),
        ("c", "0", "they are counted from 1"),
        ("c", "then", "say first-kept, now"),
    ] {
        let (code, text, error) = add(node, from);
        assert_ne!(code, 0, "{node} from {from}: {text}");
        assert!(error.contains(says), "{node} from {from}: {error}");
    }
    let (code, text, error) = add("c", "first-kept");
    assert_eq!(code, 0, "{error}");
    assert!(text.contains("c was added, and is handed everything from message 3 on"), "{text}");
    let (_, text, error) = add("c", "now");
    assert!(text.contains("from message 3 on"), "asking again tells how it is: {text}{error}");
    // What was there before it is completed by the other alone; what follows by both.
    let lines = ["one", "two", "three", "four", "five"];
    let (code, _, error) = publish(root, &lines, "replicated");
    assert_eq!(code, 0, "{error}");
    let (_, text, _) = wattle(root, &["subscribe", "fan", "--at", "b", "--count", "3"]);
    assert_eq!(text, "three\nfour\nfive\n");
    let shown = until(root, &["stream", "show", "fan"], |text| text.contains("completed   4")).await;
    assert!(shown.contains("released    2"), "{shown}");
    c.kill();
    c.spawn();
    c.ready().await;
    // Since its start it need not have heard yet that it is one.
    until(root, &["stream", "members", "fan", "--node", "c"], |text| text.contains("c was added")).await;
    let (_, text, error) = wattle(root, &["subscribe", "fan", "--at", "c", "--count", "3"]);
    assert_eq!(text, "three\nfour\nfive\n", "{error}");
    until(root, &["stream", "show", "fan"], |text| {
        text.contains("completed   5") && text.contains("released    5")
    })
    .await;
    let members = common::json(root, &["stream", "members", "fan"]);
    assert_eq!(members["targets"], serde_json::json!(["b", "c"]), "{members}");
    assert_eq!(members["added"], serde_json::json!([{ "node": "c", "first": 3 }]), "{members}");

    let (code, text, error) = wattle(root, &["stream", "members", "fan", "--drain", "c"]);
    assert_eq!(code, 0, "{error}");
    assert!(text.contains("c was drained: an operator had it drained."), "{text}");
    let (code, _, error) = publish(root, &["one", "two", "three", "four", "five", "six"], "replicated");
    assert_eq!(code, 0, "{error}");
    let (_, text, _) = wattle(root, &["subscribe", "fan", "--at", "b", "--count", "1"]);
    assert_eq!(text, "six\n");
    until(root, &["stream", "show", "fan"], |text| text.contains("released    6")).await;
    let (code, _, error) = add("c", "now");
    assert_ne!(code, 0);
    assert!(error.contains("it does not come back to this life of the stream"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_stands_still_is_told_and_detached_where_its_stream_says_so() {
    let root = tempfile::tempdir().expect("a directory");
    let root = root.path();
    let [_a, _b, _c] = common::line(root, "").await;
    until(root, &["status", "--node", "b"], |text| text.contains("voters a, b, c")).await;
    let open = ["stream", "open", "fan", "--from", "a", "--to", "b", "--to", "c"];
    let detaching = |after| [&open[..], &["--detach-after", after]].concat();
    let (code, _, error) = wattle(root, &detaching("999ms"));
    assert_eq!(code, 1);
    assert!(error.contains("detached after 1 s to 100 years"), "{error}");
    assert_eq!(wattle(root, &detaching("4s")).0, 0);
    let (code, _, error) = wattle(root, &open);
    assert_eq!(code, 1, "that is another stream");
    assert!(error.contains("a to b, c, detaches who processes nothing for 4s: close it first"), "{error}");
    let patient = ["stream", "open", "patient", "--from", "a", "--to", "b", "--to", "c"];
    assert_eq!(wattle(root, &patient).0, 0);

    let (code, _, error) = publish(root, &["one", "two"], "accepted");
    assert_eq!(code, 0, "{error}");
    let path = root.join("lines");
    let (code, _, error) =
        wattle(root, &["publish", "patient", path.to_str().expect("text"), "--wait", "accepted"]);
    assert_eq!(code, 0, "{error}");
    for stream in ["fan", "patient"] {
        let (_, text, _) = wattle(root, &["subscribe", stream, "--at", "b", "--count", "2"]);
        assert_eq!(text, "one\ntwo\n");
    }
    let detached = "c was detached: it processed nothing for 4 s";
    let shown = until(root, &["stream", "show", "fan"], |text| text.contains(detached)).await;
    assert!(shown.contains("detaches    who processes nothing for 4s"), "{shown}");
    until(root, &["stream", "show", "fan"], |text| text.contains("released    2")).await;
    let shown = wattle(root, &["stream", "show", "patient"]).1;
    assert!(shown.contains("target c          processed 0, 2 behind, nothing for "), "{shown}");
    assert!(!shown.contains("detach"), "{shown}");
    // The last one stays, however long it takes.
    let (code, _, error) = publish(root, &["one", "two", "three"], "accepted");
    assert_eq!(code, 0, "{error}");
    tokio::time::sleep(std::time::Duration::from_secs(9)).await;
    let shown = wattle(root, &["stream", "show", "fan"]).1;
    assert!(shown.contains("target b          processed 2, 1 behind, nothing for "), "{shown}");
    let (code, _, error) = wattle(root, &["stream", "members", "fan", "--detach", "b", "--reason", "too"]);
    assert_eq!(code, 1);
    assert!(error.contains("b is the last target of this stream"), "{error}");
}
