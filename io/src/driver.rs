//! The loop that drives a node: take what happened, tell the node, carry out what it wants, sleep until something happens.
//!
//! Everything that is waiting is told before the node's wishes are read, so that writes of many inputs share a sync and
//! messages of many inputs share a frame; nothing waits for a timer to be batched.

mod requests;

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::{broadcast, mpsc};
use tokio::time::{Instant, sleep_until, timeout};
use wattle_core::digest::Digest;
use wattle_core::event::MeshEvent;
use wattle_core::id::{LaneId, RequestId, Ticket};
use wattle_core::node::command::Refusal;
use wattle_core::node::output::{Deadline, Event, Output, Transmit};
use wattle_core::node::status::{Served, Status};
use wattle_core::node::{Input, Node, Rejected};
use wattle_core::payload::Payload;
use wattle_core::time::Now;
use wattle_core::work::{Done, Job};

use self::requests::Requests;
use crate::clock::Clock;
use crate::disk::Disk;
use crate::error::StopReason;
use crate::event::{Ask, Former, LaneEnds, LaneEvent, Urgent};
use crate::handle::Handed;
use crate::keyring::Keyring;
use crate::lanes::{Lanes, Pace};
use crate::store::Part;
use crate::work::Workers;

/// Buffers kept for use again, and the size from which one is not worth keeping.
const BUFFERS_KEPT: usize = 64;
const BUFFER_BYTES_KEPT: usize = 256 << 10;
/// What one round takes from each queue.
const URGENT_PER_ROUND: usize = 256;
const LANE_EVENTS_PER_ROUND: usize = 64;
const ASKS_PER_ROUND: usize = 64;
/// So few bytes are digested by the loop itself: that takes less than waking another thread and hearing from it.
const DIGEST_HERE_MAX: usize = 4 << 10;
/// Bytes not yet on disk at which the node is told nothing new: its peers and publishers then wait. They lie in memory: a large message comes faster than
/// a disk takes it. More: longer stalls of the disk are not felt.
const UNWRITTEN_BYTES_MAX: u64 = 32 << 20;
/// How long a stopping node waits for the disk, and for lanes beyond their own grace.
const STOP_DISK: Duration = Duration::from_secs(20);
const STOP_LANES: Duration = Duration::from_secs(1);

/// What the loop drives: the node, or a stand-in that tests the loop.
pub(crate) trait Machine: Send + 'static {
    fn handle(&mut self, now: Now, input: Input) -> Result<(), Rejected>;
    fn poll_output(&mut self) -> Option<Output>;
    fn ready_lanes(&self, lanes: &mut Vec<LaneId>);
    fn poll_transmit(&mut self, now: Now, lane: LaneId, max: usize, buffer: &mut Vec<u8>)
    -> Option<Transmit>;
    fn poll_timeout(&self) -> Option<Deadline>;
    fn status(&self, now: Now) -> Option<Status>;
    fn served(&self, stream: &str) -> Result<Option<Served>, Refusal>;
}

impl Machine for Node {
    fn handle(&mut self, now: Now, input: Input) -> Result<(), Rejected> {
        Self::handle(self, now, input)
    }

    fn poll_output(&mut self) -> Option<Output> {
        Self::poll_output(self)
    }

    fn ready_lanes(&self, lanes: &mut Vec<LaneId>) {
        lanes.extend(Self::ready_lanes(self));
    }

    fn poll_transmit(
        &mut self,
        now: Now,
        lane: LaneId,
        max: usize,
        buffer: &mut Vec<u8>,
    ) -> Option<Transmit> {
        Self::poll_transmit(self, now, lane, max, buffer)
    }

    fn poll_timeout(&self) -> Option<Deadline> {
        Self::poll_timeout(self)
    }

    fn status(&self, now: Now) -> Option<Status> {
        Self::status(self, now)
    }

    fn served(&self, stream: &str) -> Result<Option<Served>, Refusal> {
        Self::served(self, stream)
    }
}

/// The receiving ends of everything that can happen.
#[derive(Debug)]
pub(crate) struct Inbox {
    pub(crate) urgent: mpsc::UnboundedReceiver<Urgent>,
    pub(crate) lanes: mpsc::Receiver<LaneEvent>,
    pub(crate) asks: mpsc::Receiver<Ask>,
}

/// What carries out the node's wishes.
#[derive(Debug)]
pub(crate) struct Hands {
    pub(crate) disk: Disk,
    pub(crate) workers: Workers,
    pub(crate) lanes: Lanes,
    pub(crate) events: broadcast::Sender<Event>,
    pub(crate) urgent: mpsc::UnboundedSender<Urgent>,
    pub(crate) keyring: Keyring,
}

/// The loop's own state.
pub(crate) struct Driver<M> {
    node: M,
    clock: Clock,
    inbox: Inbox,
    hands: Hands,
    lanes: BTreeMap<LaneId, Lane>,
    requests: Requests,
    buffers: Vec<Vec<u8>>,
    /// The last row handed to the disk, and the last that is on it.
    written: Ticket,
    persisted: Ticket,
    ended: Option<StopReason>,
}

struct Lane {
    /// `None` once the node has closed the lane.
    ends: Option<LaneEnds>,
    /// It was handed a buffer that is not on its way yet.
    busy: bool,
    pace: Pace,
}

/// What happened in one round.
#[derive(Default)]
struct Round {
    urgent: Vec<Urgent>,
    lanes: Vec<LaneEvent>,
    asks: Vec<Ask>,
}

impl<M: Machine> Driver<M> {
    pub(crate) fn new(node: M, clock: Clock, inbox: Inbox, hands: Hands) -> Self {
        let requests = Requests::new(hands.urgent.clone());
        Self {
            node,
            clock,
            inbox,
            hands,
            lanes: BTreeMap::new(),
            requests,
            buffers: Vec::new(),
            written: Ticket(0),
            persisted: Ticket(0),
            ended: None,
        }
    }

    /// Drives the node until it stops, and then winds up.
    pub(crate) async fn run(mut self) -> StopReason {
        let mut round = Round::default();
        let mut reason = loop {
            self.carry_out();
            if let Some(reason) = self.ended.take() {
                break reason;
            }
            self.wait(&mut round).await;
            self.tell(&mut round);
        };
        tracing::info!(%reason, "the node stops");
        if reason == StopReason::Asked {
            reason = self.wind_up(&mut round).await;
        }
        self.hands.lanes.abort();
        reason
    }

    /// Sleeps until something happened or a deadline is reached, then takes what is there without waiting again.
    async fn wait(&mut self, round: &mut Round) {
        let takes_new = self.hands.disk.pending_bytes() < UNWRITTEN_BYTES_MAX;
        let wake = self.node.poll_timeout().map(|deadline| self.clock.system(deadline.at));
        let asks_before = round.asks.len();
        tokio::select! {
            biased;
            _ = self.inbox.urgent.recv_many(&mut round.urgent, URGENT_PER_ROUND) => {}
            _ = self.inbox.lanes.recv_many(&mut round.lanes, LANE_EVENTS_PER_ROUND), if takes_new => {}
            count = self.inbox.asks.recv_many(&mut round.asks, ASKS_PER_ROUND), if takes_new => {
                if count == 0 {
                    self.ended = Some(StopReason::Asked);
                }
            }
            () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {}
        }
        while round.urgent.len() < URGENT_PER_ROUND
            && let Ok(event) = self.inbox.urgent.try_recv()
        {
            round.urgent.push(event);
        }
        while takes_new
            && round.lanes.len() < LANE_EVENTS_PER_ROUND
            && let Ok(event) = self.inbox.lanes.try_recv()
        {
            round.lanes.push(event);
        }
        while takes_new
            && round.asks.len() < asks_before + ASKS_PER_ROUND
            && let Ok(ask) = self.inbox.asks.try_recv()
        {
            round.asks.push(ask);
        }
    }

    /// Tells the node what happened.
    fn tell(&mut self, round: &mut Round) {
        let now = self.clock.now();
        for event in round.urgent.drain(..) {
            self.on_urgent(now, event);
        }
        for event in round.lanes.drain(..) {
            self.on_lane(now, event);
        }
        for ask in round.asks.drain(..) {
            self.on_ask(now, ask);
        }
        if self.node.poll_timeout().is_some_and(|deadline| deadline.at <= now.monotonic) {
            self.input(now, Input::Deadline);
        }
    }

    fn input(&mut self, now: Now, input: Input) {
        match self.node.handle(now, input) {
            Ok(()) => {}
            Err(Rejected::Stopped(reason)) => {
                self.ended.get_or_insert(StopReason::WriteFailed(reason));
            }
            Err(Rejected::Damaged(what)) => {
                self.ended.get_or_insert(StopReason::Damaged(what));
            }
            Err(Rejected::OutOfPhase) => {
                self.ended.get_or_insert_with(|| StopReason::Panicked(Rejected::OutOfPhase.to_string()));
            }
        }
    }

    fn on_urgent(&mut self, now: Now, event: Urgent) {
        match event {
            Urgent::Persisted { upto } => {
                self.persisted = upto;
                self.input(now, Input::Persisted { upto });
            }
            Urgent::WriteFailed { reason } => {
                self.input(now, Input::WriteFailed { reason: reason.clone() });
                self.ended = Some(StopReason::WriteFailed(reason));
            }
            Urgent::Loaded { load, bytes } => self.input(now, Input::Loaded { load, bytes }),
            Urgent::WorkDone { work, done } => self.input(now, Input::WorkDone { work, done }),
            Urgent::Space { free } => self.input(now, Input::Space { free }),
            Urgent::DialFailed { dial } => self.input(now, Input::DialFailed { dial }),
            Urgent::Flushed { lane, buffer } => {
                if let Some(lane) = self.lanes.get_mut(&lane) {
                    lane.busy = false;
                    lane.pace.flushed(now.monotonic, buffer.len());
                }
                self.keep(buffer);
            }
            Urgent::LaneLost { lane } => self.on_lane(now, LaneEvent::Down { lane }),
            Urgent::Verdict(verdict) => {
                let upto = verdict.take();
                self.input(now, Input::Verdict { token: verdict.token, upto });
            }
            Urgent::Failed { token, sequence, reason } => {
                self.input(now, Input::Failed { token, sequence, reason });
            }
            Urgent::Retried { token, sequence } => self.input(now, Input::Retried { token, sequence }),
            Urgent::Took { token, bytes } => self.input(now, Input::Took { token, bytes }),
            Urgent::Detach { token } => {
                self.requests.detach(token);
                self.input(now, Input::Detach { token });
            }
            Urgent::Forget { request } => self.forget(now, request),
            Urgent::HelperPanicked { thread } => {
                self.ended = Some(StopReason::Panicked(format!("thread {thread} panicked")));
            }
            Urgent::Stop => {
                self.ended.get_or_insert(StopReason::Asked);
            }
        }
    }

    fn on_lane(&mut self, now: Now, event: LaneEvent) {
        match event {
            LaneEvent::Up { lane, dial, peer_key, ends } => {
                self.lanes.insert(lane, Lane { ends: Some(ends), busy: false, pace: Pace::default() });
                self.input(now, Input::LaneUp { lane, dial, peer_key });
            }
            LaneEvent::Received { lane, bytes } => {
                if self.lanes.get(&lane).is_some_and(|lane| lane.ends.is_some()) {
                    self.input(now, Input::Received { lane, bytes });
                }
            }
            LaneEvent::Down { lane } => {
                if self.lanes.remove(&lane).is_some() {
                    self.input(now, Input::LaneDown { lane });
                }
            }
        }
    }

    fn on_ask(&mut self, now: Now, ask: Ask) {
        match ask {
            Ask::Status { answer } => {
                let _ = answer.send(self.node.status(now));
            }
            Ask::Command { request, command, replies, room } => {
                // Whoever went away before this said so before this, too: nothing was known of the request then.
                let gone = replies.is_closed();
                if self.requests.open(request, &command, replies) {
                    self.input(now, Input::Command { request, command });
                }
                if gone {
                    self.forget(now, request);
                }
                drop(room);
            }
            Ask::Attach { request, command, former, answer } => {
                let gone = answer.is_closed();
                // What it holds would be told that somebody else came.
                let comes_again = former != Former::Anybody;
                if (gone && comes_again) || !self.requests.open_attach(request, &command, former, answer) {
                    return;
                }
                self.input(now, Input::Command { request, command });
                if gone {
                    self.forget(now, request);
                }
            }
            Ask::Served { stream, answer } => {
                let _ = answer.send(self.node.served(&stream));
            }
        }
    }

    /// Nobody waits for the answers to a request any more.
    fn forget(&mut self, now: Now, request: RequestId) {
        self.requests.forget(request);
        self.input(now, Input::Forget { request });
    }

    /// Carries out what the node wants, and lends it the lanes that have room, until it wants nothing more.
    fn carry_out(&mut self) {
        loop {
            let mut rows = Vec::new();
            let mut loads = Vec::new();
            let mut closes = Vec::new();
            let mut any = false;
            while let Some(output) = self.node.poll_output() {
                any = true;
                match output {
                    Output::Write { ticket, row } => rows.push((ticket, row)),
                    Output::Load { load, row, offset, len } => loads.push((load, Part { row, offset, len })),
                    Output::Close { lane, reason } => closes.push((lane, reason)),
                    other => self.carry_out_one(other),
                }
            }
            self.write(rows);
            // After the rows: a load sees every write polled before it.
            for (load, part) in loads {
                self.hands.disk.load(load, part);
            }
            let sent = self.transmit();
            for (lane, reason) in closes {
                tracing::debug!(?lane, ?reason, "closing a lane");
                self.close(lane);
            }
            if !any && !sent {
                return;
            }
        }
    }

    fn carry_out_one(&mut self, output: Output) {
        match output {
            Output::Trim { below } => self.hands.disk.trim(below),
            Output::Work { work, job: Job::Digest(payload) } if payload.len() <= DIGEST_HERE_MAX => {
                // What the node writes upon it shares a sync with the rest of this round.
                let done = Done::Digest(Digest::of(&payload));
                self.input(self.clock.now(), Input::WorkDone { work, done });
            }
            Output::Work { work, job } => self.hands.workers.submit(work, job),
            Output::Dial { dial, address } => self.hands.lanes.dial(dial, address),
            Output::ShowKey(key) => match self.hands.keyring.tls(&key) {
                Ok(tls) => self.hands.lanes.show(tls),
                Err(error) => tracing::error!(%error, "connections are still made under the key before"),
            },
            Output::Deliver(delivery) => self.requests.deliver(delivery.token, Handed::Delivery(delivery)),
            Output::DeliverUpdates(delivery) => {
                self.requests.deliver(delivery.token, Handed::Updates(delivery));
            }
            Output::Reply { request, reply } => self.requests.reply(request, reply),
            Output::Event(event) => {
                if let Event::Mesh(MeshEvent::Recovery { stage, attempt, epoch, asked_at, lost }) = &event {
                    // An operator's word about what is lost: it must be found in the log.
                    let stage = stage.text();
                    tracing::warn!(stage, attempt, epoch, %asked_at, ?lost, "recovery of a lost quorum");
                }
                tracing::debug!(?event);
                // Fails when nobody listens.
                let _ = self.hands.events.send(event);
            }
            Output::Write { .. } | Output::Load { .. } | Output::Close { .. } => {
                unreachable!("gathered by the caller")
            }
        }
    }

    fn write(&mut self, rows: Vec<(Ticket, Payload)>) {
        if let Some((last, _)) = rows.last() {
            self.written = *last;
            self.hands.disk.write(rows);
        }
    }

    /// Fills the lanes that have room. Tells whether anything was sent.
    fn transmit(&mut self) -> bool {
        let now = self.clock.now();
        let mut ready = Vec::new();
        self.node.ready_lanes(&mut ready);
        let mut sent = false;
        for name in ready {
            let has_room = self.lanes.get(&name).is_some_and(|lane| !lane.busy);
            sent |= has_room && self.fill(now, name);
        }
        sent
    }

    /// Hands a lane what the node has for it now. Tells whether there was anything.
    fn fill(&mut self, now: Now, name: LaneId) -> bool {
        let Some(lane) = self.lanes.get_mut(&name) else { return false };
        let Some(ends) = &lane.ends else { return false };
        let mut buffer = self.buffers.pop().unwrap_or_default();
        let transmit = self.node.poll_transmit(now, name, lane.pace.bytes(), &mut buffer);
        if transmit.is_none() || buffer.is_empty() {
            self.buffers.push(buffer);
            return false;
        }
        // Fails only when the lane has ended and its end is yet to be told.
        lane.busy |= ends.writer.try_send(buffer).is_ok();
        lane.pace.handed(now.monotonic);
        true
    }

    /// Closes a lane after what the node still has to say to it.
    fn close(&mut self, name: LaneId) {
        self.fill(self.clock.now(), name);
        if let Some(lane) = self.lanes.get_mut(&name) {
            lane.ends = None;
        }
    }

    /// Keeps a buffer for use again.
    fn keep(&mut self, mut buffer: Vec<u8>) {
        if self.buffers.len() < BUFFERS_KEPT && buffer.capacity() <= BUFFER_BYTES_KEPT {
            buffer.clear();
            self.buffers.push(buffer);
        }
    }

    /// A clean stop: no new connections and commands, the disk catches up, what hung on it is answered and sent, lanes close.
    /// What went wrong on the way is the reason then.
    async fn wind_up(&mut self, round: &mut Round) -> StopReason {
        self.hands.lanes.close_doors();
        self.inbox.asks.close();
        let disk = timeout(STOP_DISK, async {
            let failed =
                |ended: &Option<StopReason>| ended.as_ref().is_some_and(|why| *why != StopReason::Asked);
            while self.persisted < self.written && !failed(&self.ended) {
                self.inbox.urgent.recv_many(&mut round.urgent, URGENT_PER_ROUND).await;
                self.tell(round);
                self.carry_out();
            }
        });
        if disk.await.is_err() {
            tracing::warn!("stopping without waiting longer for the disk");
        }
        let grace = self.hands.lanes.close_grace() + STOP_LANES;
        for lane in self.lanes.keys().copied().collect::<Vec<_>>() {
            self.close(lane);
        }
        let _ = timeout(grace, async {
            while !self.lanes.is_empty() {
                tokio::select! {
                    biased;
                    Some(event) = self.inbox.urgent.recv() => {
                        if let Urgent::LaneLost { lane } = event {
                            self.lanes.remove(&lane);
                        }
                    }
                    event = self.inbox.lanes.recv() => match event {
                        Some(LaneEvent::Down { lane }) => drop(self.lanes.remove(&lane)),
                        Some(_) => {}
                        None => return,
                    },
                }
            }
        })
        .await;
        self.ended.take().unwrap_or(StopReason::Asked)
    }
}

#[cfg(test)]
mod tests;
