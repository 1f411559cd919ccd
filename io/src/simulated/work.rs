//! Heavy work in a simulated host: it is done on the spot, and takes no time.

use std::io;

use tokio::sync::mpsc::UnboundedSender;
use wattle_core::work::{Job, WorkId, perform};

use crate::event::Urgent;

/// Does heavy work.
#[derive(Debug)]
pub(crate) struct Workers {
    secret: [u8; 32],
    urgent: UnboundedSender<Urgent>,
}

impl Workers {
    #[expect(clippy::unnecessary_wraps, reason = "threads may fail to start")]
    pub(crate) fn start(secret: [u8; 32], urgent: &UnboundedSender<Urgent>) -> io::Result<Self> {
        Ok(Self { secret, urgent: urgent.clone() })
    }

    pub(crate) fn submit(&self, work: WorkId, job: Job) {
        let done = perform(&job, &self.secret);
        let _ = self.urgent.send(Urgent::WorkDone { work, done });
    }
}
