//! Many seeds, several at a time.

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use wattle_core::planted::Bug;

use crate::outcome::Outcome;
use crate::plan::Plan;
use crate::trace::Recording;
use crate::world;

/// What a swarm came to.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// How many seeds were run.
    pub seeds: u64,
    /// All their events.
    pub events: u64,
    /// All their faults.
    pub faults: u64,
    /// All their deliveries.
    pub deliveries: u64,
    /// All their simulated nanoseconds.
    pub simulated: u128,
    /// A hash over all traces, whatever the order they were run in.
    pub trace: u128,
    /// Wall time of each seed.
    pub walls: Vec<(Duration, u64)>,
    /// The failing run with the lowest seed: every lower seed passed.
    pub failure: Option<Outcome>,
}

impl Summary {
    fn add(&mut self, outcome: Outcome, wall: Duration) {
        self.seeds += 1;
        self.events += outcome.events;
        self.faults += outcome.faults;
        self.deliveries += outcome.deliveries;
        self.simulated += u128::from(outcome.simulated.0);
        self.trace = self.trace.wrapping_add(outcome.trace.wrapping_mul(u128::from(outcome.seed) * 2 + 1));
        self.walls.push((wall, outcome.seed));
        if !outcome.verdict.is_pass() && self.failure.as_ref().is_none_or(|other| other.seed > outcome.seed) {
            self.failure = Some(outcome);
        }
    }

    /// The middle wall time of a seed.
    #[must_use]
    pub fn median(&self) -> Duration {
        let mut walls: Vec<Duration> = self.walls.iter().map(|&(wall, _)| wall).collect();
        walls.sort_unstable();
        walls.get(walls.len() / 2).copied().unwrap_or_default()
    }

    /// The seed that took longest.
    #[must_use]
    pub fn slowest(&self) -> Option<(Duration, u64)> {
        self.walls.iter().copied().max()
    }
}

/// Runs the plans of `seeds` on `jobs` threads, one seed per thread at a time, up to the first that fails. `progress` is told
/// after each seed how many are done.
#[must_use]
pub fn run(seeds: Range<u64>, jobs: usize, bug: Option<Bug>, progress: &(dyn Fn(u64) + Sync)) -> Summary {
    run_with(seeds, jobs, progress, &|seed| world::run(&Plan::generate(seed).with_bug(bug), Recording::Off))
}

fn run_with(
    seeds: Range<u64>,
    jobs: usize,
    progress: &(dyn Fn(u64) + Sync),
    run: &(dyn Fn(u64) -> Outcome + Sync),
) -> Summary {
    let next = AtomicU64::new(seeds.start);
    let end = AtomicU64::new(seeds.end);
    let summary = Mutex::new(Summary::default());
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end.load(Ordering::Relaxed) {
                        return;
                    }
                    let begun = Instant::now();
                    let outcome = run(seed);
                    if !outcome.verdict.is_pass() {
                        end.fetch_min(seed, Ordering::Relaxed);
                    }
                    let done = {
                        let mut summary = summary.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                        summary.add(outcome, begun.elapsed());
                        summary.seeds
                    };
                    progress(done);
                }
            });
        }
    });
    summary.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Verdict;
    use wattle_core::time::Span;

    fn outcome(seed: u64, bad: &[u64]) -> Outcome {
        let broken = Verdict::Safety { checker: "X1".into(), message: "planted".into(), at: Span(1) };
        Outcome {
            seed,
            nodes: 2,
            events: 10,
            faults: 1,
            simulated: Span(5),
            trace: u128::from(seed),
            deliveries: 3,
            peak_traffic: (0, 0),
            verdict: if bad.contains(&seed) { broken } else { Verdict::Pass },
            lines: Vec::new(),
        }
    }

    #[test]
    fn all_seeds_are_run_once_and_the_hash_does_not_depend_on_the_order() {
        let one = run_with(3..103, 1, &|_| (), &|seed| outcome(seed, &[]));
        let many = run_with(3..103, 7, &|_| (), &|seed| outcome(seed, &[]));
        assert_eq!((one.seeds, one.events, one.deliveries), (100, 1000, 300));
        assert_eq!((many.seeds, many.trace), (100, one.trace));
        assert!(one.failure.is_none());
    }

    #[test]
    fn the_lowest_failing_seed_is_reported_and_every_lower_one_was_run() {
        for jobs in [1, 4] {
            let summary = run_with(0..1000, jobs, &|_| (), &|seed| outcome(seed, &[41, 40, 700]));
            assert_eq!(summary.failure.map(|failure| failure.seed), Some(40));
            assert!(summary.walls.iter().filter(|(_, seed)| *seed <= 40).count() == 41);
            assert!(summary.seeds < 60, "it stops soon");
        }
    }
}
