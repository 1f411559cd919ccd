//! Messages that a handler cannot process, at one target of a stream: which they are, what the handler is told of them, and an operator who looks at what is parked, has it
//! tried again, and lets it go (X33).
//!
//! From outside: a handler is told to try again fewer times than the policy says, and to go on behind the message after as many failures and no fewer; what it processed is not parked,
//! what is parked is handed to it by a retry only, stays until that succeeds or somebody discards it, and is not there afterwards; and in the end every message that was
//! handed over is one of these.
//!
//! Where such messages fail their stream, the operator has it resumed when a handler that failed hears nothing (X42).

use std::collections::BTreeMap;

use wattle_core::flow::{FlowChange, FlowWish, Which};
use wattle_core::id::{RequestId, Sequence};
use wattle_core::node::command::{Command, Refusal, Reply};
use wattle_core::node::output::Delivered;
use wattle_core::parked::{LISTED_MAX, ParkedCommand, ParkedMessage, ParkedReply};

use crate::checker::{Checked, ensure};
use crate::content;
use crate::event::{MILLI, SECOND, Time};
use crate::plan::PoisonPlan;
use crate::random::{Draws, Purpose};

/// An answer that did not come in that time comes no more: whoever asked does something else.
const PATIENCE: Time = 4 * SECOND;

/// Messages of a writer behind that one are processed: what is parked fits into one list.
const CHOSEN_UPTO: u64 = 80;

/// A message that the handler fails at.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    /// Failures that reached the node.
    failures: u32,
    /// How often the handler was told to try again.
    again: u32,
    /// The handler processed it in its place.
    processed: bool,
    /// It is parked: the handler was told to go on behind it, or a list had it.
    parked: bool,
    /// It was retried well, or discarded, and a node said so.
    gone: bool,
    /// It was asked for, and the answer was lost.
    perhaps_gone: bool,
    /// And the node may still be about to do it.
    perhaps_going: bool,
}

impl Known {
    fn must_be_listed(&self) -> bool {
        self.parked && !self.gone && !self.perhaps_gone
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    List,
    Retry(u64),
    Discard(u64),
    Resume,
}

/// What is known of them, and the operator.
#[derive(Debug)]
pub(crate) struct Warden {
    plan: PoisonPlan,
    stream: String,
    /// In a stream that fails: the handler failed at that message, and was told nothing since.
    stuck: Option<u64>,
    /// The handler's number, and its stream's.
    number: usize,
    index: usize,
    /// The disk of the target has room whatever happens.
    roomy: bool,
    known: BTreeMap<u64, Known>,
    /// Up to here everything is dealt with: the handler processed it, was told to go on behind it, or was attached there.
    behind: u64,
    asked: Option<(RequestId, Wish, Time)>,
    next_at: Time,
    ordinal: u64,
    /// Nothing happened since the last list was asked for.
    settled: bool,
    /// And everything that was handed over was dealt with then.
    closed: bool,
}

impl Warden {
    pub(crate) fn new((plan, stream): (&PoisonPlan, &str), number: usize, index: usize, roomy: bool) -> Self {
        Self {
            plan: plan.clone(),
            stream: stream.into(),
            stuck: None,
            number,
            index,
            roomy,
            known: BTreeMap::new(),
            behind: 0,
            asked: None,
            next_at: 0,
            ordinal: 0,
            settled: false,
            closed: false,
        }
    }

    fn stirs(&mut self) {
        (self.settled, self.closed) = (false, false);
    }

    fn draws(&mut self, seed: u64) -> Draws {
        self.ordinal += 1;
        Draws::new(seed, Purpose::Poison, self.number as u64 + 1, self.ordinal)
    }

    /// Whether a message is one of those: always the same ones, and none in pieces.
    fn chosen(&self, seed: u64, message: &Delivered) -> bool {
        let Some(name) = content::read(&message.bytes).filter(|name| name.number <= CHOSEN_UPTO) else {
            return false;
        };
        let who = 1 << 40 | (name.stream as u64) << 20 | name.writer as u64;
        Draws::new(seed, Purpose::Poison, who, name.number).one_in(self.plan.bad_one_in)
    }

    /// A message is handed over in its place.
    ///
    /// # Errors
    /// X33.
    pub(crate) fn handed(&mut self, seed: u64, message: &Delivered, whole: bool) -> Checked {
        let (index, sequence) = (self.index, message.sequence.0);
        if !whole || !self.chosen(seed, message) {
            return Ok(());
        }
        self.stirs();
        self.stuck.take_if(|stuck| *stuck == sequence);
        let known = self.known.entry(sequence).or_default();
        ensure!(
            !known.parked,
            "X33",
            "stream {index}: {sequence} is parked, and handed over in its place again"
        );
        Ok(())
    }

    /// A message is handed over again, as an operator asked for. Whether the handler processes it.
    ///
    /// # Errors
    /// X33.
    pub(crate) fn tried_again(&mut self, now: Time, sequence: u64) -> Result<bool, crate::checker::Failure> {
        let index = self.index;
        let known = self.known.get(&sequence).copied().unwrap_or_default();
        let asked = self.asked.is_some_and(|(_, wish, _)| wish == Wish::Retry(sequence));
        ensure!(
            !known.processed && !known.gone && (asked || known.perhaps_gone),
            "X33",
            "stream {index}: {sequence} is handed over as a parked message, and nobody asked for that: {known:?}"
        );
        Ok(!self.fails(now, sequence))
    }

    /// Whether the handler fails at a message now.
    pub(crate) fn fails(&self, now: Time, sequence: u64) -> bool {
        self.known.contains_key(&sequence) && (self.plan.cured_at == 0 || now < self.plan.cured_at)
    }

    /// A failure reaches the node. Whether it may park the message from now on.
    pub(crate) fn failed(&mut self, sequence: u64) -> bool {
        let known = self.known.entry(sequence).or_default();
        known.failures += 1;
        if self.plan.fails {
            self.stuck = Some(sequence);
            return false;
        }
        known.failures >= self.plan.attempts
    }

    /// The handler is attached behind that message, or goes on there.
    pub(crate) fn goes_on_behind(&mut self, sequence: u64) {
        self.behind = self.behind.max(sequence);
        self.stirs();
    }

    /// The handler processes messages in their places.
    ///
    /// # Errors
    /// X33.
    pub(crate) fn processes(&mut self, sequence: u64) -> Checked {
        self.goes_on_behind(sequence);
        self.stuck.take_if(|stuck| *stuck <= sequence);
        let Some(known) = self.known.get_mut(&sequence) else { return Ok(()) };
        ensure!(
            !known.parked,
            "X33",
            "stream {}: {sequence} is parked, and processed in its place",
            self.index
        );
        known.processed = true;
        Ok(())
    }

    /// The handler is told what to do about a message that it failed at.
    ///
    /// # Errors
    /// X33.
    pub(crate) fn told(&mut self, sequence: u64, passed: bool) -> Checked {
        let (index, attempts) = (self.index, self.plan.attempts);
        self.stirs();
        if self.plan.fails {
            self.stuck = None;
            ensure!(
                !passed,
                "X42",
                "stream {index}: the handler is to go on behind {sequence}, which it did not process"
            );
            return Ok(());
        }
        let known = self.known.entry(sequence).or_default();
        if !passed {
            known.again += 1;
            ensure!(
                known.again < attempts || !self.roomy,
                "X33",
                "stream {index}: {sequence} is to be tried for the {}th time, and is to be parked after {attempts} attempts",
                known.again + 1
            );
            return Ok(());
        }
        ensure!(
            known.failures >= attempts && !known.processed,
            "X33",
            "stream {index}: {sequence} is parked after {} attempts, and is to be after {attempts}: {known:?}",
            known.failures
        );
        known.parked = true;
        self.goes_on_behind(sequence);
        Ok(())
    }

    /// When the operator does something next.
    pub(crate) fn next_at(&self) -> Time {
        self.asked.map_or(self.next_at, |(_, _, until)| until)
    }

    /// What the operator wants, if anything. `request` names it.
    pub(crate) fn wants(
        &mut self,
        now: Time,
        seed: u64,
        healed: bool,
        request: RequestId,
    ) -> Option<Command> {
        if let Some((_, wish, until)) = self.asked {
            if now < until {
                return None;
            }
            self.gives_up(wish);
            if let Wish::Retry(sequence) | Wish::Discard(sequence) = wish {
                self.known.entry(sequence).or_default().perhaps_going = true;
            }
        }
        if now < self.next_at {
            return None;
        }
        let mut draws = self.draws(seed);
        let pause = if healed { (100 * MILLI, 400 * MILLI) } else { (100 * MILLI, 2 * SECOND) };
        self.next_at = now + draws.between(pause.0, pause.1);
        if self.plan.fails {
            self.stuck.filter(|_| draws.percent(40))?;
            self.asked = Some((request, Wish::Resume, now + PATIENCE));
            let which = Which::Stream(self.stream.clone());
            return Some(Command::ChangeFlow(FlowWish { which, change: FlowChange::Resume }));
        }
        let there: Vec<u64> = self
            .known
            .iter()
            .filter(|(_, known)| known.must_be_listed())
            .map(|(sequence, _)| *sequence)
            .collect();
        let wish = match draws.below(10) {
            0 | 1 if !there.is_empty() && !healed => Wish::Discard(draws.pick(&there)),
            2..=5 if !there.is_empty() && !healed => Wish::Retry(draws.pick(&there)),
            _ => Wish::List,
        };
        self.asked = Some((request, wish, now + PATIENCE));
        let command = match wish {
            Wish::Resume => return None,
            Wish::List => {
                self.settled = true;
                ParkedCommand::List { after: Sequence(0), most: LISTED_MAX }
            }
            Wish::Retry(sequence) => ParkedCommand::Retry(Sequence(sequence)),
            Wish::Discard(sequence) => {
                ParkedCommand::Discard { sequence: Sequence(sequence), reason: "it is in the way".into() }
            }
        };
        Some(Command::Parked { stream: self.stream.clone(), command })
    }

    fn gives_up(&mut self, wish: Wish) {
        self.asked = None;
        self.stirs();
        if let Wish::Retry(sequence) | Wish::Discard(sequence) = wish {
            self.known.entry(sequence).or_default().perhaps_gone = true;
        }
    }

    /// The node went down, or did not get that request.
    pub(crate) fn lost(&mut self, request: Option<RequestId>) {
        if request.is_none() {
            self.stirs();
            self.known.values_mut().for_each(|known| known.perhaps_going = false);
        }
        if let Some((asked, wish, _)) = self.asked
            && request.is_none_or(|request| request == asked)
        {
            self.gives_up(wish);
        }
    }

    /// A node answers; `done` tells that whatever was handed over was processed, or may be parked. Whether that was an answer to the operator.
    ///
    /// # Errors
    /// X33.
    pub(crate) fn reply(
        &mut self,
        request: RequestId,
        reply: &Result<Reply, Refusal>,
        done: bool,
    ) -> Result<bool, crate::checker::Failure> {
        let Some((_, wish, _)) = self.asked.filter(|(asked, ..)| *asked == request) else { return Ok(false) };
        self.asked = None;
        match (wish, reply) {
            (Wish::List, Ok(Reply::Parked(ParkedReply::List { parked, more: false }))) => {
                self.listed(parked, done)?
            }
            (Wish::Retry(sequence), Ok(Reply::Parked(ParkedReply::Handled)))
            | (Wish::Discard(sequence), Ok(Reply::Parked(ParkedReply::Discarded))) => {
                let known = self.known.entry(sequence).or_default();
                (known.gone, known.perhaps_gone) = (true, false);
                self.stirs();
            }
            (Wish::Retry(_), Ok(Reply::Parked(ParkedReply::FailedAgain { .. }))) => {}
            // It was processed, and whoever was to say so is gone.
            (wish, Err(_)) => self.gives_up(wish),
            (wish, other) => {
                let message = format!("stream {}: {wish:?} is answered by {other:?}", self.index);
                return Err(crate::checker::Failure::new("X33", message));
            }
        }
        Ok(true)
    }

    /// Whether that answers who asked for the stream to be resumed, and how often it was by then.
    pub(crate) fn resumed(
        &mut self,
        request: RequestId,
        reply: &Result<Reply, Refusal>,
    ) -> Option<Option<u64>> {
        self.asked.take_if(|(asked, wish, _)| *asked == request && *wish == Wish::Resume)?;
        Some(if let Ok(Reply::Flow(told)) = reply { Some(told.resumed) } else { None })
    }

    /// After how many attempts a message fails its stream, if one does.
    pub(crate) fn fails_after(&self) -> Option<u32> {
        self.plan.fails.then_some(self.plan.attempts)
    }

    fn listed(&mut self, parked: &[ParkedMessage], done: bool) -> Checked {
        let (index, attempts) = (self.index, self.plan.attempts);
        let listed: BTreeMap<u64, &ParkedMessage> =
            parked.iter().map(|message| (message.sequence.0, message)).collect();
        for (sequence, message) in &listed {
            let known = self.known.get(sequence).copied().unwrap_or_default();
            ensure!(
                known.failures >= attempts && !known.processed && !known.gone,
                "X33",
                "stream {index}: {sequence} is parked, after {} of {attempts} attempts: {known:?}",
                known.failures
            );
            ensure!(
                message.attempts >= attempts,
                "X33",
                "stream {index}: {sequence} is parked, and told to have failed {} times, not {attempts}",
                message.attempts
            );
        }
        let mut dealt_with = done;
        for (sequence, known) in &mut self.known {
            let there = listed.contains_key(sequence);
            ensure!(
                there || !known.must_be_listed(),
                "X33",
                "stream {index}: {sequence} was parked, and is not there any more: {known:?}"
            );
            if known.perhaps_gone && !(there && known.perhaps_going) {
                (known.gone, known.perhaps_gone, known.perhaps_going) = (!there, false, false);
            }
            known.parked |= there;
            let neither = !known.processed && !known.parked && !known.gone;
            dealt_with &= !neither;
            ensure!(
                !neither || !self.settled || *sequence > self.behind,
                "X33",
                "stream {index}: {sequence} was neither processed nor parked: {known:?}"
            );
        }
        self.closed = dealt_with && self.settled;
        Ok(())
    }

    /// What is left to look at, in words.
    pub(crate) fn owed(&self) -> Option<String> {
        (!self.closed && !self.plan.fails)
            .then(|| format!("stream {}: what is parked is to be looked at", self.index))
    }
}
