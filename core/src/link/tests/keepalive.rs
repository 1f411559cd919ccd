use super::*;

const T: Instant = Instant(5_000_000_000);

fn pings(outputs: &[Output]) -> usize {
    outputs.iter().filter(|o| matches!(o, Output::Send { message: Message::Ping { .. }, .. })).count()
}

#[test]
fn an_idle_lane_is_pinged_each_second_and_closed_after_three_silent_ones() {
    let mut links = member(1, 5, config());
    assert_eq!(pings(&bring_up(&mut links, T, 10, hello(2, 3))), 1);
    let mut told = Vec::new();
    for second in 1..=3 {
        assert_eq!(links.next_deadline(), Some(T + Span::secs(second)));
        told.push(feed(&mut links, T + Span::secs(second), Input::Deadline));
    }
    assert_eq!((pings(&told[0]), pings(&told[1])), (1, 1));
    assert_eq!(closes(&told[2]), [(LaneId(10), CloseReason::Silent)]);
    assert!(told[2].contains(&Output::Down { node: id(2) }));
}

#[test]
fn any_byte_counts_as_life() {
    let mut links = member(1, 5, config());
    bring_up(&mut links, T, 10, hello(2, 3));
    for second in 1..=20 {
        feed(&mut links, T + Span::millis(second * 1000 - 100), Input::Heard { lane: LaneId(10) });
        let outputs = feed(&mut links, T + Span::secs(second), Input::Deadline);
        assert_eq!(closes(&outputs), [], "second {second}");
    }
}

#[test]
fn pongs_measure_the_round_trip_and_smooth_it() {
    let mut links = member(1, 5, config());
    bring_up(&mut links, T, 10, hello(2, 3));
    let rtt = |outputs: Vec<Output>| match &outputs[..] {
        [Output::Rtt { node, rtt }] if *node == id(2) => *rtt,
        other => panic!("{other:?}"),
    };
    let first = feed(&mut links, T + Span::millis(80), say(10, Message::Pong { echo: T.0 }));
    assert_eq!(rtt(first), Span::millis(80));
    let second = feed(&mut links, T + Span::millis(160), say(10, Message::Pong { echo: T.0 }));
    assert_eq!(rtt(second), Span::millis(90), "seven eighths of the old, one of the new");
    assert_eq!(links.rtt(id(2)), Some(Span::millis(90)));
}

#[test]
fn pongs_that_lie_measure_nothing() {
    let mut links = member(1, 5, config());
    bring_up(&mut links, T, 10, hello(2, 3));
    for echo in [T.0 + Span::secs(1).0, u64::MAX, 0] {
        let outputs = feed(&mut links, T + Span::millis(10), say(10, Message::Pong { echo }));
        assert_eq!(outputs, [], "echo {echo}");
    }
}

#[test]
fn pings_are_answered_with_their_own_number() {
    let mut links = member(1, 5, config());
    bring_up(&mut links, T, 10, hello(2, 3));
    let outputs = feed(&mut links, T, say(10, Message::Ping { sent: u64::MAX }));
    let pong = Message::Pong { echo: u64::MAX };
    assert_eq!(outputs, [Output::Send { lane: LaneId(10), message: pong, when: When::Now }]);
}

#[test]
fn a_node_that_stood_still_accuses_nobody() {
    let mut links = member(1, 5, config());
    bring_up(&mut links, T, 10, hello(2, 3));
    feed(&mut links, T, accept(11, 3));
    // It should have come back after one second, and comes after an hour.
    let late = T + Span::secs(3600);
    assert_eq!(closes(&feed(&mut links, late, Input::Deadline)), []);
    assert_eq!(closes(&feed(&mut links, late + Span::secs(1), Input::Deadline)), []);
    let outputs = feed(&mut links, late + Span::secs(2), Input::Deadline);
    assert_eq!(closes(&outputs), [(LaneId(10), CloseReason::Silent)], "the time before and after does count");
    let outputs = feed(&mut links, late + Span::secs(4), Input::Deadline);
    assert_eq!(closes(&outputs), [(LaneId(11), CloseReason::HandshakeTimeout)]);
}

#[test]
fn a_link_that_freezes_is_found_by_both_ends() {
    let mut world = Small::new(2, 1);
    world.dial(0, 1);
    world.run(Span::secs(2));
    assert!(world.is_up(0, 1));
    world.freeze(0, 1);
    world.cut.push((0, 1));
    world.run(Span::millis(3500));
    for node in 0..2 {
        assert!(matches!(world.ups_and_downs(node)[..], [Output::Up { .. }, Output::Down { .. }]));
    }
}
