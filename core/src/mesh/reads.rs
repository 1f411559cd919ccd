//! Reading agreed configuration.
//!
//! A *local* read tells what this node has applied. A *linearizable* one must hold every write that anybody was answered before it was asked
//! (M17), and no node knows by itself which these are: also a leader may have been deposed without having heard of it. So the read waits
//! behind a *barrier*: an entry without effect that is put into the log after the read was asked. Once it is applied here, so is all that was committed before.
//!
//! Reads share barriers: those that come while one is under way wait for the next, which is made when the first is through.

use alloc::string::String;
use alloc::vec::Vec;

use super::Mesh;
use super::entry::Body;
use super::requests::Purpose;
use super::state::Effect;
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

/// A read that waits for its barrier.
#[derive(Clone, Debug)]
struct Waiting {
    request: RequestId,
    query: Query,
    /// How many barriers had been made when it was asked: none of these will do.
    barriers: u64,
}

/// Reads of this node.
#[derive(Clone, Debug, Default)]
pub(super) struct Reads {
    waiting: Vec<Waiting>,
    /// How many barriers were made.
    made: u64,
    /// Whether the last one is under way.
    under_way: bool,
    /// When an entry was applied last, in this life.
    applied_at: Option<Instant>,
}

impl Reads {
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Ends all of them, and gives whoever waits.
    pub(super) fn take(&mut self) -> Vec<RequestId> {
        core::mem::take(self).waiting.into_iter().map(|read| read.request).collect()
    }

    pub(super) fn note_applied(&mut self, now: Now) {
        self.applied_at = Some(now.monotonic);
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
        let late = self.reads.under_way && self.planted.has(Bug::ReadJoinsBarrier);
        let barriers = if late { self.reads.made - 1 } else { self.reads.made };
        sometimes!(ReadBehindBarrier, self.reads.under_way);
        self.reads.waiting.push(Waiting { request, query, barriers });
        self.confirm_reads(now);
    }

    /// Asks the mesh to confirm that what this node will have applied holds everything committed by now. The answer is
    /// [`Self::on_reads_confirmed`]. Any other way of asking may take this one's place.
    fn confirm_reads(&mut self, now: Now) {
        if self.reads.under_way || self.reads.waiting.is_empty() {
            return;
        }
        self.reads.under_way = true;
        self.reads.made += 1;
        let deadline = Some(now.monotonic + self.config.request_timeout);
        self.submit(now, Purpose::Barrier, Body::Barrier, deadline);
    }

    /// The reads that were asked before the barrier was made are answered, and those behind it get their own.
    pub(super) fn on_reads_confirmed(&mut self, now: Now, confirmed: Result<Effect, Refusal>) {
        self.reads.under_way = false;
        let made = self.reads.made;
        let all = core::mem::take(&mut self.reads.waiting);
        let (ready, behind): (Vec<Waiting>, Vec<Waiting>) =
            all.into_iter().partition(|read| read.barriers < made);
        self.reads.waiting = behind;
        sometimes!(ReadsShareBarrier, ready.len() > 1);
        for read in ready {
            match &confirmed {
                Ok(_) => self.answer_read(now, read.request, &read.query, Consistency::Linearizable),
                Err(refusal) => self.reply(read.request, Err(refusal.clone())),
            }
        }
        self.confirm_reads(now);
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
        assert_eq!(
            self.reads.under_way,
            self.requests.has(&Purpose::Barrier),
            "M17: a barrier that reads wait for is under way"
        );
        assert!(self.reads.waiting.is_empty() || self.reads.under_way, "M17: nobody waits for nothing");
        assert!(
            self.reads.waiting.iter().all(|read| read.barriers <= self.reads.made),
            "M17: a read is not older than its barrier"
        );
    }
}
