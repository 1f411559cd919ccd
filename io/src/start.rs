//! How a node comes up.

use std::any::Any;
use std::io;
use std::net::SocketAddr;
#[cfg(not(feature = "turmoil"))]
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
#[cfg(not(feature = "turmoil"))]
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::time::Instant;
use tracing::{Instrument as _, Span};
use wattle_core::id::BootId;
use wattle_core::node::{Config, Identity, Input, Node, Rejected};
use wattle_core::work::public_key;

use crate::clock::{Clock, boot_id, entropy};
use crate::disk::Disk;
use crate::driver::{Driver, Hands, Inbox, Machine};
use crate::error::{StartError, StopReason};
use crate::handle::{COMMANDS_WAITING_MAX, Running, Wires};
use crate::identity::{DataDir, NodeKeys};
use crate::keyring::Keyring;
use crate::lanes::Lanes;
use crate::net::TcpListener;
use crate::settings::Settings;
use crate::space::{Meter, Reserve};
use crate::store::{RecoveryError, Store, Tally};
use crate::work::Workers;

/// Bytes up to which the journal of a node grows before rows are moved together. Where thousands of streams take turns, each leaves something alive in rows
/// that are dead otherwise: were it less, they would be written again every few messages. A start reads that much in a few milliseconds.
const JOURNAL_SLACK: u64 = 32 << 20;
/// Events that a slow receiver may be behind.
const EVENTS_KEPT: usize = 1024;
/// Things from connections that may wait for the node, up to 64 KiB each.
const LANE_EVENTS_WAITING: usize = 256;

/// Starts a node: locks its data directory, binds its addresses, reads its journal. When this returns, the node runs on
/// threads of its own and its connections on the tokio runtime of the caller.
///
/// # Errors
/// [`StartError`] says what to do.
pub async fn start(settings: Settings) -> Result<Running, StartError> {
    start_with(settings, Node::recover).await
}

/// Starts whatever `make` makes.
pub(crate) async fn start_with<M: Machine>(
    settings: Settings,
    make: impl FnOnce(Config, [u8; 32], BootId) -> M + Send + 'static,
) -> Result<Running, StartError> {
    let dir = DataDir::lock(&settings.data_dir)?;
    let keys = NodeKeys::open_or_create(&dir, settings.name.as_deref())?;
    // Of the highest level, so that no filter takes the name away.
    let span = tracing::error_span!("node", name = %keys.name);
    start_in(settings, dir, keys, make).instrument(span).await
}

/// Starts a node in its directory. The current span names it, and is taken along to its threads and tasks.
async fn start_in<M: Machine>(
    settings: Settings,
    dir: DataDir,
    keys: NodeKeys,
    make: impl FnOnce(Config, [u8; 32], BootId) -> M + Send + 'static,
) -> Result<Running, StartError> {
    let keyring = Keyring::new(&dir, keys.clone());
    // Until the node knows better.
    let tls = keyring.tls(&keys.public_key())?;
    let (listeners, listening) = bind(&settings.listen).await?;
    let config = config(&settings, &keys, &listening);

    let (asks, asked) = mpsc::channel(COMMANDS_WAITING_MAX);
    let (urgent, urgents) = mpsc::unbounded_channel();
    let (lane_events, from_lanes) = mpsc::channel(LANE_EVENTS_WAITING);
    let (events, _) = broadcast::channel(EVENTS_KEPT);
    let (stopping, stopped) = watch::channel(None);
    let (ready, is_ready) = oneshot::channel();
    let lanes = Lanes::new(tls, settings.limits, Handle::current(), lane_events, urgent.clone());
    let tally = Arc::<Tally>::default();
    let wires = Wires {
        asks,
        urgent: urgent.clone(),
        events: events.downgrade(),
        stopped,
        tally: Arc::clone(&tally),
    };
    let running = Running::new(&keys, listening, wires, lanes.clone());
    let world = World {
        settings,
        dir,
        keyring,
        listeners,
        inbox: Inbox { urgent: urgents, lanes: from_lanes, asks: asked },
        lanes,
        events,
        urgent,
        tally,
    };
    set_going(world, config, make, ready, stopping)?;
    match is_ready.await {
        Ok(result) => result.map(|()| running),
        Err(_) => Err(StartError::Stopped(running.stopped().await)),
    }
}

/// Lets a node live on a thread of its own.
#[cfg(not(feature = "turmoil"))]
fn set_going<M: Machine>(
    world: World,
    config: Config,
    make: impl FnOnce(Config, [u8; 32], BootId) -> M + Send + 'static,
    ready: oneshot::Sender<Result<(), StartError>>,
    stopping: watch::Sender<Option<StopReason>>,
) -> Result<(), StartError> {
    let span = Span::current();
    let live = move || match tokio::runtime::Builder::new_current_thread().enable_time().build() {
        Ok(runtime) => runtime.block_on(world.live(config, make, ready)),
        Err(source) => {
            let _ = ready.send(Err(StartError::System { what: "a timer", source }));
            StopReason::Asked
        }
    };
    let body = move || {
        let lived = catch_unwind(AssertUnwindSafe(|| span.in_scope(live)));
        let reason = lived.unwrap_or_else(|panic| StopReason::Panicked(panic_text(&*panic)));
        stopping.send_replace(Some(reason));
    };
    thread::Builder::new().name("wattle-core".to_owned()).spawn(body).map(drop).map_err(system("a thread"))
}

/// Lets a node live as a task of a simulated host.
#[cfg(feature = "turmoil")]
#[expect(clippy::unnecessary_wraps, reason = "a thread may fail to start")]
fn set_going<M: Machine>(
    world: World,
    config: Config,
    make: impl FnOnce(Config, [u8; 32], BootId) -> M + Send + 'static,
    ready: oneshot::Sender<Result<(), StartError>>,
    stopping: watch::Sender<Option<StopReason>>,
) -> Result<(), StartError> {
    let living = tokio::task::spawn_local(world.live(config, make, ready).instrument(Span::current()));
    tokio::task::spawn_local(async move {
        let panicked = |error: tokio::task::JoinError| match error.try_into_panic() {
            Ok(panic) => StopReason::Panicked(panic_text(&*panic)),
            Err(_) => StopReason::Asked,
        };
        stopping.send_replace(Some(living.await.unwrap_or_else(panicked)));
    });
    Ok(())
}

fn system(what: &'static str) -> impl Fn(io::Error) -> StartError {
    move |source| StartError::System { what, source }
}

async fn bind(addresses: &[String]) -> Result<(Vec<TcpListener>, Vec<SocketAddr>), StartError> {
    let mut listeners = Vec::with_capacity(addresses.len());
    let mut listening = Vec::with_capacity(addresses.len());
    for address in addresses {
        let failed = |source| StartError::Listen { address: address.clone(), source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        listening.push(listener.local_addr().map_err(failed)?);
        listeners.push(listener);
    }
    Ok((listeners, listening))
}

fn config(settings: &Settings, keys: &NodeKeys, listening: &[SocketAddr]) -> Config {
    let addresses = if settings.advertise.is_empty() {
        let named = listening.iter().filter(|address| !address.ip().is_unspecified());
        named.map(ToString::to_string).collect()
    } else {
        settings.advertise.clone()
    };
    if addresses.is_empty() && !listening.is_empty() {
        tracing::warn!("nobody is told where to dial this node: set the address to advertise");
    }
    let identity = Identity {
        node: keys.node,
        name: keys.name.clone(),
        key: keys.public_key(),
        next_key: keys.next.as_ref().map(public_key),
        key_number: keys.rotation,
        addresses,
        api: settings.api.clone(),
    };
    let mut config = Config { dial: settings.dial.clone(), ..Config::new(identity) };
    config.journal.rows_may_tear = true;
    config.journal.slack_bytes = JOURNAL_SLACK;
    config.raft.log_bytes = settings.log_memory;
    (config.stream.outbox_bytes, config.stream.outbox_memory) =
        (settings.outbox_bytes, settings.outbox_memory);
    config.mesh.only_copy = settings.only_copy;
    config.mesh.region.clone_from(&settings.region);
    config
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "an assertion failed".to_owned())
}

/// Everything a node's thread needs.
struct World {
    settings: Settings,
    dir: DataDir,
    keyring: Keyring,
    listeners: Vec<TcpListener>,
    inbox: Inbox,
    lanes: Lanes,
    events: broadcast::Sender<wattle_core::node::output::Event>,
    urgent: mpsc::UnboundedSender<crate::event::Urgent>,
    tally: Arc<Tally>,
}

impl World {
    /// The life of a node: recovery, then the loop until it stops. The data directory is free when it returns.
    async fn live<M: Machine>(
        self,
        config: Config,
        make: impl FnOnce(Config, [u8; 32], BootId) -> M,
        ready: oneshot::Sender<Result<(), StartError>>,
    ) -> StopReason {
        let lanes = self.lanes.clone();
        let _cut = CutLanes(lanes);
        let dir;
        let reason = {
            let came_up = self.come_up(config, make);
            let (driver, held) = match came_up {
                Ok(parts) => parts,
                Err(error) => {
                    let _ = ready.send(Err(error));
                    return StopReason::Asked;
                }
            };
            dir = held;
            if ready.send(Ok(())).is_err() {
                return StopReason::Asked;
            }
            // The driver, and with it the disk, is gone when this returns.
            driver.run().await
        };
        drop(dir);
        reason
    }

    fn come_up<M: Machine>(
        self,
        config: Config,
        make: impl FnOnce(Config, [u8; 32], BootId) -> M,
    ) -> Result<(Driver<M>, DataDir), StartError> {
        let clock = Clock::start();
        let seed = entropy().map_err(system("random numbers"))?;
        let boot = boot_id().map_err(system("random numbers"))?;
        let reserve = Arc::new(Reserve::new(self.dir.reserve(), self.settings.reserve_bytes));
        let journal = self.dir.journal();
        let began = Instant::now();
        let mut store = open_store(&journal, &reserve)?.counting(Arc::clone(&self.tally));
        let mut node = make(config, seed, boot);
        let read = recover(&mut node, clock, &mut store, &journal)?;
        tracing::info!(
            rows = read.rows,
            bytes = read.bytes,
            took = ?began.elapsed(),
            took_rows = ?read.taken,
            took_start = ?read.started,
            "the journal is read"
        );
        let meter = Meter::new(self.dir.path().to_owned(), self.settings.space_limit);
        let disk = Disk::start(store, meter, reserve, &self.urgent).map_err(system("a thread"))?;
        let workers = Workers::start(&self.keyring, &self.urgent).map_err(system("a thread"))?;
        let Self { lanes, events, urgent, keyring, listeners, inbox, dir, .. } = self;
        for listener in listeners {
            lanes.listen(listener);
        }
        let hands = Hands { disk, workers, lanes, events, urgent, keyring };
        Ok((Driver::new(node, clock, inbox, hands), dir))
    }
}

/// Ends every connection when the node's thread ends, however it ends.
struct CutLanes(Lanes);

impl Drop for CutLanes {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn open_store(journal: &Path, reserve: &Arc<Reserve>) -> Result<Store, StartError> {
    Store::open(journal, Arc::clone(reserve))
        .map_err(|source| StartError::Store { path: journal.to_owned(), source })
}

/// What reading the journal came to.
#[derive(Default)]
struct Read {
    rows: u64,
    bytes: u64,
    /// What the node took to take the rows in.
    taken: Duration,
    /// What the node took to come up from them.
    started: Duration,
}

fn recover<M: Machine>(
    node: &mut M,
    clock: Clock,
    store: &mut Store,
    journal: &Path,
) -> Result<Read, StartError> {
    let refused = |rejected: Rejected| match rejected {
        Rejected::Damaged(_) => StartError::Damaged { path: journal.to_owned(), what: rejected.to_string() },
        other => StartError::Stopped(StopReason::Panicked(other.to_string())),
    };
    let mut read = Read::default();
    let taking = |ticket, bytes: Bytes| {
        read.rows += 1;
        read.bytes += bytes.len() as u64;
        let began = Instant::now();
        let taken = node.handle(clock.now(), Input::Row { ticket, bytes });
        read.taken += began.elapsed();
        taken
    };
    let synced = store.recover(taking).map_err(|error| match error {
        RecoveryError::Store(source) => StartError::Store { path: journal.to_owned(), source },
        RecoveryError::Refused(rejected) => refused(rejected),
    })?;
    let began = Instant::now();
    node.handle(clock.now(), Input::Synced { upto: synced }).map_err(refused)?;
    node.handle(clock.now(), Input::Recovered).map_err(refused)?;
    // Before anybody is told anything.
    store.settle().map_err(|source| StartError::Store { path: journal.to_owned(), source })?;
    read.started = began.elapsed();
    Ok(read)
}
