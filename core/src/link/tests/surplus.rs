use super::*;

/// All lanes but one are gone, both ends use the same one, and neither ever saw the link go down.
fn settled(world: &Small, what: &str) {
    assert_eq!(world.lanes_between(0, 1), 1, "{what}");
    assert!(world.is_up(0, 1), "{what}");
    for node in 0..2 {
        assert!(
            matches!(world.ups_and_downs(node)[..], [Output::Up { .. }]),
            "{what}: {:?}",
            world.told[node]
        );
    }
}

#[test]
fn of_simultaneous_dials_both_ends_keep_the_same_one() {
    for seed in 0..200 {
        let mut world = Small::new(2, seed);
        world.dial(0, 1);
        world.dial(1, 0);
        world.run(Span::secs(3));
        settled(&world, &format!("seed {seed}"));
        assert_eq!(world.dials, 2);
    }
}

#[test]
fn simultaneous_dials_settle_while_connections_are_lost() {
    for seed in 0..200 {
        let mut world = Small::new(2, seed);
        world.dial(0, 1);
        world.dial(1, 0);
        // For a while, connections end or fall silent at random moments, some only for one end.
        for _ in 0..30 {
            let pause = Span::millis(world.rng.below(400));
            world.run(pause);
            for (near, far) in world.lane_ends(0, 1) {
                match world.rng.below(6) {
                    0 => world.deaf.extend([near, far]),
                    1 => world.deaf.push(near),
                    2 => {
                        world.happen(Happening::Input(near.0, Input::LaneDown { lane: near.1 }));
                        world.happen(Happening::Input(far.0, Input::LaneDown { lane: far.1 }));
                    }
                    3 => world.happen(Happening::Input(far.0, Input::LaneDown { lane: far.1 })),
                    _ => {}
                }
            }
        }
        world.run(Span::secs(30));
        assert!(world.is_up(0, 1), "seed {seed}: progress is owed once connections hold");
        assert_eq!(world.lanes_between(0, 1), 1, "seed {seed}");
    }
}

#[test]
fn a_dead_lane_does_not_win_over_a_living_one() {
    // One end lost the connection and dials again; the other still believes in the old one.
    for seed in 0..50 {
        let mut world = Small::new(2, seed);
        world.dial(0, 1);
        world.run(Span::secs(15));
        let [(near, far)] = world.lane_ends(0, 1)[..] else { panic!("one lane") };
        world.deaf.push(far);
        world.happen(Happening::Input(near.0, Input::LaneDown { lane: near.1 }));
        world.run(Span::millis(1200));
        assert!(
            world.is_up(0, 1),
            "seed {seed}: up again long before the old lane is silent for three seconds"
        );
        let Some(links) = &world.nodes[1] else { panic!("node 2 runs") };
        assert_eq!(links.standing(far.1), Standing::Closed, "the old lane did not prove itself");
        assert!(matches!(world.ups_and_downs(1)[..], [Output::Up { .. }]), "node 2 switched without a gap");
    }
}

#[test]
fn a_confirmation_that_was_long_under_way_takes_no_link_from_a_living_lane() {
    // The dialling end lost a lane during the handshake and dialled again. Its confirmation of the first comes when the second is in use.
    let start = Instant(1_000_000_000);
    let mut links = member(2, 5, config());
    feed(&mut links, start, accept(10, 1));
    feed(&mut links, start, say(10, Message::Hello(Hello { nonce: 1, ..hello(1, 3) })));
    bring_up(&mut links, start + Span::secs(1), 11, hello(1, 3));
    let now = start + Span::secs(3);
    let outputs = feed(&mut links, now, say(10, Message::Confirm));
    let ping =
        |lane| Output::Send { lane: LaneId(lane), message: Message::Ping { sent: now.0 }, when: When::Now };
    assert!(outputs.contains(&ping(10)) && outputs.contains(&ping(11)), "{outputs:?}");
    let outputs = feed(&mut links, now + Span::millis(1), say(11, Message::Pong { echo: now.0 }));
    assert!(
        !outputs.iter().any(|o| matches!(o, Output::Send { message: Message::Leaving, .. })),
        "{outputs:?}"
    );
    // Whether its end is told of or not, the living lane carries the link.
    let mut told = links.clone();
    let outputs = feed(&mut told, now + Span::millis(2), Input::LaneDown { lane: LaneId(10) });
    assert_eq!(outputs, []);
    let mut now = now;
    let mut closed = Vec::new();
    while now < start + Span::secs(9) {
        now += Span::millis(500);
        for lane in [11, 10] {
            closed.extend(closes(&feed(&mut links, now, Input::Heard { lane: LaneId(lane) })));
        }
    }
    assert_eq!(closed, [(LaneId(10), CloseReason::Silent)], "it answers nothing");
    for links in [told, links] {
        assert_eq!(links.lane(id(1)), Some(LaneId(11)));
    }
}

#[test]
fn an_answer_from_before_a_lane_was_taken_up_does_not_prove_an_older_one_against_it() {
    let now = Instant(1_000_000_000);
    let mut links = member(2, 5, config());
    bring_up(&mut links, now, 10, hello(1, 3));
    bring_up(&mut links, now, 11, Hello { nonce: 8, ..hello(1, 3) });
    let later = now + Span::millis(100);
    bring_up(&mut links, later, 12, Hello { nonce: 9, ..hello(1, 3) });
    // The other end answered on both, lost them, and dialled the third.
    for lane in [10, 11] {
        feed(&mut links, later, say(lane, Message::Pong { echo: now.0 }));
    }
    let outputs = feed(&mut links, later, say(12, Message::Pong { echo: later.0 }));
    assert!(
        !outputs.iter().any(|o| matches!(o, Output::Send { message: Message::Leaving, .. })),
        "{outputs:?}"
    );
    for lane in [10, 11] {
        feed(&mut links, later, Input::LaneDown { lane: LaneId(lane) });
    }
    assert_eq!(links.lane(id(1)), Some(LaneId(12)));
}

#[test]
fn a_lane_that_was_dialled_proves_itself_once_it_is_confirmed() {
    let now = Instant(1_000_000_000);
    let mut links = member(1, 5, config());
    let outputs = feed(&mut links, now, Input::Target { address: String::from("2") });
    let [Output::Dial { dial, .. }] = &outputs[..] else { panic!("{outputs:?}") };
    feed(&mut links, now, Input::LaneUp { lane: LaneId(20), dial: Some(*dial), peer_key: key(2) });
    bring_up(&mut links, now, 10, hello(2, 3));
    feed(&mut links, now, say(20, Message::Hello(hello(2, 3))));
    feed(&mut links, now, say(10, Message::Pong { echo: now.0 }));
    let later = now + Span::millis(100);
    feed(&mut links, later, say(20, Message::Confirm));
    // What answers an earlier ping travelled with the confirmation.
    feed(&mut links, later, say(20, Message::Pong { echo: now.0 }));
    assert_eq!(links.lane(id(2)), Some(LaneId(10)));
    feed(&mut links, later + Span::millis(1), say(20, Message::Pong { echo: later.0 }));
    assert_eq!(links.lane(id(2)), Some(LaneId(20)));
}

#[test]
fn a_later_start_replaces_an_earlier_one_at_once() {
    let now = Instant(1_000_000_000);
    let mut links = member(1, 5, config());
    bring_up(&mut links, now, 10, hello(2, 3));
    let label = links.label(id(2));
    let outputs = bring_up(&mut links, now, 11, hello(2, 4));
    assert_eq!(links.standing(LaneId(10)), Standing::Contending, "it may hear of that, and say nothing else");
    let told: Vec<&Output> =
        outputs.iter().filter(|o| matches!(o, Output::Up { .. } | Output::Down { .. })).collect();
    assert!(
        matches!(told[..], [Output::Down { .. }, Output::Up { generation: Generation(4), .. }]),
        "{told:?}"
    );
    assert_eq!(links.lane(id(2)), Some(LaneId(11)));
    assert_eq!(links.label(id(2)), label, "a neighbour keeps its label");
}

#[test]
fn an_earlier_or_equal_start_waits_until_the_one_that_is_there_is_silent() {
    let start = Instant(1_000_000_000);
    for generation in [2, 3] {
        let mut links = member(1, 5, config());
        bring_up(&mut links, start, 10, hello(2, 3));
        let other = Hello { boot: BootId(99), ..hello(2, generation) };
        let now = start + Span::millis(500);
        feed(&mut links, now, accept(11, 2));
        let outputs = feed(&mut links, now, say(11, Message::Hello(other.clone())));
        let refused = |output: &Output| matches!(output, Output::Event(Event::PeerRefused { .. }));
        assert!(outputs.iter().any(refused), "{outputs:?}");
        assert_eq!(links.standing(LaneId(11)), Standing::Contending);
        let ping = Message::Ping { sent: now.0 };
        assert!(
            outputs.contains(&Output::Send { lane: LaneId(10), message: ping, when: When::Now }),
            "{outputs:?}"
        );
        feed(&mut links, now, Input::LaneDown { lane: LaneId(11) });
        // The one that is there answers: it stays.
        let mut living = links.clone();
        feed(&mut living, now + Span::millis(20), say(10, Message::Pong { echo: now.0 }));
        feed(&mut living, now + Span::millis(450), Input::Deadline);
        assert_eq!(living.lane(id(2)), Some(LaneId(10)));
        // It does not: the other may come.
        let outputs = feed(&mut links, now + Span::millis(400), Input::Deadline);
        assert_eq!(closes(&outputs), [(LaneId(10), CloseReason::Silent)]);
        bring_up(&mut links, now + Span::millis(410), 12, other);
        assert_eq!(links.lane(id(2)), Some(LaneId(12)));
    }
}

#[test]
fn a_stranger_cannot_make_lanes_prove_themselves() {
    let now = Instant(1_000_000_000);
    let mut links = member(1, 5, config());
    bring_up(&mut links, now, 10, hello(2, 3));
    feed(&mut links, now, accept(11, 200));
    let outputs = feed(&mut links, now, say(11, Message::Hello(Hello { boot: BootId(99), ..hello(2, 2) })));
    assert!(!outputs.iter().any(|o| matches!(o, Output::Send { lane: LaneId(10), .. })), "{outputs:?}");
}

#[test]
fn a_lane_is_left_only_after_the_survivor_is_confirmed_and_a_farewell_closes_it() {
    let now = Instant(1_000_000_000);
    let mut links = member(2, 5, config());
    // Accepted from node 1, and preferred: node 1 is the smaller one.
    let outputs = feed(&mut links, now, Input::Target { address: String::from("1") });
    let [Output::Dial { dial, .. }] = &outputs[..] else { panic!("{outputs:?}") };
    feed(&mut links, now, Input::LaneUp { lane: LaneId(20), dial: Some(*dial), peer_key: key(1) });
    feed(&mut links, now, say(20, Message::Hello(hello(1, 3))));
    feed(&mut links, now, say(20, Message::Confirm));
    feed(&mut links, now, accept(10, 1));
    let dialled_there = Hello { nonce: u64::MAX, ..hello(1, 3) };
    let outputs = feed(&mut links, now, say(10, Message::Hello(dialled_there)));
    assert!(!outputs.iter().any(|o| matches!(o, Output::Switched { .. })), "it is not confirmed yet");
    let outputs = feed(&mut links, now, say(10, Message::Confirm));
    assert!(
        !outputs.iter().any(|o| matches!(o, Output::Switched { .. })),
        "the older lane may prove itself first"
    );
    let outputs = feed(&mut links, now, say(20, Message::Pong { echo: now.0 }));
    assert!(!outputs.iter().any(|o| matches!(o, Output::Switched { .. })), "nor has the newer one yet");
    let outputs = feed(&mut links, now, say(10, Message::Pong { echo: now.0 }));
    assert!(outputs.contains(&Output::Switched { node: id(1), lane: LaneId(10) }), "{outputs:?}");
    let farewell = Output::Send { lane: LaneId(20), message: Message::Leaving, when: When::Now };
    assert!(outputs.contains(&farewell), "{outputs:?}");
    assert_eq!(closes(&outputs), [], "what the other end sent last may still come");
    // The other end may take its time, but not for ever.
    let mut impatient = links.clone();
    let outputs = feed(&mut impatient, now + Span::secs(1), Input::Deadline);
    assert_eq!(closes(&outputs), [(LaneId(20), CloseReason::Surplus)]);
    let outputs = feed(&mut links, now, say(20, Message::Leaving));
    assert_eq!(outputs, [Output::Close { lane: LaneId(20), reason: CloseReason::Surplus }]);
    assert_eq!(links.lane(id(1)), Some(LaneId(10)));
}

#[test]
fn nothing_is_said_on_a_lane_after_the_farewell() {
    let now = Instant(1_000_000_000);
    let patient = Config { drain: Span::secs(5), ..config() };
    let mut links = member(2, 5, patient);
    bring_up(&mut links, now, 10, hello(1, 3));
    bring_up(&mut links, now, 11, Hello { nonce: 9, ..hello(1, 3) });
    feed(&mut links, now, say(11, Message::Pong { echo: now.0 }));
    let outputs = feed(&mut links, now, say(10, Message::Pong { echo: now.0 }));
    let of_lane = |outputs: &[Output], id| {
        let sent = outputs.iter().filter(|o| matches!(o, Output::Send { lane, .. } if *lane == LaneId(id)));
        sent.cloned().collect::<Vec<_>>()
    };
    let farewell = Output::Send { lane: LaneId(11), message: Message::Leaving, when: When::Now };
    assert_eq!(of_lane(&outputs, 11), [farewell]);
    let outputs = feed(&mut links, now + Span::millis(10), say(11, Message::Ping { sent: 1 }));
    assert_eq!(outputs, []);
    let outputs = feed(&mut links, now + Span::secs(1), Input::Deadline);
    assert_eq!((of_lane(&outputs, 10).len(), of_lane(&outputs, 11).len()), (1, 0));
}

#[test]
fn when_the_lane_in_use_ends_another_takes_over_in_the_same_turn() {
    let now = Instant(1_000_000_000);
    let mut links = member(1, 5, config());
    bring_up(&mut links, now, 10, hello(2, 3));
    bring_up(&mut links, now, 11, Hello { nonce: 9, ..hello(2, 3) });
    let current = links.lane(id(2)).unwrap();
    let other = LaneId(21 - current.0);
    let outputs = feed(&mut links, now, Input::LaneDown { lane: current });
    assert_eq!(outputs, [Output::Switched { node: id(2), lane: other }]);
    let outputs = feed(&mut links, now, Input::LaneDown { lane: other });
    assert!(outputs.contains(&Output::Down { node: id(2) }), "{outputs:?}");
}

#[test]
fn lanes_of_one_neighbour_are_bounded() {
    let now = Instant(1_000_000_000);
    let mut links = member(1, 5, config());
    for lane in 0..8 {
        let outputs = bring_up(&mut links, now, lane, Hello { nonce: lane, ..hello(2, 3) });
        assert_eq!(closes(&outputs), []);
    }
    feed(&mut links, now, accept(8, 2));
    let outputs = feed(&mut links, now, say(8, Message::Hello(hello(2, 3))));
    assert!(matches!(&closes(&outputs)[..], [(LaneId(8), CloseReason::Unwelcome(_))]), "{outputs:?}");
}
