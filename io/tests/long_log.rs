//! A group of three on real files: one is away while far more is written than its nodes may keep in memory. It comes back and catches up with what
//! the others read from their disks.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use wattle_core::configuration::{Configuration, Member};
use wattle_core::digest::Digest;
use wattle_core::id::{BootId, Generation, GroupId, LogIndex, NodeId, ReplicaId};
use wattle_core::level::Level;
use wattle_core::node::journal::{self, Journal, Located};
use wattle_core::planted::Planted;
use wattle_core::raft::{Config, Groups, Input, Message, Output, Receipt, RoleName};
use wattle_core::rng::{Purpose, Rng};
use wattle_core::time::{Instant, Now, Span, Wall};
use wattle_core::when::When;
use wattle_io::space::Reserve;
use wattle_io::store::{Part, Reader, Store};

const GROUP: GroupId = GroupId(7);
/// What logs may take in memory.
const BUDGET: u64 = 4 << 20;
/// Bytes of an entry, entries of a round, rounds.
const ENTRY: usize = 8 << 10;
const TOGETHER: usize = 32;
const ROUNDS: usize = 640;

fn member(place: usize) -> Member {
    Member { node: NodeId(place as u128 + 1), replica: ReplicaId(place as u128 + 101) }
}

/// A message on its way, and to whom.
type Letter = (usize, Box<Message>);

struct Replica {
    place: usize,
    groups: Groups,
    journal: Journal,
    store: Store,
    reader: Reader,
    receipts: Vec<Receipt>,
    held: Vec<Letter>,
    loads: Vec<(u64, Located)>,
    /// How much its owner was given, and a digest of it.
    applied: LogIndex,
    digest: Digest,
}

impl Replica {
    /// What it finds in its directory, and goes on from.
    fn start(place: usize, lives: u64, directory: &Path) -> Self {
        let reserve = Arc::new(Reserve::new(directory.join("reserve"), 0));
        let mut store = Store::open(&directory.join("journal"), reserve).expect("opened");
        let config = Config { log_bytes: BUDGET, ..Config::default() };
        let mut journal =
            Journal::new(journal::Config { rows_may_tear: true, slack_bytes: 1 << 20 }, Planted::none())
                .recalling(wattle_core::raft::recall, config.recalled_bytes());
        store
            .recover(|ticket, row| {
                journal.restore(ticket, &row);
                Ok::<(), std::convert::Infallible>(())
            })
            .expect("read");
        store.settle().expect("durable");
        let mut groups = Groups::new(
            config,
            member(place).node,
            Rng::stream([(16 * lives) as u8 + place as u8; 32], Purpose::Raft),
            Planted::none(),
        );
        for found in journal.recovered().expect("as it was written") {
            let payload = (found.payload_len, found.payload);
            groups.restore(&found.key, found.last_slot, &found.head, payload).expect("as it was written");
        }
        journal.begin(Generation(lives));
        groups.restored(Now { monotonic: Instant(1), wall: Wall(0) }).expect("as it was written");
        let reader = store.reader();
        let (receipts, held, loads) = (Vec::new(), Vec::new(), Vec::new());
        let (applied, digest) = (LogIndex(0), Digest::default());
        Self { place, groups, journal, store, reader, receipts, held, loads, applied, digest }
    }

    /// A step: what it writes is on the disk, then what it says leaves, then what it asked for is read.
    fn step(&mut self, now: Now, post: &mut Vec<(usize, Letter)>) {
        loop {
            while let Some(output) = self.groups.poll() {
                self.fulfil(output, post);
            }
            if let Some(row) = self.journal.seal() {
                self.store.commit(&[row], false).expect("committed");
                self.journal.persisted(self.journal.last());
            }
            post.extend(self.held.drain(..).map(|letter| (self.place, letter)));
            if self.receipts.is_empty() && self.loads.is_empty() {
                break;
            }
            for receipt in std::mem::take(&mut self.receipts) {
                self.groups.handle(now, Input::Durable(receipt));
            }
            for (token, located) in std::mem::take(&mut self.loads) {
                let part = Part { row: located.row, offset: located.offset, len: located.len };
                let bytes =
                    self.reader.load(&[part]).expect("read").remove(0).filter(|bytes| located.is(bytes));
                self.journal.loaded(located.row);
                self.groups.loaded(now, token, bytes.as_ref()).expect("as it was written");
            }
        }
        let memory = self.groups.memory();
        let most = BUDGET + (2 * TOGETHER * (ENTRY + 64)) as u64;
        assert!(memory.logs + memory.read <= most, "{memory:?}, and there is room for {BUDGET} bytes");
    }

    fn fulfil(&mut self, output: Output, post: &mut Vec<(usize, Letter)>) {
        match output {
            Output::Persist(write) => write.records().for_each(|record| self.journal.append(record)),
            Output::Forget(dead) => self.journal.forget(&dead),
            Output::Notify(receipt) => self.receipts.push(receipt),
            Output::Load { token, key } => {
                self.loads.push((token, self.journal.load(key).expect("it is in the journal")));
            }
            Output::Send { to, message, when, .. } => {
                let letter = (to.0 as usize - 1, message);
                match when {
                    When::Now => post.push((self.place, letter)),
                    When::Durable => self.held.push(letter),
                }
            }
            Output::Apply { entries, .. } => {
                for entry in &entries {
                    assert_eq!(entry.index, self.applied.next());
                    self.applied = entry.index;
                    let told = [
                        &self.digest.0[..],
                        &entry.index.0.to_le_bytes()[..],
                        &entry.data[..64.min(entry.data.len())],
                    ];
                    self.digest = Digest::of_bytes(&told.concat());
                }
            }
            Output::Stopped { reason, .. } => panic!("the group stopped: {reason}"),
            _ => {}
        }
    }
}

struct Trio {
    now: Instant,
    replicas: Vec<Option<Replica>>,
}

impl Trio {
    fn now(&self) -> Now {
        Now { monotonic: self.now, wall: Wall(0) }
    }

    fn tell(&mut self, place: usize, input: Input) {
        let now = self.now();
        if let Some(replica) = &mut self.replicas[place] {
            replica.groups.handle(now, input);
        }
    }

    /// A moment passes: everybody does what is due and says what is to be said, and hears it.
    fn turn(&mut self) {
        self.now += Span::millis(10);
        let (now, mut post) = (self.now(), Vec::new());
        for replica in self.replicas.iter_mut().flatten() {
            if replica.groups.next_deadline().is_some_and(|at| at <= now.monotonic) {
                replica.groups.handle(now, Input::Deadline);
            }
            replica.step(now, &mut post);
        }
        for _ in 0..8 {
            for (from, (to, message)) in std::mem::take(&mut post) {
                let message = Message::decode(message.encode().to_bytes()).expect("just encoded");
                self.tell(
                    to,
                    Input::Message { from: member(from).node, group: GROUP, message: message.into() },
                );
            }
            for replica in self.replicas.iter_mut().flatten() {
                replica.step(now, &mut post);
            }
        }
    }

    fn leader(&self) -> Option<usize> {
        let leads =
            |replica: &Replica| replica.groups.status(GROUP).is_some_and(|s| s.role == RoleName::Leader);
        self.replicas.iter().position(|replica| replica.as_ref().is_some_and(leads))
    }

    fn start(&mut self, place: usize, lives: u64, directory: &Path) {
        self.replicas[place] = Some(Replica::start(place, lives, directory));
        let node = member(place).node;
        for other in (0..3).filter(|&other| other != place) {
            self.tell(other, Input::PeerBoot { node, boot: BootId(u128::from(lives)) });
        }
    }
}

/// What this process has in memory, in MiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = status.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    (pages.unwrap_or_default() * 4096) >> 20
}

#[test]
fn a_member_that_was_away_catches_up_from_the_disks_of_the_others() {
    let root = tempfile::tempdir().expect("a directory");
    let directories = [0, 1, 2].map(|place| root.path().join(place.to_string()));
    directories.iter().for_each(|directory| std::fs::create_dir(directory).expect("made"));
    let mut trio = Trio { now: Instant(1), replicas: Vec::new() };
    for (place, directory) in directories.iter().enumerate() {
        trio.replicas.push(Some(Replica::start(place, 1, directory)));
        let founding = Configuration::simple((0..3).map(member).collect(), Vec::new());
        trio.tell(
            place,
            Input::Create { group: GROUP, replica: member(place).replica, founding, anew: false },
        );
    }
    while trio.leader().is_none() {
        trio.turn();
    }
    let leader = trio.leader().expect("just seen");
    let (away, other) = ((leader + 1) % 3, (leader + 2) % 3);
    trio.replicas[away] = None;
    let before = resident();
    for round in 0..ROUNDS {
        for number in 0..TOGETHER {
            let data = Bytes::from(vec![(round * TOGETHER + number) as u8; ENTRY]);
            trio.tell(leader, Input::Propose { group: GROUP, data, weight: 0, unhurried: false, context: 0 });
        }
        trio.turn();
    }
    let written = (ROUNDS * TOGETHER * ENTRY) >> 20;
    let entries = (ROUNDS * TOGETHER) as u64;
    let seen = |trio: &Trio, place: usize| {
        trio.replicas[place].as_ref().map(|replica| (replica.applied, replica.digest)).expect("it is up")
    };
    assert!(seen(&trio, leader).0 >= LogIndex(entries) && seen(&trio, other) == seen(&trio, leader));
    println!("{written} MiB written by two of three, resident memory {} MiB more", resident() - before);
    // The leader was not told that it may forget anything, and the member knows nothing of it.
    trio.start(away, 2, &directories[away]);
    let mut turns = 0;
    while seen(&trio, away) != seen(&trio, leader) {
        trio.turn();
        turns += 1;
        assert!(turns < 4_000, "it has {:?}", seen(&trio, away).0);
    }
    let memory = trio.replicas[leader].as_ref().expect("it is up").groups.memory();
    assert!(memory.loads as usize >= ROUNDS / 2, "{memory:?}");
    println!("caught up with {} loads, resident memory {} MiB more", memory.loads, resident() - before);
    // A start leaves on the disk what is settled, and gives it to its owner all the same.
    trio.replicas[away] = None;
    trio.start(away, 3, &directories[away]);
    let memory = trio.replicas[away].as_ref().expect("it is up").groups.memory();
    assert!(memory.logs <= BUDGET + (ENTRY * TOGETHER) as u64 && memory.stored_runs > 0, "{memory:?}");
    while seen(&trio, away) != seen(&trio, leader) {
        trio.turn();
        turns += 1;
        assert!(turns < 8_000, "it was given {:?}", seen(&trio, away).0);
    }
    println!("given to its owner after a start, resident memory {} MiB more", resident() - before);
    trio.replicas.iter().flatten().for_each(|replica| replica.groups.check_invariants(Level::Full));
}
