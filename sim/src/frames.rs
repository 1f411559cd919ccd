//! As much of frames as the network needs to repeat, drop or spoil them: `magic 4 · version u16 · type u16 · size u32`, little
//! endian, then `size` bytes of messages. A message is a relay header of 18 bytes (`kind u8` first, the number of labels at 5, the
//! labels used up at 6, the lengths of header and payload at 12 and 14), its labels of two bytes, header and payload.

use std::ops::Range;

use wattle_proto::frame::{Kind, RELAY_HEADER};

pub(crate) const HEADER: usize = 12;
const HANDSHAKE: u16 = 1;

/// A frame within bytes that begin with one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// Where it lies.
    pub(crate) range: Range<usize>,
    /// Whether it may arrive twice: it is whole, and no part of a handshake.
    pub(crate) repeatable: bool,
}

/// The frames of a run of bytes, in order. Bytes at the end that make no whole frame come as one that must not be repeated.
pub(crate) struct Frames<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Frames<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }
}

impl Iterator for Frames<'_> {
    type Item = Frame;

    fn next(&mut self) -> Option<Frame> {
        let rest = &self.bytes[self.at..];
        if rest.is_empty() {
            return None;
        }
        let start = self.at;
        let whole = rest.get(..HEADER).and_then(|header| {
            let size = u32::from_le_bytes(header[8..12].try_into().ok()?) as usize;
            let len = HEADER.checked_add(size).filter(|&len| len <= rest.len())?;
            Some((len, u16::from_le_bytes([header[6], header[7]]) != HANDSHAKE))
        });
        let (len, repeatable) = whole.unwrap_or((rest.len(), false));
        self.at += len;
        Some(Frame { range: start..self.at, repeatable })
    }
}

/// A message within a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// The number of its kind.
    pub(crate) kind: u8,
    /// How many labels of its path are used up.
    pub(crate) hop: usize,
    /// Whether its path ends at the next node.
    pub(crate) arrives: bool,
    /// Where the whole of it lies.
    pub(crate) range: Range<usize>,
    /// Where its Protobuf header lies.
    pub(crate) header: Range<usize>,
    /// Where its payload lies.
    pub(crate) payload: Range<usize>,
}

impl Part {
    /// Whether it travels from end to end, over as many links as it takes.
    pub(crate) fn travels(&self) -> bool {
        Kind::from_number(self.kind).is_some_and(|kind| !kind.is_local())
    }
}

/// The messages of one whole frame, its header included, in order; ends early at what is none.
pub(crate) struct Parts<'a> {
    frame: &'a [u8],
    at: usize,
}

impl<'a> Parts<'a> {
    pub(crate) fn new(frame: &'a [u8]) -> Self {
        Self { frame, at: HEADER }
    }
}

impl Iterator for Parts<'_> {
    type Item = Part;

    fn next(&mut self) -> Option<Part> {
        let start = self.at;
        let fixed = self.frame.get(start..)?.first_chunk::<RELAY_HEADER>()?;
        let (labels, hop) = (usize::from(fixed[5]), usize::from(fixed[6]));
        let header_len = usize::from(u16::from_le_bytes([fixed[12], fixed[13]]));
        let payload_len = u32::from_le_bytes([fixed[14], fixed[15], fixed[16], fixed[17]]) as usize;
        let header = start + RELAY_HEADER + 2 * labels;
        let payload = header + header_len;
        let end = payload.checked_add(payload_len).filter(|&end| end <= self.frame.len())?;
        self.at = end;
        Some(Part {
            kind: fixed[0],
            hop,
            arrives: hop == labels,
            range: start..end,
            header: header..payload,
            payload: payload..end,
        })
    }
}

/// Whether all that a frame holds travels from end to end: what a relay may drop, and what may come late.
pub(crate) fn travels(frame: &[u8]) -> bool {
    let mut end = HEADER;
    let all = Parts::new(frame).all(|part| {
        end = part.range.end;
        part.travels()
    });
    all && end == frame.len() && end > HEADER
}

#[cfg(test)]
pub(crate) fn frame(kind: u16, content: &[u8]) -> Vec<u8> {
    let mut bytes = b"WTLE\x01\x00".to_vec();
    bytes.extend_from_slice(&kind.to_le_bytes());
    bytes.extend_from_slice(&(content.len() as u32).to_le_bytes());
    bytes.extend_from_slice(content);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_found_and_handshakes_and_fragments_are_not_repeated() {
        let mut bytes = frame(1, b"hello");
        bytes.extend(frame(2, b"batch"));
        bytes.extend_from_slice(b"WTLE\x01\x00\x02");
        let frames: Vec<Frame> = Frames::new(&bytes).collect();
        assert_eq!(
            frames,
            [
                Frame { range: 0..17, repeatable: false },
                Frame { range: 17..34, repeatable: true },
                Frame { range: 34..41, repeatable: false },
            ]
        );
    }

    #[test]
    fn the_messages_of_a_frame_are_found_and_what_travels_is_told_from_what_neighbours_say() {
        let message = |kind: u8, labels: u8, hop: u8, header: &[u8], payload: &[u8]| {
            let mut bytes = vec![kind, 0, 0, 0, 0, labels, hop, 0, 0, 0, 0, 0];
            bytes.extend_from_slice(&(header.len() as u16).to_le_bytes());
            bytes.extend_from_slice(&(payload.len() as u32).to_le_bytes());
            bytes.extend(vec![0; 2 * usize::from(labels)]);
            [&bytes, header, payload].concat()
        };
        let raft = message(Kind::Raft as u8, 2, 1, b"head", b"payload");
        let link = message(Kind::Link as u8, 0, 0, b"ping", b"");
        let both = frame(2, &[raft.clone(), link.clone()].concat());
        let parts: Vec<Part> = Parts::new(&both).collect();
        assert_eq!(parts.len(), 2);
        assert_eq!((parts[0].kind, parts[0].hop, parts[0].arrives), (4, 1, false));
        assert_eq!(
            (&both[parts[0].header.clone()], &both[parts[0].payload.clone()]),
            (&b"head"[..], &b"payload"[..])
        );
        assert!(parts[1].arrives && both[parts[1].range.clone()] == link);
        assert!(travels(&frame(2, &raft)));
        assert!(!travels(&both) && !travels(&frame(2, &link)) && !travels(&frame(2, b"")));
        assert!(!travels(&frame(2, &raft[..raft.len() - 1])), "a message cut short is none");
    }
}
