//! What the part promises, alone and in a small world of nodes and links.

mod flood;
mod graph;
mod rivals;
mod routes;
mod stopped;
mod wire;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec;
use alloc::vec::Vec;

use super::*;
use crate::id::Generation;
use crate::level::Level;
use crate::planted::Planted;
use crate::rng::{Purpose, Rng};
use crate::time::{Instant, Now, Span, Wall};

fn at(instant: Instant) -> Now {
    Now { monotonic: instant, wall: Wall(0) }
}

fn id(node: usize) -> NodeId {
    NodeId(node as u128)
}

fn rng(seed: u64) -> Rng {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    Rng::stream(bytes, Purpose::Route)
}

/// The label `from` gives its link to `to`.
fn label(from: usize, to: usize) -> u16 {
    (from * 40 + to) as u16
}

fn members(nodes: impl IntoIterator<Item = usize>) -> BTreeSet<NodeId> {
    nodes.into_iter().map(id).collect()
}

/// What is done to a node.
enum Step {
    Input(Input),
    Hear { from: NodeId, message: Message },
}

impl From<Input> for Step {
    fn from(input: Input) -> Self {
        Self::Input(input)
    }
}

/// Does it, and lets the node check itself. What a node of these tests hears can be read.
fn take_step(routes: &mut Routes, now: Instant, step: impl Into<Step>) -> Vec<Output> {
    match step.into() {
        Step::Input(input) => routes.handle(at(now), input),
        Step::Hear { from, message } => {
            routes.hear(at(now), from, &message).expect("what a node says can be read");
        }
    }
    routes.check_invariants(Level::Full);
    core::iter::from_fn(|| routes.poll()).collect()
}

/// Nodes, links, and messages under way. Node n has the id n; nodes are numbered from 1.
struct World {
    now: Instant,
    nodes: BTreeMap<usize, Routes>,
    links: BTreeSet<(usize, usize)>,
    under_way: BTreeMap<(Instant, u64), (usize, usize, Message)>,
    last: BTreeMap<(usize, usize), Instant>,
    /// How many of a hundred messages are lost.
    loss: u64,
    sent: u64,
    /// What was shown to whom of the identity of nodes.
    records: Vec<(usize, Bytes)>,
    rng: Rng,
}

impl World {
    fn new(count: usize, seed: u64) -> Self {
        let mut world = Self {
            now: Instant(1_000_000_000),
            nodes: BTreeMap::new(),
            links: BTreeSet::new(),
            under_way: BTreeMap::new(),
            last: BTreeMap::new(),
            loss: 0,
            sent: 0,
            records: Vec::new(),
            rng: rng(seed),
        };
        (1..=count).for_each(|node| world.start(node, count, 1));
        world
    }

    fn start(&mut self, node: usize, count: usize, generation: u64) {
        let rng = rng(self.rng.u64());
        let mut routes = Routes::new(Config::default(), id(node), rng, Planted::none());
        routes.restored(at(self.now), Generation(generation));
        self.nodes.insert(node, routes);
        self.input(node, Input::Members(members(1..=count)));
    }

    fn input(&mut self, node: usize, step: impl Into<Step>) {
        let routes = self.nodes.get_mut(&node).expect("the node runs");
        for output in take_step(routes, self.now, step) {
            if let Output::Record(record) = &output {
                self.records.push((node, record.clone()));
            }
            let Output::Send { to, message } = output else { continue };
            let to = to.0 as usize;
            assert!(self.links.contains(&(node, to)), "{node} sends to {to}, no neighbour");
            self.sent += 1;
            let arrival = self.now + Span::micros(self.rng.between(100, 20_000));
            let arrival = arrival.max(self.last.get(&(node, to)).copied().unwrap_or_default());
            self.last.insert((node, to), arrival);
            if self.rng.below(100) >= self.loss {
                self.under_way.insert((arrival, self.sent), (node, to, message));
            }
        }
    }

    fn connect(&mut self, a: usize, b: usize, cost: u32) {
        self.links.extend([(a, b), (b, a)]);
        for (from, to) in [(a, b), (b, a)] {
            self.input(from, Input::LinkUp { node: id(to), label: label(from, to) });
            self.input(from, Input::Cost { node: id(to), micros: cost });
        }
    }

    fn disconnect(&mut self, a: usize, b: usize) {
        self.links.remove(&(a, b));
        self.links.remove(&(b, a));
        self.under_way.retain(|_, (from, to, _)| (*from, *to) != (a, b) && (*from, *to) != (b, a));
        self.input(a, Input::LinkDown { node: id(b) });
        self.input(b, Input::LinkDown { node: id(a) });
    }

    fn run(&mut self, span: Span) {
        let end = self.now + span;
        loop {
            let alarm =
                self.nodes.iter().filter_map(|(node, routes)| Some((routes.next_deadline()?, *node))).min();
            let arrival = self.under_way.first_key_value().map(|(&(when, _), _)| when);
            let Some(when) = alarm.map(|(when, _)| when).into_iter().chain(arrival).min() else { break };
            if when > end {
                break;
            }
            self.now = self.now.max(when);
            if arrival == Some(when) {
                let (_, (from, to, message)) = self.under_way.pop_first().expect("there is one");
                let bytes = message.encode();
                assert!(
                    bytes.len() <= usize::from(u16::MAX),
                    "a message of {} bytes fits into no header",
                    bytes.len()
                );
                let message = Message::decode(bytes).expect("what a node says can be read");
                self.input(to, Step::Hear { from: id(from), message });
            } else if let Some((_, node)) = alarm {
                self.input(node, Input::Deadline);
            }
        }
        self.now = end;
    }

    /// Every node holds the same table.
    fn agree(&self) -> bool {
        let digests: Vec<_> = self.nodes.values().map(|routes| routes.table.digest()).collect();
        digests.windows(2).all(|pair| pair[0] == pair[1])
    }

    fn routes(&self, node: usize) -> &Routes {
        &self.nodes[&node]
    }

    /// The nodes a message from `from` to `to` passes, by the labels it carries.
    fn walk(&self, from: usize, to: usize) -> Option<Vec<usize>> {
        let path = self.routes(from).paths().get(&id(to))?.clone();
        let mut nodes = vec![from, path.first.0 as usize];
        for number in &path.labels {
            let relay = *nodes.last().expect("there are two");
            let next = self.links.iter().find(|(a, b)| *a == relay && label(*a, *b) == *number);
            nodes.push(next.expect("the relay has such a link").1);
        }
        assert_eq!(nodes.last(), Some(&to));
        Some(nodes)
    }
}

/// A connected random graph: a random tree and some more links.
fn random_links(rng: &mut Rng, count: usize, more: usize) -> BTreeSet<(usize, usize)> {
    let mut links: BTreeSet<(usize, usize)> =
        (2..=count).map(|node| (1 + rng.below(node as u64 - 1) as usize, node)).collect();
    for _ in 0..more {
        let (a, b) = (1 + rng.below(count as u64) as usize, 1 + rng.below(count as u64) as usize);
        if a != b {
            links.insert((a.min(b), a.max(b)));
        }
    }
    links
}
