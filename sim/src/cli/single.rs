//! One plan: `run`, `plan`, `replay`.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use super::{Runner, Trouble, can_plant, find_bug, reproduce};
use crate::outcome::Outcome;
use crate::plan::Plan;
use crate::trace::Recording;

/// How many of the last lines of a failing run are shown.
const LINES: usize = 60;

pub(super) fn run(
    seed: u64,
    planted: Option<&str>,
    verbose: bool,
    program: &str,
    runner: Runner,
    out: &mut dyn Write,
) -> Result<u8, Trouble> {
    let plan = Plan::generate(seed).with_bug(find_bug(planted)?);
    report(&plan, verbose, &reproduce(&format!("run {seed}"), planted, program), runner, out)
}

pub(super) fn plan(seed: u64, output: Option<&Path>, out: &mut dyn Write) -> Result<u8, Trouble> {
    let text = Plan::generate(seed).to_toml();
    match output {
        None => out.write_all(text.as_bytes())?,
        Some(file) => {
            let wrong = |error| Trouble::Usage(format!("cannot write {}: {error}", file.display()));
            fs::write(file, text).map_err(wrong)?;
        }
    }
    Ok(0)
}

pub(super) fn replay(
    file: &Path,
    planted: Option<&str>,
    verbose: bool,
    program: &str,
    runner: Runner,
    out: &mut dyn Write,
) -> Result<u8, Trouble> {
    let shown = file.display();
    let text = fs::read_to_string(file)
        .map_err(|error| Trouble::Usage(format!("cannot read the plan {shown}: {error}")))?;
    let mut plan = Plan::from_toml(&text)
        .map_err(|what| Trouble::Usage(format!("{shown} is no plan that can be run: {what}")))?;
    plan.planted = can_plant(find_bug(planted)?.or(plan.planted))?;
    let what = format!("replay {}", quoted(&shown.to_string()));
    report(&plan, verbose, &reproduce(&what, planted, program), runner, out)
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:,@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.into();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

fn report(
    plan: &Plan,
    verbose: bool,
    reproduce: &str,
    runner: Runner,
    out: &mut dyn Write,
) -> Result<u8, Trouble> {
    if verbose {
        writeln!(out, "{}", plan.to_toml())?;
    }
    let begun = Instant::now();
    let outcome = runner(plan, if verbose { Recording::All } else { Recording::Off });
    let wall = begun.elapsed();
    for text in &outcome.lines {
        writeln!(out, "{text}")?;
    }
    writeln!(out, "{}", line(&outcome, wall))?;
    if outcome.verdict.is_pass() {
        return Ok(0);
    }
    if !verbose {
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
