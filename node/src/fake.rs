//! A node that lives in memory, for tests of everything around it: no disk, no mesh, but the promises of a stream's two ends.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use tokio::sync::{broadcast, watch};
use tonic::async_trait;
use wattle_core::agreed::{
    ConfigChange, ConfigCommand, ConfigRecord, ConfigRefusal, ConfigReply, KeyStatus, MeshSettings, ReadPoint,
};
use wattle_core::epoch::Epoch;
use wattle_core::flow::{FlowChange, FlowRefusal, FlowTold, FlowWish, Rule, Said, Scope, Tenant, Which};
use wattle_core::id::{
    AttachToken, AuthorityEpoch, BootId, Generation, LogIndex, MeshId, MessageId, NodeId, RequestId,
    Sequence, SessionEpoch, StreamInstance, Term, WriterId, WriterSequence,
};
use wattle_core::mesh::Activity;
use wattle_core::mesh::handlers::{DESCRIPTION, VOTERS};
use wattle_core::node::command::{Command, Position, Range, Receipt, Refusal, Reply, Staged, Waited};
use wattle_core::node::output::{Delivered, Delivery, Event};
use wattle_core::node::status::Status;
use wattle_core::recovery::{
    Named, RecoverCommand, RecoverRefusal, RecoverReply, Recovered, RecoveryPlan, RecoveryStatus,
};
use wattle_core::time::Wall;
use wattle_core::update::UpdateKind;
use wattle_core::work::PublicKey;

use crate::world::{Answer, Ended, Handed, Handler, Listed, Queue, Replies, World, Written};

/// Events kept for who is slow to take them.
pub(crate) const EVENTS_KEPT: usize = 32;

/// The node. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct FakeWorld {
    state: Arc<Mutex<State>>,
    changed: watch::Sender<u64>,
    events: broadcast::Sender<Event>,
}

#[derive(Debug)]
struct State {
    node: NodeId,
    name: String,
    stopped: bool,
    streams: BTreeMap<String, FakeStream>,
    /// What is answered to everything about a stream, if anything.
    refuse: Option<Refusal>,
    /// So many publishes are refused for want of space.
    full: u32,
    /// The agreed configuration, and how many entries made it.
    config: BTreeMap<String, ConfigRecord>,
    entries: u64,
    /// Answer no level above this one, as if the rest of the mesh were away.
    reaches: Waited,
    activity: Activity,
    /// What was said of whether streams take messages in.
    rule: Rule,
}

#[derive(Debug, Default)]
struct FakeStream {
    instance: StreamInstance,
    messages: Vec<(WriterId, Bytes)>,
    writers: BTreeMap<WriterId, u64>,
    processed: u64,
    token: u64,
    /// The mark that the node learnt of from elsewhere; handlers attached before that stand below it.
    learnt: u64,
    /// The last message that is kept no more.
    gone: u64,
}

impl FakeWorld {
    pub(crate) fn new(name: &str, node: u128) -> Self {
        let state = State {
            node: NodeId(node),
            name: name.to_owned(),
            stopped: false,
            streams: BTreeMap::new(),
            refuse: None,
            full: 0,
            config: BTreeMap::new(),
            entries: 0,
            reaches: Waited::Completed,
            activity: Activity::Running,
            rule: Rule::default(),
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            changed: watch::channel(0).0,
            events: broadcast::channel(EVENTS_KEPT).0,
        }
    }

    /// Something happens.
    pub(crate) fn happens(&self, event: Event) {
        // Nobody need listen.
        let _ = self.events.send(event);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics while it holds the lock")
    }

    fn change(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    /// Opens a stream whose both ends are this node.
    pub(crate) fn open(&self, stream: &str) {
        let instance = StreamInstance(77);
        self.state().streams.insert(stream.to_owned(), FakeStream { instance, ..FakeStream::default() });
    }

    /// Everything about a stream is refused from now on, its attached handlers too.
    pub(crate) fn refuse(&self, refusal: Option<Refusal>) {
        self.state().refuse = refusal;
        self.change();
    }

    pub(crate) fn full_for(&self, publishes: u32) {
        self.state().full = publishes;
    }

    pub(crate) fn reaches(&self, level: Waited) {
        self.state().reaches = level;
    }

    /// As if the process ended: nothing is answered any more. What was accepted stays, as on a disk.
    pub(crate) fn stop(&self) {
        self.state().stopped = true;
        self.change();
    }

    pub(crate) fn start(&self) {
        self.state().stopped = false;
    }

    pub(crate) fn processed(&self, stream: &str) -> u64 {
        self.state().streams[stream].processed
    }

    /// The node learns that more was processed than its own disk remembers.
    pub(crate) fn learns_of_mark(&self, stream: &str, mark: u64) {
        let mut state = self.state();
        let stream = state.streams.get_mut(stream).expect("an open stream");
        (stream.processed, stream.learnt) = (mark, mark);
        drop(state);
        self.change();
    }

    /// Messages up to that one are let go.
    pub(crate) fn lets_go(&self, stream: &str, upto: u64) {
        self.state().streams.get_mut(stream).expect("an open stream").gone = upto;
        self.change();
    }

    pub(crate) fn accepted(&self, stream: &str) -> usize {
        self.state().streams[stream].messages.len()
    }

    pub(crate) fn text(&self, stream: &str) -> String {
        let state = self.state();
        let lines = state.streams[stream].messages.iter();
        lines.map(|(_, line)| format!("{}\n", String::from_utf8_lossy(line))).collect()
    }
}

fn recover(command: RecoverCommand) -> Result<RecoverReply, Refusal> {
    let b = (NodeId(2), "b".to_owned());
    match command {
        RecoverCommand::Withdraw => Err(RecoverRefusal::NothingToWithdraw.into()),
        RecoverCommand::Plan { lost } | RecoverCommand::Recover { lost } if lost != ["b"] => {
            Err(RecoverRefusal::Quorum { voters: "a, b".to_owned() }.into())
        }
        RecoverCommand::Plan { .. } => Ok(RecoverReply::Plan(RecoveryPlan {
            attempt: 1,
            epoch: Epoch::default(),
            next: 1,
            last: LogIndex(7),
            term: Term(2),
            applied: LogIndex(6),
            lost: vec![Named { node: b.0, name: b.1, voter: true }],
            survivors: Vec::new(),
            voters: 1,
        })),
        RecoverCommand::Recover { .. } => Ok(RecoverReply::Recovered(Recovered {
            attempt: 1,
            era: 9,
            asked_at: NodeId(1),
            founder: NodeId(1),
            end: LogIndex(7),
            before: Epoch::default(),
            number: 1,
            time: Wall(5),
            lost: vec![b],
        })),
    }
}

impl State {
    fn answer(&mut self, command: Command) -> VecDeque<Answer> {
        let answer = match command {
            Command::Seed { .. } => Ok(Reply::Seeded { mesh: MeshId(5), token: "token".to_owned() }),
            Command::Invite => Ok(Reply::Token { token: "token".to_owned() }),
            Command::Join { token } => Err(Refusal::BadToken(token)),
            Command::Evict { member } if member == "b" => Ok(Reply::Evicted { node: NodeId(2), epoch: 1 }),
            Command::Evict { member } => Err(Refusal::UnknownNode(member)),
            Command::Recover(command) => recover(command).map(Reply::Recovery),
            Command::Leave { force: true } => Ok(Reply::Left),
            Command::Leave { force: false } => {
                Err(Refusal::StreamsOpen { names: vec!["words".to_owned()], more: 0 })
            }
            Command::StopMesh { .. } => {
                self.activity = Activity::Stopped;
                Ok(Reply::MeshStopped)
            }
            Command::RotateNodeKey { finish: true } => {
                Ok(Reply::NodeKey { key: PublicKey([9; 32]), retired: true })
            }
            Command::RotateNodeKey { finish: false } => Err(Refusal::RotationUnderWay(1)),
            Command::StartMesh => {
                self.activity = Activity::Running;
                Ok(Reply::MeshStarted)
            }
            Command::OpenStream { .. } if self.activity == Activity::Stopped => Err(Refusal::MeshStopped),
            Command::OpenStream { .. }
            | Command::CloseStream { .. }
            | Command::SealStream { .. }
            | Command::ChangeMembers(_)
            | Command::Parked { .. }
            | Command::Attach { .. }
            | Command::Replay { .. } => Err(Refusal::NoQuorum),
            Command::ChangeFlow(wish) => self.flow(&wish).map(Reply::Flow),
            Command::Within { tenant, .. } if !tenant.is_default() => {
                let (stream, named) = ("words".to_owned(), tenant);
                Err(FlowRefusal::WrongTenant { stream, tenant: Tenant::default(), named }.into())
            }
            Command::Within { command, .. } => return self.answer(*command),
            Command::Describe(_) | Command::Update(_) => Err(Refusal::NotMember),
            Command::Config(command) => return self.config(command).into_iter().collect(),
            Command::CloseWriter { .. } => Ok(Reply::WriterClosed),
            Command::Stage { part, .. } => {
                let upto = part.offset + part.bytes.len() as u64;
                Ok(Reply::Staged(Staged { total: part.total, upto, part_bytes: 256 << 10 }))
            }
            Command::GiveUpStaged { .. } => Ok(Reply::Staged(Staged::default())),
            Command::FindWriter { stream, writer } => self.stream(&stream).map(|stream| Reply::Writer {
                next: WriterSequence(stream.writers.get(&writer).map_or(1, |last| last + 1)),
                staged: None,
                part_bytes: 256 << 10,
            }),
            Command::Publish { stream, writer, first, messages, wait } => {
                return self.publish(&stream, writer, first, messages, wait);
            }
        };
        VecDeque::from([answer])
    }

    /// The only rule there is: whatever it is about, it pauses every stream.
    fn flow(&mut self, wish: &FlowWish) -> Result<Box<FlowTold>, Refusal> {
        if let Which::Stream(name) = &wish.which {
            self.stream(name)?;
        }
        let said = Said { at: NodeId(1), time: Wall(5) };
        match wish.change {
            FlowChange::Pause => self.rule.paused = Some(said),
            FlowChange::Resume => self.rule.paused = None,
            FlowChange::Throttle(rate) => self.rule.rate = Some((rate, said)),
            FlowChange::Unthrottle => self.rule.rate = None,
        }
        let (rule, streams) = (self.rule.clone(), self.streams.len() as u64);
        let paused = if rule.paused.is_some() { streams } else { 0 };
        Ok(Box::new(FlowTold { rule, streams, paused, resumed: 0, still: None }))
    }

    /// Every write is an entry. A watch is answered as long as it has something to tell, and then never.
    fn config(&mut self, command: ConfigCommand) -> Option<Answer> {
        let at = |consistency| ReadPoint { applied: LogIndex(self.entries), consistency, age: None };
        let reply = match command {
            ConfigCommand::Set { key, value, expected } => {
                let present = self.config.get(&key).map(|record| record.version);
                if !expected.fits(present) {
                    return Some(Err(ConfigRefusal::Conflict { key, present }.into()));
                }
                self.entries += 1;
                let version = LogIndex(self.entries);
                let record = ConfigRecord { key: key.clone(), value, version, created: version };
                self.config.insert(key, record);
                ConfigReply::Written { version }
            }
            ConfigCommand::Delete { key, .. } => {
                if self.config.remove(&key).is_none() {
                    return Some(Err(ConfigRefusal::UnknownKey(key).into()));
                }
                self.entries += 1;
                ConfigReply::Deleted { version: LogIndex(self.entries) }
            }
            ConfigCommand::RotateKey { uses, .. } => {
                self.entries += 1;
                let key = KeyStatus { version: LogIndex(self.entries), uses, ..KeyStatus::default() };
                ConfigReply::KeyRotated { text: "wattle1.KEY".to_owned(), key }
            }
            ConfigCommand::Configure { changes, .. } => {
                self.entries += 1;
                let version = LogIndex(self.entries);
                for (key, value) in changes {
                    let value = value.unwrap_or_default();
                    let record = ConfigRecord { key: key.clone(), value, version, created: version };
                    self.config.insert(key, record);
                }
                ConfigReply::Written { version }
            }
            ConfigCommand::Settings { consistency } => {
                let text =
                    |key: &str| Some(String::from_utf8_lossy(&self.config.get(key)?.value).into_owned());
                let settings = MeshSettings {
                    version: LogIndex(self.entries),
                    description: text(DESCRIPTION),
                    voters: text(VOTERS).and_then(|voters| voters.parse().ok()),
                    ..MeshSettings::default()
                };
                ConfigReply::Settings { settings, key: None, at: at(consistency) }
            }
            ConfigCommand::Get { key, consistency } => {
                ConfigReply::Record { record: self.config.get(&key).cloned(), at: at(consistency) }
            }
            ConfigCommand::List { prefix, after, limit, consistency } => {
                let found = self.config.values().filter(|r| r.key.starts_with(&prefix) && r.key > after);
                let mut records: Vec<ConfigRecord> = found.cloned().collect();
                let more = limit > 0 && records.len() > limit as usize;
                records.truncate(if limit == 0 { usize::MAX } else { limit as usize });
                ConfigReply::Listed { records, more, at: at(consistency) }
            }
            ConfigCommand::Watch { prefix, after } => {
                let since = after.unwrap_or_default();
                let found = self.config.values().filter(|r| r.key.starts_with(&prefix) && r.version > since);
                let change = |record: &ConfigRecord| ConfigChange {
                    key: record.key.clone(),
                    version: record.version,
                    record: Some(record.clone()),
                };
                let changes: Vec<ConfigChange> = found.map(change).collect();
                if after.is_some() && changes.is_empty() {
                    return None;
                }
                ConfigReply::Changes { fresh: after.is_none(), changes, upto: LogIndex(self.entries) }
            }
        };
        Some(Ok(Reply::Config(reply)))
    }

    fn stream(&mut self, stream: &str) -> Result<&mut FakeStream, Refusal> {
        if let Some(refusal) = &self.refuse {
            return Err(refusal.clone());
        }
        self.streams.get_mut(stream).ok_or_else(|| Refusal::UnknownStream(stream.to_owned()))
    }

    fn publish(
        &mut self,
        stream: &str,
        writer: WriterId,
        first: WriterSequence,
        messages: Vec<Bytes>,
        wait: Waited,
    ) -> VecDeque<Answer> {
        if let Some(said) = self.rule.paused {
            let (stream, scope) = (stream.to_owned(), Scope::Stream(StreamInstance(77)));
            let name = Some(self.name.clone());
            return VecDeque::from([Err(FlowRefusal::Paused { stream, scope, said, name }.into())]);
        }
        if self.full > 0 {
            self.full -= 1;
            return VecDeque::from([Err(Refusal::NoSpace { free: 7 })]);
        }
        let reaches = self.reaches;
        let stream = match self.stream(stream) {
            Ok(stream) => stream,
            Err(refusal) => return VecDeque::from([Err(refusal)]),
        };
        let last = first.0 + messages.len() as u64 - 1;
        let written = stream.writers.entry(writer).or_default();
        if first.0 > *written + 1 {
            let expected = WriterSequence(*written + 1);
            return VecDeque::from([Err(Refusal::WriterGap { expected, got: first })]);
        }
        let duplicate = last <= *written;
        let known = usize::try_from(*written + 1 - first.0).expect("small");
        *written = (*written).max(last);
        stream.messages.extend(messages.into_iter().skip(known).map(|message| (writer, message)));
        let end = stream.messages.len() as u64;
        let (instance, reaches) = (stream.instance, reaches.min(wait));
        // As a node does with long arrays: cut into batches that have receipts of their own.
        let middle = first.0 + (last - first.0) / 2;
        let parts =
            if middle < last { vec![(first.0, middle), (middle + 1, last)] } else { vec![(first.0, last)] };
        let receipt = |level, (from, upto): (u64, u64)| Receipt {
            level,
            instance,
            authority: AuthorityEpoch(1),
            session: SessionEpoch(1),
            first_writer: WriterSequence(from),
            last_writer: WriterSequence(upto),
            first: Sequence(end + from - last),
            last: Sequence(end + upto - last),
            provisional: false,
            duplicate,
        };
        let levels = [Waited::Accepted, Waited::Replicated, Waited::Completed].into_iter();
        levels
            .filter(|level| *level <= reaches)
            .flat_map(|level| parts.iter().map(move |&part| Ok(Reply::Published(receipt(level, part)))))
            .collect()
    }
}

#[async_trait]
impl World for FakeWorld {
    type Replies = FakeReplies;
    type Queue = FakeQueue;
    type Handler = FakeHandler;

    fn node(&self) -> NodeId {
        self.state().node
    }

    fn name(&self) -> String {
        self.state().name.clone()
    }

    async fn command(&self, command: Command) -> FakeReplies {
        let mut state = self.state();
        let (answers, owed) = if state.stopped {
            (VecDeque::new(), false)
        } else {
            let waits_for_more =
                matches!(command.inner(), Command::Publish { wait, .. } if *wait > state.reaches);
            let answers = state.answer(command);
            let waits = waits_for_more || answers.is_empty();
            (answers, waits)
        };
        drop(state);
        self.change();
        FakeReplies { world: self.clone(), answers, owed }
    }

    fn queue(&self) -> FakeQueue {
        FakeQueue { world: self.clone(), answers: VecDeque::new(), asked: 0 }
    }

    async fn attach(
        &self,
        stream: String,
        presented: Option<Position>,
        window: u32,
    ) -> Result<FakeHandler, Refusal> {
        let mut state = self.state();
        let found = state.stream(&stream)?;
        found.token += 1;
        let instance = found.instance;
        if let Some(foreign) = presented.filter(|presented| presented.instance != instance) {
            return Err(Refusal::ForeignPosition(foreign.instance.to_string()));
        }
        let sequence = presented.map_or(found.processed, |presented| presented.sequence.0);
        let position = Position { instance, authority: AuthorityEpoch(1), sequence: Sequence(sequence) };
        let (token, learnt) = (AttachToken(found.token), found.learnt);
        drop(state);
        self.change();
        Ok(FakeHandler {
            world: self.clone(),
            stream,
            token,
            position,
            handed: sequence,
            window: window.into(),
            learnt,
            answers: VecDeque::new(),
            range: None,
        })
    }

    async fn replay(&self, stream: String, range: Range, window: u32) -> Result<FakeHandler, Refusal> {
        let mut state = self.state();
        let found = state.stream(&stream)?;
        let (instance, first) = (found.instance, Sequence(found.gone + 1));
        let wanted = range.from.unwrap_or(first);
        if wanted < first {
            return Err(Refusal::Released { wanted, first });
        }
        let position = Position { instance, authority: AuthorityEpoch(1), sequence: wanted.before() };
        let (handed, token) = (position.sequence.0, AttachToken(1_000 + wanted.0));
        let (window, learnt, range) = (window.into(), 0, Some((range, handed)));
        drop(state);
        let (world, answers) = (self.clone(), VecDeque::new());
        Ok(FakeHandler { world, stream, token, position, handed, window, learnt, answers, range })
    }

    /// It belongs to no mesh that could have any.
    async fn attach_updates(&self, _: UpdateKind, _: u32) -> Result<FakeHandler, Refusal> {
        Err(Refusal::NotMember)
    }

    fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    async fn status(&self) -> Option<Status> {
        let state = self.state();
        (!state.stopped).then(|| Status {
            recovery: RecoveryStatus::default(),
            epoch: wattle_core::epoch::Epoch::default(),
            parted: None,
            duplicate: None,
            key_retired: None,
            standing: None,
            activity: state.activity,
            former: Vec::new(),
            node: state.node,
            name: state.name.clone(),
            boot: BootId(1),
            generation: Generation(1),
            mesh: Some(MeshId(5)),
            mesh_name: "fake".to_owned(),
            settings: MeshSettings::default(),
            members: Vec::new(),
            links: Vec::new(),
            control: None,
            streams: Vec::new(),
            updates: Vec::new(),
            refusing: None,
            journal_bytes: 0,
            journal_live_bytes: 0,
            logs: Default::default(),
        })
    }

    fn handlers(&self) -> Vec<Listed> {
        Vec::new()
    }

    fn written(&self) -> Written {
        Written { bytes: 4096, syncs: 3 }
    }
}

/// Answers that are there at once; what is still owed comes only when the node stops, as an end.
pub(crate) struct FakeReplies {
    world: FakeWorld,
    answers: VecDeque<Answer>,
    owed: bool,
}

#[async_trait]
impl Replies for FakeReplies {
    async fn next(&mut self) -> Option<Answer> {
        if let Some(answer) = self.answers.pop_front() {
            return Some(answer);
        }
        let mut changed = self.world.changed.subscribe();
        while self.owed && !self.world.state().stopped {
            changed.changed().await.ok()?;
        }
        None
    }
}

/// Answers to many commands. What is still owed comes only when the node stops, as an end.
pub(crate) struct FakeQueue {
    world: FakeWorld,
    answers: VecDeque<(RequestId, Answer)>,
    asked: u64,
}

#[async_trait]
impl Queue for FakeQueue {
    async fn submit(&mut self, command: Command) -> RequestId {
        self.asked += 1;
        let request = RequestId(self.asked);
        let answers = self.world.command(command).await.answers;
        self.answers.extend(answers.into_iter().map(|answer| (request, answer)));
        request
    }

    fn close(&mut self, _: RequestId) {}

    async fn take(&mut self, answers: &mut Vec<(RequestId, Answer)>, most: usize) -> usize {
        let mut changed = self.world.changed.subscribe();
        while self.answers.is_empty() && !self.world.state().stopped {
            if changed.changed().await.is_err() {
                return 0;
            }
        }
        let count = self.answers.len().min(most);
        answers.extend(self.answers.drain(..count));
        count
    }
}

/// A handler.
pub(crate) struct FakeHandler {
    world: FakeWorld,
    stream: String,
    token: AttachToken,
    position: Position,
    handed: u64,
    window: u64,
    /// What the node had learnt of the mark when this handler came.
    learnt: u64,
    /// Answers to failures.
    answers: VecDeque<Handed>,
    /// It reads again: what, and up to where it is done.
    range: Option<(Range, u64)>,
}

impl FakeHandler {
    fn look(&mut self) -> Option<Option<Handed>> {
        let state = self.world.state();
        let stream = &state.streams[&self.stream];
        if state.stopped {
            return Some(None);
        }
        if let Some(answer) = self.answers.pop_front() {
            return Some(Some(answer));
        }
        if let Some(refusal) = &state.refuse {
            return Some(Some(Handed::Ended(Ended::Refused(refusal.clone()))));
        }
        if let Some((range, done)) = self.range {
            let next = Sequence(self.handed + 1);
            if range.to.is_some_and(|to| next > to) {
                return Some(Some(Handed::Ended(Ended::Replayed)));
            }
            if next.0 <= stream.gone {
                let first = Sequence(stream.gone + 1);
                let refusal = Refusal::Released { wanted: next, first };
                return Some(Some(Handed::Ended(Ended::Refused(refusal))));
            }
            let upto = stream.processed.min(done + self.window).min(range.to.map_or(u64::MAX, |to| to.0));
            let delivery = handed(stream, self.token, self.handed, upto);
            self.handed = self.handed.max(upto);
            return delivery;
        }
        if stream.token != self.token.0 {
            return Some(Some(Handed::Ended(Ended::TakenOver)));
        }
        if stream.learnt > self.learnt.max(self.handed) {
            return Some(Some(Handed::Ended(Ended::Outrun)));
        }
        let upto =
            (stream.messages.len() as u64).min(stream.processed.max(self.position.sequence.0) + self.window);
        let delivery = handed(stream, self.token, self.handed, upto);
        self.handed = self.handed.max(upto);
        delivery
    }
}

/// The messages behind one, up to another, if there are any.
fn handed(stream: &FakeStream, token: AttachToken, after: u64, upto: u64) -> Option<Option<Handed>> {
    if after >= upto {
        return None;
    }
    let messages = (after + 1..=upto)
        .map(|sequence| {
            let (writer, bytes) = stream.messages[sequence as usize - 1].clone();
            Delivered {
                sequence: Sequence(sequence),
                id: MessageId(sequence.into()),
                writer,
                writer_sequence: WriterSequence(sequence),
                bytes,
                piece: None,
                parked: false,
            }
        })
        .collect();
    Some(Some(Handed::Delivery(Delivery { token, instance: stream.instance, messages })))
}

#[async_trait]
impl Handler for FakeHandler {
    fn token(&self) -> AttachToken {
        self.token
    }

    fn position(&self) -> Position {
        self.position
    }

    async fn next(&mut self) -> Option<Handed> {
        let mut changed = self.world.changed.subscribe();
        loop {
            if let Some(handed) = self.look() {
                return handed;
            }
            changed.changed().await.ok()?;
        }
    }

    /// What fails is parked at once.
    fn failed(&mut self, sequence: Sequence, _: String) {
        self.answers.push_back(Handed::Failed { sequence, passed: true });
        self.verdict(sequence);
    }

    fn retried(&mut self, sequence: Sequence) {
        panic!("{sequence} was never parked");
    }

    fn verdict(&mut self, upto: Sequence) {
        let mut state = self.world.state();
        let stream = state.streams.get_mut(&self.stream).expect("attached to it");
        if let Some((_, done)) = &mut self.range {
            assert!(upto.0 <= self.handed, "a verdict on what was never handed over");
            *done = upto.0.max(*done);
        } else if stream.token == self.token.0 {
            assert!(upto.0 <= self.handed, "a verdict on what was never handed over");
            stream.processed = stream.processed.max(upto.0);
        }
        drop(state);
        self.world.change();
    }
}
