//! Several `Mesh`es over a group that has one log, never elects by itself and never loses an entry. Every message, entry
//! and record goes through its encoded form.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use bytes::Bytes;

use super::*;
use crate::configuration::{Configuration, Member as Replica};
use crate::ends::{Poison, Policy, Terms};
use crate::id::Term;
use crate::record::Owner;
use crate::rng::Purpose;
use crate::time::{Span, Wall};
use crate::when::When;
use crate::work::{Job, perform, public_key};

mod agreed;
mod departed;
mod describe;
mod doubles;
mod events;
mod failing;
mod flow;
mod growth;
mod idle;
mod introductions;
mod join_keys;
mod joining;
mod leaving;
mod marks;
mod members;
mod modes;
mod random;
mod recovery;
mod registry;
mod rivals;
mod room;
mod rotations;
mod sealing;
mod settings;
mod snapshots;
mod stolen_keys;
mod stopping;
mod tokens;
mod updates;
mod voting;

#[derive(Clone)]
enum Logged {
    Command(Bytes, Term),
    Configuration(Term),
}

struct Host {
    /// Its disk's keys, the present one first.
    secrets: Vec<[u8; 32]>,
    node: NodeId,
    /// No old key can be taken from its disk.
    disk_full: bool,
    /// How many next keys it made.
    made: u8,
    /// What it proves on new connections.
    shown: PublicKey,
    retired: Option<String>,
    /// What it shows joiners of its keys.
    rotations: Bytes,
    config: Config,
    mesh: Mesh,
    up: bool,
    in_group: bool,
    applied: usize,
    disk: BTreeMap<(u8, u128, u64), (u64, Bytes)>,
    replies: Vec<(RequestId, Result<Reply, Refusal>)>,
    roster: Vec<RosterEntry>,
    open: BTreeMap<StreamInstance, String>,
    /// Those of which it was told that they were opened before its disk was taken in.
    anew: Vec<String>,
    /// Streams closed here in any life.
    closed: BTreeSet<StreamInstance>,
    became: Vec<MeshId>,
    dialling: Vec<String>,
    dials: usize,
    compacted: Option<LogIndex>,
    updates: Vec<crate::update::UpdateDelivery>,
    events: Vec<crate::event::MeshEvent>,
    parted: usize,
    unreached: Vec<NodeId>,
    gone: Vec<NodeId>,
    bounds: (u64, Vec<Former>),
    /// For which recoveries its replica is fenced.
    eras: Vec<u64>,
    /// Under which it goes on.
    era: u64,
    /// Its fence was lifted.
    unfenced: usize,
    /// What its replica holds that was not applied.
    held: Vec<Applied>,
    /// Where its log leaves the one that others go on from, if not where the shorter one ends.
    parts_at: Option<LogIndex>,
    /// What it was told of whether streams take messages in.
    rules: crate::flow::Rules,
    resumed: BTreeMap<StreamInstance, u64>,
    /// How it was told that the members of streams changed.
    members: BTreeMap<StreamInstance, crate::members::StreamMembers>,
    /// How far it was told that streams are sealed.
    sealed: BTreeMap<StreamInstance, crate::sealing::Sealed>,
    /// For which seals its replica of a stream is fenced, and founded the group anew.
    fences: Vec<(StreamInstance, u64)>,
    foundings: Vec<(StreamInstance, u64)>,
    /// Where its logs of streams end, if it can say so.
    stream_end: Option<crate::sealing::StreamEnd>,
    /// Why it does not go on alone, if it is asked.
    cannot_found: Option<String>,
    /// Why it does not say where its log ends.
    no_end: Option<String>,
    /// How many groups it leads that another could.
    leads: usize,
    farewell: bool,
    offline: bool,
    rejoined: usize,
    claims: Vec<Bytes>,
    identities: BTreeMap<NodeId, Told>,
}

impl Host {
    /// Does a job, as a world with a disk does.
    fn work(&mut self, job: &Job) -> Done {
        match job {
            Job::NextKey => {
                if self.secrets.len() == 1 {
                    let [mut next] = self.secrets[..] else { unreachable!() };
                    self.made += 1;
                    next[31] += self.made;
                    self.secrets.push(next);
                }
                self.config.next_key = Some(public_key(&self.secrets[1]));
                Done::NextKey(Ok(public_key(&self.secrets[1])))
            }
            Job::KeepKey { .. } if self.disk_full => Done::Kept(false),
            Job::KeepKey { key, number } => {
                self.secrets.retain(|secret| public_key(secret) == *key);
                (self.config.key, self.config.next_key) = (*key, None);
                self.config.key_number = *number;
                Done::Kept(true)
            }
            job => perform(job, &self.secrets),
        }
    }
}

pub(super) struct World {
    now: Now,
    hosts: Vec<Host>,
    log: Vec<Logged>,
    /// How much of the log anybody ever applied.
    committed: usize,
    configuration: Configuration,
    leader: Option<usize>,
    term: u64,
    /// Whether what is proposed commits.
    quorum: bool,
    lanes: BTreeMap<LaneId, (usize, usize)>,
    next_lane: u64,
    next_request: u64,
    written: u64,
    /// How many of the next messages between members are lost.
    lose: usize,
    /// How many of the next join answers are lost, and their lane with them.
    lose_answers: usize,
    /// A host that answers at the address of another.
    impostor: Option<(usize, usize)>,
    changes: Vec<(usize, usize)>,
    refuse_changes: usize,
    inbox: VecDeque<(usize, Input)>,
    /// Reads that are not confirmed: host and number.
    reads: Vec<(usize, u64)>,
    /// How often a host doubted whoever leads.
    doubted: usize,
    /// The last request that one member forwarded to another.
    forwarded: Option<Message>,
    starts: u64,
    planted: Planted,
}

impl World {
    pub(super) fn new(names: &[&str]) -> Self {
        let mut world = Self {
            now: Now { monotonic: Instant(1), wall: Wall(1_700_000_000_000) },
            hosts: Vec::new(),
            log: Vec::new(),
            committed: 0,
            configuration: Configuration::default(),
            leader: None,
            term: 1,
            quorum: true,
            lanes: BTreeMap::new(),
            next_lane: 1,
            next_request: 1,
            written: 0,
            lose: 0,
            lose_answers: 0,
            impostor: None,
            changes: Vec::new(),
            refuse_changes: 0,
            inbox: VecDeque::new(),
            reads: Vec::new(),
            doubted: 0,
            forwarded: None,
            starts: 0,
            planted: Planted::none(),
        };
        for name in names {
            world.add(name);
        }
        world
    }

    /// Adds a host outside the mesh.
    pub(super) fn add(&mut self, name: &str) -> usize {
        let secret = [self.hosts.len() as u8 + 1; 32];
        let key = public_key(&secret);
        let address = alloc::format!("{name}:7000");
        let config = Config::new(name.into(), key, Vec::from([address]), Some(alloc::format!("{name}:8000")));
        let mesh = self.start(&config, key.first_node_id());
        self.hosts.push(Host {
            secrets: Vec::from([secret]),
            node: key.first_node_id(),
            disk_full: false,
            made: 0,
            shown: key,
            retired: None,
            rotations: Bytes::new(),
            config,
            mesh,
            up: true,
            in_group: false,
            applied: 0,
            disk: BTreeMap::new(),
            replies: Vec::new(),
            roster: Vec::new(),
            open: BTreeMap::new(),
            anew: Vec::new(),
            closed: BTreeSet::new(),
            became: Vec::new(),
            dialling: Vec::new(),
            dials: 0,
            compacted: None,
            updates: Vec::new(),
            events: Vec::new(),
            parted: 0,
            unreached: Vec::new(),
            gone: Vec::new(),
            bounds: (0, Vec::new()),
            eras: Vec::new(),
            era: 0,
            unfenced: 0,
            held: Vec::new(),
            parts_at: None,
            rules: crate::flow::Rules::default(),
            resumed: BTreeMap::new(),
            members: BTreeMap::new(),
            sealed: BTreeMap::new(),
            fences: Vec::new(),
            foundings: Vec::new(),
            stream_end: None,
            cannot_found: None,
            no_end: None,
            leads: 0,
            farewell: false,
            offline: false,
            rejoined: 0,
            claims: Vec::new(),
            identities: BTreeMap::new(),
        });
        self.hosts.len() - 1
    }

    fn start(&mut self, config: &Config, own: NodeId) -> Mesh {
        self.starts += 1;
        let rng = Rng::stream([self.starts as u8; 32], Purpose::Mesh);
        let mut mesh = Mesh::new(config.clone(), own, rng, self.planted);
        mesh.begins(crate::id::BootId(self.starts.into()), crate::id::Generation(0));
        mesh
    }

    /// A start of a host with what is on its disk.
    fn begun_anew(&mut self, host: usize) -> Mesh {
        let (config, own) = (self.hosts[host].config.clone(), self.id(host));
        let mut mesh = self.start(&config, own);
        let mut records: Vec<_> = self.hosts[host].disk.clone().into_iter().collect();
        records.sort_by_key(|(_, (order, _))| *order);
        for ((space, id, slot), (_, head)) in records {
            let key = Key { owner: Owner::Mesh, space, id, slot };
            mesh.restore(&key, slot, &head, 0).unwrap();
        }
        mesh.restored(self.now);
        mesh
    }

    /// Ends the host's life and begins another from its disk.
    pub(super) fn restart(&mut self, host: usize) {
        self.inbox.retain(|(to, _)| *to != host);
        let gone: Vec<_> = self.lanes.iter().filter(|(_, e)| e.0 == host || e.1 == host).collect();
        let gone: Vec<(LaneId, usize)> =
            gone.into_iter().map(|(l, e)| (*l, if e.0 == host { e.1 } else { e.0 })).collect();
        for (lane, other) in gone {
            self.lanes.remove(&lane);
            self.inbox.push_back((other, Input::JoinLaneDown { lane }));
        }
        let mesh = self.begun_anew(host);
        let entry = &mut self.hosts[host];
        entry.applied = mesh.applied_index().0 as usize;
        entry.mesh = mesh;
        entry.open.clear();
        entry.roster.clear();
        let leading = self.leader == Some(host);
        if entry.in_group {
            let configuration = self.configuration.clone();
            let index = if self.hosts[host].era == 0 { LogIndex(0) } else { self.configured_at() };
            let era = self.hosts[host].era;
            if era != 0 {
                self.inbox.push_back((host, Input::Era(era)));
            }
            self.inbox.push_back((host, Input::Configured { configuration, index, committed: true }));
            self.tell_role(host, leading);
        }
        self.pump();
    }

    fn tell_role(&mut self, host: usize, leading: bool) {
        let leader = self.leader.map(|l| self.id(l));
        let term = Term(self.term);
        self.inbox.push_back((host, Input::Role { leading, term, leader }));
    }

    pub(super) fn lead(&mut self, leader: Option<usize>) {
        self.leader = leader;
        self.term += 1;
        for host in 0..self.hosts.len() {
            if self.hosts[host].in_group {
                self.tell_role(host, leader == Some(host));
            }
        }
        self.pump();
    }

    pub(super) fn id(&self, host: usize) -> NodeId {
        self.hosts[host].node
    }

    fn host_of(&self, node: NodeId) -> Option<usize> {
        (0..self.hosts.len()).find(|&h| self.id(h) == node)
    }

    pub(super) fn mesh(&self, host: usize) -> &Mesh {
        &self.hosts[host].mesh
    }

    pub(super) fn command(&mut self, host: usize, input: impl FnOnce(RequestId) -> Input) -> RequestId {
        let request = self.ask(host, input);
        self.pump();
        request
    }

    /// Like `command`, but lets nothing of it happen yet.
    pub(super) fn ask(&mut self, host: usize, input: impl FnOnce(RequestId) -> Input) -> RequestId {
        let request = RequestId(self.next_request);
        self.next_request += 1;
        self.inbox.push_back((host, input(request)));
        request
    }

    pub(super) fn reply(&self, host: usize, request: RequestId) -> Option<Result<Reply, Refusal>> {
        let mut found = self.hosts[host].replies.iter().filter(|(r, _)| *r == request);
        let reply = found.next().map(|(_, reply)| reply.clone());
        assert!(found.next().is_none(), "a command is answered once");
        reply
    }

    pub(super) fn seed(&mut self, host: usize) -> String {
        let request = self.command(host, |request| Input::Seed { request, name: "garden".into() });
        match self.reply(host, request) {
            Some(Ok(Reply::Seeded { token, .. })) => token,
            other => panic!("not seeded: {other:?}"),
        }
    }

    pub(super) fn join(&mut self, host: usize, token: &str) -> Option<Result<Reply, Refusal>> {
        let request = self.command(host, |request| Input::Join { request, token: token.into() });
        self.reply(host, request)
    }

    /// A mesh of all hosts.
    pub(super) fn grown(names: &[&str]) -> Self {
        let mut world = Self::new(names);
        let token = world.seed(0);
        for host in 1..names.len() {
            let reply = world.join(host, &token);
            assert!(matches!(reply, Some(Ok(Reply::Joined { .. }))), "{reply:?}");
        }
        world
    }

    pub(super) fn pump(&mut self) {
        for _ in 0..100_000 {
            if let Some((host, input)) = self.inbox.pop_front()
                && self.hosts[host].up
            {
                self.hosts[host].mesh.handle(self.now, input);
            }
            let mut quiet = true;
            for host in 0..self.hosts.len() {
                quiet &= !self.drain(host);
                self.hosts[host].mesh.check_invariants(Level::Full);
            }
            quiet &= !self.replicate();
            if quiet && self.inbox.is_empty() {
                return;
            }
        }
        panic!("the world does not come to rest");
    }

    /// Lets time pass, stopping at every deadline.
    pub(super) fn pass(&mut self, span: Span) {
        let end = self.now.monotonic + span;
        for _ in 0..10_000 {
            let ups = self.hosts.iter().filter(|h| h.up);
            let next = ups.filter_map(|h| h.mesh.next_deadline()).min().filter(|&at| at <= end);
            let at = next.unwrap_or(end).max(self.now.monotonic);
            self.now.wall.0 += at.since(self.now.monotonic).as_millis();
            self.now.monotonic = at;
            if next.is_none() {
                return;
            }
            for host in 0..self.hosts.len() {
                let due = self.hosts[host].mesh.next_deadline().is_some_and(|d| d <= at);
                if due && self.hosts[host].up {
                    self.inbox.push_back((host, Input::Deadline));
                }
            }
            self.pump();
        }
        panic!("deadlines do not move on");
    }

    /// Whoever asked to read is never answered.
    pub(super) fn lose_reads(&mut self) {
        self.reads.clear();
    }

    fn replicate(&mut self) -> bool {
        if !self.quorum || self.leader.is_none() {
            return false;
        }
        let mut moved = false;
        for (host, context) in core::mem::take(&mut self.reads) {
            if self.hosts[host].applied == self.log.len() {
                moved = true;
                self.inbox.push_back((host, Input::ReadReady { context }));
            } else {
                self.reads.push((host, context));
            }
        }
        for host in 0..self.hosts.len() {
            let id = self.id(host);
            let entry = &mut self.hosts[host];
            if !entry.up || !entry.in_group || !self.configuration.members().any(|m| m.node == id) {
                continue;
            }
            if entry.applied >= self.log.len() {
                continue;
            }
            moved = true;
            let from = entry.applied;
            entry.applied = self.log.len();
            self.committed = self.log.len();
            let entries = self.log[from..].iter().enumerate().map(|(place, logged)| {
                let index = LogIndex((from + place + 1) as u64);
                match logged {
                    Logged::Command(data, term) => {
                        Applied { index, term: *term, command: true, data: data.clone() }
                    }
                    Logged::Configuration(term) => {
                        Applied { index, term: *term, command: false, data: Bytes::new() }
                    }
                }
            });
            let entries = entries.collect();
            let last = LogIndex(self.log.len() as u64);
            self.inbox.push_back((host, Input::Apply { entries }));
            if let Some(leader) = self.leader {
                self.inbox.push_back((leader, Input::Match { node: id, index: last }));
            }
        }
        moved
    }

    fn drain(&mut self, host: usize) -> bool {
        let mut any = false;
        while let Some(output) = self.hosts[host].mesh.poll() {
            any = true;
            if self.hosts[host].up {
                self.perform(host, output);
            }
        }
        any
    }

    fn perform(&mut self, host: usize, output: Output) {
        self.written += 1;
        let order = self.written;
        let entry = &mut self.hosts[host];
        match output {
            Output::Persist(record) => {
                let key = (record.key.space, record.key.id, record.key.slot);
                entry.disk.insert(key, (order, record.head));
            }
            Output::Forget(forget) => {
                entry.disk.retain(|(space, id, slot), _| {
                    (*space, *id) != (forget.space, forget.id) || *slot >= forget.below
                });
            }
            Output::Notify(receipt) => self.inbox.push_back((host, Input::Durable(receipt))),
            Output::Work { token, job } => {
                let done = entry.work(&job);
                self.inbox.push_back((host, Input::WorkDone { token, done }));
            }
            Output::DialJoin { address } => self.dial(host, &address),
            Output::SendLane { lane, message, .. } => self.send_lane(host, lane, &message),
            Output::CloseLane { lane, .. } => self.close_lane(lane),
            Output::Send { to, message, .. } => {
                if self.lose > 0 {
                    self.lose -= 1;
                } else if let Some(to) = self.host_of(to) {
                    let message = Message::decode(&message.encode()).unwrap();
                    if matches!(message, Message::Forward { .. }) {
                        self.forwarded = Some(message.clone());
                    }
                    let from = self.id(host);
                    self.inbox.push_back((to, Input::Message { from, message }));
                }
            }
            Output::Propose { data, context } => {
                if self.leader == Some(host) {
                    self.log.push(Logged::Command(data, Term(self.term)));
                    let index = LogIndex(self.log.len() as u64);
                    self.inbox.push_back((host, Input::Proposed { context, index }));
                } else {
                    self.inbox.push_back((host, Input::Refused { context, leader: None }));
                }
            }
            Output::Read { context } => match self.leader {
                Some(_) => self.reads.push((host, context)),
                None => self.inbox.push_back((host, Input::Refused { context, leader: None })),
            },
            Output::Unanswered => self.doubted += 1,
            Output::CreateGroup { replica, founding } => self.create_group(host, replica, founding),
            Output::Change { voters, learners, context } => self.change(host, voters, learners, context),
            Output::Compact { upto } => entry.compacted = Some(upto),
            Output::Became { mesh, remember } => {
                entry.became.push(mesh);
                entry.dialling.extend(remember);
            }
            Output::Remembered { addresses } => entry.dialling = addresses,
            Output::Roster(roster) => entry.roster = roster,
            Output::Members(members) => {
                entry.roster.retain(|known| members.iter().all(|member| member.node != known.node));
                entry.roster.extend(members);
                entry.roster.sort_unstable_by_key(|member| member.node);
            }
            Output::StreamOpened { name, instance, anew, .. } => {
                assert!(!entry.closed.contains(&instance), "M4: a closed stream does not come back");
                if anew && !entry.open.contains_key(&instance) {
                    entry.anew.push(name.clone());
                }
                entry.open.insert(instance, name);
            }
            Output::StreamClosed { instance, .. } => {
                entry.open.remove(&instance);
                entry.closed.insert(instance);
            }
            Output::Rules(rules) => entry.rules = rules,
            Output::StreamResumed { instance, resumed } => drop(entry.resumed.insert(instance, resumed)),
            Output::StreamMembers { instance, members } => drop(entry.members.insert(instance, members)),
            Output::StreamSealed { instance, sealed } => drop(entry.sealed.insert(instance, sealed)),
            Output::FenceStream { instance, authority, .. } => self.stream_fenced(host, instance, authority),
            Output::FoundStream { instance, authority, holds, .. } => {
                self.stream_founded(host, instance, authority, holds);
            }
            Output::Endorsement { rotations, .. } => entry.rotations = rotations,
            Output::ShowKey { key, .. } => entry.shown = key,
            Output::Event(crate::node::output::Event::KeyRetired { why }) => entry.retired = Some(why),
            Output::Reply { request, reply } => entry.replies.push((request, reply)),
            Output::DeliverUpdates(delivery) => entry.updates.push(delivery),
            Output::Event(crate::node::output::Event::Mesh(event)) => entry.events.push(event),
            Output::Gone(node) => entry.gone.push(node),
            Output::Look => {
                let unreached = entry.unreached.iter().copied().collect();
                self.inbox.push_back((host, Input::Unreached(unreached)));
            }
            Output::HandOver => {
                let input = Input::HandedOver { left: entry.leads, neighbours: true };
                self.inbox.push_back((host, input));
            }
            Output::Farewell(stopped) => entry.farewell = stopped,
            Output::Offline(offline) => entry.offline = offline,
            Output::Rejoin => entry.rejoined += 1,
            Output::Claim { claim, .. } => entry.claims.push(claim),
            Output::Identity { node, told } => drop(match told {
                Some(told) => entry.identities.insert(node, told),
                None => entry.identities.remove(&node),
            }),
            Output::Parted => {
                entry.in_group = false;
                entry.applied = 0;
                entry.roster.clear();
                entry.parted += 1;
            }
            Output::Bounds { epoch, former, .. } => entry.bounds = (epoch.number, former),
            Output::Fence { eras, .. } => self.fenced(host, &eras),
            Output::Unfence => {
                entry.eras.clear();
                entry.unfenced += 1;
            }
            Output::Compare(trail) => self.compared(host, &trail),
            Output::Found { era, holds, .. } => self.found_anew(host, era, holds),
            Output::Snapshot { .. } | Output::Installed { .. } | Output::Event(_) => {}
        }
    }

    fn create_group(&mut self, host: usize, replica: ReplicaId, founding: Configuration) {
        let known = core::mem::replace(&mut self.hosts[host].in_group, true);
        if !founding.is_empty() && self.log.is_empty() && !known {
            assert_eq!(founding.voters, [Replica { node: self.id(host), replica }]);
            self.configured(founding);
            self.lead(Some(host));
        } else if !known {
            self.tell_role(host, false);
        }
    }

    fn configured(&mut self, configuration: Configuration) {
        self.log.push(Logged::Configuration(Term(self.term)));
        self.configuration = configuration.clone();
        let index = LogIndex(self.log.len() as u64);
        for host in 0..self.hosts.len() {
            if self.hosts[host].in_group {
                let configuration = configuration.clone();
                self.inbox.push_back((host, Input::Configured { configuration, index, committed: true }));
            }
        }
    }

    fn change(&mut self, host: usize, voters: Vec<Replica>, learners: Vec<Replica>, context: u64) {
        assert_eq!(self.leader, Some(host), "M7: only the leader asks for changes");
        if self.refuse_changes > 0 {
            self.refuse_changes -= 1;
            self.inbox.push_back((host, Input::Refused { context, leader: Some(self.id(host)) }));
            return;
        }
        self.changes.push((voters.len(), learners.len()));
        self.configured(Configuration::simple(voters, learners));
    }

    fn dial(&mut self, host: usize, address: &str) {
        self.hosts[host].dials += 1;
        let named = self.hosts.iter().position(|h| h.config.addresses.iter().any(|a| a == address));
        let Some(to) = named else { return };
        let to = self.impostor.filter(|(at, _)| *at == to).map_or(to, |(_, who)| who);
        if !self.hosts[to].up {
            let (address, what) = (address.into(), "the address did not answer".into());
            return self.inbox.push_back((host, Input::JoinFailed { address, what }));
        }
        let lane = LaneId(self.next_lane);
        self.next_lane += 1;
        self.lanes.insert(lane, (host, to));
        let (peer_key, rotations) = (self.hosts[to].shown, self.hosts[to].rotations.clone());
        self.inbox.push_back((host, Input::JoinLaneUp { lane, peer_key, rotations }));
    }

    fn send_lane(&mut self, host: usize, lane: LaneId, message: &JoinMessage) {
        let Some(&(a, b)) = self.lanes.get(&lane) else { return };
        let to = if a == host { b } else { a };
        let answer = !matches!(message, JoinMessage::Request(_));
        if answer && self.lose_answers > 0 {
            self.lose_answers -= 1;
            return self.close_lane(lane);
        }
        let message = JoinMessage::decode(&message.encode()).unwrap();
        let peer_key = self.hosts[host].shown;
        self.inbox.push_back((to, Input::JoinMessage { lane, peer_key, message }));
    }

    fn close_lane(&mut self, lane: LaneId) {
        if let Some((a, b)) = self.lanes.remove(&lane) {
            self.inbox.push_back((a, Input::JoinLaneDown { lane }));
            self.inbox.push_back((b, Input::JoinLaneDown { lane }));
        }
    }

    /// All hosts of the mesh have equal states (M1).
    pub(super) fn assert_equal(&self) {
        let inside = self.hosts.iter().filter(|h| h.in_group && h.up);
        let digests: Vec<Digest> = inside.map(|h| h.mesh.digest()).collect();
        assert!(digests.windows(2).all(|pair| pair[0] == pair[1]), "M1: {digests:?}");
    }
}

pub(super) fn open(name: &str, source: &str, target: &str) -> impl FnOnce(RequestId) -> Input + use<> {
    open_to(name, source, &[target], Policy::All)
}

pub(super) fn open_to(
    name: &str,
    source: &str,
    targets: &[&str],
    policy: Policy<String>,
) -> impl FnOnce(RequestId) -> Input + use<> {
    let (name, source) = (name.to_string(), source.to_string());
    let targets = targets.iter().map(ToString::to_string).collect();
    let terms = Terms { policy, ..Terms::default() };
    move |request| Input::OpenStream { request, name, source, targets, terms }
}

/// The wish for a stream from a to b.
pub(super) fn opening(name: &str) -> Body {
    let targets = Vec::from(["b".to_string()]);
    Body::Open { name: name.into(), source: "a".into(), targets, terms: Terms::default() }
}

pub(super) fn close(name: &str) -> impl FnOnce(RequestId) -> Input + use<> {
    let name = name.to_string();
    move |request| Input::CloseStream { request, name }
}
