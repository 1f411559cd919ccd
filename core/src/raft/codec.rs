//! Appends and their answers to bytes and back, without a detour.
//!
//! Nearly all that replicas say is one of these two, and most of what the generated code does for them is to make small vectors of ids and
//! digests. What is written here is what the generated code would write, byte for byte; what it would read differently, or not at all, is left
//! to it: reading gives up at the first thing that is not as written here.

use alloc::vec::Vec;

use bytes::Bytes;
use prost::encoding::WireType;

use super::entries::Entries;
use super::message::{Append, Body, Entry, EntryKind, Message, Place};
use crate::digest::Chain;
use crate::fields::{FIXED, Reader, Writer, field_len, number_len};
use crate::id::{LogIndex, ReplicaId, Term};

// Numbers of fields in raft.proto.
mod field {
    pub(super) const SENDER: u32 = 1;
    pub(super) const ADDRESSEE: u32 = 2;
    pub(super) const TERM: u32 = 3;
    pub(super) const APPEND: u32 = 4;
    pub(super) const REPLY: u32 = 5;
    pub(super) const LIFE: u32 = 13;
    pub(super) const ERA: u32 = 60;

    pub(super) const PREVIOUS: u32 = 1;
    pub(super) const COMMIT: u32 = 2;
    pub(super) const DURABLE: u32 = 3;
    pub(super) const ENTRIES: u32 = 4;
    pub(super) const NUMBER: u32 = 5;
    pub(super) const COPY: u32 = 6;
    pub(super) const ROUND: u32 = 7;

    pub(super) const REPLY_NUMBER: u32 = 1;
    pub(super) const MATCHED: u32 = 2;
    pub(super) const REPLY_PLACE: u32 = 3;
    pub(super) const MORE: u32 = 4;
    pub(super) const WAITING: u32 = 5;
    pub(super) const REPLY_ROUND: u32 = 6;
    pub(super) const FED: u32 = 7;
}

fn place_len(place: &Place) -> usize {
    number_len(place.index.0) + number_len(place.term.0) + field_len(16)
}

fn entry_len(entry: &Entry) -> usize {
    let data = if entry.data.is_empty() { 0 } else { field_len(entry.data.len()) };
    number_len(entry.term.0) + number_len(entry.kind as u64) + data + number_len(entry.weight)
}

fn write_place(writer: &mut Writer, field: u32, place: &Place) {
    writer.length(field, place_len(place));
    writer.number(1, place.index.0);
    writer.number(2, place.term.0);
    writer.bytes(3, &place.chain.0);
}

fn write_entry(writer: &mut Writer, field: u32, entry: &Entry) {
    writer.length(field, entry_len(entry));
    writer.number(1, entry.term.0);
    writer.number(2, entry.kind as u64);
    if !entry.data.is_empty() {
        writer.bytes(3, &entry.data);
    }
    writer.number(4, entry.weight);
}

/// A run of entries as a `LogRun`.
pub(super) fn encode_run(run: &Entries) -> Bytes {
    let len: usize = run.iter().map(|entry| field_len(entry_len(entry))).sum();
    let mut writer = Writer::new(len);
    run.iter().for_each(|entry| write_entry(&mut writer, 1, entry));
    writer.done()
}

/// What the head of a run says beside what is in the run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    /// The chain of the entry in front of it.
    pub(super) before: Chain,
    /// What was known to be committed when it was written.
    pub(super) commit: LogIndex,
    /// The history that the log was in then.
    pub(super) history: u64,
}

/// What is read of a run at every start, as a `RunHead`.
pub(super) fn encode_head(run: &Entries, Head { before, commit, history }: Head) -> Bytes {
    let term = run.first().map_or(0, |entry| entry.term.0);
    let change_len = |entry: &Entry| number_len(entry.index.0) + field_len(entry.data.len());
    let changes: usize = run.configurations().map(|entry| field_len(change_len(entry))).sum();
    let len = number_len(commit.0) + field_len(before.0.len()) + number_len(term) + changes + FIXED;
    let mut writer = Writer::new(len);
    writer.number(1, commit.0);
    writer.bytes(2, &before.0);
    writer.number(3, term);
    for entry in run.configurations() {
        writer.length(4, change_len(entry));
        writer.number(1, entry.index.0);
        writer.bytes(2, &entry.data);
    }
    writer.fixed(5, history);
    writer.done()
}

/// An append or an answer to one; `None` for all else that can be said.
pub(super) fn encode(message: &Message) -> Option<Bytes> {
    let body_len = match &message.body {
        Body::Append(append) => {
            let entries: usize = append.entries.iter().map(|entry| field_len(entry_len(entry))).sum();
            field_len(place_len(&append.previous))
                + number_len(append.commit.0)
                + field_len(place_len(&append.durable))
                + entries
                + number_len(append.number)
                + number_len(append.copy.into())
                + number_len(append.round)
        }
        &Body::AppendReply { number, matched, ref place, more, waiting, round, fed } => {
            let flags = [matched, more, waiting, fed].map(|flag| number_len(flag.into()));
            number_len(number)
                + flags.into_iter().sum::<usize>()
                + field_len(place_len(place))
                + number_len(round)
        }
        _ => return None,
    };
    let addressee = message.addressee.map_or(0, |_| field_len(16));
    let life = if message.life > 0 { 9 } else { 0 };
    // The key of that field takes two bytes.
    let era = if message.era > 0 { 10 } else { 0 };
    let len = field_len(16) + addressee + number_len(message.term.0) + field_len(body_len) + life + era;
    let mut writer = Writer::new(len);
    writer.bytes(field::SENDER, &message.sender.to_bytes());
    if let Some(addressee) = message.addressee {
        writer.bytes(field::ADDRESSEE, &addressee.to_bytes());
    }
    writer.number(field::TERM, message.term.0);
    match &message.body {
        Body::Append(append) => {
            writer.length(field::APPEND, body_len);
            write_place(&mut writer, field::PREVIOUS, &append.previous);
            writer.number(field::COMMIT, append.commit.0);
            write_place(&mut writer, field::DURABLE, &append.durable);
            append.entries.iter().for_each(|entry| write_entry(&mut writer, field::ENTRIES, entry));
            writer.number(field::NUMBER, append.number);
            writer.number(field::COPY, append.copy.into());
            writer.number(field::ROUND, append.round);
        }
        &Body::AppendReply { number, matched, ref place, more, waiting, round, fed } => {
            writer.length(field::REPLY, body_len);
            writer.number(field::REPLY_NUMBER, number);
            writer.number(field::MATCHED, matched.into());
            write_place(&mut writer, field::REPLY_PLACE, place);
            writer.number(field::MORE, more.into());
            writer.number(field::WAITING, waiting.into());
            writer.number(field::REPLY_ROUND, round);
            writer.number(field::FED, fed.into());
        }
        _ => return None,
    }
    if message.life > 0 {
        writer.fixed(field::LIFE, message.life);
    }
    if message.era > 0 {
        writer.fixed(field::ERA, message.era);
    }
    Some(writer.done())
}

fn place(bytes: &[u8]) -> Option<Place> {
    let (mut reader, mut place, mut chain) = (Reader::new(bytes), Place::default(), None);
    while !reader.is_empty() {
        match reader.key()? {
            (1, WireType::Varint) => place.index = LogIndex(reader.varint()?),
            (2, WireType::Varint) => place.term = Term(reader.varint()?),
            (3, WireType::LengthDelimited) if chain.is_none() => {
                chain = Some(Chain::from_slice(reader.bytes()?)?)
            }
            _ => return None,
        }
    }
    Some(Place { chain: chain?, ..place })
}

fn entry(bytes: &[u8], index: LogIndex, whole: &Bytes) -> Option<Entry> {
    let mut reader = Reader::new(bytes);
    let mut entry = Entry { index, term: Term(0), kind: EntryKind::Blank, data: Bytes::new(), weight: 0 };
    while !reader.is_empty() {
        match reader.key()? {
            (1, WireType::Varint) => entry.term = Term(reader.varint()?),
            // What changes the members is looked at more closely.
            (2, WireType::Varint) if reader.varint()? == EntryKind::Command as u64 => {
                entry.kind = EntryKind::Command
            }
            (3, WireType::LengthDelimited) => entry.data = whole.slice_ref(reader.bytes()?),
            (4, WireType::Varint) => entry.weight = reader.varint()?,
            _ => return None,
        }
    }
    Some(entry)
}

fn append(bytes: &[u8], whole: &Bytes) -> Option<Body> {
    let (mut reader, mut previous, mut durable) = (Reader::new(bytes), None, None);
    let (mut commit, mut number, mut round, mut copy) = (0, 0, 0, false);
    let mut entries = Vec::new();
    while !reader.is_empty() {
        match reader.key()? {
            (field::PREVIOUS, WireType::LengthDelimited) if previous.is_none() => {
                previous = Some(place(reader.bytes()?)?)
            }
            (field::COMMIT, WireType::Varint) => commit = reader.varint()?,
            (field::DURABLE, WireType::LengthDelimited) if durable.is_none() => {
                durable = Some(place(reader.bytes()?)?)
            }
            (field::ENTRIES, WireType::LengthDelimited) => {
                // As written: behind the place they follow.
                let index = LogIndex(previous?.index.0.checked_add(1 + entries.len() as u64)?);
                entries.push(entry(reader.bytes()?, index, whole)?);
            }
            (field::NUMBER, WireType::Varint) => number = reader.varint()?,
            (field::COPY, WireType::Varint) => copy = reader.flag()?,
            (field::ROUND, WireType::Varint) => round = reader.varint()?,
            _ => return None,
        }
    }
    let (previous, durable, entries) = (previous?, durable?, entries.into());
    Some(Body::Append(Append {
        previous,
        commit: LogIndex(commit),
        durable,
        entries,
        number,
        round,
        copy,
        cut: false,
    }))
}

fn reply(bytes: &[u8]) -> Option<Body> {
    let (mut reader, mut at) = (Reader::new(bytes), None);
    let (mut number, mut round) = (0, 0);
    let (mut matched, mut more, mut waiting, mut fed) = (false, false, false, false);
    while !reader.is_empty() {
        match reader.key()? {
            (field::REPLY_NUMBER, WireType::Varint) => number = reader.varint()?,
            (field::MATCHED, WireType::Varint) => matched = reader.flag()?,
            (field::REPLY_PLACE, WireType::LengthDelimited) if at.is_none() => {
                at = Some(place(reader.bytes()?)?)
            }
            (field::MORE, WireType::Varint) => more = reader.flag()?,
            (field::WAITING, WireType::Varint) => waiting = reader.flag()?,
            (field::REPLY_ROUND, WireType::Varint) => round = reader.varint()?,
            (field::FED, WireType::Varint) => fed = reader.flag()?,
            _ => return None,
        }
    }
    Some(Body::AppendReply { number, matched, place: at?, more, waiting, round, fed })
}

/// Reads an append or an answer to one. `None` says nothing but that the generated code must look at it. Whether the numbers make sense is for
/// the caller to see.
pub(super) fn decode(whole: &Bytes) -> Option<Message> {
    let mut reader = Reader::new(whole);
    let (mut sender, mut addressee, mut body) = (None, None, None);
    let (mut term, mut life, mut era) = (0, 0, 0);
    while !reader.is_empty() {
        match reader.key()? {
            (field::SENDER, WireType::LengthDelimited) => {
                sender = Some(ReplicaId::from_slice(reader.bytes()?)?)
            }
            (field::ADDRESSEE, WireType::LengthDelimited) => {
                addressee = Some(ReplicaId::from_slice(reader.bytes()?)?)
            }
            (field::TERM, WireType::Varint) => term = reader.varint()?,
            (field::APPEND, WireType::LengthDelimited) if body.is_none() => {
                body = Some(append(reader.bytes()?, whole)?)
            }
            (field::REPLY, WireType::LengthDelimited) if body.is_none() => {
                body = Some(reply(reader.bytes()?)?)
            }
            (field::LIFE, WireType::SixtyFourBit) => {
                life = reader.fixed()?;
            }
            (field::ERA, WireType::SixtyFourBit) => era = reader.fixed()?,
            _ => return None,
        }
    }
    Some(Message { sender: sender?, addressee, term: Term(term), life, era, body: body? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::wire;
    use crate::rng::{Purpose, Rng};

    fn number(rng: &mut Rng) -> u64 {
        match rng.below(4) {
            0 => 0,
            1 => rng.below(300),
            2 => rng.u64() >> 3,
            _ => 1 << rng.below(61),
        }
    }

    fn flag(rng: &mut Rng) -> bool {
        rng.below(2) == 1
    }

    fn some_place(rng: &mut Rng) -> Place {
        let chain = Chain(rng.u128().to_le_bytes());
        Place { index: LogIndex(number(rng)), term: Term(number(rng)), chain }
    }

    /// Any message of the two kinds, terms in order.
    fn some_message(rng: &mut Rng) -> Message {
        let mut terms: Vec<u64> = (0..6).map(|_| number(rng) >> 2).collect();
        terms.sort_unstable();
        let mut previous = some_place(rng);
        previous.term = Term(terms[0]);
        let body = if flag(rng) {
            let entry = |(place, &term): (usize, &u64)| Entry {
                index: LogIndex(previous.index.0 + 1 + place as u64),
                term: Term(term),
                kind: if flag(rng) { EntryKind::Command } else { EntryKind::Blank },
                data: alloc::vec![7; rng.below(300) as usize].into(),
                weight: number(rng) >> 25,
            };
            let entries = terms[1..5].iter().enumerate().map(entry).collect();
            let (commit, durable) = (LogIndex(number(rng)), some_place(rng));
            let (number, round, copy) = (number(rng), number(rng), flag(rng));
            Body::Append(Append { previous, commit, durable, entries, number, round, copy, cut: false })
        } else {
            let (number, round) = (number(rng), number(rng));
            let [matched, more, waiting, fed] = [0; 4].map(|_| flag(rng));
            Body::AppendReply { number, matched, place: previous, more, waiting, round, fed }
        };
        let addressee = flag(rng).then(|| ReplicaId(rng.u128()));
        let life = if flag(rng) { rng.u64() } else { 0 };
        let era = if flag(rng) { rng.u64() } else { 0 };
        Message { sender: ReplicaId(rng.u128()), addressee, term: Term(terms[5]), life, era, body }
    }

    #[test]
    fn it_writes_what_the_generated_code_writes_and_reads_what_it_reads() {
        let mut rng = Rng::stream([9; 32], Purpose::Raft);
        for _ in 0..5_000 {
            let message = some_message(&mut rng);
            let bytes = encode(&message).expect("one of the two kinds");
            assert_eq!(bytes, wire::encode_generated(&message));
            assert_eq!(decode(&bytes).as_ref(), Some(&message));
            assert_eq!(wire::decode_generated(bytes.clone()), Message::decode(bytes));
        }
    }

    #[test]
    fn whatever_is_done_to_the_bytes_both_read_the_same() {
        let mut rng = Rng::stream([10; 32], Purpose::Raft);
        let mut sound = 0;
        for _ in 0..20_000 {
            let mut bytes = encode(&some_message(&mut rng)).expect("one of the two kinds").to_vec();
            for _ in 0..rng.between(1, 3) {
                let at = rng.below(bytes.len() as u64) as usize;
                match rng.below(4) {
                    0 => bytes[at] ^= 1 << rng.below(8),
                    1 => bytes.truncate(at.max(1)),
                    2 => bytes.insert(at, rng.u64() as u8),
                    _ => drop(bytes.remove(at)),
                }
                if bytes.is_empty() {
                    bytes.push(0);
                }
            }
            let bytes = Bytes::from(bytes);
            let (read, generated) = (Message::decode(bytes.clone()), wire::decode_generated(bytes));
            sound += usize::from(read.is_ok());
            assert_eq!(read, generated);
        }
        assert!(sound > 1_000, "{sound} could still be read");
    }

    fn both_read(bytes: Vec<u8>) -> Result<Message, wire::Malformed> {
        let bytes = Bytes::from(bytes);
        let read = Message::decode(bytes.clone());
        assert_eq!(read, wire::decode_generated(bytes));
        read
    }

    /// An append of one entry, with another value of some field put behind its other fields.
    fn append_with(entry: Entry, more: impl Fn(&mut Writer)) -> Vec<u8> {
        let place = |index| Place { index: LogIndex(index), term: Term(1), chain: Chain([1; 16]) };
        let mut body = Writer::new(0);
        write_place(&mut body, field::PREVIOUS, &place(entry.index.0 - 1));
        write_place(&mut body, field::DURABLE, &place(1));
        write_entry(&mut body, field::ENTRIES, &entry);
        more(&mut body);
        message_of(field::APPEND, &body)
    }

    fn message_of(kind: u32, body: &Writer) -> Vec<u8> {
        let mut writer = Writer::new(0);
        writer.bytes(field::SENDER, &[1; 16]);
        writer.number(field::TERM, 7);
        writer.bytes(kind, body.written());
        writer.written().to_vec()
    }

    fn some_entry(index: u64, weight: u64) -> Entry {
        Entry { index: LogIndex(index), term: Term(1), kind: EntryKind::Command, data: Bytes::new(), weight }
    }

    /// Entries are numbered from the place they follow. Were the first of two places taken for that, and the last one told, a log would be given
    /// entries that do not follow its end.
    #[test]
    fn a_message_that_names_a_place_twice_is_read_as_the_generated_code_reads_it() {
        let other = Place { index: LogIndex(4), term: Term(1), chain: Chain([2; 16]) };
        assert_eq!(
            decode(&append_with(some_entry(10, 0), |_| {}).into()).map(|message| message.term),
            Some(Term(7))
        );
        for field in [field::PREVIOUS, field::DURABLE] {
            let bytes = append_with(some_entry(10, 0), |body| write_place(body, field, &other));
            assert_eq!(decode(&bytes.clone().into()), None, "the generated code must look at it");
            let message = both_read(bytes).expect("the last one counts");
            let append = message.append().expect("an append");
            let (named, first) =
                if field == field::PREVIOUS { (append.previous, 5) } else { (append.durable, 10) };
            assert_eq!((named, append.entries[0].index), (other, LogIndex(first)));
        }
        let mut body = Writer::new(0);
        write_place(&mut body, field::REPLY_PLACE, &other);
        write_place(&mut body, field::REPLY_PLACE, &Place { index: LogIndex(3), ..other });
        let bytes = message_of(field::REPLY, &body);
        assert_eq!(decode(&bytes.clone().into()), None);
        assert!(
            matches!(both_read(bytes).expect("sound").body, Body::AppendReply { place, .. } if place.index == LogIndex(3))
        );
    }

    #[test]
    fn an_entry_that_weighs_more_than_can_be_added_up_is_not_read() {
        for (weight, sound) in [(wire::WEIGHT_MAX - 1, true), (wire::WEIGHT_MAX, false), (u64::MAX, false)] {
            assert_eq!(both_read(append_with(some_entry(1, weight), |_| {})).is_ok(), sound, "{weight}");
        }
        // Nor is one that was stored.
        let run = wattle_proto::raft::Entry { term: 1, weight: u64::MAX, ..Default::default() };
        assert!(wire::entries(alloc::vec![run], LogIndex(0)).is_err());
    }

    #[test]
    fn no_message_names_a_term_that_no_message_could_bear() {
        let body = |term: u64| {
            let last = Place { index: LogIndex(1), term: Term(term), chain: Chain([1; 16]) };
            let mark = crate::raft::Mark { replica: ReplicaId(1), term: Term(term), vote: None, last };
            let of_mark = crate::raft::Mark { last: Place { term: Term(1), ..last }, ..mark };
            let recall = |mark| Body::Recall {
                mark: Some(mark),
                question: false,
                start: 0,
                alone: false,
                needed: false,
            };
            let reply = Body::AppendReply {
                number: 1,
                matched: true,
                place: last,
                more: false,
                waiting: false,
                round: 0,
                fed: false,
            };
            [recall(mark), recall(of_mark), reply, Body::Copy { last }, Body::Vote { pre: false, last }]
        };
        for (term, sound) in [((1 << 61) - 1, true), (1 << 61, false)] {
            for body in body(term) {
                let message = Message {
                    sender: ReplicaId(1),
                    addressee: None,
                    term: Term((1 << 61) - 1),
                    life: 0,
                    era: 0,
                    body,
                };
                let bytes = message.encode().to_bytes().to_vec();
                assert_eq!(both_read(bytes).is_ok(), sound, "{:?}", message.body);
            }
        }
    }
}
