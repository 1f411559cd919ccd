//! How much a lane is handed at a time.
//!
//! What a lane was handed can no longer be overtaken, so at first it is little. But each buffer costs the loop and the lane a wake-up, and where
//! small buffers are gone at once, that is what the lane waits for: as long as they are, they grow. So what is more urgent waits for no longer than it did:
//! about [`QUICK`] behind the buffer before.

use wattle_core::time::{Instant, Span};

use super::LANE_BYTES;

/// A buffer that is flushed within this time is followed by a larger one.
const QUICK: Span = Span::millis(10);
/// The largest buffer.
const MOST: usize = 64 << 10;

/// The pace of one lane.
#[derive(Debug)]
pub(crate) struct Pace {
    bytes: usize,
    /// When the buffer under way was handed over.
    since: Instant,
}

impl Default for Pace {
    fn default() -> Self {
        Self { bytes: LANE_BYTES, since: Instant::ZERO }
    }
}

impl Pace {
    /// How much the next buffer may hold.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// A buffer is handed over.
    pub(crate) fn handed(&mut self, now: Instant) {
        self.since = now;
    }

    /// It was flushed.
    pub(crate) fn flushed(&mut self, now: Instant, len: usize) {
        let took = now.since(self.since);
        if took > QUICK {
            self.bytes = (self.bytes / 2).max(LANE_BYTES);
        } else if len > self.bytes / 2 {
            // Smaller ones say nothing of larger ones.
            self.bytes = (self.bytes * 2).min(MOST);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sizes of ten buffers in a row, each as full as it may be.
    fn sizes(bytes_in_a_millisecond: u64) -> Vec<usize> {
        let (mut pace, mut now) = (Pace::default(), Instant::ZERO);
        let mut buffer = || {
            pace.handed(now);
            let len = pace.bytes();
            now += Span::millis(len as u64 / bytes_in_a_millisecond);
            pace.flushed(now, len);
            len
        };
        (0..10).map(|_| buffer()).collect()
    }

    #[test]
    fn a_quick_lane_is_handed_more_and_a_slow_one_never_what_takes_it_long() {
        assert_eq!(sizes(10_000)[..5], [LANE_BYTES, 2 * LANE_BYTES, 4 * LANE_BYTES, MOST, MOST]);
        assert!(sizes(1_000).iter().all(|&len| len <= 2 * LANE_BYTES), "12 KiB in 12 ms");
        assert!(sizes(100).iter().all(|&len| len == LANE_BYTES), "12 KiB in 120 ms");
    }

    #[test]
    fn buffers_that_are_hardly_filled_do_not_grow() {
        let mut pace = Pace::default();
        for _ in 0..9 {
            pace.handed(Instant::ZERO);
            pace.flushed(Instant::ZERO, 100);
        }
        assert_eq!(pace.bytes(), LANE_BYTES);
    }

    #[test]
    fn a_lane_that_becomes_slow_is_handed_little_again() {
        let mut pace = Pace::default();
        (0..9).for_each(|_| pace.flushed(Instant::ZERO, MOST));
        assert_eq!(pace.bytes(), MOST);
        (0..3).for_each(|_| pace.flushed(Instant::ZERO + Span::millis(50), 1));
        assert_eq!(pace.bytes(), LANE_BYTES);
    }
}
