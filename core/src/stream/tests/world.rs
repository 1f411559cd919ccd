//! Two nodes, a log with one voter, disks that forget what was not synced, and a network that loses, doubles and reorders.

mod log;

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;

use crate::digest::Digest;
use crate::ends::{Ends, Poison};
use crate::id::{AttachToken, BootId, LogIndex, NodeId, RequestId, StreamInstance, WriterId, WriterSequence};
use crate::level::Level;
use crate::node::command::{PartOf, Position, Refusal, Reply, Staged, Waited};
use crate::node::output::{Delivered, Delivery, Event as Told};
use crate::node::status::StreamStatus;
use crate::parked::ParkedCommand;
use crate::planted::Planted;
use crate::record::{Forget, Key, Record};
use crate::retention::Retention;
use crate::rng::{Purpose, Rng};
use crate::stream::{Config, Input, Output, Receipt, Streams};
use crate::time::{Instant, Now, Span, Wall};
use crate::when::When;
use crate::work::{Done, perform};

pub(super) const INSTANCE: StreamInstance = StreamInstance(77);
pub(super) const SOURCE: usize = 0;
pub(super) const TARGET: usize = 1;
pub(super) const NAME: &str = "orders";

pub(super) fn node(which: usize) -> NodeId {
    NodeId(which as u128 + 1)
}

#[derive(Clone, Debug, PartialEq)]
struct LogEntry {
    term: u64,
    command: bool,
    data: Bytes,
}

#[derive(Clone, Debug)]
enum LogOp {
    Put(u64, LogEntry),
    Base(u64, bool),
}

#[derive(Clone, Debug, Default)]
struct Row {
    records: Vec<Record>,
    forgets: Vec<Forget>,
    log: Vec<LogOp>,
}

/// Entries `base + 1 ..`.
#[derive(Clone, Debug, Default)]
pub(super) struct Log {
    pub(super) base: u64,
    entries: VecDeque<LogEntry>,
}

impl Log {
    pub(super) fn last(&self) -> u64 {
        self.base + self.entries.len() as u64
    }

    fn get(&self, index: u64) -> Option<&LogEntry> {
        self.entries.get(index.checked_sub(self.base + 1)? as usize)
    }

    fn act(&mut self, op: &LogOp) {
        match op {
            LogOp::Put(index, entry) => {
                self.entries.truncate((index - self.base - 1) as usize);
                self.entries.push_back(entry.clone());
            }
            LogOp::Base(base, replace) => {
                if *replace {
                    self.entries.clear();
                    self.base = *base;
                }
                while self.base < *base && self.entries.pop_front().is_some() {
                    self.base += 1;
                }
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Held {
    Receipt(Receipt),
    Send(usize, Parcel),
}

#[derive(Clone, Debug)]
enum Parcel {
    Stream(Bytes, Bytes),
    Append { term: u64, from: u64, entries: Vec<LogEntry>, commit: u64 },
    Ack { matched: u64, last: u64 },
    Snapshot { index: u64, data: Bytes },
}

#[derive(Clone, Debug)]
enum Event {
    Sync(usize, u64, usize),
    Net(usize, Parcel),
    Work(usize, u64, u64, Done),
    Load(usize, u64, u64, Option<Bytes>),
    Tick(usize),
    Verdict(AttachToken, u64),
    Took(AttachToken, u64),
    Failed(AttachToken, u64),
    Retried(AttachToken, u64),
    Beat,
}

pub(super) struct Machine {
    pub(super) streams: Option<Streams>,
    life: u64,
    boot: BootId,
    rows: Vec<Row>,
    synced: usize,
    held: VecDeque<(usize, Held)>,
    pub(super) log: Log,
    durable: u64,
    commit: u64,
    pub(super) applied: u64,
    term: u64,
    leading: bool,
    /// Its disk was rolled back: it must not lead before it took the learner's log (rule C3).
    amnesic: bool,
    held_append: Option<Parcel>,
}

pub(super) struct World {
    pub(super) machines: [Machine; 2],
    pub(super) now: u64,
    pub(super) rng: Rng,
    queue: BTreeMap<(u64, u64), Event>,
    serial: u64,
    pub(super) config: Config,
    pub(super) planted: Planted,
    /// Of a hundred messages, how many are lost; a third as many are doubled.
    pub(super) loss: u64,
    pub(super) cut: bool,
    learner_at: u64,
    pub(super) replies: Vec<(RequestId, Result<Reply, Refusal>)>,
    pub(super) deliveries: Vec<Delivery>,
    /// What was told of what fails the stream.
    pub(super) failed: Vec<crate::flow::FailedAt>,
    pub(super) events: Vec<Told>,
    /// Messages and bytes of payload that streams sent, arrived or not.
    pub(super) said: usize,
    pub(super) payload_sent: usize,
    /// Payloads are lost, all else arrives.
    pub(super) clogged: bool,
    /// What the handler stored: its position, and its effects.
    pub(super) position: u64,
    pub(super) effects: Vec<(WriterId, u64, Bytes)>,
    pub(super) token: Option<AttachToken>,
    next_request: u64,
    pub(super) verdicts: bool,
    /// What came of the message that is handed over in pieces, and of all such under the present attachment.
    pub(super) pieces: Vec<u8>,
    pub(super) took: u64,
    /// A disk was taken back.
    forgot: bool,
    /// The handler does not say that it took pieces.
    pub(super) hoards: bool,
    /// At which message a founder said that the stream was sealed.
    pub(super) settled: Vec<u64>,
    /// What becomes of what the handler fails at.
    pub(super) poison: Poison,
    /// The messages that it fails at.
    pub(super) bad: BTreeSet<u64>,
    /// Handed over and not processed yet, and whether an answer to a failure is waited for.
    queue_of_handler: VecDeque<Delivered>,
    waits_for_word: bool,
    /// How often it failed at each.
    pub(super) failures: BTreeMap<u64, u32>,
    /// Parked messages that it was handed again, and whether it succeeded.
    pub(super) retried: Vec<(u64, bool)>,
    /// What the stream keeps.
    pub(super) keep: Retention,
    /// Milliseconds by which the wall clocks of both are ahead.
    pub(super) ahead: u64,
    /// Who asked to read again, rather than to handle.
    pub(super) replays: BTreeSet<RequestId>,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let machine = || Machine {
            streams: None,
            life: 0,
            boot: BootId(0),
            rows: Vec::new(),
            synced: 0,
            held: VecDeque::new(),
            log: Log::default(),
            durable: 0,
            commit: 0,
            applied: 0,
            term: 0,
            leading: false,
            amnesic: false,
            held_append: None,
        };
        let mut world = Self {
            machines: [machine(), machine()],
            now: 0,
            rng: Rng::stream(bytes, Purpose::Link),
            queue: BTreeMap::new(),
            serial: 0,
            config: Config::default(),
            planted: Planted::none(),
            loss: 0,
            cut: false,
            learner_at: 0,
            replies: Vec::new(),
            deliveries: Vec::new(),
            failed: Vec::new(),
            events: Vec::new(),
            said: 0,
            payload_sent: 0,
            clogged: false,
            position: 0,
            effects: Vec::new(),
            token: None,
            next_request: 0,
            verdicts: true,
            pieces: Vec::new(),
            took: 0,
            forgot: false,
            hoards: false,
            settled: Vec::new(),
            poison: Poison::Block,
            bad: BTreeSet::new(),
            queue_of_handler: VecDeque::new(),
            waits_for_word: false,
            failures: BTreeMap::new(),
            retried: Vec::new(),
            keep: Retention::default(),
            ahead: 0,
            replays: BTreeSet::new(),
        };
        world.after(1, Event::Beat);
        world
    }

    pub(super) fn at(&self) -> Now {
        Now {
            monotonic: Instant(self.now),
            wall: Wall(1_700_000_000_000 + self.ahead + self.now / 1_000_000),
        }
    }

    fn after(&mut self, span: u64, event: Event) {
        self.serial += 1;
        self.queue.insert((self.now + span, self.serial), event);
    }

    fn soon(&mut self) -> u64 {
        Span::micros(self.rng.between(20, 3_000)).as_nanos()
    }

    /// Starts a machine on what its disk holds.
    pub(super) fn start(&mut self, which: usize) {
        let seed = self.rng.bytes32();
        let boot = BootId(self.rng.u128());
        let rng = Rng::stream(seed, Purpose::Stream);
        let mut streams = Streams::new(self.config.clone(), node(which), boot, rng, self.planted);
        let now = self.at();
        let machine = &mut self.machines[which];
        machine.life += 1;
        machine.boot = boot;
        machine.log = Log::default();
        let mut alive: BTreeMap<Key, (usize, Record)> = BTreeMap::new();
        for (place, row) in machine.rows.iter().enumerate() {
            for forget in &row.forgets {
                alive.retain(|key, (_, record)| {
                    (key.owner, key.space, key.id) != (forget.owner, forget.space, forget.id)
                        || record.last_slot >= forget.below
                });
            }
            for record in &row.records {
                alive.insert(record.key, (place, record.clone()));
            }
            row.log.iter().for_each(|op| machine.log.act(op));
        }
        let mut alive: Vec<(usize, Record)> = alive.into_values().collect();
        alive.sort_by_key(|(place, _)| *place);
        for (_, record) in alive {
            let restored = streams.restore(&record.key, record.last_slot, &record.head, record.payload.len());
            restored.expect("what was written can be read");
        }
        machine.held.clear();
        machine.held_append = None;
        machine.synced = machine.rows.len();
        machine.durable = machine.log.last();
        machine.applied = streams.applied_index(INSTANCE).0;
        machine.commit = machine.applied;
        machine.leading = false;
        assert!(machine.log.base <= machine.applied, "what is cut from the log is in the state");
        streams.restored(now);
        machine.streams = Some(streams);
        let ends = Ends::between(node(SOURCE), node(TARGET)).with_poison(self.poison).expect("fits");
        let (name, ends) = (String::from(NAME), ends.keeping(self.keep).expect("fits"));
        self.give(which, Input::Opened { name, instance: INSTANCE, ends });
        if self.machines[1 - which].streams.is_some() {
            self.give(1 - which, Input::PeerBoot { node: node(which), boot });
            let boot = self.machines[1 - which].boot;
            self.give(which, Input::PeerBoot { node: node(1 - which), boot });
        }
        if which == SOURCE {
            self.learner_at = u64::MAX;
        }
    }

    /// Stops a machine. Of the unsynced rows a prefix survives; with `back`, that many synced ones are lost, too.
    pub(super) fn crash(&mut self, which: usize, back: usize) {
        if self.machines[which].streams.is_none() {
            return;
        }
        let unsynced = self.machines[which].rows.len() - self.machines[which].synced;
        let keep = self.rng.between(0, unsynced as u64) as usize;
        let machine = &mut self.machines[which];
        machine.streams = None;
        let left = if back > 0 { machine.synced.saturating_sub(back) } else { machine.synced + keep };
        machine.rows.truncate(left);
        machine.amnesic |= back > 0;
        self.forgot |= back > 0;
        if which == TARGET {
            self.token = None;
            self.queue_of_handler.clear();
        }
    }

    /// What was not synced is not on the disk of that machine.
    pub(super) fn lose_unsynced(&mut self, which: usize) {
        let machine = &mut self.machines[which];
        machine.rows.truncate(machine.synced);
    }

    pub(super) fn give(&mut self, which: usize, input: Input) {
        let mut inputs = VecDeque::from([input]);
        let mut row = Row::default();
        let mut held = Vec::new();
        let now = self.at();
        while let Some(input) = inputs.pop_front() {
            let Some(mut streams) = self.machines[which].streams.take() else { return };
            streams.handle(now, input);
            while let Some(output) = streams.poll() {
                self.output(which, &mut streams, output, &mut row, &mut held, &mut inputs);
            }
            let level = if self.serial.is_multiple_of(8) { Level::Full } else { Level::Cheap };
            streams.check_invariants(level);
            self.machines[which].streams = Some(streams);
        }
        self.seal(which, row, held);
    }

    fn seal(&mut self, which: usize, row: Row, held: Vec<Held>) {
        let delay = self.soon();
        let machine = &mut self.machines[which];
        if !(row.records.is_empty() && row.forgets.is_empty() && row.log.is_empty()) {
            machine.rows.push(row);
        }
        let rows = machine.rows.len();
        machine.held.extend(held.into_iter().map(|held| (rows, held)));
        let life = machine.life;
        if rows > machine.synced || !machine.held.is_empty() {
            self.after(delay, Event::Sync(which, life, rows));
        }
    }

    fn output(
        &mut self,
        which: usize,
        streams: &mut Streams,
        output: Output,
        row: &mut Row,
        held: &mut Vec<Held>,
        inputs: &mut VecDeque<Input>,
    ) {
        let machine = &mut self.machines[which];
        let life = machine.life;
        match output {
            Output::Persist(record) => row.records.push(record),
            Output::Forget(forget) => row.forgets.push(forget),
            Output::Notify(receipt) => held.push(Held::Receipt(receipt)),
            Output::Work { token, job } => {
                let done = perform(&job, &[]);
                let delay = self.soon();
                self.after(delay, Event::Work(which, life, token, done));
            }
            Output::Load { token, key } => {
                let rows = machine.rows.iter().chain([&*row]);
                let found = rows.flat_map(|row| &row.records).rfind(|record| record.key == key);
                let bytes = found.map(|record| record.payload.to_bytes());
                let delay = self.soon();
                self.after(delay, Event::Load(which, life, token, bytes));
            }
            Output::Send { message, when, .. } => {
                let (header, payload) = message.encode();
                let parcel = Parcel::Stream(header, payload.to_bytes());
                match when {
                    When::Now => self.send(1 - which, parcel),
                    When::Durable => held.push(Held::Send(1 - which, parcel)),
                }
            }
            Output::Propose { instance, data, context, .. } => {
                if !machine.leading {
                    return inputs.push_back(Input::Refused { instance, context });
                }
                let index = machine.log.last() + 1;
                let op = LogOp::Put(index, LogEntry { term: machine.term, command: true, data });
                machine.log.act(&op);
                row.log.push(op);
                inputs.push_back(Input::Proposed { instance, context, index: LogIndex(index) });
                if which == TARGET {
                    // It goes on as the only voter.
                    machine.commit = index;
                }
                self.replicate();
            }
            Output::OfferAgain { .. } => {
                if let Some(append) = self.machines[which].held_append.take() {
                    self.append(streams, append, row);
                }
            }
            Output::Compact { upto, .. } => {
                let op = LogOp::Base(upto.0, false);
                machine.log.act(&op);
                row.log.push(op);
            }
            Output::Snapshot { index, data, .. } => {
                self.send(1 - which, Parcel::Snapshot { index: index.0, data })
            }
            Output::Installed { taken, .. } => {
                if taken {
                    let base = streams.applied_index(INSTANCE).0;
                    let op = LogOp::Base(base, true);
                    machine.log.act(&op);
                    row.log.push(op);
                    machine.applied = base;
                    machine.commit = machine.commit.max(base);
                }
            }
            Output::Deliver(delivery) => {
                self.handler(&delivery);
                self.deliveries.push(delivery);
            }
            Output::Reply { request, reply } => {
                if let Ok(Reply::Attached { token, .. }) = &reply
                    && !self.replays.contains(&request)
                {
                    (self.token, self.took) = (Some(*token), 0);
                    self.pieces.clear();
                    self.queue_of_handler.clear();
                    self.waits_for_word = false;
                }
                if let Ok(Reply::Failed { token, sequence, passed }) = reply {
                    self.told_of_failure(token, sequence.0, passed);
                }
                self.replies.push((request, reply));
            }
            Output::Failed { failed, .. } => self.failed.push(failed),
            Output::Event(event) => self.events.push(event),
            Output::Resign { .. } | Output::Voting { .. } | Output::Known { .. } => {}
            // Of two members only one ever leads.
            Output::Lead { .. }
            | Output::Unanswered { .. }
            | Output::Conform { .. }
            | Output::Idle { .. }
            | Output::MembersChanged { .. } => unreachable!(),
            Output::Settled { sequence, .. } => self.settled.push(sequence.0),
            Output::Contradicted { reason, .. } => panic!("the log is one: {reason}"),
        }
    }

    /// Stores position and effect together; a verdict follows, or is lost with its connection.
    fn handler(&mut self, delivery: &Delivery) {
        if Some(delivery.token) != self.token {
            return;
        }
        for message in &delivery.messages {
            if message.parked {
                self.handed_again(delivery.token, message.sequence.0);
            } else if let Some(message) = self.pieces(message) {
                self.queue_of_handler.push_back(message);
            }
        }
        self.handle(delivery.token);
    }

    /// Processes what there is, up to a message that it fails at.
    fn handle(&mut self, token: AttachToken) {
        let mut failed = None;
        while let Some(message) = self.queue_of_handler.front().filter(|_| !self.waits_for_word) {
            if self.bad.contains(&message.sequence.0) {
                self.waits_for_word = true;
                failed = Some(message.sequence.0);
                break;
            }
            let Some(message) = self.queue_of_handler.pop_front() else { break };
            self.position = message.sequence.0;
            self.effects.push((message.writer, message.writer_sequence.0, message.bytes));
        }
        if !self.verdicts && failed.is_none() {
            return;
        }
        let delay = self.soon();
        if self.verdicts {
            let upto = self.position;
            self.after(delay, Event::Verdict(token, upto));
        }
        if let Some(sequence) = failed {
            *self.failures.entry(sequence).or_default() += 1;
            self.after(delay, Event::Failed(token, sequence));
        }
    }

    fn told_of_failure(&mut self, token: AttachToken, sequence: u64, passed: bool) {
        if Some(token) == self.token {
            self.waits_for_word = false;
            self.queue_of_handler.retain(|message| !passed || message.sequence.0 > sequence);
            self.handle(token);
        }
    }

    fn handed_again(&mut self, token: AttachToken, sequence: u64) {
        let good = !self.bad.contains(&sequence);
        self.retried.push((sequence, good));
        let delay = self.soon();
        let said = if good { Event::Retried(token, sequence) } else { Event::Failed(token, sequence) };
        self.after(delay, said);
    }

    /// A message of so many parts comes after what came before it. A source whose disk forgot leaves parts behind of what nobody knows any more.
    fn follows(&self, sequence: u64, parts: u64) {
        let before = self.queue_of_handler.back().map_or(self.position, |last| last.sequence.0);
        let next = before + parts;
        let parked = sequence > next && (next..sequence).all(|passed| self.bad.contains(&passed));
        assert!(
            sequence == next || parked || self.forgot && sequence > next,
            "{sequence} is handed over after {before}"
        );
    }

    /// Puts a message together from its pieces; `None` while some are missing.
    fn pieces(&mut self, message: &Delivered) -> Option<Delivered> {
        let Some(piece) = message.piece else {
            self.follows(message.sequence.0, 1);
            return Some(message.clone());
        };
        if piece.offset == 0 {
            self.pieces.clear();
        }
        assert_eq!(piece.offset, self.pieces.len() as u64, "a piece is missing, or comes twice");
        self.pieces.extend_from_slice(&message.bytes);
        self.took += message.bytes.len() as u64;
        if !self.hoards {
            let (token, bytes) = (self.token?, self.took);
            let delay = self.soon();
            self.after(delay, Event::Took(token, bytes));
        }
        if (self.pieces.len() as u64) < piece.total {
            return None;
        }
        let parts = piece.total.div_ceil(self.config.part_bytes);
        self.follows(message.sequence.0, parts);
        assert_eq!(Digest::of_bytes(&self.pieces), piece.whole, "the pieces are not the message");
        let bytes = core::mem::take(&mut self.pieces).into();
        Some(Delivered { bytes, piece: None, ..message.clone() })
    }

    fn send(&mut self, to: usize, parcel: Parcel) {
        if let Parcel::Stream(_, payload) = &parcel {
            self.said += 1;
            self.payload_sent += payload.len();
        }
        let clogged = self.clogged && matches!(&parcel, Parcel::Stream(_, payload) if !payload.is_empty());
        let lost = self.cut || clogged || self.rng.below(100) < self.loss;
        let times = if lost {
            0
        } else if self.rng.below(300) < self.loss {
            2
        } else {
            1
        };
        for _ in 0..times {
            let mut delay = self.soon();
            if self.rng.below(100) < self.loss {
                delay += Span::millis(self.rng.between(1, 400)).as_nanos();
            }
            self.after(delay, Event::Net(to, parcel.clone()));
        }
    }

    /// Does the next event. `false` once `until` is reached.
    pub(super) fn next(&mut self, until: u64) -> bool {
        let timer = |machine: &Machine| machine.streams.as_ref().and_then(Streams::next_deadline);
        let due = [SOURCE, TARGET]
            .into_iter()
            .filter_map(|which| timer(&self.machines[which]).map(|at| (at.0, which)));
        let due = due.min();
        let first = self.queue.first_key_value().map(|(&key, _)| key);
        let at = first.map(|(at, _)| at).into_iter().chain(due.map(|(at, _)| at)).min();
        let Some(at) = at.filter(|&at| at <= until) else {
            self.now = until;
            return false;
        };
        self.now = self.now.max(at);
        let event = match (first, due) {
            (Some(key), due) if due.is_none_or(|(at, _)| key.0 <= at) => self.queue.remove(&key),
            (_, due) => due.map(|(_, which)| Event::Tick(which)),
        };
        if let Some(event) = event {
            self.event(event);
        }
        true
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Sync(which, life, rows) => self.sync(which, life, rows),
            Event::Net(to, parcel) => self.net(to, parcel),
            Event::Work(which, life, token, done) if self.machines[which].life == life => {
                self.give(which, Input::WorkDone { token, done });
            }
            Event::Load(which, life, token, bytes) if self.machines[which].life == life => {
                self.give(which, Input::Loaded { token, bytes });
            }
            Event::Work(..) | Event::Load(..) => {}
            Event::Tick(which) => self.give(which, Input::Deadline),
            Event::Verdict(token, upto) => {
                self.give(TARGET, Input::Verdict { token, upto: crate::id::Sequence(upto) });
            }
            Event::Failed(token, sequence) => {
                let reason = alloc::format!("message {sequence} is bad");
                self.give(TARGET, Input::Failed { token, sequence: crate::id::Sequence(sequence), reason });
            }
            Event::Retried(token, sequence) => {
                self.give(TARGET, Input::Retried { token, sequence: crate::id::Sequence(sequence) });
            }
            Event::Took(token, bytes) => self.give(TARGET, Input::Took { token, bytes }),
            Event::Beat => {
                if self.machines[TARGET].streams.is_some() {
                    self.acknowledge();
                }
                self.replicate();
                self.after(Span::millis(50).as_nanos(), Event::Beat);
            }
        }
    }

    fn sync(&mut self, which: usize, life: u64, rows: usize) {
        let machine = &mut self.machines[which];
        if machine.life != life || machine.streams.is_none() {
            return;
        }
        machine.synced = machine.synced.max(rows);
        if machine.synced == machine.rows.len() {
            machine.durable = machine.log.last();
        }
        while let Some((needed, _)) = self.machines[which].held.front() {
            if *needed > self.machines[which].synced {
                break;
            }
            match self.machines[which].held.pop_front() {
                Some((_, Held::Receipt(receipt))) => self.give(which, Input::Durable(receipt)),
                Some((_, Held::Send(to, parcel))) => self.send(to, parcel),
                None => {}
            }
        }
        if which == SOURCE && self.machines[SOURCE].leading {
            self.machines[SOURCE].commit = self.machines[SOURCE].durable;
            self.apply(SOURCE);
            self.replicate();
        } else if which == TARGET {
            self.apply(TARGET);
            self.acknowledge();
        }
    }

    pub(super) fn run(&mut self, span: Span) {
        let until = self.now + span.as_nanos();
        while self.next(until) {}
    }

    pub(super) fn request(&mut self) -> RequestId {
        self.next_request += 1;
        RequestId(self.next_request)
    }

    pub(super) fn publish(&mut self, writer: u128, first: u64, count: u64, wait: Waited) -> RequestId {
        let request = self.request();
        let messages = (first..first + count).map(|at| body(WriterId(writer), at)).collect();
        let (stream, first) = (String::from(NAME), WriterSequence(first));
        let writer = WriterId(writer);
        self.give(SOURCE, Input::Publish { request, stream, writer, first, messages, wait });
        request
    }

    /// Sends a part of a large message of that writer and number; the last one with the digest of all.
    pub(super) fn stage(
        &mut self,
        writer: u128,
        number: u64,
        whole: &[u8],
        offset: u64,
        wait: Waited,
    ) -> RequestId {
        let end = (offset + self.config.part_bytes).min(whole.len() as u64);
        let part = PartOf {
            writer: WriterId(writer),
            number: WriterSequence(number),
            total: whole.len() as u64,
            offset,
            bytes: Bytes::copy_from_slice(&whole[offset as usize..end as usize]),
            digest: (end == whole.len() as u64).then(|| Digest::of_bytes(whole)),
            wait,
        };
        self.stage_part(part)
    }

    pub(super) fn stage_part(&mut self, part: PartOf) -> RequestId {
        let (request, stream) = (self.request(), String::from(NAME));
        self.give(SOURCE, Input::Stage { request, stream, part });
        request
    }

    /// What the source says of a writer.
    pub(super) fn find(&mut self, writer: u128) -> (u64, Option<Staged>) {
        let (request, stream) = (self.request(), String::from(NAME));
        self.give(SOURCE, Input::FindWriter { request, stream, writer: WriterId(writer) });
        match self.answers(request).last() {
            Some(Ok(Reply::Writer { next, staged, .. })) => (next.0, *staged),
            other => panic!("nobody knows the writer: {other:?}"),
        }
    }

    pub(super) fn attach(&mut self, presented: Option<u64>, window: u32) -> RequestId {
        let request = self.request();
        let presented = presented.map(|sequence| Position {
            instance: INSTANCE,
            authority: crate::id::AuthorityEpoch(0),
            sequence: crate::id::Sequence(sequence),
        });
        self.give(TARGET, Input::Attach { request, stream: String::from(NAME), presented, window });
        request
    }

    /// Asks about what is parked at the target.
    pub(super) fn parked(&mut self, command: ParkedCommand) -> RequestId {
        let (request, stream) = (self.request(), String::from(NAME));
        self.give(TARGET, Input::Parked { request, stream, command });
        request
    }

    /// What a machine says of the stream.
    pub(super) fn status(&self, which: usize) -> StreamStatus {
        let streams = self.machines[which].streams.as_ref().expect("it runs");
        streams.status(self.at()).pop().expect("the stream is open")
    }

    /// How many bytes of payload a machine has ever written.
    pub(super) fn written(&self, which: usize) -> usize {
        self.machines[which].rows.iter().flat_map(|row| &row.records).map(|record| record.payload.len()).sum()
    }

    /// How many rows a machine has on its disk.
    pub(super) fn rows(&self, which: usize) -> usize {
        self.machines[which].synced
    }

    /// How many bytes of payload on a machine's disk are not forgotten.
    pub(super) fn alive(&self, which: usize) -> usize {
        let mut alive: BTreeMap<Key, (u64, usize)> = BTreeMap::new();
        for row in &self.machines[which].rows {
            for forget in &row.forgets {
                let of =
                    |key: &Key| (key.owner, key.space, key.id) == (forget.owner, forget.space, forget.id);
                alive.retain(|key, (last, _)| !of(key) || *last >= forget.below);
            }
            let records =
                row.records.iter().map(|record| (record.key, (record.last_slot, record.payload.len())));
            alive.extend(records);
        }
        alive.into_values().map(|(_, bytes)| bytes).sum()
    }

    /// The answers to a request.
    pub(super) fn answers(&self, request: RequestId) -> Vec<&Result<Reply, Refusal>> {
        self.replies.iter().filter(|(other, _)| *other == request).map(|(_, reply)| reply).collect()
    }
}

/// A large message: always the same.
pub(super) fn large(writer: u128, number: u64, len: usize) -> Vec<u8> {
    let seed = number.wrapping_mul(31) ^ writer as u64;
    (0..len as u64).map(|at| (at.wrapping_mul(seed | 1) >> 3) as u8 ^ at as u8).collect()
}

/// What a writer writes at a place: always the same.
pub(super) fn body(writer: WriterId, at: u64) -> Bytes {
    let len = (at.wrapping_mul(0x9e37_79b9) ^ writer.0 as u64) % 700;
    Bytes::from(alloc::vec![(at as u8) ^ (writer.0 as u8); len as usize])
}
