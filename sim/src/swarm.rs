//! Many seeds, several at a time.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use wattle_core::planted::Bug;

use crate::outcome::{Outcome, Verdict};
use crate::plan::Plan;
use crate::seed::Profile;
use crate::stop::Stop;
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
    /// How many plans failed even without the planted bug, so that they say nothing about it.
    pub spoiled: u64,
    /// How many passed though something did not go on after a disk was rolled back, which is not owed.
    pub not_owed: u64,
    /// By what failures were seen: how often, and the lowest seed.
    pub failures: BTreeMap<String, (u64, u64)>,
    /// Seeds whose second run was not the same as the first.
    pub unsteady: Vec<u64>,
    /// Processor time of each seed.
    pub times: Vec<(Duration, u64)>,
    /// The failing run with the lowest seed: every lower seed passed.
    pub failure: Option<Outcome>,
    /// It was asked to stop while seeds were left. Those that were run are the first ones, without a gap.
    pub stopped: bool,
}

impl Summary {
    fn add(&mut self, outcome: Outcome, spoiled: bool, time: Duration) {
        self.spoiled += u64::from(spoiled);
        self.not_owed += u64::from(matches!(outcome.verdict, Verdict::NotOwed { .. }));
        if let Some(checker) = outcome.verdict.broken().filter(|_| !spoiled) {
            let (count, first) = self.failures.entry(checker.into()).or_insert((0, outcome.seed));
            *count += 1;
            *first = (*first).min(outcome.seed);
        }
        self.seeds += 1;
        self.events += outcome.events;
        self.faults += outcome.faults;
        self.deliveries += outcome.deliveries;
        self.simulated += u128::from(outcome.simulated.0);
        self.trace = self.trace.wrapping_add(outcome.trace.wrapping_mul(u128::from(outcome.seed) * 2 + 1));
        self.times.push((time, outcome.seed));
        let fails = !spoiled && !outcome.verdict.is_pass();
        if fails && self.failure.as_ref().is_none_or(|other| other.seed > outcome.seed) {
            self.failure = Some(outcome);
        }
    }

    /// The middle processor time of a seed.
    #[must_use]
    pub fn median(&self) -> Duration {
        let mut times: Vec<Duration> = self.times.iter().map(|&(time, _)| time).collect();
        times.sort_unstable();
        times.get(times.len() / 2).copied().unwrap_or_default()
    }

    /// The seed that took longest.
    #[must_use]
    pub fn slowest(&self) -> Option<(Duration, u64)> {
        self.times.iter().copied().max()
    }
}

/// What is wanted of a swarm.
#[derive(Clone, Debug)]
pub struct Request {
    /// What the runs are about.
    pub profile: Profile,
    /// The seeds.
    pub seeds: Range<u64>,
    /// How many threads, one seed per thread at a time.
    pub jobs: usize,
    /// The bug that every node carries. A failure counts only if the same plan passes without it.
    pub bug: Option<Bug>,
    /// Whether to go on after the first failure.
    pub all: bool,
    /// Whether every seed is run twice, to see that both runs are the same.
    pub twice: bool,
    /// The moment after which no further seed is begun.
    pub until: Option<Instant>,
    /// Once it is asked, no further seed is begun.
    pub stop: Stop,
}

impl Request {
    /// Those seeds, up to the first that fails, as many at a time as there are cores.
    #[must_use]
    pub fn of(seeds: Range<u64>) -> Self {
        let jobs = std::thread::available_parallelism().map_or(1, usize::from);
        let profile = Profile::General;
        Self { profile, seeds, jobs, bug: None, all: false, twice: false, until: None, stop: Stop::default() }
    }
}

/// Runs the plans of all seeds, up to the first that fails unless all are wanted. `progress` is told after each seed how many are done.
#[must_use]
pub fn run(request: &Request, progress: &(dyn Fn(u64) + Sync)) -> Summary {
    run_with(request, progress, &|seed, bug| {
        world::run(&Plan::generate(request.profile.seed(seed)).with_bug(bug), Recording::Off)
    })
}

/// How long this thread has worked: unlike the time of day, it does not count what others do on the machine.
pub(crate) fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let part = |number: i64| u64::try_from(number).unwrap_or(0);
    Duration::from_secs(part(time.tv_sec)) + Duration::from_nanos(part(time.tv_nsec))
}

pub(crate) fn run_with(
    request: &Request,
    progress: &(dyn Fn(u64) + Sync),
    run: &(dyn Fn(u64, Option<Bug>) -> Outcome + Sync),
) -> Summary {
    let next = AtomicU64::new(request.seeds.start);
    let end = AtomicU64::new(request.seeds.end);
    let summary = Mutex::new(Summary::default());
    std::thread::scope(|scope| {
        for _ in 0..request.jobs.max(1) {
            scope.spawn(|| {
                loop {
                    // Looked at first: a seed that was taken is run, so that none is missing among those that are done.
                    let late = request.until.is_some_and(|until| Instant::now() >= until);
                    if late || request.stop.asked() {
                        return;
                    }
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end.load(Ordering::Relaxed) {
                        return;
                    }
                    let begun = processor_time();
                    let outcome = run(seed, request.bug);
                    let time = processor_time() - begun;
                    let fails = !outcome.verdict.is_pass();
                    let spoiled = fails && request.bug.is_some() && !run(seed, None).verdict.is_pass();
                    let unsteady = request.twice && run(seed, request.bug) != outcome;
                    if (fails && !spoiled || unsteady) && !request.all {
                        end.fetch_min(seed, Ordering::Relaxed);
                    }
                    let done = {
                        let mut summary = summary.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                        summary.unsteady.extend(unsteady.then_some(seed));
                        summary.add(outcome, spoiled, time);
                        summary.seeds
                    };
                    progress(done);
                }
            });
        }
    });
    let mut summary = summary.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    summary.stopped = request.stop.asked() && next.into_inner() < end.into_inner();
    summary
}

#[cfg(test)]
mod tests {
    use super::*;
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

    fn request(seeds: Range<u64>, jobs: usize) -> Request {
        Request { jobs, ..Request::of(seeds) }
    }

    #[test]
    fn all_seeds_are_run_once_and_the_hash_does_not_depend_on_the_order() {
        let one = run_with(&request(3..103, 1), &|_| (), &|seed, _| outcome(seed, &[]));
        let many = run_with(&request(3..103, 7), &|_| (), &|seed, _| outcome(seed, &[]));
        assert_eq!((one.seeds, one.events, one.deliveries), (100, 1000, 300));
        assert_eq!((many.seeds, many.trace), (100, one.trace));
        assert!(one.failure.is_none());
    }

    #[test]
    fn the_lowest_failing_seed_is_reported_and_every_lower_one_was_run() {
        for jobs in [1, 4] {
            let summary =
                run_with(&request(0..1000, jobs), &|_| (), &|seed, _| outcome(seed, &[41, 40, 700]));
            assert_eq!(summary.failure.map(|failure| failure.seed), Some(40));
            assert!(summary.times.iter().filter(|(_, seed)| *seed <= 40).count() == 41);
            assert!(summary.seeds < 60, "it stops soon");
        }
    }

    #[test]
    fn a_second_run_that_differs_is_seen_and_time_that_is_over_begins_nothing() {
        let runs = AtomicU64::new(0);
        let summary =
            run_with(&Request { twice: true, all: true, ..request(0..50, 2) }, &|_| (), &|seed, _| Outcome {
                events: if seed == 33 { runs.fetch_add(1, Ordering::Relaxed) } else { 10 },
                ..outcome(seed, &[])
            });
        assert_eq!((summary.seeds, summary.unsteady), (50, vec![33]));
        let late = Request { until: Some(Instant::now()), ..request(0..50, 2) };
        assert_eq!(run_with(&late, &|_| (), &|seed, _| outcome(seed, &[])).seeds, 0);
    }

    #[test]
    fn who_is_asked_to_stop_has_run_the_first_seeds_without_a_gap() {
        for jobs in [1, 4] {
            let request = request(5..1000, jobs);
            let summary =
                run_with(&request, &|done| _ = (done == 30).then(|| request.stop.ask()), &|seed, _| {
                    outcome(seed, &[])
                });
            assert!(summary.stopped && (30..30 + jobs as u64).contains(&summary.seeds), "{}", summary.seeds);
            let mut seeds: Vec<u64> = summary.times.iter().map(|&(_, seed)| seed).collect();
            seeds.sort_unstable();
            assert!(seeds.into_iter().eq(5..5 + summary.seeds));
            let whole = run_with(&Request { seeds: 0..0, ..request }, &|_| (), &|seed, _| outcome(seed, &[]));
            assert!(!whole.stopped, "nothing was left");
        }
    }

    #[test]
    fn a_bug_is_found_only_where_the_same_plan_passes_without_it() {
        let request = Request { bug: Some(Bug::RouteLoop), all: true, ..request(0..100, 3) };
        let summary = run_with(&request, &|_| (), &|seed, bug| {
            outcome(seed, if bug.is_some() { &[7, 30, 31] } else { &[7] })
        });
        assert_eq!((summary.seeds, summary.spoiled), (100, 1));
        assert_eq!(summary.failures.get("X1"), Some(&(2, 30)));
        assert_eq!(summary.failure.map(|failure| failure.seed), Some(30));
    }
}
