//! What a handler is given.

use std::fmt;

use bytes::Bytes;
use wattle_core::id::{AuthorityEpoch, MessageId, StreamInstance, WriterId, WriterSequence};
use wattle_core::node::command::Position;
use wattle_core::node::output::Delivered;

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
    body: Bytes,
}

impl Message {
    /// A message, for the tests of a handler.
    #[must_use]
    pub const fn new(position: Position, key: Key, id: MessageId, body: Bytes) -> Self {
        Self { position, key, id, body }
    }

    pub(super) fn delivered(
        instance: StreamInstance,
        authority: AuthorityEpoch,
        delivered: Delivered,
    ) -> Self {
        let position = Position { instance, authority, sequence: delivered.sequence };
        let (writer, writer_sequence) = (delivered.writer, delivered.writer_sequence);
        let key = Key { instance, writer, writer_sequence };
        Self { position, key, id: delivered.id, body: delivered.bytes }
    }

    /// Bytes of its body.
    #[must_use]
    pub const fn length(&self) -> u64 {
        self.body.len() as u64
    }

    /// Its body, from the beginning; as often as it is asked for.
    #[must_use]
    pub fn body(&self) -> Body {
        Body { rest: self.body.clone() }
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

/// The body of a message, to be read in pieces. A message may be larger than what a handler wants to hold, so the length is known before
/// ([`Message::length`]), and a piece may have to be waited for.
#[derive(Clone, Debug)]
pub struct Body {
    rest: Bytes,
}

impl Body {
    /// The next piece, which is not empty; `None` at the end. Nothing is copied.
    ///
    /// # Errors
    /// The bytes cannot be had now: to be given on from [`Handler::handle`](super::Handler::handle).
    pub async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        let piece = std::mem::take(&mut self.rest);
        Ok((!piece.is_empty()).then_some(piece))
    }

    /// All that is left of it, in one piece; without a copy if it comes in one.
    ///
    /// # Errors
    /// As of [`Body::next`].
    pub async fn whole(mut self) -> Result<Bytes, Failure> {
        Ok(self.next().await?.unwrap_or_default())
    }
}
