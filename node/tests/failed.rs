//! A stream that fails by a message that a handler cannot process: real processes, and what an operator types.

mod common;

use std::path::Path;
use std::time::Duration;

use common::{Process, until, wattle};
use serde_json::Value;
use wattle_proto::api::subscribe_request::Request;
use wattle_proto::api::subscribe_response::Response;
use wattle_proto::api::{Acknowledge, Attach, SubscribeRequest};

fn done(root: &Path, arguments: &[&str]) -> String {
    let (code, text, error) = wattle(root, arguments);
    assert_eq!(code, 0, "{arguments:?}: {error}");
    text
}

fn publish(root: &Path, from: u64, lines: &[String], wait: &str) -> (i32, String) {
    let path = root.join(format!("lines-{from}"));
    std::fs::write(&path, lines.join("\n") + "\n").expect("written");
    let file = path.to_str().expect("text");
    let writer = format!("lines-{from}");
    let (code, _, error) =
        wattle(root, &["publish", "words", file, "--node", "a", "--writer", &writer, "--wait", wait]);
    (code, error)
}

fn lines(numbers: std::ops::RangeInclusive<u64>) -> Vec<String> {
    numbers.map(|at| format!("{{\"put\": \"k{at:02}\", \"value\": {at}}}")).collect()
}

/// Three nodes in a line, and a stream from the first to the last, which has a handler that keeps values.
async fn line(root: &Path) -> [Process; 3] {
    let handlers = "\n[[handler]]\nstream = \"words\"\nkind = \"store\"\nkeep = \"values\"\nbatch = 4\n";
    let [a, b, mut c] = common::line(root, "").await;
    done(root, &["stream", "close", "words"]);
    c.kill();
    c.configure(false, &[b.mesh_address], handlers);
    c.spawn();
    c.ready().await;
    done(
        root,
        &["stream", "open", "words", "--from", "a", "--to", "c", "--poison", "fail", "--attempts", "3"],
    );
    [a, b, c]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_takes_nothing_in_from_the_last_attempt_to_a_resume_whatever_starts_in_between() {
    let root = tempfile::tempdir().expect("a directory");
    let root = root.path();
    let [_a, _b, mut c] = line(root).await;
    let mut first = lines(1..=10);
    first[6] = "this is no JSON".to_owned();
    assert_eq!(publish(root, 1, &first, "accepted"), (0, String::new()));
    let why = "failed 3 times at message 7";
    until(root, &["stream", "show", "words", "--node", "a"], |text| {
        text.contains(why) && text.contains("`wattle stream resume words`")
    })
    .await;
    let (code, error) = publish(root, 11, &lines(11..=12), "accepted");
    assert!(code != 0 && error.contains(why) && error.contains("no JSON"), "{code}: {error}");
    let shown: Value =
        serde_json::from_str(&done(root, &["stream", "show", "words", "-o", "json"])).expect("JSON");
    let failed = &shown["rules"][0]["failed"];
    assert_eq!(
        (&failed["target"], &failed["sequence"], &failed["attempts"]),
        (&"c".into(), &7.into(), &3.into()),
        "{shown}"
    );
    assert_eq!(shown["fail_after"], 3);
    assert!(done(root, &["status"]).contains("stream words failed"));

    // Neither a start nor another handler is a reason to try it again.
    c.kill();
    c.spawn();
    c.ready().await;
    until(root, &["stream", "show", "words"], |text| text.contains("done 6")).await;
    let mut data = c.data().await.expect("c answers");
    let (requests, stream) = tokio::sync::mpsc::channel(8);
    let attach = Attach { stream: "words".into(), window: 8, take_over: true, ..Attach::default() };
    let say = async |request| requests.send(SubscribeRequest { request: Some(request) }).await.expect("room");
    say(Request::Attach(attach)).await;
    let stream = tokio_stream::wrappers::ReceiverStream::new(stream);
    let mut responses = data.subscribe_client_data(stream).await.expect("attached").into_inner();
    let attached = responses.message().await.expect("answered").expect("an answer");
    assert!(matches!(attached.response, Some(Response::Attached(_))));
    let early = tokio::time::timeout(Duration::from_secs(2), responses.message()).await;
    assert!(early.is_err(), "nothing is handed over: {early:?}");
    let (code, _) = publish(root, 11, &lines(11..=12), "accepted");
    assert_ne!(code, 0);

    // A resume is.
    let told = done(root, &["stream", "resume", "words"]);
    assert!(told.contains("Neither paused, nor throttled, nor failed"), "{told}");
    let mut handed = Vec::new();
    while handed.len() < 4 {
        let response = responses.message().await.expect("handed over").expect("a message");
        let Some(Response::Messages(messages)) = response.response else { continue };
        handed.extend(messages.messages.iter().map(|message| message.sequence));
    }
    assert_eq!(handed, [7, 8, 9, 10]);
    say(Request::Acknowledge(Acknowledge { first: 7, last: 10 })).await;
    let publishing = {
        let root = root.to_owned();
        std::thread::spawn(move || publish(&root, 11, &lines(11..=12), "completed"))
    };
    let mut last = 10;
    while last < 12 {
        let response = responses.message().await.expect("handed over").expect("a message");
        let Some(Response::Messages(messages)) = response.response else { continue };
        last = messages.messages.iter().map(|message| message.sequence).max().expect("some");
        say(Request::Acknowledge(Acknowledge { first: 11, last })).await;
    }
    assert_eq!(publishing.join().expect("it ends").0, 0);
    assert!(!done(root, &["status"]).contains("failed and takes nothing in"));
}
