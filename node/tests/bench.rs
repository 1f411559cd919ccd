//! `wattle bench stream`, small.

mod common;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use common::{json, line, wattle};
use serde_json::Value;

/// Names of what runs on this machine with `root` in its command line.
fn processes_of(root: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir("/proc").expect("there").filter_map(|entry| Some(entry.ok()?.path()));
    let lines = entries.filter_map(|path| std::fs::read_to_string(path.join("cmdline")).ok());
    let place = root.display().to_string();
    lines.filter(|line| line.contains("\0run\0") && line.contains(&place)).collect()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

#[test]
fn every_scenario_completes_messages_once_and_leaves_nothing_behind() {
    let root = tempfile::tempdir().expect("a directory");
    let data = root.path().join("data");
    std::fs::create_dir(&data).expect("a directory");
    let data = data.to_str().expect("text");
    let small = ["--seconds", "0.3", "--streams", "8", "--kills", "1", "--data", data];
    let told = json(root.path(), &[&["bench", "stream"], &small[..]].concat());

    let scenarios = told["scenarios"].as_array().expect("some");
    let names: Vec<_> =
        scenarios.iter().map(|scenario| scenario["scenario"].as_str().expect("a name")).collect();
    assert_eq!(names, ["stream", "apart", "batches", "single", "paced", "kill", "many"]);
    for scenario in scenarios {
        assert!(number(&scenario["messages"]) > 0.0, "{scenario}");
        assert_eq!((number(&scenario["lost"]), number(&scenario["repeated"])), (0.0, 0.0), "{scenario}");
        let [accepted, completed] = ["accepted", "completed"].map(|level| number(&scenario[level]["p50"]));
        assert!(0.0 < accepted && accepted <= completed, "{scenario}");
        let kills = usize::from(scenario["scenario"] == "kill");
        assert_eq!(scenario["gaps"].as_array().map(Vec::len), Some(kills), "{scenario}");
        // The target at least lived all the time.
        let target = &scenario["nodes"][1];
        assert!(number(&target["syncs"]) > 0.0 && number(&target["journal_bytes"]) > 0.0, "{scenario}");
    }
    assert_eq!(number(&told["opening"]["at_once"]), 8.0);
    assert!(number(&told["opening"]["in_turn"]["count"]) >= 1.0);

    let relayed = [&["bench", "stream", "--line", "--only", "single"], &small[..]].concat();
    let relayed = json(root.path(), &relayed);
    assert_eq!((relayed["source"].as_str(), relayed["targets"][0].as_str()), (Some("a"), Some("c")));
    assert!(number(&relayed["scenarios"][0]["messages"]) > 0.0);
    assert_eq!(processes_of(root.path()), BTreeSet::new());
    assert_eq!(std::fs::read_dir(data).expect("there").count(), 0);
}

#[test]
fn a_signal_ends_it_and_all_that_it_started() {
    let root = tempfile::tempdir().expect("a directory");
    let data = root.path().to_str().expect("text");
    let mut bench = Command::new(env!("CARGO_BIN_EXE_wattle"))
        .args(["bench", "stream", "--only", "single", "--seconds", "600", "--data", data])
        .env("WATTLE_RUNTIME_DIR", root.path().join("runtime"))
        .spawn()
        .expect("the program starts");
    let begun = Instant::now();
    let wait = |what: &str, is: &dyn Fn() -> bool| {
        while !is() {
            assert!(begun.elapsed() < Duration::from_secs(40), "{what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    wait("it starts three nodes", &|| processes_of(root.path()).len() == 3);
    let signalled = Command::new("kill").args(["-INT", &bench.id().to_string()]).status().expect("kill runs");
    assert!(signalled.success());
    let status = bench.wait().expect("a child");
    assert_eq!(status.code(), Some(1));
    wait("they end", &|| processes_of(root.path()).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mesh_that_runs_is_measured_and_left_as_it_was() {
    let root = tempfile::tempdir().expect("a directory");
    let [a, _b, _c] = line(root.path(), "").await;
    let api = a.api.to_string();
    let asked = ["bench", "stream", "--node", "a", "--seconds", "0.3", "--targets", "c", "--data"];
    let data = root.path().to_str().expect("text");
    let told = json(root.path(), &[&asked[..], &[data, "--only", "single,open", "--streams", "4"]].concat());
    assert_eq!((told["source"].as_str(), told["targets"][0].as_str()), (Some("a"), Some("c")));
    assert!(number(&told["scenarios"][0]["messages"]) > 0.0);
    let streams = json(root.path(), &["stream", "list", "--node", &api]);
    let names: Vec<_> = streams.as_array().expect("some").iter().map(|stream| &stream["name"]).collect();
    assert_eq!(names, ["words"], "what it opened is closed");

    let (code, _, error) = wattle(root.path(), &["bench", "stream", "--node", "a", "--only", "kill"]);
    assert!(code == 2 && error.contains("without --node"), "{error}");
    let (code, _, error) = wattle(root.path(), &["bench", "stream", "--node", "a", "--targets", "x"]);
    assert!(code == 2 && error.contains("no node called x"), "{error}");
}
