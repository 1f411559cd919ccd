//! What each fault kind and each checker is good for: one is switched off at a time, and bugs that are found quickly with
//! everything on are looked for again. What no bug needs is useless, or untested.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use wattle_core::node::Node;
use wattle_core::planted::{Bug, Description};

use crate::checker::CHECKERS;
use crate::outcome::Outcome;
use crate::plan::Plan;
use crate::score::{Detection, Score};
use crate::seed::Profile;
use crate::stop::Stop;
use crate::swarm::{self, Request};
use crate::trace::Recording;
use crate::world::{self, World};

/// Only bugs that are found within so many seeds with everything on are looked for with something off.
pub const QUICK: u64 = 100;
/// So many seeds are tried with something off.
pub const SEEDS: u64 = 300;

/// Every kind of fault occurs within so many plans.
const PLANS: u64 = 2000;

/// Something that can be switched off.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// A kind of fault.
    Fault(String),
    /// A number under which broken promises are reported.
    Checker(String),
}

/// A bug that was looked for with a part switched off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pair {
    /// The bug's name.
    pub bug: String,
    /// What was off.
    pub without: Part,
    /// How it was detected all the same; `None` if it escaped.
    pub detected: Option<Detection>,
}

/// What is known so far: what a stopped ablation goes on from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// What the runs are about.
    #[serde(default)]
    pub profile: Profile,
    /// Everything on.
    #[serde(default)]
    pub scores: Vec<Score>,
    /// Something off.
    #[serde(default)]
    pub pairs: Vec<Pair>,
}

impl State {
    /// Nothing is known yet of runs of that profile.
    #[must_use]
    pub fn of(profile: Profile) -> Self {
        Self { profile, ..Self::default() }
    }

    /// What a bug came to with everything on, if it was looked for.
    #[must_use]
    pub fn score(&self, bug: &str) -> Option<&Score> {
        self.scores.iter().find(|score| score.bug == bug)
    }

    /// How a bug was detected with everything on, if it was.
    #[must_use]
    pub fn detection(&self, bug: &str) -> Option<&Detection> {
        self.score(bug)?.detected.as_ref()
    }
}

/// The parts without which a bug might escape: the checker that saw it, and the kinds of faults of the plan in which it was
/// seen. With any other part off, that very run stays as it is.
#[must_use]
pub fn needed(detection: &Detection) -> BTreeSet<Part> {
    let plan = Plan::generate(detection.seed);
    let faults = plan.fault_kinds().into_iter().map(Part::Fault);
    // A run that is judged by its lack of progress is over: nothing else could see the bug later.
    let checker = (detection.checker != "progress").then(|| Part::Checker(detection.checker.clone()));
    faults.chain(checker).collect()
}

/// Looks for a bug with a part switched off. `None` if it was asked to stop before it was seen.
#[must_use]
pub fn ablate(bug: &Description, without: &Part, jobs: usize, stop: &Stop) -> Option<Pair> {
    let request = Request { jobs, bug: Some(bug.bug), stop: stop.clone(), ..Request::of(0..SEEDS) };
    let summary = swarm::run_with(&request, &|_| (), &|seed, bug| run(seed, bug, without));
    let detected = summary.failure.map(|failure| Detection::of(&failure, 0));
    if summary.stopped && detected.is_none() {
        return None;
    }
    Some(Pair { bug: bug.name.into(), without: without.clone(), detected })
}

fn run(seed: u64, bug: Option<Bug>, without: &Part) -> Outcome {
    let plan = Plan::generate(seed).with_bug(bug);
    match without {
        Part::Fault(kind) => world::run(&plan.without(kind), Recording::Off),
        Part::Checker(checker) => World::<Node>::new(plan, Recording::Off).muting(checker).run(),
    }
}

/// Everything that can be switched off: the kinds of faults that plans have, the checkers of the world, and the invariants
/// of the core that saw a bug.
fn parts(state: &State) -> BTreeSet<Part> {
    let plans = (0..PLANS).flat_map(|seed| Plan::generate(seed).fault_kinds());
    let detections = state.scores.iter().filter_map(|score| score.detected.as_ref());
    let saw = detections.map(|detected| detected.checker.clone()).filter(|checker| checker != "progress");
    let checkers = (1..=CHECKERS).map(|number| format!("X{number}")).chain(saw);
    plans.map(Part::Fault).chain(checkers.map(Part::Checker)).collect()
}

/// A table in Markdown: per part the bugs that escape without it, and how many need longer. What no bug needs is useless, or untested.
#[must_use]
pub fn table(state: &State) -> String {
    let mut text = String::from(
        "| without | bugs looked for again | that escape | that take longer |\n| --- | --- | --- | --- |\n",
    );
    for part in parts(state) {
        let pairs: Vec<&Pair> = state.pairs.iter().filter(|pair| pair.without == part).collect();
        let before = |pair: &Pair| state.detection(&pair.bug).map_or(0, |detected| detected.seeds);
        let escaped: Vec<String> = pairs
            .iter()
            .filter(|pair| pair.detected.is_none())
            .map(|pair| format!("`{}`", pair.bug))
            .collect();
        let longer = pairs
            .iter()
            .filter(|pair| pair.detected.as_ref().is_some_and(|detected| detected.seeds > before(pair)));
        let escaped = if escaped.is_empty() { "none".into() } else { escaped.join(", ") };
        let name = match part {
            Part::Fault(kind) => format!("fault {kind}"),
            Part::Checker(number) => format!("checker {number}"),
        };
        text.push_str(&format!("| {name} | {} | {escaped} | {} |\n", pairs.len(), longer.count()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detection(seeds: u64) -> Detection {
        Detection { seed: seeds - 1, seeds, checker: "R1".into() }
    }

    #[test]
    fn a_table_names_what_escapes_and_counts_what_takes_longer() {
        let part = Part::Fault("crash".into());
        let score = |bug: &str| Score {
            bug: bug.into(),
            profile: Profile::General,
            tried: 9,
            reached: 1,
            triggered: 1,
            cpu_millis: 1,
            detected: Some(detection(9)),
        };
        let pair = |bug: &str, detected| Pair { bug: bug.into(), without: part.clone(), detected };
        let state = State {
            profile: Profile::General,
            scores: ["a", "b", "c"].map(score).into(),
            pairs: vec![pair("a", None), pair("b", Some(detection(10))), pair("c", Some(detection(9)))],
        };
        let table = table(&state);
        assert!(table.contains("| fault crash | 3 | `a` | 1 |"), "{table}");
        assert!(table.contains("| fault pause | 0 | none | 0 |"), "{table}");
        assert!(
            table.contains("| checker X1 | 0 | none | 0 |") && table.contains("| checker R1 |"),
            "{table}"
        );
        let text = toml::to_string(&state).unwrap();
        assert_eq!(toml::from_str::<State>(&text).unwrap(), state);
    }

    #[test]
    fn only_the_checker_that_saw_a_bug_and_the_faults_of_that_run_are_switched_off() {
        let plan = Plan::generate(7);
        let parts = needed(&Detection { seed: 7, seeds: 8, checker: "S4".into() });
        assert_eq!(parts.len(), plan.fault_kinds().len() + 1);
        assert!(parts.contains(&Part::Checker("S4".into())));
        for kind in plan.fault_kinds() {
            let without = plan.clone().without(&kind);
            assert!(without.faults.len() < plan.faults.len() && !without.fault_kinds().contains(&kind));
        }
        let stuck = needed(&Detection { seed: 7, seeds: 8, checker: "progress".into() });
        assert!(stuck.iter().all(|part| matches!(part, Part::Fault(_))));
    }
}
