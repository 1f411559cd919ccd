//! Heads of the records that hold payloads, as they are stored.

use alloc::boxed::Box;
use alloc::vec::Vec;

use bytes::Bytes;
use prost::Message as _;
use wattle_proto::stream as proto;

use super::entry::{Batch, Identity, Part, Span};
use super::message::Malformed;
use super::wire::{Decoded, batch, boot, digest, id_bytes, number, sequence, writer};
use crate::digest::Digest;
use crate::id::{BootId, MessageId, Sequence, StreamInstance, WriterId, WriterSequence};
use crate::time::Wall;
use crate::whole;

/// What a record of payload holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Head {
    /// A batch: whether it was accepted here, and the sequence it bore first.
    Batch(bool, Sequence, Batch),
    /// The parts of a staged message, which entered the outbox.
    Whole(Whole),
}

/// A message of several parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Whole {
    /// Under which the parts are stored.
    pub(super) upload: u128,
    /// The first part's sequence then.
    pub(super) first: Sequence,
    pub(super) boot: BootId,
    pub(super) writer: WriterId,
    pub(super) number: WriterSequence,
    pub(super) total: u64,
    /// Bytes of each part but the last.
    pub(super) size: u64,
    pub(super) digest: Digest,
    pub(super) base: MessageId,
    pub(super) wall: Wall,
}

impl Whole {
    /// How many parts it has.
    pub(super) const fn parts(&self) -> u64 {
        self.total.div_ceil(self.size)
    }

    /// Its part of that number, from 0.
    pub(super) fn part(&self, place: u64, digest: Digest) -> Batch {
        let offset = place * self.size;
        let len = self.size.min(self.total - offset);
        Batch {
            identity: Identity { boot: self.boot, first: Sequence(self.first.0 + place), digest },
            spans: Vec::from([Span { writer: self.writer, first: self.number, count: 1, void: false }]),
            lengths: Vec::from([u32::try_from(len).unwrap_or(u32::MAX)]),
            base: self.base,
            wall: self.wall,
            part: Some(Box::new(Part { offset, total: self.total, whole: self.digest })),
        }
    }
}

pub(super) fn encode_whole(whole: &Whole) -> Bytes {
    let head = proto::WholeHead {
        upload: id_bytes(whole.upload.to_be_bytes()),
        first: whole.first.0,
        boot: id_bytes(whole.boot.to_bytes()),
        writer: id_bytes(whole.writer.to_bytes()),
        number: whole.number.0,
        total: whole.total,
        size: whole.size,
        whole: Bytes::copy_from_slice(&whole.digest.0),
        base: id_bytes(whole.base.to_bytes()),
        wall: whole.wall.0,
    };
    proto::PayloadHead { own: true, first: whole.first.0, batch: None, whole: Some(head) }
        .encode_to_vec()
        .into()
}

pub(super) fn decode_head(bytes: &[u8]) -> Decoded<Head> {
    let found = proto::PayloadHead::decode(bytes).map_err(|_| Malformed("not a payload's head"))?;
    let Some(head) = found.whole else {
        return Ok(Head::Batch(found.own, sequence(found.first)?, batch(found.batch)?));
    };
    let (total, size) = parts(head.total, head.size)?;
    Ok(Head::Whole(Whole {
        upload: upload(&head.upload)?,
        first: sequence(head.first)?,
        boot: boot(&head.boot)?,
        writer: writer(&head.writer)?,
        number: WriterSequence(number(head.number)?),
        total,
        size,
        digest: digest(&head.whole)?,
        base: MessageId::from_slice(&head.base).ok_or(Malformed("a message id is not 16 bytes"))?,
        wall: Wall(head.wall),
    }))
}

/// A part that is being staged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StagedPart {
    pub(super) instance: StreamInstance,
    pub(super) writer: WriterId,
    pub(super) number: WriterSequence,
    pub(super) total: u64,
    pub(super) size: u64,
    pub(super) digest: Digest,
}

pub(super) fn encode_staged(part: &StagedPart) -> Bytes {
    let head = proto::StagedHead {
        instance: id_bytes(part.instance.to_bytes()),
        writer: id_bytes(part.writer.to_bytes()),
        number: part.number.0,
        total: part.total,
        size: part.size,
        digest: Bytes::copy_from_slice(&part.digest.0),
    };
    head.encode_to_vec().into()
}

pub(super) fn decode_staged(bytes: &[u8]) -> Decoded<StagedPart> {
    let head = proto::StagedHead::decode(bytes).map_err(|_| Malformed("not the head of a staged part"))?;
    let (total, size) = parts(head.total, head.size)?;
    Ok(StagedPart {
        instance: StreamInstance::from_slice(&head.instance).ok_or(Malformed("no stream instance"))?,
        writer: writer(&head.writer)?,
        number: WriterSequence(number(head.number)?),
        total,
        size,
        digest: digest(&head.digest)?,
    })
}

fn upload(bytes: &[u8]) -> Decoded<u128> {
    bytes.try_into().map(u128::from_be_bytes).map_err(|_| Malformed("the id of an upload is not 16 bytes"))
}

/// The size of a whole, and of its parts.
fn parts(total: u64, size: u64) -> Decoded<(u64, u64)> {
    let good = size.is_power_of_two() && size >= whole::PART_BYTES_MIN && size <= u64::from(u32::MAX);
    if good && size < total && total <= whole::WHOLE_BYTES_MAX {
        return Ok((total, size));
    }
    Err(Malformed("the parts of a whole are out of range"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::codec::encode_head;

    #[test]
    fn heads_are_read_back_and_what_cannot_be_is_an_error() {
        let whole = Whole {
            upload: 5,
            first: Sequence(7),
            boot: BootId(3),
            writer: WriterId(4),
            number: WriterSequence(9),
            total: 10_000,
            size: 4096,
            digest: Digest([8; 32]),
            base: MessageId(2),
            wall: Wall(1),
        };
        assert_eq!(decode_head(&encode_whole(&whole)), Ok(Head::Whole(whole)));
        assert_eq!(whole.parts(), 3);
        let last = whole.part(2, Digest([1; 32]));
        assert!(last.ends() && !last.begins() && last.bytes() == 10_000 - 8192);
        assert_eq!(
            decode_head(&encode_head(true, Sequence(7), &last)),
            Ok(Head::Batch(true, Sequence(7), last))
        );
        let (instance, digest) = (StreamInstance(1), Digest([1; 32]));
        let Whole { writer, number, total, size, .. } = whole;
        let part = StagedPart { instance, writer, number, total, size, digest };
        assert_eq!(decode_staged(&encode_staged(&part)), Ok(part));
        for (total, size) in [(10_000, 4095), (4096, 4096), (10_000, 512), (1 << 60, 4096)] {
            assert!(
                decode_head(&encode_whole(&Whole { total, size, ..whole })).is_err(),
                "{total} by {size}"
            );
            assert!(decode_staged(&encode_staged(&StagedPart { total, size, ..part })).is_err());
        }
    }
}
