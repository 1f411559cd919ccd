//! Agreed configuration, settings of the mesh and its join key, as people use them: real nodes, asked over the command line.

mod common;

use common::{Process, json, wattle};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_agree_on_keys_and_whoever_is_late_hears_of_it() {
    let root = tempfile::tempdir().expect("a directory");
    let _nodes = common::line(root.path(), "").await;
    let wattle = |arguments: &[&str]| wattle(root.path(), arguments);
    let set = json(root.path(), &["config", "set", "app/color", "red", "--create", "--node", "c"]);
    let version = set["version"].as_u64().expect("a number");
    for node in ["a", "b", "c"] {
        let (code, text, error) = wattle(&["config", "get", "app/color", "--node", node]);
        assert_eq!((code, text.as_str()), (0, "red\n"), "{error}");
    }
    let (_, text, error) = wattle(&["config", "get", "app/color", "--local", "--node", "b"]);
    assert!(text == "red\n" && error.contains("as this node knew it"), "{error}");

    let (code, _, error) = wattle(&["config", "set", "app/color", "blue", "--expect", "1"]);
    assert!(code == 1 && error.contains(&format!("stands at version {version}")), "{error}");
    assert!(error.contains("hint: somebody else wrote it"), "{error}");
    let (code, _, error) = wattle(&["config", "set", "a b", "x"]);
    assert!(code == 1 && error.contains("A-Z a-z 0-9"), "{error}");
    let (code, _, error) = wattle(&["config", "set", "wattle/mesh/voters", "4"]);
    assert!(code == 1 && error.contains("it takes 1, 3, 5 or 7"), "{error}");
    let (code, _, error) = wattle(&["config", "get", "none"]);
    assert!(code == 1 && error.contains("there is no key"), "{error}");

    let large = root.path().join("large");
    std::fs::write(&large, vec![b'x'; 65_537]).expect("written");
    let (code, _, error) = wattle(&["config", "set", "large", "--file", large.to_str().expect("text")]);
    assert!(code == 1 && error.contains("over the limit of 65536"), "{error}");
    std::fs::write(&large, vec![b'x'; 65_536]).expect("written");
    assert_eq!(wattle(&["config", "set", "large", "--file", large.to_str().expect("text")]).0, 0);
    let listed = json(root.path(), &["config", "list", "--node", "b"]);
    let keys: Vec<&str> =
        listed.as_array().expect("a list").iter().filter_map(|r| r["key"].as_str()).collect();
    assert_eq!(keys, ["app/color", "large"]);

    assert_eq!(wattle(&["config", "set", "app/color", "blue", "--expect", &version.to_string()]).0, 0);
    assert_eq!(wattle(&["config", "delete", "app/color"]).0, 0);
    let after = version.to_string();
    let watched = ["config", "watch", "app/", "--after", &after, "--count", "2", "--node", "b"];
    let (code, text, error) = wattle(&watched);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!((code, lines.len()), (0, 2), "{error}");
    assert!(lines[0].ends_with("app/color = blue") && lines[1].ends_with("app/color deleted"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mesh_decides_who_votes_and_who_may_join() {
    let root = tempfile::tempdir().expect("a directory");
    let nodes = common::line(root.path(), "").await;
    let wattle = |arguments: &[&str]| wattle(root.path(), arguments);
    let config = |arguments: &[&str]| json(root.path(), &[&["mesh", "config"], arguments].concat());
    assert_eq!(config(&[])["join_policy"], "key-required");
    let changed = config(&["set", "--name", "orchard", "--voters", "1", "--expect", "0"]);
    let (code, _, error) = wattle(&["mesh", "config", "set", "--name", "late", "--expect", "0"]);
    assert!(code == 1 && error.contains("none was changed"), "{error}");
    assert_eq!(config(&["--node", "c"])["version"], changed["version"]);
    let status = wattle(&["status", "--node", "c"]).1;
    assert!(status.starts_with("Mesh orchard"), "{status}");
    let start = std::time::Instant::now();
    while json(root.path(), &["status"])["control"]["voters"].as_array().map(Vec::len) != Some(1) {
        assert!(start.elapsed().as_secs() < 30, "one shall vote: {}", wattle(&["status"]).1);
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert_eq!(wattle(&["mesh", "config", "set", "--voters", "3"]).0, 0);

    let first =
        json(root.path(), &["mesh", "key", "rotate", "--uses", "1", "--lifetime", "1h", "--node", "b"]);
    let first = first["text"].as_str().expect("text");
    let d = Process::start(root.path(), "d", true, &[nodes[1].mesh_address], "");
    d.ready().await;
    let join = |text: &str, node: &str| wattle(&["mesh", "join", text, "--node", node, "-o", "json"]);
    let refused = |text: &str, node: &str, reason: &str| {
        let (code, _, error) = join(text, node);
        assert!(code == 1 && error.contains(reason), "{reason}: {error}");
    };
    assert_eq!(wattle(&["mesh", "config", "set", "--join", "closed", "--node", "a"]).0, 0);
    refused(first, "d", "REASON_JOIN_CLOSED");
    assert_eq!(wattle(&["mesh", "config", "set", "--join", "key-required", "--node", "a"]).0, 0);
    let (code, _, error) = join(first, "d");
    assert_eq!(code, 0, "{error}");
    let e = Process::start(root.path(), "e", true, &[nodes[1].mesh_address], "");
    e.ready().await;
    refused(first, "e", "REASON_JOIN_KEY_EXHAUSTED");
    let second = json(root.path(), &["mesh", "key", "rotate", "--lifetime", "1s", "--node", "b"]);
    let second = second["text"].as_str().expect("text");
    refused(first, "e", "REASON_JOIN_KEY_WRONG");
    tokio::time::sleep(std::time::Duration::from_millis(1_500)).await;
    refused(second, "e", "REASON_JOIN_KEY_EXPIRED");
    assert_eq!(wattle(&["mesh", "config", "set", "--join", "open", "--node", "a"]).0, 0);
    let (code, _, error) = join(first, "e");
    assert_eq!(code, 0, "no secret is asked for: {error}");
}
