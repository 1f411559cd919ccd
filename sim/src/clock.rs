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
    start: u64,
    ppm: i32,
    wall_offset: i64,
}

impl Clock {
    /// A clock that shows `start` at the beginning of the world and runs `ppm` parts per million too fast.
    #[must_use]
    pub const fn new(start: u64, ppm: i32, wall_offset: i64) -> Self {
        Self { start, ppm, wall_offset }
    }

    /// What it shows.
    #[must_use]
    pub fn read(&self, now: Time) -> Now {
        let wall = EPOCH + self.wall_offset + (now / MILLI) as i64;
        Now { monotonic: Instant(self.monotonic(now)), wall: Wall(wall.max(0) as u64) }
    }

    fn monotonic(&self, now: Time) -> u64 {
        let drift = (now as i64).saturating_mul(i64::from(self.ppm)) / MILLION;
        (self.start + now).saturating_add_signed(drift)
    }

    /// The first moment at which its monotonic clock shows at least `at`.
    #[must_use]
    pub fn reaches(&self, at: Instant) -> Time {
        let ahead = at.0.saturating_sub(self.start);
        if ahead > NEVER {
            return NEVER;
        }
        let estimate = i128::from(ahead) * i128::from(MILLION) / i128::from(MILLION + i64::from(self.ppm));
        let mut time = estimate as Time;
        while self.monotonic(time) < at.0 {
            time += 1;
        }
        while time > 0 && self.monotonic(time - 1) >= at.0 {
            time -= 1;
        }
        time
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
}
