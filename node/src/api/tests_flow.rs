//! Pausing, throttling and tenants over the API, around a node in memory.

use std::time::Duration;

use tokio::net::TcpListener;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use wattle_proto::api::flow_scope::Which;
use wattle_proto::api::mesh_data_service_client::MeshDataServiceClient;
use wattle_proto::api::publish_response::Answer;
use wattle_proto::api::{
    CloseClientDataStreamRequest, ErrorDetail, FindWriterRequest, FlowScope, OpenClientDataStreamRequest,
    PauseClientDataStreamRequest, PublishRequest, Reason, ResumeClientDataStreamRequest, StreamFlow,
    StreamQos, ThrottleClientDataStreamRequest,
};

use super::{Api, Token, errors};
use crate::fake::FakeWorld;
use crate::handlers::Configured;

struct Desk {
    _place: tempfile::TempDir,
    _api: Api,
    client: MeshDataServiceClient<Channel>,
    bearer: String,
}

fn named(name: &str) -> Option<FlowScope> {
    Some(FlowScope { which: Some(Which::Name(name.to_owned())) })
}

fn refused<T: std::fmt::Debug>(answer: Result<tonic::Response<T>, Status>) -> (Code, Reason, ErrorDetail) {
    let status = answer.unwrap_err();
    let detail = errors::detail_of(&status).expect("a detail");
    (status.code(), detail.reason(), detail)
}

impl Desk {
    async fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let world = FakeWorld::new("a", 1);
        world.open("words");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (token, _) = Token::of_directory(place.path()).unwrap();
        let api = Api::serve(listener, world, Configured::default(), &token).unwrap();
        let endpoint = Endpoint::from_shared(format!("http://{}", api.address())).unwrap();
        let client = MeshDataServiceClient::new(endpoint.connect().await.unwrap());
        Self { _place: place, _api: api, client, bearer: token.bearer() }
    }

    fn with<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("authorization", self.bearer.parse().unwrap());
        request
    }

    async fn pause(&mut self, scope: Option<FlowScope>, tenant: &str) -> Result<StreamFlow, Status> {
        let request = self.with(PauseClientDataStreamRequest { scope, tenant: tenant.to_owned() });
        self.client.pause_client_data_stream(request).await.map(tonic::Response::into_inner)
    }

    async fn publish(&mut self, first: u64, tenant: &str) -> Answer {
        let request = PublishRequest {
            stream: "words".to_owned(),
            writer: bytes::Bytes::from_static(&[7; 16]),
            first,
            messages: vec![bytes::Bytes::from_static(b"x")],
            tenant: tenant.to_owned(),
            ..PublishRequest::default()
        };
        let request = self.with(tokio_stream::iter([request]));
        let mut answers = self.client.publish_client_data(request).await.unwrap().into_inner();
        let answer = tokio::time::timeout(Duration::from_secs(5), answers.message()).await;
        answer.expect("in time").unwrap().expect("an answer").answer.expect("always said")
    }
}

#[tokio::test]
async fn a_paused_stream_refuses_as_back_pressure_does_and_says_what_pauses_it() {
    let mut desk = Desk::new().await;
    assert!(matches!(desk.publish(1, "").await, Answer::Receipt(_)));
    let told = desk.pause(named("words"), "").await.unwrap();
    let rule = told.rule.expect("what it says");
    assert_eq!((rule.scope, told.streams, told.paused), (named("words"), 1, 1));
    assert_eq!(rule.paused.expect("paused").at.as_ref(), [&[0; 15][..], &[1]].concat());
    let Answer::Refused(refusal) = desk.publish(2, "").await else { panic!("it is paused") };
    let detail = refusal.detail.expect("always said");
    assert_eq!((refusal.code, detail.reason()), (Code::ResourceExhausted.into(), Reason::Paused));
    assert!(detail.retriable && detail.paused_by == named("words"), "{detail:?}");
    assert!(refusal.message.contains("`wattle stream resume words`"), "{}", refusal.message);
    let request = desk.with(ResumeClientDataStreamRequest { scope: named("words"), tenant: String::new() });
    let told = desk.client.resume_client_data_stream(request).await.unwrap().into_inner();
    assert_eq!((told.rule.expect("said").paused, told.still), (None, None));
    assert!(matches!(desk.publish(2, "").await, Answer::Receipt(_)));
    for scope in [None, Some(FlowScope::default())] {
        let nothing = desk.pause(scope, "").await.unwrap_err();
        assert_eq!(nothing.code(), Code::InvalidArgument);
    }
    let bad = desk.pause(Some(FlowScope { which: Some(Which::Tenant("not one".to_owned())) }), "").await;
    assert_eq!(bad.unwrap_err().code(), Code::InvalidArgument);
    let unknown = desk.pause(named("none"), "").await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
}

#[tokio::test]
async fn a_throttle_says_its_bound_and_needs_one() {
    let mut desk = Desk::new().await;
    let mut ask = async |messages, bytes, off| {
        let scope = Some(FlowScope { which: Some(Which::PriorityBelow(3)) });
        let request = ThrottleClientDataStreamRequest { scope, messages, bytes, off, tenant: String::new() };
        let request = desk.with(request);
        desk.client.throttle_client_data_stream(request).await
    };
    let rule = ask(10, 0, false).await.unwrap().into_inner().rule.expect("said");
    assert_eq!((rule.messages, rule.bytes, rule.throttled.is_some()), (10, 0, true));
    for (messages, off) in [(0, false), (10, true)] {
        let (code, reason, _) = refused(ask(messages, 0, off).await);
        assert_eq!((code, reason), (Code::InvalidArgument, Reason::Invalid));
    }
    let rule = ask(0, 0, true).await.unwrap().into_inner().rule.expect("said");
    assert_eq!(rule.throttled, None);
}

#[tokio::test]
async fn a_call_for_another_tenant_is_refused_with_a_code_of_its_own() {
    let mut desk = Desk::new().await;
    let find = |tenant: &str| FindWriterRequest {
        stream: "words".to_owned(),
        writer: bytes::Bytes::from_static(&[7; 16]),
        tenant: tenant.to_owned(),
    };
    let request = desk.with(find("acme"));
    let wrong = (Code::FailedPrecondition, Reason::WrongTenant);
    let (code, reason, _) = refused(desk.client.find_writer(request).await);
    assert_eq!((code, reason), wrong);
    let request = desk.with(CloseClientDataStreamRequest { name: "words".into(), tenant: "acme".into() });
    let (code, reason, _) = refused(desk.client.close_client_data_stream(request).await);
    assert_eq!((code, reason), wrong);
    let paused = desk.pause(named("words"), "acme").await.unwrap_err();
    assert_eq!(errors::detail_of(&paused).expect("said").reason(), Reason::WrongTenant);
    let Answer::Refused(refusal) = desk.publish(1, "acme").await else { panic!("it is another's") };
    assert_eq!(refusal.detail.expect("said").reason(), Reason::WrongTenant);
    assert!(matches!(desk.publish(1, "default").await, Answer::Receipt(_)));
    let request = desk.with(find("default"));
    assert_eq!(desk.client.find_writer(request).await.unwrap().into_inner().next, 2);
    let open = OpenClientDataStreamRequest {
        name: "more".to_owned(),
        source: "a".to_owned(),
        targets: vec!["b".to_owned()],
        qos: StreamQos::System.into(),
        ..OpenClientDataStreamRequest::default()
    };
    let request = desk.with(open);
    let (code, reason, _) = refused(desk.client.open_client_data_stream(request).await);
    assert_eq!((code, reason), (Code::InvalidArgument, Reason::Invalid));
}
