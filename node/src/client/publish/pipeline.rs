//! The batches between the source and the receipts: pure bookkeeping.
//!
//! P1: batches are sent in order, and none is sent behind one that was refused. P2: a batch is dropped only when the level waited for is
//! reached, so whatever breaks, everything else can be sent again under the same numbers. P3: what is held is bounded by the window.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use wattle_proto::api::publish_response::Answer;
use wattle_proto::api::{Level, PublishResponse, Reason, Receipt, Refused};

use crate::client::failure::Failure;
use crate::client::source::Batch;

/// How much may be under way.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// Batches.
    pub batches: usize,
    /// Bytes.
    pub bytes: usize,
}

impl Default for Window {
    fn default() -> Self {
        Self { batches: 64, bytes: 32 << 20 }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Unsent,
    InFlight,
    Accepted,
    Done,
}

#[derive(Debug)]
struct Held {
    first: u64,
    last: u64,
    bytes: usize,
    messages: Vec<Bytes>,
    state: State,
    times_sent: u32,
    counted: bool,
}

/// What an answer means for the publisher.
#[derive(Debug, PartialEq)]
pub enum Meaning {
    /// Something moved on.
    Progress,
    /// Nothing new.
    Nothing,
    /// The node cannot take more now; why, and for how long if it says so.
    Wait(String, Option<Duration>),
    /// This node is not the right one, or goes away: connect anew.
    Reconnect(Failure),
    /// It cannot go on.
    Fatal(Failure),
}

/// How many messages came to what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Accepted in this run.
    pub accepted: u64,
    /// Found there.
    pub already_there: u64,
    /// The stream's sequence of the last message known to have been accepted.
    pub last_sequence: u64,
}

/// The batches under way.
#[derive(Debug)]
pub struct Pipeline {
    wait: Level,
    window: Window,
    held: VecDeque<Held>,
    bytes: usize,
    stalled: bool,
    counts: Counts,
}

impl Pipeline {
    /// An empty pipeline whose batches are done when they reach `wait`.
    #[must_use]
    pub fn new(wait: Level, window: Window) -> Self {
        Self { wait, window, held: VecDeque::new(), bytes: 0, stalled: false, counts: Counts::default() }
    }

    /// What came of everything so far.
    #[must_use]
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    /// Whether nothing is under way.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Whether another batch may come in.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.held.len() < self.window.batches && self.bytes < self.window.bytes
    }

    /// The number of the first message still under way.
    #[must_use]
    pub fn first(&self) -> Option<u64> {
        self.held.front().map(|held| held.first)
    }

    /// Takes a batch in.
    pub fn push(&mut self, batch: Batch) {
        assert!(
            self.held.back().is_none_or(|held| held.last + 1 == batch.first),
            "P1: batches come in order and without gaps"
        );
        let bytes = batch.messages.iter().map(Bytes::len).sum();
        self.bytes += bytes;
        self.held.push_back(Held {
            first: batch.first,
            last: batch.last(),
            bytes,
            messages: batch.messages,
            state: State::Unsent,
            times_sent: 0,
            counted: false,
        });
    }

    /// The next batch to send: its first number and its messages.
    pub fn next_to_send(&mut self) -> Option<(u64, Vec<Bytes>)> {
        if self.stalled {
            return None;
        }
        let held = self.held.iter_mut().find(|held| held.state == State::Unsent)?;
        held.state = State::InFlight;
        held.times_sent += 1;
        Some((held.first, held.messages.clone()))
    }

    /// Whether everything sent was answered and something was refused: after a pause, [`Self::resume`].
    #[must_use]
    pub fn wants_resume(&self) -> bool {
        self.stalled && self.held.iter().all(|held| held.state != State::InFlight)
    }

    /// Goes on after a pause.
    pub const fn resume(&mut self) {
        self.stalled = false;
    }

    /// The connection is gone: all that is not done must be said again.
    pub fn disconnected(&mut self) {
        self.stalled = false;
        for held in &mut self.held {
            if held.state != State::Done {
                held.state = State::Unsent;
            }
        }
    }

    /// Takes an answer of the node.
    pub fn take(&mut self, response: PublishResponse) -> Meaning {
        match response.answer {
            Some(Answer::Receipt(receipt)) => self.take_receipt(&receipt),
            Some(Answer::Refused(refused)) => self.take_refusal(refused),
            Some(Answer::Staged(_)) | None => Meaning::Nothing,
        }
    }

    fn take_receipt(&mut self, receipt: &Receipt) -> Meaning {
        let mut meaning = Meaning::Nothing;
        let done = receipt.level >= i32::from(self.wait);
        for held in &mut self.held {
            // A batch is answered in order, so its last message speaks for it.
            if !(receipt.first_writer..=receipt.last_writer).contains(&held.last) || held.state == State::Done
            {
                continue;
            }
            let state = if done { State::Done } else { State::Accepted };
            if state != held.state {
                meaning = Meaning::Progress;
            }
            held.state = state;
            if !held.counted {
                held.counted = true;
                let messages = held.last - held.first + 1;
                // Sent twice, it is our own copy that was there.
                if receipt.duplicate && held.times_sent == 1 {
                    self.counts.already_there += messages;
                } else {
                    self.counts.accepted += messages;
                }
            }
        }
        if meaning == Meaning::Progress {
            self.counts.last_sequence = self.counts.last_sequence.max(receipt.last);
        }
        while self.held.front().is_some_and(|held| held.state == State::Done) {
            self.bytes -= self.held.pop_front().expect("the front was just seen").bytes;
        }
        meaning
    }

    fn take_refusal(&mut self, refused: Refused) -> Meaning {
        let detail = refused.detail.clone().unwrap_or_default();
        let first_held = self.first();
        let Some(at) = self.held.iter().position(|held| held.first == refused.first_writer) else {
            return Meaning::Nothing;
        };
        match detail.reason() {
            Reason::WriterGap => {
                let expected = detail.expected_writer_sequence.unwrap_or_default();
                if expected > refused.first_writer || first_held.is_none_or(|first| expected < first) {
                    return Meaning::Fatal(Failure::of_refused(refused));
                }
                // Whatever stands from there on was not kept, also if it had been accepted: the source's disk may have been rolled back.
                for held in self.held.iter_mut().take(at + 1).filter(|held| held.last >= expected) {
                    if held.state == State::Accepted || held.first == refused.first_writer {
                        held.state = State::Unsent;
                    }
                }
                self.stalled = true;
                Meaning::Nothing
            }
            Reason::WrongNode | Reason::NodeStopped => {
                Meaning::Reconnect(Failure::Unreachable("the stream is served elsewhere now".to_owned()))
            }
            _ if detail.retriable => {
                self.held[at].state = State::Unsent;
                self.stalled = true;
                Meaning::Wait(refused.message, detail.retry_after_millis.map(Duration::from_millis))
            }
            _ => Meaning::Fatal(Failure::of_refused(refused)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wattle_proto::api::ErrorDetail;

    fn batch(first: u64, count: usize) -> Batch {
        Batch { first, messages: vec![Bytes::from_static(b"m"); count], digest: [0; 32] }
    }

    fn receipt(level: Level, first: u64, last: u64, duplicate: bool) -> PublishResponse {
        let receipt = Receipt {
            level: level.into(),
            first_writer: first,
            last_writer: last,
            first,
            last,
            duplicate,
            ..Receipt::default()
        };
        PublishResponse { answer: Some(Answer::Receipt(receipt)) }
    }

    fn refusal(first: u64, detail: ErrorDetail) -> PublishResponse {
        let refused = Refused { first_writer: first, detail: Some(detail), ..Refused::default() };
        PublishResponse { answer: Some(Answer::Refused(refused)) }
    }

    fn because(reason: Reason) -> ErrorDetail {
        let retriable = matches!(reason, Reason::Backpressure | Reason::Busy | Reason::NoSpace);
        ErrorDetail { reason: reason.into(), retriable, ..ErrorDetail::default() }
    }

    fn gap(expected: u64) -> ErrorDetail {
        ErrorDetail { expected_writer_sequence: Some(expected), ..because(Reason::WriterGap) }
    }

    fn sent(pipeline: &mut Pipeline) -> Vec<u64> {
        std::iter::from_fn(|| pipeline.next_to_send()).map(|(first, _)| first).collect()
    }

    fn filled(wait: Level) -> Pipeline {
        let mut pipeline = Pipeline::new(wait, Window::default());
        for first in [1, 3, 5] {
            pipeline.push(batch(first, 2));
        }
        assert_eq!(sent(&mut pipeline), [1, 3, 5]);
        pipeline
    }

    #[test]
    fn one_receipt_may_speak_for_several_batches() {
        let mut pipeline = filled(Level::Accepted);
        assert_eq!(pipeline.take(receipt(Level::Accepted, 1, 4, false)), Meaning::Progress);
        assert_eq!(pipeline.first(), Some(5));
        assert_eq!(pipeline.take(receipt(Level::Accepted, 5, 6, true)), Meaning::Progress);
        assert!(pipeline.is_empty());
        assert_eq!(pipeline.counts(), Counts { accepted: 4, already_there: 2, last_sequence: 6 });
    }

    #[test]
    fn a_lower_level_is_not_the_end() {
        let mut pipeline = filled(Level::Completed);
        assert_eq!(pipeline.take(receipt(Level::Accepted, 1, 6, false)), Meaning::Progress);
        assert_eq!(pipeline.take(receipt(Level::Replicated, 1, 6, false)), Meaning::Nothing);
        assert_eq!(pipeline.first(), Some(1));
        assert_eq!(pipeline.take(receipt(Level::Completed, 1, 6, false)), Meaning::Progress);
        assert!(pipeline.is_empty());
        assert_eq!(pipeline.counts().accepted, 6, "each counted once");
    }

    #[test]
    fn after_backpressure_everything_behind_it_is_sent_again_in_order() {
        let mut pipeline = filled(Level::Accepted);
        pipeline.take(receipt(Level::Accepted, 1, 2, false));
        // The answers need not come in the order of the batches.
        assert_eq!(pipeline.take(refusal(5, gap(3))), Meaning::Nothing);
        assert!(!pipeline.wants_resume(), "3 has no answer yet");
        pipeline.push(batch(7, 1));
        assert_eq!(sent(&mut pipeline), [0u64; 0], "P1");
        assert!(matches!(pipeline.take(refusal(3, because(Reason::Backpressure))), Meaning::Wait(_, None)));
        assert!(pipeline.wants_resume());
        pipeline.resume();
        assert_eq!(sent(&mut pipeline), [3, 5, 7]);
        pipeline.take(receipt(Level::Accepted, 3, 7, false));
        assert_eq!(pipeline.counts(), Counts { accepted: 7, already_there: 0, last_sequence: 7 });
    }

    #[test]
    fn a_paused_stream_is_waited_for_and_a_throttled_one_for_as_long_as_it_says() {
        let mut pipeline = filled(Level::Accepted);
        let paused = ErrorDetail { retriable: true, ..because(Reason::Paused) };
        assert!(matches!(pipeline.take(refusal(1, paused)), Meaning::Wait(_, None)));
        let throttled =
            ErrorDetail { retry_after_millis: Some(350), retriable: true, ..because(Reason::Throttled) };
        let Meaning::Wait(_, after) = pipeline.take(refusal(3, throttled)) else { panic!("it waits") };
        assert_eq!(after, Some(Duration::from_millis(350)));
        pipeline.take(refusal(5, gap(1)));
        assert!(pipeline.wants_resume());
        pipeline.resume();
        assert_eq!(sent(&mut pipeline), [1, 3, 5], "in order");
    }

    #[test]
    fn after_a_broken_connection_all_that_is_not_done_is_said_again() {
        let mut pipeline = filled(Level::Replicated);
        pipeline.take(receipt(Level::Replicated, 1, 2, false));
        pipeline.take(receipt(Level::Accepted, 3, 4, false));
        pipeline.disconnected();
        assert_eq!(sent(&mut pipeline), [3, 5]);
        // The node had them: that was us.
        pipeline.take(receipt(Level::Replicated, 3, 6, true));
        assert!(pipeline.is_empty());
        assert_eq!(pipeline.counts(), Counts { accepted: 6, already_there: 0, last_sequence: 6 });
    }

    #[test]
    fn a_source_that_forgot_what_it_accepted_gets_it_again_while_we_still_hold_it() {
        let mut pipeline = filled(Level::Completed);
        pipeline.take(receipt(Level::Accepted, 1, 4, false));
        assert_eq!(pipeline.take(refusal(5, gap(3))), Meaning::Nothing);
        assert!(pipeline.wants_resume());
        pipeline.resume();
        assert_eq!(sent(&mut pipeline), [3, 5]);
        assert!(matches!(pipeline.take(refusal(5, gap(0))), Meaning::Fatal(_)), "before what we hold");
    }

    #[test]
    fn the_window_bounds_what_is_held() {
        let mut pipeline = Pipeline::new(Level::Accepted, Window { batches: 2, bytes: 100 });
        pipeline.push(batch(1, 1));
        assert!(pipeline.has_room());
        pipeline.push(batch(2, 1));
        assert!(!pipeline.has_room(), "P3: batches");
        let mut pipeline = Pipeline::new(Level::Accepted, Window { batches: 9, bytes: 100 });
        pipeline.push(batch(1, 100));
        assert!(!pipeline.has_room(), "P3: bytes");
        sent(&mut pipeline);
        pipeline.take(receipt(Level::Accepted, 1, 100, false));
        assert!(pipeline.has_room());
    }

    #[test]
    fn refusals_that_waiting_cannot_mend_end_it() {
        for reason in [Reason::WriterClosed, Reason::TooLarge, Reason::StreamStopped, Reason::StreamClosed] {
            let mut pipeline = filled(Level::Accepted);
            assert!(matches!(pipeline.take(refusal(1, because(reason))), Meaning::Fatal(_)), "{reason:?}");
        }
        for reason in [Reason::WrongNode, Reason::NodeStopped] {
            let mut pipeline = filled(Level::Accepted);
            let meaning = pipeline.take(refusal(1, because(reason)));
            assert!(matches!(meaning, Meaning::Reconnect(_)), "{reason:?}");
        }
    }
}
