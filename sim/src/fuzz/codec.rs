//! Targets for whatever reads bytes: frames, messages, rows.

use bytes::Bytes;
use prost::Message as _;
use wattle_core::crc32c::crc32c;
use wattle_core::id::{BootId, Ticket};
use wattle_core::level::Level;
use wattle_core::node::{Input, Node, Output, Rejected};
use wattle_core::time::{Now, Span};
use wattle_core::{link, mesh, raft, route, stream};
use wattle_proto::frame::{Decoder, FrameError, FrameKind, FrameWriter, MAX_FRAME, Message};
use wattle_proto::node::{Envelope, Notice};

use super::Tally;
use super::source::{Source, mutate};
use super::tape::{Life, Tape};

/// Families of messages, by the number that begins an input.
const FAMILIES: usize = 9;

/// The bytes of a connection, cut anywhere: the same messages as uncut, or a refusal; each can be said again.
pub(super) fn frame(input: &[u8]) -> Tally {
    let (&cut, bytes) = input.split_first().unwrap_or((&0, &[]));
    let whole = decode(bytes, bytes.len());
    let pieces = decode(bytes, usize::from(cut));
    assert_eq!(pieces, whole, "it matters how the bytes are cut");
    for message in &whole.0 {
        let mut out = Vec::new();
        let mut writer = FrameWriter::begin(&mut out, FrameKind::Batch, MAX_FRAME);
        writer.append_message(message).expect("it came in a frame of that limit");
        writer.finish();
        assert_eq!(
            decode(&out, out.len()),
            (vec![message.clone()], None),
            "it reads otherwise the second time"
        );
    }
    Tally { borne: whole.0.len() as u64, closed: u64::from(whole.1.is_some()), ..Tally::default() }
}

/// All messages up to the end or the first fault.
fn decode(bytes: &[u8], cut: usize) -> (Vec<Message>, Option<FrameError>) {
    let mut decoder = Decoder::new();
    decoder.set_limit(MAX_FRAME);
    let mut messages = Vec::new();
    for piece in bytes.chunks(cut.max(1)) {
        decoder.push(Bytes::copy_from_slice(piece));
        loop {
            match decoder.next() {
                Ok(Some(frame)) => messages.extend(frame),
                Ok(None) => break,
                Err(error) => return (messages, Some(error)),
            }
        }
        assert!(decoder.held() <= bytes.len(), "more is held than came in");
    }
    (messages, None)
}

/// A message of any family: refused, or read, and then the same when it is said again.
pub(super) fn messages(input: &[u8]) -> Tally {
    let mut source = Source::new(input);
    let family = source.below(FAMILIES);
    let header_len = usize::from(source.u16());
    let header = Bytes::copy_from_slice(source.take(header_len));
    let payload = Bytes::copy_from_slice(source.rest());
    let read = match family {
        0 => again(link::Message::decode(header), |m| link::Message::decode(m.encode())),
        1 => again(link::Beat::decode(header), |m| link::Beat::decode(m.encode())),
        2 => again(route::Message::decode(header), |m| {
            links(m);
            route::Message::decode(m.encode())
        }),
        3 => again(raft::Message::decode(payload), |m| raft::Message::decode(m.encode().to_bytes())),
        4 => again(mesh::Message::decode(&payload), |m| mesh::Message::decode(&m.encode())),
        5 => again(mesh::JoinMessage::decode(&header), |m| mesh::JoinMessage::decode(&m.encode())),
        6 => again(stream::Message::decode(header, payload), |m| {
            let (header, payload) = m.encode();
            stream::Message::decode(header, payload.to_bytes())
        }),
        7 => mesh::State::decode(&payload).is_ok_and(|state| {
            let bytes = state.encode();
            let again = mesh::State::decode(&bytes).expect("it was read before");
            assert_eq!(again.encode(), bytes, "a state that changes when it is written");
            true
        }),
        _ => Envelope::decode(header).is_ok() | Notice::decode(payload).is_ok(),
    };
    Tally { borne: u64::from(read), closed: u64::from(!read), ..Tally::default() }
}

/// The links within a route message: refused, or read, and then the same when they are said again.
fn links(message: &route::Message) {
    let route::Message::Flood(states) = message else { return };
    for state in states.iter().filter_map(|announcement| announcement.read().ok()) {
        let again = route::LinkState::new(state.version(), state.origin(), state.adjacencies().into());
        let again = again.announcement(Span::ZERO).read().expect("a node reads what it writes");
        assert_eq!(again.adjacencies(), state.adjacencies(), "links read otherwise the second time");
    }
}

/// Whether something was read; it must read the same when it is said again.
fn again<T, E>(read: Result<T, E>, repeat: impl FnOnce(&T) -> Result<T, E>) -> bool
where
    T: PartialEq + std::fmt::Debug,
    E: std::fmt::Debug,
{
    let Ok(message) = read else { return false };
    assert_eq!(repeat(&message).expect("it was read before"), message, "it reads otherwise the second time");
    true
}

/// The recorded messages as inputs of [`messages`].
pub(super) fn said(tape: &Tape) -> Vec<Vec<u8>> {
    use wattle_proto::frame::Kind;
    let input = |family: u8, header: &[u8], payload: &[u8]| {
        let len = u16::try_from(header.len()).expect("no header is longer").to_le_bytes();
        [&[family], &len[..], header, payload].concat()
    };
    let one = |message: &Message| {
        let body = || Envelope::decode(message.header.clone()).expect("a node sends what can be read").body;
        match message.relay.kind() {
            Kind::Link => input(0, &message.header, &[]),
            Kind::Pair => input(1, &body(), &[]),
            Kind::Route => input(2, &message.header, &[]),
            Kind::Raft => input(3, &[], &message.payload),
            Kind::Mesh => input(4, &[], &message.payload),
            Kind::Join => input(5, &message.header, &[]),
            Kind::Stream => input(6, &body(), &message.payload),
            Kind::Notice => input(8, &[], &message.header),
        }
    };
    tape.said.iter().map(|said| one(&said.message)).collect()
}

/// Rows as a disk might give them back: the node starts, or says that they do not add up.
pub(super) fn journal(input: &[u8]) -> Tally {
    let tape = Tape::get();
    let mut source = Source::new(input);
    let Life { config, seed, boot, rows, .. } = source.pick(&tape.lives);
    let mut config = config.clone();
    config.journal.rows_may_tear = source.one_in(2);
    let last = source.below(rows.len());
    let first = if source.one_in(4) { source.below(last + 1) } else { 0 };
    let mut given: Vec<(Ticket, Vec<u8>)> =
        rows[first..=last].iter().map(|(ticket, row)| (*ticket, row.to_vec())).collect();
    for _ in 0..source.below(5) {
        harm(&mut source, &mut given);
    }
    given.sort_by_key(|(ticket, _)| *ticket);
    given.dedup_by_key(|(ticket, _)| *ticket);
    let mut node = Node::recover(config, *seed, BootId(boot.0 ^ 1));
    let now = Now::default();
    for (ticket, row) in given {
        node.handle(now, Input::Row { ticket, bytes: row.into() }).expect("taken while recovering");
    }
    match node.handle(now, Input::Recovered) {
        Ok(()) => node.check_invariants(Level::Full),
        Err(Rejected::Damaged(_)) => return Tally { refused: 1, ..Tally::default() },
        Err(other) => panic!("neither started nor damaged: {other}"),
    }
    let wrote =
        std::iter::from_fn(|| node.poll_output()).any(|output| matches!(output, Output::Write { .. }));
    assert!(wrote, "a start is written down");
    Tally { recovered: 1, ..Tally::default() }
}

/// Does one thing to rows that a disk might do to them.
fn harm(source: &mut Source<'_>, rows: &mut Vec<(Ticket, Vec<u8>)>) {
    if rows.is_empty() {
        return;
    }
    let at = source.below(rows.len());
    match source.below(6) {
        0 => drop(rows.remove(at)),
        1 => rows.truncate(at),
        2 => {
            let other = source.below(rows.len());
            rows[at].1 = rows[other].1.clone();
        }
        3 => rows[at].0 = Ticket(source.number()),
        4 => mutate(source, &mut rows[at].1),
        _ => {
            mutate(source, &mut rows[at].1);
            mend(&mut rows[at].1);
        }
    }
}

/// Makes the checksum of a row's header and meta section right again, so that a change reaches deeper.
fn mend(row: &mut [u8]) {
    const CRC: usize = 50;
    const HEADER: usize = 54;
    if row.len() < HEADER {
        return;
    }
    let meta = u32::from_le_bytes([row[42], row[43], row[44], row[45]]) as usize;
    let Some(end) = HEADER.checked_add(meta).filter(|&end| end <= row.len()) else { return };
    let crc = crc32c(&[&row[..CRC], &row[HEADER..end]].concat());
    row[CRC..HEADER].copy_from_slice(&crc.to_le_bytes());
}
