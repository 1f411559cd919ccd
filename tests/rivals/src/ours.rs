//! Our engine: three nodes with `wattle_core::raft::Groups`. Nothing outside this file knows its types.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use wattle_core::configuration::{Configuration, Member};
use wattle_core::id::{GroupId, LogIndex, NodeId, ReplicaId};
use wattle_core::planted::Planted;
use wattle_core::raft::{
    Config, Entries, EntryKind, Groups, Input, Message, Output, Receipt, RoleName, Write,
};
use wattle_core::record::Forget;
use wattle_core::rng::{Purpose, Rng};
use wattle_core::time::{Instant, Now, Span, Wall};
use wattle_core::when::When;

use crate::engine::{Engine, Setting, Traffic};

/// Three nodes.
pub struct Ours {
    encoded: bool,
    now: Instant,
    nodes: [Node; 3],
    /// What is under way to each node.
    inboxes: [Vec<Parcel>; 3],
    /// The node that leads each group.
    leaders: Vec<usize>,
    traffic: Traffic,
}

struct Node {
    groups: Groups,
    /// `None` where memory is counted: what a disk holds is not the engine's memory.
    disk: Option<Disk>,
    /// What waits for the write of this step.
    receipts: Vec<Receipt>,
    held: Vec<(usize, Parcel)>,
    /// As it was given.
    applied: Vec<Entries>,
}

/// What was written, by group.
type Disk = BTreeMap<GroupId, Shelf>;

#[derive(Default)]
struct Shelf {
    /// Runs of entries, with the last entry of each.
    runs: VecDeque<(LogIndex, Entries)>,
    /// What is written anew in place of what was written before.
    states: VecDeque<Write>,
}

struct Parcel {
    from: NodeId,
    group: GroupId,
    letter: Letter,
}

enum Letter {
    Value(Box<Message>),
    Encoded(Bytes),
}

fn member(node: usize) -> Member {
    Member { node: NodeId(node as u128 + 1), replica: ReplicaId(node as u128 + 101) }
}

fn place(node: NodeId) -> usize {
    usize::try_from(node.0 - 1).expect("one of three")
}

fn id(group: usize) -> GroupId {
    GroupId(group as u128 + 1)
}

/// What is written anew in place: a state, a base, and with whatever is written what members vouched for.
const REWRITTEN: usize = 2;

impl Node {
    fn new(node: usize, keeps_disk: bool) -> Self {
        let rng = Rng::stream([node as u8; 32], Purpose::Raft);
        Self {
            groups: Groups::new(Config::default(), member(node).node, rng, Planted::none()),
            disk: keeps_disk.then(Disk::new),
            receipts: Vec::new(),
            held: Vec::new(),
            applied: Vec::new(),
        }
    }

    fn write(&mut self, write: Write) {
        let Some(disk) = &mut self.disk else { return };
        let shelf = disk.entry(write.group()).or_default();
        if let Some(entries) = write.entries()
            && let Some(last) = entries.last()
        {
            shelf.runs.push_back((last.index, entries.clone()));
        }
        shelf.states.truncate(REWRITTEN - 1);
        shelf.states.push_front(write);
    }

    fn forget(&mut self, dead: Forget) {
        let Some(disk) = &mut self.disk else { return };
        let Some(shelf) = disk.get_mut(&GroupId(dead.id)) else { return };
        while shelf.runs.front().is_some_and(|(last, _)| last.0 < dead.below) {
            shelf.runs.pop_front();
        }
    }
}

impl Ours {
    /// Starts the groups, and waits for their leaders.
    pub fn new(setting: Setting) -> Self {
        let voters = Configuration::simple((0..3).map(member).collect(), Vec::new());
        let mut ours = Self {
            encoded: setting.encoded,
            now: Instant(1),
            nodes: [0, 1, 2].map(|node| Node::new(node, setting.groups == 1)),
            inboxes: [const { Vec::new() }; 3],
            leaders: Vec::new(),
            traffic: Traffic::default(),
        };
        for group in (0..setting.groups).map(id) {
            for node in 0..3 {
                let (replica, founding) = (member(node).replica, voters.clone());
                ours.tell(node, Input::Create { group, replica, founding, anew: false });
                // At once, so that no queue keeps the room that all groups together would need.
                ours.drain(node);
            }
        }
        ours.settle();
        ours.leaders = (0..setting.groups).map(|group| ours.leader(id(group))).collect();
        ours.inboxes = [const { Vec::new() }; 3];
        ours.nodes.iter_mut().for_each(|node| node.applied = Vec::new());
        ours
    }

    fn leader(&self, group: GroupId) -> usize {
        let leads = |node: &Node| node.groups.status(group).is_some_and(|s| s.role == RoleName::Leader);
        self.nodes.iter().position(leads).expect("elections are over")
    }

    /// Goes from deadline to deadline until there is none.
    fn settle(&mut self) {
        (0..3).for_each(|node| self.drain(node));
        self.run();
        while let Some(next) = self.nodes.iter().filter_map(|node| node.groups.next_deadline()).min() {
            self.now = self.now.max(next);
            self.meet_deadlines();
        }
    }

    fn meet_deadlines(&mut self) {
        let mut due = false;
        for node in 0..3 {
            if self.nodes[node].groups.next_deadline().is_some_and(|at| at <= self.now) {
                self.tell(node, Input::Deadline);
                due = true;
            }
        }
        if due {
            (0..3).for_each(|node| self.drain(node));
            self.run();
        }
    }

    fn tell(&mut self, node: usize, input: Input) {
        self.nodes[node].groups.handle(Now { monotonic: self.now, wall: Wall(0) }, input);
    }

    /// Until nobody has anything left to say.
    fn run(&mut self) {
        loop {
            let mut silent = true;
            for node in 0..3 {
                if !self.inboxes[node].is_empty() {
                    self.deliver(node);
                    self.drain(node);
                    silent = false;
                }
            }
            if silent {
                return;
            }
        }
    }

    /// A node is told everything that came for it, and then asked what it wants.
    fn deliver(&mut self, node: usize) {
        let mut inbox = core::mem::take(&mut self.inboxes[node]);
        for Parcel { from, group, letter } in inbox.drain(..) {
            let message = match letter {
                Letter::Value(message) => message,
                Letter::Encoded(bytes) => Box::new(Message::decode(bytes).expect("encoded by this engine")),
            };
            self.tell(node, Input::Message { from, group, message });
        }
        self.inboxes[node] = inbox;
    }

    /// Does everything that a node wants. Each step is one row, and on disk when it is written.
    fn drain(&mut self, node: usize) {
        loop {
            while let Some(output) = self.nodes[node].groups.poll() {
                self.fulfil(node, output);
            }
            // As the owner of all groups does: what is led by now is told to other nodes.
            self.nodes[node].groups.take_moved();
            let mut held = core::mem::take(&mut self.nodes[node].held);
            for (to, parcel) in held.drain(..) {
                self.inboxes[to].push(parcel);
            }
            self.nodes[node].held = held;
            if self.nodes[node].receipts.is_empty() {
                return;
            }
            let mut receipts = core::mem::take(&mut self.nodes[node].receipts);
            for receipt in receipts.drain(..) {
                self.tell(node, Input::Durable(receipt));
            }
            self.nodes[node].receipts = receipts;
        }
    }

    fn fulfil(&mut self, node: usize, output: Output) {
        match output {
            Output::Persist(write) => self.nodes[node].write(write),
            Output::Forget(dead) => self.nodes[node].forget(dead),
            Output::Notify(receipt) => self.nodes[node].receipts.push(receipt),
            Output::Send { to, group, message, when } => {
                let parcel = Parcel { from: member(node).node, group, letter: self.letter(message) };
                match when {
                    When::Now => self.inboxes[place(to)].push(parcel),
                    When::Durable => self.nodes[node].held.push((place(to), parcel)),
                }
            }
            Output::Apply { entries, .. } => self.nodes[node].applied.push(entries),
            Output::Refused { reason, .. } => panic!("a proposal was refused: {reason:?}"),
            Output::Stopped { reason, .. } => panic!("the group stopped: {reason}"),
            _ => {}
        }
    }

    fn letter(&mut self, message: Box<Message>) -> Letter {
        self.traffic.messages += 1;
        if !self.encoded {
            return Letter::Value(message);
        }
        let bytes = message.encode().to_bytes();
        self.traffic.bytes += bytes.len() as u64;
        Letter::Encoded(bytes)
    }
}

impl Engine for Ours {
    fn round(&mut self, group: usize, proposals: Vec<Vec<u8>>) {
        let (leader, group) = (self.leaders[group], id(group));
        for data in proposals {
            self.tell(leader, Input::Propose { group, data: data.into(), weight: 0, unhurried: false, context: 0 });
        }
        self.now += Span::micros(1);
        self.drain(leader);
        self.run();
        self.meet_deadlines();
    }

    fn compact(&mut self, group: usize) {
        let group = id(group);
        for node in 0..3 {
            let upto = self.nodes[node].groups.status(group).expect("it is there").applied;
            self.tell(node, Input::Compact { group, upto });
            self.drain(node);
        }
    }

    fn pass(&mut self) {
        self.now += Span::millis(100);
        self.meet_deadlines();
    }

    fn take_applied(&mut self) -> [Vec<Bytes>; 3] {
        let commands = |runs: Vec<Entries>| {
            let entries = runs.iter().flat_map(|run| run.iter());
            let commands = entries.filter(|entry| entry.kind == EntryKind::Command);
            commands.map(|entry| entry.data.clone()).collect()
        };
        self.nodes.each_mut().map(|node| commands(core::mem::take(&mut node.applied)))
    }

    fn traffic(&self) -> Traffic {
        self.traffic
    }
}
