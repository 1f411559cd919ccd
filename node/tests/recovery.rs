//! A mesh that lost its quorum, with real processes: what is refused, what an operator types, and what the lost find when they come back.

mod common;

use std::time::{Duration, Instant};

use common::{until, wattle};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_survivor_goes_on_and_the_lost_decide_nothing_more_when_they_come_back() {
    let root = tempfile::tempdir().expect("a directory");
    let [mut a, mut b, c] = common::line(root.path(), "").await;
    let root = root.path();
    until(root, &["status", "--node", "c"], |text| text.contains("voters a, b, c")).await;
    let (code, _, error) = wattle(root, &["config", "set", "limits/upload", "1", "--node", "c"]);
    assert_eq!(code, 0, "{error}");
    let (code, _, error) = wattle(root, &["mesh", "recover", "--lost", "b", "--yes", "--node", "c"]);
    assert_eq!(code, 1);
    assert!(error.contains("wattle mesh evict"), "{error}");

    a.kill();
    b.kill();
    until(root, &["status", "--node", "c"], |text| text.contains("nobody leads the control group")).await;
    let since = Instant::now();
    let (code, _, error) = wattle(root, &["config", "set", "limits/upload", "2", "--node", "c"]);
    assert_eq!(code, 1, "{error}");
    assert!(error.contains("the control group has no quorum now"), "{error}");
    assert!(since.elapsed() < Duration::from_secs(6), "refused soon: {:?}", since.elapsed());
    let (code, _, error) = wattle(root, &["mesh", "recover", "--lost", "a", "--yes", "--node", "c"]);
    assert_eq!(code, 1);
    assert!(error.contains("b can not be reached and is not named lost"), "{error}");

    let plan = until(root, &["mesh", "recover", "--lost", "a,b", "--node", "c"], |said| {
        said.contains("Nothing was done")
    });
    let plan = plan.await;
    assert!(plan.contains("evict for good: a (voter), b (voter)"), "{plan}");
    let (code, text, error) =
        wattle(root, &["mesh", "recover", "--lost", "a,b", "--yes", "--node", "c", "-o", "json"]);
    assert_eq!(code, 0, "{text}{error}");
    assert!(text.contains("\"epoch\":2"), "{text}");
    let status =
        until(root, &["status", "--node", "c"], |text| text.contains("HEALTHY: all 1 members")).await;
    assert!(status.contains("Recovery 1, ordered at c") && status.contains("voters c"), "{status}");
    let (code, _, error) = wattle(root, &["config", "set", "limits/upload", "3", "--node", "c"]);
    assert_eq!(code, 0, "{error}");

    // The lost come back: b is a majority with a, until it meets c.
    b.spawn();
    b.ready().await;
    let api = b.api.to_string();
    until(root, &["status", "--node", &api], |text| text.contains("named lost when mesh")).await;
    a.spawn();
    a.ready().await;
    let (code, _, error) = wattle(root, &["config", "set", "limits/upload", "4", "--node", &api]);
    assert_eq!(code, 1);
    assert!(error.contains("evicted by recovery 1"), "{error}");
    let (code, text, error) = wattle(root, &["config", "get", "limits/upload", "--node", "c"]);
    assert_eq!((code, text.trim().ends_with('3')), (0, true), "{text}{error}");
    let log = std::fs::read_to_string(c.dir.join("log")).expect("a log");
    assert!(log.contains("recovery of a lost quorum"), "{log}");
}
