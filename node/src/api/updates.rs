//! Updates to all members: sending them, asking for their fate, and handlers of them.

use tonic::{Status, Streaming};
use wattle_core::id::{Sequence, UpdateId, UpdateNumber};
use wattle_core::node::command::{Command, Reply};
use wattle_core::update::{self as core, UpdateCommand, UpdateFate, UpdateKind, UpdateReply};
use wattle_proto::api::subscribe_updates_request::Request;
use wattle_proto::api::subscribe_updates_response::Response;
use wattle_proto::api::update_item::Item;
use wattle_proto::api::{
    self, AcknowledgeUpdates, BroadcastResult, FindUpdateRequest, SendUpdateRequest, SetUpdatePolicyRequest,
    SetUpdatePolicyResponse, SubscribeUpdatesRequest, SubscribeUpdatesResponse, UpdateBatch, UpdateGap,
    UpdateItem, UpdateLag, UpdateState, UpdateStatus, UpdatesAttached,
};

use super::data::{Answers, Sender, answers};
use super::mesh::{ask, out_of_place as answered_else};
use super::{convert, errors};
use crate::world::{Handed, Handler, World};

/// Responses that are ready and not yet written. What waits in them is bounded by what the mesh keeps.
const RESPONSES_QUEUED: usize = 16;

/// Sends an update.
pub(super) async fn send<W: World>(
    world: &W,
    kind: UpdateKind,
    request: SendUpdateRequest,
) -> Result<BroadcastResult, Status> {
    let SendUpdateRequest { key, payload, id, after, no_wait } = request;
    let id = if id.is_empty() { None } else { Some(read_id(&id)?) };
    let after = after.map(UpdateNumber);
    let command = UpdateCommand::Send { kind, id, after, key, payload, wait: !no_wait };
    match ask(world, Command::Update(command)).await? {
        Reply::Update(UpdateReply::Sent { id, number, repeated }) => {
            Ok(BroadcastResult { number: number.0, repeated, ..result(id, UpdateState::Committed) })
        }
        Reply::Update(UpdateReply::Taken { id }) => Ok(result(id, UpdateState::Pending)),
        other => Err(answered_else(&other)),
    }
}

/// Tells what became of an update.
pub(super) async fn find<W: World>(world: &W, request: FindUpdateRequest) -> Result<BroadcastResult, Status> {
    let (kind, id) = (read_kind(request.kind)?, read_id(&request.id)?);
    match ask(world, Command::Update(UpdateCommand::Find { kind, id })).await? {
        Reply::Update(UpdateReply::Fate(fate)) => Ok(match fate {
            UpdateFate::Pending => result(id, UpdateState::Pending),
            UpdateFate::Committed(number) => {
                BroadcastResult { number: number.0, ..result(id, UpdateState::Committed) }
            }
            UpdateFate::Failed(failure) => BroadcastResult { failure, ..result(id, UpdateState::Failed) },
            UpdateFate::Unknown => result(id, UpdateState::Unknown),
        }),
        other => Err(answered_else(&other)),
    }
}

/// Sets whether members may be passed over.
pub(super) async fn set_policy<W: World>(
    world: &W,
    request: &SetUpdatePolicyRequest,
) -> Result<SetUpdatePolicyResponse, Status> {
    let command = UpdateCommand::PassOver { kind: read_kind(request.kind)?, allowed: request.pass_over };
    match ask(world, Command::Update(command)).await? {
        Reply::Update(UpdateReply::PolicySet) => Ok(SetUpdatePolicyResponse {}),
        other => Err(answered_else(&other)),
    }
}

fn result(id: UpdateId, state: UpdateState) -> BroadcastResult {
    BroadcastResult { id: id.to_bytes().to_vec().into(), state: state.into(), ..BroadcastResult::default() }
}

fn read_id(id: &[u8]) -> Result<UpdateId, Status> {
    UpdateId::from_slice(id).ok_or_else(|| errors::invalid("an update's id has 16 bytes"))
}

fn read_kind(kind: i32) -> Result<UpdateKind, Status> {
    match api::UpdateKind::try_from(kind) {
        Ok(api::UpdateKind::Mesh) => Ok(UpdateKind::Mesh),
        Ok(api::UpdateKind::Database) => Ok(UpdateKind::Database),
        Ok(api::UpdateKind::Unspecified) | Err(_) => Err(errors::invalid("name a kind of updates")),
    }
}

pub(super) const fn kind_out(kind: UpdateKind) -> api::UpdateKind {
    match kind {
        UpdateKind::Mesh => api::UpdateKind::Mesh,
        UpdateKind::Database => api::UpdateKind::Database,
    }
}

/// A kind of updates as a node sees it.
pub(super) fn status(status: core::UpdateStatus) -> UpdateStatus {
    UpdateStatus {
        kind: kind_out(status.kind).into(),
        last: status.last.0,
        floor: status.floor.0,
        bytes: status.bytes,
        bytes_max: status.bytes_max,
        pass_over: status.pass_over,
        processed: status.processed.0,
        handler: status.handler.map(|token| token.0),
        behind: status.behind,
        lagging: status.lagging.iter().map(lag).collect(),
    }
}

/// A member that is behind.
pub(super) fn lag(lagging: &core::Lagging) -> UpdateLag {
    UpdateLag {
        node: convert::node(lagging.node),
        name: lagging.name.clone(),
        processed: lagging.processed.0,
    }
}

/// A handler was handed what is another's: an error of ours.
pub(super) fn out_of_place() -> Status {
    tracing::error!("a handler was handed something else than it attached to");
    Status::internal("the node handed over something else than was asked for")
}

/// Serves one call of a handler.
pub(super) fn serve<W: World>(
    world: W,
    kind: UpdateKind,
    requests: Streaming<SubscribeUpdatesRequest>,
) -> Answers<SubscribeUpdatesResponse> {
    answers(RESPONSES_QUEUED, |responses| run(world, kind, requests, responses))
}

async fn run<W: World>(
    world: W,
    kind: UpdateKind,
    mut requests: Streaming<SubscribeUpdatesRequest>,
    responses: Sender<SubscribeUpdatesResponse>,
) -> Result<(), Status> {
    let Some(first) = requests.message().await? else { return Ok(()) };
    let Some(Request::Attach(attach)) = first.request else {
        return Err(errors::invalid("the first request must attach"));
    };
    let attached = world.attach_updates(kind, attach.window.max(1)).await;
    let mut handler = attached.map_err(|refusal| errors::status(&refusal))?;
    let (token, after) = (handler.token().0, handler.position().sequence.0);
    let mut handed_upto = after;
    let mut pending = Some(Response::Attached(UpdatesAttached { token, after }));
    loop {
        tokio::select! {
            permit = responses.reserve(), if pending.is_some() => {
                let Ok(permit) = permit else { return Ok(()) };
                permit.send(Ok(SubscribeUpdatesResponse { response: pending.take() }));
            }
            handed = handler.next(), if pending.is_none() => match handed {
                Some(Handed::Updates(delivery)) => {
                    handed_upto = delivery.items.last().map_or(handed_upto, |item| item.last().0);
                    let items = delivery.items.into_iter().map(item).collect();
                    pending = Some(Response::Updates(UpdateBatch { items }));
                }
                Some(Handed::Delivery(_) | Handed::Failed { .. }) => return Err(out_of_place()),
                Some(Handed::Ended(why)) => return Err(errors::ended(token, &why)),
                None => return Err(errors::node_stopped()),
            },
            request = requests.message() => match request? {
                None => return Ok(()),
                Some(SubscribeUpdatesRequest { request: Some(Request::Acknowledge(AcknowledgeUpdates { upto })) }) => {
                    if upto > handed_upto {
                        return Err(errors::not_handed_over(upto, handed_upto));
                    }
                    handler.verdict(Sequence(upto));
                }
                Some(_) => return Err(errors::invalid("a call attaches once; then it acknowledges")),
            },
            () = responses.closed() => return Ok(()),
        }
    }
}

fn item(item: core::UpdateItem) -> UpdateItem {
    let item = match item {
        core::UpdateItem::Update(update) => Item::Update(api::Update {
            number: update.number.0,
            id: update.id.to_bytes().to_vec().into(),
            origin: convert::node(update.origin),
            key: update.key,
            payload: update.payload,
            time: update.time.0,
        }),
        core::UpdateItem::Gap { first, last } => Item::Gap(UpdateGap { first: first.0, last: last.0 }),
    };
    UpdateItem { item: Some(item) }
}
