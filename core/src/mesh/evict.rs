//! Taking a member out, seen by the nodes that do it.
//!
//! Who votes is replaced first: only when the control group decides without it does the leader sign the eviction and put it into the log. So an
//! entry that takes a node out never needs that node, and whatever it votes or acknowledges afterwards counts for nothing (M28). One
//! eviction at a time: each names the epoch before it.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use bytes::Bytes;

use super::entry::{Body, Request};
use super::eviction::{Evict, Eviction, Former};
use super::state::Effect;
use super::wire::{TEXT_MAX, Verdict};
use super::{Awaited, Evicted, Mesh, Output};
use crate::epoch::Epoch;
use crate::id::{LogIndex, NodeId, ReplicaId, RequestId};
use crate::node::command::{Refusal, Reply};
use crate::planted::Bug;
use crate::rare;
use crate::sometimes;
use crate::time::{Instant, Now};

/// How many evictions a hello shows.
const PROOFS_MAX: usize = 16;

/// How far the leader is with an eviction.
#[derive(Clone, Debug)]
enum Stage {
    /// The group must decide without the member first. If nobody can vote in its place, it is refused at that moment.
    Replacing { patience: Instant },
    /// The leader's signature is being made.
    Signing { token: u64, eviction: Box<Eviction> },
    /// In the log, or about to be.
    Proposed,
}

/// An eviction that this node, leading, is at.
#[derive(Clone, Debug)]
pub(super) struct Evicting {
    key: (NodeId, Request),
    seen: LogIndex,
    wish: Evict,
    node: NodeId,
    stage: Stage,
    /// Whoever asked has given up by then, unless it asks again.
    until: Instant,
}

impl Evicting {
    pub(super) fn next_deadline(&self) -> Instant {
        match self.stage {
            Stage::Replacing { patience } => patience.min(self.until),
            Stage::Signing { .. } | Stage::Proposed => self.until,
        }
    }

    /// Who is about to go.
    pub(super) fn node(&self) -> NodeId {
        self.node
    }
}

impl Mesh {
    pub(super) fn on_evict(&mut self, now: Now, request: RequestId, member: String) {
        if member.len() > TEXT_MAX {
            return self.reply(request, Err(Refusal::Invalid("a node's name or id is too long".into())));
        }
        let wish = Evict { member, left: false, force: false, blocked: false, raise: None };
        self.on_client_request(now, request, Body::Evict(wish));
    }

    pub(super) fn on_leave(&mut self, now: Now, request: RequestId, force: bool) {
        let member = self.own.to_string();
        let wish = Evict { member, left: true, force, blocked: false, raise: None };
        self.on_client_request(now, request, Body::Evict(wish));
    }

    /// Takes a wish as leader.
    pub(super) fn serve_eviction(&mut self, now: Now, key: (NodeId, Request), seen: LogIndex, wish: Evict) {
        // What the leader has to say it says itself.
        let wish = Evict { blocked: false, raise: None, ..wish };
        if wish.left && wish.member != key.0.to_string() {
            return self.answer(key.0, key.1, Verdict::Refused("a member leaves for itself only".into()));
        }
        let until = now.monotonic + self.config.request_timeout;
        let node = match self.state.may_evict(&wish) {
            Ok(node) => node,
            // The log has the last word.
            Err(_) => return self.propose(now, key, seen, Body::Evict(wish)),
        };
        match &mut self.evicting {
            Some(evicting) if evicting.key == key => evicting.until = until,
            Some(_) => self.answer(key.0, key.1, Verdict::Busy),
            None => {
                let stage = Stage::Replacing { patience: now.monotonic + self.config.successor_timeout };
                self.evicting = Some(Evicting { key, seen, wish, node, stage, until });
                self.consider_change(now);
                self.go_on_evicting(now);
            }
        }
    }

    /// Takes the next step, if it is time for it.
    pub(super) fn go_on_evicting(&mut self, now: Now) {
        let Some(evicting) = self.evicting.as_ref().filter(|_| self.control.leading) else { return };
        let Stage::Replacing { patience } = evicting.stage else { return };
        let (key, seen, wish, node) = (evicting.key, evicting.seen, evicting.wish.clone(), evicting.node);
        if self.state.may_evict(&wish) != Ok(node) {
            return self.propose_eviction(now, key, seen, wish);
        }
        let configuration = &self.control.configuration;
        let deciding = configuration.voters.iter().chain(&configuration.outgoing);
        let needed = deciding.clone().any(|replica| replica.node == node);
        if self.planted.strikes(Bug::EvictedStaysVoter, || needed) {
            return self.sign_eviction(key, &wish, node);
        }
        if !needed {
            return self.sign_eviction(key, &wish, node);
        }
        let alone = !configuration.is_joint() && deciding.clone().all(|replica| replica.node == node);
        if alone && patience <= now.monotonic {
            rare!(NobodyVotesInItsPlace);
            self.propose_eviction(now, key, seen, Evict { blocked: true, ..wish });
        } else if patience <= now.monotonic
            && let Some(evicting) = &mut self.evicting
        {
            // A change is under way.
            evicting.stage = Stage::Replacing { patience: now.monotonic + self.config.successor_timeout };
        }
    }

    fn sign_eviction(&mut self, key: (NodeId, Request), wish: &Evict, node: NodeId) {
        let (Some(mesh), Some(member)) = (self.state.mesh, self.state.members.get(&node)) else { return };
        let eviction = Eviction {
            number: self.state.epoch.number + 1,
            previous: self.state.epoch.digest,
            request: key.1,
            origin: key.0,
            node,
            replica: member.replica,
            left: wish.left,
            leader: self.own,
            signature: Bytes::new(),
            recovery: None,
        };
        let token = self.sign(eviction.statement(mesh));
        if let Some(evicting) = &mut self.evicting {
            evicting.stage = Stage::Signing { token, eviction: eviction.into() };
        }
    }

    /// The leader's signature is there; `false` if it was asked for something else.
    pub(super) fn on_eviction_signed(&mut self, now: Now, token: u64, signature: &[u8]) -> bool {
        let Some(evicting) = &self.evicting else { return false };
        let Stage::Signing { token: asked, eviction } = &evicting.stage else { return false };
        if *asked != token {
            return false;
        }
        let signature = Bytes::copy_from_slice(signature);
        let eviction = Eviction { signature, ..Eviction::clone(eviction) };
        let wish = Evict { raise: Some(Box::new(eviction)), ..evicting.wish.clone() };
        let (key, seen) = (evicting.key, evicting.seen);
        self.propose_eviction(now, key, seen, wish);
        true
    }

    fn propose_eviction(&mut self, now: Now, key: (NodeId, Request), seen: LogIndex, wish: Evict) {
        if let Some(evicting) = &mut self.evicting {
            evicting.stage = Stage::Proposed;
        }
        self.propose(now, key, seen, Body::Evict(wish));
    }

    /// What was asked is decided, or is not this leader's business any more.
    pub(super) fn end_evicting(&mut self, key: (NodeId, Request)) {
        if self.evicting.as_ref().is_some_and(|evicting| evicting.key == key) {
            self.evicting = None;
        }
    }

    pub(super) fn on_evicting_deadline(&mut self, now: Now) {
        if self.evicting.take_if(|evicting| evicting.until <= now.monotonic).is_none() {
            self.go_on_evicting(now);
        }
    }

    /// An eviction was applied: the rest of the node hears of it, and the next life knows it at once.
    pub(super) fn on_evicted(&mut self, now: Now) {
        sometimes!(MemberEvicted);
        if let Some(gone) = self.state.evicted.get(&self.own)
            && self.membership.as_ref().is_some_and(|own| own.replica == gone.eviction.replica)
        {
            let eviction = gone.eviction.clone();
            return self.depart(now, &eviction);
        }
        // Who let whom in may look otherwise now.
        self.introductions.forget();
        self.reports.retain(|node| self.state.members.contains_key(node));
        self.forget_stopped();
        self.forget_records();
        self.tell_members(&[]);
        self.look_soon(now);
        self.on_members_changed();
        self.announce_roster();
        self.store_state();
    }

    /// Tells the links where the mesh stands.
    pub(super) fn announce_bounds(&mut self) {
        let news = (self.state.epoch, self.state.evicted.keys().copied().collect());
        if self.told_bounds.as_ref() == Some(&news) {
            return;
        }
        let former = self.state.evicted.iter().map(|(&node, gone)| Former {
            node,
            words: gone.words(),
            proof: gone.eviction.encode(),
            endorsement: self.endorsement(gone.eviction.leader),
        });
        let former = former.collect();
        let known = self.state.evicted.values().map(|gone| &gone.eviction).chain(&self.state.raised);
        let raises: BTreeMap<u64, &Eviction> = known.map(|eviction| (eviction.number, eviction)).collect();
        let proofs = raises.values().rev().take(PROOFS_MAX).map(|eviction| eviction.encode()).collect();
        self.outputs.push_back(Output::Bounds { epoch: news.0, proofs, former });
        self.told_bounds = Some(news);
    }

    /// Former members, of the last epochs.
    pub fn evicted(&self) -> impl Iterator<Item = &Evicted> + '_ {
        // A start knows from a mark who came back, before the log tells it again.
        self.state.evicted.values().filter(|gone| self.member(gone.eviction.node).is_none())
    }

    /// What a client that asked for an eviction is told.
    pub(super) fn evicted_reply(&mut self, id: RequestId, effect: &Effect) {
        let &Effect::Evicted { node, number, left } = effect else { return };
        let reply = if left { Reply::Left } else { Reply::Evicted { node, epoch: number } };
        if node == self.own {
            // It is said when the next start knows it.
            self.when_durable(Awaited::Reply(id, Ok(reply)));
        } else {
            self.reply(id, Ok(reply));
        }
    }

    /// Which ends of a stream are no members any more: it waits until they are again, or it is sealed.
    #[must_use]
    pub fn ends_gone(&self, ends: impl Iterator<Item = NodeId>) -> Vec<NodeId> {
        let known = self.membership.is_some() && self.caught_up();
        let gone = |node: &NodeId| known && !self.state.members.contains_key(node);
        ends.filter(gone).collect()
    }

    /// Whether that is a replica id of the control group that this node had, and gave up.
    #[must_use]
    pub fn had_replica(&self, replica: ReplicaId) -> bool {
        let before = self.parted.as_ref().is_some_and(|parted| parted.eviction.replica == replica);
        let former = || self.state.members.get(&self.own).is_some_and(|own| own.former.contains(&replica));
        before || former()
    }

    /// The mesh epoch.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.state.epoch
    }
}
