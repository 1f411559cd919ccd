//! Inputs in any order, from peers that say anything: nothing panics, every invariant holds after each step, and what is
//! held stays bounded.

use super::*;
use crate::id::{GroupId, Term};
use crate::link::pairs::{self, LeadsDigest};

fn some_hello(rng: &mut Rng, peer: u8) -> Hello {
    let node = if rng.below(8) == 0 { 1 + rng.below(5) as u8 } else { peer };
    let mut hello = hello(node, rng.below(3));
    if rng.below(4) == 0 {
        hello.boot = BootId(u128::from(rng.below(6)));
    }
    hello.nonce = rng.below(3);
    match rng.below(30) {
        0 => hello.mesh = None,
        1 => hello.max_frame = rng.u64() as u32,
        2 => (hello.version_low, hello.version_high) = (rng.below(3) as u16, rng.below(3) as u16),
        3 => (hello.purpose, hello.mesh) = (Purpose::Join, None),
        4 => hello = Hello { node: key(200).first_node_id(), purpose: Purpose::Join, mesh: None, ..hello },
        5 => hello.generation = Generation(u64::MAX),
        _ => {}
    }
    hello
}

/// What a peer that has said so much already might say next; mostly what it should.
fn some_message(rng: &mut Rng, now: Instant, said: u64, peer: u8) -> Message {
    let pong = |rng: &mut Rng| Message::Pong { echo: now.0.wrapping_sub(rng.below(500_000_000)) };
    match (said, rng.below(16)) {
        (_, 0) => Message::Hello(some_hello(rng, peer)),
        (_, 1) => Message::Confirm,
        (_, 2) => Message::Leaving,
        (0, _) => Message::Hello(some_hello(rng, peer)),
        (1, _) => Message::Confirm,
        (_, 3) => Message::Ping { sent: rng.u64() },
        _ => pong(rng),
    }
}

#[test]
fn no_sequence_of_inputs_breaks_an_invariant_of_links() {
    let mut ups = 0;
    for seed in 0..60 {
        let mut rng = Rng::stream([seed; 32], Stream::Stream);
        let tight = Config { strangers_max: 4, dials_max: 3, lanes_per_neighbour_max: 3, ..config() };
        let mut links = member(1, 5, tight);
        let (mut open, mut dials): (Vec<(LaneId, u8, u64)>, Vec<DialId>) = (Vec::new(), Vec::new());
        let mut alternates: BTreeMap<NodeId, bool> = BTreeMap::new();
        let mut now = Instant(1_000_000_000);
        for step in 0..600 {
            now += Span::millis(rng.below(300));
            let chosen = rng.below(open.len().max(1) as u64) as usize;
            let lane = open.get(chosen).map_or(LaneId(u64::MAX), |(lane, _, _)| *lane);
            let input = match rng.below(20) {
                0 | 9 if open.len() < 20 => {
                    let peer = [1, 2, 2, 3, 4, 200][rng.below(6) as usize];
                    open.push((LaneId(step), peer, 0));
                    Input::LaneUp { lane: LaneId(step), dial: None, peer_key: key(peer) }
                }
                1 if !dials.is_empty() => {
                    let peer = [1, 2, 3][rng.below(3) as usize];
                    open.push((LaneId(step), peer, 0));
                    let dial = Some(dials.remove(0));
                    Input::LaneUp { lane: LaneId(step), dial, peer_key: key(peer) }
                }
                2 if !dials.is_empty() => Input::DialFailed { dial: dials.remove(0) },
                3 if !open.is_empty() && rng.below(3) == 0 => {
                    open.remove(chosen);
                    Input::LaneDown { lane }
                }
                4 => Input::Target { address: format!("{}", rng.below(5)) },
                5 if rng.below(4) == 0 => Input::JoinTarget { address: format!("{}", rng.below(5)) },
                6 if rng.below(20) == 0 => Input::Roster(roster(&[1, 2, 3, 4][..rng.below(5) as usize])),
                6 => Input::Roster(roster(&[1, 2, 3, 4])),
                7 if rng.below(4) == 0 => Input::Close { lane, reason: CloseReason::Stopping },
                8 => Input::Deadline,
                _ => match open.get_mut(chosen) {
                    None => Input::Deadline,
                    Some((lane, peer, said)) => {
                        let message = some_message(&mut rng, now, *said, *peer);
                        *said += 1;
                        Input::Message { lane: *lane, message }
                    }
                },
            };
            for output in feed(&mut links, now, input) {
                match output {
                    Output::Dial { dial, .. } => dials.push(dial),
                    Output::Up { node, .. } => {
                        ups += 1;
                        assert_ne!(alternates.insert(node, true), Some(true), "L9: {node} is up twice");
                    }
                    Output::Down { node } => {
                        assert_eq!(alternates.insert(node, false), Some(true), "L9: {node} was not up");
                    }
                    Output::Switched { node, .. } => assert_eq!(alternates.get(&node), Some(&true)),
                    _ => {}
                }
            }
        }
        let up: Vec<NodeId> = links.neighbours().collect();
        let told: Vec<NodeId> = alternates.iter().filter(|(_, up)| **up).map(|(node, _)| *node).collect();
        assert_eq!(up, told);
    }
    assert!(ups > 200, "links do come up: {ups}");
}

#[test]
fn no_sequence_of_inputs_breaks_an_invariant_of_pairs() {
    let (mut suspects, mut lists) = (0, 0);
    for seed in 0..40 {
        let mut rng = Rng::stream([seed; 32], Stream::Stream);
        let mut pairs = Pairs::new(
            pairs::Config::default(),
            id(1),
            BootId(1),
            Rng::stream([seed; 32], Stream::Link),
            Planted::none(),
        );
        pairs.restored(at(Instant::ZERO), Generation(1));
        let mut suspect: BTreeMap<NodeId, bool> = BTreeMap::new();
        let mut named = alloc::collections::BTreeSet::new();
        let mut now = Instant(1_000_000_000);
        for _ in 0..800 {
            now += Span::millis(rng.below(60));
            let node = id(1 + rng.below(4) as u8);
            let groups: Vec<_> =
                (0..rng.below(3)).map(|group| (GroupId(u128::from(group)), Term(rng.below(3)))).collect();
            let input = match rng.below(12) {
                0 if rng.below(10) == 0 => {
                    let peers: alloc::collections::BTreeSet<NodeId> =
                        (1..=rng.below(5) as u8).map(id).collect();
                    named.clone_from(&peers);
                    let near = peers.iter().copied().filter(|_| rng.below(2) == 0).collect();
                    pairs::Input::Peers { near, far: peers }
                }
                0 => pairs::Input::OldestWrite((rng.below(2) == 0).then_some(now)),
                1 => {
                    let term = (rng.below(3) > 0).then(|| Term(1 + rng.below(3)));
                    pairs::Input::Leads { node, group: GroupId(u128::from(rng.below(3))), term }
                }
                2 => pairs::Input::Deadline,
                _ => {
                    let honest = rng.below(4) > 0;
                    let digest =
                        if honest { LeadsDigest::of(&groups) } else { LeadsDigest([rng.u64() as u8; 16]) };
                    let pages = 1 + rng.below(3) as u32;
                    let page = LeadsPage { page: rng.below(pages.into()) as u32, pages, groups };
                    let beat = Beat {
                        pause: Span::millis(rng.below(9_000)),
                        boot: BootId(u128::from(rng.below(12))),
                        generation: Generation(rng.below(5)),
                        number: rng.below(1000),
                        lag: Span(rng.u64()),
                        oldest_write: (rng.below(5) == 0).then(|| Span(rng.u64() >> rng.below(64))),
                        leads_digest: digest,
                        seen_digest: (rng.below(2) == 0).then_some(digest),
                        leads: (rng.below(3) > 0).then_some(page),
                    };
                    pairs::Input::Beat { from: node, beat }
                }
            };
            pairs.handle(at(now), input);
            pairs.check_invariants(Level::Full);
            while let Some(output) = pairs.poll() {
                match output {
                    pairs::Output::Suspect { node } => {
                        suspects += 1;
                        assert_ne!(suspect.insert(node, true), Some(true), "P1: {node} is suspect twice");
                    }
                    pairs::Output::Alive { node } => {
                        assert_eq!(suspect.insert(node, false), Some(true), "P1: {node} was not suspect");
                    }
                    pairs::Output::TheyLead { .. } => lists += 1,
                    _ => {}
                }
            }
            let forgotten = suspect.iter().find(|(node, suspect)| **suspect && !named.contains(*node));
            assert_eq!(forgotten, None, "P1: it is suspect and no peer");
        }
    }
    assert!(suspects > 50 && lists > 50, "{suspects} suspicions, {lists} lists");
}
