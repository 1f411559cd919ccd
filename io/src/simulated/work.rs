//! Heavy work in a simulated host: it is done on the spot, and takes no time.

use std::io;

use tokio::sync::mpsc::UnboundedSender;
use wattle_core::work::{Job, WorkId};

use crate::event::Urgent;
use crate::keyring::Keyring;

/// Does heavy work.
#[derive(Debug)]
pub(crate) struct Workers {
    keyring: Keyring,
    urgent: UnboundedSender<Urgent>,
}

impl Workers {
    #[expect(clippy::unnecessary_wraps, reason = "threads may fail to start")]
    pub(crate) fn start(keyring: &Keyring, urgent: &UnboundedSender<Urgent>) -> io::Result<Self> {
        Ok(Self { keyring: keyring.clone(), urgent: urgent.clone() })
    }

    pub(crate) fn submit(&self, work: WorkId, job: Job) {
        let done = self.keyring.perform(&job);
        let _ = self.urgent.send(Urgent::WorkDone { work, done });
    }
}
