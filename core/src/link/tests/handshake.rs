use super::*;

const T: Instant = Instant::ZERO;

fn refusal_of(change: impl FnOnce(&mut Hello), proven: u8) -> CloseReason {
    let mut links = member(1, 5, config());
    feed(&mut links, T, accept(10, proven));
    let mut hello = hello(2, 3);
    change(&mut hello);
    let outputs = feed(&mut links, T, say(10, Message::Hello(hello)));
    assert!(
        !outputs.iter().any(|o| matches!(o, Output::Send { .. })),
        "who is refused is told nothing: {outputs:?}"
    );
    assert_eq!(links.standing(LaneId(10)), Standing::Closed);
    let [(LaneId(10), reason)] = &closes(&outputs)[..] else { panic!("not refused: {outputs:?}") };
    assert!(outputs.iter().any(|o| matches!(o, Output::Event(Event::PeerRefused { .. }))));
    reason.clone()
}

fn words(reason: CloseReason) -> String {
    match reason {
        CloseReason::Unwelcome(words) => words,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_neighbour_comes_up_after_hello_and_confirmation() {
    let mut links = member(1, 5, config());
    assert_eq!(feed(&mut links, T, accept(10, 2)), [], "who accepts lets the other end speak first");
    let outputs = feed(&mut links, T, say(10, Message::Hello(hello(2, 3))));
    let [Output::Send { lane: LaneId(10), message: Message::Hello(own), when: When::Durable }] = &outputs[..]
    else {
        panic!("{outputs:?}");
    };
    assert_eq!(
        (own.node, own.generation, own.mesh, own.purpose),
        (id(1), Generation(5), Some(MESH), Purpose::Link)
    );
    assert_eq!(links.standing(LaneId(10)), Standing::Greeting, "not before the other end agrees");
    assert_eq!(links.lane(id(2)), None);
    let outputs = feed(&mut links, T, say(10, Message::Confirm));
    let label = links.label(id(2)).unwrap();
    let lane = LaneId(10);
    assert_eq!(
        outputs,
        [
            Output::Send { lane, message: Message::Confirm, when: When::Now },
            Output::Up { node: id(2), lane, boot: BootId(2003), generation: Generation(3), label },
            Output::Send { lane, message: Message::Ping { sent: 0 }, when: When::Now },
        ]
    );
    assert_eq!(links.standing(lane), Standing::Linked(id(2)));
    assert_eq!(links.next(id(3), label), Ok(id(2)));
    assert_eq!(links.max_frame(lane), 1 << 20, "the smaller of both ends");
}

#[test]
fn the_dialling_end_speaks_first_and_may_use_the_lane_after_the_answer() {
    let mut links = member(1, 5, config());
    let dialled = feed(&mut links, T, Input::Target { address: String::from("b:1") });
    let [Output::Dial { dial, address }] = &dialled[..] else { panic!("{dialled:?}") };
    assert_eq!(address, "b:1");
    let up = Input::LaneUp { lane: LaneId(4), dial: Some(*dial), peer_key: key(2) };
    let outputs = feed(&mut links, T, up);
    assert!(
        matches!(&outputs[..], [Output::Send { message: Message::Hello(_), when: When::Durable, .. }]),
        "{outputs:?}"
    );
    let outputs = feed(&mut links, T, say(4, Message::Hello(hello(2, 3))));
    assert!(matches!(&outputs[0], Output::Send { message: Message::Confirm, .. }), "{outputs:?}");
    assert!(matches!(&outputs[1], Output::Up { .. }), "{outputs:?}");
}

#[test]
fn a_key_that_is_not_the_members_is_refused() {
    assert!(words(refusal_of(|_| {}, 3)).contains("its key is none of those"));
    assert!(words(refusal_of(|hello| hello.node = id(77), 77)).contains("not a member"));
}

#[test]
fn another_mesh_no_mesh_and_oneself_are_refused() {
    assert!(words(refusal_of(|hello| hello.mesh = Some(MeshId(1)), 2)).contains("belongs to mesh"));
    assert!(words(refusal_of(|hello| hello.mesh = None, 2)).contains("no mesh yet"));
    assert!(
        words(refusal_of(|hello| (hello.node, hello.boot) = (id(1), BootId(1005)), 1))
            .contains("this node itself")
    );
}

#[test]
fn versions_must_overlap() {
    let range = |low, high| {
        move |hello: &mut Hello| {
            hello.version_low = low;
            hello.version_high = high;
        }
    };
    assert!(words(refusal_of(range(2, 9), 2)).contains("versions 2 to 9"));
    assert!(words(refusal_of(range(0, 0), 2)).contains("versions 0 to 0"));
    assert!(matches!(refusal_of(range(2, 1), 2), CloseReason::Misbehaved(_)));
    let mut links = member(1, 5, config());
    let mut wide = hello(2, 3);
    (wide.version_low, wide.version_high) = (0, 9);
    bring_up(&mut links, T, 10, wide);
    assert_eq!(links.standing(LaneId(10)), Standing::Linked(id(2)));
}

#[test]
fn frames_too_small_for_a_handshake_are_refused() {
    assert!(matches!(refusal_of(|hello| hello.max_frame = 65_535, 2), CloseReason::Misbehaved(_)));
}

#[test]
fn before_the_handshake_only_a_hello_is_taken() {
    for message in [Message::Confirm, Message::Ping { sent: 0 }] {
        let mut links = member(1, 5, config());
        feed(&mut links, T, accept(10, 2));
        let outputs = feed(&mut links, T, say(10, message.clone()));
        assert!(
            matches!(&closes(&outputs)[..], [(_, CloseReason::Misbehaved(_))]),
            "{message:?}: {outputs:?}"
        );
    }
    let mut links = member(1, 5, config());
    bring_up(&mut links, T, 10, hello(2, 3));
    let outputs = feed(&mut links, T, say(10, Message::Hello(hello(2, 3))));
    assert!(
        matches!(&closes(&outputs)[..], [(_, CloseReason::Misbehaved(_))]),
        "a second hello: {outputs:?}"
    );
    assert!(outputs.contains(&Output::Down { node: id(2) }));
}

#[test]
fn a_handshake_that_does_not_end_is_cut_off() {
    for said_hello in [false, true] {
        let mut links = member(1, 5, config());
        feed(&mut links, T, accept(10, 2));
        if said_hello {
            feed(&mut links, T, say(10, Message::Hello(hello(2, 3))));
        }
        let deadline = links.next_deadline().unwrap();
        assert_eq!(deadline, T + Span::secs(5));
        assert_eq!(closes(&feed(&mut links, T + Span::millis(4999), Input::Heard { lane: LaneId(10) })), []);
        let outputs = feed(&mut links, deadline, Input::Deadline);
        assert_eq!(closes(&outputs), [(LaneId(10), CloseReason::HandshakeTimeout)]);
    }
}

#[test]
fn strangers_beyond_the_bound_are_turned_away_and_members_are_not() {
    let mut links = member(1, 5, config());
    for lane in 0..256 {
        assert_eq!(feed(&mut links, T, accept(lane, 100)), []);
    }
    let outputs = feed(&mut links, T, accept(1000, 100));
    assert!(matches!(&closes(&outputs)[..], [(LaneId(1000), CloseReason::Unwelcome(_))]), "{outputs:?}");
    assert_eq!(closes(&bring_up(&mut links, T, 1001, hello(2, 3))), [], "a member has its place");
    assert!(links.lane(id(2)).is_some());
    feed(&mut links, T, Input::LaneDown { lane: LaneId(1000) });
    feed(&mut links, T, Input::LaneDown { lane: LaneId(7) });
    assert_eq!(feed(&mut links, T, accept(1002, 100)), [], "a place came free");
}

#[test]
fn lanes_that_ended_leave_nothing_behind() {
    let mut links = member(1, 5, config());
    for lane in 0..1000 {
        feed(&mut links, T, accept(lane, 100));
        feed(&mut links, T, say(lane, Message::Confirm));
        feed(&mut links, T, Input::LaneDown { lane: LaneId(lane) });
    }
    assert!(links.lanes.keys().next().is_none());
    assert_eq!(links.next_deadline(), None);
}

#[test]
fn who_is_no_member_any_more_is_cut_off() {
    let mut links = member(1, 5, config());
    bring_up(&mut links, T, 10, hello(2, 3));
    bring_up(&mut links, T, 11, hello(3, 3));
    let outputs = feed(&mut links, T, Input::Roster(roster(&[1, 3])));
    assert!(matches!(&closes(&outputs)[..], [(LaneId(10), CloseReason::Unwelcome(_))]), "{outputs:?}");
    assert!(outputs.contains(&Output::Down { node: id(2) }));
    assert!(links.lane(id(3)).is_some());
}

fn joiner_hello(key: &PublicKey) -> Hello {
    Hello { purpose: Purpose::Join, mesh: None, node: key.first_node_id(), ..hello(2, 1) }
}

#[test]
fn a_node_whose_id_comes_from_its_key_may_ask_to_join() {
    let mut links = member(1, 5, config());
    let stranger = key(200);
    feed(&mut links, T, Input::LaneUp { lane: LaneId(10), dial: None, peer_key: stranger });
    let outputs = feed(&mut links, T, say(10, Message::Hello(joiner_hello(&stranger))));
    assert!(matches!(&outputs[0], Output::Send { message: Message::Hello(_), .. }), "{outputs:?}");
    assert_eq!(
        outputs[1],
        Output::JoinLaneUp { lane: LaneId(10), peer_key: stranger, rotations: Bytes::new() }
    );
    assert_eq!(links.standing(LaneId(10)), Standing::Joining);
    assert_eq!(links.neighbours().count(), 0, "who joins is no neighbour yet");
    let outputs = feed(&mut links, T, Input::LaneDown { lane: LaneId(10) });
    assert_eq!(outputs, [Output::JoinLaneDown { lane: LaneId(10) }]);
}

#[test]
fn joining_through_nobody_is_refused() {
    let stranger = key(200);
    let up = || Input::LaneUp { lane: LaneId(10), dial: None, peer_key: stranger };
    let mut lonely =
        Links::new(config(), id(1), BootId(1), Rng::stream([0; 32], Stream::Link), Planted::none());
    lonely.restored(at(T), Generation(1));
    feed(&mut lonely, T, up());
    let outputs = feed(&mut lonely, T, say(10, Message::Hello(joiner_hello(&stranger))));
    assert!(
        matches!(&closes(&outputs)[..], [(_, CloseReason::Unwelcome(w))] if w.contains("nobody can join"))
    );
}

#[test]
fn a_lane_for_joining_does_not_live_for_ever() {
    let mut links = member(1, 5, config());
    let stranger = key(200);
    feed(&mut links, T, Input::LaneUp { lane: LaneId(10), dial: None, peer_key: stranger });
    feed(&mut links, T, say(10, Message::Hello(joiner_hello(&stranger))));
    let mut now = T;
    let mut closed = Vec::new();
    while closed.is_empty() && now < T + Span::secs(100) {
        now = links.next_deadline().unwrap();
        closed = closes(&feed(&mut links, now, say(10, Message::Pong { echo: now.0 })));
    }
    assert_eq!((now, closed), (T + Span::secs(60), vec![(LaneId(10), CloseReason::HandshakeTimeout)]));
}

#[test]
fn joining_dials_once_and_says_when_nothing_came_of_it() {
    let mut links =
        Links::new(config(), id(1), BootId(1), Rng::stream([0; 32], Stream::Link), Planted::none());
    links.restored(at(T), Generation(1));
    let join = || Input::JoinTarget { address: String::from("b:1") };
    let outputs = feed(&mut links, T, join());
    let [Output::Dial { dial, .. }] = &outputs[..] else { panic!("{outputs:?}") };
    let outputs = feed(&mut links, T, Input::DialFailed { dial: *dial });
    assert!(matches!(&outputs[..], [Output::JoinFailed { address, .. }] if address == "b:1"), "{outputs:?}");
    assert_eq!(links.next_deadline(), None, "it is not dialled again");

    let outputs = feed(&mut links, T, join());
    let [Output::Dial { dial, .. }] = &outputs[..] else { panic!("{outputs:?}") };
    let lane = LaneId(3);
    let outputs = feed(&mut links, T, Input::LaneUp { lane, dial: Some(*dial), peer_key: key(2) });
    let [Output::Send { message: Message::Hello(own), .. }] = &outputs[..] else { panic!("{outputs:?}") };
    assert_eq!((own.purpose, own.mesh), (Purpose::Join, None));
    let answer = Hello { purpose: Purpose::Join, ..hello(2, 4) };
    let outputs = feed(&mut links, T, say(3, Message::Hello(answer)));
    assert_eq!(outputs, [Output::JoinLaneUp { lane, peer_key: key(2), rotations: Bytes::new() }]);
    let outputs = feed(&mut links, T, Input::Close { lane, reason: CloseReason::Stopping });
    assert!(outputs.contains(&Output::JoinLaneDown { lane }), "{outputs:?}");
    assert_eq!(links.targets.iter().count(), 0);
}

#[test]
fn a_label_of_an_earlier_start_leads_nowhere() {
    let mut before = member(1, 5, config());
    let mut after = member(1, 6, config());
    bring_up(&mut before, T, 10, hello(2, 3));
    bring_up(&mut after, T, 10, hello(3, 3));
    let old = before.label(id(2)).unwrap();
    assert_eq!(after.next(id(4), old), Err(LabelError::WrongTag(old)));
    let own = after.label(id(3)).unwrap();
    feed(&mut after, T, Input::LaneDown { lane: LaneId(10) });
    assert_eq!(after.next(id(4), own), Err(LabelError::NoLink(own)));
}

#[test]
fn a_label_of_the_start_before_leads_nowhere_whatever_the_boots_are_called() {
    // 2 and 3 came up in another order before the restart.
    let labels = |generation, neighbours: [u8; 2]| {
        let boot = BootId(7);
        let rng = Rng::stream([1; 32], Stream::Link);
        let mut links = Links::new(config(), id(1), boot, rng, Planted::none());
        links.restored(at(T), Generation(generation));
        links.handle(at(T), Input::Mesh(MESH));
        links.handle(at(T), Input::Roster(roster(&[1, 2, 3])));
        for (lane, node) in (10..).zip(neighbours) {
            bring_up(&mut links, T, lane, hello(node, 3));
        }
        links
    };
    let (before, after) = (labels(5, [2, 3]), labels(6, [3, 2]));
    let old = before.label(id(2)).expect("it is up");
    assert_eq!(before.next(id(3), old), Ok(id(2)));
    assert_eq!(after.next(id(3), old), Err(LabelError::WrongTag(old)));
}

#[test]
fn no_message_goes_back_to_the_neighbour_that_it_came_from() {
    let mut links = member(1, 5, config());
    bring_up(&mut links, T, 10, hello(2, 3));
    bring_up(&mut links, T, 11, hello(3, 3));
    let label = links.label(id(2)).expect("it is up");
    assert_eq!(links.next(id(3), label), Ok(id(2)));
    assert_eq!(links.next(id(2), label), Err(LabelError::Back(label)));
}

#[test]
fn a_stranger_of_this_mesh_is_turned_away_and_its_endorsement_told() {
    let told = |hello: Hello, proven: u8| {
        let mut links = member(1, 5, config());
        feed(&mut links, T, accept(10, proven));
        let outputs = feed(&mut links, T, say(10, Message::Hello(hello)));
        assert_eq!(links.standing(LaneId(10)), Standing::Closed);
        outputs.into_iter().find(|output| matches!(output, Output::Stranger { .. }))
    };
    let endorsement = Bytes::from_static(b"let in by 2");
    let shown = Hello { endorsement: endorsement.clone(), ..hello(200, 1) };
    let expected = Output::Stranger { node: id(200), key: key(200), endorsement };
    assert_eq!(told(shown.clone(), 200), Some(expected));
    assert_eq!(told(hello(200, 1), 200), None, "it shows nothing");
    assert_eq!(told(Hello { mesh: Some(MeshId(77)), ..shown.clone() }, 200), None, "of another mesh");
    let turned = told(Hello { node: id(2), ..shown.clone() }, 200);
    assert!(matches!(turned, Some(Output::Stranger { .. })), "a known member under another key");
    assert_eq!(
        told(Hello { version_low: 99, version_high: 99, ..shown }, 200),
        None,
        "it speaks another version"
    );
}

#[test]
fn an_endorsement_is_shown_to_neighbours_and_to_nobody_else() {
    let mut links = member(1, 5, config());
    feed(&mut links, T, Input::Endorsement(Bytes::from_static(b"let in by 2")));
    feed(&mut links, T, accept(10, 2));
    let outputs = feed(&mut links, T, say(10, Message::Hello(hello(2, 3))));
    let shown = |outputs: &[Output]| {
        outputs.iter().find_map(|output| match output {
            Output::Send { message: Message::Hello(hello), .. } => Some(hello.endorsement.clone()),
            _ => None,
        })
    };
    assert_eq!(shown(&outputs), Some(Bytes::from_static(b"let in by 2")));
    let stranger = key(200);
    feed(&mut links, T, Input::LaneUp { lane: LaneId(11), dial: None, peer_key: stranger });
    let outputs = feed(&mut links, T, say(11, Message::Hello(joiner_hello(&stranger))));
    assert_eq!(shown(&outputs), Some(Bytes::new()));
}
