//! Updates that reach every member: mesh updates (also called system updates) and updates of an application's database.
//!
//! An update is an entry of the control group. Each kind is numbered from 1 in the order of the log, so all members see one order. What was
//! agreed on is part of the replicated state until every member has processed it: a member that was away gets it from its log or
//! with the state, and a new member begins with what is kept when it is admitted.
//!
//! At each member one handler per kind is handed updates after its *cursor*: the last one whose success it reported. The cursor is this node's own,
//! on its own disk. Now and then it is told to the leader, which writes the cursors of many members into the log as one entry; from then on the
//! history ends where the slowest member stands. An idle mesh says nothing.
//!
//! What is kept is bounded. When it is full, senders are refused and told who is behind; a policy, per kind, lets the oldest go instead. A member
//! that they were kept for is told the gap in their place.
//!
//! Files, in reading order: `history` (one kind's sequence), `table` (both, and the cursors), `send` (how updates get there), `handlers` (who is handed
//! them), `reports` (how cursors come back), `wire`.
//!
//! # Invariants
//! - **M20** Updates of a kind are numbered from 1 without gaps; an id keeps its number, and a repeat is answered with it. Ids that were forgotten
//!   are refused, if their sender says since when it uses them.
//! - **M21** An update is let go only when every member has processed it, or where the policy passes over who has not. What is kept is bounded.
//! - **M22** A handler is handed updates in order, after its cursor, within its window; what is kept no longer it is told as a gap.
//! - **M23** A cursor moves only by its handler's success, or to what the mesh was told of it before; it never goes back, and is on
//!   disk before anybody is told of it.

pub mod history;
pub mod table;

mod handlers;
mod reports;
mod send;
mod wire;

pub use history::{HISTORY_BYTES_MAX, History, IDS_MAX, KEPT_MAX, UPDATE_BYTES_MAX, UPDATE_KEY_MAX};
pub use table::{Change, Cursors, Effect, UPDATES_BYTES_MAX, Updates};

pub(super) use handlers::Handlers;
pub(super) use reports::Reports;
pub(super) use send::Sending;
pub(super) use wire::{change_in, change_out, cursors_in, cursors_out, table_in, table_out};

use crate::id::{AttachToken, RequestId, UpdateNumber};
use crate::update::UpdateCommand;

/// What the part is told about updates.
#[derive(Clone, Debug)]
pub enum Input {
    /// An application wants something.
    Command {
        /// Who asks.
        request: RequestId,
        /// What.
        command: UpdateCommand,
    },
    /// A handler succeeded for everything up to `upto`.
    Verdict {
        /// Under which attachment.
        token: AttachToken,
        /// The last update it is done with.
        upto: UpdateNumber,
    },
    /// A handler is gone.
    Detach {
        /// Which attachment.
        token: AttachToken,
    },
}
