//! Three real processes, killed again and again, or cut off from each other: every message arrives at each target once, in order.

#[path = "../common/mod.rs"]
mod common;
mod effects;
mod kills;
mod network;
mod publisher;
mod stopped;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::{Handler, Process};
use effects::Effects;
use kills::Kills;
use network::Network;
use tokio::sync::Mutex;
use wattle_core::rng::{Purpose, Rng};
use wattle_proto::api::Position;

/// Bytes of a message: its number, over and over.
const BYTES: usize = 128;

/// What is published while how often is killed.
#[derive(Clone, Copy, Debug)]
struct Load {
    messages: u64,
    /// Publishing takes at least this long, so that all kills fall inside.
    publishing: Duration,
    kills_each: u64,
    /// How often links are cut, where there are any.
    cuts: u64,
    seed: u64,
    targets: &'static [&'static str],
    /// From the start of publishing until the last message is handled, at most.
    limit: Duration,
}

impl Load {
    /// Random numbers of one kind of fault.
    fn rng(self, purpose: Purpose) -> Rng {
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&self.seed.to_le_bytes());
        Rng::stream(seed, purpose)
    }

    /// Waits for a random moment in the part of the time of publishing that this fault has, out of so many.
    async fn moment(self, rng: &mut Rng, (fault, faults): (u64, u64), publishing: Instant) {
        let slot = self.publishing.mul_f64(0.9) / faults as u32;
        let at = slot * fault as u32 + slot.mul_f64(rng.below(600) as f64 / 1000.0);
        tokio::time::sleep(at.saturating_sub(publishing.elapsed())).await;
    }
}

/// A process under the hands of all who use and kill it, and what it got done, as its callers see it: messages accepted at the source, handled at a target.
#[derive(Clone)]
struct Node {
    process: Arc<Mutex<Process>>,
    done: Arc<AtomicU64>,
}

impl Node {
    fn new(process: Process) -> Self {
        Self { process: Arc::new(Mutex::new(process)), done: Arc::new(AtomicU64::new(0)) }
    }
}

fn message(number: u64) -> Bytes {
    number.to_le_bytes().repeat(BYTES / 8).into()
}

/// Attaches, applies, acknowledges; begins again from its own file whenever the call ends, until it has as many as that.
async fn handle(target: Node, path: PathBuf, messages: u64) -> Effects {
    loop {
        let mut effects = Effects::open(&path);
        target.done.store(effects.count(), Ordering::Relaxed);
        if effects.count() >= messages {
            return effects;
        }
        let client = target.process.lock().await.data().await;
        if let Some(client) = client
            && let Some(mut handler) = Handler::attach_at(client, effects.position(), 1000).await
        {
            let Position { instance, authority, .. } = handler.position.clone();
            while effects.count() < messages
                && let Some(handed) = handler.next().await
            {
                effects.apply(&instance, authority, &handed);
                target.done.store(effects.count(), Ordering::Relaxed);
                if !handler.acknowledge(handed.last().map_or(0, |message| message.sequence)).await {
                    break;
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// What every node says of itself.
async fn report(nodes: &[Node]) -> String {
    let mut report = String::new();
    for Node { process, done } in nodes {
        let node = process.lock().await;
        let log = node.log();
        let tail: Vec<&str> = log.lines().rev().take(30).collect();
        let status = match node.mesh().await {
            Some(mut mesh) => {
                format!("{:#?}", mesh.get_mesh_status(wattle_proto::api::GetMeshStatusRequest {}).await)
            }
            None => "no answer".into(),
        };
        let tail = tail.into_iter().rev().collect::<Vec<_>>().join("\n");
        report += &format!("== {}: {} done\n{status}\n{tail}\n", node.name, done.load(Ordering::Relaxed));
    }
    report
}

/// Publishes at `a`, handles at each target, kills all three in turn, and cuts what is between them.
async fn survives(load: Load, root: &Path, processes: [Process; 3], network: Option<&Network>) {
    let nodes = processes.map(Node::new);
    let mut handlers = Vec::new();
    for node in &nodes {
        let name = node.process.lock().await.name;
        if load.targets.contains(&name) {
            let effects = root.join(format!("effects-{name}"));
            handlers.push((name, tokio::spawn(handle(node.clone(), effects, load.messages))));
        }
    }
    let publishing = Instant::now();
    let publisher = tokio::spawn(publisher::publish(nodes[0].clone(), load));

    let cutting = async {
        if let Some(network) = network {
            network.cut_links(load, publishing).await;
        }
    };
    let (kills, ()) = tokio::join!(Kills::in_turn(&nodes, load, publishing), cutting);
    assert!(!publisher.is_finished(), "all kills fall into the time of publishing");

    let in_time = tokio::time::timeout(load.limit.saturating_sub(publishing.elapsed()), async {
        let calls = publisher.await.expect("the publisher does not fail");
        let mut all = Vec::new();
        for (name, handler) in handlers {
            all.push((name, handler.await.expect("the handler does not fail")));
        }
        (calls, all)
    });
    let Ok((calls, all)) = in_time.await else {
        panic!("not done in time\n{}", report(&nodes).await);
    };
    let took = publishing.elapsed();
    for (name, effects) in all {
        effects.are_all_in_order(name, load.messages);
    }
    println!(
        "{} messages to {:?}, {calls} publishing calls, {} cuts, all in {took:?}; {}",
        load.messages,
        load.targets,
        load.cuts,
        kills.words()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_message_arrives_once_and_in_order_whatever_is_killed() {
    let load = Load {
        messages: 100_000,
        publishing: Duration::from_secs(45),
        kills_each: 5,
        cuts: 0,
        seed: 117,
        targets: &["c"],
        limit: Duration::from_secs(110),
    };
    let root = tempfile::tempdir().expect("a directory");
    let processes = common::line(root.path(), "").await;
    survives(load, root.path(), processes, None).await;
}

fn asked(name: &str, otherwise: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|error| panic!("{name} is {text:?}: {error}")),
        Err(_) => otherwise,
    }
}

/// To two targets: `WATTLE_MESSAGES` in `WATTLE_SECONDS`, `WATTLE_KILLS` of each process, `WATTLE_CUTS`, by `WATTLE_SEED`.
fn load(messages: u64, seconds: u64, kills_each: u64, cuts: u64) -> Load {
    let publishing = Duration::from_secs(asked("WATTLE_SECONDS", seconds));
    Load {
        messages: asked("WATTLE_MESSAGES", messages),
        publishing,
        kills_each: asked("WATTLE_KILLS", kills_each),
        cuts: asked("WATTLE_CUTS", cuts),
        seed: asked("WATTLE_SEED", 1),
        targets: &["b", "c"],
        limit: publishing * 2,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes 20 minutes, and two gigabytes of disk"]
async fn millions_arrive_at_two_targets_once_and_in_order_whatever_is_killed() {
    let root = tempfile::tempdir().expect("a directory");
    let load = load(10_000_000, 1_200, 100, 0);
    let processes = common::line_to(root.path(), "", load.targets, None).await;
    survives(load, root.path(), processes, None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes 10 minutes, iproute2, and the right to make network namespaces"]
async fn millions_arrive_at_two_targets_once_and_in_order_whatever_link_is_cut() {
    let network = Network::new();
    let root = tempfile::tempdir().expect("a directory");
    let load = load(4_000_000, 600, 10, 200);
    let processes = common::open_words(network.start(root.path()), load.targets, None).await;
    survives(load, root.path(), processes, Some(&network)).await;
}
