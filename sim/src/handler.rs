//! A handler: attaches, works through what it is given, reports success; is interrupted, comes back, and presents its position if
//! it keeps one with its effects.

use std::collections::VecDeque;

use wattle_core::digest::Digest;
use wattle_core::id::{AttachToken, AuthorityEpoch, RequestId, Sequence, StreamInstance};
use wattle_core::node::command::{Command, Position, Refusal, Reply};
use wattle_core::node::output::{Delivered, Delivery};

use crate::checker::{Checked, Failure, ensure};
use crate::content::PART_BYTES;
use crate::desk::{Call, Desk, request_of};
use crate::event::{Actor, MICRO, MILLI, SECOND, Time};
use crate::fault::{Fault, FaultKind};
use crate::plan::{HandlerKind, HandlerPlan, InterruptionKind, Plan, ScopePlan};
use crate::random::{Draws, Purpose};
use crate::warden::Warden;

const PATIENCE: Time = 4 * SECOND;

#[derive(Debug)]
struct Attached {
    token: AttachToken,
    instance: StreamInstance,
    authority: AuthorityEpoch,
    /// Handed over and not worked through: the message before, and the message.
    queue: VecDeque<(u64, u64)>,
    /// The last message handed over.
    last: u64,
    /// When the present round of work ends.
    busy_until: Option<Time>,
    /// It failed at this message, and waits to be told what to do.
    failing: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    request: RequestId,
    presented: Option<Position>,
    window: u32,
    /// The position presented is above everything that will ever be published.
    forged: bool,
}

/// The handler of one target of a stream.
#[derive(Debug)]
pub(crate) struct Handler {
    /// Its number among all handlers.
    number: usize,
    /// Its stream.
    index: usize,
    /// The place of its target.
    place: usize,
    stream_name: String,
    node: usize,
    plan: HandlerPlan,
    attached: Option<Attached>,
    /// What came of a message that is handed over in pieces, under which attachment, and how much of all such.
    pieces: (AttachToken, Vec<u8>, u64),
    /// Attachments asked for and not answered.
    asked: Vec<Asked>,
    ask_again_at: Time,
    /// What a transactional handler keeps in its own database, which no crash of a node harms.
    stored: Option<Position>,
    /// The position at which it was attached last.
    given: Option<Position>,
    /// More sequences than its stream will ever have.
    messages: u64,
    away_until: Time,
    interruptions: VecDeque<crate::plan::Interruption>,
    /// A verdict of an attachment that another took over from.
    late_verdict: Option<(AttachToken, u64)>,
    epoch: u64,
    ordinal: u64,
    last_call: Time,
    trouble: String,
    /// What it fails at, if it fails at anything.
    warden: Option<Warden>,
    still: Still,
}

/// What is to be known of a handler that may come to stand still.
#[derive(Debug)]
struct Still {
    /// When it processed something last, or its stream was opened at the earliest.
    last: Time,
    /// Since when it processes nothing of what it has.
    since: Option<Time>,
    /// Its stream bears that for so long; 0: for ever.
    bears: Time,
    /// When all faults are over; and whether there are any.
    heals_at: Time,
    faults: bool,
    /// The book knows that it may be detached.
    told: bool,
}

impl Still {
    /// Somewhat before its stream may have had enough of it, by any clock.
    fn tell_at(&self) -> Option<Time> {
        let since = self.since.filter(|_| self.bears > 0 && !self.told)?;
        Some((self.last + self.bears / 5 * 4).max(since))
    }

    /// When a round of work ends that takes so long for who does not stand still.
    fn busy_until(&mut self, plan: &HandlerPlan, desk: &Desk<'_>, service: Time) -> Time {
        if desk.healed || plan.stands_still_at == 0 || desk.now < plan.stands_still_at {
            return desk.now + service.max(1);
        }
        self.since.get_or_insert(desk.now);
        self.heals_at
    }

    /// Whether its stream must have had enough of it by now. A leader that falls takes the time with it.
    fn is_due(&self, now: Time) -> bool {
        let long = 2 * self.bears + 5 * SECOND;
        self.bears > 0 && !self.faults && self.since.is_some_and(|since| now >= since + long)
    }
}

impl Handler {
    /// The handler of that number, at a target of the plan's stream `index`.
    #[must_use]
    pub(crate) fn new(number: usize, index: usize, place: usize, whole: &Plan) -> Self {
        let stream = &whole.streams[index];
        let full = |fault: &Fault| matches!(fault.kind, FaultKind::FullDisk { .. });
        let roomy = whole.parked_most().is_none() && !whole.faults.iter().any(full);
        let poison = stream.poison.as_ref().map(|poison| (poison, &*stream.name));
        let warden = poison.map(|poison| Warden::new(poison, number, index, roomy));
        let plan = stream.handler_at(place);
        Self {
            number,
            index,
            place,
            stream_name: stream.name.clone(),
            node: stream.targets().nth(place).unwrap_or(stream.target),
            plan: plan.clone(),
            attached: None,
            pieces: (AttachToken(0), Vec::new(), 0),
            asked: Vec::new(),
            ask_again_at: 0,
            stored: None,
            given: None,
            messages: stream.sequences_most(),
            away_until: plan.attaches_at,
            interruptions: plan.interruptions.iter().copied().collect(),
            late_verdict: None,
            epoch: 0,
            ordinal: 0,
            last_call: 0,
            trouble: "never asked".into(),
            warden,
            still: Still {
                last: stream.opens_at,
                since: None,
                bears: stream.detach_after,
                heals_at: whole.fault_phase,
                faults: !whole.faults.is_empty(),
                told: false,
            },
        }
    }

    /// What keeps it from working, in words.
    #[must_use]
    pub(crate) fn owed(&self) -> Option<String> {
        let parked = || self.warden.as_ref().and_then(Warden::owed);
        let unattached = self.attached.is_none();
        unattached
            .then(|| format!("handler of stream {} is not attached: {}", self.index, self.trouble))
            .or_else(parked)
    }

    /// Sets the first wake.
    pub(crate) fn start(&mut self, desk: &mut Desk<'_>) {
        self.sleep(desk, self.away_until);
    }

    fn sleep(&mut self, desk: &mut Desk<'_>, time: Time) {
        self.epoch += 1;
        desk.wake(Actor::Handler(self.number), self.epoch, time);
    }

    fn draws(&mut self, desk: &Desk<'_>) -> Draws {
        self.ordinal += 1;
        Draws::new(desk.seed, Purpose::Handler, self.number as u64, self.ordinal)
    }

    /// Goes on.
    ///
    /// # Errors
    /// X2.
    pub(crate) fn wake(&mut self, desk: &mut Desk<'_>, epoch: u64) -> Checked {
        if epoch != self.epoch {
            return Ok(());
        }
        self.interrupt(desk);
        if desk.now < self.away_until {
            self.sleep(desk, self.away_until - desk.now);
            return Ok(());
        }
        if self.still.tell_at().is_some_and(|at| at <= desk.now) {
            self.still.told = true;
            desk.books.stands_still(self.index, self.node);
        }
        self.look_at_parked(desk);
        self.work(desk)?;
        if self.attached.is_none() && desk.now >= self.ask_again_at {
            self.attach(desk);
        }
        self.sleep_until_needed(desk);
        Ok(())
    }

    fn sleep_until_needed(&mut self, desk: &mut Desk<'_>) {
        let work = self.attached.as_ref().and_then(|attached| attached.busy_until);
        let attach = self.attached.is_none().then_some(self.ask_again_at.max(self.away_until));
        let interruption = self.interruptions.front().map(|interruption| interruption.at);
        let parked = self.warden.as_ref().map(|warden| warden.next_at().max(self.away_until));
        let still = self.still.tell_at().map(|at| at.max(self.away_until));
        if let Some(at) = [work, attach, interruption, parked, still].into_iter().flatten().min() {
            self.sleep(desk, at.saturating_sub(desk.now));
        }
    }

    fn interrupt(&mut self, desk: &mut Desk<'_>) {
        if self.interruptions.front().is_none_or(|next| next.at > desk.now) {
            return;
        }
        let Some(interruption) = self.interruptions.pop_front() else { return };
        let Some(attached) = self.attached.take() else { return };
        match interruption.kind {
            InterruptionKind::Detach => {
                desk.call_in_order(self.node, Call::Detach(attached.token), &mut self.last_call);
                self.away_until = desk.now + interruption.away;
            }
            InterruptionKind::Takeover => {
                // The old one dies with its work; what it says later must not count.
                if let Some(&(_, upto)) = attached.queue.back() {
                    self.late_verdict = Some((attached.token, upto));
                }
                self.attach(desk);
            }
        }
    }

    fn attach(&mut self, desk: &mut Desk<'_>) {
        let forged = self.forges(desk);
        let window =
            self.draws(desk).between(u64::from(self.plan.window.0), u64::from(self.plan.window.1)) as u32;
        let request = request_of(Actor::Handler(self.number), self.ordinal);
        let presented = match self.plan.kind {
            _ if forged.is_some() => forged,
            HandlerKind::Transactional => self.stored,
            HandlerKind::Idempotent => None,
        };
        self.asked.push(Asked { request, presented, window, forged: forged.is_some() });
        let command = Command::Attach { stream: self.stream_name.clone(), presented, window };
        desk.call_in_order(self.node, Call::Command(request, command), &mut self.last_call);
        self.ask_again_at = desk.now + PATIENCE;
    }

    /// Now and then it comes with another's store, whose position lies behind all that this stream will ever hold.
    fn forges(&self, desk: &Desk<'_>) -> Option<Position> {
        let given = self.given.filter(|_| self.attached.is_none() && !desk.healed)?;
        let mut draws = Draws::new(desk.seed, Purpose::Forged, self.number as u64, self.ordinal);
        let above = draws.spread(1, 1 << 20);
        let sequence = Sequence(self.messages + above);
        draws.one_in(self.plan.forges_one_in).then_some(Position { sequence, ..given })
    }

    fn work(&mut self, desk: &mut Desk<'_>) -> Checked {
        let mut draws = self.draws(desk);
        let service = if desk.healed {
            draws.between(10 * MICRO, MILLI)
        } else {
            draws.between(self.plan.service.0, self.plan.service.1)
        };
        let Some(attached) = &mut self.attached else { return Ok(()) };
        if attached.busy_until.is_none_or(|until| until > desk.now) {
            return Ok(());
        }
        let fails =
            |sequence: u64| self.warden.as_ref().is_some_and(|warden| warden.fails(desk.now, sequence));
        let good = attached.queue.iter().take_while(|(_, sequence)| !fails(*sequence)).count();
        if let (0, Some(&(_, sequence))) = (good, attached.queue.front()) {
            (attached.failing, attached.busy_until) = (Some(sequence), None);
            desk.call_in_order(self.node, Call::Failed(attached.token, sequence), &mut self.last_call);
            return Ok(());
        }
        let count = (draws.between(1, attached.queue.len() as u64) as usize).min(good);
        let Some(&(begins, _)) = attached.queue.front() else { return Ok(()) };
        let done: Vec<(u64, u64)> = attached.queue.drain(..count.min(attached.queue.len())).collect();
        let Some(&(_, upto)) = done.last() else { return Ok(()) };
        for (_, sequence) in done {
            self.warden.iter_mut().try_for_each(|warden| warden.processes(sequence))?;
        }
        self.still.last = desk.now;
        let left = !attached.queue.is_empty();
        attached.busy_until = left.then(|| self.still.busy_until(&self.plan, desk, service));
        let (token, instance, authority) = (attached.token, attached.instance, attached.authority);
        if self.plan.kind == HandlerKind::Transactional {
            let before = self.stored.map_or(0, |stored| stored.sequence.0);
            ensure!(
                begins == before,
                "X2",
                "stream {}: a transactional handler at {before} was given what follows {begins}, up to {upto}",
                self.index
            );
            self.stored = Some(Position { instance, authority, sequence: Sequence(upto) });
        }
        desk.call_in_order(self.node, Call::Verdict(token, upto), &mut self.last_call);
        Ok(())
    }

    /// Messages are handed over.
    ///
    /// # Errors
    /// X1, X2, X10.
    pub(crate) fn delivered(&mut self, desk: &mut Desk<'_>, delivery: &Delivery) -> Checked {
        desk.books.handlings[self.number].handed(delivery)?;
        let mut whole = Vec::new();
        for message in &delivery.messages {
            if message.parked {
                self.try_parked(desk, delivery.token, message)?;
                continue;
            }
            let Some(message) = self.take_piece(desk, delivery.token, message)? else { continue };
            let in_one = message.bytes.len() <= PART_BYTES;
            desk.books.failures.handed(self.index, self.place, message.sequence.0)?;
            self.warden.iter_mut().try_for_each(|warden| warden.handed(desk.seed, &message, in_one))?;
            desk.books.streams[self.index].seen(self.place, &message)?;
            whole.push(message.sequence.0);
        }
        let service = {
            let mut draws = self.draws(desk);
            if desk.healed { MILLI } else { draws.between(self.plan.service.0, self.plan.service.1) }
        };
        let Some(attached) = self.attached.as_mut().filter(|now| now.token == delivery.token) else {
            return Ok(());
        };
        for sequence in whole {
            let before = std::mem::replace(&mut attached.last, sequence);
            attached.queue.push_back((before, sequence));
        }
        if attached.busy_until.is_none() && attached.failing.is_none() && !attached.queue.is_empty() {
            attached.busy_until = Some(self.still.busy_until(&self.plan, desk, service));
            self.sleep_until_needed(desk);
        }
        Ok(())
    }

    /// What was parked is handed over again.
    fn try_parked(&mut self, desk: &mut Desk<'_>, token: AttachToken, message: &Delivered) -> Checked {
        let sequence = message.sequence.0;
        desk.books.streams[self.index].seen(self.place, message)?;
        let Some(warden) = &mut self.warden else {
            let what = format!("stream {}: {sequence} is called parked, and nobody ever failed", self.index);
            return Err(Failure::new("X33", what));
        };
        let good = warden.tried_again(desk.now, sequence)?;
        if self.attached.as_ref().is_some_and(|attached| attached.token == token) {
            let call = if good { Call::Retried(token, sequence) } else { Call::Failed(token, sequence) };
            desk.call_in_order(self.node, call, &mut self.last_call);
        }
        Ok(())
    }

    /// The node says what to do about the message that it failed at.
    fn told(&mut self, desk: &mut Desk<'_>, sequence: u64, passed: bool) -> Checked {
        let pause = self.draws(desk).spread(MILLI, 20 * MILLI);
        self.warden.iter_mut().try_for_each(|warden| warden.told(sequence, passed))?;
        if let Some(attempts) = self.warden.as_ref().and_then(Warden::fails_after) {
            desk.books.failures.tries_again(self.index, self.place, sequence, attempts)?;
        }
        let Some(attached) = &mut self.attached else { return Ok(()) };
        if attached.failing.take() != Some(sequence) {
            return Err(Failure::new(
                "X33",
                format!("stream {}: told of {sequence}, of which nobody asked", self.index),
            ));
        }
        if passed && let Some((before, _)) = attached.queue.pop_front() {
            // A position moves past it together with the next message.
            match attached.queue.front_mut() {
                Some(next) => next.0 = before,
                None => attached.last = before,
            }
            desk.books.handlings[self.number].verdict(attached.token, sequence);
        }
        attached.busy_until = (!attached.queue.is_empty()).then(|| desk.now + pause);
        self.sleep_until_needed(desk);
        Ok(())
    }

    /// An operator looks at what is parked, now and then.
    fn look_at_parked(&mut self, desk: &mut Desk<'_>) {
        let Some(warden) = &mut self.warden else { return };
        let request = request_of(Actor::Handler(self.number), self.ordinal + 1);
        if let Some(command) = warden.wants(desk.now, desk.seed, desk.healed, request) {
            self.ordinal += 1;
            let mut node = self.node;
            if let Command::ChangeFlow(_) = &command {
                // Anybody may be asked: the target may be away.
                let mut draws =
                    Draws::new(desk.seed, Purpose::Poison, 1 << 30 | self.number as u64, self.ordinal);
                if draws.percent(60) {
                    node = draws.index(desk.books.ids.len());
                }
                desk.books.failures.asks(self.index, request);
                desk.books.flows.resumes(&ScopePlan::Stream(self.stream_name.clone()));
            }
            desk.call(node, Call::Command(request, command));
        }
    }

    /// Puts a message together from its pieces, and says that they were taken; `None` while some are missing. Now and then it claims success for a
    /// sequence that is inside a message.
    fn take_piece(
        &mut self,
        desk: &mut Desk<'_>,
        token: AttachToken,
        message: &Delivered,
    ) -> Result<Option<Delivered>, Failure> {
        let Some(piece) = message.piece else { return Ok(Some(message.clone())) };
        let mut draws = self.draws(desk);
        if self.pieces.0 != token {
            self.pieces = (token, Vec::new(), 0);
        }
        let (_, pieces, took) = &mut self.pieces;
        if piece.offset == 0 {
            pieces.clear();
        }
        ensure!(
            piece.offset == pieces.len() as u64,
            "X2",
            "stream {}: a piece of {} begins at {} where {} bytes of it came",
            self.index,
            message.sequence,
            piece.offset,
            pieces.len()
        );
        pieces.extend_from_slice(&message.bytes);
        *took += message.bytes.len() as u64;
        let (took, done) = (*took, pieces.len() as u64 >= piece.total);
        let bytes = if done { std::mem::take(pieces) } else { Vec::new() };
        desk.call_in_order(self.node, Call::Took(token, took), &mut self.last_call);
        if draws.one_in(40) {
            let inside = Call::Verdict(token, message.sequence.0 - 1);
            desk.books.streams[self.index].inside(message.sequence.0 - 1);
            desk.call_in_order(self.node, inside, &mut self.last_call);
        }
        if !done {
            return Ok(None);
        }
        ensure!(
            Digest::of_bytes(&bytes) == piece.whole,
            "X2",
            "stream {}: the pieces of {} are not what it is called",
            self.index,
            message.sequence
        );
        Ok(Some(Delivered { bytes: bytes.into(), piece: None, ..message.clone() }))
    }

    /// A node answers.
    ///
    /// # Errors
    /// X1, X5, X7.
    pub(crate) fn reply(
        &mut self,
        desk: &mut Desk<'_>,
        request: RequestId,
        reply: &Result<Reply, Refusal>,
    ) -> Checked {
        let done = desk.books.streams[self.index].is_done(self.place);
        if let Some(resumed) = self.warden.as_mut().and_then(|warden| warden.resumed(request, reply)) {
            if let Some(resumed) = resumed {
                desk.books.failures.resumed(self.index, request, resumed);
            }
            self.sleep_until_needed(desk);
            return Ok(());
        }
        if let Some(warden) = &mut self.warden
            && warden.reply(request, reply, done)?
        {
            self.sleep_until_needed(desk);
            return Ok(());
        }
        match reply {
            Ok(Reply::Failed { token, sequence, passed }) => {
                if self.attached.as_ref().is_some_and(|attached| attached.token == *token) {
                    self.told(desk, sequence.0, *passed)?;
                }
            }
            Ok(Reply::Attached { token, instance, position }) => {
                let Some(place) = self.asked.iter().position(|asked| asked.request == request) else {
                    return Ok(());
                };
                let asked = self.asked.remove(place);
                ensure!(
                    !asked.forged,
                    "X1",
                    "stream {}: attached at {}, where nothing was ever published",
                    self.index,
                    position.sequence
                );
                self.given = Some(*position);
                self.warden.iter_mut().for_each(|warden| warden.goes_on_behind(position.sequence.0));
                desk.books.streams[self.index].named(*instance)?;
                if let Some(presented) = asked.presented {
                    // What it keeps beside its position is done, whether or not its verdict came through.
                    desk.books.streams[self.index].reported(self.place, presented.sequence.0);
                }
                if desk.books.streams[self.index].comes_later(self.place) {
                    self.begins(desk, *position)?;
                }
                desk.books.handlings[self.number].attached(
                    *token,
                    *instance,
                    *position,
                    asked.presented,
                    asked.window,
                )?;
                // One that has stored nothing yet presents nothing, and stands behind what was parked before.
                let parks = asked.presented.is_none() && self.warden.is_some();
                let stored = self.stored.map_or(0, |stored| stored.sequence.0);
                let last = match self.plan.kind {
                    HandlerKind::Transactional if parks => position.sequence.0.min(stored),
                    _ => position.sequence.0,
                };
                self.attached = Some(Attached {
                    token: *token,
                    instance: *instance,
                    authority: position.authority,
                    queue: VecDeque::new(),
                    last,
                    busy_until: None,
                    failing: None,
                });
                if let Some((old, upto)) = self.late_verdict.take() {
                    desk.call(self.node, Call::Verdict(old, upto));
                }
                self.sleep_until_needed(desk);
            }
            Ok(ended @ (Reply::Fenced { token } | Reply::Outrun { token })) => {
                if self.attached.as_ref().is_some_and(|attached| attached.token == *token) {
                    ensure!(
                        !matches!(ended, Reply::Fenced { .. }) || !self.asked.is_empty(),
                        "X1",
                        "stream {}: the handler is told that another took over, and nobody else attached",
                        self.index
                    );
                    desk.books.handlings[self.number].gone();
                    self.lose(desk);
                }
            }
            Ok(_) => {}
            Err(refusal) => self.refused(desk, request, refusal)?,
        }
        Ok(())
    }

    /// Its target came later: the first time it is attached, where that begins is said.
    fn begins(&mut self, desk: &mut Desk<'_>, position: Position) -> Checked {
        let ledger = &mut desk.books.streams[self.index];
        if ledger.late(self.place).is_none() {
            ledger.joins(self.place, position.sequence.0 + 1)?;
        }
        let Some((first, _)) = ledger.late(self.place) else { return Ok(()) };
        desk.books.handlings[self.number].begins_behind(first - 1);
        if self.stored.is_none() {
            self.stored = Some(Position { sequence: Sequence(first - 1), ..position });
        }
        Ok(())
    }

    fn refused(&mut self, desk: &mut Desk<'_>, request: RequestId, refusal: &Refusal) -> Checked {
        ensure!(
            self.is_forged(request)
                || desk.books.may_stop
                || !matches!(refusal, Refusal::ForeignPosition(_) | Refusal::NotKept { .. }),
            "X1",
            "stream {}: the position at which this very node had the handler was refused: {refusal}",
            self.index
        );
        let before = self.asked.len();
        self.asked.retain(|asked| asked.request != request);
        if self.asked.len() == before {
            return Ok(());
        }
        self.trouble = refusal.to_string();
        let pause = self.draws(desk).between(50 * MILLI, 500 * MILLI);
        self.ask_again_at = desk.now + pause;
        self.sleep_until_needed(desk);
        Ok(())
    }

    fn lose(&mut self, desk: &mut Desk<'_>) {
        self.attached = None;
        self.late_verdict = None;
        let pause = self.draws(desk).spread(MILLI, SECOND);
        self.away_until = self.away_until.max(desk.now + pause);
        self.ask_again_at = self.away_until;
        self.sleep(desk, self.away_until - desk.now);
    }

    /// A call reaches the node at this moment.
    pub(crate) fn arrives(&mut self, desk: &mut Desk<'_>, call: &Call) {
        match *call {
            // Success inside a message is none.
            Call::Verdict(_, upto) if desk.books.streams[self.index].is_inside(upto) => {}
            Call::Verdict(token, upto) => {
                if desk.books.handlings[self.number].verdict(token, upto) {
                    desk.books.streams[self.index].reported(self.place, upto);
                }
            }
            Call::Failed(token, sequence) => {
                let handling = &mut desk.books.handlings[self.number];
                if handling.has(token) {
                    desk.books.failures.failed(self.index, self.place, sequence);
                }
                if let Some(warden) = &mut self.warden
                    && handling.has(token)
                    && warden.failed(sequence)
                {
                    // From now on it may be parked, and then counts as processed.
                    handling.may_pass(sequence);
                    desk.books.streams[self.index].reported(self.place, sequence);
                }
            }
            Call::Detach(token) => desk.books.handlings[self.number].left(token),
            // Who presents a position has stored it with the effect: that is success, whatever became of its verdicts.
            Call::Command(request, Command::Attach { ref stream, presented: Some(position), .. })
                if *stream == self.stream_name && !self.is_forged(request) =>
            {
                desk.books.streams[self.index].reported(self.place, position.sequence.0);
            }
            Call::Command(..) | Call::Took(..) | Call::Retried(..) => {}
        }
    }

    fn is_forged(&self, request: RequestId) -> bool {
        self.asked.iter().any(|asked| asked.request == request && asked.forged)
    }

    /// Its stream.
    #[must_use]
    pub(crate) fn stream(&self) -> usize {
        self.index
    }

    /// The node it attaches to.
    #[must_use]
    pub(crate) fn node(&self) -> usize {
        self.node
    }

    /// A call did not reach its node, or the node is gone with the attachment.
    pub(crate) fn lost(&mut self, desk: &mut Desk<'_>, request: Option<RequestId>, node: usize) {
        if node != self.node {
            return;
        }
        self.warden.iter_mut().for_each(|warden| warden.lost(request));
        if let Some(request) = request
            && !self.asked.iter().any(|asked| asked.request == request)
        {
            return;
        }
        match request {
            Some(request) => self.asked.retain(|asked| asked.request != request),
            None => {
                self.asked.clear();
                desk.books.handlings[self.number].gone();
            }
        }
        self.trouble = "the node went down".into();
        self.lose(desk);
    }

    /// All faults are over.
    pub(crate) fn heal(&mut self, desk: &mut Desk<'_>) {
        if self.still.is_due(desk.now) {
            desk.books.idle.is_due(self.index, desk.books.ids[self.node]);
        }
        self.interruptions.clear();
        self.away_until = self.away_until.min(desk.now);
        if let Some(until) = self.attached.as_mut().and_then(|attached| attached.busy_until.as_mut()) {
            *until = (*until).min(desk.now + MILLI);
        }
        self.sleep(desk, 0);
    }
}
