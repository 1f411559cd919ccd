//! A node so simple that it is right by inspection, to test the world with: membership and streams are a table that all toys share,
//! messages flood. Its bugs can be switched on one by one, and the checkers must find each.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use wattle_core::configuration::Configuration;
use wattle_core::id::{
    AttachToken, AuthorityEpoch, BootId, Generation, GroupId, LaneId, LogIndex, MeshId, MessageId, NodeId,
    RequestId, Sequence, SessionEpoch, StreamInstance, Term, Ticket, WriterId, WriterSequence,
};
use wattle_core::level::Level;
use wattle_core::node::command::{Command, Position, Receipt, Refusal, Reply, Waited};
use wattle_core::node::output::{Delivered, Delivery, DialId, Event, Timer};
use wattle_core::node::status::{GroupStatus, MemberStatus, StreamStatus};
use wattle_core::node::{Config, Deadline, Input, Output, Rejected, Status, Transmit};
use wattle_core::payload::Payload;
use wattle_core::raft::{GroupPlace, Place};
use wattle_core::time::{Instant, Now, Span};

use crate::machine::Machine;
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
    /// A wrong sum, asserted.
    Asserts,
}

#[derive(Default)]
struct Shared {
    members: Vec<(NodeId, String)>,
    streams: Vec<(String, StreamInstance, NodeId, NodeId)>,
    /// Closed writers, and the start of the source that closed each.
    closed: BTreeMap<(u128, u128), BootId>,
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

    fn command(&mut self, request: RequestId, command: Command) -> Option<Result<Reply, Refusal>> {
        let me = self.me();
        let member = SHARED.with_borrow(|shared| shared.members.iter().any(|(node, _)| *node == me));
        match command {
            Command::Seed { .. } | Command::Join { .. } if member => {
                Some(Err(Refusal::AlreadyMember(MeshId(1))))
            }
            Command::Seed { .. } | Command::Join { .. } => {
                let name = self.config.identity.name.clone();
                SHARED.with_borrow_mut(|shared| shared.members.push((me, name)));
                Some(Ok(Reply::Joined { mesh: MeshId(1) }))
            }
            _ if !member => Some(Err(Refusal::NotMember)),
            Command::Invite => Some(Ok(Reply::Token { token: "please".into() })),
            Command::OpenStream { name, source, target } => Some(SHARED.with_borrow_mut(|shared| {
                let id =
                    |name: &str| shared.members.iter().find(|(_, other)| other == name).map(|(id, _)| *id);
                let (Some(from), Some(to)) = (id(&source), id(&target)) else {
                    return Err(Refusal::UnknownNode(target.clone()));
                };
                match shared.streams.iter().find(|stream| stream.0 == name) {
                    Some(&(_, instance, source, target)) if (source, target) == (from, to) => {
                        return Ok(Reply::StreamOpened { instance, created: false });
                    }
                    Some(&(_, _, source_node, target)) => {
                        return Err(Refusal::OpenElsewhere { name, source_node, target });
                    }
                    None => {}
                }
                let instance = StreamInstance(100 + shared.streams.len() as u128);
                shared.streams.push((name, instance, from, to));
                Ok(Reply::StreamOpened { instance, created: true })
            })),
            Command::CloseStream { name } => Some(SHARED.with_borrow_mut(|shared| {
                let open = shared.streams.iter_mut().find(|stream| stream.0 == name);
                // Its place stays, so that no life comes twice.
                open.ok_or(Refusal::UnknownStream(name))?.0.clear();
                Ok(Reply::StreamClosed)
            })),
            Command::Publish { stream, writer, first, messages, wait } => {
                self.publish(request, &stream, writer, first.0, messages, wait)
            }
            Command::FindWriter { stream, writer } => {
                let Some(instance) = self.named(&stream) else {
                    return Some(Err(Refusal::UnknownStream(stream)));
                };
                let durable = self.sources.get(&instance).map_or(0, |source| source.durable);
                let known = self.writers.get(&(instance, writer.0));
                let count = known.map_or(0, |known| known.iter().filter(|&&at| at <= durable).count());
                Some(Ok(Reply::Writer { next: WriterSequence(count as u64 + 1) }))
            }
            Command::Attach { stream, presented, window } => {
                let Some(instance) = self.named(&stream) else {
                    return Some(Err(Refusal::UnknownStream(stream)));
                };
                self.tokens += 1;
                let token = AttachToken(self.tokens);
                let target = self.targets.entry(instance).or_default();
                let at = presented.map_or(target.mark, |position| position.sequence.0);
                if at > target.durable {
                    return Some(Err(Refusal::Busy));
                }
                let settled = presented.map_or(target.durable_mark, |_| at);
                let old = target.handler.replace((token, u64::from(window), at + 1, settled));
                let old_request = target.request.replace(request);
                let position = Position {
                    instance: StreamInstance(instance),
                    authority: AuthorityEpoch(0),
                    sequence: Sequence(at),
                };
                if let (Some((old, ..)), Some(request)) = (old, old_request) {
                    self.outputs
                        .push_back(Output::Reply { request, reply: Ok(Reply::Fenced { token: old }) });
                }
                let reply = Ok(Reply::Attached { token, instance: StreamInstance(instance), position });
                self.outputs.push_back(Output::Reply { request, reply });
                self.hand_over(instance);
                None
            }
            Command::CloseWriter { stream, writer } => {
                let Some(instance) = self.named(&stream) else {
                    return Some(Err(Refusal::UnknownStream(stream)));
                };
                let boot = self.boot;
                SHARED.with_borrow_mut(|shared| shared.closed.insert((instance, writer.0), boot));
                Some(Ok(Reply::WriterClosed))
            }
        }
    }

    fn named(&self, name: &str) -> Option<u128> {
        SHARED.with_borrow(|shared| {
            shared.streams.iter().find(|stream| stream.0 == name).map(|stream| stream.1.0)
        })
    }

    fn publish(
        &mut self,
        request: RequestId,
        stream: &str,
        writer: WriterId,
        first: u64,
        messages: Vec<Bytes>,
        wait: Waited,
    ) -> Option<Result<Reply, Refusal>> {
        let Some(instance) = self.named(stream) else {
            return Some(Err(Refusal::UnknownStream(stream.into())));
        };
        let closed = SHARED.with_borrow(|shared| shared.closed.get(&(instance, writer.0)).copied());
        if closed.is_some_and(|boot| self.wrong != Wrong::ForgetsClosed || boot == self.boot) {
            return Some(Err(Refusal::WriterClosed));
        }
        let known = self.writers.entry((instance, writer.0)).or_default().len() as u64;
        if first > known + 1 {
            let refusal =
                Refusal::WriterGap { expected: WriterSequence(known + 1), got: WriterSequence(first) };
            if self.wrong != Wrong::KeepsRefused {
                return Some(Err(refusal));
            }
            self.outputs.push_back(Output::Reply { request, reply: Err(refusal) });
        } else if self.is_full() {
            return Some(Err(Refusal::NoSpace { free: 0 }));
        }
        let count = messages.len() as u64;
        for (number, bytes) in (first..).zip(messages) {
            if number <= known {
                continue;
            }
            let (high, low) = halves(instance);
            let (writer_high, writer_low) = halves(writer.0);
            let row = put(&[1, high, low, writer_high, writer_low, number], &bytes);
            let source = self.sources.entry(instance).or_default();
            source.log.push(Message { writer: writer.0, number, bytes });
            let sequence = source.log.len() as u64;
            self.writers.entry((instance, writer.0)).or_default().push(sequence);
            self.persist(&row, Then::Accepted(instance, sequence));
        }
        let places = &self.writers[&(instance, writer.0)];
        if first > places.len() as u64 {
            return None;
        }
        let runs = places[first as usize - 1..(first + count - 1) as usize].chunk_by(|a, b| a + 1 == *b);
        let mut number = first;
        for run in runs {
            let waiting = Waiting {
                request,
                wait,
                told: None,
                first: run[0],
                last: run[run.len() - 1],
                first_number: number,
                duplicate: number + run.len() as u64 <= known + 1,
            };
            number += run.len() as u64;
            self.sources.entry(instance).or_default().waiting.push(waiting);
        }
        self.receipts(instance);
        None
    }

    fn verdict(&mut self, token: AttachToken, upto: u64) {
        for instance in self.targets.keys().copied().collect::<Vec<_>>() {
            let fencing = self.wrong != Wrong::NoFencing;
            let target = self.targets.entry(instance).or_default();
            let Some((current, _, next, _)) = &mut target.handler else { continue };
            if fencing && *current != token || !fencing && token.0 + 1 < current.0 {
                continue;
            }
            *next = (*next).max(upto + 1);
            if upto > target.mark {
                target.mark = upto;
                let (high, low) = halves(instance);
                let row = put(&[if self.wrong == Wrong::ForgetsMarks { 2 } else { 3 }, high, low, upto], &[]);
                if self.wrong == Wrong::ForgetsMarks {
                    self.settle(instance, upto);
                } else {
                    self.persist(&row, Then::Marked(instance, upto));
                }
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

impl Machine for Toy {
    fn recover(config: Config, _: [u8; 32], boot: BootId) -> Self {
        Self {
            config,
            boot,
            generation: SHARED.with_borrow_mut(|shared| {
                shared.starts += 1;
                Generation(shared.starts)
            }),
            wrong: WRONG.with_borrow(|wrong| *wrong),
            outputs: VecDeque::new(),
            lanes: BTreeMap::new(),
            seen: BTreeSet::new(),
            counter: 0,
            sources: BTreeMap::new(),
            targets: BTreeMap::new(),
            writers: BTreeMap::new(),
            last_row: 0,
            highest_row: 0,
            then: VecDeque::new(),
            wake: Instant(u64::MAX),
            redial: Vec::new(),
            dials: BTreeMap::new(),
            dialled: BTreeMap::new(),
            next_dial: 0,
            tokens: boot.0 as u64 >> 16 << 8,
            free: u64::MAX,
            stopped: false,
        }
    }

    fn handle(&mut self, now: Now, input: Input) -> Result<(), Rejected> {
        if self.stopped {
            return Err(Rejected::Stopped("a write failed".into()));
        }
        match input {
            Input::Row { ticket, bytes } => self.row(ticket.0, &bytes),
            Input::Recovered => {
                self.tick(now.monotonic);
                for address in self.config.dial.clone() {
                    self.dial(address);
                }
                if self.wrong == Wrong::AllLead {
                    let group = wattle_core::id::GroupId::CONTROL;
                    let event = Event::RoleChanged { group, role: "leader", term: Term(1) };
                    self.outputs.push_back(Output::Event(event));
                }
            }
            Input::LaneUp { lane, dial, .. } => {
                self.lanes.insert(lane, Default::default());
                let address = dial.and_then(|dial| self.dials.remove(&dial.0));
                self.dialled.extend(address.map(|address| (lane, address)));
            }
            Input::LaneDown { lane } => {
                self.lanes.remove(&lane);
                self.redial.extend(self.dialled.remove(&lane));
            }
            Input::DialFailed { dial } => self.redial.extend(self.dials.remove(&dial.0)),
            Input::Received { lane, bytes } => self.received(lane, &bytes),
            Input::Deadline => self.tick(now.monotonic),
            Input::Persisted { upto } => self.persisted(upto.0),
            Input::WriteFailed { .. } => self.stopped = true,
            Input::Space { free } => self.free = free,
            Input::Command { request, command } => {
                if let Some(reply) = self.command(request, command) {
                    self.outputs.push_back(Output::Reply { request, reply });
                }
            }
            Input::Verdict { token, upto } => self.verdict(token, upto.0),
            Input::Detach { token } => {
                for target in self.targets.values_mut() {
                    if target.handler.is_some_and(|(current, ..)| current == token) {
                        target.handler = None;
                    }
                }
            }
            Input::Loaded { .. } | Input::WorkDone { .. } | Input::Forget { .. } => {}
        }
        Ok(())
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn ready_lanes(&self, lanes: &mut Vec<LaneId>) {
        lanes.extend(self.lanes.iter().filter(|(_, (_, queue))| !queue.is_empty()).map(|(lane, _)| *lane));
    }

    fn poll_transmit(&mut self, _: Now, lane: LaneId, max: usize, buffer: &mut Vec<u8>) -> Option<Transmit> {
        let (_, queue) = self.lanes.get_mut(&lane)?;
        while let Some(frame) = queue.front()
            && (buffer.is_empty() || buffer.len() + frame.len() <= max)
        {
            buffer.extend_from_slice(frame);
            queue.pop_front();
        }
        (!buffer.is_empty()).then_some(Transmit { lane, len: buffer.len() })
    }

    fn poll_timeout(&self) -> Option<Deadline> {
        (!self.stopped).then_some(Deadline { at: self.wake, timer: Timer::Stream })
    }

    fn check_invariants(&self, _: Level) {
        for (instance, source) in &self.sources {
            let limit = if self.wrong == Wrong::Asserts { 20 } else { u64::MAX };
            assert!(source.durable < limit, "T1: stream {instance} grows");
        }
    }

    fn group_places(&self, _: &mut Vec<GroupPlace>) {}

    fn group_place_at(&self, _: GroupId, _: LogIndex) -> Option<Place> {
        None
    }

    fn group_configuration(&self, _: GroupId) -> Option<&Configuration> {
        None
    }

    fn status(&self, _: Now) -> Option<Status> {
        let (members, streams) =
            SHARED.with_borrow(|shared| (shared.members.clone(), shared.streams.clone()));
        let own = members.iter().any(|(node, _)| *node == self.me());
        let first = members.first().map(|(node, _)| *node);
        let member = |(node, name): &(NodeId, String)| MemberStatus {
            node: *node,
            name: name.clone(),
            addresses: Vec::new(),
            api: None,
            reachable: true,
            hops: None,
            voter: Some(*node) == first,
        };
        let stream = |(name, instance, source, target): &(String, StreamInstance, NodeId, NodeId)| {
            let known = self.sources.get(&instance.0).filter(|_| *source == self.me());
            let count = |pick: fn(&Source) -> u64| Sequence(known.map_or(0, pick));
            StreamStatus {
                name: name.clone(),
                instance: *instance,
                source: *source,
                target: *target,
                local: known.is_some(),
                session: SessionEpoch(1),
                authority: AuthorityEpoch(0),
                accepted: count(|source| source.durable),
                replicated: count(|source| source.acked),
                holders: Vec::new(),
                processed: count(|source| source.marked),
                completed: count(|source| source.marked),
                released: Sequence(0),
                handler: None,
                outbox_bytes: 0,
                waiting_for: Vec::new(),
                stopped: None,
            }
        };
        Some(Status {
            node: self.me(),
            name: self.config.identity.name.clone(),
            boot: self.boot,
            generation: self.generation,
            mesh: own.then_some(MeshId(1)),
            mesh_name: String::new(),
            members: members.iter().map(member).collect(),
            links: Vec::new(),
            control: Some(GroupStatus {
                role: "follower",
                term: Term(1),
                leader: first,
                voters: first.into_iter().collect(),
                learners: Vec::new(),
                commit: LogIndex(0),
                applied: LogIndex(0),
                last: LogIndex(0),
                chain: wattle_core::digest::Chain::default(),
                stopped: None,
            }),
            streams: streams.iter().filter(|stream| !stream.0.is_empty()).map(stream).collect(),
            refusing: self.is_full().then(|| Refusal::NoSpace { free: self.free }.to_string()),
            journal_bytes: 0,
            journal_live_bytes: 0,
        })
    }
}
