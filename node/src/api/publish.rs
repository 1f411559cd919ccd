//! Publishing: arrays of messages in, ranges of receipts out.
//!
//! Arrays are given to the node in the order they came. What one call can make the node hold is bounded twice: by the bytes of arrays
//! that have no answer yet, and by the number of arrays still waited for; beyond that the call is not read, and HTTP/2 holds the client.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};
use wattle_core::id::{WriterId, WriterSequence};
use wattle_core::node::command::{Command, Reply, Waited};
use wattle_proto::api::publish_response::Answer;
use wattle_proto::api::{PublishRequest, PublishResponse, Receipt};

use super::data::{Answers, Sender, receiver};
use super::mesh::out_of_place;
use super::{convert, errors};
use crate::world::{Replies, World};

/// Bytes of arrays without any answer yet, per call.
const UNANSWERED_BYTES_MAX: u32 = 32 << 20;
/// Arrays still waited for, per call: more lets a publisher that waits for `completed` run further ahead, at some hundred bytes each.
const WAITING_ARRAYS_MAX: usize = 4096;
/// Messages in one array: what the node does in one step is bounded.
const ARRAY_MESSAGES_MAX: usize = 65_536;
/// Answers that are ready and not yet written; when the client does not read, nothing more is taken.
const ANSWERS_QUEUED: usize = 256;

/// Serves one call.
pub(super) fn serve<W: World>(world: W, requests: Streaming<PublishRequest>) -> Answers<PublishResponse> {
    let ready = receiver(ANSWERS_QUEUED, |answers| read(world, requests, answers));
    let (joined, stream) = mpsc::channel(ANSWERS_QUEUED);
    tokio::spawn(join(ready, joined));
    Box::pin(ReceiverStream::new(stream))
}

async fn read<W: World>(
    world: W,
    mut requests: Streaming<PublishRequest>,
    answers: Sender<PublishResponse>,
) -> Result<(), Status> {
    let bytes_left = Arc::new(Semaphore::new(UNANSWERED_BYTES_MAX as usize));
    let arrays_left = Arc::new(Semaphore::new(WAITING_ARRAYS_MAX));
    let mut defaults = Defaults::default();
    loop {
        let request = tokio::select! {
            request = requests.message() => request?,
            () = answers.closed() => return Ok(()),
        };
        let Some(request) = request else { return Ok(()) };
        let array = defaults.complete(request)?;
        let size = array.messages.iter().map(|message| message.len() + 64).sum::<usize>();
        let size = u32::try_from(size).unwrap_or(u32::MAX).min(UNANSWERED_BYTES_MAX);
        let waiting = Arc::clone(&arrays_left).acquire_owned().await.expect("never closed");
        let unanswered = Arc::clone(&bytes_left).acquire_many_owned(size).await.expect("never closed");
        let span = Span {
            first: array.first.0,
            last: array.first.0 + (array.messages.len() as u64 - 1),
            wait: array.wait,
        };
        let command = Command::Publish {
            stream: array.stream,
            writer: array.writer,
            first: array.first,
            messages: array.messages,
            wait: array.wait,
        };
        let replies = world.command(command).await;
        tokio::spawn(forward(replies, span, answers.clone(), waiting, unanswered));
    }
}

/// An array on its way.
#[derive(Clone, Copy, Debug)]
struct Span {
    first: u64,
    last: u64,
    wait: Waited,
}

/// Passes on what the node answers for one array.
async fn forward<R: Replies>(
    mut replies: R,
    span: Span,
    answers: Sender<PublishResponse>,
    _waiting: OwnedSemaphorePermit,
    unanswered: OwnedSemaphorePermit,
) {
    let mut unanswered = Some(unanswered);
    // The node may cut an array into batches, each with a receipt of its own.
    let mut left = span.last - span.first + 1;
    loop {
        let reply = tokio::select! {
            reply = replies.next() => reply,
            () = answers.closed() => return,
        };
        drop(unanswered.take());
        let (answer, over) = match reply {
            Some(Ok(Reply::Published(receipt))) => {
                if receipt.level >= span.wait {
                    left = left.saturating_sub(receipt.last_writer.0 + 1 - receipt.first_writer.0);
                }
                (Ok(Answer::Receipt(convert::receipt(&receipt))), left == 0)
            }
            Some(Ok(other)) => (Err(out_of_place(&other)), true),
            Some(Err(refusal)) => {
                (Ok(Answer::Refused(errors::refused(span.first, span.last, &refusal))), true)
            }
            None => (Err(errors::node_stopped()), true),
        };
        let answer = answer.map(|answer| PublishResponse { answer: Some(answer) });
        if answers.send(answer).await.is_err() || over {
            return;
        }
    }
}

/// Joins neighbouring receipts that are ready at the same moment.
async fn join(mut ready: mpsc::Receiver<Result<PublishResponse, Status>>, joined: Sender<PublishResponse>) {
    let mut batch = Vec::with_capacity(ANSWERS_QUEUED);
    while ready.recv_many(&mut batch, ANSWERS_QUEUED).await > 0 {
        let mut held: Option<Receipt> = None;
        for answer in batch.drain(..) {
            if let Ok(PublishResponse { answer: Some(Answer::Receipt(next)) }) = &answer {
                match &mut held {
                    Some(receipt) if follows(receipt, next) => {
                        receipt.last_writer = next.last_writer;
                        receipt.last = next.last;
                    }
                    _ => {
                        if let Some(done) = held.replace(next.clone())
                            && joined.send(Ok(receipt_answer(done))).await.is_err()
                        {
                            return;
                        }
                    }
                }
                continue;
            }
            if let Some(done) = held.take()
                && joined.send(Ok(receipt_answer(done))).await.is_err()
            {
                return;
            }
            if joined.send(answer).await.is_err() {
                return;
            }
        }
        if let Some(done) = held
            && joined.send(Ok(receipt_answer(done))).await.is_err()
        {
            return;
        }
    }
}

const fn receipt_answer(receipt: Receipt) -> PublishResponse {
    PublishResponse { answer: Some(Answer::Receipt(receipt)) }
}

/// Whether `next` says of the messages right after `receipt` exactly what that says of its own.
fn follows(receipt: &Receipt, next: &Receipt) -> bool {
    let expected = Receipt {
        first_writer: receipt.last_writer + 1,
        last_writer: next.last_writer,
        first: receipt.last + 1,
        last: next.last,
        ..receipt.clone()
    };
    expected == *next
}

/// One array with nothing left out.
#[derive(Debug, PartialEq)]
struct Array {
    stream: String,
    writer: WriterId,
    first: WriterSequence,
    messages: Vec<bytes::Bytes>,
    wait: Waited,
}

/// What a later request may leave out.
#[derive(Debug, Default)]
struct Defaults {
    stream: String,
    writer: Option<WriterId>,
    wait: Option<Waited>,
}

impl Defaults {
    fn complete(&mut self, request: PublishRequest) -> Result<Array, Status> {
        if !request.stream.is_empty() && request.stream != self.stream {
            self.stream = request.stream;
        }
        if self.stream.is_empty() {
            return Err(errors::invalid("the first request must name the stream"));
        }
        if !request.writer.is_empty() {
            self.writer = Some(convert::read_writer(&request.writer)?);
        }
        let writer = self.writer.ok_or_else(|| errors::invalid("the first request must name the writer"))?;
        if let Some(wait) = convert::read_level(request.wait)? {
            self.wait = Some(wait);
        }
        if request.messages.is_empty() {
            return Err(errors::invalid("an array of messages must not be empty"));
        }
        if request.messages.len() > ARRAY_MESSAGES_MAX {
            let most = format!("an array has at most {ARRAY_MESSAGES_MAX} messages: send several");
            return Err(errors::invalid(most));
        }
        if request.first == 0 || request.first.checked_add(request.messages.len() as u64).is_none() {
            return Err(errors::invalid("writer sequences begin with 1 and stay below 2^64"));
        }
        Ok(Array {
            stream: self.stream.clone(),
            writer,
            first: WriterSequence(request.first),
            messages: request.messages,
            wait: self.wait.unwrap_or(Waited::Accepted),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receipt(writers: (u64, u64), sequences: (u64, u64)) -> Receipt {
        Receipt {
            level: 1,
            first_writer: writers.0,
            last_writer: writers.1,
            first: sequences.0,
            last: sequences.1,
            ..Receipt::default()
        }
    }

    #[tokio::test]
    async fn neighbouring_receipts_come_as_one_and_others_stay_apart() {
        let (send, ready) = mpsc::channel(16);
        let (joined, mut out) = mpsc::channel(16);
        let other_level = Receipt { level: 2, ..receipt((6, 7), (16, 17)) };
        for next in [
            receipt((1, 2), (11, 12)),
            receipt((3, 5), (13, 15)),
            other_level.clone(),
            // Follows by the writer's numbers, not by the stream's.
            Receipt { level: 2, ..receipt((8, 8), (30, 30)) },
        ] {
            send.send(Ok(receipt_answer(next))).await.unwrap();
        }
        drop(send);
        join(ready, joined).await;
        let mut seen = Vec::new();
        while let Some(answer) = out.recv().await {
            match answer.unwrap().answer.unwrap() {
                Answer::Receipt(receipt) => seen.push(receipt),
                Answer::Refused(refused) => panic!("{refused:?}"),
            }
        }
        let last = Receipt { level: 2, ..receipt((8, 8), (30, 30)) };
        assert_eq!(seen, [receipt((1, 5), (11, 15)), other_level, last]);
    }

    #[test]
    fn later_requests_inherit_and_bad_ones_are_refused() {
        let mut defaults = Defaults::default();
        let full = PublishRequest {
            stream: "s".into(),
            writer: bytes::Bytes::from_static(&[7; 16]),
            first: 1,
            messages: vec![bytes::Bytes::from_static(b"x")],
            wait: 3,
        };
        let first = defaults.complete(full.clone()).unwrap();
        assert_eq!((first.stream.as_str(), first.wait), ("s", Waited::Completed));
        let short = PublishRequest { first: 2, messages: full.messages.clone(), ..PublishRequest::default() };
        let second = defaults.complete(short.clone()).unwrap();
        assert_eq!(second, Array { first: WriterSequence(2), ..first });

        assert!(Defaults::default().complete(short.clone()).is_err(), "nothing to inherit");
        for bad in [
            PublishRequest { messages: Vec::new(), ..full.clone() },
            PublishRequest { messages: vec![bytes::Bytes::new(); ARRAY_MESSAGES_MAX + 1], ..full.clone() },
            PublishRequest { first: 0, ..full.clone() },
            PublishRequest { first: u64::MAX, ..full.clone() },
            PublishRequest { wait: 9, ..full.clone() },
            PublishRequest { writer: bytes::Bytes::from_static(&[1; 15]), ..full },
        ] {
            let refused = defaults.complete(bad).unwrap_err();
            assert_eq!(refused.code(), tonic::Code::InvalidArgument);
        }
    }
}
