//! Nodes that exist twice (rule C6): a disk was copied, and both copies run.
//!
//! Whatever one copy vouches for the other may contradict. Each is told by its neighbours, and by link states of its own that it did not write, that
//! another start of it is about; that is a hint and not believed: it signs a claim that names the other start, and no more. Two claims that name
//! each other are the proof (`identity`). It goes to all members, who keep it and hear neither copy any more; and both copies stop when they see it.
//!
//! Both disks are suspect from then on. One goes on only if an operator says at its start that it is the only copy: that begins a new round, which it
//! signs, and it takes fresh replica ids in all its groups, for the other copy may have voted and acknowledged under the old ones. Starts of
//! disks of an earlier round are turned away, and stop when they are shown that. All this is of the node's identity rather than of its
//! membership: a node that parted keeps what concerns itself.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;
use prost::Message as _;
use wattle_proto::mesh as proto;

use super::identity::{Claim, Record};
use super::store::Space;
use super::wire::Malformed;
use super::{Awaited, Mesh, Output};
use crate::event::MeshEvent;
use crate::id::{BootId, NodeId};
use crate::node::command::Refusal;
use crate::node::output::Event;
use crate::planted::Bug;
use crate::rare;
use crate::record::{self, Key};
use crate::time::{Instant, Now, Span};
use crate::work::Job;

/// Of how many nodes a record is kept, at some 300 bytes each. Copies of further ones stop all the same when they meet.
const RECORDS_MAX: usize = 256;
/// How many records and claims may be in the middle of being checked.
const CHECKING_MAX: usize = 32;
/// Hints are not signed: whoever gives many of them costs a signature in each such time.
const HINT_PAUSE: Span = Span::millis(100);

/// What the other parts are told of a node's identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Of two records of a node the later counts.
    pub lateness: u64,
    /// Starts of disks of an earlier round are turned away.
    pub bar: u64,
    /// Why, for people.
    pub words: String,
    /// The encoded record.
    pub record: Bytes,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    /// Nothing is wrong with this node.
    #[default]
    Sound,
    /// It exists twice, or another copy is the only one; what proves that has until then to leave.
    Parting {
        until: Instant,
    },
    Stopped,
    /// It is about to begin a round as the only copy.
    Renewing,
}

#[derive(Clone, Debug)]
enum Checking {
    /// Another start that names this one.
    Met(Claim),
    Record {
        record: Record,
        left: Vec<Job>,
    },
}

/// What is known of nodes that exist twice, this one included.
#[derive(Clone, Debug, Default)]
pub(super) struct Doubles {
    boot: BootId,
    /// The round of this disk.
    round: u64,
    records: BTreeMap<NodeId, Record>,
    /// What this start claimed last.
    claim: Option<Claim>,
    /// The last start that is known to name this one.
    met: Option<Claim>,
    signing: Option<(u64, Claim)>,
    not_before: Instant,
    checking: BTreeMap<u64, Checking>,
    stage: Stage,
}

impl Doubles {
    pub(super) fn begins(&mut self, boot: BootId) {
        self.boot = boot;
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        match self.stage {
            Stage::Parting { until } => Some(until),
            Stage::Sound | Stage::Stopped | Stage::Renewing => None,
        }
    }

    /// A record of an earlier life.
    pub(super) fn restore(&mut self, own: NodeId, key: &Key, head: &[u8]) -> Result<(), Malformed> {
        let stored = proto::IdentityMark::decode(head).map_err(|_| Malformed("identity mark"))?;
        let node = NodeId(key.id);
        if node == own {
            self.round = stored.round;
        }
        let record = Record::from_wire(stored.record.ok_or(Malformed("identity mark without a record"))?)?;
        if record.node() != node {
            return Err(Malformed("identity mark of another node"));
        }
        self.records.insert(node, record);
        Ok(())
    }

    /// Keeps only what concerns this node itself: it belongs to no mesh any more.
    pub(super) fn forget_others(&mut self, own: NodeId) {
        self.records.retain(|node, _| *node == own);
        self.checking.clear();
    }

    pub(super) fn others(&self, own: NodeId) -> impl Iterator<Item = NodeId> + '_ {
        self.records.keys().copied().filter(move |node| *node != own)
    }

    fn mark(&self, own: NodeId, record: &Record) -> record::Record {
        let node = record.node();
        let round = if node == own { self.round } else { 0 };
        let stored = proto::IdentityMark { round, record: Some(record.to_wire()) };
        record::Record::state(Space::Identity.key(node.0), stored.encode_to_vec().into())
    }
}

impl Mesh {
    /// Whether nothing counts that this node says: it exists twice, or another copy of it is the only one.
    #[must_use]
    pub fn is_double(&self) -> bool {
        self.doubles.stage != Stage::Sound
    }

    /// Whether it has no links by that. While what proves it leaves, it has.
    pub(super) fn is_offline_as_double(&self) -> bool {
        matches!(self.doubles.stage, Stage::Renewing | Stage::Stopped)
    }

    /// What happened to this node, and what to do, if it exists twice.
    #[must_use]
    pub fn double(&self) -> Option<String> {
        let stopped = !matches!(self.doubles.stage, Stage::Sound | Stage::Renewing);
        stopped.then(|| self.words_of_own())
    }

    /// Whether nothing counts that a node says: it exists twice, and no copy is the only one yet.
    #[must_use]
    pub fn is_twice(&self, node: NodeId) -> bool {
        matches!(self.doubles.records.get(&node), Some(Record::Twice(_)))
    }

    /// How often an operator said of this disk that it is the only copy, and what shows that.
    #[must_use]
    pub fn identity_round(&self) -> (u64, Bytes) {
        let own = self.doubles.records.get(&self.own).filter(|record| matches!(record, Record::Only(_)));
        (self.doubles.round, own.map(Record::encode).unwrap_or_default())
    }

    pub(super) fn refused_as_double(&self) -> Option<Refusal> {
        match self.doubles.stage {
            Stage::Sound => None,
            Stage::Renewing => Some(Refusal::Busy),
            Stage::Parting { .. } | Stage::Stopped => self.double().map(Refusal::DuplicateIdentity),
        }
    }

    fn words_of_own(&self) -> String {
        const REMEDY: &str = "take all copies but one away for good, and start that one with `wattle run --only-copy`; whatever else is to be a node \
             begins with an empty data directory and joins";
        let boot = self.doubles.boot;
        match self.doubles.records.get(&self.own) {
            Some(Record::Twice([one, other])) => alloc::format!(
                "the data directory of this node was copied, and both copies ran at once, as {} and {} (this is {boot}); both are stopped, and the mesh \
                 hears neither: {REMEDY}",
                one.boot,
                other.boot
            ),
            Some(Record::Only(claim)) => alloc::format!(
                "another copy of this node's data directory was started with --only-copy, as {} (this is {boot}), or this one was taken back to before \
                 it was: it is stopped. If it is the one to go on, {REMEDY}",
                claim.boot
            ),
            None => String::new(),
        }
    }

    /// A start: what this disk knows of its node holds until an operator says that it is the only copy.
    pub(super) fn restored_identity(&mut self) {
        self.forget_records();
        let known: Vec<NodeId> = self.doubles.records.keys().copied().collect();
        known.into_iter().for_each(|node| self.tell_identity(node));
        let Some(record) = self.doubles.records.get(&self.own).filter(|r| r.bar() > self.doubles.round)
        else {
            return;
        };
        let round = record.round() + 1;
        let only = self.config.only_copy;
        self.doubles.stage = if only { Stage::Renewing } else { Stage::Stopped };
        self.tell_offline();
        if !only {
            return self.tell_double();
        }
        rare!(OnlyCopyStarted);
        self.sign_claim(round, None);
        if !self.planted.has(Bug::KeptUnderOldReplica) {
            self.outputs.push_back(Output::Rejoin);
        }
    }

    /// Another start of this node is said to be about; with a claim of its own that is certain.
    pub(super) fn on_rival(&mut self, now: Now, boot: BootId, claim: &[u8]) {
        if boot == self.doubles.boot || self.is_double() {
            return;
        }
        let mine = |claim: &Claim| {
            let of_own = claim.node == self.own && claim.round == self.doubles.round;
            of_own && claim.other == Some(self.doubles.boot) && claim.boot == boot
        };
        match Claim::decode(claim).ok().filter(mine) {
            Some(claim) if self.doubles.met.as_ref() != Some(&claim) => {
                let job = claim.check(self.keys.held());
                let twice = self
                    .doubles
                    .checking
                    .values()
                    .any(|checking| matches!(checking, Checking::Met(other) if *other == claim));
                if !twice {
                    self.begin_check(Checking::Met(claim), job);
                }
            }
            Some(_) => {}
            None => self.name(now, boot, false),
        }
    }

    /// Says of another start that it was about, unless just before it was said of one; `certain` if that one has said so itself.
    fn name(&mut self, now: Now, boot: BootId, certain: bool) {
        let named = self.doubles.claim.as_ref().is_some_and(|claim| claim.other == Some(boot));
        let busy = self.doubles.signing.is_some() || now.monotonic < self.doubles.not_before;
        if named || (busy && !certain) {
            return;
        }
        rare!(RivalNamed);
        self.doubles.not_before = now.monotonic + HINT_PAUSE;
        self.sign_claim(self.doubles.round, Some(boot));
    }

    fn sign_claim(&mut self, round: u64, other: Option<BootId>) {
        let (node, boot) = (self.own, self.doubles.boot);
        let claim = Claim { node, round, boot, other, signature: Bytes::new() };
        let token = self.sign(claim.statement());
        self.doubles.signing = Some((token, claim));
    }

    fn begin_check(&mut self, checking: Checking, job: Job) {
        if self.doubles.checking.len() < CHECKING_MAX {
            let token = self.next_number();
            self.doubles.checking.insert(token, checking);
            self.outputs.push_back(Output::Work { token, job });
        }
    }

    /// A signature was made; `false` if it is under no claim.
    pub(super) fn on_identity_signed(&mut self, now: Now, token: u64, signature: &[u8]) -> bool {
        let Some((_, mut claim)) = self.doubles.signing.take_if(|(signing, _)| *signing == token) else {
            return false;
        };
        claim.signature = Bytes::copy_from_slice(signature);
        let Some(other) = claim.other else {
            match self.doubles.stage {
                Stage::Renewing => self.begin_round(claim),
                Stage::Sound => self.replace_claim(claim),
                // It was proven meanwhile that this node exists twice, and stays so until an operator says otherwise.
                Stage::Parting { .. } | Stage::Stopped => rare!(RenewedInVain),
            }
            return true;
        };
        if self.is_double() {
            return true;
        }
        self.outputs.push_back(Output::Claim { other, claim: claim.encode() });
        self.doubles.claim = Some(claim.clone());
        if self.planted.strikes(Bug::OneSidedClaim, || self.doubles.met.is_none()) {
            self.adopt(now, Record::Twice([claim.clone(), claim]));
        } else {
            self.compare_claims(now);
        }
        true
    }

    /// A signature was checked; `false` if it is under no claim.
    pub(super) fn on_identity_verified(&mut self, now: Now, token: u64, valid: bool) -> bool {
        let Some(checking) = self.doubles.checking.remove(&token) else { return false };
        if !valid && !self.planted.strikes(Bug::ClaimNotChecked, || !valid) {
            return true;
        }
        match checking {
            Checking::Met(claim) => {
                let boot = claim.boot;
                self.doubles.met = Some(claim);
                self.name(now, boot, true);
                self.compare_claims(now);
            }
            Checking::Record { record, mut left } => match left.pop() {
                Some(job) => self.begin_check(Checking::Record { record, left }, job),
                None => self.adopt(now, record),
            },
        }
        true
    }

    /// Two starts that name each other were about at once.
    fn compare_claims(&mut self, now: Now) {
        if let (Some(claim), Some(met)) = (&self.doubles.claim, &self.doubles.met)
            && claim.answers(met)
        {
            let mut claims = [claim.clone(), met.clone()];
            claims.sort_by_key(|claim| claim.boot);
            self.adopt(now, Record::Twice(claims));
        }
    }

    /// A member shows a record. It is checked if it is news.
    pub(super) fn on_identity(&mut self, bytes: &[u8]) {
        let Ok(record) = Record::decode(bytes) else { return };
        let node = record.node();
        let keys = if node == self.own { self.keys.held().to_vec() } else { self.accepted_keys(node) };
        let under_way =
            self.doubles.checking.values().any(
                |checking| matches!(checking, Checking::Record { record: other, .. } if *other == record),
            );
        if keys.is_empty() || !self.is_later(&record) || under_way {
            return;
        }
        let mut left: Vec<Job> = record.claims().iter().map(|claim| claim.check(&keys)).collect();
        if let Some(job) = left.pop() {
            self.begin_check(Checking::Record { record, left }, job);
        }
    }

    fn is_later(&self, record: &Record) -> bool {
        let known = self.doubles.records.get(&record.node());
        known.is_none_or(|known| known.lateness() < record.lateness())
    }

    /// A record is good. It counts from now on, and at the next starts.
    fn adopt(&mut self, now: Now, record: Record) {
        let node = record.node();
        let known = self.doubles.records.contains_key(&node);
        if !self.is_later(&record) {
            return;
        }
        if !known && node != self.own && self.doubles.records.len() >= RECORDS_MAX {
            rare!(RecordsFull);
            return;
        }
        self.outputs.push_back(Output::Persist(self.doubles.mark(self.own, &record)));
        self.doubles.records.insert(node, record);
        self.tell_identity(node);
        if self.is_twice(node) && node != self.own {
            rare!(DoubleHeardOf);
            self.tell_duplicated(node);
        }
        let barred = self.doubles.records.get(&self.own).is_some_and(|own| own.bar() > self.doubles.round);
        if node == self.own && barred && !self.is_double() && !self.planted.has(Bug::DoubleGoesOn) {
            rare!(DoubleStopped);
            self.doubles.stage = Stage::Parting { until: now.monotonic + self.config.stop_linger };
            self.tell_duplicated(node);
            self.tell_double();
            let why = Refusal::DuplicateIdentity(self.words_of_own());
            self.end_waiting(now, &why);
        }
    }

    /// This copy is the only one: the new round begins once it is on disk.
    fn begin_round(&mut self, claim: Claim) {
        self.doubles.round = claim.round;
        let record = Record::Only(claim);
        self.outputs.push_back(Output::Persist(self.doubles.mark(self.own, &record)));
        self.doubles.records.insert(self.own, record);
        self.when_durable(Awaited::Round);
    }

    /// Another key signs for this node: what shows that it is the only copy is to be good for who never knew the old one.
    pub(super) fn renew_own_claim(&mut self) {
        let only = matches!(self.doubles.records.get(&self.own), Some(Record::Only(_)));
        if only && !self.is_double() {
            self.sign_claim(self.doubles.round, None);
        }
    }

    /// The same, signed with another key.
    fn replace_claim(&mut self, claim: Claim) {
        let record = Record::Only(claim);
        if self.doubles.records.get(&self.own).is_some_and(|known| known.lateness() == record.lateness()) {
            self.outputs.push_back(Output::Persist(self.doubles.mark(self.own, &record)));
            self.doubles.records.insert(self.own, record);
            self.tell_identity(self.own);
        }
    }

    /// The round is on disk: this node takes part again, unless a later one was begun by another copy meanwhile.
    pub(super) fn on_round_stored(&mut self) {
        let barred = self.doubles.records.get(&self.own).is_some_and(|own| own.bar() > self.doubles.round);
        self.doubles.stage = if barred { Stage::Stopped } else { Stage::Sound };
        if barred {
            rare!(RenewedInVain);
            self.tell_double();
        }
        self.tell_identity(self.own);
        self.tell_offline();
    }

    pub(super) fn on_double_deadline(&mut self, now: Now) {
        if let Stage::Parting { until } = self.doubles.stage
            && until <= now.monotonic
        {
            self.doubles.stage = Stage::Stopped;
            self.tell_offline();
        }
    }

    /// Members went: if one comes back, it has shown anew what it is.
    pub(super) fn forget_records(&mut self) {
        let gone: Vec<NodeId> = self.doubles.others(self.own).filter(|node| !self.is_member(*node)).collect();
        gone.into_iter().for_each(|node| self.forget_record(node));
    }

    pub(super) fn forget_record(&mut self, node: NodeId) {
        self.doubles.records.remove(&node);
        self.outputs.push_back(Output::Forget(Space::Identity.forget(node.0)));
        self.outputs.push_back(Output::Identity { node, told: None });
    }

    fn tell_identity(&mut self, node: NodeId) {
        let Some(record) = self.doubles.records.get(&node) else { return };
        let words = match record {
            Record::Twice([one, other]) => {
                let (one, other) = (one.boot, other.boot);
                alloc::format!(
                    "{node} exists twice: its data directory was copied, and both copies ran, as {one} and {other}"
                )
            }
            Record::Only(claim) => {
                alloc::format!(
                    "another copy of {node} is the only one that counts, since its start {}",
                    claim.boot
                )
            }
        };
        let (lateness, bar) = (record.lateness(), record.bar());
        let told = Told { lateness, bar, words, record: record.encode() };
        self.outputs.push_back(Output::Identity { node, told: Some(told) });
    }

    fn tell_double(&mut self) {
        let boots = self.doubles.records.get(&self.own).into_iter().flat_map(Record::boots).collect();
        let why = self.words_of_own();
        self.outputs.push_back(Output::Event(Event::DuplicateIdentity { boots, why }));
    }

    fn tell_duplicated(&mut self, node: NodeId) {
        let name = match node == self.own {
            true => Some(self.config.name.clone()),
            false => self.member(node).map(|member| member.name.clone()),
        };
        if let Some(name) = name.filter(|_| self.membership.is_some()) {
            self.tell(MeshEvent::NodeDuplicated { node, name });
        }
    }

    pub(super) fn check_doubles(&self) {
        let doubles = &self.doubles;
        assert!(doubles.records.len() <= RECORDS_MAX + 1, "M50: of how many copies is known is bounded");
        assert!(doubles.checking.len() <= CHECKING_MAX, "M50: what is checked of copies is bounded");
        let barred = doubles.records.get(&self.own).is_some_and(|own| own.bar() > doubles.round);
        assert!(!barred || self.is_double() || self.planted.has(Bug::DoubleGoesOn), "M51: a copy goes on");
        for (node, record) in &doubles.records {
            assert_eq!(record.node(), *node, "M50: a record of another node");
        }
    }
}
