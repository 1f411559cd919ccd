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

/// What a measurement tells that others do not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    None,
    /// What the link costs at all.
    First,
    /// That it costs something else for a while already.
    Changed,
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
/// A new link is taken to swing by one in so many parts of its cost. If it is steadier that is learned with the first measurements; if it
/// is not, they would tell a change where there is none.
const FIRST_SWING: u64 = 16;
/// Differences of so many swings are no noise. A measurement is a smoothed one: it moves by an eighth of what single ones do.
const SWINGS: u64 = 12;
/// What may be noise must last so many times as long. Shorter costs announcements, each of which goes to every node of the mesh.
const NOISE_LASTS: u64 = 16;

impl OwnLink {
    pub(super) fn new(label: u16, cost: u32) -> Self {
        Self { label, cost: cost.max(1), last: None, measurements: 0, swing: 0, drift: None }
    }

    /// Takes a measurement in.
    pub(super) fn measure(&mut self, now: Instant, micros: u32, config: &Config) -> News {
        let cost = micros.max(1);
        let Some(last) = self.last.replace(cost) else {
            let news = self.cost != cost;
            self.cost = cost;
            self.swing = u64::from(cost) * FINE / FIRST_SWING;
            return if news { News::First } else { News::None };
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
        if self.ripen(now) { News::Changed } else { News::None }
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
        assert_eq!(link.measure(T, 700, &config), News::First);
        assert_eq!(link.cost, 700);
        let mut same = OwnLink::new(1, 50_000);
        assert_eq!(same.measure(T, 50_000, &config), News::None);
        assert_eq!(OwnLink::new(1, 0).cost, 1, "no link is free");
    }

    #[test]
    fn a_difference_must_be_notable_and_last() {
        let config = Config::default();
        let mut link = OwnLink::new(1, 50_000);
        link.measure(T, 10_000, &config);
        let mut measure = |second, micros| link.measure(T + Span::secs(second), micros, &config);
        // Long enough to know that it is steady.
        for second in 0..100 {
            assert_eq!(measure(second, 12_000), News::None, "20 % is not more than 20 %");
        }
        assert_eq!(measure(100, 12_001), News::None);
        assert_eq!(measure(101, 10_500), News::None, "it came back");
        assert_eq!(measure(130, 3_000), News::None);
        assert_eq!(measure(131, 2_500), News::None);
        assert_eq!(measure(132, 2_600), News::Changed, "different all the time");
        assert_eq!((link.cost, link.ripe_at()), (2_600, None));
    }

    #[test]
    fn what_a_new_link_differs_by_must_last_longer_until_its_noise_is_known() {
        let config = Config::default();
        let mut link = OwnLink::new(1, 50_000);
        link.measure(T, 10_000, &config);
        assert_eq!(link.measure(T, 12_500, &config), News::None);
        assert_eq!(link.ripe_at(), Some(T + Span::secs(32)));
        let mut far = OwnLink::new(1, 50_000);
        far.measure(T, 10_000, &config);
        for _ in 0..6 {
            assert_eq!(far.measure(T, 100_000, &config), News::None);
        }
        assert_eq!(far.ripe_at(), Some(T + Span::secs(2)), "it differs by so much and is steady");
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
            if link.measure(T + Span::secs(second), smoothed as u32, &config) == News::Changed && second >= 60
            {
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
