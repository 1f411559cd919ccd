//! What a handler is given.

use std::collections::VecDeque;
use std::fmt;

use bytes::{Bytes, BytesMut};
use wattle_core::digest::Digest;
use wattle_core::id::{AuthorityEpoch, MessageId, StreamInstance, WriterId, WriterSequence};
use wattle_core::node::command::Position;
use wattle_core::node::output::{self, Delivered};
use wattle_core::payload::Payload;

use super::Failure;

/// One message as its handler sees it.
#[derive(Clone, Debug)]
pub struct Message {
    /// Its place. Whoever stores it together with the effect may present it afterwards.
    pub position: Position,
    /// The same for every handing over of this message.
    pub key: Key,
    /// Its id: a ULID, by whose time people find it.
    pub id: MessageId,
    body: Payload,
    /// Which piece of a message it is that is not put together.
    pub(super) piece: Option<output::Piece>,
}

impl Message {
    /// A message, for the tests of a handler.
    #[must_use]
    pub fn new(position: Position, key: Key, id: MessageId, body: Bytes) -> Self {
        Self { position, key, id, body: body.into(), piece: None }
    }

    pub(super) fn delivered(
        instance: StreamInstance,
        authority: AuthorityEpoch,
        delivered: Delivered,
    ) -> Self {
        let position = Position { instance, authority, sequence: delivered.sequence };
        let (writer, writer_sequence) = (delivered.writer, delivered.writer_sequence);
        let key = Key { instance, writer, writer_sequence };
        Self { position, key, id: delivered.id, body: delivered.bytes.into(), piece: delivered.piece }
    }

    /// The next piece of it.
    pub(super) fn join(&mut self, next: Self) {
        let follows = next.piece.is_some_and(|piece| piece.offset == self.length());
        assert!(follows && next.key == self.key, "the pieces of {} come out of order", self.key);
        self.body.append(next.body);
    }

    /// The message that all its pieces are.
    pub(super) fn joined(self) -> Self {
        Self { piece: None, ..self }
    }

    /// Whether it is a piece, or was put together from pieces, of which each large message has two at least.
    pub(super) fn is_large(&self) -> bool {
        self.piece.is_some() || self.body.pieces().len() > 1
    }

    /// The piece that it is.
    pub(super) fn as_piece(&self) -> Option<Piece> {
        let output::Piece { offset, total, whole } = self.piece?;
        let Self { position, key, id, .. } = *self;
        Some(Piece { position, key, id, offset, total, whole, bytes: self.body.to_bytes() })
    }

    /// Bytes of its body.
    #[must_use]
    pub const fn length(&self) -> u64 {
        self.body.len() as u64
    }

    /// Its body, from the beginning; as often as it is asked for.
    #[must_use]
    pub fn body(&self) -> Body {
        Body { rest: self.body.pieces().iter().cloned().collect() }
    }
}

/// The key of a message: what makes an effect idempotent. It names the message through renumbering, restarts, changes of leader and replays. As text it is
/// `instance/writer/number`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The stream's life.
    pub instance: StreamInstance,
    /// Who wrote it.
    pub writer: WriterId,
    /// Its place among the writer's messages.
    pub writer_sequence: WriterSequence,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.instance, self.writer, self.writer_sequence)
    }
}

/// A piece of a message that is larger than [`Options::message_bytes`](super::Options::message_bytes).
#[derive(Clone, Debug)]
pub struct Piece {
    /// The place of the message. It may be presented when the last piece was processed.
    pub position: Position,
    /// Of the message.
    pub key: Key,
    /// Of the message.
    pub id: MessageId,
    /// Its first byte within the message.
    pub offset: u64,
    /// Bytes of the message.
    pub total: u64,
    /// BLAKE3 of the message.
    pub whole: Digest,
    /// The piece.
    pub bytes: Bytes,
}

impl Piece {
    /// Whether the message ends with it.
    #[must_use]
    pub const fn is_last(&self) -> bool {
        self.offset + self.bytes.len() as u64 == self.total
    }
}

/// The body of a message, to be read in pieces: a large message has several, and its length is known before ([`Message::length`]).
#[derive(Clone, Debug)]
pub struct Body {
    rest: VecDeque<Bytes>,
}

impl Body {
    /// The next piece, which is not empty; `None` at the end. Nothing is copied.
    ///
    /// # Errors
    /// The bytes cannot be had now: to be given on from [`Handler::handle`](super::Handler::handle).
    pub async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        Ok(self.rest.pop_front())
    }

    /// All that is left of it, in one piece; without a copy if it comes in one.
    ///
    /// # Errors
    /// As of [`Body::next`].
    pub async fn whole(mut self) -> Result<Bytes, Failure> {
        let first = self.next().await?.unwrap_or_default();
        let Some(second) = self.next().await? else { return Ok(first) };
        let mut whole = BytesMut::from(first);
        whole.extend_from_slice(&second);
        while let Some(piece) = self.next().await? {
            whole.extend_from_slice(&piece);
        }
        Ok(whole.freeze())
    }
}
