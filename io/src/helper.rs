//! Threads that help a node.

use std::io;
use std::thread::{self, JoinHandle};

use tokio::sync::mpsc::UnboundedSender;
use tracing::Span;

use crate::event::Urgent;

/// Starts a helping thread. What it logs bears the node's name, as what its maker logs does. If it ends by a panic the driver is
/// told, since answers are lost and the node would wait for ever.
pub(crate) fn spawn(
    name: String,
    urgent: UnboundedSender<Urgent>,
    body: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let span = Span::current();
    let run = move || {
        let _watch = PanicWatch(urgent);
        span.in_scope(body);
    };
    thread::Builder::new().name(name).spawn(run)
}

struct PanicWatch(UnboundedSender<Urgent>);

impl Drop for PanicWatch {
    fn drop(&mut self) {
        if thread::panicking() {
            let thread = thread::current().name().unwrap_or("a helper").to_owned();
            let _ = self.0.send(Urgent::HelperPanicked { thread });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_helper_that_panics_is_told_of_and_one_that_ends_is_not() {
        let (urgent, mut told) = tokio::sync::mpsc::unbounded_channel();
        spawn("ends".to_owned(), urgent.clone(), || {}).unwrap().join().unwrap();
        let stumbles = spawn("stumbles".to_owned(), urgent, || panic!("as asked")).unwrap();
        assert!(stumbles.join().is_err());
        let Some(Urgent::HelperPanicked { thread }) = told.blocking_recv() else { panic!("not told") };
        assert_eq!(thread, "stumbles");
        assert!(told.blocking_recv().is_none());
    }
}
