//! What was parked at a target: kept, listed, shown, handed over again outside of the position, and discarded.
//!
//! Each lies in a record of its own, under an id of its own, so that they go in any order. Whatever dies of the journal may come back at a start for as long as its
//! rows are there; so who goes is first written to be gone, over the record, and that is forgotten once it is durable.

use alloc::boxed::Box;
use alloc::string::String;

use bytes::Bytes;
use prost::Message as _;
use wattle_proto::stream as proto;

use super::super::common::{Common, Load};
use super::super::member::{Part, Stream};
use super::super::message::Malformed;
use super::super::store::{forget_parked, parked_key};
use super::super::wire::{Decoded, id_bytes, number, sequence, writer};
use super::super::{Output, Receipt};
use super::failing::Failure;
use crate::id::{
    AttachToken, AuthorityEpoch, MessageId, RequestId, Sequence, StreamInstance, WriterSequence,
};
use crate::node::command::{Refusal, Reply};
use crate::node::output::{Delivered, Delivery, Event};
use crate::parked::{LISTED_MAX, ParkedCommand, ParkedMessage, ParkedRefusal, ParkedReply, REASON_BYTES};
use crate::payload::Payload;
use crate::planted::Bug;
use crate::rare;
use crate::record::Record;
use crate::text::cut;
use crate::time::{Now, Wall};

/// A message that was parked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::stream) struct Row {
    /// The id of its record.
    pub(super) key: u128,
    pub(super) message: ParkedMessage,
}

/// A parked message that is handed over again.
#[derive(Clone, Debug)]
pub(in crate::stream) struct Retrying {
    sequence: Sequence,
    /// To this handler.
    token: AttachToken,
    /// Who asked for it and waits, if anybody still does.
    request: Option<RequestId>,
    /// Once it was handed over: its bytes.
    payload: Option<Bytes>,
}

impl Stream {
    /// Whether a message is parked here.
    pub(in crate::stream) fn is_parked(&self, sequence: Sequence) -> bool {
        self.target.troubles.as_ref().is_some_and(|troubles| troubles.rows.contains_key(&sequence))
    }

    /// How many messages are parked here.
    pub(in crate::stream) fn parked(&self) -> u64 {
        self.target.troubles.as_ref().map_or(0, |troubles| troubles.count().0)
    }

    /// An operator asks about what is parked. What needs no handler is done where the stream stopped, too.
    pub(in crate::stream) fn parked_command(
        &mut self,
        common: &mut Common,
        request: RequestId,
        command: ParkedCommand,
    ) {
        let refusal = match command {
            ParkedCommand::List { after, most } => {
                // A crash must not undo what somebody was told to be parked, or to be so no more.
                return common.notify(Receipt::Told { request, reply: self.list_parked(after, most) });
            }
            ParkedCommand::Show(sequence) => self.show_parked(common, request, sequence).err(),
            ParkedCommand::Retry(sequence) => self.retry(common, request, sequence).err(),
            ParkedCommand::Discard { sequence, reason } => {
                self.discard_parked(common, request, sequence, cut(reason, REASON_BYTES)).err()
            }
        };
        if let Some(refusal) = refusal {
            common.reply(request, Err(refusal));
        }
    }

    fn list_parked(&self, after: Sequence, most: u32) -> ParkedReply {
        let rows = self.target.troubles.iter().flat_map(|troubles| troubles.rows.range(after.next()..));
        let mut rows = rows.map(|(_, row)| row.message.clone());
        let parked = rows.by_ref().take(most.min(LISTED_MAX) as usize).collect();
        ParkedReply::List { parked, more: rows.next().is_some() }
    }

    fn row(&self, sequence: Sequence) -> Result<&Row, ParkedRefusal> {
        let row = self.target.troubles.as_ref().and_then(|troubles| troubles.rows.get(&sequence));
        row.ok_or(ParkedRefusal::NotParked(sequence))
    }

    fn show_parked(
        &self,
        common: &mut Common,
        request: RequestId,
        sequence: Sequence,
    ) -> Result<(), Refusal> {
        let key = parked_key(self.row(sequence)?.key);
        common.load(Load::Parked(self.instance, sequence, Some(request)), key);
        Ok(())
    }

    /// One at a time: it is in memory while the handler has it.
    fn retry(&mut self, common: &mut Common, request: RequestId, sequence: Sequence) -> Result<(), Refusal> {
        let key = parked_key(self.row(sequence)?.key);
        if let Some(refusal) = self.stop_refusal() {
            return Err(refusal);
        }
        let Some(token) = self.target.handler.as_ref().map(|handler| handler.token) else {
            return Err(ParkedRefusal::NoHandler(sequence).into());
        };
        let troubles = self.target.troubles.get_or_insert_default();
        if let Some(retrying) = &troubles.retrying {
            return Err(ParkedRefusal::Retrying(retrying.sequence).into());
        }
        rare!(ParkedRetried);
        troubles.retrying =
            Some(Box::new(Retrying { sequence, token, request: Some(request), payload: None }));
        common.load(Load::Parked(self.instance, sequence, None), key);
        Ok(())
    }

    /// The bytes of a parked message are here: for whoever wants to see it, or else for the handler.
    pub(in crate::stream) fn parked_loaded(
        &mut self,
        common: &mut Common,
        sequence: Sequence,
        shown: Option<RequestId>,
        bytes: Option<Bytes>,
    ) {
        let row = self.row(sequence).map(|row| row.message.clone());
        let found = row.and_then(|row| match bytes.filter(|bytes| bytes.len() as u64 == row.bytes) {
            Some(bytes) => Ok((row, bytes)),
            None => Err(ParkedRefusal::Unreadable(sequence)),
        });
        if let Some(request) = shown {
            let shown = found.map(|(message, body)| Reply::Parked(ParkedReply::Shown { message, body }));
            return common.reply(request, shown.map_err(Refusal::from));
        }
        let retrying = self.target.troubles.as_mut().and_then(|troubles| troubles.retrying.as_mut());
        // Bytes may come for a retry before this one, of which nothing is to come any more.
        let waits =
            |retrying: &&mut Box<Retrying>| retrying.sequence == sequence && retrying.payload.is_none();
        let Some(retrying) = retrying.filter(waits) else { return };
        match found {
            Ok((message, bytes)) => {
                retrying.payload = Some(bytes.clone());
                let ParkedMessage { id, writer, writer_sequence, .. } = message;
                let delivered =
                    Delivered { sequence, id, writer, writer_sequence, bytes, piece: None, parked: true };
                let (token, instance) = (retrying.token, self.instance);
                common.emit(Output::Deliver(Delivery { token, instance, messages: [delivered].into() }));
            }
            Err(refusal) => self.end_retry(common, refusal),
        }
    }

    fn take_retry(&mut self) -> Option<Box<Retrying>> {
        self.target.troubles.as_mut()?.retrying.take()
    }

    /// Nothing comes of a retry.
    fn end_retry(&mut self, common: &mut Common, refusal: ParkedRefusal) {
        if let Some(request) = self.take_retry().and_then(|retrying| retrying.request) {
            common.reply(request, Err(refusal.into()));
        }
    }

    /// What is retried, if that handler was handed it.
    fn retried_by(&self, token: AttachToken, sequence: Sequence) -> Option<Retrying> {
        let retrying = self.target.troubles.as_ref()?.retrying.as_deref()?;
        let of_it = retrying.token == token && retrying.sequence == sequence && retrying.payload.is_some();
        of_it.then(|| retrying.clone())
    }

    /// The handler succeeded with a parked message. Its position stays where it is.
    pub(in crate::stream) fn retried(
        &mut self,
        common: &mut Common,
        now: Now,
        token: AttachToken,
        sequence: Sequence,
    ) {
        let Some(retrying) = self.retried_by(token, sequence) else { return rare!(FailureOutOfPlace) };
        self.take_retry();
        rare!(RetriedWell);
        let handed = self.target.handler.as_ref().map_or(self.target.mark, |handler| handler.handed);
        if common.planted.strikes(Bug::RetryMovesPosition, || handed > self.target.mark) {
            self.move_mark(common, handed);
            self.target.handler.iter_mut().for_each(|handler| handler.done = handed);
        }
        self.unpark(common, retrying.request, sequence, None);
        self.pump_target(common, now);
    }

    /// Whether it was a parked message that the handler failed at.
    pub(super) fn retry_failed(
        &mut self,
        common: &mut Common,
        token: AttachToken,
        sequence: Sequence,
        reason: &str,
    ) -> bool {
        let Some(retrying) = self.retried_by(token, sequence) else { return false };
        let instance = self.instance;
        let row = self.target.troubles.as_mut().and_then(|troubles| troubles.rows.get_mut(&sequence));
        let Some((row, payload)) = row.zip(retrying.payload) else { return false };
        rare!(RetryFailed);
        row.message.attempts = row.message.attempts.saturating_add(1);
        row.message.reason = reason.into();
        let attempts = row.message.attempts;
        // The record is one: its bytes are written with it.
        common.emit(Output::Persist(Record {
            key: parked_key(row.key),
            last_slot: 0,
            head: encode_parked(instance, &row.message),
            payload: Payload::from(payload),
        }));
        if let Some(request) = self.take_retry().and_then(|retrying| retrying.request) {
            let reply = ParkedReply::FailedAgain { attempts, reason: reason.into() };
            common.notify(Receipt::Told { request, reply });
        }
        true
    }

    /// Whoever was handed a parked message again is gone: nothing is known of it.
    pub(in crate::stream) fn settle_retry(&mut self, common: &mut Common) {
        let Some(retrying) = self.target.troubles.as_ref().and_then(|troubles| troubles.retrying.as_ref())
        else {
            return;
        };
        let handler = self.target.handler.as_ref().map(|handler| handler.token);
        if handler != Some(retrying.token) {
            rare!(RetryLeft);
            let refusal = ParkedRefusal::HandlerGone(retrying.sequence);
            self.end_retry(common, refusal);
        }
    }

    /// Nobody waits any more for what comes of a retry.
    pub(in crate::stream) fn forget_retry(&mut self, request: RequestId) {
        let retrying = self.target.troubles.as_mut().and_then(|troubles| troubles.retrying.as_mut());
        if let Some(retrying) = retrying {
            retrying.request.take_if(|asked| *asked == request);
        }
    }

    fn discard_parked(
        &mut self,
        common: &mut Common,
        request: RequestId,
        sequence: Sequence,
        reason: String,
    ) -> Result<(), Refusal> {
        self.row(sequence)?;
        let retrying = self.target.troubles.as_ref().and_then(|troubles| troubles.retrying.as_ref());
        if retrying.is_some_and(|retrying| retrying.sequence == sequence) {
            return Err(ParkedRefusal::Retrying(sequence).into());
        }
        rare!(ParkedDiscarded);
        self.unpark(common, Some(request), sequence, Some(reason));
        Ok(())
    }

    /// A message is parked no more.
    fn unpark(
        &mut self,
        common: &mut Common,
        request: Option<RequestId>,
        sequence: Sequence,
        discarded: Option<String>,
    ) {
        let row = self.target.troubles.as_mut().and_then(|troubles| troubles.remove(sequence));
        let Some(row) = row else { return };
        let instance = self.instance;
        common.emit(Output::Persist(Record::state(parked_key(row.key), encode_gone(instance, sequence))));
        common.notify(Receipt::Unparked { instance, key: row.key, request, sequence, discarded });
    }

    /// That a message is parked is durable: the handler may go on behind it.
    pub(in crate::stream) fn parked_durable(
        &mut self,
        common: &mut Common,
        token: AttachToken,
        sequence: Sequence,
    ) {
        if let Some(handler) = self.target.handler.as_ref().filter(|handler| handler.token == token) {
            common.reply(handler.request, Ok(Reply::Failed { token, sequence, passed: true }));
        }
        if let Ok(row) = self.row(sequence) {
            let (stream, attempts, reason) =
                (self.name.clone(), row.message.attempts, row.message.reason.clone());
            common.emit(Output::Event(Event::Parked { stream, sequence, attempts, reason }));
        }
        self.tell_parked(common);
    }

    /// That a message is parked no more is durable.
    pub(in crate::stream) fn unparked_durable(
        &mut self,
        common: &mut Common,
        request: Option<RequestId>,
        sequence: Sequence,
        discarded: Option<String>,
    ) {
        let reply = if discarded.is_some() { ParkedReply::Discarded } else { ParkedReply::Handled };
        if let Some(request) = request {
            common.reply(request, Ok(Reply::Parked(reply)));
        }
        let stream = self.name.clone();
        common.emit(Output::Event(Event::Unparked { stream, sequence, discarded }));
        self.tell_parked(common);
    }

    /// The source shows how many are parked.
    fn tell_parked(&mut self, common: &mut Common) {
        if self.part == Part::Target && self.stopped.is_none() && !self.sourceless() {
            self.tell_standing(common, self.ends.source, false, 0);
        }
    }

    /// Takes back the record of a parked message. `Some`: it is of no use.
    pub(in crate::stream) fn restore_parked(&mut self, row: Row) -> Option<u128> {
        self.target.troubles.get_or_insert_default().insert(row).map(|before| before.key)
    }

    pub(in crate::stream) fn restore_failing(&mut self, failure: Failure) {
        self.target.troubles.get_or_insert_default().failing = Some(failure);
    }

    pub(in crate::stream) fn restore_passed(&mut self, passed: u64) {
        if passed > 0 {
            self.target.troubles.get_or_insert_default().passed = passed;
        }
    }

    /// Lets go of all that is parked, with the stream.
    pub(in crate::stream) fn drop_parked(&mut self, common: &mut Common) {
        let Some(troubles) = self.target.troubles.take() else { return };
        let count = troubles.count().0;
        if let Some(request) = troubles.retrying.as_ref().and_then(|retrying| retrying.request) {
            common.reply(request, Err(Refusal::StreamClosed));
        }
        for row in troubles.rows.values() {
            common.emit(Output::Forget(forget_parked(row.key)));
        }
        if count > 0 && self.part != Part::Unknown {
            rare!(ParkedDropped);
            common.emit(Output::Event(Event::ParkedDropped { stream: self.name.clone(), count }));
        }
    }

    /// The floor passed what is parked.
    pub(in crate::stream) fn parked_released(&mut self, common: &mut Common) {
        let (floor, first) = (self.floor.taken, self.target.troubles.as_ref());
        let first = first.and_then(|troubles| troubles.rows.first_key_value()).map(|(sequence, _)| *sequence);
        if let Some(sequence) = first.filter(|sequence| *sequence <= floor)
            && common.planted.strikes(Bug::ParkedLostWithRelease, || true)
            && let Some(row) = self.target.troubles.as_mut().and_then(|troubles| troubles.remove(sequence))
        {
            common.emit(Output::Forget(forget_parked(row.key)));
        }
    }
}

pub(super) fn encode_parked(instance: StreamInstance, message: &ParkedMessage) -> Bytes {
    let head = proto::ParkedHead {
        instance: id_bytes(instance.to_bytes()),
        sequence: message.sequence.0,
        gone: false,
        authority: message.authority.0,
        id: id_bytes(message.id.to_bytes()),
        writer: id_bytes(message.writer.to_bytes()),
        number: message.writer_sequence.0,
        attempts: message.attempts,
        reason: message.reason.clone(),
        since: message.since.0,
        parked: message.parked.0,
    };
    head.encode_to_vec().into()
}

fn encode_gone(instance: StreamInstance, sequence: Sequence) -> Bytes {
    let instance = id_bytes(instance.to_bytes());
    proto::ParkedHead { instance, sequence: sequence.0, gone: true, ..Default::default() }
        .encode_to_vec()
        .into()
}

/// Of which stream, and the message; `None` if it is gone.
pub(in crate::stream) fn decode_parked(
    key: u128,
    head: &[u8],
    payload_len: usize,
) -> Decoded<(StreamInstance, Option<Row>)> {
    let head = proto::ParkedHead::decode(head).map_err(|_| Malformed("not the head of a parked message"))?;
    let instance = StreamInstance::from_slice(&head.instance).ok_or(Malformed("no stream instance"))?;
    if head.gone {
        return Ok((instance, None));
    }
    let message = ParkedMessage {
        sequence: sequence(head.sequence)?,
        authority: AuthorityEpoch(number(head.authority)?),
        id: MessageId::from_slice(&head.id).ok_or(Malformed("a message id is not 16 bytes"))?,
        writer: writer(&head.writer)?,
        writer_sequence: WriterSequence(number(head.number)?),
        bytes: payload_len as u64,
        attempts: head.attempts,
        reason: cut(head.reason, REASON_BYTES),
        since: Wall(head.since),
        parked: Wall(head.parked),
    };
    Ok((instance, Some(Row { key, message })))
}

pub(super) fn encode_failing(failure: &Failure) -> Bytes {
    let Failure { sequence, id, attempts, since, resumed, .. } = *failure;
    let (id, reason) = (id_bytes(id.to_bytes()), failure.reason.clone());
    let head = proto::FailingHead { sequence: sequence.0, id, attempts, reason, since: since.0, resumed };
    head.encode_to_vec().into()
}

pub(in crate::stream) fn decode_failing(head: &[u8]) -> Decoded<Failure> {
    let head = proto::FailingHead::decode(head).map_err(|_| Malformed("not the head of what fails"))?;
    Ok(Failure {
        sequence: sequence(head.sequence)?,
        id: MessageId::from_slice(&head.id).ok_or(Malformed("a message id is not 16 bytes"))?,
        attempts: head.attempts,
        reason: cut(head.reason, REASON_BYTES),
        since: Wall(head.since),
        resumed: number(head.resumed)?,
        durable: true,
        parking: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::WriterId;

    #[test]
    fn heads_are_read_back_and_what_cannot_be_is_an_error() {
        let message = ParkedMessage {
            sequence: Sequence(5),
            authority: AuthorityEpoch(2),
            id: MessageId(7),
            writer: WriterId(3),
            writer_sequence: WriterSequence(4),
            bytes: 9,
            attempts: 6,
            reason: "no room".into(),
            since: Wall(1),
            parked: Wall(8),
        };
        let instance = StreamInstance(1);
        let head = encode_parked(instance, &message);
        assert_eq!(decode_parked(11, &head, 9), Ok((instance, Some(Row { key: 11, message }))));
        assert_eq!(decode_parked(11, &encode_gone(instance, Sequence(5)), 0), Ok((instance, None)));
        let failure = Failure {
            sequence: Sequence(5),
            id: MessageId(7),
            attempts: 3,
            reason: "no".into(),
            since: Wall(4),
            resumed: 2,
            durable: true,
            parking: None,
        };
        let head = encode_failing(&failure);
        assert_eq!(decode_failing(&head), Ok(failure));
        assert!(decode_failing(&head[..head.len() - 1]).is_err());
        assert!(decode_parked(11, &[], 0).is_err(), "of no stream");
    }
}
