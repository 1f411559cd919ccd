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

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use wattle_io::Running;
use wattle_io::handler::{Failure, Handler, Message, Options, Over};

use crate::settings::{HandlerKind, HandlerSettings};
use postgresql::PostgreSql;
use store::{Store, StoreFile};

/// How long calls that are under way may take when the node stops.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// The files of handlers of the kind `store`, by the name of their stream.
pub type Stores = Arc<BTreeMap<String, Arc<StoreFile>>>;

/// Handlers that are ready to run: what can be found wrong before they run was found.
#[derive(Debug)]
pub struct Prepared {
    settings: Vec<HandlerSettings>,
    stores: Stores,
}

impl Prepared {
    /// Opens what the handlers keep.
    ///
    /// # Errors
    /// A sentence that says what to do.
    pub fn open(settings: Vec<HandlerSettings>, data_dir: &Path) -> Result<Self, String> {
        let mut stores = BTreeMap::new();
        for handler in &settings {
            let of = |error: String| format!("the handler of stream {:?}: {error}", handler.stream);
            if let HandlerKind::PostgreSql(database) = &handler.kind {
                postgresql::check(database).map_err(of)?;
            }
            if let HandlerKind::Store(kept) = &handler.kind {
                let named = || data_dir.join(format!("stored-{}.redb", handler.stream));
                let path = kept.file.clone().unwrap_or_else(named);
                let file = StoreFile::open(path, kept.keep).map_err(of)?;
                stores.insert(handler.stream.clone(), Arc::new(file));
            }
        }
        Ok(Self { settings, stores: Arc::new(stores) })
    }

    /// The files that they keep.
    #[must_use]
    pub fn stores(&self) -> Stores {
        Arc::clone(&self.stores)
    }

    /// Runs them at a node.
    #[must_use]
    pub fn run(self, node: &Running) -> Handlers {
        let (stop, stopped) = watch::channel(false);
        let mut tasks = Vec::new();
        for handler in &self.settings {
            let HandlerSettings { stream, window, batch, kind } = handler;
            let options = |name: &str| Options {
                name: name.to_owned(),
                window: *window,
                array: *batch,
                ..Options::default()
            };
            let at = (node.clone(), stream.clone(), stopped.clone());
            tasks.push(match kind {
                HandlerKind::NoOp => tokio::spawn(run(at, NoOp, options("no-op"))),
                HandlerKind::PostgreSql(database) => {
                    tokio::spawn(run(at, PostgreSql::new(database.clone()), options("postgresql")))
                }
                HandlerKind::Store(_) => match self.stores.get(stream) {
                    Some(file) => tokio::spawn(run(at, Store::new(Arc::clone(file)), options("store"))),
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

/// Runs one handler, for each life of its stream, until it is to stop. One that ended by itself is shown until then.
async fn run<H: Handler + Clone>(
    (node, stream, mut stopped): (Running, String, watch::Receiver<bool>),
    handler: H,
    options: Options,
) {
    loop {
        let mut handling = node.handle(&stream, handler.clone(), options.clone());
        let closed = tokio::select! {
            over = handling.over() => over == Over::Closed,
            _ = stopped.wait_for(|stop| *stop) => false,
        };
        if !closed {
            // Holds the node no longer than it must; fails only when nobody is left to say it.
            let _ = stopped.wait_for(|stop| *stop).await;
            handling.stop().await;
            return;
        }
    }
}

/// Does nothing, and says that it is done.
#[derive(Clone, Copy, Debug)]
struct NoOp;

impl Handler for NoOp {
    async fn handle(&mut self, _: &[Message]) -> Result<(), Failure> {
        Ok(())
    }
}
