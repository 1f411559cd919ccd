//! What all streams of a node share.

use alloc::collections::{BTreeMap, VecDeque};

use super::config::Config;
use super::flow::Flow;
use super::message::{Body, Data, Message};
use super::source::Asker;
use super::store::Cache;
use super::{Output, Receipt};
use crate::id::{BootId, NodeId, RequestId, Sequence, StreamInstance, WriterId};
use crate::node::command::{Refusal, Reply};
use crate::payload::Payload;
use crate::planted::Planted;
use crate::record::Key;
use crate::rng::Rng;
use crate::when::When;
use crate::work::Job;

/// What a job is for.
#[derive(Clone, Debug)]
pub(super) enum Work {
    /// The batch that a source forms.
    Form(StreamInstance),
    /// Bytes that came; are they what they are called?
    /// The last says who sent them.
    Verify(StreamInstance, Data, NodeId),
    /// A part that a writer stages: under which upload, and where it begins.
    Stage(StreamInstance, WriterId, u128, u64),
}

/// What bytes are loaded for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Load {
    /// The batch in that slot.
    Batch(StreamInstance, u64),
    /// The parked message of that sequence: to be shown to whoever asked, or else for the handler.
    Parked(StreamInstance, Sequence, Option<RequestId>),
}

/// What all streams of a node share.
#[derive(Clone, Debug)]
pub(super) struct Common {
    pub(super) config: Config,
    pub(super) own: NodeId,
    pub(super) boot: BootId,
    pub(super) rng: Rng,
    pub(super) planted: Planted,
    pub(super) outputs: VecDeque<Output>,
    pub(super) cache: Cache,
    pub(super) works: BTreeMap<u64, Work>,
    pub(super) loads: BTreeMap<u64, Load>,
    /// Whether, and how fast, streams take messages in.
    pub(super) flow: Flow,
    /// Requests that wait at sources of this node.
    pub(super) askers: BTreeMap<RequestId, Asker>,
    /// Bytes the store can still take.
    pub(super) free: u64,
    /// Weight of what sources of this node have queued and not written yet.
    pub(super) unformed: u64,
    /// Bytes that are still to come of messages that are being staged at sources of this node: room is kept for them.
    pub(super) reserved: u64,
    /// Replays that are under way at targets of this node.
    pub(super) replays: usize,
    next_token: u64,
    serial: u64,
}

impl Common {
    pub(super) fn new(config: Config, own: NodeId, boot: BootId, rng: Rng, planted: Planted) -> Self {
        Self {
            config,
            own,
            boot,
            rng,
            planted,
            outputs: VecDeque::new(),
            cache: Cache::default(),
            works: BTreeMap::new(),
            loads: BTreeMap::new(),
            flow: Flow::default(),
            askers: BTreeMap::new(),
            free: u64::MAX,
            unformed: 0,
            reserved: 0,
            replays: 0,
            next_token: 0,
            serial: 0,
        }
    }

    /// Whether the store has room for more than draining needs.
    pub(super) fn has_space(&self) -> bool {
        self.free >= self.config.space_floor
    }

    /// Whether that much more of publishers may be accepted: they leave room for what comes from sources, which others must hand over
    /// before they can take in what was accepted here.
    pub(super) fn may_accept(&self, more: u64) -> bool {
        let kept = self.config.space_floor.saturating_add(self.config.intake_room);
        let promised = self.unformed.saturating_add(self.reserved);
        self.free >= kept.saturating_add(promised).saturating_add(more)
    }

    /// Whether the store has so much room that what is kept for its own sake may have some.
    pub(super) fn has_history_room(&self) -> bool {
        let kept = self.config.space_floor.saturating_add(self.config.intake_room);
        self.free >= kept.saturating_add(self.config.history_room)
    }

    /// Whether that much may be written beyond what draining needs (rule B3).
    pub(super) fn has_space_for(&self, bytes: u64) -> bool {
        self.has_space() && self.free - self.config.space_floor >= bytes
    }

    fn token(&mut self) -> u64 {
        self.next_token += 1;
        self.next_token
    }

    /// A number that grows within this start.
    pub(super) fn serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    pub(super) fn emit(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    pub(super) fn reply(&mut self, request: RequestId, reply: Result<Reply, Refusal>) {
        self.emit(Output::Reply { request, reply });
    }

    pub(super) fn notify(&mut self, receipt: Receipt) {
        self.emit(Output::Notify(receipt));
    }

    /// Says something at once: what it says is durable already, or promises nothing.
    pub(super) fn say(&mut self, to: NodeId, instance: StreamInstance, body: Body) {
        self.emit(Output::Send { to, message: Message { instance, body }, when: When::Now });
    }

    pub(super) fn work(&mut self, work: Work, job: Job) {
        let token = self.token();
        self.works.insert(token, work);
        self.emit(Output::Work { token, job });
    }

    pub(super) fn load(&mut self, load: Load, key: Key) {
        let token = self.token();
        self.loads.insert(token, load);
        self.emit(Output::Load { token, key });
    }

    pub(super) fn remember(&mut self, instance: StreamInstance, slot: u64, payload: Payload) {
        let limit = self.config.cache_bytes;
        self.cache.put(instance, slot, payload, limit);
    }
}
