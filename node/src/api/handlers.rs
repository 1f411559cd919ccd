//! Handlers in the process of the node: how far they are, and what they keep.

use tonic::{Code, Status};
use wattle_io::handler::{Listed, State};
use wattle_proto::api::{
    HandlerState, HandlerStatus, HandlerTrouble, ReadHandlerStoreRequest, ReadHandlerStoreResponse, Reason,
    RunHandlerAgainResponse, StoredEntry,
};

use super::{convert, errors};
use crate::handlers::Configured;
use crate::handlers::store::READ_MOST;
use crate::world::World;

/// A handler on the wire.
pub(super) fn status(listed: Listed) -> HandlerStatus {
    let progress = listed.progress;
    let (state, why) = match progress.state {
        State::Attaching => (HandlerState::Attaching, String::new()),
        State::Waiting(why) => (HandlerState::Waiting, why),
        State::Attached => (HandlerState::Attached, String::new()),
        State::Over(over) => (HandlerState::Over, over.to_string()),
    };
    HandlerStatus {
        stream: listed.stream,
        name: listed.name,
        state: state.into(),
        why,
        received: progress.received.0,
        processing_first: progress.processing.map(|(first, _)| first.0),
        processing_last: progress.processing.map(|(_, last)| last.0),
        done: progress.done.0,
        trouble: progress.trouble.map(|trouble| HandlerTrouble {
            message: trouble.message.map(|message| message.0),
            attempts: trouble.attempts,
            text: trouble.text,
        }),
    }
}

/// Has a handler that ended begin again.
pub(super) fn again<W: World>(
    world: &W,
    configured: &Configured,
    stream: &str,
) -> Result<RunHandlerAgainResponse, Status> {
    let Some(kind) = configured.kind(stream) else {
        let what = format!("this node has no [[handler]] for a stream {stream:?}");
        let hint = "ask the target that has it, with --node";
        return Err(errors::with_reason(Code::NotFound, Reason::UnknownStream, what, hint));
    };
    let runs = |listed: &Listed| listed.stream == stream && !matches!(listed.progress.state, State::Over(_));
    if world.handlers().iter().any(runs) {
        return Err(errors::invalid(format!("the handler {kind} of stream {stream:?} has not ended")));
    }
    configured.again(stream);
    Ok(RunHandlerAgainResponse {})
}

/// Reads what a handler keeps.
pub(super) async fn read(
    configured: &Configured,
    request: ReadHandlerStoreRequest,
) -> Result<ReadHandlerStoreResponse, Status> {
    let ReadHandlerStoreRequest { stream, prefix, after, count } = request;
    let file = configured.file(&stream).ok_or_else(|| {
        let what = format!(
            "this node keeps nothing of a stream {stream:?}: it has no [[handler]] of kind \"store\" for it"
        );
        errors::with_reason(
            Code::NotFound,
            Reason::UnknownStream,
            what,
            "ask the target that keeps it, with --node",
        )
    })?;
    let most = if count == 0 { READ_MOST } else { count };
    let read = tokio::task::spawn_blocking(move || file.read(&prefix, &after, most)).await;
    let read = read.map_err(|error| Status::internal(error.to_string()))?.map_err(errors::invalid)?;
    let entries = read.entries.into_iter();
    Ok(ReadHandlerStoreResponse {
        entries: entries.map(|entry| StoredEntry { key: entry.key, value: entry.value }).collect(),
        more: read.more,
        position: read.position.map(convert::position),
    })
}
