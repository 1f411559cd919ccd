//! Plans that are kept: what once broke must never break again.

use crate::outcome::Verdict;
use crate::plan::Plan;
use crate::trace::Recording;
use crate::world;

/// Runs a kept plan in every way it asks for: without a bug it passes; with the bug it plants, in a build that can plant any, it
/// breaks the promise it says it breaks.
///
/// # Errors
/// Says what is wrong with the plan, or what its run came to instead.
pub fn check(text: &str) -> Result<(), String> {
    let plan = Plan::from_toml(text)?;
    let verdict = world::run(&plan.clone().with_bug(None), Recording::Off).verdict;
    if !verdict.is_pass() {
        return Err(format!("without any bug it fails: {verdict}"));
    }
    match &plan.breaks {
        Some(checker) if cfg!(feature = "planted") && plan.planted.is_some() => caught(&plan, checker),
        _ => Ok(()),
    }
}

/// The plan of this text passes in the build as it is, without any bug.
///
/// # Panics
/// If it does not, or cannot be run.
pub fn passes(text: &str) {
    let plan = Plan::from_toml(text).unwrap_or_else(|what| panic!("this is no plan that can be run: {what}"));
    let verdict = world::run(&plan.with_bug(None), Recording::Off).verdict;
    assert!(verdict.is_pass(), "{verdict}");
}

/// The bug planted in the plan of this text is caught by this promise.
///
/// # Panics
/// If it is not, or the text is no plan with a bug that can be run.
#[cfg(feature = "planted")]
pub fn catches(text: &str, checker: &str) {
    let plan = Plan::from_toml(text).unwrap_or_else(|what| panic!("this is no plan that can be run: {what}"));
    caught(&plan, checker).unwrap_or_else(|what| panic!("{what}"));
}

fn caught(plan: &Plan, checker: &str) -> Result<(), String> {
    let bug = plan.planted.ok_or("it plants no bug")?.describe().name;
    match world::run(plan, Recording::Off).verdict {
        verdict if verdict.broken() == Some(checker) => Ok(()),
        Verdict::Pass | Verdict::NotOwed { .. } => {
            // Time passes otherwise in later code: what a plan made happen may no longer come together.
            Err(format!(
                "{bug} is not caught: the plan passes with it; look for a seed with `wattle-sim swarm --planted {bug}` and make the plan \
                 anew with `wattle-sim shrink SEED --planted {bug} -o FILE`"
            ))
        }
        verdict => Err(format!("{bug} is not caught by {checker}: {verdict}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_that_fails_without_a_bug_or_cannot_be_run_is_told() {
        let mut plan = Plan::generate(4);
        plan.faults.clear();
        passes(&plan.to_toml());
        assert_eq!(check(&plan.to_toml()), Ok(()));
        (plan.fault_phase, plan.progress_bound) = (1, 1);
        plan.streams[0].publishers[0].starts_at = crate::event::SECOND;
        let said = check(&plan.to_toml()).expect_err("it has no time");
        assert!(said.contains("without any bug it fails: NO PROGRESS"), "{said}");
        assert!(check("format = 1").is_err());
    }

    #[cfg(feature = "planted")]
    #[test]
    fn a_bug_that_a_plan_does_not_show_is_told() {
        let mut plan = Plan::generate(4).with_bug(wattle_core::planted::Bug::named("amnesic-votes"));
        plan.faults.clear();
        plan.breaks = Some("R1".into());
        let said = check(&plan.to_toml()).expect_err("without faults nothing is forgotten");
        assert!(said.contains("amnesic-votes is not caught: the plan passes with it"), "{said}");
    }
}
