//! A large control group: what its leader sends for each entry, and when everybody has it. Messages take a while, disks too; nothing else happens.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use bytes::Bytes;

use super::harness::member;
use crate::configuration::Configuration;
use crate::id::{GroupId, NodeId};
use crate::planted::Planted;
use crate::raft::{Config, Groups, Input, Message, Output, Receipt, RoleName};
use crate::rng::{Purpose, Rng};
use crate::time::{Instant, Now, Span, Wall};
use crate::when::When;

const GROUP: GroupId = GroupId::CONTROL;
const VOTERS: usize = 5;
/// What a message and a write take.
const HOP: Span = Span::millis(5);
const SYNC: Span = Span::millis(1);

enum Event {
    Message(NodeId, Message),
    Durable(Receipt),
    Deadline,
}

struct Large {
    now: Instant,
    nodes: Vec<Groups>,
    events: BTreeMap<(Instant, u64), (usize, Event)>,
    next: u64,
    leader: Option<usize>,
    /// How many have each entry, by index, and when the last one got it.
    held: BTreeMap<u64, (usize, Instant)>,
    /// What each node sent: messages, and bytes.
    sent: Vec<(u64, u64)>,
    /// How many messages came to the leader.
    heard: u64,
    /// To whom the leader sent something.
    told: BTreeSet<NodeId>,
}

impl Large {
    fn new(size: usize, fan_out: usize) -> Self {
        let config = Config { fan_out, ..Config::default() };
        let founding =
            Configuration::simple((0..VOTERS).map(member).collect(), (VOTERS..size).map(member).collect());
        let node = |node: usize| {
            let mut key = [3; 32];
            key[..8].copy_from_slice(&(node as u64).to_le_bytes());
            let rng = Rng::stream(key, Purpose::Raft);
            Groups::new(config.clone(), member(node).node, rng, Planted::none())
        };
        let mut large = Self {
            now: Instant(1),
            nodes: (0..size).map(node).collect(),
            events: BTreeMap::new(),
            next: 0,
            leader: None,
            held: BTreeMap::new(),
            sent: alloc::vec![(0, 0); size],
            heard: 0,
            told: BTreeSet::new(),
        };
        for node in 0..size {
            let (replica, founding) = (member(node).replica, founding.clone());
            large.tell(node, Input::Create { group: GROUP, replica, founding, anew: false });
        }
        large
    }

    fn later(&mut self, after: Span, node: usize, event: Event) {
        self.next += 1;
        self.events.insert((self.now + after, self.next), (node, event));
    }

    fn tell(&mut self, node: usize, input: Input) {
        self.nodes[node].handle(Now { monotonic: self.now, wall: Wall(0) }, input);
        while let Some(output) = self.nodes[node].poll() {
            match output {
                Output::Send { to, message, when, .. } => {
                    self.sent[node].0 += 1;
                    self.sent[node].1 += message.encode().to_bytes().len() as u64;
                    if self.leader == Some(node) {
                        self.told.insert(to);
                    }
                    let wait = if when == When::Durable { HOP + SYNC } else { HOP };
                    self.later(wait, (to.0 - 1) as usize, Event::Message(member(node).node, *message));
                }
                Output::Notify(receipt) => self.later(SYNC, node, Event::Durable(receipt)),
                Output::Apply { entries, .. } => {
                    for entry in &entries {
                        let held = self.held.entry(entry.index.0).or_insert((0, self.now));
                        *held = (held.0 + 1, self.now);
                    }
                }
                Output::Role { role: RoleName::Leader, .. } => self.leader = Some(node),
                _ => {}
            }
        }
        if let Some(at) = self.nodes[node].next_deadline() {
            self.later(at.since(self.now), node, Event::Deadline);
        }
    }

    fn run(&mut self, span: Span) {
        let end = self.now + span;
        while let Some((&(at, number), _)) = self.events.first_key_value()
            && at <= end
        {
            let (node, event) = self.events.remove(&(at, number)).expect("just seen");
            self.now = at;
            match event {
                Event::Message(from, message) => {
                    self.heard += u64::from(self.leader == Some(node));
                    self.tell(node, Input::Message { from, group: GROUP, message: message.into() });
                }
                Event::Durable(receipt) => self.tell(node, Input::Durable(receipt)),
                Event::Deadline if self.nodes[node].next_deadline().is_some_and(|due| due <= at) => {
                    self.tell(node, Input::Deadline);
                }
                Event::Deadline => {}
            }
        }
        self.now = end;
    }

    fn propose(&mut self) -> usize {
        let leader = self.leader.expect("a leader");
        let data = Bytes::from_static(&[7; 200]);
        self.tell(leader, Input::Propose { group: GROUP, data, weight: 0, unhurried: false, context: 0 });
        leader
    }
}

/// What a leader sends for each of some entries, in messages and bytes, and how long it takes at most until everybody has one.
#[derive(Debug)]
struct Figures {
    /// Until a while after the last was proposed. If they are proposed within two seconds, nobody is asked by then whether it has them.
    soon: (u64, u64),
    /// Until nothing is left to say.
    all: (u64, u64),
    /// To how many it spoke soon.
    told: usize,
    took: Span,
    /// How many in a hundred of all messages it sent or was sent.
    share: u64,
}

/// So many entries, one after the other.
fn figures(size: usize, fan_out: usize, (entries, gap): (u64, Span)) -> Figures {
    let mut large = Large::new(size, fan_out);
    large.run(Span::secs(3));
    // The first entries: learners look for feeders when they are sent something.
    for _ in 0..8 {
        large.propose();
        large.run(Span::secs(4));
    }
    large.run(Span::secs(30));
    let leader = large.leader.expect("a leader");
    large.sent.fill((0, 0));
    large.heard = 0;
    large.told.clear();
    let mut took = Span::ZERO;
    let mut proposed = Vec::new();
    for _ in 0..entries {
        proposed.push((large.nodes[leader].status(GROUP).expect("it leads").last.index.0 + 1, large.now));
        large.propose();
        large.run(gap);
    }
    let each = |(messages, bytes): (u64, u64)| (messages / entries, bytes / entries);
    let (soon, told) = (each(large.sent[leader]), large.told.len());
    large.run(Span::secs(30));
    for (index, at) in proposed {
        let (count, last) = large.held[&index];
        assert_eq!(count, size, "entry {index}");
        took = took.max(last.since(at));
    }
    let total: u64 = large.sent.iter().map(|(messages, _)| messages).sum();
    let share = (large.sent[leader].0 + large.heard) * 100 / (2 * total);
    Figures { soon, all: each(large.sent[leader]), told, took, share }
}

#[test]
fn a_leader_of_many_sends_an_entry_to_few() {
    let (size, fan_out, often) = (150, 16, (15, Span::millis(100)));
    let few = figures(size, fan_out, often);
    assert!(few.told <= VOTERS - 1 + fan_out, "{few:?}");
    let all = figures(size, size, often);
    assert_eq!(all.told, size - 1);
    // To ask everybody comes afterwards, once for all of them.
    for (few, all) in [(few.soon, all.soon), (few.all, all.all)] {
        assert!(few.0 * 4 < all.0 && few.1 * 4 < all.1, "{few:?}, not {all:?}");
    }
    assert!(few.took < all.took + HOP.times(6), "{}, and {} from the leader", few.took, all.took);
    assert!(few.share * 4 < all.share, "{few:?}, not {all:?}");
}

/// Each learner is asked whether it has an entry that comes alone: as many messages as before, but small ones, and not at once.
#[test]
fn an_entry_that_comes_alone_costs_a_leader_a_message_for_everybody_later() {
    let (size, fan_out, alone) = (150, 16, (1, Span::millis(1_500)));
    let (few, all) = (figures(size, fan_out, alone), figures(size, size, alone));
    assert!(few.soon.0 * 4 < all.soon.0 && few.soon.1 * 4 < all.soon.1, "{few:?}, not {all:?}");
    assert!(few.all.0 <= all.all.0 + fan_out as u64, "{few:?}, not {all:?}");
    assert!(few.all.1 < all.all.1, "{few:?}, not {all:?}");
}

#[test]
#[ignore = "measures; run it by itself"]
fn what_a_leader_of_many_sends() {
    extern crate std;
    for size in [200, 1_000] {
        for (entries, gap) in [(1, Span::millis(1_500)), (60, Span::secs(1)), (300, Span::millis(100))] {
            for fan_out in [16, size] {
                let figures = figures(size, fan_out, (entries, gap));
                std::println!(
                    "{size} members, {entries} entries each {gap}, {fan_out} fed by one: {figures:?}"
                );
            }
        }
    }
}
