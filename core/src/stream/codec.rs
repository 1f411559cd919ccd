//! What is said and written for every message, to bytes and back without a detour: descriptors, completions, bytes on their way, marks, where members stand.
//!
//! What is written here is what the generated code would write, byte for byte; what it would read differently, or not at all, is left to it: reading gives up at the
//! first thing that is not as written here.

use alloc::boxed::Box;
use alloc::vec::Vec;

use bytes::Bytes;
use prost::encoding::WireType;

use super::entry::{Batch, Entry, Identity, Part, Span};
use super::message::{Body, Data, Message, Standing};
use super::wire::{
    checked, checked_data, checked_standing, complete, descriptor, numbers_of, one_mark, sequence,
};
use crate::digest::Digest;
use crate::fields::{Reader, Writer, far_number_len, field_len, number_len, packed_len};
use crate::id::{
    AuthorityEpoch, BootId, MessageId, Sequence, SessionEpoch, StreamInstance, WriterId, WriterSequence,
};
use crate::time::Wall;

// Numbers of fields in stream.proto.
mod field {
    pub(super) const IDENTITY: u32 = 1;
    pub(super) const SPANS: u32 = 2;
    pub(super) const LENGTHS: u32 = 3;
    pub(super) const BASE: u32 = 4;
    pub(super) const WALL: u32 = 5;
    pub(super) const PART: u32 = 6;

    pub(super) const ENTRY_DESCRIPTOR: u32 = 2;
    pub(super) const ENTRY_COMPLETE: u32 = 3;

    pub(super) const INSTANCE: u32 = 1;
    pub(super) const DATA: u32 = 2;
    pub(super) const MARK: u32 = 4;
    pub(super) const STATUS: u32 = 5;
}

/// Bytes of a field that holds an id.
const ID: usize = 18;
/// Bytes of a field that holds a digest.
const DIGEST: usize = 34;

fn identity_len(identity: &Identity) -> usize {
    ID + number_len(identity.first.0) + DIGEST
}

fn write_identity(writer: &mut Writer, field: u32, identity: &Identity) {
    writer.length(field, identity_len(identity));
    writer.bytes(1, &identity.boot.to_bytes());
    writer.number(2, identity.first.0);
    writer.bytes(3, &identity.digest.0);
}

fn span_len(span: &Span) -> usize {
    ID + number_len(span.first.0) + number_len(span.count) + number_len(span.void.into())
}

fn part_len(part: &Part) -> usize {
    number_len(part.offset) + number_len(part.total) + DIGEST
}

fn lengths(batch: &Batch) -> impl Iterator<Item = u64> + Clone + '_ {
    batch.lengths.iter().map(|&len| len.into())
}

fn batch_len(batch: &Batch) -> usize {
    let lengths = if batch.lengths.is_empty() { 0 } else { field_len(packed_len(lengths(batch))) };
    field_len(identity_len(&batch.identity))
        + batch.spans.iter().map(|span| field_len(span_len(span))).sum::<usize>()
        + lengths
        + ID
        + number_len(batch.wall.0)
        + batch.part.as_deref().map_or(0, |part| field_len(part_len(part)))
}

fn write_batch(writer: &mut Writer, field: u32, batch: &Batch) {
    writer.length(field, batch_len(batch));
    write_identity(writer, field::IDENTITY, &batch.identity);
    for span in &batch.spans {
        writer.length(field::SPANS, span_len(span));
        writer.bytes(1, &span.writer.to_bytes());
        writer.number(2, span.first.0);
        writer.number(3, span.count);
        writer.number(4, span.void.into());
    }
    writer.packed(field::LENGTHS, lengths(batch));
    writer.bytes(field::BASE, &batch.base.to_bytes());
    writer.number(field::WALL, batch.wall.0);
    if let Some(part) = batch.part.as_deref() {
        writer.length(field::PART, part_len(part));
        writer.number(1, part.offset);
        writer.number(2, part.total);
        writer.bytes(3, &part.whole.0);
    }
}

/// The head of a payload's record, as a `PayloadHead`.
pub(super) fn encode_head(own: bool, first: Sequence, batch: &Batch) -> Bytes {
    let len = number_len(own.into()) + number_len(first.0) + field_len(batch_len(batch));
    let mut writer = Writer::new(len);
    writer.number(1, own.into());
    writer.number(2, first.0);
    write_batch(&mut writer, 3, batch);
    writer.done()
}

/// A descriptor or a completion; `None` for all else that stands in a log.
pub(super) fn encode_entry(entry: &Entry) -> Option<Bytes> {
    match entry {
        Entry::Descriptor { epoch, first, batch } => {
            let len = number_len(epoch.0) + number_len(first.0) + field_len(batch_len(batch));
            let mut writer = Writer::new(field_len(len));
            writer.length(field::ENTRY_DESCRIPTOR, len);
            writer.number(1, epoch.0);
            writer.number(2, first.0);
            write_batch(&mut writer, 3, batch);
            Some(writer.done())
        }
        Entry::Complete { upto, released, marks } => {
            let behind = upto.0.saturating_sub(released.0);
            let one = *marks == one_mark(*upto);
            let marks = numbers_of(marks).take(if one { 0 } else { usize::MAX });
            let packed = packed_len(marks.clone());
            let many = if packed == 0 { 0 } else { field_len(packed) };
            let len = number_len(upto.0) + number_len(behind) + many;
            let mut writer = Writer::new(field_len(len));
            writer.length(field::ENTRY_COMPLETE, len);
            writer.number(1, upto.0);
            writer.number(2, behind);
            writer.packed(3, marks);
            Some(writer.done())
        }
        _ => None,
    }
}

/// Bytes on their way, a mark, or where a member stands; `None` for all else that ends say.
pub(super) fn encode_message(message: &Message) -> Option<Bytes> {
    let start = |field: u32, len: usize| {
        let mut writer = Writer::new(ID + field_len(len));
        writer.bytes(field::INSTANCE, &message.instance.to_bytes());
        writer.length(field, len);
        writer
    };
    Some(match &message.body {
        Body::Data(data) => {
            let behind = data.offset.map_or(0, |offset| offset + 1);
            let numbers = [data.epoch.0, data.first.0, data.count, behind].map(number_len);
            let len = ID + numbers.into_iter().sum::<usize>() + field_len(identity_len(&data.identity));
            let mut writer = start(field::DATA, len);
            writer.bytes(1, &data.boot.to_bytes());
            writer.number(2, data.epoch.0);
            writer.number(3, data.first.0);
            writer.number(4, data.count);
            write_identity(&mut writer, 5, &data.identity);
            writer.number(6, behind);
            writer.done()
        }
        Body::Mark(upto) => {
            let mut writer = start(field::MARK, number_len(upto.0));
            writer.number(1, upto.0);
            writer.done()
        }
        Body::Status(standing) => {
            let (near, far) = (near(standing), far(standing));
            let len = 2 * ID
                + near.into_iter().map(number_len).sum::<usize>()
                + far.into_iter().map(far_number_len).sum::<usize>();
            let mut writer = start(field::STATUS, len);
            writer.bytes(1, &standing.boot.to_bytes());
            writer.bytes(2, &standing.peer.to_bytes());
            (3..).zip(near).for_each(|(field, value)| writer.number(field, value));
            (16..).zip(far).for_each(|(field, value)| writer.number(field, value));
            writer.done()
        }
        _ => return None,
    })
}

/// The fields of a `Status` from 3 to 15.
fn near(of: &Standing) -> [u64; 13] {
    [
        of.serial,
        of.epoch.0,
        of.have.0,
        of.room,
        of.taken.0,
        of.mark.0,
        of.confirmed.into(),
        of.ask,
        of.answer,
        of.floor.0,
        of.heard.0,
        of.stopped.into(),
        of.authority.0,
    ]
}

/// Those from 16 on.
const fn far(of: &Standing) -> [u64; 3] {
    [of.replicated.0, of.space, of.parked]
}

fn identity(bytes: &[u8]) -> Option<Identity> {
    let (mut reader, mut boot, mut first, mut digest) = (Reader::new(bytes), None, 0, None);
    while !reader.is_empty() {
        match reader.key()? {
            (1, WireType::LengthDelimited) => boot = Some(BootId::from_slice(reader.bytes()?)?),
            (2, WireType::Varint) => first = reader.varint()?,
            (3, WireType::LengthDelimited) => digest = Some(Digest::from_slice(reader.bytes()?)?),
            _ => return None,
        }
    }
    Some(Identity { boot: boot?, first: sequence(first).ok()?, digest: digest? })
}

fn span(bytes: &[u8]) -> Option<Span> {
    let (mut reader, mut writer) = (Reader::new(bytes), None);
    let (mut first, mut count, mut void) = (0, 0, false);
    while !reader.is_empty() {
        match reader.key()? {
            (1, WireType::LengthDelimited) => writer = Some(WriterId::from_slice(reader.bytes()?)?),
            (2, WireType::Varint) => first = reader.varint()?,
            (3, WireType::Varint) => count = reader.varint()?,
            (4, WireType::Varint) => void = reader.flag()?,
            _ => return None,
        }
    }
    Some(Span { writer: writer?, first: WriterSequence(first), count, void })
}

fn part(bytes: &[u8]) -> Option<Part> {
    let (mut reader, mut offset, mut total, mut whole) = (Reader::new(bytes), 0, 0, None);
    while !reader.is_empty() {
        match reader.key()? {
            (1, WireType::Varint) => offset = reader.varint()?,
            (2, WireType::Varint) => total = reader.varint()?,
            (3, WireType::LengthDelimited) => whole = Some(Digest::from_slice(reader.bytes()?)?),
            _ => return None,
        }
    }
    Some(Part { offset, total, whole: whole? })
}

fn batch(bytes: &[u8]) -> Option<Batch> {
    let (mut reader, mut named, mut base, mut wall) = (Reader::new(bytes), None, None, 0);
    let (mut spans, mut lengths, mut within) = (Vec::new(), Vec::new(), None);
    while !reader.is_empty() {
        match reader.key()? {
            (field::IDENTITY, WireType::LengthDelimited) if named.is_none() => {
                named = Some(identity(reader.bytes()?)?)
            }
            (field::SPANS, WireType::LengthDelimited) => spans.push(span(reader.bytes()?)?),
            (field::LENGTHS, WireType::LengthDelimited) if lengths.is_empty() => {
                let packed = reader.bytes()?;
                lengths.reserve_exact(packed.iter().filter(|&&byte| byte < 0x80).count());
                let mut packed = Reader::new(packed);
                while !packed.is_empty() {
                    lengths.push(u32::try_from(packed.varint()?).ok()?);
                }
            }
            (field::BASE, WireType::LengthDelimited) => base = Some(MessageId::from_slice(reader.bytes()?)?),
            (field::WALL, WireType::Varint) => wall = reader.varint()?,
            (field::PART, WireType::LengthDelimited) if within.is_none() => {
                within = Some(Box::new(part(reader.bytes()?)?))
            }
            _ => return None,
        }
    }
    checked(Batch { identity: named?, spans, lengths, base: base?, wall: Wall(wall), part: within }).ok()
}

/// Reads a descriptor or a completion. `None` says nothing but that the generated code must look at it.
pub(super) fn decode_entry(bytes: &[u8]) -> Option<Entry> {
    let mut reader = Reader::new(bytes);
    let (kind, wire) = reader.key()?;
    let mut inner = Reader::new(reader.bytes().filter(|_| wire == WireType::LengthDelimited)?);
    // Of several kinds the last would stand.
    if !reader.is_empty() {
        return None;
    }
    let (mut one, mut two) = (0, 0);
    match kind {
        field::ENTRY_DESCRIPTOR => {
            let mut of = None;
            while !inner.is_empty() {
                match inner.key()? {
                    (1, WireType::Varint) => one = inner.varint()?,
                    (2, WireType::Varint) => two = inner.varint()?,
                    (3, WireType::LengthDelimited) if of.is_none() => of = Some(batch(inner.bytes()?)?),
                    _ => return None,
                }
            }
            descriptor(one, two, of?).ok()
        }
        field::ENTRY_COMPLETE => {
            let mut marks = Vec::new();
            while !inner.is_empty() {
                match inner.key()? {
                    (1, WireType::Varint) => one = inner.varint()?,
                    (2, WireType::Varint) => two = inner.varint()?,
                    (3, WireType::LengthDelimited) => {
                        let mut packed = Reader::new(inner.bytes()?);
                        while !packed.is_empty() {
                            marks.push(packed.varint()?);
                        }
                    }
                    _ => return None,
                }
            }
            complete(one, two, &marks).ok()
        }
        _ => None,
    }
}

fn data(bytes: &[u8], payload: &Bytes) -> Option<Body> {
    let (mut reader, mut boot, mut named) = (Reader::new(bytes), None, None);
    let (mut epoch, mut first, mut count, mut behind) = (0, 0, 0, 0);
    while !reader.is_empty() {
        match reader.key()? {
            (1, WireType::LengthDelimited) => boot = Some(BootId::from_slice(reader.bytes()?)?),
            (2, WireType::Varint) => epoch = reader.varint()?,
            (3, WireType::Varint) => first = reader.varint()?,
            (4, WireType::Varint) => count = reader.varint()?,
            (5, WireType::LengthDelimited) if named.is_none() => named = Some(identity(reader.bytes()?)?),
            (6, WireType::Varint) => behind = reader.varint()?,
            _ => return None,
        }
    }
    let data = Data {
        boot: boot?,
        epoch: SessionEpoch(epoch),
        first: Sequence(first),
        count,
        identity: named?,
        offset: behind.checked_sub(1),
        bytes: payload.clone().into(),
    };
    checked_data(data).ok().map(Body::Data)
}

fn status(bytes: &[u8]) -> Option<Body> {
    let (mut reader, mut boot, mut peer) = (Reader::new(bytes), None, None);
    let mut of = Standing::default();
    while !reader.is_empty() {
        match reader.key()? {
            (1, WireType::LengthDelimited) => boot = Some(BootId::from_slice(reader.bytes()?)?),
            (2, WireType::LengthDelimited) => peer = Some(BootId::from_slice(reader.bytes()?)?),
            (9, WireType::Varint) => of.confirmed = reader.flag()?,
            (14, WireType::Varint) => of.stopped = reader.flag()?,
            (field, WireType::Varint) => {
                let value = reader.varint()?;
                match field {
                    3 => of.serial = value,
                    4 => of.epoch = SessionEpoch(value),
                    5 => of.have = Sequence(value),
                    6 => of.room = value,
                    7 => of.taken = Sequence(value),
                    8 => of.mark = Sequence(value),
                    10 => of.ask = value,
                    11 => of.answer = value,
                    12 => of.floor = Sequence(value),
                    13 => of.heard = Sequence(value),
                    15 => of.authority = AuthorityEpoch(value),
                    16 => of.replicated = Sequence(value),
                    17 => of.space = value,
                    18 => of.parked = value,
                    _ => return None,
                }
            }
            _ => return None,
        }
    }
    checked_standing(Standing { boot: boot?, peer: peer?, ..of }).ok().map(Body::Status)
}

/// Reads bytes on their way, a mark, or where a member stands. `None` says nothing but that the generated code must look at it.
pub(super) fn decode_message(header: &[u8], payload: &Bytes) -> Option<Message> {
    let mut reader = Reader::new(header);
    let (mut instance, mut body) = (None, None);
    while !reader.is_empty() {
        match reader.key()? {
            (field::INSTANCE, WireType::LengthDelimited) => {
                instance = Some(StreamInstance::from_slice(reader.bytes()?)?)
            }
            (field::DATA, WireType::LengthDelimited) if body.is_none() => {
                body = Some(data(reader.bytes()?, payload)?)
            }
            (field::MARK, WireType::LengthDelimited) if body.is_none() => body = Some(mark(reader.bytes()?)?),
            (field::STATUS, WireType::LengthDelimited) if body.is_none() => {
                body = Some(status(reader.bytes()?)?)
            }
            _ => return None,
        }
    }
    Some(Message { instance: instance?, body: body? })
}

fn mark(bytes: &[u8]) -> Option<Body> {
    let (mut reader, mut upto) = (Reader::new(bytes), 0);
    while !reader.is_empty() {
        match reader.key()? {
            (1, WireType::Varint) => upto = reader.varint()?,
            _ => return None,
        }
    }
    sequence(upto).ok().map(Body::Mark)
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use wattle_proto::stream as proto;

    use super::*;
    use crate::payload::Payload;
    use crate::rng::{Purpose, Rng};
    use crate::stream::marks::Marks;
    use crate::stream::wire::{
        batch_proto, decode_generated, decode_generated_message, encode_generated, encode_generated_message,
    };

    fn number(rng: &mut Rng) -> u64 {
        match rng.below(4) {
            0 => 0,
            1 => rng.below(300),
            2 => rng.u64() >> 3,
            _ => 1 << rng.below(62),
        }
    }

    fn flag(rng: &mut Rng) -> bool {
        rng.below(2) == 1
    }

    fn some_digest(rng: &mut Rng) -> Digest {
        Digest(core::array::from_fn(|_| rng.below(256) as u8))
    }

    fn some_identity(rng: &mut Rng) -> Identity {
        Identity { boot: BootId(rng.u128()), first: Sequence(number(rng)), digest: some_digest(rng) }
    }

    /// Any batch, sound or not.
    fn some_batch(rng: &mut Rng) -> Batch {
        let span = |rng: &mut Rng| Span {
            writer: WriterId(rng.u128()),
            first: WriterSequence(number(rng)),
            count: rng.below(3),
            void: flag(rng),
        };
        let spans: Vec<Span> = (0..rng.below(4)).map(|_| span(rng)).collect();
        let messages: u64 = spans.iter().map(|span| span.count).sum();
        let lengths = (0..messages + rng.below(2)).map(|_| number(rng) as u32).collect();
        let part = flag(rng)
            .then(|| Box::new(Part { offset: number(rng), total: number(rng), whole: some_digest(rng) }));
        Batch {
            identity: some_identity(rng),
            spans,
            lengths,
            base: MessageId(rng.u128()),
            wall: Wall(number(rng)),
            part,
        }
    }

    fn some_entry(rng: &mut Rng) -> Entry {
        if flag(rng) {
            let (epoch, first) = (SessionEpoch(number(rng)), Sequence(number(rng)));
            return Entry::Descriptor { epoch, first, batch: some_batch(rng) };
        }
        let upto = Sequence(number(rng));
        let marks: Marks = (0..rng.below(4)).map(|_| Sequence(number(rng))).collect();
        let marks = if flag(rng) { one_mark(upto) } else { marks };
        Entry::Complete { upto, released: Sequence(number(rng).min(upto.0)), marks }
    }

    fn some_message(rng: &mut Rng) -> Message {
        let body = match rng.below(3) {
            0 => Body::Mark(Sequence(number(rng))),
            1 => Body::Data(Data {
                boot: BootId(rng.u128()),
                epoch: SessionEpoch(number(rng)),
                first: Sequence(number(rng)),
                count: number(rng),
                identity: some_identity(rng),
                offset: flag(rng).then(|| number(rng)),
                bytes: Payload::new(),
            }),
            _ => Body::Status(Standing {
                boot: BootId(rng.u128()),
                peer: BootId(rng.u128()),
                serial: number(rng),
                epoch: SessionEpoch(number(rng)),
                have: Sequence(number(rng)),
                room: number(rng),
                taken: Sequence(number(rng)),
                mark: Sequence(number(rng)),
                heard: Sequence(number(rng)),
                confirmed: flag(rng),
                ask: number(rng),
                answer: number(rng),
                floor: Sequence(number(rng)),
                stopped: flag(rng),
                authority: AuthorityEpoch(number(rng)),
                space: number(rng),
                parked: number(rng),
                replicated: Sequence(number(rng)),
            }),
        };
        Message { instance: StreamInstance(rng.u128()), body }
    }

    /// Bytes that differ from these in some places, or end early, or go on.
    fn altered(rng: &mut Rng, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        match rng.below(4) {
            0 => bytes.truncate(rng.below(bytes.len() as u64 + 1) as usize),
            1 => {
                let again = bytes.clone();
                bytes.extend(again);
            }
            _ => {
                for _ in 0..=rng.below(2) {
                    let at = rng.below(bytes.len() as u64) as usize;
                    bytes[at] = if flag(rng) { rng.below(256) as u8 } else { bytes[at] ^ 1 << rng.below(8) };
                }
            }
        }
        bytes
    }

    #[test]
    fn what_is_written_is_what_the_generated_code_writes() {
        let mut rng = Rng::stream([1; 32], Purpose::Stream);
        for _ in 0..5_000 {
            let entry = some_entry(&mut rng);
            assert_eq!(encode_entry(&entry), Some(encode_generated(&entry)), "{entry:?}");
            let message = some_message(&mut rng);
            assert_eq!(encode_message(&message), Some(encode_generated_message(&message)), "{message:?}");
            let (own, first, batch) = (flag(&mut rng), Sequence(number(&mut rng)), some_batch(&mut rng));
            let generated =
                proto::PayloadHead { own, first: first.0, batch: Some(batch_proto(&batch)), whole: None };
            assert_eq!(encode_head(own, first, &batch), generated.encode_to_vec(), "{batch:?}");
        }
    }

    #[test]
    fn what_is_read_is_what_the_generated_code_reads_and_what_is_sound_is_read_here() {
        let mut rng = Rng::stream([2; 32], Purpose::Stream);
        let (mut entries, mut messages, mut odd) = (0, 0, 0);
        for _ in 0..20_000 {
            let bytes = encode_generated(&some_entry(&mut rng));
            let read = decode_entry(&bytes);
            entries += u32::from(read.is_some());
            assert_eq!(read, decode_generated(&bytes).ok());
            let bytes = altered(&mut rng, &bytes);
            if let Some(read) = decode_entry(&bytes) {
                odd += 1;
                assert_eq!(Ok(read), decode_generated(&bytes));
            }
            let bytes = encode_generated_message(&some_message(&mut rng));
            let payload = Bytes::from_static(&[7; 100]);
            let read = decode_message(&bytes, &payload);
            messages += u32::from(read.is_some());
            assert_eq!(read, decode_generated_message(bytes.clone(), payload.clone()).ok());
            let bytes = altered(&mut rng, &bytes);
            if let Some(read) = decode_message(&bytes, &payload) {
                odd += 1;
                assert_eq!(Ok(read), decode_generated_message(bytes.into(), payload));
            }
        }
        assert!(entries > 2_000 && messages > 2_000 && odd > 2_000, "{entries}, {messages}, {odd}");
    }
}
