//! A long search that is stopped by a signal says how far it came. Real processes, real signals.
#![cfg(target_os = "linux")]

use std::fs;
use std::io::{Read as _, Write as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::pipe::fcntl_getpipe_size;
use rustix::process::{Pid, Signal, kill_process};

/// How long a process may take to get somewhere on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn begin(arguments: &[&str], stdout: Stdio) -> Child {
    let program = env!("CARGO_BIN_EXE_wattle-sim");
    let mut child = Command::new(program).args(arguments).stdout(stdout).spawn().expect("it is built");
    wait_for(&mut child, "it does not listen for signals", |child| listens(child.id()));
    child
}

fn wait_for(child: &mut Child, otherwise: &str, there: impl Fn(&Child) -> bool) {
    let begun = Instant::now();
    while !there(child) {
        assert!(begun.elapsed() < PATIENCE, "{otherwise}");
        assert_eq!(child.try_wait().expect("it is ours"), None, "it ended too early");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Whether a process catches both signals: before that they would end it.
fn listens(process: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap_or("0").trim();
    let caught = u64::from_str_radix(caught, 16).expect("a mask");
    [Signal::INT, Signal::TERM].iter().all(|signal| caught >> (signal.as_raw() - 1) & 1 == 1)
}

/// The processor time that a process took, in hundredths of a second.
fn worked(process: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let behind_name = stat.rsplit(')').next().unwrap_or_default();
    behind_name.split_whitespace().nth(11).and_then(|ticks| ticks.parse().ok()).unwrap_or(0)
}

fn send(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).expect("it lives");
}

fn said(child: Child) -> (ExitStatus, String) {
    let output = child.wait_with_output().expect("it is ours");
    (output.status, String::from_utf8(output.stdout).expect("text"))
}

#[test]
fn a_swarm_that_is_stopped_tells_what_it_did() {
    for signal in [Signal::INT, Signal::TERM] {
        let mut child = begin(&["swarm", "--seeds", "20..100000000", "--jobs", "2"], Stdio::piped());
        wait_for(&mut child, "it does nothing", |child| worked(child.id()) >= 20);
        send(&child, signal);
        let (status, said) = said(child);
        assert_eq!(status.code(), Some(15), "{said}");
        let seeds: u64 =
            said.split(" seeds · ").next().and_then(|count| count.parse().ok()).expect("a count");
        assert!(seeds > 0, "what was running is finished");
        let end = 20 + seeds;
        let far =
            format!("stopped by a signal: seeds 20..{end} of 20..100000000 are done\nall of these pass\n");
        assert!(said.ends_with(&far), "{said}");
    }
}

#[test]
fn a_second_signal_ends_it_at_once() {
    // It cannot end by itself: nobody reads what it has to say.
    let (mut reader, mut writer) = std::io::pipe().expect("a pipe");
    let full = vec![b'.'; fcntl_getpipe_size(&writer).expect("its size")];
    writer.write_all(&full).expect("so much fits");
    let mut child = begin(&["swarm", "--seeds", "0..100000000"], writer.into());
    let begun = Instant::now();
    let status = loop {
        assert!(begun.elapsed() < PATIENCE, "it goes on");
        send(&child, Signal::INT);
        std::thread::sleep(Duration::from_millis(20));
        if let Some(status) = child.try_wait().expect("it is ours") {
            break status;
        }
    };
    assert_eq!(status.code(), Some(130));
    let mut said = Vec::new();
    reader.read_to_end(&mut said).expect("a pipe");
    assert!(said == full, "it said something after all");
}

#[cfg(feature = "planted")]
#[test]
fn a_score_that_is_stopped_keeps_what_it_knows_and_goes_on_from_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("score.toml");
    let name = file.to_str().expect("a plain name");
    // The first is seen in the first seed, the second in none.
    let arguments = ["score", "--bug", "quorum-off-by-one", "--bug", "chain-not-compared", "--state", name];
    let known = || fs::read_to_string(&file).unwrap_or_default();
    for _ in 0..2 {
        let mut child = begin(&arguments, Stdio::piped());
        wait_for(&mut child, "it keeps nothing", |_| known().contains("quorum-off-by-one"));
        send(&child, Signal::TERM);
        let (status, said) = said(child);
        assert_eq!(status.code(), Some(15), "{said}");
        assert!(said.contains("stopped by a signal: 1 of 2 bugs were looked for"), "{said}");
        assert!(said.contains("| raft `quorum-off-by-one` |"), "{said}");
        assert!(toml::from_str::<wattle_sim::ablate::State>(&known()).expect("whole").scores.len() == 1);
    }
}
