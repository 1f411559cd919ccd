use super::*;
use crate::digest::Digest;
use crate::epoch::Epoch;
use crate::link::{Banned, Bounds, Fence};

const EPOCH: Epoch = Epoch { number: 3, digest: Digest([3; 32]) };

fn fence(node: u8) -> Fence {
    Fence { proof: Bytes::copy_from_slice(&[node; 3]), endorsement: Bytes::from_static(b"who") }
}

fn bounds(banned: &[u8]) -> Input {
    let banned = banned
        .iter()
        .map(|&node| (id(node), Banned { words: alloc::format!("{node} was evicted"), fence: fence(node) }));
    Input::Bounds(Bounds {
        epoch: EPOCH,
        proofs: Vec::from([Bytes::from_static(b"proof")]),
        banned: banned.collect(),
    })
}

fn roster(nodes: &[u8]) -> Input {
    Input::Roster(nodes.iter().map(|&node| (id(node), Vec::from([key(node)]))).collect())
}

fn fenced(outputs: &[Output]) -> Option<(LaneId, Fence)> {
    outputs.iter().find_map(|output| match output {
        Output::Send { lane, message: Message::Fenced(fence), .. } => Some((*lane, fence.clone())),
        _ => None,
    })
}

#[test]
fn a_neighbour_that_is_evicted_is_told_so_and_then_cut_off() {
    let mut links = member(1, 1, config());
    let now = Instant::ZERO + Span::secs(1);
    bring_up(&mut links, now, 10, hello(2, 1));
    assert!(links.lane(id(2)).is_some());
    feed(&mut links, now, bounds(&[2]));
    let outputs = feed(&mut links, now, roster(&[1, 3]));
    assert_eq!(fenced(&outputs), Some((LaneId(10), fence(2))));
    assert!(outputs.contains(&Output::Down { node: id(2) }));
    assert!(closes(&outputs).is_empty(), "the word must arrive first");
    assert_eq!(links.standing(LaneId(10)), Standing::Closed);
    let outputs = feed(&mut links, now + Span::secs(5), Input::Deadline);
    assert_eq!(closes(&outputs), [(LaneId(10), CloseReason::Surplus)]);
    feed(&mut links, now + Span::secs(5), Input::LaneDown { lane: LaneId(10) });
}

#[test]
fn a_former_member_that_comes_again_is_turned_away_and_told_why() {
    let mut links = member(1, 1, config());
    let now = Instant::ZERO + Span::secs(1);
    feed(&mut links, now, bounds(&[2]));
    feed(&mut links, now, roster(&[1, 3]));
    feed(&mut links, now, accept(10, 2));
    let old = Hello { endorsement: Bytes::from_static(b"old"), ..hello(2, 4) };
    let outputs = feed(&mut links, now, say(10, Message::Hello(old)));
    assert_eq!(fenced(&outputs), Some((LaneId(10), fence(2))));
    assert!(!outputs.iter().any(|output| matches!(output, Output::Stranger { .. })), "it is of an old epoch");
    let refused = |output: &Output| match output {
        Output::Event(Event::PeerRefused { reason: CloseReason::Unwelcome(why), .. }) => Some(why.clone()),
        _ => None,
    };
    assert_eq!(outputs.iter().find_map(refused).as_deref(), Some("2 was evicted"));

    // What it shows of a later admission may be good, once it has caught up with that.
    feed(&mut links, now, accept(11, 2));
    let new = Hello { endorsement: Bytes::from_static(b"new"), epoch: EPOCH, ..hello(2, 4) };
    let outputs = feed(&mut links, now, say(11, Message::Hello(new.clone())));
    assert!(outputs.iter().any(|output| matches!(output, Output::Stranger { .. })));
    feed(&mut links, now, roster(&[1, 2, 3]));
    feed(&mut links, now, accept(12, 2));
    feed(&mut links, now, say(12, Message::Hello(new)));
    feed(&mut links, now, say(12, Message::Confirm));
    assert!(links.lane(id(2)).is_some(), "it was introduced");
}

#[test]
fn one_epoch_by_two_entries_is_two_meshes() {
    let mut links = member(1, 1, config());
    let now = Instant::ZERO + Span::secs(1);
    feed(&mut links, now, bounds(&[]));
    feed(&mut links, now, accept(10, 2));
    let other = Hello { epoch: Epoch { number: 3, digest: Digest([4; 32]) }, ..hello(2, 1) };
    let outputs = feed(&mut links, now, say(10, Message::Hello(other)));
    let shown = |output: &Output| matches!(output, Output::Send { message: Message::Hello(hello), .. } if hello.epoch == EPOCH);
    assert!(outputs.iter().any(shown), "each sees where the other stands");
    assert_eq!(links.standing(LaneId(10)), Standing::Closed);
    assert!(links.lane(id(2)).is_none());
}

#[test]
fn a_higher_epoch_is_shown_to_whoever_can_check_it() {
    let mut links = member(1, 1, config());
    let now = Instant::ZERO + Span::secs(1);
    feed(&mut links, now, accept(10, 2));
    let proof = Bytes::from_static(b"raised");
    let outputs = feed(
        &mut links,
        now,
        say(
            10,
            Message::Hello(Hello { epoch: EPOCH, epoch_proofs: Vec::from([proof.clone()]), ..hello(2, 1) }),
        ),
    );
    assert!(outputs.contains(&Output::Fenced(Fence { proof, endorsement: Bytes::new() })));
    feed(&mut links, now, accept(11, 3));
    let outputs = feed(&mut links, now, say(11, Message::Fenced(fence(1))));
    assert!(outputs.contains(&Output::Fenced(fence(1))));
    assert_eq!(closes(&outputs).len(), 1);
}

#[test]
fn an_epoch_that_rises_is_shown_to_those_whose_hello_was_answered_before() {
    let mut links = member(1, 1, config());
    let now = Instant::ZERO + Span::secs(1);
    bring_up(&mut links, now, 10, hello(2, 1));
    feed(&mut links, now, accept(11, 3));
    feed(&mut links, now, say(11, Message::Hello(hello(3, 1))));
    let raised = |outputs: &[Output]| -> Vec<LaneId> {
        let lanes = outputs.iter().filter_map(|output| match output {
            Output::Send { lane, message: Message::Raised { epoch_proofs }, .. } => {
                assert_eq!(epoch_proofs[..], [Bytes::from_static(b"proof")]);
                Some(*lane)
            }
            _ => None,
        });
        lanes.collect()
    };
    assert_eq!(raised(&feed(&mut links, now, bounds(&[4]))), [LaneId(10)]);
    assert_eq!(raised(&feed(&mut links, now, bounds(&[4, 5]))), [], "said once");
    let outputs = feed(&mut links, now, say(11, Message::Confirm));
    assert_eq!(raised(&outputs), [LaneId(11)], "it rose while this link came up");

    let proof = Bytes::from_static(b"raised");
    let message = Message::Raised { epoch_proofs: Vec::from([proof.clone()]) };
    let outputs = feed(&mut links, now, say(10, message.clone()));
    assert!(outputs.contains(&Output::Fenced(Fence { proof, endorsement: Bytes::new() })));
    feed(&mut links, now, accept(12, 6));
    let outputs = feed(&mut links, now, say(12, message));
    assert!(!outputs.iter().any(|output| matches!(output, Output::Fenced(_))), "nobody knows who says it");
}

#[test]
fn a_node_of_no_mesh_has_no_neighbours_and_dials_nobody() {
    let mut links = member(1, 1, config());
    let now = Instant::ZERO + Span::secs(1);
    bring_up(&mut links, now, 10, hello(2, 1));
    feed(&mut links, now, Input::Target { address: String::from("2") });
    let outputs = feed(&mut links, now, Input::Parted);
    assert!(outputs.contains(&Output::Down { node: id(2) }));
    feed(&mut links, now, Input::LaneDown { lane: LaneId(10) });
    let outputs = feed(&mut links, now + Span::secs(60), Input::Deadline);
    assert!(!outputs.iter().any(|output| matches!(output, Output::Dial { .. })), "{outputs:?}");
}
