//! What is staged of a stream, by writer.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;

use super::super::store::forget_staged;
use super::Waiter;
use crate::digest::Digest;
use crate::id::{RequestId, WriterId, WriterSequence};
use crate::node::command::{PartOf, Refusal, Staged};
use crate::payload::Payload;
use crate::record::Forget;
use crate::sometimes;
use crate::whole::Tree;

/// A part that came and is not written yet.
#[derive(Clone, Debug)]
pub(super) struct Coming {
    pub(super) offset: u64,
    pub(super) bytes: Payload,
    pub(super) digest: Option<Digest>,
    pub(super) request: RequestId,
}

/// A message of which not all parts came.
#[derive(Clone, Debug)]
pub(super) struct Upload {
    pub(super) id: u128,
    pub(super) number: WriterSequence,
    pub(super) total: u64,
    /// Bytes of each part but the last.
    pub(super) size: u64,
    pub(super) tree: Tree,
    pub(super) digests: Vec<Digest>,
    /// Bytes up to which parts came, were written, and are durable.
    pub(super) received: u64,
    pub(super) written: u64,
    pub(super) durable: u64,
    pub(super) coming: VecDeque<Coming>,
    /// Who waits for bytes up to there to be durable.
    pub(super) unanswered: VecDeque<(u64, RequestId)>,
    /// With the last part: what the whole is called, and who waits for it.
    pub(super) end: Option<(Digest, Option<Waiter>)>,
}

impl Upload {
    pub(super) fn new(id: u128, number: WriterSequence, total: u64, size: u64) -> Self {
        Self {
            id,
            number,
            total,
            size,
            tree: Tree::default(),
            digests: Vec::new(),
            received: 0,
            written: 0,
            durable: 0,
            coming: VecDeque::new(),
            unanswered: VecDeque::new(),
            end: None,
        }
    }

    /// What is durable, and needs not be sent again. The last part names the whole, and is not among it.
    pub(super) fn held(&self) -> Staged {
        let before_last = (self.total - 1) / self.size * self.size;
        Staged { total: self.total, upto: self.durable.min(before_last), part_bytes: self.size }
    }

    pub(super) fn requests(&self) -> impl Iterator<Item = RequestId> + '_ {
        let coming = self.coming.iter().map(|part| part.request);
        let written = self.unanswered.iter().map(|&(_, request)| request);
        let last = self.end.iter().filter_map(|(_, waiter)| waiter.map(|waiter| waiter.request));
        coming.chain(written).chain(last)
    }

    /// Why a part cannot be the next one.
    pub(super) fn refuses(&self, wish: &PartOf) -> Option<Refusal> {
        if wish.total != self.total {
            return Some(Refusal::WholeChanged { was: self.total, now: wish.total });
        }
        if wish.offset != self.received || self.received == self.total {
            return Some(Refusal::WrongOffset { expected: self.received, got: wish.offset });
        }
        let expected = self.size.min(self.total - self.received);
        if wish.bytes.len() as u64 != expected {
            let got = wish.bytes.len();
            return Some(Refusal::Invalid(alloc::format!(
                "the part at {} has {got} bytes, and {expected} must be in it",
                wish.offset
            )));
        }
        match (wish.digest, wish.offset + expected == self.total) {
            (None, true) => {
                Some(Refusal::Invalid(String::from("the last part must say the digest of the whole")))
            }
            (Some(_), false) => {
                Some(Refusal::Invalid(String::from("only the last part says the digest of the whole")))
            }
            _ => None,
        }
    }
}

/// All that is staged of a stream.
#[derive(Clone, Debug, Default)]
pub(in crate::stream) struct Staging(pub(super) Option<Box<Stages>>);

#[derive(Clone, Debug, Default)]
pub(super) struct Stages {
    pub(super) uploads: BTreeMap<WriterId, Upload>,
    /// Parts that left the outbox and the log: up to that one, by upload.
    pub(super) trims: BTreeMap<u128, u64>,
}

/// What a start finds of an upload.
#[derive(Clone, Debug)]
pub(in crate::stream) struct Restored {
    pub(in crate::stream) id: u128,
    pub(in crate::stream) writer: WriterId,
    pub(in crate::stream) number: WriterSequence,
    pub(in crate::stream) total: u64,
    pub(in crate::stream) size: u64,
    pub(in crate::stream) digests: Vec<Digest>,
}

impl Staging {
    pub(super) fn stages(&mut self) -> &mut Stages {
        self.0.get_or_insert_default()
    }

    pub(super) fn uploads(&self) -> impl Iterator<Item = (WriterId, &Upload)> + '_ {
        self.0.iter().flat_map(|stages| stages.uploads.iter().map(|(&writer, upload)| (writer, upload)))
    }

    pub(super) fn upload(&self, writer: WriterId) -> Option<&Upload> {
        self.0.as_ref()?.uploads.get(&writer)
    }

    pub(super) fn upload_mut(&mut self, writer: WriterId, id: u128) -> Option<&mut Upload> {
        self.0.as_mut()?.uploads.get_mut(&writer).filter(|upload| upload.id == id)
    }

    pub(super) fn remove(&mut self, writer: WriterId) -> Option<Upload> {
        self.0.as_mut()?.uploads.remove(&writer)
    }

    /// What is held of a writer's message of that number.
    pub(super) fn held(&self, writer: WriterId, number: WriterSequence) -> Option<Staged> {
        self.upload(writer).filter(|upload| upload.number == number).map(Upload::held)
    }

    /// Bytes of all messages that are staged, what is to come included.
    pub(in crate::stream) fn bytes(&self) -> u64 {
        self.uploads().map(|(_, upload)| upload.total).sum()
    }

    /// Bytes of them that are to come.
    pub(in crate::stream) fn to_come(&self) -> u64 {
        self.uploads().map(|(_, upload)| upload.total - upload.written).sum()
    }

    /// A part left the outbox and the log.
    pub(in crate::stream) fn trim(&mut self, upload: u128, part: u64) {
        let upto = self.stages().trims.entry(upload).or_default();
        *upto = part.max(*upto);
    }

    /// The records that are dead, once the state says so.
    pub(in crate::stream) fn trims(&mut self) -> impl Iterator<Item = Forget> + use<> {
        let trims = self.0.as_mut().map(|stages| core::mem::take(&mut stages.trims)).unwrap_or_default();
        if self.0.as_ref().is_some_and(|stages| stages.uploads.is_empty()) {
            self.0 = None;
        }
        trims.into_iter().map(|(upload, part)| forget_staged(upload, part))
    }

    /// Nobody waits for the answers to a request any more.
    pub(super) fn forget(&mut self, request: RequestId) -> Option<Waiter> {
        let uploads = self.0.iter_mut().flat_map(|stages| stages.uploads.values_mut());
        let mut ends = uploads.filter_map(|upload| upload.end.as_mut());
        ends.find_map(|(_, waiter)| waiter.take_if(|waiter| waiter.request == request))
    }

    /// Everything goes: who asked for parts, of whom nobody is answered any more.
    pub(super) fn requests(&mut self) -> Vec<RequestId> {
        let mut requests = Vec::new();
        for upload in self.0.iter_mut().flat_map(|stages| stages.uploads.values_mut()) {
            requests.extend(upload.requests());
            (upload.received, upload.end) = (upload.written, None);
            upload.coming.clear();
            upload.unanswered.clear();
        }
        requests
    }

    /// The uploads, for their records to be forgotten.
    pub(in crate::stream) fn ids(&self) -> impl Iterator<Item = u128> + '_ {
        self.uploads().map(|(_, upload)| upload.id)
    }

    /// Who waits for the whole that a last part ends.
    pub(super) fn waiters(&self) -> impl Iterator<Item = &Waiter> + '_ {
        self.uploads().filter_map(|(_, upload)| upload.end.as_ref()?.1.as_ref())
    }

    /// A start found this: what is durable of a message that is not whole.
    pub(in crate::stream) fn restore(&mut self, found: Restored) {
        let Restored { id, writer, number, total, size, digests } = found;
        let mut upload = Upload::new(id, number, total, size);
        // The last one names the whole, and must come again.
        for digest in digests.into_iter().take(((total - 1) / size) as usize) {
            upload.tree.push(digest);
            upload.digests.push(digest);
        }
        upload.written = upload.digests.len() as u64 * size;
        (upload.received, upload.durable) = (upload.written, upload.written);
        sometimes!(StagedTakenUp, upload.written > 0);
        self.stages().uploads.insert(writer, upload);
    }
}
