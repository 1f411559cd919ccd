//! Updates over the API, around a real node that is a mesh by itself.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Streaming};
use wattle_core::node::command::{Command, Reply};
use wattle_io::{Running, Settings};
use wattle_proto::api::mesh_data_service_client::MeshDataServiceClient;
use wattle_proto::api::mesh_service_client::MeshServiceClient;
use wattle_proto::api::subscribe_updates_request::Request as Said;
use wattle_proto::api::subscribe_updates_response::Response as Answer;
use wattle_proto::api::update_item::Item;
use wattle_proto::api::{
    AcknowledgeUpdates, AttachUpdates, FindUpdateRequest, GetMeshStatusRequest, NodeDescription, Reason,
    SendUpdateRequest, SetUpdatePolicyRequest, SubscribeNodeUpdatesRequest, SubscribeUpdatesRequest,
    SubscribeUpdatesResponse, UpdateKind, UpdateState,
};

use super::{Api, Token, errors};
use crate::handlers::Configured;

/// A node that is a mesh by itself, and its API.
struct Alone {
    _place: tempfile::TempDir,
    running: Running,
    _api: Api,
    channel: Channel,
    bearer: String,
    ids: AtomicU64,
}

/// A handler's call.
struct Handler {
    says: mpsc::Sender<SubscribeUpdatesRequest>,
    hears: Streaming<SubscribeUpdatesResponse>,
    after: u64,
}

impl Alone {
    async fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let settings = Settings {
            name: Some("a".to_owned()),
            listen: vec!["127.0.0.1:0".to_owned()],
            reserve_bytes: 1 << 20,
            ..Settings::new(place.path())
        };
        let running = Running::start(settings).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (token, _) = Token::of_directory(place.path()).unwrap();
        let api = Api::serve(listener, running.clone(), Configured::default(), &token).unwrap();
        let endpoint = Endpoint::from_shared(format!("http://{}", api.address())).unwrap();
        let channel = endpoint.connect().await.unwrap();
        let bearer = token.bearer();
        Self { _place: place, running, _api: api, channel, bearer, ids: AtomicU64::new(1) }
    }

    async fn seeded() -> Self {
        let alone = Self::new().await;
        let reply = alone.running.command(Command::Seed { name: "willow".to_owned() }).next().await;
        assert!(matches!(reply, Some(Ok(Reply::Seeded { .. }))), "{reply:?}");
        alone
    }

    fn with_token<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("authorization", self.bearer.parse().unwrap());
        request
    }

    fn update(&self, payload: &[u8]) -> SendUpdateRequest {
        let id = u128::from(self.ids.fetch_add(1, Ordering::Relaxed)).to_be_bytes().to_vec().into();
        SendUpdateRequest {
            key: "row".to_owned(),
            payload: payload.to_vec().into(),
            id,
            ..Default::default()
        }
    }

    fn mesh(&self) -> MeshServiceClient<Channel> {
        MeshServiceClient::new(self.channel.clone())
    }

    async fn attach(&self, window: u32) -> Handler {
        let (says, outgoing) = mpsc::channel(64);
        let attach = SubscribeUpdatesRequest { request: Some(Said::Attach(AttachUpdates { window })) };
        says.send(attach).await.unwrap();
        let call = self.with_token(ReceiverStream::new(outgoing));
        let mut client = MeshDataServiceClient::new(self.channel.clone());
        let mut hears = client.subscribe_mesh_updates(call).await.unwrap().into_inner();
        let Some(Answer::Attached(attached)) = hears.message().await.unwrap().unwrap().response else {
            panic!("the first response tells the place")
        };
        Handler { says, hears, after: attached.after }
    }
}

impl Handler {
    async fn next(&mut self) -> Vec<(u64, Vec<u8>)> {
        let Some(Answer::Updates(batch)) = self.hears.message().await.unwrap().unwrap().response else {
            panic!("the others hand over")
        };
        let read = |item: wattle_proto::api::UpdateItem| match item.item {
            Some(Item::Update(update)) => (update.number, update.payload.to_vec()),
            other => panic!("{other:?}"),
        };
        batch.items.into_iter().map(read).collect()
    }

    async fn acknowledge(&self, upto: u64) {
        let request = Some(Said::Acknowledge(AcknowledgeUpdates { upto }));
        self.says.send(SubscribeUpdatesRequest { request }).await.unwrap();
    }

    async fn end(mut self) -> tonic::Status {
        loop {
            if let Err(status) = self.hears.message().await {
                return status;
            }
        }
    }
}

#[tokio::test]
async fn updates_are_numbered_handed_over_and_the_place_is_kept() {
    let alone = Alone::seeded().await;
    let first = alone.update(b"one");
    let sent = alone.mesh().send_mesh_update(alone.with_token(first.clone())).await.unwrap().into_inner();
    assert_eq!((sent.state(), sent.number, sent.repeated), (UpdateState::Committed, 1, false));
    assert_eq!(sent.id, first.id);
    let again = alone.mesh().send_system_update(alone.with_token(first)).await.unwrap().into_inner();
    assert_eq!((again.number, again.repeated), (1, true), "the same under its other name");
    let other = alone.update(b"row");
    let other = alone.mesh().send_internal_db_update(alone.with_token(other)).await.unwrap().into_inner();
    assert_eq!(other.number, 1, "a sequence of its own");
    alone.mesh().send_mesh_update(alone.with_token(alone.update(b"two"))).await.unwrap();

    let mut handler = alone.attach(1).await;
    assert_eq!((handler.after, handler.next().await), (0, vec![(1, b"one".to_vec())]));
    handler.acknowledge(1).await;
    assert_eq!(handler.next().await, [(2, b"two".to_vec())]);
    let newer = alone.attach(8).await;
    assert_eq!(newer.after, 1);
    let fenced = handler.end().await;
    assert_eq!(errors::detail_of(&fenced).unwrap().reason(), Reason::Fenced);
    let status = alone.mesh().get_mesh_status(alone.with_token(GetMeshStatusRequest {})).await.unwrap();
    let status = &status.into_inner().updates[0];
    assert_eq!((status.last, status.processed, status.handler.is_some()), (2, 1, true));
    assert_eq!(status.lagging[0].name, "a");
    newer.acknowledge(9).await;
    let never = newer.end().await;
    assert_eq!(errors::detail_of(&never).unwrap().reason(), Reason::NotHandedOver);
}

#[tokio::test]
async fn a_ticket_tells_the_fate_of_an_update_nobody_waited_for() {
    let alone = Alone::seeded().await;
    let request = SendUpdateRequest { no_wait: true, ..alone.update(b"later") };
    let ticket = alone.mesh().send_internal_db_update(alone.with_token(request)).await.unwrap().into_inner();
    assert_eq!(ticket.state(), UpdateState::Pending);
    let find = |id: bytes::Bytes| FindUpdateRequest { kind: UpdateKind::Database.into(), id };
    let fate = async |id: bytes::Bytes| {
        alone.mesh().find_update(alone.with_token(find(id))).await.unwrap().into_inner()
    };
    while fate(ticket.id.clone()).await.state() == UpdateState::Pending {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let found = fate(ticket.id).await;
    assert_eq!((found.state(), found.number), (UpdateState::Committed, 1));
    assert_eq!(fate(vec![9; 16].into()).await.state(), UpdateState::Unknown);
    let bad = alone.mesh().find_update(alone.with_token(find(vec![9; 3].into()))).await.unwrap_err();
    assert_eq!((bad.code(), bad.message()), (Code::InvalidArgument, "an update's id has 16 bytes"));
    let request = FindUpdateRequest { kind: 77, id: vec![9; 16].into() };
    let bad = alone.mesh().find_update(alone.with_token(request)).await.unwrap_err();
    assert_eq!(bad.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn what_is_refused_says_why_and_what_to_do() {
    let alone = Alone::new().await;
    let outside = alone.mesh().send_mesh_update(alone.with_token(alone.update(b"x"))).await.unwrap_err();
    assert_eq!(outside.code(), Code::FailedPrecondition);
    assert_eq!(errors::detail_of(&outside).unwrap().reason(), Reason::NotMember);
    let alone = Alone::seeded().await;
    let large = alone.update(&vec![7; (32 << 10) + 1]);
    let refused = alone.mesh().send_mesh_update(alone.with_token(large)).await.unwrap_err();
    let detail = errors::detail_of(&refused).unwrap();
    assert_eq!((refused.code(), detail.reason()), (Code::InvalidArgument, Reason::TooLarge));
    assert_eq!(detail.limit_bytes, Some(32 << 10));
    let full = loop {
        let request = alone.with_token(alone.update(&vec![7; 32 << 10]));
        if let Err(status) = alone.mesh().send_mesh_update(request).await {
            break status;
        }
    };
    let detail = errors::detail_of(&full).unwrap();
    assert_eq!((full.code(), detail.reason()), (Code::ResourceExhausted, Reason::UpdatesFull));
    assert!(detail.retriable && detail.lagging_count == Some(1) && detail.lagging[0].name == "a");
    let policy = SetUpdatePolicyRequest { kind: UpdateKind::Mesh.into(), pass_over: true };
    alone.mesh().set_update_policy(alone.with_token(policy)).await.unwrap();
    let request = alone.with_token(alone.update(&vec![7; 32 << 10]));
    assert_eq!(alone.mesh().send_mesh_update(request).await.unwrap().into_inner().number, 6);
    let mut handler = alone.attach(8).await;
    let Some(Answer::Updates(batch)) = handler.hears.message().await.unwrap().unwrap().response else {
        panic!("nothing was handed over")
    };
    assert!(matches!(&batch.items[0].item, Some(Item::Gap(gap)) if (gap.first, gap.last) == (1, 1)));
}

#[tokio::test]
async fn a_node_says_what_it_is_and_whoever_subscribes_is_told_the_latest() {
    let alone = Alone::seeded().await;
    let mut client = MeshDataServiceClient::new(alone.channel.clone());
    let call = alone.with_token(SubscribeNodeUpdatesRequest {});
    let mut updates = client.subscribe_node_updates(call).await.unwrap().into_inner();
    let first = updates.message().await.unwrap().unwrap();
    assert_eq!((first.name.as_str(), first.description), ("a", None));
    let says = NodeDescription {
        status: "draining".to_owned(),
        roles: vec!["function".to_owned()],
        attributes: [("rack".to_owned(), "7".to_owned())].into(),
        ..NodeDescription::default()
    };
    let sent = alone.mesh().send_node_update(alone.with_token(says.clone())).await.unwrap().into_inner();
    assert_eq!((sent.state(), sent.number), (UpdateState::Committed, 1));
    let update = updates.message().await.unwrap().unwrap();
    assert_eq!((update.description.as_ref(), update.counter), (Some(&says), 1));
    let status = alone.mesh().get_mesh_status(alone.with_token(GetMeshStatusRequest {})).await.unwrap();
    assert_eq!(status.into_inner().members[0].description.as_ref(), Some(&says));
    let long = NodeDescription { status: "x".repeat(2_000), ..NodeDescription::default() };
    let refused = alone.mesh().send_node_update(alone.with_token(long)).await.unwrap_err();
    let detail = errors::detail_of(&refused).unwrap();
    assert_eq!((detail.reason(), detail.limit_bytes), (Reason::TooLarge, Some(1_024)));
}
