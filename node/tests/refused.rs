//! Bad input to real nodes: each refusal comes with its gRPC code and, in the form of google.rpc, with what programs and people need to know of
//! it, and leaves everything as it was.
//!
//! `cargo test -p wattle-node --test refused -- --nocapture` prints them.

mod common;

use std::time::Duration;

use common::{Data, Mesh, Process};
use prost::Message as _;
use tonic::{Code, Response, Status};
use wattle_proto::api::publish_response::Answer;
use wattle_proto::api::{
    Acknowledge, Attach, ErrorDetail, EvictNodeRequest, GetMeshConfigRequest, GetMeshConfigResponse,
    GetMeshStatusRequest, InviteToMeshRequest, JoinMeshRequest, Level, ListConfigRequest, Position,
    PublishRequest, Reason, RotateJoinKeyRequest, SendUpdateRequest, SetConfigRequest, SetMeshConfigRequest,
    SubscribeRequest, subscribe_request,
};

/// `google.rpc.Status`, as its own definition has it.
#[derive(Clone, PartialEq, prost::Message)]
struct RichStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, prost::Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// What the mesh agreed on, whoever is asked.
#[derive(Clone, Debug, PartialEq)]
struct Agreed {
    keys: Vec<(String, Vec<u8>, u64)>,
    settings: GetMeshConfigResponse,
    members: Vec<String>,
    epoch: u64,
    updates: Vec<u64>,
}

async fn agreed(mesh: &mut Mesh) -> Agreed {
    let listed = mesh.list_config(ListConfigRequest::default()).await.expect("listed").into_inner();
    let keys = listed.records.into_iter().map(|record| (record.key, record.value.into(), record.version));
    let settings =
        mesh.get_mesh_config(GetMeshConfigRequest::default()).await.expect("settings").into_inner();
    let status = mesh.get_mesh_status(GetMeshStatusRequest {}).await.expect("a status").into_inner();
    let mut members: Vec<String> = status.members.into_iter().map(|member| member.name).collect();
    members.sort();
    Agreed {
        keys: keys.collect(),
        settings: GetMeshConfigResponse { at: None, ..settings },
        members,
        epoch: status.epoch,
        updates: status.updates.iter().map(|updates| updates.last).collect(),
    }
}

fn read<T>(what: &str, answer: Result<Response<T>, Status>) -> (Code, ErrorDetail) {
    let Err(status) = answer else { panic!("{what}: it was not refused") };
    read_status(what, &status)
}

fn read_status(what: &str, status: &Status) -> (Code, ErrorDetail) {
    let rich = RichStatus::decode(status.details()).expect("a google.rpc.Status");
    assert_eq!((rich.code, rich.message.as_str()), (i32::from(status.code()), status.message()), "{what}");
    let [any] = &rich.details[..] else { panic!("{what}: {:?}", rich.details) };
    assert_eq!(any.type_url, "type.googleapis.com/wattle.api.v1.ErrorDetail", "{what}");
    let detail = ErrorDetail::decode(&any.value[..]).expect("a detail");
    let reason = detail.reason().as_str_name();
    println!("{what}\n    {:?}, {reason}: {}", status.code(), status.message());
    if !detail.hint.is_empty() {
        println!("    hint: {}", detail.hint);
    }
    assert!(!status.message().is_empty() && !detail.retriable, "{what}");
    (status.code(), detail)
}

/// A member, what was agreed on before, and one who would join.
struct Desk {
    member: Mesh,
    before: Agreed,
    stranger: Mesh,
}

impl Desk {
    /// What is agreed on now shall stay so.
    async fn note(&mut self) {
        self.before = agreed(&mut self.member).await;
    }

    /// Nothing came of what was refused, at the member or at the stranger.
    async fn nothing_came_of(&mut self, what: &str) {
        assert_eq!(agreed(&mut self.member).await, self.before, "{what}");
        let status =
            self.stranger.get_mesh_status(GetMeshStatusRequest {}).await.expect("a status").into_inner();
        assert!(status.mesh.is_none() && status.members.is_empty(), "{what}: {status:?}");
    }

    async fn no_join(&mut self, what: &str, text: &str, code: Code, reason: Reason) {
        let answer = self.stranger.join_mesh(JoinMeshRequest { token: text.to_owned() }).await;
        let (got, detail) = read(what, answer);
        assert_eq!((got, detail.reason()), (code, reason), "{what}");
        assert!(!detail.hint.is_empty(), "{what}: what can be done");
        self.nothing_came_of(what).await;
    }

    async fn rotate(&mut self, lifetime_seconds: Option<u64>, uses: Option<u32>) -> String {
        let rotated = self.member.rotate_join_key(RotateJoinKeyRequest { lifetime_seconds, uses }).await;
        rotated.expect("a key").into_inner().text
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_comes_of_a_join_with_a_key_that_is_wrong_expired_or_used_up() {
    let root = tempfile::tempdir().expect("a directory");
    let [a, b, _c] = common::line(root.path(), "").await;
    let d = Process::start(root.path(), "d", true, &[b.mesh_address], "");
    let e = Process::start(root.path(), "e", true, &[b.mesh_address], "");
    let (mut member, stranger) = (a.ready().await, e.ready().await);
    let before = agreed(&mut member).await;
    let mut desk = Desk { member, before, stranger };

    let token = desk.member.invite_to_mesh(InviteToMeshRequest {}).await.expect("a token").into_inner().token;
    let (head, last) = token.split_at(token.len() - 1);
    let slipped = format!("{head}{}", if last == "0" { "1" } else { "0" });
    desk.no_join("a token with a slip of the pen", &slipped, Code::InvalidArgument, Reason::BadToken).await;

    let first = desk.rotate(None, Some(1)).await;
    let mut at_d = d.ready().await;
    at_d.join_mesh(JoinMeshRequest { token: first.clone() }).await.expect("the first joins");
    desk.note().await;
    desk.no_join("a key that is used up", &first, Code::ResourceExhausted, Reason::JoinKeyExhausted).await;

    let second = desk.rotate(Some(1), None).await;
    desk.note().await;
    desk.no_join("a key that was replaced", &first, Code::PermissionDenied, Reason::JoinKeyWrong).await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    desk.no_join("a key that expired", &second, Code::FailedPrecondition, Reason::JoinKeyExpired).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_comes_of_updates_evictions_and_values_that_are_refused() {
    let root = tempfile::tempdir().expect("a directory");
    let [a, _b, _c] = common::line(root.path(), "").await;
    let e = Process::start(root.path(), "e", true, &[a.mesh_address], "");
    let (mut member, stranger) = (a.ready().await, e.ready().await);
    let set = |key: &str, value: &[u8]| SetConfigRequest {
        key: key.into(),
        value: value.to_vec().into(),
        expected_version: None,
    };
    member.set_config(set("app/kept", b"1")).await.expect("written");
    let before = agreed(&mut member).await;
    let mut desk = Desk { member, before, stranger };

    for (what, payload, key, limit) in [
        ("a mesh update with a byte too many", vec![7; (32 << 10) + 1], "k".to_owned(), 32 << 10),
        ("a mesh update with a key that is too long", b"x".to_vec(), "k".repeat(129), 128),
    ] {
        let update = SendUpdateRequest { key, payload: payload.into(), ..SendUpdateRequest::default() };
        let (code, detail) = read(what, desk.member.send_mesh_update(update).await);
        assert_eq!((code, detail.reason()), (Code::InvalidArgument, Reason::TooLarge), "{what}");
        assert_eq!(detail.limit_bytes, Some(limit), "{what}");
        desk.nothing_came_of(what).await;
    }

    for (what, name) in [("an eviction of nobody", "nobody"), ("an eviction of one that is no member", "e")] {
        let evict = EvictNodeRequest { member: name.into() };
        let (code, detail) = read(what, desk.member.evict_node(evict).await);
        assert_eq!((code, detail.reason()), (Code::NotFound, Reason::UnknownNode), "{what}");
        desk.nothing_came_of(what).await;
    }

    let large = vec![b'x'; (64 << 10) + 1];
    for (what, request, reason) in [
        ("a value that its handler refuses", set("wattle/mesh/voters", b"4"), Reason::ValueRefused),
        ("a setting that nobody knows", set("wattle/mesh/other", b"1"), Reason::ValueRefused),
        ("a key with a space", set("app/ kept", b"2"), Reason::BadKey),
        ("a value with a byte too many", set("app/kept", &large), Reason::ValueTooLarge),
    ] {
        let (code, detail) = read(what, desk.member.set_config(request).await);
        assert_eq!((code, detail.reason()), (Code::InvalidArgument, reason), "{what}");
        desk.nothing_came_of(what).await;
    }
    let what = "settings of which one is refused";
    let settings = SetMeshConfigRequest {
        name: Some("other".into()),
        control_voters: Some(4),
        ..SetMeshConfigRequest::default()
    };
    let (code, detail) = read(what, desk.member.set_mesh_config(settings).await);
    assert_eq!((code, detail.reason()), (Code::InvalidArgument, Reason::ValueRefused));
    desk.nothing_came_of(what).await;
}

/// One request to publish, and what is answered.
async fn publish(source: &mut Data, stream: &str, first: u64, messages: &[&[u8]]) -> Answer {
    let request = PublishRequest {
        stream: stream.into(),
        writer: vec![7; 16].into(),
        first,
        messages: messages.iter().map(|message| message.to_vec().into()).collect(),
        wait: Level::Accepted.into(),
        ..PublishRequest::default()
    };
    let answers = source.publish_client_data(tokio_stream::iter([request])).await.expect("a call");
    let answer = answers.into_inner().message().await.expect("an answer").expect("one for the request");
    answer.answer.expect("always said")
}

/// What ends a call of a handler that attaches so, and acknowledges up to there.
async fn handled(target: &mut Data, attach: Attach, acknowledged: u64) -> Status {
    let attach = subscribe_request::Request::Attach(attach);
    let acknowledge = subscribe_request::Request::Acknowledge(Acknowledge { first: 0, last: acknowledged });
    let requests = [attach, acknowledge].map(|request| SubscribeRequest { request: Some(request) });
    let requests = tokio_stream::StreamExt::chain(tokio_stream::iter(requests), tokio_stream::pending());
    let mut responses = target.subscribe_client_data(requests).await.expect("a call").into_inner();
    loop {
        match responses.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it ended without a word"),
            Err(status) => return status,
        }
    }
}

/// How far the stream is, at its source: accepted, processed, completed.
async fn standing(mesh: &mut Mesh) -> [u64; 3] {
    let status = mesh.get_mesh_status(GetMeshStatusRequest {}).await.expect("a status").into_inner();
    let stream = status.streams.into_iter().find(|stream| stream.name == "words").expect("it is open");
    [stream.accepted, stream.processed, stream.completed]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_comes_of_messages_acknowledgements_and_positions_that_are_refused() {
    let root = tempfile::tempdir().expect("a directory");
    let [a, _b, c] = common::line(root.path(), "").await;
    let (mut mesh, mut source) = (a.ready().await, a.data().await.expect("a answers"));
    let mut target = c.data().await.expect("c answers");
    let Answer::Receipt(receipt) = publish(&mut source, "words", 1, &[b"one", b"two"]).await else {
        panic!("it is accepted")
    };
    assert_eq!((receipt.first, receipt.last, receipt.duplicate), (1, 2, false));
    let handler = common::Handler::attach(c.data().await.expect("c answers"), 8).await;
    let begins = handler.position.clone();
    drop(handler);
    let before = standing(&mut mesh).await;
    assert_eq!(before, [2, 0, 0]);

    let large = vec![0; (1 << 20) + 1];
    for (what, stream, first, message, code, reason) in [
        (
            "messages of a stream that nobody opened",
            "wrods",
            3,
            &b"x"[..],
            Code::NotFound,
            Reason::UnknownStream,
        ),
        ("a message with a byte too many", "words", 3, &large[..], Code::InvalidArgument, Reason::TooLarge),
        ("a writer that leaves a gap", "words", 4, &b"x"[..], Code::OutOfRange, Reason::WriterGap),
    ] {
        let Answer::Refused(refused) = publish(&mut source, stream, first, &[message]).await else {
            panic!("{what}: it was not refused")
        };
        let detail = refused.detail.expect("a detail");
        println!("{what}\n    {:?}: {}", detail.reason(), refused.message);
        assert_eq!((refused.code, detail.reason()), (i32::from(code), reason), "{what}");
        assert_eq!(standing(&mut mesh).await, before, "{what}");
    }
    // A writer that goes back repeats what it sent: it is told what became of that, and nothing is there twice.
    let Answer::Receipt(again) = publish(&mut source, "words", 1, &[b"one", b"two"]).await else {
        panic!("it is there already")
    };
    assert_eq!((again.first, again.last, again.duplicate), (1, 2, true));
    assert_eq!(standing(&mut mesh).await, before);

    let words = |presented| Attach { stream: "words".into(), presented, window: 8, ..Attach::default() };
    let other_life = Position { instance: vec![9; 16].into(), ..begins.clone() };
    let later_authority = Position { authority: 9, sequence: 1, ..begins.clone() };
    let above = Position { sequence: 99, ..begins.clone() };
    for (what, attach, acknowledged, reason) in [
        ("a position of another life of the stream", words(Some(other_life)), 0, Reason::ForeignPosition),
        (
            "a position of an authority that nobody had",
            words(Some(later_authority)),
            0,
            Reason::ForeignPosition,
        ),
        ("a position above all there is", words(Some(above)), 0, Reason::ForeignPosition),
        ("an acknowledgement of what was never handed over", words(None), 7, Reason::NotHandedOver),
    ] {
        let (_, detail) = read_status(what, &handled(&mut target, attach, acknowledged).await);
        assert_eq!(detail.reason(), reason, "{what}");
        assert_eq!(standing(&mut mesh).await, before, "{what}");
    }

    // What is let go cannot be had again: a store that was restored from an older copy is told how far it is behind.
    let mut handler = common::Handler::attach(c.data().await.expect("c answers"), 8).await;
    let mut last = 0;
    while last < 2 {
        last = handler.next().await.expect("messages").last().map_or(0, |message| message.sequence);
    }
    assert!(handler.acknowledge(2).await);
    let mut at_c = c.ready().await;
    let let_go = async {
        while standing(&mut at_c).await != [2, 2, 2] {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        drop(handler);
        // A tenth of a second after the target knows that all is processed, it lets go of it.
        tokio::time::sleep(Duration::from_secs(1)).await;
    };
    tokio::time::timeout(Duration::from_secs(60), let_go)
        .await
        .expect("all is processed, and the target knows");
    let what = "a position of a store that was restored";
    let older = words(Some(Position { sequence: 1, ..begins }));
    let answer = tokio::time::timeout(Duration::from_secs(10), handled(&mut target, older, 0)).await;
    let (_, detail) = read_status(what, &answer.expect("it is refused"));
    assert_eq!(detail.reason(), Reason::NotKept);
    assert_eq!(standing(&mut mesh).await, [2, 2, 2]);
}
