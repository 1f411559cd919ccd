//! What can be done to a node, as data.

use bytes::Bytes;
use prost::Message as _;
use wattle_core::ends::Terms;
use wattle_core::flow::{FlowChange, FlowWish, Rate, Tenant, Which};
use wattle_core::id::{AuthorityEpoch, Sequence, StreamInstance, WriterId, WriterSequence};
use wattle_core::node::command::{Command, Position, Waited};
use wattle_core::time::Span;
use wattle_proto::frame::{FrameWriter, MAX_FRAME, Message};
use wattle_proto::node::Envelope;

use super::source::{Source, mutate};
use super::tape::{Said, Tape};
use crate::desk::Call;

/// One thing done to a node. Places count among what is there when it is done.
#[derive(Clone, Debug)]
pub enum Operation {
    /// The next inputs of the recorded life happen, as far as they still fit.
    Continue(usize),
    /// Time passes, and deadlines are met.
    Pass(Span),
    /// Somebody outside says something.
    Call(Call),
    /// Nobody waits for the answers to an earlier request.
    Forget(usize),
    /// A connection comes up: the answer to a dial, or accepted; from the node of that place.
    LaneUp {
        /// Whether it answers a dial.
        dialled: bool,
        /// Whose key it proves.
        peer: usize,
    },
    /// A connection ends.
    LaneDown(usize),
    /// A dial comes to nothing.
    DialFailed(usize),
    /// Bytes arrive.
    Hear {
        /// On which lane.
        lane: usize,
        /// The place among all recorded messages.
        message: usize,
        /// What is changed in it.
        change: Change,
        /// How.
        mutation: Vec<u8>,
    },
    /// Bytes arrive that are nothing in particular.
    Noise {
        /// On which lane.
        lane: usize,
        /// What.
        bytes: Vec<u8>,
    },
    /// So many of the rows that wait are on disk.
    Persist(usize),
    /// A write fails.
    WriteFailed,
    /// A load is answered; `false`: the store cannot give it.
    Loaded(usize, bool),
    /// A job is done.
    WorkDone(usize),
    /// The disk has so much room.
    Space(u64),
    /// A lane has room.
    Transmit {
        /// Which.
        lane: usize,
        /// So many bytes.
        max: usize,
    },
    /// An input that belongs to recovery.
    OutOfPhase,
    /// A crash and a new start with so many of the unsynced rows; or, on a disk that was rolled back, without so many of the synced ones.
    Crash {
        /// How many.
        rows: usize,
        /// Whether the disk was rolled back.
        rolled_back: bool,
    },
}

/// Where a recorded message is changed. All but `Frame` leave the outer lengths right, so that the change reaches deeper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Anywhere in its frame.
    Frame,
    /// In its Protobuf header.
    Header,
    /// In its payload.
    Payload,
    /// In the body within its envelope.
    Body,
    /// In the envelope: another source, target or group.
    Envelope,
}

const CHANGES: [Change; 5] = [Change::Frame, Change::Header, Change::Payload, Change::Body, Change::Envelope];
const NAMES: [&str; 6] = ["words", "back", "ash", "birch", "cedar", ""];

impl Operation {
    /// The operation that the next bytes stand for.
    pub fn decode(source: &mut Source<'_>, tape: &Tape) -> Self {
        match source.u8() % 32 {
            0..=5 => Self::Continue(1 + source.below(64)),
            6..=8 => Self::Pass(Span::micros(source.number() % 3_000_000)),
            9..=10 => Self::Call(call(source, tape)),
            11 => Self::Forget(source.below(64)),
            12 => Self::LaneUp { dialled: source.one_in(2), peer: source.below(4) },
            13 => Self::LaneDown(source.below(8)),
            14 => Self::DialFailed(source.below(8)),
            15..=21 => Self::Hear {
                lane: source.below(8),
                message: source.below(tape.said.len()),
                change: *source.pick(&CHANGES),
                mutation: source.take(7).to_vec(),
            },
            22 => {
                let lane = source.below(8);
                let len = source.below(64);
                Self::Noise { lane, bytes: source.take(len).to_vec() }
            }
            23..=24 => Self::Persist(1 + source.below(8)),
            25 => match source.below(16) {
                0 => Self::WriteFailed,
                1 => Self::OutOfPhase,
                _ => Self::Persist(usize::MAX),
            },
            26 => Self::Loaded(source.below(8), !source.one_in(8)),
            27..=28 => Self::WorkDone(source.below(8)),
            29 => Self::Space(source.number()),
            30 => Self::Transmit { lane: source.below(8), max: source.below(1 << 16) },
            _ => Self::Crash { rows: source.below(8), rolled_back: source.one_in(8) },
        }
    }
}

/// A recorded call, or one made up.
fn call(source: &mut Source<'_>, tape: &Tape) -> Call {
    if source.one_in(2) {
        return source.pick(&tape.calls).clone();
    }
    let request = wattle_core::id::RequestId(1 << 60 | u64::from(source.u16()));
    let name = |source: &mut Source<'_>| (*source.pick(&NAMES)).to_owned();
    let writer = |source: &mut Source<'_>| WriterId(u128::from(source.u8() % 4));
    let command = match source.below(12) {
        0 => Command::Seed { name: name(source) },
        1 => Command::Invite,
        2 => Command::Join { token: String::from_utf8_lossy(source.take(40)).into_owned() },
        3 => Command::OpenStream {
            name: name(source),
            source: name(source),
            targets: vec![name(source)],
            terms: Terms::default(),
        },
        4 => Command::CloseStream { name: name(source) },
        5 => Command::FindWriter { stream: name(source), writer: writer(source) },
        8 => Command::Evict { member: name(source) },
        9 => Command::Leave { force: source.one_in(2) },
        6 => Command::CloseWriter { stream: name(source), writer: writer(source) },
        7 => Command::Attach {
            stream: name(source),
            presented: source.one_in(2).then(|| Position {
                instance: StreamInstance(u128::from(source.number())),
                authority: AuthorityEpoch(source.number()),
                sequence: Sequence(source.number()),
            }),
            window: source.number() as u32,
        },
        10 => flow(source),
        _ => Command::Publish {
            stream: name(source),
            writer: writer(source),
            first: WriterSequence(source.number()),
            messages: (0..source.below(8)).map(|_| source.take(9).to_vec().into()).collect(),
            wait: *source.pick(&[Waited::Accepted, Waited::Replicated, Waited::Completed]),
        },
    };
    Call::Command(request, command)
}

/// A rule about streams, or something that is asked for on behalf of a tenant.
fn flow(source: &mut Source<'_>) -> Command {
    let name = (*source.pick(&NAMES)).to_owned();
    let tenant = Tenant::new(source.pick::<&str>(&["default", "acme"])).unwrap_or_default();
    let which = match source.below(3) {
        0 => Which::Stream(name),
        1 => Which::Tenant(tenant.clone()),
        _ => Which::Below(source.below(3) as i32 - 1),
    };
    let change = match source.below(4) {
        0 => FlowChange::Pause,
        1 => FlowChange::Resume,
        2 => Rate::new(source.number(), source.number()).map_or(FlowChange::Unthrottle, FlowChange::Throttle),
        _ => FlowChange::Unthrottle,
    };
    let command = Command::ChangeFlow(FlowWish { which, change });
    if source.one_in(2) { Command::Within { tenant, command: Box::new(command) } } else { command }
}

fn vary(source: &mut Source<'_>, bytes: &mut Bytes) {
    let mut copy = bytes.to_vec();
    mutate(source, &mut copy);
    *bytes = copy.into();
}

/// A recorded message, changed, as bytes of a connection.
#[must_use]
pub fn changed(said: &Said, change: Change, source: &mut Source<'_>) -> Vec<u8> {
    let Said { kind, message } = said.clone();
    let Message { relay, mut header, mut payload } = message;
    match change {
        Change::Frame => {}
        Change::Header => vary(source, &mut header),
        Change::Payload => vary(source, &mut payload),
        Change::Body | Change::Envelope => match Envelope::decode(header.clone()) {
            Ok(mut envelope) if !relay.kind().is_local() => {
                match (change, source.below(3)) {
                    (Change::Body, _) => vary(source, &mut envelope.body),
                    (_, 0) => vary(source, &mut envelope.group),
                    (_, 1) => vary(source, &mut envelope.source),
                    _ => std::mem::swap(&mut envelope.source, &mut envelope.target),
                }
                header = envelope.encode_to_vec().into();
            }
            _ => vary(source, &mut header),
        },
    }
    let mut out = Vec::new();
    let mut writer = FrameWriter::begin(&mut out, kind, MAX_FRAME);
    // What grew out of its frame is no message at all, and an empty frame is one more thing to bear.
    let _ = writer.append(&relay, &header, &[payload]);
    writer.finish();
    if change == Change::Frame {
        mutate(source, &mut out);
    }
    out
}
