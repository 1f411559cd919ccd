//! What is under way on one stream: pure bookkeeping.
//!
//! Messages are numbered from 1 without gaps and leave the books when they are completed, so whatever breaks, all that is left can be
//! sent again under the same numbers. Receipts may come in any order.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use wattle_proto::api::{Level, PublishRequest, Receipt, StreamHandle};

/// One stream, and the one writer of it.
#[derive(Debug)]
pub(super) struct Lane {
    stream: String,
    pub(super) instance: Bytes,
    writer: Bytes,
    /// The first message that is not completed.
    base: u64,
    /// The first that was not sent over this connection.
    next: u64,
    /// From `base` on.
    slots: VecDeque<Slot>,
}

#[derive(Debug)]
struct Slot {
    /// When it should have been sent.
    due: Instant,
    accepted: bool,
    completed: bool,
}

impl Lane {
    /// A stream to which its writer has written nothing yet.
    pub(super) fn new(handle: &StreamHandle, writer: Bytes) -> Self {
        Self {
            stream: handle.name.clone(),
            instance: handle.instance.clone(),
            writer,
            base: 1,
            next: 1,
            slots: VecDeque::new(),
        }
    }

    /// Messages that are not completed.
    pub(super) fn outstanding(&self) -> usize {
        self.slots.len()
    }

    /// Messages that are completed.
    pub(super) fn done(&self) -> u64 {
        self.base - 1
    }

    /// One more message is to be sent.
    pub(super) fn offer(&mut self, due: Instant) {
        self.slots.push_back(Slot { due, accepted: false, completed: false });
    }

    /// The next messages to send, so many at most.
    pub(super) fn request(&mut self, most: usize, payload: &Bytes) -> Option<PublishRequest> {
        let unsent = self.base + self.slots.len() as u64 - self.next;
        let count = usize::try_from(unsent).unwrap_or(most).min(most);
        if count == 0 {
            return None;
        }
        let first = self.next;
        self.next += count as u64;
        Some(PublishRequest {
            stream: self.stream.clone(),
            writer: self.writer.clone(),
            first,
            messages: vec![payload.clone(); count],
            wait: Level::Completed.into(),
            ..PublishRequest::default()
        })
    }

    /// All that is not completed is to be sent again.
    pub(super) fn rewind(&mut self) {
        self.next = self.base;
    }

    /// Takes a receipt, and tells how long each message took to come so far that had not yet.
    pub(super) fn take(&mut self, receipt: &Receipt, now: Instant, mut tell: impl FnMut(Level, Duration)) {
        let level = receipt.level();
        for number in receipt.first_writer.max(self.base)..=receipt.last_writer {
            let Some(slot) = self.slots.get_mut((number - self.base) as usize) else { break };
            let reached = match level {
                Level::Accepted => &mut slot.accepted,
                Level::Completed => &mut slot.completed,
                Level::Replicated | Level::Unspecified => return,
            };
            if !std::mem::replace(reached, true) {
                tell(level, now.saturating_duration_since(slot.due));
            }
        }
        while self.slots.front().is_some_and(|slot| slot.completed) {
            self.slots.pop_front();
            self.base += 1;
        }
        self.next = self.next.max(self.base);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receipt(level: Level, first: u64, last: u64) -> Receipt {
        Receipt { level: level.into(), first_writer: first, last_writer: last, ..Receipt::default() }
    }

    fn lane(messages: usize) -> (Lane, Instant) {
        let handle = StreamHandle { name: "s".to_owned(), ..StreamHandle::default() };
        let mut lane = Lane::new(&handle, Bytes::from_static(&[7; 16]));
        let due = Instant::now();
        (0..messages).for_each(|_| lane.offer(due));
        (lane, due)
    }

    fn spans(lane: &mut Lane, most: usize) -> Vec<(u64, usize)> {
        let requests = std::iter::from_fn(|| lane.request(most, &Bytes::from_static(b"x")));
        requests.map(|request| (request.first, request.messages.len())).collect()
    }

    #[test]
    fn each_message_counts_once_per_level_whatever_order_receipts_come_in() {
        let (mut lane, due) = lane(6);
        assert_eq!(spans(&mut lane, 4), [(1, 4), (5, 2)]);
        let mut told = Vec::new();
        let later = due + Duration::from_millis(3);
        for receipt in [
            receipt(Level::Accepted, 1, 6),
            receipt(Level::Completed, 3, 4),
            receipt(Level::Replicated, 1, 6),
            receipt(Level::Completed, 1, 2),
            receipt(Level::Completed, 1, 4),
        ] {
            lane.take(&receipt, later, |level, took| told.push((level, took.as_millis())));
        }
        let count = |wanted| told.iter().filter(|(level, took)| *level == wanted && *took == 3).count();
        assert_eq!((count(Level::Accepted), count(Level::Completed), told.len()), (6, 4, 10));
        assert_eq!((lane.done(), lane.outstanding()), (4, 2));
    }

    #[test]
    fn what_is_not_completed_is_sent_again_under_the_same_numbers() {
        let (mut lane, due) = lane(5);
        assert_eq!(spans(&mut lane, 2), [(1, 2), (3, 2), (5, 1)]);
        lane.take(&receipt(Level::Completed, 1, 3), due, |_, _| {});
        lane.rewind();
        assert_eq!(spans(&mut lane, 10), [(4, 2)]);
        // An answer from before.
        lane.take(&receipt(Level::Completed, 2, 5), due, |_, _| {});
        assert_eq!((lane.done(), lane.outstanding()), (5, 0));
        lane.offer(due);
        assert_eq!(spans(&mut lane, 10), [(6, 1)]);
    }
}
