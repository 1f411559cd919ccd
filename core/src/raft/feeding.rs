//! Feeding other learners of the control group: what is committed here is sent on to them, as a leader would. See `relay` for the other end.
//!
//! Of each that is fed as much is kept as a leader keeps of a member. One message is under way to it at a time, and what came meanwhile goes with the
//! next. Who does not answer several times in a row is forgotten: it looks for another when its leader asks.

use alloc::boxed::Box;

use super::context::Context;
use super::entries::Entries;
use super::flow::size;
use super::group::Group;
use super::message::{Append, Body, Place};
use super::progress::{Progress, Sent};
use super::relay::Relay;
use super::replication::Reply;
use super::roles::{Role, Standing};
use crate::configuration::Member;
use crate::id::{GroupId, LogIndex, NodeId, Term};
use crate::planted::Bug;
use crate::rare;
use crate::sometimes;
use crate::when::When;

/// After so many messages in a row without an answer a child is forgotten.
const UNANSWERED: u8 = 8;

/// So many entries stay in a log that is cut if a child is about to be sent them.
const KEPT: u64 = 64;

/// What is fed is numbered from somewhere behind this: apart from what the same member led it, and from what it fed it before it started anew.
/// An answer that comes late would count for what was not sent yet, or was lost.
const NUMBERS: u64 = 1 << 40;

/// A learner that this replica feeds.
#[derive(Clone, Debug)]
pub(super) struct Child {
    pub(super) progress: Progress,
    unanswered: u8,
}

impl Relay {
    /// Whether it feeds that replica.
    pub(super) fn feeds(&self, member: Member) -> bool {
        self.children.get(&member.node).is_some_and(|child| child.progress.member == member)
    }

    /// What is known of those it feeds.
    pub(super) fn progress(&self) -> impl Iterator<Item = &Progress> {
        self.children.values().map(|child| &child.progress)
    }
}

impl Group {
    /// Whether a learner may be fed by this replica, whoever leads.
    pub(super) fn may_keep(&self, context: &Context<'_>, learner: Member) -> bool {
        let configuration = self.log.configuration();
        let own = self.member(context.own);
        let behind = own.node < learner.node && configuration.learners.binary_search(&own).is_ok();
        let behind = behind || context.planted.strikes(Bug::FedInCircles, || !configuration.votes(own));
        self.id == GroupId::CONTROL
            && self.standing == Standing::Sound
            && self.fence.is_none()
            && !matches!(self.role, Role::Leader(_))
            && (configuration.votes(own) || behind)
            && configuration.learners.binary_search(&learner).is_ok()
    }

    /// A learner asks to be fed from a place on.
    pub(super) fn handle_feed(
        &mut self,
        context: &mut Context<'_>,
        asker: Member,
        last: Place,
        heard: LogIndex,
    ) {
        self.drop_child(context, asker.node);
        let fan_out = context.config.fan_out;
        let led = self.followed().is_some() && !self.in_doubt;
        let able = led && self.may_keep(context, asker);
        // What it holds beyond what is committed here it was told by others; that is compared when this log has come so far.
        let place = self.log.place(last.index);
        let fits = last.index > self.commit || place == Some(last);
        rare!(AskerHoldsOther, last.index <= self.commit && place.is_some_and(|place| place != last));
        if !able || !fits || self.commit < heard {
            return self.answer(context, asker, self.term, Body::Unfed, When::Now);
        }
        let progress = Progress::new(asker, last.index, context.config);
        let relay = self.relay.get_or_insert_with(|| Box::new(Relay::new(fan_out)));
        let full = relay.children.len() >= relay.most;
        if full && !context.planted.has(Bug::FeedsAnyNumber) {
            rare!(FeederFull);
            return self.answer(context, asker, self.term, Body::Unfed, When::Now);
        }
        relay.children.insert(asker.node, Child { progress, unanswered: 0 });
        self.feed(context, asker.node);
    }

    /// Sends everybody who is fed what came to be committed.
    pub(super) fn feed_all(&mut self, context: &mut Context<'_>) {
        let mut place = 0;
        loop {
            let Some(relay) = &mut self.relay else { return };
            let Some(child) = relay.children.at_mut(place) else { return };
            let node = child.progress.member.node;
            self.feed(context, node);
            // Who is too far behind is fed no longer, and the next one stands there.
            place += usize::from(self.relay.as_ref().is_some_and(|relay| relay.children.contains_key(&node)));
        }
    }

    /// Up to where the log may be cut: what children are about to be sent, or sent again, stays, if it is little.
    pub(super) fn keeps_for_children(&self, upto: LogIndex) -> LogIndex {
        let got = self.relay.iter().flat_map(|relay| relay.progress()).map(Progress::resumes_behind);
        got.filter(|got| got.0.saturating_add(KEPT) >= upto.0).fold(upto, LogIndex::min)
    }

    /// Sends a child one message, if there is something for it and nothing under way.
    fn feed(&mut self, context: &mut Context<'_>, node: NodeId) {
        let (base, last) = (self.log.base(), self.log.last().index);
        let Some(relay) = &mut self.relay else { return };
        let Some(child) = relay.children.get_mut(&node) else { return };
        let progress = &mut child.progress;
        let early = context.planted.strikes(Bug::UncommittedPassedOn, || last > self.commit);
        let upto = if early { last } else { self.commit };
        if progress.is_awaited() || !(progress.next <= upto || progress.is_probing()) {
            return;
        }
        let member = progress.member;
        if progress.next <= base.index || self.log.stored_run(progress.next).is_some() {
            rare!(ChildTooFarBehind);
            return self.leave(context, member);
        }
        let previous = progress.next.before().min(upto);
        let previous = self.log.place(previous).expect("R23: committed, and not within what is only stored");
        let entries = if previous.index < upto {
            self.log.slice(previous.index.next(), upto, context.config.message())
        } else {
            Entries::new()
        };
        let end = entries.last().map_or(previous.index, |entry| entry.index);
        assert!(end <= self.commit, "R27: {node} is sent entry {end}, which is not committed here");
        if relay.next_number == 0 {
            relay.next_number = NUMBERS + context.rng.below(NUMBERS);
        }
        relay.next_number += 1;
        let number = relay.next_number;
        let bytes = entries.iter().map(size).sum();
        progress.sent(Sent { number, last: end, commit: end, bytes }, context.flows, context.now);
        let (durable, round) = (Place::default(), 0);
        let append =
            Append { previous, commit: end, durable, entries, number, round, copy: false, cut: false };
        self.answer(context, member, self.term, Body::Fed(append), When::Now);
        self.wake_for_children();
    }

    fn wake_for_children(&mut self) {
        if let Some(at) = self.relay.as_ref().and_then(|relay| relay.next_deadline()) {
            self.wake_at(at);
        }
    }

    /// A child says what came of what it was sent.
    pub(super) fn handle_fed_reply(
        &mut self,
        context: &mut Context<'_>,
        from: Member,
        term: Term,
        reply: Reply,
    ) {
        let Reply { number, matched, place, .. } = reply;
        if matched {
            // Who asks it after a restart what it once vouched for asks this replica, too (rule C2).
            self.vouched(context, from, term, place, None);
        }
        let own = self.log.place(place.index);
        if matched && own.is_some_and(|own| own != place) {
            rare!(ChildHoldsOther);
            return self.leave(context, from);
        }
        let agree = self.log.may_agree_upto(place);
        let Some(child) = self.relay.as_mut().and_then(|relay| relay.children.get_mut(&from.node)) else {
            return;
        };
        child.unanswered = 0;
        if matched {
            child.progress.matched((number, place.index), context.config, context.flows, context.now);
        } else {
            rare!(FedRunRefused);
            child.progress.refused(number, place.index, agree, context.flows);
        }
        self.wake_for_children();
        self.feed(context, from.node);
    }

    /// What was sent to children and not answered is sent again.
    pub(super) fn feed_again(&mut self, context: &mut Context<'_>) {
        let now = context.now;
        let Some(relay) = &mut self.relay else { return };
        let mut silent = alloc::vec::Vec::new();
        for child in relay.children.values_mut() {
            if child.progress.retry_at().is_some_and(|at| at <= now) {
                child.unanswered += 1;
                child.progress.retry(context.config, context.flows, now);
                silent.push((child.progress.member, child.unanswered >= UNANSWERED));
            }
        }
        for (member, gone) in silent {
            if gone {
                sometimes!(ChildForgotten);
                self.leave(context, member);
            } else {
                self.feed(context, member.node);
            }
        }
    }

    /// Feeds a learner no longer, and says so.
    pub(super) fn leave(&mut self, context: &mut Context<'_>, member: Member) {
        self.drop_child(context, member.node);
        self.answer(context, member, self.term, Body::Unfed, When::Now);
    }

    /// Feeds nobody any more, and is not fed. Nobody else would say so: a replica that is removed may have heard of it last of all.
    pub(super) fn end_relay(&mut self, context: &mut Context<'_>) {
        let children = self.relay.iter().flat_map(|relay| relay.progress()).map(|progress| progress.member);
        for member in children.collect::<alloc::vec::Vec<_>>() {
            self.leave(context, member);
        }
        self.drop_feeder(context);
        self.relay = None;
    }

    /// A learner is not fed here any more.
    pub(super) fn drop_child(&mut self, context: &mut Context<'_>, node: NodeId) {
        let Some(relay) = &mut self.relay else { return };
        if let Some(mut child) = relay.children.remove(&node) {
            child.progress.give_up(context.flows);
        }
    }

    /// Panics if it is fed or feeds as it must not.
    pub(super) fn check_relay(&self, own: NodeId) {
        let Some(relay) = &self.relay else { return };
        assert!(relay.fed_in <= self.term, "R27: fed in term {}, and still in {}", relay.fed_in, self.term);
        let count = relay.children.len();
        assert!(count <= relay.most, "R28: {count} learners are fed");
        let Some((first, _)) = relay.children.iter().next() else { return };
        if self.busy || self.standing != Standing::Sound {
            return;
        }
        let behind = own < *first || self.log.configuration().votes(self.member(own));
        assert!(behind, "R28: {first} is fed, and stands before who feeds it");
    }

    /// Whether somebody waits for something; panics if nothing is done about it.
    pub(super) fn check_children(&self) -> bool {
        let Some(relay) = &self.relay else { return false };
        let mut owes = relay.asks();
        for (&node, child) in relay.children.iter() {
            let progress = &child.progress;
            let counted = progress.under_way() == progress.count_under_way();
            assert!(counted, "R12: what is under way to {node}, which is fed, is not what was sent");
            let lacks = progress.next <= self.commit || progress.is_awaited() || !progress.is_streaming();
            assert!(
                !lacks || progress.retry_at().is_some(),
                "R18: {node} is fed, lacks something up to {}, and nothing is sent to it",
                self.commit
            );
            owes |= lacks;
        }
        owes
    }
}
