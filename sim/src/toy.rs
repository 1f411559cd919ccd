//! A node so simple that it is right by inspection, to test the world with: membership and streams are a table that all toys share,
//! messages flood. Its bugs can be switched on one by one, and the checkers must find each.

mod commands;
mod machine;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use wattle_core::id::{
    AttachToken, AuthorityEpoch, BootId, Generation, LaneId, MessageId, NodeId, RequestId, Sequence,
    SessionEpoch, StreamInstance, Ticket, WriterId, WriterSequence,
};
use wattle_core::node::command::{Receipt, Reply, Waited};
use wattle_core::node::output::{Delivered, Delivery, DialId};
use wattle_core::node::{Config, Output};
use wattle_core::payload::Payload;
use wattle_core::time::{Instant, Span};

use crate::trace::digest;

/// What a toy does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    Nothing,
    /// Receipts and acknowledgements do not wait for the disk.
    BeforeSync,
    /// Writers are forgotten at a restart.
    ForgetsWriters,
    /// The handler's marks are not written.
    ForgetsMarks,
    /// Old handlers' verdicts count.
    NoFencing,
    /// Closed writers may go on after a restart.
    ForgetsClosed,
    /// Refused messages are kept all the same.
    KeepsRefused,
    /// What is forwarded is not remembered, and so goes round.
    Circles,
    /// Nothing is sent again.
    NeverResends,
    /// Every start leads.
    AllLead,
    /// Agreed configuration is written whatever version is expected.
    IgnoresVersions,
    /// A wrong sum, asserted.
    Asserts,
}

#[derive(Default)]
struct Shared {
    members: Vec<(NodeId, String)>,
    streams: Vec<(String, StreamInstance, NodeId, NodeId)>,
    /// Closed writers, and the start of the source that closed each.
    closed: BTreeMap<(u128, u128), BootId>,
    agreed: commands::Agreed,
    /// How many toys started.
    starts: u64,
}

thread_local! {
    static SHARED: RefCell<Shared> = RefCell::default();
    static WRONG: RefCell<Wrong> = const { RefCell::new(Wrong::Nothing) };
}

/// A fresh table, and what toys do wrong from now on in this thread.
pub(crate) fn reset(wrong: Wrong) {
    SHARED.take();
    WRONG.set(wrong);
}

#[derive(Clone)]
struct Message {
    writer: u128,
    number: u64,
    bytes: Bytes,
}

struct Waiting {
    request: RequestId,
    wait: Waited,
    told: Option<Waited>,
    first: u64,
    last: u64,
    first_number: u64,
    duplicate: bool,
}

#[derive(Default)]
struct Source {
    log: Vec<Message>,
    durable: u64,
    acked: u64,
    /// What was sent since the last look.
    offered: u64,
    marked: u64,
    waiting: Vec<Waiting>,
}

#[derive(Default)]
struct Target {
    log: Vec<Message>,
    durable: u64,
    mark: u64,
    durable_mark: u64,
    handler: Option<(AttachToken, u64, u64, u64)>,
    request: Option<RequestId>,
}

/// What becomes durable with a row.
enum Then {
    Accepted(u128, u64),
    Received(u128, u64),
    Marked(u128, u64),
}

pub(crate) struct Toy {
    config: Config,
    boot: BootId,
    /// Rises from start to start of every toy.
    generation: Generation,
    wrong: Wrong,
    outputs: VecDeque<Output>,
    lanes: BTreeMap<LaneId, (Vec<u8>, VecDeque<Vec<u8>>)>,
    seen: BTreeSet<(u64, u64)>,
    counter: u64,
    sources: BTreeMap<u128, Source>,
    targets: BTreeMap<u128, Target>,
    writers: BTreeMap<(u128, u128), Vec<u64>>,
    last_row: u64,
    highest_row: u64,
    then: VecDeque<(u64, Then)>,
    wake: Instant,
    redial: Vec<String>,
    dials: BTreeMap<u64, String>,
    dialled: BTreeMap<LaneId, String>,
    next_dial: u64,
    tokens: u64,
    free: u64,
    stopped: bool,
}

fn put(words: &[u64], tail: &[u8]) -> Vec<u8> {
    let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    bytes.extend_from_slice(tail);
    bytes
}

fn word(bytes: &[u8], at: usize) -> u64 {
    bytes
        .get(at * 8..at * 8 + 8)
        .map_or(0, |part| part.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte)))
}

const fn halves(value: u128) -> (u64, u64) {
    ((value >> 64) as u64, value as u64)
}

const fn join(high: u64, low: u64) -> u128 {
    (high as u128) << 64 | low as u128
}

impl Toy {
    fn is_full(&self) -> bool {
        self.free < self.config.stream.space_floor
    }

    fn me(&self) -> NodeId {
        self.config.identity.node
    }

    fn persist(&mut self, row: &[u8], then: Then) {
        let ticket = self.highest_row + 1;
        let mut bytes = put(&[0, self.last_row], row);
        let sum = digest(&bytes[8..]);
        bytes[..8].copy_from_slice(&sum.to_le_bytes());
        self.last_row = ticket;
        self.highest_row = ticket;
        self.outputs
            .push_back(Output::Write { ticket: Ticket(ticket), row: Payload::from(Bytes::from(bytes)) });
        self.then.push_back((ticket, then));
        if self.wrong == Wrong::BeforeSync {
            self.persisted(u64::MAX);
        }
    }

    fn row(&mut self, ticket: u64, bytes: &[u8]) {
        self.highest_row = ticket;
        if bytes.len() < 24 || word(bytes, 0) != digest(&bytes[8..]) || word(bytes, 1) != self.last_row {
            return;
        }
        self.last_row = ticket;
        let (kind, instance) = (word(bytes, 2), join(word(bytes, 3), word(bytes, 4)));
        match kind {
            1 | 2 => {
                let message = Message {
                    writer: join(word(bytes, 5), word(bytes, 6)),
                    number: word(bytes, 7),
                    bytes: Bytes::copy_from_slice(&bytes[64..]),
                };
                if kind == 1 {
                    let writer = message.writer;
                    let source = self.sources.entry(instance).or_default();
                    source.log.push(message);
                    source.durable += 1;
                    if self.wrong != Wrong::ForgetsWriters {
                        let sequence = source.durable;
                        self.writers.entry((instance, writer)).or_default().push(sequence);
                    }
                } else {
                    let target = self.targets.entry(instance).or_default();
                    target.log.push(message);
                    target.durable += 1;
                }
            }
            _ => {
                let target = self.targets.entry(instance).or_default();
                target.mark = word(bytes, 5);
                target.durable_mark = target.mark;
            }
        }
    }

    fn persisted(&mut self, upto: u64) {
        while self.then.front().is_some_and(|(ticket, _)| *ticket <= upto) {
            match self.then.pop_front() {
                Some((_, Then::Accepted(instance, sequence))) => {
                    self.sources.entry(instance).or_default().durable = sequence;
                    self.receipts(instance);
                    self.offer(instance);
                }
                Some((_, Then::Received(instance, sequence))) => {
                    self.targets.entry(instance).or_default().durable = sequence;
                    self.tell_source(instance);
                    self.hand_over(instance);
                }
                Some((_, Then::Marked(instance, upto))) => {
                    self.settle(instance, upto);
                }
                None => {}
            }
        }
    }

    fn flood(&mut self, to: NodeId, body: &[u8]) {
        self.counter += 1;
        let (high, low) = halves(to.0);
        let id = (self.boot.0 as u64, self.counter);
        self.seen.insert(id);
        let content = put(&[id.0, id.1, high, low], body);
        self.forward(None, &content);
    }

    fn forward(&mut self, from: Option<LaneId>, content: &[u8]) {
        let frame = crate::frames::frame(2, content);
        for (lane, (_, queue)) in &mut self.lanes {
            if Some(*lane) != from && (queue.len() < 400 || self.wrong == Wrong::Circles) {
                queue.push_back(frame.clone());
            }
        }
    }

    fn stream(instance: u128) -> Option<(String, StreamInstance, NodeId, NodeId)> {
        SHARED.with_borrow(|shared| shared.streams.iter().find(|stream| stream.1.0 == instance).cloned())
    }

    fn offer(&mut self, instance: u128) {
        let Some((_, _, _, target)) = Self::stream(instance) else { return };
        let Some(source) = self.sources.get_mut(&instance) else { return };
        let (high, low) = halves(instance);
        let (from, upto) = (source.acked.max(source.offered), source.durable.min(source.acked + 8));
        source.offered = source.offered.max(upto);
        let bodies: Vec<Vec<u8>> = (from..upto)
            .map(|place| {
                let message = &source.log[place as usize];
                let (writer, tail) = halves(message.writer);
                put(&[1, high, low, place + 1, writer, tail, message.number], &message.bytes)
            })
            .collect();
        bodies.iter().for_each(|body| self.flood(target, body));
    }

    fn tell_source(&mut self, instance: u128) {
        let Some((_, _, source, _)) = Self::stream(instance) else { return };
        let Some(target) = self.targets.get(&instance) else { return };
        let (high, low) = halves(instance);
        let body = put(&[2, high, low, target.durable, target.durable_mark], &[]);
        self.flood(source, &body);
    }

    fn receipts(&mut self, instance: u128) {
        let Some(source) = self.sources.get_mut(&instance) else { return };
        let mut replies = Vec::new();
        for waiting in &mut source.waiting {
            for (level, upto) in [
                (Waited::Accepted, source.durable),
                (Waited::Replicated, source.acked),
                (Waited::Completed, source.marked),
            ] {
                if upto >= waiting.last && level <= waiting.wait && waiting.told < Some(level) {
                    waiting.told = Some(level);
                    let receipt = Receipt {
                        level,
                        instance: StreamInstance(instance),
                        authority: AuthorityEpoch(0),
                        session: SessionEpoch(1),
                        first_writer: WriterSequence(waiting.first_number),
                        last_writer: WriterSequence(waiting.first_number + waiting.last - waiting.first),
                        first: Sequence(waiting.first),
                        last: Sequence(waiting.last),
                        provisional: false,
                        duplicate: waiting.duplicate,
                    };
                    replies.push((waiting.request, Ok(Reply::Published(receipt))));
                }
            }
        }
        source.waiting.retain(|waiting| waiting.told < Some(waiting.wait));
        self.outputs.extend(replies.into_iter().map(|(request, reply)| Output::Reply { request, reply }));
    }

    fn hand_over(&mut self, instance: u128) {
        let Some(target) = self.targets.get_mut(&instance) else { return };
        let Some((token, window, next, settled)) = &mut target.handler else { return };
        let last = target.durable.min(*settled + *window);
        let messages: Vec<Delivered> = (*next..=last)
            .map(|sequence| {
                let message = &target.log[sequence as usize - 1];
                Delivered {
                    sequence: Sequence(sequence),
                    id: MessageId(u128::from(sequence)),
                    writer: WriterId(message.writer),
                    writer_sequence: WriterSequence(message.number),
                    bytes: message.bytes.clone(),
                    piece: None,
                    parked: false,
                }
            })
            .collect();
        if messages.is_empty() {
            return;
        }
        *next = last + 1;
        let delivery = Delivery { token: *token, instance: StreamInstance(instance), messages };
        self.outputs.push_back(Output::Deliver(delivery));
    }

    fn received(&mut self, lane: LaneId, bytes: &[u8]) {
        let Some((buffer, _)) = self.lanes.get_mut(&lane) else { return };
        buffer.extend_from_slice(bytes);
        let mut whole = Vec::new();
        while buffer.len() >= 12 {
            let size = u32::from_le_bytes([buffer[8], buffer[9], buffer[10], buffer[11]]) as usize;
            if buffer.len() < 12 + size {
                break;
            }
            whole.push(buffer[12..12 + size].to_vec());
            buffer.drain(..12 + size);
        }
        for content in whole {
            let fresh = self.seen.insert((word(&content, 0), word(&content, 1)));
            if join(word(&content, 2), word(&content, 3)) == self.me().0 {
                if fresh {
                    self.message(&content[32..]);
                }
            } else if fresh || self.wrong == Wrong::Circles {
                self.forward(Some(lane), &content);
            }
        }
    }

    fn message(&mut self, body: &[u8]) {
        let instance = join(word(body, 1), word(body, 2));
        if word(body, 0) == 1 {
            let target = self.targets.entry(instance).or_default();
            let sequence = word(body, 3);
            if sequence == 0 {
                return self.tell_source(instance);
            }
            if sequence != target.log.len() as u64 + 1 {
                return;
            }
            let message = Message {
                writer: join(word(body, 4), word(body, 5)),
                number: word(body, 6),
                bytes: Bytes::copy_from_slice(&body[56..]),
            };
            target.log.push(message);
            let mut row = put(&[2], &body[8..24]);
            row.extend_from_slice(&body[32..]);
            self.persist(&row, Then::Received(instance, sequence));
        } else if let Some(source) = self.sources.get_mut(&instance) {
            let before = source.acked;
            source.acked = source.acked.max(word(body, 3).min(source.durable));
            source.marked = source.marked.max(word(body, 4));
            let go_on = source.acked > before && source.acked < source.durable;
            self.receipts(instance);
            if go_on {
                self.offer(instance);
            }
        }
    }

    /// A mark is safe: only now may the window move on, for what lies above the mark comes again after a crash.
    fn settle(&mut self, instance: u128, upto: u64) {
        let target = self.targets.entry(instance).or_default();
        target.durable_mark = upto;
        if let Some((_, _, _, settled)) = &mut target.handler {
            *settled = upto.max(*settled);
        }
        self.tell_source(instance);
        self.hand_over(instance);
    }

    fn tick(&mut self, now: Instant) {
        self.wake = now + Span::millis(100);
        for address in std::mem::take(&mut self.redial) {
            self.dial(address);
        }
        if self.wrong == Wrong::NeverResends {
            return;
        }
        for instance in self.sources.keys().copied().collect::<Vec<_>>() {
            let source = self.sources.entry(instance).or_default();
            source.offered = source.acked;
            if source.marked < source.durable {
                self.offer(instance);
                if let Some((_, _, _, target)) = Self::stream(instance) {
                    // The empty message makes the target tell where it is.
                    let (high, low) = halves(instance);
                    self.flood(target, &put(&[1, high, low, 0, 0, 0, 0], &[]));
                }
            }
        }
    }

    fn dial(&mut self, address: String) {
        self.next_dial += 1;
        self.dials.insert(self.next_dial, address.clone());
        self.outputs.push_back(Output::Dial { dial: DialId(self.next_dial), address });
    }
}
