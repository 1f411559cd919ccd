//! What can happen to the driver, in three queues. What answers the node's own wishes is never held back, since each wish
//! is answered once and the node bounds its wishes. What comes from connections and from the application waits in bounded
//! queues, and whoever fills them waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use wattle_core::id::{AttachToken, LaneId, RequestId, Sequence, Ticket};
use wattle_core::node::command::{Command, Refusal};
use wattle_core::node::output::{DialId, LoadId};
use wattle_core::node::status::{Served, Status};
use wattle_core::work::{Done, PublicKey, WorkId};

use crate::handle::{Answered, Attachment};

/// Answers to the node's wishes, and the little that must never wait.
#[derive(Debug)]
pub(crate) enum Urgent {
    Persisted {
        upto: Ticket,
    },
    WriteFailed {
        reason: String,
    },
    Loaded {
        load: LoadId,
        bytes: Option<Bytes>,
    },
    WorkDone {
        work: WorkId,
        done: Done,
    },
    Space {
        free: u64,
    },
    DialFailed {
        dial: DialId,
    },
    /// A buffer handed to a lane is in its socket.
    Flushed {
        lane: LaneId,
        buffer: Vec<u8>,
    },
    /// A lane's task ended without a word, because its runtime did.
    LaneLost {
        lane: LaneId,
    },
    Verdict(Arc<Verdict>),
    /// A handler failed at a message.
    Failed {
        /// Under which attachment.
        token: AttachToken,
        /// Which.
        sequence: Sequence,
        /// What it says.
        reason: String,
    },
    /// A handler processed a message that was parked.
    Retried {
        /// Under which attachment.
        token: AttachToken,
        /// Which.
        sequence: Sequence,
    },
    /// A handler took so many bytes of pieces of large messages.
    Took {
        /// Under which attachment.
        token: AttachToken,
        /// All of them so far.
        bytes: u64,
    },
    Detach {
        token: AttachToken,
    },
    /// A helping thread ended by a panic: answers are lost.
    #[cfg_attr(feature = "turmoil", expect(dead_code, reason = "there are no threads"))]
    HelperPanicked {
        thread: String,
    },
    /// Nobody waits for the replies any more.
    Forget {
        request: RequestId,
    },
    Stop,
}

/// From connections, in the order of each.
#[derive(Debug)]
pub(crate) enum LaneEvent {
    Up { lane: LaneId, dial: Option<DialId>, peer_key: PublicKey, ends: LaneEnds },
    Received { lane: LaneId, bytes: Bytes },
    Down { lane: LaneId },
}

/// What the driver holds of a lane. Dropping it closes the lane once everything handed out is sent.
#[derive(Debug)]
pub(crate) struct LaneEnds {
    pub(crate) writer: mpsc::Sender<Vec<u8>>,
    /// Never sent on: dropping it starts the grace after which the lane is cut.
    pub(crate) _closing: oneshot::Sender<()>,
}

/// From the application.
#[derive(Debug)]
pub(crate) enum Ask {
    Command {
        request: RequestId,
        command: Command,
        replies: mpsc::UnboundedSender<Answered>,
        /// Held until the node has the command.
        room: OwnedSemaphorePermit,
    },
    Attach {
        request: RequestId,
        command: Command,
        former: Former,
        answer: oneshot::Sender<Result<Attachment, Refusal>>,
    },
    /// What a handler that is to attach to that stream must know; `None` if this node is no target of it.
    Served {
        stream: String,
        answer: oneshot::Sender<Result<Option<Served>, Refusal>>,
    },
    Status {
        answer: oneshot::Sender<Option<Status>>,
    },
}

/// From whom an attachment takes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Former {
    /// Whoever is attached: the newest is served.
    Anybody,
    /// From itself at most, under its former token: it comes again, and whoever else is attached came later.
    Itself(Option<AttachToken>),
}

/// The latest verdict of an attachment: many verdicts make one event.
#[derive(Debug)]
pub(crate) struct Verdict {
    pub(crate) token: AttachToken,
    upto: AtomicU64,
    queued: AtomicBool,
}

impl Verdict {
    pub(crate) fn new(token: AttachToken) -> Self {
        Self { token, upto: AtomicU64::new(0), queued: AtomicBool::new(false) }
    }

    /// Notes a verdict; `true` if an event must be queued for it.
    pub(crate) fn note(&self, upto: Sequence) -> bool {
        self.upto.fetch_max(upto.0, Ordering::SeqCst);
        !self.queued.swap(true, Ordering::SeqCst)
    }

    /// The latest verdict. Notes from now on queue an event again.
    pub(crate) fn take(&self) -> Sequence {
        self.queued.store(false, Ordering::SeqCst);
        Sequence(self.upto.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_gather_into_one_event_and_the_highest_wins() {
        let verdict = Verdict::new(AttachToken(1));
        assert!(verdict.note(Sequence(3)));
        assert!(!verdict.note(Sequence(7)));
        assert!(!verdict.note(Sequence(5)));
        assert_eq!(verdict.take(), Sequence(7));
        assert!(verdict.note(Sequence(8)));
    }
}
