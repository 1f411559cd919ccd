//! Streams that fail by what their handlers fail at (X42).
//!
//! Known from outside are the failures that reached a target's node, what its handler was told of them, when somebody asked for the stream to be resumed and what was answered, and by which failure a node said
//! that a stream takes nothing in. A word about a failure may be old: it counts for now only if it knows of as many resumes as may have been done by then.

use std::collections::{BTreeMap, BTreeSet};

use wattle_core::flow::Failed;
use wattle_core::id::RequestId;

use super::{Checked, ensure};

/// What is known of a message at a target.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    /// Failures that reached the node.
    failures: u32,
    /// How often the handler was told to try again.
    again: u32,
}

/// A stream.
#[derive(Clone, Debug, Default)]
struct Stream {
    /// By target and sequence.
    known: BTreeMap<(usize, u64), Known>,
    /// The failures that were told, by the time that they bear: each is another one.
    told: BTreeMap<u64, (usize, u64)>,
    /// The last number of resumes that was answered.
    resumed: u64,
    /// Requests to resume it that were not answered: each may be done at any time.
    open: BTreeSet<RequestId>,
    /// How often it was asked to be resumed.
    asked: u32,
    /// It failed by that target at that message, and nobody asked for it to be resumed since.
    held: Option<(usize, u64)>,
}

/// The book of failures.
#[derive(Debug, Default)]
pub struct Failures {
    streams: BTreeMap<usize, Stream>,
    /// How often it was told that a stream failed.
    pub told: u64,
}

impl Failures {
    fn of(&mut self, stream: usize) -> &mut Stream {
        self.streams.entry(stream).or_default()
    }

    /// A failure of the handler at a target reaches its node.
    pub fn failed(&mut self, stream: usize, place: usize, sequence: u64) {
        self.of(stream).known.entry((place, sequence)).or_default().failures += 1;
    }

    /// Somebody is about to ask for a stream to be resumed.
    pub fn asks(&mut self, stream: usize, request: RequestId) {
        let stream = self.of(stream);
        stream.open.insert(request);
        stream.asked += 1;
        stream.held = None;
    }

    /// It is, so many times after it had failed.
    pub fn resumed(&mut self, stream: usize, request: RequestId, resumed: u64) {
        let stream = self.of(stream);
        stream.open.remove(&request);
        stream.resumed = stream.resumed.max(resumed);
    }

    /// A node says that a stream failed, by the handler at a target that is to fail it after so many attempts. Whether it still stands for sure.
    ///
    /// # Errors
    /// X42.
    pub fn told(
        &mut self,
        stream: usize,
        place: Option<usize>,
        failed: &Failed,
        attempts: Option<u32>,
    ) -> Result<bool, super::Failure> {
        let (at, index) = (&failed.at, stream);
        let (Some(place), Some(attempts)) = (place, attempts) else {
            let what =
                format!("stream {index} fails by {failed:?}, and is no such stream, or that no target of it");
            return Err(super::Failure::new("X42", what));
        };
        self.told += 1;
        let stream = self.of(index);
        stream.told.insert(failed.time.0, (place, at.sequence.0));
        let times = stream.told.values().filter(|told| **told == (place, at.sequence.0)).count() as u32;
        let known = stream.known.get(&(place, at.sequence.0)).copied().unwrap_or_default();
        ensure!(
            at.attempts == attempts && known.failures >= attempts * times,
            "X42",
            "stream {index} failed {times} times by message {} at target {place}, with {} attempts of {attempts} each: {known:?}",
            at.sequence,
            at.attempts
        );
        let stands = at.resumed >= stream.resumed + stream.open.len() as u64;
        if stands {
            stream.held = Some((place, at.sequence.0));
        }
        Ok(stands)
    }

    /// A message is handed to the handler at a target.
    ///
    /// # Errors
    /// X42.
    pub fn handed(&self, stream: usize, place: usize, sequence: u64) -> Checked {
        let held = self.streams.get(&stream).and_then(|stream| stream.held);
        let held = held.filter(|(by, at)| *by == place && sequence >= *at);
        ensure!(
            held.is_none(),
            "X42",
            "stream {stream} failed at target {place} by {held:?}, nobody resumed it, and {sequence} is handed over there"
        );
        Ok(())
    }

    /// The handler at a target of a stream that fails after so many attempts is told to try again.
    ///
    /// # Errors
    /// X42.
    pub fn tries_again(&mut self, stream: usize, place: usize, sequence: u64, attempts: u32) -> Checked {
        let index = stream;
        let stream = self.of(index);
        let known = stream.known.entry((place, sequence)).or_default();
        known.again += 1;
        let most = attempts * (stream.asked + 1) - 1;
        ensure!(
            known.again <= most,
            "X42",
            "stream {index}: the handler at target {place} is to try {sequence} again for the {}th time, the stream fails after {attempts} attempts, and was asked {} times to be resumed",
            known.again,
            stream.asked
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use wattle_core::flow::FailedAt;
    use wattle_core::id::{NodeId, Sequence};
    use wattle_core::time::Wall;

    use super::*;

    fn word(sequence: u64, resumed: u64, time: u64) -> Failed {
        let at = FailedAt { sequence: Sequence(sequence), attempts: 2, reason: "no".into(), resumed };
        Failed { target: NodeId(1), at, time: Wall(time) }
    }

    fn tells(failures: &mut Failures, failed: &Failed) -> Result<bool, String> {
        failures.told(0, Some(1), failed, Some(2)).map_err(|failure| failure.checker)
    }

    fn tried(failures: &mut Failures, times: u32) {
        (0..times).for_each(|_| failures.failed(0, 1, 5));
    }

    #[test]
    fn a_stream_fails_once_for_as_many_attempts_as_it_bears() {
        let mut failures = Failures::default();
        tried(&mut failures, 1);
        assert_eq!(tells(&mut failures, &word(5, 0, 7)), Err("X42".into()), "one attempt");
        tried(&mut failures, 1);
        assert_eq!(tells(&mut failures, &word(5, 0, 7)), Ok(true));
        assert_eq!(tells(&mut failures, &word(5, 0, 7)), Ok(true), "the same again");
        assert_eq!(
            tells(&mut failures, &word(5, 0, 8)),
            Err("X42".into()),
            "another one by the same attempts"
        );
        assert!(failures.told(0, None, &word(5, 0, 7), Some(2)).is_err(), "by a node that is no target");
        assert!(failures.told(0, Some(1), &word(5, 0, 7), None).is_err(), "its policy is another");
    }

    #[test]
    fn nothing_is_handed_over_where_a_stream_failed_until_somebody_asks_for_a_resume() {
        let (first, second) = (RequestId(1), RequestId(2));
        let mut failures = Failures::default();
        tried(&mut failures, 2);
        assert_eq!(tells(&mut failures, &word(5, 0, 7)), Ok(true));
        assert!(
            failures.handed(0, 1, 4).is_ok()
                && failures.handed(0, 0, 5).is_ok()
                && failures.handed(2, 1, 5).is_ok()
        );
        assert!(failures.handed(0, 1, 5).is_err() && failures.handed(0, 1, 6).is_err());
        failures.asks(0, first);
        assert!(failures.handed(0, 1, 5).is_ok());
        assert_eq!(tells(&mut failures, &word(5, 0, 7)), Ok(false), "it may be resumed by now");
        assert!(failures.handed(0, 1, 5).is_ok());
        failures.resumed(0, first, 1);
        tried(&mut failures, 2);
        assert_eq!(tells(&mut failures, &word(5, 1, 9)), Ok(true));
        assert!(failures.handed(0, 1, 5).is_err());
        failures.asks(0, second);
        tried(&mut failures, 2);
        assert_eq!(tells(&mut failures, &word(5, 1, 10)), Ok(false), "a request is open that may undo it");
    }

    #[test]
    fn a_handler_tries_as_often_as_resumes_allow() {
        let mut failures = Failures::default();
        assert!(failures.tries_again(0, 1, 5, 2).is_ok());
        assert!(failures.tries_again(0, 1, 5, 2).is_err());
        failures.asks(0, RequestId(1));
        assert!(failures.tries_again(0, 1, 5, 2).is_ok());
        assert!(failures.tries_again(0, 1, 5, 2).is_err());
    }
}
