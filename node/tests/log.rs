//! What nodes of one process log: each line says whose it is.

use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tracing_subscriber::EnvFilter;
use wattle_core::node::command::Command;
use wattle_io::Running;

/// Where the log of this process goes.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no panic").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn lines(&self) -> Vec<String> {
        let text = self.0.lock().expect("no panic").clone();
        String::from_utf8(text).expect("text").lines().map(str::to_owned).collect()
    }

    /// Waits for a line that holds all of these.
    async fn line(&self, parts: &[&str]) -> String {
        for _ in 0..500 {
            let lines = self.lines();
            if let Some(line) = lines.into_iter().find(|line| parts.iter().all(|part| line.contains(part))) {
                return line;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("no line with {parts:?} in {:#?}", self.lines());
    }
}

async fn start(root: &Path, name: &str, dial: &[String]) -> Running {
    let settings = wattle_io::Settings {
        name: Some(name.to_owned()),
        listen: vec!["127.0.0.1:0".to_owned()],
        dial: dial.to_vec(),
        reserve_bytes: 1 << 16,
        ..wattle_io::Settings::new(root.join(name))
    };
    wattle_io::start(settings).await.expect("started")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_line_of_a_node_bears_its_name() {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_ansi(false)
        .with_env_filter(EnvFilter::new("wattle_io=trace"))
        .with_writer(move || writer.clone())
        .init();
    let root = tempfile::tempdir().expect("a directory");
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound");
    let ann = start(root.path(), "ann", &[nobody.to_string()]).await;
    let bob = start(root.path(), "bob", &[]).await;
    let seeded = ann.submit(Command::Seed { name: "log".to_owned() }).await.next().await;
    assert!(matches!(seeded, Some(Ok(_))), "{seeded:?}");
    // From a connection's task, and from the thread of the core.
    log.line(&["node{name=ann}", "wattle_io::lanes", "dial failed"]).await;
    log.line(&["node{name=ann}", "wattle_io::driver", "RoleChanged"]).await;
    bob.stop().await;
    ann.stop().await;
    log.line(&["node{name=bob}", "the node stops"]).await;
    let nameless: Vec<_> = log.lines().into_iter().filter(|line| !line.contains("node{name=")).collect();
    assert!(nameless.is_empty(), "{nameless:#?}");
}
