//! How long a node with many streams and a large journal takes until it serves again.

use std::convert::Infallible;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use rustix::fs::{Advice, fadvise};
use rustix::time::{ClockId, clock_gettime};
use wattle_core::id::Ticket;
use wattle_core::payload::Payload;
use wattle_io::space::Reserve;
use wattle_io::store::Store;

use crate::fill::{self, End, each, publish_next, settings};
use crate::rival::Rival;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How many streams, each with a consensus group.
    #[arg(long, default_value_t = 10_000)]
    streams: usize,
    /// Size of the journal.
    #[arg(long, default_value_t = 1_024)]
    mebibytes: u64,
    /// Bytes of a message. Each is a batch and a row of its own.
    #[arg(long, default_value_t = 4_096)]
    message: usize,
}

/// Runs this program as another process, tells what it says and when, and gives back how it ended.
fn run_other(arguments: &[String]) {
    let program = std::env::current_exe().expect("this program");
    let start = Instant::now();
    let mut child = Command::new(program).args(arguments).stdout(Stdio::piped()).spawn().expect("a process");
    let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    for line in lines {
        println!("  {:>8.3} s  {}", start.elapsed().as_secs_f64(), line.expect("text"));
    }
    child.wait().expect("it ended");
}

/// Lets the page cache forget a file.
fn forget(path: &Path) {
    let file = File::open(path).expect("the journal");
    file.sync_all().expect("synced");
    fadvise(&file, 0, None, Advice::DontNeed).expect("advice");
}

pub(crate) fn run(arguments: &Arguments) {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let root = directory.path().to_owned();
    let Arguments { streams, mebibytes, message } = arguments;
    println!("filling: {streams} streams, {mebibytes} MiB in messages of {message} bytes");
    run_other(&[
        "fill".to_owned(),
        root.display().to_string(),
        format!("--streams={streams}"),
        format!("--mebibytes={mebibytes}"),
        format!("--message={message}"),
        "--end=killed-busy".to_owned(),
    ]);
    let ways = [
        ("killed while it wrote", false, "stopped"),
        ("stopped", false, "stopped"),
        ("stopped, and nothing of it in the page cache", true, "killed-idle"),
        ("killed while idle", false, "killed-busy"),
        ("killed while it wrote, and nothing of it in the page cache", true, "stopped"),
    ];
    for (before, cold, end) in ways {
        if cold {
            for file in std::fs::read_dir(root.join("source/journal")).expect("a directory") {
                let path = file.expect("an entry").path();
                if path.is_file() {
                    forget(&path);
                }
            }
        }
        println!("after it was {before}:");
        run_other(&["serve".to_owned(), root.display().to_string(), end.to_owned()]);
    }
    for end in ["stopped", "killed-busy"] {
        println!("the same rows in redb, whose process was {end}:");
        let _ = std::fs::remove_file(root.join("rows.redb"));
        run_other(&["copy".to_owned(), root.display().to_string(), end.to_owned()]);
        run_other(&["read".to_owned(), root.display().to_string()]);
    }
}

fn rows(root: &Path, take: impl FnMut(Ticket, Bytes) -> Result<(), Infallible>) {
    let reserve = Arc::new(Reserve::new(root.join("reserve"), 0));
    let mut store = Store::open(&root.join("source/journal"), reserve).expect("a journal");
    store.recover(take).expect("readable");
}

/// Writes all rows to redb too, in batches as large as a busy node's.
pub(crate) fn copy(root: &Path, end: End) {
    let rival = Rival::open_file(&root.join("rows.redb"));
    let mut batch: Vec<(Ticket, Payload)> = Vec::new();
    rows(root, |ticket, row| {
        batch.push((ticket, Payload::from(row)));
        if batch.len() == 64 {
            rival.commit(&std::mem::take(&mut batch), false);
        }
        Ok(())
    });
    if end != End::Stopped {
        rival.commit(&batch, false);
        std::process::abort();
    }
    rival.commit(&batch, true);
}

/// Reads the same rows from both, without a node that takes them.
pub(crate) fn read(root: &Path) {
    let before = Instant::now();
    let mut bytes = 0;
    rows(root, |_, row| {
        bytes += row.len();
        Ok(())
    });
    println!("our segments: {} MiB read in {:.3} s", bytes >> 20, before.elapsed().as_secs_f64());
    let before = Instant::now();
    let rival = Rival::open_file(&root.join("rows.redb"));
    let opened = before.elapsed().as_secs_f64();
    bytes = 0;
    rival.read(|_, row| bytes += row.len());
    let (size, all) = (bytes >> 20, before.elapsed().as_secs_f64());
    println!("redb: {size} MiB read in {all:.3} s, of which {opened:.3} s to open it");
}

/// Starts on a data directory and says when what works.
pub(crate) fn serve(directory: PathBuf, end: End) {
    tracing_subscriber::fmt().with_ansi(false).without_time().with_writer(std::io::stdout).init();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let node = wattle_io::start(settings(&directory, "source")).await.expect("it starts");
        println!("it is up, with {} MiB of memory, {}", resident_kib() >> 10, spent());
        let payload = Bytes::from_static(b"first");
        publish_next(&node, 0, &payload).await;
        println!("a message is accepted, {}", spent());
        let status = node.status().await.expect("it runs");
        let streams = status.streams.len();
        let asking = node.clone();
        each(streams, move |number| {
            let (node, payload) = (asking.clone(), payload.clone());
            async move { publish_next(&node, number, &payload).await }
        })
        .await;
        println!("a message is accepted on each of {streams} streams, {}", spent());
        fill::finish(&node, end, streams, Bytes::from_static(b"last")).await;
    });
}

/// Time of all processors for this process.
fn spent() -> String {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    format!("{:.3} s of the processor", time.tv_sec as f64 + time.tv_nsec as f64 / 1e9)
}

pub(crate) fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0)
}
