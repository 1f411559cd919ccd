//! How one stream's handler is called (X1, X5).

use std::collections::BTreeSet;

use wattle_core::id::{AttachToken, StreamInstance};
use wattle_core::node::command::Position;
use wattle_core::node::output::{Delivered, Delivery};

use super::{Checked, ensure};
use crate::content;

#[derive(Clone, Copy, Debug)]
struct Attachment {
    token: AttachToken,
    instance: StreamInstance,
    window: u64,
    /// Everything up to here was handed over or lies behind the position.
    handed: u64,
    /// Everything up to here has a verdict or lies behind the position.
    settled: u64,
}

/// The calls of one stream's handler.
#[derive(Debug)]
pub struct Handling {
    index: usize,
    attachment: Option<Attachment>,
    /// The highest sequence ever handed over.
    handed: u64,
    /// The highest sequence for which success was reported.
    reported: u64,
    /// The largest window any attachment asked for.
    window: u64,
    target_rolled_back: bool,
    /// The source's disk was taken back: parts may stand in the log of a message that nobody knows any more.
    source_rolled_back: bool,
    /// The sequences of all messages that were handed over: of one with several parts, the last.
    messages: BTreeSet<u64>,
    /// Those that may be parked: they count as processed then, and are passed over.
    passed: BTreeSet<u64>,
}

impl Handling {
    /// No calls yet, of the plan's stream `index`.
    #[must_use]
    pub fn new(index: usize) -> Self {
        Self {
            index,
            attachment: None,
            handed: 0,
            reported: 0,
            window: 0,
            target_rolled_back: false,
            source_rolled_back: false,
            messages: BTreeSet::new(),
            passed: BTreeSet::new(),
        }
    }

    /// It is called for what is behind this message, and nothing in front of that.
    pub fn begins_behind(&mut self, behind: u64) {
        self.reported = self.reported.max(behind);
    }

    /// A node attached the handler, which had presented a position or none.
    ///
    /// # Errors
    /// X1, X5.
    pub fn attached(
        &mut self,
        token: AttachToken,
        instance: StreamInstance,
        position: Position,
        presented: Option<Position>,
        window: u32,
    ) -> Checked {
        let (index, at) = (self.index, position.sequence.0);
        ensure!(
            position.instance == instance,
            "X1",
            "stream {index}: attached to {instance} at a position of {}",
            position.instance
        );
        if let Some(presented) = presented {
            ensure!(
                presented.sequence == position.sequence,
                "X1",
                "stream {index}: the handler stands at {} and was attached at {at}",
                presented.sequence
            );
        }
        let known = presented.map_or(self.reported, |presented| presented.sequence.0.max(self.reported));
        ensure!(
            at <= known,
            "X1",
            "stream {index}: attached at {at} though success was reported up to {known} only"
        );
        ensure!(
            presented.is_some()
                || self.target_rolled_back
                || self.messages.range(at + 1..).count() as u64 <= self.window,
            "X5",
            "stream {index}: attached at {at} after calls up to {}: more than the window of {} comes again",
            self.handed,
            self.window
        );
        self.window = self.window.max(u64::from(window));
        self.attachment =
            Some(Attachment { token, instance, window: u64::from(window), handed: at, settled: at });
        Ok(())
    }

    /// The attachment is over.
    pub fn gone(&mut self) {
        self.attachment = None;
    }

    /// The target's disk was taken back: marks that it alone held are void.
    pub fn target_rolled_back(&mut self) {
        self.target_rolled_back = true;
    }

    /// The source's disk was taken back.
    pub fn source_rolled_back(&mut self) {
        self.source_rolled_back = true;
    }

    /// Messages are handed over. One of several parts counts with its last piece.
    ///
    /// # Errors
    /// X1.
    pub fn handed(&mut self, delivery: &Delivery) -> Checked {
        let index = self.index;
        let Some(attachment) = self.attachment.as_mut().filter(|now| now.token == delivery.token) else {
            let now = self.attachment.map(|now| now.token);
            return Err(super::Failure::new(
                "X1",
                format!("stream {index}: a call under token {} while {now:?} is attached", delivery.token),
            ));
        };
        ensure!(
            delivery.instance == attachment.instance,
            "X1",
            "stream {index}: a call for {} under an attachment to {}",
            delivery.instance,
            attachment.instance
        );
        for message in &delivery.messages {
            let sequence = message.sequence.0;
            let Some(parts) = parts_ended_by(message) else { continue };
            if message.parked {
                continue;
            }
            let mut next = attachment.handed + parts;
            while next < sequence && self.passed.contains(&(next + 1 - parts)) {
                next += 1;
            }
            ensure!(
                sequence == next || self.source_rolled_back && sequence > next,
                "X1",
                "stream {index}: {sequence} was handed over after {}",
                attachment.handed
            );
            attachment.handed = sequence;
            self.messages.insert(sequence);
        }
        let open =
            self.messages.range(attachment.settled + 1..=attachment.handed.max(attachment.settled + 1));
        // What is parked is none, though a handler that keeps its position stands in front of it.
        let counts = |sequence: &&u64| **sequence <= attachment.handed && !self.passed.contains(sequence);
        let open = open.filter(counts).count() as u64;
        ensure!(
            open <= attachment.window,
            "X1",
            "stream {index}: {open} calls without a verdict, in a window of {}",
            attachment.window
        );
        self.handed = self.handed.max(attachment.handed);
        Ok(())
    }

    /// The handler reports success, under a token. Tells whether it counts: what a replaced handler says does not.
    pub fn verdict(&mut self, token: AttachToken, upto: u64) -> bool {
        let Some(now) = self.attachment.as_mut().filter(|now| now.token == token) else { return false };
        now.settled = now.settled.max(upto);
        self.reported = self.reported.max(upto);
        true
    }

    /// Whether that attachment is the one there is.
    #[must_use]
    pub fn has(&self, token: AttachToken) -> bool {
        self.attachment.is_some_and(|now| now.token == token)
    }

    /// From now on a message may be parked.
    pub fn may_pass(&mut self, sequence: u64) {
        self.passed.insert(sequence);
        self.reported = self.reported.max(sequence);
    }

    /// The handler leaves, under a token.
    pub fn left(&mut self, token: AttachToken) {
        if self.attachment.is_some_and(|now| now.token == token) {
            self.attachment = None;
        }
    }
}

/// How many parts the message has that ends with what is delivered; `None` if others follow.
fn parts_ended_by(message: &Delivered) -> Option<u64> {
    let Some(piece) = message.piece else { return Some(1) };
    (piece.offset + message.bytes.len() as u64 == piece.total).then(|| content::parts(piece.total))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use wattle_core::id::{AuthorityEpoch, MessageId, Sequence, WriterId, WriterSequence};

    const INSTANCE: StreamInstance = StreamInstance(9);

    fn at(sequence: u64) -> Position {
        Position { instance: INSTANCE, authority: AuthorityEpoch(0), sequence: Sequence(sequence) }
    }

    fn delivery(token: u64, sequences: std::ops::RangeInclusive<u64>) -> Delivery {
        let message = |sequence| Delivered {
            sequence: Sequence(sequence),
            id: MessageId(0),
            writer: WriterId(0),
            writer_sequence: WriterSequence(sequence),
            bytes: Bytes::new(),
            piece: None,
            parked: false,
        };
        Delivery { token: AttachToken(token), instance: INSTANCE, messages: sequences.map(message).collect() }
    }

    fn attached(window: u32) -> Handling {
        let mut handling = Handling::new(0);
        handling.attached(AttachToken(1), INSTANCE, at(0), None, window).unwrap();
        handling
    }

    fn broken(result: Checked) -> String {
        result.expect_err("this breaks a promise").checker
    }

    #[test]
    fn calls_follow_each_other_within_the_window() {
        let mut handling = attached(3);
        handling.handed(&delivery(1, 1..=2)).unwrap();
        assert!(handling.verdict(AttachToken(1), 1));
        assert!(!handling.verdict(AttachToken(7), 2), "a replaced handler's word does not count");
        handling.handed(&delivery(1, 3..=4)).unwrap();
        assert_eq!(broken(handling.handed(&delivery(1, 6..=6))), "X1", "a gap");
        assert_eq!(broken(attached(3).handed(&delivery(1, 1..=4))), "X1", "beyond the window");
        assert_eq!(broken(attached(3).handed(&delivery(2, 1..=1))), "X1", "another token");
        let mut gone = attached(3);
        gone.left(AttachToken(9));
        gone.handed(&delivery(1, 1..=1)).unwrap();
        gone.left(AttachToken(1));
        assert_eq!(broken(gone.handed(&delivery(1, 2..=2))), "X1", "nobody is attached");
    }

    #[test]
    fn a_crash_repeats_at_most_the_window_and_never_skips() {
        let crashed = || {
            let mut handling = attached(3);
            handling.handed(&delivery(1, 1..=3)).unwrap();
            assert!(handling.verdict(AttachToken(1), 3));
            handling.handed(&delivery(1, 4..=6)).unwrap();
            handling.gone();
            handling
        };
        crashed().attached(AttachToken(2), INSTANCE, at(3), None, 9).unwrap();
        assert_eq!(broken(crashed().attached(AttachToken(2), INSTANCE, at(2), None, 9)), "X5");
        assert_eq!(broken(crashed().attached(AttachToken(2), INSTANCE, at(4), None, 9)), "X1", "skips 4");
        crashed().attached(AttachToken(2), INSTANCE, at(4), Some(at(4)), 9).unwrap();
        assert_eq!(broken(crashed().attached(AttachToken(2), INSTANCE, at(3), Some(at(4)), 9)), "X1");
        let mut rolled_back = crashed();
        rolled_back.target_rolled_back();
        rolled_back.attached(AttachToken(2), INSTANCE, at(0), None, 9).unwrap();
    }
}
