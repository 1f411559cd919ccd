//! The published crate `raft` (tikv/raft-rs), driven as its documentation and its example `five_mem_node` say, with its own `MemStorage`.

use bytes::Bytes;
use protobuf::Message as _;
use raft::eraftpb::{Entry, EntryType, Message};
use raft::storage::MemStorage;
use raft::{Config, RawNode, StateRole};
use slog::{Discard, Logger, o};

use crate::engine::{Engine, Setting, Traffic};

/// Three replicas of each group.
pub struct RaftRs {
    encoded: bool,
    groups: Vec<[RawNode<MemStorage>; 3]>,
    /// What is under way to each node. One group is driven at a time, so all of it is that group's.
    inboxes: [Vec<Letter>; 3],
    /// As it was given.
    applied: [Vec<Vec<Entry>>; 3],
    traffic: Traffic,
}

enum Letter {
    Value(Message),
    Encoded(Bytes),
}

fn config(node: usize, batch_append: bool) -> Config {
    Config {
        id: node as u64 + 1,
        // Ticks of a tenth of a second, as in the crate's examples.
        election_tick: 10,
        heartbeat_tick: 3,
        pre_vote: true,
        check_quorum: true,
        batch_append,
        // The default is one entry in a message.
        max_size_per_msg: 1 << 20,
        ..Config::default()
    }
}

fn place(id: u64) -> usize {
    usize::try_from(id - 1).expect("one of three")
}

impl RaftRs {
    /// Starts the groups and elects their leaders.
    pub fn new(setting: Setting, batch_append: bool) -> Self {
        let logger = Logger::root(Discard, o!());
        let replica = |node| {
            let storage = MemStorage::new_with_conf_state((vec![1, 2, 3], vec![]));
            RawNode::new(&config(node, batch_append), storage, &logger).expect("a sound configuration")
        };
        let mut engine = Self {
            encoded: setting.encoded,
            groups: (0..setting.groups).map(|_| [0, 1, 2].map(replica)).collect(),
            inboxes: [const { Vec::new() }; 3],
            applied: [const { Vec::new() }; 3],
            traffic: Traffic::default(),
        };
        for group in 0..setting.groups {
            engine.groups[group][group % 3].campaign().expect("it may");
            engine.drain(group, group % 3);
            engine.run(group);
            assert_eq!(engine.groups[group][group % 3].raft.state, StateRole::Leader);
        }
        engine.inboxes = [const { Vec::new() }; 3];
        engine.applied = [const { Vec::new() }; 3];
        engine
    }

    /// Until nobody has anything left to say.
    fn run(&mut self, group: usize) {
        loop {
            let mut silent = true;
            for node in 0..3 {
                if !self.inboxes[node].is_empty() {
                    self.deliver(group, node);
                    self.drain(group, node);
                    silent = false;
                }
            }
            if silent {
                return;
            }
        }
    }

    /// A replica is told everything that came for it, and then asked what it wants.
    fn deliver(&mut self, group: usize, node: usize) {
        let mut inbox = core::mem::take(&mut self.inboxes[node]);
        for letter in inbox.drain(..) {
            let message = match letter {
                Letter::Value(message) => message,
                Letter::Encoded(bytes) => {
                    Message::parse_from_carllerche_bytes(&bytes).expect("encoded by this engine")
                }
            };
            self.groups[group][node].step(message).expect("a message of a member");
        }
        self.inboxes[node] = inbox;
    }

    /// Does everything that a replica wants. What it stores is durable at once.
    fn drain(&mut self, group: usize, node: usize) {
        while self.groups[group][node].has_ready() {
            let replica = &mut self.groups[group][node];
            let mut ready = replica.ready();
            let at_once = ready.take_messages();
            let committed = ready.take_committed_entries();
            {
                let mut storage = replica.store().wl();
                storage.append(ready.entries()).expect("memory takes it");
                if let Some(state) = ready.hs() {
                    storage.set_hardstate(state.clone());
                }
            }
            let persisted = ready.take_persisted_messages();
            let mut light = replica.advance(ready);
            if let Some(commit) = light.commit_index() {
                replica.store().wl().mut_hard_state().set_commit(commit);
            }
            let later = light.take_messages();
            let committed_later = light.take_committed_entries();
            replica.advance_apply();
            self.apply(node, committed);
            self.apply(node, committed_later);
            self.send(at_once);
            self.send(persisted);
            self.send(later);
        }
    }

    fn apply(&mut self, node: usize, entries: Vec<Entry>) {
        if !entries.is_empty() {
            self.applied[node].push(entries);
        }
    }

    fn send(&mut self, messages: Vec<Message>) {
        for message in messages {
            self.traffic.messages += 1;
            let to = place(message.to);
            let letter = if self.encoded {
                let bytes = Bytes::from(message.write_to_bytes().expect("a sound message"));
                self.traffic.bytes += bytes.len() as u64;
                Letter::Encoded(bytes)
            } else {
                Letter::Value(message)
            };
            self.inboxes[to].push(letter);
        }
    }
}

impl Engine for RaftRs {
    fn round(&mut self, group: usize, proposals: Vec<Vec<u8>>) {
        let leader = group % 3;
        for data in proposals {
            self.groups[group][leader].propose(Vec::new(), data).expect("the leader takes it");
        }
        self.drain(group, leader);
        self.run(group);
    }

    fn compact(&mut self, group: usize) {
        for replica in &mut self.groups[group] {
            let applied = replica.raft.raft_log.applied;
            replica.store().wl().compact(applied).expect("it is applied");
        }
    }

    fn pass(&mut self) {
        for group in 0..self.groups.len() {
            let mut ready = false;
            for replica in &mut self.groups[group] {
                ready |= replica.tick();
            }
            if ready {
                (0..3).for_each(|node| self.drain(group, node));
                self.run(group);
            }
        }
    }

    fn take_applied(&mut self) -> [Vec<Bytes>; 3] {
        let commands = |runs: Vec<Vec<Entry>>| {
            let entries = runs.into_iter().flatten();
            let commands = entries
                .filter(|entry| entry.get_entry_type() == EntryType::EntryNormal && !entry.data.is_empty());
            commands.map(|entry| entry.data).collect()
        };
        self.applied.each_mut().map(|runs| commands(core::mem::take(runs)))
    }

    fn traffic(&self) -> Traffic {
        self.traffic
    }
}
