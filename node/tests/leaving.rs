//! Members that go, with real processes: what operators type, what they read, and what the node that goes does.

mod common;

use common::{until, wattle};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_evicted_node_stops_serving_and_comes_back_with_a_new_token() {
    let root = tempfile::tempdir().expect("a directory");
    let [_a, b, mut c] = common::line(root.path(), "").await;
    let root = root.path();
    until(root, &["status", "--node", "a"], |text| text.contains("voters a, b, c")).await;
    let old = wattle(root, &["mesh", "invite", "--node", "b"]).1;

    let (code, _, error) = wattle(root, &["mesh", "evict", "nobody", "--node", "a"]);
    assert_eq!(code, 1);
    assert!(error.contains("no member of the mesh is called \"nobody\""), "{error}");
    let (code, _, error) = wattle(root, &["mesh", "leave", "--node", "c"]);
    assert_eq!(code, 1);
    assert!(error.contains("end of 1 open streams (words)") && error.contains("--force"), "{error}");

    // One that is away cannot be asked, and goes all the same.
    c.kill();
    let (code, text, error) = wattle(root, &["mesh", "evict", "c", "--node", "b", "-o", "json"]);
    assert_eq!((code, text.contains("\"epoch\":1")), (0, true), "{text}{error}");
    let text = until(root, &["status", "--node", "a"], |text| text.contains("Mesh epoch 1")).await;
    assert!(text.contains("former members: c (evicted, epoch 1)"), "{text}");
    assert!(text.contains("stream words needs its target to join again"), "{text}");

    c.spawn();
    c.ready().await;
    let text =
        until(root, &["status", "--node", &c.api.to_string()], |text| text.contains("was evicted")).await;
    assert!(text.contains("epoch 1, asked for at b"), "{text}");
    let api = c.api.to_string();
    let (code, _, error) =
        wattle(root, &["stream", "open", "more", "--from", "c", "--to", "a", "--node", &api]);
    assert_eq!(code, 1);
    assert!(error.contains("was evicted from mesh"), "{error}");
    let (code, _, error) = wattle(root, &["mesh", "join", old.trim(), "--node", &api]);
    assert_eq!(code, 1);
    assert!(error.contains("the token shown was made before that"), "{error}");

    // Its next start knows, too.
    c.kill();
    c.spawn();
    c.ready().await;
    until(root, &["status", "--node", &api], |text| text.contains("was evicted")).await;
    let token = wattle(root, &["mesh", "invite", "--node", "b"]).1;
    let (code, text, error) = wattle(root, &["mesh", "join", token.trim(), "--node", &api]);
    assert_eq!(code, 0, "{text}{error}");
    until(root, &["status", "--node", "a"], |text| text.contains("voters a, b, c")).await;
    let text =
        until(root, &["stream", "show", "words", "--node", "a"], |text| text.contains("Stream words")).await;
    assert!(!text.contains("seal"), "{text}");
    drop(b);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_leaves_and_the_mesh_shows_how_it_is() {
    let root = tempfile::tempdir().expect("a directory");
    let [mut a, _b, _c] = common::line(root.path(), "").await;
    let root = root.path();
    until(root, &["status", "--node", "b"], |text| text.contains("HEALTHY: all 3 members can be reached"))
        .await;
    let (code, text, error) = wattle(root, &["mesh", "leave", "--force", "--node", "c"]);
    assert_eq!(code, 0, "{text}{error}");
    // The node that left has the answer of whoever leads; another member may learn of it a moment later.
    until(root, &["status", "--node", "b"], |text| text.contains("c (left, epoch 1)")).await;

    // Who votes is one of two; half of the mesh is away when it falls.
    let voter = until(root, &["status", "--node", "b"], |text| !text.contains("voters a, b")).await;
    let (gone, left) = if voter.contains("voters a;") { ("a", "b") } else { ("b", "a") };
    if gone == "a" {
        a.kill();
        let text = until(root, &["status", "--node", left], |text| text.contains("CRITICAL")).await;
        assert!(text.contains("1 of 2 members cannot be reached") && text.contains("read-only"), "{text}");
        let (code, _, error) = wattle(root, &["stream", "close", "words", "--node", left]);
        assert_eq!(code, 1);
        assert!(error.contains("read-only (CRITICAL)"), "{error}");
        a.spawn();
        until(root, &["status", "--node", left], |text| text.contains("HEALTHY: all 2")).await;
    }
    let (code, text, error) = wattle(root, &["mesh", "leave", "--force", "--node", "b"]);
    assert_eq!(code, 0, "the only voter goes when another can take its place: {text}{error}");
    let (code, _, error) = wattle(root, &["mesh", "leave", "--force", "--node", "a"]);
    assert_eq!(code, 1);
    assert!(error.contains("last member"), "{error}");
}
