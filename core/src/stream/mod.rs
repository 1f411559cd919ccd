//! Stub.
#![allow(missing_docs, unused)]
use alloc::{string::String, vec::Vec};
use bytes::Bytes;
use crate::id::*;
use crate::payload::Payload;
use crate::node::command::*;
use crate::node::output::*;
use crate::node::status::StreamStatus;
use crate::time::*;
use crate::record::*;
use crate::work::*;
use crate::when::When;
#[derive(Clone, Debug, Default)] pub struct Config;
#[derive(Clone, Debug)] pub struct Receipt;
#[derive(Clone, Debug)] pub struct Applied { pub index: LogIndex, pub command: bool, pub data: Bytes }
#[derive(Clone, Debug)] pub struct Message;
impl Message { pub fn decode(_h: Bytes, _p: Bytes) -> Result<Self, String> { Err(String::new()) } pub fn encode(&self) -> (Bytes, Payload) { (Bytes::new(), Payload::new()) } }
#[derive(Clone, Debug)]
pub enum Input {
 Opened { name: String, instance: StreamInstance, source: NodeId, target: NodeId }, Closed { instance: StreamInstance },
 Publish { request: RequestId, stream: String, writer: WriterId, first: WriterSequence, messages: Vec<Bytes>, wait: Waited },
 FindWriter { request: RequestId, stream: String, writer: WriterId }, CloseWriter { request: RequestId, stream: String, writer: WriterId },
 Attach { request: RequestId, stream: String, presented: Option<Position>, window: u32 }, Detach { token: AttachToken }, Verdict { token: AttachToken, upto: Sequence },
 Message { from: NodeId, message: Message }, Apply { instance: StreamInstance, entries: Vec<Applied> }, Role { instance: StreamInstance, leading: bool, term: Term },
 Match { instance: StreamInstance, node: NodeId, index: LogIndex }, Stopped { instance: StreamInstance, reason: String }, Proposed { instance: StreamInstance, context: u64, index: LogIndex }, Refused { instance: StreamInstance, context: u64 },
 SnapshotWanted { instance: StreamInstance, to: NodeId }, Install { instance: StreamInstance, from: NodeId, index: LogIndex, data: Bytes }, WorkDone { token: u64, done: Done }, Loaded { token: u64, bytes: Option<Bytes> }, Durable(Receipt),
 PeerBoot { node: NodeId, boot: BootId }, PairSuspect { node: NodeId }, PairAlive { node: NodeId }, Space { free: u64 }, Deadline }
#[derive(Clone, Debug)]
pub enum Output { Persist(Record), Forget(Forget), Notify(Receipt), Work { token: u64, job: Job }, Load { token: u64, key: Key }, Send { to: NodeId, message: Message, when: When }, Propose { instance: StreamInstance, data: Bytes, weight: u64, context: u64 }, BytesReady { instance: StreamInstance }, AskAgain { instance: StreamInstance }, Compact { instance: StreamInstance, upto: LogIndex }, Snapshot { instance: StreamInstance, to: NodeId, index: LogIndex, data: Bytes }, Installed { instance: StreamInstance, taken: bool }, Deliver(Delivery), Reply { request: RequestId, reply: Result<Reply, Refusal> }, Event(Event) }
#[derive(Clone, Debug)] pub struct Streams;
impl Streams {
 pub fn new(_c: Config, _o: NodeId, _b: BootId, _r: crate::rng::Rng, _p: crate::planted::Planted) -> Self { Self }
 pub fn restore(&mut self, _k: &Key, _l: u64, _h: &Bytes, _p: usize) -> Result<(), Damaged> { Ok(()) }
 pub fn restored(&mut self, _n: Now) {} pub fn handle(&mut self, _n: Now, _i: Input) {} pub fn poll(&mut self) -> Option<Output> { None } pub fn next_deadline(&self) -> Option<Instant> { None } pub fn check_invariants(&self, _l: crate::level::Level) {}
 pub fn admit(&mut self, _n: Now, _i: StreamInstance, _d: &[u8]) -> bool { true } pub fn applied_index(&self, _i: StreamInstance) -> LogIndex { LogIndex(0) } pub fn instances(&self) -> Vec<StreamInstance> { Vec::new() } pub fn status(&self) -> Vec<StreamStatus> { Vec::new() } pub fn refusing(&self, _n: Now) -> Option<Refusal> { None }
}
