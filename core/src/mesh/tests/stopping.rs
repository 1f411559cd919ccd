use super::leaving::leave;
use super::*;
use crate::event::MeshEvent;

fn stop(lasting: bool) -> impl FnOnce(RequestId) -> Input {
    move |request| Input::Stop { request, lasting }
}

fn start() -> impl FnOnce(RequestId) -> Input {
    move |request| Input::Start { request }
}

#[test]
fn a_stopped_node_stays_stopped_until_it_is_started() {
    let mut world = World::grown(&["a", "b", "c"]);
    let request = world.command(1, stop(true));
    assert_eq!(world.mesh(1).activity(), Activity::Stopping);
    assert!(matches!(world.mesh(1).served_no_more(), Some(Refusal::MeshStopped)));
    assert_eq!(world.reply(1, request), None, "its last word has not left yet");
    world.pass(Span::secs(1));
    assert_eq!(world.reply(1, request), Some(Ok(Reply::MeshStopped)));
    assert_eq!((world.hosts[1].offline, world.hosts[1].farewell), (true, true));
    assert_eq!(world.mesh(1).standing(), None, "of the others it knows nothing");
    let again = world.command(1, stop(true));
    assert_eq!(world.reply(1, again), Some(Ok(Reply::MeshStopped)));

    world.hosts[1].offline = false;
    world.restart(1);
    assert_eq!((world.mesh(1).activity(), world.hosts[1].offline), (Activity::Stopped, true));
    let request = world.command(1, start());
    assert_eq!(world.reply(1, request), Some(Ok(Reply::MeshStarted)));
    assert_eq!((world.hosts[1].offline, world.hosts[1].farewell), (false, false));
    world.restart(1);
    assert_eq!((world.mesh(1).activity(), world.hosts[1].offline), (Activity::Running, false));
    let again = world.command(1, start());
    assert_eq!(world.reply(1, again), Some(Ok(Reply::MeshStarted)));
}

#[test]
fn the_end_of_a_process_leaves_no_mark_and_refuses_nothing() {
    let mut world = World::grown(&["a", "b", "c"]);
    let request = world.command(1, stop(false));
    assert_eq!(world.mesh(1).served_no_more(), None);
    world.pass(Span::secs(1));
    assert_eq!(world.reply(1, request), Some(Ok(Reply::MeshStopped)));
    assert!(world.hosts[1].offline && world.hosts[1].farewell);
    world.hosts[1].offline = false;
    world.restart(1);
    assert_eq!((world.mesh(1).activity(), world.hosts[1].offline), (Activity::Running, false));
}

#[test]
fn it_waits_for_others_to_lead_but_not_for_long() {
    let mut world = World::grown(&["a", "b", "c"]);
    world.hosts[0].leads = 2;
    let request = world.command(0, stop(true));
    world.pass(Span::secs(1));
    assert_eq!((world.mesh(0).activity(), world.hosts[0].farewell), (Activity::Stopping, false));
    let begin = world.command(0, start());
    assert_eq!(world.reply(0, begin), None, "what is begun is ended first");
    world.hosts[0].leads = 0;
    world.pass(Span::millis(100));
    assert!(world.hosts[0].farewell);
    world.pass(Span::millis(300));
    assert_eq!(world.reply(0, request), Some(Ok(Reply::MeshStopped)));
    assert_eq!(world.reply(0, begin), Some(Ok(Reply::MeshStarted)));
    assert_eq!((world.mesh(0).activity(), world.hosts[0].offline), (Activity::Running, false));

    world.hosts[0].leads = 1;
    let request = world.command(0, stop(true));
    world.pass(Span::secs(5));
    assert_eq!(world.reply(0, request), Some(Ok(Reply::MeshStopped)), "within five seconds in any case");
}

#[test]
fn who_waits_for_the_mesh_is_told_that_it_stops_and_that_what_was_sent_may_be_done() {
    for sent in [true, false] {
        let mut world = World::grown(&["a", "b", "c"]);
        world.quorum = false;
        if !sent {
            world.lead(None);
        }
        let open = world.command(1, open("words", "a", "b"));
        let read = world.command(1, |request| Input::Config {
            request,
            command: crate::agreed::ConfigCommand::Get {
                key: "k".into(),
                consistency: crate::agreed::Consistency::Linearizable,
            },
        });
        world.command(1, stop(true));
        world.pass(Span::secs(1));
        let refusal = if sent { Refusal::StoppedMeanwhile } else { Refusal::MeshStopped };
        assert_eq!(world.reply(1, open), Some(Err(refusal)));
        assert_eq!(world.reply(1, read), Some(Err(Refusal::MeshStopped)));
    }
}

#[test]
fn a_node_without_a_mesh_has_nothing_to_stop_and_may_be_started() {
    let mut world = World::new(&["a"]);
    let lasting = world.command(0, stop(true));
    assert_eq!(world.reply(0, lasting), Some(Err(Refusal::NotMember)));
    let ending = world.command(0, stop(false));
    assert_eq!(world.reply(0, ending), Some(Ok(Reply::MeshStopped)));
    let begin = world.command(0, start());
    assert_eq!(world.reply(0, begin), Some(Ok(Reply::MeshStarted)));
    world.seed(0);
}

#[test]
fn who_leaves_while_it_stops_can_join_again() {
    let mut world = World::grown(&["a", "b", "c"]);
    world.hosts[2].leads = 1;
    let leaves = world.ask(2, leave(true));
    let stops = world.ask(2, stop(true));
    world.pump();
    assert!(matches!(world.reply(2, leaves), Some(Ok(Reply::Left) | Err(Refusal::StoppedMeanwhile))));
    assert_eq!(world.reply(2, stops), Some(Err(Refusal::NotMember)), "there is nothing to stop any more");
    assert!(!world.hosts[2].offline);
    world.restart(2);
    assert_eq!((world.mesh(2).activity(), world.hosts[2].offline), (Activity::Running, false));
}

#[test]
fn who_says_that_it_stops_is_not_said_to_have_failed() {
    let mut world = World::grown(&["a", "b", "c"]);
    let node = world.id(1);
    world.hosts[0].events.clear();
    for input in [
        Input::OtherStopped { node, stopped: true },
        Input::PairSuspect { node },
        Input::OtherStopped { node, stopped: true },
        Input::OtherStopped { node, stopped: false },
        Input::PairAlive { node },
        Input::PairSuspect { node },
        Input::PairAlive { node },
    ] {
        world.inbox.push_back((0, input));
    }
    world.pump();
    let name = String::from("b");
    let events = [
        MeshEvent::NodeStopped { node, name: name.clone() },
        MeshEvent::NodeStarted { node, name: name.clone() },
        MeshEvent::NodeFailed { node, name: name.clone() },
        MeshEvent::NodeRecovered { node, name },
    ];
    assert_eq!(world.hosts[0].events, events);
}

#[test]
fn what_was_written_before_a_stop_is_told_to_who_watches_after_it() {
    let mut world = World::grown(&["a", "b", "c"]);
    let set = |request, key: &str| Input::Config {
        request,
        command: crate::agreed::ConfigCommand::Set {
            key: key.into(),
            value: Bytes::from_static(b"1"),
            expected: crate::agreed::Expected::Any,
        },
    };
    let before = world.mesh(1).applied_index();
    world.command(0, |request| set(request, "k/1"));
    world.command(1, stop(true));
    world.pass(Span::secs(1));
    world.command(1, start());
    world.command(0, |request| set(request, "k/2"));
    world.pass(Span::secs(1));
    let watch = world.command(1, |request| Input::Config {
        request,
        command: crate::agreed::ConfigCommand::Watch { prefix: "k/".into(), after: Some(before) },
    });
    let Some(Ok(Reply::Config(crate::agreed::ConfigReply::Changes { fresh, changes, .. }))) =
        world.reply(1, watch)
    else {
        panic!("{:?}", world.reply(1, watch))
    };
    let keys: Vec<&str> = changes.iter().map(|change| &change.key[..]).collect();
    assert_eq!((fresh, &keys[..]), (false, &["k/1", "k/2"][..]));
}
