//! Stopping and starting the mesh over the API, around a node in memory.

use tokio::net::TcpListener;
use tonic::transport::Endpoint;
use tonic::{Code, Request, Status};
use wattle_proto::api::mesh_service_client::MeshServiceClient;
use wattle_proto::api::{
    GetMeshStatusRequest, MeshActivity, MeshStatus, Reason, StartMeshRequest, StopMeshRequest,
};

use super::{Api, Token, errors};
use crate::fake::FakeWorld;
use crate::handlers::Configured;

fn activity(answer: Result<tonic::Response<MeshStatus>, Status>) -> MeshActivity {
    answer.expect("answered").into_inner().activity()
}

#[tokio::test]
async fn stopping_and_starting_answer_with_what_the_node_is_then() {
    let place = tempfile::tempdir().unwrap();
    let world = FakeWorld::new("a", 1);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (token, _) = Token::of_directory(place.path()).unwrap();
    let api = Api::serve(listener, world.clone(), Configured::default(), &token).unwrap();
    let endpoint = Endpoint::from_shared(format!("http://{}", api.address())).unwrap();
    let mut client = MeshServiceClient::new(endpoint.connect().await.unwrap());
    let bearer = token.bearer();
    fn with<T>(message: T, bearer: &str) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("authorization", bearer.parse().unwrap());
        request
    }
    for _ in 0..2 {
        let stopped = client.stop_mesh(with(StopMeshRequest {}, &bearer)).await;
        assert_eq!(activity(stopped), MeshActivity::Stopped);
    }
    let status = client.get_mesh_status(with(GetMeshStatusRequest {}, &bearer)).await;
    assert_eq!(activity(status), MeshActivity::Stopped);
    let open = wattle_core::node::command::Command::OpenStream {
        name: "words".into(),
        source: "a".into(),
        targets: vec!["b".into()],
        terms: wattle_core::ends::Terms::default(),
    };
    let refused = super::mesh::ask(&world, open).await.unwrap_err();
    let detail = errors::detail_of(&refused).unwrap();
    assert_eq!((refused.code(), detail.reason()), (Code::FailedPrecondition, Reason::MeshStopped));
    assert!(detail.retriable && detail.hint.contains("wattle mesh start"), "{}", detail.hint);
    for _ in 0..2 {
        let started = client.start_mesh(with(StartMeshRequest {}, &bearer)).await;
        assert_eq!(activity(started), MeshActivity::Running);
    }
    api.stop().await;
}
