//! Replication as a follower does it: appends of a leader, and their answers. The leader's end is in `replication`.

use alloc::boxed::Box;
use core::num::NonZeroU64;

use super::context::{Acknowledgement, Context};
use super::entries::Entries;
use super::group::Group;
use super::log::Mismatch;
use super::message::{Append, Body, Message, Place};
use super::replication::Reply;
use super::roles::{Role, Standing};
use crate::configuration::Member;
use crate::id::{LogIndex, NodeId, Term};
use crate::planted::Bug;
use crate::rare;
use crate::sometimes;
use crate::when::When;

impl Group {
    pub(super) fn handle_append(
        &mut self,
        context: &mut Context<'_>,
        from: Member,
        term: Term,
        append: Append,
    ) {
        if append.copy {
            return self.handle_copied(context, from.node, term, append);
        }
        let shown = (append.previous, &append.entries);
        if self.finds_others(context, from.node, term, shown, append.commit)
            || self.hears_leader_out(context, from, term, &append)
            || !self.accepts_leader(context, from, term)
        {
            return;
        }
        self.needs_no_state(from.node);
        self.vouched(context, from, term, append.durable, None);
        let earlier = core::mem::replace(&mut self.last_append, NonZeroU64::new(append.number));
        if earlier.is_some() {
            self.look_back(context, &append);
        }
        self.take_entries(context, from, append);
        self.look_for_feeder(context);
    }

    /// Whether a message of a leader is to be taken; enters its term, and answers an old one so that it hears of ours.
    pub(super) fn accepts_leader(&mut self, context: &mut Context<'_>, from: Member, term: Term) -> bool {
        match self.standing {
            Standing::Sound => {}
            Standing::Renamed { .. } => {
                self.say_renamed(context, from.node);
                return false;
            }
            Standing::Verifying { .. } | Standing::Copying(_) | Standing::Stopped { .. } => {
                if self.led_while_asking_all(context) || !self.may_vote(context) {
                    return false;
                }
            }
        }
        if self.is_led_by(term, from) && term == self.term && self.hears(context.own, from.node) {
            return true;
        }
        if context.planted.strikes(Bug::DeposedLeaderObeyed, || term < self.term) {
            return true;
        }
        if term < self.term {
            sometimes!(DeposedLeaderAnswered);
            let place = self.log.last();
            self.refuse(context, from, 0, place);
            return false;
        }
        if term == self.term && matches!(self.role, Role::Leader(_)) {
            rare!(LedBesideAnother);
            // R1 holds on disks that keep what they synced: one of the two lost a vote, and neither can tell which.
            let what = alloc::format!(
                "{} ({}) leads term {term}, too: the disk of a voter was rolled back",
                from.node,
                from.replica
            );
            self.stop(context, what);
            return false;
        }
        if let Some((_, other)) = self.led_by().filter(|&(led, other)| led == term && other != from) {
            rare!(TwoLedOneTerm);
            let what = alloc::format!(
                "{} ({}) and {} ({}) both lead term {term}: the disk of a voter was rolled back",
                other.node,
                other.replica,
                from.node,
                from.replica
            );
            self.stop(context, what);
            return false;
        }
        if !self.is_led_by(term, from) {
            self.hear_leader(term, from);
            self.last_append = None;
        }
        self.enter_term(context, term, Some(from.node));
        true
    }

    /// Whether that node is followed already, without doubt, and nothing is to be told or asked for that.
    pub(super) fn hears(&self, own: NodeId, leader: NodeId) -> bool {
        self.followed() == Some(leader)
            && (self.compared_leader == NonZeroU64::new(self.term.0) || !self.is_voter(own))
            && !self.in_doubt
            && self.election.is_none()
            && self.attempts == 0
    }

    fn take_entries(&mut self, context: &mut Context<'_>, from: Member, append: Append) {
        let Append { previous, commit, entries, number, round, cut, .. } = append;
        if let Err(mismatch) = self.log.agrees(previous)
            && !context.planted.strikes(Bug::MatchedByIndex, || {
                self.log.term(previous.index).is_some_and(|term| term != previous.term)
            })
        {
            return self.disagree(context, from, number, previous.index, mismatch);
        }
        let below = LogIndex(previous.index.0 + entries.len() as u64) < self.log.base().index;
        if below && self.log.base().index <= self.past().deluded_upto {
            let what = alloc::format!("a leader sends what lies below the base {}", self.log.base().index);
            return self.contradicted(context, self.log.base().index, what);
        }
        sometimes!(AppendBehindBase, previous.index == self.log.base().index && previous.index > LogIndex(0));
        let (covered, new) = match self.log.compare(previous, &entries) {
            Ok(compared) => compared,
            Err(mismatch) => return self.disagree(context, from, number, previous.index, mismatch),
        };
        let (base, last) = (self.log.base().index, self.log.last().index);
        if context
            .planted
            .strikes(Bug::CutsBehindEqual, || new.is_empty() && (self.commit..last).contains(&covered))
            || context.planted.strikes(Bug::OriginFitsAlways, || {
                previous.index == LogIndex(0) && base > LogIndex(0) && (base..last).contains(&covered)
            })
        {
            self.log.truncate(covered.next());
        }
        sometimes!(AppendRepeated, new.is_empty() && covered > previous.index);
        if !new.is_empty() && !self.replace_suffix(context, new) {
            return;
        }
        let last = self.log.last();
        let unclamped = context.planted.strikes(Bug::CommitNotClamped, || covered < commit.min(last.index));
        self.commit_upto(context, commit.min(if unclamped { last.index } else { covered }));
        let place = self.log.place(covered).expect("R2: covered by this very append");
        let further = context.planted.strikes(Bug::OwnEndAcknowledged, || last != place);
        let place = if further { last } else { place };
        let reply = Reply { waiting: cut, ..Reply::matched(number, place, round) };
        self.acknowledge(context, from, reply);
    }

    /// Puts new entries where they belong, after cutting off what stands there. `false` if that would cut what is committed, or
    /// changes another configuration.
    pub(super) fn replace_suffix(&mut self, context: &mut Context<'_>, new: Entries) -> bool {
        let first = new[0].index;
        if first <= self.log.last().index.min(self.commit) {
            let what = alloc::format!(
                "a leader wants to replace entry {first}, but everything up to {} is committed here",
                self.commit
            );
            self.contradicted(context, first, what);
            return false;
        }
        if let Some(index) = self.log.misfit(&new) {
            // Logs that agree up to there have the same configuration there: one of the two forgot what it vouched for.
            let what =
                alloc::format!("entry {index} of a leader changes another configuration than the one here");
            self.stop(context, what);
            return false;
        }
        if first <= self.once_committed && !context.planted.has(Bug::HistoryOutlivesCut) {
            // An earlier life decided that alone, and was wrong. What stands in front of it is the same for those who are right, and only this
            // replica decided there.
            rare!(HistoryBegunByACut);
            self.begin_history(context, first.before());
            self.write_base(context);
        }
        let last = self.log.last();
        if first <= last.index {
            sometimes!(EntriesTruncated);
            if new[0].term < last.term && !context.planted.has(Bug::SetBackUnnoticed) {
                rare!(LogSetBack);
                // What follows may come later, or never: whoever leads next with what is here has cut rightly what it once vouched for.
                self.past_mut().set_back = self.term;
                self.persist_state();
            }
            self.log.truncate(first);
        }
        self.log.append(new);
        self.tell_configuration(context);
        true
    }

    /// Answers an append of that replica, once what is here is durable.
    pub(super) fn acknowledge(&self, context: &mut Context<'_>, to: Member, reply: Reply) {
        let reply = Reply { fed: self.is_fed(), ..reply };
        let (sender, life, era, term) = (self.replica, self.life, self.era, self.term);
        let addressee = Some(to.replica);
        let message = Box::new(Message { sender, addressee, term, life, era, body: reply.body() });
        self.give_acknowledgement(context, to.node, message);
    }

    /// Gives out such an answer.
    pub(super) fn give_acknowledgement(&self, context: &mut Context<'_>, to: NodeId, message: Box<Message>) {
        let &Body::AppendReply { matched, more, .. } = &message.body else { return };
        let counts = matches!(self.standing, Standing::Sound) || context.planted.has(Bug::AmnesicVotes);
        assert!(counts || !matched, "R8: a replica acknowledges that must not");
        if matched && !more && context.planted.has(Bug::AcknowledgedUnsynced) {
            return context.send(to, self.id, message, When::Now);
        }
        context.held.acknowledge(Acknowledgement { group: self.id, to, message });
    }

    /// The log differs from the leader's: it is told where to go back to, or the group stops.
    fn disagree(
        &mut self,
        context: &mut Context<'_>,
        from: Member,
        number: u64,
        index: LogIndex,
        mismatch: Mismatch,
    ) {
        if let Some(term) = self.log.term(index)
            && context.planted.strikes(Bug::TermSetBack, || term < self.term)
        {
            self.term = term;
        }
        if let Mismatch::Forked(index) = mismatch {
            rare!(ForkFound);
            // Neither end can tell whose disk forgot. What is cut here may have been acknowledged, so nothing is (rule C1).
            let what = alloc::format!(
                "entry {index} of {}'s log differs from the one here, which has its term or is committed: a disk was rolled back",
                from.node
            );
            return self.contradicted(context, index, what);
        }
        if index <= self.commit {
            rare!(CommittedContradicted);
            let what = alloc::format!(
                "the leader's log differs at {index}, but everything up to {} is committed here",
                self.commit
            );
            return self.contradicted(context, index, what);
        }
        sometimes!(AppendRefused);
        // Whole terms at a time: where one entry of a term differs, those before it probably do (section 5.3 of the paper).
        let committed = self.log.place_upto(self.commit);
        let place = self.log.before_term_at(index);
        let place = if place.index < committed.index { committed } else { place };
        self.refuse(context, from, number, place);
    }

    /// Says that an append was not taken, and behind which place its sender should go on.
    pub(super) fn refuse(&self, context: &mut Context<'_>, to: Member, number: u64, place: Place) {
        self.acknowledge(context, to, Reply { matched: false, ..Reply::matched(number, place, 0) });
    }

    /// Bytes or room came: the leader may send on behind what this log holds (rule B2).
    pub(super) fn ask_for_more(&mut self, context: &mut Context<'_>) {
        self.ask_for_rest_of_copies(context);
        if let Some((from, number, place)) = self.asks_leader_from() {
            self.acknowledge(context, from, Reply { more: true, ..Reply::matched(number, place, 0) });
        }
    }

    /// The leader is to compare what is committed here with its log, and to send what follows. Others passed that on: to vouch for it to
    /// a leader that never compared it would make it a matter between two disks which of them forgot (rule C2).
    pub(super) fn ask_leader(&self, context: &mut Context<'_>) {
        if let Some((from, number, place)) = self.asks_leader_from() {
            self.refuse(context, from, number, place);
        }
    }

    /// Whom to ask for what follows, in answer to which append, and what place is committed here.
    fn asks_leader_from(&self) -> Option<(Member, u64, Place)> {
        let leader = self.followed()?;
        let ((_, from), number) = (self.led_by()?, self.last_append?);
        let place = self.log.place_upto(self.commit);
        (self.standing == Standing::Sound && leader == from.node).then_some((from, number.get(), place))
    }
}
