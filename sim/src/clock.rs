//! The two clocks of a node, as it sees them.

use wattle_core::time::{Instant, Now, Wall};

use crate::event::{MILLI, SECOND, Time};

const MILLION: i64 = 1_000_000;
/// Deadlines further away than this (some months) are never reached.
const NEVER: Time = 10_000_000 * SECOND;
/// Where wall clocks begin: some day in 2026, in milliseconds since the Unix epoch.
const EPOCH: i64 = 1_790_000_000_000;

/// A node's clocks: a monotonic one with a start and a rate of its own, and a wall clock that is off and may jump.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// Since when its monotonic clock runs at this rate, and what it showed then.
    since: Time,
    start: u64,
    ppm: i32,
    wall_offset: i64,
}

impl Clock {
    /// A clock that shows `start` at the beginning of the world and runs `ppm` parts per million too fast.
    #[must_use]
    pub const fn new(start: u64, ppm: i32, wall_offset: i64) -> Self {
        Self { since: 0, start, ppm, wall_offset }
    }

    /// What it shows.
    #[must_use]
    pub fn read(&self, now: Time) -> Now {
        let wall = EPOCH + self.wall_offset + (now / MILLI) as i64;
        Now { monotonic: Instant(self.monotonic(now)), wall: Wall(wall.max(0) as u64) }
    }

    fn monotonic(&self, now: Time) -> u64 {
        let elapsed = now.saturating_sub(self.since);
        let drift = (elapsed as i64).saturating_mul(i64::from(self.ppm)) / MILLION;
        (self.start + elapsed).saturating_add_signed(drift)
    }

    /// The first moment at which its monotonic clock shows at least `at`.
    #[must_use]
    pub fn reaches(&self, at: Instant) -> Time {
        let ahead = at.0.saturating_sub(self.start);
        if ahead > NEVER {
            return NEVER;
        }
        let rate = MILLION + i64::from(self.ppm);
        let estimate = match ahead.checked_mul(MILLION as u64) {
            // Some hours: what nearly all deadlines are ahead. To divide wider numbers takes much longer.
            Some(product) if rate > 0 => product / rate as u64,
            _ => (i128::from(ahead) * i128::from(MILLION) / i128::from(rate)) as Time,
        };
        let mut time = self.since + estimate;
        while self.monotonic(time) < at.0 {
            time += 1;
        }
        while time > self.since && self.monotonic(time - 1) >= at.0 {
            time -= 1;
        }
        time
    }

    /// From now on the monotonic clock runs at another rate.
    pub fn run_at(&mut self, now: Time, ppm: i32) {
        self.start = self.monotonic(now);
        self.since = now;
        self.ppm = ppm;
    }

    /// How fast the monotonic clock runs, in parts per million above the true rate.
    #[must_use]
    pub const fn ppm(&self) -> i32 {
        self.ppm
    }

    /// The machine slept, and its monotonic clock did not count the time.
    pub fn stood_still(&mut self, from: Time, to: Time) {
        self.start = self.monotonic(from);
        self.since = to;
    }

    /// The wall clock jumps.
    pub fn step(&mut self, millis: i64) {
        self.wall_offset += millis;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_reached_at_the_first_moment_that_shows_it() {
        for ppm in [-200, -1, 0, 3, 200] {
            let clock = Clock::new(77_000, ppm, 0);
            for at in [0, 76_999, 77_000, 77_001, 78_000, 1_000_000_007, 60 * SECOND + 3] {
                let time = clock.reaches(Instant(at));
                assert!(clock.read(time).monotonic.0 >= at, "ppm {ppm} at {at}");
                assert!(
                    time == 0 || clock.read(time - 1).monotonic.0 < at,
                    "ppm {ppm} at {at}: not the first"
                );
            }
        }
    }

    #[test]
    fn a_step_moves_the_wall_clock_alone() {
        let mut clock = Clock::new(5, 100, -7);
        let before = clock.read(3 * SECOND);
        clock.step(-60_000);
        let after = clock.read(3 * SECOND);
        assert_eq!(before.monotonic, after.monotonic);
        assert_eq!(before.wall.0 - after.wall.0, 60_000);
    }

    #[test]
    fn a_clock_that_changes_its_rate_goes_on_from_what_it_shows() {
        let mut clock = Clock::new(77_000, 200, 0);
        let mut last = clock.read(0).monotonic.0;
        for (second, ppm) in [(1, -50_000), (2, 50_000), (3, 0)] {
            let now = second * SECOND + 7;
            let before = clock.read(now).monotonic;
            clock.run_at(now, ppm);
            assert_eq!(clock.read(now).monotonic, before, "nothing jumps");
            let later = clock.read(now + SECOND).monotonic.0 - before.0;
            assert_eq!(later as i64, SECOND as i64 + i64::from(ppm) * 1_000);
            for at in [before.0 - 1, before.0, before.0 + 1, before.0 + 123_456_789] {
                let time = clock.reaches(Instant(at));
                assert!(time >= now && clock.read(time).monotonic.0 >= at);
                assert!(time == now || clock.read(time - 1).monotonic.0 < at, "not the first moment");
            }
            assert!(before.0 > last);
            last = before.0;
        }
    }

    #[test]
    fn a_sleep_that_is_not_counted_moves_the_wall_clock_alone() {
        let mut clock = Clock::new(5, 100, 0);
        let (asleep, awake) = (3 * SECOND, 9 * SECOND);
        let before = clock.read(asleep);
        clock.stood_still(asleep, awake);
        let after = clock.read(awake);
        assert_eq!(after.monotonic, before.monotonic);
        assert_eq!(after.wall.0 - before.wall.0, 6_000);
        assert!(clock.read(awake + 1_000).monotonic > after.monotonic);
        assert_eq!(clock.reaches(before.monotonic), awake);
    }
}
