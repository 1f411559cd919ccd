//! Subscribing: messages in order, each acknowledged only once what was done with it will stay.

pub mod sink;
pub mod whole_dir;

use std::io;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use wattle_proto::api::subscribe_request::Request;
use wattle_proto::api::subscribe_response::Response;
use wattle_proto::api::{
    Acknowledge, Attach, Attached, Fail, Message, Position, Replay, SubscribeRequest, SubscribeResponse,
};

use super::connect::Client;
use super::failure::Failure;
use super::find::Finder;
use super::follow::follow;
use super::pace::{Pause, settled};
use crate::stop::Stop;
pub use sink::{Format, PositionFile, Sink, Stdout};
pub use whole_dir::WholeDir;

const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// The largest message that is put together in memory, in bytes.
const GATHERED_BYTES_MAX: u64 = 64 << 20;
/// How long the node may take to read the last acknowledgements before we leave.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);

/// What to subscribe to, and how.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The stream.
    pub stream: String,
    /// The node to ask first, if not any.
    pub at: Option<String>,
    /// End after that many messages.
    pub count: Option<u64>,
    /// End with that sequence.
    pub until: Option<u64>,
    /// Whose the stream must be; empty: anybody's.
    pub tenant: String,
    /// How many messages may be handed over before an acknowledgement.
    pub window: u32,
    /// Whether it takes over from a handler of the node's settings, too.
    pub take_over: bool,
    /// What is to be read again, rather than handled.
    pub replay: Option<Replay>,
    /// How long to look for a node that went away; for ever if absent.
    pub patience: Option<Duration>,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Messages given to the sink in this run.
    pub messages: u64,
    /// The last one's sequence, or the position begun at.
    pub sequence: u64,
}

/// What a run tells on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// Attached; messages start after this sequence.
    Attached(u64),
    /// The connection broke, or the node asks it to attach again; it does.
    Reconnects(String),
}

struct Call {
    requests: mpsc::Sender<SubscribeRequest>,
    responses: Streaming<SubscribeResponse>,
    attached: Attached,
}

/// Why one connection is over.
enum Over {
    Done,
    Broke(Failure),
}

/// Subscribes until the plan is fulfilled or `stop` says so.
///
/// # Errors
/// When the node refuses, another handler takes over, the sink fails, or no node is found for as long as the plan is patient.
pub async fn subscribe<S: Sink>(
    finder: &Finder,
    plan: &Plan,
    sink: S,
    mut stop: Stop,
    mut tell: impl FnMut(Told),
) -> Result<Summary, Failure> {
    let (summary, gathered) = (Summary::default(), Vec::new());
    let mut run = Run { plan, sink: Some(sink), summary, instance: None, gathered };
    let mut call = tokio::select! {
        connected = settled(async || run.connect(finder).await) => connected?,
        () = stop.asked() => return Ok(run.summary),
    };
    loop {
        tell(Told::Attached(call.attached.position.as_ref().map_or(0, |position| position.sequence)));
        let broke = match run.serve(call, &mut stop).await? {
            Over::Done => return Ok(run.summary),
            Over::Broke(failure) => failure,
        };
        tell(Told::Reconnects(broke.to_string()));
        call = tokio::select! {
            connected = run.reconnect(finder, broke) => connected?,
            () = stop.asked() => return Ok(run.summary),
        };
    }
}

struct Run<'a, S> {
    plan: &'a Plan,
    /// Away only while it writes.
    sink: Option<S>,
    summary: Summary,
    /// The stream's life that `summary` counts in, once known.
    instance: Option<bytes::Bytes>,
    /// Pieces of a message for a sink that wants it whole.
    gathered: Vec<u8>,
}

/// Whether a message ends with what came: whether it is no piece, or the last one.
fn ends(message: &Message) -> bool {
    message.piece.as_ref().is_none_or(|piece| piece.offset + message.data.len() as u64 >= piece.total)
}

impl<S: Sink> Run<'_, S> {
    fn satisfied(&self) -> bool {
        self.plan.count.is_some_and(|count| self.summary.messages >= count)
            || self.plan.until.is_some_and(|until| self.summary.sequence >= until)
    }

    async fn connect(&self, finder: &Finder) -> Result<Call, Failure> {
        let replay = self.plan.replay.map(|replay| self.rest_of(replay));
        let presented = self.sink.as_ref().and_then(Sink::presented).filter(|_| replay.is_none());
        let (stream, window, take_over) = (self.plan.stream.clone(), self.plan.window, self.plan.take_over);
        let tenant = self.plan.tenant.clone();
        let attach = Attach { stream, presented, window, take_over, replay, tenant };
        let peers = finder.peers(self.plan.at.as_deref()).await?;
        let (call, _) = follow(finder, peers, async |client| open(client, attach.clone()).await).await?;
        Ok(call)
    }

    /// What of a replay is still to be read: it goes on where it was.
    fn rest_of(&self, replay: Replay) -> Replay {
        match self.instance {
            Some(_) => Replay { from: Some(self.summary.sequence + 1), ..replay },
            None => replay,
        }
    }

    /// Connects again, as long as the plan is patient.
    async fn reconnect(&self, finder: &Finder, mut last: Failure) -> Result<Call, Failure> {
        let since = tokio::time::Instant::now();
        let mut pause = Pause::between(PAUSE_MIN, PAUSE_MAX);
        while self.plan.patience.is_none_or(|patience| since.elapsed() < patience) {
            tokio::time::sleep(pause.take()).await;
            match self.connect(finder).await {
                Ok(call) => return Ok(call),
                Err(failure) if failure.may_pass() => last = failure,
                Err(failure) => return Err(failure),
            }
        }
        Err(last)
    }

    /// Uses one connection until there is nothing left to do or it breaks.
    async fn serve(&mut self, mut call: Call, stop: &mut Stop) -> Result<Over, Failure> {
        let position = call.attached.position.take().unwrap_or_default();
        if self.instance.as_ref() != Some(&position.instance) {
            // The first one, or the stream was closed and opened again: sequences begin anew.
            self.instance = Some(position.instance.clone());
            self.summary.sequence = 0;
        }
        // Never back, for what this run did is not done twice; forward if the node knows of more that is processed.
        self.summary.sequence = self.summary.sequence.max(position.sequence);
        loop {
            if self.satisfied() {
                leave(call).await;
                return Ok(Over::Done);
            }
            let response = tokio::select! {
                response = call.responses.message() => response,
                () = stop.asked() => {
                    leave(call).await;
                    return Ok(Over::Done);
                }
            };
            let messages = match response.map_err(Failure::from) {
                Ok(Some(SubscribeResponse { response: Some(Response::Messages(messages)) })) => {
                    messages.messages
                }
                Ok(Some(_)) => continue,
                Ok(None) if self.plan.replay.is_some() => return Ok(Over::Done),
                Ok(None) => {
                    return Ok(Over::Broke(Failure::Unreachable("the node ended the call".to_owned())));
                }
                Err(failure) if failure.may_pass() => return Ok(Over::Broke(failure)),
                Err(failure) => return Err(failure),
            };
            let (again, messages): (Vec<Message>, Vec<Message>) =
                messages.into_iter().partition(|message| message.parked);
            for message in again {
                let sequence = message.sequence;
                let takes = self.sink.as_ref().is_some_and(Sink::takes_parked);
                if takes && self.give(vec![message], &position, stop).await? == Given::Over {
                    return Ok(Over::Done);
                }
                let reason =
                    "this subscriber keeps an order, and takes up nothing that was parked".to_owned();
                let answer = match takes {
                    true => Request::Acknowledge(Acknowledge { first: sequence, last: sequence }),
                    false => Request::Fail(Fail { sequence, reason }),
                };
                // Fails only if the connection broke, and then it stays parked.
                let _ = call.requests.send(SubscribeRequest { request: Some(answer) }).await;
            }
            // Whole responses are done or repeated after a broken connection; what this run did is not done twice.
            // Of a message that comes in pieces nothing is acknowledged before the last.
            let handed = messages.iter().rev().find(|message| ends(message)).map(|message| message.sequence);
            let wanted = self.wanted(messages);
            if !wanted.is_empty() {
                let ended = wanted.iter().filter(|message| ends(message));
                let done = ended.clone().count() as u64;
                let last = ended.last().map_or(self.summary.sequence, |message| message.sequence);
                let wanted = self.gather(wanted)?;
                if self.give(wanted, &position, stop).await? == Given::Over {
                    return Ok(Over::Done);
                }
                self.summary.messages += done;
                self.summary.sequence = last;
            }
            let Some(handed) = handed else { continue };
            let last = handed.min(self.summary.sequence);
            let acknowledge = Request::Acknowledge(Acknowledge { first: 0, last });
            // Fails only if the connection broke, which the next response says too.
            let _ = call.requests.send(SubscribeRequest { request: Some(acknowledge) }).await;
        }
    }

    /// What of these is new and still asked for.
    fn wanted(&self, mut messages: Vec<Message>) -> Vec<Message> {
        messages.retain(|message| {
            message.sequence > self.summary.sequence
                && self.plan.until.is_none_or(|until| message.sequence <= until)
        });
        if let Some(count) = self.plan.count {
            let mut left = count - self.summary.messages;
            messages.retain(|message| {
                let asked_for = left > 0;
                left -= u64::from(asked_for && ends(message));
                asked_for
            });
        }
        messages
    }

    /// Puts messages that come in pieces together, for a sink that does not take pieces.
    fn gather(&mut self, messages: Vec<Message>) -> Result<Vec<Message>, Failure> {
        if self.sink.as_ref().is_none_or(Sink::takes_pieces) {
            return Ok(messages);
        }
        let mut whole = Vec::with_capacity(messages.len());
        for mut message in messages {
            let Some(piece) = message.piece.take() else {
                whole.push(message);
                continue;
            };
            if piece.total > GATHERED_BYTES_MAX {
                return Err(Failure::Failed(format!(
                    "message {} has {} bytes, too many to be put together in memory: use --whole-dir",
                    message.sequence, piece.total
                )));
            }
            if piece.offset == 0 {
                self.gathered.clear();
            }
            self.gathered.extend_from_slice(&message.data);
            if self.gathered.len() as u64 == piece.total {
                message.data = std::mem::take(&mut self.gathered).into();
                whole.push(message);
            }
        }
        Ok(whole)
    }

    /// Gives messages to the sink, on a thread that may block.
    async fn give(
        &mut self,
        messages: Vec<Message>,
        position: &Position,
        stop: &mut Stop,
    ) -> Result<Given, Failure> {
        let mut sink = self.sink.take().expect("the sink is back before the next response is read");
        let position = position.clone();
        let mut writing = tokio::task::spawn_blocking(move || {
            let result = sink.take(&messages, &position);
            (sink, result)
        });
        let written = tokio::select! {
            written = &mut writing => written,
            // Somebody does not read our output and wants us to go: whatever is half written was not acknowledged.
            () = async { stop.asked().await; tokio::time::sleep(LEAVE_TIMEOUT).await } => return Ok(Given::Over),
        };
        let (sink, result) =
            written.map_err(|error| Failure::Failed(format!("writing the messages failed: {error}")))?;
        self.sink = Some(sink);
        match result {
            Ok(()) => Ok(Given::Written),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Given::Over),
            Err(error) => Err(Failure::Failed(format!("cannot write the messages: {error}"))),
        }
    }
}

#[derive(PartialEq)]
enum Given {
    Written,
    Over,
}

async fn open(client: &mut Client, attach: Attach) -> Result<Call, Failure> {
    let (requests, outgoing) = mpsc::channel(64);
    let first = SubscribeRequest { request: Some(Request::Attach(attach)) };
    requests.send(first).await.map_err(|_| Failure::Unreachable("the connection broke".to_owned()))?;
    let mut responses = client.data.subscribe_client_data(ReceiverStream::new(outgoing)).await?.into_inner();
    match responses.message().await? {
        Some(SubscribeResponse { response: Some(Response::Attached(attached)) }) => {
            Ok(Call { requests, responses, attached })
        }
        _ => Err(Failure::Unreachable(format!("{} ended the call", client.peer))),
    }
}

/// Lets the node read all acknowledgements before the connection goes.
async fn leave(call: Call) {
    let Call { requests, mut responses, .. } = call;
    drop(requests);
    let ended = async { while let Ok(Some(_)) = responses.message().await {} };
    // A node that does not answer will hand the last messages over again; that is what was promised.
    let _ = tokio::time::timeout(LEAVE_TIMEOUT, ended).await;
}
