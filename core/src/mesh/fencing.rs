//! The recovery of a lost quorum, seen by every survivor (see `recovery`).
//!
//! A survivor that takes part stores what it was ordered, tells its replica to say nothing further, and answers where its log ends once both are on
//! disk (M32). A higher order takes the place of a lower one (M34); a crash changes nothing, for the record is read again. So a recovery that
//! stands still in the middle is repeated, or taken back, by another: nothing else ends it. Whoever founds the group anew leads it, and does nothing
//! before the entry that takes out the lost is decided (M35).

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;

use super::entry::Body;
use super::eviction::Eviction;
use super::recover::Run;
use super::recovery::{LOST_NAMED, Order, Recover, RecoveryMessage, Report, StoredFence};
use super::store::Space;
use super::wire::{Malformed, Message};
use super::{Mesh, Output};
use crate::event::MeshEvent;
use crate::id::{NodeId, Term};
use crate::planted::Bug;
use crate::rare;
use crate::record::Record;
use crate::recovery::{FencedStatus, LogEnd, LogPlace, RecoveryStage, RecoveryStatus};
use crate::time::{Instant, Now};
use crate::when::When;
use crate::work::Job;

/// For how many recoveries in a row a survivor may have answered. The oldest gives way: whoever founds under that one is not heard here.
const ERAS_MAX: usize = 8;

/// The entry that ends a recovery, on its way into the log.
#[derive(Clone, Debug)]
struct Writing {
    era: u64,
    recover: Recover,
    /// Signatures that are being made, and of which eviction.
    signing: BTreeMap<u64, usize>,
}

/// What a node knows of recoveries.
#[derive(Clone, Debug, Default)]
pub(super) struct Fencing {
    stored: StoredFence,
    /// Under which number the group goes on here.
    group_era: u64,
    writing: Option<Writing>,
    /// Others went on without this node, and it does not follow.
    rival: Option<(u64, String)>,
    /// What an operator asked of this node.
    pub(super) run: Option<Run>,
}

impl Fencing {
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.run.as_ref().map(Run::next_deadline)
    }

    /// What this node takes part in.
    pub(super) fn order(&self) -> Option<&Order> {
        self.stored.order.as_ref()
    }

    /// The highest attempt heard of.
    pub(super) fn attempt(&self) -> u64 {
        self.stored.attempt
    }

    /// Somebody heard of that attempt.
    pub(super) fn heard_attempt(&mut self, attempt: u64) {
        self.stored.attempt = self.stored.attempt.max(attempt);
    }

    pub(super) fn restore(&mut self, head: &[u8]) -> Result<(), Malformed> {
        self.stored = StoredFence::decode(head)?;
        Ok(())
    }
}

impl Mesh {
    /// A start: what was said before it holds.
    pub(super) fn restored_fence(&mut self) {
        self.tell_fence();
    }

    /// What this node knows of recoveries.
    #[must_use]
    pub fn recovery_status(&self) -> RecoveryStatus {
        let fenced = self.recovery.order().map(|order| FencedStatus {
            attempt: order.attempt,
            asked_at: order.coordinator,
            withdraws: order.withdraw,
            lost: order.lost.clone(),
        });
        let rival = self.recovery.rival.as_ref().filter(|_| self.membership.is_some());
        let rival = rival.map(|(_, why)| why.clone());
        RecoveryStatus { fenced, last: self.state.recovered.clone(), rival }
    }

    /// Whether this node takes part in a recovery that has not come to its end: then it decides nothing else.
    pub(super) fn is_fenced(&self) -> bool {
        self.recovery.stored.order.is_some()
    }

    /// Whether a node's word counts for nothing, because it is named lost.
    pub(super) fn is_named_lost(&self, node: NodeId) -> bool {
        self.recovery.order().is_some_and(|order| order.lost.contains(&node))
    }

    fn tell_fence(&mut self) {
        let Some(order) = self.recovery.order() else { return };
        let (eras, lost) = (self.recovery.stored.eras.clone(), order.lost.clone());
        self.outputs.push_back(Output::Fence { eras, lost });
    }

    fn store_fence(&mut self) {
        if !self.planted.has(Bug::RecoveryFenceNotWritten) {
            let record = Record::state(Space::Fence.key(0), self.recovery.stored.encode());
            self.outputs.push_back(Output::Persist(record));
        }
    }

    /// A survivor says something. What it says may leave only when what it rests on is on disk (M32).
    pub(super) fn tell_survivor(&mut self, to: NodeId, message: RecoveryMessage) {
        let message = Message::Recovery(message);
        self.outputs.push_back(Output::Send { to, message, when: When::Durable });
    }

    pub(super) fn on_recovery_message(&mut self, now: Now, from: NodeId, message: RecoveryMessage) {
        if !self.is_member(from) || self.membership.is_none() {
            return;
        }
        match message {
            RecoveryMessage::Order(order) => self.on_order(from, order),
            RecoveryMessage::Report { era, attempt, what } => self.on_report(now, from, era, attempt, what),
            RecoveryMessage::Found { era, above, holds } => self.on_found(from, era, above, holds),
            RecoveryMessage::Founded { era, refused } => self.on_founded_anew(now, from, era, refused),
            RecoveryMessage::Release { era, done: false } => self.on_release(from, era),
            RecoveryMessage::Release { era, done: true } => self.on_released(from, era),
        }
    }

    fn on_order(&mut self, from: NodeId, order: Order) {
        if order.coordinator != from {
            return;
        }
        let (era, known) = (order.era, self.recovery.order().is_some_and(|known| known.era == order.era));
        if !known && let Err(why) = self.may_take_part(&order) {
            rare!(RecoveryDeclined);
            let (attempt, what) = (self.recovery.attempt(), Report::Declined(why));
            return self.tell_survivor(from, RecoveryMessage::Report { era, attempt, what });
        }
        if !known {
            rare!(RecoveryRepeated, self.is_fenced());
            let lost = self.names_of(&order.lost);
            let (attempt, epoch, asked_at) = (order.attempt, order.epoch.number, order.coordinator);
            let fence = &mut self.recovery.stored;
            fence.attempt = fence.attempt.max(attempt);
            fence.eras.push(era);
            if fence.eras.len() > ERAS_MAX {
                fence.eras.remove(0);
            }
            fence.order = Some(order);
            self.store_fence();
            let stage = RecoveryStage::Fenced;
            self.tell(MeshEvent::Recovery { stage, attempt, epoch, asked_at, lost });
        }
        // Answered by where the log ends.
        self.tell_fence();
    }

    /// Whether this node does what it is ordered, in words if not.
    fn may_take_part(&self, order: &Order) -> Result<(), String> {
        let own = self.own;
        if !order.survivors.contains(&own) || order.lost.contains(&own) {
            return Err("it is not named among the survivors".into());
        }
        if !self.caught_up() {
            return Err("it has just joined, and does not know the mesh yet".into());
        }
        let epoch = self.state.epoch;
        if epoch.number > order.epoch.number || (epoch.number == order.epoch.number && epoch != order.epoch) {
            return Err(alloc::format!("it is at mesh epoch {epoch}: ask there, where more is known"));
        }
        match self.recovery.order() {
            Some(known) if known.rank() > order.rank() => {
                let (attempt, at) = (known.attempt, self.name_of(known.coordinator));
                return Err(alloc::format!(
                    "it takes part in attempt {attempt}, ordered at {at}: ask again for a higher one"
                ));
            }
            None if order.attempt <= self.recovery.attempt() => {
                let attempt = self.recovery.attempt();
                return Err(alloc::format!(
                    "attempt {attempt} has come to its end there: ask again for a higher one"
                ));
            }
            _ => {}
        }
        let founded = self.recovery.stored.eras.contains(&self.recovery.group_era);
        if order.withdraw && founded {
            return Err("the recovery that was to be withdrawn has begun: it goes on under a founder".into());
        }
        let reached = |node: &&NodeId| self.judgement.reaches(**node) && self.is_member(**node);
        if !order.withdraw
            && let Some(&alive) = order.lost.iter().find(reached)
        {
            return Err(alloc::format!("{}, named lost, can be reached from there", self.name_of(alive)));
        }
        Ok(())
    }

    /// This node's replica is fenced, and its log ends there; or it says why it does not know yet.
    pub(super) fn on_log_end(&mut self, era: u64, end: Result<LogEnd, String>) {
        let Some(order) = self.recovery.order().filter(|order| order.era == era) else { return };
        let (to, attempt) = (order.coordinator, order.attempt);
        let what = end.map_or_else(Report::Waits, Report::End);
        self.tell_survivor(to, RecoveryMessage::Report { era, attempt, what });
    }

    fn on_found(&mut self, from: NodeId, era: u64, above: Term, holds: LogPlace) {
        let order = self.recovery.order();
        let survivors =
            order.filter(|order| order.era == era && order.coordinator == from && !order.withdraw);
        if let Some(survivors) = survivors.map(|order| order.survivors.clone()) {
            return self.outputs.push_back(Output::Found { era, above, holds, survivors });
        }
        let done = self.state.recovered.as_ref().is_some_and(|recovered| recovered.era == era);
        let refused = if done { String::new() } else { "it is not fenced for that recovery".into() };
        self.tell_survivor(from, RecoveryMessage::Founded { era, refused });
    }

    /// The group was founded anew here, or not.
    pub(super) fn on_group_founded(&mut self, era: u64, done: Result<(), String>) {
        let Some(order) = self.recovery.order().filter(|order| order.era == era) else { return };
        let (to, refused) = (order.coordinator, done.err().unwrap_or_default());
        self.tell_survivor(to, RecoveryMessage::Founded { era, refused });
    }

    /// The group goes on under that number here.
    pub(super) fn on_era(&mut self, now: Now, era: u64) {
        self.recovery.group_era = era;
        self.settle_recovery();
        self.write_recovery(now);
    }

    fn on_release(&mut self, from: NodeId, era: u64) {
        if let Some(order) = self.recovery.order().filter(|order| order.era == era) {
            if !order.withdraw || order.coordinator != from {
                return;
            }
            let (attempt, epoch, asked_at) = (order.attempt, order.epoch.number, order.coordinator);
            self.end_fence();
            self.outputs.push_back(Output::Unfence);
            let (stage, lost) = (RecoveryStage::Withdrawn, Vec::new());
            self.tell(MeshEvent::Recovery { stage, attempt, epoch, asked_at, lost });
        }
        self.tell_survivor(from, RecoveryMessage::Release { era, done: true });
    }

    /// What was ordered has come to its end.
    fn end_fence(&mut self) {
        let attempt = self.recovery.attempt();
        // It is overwritten, not forgotten: what is forgotten may come back with a start.
        self.recovery.stored = StoredFence { attempt, ..StoredFence::default() };
        self.recovery.writing = None;
        self.store_fence();
    }

    /// As leader of a group that was founded anew: takes out the lost, before anything else is done (M35).
    pub(super) fn write_recovery(&mut self, now: Now) {
        let fencing = &self.recovery;
        let Some(order) = fencing.order().filter(|order| order.era == fencing.group_era) else { return };
        let busy = fencing.writing.as_ref().is_some_and(|writing| writing.era == order.era);
        let (mesh, founded_at) = (self.state.mesh, self.control.configured());
        if busy || !self.control.leading || self.state.applied < founded_at {
            return;
        }
        let mut order = order.clone();
        if self.planted.has(Bug::RecoveryEpochNotRaised) {
            order.survivors = self.state.members.keys().copied().collect();
        }
        let end = founded_at.before();
        let evictions = self.state.losses(&order, self.own, end);
        let mut signing = BTreeMap::new();
        for (eviction, mesh) in evictions.iter().zip(core::iter::repeat(mesh).flatten()) {
            let token = self.next_number();
            signing.insert(token, signing.len());
            self.outputs.push_back(Output::Work { token, job: Job::Sign(eviction.statement(mesh)) });
        }
        let era = order.era;
        let recover = Recover { order, founder: self.own, evictions, end };
        self.recovery.writing = Some(Writing { era, recover, signing });
        self.propose_recovery(now);
    }

    /// A signature is there; `false` if it was asked for something else.
    pub(super) fn on_recovery_signed(&mut self, now: Now, token: u64, signature: &[u8]) -> bool {
        let Some(writing) = &mut self.recovery.writing else { return false };
        let Some(place) = writing.signing.remove(&token) else { return false };
        if let Some(eviction) = writing.recover.evictions.get_mut(place) {
            eviction.signature = Bytes::copy_from_slice(signature);
        }
        self.propose_recovery(now);
        true
    }

    fn propose_recovery(&mut self, now: Now) {
        let Some(writing) = self.recovery.writing.as_ref().filter(|writing| writing.signing.is_empty())
        else {
            return;
        };
        if !self.control.leading {
            return;
        }
        let recover = writing.recover.clone();
        let key = (recover.order.coordinator, recover.order.request);
        self.propose(now, key, self.state.applied, Body::Recover(recover.into()));
    }

    /// Another leads, or this node in another term: what it was about to write may have come to nothing.
    pub(super) fn forget_recovery_written(&mut self) {
        self.recovery.writing = None;
    }

    /// The state may tell of a recovery's end.
    pub(super) fn settle_recovery(&mut self) {
        let Some(recovered) = self.state.recovered.clone() else { return };
        let Fencing { stored, group_era, .. } = &self.recovery;
        let meant = stored.order.as_ref().is_some_and(|order| order.era == recovered.era);
        let earlier = stored.eras.contains(&recovered.era) && *group_era == recovered.era;
        if self.is_fenced() && (meant || earlier) {
            rare!(RecoveryWritten);
            self.end_fence();
        }
        self.end_run(&recovered);
    }

    /// A neighbour proves that others went on without this node. It follows, and belongs to no mesh, unless it has decided something
    /// since that would be lost with it (M36).
    pub(super) fn follows_recovery(&mut self, eviction: &Eviction) -> bool {
        let Some(of) = eviction.recovery else { return true };
        let since = self.state.decided.iter().rev().take_while(|decided| decided.index > of.end);
        let decided = since.filter(|decided| decided.done).count();
        if decided == 0 && self.state.epoch.number < eviction.number {
            rare!(LostSideParted);
            return true;
        }
        rare!(LostSideRival);
        let founder = self.name_of(eviction.leader);
        let at = self.name_of(eviction.origin);
        let why = alloc::format!(
            "this node was named lost by recovery {} (ordered at {at}, epoch {}): {founder} and others went on from entry {} without it. It does \
             not follow, for {decided} changes were decided here since (epoch {} here): compare both sides, choose one, and let the nodes of the other \
             join it anew with empty data directories",
            of.attempt,
            eviction.number,
            of.end,
            self.state.epoch
        );
        let before = self.recovery.rival.replace((eviction.number, why));
        if before.is_none_or(|(number, _)| number != eviction.number) {
            let (attempt, epoch, asked_at) = (of.attempt, eviction.number, eviction.origin);
            let (stage, lost) = (RecoveryStage::Rival, Vec::new());
            self.tell(MeshEvent::Recovery { stage, attempt, epoch, asked_at, lost });
        }
        false
    }

    pub(super) fn name_of(&self, node: NodeId) -> String {
        let known = self.member(node).map(|member| member.name.clone());
        let former = || self.state.evicted.get(&node).map(|gone| gone.name().into());
        known.or_else(former).unwrap_or_else(|| alloc::format!("{node}"))
    }

    /// The names of some of these.
    pub(super) fn names_of(&self, nodes: &[NodeId]) -> Vec<String> {
        nodes.iter().take(LOST_NAMED).map(|&node| self.name_of(node)).collect()
    }

    pub(super) fn check_fencing(&self) {
        let Fencing { stored, writing, .. } = &self.recovery;
        let own = |order: &Order| order.survivors.contains(&self.own) && !order.lost.contains(&self.own);
        assert!(stored.order.as_ref().is_none_or(own), "M32: a node takes part that is named lost");
        let last = stored.order.as_ref().map(|order| order.era);
        assert_eq!(
            last,
            stored.eras.last().copied(),
            "M34: fenced for another recovery than the last it answered"
        );
        assert!(stored.eras.len() <= ERAS_MAX, "M37: recoveries answered are bounded");
        assert!(writing.is_none() || self.control.leading, "M35: only a founder takes out the lost");
        let counts = stored.order.as_ref().is_none_or(|order| order.attempt <= stored.attempt);
        assert!(counts, "M34: attempts grow");
    }
}
