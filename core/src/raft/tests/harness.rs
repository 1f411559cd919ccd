//! A handful of nodes with one group, a network that may lose, double and reorder, and disks that forget what was not synced.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;

use super::owner::{decode, encode};
use crate::configuration::{Configuration, Member};
use crate::id::{BootId, GroupId, LogIndex, NodeId, ReplicaId, Term};
use crate::level::Level;
use crate::planted::Planted;
use crate::raft::{
    Body, Config, Entry, EntryKind, Fence, GroupPlace, Groups, Input, Led, Message, Output, Receipt,
    RoleName, founding_replica, recall,
};
use crate::record::{Forget, Key, Record, Settled};
use crate::rng::{Purpose, Rng};
use crate::time::{Instant, Now, Span, Wall};
use crate::when::When;

/// With less room for logs a start reads what it must.
const SMALL: u64 = 64 << 10;

pub(super) const GROUP: GroupId = GroupId(7);

pub(super) fn member(node: usize) -> Member {
    Member { node: NodeId(node as u128 + 1), replica: ReplicaId(node as u128 + 100) }
}

/// Something a step wrote or held back, in order.
#[derive(Clone, Debug)]
enum Pending {
    Write(Record),
    Forget(Forget),
    /// The owner's state.
    State(Vec<Entry>),
    Send(NodeId, Message),
    Notify(Receipt),
}

/// Records by key, in the order of their last writing.
pub(super) type Disk = Vec<(Key, Record)>;

pub(super) struct Replica {
    pub(super) groups: Groups,
    /// What it leads, and for whom.
    led: BTreeMap<(NodeId, GroupId), Term>,
    pending: VecDeque<Pending>,
    /// Loads under way, and what they will give.
    pub(super) loads: VecDeque<(u64, Option<Bytes>)>,
    pub(super) disk: Disk,
    /// What the owner was given.
    pub(super) applied: Vec<Entry>,
    /// What of that is on its disk.
    pub(super) kept: Vec<Entry>,
    pub(super) up: bool,
    /// Its owner knows that another disk of it was there when the group was founded.
    pub(super) anew: bool,
    boots: u64,
    pub(super) stopped: bool,
    /// The numbers under which this replica spoke of proposals and changes.
    pub(super) numbers: BTreeSet<u64>,
    /// The reads that were answered, and up to where.
    pub(super) read: Vec<(u64, LogIndex)>,
    /// How often its owner was told that the group conforms to its word.
    pub(super) conforms: usize,
}

pub(super) struct Cluster {
    pub(super) now: Instant,
    pub(super) replicas: Vec<Replica>,
    pub(super) network: Vec<(NodeId, NodeId, Message)>,
    pub(super) rng: Rng,
    pub(super) cut: BTreeSet<(usize, usize)>,
    suspected: BTreeSet<(usize, usize)>,
    /// What each node was told that another leads, the last time.
    told_leads: BTreeMap<(usize, usize), Vec<(GroupId, Term)>>,
    /// What was applied anywhere, by era and index.
    pub(super) agreed: BTreeMap<(u64, LogIndex), (Term, Bytes)>,
    pub(super) leaders: BTreeMap<(u64, Term), NodeId>,
    /// What the owners keep of recoveries, and tell again at each start.
    pub(super) fences: BTreeMap<usize, Fence>,
    pub(super) group: GroupId,
    founding: Vec<Configuration>,
    /// Every output, for who tells what happened.
    pub(super) outputs: Option<Vec<(usize, Output)>>,
    /// No disk is rolled back, so nobody may be told that its own was.
    pub(super) disks_are_kept: bool,
    /// Owners find that states they are given are of another history.
    pub(super) contradict: bool,
    pub(super) planted: Planted,
    /// What logs may take, from the next start of a node on.
    pub(super) log_bytes: u64,
    config: Config,
}

impl Cluster {
    /// `size` nodes, of which the first `voters` vote and the next `learners` learn.
    pub(super) fn new(seed: u64, group: GroupId, size: usize, voters: usize, learners: usize) -> Self {
        Self::with_bug(seed, group, (size, voters, learners), Planted::none())
    }

    /// The same, with a bug in every node.
    pub(super) fn with_bug(
        seed: u64,
        group: GroupId,
        sizes: (usize, usize, usize),
        planted: Planted,
    ) -> Self {
        Self::with_config(seed, group, sizes, planted, Config::default())
    }

    /// The same, with other settings in every node.
    pub(super) fn with_config(
        seed: u64,
        group: GroupId,
        (size, voters, learners): (usize, usize, usize),
        planted: Planted,
        config: Config,
    ) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        let mut cluster = Self {
            now: Instant(1),
            replicas: (0..size).map(|node| Replica::new(key, node, planted, &config)).collect(),
            network: Vec::new(),
            rng: Rng::stream(key, Purpose::Mesh),
            cut: BTreeSet::new(),
            suspected: BTreeSet::new(),
            told_leads: BTreeMap::new(),
            agreed: BTreeMap::new(),
            leaders: BTreeMap::new(),
            fences: BTreeMap::new(),
            group,
            founding: Vec::new(),
            outputs: None,
            disks_are_kept: false,
            contradict: false,
            planted,
            log_bytes: Config::default().log_bytes,
            config,
        };
        let founding = Configuration::simple(
            (0..voters).map(member).collect(),
            (voters..voters + learners).map(member).collect(),
        );
        for node in 0..size {
            let founds = node < voters + learners || cluster.config.of_streams;
            cluster.founding.push(if founds { founding.clone() } else { Configuration::default() });
            cluster.create(node);
        }
        cluster
    }

    /// Nodes start anew, with so much room for logs.
    pub(super) fn keep_logs_within(&mut self, bytes: u64) {
        self.log_bytes = bytes;
        for node in 0..self.replicas.len() {
            self.sync_all(node);
            self.crash(node);
            self.restart(node);
        }
    }

    /// The owner creates the group at each start; where it is already, nothing happens. Who is no founder of a stream's group comes to it later.
    pub(super) fn create(&mut self, node: usize) {
        let (group, founding, anew) = (self.group, self.founding[node].clone(), self.replicas[node].anew);
        let founder = founding.on(member(node).node).next().is_some();
        let input = match self.config.of_streams && !founder {
            true => Input::Await { group, replica: founding_replica(member(node).node), founding },
            false => Input::Create { group, replica: member(node).replica, founding, anew },
        };
        self.tell(node, input);
        if let Some(fence) = self.fences.get(&node).cloned() {
            self.tell(node, Input::Fence { group: self.group, fence });
        }
    }

    pub(super) fn tell(&mut self, node: usize, input: Input) {
        let now = Now { monotonic: self.now, wall: Wall(0) };
        self.replicas[node].groups.handle(now, input);
        self.drain(node);
    }

    pub(super) fn rejoin(&mut self, node: usize) {
        let now = Now { monotonic: self.now, wall: Wall(0) };
        self.replicas[node].groups.rejoin(now);
        self.drain(node);
    }

    pub(super) fn hand_over(&mut self, node: usize, away: &alloc::collections::BTreeSet<NodeId>) -> usize {
        let now = Now { monotonic: self.now, wall: Wall(0) };
        let left = self.replicas[node].groups.hand_over(now, away);
        self.drain(node);
        left
    }

    pub(super) fn drain(&mut self, node: usize) {
        let mut loops = 0;
        while let Some(output) = self.replicas[node].groups.poll() {
            loops += 1;
            assert!(loops < 10_000, "outputs without end: {output:?}");
            self.output(node, output);
        }
        self.replicas[node].groups.check_invariants(Level::Full);
    }

    fn output(&mut self, node: usize, output: Output) {
        let own = member(node).node;
        if let Some(outputs) = &mut self.outputs {
            outputs.push((node, output.clone()));
        }
        let replica = &mut self.replicas[node];
        let era = replica.groups.places().next().map_or(0, |place| place.era);
        match output {
            Output::Persist(write) => replica.pending.extend(write.records().map(Pending::Write)),
            Output::Forget(forget) => replica.pending.push_back(Pending::Forget(forget)),
            Output::Load { token, key } => {
                let found = replica.recorded(&key);
                replica.loads.push_back((token, found));
            }
            Output::Notify(receipt) => replica.pending.push_back(Pending::Notify(receipt)),
            Output::Conforms { .. } => replica.conforms += 1,
            Output::Send { to, message, when, .. } => match when {
                When::Now => self.network.push((own, to, *message)),
                When::Durable => replica.pending.push_back(Pending::Send(to, *message)),
            },
            Output::Apply { entries, .. } => {
                for entry in &entries {
                    let before = replica.applied.last().map_or(0, |entry| entry.index.0);
                    assert_eq!(entry.index.0, before + 1, "applied out of order");
                    let agreed =
                        self.agreed.entry((era, entry.index)).or_insert((entry.term, entry.data.clone()));
                    assert_eq!(
                        *agreed,
                        (entry.term, entry.data.clone()),
                        "two nodes applied different entries at {}",
                        entry.index
                    );
                    replica.applied.push(entry.clone());
                }
            }
            Output::Role { role: RoleName::Leader, term, .. } => {
                let leader = *self.leaders.entry((era, term)).or_insert(own);
                assert_eq!(leader, own, "two leaders in term {term}");
            }
            Output::Stopped { .. } => replica.stopped = true,
            Output::SnapshotWanted { to, .. } => {
                let index = replica.applied.last().map_or(LogIndex(0), |entry| entry.index);
                let data = encode(&replica.applied);
                self.tell_later(node, Input::Snapshot { group: self.group, to, index, data });
            }
            Output::Install { .. } if self.contradict => {
                let reason = String::from("what is committed here is not in it");
                self.tell_later(node, Input::Contradicted { group: self.group, reason });
            }
            Output::Install { data, .. } => {
                replica.applied = decode(&data);
                replica.pending.push_back(Pending::State(replica.applied.clone()));
                self.tell_later(node, Input::Installed { group: self.group, taken: true });
            }
            Output::Proposed { context, .. } | Output::Refused { context, .. } => {
                replica.numbers.insert(context);
            }
            Output::ReadReady { context, index, .. } => {
                assert!(replica.groups.status(self.group).is_some_and(|status| status.applied >= index));
                replica.read.push((context, index));
            }
            Output::Follows { node: leader } => {
                self.told_leads.remove(&(node, (leader.0 - 1) as usize));
            }
            Output::Role { .. }
            | Output::Fenced { .. }
            | Output::Era { .. }
            | Output::Founded { .. }
            | Output::Match { .. }
            | Output::Configured { .. } => {}
            Output::Amnesia { what, .. } => assert!(!self.disks_are_kept, "C2: a sound disk, and {what}"),
        }
    }

    pub(super) fn tell_later(&mut self, node: usize, input: Input) {
        let now = Now { monotonic: self.now, wall: Wall(0) };
        self.replicas[node].groups.handle(now, input);
    }

    /// The disk catches up with the first `count` things pending.
    pub(super) fn sync(&mut self, node: usize, count: usize) {
        for _ in 0..count {
            let Some(pending) = self.replicas[node].pending.pop_front() else { return };
            match pending {
                Pending::Write(record) => {
                    let disk = &mut self.replicas[node].disk;
                    disk.retain(|(key, _)| *key != record.key);
                    disk.push((record.key, record));
                }
                Pending::Forget(forget) => {
                    let dead = |record: &Record| {
                        let k = record.key;
                        (k.owner, k.space, k.id) == (forget.owner, forget.space, forget.id)
                            && record.last_slot < forget.below
                    };
                    self.replicas[node].disk.retain(|(_, record)| !dead(record));
                }
                Pending::State(entries) => self.replicas[node].kept = entries,
                Pending::Send(to, message) => self.network.push((member(node).node, to, message)),
                Pending::Notify(receipt) => self.tell(node, Input::Durable(receipt)),
            }
        }
    }

    /// The disk catches up until it has told of so many writes.
    pub(super) fn sync_until_notified(&mut self, node: usize, count: usize) {
        for _ in 0..count {
            let pending = &self.replicas[node].pending;
            let told = pending.iter().position(|pending| matches!(pending, Pending::Notify(_)));
            self.sync(node, told.expect("it waits to be told") + 1);
        }
    }

    /// Whether something of a node is on its way to the disk, or waits for that.
    pub(super) fn writes(&self, node: usize) -> bool {
        !self.replicas[node].pending.is_empty()
    }

    /// What is being read is there.
    pub(super) fn read_all(&mut self, node: usize) {
        while let Some((token, payload)) = self.replicas[node].loads.pop_front() {
            let now = Now { monotonic: self.now, wall: Wall(0) };
            self.replicas[node].groups.loaded(now, token, payload.as_ref()).expect("as it was written");
            self.drain(node);
        }
    }

    pub(super) fn sync_all(&mut self, node: usize) {
        while !self.replicas[node].pending.is_empty() {
            let count = self.replicas[node].pending.len();
            self.sync(node, count);
        }
    }

    /// Delivers the message at that place of the queue.
    pub(super) fn deliver(&mut self, place: usize) {
        let (from, to, message) = self.network.swap_remove(place);
        self.carry(from, to, message);
    }

    /// A message arrives, unless its way is cut or nobody is there. Whether it did.
    pub(super) fn carry(&mut self, from: NodeId, to: NodeId, message: Message) -> bool {
        let (from_place, to_place) = ((from.0 - 1) as usize, (to.0 - 1) as usize);
        let arrives = self.replicas[to_place].up && !self.cut.contains(&(from_place, to_place));
        if arrives {
            // Everything crosses the wire.
            let message = Message::decode(message.encode().to_bytes()).expect("just encoded");
            self.tell(to_place, Input::Message { from, group: self.group, message: message.into() });
        }
        arrives
    }

    /// Delivers what is under way, and not what comes of it.
    pub(super) fn deliver_all(&mut self) {
        for _ in 0..self.network.len() {
            self.deliver(0);
        }
    }

    /// The owner of a replica writes its state, and has the log cut behind it, a few entries kept.
    pub(super) fn compact(&mut self, node: usize, keep: u64) {
        let replica = &mut self.replicas[node];
        let Some(last) = replica.applied.last() else { return };
        let upto = LogIndex(last.index.0.saturating_sub(keep));
        replica.pending.push_back(Pending::State(replica.applied.clone()));
        self.tell(node, Input::Compact { group: self.group, upto });
    }

    /// Loses what was not synced. A step's records share a row, so the crash falls between steps' rows only: `pending` begins with whole rows.
    pub(super) fn crash(&mut self, node: usize) {
        self.replicas[node].pending.clear();
        self.replicas[node].loads.clear();
        self.replicas[node].up = false;
    }

    pub(super) fn restart(&mut self, node: usize) {
        self.start(node);
        let boot = BootId(u128::from(self.replicas[node].boots));
        for other in 0..self.replicas.len() {
            if other != node && self.replicas[other].up && self.watches(other, node) {
                self.tell(other, Input::PeerBoot { node: member(node).node, boot });
            }
        }
    }

    /// Starts a node from its disk, and nobody hears of it.
    pub(super) fn start(&mut self, node: usize) {
        let now = Now { monotonic: self.now, wall: Wall(0) };
        let replica = &mut self.replicas[node];
        replica.up = true;
        replica.boots += 1;
        self.told_leads.retain(|(to, of), _| *to != node && *of != node);
        let mut key = [node as u8; 32];
        key[8..16].copy_from_slice(&replica.boots.to_le_bytes());
        let config = Config { log_bytes: self.log_bytes, ..self.config.clone() };
        let mut groups =
            Groups::new(config, member(node).node, Rng::stream(key, Purpose::Raft), self.planted);
        let mut settled = BTreeMap::new();
        let said = |(at, (key, record)): (usize, &(Key, Record))| Some((at, recall(key, &record.head)?));
        let said: Vec<_> = replica.disk.iter().enumerate().filter_map(said).collect();
        for (_, Settled { history, upto }) in &said {
            let known: &mut u64 = settled.entry(*history).or_default();
            *known = (*known).max(*upto);
        }
        let newest = said.last().map(|(at, _)| *at);
        for (at, (key, record)) in replica.disk.iter().enumerate() {
            let of = recall(key, &record.head).map(|said| settled[&said.history]);
            let must = newest == Some(at) || of.is_none_or(|settled| record.last_slot > settled);
            let payload = Some(record.payload.to_bytes()).filter(|_| must || self.log_bytes > SMALL);
            groups
                .restore(key, record.last_slot, &record.head, (record.payload.len(), payload))
                .expect("just written");
        }
        // This owner keeps only what was cut off its log: it is given everything behind that again.
        replica.applied = replica.kept.clone();
        if let Some(last) = replica.applied.last() {
            groups.set_applied(self.group, last.index);
        }
        groups.restored(now).expect("what was written fits together");
        replica.groups = groups;
        replica.led.clear();
        self.drain(node);
        self.create(node);
    }

    /// Starts a node from an older image of its disk.
    pub(super) fn take_back(&mut self, node: usize, image: Disk) {
        self.crash(node);
        self.replicas[node].disk = image;
        self.restart(node);
    }

    fn watches(&self, node: usize, other: usize) -> bool {
        let peers = self.replicas[node].groups.peers();
        peers.near.union(&peers.far).any(|&peer| peer == member(other).node)
    }

    /// Heartbeats of pairs, idealised: whoever is watched, and down or cut off, is suspected.
    fn watch_pairs(&mut self) {
        for a in 0..self.replicas.len() {
            for b in 0..self.replicas.len() {
                if a == b || !self.replicas[a].up {
                    continue;
                }
                let watched = self.watches(a, b);
                let silent = watched && (!self.replicas[b].up || self.cut.contains(&(b, a)));
                let node = member(b).node;
                if silent && self.suspected.insert((a, b)) {
                    self.tell(a, Input::PairSuspect { node });
                } else if !silent && self.suspected.remove(&(a, b)) {
                    self.tell(a, Input::PairAlive { node });
                }
                if watched && !silent {
                    let groups = self.replicas[b].leads_for(member(a).node);
                    // As with heartbeats: when it is known first, when it changed, and when it is wanted anew.
                    if self.told_leads.get(&(a, b)) != Some(&groups) {
                        self.told_leads.insert((a, b), groups.clone());
                        self.tell(a, Input::Leads { node, groups });
                    }
                }
            }
        }
    }

    /// Lets time pass in small steps; everything is synced and delivered.
    pub(super) fn settle(&mut self, span: Span) {
        let end = self.now + span;
        while self.now < end {
            self.settle_and_watch(&mut |_| {});
        }
    }

    /// One small step, in which everything that is delivered is seen.
    pub(super) fn settle_and_watch(&mut self, seen: &mut impl FnMut(&Message)) {
        self.settle_and_follow(&mut |_, _, message| seen(message));
    }

    /// The same, with who sends it to whom.
    pub(super) fn settle_and_follow(&mut self, seen: &mut impl FnMut(NodeId, NodeId, &Message)) {
        self.now += Span::millis(10);
        self.watch_pairs();
        for node in 0..self.replicas.len() {
            if self.replicas[node].up {
                self.deadline(node);
                self.sync_all(node);
                self.read_all(node);
            }
        }
        for _ in 0..self.network.len() {
            if let Some((from, to, message)) = self.network.first() {
                seen(*from, *to, message);
                self.deliver(0);
            }
        }
        for node in 0..self.replicas.len() {
            self.sync_all(node);
        }
    }

    pub(super) fn deadline(&mut self, node: usize) {
        if self.replicas[node].groups.next_deadline().is_some_and(|at| at <= self.now) {
            self.tell(node, Input::Deadline);
        }
    }

    pub(super) fn leader(&self) -> Option<usize> {
        let leads = |node: &usize| self.replicas[*node].up && self.role(*node) == Some(RoleName::Leader);
        let term = |node: &usize| self.replicas[*node].groups.status(self.group).map(|status| status.term);
        (0..self.replicas.len()).filter(leads).max_by_key(term)
    }

    pub(super) fn role(&self, node: usize) -> Option<RoleName> {
        self.replicas[node].groups.status(self.group).map(|status| status.role)
    }

    /// Where a replica stands.
    pub(super) fn place(&self, node: usize) -> GroupPlace {
        self.replicas[node].groups.places().next().expect("it has a replica")
    }

    /// The configuration in force at a node.
    pub(super) fn configuration(&self, node: usize) -> Configuration {
        self.replicas[node].groups.status(self.group).expect("it has a replica").configuration
    }

    /// The first node asks for these members.
    pub(super) fn change(&mut self, voters: &[usize], learners: &[usize]) {
        let [voters, learners] = [voters, learners].map(|nodes| nodes.iter().copied().map(member).collect());
        self.tell(0, Input::Change { group: self.group, voters, learners, context: 1 });
    }

    /// A node hears a message that was made up.
    pub(super) fn hear(&mut self, node: usize, from: usize, term: Term, body: Body) {
        let (sender, addressee) = (member(from).replica, Some(member(node).replica));
        let message = Message { sender, addressee, term, life: 0, era: 0, body };
        self.tell(
            node,
            Input::Message { from: member(from).node, group: self.group, message: message.into() },
        );
        self.sync_all(node);
    }

    pub(super) fn propose(&mut self, node: usize, text: &str) {
        let data = Bytes::copy_from_slice(text.as_bytes());
        self.tell(node, Input::Propose { group: self.group, data, weight: 0, unhurried: false, context: 0 });
    }

    pub(super) fn read(&mut self, node: usize, number: u64) {
        self.tell(node, Input::Read { group: self.group, context: number });
    }

    pub(super) fn commands(&self, node: usize) -> Vec<Bytes> {
        let commands = self.replicas[node].applied.iter().filter(|entry| entry.kind == EntryKind::Command);
        commands.map(|entry| entry.data.clone()).collect()
    }

    /// One random event.
    pub(super) fn stir(&mut self) {
        self.now += Span::micros(self.rng.below(4_000));
        let node = self.rng.below(self.replicas.len() as u64) as usize;
        match self.rng.below(100) {
            0 if self.replicas[node].up => self.crash(node),
            0..4 if !self.replicas[node].up => self.restart(node),
            4 => {
                let other = self.rng.below(self.replicas.len() as u64) as usize;
                self.cut.insert((node, other));
            }
            5 => self.cut.clear(),
            6..10 => self.watch_pairs(),
            10..16 if !self.network.is_empty() => {
                let place = self.rng.below(self.network.len() as u64) as usize;
                self.network.swap_remove(place);
            }
            16..22 if !self.network.is_empty() => {
                let place = self.rng.below(self.network.len() as u64) as usize;
                let twin = self.network[place].clone();
                self.network.push(twin);
            }
            22..60 if !self.network.is_empty() => {
                let place = self.rng.below(self.network.len() as u64) as usize;
                self.deliver(place);
            }
            60..85 if self.replicas[node].up => self.sync_all(node),
            85..92 if self.replicas[node].up => self.deadline(node),
            92..95 if self.replicas[node].up => self.read_all(node),
            95..100 => {
                if let Some(leader) = self.leader() {
                    let text = alloc::format!("{}", self.rng.u64());
                    self.propose(leader, &text);
                }
            }
            _ => {}
        }
        if self.network.len() > 400 {
            self.network.clear();
        }
    }

    /// Everybody is up, nothing is cut, time passes: a leader commits, and all agree.
    pub(super) fn heal(&mut self) {
        self.cut.clear();
        for node in 0..self.replicas.len() {
            if !self.replicas[node].up {
                self.restart(node);
            }
        }
        self.settle(Span::secs(6));
    }

    /// Everybody holds what everybody else holds, and the group still commits, with so many voters.
    pub(super) fn goes_on(&mut self, voters: usize) {
        self.settle(Span::secs(8));
        let leader = self.leader().expect("a leader");
        self.propose(leader, "the end");
        self.settle(Span::secs(2));
        let commands = self.commands(leader);
        assert_eq!(commands.last().map(|command| &command[..]), Some(&b"the end"[..]));
        for node in 0..self.replicas.len() {
            assert_eq!(self.commands(node), commands, "node {node}");
        }
        let configuration = self.configuration(leader);
        assert_eq!((configuration.voters.len(), configuration.is_joint()), (voters, false));
    }
}

impl Replica {
    /// The payload of a record, as of everything written so far.
    fn recorded(&self, key: &Key) -> Option<Bytes> {
        let pending = self.pending.iter().rev().find_map(|pending| match pending {
            Pending::Write(record) if record.key == *key => Some(record),
            _ => None,
        });
        let kept = || self.disk.iter().find(|(other, _)| other == key).map(|(_, record)| record);
        pending.or_else(kept).map(|record| record.payload.to_bytes())
    }

    /// What it leads for that node, as its heartbeats would say.
    fn leads_for(&mut self, node: NodeId) -> Vec<(GroupId, Term)> {
        for Led { node, group, term } in self.groups.take_moved().unwrap_or_default().led {
            match term {
                Some(term) => self.led.insert((node, group), term),
                None => self.led.remove(&(node, group)),
            };
        }
        let led = self.led.iter().filter(|((of, _), _)| *of == node);
        led.map(|((_, group), term)| (*group, *term)).collect()
    }

    fn new(key: [u8; 32], node: usize, planted: Planted, config: &Config) -> Self {
        let mut own = key;
        own[31] = node as u8;
        let rng = Rng::stream(own, Purpose::Raft);
        Self {
            groups: Groups::new(config.clone(), member(node).node, rng, planted),
            led: BTreeMap::new(),
            pending: VecDeque::new(),
            loads: VecDeque::new(),
            disk: Vec::new(),
            applied: Vec::new(),
            kept: Vec::new(),
            up: true,
            anew: false,
            boots: 0,
            stopped: false,
            numbers: BTreeSet::new(),
            read: Vec::new(),
            conforms: 0,
        }
    }
}
