use super::*;
use crate::event::MeshEvent;
use crate::id::BootId;

const BOOTS: [BootId; 2] = [BootId(7), BootId(9)];

fn tell(world: &mut World, host: usize) {
    let seen_by = Some(world.id(0));
    world.inbox.push_back((host, Input::Twin { boots: BOOTS, seen_by }));
    world.pump();
}

#[test]
fn one_of_two_copies_is_stopped_until_it_is_kept() {
    let mut world = World::grown(&["a", "b", "c"]);
    world.quorum = false;
    let waiting = world.command(1, open("words", "a", "b"));
    tell(&mut world, 1);
    assert!(world.mesh(1).is_twin() && world.hosts[1].farewell);
    world.pass(Span::secs(1));
    assert_eq!((world.mesh(1).activity(), world.hosts[1].offline), (Activity::Stopped, true));
    assert!(matches!(world.reply(1, waiting), Some(Err(Refusal::DuplicateIdentity(_)))));
    let words = world.mesh(1).twin().expect("it knows").words();
    assert!(words.contains("seen by a") && words.contains("--keep-identity"), "{words}");
    for host in [1, 1] {
        let start = world.command(host, |request| Input::Start { request });
        assert_eq!(world.reply(host, start), Some(Err(Refusal::DuplicateIdentity(words.clone()))));
        world.restart(host);
        assert!(world.mesh(host).is_twin(), "its next start knows");
    }
    assert!(world.hosts[1].offline && world.hosts[1].rejoined == 0);

    world.hosts[1].config.keep_identity = true;
    world.hosts[1].offline = false;
    world.restart(1);
    assert_eq!((world.hosts[1].rejoined, world.hosts[1].offline), (1, false));
    assert_eq!((world.mesh(1).activity(), world.mesh(1).is_twin()), (Activity::Running, false));
    world.restart(1);
    assert_eq!(world.hosts[1].rejoined, 1, "once is enough");
}

#[test]
fn others_are_told_of_copies() {
    let mut world = World::grown(&["a", "b"]);
    let node = world.id(1);
    world.hosts[0].events.clear();
    for twins in [true, false] {
        world.inbox.push_back((0, Input::OthersTwins { node, twins }));
    }
    world.pump();
    assert_eq!(world.hosts[0].events, [MeshEvent::NodeDuplicated { node, name: "b".into() }]);
    tell(&mut world, 1);
    let name = String::from("b");
    assert!(world.hosts[1].events.contains(&MeshEvent::NodeDuplicated { node, name }), "and of itself");
}
