//! A publisher: numbers its messages, repeats what was not answered, says something else when it was refused for sure.

mod ending;
mod flow;
mod large;

use wattle_core::id::{RequestId, WriterId, WriterSequence};
use wattle_core::node::command::{Command, Receipt, Refusal, Reply, Waited};

use self::ending::Ending;
use self::flow::is_for_sure;
use self::large::Uploads;
use crate::checker::{Asked, Checked, Load, Sent, ensure};
use crate::content::{self, Name};
use crate::desk::{Call, Desk, request_of};
use crate::event::{Actor, MILLI, Time};
use crate::plan::{PublisherPlan, StreamPlan};
use crate::random::{Draws, Purpose};

#[derive(Debug)]
struct Open {
    request: RequestId,
    asked: Asked,
    until: Time,
    /// Its answers are lost on the way.
    deaf: bool,
    /// The publisher no longer waits for it.
    given_up: bool,
    /// How many of its messages reached the level it waits for.
    reached: u64,
}

#[derive(Clone, Copy, Debug)]
struct Word {
    version: u8,
    /// A call with it had an unknown outcome: what it says is settled.
    settled: bool,
    confirmed: bool,
}

/// A publisher of one stream.
#[derive(Debug)]
pub(crate) struct Publisher {
    index: usize,
    stream: usize,
    stream_name: String,
    writer: usize,
    id: WriterId,
    node: usize,
    plan: PublisherPlan,
    words: Vec<Word>,
    next: u64,
    open: Vec<Open>,
    /// Messages of several parts.
    uploads: Uploads,
    /// A question where it stands.
    asking: Option<(RequestId, Time)>,
    /// Calls that must be refused.
    forbidden: Vec<RequestId>,
    rounds_left: u32,
    ending: Option<Ending>,
    done: bool,
    epoch: u64,
    ordinal: u64,
    /// Calls of one publisher do not overtake each other.
    last_call: Time,
    resting_until: Time,
    trouble: String,
}

/// The id of a writer.
#[must_use]
pub(crate) fn writer_id(seed: u64, stream: usize, writer: usize) -> WriterId {
    let mut draws = Draws::new(seed, Purpose::Publisher, stream as u64, 1 << 40 | writer as u64);
    WriterId(u128::from(draws.u64()) << 64 | u128::from(draws.u64()))
}

impl Publisher {
    /// The publisher `writer` of a stream; `index` among all publishers of the run.
    #[must_use]
    pub(crate) fn new(seed: u64, index: usize, stream: usize, plan: &StreamPlan, writer: usize) -> Self {
        let own = plan.publishers[writer].clone();
        Self {
            index,
            stream,
            stream_name: plan.name.clone(),
            writer,
            id: writer_id(seed, stream, writer),
            node: plan.source,
            words: vec![Word { version: 0, settled: false, confirmed: false }; own.messages as usize],
            next: 1,
            open: Vec::new(),
            uploads: Uploads::default(),
            asking: None,
            forbidden: Vec::new(),
            rounds_left: own.repeats,
            ending: None,
            done: own.messages == 0,
            epoch: 0,
            ordinal: 0,
            last_call: 0,
            resting_until: 0,
            trouble: "never asked".into(),
            plan: own,
        }
    }

    /// The stream it writes to.
    #[must_use]
    pub(crate) fn stream(&self) -> usize {
        self.stream
    }

    /// What it still wants, in words.
    #[must_use]
    pub(crate) fn owed(&self) -> Option<String> {
        let confirmed = self.words.iter().filter(|word| word.confirmed).count();
        (!self.done).then(|| {
            format!(
                "writer {} of stream {}: {confirmed} of {} messages confirmed, {} rounds after this one; last trouble: {}",
                self.writer,
                self.stream,
                self.words.len(),
                self.rounds_left,
                self.trouble
            )
        })
    }

    /// Sets the first wake.
    pub(crate) fn start(&mut self, desk: &mut Desk<'_>) {
        self.sleep(desk, self.plan.starts_at);
    }

    fn sleep(&mut self, desk: &mut Desk<'_>, time: Time) {
        self.epoch += 1;
        desk.wake(Actor::Publisher(self.index), self.epoch, time);
    }

    fn draws(&mut self, desk: &Desk<'_>) -> Draws {
        self.ordinal += 1;
        Draws::new(desk.seed, Purpose::Publisher, self.index as u64, self.ordinal)
    }

    /// Goes on.
    pub(crate) fn wake(&mut self, desk: &mut Desk<'_>, epoch: u64) {
        if epoch != self.epoch || self.done {
            return;
        }
        if desk.now < self.resting_until {
            return self.sleep(desk, self.resting_until - desk.now);
        }
        if let Some(ending) = self.ending {
            return self.go_on_ending(desk, ending);
        }
        if let Some((_, until)) = self.asking {
            if desk.now < until {
                return self.sleep(desk, until - desk.now);
            }
            self.asking = None;
        }
        if self.waiting().any(|open| open.until <= desk.now) {
            self.trouble = "no answer in time".into();
            self.give_up(desk);
            if self.asking.is_some() {
                return;
            }
        }
        let mut draws = self.draws(desk);
        if self.waiting().count() < self.plan.pipeline {
            self.send(desk, &mut draws);
        }
        self.sleep_until_needed(desk, &mut draws);
    }

    fn waiting(&self) -> impl Iterator<Item = &Open> {
        self.open.iter().filter(|open| !open.given_up)
    }

    fn sleep_until_needed(&mut self, desk: &mut Desk<'_>, draws: &mut Draws) {
        let unsent = self.skip_confirmed();
        let pause = if desk.healed { MILLI } else { draws.between(self.plan.pause.0, self.plan.pause.1) };
        if let Some(until) = self.uploads.until() {
            return self.sleep(desk, pause.max(1).min(until.saturating_sub(desk.now).max(1)));
        }
        if self.asking.is_some() {
            return;
        }
        let patience = self.waiting().map(|open| open.until.saturating_sub(desk.now).max(1)).min();
        match patience {
            Some(patience) if !unsent || self.waiting().count() >= self.plan.pipeline => {
                self.sleep(desk, patience)
            }
            Some(patience) => self.sleep(desk, patience.min(pause.max(1))),
            None => self.sleep(desk, pause.max(1)),
        }
    }

    /// Moves on to the next message that is not confirmed; `false` if there is none to send.
    fn skip_confirmed(&mut self) -> bool {
        while self.words.get(self.next as usize - 1).is_some_and(|word| word.confirmed) {
            self.next += 1;
        }
        self.next <= self.words.len() as u64
    }

    fn len_of(&self, desk: &Desk<'_>, number: u64) -> usize {
        let who = (self.index as u64) << 32 | 1;
        let mut draws = Draws::new(desk.seed, Purpose::Publisher, who, number);
        if draws.one_in(self.plan.long_one_in) {
            return draws.between(1 << 10, 48 << 10) as usize;
        }
        draws.between(self.plan.bytes.0, self.plan.bytes.1) as usize
    }

    fn send(&mut self, desk: &mut Desk<'_>, draws: &mut Draws) {
        if draws.one_in(self.plan.gaps_one_in) {
            // A gap.
            self.try_forbidden(desk, self.words.len() as u64 + 3);
        }
        if !self.skip_confirmed() {
            return;
        }
        let first = self.next;
        if self.is_large(desk, first) {
            return self.send_parts(desk, draws, first);
        }
        let last =
            (first + draws.between(self.plan.batch.0, self.plan.batch.1) - 1).min(self.words.len() as u64);
        let last = (first..=last).take_while(|&number| !self.is_large(desk, number)).last().unwrap_or(first);
        let messages: Vec<bytes::Bytes> = (first..=last)
            .map(|number| {
                let len = self.len_of(desk, number);
                let version = self.words[number as usize - 1].version;
                desk.books.streams[self.stream].sent(
                    self.writer,
                    number,
                    len.max(content::NAME_LEN),
                    version,
                );
                content::write(Name { stream: self.stream, writer: self.writer, number, version }, len)
            })
            .collect();
        let bytes = messages.iter().map(|message| message.len() as u64).sum();
        let load = Load { messages: messages.len() as u64, bytes };
        let wait =
            [Waited::Accepted, Waited::Replicated, Waited::Completed][draws.weighted(&self.plan.waits)];
        let request = self.publish(desk, first, messages, wait);
        let at = desk.now;
        desk.books.flows.sent(self.stream, self.writer, Sent { request, at, first, last, load });
        // Somebody who waits for completion waits for handlers too, which take their time.
        let patience = self.plan.patience * if wait == Waited::Completed { 3 } else { 1 };
        self.open.push(Open {
            request,
            asked: Asked { first, last, wait, told: Vec::new() },
            until: desk.now + patience,
            deaf: !desk.healed && draws.one_in(self.plan.answers_lost_one_in),
            given_up: false,
            reached: 0,
        });
        self.next = last + 1;
    }

    fn publish(
        &mut self,
        desk: &mut Desk<'_>,
        first: u64,
        messages: Vec<bytes::Bytes>,
        wait: Waited,
    ) -> RequestId {
        self.ordinal += 1;
        let request = request_of(Actor::Publisher(self.index), self.ordinal);
        let command = Command::Publish {
            stream: self.stream_name.clone(),
            writer: self.id,
            first: WriterSequence(first),
            messages,
            wait,
        };
        desk.call_in_order(self.node, Call::Command(request, command), &mut self.last_call);
        request
    }

    /// Publishes something that must be refused.
    fn try_forbidden(&mut self, desk: &mut Desk<'_>, number: u64) {
        let name = Name { stream: self.stream, writer: self.writer, number, version: content::FORBIDDEN };
        let request = self.publish(desk, number, vec![content::write(name, 30)], Waited::Accepted);
        self.forbidden.push(request);
    }

    /// Nothing is known of the calls that are open: they may or may not have been accepted.
    fn give_up(&mut self, desk: &mut Desk<'_>) {
        for open in &mut self.open {
            open.given_up = true;
            for word in &mut self.words[open.asked.first as usize - 1..open.asked.last as usize] {
                word.settled = true;
            }
        }
        self.next = 1;
        self.uploads.lose();
        let mut draws = self.draws(desk);
        if draws.one_in(self.plan.asks_one_in) {
            self.ask(desk);
        }
    }

    /// Asks where this writer stands, and what is held of its next message.
    fn ask(&mut self, desk: &mut Desk<'_>) {
        self.ordinal += 1;
        let request = request_of(Actor::Publisher(self.index), self.ordinal);
        let command = Command::FindWriter { stream: self.stream_name.clone(), writer: self.id };
        desk.call_in_order(self.node, Call::Command(request, command), &mut self.last_call);
        self.asking = Some((request, desk.now + self.plan.patience));
        self.sleep(desk, self.plan.patience);
    }

    fn rest(&mut self, desk: &mut Desk<'_>) {
        let mut draws = self.draws(desk);
        let pause = draws.between(20 * MILLI, 400 * MILLI);
        self.resting_until = desk.now + pause;
        self.sleep(desk, pause);
    }

    /// A node answers.
    ///
    /// # Errors
    /// X3, X4, X7, X9, X10.
    pub(crate) fn reply(
        &mut self,
        desk: &mut Desk<'_>,
        request: RequestId,
        reply: &Result<Reply, Refusal>,
    ) -> Checked {
        if self.forbidden.contains(&request) {
            ensure!(
                reply.is_err(),
                "X10",
                "stream {}: a message {} was answered {reply:?}",
                self.stream,
                if self.ending.is_some() { "of a closed writer" } else { "behind a gap" }
            );
            return Ok(());
        }
        if self.is_closing(request) {
            self.told_closed(desk, reply);
            return Ok(());
        }
        if self.asking.is_some_and(|(asked, _)| asked == request) {
            return self.told_where(desk, reply);
        }
        if let Some(checked) = self.part_answered(desk, request, reply) {
            return checked;
        }
        if let Err(Refusal::WriterGap { expected, .. }) = reply {
            desk.books.streams[self.stream].expects(self.writer, expected.0)?;
        }
        let Some(place) = self.open.iter().position(|open| open.request == request) else { return Ok(()) };
        match reply {
            Ok(Reply::Published(receipt)) => self.told_level(desk, place, receipt),
            Ok(_) => Ok(()),
            Err(refusal) => {
                let first = self.open[place].asked.first;
                self.refused(desk, place, refusal)?;
                match refusal {
                    Refusal::WrongDigest { .. } => self.whole_refused(desk, first),
                    _ => Ok(()),
                }
            }
        }
    }

    fn told_level(&mut self, desk: &mut Desk<'_>, place: usize, receipt: &Receipt) -> Checked {
        self.taken_in(desk, receipt)?;
        let open = &mut self.open[place];
        desk.books.streams[self.stream].receipt(desk.now, self.writer, &mut open.asked, receipt)?;
        if receipt.level == open.asked.wait {
            open.reached += receipt.last_writer.0 - receipt.first_writer.0 + 1;
        }
        if open.reached <= open.asked.last - open.asked.first {
            return Ok(());
        }
        let open = self.open.remove(place);
        if open.deaf {
            // The answer never reaches the publisher, who waits on.
            if !open.given_up {
                self.open.push(Open { reached: 0, ..open });
            }
            return Ok(());
        }
        for word in &mut self.words[open.asked.first as usize - 1..open.asked.last as usize] {
            word.confirmed = true;
            word.settled = true;
        }
        self.end_round(desk);
        Ok(())
    }

    fn end_round(&mut self, desk: &mut Desk<'_>) {
        if !self.words.iter().all(|word| word.confirmed) {
            let mut draws = self.draws(desk);
            if desk.now >= self.resting_until && self.asking.is_none() {
                self.sleep_until_needed(desk, &mut draws);
            }
            return;
        }
        if self.rounds_left == 0 {
            return self.end(desk);
        }
        self.rounds_left -= 1;
        self.next = 1;
        self.words.iter_mut().for_each(|word| word.confirmed = false);
        self.rest(desk);
    }

    fn refused(&mut self, desk: &mut Desk<'_>, place: usize, refusal: &Refusal) -> Checked {
        let open = self.open.remove(place);
        let range = open.asked.first as usize - 1..open.asked.last as usize;
        let for_sure = is_for_sure(refusal);
        if for_sure && open.asked.told.is_empty() {
            desk.books.flows.refused(self.stream, self.writer, open.request);
        }
        self.told_paused(desk, refusal)?;
        if open.given_up {
            return Ok(());
        }
        self.trouble = refusal.to_string();
        if !for_sure || open.deaf || !open.asked.told.is_empty() {
            self.words[range].iter_mut().for_each(|word| word.settled = true);
        } else if self.draws(desk).percent(50) {
            for place in range {
                let number = place as u64 + 1;
                let elsewhere =
                    self.open.iter().any(|open| (open.asked.first..=open.asked.last).contains(&number));
                let large = self.is_large(desk, number);
                let word = &mut self.words[place];
                if !large && !word.settled && !elsewhere && word.version < content::FORBIDDEN - 1 {
                    word.version += 1;
                    let len = self.len_of(desk, number).max(content::NAME_LEN);
                    desk.books.streams[self.stream].reworded(
                        self.writer,
                        number,
                        len,
                        self.words[place].version,
                    );
                }
            }
        }
        if let Refusal::WriterGap { expected, .. } = refusal
            && let Some(lost) = self.words.get_mut(expected.0 as usize - 1..)
        {
            lost.iter_mut().for_each(|word| word.confirmed = false);
        }
        self.next = 1;
        self.rest(desk);
        Ok(())
    }

    /// A node said where this writer stands: everything below is safe there.
    fn told_where(&mut self, desk: &mut Desk<'_>, reply: &Result<Reply, Refusal>) -> Checked {
        self.asking = None;
        if let Ok(Reply::Writer { next, staged, .. }) = reply {
            let ledger = &mut desk.books.streams[self.stream];
            ledger.expects(self.writer, next.0)?;
            ledger.vouched(desk.now, self.writer, next.0);
            for word in self.words.iter_mut().take(next.0 as usize - 1) {
                word.confirmed = true;
            }
            self.told_staged(desk, next.0, *staged)?;
        }
        self.resting_until = desk.now;
        self.sleep(desk, 1);
        self.end_round(desk);
        Ok(())
    }

    /// A call did not reach its node, or the node is gone with all that was open.
    pub(crate) fn lost(&mut self, desk: &mut Desk<'_>, request: Option<RequestId>, node: usize) {
        if node != self.node || self.done {
            return;
        }
        if request.is_some_and(|request| {
            !self.open.iter().any(|open| open.request == request)
                && self.asking.is_none_or(|(asked, _)| asked != request)
                && !self.is_closing(request)
                && !self.uploads.has(request)
        }) {
            return;
        }
        self.trouble = "the node went down".into();
        if request.is_some_and(|request| self.uploads.has(request)) {
            self.uploads.miss();
        }
        for open in &self.open {
            self.words[open.asked.first as usize - 1..open.asked.last as usize]
                .iter_mut()
                .for_each(|word| word.settled = true);
        }
        if request.is_none() {
            self.open.clear();
            self.forbidden.clear();
        } else {
            self.open.iter_mut().for_each(|open| open.given_up = true);
        }
        self.asking = None;
        self.uploads.lose();
        if let Some(Ending::Closing(asked)) = &mut self.ending {
            *asked = None;
        }
        self.next = 1;
        self.rest(desk);
    }

    /// All faults are over.
    pub(crate) fn heal(&mut self, desk: &mut Desk<'_>) {
        if !self.done && self.asking.is_none() {
            self.resting_until = desk.now;
            self.sleep(desk, 0);
        }
        self.plan.patience = self.plan.patience.max(2_000 * MILLI);
        self.plan.gaps_one_in = 0;
    }
}
