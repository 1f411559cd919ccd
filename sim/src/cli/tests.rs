use std::path::Path;

use super::*;
use crate::event::{MILLI, SECOND};
use crate::outcome::Verdict;
use crate::seed::Profile;
use crate::swarm::Summary;
use crate::toy::{self, Toy, Wrong};
use crate::world::World;

pub(super) fn right(plan: &Plan, recording: Recording) -> Outcome {
    toy::reset(Wrong::Nothing);
    // Toys send no updates.
    World::<Toy>::new(Plan { updates: None, ..plan.clone() }.without_large(), recording).run()
}

fn two_leaders(plan: &Plan, recording: Recording) -> Outcome {
    toy::reset(Wrong::AllLead);
    // Toys send no updates.
    World::<Toy>::new(Plan { updates: None, ..plan.clone() }.without_large(), recording).run()
}

fn carried_out(command: &Command, runner: Runner) -> (u8, String) {
    let mut out = Vec::new();
    let code = carry_out(command, "wattle-sim", runner, &mut out).expect("a vector takes everything");
    (code, String::from_utf8(out).expect("text"))
}

fn replay(file: &Path) -> Command {
    Command::Replay { file: file.into(), planted: None, verbose: false, explain: Explain::default() }
}

/// A file of its own for a test, gone with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("wattle-sim-{}-{name}.toml", std::process::id())))
    }

    fn holding(name: &str, plan: &Plan) -> Self {
        let file = Self::new(name);
        std::fs::write(&file.0, plan.to_toml()).expect("the directory for temporary files takes a plan");
        file
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn a_plan_that_passes_ends_with_0_and_the_same_trace_as_its_seed() {
    let file = Scratch::new("passes");
    let written = Command::Plan { seed: 4.into(), output: Some(file.0.clone()) };
    assert_eq!(carried_out(&written, right), (0, String::new()));
    let printed = carried_out(&Command::Plan { seed: 4.into(), output: None }, right);
    assert_eq!(printed, (0, std::fs::read_to_string(&file.0).expect("it was written")));
    let run = Command::Run {
        seed: 4.into(),
        planted: None,
        verbose: false,
        explain: Explain::default(),
        steps: None,
    };
    let (code, line) = carried_out(&run, run_calmly);
    let trace = |line: &str| line.split(" · ").find(|part| part.starts_with("trace ")).map(str::to_owned);
    assert_eq!((code, line.lines().count()), (0, 1), "{line}");
    let (code, replayed) = carried_out(&replay(&file.0), run_calmly);
    assert_eq!((code, trace(&replayed)), (0, trace(&line)));
}

/// A toy has no protection against faults, and never lets go of what is processed.
fn run_calmly(plan: &Plan, recording: Recording) -> Outcome {
    let mut plan = plan.clone();
    plan.faults.clear();
    plan.disk.capacity = plan.disk.capacity.max(64 << 20);
    right(&plan, recording)
}

#[test]
fn what_is_no_plan_ends_with_2_and_says_what_to_do() {
    let file = Scratch::new("bad");
    let (code, said) = carried_out(&replay(&file.0), right);
    assert!(code == USAGE && said.contains("cannot read the plan"), "{code}: {said}");
    std::fs::write(&file.0, Plan::generate(4).to_toml().replacen("listens", "listen", 1)).expect("written");
    let (code, said) = carried_out(&replay(&file.0), right);
    assert!(code == USAGE && said.contains("did you mean `listens`?"), "{code}: {said}");
    let nowhere = Command::Plan { seed: 1.into(), output: Some(file.0.join("below a file")) };
    assert_eq!(carried_out(&nowhere, right).0, USAGE);
}

#[test]
fn a_broken_promise_ends_with_10_and_the_command_that_repeats_it() {
    let mut plan = Plan::generate(4);
    plan.faults.clear();
    let file = Scratch::holding("broken", &plan);
    let (code, said) = carried_out(&replay(&file.0), two_leaders);
    assert_eq!(code, 10, "{said}");
    assert!(said.contains("SAFETY X7") && !said.contains("NOT DETERMINISTIC"), "{said}");
    assert!(said.contains(&format!("reproduce: wattle-sim replay {}", file.0.display())), "{said}");
    let (code, said) = carried_out(
        &Command::Run {
            seed: 4.into(),
            planted: None,
            verbose: false,
            explain: Explain::default(),
            steps: None,
        },
        two_leaders,
    );
    assert!(code == 10 && said.ends_with("reproduce: wattle-sim run 4\n"), "{code}: {said}");
}

#[test]
fn a_lack_of_progress_ends_with_11() {
    let mut plan = Plan::generate(4);
    plan.faults.clear();
    (plan.fault_phase, plan.progress_bound) = (MILLI, MILLI);
    plan.streams[0].publishers[0].starts_at = 5 * SECOND;
    let file = Scratch::holding("stands", &plan);
    let (code, said) = carried_out(&replay(&file.0), world::run);
    assert!(code == 11 && said.contains("NO PROGRESS"), "{code}: {said}");
}

#[test]
fn a_planted_bug_that_no_seed_finds_ends_with_12_and_one_that_is_found_with_0() {
    let judged = |summary: &Summary, planted| {
        let mut out = Vec::new();
        let Ok(code) = swarm::judge(summary, (Profile::General, &(0..9)), planted, "wattle-sim", &mut out)
        else {
            panic!("a vector takes everything");
        };
        (code, String::from_utf8(out).expect("text"))
    };
    let mut summary = Summary::default();
    assert_eq!(judged(&summary, None), (0, "all pass\n".into()));
    let (code, said) = judged(&summary, Some("route-loop"));
    assert!(code == NOT_FOUND && said.contains("route-loop was NOT FOUND within 9 seeds"), "{said}");
    let mut outcome = run_calmly(&Plan::generate(4), Recording::Off);
    outcome.verdict = Verdict::NoProgress { what: "it waits".into() };
    summary.failure = Some(outcome);
    let (code, said) = judged(&summary, Some("route-loop"));
    assert!(code == 0 && said.contains("route-loop was found within 5 seeds"), "{said}");
    assert_eq!(judged(&summary, None).0, 11);
}

#[test]
fn a_bug_that_cannot_be_planted_ends_with_2() {
    let run = |name: &str| Command::Run {
        seed: 4.into(),
        planted: Some(name.into()),
        verbose: false,
        explain: Explain::default(),
        steps: None,
    };
    let (code, said) = carried_out(&run("vote-not-persistet"), run_calmly);
    assert!(code == USAGE && said.contains("did you mean \"vote-not-persisted\""), "{code}: {said}");
    let mut plan = Plan::generate(4);
    plan.planted = Bug::named("route-loop");
    let file = Scratch::holding("planted", &plan);
    let expected = if cfg!(feature = "planted") { 0 } else { USAGE };
    assert_eq!(carried_out(&run("route-loop"), run_calmly).0, expected);
    assert_eq!(
        carried_out(&replay(&file.0), run_calmly).0,
        expected,
        "a bug must not be left out in silence"
    );
}

#[test]
fn the_help_of_all_commands_together_tells_the_exit_codes() {
    let mut command = <Command as clap::Subcommand>::augment_subcommands(clap::Command::new("sim"));
    let help = command.render_help().to_string();
    for code in [0, USAGE, 10, 11, NOT_FOUND, DARK, STOPPED, 130] {
        assert!(help.contains(&format!("\n{code:>4}  ")), "{code} is missing:\n{help}");
    }
}

#[test]
fn the_command_that_repeats_a_failure_names_the_bug() {
    assert_eq!(reproduce("run 7", None, "wattle sim"), "reproduce: wattle sim run 7");
    assert_eq!(
        reproduce("run 7", Some("route-loop"), "wattle-sim"),
        "reproduce: wattle-sim run 7 --planted route-loop"
    );
}

#[test]
fn a_run_is_explained_in_the_files_asked_for_and_stays_the_same_run() {
    let files = ["html", "shiviz", "perfetto"].map(Scratch::new);
    let [html, shiviz, perfetto] = [0, 1, 2].map(|at| Some(files[at].0.clone()));
    let plain = Command::Run {
        seed: 4.into(),
        planted: None,
        verbose: false,
        explain: Explain::default(),
        steps: None,
    };
    let explained = Command::Run {
        seed: 4.into(),
        planted: None,
        verbose: false,
        explain: Explain { html, shiviz, perfetto },
        steps: None,
    };
    let (code, said) = carried_out(&explained, world::run);
    assert_eq!(code, carried_out(&plain, world::run).0);
    assert!(!said.contains("NOT DETERMINISTIC"), "{said}");
    for (file, begins) in files.iter().zip(["<!doctype html>", "(?<host>", "{\"displayTimeUnit\""]) {
        let written = std::fs::read_to_string(&file.0).expect("it was written");
        assert!(written.starts_with(begins), "{}", file.0.display());
        assert!(said.contains(&format!("wrote {}: ", file.0.display())), "{said}");
    }
}

#[test]
fn a_file_that_cannot_be_written_is_named() {
    let html = Some(PathBuf::from("/nowhere/at/all.html"));
    let explain = Explain { html, ..Explain::default() };
    let command = Command::Run { seed: 4.into(), planted: None, verbose: false, explain, steps: None };
    let (code, said) = carried_out(&command, world::run);
    assert_eq!(code, USAGE);
    assert!(said.contains("cannot write /nowhere/at/all.html: "), "{said}");
}
