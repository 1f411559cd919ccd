//! A reader: reads again what a target has processed and keeps, from its first message or from where it was, and says when it is done with it; leaves in the
//! midst of it, comes back, and begins anew where what it wanted is gone (X37).

use std::collections::BTreeSet;

use wattle_core::id::{AttachToken, RequestId, Sequence};
use wattle_core::node::command::{Command, Range, Refusal, Reply};
use wattle_core::node::output::Delivery;

use crate::checker::{Checked, Reading, ensure};
use crate::desk::{Call, Desk, request_of};
use crate::event::{Actor, MILLI, SECOND, Time};
use crate::plan::{Plan, ReaderPlan};
use crate::random::{Draws, Purpose};

const PATIENCE: Time = 4 * SECOND;

/// One who reads a stream again.
#[derive(Debug)]
pub(crate) struct Reader {
    index: usize,
    stream: usize,
    stream_name: String,
    node: usize,
    plan: ReaderPlan,
    reading: Reading,
    asked: Option<(RequestId, Range)>,
    /// The tokens of all replays that it left, or never heard of in time: what is under way under these is late, and nobody's.
    former: BTreeSet<AttachToken>,
    again_at: Time,
    busy_until: Option<Time>,
    epoch: u64,
    ordinal: u64,
    last_call: Time,
}

impl Reader {
    /// All of a plan.
    #[must_use]
    pub(crate) fn all(plan: &Plan) -> Vec<Self> {
        let each = plan.streams.iter().enumerate();
        let each = each.flat_map(|(stream, entry)| entry.readers.iter().map(move |reader| (stream, reader)));
        let new = |(index, (stream, reader)): (usize, (usize, &ReaderPlan))| {
            let entry = &plan.streams[stream];
            Self {
                index,
                stream,
                stream_name: entry.name.clone(),
                node: entry.targets().nth(reader.place).unwrap_or(entry.target),
                plan: reader.clone(),
                reading: Reading::new(stream, reader.place),
                asked: None,
                former: BTreeSet::new(),
                again_at: reader.starts_at,
                busy_until: None,
                epoch: 0,
                ordinal: 0,
                last_call: 0,
            }
        };
        each.enumerate().map(new).collect()
    }

    /// Whether what is handed over under that token is for it.
    pub(crate) fn has(&self, node: usize, token: AttachToken) -> bool {
        self.node == node && (self.reading.token() == Some(token) || self.former.contains(&token))
    }

    /// Sets the first wake.
    pub(crate) fn start(&mut self, desk: &mut Desk<'_>) {
        self.sleep(desk, self.plan.starts_at);
    }

    fn sleep(&mut self, desk: &mut Desk<'_>, time: Time) {
        self.epoch += 1;
        desk.wake(Actor::Reader(self.index), self.epoch, time);
    }

    fn draws(&mut self, desk: &Desk<'_>) -> Draws {
        self.ordinal += 1;
        Draws::new(desk.seed, Purpose::Reading, self.index as u64, self.ordinal)
    }

    /// Goes on.
    pub(crate) fn wake(&mut self, desk: &mut Desk<'_>, epoch: u64) {
        if epoch != self.epoch {
            return;
        }
        if let Some(token) = self.reading.token() {
            if self.busy_until.is_some_and(|until| until <= desk.now) {
                self.work(desk, token);
            }
        } else if self.again_at <= desk.now {
            self.ask(desk);
        }
        let next = match self.reading.token() {
            Some(_) => self.busy_until,
            None => Some(self.again_at),
        };
        if let Some(at) = next {
            self.sleep(desk, at.saturating_sub(desk.now).max(1));
        }
    }

    fn ask(&mut self, desk: &mut Desk<'_>) {
        let mut draws = self.draws(desk);
        let known = self.reading.upto();
        let from = draws.percent(40).then(|| Sequence(draws.between(1, known + 1)));
        let begins = from.map_or(1, |from| from.0);
        let ends = draws.one_in(self.plan.ends_one_in);
        let to = ends.then(|| Sequence(begins + draws.below(known.saturating_sub(begins) + 2)));
        let (range, window) = (Range { from, to }, draws.between(1, u64::from(self.plan.window)) as u32);
        let request = request_of(Actor::Reader(self.index), self.ordinal);
        self.asked = Some((request, range));
        let command = Command::Replay { stream: self.stream_name.clone(), range, window };
        self.reading.asked(range, window);
        desk.call_in_order(self.node, Call::Command(request, command), &mut self.last_call);
        self.again_at = desk.now + PATIENCE;
    }

    /// It is done with some of what it was handed; or leaves, and is done with nothing any more.
    fn work(&mut self, desk: &mut Desk<'_>, token: AttachToken) {
        self.busy_until = None;
        let mut draws = self.draws(desk);
        if draws.one_in(12) {
            desk.call_in_order(self.node, Call::Detach(token), &mut self.last_call);
            return self.rest(desk);
        }
        if let Some(upto) = self.reading.done(&mut draws) {
            desk.call_in_order(self.node, Call::Verdict(token, upto), &mut self.last_call);
            self.busy_until =
                self.reading.has_more().then(|| desk.now + draws.spread(1, self.plan.service.max(1)));
        }
    }

    fn rest(&mut self, desk: &mut Desk<'_>) {
        self.former.extend(self.reading.token());
        self.reading.ended();
        (self.asked, self.busy_until) = (None, None);
        self.again_at = desk.now + self.draws(desk).between(20 * MILLI, SECOND);
        self.sleep(desk, self.again_at - desk.now);
    }

    /// Messages are handed over.
    ///
    /// # Errors
    /// X37.
    pub(crate) fn delivered(&mut self, desk: &mut Desk<'_>, delivery: &Delivery) -> Checked {
        let (took, handed) = self.reading.handed(delivery, &desk.books.streams[self.stream])?;
        if let Some(took) = took {
            desk.call_in_order(self.node, Call::Took(delivery.token, took), &mut self.last_call);
        }
        if handed && self.busy_until.is_none() {
            let service = self.draws(desk).spread(1, self.plan.service.max(1));
            self.busy_until = Some(desk.now + service);
            self.sleep(desk, service);
        }
        Ok(())
    }

    /// A node answers.
    ///
    /// # Errors
    /// X37.
    pub(crate) fn reply(
        &mut self,
        desk: &mut Desk<'_>,
        request: RequestId,
        reply: &Result<Reply, Refusal>,
    ) -> Checked {
        let Some((_, range)) = self.asked.filter(|(asked, _)| *asked == request) else {
            // Of an attachment that nobody waits for any more.
            if let Ok(Reply::Attached { token, .. }) = reply {
                self.former.insert(*token);
                desk.call_in_order(self.node, Call::Detach(*token), &mut self.last_call);
            }
            return Ok(());
        };
        match reply {
            Ok(Reply::Attached { token, position, .. }) => {
                self.reading.begun(*token, *position)?;
            }
            Ok(Reply::Replayed { .. }) => {
                self.reading.finished(range)?;
                self.rest(desk);
            }
            Ok(Reply::Outrun { .. }) => self.rest(desk),
            Err(refusal) => {
                if let Refusal::Released { wanted, first } = refusal {
                    ensure!(
                        wanted < first,
                        "X37",
                        "stream {}: a replay is told that {wanted} is gone, and that {first} is kept",
                        self.stream
                    );
                }
                self.rest(desk);
            }
            Ok(_) => {}
        }
        Ok(())
    }

    /// Its node is gone, or its question was lost.
    pub(crate) fn lost(&mut self, desk: &mut Desk<'_>, request: Option<RequestId>, node: usize) {
        let concerned = match request {
            Some(request) => self.asked.is_some_and(|(asked, _)| asked == request),
            None => node == self.node && (self.asked.is_some() || self.reading.token().is_some()),
        };
        if concerned {
            self.rest(desk);
        }
    }
}
