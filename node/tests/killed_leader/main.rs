//! Five voters on loopback, real processes; whoever leads is killed, again and again, while clients write and read agreed configuration.
//! What they were told must be linearizable, and no acknowledged write may be lost.
//!
//! ```sh
//! WATTLE_KILLS=200 WATTLE_SEED=1 cargo test --release -p wattle-node --test killed_leader -- --ignored --nocapture
//! ```
//!
//! prints how long it took after each kill until a write that was asked since was acknowledged. Then it goes on with the life of that mesh
//! (`members.rs`). When something does not fit, the history is kept in a file that the failure names.

mod cluster;
#[path = "../common/mod.rs"]
mod common;
mod history;
mod judge;
mod load;
mod members;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cluster::{Cluster, LIMIT};
use history::{Asked, History, Operation, Time, Told};
use load::Load;
use wattle_core::rng::{Purpose, Rng};

/// What the leader's deaths cost.
struct Deaths {
    /// The moments.
    at: Vec<Time>,
    /// The terms that ended.
    terms: Vec<u64>,
    took: Duration,
}

/// Kills the leader so many times and starts it again after a short while.
async fn kill_leaders(cluster: &mut Cluster, history: &Arc<History>, kills: usize, seed: u64) -> Deaths {
    let mut bytes = [0xff; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let mut rng = Rng::stream(bytes, Purpose::Link);
    let start = Instant::now();
    let (mut at, mut terms) = (Vec::new(), Vec::new());
    while at.len() < kills {
        tokio::time::sleep(Duration::from_millis(rng.below(600))).await;
        let (leader, term) = cluster.leader().await;
        let others = cluster.clients(Some(leader)).await;
        let away = Duration::from_millis(rng.between(10, 800));
        at.push(history.now());
        terms.push(term);
        cluster.nodes[leader].kill();
        let (written, ()) = tokio::join!(load::write_until_answered(&others, history, LIMIT), async {
            tokio::time::sleep(away).await;
            cluster.nodes[leader].spawn();
        });
        if !written {
            panic!("kill {}: nothing is written for {LIMIT:?}\n{}", at.len(), cluster.report().await);
        }
        cluster.nodes[leader].ready().await;
    }
    Deaths { at, terms, took: start.elapsed() }
}

/// Reads every key at every node: whatever was acknowledged must be known by now.
async fn read_all(cluster: &Cluster, history: &History) {
    for (name, mut mesh) in cluster.clients(None).await {
        for key in 0..=load::PROBED {
            let start = Instant::now();
            while history.ask(&mut mesh, name, key, Asked::Read).await.is_none() {
                assert!(start.elapsed() < LIMIT, "{name} does not read\n{}", cluster.report().await);
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

fn percentile(sorted: &[u64], per_mille: usize) -> Duration {
    let place = sorted.len().saturating_sub(1) * per_mille / 1000;
    Duration::from_micros(sorted.get(place).copied().unwrap_or_default())
}

fn line(title: &str, mut times: Vec<u64>) {
    times.sort_unstable();
    let [p50, p90, p99, most] = [500, 900, 990, 1000].map(|per_mille| percentile(&times, per_mille));
    println!("  {title:34} {:>7}  {p50:>9.1?}  {p90:>9.1?}  {p99:>9.1?}  {most:>9.1?}", times.len());
}

/// The acknowledged writes: when they were asked and answered.
fn acknowledged(operations: &[Operation]) -> impl Iterator<Item = (Time, Time)> + '_ {
    operations.iter().filter_map(|operation| match operation.told {
        Some((until, Told::Written(_))) => Some((operation.from, until)),
        _ => None,
    })
}

/// How long after each kill the first write was acknowledged that was asked since.
fn gaps(deaths: &Deaths, operations: &[Operation]) -> Vec<u64> {
    let mut writes: Vec<(Time, Time)> = acknowledged(operations).collect();
    writes.sort_unstable();
    let gap = |&at: &Time| {
        let since = writes.partition_point(|&(from, _)| from < at);
        let first = writes[since..].iter().map(|&(_, until)| until).min();
        first.expect("a write follows each kill") - at
    };
    deaths.at.iter().map(gap).collect()
}

fn report(deaths: &Deaths, operations: &[Operation], history: &History) {
    let (first, last) = (deaths.terms.first().unwrap_or(&0), deaths.terms.last().unwrap_or(&0));
    println!(
        "{} kills of the leader in {:.0?}, terms {first} to {last}\n  {:34} {:>7}  {:>9}  {:>9}  {:>9}  {:>9}",
        deaths.at.len(),
        deaths.took,
        "",
        "count",
        "p50",
        "p90",
        "p99",
        "max"
    );
    let gaps = gaps(deaths, operations);
    let slow = gaps.iter().enumerate().filter(|&(_, &gap)| gap > 1_000_000);
    let slow: Vec<String> =
        slow.map(|(kill, &gap)| format!("{} ({:.1?})", kill + 1, Duration::from_micros(gap))).collect();
    line("kill to the next committed write", gaps);
    let writes = acknowledged(operations).map(|(from, until)| until - from);
    line("a write, all in all", writes.collect());
    let reads = operations.iter().filter(|operation| operation.asked == Asked::Read);
    let reads = reads.filter_map(|operation| operation.told.map(|(until, _)| until - operation.from));
    line("a linearizable read, all in all", reads.collect());
    if !slow.is_empty() {
        println!("  longer than a second: kills {}", slow.join(", "));
    }
    println!("  unknown: {:?}", history.lost());
}

/// Kills leaders under load, and judges what clients were told.
async fn killed_leaders(root: &Path, kills: usize, seed: u64) -> Cluster {
    let mut cluster = Cluster::start(root).await;
    let history = Arc::new(History::new());
    let load = Load::start(&cluster.doors(), &history, seed);
    let deaths = kill_leaders(&mut cluster, &history, kills, seed).await;
    load.end(&history).await;
    read_all(&cluster, &history).await;
    let (operations, parts) = history.take();
    match judge::judge(&operations, &parts) {
        Ok(judged) => {
            report(&deaths, &operations, &history);
            println!("  linearizable: {judged:?}");
            assert!(judged.acknowledged > kills && judged.looked > 0, "{judged:?}");
        }
        Err(why) => {
            let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("killed-leader-{seed}.history"));
            std::fs::write(&file, history::text(&operations, &parts)).expect("written");
            panic!("{why}\nthe history is in {}\n{}", file.display(), cluster.report().await);
        }
    }
    cluster
}

fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name)
        .map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_with_a_few_leaders() {
    let root = tempfile::tempdir().expect("a directory");
    killed_leaders(root.path(), 5, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes; run it by itself, in release"]
async fn nothing_acknowledged_is_lost_with_many_leaders() {
    let root = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let (kills, seed) = (setting("WATTLE_KILLS", 200), setting("WATTLE_SEED", 1));
    let cluster = killed_leaders(root.path(), kills as usize, seed).await;
    members::come_and_go(cluster, root.path()).await;
}
