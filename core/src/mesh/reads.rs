//! Reading agreed configuration.
//!
//! A *local* read tells what this node has applied. A *linearizable* one must hold every write that anybody was answered before it was asked
//! (M17), and no node knows by itself which these are: also a leader may have been deposed without having heard of it. So the consensus group is
//! asked, which answers once this node has applied all that was committed when the read was asked for (ReadIndex; the group's invariant R14).
//! Its answer may be lost, or somebody else may lead by now: then it is asked again until the read's time is over.

use alloc::string::String;
use alloc::vec::Vec;

use super::{Mesh, Output};
use crate::agreed::{ConfigRecord, ConfigReply, Consistency, PAGE_MAX, ReadPoint};
use crate::id::RequestId;
use crate::node::command::{Refusal, Reply};
use crate::planted::Bug;
use crate::sometimes;
use crate::time::{Instant, Now};

/// Bytes of one page of a listing, after which it ends.
const PAGE_BYTES_MAX: usize = 512 << 10;

/// What is read.
#[derive(Clone, Debug)]
enum Query {
    Settings,
    Get { key: String },
    List { prefix: String, after: String, limit: u32 },
}

/// A read that waits for the group's word.
#[derive(Clone, Debug)]
struct Waiting {
    request: RequestId,
    query: Query,
    /// Under which number the group was asked last.
    context: u64,
    /// When it is asked again.
    again: Instant,
    /// When the read is refused for want of a quorum.
    deadline: Instant,
}

/// Reads of this node.
#[derive(Clone, Debug, Default)]
pub(super) struct Reads {
    waiting: Vec<Waiting>,
    /// When an entry was applied last, in this life.
    applied_at: Option<Instant>,
}

impl Reads {
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Ends all reads, and gives them.
    pub(super) fn take(&mut self) -> Vec<RequestId> {
        core::mem::take(&mut self.waiting).into_iter().map(|read| read.request).collect()
    }

    pub(super) fn note_applied(&mut self, now: Now) {
        self.applied_at = Some(now.monotonic);
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.waiting.iter().map(|read| read.again.min(read.deadline)).min()
    }
}

impl Mesh {
    pub(super) fn on_get_settings(&mut self, now: Now, request: RequestId, consistency: Consistency) {
        self.read(now, request, Query::Settings, consistency);
    }

    pub(super) fn on_get_config(
        &mut self,
        now: Now,
        request: RequestId,
        key: String,
        consistency: Consistency,
    ) {
        if let Err(refusal) = super::table::check_key(&key) {
            return self.reply(request, Err(refusal.into()));
        }
        self.read(now, request, Query::Get { key }, consistency);
    }

    pub(super) fn on_list_config(
        &mut self,
        now: Now,
        request: RequestId,
        prefix: String,
        after: String,
        limit: u32,
        consistency: Consistency,
    ) {
        for text in [&prefix, &after] {
            if let Err(refusal) = super::table::check_prefix(text) {
                return self.reply(request, Err(refusal.into()));
            }
        }
        let limit = if limit == 0 { PAGE_MAX } else { limit.min(PAGE_MAX) };
        self.read(now, request, Query::List { prefix, after, limit }, consistency);
    }

    fn read(&mut self, now: Now, request: RequestId, query: Query, consistency: Consistency) {
        if self.membership.is_none() {
            return self.reply(request, Err(Refusal::NotMember));
        }
        let unconfirmed = consistency == Consistency::Linearizable
            && self.planted.strikes(Bug::ReadNotConfirmed, || !self.control.leading);
        if consistency == Consistency::Local || unconfirmed {
            return self.answer_read(now, request, &query, consistency);
        }
        if self.reads.len() >= self.config.reads_max {
            return self.reply(request, Err(Refusal::Busy));
        }
        let context = self.next_number();
        let again = now.monotonic + self.config.request_retry;
        let deadline = now.monotonic + self.config.request_timeout;
        self.reads.waiting.push(Waiting { request, query, context, again, deadline });
        self.outputs.push_back(Output::Read { context });
    }

    /// The group confirmed a read: all that was committed when it was asked is applied here.
    pub(super) fn on_read_ready(&mut self, now: Now, context: u64) {
        let Some(place) = self.reads.waiting.iter().position(|read| read.context == context) else {
            sometimes!(ReadConfirmedTwice);
            return;
        };
        let read = self.reads.waiting.swap_remove(place);
        self.answer_read(now, read.request, &read.query, Consistency::Linearizable);
    }

    /// Somebody else leads: what was asked of the one before may never be answered.
    pub(super) fn ask_reads_again(&mut self, now: Now) {
        for read in &mut self.reads.waiting {
            read.again = now.monotonic;
        }
        self.ask_due_reads(now);
    }

    pub(super) fn on_read_deadline(&mut self, now: Now) {
        let due = self.reads.waiting.iter().any(|read| read.again <= now.monotonic);
        if due && !self.control.leading && self.control.leader.is_some() {
            self.on_unanswered();
        }
        self.ask_due_reads(now);
    }

    fn ask_due_reads(&mut self, now: Now) {
        let all = core::mem::take(&mut self.reads.waiting);
        let (over, waiting): (Vec<Waiting>, Vec<Waiting>) =
            all.into_iter().partition(|read| read.deadline <= now.monotonic);
        self.reads.waiting = waiting;
        for read in over {
            self.reply(read.request, Err(Refusal::NoQuorum));
        }
        for place in 0..self.reads.waiting.len() {
            if self.reads.waiting[place].again <= now.monotonic {
                sometimes!(ReadAskedAgain);
                let context = self.next_number();
                let read = &mut self.reads.waiting[place];
                (read.context, read.again) = (context, now.monotonic + self.config.request_retry);
                self.outputs.push_back(Output::Read { context });
            }
        }
    }

    fn answer_read(&mut self, now: Now, request: RequestId, query: &Query, consistency: Consistency) {
        let at = ReadPoint {
            applied: self.state.applied,
            consistency,
            age: self.reads.applied_at.map(|then| now.monotonic.since(then)),
        };
        let reply = match query {
            Query::Settings => {
                let key = self.state.join_key.as_ref().map(super::join_key::JoinKey::status);
                ConfigReply::Settings { settings: self.state.config.settings().clone(), key, at }
            }
            Query::Get { key } => ConfigReply::Record { record: self.state.config.record(key), at },
            Query::List { prefix, after, limit } => {
                let (records, more) = self.page(prefix, after, *limit as usize);
                ConfigReply::Listed { records, more, at }
            }
        };
        self.reply(request, Ok(Reply::Config(reply)));
    }

    fn page(&self, prefix: &str, after: &str, limit: usize) -> (Vec<ConfigRecord>, bool) {
        let (mut records, mut bytes) = (Vec::new(), 0);
        for record in self.state.config.range(prefix, after) {
            if records.len() == limit || bytes > PAGE_BYTES_MAX {
                return (records, true);
            }
            bytes += record.key.len() + record.value.len();
            records.push(record);
        }
        (records, false)
    }

    /// Panics if an invariant does not hold.
    pub(super) fn check_reads(&self) {
        assert!(self.reads.len() <= self.config.reads_max, "M5: reads that wait are bounded");
        let waits = |read: &Waiting| read.again <= read.deadline + self.config.request_retry;
        assert!(self.reads.waiting.iter().all(waits), "M17: a read that is asked again too late");
    }
}
