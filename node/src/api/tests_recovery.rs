//! The recovery of a lost quorum over the API.

use tokio::net::TcpListener;
use tonic::transport::Endpoint;
use tonic::{Code, Request, Status};
use wattle_proto::api::mesh_service_client::MeshServiceClient;
use wattle_proto::api::recover_mesh_response::What;
use wattle_proto::api::{Reason, RecoverMeshRequest};

use super::{Api, Token, errors};
use crate::fake::FakeWorld;
use crate::handlers::Configured;

#[tokio::test]
async fn a_recovery_is_planned_done_or_taken_back_and_refusals_have_reasons_of_their_own() {
    let place = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (token, _) = Token::of_directory(place.path()).unwrap();
    let api = Api::serve(listener, FakeWorld::new("a", 1), Configured::default(), &token).unwrap();
    let endpoint = Endpoint::from_shared(format!("http://{}", api.address())).unwrap();
    let client = MeshServiceClient::new(endpoint.connect().await.unwrap());
    let ask = async |request: RecoverMeshRequest| -> Result<Option<What>, Status> {
        let mut request = Request::new(request);
        request.metadata_mut().insert("authorization", token.bearer().parse().unwrap());
        client.clone().recover_mesh(request).await.map(|answer| answer.into_inner().what)
    };
    let request = |lost: &[&str], confirmed, withdraw| RecoverMeshRequest {
        lost: lost.iter().map(|&name| name.to_owned()).collect(),
        confirmed,
        withdraw,
    };
    let planned = ask(request(&["b"], false, false)).await.unwrap();
    let Some(What::Plan(plan)) = planned else { panic!("no plan: {planned:?}") };
    assert_eq!((plan.attempt, plan.next_epoch, plan.last_index, plan.applied), (1, 1, 7, 6));
    assert_eq!((plan.lost[0].name.as_str(), plan.lost[0].voter), ("b", true));
    let done = ask(request(&["b"], true, false)).await.unwrap();
    let Some(What::Recovered(recovered)) = done else { panic!("not recovered: {done:?}") };
    assert_eq!((recovered.before, recovered.epoch, recovered.end), (0, 1, 7));

    let refusals = [
        (request(&["c"], true, false), Code::FailedPrecondition, Reason::QuorumLives),
        (request(&[], false, true), Code::FailedPrecondition, Reason::NothingToWithdraw),
        (request(&["b"], false, true), Code::InvalidArgument, Reason::Invalid),
    ];
    for (request, code, reason) in refusals {
        let refused = ask(request).await.unwrap_err();
        let found = errors::detail_of(&refused).map(|detail| detail.reason());
        assert_eq!((refused.code(), found), (code, Some(reason)), "{refused}");
    }
}
