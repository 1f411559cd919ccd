//! Exhausts the named spaces of states, or looks for deliberate bugs: see README.md beside this.

use std::process::ExitCode;
use std::time::Instant;

use stateright::{Checker, Expectation, HasDiscoveries, Model as _, Path};
use wattle_core::planted::Planted;
use wattle_model::model::{Action, Cluster};
use wattle_model::runs::{LIMIT, NIGHTLY, Run, SMALL, SOUGHT, Sought};
use wattle_model::state::State;

const USAGE: &str = "usage: wattle-model small | nightly | planted [BUG...]
  small           spaces that are exhausted in less than a minute, on two cores
  nightly         larger ones, an hour each at most
  planted         deliberate bugs, each of which must give a counterexample; all that are listed, or those named";

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// What must never be, if something of it was found.
fn counterexample(checker: &impl Checker<Cluster>) -> Option<(&'static str, Path<State, Action>)> {
    let model = checker.model();
    let never = model.properties().into_iter().filter(|property| property.expectation == Expectation::Always);
    let mut found = checker.discoveries();
    never.filter_map(|property| Some((property.name, found.remove(property.name)?))).next()
}

fn tell(property: &str, path: Path<State, Action>) {
    println!("Broken: {property}");
    for (state, action) in path.into_vec() {
        print!("{state:?}");
        match action {
            Some(action) => println!("{action:?}"),
            None => println!(),
        }
    }
}

/// Tries everything, or as much as there is time for. Whether nothing wrong was found.
fn exhaust(run: &Run) -> bool {
    let begun = Instant::now();
    let checker = Cluster::new(run.bounds, Planted::none()).checker().threads(threads());
    let checker = checker.timeout(LIMIT).finish_when(HasDiscoveries::AnyFailures).spawn_dfs().join();
    let (unique, depth) = (checker.unique_state_count(), checker.max_depth());
    let seconds = begun.elapsed().as_secs_f64();
    let whole = if begun.elapsed() < LIMIT { "" } else { ", NOT EXHAUSTED" };
    println!("{}: {unique} states, {depth} steps deep, {seconds:.1} s{whole}", run.name);
    match counterexample(&checker) {
        Some((property, path)) => tell(property, path),
        None => return true,
    }
    false
}

/// Looks for a deliberate bug, step by step away from the beginning. Whether it was found.
fn seek(sought: &Sought, whole: bool) -> bool {
    let begun = Instant::now();
    let checker = Cluster::new(sought.bounds, Planted::only(sought.bug)).checker().threads(threads());
    let checker = checker.finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let (name, unique) = (sought.bug.describe().name, checker.unique_state_count());
    let seconds = begun.elapsed().as_secs_f64();
    let Some((property, path)) = counterexample(&checker) else {
        println!("{name}: not found in {unique} states");
        return false;
    };
    let steps = path.clone().into_actions().len();
    println!("{name}: found in {unique} states, {seconds:.1} s, after {steps} steps: not so that {property}");
    if whole {
        tell(property, path);
    }
    true
}

fn all<T>(list: &[T], run: impl Fn(&T) -> bool) -> ExitCode {
    let failed = list.iter().filter(|item| !run(item)).count();
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    // Broken invariants are counterexamples, and told as such.
    std::panic::set_hook(Box::new(|_| {}));
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["small"] => all(SMALL, exhaust),
        ["nightly"] => all(NIGHTLY, exhaust),
        ["planted"] => all(SOUGHT, |sought| seek(sought, false)),
        ["planted", ref names @ ..] => {
            all(names, |name| match SOUGHT.iter().find(|sought| sought.bug.describe().name == *name) {
                Some(sought) => seek(sought, true),
                None => {
                    let known: Vec<_> = SOUGHT.iter().map(|sought| sought.bug.describe().name).collect();
                    eprintln!("No bug '{name}' is sought here. There are: {}", known.join(", "));
                    false
                }
            })
        }
        _ => {
            eprintln!("{USAGE}");
            ExitCode::FAILURE
        }
    }
}
