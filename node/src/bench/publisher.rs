//! The load: one call of `PublishClientData` for all streams of a scenario, kept full.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use hdrhistogram::Histogram;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_stream::Stream as _;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::Streaming;
use wattle_proto::api::publish_response::Answer;
use wattle_proto::api::{Level, PublishRequest, PublishResponse};

use super::PATIENCE;
use super::lane::Lane;
use crate::client::{Client, Failure, Peer};

/// Answers taken together before what they make room for is sent.
const ANSWERS_TOGETHER: usize = 256;
/// How long to wait before a node that went away is dialled again.
const DIAL_AGAIN: Duration = Duration::from_millis(5);

/// How messages are published.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    /// Messages under way in each stream at most.
    pub(super) window: usize,
    /// Messages in a request at most: what is ready goes together.
    pub(super) array: usize,
    /// Requests always have `array` messages.
    pub(super) whole: bool,
    /// Messages a second, whatever is completed; otherwise as many as the window allows.
    pub(super) rate: Option<u32>,
    /// Bytes in a message.
    pub(super) bytes: usize,
}

/// When a publisher begins to count, and when it sends nothing new.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    pub(super) from: Instant,
    pub(super) stop: watch::Receiver<bool>,
}

/// What others may watch while it runs.
#[derive(Debug, Default)]
pub(super) struct Progress {
    completed: AtomicU64,
    longest_micros: AtomicU64,
    returns: AtomicU64,
}

impl Progress {
    pub(super) fn completed(&self) -> u64 {
        self.completed.load(Ordering::Relaxed)
    }

    /// Forgets the longest time that nothing was completed in.
    pub(super) fn forget_longest(&self) {
        self.longest_micros.store(0, Ordering::Relaxed);
    }

    pub(super) fn longest(&self) -> Duration {
        Duration::from_micros(self.longest_micros.load(Ordering::Relaxed))
    }

    /// How often something was completed for the first time after a call had broken.
    pub(super) fn returns(&self) -> u64 {
        self.returns.load(Ordering::Relaxed)
    }
}

/// What publishers were told.
#[derive(Debug)]
pub(super) struct Seen {
    /// Microseconds from when a message was due until it was accepted.
    pub(super) accepted: Histogram<u64>,
    /// The same until it was completed.
    pub(super) completed: Histogram<u64>,
    /// All messages completed, those included that did not count.
    pub(super) messages: u64,
    /// How often it began again on a new call.
    pub(super) resumed: u64,
}

/// An empty histogram of microseconds, for up to some minutes.
pub(super) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 600_000_000, 3).expect("these bounds are sound")
}

/// Publishes to some streams.
pub(super) struct Publisher {
    source: Peer,
    lanes: Vec<Lane>,
    places: BTreeMap<Bytes, usize>,
    load: Load,
    payload: Bytes,
    schedule: Schedule,
    progress: Arc<Progress>,
    seen: Seen,
    /// Nothing was completed since the last call broke.
    away: bool,
    /// Lanes that may have something to send.
    ready: Vec<usize>,
    moved: Instant,
    pace: Option<mpsc::UnboundedReceiver<Instant>>,
}

impl Publisher {
    pub(super) fn new(
        source: Peer,
        lanes: Vec<Lane>,
        load: Load,
        schedule: Schedule,
        progress: Arc<Progress>,
    ) -> Self {
        let places = lanes.iter().enumerate().map(|(at, lane)| (lane.instance.clone(), at)).collect();
        let seen = Seen { accepted: histogram(), completed: histogram(), messages: 0, resumed: 0 };
        Self {
            source,
            ready: (0..lanes.len()).collect(),
            lanes,
            places,
            load,
            payload: vec![b'x'; load.bytes].into(),
            schedule,
            progress,
            seen,
            away: false,
            moved: Instant::now(),
            pace: None,
        }
    }

    /// Publishes until it is to stop and all is completed.
    pub(super) async fn run(mut self) -> Result<Seen, Failure> {
        if let Some(rate) = self.load.rate {
            self.pace = Some(pace(rate)?);
        }
        loop {
            match self.serve().await {
                Ok(()) => break,
                Err(failure) if failure.may_pass() && self.moved.elapsed() < PATIENCE => {
                    self.seen.resumed += 1;
                    self.away = true;
                    self.lanes.iter_mut().for_each(Lane::rewind);
                    self.ready = (0..self.lanes.len()).collect();
                    sleep(DIAL_AGAIN).await;
                }
                Err(failure) => return Err(failure),
            }
        }
        self.seen.messages = self.lanes.iter().map(Lane::done).sum();
        Ok(self.seen)
    }

    /// Uses one call until all is done or it breaks.
    async fn serve(&mut self) -> Result<(), Failure> {
        let mut client = Client::connect(self.source.clone()).await?;
        // Bounded by the windows. A sender that waited here would not read the answers meanwhile.
        let (requests, outgoing) = mpsc::unbounded_channel();
        let call = client.data.publish_client_data(UnboundedReceiverStream::new(outgoing));
        let mut answers = call.await?.into_inner();
        let mut batch = Vec::new();
        loop {
            let over = *self.schedule.stop.borrow();
            if over {
                self.pace = None;
            }
            self.send(over, &requests);
            if over && self.lanes.iter().all(|lane| lane.outstanding() == 0) {
                return Ok(());
            }
            tokio::select! {
                got = gather(&mut answers, &mut batch) => {
                    got?;
                    let now = Instant::now();
                    for answer in batch.drain(..) {
                        self.take(answer, now)?;
                    }
                }
                due = next(&mut self.pace), if self.pace.is_some() => match due {
                    Some(due) => self.lanes[0].offer(due),
                    None => self.pace = None,
                },
                told = self.schedule.stop.changed(), if !over => if told.is_err() {
                    return Err(Failure::Failed("nobody waits for the figures".to_owned()));
                },
                () = sleep_until(self.moved + PATIENCE) => {
                    let seconds = PATIENCE.as_secs();
                    return Err(Failure::Failed(format!("nothing was completed for {seconds} s")));
                }
            }
            if self.load.rate.is_some() {
                self.ready.push(0);
            }
        }
    }

    /// Fills the windows of lanes that have room.
    fn send(&mut self, over: bool, requests: &mpsc::UnboundedSender<PublishRequest>) {
        let Load { window, array, whole, rate, .. } = self.load;
        let now = Instant::now();
        let step = if whole { array } else { 1 };
        while let Some(at) = self.ready.pop() {
            let lane = &mut self.lanes[at];
            while rate.is_none() && !over && lane.outstanding() + step <= window {
                (0..step).for_each(|_| lane.offer(now));
            }
            while let Some(request) = lane.request(array, &self.payload) {
                // Fails when the call broke, which its answers say.
                let _ = requests.send(request);
            }
        }
    }

    fn take(&mut self, answer: PublishResponse, now: Instant) -> Result<(), Failure> {
        let receipt = match answer.answer {
            Some(Answer::Receipt(receipt)) => receipt,
            Some(Answer::Refused(refused)) => return Err(Failure::of_refused(refused)),
            Some(Answer::Staged(_)) | None => {
                return Err(Failure::Failed("the node answered nothing that is known here".to_owned()));
            }
        };
        let Some(&at) = self.places.get(&receipt.instance) else { return Ok(()) };
        let counts = now >= self.schedule.from && !*self.schedule.stop.borrow();
        let seen = &mut self.seen;
        let mut completed = 0;
        self.lanes[at].take(&receipt, now, |level, took| {
            completed += u64::from(level == Level::Completed);
            if counts {
                let latencies =
                    if level == Level::Completed { &mut seen.completed } else { &mut seen.accepted };
                latencies.saturating_record(took.as_micros() as u64);
            }
        });
        if completed > 0 {
            self.ready.push(at);
            let longest = now.duration_since(self.moved).as_micros() as u64;
            self.progress.longest_micros.fetch_max(longest, Ordering::Relaxed);
            self.progress.completed.fetch_add(completed, Ordering::Relaxed);
            if std::mem::take(&mut self.away) {
                self.progress.returns.fetch_add(1, Ordering::Relaxed);
            }
            self.moved = now;
        }
        Ok(())
    }
}

/// Awaits an answer and takes all that are there.
async fn gather(
    answers: &mut Streaming<PublishResponse>,
    batch: &mut Vec<PublishResponse>,
) -> Result<(), Failure> {
    std::future::poll_fn(|context| {
        while batch.len() < ANSWERS_TOGETHER {
            match Pin::new(&mut *answers).poll_next(context) {
                Poll::Ready(Some(answer)) => batch.push(answer?),
                Poll::Ready(None) => {
                    return Poll::Ready(Err(Failure::Unreachable("the node ended the call".to_owned())));
                }
                Poll::Pending if batch.is_empty() => return Poll::Pending,
                Poll::Pending => break,
            }
        }
        Poll::Ready(Ok(()))
    })
    .await
}

async fn next(pace: &mut Option<mpsc::UnboundedReceiver<Instant>>) -> Option<Instant> {
    match pace {
        Some(pace) => pace.recv().await,
        None => None,
    }
}

/// Tells when messages are due, on a thread of its own: a timer of the runtime would wake at whole milliseconds.
fn pace(rate: u32) -> Result<mpsc::UnboundedReceiver<Instant>, Failure> {
    let (tell, due) = mpsc::unbounded_channel();
    let begun = Instant::now();
    let body = move || {
        for number in 1u32.. {
            let at = begun + Duration::from_secs_f64(f64::from(number) / f64::from(rate));
            std::thread::sleep(at.saturating_duration_since(Instant::now()));
            if tell.send(at).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new()
        .name("pace".to_owned())
        .spawn(body)
        .map_err(|error| Failure::Failed(format!("cannot start a thread: {error}")))?;
    Ok(due)
}
