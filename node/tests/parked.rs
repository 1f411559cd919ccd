//! Messages that a handler cannot process: real processes, and what an operator types.

mod common;

use std::path::Path;
use std::time::{Duration, Instant};

use common::{Process, until, wattle};
use serde_json::Value;
use wattle_proto::api::subscribe_request::Request;
use wattle_proto::api::subscribe_response::Response;
use wattle_proto::api::{Acknowledge, Attach, Fail, Message, SubscribeRequest, SubscribeResponse};

fn done(root: &Path, arguments: &[&str]) -> String {
    let (code, text, error) = wattle(root, arguments);
    assert_eq!(code, 0, "{arguments:?}: {error}");
    text
}

fn json(root: &Path, arguments: &[&str]) -> Value {
    serde_json::from_str(&done(root, &[arguments, &["-o", "json"]].concat())).expect("JSON")
}

/// Three nodes in a line, and a stream from the first to the last, which has a handler that keeps values.
async fn line(root: &Path, attempts: &str) -> [Process; 3] {
    let handlers = "\n[[handler]]\nstream = \"words\"\nkind = \"store\"\nkeep = \"values\"\nbatch = 4\n";
    let [a, b, mut c] = common::line(root, "").await;
    done(root, &["stream", "close", "words"]);
    c.kill();
    c.configure(false, &[b.mesh_address], handlers);
    c.spawn();
    c.ready().await;
    let open =
        ["stream", "open", "words", "--from", "a", "--to", "c", "--poison", "park", "--attempts", attempts];
    done(root, &open);
    [a, b, c]
}

fn publish(root: &Path, lines: &[String]) {
    let path = root.join("lines");
    std::fs::write(&path, lines.join("\n") + "\n").expect("written");
    let file = path.to_str().expect("text");
    done(root, &["publish", "words", file, "--node", "a", "--writer", "lines", "--wait", "completed"]);
}

fn parked(root: &Path) -> Vec<u64> {
    let list = json(root, &["stream", "parked", "list", "words", "--at", "c"]);
    let list = list.as_array().expect("a list").clone();
    list.iter().map(|message| message["sequence"].as_u64().expect("a number")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_handler_fails_at_is_parked_shown_tried_again_and_discarded_and_outlives_a_kill() {
    let root = tempfile::tempdir().expect("a directory");
    let root = root.path();
    let [_a, _b, mut c] = line(root, "3").await;
    let mut lines: Vec<String> =
        (1..=40).map(|at| format!("{{\"put\": \"k{at:02}\", \"value\": {at}}}")).collect();
    for bad in [7, 8, 30] {
        lines[bad - 1] = format!("this is no JSON: {bad}");
    }
    publish(root, &lines);
    assert_eq!(parked(root), [7, 8, 30]);
    let stored = done(root, &["stream", "stored", "words", "--at", "c"]);
    assert_eq!(stored.lines().count(), 37, "the others went on");
    let shown = done(root, &["stream", "show", "words"]);
    assert!(shown.contains("; 3 parked") && shown.contains("parked after 3 attempts"), "{shown}");
    let shown = json(root, &["stream", "show", "words"]);
    assert_eq!((&shown["completed"], &shown["targets"][0]["parked"]), (&40.into(), &3.into()));
    let one = json(root, &["stream", "parked", "show", "words", "8", "--at", "c"]);
    assert_eq!((&one["text"], &one["attempts"]), (&"this is no JSON: 8".into(), &3.into()));
    assert!(one["reason"].as_str().is_some_and(|why| why.contains("it is no JSON")), "{one}");

    // A source that is asked says where to ask, and the disk of the target keeps what it parked.
    c.kill();
    c.spawn();
    c.ready().await;
    assert_eq!(
        json(root, &["stream", "parked", "list", "words", "--node", "a"]).as_array().map(Vec::len),
        Some(3)
    );
    until(root, &["stream", "show", "words"], |text| text.contains("done 40, attached")).await;
    let (code, _, error) = wattle(root, &["stream", "parked", "retry", "words", "8", "--at", "c"]);
    assert!(code != 0 && error.contains("message 8 failed again (4 times)"), "{code}: {error}");
    let discard = ["stream", "parked", "discard", "words", "30", "--at", "c", "--reason", "of no use"];
    done(root, &discard);
    let (code, _, error) = wattle(root, &discard);
    assert!(code != 0 && error.contains("message 30 is not parked at this target"), "{code}: {error}");
    assert_eq!(parked(root), [7, 8]);

    // Another handler takes them.
    let mut data = c.data().await.expect("c answers");
    let (requests, stream) = tokio::sync::mpsc::channel(8);
    let attach = Attach { stream: "words".into(), window: 8, take_over: true, ..Attach::default() };
    let say = async |request| requests.send(SubscribeRequest { request: Some(request) }).await.expect("room");
    say(Request::Attach(attach)).await;
    let stream = tokio_stream::wrappers::ReceiverStream::new(stream);
    let mut responses = data.subscribe_client_data(stream).await.expect("attached").into_inner();
    let attached = responses.message().await.expect("answered").expect("an answer");
    assert!(matches!(attached.response, Some(Response::Attached(_))));
    let retry = {
        let root = root.to_owned();
        std::thread::spawn(move || done(&root, &["stream", "parked", "retry", "words", "--all", "--at", "c"]))
    };
    for sequence in [7, 8] {
        let message = next(&mut responses).await;
        assert_eq!((message.sequence, message.parked), (sequence, true));
        assert_eq!(message.data, lines[sequence as usize - 1].as_bytes());
        say(Request::Acknowledge(Acknowledge { first: sequence, last: sequence })).await;
    }
    assert!(retry.join().expect("it ends").contains("2 messages were processed"));
    assert!(parked(root).is_empty());

    // It fails at the next message itself.
    lines.push("the last".into());
    let publishing = {
        let (root, lines) = (root.to_owned(), lines.clone());
        std::thread::spawn(move || publish(&root, &lines))
    };
    assert_eq!(next(&mut responses).await.sequence, 41);
    for attempt in 1..=3 {
        say(Request::Fail(Fail { sequence: 41, reason: format!("attempt {attempt}") })).await;
        let answer = responses.message().await.expect("answered").expect("an answer");
        let Some(Response::Failed(failed)) = answer.response else { panic!("{answer:?}") };
        assert_eq!((failed.sequence, failed.passed), (41, attempt == 3));
    }
    publishing.join().expect("completed");
    c.kill();
    c.spawn();
    c.ready().await;
    assert_eq!(parked(root), [41]);
    let all = ["stream", "parked", "discard", "words", "--all", "--at", "c", "--reason", "the end"];
    assert_eq!(json(root, &all)["discarded"], serde_json::json!([41]));
    let begun = Instant::now();
    while json(root, &["stream", "show", "words"])["targets"][0]["parked"] != 0 {
        assert!(begun.elapsed() < Duration::from_secs(20), "the source hears of it");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn next(responses: &mut tonic::Streaming<SubscribeResponse>) -> Message {
    let response = responses.message().await.expect("handed over").expect("a message");
    match response.response {
        Some(Response::Messages(mut batch)) => batch.messages.remove(0),
        other => panic!("{other:?}"),
    }
}
