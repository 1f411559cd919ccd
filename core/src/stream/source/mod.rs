//! The source's side: accept, number, propose or offer, send.

mod accept;
mod closing;
mod complete;
mod outbox;
mod send;
mod session;
mod staging;
mod uploads;
mod waiting;

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use bytes::Bytes;

use super::entry::{MESSAGE_OVERHEAD, QUEUED_OVERHEAD};
use super::writers::Writers;
use crate::id::{RequestId, Sequence, WriterId};
use crate::node::command::Waited;

pub(super) use accept::Wish;
pub(super) use send::Sender;
pub(super) use uploads::{Restored, Staging};
pub(super) use waiting::Asker;

/// A publisher that waits for part of a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiter {
    pub(super) request: RequestId,
    pub(super) writer: WriterId,
    /// First and last writer sequence it waits for.
    pub(super) first: u64,
    pub(super) last: u64,
    /// Live messages of the batch that stand before them.
    pub(super) at: u64,
    /// How far it waits.
    pub(super) wait: Waited,
    /// What it was told.
    pub(super) told: Option<Waited>,
    /// These messages had been accepted before.
    pub(super) duplicate: bool,
}

/// Messages that wait to be formed into a batch.
#[derive(Clone, Debug)]
struct Item {
    writer: WriterId,
    first: u64,
    messages: Vec<Bytes>,
    waiters: Vec<Waiter>,
}

impl Item {
    fn last(&self) -> u64 {
        self.first + self.messages.len() as u64 - 1
    }

    fn bytes(&self) -> u64 {
        self.messages.iter().map(|message| message.len() as u64).sum()
    }

    fn weight(&self) -> u64 {
        self.bytes() + QUEUED_OVERHEAD + MESSAGE_OVERHEAD * self.messages.len() as u64
    }
}

/// What only the source of a stream keeps.
#[derive(Clone, Debug, Default)]
pub(super) struct Source {
    queue: VecDeque<Item>,
    /// What the digest job under way is about.
    forming: Vec<Item>,
    /// Weight of queue and forming.
    unformed: u64,
    waiting: waiting::Waiting,
    /// Large messages of which not all parts came.
    pub(super) staging: Staging,
    /// Places of writers of whom something is not taken yet, what is only queued included.
    places: Writers,
    /// The last number given, provisionally or not.
    numbered: Sequence,
    /// Durable here.
    pub(super) accepted: Sequence,
    /// Committed, and durable at most members; a leader that is not the source counts it, too.
    pub(super) replicated: Sequence,
    /// What of that another leader told.
    pub(super) told_replicated: Sequence,
    /// Processed by as many as the policy asks for when a target was taken out last.
    pub(super) processed_before: Sequence,
    /// The session of this start is the current one.
    pub(super) current: bool,
    session_proposed: bool,
    /// Where the log stood when it was last found that whoever leads owed an answer.
    restated: Option<Sequence>,
    /// How many at the front of the outbox are proposed.
    proposed: usize,
    /// `completed` as publishers were told.
    told_completed: Sequence,
    /// `released` as it was when it was counted last.
    told_released: Sequence,
    /// Writers to be closed, who asked, and whether it is proposed.
    closing: BTreeMap<WriterId, (Vec<RequestId>, bool)>,
    /// The records that say so after a restart, until the state does.
    closing_records: BTreeMap<u64, WriterId>,
    /// The last slot of such a record.
    closing_slot: u64,
}
