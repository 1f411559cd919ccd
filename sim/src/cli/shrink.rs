//! A failing plan made smaller: `shrink`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::single::{quoted, read, write};
use super::{Trouble, find_bug};
use crate::outcome::Outcome;
use crate::plan::Plan;
use crate::seed::Seed;
use crate::shrink::{self, Limits, NothingToShrink, Progress, Run, Shrunk, Size};
use crate::text;
use crate::world;

/// What to shrink, and how long.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// The seed of the plan, or a file as `plan` writes it
    #[arg(value_name = "SEED|FILE")]
    plan: String,
    /// Plant a deliberate bug in every node, whatever the plan says (needs a build with the feature `planted`); the plan must
    /// pass without it
    #[arg(long, value_name = "NAME")]
    planted: Option<String>,
    /// Write the smaller plan to a file instead of printing it
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Give a ready test in Rust too: with `-o plan.toml` in plan.rs beside it, otherwise printed
    #[arg(long)]
    emit_test: bool,
    /// How long to search at most
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_time)]
    budget: Duration,
    /// How many runs to make at most; unlike the time, this ends the search at the same plan on every machine
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    runs: u64,
    /// How many runs at a time; as many as there are cores unless given
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
}

/// How many events pass between two looks at the clock.
const LOOK_AT_CLOCK_EVERY: u64 = 64;

fn parse_time(text: &str) -> Result<Duration, String> {
    text::read_time(text).map(Duration::from_nanos)
}

/// Runs plans, but none of those tried on past the end of the search.
pub(super) fn runner(arguments: &Arguments) -> impl Fn(&Plan, u64) -> Option<Outcome> + Sync + use<> {
    let (begun, budget) = (Instant::now(), arguments.budget);
    move |plan, events| {
        let late = |so_far: u64| {
            events < u64::MAX && so_far.is_multiple_of(LOOK_AT_CLOCK_EVERY) && begun.elapsed() > budget
        };
        world::run_within(plan, |so_far| so_far >= events || late(so_far))
    }
}

pub(super) fn run(
    arguments: &Arguments,
    program: &str,
    run: &Run<'_>,
    out: &mut dyn Write,
) -> Result<u8, Trouble> {
    let planted = arguments.planted.as_deref();
    let (plan, origin) = match arguments.plan.parse::<Seed>() {
        Ok(seed) => (Plan::generate(seed).with_bug(find_bug(planted)?), format!("seed {seed}")),
        Err(_) => (read(Path::new(&arguments.plan), planted)?, arguments.plan.clone()),
    };
    let jobs = arguments.jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let limits = Limits { time: arguments.budget, runs: arguments.runs, jobs };
    let begun = Instant::now();
    let mut failed = writeln!(out, "{:22} {}", "to begin with", sizes(&Size::of(&plan)));
    let mut report = |progress: &Progress| {
        let name =
            if progress.reseeded { format!("{}, other seeds", progress.pass) } else { progress.pass.into() };
        let line = format!("{name:22} {} · {} runs", sizes(&progress.size), progress.runs);
        if failed.is_ok() {
            failed = writeln!(out, "{line}").and_then(|()| out.flush());
        }
    };
    let done = shrink::shrink(&plan, run, limits, &mut report);
    failed?;
    let mut done = done.map_err(|nothing| Trouble::Usage(explain(nothing, &origin, &plan)))?;
    describe(&mut done, &origin, program, arguments.output.as_deref());
    summarize(&done, begun.elapsed(), out)?;
    give(&done, arguments, out)?;
    Ok(0)
}

fn explain(nothing: NothingToShrink, origin: &str, plan: &Plan) -> String {
    let bug = plan.planted.map(|bug| format!(" with {} planted", bug.describe().name)).unwrap_or_default();
    match nothing {
        NothingToShrink::Passes => format!("nothing to shrink: {origin} passes{bug}"),
        NothingToShrink::FailsWithoutBug => {
            format!(
                "nothing to shrink: {origin} fails{bug}, but fails without the bug too; shrink it without --planted"
            )
        }
    }
}

fn sizes(size: &Size) -> String {
    let Size { faults, nodes, streams, publishers, extras, messages, .. } = size;
    format!(
        "{faults} faults · {nodes} nodes · {streams} streams · {publishers} publishers · {extras} calls · {messages} messages"
    )
}

/// Writes into the plan where it comes from, what it shows, and how to run it.
fn describe(done: &mut Shrunk, origin: &str, program: &str, file: Option<&Path>) {
    let file = file.map_or_else(|| "FILE".into(), |file| quoted(&file.display().to_string()));
    let bug = done.plan.planted.map(|bug| format!(" with the deliberate bug {}", bug.describe().name));
    let (bug, checker) = (bug.unwrap_or_default(), &done.checker);
    done.plan.note =
        Some(format!("Shrunk from {origin}{bug}: it breaks {checker}. Replay: {program} replay {file}"));
    done.plan.breaks = Some(checker.clone());
}

fn summarize(done: &Shrunk, wall: Duration, out: &mut dyn Write) -> Result<(), Trouble> {
    let (before, after) = (&done.before, &done.after);
    let end = if done.complete { "nothing smaller is left to try" } else { "stopped at its limit" };
    writeln!(
        out,
        "{} · {} -> {} faults · {} -> {} nodes · {} -> {} streams · {} -> {} messages · {} runs · {:.1}s · {end}",
        done.checker,
        before.faults,
        after.faults,
        before.nodes,
        after.nodes,
        before.streams,
        after.streams,
        before.messages,
        after.messages,
        done.runs,
        wall.as_secs_f64(),
    )?;
    writeln!(out, "{}", done.outcome.verdict)?;
    Ok(())
}

/// The plan and its test, printed or in files.
fn give(done: &Shrunk, arguments: &Arguments, out: &mut dyn Write) -> Result<(), Trouble> {
    let text = done.plan.to_toml();
    match &arguments.output {
        Some(file) => {
            write(file, &text)?;
            writeln!(out, "the plan is in {}", file.display())?;
            if arguments.emit_test {
                let name =
                    file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
                let test = file.with_extension("rs");
                write(&test, &test_of(done, &format!("include_str!({name:?})")))?;
                writeln!(out, "the test is in {}", test.display())?;
            }
        }
        None if arguments.emit_test => write!(out, "\n{}", test_of(done, &raw(&text)))?,
        None => write!(out, "\n{text}")?,
    }
    Ok(())
}

/// A text as a raw string literal.
fn raw(text: &str) -> String {
    let longest = text.split('"').skip(1).map(|rest| rest.chars().take_while(|&c| c == '#').count()).max();
    let fence = "#".repeat(longest.unwrap_or(0) + 1);
    format!("r{fence}\"{text}\"{fence}")
}

/// A test in Rust that fails for as long as the plan does; for a planted bug, one more that fails once the bug is not caught.
fn test_of(done: &Shrunk, plan: &str) -> String {
    let (checker, seed) = (&done.checker, done.plan.seed);
    let bug = done.plan.planted.map(|bug| bug.describe().name);
    let word = |text: &str| text.to_lowercase().replace(|c: char| !c.is_ascii_alphanumeric(), "_");
    let subject = bug.map_or_else(|| format!("seed_{seed}"), word);
    let promise = word(checker);
    let mut test = format!(
        "const PLAN: &str = {plan};\n\n\
         /// {}\n\
         #[test]\n\
         fn {subject}_does_not_break_{promise}() {{\n    wattle_sim::regression::passes(PLAN);\n}}\n",
        done.outcome.verdict.to_string().replace('\n', " "),
    );
    if let Some(bug) = bug {
        test.push_str(&format!(
            "\n/// The deliberate bug `{bug}`.\n\
             #[cfg(feature = \"planted\")]\n\
             #[test]\n\
             fn {subject}_is_caught_by_{promise}() {{\n    wattle_sim::regression::catches(PLAN, {checker:?});\n}}\n"
        ));
    }
    test
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::outcome::Verdict;
    use crate::trace::Recording;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn carried_out(words: &[&str]) -> (Result<u8, String>, String) {
        let line = std::iter::once("shrink").chain(words.iter().copied());
        let arguments = Line::try_parse_from(line).expect("the words make sense").arguments;
        let mut out = Vec::new();
        // One fault is all it takes.
        let fails = |plan: &Plan, _: u64| {
            let at = wattle_core::time::Span(7);
            let broken = Verdict::Safety { checker: "X5".into(), message: "two\nlines".into(), at };
            let verdict = if plan.faults.is_empty() { Verdict::Pass } else { broken };
            let calm = Plan { faults: Vec::new(), ..Plan::generate(4) };
            Some(Outcome { verdict, ..crate::cli::tests::right(&calm, Recording::Off) })
        };
        let code = match run(&arguments, "wattle-sim", &fails, &mut out) {
            Ok(code) => Ok(code),
            Err(Trouble::Usage(what)) => Err(what),
            Err(Trouble::Output(error)) => panic!("a vector takes everything: {error}"),
        };
        (code, String::from_utf8(out).expect("text"))
    }

    fn seed_with_faults() -> String {
        let faulty = |seed: &u64| Plan::generate(*seed).faults.len() > 4;
        (0..).find(faulty).expect("most seeds have faults").to_string()
    }

    #[test]
    fn a_seed_is_shrunk_and_its_plan_and_test_are_written() {
        let file = std::env::temp_dir().join(format!("wattle-sim-{}-shrunk.toml", std::process::id()));
        let shown = file.display().to_string();
        let (code, said) =
            carried_out(&[&seed_with_faults(), "--jobs", "1", "--runs", "400", "-o", &shown, "--emit-test"]);
        assert_eq!(code, Ok(0), "{said}");
        assert!(said.contains("X5 · ") && said.contains(" -> 1 faults · "), "{said}");
        let text = std::fs::read_to_string(&file).expect("the plan is written");
        let test = std::fs::read_to_string(file.with_extension("rs")).expect("the test is written");
        let _ = (std::fs::remove_file(&file), std::fs::remove_file(file.with_extension("rs")));
        let plan = Plan::from_toml(&text).expect("it can be run");
        assert_eq!((plan.faults.len(), plan.breaks.as_deref()), (1, Some("X5")));
        let note = plan.note.expect("it says where it comes from");
        assert!(note.contains(&format!("seed {}", seed_with_faults())) && note.contains("replay"), "{note}");
        assert!(
            test.contains("include_str!(\"wattle-sim-") && test.contains("_does_not_break_x5()"),
            "{test}"
        );
        assert!(!test.contains("catches"), "no bug is planted:\n{test}");
    }

    #[test]
    fn what_passes_is_not_shrunk() {
        let calm = (0..).find(|&seed| Plan::generate(seed).faults.is_empty()).expect("some seed is calm");
        let (code, _) = carried_out(&[&calm.to_string()]);
        assert_eq!(code, Err(format!("nothing to shrink: seed {calm} passes")));
    }

    #[test]
    fn a_text_stands_in_a_literal_whatever_it_holds() {
        assert_eq!(raw("a"), "r#\"a\"#");
        assert_eq!(raw("say \"#\""), "r##\"say \"#\"\"##");
    }
}
