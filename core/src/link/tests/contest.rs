//! Two starts of one node at the door of a third (rule C6).

use super::*;

const START: Instant = Instant(1_000_000_000);

fn other(generation: u64) -> Hello {
    Hello { boot: BootId(99), ..hello(2, generation) }
}

fn pinged(outputs: &[Output], lane: u64) -> bool {
    let ping = |output: &Output| matches!(output, Output::Send { lane: to, message: Message::Ping { .. }, .. } if *to == LaneId(lane));
    outputs.iter().any(ping)
}

fn twins_said(outputs: &[Output]) -> Vec<(LaneId, Twins)> {
    let said = |output: &Output| match output {
        Output::Send { lane, message: Message::Twins(twins), .. } => Some((*lane, *twins)),
        _ => None,
    };
    outputs.iter().filter_map(said).collect()
}

/// A node with a link to a start of node 2, at whose door stands another start of it.
fn contested(generation: u64) -> (Links, Instant) {
    let mut links = member(1, 5, config());
    bring_up(&mut links, START, 10, hello(2, 3));
    let now = START + Span::millis(500);
    let outputs = bring_up(&mut links, now, 11, other(generation));
    assert_eq!(links.lane(id(2)), Some(LaneId(10)), "it waits");
    assert_eq!(links.standing(LaneId(11)), Standing::Contending);
    assert!(pinged(&outputs, 10) && pinged(&outputs, 11), "{outputs:?}");
    (links, now)
}

#[test]
fn a_start_takes_the_place_of_one_that_answers_no_probe_whatever_their_counts() {
    for generation in [2, 3, 4] {
        let (mut links, now) = contested(generation);
        feed(&mut links, now + Span::millis(5), say(11, Message::Pong { echo: now.0 }));
        let outputs = feed(&mut links, now + Span::millis(400), Input::Deadline);
        let closed = [(LaneId(10), CloseReason::Silent), (LaneId(11), CloseReason::Surplus)];
        assert_eq!(closes(&outputs), closed, "what was said meanwhile was not heard: both begin anew");
        assert!(outputs.contains(&Output::Down { node: id(2) }));
        let outputs = bring_up(&mut links, now + Span::millis(410), 12, other(generation));
        assert!(
            outputs.iter().any(|output| matches!(output, Output::Up { boot: BootId(99), .. })),
            "{outputs:?}"
        );
        assert_eq!(links.lane(id(2)), Some(LaneId(12)));
    }
}

#[test]
fn a_start_that_answers_keeps_its_place_against_one_that_does_not() {
    for generation in [2, 3, 4] {
        let (mut links, now) = contested(generation);
        feed(&mut links, now + Span::millis(5), say(10, Message::Pong { echo: now.0 }));
        feed(&mut links, now + Span::millis(450), Input::Deadline);
        assert_eq!(links.lane(id(2)), Some(LaneId(10)));
        feed(&mut links, now + Span::secs(1), Input::LaneDown { lane: LaneId(11) });
        assert_eq!(links.lane(id(2)), Some(LaneId(10)));
        assert_eq!(links.twins_of(id(2)), None);
    }
}

#[test]
fn two_starts_that_both_answer_are_told_and_neither_is_a_neighbour_again() {
    for generation in [2, 3, 4] {
        for first in [10, 11] {
            let (mut links, now) = contested(generation);
            let pong = |lane| say(lane, Message::Pong { echo: now.0 });
            let outputs = feed(&mut links, now + Span::millis(5), pong(first));
            assert!(twins_said(&outputs).is_empty(), "one answer proves nothing");
            let outputs = feed(&mut links, now + Span::millis(9), pong(21 - first));
            let both = twins(BootId(2003), BootId(99));
            assert_eq!(twins_said(&outputs), [(LaneId(11), both), (LaneId(10), both)]);
            assert!(outputs.contains(&Output::Twins { node: id(2), twins: both }));
            assert!(outputs.contains(&Output::Down { node: id(2) }));
            assert_eq!(links.twins_of(id(2)), Some(both));
            // Either comes back in vain; a third start is welcome, and ends it.
            for hello in [other(generation), hello(2, 3)] {
                feed(&mut links, now + Span::secs(2), accept(12, 2));
                let outputs = feed(&mut links, now + Span::secs(2), say(12, Message::Hello(hello)));
                assert_eq!(twins_said(&outputs), [(LaneId(12), both)]);
                feed(&mut links, now + Span::secs(4), Input::LaneDown { lane: LaneId(12) });
            }
            bring_up(&mut links, now + Span::secs(5), 13, hello(2, 7));
            assert_eq!((links.lane(id(2)), links.twins_of(id(2))), (Some(LaneId(13)), None));
        }
    }
}

#[test]
fn an_answer_to_what_was_asked_before_proves_nothing() {
    let mut links = member(1, 5, config());
    bring_up(&mut links, START, 10, hello(2, 3));
    let before = START + Span::millis(1_000);
    assert!(pinged(&feed(&mut links, before, Input::Deadline), 10), "its keepalive");
    let now = before + Span::millis(5);
    bring_up(&mut links, now, 11, other(4));
    feed(&mut links, now + Span::millis(1), say(11, Message::Pong { echo: now.0 }));
    let outputs = feed(&mut links, now + Span::millis(2), say(10, Message::Pong { echo: before.0 }));
    assert!(twins_said(&outputs).is_empty(), "{outputs:?}");
    assert_eq!(links.twins_of(id(2)), None);
}

#[test]
fn what_others_found_out_counts_here_too_until_a_third_start_is_heard() {
    let mut links = member(1, 5, config());
    bring_up(&mut links, START, 10, hello(2, 3));
    let both = twins(BootId(2003), BootId(99));
    let outputs = feed(&mut links, START, Input::Twins { node: id(2), twins: Some(both) });
    assert_eq!(twins_said(&outputs), [(LaneId(10), both)]);
    links.hears_start(id(2), BootId(99));
    assert_eq!(links.twins_of(id(2)), Some(both));
    links.hears_start(id(2), BootId(7));
    assert_eq!(links.twins_of(id(2)), None);
    feed(&mut links, START, Input::Twins { node: id(1), twins: Some(both) });
    assert_eq!(links.twins_of(id(1)), None, "of itself it hears otherwise");
}

#[test]
fn a_node_that_is_told_of_its_copy_or_meets_it_says_so() {
    let mut links = member(1, 5, config());
    let own = BootId(1005);
    bring_up(&mut links, START, 10, hello(2, 3));
    let both = twins(own, BootId(99));
    let outputs = feed(&mut links, START, say(10, Message::Twins(both)));
    assert!(outputs.contains(&Output::Twin { twins: both, seen_by: Some(id(2)) }), "{outputs:?}");
    assert!(matches!(&closes(&outputs)[..], [(LaneId(10), CloseReason::Unwelcome(_))]));
    let strange = twins(BootId(7), BootId(99));
    bring_up(&mut links, START, 11, hello(2, 3));
    let outputs = feed(&mut links, START, say(11, Message::Twins(strange)));
    assert!(!outputs.iter().any(|output| matches!(output, Output::Twin { .. })), "that is another node");

    feed(&mut links, START, accept(12, 1));
    let copy = Hello { boot: BootId(99), ..hello(1, 6) };
    let outputs = feed(&mut links, START, say(12, Message::Hello(copy)));
    assert!(outputs.contains(&Output::Twin { twins: both, seen_by: None }), "{outputs:?}");
    feed(&mut links, START, accept(13, 1));
    let itself = Hello { boot: own, ..hello(1, 5) };
    let outputs = feed(&mut links, START, say(13, Message::Hello(itself)));
    assert!(!outputs.iter().any(|output| matches!(output, Output::Twin { .. })), "it dialled itself");
}
