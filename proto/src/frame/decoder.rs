//! Bytes of a connection, cut anywhere, to frames.

use alloc::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};

use super::relay::RelayHeader;
use super::{
    FRAME_HEADER, Fault, FrameError, FrameKind, HANDSHAKE_FRAME, Kind, MAGIC, MAX_FRAME, Message,
    OPTIONAL_FRAMES, VERSIONS,
};

/// How far into the bytes, and what.
type Wrong = (usize, Fault);

/// A frame whose messages are all well formed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    kind: FrameKind,
    body: Bytes,
}

impl Frame {
    /// What it is for.
    #[must_use]
    pub const fn kind(&self) -> FrameKind {
        self.kind
    }

    /// Bytes of its messages.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.body.len()
    }

    /// Never: a frame without messages is refused.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.body.is_empty()
    }
}

impl IntoIterator for Frame {
    type Item = Message;
    type IntoIter = Messages;

    fn into_iter(self) -> Messages {
        Messages { body: self.body }
    }
}

/// The messages of a frame, in order; header and payload share the frame's bytes.
#[derive(Clone, Debug)]
pub struct Messages {
    body: Bytes,
}

impl Iterator for Messages {
    type Item = Message;

    fn next(&mut self) -> Option<Message> {
        while !self.body.is_empty() {
            let (relay, lengths, size) =
                RelayHeader::parse(&self.body).expect("all messages were checked when the frame was decoded");
            self.body.advance(size);
            let header = self.body.split_to(lengths.header);
            let payload = self.body.split_to(lengths.payload);
            if let Some(relay) = relay {
                return Some(Message { relay, header, payload });
            }
        }
        None
    }
}

/// The receiving side of one connection. After each [`Decoder::push`], call [`Decoder::next`] until it gives `None`.
///
/// A frame that lies within one pushed piece is not copied; one that straddles pieces is copied once. What is kept from one push to
/// the next is at most one incomplete frame, and never more bytes than really came in.
#[derive(Clone, Debug)]
pub struct Decoder {
    limit: usize,
    /// Pushed, not yet looked at.
    pieces: VecDeque<Bytes>,
    /// The start of a frame that straddles pieces.
    partial: BytesMut,
    /// Bytes of the connection that were given out as frames.
    consumed: u64,
    broken: Option<FrameError>,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder {
    /// For a new connection: frames up to [`HANDSHAKE_FRAME`].
    #[must_use]
    pub fn new() -> Self {
        Self {
            limit: HANDSHAKE_FRAME,
            pieces: VecDeque::new(),
            partial: BytesMut::new(),
            consumed: 0,
            broken: None,
        }
    }

    /// The handshake is done: frames up to `limit`, at most [`MAX_FRAME`].
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit.min(MAX_FRAME);
    }

    /// Bytes held.
    #[must_use]
    pub fn held(&self) -> usize {
        self.partial.len() + self.pieces.iter().map(Bytes::len).sum::<usize>()
    }

    /// Adds the next bytes of the connection, cut anywhere.
    pub fn push(&mut self, bytes: Bytes) {
        if self.broken.is_none() && !bytes.is_empty() {
            self.pieces.push_back(bytes);
        }
    }

    /// The next whole frame; `None` if more bytes are needed.
    ///
    /// # Errors
    /// [`FrameError`] says what is wrong and where. The connection is of no use after that: the error is repeated, whatever is pushed.
    #[expect(
        clippy::should_implement_trait,
        reason = "an iterator over results would invite to go on after an error"
    )]
    pub fn next(&mut self) -> Result<Option<Frame>, FrameError> {
        if let Some(error) = self.broken {
            return Err(error);
        }
        loop {
            match self.take() {
                Ok(None) => return Ok(None),
                Ok(Some((kind, body))) => {
                    let size = (FRAME_HEADER + body.len()) as u64;
                    let checked = match kind {
                        Some(kind) => check_messages(kind, &body),
                        None => Ok(()),
                    };
                    if let Err((offset, fault)) = checked {
                        return Err(self.fail(FRAME_HEADER + offset, fault));
                    }
                    self.consumed += size;
                    if let Some(kind) = kind {
                        return Ok(Some(Frame { kind, body }));
                    }
                }
                Err((offset, fault)) => return Err(self.fail(offset, fault)),
            }
        }
    }

    fn fail(&mut self, offset: usize, fault: Fault) -> FrameError {
        let error = FrameError { offset: self.consumed + offset as u64, fault };
        self.pieces = VecDeque::new();
        self.partial = BytesMut::new();
        self.broken = Some(error);
        error
    }

    /// The next frame's type (`None`: to be skipped) and body, taken out of what was pushed.
    fn take(&mut self) -> Result<Option<(Option<FrameKind>, Bytes)>, Wrong> {
        if self.partial.is_empty()
            && let Some(front) = self.pieces.front_mut()
        {
            let start = check_start(front, self.limit)?;
            if let Some((kind, size)) = start
                && front.len() >= FRAME_HEADER + size
            {
                front.advance(FRAME_HEADER);
                let body = front.split_to(size);
                if front.is_empty() {
                    self.pieces.pop_front();
                }
                return Ok(Some((kind, body)));
            }
        }
        loop {
            // What the first piece says of the size spares a second copy of what it holds.
            let begun = if self.partial.is_empty() { self.pieces.front() } else { None };
            let start = check_start(begun.map_or(&self.partial[..], |piece| piece), self.limit)?;
            let wanted = start.map_or(FRAME_HEADER, |(_, size)| FRAME_HEADER + size);
            if let Some((kind, _)) = start
                && self.partial.len() == wanted
            {
                let mut frame = core::mem::take(&mut self.partial);
                frame.advance(FRAME_HEADER);
                return Ok(Some((kind, frame.freeze())));
            }
            let Some(front) = self.pieces.front_mut() else { return Ok(None) };
            let piece = front.split_to(front.len().min(wanted - self.partial.len()));
            self.partial.extend_from_slice(&piece);
            if front.is_empty() {
                self.pieces.pop_front();
            }
        }
    }
}

/// Type and size of the frame that `bytes` begin with; `None` while the header is not complete. Refuses as soon as it can.
pub(super) fn check_start(bytes: &[u8], limit: usize) -> Result<Option<(Option<FrameKind>, usize)>, Wrong> {
    if bytes.iter().zip(MAGIC).any(|(&got, expected)| got != expected) {
        return Err((0, Fault::Magic));
    }
    let Some(header) = bytes.first_chunk::<FRAME_HEADER>() else { return Ok(None) };
    let &[_, _, _, _, v0, v1, t0, t1, s0, s1, s2, s3] = header;
    let version = u16::from_le_bytes([v0, v1]);
    if version < VERSIONS.0 || version > VERSIONS.1 {
        return Err((4, Fault::Version(version)));
    }
    let number = u16::from_le_bytes([t0, t1]);
    let kind = FrameKind::from_number(number);
    if kind.is_none() && number < OPTIONAL_FRAMES {
        return Err((6, Fault::FrameType(number)));
    }
    if kind == Some(FrameKind::Hello) && version != VERSIONS.0 {
        return Err((4, Fault::Version(version)));
    }
    let size = u32::from_le_bytes([s0, s1, s2, s3]);
    if size as usize > limit {
        return Err((8, Fault::TooLarge { size, limit: limit as u32 }));
    }
    Ok(Some((kind, size as usize)))
}

/// Checks every message of a frame, so that reading them cannot fail.
fn check_messages(kind: FrameKind, body: &[u8]) -> Result<(), Wrong> {
    if body.is_empty() {
        return Err((0, Fault::Empty));
    }
    let mut at = 0;
    while at < body.len() {
        let (relay, lengths, size) =
            RelayHeader::parse(&body[at..]).map_err(|(offset, fault)| (at + offset, fault))?;
        let end = at + size + lengths.header + lengths.payload;
        let alone = at == 0 && end == body.len();
        if kind == FrameKind::Hello && !(alone && relay.is_some_and(|relay| relay.kind() == Kind::Link)) {
            return Err((at, Fault::Hello));
        }
        at = end;
    }
    Ok(())
}
