//! Keys that give way to others (L13).

use super::*;

const NEXT: u8 = 102;

fn keys(list: &[u8]) -> Input {
    Input::Members(vec![(id(2), list.iter().map(|&byte| key(byte)).collect())])
}

fn retired(outputs: &[Output]) -> bool {
    let said = |output: &Output| matches!(output, Output::Send { message: Message::KeyRetired { .. }, .. });
    outputs.iter().any(said)
}

/// A link to node 2 that this node dialled, up for a while.
fn dialled() -> (Links, Instant) {
    let mut links = member(1, 5, config());
    let now = Instant::ZERO + Span::secs(1);
    let outputs = feed(&mut links, now, Input::Target { address: String::from("b:1") });
    let [Output::Dial { dial, .. }] = &outputs[..] else { panic!("{outputs:?}") };
    feed(&mut links, now, Input::LaneUp { lane: LaneId(4), dial: Some(*dial), peer_key: key(2) });
    feed(&mut links, now, say(4, Message::Hello(hello(2, 3))));
    feed(&mut links, now, say(4, Message::Confirm));
    assert_eq!(links.lane(id(2)), Some(LaneId(4)));
    (links, now)
}

fn dials(outputs: &[Output]) -> Option<DialId> {
    outputs.iter().find_map(|output| match output {
        Output::Dial { dial, .. } => Some(*dial),
        _ => None,
    })
}

#[test]
fn a_neighbour_whose_key_gives_way_is_dialled_anew_and_the_link_moves_without_going_down() {
    let (mut links, now) = dialled();
    feed(&mut links, now, keys(&[2, NEXT]));
    assert_eq!(links.lane(id(2)), Some(LaneId(4)), "either key is good");
    let due = now + config().renew_after;
    let outputs = feed(&mut links, due, Input::Heard { lane: LaneId(4) });
    let dial = dials(&outputs).unwrap_or_else(|| panic!("nobody dials: {outputs:?}"));
    feed(&mut links, due, Input::LaneUp { lane: LaneId(5), dial: Some(dial), peer_key: key(NEXT) });
    // By its nonce alone it would give way to the lane before.
    let newer = Hello { rotation: 1, nonce: u64::MAX, ..hello(2, 3) };
    let mut outputs = feed(&mut links, due, say(5, Message::Hello(newer)));
    outputs.extend(feed(&mut links, due, say(4, Message::Pong { echo: due.0 })));
    outputs.extend(feed(&mut links, due, say(5, Message::Confirm)));
    for lane in [4, 5] {
        outputs.extend(feed(&mut links, due, say(lane, Message::Pong { echo: due.0 })));
    }
    assert_eq!(links.lane(id(2)), Some(LaneId(5)), "{outputs:?}");
    assert!(!outputs.contains(&Output::Down { node: id(2) }));
    let outputs = feed(&mut links, due, keys(&[NEXT]));
    assert!(!outputs.contains(&Output::Down { node: id(2) }), "it is carried under the new key");
}

#[test]
fn this_node_dials_anew_when_it_proves_another_key_and_once_only() {
    let (mut links, now) = dialled();
    let outputs = feed(&mut links, now, Input::KeyShown { number: 0 });
    assert_eq!(dials(&outputs), None, "it is the same key");
    let outputs = feed(&mut links, now, Input::KeyShown { number: 1 });
    let dial = dials(&outputs).expect("it dials");
    let outputs = feed(&mut links, now, Input::DialFailed { dial });
    assert_eq!(dials(&outputs), None);
    assert_eq!(links.lane(id(2)), Some(LaneId(4)), "the link stays");
}

#[test]
fn a_link_that_goes_down_before_it_is_renewed_is_dialled_within_the_shortest_pause() {
    let (mut links, now) = dialled();
    feed(&mut links, now, keys(&[2, NEXT]));
    feed(&mut links, now, Input::LaneDown { lane: LaneId(4) });
    let due = links.next_deadline().expect("a dial");
    assert!(due.since(now) <= config().redial_base, "{due:?}");
}

#[test]
fn a_lane_under_a_key_that_ends_is_closed_and_who_comes_with_it_is_shown_why() {
    let mut links = member(1, 5, config());
    let now = Instant::ZERO + Span::secs(1);
    bring_up(&mut links, now, 10, hello(2, 1));
    feed(&mut links, now, keys(&[2, NEXT]));
    let rotations = Bytes::from_static(b"how it came to its key");
    feed(&mut links, now, Input::GaveUpKey { node: id(2), rotations: rotations.clone() });
    let outputs = feed(&mut links, now, keys(&[NEXT]));
    assert!(matches!(&closes(&outputs)[..], [(LaneId(10), CloseReason::Unwelcome(_))]), "{outputs:?}");
    assert!(outputs.contains(&Output::Down { node: id(2) }));
    feed(&mut links, now, accept(11, 2));
    let outputs = feed(&mut links, now, say(11, Message::Hello(hello(2, 2))));
    let shown =
        Output::Send { lane: LaneId(11), message: Message::KeyRetired { rotations }, when: When::Now };
    assert!(outputs.contains(&shown), "{outputs:?}");
    assert_eq!(links.standing(LaneId(11)), Standing::Closed);
    // Not to whoever says hello under another name.
    feed(&mut links, now, accept(12, 3));
    let outputs = feed(&mut links, now, say(12, Message::Hello(hello(3, 1))));
    assert!(!retired(&outputs));
}

#[test]
fn what_retires_a_key_is_handed_on_once_and_ends_the_lane() {
    let (mut links, now) = dialled();
    let rotations = Bytes::from_static(b"how");
    let said = || say(4, Message::KeyRetired { rotations: rotations.clone() });
    let outputs = feed(&mut links, now, said());
    assert!(outputs.contains(&Output::KeyRetired(rotations.clone())), "{outputs:?}");
    assert_eq!(closes(&outputs).len(), 1);
    assert!(feed(&mut links, now, said()).is_empty());
    let message = Message::KeyRetired { rotations: Bytes::from_static(&[0; 5000]) };
    assert!(Message::decode(message.encode()).is_err(), "it is bounded");
}

/// Whoever stole a key can sign that it gave way to one of his own. He proves no member's key, or that of this very node.
#[test]
fn what_retires_a_key_is_believed_from_members_only() {
    for byte in [200, 1] {
        let mut links = member(1, 5, config());
        let now = Instant::ZERO + Span::secs(1);
        feed(&mut links, now, Input::Members(vec![(id(1), vec![key(1)])]));
        feed(&mut links, now, accept(11, byte));
        let outputs =
            feed(&mut links, now, say(11, Message::KeyRetired { rotations: Bytes::from_static(b"how") }));
        assert!(!outputs.iter().any(|output| matches!(output, Output::KeyRetired(_))), "{outputs:?}");
        assert_eq!(closes(&outputs).len(), 1);
    }
}
