//! Publishing: arrays of messages in, ranges of receipts out.
//!
//! Arrays are given to the node in the order they came. What one call can make the node hold is bounded twice: by the bytes of arrays
//! that have no answer yet, and by the number of arrays still waited for; beyond that the call is not read, and HTTP/2 holds the client.

use std::collections::{BTreeMap, VecDeque};

use tonic::{Status, Streaming};
use wattle_core::digest::Digest;
use wattle_core::flow::Tenant;
use wattle_core::id::{RequestId, WriterId, WriterSequence};
use wattle_core::node::command::{Command, PartOf, Reply, Waited};
use wattle_proto::api::publish_response::Answer as Said;
use wattle_proto::api::{Part, PublishRequest, PublishResponse, Receipt};

use super::data::{Answers, Sender, answers};
use super::mesh::out_of_place;
use super::{convert, errors, flow};
use crate::world::{Answer, Queue, World};

/// Bytes of arrays without any answer yet, per call: at most one array more.
const UNANSWERED_BYTES_MAX: usize = 32 << 20;
/// Arrays still waited for, per call: more lets a publisher that waits for `completed` run further ahead, at some hundred bytes each.
const WAITING_ARRAYS_MAX: usize = 4096;
/// Messages in one array: what the node does in one step is bounded.
const ARRAY_MESSAGES_MAX: usize = 65_536;
/// Answers that are ready and not yet written; when the client does not read, nothing more is taken.
const ANSWERS_QUEUED: usize = 256;

/// Serves one call.
pub(super) fn serve<W: World>(world: W, requests: Streaming<PublishRequest>) -> Answers<PublishResponse> {
    answers(ANSWERS_QUEUED, |answers| {
        let call =
            Call { queue: world.queue(), open: BTreeMap::new(), unanswered: 0, pending: VecDeque::new() };
        call.run(requests, answers)
    })
}

/// One call: all its arrays wait in one place, so that what is answered at the same moment costs one turn.
struct Call<Q> {
    queue: Q,
    open: BTreeMap<RequestId, Open>,
    /// Bytes of arrays without any answer.
    unanswered: usize,
    /// Answers that do not fit into what is ready; while there are any, nothing more is taken.
    pending: VecDeque<PublishResponse>,
}

/// An array that is waited for.
#[derive(Clone, Copy, Debug)]
struct Open {
    first: u64,
    last: u64,
    wait: Waited,
    /// Messages that have not come far enough. The node may cut an array into batches, each with a receipt of its own.
    left: u64,
    /// Its bytes, until there is an answer.
    bytes: usize,
}

impl<Q: Queue> Call<Q> {
    async fn run(
        mut self,
        mut requests: Streaming<PublishRequest>,
        answers: Sender<PublishResponse>,
    ) -> Result<(), Status> {
        let mut defaults = Defaults::default();
        let (mut heard, mut more) = (Vec::with_capacity(ANSWERS_QUEUED), true);
        while more || !self.open.is_empty() || !self.pending.is_empty() {
            let idle = self.pending.is_empty();
            let room = self.open.len() < WAITING_ARRAYS_MAX && self.unanswered < UNANSWERED_BYTES_MAX;
            tokio::select! {
                biased;
                permit = answers.reserve(), if !idle => {
                    let (Ok(permit), Some(answer)) = (permit, self.pending.pop_front()) else { return Ok(()) };
                    permit.send(Ok(answer));
                    self.pass_on(&answers);
                }
                () = answers.closed(), if idle => return Ok(()),
                count = self.queue.take(&mut heard, ANSWERS_QUEUED), if idle && !self.open.is_empty() => {
                    if count == 0 {
                        return Err(errors::node_stopped());
                    }
                    for (request, answer) in heard.drain(..) {
                        self.hear(request, answer)?;
                    }
                    self.pass_on(&answers);
                }
                request = requests.message(), if idle && room && more => match request? {
                    Some(request) => self.submit(defaults.complete(request)?).await,
                    None => more = false,
                },
            }
        }
        Ok(())
    }

    async fn submit(&mut self, array: Array) {
        let Array { stream, tenant, writer, first, what, wait } = array;
        let (command, left, bytes) = match what {
            What::Messages(messages) => {
                let (left, bytes) = (messages.len(), messages.iter().map(|message| message.len() + 64).sum());
                (Command::Publish { stream, writer, first, messages, wait }, left as u64, bytes)
            }
            What::Part { total, offset, data, digest } => {
                let bytes = data.len() + 64;
                let part = PartOf { writer, number: first, total, offset, bytes: data, digest, wait };
                (Command::Stage { stream, part }, 1, bytes)
            }
        };
        let command = match tenant {
            Some(tenant) => Command::Within { tenant, command: Box::new(command) },
            None => command,
        };
        let open = Open { first: first.0, last: first.0 + (left - 1), wait, left, bytes };
        let request = self.queue.submit(command).await;
        self.open.insert(request, open);
        self.unanswered += bytes;
    }

    /// Takes what the node answers. Receipts of neighbours that wait at the same time become one.
    fn hear(&mut self, request: RequestId, answer: Answer) -> Result<(), Status> {
        let Some(open) = self.open.get_mut(&request) else { return Ok(()) };
        self.unanswered -= std::mem::take(&mut open.bytes);
        let over = match answer {
            Ok(Reply::Published(receipt)) => {
                if receipt.level >= open.wait {
                    open.left = open.left.saturating_sub(receipt.last_writer.0 + 1 - receipt.first_writer.0);
                }
                let over = open.left == 0;
                self.tell_receipt(convert::receipt(&receipt));
                over
            }
            Ok(Reply::Staged(staged)) => {
                let staged = convert::staged(open.first, &staged);
                self.pending.push_back(PublishResponse { answer: Some(Said::Staged(staged)) });
                true
            }
            Ok(other) => return Err(out_of_place(&other)),
            Err(refusal) => {
                let refused = errors::refused(open.first, open.last, &refusal);
                self.pending.push_back(PublishResponse { answer: Some(Said::Refused(refused)) });
                true
            }
        };
        if over {
            self.open.remove(&request);
            self.queue.close(request);
        }
        Ok(())
    }

    fn tell_receipt(&mut self, next: Receipt) {
        if let Some(PublishResponse { answer: Some(Said::Receipt(receipt)) }) = self.pending.back_mut()
            && follows(receipt, &next)
        {
            (receipt.last_writer, receipt.last) = (next.last_writer, next.last);
        } else {
            self.pending.push_back(receipt_answer(next));
        }
    }

    /// Gives what there is room for to the client.
    fn pass_on(&mut self, answers: &Sender<PublishResponse>) {
        while !self.pending.is_empty()
            && let Ok(permit) = answers.try_reserve()
            && let Some(answer) = self.pending.pop_front()
        {
            permit.send(Ok(answer));
        }
    }
}

const fn receipt_answer(receipt: Receipt) -> PublishResponse {
    PublishResponse { answer: Some(Said::Receipt(receipt)) }
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
    tenant: Option<Tenant>,
    writer: WriterId,
    first: WriterSequence,
    what: What,
    wait: Waited,
}

/// What is published.
#[derive(Debug, PartialEq)]
enum What {
    Messages(Vec<bytes::Bytes>),
    Part { total: u64, offset: u64, data: bytes::Bytes, digest: Option<Digest> },
}

impl What {
    fn read(messages: Vec<bytes::Bytes>, part: Option<Part>) -> Result<Self, Status> {
        let Some(Part { total, offset, data, digest }) = part else {
            if messages.is_empty() {
                return Err(errors::invalid("an array of messages must not be empty"));
            }
            if messages.len() > ARRAY_MESSAGES_MAX {
                let most = format!("an array has at most {ARRAY_MESSAGES_MAX} messages: send several");
                return Err(errors::invalid(most));
            }
            return Ok(Self::Messages(messages));
        };
        if !messages.is_empty() {
            return Err(errors::invalid("a request has messages, or a part of a large one, not both"));
        }
        let read = Digest::from_slice(&digest);
        if read.is_none() && !digest.is_empty() {
            return Err(errors::invalid("the digest of a large message is BLAKE3, of 32 bytes"));
        }
        Ok(Self::Part { total, offset, data, digest: read })
    }

    fn len(&self) -> u64 {
        if let Self::Messages(messages) = self { messages.len() as u64 } else { 1 }
    }
}

/// What a later request may leave out.
#[derive(Debug, Default)]
struct Defaults {
    stream: String,
    tenant: Option<Tenant>,
    writer: Option<WriterId>,
    wait: Option<Waited>,
}

impl Defaults {
    fn complete(&mut self, request: PublishRequest) -> Result<Array, Status> {
        if !request.stream.is_empty() && request.stream != self.stream {
            self.stream = request.stream;
            // What was said of another stream says nothing of this one.
            self.tenant = None;
        }
        if !request.tenant.is_empty() {
            self.tenant = flow::tenant(&request.tenant)?;
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
        let what = What::read(request.messages, request.part)?;
        if request.first == 0 || request.first.checked_add(what.len()).is_none() {
            return Err(errors::invalid("writer sequences begin with 1 and stay below 2^64"));
        }
        Ok(Array {
            stream: self.stream.clone(),
            tenant: self.tenant.clone(),
            writer,
            first: WriterSequence(request.first),
            what,
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

    /// A queue that nobody is asked through.
    struct Silent;

    #[tonic::async_trait]
    impl Queue for Silent {
        async fn submit(&mut self, _: Command) -> RequestId {
            RequestId(1)
        }

        fn close(&mut self, _: RequestId) {}

        async fn take(&mut self, _: &mut Vec<(RequestId, Answer)>, _: usize) -> usize {
            std::future::pending().await
        }
    }

    #[test]
    fn neighbouring_receipts_come_as_one_and_others_stay_apart() {
        let mut call = Call { queue: Silent, open: BTreeMap::new(), unanswered: 0, pending: VecDeque::new() };
        let other_level = Receipt { level: 2, ..receipt((6, 7), (16, 17)) };
        // Follows by the writer's numbers, not by the stream's.
        let last = Receipt { level: 2, ..receipt((8, 8), (30, 30)) };
        for next in [receipt((1, 2), (11, 12)), receipt((3, 5), (13, 15)), other_level.clone(), last.clone()]
        {
            call.tell_receipt(next);
        }
        let told: Vec<_> = call.pending.into_iter().map(|response| response.answer).collect();
        assert_eq!(told, [receipt((1, 5), (11, 15)), other_level, last].map(Said::Receipt).map(Some));
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
            part: None,
            tenant: "acme".into(),
        };
        let first = defaults.complete(full.clone()).unwrap();
        assert_eq!((first.stream.as_str(), first.wait), ("s", Waited::Completed));
        assert_eq!(first.tenant.as_ref().map(Tenant::name), Some("acme"));
        let short = PublishRequest { first: 2, messages: full.messages.clone(), ..PublishRequest::default() };
        let second = defaults.complete(short.clone()).unwrap();
        assert_eq!(second, Array { first: WriterSequence(2), ..first });
        let elsewhere = defaults.complete(PublishRequest { stream: "t".into(), ..short.clone() }).unwrap();
        assert_eq!(elsewhere.tenant, None, "it was said of the other one");

        assert!(Defaults::default().complete(short.clone()).is_err(), "nothing to inherit");
        for bad in [
            PublishRequest { messages: Vec::new(), ..full.clone() },
            PublishRequest { messages: vec![bytes::Bytes::new(); ARRAY_MESSAGES_MAX + 1], ..full.clone() },
            PublishRequest { first: 0, ..full.clone() },
            PublishRequest { first: u64::MAX, ..full.clone() },
            PublishRequest { part: Some(Part::default()), ..full.clone() },
            PublishRequest {
                part: Some(Part { digest: bytes::Bytes::from_static(b"short"), ..Part::default() }),
                messages: Vec::new(),
                ..full.clone()
            },
            PublishRequest { wait: 9, ..full.clone() },
            PublishRequest { tenant: "not one".into(), ..full.clone() },
            PublishRequest { writer: bytes::Bytes::from_static(&[1; 15]), ..full },
        ] {
            let refused = defaults.complete(bad).unwrap_err();
            assert_eq!(refused.code(), tonic::Code::InvalidArgument);
        }
    }
}
