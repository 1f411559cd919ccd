//! What was handed over and is not processed: large messages, which come in pieces, are put together here, or wait as pieces.

use std::collections::VecDeque;

use super::Message;

/// Messages in the order in which they are to be processed.
///
/// The node hands over only so many bytes of pieces that it was not told to be taken. It is told of those that are processed, and of what came of the message
/// that is to be processed next: so of large messages no more is held here than that one has, and those bytes.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    messages: VecDeque<Message>,
    /// Bytes of those among `messages` that came in pieces: each message that was put together, and each piece of one that is not.
    large: VecDeque<u64>,
    /// The pieces so far of the message that is being put together.
    begun: Option<Message>,
    /// Bytes of pieces that are processed.
    done: u64,
    /// Bytes that the node was told to be taken.
    told: u64,
}

impl Waiting {
    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    pub(super) fn first(&self) -> Option<&Message> {
        self.messages.front()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Message> + '_ {
        self.messages.iter()
    }

    /// The first ones.
    pub(super) fn array(&mut self, count: usize) -> &[Message] {
        self.messages.make_contiguous().get(..count).unwrap_or_default()
    }

    /// A message, or a piece of one: that is put together if it has no more than `most` bytes.
    pub(super) fn hand(&mut self, message: Message, most: u64) {
        let Some(piece) = message.piece else { return self.messages.push_back(message) };
        if piece.total > most {
            self.large.push_back(message.length());
            return self.messages.push_back(message);
        }
        let whole = match self.begun.take().filter(|_| piece.offset > 0) {
            Some(mut begun) => {
                begun.join(message);
                begun
            }
            None => {
                assert_eq!(piece.offset, 0, "the first pieces of {} are missing", message.key);
                message
            }
        };
        if whole.length() < piece.total {
            self.begun = Some(whole);
            return;
        }
        self.large.push_back(whole.length());
        self.messages.push_back(whole.joined());
    }

    /// The first ones are processed.
    pub(super) fn done(&mut self, count: usize) {
        let large = self.messages.drain(..count).filter(Message::is_large).count();
        self.done += self.large.drain(..large).sum::<u64>();
    }

    /// How many more bytes of pieces the node may be told to be taken.
    pub(super) fn taken(&mut self) -> u64 {
        let begun = self.begun.as_ref().map_or(0, Message::length);
        let upto = self.done + self.large.front().copied().unwrap_or(begun);
        upto - std::mem::replace(&mut self.told, upto)
    }
}
