//! Two starts of one node, seen by links (rule C6, L12).

use super::*;
use crate::id::BootId;

const NOW: Instant = Instant(1_000_000_000);
const CLAIM: Bytes = Bytes::from_static(b"claim");

fn sent(outputs: &[Output]) -> Vec<(u64, Message)> {
    let sent = |output: &Output| match output {
        Output::Send { lane, message, .. } if !matches!(message, Message::Ping { .. }) => {
            Some((lane.0, message.clone()))
        }
        _ => None,
    };
    outputs.iter().filter_map(sent).collect()
}

fn rival(boot: BootId, claim: &Bytes) -> Message {
    Message::Rival { boot, claim: claim.clone() }
}

fn bar(below: u64) -> Option<Bar> {
    Some(Bar { below, words: String::from("it exists twice"), record: Bytes::from_static(b"record") })
}

fn barred() -> Message {
    Message::Barred { record: Bytes::from_static(b"record") }
}

#[test]
fn a_start_that_finds_another_in_its_place_is_told_and_what_it_claims_is_handed_on() {
    let mut links = member(1, 1, config());
    bring_up(&mut links, NOW, 10, hello(2, 5));
    let second = Hello { boot: BootId(99), ..hello(2, 5) };
    feed(&mut links, NOW, accept(11, 2));
    let outputs = feed(&mut links, NOW, say(11, Message::Hello(second)));
    assert_eq!(sent(&outputs), [(11, rival(BootId(2005), &Bytes::new()))]);
    assert_eq!(links.standing(LaneId(11)), Standing::Contending);
    assert!(closes(&outputs).is_empty(), "it is to be heard");
    let outputs = feed(&mut links, NOW, say(11, Message::Claimed { claim: CLAIM }));
    assert_eq!(sent(&outputs), [(10, rival(BootId(99), &CLAIM))]);
    assert_eq!(links.lane(id(2)), Some(LaneId(10)), "a hint takes nobody's place");
    let mut closed = Vec::new();
    while let Some(due) = links.next_deadline().filter(|due| *due < NOW + Span::secs(2)) {
        closed.extend(closes(&feed(&mut links, due, Input::Deadline)));
    }
    assert!(closed.contains(&(LaneId(11), CloseReason::Surplus)), "{closed:?}");
}

#[test]
fn a_start_that_a_later_one_replaces_is_told_if_it_lives_still() {
    let mut links = member(1, 1, config());
    bring_up(&mut links, NOW, 10, hello(2, 5));
    let outputs = bring_up(&mut links, NOW, 11, hello(2, 6));
    assert!(sent(&outputs).contains(&(10, rival(BootId(2006), &Bytes::new()))), "{outputs:?}");
    let refused = |output: &&Output| matches!(output, Output::Event(Event::PeerRefused { .. }));
    assert!(!outputs.iter().any(|output| refused(&output)), "a restart is nothing to report");
    assert_eq!(links.lane(id(2)), Some(LaneId(11)));
    let outputs = feed(&mut links, NOW, say(10, Message::Claimed { claim: CLAIM }));
    assert_eq!(sent(&outputs), [(11, rival(BootId(2005), &CLAIM))]);
    // A lane on which nobody was told of anything says nothing of others.
    let outputs = feed(&mut links, NOW, say(11, Message::Claimed { claim: CLAIM }));
    assert_eq!(sent(&outputs), []);
}

#[test]
fn whoever_is_told_of_a_rival_says_what_it_claims_and_dials_anew() {
    let mut links = member(1, 1, config());
    bring_up(&mut links, NOW, 10, hello(2, 5));
    bring_up(&mut links, NOW, 11, hello(3, 5));
    for (lane, claim) in [(10, Bytes::new()), (11, CLAIM)] {
        let outputs = feed(&mut links, NOW, say(lane, rival(BootId(7), &claim)));
        assert_eq!(outputs, [Output::Rival { boot: BootId(7), claim }]);
    }
    let own = Bytes::from_static(b"own");
    let outputs = feed(&mut links, NOW, Input::Claim { other: BootId(7), claim: own.clone() });
    let said = Message::Claimed { claim: own.clone() };
    assert_eq!(sent(&outputs), [(10, said.clone()), (11, said.clone())]);
    assert_eq!(links.lane(id(2)), None, "its place there is another's");
    assert_eq!(links.lane(id(3)), Some(LaneId(11)));
    let outputs = feed(&mut links, NOW, say(11, rival(BootId(7), &CLAIM)));
    assert_eq!(sent(&outputs), [(11, said)], "it is not asked for it again");
}

#[test]
fn two_starts_that_meet_tell_each_other_and_whoever_finds_the_proof_shows_it() {
    let mut links = member(1, 1, config());
    feed(&mut links, NOW, accept(10, 1));
    let outputs = feed(&mut links, NOW, say(10, Message::Hello(hello(1, 9))));
    assert!(outputs.contains(&Output::Rival { boot: BootId(1009), claim: Bytes::new() }), "{outputs:?}");
    assert_eq!(sent(&outputs), [(10, rival(BootId(1001), &Bytes::new()))]);
    let outputs = feed(&mut links, NOW, say(10, Message::Claimed { claim: CLAIM }));
    assert_eq!(outputs, [Output::Rival { boot: BootId(1009), claim: CLAIM }]);
    let outputs = feed(&mut links, NOW, Input::Bar { node: id(1), bar: bar(1) });
    assert_eq!(sent(&outputs), [(10, barred())]);
    // At the other end the lane has said all but that.
    let mut other = member(1, 9, config());
    feed(&mut other, NOW, accept(20, 2));
    feed(&mut other, NOW, say(20, rival(BootId(1001), &Bytes::new())));
    feed(&mut other, NOW, Input::Claim { other: BootId(1001), claim: CLAIM });
    let outputs = feed(&mut other, NOW, say(20, barred()));
    assert!(outputs.contains(&Output::Identity(Bytes::from_static(b"record"))), "{outputs:?}");
}

#[test]
fn a_node_that_meets_its_own_dial_makes_nothing_of_it() {
    let mut links = member(1, 1, config());
    feed(&mut links, NOW, accept(10, 1));
    let outputs = feed(&mut links, NOW, say(10, Message::Hello(hello(1, 1))));
    assert_eq!(sent(&outputs), []);
    assert!(!outputs.iter().any(|output| matches!(output, Output::Rival { .. })));
    assert!(matches!(closes(&outputs)[..], [(LaneId(10), CloseReason::Unwelcome(_))]));
}

#[test]
fn starts_of_a_node_that_exists_twice_are_no_neighbours_until_a_round_begins() {
    let mut links = member(1, 1, config());
    bring_up(&mut links, NOW, 10, hello(2, 5));
    feed(&mut links, NOW, accept(11, 2));
    feed(&mut links, NOW, say(11, Message::Hello(hello(2, 5))));
    let outputs = feed(&mut links, NOW, Input::Bar { node: id(2), bar: bar(1) });
    assert_eq!(sent(&outputs), [(10, barred()), (11, barred())], "also one in the middle of it");
    assert!(outputs.contains(&Output::Down { node: id(2) }));
    let shown = Bytes::from_static(b"shown");
    let again = |round, identity| Message::Hello(Hello { round, identity, ..hello(2, 7) });
    feed(&mut links, NOW, accept(12, 2));
    let outputs = feed(&mut links, NOW, say(12, again(0, Bytes::new())));
    assert_eq!(sent(&outputs), [(12, barred())]);
    assert!(!outputs.iter().any(|output| matches!(output, Output::Identity(_))));
    // One of a later round is let in; what it shows is looked at.
    feed(&mut links, NOW, accept(13, 2));
    let outputs = feed(&mut links, NOW, say(13, again(1, shown.clone())));
    assert!(outputs.contains(&Output::Identity(shown)), "{outputs:?}");
    feed(&mut links, NOW, say(13, Message::Confirm));
    assert_eq!(links.lane(id(2)), Some(LaneId(13)));
    feed(&mut links, NOW, Input::Bar { node: id(2), bar: bar(1) });
    assert_eq!(links.lane(id(2)), Some(LaneId(13)), "it is of the round that counts");
    // Nobody is a node by saying so.
    feed(&mut links, NOW, accept(14, 3));
    let outputs = feed(&mut links, NOW, say(14, again(0, Bytes::new())));
    assert!(sent(&outputs).is_empty(), "{outputs:?}");
}

#[cfg(feature = "planted")]
#[test]
fn a_bar_that_is_not_kept_shows() {
    let planted = Planted::only(crate::planted::Bug::BarNotKept);
    let rng = Rng::stream([1; 32], Stream::Link);
    let mut links = Links::new(config(), id(1), BootId(1001), rng, planted);
    links.restored(at(Instant::ZERO), Generation(1));
    links.handle(at(Instant::ZERO), Input::Mesh(MESH));
    links.handle(at(Instant::ZERO), Input::Roster(roster(&[1, 2])));
    feed(&mut links, NOW, Input::Bar { node: id(2), bar: bar(1) });
    bring_up(&mut links, NOW, 10, hello(2, 5));
    assert_eq!(links.lane(id(2)), Some(LaneId(10)));
}
