//! How inputs and outputs of a node enter the trace: a kind, a digest of what decides, and a line for people.

use bytes::Bytes;
use prost::Message as _;
use wattle_core::id::{GroupId, NodeId};
use wattle_core::node::command::Reply;
use wattle_core::node::{Input, Output};
use wattle_core::raft;
use wattle_proto::frame::{Decoder, Kind, MAX_FRAME, Message};
use wattle_proto::node::Envelope;

use crate::trace::digest;

/// The messages in bytes that begin with a frame, in words; several of a kind in a row are counted.
pub(crate) fn messages(bytes: &Bytes) -> String {
    let mut decoder = Decoder::new();
    decoder.set_limit(MAX_FRAME);
    decoder.push(bytes.clone());
    let mut said: Vec<(String, usize)> = Vec::new();
    while let Ok(Some(frame)) = decoder.next() {
        for message in frame {
            let words = one_message(&message);
            match said.last_mut() {
                Some((last, times)) if *last == words => *times += 1,
                _ => said.push((words, 1)),
            }
        }
    }
    let each = said.iter().map(|(words, times)| match times {
        1 => words.clone(),
        times => format!("{words} x{times}"),
    });
    each.collect::<Vec<_>>().join("; ")
}

fn one_message(message: &Message) -> String {
    let (kind, hop) = (message.relay.kind(), message.relay.path().hop());
    let Ok(envelope) = Envelope::decode(message.header.clone()) else { return format!("{kind:?}") };
    let end = NodeId::from_slice(&envelope.target).map_or_else(String::new, |target| format!(" to {target}"));
    match raft::Message::decode(message.payload.clone()) {
        Ok(said) if kind == Kind::Raft => {
            let group = GroupId::from_slice(&envelope.group).unwrap_or(GroupId::CONTROL);
            format!("{group}{end} hop {hop} term {}: {}", said.term, consensus(&said.body))
        }
        _ => format!("{kind:?}{end} hop {hop}: {} + {} bytes", envelope.body.len(), message.payload.len()),
    }
}

fn consensus(body: &raft::Body) -> String {
    match body {
        raft::Body::Append(append) => format!(
            "append {} behind {}/{}: {} entries, commit {}",
            append.number,
            append.previous.index,
            append.previous.term,
            append.entries.len(),
            append.commit
        ),
        raft::Body::AppendReply { number, matched, place, more, waiting, .. } => {
            let what = if *matched { "matches up to" } else { "differs, ends at" };
            let more = if *more { ", wants more" } else { "" };
            let waiting = if *waiting { ", waits for bytes" } else { "" };
            format!("reply to {number}: {what} {}/{}{more}{waiting}", place.index, place.term)
        }
        raft::Body::Snapshot(snapshot) => {
            let (at, end) = (snapshot.offset, snapshot.offset + snapshot.data.len() as u64);
            format!(
                "snapshot {} at {}: {at} to {end} of {}",
                snapshot.number, snapshot.place.index, snapshot.total
            )
        }
        other => format!("{other:?}"),
    }
}

/// The kind of what a node sends in the trace.
pub(crate) const TRANSMIT: u8 = 60;
/// The kind of a node's start in the trace.
pub(crate) const BOOT: u8 = 61;
/// The kind of a node's end in the trace.
pub(crate) const CRASH: u8 = 62;
/// The kind of a fault in the trace.
pub(crate) const FAULT: u8 = 63;

/// Kind and digest of an input.
pub(crate) fn input(input: &Input) -> (u8, u64) {
    match input {
        Input::Row { ticket, bytes } => (1, ticket.0 ^ digest(bytes)),
        Input::Recovered => (2, 0),
        Input::LaneUp { lane, dial, peer_key } => {
            (3, lane.0 ^ dial.map_or(0, |dial| dial.0 << 32) ^ digest(&peer_key.0))
        }
        Input::LaneDown { lane } => (4, lane.0),
        Input::DialFailed { dial } => (5, dial.0),
        Input::Received { lane, bytes } => (6, lane.0 ^ digest(bytes)),
        Input::Deadline => (7, 0),
        Input::Persisted { upto } => (8, upto.0),
        Input::WriteFailed { .. } => (9, 0),
        Input::Loaded { load, bytes } => (10, load.0 ^ bytes.as_ref().map_or(1, |bytes| digest(bytes))),
        Input::Space { free } => (11, *free),
        Input::WorkDone { work, .. } => (12, work.token ^ (work.owner as u64) << 56),
        Input::Command { request, .. } => (13, request.0),
        Input::Took { token, bytes } => (17, token.0 ^ bytes << 32),
        Input::Verdict { token, upto } => (14, token.0 ^ upto.0 << 32),
        Input::Failed { token, sequence, .. } => (18, token.0 ^ sequence.0 << 32),
        Input::Retried { token, sequence } => (19, token.0 ^ sequence.0 << 32),
        Input::Detach { token } => (15, token.0),
        Input::Forget { request } => (16, request.0),
        Input::Synced { upto } => (17, upto.0),
    }
}

/// An input in words.
pub(crate) fn input_line(input: &Input) -> String {
    match input {
        Input::Row { ticket, bytes } => format!("<- row {ticket} ({} bytes)", bytes.len()),
        Input::Synced { upto } => format!("<- synced up to {upto}"),
        Input::Recovered => "<- recovered".into(),
        Input::LaneUp { lane, dial: Some(dial), .. } => format!("<- lane {lane} up (dial {})", dial.0),
        Input::LaneUp { lane, dial: None, .. } => format!("<- lane {lane} up (accepted)"),
        Input::LaneDown { lane } => format!("<- lane {lane} down"),
        Input::DialFailed { dial } => format!("<- dial {} failed", dial.0),
        Input::Received { lane, bytes } => format!("<- {} bytes on lane {lane}", bytes.len()),
        Input::Deadline => "<- deadline".into(),
        Input::Persisted { upto } => format!("<- persisted up to {upto}"),
        Input::WriteFailed { reason } => format!("<- write failed: {reason}"),
        Input::Loaded { load, bytes } => {
            format!("<- loaded {}: {:?} bytes", load.0, bytes.as_ref().map(bytes::Bytes::len))
        }
        Input::Space { free } => format!("<- space {free}"),
        Input::WorkDone { work, .. } => format!("<- work {}/{} done", work.owner as u8, work.token),
        Input::Command { request, command } => {
            let mut text = format!("{command:?}");
            if let Some((cut, _)) = text.char_indices().nth(160) {
                text.truncate(cut);
                text.push_str("...");
            }
            format!("<- request {:x}: {text}", request.0)
        }
        Input::Took { token, bytes } => format!("<- {bytes} bytes of pieces taken under {token}"),
        Input::Verdict { token, upto } => format!("<- verdict under {token}: up to {upto}"),
        Input::Failed { token, sequence, reason } => {
            format!("<- failed under {token} at {sequence}: {reason}")
        }
        Input::Retried { token, sequence } => {
            format!("<- {sequence} was processed under {token}, from what is parked")
        }
        Input::Detach { token } => format!("<- detach {token}"),
        Input::Forget { request } => format!("<- forget request {:x}", request.0),
    }
}

/// Kind and digest of an output.
pub(crate) fn output(output: &Output) -> (u8, u64) {
    match output {
        Output::Write { ticket, row } => {
            (32, row.pieces().iter().fold(ticket.0, |hash, piece| hash.rotate_left(7) ^ digest(piece)))
        }
        Output::Trim { below } => (33, below.0),
        Output::Load { load, row, offset, len } => {
            (34, load.0 ^ row.0 << 16 ^ u64::from(*offset ^ *len) << 32)
        }
        Output::Work { work, .. } => (35, work.token ^ (work.owner as u64) << 56),
        Output::Dial { dial, address } => (36, dial.0 ^ digest(address.as_bytes())),
        Output::Close { lane, .. } => (37, lane.0),
        Output::Deliver(delivery) => {
            let last = delivery.messages.last().map_or(0, |message| message.sequence.0);
            (38, delivery.token.0 ^ last << 32 ^ delivery.messages.len() as u64)
        }
        Output::DeliverUpdates(delivery) => {
            let last = delivery.items.last().map_or(0, |item| item.last().0);
            (41, delivery.token.0 ^ last << 32 ^ delivery.items.len() as u64)
        }
        Output::Reply { request, reply: Ok(Reply::Published(receipt)) } => {
            (39, request.0 ^ receipt.last.0 << 20 ^ receipt.last_writer.0 << 40 ^ receipt.level as u64)
        }
        Output::Reply { request, reply } => (39, request.0 ^ u64::from(reply.is_ok()) << 63),
        Output::ShowKey(key) => (42, digest(&key.0)),
        Output::Event(_) => (40, 0),
    }
}

/// An output in words.
pub(crate) fn output_line(output: &Output) -> String {
    match output {
        Output::Write { ticket, row } => format!("-> write {ticket} ({} bytes)", row.len()),
        Output::Trim { below } => format!("-> trim below {below}"),
        Output::Load { load, row, offset, len } => {
            format!("-> load {} of row {row}: {len} at {offset}", load.0)
        }
        Output::Work { work, .. } => format!("-> work {}/{}", work.owner as u8, work.token),
        Output::Dial { dial, address } => format!("-> dial {} to {address}", dial.0),
        Output::Close { lane, reason } => format!("-> close lane {lane}: {reason:?}"),
        Output::Deliver(delivery) => {
            let sequences = delivery.messages.first().zip(delivery.messages.last());
            let range = sequences.map(|(first, last)| (first.sequence, last.sequence));
            format!("-> deliver {range:?} under {}", delivery.token)
        }
        Output::DeliverUpdates(delivery) => {
            let upto = delivery.items.last().map(wattle_core::update::UpdateItem::last);
            format!("-> deliver {} updates up to {upto:?} under {}", delivery.kind.name(), delivery.token)
        }
        Output::Reply { request, reply } => match reply {
            Ok(reply) => format!("-> answer {:x}: {reply:?}", request.0),
            Err(refusal) => format!("-> refuse {:x}: {refusal}", request.0),
        },
        Output::ShowKey(key) => format!("-> show key {}", key.first_node_id()),
        Output::Event(event) => format!("-> event {event:?}"),
    }
}
