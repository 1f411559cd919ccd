//! One of two targets stands still while the other is enough.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use wattle_proto::api::{Level, PublishRequest, StreamPolicy, publish_response};

use super::common::Data;
use super::{Node, asked, common, handle, message};

/// Messages a second.
const PACE: u64 = 1_000;
/// Messages in a request.
const BATCH: u64 = 50;

/// How long it took from when a message was due until it was told completed, sorted.
struct Latencies(Vec<Duration>);

impl Latencies {
    fn at(&self, per_thousand: usize) -> Duration {
        self.0[(self.0.len() - 1) * per_thousand / 1000]
    }
}

/// Publishes so many messages behind `before`, [`BATCH`] at once and at an even pace, whatever becomes of those before, and waits until all are completed.
async fn paced(mut source: Data, before: u64, messages: u64) -> Latencies {
    let start = Instant::now();
    let due = move |number: u64| {
        let batch = (number - before - 1) / BATCH;
        start + Duration::from_secs(1).mul_f64((batch * BATCH) as f64 / PACE as f64)
    };
    let (requests, stream) = mpsc::channel(1024);
    let sender = tokio::spawn(async move {
        for first in (before + 1..=before + messages).step_by(BATCH as usize) {
            tokio::time::sleep_until(due(first).into()).await;
            let request = PublishRequest {
                stream: "words".into(),
                writer: Bytes::from_static(&[7; 16]),
                first,
                messages: (first..first + BATCH).map(message).collect(),
                wait: Level::Completed.into(),
                ..PublishRequest::default()
            };
            requests.send(request).await.expect("the call goes on");
        }
    });
    let mut answers =
        source.publish_client_data(ReceiverStream::new(stream)).await.expect("answered").into_inner();
    let mut latencies = Vec::with_capacity(messages as usize);
    while (latencies.len() as u64) < messages {
        match answers.message().await.expect("the call goes on").and_then(|answer| answer.answer) {
            Some(publish_response::Answer::Receipt(receipt)) => {
                let now = Instant::now();
                let from = before + 1 + latencies.len() as u64;
                latencies.extend((from..=receipt.last_writer).map(|number| now - due(number)));
            }
            other => panic!("{other:?}"),
        }
    }
    sender.await.expect("all are sent");
    latencies.sort_unstable();
    Latencies(latencies)
}

/// What the source and the first target take in memory, in KiB.
async fn resident(nodes: &[Node; 3]) -> [u64; 2] {
    [nodes[0].process.lock().await.resident_kib(), nodes[1].process.lock().await.resident_kib()]
}

/// A signal by name to the process.
async fn signal(node: &Node, name: &str) {
    let pid = node.process.lock().await.pid().expect("running");
    let status = std::process::Command::new("kill").args(["-s", name, &pid.to_string()]).status();
    assert!(status.expect("kill runs").success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes 13 minutes"]
async fn a_target_that_stands_still_delays_nobody_where_the_other_is_enough() {
    let seconds = asked("WATTLE_SECONDS", 600);
    let before = seconds.min(120);
    let root = tempfile::tempdir().expect("a directory");
    let one = StreamPolicy { count: 1, named: Vec::new() };
    let processes = common::line_to(root.path(), "", &["b", "c"], Some(one)).await;
    let nodes = processes.map(Node::new);
    let all = PACE * (before + seconds);
    let handlers = [1, 2].map(|node| {
        let effects = root.path().join(format!("effects-{node}"));
        tokio::spawn(handle(nodes[node].clone(), effects, all))
    });
    let source = nodes[0].process.lock().await.data().await.expect("it answers");
    let with_both = paced(source.clone(), 0, PACE * before).await;
    let resident_before = resident(&nodes).await;
    signal(&nodes[2], "STOP").await;
    let with_one = paced(source, PACE * before, PACE * seconds).await;
    let resident_after = resident(&nodes).await;
    signal(&nodes[2], "CONT").await;
    let begun = Instant::now();
    for (handler, name) in handlers.into_iter().zip(["b", "c"]) {
        let effects = tokio::time::timeout(Duration::from_secs(300), handler).await;
        effects.expect("it catches up").expect("the handler does not fail").are_all_in_order(name, all);
    }
    println!(
        "{PACE} messages/s, with both: p50 {:.1?}, p99 {:.1?}; {seconds} s with one: p50 {:.1?}, p99 {:.1?} ({:.2}x); \
         resident at source and target before {resident_before:?} KiB, after {resident_after:?} KiB; caught up within {:.1?}",
        with_both.at(500),
        with_both.at(990),
        with_one.at(500),
        with_one.at(990),
        with_one.at(990).as_secs_f64() / with_both.at(990).as_secs_f64(),
        begun.elapsed()
    );
}
