//! Between the typed words of this part and their Protobuf form. Decoding bounds every list and checks that figures add up.

use alloc::boxed::Box;
use alloc::vec::Vec;

use bytes::Bytes;
use prost::Message as _;
use wattle_proto::stream as proto;

use super::codec;
use super::entry::{Batch, Entry, Identity, Part, Span};
use super::marks::Marks;
use super::message::{Body, Data, Malformed, Message, Standing};
use super::parts::{Open, Opening};
use super::state::{Joined, KeepState, LogState};
use super::writers::Writers;
use crate::digest::Digest;
use crate::ends::{Late, TARGETS_MAX};
use crate::id::{
    AuthorityEpoch, BootId, LogIndex, MessageId, NodeId, Sequence, SessionEpoch, StreamInstance, WriterId,
    WriterSequence,
};
use crate::payload::Payload;
use crate::retention::Scarce;
use crate::time::Wall;
use crate::whole::{self, Tree};

/// Messages in a batch that anybody may form, whatever the settings.
const BATCH_MESSAGES_MAX: usize = 65_536;
/// Bytes of a payload that anybody may send.
const PAYLOAD_MAX: usize = 64 << 20;

/// No sequence, index or epoch grows to this in the life of a mesh; more is a forgery, and would overflow when counted up.
const NUMBER_MAX: u64 = 1 << 62;

pub(super) type Decoded<T> = Result<T, Malformed>;

pub(super) fn number(found: u64) -> Decoded<u64> {
    if found < NUMBER_MAX { Ok(found) } else { Err(Malformed("a number out of range")) }
}

pub(super) fn sequence(found: u64) -> Decoded<Sequence> {
    number(found).map(Sequence)
}

pub(super) fn id_bytes(id: [u8; 16]) -> Bytes {
    Bytes::copy_from_slice(&id)
}

pub(super) fn boot(bytes: &[u8]) -> Decoded<BootId> {
    BootId::from_slice(bytes).ok_or(Malformed("a boot id is not 16 bytes"))
}

pub(super) fn writer(bytes: &[u8]) -> Decoded<WriterId> {
    WriterId::from_slice(bytes).ok_or(Malformed("a writer id is not 16 bytes"))
}

pub(super) fn digest(bytes: &[u8]) -> Decoded<Digest> {
    Digest::from_slice(bytes).ok_or(Malformed("a digest is not 32 bytes"))
}

fn identity_proto(identity: &Identity) -> proto::Identity {
    proto::Identity {
        boot: id_bytes(identity.boot.to_bytes()),
        first: identity.first.0,
        digest: Bytes::copy_from_slice(&identity.digest.0),
    }
}

fn identity(found: Option<proto::Identity>) -> Decoded<Identity> {
    let found = found.ok_or(Malformed("no identity"))?;
    Ok(Identity { boot: boot(&found.boot)?, first: sequence(found.first)?, digest: digest(&found.digest)? })
}

pub(super) fn batch_proto(batch: &Batch) -> proto::Batch {
    let span = |span: &Span| proto::Span {
        writer: id_bytes(span.writer.to_bytes()),
        first: span.first.0,
        count: span.count,
        void: span.void,
    };
    proto::Batch {
        identity: Some(identity_proto(&batch.identity)),
        spans: batch.spans.iter().map(span).collect(),
        lengths: batch.lengths.clone(),
        base: id_bytes(batch.base.to_bytes()),
        wall: batch.wall.0,
        part: batch.part.as_deref().map(part_proto),
    }
}

fn part_proto(part: &Part) -> proto::Part {
    proto::Part { offset: part.offset, total: part.total, whole: Bytes::copy_from_slice(&part.whole.0) }
}

pub(super) fn batch(found: Option<proto::Batch>) -> Decoded<Batch> {
    let found = found.ok_or(Malformed("no batch"))?;
    let span = |span: &proto::Span| {
        let (writer, first) = (writer(&span.writer)?, WriterSequence(span.first));
        Ok(Span { writer, first, count: span.count, void: span.void })
    };
    let part = |part: proto::Part| {
        Ok(Box::new(Part { offset: part.offset, total: part.total, whole: digest(&part.whole)? }))
    };
    checked(Batch {
        identity: identity(found.identity)?,
        spans: found.spans.iter().map(span).collect::<Decoded<_>>()?,
        lengths: found.lengths,
        base: MessageId::from_slice(&found.base).ok_or(Malformed("a message id is not 16 bytes"))?,
        wall: Wall(found.wall),
        part: found.part.map(part).transpose()?,
    })
}

/// A batch that was read, if its figures add up.
pub(super) fn checked(batch: Batch) -> Decoded<Batch> {
    if batch.lengths.is_empty() || batch.lengths.len() > BATCH_MESSAGES_MAX {
        return Err(Malformed("a batch has no messages, or too many"));
    }
    let mut messages = 0u64;
    for span in &batch.spans {
        if span.first.0 == 0
            || span.count == 0
            || number(span.first.0).is_err()
            || number(span.count).is_err()
        {
            return Err(Malformed("a span is empty or out of range"));
        }
        messages = messages.saturating_add(span.count);
    }
    if messages != batch.lengths.len() as u64 {
        return Err(Malformed("the spans do not cover the messages"));
    }
    batch.part.as_deref().map_or(Ok(()), |part| check_part(part, &batch.lengths))?;
    Ok(batch)
}

/// Whether a batch of messages of these lengths can be that part.
fn check_part(part: &Part, lengths: &[u32]) -> Decoded<()> {
    let [len] = lengths else { return Err(Malformed("several messages are one part")) };
    let end = part.offset.checked_add(u64::from(*len)).filter(|_| whole::fits(part.offset, (*len).into()));
    // One that is all there is would be no part.
    let within = end.is_some_and(|end| end <= part.total && u64::from(*len) < part.total);
    if within && part.total <= whole::WHOLE_BYTES_MAX {
        Ok(())
    } else {
        Err(Malformed("a part out of range"))
    }
}

pub(super) fn one_mark(upto: Sequence) -> Marks {
    core::iter::once(upto).collect()
}

pub(super) fn numbers_of(marks: &Marks) -> impl Iterator<Item = u64> + Clone + '_ {
    marks.iter().map(|mark| mark.0)
}

fn marks(found: &[u64]) -> Decoded<Marks> {
    if found.len() > TARGETS_MAX {
        return Err(Malformed("too many marks"));
    }
    found.iter().map(|&mark| sequence(mark)).collect()
}

pub(super) fn complete(upto: u64, behind: u64, found: &[u64]) -> Decoded<Entry> {
    let upto = sequence(upto)?;
    let released = upto.0.checked_sub(behind).ok_or(Malformed("more is let go than is completed"))?;
    let marks = if found.is_empty() { one_mark(upto) } else { marks(found)? };
    Ok(Entry::Complete { upto, released: Sequence(released), marks })
}

fn entry_proto(entry: &Entry) -> proto::Entry {
    use proto::entry::Kind;
    let kind = match entry {
        Entry::Session { source, boot, follows } => Kind::Session(proto::Session {
            source: id_bytes(source.to_bytes()),
            boot: id_bytes(boot.to_bytes()),
            follows: follows.0,
        }),
        Entry::Descriptor { epoch, first, batch } => Kind::Descriptor(proto::Descriptor {
            epoch: epoch.0,
            first: first.0,
            batch: Some(batch_proto(batch)),
        }),
        Entry::Complete { upto, released, marks } => Kind::Complete(proto::Complete {
            upto: upto.0,
            behind: upto.0.saturating_sub(released.0),
            marks: if *marks == one_mark(*upto) { Vec::new() } else { numbers_of(marks).collect() },
        }),
        Entry::CloseWriter { writer } => {
            Kind::CloseWriter(proto::CloseWriter { writer: id_bytes(writer.to_bytes()) })
        }
        Entry::Drain { place } => Kind::Drain(proto::Drain { place: *place as u32 }),
        Entry::Detach { place } => Kind::Detach(proto::Detach { place: *place as u32 }),
        &Entry::Join { place, node, behind, declined } => Kind::Join(proto::Join {
            place: place as u32,
            node: id_bytes(node.to_bytes()),
            behind: behind.map(|behind| behind.0),
            declined,
        }),
        &Entry::Keep { clock, gone, by } => Kind::Keep(keep_proto(KeepState { clock, gone, by })),
    };
    proto::Entry { kind: Some(kind) }
}

pub(super) fn encode_entry(entry: &Entry) -> Bytes {
    codec::encode_entry(entry).unwrap_or_else(|| encode_generated(entry))
}

pub(super) fn encode_generated(entry: &Entry) -> Bytes {
    entry_proto(entry).encode_to_vec().into()
}

pub(super) fn decode_entry(data: &[u8]) -> Decoded<Entry> {
    codec::decode_entry(data).map_or_else(|| decode_generated(data), Ok)
}

pub(super) fn decode_generated(data: &[u8]) -> Decoded<Entry> {
    entry(proto::Entry::decode(data).map_err(|_| Malformed("not an entry"))?)
}

fn keep_proto(keep: KeepState) -> proto::Keep {
    let (member, scarce) = keep.by.map(|(member, scarce)| (member, scarce.to_number())).unwrap_or_default();
    proto::Keep { clock: keep.clock.0, gone: keep.gone.0, member: member.into(), scarce }
}

fn keep(found: &proto::Keep) -> Decoded<KeepState> {
    let by = match found.scarce {
        0 => None,
        scarce => {
            let member = u8::try_from(found.member).ok().filter(|member| usize::from(*member) <= TARGETS_MAX);
            let scarce = Scarce::from_number(scarce).ok_or(Malformed("what is scarce is not known"))?;
            Some((member.ok_or(Malformed("a member out of range"))?, scarce))
        }
    };
    let gone = sequence(found.gone)?;
    if (gone > Sequence(0)) != by.is_some() {
        return Err(Malformed(
            "messages go before their time, and nothing is scarce, or the other way round",
        ));
    }
    Ok(KeepState { clock: Wall(number(found.clock)?), gone, by })
}

fn node(bytes: &[u8]) -> Decoded<NodeId> {
    NodeId::from_slice(bytes).ok_or(Malformed("a node id is not 16 bytes"))
}

/// A place among the targets.
fn place(found: u32) -> Decoded<usize> {
    let place = found as usize;
    if place < TARGETS_MAX { Ok(place) } else { Err(Malformed("a target out of range")) }
}

pub(super) fn descriptor(epoch: u64, first: u64, batch: Batch) -> Decoded<Entry> {
    if first == 0 {
        return Err(Malformed("a sequence out of range"));
    }
    Ok(Entry::Descriptor { epoch: SessionEpoch(number(epoch)?), first: sequence(first)?, batch })
}

fn entry(found: proto::Entry) -> Decoded<Entry> {
    use proto::entry::Kind;
    Ok(match found.kind.ok_or(Malformed("an entry of an unknown kind"))? {
        Kind::Session(session) => Entry::Session {
            source: node(&session.source)?,
            boot: boot(&session.boot)?,
            follows: SessionEpoch(number(session.follows)?),
        },
        Kind::Descriptor(descriptor) => {
            let batch = batch(descriptor.batch)?;
            self::descriptor(descriptor.epoch, descriptor.first, batch)?
        }
        Kind::Complete(found) => complete(found.upto, found.behind, &found.marks)?,
        Kind::CloseWriter(close) => Entry::CloseWriter { writer: writer(&close.writer)? },
        Kind::Drain(drain) => Entry::Drain { place: place(drain.place)? },
        Kind::Detach(detach) => Entry::Detach { place: place(detach.place)? },
        Kind::Join(join) => Entry::Join {
            place: place(join.place)?,
            node: node(&join.node)?,
            behind: join.behind.map(sequence).transpose()?,
            declined: join.declined,
        },
        Kind::Keep(found) => {
            let KeepState { clock, gone, by } = keep(&found)?;
            Entry::Keep { clock, gone, by }
        }
    })
}

pub(super) fn encode_message(message: &Message) -> (Bytes, Payload) {
    let mut payload = Payload::new();
    if let Body::Data(data) = &message.body {
        payload.append(data.bytes.clone());
    }
    (codec::encode_message(message).unwrap_or_else(|| encode_generated_message(message)), payload)
}

pub(super) fn encode_generated_message(message: &Message) -> Bytes {
    use proto::message::Kind;
    let kind = match &message.body {
        Body::Data(data) => Kind::Data(proto::Data {
            boot: id_bytes(data.boot.to_bytes()),
            epoch: data.epoch.0,
            first: data.first.0,
            count: data.count,
            identity: Some(identity_proto(&data.identity)),
            behind: data.offset.map_or(0, |offset| offset + 1),
        }),
        Body::Want(identity) => Kind::Want(proto::Want { identity: Some(identity_proto(identity)) }),
        Body::Mark(upto) => Kind::Mark(proto::Mark { upto: upto.0 }),
        Body::SealedOut(authority) => Kind::SealedOut(proto::SealedOut { authority: authority.0 }),
        Body::Offer(entry) => Kind::Offer(proto::Offer { entry: Some(entry_proto(entry)) }),
        Body::Follow { epoch, taken } => Kind::Follow(proto::Follow { epoch: epoch.0, taken: taken.0 }),
        Body::Status(standing) => Kind::Status(proto::Status {
            boot: id_bytes(standing.boot.to_bytes()),
            peer: id_bytes(standing.peer.to_bytes()),
            serial: standing.serial,
            epoch: standing.epoch.0,
            have: standing.have.0,
            room: standing.room,
            taken: standing.taken.0,
            mark: standing.mark.0,
            heard: standing.heard.0,
            confirmed: standing.confirmed,
            ask: standing.ask,
            answer: standing.answer,
            floor: standing.floor.0,
            stopped: standing.stopped,
            authority: standing.authority.0,
            replicated: standing.replicated.0,
            space: standing.space,
            parked: standing.parked,
        }),
    };
    let instance = id_bytes(message.instance.to_bytes());
    proto::Message { instance, kind: Some(kind) }.encode_to_vec().into()
}

pub(super) fn decode_message(header: Bytes, payload: Bytes) -> Decoded<Message> {
    match codec::decode_message(&header, &payload) {
        Some(message) => Ok(message),
        None => decode_generated_message(header, payload),
    }
}

pub(super) fn decode_generated_message(header: Bytes, payload: Bytes) -> Decoded<Message> {
    use proto::message::Kind;
    let found = proto::Message::decode(header).map_err(|_| Malformed("not a stream message"))?;
    let instance = StreamInstance::from_slice(&found.instance).ok_or(Malformed("no stream instance"))?;
    let body = match found.kind.ok_or(Malformed("a message of an unknown kind"))? {
        Kind::Data(data) => Body::Data(checked_data(Data {
            boot: boot(&data.boot)?,
            epoch: SessionEpoch(data.epoch),
            first: Sequence(data.first),
            count: data.count,
            identity: identity(data.identity)?,
            offset: data.behind.checked_sub(1),
            bytes: payload.into(),
        })?),
        Kind::Want(want) => Body::Want(identity(want.identity)?),
        Kind::Mark(mark) => Body::Mark(sequence(mark.upto)?),
        Kind::SealedOut(out) => Body::SealedOut(AuthorityEpoch(number(out.authority)?)),
        Kind::Offer(offer) => Body::Offer(entry(offer.entry.ok_or(Malformed("an offer of nothing"))?)?),
        Kind::Follow(found) => {
            Body::Follow { epoch: SessionEpoch(number(found.epoch)?), taken: sequence(found.taken)? }
        }
        Kind::Status(status) => Body::Status(checked_standing(Standing {
            boot: boot(&status.boot)?,
            peer: boot(&status.peer)?,
            serial: status.serial,
            epoch: SessionEpoch(status.epoch),
            have: Sequence(status.have),
            room: status.room,
            taken: Sequence(status.taken),
            mark: Sequence(status.mark),
            heard: Sequence(status.heard),
            confirmed: status.confirmed,
            ask: status.ask,
            answer: status.answer,
            floor: Sequence(status.floor),
            stopped: status.stopped,
            authority: AuthorityEpoch(status.authority),
            replicated: Sequence(status.replicated),
            space: status.space,
            parked: status.parked,
        })?),
    };
    Ok(Message { instance, body })
}

/// A batch's bytes as they were read, if the figures may be.
pub(super) fn checked_data(data: Data) -> Decoded<Data> {
    let (len, counted) = (data.bytes.len(), data.count > 0 && data.count <= BATCH_MESSAGES_MAX as u64);
    if len > PAYLOAD_MAX || !counted || data.first == Sequence(0) {
        return Err(Malformed("a batch out of range"));
    }
    if data.offset.is_some_and(|offset| !whole::fits(offset, len as u64) || data.count > 1) {
        return Err(Malformed("a part out of range"));
    }
    [data.epoch.0, data.first.0, data.identity.first.0]
        .into_iter()
        .try_for_each(|at| number(at).map(drop))?;
    Ok(data)
}

/// Where somebody stands, if that may be.
pub(super) fn checked_standing(said: Standing) -> Decoded<Standing> {
    let Standing { have, taken, mark, heard, floor, replicated, .. } = said;
    let marks = [have, taken, mark, heard, floor, replicated].map(|sequence| sequence.0);
    let epochs = [said.epoch.0, said.authority.0];
    marks.into_iter().chain(epochs).try_for_each(|at| number(at).map(drop))?;
    Ok(Standing { room: said.room.min(NUMBER_MAX), ..said })
}

/// A stream's state as stored and as sent to a member that is behind the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) state: LogState,
    pub(super) marks: Marks,
    pub(super) slot_floor: u64,
}

pub(super) fn encode_state(stored: &Stored) -> Bytes {
    let state = &stored.state;
    let writers = state.writers.iter().map(|(id, at)| proto::Writer {
        writer: id_bytes(id.to_bytes()),
        last: at.last,
        closed: at.closed,
    });
    let stored = proto::State {
        applied: state.applied.0,
        session: state.session.0,
        boot: id_bytes(state.boot.to_bytes()),
        taken: state.taken.0,
        completed: state.completed.0,
        writers: writers.collect(),
        released: state.released.0,
        marks: numbers_of(&stored.marks).collect(),
        slot_floor: stored.slot_floor,
        out: state.out,
        drained: state.drained.map(|(place, upto)| proto::Drained { place: place as u32, upto: upto.0 }),
        open: state.open.as_deref().map(open_proto),
        joined: state.joined().iter().map(joined_proto).collect(),
        keep: state.keeping.as_deref().copied().map(keep_proto),
    };
    stored.encode_to_vec().into()
}

fn joined_proto(joined: &Joined) -> proto::Joined {
    proto::Joined {
        place: joined.place as u32,
        node: id_bytes(joined.node.to_bytes()),
        behind: joined.late.behind.0,
        at: joined.late.joined.0,
    }
}

fn joined(found: &proto::Joined) -> Decoded<Joined> {
    let late = Late { behind: sequence(found.behind)?, joined: sequence(found.at)? };
    Ok(Joined { place: place(found.place)?, node: node(&found.node)?, late })
}

fn open_proto(open: &Open) -> proto::OpenMessage {
    proto::OpenMessage {
        writer: id_bytes(open.writer.to_bytes()),
        number: open.number.0,
        total: open.total,
        whole: Bytes::copy_from_slice(&open.whole.0),
        first: open.first.0,
        left: open.first.before().0 - open.ended.0,
        size: open.size,
        bytes: open.bytes,
        parts: open.tree.parts(),
        subtrees: open.tree.subtrees().iter().map(|value| Bytes::copy_from_slice(&value.0)).collect(),
    }
}

fn open(found: Option<proto::OpenMessage>) -> Decoded<Opening> {
    let Some(found) = found else { return Ok(None) };
    let first = sequence(found.first)?;
    let ended = first.0.checked_sub(1).and_then(|before| before.checked_sub(found.left));
    let ended = Sequence(ended.ok_or(Malformed("more parts are left behind than there are"))?);
    let subtrees: Decoded<Vec<Digest>> = found.subtrees.iter().map(|value| digest(value)).collect();
    Ok(Some(Box::new(Open {
        writer: writer(&found.writer)?,
        number: WriterSequence(number(found.number)?),
        total: number(found.total)?,
        whole: digest(&found.whole)?,
        first,
        ended,
        size: number(found.size)?,
        bytes: number(found.bytes)?,
        tree: Tree::new(found.parts, subtrees?).ok_or(Malformed("a tree has another number of subtrees"))?,
    })))
}

pub(super) fn decode_state(bytes: &[u8]) -> Decoded<Stored> {
    let found = proto::State::decode(bytes).map_err(|_| Malformed("not a stream's state"))?;
    let mut writers = Writers::default();
    for entry in &found.writers {
        writers.restore(writer(&entry.writer)?, number(entry.last)?, entry.closed);
    }
    let joined: Vec<Joined> = found.joined.iter().map(joined).collect::<Decoded<_>>()?;
    if joined.windows(2).any(|pair| pair[0].place + 1 != pair[1].place) {
        return Err(Malformed("targets that joined do not follow each other"));
    }
    let mut state = LogState {
        applied: LogIndex(number(found.applied)?),
        session: SessionEpoch(number(found.session)?),
        boot: boot(&found.boot)?,
        taken: sequence(found.taken)?,
        completed: sequence(found.completed)?,
        released: sequence(found.released)?,
        writers,
        out: found.out,
        drained: found
            .drained
            .map(|drained| Ok((place(drained.place)?, sequence(drained.upto)?)))
            .transpose()?,
        open: open(found.open)?,
        keeping: found.keep.as_ref().map(keep).transpose()?.map(Box::new),
        ..LogState::default()
    };
    joined.into_iter().for_each(|joined| state.join(joined));
    if state.out >> TARGETS_MAX != 0 {
        return Err(Malformed("a target out of range"));
    }
    if state.completed > state.taken || state.released > state.completed {
        return Err(Malformed("the watermarks of a stream's state contradict each other"));
    }
    Ok(Stored { state, marks: marks(&found.marks)?, slot_floor: number(found.slot_floor)? })
}

pub(super) fn encode_mark(upto: Sequence, taken: Sequence, passed: u64) -> Bytes {
    proto::MarkHead { upto: upto.0, taken: taken.0, passed }.encode_to_vec().into()
}

/// A mark, how much of it was taken here when it was written, and how many sequences in front of it were passed over.
pub(super) fn decode_mark(bytes: &[u8]) -> Decoded<(Sequence, Sequence, u64)> {
    let found = proto::MarkHead::decode(bytes).map_err(|_| Malformed("not a mark"))?;
    if found.passed > found.upto {
        return Err(Malformed("a mark that passed over more than there is"));
    }
    Ok((sequence(found.upto)?, sequence(found.taken)?, found.passed))
}

pub(super) fn encode_closing(writer: WriterId) -> Bytes {
    proto::CloseWriter { writer: id_bytes(writer.to_bytes()) }.encode_to_vec().into()
}

pub(super) fn decode_closing(bytes: &[u8]) -> Decoded<WriterId> {
    let found = proto::CloseWriter::decode(bytes).map_err(|_| Malformed("not a writer to be closed"))?;
    writer(&found.writer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Purpose, Rng};

    fn batch_of(count: u64) -> Batch {
        let identity = Identity { boot: BootId(3), first: Sequence(7), digest: Digest([9; 32]) };
        let span =
            |first, count, void| Span { writer: WriterId(1), first: WriterSequence(first), count, void };
        let spans = alloc::vec![span(1, 1, true), span(2, count - 1, false)];
        let lengths = (0..count as u32).collect();
        Batch { identity, spans, lengths, base: MessageId(5), wall: Wall(6), part: None }
    }

    #[test]
    fn what_is_said_is_read_back_and_anything_else_is_an_error() {
        let entry = Entry::Descriptor { epoch: SessionEpoch(2), first: Sequence(8), batch: batch_of(4) };
        assert_eq!(decode_entry(&encode_entry(&entry)), Ok(entry.clone()));
        let standing = Standing {
            serial: 4,
            have: Sequence(9),
            room: 10,
            stopped: true,
            authority: AuthorityEpoch(2),
            replicated: Sequence(7),
            ..Standing::default()
        };
        for body in [
            Body::Status(standing),
            Body::Mark(Sequence(3)),
            Body::SealedOut(AuthorityEpoch(1)),
            Body::Offer(entry.clone()),
            Body::Follow { epoch: SessionEpoch(3), taken: Sequence(8) },
            Body::Want(batch_of(2).identity),
            Body::Data(Data {
                boot: BootId(1),
                epoch: SessionEpoch(1),
                first: Sequence(1),
                count: 1,
                identity: batch_of(2).identity,
                offset: Some(4096),
                bytes: Bytes::from_static(b"abc").into(),
            }),
            Body::Data(Data {
                boot: BootId(1),
                epoch: SessionEpoch(1),
                first: Sequence(1),
                count: 3,
                identity: batch_of(2).identity,
                offset: None,
                bytes: Bytes::from_static(b"abc").into(),
            }),
        ] {
            let message = Message { instance: StreamInstance(1), body };
            let (header, payload) = message.encode();
            assert_eq!(Message::decode(header.clone(), payload.to_bytes()), Ok(message));
            let mut rng = Rng::stream([1; 32], Purpose::Stream);
            for _ in 0..2_000 {
                let mut damaged = header.to_vec();
                let place = rng.below(damaged.len() as u64) as usize;
                damaged[place] ^= 1 << rng.below(8);
                damaged.truncate(rng.between(0, header.len() as u64) as usize);
                let _ = Message::decode(damaged.into(), Bytes::new());
            }
        }
        let mut part = batch_of(2);
        (part.lengths, part.spans) = (alloc::vec![1024], part.spans.split_off(1));
        for (offset, total, good) in
            [(1024, 2048, true), (1024, 2047, false), (0, 1024, false), (512, 4096, false)]
        {
            part.part = Some(Box::new(Part { offset, total, whole: Digest([7; 32]) }));
            let entry = Entry::Descriptor { epoch: SessionEpoch(2), first: Sequence(8), batch: part.clone() };
            assert_eq!(
                decode_entry(&encode_entry(&entry)).is_ok_and(|read| read == entry),
                good,
                "{offset} of {total}"
            );
        }
        for (upto, released, marks) in
            [(9, 9, &[9][..]), (9, 0, &[9]), (9, 4, &[4, 9, 5]), (9, 9, &[12, 9]), (9, 0, &[10])]
        {
            let marks = marks.iter().copied().map(Sequence).collect();
            let complete = Entry::Complete { upto: Sequence(upto), released: Sequence(released), marks };
            assert_eq!(decode_entry(&encode_entry(&complete)), Ok(complete));
        }
        for place in [0, TARGETS_MAX - 1] {
            for entry in [Entry::Detach { place }, Entry::Drain { place }] {
                assert_eq!(decode_entry(&encode_entry(&entry)), Ok(entry));
            }
        }
        for (clock, gone, by) in
            [(7, 0, None), (7, 5, Some((3, Scarce::Disk))), (0, 1, Some((0, Scarce::Memory)))]
        {
            let entry = Entry::Keep { clock: Wall(clock), gone: Sequence(gone), by };
            assert_eq!(decode_entry(&encode_entry(&entry)), Ok(entry));
        }
        for (gone, by) in [(0, Some((0, Scarce::Disk))), (1, None), (1, Some((64, Scarce::Disk)))] {
            let forged = encode_entry(&Entry::Keep { clock: Wall(1), gone: Sequence(gone), by });
            assert!(decode_entry(&forged).is_err(), "{gone} {by:?}");
        }
        let forged = encode_entry(&Entry::Detach { place: TARGETS_MAX });
        assert_eq!(decode_entry(&forged), Err(Malformed("a target out of range")));
        let upto = Sequence(u64::MAX);
        let forged = Entry::Complete { upto, released: upto, marks: one_mark(upto) };
        assert_eq!(decode_entry(&encode_entry(&forged)), Err(Malformed("a number out of range")));
    }
}
