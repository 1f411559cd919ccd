//! Watching events over the API, around a node in memory.

use tokio::net::TcpListener;
use tonic::transport::Endpoint;
use tonic::{Code, Request, Streaming};
use wattle_core::event::{Departure, MeshEvent as M};
use wattle_core::id::{LogIndex, MeshId, NodeId, StreamInstance, Term};
use wattle_core::node::output::{Event, MeshMode, Standing};
use wattle_proto::api::mesh_service_client::MeshServiceClient;
use wattle_proto::api::{MeshEvent, MeshEventFilter, MeshEventKind as Kind, MeshMode as Mode, Reason};

use super::{Api, Token, errors};
use crate::fake::{EVENTS_KEPT, FakeWorld};
use crate::handlers::Configured;

/// A node, and somebody who watches it.
struct Watched {
    _place: tempfile::TempDir,
    world: FakeWorld,
    api: Api,
    bearer: String,
}

impl Watched {
    async fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let world = FakeWorld::new("a", 1);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (token, _) = Token::of_directory(place.path()).unwrap();
        let api = Api::serve(listener, world.clone(), Configured::default(), &token).unwrap();
        Self { _place: place, world, api, bearer: token.bearer() }
    }

    async fn watch(&self, kinds: &[i32]) -> Result<Streaming<MeshEvent>, tonic::Status> {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.api.address())).unwrap();
        let mut client = MeshServiceClient::new(endpoint.connect().await.unwrap());
        let mut request = Request::new(MeshEventFilter { kinds: kinds.to_vec() });
        request.metadata_mut().insert("authorization", self.bearer.parse().unwrap());
        client.watch_mesh_events(request).await.map(tonic::Response::into_inner)
    }

    fn joins(&self, node: u128) {
        let event = M::NodeJoined { node: NodeId(node), name: format!("node-{node}") };
        self.world.happens(Event::Mesh(event));
    }
}

#[tokio::test]
async fn a_watcher_sees_what_happens_from_its_call_on_and_only_what_it_asked_for() {
    let watched = Watched::new().await;
    watched.joins(7);
    let mut all = watched.watch(&[]).await.unwrap();
    let mut streams = watched.watch(&[Kind::StreamClosed.into()]).await.unwrap();
    watched.joins(9);
    let (leader, term) = (Some(NodeId(9)), Term(4));
    watched.world.happens(Event::Mesh(M::LeaderChanged { leader, term, here: true }));
    watched.world.happens(Event::Space { accepting: true });
    let (name, instance) = ("words".to_owned(), StreamInstance(3));
    watched.world.happens(Event::Mesh(M::StreamClosed { name, instance }));
    let joined = all.message().await.unwrap().unwrap();
    assert_eq!((joined.kind(), joined.name.as_str()), (Kind::NodeJoined, "node-9"));
    assert!(joined.time > 0);
    let leads = all.message().await.unwrap().unwrap();
    assert_eq!((leads.kind(), leads.term, leads.here), (Kind::LeaderChanged, 4, true));
    assert_eq!(leads.node.as_deref(), Some(&NodeId(9).to_bytes()[..]));
    for watcher in [&mut all, &mut streams] {
        let closed = watcher.message().await.unwrap().unwrap();
        assert_eq!((closed.kind(), closed.name.as_str()), (Kind::StreamClosed, "words"));
    }
    let unknown = watched.watch(&[77]).await.unwrap_err();
    assert_eq!(unknown.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_slow_watcher_is_told_how_many_it_missed_and_sees_the_newest() {
    let watched = Watched::new().await;
    let mut watcher = watched.watch(&[]).await.unwrap();
    let all = 4 * EVENTS_KEPT as u64;
    // All at once: nothing else runs on this thread meanwhile.
    (1..=all).for_each(|node| watched.joins(node.into()));
    let first = watcher.message().await.unwrap().unwrap();
    assert_eq!((first.kind(), first.missed), (Kind::Missed, all - EVENTS_KEPT as u64));
    for node in all - EVENTS_KEPT as u64 + 1..=all {
        let event = watcher.message().await.unwrap().unwrap();
        assert_eq!(event.name, format!("node-{node}"));
    }
}

#[tokio::test]
async fn a_watcher_hears_who_went_and_how_and_what_is_written_and_ends_with_its_node() {
    let watched = Watched::new().await;
    let mut watcher = watched.watch(&[]).await.unwrap();
    let mut filtered = watched.watch(&[Kind::ModeChanged.into()]).await.unwrap();
    let how = Some(Departure { evicted: true, epoch: 3, asked_at: NodeId(2) });
    watched.world.happens(Event::Mesh(M::NodeLeft { node: NodeId(7), name: "c".to_owned(), how }));
    let (key, version) = ("limits/upload".to_owned(), LogIndex(9));
    watched.world.happens(Event::Mesh(M::ConfigChanged { key, value: None, version, deleted: true }));
    let standing = Standing { mode: MeshMode::Critical, unreachable: 2, members: 3, quorum: false };
    watched.world.happens(Event::ModeChanged(standing));
    let why = "this node was evicted".to_owned();
    watched.world.happens(Event::Parted { mesh: MeshId(5), left: false, why });

    let went = watcher.message().await.unwrap().unwrap();
    assert_eq!((went.kind(), went.name.as_str(), went.evicted, went.epoch), (Kind::NodeLeft, "c", true, 3));
    assert_eq!(went.asked_at.as_deref(), Some(&NodeId(2).to_bytes()[..]));
    let written = watcher.message().await.unwrap().unwrap();
    assert_eq!(
        (written.kind(), written.key.as_str(), written.version, written.deleted),
        (Kind::ConfigChanged, "limits/upload", 9, true)
    );
    watcher.message().await.unwrap().unwrap();
    let mode = filtered.message().await.unwrap().unwrap();
    let standing = mode.standing.unwrap_or_default();
    assert_eq!((mode.kind(), standing.mode(), standing.unreachable), (Kind::ModeChanged, Mode::Critical, 2));
    for watcher in [&mut watcher, &mut filtered] {
        let ended = watcher.message().await.unwrap_err();
        assert!(ended.message().contains("this node was evicted"), "{ended}");
        assert_eq!(errors::detail_of(&ended).unwrap().reason(), Reason::Evicted);
    }
}
