//! What a stream costs a node in memory while nothing happens to it.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use wattle_core::ends::Terms;
use wattle_core::node::command::{Command, Reply};
use wattle_io::{Running, Settings, start};

use crate::fill::{ask, each, publish, settings, stream};
use crate::restart::resident_kib;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How many streams, each with a consensus group of two replicas.
    #[arg(long, default_value_t = 10_000)]
    streams: usize,
}

/// Both nodes are in this process: each stream has a replica at its source and one at its target.
pub(crate) fn run(arguments: &Arguments) {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(measure(directory.path(), arguments.streams));
}

async fn measure(directory: &Path, streams: usize) {
    let source = start(settings(directory, "source")).await.expect("a node");
    let Reply::Seeded { token, .. } = ask(&source, Command::Seed { name: "bench".to_owned() }).await else {
        panic!("not seeded")
    };
    let dial = source.listening().iter().map(ToString::to_string).collect();
    let target = start(Settings { dial, ..settings(directory, "target") }).await.expect("a node");
    ask(&target, Command::Join { token }).await;
    // What the first ones cost besides: queues, buffers, threads.
    let warm = streams / 10;
    open(&source, 0..warm).await;
    let before = resident().await;
    open(&source, warm..streams).await;
    let opened = resident().await;
    let node = source.clone();
    each(streams, move |number| {
        let node = node.clone();
        async move { publish(&node, number, 1, &Bytes::from_static(b"first")).await }
    })
    .await;
    let published = resident().await;
    let replicas = (2 * (streams - warm)) as f64;
    let per_replica = |kib: u64| (kib.saturating_sub(before) << 10) as f64 / replicas;
    println!("{streams} streams between two nodes of one process, bytes of memory for each replica:");
    println!("  opened, and nothing in it: {:.0}", per_replica(opened));
    println!("  with a message that nobody has taken yet: {:.0}", per_replica(published));
    for (name, node) in [("source", source), ("target", target)] {
        let status = node.status().await.expect("it runs");
        let (all, live) = (status.journal_bytes, status.journal_live_bytes);
        println!("  the journal of the {name} has {all} bytes, {live} of them alive");
        node.stop().await;
    }
}

async fn open(node: &Running, numbers: std::ops::Range<usize>) {
    let (from, node) = (numbers.start, node.clone());
    each(numbers.len(), move |number| {
        let node = node.clone();
        async move {
            let (source, targets) = ("source".to_owned(), vec!["target".to_owned()]);
            let name = stream(from + number);
            ask(&node, Command::OpenStream { name, source, targets, terms: Terms::default() }).await;
        }
    })
    .await;
}

/// Memory once all has settled.
async fn resident() -> u64 {
    tokio::time::sleep(Duration::from_secs(5)).await;
    resident_kib()
}
