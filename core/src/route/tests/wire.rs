use bytes::Bytes;
use wattle_proto::route as wire;

use super::*;
use crate::route::message::{LinkState, TableDigest};
use crate::route::wire::LINKS_BYTES_MAX;

fn sample() -> Message {
    let adjacency = |to: usize| Adjacency { neighbour: id(to), cost: u32::MAX, label: u16::MAX };
    let state = |origin: usize, neighbours: &[usize]| {
        let adjacencies = neighbours.iter().map(|to| adjacency(*to)).collect();
        LinkState::new((Generation(3), (1 << 62) - 1), id(origin), adjacencies).announcement(Span::secs(77))
    };
    Message::Flood(vec![state(1, &[2, 3]), state(2, &[])])
}

#[test]
fn messages_survive_the_wire() {
    for message in [sample(), Message::Ask, Message::Summary(TableDigest([7; 16])), Message::Flood(vec![])] {
        assert_eq!(Message::decode(message.encode()), Ok(message));
    }
}

/// The states of a flood, on the wire.
fn states(message: &Message) -> Vec<wire::LinkState> {
    let message: wire::Message = prost::Message::decode(message.encode()).unwrap();
    let Some(wire::message::Kind::Flood(flood)) = message.kind else { panic!("it is a flood") };
    flood.states
}

fn decode(states: Vec<wire::LinkState>) -> Result<Message, Malformed> {
    let message = wire::Message { kind: Some(wire::message::Kind::Flood(wire::Flood { states })) };
    Message::decode(prost::Message::encode_to_vec(&message).into())
}

/// Whether the sample is refused when it comes, after a change to its first state.
fn refused(change: impl FnOnce(&mut wire::LinkState)) -> bool {
    let mut states = states(&sample());
    change(&mut states[0]);
    decode(states).is_err()
}

/// Whether the links of the first state of the sample are refused when they are read, after a change to them.
fn unreadable(change: impl FnOnce(&mut Vec<wire::Adjacency>)) -> bool {
    let mut states = states(&sample());
    let mut links: wire::Links = prost::Message::decode(states[0].links.clone()).unwrap();
    change(&mut links.adjacencies);
    states[0].links = prost::Message::encode_to_vec(&links).into();
    let Ok(Message::Flood(came)) = decode(states) else { panic!("nobody read the links yet") };
    came[0].read().is_err()
}

#[test]
fn links_survive_the_wire() {
    let Ok(Message::Flood(came)) = Message::decode(sample().encode()) else { panic!("it can be read") };
    let read: Vec<Vec<usize>> = came
        .iter()
        .map(|state| {
            let read = state.read().unwrap();
            assert!(read.adjacencies().iter().all(|link| (link.cost, link.label) == (u32::MAX, u16::MAX)));
            assert_eq!((read.version(), read.origin()), ((state.generation, state.sequence), state.origin));
            read.adjacencies().iter().map(|link| link.neighbour.0 as usize).collect()
        })
        .collect();
    assert_eq!(read, [vec![2, 3], vec![]]);
}

#[test]
fn what_does_not_fit_is_refused() {
    assert!(!refused(|_| {}));
    assert!(refused(|state| state.origin = Bytes::from_static(&[1; 15])));
    assert!(refused(|state| state.sequence += 1));
    assert!(refused(|state| state.generation = u64::MAX));
    let goodbye = |generation| {
        move |state: &mut wire::LinkState| (state.stopped, state.generation) = (true, generation)
    };
    assert!(!refused(goodbye((1 << 61) - 1)));
    assert!(refused(goodbye(1 << 61)), "its origin could not outdo it");
    assert!(!refused(|state| state.links = vec![0; LINKS_BYTES_MAX].into()));
    assert!(refused(|state| state.links = vec![0; LINKS_BYTES_MAX + 1].into()), "too many bytes");
    assert!(!unreadable(|_| {}));
    assert!(unreadable(|links| links[1].neighbour = Bytes::new()));
    assert!(unreadable(|links| links[0].cost = 0));
    assert!(unreadable(|links| links[0].label = 65_536));
    assert!(unreadable(|links| links.swap(0, 1)), "out of order");
    assert!(unreadable(|links| links[1] = links[0].clone()), "twice");
    assert!(unreadable(|links| links[0].neighbour = Bytes::copy_from_slice(&id(1).to_bytes())), "to itself");
    let many = |count: usize| {
        move |links: &mut Vec<wire::Adjacency>| {
            let neighbour = |number| Bytes::copy_from_slice(&id(number).to_bytes());
            *links = (2..2 + count)
                .map(|n| wire::Adjacency { neighbour: neighbour(n), cost: u32::MAX, label: 65_535 })
                .collect();
        }
    };
    assert!(!unreadable(many(ADJACENCIES_MAX)));
    assert!(unreadable(many(ADJACENCIES_MAX + 1)));
    let later = Bytes::from_static(b"\xc2\x3e\x04next");
    for nothing in [Bytes::new(), later] {
        assert_eq!(Message::decode(nothing), Ok(Message::Unknown), "it says nothing to this version");
    }
    let state = states(&sample()).remove(1);
    assert!(decode(vec![state.clone(); 512]).is_ok());
    assert!(decode(vec![state; 513]).is_err(), "too many states");
}

#[test]
fn random_bytes_never_panic() {
    let mut rng = rng(9);
    let sample = sample().encode();
    for round in 0..20_000 {
        let mut bytes = sample.to_vec();
        if round % 3 == 0 {
            bytes = (0..rng.below(60)).map(|_| rng.u64() as u8).collect();
        } else {
            let at = rng.below(bytes.len() as u64) as usize;
            bytes[at] = rng.u64() as u8;
        }
        if let Ok(Message::Flood(states)) = Message::decode(bytes.into()) {
            states.iter().for_each(|state| drop(state.read()));
        }
    }
}

#[test]
fn the_largest_tables_go_out_in_messages_that_fit_into_a_header() {
    let now = Instant(1_000_000_000);
    let mut routes = Routes::new(Config::default(), id(1), rng(1), Planted::none());
    routes.restored(at(now), Generation(5));
    routes.handle(at(now), Input::Members(members(1..=1100)));
    routes.handle(at(now), Input::LinkUp { node: id(2), label: 1 });
    let big = |origin: usize, links: usize| {
        let others = (1..=1100).filter(|to| *to != origin).take(links);
        let adjacencies =
            others.map(|to| Adjacency { neighbour: id(to), cost: u32::MAX, label: u16::MAX }).collect();
        let version = (Generation((1 << 62) - 1), (1 << 62) - 1);
        LinkState::new(version, id(origin), adjacencies).announcement(Span::secs(599))
    };
    for origin in 2..=1100 {
        let links = if origin < 10 { 1024 } else { 3 };
        let message = Message::Flood(vec![big(origin, links)]);
        routes.hear(at(now), id(2), &message).unwrap();
    }
    while routes.poll().is_some() {}
    routes.handle(at(now), Input::LinkUp { node: id(3), label: 2 });
    let mut states = 0;
    while let Some(output) = routes.poll() {
        let Output::Send { to, message } = output else { continue };
        if to == id(3) && matches!(message, Message::Flood(_)) {
            let bytes = message.encode();
            assert!(bytes.len() <= usize::from(u16::MAX), "{} bytes", bytes.len());
            let Ok(Message::Flood(sent)) = Message::decode(bytes) else { panic!("it cannot be read") };
            states += sent.len();
        }
    }
    assert_eq!(states, 1100);
}
