//! One plan: `run`, `plan`, `replay`.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use super::{Runner, Shown, Trouble, can_plant, find_bug, reproduce};
use crate::explain;
use crate::outcome::Outcome;
use crate::plan::Plan;
use crate::seed::Seed;
use crate::trace::Recording;

/// How many of the last lines of a failing run are shown.
const LINES: usize = 60;

pub(super) fn run(
    seed: Seed,
    planted: Option<&str>,
    shown: Shown<'_>,
    program: &str,
    runner: Runner,
    out: &mut dyn Write,
) -> Result<u8, Trouble> {
    let plan = Plan::generate(seed).with_bug(find_bug(planted)?);
    report(&plan, shown, &reproduce(&format!("run {seed}"), planted, program), runner, out)
}

pub(super) fn plan(seed: Seed, output: Option<&Path>, out: &mut dyn Write) -> Result<u8, Trouble> {
    let text = Plan::generate(seed).to_toml();
    match output {
        None => out.write_all(text.as_bytes())?,
        Some(file) => write(file, &text)?,
    }
    Ok(0)
}

/// Writes a text to a file.
pub(super) fn write(file: &Path, text: &str) -> Result<(), Trouble> {
    fs::write(file, text).map_err(|error| Trouble::Usage(format!("cannot write {}: {error}", file.display())))
}

pub(super) fn replay(
    file: &Path,
    planted: Option<&str>,
    shown: Shown<'_>,
    program: &str,
    runner: Runner,
    out: &mut dyn Write,
) -> Result<u8, Trouble> {
    let plan = read(file, planted)?;
    let what = format!("replay {}", quoted(&file.display().to_string()));
    report(&plan, shown, &reproduce(&what, planted, program), runner, out)
}

/// The plan in a file, with a bug planted by the command line or by the plan.
pub(super) fn read(file: &Path, planted: Option<&str>) -> Result<Plan, Trouble> {
    let name = file.display();
    let text = fs::read_to_string(file)
        .map_err(|error| Trouble::Usage(format!("cannot read the plan {name}: {error}")))?;
    let mut plan = Plan::from_toml(&text)
        .map_err(|what| Trouble::Usage(format!("{name} is no plan that can be run: {what}")))?;
    plan.planted = can_plant(find_bug(planted)?.or(plan.planted))?;
    Ok(plan)
}

/// A word as a shell takes it.
pub(super) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:,@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.into();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

fn report(
    plan: &Plan,
    shown: Shown<'_>,
    reproduce: &str,
    runner: Runner,
    out: &mut dyn Write,
) -> Result<u8, Trouble> {
    if shown.verbose {
        writeln!(out, "{}", plan.to_toml())?;
    }
    let begun = Instant::now();
    let outcome = runner(plan, if shown.verbose { Recording::All } else { Recording::Off });
    let wall = begun.elapsed();
    for text in &outcome.lines {
        writeln!(out, "{text}")?;
    }
    writeln!(out, "{}", line(&outcome, wall))?;
    shown.explain.write(plan, &outcome, reproduce, out).map_err(|trouble| match trouble {
        explain::Trouble::File(file, error) => {
            Trouble::Usage(format!("cannot write {}: {error}", file.display()))
        }
        explain::Trouble::Output(error) => Trouble::Output(error),
    })?;
    if outcome.verdict.is_pass() {
        return Ok(0);
    }
    if !shown.verbose {
        // The lines cost more than the run: they are made in a second run, which must be the same.
        let again = runner(plan, Recording::Last(LINES));
        for text in &again.lines {
            writeln!(out, "  {text}")?;
        }
        if again.trace != outcome.trace {
            writeln!(out, "NOT DETERMINISTIC: the second run has trace {:032x}", again.trace)?;
        }
    }
    writeln!(out, "{reproduce}")?;
    Ok(outcome.verdict.exit_code())
}

fn line(outcome: &Outcome, wall: Duration) -> String {
    format!(
        "seed {} · {} nodes · {} events · {} faults · {} deliveries · {} simulated · {:.3}s wall · trace {:032x} · {}",
        outcome.seed,
        outcome.nodes,
        outcome.events,
        outcome.faults,
        outcome.deliveries,
        outcome.simulated,
        wall.as_secs_f64(),
        outcome.trace,
        outcome.verdict
    )
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn a_file_is_named_as_a_shell_takes_it() {
        assert_eq!(quoted("plans/lost_vote-7.toml"), "plans/lost_vote-7.toml");
        assert_eq!(quoted("my plan.toml"), "'my plan.toml'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
    }
}
