//! The API, the commands' side of it and the address files together, over real sockets and around a node in memory.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use wattle_core::id::NodeId;
use wattle_core::node::command::{Refusal, Waited};
use wattle_proto::api::mesh_service_client::MeshServiceClient;
use wattle_proto::api::{
    EvictNodeRequest, GetMeshStatusRequest, JoinMeshRequest, LeaveMeshRequest, Level, Reason,
};

use super::*;
use crate::address::{Address, Directory, Published};
use crate::client::publish::{self, Grpc};
use crate::client::source::Source;
use crate::client::subscribe::{self, Format, PositionFile, Sink};
use crate::client::{Client, Failure, Finder, follow};
use crate::fake::FakeWorld;
use crate::stop::Stop;

#[path = "tests_replay.rs"]
mod replay;

/// Nodes, their address files, and somebody who uses them.
struct Desk {
    place: tempfile::TempDir,
    directory: Directory,
}

struct Node {
    world: FakeWorld,
    api: Api,
    _published: Published,
}

impl Desk {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let directory = Directory::at(place.path().join("run")).unwrap();
        Self { place, directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    async fn serve(&self, world: &FakeWorld) -> Node {
        world.start();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (token, path) = Token::of_directory(&self.path(&world.name())).unwrap();
        let api = Api::serve(listener, world.clone(), Configured::default(), &token).unwrap();
        let address = Address {
            name: world.name(),
            id: world.node().to_string(),
            api: api.address().to_string(),
            token: path,
            pid: std::process::id(),
        };
        let published = self.directory.publish(&address).unwrap();
        Node { world: world.clone(), api, _published: published }
    }

    fn finder(&self, node: Option<&str>) -> Finder {
        Finder::new(self.directory.clone(), node.map(str::to_owned), None)
    }

    async fn publish(&self, file: &Path, wait: Level) -> Result<publish::Summary, Failure> {
        let finder = self.finder(None);
        let plan = publish::Plan {
            stream: "words".to_owned(),
            tenant: String::new(),
            writer: None,
            wait,
            batch_lines: 100,
            patience: Duration::from_secs(5),
            records: self.path("records"),
            machine: String::new(),
        };
        let source = Source::open(Some(file)).unwrap();
        publish::publish(&mut Grpc::new(&finder), source, &plan, |_| {}).await
    }

    fn sink(&self) -> PositionFile {
        PositionFile::open(&self.path("position"), &self.path("out"), "words", Format::Text).unwrap()
    }

    async fn subscribe(&self, sink: impl Sink, count: u64) -> Result<subscribe::Summary, Failure> {
        let (_keep, stop) = Stop::pair();
        let told = |_| {};
        subscribe::subscribe(&self.finder(None), &plan(Some(count)), sink, stop, told).await
    }
}

fn plan(count: Option<u64>) -> subscribe::Plan {
    subscribe::Plan {
        stream: "words".to_owned(),
        at: None,
        count,
        until: None,
        tenant: String::new(),
        window: 1000,
        take_over: false,
        replay: None,
        patience: Some(Duration::from_secs(5)),
    }
}

/// A sink that remembers, and lets the node keep the position.
#[derive(Clone, Default)]
struct Memory(std::sync::Arc<std::sync::Mutex<String>>);

impl Sink for Memory {
    fn presented(&self) -> Option<wattle_proto::api::Position> {
        None
    }
    fn take(
        &mut self,
        messages: &[wattle_proto::api::Message],
        _: &wattle_proto::api::Position,
    ) -> std::io::Result<()> {
        let mut text = self.0.lock().unwrap();
        for message in messages {
            text.push_str(std::str::from_utf8(&message.data).unwrap());
            text.push('\n');
        }
        Ok(())
    }
}

impl Node {
    async fn kill(self) -> FakeWorld {
        self.world.stop();
        self.api.stop().await;
        self.world
    }

    async fn channel(&self) -> Channel {
        Endpoint::from_shared(format!("http://{}", self.api.address())).unwrap().connect().await.unwrap()
    }
}

fn numbers(range: std::ops::RangeInclusive<u32>) -> String {
    range.map(|number| format!("line {number}\n")).collect()
}

#[tokio::test]
async fn all_but_health_needs_the_token() {
    let desk = Desk::new();
    let node = desk.serve(&FakeWorld::new("a", 1)).await;
    let channel = node.channel().await;
    let health = HealthClient::new(channel.clone()).check(HealthCheckRequest::default()).await.unwrap();
    assert_eq!(health.into_inner().status, 1, "serving");
    for service in ["wattle.api.v1.MeshService", "wattle.api.v1.MeshDataService"] {
        let request = HealthCheckRequest { service: service.to_owned() };
        assert_eq!(HealthClient::new(channel.clone()).check(request).await.unwrap().into_inner().status, 1);
    }

    let bare =
        MeshServiceClient::new(channel.clone()).get_mesh_status(GetMeshStatusRequest {}).await.unwrap_err();
    assert_eq!(bare.code(), Code::Unauthenticated);
    assert_eq!(errors::detail_of(&bare).unwrap().reason(), Reason::Unauthenticated);
    let mut wrong = Request::new(GetMeshStatusRequest {});
    wrong.metadata_mut().insert("authorization", "Bearer guess".parse().unwrap());
    let wrong = MeshServiceClient::new(channel.clone()).get_mesh_status(wrong).await.unwrap_err();
    assert_eq!(wrong.code(), Code::Unauthenticated);
    use tonic_reflection::pb::v1::ServerReflectionRequest;
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    let ask = tokio_stream::iter([ServerReflectionRequest::default()]);
    let reflected = ServerReflectionClient::new(channel).server_reflection_info(ask).await.unwrap_err();
    assert_eq!(reflected.code(), Code::Unauthenticated);

    let mut client = Client::connect(desk.finder(Some("a")).only().await.unwrap()).await.unwrap();
    let status = client.status().await.unwrap();
    assert_eq!((status.name.as_str(), status.journal_written_bytes, status.journal_syncs), ("a", 4096, 3));
    let refused = client.mesh.join_mesh(JoinMeshRequest { token: "nonsense".to_owned() }).await.unwrap_err();
    assert_eq!(errors::detail_of(&refused).unwrap().reason(), Reason::BadToken);
}

#[tokio::test]
async fn lines_come_out_as_they_went_in_and_publishing_again_adds_nothing() {
    let desk = Desk::new();
    let world = FakeWorld::new("a", 1);
    world.open("words");
    let _node = desk.serve(&world).await;
    let file = desk.path("file");
    std::fs::write(&file, numbers(1..=5000)).unwrap();
    let first = desk.publish(&file, Level::Completed).await.unwrap();
    assert_eq!((first.accepted, first.already_there, first.last_sequence), (5000, 0, 5000));
    let again = desk.publish(&file, Level::Accepted).await.unwrap();
    assert_eq!((again.accepted, again.already_there), (0, 5000));

    let part = desk.subscribe(desk.sink(), 1234).await.unwrap();
    assert_eq!((part.messages, part.sequence), (1234, 1234));
    let rest = desk.subscribe(desk.sink(), 5000 - 1234).await.unwrap();
    assert_eq!((rest.messages, rest.sequence), (5000 - 1234, 5000));
    assert_eq!(std::fs::read_to_string(desk.path("out")).unwrap(), numbers(1..=5000));
    assert_eq!(world.processed("words"), 5000);
}

#[tokio::test]
async fn a_subscriber_goes_on_after_what_it_acknowledged() {
    let desk = Desk::new();
    let world = FakeWorld::new("a", 1);
    world.open("words");
    let _node = desk.serve(&world).await;
    let file = desk.path("file");
    std::fs::write(&file, numbers(1..=200)).unwrap();
    desk.publish(&file, Level::Accepted).await.unwrap();
    for (count, upto) in [(3, 3), (60, 63), (137, 200)] {
        let memory = Memory::default();
        desk.subscribe(memory.clone(), count).await.unwrap();
        assert_eq!(*memory.0.lock().unwrap(), numbers(upto + 1 - count as u32..=upto));
        assert_eq!(
            world.processed("words"),
            u64::from(upto),
            "the last acknowledgement was read before it left"
        );
    }
}

#[tokio::test]
async fn commands_follow_to_the_right_node() {
    let desk = Desk::new();
    let (a, b) = (FakeWorld::new("a", 1), FakeWorld::new("b", 2));
    b.open("words");
    let at_b = desk.serve(&b).await;
    let elsewhere = |address| Refusal::WrongNode { node: NodeId(2), name: "b".to_owned(), address };
    a.refuse(Some(elsewhere(None)));
    let at_a = desk.serve(&a).await;
    let file = desk.path("file");
    std::fs::write(&file, numbers(1..=10)).unwrap();
    assert_eq!(desk.publish(&file, Level::Accepted).await.unwrap().accepted, 10);
    assert_eq!(desk.subscribe(Memory::default(), 10).await.unwrap().messages, 10);
    assert_eq!(b.text("words"), numbers(1..=10));

    // Two nodes that point to each other do not keep us for ever.
    b.refuse(Some(Refusal::WrongNode { node: NodeId(1), name: "a".to_owned(), address: None }));
    let failure = desk.publish(&file, Level::Accepted).await.unwrap_err();
    assert_eq!(failure.reason(), Some(Reason::WrongNode));
    at_b.kill().await;
    let gone = desk.publish(&file, Level::Accepted).await.unwrap_err();
    assert!(matches!(gone, Failure::Unreachable(_)), "{gone:?}");
    drop(at_a);
}

#[tokio::test]
async fn a_stream_that_the_first_node_does_not_know_is_looked_for_at_the_others() {
    let desk = Desk::new();
    let (a, b) = (FakeWorld::new("a", 1), FakeWorld::new("b", 2));
    b.open("words");
    let (_at_a, _at_b) = (desk.serve(&a).await, desk.serve(&b).await);
    let finder = desk.finder(None);
    let peers = finder.peers(None).await.unwrap();
    let request = wattle_proto::api::FindWriterRequest {
        stream: "words".to_owned(),
        writer: bytes::Bytes::from_static(&[1; 16]),
        tenant: String::new(),
    };
    let (next, client) =
        follow(&finder, peers.clone(), async |client| client.find_writer(request.clone()).await)
            .await
            .unwrap();
    assert_eq!((next, client.peer.name.as_deref()), (1, Some("b")));
    let unknown = wattle_proto::api::FindWriterRequest { stream: "none".to_owned(), ..request };
    let refused =
        follow(&finder, peers, async |client| client.find_writer(unknown.clone()).await).await.unwrap_err();
    assert_eq!(refused.reason(), Some(Reason::UnknownStream));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_killed_and_comes_back_elsewhere_costs_nothing() {
    let desk = Desk::new();
    let world = FakeWorld::new("a", 1);
    world.open("words");
    let mut node = desk.serve(&world).await;
    let file = desk.path("file");
    std::fs::write(&file, numbers(1..=60_000)).unwrap();
    let killing = async {
        for kill in 1..=5 {
            while world.accepted("words") < kill * 10_000 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let world = node.kill().await;
            node = desk.serve(&world).await;
        }
        node
    };
    let (published, subscribed, _node) =
        tokio::join!(desk.publish(&file, Level::Completed), desk.subscribe(desk.sink(), 60_000), killing,);
    assert_eq!(published.unwrap().accepted, 60_000);
    assert_eq!(subscribed.unwrap().messages, 60_000);
    assert!(world.text("words") == numbers(1..=60_000), "published once and in order");
    assert!(
        std::fs::read_to_string(desk.path("out")).unwrap() == numbers(1..=60_000),
        "handled once and in order"
    );
}

#[tokio::test]
async fn a_node_that_is_away_for_a_while_is_waited_for_though_others_point_to_it() {
    let desk = Desk::new();
    let (a, b) = (FakeWorld::new("a", 1), FakeWorld::new("b", 2));
    b.open("words");
    b.reaches(Waited::Accepted);
    let at_b = desk.serve(&b).await;
    // As a member does: it knows the address, and that says nothing of whether somebody listens there.
    let address = Some(at_b.api.address().to_string());
    a.refuse(Some(Refusal::WrongNode { node: NodeId(2), name: "b".to_owned(), address }));
    let _at_a = desk.serve(&a).await;
    let file = desk.path("file");
    std::fs::write(&file, numbers(1..=10)).unwrap();
    let away = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let b = at_b.kill().await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        b.reaches(Waited::Completed);
        desk.serve(&b).await
    };
    let (published, _at_b) = tokio::join!(desk.publish(&file, Level::Completed), away);
    assert_eq!(published.unwrap().accepted, 10);
    assert_eq!(b.text("words"), numbers(1..=10));
}

#[tokio::test]
async fn the_newest_subscriber_is_served_and_the_other_is_told() {
    let desk = Desk::new();
    let world = FakeWorld::new("a", 1);
    world.open("words");
    let _node = desk.serve(&world).await;
    let first = desk.subscribe(Memory::default(), 1);
    let second = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let file = desk.path("file");
        let memory = Memory::default();
        let (_keep, stop) = Stop::pair();
        let finder = desk.finder(None);
        let mut told = Vec::new();
        let plan = plan(Some(1));
        let subscribed = subscribe::subscribe(&finder, &plan, memory, stop, |what| told.push(what));
        let publishing = async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            std::fs::write(&file, "late\n").unwrap();
            desk.publish(&file, Level::Accepted).await
        };
        let (subscribed, published) = tokio::join!(subscribed, publishing);
        published.unwrap();
        subscribed
    };
    let (first, second) = tokio::join!(first, second);
    assert_eq!(first.unwrap_err().reason(), Some(Reason::Fenced));
    assert_eq!(second.unwrap().messages, 1);
}

#[tokio::test]
async fn a_subscriber_ends_with_the_reason_when_its_stream_stops() {
    let desk = Desk::new();
    let world = FakeWorld::new("a", 1);
    world.open("words");
    let _node = desk.serve(&world).await;
    let subscribed = desk.subscribe(Memory::default(), 1);
    let stopping = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        world.refuse(Some(Refusal::StreamStopped("its disk was rolled back".to_owned())));
    };
    let (subscribed, ()) = tokio::join!(subscribed, stopping);
    let failure = subscribed.unwrap_err();
    assert_eq!(failure.reason(), Some(Reason::StreamStopped));
    assert!(failure.to_string().contains("its disk was rolled back"), "{failure}");
}

/// Subscribes while the node learns that 8 messages were processed, of which it has fewer; then 12 are there.
async fn outrun(desk: &Desk, world: &FakeWorld, sink: impl Sink, until: u64) -> (u64, Vec<subscribe::Told>) {
    let finder = desk.finder(None);
    let (_keep, stop) = Stop::pair();
    let mut told = Vec::new();
    let plan = subscribe::Plan { until: Some(until), ..plan(None) };
    let subscribed = subscribe::subscribe(&finder, &plan, sink, stop, |what| told.push(what));
    let learning = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        world.learns_of_mark("words", 8);
        std::fs::write(desk.path("file"), numbers(1..=12)).unwrap();
        desk.publish(&desk.path("file"), Level::Accepted).await.unwrap();
    };
    let (subscribed, ()) = tokio::join!(subscribed, learning);
    (subscribed.unwrap().messages, told)
}

#[tokio::test]
async fn a_subscriber_that_the_node_outran_attaches_again_by_itself() {
    let desk = Desk::new();
    let world = FakeWorld::new("a", 1);
    world.open("words");
    let _node = desk.serve(&world).await;
    let memory = Memory::default();
    let (messages, told) = outrun(&desk, &world, memory.clone(), 12).await;
    assert_eq!((messages, memory.0.lock().unwrap().as_str()), (4, numbers(9..=12).as_str()));
    let [subscribe::Told::Attached(0), subscribe::Told::Reconnects(why), subscribe::Told::Attached(8)] =
        &told[..]
    else {
        panic!("{told:?}")
    };
    assert!(why.contains("more is processed"), "{why}");
}

#[tokio::test]
async fn what_is_processed_already_counts_towards_where_a_subscriber_ends() {
    let desk = Desk::new();
    let world = FakeWorld::new("a", 1);
    world.open("words");
    let _node = desk.serve(&world).await;
    assert_eq!(
        outrun(&desk, &world, Memory::default(), 8).await.0,
        0,
        "all up to there was processed before"
    );
}

#[tokio::test]
async fn a_subscriber_that_keeps_its_position_goes_on_there_when_it_was_outrun() {
    let desk = Desk::new();
    let world = FakeWorld::new("a", 1);
    world.open("words");
    let _node = desk.serve(&world).await;
    std::fs::write(desk.path("file"), numbers(1..=3)).unwrap();
    desk.publish(&desk.path("file"), Level::Accepted).await.unwrap();
    desk.subscribe(desk.sink(), 3).await.unwrap();
    let (messages, _) = outrun(&desk, &world, desk.sink(), 12).await;
    assert_eq!(messages, 9, "its store lacks them, whatever the node has heard");
    assert_eq!(std::fs::read_to_string(desk.path("out")).unwrap(), numbers(1..=12));
}

#[tokio::test]
async fn a_subscriber_that_is_asked_to_stop_leaves_with_all_it_did_acknowledged() {
    let desk = Desk::new();
    let world = FakeWorld::new("a", 1);
    world.open("words");
    let _node = desk.serve(&world).await;
    let file = desk.path("file");
    std::fs::write(&file, numbers(1..=70)).unwrap();
    desk.publish(&file, Level::Accepted).await.unwrap();
    let (ask, stop) = Stop::pair();
    let memory = Memory::default();
    let finder = desk.finder(None);
    let plan = plan(None);
    let subscribed = subscribe::subscribe(&finder, &plan, memory.clone(), stop, |_| {});
    let stopping = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        ask.send(true).unwrap();
    };
    let (summary, ()) = tokio::join!(subscribed, stopping);
    assert_eq!(summary.unwrap().messages, 70);
    assert_eq!((memory.0.lock().unwrap().as_str(), world.processed("words")), (numbers(1..=70).as_str(), 70));
}

#[tokio::test]
async fn what_is_still_waited_for_when_a_node_stops_is_unknown_and_asked_again() {
    let desk = Desk::new();
    let world = FakeWorld::new("a", 1);
    world.open("words");
    world.reaches(Waited::Accepted);
    let node = desk.serve(&world).await;
    let file = desk.path("file");
    std::fs::write(&file, numbers(1..=10)).unwrap();
    let publishing = desk.publish(&file, Level::Completed);
    let restart = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let world = node.kill().await;
        world.reaches(Waited::Completed);
        desk.serve(&world).await
    };
    let (published, _node) = tokio::join!(publishing, restart);
    assert_eq!(published.unwrap().accepted, 10);
    assert_eq!(world.text("words"), numbers(1..=10));
}

#[tokio::test]
async fn a_full_stream_is_waited_for_and_told_about() {
    let desk = Desk::new();
    let world = FakeWorld::new("a", 1);
    world.open("words");
    let _node = desk.serve(&world).await;
    let file = desk.path("file");
    std::fs::write(&file, numbers(1..=500)).unwrap();
    let finder = desk.finder(None);
    let plan = publish::Plan {
        stream: "words".to_owned(),
        tenant: String::new(),
        writer: None,
        wait: Level::Accepted,
        batch_lines: 10,
        patience: Duration::from_secs(5),
        records: desk.path("records"),
        machine: String::new(),
    };
    world.full_for(5);
    let mut route = Grpc::new(&finder);
    let source = Source::open(Some(&file)).unwrap();
    let mut told = Vec::new();
    let summary = publish::publish(&mut route, source, &plan, |what| told.push(what)).await.unwrap();
    assert_eq!(summary.accepted, 500);
    assert_eq!(world.text("words"), numbers(1..=500));
    assert!(matches!(&told[..], [publish::Told::Waits(why)] if why.contains("nearly full")), "{told:?}");
}

#[tokio::test]
async fn agreed_configuration_is_written_read_listed_and_watched() {
    use wattle_proto::api::{
        Consistency, DeleteConfigRequest, GetConfigRequest, ListConfigRequest, SetConfigRequest,
        WatchConfigRequest,
    };
    let desk = Desk::new();
    let world = FakeWorld::new("a", 1);
    let _node = desk.serve(&world).await;
    let finder = desk.finder(None);
    let mut client = Client::connect(finder.only().await.unwrap()).await.unwrap();
    let set = |key: &str, value: &'static [u8], expected_version| SetConfigRequest {
        key: key.into(),
        value: value.into(),
        expected_version,
    };
    let get = |key: &str| GetConfigRequest { key: key.into(), consistency: 0 };
    let mesh = &mut client.mesh;
    let first = mesh.set_config(set("app/k", b"1", Some(0))).await.unwrap().into_inner().version;
    let found = mesh.get_config(get("app/k")).await.unwrap().into_inner();
    assert_eq!(found.record.map(|record| (record.value, record.version)), Some(("1".into(), first)));
    assert_eq!(found.at.unwrap().consistency(), Consistency::Linearizable, "unless asked otherwise");
    assert_eq!(mesh.get_config(get("none")).await.unwrap().into_inner().record, None);

    let refused = mesh.set_config(set("app/k", b"2", Some(first + 9))).await.unwrap_err();
    assert_eq!(refused.code(), Code::Aborted);
    let detail = errors::detail_of(&refused).unwrap();
    assert_eq!((detail.reason(), detail.present_version), (Reason::VersionConflict, Some(first)));
    assert!(!detail.retriable && detail.hint.contains("read it again"));
    let bad = mesh.get_config(GetConfigRequest { key: "k".into(), consistency: 7 }).await.unwrap_err();
    assert_eq!(bad.code(), Code::InvalidArgument);

    mesh.set_config(set("app/m", b"1", None)).await.unwrap();
    let page = |after: &str| ListConfigRequest {
        prefix: "app/".into(),
        after: after.into(),
        limit: 1,
        consistency: 2,
    };
    let listed = mesh.list_config(page("")).await.unwrap().into_inner();
    assert_eq!((listed.records[0].key.as_str(), listed.more), ("app/k", true));
    let listed = mesh.list_config(page("app/k")).await.unwrap().into_inner();
    assert_eq!((listed.records[0].key.as_str(), listed.more), ("app/m", false));
    let gone = DeleteConfigRequest { key: "none".into(), expected_version: None };
    let refused = mesh.delete_config(gone).await.unwrap_err();
    assert_eq!(
        (refused.code(), errors::detail_of(&refused).unwrap().reason()),
        (Code::NotFound, Reason::UnknownKey)
    );

    let (_keep, stop) = Stop::pair();
    let mut told = Vec::new();
    let request = WatchConfigRequest { prefix: "app/".into(), after: None };
    let watched = crate::client::config::watch(&finder, request, stop, |what| {
        told.push(what);
        false
    });
    watched.await.unwrap();
    let [crate::client::config::Told::Part(part)] = &told[..] else { panic!("{told:?}") };
    let keys: Vec<&str> = part.changes.iter().map(|change| change.key.as_str()).collect();
    assert_eq!((part.fresh, keys), (true, vec!["app/k", "app/m"]));
}

#[tokio::test]
async fn a_write_that_nobody_answered_is_not_asked_again_elsewhere() {
    use wattle_proto::api::SetConfigRequest;
    let desk = Desk::new();
    let nodes = [FakeWorld::new("a", 1), FakeWorld::new("b", 2)];
    let _served = (desk.serve(&nodes[0]).await, desk.serve(&nodes[1]).await);
    nodes[0].stop();
    nodes[1].stop();
    let mut asked = 0;
    let request = SetConfigRequest { key: "k".into(), value: "v".into(), expected_version: None };
    let failure = crate::client::config::once(&desk.finder(None), async |client| {
        asked += 1;
        Ok(client.mesh.set_config(request.clone()).await?)
    })
    .await
    .unwrap_err();
    assert_eq!(asked, 1);
    assert!(
        matches!(&failure, Failure::Unreachable(what) if what.contains("may have been done")),
        "{failure}"
    );
}

#[tokio::test]
async fn settings_of_the_mesh_have_names_and_types_of_their_own() {
    use wattle_proto::api::{GetMeshConfigRequest, SetMeshConfigRequest};
    let desk = Desk::new();
    let world = FakeWorld::new("a", 1);
    let _node = desk.serve(&world).await;
    let mut client = Client::connect(desk.finder(None).only().await.unwrap()).await.unwrap();
    let nothing = client.mesh.set_mesh_config(SetMeshConfigRequest::default()).await.unwrap_err();
    assert_eq!(nothing.code(), Code::InvalidArgument);
    let wanted = SetMeshConfigRequest {
        description: Some("greenhouses".into()),
        control_voters: Some(3),
        ..SetMeshConfigRequest::default()
    };
    let version = client.mesh.set_mesh_config(wanted).await.unwrap().into_inner().version;
    let found = client.mesh.get_mesh_config(GetMeshConfigRequest { consistency: 0 }).await.unwrap();
    let config = found.into_inner().config.unwrap();
    assert_eq!((config.version, config.control_voters), (version, Some(3)));
    assert_eq!((config.description.as_str(), config.name.as_str()), ("greenhouses", "fake"));
}

#[tokio::test]
async fn members_go_over_the_api_and_refusals_say_what_is_in_the_way() {
    let desk = Desk::new();
    let world = FakeWorld::new("a", 1);
    let _node = desk.serve(&world).await;
    let peer = desk.finder(None).only().await.unwrap();
    let mut client = Client::connect(peer).await.unwrap();
    let evict = |member: &str| EvictNodeRequest { member: member.to_owned() };
    let evicted = client.mesh.evict_node(evict("b")).await.unwrap().into_inner();
    assert_eq!((NodeId::from_slice(&evicted.node), evicted.epoch), (Some(NodeId(2)), 1));
    let unknown = client.mesh.evict_node(evict("nobody")).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    assert_eq!(errors::detail_of(&unknown).unwrap().reason(), Reason::UnknownNode);
    let refused = client.mesh.leave_mesh(LeaveMeshRequest { force: false }).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    let detail = errors::detail_of(&refused).unwrap();
    assert_eq!((detail.reason(), detail.streams), (Reason::StreamsOpen, vec!["words".to_owned()]));
    client.mesh.leave_mesh(LeaveMeshRequest { force: true }).await.unwrap();
}
