//! Leading a stream's group: what is completed, what is replicated, and what a leader that is not the source does for it (rules A1 and A6).
//!
//! Only the source numbers. What it offers is proposed in the order of its numbers, as it follows the end of the log: what was applied here, and what this
//! leader proposed since. That is known once an entry of the leader's own term is applied, for everything of leaders before stands in front of it.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use super::Output;
use super::common::Common;
use super::entry::{Batch, Entry};
use super::member::{Part, Stream};
use super::message::{Body, Standing};
use super::parts::{self, Opening};
use super::peer::Peer;
use super::wire::encode_entry;
use super::writers::Writers;
use crate::ends::Ends;
use crate::id::{LogIndex, NodeId, Sequence, SessionEpoch, Term};
use crate::planted::Bug;
use crate::rare;
use crate::sometimes;
use crate::time::{Instant, Now};

/// The number of a proposal that was offered; others count up from it.
const OFFERED: u64 = 1 << 62;
/// The number of a completion.
pub(super) const COMPLETE: u64 = u64::MAX - 1;

/// What the outlines of batches that are offered may take, and once more those that are proposed; one of each is kept in any case.
const OFFERED_BYTES: u64 = 8 << 20;

/// Where a log ends.
#[derive(Clone, Debug)]
struct End {
    session: SessionEpoch,
    taken: Sequence,
    /// Places of writers that are further than what is applied.
    places: Writers,
    /// A message of which some parts are in the log.
    open: Opening,
}

impl End {
    fn follow(&mut self, entry: &Entry) {
        match entry {
            Entry::Session { follows, .. } if *follows == self.session => self.session = self.session.next(),
            Entry::Descriptor { epoch, first, batch }
                if *epoch == self.session && *first == self.taken.next() =>
            {
                self.taken = Sequence(self.taken.0 + batch.live());
                self.places.take(batch);
                parts::advance(&mut self.open, *first, batch);
            }
            _ => {}
        }
    }
}

/// What a leader that is not the source keeps while it leads.
#[derive(Clone, Debug, Default)]
pub(super) struct Lead {
    /// Batches offered and not proposed, by session and first sequence.
    offers: BTreeMap<(SessionEpoch, Sequence), Batch>,
    /// A session offered before it was known here where the log ends.
    session: Option<Entry>,
    /// What they take.
    pub(super) offered: u64,
    /// What was offered and proposed, and is not applied, in order.
    under_way: VecDeque<(u64, Entry)>,
    /// What these take.
    proposed: u64,
    /// Where the log ends; `None` to have it counted again.
    end: Option<End>,
    number: u64,
    /// The end that the source was last told behind a gap.
    told_end: Option<(SessionEpoch, Sequence)>,
    /// What of `replicated` the source was told.
    told: Sequence,
    /// The source's answers to questions from this one on were given while this member leads.
    began: u64,
    /// The source said so: it serves.
    source_serves: bool,
    /// When it was last tried to have the source lead.
    steered: Option<Instant>,
}

/// What an entry takes that was offered.
fn outline(entry: &Entry) -> u64 {
    if let Entry::Descriptor { batch, .. } = entry { batch.outline() } else { 0 }
}

impl Lead {
    /// Keeps what is offered; of two under one number the later.
    fn offer(&mut self, key: (SessionEpoch, Sequence), batch: Batch) {
        self.offered += batch.outline();
        self.offered -= self.offers.insert(key, batch).map_or(0, |before| before.outline());
    }

    fn drop_last(&mut self) {
        self.offered -= self.offers.pop_last().map_or(0, |(_, batch)| batch.outline());
    }

    /// The source said where it stands.
    pub(super) fn source_stands(&mut self, standing: &Standing) {
        let fresh = standing.answer >= self.began;
        self.source_serves = !standing.stopped && (fresh || self.source_serves);
    }

    /// The source is another start of itself.
    pub(super) fn source_left(&mut self) {
        self.source_serves = false;
    }
}

impl Stream {
    /// The role in the group, or the leader, is another one.
    pub(super) fn role(
        &mut self,
        common: &mut Common,
        now: Now,
        leading: bool,
        term: Term,
        leader: Option<NodeId>,
    ) {
        let other = core::mem::replace(&mut self.leader, leader) != leader || term != self.term;
        (self.leading, self.term, self.completing) = (leading, term, false);
        if other && self.knows_end() {
            self.led_behind = self.head.applied;
        }
        self.change_again(common);
        if other {
            self.keeping_moved();
            self.idle.iter_mut().for_each(|idle| idle.begin_anew());
        }
        if leading && other && self.ends.targets.len() > 1 && self.seal.is_none() {
            common.emit(Output::Voting { instance: self.instance, nodes: self.voters() });
        }
        let wanted = other && self.wants_nothing(common);
        let helps = leading && self.part == Part::Target;
        if other && self.peers.len() > 1 {
            self.peers.iter_mut().for_each(|peer| peer.matched = LogIndex(0));
        }
        if !helps || other {
            self.lead = helps.then(Box::default);
            self.ask_source(common);
        }
        match self.part {
            Part::Source => self.leadership_moved(common, now),
            Part::Target => self.tell_new_leader(common, now),
            Part::Unknown => {}
        }
        self.go_on_changing(common);
        self.arm(common, now);
        self.look_again(common, wanted);
    }

    /// A member's log is durable up to `index`. That falls to 0 where another replica takes the place of one whose disk was rolled back.
    pub(super) fn matched(&mut self, common: &mut Common, now: Now, node: NodeId, index: LogIndex) {
        let Some(peer) = self.peer_mut(node) else { return };
        let moved = peer.matched != index;
        if !common.planted.strikes(Bug::FormerReplicaHolds, || index < peer.matched) {
            peer.matched = index;
        }
        self.news(common, now);
        self.peer_holds(node, index);
        self.fire_replicated(common);
        // While somebody comes, where the members stand is told again and again.
        if moved && self.coming().is_some() {
            self.go_on_changing(common);
        }
        match self.part {
            Part::Source => self.pump_source(common, now),
            // The source may be able to lead now, and in a stream in which nothing happens nothing else will tell.
            _ => self.arm(common, now),
        }
    }

    /// The member's log is durable up to `index`, in its present start.
    fn peer_holds(&mut self, node: NodeId, index: LogIndex) {
        let Some(mut holds) = self.peer(node).map(|peer| peer.holds) else { return };
        if index >= self.floor.applied {
            holds = holds.max(self.floor.taken);
        }
        while let Some(slot) = self.store.holding(holds.next())
            && let Some(kept) = self.store.get(slot)
            && kept.taken.is_some_and(|taken| taken <= index)
        {
            holds = kept.last();
        }
        if let Some(peer) = self.peer_mut(node) {
            peer.holds = holds;
        }
    }

    /// The last entry that most members hold durably, learners included, as far as the leader knows.
    fn replicated_index(&self, common: &Common) -> LogIndex {
        let gone = |node: NodeId| self.is_gone(node) || !self.is_member(node);
        let members = 1 + self.peers.iter().filter(|peer| !gone(peer.node)).count();
        let voters = || self.ends.voters();
        if common.planted.strikes(Bug::ReplicatedCountsVoters, || voters().len() < members) {
            let voters = voters();
            return self.held_by_most(true, |node| gone(node) || !voters.contains(&node));
        }
        let itself = self.is_member(common.own);
        let now = self.held_by_most(itself, gone);
        if let Some(added) = self.adding() {
            // Rule D1: by the old members, and with whoever comes, until all is done.
            let before = self.held_by_most(itself && added != common.own, |node| node == added || gone(node));
            let with = self.held_by_most(true, |node| self.is_gone(node));
            let counted = common.planted.strikes(Bug::ReplicatedByNewcomer, || before < with);
            return if counted { with } else { before.min(with) };
        }
        // Rule D1: by the old members, and by those who stay. Whoever leads may be on its way out itself.
        let Some(leaving) = self.leaving() else { return now };
        let stays = self.held_by_most(itself && leaving != common.own, |node| node == leaving || gone(node));
        let counted = common.planted.strikes(Bug::ReplicatedByWhoGoes, || stays < now);
        if counted { now } else { now.min(stays) }
    }

    /// Raises `replicated` to what most members hold durably, and tells who waits for that.
    pub(super) fn fire_replicated(&mut self, common: &mut Common) {
        if self.part != Part::Source && self.lead.is_none() {
            return;
        }
        let index = self.replicated_index(common);
        loop {
            let next = self.source.replicated.max(self.floor.taken).next();
            let Some(slot) = self.store.holding(next) else { break };
            let Some(kept) = self.store.get(slot) else { break };
            let last = kept.last();
            let held = kept.taken.is_some_and(|taken| taken <= index) || last <= self.source.told_replicated;
            if !held && !common.planted.strikes(Bug::ReplicatedByOne, || kept.taken.is_some()) {
                break;
            }
            self.source.replicated = last;
            self.report(common, slot);
        }
        let (replicated, source) = (self.source.replicated, self.ends.source);
        let lost = self.is_lost(source);
        if let Some(lead) = self.lead.as_mut().filter(|lead| lead.told < replicated && !lost) {
            lead.told = replicated;
            self.tell_standing(common, source, false, 0);
        }
    }

    /// A target has processed up to `upto`, durably. A mark above what the log holds here is kept: this member's disk may have been rolled back.
    pub(super) fn marked(&mut self, common: &mut Common, now: Now, from: NodeId, upto: Sequence) {
        let Some(place) = self.ends.place(from) else { return };
        self.heard.raise(place, upto);
        self.go_on_changing(common);
        match self.part {
            Part::Source => self.pump_source(common, now),
            _ => self.pump_lead(common, now),
        }
    }

    /// Up to where the policy is met by the marks that were heard, and up to where every target is past by them.
    pub(super) fn heard_upto(&self, common: &Common) -> (Sequence, Sequence) {
        let (mark, gone) = (|place| self.heard.get(place), |node| self.passed_over(common, node));
        let mut released = self.ends.released(mark, gone);
        let late = |node: NodeId| gone(node) || self.head.joined().iter().any(|joined| joined.node == node);
        let passes = || self.ends.released(mark, late) > released;
        if common.planted.strikes(Bug::ReleasePassesNewcomer, passes) {
            released = self.ends.released(mark, late);
        }
        let mut completed = self.ends.completed(mark, gone);
        if common.planted.strikes(Bug::AddedCountsForEarlier, || !self.head.joined().is_empty()) {
            let begun = Ends { late: Vec::new(), ..Ends::clone(&self.ends) };
            completed = begun.completed(mark, gone);
        }
        // What whoever is to join will owe is kept until it does.
        (completed, self.keeps_from().map_or(released, |keeps| released.min(keeps)))
    }

    /// Up to where as many have processed as the policy asks for, or had while they were in: nobody's leaving undoes that.
    pub(super) fn processed_by_enough(&self, common: &Common) -> Sequence {
        let (by_who_is_left, _) = self.heard_upto(common);
        let by_all = self.ends.completed(|place| self.heard.get(place), |_| false);
        by_who_is_left.max(by_all).max(self.source.processed_before)
    }

    /// Whether more is completed or may go than the log says, and nothing is under way that says so.
    pub(super) fn owes_completion(&self, common: &Common) -> bool {
        let (completed, released) = self.heard_upto(common);
        let (taken, released) = (self.head.taken, released.min(self.kept_bound(common)));
        !self.completing
            && (completed.min(taken) > self.head.completed || released.min(taken) > self.head.released)
    }

    /// One at a time: what is heard meanwhile goes with the next.
    pub(super) fn propose_completion(&mut self, common: &mut Common) {
        // What is recorded of the members counts first.
        if self.completing || !self.knows_end() || self.unsaid().is_some() {
            return;
        }
        let (mut upto, released) = self.heard_upto(common);
        let any = || self.heard.iter().max().unwrap_or_default();
        if common.planted.strikes(Bug::CompletedByAny, || any().min(self.head.taken) > upto) {
            upto = any();
        }
        upto = self.whole_up_to(upto.min(self.head.taken)).max(self.head.completed);
        if common.planted.strikes(Bug::CompletedOneTooMany, || upto < self.head.taken) {
            upto = upto.next();
        }
        let released = released.min(upto).min(self.kept_bound(common));
        let released = self.whole_up_to(released).max(self.head.released);
        if upto > self.head.completed || released > self.head.released {
            self.completing = true;
            let entry = Entry::Complete { upto, released, marks: self.heard.clone() };
            let (instance, data) = (self.instance, encode_entry(&entry));
            common.emit(Output::Propose { instance, data, weight: 0, unhurried: true, context: COMPLETE });
        }
    }

    /// The source offers an entry.
    pub(super) fn offered(&mut self, common: &mut Common, now: Now, from: NodeId, entry: Entry) {
        let boot = self.peer(from).and_then(|peer| peer.boot);
        let Some(lead) = self.lead.as_mut().filter(|_| from == self.ends.source) else {
            rare!(OfferOutOfPlace);
            return;
        };
        match entry {
            // A former start may still be heard.
            Entry::Session { source, boot: opens, .. }
                if source != from || boot.is_some_and(|boot| boot != opens) => {}
            Entry::Session { .. } => lead.session = Some(entry),
            Entry::Descriptor { epoch, first, batch } => {
                lead.offer((epoch, first), batch);
                let bytes = if common.planted.has(Bug::OffersUnweighed) { u64::MAX } else { OFFERED_BYTES };
                while lead.offers.len() > common.config.proposals.max(1)
                    || (lead.offered > bytes && lead.offers.len() > 1)
                {
                    rare!(OfferGaveWay);
                    lead.drop_last();
                }
            }
            Entry::CloseWriter { writer } => {
                let known = lead.under_way.iter().any(|(_, other)| *other == entry);
                let room = lead.under_way.len() < common.config.proposals;
                if self.applied_term == self.term && !known && room && !self.head.writers.get(writer).closed {
                    self.propose_offered(common, entry);
                }
            }
            Entry::Complete { .. }
            | Entry::Drain { .. }
            | Entry::Detach { .. }
            | Entry::Join { .. }
            | Entry::Keep { .. } => {}
        }
        self.pump_lead(common, now);
        self.tell_gap(common);
    }

    /// What is offered begins behind a gap: says so, once for each end (rule A6).
    fn tell_gap(&mut self, common: &mut Common) {
        if !self.knows_end() {
            return;
        }
        let end = self.log_end();
        let (source, instance) = (self.ends.source, self.instance);
        let Some(lead) = &mut self.lead else { return };
        let gap = lead.offers.first_key_value().is_some_and(|(key, _)| *key > (end.0, end.1.next()));
        if gap && lead.told_end != Some(end) {
            rare!(OfferBehindGap);
            lead.told_end = Some(end);
            common.say(source, instance, Body::Follow { epoch: end.0, taken: end.1 });
        }
    }

    /// Where the log ends, what is not applied included.
    fn log_end(&mut self) -> (SessionEpoch, Sequence) {
        let (session, taken) = (self.head.session, self.head.taken);
        let Some(lead) = &mut self.lead else { return (session, taken) };
        let (under_way, open) = (&lead.under_way, &self.head.open);
        let end = lead.end.get_or_insert_with(|| {
            let mut end = End { session, taken, places: Writers::default(), open: open.clone() };
            under_way.iter().for_each(|(_, entry)| end.follow(entry));
            end
        });
        (end.session, end.taken)
    }

    /// Proposes what was offered as far as it follows, and its bytes are here; and what is completed.
    pub(super) fn pump_lead(&mut self, common: &mut Common, now: Now) {
        if !self.leading || self.stopped.is_some() || !self.knows_end() {
            return;
        }
        let session = self.lead.as_mut().and_then(|lead| lead.session.take());
        if let Some(entry @ Entry::Session { follows, .. }) = session
            && follows == self.log_end().0
        {
            self.propose_offered(common, entry);
        }
        while let Some(entry) = self.next_offer(common) {
            let data = encode_entry(&entry);
            if !self.admit(common, now, &data).passes() {
                sometimes!(OfferWaitsForBytes);
                if let (Some(lead), Entry::Descriptor { epoch, first, batch }) = (&mut self.lead, entry) {
                    lead.offer((epoch, first), batch);
                }
                break;
            }
            self.propose_offered(common, entry);
        }
        self.propose_completion(common);
    }

    /// Takes out what is offered and follows the end of the log; what lies below that, or belongs to an older session, is dropped (rule A6).
    fn next_offer(&mut self, common: &Common) -> Option<Entry> {
        let (epoch, taken) = self.log_end();
        let lead = self.lead.as_mut()?;
        let next = (epoch, taken.next());
        if lead.offers.first_key_value().is_some_and(|(key, _)| *key < next) {
            rare!(OfferedAgain);
            lead.offers = lead.offers.split_off(&next);
            lead.offered = lead.offers.values().map(Batch::outline).sum();
        }
        if lead.under_way.len() >= common.config.proposals || lead.proposed >= OFFERED_BYTES {
            return None;
        }
        let behind = || lead.offers.first_key_value().map(|(key, _)| *key).filter(|key| *key != next);
        let key = match behind() {
            Some(key) if common.planted.strikes(Bug::GapAppended, || true) => key,
            _ => next,
        };
        let batch = lead.offers.remove(&key)?;
        lead.offered -= batch.outline();
        let none = Writers::default();
        let (ahead, open) =
            lead.end.as_ref().map_or((&none, &self.head.open), |end| (&end.places, &end.open));
        if !parts::follows(&self.head.writers, ahead, open, &batch) {
            rare!(OfferDoesNotContinue);
            return None;
        }
        Some(Entry::Descriptor { epoch: key.0, first: key.1, batch })
    }

    fn propose_offered(&mut self, common: &mut Common, entry: Entry) {
        sometimes!(OfferProposed);
        self.log_end();
        let Some(lead) = &mut self.lead else { return };
        lead.number += 1;
        let context = OFFERED + lead.number;
        let weight = if let Entry::Descriptor { batch, .. } = &entry { batch.bytes() } else { 0 };
        if let Some(end) = &mut lead.end {
            if let Entry::Descriptor { epoch, first, .. } = &entry {
                let follows = (*epoch, *first) == (end.session, end.taken.next());
                assert!(follows, "S15: {first} of session {epoch} is proposed behind {}", end.taken);
            }
            end.follow(&entry);
        }
        let (instance, data) = (self.instance, encode_entry(&entry));
        lead.proposed += outline(&entry);
        lead.under_way.push_back((context, entry));
        common.emit(Output::Propose { instance, data, weight, unhurried: false, context });
    }

    /// What was offered was not appended. The source offers it again.
    pub(super) fn offer_refused(&mut self, context: u64) {
        if let Some(lead) = &mut self.lead {
            lead.under_way.retain(|(number, _)| *number != context);
            lead.proposed = lead.under_way.iter().map(|(_, entry)| outline(entry)).sum();
            lead.end = None;
        }
    }

    /// An entry is applied.
    pub(super) fn lead_applied(&mut self, entry: Option<&Entry>) {
        let Some(lead) = &mut self.lead else { return };
        if lead.under_way.front().is_some_and(|(_, first)| Some(first) == entry) {
            lead.proposed -= lead.under_way.pop_front().map_or(0, |(_, entry)| outline(&entry));
        }
        if lead.under_way.is_empty() {
            lead.end = None;
        }
    }

    /// Begins to lead: what the source said before says nothing of now. It may have stopped since, and been followed by this member for that.
    fn ask_source(&mut self, common: &mut Common) {
        let source = self.ends.source;
        if let Some(lead) = &mut self.lead {
            lead.began = common.serial();
            self.tell_standing(common, source, true, 0);
        }
    }

    /// Whether the source is there and may come to lead in place of this member. It may have met what it was asked as the word of a start that it did not know,
    /// and is asked again until it leads, or is silent, or says that it does not serve.
    fn awaits_source(&self) -> bool {
        self.lead.is_some()
            && self.seal.is_none()
            && self.knows_end()
            && self.source_peer().is_some_and(|peer| !peer.silent && !peer.stopped())
    }

    pub(super) fn lead_outstanding(&self, common: &Common) -> bool {
        let helps = self.lead.as_ref().is_some_and(|lead| !lead.offers.is_empty());
        helps
            || self.lead.is_some() && self.owes_completion(common)
            || self.awaits_source() && !common.planted.has(Bug::SourceNotSteeredTo)
    }

    /// Has the source lead. It may come to nothing, and is tried again.
    pub(super) fn steer(&mut self, common: &mut Common, now: Now) {
        if !self.awaits_source() || common.planted.has(Bug::SourceNotSteeredTo) {
            return;
        }
        let (instance, to, pause) = (self.instance, self.ends.source, common.config.restate_most);
        // In its present start, to this one, and with what is applied here.
        let ready = |peer: &Peer| peer.stands() && peer.knows_us && peer.matched >= self.head.applied;
        let ready = self.source_peer().is_some_and(ready);
        let Some(lead) = &mut self.lead else { return };
        let serves = || lead.source_serves || common.planted.strikes(Bug::StoppedAskedToLead, || true);
        if !ready || !serves() {
            return self.tell_standing(common, to, true, 0);
        }
        if lead.steered.is_none_or(|at| now.monotonic.since(at) >= pause) {
            sometimes!(SourceAskedToLead);
            lead.steered = Some(now.monotonic);
            common.emit(Output::Lead { instance, to });
        }
    }
}
