use super::*;
use crate::description::{DESCRIPTION_BYTES_MAX, Described, Description};
use crate::event::MeshEvent;
use crate::id::Generation;
use crate::mesh::entry::{Entry, Request};

fn says(status: &str) -> Description {
    Description {
        status: status.into(),
        tag: "left".into(),
        roles: Vec::from(["function".to_string()]),
        capabilities: Vec::from(["gpu".to_string()]),
        attributes: BTreeMap::from([("rack".to_string(), "7".to_string())]),
    }
}

fn describe(description: Description) -> impl FnOnce(RequestId) -> Input {
    move |request| Input::Describe { request, description }
}

fn status_of(world: &World, host: usize, of: usize) -> Option<String> {
    world.mesh(host).description(world.id(of)).map(|described| described.description.status.clone())
}

#[test]
fn what_a_member_says_of_itself_is_known_everywhere_and_the_latest_counts() {
    let mut world = World::grown(&["a", "b", "c"]);
    (0..3).for_each(|host| world.hosts[host].mesh.begins(crate::id::BootId(1), Generation(1)));
    let first = world.command(2, describe(says("starting")));
    assert_eq!(world.reply(2, first), Some(Ok(Reply::Described { counter: 1 })));
    assert!((0..3).all(|host| status_of(&world, host, 2).as_deref() == Some("starting")));
    let node = world.id(2);
    let told = MeshEvent::NodeUpdated { node, name: "c".into() };
    assert!((0..3).all(|host| world.hosts[host].events.last() == Some(&told)));
    let entries = world.log.len();
    let many: Vec<RequestId> =
        ["busy", "idle", "draining"].map(|s| world.command(2, describe(says(s)))).into();
    assert_eq!(world.log.len(), entries, "not before the pause is over");
    world.pass(Span::secs(2));
    assert_eq!(world.log.len(), entries + 1, "the last of them stands for all");
    for request in many {
        assert_eq!(world.reply(2, request), Some(Ok(Reply::Described { counter: 2 })));
    }
    assert_eq!(status_of(&world, 0, 2).as_deref(), Some("draining"));
    let state = &world.mesh(0).state;
    assert_eq!(State::decode(&state.encode()).as_ref(), Ok(state));
    world.assert_equal();
}

#[test]
fn an_older_word_never_replaces_a_newer_one_and_nobody_speaks_for_another() {
    let mut world = World::grown(&["a", "b"]);
    let node = world.id(1);
    let mut state = world.mesh(0).state.clone();
    let mut say = |origin: NodeId, generation: u64, counter: u64, number: u128| {
        let description = says(&alloc::format!("{generation}/{counter}"));
        let described = Described { generation: Generation(generation), counter, description };
        let body = Body::Describe { node, described };
        let entry = Entry { origin, request: Request(number), seen: state.applied, time: Wall(0), body };
        let index = state.applied.next();
        let done = state.apply(index, Some(&entry)).expect("decided").result.is_ok();
        state.check();
        (done, state.descriptions.get(&node).map(|known| known.description.status.clone()))
    };
    assert_eq!(say(node, 2, 1, 1), (true, Some("2/1".into())));
    assert_eq!(say(node, 2, 3, 2), (true, Some("2/3".into())));
    assert_eq!(say(node, 2, 2, 3), (true, Some("2/3".into())), "it came late");
    assert_eq!(say(node, 1, 9, 4), (true, Some("2/3".into())), "an earlier start said it");
    assert_eq!(say(node, 3, 1, 5), (true, Some("3/1".into())));
    assert_eq!(say(NodeId(9), 4, 1, 6), (false, Some("3/1".into())));
    let described = Described { generation: Generation(9), counter: 1, description: says("forged") };
    let message = Message::Forward {
        request: Request(77),
        seen: LogIndex(1),
        body: alloc::boxed::Box::new(Body::Describe { node: world.id(0), described }),
    };
    let entries = world.log.len();
    world.inbox.push_back((0, Input::Message { from: node, message }));
    world.pump();
    assert_eq!((world.log.len(), status_of(&world, 0, 0)), (entries, None));
}

#[test]
fn a_description_that_is_too_long_is_refused_with_the_limit() {
    let mut world = World::grown(&["a"]);
    let long = "x".repeat(DESCRIPTION_BYTES_MAX);
    let request = world.command(0, describe(says(&long)));
    let (got, limit) = (says(&long).bytes() as u64, DESCRIPTION_BYTES_MAX as u64);
    assert_eq!(world.reply(0, request), Some(Err(Refusal::TooLarge { what: "a description", got, limit })));
    let many = Description { roles: alloc::vec![String::from("r"); 33], ..Description::default() };
    let request = world.command(0, describe(many));
    assert!(matches!(world.reply(0, request), Some(Err(Refusal::Invalid(why))) if why.contains("32 roles")));
    assert_eq!(status_of(&world, 0, 0), None);
}
