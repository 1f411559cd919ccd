use super::*;
use crate::mesh::entry::{Body, Entry, Request};
use crate::mesh::room::{STATE_BYTES_MAX, TABLES_BYTES_MAX};
use crate::mesh::rotation::Step;
use crate::mesh::state::DECIDED_MAX;

/// A state of two members, and whoever gives it entries, late in its life: all numbers in it are long.
struct Late {
    state: State,
    given: u128,
}

impl Late {
    fn new() -> Self {
        let world = World::grown(&["a", "b"]);
        let mut state = world.mesh(0).state.clone();
        state.applied = LogIndex(1 << 62);
        state.time = Wall(1 << 62);
        Self { state, given: 0 }
    }

    fn give(&mut self, body: Body) -> Result<(), Refusal> {
        self.give_from(NodeId(1), body)
    }

    fn rotate(&mut self, node: NodeId, step: Step) -> Result<(), Refusal> {
        self.give_from(node, Body::RotateNodeKey { node, step })
    }

    fn give_from(&mut self, origin: NodeId, body: Body) -> Result<(), Refusal> {
        self.given += 1;
        let entry = Entry {
            origin,
            request: Request(u128::MAX - self.given),
            seen: self.state.applied,
            time: Wall(0),
            body,
        };
        let index = self.state.applied.next();
        self.state.apply(index, Some(&entry)).expect("decided").result.map(|_| ())
    }

    fn open(&mut self, number: usize) -> Result<(), Refusal> {
        let name = alloc::format!("{number:0>128}");
        self.give(opening(&name))
    }

    fn update(&mut self, addresses: &[&str]) -> Result<(), Refusal> {
        let node = *self.state.members.keys().next().expect("a member");
        let addresses = addresses.iter().map(ToString::to_string).collect();
        self.give(Body::Update { node, addresses, api: None, region: None })
    }
}

/// It may have been stolen.
#[test]
fn a_key_gives_way_however_full_the_tables_are() {
    let mut late = Late::new();
    let node = public_key(&[2; 32]).first_node_id();
    let key = |number: u64| [100 + number as u8; 32];
    let mut opened = 0;
    for number in 1..=10 {
        // Whatever room is left is taken.
        while late.open(opened).is_ok() {
            opened += 1;
        }
        let old = if number == 1 { [2; 32] } else { key(number - 1) };
        let made = rotations::rotation(node, number, old, key(number));
        late.rotate(node, Step::Next(made.clone())).expect("there is room");
        late.state.check();
        let Done::Signature(signature) =
            perform(&Job::Sign { key: made.new, message: made.retirement(node) }, &[key(number)])
        else {
            unreachable!()
        };
        late.rotate(node, Step::Retire { number, signature: signature.into(), hurry: true })
            .expect("it ends");
        late.state.check();
        let kept = late.state.members.get(&node).expect("a member").rotations.records.len();
        assert_eq!(kept, 1, "the last one is kept");
    }
    assert!(late.state.encode().len() <= STATE_BYTES_MAX);
}

#[test]
fn what_makes_the_state_larger_than_it_may_be_is_refused() {
    let mut late = Late::new();
    let mut opened = 0;
    let refusal = loop {
        match late.open(opened) {
            Ok(()) => opened += 1,
            Err(refusal) => break refusal,
        }
    };
    let Refusal::Invalid(words) = &refusal else { panic!("{refusal:?}") };
    assert!(words.ends_with("close some streams first"), "{words}");
    late.state.check();
    assert_eq!(late.state.decided.len(), DECIDED_MAX, "nothing in it can be larger");
    let bytes = late.state.encode();
    assert!(bytes.len() <= STATE_BYTES_MAX, "{} bytes", bytes.len());
    assert!(bytes.len() > TABLES_BYTES_MAX / 10 * 9, "{} bytes, and no room for more", bytes.len());
    assert_eq!(State::decode(&bytes).as_ref(), Ok(&late.state));

    let long = "x".repeat(256);
    let refusal = late.update(&[&long]).expect_err("a longer address has no room either");
    assert!(matches!(refusal, Refusal::Invalid(_)), "{refusal:?}");
    late.update(&[]).expect("what makes it smaller is done");
    for number in 0..2 {
        let name = alloc::format!("{number:0>128}");
        late.give(Body::Close { name }).expect("it was open");
    }
    late.update(&["h:1"]).expect("there is room again");
    late.open(opened).expect("there is room again");
    late.state.check();
}
