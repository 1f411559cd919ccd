//! What a target has parked.

use bytes::Bytes;
use tonic::Status;
use wattle_core::id::Sequence;
use wattle_core::node::command::{Command, Reply};
use wattle_core::parked::{Failing, LISTED_MAX, ParkedCommand, ParkedMessage, ParkedReply};
use wattle_proto::api;

use super::mesh::{ask, out_of_place};
use super::{convert, flow};
use crate::world::World;

async fn command<W: World>(
    world: &W,
    stream: String,
    tenant: &str,
    command: ParkedCommand,
) -> Result<ParkedReply, Status> {
    match ask(world, flow::within(tenant, Command::Parked { stream, command })?).await? {
        Reply::Parked(reply) => Ok(reply),
        other => Err(out_of_place(&other)),
    }
}

pub(super) async fn list<W: World>(
    world: &W,
    request: api::ListParkedRequest,
) -> Result<api::ListParkedResponse, Status> {
    let most = if request.count == 0 { LISTED_MAX } else { request.count };
    let list = ParkedCommand::List { after: Sequence(request.after), most };
    match command(world, request.stream, &request.tenant, list).await? {
        ParkedReply::List { parked, more } => {
            Ok(api::ListParkedResponse { messages: parked.into_iter().map(message).collect(), more })
        }
        other => Err(out_of_place(&Reply::Parked(other))),
    }
}

pub(super) async fn show<W: World>(
    world: &W,
    request: api::ShowParkedRequest,
) -> Result<api::ShowParkedResponse, Status> {
    let show = ParkedCommand::Show(Sequence(request.sequence));
    match command(world, request.stream, &request.tenant, show).await? {
        ParkedReply::Shown { message: shown, body } => {
            Ok(api::ShowParkedResponse { message: Some(message(shown)), data: body })
        }
        other => Err(out_of_place(&Reply::Parked(other))),
    }
}

pub(super) async fn retry<W: World>(
    world: &W,
    request: api::RetryParkedRequest,
) -> Result<api::RetryParkedResponse, Status> {
    let retry = ParkedCommand::Retry(Sequence(request.sequence));
    match command(world, request.stream, &request.tenant, retry).await? {
        ParkedReply::Handled => Ok(api::RetryParkedResponse { handled: true, ..Default::default() }),
        ParkedReply::FailedAgain { attempts, reason } => {
            Ok(api::RetryParkedResponse { handled: false, attempts, reason })
        }
        other => Err(out_of_place(&Reply::Parked(other))),
    }
}

pub(super) async fn discard<W: World>(
    world: &W,
    request: api::DiscardParkedRequest,
) -> Result<api::DiscardParkedResponse, Status> {
    let (sequence, reason) = (Sequence(request.sequence), request.reason);
    let discard = ParkedCommand::Discard { sequence, reason };
    match command(world, request.stream, &request.tenant, discard).await? {
        ParkedReply::Discarded => Ok(api::DiscardParkedResponse {}),
        other => Err(out_of_place(&Reply::Parked(other))),
    }
}

fn message(message: ParkedMessage) -> api::ParkedMessage {
    api::ParkedMessage {
        sequence: message.sequence.0,
        authority: message.authority.0,
        id: Bytes::copy_from_slice(&message.id.to_bytes()),
        writer: convert::writer(message.writer),
        writer_sequence: message.writer_sequence.0,
        bytes: message.bytes,
        attempts: message.attempts,
        reason: message.reason,
        since: message.since.0,
        parked: message.parked.0,
    }
}

/// What a handler fails at.
pub(super) fn failing(failing: Failing) -> api::FailingMessage {
    api::FailingMessage {
        sequence: failing.sequence.0,
        attempts: failing.attempts,
        reason: failing.reason,
        since: failing.since.0,
        held_up: failing.held_up.map(|why| why.to_string()),
    }
}
