//! Members this node does not know yet, let in on the word of those it knows (rule E1).
//!
//! A node that was away, or whose disk was rolled back, may have no way to the others but through members admitted since. If it turned them
//! away as strangers, it would never hear of their admission. So every member shows an *endorsement* in its hello: its own signed admission,
//! its admitter's, and so on towards the founder. Whoever does not know the member follows the chain to the first admitter it knows and
//! checks every signature up to there. From then on the member is a member like any other, until the log tells of it. Of a node whose
//! messages come through a neighbour, that neighbour is asked for the endorsement.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use bytes::Bytes;

use super::entry::Admission;
use prost::Message as _;
use wattle_proto::mesh as proto;

use super::state::Member;
use super::wire::{Malformed, Message, RosterEntry, admission_in, admission_out};
use super::{Mesh, Output};
use crate::id::{MeshId, NodeId};
use crate::planted::Bug;
use crate::sometimes;
use crate::time::{Instant, Now};
use crate::when::When;
use crate::work::{Job, PublicKey};

/// The most admissions in an endorsement. Who joined through a longer row of members is believed by those that know one of the nearest.
const ENDORSEMENT_MAX: usize = 32;

/// A chain of admissions being checked.
#[derive(Clone, Debug)]
struct Checking {
    entry: RosterEntry,
    /// Signatures still to be checked after the present one.
    left: Vec<Job>,
    token: u64,
}

/// Members that were introduced, and those being checked.
#[derive(Clone, Debug, Default)]
pub(super) struct Introductions {
    checking: BTreeMap<NodeId, Checking>,
    known: BTreeMap<NodeId, RosterEntry>,
    /// About whom a neighbour was asked, and when.
    asked: BTreeMap<NodeId, Instant>,
}

impl Introductions {
    pub(super) fn len(&self) -> usize {
        self.checking.len() + self.known.len() + self.asked.len()
    }

    pub(super) fn get(&self, node: NodeId) -> Option<&RosterEntry> {
        self.known.get(&node)
    }

    /// Nobody is let in on the word of others any more; those who should be come again.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    pub(super) fn known(&self) -> impl Iterator<Item = &RosterEntry> {
        self.known.values()
    }
}

impl Mesh {
    /// What is shown to members that may not know `node`; empty unless its admission is applied here.
    pub(super) fn endorsement(&self, node: NodeId) -> Bytes {
        let mut chain = Vec::new();
        for member in self.endorsers(node) {
            // Who was taken out may have been let in again by somebody it had let in.
            let again = chain.iter().any(|known: &Admission| known.node == member.node);
            let Some(&key) = member.keys.first().filter(|_| !again) else { break };
            chain.push(Admission {
                node: member.node,
                name: member.name.clone(),
                key,
                // Not signed, and of use only to whoever dials this very node.
                addresses: if chain.is_empty() { member.addresses.clone() } else { Vec::new() },
                api: None,
                replica: member.replica,
                admitter: member.admitter,
                signature: member.signature.clone(),
            });
        }
        proto::Endorsement { chain: chain.iter().map(admission_out).collect() }.encode_to_vec().into()
    }

    /// A member, its admitter, and so on towards the founder, as far as an endorsement goes.
    pub(super) fn endorsers(&self, node: NodeId) -> impl Iterator<Item = &Member> + '_ {
        let admitter = |member: &&Member| {
            let admitted = member.admitter != member.node;
            admitted.then(|| self.state.members.get(&member.admitter)).flatten()
        };
        core::iter::successors(self.state.members.get(&node), admitter).take(ENDORSEMENT_MAX)
    }

    /// A node that is no member as far as this one knows proved `key` and shows an endorsement.
    pub(super) fn on_stranger(&mut self, node: NodeId, key: PublicKey, endorsement: &[u8]) {
        let room = self.introductions.len() < self.config.introductions_max;
        if let Ok(chain) = read(endorsement)
            && room
            && self.may_introduce(&chain)
            && chain.first().is_some_and(|first| first.node == node && first.key == key)
        {
            self.check(&chain);
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
        let Some(first) = chain.first().filter(|first| first.key.first_node_id() == first.node) else {
            return;
        };
        if self.introductions.asked.remove(&first.node).is_some() && self.may_introduce(&chain) {
            self.check(&chain);
        }
    }

    /// Whether admissions may count, as far as they lead to a member that is known: who was taken out lets nobody in, and is let in again
    /// under a replica id it never had (M27).
    fn may_introduce(&self, chain: &[Admission]) -> bool {
        let evicted = &self.state.evicted;
        let mut over = false;
        for admission in chain {
            let had = evicted.get(&admission.node).is_some_and(|gone| gone.had(admission.replica));
            over |= had || evicted.contains_key(&admission.admitter);
            if over || self.key_of(admission.admitter).is_some() {
                break;
            }
        }
        !over || self.planted.strikes(Bug::EpochNotCompared, || true)
    }

    /// Begins to check a chain whose first admission names the right key.
    fn check(&mut self, chain: &[Admission]) {
        let (Some(mesh), Some(first)) = (self.mesh_id(), chain.first()) else { return };
        let node = first.node;
        if self.is_member(node) || self.introductions.checking.contains_key(&node) {
            return;
        }
        let entry = RosterEntry {
            node,
            name: first.name.clone(),
            keys: Vec::from([first.key]),
            addresses: first.addresses.clone(),
        };
        let Some(mut left) = self.signatures(mesh, chain) else { return };
        let Some(job) = left.pop() else { return };
        let token = self.next_number();
        self.introductions.checking.insert(node, Checking { entry, left, token });
        self.outputs.push_back(Output::Work { token, job });
    }

    /// The signatures that bind the first of a chain to a member known here; `None` if the chain does not lead to one.
    pub(super) fn signatures(&self, mesh: MeshId, chain: &[Admission]) -> Option<Vec<Job>> {
        let mut jobs = Vec::new();
        for (place, admission) in chain.iter().enumerate() {
            let known = self.key_of(admission.admitter);
            // The next one says which key its node has; an id is bound to its first key, so nobody can say another.
            let claimed = chain.get(place + 1).filter(|next| next.node == admission.admitter);
            let claimed = claimed.filter(|next| next.key.first_node_id() == next.node).map(|next| next.key);
            let (message, signature) = (admission.statement(mesh), admission.signature.clone());
            jobs.push(Job::Verify { key: known.or(claimed)?, message, signature });
            if known.is_some() {
                return Some(jobs);
            }
        }
        None
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
        } else if !self.is_member(node) {
            sometimes!(MemberIntroduced);
            self.introductions.known.insert(node, checking.entry);
            self.announce_roster();
        }
        true
    }

    /// The log tells of members by itself now.
    pub(super) fn drop_introduced(&mut self) {
        let members = &self.state.members;
        self.introductions.known.retain(|node, _| !members.contains_key(node));
    }
}

/// Reads an endorsement: a node's own admission first.
pub(super) fn read(endorsement: &[u8]) -> Result<Vec<Admission>, Malformed> {
    let found = proto::Endorsement::decode(endorsement).map_err(|_| Malformed("endorsement"))?;
    if found.chain.len() > ENDORSEMENT_MAX {
        return Err(Malformed("an endorsement is too long"));
    }
    found.chain.into_iter().map(admission_in).collect()
}
