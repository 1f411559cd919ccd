//! All streams that begin or end at this node, by name and by instance.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString as _};
use alloc::sync::Arc;
use alloc::vec::Vec;

use bytes::Bytes;

use super::admit::Admission;
use super::common::{Common, Load, Work};
use super::member::{Part, Stream};
use super::restoring::Restoring;
use super::source::Wish;
use super::store::{forget, forget_parked, forget_staged, space};
use super::target::{decode_failing, decode_parked};
use super::wire::{decode_closing, decode_mark, decode_state};
use super::{Config, Input, Malformed, Output, Receipt};
use crate::ends::Ends;
use crate::id::{AttachToken, BootId, LogIndex, NodeId, RequestId, StreamInstance};
use crate::node::command::{Range, Refusal, Reply};
use crate::node::output::Event;
use crate::parked::ParkedCommand;
use crate::planted::{Bug, Planted};
use crate::record::{Damaged, Key};
use crate::rng::Rng;
use crate::sometimes;
use crate::time::{Instant, Now};
use crate::work::Done;

/// An open stream.
#[derive(Clone, Debug)]
pub(super) struct Open {
    pub(super) name: String,
    /// With those who came later.
    pub(super) ends: Arc<Ends>,
    pub(super) opened: Arc<Ends>,
}

/// All streams of a node.
#[derive(Clone, Debug)]
pub struct Streams {
    pub(super) common: Common,
    /// Each by itself: a tree has room for half as many again as it holds.
    pub(super) streams: BTreeMap<StreamInstance, Box<Stream>>,
    /// Every open stream of the mesh.
    pub(super) directory: BTreeMap<StreamInstance, Open>,
    pub(super) names: BTreeMap<String, StreamInstance>,
    handlers: BTreeMap<AttachToken, StreamInstance>,
    replays: BTreeMap<AttachToken, StreamInstance>,
    timers: BTreeSet<(Instant, StreamInstance)>,
    /// Open streams that this node was taken out of, and why.
    pub(super) out: BTreeMap<StreamInstance, String>,
    /// Payload records read so far; only while the journal is read.
    restoring: Restoring,
    /// The slots below this one are dead; only while the journal is read.
    slot_floors: BTreeMap<StreamInstance, u64>,
}

impl Streams {
    /// A part without streams. `boot` names this start of the node.
    #[must_use]
    pub fn new(config: Config, own: NodeId, boot: BootId, rng: Rng, planted: Planted) -> Self {
        Self {
            common: Common::new(config, own, boot, rng, planted),
            streams: BTreeMap::new(),
            directory: BTreeMap::new(),
            names: BTreeMap::new(),
            handlers: BTreeMap::new(),
            replays: BTreeMap::new(),
            timers: BTreeSet::new(),
            out: BTreeMap::new(),
            restoring: Restoring::default(),
            slot_floors: BTreeMap::new(),
        }
    }

    /// Takes back one stored record.
    ///
    /// # Errors
    /// The record makes no sense.
    pub fn restore(
        &mut self,
        key: &Key,
        last_slot: u64,
        head: &[u8],
        payload_len: usize,
    ) -> Result<(), Damaged> {
        let damaged = |what: &str| Damaged { key: *key, what: what.to_string() };
        let unread = |what: Malformed| damaged(what.0);
        let instance = match key.space {
            space::STAGED => self.restoring.staged(key, head).map_err(unread)?,
            space::PARKED => return self.restore_parked(key, head, payload_len).map_err(unread),
            _ => StreamInstance(key.id),
        };
        let stream = self.streams.entry(instance).or_insert_with(|| Box::new(Stream::new(instance)));
        match key.space {
            space::STATE => {
                let mut stored = decode_state(head).map_err(unread)?;
                if self.common.planted.has(Bug::DedupeForgotten) {
                    stored.state.writers = super::writers::Writers::default();
                }
                stream.head = stored.state.clone();
                stream.floor = stored.state;
                stream.heard = stored.marks;
                self.slot_floors.insert(instance, stored.slot_floor);
            }
            space::PAYLOAD => {
                self.restoring.payload(key, last_slot, head, payload_len).map_err(unread)?;
            }
            space::MARK => {
                let (mark, taken, passed) = decode_mark(head).map_err(unread)?;
                (stream.target.mark, stream.target.mark_taken) = (mark, taken);
                stream.restore_passed(passed);
            }
            space::STAGED => {}
            space::FAILING if self.common.planted.strikes(Bug::AttemptsForgotten, || true) => {}
            space::FAILING => stream.restore_failing(decode_failing(head).map_err(unread)?),
            space::CLOSING if self.common.planted.has(Bug::ClosingForgotten) => {}
            space::CLOSING => stream.restore_closing(key.slot, decode_closing(head).map_err(unread)?),
            _ => return Err(damaged("a record of an unknown kind: run a newer version")),
        }
        Ok(())
    }

    /// A parked message, or the word that it is gone. The stream that it is of may have no other record.
    fn restore_parked(&mut self, key: &Key, head: &[u8], payload_len: usize) -> Result<(), Malformed> {
        let (instance, row) = decode_parked(key.id, head, payload_len)?;
        let Some(row) = row else {
            self.common.emit(Output::Forget(forget_parked(key.id)));
            return Ok(());
        };
        let stream = self.streams.entry(instance).or_insert_with(|| Box::new(Stream::new(instance)));
        if let Some(before) = stream.restore_parked(row) {
            self.common.emit(Output::Forget(forget_parked(before)));
        }
        Ok(())
    }

    /// There are no more records.
    pub fn restored(&mut self, _now: Now) {
        let floors = core::mem::take(&mut self.slot_floors);
        let mut restoring = core::mem::take(&mut self.restoring);
        for (&instance, stream) in &mut self.streams {
            let floor = floors.get(&instance).copied().unwrap_or(0);
            if !self.common.planted.strikes(Bug::SlotsUsedTwice, || floor > 1) {
                stream.store.skip_slots(floor);
            }
            let found = restoring.of(instance, floor);
            stream.stopped = found.damage;
            for (slot, kept) in found.kept {
                stream.store.skip_slots(slot + 1);
                // Own batches below the end are told apart by their writers' places, never by number (rule A4).
                let passed = !kept.own && kept.last() <= stream.floor.taken;
                let known = stream.store.slot_of(&kept.batch.identity).is_some();
                if slot >= floor && !passed && !known {
                    stream.store.insert(slot, kept);
                }
            }
            let forgets = self.common.planted.strikes(Bug::StagedForgotten, || !found.uploads.is_empty());
            found
                .uploads
                .into_iter()
                .filter(|_| !forgets)
                .for_each(|upload| stream.source.staging.restore(upload));
            self.common.reserved += stream.source.staging.to_come();
            let below = stream.store.slot_floor();
            self.common.emit(Output::Forget(forget(instance, space::PAYLOAD, below)));
        }
        for upload in restoring.left() {
            self.common.emit(Output::Forget(forget_staged(upload, u64::MAX)));
        }
    }

    /// The streams of which anything is stored here, or that are open here.
    pub fn instances(&self) -> impl Iterator<Item = StreamInstance> + '_ {
        self.streams.keys().copied()
    }

    /// The place in a stream's log from which it must be applied again after a restart.
    #[must_use]
    pub fn applied_index(&self, instance: StreamInstance) -> LogIndex {
        self.streams.get(&instance).map_or(LogIndex(0), |stream| stream.floor.applied)
    }

    /// The next thing this part wants done.
    pub fn poll(&mut self) -> Option<Output> {
        self.common.outputs.pop_front()
    }

    /// When to come back.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.timers.first().map(|&(at, _)| at)
    }

    /// The gate (rule B1): whether a log entry may be appended here. If its bytes are verified and not yet written, they
    /// are written in this step, which must be the one of the append.
    pub fn admit(&mut self, now: Now, instance: StreamInstance, data: &[u8]) -> Admission {
        let admitted = self.with(instance, |stream, common| {
            let known = stream.part != Part::Unknown;
            let admission = if known { stream.admit(common, now, data) } else { Admission::Waits };
            stream.arm(common, now);
            admission
        });
        admitted.unwrap_or(Admission::Waits)
    }

    /// Entries behind one that waits for its bytes: what of their bytes has to be asked for is asked for together, and not one after the other.
    pub fn foresee<'a>(
        &mut self,
        now: Now,
        instance: StreamInstance,
        behind: impl Iterator<Item = &'a [u8]>,
    ) {
        let mut behind = behind.take(self.common.config.wanted).peekable();
        let asks = |stream: &Stream| stream.target.asks_ahead && !stream.wanted.is_empty();
        if behind.peek().is_none() || !self.streams.get(&instance).is_some_and(|stream| asks(stream)) {
            return;
        }
        self.with(instance, |stream, common| {
            behind.take_while(|data| stream.foresee(common, data)).for_each(drop);
            stream.ask_for_wanted(common, now, false);
            stream.arm(common, now);
        });
    }

    /// Whether an append waits for anything in a stream: the bytes of the entry given, or room for them; without an entry, whatever
    /// the stream waits for.
    #[must_use]
    pub fn awaits(&self, instance: StreamInstance, entry: Option<&[u8]>) -> bool {
        let Some(stream) = self.streams.get(&instance) else { return true };
        // Of what the lost said nothing is waited for.
        if stream.part == Part::Unknown || stream.rests() || stream.alone() {
            return true;
        }
        match entry {
            Some(data) => !stream.could_admit(&self.common, data),
            None => stream.starved || !stream.wanted.is_empty(),
        }
    }

    /// Does something with one stream and keeps its deadline in the list.
    pub(super) fn with<T>(
        &mut self,
        instance: StreamInstance,
        act: impl FnOnce(&mut Stream, &mut Common) -> T,
    ) -> Option<T> {
        let stream = self.streams.get_mut(&instance)?;
        let done = act(stream, &mut self.common);
        stream.settle_retry(&mut self.common);
        let deadline = stream.deadline();
        if deadline != stream.armed {
            if let Some(before) = stream.armed {
                self.timers.remove(&(before, instance));
            }
            self.timers.extend(deadline.map(|at| (at, instance)));
            stream.armed = deadline;
        }
        Some(done)
    }

    /// Tells this part something.
    pub fn handle(&mut self, now: Now, input: Input) {
        match input {
            Input::Opened { name, instance, ends } => self.opened(now, name, instance, ends),
            Input::Sealed { instance, sealed } => {
                self.with(instance, |stream, common| stream.sealed(common, now, sealed));
            }
            Input::Members { instance, members } => self.members(now, instance, members),
            Input::Rules(rules) => self.rules(now, rules),
            Input::Resumed { instance, resumed } => self.resumed(now, instance, resumed),
            Input::Configured { instance } => {
                self.with(instance, |stream, common| stream.go_on_changing(common));
            }
            Input::Conforms { instance } => {
                self.with(instance, |stream, common| stream.conforms(common));
            }
            Input::Closed { instance } => self.closed(instance),
            Input::Publish { request, stream, writer, first, messages, wait } => {
                let wish = Wish { request, writer, first, messages, wait };
                self.at_source(request, stream, |stream, common| stream.publish(common, now, wish));
            }
            Input::Stage { request, stream, part } => {
                self.at_source(request, stream, |stream, common| stream.stage(common, now, request, part));
            }
            Input::GiveUp { request, stream, writer } => {
                self.at_source(request, stream, |stream, common| stream.give_up(common, request, writer));
            }
            Input::Took { token, bytes } => {
                if let Some(&instance) = self.handlers.get(&token) {
                    self.with(instance, |stream, common| stream.took(common, now, token, bytes));
                } else {
                    self.with_replay(token, |stream, common| stream.replay_took(common, token, bytes));
                }
            }
            Input::FindWriter { request, stream, writer } => {
                self.at_source(request, stream, |stream, common| {
                    let found = stream.find_writer(common, writer);
                    common.reply(request, found);
                });
            }
            Input::CloseWriter { request, stream, writer } => {
                self.at_source(request, stream, |stream, common| {
                    stream.close_writer(common, request, writer);
                    stream.pump_source(common, now);
                })
            }
            Input::Attach { request, stream, presented, window } => {
                let found = self.find_target(stream);
                self.attach(now, request, found, presented, window);
            }
            Input::Replay { request, stream, range, window } => {
                let found = self.find_target(stream);
                self.replay(request, found, range, window);
            }
            Input::Forget { request } => self.forget(request),
            Input::Detach { token } => {
                if let Some(instance) = self.handlers.remove(&token) {
                    self.with(instance, |stream, common| stream.detach(common, now, token));
                } else {
                    self.with_replay(token, |stream, common| stream.leave_replay(common, token));
                    self.replays.remove(&token);
                }
            }
            Input::Verdict { token, upto } => {
                if let Some(&instance) = self.handlers.get(&token) {
                    self.with(instance, |stream, common| stream.verdict(common, now, token, upto));
                } else {
                    self.with_replay(token, |stream, common| stream.replay_verdict(common, token, upto));
                }
            }
            Input::Failed { token, sequence, reason } => {
                if let Some(&instance) = self.handlers.get(&token) {
                    let fail = |stream: &mut Stream, common: &mut Common| {
                        stream.failed(common, now, token, sequence, reason);
                    };
                    self.with(instance, fail);
                }
            }
            Input::Retried { token, sequence } => {
                if let Some(&instance) = self.handlers.get(&token) {
                    self.with(instance, |stream, common| stream.retried(common, now, token, sequence));
                }
            }
            Input::Parked { request, stream, command } => self.parked(request, stream, command),
            Input::Message { from, message } => {
                let body = message.body;
                self.with(message.instance, |stream, common| {
                    if stream.part != Part::Unknown {
                        stream.heard_from(common, now, from, body);
                    }
                });
            }
            input @ (Input::Apply { instance, .. }
            | Input::Role { instance, .. }
            | Input::Match { instance, .. }
            | Input::Stopped { instance, .. }
            | Input::Proposed { instance, .. }
            | Input::Refused { instance, .. }
            | Input::SnapshotWanted { instance, .. }
            | Input::Install { instance, .. }) => self.group(now, instance, input),
            Input::WorkDone { token, done } => self.work_done(now, token, &done),
            Input::Loaded { token, bytes } => {
                self.loaded(now, token, bytes);
            }
            Input::Durable(Receipt::Accepted { instance, slot }) => {
                self.with(instance, |stream, common| stream.accepted(common, now, slot));
            }
            Input::Durable(Receipt::Staged { instance, writer, upload, upto }) => {
                let what = (writer, upload, upto);
                self.with(instance, |stream, common| stream.staged_durable(common, now, what));
            }
            Input::Durable(Receipt::Failed { instance, token, sequence }) => {
                self.with(instance, |stream, common| stream.failed_durable(common, token, sequence));
            }
            Input::Durable(Receipt::Exhausted { instance, sequence }) => {
                self.with(instance, |stream, common| stream.failure_durable(common, sequence));
            }
            Input::Durable(Receipt::Parked { instance, token, sequence }) => {
                self.with(instance, |stream, common| stream.parked_durable(common, token, sequence));
            }
            Input::Durable(Receipt::Unparked { instance, key, request, sequence, discarded }) => {
                self.common.emit(Output::Forget(forget_parked(key)));
                let told = self.with(instance, |stream, common| {
                    stream.unparked_durable(common, request, sequence, discarded);
                });
                if let Some(request) = request.filter(|_| told.is_none()) {
                    self.common.reply(request, Err(Refusal::StreamClosed));
                }
            }
            Input::Durable(Receipt::Told { request, reply }) => {
                self.common.reply(request, Ok(Reply::Parked(reply)));
            }
            Input::Durable(Receipt::Mark { instance, upto }) => {
                self.with(instance, |stream, common| stream.mark_durable(common, now, upto));
            }
            Input::PeerBoot { node, boot } => {
                self.with_peer(node, |stream, common| stream.peer_started(common, now, node, boot));
            }
            Input::PairSuspect { node } => self.with_peer(node, |stream, _| stream.silent(node, true)),
            Input::PairAlive { node } => self.with_peer(node, |stream, common| {
                stream.silent(node, false);
                stream.news(common, now);
                stream.arm(common, now);
            }),
            Input::Space { free } => self.space(now, free),
            Input::Deadline => {
                while let Some(&(at, instance)) = self.timers.first() {
                    if at > now.monotonic {
                        break;
                    }
                    self.with(instance, |stream, common| stream.deadline_reached(common, now));
                }
            }
        }
    }

    fn with_peer(&mut self, node: NodeId, mut act: impl FnMut(&mut Stream, &mut Common)) {
        let concerned = |stream: &Stream| stream.part != Part::Unknown && stream.peer(node).is_some();
        let concerned = self.streams.iter().filter(|(_, stream)| concerned(stream));
        let concerned: Vec<StreamInstance> = concerned.map(|(&instance, _)| instance).collect();
        for instance in concerned {
            self.with(instance, &mut act);
        }
    }

    /// The stream of a name, if this node is its `end`.
    fn find(&self, name: String, end: impl Fn(&Ends) -> NodeId) -> Result<StreamInstance, Refusal> {
        let Some(&instance) = self.names.get(&name) else { return Err(Refusal::UnknownStream(name)) };
        let node = self.directory.get(&instance).map(|open| end(&open.ends)).unwrap_or_default();
        if node != self.common.own {
            return Err(Refusal::WrongNode { node, name: String::new(), address: None });
        }
        Ok(instance)
    }

    fn with_replay(&mut self, token: AttachToken, act: impl FnOnce(&mut Stream, &mut Common)) {
        if let Some(&instance) = self.replays.get(&token) {
            self.with(instance, act);
        }
    }

    fn replay(
        &mut self,
        request: RequestId,
        found: Result<StreamInstance, Refusal>,
        range: Range,
        window: u32,
    ) {
        let instance = match found {
            Ok(instance) => instance,
            Err(refusal) => return self.common.reply(request, Err(refusal)),
        };
        if let Some(refusal) = self.out_of(instance) {
            return self.common.reply(request, Err(refusal));
        }
        let begin = |stream: &mut Stream, common: &mut Common| {
            let token = stream.replay(common, request, range, window);
            (token, stream.replays().collect::<BTreeSet<_>>())
        };
        if let Some((token, under_way)) = self.with(instance, begin) {
            self.replays.retain(|token, other| *other != instance || under_way.contains(token));
            self.replays.extend(token.map(|token| (token, instance)));
        }
    }

    fn at_source(&mut self, request: RequestId, name: String, act: impl FnOnce(&mut Stream, &mut Common)) {
        match self.find(name, |ends| ends.source) {
            Ok(instance) => {
                self.with(instance, act);
            }
            Err(refusal) => self.common.reply(request, Err(refusal)),
        }
    }

    /// The stream of a name of which this node is a target.
    fn find_target(&self, name: String) -> Result<StreamInstance, Refusal> {
        let own = self.common.own;
        self.find(name, |ends| match ends.place(own) {
            Some(_) => own,
            None => ends.targets.first().copied().unwrap_or_default(),
        })
    }

    /// An operator asks about what is parked.
    fn parked(&mut self, request: RequestId, name: String, command: ParkedCommand) {
        let found = self.find_target(name);
        let refusal = match found {
            Ok(instance) => {
                let ask = |stream: &mut Stream, common: &mut Common| {
                    stream.parked_command(common, request, command);
                };
                match self.with(instance, ask) {
                    Some(()) => return,
                    None => self.out_of(instance).unwrap_or(Refusal::StreamClosed),
                }
            }
            Err(refusal) => refusal,
        };
        self.common.reply(request, Err(refusal));
    }

    /// Bytes were loaded.
    fn loaded(&mut self, now: Now, token: u64, bytes: Option<Bytes>) {
        match self.common.loads.remove(&token) {
            Some(Load::Batch(instance, slot)) => {
                self.with(instance, |stream, common| stream.loaded(common, now, slot, bytes));
            }
            Some(Load::Parked(instance, sequence, shown)) => {
                let loaded = |stream: &mut Stream, common: &mut Common| {
                    stream.parked_loaded(common, sequence, shown, bytes);
                };
                if let Some(request) = shown.filter(|_| !self.streams.contains_key(&instance)) {
                    return self.common.reply(request, Err(Refusal::StreamClosed));
                }
                self.with(instance, loaded);
            }
            None => {}
        }
    }

    fn attach(
        &mut self,
        now: Now,
        request: RequestId,
        found: Result<StreamInstance, Refusal>,
        presented: Option<crate::node::command::Position>,
        window: u32,
    ) {
        match found {
            Ok(instance) if self.is_out(instance) => {
                let refusal = self.out_of(instance).unwrap_or(Refusal::StreamClosed);
                self.common.reply(request, Err(refusal));
            }
            Ok(instance) => {
                let attach = |stream: &mut Stream, common: &mut Common| {
                    stream.attach(common, now, request, presented, window);
                    stream.tokens()
                };
                let tokens = self.with(instance, attach);
                let known = || self.handlers.values().any(|other| *other == instance);
                if !self.common.planted.strikes(Bug::StaleVerdictCounts, known) {
                    self.handlers.retain(|_, other| *other != instance);
                }
                self.handlers.extend(tokens.into_iter().flatten().map(|token| (token, instance)));
            }
            Err(refusal) => self.common.reply(request, Err(refusal)),
        }
    }

    /// Nobody waits for the answers to a request any more.
    fn forget(&mut self, request: RequestId) {
        if let Some(asker) = self.common.askers.get(&request).copied() {
            self.with(asker.instance, |stream, common| stream.forget(common, request, &asker));
            return;
        }
        let attaching = self.handlers.values().copied().collect::<BTreeSet<StreamInstance>>();
        for instance in attaching {
            self.with(instance, |stream, _| {
                stream.forget_attaching(request);
                stream.forget_retry(request);
            });
        }
    }

    fn opened(&mut self, now: Now, name: String, instance: StreamInstance, ends: Ends) {
        self.names.insert(name.clone(), instance);
        let opened = Arc::new(ends);
        // It may be told twice, and who came later was told already.
        let known = self.directory.remove(&instance).map(|open| open.ends);
        let ends = known.unwrap_or_else(|| Arc::clone(&opened));
        self.directory.insert(instance, Open { name, ends, opened });
        self.take_part(now, instance);
    }

    /// Begins to take part in a stream, if this node is an end of it, or is about to be.
    pub(super) fn take_part(&mut self, now: Now, instance: StreamInstance) {
        let Some(Open { name, ends, opened }) = self.directory.get(&instance).cloned() else { return };
        let own = self.common.own;
        if !ends.has(own) || self.is_out(instance) {
            return;
        }
        self.streams.entry(instance).or_insert_with(|| Box::new(Stream::new(instance)));
        let early = self.with(instance, |stream, common| {
            stream.name = name;
            if stream.part != Part::Unknown {
                return None;
            }
            (stream.ends, stream.opened) = (Arc::clone(&opened), opened);
            stream.follow_ends(own);
            stream.begin_keeping();
            if own == stream.ends.source {
                stream.part = Part::Source;
                stream.begin_source(common);
                stream.pump_source(common, now);
            } else {
                stream.part = Part::Target;
                stream.begin_target(common, now);
                stream.left_out(common);
                if !stream.opened.has(own) {
                    // What its log appends may have come before this node heard that it is a target (B1).
                    common.emit(Output::OfferAgain { instance });
                }
            }
            Some(core::mem::take(&mut stream.early))
        });
        for input in early.flatten().into_iter().flatten() {
            self.handle(now, input);
        }
    }

    fn closed(&mut self, instance: StreamInstance) {
        if let Some(ends) = self.directory.remove(&instance)
            && self.names.get(&ends.name) == Some(&instance)
        {
            self.names.remove(&ends.name);
        }
        self.out.remove(&instance);
        self.common.flow.resumed.remove(&instance);
        self.drop_stream(instance);
    }

    /// Takes a stream out of the lists.
    pub(super) fn take_stream(&mut self, instance: StreamInstance) -> Option<Box<Stream>> {
        self.handlers.retain(|_, other| *other != instance);
        self.replays.retain(|_, other| *other != instance);
        let stream = self.streams.remove(&instance)?;
        if let Some(at) = stream.armed {
            self.timers.remove(&(at, instance));
        }
        Some(stream)
    }

    /// News of a stream's group. What comes before the stream is opened here waits for that.
    fn group(&mut self, now: Now, instance: StreamInstance, input: Input) {
        if self.is_out(instance) {
            // Its replica said so before it went.
            return;
        }
        let stream = self.streams.entry(instance).or_insert_with(|| Box::new(Stream::new(instance)));
        if stream.part == Part::Unknown {
            stream.early.push_back(input);
            return;
        }
        self.with(instance, |stream, common| match input {
            Input::Apply { entries, .. } => stream.apply(common, now, entries),
            Input::Role { leading, term, leader, .. } => stream.role(common, now, leading, term, leader),
            Input::Match { node, index, .. } => stream.matched(common, now, node, index),
            Input::Stopped { reason, .. } => stream.stop(common, reason),
            Input::Refused { context, .. } => stream.refused(common, now, context),
            Input::SnapshotWanted { to, .. } => stream.snapshot(common, to),
            Input::Install { from, index, data, .. } => stream.install(common, now, from, (index, &data)),
            _ => {}
        });
    }

    fn work_done(&mut self, now: Now, token: u64, done: &Done) {
        let Done::Digest(digest) = *done else { return };
        match self.common.works.remove(&token) {
            Some(Work::Form(instance)) => {
                self.with(instance, |stream, common| stream.formed(common, now, digest));
            }
            Some(Work::Verify(instance, data, from)) => {
                self.with(instance, |stream, common| stream.verified(common, now, data, from, digest));
            }
            Some(Work::Stage(instance, writer, upload, offset)) => {
                let what = (writer, upload, offset);
                self.with(instance, |stream, common| stream.staged(common, now, what, digest));
            }
            None => {}
        }
    }

    fn space(&mut self, now: Now, free: u64) {
        let history = self.common.has_history_room();
        let before = (self.common.may_accept(0), self.common.has_space());
        let grown = free > core::mem::replace(&mut self.common.free, free);
        let (accepting, taking) = (self.common.may_accept(0), self.common.has_space());
        if before.0 != accepting {
            sometimes!(RoomCameBack, accepting);
            self.common.emit(Output::Event(Event::Space { accepting }));
        }
        sometimes!(IntakeStopped, before.1 && !taking);
        let flips = history != self.common.has_history_room();
        let turned = |stream: &Stream| before.1 != taking && stream.part == Part::Target;
        let fed = |stream: &Stream| grown && taking && stream.starved;
        let keeps = |stream: &Stream| flips && stream.keeping.is_some();
        let concerned = |stream: &Stream| turned(stream) || fed(stream) || keeps(stream);
        let concerned = self.streams.values().filter(|stream| concerned(stream));
        let concerned: Vec<StreamInstance> = concerned.map(|stream| stream.instance).collect();
        for instance in concerned {
            self.with(instance, |stream, common| {
                if before.1 != taking && stream.part == Part::Target {
                    stream.tell_standing(common, stream.ends.source, false, 0);
                }
                if taking
                    && (core::mem::take(&mut stream.starved) || !stream.wanted.is_empty())
                    && !common.planted.has(Bug::RoomWakesNobody)
                {
                    common.emit(Output::OfferAgain { instance });
                }
                if flips {
                    stream.tell_room(common);
                }
                stream.arm(common, now);
            });
        }
    }
}
