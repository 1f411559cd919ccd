//! A process that fills a data directory: a real node that publishes to streams whose target is away.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinSet;
use wattle_core::ends::Terms;
use wattle_core::id::{WriterId, WriterSequence};
use wattle_core::node::command::{Command, Refusal, Reply, Waited};
use wattle_io::{Running, Settings, start};

/// Publishers at the same time.
const PUBLISHERS: usize = 64;
/// Of a writer of this benchmark.
const WRITER: WriterId = WriterId(7);

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum End {
    /// As asked: everything is closed.
    Stopped,
    /// Killed when there was nothing to do.
    KilledIdle,
    /// Killed while it wrote.
    KilledBusy,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Where everything goes.
    pub(crate) directory: PathBuf,
    /// How many streams, each with a consensus group.
    #[arg(long)]
    pub(crate) streams: usize,
    /// Size of the journal.
    #[arg(long)]
    pub(crate) mebibytes: u64,
    /// Bytes of a message.
    #[arg(long)]
    pub(crate) message: usize,
    /// How it ends.
    #[arg(long)]
    pub(crate) end: End,
}

pub(crate) fn settings(root: &Path, name: &str) -> Settings {
    Settings {
        name: Some(name.to_owned()),
        listen: vec!["127.0.0.1:0".to_owned()],
        reserve_bytes: 1 << 20,
        ..Settings::new(root.join(name))
    }
}

pub(crate) fn stream(number: usize) -> String {
    format!("stream-{number}")
}

/// The answer to a command. Busy ones are asked again, and those for which the control group has no leader yet.
pub(crate) async fn ask(node: &Running, command: Command) -> Reply {
    loop {
        match node.submit(command.clone()).await.next().await.expect("the node runs") {
            Ok(reply) => return reply,
            Err(Refusal::Busy | Refusal::NoQuorum | Refusal::Critical { .. }) => {
                tokio::time::sleep(Duration::from_millis(5)).await
            }
            Err(refusal) => panic!("{command:?}: {refusal}"),
        }
    }
}

/// Publishes one message to a stream and waits until it is accepted.
pub(crate) async fn publish(node: &Running, stream: usize, number: u64, message: &Bytes) {
    let command = Command::Publish {
        stream: self::stream(stream),
        writer: WRITER,
        first: WriterSequence(number),
        messages: vec![message.clone()],
        wait: Waited::Accepted,
    };
    ask(node, command).await;
}

/// The same after a restart: the node is asked where the writer stands.
pub(crate) async fn publish_next(node: &Running, stream: usize, message: &Bytes) {
    let find = Command::FindWriter { stream: self::stream(stream), writer: WRITER };
    let Reply::Writer { next, .. } = ask(node, find).await else { panic!("nobody knows the writer") };
    publish(node, stream, next.0, message).await;
}

/// Does something for each of so many, a number of them at a time.
pub(crate) async fn each<F>(count: usize, act: impl Fn(usize) -> F + Clone + Send + 'static)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut tasks = JoinSet::new();
    for part in 0..PUBLISHERS {
        let act = act.clone();
        tasks.spawn(async move {
            for number in (part..count).step_by(PUBLISHERS) {
                act(number).await;
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.expect("it went well");
    }
}

pub(crate) fn run(arguments: &Arguments) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(fill(arguments));
}

async fn fill(arguments: &Arguments) {
    let Arguments { directory, streams, mebibytes, message, end } = arguments.clone();
    let began = std::time::Instant::now();
    let source = start(settings(&directory, "source")).await.expect("a node");
    let Reply::Seeded { token, .. } = ask(&source, Command::Seed { name: "bench".to_owned() }).await else {
        panic!("not seeded")
    };
    let dial = source.listening().iter().map(ToString::to_string).collect();
    let target = start(Settings { dial, ..settings(&directory, "target") }).await.expect("a node");
    ask(&target, Command::Join { token }).await;
    let node = source.clone();
    each(streams, move |number| {
        let node = node.clone();
        async move {
            let (source, targets) = ("source".to_owned(), vec!["target".to_owned()]);
            let name = stream(number);
            ask(&node, Command::OpenStream { name, source, targets, terms: Terms::default() }).await;
        }
    })
    .await;
    println!("{streams} streams are open after {:.1?}", began.elapsed());
    target.stop().await;
    let payload = Bytes::from(vec![b'x'; message]);
    let mut number = 0;
    loop {
        let status = source.status().await.expect("it runs");
        if status.journal_bytes >= mebibytes << 20 {
            let (all, live) = (status.journal_bytes >> 20, status.journal_live_bytes >> 20);
            println!(
                "{number} messages in each; the journal has {all} MiB, {live} MiB of it alive, after {:.1?}",
                began.elapsed()
            );
            break;
        }
        number += 1;
        let (node, payload) = (source.clone(), payload.clone());
        each(streams, move |stream| {
            let (node, payload) = (node.clone(), payload.clone());
            async move { publish(&node, stream, number, &payload).await }
        })
        .await;
    }
    finish(&source, end, streams, payload).await;
}

/// Ends this process.
pub(crate) async fn finish(node: &Running, end: End, streams: usize, payload: Bytes) {
    match end {
        End::Stopped => drop(node.stop().await),
        End::KilledIdle => {
            tokio::time::sleep(Duration::from_secs(1)).await;
            std::process::abort();
        }
        End::KilledBusy => {
            let node = node.clone();
            let writes = each(streams, move |stream| {
                let (node, payload) = (node.clone(), payload.clone());
                async move { publish_next(&node, stream, &payload).await }
            });
            let _ = tokio::time::timeout(Duration::from_millis(20), writes).await;
            std::process::abort();
        }
    }
}
