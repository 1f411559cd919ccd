//! The recovery of a mesh that lost its quorum, on the wire.

use bytes::Bytes;
use tonic::{Code, Status};
use wattle_core::node::command::{Command, Reply};
use wattle_core::recovery::{
    Named, RecoverCommand, RecoverRefusal, RecoverReply, Recovered, RecoveryPlan, RecoveryStatus,
};
use wattle_proto::api;
use wattle_proto::api::recover_mesh_response::What;
use wattle_proto::api::{Reason, RecoverMeshRequest, RecoverMeshResponse};

use super::mesh::{ask, out_of_place};
use super::{convert, errors};
use crate::world::World;

/// Serves one call.
pub(super) async fn recover<W: World>(
    world: &W,
    request: RecoverMeshRequest,
) -> Result<RecoverMeshResponse, Status> {
    let RecoverMeshRequest { lost, confirmed, withdraw } = request;
    if withdraw && (confirmed || !lost.is_empty()) {
        return Err(errors::invalid("a recovery is either ordered or taken back, not both"));
    }
    let command = match (withdraw, confirmed) {
        (true, _) => RecoverCommand::Withdraw,
        (false, true) => RecoverCommand::Recover { lost },
        (false, false) => RecoverCommand::Plan { lost },
    };
    let what = match ask(world, Command::Recover(command)).await? {
        Reply::Recovery(RecoverReply::Plan(plan)) => What::Plan(plan_out(plan)),
        Reply::Recovery(RecoverReply::Recovered(recovered)) => What::Recovered(recovered_out(&recovered)),
        Reply::Recovery(RecoverReply::Withdrawn { attempt }) => What::Withdrawn(attempt),
        other => return Err(out_of_place(&other)),
    };
    Ok(RecoverMeshResponse { what: Some(what) })
}

/// What a refusal is called on the wire.
pub(super) const fn classify(refusal: &RecoverRefusal) -> (Code, Reason, &'static str) {
    match refusal {
        RecoverRefusal::NobodyLost | RecoverRefusal::SelfLost(_) => {
            (Code::InvalidArgument, Reason::Invalid, "`wattle status` shows who cannot be reached")
        }
        RecoverRefusal::Quorum { .. } => (Code::FailedPrecondition, Reason::QuorumLives, ""),
        RecoverRefusal::LostReachable(_) => (Code::FailedPrecondition, Reason::LostReachable, ""),
        RecoverRefusal::Missing { .. } => {
            (Code::FailedPrecondition, Reason::SurvivorMissing, "`wattle status` shows who cannot be reached")
        }
        RecoverRefusal::Strangers { .. } => (Code::FailedPrecondition, Reason::SurvivorMissing, ""),
        RecoverRefusal::NotReady(_) => (Code::FailedPrecondition, Reason::NotReady, ""),
        RecoverRefusal::UnderWay { .. } => (Code::Aborted, Reason::RecoveryUnderWay, ""),
        RecoverRefusal::Declined { .. } => (Code::FailedPrecondition, Reason::RecoveryDeclined, ""),
        RecoverRefusal::Unfinished { .. } => (
            Code::DeadlineExceeded,
            Reason::RecoveryUnfinished,
            "`wattle status` at each survivor shows what it takes part in",
        ),
        RecoverRefusal::NothingToWithdraw => (Code::FailedPrecondition, Reason::NothingToWithdraw, ""),
    }
}

fn named(named: Named) -> api::NamedMember {
    let Named { node, name, voter } = named;
    api::NamedMember { node: convert::node(node), name, voter }
}

fn plan_out(plan: RecoveryPlan) -> api::RecoveryPlan {
    api::RecoveryPlan {
        attempt: plan.attempt,
        epoch: plan.epoch.number,
        epoch_digest: Bytes::copy_from_slice(&plan.epoch.digest.0),
        next_epoch: plan.next,
        last_index: plan.last.0,
        last_term: plan.term.0,
        applied: plan.applied.0,
        lost: plan.lost.into_iter().map(named).collect(),
        survivors: plan.survivors.into_iter().map(named).collect(),
        voters: plan.voters,
    }
}

fn recovered_out(recovered: &Recovered) -> api::MeshRecovery {
    let lost = |(node, name): &(_, String)| api::NamedMember {
        node: convert::node(*node),
        name: name.clone(),
        voter: false,
    };
    api::MeshRecovery {
        attempt: recovered.attempt,
        before: recovered.before.number,
        before_digest: Bytes::copy_from_slice(&recovered.before.digest.0),
        epoch: recovered.number,
        founder: convert::node(recovered.founder),
        end: recovered.end.0,
        asked_at: convert::node(recovered.asked_at),
        time: recovered.time.0,
        lost: recovered.lost.iter().map(lost).collect(),
    }
}

/// What a node knows of recoveries; nothing if there was none.
pub(super) fn status(status: RecoveryStatus) -> Option<api::RecoveryStatus> {
    let RecoveryStatus { fenced, last, rival } = status;
    let fenced = fenced.map(|fenced| api::FencedRecovery {
        attempt: fenced.attempt,
        asked_at: convert::node(fenced.asked_at),
        withdraws: fenced.withdraws,
        lost: fenced.lost.into_iter().map(convert::node).collect(),
    });
    let any = fenced.is_some() || last.is_some() || rival.is_some();
    any.then(|| api::RecoveryStatus { fenced, last: last.as_ref().map(recovered_out), rival })
}
