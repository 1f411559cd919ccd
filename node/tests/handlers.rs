//! Handlers that nodes run by their settings: real processes, what an operator types, and what is kept when they are killed.

mod common;

use std::path::Path;
use std::time::{Duration, Instant};

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

/// Where the store of a node that does not run stands: its own command looks, and sets it to where it is.
fn positions(root: &Path, node: &Process) -> u64 {
    let file = node.dir.join("data/stored-words.redb");
    let at = |after: u64| {
        let file = file.to_str().expect("text");
        wattle(root, &["stream", "set-stored", file, "--after", &after.to_string(), "-o", "json"])
    };
    // Above all that was published: nothing is taken out.
    let (code, text, error) = at(1 << 40);
    if error.contains("has stored nothing yet") {
        return 0;
    }
    assert_eq!(code, 0, "{error}");
    let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let before = json["before"]["sequence"].as_u64().expect("a number");
    let (code, text, error) = at(before);
    assert_eq!(code, 0, "{error}");
    assert!(text.contains("\"removed\":0") || text.contains("\"removed\": 0"), "{text}");
    before
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
    let (mut met_work, mut last) = (false, 0);
    for round in 0..5 {
        lines.extend((0..2000).map(|number| format!("line {round} {number}")));
        let publisher = {
            let (root, lines) = (root.to_owned(), lines.clone());
            std::thread::spawn(move || publish(&root, &lines, "accepted"))
        };
        // In the middle of its work: some of it is there.
        let after = last.to_string();
        let begun = Instant::now();
        // (An error while the file is opened.)
        while wattle(root, &["stream", "stored", "words", "--at", "b", "--after", &after, "--count", "1"])
            .1
            .is_empty()
        {
            assert!(begun.elapsed() < Duration::from_secs(30), "nothing comes");
        }
        b.kill();
        let before = positions(root, &b);
        met_work |= before > last && before < lines.len() as u64;
        last = before;
        b.spawn();
        b.ready().await;
        publisher.join().expect("published");
    }
    assert!(met_work, "no kill came while messages went through");
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
    // (The mesh may not have heard yet that the node is back.)
    let closed = until(root, &["stream", "close", "words"], |text| !text.contains("CRITICAL")).await;
    assert!(!closed.contains("error"), "{closed}");
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_comes_late_says_what_to_do_and_goes_on_where_it_is_told() {
    let root = tempfile::tempdir().expect("a directory");
    let root = root.path();
    let [a, mut b] = pair(root, "\n[[handler]]\nstream = \"words\"\nkind = \"no-op\"\n").await;
    open(root);
    let store = "\n[[handler]]\nstream = \"words\"\nkind = \"store\"\n";
    let mut lines = Vec::new();
    let shown = loop {
        assert!(lines.len() < 200, "nothing goes");
        for _ in 0..10 {
            lines.push(format!("line {}", lines.len() + 1));
        }
        publish(root, &lines, "completed");
        // What both have done with goes in time.
        tokio::time::sleep(Duration::from_millis(1500)).await;
        b.kill();
        b.configure(false, &[a.mesh_address], store);
        b.spawn();
        b.ready().await;
        let settled =
            |text: &str| text.contains("attached") || text.contains("older than what this stream keeps");
        let shown = until(root, &["stream", "show", "words", "--node", "b"], settled).await;
        if shown.contains("older than") {
            break shown;
        }
        b.kill();
        std::fs::remove_file(b.dir.join("data/stored-words.redb")).expect("removed");
        b.configure(false, &[a.mesh_address], "\n[[handler]]\nstream = \"words\"\nkind = \"no-op\"\n");
        b.spawn();
        b.ready().await;
    };
    assert!(shown.contains("say begin = \"kept\""), "{shown}");
    let (_, status, _) = wattle(root, &["status", "--node", "b"]);
    assert!(status.contains("warning: the handler store of stream words"), "{status}");
    b.kill();
    b.configure(false, &[a.mesh_address], &format!("{store}begin = \"kept\"\n"));
    b.spawn();
    b.ready().await;
    lines.push("the last".to_owned());
    publish(root, &lines, "completed");
    let text = stored(root, &[]);
    let first: usize = text.split('\t').next().and_then(|number| number.parse().ok()).expect("a number");
    assert!(first > 1, "{text}");
    let expected: String = (first..=lines.len()).map(|at| format!("{at}\t{}\n", lines[at - 1])).collect();
    assert_eq!(text, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_only_looks_takes_nothing_from_a_handler_and_who_means_it_gives_it_back() {
    let root = tempfile::tempdir().expect("a directory");
    let root = root.path();
    let [_a, _b] = pair(root, "\n[[handler]]\nstream = \"words\"\nkind = \"no-op\"\n").await;
    open(root);
    let mut lines = vec!["one".to_owned()];
    publish(root, &lines, "completed");
    let look = ["subscribe", "words", "--at", "b", "--until", "2"];
    let (code, _, error) = wattle(root, &look);
    assert_eq!(code, 1, "{error}");
    assert!(error.contains("has a handler at this node, the no-op of its settings"), "{error}");
    assert!(error.contains("--take-over"), "{error}");
    lines.push("two".to_owned());
    publish(root, &lines, "completed");
    let (code, _, error) = wattle(root, &["stream", "handle", "words", "--at", "b"]);
    assert_eq!(code, 1);
    assert!(error.contains("has not ended"), "{error}");

    let taking = std::thread::scope(|scope| {
        let taking =
            scope.spawn(|| wattle(root, &["subscribe", "words", "--at", "b", "--until", "3", "--take-over"]));
        tokio::task::block_in_place(|| std::thread::sleep(Duration::from_millis(500)));
        lines.push("three".to_owned());
        publish(root, &lines, "completed");
        taking.join().expect("no panic")
    });
    assert_eq!((taking.0, taking.1.as_str()), (0, "three\n"), "{}", taking.2);
    let shown = until(root, &["status", "--node", "b"], |text| text.contains("ended: another handler")).await;
    assert!(shown.contains("`wattle stream handle words`"), "{shown}");
    let (code, _, error) = wattle(root, &["stream", "handle", "words", "--at", "b"]);
    assert_eq!(code, 0, "{error}");
    lines.push("four".to_owned());
    publish(root, &lines, "completed");
    let shown = until(root, &["stream", "show", "words"], |text| text.contains("done 4, attached")).await;
    assert!(!shown.contains("ended"), "{shown}");
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
    let one = |stream: &str| {
        format!("\n[[handler]]\nstream = \"{stream}\"\nkind = \"store\"\nfile = \"one.redb\"\n")
    };
    let log = start(&(one("words") + &one("more")));
    assert!(log.contains("one.redb is the file of another handler, too"), "{log}");
}
