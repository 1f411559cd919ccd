//! The cost of an own link: announced, and followed with patience.

use super::Config;
use crate::time::Instant;

/// A link of this node.
#[derive(Clone, Debug)]
pub(super) struct OwnLink {
    pub(super) label: u16,
    /// The cost as announced.
    pub(super) cost: u32,
    measured: bool,
    /// The last cost that differed notably from the one announced, and since when it does.
    drift: Option<(u32, Instant)>,
}

impl OwnLink {
    pub(super) fn new(label: u16, cost: u32) -> Self {
        Self { label, cost: cost.max(1), measured: false, drift: None }
    }

    /// Takes a measurement in. `true` if it must be announced: the first one is.
    pub(super) fn measure(&mut self, now: Instant, micros: u32, config: &Config) -> bool {
        let cost = micros.max(1);
        if !self.measured {
            self.measured = true;
            let news = self.cost != cost;
            self.cost = cost;
            return news;
        }
        let difference = cost.abs_diff(self.cost);
        let notable = u64::from(difference) * 100
            > u64::from(self.cost) * u64::from(config.cost_step_percent)
            && difference > config.cost_step_min;
        let since = self.drift.map_or(now, |(_, since)| since);
        self.drift = notable.then_some((cost, since));
        self.ripen(now, config)
    }

    /// When the difference will have lasted long enough.
    pub(super) fn ripe_at(&self, config: &Config) -> Option<Instant> {
        self.drift.map(|(_, since)| since + config.cost_stable)
    }

    /// Takes a difference that has lasted long enough as the new cost. `true` if there was one.
    pub(super) fn ripen(&mut self, now: Instant, config: &Config) -> bool {
        match self.drift {
            Some((cost, since)) if since + config.cost_stable <= now => {
                self.cost = cost;
                self.drift = None;
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Span;

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
        assert_eq!(link.ripe_at(&config), None);
        assert!(!link.measure(T + Span::secs(10), 12_001, &config));
        assert_eq!(link.ripe_at(&config), Some(T + Span::secs(12)));
        assert!(!link.measure(T + Span::secs(11), 10_500, &config), "it came back");
        assert!(!link.ripen(T + Span::secs(20), &config));
        assert!(!link.measure(T + Span::secs(30), 7_000, &config));
        assert!(!link.measure(T + Span::secs(31), 6_000, &config));
        assert!(link.measure(T + Span::secs(32), 6_500, &config), "different all the time");
        assert_eq!((link.cost, link.ripe_at(&config)), (6_500, None));
    }

    #[test]
    fn noise_of_tiny_costs_is_never_notable() {
        let config = Config::default();
        let mut link = OwnLink::new(1, 50_000);
        link.measure(T, 60, &config);
        link.measure(T, 260, &config);
        assert_eq!(link.ripe_at(&config), None);
    }
}
