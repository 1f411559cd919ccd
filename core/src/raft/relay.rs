//! Learners of the control group that other members feed, so that their leader need not (decision 17). This is the end that is fed, and who is to
//! feed whom; `feeding` is the other end.
//!
//! The leader owes each learner what is committed, whoever feeds it. A learner that says it is fed is left alone for a while, and then asked whether it
//! has what was committed when that while began. So a feeder is never relied upon: what it leaves undone is seen, and done by the leader until there is
//! another. What it says is compared with what is here; where that does not fit, it is dropped, and nobody stops on its word.
//!
//! Feeders are found in the configuration, which both ends know: the leader, the other voters, the learners in the order of their nodes. The learner at
//! place i is to be fed by the member at place i / fan-out of that list; if that one does not, by any of those around it, then by the leader.
//!
//! Invariants:
//! - **R27** Only what is committed is passed on; it is taken only behind what is here, by the chain, only from whoever was asked for it, and in no
//!   earlier term than that of whoever passes it on.
//! - **R28** Who learns feeds only those behind it, so that nobody feeds itself through others; nobody feeds more than twice the fan-out.
//! - **R29** What a leader holds to be here of its log was said by this very replica; and who is fed is asked for it.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::context::Context;
use super::entries::Entries;
use super::feeding::Child;
use super::group::Group;
use super::log::Mismatch;
use super::message::{Append, Body, Place};
use super::replication::Reply;
use super::roles::{Role, Standing};
use crate::configuration::{Configuration, Member};
use crate::id::{GroupId, LogIndex, NodeId, Term};
use crate::planted::Bug;
use crate::rare;
use crate::sometimes;
use crate::sorted_map::SortedMap;
use crate::time::{Instant, Span};
use crate::when::When;

/// Nobody is fed where fewer vote: what each learner remembers of an only voter decides (rule C3), and it hears that from the voter itself.
/// That holds for those who are to vote no longer, too, while they do.
const VOTERS: usize = 3;
/// So many are asked before a learner stays with its leader for a while.
const ATTEMPTS: u32 = 5;
/// So many of these are nearer to the leader than whom it belongs to.
const ATTEMPTS_NEAR: u32 = 3;
/// So often, in the time that what is committed is given to reach everybody, a leader notes what is.
const NOTED: u64 = 4;
/// Rests that are twice as long as the one before.
const RESTS_DOUBLED: u32 = 6;

/// Whom a replica feeds, and who feeds it.
#[derive(Clone, Debug)]
pub(super) struct Relay {
    pub(super) children: SortedMap<NodeId, Child>,
    /// The most it may feed.
    pub(super) most: usize,
    pub(super) next_number: u64,
    feeder: Feeder,
    /// The latest term in which it took something from a feeder.
    pub(super) fed_in: Term,
    /// What its feeder had not sent in time when the leader asked for it, the first time; nothing if it sent something since.
    lacked: LogIndex,
    /// How many were asked in vain since somebody fed it.
    attempts: u32,
    /// Nobody is asked before.
    rest_until: Option<Instant>,
    /// How often nobody was found since somebody fed it: each time it rests for longer.
    rests: u32,
    /// Up to where the log was committed in the last few seconds, at a leader whose learners others feed, too.
    past: VecDeque<Past>,
}

/// Who sends a learner what is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Feeder {
    Leader,
    /// The leader, until that node does.
    Asked {
        node: NodeId,
        until: Instant,
        heard: LogIndex,
    },
    Found(NodeId),
}

/// Whether learners of these members may be fed by others than their leader.
pub(super) fn may_relay(configuration: &Configuration) -> bool {
    let alone = configuration.is_joint() && configuration.outgoing.len() < VOTERS;
    configuration.voters.len() >= VOTERS && !alone
}

/// When the learner at `place` of so many members is asked next whether it has what was committed: each at a moment of its own, again and again.
fn review_moment(context: &Context<'_>, (place, members): (usize, usize)) -> Instant {
    let config = context.config;
    let (place, members) = (place as u64, members.max(1) as u64);
    let period = config.review.max(config.review_each.times(members)).max(Span(members));
    let share = period.over(members).times(place).0;
    context.now + Span(period.0 - (context.now.0 + period.0 - share) % period.0)
}

/// What was committed between two moments of a leader.
#[derive(Clone, Copy, Debug)]
struct Past {
    since: Instant,
    until: Instant,
    index: LogIndex,
}

impl Relay {
    pub(super) fn new(fan_out: usize) -> Self {
        Self {
            children: SortedMap::new(),
            most: 2 * fan_out,
            next_number: 0,
            feeder: Feeder::Leader,
            fed_in: Term(0),
            lacked: LogIndex(0),
            attempts: 0,
            rest_until: None,
            rests: 0,
            past: VecDeque::new(),
        }
    }

    /// What a leader had committed at that moment, as far as it noted it.
    pub(super) fn committed_by(&self, moment: Instant) -> LogIndex {
        let past = self.past.iter().rev().find(|past| past.until <= moment);
        past.map_or(LogIndex(0), |past| past.index)
    }

    /// When something is to be done.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let asked = if let Feeder::Asked { until, .. } = self.feeder { Some(until) } else { None };
        self.children.values().filter_map(|child| child.progress.retry_at()).chain(asked).min()
    }

    /// Whether it waits for somebody whom it asked.
    pub(super) fn asks(&self) -> bool {
        matches!(self.feeder, Feeder::Asked { .. })
    }

    /// Who feeds it, or was asked to.
    fn feeder(&self) -> Option<NodeId> {
        match self.feeder {
            Feeder::Asked { node, .. } | Feeder::Found(node) => Some(node),
            Feeder::Leader => None,
        }
    }
}

impl Group {
    /// Whether another member sends this one what is committed, and the leader need not.
    pub(super) fn is_fed(&self) -> bool {
        let fed = |relay: &Relay| matches!(relay.feeder, Feeder::Found(_)) && relay.lacked <= self.commit;
        self.relay.as_deref().is_some_and(fed)
    }

    /// Where this replica stands among the learners, if others may feed it.
    fn may_be_fed(&self, context: &Context<'_>) -> Option<usize> {
        let configuration = self.log.configuration();
        let own = self.member(context.own);
        let large = may_relay(configuration)
            && configuration.learners.len() > context.config.fan_out
            && self.id == GroupId::CONTROL;
        let sound = self.standing == Standing::Sound && self.fence.is_none();
        let learns = large && sound && !configuration.votes(own);
        if learns { configuration.learners.binary_search(&own).ok() } else { None }
    }

    /// A leader notes what is committed now: a while later it has had time to reach those whom others feed.
    pub(super) fn note_past(&mut self, context: &Context<'_>) {
        let (now, review, index) = (context.now, context.config.review, self.commit);
        let Some(relay) = &mut self.relay else { return };
        match relay.past.back_mut() {
            Some(last) if now.since(last.since) < review.over(NOTED) => {
                (last.until, last.index) = (now, index);
            }
            _ => relay.past.push_back(Past { since: now, until: now, index }),
        }
        while relay.past.get(1).is_some_and(|past| now.since(past.until) >= review) {
            relay.past.pop_front();
        }
    }

    /// R29. What others pass on has time to come; then it is asked for, by an append without entries behind this place. `None` if there is nothing to
    /// ask, or not yet.
    pub(super) fn review(&mut self, context: &mut Context<'_>, place: usize) -> Option<(Place, Entries)> {
        let commit = self.commit;
        let Role::Leader(leading) = &mut self.role else { return None };
        let members = leading.progress.len();
        let progress = leading.progress.at_mut(place)?;
        if context.planted.strikes(Bug::FedNeverReviewed, || true) {
            return None;
        }
        if context.planted.strikes(Bug::FedTakenForMatched, || progress.matched < commit) {
            progress.matched = commit;
        }
        let by = context.now - context.config.review;
        let settled = self.relay.as_ref().map_or(LogIndex(0), |relay| relay.committed_by(by));
        if !progress.takes_review(settled) {
            let at = progress.review_at(|| review_moment(context, (place, members)));
            self.wake_at(at);
            return None;
        }
        sometimes!(FedReviewed);
        let upto = settled.max(self.log.base().index);
        // In a run that is only stored its end is known, and that was committed before, too.
        let stored = self.log.stored_run(upto).map(|(_, run)| run.end);
        let end = stored.or_else(|| self.log.place(upto)).expect("R2: committed, and not below the base");
        Some((end, Entries::new()))
    }

    /// A learner says whether another member feeds it.
    pub(super) fn hear_whether_fed(&mut self, context: &Context<'_>, fed: bool) {
        if fed && self.relay.is_none() {
            self.relay = Some(Box::new(Relay::new(context.config.fan_out)));
            self.note_past(context);
        }
    }

    /// The leader sent something itself: perhaps another could.
    #[inline]
    pub(super) fn look_for_feeder(&mut self, context: &mut Context<'_>) {
        if self.id == GroupId::CONTROL {
            self.look_for_feeder_now(context);
        }
    }

    fn look_for_feeder_now(&mut self, context: &mut Context<'_>) {
        let idle = |relay: &Relay| {
            relay.feeder == Feeder::Leader && relay.rest_until.is_none_or(|until| until <= context.now)
        };
        if self.relay.as_deref().is_none_or(idle) && self.followed().is_some() {
            self.ask_feeder(context, LogIndex(0));
        }
    }

    /// Asks the next member that may feed this one, unless that is the leader. Whoever has not what is known to be committed cannot help.
    fn ask_feeder(&mut self, context: &mut Context<'_>, heard: LogIndex) {
        let Some(place) = self.may_be_fed(context) else { return };
        let fan_out = context.config.fan_out;
        let mut attempts = self.relay.as_ref().map_or(0, |relay| relay.attempts);
        let found = loop {
            let candidate = self.candidate(context, place, attempts);
            match candidate {
                Some(node) if attempts < ATTEMPTS && context.suspects.contains(&node) => attempts += 1,
                found => break found.filter(|_| attempts < ATTEMPTS),
            }
        };
        if found.is_none() && self.relay.is_none() {
            return;
        }
        let relay = self.relay.get_or_insert_with(|| Box::new(Relay::new(fan_out)));
        (relay.attempts, relay.feeder) = (attempts, Feeder::Leader);
        let Some(node) = found else {
            if attempts > 0 {
                rare!(NobodyFeeds);
                let rest = context.config.feed_patience.times(1 << relay.rests.min(RESTS_DOUBLED));
                let until = context.now + rest.at_most(context.config.feed_rest);
                (relay.attempts, relay.rests, relay.rest_until) = (0, relay.rests + 1, Some(until));
            }
            return;
        };
        let until = context.now + context.config.feed_patience;
        relay.feeder = Feeder::Asked { node, until, heard };
        self.wake_at(until);
        let last = self.log.place_upto(self.commit);
        self.send(context, node, self.term, Body::Feed { last, heard }, When::Now);
    }

    /// Who is to feed the learner at that place: first the one that it belongs to, then any of those about as near to the leader. `None` if that is the
    /// leader itself.
    fn candidate(&self, context: &mut Context<'_>, place: usize, attempts: u32) -> Option<NodeId> {
        let configuration = self.log.configuration();
        let (voters, leader) = (configuration.voters.len(), self.followed());
        let slot = place / context.config.fan_out.max(1);
        // Who is nearer to the leader first; half of these may be gone, and the others full.
        let near = voters.max(slot + 1);
        let reach = (voters + place).min(if attempts < ATTEMPTS_NEAR { near } else { near + slot });
        let slot = if attempts == 0 { slot } else { 1 + context.rng.below(reach as u64 - 1) as usize };
        let others = configuration.voters.iter().map(|voter| voter.node).filter(|&node| Some(node) != leader);
        let learners = configuration.learners[..place].iter().map(|learner| learner.node);
        let first = leader.map_or(NodeId(0), |leader| leader);
        let node = core::iter::once(first).chain(others).chain(learners).nth(slot)?;
        (slot > 0 && node != context.own).then_some(node)
    }

    /// The leader asks for what was committed a while ago. If that did not come, the leader sends it, and if that comes to be twice in a row,
    /// whoever was to send it is of no use. Once may be the fault of one further up: were each to drop its feeder then, all behind one that
    /// fell would look for others at once, and mostly come to be further from the leader.
    pub(super) fn look_back(&mut self, context: &mut Context<'_>, append: &Append) {
        let upto = append.previous.index;
        let lacks = append.entries.is_empty() && append.commit >= upto && upto > self.log.last().index;
        if !lacks || !self.is_fed() {
            return;
        }
        let Some(relay) = &mut self.relay else { return };
        if core::mem::replace(&mut relay.lacked, upto) == LogIndex(0) {
            sometimes!(FeederLate);
        } else if !context.planted.has(Bug::SilentFeederKept) {
            rare!(FeederFellBehind);
            self.drop_feeder(context);
            self.ask_feeder(context, upto);
        }
    }

    /// Whoever feeds this replica, or was asked to, is not to do so.
    pub(super) fn drop_feeder(&mut self, context: &mut Context<'_>) {
        let Some(relay) = &mut self.relay else { return };
        let node = relay.feeder();
        (relay.feeder, relay.lacked) = (Feeder::Leader, LogIndex(0));
        relay.attempts = relay.attempts.saturating_add(1);
        if let Some(node) = node {
            self.send(context, node, self.term, Body::Unfed, When::Now);
        }
    }

    /// Somebody does not feed this replica, or is not fed by it.
    pub(super) fn handle_unfed(&mut self, context: &mut Context<'_>, from: Member) {
        self.drop_child(context, from.node);
        let Some(relay) = &mut self.relay else { return };
        match relay.feeder {
            Feeder::Asked { node, heard, .. } if node == from.node => {
                sometimes!(FeederDeclined);
                relay.attempts += 1;
                self.ask_feeder(context, heard);
            }
            Feeder::Found(node) if node == from.node => {
                sometimes!(FeederGaveUp);
                (relay.feeder, relay.lacked) = (Feeder::Leader, LogIndex(0));
                self.ask_leader(context);
            }
            _ => {}
        }
    }

    /// Committed entries from a member that need not lead.
    pub(super) fn handle_fed(&mut self, context: &mut Context<'_>, from: Member, term: Term, append: Append) {
        let awaited = self.relay.as_ref().is_some_and(|relay| relay.feeder() == Some(from.node));
        if !awaited || self.may_be_fed(context).is_none() {
            rare!(FedUnasked);
            return self.answer(context, from, self.term, Body::Unfed, When::Now);
        }
        // What is committed in a term is in the logs of the leaders of later ones, and need not be in those of earlier ones: whoever takes it
        // hears these no more. What comes from an earlier term than this one is in the log of its leader, too.
        if term > self.term && !context.planted.strikes(Bug::FedTermIgnored, || true) {
            rare!(TermHeardFromFeeder);
            self.enter_term(context, term, None);
        }
        let committed = self.log.place_upto(self.commit);
        let unseen = context.planted.strikes(Bug::FedRunNotCompared, || {
            append.previous.index == committed.index && append.previous != committed
        });
        let agrees = self.log.agrees(append.previous);
        if let Err(mismatch) = agrees
            && !unseen
        {
            if mismatch == Mismatch::Differs && append.previous.index > committed.index {
                // Something before it was lost, or stands here and was never committed.
                let reply = Reply { matched: false, ..Reply::matched(append.number, committed, 0) };
                return self.acknowledge(context, from, reply);
            }
            return self.distrust_feeder(context);
        }
        self.take_fed(context, from, term, append);
    }

    /// Puts what a feeder sent where it belongs, if it fits there.
    fn take_fed(&mut self, context: &mut Context<'_>, from: Member, term: Term, append: Append) {
        let Append { previous, commit, entries, number, .. } = append;
        let Ok((covered, new)) = self.log.compare(previous, &entries) else {
            return self.distrust_feeder(context);
        };
        if let Some(first) = new.first() {
            let ahead = new.last().is_some_and(|last| last.term > self.term);
            if ahead || first.index <= self.commit || self.log.misfit(&new).is_some() {
                return self.distrust_feeder(context);
            }
            if !self.replace_suffix(context, new) {
                return;
            }
            sometimes!(FedByRelay);
            if let Some(relay) = &mut self.relay {
                (relay.lacked, relay.fed_in) = (LogIndex(0), relay.fed_in.max(term));
            }
        }
        self.commit_upto(context, commit.min(covered));
        if let Some(relay) = &mut self.relay
            && relay.feeder() == Some(from.node)
        {
            (relay.feeder, relay.attempts, relay.rests) = (Feeder::Found(from.node), 0, 0);
        }
        let place = self.log.place(covered).unwrap_or(self.log.base());
        self.acknowledge(context, from, Reply::matched(number, place, 0));
    }

    /// What the feeder holds to be committed is not what is committed here. One of the two is wrong, and the leader compares.
    fn distrust_feeder(&mut self, context: &mut Context<'_>) {
        rare!(FeederDistrusted);
        self.drop_feeder(context);
        self.ask_leader(context);
    }

    /// The configuration, the leader or this replica's own part is another: who may not feed or be fed any more does not.
    pub(super) fn rearrange(&mut self, context: &mut Context<'_>) {
        let Some(relay) = &self.relay else { return };
        let fed = relay.children.values().map(|child| child.progress.member);
        let gone: Vec<Member> = fed.filter(|member| !self.may_keep(context, *member)).collect();
        for member in gone {
            sometimes!(ChildSentAway);
            self.leave(context, member);
        }
        let Some(node) = self.relay.as_ref().and_then(|relay| relay.feeder()) else { return };
        let known = self.log.configuration().on(node).next().is_some();
        if !known || self.followed() == Some(node) || self.may_be_fed(context).is_none() {
            sometimes!(FeederNotToBe);
            self.drop_feeder(context);
            if let Some(relay) = &mut self.relay {
                relay.attempts = 0;
            }
            if matches!(self.role, Role::Follower { .. }) && self.standing == Standing::Sound {
                self.ask_leader(context);
            }
        }
    }

    pub(super) fn relay_deadline(&mut self, context: &mut Context<'_>) {
        let Some(relay) = &self.relay else { return };
        if let Feeder::Asked { until, heard, .. } = relay.feeder
            && until <= context.now
        {
            rare!(FeederUnanswered);
            self.drop_feeder(context);
            self.ask_feeder(context, heard);
        }
        self.feed_again(context);
    }
}
