use super::*;
use crate::event::MeshEvent as E;
use crate::id::{UpdateId, UpdateNumber};
use crate::mesh::updates;
use crate::update::{UpdateCommand, UpdateKind};

fn events(world: &mut World, host: usize) -> Vec<E> {
    core::mem::take(&mut world.hosts[host].events)
}

fn command(command: UpdateCommand) -> impl FnOnce(RequestId) -> Input {
    move |request| Input::Updates(updates::Input::Command { request, command })
}

fn update(id: u128) -> UpdateCommand {
    UpdateCommand::Send {
        kind: UpdateKind::Mesh,
        id: Some(UpdateId(id)),
        after: None,
        key: String::new(),
        payload: Bytes::new(),
        wait: true,
    }
}

#[test]
fn every_member_tells_once_what_the_group_decided_when_it_is_applied_there() {
    let mut world = World::new(&["a", "b"]);
    let token = world.seed(0);
    let (a, b) = (world.id(0), world.id(1));
    assert_eq!(
        events(&mut world, 0),
        [
            E::LeaderChanged { leader: Some(a), term: world.mesh(0).control.term, here: true },
            E::NodeJoined { node: a, name: "a".into() }
        ]
    );
    world.join(1, &token);
    assert_eq!(events(&mut world, 0), [E::NodeJoined { node: b, name: "b".into() }]);
    events(&mut world, 1);
    world.command(1, open("words", "a", "b"));
    let instance = world.mesh(0).stream("words").unwrap().instance;
    for id in [5, 5] {
        world.command(0, command(update(id)));
    }
    world.command(0, command(UpdateCommand::PassOver { kind: UpdateKind::Database, allowed: true }));
    world.command(0, close("words"));
    let version = LogIndex(world.mesh(0).state.applied.0 - 1);
    for host in 0..2 {
        let name = String::from("words");
        let (kind, number) = (UpdateKind::Mesh, UpdateNumber(1));
        assert_eq!(
            events(&mut world, host),
            [
                E::StreamOpened { name: name.clone(), instance },
                E::UpdateCommitted { kind, number },
                E::ConfigChanged {
                    key: "updates.db.pass_over".into(),
                    value: Some("true".into()),
                    version,
                    deleted: false
                },
                E::StreamClosed { name, instance },
            ]
        );
    }
    world.hosts[1].config.addresses = Vec::from(["elsewhere:7000".to_string()]);
    world.restart(1);
    world.pass(Span::secs(3));
    assert_eq!(events(&mut world, 0), [E::NodeUpdated { node: b, name: "b".into() }]);
    let joined = |event: &E| matches!(event, E::NodeJoined { .. } | E::NodeLeft { .. });
    assert!(!events(&mut world, 1).iter().any(joined), "whom the last life knew is no news");
}

#[test]
fn who_fails_and_who_leads_is_told_when_it_changes() {
    let mut world = World::grown(&["a", "b"]);
    (0..2).for_each(|host| drop(events(&mut world, host)));
    let (a, b) = (world.id(0), world.id(1));
    for _ in 0..2 {
        world.inbox.push_back((0, Input::PairSuspect { node: b }));
    }
    world.pump();
    assert_eq!(events(&mut world, 0), [E::NodeFailed { node: b, name: "b".into() }]);
    for _ in 0..2 {
        world.inbox.push_back((0, Input::PairAlive { node: b }));
    }
    world.inbox.push_back((0, Input::PairSuspect { node: NodeId(9) }));
    world.pump();
    assert_eq!(events(&mut world, 0), [E::NodeRecovered { node: b, name: "b".into() }]);
    world.lead(Some(1));
    let term = Term(world.term);
    assert_eq!(events(&mut world, 0), [E::LeaderChanged { leader: Some(b), term, here: false }]);
    assert_eq!(events(&mut world, 1), [E::LeaderChanged { leader: Some(b), term, here: true }]);
    world.lead(Some(1));
    assert_eq!(events(&mut world, 0), [], "the same leads on");
    world.lead(Some(0));
    let term = Term(world.term);
    assert_eq!(events(&mut world, 0), [E::LeaderChanged { leader: Some(a), term, here: true }]);
}

#[test]
fn a_state_that_comes_whole_tells_what_is_other_than_before() {
    let mut world = World::grown(&["a", "b"]);
    world.command(0, open("kept", "a", "b"));
    world.command(0, open("old", "a", "b"));
    let old = world.mesh(1).stream("old").unwrap().instance;
    events(&mut world, 1);
    world.hosts[1].up = false;
    world.command(0, close("old"));
    world.command(0, open("new", "a", "b"));
    let new = world.mesh(0).stream("new").unwrap().instance;
    for id in 1..=3 {
        world.command(0, command(update(id)));
    }
    world.hosts[1].up = true;
    let (index, data) = world.state_of_first();
    world.install(1, index, data);
    assert_eq!(
        events(&mut world, 1),
        [
            E::StreamClosed { name: "old".into(), instance: old },
            E::StreamOpened { name: "new".into(), instance: new },
            E::UpdateCommitted { kind: UpdateKind::Mesh, number: UpdateNumber(3) },
        ]
    );
}
