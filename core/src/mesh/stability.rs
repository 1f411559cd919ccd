//! How steadily the members are heard at this node: who is away, since when, and how often lately. It decides nothing by itself; whoever leads
//! the control group chooses voters by it.

use alloc::collections::BTreeMap;

use super::Config;
use crate::id::NodeId;
use crate::time::{Instant, Span};

/// What is remembered of a member that was away at least once.
#[derive(Clone, Copy, Debug, Default)]
struct Record {
    away_since: Option<Instant>,
    /// When it was heard again last.
    back: Instant,
    /// How often it went away, without a long steady time between.
    falls: u32,
}

/// The members that were away.
#[derive(Clone, Debug, Default)]
pub(super) struct Stability {
    records: BTreeMap<NodeId, Record>,
}

impl Stability {
    /// A member is not heard, or is heard again.
    pub(super) fn note(&mut self, now: Instant, node: NodeId, away: bool, config: &Config) {
        let record = self.records.entry(node).or_default();
        match (away, record.away_since) {
            (true, None) => {
                let steady = now.since(record.back) >= config.voter_forgive;
                record.falls = if steady { 1 } else { record.falls.saturating_add(1) };
                record.away_since = Some(now);
            }
            (false, Some(_)) => (record.away_since, record.back) = (None, now),
            _ => {}
        }
    }

    /// Forgets whoever is no member.
    pub(super) fn keep(&mut self, is_member: impl Fn(NodeId) -> bool) {
        self.records.retain(|node, _| is_member(*node));
    }

    /// Since when a member is away.
    pub(super) fn away_since(&self, node: NodeId) -> Option<Instant> {
        self.records.get(&node)?.away_since
    }

    /// How often a member was away lately.
    pub(super) fn falls(&self, now: Instant, node: NodeId, config: &Config) -> u32 {
        let forgiven =
            |record: &&Record| record.away_since.is_none() && now.since(record.back) >= config.voter_forgive;
        self.records.get(&node).filter(|record| !forgiven(record)).map_or(0, |record| record.falls)
    }

    /// Until when a member that is back is not made a voter, because it was away more than once.
    pub(super) fn held_until(&self, node: NodeId, config: &Config) -> Option<Instant> {
        let record = self.records.get(&node).filter(|record| record.away_since.is_none())?;
        Some(record.back + hold(record.falls, config))
    }

    pub(super) fn len(&self) -> usize {
        self.records.len()
    }
}

/// How long a member that went away so often must be steady before it is made a voter: once is forgiven, then it doubles.
fn hold(falls: u32, config: &Config) -> Span {
    match falls.checked_sub(2) {
        None => Span::ZERO,
        Some(more) => config.voter_hold.times(1 << more.min(16)).at_most(config.voter_hold_max),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::work::PublicKey;
    use alloc::vec::Vec;

    const NODE: NodeId = NodeId(7);

    fn config() -> Config {
        Config::new("a".into(), PublicKey([1; 32]), Vec::new(), None)
    }

    #[test]
    fn each_fall_makes_the_wait_longer_up_to_a_limit() {
        let (config, mut stability) = (config(), Stability::default());
        let mut now = Instant(1_000_000_000);
        let mut holds = Vec::new();
        for _ in 0..6 {
            stability.note(now, NODE, true, &config);
            stability.note(now, NODE, true, &config);
            assert_eq!(stability.away_since(NODE), Some(now));
            assert_eq!(stability.held_until(NODE, &config), None, "it is away");
            now += Span::secs(1);
            stability.note(now, NODE, false, &config);
            holds.push(stability.held_until(NODE, &config).expect("it is back").since(now));
        }
        let seconds: Vec<u64> = holds.iter().map(|hold| hold.as_millis() / 1000).collect();
        assert_eq!(seconds, [0, 5, 10, 20, 40, 40]);
    }

    #[test]
    fn a_long_steady_time_is_a_new_beginning() {
        let (config, mut stability) = (config(), Stability::default());
        let mut now = Instant(1_000_000_000);
        for _ in 0..4 {
            stability.note(now, NODE, true, &config);
            stability.note(now, NODE, false, &config);
        }
        assert_eq!(stability.falls(now, NODE, &config), 4);
        now += config.voter_forgive;
        assert_eq!(stability.falls(now, NODE, &config), 0);
        stability.note(now, NODE, true, &config);
        assert_eq!(stability.falls(now, NODE, &config), 1);
        stability.keep(|_| false);
        assert_eq!(stability.len(), 0);
    }
}
