//! Streams that are paused, and streams that take in no more than a rate.

use alloc::string::ToString as _;
use alloc::vec::Vec;

use bytes::Bytes;

use super::promises::world;
use super::world::{INSTANCE, NAME, SOURCE, TARGET, World, node};
use crate::digest::Digest;
use crate::flow::{FlowRefusal, Rank, Rate, Rule, Rules, Said, Scope, Tenant};
use crate::id::{RequestId, Sequence, WriterId, WriterSequence};
use crate::node::command::{PartOf, Refusal, Reply, Waited};
use crate::stream::Input;
use crate::time::{Span, Wall};

fn said() -> Said {
    Said { at: node(TARGET), time: Wall(1) }
}

fn pausing(scope: Scope) -> Rules {
    let mut rules = Rules::default();
    rules.put(scope, Rule { paused: Some(said()), ..Rule::default() });
    rules
}

fn allowing(scope: Scope, messages: u64, bytes: u64) -> Rules {
    let mut rules = Rules::default();
    let rate = Rate::new(messages, bytes).unwrap();
    rules.put(scope, Rule { rate: Some((rate, said())), ..Rule::default() });
    rules
}

impl World {
    fn rules(&mut self, rules: &Rules) {
        for which in [SOURCE, TARGET] {
            self.give(which, Input::Rules(rules.clone()));
        }
    }

    fn flow_refusal(&self, request: RequestId) -> Option<FlowRefusal> {
        match self.answers(request).last() {
            Some(Err(Refusal::Flow(refusal))) => Some(refusal.clone()),
            _ => None,
        }
    }

    fn paused(&self, request: RequestId) -> bool {
        matches!(self.flow_refusal(request), Some(FlowRefusal::Paused { .. }))
    }

    fn accepted(&self, request: RequestId) -> bool {
        self.answers(request).iter().any(|answer| matches!(answer, Ok(Reply::Published(_))))
    }

    /// How long the source says that it lets nothing in; nothing if it took it.
    fn again(&self, request: RequestId) -> Option<Span> {
        match self.flow_refusal(request)? {
            FlowRefusal::Throttled { again, .. } => Some(again),
            other => panic!("{other:?}"),
        }
    }
}

/// S30.
#[test]
fn a_paused_stream_takes_nothing_in_and_what_it_took_in_completes() {
    let mut world = world();
    world.attach(None, 100);
    let before = world.publish(1, 1, 5, Waited::Completed);
    world.run(Span::millis(1));
    for scope in [Scope::Stream(INSTANCE), Scope::Tenant(Tenant::default()), Scope::Below(1)] {
        world.rules(&pausing(scope.clone()));
        let refused = world.publish(2, 1, 1, Waited::Accepted);
        world.run(Span::secs(1));
        assert!(world.paused(refused), "{scope:?}");
        assert_eq!(world.status(SOURCE).accepted, Sequence(5));
    }
    assert_eq!(world.position, 5, "what was accepted was handed over");
    let reached = world.answers(before).iter().filter(|answer| answer.is_ok()).count();
    assert!(reached >= 3, "and is completed: {:?}", world.answers(before));
    let again = world.publish(1, 1, 5, Waited::Completed);
    world.run(Span::millis(200));
    assert!(world.accepted(again), "a repeat is answered with what is known");
    let partly = world.publish(1, 4, 4, Waited::Accepted);
    assert!(world.paused(partly), "with something new in it, nothing of it is taken");
    let others = [Scope::Below(0), Scope::Tenant(Tenant::new("acme").unwrap())];
    for (place, scope) in others.into_iter().enumerate() {
        world.rules(&pausing(scope));
        let other = world.publish(1, 6 + place as u64, 1, Waited::Accepted);
        world.run(Span::millis(200));
        assert!(world.accepted(other), "a rule about others says nothing of it");
    }
    world.rules(&Rules::default());
    let after = world.publish(1, 8, 1, Waited::Completed);
    world.run(Span::secs(1));
    assert!(world.accepted(after));
    assert_eq!(world.position, 8);
}

#[test]
fn a_source_that_starts_while_its_stream_is_paused_sends_what_it_had_accepted() {
    let mut world = world();
    let accepted = world.publish(1, 1, 5, Waited::Accepted);
    world.run(Span::millis(200));
    assert!(world.accepted(accepted));
    world.crash(SOURCE, 0);
    world.start(SOURCE);
    world.rules(&pausing(Scope::Stream(INSTANCE)));
    world.lead();
    world.attach(None, 100);
    world.run(Span::secs(2));
    assert_eq!(world.position, 5);
    let refused = world.publish(1, 6, 1, Waited::Accepted);
    assert!(world.paused(refused));
}

#[test]
fn a_paused_stream_keeps_what_is_staged_and_goes_on_with_it_afterwards() {
    let mut world = World::new(21);
    (world.config.part_bytes, world.config.whole_bytes) = (1 << 10, 1 << 20);
    world.start(SOURCE);
    world.start(TARGET);
    world.lead();
    world.attach(None, 100);
    world.run(Span::millis(300));
    let whole = Bytes::from((0..3 << 10).map(|at| at as u8).collect::<Vec<u8>>());
    let stage = |world: &mut World, place: usize| {
        let (from, to) = (place << 10, (place + 1) << 10);
        let part = PartOf {
            writer: WriterId(9),
            number: WriterSequence(1),
            total: whole.len() as u64,
            offset: from as u64,
            bytes: whole.slice(from..to),
            digest: (to == whole.len()).then(|| Digest::of_bytes(&whole)),
            wait: Waited::Accepted,
        };
        let request = world.request();
        world.give(SOURCE, Input::Stage { request, stream: NAME.into(), part });
        world.run(Span::millis(100));
        request
    };
    let first = stage(&mut world, 0);
    assert!(matches!(world.answers(first)[..], [Ok(Reply::Staged(_))]));
    world.rules(&pausing(Scope::Stream(INSTANCE)));
    for place in [1, 0] {
        let refused = stage(&mut world, place);
        assert!(world.paused(refused), "part {place}");
    }
    world.rules(&Rules::default());
    for place in [1, 2] {
        stage(&mut world, place);
    }
    world.run(Span::secs(1));
    assert_eq!(world.effects.len(), 1, "the part before was kept");
    assert_eq!(world.effects[0].2, whole);
}

/// S31.
#[test]
fn a_rate_lets_in_a_second_at_once_and_then_what_it_makes_of_the_time() {
    let mut world = world();
    world.rules(&allowing(Scope::Stream(INSTANCE), 10, 0));
    let (begun, mut next, mut told) = (world.now, 1, Vec::new());
    while world.now < begun + Span::secs(20).as_nanos() {
        let request = world.publish(1, next, 1, Waited::Accepted);
        match world.again(request) {
            Some(again) => {
                assert!(again > Span(0) && again <= Span::millis(100), "{again:?}");
                told.push(again);
                world.run(again);
            }
            None => {
                next += 1;
                world.run(Span::micros(10));
            }
        }
    }
    let let_in = next - 1;
    assert!((205..=212).contains(&let_in), "{let_in} in 20 s at 10 a second");
    // A rest is worth one second of it, however long.
    world.run(Span::secs(30));
    let burst = (0..100).take_while(|&more| {
        let request = world.publish(1, next + more, 1, Waited::Accepted);
        world.again(request).is_none()
    });
    assert!((10..=11).contains(&burst.count()));
}

#[test]
fn what_comes_together_is_let_in_together_and_made_up_for() {
    let mut world = world();
    world.rules(&allowing(Scope::Stream(INSTANCE), 0, 1_000));
    let large = |world: &mut World, first: u64, bytes: usize| {
        let request = world.request();
        let messages = Vec::from([Bytes::from(alloc::vec![7; bytes])]);
        let (writer, first, wait) = (WriterId(1), WriterSequence(first), Waited::Accepted);
        world.give(SOURCE, Input::Publish { request, stream: NAME.into(), writer, first, messages, wait });
        request
    };
    let request = large(&mut world, 1, 6_000);
    assert_eq!(world.again(request), None);
    let request = large(&mut world, 2, 1);
    assert_eq!(
        world.again(request),
        Some(Span::secs(5)),
        "six seconds' worth, of which one may come at once"
    );
    let refused = world.flow_refusal(request).expect("throttled").to_string();
    assert!(refused.contains("1000 bytes a second") && refused.contains("in 5000 ms"), "{refused}");
    let repeat = large(&mut world, 1, 6_000);
    world.run(Span::millis(100));
    assert!(world.accepted(repeat), "a repeat is nothing that comes in");
    // Another rate begins anew, and the same goes on.
    world.rules(&allowing(Scope::Stream(INSTANCE), 0, 1_000));
    let request = large(&mut world, 2, 1);
    assert_eq!(world.again(request), Some(Span::millis(4_900)));
    world.rules(&allowing(Scope::Stream(INSTANCE), 0, 1_001));
    let request = large(&mut world, 2, 1);
    assert_eq!(world.again(request), None);
}

#[test]
fn the_last_of_several_rules_to_let_in_says_when() {
    let mut world = world();
    let mut rules = allowing(Scope::Below(1), 1, 0);
    let slow = Rate::new(0, 1).unwrap();
    rules.put(Scope::Tenant(Tenant::default()), Rule { rate: Some((slow, said())), ..Rule::default() });
    world.rules(&rules);
    world.publish(1, 1, 3, Waited::Accepted);
    let request = world.publish(1, 4, 1, Waited::Accepted);
    let Some(FlowRefusal::Throttled { scope, rate, .. }) = world.flow_refusal(request) else {
        panic!("it is throttled")
    };
    assert_eq!((scope, rate), (Scope::Tenant(Tenant::default()), slow));
}

#[test]
fn whose_a_stream_is_is_known_by_its_name() {
    let world = world();
    let streams = world.machines[SOURCE].streams.as_ref().expect("it runs");
    assert_eq!(streams.tenant_of(NAME), Some(&Rank::default().tenant));
    assert_eq!(streams.tenant_of("none"), None);
}
