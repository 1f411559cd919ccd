//! What a leader knows of one member, and what is under way to it.

use alloc::collections::VecDeque;

use super::config::Config;
use crate::configuration::Member;
use crate::id::LogIndex;
use crate::time::{Instant, Span};

/// An append that was not answered yet.
#[derive(Clone, Copy, Debug)]
struct Flight {
    number: u64,
    commit: LogIndex,
}

/// Replication towards one member.
#[derive(Clone, Debug)]
pub(super) struct Progress {
    pub(super) member: Member,
    /// Durable there and equal to this log.
    pub(super) matched: LogIndex,
    /// Where the next append begins.
    pub(super) next: LogIndex,
    /// One append at a time until one matches.
    pub(super) probing: bool,
    /// A snapshot was asked of the owner or is under way.
    pub(super) snapshot: bool,
    /// The other end holds entries that wait for their bytes, and asks when they came (rule B2).
    paused: bool,
    /// The commit index it is known to have heard.
    pub(super) heard: LogIndex,
    flights: VecDeque<Flight>,
    retry_at: Option<Instant>,
    backoff: Span,
}

impl Progress {
    pub(super) fn new(member: Member, last: LogIndex, config: &Config) -> Self {
        Self {
            member,
            matched: LogIndex(0),
            next: last.next(),
            probing: true,
            snapshot: false,
            paused: false,
            heard: LogIndex(0),
            flights: VecDeque::new(),
            retry_at: None,
            backoff: config.retry_min,
        }
    }

    /// Whether another append may leave now.
    pub(super) fn has_room(&self, config: &Config) -> bool {
        !self.snapshot && !self.paused && self.flights.len() < if self.probing { 1 } else { config.window }
    }

    /// An append leaves.
    pub(super) fn sent(&mut self, number: u64, last: LogIndex, commit: LogIndex, now: Instant) {
        self.flights.push_back(Flight { number, commit });
        if !self.probing {
            self.next = last.next();
        }
        self.arm(now);
    }

    /// The highest commit index that was sent or heard.
    pub(super) fn told(&self) -> LogIndex {
        self.flights.iter().map(|flight| flight.commit).max().unwrap_or_default().max(self.heard)
    }

    /// A snapshot leaves, or was asked for.
    pub(super) fn snapshot_under_way(&mut self, now: Instant) {
        self.snapshot = true;
        self.flights.clear();
        self.arm(now);
    }

    /// An append matched up to `index`. Whether that is news.
    pub(super) fn matched(&mut self, number: u64, index: LogIndex, config: &Config, now: Instant) -> bool {
        while let Some(&flight) = self.flights.front()
            && flight.number <= number
        {
            self.heard = self.heard.max(flight.commit);
            self.flights.pop_front();
        }
        self.snapshot = false;
        self.paused = false;
        self.probing = false;
        self.backoff = config.retry_min;
        self.retry_at = None;
        if !self.flights.is_empty() {
            self.arm(now);
        }
        let news = index > self.matched;
        self.matched = self.matched.max(index);
        self.next = self.next.max(self.matched.next());
        news
    }

    /// An append did not match: go back to where the other log may agree.
    pub(super) fn refused(&mut self, other_end: LogIndex, own_end: LogIndex) {
        let lower = self.next.before().min(other_end.next()).min(own_end.next());
        self.next = lower.max(self.matched.next());
        self.probe();
    }

    /// Begins anew from what is known for certain: the answers are lost, or the peer restarted.
    pub(super) fn probe(&mut self) {
        self.probing = true;
        self.paused = false;
        self.snapshot = false;
        self.flights.clear();
        self.retry_at = None;
    }

    /// The peer waits for bytes: nothing is sent before it asks, or seems to have been lost.
    pub(super) fn pause(&mut self, now: Instant) {
        self.paused = true;
        self.next = self.matched.next();
        self.flights.clear();
        self.retry_at = None;
        self.arm(now);
    }

    /// The peer asks to be sent what follows `matched`.
    pub(super) fn rewind(&mut self) {
        self.next = self.matched.next();
        self.flights.clear();
        self.retry_at = None;
        self.paused = false;
        self.snapshot = false;
    }

    pub(super) fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }

    /// Nothing was answered in time.
    pub(super) fn retry(&mut self, config: &Config) {
        self.backoff = self.backoff.times(2).at_most(config.retry_max);
        if !self.probing {
            self.next = self.matched.next();
        }
        self.probe();
    }

    fn arm(&mut self, now: Instant) {
        if self.retry_at.is_none() {
            self.retry_at = Some(now + self.backoff);
        }
    }
}
