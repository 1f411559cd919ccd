//! What an operator sees, and what must hold.

use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use super::common::Common;
use super::entry::held_weight;
use super::member::{Part, Stream};
use super::streams::Streams;
use crate::id::NodeId;
use crate::level::Level;
use crate::node::command::Refusal;
use crate::node::status::StreamStatus;
use crate::time::Now;

impl Streams {
    /// Every open stream; those of other nodes only by name.
    #[must_use]
    pub fn status(&self) -> Vec<StreamStatus> {
        let each = self.directory.iter().map(|(&instance, ends)| {
            let (source, target, name) = (ends.source, ends.target, ends.name.clone());
            let mut status = StreamStatus::between(source, target, name, instance);
            if let Some(stream) = self.streams.get(&instance) {
                stream.fill(&mut status);
            }
            status
        });
        each.collect()
    }

    /// Whether the store has room for what publishers send.
    #[must_use]
    pub fn accepts(&self) -> bool {
        self.common.may_accept(0)
    }

    /// Why publishing is refused on this node now, if it is: for want of space, or because a stream is full.
    #[must_use]
    pub fn refusing(&self, _now: Now) -> Option<Refusal> {
        if !self.common.may_accept(0) {
            return Some(Refusal::NoSpace { free: self.common.free });
        }
        let sources =
            self.streams.values().filter(|stream| stream.part == Part::Source && stream.stopped.is_none());
        sources.filter_map(|stream| stream.refusal(&self.common, 0)).next()
    }

    /// Panics if an invariant does not hold; the message begins with its number.
    pub fn check_invariants(&self, level: Level) {
        for stream in self.streams.values() {
            stream.check(&self.common, level);
        }
    }
}

impl Stream {
    fn fill(&self, status: &mut StreamStatus) {
        status.local = true;
        status.session = self.head.session;
        status.completed = self.head.completed;
        status.released = self.head.completed;
        status.stopped = self.stopped.clone();
        status.orphaned = self.orphaned();
        if self.part == Part::Source {
            status.accepted = self.source.accepted.max(self.head.taken);
            status.replicated = self.source.replicated.max(self.head.completed);
            // A source whose disk was rolled back hears of more than it holds, until it has copied its log back.
            status.processed = self.source.heard.min(self.head.taken).max(self.head.completed);
            status.outbox_bytes = self.store.bytes();
        } else {
            status.accepted = self.head.taken;
            status.replicated = self.head.taken;
            status.processed = self.target.mark_durable;
            status.handler = self.target.handler.as_ref().map(|handler| handler.token);
        }
        status.holders = self.holders(status);
        status.waiting_for = self.waiting_for();
    }

    /// Who is known to hold everything up to `replicated`: this member, and the other end if it said so in its present start.
    fn holders(&self, status: &StreamStatus) -> Vec<NodeId> {
        // Nothing is committed in a session but by the start that opened it, which holds what it commits.
        let opened = self.part == Part::Target && self.peer.boot == Some(self.head.boot);
        let stands = self.peer.standing.is_some() && (opened || self.peer.holds >= status.replicated);
        let stands = stands && !self.peer.silent && !self.alone();
        let holds = |node: &NodeId| *node != self.other || stands;
        [status.source, status.target].into_iter().filter(holds).collect()
    }

    fn waiting_for(&self) -> Vec<String> {
        let mut waiting = Vec::new();
        let mut wait = |what: &str| waiting.push(what.to_string());
        match self.part {
            Part::Source => {
                if !self.leading {
                    wait("leading the stream's group, which needs an answer of the target after a start");
                } else if !self.source.current {
                    wait("its session to be committed");
                }
                if self.peer.silent || self.peer.standing.is_none() {
                    wait("the target to be reachable");
                } else if self.head.completed < self.source.replicated {
                    wait("the target's handler");
                }
            }
            Part::Target => {
                if self.target.handler.is_none() {
                    wait("the target's handler: none is attached");
                }
                if self.target.attaching.is_some() {
                    wait("the log to reach the position of the handler that attaches");
                }
                if self.alone() {
                    if self.seal.as_ref().is_some_and(|seal| seal.sequence.is_none()) {
                        wait("the seal of the stream to be settled");
                    }
                } else if self.peer.silent || self.peer.standing.is_none() {
                    wait("the source to be reachable");
                }
                if !self.wanted.is_empty() {
                    wait("bytes that its log names");
                }
            }
            Part::Unknown => {}
        }
        if self.oversized.is_some() {
            wait("its state, too large to be sent to a member that is behind its log: open another stream");
        }
        if self.starved {
            wait("space on the disk of this node");
        }
        waiting
    }

    fn check(&self, common: &Common, level: Level) {
        let instance = self.instance;
        assert!(self.floor.applied <= self.head.applied, "S9: the floor of {instance} is above its head");
        assert!(self.floor.taken <= self.head.completed, "S9: {instance} let go of what is not completed");
        self.check_seal();
        assert!(self.head.completed <= self.head.taken, "S9: {instance} completed more than was taken");
        if self.part == Part::Target {
            self.check_target(common);
        }
        if level == Level::Full {
            self.store.check();
            self.check_waiting();
            let mut next = self.floor.taken.next();
            for (&first, &slot) in &self.store.taken {
                assert_eq!(first, next, "S2: the taken batches of {instance} have a gap");
                let kept = self
                    .store
                    .get(slot)
                    .unwrap_or_else(|| panic!("S3: {instance} lacks the batch at {first}"));
                next = kept.last().next();
            }
            assert_eq!(next, self.head.taken.next(), "S2: the taken batches of {instance} end too early");
            if self.source.current {
                for &slot in &self.store.outbox {
                    let Some(kept) = self.store.get(slot) else { continue };
                    assert_eq!(kept.first, next, "S4: the outbox of {instance} is not numbered contiguously");
                    next = kept.last().next();
                }
            }
        }
    }

    fn check_target(&self, common: &Common) {
        let instance = self.instance;
        let target = &self.target;
        assert!(target.mark_durable <= target.mark, "S8: {instance} has a durable mark above its mark");
        assert!(self.floor.taken <= target.mark, "S9: {instance} let go of what it has not marked");
        // What appends wait for comes on top of what is being verified.
        let batch = held_weight(common.config.message_bytes.max(common.config.batch_bytes) as u64);
        let slack = common.config.receive_bytes.max(batch);
        assert!(self.held.bytes() <= common.config.receive_bytes + slack, "S10: {instance} holds too much");
        let wanted: u64 = self.wanted.values().map(|wanted| held_weight(wanted.bytes)).sum();
        let bounded = wanted <= common.config.receive_bytes || self.wanted.len() == 1;
        assert!(bounded, "S10: {instance} wants more than it can hold");
        assert!(self.handler_can_go_on(), "S11: the handler of {instance} stands before a gap");
        if let Some((handed, out, window)) = self.handed() {
            let limit = self.head.taken.max(target.mark);
            assert!(handed <= limit, "S6: {instance} handed over {handed}, taken are {limit}");
            assert!(
                out <= window,
                "S7: the handler of {instance} has {out} messages, its window is {window}"
            );
        }
        if let Some((bytes, deliveries)) = self.handed_bytes() {
            let bounded = bytes <= common.config.window_bytes || deliveries == 1;
            assert!(bounded, "S7: the handler of {instance} has {bytes} bytes");
        }
    }
}
