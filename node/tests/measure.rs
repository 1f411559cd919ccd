//! The figures of docs/PERFORMANCE.md, over three real processes:
//! `cargo test --release -p wattle-node --test measure -- --ignored --nocapture`

mod common;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::{Data, Handler};
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use wattle_proto::api::{Level, PublishRequest, publish_response};

const SIZE: usize = 128;

fn percentile(sorted: &[Duration], per_mille: usize) -> Duration {
    sorted.get(sorted.len().saturating_sub(1) * per_mille / 1000).copied().unwrap_or_default()
}

/// p50 of an append of 4 KiB and a sync of its data, on the disk the nodes use.
fn sync_p50(dir: &Path) -> Duration {
    let mut file = File::create(dir.join("sync")).expect("a file");
    let mut times: Vec<Duration> = (0..300)
        .map(|_| {
            file.write_all(&[7; 4096]).expect("written");
            let start = Instant::now();
            file.sync_data().expect("synced");
            start.elapsed()
        })
        .collect();
    times.sort();
    percentile(&times, 500)
}

/// A handler that does nothing but say yes.
async fn agree(client: Data) {
    let mut handler = Handler::attach(client, 4096).await;
    while let Some(messages) = handler.next().await {
        let last = messages.last().map_or(0, |message| message.sequence);
        if !handler.acknowledge(last).await {
            return;
        }
    }
}

struct Load {
    writer: u8,
    messages: u64,
    batch: u64,
    /// Messages per second; `None` for as fast as `window` batches allow.
    rate: Option<u64>,
    window: usize,
}

/// Sends arrays, and tells the last message of each and when it was due.
async fn send(
    load: Load,
    requests: mpsc::Sender<PublishRequest>,
    sent: mpsc::UnboundedSender<(u64, Instant)>,
    permits: Arc<Semaphore>,
) -> mpsc::Sender<PublishRequest> {
    let start = Instant::now();
    let Load { writer, messages, batch, rate, .. } = load;
    let mut first = 1;
    while first <= messages {
        let last = (first + batch - 1).min(messages);
        let at = match rate {
            Some(rate) => {
                let at = start + Duration::from_secs_f64(first as f64 / rate as f64);
                tokio::time::sleep_until(at.into()).await;
                at
            }
            None => {
                permits.acquire().await.expect("open").forget();
                Instant::now()
            }
        };
        sent.send((last, at)).expect("open");
        let request = PublishRequest {
            stream: "words".into(),
            writer: Bytes::from(vec![writer; 16]),
            first,
            messages: (first..=last).map(|_| Bytes::from(vec![b'x'; SIZE])).collect(),
            wait: Level::Completed.into(),
        };
        requests.send(request).await.expect("open");
        first = last + 1;
    }
    // Kept until all is answered: its end would end the call.
    requests
}

/// Publishes and waits until all is completed. Times from the moment a batch was due, by level.
async fn publish(mut client: Data, load: Load) -> (Duration, BTreeMap<i32, Vec<Duration>>) {
    let (requests, stream) = mpsc::channel(load.window);
    let mut answers =
        client.publish_client_data(ReceiverStream::new(stream)).await.expect("a call").into_inner();
    let permits = Arc::new(Semaphore::new(load.window));
    let (sent, mut due) = mpsc::unbounded_channel();
    let start = Instant::now();
    let messages = load.messages;
    let sender = tokio::spawn(send(load, requests, sent, permits.clone()));
    let mut times: BTreeMap<i32, Vec<Duration>> = BTreeMap::new();
    let mut batches: BTreeMap<u64, Instant> = BTreeMap::new();
    let mut completed = 0;
    while completed < messages {
        let answer =
            answers.message().await.expect("the call goes on").expect("an answer").answer.expect("set");
        let now = Instant::now();
        let publish_response::Answer::Receipt(receipt) = answer else { panic!("refused: {answer:?}") };
        while let Ok((last, at)) = due.try_recv() {
            batches.insert(last, at);
        }
        // Receipts of different arrays come in any order.
        let run = receipt.first_writer..=receipt.last_writer;
        let newly: Vec<Duration> = batches.range(run).map(|(_, at)| now.duration_since(*at)).collect();
        if receipt.level == i32::from(Level::Completed) {
            permits.add_permits(newly.len());
            completed += receipt.last_writer - receipt.first_writer + 1;
        }
        times.entry(receipt.level).or_default().extend(newly);
    }
    let took = start.elapsed();
    drop(sender.await);
    times.values_mut().for_each(|times| times.sort());
    (took, times)
}

fn report(title: &str, messages: u64, took: Duration, times: &BTreeMap<i32, Vec<Duration>>, sync: Duration) {
    println!(
        "{title}: {:.0} messages/s; sync p50 {:?} in the same minute",
        messages as f64 / took.as_secs_f64(),
        sync
    );
    for (level, times) in times {
        let name = Level::try_from(*level).map_or("?", |level| level.as_str_name());
        let (p50, p99) = (percentile(times, 500), percentile(times, 990));
        println!(
            "  {name:18} p50 {p50:>10.2?}  p99 {p99:>10.2?}  ({:.1} syncs)",
            p50.as_secs_f64() / sync.as_secs_f64()
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures; run it by itself, in release"]
async fn figures() {
    let root = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let [a, _b, c] = common::line(root.path(), "").await;
    let handler = tokio::spawn(agree(c.data().await.expect("c answers")));
    let client = || async { a.data().await.expect("a answers") };
    let warm = Load { writer: 1, messages: 20_000, batch: 64, rate: None, window: 16 };
    publish(client().await, warm).await;

    let sync = sync_p50(root.path());
    let load = Load { writer: 2, messages: 10_000, batch: 1, rate: Some(1000), window: 4096 };
    let (took, times) = publish(client().await, load).await;
    report("open loop, 1,000 messages/s of 128 B, one at a time", 10_000, took, &times, sync);

    let sync = sync_p50(root.path());
    let load = Load { writer: 3, messages: 50_000, batch: 1, rate: None, window: 256 };
    let (took, times) = publish(client().await, load).await;
    report("closed loop, 256 outstanding, one at a time", 50_000, took, &times, sync);

    let sync = sync_p50(root.path());
    let load = Load { writer: 4, messages: 500_000, batch: 64, rate: None, window: 64 };
    let (took, times) = publish(client().await, load).await;
    report("closed loop, arrays of 64, 64 arrays outstanding", 500_000, took, &times, sync);
    handler.abort();
}
