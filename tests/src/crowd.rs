//! Several nodes and the lanes between them, driven by hand: who listens where may change, disks can be copied, and links cut.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use wattle_core::id::{LaneId, Ticket};
use wattle_core::node::command::{Command, Refusal, Reply};
use wattle_core::node::output::{DialId, Event};
use wattle_core::node::{Config, Input, Output, Status};
use wattle_core::time::Span;
use wattle_core::work::public_key;

use crate::Solo;

/// How often bytes are carried.
const STEP: Span = Span::millis(5);

/// Rows, in their order.
pub type Disk = BTreeMap<Ticket, Bytes>;

/// One end of a lane.
type End = (usize, LaneId);

/// A crowd of nodes. Node `n` is called by the nth letter and has the address `n:1`.
#[derive(Clone, Default)]
pub struct Crowd {
    /// The nodes.
    pub nodes: Vec<Solo>,
    /// What each told of itself.
    pub events: Vec<Vec<Event>>,
    /// Who answers at which address, if anybody.
    listening: BTreeMap<String, usize>,
    lanes: BTreeMap<End, End>,
    /// Pairs that cannot reach each other, the smaller first.
    cut: BTreeSet<(usize, usize)>,
    last: u64,
}

impl Crowd {
    /// Members of one mesh: each node dials those that `dials` names of it.
    #[must_use]
    pub fn new(dials: &[&[usize]]) -> Self {
        let mut crowd = Self::default();
        for (node, dials) in dials.iter().enumerate() {
            let name = char::from(b'a' + node as u8).to_string();
            let dial = dials.iter().map(|to| address(*to)).collect();
            crowd.add(Solo::with(&name, |config: &mut Config| {
                config.dial = dial;
                config.identity.addresses = vec![address(node)];
                config.mesh.addresses = vec![address(node)];
            }));
            crowd.listening.insert(address(node), node);
        }
        crowd.nodes[0].seed();
        for node in 1..dials.len() {
            let Ok(Reply::Token { token }) = crowd.ask(0, Command::Invite) else { panic!("no token") };
            let joined = crowd.ask(node, Command::Join { token });
            assert!(matches!(joined, Ok(Reply::Joined { .. })), "{joined:?}");
        }
        crowd.pass(Span::secs(3));
        crowd
    }

    fn add(&mut self, solo: Solo) -> usize {
        self.nodes.push(solo);
        self.events.push(Vec::new());
        self.nodes.len() - 1
    }

    /// A second machine with a copy of a node's disk, which dials others than the node does. Both are started from there on.
    pub fn copy(&mut self, node: usize, dials: &[usize]) -> usize {
        self.nodes[node].sync();
        let mut copy = self.nodes[node].clone();
        copy.configure(|config| config.dial = dials.iter().map(|to| address(*to)).collect());
        let copy = self.add(copy);
        for node in [node, copy] {
            self.restart(node, |_| {});
        }
        copy
    }

    /// Ends a node's process and starts it anew, with other settings perhaps.
    pub fn restart(&mut self, node: usize, settings: impl FnOnce(&mut Config)) {
        let ends: Vec<End> = self.lanes.keys().copied().filter(|end| end.0 == node).collect();
        ends.into_iter().for_each(|end| self.drop_lane(end));
        self.last += 1;
        let solo = &mut self.nodes[node];
        solo.configure(settings);
        solo.restart_as(u128::from(self.last) << 64).expect("what is on disk makes sense");
        self.events[node].clear();
    }

    /// What is on a node's disk.
    #[must_use]
    pub fn disk(&mut self, node: usize) -> Disk {
        self.nodes[node].sync();
        self.nodes[node].rows.clone()
    }

    /// Ends a node's process and starts it anew on another disk.
    pub fn replace_disk(&mut self, node: usize, disk: Disk) {
        self.nodes[node].rows = disk;
        self.restart(node, |_| {});
    }

    /// Lets two nodes reach each other, or not any more.
    pub fn cut(&mut self, a: usize, b: usize, cut: bool) {
        let pair = (a.min(b), a.max(b));
        if !cut {
            self.cut.remove(&pair);
            return;
        }
        self.cut.insert(pair);
        let between = |(near, far): (&End, &End)| (near.0, far.0) == (a, b);
        let ends: Vec<End> =
            self.lanes.iter().filter(|&(near, far)| between((near, far))).map(|(near, _)| *near).collect();
        ends.into_iter().for_each(|end| self.drop_lane(end));
    }

    /// Whether two nodes are linked, as the first sees it.
    #[must_use]
    pub fn linked(&self, a: usize, b: usize) -> bool {
        self.lanes.iter().any(|(near, far)| (near.0, far.0) == (a, b))
    }

    /// What a node knows of itself and the mesh.
    #[must_use]
    pub fn status(&self, node: usize) -> Status {
        self.nodes[node].node.status(self.nodes[node].now).expect("it runs")
    }

    /// Gives a node a command and waits ten seconds for the answer.
    ///
    /// # Errors
    /// Its refusal.
    pub fn ask(&mut self, node: usize, command: Command) -> Result<Reply, Refusal> {
        self.last += 1;
        let request = 1_000_000 + self.last;
        self.nodes[node].command(request, command.clone());
        for _ in 0..2_000 {
            self.pass(STEP);
            let answer = self.nodes[node].replies().into_iter().find(|(number, _)| *number == request);
            if let Some((_, reply)) = answer {
                return reply;
            }
        }
        panic!("no answer to {command:?}");
    }

    /// Lets time pass for all.
    pub fn pass(&mut self, span: Span) {
        for _ in 0..span.0.div_ceil(STEP.0) {
            for node in 0..self.nodes.len() {
                self.nodes[node].pass(STEP);
            }
            self.settle();
        }
    }

    fn settle(&mut self) {
        loop {
            let mut moved = false;
            for node in 0..self.nodes.len() {
                self.nodes[node].sync();
                moved |= self.serve(node);
            }
            for (near, far) in self.lanes.clone() {
                let bytes = Bytes::from(self.nodes[near.0].transmit(near.1));
                if !bytes.is_empty() && self.lanes.contains_key(&far) {
                    moved = true;
                    self.nodes[far.0].tell(Input::Received { lane: far.1, bytes }).expect("running");
                }
            }
            if !moved {
                return;
            }
        }
    }

    fn serve(&mut self, node: usize) -> bool {
        let (mut dials, mut closed) = (Vec::new(), Vec::new());
        let events = &mut self.events[node];
        self.nodes[node].outputs.retain(|output| {
            match output {
                Output::Dial { dial, address } => dials.push((*dial, address.clone())),
                Output::Close { lane, .. } => closed.push(*lane),
                Output::Event(event) => events.push(event.clone()),
                _ => return true,
            }
            false
        });
        let moved = !dials.is_empty() || !closed.is_empty();
        dials.into_iter().for_each(|(dial, address)| self.dial(node, dial, &address));
        closed.into_iter().for_each(|lane| self.drop_lane((node, lane)));
        moved
    }

    fn dial(&mut self, from: usize, dial: DialId, address: &str) {
        let to = self.listening.get(address).copied();
        let Some(to) = to.filter(|&to| !self.cut.contains(&(from.min(to), from.max(to)))) else {
            return self.nodes[from].tell(Input::DialFailed { dial }).expect("running");
        };
        self.last += 2;
        let (near, far) = ((from, LaneId(self.last)), (to, LaneId(self.last + 1)));
        self.lanes.extend([(near, far), (far, near)]);
        let key = |node: usize| public_key(&self.nodes[node].secret);
        let (near_key, far_key) = (key(from), key(to));
        let up = Input::LaneUp { lane: far.1, dial: None, peer_key: near_key };
        self.nodes[to].tell(up).expect("running");
        let up = Input::LaneUp { lane: near.1, dial: Some(dial), peer_key: far_key };
        self.nodes[from].tell(up).expect("running");
    }

    fn drop_lane(&mut self, near: End) {
        let Some(far) = self.lanes.remove(&near) else { return };
        self.lanes.remove(&far);
        for end in [near, far] {
            self.nodes[end.0].tell(Input::LaneDown { lane: end.1 }).expect("running");
        }
    }
}

fn address(node: usize) -> String {
    format!("{node}:1")
}
