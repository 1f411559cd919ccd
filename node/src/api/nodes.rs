//! What members say of themselves.

use std::collections::{BTreeMap, BTreeSet};

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tonic::Status;
use wattle_core::description::{Described, Description};
use wattle_core::event::MeshEvent;
use wattle_core::id::{Generation, NodeId};
use wattle_core::node::command::{Command, Reply};
use wattle_core::node::output::Event;
use wattle_core::node::status::MemberStatus;
use wattle_proto::api::{BroadcastResult, NodeDescription, NodeUpdate, UpdateState};

use super::data::{Answers, Sender, answers};
use super::mesh::{ask, out_of_place};
use super::{convert, errors};
use crate::world::World;

/// Updates that are ready and not yet written. What changes meanwhile is told once, as it is then.
const UPDATES_QUEUED: usize = 16;

/// Says what the node is.
pub(super) async fn send<W: World>(
    world: &W,
    description: NodeDescription,
) -> Result<BroadcastResult, Status> {
    let NodeDescription { status, tag, roles, capabilities, attributes } = description;
    let attributes = attributes.into_iter().collect();
    let description = Description { status, tag, roles, capabilities, attributes };
    match ask(world, Command::Describe(description)).await? {
        Reply::Described { counter } => Ok(BroadcastResult {
            state: UpdateState::Committed.into(),
            number: counter,
            ..BroadcastResult::default()
        }),
        other => Err(out_of_place(&other)),
    }
}

/// A description on the wire.
pub(super) fn description(described: &Described) -> NodeDescription {
    let Description { status, tag, roles, capabilities, attributes } = described.description.clone();
    NodeDescription { status, tag, roles, capabilities, attributes: attributes.into_iter().collect() }
}

/// Serves one call.
pub(super) fn serve<W: World>(world: W) -> Answers<NodeUpdate> {
    // Before the first look: what changes between the two is looked at again.
    let events = world.events();
    answers(UPDATES_QUEUED, |sender| run(world, events, sender))
}

async fn run<W: World>(
    world: W,
    mut events: broadcast::Receiver<Event>,
    sender: Sender<NodeUpdate>,
) -> Result<(), Status> {
    let mut told = Told::default();
    loop {
        let status = world.status().await.ok_or_else(errors::node_stopped)?;
        for update in told.news(&status.members) {
            if sender.send(Ok(update)).await.is_err() {
                return Ok(());
            }
        }
        loop {
            let event = tokio::select! {
                event = events.recv() => event,
                () = sender.closed() => return Ok(()),
            };
            match event {
                Ok(Event::Mesh(
                    MeshEvent::NodeJoined { .. } | MeshEvent::NodeUpdated { .. } | MeshEvent::NodeLeft { .. },
                ))
                | Err(RecvError::Lagged(_)) => break,
                Ok(Event::Parted { left, why, .. }) => return Err(errors::parted(left, why)),
                Ok(_) => {}
                Err(RecvError::Closed) => return Err(errors::node_stopped()),
            }
        }
    }
}

/// What was told of each member: its name, and which of its descriptions.
#[derive(Default)]
struct Told(BTreeMap<NodeId, (String, Option<(Generation, u64)>)>);

impl Told {
    fn news(&mut self, members: &[MemberStatus]) -> Vec<NodeUpdate> {
        let mut news = Vec::new();
        for member in members {
            let version = member.described.as_ref().map(Described::version);
            let now = (member.name.clone(), version);
            if self.0.insert(member.node, now.clone()).is_some_and(|before| before == now) {
                continue;
            }
            let (generation, counter) = version.unwrap_or_default();
            news.push(NodeUpdate {
                node: convert::node(member.node),
                name: member.name.clone(),
                description: member.described.as_ref().map(description),
                generation: generation.0,
                counter,
                gone: false,
            });
        }
        let known: BTreeSet<NodeId> = members.iter().map(|member| member.node).collect();
        self.0.retain(|&node, (name, _)| {
            let stays = known.contains(&node);
            if !stays {
                let name = std::mem::take(name);
                let node = convert::node(node);
                news.push(NodeUpdate { node, name, gone: true, ..NodeUpdate::default() });
            }
            stays
        });
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(node: u128, counter: Option<u64>) -> MemberStatus {
        MemberStatus {
            node: NodeId(node),
            name: format!("node-{node}"),
            addresses: Vec::new(),
            api: None,
            reachable: true,
            hops: None,
            stopped: false,
            duplicated: false,
            keys: Vec::new(),
            rotation: 0,
            region: None,
            voting: String::new(),
            voter: false,
            described: counter.map(|counter| Described {
                generation: Generation(2),
                counter,
                description: Description { status: counter.to_string(), ..Description::default() },
            }),
        }
    }

    #[test]
    fn only_what_is_other_than_before_is_told() {
        let mut told = Told::default();
        let first = told.news(&[member(1, None), member(2, Some(1))]);
        assert_eq!(first.len(), 2);
        assert_eq!((first[0].description.is_some(), first[1].counter), (false, 1));
        assert!(told.news(&[member(1, None), member(2, Some(1))]).is_empty());
        let [changed] = &told.news(&[member(1, None), member(2, Some(4))])[..] else { panic!("one changed") };
        assert_eq!(changed.description.as_ref().map(|said| said.status.as_str()), Some("4"));
        let [gone] = &told.news(&[member(2, Some(4))])[..] else { panic!("one went") };
        assert_eq!((gone.name.as_str(), gone.gone), ("node-1", true));
    }
}
