//! Records of payload as a start finds them, until there are no more: batches, parts of large messages, and the words that such a message is whole.
//!
//! What was forgotten may come back as long as the journal has not trimmed its rows. So of two messages that a writer staged only the later one counts, and
//! parts whose message is not known to be whole are what is staged of it.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use super::heads::{Head, StagedPart, Whole, decode_head, decode_staged};
use super::message::Malformed;
use super::source::Restored;
use super::store::Kept;
use crate::digest::Digest;
use crate::id::{StreamInstance, WriterId};
use crate::record::Key;

/// The parts found of an upload, by their numbers.
#[derive(Clone, Debug)]
struct Found {
    /// As its newest part says.
    head: StagedPart,
    digests: BTreeMap<u64, Digest>,
    /// When its first part was met.
    order: usize,
}

/// What is found of all streams.
#[derive(Clone, Debug, Default)]
pub(super) struct Restoring {
    batches: BTreeMap<StreamInstance, BTreeMap<u64, Kept>>,
    wholes: BTreeMap<StreamInstance, Vec<(u64, Whole)>>,
    uploads: BTreeMap<u128, Found>,
    met: usize,
}

/// What is found of one stream.
#[derive(Debug, Default)]
pub(super) struct OfStream {
    /// By slot.
    pub(super) kept: BTreeMap<u64, Kept>,
    pub(super) uploads: Vec<Restored>,
    /// What is missing, if anything is.
    pub(super) damage: Option<String>,
}

impl Restoring {
    /// A record of a part. The stream that it is of may have no other.
    pub(super) fn staged(&mut self, key: &Key, head: &[u8]) -> Result<StreamInstance, Malformed> {
        let head = decode_staged(head)?;
        self.met += 1;
        let order = self.met;
        let found = self.uploads.entry(key.id);
        let found = found.or_insert_with(|| Found { head, digests: BTreeMap::new(), order });
        found.head = head;
        found.digests.insert(key.slot, head.digest);
        Ok(head.instance)
    }

    /// A record of payload.
    pub(super) fn payload(
        &mut self,
        key: &Key,
        last_slot: u64,
        head: &[u8],
        payload_len: usize,
    ) -> Result<(), Malformed> {
        let instance = StreamInstance(key.id);
        match decode_head(head)? {
            Head::Batch(_, _, batch) if batch.bytes() != payload_len as u64 => {
                return Err(Malformed("its payload is not as long as its head says"));
            }
            Head::Batch(own, first, batch) => {
                let waiters = Vec::new();
                let kept = Kept { batch, first, own, durable: true, taken: None, waiters, origin: None };
                self.batches.entry(instance).or_default().insert(key.slot, kept);
            }
            Head::Whole(whole) if last_slot - key.slot + 1 != whole.parts() => {
                return Err(Malformed("it does not cover its parts"));
            }
            Head::Whole(whole) => self.wholes.entry(instance).or_default().push((key.slot, whole)),
        }
        Ok(())
    }

    /// All that was found of a stream of which nothing below a slot counts.
    pub(super) fn of(&mut self, instance: StreamInstance, floor: u64) -> OfStream {
        let mut found =
            OfStream { kept: self.batches.remove(&instance).unwrap_or_default(), ..OfStream::default() };
        for (slot, whole) in self.wholes.remove(&instance).unwrap_or_default() {
            let digests = self.uploads.remove(&whole.upload).map(|upload| upload.digests).unwrap_or_default();
            // What is missing in front was let go, though something older is alive yet.
            let begin =
                digests.keys().next().copied().unwrap_or(u64::MAX).max(1 + floor.saturating_sub(slot));
            for part in begin..=whole.parts() {
                let Some(&digest) = digests.get(&part) else {
                    found.damage =
                        Some(alloc::format!("part {part} of a message of {} is missing", whole.writer));
                    break;
                };
                let batch = whole.part(part - 1, digest);
                let (first, origin) = (batch.identity.first, Some((whole.upload, part)));
                let waiters = Vec::new();
                let kept = Kept { batch, first, own: true, durable: true, taken: None, waiters, origin };
                found.kept.insert(slot + part - 1, kept);
            }
        }
        let mut newest: BTreeMap<WriterId, (usize, u128)> = BTreeMap::new();
        for (&id, upload) in self.uploads.iter().filter(|(_, upload)| upload.head.instance == instance) {
            let place = newest.entry(upload.head.writer).or_insert((upload.order, id));
            *place = (*place).max((upload.order, id));
        }
        for (_, id) in newest.into_values() {
            let Some(Found { head, digests, .. }) = self.uploads.remove(&id) else { continue };
            let StagedPart { writer, number, total, size, .. } = head;
            let parts = (1..).map_while(|part| digests.get(&part).copied()).collect();
            found.uploads.push(Restored { id, writer, number, total, size, digests: parts });
        }
        found
    }

    /// The uploads of which nothing counts.
    pub(super) fn left(&self) -> impl Iterator<Item = u128> + '_ {
        self.uploads.keys().copied()
    }
}
