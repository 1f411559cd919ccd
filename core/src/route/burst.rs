//! A few at once, then one in each pause.

use crate::time::{Instant, Span};

/// So many at once ...
const BURST: u64 = 8;
/// ... and then one in each pause, so that while a large mesh forms or heals one message bears what many would. Longer makes fewer
/// messages then, and news arrives later by up to so much at each node on its way.
const PAUSE: Span = Span::millis(100);

/// What was done lately, of something that may be done in bursts.
#[derive(Clone, Debug, Default)]
pub(super) struct Burst {
    /// When all that was done would have been done, had each waited for its pause.
    paid_at: Instant,
}

impl Burst {
    /// When it may be done again: possibly long ago.
    pub(super) fn ready_at(&self) -> Instant {
        Instant(self.paid_at.0.saturating_sub(PAUSE.times(BURST - 1).0))
    }

    /// It is done, which it may be.
    pub(super) fn spend(&mut self, now: Instant) {
        self.paid_at = self.paid_at.max(now) + PAUSE;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_eight_at_once_there_is_one_in_each_pause() {
        let mut burst = Burst::default();
        let start = Instant(1_000_000_000);
        let mut done = alloc::vec::Vec::new();
        for milli in 0..1_000 {
            let now = start + Span::millis(milli);
            while burst.ready_at() <= now {
                burst.spend(now);
                done.push(milli);
            }
        }
        assert_eq!(done, [0, 0, 0, 0, 0, 0, 0, 0, 100, 200, 300, 400, 500, 600, 700, 800, 900]);
        let quiet = start + Span::secs(10);
        (0..8).for_each(|_| {
            assert!(burst.ready_at() <= quiet);
            burst.spend(quiet);
        });
        assert!(burst.ready_at() > quiet, "quiet does not add up to more than one burst");
    }
}
