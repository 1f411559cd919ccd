//! As much of the outer frame as the network needs to repeat whole frames: `magic 4 · version u16 · type u16 · size u32`, little
//! endian, then `size` bytes.

use std::ops::Range;

const HEADER: usize = 12;
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
}
