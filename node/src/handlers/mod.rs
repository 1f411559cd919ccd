//! The handlers that a node runs by its settings: `[[handler]]`.
//!
//! | kind | contract | does |
//! | --- | --- | --- |
//! | `no-op` | | nothing |
//! | `postgresql` | transactional | makes rows of messages in a database ([`postgresql`]) |
//! | `store` | transactional | keeps messages, or the values they put, in a file of its own ([`store`]) |
//!
//! What calls them is [`wattle_io::handler`]. A stream that is closed takes no handler away: it waits for the next stream of that name.

pub mod postgresql;
pub mod store;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use wattle_io::Running;
use wattle_io::handler::{Failure, Handler, Message, Options, Over, Piece};

use crate::settings::{HandlerKind, HandlerSettings};
use postgresql::PostgreSql;
use store::{Store, StoreFile};

/// How long calls that are under way may take when the node stops.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// The handlers of a node's settings, by the name of their stream.
#[derive(Clone, Debug, Default)]
pub struct Configured(Arc<BTreeMap<String, One>>);

#[derive(Debug)]
struct One {
    kind: &'static str,
    /// Of one of the kind `store`.
    file: Option<Arc<StoreFile>>,
    /// One that ended is to begin again.
    again: Notify,
}

impl Configured {
    /// What the one of this stream keeps in a file.
    #[must_use]
    pub fn file(&self, stream: &str) -> Option<Arc<StoreFile>> {
        self.0.get(stream).and_then(|one| one.file.clone())
    }

    /// The kind of the one of this stream.
    #[must_use]
    pub fn kind(&self, stream: &str) -> Option<&'static str> {
        self.0.get(stream).map(|one| one.kind)
    }

    /// Has the one of this stream begin again, if it ended.
    pub fn again(&self, stream: &str) {
        if let Some(one) = self.0.get(stream) {
            one.again.notify_one();
        }
    }
}

/// Handlers that are ready to run: what can be found wrong before they run was found.
#[derive(Debug)]
pub struct Prepared {
    settings: Vec<HandlerSettings>,
    configured: Configured,
}

impl Prepared {
    /// Makes what the handlers keep.
    ///
    /// # Errors
    /// A sentence that says what to do.
    pub fn open(settings: Vec<HandlerSettings>, data_dir: &Path) -> Result<Self, String> {
        let (mut all, mut paths) = (BTreeMap::new(), BTreeSet::new());
        for handler in &settings {
            let of = |error: String| format!("the handler of stream {:?}: {error}", handler.stream);
            let (kind, file) = match &handler.kind {
                HandlerKind::NoOp => ("no-op", None),
                HandlerKind::PostgreSql(database) => {
                    postgresql::check(database).map_err(of)?;
                    ("postgresql", None)
                }
                HandlerKind::Store(kept) => {
                    let named = || data_dir.join(format!("stored-{}.redb", handler.stream));
                    let path = kept.file.clone().unwrap_or_else(named);
                    let file = StoreFile::at(path.clone(), kept.keep).map_err(of)?;
                    if let Ok(path) = path.canonicalize()
                        && !paths.insert(path.clone())
                    {
                        return Err(of(format!("{} is the file of another handler, too", path.display())));
                    }
                    ("store", Some(Arc::new(file)))
                }
            };
            all.insert(handler.stream.clone(), One { kind, file, again: Notify::new() });
        }
        Ok(Self { settings, configured: Configured(Arc::new(all)) })
    }

    /// They, for whoever asks.
    #[must_use]
    pub fn configured(&self) -> Configured {
        self.configured.clone()
    }

    /// Runs them at a node.
    #[must_use]
    pub fn run(self, node: &Running) -> Handlers {
        let (stop, stopped) = watch::channel(false);
        let mut tasks = Vec::new();
        for handler in &self.settings {
            let HandlerSettings { stream, window, batch, message_bytes, begin, kind } = handler;
            let options = |name: &str| Options {
                name: name.to_owned(),
                window: *window,
                array: *batch,
                message_bytes: *message_bytes,
                ..Options::default()
            };
            let at = (node.clone(), stream.clone(), self.configured(), stopped.clone());
            tasks.push(match kind {
                // It needs nothing put together.
                HandlerKind::NoOp => {
                    tokio::spawn(run(at, NoOp, Options { message_bytes: 0, ..options("no-op") }))
                }
                HandlerKind::PostgreSql(database) => {
                    let database = PostgreSql::new(database.clone(), *begin);
                    tokio::spawn(run(at, database, options("postgresql")))
                }
                HandlerKind::Store(_) => match self.configured.file(stream) {
                    Some(file) => {
                        let store = Store::new(file, *begin);
                        tokio::spawn(run(at, store, options("store")))
                    }
                    None => unreachable!("opened before"),
                },
            });
        }
        Handlers { stop, tasks }
    }
}

/// Handlers that run.
#[derive(Debug)]
pub struct Handlers {
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Handlers {
    /// Lets each end after the call under way, which may take a moment.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        let all = async {
            for task in self.tasks {
                let _ = task.await;
            }
        };
        if tokio::time::timeout(STOP_GRACE, all).await.is_err() {
            tracing::warn!("a handler was at work when the node stopped: what it was at comes again");
        }
    }
}

/// Runs one handler, for each life of its stream, until it is to stop. One that ended by itself is shown until then, or until it is to begin again.
async fn run<H: Handler + Clone>(
    (node, stream, configured, mut stopped): (Running, String, Configured, watch::Receiver<bool>),
    handler: H,
    options: Options,
) {
    let Some(one) = configured.0.get(&stream) else { return };
    loop {
        let mut handling = node.handle(&stream, handler.clone(), options.clone());
        let over = tokio::select! {
            over = handling.over() => Some(over),
            _ = stopped.wait_for(|stop| *stop) => None,
        };
        if over == Some(Over::Closed) {
            continue;
        }
        if over.is_some() {
            // Holds the node no longer than it must; fails only when nobody is left to say it.
            tokio::select! {
                () = one.again.notified() => continue,
                _ = stopped.wait_for(|stop| *stop) => {}
            }
        }
        handling.stop().await;
        return;
    }
}

/// Does nothing, and says that it is done.
#[derive(Clone, Copy, Debug)]
struct NoOp;

impl Handler for NoOp {
    async fn handle(&mut self, _: &[Message]) -> Result<(), Failure> {
        Ok(())
    }

    async fn handle_parked(&mut self, _: &Message) -> Result<(), Failure> {
        Ok(())
    }

    async fn handle_piece(&mut self, _: &Piece) -> Result<(), Failure> {
        Ok(())
    }
}
