//! One replica: the engine of production, its disk, and what waits for that disk. Nothing outside this file calls the engine.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt::{self, Write as _};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use bytes::Bytes;
use wattle_core::configuration::{Configuration, Member};
use wattle_core::id::{GroupId, LogIndex, NodeId, ReplicaId, Term};
use wattle_core::level::Level;
use wattle_core::planted::Planted;
use wattle_core::raft::{Config, EntryKind, Groups, Input, Message, Output, Place, Receipt, RoleName};
use wattle_core::record::{Forget, Record};
use wattle_core::rng::{Purpose, Rng};
use wattle_core::time::{Instant, Now, Span, Wall};
use wattle_core::when::When;

/// The one group.
const GROUP: GroupId = GroupId(7);
/// Replicas of it.
pub const REPLICAS: usize = 3;

/// A message under way, as it is on the wire.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Parcel {
    /// Who sent it.
    pub from: usize,
    /// For whom it is.
    pub to: usize,
    bytes: Bytes,
}

impl Parcel {
    /// What it says.
    #[must_use]
    pub fn message(&self) -> Message {
        Message::decode(self.bytes.clone()).expect("encoded by the engine")
    }
}

impl fmt::Debug for Parcel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let message = self.message();
        write!(f, "{} to {}, term {}: {:?}", self.from, self.to, message.term, message.body)
    }
}

/// What a step did beside changing the replica.
#[derive(Debug, Default)]
pub struct Effects {
    /// What left.
    pub sent: Vec<Parcel>,
    /// Terms in which the replica began to lead.
    pub led: Vec<u64>,
    /// The group stopped here, or took its disk for rolled back: neither may happen, since no disk is.
    pub stopped: Option<String>,
    /// Entries that the owner was given out of order.
    pub misapplied: Option<String>,
}

/// What a step writes, and what waits until that is durable.
#[derive(Clone, Debug, Default)]
struct Row {
    writes: Vec<Write>,
    sends: Vec<Parcel>,
    receipts: Vec<Receipt>,
}

#[derive(Clone, Debug)]
enum Write {
    Record(Record),
    Forget(Forget),
}

/// What the owner was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Where it stands.
    pub index: u64,
    /// Its term.
    pub term: u64,
    /// Its content; empty for what begins a term.
    pub data: Bytes,
}

/// What can be seen of a replica from outside.
#[derive(Clone, Debug)]
pub struct View {
    /// Its role.
    pub role: RoleName,
    /// Its term.
    pub term: u64,
    /// Its commit index.
    pub commit: u64,
    /// Its log, from entry 1.
    pub log: Vec<Place>,
    /// Who leads, as far as it knows.
    pub leader: Option<NodeId>,
}

/// One replica.
#[derive(Clone)]
pub struct Replica {
    number: usize,
    planted: Planted,
    groups: Groups,
    /// It is told several things before it is asked what it wants.
    batches: bool,
    /// Since it was told something, it was not asked.
    unasked: bool,
    /// Its own clock, which moves to a deadline when that is to be met, and never otherwise.
    clock: Instant,
    /// How often it started anew.
    pub lives: u64,
    /// Made, and not durable yet.
    rows: VecDeque<Row>,
    /// Records in the order of their last writing.
    disk: Vec<Record>,
    /// Since it was looked at last.
    disk_changed: bool,
    disk_fingerprint: u64,
    /// What the owner was given in this life.
    pub applied: Vec<Applied>,
    /// What can be seen of it.
    pub view: View,
    /// What would be seen after a crash.
    pub durable: View,
    fingerprint: u64,
    /// Its fingerprint when it was new.
    first: u64,
}

/// The node of a replica.
#[must_use]
pub fn node(number: usize) -> NodeId {
    NodeId(number as u128 + 1)
}

fn member(number: usize) -> Member {
    Member { node: node(number), replica: ReplicaId(number as u128 + 101) }
}

/// All waits are equal, so that a clock is at few different places, and messages are as small as they can be, so that logs may end anywhere.
fn config() -> Config {
    let wait = Span::millis(1);
    Config {
        election_min: wait,
        election_max: wait,
        alone_patience: wait,
        retry_min: wait,
        retry_max: wait,
        message_entries: 1,
        ..Config::default()
    }
}

/// The same numbers in each run; another life draws others.
fn engine(number: usize, lives: u64, planted: Planted) -> Groups {
    let mut seed = [number as u8; 32];
    seed[..8].copy_from_slice(&lives.to_le_bytes());
    Groups::new(config(), node(number), Rng::stream(seed, Purpose::Raft), planted)
}

impl Replica {
    /// A founder, which has written that it is one. If it `batches`, it says and writes nothing before [`Self::ask`].
    #[must_use]
    pub fn new(number: usize, planted: Planted, batches: bool) -> Self {
        let groups = engine(number, 0, planted);
        let view = View { role: RoleName::Follower, term: 0, commit: 0, log: Vec::new(), leader: None };
        let mut replica = Self {
            number,
            planted,
            groups,
            batches: false,
            unasked: false,
            clock: Instant(1),
            lives: 0,
            rows: VecDeque::new(),
            disk: Vec::new(),
            disk_changed: false,
            disk_fingerprint: 0,
            applied: Vec::new(),
            durable: view.clone(),
            view,
            fingerprint: 0,
            first: 0,
        };
        let founding = Configuration::simple((0..REPLICAS).map(member).collect(), Vec::new());
        let mut effects = Effects::default();
        let own = member(number).replica;
        replica.tell(&mut effects, Input::Create { group: GROUP, replica: own, founding, anew: false });
        while replica.writes() {
            replica.write(&mut effects);
        }
        assert!(effects.sent.is_empty(), "a founder says nothing by itself");
        replica.batches = batches;
        replica.look();
        replica.first = replica.fingerprint;
        replica
    }

    /// Everything that decides what it will do: two with equal fingerprints behave alike.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// Whether it has done nothing yet.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.fingerprint == self.first
    }

    /// Whether something waits to be written.
    #[must_use]
    pub fn writes(&self) -> bool {
        !self.rows.is_empty()
    }

    /// Whether a deadline is ahead.
    #[must_use]
    pub fn has_deadline(&self) -> bool {
        self.groups.next_deadline().is_some()
    }

    /// Hears a message.
    pub fn hear(&mut self, effects: &mut Effects, parcel: &Parcel) {
        let input =
            Input::Message { from: node(parcel.from), group: GROUP, message: parcel.message().into() };
        self.tell(effects, input);
    }

    /// Time passes up to its next deadline.
    pub fn meet_deadline(&mut self, effects: &mut Effects) {
        let Some(at) = self.groups.next_deadline() else { return };
        self.clock = self.clock.max(at);
        self.tell(effects, Input::Deadline);
    }

    /// The node of its leader says that it leads nothing, truly or not.
    pub fn doubt(&mut self, effects: &mut Effects, leader: NodeId) {
        self.tell(effects, Input::Leads { node: leader, groups: Vec::new() });
    }

    /// Its owner proposes.
    pub fn propose(&mut self, effects: &mut Effects, data: Bytes) {
        self.tell(effects, Input::Propose { group: GROUP, data, weight: 0, unhurried: false, context: 0 });
    }

    /// Whether it may want something.
    #[must_use]
    pub fn is_unasked(&self) -> bool {
        self.unasked
    }

    /// It is asked what it wants after everything that it was told.
    pub fn ask(&mut self, effects: &mut Effects) {
        self.drain(effects);
    }

    /// The oldest row becomes durable; what waited for it goes on.
    pub fn write(&mut self, effects: &mut Effects) {
        let Some(row) = self.rows.pop_front() else { return };
        self.disk_changed = true;
        for write in row.writes {
            match write {
                Write::Record(record) => {
                    self.disk.retain(|older| older.key != record.key);
                    self.disk.push(record);
                }
                Write::Forget(dead) => self.disk.retain(|record| {
                    let key = record.key;
                    (key.owner, key.space, key.id) != (dead.owner, dead.space, dead.id)
                        || record.last_slot >= dead.below
                }),
            }
        }
        self.release(effects, row.sends, row.receipts);
    }

    /// Everything but the disk is lost, and it starts again from that.
    pub fn crash(&mut self, effects: &mut Effects) {
        self.lives += 1;
        self.rows.clear();
        self.applied.clear();
        self.groups = self.restored();
        self.drain(effects);
    }

    /// A new life from what is on the disk.
    fn restored(&self) -> Groups {
        let mut groups = engine(self.number, self.lives, self.planted);
        for record in &self.disk {
            let payload = (record.payload.len(), Some(record.payload.to_bytes()));
            groups.restore(&record.key, record.last_slot, &record.head, payload).expect("just written");
        }
        groups.restored(self.now()).expect("what was written fits together");
        groups
    }

    fn now(&self) -> Now {
        Now { monotonic: self.clock, wall: Wall(0) }
    }

    fn tell(&mut self, effects: &mut Effects, input: Input) {
        self.groups.handle(self.now(), input);
        self.unasked = true;
        if !self.batches {
            self.drain(effects);
        }
    }

    fn release(&mut self, effects: &mut Effects, sends: Vec<Parcel>, receipts: Vec<Receipt>) {
        effects.sent.extend(sends);
        for receipt in receipts {
            self.tell(effects, Input::Durable(receipt));
        }
    }

    /// Takes what a step wants. What it writes is one row; what it holds back waits for that, or for the newest row before it.
    fn drain(&mut self, effects: &mut Effects) {
        self.unasked = false;
        let mut row = Row::default();
        while let Some(output) = self.groups.poll() {
            self.fulfil(effects, &mut row, output);
        }
        if !row.writes.is_empty() {
            self.rows.push_back(row);
        } else if let Some(last) = self.rows.back_mut() {
            last.sends.extend(row.sends);
            last.receipts.extend(row.receipts);
        } else {
            self.release(effects, row.sends, row.receipts);
        }
    }

    fn fulfil(&mut self, effects: &mut Effects, row: &mut Row, output: Output) {
        match output {
            Output::Persist(write) => row.writes.extend(write.records().map(Write::Record)),
            Output::Forget(dead) => row.writes.push(Write::Forget(dead)),
            Output::Notify(receipt) => row.receipts.push(receipt),
            Output::Send { to, message, when, .. } => {
                let to = usize::try_from(to.0 - 1).expect("one of three");
                let parcel = Parcel { from: self.number, to, bytes: message.encode().to_bytes() };
                match when {
                    When::Now => effects.sent.push(parcel),
                    When::Durable => row.sends.push(parcel),
                }
            }
            Output::Apply { entries, .. } => {
                for entry in entries.iter().cloned() {
                    let (index, expected) = (entry.index.0, self.applied.len() as u64 + 1);
                    if index != expected {
                        effects.misapplied = Some(format!("entry {index} instead of {expected}"));
                    }
                    assert_ne!(entry.kind, EntryKind::Configuration, "nobody changes the members");
                    self.applied.push(Applied { index, term: entry.term.0, data: entry.data });
                }
            }
            Output::Role { role: RoleName::Leader, term, .. } => effects.led.push(term.0),
            Output::Stopped { reason, .. } => effects.stopped = Some(reason),
            Output::Amnesia { what, .. } => effects.stopped = Some(what),
            Output::SnapshotWanted { .. } | Output::Install { .. } => {
                panic!("nothing is compacted, and somebody wants a snapshot")
            }
            Output::Load { .. } => panic!("logs are short, and somebody reads from the disk"),
            Output::Role { .. }
            | Output::Fenced { .. }
            | Output::Era { .. }
            | Output::Founded { .. }
            | Output::Proposed { .. }
            | Output::Refused { .. }
            | Output::Follows { .. }
            | Output::Match { .. }
            | Output::Conforms { .. }
            | Output::ReadReady { .. }
            | Output::Configured { .. } => {}
        }
    }

    /// Checks the engine's own invariants, and looks at what came of a step.
    pub fn look(&mut self) {
        self.groups.check_invariants(Level::Full);
        self.view = view(&self.groups);
        if core::mem::take(&mut self.disk_changed) {
            self.durable = view(&self.restored());
            self.disk_fingerprint = fingerprint(|hasher| self.disk.iter().for_each(|r| hash(r, hasher)));
        }
        self.fingerprint = fingerprint(|hasher| {
            (self.disk_fingerprint, self.clock, self.lives).hash(hasher);
            for applied in &self.applied {
                (applied.index, applied.term, &applied.data).hash(hasher);
            }
            for row in &self.rows {
                row.sends.hash(hasher);
                for write in &row.writes {
                    match write {
                        Write::Record(record) => hash(record, hasher),
                        Write::Forget(dead) => (dead.space, dead.id, dead.below).hash(hasher),
                    }
                }
            }
            TEXT.with_borrow_mut(|text| {
                text.clear();
                let receipts = self.rows.iter().map(|row| &row.receipts);
                write!(text, "{:?}", self.groups).expect("text takes everything");
                receipts.for_each(|list| write!(text, "{list:?}").expect("text takes everything"));
                text.hash(hasher);
            });
        });
    }
}

thread_local! {
    /// Room for the text of an engine.
    static TEXT: RefCell<String> = const { RefCell::new(String::new()) };
}

fn fingerprint(write: impl FnOnce(&mut DefaultHasher)) -> u64 {
    let mut hasher = DefaultHasher::new();
    write(&mut hasher);
    hasher.finish()
}

fn hash(record: &Record, hasher: &mut DefaultHasher) {
    (record.key, record.last_slot, &record.head, record.payload.to_bytes()).hash(hasher);
}

fn view(groups: &Groups) -> View {
    let status = groups.status(GROUP).expect("it has a replica");
    let places = (1..=status.last.index.0).map(|index| groups.place(GROUP, LogIndex(index)));
    View {
        role: status.role,
        term: status.term.0,
        commit: status.commit.0,
        log: places.map(|place| place.expect("nothing is compacted")).collect(),
        leader: status.leader,
    }
}

impl View {
    /// Raft's order of logs.
    #[must_use]
    pub fn rank(&self) -> (Term, LogIndex) {
        self.log.last().map(Place::rank).unwrap_or_default()
    }

    /// Whether the log holds that place, and so everything before it.
    #[must_use]
    pub fn holds(&self, place: &Place) -> bool {
        place.index.0.checked_sub(1).is_none_or(|at| self.log.get(at as usize) == Some(place))
    }
}
