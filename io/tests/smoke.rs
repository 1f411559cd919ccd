//! A real node comes up, is stopped, and comes up again as the same one.

use wattle_core::node::command::{Command, Reply};
use wattle_io::{Settings, StopReason, start};

#[tokio::test]
async fn a_node_keeps_its_identity_and_its_mesh_over_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings {
        name: Some("a".to_owned()),
        listen: vec!["127.0.0.1:0".to_owned()],
        reserve_bytes: 1 << 20,
        ..Settings::new(dir.path())
    };
    let node = start(settings.clone()).await.unwrap();
    let reply = node.command(Command::Seed { name: "willow".to_owned() }).next().await;
    let Some(Ok(Reply::Seeded { mesh, .. })) = reply else { panic!("{reply:?}") };
    let before = node.status().await.unwrap();
    assert_eq!((before.node, before.mesh), (node.node_id(), Some(mesh)));
    assert_eq!(node.stop().await, StopReason::Asked);

    let again = start(settings).await.unwrap();
    let after = again.status().await.unwrap();
    assert_eq!((after.node, after.name.as_str(), after.mesh), (before.node, "a", Some(mesh)));
    assert_ne!(after.boot, before.boot);
    assert!(after.generation > before.generation);
    again.stop().await;
}
