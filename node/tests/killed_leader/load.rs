//! Clients that write and read, one that writes again and again until it is answered, and watchers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::task::{JoinHandle, JoinSet};
use wattle_core::rng::{Purpose, Rng};
use wattle_proto::api::WatchConfigRequest;

use crate::common::{Door, Mesh};
use crate::history::{Asked, History, PREFIX, Told};

/// Keys that all clients write and read.
pub(crate) const KEYS: u64 = 4;
/// The key of whoever writes until it is answered.
pub(crate) const PROBED: u64 = KEYS;
/// Clients: one begins at each of five nodes.
const CLIENTS: usize = 5;
/// After a failure, before another node is asked.
const PAUSE: Duration = Duration::from_millis(20);
/// Between two writes of one who waits for the first that is answered.
const PROBE_EVERY: Duration = Duration::from_millis(10);
/// Writes of that kind that are open at once.
const PROBES_OPEN: usize = 100;

/// Everybody who asks something meanwhile.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Load {
    /// Clients that ask something now and then, and a watcher at each node.
    pub(crate) fn start(doors: &[Door], history: &Arc<History>, seed: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let clients = (0..CLIENTS).map(|number| {
            let client = client(number, doors.to_vec(), history.clone(), seed, stop.clone());
            tokio::spawn(client)
        });
        let watchers =
            doors.iter().map(|door| tokio::spawn(watch(door.clone(), history.clone(), stop.clone())));
        Self { tasks: clients.chain(watchers).collect(), stop }
    }

    /// Ends it, and waits until all that was asked is answered or given up.
    pub(crate) async fn end(self, history: &History) {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.expect("nobody panics");
        }
        while history.open() > 0 {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

async fn client(number: usize, doors: Vec<Door>, history: Arc<History>, seed: u64, stop: Arc<AtomicBool>) {
    let mut bytes = [number as u8; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let mut rng = Rng::stream(bytes, Purpose::Link);
    let mut seen = [0; KEYS as usize];
    for door in doors.iter().cycle().skip(number) {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        tokio::time::sleep(PAUSE).await;
        let Some(mut mesh) = door.mesh().await else { continue };
        while !stop.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(rng.between(5, 30))).await;
            let key = rng.below(KEYS);
            let asked = match rng.below(10) {
                0..=3 => Asked::Put,
                4..=6 => Asked::Swap(seen[key as usize]),
                _ => Asked::Read,
            };
            let Some(told) = history.ask(&mut mesh, door.name, key, asked).await else { break };
            seen[key as usize] = told.version();
        }
    }
}

async fn watch(door: Door, history: Arc<History>, stop: Arc<AtomicBool>) {
    let mut after = None;
    while !stop.load(Ordering::Relaxed) {
        tokio::time::sleep(PAUSE).await;
        let Some(mut mesh) = door.mesh().await else { continue };
        let request = WatchConfigRequest { prefix: PREFIX.into(), after };
        let Ok(answers) = mesh.watch_config(request).await else { continue };
        let mut answers = answers.into_inner();
        while !stop.load(Ordering::Relaxed) {
            match tokio::time::timeout(Duration::from_millis(200), answers.message()).await {
                Err(_) => {}
                Ok(Ok(Some(part))) => {
                    history.watched(door.name, after, &part);
                    after = Some(part.upto);
                }
                Ok(Ok(None) | Err(_)) => break,
            }
        }
    }
}

/// Writes every 10 ms, in turn at all of these nodes, whether or not what was written before is answered, until one is. `false` if that takes
/// longer than `limit`.
pub(crate) async fn write_until_answered(
    nodes: &[(&'static str, Mesh)],
    history: &Arc<History>,
    limit: Duration,
) -> bool {
    let start = Instant::now();
    let mut asked = JoinSet::new();
    let mut ticks = tokio::time::interval(PROBE_EVERY);
    let mut turn = nodes.iter().cycle();
    let written = loop {
        tokio::select! {
            Some(told) = asked.join_next() => {
                if matches!(told, Ok(Some(Told::Written(_)))) {
                    break true;
                }
            }
            _ = ticks.tick() => {
                if start.elapsed() > limit {
                    break false;
                }
                if asked.len() < PROBES_OPEN {
                    let (name, mesh) = turn.next().expect("somebody is left");
                    let (name, mut mesh, history) = (*name, mesh.clone(), history.clone());
                    asked.spawn(async move { history.ask(&mut mesh, name, PROBED, Asked::Put).await });
                }
            }
        }
    };
    // The others are answered meanwhile, and count.
    asked.detach_all();
    written
}
