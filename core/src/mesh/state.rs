//! The replicated state: equal at every member after the same entry, and changed by nothing but entries.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use bytes::Bytes;

use super::entry::{Admission, Body, Entry, Request};
use super::eviction::{Evicted, Eviction};
use super::flow::Flow;
use super::join_key::JoinKey;
use super::rotation::{Rotations, Step};
use super::sealing::Seal;
use super::table::Table;
use super::updates::{self, Updates};
use crate::description::Described;
use crate::ends::Ends;
use crate::epoch::Epoch;
use crate::flow::Scope;
use crate::id::{LogIndex, MeshId, NodeId, ReplicaId, StreamInstance};
use crate::members::StreamMembers;
use crate::node::command::Refusal;
use crate::planted::Planted;
use crate::recovery::Recovered;
use crate::time::Wall;
use crate::work::PublicKey;

/// Most members. Like all limits here it decides what an entry does, so it is equal everywhere.
pub const MEMBERS_MAX: usize = 1_000;
/// Most open streams.
pub const STREAMS_MAX: usize = 100_000;
/// How many decided requests are remembered. A request is refused as too old if that many others were decided since it was made.
pub const DECIDED_MAX: usize = 8_192;
/// Longest name of a stream.
pub const STREAM_NAME_MAX: usize = 128;
/// Longest name of a node.
pub const NODE_NAME_MAX: usize = 64;
/// How many former replica ids of a member are remembered.
pub const FORMER_MAX: usize = 8;

/// A member of the mesh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its id.
    pub node: NodeId,
    /// Its name, unique in the mesh.
    pub name: String,
    /// Its accepted keys: the present one, and while it gives way the next.
    pub keys: Vec<PublicKey>,
    /// The key that its admission names.
    pub admitted: PublicKey,
    /// How it came to its keys.
    pub rotations: Rotations,
    /// Where others dial it; empty if it only dials out.
    pub addresses: Vec<String>,
    /// Where its API listens.
    pub api: Option<String>,
    /// Where in the world it is, if it says so.
    pub region: Option<String>,
    /// Its replica of the control group, as told when it was admitted.
    pub replica: ReplicaId,
    /// Replica ids it had before, newest last.
    pub former: Vec<ReplicaId>,
    /// Who let it in.
    pub admitter: NodeId,
    /// The admitter's signature under the admission.
    pub signature: Bytes,
    /// When it was admitted.
    pub joined: Wall,
    /// The entry that admitted it.
    pub index: LogIndex,
    /// The entry that admitted its present replica: it is here anew since then, if it had another before.
    pub taken_in: LogIndex,
}

/// An open stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    /// Its name, unique while open.
    pub name: String,
    /// This life of it.
    pub instance: StreamInstance,
    /// Its ends.
    pub ends: Ends,
    /// When it was opened.
    pub opened: Wall,
    /// The entry that opened it.
    pub index: LogIndex,
    /// What became of it, if its group lost its quorum.
    pub seal: Option<Box<Seal>>,
    /// How its members differ from its ends, if they ever changed.
    pub members: Option<Box<StreamMembers>>,
    /// How often it was resumed after it had failed.
    pub resumed: u64,
}

/// A request that was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decided {
    /// Which.
    pub request: Request,
    /// By which entry.
    pub index: LogIndex,
    /// Whether it was done (or found done), not refused.
    pub done: bool,
}

/// What an entry changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The mesh began.
    Founded,
    /// A node is a member.
    Admitted(NodeId),
    /// A member is reached elsewhere.
    Updated(NodeId),
    /// A stream is open; `created` unless it was open before.
    Opened {
        /// Its life.
        instance: StreamInstance,
        /// Whether this request opened it.
        created: bool,
    },
    /// A stream is closed; `None` if this is only remembered.
    Closed(Option<StreamInstance>),
    /// A stream is sealed, or is further on the way to that.
    Sealed {
        /// Its life.
        instance: StreamInstance,
        /// Whether this entry changed anything.
        changed: bool,
    },
    /// A stream's members are to change, or did.
    Members {
        /// Its life.
        instance: StreamInstance,
        /// Whether this entry changed anything.
        changed: bool,
    },
    /// What is said of whether, or how fast, streams take messages in.
    Flow {
        /// About which.
        scope: Scope,
        /// Whether this entry changed anything.
        changed: bool,
    },
    /// What a member says of itself is known.
    Described(NodeId),
    /// Something about updates.
    Updates(updates::Effect),
    /// A key has a value, by that entry.
    ConfigSet(LogIndex),
    /// A key is gone, by that entry.
    ConfigDeleted(LogIndex),
    /// Settings of the mesh changed, by that entry.
    Configured(LogIndex),
    /// The mesh has another join key, by that entry.
    KeyRotated(LogIndex),
    /// A member has another key, beside the one it had or, if that is retired, in its place.
    KeyChanged {
        /// Which member.
        node: NodeId,
        /// Whether the old key is good no more.
        retired: bool,
    },
    /// A member is one no more.
    Evicted {
        /// Who.
        node: NodeId,
        /// The number of the mesh epoch since then.
        number: u64,
        /// Whether it had asked for that.
        left: bool,
    },
    /// The mesh goes on without those with whom its quorum was lost.
    Recovered {
        /// By which attempt.
        attempt: u64,
        /// The number of the mesh epoch since then.
        number: u64,
    },
}

/// What became of an entry. `fresh` is `false` when the request had been decided before and nothing changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What is true of the request now, or why it was refused.
    pub result: Result<Effect, Refusal>,
    /// Whether this entry decided it.
    pub fresh: bool,
}

/// The state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// The last entry applied.
    pub applied: LogIndex,
    /// The mesh, once founded.
    pub mesh: Option<MeshId>,
    /// Its name.
    pub mesh_name: String,
    /// The time of the last command; grows with each (M6).
    pub time: Wall,
    /// The members.
    pub members: BTreeMap<NodeId, Member>,
    /// The members' names (M2).
    pub names: BTreeMap<String, NodeId>,
    /// The open streams by name.
    pub streams: BTreeMap<String, Stream>,
    /// The agreed configuration.
    pub config: Table,
    /// The mesh's join key, if it has one.
    pub join_key: Option<JoinKey>,
    /// Requests decided lately, oldest first.
    pub decided: VecDeque<Decided>,
    /// The same by request.
    pub decisions: BTreeMap<Request, bool>,
    /// The entry that decided the newest request no longer remembered.
    pub floor: LogIndex,
    /// What members say of themselves.
    pub descriptions: BTreeMap<NodeId, Described>,
    /// Updates to all members.
    pub updates: Updates,
    /// The mesh epoch (M25).
    pub epoch: Epoch,
    /// What raised the mesh to it.
    pub raised: Option<Eviction>,
    /// Former members, of the last epochs.
    pub evicted: BTreeMap<NodeId, Evicted>,
    /// The last recovery of a lost quorum.
    pub recovered: Option<Recovered>,
    /// Whether, and how fast, streams take messages in.
    pub flow: Flow,
    /// What members, streams and descriptions take of the encoded state, at most.
    pub(super) bytes: usize,
    pub(super) planted: Planted,
}

/// Whether `name` can name a stream.
#[must_use]
pub fn valid_stream_name(name: &str) -> bool {
    (1..=STREAM_NAME_MAX).contains(&name.len()) && plain(name)
}

/// Whether `name` can name a node: it must not read as an id, or ids and names could be mistaken for one another.
#[must_use]
pub fn valid_node_name(name: &str) -> bool {
    (1..=NODE_NAME_MAX).contains(&name.len()) && plain(name) && NodeId::parse(name).is_none()
}

fn plain(name: &str) -> bool {
    name.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b))
}

/// The refusal of a stream's name.
pub(super) fn bad_stream_name(name: &str) -> Refusal {
    Refusal::Invalid(alloc::format!(
        "a stream's name has 1 to {STREAM_NAME_MAX} characters out of A-Z a-z 0-9 . _ -; {name:?} does not fit"
    ))
}

/// What is wrong with a node's name, in words.
pub(super) fn bad_node_name(name: &str) -> String {
    alloc::format!(
        "a node's name has 1 to {NODE_NAME_MAX} characters out of A-Z a-z 0-9 . _ - and does not look like an id; {name:?} does not fit"
    )
}

impl State {
    /// Applies the entry at `index`; `None` for entries of the group itself, and for what this version cannot read.
    pub fn apply(&mut self, index: LogIndex, entry: Option<&Entry>) -> Option<Outcome> {
        assert_eq!(index, self.applied.next(), "M1: entries are applied in order, each once");
        self.applied = index;
        let entry = entry?;
        if let Some(&done) = self.decisions.get(&entry.request) {
            return Some(Outcome { result: self.recall(entry, done), fresh: false });
        }
        if entry.seen < self.floor {
            // It may have been decided before and forgotten: doing it now could do it twice (M4).
            return Some(Outcome { result: Err(Refusal::Busy), fresh: false });
        }
        let time = Wall(entry.time.0.max(self.time.0.saturating_add(1)));
        assert!(time > self.time, "M6: the time of commands grows");
        self.time = time;
        let result = self.perform(index, entry);
        self.decide(Decided { request: entry.request, index, done: result.is_ok() });
        Some(Outcome { result, fresh: true })
    }

    fn decide(&mut self, decided: Decided) {
        let before = self.decisions.insert(decided.request, decided.done);
        assert!(before.is_none(), "M4: a request is decided once");
        self.decided.push_back(decided);
        if self.decided.len() > DECIDED_MAX
            && let Some(oldest) = self.decided.pop_front()
        {
            self.decisions.remove(&oldest.request);
            self.floor = oldest.index;
        }
    }

    /// What to say of a request that was decided before, as far as it is remembered.
    fn recall(&self, entry: &Entry, done: bool) -> Result<Effect, Refusal> {
        match entry.body.inner() {
            Body::Found { .. } if done => Ok(Effect::Founded),
            Body::Admit(admission) | Body::AdmitByKey { admission, .. } if done => {
                Ok(Effect::Admitted(admission.node))
            }
            Body::RotateKey { .. } if done => Ok(Effect::KeyRotated(self.decided_by(entry.request))),
            Body::RotateKey { .. } => Err(Refusal::Busy),
            Body::Admit(_) | Body::AdmitByKey { .. } => {
                Err(Refusal::JoinRefused("it was refused before".into()))
            }
            Body::Update { node, .. } if done => Ok(Effect::Updated(*node)),
            Body::Open { name, source, targets, terms } => match self.streams.get(name) {
                Some(stream) if done && self.joins(stream, source, targets, terms) => Ok(Effect::Opened {
                    instance: stream.instance,
                    created: stream.instance.0 == entry.request.0,
                }),
                _ => Err(Refusal::Busy),
            },
            Body::Close { .. } if done => Ok(Effect::Closed(None)),
            // There may have been none of that name, or the mesh was critical: nothing was done.
            Body::Close { .. } => Err(Refusal::Busy),
            Body::SealStream { name, .. } => self.recall_seal(name, done),
            Body::ReportEnd(report) => self.recall_seal(&report.name, done),
            Body::SettleEnd(settled) => self.recall_seal(&settled.name, done),
            Body::ChangeMembers(wish) => self.recall_members(&wish.stream, done),
            Body::MembersChanged(change) => self.recall_members(&change.name, done),
            Body::Flow(wish) => self.recall_flow(wish, done),
            Body::StreamFailed(report) => report.recall(done),
            Body::TargetIdle(report) => self.recall_members(&report.name, done),
            Body::Describe { node, .. } if done => Ok(Effect::Described(*node)),
            Body::Describe { .. } => Err(Refusal::Busy),
            Body::RotateNodeKey { node, step } if done => {
                Ok(Effect::KeyChanged { node: *node, retired: matches!(step, Step::Retire { .. }) })
            }
            Body::RotateNodeKey { .. } => Err(Refusal::Busy),
            Body::Updates(change) => self.updates.recall(change, done).map(Effect::Updates),
            Body::SetConfig { .. } if done => Ok(Effect::ConfigSet(self.decided_by(entry.request))),
            Body::DeleteConfig { .. } if done => Ok(Effect::ConfigDeleted(self.decided_by(entry.request))),
            Body::Configure { .. } if done => Ok(Effect::Configured(self.decided_by(entry.request))),
            Body::Configure { expected, .. } => Err(self.recall_refused_settings(*expected)),
            Body::SetConfig { key, expected, .. } => Err(self.recall_refused_write(key, *expected, false)),
            Body::DeleteConfig { key, expected } => Err(self.recall_refused_write(key, *expected, true)),
            Body::Evict(wish) => self.recall_eviction(entry.request, wish, done),
            Body::Recover(recover) => self.recall_recovery(recover, done),
            &Body::Forbidden { unreachable, members } if !done => {
                Err(Refusal::Critical { unreachable, members })
            }
            Body::Found { .. } | Body::Update { .. } | Body::Forbidden { .. } | Body::Within { .. } => {
                Err(Refusal::Busy)
            }
        }
    }

    /// The entry that decided a request that is remembered.
    fn decided_by(&self, request: Request) -> LogIndex {
        let found = self.decided.iter().rfind(|decided| decided.request == request);
        found.expect("M4: what is remembered is remembered once, both ways").index
    }

    fn perform(&mut self, index: LogIndex, entry: &Entry) -> Result<Effect, Refusal> {
        if let Body::Found { mesh, name, first } = &entry.body {
            return self.found(index, *mesh, name, first);
        }
        if self.mesh.is_none() {
            return Err(Refusal::NotMember);
        }
        if let Body::Within { tenant, body } = &entry.body {
            body.stream().map_or(Ok(()), |stream| self.is_within(tenant, stream))?;
        }
        match entry.body.inner() {
            Body::Found { .. } | Body::Within { .. } => Err(Refusal::Busy),
            Body::SetConfig { key, value, expected } => self.set_config(index, key, value, *expected),
            Body::Configure { changes, expected } => self.configure(index, changes, *expected),
            Body::DeleteConfig { key, expected } => self.delete_config(index, key, *expected),
            Body::Admit(admission) => self.admit(index, admission, None),
            Body::AdmitByKey { admission, key } => self.admit(index, admission, Some(*key)),
            Body::RotateKey { salt, hash, lifetime, uses } => {
                self.rotate_key(index, *salt, *hash, *lifetime, *uses)
            }
            Body::Update { node, addresses, api, region } => {
                let Some(member) = self.members.get(node) else {
                    return Err(Refusal::UnknownNode(node.to_string()));
                };
                let mut updated = member.clone();
                updated.addresses.clone_from(addresses);
                updated.api.clone_from(api);
                updated.region.clone_from(region);
                let (before, after) = (member.bytes(), updated.bytes());
                self.has_room(before, after).map_err(Refusal::Invalid)?;
                self.bytes = self.bytes - before + after;
                self.members.insert(*node, updated);
                Ok(Effect::Updated(*node))
            }
            Body::Open { name, source, targets, terms } => {
                let ends = self.may_open(name, source, targets, terms)?;
                Ok(self.open(index, StreamInstance(entry.request.0), name, ends))
            }
            Body::Close { name } => match self.streams.remove(name) {
                Some(stream) => {
                    self.bytes -= stream.bytes();
                    self.flow.stream_closed(index, stream.instance);
                    Ok(Effect::Closed(Some(stream.instance)))
                }
                None => Err(Refusal::UnknownStream(name.clone())),
            },
            Body::SealStream { name, lost, instance, missed } => {
                self.seal_stream(name, lost, *instance, missed)
            }
            Body::ReportEnd(report) => self.report_end(entry.origin, report),
            Body::SettleEnd(settled) => self.settle_end(entry.origin, settled),
            Body::ChangeMembers(wish) => self.change_members(index, wish),
            Body::MembersChanged(done) => self.members_changed(entry.origin, done),
            Body::Flow(wish) => self.change_flow(index, entry.origin, wish),
            Body::StreamFailed(report) => self.stream_failed(index, entry.origin, report),
            Body::TargetIdle(report) => self.target_idle(index, entry.origin, report),
            Body::Describe { node, described } => self.describe(entry.origin, *node, described),
            Body::Updates(change) => {
                let done = self.updates.apply(entry.origin, self.time, change, &self.members);
                done.map(Effect::Updates)
            }
            // The leader saw who asks; whoever else puts it into the log does nothing by it.
            Body::RotateNodeKey { node, .. } if *node != entry.origin => Err(Refusal::Busy),
            Body::RotateNodeKey { node, step: Step::Next(rotation) } => self.next_key(index, *node, rotation),
            Body::RotateNodeKey { node, step: Step::Retire { number, signature, .. } } => {
                self.retire_key(*node, *number, signature)
            }
            Body::Evict(wish) => self.evict(entry.request, wish),
            Body::Recover(recover) => self.recover(recover),
            &Body::Forbidden { unreachable, members } => Err(Refusal::Critical { unreachable, members }),
        }
    }

    fn found(
        &mut self,
        index: LogIndex,
        mesh: MeshId,
        name: &str,
        first: &Admission,
    ) -> Result<Effect, Refusal> {
        if let Some(mesh) = self.mesh {
            return Err(Refusal::AlreadyMember(mesh));
        }
        if first.node != first.key.first_node_id() || !valid_node_name(&first.name) {
            return Err(Refusal::Invalid("the founder's id, key and name do not fit".into()));
        }
        self.mesh = Some(mesh);
        self.mesh_name = name.into();
        self.insert(index, first);
        Ok(Effect::Founded)
    }

    /// Whether `admission` may be applied to this state, in words if not.
    pub(super) fn may_admit(&self, admission: &Admission) -> Result<(), String> {
        if !valid_node_name(&admission.name) {
            return Err(bad_node_name(&admission.name));
        }
        match self.members.get(&admission.node) {
            Some(member) if !member.keys.contains(&admission.key) => {
                return Err("its node id is bound to another key".into());
            }
            Some(member) if member.former.contains(&admission.replica) => {
                return Err("its replica id was given up before".into());
            }
            Some(_) => {}
            None if self.evicted.get(&admission.node).is_some_and(|gone| gone.had(admission.replica)) => {
                return Err("its replica id was given up before".into());
            }
            None if !self.belongs(admission) => {
                return Err("its node id does not belong to its key, or that key gave way to another".into());
            }
            None if self.members.len() >= MEMBERS_MAX => {
                return Err(alloc::format!("the mesh is full: it has {MEMBERS_MAX} members"));
            }
            None => {}
        }
        self.has_room_for_member(admission)?;
        match self.names.get(&admission.name) {
            Some(holder) if *holder != admission.node => Err(alloc::format!(
                "the name {:?} is taken by node {holder}: give this node another name",
                admission.name
            )),
            _ => Ok(()),
        }
    }

    /// Whether the key of a node that is no member is its own: the one it had when it was a member, if that is remembered, or else its first.
    fn belongs(&self, admission: &Admission) -> bool {
        let Admission { node, key, .. } = admission;
        match self.evicted.get(node) {
            Some(gone) => gone.keys.contains(key),
            None => key.first_node_id() == *node,
        }
    }

    fn admit(
        &mut self,
        index: LogIndex,
        admission: &Admission,
        key: Option<LogIndex>,
    ) -> Result<Effect, Refusal> {
        if !self.members.contains_key(&admission.admitter) {
            return Err(Refusal::JoinRefused("the node that admits it is no member".into()));
        }
        let known = self.members.get(&admission.node);
        let again = known.is_some_and(|member| member.replica == admission.replica);
        let new = known.is_none();
        self.may_join(admission.node, again, key)?;
        self.may_admit(admission).map_err(Refusal::JoinRefused)?;
        self.insert(index, admission);
        if let Some(key) = key.filter(|_| new) {
            self.count_use(key);
        }
        Ok(Effect::Admitted(admission.node))
    }

    fn insert(&mut self, index: LogIndex, admission: &Admission) {
        let before = self.members.remove(&admission.node);
        let evicted = self.evicted.remove(&admission.node);
        let number = evicted.as_ref().map_or(0, |gone| gone.rotated);
        let past = evicted.map(Evicted::replicas).unwrap_or_default();
        if let Some(before) = &before {
            self.names.remove(&before.name);
        }
        let (joined, place, keys, mut former) = match &before {
            Some(b) => (b.joined, b.index, b.keys.clone(), b.former.clone()),
            None => (self.time, index, Vec::from([admission.key]), past),
        };
        let same_disk = before.as_ref().filter(|before| before.replica == admission.replica);
        let taken_in = same_disk.map_or(index, |before| before.taken_in);
        let fresh = Rotations { number, ..Rotations::default() };
        let rotations = before.as_ref().map_or(fresh, |before| before.rotations.clone());
        if let Some(before) = &before
            && before.replica != admission.replica
        {
            former.push(before.replica);
            if former.len() > FORMER_MAX {
                former.remove(0);
            }
        }
        self.names.insert(admission.name.clone(), admission.node);
        let member = Member {
            node: admission.node,
            name: admission.name.clone(),
            keys,
            admitted: admission.key,
            rotations,
            addresses: admission.addresses.clone(),
            api: admission.api.clone(),
            region: None,
            replica: admission.replica,
            former,
            admitter: admission.admitter,
            signature: admission.signature.clone(),
            joined,
            index: place,
            taken_in,
        };
        self.bytes = self.bytes - before.as_ref().map_or(0, Member::bytes) + member.bytes();
        self.members.insert(admission.node, member);
        self.updates.admit(admission.node);
        assert_eq!(
            self.names.len(),
            self.members.len(),
            "M2: each member has one name and each name one member"
        );
    }

    /// The open stream of that life.
    pub(super) fn stream_of(&self, instance: StreamInstance) -> Option<&Stream> {
        self.streams.values().find(|stream| stream.instance == instance)
    }

    /// The member of that name or id.
    #[must_use]
    pub fn resolve(&self, name: &str) -> Option<NodeId> {
        self.names
            .get(name)
            .copied()
            .or_else(|| NodeId::parse(name).filter(|node| self.members.contains_key(node)))
    }

    /// Panics if an invariant does not hold. Walks every table.
    pub fn check(&self) {
        assert_eq!(self.names.len(), self.members.len(), "M2: each member has one name");
        for (node, member) in &self.members {
            assert_eq!(*node, member.node, "M2: members stand under their id");
            assert_eq!(self.names.get(&member.name), Some(node), "M2: names and members agree");
            member.check_keys();
            assert!(member.former.len() <= FORMER_MAX, "M5: former replicas are bounded");
            assert!(!member.former.contains(&member.replica), "M3: a replica id given up never returns");
        }
        let instances: alloc::collections::BTreeSet<_> = self.streams.values().map(|s| s.instance).collect();
        assert_eq!(instances.len(), self.streams.len(), "M4: no two streams share an instance");
        for stream in self.streams.values() {
            let (source, targets) = (stream.ends.source, stream.ends.targets.clone());
            let ends = Ends::on(source, targets, stream.ends.terms());
            assert!(ends.is_ok(), "M4: a stream has a source and targets");
            stream.check_seal();
            stream.check_members();
            assert!(stream.index <= self.applied, "M1: nothing comes from entries not applied");
        }
        assert_eq!(self.decided.len(), self.decisions.len(), "M4: decisions are remembered once");
        assert!(self.decided.len() <= DECIDED_MAX, "M5: remembered decisions are bounded");
        assert!(
            self.members.len() <= MEMBERS_MAX && self.streams.len() <= STREAMS_MAX,
            "M5: tables are bounded"
        );
        self.check_room();
        self.updates.check(&self.members);
        self.config.check(self.applied);
        self.check_evicted();
        self.check_flow();
        assert!(self.mesh.is_some() || self.members.is_empty(), "M12: there are no members before the mesh");
    }
}
