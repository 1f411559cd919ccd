//! What updates, descriptions and events make of members that go.

use super::leaving::{evict, invite, leave, shown};
use super::modes::cut;
use super::updates::{command, update};
use super::*;
use crate::agreed::{ConfigCommand, Expected};
use crate::description::Description;
use crate::event::{Departure, MeshEvent};
use crate::mesh::handlers::DESCRIPTION;
use crate::update::{UpdateCommand, UpdateKind};

const KIND: UpdateKind = UpdateKind::Mesh;

fn evicted(world: &mut World, host: usize) {
    let request = world.command(0, evict(["a", "b", "c", "d"][host]));
    world.pass(Span::secs(2));
    assert!(matches!(world.reply(0, request), Some(Ok(Reply::Evicted { .. }))));
}

#[test]
fn who_goes_holds_up_no_update_and_is_described_no_longer() {
    let mut world = World::grown(&["a", "b", "c"]);
    let c = world.id(2);
    let description = Description { status: "tired".into(), ..Description::default() };
    world.command(2, |request| Input::Describe { request, description });
    assert!(world.mesh(0).description(c).is_some());
    let handlers = [world.attach(0, KIND, 9), world.attach(1, KIND, 9)];
    for id in 0..3 {
        world.send(0, update(KIND, id, None, b"x")).unwrap();
    }
    handlers.iter().for_each(|handler| world.verdict(handler, 3));
    world.pass(Span::secs(5));
    assert_eq!(world.floor(KIND), 0, "c has processed nothing");
    assert_eq!(world.mesh(1).update_status()[0].behind, 1);
    evicted(&mut world, 2);
    assert_eq!(world.floor(KIND), 3, "M21: all members have processed them");
    assert_eq!(world.mesh(1).update_status()[0].behind, 0);
    assert_eq!(world.mesh(0).description(c), None);
    world.assert_equal();
}

#[test]
fn what_a_member_told_just_before_it_went_is_forgotten_with_it() {
    let mut world = World::grown(&["a", "b", "c"]);
    world.hosts[0].mesh.config.update_report = Span::secs(60);
    let handler = world.attach(2, KIND, 9);
    world.send(0, update(KIND, 1, None, b"x")).unwrap();
    world.verdict(&handler, 1);
    world.pass(Span::secs(2));
    assert_eq!(world.mesh(0).reports.heard(), 1, "c told, and no entry says so yet");
    evicted(&mut world, 2);
    assert_eq!(world.mesh(0).reports.heard(), 0, "M5");
}

#[test]
fn handlers_of_a_node_that_went_are_told_why_and_go_on_where_it_is_a_member_again() {
    let mut world = World::grown(&["a", "b", "c"]);
    world.pass(Span::secs(2));
    let before = world.attach(2, KIND, 9);
    for id in 0..3 {
        world.send(0, update(KIND, id, None, b"x")).unwrap();
    }
    assert_eq!(world.numbers(&before), [1, 2, 3]);
    world.verdict(&before, 2);
    let attached = world.hosts[2].replies.len();
    evicted(&mut world, 2);
    let input = shown(&world, 1, 2);
    world.inbox.push_back((2, input));
    world.pump();
    let ended = &world.hosts[2].replies[attached..];
    assert!(
        matches!(ended, [(_, Err(Refusal::Evicted(why)))] if why.contains("evicted from mesh")),
        "{ended:?}"
    );
    world.verdict(&before, 3);
    world.restart(2);
    world.send(0, update(KIND, 3, None, b"x")).unwrap();
    let token = invite(&mut world, 1);
    world.join(2, &token);
    world.pass(Span::secs(2));
    let after = world.attach(2, KIND, 9);
    assert_eq!(after.after, 2, "M23: what it has processed it is not handed again");
    assert_eq!(world.numbers(&after), [3, 4]);
    world.assert_equal();
}

#[test]
fn in_another_mesh_a_handler_begins_where_that_mesh_says() {
    let mut world = World::grown(&["a", "b", "c"]);
    world.pass(Span::secs(2));
    let handler = world.attach(2, KIND, 9);
    for id in 0..3 {
        world.send(0, update(KIND, id, None, b"x")).unwrap();
    }
    world.verdict(&handler, 3);
    let request = world.command(2, leave(false));
    world.pass(Span::secs(2));
    assert_eq!(world.reply(2, request), Some(Ok(Reply::Left)));
    let replies = world.hosts[2].replies.iter().filter(|(_, reply)| *reply == Err(Refusal::NotMember));
    assert_eq!(replies.count(), 1, "its handler is told");
    world.restart(2);
    assert_eq!(world.mesh(2).update_cursor(KIND).0, 3);
    let other = MeshId(world.mesh(0).mesh_id().unwrap().0 ^ 1);
    world.hosts[2].mesh.begin_cursors(other);
    assert_eq!(world.mesh(2).update_cursor(KIND).0, 0, "M23: cursors count updates of one mesh");
}

#[test]
fn everybody_tells_who_went_and_how() {
    let mut world = World::grown(&["a", "b", "c", "d"]);
    world.pass(Span::secs(2));
    let (a, c, d) = (world.id(0), world.id(2), world.id(3));
    (0..4).for_each(|host| world.hosts[host].events.clear());
    evicted(&mut world, 3);
    let request = world.command(2, leave(false));
    world.pass(Span::secs(2));
    assert_eq!(world.reply(2, request), Some(Ok(Reply::Left)));
    let left = |node, name: &str, evicted, epoch, asked_at| {
        let how = Some(Departure { evicted, epoch, asked_at });
        MeshEvent::NodeLeft { node, name: name.into(), how }
    };
    for host in 0..3 {
        let events = &world.hosts[host].events;
        let went: Vec<_> =
            events.iter().filter(|event| matches!(event, MeshEvent::NodeLeft { .. })).collect();
        assert_eq!(went, [&left(d, "d", true, 1, a), &left(c, "c", false, 2, c)], "host {host}");
    }
}

#[test]
fn what_is_written_of_the_configuration_is_told_and_long_values_are_not() {
    let mut world = World::grown(&["a", "b"]);
    (0..2).for_each(|host| world.hosts[host].events.clear());
    let set = |key: &str| {
        let (key, value) = (key.to_string(), Bytes::from_static(b"shrubs"));
        ConfigCommand::Set { key, value, expected: Expected::Any }
    };
    let delete = ConfigCommand::Delete { key: "k".into(), expected: Expected::Any };
    for command in [set("k"), set(DESCRIPTION), delete] {
        world.command(0, |request| Input::Config { request, command });
    }
    let last = world.mesh(0).state.applied.0;
    let told = |key: &str, value: Option<&str>, before, deleted| {
        let (key, value) = (key.to_string(), value.map(String::from));
        MeshEvent::ConfigChanged { key, value, version: LogIndex(last - before), deleted }
    };
    for host in 0..2 {
        assert_eq!(
            world.hosts[host].events,
            [
                told("k", None, 2, false),
                told(DESCRIPTION, Some("shrubs"), 1, false),
                told("k", None, 0, true)
            ]
        );
    }
}

#[test]
fn a_critical_mesh_takes_no_updates_and_still_hears_what_was_processed() {
    let mut world = World::grown(&["a", "b", "c", "d"]);
    world.pass(Span::secs(10));
    let handler = world.attach(1, KIND, 9);
    world.send(0, update(KIND, 0, None, b"x")).unwrap();
    cut(&mut world, 0, &[2, 3]);
    world.pass(Span::secs(5));
    let refusal = Refusal::Critical { unreachable: 2, members: 4 };
    assert_eq!(world.send(1, update(KIND, 1, None, b"x")), Err(refusal.clone()));
    assert_eq!(world.send(1, update(KIND, 0, None, b"x")), Ok((1, true)), "what was agreed on is told again");
    let policy = UpdateCommand::PassOver { kind: KIND, allowed: true };
    let request = world.command(0, command(policy));
    assert_eq!(world.reply(0, request), Some(Err(refusal)));
    world.verdict(&handler, 1);
    world.pass(Span::secs(5));
    assert_eq!(world.mesh(0).update_status()[0].behind, 3);
    cut(&mut world, 0, &[]);
    world.pass(Span::secs(5));
    world.send(1, update(KIND, 1, None, b"x")).unwrap();
}

#[test]
fn while_the_log_tells_of_a_membership_that_is_over_a_handler_waits() {
    let mut world = World::grown(&["a", "b", "c"]);
    let mesh = &mut world.hosts[2].mesh;
    let membership = mesh.membership.as_mut().expect("a member");
    let now = core::mem::replace(&mut membership.replica, ReplicaId(77));
    let request = world.command(2, command(UpdateCommand::Attach { kind: KIND, window: 9 }));
    assert_eq!(world.reply(2, request), None, "M22: where it begins is not known yet");
    let membership = world.hosts[2].mesh.membership.as_mut().expect("a member");
    membership.replica = now;
    world.send(0, update(KIND, 1, None, b"x")).unwrap();
    assert!(matches!(world.reply(2, request), Some(Ok(Reply::Update(_)))));
}

#[test]
fn who_stopped_and_was_evicted_and_is_a_member_again_can_fail() {
    let mut world = World::grown(&["a", "b", "c"]);
    world.pass(Span::secs(2));
    let node = world.id(2);
    world.inbox.push_back((0, Input::OtherStopped { node, stopped: true }));
    world.pump();
    evicted(&mut world, 2);
    let input = shown(&world, 1, 2);
    world.inbox.push_back((2, input));
    world.pump();
    let token = invite(&mut world, 1);
    world.join(2, &token);
    world.pass(Span::secs(2));
    world.hosts[0].events.clear();
    world.inbox.push_back((0, Input::PairSuspect { node }));
    world.pump();
    assert_eq!(world.hosts[0].events, [MeshEvent::NodeFailed { node, name: "c".into() }]);
}
