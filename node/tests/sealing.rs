//! A stream whose source is lost, with real processes: what an operator types, what the target still hands over, and what the source finds when it comes
//! back.

mod common;

use common::{Handler, json, until, wattle};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_goes_on_without_its_source_and_the_source_keeps_what_is_void() {
    let root = tempfile::tempdir().expect("a directory");
    let [mut a, b, mut c] = common::line(root.path(), "").await;
    let root = root.path();
    until(root, &["status", "--node", "b"], |text| {
        text.contains("voters a, b, c") && text.contains("HEALTHY: all 3")
    })
    .await;
    let publish = |what: &str, count: usize, wait: &str| {
        let file = root.join(format!("{what}.txt"));
        let lines: String = (0..count).map(|line| format!("{what} {line}\n")).collect();
        std::fs::write(&file, lines).expect("written");
        let file = file.display().to_string();
        wattle(root, &["publish", "words", &file, "--wait", wait, "--node", "a"])
    };
    let (code, text, error) = publish("held", 3, "replicated");
    assert_eq!(code, 0, "{text}{error}");
    let (code, _, error) = wattle(root, &["stream", "seal", "words", "--lost", "a", "--node", "b"]);
    assert_eq!(code, 1);
    assert!(error.contains("a, named lost, can be reached now"), "{error}");

    // What the source accepts while nobody hears it, it alone holds.
    c.kill();
    let (code, text, error) = publish("void", 2, "accepted");
    assert_eq!(code, 0, "{text}{error}");
    a.kill();
    c.spawn();
    c.ready().await;
    let settled = until(root, &["stream", "seal", "words", "--lost", "a", "--node", "b"], |text| {
        text.contains("is sealed at message 3, without a, and goes on under authority 1 from the log of c")
    });
    let settled = settled.await;
    assert!(settled.contains("What a accepted above message 3 is void"), "{settled}");
    let data = c.data().await.expect("it serves");
    let mut handler = Handler::attach(data, 8).await;
    let mut seen = 0;
    while seen < 3 {
        let messages = handler.next().await.expect("messages");
        seen = messages.last().expect("one at least").sequence;
        assert!(handler.acknowledge(seen).await);
    }
    assert_eq!(seen, 3, "everything up to the sealed end");
    until(root, &["stream", "show", "words", "--node", "c", "-o", "json"], |text| {
        text.contains("\"completed\":3")
    })
    .await;

    a.spawn();
    a.ready().await;
    until(root, &["stream", "show", "words", "--node", "a", "-o", "json"], |text| {
        text.contains("\"orphaned\":2")
    })
    .await;
    // Void messages are nothing that is there already.
    let (code, _, error) = publish("void", 2, "accepted");
    assert_eq!(code, 1, "{error}");
    assert!(error.contains("this node is shut out of it"), "{error}");
    let (code, _, error) = publish("late", 1, "accepted");
    assert_eq!(code, 1, "{error}");
    assert!(error.contains("this node is shut out of it"), "{error}");
    let status = json(root, &["stream", "show", "words", "--node", "b"]);
    assert_eq!(status["seal"]["sequence"], 3, "{status}");
    let (code, _, error) = wattle(root, &["stream", "close", "words", "--node", "b"]);
    assert_eq!(code, 0, "{error}");
    drop(b);
}
