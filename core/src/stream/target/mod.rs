//! A target's side: receive, deliver, mark.

mod failed;
mod failing;
mod handler;
mod hands;
mod marks;
mod parked;
mod pieces;
mod receive;
mod replay;

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::id::{AttachToken, RequestId, Sequence};
use crate::node::command::Position;
use crate::time::Instant;

use hands::Hands;

pub(super) use failing::Troubles;
pub(super) use parked::{decode_failing, decode_parked};
pub(super) use receive::Held;

/// An attached handler.
#[derive(Clone, Debug)]
pub(super) struct Handler {
    pub(super) token: AttachToken,
    request: RequestId,
    window: u64,
    /// The last message handed over.
    handed: Sequence,
    /// The last message it is done with.
    done: Sequence,
    /// What of that is done and marked durably is settled: it will not be handed over again after a crash.
    hands: Hands,
    /// It began below the mark: a restored database.
    replaying: bool,
}

/// A handler that is not attached yet: its position is above what is known here, or the source has not yet said what it heard
/// of our mark, so that nobody can tell where this handler goes on.
#[derive(Clone, Debug)]
pub(super) struct Attaching {
    token: AttachToken,
    request: RequestId,
    /// The handler's own position, if it keeps one.
    presented: Option<Position>,
    window: u64,
    /// Names the question to the source; only an answer to it counts.
    question: u64,
}

/// What only the target of a stream keeps.
#[derive(Clone, Debug, Default)]
pub(super) struct Target {
    pub(super) handler: Option<Box<Handler>>,
    pub(super) attaching: Option<Attaching>,
    /// Who reads again. Each by itself: there are few.
    #[expect(clippy::vec_box, reason = "a stream without any pays for a pointer or three")]
    pub(super) replays: Vec<Box<replay::Replay>>,
    /// Processed.
    pub(super) mark: Sequence,
    /// Processed, and that is on disk.
    pub(super) mark_durable: Sequence,
    /// So much of the mark was taken here when it was written: a record says so of what is committed, though the log may not yet after a start.
    pub(super) mark_taken: Sequence,
    /// The source has told what it heard of our mark (rule C4), or patience ended.
    pub(super) greeted: bool,
    /// When a start without word from the source goes on without.
    pub(super) patience_until: Option<Instant>,
    /// The source was not told of progress or room that it waits for.
    pub(super) unsaid: bool,
    /// Bytes received since the source was told.
    received_since: u64,
    /// What the handler failed at, and what is parked of that. In most streams there never is any.
    pub(super) troubles: Option<Box<Troubles>>,
    /// The last bytes that came had to be asked of another holder, or of a source that began and has no session yet: the source sends none.
    pub(super) repairs: bool,
    /// The source sent something that it was not asked for, in its present start.
    pub(super) sent_to: bool,
    /// The bytes that appends began to wait for last were asked for at once: so are those that stand behind them.
    pub(super) asks_ahead: bool,
}

impl Target {
    /// Bytes above this are still read by a handler that replays.
    pub(super) fn replaying_from(&self) -> Sequence {
        match &self.handler {
            Some(handler) if handler.replaying => handler.done,
            _ => Sequence(u64::MAX),
        }
    }
}
