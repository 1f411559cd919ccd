//! The row codec. A row is written whole, checked whole, and says enough to tell a torn tail from damage.
//!
//! ```text
//! offset  size  field
//!      0     4  magic "WTLJ"
//!      4     2  version (2)
//!      6     4  number of records
//!     10     8  ticket: this row's number
//!     18     8  generation: the start of the node that wrote it
//!     26     8  synced: highest ticket known to be on disk when this row was made
//!     34     8  floor: rows below are dead once this row is on disk
//!     42     4  previous: checksum (the one at 54) of the row that this one was written behind; 0 if it is not known
//!     46     4  length of the meta section
//!     50     4  length of the payload section
//!     54     4  CRC-32C of bytes 0..54 and of the meta section
//!     58        meta section: one entry per record
//!            1  owner   1  space   1  flags (bit 0: moved)   1  zero
//!           16  id      8  slot    8  last slot
//!            4  length of the head   4  length of the payload   4  CRC-32C of the payload
//!           12  only if moved: ticket (8) and place (4) of the row it was born in
//!               head
//!               payload section: the payloads one after the other
//! ```
//! Integers are little endian.

use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::crc32c::{Crc32c, crc32c};
use crate::id::{Generation, Ticket};
use crate::payload::Payload;
use crate::planted::{Bug, Planted};
use crate::record::{Key, Owner, Record};

const MAGIC: [u8; 4] = *b"WTLJ";
const VERSION: u16 = 2;
/// Bytes of a row beside its records.
pub(super) const HEADER: usize = 58;
/// Where the checksum stands: the last field of the header.
const CRC: usize = HEADER - 4;
const ENTRY: usize = 48;
const BORN: usize = 12;
const MOVED: u8 = 1;

/// Where a record was first written; its place in the order of all records for ever, also after it was moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Born {
    pub(super) row: Ticket,
    pub(super) place: u32,
}

/// A record with its place of birth, if it is not born in the row it is written to.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) record: Record,
    pub(super) moved_from: Option<Born>,
}

/// The fixed part of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) ticket: Ticket,
    pub(super) generation: Generation,
    pub(super) synced: Ticket,
    pub(super) floor: Ticket,
    /// What [`checksum`] says of the row that this one was written behind; 0 if that is not known.
    pub(super) previous: u32,
}

/// Where a payload lies in its row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) offset: u32,
    pub(super) len: u32,
    pub(super) crc: u32,
}

/// A record read back from a row.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) key: Key,
    pub(super) last_slot: u64,
    pub(super) born: Born,
    pub(super) head: Bytes,
    pub(super) extent: Extent,
    /// The payload, if it was read.
    pub(super) payload: Option<Bytes>,
}

/// Bytes a record takes in a row.
pub(super) fn footprint(head: usize, payload: usize) -> u32 {
    (ENTRY + BORN + head + payload) as u32
}

fn meta_len(entries: &[Entry]) -> usize {
    let moved = |entry: &Entry| if entry.moved_from.is_some() { BORN } else { 0 };
    entries.iter().map(|entry| ENTRY + entry.record.head.len() + moved(entry)).sum()
}

/// Where each record's payload will lie in the row that these make.
pub(super) fn extents(entries: &[Entry]) -> Vec<Extent> {
    let mut offset = HEADER + meta_len(entries);
    let extent = |entry: &Entry| {
        let payload = &entry.record.payload;
        let mut crc = Crc32c::new();
        payload.pieces().iter().for_each(|piece| crc.update(piece));
        let extent = Extent { offset: offset as u32, len: payload.len() as u32, crc: crc.finish() };
        offset += payload.len();
        extent
    };
    entries.iter().map(extent).collect()
}

/// Encodes a row, whose [`extents`] are known.
pub(super) fn encode(header: Header, entries: Vec<Entry>, extents: &[Extent]) -> Payload {
    let meta_len = meta_len(&entries);
    let payload_len: usize = entries.iter().map(|e| e.record.payload.len()).sum();
    let mut out = BytesMut::with_capacity(HEADER + meta_len);
    out.put_slice(&MAGIC);
    out.put_u16_le(VERSION);
    out.put_u32_le(entries.len() as u32);
    out.put_u64_le(header.ticket.0);
    out.put_u64_le(header.generation.0);
    out.put_u64_le(header.synced.0);
    out.put_u64_le(header.floor.0);
    out.put_u32_le(header.previous);
    out.put_u32_le(meta_len as u32);
    out.put_u32_le(payload_len as u32);
    out.put_u32_le(0);
    let mut payloads = Payload::new();
    for (Entry { record, moved_from }, extent) in entries.into_iter().zip(extents) {
        put_entry(&mut out, &record, *extent, moved_from);
        payloads.append(record.payload);
    }
    let crc = meta_crc(&out);
    out[CRC..HEADER].copy_from_slice(&crc.to_le_bytes());
    let mut row = Payload::from(out.freeze());
    row.append(payloads);
    row
}

fn put_entry(out: &mut BytesMut, record: &Record, extent: Extent, moved_from: Option<Born>) {
    // Together, for there may be thousands in a row.
    let mut entry = [0; ENTRY];
    entry[0] = record.key.owner as u8;
    entry[1] = record.key.space;
    entry[2] = if moved_from.is_some() { MOVED } else { 0 };
    entry[4..20].copy_from_slice(&record.key.id.to_le_bytes());
    entry[20..28].copy_from_slice(&record.key.slot.to_le_bytes());
    entry[28..36].copy_from_slice(&record.last_slot.to_le_bytes());
    entry[36..40].copy_from_slice(&(record.head.len() as u32).to_le_bytes());
    entry[40..44].copy_from_slice(&extent.len.to_le_bytes());
    entry[44..].copy_from_slice(&extent.crc.to_le_bytes());
    out.put_slice(&entry);
    if let Some(born) = moved_from {
        out.put_u64_le(born.row.0);
        out.put_u32_le(born.place);
    }
    out.put_slice(&record.head);
}

fn meta_crc(row: &[u8]) -> u32 {
    let mut crc = Crc32c::new();
    crc.update(&row[..CRC]);
    crc.update(&row[HEADER..]);
    crc.finish()
}

/// The checksum that a row bears: it tells this very row from any other. `row`: at least its header.
pub(super) fn checksum(row: &[u8]) -> u32 {
    row.get(CRC..HEADER).and_then(|crc| crc.try_into().ok()).map_or(0, u32::from_le_bytes)
}

/// Decodes and checks a row, payloads included.
///
/// # Errors
/// What is wrong with it, in words.
pub(super) fn decode(row: &Bytes, planted: Planted) -> Result<(Header, Vec<Stored>), String> {
    if row.len() < HEADER {
        return Err("it is shorter than a row's header".to_string());
    }
    let mut fields = row.slice(..HEADER);
    let mut magic = [0; 4];
    fields.copy_to_slice(&mut magic);
    if magic != MAGIC {
        return Err("it does not begin like a row".to_string());
    }
    let version = fields.get_u16_le();
    if version != VERSION {
        return Err(alloc::format!("it was written in row format {version}, this build reads {VERSION}"));
    }
    let count = fields.get_u32_le();
    let header = Header {
        ticket: Ticket(fields.get_u64_le()),
        generation: Generation(fields.get_u64_le()),
        synced: Ticket(fields.get_u64_le()),
        floor: Ticket(fields.get_u64_le()),
        previous: fields.get_u32_le(),
    };
    let (meta_len, payload_len) = (fields.get_u32_le() as usize, fields.get_u32_le() as usize);
    let crc = fields.get_u32_le();
    if Some(row.len()) != HEADER.checked_add(meta_len).and_then(|n| n.checked_add(payload_len)) {
        return Err("its length is not the one it states".to_string());
    }
    if meta_crc(&row[..HEADER + meta_len]) != crc && !planted.has(Bug::HeadsNotChecked) {
        return Err("its checksum does not match".to_string());
    }
    let mut meta = row.slice(HEADER..HEADER + meta_len);
    let mut stored = Vec::with_capacity((meta_len / ENTRY).min(count as usize));
    let mut offset = HEADER + meta_len;
    for place in 0..count {
        let record = take_entry(&mut meta, Born { row: header.ticket, place }, offset)?;
        offset += record.extent.len as usize;
        let payload =
            row.get(record.extent.offset as usize..offset).ok_or("a payload reaches past its end")?;
        if crc32c(payload) != record.extent.crc && !planted.has(Bug::PayloadsNotChecked) {
            return Err("a payload's checksum does not match".to_string());
        }
        stored.push(record);
    }
    if !meta.is_empty() || offset != row.len() {
        return Err("it holds more than the records it states".to_string());
    }
    Ok((header, stored))
}

fn take_entry(meta: &mut Bytes, here: Born, offset: usize) -> Result<Stored, String> {
    if meta.len() < ENTRY {
        return Err("a record is cut short".to_string());
    }
    let owner = meta.get_u8();
    let owner = Owner::from_number(owner)
        .ok_or_else(|| alloc::format!("it names an owner {owner} unknown to this build"))?;
    let space = meta.get_u8();
    let moved = meta.get_u8() & MOVED != 0;
    meta.advance(1);
    let key = Key { owner, space, id: meta.get_u128_le(), slot: meta.get_u64_le() };
    let last_slot = meta.get_u64_le();
    let head_len = meta.get_u32_le() as usize;
    let extent = Extent { offset: offset as u32, len: meta.get_u32_le(), crc: meta.get_u32_le() };
    let born_len = if moved { BORN } else { 0 };
    if meta.len() < head_len.saturating_add(born_len) {
        return Err("a record is cut short".to_string());
    }
    let born = if moved { Born { row: Ticket(meta.get_u64_le()), place: meta.get_u32_le() } } else { here };
    Ok(Stored { key, last_slot, born, head: meta.split_to(head_len), extent, payload: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLANTED: Planted = Planted::none();

    fn sample() -> (Header, Vec<Entry>) {
        let header = Header {
            ticket: Ticket(9),
            generation: Generation(2),
            synced: Ticket(7),
            floor: Ticket(3),
            previous: 0x0123_4567,
        };
        let key = Key { owner: Owner::Stream, space: 4, id: 77, slot: 5 };
        let mut payload = Payload::from(Bytes::from_static(b"two "));
        payload.push(Bytes::from_static(b"pieces"));
        let record = Record { key, last_slot: 6, head: Bytes::from_static(b"head"), payload };
        let state = Record::state(Key { owner: Owner::Raft, ..key }, Bytes::from_static(b"state"));
        let born = Born { row: Ticket(4), place: 2 };
        (
            header,
            alloc::vec![Entry { record, moved_from: None }, Entry { record: state, moved_from: Some(born) }],
        )
    }

    fn made(header: Header, entries: Vec<Entry>) -> Bytes {
        let extents = extents(&entries);
        encode(header, entries, &extents).to_bytes()
    }

    #[test]
    fn a_row_survives_a_round_trip() {
        let (header, entries) = sample();
        let extents = extents(&entries);
        let row = encode(header, entries.clone(), &extents);
        let row = row.to_bytes();
        let (read, stored) = decode(&row, PLANTED).expect("just encoded");
        assert_eq!(read, header);
        assert_eq!(stored.len(), 2);
        for (place, (stored, entry)) in stored.iter().zip(&entries).enumerate() {
            assert_eq!(stored.key, entry.record.key);
            assert_eq!(stored.last_slot, entry.record.last_slot);
            assert_eq!(stored.head, entry.record.head);
            assert_eq!(stored.extent, extents[place]);
            let here = Born { row: header.ticket, place: place as u32 };
            assert_eq!(stored.born, entry.moved_from.unwrap_or(here));
            let (from, len) = (stored.extent.offset as usize, stored.extent.len as usize);
            assert_eq!(entry.record.payload.to_bytes(), row.slice(from..from + len));
        }
    }

    #[test]
    fn a_row_holds_more_records_than_two_bytes_can_count() {
        let (header, entries) = sample();
        let many: Vec<Entry> = (0..65_537).map(|place| entries[place % entries.len()].clone()).collect();
        let row = made(header, many);
        assert_eq!(decode(&row, PLANTED).expect("just encoded").1.len(), 65_537);
    }

    #[test]
    fn a_row_that_holds_more_than_it_states_is_refused() {
        let (header, entries) = sample();
        let mut row = made(header, entries).to_vec();
        row[6..10].copy_from_slice(&1u32.to_le_bytes());
        let meta_len = u32::from_le_bytes(row[46..50].try_into().expect("4 bytes")) as usize;
        let crc = meta_crc(&row[..HEADER + meta_len]);
        row[CRC..HEADER].copy_from_slice(&crc.to_le_bytes());
        assert!(
            decode(&Bytes::from(row), PLANTED).expect_err("one record is left over").contains("more than")
        );
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let (header, entries) = sample();
        let row = made(header, entries);
        for bit in 0..row.len() * 8 {
            let mut damaged = row.to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&Bytes::from(damaged), PLANTED).is_err(), "bit {bit}");
        }
        for len in 0..row.len() {
            assert!(decode(&row.slice(..len), PLANTED).is_err(), "length {len}");
        }
    }
}
