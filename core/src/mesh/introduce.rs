//! Members this node does not know yet, let in on the word of those it knows (rule E1).
//!
//! A node that was away, or whose disk was rolled back, may have no way to the others but through members admitted since. If it turned them
//! away as strangers, it would never hear of their admission. So every member shows an *endorsement* in its hello: its own signed admission,
//! its admitter's, and so on towards the founder. Whoever does not know the member follows the chain to the first admitter it knows and
//! checks every signature up to there. From then on the member is a member like any other, until the log tells of it. Of a node whose
//! messages come through a neighbour, that neighbour is asked for the endorsement.
//!
//! Beside each admission stand the rotations of that node's key: they lead from the key it was admitted with, or a key that is known, to the one it has
//! now. So a member that is known, but not under the key it proves, is let in, too.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use bytes::Bytes;

use super::entry::Admission;
use prost::Message as _;
use wattle_proto::mesh as proto;

use super::rotation::{self, Rotation};
use super::state::Member;
use super::wire::{Malformed, Message, RosterEntry, admission_in, admission_out};
use super::{Mesh, Output};
use crate::id::{MeshId, NodeId};
use crate::planted::Bug;
use crate::rare;
use crate::sometimes;
use crate::time::{Instant, Now};
use crate::when::When;
use crate::work::{Job, PublicKey};

/// The most admissions in an endorsement. Who joined through a longer row of members is believed by those that know one of the nearest.
const ENDORSEMENT_MAX: usize = 32;
/// The most rotations in one, all its nodes counted together: some 18 KiB. It must fit a hello.
const ENDORSED_ROTATIONS_MAX: usize = 80;

/// A node in an endorsement.
#[derive(Clone, Debug)]
pub(super) struct Endorsed {
    pub(super) admission: Admission,
    pub(super) rotations: Vec<Rotation>,
}

/// What follows if a chain is good.
#[derive(Clone, Debug)]
enum Introduced {
    /// A member that was not known.
    Member(Known),
    /// The next key of one that was, by these rotations.
    NextKey(Vec<Rotation>),
}

/// A member that was introduced.
#[derive(Clone, Debug)]
struct Known {
    entry: RosterEntry,
    /// The members whose word it is, and the keys each may have given it with. Once the log says that one of these is good no more, it has told of all that
    /// was let in with it: the word of such a key counts for nobody else.
    vouched: Vouched,
}

/// Members, and the keys they may have signed with.
pub(super) type Vouched = Vec<(NodeId, Vec<PublicKey>)>;

/// A chain of admissions being checked.
#[derive(Clone, Debug)]
struct Checking {
    introduced: Introduced,
    /// Signatures still to be checked after the present one.
    left: Vec<Job>,
    token: u64,
}

/// Members that were introduced, and those being checked.
#[derive(Clone, Debug, Default)]
pub(super) struct Introductions {
    checking: BTreeMap<NodeId, Checking>,
    known: BTreeMap<NodeId, Known>,
    /// Rotations of members that the log has not told of yet, checked. They count as far as they lead on from the keys that the log tells of.
    next_keys: BTreeMap<NodeId, Vec<Rotation>>,
    /// About whom a neighbour was asked, and when.
    asked: BTreeMap<NodeId, Instant>,
}

impl Introductions {
    pub(super) fn len(&self) -> usize {
        self.checking.len() + self.known.len() + self.next_keys.len() + self.asked.len()
    }

    pub(super) fn get(&self, node: NodeId) -> Option<&RosterEntry> {
        self.known.get(&node).map(|known| &known.entry)
    }

    /// The keys of a member that has `keys` by its rotation `number`, as far as the log tells, and has shown more.
    pub(super) fn led_to(&self, node: NodeId, number: u64, keys: Vec<PublicKey>) -> Vec<PublicKey> {
        match self.next_keys.get(&node) {
            Some(shown) => rotation::follow(number, keys, shown),
            None => keys,
        }
    }

    /// Nobody is let in on the word of others any more; those who should be come again.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    pub(super) fn known(&self) -> impl Iterator<Item = &RosterEntry> {
        self.known.values().map(|known| &known.entry)
    }
}

impl Mesh {
    /// What is shown to members that may not know `node`; empty unless its admission is applied here.
    pub(super) fn endorsement(&self, node: NodeId) -> Bytes {
        let (mut chain, mut rotations) = (Vec::new(), 0);
        for member in self.endorsers(node) {
            // Who was taken out may have been let in again by somebody it had let in.
            let again = chain.iter().any(|known: &Endorsed| known.admission.node == member.node);
            let records = &member.rotations.records;
            rotations += records.len();
            if again || rotations > ENDORSED_ROTATIONS_MAX {
                break;
            }
            let admission = Admission {
                node: member.node,
                name: member.name.clone(),
                key: member.admitted,
                // Not signed, and of use only to whoever dials this very node.
                addresses: if chain.is_empty() { member.addresses.clone() } else { Vec::new() },
                api: None,
                replica: member.replica,
                admitter: member.admitter,
                signature: member.signature.clone(),
            };
            chain.push(Endorsed { admission, rotations: records.clone() });
        }
        proto::Endorsement { chain: chain.iter().map(Endorsed::to_wire).collect() }.encode_to_vec().into()
    }

    /// A member, its admitter, and so on towards the founder, as far as an endorsement goes.
    pub(super) fn endorsers(&self, node: NodeId) -> impl Iterator<Item = &Member> + '_ {
        let admitter = |member: &&Member| {
            let admitted = member.admitter != member.node;
            admitted.then(|| self.state.members.get(&member.admitter)).flatten()
        };
        core::iter::successors(self.state.members.get(&node), admitter).take(ENDORSEMENT_MAX)
    }

    /// A node that is no member as far as this one knows, or not under `key`, proved that and shows an endorsement.
    pub(super) fn on_stranger(&mut self, node: NodeId, key: PublicKey, endorsement: &[u8]) {
        let room = self.introductions.len() < self.config.introductions_max;
        let Ok(chain) = read(endorsement) else { return };
        if !room || chain.first().is_none_or(|first| first.admission.node != node) {
            return;
        }
        if self.is_member(node) {
            self.check_next_key(key, &chain[0]);
        } else if self.may_introduce(&chain) {
            self.check(Some(key), &chain);
        }
    }

    /// A member is to have a key that the log has not told of yet.
    fn check_next_key(&mut self, key: PublicKey, shown: &Endorsed) {
        let node = shown.admission.node;
        // Not from what was shown before: whoever has an old key could show anything that leads from there.
        let (number, known) = self.told_keys(node);
        let mut shown: Vec<Rotation> =
            shown.rotations.iter().filter(|r| r.number > number).cloned().collect();
        shown.sort_by_key(|rotation| rotation.number);
        let (_, left) = rotation::lead(node, &shown, &known);
        shown.truncate(shown.iter().rposition(|rotation| rotation.new == key).map_or(0, |last| last + 1));
        let follows = rotation::follow(number, known.clone(), &shown).last() == Some(&key);
        if follows && !known.contains(&key) {
            self.begin_introduction(node, Introduced::NextKey(shown), left);
        }
    }

    /// A message came from a node that is no member as far as this one knows, brought by a member.
    pub(super) fn on_unknown(&mut self, now: Now, node: NodeId, through: NodeId) {
        let (now, retry) = (now.monotonic, self.config.request_retry);
        self.introductions.asked.retain(|_, at| *at + retry > now);
        let busy =
            self.introductions.asked.contains_key(&node) || self.introductions.checking.contains_key(&node);
        if !busy && self.introductions.len() < self.config.introductions_max {
            self.introductions.asked.insert(node, now);
            sometimes!(WhoIsAsked);
            let message = Message::WhoIs { node };
            self.outputs.push_back(Output::Send { to: through, message, when: When::Now });
        }
    }

    pub(super) fn on_who_is(&mut self, from: NodeId, node: NodeId) {
        let endorsement = self.endorsement(node);
        if !endorsement.is_empty() {
            let message = Message::Introduce { endorsement };
            self.outputs.push_back(Output::Send { to: from, message, when: When::Now });
        }
    }

    pub(super) fn on_introduce(&mut self, endorsement: &[u8]) {
        let Ok(chain) = read(endorsement) else { return };
        let Some(first) = chain.first() else { return };
        if self.introductions.asked.remove(&first.admission.node).is_some() && self.may_introduce(&chain) {
            self.check(None, &chain);
        }
    }

    /// Whether admissions may count, as far as they lead to a member that is known: who was taken out lets nobody in, and is let in again
    /// under a replica id it never had (M27).
    pub(super) fn may_introduce(&self, chain: &[Endorsed]) -> bool {
        let mut over = false;
        for (place, Endorsed { admission, .. }) in chain.iter().enumerate() {
            let (gone, admitter) = (self.state.evicted.get(&admission.node), admission.admitter);
            over |= gone.is_some_and(|gone| gone.had(admission.replica))
                || (self.state.evicted.contains_key(&admitter)
                    && !self.comes_back(admitter, &chain[place + 1..]));
            if over || !self.trusted_keys(admitter).is_empty() {
                break;
            }
        }
        !over || self.planted.strikes(Bug::EpochNotCompared, || true)
    }

    /// The keys under which the word of a node counts here: none of who was taken out, as long as the log does not tell that it was let in again.
    pub(super) fn trusted_keys(&self, node: NodeId) -> Vec<PublicKey> {
        let gone = self.state.evicted.contains_key(&node);
        if gone { Vec::new() } else { self.accepted_keys(node) }
    }

    /// Whether admissions, once their signatures are checked, show that a node was let in again.
    fn comes_back(&self, node: NodeId, shown: &[Endorsed]) -> bool {
        let Some(gone) = self.state.evicted.get(&node) else { return false };
        let again = |admission: &Admission| admission.node == node && !gone.had(admission.replica);
        let back = shown.iter().any(|shown| again(&shown.admission));
        back && !self.planted.strikes(Bug::ReturnedStaysVoid, || true)
    }

    /// Begins to check a chain of a node that proved `key`, or of one that a member brought.
    fn check(&mut self, key: Option<PublicKey>, chain: &[Endorsed]) {
        let (Some(mesh), Some(first)) = (self.mesh_id(), chain.first()) else { return };
        let node = first.admission.node;
        let Some((keys, jobs)) = self.shown_keys(first) else { return };
        // Of the keys that it had, the last is good, and the one before while it gives way.
        let under_way = first.rotations.last().is_some_and(|last| last.retired.is_none());
        let good = keys.len().saturating_sub(if under_way { 2 } else { 1 });
        let keys = keys[good..].to_vec();
        if self.is_member(node) || key.is_some_and(|key| !keys.contains(&key)) {
            return;
        }
        let entry = RosterEntry {
            node,
            name: first.admission.name.clone(),
            keys,
            addresses: first.admission.addresses.clone(),
            rotations: Bytes::new(),
        };
        let Some((mut left, vouched)) = self.signatures(mesh, chain) else { return };
        left.extend(jobs);
        self.begin_introduction(node, Introduced::Member(Known { entry, vouched }), left);
    }

    fn begin_introduction(&mut self, node: NodeId, introduced: Introduced, mut left: Vec<Job>) {
        if self.introductions.checking.contains_key(&node) {
            return;
        }
        let Some(job) = left.pop() else { return };
        let token = self.next_number();
        self.introductions.checking.insert(node, Checking { introduced, left, token });
        self.outputs.push_back(Output::Work { token, job });
    }

    /// The signatures that bind the first of a chain, under the key that its admission names, to a member known here, and whose they are; `None` if the chain
    /// does not lead to one.
    pub(super) fn signatures(&self, mesh: MeshId, chain: &[Endorsed]) -> Option<(Vec<Job>, Vouched)> {
        let (mut jobs, mut vouched) = (Vec::new(), Vec::new());
        for (place, Endorsed { admission, .. }) in chain.iter().enumerate() {
            let next = chain.get(place + 1).filter(|next| next.admission.node == admission.admitter);
            let is_known = !self.trusted_keys(admission.admitter).is_empty();
            let (keys, more) = self.keys_of_word(admission.admitter, next)?;
            let (message, signature) = (admission.statement(mesh), admission.signature.clone());
            jobs.extend(more);
            vouched.push((admission.admitter, keys.clone()));
            jobs.push(Job::Verify { keys, message, signature });
            if is_known {
                // Who is here on the word of others vouches with theirs.
                let known = self.introductions.known.get(&admission.admitter);
                vouched.extend(known.into_iter().flat_map(|known| known.vouched.iter().cloned()));
                return Some((jobs, vouched));
            }
        }
        None
    }

    /// The keys with which a node may have signed what is shown with its own admission, and what to check before that is believed; `None` if its word counts for
    /// nothing. An admission says which keys its node had; an id is bound to its first key, so nobody can say another.
    pub(super) fn keys_of_word(
        &self,
        node: NodeId,
        shown: Option<&Endorsed>,
    ) -> Option<(Vec<PublicKey>, Vec<Job>)> {
        let known = self.trusted_keys(node);
        match shown {
            Some(shown) if !known.is_empty() => Some(self.signers(node, &shown.rotations)),
            Some(shown) => self.shown_keys(shown),
            None => Some((known, Vec::new())),
        }
        .filter(|(keys, _)| !keys.is_empty())
    }

    /// The keys of a node that is shown, the present one last, and what to check before that is believed. Who was taken out had given up those before the ones that
    /// were good then.
    fn shown_keys(&self, shown: &Endorsed) -> Option<(Vec<PublicKey>, Vec<Job>)> {
        let Admission { node, key, .. } = &shown.admission;
        let Some(gone) = self.state.evicted.get(node) else { return shown.keys() };
        Some(rotation::lead(*node, &shown.rotations, &gone.keys)).filter(|(keys, _)| keys.contains(key))
    }

    /// The keys with which a member that is known may have signed what this node does not know of yet, if these are its rotations, and what to check before that
    /// is believed. Of whom only others told that is any key it had, since what it signed may be older than what they told. Of whom the log told that is none before
    /// those that were good then: what was done under such a key is in the log.
    fn signers(&self, node: NodeId, rotations: &[Rotation]) -> (Vec<PublicKey>, Vec<Job>) {
        let led = rotation::lead(node, rotations, &self.accepted_keys(node));
        let (_, told) = self.told_keys(node);
        let introduced = self.introductions.get(node).is_some();
        rotation::trace(node, rotations, led, |key| !introduced && told.contains(key))
    }

    /// A signature was checked; `false` if it belongs to no introduction.
    pub(super) fn on_introduction_verified(&mut self, token: u64, valid: bool) -> bool {
        let found = self.introductions.checking.iter().find(|(_, checking)| checking.token == token);
        let Some(node) = found.map(|(node, _)| *node) else { return false };
        let Some(mut checking) = self.introductions.checking.remove(&node).filter(|_| valid) else {
            return true;
        };
        if let Some(job) = checking.left.pop() {
            checking.token = self.next_number();
            self.outputs.push_back(Output::Work { token: checking.token, job });
            self.introductions.checking.insert(node, checking);
            return true;
        }
        match checking.introduced {
            Introduced::Member(known) if !self.is_member(node) => {
                sometimes!(MemberIntroduced);
                self.introductions.known.insert(node, known);
            }
            Introduced::NextKey(rotations) if self.is_member(node) => {
                rare!(NextKeyIntroduced);
                self.introductions.next_keys.insert(node, rotations);
            }
            Introduced::Member(_) | Introduced::NextKey(_) => return true,
        }
        // The log may have told more while that was checked.
        self.drop_introduced();
        self.announce_roster();
        true
    }

    /// The log tells of members by itself now, or says that keys are good no more: what was shown counts as far as it still follows from what the log tells.
    /// `true` if somebody is no member any more by that.
    pub(super) fn drop_introduced(&mut self) -> bool {
        let members = &self.state.members;
        let gone = |(node, keys): &(NodeId, Vec<PublicKey>)| {
            let records = members.get(node).map(|member| &member.rotations.records);
            records.into_iter().flatten().any(|r| r.retired.is_some() && keys.contains(&r.old))
        };
        let mut known = core::mem::take(&mut self.introductions.known);
        let mut fell = false;
        known.retain(|node, known| {
            let told = members.contains_key(node);
            let void = !told && known.vouched.iter().any(gone);
            rare!(IntroducedInVain, void);
            fell |= void;
            !told && !void
        });
        self.introductions.known = known;
        let all: Vec<NodeId> = self.introductions.next_keys.keys().copied().collect();
        for node in all {
            let (_, told) = self.told_keys(node);
            if !self.is_member(node) || self.accepted_keys(node) == told {
                self.introductions.next_keys.remove(&node);
            }
        }
        fell
    }
}

impl Endorsed {
    /// The keys the node had, the present one last, and what to check before that is believed. An id is bound to its first key: the key that the admission
    /// names is that, or the rotations lead to it from there.
    pub(super) fn keys(&self) -> Option<(Vec<PublicKey>, Vec<Job>)> {
        let Self { admission: Admission { node, key, .. }, rotations } = self;
        if key.first_node_id() == *node {
            return Some(rotation::lead(*node, rotations, &[*key]));
        }
        let first = rotations.iter().map(|rotation| rotation.old).find(|old| old.first_node_id() == *node)?;
        Some(rotation::lead(*node, rotations, &[first])).filter(|(keys, _)| keys.contains(key))
    }

    pub(super) fn to_wire(&self) -> proto::Admission {
        proto::Admission {
            rotations: self.rotations.iter().map(rotation::rotation_out).collect(),
            ..admission_out(&self.admission)
        }
    }

    fn from_wire(mut shown: proto::Admission) -> Result<Self, Malformed> {
        let rotations = rotation::records_in(core::mem::take(&mut shown.rotations))?;
        Ok(Self { admission: admission_in(shown)?, rotations })
    }
}

/// Reads an endorsement: a node's own admission first.
pub(super) fn read(endorsement: &[u8]) -> Result<Vec<Endorsed>, Malformed> {
    let found = proto::Endorsement::decode(endorsement).map_err(|_| Malformed("endorsement"))?;
    if found.chain.len() > ENDORSEMENT_MAX {
        return Err(Malformed("an endorsement is too long"));
    }
    found.chain.into_iter().map(Endorsed::from_wire).collect()
}
