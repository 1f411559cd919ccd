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

use super::entry::{Body, Entry};
use super::eviction::Eviction;
use super::recover::Run;
use super::recovery::{LOST_NAMED, Order, Recover, RecoveryMessage, Report, StoredFence};
use super::store::Space;
use super::wire::{Malformed, Message};
use super::{Applied, Mesh, Output};
use crate::event::MeshEvent;
use crate::id::{NodeId, Term};
use crate::planted::Bug;
use crate::rare;
use crate::record::Record;
use crate::recovery::{FencedStatus, LogEnd, LogPlace, LogTrail, RecoveryStage, RecoveryStatus};
use crate::time::{Instant, Now};
use crate::when::When;

/// For how many recoveries in a row a survivor may have answered, of which none came to its end. Were the oldest to give way, whoever founded under that
/// one would not be heard here.
pub(super) const ERAS_MAX: usize = 64;

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
    pub(super) rival: Option<(u64, String)>,
    /// What a neighbour showed of that, while logs are compared.
    pub(super) weighed: Option<Eviction>,
    /// Members of whom only other survivors know, as they told last.
    strangers: Vec<(NodeId, String)>,
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

    /// A member of whom only another survivor knows, by name or id.
    pub(super) fn stranger(&self, name: &str) -> Option<NodeId> {
        let id = NodeId::parse(name);
        self.strangers.iter().find(|(node, known)| known == name || Some(*node) == id).map(|(node, _)| *node)
    }

    /// Another survivor knows of members that this node has not heard of.
    pub(super) fn hear_of_strangers(&mut self, strangers: Vec<(NodeId, String)>) {
        self.strangers = strangers;
    }

    /// Whether this node may answer for another recovery, in words if not.
    pub(super) fn may_answer(&self, withdraw: bool) -> Result<(), String> {
        if withdraw || self.stored.answered_for(self.group_era) < ERAS_MAX {
            return Ok(());
        }
        Err(alloc::format!(
            "it has answered for {ERAS_MAX} recoveries in a row, and none came to its end: take them back with `wattle mesh recover --withdraw`"
        ))
    }

    pub(super) fn restore(&mut self, head: &[u8]) -> Result<(), Malformed> {
        self.stored = StoredFence::decode(head)?;
        Ok(())
    }
}

impl StoredFence {
    /// The eras that a founder may have begun, of which this one is told yet.
    fn open_eras(&self, group_era: u64) -> &[u64] {
        // What takes back another is founded by nobody, and nobody goes back to before what it goes on under.
        let founded = self.eras.len() - usize::from(self.order.as_ref().is_some_and(|order| order.withdraw));
        let eras = self.eras.get(..founded).unwrap_or_default();
        let begun = eras.iter().position(|era| *era == group_era).unwrap_or_default();
        &eras[begun..]
    }

    /// For how many recoveries this node answered that may have been founded.
    fn answered_for(&self, group_era: u64) -> usize {
        self.open_eras(group_era).len()
    }

    /// This node takes part in what it is ordered.
    fn answer_for(&mut self, order: Order, group_era: u64) {
        let mut eras = self.open_eras(group_era).to_vec();
        eras.push(order.era);
        let attempt = self.attempt.max(order.attempt);
        *self = Self { attempt, order: Some(order), eras, trail: None, declined: false };
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
            let group_era = self.recovery.group_era;
            self.recovery.stored.answer_for(order, group_era);
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
        self.recovery.may_answer(order.withdraw)?;
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

    /// This node's replica is fenced, and its log ends there; or it says why it does not know yet. `held` was not applied, and is all of that if it is
    /// `whole`.
    pub(super) fn on_log_end(
        &mut self,
        era: u64,
        end: Result<LogEnd, String>,
        held: &[Applied],
        whole: bool,
    ) {
        let Some(order) = self.recovery.order().filter(|order| order.era == era) else { return };
        let (to, attempt) = (order.coordinator, order.attempt);
        let waits = self.planted.strikes(Bug::WithdrawalWaitsForEnds, || order.withdraw && end.is_err());
        let what = match end {
            // Nobody goes on from there: that it is fenced is all.
            _ if order.withdraw && !waits => Report::End { end: LogEnd::default(), strangers: Vec::new() },
            Ok(_) if !whole => Report::Waits("its log holds more than can be looked through".into()),
            Ok(end) => Report::End { end, strangers: self.strangers_to(order, held) },
            Err(why) => Report::Waits(why),
        };
        self.tell_survivor(to, RecoveryMessage::Report { era, attempt, what });
    }

    /// The members that an order does not name: its coordinator has not heard of them. They would be taken out with the lost, and may hold what no
    /// other does.
    fn strangers_to(&self, order: &Order, held: &[Applied]) -> Vec<(NodeId, String)> {
        if self.planted.has(Bug::StrangersPassedOver) {
            return Vec::new();
        }
        let members = self.state.members.values().map(|member| (member.node, member.name.clone()));
        let entries = held.iter().filter(|applied| applied.command);
        let entries = entries.filter_map(|applied| Entry::decode(&applied.data).ok());
        // What stands in the log may be committed.
        let admitted = entries.filter_map(|entry| {
            entry.body.admission().map(|admission| (admission.node, admission.name.clone()))
        });
        let named = |node: &NodeId| order.survivors.contains(node) || order.lost.contains(node);
        let strangers = members.chain(admitted).filter(|(node, _)| !named(node));
        let strangers: BTreeMap<NodeId, String> = strangers.collect();
        rare!(StrangersFound, !strangers.is_empty());
        strangers.into_iter().take(LOST_NAMED).collect()
    }

    fn on_found(&mut self, from: NodeId, era: u64, above: Term, holds: LogPlace) {
        let order = self.recovery.order();
        let survivors =
            order.filter(|order| order.era == era && order.coordinator == from && !order.withdraw);
        if let Some(survivors) = survivors.map(|order| order.survivors.clone()) {
            if self.recovery.stored.declined {
                // Somebody else was asked since: there is one founder.
                rare!(AskedToFoundAgain);
                let refused = "it was asked before, and could not".into();
                return self.tell_survivor(from, RecoveryMessage::Founded { era, refused });
            }
            return self.outputs.push_back(Output::Found { era, above, holds, survivors });
        }
        let done = self.state.recovered.as_ref().is_some_and(|recovered| recovered.era == era);
        let refused = if done { String::new() } else { "it is not fenced for that recovery".into() };
        self.tell_survivor(from, RecoveryMessage::Founded { era, refused });
    }

    /// The group was founded anew here, just now if it tells from what, or not.
    pub(super) fn on_group_founded(&mut self, now: Now, era: u64, done: Result<Option<LogTrail>, String>) {
        let Some(order) = self.recovery.order().filter(|order| order.era == era) else { return };
        let to = order.coordinator;
        let refused = match done {
            Ok(None) => String::new(),
            Ok(trail) => {
                self.recovery.stored.trail = trail;
                self.store_fence();
                String::new()
            }
            Err(why) => {
                self.recovery.stored.declined = !self.planted.has(Bug::FoundsAfterRefusal);
                self.store_fence();
                why
            }
        };
        self.tell_survivor(to, RecoveryMessage::Founded { era, refused });
        self.write_recovery(now);
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
        let Some(trail) = fencing.stored.trail.clone() else { return };
        let busy = fencing.writing.as_ref().is_some_and(|writing| writing.era == order.era);
        let (mesh, founded_at) = (self.state.mesh, self.control.configured());
        if busy || !self.control.leading || self.state.applied < founded_at {
            return;
        }
        let mut order = order.clone();
        if self.planted.has(Bug::RecoveryEpochNotRaised) {
            order.survivors = self.state.members.keys().copied().collect();
        }
        let evictions = self.state.losses(&order, self.own, &trail);
        let mut signing = BTreeMap::new();
        for (eviction, mesh) in evictions.iter().zip(core::iter::repeat(mesh).flatten()) {
            let token = self.sign(eviction.statement(mesh));
            signing.insert(token, signing.len());
        }
        let era = order.era;
        let recover = Recover { order, founder: self.own, evictions, trail };
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

    /// The state may tell of a recovery's end: of the one ordered last, or of an earlier one whose founder this node follows. Where a later founder goes on
    /// from what the earlier one decided, nobody may be left to be taken out.
    pub(super) fn settle_recovery(&mut self) {
        let Some(recovered) = self.state.recovered.clone() else { return };
        let Fencing { stored, group_era, .. } = &self.recovery;
        let begun = |era: &u64| stored.eras.contains(era);
        let nobody_left =
            |order: &Order| self.state.members.keys().all(|node| order.survivors.contains(node));
        let ended = stored.order.as_ref().filter(|order| {
            let followed = begun(&recovered.era) && begun(group_era);
            order.era == recovered.era || followed && (*group_era == recovered.era || nobody_left(order))
        });
        let ended = ended.map(|order| order.era);
        if ended.is_some() {
            rare!(RecoveryWritten);
            rare!(EarlierRecoveryWritten, ended != Some(recovered.era));
            self.end_fence();
            self.outputs.push_back(Output::Unfence);
        }
        self.end_run(&recovered, ended);
    }

    pub(super) fn name_of(&self, node: NodeId) -> String {
        let known = self.member(node).map(|member| member.name.clone());
        let former = || self.state.evicted.get(&node).map(|gone| gone.name().into());
        let stranger = || {
            let strangers = &self.recovery.strangers;
            strangers.iter().find(|(known, _)| *known == node).map(|(_, name)| name.clone())
        };
        known.or_else(former).or_else(stranger).unwrap_or_else(|| alloc::format!("{node}"))
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
        assert!(stored.eras.len() <= ERAS_MAX + 1, "M37: recoveries answered are bounded");
        assert!(writing.is_none() || self.control.leading, "M35: only a founder takes out the lost");
        let counts = stored.order.as_ref().is_none_or(|order| order.attempt <= stored.attempt);
        assert!(counts, "M34: attempts grow");
    }
}
