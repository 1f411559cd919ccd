//! The messages of whole frames, looked at where they lie.

use super::decoder::check_start;
use super::relay::RelayHeader;
use super::{FRAME_HEADER, MAX_FRAME};

/// A message within the bytes of its frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Glance<'a> {
    /// What relays read and write.
    pub relay: RelayHeader,
    /// The Protobuf header.
    pub header: &'a [u8],
    /// The payload.
    pub payload: &'a [u8],
}

/// The messages of bytes that begin with a frame and hold whole frames, in order, without a copy and without a
/// [`super::Decoder`]. It ends at the first byte that begins no whole frame or no message.
#[derive(Clone, Debug)]
pub struct Walk<'a> {
    /// Frames to come.
    rest: &'a [u8],
    /// What is left of the messages of the frame under way.
    body: &'a [u8],
}

impl<'a> Walk<'a> {
    /// Over the frames in `bytes`, whatever their size.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, body: &[] }
    }

    /// Goes on to the next frame that need not be skipped.
    fn next_frame(&mut self) -> Option<()> {
        while self.body.is_empty() {
            let (kind, size) = check_start(self.rest, MAX_FRAME).ok()??;
            let (frame, rest) = self.rest.split_at_checked(FRAME_HEADER + size)?;
            self.rest = rest;
            if kind.is_some() {
                self.body = &frame[FRAME_HEADER..];
            }
        }
        Some(())
    }
}

impl<'a> Iterator for Walk<'a> {
    type Item = Glance<'a>;

    fn next(&mut self) -> Option<Glance<'a>> {
        loop {
            self.next_frame()?;
            let Ok((relay, lengths, size)) = RelayHeader::parse(self.body) else {
                *self = Self::new(&[]);
                return None;
            };
            let (header, rest) = self.body[size..].split_at(lengths.header);
            let (payload, rest) = rest.split_at(lengths.payload);
            self.body = rest;
            if let Some(relay) = relay {
                return Some(Glance { relay, header, payload });
            }
        }
    }
}
