//! One entry of each of many groups, as one batch: the real engine, the real journal, the real store.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant as Clock};

use bytes::Bytes;
use redb::StorageBackend;
use redb::backends::FileBackend;
use rustix::time::{ClockId, clock_gettime};
use wattle_core::configuration::{Configuration, Member};
use wattle_core::id::{Generation, GroupId, LogIndex, NodeId, ReplicaId, Ticket};
use wattle_core::node::journal::{self, Journal};
use wattle_core::payload::Payload;
use wattle_core::planted::Planted;
use wattle_core::raft::{Config, Groups, Input, Output, Receipt};
use wattle_core::rng::{Purpose, Rng};
use wattle_core::time::{Instant, Now, Wall};
use wattle_io::space::Reserve;
use wattle_io::store::{Files, Store, System};

use crate::rival::Rival;

/// Batches after which logs are cut.
const COMPACT_EVERY: usize = 64;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How many groups have an entry in each batch.
    #[arg(long, default_value_t = 1_000)]
    groups: usize,
    /// Bytes of an entry.
    #[arg(long, default_value_t = 128)]
    entry: usize,
    /// How many batches are measured.
    #[arg(long, default_value_t = 400)]
    batches: usize,
}

/// What was asked of the disk.
#[derive(Debug, Default)]
struct Asked {
    syncs: AtomicU64,
    writes: AtomicU64,
    bytes: AtomicU64,
}

impl Asked {
    fn take(&self) -> [u64; 3] {
        [&self.syncs, &self.writes, &self.bytes].map(|count| count.swap(0, Ordering::Relaxed))
    }
}

/// A file system that counts.
#[derive(Clone, Debug)]
struct Counting(Arc<Asked>);

impl Asked {
    fn wrote(&self, bytes: usize) {
        self.writes.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn synced(&self) {
        self.syncs.fetch_add(1, Ordering::Relaxed);
    }
}

impl Files for Counting {
    type File = File;

    fn write(&self, file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
        self.0.wrote(bytes.len());
        System.write(file, bytes, at)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        self.0.synced();
        System.sync(file)
    }

    fn make_directory(&self, path: &Path) -> io::Result<()> {
        System.make_directory(path)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        System.list(directory)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        System.sync_directory(path)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        System.read(path)
    }

    fn create(&self, path: &Path) -> io::Result<File> {
        System.create(path)
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        System.open(path)
    }

    fn open_to_read(&self, path: &Path) -> io::Result<File> {
        System.open_to_read(path)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        System.remove(path)
    }

    fn read_at(&self, file: &File, bytes: &mut [u8], at: u64) -> io::Result<()> {
        System.read_at(file, bytes, at)
    }

    fn set_len(&self, file: &File, bytes: u64) -> io::Result<()> {
        System.set_len(file, bytes)
    }

    fn allocate(&self, file: &File, bytes: u64) -> io::Result<()> {
        System.allocate(file, bytes)
    }

    fn punch(&self, file: &File, from: u64, bytes: u64) -> bool {
        System.punch(file, from, bytes)
    }
}

/// The same for the rival.
#[derive(Debug)]
struct CountingBackend {
    file: FileBackend,
    asked: Arc<Asked>,
}

impl StorageBackend for CountingBackend {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.asked.synced();
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.asked.wrote(data.len());
        self.file.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }
}

/// A store of rows: ours, or the rival.
enum Rows {
    Ours(Box<Store<Counting>>),
    Rival(Rival),
}

impl Rows {
    fn new(directory: &Path, rival: bool, asked: &Arc<Asked>) -> Self {
        let path = directory.join("journal");
        if rival {
            let file =
                OpenOptions::new().read(true).write(true).create_new(true).open(path).expect("a new file");
            let file = FileBackend::new(file).expect("a file");
            return Self::Rival(Rival::open(CountingBackend { file, asked: Arc::clone(asked) }));
        }
        let reserve = Arc::new(Reserve::new(directory.join("reserve"), 0));
        let store = Store::open_on(&path, reserve, Counting(Arc::clone(asked))).expect("a store");
        Self::Ours(Box::new(store))
    }

    fn commit(&mut self, rows: &[(Ticket, Payload)]) {
        match self {
            Self::Ours(store) => store.commit(rows, false).expect("committed"),
            Self::Rival(rival) => rival.commit(rows, false),
        }
    }

    /// What was trimmed goes.
    fn trim(&mut self, below: Ticket) {
        match self {
            Self::Ours(store) => {
                store.trim(below);
                while store.has_trims() {
                    store.commit(&[], false).expect("committed");
                }
            }
            Self::Rival(rival) => rival.trim(below),
        }
    }
}

/// Time that the processor spent on this thread, in the kernel too.
fn processor() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn timed<T>(total: &mut Vec<Duration>, act: impl FnOnce() -> T) -> T {
    let before = processor();
    let done = act();
    total.push(processor() - before);
    done
}

/// Groups of which this node is the only voter.
struct Engine {
    groups: Groups,
    ids: Vec<GroupId>,
    now: Instant,
    receipts: Vec<Receipt>,
}

impl Engine {
    fn new(count: usize) -> Self {
        let node = NodeId(1);
        let rng = Rng::stream([7; 32], Purpose::Raft);
        // As random as the ids of streams are.
        let mut state = 1_u128;
        let mut random = || {
            state = state.wrapping_mul(0x2360_ED05_1FC6_5DA4_4385_DF64_9FCC_F645).wrapping_add(0x5851_F42D);
            state
        };
        let mut engine = Self {
            groups: Groups::new(Config::default(), node, rng, Planted::none()),
            ids: (0..count).map(|_| GroupId(random())).collect(),
            now: Instant(1),
            receipts: Vec::new(),
        };
        let replica = ReplicaId(101);
        let founding = Configuration::simple([Member { node, replica }].into(), Vec::new());
        for group in engine.ids.clone() {
            engine.tell(Input::Create { group, replica, founding: founding.clone(), anew: false });
        }
        engine.settle();
        while let Some(next) = engine.groups.next_deadline() {
            engine.now = engine.now.max(next);
            engine.tell(Input::Deadline);
            engine.settle();
        }
        engine
    }

    fn tell(&mut self, input: Input) {
        self.groups.handle(Now { monotonic: self.now, wall: Wall(0) }, input);
    }

    /// Hands out what a step wants written.
    fn drain(&mut self, mut each: impl FnMut(Output)) {
        while let Some(output) = self.groups.poll() {
            match output {
                Output::Notify(receipt) => self.receipts.push(receipt),
                Output::Refused { reason, .. } => panic!("an entry was refused: {reason:?}"),
                output => each(output),
            }
        }
    }

    /// What was written is on disk.
    fn durable(&mut self) {
        for receipt in std::mem::take(&mut self.receipts) {
            self.tell(Input::Durable(receipt));
        }
    }

    fn settle(&mut self) {
        loop {
            self.drain(|_| ());
            if self.receipts.is_empty() {
                return;
            }
            self.durable();
        }
    }
}

/// A journal on a real file.
struct Shelf {
    journal: Journal,
    rows: Rows,
    asked: Arc<Asked>,
}

impl Shelf {
    fn new(directory: &Path, rival: bool) -> Self {
        let asked = Arc::new(Asked::default());
        let rows = Rows::new(directory, rival, &asked);
        let config = journal::Config { rows_may_tear: !rival, slack_bytes: 1 << 20 };
        let mut journal = Journal::new(config, Planted::none());
        journal.recovered().expect("an empty journal");
        journal.begin(Generation(1));
        Self { journal, rows, asked }
    }

    fn write(&mut self, output: Output) {
        match output {
            Output::Persist(write) => write.records().for_each(|record| self.journal.append(record)),
            Output::Forget(forget) => self.journal.forget(&forget),
            _ => {}
        }
    }

    /// Owners let go of what they applied, or the log would fill the memory. Not measured.
    fn compact(&mut self, engine: &mut Engine) {
        for at in 0..engine.ids.len() {
            let group = engine.ids[at];
            let upto = engine.groups.status(group).map_or(LogIndex(0), |status| status.applied);
            engine.tell(Input::Compact { group, upto });
        }
        engine.drain(|output| self.write(output));
        let rows: Vec<_> = self.journal.seal().into_iter().collect();
        self.rows.commit(&rows);
        self.journal.persisted(self.journal.last());
        engine.durable();
        engine.settle();
        if let Some(below) = self.journal.trim() {
            self.rows.trim(below);
        }
    }
}

/// What batches cost, step by step.
#[derive(Default)]
struct Costs {
    engine: Vec<Duration>,
    journal: Vec<Duration>,
    store: Vec<Duration>,
    wall: Vec<Duration>,
    asked: [u64; 3],
    rows: usize,
    row_bytes: usize,
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// Batches through everything. `together`: all entries come in one step, which is one row; else each group has a row of its own.
fn measure(arguments: &Arguments, together: bool, rival: bool, directory: &Path) -> Costs {
    let directory = tempfile::tempdir_in(directory).expect("a directory");
    let mut shelf = Shelf::new(directory.path(), rival);
    let mut engine = Engine::new(arguments.groups);
    let mut costs = Costs::default();
    let warm = arguments.batches / 10;
    for batch in 0..warm + arguments.batches {
        if batch == warm {
            costs = Costs::default();
        }
        let data = Bytes::from(vec![b'x'; arguments.entry]);
        let wanted = timed(&mut costs.engine, || {
            let mut wanted = Vec::with_capacity(2 * arguments.groups);
            for at in 0..engine.ids.len() {
                let group = engine.ids[at];
                engine.tell(Input::Propose {
                    group,
                    data: data.clone(),
                    weight: 0,
                    unhurried: false,
                    context: 0,
                });
            }
            engine.drain(|output| wanted.push(output));
            wanted
        });
        let rows = timed(&mut costs.journal, || {
            let mut rows: Vec<(Ticket, Payload)> = Vec::new();
            for output in wanted {
                shelf.write(output);
                if !together {
                    rows.extend(shelf.journal.seal());
                }
            }
            rows.extend(shelf.journal.seal());
            rows
        });
        costs.rows = rows.len();
        costs.row_bytes = rows.iter().map(|(_, row)| row.len()).sum();
        shelf.asked.take();
        let start = Clock::now();
        timed(&mut costs.store, || shelf.rows.commit(&rows));
        costs.wall.push(start.elapsed());
        let asked = shelf.asked.take();
        costs.asked.iter_mut().zip(asked).for_each(|(sum, more)| *sum += more);
        shelf.journal.persisted(shelf.journal.last());
        engine.durable();
        engine.settle();
        if batch % COMPACT_EVERY == COMPACT_EVERY - 1 {
            shelf.compact(&mut engine);
        }
    }
    costs
}

/// What a plain file asks of the processor for the same bytes: one write behind the last one, one sync.
fn plain(arguments: &Arguments, bytes: usize, directory: &Path) -> Duration {
    use std::io::Write as _;
    let mut file = tempfile::tempfile_in(directory).expect("a file");
    let batch = vec![7; bytes];
    let mut times = Vec::new();
    for _ in 0..arguments.batches {
        timed(&mut times, || {
            file.write_all(&batch).expect("written");
            file.sync_data().expect("synced");
        });
    }
    median(&mut times)
}

pub(crate) fn run(arguments: &Arguments) {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
    println!(
        "{} groups, one entry of {} bytes each, {} batches; medians, time of the processor in µs",
        arguments.groups, arguments.entry, arguments.batches
    );
    for (title, together) in [("one step, one row", true), ("a step and a row for each group", false)] {
        for (name, rival) in [("our segments", false), ("redb", true)] {
            let mut costs = measure(arguments, together, rival, directory);
            let [syncs, writes, bytes] = costs.asked.map(|count| count as f64 / arguments.batches as f64);
            let micros = |times: &mut [Duration]| median(times).as_secs_f64() * 1e6;
            println!("{title}, {name}: {} rows of {} bytes in all", costs.rows, costs.row_bytes);
            println!("  syncs {syncs:.2}, writes {writes:.1} of {bytes:.0} bytes in all");
            println!(
                "  consensus {:.0}, journal {:.0}, store {:.0}; the store takes {:.0} by the clock",
                micros(&mut costs.engine),
                micros(&mut costs.journal),
                micros(&mut costs.store),
                micros(&mut costs.wall),
            );
            let floor = plain(arguments, costs.row_bytes, directory).as_secs_f64() * 1e6;
            println!("  one write and one sync of as many bytes at the end of a plain file: {floor:.0}");
        }
    }
}
