//! What rows hold of streams' messages, read from their bytes alone: the layout is the one that the journal documents.

use bytes::Bytes;
use wattle_core::id::StreamInstance;

/// Bytes of a row before its records.
const HEADER: usize = 58;
/// Where it says how long the records are, their payloads apart.
const META_LEN: usize = 46;
/// A record, its head apart.
const ENTRY: usize = 48;
/// What a record that was moved has more.
const BORN: usize = 12;
/// The owner and the space of the bytes of a stream's messages.
const STREAM_PAYLOAD: [u8; 2] = [4, 2];

/// The bytes of messages in a row, and of which stream's life they are. Of a row that is none, as far as it can be read.
pub(crate) fn payloads(row: &Bytes) -> Vec<(StreamInstance, Bytes)> {
    let mut found = Vec::new();
    let Some(meta) = word(row, META_LEN) else { return found };
    let (mut at, end) = (HEADER, HEADER.saturating_add(meta));
    let mut offset = end;
    while at.saturating_add(ENTRY) <= end.min(row.len()) {
        let entry = &row[at..at + ENTRY];
        let (Some(head), Some(len)) = (word(entry, 36), word(entry, 40)) else { break };
        let (Ok(id), Some(behind)) = (entry[4..20].try_into(), offset.checked_add(len)) else { break };
        if entry[..2] == STREAM_PAYLOAD && behind <= row.len() {
            found.push((StreamInstance(u128::from_le_bytes(id)), row.slice(offset..behind)));
        }
        at += ENTRY + head + if entry[2] & 1 != 0 { BORN } else { 0 };
        offset = behind;
    }
    found
}

fn word(bytes: &[u8], at: usize) -> Option<usize> {
    let bytes = bytes.get(at..at + 4)?.try_into().ok()?;
    usize::try_from(u32::from_le_bytes(bytes)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(row: &mut Vec<u8>, kind: [u8; 2], moved: bool, id: u128, head: &[u8], len: u32) {
        let at = row.len();
        row.resize(at + ENTRY, 0);
        row[at..at + 2].copy_from_slice(&kind);
        row[at + 2] = u8::from(moved);
        row[at + 4..at + 20].copy_from_slice(&id.to_le_bytes());
        row[at + 36..at + 40].copy_from_slice(&(head.len() as u32).to_le_bytes());
        row[at + 40..at + 44].copy_from_slice(&len.to_le_bytes());
        row.resize(row.len() + if moved { BORN } else { 0 }, 9);
        row.extend_from_slice(head);
    }

    #[test]
    fn the_bytes_of_messages_are_found_between_other_records() {
        let mut row = vec![0; HEADER];
        record(&mut row, [3, 1], false, 7, b"head", 3);
        record(&mut row, STREAM_PAYLOAD, true, 8, b"a longer head", 5);
        record(&mut row, STREAM_PAYLOAD, false, 9, b"", 2);
        let meta = (row.len() - HEADER) as u32;
        row[META_LEN..META_LEN + 4].copy_from_slice(&meta.to_le_bytes());
        row.extend_from_slice(b"logbytesme");
        let found = [(StreamInstance(8), Bytes::from("bytes")), (StreamInstance(9), Bytes::from("me"))];
        assert_eq!(payloads(&row.clone().into()), found);
        for cut in 0..row.len() {
            let torn = payloads(&Bytes::copy_from_slice(&row[..cut]));
            assert!(torn.len() < 2, "{cut}");
        }
    }
}
