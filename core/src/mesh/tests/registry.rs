use alloc::boxed::Box;

use super::*;
use crate::ends::Ends;
use crate::mesh::entry::Entry;
use crate::mesh::state::{DECIDED_MAX, Effect};

fn opened(reply: Option<Result<Reply, Refusal>>) -> (StreamInstance, bool) {
    match reply {
        Some(Ok(Reply::StreamOpened { instance, created })) => (instance, created),
        other => panic!("not open: {other:?}"),
    }
}

#[test]
fn a_stream_opens_once_and_is_found_again() {
    let mut world = World::grown(&["a", "b", "c"]);
    let first = world.command(2, open("words", "a", "c"));
    let (instance, created) = opened(world.reply(2, first));
    assert!(created);
    let c = world.id(2).to_string();
    let again = world.command(1, open("words", "a", &c));
    assert_eq!(opened(world.reply(1, again)), (instance, false));
    for host in 0..3 {
        assert_eq!(world.hosts[host].open.get(&instance).map(String::as_str), Some("words"));
        assert_eq!(world.mesh(host).stream("words").unwrap().ends.source, world.id(0));
    }
    world.assert_equal();
    let closed = world.command(1, close("words"));
    assert_eq!(world.reply(1, closed), Some(Ok(Reply::StreamClosed)));
    let gone = world.command(0, close("words"));
    assert_eq!(world.reply(0, gone), Some(Err(Refusal::UnknownStream("words".into()))));
    let reopened = world.command(0, open("words", "c", "a"));
    let (second, created) = opened(world.reply(0, reopened));
    assert!(created && second != instance, "M4: a new life has a new instance");
    assert_eq!(world.hosts[2].open.len(), 1);
}

#[test]
fn what_cannot_be_opened_is_refused_with_the_reason() {
    let mut world = World::grown(&["a", "b", "c"]);
    let refusal = |world: &mut World, name: &str, source: &str, target: &str| {
        let request = world.command(1, open(name, source, target));
        world.reply(1, request).unwrap().unwrap_err()
    };
    assert_eq!(refusal(&mut world, "s", "a", "a"), Refusal::BadEnds(BadEnds::Twice));
    assert_eq!(refusal(&mut world, "s", "a", "nobody"), Refusal::UnknownNode("nobody".into()));
    let stranger = NodeId(5).to_string();
    assert_eq!(refusal(&mut world, "s", &stranger, "a"), Refusal::UnknownNode(stranger.clone()));
    let long = "x".repeat(129);
    for name in ["", "a b", "ä", "a/b", &long] {
        assert!(matches!(refusal(&mut world, name, "a", "b"), Refusal::Invalid(_)), "{name:?}");
    }
    let request = world.command(0, open(&"x".repeat(128), "a", "b"));
    assert!(opened(world.reply(0, request)).1);
    let request = world.command(0, open("s", "a", "b"));
    assert!(opened(world.reply(0, request)).1);
    let ends = Box::new(Ends::between(world.id(0), world.id(1)));
    assert_eq!(refusal(&mut world, "s", "b", "a"), Refusal::OpenElsewhere { name: "s".into(), ends });
}

#[test]
fn a_stream_goes_to_several_targets_under_a_policy_and_is_the_same_however_that_is_said() {
    let mut world = World::grown(&["a", "b", "c", "d"]);
    let named = |names: &[&str]| Policy::Named(names.iter().map(ToString::to_string).collect());
    let mut ask = |targets: &[&str], policy: Policy<String>| {
        let request = world.command(1, open_to("fan", "a", targets, policy));
        world.reply(1, request).unwrap()
    };
    for (targets, policy, bad) in [
        (&[][..], Policy::All, BadEnds::NoTarget),
        (&["b", "c", "b"], Policy::All, BadEnds::Twice),
        (&["b", "c"], Policy::Count(3), BadEnds::Policy),
        (&["b", "c"], named(&["d"]), BadEnds::Policy),
    ] {
        assert_eq!(ask(targets, policy), Err(Refusal::BadEnds(bad)));
    }
    let targets: Vec<String> = (0..64).map(|at| alloc::format!("n{at}")).collect();
    let many: Vec<&str> = targets.iter().map(String::as_str).collect();
    assert_eq!(ask(&many, Policy::All), Err(Refusal::BadEnds(BadEnds::TooMany)));
    let (instance, created) = opened(Some(ask(&["b", "c", "d"], Policy::Count(2))));
    assert!(created);
    assert_eq!(opened(Some(ask(&["d", "b", "c"], Policy::Count(2)))), (instance, false));
    let other = [(&["b", "c"][..], Policy::Count(2)), (&["b", "c", "d"], Policy::Count(1))];
    for (targets, policy) in other.into_iter().chain([(&["b", "c", "d"][..], named(&["b", "c"]))]) {
        assert!(matches!(ask(targets, policy), Err(Refusal::OpenElsewhere { .. })));
    }
    let stream = world.mesh(3).stream("fan").unwrap().clone();
    assert_eq!(stream.ends.targets, [1, 2, 3].map(|at| world.id(at)));
    let state = &world.mesh(3).state;
    assert_eq!(State::decode(&state.encode()).as_ref(), Ok(state));
}

#[test]
fn every_refusal_is_decided_by_the_log_and_told_in_words() {
    let mut world = World::grown(&["a", "b", "c"]);
    world.command(0, open("s", "a", "b"));
    let ends = Box::new(Ends::between(world.id(0), world.id(1)));
    let elsewhere = Refusal::OpenElsewhere { name: "s".into(), ends };
    for host in 0..3 {
        let mut refusal = |input: Box<dyn FnOnce(RequestId) -> Input>| {
            let entries = world.log.len();
            let request = world.command(host, input);
            assert_eq!(world.log.len(), entries + 1);
            world.reply(host, request).unwrap().unwrap_err()
        };
        assert_eq!(refusal(Box::new(open("t", "a", "nobody"))), Refusal::UnknownNode("nobody".into()));
        assert_eq!(refusal(Box::new(open("t", "a", "a"))), Refusal::BadEnds(BadEnds::Twice));
        assert_eq!(refusal(Box::new(open("s", "b", "a"))), elsewhere);
        assert_eq!(refusal(Box::new(close("t"))), Refusal::UnknownStream("t".into()));
    }
    let entries = world.log.len();
    let bad = world.command(1, open("x y", "a", "b"));
    assert_eq!(world.reply(1, bad), Some(Err(state::bad_stream_name("x y"))));
    assert_eq!(world.log.len(), entries, "it is bad whatever the log holds");
    assert_eq!(world.mesh(0).requests.pending() + world.mesh(0).requests.served(), 0);
}

#[test]
fn a_copy_of_a_refused_request_that_comes_late_does_nothing() {
    let mut world = World::grown(&["a", "b", "c"]);
    let refused = world.command(2, close("s"));
    assert_eq!(world.reply(2, refused), Some(Err(Refusal::UnknownStream("s".into()))));
    let copy = world.forwarded.clone().expect("it was forwarded to the leader");
    let opening = world.command(1, open("s", "a", "b"));
    assert!(opened(world.reply(1, opening)).1);
    let from = world.id(2);
    world.inbox.push_back((0, Input::Message { from, message: copy }));
    world.pump();
    assert_eq!(world.mesh(0).streams().count(), 1, "what was refused once is not done later");
    world.assert_equal();
}

#[test]
fn a_request_survives_lost_messages() {
    let mut world = World::grown(&["a", "b"]);
    world.lose = 3;
    let request = world.command(1, open("s", "a", "b"));
    assert_eq!(world.reply(1, request), None);
    world.pass(Span::secs(4));
    assert!(opened(world.reply(1, request)).1);
    assert_eq!(world.doubted, 3, "whoever does not answer may not lead any more");
    world.assert_equal();
}

#[test]
fn a_request_survives_a_change_of_leader_and_happens_once() {
    let mut world = World::grown(&["a", "b", "c"]);
    world.quorum = false;
    let request = world.command(2, open("s", "a", "b"));
    world.lead(Some(1));
    world.lead(Some(0));
    let copies = world.log.len();
    world.quorum = true;
    world.pump();
    let (instance, created) = opened(world.reply(2, request));
    assert!(created);
    assert!(copies >= 3, "it stands in the log more than once");
    assert_eq!(world.mesh(1).streams().count(), 1);
    // A copy that is still under way does not bring a closed stream back.
    let last_open = world
        .log
        .iter()
        .find_map(|l| match l {
            Logged::Command(data, _) if matches!(Entry::decode(data).unwrap().body, Body::Open { .. }) => {
                Some(data.clone())
            }
            _ => None,
        })
        .unwrap();
    world.command(0, close("s"));
    world.log.push(Logged::Command(last_open, Term(world.term)));
    world.pump();
    assert_eq!(world.mesh(0).streams().count(), 0);
    assert!(!world.hosts[1].open.contains_key(&instance));
    world.assert_equal();
}

#[test]
fn a_node_that_does_not_lead_names_the_leader_it_knows() {
    let mut world = World::grown(&["a", "b", "c"]);
    // c takes b for the leader.
    let leader = Some(world.id(1));
    let term = Term(world.term);
    world.inbox.push_back((2, Input::Role { leading: false, term, leader }));
    world.pump();
    let request = world.command(2, open("s", "a", "b"));
    assert!(opened(world.reply(2, request)).1, "b sent c on to a");
}

#[test]
fn a_request_that_a_leader_without_a_quorum_was_given_ends_as_no_quorum() {
    let mut world = World::grown(&["a", "b"]);
    world.quorum = false;
    let request = world.command(1, open("s", "a", "b"));
    world.pass(Span::secs(9));
    assert_eq!(world.reply(1, request), None);
    world.pass(Span::secs(2));
    assert_eq!(world.reply(1, request), Some(Err(Refusal::NoQuorum)));
}

#[test]
fn open_requests_are_bounded() {
    let mut world = World::grown(&["a", "b"]);
    world.hosts[1].mesh.config.requests_max = 2;
    world.lead(None);
    for name in ["s1", "s2"] {
        let request = world.command(1, open(name, "a", "b"));
        assert_eq!(world.reply(1, request), None);
    }
    let third = world.command(1, open("s3", "a", "b"));
    assert_eq!(world.reply(1, third), Some(Err(Refusal::Busy)));
}

#[test]
fn streams_are_announced_again_after_a_restart_except_closed_ones() {
    let mut world = World::grown(&["a", "b"]);
    world.command(0, open("kept", "a", "b"));
    world.command(0, open("gone", "a", "b"));
    // The stored state knows both; the close comes after it.
    world.hosts[1].mesh.config.compact_after = 1;
    world.command(0, open("other", "b", "a"));
    assert!(world.hosts[1].compacted.is_some());
    world.hosts[1].mesh.config.compact_after = 1_000;
    world.command(0, close("gone"));
    world.quorum = false;
    world.restart(1);
    let names: Vec<&str> = world.hosts[1].open.values().map(String::as_str).collect();
    assert_eq!(world.mesh(1).streams().count(), 3, "the close has not been applied in this life");
    assert_eq!(names.len(), 2);
    assert!(!names.contains(&"gone"));
    world.quorum = true;
    world.pump();
    assert_eq!(world.mesh(1).streams().count(), 2);
    world.assert_equal();
}

#[test]
fn a_request_too_old_to_be_remembered_is_not_done() {
    let world = World::grown(&["a", "b"]);
    let mut state = world.mesh(0).state.clone();
    let entry = |number: u128, seen: LogIndex, body: Body| Entry {
        origin: NodeId(1),
        request: Request(number),
        seen,
        time: Wall(1),
        body,
    };
    let first = state.applied;
    for number in 0..=DECIDED_MAX as u128 {
        let index = state.applied.next();
        let outcome =
            state.apply(index, Some(&entry(number, first, Body::Close { name: "x".into() }))).unwrap();
        assert!(outcome.fresh);
    }
    state.check();
    assert!(state.floor > first);
    let old = entry(1 << 70, first, opening("x"));
    let outcome = state.apply(state.applied.next(), Some(&old)).unwrap();
    assert_eq!((outcome.result, outcome.fresh), (Err(Refusal::Busy), false));
    let new = Entry { seen: state.applied, ..old };
    let outcome = state.apply(state.applied.next(), Some(&new)).unwrap();
    assert_eq!(outcome.result, Ok(Effect::Opened { instance: StreamInstance(1 << 70), created: true }));
}

#[test]
fn time_grows_even_if_the_leaders_clock_steps_back() {
    let mut world = World::grown(&["a", "b"]);
    world.command(0, open("s1", "a", "b"));
    world.now.wall.0 -= 3_600_000;
    world.command(0, open("s2", "a", "b"));
    let (first, second) = (world.mesh(1).stream("s1").unwrap(), world.mesh(1).stream("s2").unwrap());
    assert!(second.opened > first.opened, "M6");
}

#[test]
fn a_leader_that_answers_another_question_gets_its_client_a_refusal() {
    let mut world = World::grown(&["a", "b"]);
    world.quorum = false;
    let asked = world.command(1, open("words", "a", "b"));
    let (own, now) = (world.id(1), world.now);
    let request = world.hosts[1].mesh.requests.waiting().next().expect("it waits for the mesh");
    let applied = world.mesh(1).applied_index();
    let body =
        Body::Update { node: own, addresses: Vec::new(), api: Some("elsewhere:1".into()), region: None };
    let entry = Entry { origin: own, request, seen: applied, time: Wall(now.wall.0 + 1_000), body };
    let entry = Applied { index: applied.next(), term: Term(9), command: true, data: entry.encode() };
    world.hosts[1].mesh.handle(now, Input::Apply { entries: Vec::from([entry]) });
    world.pump();
    let reply = world.reply(1, asked);
    assert!(matches!(reply, Some(Err(Refusal::Invalid(_)))), "{reply:?}");
}
