//! Subscribing: messages out, ranges of acknowledgements in.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use tonic::{Status, Streaming};
use wattle_core::id::Sequence;
use wattle_core::node::command::Range;
use wattle_core::node::output::Delivered;
use wattle_proto::api::subscribe_request::Request;
use wattle_proto::api::subscribe_response::Response;
use wattle_proto::api::{
    Acknowledge, Attach, Attached, Fail, Failed, Messages, Replay, SubscribeRequest, SubscribeResponse,
};

use super::data::{Answers, Sender, answers};
use super::{convert, errors, flow, updates};
use crate::handlers::Configured;
use crate::world::{Ended, Handed, Handler, World};

/// Bytes of messages in one response, unless one message alone is larger.
const RESPONSE_BYTES: usize = 1 << 20;
/// Messages in one response.
const RESPONSE_MESSAGES: usize = 4096;
/// Responses that are ready and not yet written.
const RESPONSES_QUEUED: usize = 16;

/// Serves one call.
pub(super) fn serve<W: World>(
    world: W,
    configured: Configured,
    requests: Streaming<SubscribeRequest>,
) -> Answers<SubscribeResponse> {
    answers(RESPONSES_QUEUED, |responses| run(world, configured, requests, responses))
}

/// What is acknowledged to somebody who only looks is gone for the handler of the node's settings: that must be meant.
async fn handled_here<W: World>(world: &W, configured: &Configured, attach: &Attach) -> Result<(), Status> {
    let Some(kind) = configured.kind(&attach.stream).filter(|_| !attach.take_over) else { return Ok(()) };
    // Where it does not end, the answer is who its target is.
    let streams = world.status().await.map(|status| status.streams).unwrap_or_default();
    let here = streams.iter().find(|stream| stream.name == attach.stream);
    if !here.is_some_and(|stream| stream.targets.iter().any(|target| target.node == world.node())) {
        return Ok(());
    }
    Err(errors::has_handler(&attach.stream, kind))
}

async fn run<W: World>(
    world: W,
    configured: Configured,
    mut requests: Streaming<SubscribeRequest>,
    responses: Sender<SubscribeResponse>,
) -> Result<(), Status> {
    let Some(first) = requests.message().await? else { return Ok(()) };
    let Some(Request::Attach(attach)) = first.request else {
        return Err(errors::invalid("the first request must attach"));
    };
    flow::is_of(&world, &attach.stream, &attach.tenant).await?;
    let replay = attach.replay.map(replayed).transpose()?;
    if replay.is_none() {
        handled_here(&world, &configured, &attach).await?;
    } else if attach.presented.is_some() {
        return Err(errors::invalid("a replay has no position: say where it begins"));
    }
    let presented = attach.presented.as_ref().map(convert::read_position).transpose()?;
    // A presented position may have to wait until this node has caught up with it.
    let mut handler = tokio::select! {
        attached = async {
            let window = attach.window.max(1);
            match replay {
                Some(range) => world.replay(attach.stream, range, window).await,
                None => world.attach(attach.stream, presented, window).await,
            }
        } => {
            attached.map_err(|refusal| errors::status(&refusal))?
        }
        () = responses.closed() => return Ok(()),
    };
    let position = handler.position();
    let token = handler.token().0;
    let attached = Attached { token, position: Some(convert::position(position)) };
    let mut acknowledged = Acknowledged::after(position.sequence);
    // What was parked, handed over again and not answered.
    let mut retried = BTreeSet::new();
    let mut pending = VecDeque::from([Response::Attached(attached)]);
    loop {
        tokio::select! {
            permit = responses.reserve(), if !pending.is_empty() => {
                let Ok(permit) = permit else { return Ok(()) };
                let response = pending.pop_front();
                permit.send(Ok(SubscribeResponse { response }));
            }
            handed = handler.next(), if pending.is_empty() => match handed {
                Some(Handed::Failed { sequence, passed }) => {
                    if passed && let Some(upto) = acknowledged.pass(sequence) {
                        handler.verdict(upto);
                    }
                    pending.push_back(Response::Failed(Failed { sequence: sequence.0, passed }));
                }
                Some(Handed::Delivery(delivery)) => {
                    let (again, messages) = delivery.messages.iter().partition::<Vec<_>, _>(|message| message.parked);
                    retried.extend(again.iter().map(|message| message.sequence));
                    let ended = messages.into_iter().filter(|message| ends(message));
                    ended.for_each(|message| acknowledged.handed_over(message.sequence));
                    pending.extend(cut(delivery.messages).into_iter().map(Response::Messages));
                }
                Some(Handed::Updates(_)) => return Err(updates::out_of_place()),
                Some(Handed::Ended(Ended::Replayed)) => return Ok(()),
                Some(Handed::Ended(why)) => return Err(errors::ended(token, &why)),
                None => return Err(errors::node_stopped()),
            },
            request = requests.message() => match request? {
                None => return Ok(()),
                Some(SubscribeRequest { request: Some(Request::Fail(Fail { sequence, reason })) }) => {
                    retried.remove(&Sequence(sequence));
                    handler.failed(Sequence(sequence), reason);
                }
                Some(SubscribeRequest { request: Some(Request::Acknowledge(Acknowledge { first, last })) })
                    if first == last && retried.remove(&Sequence(last)) =>
                {
                    handler.retried(Sequence(last));
                }
                Some(SubscribeRequest { request: Some(Request::Acknowledge(range)) }) => {
                    if let Some(upto) = acknowledged.take(range)? {
                        handler.verdict(upto);
                    }
                }
                Some(_) => return Err(errors::invalid("a call attaches once; then it acknowledges")),
            },
            () = responses.closed() => return Ok(()),
        }
    }
}

/// What is to be read again.
fn replayed(replay: Replay) -> Result<Range, Status> {
    let Replay { from, to } = replay;
    if from == Some(0) {
        return Err(errors::invalid("the messages of a stream are numbered from 1"));
    }
    Ok(Range { from: from.map(Sequence), to: to.map(Sequence) })
}

/// Whether a message ends with what is handed over: whether it is no piece, or the last one.
fn ends(message: &Delivered) -> bool {
    message.piece.is_none_or(|piece| piece.offset + message.bytes.len() as u64 == piece.total)
}

/// Cuts messages into responses of a moderate size.
fn cut(messages: Vec<Delivered>) -> Vec<Messages> {
    let mut parts = Vec::new();
    let mut part = Messages::default();
    let mut bytes = 0;
    for message in messages {
        let full = bytes + message.bytes.len() > RESPONSE_BYTES || part.messages.len() == RESPONSE_MESSAGES;
        if full && !part.messages.is_empty() {
            parts.push(std::mem::take(&mut part));
            bytes = 0;
        }
        bytes += message.bytes.len();
        part.messages.push(convert::message(message));
    }
    if !part.messages.is_empty() {
        parts.push(part);
    }
    parts
}

/// What a handler has acknowledged. Ranges above the first gap are kept; there are at most as many as the window has messages.
#[derive(Debug)]
struct Acknowledged {
    upto: u64,
    handed: u64,
    beyond: BTreeMap<u64, u64>,
    /// Large messages that are not acknowledged: they bear the last of the sequences that they take, and these are the first.
    large: BTreeMap<u64, u64>,
}

impl Acknowledged {
    const fn after(position: Sequence) -> Self {
        Self { upto: position.0, handed: position.0, beyond: BTreeMap::new(), large: BTreeMap::new() }
    }

    fn handed_over(&mut self, upto: Sequence) {
        if upto.0 > self.handed + 1 {
            self.large.insert(upto.0, self.handed + 1);
        }
        self.handed = self.handed.max(upto.0);
    }

    /// What is parked is as good as acknowledged; gives the new end of the part without gaps if others had been waiting behind it.
    fn pass(&mut self, sequence: Sequence) -> Option<Sequence> {
        let range = Acknowledge { first: sequence.0, last: sequence.0 };
        self.take(range).ok().flatten().filter(|upto| *upto > sequence)
    }

    /// Takes a range; gives the new end of the part without gaps if it moved.
    fn take(&mut self, range: Acknowledge) -> Result<Option<Sequence>, Status> {
        let first = if range.first == 0 { self.upto.saturating_add(1) } else { range.first };
        if range.last > self.handed {
            return Err(errors::not_handed_over(range.last, self.handed));
        }
        if range.last <= self.upto {
            return Ok(None);
        }
        let first = self.large.get(&first).copied().unwrap_or(first);
        if first > range.last {
            return Err(errors::invalid(format!("the range {first}..={} is empty", range.last)));
        }
        let end = self.beyond.entry(first).or_insert(range.last);
        *end = (*end).max(range.last);
        let before = self.upto;
        while let Some(entry) = self.beyond.first_entry() {
            if *entry.key() > self.upto + 1 {
                break;
            }
            self.upto = self.upto.max(entry.remove());
        }
        self.large = self.large.split_off(&(self.upto + 1));
        Ok((self.upto > before).then_some(Sequence(self.upto)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use wattle_core::id::{MessageId, WriterId, WriterSequence};

    fn range(first: u64, last: u64) -> Acknowledge {
        Acknowledge { first, last }
    }

    #[test]
    fn a_large_message_is_acknowledged_by_the_sequence_that_it_bears() {
        let mut acknowledged = Acknowledged::after(Sequence(10));
        [11, 15, 16].into_iter().for_each(|sequence| acknowledged.handed_over(Sequence(sequence)));
        assert_eq!(acknowledged.take(range(15, 15)).unwrap(), None);
        assert_eq!(acknowledged.take(range(11, 11)).unwrap(), Some(Sequence(15)));
        assert_eq!(acknowledged.take(range(16, 16)).unwrap(), Some(Sequence(16)));
        assert!(acknowledged.large.is_empty());
    }

    #[test]
    fn what_is_parked_closes_the_gap_in_front_of_what_was_acknowledged() {
        let mut acknowledged = Acknowledged::after(Sequence(10));
        (11..=15).for_each(|sequence| acknowledged.handed_over(Sequence(sequence)));
        assert_eq!(acknowledged.pass(Sequence(11)), None, "nothing waits behind it");
        assert_eq!(acknowledged.take(range(13, 14)).unwrap(), None);
        assert_eq!(acknowledged.pass(Sequence(12)), Some(Sequence(14)));
        assert_eq!(acknowledged.take(range(0, 15)).unwrap(), Some(Sequence(15)));
    }

    #[test]
    fn only_the_part_without_gaps_counts() {
        let mut acknowledged = Acknowledged::after(Sequence(10));
        (11..=20).for_each(|sequence| acknowledged.handed_over(Sequence(sequence)));
        assert_eq!(acknowledged.take(range(13, 14)).unwrap(), None);
        assert_eq!(acknowledged.take(range(16, 16)).unwrap(), None);
        assert_eq!(acknowledged.take(range(11, 12)).unwrap(), Some(Sequence(14)));
        assert_eq!(acknowledged.take(range(11, 12)).unwrap(), None, "said before");
        assert_eq!(acknowledged.take(range(0, 17)).unwrap(), Some(Sequence(17)), "everything up to");
        assert!(acknowledged.beyond.is_empty());
        assert!(acknowledged.take(range(18, 21)).is_err(), "never handed over");
        assert!(acknowledged.take(range(20, 19)).is_err(), "empty");
        assert_eq!(acknowledged.take(range(18, 20)).unwrap(), Some(Sequence(20)));
    }

    #[test]
    fn responses_keep_the_order_and_a_moderate_size() {
        let sizes = [RESPONSE_BYTES / 2, RESPONSE_BYTES / 2, 1, RESPONSE_BYTES * 2, 0, 5];
        let messages: Vec<_> = sizes
            .iter()
            .zip(1..)
            .map(|(&size, sequence)| Delivered {
                sequence: Sequence(sequence),
                id: MessageId(sequence.into()),
                writer: WriterId(1),
                writer_sequence: WriterSequence(sequence),
                bytes: Bytes::from(vec![0; size]),
                piece: None,
                parked: false,
            })
            .collect();
        let parts = cut(messages);
        let lengths: Vec<_> = parts.iter().map(|part| part.messages.len()).collect();
        assert_eq!(lengths, [2, 1, 1, 2]);
        let order: Vec<_> = parts.iter().flat_map(|part| &part.messages).map(|m| m.sequence).collect();
        assert_eq!(order, [1, 2, 3, 4, 5, 6]);
    }
}
