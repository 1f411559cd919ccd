//! Typed messages to Protobuf and back. Decoding gives a message that makes sense, or says what does not.

use alloc::boxed::Box;
use alloc::string::ToString as _;
use alloc::vec::Vec;

use bytes::Bytes;
use prost::Message as _;
use wattle_proto::raft as wire;

use super::codec;
use super::delta::Delta;
use super::entries::Entries;
use super::message::{Append, Body, Entry, EntryKind, Mark, Message, Place, Snapshot};
use crate::configuration::{Configuration, Member};
use crate::digest::Chain;
use crate::id::{LogIndex, NodeId, ReplicaId, Term};
use crate::payload::Payload;

/// A message or record that cannot be read; what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a consensus message that cannot be read: {0}")]
pub struct Malformed(pub alloc::string::String);

const ENTRIES_MAX: usize = 65_536;
/// The most members of one kind in a configuration.
pub(super) const MEMBERS_MAX: usize = 4_096;
/// Indexes and terms of entries are below this, so that what follows one is always a number.
const NUMBER_MAX: u64 = 1 << 62;
/// An entry refers to fewer bytes than this. What all entries that a node can hold weigh together is a number then.
pub(super) const WEIGHT_MAX: u64 = 1 << 36;
/// Terms in messages are below this, those of places and marks, too: a node that enters the last of them can still write down the next.
pub(super) const TERM_MAX: u64 = 1 << 61;

fn bad<T>(what: &str) -> Result<T, Malformed> {
    Err(Malformed(what.to_string()))
}

fn number(found: u64) -> Result<u64, Malformed> {
    if found < NUMBER_MAX { Ok(found) } else { bad("a number out of range") }
}

fn weight(found: u64) -> Result<u64, Malformed> {
    if found < WEIGHT_MAX { Ok(found) } else { bad("a number out of range") }
}

fn replica(bytes: &[u8]) -> Result<ReplicaId, Malformed> {
    ReplicaId::from_slice(bytes).map_or_else(|| bad("a replica id has 16 bytes"), Ok)
}

fn member(member: &wire::Member) -> Result<Member, Malformed> {
    let Some(node) = NodeId::from_slice(&member.node) else { return bad("a node id has 16 bytes") };
    Ok(Member { node, replica: replica(&member.replica)? })
}

fn members(list: &[wire::Member]) -> Result<Vec<Member>, Malformed> {
    if list.len() > MEMBERS_MAX {
        return bad("too many members");
    }
    let list: Vec<Member> = list.iter().map(member).collect::<Result<_, _>>()?;
    if !list.is_sorted_by(|a, b| a < b) {
        return bad("members out of order");
    }
    Ok(list)
}

pub(super) fn configuration(wire: &wire::Configuration) -> Result<Configuration, Malformed> {
    Ok(Configuration {
        voters: members(&wire.voters)?,
        outgoing: members(&wire.outgoing)?,
        learners: members(&wire.learners)?,
    })
}

pub(super) fn place(wire: Option<&wire::Place>) -> Result<Place, Malformed> {
    let Some(wire) = wire else { return bad("a place is missing") };
    let Some(chain) = Chain::from_slice(&wire.chain) else { return bad("a chain has 16 bytes") };
    Ok(Place { index: LogIndex(number(wire.index)?), term: Term(number(wire.term)?), chain })
}

pub(super) fn mark(wire: &wire::Mark) -> Result<Mark, Malformed> {
    Ok(Mark {
        replica: replica(&wire.replica)?,
        term: Term(number(wire.term)?),
        vote: wire.vote.as_ref().map(member).transpose()?,
        last: place(wire.last.as_ref())?,
    })
}

/// Entries that stand behind `before`.
pub(super) fn entries(list: Vec<wire::Entry>, before: LogIndex) -> Result<Entries, Malformed> {
    if list.len() > ENTRIES_MAX {
        return bad("too many entries");
    }
    let typed = |(place, entry): (usize, wire::Entry)| {
        let kind = match entry.kind() {
            wire::entry::Kind::Blank => EntryKind::Blank,
            wire::entry::Kind::Command => EntryKind::Command,
            wire::entry::Kind::Configuration => {
                decode_delta(&entry.data)?;
                EntryKind::Configuration
            }
        };
        let index = LogIndex(before.0 + 1 + place as u64);
        let (term, weight) = (Term(number(entry.term)?), weight(entry.weight)?);
        Ok(Entry { index, term, kind, data: entry.data, weight })
    };
    list.into_iter().enumerate().map(typed).collect()
}

fn wire_entry(entry: &Entry) -> wire::Entry {
    let kind = match entry.kind {
        EntryKind::Blank => wire::entry::Kind::Blank,
        EntryKind::Command => wire::entry::Kind::Command,
        EntryKind::Configuration => wire::entry::Kind::Configuration,
    };
    wire::Entry { term: entry.term.0, kind: kind.into(), data: entry.data.clone(), weight: entry.weight }
}

fn bytes16(bytes: [u8; 16]) -> Vec<u8> {
    bytes.to_vec()
}

pub(super) fn wire_place(place: &Place) -> wire::Place {
    wire::Place { index: place.index.0, term: place.term.0, chain: bytes16(place.chain.0) }
}

pub(super) fn wire_member(member: &Member) -> wire::Member {
    wire::Member { node: bytes16(member.node.to_bytes()), replica: bytes16(member.replica.to_bytes()) }
}

pub(super) fn wire_mark(mark: &Mark) -> wire::Mark {
    wire::Mark {
        replica: bytes16(mark.replica.to_bytes()),
        term: mark.term.0,
        vote: mark.vote.as_ref().map(wire_member),
        last: Some(wire_place(&mark.last)),
    }
}

pub(super) fn wire_configuration(configuration: &Configuration) -> wire::Configuration {
    let list = |members: &[Member]| members.iter().map(wire_member).collect();
    wire::Configuration {
        voters: list(&configuration.voters),
        outgoing: list(&configuration.outgoing),
        learners: list(&configuration.learners),
    }
}

/// The data of a configuration entry.
pub(super) fn encode_delta(delta: &Delta) -> Bytes {
    let list = |members: &[Member]| members.iter().map(wire_member).collect();
    let wire = wire::ConfigurationDelta {
        voters: list(&delta.voters),
        outgoing: list(&delta.outgoing),
        joining: list(&delta.joining),
        leaving: list(&delta.leaving),
    };
    wire.encode_to_vec().into()
}

/// Reads the data of a configuration entry.
pub(super) fn decode_delta(data: &Bytes) -> Result<Delta, Malformed> {
    let wire = wire::ConfigurationDelta::decode(data.clone()).map_err(|e| Malformed(e.to_string()))?;
    Ok(Delta {
        voters: members(&wire.voters)?,
        outgoing: members(&wire.outgoing)?,
        joining: members(&wire.joining)?,
        leaving: members(&wire.leaving)?,
    })
}

impl Message {
    /// Reads a message.
    ///
    /// # Errors
    /// [`Malformed`] says what makes no sense.
    pub fn decode(bytes: Bytes) -> Result<Self, Malformed> {
        match codec::decode(&bytes) {
            Some(message) => message.checked(),
            None => decode_generated(bytes),
        }
    }

    /// The message, if it makes sense.
    fn checked(self) -> Result<Self, Malformed> {
        if self.term.0 >= TERM_MAX {
            return bad("a term out of range");
        }
        match &self.body {
            Body::Append(append) | Body::Fed(append) if append.entries.len() > ENTRIES_MAX => {
                return bad("too many entries");
            }
            Body::Append(append) | Body::Fed(append) => {
                let behind = append.entries.iter().zip(append.previous.index.0 + 1..);
                if behind.into_iter().any(|(entry, index)| entry.index.0 != index) {
                    return bad("entries that do not follow their place");
                }
                append.entries.iter().try_for_each(|entry| weight(entry.weight).map(drop))?;
                if append.entries.iter().any(|entry| entry.term.0 >= TERM_MAX) {
                    return bad("a number out of range");
                }
            }
            _ => {}
        }
        if let Body::Recall { mark: Some(mark), .. } = &self.body
            && mark.term.0 >= TERM_MAX
        {
            return bad("a number out of range");
        }
        for place in self.body.places().into_iter().flatten() {
            number(place.index.0)?;
            if place.term.0 >= TERM_MAX {
                return bad("a number out of range");
            }
        }
        if !self.body.fits(self.term) {
            return bad("entries of falling terms, or of a later term than its own");
        }
        Ok(self)
    }

    /// Writes a message.
    #[must_use]
    pub fn encode(&self) -> Payload {
        Payload::from(codec::encode(self).unwrap_or_else(|| encode_generated(self)))
    }
}

/// Reads a message with the generated code.
pub(super) fn decode_generated(bytes: Bytes) -> Result<Message, Malformed> {
    let message = wire::Message::decode(bytes).map_err(|error| Malformed(error.to_string()))?;
    let addressee = if message.addressee.is_empty() { None } else { Some(replica(&message.addressee)?) };
    let Some(body) = message.body else { return bad("nothing is said") };
    if message.term >= TERM_MAX {
        return bad("a term out of range");
    }
    let (sender, term) = (replica(&message.sender)?, Term(message.term));
    let (life, era) = (message.life, message.era);
    Message { sender, addressee, term, life, era, body: decode_body(body)? }.checked()
}

/// Writes a message with the generated code.
pub(super) fn encode_generated(message: &Message) -> Bytes {
    let wire = wire::Message {
        sender: bytes16(message.sender.to_bytes()),
        addressee: message.addressee.map(|replica| bytes16(replica.to_bytes())).unwrap_or_default(),
        term: message.term.0,
        body: Some(encode_body(&message.body)),
        life: message.life,
        era: message.era,
    };
    wire.encode_to_vec().into()
}

impl Body {
    /// The places it names.
    fn places(&self) -> [Option<&Place>; 2] {
        match self {
            Self::Append(append) | Self::Fed(append) => [Some(&append.previous), Some(&append.durable)],
            Self::AppendReply { place, .. } => [Some(place), None],
            Self::Vote { last, .. }
            | Self::VoteReply { last, .. }
            | Self::Copy { last }
            | Self::Feed { last, .. } => [Some(last), None],
            Self::Recall { mark, .. } => [mark.as_ref().map(|mark| &mark.last), None],
            Self::Snapshot(snapshot) => [Some(&snapshot.place), None],
            Self::Read { .. }
            | Self::ReadReply { .. }
            | Self::Stand
            | Self::Unfed
            | Self::Renamed { .. }
            | Self::SnapshotReply { .. }
            | Self::Stop { .. } => [None, None],
        }
    }

    /// Whether no term in a log that is sent falls, or passes the sender's.
    fn fits(&self, term: Term) -> bool {
        match self {
            Self::Append(append) | Self::Fed(append) => {
                let terms = core::iter::once(append.previous.term)
                    .chain(append.entries.iter().map(|entry| entry.term))
                    .chain(core::iter::once(term));
                terms.is_sorted()
            }
            Self::Snapshot(snapshot) => snapshot.place.term <= term,
            _ => true,
        }
    }
}

fn decode_append(append: wire::Append) -> Result<Append, Malformed> {
    let previous = place(append.previous.as_ref())?;
    Ok(Append {
        previous,
        commit: LogIndex(append.commit),
        durable: place(append.durable.as_ref())?,
        entries: entries(append.entries, previous.index)?,
        number: append.number,
        round: append.round,
        copy: append.copy,
        cut: false,
    })
}

fn encode_append(append: &Append) -> wire::Append {
    wire::Append {
        previous: Some(wire_place(&append.previous)),
        commit: append.commit.0,
        durable: Some(wire_place(&append.durable)),
        entries: append.entries.iter().map(wire_entry).collect(),
        number: append.number,
        copy: append.copy,
        round: append.round,
    }
}

fn decode_body(body: wire::message::Body) -> Result<Body, Malformed> {
    use wire::message::Body as W;
    Ok(match body {
        W::Append(append) => Body::Append(decode_append(append)?),
        W::Fed(append) => Body::Fed(decode_append(append)?),
        W::Feed(feed) => {
            Body::Feed { last: place(feed.last.as_ref())?, heard: LogIndex(number(feed.heard)?) }
        }
        W::Unfed(_) => Body::Unfed,
        W::AppendReply(reply) => Body::AppendReply {
            number: reply.number,
            matched: reply.matched,
            place: place(reply.place.as_ref())?,
            more: reply.more,
            waiting: reply.waiting,
            round: reply.round,
            fed: reply.fed,
        },
        W::Vote(vote) => Body::Vote { pre: vote.pre, last: place(vote.last.as_ref())? },
        W::VoteReply(reply) => {
            Body::VoteReply { pre: reply.pre, granted: reply.granted, last: place(reply.last.as_ref())? }
        }
        W::Recall(recall) => Body::Recall {
            mark: recall.mark.as_ref().map(mark).transpose()?,
            question: recall.question,
            start: recall.start,
            alone: recall.alone,
            needed: recall.needed,
        },
        W::Copy(copy) => Body::Copy { last: place(copy.last.as_ref())? },
        W::Renamed(renamed) => Body::Renamed { old: replica(&renamed.old)? },
        W::Snapshot(snapshot) => {
            let members = snapshot.configuration.as_ref();
            let Ok(digest) = <[u8; 16]>::try_from(&snapshot.digest[..]) else {
                return bad("a digest of a state has 16 bytes");
            };
            if snapshot.offset.checked_add(snapshot.data.len() as u64).is_none_or(|end| end > snapshot.total)
            {
                return bad("a chunk that ends behind its state");
            }
            Body::Snapshot(Box::new(Snapshot {
                place: place(snapshot.place.as_ref())?,
                configuration: members.map(configuration).transpose()?.unwrap_or_default(),
                total: snapshot.total,
                digest: u128::from_be_bytes(digest),
                offset: snapshot.offset,
                data: snapshot.data,
                number: snapshot.number,
                copy: snapshot.copy,
            }))
        }
        W::SnapshotReply(reply) => Body::SnapshotReply { number: reply.number, here: reply.here },
        W::Stop(stop) => {
            if stop.reason.len() > 4096 {
                return bad("a reason that is too long");
            }
            Body::Stop { reason: stop.reason }
        }
        W::Read(read) => Body::Read { number: read.number },
        W::ReadReply(reply) => {
            Body::ReadReply { number: reply.number, index: LogIndex(number(reply.index)?) }
        }
        W::Stand(_) => Body::Stand,
    })
}

fn encode_body(body: &Body) -> wire::message::Body {
    use wire::message::Body as W;
    match body {
        Body::Append(append) => W::Append(encode_append(append)),
        Body::Fed(append) => W::Fed(encode_append(append)),
        &Body::Feed { ref last, heard } => {
            W::Feed(wire::Feed { last: Some(wire_place(last)), heard: heard.0 })
        }
        Body::Unfed => W::Unfed(wire::Unfed {}),
        &Body::AppendReply { number, matched, ref place, more, waiting, round, fed } => {
            W::AppendReply(wire::AppendReply {
                number,
                matched,
                place: Some(wire_place(place)),
                more,
                waiting,
                round,
                fed,
            })
        }
        Body::Vote { pre, last } => W::Vote(wire::Vote { pre: *pre, last: Some(wire_place(last)) }),
        Body::VoteReply { pre, granted, last } => {
            W::VoteReply(wire::VoteReply { pre: *pre, granted: *granted, last: Some(wire_place(last)) })
        }
        &Body::Recall { ref mark, question, start, alone, needed } => {
            W::Recall(wire::Recall { mark: mark.as_ref().map(wire_mark), question, start, alone, needed })
        }
        Body::Copy { last } => W::Copy(wire::Copy { last: Some(wire_place(last)) }),
        Body::Renamed { old } => W::Renamed(wire::Renamed { old: bytes16(old.to_bytes()) }),
        Body::Snapshot(snapshot) => W::Snapshot(wire::Snapshot {
            place: Some(wire_place(&snapshot.place)),
            configuration: (snapshot.offset == 0).then(|| wire_configuration(&snapshot.configuration)),
            data: snapshot.data.clone(),
            number: snapshot.number,
            copy: snapshot.copy,
            total: snapshot.total,
            digest: bytes16(snapshot.digest.to_be_bytes()),
            offset: snapshot.offset,
        }),
        &Body::SnapshotReply { number, here } => W::SnapshotReply(wire::SnapshotReply { number, here }),
        Body::Stop { reason } => W::Stop(wire::Stop { reason: reason.clone() }),
        &Body::Read { number } => W::Read(wire::Read { number }),
        &Body::ReadReply { number, index } => W::ReadReply(wire::ReadReply { number, index: index.0 }),
        Body::Stand => W::Stand(wire::Stand {}),
    }
}
