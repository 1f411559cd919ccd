//! The cost of an own link: announced, and followed with patience.

use super::Config;
use crate::time::{Instant, Span};

/// A link of this node.
#[derive(Clone, Debug)]
pub(super) struct OwnLink {
    pub(super) label: u16,
    /// The cost as announced.
    pub(super) cost: u32,
    /// The last measurement.
    last: Option<u32>,
    /// How many measurements there were, up to the length of the average.
    measurements: u32,
    /// What a measurement differs from the one before, on average, times [`FINE`].
    swing: u64,
    drift: Option<Drift>,
}

/// A cost that differs notably from the one announced.
#[derive(Clone, Copy, Debug)]
struct Drift {
    cost: u32,
    since: Instant,
    /// How long it must last.
    patience: Span,
}

/// Fixed point of the average swing.
const FINE: u64 = 256;
/// Over so many measurements swings are averaged. Longer tells noise better, and takes longer to see that it has become more.
const AVERAGED: u32 = 32;
/// The first swing counts as one of so many: at the beginning nobody knows the noise.
const AVERAGED_FIRST: u32 = 8;
/// Differences of so many swings are no noise. A measurement is a smoothed one: it moves by an eighth of what single ones do.
const SWINGS: u64 = 12;
/// What may be noise must last so many times as long. Shorter costs announcements, each of which goes to every node of the mesh.
const NOISE_LASTS: u64 = 16;

impl OwnLink {
    pub(super) fn new(label: u16, cost: u32) -> Self {
        Self { label, cost: cost.max(1), last: None, measurements: 0, swing: 0, drift: None }
    }

    /// Takes a measurement in. `true` if it must be announced: the first one is.
    pub(super) fn measure(&mut self, now: Instant, micros: u32, config: &Config) -> bool {
        let cost = micros.max(1);
        let Some(last) = self.last.replace(cost) else {
            let news = self.cost != cost;
            self.cost = cost;
            return news;
        };
        self.swings(last.abs_diff(cost));
        let difference = cost.abs_diff(self.cost);
        let notable = u64::from(difference) * 100
            > u64::from(self.cost) * u64::from(config.cost_step_percent)
            && difference > config.cost_step_min;
        let since = self.drift.map_or(now, |drift| drift.since);
        let noise = u64::from(difference) * FINE <= SWINGS * self.swing;
        let patience = config.cost_stable.times(if noise { NOISE_LASTS } else { 1 });
        self.drift = notable.then_some(Drift { cost, since, patience });
        self.ripen(now)
    }

    fn swings(&mut self, by: u32) {
        self.measurements = (self.measurements + 1).min(AVERAGED - AVERAGED_FIRST + 1);
        let share = u64::from(AVERAGED_FIRST + self.measurements - 1);
        self.swing = self.swing - self.swing / share + u64::from(by) * FINE / share;
    }

    /// When the difference will have lasted long enough.
    pub(super) fn ripe_at(&self) -> Option<Instant> {
        self.drift.map(|drift| drift.since + drift.patience)
    }

    /// Takes a difference that has lasted long enough as the new cost. `true` if there was one.
    pub(super) fn ripen(&mut self, now: Instant) -> bool {
        let ripe = self.drift.take_if(|drift| drift.since + drift.patience <= now);
        if let Some(drift) = ripe {
            self.cost = drift.cost;
        }
        ripe.is_some()
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    const T: Instant = Instant(1_000_000_000);

    #[test]
    fn the_first_measurement_counts_at_once() {
        let config = Config::default();
        let mut link = OwnLink::new(1, 50_000);
        assert!(link.measure(T, 700, &config));
        assert_eq!(link.cost, 700);
        let mut same = OwnLink::new(1, 50_000);
        assert!(!same.measure(T, 50_000, &config));
        assert_eq!(OwnLink::new(1, 0).cost, 1, "no link is free");
    }

    #[test]
    fn a_difference_must_be_notable_and_last() {
        let config = Config::default();
        let mut link = OwnLink::new(1, 50_000);
        link.measure(T, 10_000, &config);
        for second in 0..10 {
            assert!(!link.measure(T + Span::secs(second), 12_000, &config), "20 % is not more than 20 %");
        }
        assert_eq!(link.ripe_at(), None);
        assert!(!link.measure(T + Span::secs(10), 12_001, &config));
        assert_eq!(link.ripe_at(), Some(T + Span::secs(12)));
        assert!(!link.measure(T + Span::secs(11), 10_500, &config), "it came back");
        assert!(!link.ripen(T + Span::secs(20)));
        assert!(!link.measure(T + Span::secs(30), 3_000, &config));
        assert!(!link.measure(T + Span::secs(31), 2_500, &config));
        assert!(link.measure(T + Span::secs(32), 2_600, &config), "different all the time");
        assert_eq!((link.cost, link.ripe_at()), (2_600, None));
    }

    #[test]
    fn noise_of_tiny_costs_is_never_notable() {
        let config = Config::default();
        let mut link = OwnLink::new(1, 50_000);
        link.measure(T, 60, &config);
        link.measure(T, 260, &config);
        assert_eq!(link.ripe_at(), None);
    }

    /// Announcements within ten minutes of a link on which single round trips take 2 to 20 ms, after the first minute.
    fn announced(shift: impl Fn(u64) -> u64) -> Vec<u64> {
        let config = Config::default();
        let mut random = crate::rng::Rng::stream([3; 32], crate::rng::Purpose::Route);
        let mut link = OwnLink::new(1, 50_000);
        let mut smoothed = 11_000;
        let mut told = Vec::new();
        for second in 0..660 {
            let sample = 2_000 + random.u64() % 18_001 + shift(second);
            smoothed = smoothed - smoothed / 8 + sample / 8;
            if link.measure(T + Span::secs(second), smoothed as u32, &config) && second >= 60 {
                told.push(second);
            }
        }
        told
    }

    #[test]
    fn jitter_is_no_news_and_a_change_beneath_it_is() {
        let calm = announced(|_| 0);
        assert!(calm.len() <= 2, "{calm:?}");
        let moved = announced(|second| if second < 300 { 0 } else { 40_000 });
        let heard = moved.iter().filter(|second| (300..=330).contains(*second)).count();
        assert!((1..=4).contains(&heard) && moved.len() <= 6, "{moved:?}");
    }
}
