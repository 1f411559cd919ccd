//! Handlers that do nothing but say yes, and look whether each message comes once and in its place.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use wattle_proto::api::subscribe_request::Request;
use wattle_proto::api::subscribe_response::Response;
use wattle_proto::api::{Acknowledge, Attach, Message, Reason, SubscribeRequest, SubscribeResponse};

use super::PATIENCE;
use crate::client::{Client, Failure, Peer};

/// Calls over one connection: a node allows about twice as many.
const CALLS: usize = 500;
const ATTACH_AGAIN: Duration = Duration::from_millis(5);

/// What handlers were handed.
#[derive(Debug, Default)]
pub(super) struct Handed {
    messages: AtomicU64,
    lost: AtomicU64,
    repeated: AtomicU64,
}

impl Handed {
    /// Messages in their place.
    pub(super) fn messages(&self) -> u64 {
        self.messages.load(Ordering::Relaxed)
    }

    /// Messages that were passed over, and such that came after a later one.
    pub(super) fn faults(&self) -> (u64, u64) {
        (self.lost.load(Ordering::Relaxed), self.repeated.load(Ordering::Relaxed))
    }

    /// Looks at messages of a stream of which `next` is to come; tells what is to come after them.
    fn look(&self, mut next: u64, messages: &[Message]) -> u64 {
        for message in messages {
            let place = message.sequence;
            // One writer alone wrote all of the stream, so its numbers are the stream's.
            if place < next || message.writer_sequence != place {
                self.repeated.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            self.lost.fetch_add(place - next, Ordering::Relaxed);
            self.messages.fetch_add(1, Ordering::Relaxed);
            next = place + 1;
        }
        next
    }
}

/// Handlers of some streams at some targets. They detach when this is dropped.
pub(super) struct Subscribers {
    pub(super) handed: Arc<Handed>,
    _tasks: JoinSet<()>,
}

impl Subscribers {
    /// Attaches one to each stream at each target, with so large a window.
    pub(super) async fn attach(targets: &[Peer], streams: &[String], window: u32) -> Result<Self, Failure> {
        let handed = Arc::<Handed>::default();
        let mut tasks = JoinSet::new();
        let (attached, mut heard) = mpsc::unbounded_channel();
        for target in targets {
            for some in streams.chunks(CALLS) {
                let client = Client::connect(target.clone()).await?;
                for stream in some {
                    let subscriber = Subscriber {
                        client: client.clone(),
                        stream: stream.clone(),
                        window,
                        next: 1,
                        handed: Arc::clone(&handed),
                    };
                    tasks.spawn(subscriber.run(attached.clone()));
                }
            }
        }
        for _ in 0..targets.len() * streams.len() {
            heard.recv().await.expect("its other end is here")?;
        }
        Ok(Self { handed, _tasks: tasks })
    }
}

struct Subscriber {
    client: Client,
    stream: String,
    window: u32,
    next: u64,
    handed: Arc<Handed>,
}

impl Subscriber {
    /// Tells whether it could be attached, and says yes to everything until it is dropped.
    async fn run(mut self, attached: mpsc::UnboundedSender<Result<(), Failure>>) {
        let begun = Instant::now();
        let mut attached = Some(attached);
        loop {
            match self.open().await {
                Ok((requests, mut responses)) => {
                    if let Some(attached) = attached.take() {
                        // Nobody asks any more once another one failed.
                        let _ = attached.send(Ok(()));
                    }
                    while let Ok(Some(response)) = responses.message().await {
                        let Some(Response::Messages(batch)) = response.response else { break };
                        self.next = self.handed.look(self.next, &batch.messages);
                        let last = batch.messages.last().map_or(0, |message| message.sequence);
                        if requests.send(acknowledge(last)).await.is_err() {
                            break;
                        }
                    }
                }
                Err(failure) => {
                    // A target hears of a stream a moment after its source.
                    let may_pass = failure.may_pass() || failure.reason() == Some(Reason::Outrun);
                    if (!may_pass || begun.elapsed() > PATIENCE)
                        && let Some(attached) = attached.take()
                    {
                        let _ = attached.send(Err(failure));
                        return;
                    }
                }
            }
            sleep(ATTACH_AGAIN).await;
        }
    }

    async fn open(
        &mut self,
    ) -> Result<(mpsc::Sender<SubscribeRequest>, Streaming<SubscribeResponse>), Failure> {
        let (requests, outgoing) = mpsc::channel(16);
        let (stream, window) = (self.stream.clone(), self.window);
        let attach = Attach { stream, window, ..Attach::default() };
        let attach = SubscribeRequest { request: Some(Request::Attach(attach)) };
        // There is room, and the other end is here.
        let _ = requests.try_send(attach);
        let call = self.client.data.subscribe_client_data(ReceiverStream::new(outgoing));
        let mut responses = call.await?.into_inner();
        match responses.message().await?.and_then(|first| first.response) {
            Some(Response::Attached(_)) => Ok((requests, responses)),
            _ => Err(Failure::Unreachable("the target ended the call".to_owned())),
        }
    }
}

const fn acknowledge(last: u64) -> SubscribeRequest {
    SubscribeRequest { request: Some(Request::Acknowledge(Acknowledge { first: 0, last })) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_passed_over_or_comes_again_is_counted() {
        let message = |sequence| Message { sequence, writer_sequence: sequence, ..Message::default() };
        let handed = Handed::default();
        let next = handed.look(1, &[message(1), message(2), message(5)]);
        assert_eq!((next, handed.messages(), handed.faults()), (6, 3, (2, 0)));
        let other = Message { writer_sequence: 9, ..message(7) };
        let next = handed.look(next, &[message(4), message(6), other]);
        assert_eq!((next, handed.messages(), handed.faults()), (7, 4, (2, 2)));
    }
}
