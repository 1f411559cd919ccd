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
    let newer = Hello { key_rank: 0, nonce: u64::MAX, ..hello(2, 3) };
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

/// What the link is carried by now, and a further lane that the neighbour proves `byte` on; both ends do what they are to.
fn renewed(links: &mut Links, now: Instant, dial: DialId, lane: u64, byte: u8) -> Vec<Output> {
    let mut outputs =
        feed(links, now, Input::LaneUp { lane: LaneId(lane), dial: Some(dial), peer_key: key(byte) });
    outputs.extend(feed(links, now, say(lane, Message::Hello(hello(2, 3)))));
    outputs.extend(feed(links, now, say(lane, Message::Confirm)));
    let all: Vec<u64> = (4..=lane).collect();
    for lane in all {
        outputs.extend(feed(links, now, say(lane, Message::Pong { echo: now.0 })));
    }
    outputs
}

/// When node 2 is dialled next, and that dial. It answers whatever it is asked until then.
fn next_dial(links: &mut Links, mut now: Instant, until: Instant, lane: u64) -> Option<(Instant, DialId)> {
    while now < until {
        now = links.next_deadline()?;
        let mut outputs = feed(links, now, Input::Heard { lane: LaneId(lane) });
        outputs.extend(feed(links, now, say(lane, Message::Pong { echo: now.0 })));
        if let Some(dial) = dials(&outputs) {
            return Some((now, dial));
        }
    }
    None
}

#[test]
fn a_link_is_renewed_until_it_is_carried_under_the_new_key_however_often_that_fails() {
    let (mut links, mut now) = dialled();
    feed(&mut links, now, keys(&[2, NEXT]));
    for _ in 0..3 {
        let until = now + config().renew_after.times(2);
        let (at, dial) = next_dial(&mut links, now, until, 4).expect("it is dialled again");
        assert!(dials(&feed(&mut links, at, Input::DialFailed { dial })).is_none());
        now = at;
    }
    // It is reached, and proves the old key still: whichever lane carries the link then, that is tried again.
    let until = now + config().renew_after.times(2);
    let (at, dial) = next_dial(&mut links, now, until, 4).expect("it is dialled again");
    renewed(&mut links, at, dial, 5, 2);
    let carries = links.lane(id(2)).expect("the link stays up").0;
    let (at, dial) = next_dial(&mut links, at, at + config().renew_after.times(2), carries).expect("again");
    renewed(&mut links, at, dial, 6, NEXT);
    assert_eq!(links.lane(id(2)), Some(LaneId(6)));
    assert_eq!(next_dial(&mut links, at, at + Span::secs(600), 6), None, "it is carried under the new key");
}

#[test]
fn a_key_that_never_gives_way_is_waited_for_longer_and_longer() {
    let (mut links, start) = dialled();
    feed(&mut links, start, keys(&[2, NEXT]));
    let (mut now, mut count) = (start, 0);
    while let Some((at, dial)) = next_dial(&mut links, now, start + Span::secs(3600), 4) {
        feed(&mut links, at, Input::DialFailed { dial });
        (now, count) = (at, count + 1);
    }
    assert!((15..30).contains(&count), "dialled {count} times in an hour");
}

/// Also who learns of a key with all the members, or of the other end only afterwards.
#[test]
fn whoever_hears_of_a_key_in_any_way_renews() {
    let (mut links, now) = dialled();
    let mut all = roster(&[1, 3]);
    all.push((id(2), vec![key(2), key(NEXT)]));
    feed(&mut links, now, Input::Roster(all.clone()));
    assert!(next_dial(&mut links, now, now + Span::secs(5), 4).is_some());
    // It is told of the key before there is a link.
    let mut links = member(1, 5, config());
    feed(&mut links, now, Input::Roster(all));
    let outputs = feed(&mut links, now, Input::Target { address: String::from("b:1") });
    renewed(&mut links, now, dials(&outputs).expect("a dial"), 4, 2);
    assert!(next_dial(&mut links, now, now + Span::secs(5), 4).is_some());
}

/// The neighbour cannot dial: this node goes on until its links are under its new key.
#[test]
fn a_node_with_two_keys_renews_its_own_links_until_they_are_under_the_new_one() {
    let (mut links, mut now) = dialled();
    feed(&mut links, now, Input::Members(vec![(id(1), vec![key(1), key(101)])]));
    assert_eq!(next_dial(&mut links, now, now + Span::secs(60), 4), None, "it proves the old one still");
    now += Span::secs(60);
    let outputs = feed(&mut links, now, Input::KeyShown { number: 1 });
    let dial = dials(&outputs).expect("it dials at once");
    feed(&mut links, now, Input::DialFailed { dial });
    let (at, dial) = next_dial(&mut links, now, now + Span::secs(5), 4).expect("and again");
    let lane = LaneId(5);
    feed(&mut links, at, Input::LaneUp { lane, dial: Some(dial), peer_key: key(2) });
    // What the neighbour saw decides: by its nonce alone the lane would give way to the one before.
    feed(&mut links, at, say(5, Message::Hello(Hello { key_rank: 1, nonce: u64::MAX, ..hello(2, 3) })));
    feed(&mut links, at, say(5, Message::Confirm));
    for lane in [4, 5] {
        feed(&mut links, at, say(lane, Message::Pong { echo: at.0 }));
    }
    assert_eq!(links.lane(id(2)), Some(lane));
    assert_eq!(next_dial(&mut links, at, at + Span::secs(60), 5), None);
}

/// Keys count by the order in which they came, whatever became of those between.
#[test]
fn a_lane_is_ranked_by_the_key_that_was_proven() {
    let mut links = member(1, 5, config());
    let now = Instant::ZERO + Span::secs(1);
    let said = |links: &mut Links, lane: u64, byte: u8| {
        feed(links, now, accept(lane, byte));
        let outputs = feed(links, now, say(lane, Message::Hello(hello(2, 1))));
        outputs.iter().find_map(|output| match output {
            Output::Send { message: Message::Hello(hello), .. } => Some(hello.key_rank),
            _ => None,
        })
    };
    assert_eq!(said(&mut links, 10, 2), Some(0));
    feed(&mut links, now, keys(&[2, NEXT]));
    assert_eq!((said(&mut links, 11, 2), said(&mut links, 12, NEXT)), (Some(0), Some(1)));
    feed(&mut links, now, keys(&[2, 103]));
    assert_eq!((said(&mut links, 13, 2), said(&mut links, 14, 103)), (Some(0), Some(2)));
    feed(&mut links, now, keys(&[103]));
    feed(&mut links, now, keys(&[103, 104]));
    assert_eq!((said(&mut links, 15, 103), said(&mut links, 16, 104)), (Some(2), Some(3)));
}

#[cfg(feature = "planted")]
#[test]
#[should_panic(expected = "L14")]
fn a_link_that_is_renewed_only_once_is_noticed() {
    let (mut links, now) = dialled();
    links.planted = Planted::only(crate::planted::Bug::LinkRenewedOnce);
    feed(&mut links, now, keys(&[2, NEXT]));
    let (at, dial) = next_dial(&mut links, now, now + Span::secs(8), 4).expect("once");
    feed(&mut links, at, Input::DialFailed { dial });
}
