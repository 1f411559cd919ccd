use alloc::sync::Arc;

use bytes::Bytes;
use wattle_proto::route as wire;

use super::*;
use crate::route::message::{LinkState, TableDigest};

fn sample() -> Message {
    let adjacency = |to: usize| Adjacency { neighbour: id(to), cost: u32::MAX, label: u16::MAX };
    let state = |origin: usize, neighbours: &[usize]| Aged {
        state: Arc::new(LinkState {
            generation: Generation(3),
            sequence: (1 << 62) - 1,
            origin: id(origin),
            adjacencies: neighbours.iter().map(|to| adjacency(*to)).collect(),
        }),
        age: Span::secs(77),
    };
    Message::Flood(vec![state(1, &[2, 3]), state(2, &[])])
}

#[test]
fn messages_survive_the_wire() {
    for message in [sample(), Message::Ask, Message::Summary(TableDigest([7; 16])), Message::Flood(vec![])] {
        assert_eq!(Message::decode(message.encode()), Ok(message));
    }
}

fn refused(change: impl FnOnce(&mut wire::LinkState)) -> bool {
    let mut message: wire::Message = prost::Message::decode(sample().encode()).unwrap();
    let Some(wire::message::Kind::Flood(flood)) = &mut message.kind else { panic!("it is a flood") };
    change(&mut flood.states[0]);
    Message::decode(prost::Message::encode_to_vec(&message).into()).is_err()
}

#[test]
fn what_does_not_fit_is_refused() {
    assert!(!refused(|_| {}));
    assert!(refused(|state| state.origin = Bytes::from_static(&[1; 15])));
    assert!(refused(|state| state.adjacencies[1].neighbour = Bytes::new()));
    assert!(refused(|state| state.adjacencies[0].cost = 0));
    assert!(refused(|state| state.adjacencies[0].label = 65_536));
    assert!(refused(|state| state.sequence += 1));
    assert!(refused(|state| state.generation = u64::MAX));
    assert!(refused(|state| state.adjacencies.swap(0, 1)), "out of order");
    assert!(refused(|state| state.adjacencies[1] = state.adjacencies[0].clone()), "twice");
    assert!(refused(|state| state.adjacencies[0].neighbour = state.origin.clone()), "to itself");
    let many = |count: usize| {
        move |state: &mut wire::LinkState| {
            let neighbour = |number| Bytes::copy_from_slice(&id(number).to_bytes());
            state.adjacencies = (2..2 + count)
                .map(|n| wire::Adjacency { neighbour: neighbour(n), cost: 1, label: 1 })
                .collect();
        }
    };
    assert!(!refused(many(ADJACENCIES_MAX)));
    assert!(refused(many(ADJACENCIES_MAX + 1)));
    assert!(Message::decode(Bytes::new()).is_err(), "an empty message says nothing");
    let message: wire::Message = prost::Message::decode(sample().encode()).unwrap();
    let Some(wire::message::Kind::Flood(mut flood)) = message.kind else { panic!("it is a flood") };
    flood.states = vec![flood.states[1].clone(); 513];
    let message = wire::Message { kind: Some(wire::message::Kind::Flood(flood)) };
    assert!(Message::decode(prost::Message::encode_to_vec(&message).into()).is_err(), "too many states");
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
        let _ = Message::decode(bytes.into());
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
        let state = LinkState {
            generation: Generation((1 << 62) - 1),
            sequence: (1 << 62) - 1,
            origin: id(origin),
            adjacencies,
        };
        Aged { state: Arc::new(state), age: Span::secs(599) }
    };
    for origin in 2..=1100 {
        let links = if origin < 10 { 1024 } else { 3 };
        let message = Message::Flood(vec![big(origin, links)]);
        routes.handle(at(now), Input::Message { from: id(2), message });
    }
    while routes.poll().is_some() {}
    routes.handle(at(now), Input::LinkUp { node: id(3), label: 2 });
    let mut states = 0;
    while let Some(output) = routes.poll() {
        if let Output::Send { to, message: message @ Message::Flood(_) } = output
            && to == id(3)
        {
            let bytes = message.encode();
            assert!(bytes.len() <= usize::from(u16::MAX), "{} bytes", bytes.len());
            let Ok(Message::Flood(sent)) = Message::decode(bytes) else { panic!("it cannot be read") };
            states += sent.len();
        }
    }
    assert_eq!(states, 1100);
}
