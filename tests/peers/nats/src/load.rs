//! Publish, process, acknowledge twice: what a writer does who wants to know that a message was processed.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_nats::Client;
use async_nats::jetstream::consumer::{AckPolicy, Consumer, pull};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::{self, Context, stream};
use bytes::Bytes;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use hdrhistogram::Histogram;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use crate::Failure;

/// How long anything may take that must come to pass.
pub const PATIENCE: Duration = Duration::from_secs(30);
const AGAIN: Duration = Duration::from_millis(5);
/// Where in a payload stands when it was due, and which it is.
const STAMP: usize = 16;

/// How messages are published and acknowledged.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Messages under way in each stream at most.
    pub window: usize,
    /// Messages a second, whatever is under way.
    pub rate: Option<u32>,
    pub bytes: usize,
    /// The window counts what is not stored; otherwise what is not confirmed to the handler.
    pub loose: bool,
    /// The handler confirms all up to a message at once; otherwise each.
    pub ranges: bool,
    /// Servers may go away.
    pub kills: bool,
}

/// What the two ends were told. Latencies are microseconds from when a message was due.
pub struct Seen {
    begun: Instant,
    counts: AtomicBool,
    stop: AtomicBool,
    stored: Mutex<Histogram<u64>>,
    confirmed: Mutex<Histogram<u64>>,
    published: AtomicU64,
    completed: AtomicU64,
    moved_micros: AtomicU64,
    longest_micros: AtomicU64,
    repeated: AtomicU64,
    again: AtomicU64,
}

/// An empty histogram of microseconds, for up to some minutes.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 600_000_000, 3).expect("these bounds are sound")
}

impl Seen {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            begun: Instant::now(),
            counts: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            stored: Mutex::new(histogram()),
            confirmed: Mutex::new(histogram()),
            published: AtomicU64::new(0),
            completed: AtomicU64::new(0),
            moved_micros: AtomicU64::new(0),
            longest_micros: AtomicU64::new(0),
            repeated: AtomicU64::new(0),
            again: AtomicU64::new(0),
        })
    }

    fn micros(&self) -> u64 {
        self.begun.elapsed().as_micros() as u64
    }

    fn record(&self, histogram: &Mutex<Histogram<u64>>, due_micros: u64) {
        if self.counts.load(Ordering::Relaxed) && !self.stop.load(Ordering::Relaxed) {
            let took = self.micros().saturating_sub(due_micros);
            histogram.lock().unwrap_or_else(PoisonError::into_inner).saturating_record(took);
        }
    }

    fn on_confirmed(&self, due_micros: u64) {
        self.record(&self.confirmed, due_micros);
        let now = self.micros();
        let before = self.moved_micros.swap(now, Ordering::Relaxed);
        self.longest_micros.fetch_max(now.saturating_sub(before), Ordering::Relaxed);
        self.completed.fetch_add(1, Ordering::Relaxed);
    }

    pub fn completed(&self) -> u64 {
        self.completed.load(Ordering::Relaxed)
    }

    pub fn published(&self) -> u64 {
        self.published.load(Ordering::Relaxed)
    }

    /// Messages that a handler was handed again, and requests that had to be made again.
    pub fn repetitions(&self) -> (u64, u64) {
        (self.repeated.load(Ordering::Relaxed), self.again.load(Ordering::Relaxed))
    }

    pub fn forget_longest(&self) {
        self.longest_micros.store(0, Ordering::Relaxed);
    }

    pub fn longest(&self) -> Duration {
        Duration::from_micros(self.longest_micros.load(Ordering::Relaxed))
    }

    pub fn count_from_now(&self) {
        self.counts.store(true, Ordering::Relaxed);
    }

    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    pub fn stored(&self) -> Histogram<u64> {
        self.stored.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn confirmed(&self) -> Histogram<u64> {
        self.confirmed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A stream with three replicas in files.
pub fn stream_named(name: &str) -> stream::Config {
    stream::Config {
        name: name.to_owned(),
        subjects: vec![name.to_owned()],
        num_replicas: 3,
        storage: stream::StorageType::File,
        ..stream::Config::default()
    }
}

/// The consumer of a stream, with as many replicas.
async fn consumer(context: &Context, name: &str, load: Load) -> Result<Consumer<pull::Config>, Failure> {
    let settings = pull::Config {
        durable_name: Some("done".to_owned()),
        ack_policy: if load.ranges { AckPolicy::All } else { AckPolicy::Explicit },
        ack_wait: if load.kills { Duration::from_secs(2) } else { PATIENCE },
        max_ack_pending: 65_536,
        ..pull::Config::default()
    };
    let begun = Instant::now();
    loop {
        match context.create_consumer_on_stream(settings.clone(), name).await {
            Ok(consumer) => return Ok(consumer),
            Err(error) if begun.elapsed() > PATIENCE => return Err(error.into()),
            Err(_) => tokio::time::sleep(AGAIN).await,
        }
    }
}

/// A load that goes on until it is told to stop and all is confirmed.
pub struct Running {
    publishers: JoinSet<()>,
    _handlers: JoinSet<()>,
}

impl Running {
    /// Begins once all consumers are there.
    pub async fn begin(
        publisher: &Client,
        handler: &Client,
        names: &[String],
        load: Load,
        seen: &Arc<Seen>,
    ) -> Result<Self, Failure> {
        let timeout = if load.kills { Duration::from_millis(500) } else { PATIENCE };
        let context = jetstream::context::ContextBuilder::new()
            .timeout(timeout)
            .ack_timeout(timeout)
            .max_ack_inflight(1 << 20)
            .build(publisher.clone());
        let handling = jetstream::new(handler.clone());
        let mut making = futures_util::stream::iter(names.iter().map(|name| consumer(&handling, name, load)))
            .buffer_unordered(32);
        let mut consumers = Vec::new();
        while let Some(made) = making.next().await {
            consumers.push(made?);
        }
        drop(making);
        let (mut publishers, mut handlers) = (JoinSet::new(), JoinSet::new());
        let windows: Vec<_> = names.iter().map(|_| Arc::new(Semaphore::new(load.window))).collect();
        for consumer in consumers {
            let of = names.iter().position(|name| *name == consumer.cached_info().stream_name).expect("ours");
            let handler = Handler {
                client: handler.clone(),
                consumer,
                load,
                window: Arc::clone(&windows[of]),
                seen: Arc::clone(seen),
                done: Vec::new(),
            };
            handlers.spawn(handler.run());
        }
        for (name, window) in names.iter().zip(windows) {
            let writer =
                Writer { context: context.clone(), name: name.clone(), load, window, seen: Arc::clone(seen) };
            publishers.spawn(writer.run());
        }
        Ok(Self { publishers, _handlers: handlers })
    }

    /// Waits until all that was published is confirmed.
    pub async fn end(mut self, seen: &Seen) -> Result<(), Failure> {
        let begun = Instant::now();
        while self.publishers.join_next().await.is_some() {}
        while seen.completed() < seen.published() {
            if begun.elapsed() > PATIENCE {
                let (all, done) = (seen.published(), seen.completed());
                return Err(format!("{done} of {all} messages were confirmed").into());
            }
            tokio::time::sleep(AGAIN).await;
        }
        Ok(())
    }
}

struct Writer {
    context: Context,
    name: String,
    load: Load,
    window: Arc<Semaphore>,
    seen: Arc<Seen>,
}

impl Writer {
    async fn run(self) {
        let mut pace = self.load.rate.map(|rate| pace(rate, Arc::clone(&self.seen)));
        let mut number = 0u64;
        loop {
            let due = match &mut pace {
                Some(due) => match due.recv().await {
                    Some(due) => due,
                    None => return,
                },
                None => {
                    self.window.acquire().await.expect("never closed").forget();
                    self.seen.micros()
                }
            };
            if self.seen.stop.load(Ordering::Relaxed) {
                return;
            }
            let mut payload = vec![b'x'; self.load.bytes.max(STAMP)];
            payload[..8].copy_from_slice(&due.to_le_bytes());
            payload[8..STAMP].copy_from_slice(&number.to_le_bytes());
            self.seen.published.fetch_add(1, Ordering::Relaxed);
            self.publish(due, number, payload.into()).await;
            number += 1;
        }
    }

    /// Sends it; the answer is awaited beside it.
    async fn publish(&self, due: u64, number: u64, payload: Bytes) {
        let message = PublishMessage::build().payload(payload).message_id(number.to_string());
        let sent = self.context.send_publish(self.name.clone(), message.clone()).await;
        let (context, name, seen) = (self.context.clone(), self.name.clone(), Arc::clone(&self.seen));
        let window = self.load.loose.then(|| Arc::clone(&self.window));
        tokio::spawn(async move {
            let mut sent = sent;
            loop {
                if let Ok(answer) = sent
                    && answer.await.is_ok()
                {
                    break;
                }
                seen.again.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(AGAIN).await;
                sent = context.send_publish(name.clone(), message.clone()).await;
            }
            seen.record(&seen.stored, due);
            if let Some(window) = window {
                window.add_permits(1);
            }
        });
    }
}

/// Tells when messages are due, on a thread of its own: a timer of the runtime would wake at whole milliseconds.
fn pace(rate: u32, seen: Arc<Seen>) -> mpsc::UnboundedReceiver<u64> {
    let (tell, due) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        let begun = seen.micros();
        for number in 1u64.. {
            let at = begun + number * 1_000_000 / u64::from(rate);
            std::thread::sleep(Duration::from_micros(at.saturating_sub(seen.micros())));
            if seen.stop.load(Ordering::Relaxed) || tell.send(at).is_err() {
                return;
            }
        }
    });
    due
}

struct Handler {
    client: Client,
    consumer: Consumer<pull::Config>,
    load: Load,
    window: Arc<Semaphore>,
    seen: Arc<Seen>,
    /// Which messages were confirmed.
    done: Vec<bool>,
}

/// Messages with when they were due and which they are, confirmed by one word to that subject.
type Batch = (async_nats::Subject, Vec<(u64, u64)>);

impl Handler {
    async fn run(mut self) {
        loop {
            // Asked again when the server that was asked is gone.
            let beat = Duration::from_millis(if self.load.kills { 250 } else { 5000 });
            let asking = self.consumer.stream().max_messages_per_batch(self.load.window.clamp(64, 16_384));
            match asking.heartbeat(beat).messages().await {
                Ok(messages) => self.serve(messages).await,
                Err(_) => tokio::time::sleep(AGAIN).await,
            }
            self.seen.again.fetch_add(1, Ordering::Relaxed);
        }
    }

    async fn serve(&mut self, mut messages: pull::Stream) {
        let mut confirming = FuturesUnordered::new();
        loop {
            tokio::select! {
                message = messages.next() => {
                    let Some(Ok(message)) = message else { break };
                    let mut batch = self.batch(&message);
                    while self.load.ranges
                        && let Some(next) = messages.next().now_or_never()
                    {
                        let Some(Ok(next)) = next else { break };
                        let (subject, more) = self.batch(&next);
                        batch.0 = subject;
                        batch.1.extend(more);
                    }
                    confirming.push(confirm(self.client.clone(), batch, Arc::clone(&self.seen)));
                }
                Some(batch) = confirming.next() => self.on_confirmed(batch),
            }
        }
        while let Some(batch) = confirming.next().await {
            self.on_confirmed(batch);
        }
    }

    fn batch(&self, message: &jetstream::Message) -> Batch {
        let word = |at: usize| {
            let bytes = message.payload.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
            u64::from_le_bytes(bytes.unwrap_or_default())
        };
        (message.reply.clone().unwrap_or_else(|| "".into()), vec![(word(0), word(8))])
    }

    fn on_confirmed(&mut self, messages: Vec<(u64, u64)>) {
        for (due, number) in messages {
            let at = number as usize;
            if self.done.len() <= at {
                self.done.resize(at + 1, false);
            }
            if std::mem::replace(&mut self.done[at], true) {
                self.seen.repeated.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            self.seen.on_confirmed(due);
            if !self.load.loose {
                self.window.add_permits(1);
            }
        }
    }
}

/// Acknowledges and waits until the server says that it has it.
async fn confirm(client: Client, (subject, messages): Batch, seen: Arc<Seen>) -> Vec<(u64, u64)> {
    loop {
        let asked = client.request(subject.clone(), Bytes::from_static(b"+ACK"));
        match tokio::time::timeout(PATIENCE, asked).await {
            Ok(Ok(_)) => return messages,
            Ok(Err(_)) | Err(_) => {
                seen.again.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}
