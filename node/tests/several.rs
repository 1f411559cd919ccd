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
