//! A message that the handler fails at (S27, S29): how often that was, and the parking of it where the stream's policy says so.
//!
//! The message behind the last one processed is the only one that can fail. Its attempts are counted here, and written down, so that neither another handler nor a
//! start begins the count anew; who failed is told to try again when that is durable. After as many as the policy says it is parked: a record takes over its bytes, and the mark moves past it in the same
//! step. Whoever handles is told only when that is durable: were it told before, a handler that keeps its position could move it past a message of which a crash then leaves
//! neither the one nor the other.
//!
//! Where the policy says that the stream fails, the message stays where it is, and whoever failed is told nothing until the stream is resumed (see `failed`).
//!
//! What was parked counts as processed. So a handler that keeps its position stands behind the mark without having replayed anything to come: who stands in front of
//! messages of which none was processed stands at the mark (`passed`), and what is parked is handed to nobody who replays.

use alloc::boxed::Box;
use alloc::string::String;

use super::super::common::Common;
use super::super::member::Stream;
use super::super::parts::Run;
use super::super::store::{forget, key, parked_key, space};
use super::super::{Output, Receipt};
use super::parked::{Row, encode_failing, encode_parked};
use crate::ends::Poison;
use crate::id::{AttachToken, MessageId, Sequence, WriterId, WriterSequence};
use crate::node::command::Reply;
use crate::parked::{Failing, NotParked, ParkedMessage, REASON_BYTES};
use crate::planted::Bug;
use crate::rare;
use crate::record::Record;
use crate::text::cut;
use crate::time::{Now, Wall};

/// The message that the handler fails at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::stream) struct Failure {
    pub(super) sequence: Sequence,
    /// Another message may come to stand there.
    pub(super) id: MessageId,
    pub(super) attempts: u32,
    pub(super) reason: String,
    pub(super) since: Wall,
    /// How often the stream had been resumed when these attempts began.
    pub(super) resumed: u64,
    /// The last of them is on disk.
    pub(super) durable: bool,
    /// It is to be parked as soon as its bytes are at hand, or to be tried again when the stream is resumed, if this handler is still there.
    pub(super) parking: Option<AttachToken>,
}

/// The message behind the last one that was processed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) sequence: Sequence,
    pub(super) id: MessageId,
    writer: WriterId,
    writer_sequence: WriterSequence,
    in_pieces: bool,
    /// Where its bytes are, if it is not in pieces.
    slot: u64,
    offset: usize,
    length: usize,
}

impl Stream {
    /// The handler failed at a message.
    pub(in crate::stream) fn failed(
        &mut self,
        common: &mut Common,
        now: Now,
        token: AttachToken,
        sequence: Sequence,
        reason: String,
    ) {
        let reason = cut(reason, REASON_BYTES);
        if self.retry_failed(common, token, sequence, &reason) {
            return;
        }
        let Some(handler) = self.target.handler.as_ref().filter(|handler| handler.token == token) else {
            return;
        };
        let (request, done) = (handler.request, handler.done);
        let handed =
            |head: &Head| handler.handed >= sequence || head.in_pieces && handler.hands.inside.is_some();
        let head = self.head_behind(done).filter(|head| head.sequence == sequence && handed(head));
        let Some(head) = head else {
            // It is known by the word of others that it was processed, or nobody was handed it.
            rare!(FailureOutOfPlace);
            return common.reply(request, Ok(Reply::Failed { token, sequence, passed: sequence <= done }));
        };
        let troubles = self.target.troubles.get_or_insert_default();
        let before =
            troubles.failing.take().filter(|before| before.sequence == sequence && before.id == head.id);
        rare!(FailedAgain, before.is_some());
        let resumed = common.flow.resumed.get(&self.instance).copied().unwrap_or_default();
        let fresh = Failure {
            sequence,
            id: head.id,
            attempts: 1,
            reason,
            since: now.wall,
            resumed,
            durable: false,
            parking: None,
        };
        let failure = match before {
            // Whoever failed so often was not told to try again: it counts no more.
            Some(before) if self.fails_stream(common, &before) => {
                self.keep_failure(Failure { parking: Some(token), ..before });
                return self.pump_target(common, now);
            }
            Some(before) if before.resumed < resumed && self.may_fail() => {
                Failure { since: before.since, ..fresh }
            }
            Some(before) => {
                let (attempts, reason) = (before.attempts.saturating_add(1), fresh.reason);
                Failure { attempts, reason, durable: false, ..before }
            }
            None => fresh,
        };
        let record = Record::state(key(self.instance, space::FAILING, 0), encode_failing(&failure));
        common.emit(Output::Persist(record));
        let exhausted = self.fails_stream(common, &failure);
        self.keep_failure(Failure { parking: Some(token), ..failure });
        if exhausted {
            rare!(StreamToFail);
            common.notify(Receipt::Exhausted { instance: self.instance, sequence });
        }
        self.pump_target(common, now);
    }

    /// Parks what is to be parked, or says that the handler is to try again; later, if bytes are to be loaded before.
    pub(super) fn settle_failing(&mut self, common: &mut Common, now: Now) {
        self.pass_failing(common);
        let Some(token) =
            self.target.troubles.as_ref().and_then(|troubles| troubles.failing.as_ref()?.parking)
        else {
            return;
        };
        let handler = self.target.handler.as_ref().filter(|handler| handler.token == token);
        let Some(done) = handler.map(|handler| handler.done) else { return self.stop_parking() };
        let Some(failure) = self.failing().cloned() else { return };
        let head = self.head_behind(done).filter(|head| head.sequence == failure.sequence);
        let Some(head) = head else { return self.try_again(common, token, failure.sequence) };
        if self.fails_stream(common, &failure) {
            return;
        }
        if !self.is_to_be_parked(&failure) || self.held_up(common, &head).is_some() {
            rare!(FailingHeldUp, self.is_to_be_parked(&failure));
            return self.try_again(common, token, failure.sequence);
        }
        let Some(payload) = self.payload(common, head.slot) else { return };
        let Some(bytes) = payload.slice(head.offset, head.length) else { return };
        self.park(common, now, (token, head, failure), bytes);
    }

    /// The handler is to try again, once it is durable that it failed.
    fn try_again(&mut self, common: &mut Common, token: AttachToken, sequence: Sequence) {
        self.stop_parking();
        common.notify(Receipt::Failed { instance: self.instance, token, sequence });
    }

    /// That the handler failed is written down: it is to try again.
    pub(in crate::stream) fn failed_durable(
        &mut self,
        common: &mut Common,
        token: AttachToken,
        sequence: Sequence,
    ) {
        if let Some(handler) = self.target.handler.as_ref().filter(|handler| handler.token == token) {
            common.reply(handler.request, Ok(Reply::Failed { token, sequence, passed: false }));
        }
    }

    fn stop_parking(&mut self) {
        if let Some(failing) = self.target.troubles.as_mut().and_then(|troubles| troubles.failing.as_mut()) {
            failing.parking = None;
        }
    }

    /// The record and the mark are one write (S27).
    fn park(
        &mut self,
        common: &mut Common,
        now: Now,
        (token, head, failure): (AttachToken, Head, Failure),
        bytes: bytes::Bytes,
    ) {
        self.stop_parking();
        let Head { sequence, id, writer, writer_sequence, .. } = head;
        let Failure { attempts, reason, since, .. } = failure;
        let (authority, parked) = (self.authority(), now.wall);
        let (high, low) = (common.rng.u64(), common.rng.u64());
        let row = Row {
            key: u128::from(high) << 64 | u128::from(low),
            message: ParkedMessage {
                sequence,
                authority,
                id,
                writer,
                writer_sequence,
                bytes: bytes.len() as u64,
                attempts,
                reason,
                since,
                parked,
            },
        };
        rare!(MessageParked);
        let record = Record {
            key: parked_key(row.key),
            last_slot: 0,
            head: encode_parked(self.instance, &row.message),
            payload: bytes.into(),
        };
        if !common.planted.strikes(Bug::MarkWithoutParked, || true) {
            common.emit(Output::Persist(record));
        }
        let instance = self.instance;
        let troubles = self.target.troubles.get_or_insert_default();
        assert!(
            !troubles.rows.contains_key(&sequence),
            "S27: message {sequence} of {instance} is parked twice"
        );
        troubles.insert(row);
        if let Some(handler) = &mut self.target.handler {
            handler.done = sequence;
            handler.handed = handler.handed.max(sequence);
            handler.replaying &= sequence < self.target.mark;
        }
        if sequence <= self.target.mark {
            rare!(ParkedInAReplay);
            self.checkpoint_soon(common, now);
        }
        // Before the mark is durable, which lets the handler have more: it is told in the order of what it was handed.
        if common.planted.strikes(Bug::ParkedToldBeforeDurable, || true) {
            self.parked_durable(common, token, sequence);
        } else {
            common.notify(Receipt::Parked { instance, token, sequence });
        }
        if sequence > self.target.mark && !common.planted.strikes(Bug::ParkedWithoutMark, || true) {
            self.pass_mark(common, sequence);
        }
        self.pass_failing(common);
    }

    /// What failed is not the next message any more: nothing is counted of it.
    fn pass_failing(&mut self, common: &mut Common) {
        let done = self.done();
        let Some(troubles) = &mut self.target.troubles else { return };
        let Some(failure) = troubles.failing.take_if(|failing| failing.sequence <= done) else { return };
        common.emit(Output::Forget(forget(self.instance, space::FAILING, u64::MAX)));
        let waits = |token: AttachToken| failure.parking == Some(token);
        if let Some(handler) = self.target.handler.as_ref().filter(|handler| waits(handler.token)) {
            // It is known by the word of others that it was processed.
            let (token, sequence) = (handler.token, failure.sequence);
            common.reply(handler.request, Ok(Reply::Failed { token, sequence, passed: true }));
        }
    }

    pub(super) fn failing(&self) -> Option<&Failure> {
        self.target.troubles.as_ref()?.failing.as_ref()
    }

    fn keep_failure(&mut self, failure: Failure) {
        self.target.troubles.get_or_insert_default().failing = Some(failure);
    }

    /// Whether a message failed as often as the policy bears (S29).
    fn is_to_be_parked(&self, failure: &Failure) -> bool {
        match self.ends.poison {
            Poison::Block | Poison::Fail { .. } => false,
            Poison::Park { attempts } => failure.attempts >= attempts,
        }
    }

    /// Why a message cannot be parked now.
    fn held_up(&self, common: &Common, head: &Head) -> Option<NotParked> {
        let (rows, bytes) = self.target.troubles.as_ref().map_or((0, 0), |troubles| troubles.count());
        let more = head.length as u64;
        let checks = [
            (head.in_pieces, NotParked::InPieces),
            (rows >= common.config.parked_messages, NotParked::TooMany(rows)),
            (bytes + more > common.config.parked_bytes, NotParked::TooLarge(bytes)),
            (!common.has_space_for(more), NotParked::NoSpace),
        ];
        checks.into_iter().find(|(holds, _)| *holds).map(|(_, why)| why)
    }

    /// The message that the handler fails at, for people.
    pub(in crate::stream) fn failing_status(&self, common: &Common) -> Option<Failing> {
        let failure = self.failing()?;
        let done = self.done();
        let head = self.head_behind(done).filter(|_| self.is_to_be_parked(failure));
        let Failure { sequence, attempts, since, .. } = *failure;
        let held_up = head.and_then(|head| self.held_up(common, &head));
        Some(Failing { sequence, attempts, reason: failure.reason.clone(), since, held_up })
    }

    /// The message that a handler is to process who is done with that one.
    pub(super) fn head_behind(&self, done: Sequence) -> Option<Head> {
        let mut next = done.next();
        loop {
            let slot = self.store.holding(next)?;
            if self.is_parked(next) {
                next = next.next();
                continue;
            }
            let kept = self.store.get(slot)?;
            let (sequence, in_pieces) = match kept.batch.part {
                None => (next, false),
                Some(_) => match self.run_from(next, self.head.taken) {
                    Run::Whole(last) => (last, true),
                    Run::Coming => return None,
                    Run::Broken(behind) => {
                        next = behind;
                        continue;
                    }
                },
            };
            let at = kept.batch.messages().nth((next.0 - kept.first.0) as usize)?;
            let (id, writer, writer_sequence) = (at.id, at.writer, at.writer_sequence);
            let (offset, length) = (at.offset, at.length);
            return Some(Head { sequence, id, writer, writer_sequence, in_pieces, slot, offset, length });
        }
    }

    /// Where somebody stands who processed all up to that message: at the mark, if nothing between was processed by anybody, and past what is parked.
    pub(in crate::stream) fn past(&self, position: Sequence) -> Sequence {
        let mut at = self.past_dead_tail(position);
        let Some(troubles) = &self.target.troubles else { return at };
        let mark = self.target.mark;
        if at < mark && mark.0 - at.0 <= troubles.passed {
            at = mark;
        }
        while troubles.rows.contains_key(&at.next()) {
            at = at.next();
        }
        self.past_dead_tail(at)
    }

    /// What is parked is handed to nobody who replays.
    pub(super) fn skip_parked(&mut self, common: &Common, now: Now, next: Sequence) -> bool {
        if !self.is_parked(next) || common.planted.strikes(Bug::ParkedHandedAgain, || true) {
            return false;
        }
        rare!(ParkedPassedOver);
        if let Some(handler) = &mut self.target.handler {
            handler.handed = next;
        }
        self.pass_parked(common, now);
        true
    }

    /// Who is done with all in front of what is parked, and was handed what is behind it if there is any, is done with that, too.
    pub(super) fn pass_parked(&mut self, common: &Common, now: Now) {
        let Some(done) = self.target.handler.as_ref().map(|handler| handler.done) else { return };
        let (past, mark) = (self.past(done), self.target.mark);
        if let Some(handler) = self.target.handler.as_mut().filter(|_| past > done) {
            handler.done = past.min(handler.handed).max(done);
            handler.replaying &= handler.done < mark;
            self.checkpoint_soon(common, now);
        }
    }

    /// The mark moves past what nobody processed.
    pub(super) fn pass_mark(&mut self, common: &mut Common, upto: Sequence) {
        let more = upto.0 - self.target.mark.0;
        let passed = more + self.target.troubles.as_ref().map_or(0, |troubles| troubles.passed);
        self.write_mark(common, upto, passed);
    }

    pub(in crate::stream) fn check_troubles(&self) {
        let (instance, mark) = (self.instance, self.target.mark);
        let Some(troubles) = self.target.troubles.as_deref() else { return };
        if let Some((last, _)) = troubles.rows.last_key_value() {
            assert!(*last <= mark, "S27: message {last} of {instance} is parked, and the mark is {mark}");
        }
        assert!(troubles.passed <= mark.0, "S27: {instance} passed over more than there is");
        let bytes: u64 = troubles.rows.values().map(|row| row.message.bytes).sum();
        assert_eq!(bytes, troubles.count().1, "S27: the bytes that {instance} has parked are miscounted");
        let (attempts, _) = self.ends.poison.parts();
        for row in troubles.rows.values().map(|row| &row.message) {
            let (sequence, failed) = (row.sequence, row.attempts);
            assert!(
                attempts > 0 && failed >= attempts,
                "S29: message {sequence} of {instance} is parked after {failed} attempts, not {attempts}"
            );
        }
    }
}

/// What a target's handler failed at.
#[derive(Clone, Debug, Default)]
pub(in crate::stream) struct Troubles {
    pub(in crate::stream) failing: Option<Failure>,
    /// What is parked.
    pub(super) rows: alloc::collections::BTreeMap<Sequence, Row>,
    bytes: u64,
    /// So many sequences in front of the mark, up to it, were passed over: nothing of them was processed.
    pub(super) passed: u64,
    pub(super) retrying: Option<Box<super::parked::Retrying>>,
}

impl Troubles {
    /// How many messages are parked, and their bytes.
    pub(in crate::stream) fn count(&self) -> (u64, u64) {
        (self.rows.len() as u64, self.bytes)
    }

    /// Gives back what was parked there before.
    pub(super) fn insert(&mut self, row: Row) -> Option<Row> {
        self.bytes += row.message.bytes;
        let before = self.rows.insert(row.message.sequence, row)?;
        self.bytes -= before.message.bytes;
        Some(before)
    }

    pub(super) fn remove(&mut self, sequence: Sequence) -> Option<Row> {
        let row = self.rows.remove(&sequence)?;
        self.bytes -= row.message.bytes;
        Some(row)
    }
}
