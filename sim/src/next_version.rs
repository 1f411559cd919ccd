//! The next version of the protocol, which only tests have: what a node that speaks it says beyond what every node knows.
//!
//! It stands between a node and the network and rewrites frames, so that the node itself stays what it is. By the rules of the wire
//! it may
//! - offer versions 1 to 2 in its hello, and send frames of version 2 to whoever offered that too, and to nobody else;
//! - put fields nobody knows into every Protobuf header and body of its own, never into what it relays;
//! - send messages and frames of kinds that nobody knows and that may be skipped (highest bit set), to anybody;
//! - send bodies that nobody knows, to a neighbour or to the far end of a path: it skips them.

use std::collections::{BTreeMap, HashMap};

use bytes::{Bytes, BytesMut};
use prost::Message as _;
use wattle_proto::frame::{HANDSHAKE_FRAME, Kind, MAX_FRAME, RELAY_HEADER};
use wattle_proto::link as wire;
use wattle_proto::node::Envelope;

use crate::event::Side;
use crate::frames::{Frames, HEADER, Part, Parts};
use crate::random::{Draws, Purpose};

/// The version spoken by every node, and the next.
const NOW: u16 = 1;
const NEXT: u16 = 2;
const HELLO: u16 = 1;
const BATCH: u16 = 2;
/// An end of a connection.
type End = (usize, Side);

/// What an end reads of the frames that reach it.
#[derive(Debug, Default)]
struct Reader {
    /// The start of a frame, until its header is whole; all of a hello, until it is.
    start: BytesMut,
    /// What is left of a frame that needs no more reading.
    rest: usize,
    /// It lost track: the node will refuse what comes.
    lost: bool,
    /// The highest version the other end offered.
    offered: u16,
}

/// Who speaks the next version, and what is agreed on.
#[derive(Debug)]
pub(crate) struct NextVersion {
    speaks: Vec<bool>,
    readers: HashMap<End, Reader>,
    /// Per end: how often it sent.
    ordinals: BTreeMap<End, u64>,
}

impl NextVersion {
    pub(crate) fn new(speaks: Vec<bool>) -> Self {
        Self { speaks, readers: HashMap::new(), ordinals: BTreeMap::new() }
    }

    pub(crate) fn speaks(&self, node: usize) -> bool {
        self.speaks[node]
    }

    /// Adds what the next version says to the frames of one transmit.
    pub(crate) fn extends(&mut self, seed: u64, end: End, bytes: &Bytes) -> Bytes {
        let ordinal = self.ordinals.entry(end).or_default();
        *ordinal += 1;
        let mut draws = Draws::new(seed, Purpose::NextVersion, (end.0 * 2 + end.1) as u64, *ordinal);
        let mut out = Vec::with_capacity(bytes.len() + 256);
        for frame in Frames::new(bytes) {
            let frame = &bytes[frame.range];
            match frame_type(frame) {
                Some(HELLO) => out.extend(hello(frame).unwrap_or_else(|| frame.to_vec())),
                Some(BATCH) => {
                    out.extend(batch(&mut draws, frame).unwrap_or_else(|| frame.to_vec()));
                    if draws.one_in(12) {
                        let kind = 0x8000 | draws.below(0x8000) as u16;
                        out.extend(framed(kind, &noise(&mut draws)));
                    }
                }
                _ => out.extend_from_slice(frame),
            }
        }
        out.into()
    }

    /// Marks frames with the version that both ends agreed on.
    pub(crate) fn stamps(&self, end: End, bytes: Bytes) -> Bytes {
        match self.readers.get(&end) {
            Some(reader) if reader.offered >= NEXT => stamped(&bytes, NOW, NEXT),
            _ => bytes,
        }
    }

    /// Reads what reaches an end before its node does, which knows nothing of the next version.
    pub(crate) fn receives(&mut self, end: End, bytes: Bytes) -> Bytes {
        self.readers.entry(end).or_default().read(bytes)
    }

    /// Whether any two ends agreed on the next version.
    #[cfg(test)]
    pub(crate) fn agreed(&self) -> bool {
        self.readers.values().any(|reader| reader.offered >= NEXT)
    }

    /// A connection is over for an end.
    pub(crate) fn forget(&mut self, end: End) {
        self.readers.remove(&end);
        self.ordinals.remove(&end);
    }
}

/// The frames of the next version as what every node reads.
pub(crate) fn unstamped(bytes: &Bytes) -> Bytes {
    stamped(bytes, NEXT, NOW)
}

fn stamped(bytes: &Bytes, from: u16, to: u16) -> Bytes {
    let mut out = bytes.to_vec();
    for frame in Frames::new(bytes) {
        let whole = &mut out[frame.range];
        if whole.len() >= HEADER && whole[4..6] == from.to_le_bytes() && frame_type(whole) != Some(HELLO) {
            whole[4..6].copy_from_slice(&to.to_le_bytes());
        }
    }
    out.into()
}

fn frame_type(frame: &[u8]) -> Option<u16> {
    Some(u16::from_le_bytes(frame.get(6..8)?.try_into().ok()?))
}

impl Reader {
    fn read(&mut self, mut bytes: Bytes) -> Bytes {
        let mut out = BytesMut::with_capacity(bytes.len());
        while !bytes.is_empty() {
            if self.lost {
                out.extend_from_slice(&bytes);
                break;
            }
            if self.rest > 0 {
                let taken = bytes.split_to(self.rest.min(bytes.len()));
                self.rest -= taken.len();
                out.extend_from_slice(&taken);
                continue;
            }
            let wanted = self.wanted();
            let taken = bytes.split_to((wanted - self.start.len()).min(bytes.len()));
            self.start.extend_from_slice(&taken);
            if self.start.len() == wanted && self.wanted() == wanted {
                self.begin(&mut out);
            }
        }
        out.freeze()
    }

    /// How many bytes must be there before a frame can go on to the node.
    fn wanted(&self) -> usize {
        match self.start.first_chunk::<HEADER>() {
            Some(header) if frame_type(header) == Some(HELLO) => HEADER + size(header).min(HANDSHAKE_FRAME),
            _ => HEADER,
        }
    }

    fn begin(&mut self, out: &mut BytesMut) {
        let mut frame = self.start.split();
        if !frame.starts_with(b"WTLE") {
            self.lost = true;
        } else if frame_type(&frame) == Some(HELLO) {
            let message = Parts::new(&frame).next();
            let said = message.and_then(|message| wire::Message::decode(&frame[message.header]).ok());
            if let Some(wire::message::Kind::Hello(hello)) = said.and_then(|said| said.kind) {
                self.offered = hello.version_high as u16;
            }
        } else {
            if frame[4..6] == NEXT.to_le_bytes() {
                frame[4..6].copy_from_slice(&NOW.to_le_bytes());
            }
            self.rest = frame.first_chunk::<HEADER>().map_or(0, size);
        }
        out.extend_from_slice(&frame);
    }
}

fn size(header: &[u8; HEADER]) -> usize {
    u32::from_le_bytes([header[8], header[9], header[10], header[11]]) as usize
}

/// A hello that offers both versions and says something nobody knows.
fn hello(frame: &[u8]) -> Option<Vec<u8>> {
    let message = Parts::new(frame).next()?;
    let wire::message::Kind::Hello(mut hello) =
        wire::Message::decode(&frame[message.header.clone()]).ok()?.kind?
    else {
        return None;
    };
    hello.version_high = NEXT.into();
    let mut inner = hello.encode_to_vec();
    inner.extend(unknown_field(b"capabilities"));
    let mut header = vec![0x0a];
    prost::encoding::encode_varint(inner.len() as u64, &mut header);
    header.extend(inner);
    let body = message_with(frame, &message, &header, &[])?;
    (body.len() <= HANDSHAKE_FRAME).then(|| framed(HELLO, &body))
}

/// The messages of a frame, those of this node with fields that nobody knows, and between them messages that nobody knows.
fn batch(draws: &mut Draws, frame: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::with_capacity(frame.len() + 128);
    let mut end = HEADER;
    for part in Parts::new(frame) {
        end = part.range.end;
        // What was not relayed yet is this node's own word.
        let extended = if part.hop == 0 && draws.percent(50) { extended(draws, frame, &part) } else { None };
        match extended {
            Some(message) => body.extend(message),
            None => body.extend_from_slice(&frame[part.range.clone()]),
        }
        if part.hop == 0 && draws.one_in(24) {
            body.extend(strange(frame, &part).unwrap_or_default());
        }
        if draws.one_in(8) {
            body.extend(optional(draws));
        }
    }
    (end == frame.len() && body.len() <= MAX_FRAME).then(|| framed(BATCH, &body))
}

/// A message with one field more wherever a field can be.
fn extended(draws: &mut Draws, frame: &[u8], part: &Part) -> Option<Vec<u8>> {
    let field = unknown_field(&noise(draws));
    let mut header = frame[part.header.clone()].to_vec();
    let mut payload = frame[part.payload.clone()].to_vec();
    match Kind::from_number(part.kind)? {
        Kind::Raft | Kind::Mesh => payload.extend_from_slice(&field),
        Kind::Pair | Kind::Stream => {
            let mut envelope = Envelope::decode(&header[..]).ok()?;
            envelope.body = [&envelope.body, &field[..]].concat().into();
            header = envelope.encode_to_vec();
        }
        Kind::Link | Kind::Route | Kind::Join | Kind::Notice => {}
    }
    header.extend_from_slice(&field);
    message_with(frame, part, &header, &payload)
}

/// A message to the same end as another, with a body that nobody knows.
fn strange(frame: &[u8], part: &Part) -> Option<Vec<u8>> {
    let kind = Kind::from_number(part.kind)?;
    if matches!(kind, Kind::Link | Kind::Route | Kind::Join) {
        return message_with(frame, part, &unknown_field(b"a kind of the next version"), &[]);
    }
    if !part.travels() || kind == Kind::Notice {
        return None;
    }
    let mut envelope = Envelope::decode(&frame[part.header.clone()]).ok()?;
    let field = unknown_field(b"a body of the next version");
    let payload = match kind {
        Kind::Raft | Kind::Mesh => field,
        _ => {
            envelope.body = field.into();
            Vec::new()
        }
    };
    message_with(frame, part, &envelope.encode_to_vec(), &payload)
}

/// A message of a kind that nobody knows and everybody may skip.
fn optional(draws: &mut Draws) -> Vec<u8> {
    let (header, payload) = (noise(draws), noise(draws));
    let mut message = vec![0x80 | draws.below(0x80) as u8, draws.below(3) as u8, 0, 0, 0, 0, 0, 0];
    message.extend_from_slice(&[0; 4]);
    message.extend_from_slice(&(header.len() as u16).to_le_bytes());
    message.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    message.extend(header);
    message.extend(payload);
    message
}

fn noise(draws: &mut Draws) -> Vec<u8> {
    let len = draws.index(40);
    draws.bytes32().into_iter().cycle().take(len).collect()
}

/// Field 1000, bytes: no message has it.
fn unknown_field(content: &[u8]) -> Vec<u8> {
    let mut field = Vec::new();
    prost::encoding::encode_key(1000, prost::encoding::WireType::LengthDelimited, &mut field);
    prost::encoding::encode_varint(content.len() as u64, &mut field);
    field.extend_from_slice(content);
    field
}

/// A message with the relay header of another, lengths aside.
fn message_with(frame: &[u8], part: &Part, header: &[u8], payload: &[u8]) -> Option<Vec<u8>> {
    let relay = &frame[part.range.start..part.header.start];
    let mut message = relay.to_vec();
    message[12..14].copy_from_slice(&u16::try_from(header.len()).ok()?.to_le_bytes());
    message[14..RELAY_HEADER].copy_from_slice(&u32::try_from(payload.len()).ok()?.to_le_bytes());
    message.extend_from_slice(header);
    message.extend_from_slice(payload);
    Some(message)
}

fn framed(kind: u16, body: &[u8]) -> Vec<u8> {
    let mut frame = b"WTLE\x01\x00".to_vec();
    frame.extend_from_slice(&kind.to_le_bytes());
    frame.extend_from_slice(&(body.len() as u32).to_le_bytes());
    frame.extend_from_slice(body);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;
    use wattle_proto::frame::{Class, Decoder, Fault, FrameKind, FrameWriter, Path, RelayHeader};

    fn frame_of(kind: FrameKind, relay: RelayHeader, header: &[u8], payload: &[u8]) -> Bytes {
        let mut out = Vec::new();
        let mut frame = FrameWriter::begin(&mut out, kind, MAX_FRAME);
        frame.append(&relay, header, &[payload]).unwrap();
        frame.finish();
        out.into()
    }

    fn hello_frame() -> Bytes {
        let hello =
            wire::Hello { version_low: 1, version_high: 1, name: "ash".into(), ..wire::Hello::default() };
        let message = wire::Message { kind: Some(wire::message::Kind::Hello(hello)) };
        let relay = RelayHeader::direct(Kind::Link, Class::Control);
        frame_of(FrameKind::Hello, relay, &message.encode_to_vec(), b"")
    }

    fn batch_frame() -> Bytes {
        let relay = RelayHeader::along(Kind::Stream, Class::Bulk, Path::new(&[7, 9]).unwrap());
        let envelope = Envelope { body: Bytes::from_static(b"\x08\x01"), ..Envelope::default() };
        frame_of(FrameKind::Batch, relay, &envelope.encode_to_vec(), b"payload")
    }

    fn read(bytes: Bytes) -> Result<Vec<wattle_proto::frame::Message>, Fault> {
        let mut decoder = Decoder::new();
        decoder.push(bytes);
        let mut messages = Vec::new();
        while let Some(frame) = decoder.next().map_err(|error| error.fault)? {
            messages.extend(frame);
        }
        Ok(messages)
    }

    #[test]
    fn a_hello_offers_both_versions_and_an_old_node_reads_it() {
        let mut next = NextVersion::new(vec![true, false]);
        let messages = read(next.extends(1, (0, 0), &hello_frame())).unwrap();
        let message = wire::Message::decode(messages[0].header.clone()).unwrap();
        let Some(wire::message::Kind::Hello(hello)) = message.kind else { panic!("no hello") };
        assert_eq!((hello.version_low, hello.version_high, &hello.name[..]), (1, 2, "ash"));
        assert!(messages[0].header.windows(12).any(|bytes| bytes == b"capabilities"));
    }

    #[test]
    fn old_nodes_skip_what_they_do_not_know_and_read_all_else_as_it_was() {
        let mut next = NextVersion::new(vec![true]);
        let original = read(batch_frame()).unwrap().remove(0);
        let (mut longer, mut strangers, mut optional) = (0, 0, 0);
        for _ in 0..400 {
            let extended = next.extends(1, (0, 0), &batch_frame());
            let all: usize = Frames::new(&extended)
                .filter(|frame| frame_type(&extended[frame.range.clone()]) == Some(BATCH))
                .map(|frame| Parts::new(&extended[frame.range]).count())
                .sum();
            let messages = read(extended.clone()).unwrap();
            optional += all - messages.len() + Frames::new(&extended).count() - 1;
            let read = &messages[0];
            assert_eq!((read.relay, &read.payload), (original.relay, &original.payload));
            let envelope = Envelope::decode(read.header.clone()).unwrap();
            assert!(envelope.body.starts_with(b"\x08\x01"));
            longer += usize::from(read.header != original.header);
            strangers += messages.len() - 1;
        }
        assert!((120..280).contains(&longer), "{longer} of 400 have a field more");
        assert!(strangers > 4 && optional > 40, "{strangers} strange bodies, {optional} optional kinds");
    }

    #[test]
    fn what_a_node_relays_it_passes_on_as_it_came() {
        let mut relay = RelayHeader::along(Kind::Raft, Class::Control, Path::new(&[7, 9]).unwrap());
        relay.step(3);
        let relayed = frame_of(FrameKind::Batch, relay, b"header", b"payload");
        let original = read(relayed.clone()).unwrap();
        let mut next = NextVersion::new(vec![true]);
        for _ in 0..100 {
            assert_eq!(read(next.extends(1, (0, 0), &relayed)).unwrap(), original);
        }
    }

    #[test]
    fn the_next_version_is_spoken_only_to_whoever_offered_it_and_however_bytes_are_cut() {
        let mut next = NextVersion::new(vec![true, true, false]);
        let (to_next, to_old) = ((0, 0), (1, 0));
        let offer = next.extends(1, (0, 1), &hello_frame());
        for byte in offer.chunks(5) {
            next.receives(to_next, Bytes::copy_from_slice(byte));
        }
        assert_eq!(next.receives(to_old, hello_frame()), hello_frame(), "a hello is passed on as it is");
        assert_eq!(next.stamps(to_old, batch_frame()), batch_frame());
        let stamped = next.stamps(to_next, batch_frame());
        assert_eq!(stamped[4..6], [2, 0]);
        assert_eq!(read(stamped.clone()), Err(Fault::Version(2)), "an old node refuses it");
        assert_eq!(unstamped(&stamped), batch_frame());
        let twice = [&stamped[..], &stamped[..]].concat();
        let mut reader = Reader::default();
        let mut read = Vec::new();
        twice.chunks(1).for_each(|byte| read.extend(reader.read(Bytes::copy_from_slice(byte))));
        assert_eq!(read, [batch_frame(), batch_frame()].concat());
    }

    #[test]
    fn a_reader_that_loses_track_hides_nothing() {
        let mut reader = Reader::default();
        let spoiled = Bytes::from_static(b"WTLFwhatever comes next");
        assert_eq!(reader.read(spoiled.clone()), spoiled);
        assert_eq!(reader.read(batch_frame()), batch_frame());
    }
}
