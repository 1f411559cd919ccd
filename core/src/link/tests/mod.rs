//! What the part promises, in a small world of its own: nodes that dial each other over connections with delay, some of which
//! die without a word.

mod chaos;
mod fence;
mod handshake;
mod keepalive;
mod offline;
mod own_key;
mod pairs;
mod redial;
mod rivals;
mod surplus;
mod wire;

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use super::*;
use crate::level::Level;
use crate::planted::Planted;
use crate::rng::{Purpose as Stream, Rng};
use crate::time::{Instant, Now, Span, Wall};

const MESH: MeshId = MeshId(0xABCD);

fn at(instant: Instant) -> Now {
    Now { monotonic: instant, wall: Wall(0) }
}

fn key(node: u8) -> PublicKey {
    PublicKey([node; 32])
}

fn id(node: u8) -> NodeId {
    NodeId(u128::from(node))
}

fn roster(nodes: &[u8]) -> Vec<(NodeId, Vec<PublicKey>)> {
    nodes.iter().map(|&node| (id(node), vec![key(node)])).collect()
}

/// A member of the mesh that knows the members 1 to 9.
fn member(node: u8, generation: u64, config: Config) -> Links {
    let boot = BootId(u128::from(node) * 1000 + u128::from(generation));
    let seed = [node ^ generation as u8; 32];
    let mut links = Links::new(config, id(node), boot, Rng::stream(seed, Stream::Link), Planted::none());
    links.restored(at(Instant::ZERO), Generation(generation));
    links.handle(at(Instant::ZERO), Input::Mesh(MESH));
    links.handle(at(Instant::ZERO), Input::Roster(roster(&[1, 2, 3, 4, 5, 6, 7, 8, 9])));
    links
}

fn config() -> Config {
    Config::new(String::from("test"))
}

fn drain(links: &mut Links) -> Vec<Output> {
    core::iter::from_fn(|| links.poll()).collect()
}

/// Feeds one input and gives the outputs, with all invariants checked.
fn feed(links: &mut Links, now: Instant, input: Input) -> Vec<Output> {
    links.handle(at(now), input);
    links.check_invariants(Level::Full);
    drain(links)
}

/// What a peer's hello looks like.
fn hello(node: u8, generation: u64) -> Hello {
    Hello {
        version_low: 1,
        version_high: 1,
        mesh: Some(MESH),
        purpose: Purpose::Link,
        node: id(node),
        name: String::from("peer"),
        generation: Generation(generation),
        boot: BootId(u128::from(node) * 1000 + u128::from(generation)),
        nonce: 7,
        max_frame: 1 << 20,
        endorsement: Bytes::new(),
        epoch: crate::epoch::Epoch::default(),
        epoch_proofs: Vec::new(),
        round: 0,
        identity: Bytes::new(),
        key_rank: 0,
    }
}

fn say(lane: u64, message: Message) -> Input {
    Input::Message { lane: LaneId(lane), message }
}

fn accept(lane: u64, node: u8) -> Input {
    Input::LaneUp { lane: LaneId(lane), dial: None, peer_key: key(node) }
}

fn closes(outputs: &[Output]) -> Vec<(LaneId, CloseReason)> {
    let close = |output: &Output| match output {
        Output::Close { lane, reason } => Some((*lane, reason.clone())),
        _ => None,
    };
    outputs.iter().filter_map(close).collect()
}

/// Takes an accepted lane all the way up; the outputs of its last step.
fn bring_up(links: &mut Links, now: Instant, lane: u64, hello: Hello) -> Vec<Output> {
    let node = hello.node.0 as u8;
    feed(links, now, accept(lane, node));
    feed(links, now, say(lane, Message::Hello(hello)));
    feed(links, now, say(lane, Message::Confirm))
}

/// One end of a connection in the small world.
type End = (usize, LaneId);

#[derive(Clone, Debug)]
enum Happening {
    Input(usize, Input),
    /// A dial reaches its address.
    Knock {
        from: usize,
        dial: DialId,
        address: String,
    },
    /// Bytes, or the end, come through a connection.
    Through {
        to: End,
        what: Option<Message>,
    },
}

#[derive(Clone, Debug)]
struct Small {
    now: Instant,
    nodes: Vec<Option<Links>>,
    /// What each node told of its neighbours: (when, what).
    told: Vec<Vec<(Instant, Output)>>,
    happenings: BTreeMap<(Instant, u64), Happening>,
    peers: BTreeMap<End, End>,
    /// When the last bytes towards an end arrive: connections keep order.
    last: BTreeMap<End, Instant>,
    /// Ends that receive nothing any more, not even the end of the connection.
    deaf: Vec<End>,
    /// Pairs of nodes that cannot reach each other with new connections.
    cut: Vec<(usize, usize)>,
    dials: usize,
    lanes: u64,
    count: u64,
    rng: Rng,
}

impl Small {
    /// Nodes 1 to `count` of one mesh; node n has the address "n".
    fn new(count: u8, seed: u8) -> Self {
        Self {
            now: Instant::ZERO,
            nodes: (1..=count).map(|node| Some(member(node, 1, config()))).collect(),
            told: vec![Vec::new(); usize::from(count)],
            happenings: BTreeMap::new(),
            peers: BTreeMap::new(),
            last: BTreeMap::new(),
            deaf: Vec::new(),
            cut: Vec::new(),
            dials: 0,
            lanes: 0,
            count: 0,
            rng: Rng::stream([seed; 32], Stream::Mesh),
        }
    }

    fn later(&mut self, when: Instant, happening: Happening) {
        self.count += 1;
        self.happenings.insert((when, self.count), happening);
    }

    fn delay(&mut self) -> Span {
        Span::micros(self.rng.between(200, 8_000))
    }

    fn input(&mut self, node: usize, input: Input) {
        let Some(links) = self.nodes[node].as_mut() else { return };
        links.handle(at(self.now), input);
        links.check_invariants(Level::Full);
        for output in drain(links) {
            self.output(node, output);
        }
    }

    fn output(&mut self, node: usize, output: Output) {
        match output {
            Output::Dial { dial, address } => {
                self.dials += 1;
                let when = self.now + self.delay();
                self.later(when, Happening::Knock { from: node, dial, address });
            }
            Output::Send { lane, message, .. } => self.through((node, lane), Some(message)),
            Output::Close { lane, .. } => {
                self.through((node, lane), None);
                self.later(self.now, Happening::Input(node, Input::LaneDown { lane }));
            }
            other => self.told[node].push((self.now, other)),
        }
    }

    fn through(&mut self, from: End, what: Option<Message>) {
        let Some(&to) = self.peers.get(&from) else { return };
        let when = (self.now + self.delay()).max(self.last.get(&to).copied().unwrap_or_default());
        self.last.insert(to, when);
        self.later(when, Happening::Through { to, what });
    }

    fn knock(&mut self, from: usize, dial: DialId, address: &str) {
        let to = address.parse::<usize>().map_or(usize::MAX, |node| node - 1);
        let reachable = self.nodes.get(to).is_some_and(Option::is_some) && !self.is_cut(from, to);
        if !reachable {
            return self.input(from, Input::DialFailed { dial });
        }
        self.lanes += 2;
        let (near, far) = ((from, LaneId(self.lanes)), (to, LaneId(self.lanes + 1)));
        self.peers.insert(near, far);
        self.peers.insert(far, near);
        self.input(from, Input::LaneUp { lane: near.1, dial: Some(dial), peer_key: key(to as u8 + 1) });
        self.input(to, Input::LaneUp { lane: far.1, dial: None, peer_key: key(from as u8 + 1) });
    }

    fn is_cut(&self, a: usize, b: usize) -> bool {
        self.cut.contains(&(a, b)) || self.cut.contains(&(b, a))
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Input(node, input) => {
                if let Input::LaneDown { lane } = input {
                    self.peers.remove(&(node, lane));
                }
                self.input(node, input);
            }
            Happening::Knock { from, dial, address } => self.knock(from, dial, &address),
            Happening::Through { to, .. } if self.deaf.contains(&to) || !self.peers.contains_key(&to) => {}
            Happening::Through { to, what: Some(message) } => {
                let bytes = message.encode();
                let message = Message::decode(bytes).expect("what a node says can be read");
                self.input(to.0, Input::Message { lane: to.1, message });
            }
            Happening::Through { to, what: None } => {
                self.happen(Happening::Input(to.0, Input::LaneDown { lane: to.1 }));
            }
        }
    }

    fn run(&mut self, span: Span) {
        let end = self.now + span;
        loop {
            let deadline = |node: &Option<Links>| node.as_ref().and_then(Links::next_deadline);
            let alarm =
                self.nodes.iter().enumerate().filter_map(|(i, node)| Some((deadline(node)?, i))).min();
            let next = self.happenings.first_key_value().map(|(&(when, _), _)| when);
            let Some(when) = alarm.map(|(when, _)| when).into_iter().chain(next).min() else { break };
            if when > end {
                break;
            }
            self.now = self.now.max(when);
            if next == Some(when) {
                let (_, happening) = self.happenings.pop_first().expect("there is one");
                self.happen(happening);
            } else if let Some((_, node)) = alarm {
                self.input(node, Input::Deadline);
            }
        }
        self.now = end;
    }

    fn dial(&mut self, from: usize, to: usize) {
        self.input(from, Input::Target { address: format!("{}", to + 1) });
    }

    fn is_up(&self, a: usize, b: usize) -> bool {
        let lane = |a: usize, b: usize| self.nodes[a].as_ref()?.lane(id(b as u8 + 1)).map(|lane| (a, lane));
        // Both believe in the link, and in the same connection.
        match (lane(a, b), lane(b, a)) {
            (Some(near), Some(far)) => self.peers.get(&near) == Some(&far),
            _ => false,
        }
    }

    fn lanes_between(&self, a: usize, b: usize) -> usize {
        self.peers.iter().filter(|(near, far)| near.0 == a && far.0 == b).count()
    }

    fn lane_ends(&self, a: usize, b: usize) -> Vec<(End, End)> {
        self.peers.iter().filter(|(n, f)| n.0 == a && f.0 == b).map(|(n, f)| (*n, *f)).collect()
    }

    /// Every connection between two nodes falls silent without ending.
    fn freeze(&mut self, a: usize, b: usize) {
        for (near, far) in self.lane_ends(a, b) {
            self.deaf.extend([near, far]);
        }
    }

    /// Every connection between two nodes ends, as both see.
    fn sever(&mut self, a: usize, b: usize) {
        for (near, far) in self.lane_ends(a, b) {
            self.happen(Happening::Input(near.0, Input::LaneDown { lane: near.1 }));
            self.happen(Happening::Input(far.0, Input::LaneDown { lane: far.1 }));
        }
    }

    fn ups_and_downs(&self, node: usize) -> Vec<&Output> {
        let of_links = |output: &&Output| matches!(output, Output::Up { .. } | Output::Down { .. });
        self.told[node].iter().map(|(_, output)| output).filter(of_links).collect()
    }
}
