//! Publishes at an even pace, whatever is killed.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use wattle_proto::api::{Level, PublishRequest, publish_response};

use super::{Load, Node, message};

const BATCH: u64 = 200;

/// Batches at an even pace from `first` on.
async fn send(requests: mpsc::Sender<PublishRequest>, load: Load, start: Instant, first: u64) {
    let mut next = first;
    while next <= load.messages {
        let due = load.publishing.mul_f64(next as f64 / load.messages as f64);
        tokio::time::sleep(due.saturating_sub(start.elapsed())).await;
        let last = (next + BATCH - 1).min(load.messages);
        let request = PublishRequest {
            stream: "words".into(),
            writer: Bytes::from_static(&[7; 16]),
            first: next,
            messages: (next..=last).map(message).collect(),
            wait: Level::Accepted.into(),
            ..PublishRequest::default()
        };
        if requests.send(request).await.is_err() {
            return;
        }
        next = last + 1;
    }
}

/// Publishes everything, and repeats under the same numbers whatever was not answered. How often it called.
pub(crate) async fn publish(source: Node, load: Load) -> u64 {
    let start = Instant::now();
    let (mut accepted, mut calls) = (0, 0);
    while accepted < load.messages {
        let client = source.process.lock().await.data().await;
        if let Some(mut client) = client {
            calls += 1;
            let (requests, stream) = mpsc::channel(4);
            let sender = tokio::spawn(send(requests, load, start, accepted + 1));
            if let Ok(answer) = client.publish_client_data(ReceiverStream::new(stream)).await {
                let mut answers = answer.into_inner();
                while accepted < load.messages {
                    match answers.message().await.map(|answer| answer.and_then(|answer| answer.answer)) {
                        Ok(Some(publish_response::Answer::Receipt(receipt))) => {
                            accepted = accepted.max(receipt.last_writer);
                            source.done.store(accepted, Ordering::Relaxed);
                        }
                        // Refused, or the node is gone: begin again behind what is accepted for certain.
                        Ok(
                            Some(publish_response::Answer::Refused(_) | publish_response::Answer::Staged(_))
                            | None,
                        )
                        | Err(_) => break,
                    }
                }
            }
            sender.abort();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    calls
}
