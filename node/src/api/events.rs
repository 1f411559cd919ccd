//! Watching what happens to the mesh.

use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tonic::Status;
use wattle_core::event::MeshEvent as M;
use wattle_core::id::{GroupId, NodeId, StreamInstance};
use wattle_core::node::output::Event;
use wattle_proto::api::{MeshEvent, MeshEventFilter, MeshEventKind as Kind};

use super::data::{Answers, Sender, answers};
use super::{convert, errors, updates};
use crate::world::World;

/// Events that are ready and not yet written. Those behind them wait in the node's own list, which keeps the newest.
const EVENTS_QUEUED: usize = 16;

/// Serves one call.
pub(super) fn serve<W: World>(world: &W, filter: &MeshEventFilter) -> Result<Answers<MeshEvent>, Status> {
    let known = |&kind: &i32| Kind::try_from(kind).is_ok_and(|kind| kind != Kind::Unspecified);
    if !filter.kinds.iter().all(known) {
        return Err(errors::invalid("the filter names a kind of events that is not known here"));
    }
    let kinds: BTreeSet<i32> = filter.kinds.iter().copied().collect();
    // From the moment of the call on, whenever the task below gets to run.
    let events = world.events();
    Ok(answers(EVENTS_QUEUED, |sender| run(events, kinds, sender)))
}

async fn run(
    mut events: broadcast::Receiver<Event>,
    kinds: BTreeSet<i32>,
    sender: Sender<MeshEvent>,
) -> Result<(), Status> {
    loop {
        let event = tokio::select! {
            event = events.recv() => event,
            () = sender.closed() => return Ok(()),
        };
        let event = match event {
            Ok(Event::Parted { left, why, .. }) => return Err(errors::parted(left, why)),
            Ok(event) => read(event).filter(|event| kinds.is_empty() || kinds.contains(&event.kind)),
            Err(RecvError::Lagged(missed)) => Some(MeshEvent { missed, ..of_kind(Kind::Missed) }),
            Err(RecvError::Closed) => return Err(errors::node_stopped()),
        };
        let Some(event) = event else { continue };
        if sender.send(Ok(event)).await.is_err() {
            return Ok(());
        }
    }
}

fn of_kind(kind: Kind) -> MeshEvent {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let time = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    MeshEvent { kind: kind.into(), time, ..MeshEvent::default() }
}

fn of_node(kind: Kind, node: NodeId, name: String) -> MeshEvent {
    MeshEvent { node: Some(convert::node(node)), name, ..of_kind(kind) }
}

fn of_stream(kind: Kind, name: String, instance: StreamInstance) -> MeshEvent {
    MeshEvent { name, stream_instance: Some(convert::instance(instance)), ..of_kind(kind) }
}

/// An event as watchers see it; `None` for what only a log is told.
fn read(event: Event) -> Option<MeshEvent> {
    Some(match event {
        Event::Mesh(event) => read_mesh(event),
        Event::ModeChanged(standing) => {
            MeshEvent { standing: Some(convert::standing(standing)), ..of_kind(Kind::ModeChanged) }
        }
        Event::LinkUp { node } => of_node(Kind::LinkUp, node, String::new()),
        Event::LinkDown { node } => of_node(Kind::LinkDown, node, String::new()),
        Event::RoleChanged { group, role, term } => MeshEvent {
            role: role.to_owned(),
            term: term.0,
            stream_instance: (group != GroupId::CONTROL).then(|| convert::instance(group.into())),
            ..of_kind(Kind::RoleChanged)
        },
        Event::PeerStarted { .. }
        | Event::PeerRefused { .. }
        | Event::Amnesia { .. }
        | Event::GroupStopped { .. }
        | Event::StateTooLarge { .. }
        | Event::Parked { .. }
        | Event::Unparked { .. }
        | Event::ParkedDropped { .. }
        | Event::Parted { .. }
        | Event::DuplicateIdentity { .. }
        | Event::KeyRetired { .. }
        | Event::Space { .. } => return None,
    })
}

fn read_mesh(event: M) -> MeshEvent {
    match event {
        M::NodeJoined { node, name } => of_node(Kind::NodeJoined, node, name),
        M::NodeLeft { node, name, how } => MeshEvent {
            evicted: how.is_some_and(|how| how.evicted),
            epoch: how.map_or(0, |how| how.epoch),
            asked_at: how.map(|how| convert::node(how.asked_at)),
            ..of_node(Kind::NodeLeft, node, name)
        },
        M::NodeUpdated { node, name } => of_node(Kind::NodeUpdated, node, name),
        M::NodeFailed { node, name } => of_node(Kind::NodeFailed, node, name),
        M::NodeDuplicated { node, name } => of_node(Kind::NodeDuplicated, node, name),
        M::NodeKeyChanged { node, name, key, number, retired } => MeshEvent {
            node_key: key.0.to_vec().into(),
            rotation: number,
            retired,
            ..of_node(Kind::NodeKeyChanged, node, name)
        },
        M::NodeStopped { node, name } => of_node(Kind::NodeStopped, node, name),
        M::NodeStarted { node, name } => of_node(Kind::NodeStarted, node, name),
        M::NodeRecovered { node, name } => of_node(Kind::NodeRecovered, node, name),
        M::LeaderChanged { leader, term, here } => {
            MeshEvent { node: leader.map(convert::node), term: term.0, here, ..of_kind(Kind::LeaderChanged) }
        }
        M::ConfigChanged { key, value, version, deleted } => MeshEvent {
            key,
            value: value.unwrap_or_default(),
            version: version.0,
            deleted,
            ..of_kind(Kind::ConfigChanged)
        },
        M::StreamOpened { name, instance } => of_stream(Kind::StreamOpened, name, instance),
        M::StreamClosed { name, instance } => of_stream(Kind::StreamClosed, name, instance),
        M::Recovery { stage, attempt, epoch, asked_at, lost } => MeshEvent {
            stage: stage.text().to_owned(),
            attempt,
            epoch,
            asked_at: Some(convert::node(asked_at)),
            lost,
            ..of_kind(Kind::Recovery)
        },
        M::UpdateCommitted { kind, number } => MeshEvent {
            update_kind: updates::kind_out(kind).into(),
            update_number: number.0,
            ..of_kind(Kind::UpdateCommitted)
        },
    }
}
