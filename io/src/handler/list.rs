//! The handlers that run in a node.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::run::Runner;
use super::{Handler, Options, Over, Progress, State};
use crate::handle::Running;

/// A handler that runs. Dropping it stops the handler after the call under way.
#[derive(Debug)]
pub struct Handling {
    progress: watch::Receiver<Progress>,
    stop: watch::Sender<bool>,
    list: Arc<List>,
    number: u64,
}

impl Handling {
    pub(crate) fn begin<H: Handler>(node: Running, stream: &str, handler: H, options: Options) -> Self {
        let list = node.list();
        let (shown, progress) = watch::channel(Progress::default());
        let (stop, stopped) = watch::channel(false);
        let listed =
            Listed { stream: stream.to_owned(), name: options.name.clone(), progress: Progress::default() };
        let number = list.add(listed, progress.clone());
        let span = node.span().clone();
        let runner = Runner::new(node, stream.to_owned(), handler, options, shown, stopped);
        tokio::spawn(tracing::Instrument::instrument(runner.run(), span));
        Self { progress, stop, list, number }
    }

    /// How far it is.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.progress.borrow().clone()
    }

    /// Waits until `holds` of its progress, and gives that. It may pass over what lasted only a moment. Where the handler ends first,
    /// `None`.
    pub async fn until(&mut self, holds: impl Fn(&Progress) -> bool) -> Option<Progress> {
        let end = |progress: &Progress| holds(progress) || matches!(progress.state, State::Over(_));
        let progress = self.progress.wait_for(end).await.ok()?.clone();
        holds(&progress).then_some(progress)
    }

    /// Waits until it ends by itself, and tells why.
    pub async fn over(&mut self) -> Over {
        match self.progress.wait_for(|progress| matches!(progress.state, State::Over(_))).await {
            Ok(progress) => match &progress.state {
                State::Over(why) => why.clone(),
                _ => unreachable!("waited for"),
            },
            Err(_) => Over::Broken,
        }
    }

    /// Lets it end after the call under way, and waits for that.
    pub async fn stop(mut self) -> Over {
        self.stop.send_replace(true);
        self.over().await
    }
}

impl Drop for Handling {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        self.list.remove(self.number);
    }
}

/// A handler that runs in a node, as `status` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The stream's name.
    pub stream: String,
    /// What the handler is called.
    pub name: String,
    /// How far it is.
    pub progress: Progress,
}

/// The handlers that run in a node: as many as its application started.
#[derive(Debug, Default)]
pub(crate) struct List(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    next: u64,
    entries: Vec<(u64, Listed, watch::Receiver<Progress>)>,
}

impl List {
    fn add(&self, listed: Listed, progress: watch::Receiver<Progress>) -> u64 {
        let mut list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let number = list.next;
        list.next += 1;
        list.entries.push((number, listed, progress));
        number
    }

    fn remove(&self, number: u64) {
        let mut list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        list.entries.retain(|(entry, ..)| *entry != number);
    }

    pub(crate) fn all(&self) -> Vec<Listed> {
        let list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = |(_, listed, progress): &(u64, Listed, watch::Receiver<Progress>)| Listed {
            progress: progress.borrow().clone(),
            ..listed.clone()
        };
        list.entries.iter().map(now).collect()
    }
}
