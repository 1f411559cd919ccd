//! What an operator sees, and what must hold.

use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use super::common::Common;
use super::entry::held_weight;
use super::member::{Part, Stream};
use super::peer::Peer;
use super::streams::Streams;
use crate::id::NodeId;
use crate::level::Level;
use crate::node::command::Refusal;
use crate::node::status::{Served, StreamStatus};
use crate::parked::Failing;
use crate::time::Now;

impl Streams {
    /// Every open stream; those of other nodes only by name.
    #[must_use]
    pub fn status(&self, now: Now) -> Vec<StreamStatus> {
        let each = self.directory.iter().map(|(&instance, open)| {
            let mut status = StreamStatus::between(&open.ends, open.name.clone(), instance);
            // What is kept may be of a life of which the mesh did not tell this node yet since it started: it takes no part then.
            if let Some(stream) = self.streams.get(&instance).filter(|stream| stream.part != Part::Unknown) {
                stream.fill(&self.common, now, &mut status);
            }
            status
        });
        each.collect()
    }

    /// What a handler that is to attach to the stream of that name must know; `None` if this node is no target of it.
    ///
    /// # Errors
    /// There is no such stream.
    pub fn served(&self, name: &str) -> Result<Option<Served>, Refusal> {
        let unknown = || Refusal::UnknownStream(name.to_string());
        let instance = *self.names.get(name).ok_or_else(unknown)?;
        let open = self.directory.get(&instance).ok_or_else(unknown)?;
        let stream = self.streams.get(&instance);
        let served = || Served {
            instance,
            authority: stream.map(|stream| stream.authority()).unwrap_or_default(),
            gone: stream
                .map(|stream| stream.floor.taken.max(stream.owes_behind(&self.common)))
                .unwrap_or_default(),
            taken: stream.map(|stream| stream.head.taken).unwrap_or_default(),
        };
        Ok(open.ends.targets.contains(&self.common.own).then(served))
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
    fn fill(&self, common: &Common, now: Now, status: &mut StreamStatus) {
        status.local = true;
        status.session = self.head.session;
        status.completed = self.head.completed;
        status.released = self.head.released;
        status.stopped = self.stopped.clone();
        status.orphaned = self.orphaned();
        if self.part == Part::Source {
            status.accepted = self.source.accepted.max(self.head.taken);
            status.replicated = self.source.replicated.max(self.head.released);
            // A source whose disk was rolled back hears of more than it holds, until it has copied its log back.
            status.processed = self.processed_by_enough(common).min(self.head.taken).max(self.head.completed);
            status.outbox_bytes = self.store.bytes() - self.history_weight().0;
        } else {
            status.accepted = self.head.taken;
            status.replicated = self.head.taken;
            status.processed = self.target.mark_durable;
            status.handler = self.target.handler.as_ref().map(|handler| handler.token);
        }
        for target in &mut status.targets {
            let own = self.part == Part::Target && self.peer(target.node).is_none();
            let heard = self.ends.place(target.node).map(|place| self.heard.get(place)).unwrap_or_default();
            let mark = if own { self.target.mark_durable } else { heard.min(self.head.taken) };
            target.processed = mark.max(self.head.released);
            target.reached = own || self.peer(target.node).is_some_and(Peer::stands);
            target.handler = status.handler.filter(|_| own);
            let said = self.peer(target.node).and_then(|peer| peer.standing).map_or(0, |said| said.parked);
            target.parked = if own { self.parked() } else { said };
            let since = self.ends.place(target.node).and_then(|place| self.idle_since(place));
            target.idle = since.map(|since| now.monotonic.since(since));
        }
        status.leader = self.leader;
        status.failing = self.failing_status(common);
        status.kept = self.kept_status();
        status.replays = self.target.replays.len() as u64;
        status.holders = self.holders(status);
        status.waiting_for = self.waiting_for();
        if let Some(Failing { sequence, attempts, held_up, .. }) = &status.failing {
            let why = held_up.map(|why| alloc::format!(", and it is not parked: {why}")).unwrap_or_default();
            let what =
                alloc::format!("message {sequence}, at which the handler failed {attempts} times{why}");
            status.waiting_for.push(what);
        }
    }

    /// Who is known to hold everything up to `replicated`: this member, and others if they said so in their present starts.
    fn holders(&self, status: &StreamStatus) -> Vec<NodeId> {
        let holds = |node: &NodeId| {
            let Some(peer) = self.peer(*node) else { return true };
            // Nothing is committed in a session but what the start that opened it holds.
            let opened = *node == self.ends.source && peer.boot == Some(self.head.boot);
            peer.stands() && (opened || peer.holds >= status.replicated) && !self.is_gone(*node)
        };
        self.ends.members().filter(holds).collect()
    }

    /// Of several targets, those of which something holds, by name.
    fn of_targets(&self, what: &str, holds: impl Fn(usize, &NodeId) -> bool) -> Option<String> {
        let targets = self.ends.targets.iter().enumerate();
        let named = targets.filter(|(place, node)| holds(*place, node) && !self.is_gone(**node));
        let named: Vec<String> = named.map(|(_, node)| node.to_string()).collect();
        (!named.is_empty()).then(|| alloc::format!("{what} {}", named.join(", ")))
    }

    /// What a source waits for of its targets.
    fn waiting_for_targets(&self) -> Vec<String> {
        let away = |node: &NodeId| self.peer(*node).is_some_and(|peer| !peer.stands());
        let stopped = |node: &NodeId| self.peer(*node).is_some_and(Peer::stopped);
        let behind = self.past_all() < self.source.replicated;
        if let [target] = self.ends.targets[..] {
            let what = match away(&target) {
                true => "the target to be reachable",
                false if stopped(&target) => "the target, where the stream has stopped",
                false if behind => "the target's handler",
                false => return Vec::new(),
            };
            return alloc::vec![what.to_string()];
        }
        let away_now = self.of_targets("to be reachable: targets", |_, node| away(node));
        let stopped_there = self.of_targets("targets where the stream has stopped:", |_, node| stopped(node));
        let slow = |place, node: &NodeId| {
            !away(node) && !stopped(node) && self.heard.get(place) < self.source.replicated
        };
        let slow = self.of_targets("handlers of targets", slow).filter(|_| behind);
        away_now.into_iter().chain(stopped_there).chain(slow).collect()
    }

    fn waiting_for(&self) -> Vec<String> {
        let mut waiting = Vec::new();
        let mut wait = |what: &str| waiting.push(what.to_string());
        match self.part {
            Part::Source => {
                if !self.leading && self.led_by().is_none() {
                    wait(match self.peers.len() {
                        1 => "leading the stream's group, which needs an answer of the target after a start",
                        _ => "the stream's group to have a leader, which needs most of those who vote",
                    });
                } else if !self.source.current {
                    wait("its session to be committed");
                }
                self.waiting_for_targets().iter().for_each(|what| wait(what));
            }
            Part::Target => {
                if self.target.handler.is_none() {
                    wait("the target's handler: none is attached");
                }
                if self.target.attaching.is_some() {
                    wait("the log to reach the position of the handler that attaches");
                }
                if self.sourceless() {
                    if self.seal.as_ref().is_some_and(|seal| seal.sequence.is_none()) {
                        wait("the seal of the stream to be settled");
                    }
                } else if !self.source_peer().is_some_and(Peer::stands) {
                    wait("the source to be reachable");
                }
                if !self.wanted.is_empty() {
                    wait("bytes that its log names");
                }
            }
            Part::Unknown => {}
        }
        if let Some(what) = self.change_waits() {
            wait(&what);
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
        assert!(
            self.floor.taken <= self.head.released,
            "S16: {instance} let go of what a target has not processed"
        );
        assert!(
            self.head.released <= self.head.completed,
            "S16: {instance} lets go of more than it has completed"
        );
        self.check_seal();
        self.check_recorded();
        self.check_idle();
        self.check_troubles();
        self.check_failing();
        assert!(
            !self.rests() || self.wanted.is_empty(),
            "S19: {instance} does nothing any more, and waits for bytes"
        );
        let to_come = self.source.staging.to_come();
        assert!(
            to_come <= common.reserved,
            "S24: {instance} waits for {to_come} bytes and has no room set aside"
        );
        let behind = self.store.holding(self.floor.taken.next()).and_then(|slot| self.store.get(slot));
        assert!(
            behind.is_none_or(|kept| kept.batch.begins()),
            "S25: the floor of {instance} is {}, which lies inside a message of several parts",
            self.floor.taken
        );
        assert!(self.head.completed <= self.head.taken, "S9: {instance} completed more than was taken");
        if self.part == Part::Target {
            self.check_target(common);
            self.check_replays(common);
        }
        if level == Level::Full {
            self.store.check();
            self.check_waiting();
            self.check_goes();
            self.check_history();
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
        let passed = self.is_passed();
        let marked = self.floor.taken <= target.mark;
        assert!(marked || passed, "S9: {instance} let go of what it has not marked");
        assert!(
            !passed || self.stopped.is_some(),
            "S22: {instance} is served by a target that was passed over"
        );
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
        if let Some((untaken, largest)) = self.untaken() {
            let bounded = untaken <= common.config.window_bytes.max(largest);
            assert!(
                bounded,
                "S7: the handler of {instance} has {untaken} bytes of pieces that it did not take"
            );
        }
        // A source whose disk forgot may have been told of marks that its log is yet to reach.
        let inside = self.inside_a_message(target.mark);
        assert!(inside.is_none(), "S25: the mark of {instance}: {inside:?}");
    }
}
