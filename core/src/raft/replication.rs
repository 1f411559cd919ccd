//! Replication: appends in windows, their replies, and commitment.

use alloc::boxed::Box;

use bytes::Bytes;

use super::context::{Acknowledgement, Context};
use super::entries::Entries;
use super::flow::{Flows, burden, size};
use super::group::{Group, Leading, News, Role, Standing};
use super::log::Mismatch;
use super::message::{Append, Body, Entry, EntryKind, Message, Place};
use super::progress::{Progress, Sent};
use super::quorum::committed;
use super::wire::WEIGHT_MAX;
use super::{Output, RefusedReason};
use crate::configuration::Member;
use crate::id::{GroupId, LogIndex, NodeId, Term};
use crate::planted::Bug;
use crate::rare;
use crate::sometimes;
use crate::when::When;

/// What came of an append; see [`Body::AppendReply`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Reply {
    pub(super) number: u64,
    pub(super) matched: bool,
    pub(super) place: Place,
    pub(super) more: bool,
    pub(super) waiting: bool,
    pub(super) round: u64,
}

impl Reply {
    /// The end of that append is equal at both ends, and durable here.
    pub(super) const fn matched(number: u64, place: Place, round: u64) -> Self {
        Self { number, matched: true, place, more: false, waiting: false, round }
    }
}

impl Leading {
    /// Leads no longer: nothing is under way, nothing waits to be committed.
    pub(super) fn resign(&mut self, context: &mut Context<'_>) {
        for progress in self.progress.values_mut() {
            progress.give_up(context.flows);
        }
        context.flows.uncommitted -= core::mem::take(&mut self.uncommitted);
    }

    /// Whether another proposal is too much for the group or for the node. One is always taken.
    fn is_full(&self, context: &Context<'_>, more: u64, entries: u64) -> bool {
        let (config, all) = (context.config, context.flows.uncommitted);
        let beyond = |held: u64, limit: u64| held > 0 && held.saturating_add(more) > limit;
        entries >= config.uncommitted_entries
            || beyond(self.uncommitted, config.uncommitted_bytes)
            || beyond(all, config.node_uncommitted_bytes)
    }

    /// Something is proposed.
    fn proposed(&mut self, flows: &mut Flows, burden: u64) {
        self.uncommitted += burden;
        flows.uncommitted += burden;
    }

    /// Something is committed.
    fn decided(&mut self, flows: &mut Flows, burden: u64) {
        assert!(self.uncommitted >= burden, "R12: more was committed than proposed");
        self.uncommitted -= burden;
        flows.uncommitted -= burden;
    }
}

impl Group {
    pub(super) fn propose(&mut self, context: &mut Context<'_>, data: Bytes, weight: u64, number: u64) {
        let index = self.log.last().index.next();
        let entry = Entry { index, term: self.term, kind: EntryKind::Command, data, weight };
        let refusal = match (&self.standing, &self.role) {
            (Standing::Stopped { .. }, _) => Some(RefusedReason::Stopped),
            _ if weight >= WEIGHT_MAX => Some(RefusedReason::TooHeavy),
            (_, Role::Leader(leading)) if leading.transfer.is_some() => Some(RefusedReason::Transferring),
            (_, Role::Leader(leading)) => {
                let entries = index.0 - 1 - self.commit.0;
                leading.is_full(context, burden(&entry), entries).then_some(RefusedReason::Full)
            }
            _ => Some(RefusedReason::NotLeader { leader: self.leader(context.own) }),
        };
        if let Some(reason) = refusal {
            rare!(ProposalRefused);
            return context.out.push_back(Output::Refused { group: self.id, context: number, reason });
        }
        self.push_own(context, entry);
        let term = self.term;
        context.out.push_back(Output::Proposed { group: self.id, context: number, index, term });
        self.news_for_all();
    }

    /// Appends an entry of the own term.
    pub(super) fn append_own(&mut self, context: &mut Context<'_>, kind: EntryKind, data: Bytes) -> LogIndex {
        let index = self.log.last().index.next();
        self.push_own(context, Entry { index, term: self.term, kind, data, weight: 0 });
        if kind == EntryKind::Configuration {
            self.tell_configuration(context);
        }
        index
    }

    fn push_own(&mut self, context: &mut Context<'_>, entry: Entry) {
        if let Role::Leader(leading) = &mut self.role {
            leading.proposed(context.flows, burden(&entry));
        }
        self.log.push(entry);
    }

    /// What the entries behind the commit index weigh, up to `upto`.
    pub(super) fn burden_upto(&self, upto: LogIndex) -> u64 {
        self.log.range(self.commit.next(), upto).map(burden).sum()
    }

    /// Keeps one progress per other member of the configuration in force.
    pub(super) fn track_members(&mut self, context: &mut Context<'_>) {
        let last = self.log.last().index;
        let Role::Leader(leading) = &mut self.role else { return };
        let configuration = self.log.configuration();
        let (config, flows) = (context.config, &mut *context.flows);
        leading.progress.retain(|&node, progress| {
            let stays = configuration.on(node).any(|member| member == progress.member);
            if !stays {
                progress.give_up(flows);
            }
            stays
        });
        for node in configuration.members().map(|member| member.node).filter(|&node| node != context.own) {
            // While a replica id is being replaced, the newer one is the one that is there.
            let member = configuration.on(node).last().expect("just listed");
            let anew = || Progress::new(member, last.before(), config);
            let progress = leading.progress.get_or_insert_with(node, anew);
            if progress.member != member {
                progress.give_up(flows);
                *progress = anew();
            }
            if context.planted.strikes(Bug::MatchAssumed, || progress.matched < last.before()) {
                progress.matched = last.before();
            }
        }
    }

    /// Every member is to be sent what it lacks and has room for.
    pub(super) fn news_for_all(&mut self) {
        self.news = News::ForAll;
    }

    /// The member on that node is to be sent what it lacks and has room for.
    pub(super) fn news_for(&mut self, node: NodeId) {
        let Role::Leader(leading) = &mut self.role else { return };
        if let Some(progress) = leading.progress.get_mut(&node) {
            progress.has_news = true;
            if self.news == News::None {
                self.news = News::ForSome;
            }
        }
    }

    /// A turn: every member for which there is news is sent one message. Whoever can be sent more has news again.
    pub(super) fn send_news(&mut self, context: &mut Context<'_>) {
        if self.news == News::None {
            return;
        }
        self.begin_round(context);
        let all = core::mem::take(&mut self.news) == News::ForAll;
        for place in 0.. {
            let Role::Leader(leading) = &mut self.role else { return };
            let Some(progress) = leading.progress.at_mut(place) else { return };
            let has_news = core::mem::take(&mut progress.has_news);
            if has_news || all {
                let more = self.append_to(context, place);
                self.note_more(place, more);
            }
        }
    }

    /// Its turn towards that node has come, for the budget of which it waited.
    pub(super) fn take_turn(&mut self, context: &mut Context<'_>, node: NodeId) {
        let Role::Leader(leading) = &mut self.role else { return };
        let Some(place) = leading.progress.position(&node) else { return };
        let Some(progress) = leading.progress.at_mut(place) else { return };
        progress.leave_line();
        let more = self.append_to(context, place);
        self.note_more(place, more);
    }

    /// The member at that place may be sent more after what it was sent now.
    fn note_more(&mut self, place: usize, sent: bool) {
        let (last, commit) = (self.log.last().index, self.commit);
        let Role::Leader(leading) = &mut self.role else { return };
        let round = leading.rounds.last();
        let Some(progress) = leading.progress.at_mut(place).filter(|_| sent) else { return };
        if progress.may_lack(last, commit, round) {
            progress.has_news = true;
            if self.news == News::None {
                self.news = News::ForSome;
            }
        }
    }

    /// Sends an append to the member at that place if there is news and room. Whether one was sent, so that there may be more.
    fn append_to(&mut self, context: &mut Context<'_>, place: usize) -> bool {
        let (base, last) = (self.log.base(), self.log.last().index);
        let alone = self.is_only_voter(context.own);
        let Role::Leader(leading) = &mut self.role else { return false };
        let witnessed = leading.newcomers.is_empty();
        let round = leading.rounds.last();
        let Some(progress) = leading.progress.at_mut(place) else { return false };
        let node = progress.member.node;
        if !witnessed && self.waits_for_a_witness(context, node) {
            return false;
        }
        let Role::Leader(leading) = &mut self.role else { return false };
        let Some(progress) = leading.progress.at_mut(place) else { return false };
        let in_line = progress.is_in_line();
        if progress.is_sending_state() {
            return !in_line && self.send_chunk(context, node);
        }
        // R10. A mesh has hundreds of learners for each voter: each hears once of what is committed together, instead of every entry and every
        // commitment by itself, and of what came meanwhile when it has answered.
        let follows = self.id == GroupId::CONTROL && !self.log.configuration().votes(progress.member);
        let early = context.planted.strikes(Bug::LearnersHearUncommitted, || follows && last > self.commit);
        let last = if follows && !early { last.min(self.commit) } else { last };
        let asked = progress.round < round && !follows;
        let news = progress.next <= last || progress.is_probing() || progress.told() < self.commit || asked;
        let room = progress.has_room(context.config) && !(follows && progress.is_awaited());
        if !news || !room || in_line {
            return false;
        }
        if progress.next <= base.index {
            if context.planted.strikes(Bug::CutLogNotSent, || last == base.index) {
                return false;
            }
            sometimes!(LogTooShortForMember);
            progress.snapshot_wanted(context.flows, context.now);
            context.out.push_back(Output::SnapshotWanted { group: self.id, to: node });
            self.wake_for(node);
            return false;
        }
        if progress.next <= last && progress.must_wait(context.flows, self.slot) {
            return false;
        }
        leading.next_number += 1;
        let number = leading.next_number;
        let previous = self.log.place(progress.next.before()).expect("R2: next lies within the log");
        let entries = self.log.slice(progress.next, last, context.config.message());
        let end = entries.last().map_or(previous.index, |entry| entry.index);
        let decided = !follows || entries.is_empty() || end <= self.commit;
        assert!(decided, "R10: {node} only learns, and hears of entry {end} before it is committed");
        let commit = self.commit.min(end);
        let ahead = context.planted.strikes(Bug::CommitNotClamped, || self.commit > end);
        let commit = if ahead { self.commit } else { commit };
        let bytes = entries.iter().map(size).sum();
        progress.round = round;
        progress.sent(Sent { number, last: end, commit, bytes }, context.flows, context.now);
        let (to, retry_at) = (progress.member, progress.retry_at());
        // Rule A3 and thesis 10.2.1: only a source must not send what it has not on disk; its records are held by their owner,
        // but its descriptors travel here. So when this arrives, what it carries is on disk, and vouched for (rule C2).
        let hasty = context.planted.strikes(Bug::SourceSendsUnsynced, || alone && end > self.log.durable());
        let when = if alone && !hasty { When::Durable } else { When::Now };
        let durable = self.log.durable();
        let durable = self.log.place(if alone { end.max(durable) } else { durable }).unwrap_or(base);
        let append = Append { previous, commit, durable, entries, number, round, copy: false, cut: false };
        self.answer(context, to, self.term, Body::Append(append), when);
        if let Some(at) = retry_at {
            self.wake_at(at);
        }
        true
    }

    /// What was sent to a member is sent again if it is not answered.
    pub(super) fn wake_for(&mut self, node: NodeId) {
        let Role::Leader(leading) = &self.role else { return };
        if let Some(at) = leading.progress.get(&node).and_then(Progress::retry_at) {
            self.wake_at(at);
        }
    }

    /// A member of the control group is not heard. Its disk may have been rolled back to before it knew anybody there, so that it knows
    /// of no pair and says nothing: it is spoken to until it answers. Other groups know their members from the start.
    pub(super) fn look_for(&mut self, context: &mut Context<'_>, node: NodeId) {
        let Role::Leader(leading) = &mut self.role else { return };
        if let Some(progress) = leading.progress.get_mut(&node).filter(|_| self.id == GroupId::CONTROL) {
            progress.probe(context.flows);
            self.news_for(node);
        }
    }

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
        self.last_append = Some(append.number);
        self.take_entries(context, from, append);
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
                if !self.may_vote(context) {
                    return false;
                }
            }
        }
        if self.led_by == Some((term, from)) && term == self.term && self.hears(context.own, from.node) {
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
        if let Some((_, other)) = self.led_by.filter(|&(led, other)| led == term && other != from) {
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
        if self.led_by != Some((term, from)) {
            (self.led_by, self.last_append) = (Some((term, from)), None);
        }
        self.enter_term(context, term, Some(from.node));
        true
    }

    /// Whether that node is followed already, without doubt, and nothing is to be told or asked for that.
    pub(super) fn hears(&self, own: NodeId, leader: NodeId) -> bool {
        self.followed() == Some(leader)
            && (self.compared_leader == Some(self.term) || !self.is_voter(own))
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
        if below && self.log.base().index <= self.deluded_upto {
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
        if first <= self.log.last().index {
            sometimes!(EntriesTruncated);
            self.log.truncate(first);
        }
        self.log.append(new);
        self.tell_configuration(context);
        true
    }

    /// Answers an append of that replica, once what is here is durable.
    pub(super) fn acknowledge(&self, context: &mut Context<'_>, to: Member, reply: Reply) {
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
        let committed = self.log.place(self.commit).unwrap_or(self.log.base());
        let place = self.log.before_term_at(index);
        let place = if place.index < committed.index { committed } else { place };
        self.refuse(context, from, number, place);
    }

    /// Says that an append was not taken, and behind which place its sender should go on.
    pub(super) fn refuse(&self, context: &mut Context<'_>, to: Member, number: u64, place: Place) {
        self.acknowledge(context, to, Reply { matched: false, ..Reply::matched(number, place, 0) });
    }

    pub(super) fn handle_append_reply(
        &mut self,
        context: &mut Context<'_>,
        from: Member,
        term: Term,
        reply: Reply,
    ) {
        let Reply { number, matched, place, more, waiting, round } = reply;
        if matched {
            self.vouched(context, from, term, place, None);
        }
        if !self.may_vote(context) {
            sometimes!(AnswerToAFormerLife);
            // As in an election: it would raise the term above that of the marks this replica waits for.
            return;
        }
        if term > self.term {
            return self.enter_term(context, term, None);
        }
        let (now, config, flows) = (context.now, context.config, &mut *context.flows);
        let Role::Leader(leading) = &mut self.role else { return };
        let Some(progress) = leading.progress.get_mut(&from.node).filter(|p| {
            let older = context.planted.strikes(Bug::OlderAnswerCounted, || term < self.term);
            p.member == from && (term == self.term || older)
        }) else {
            return;
        };
        if !matched {
            if progress.refused(number, place.index, self.log.may_agree_upto(place), flows) {
                self.remind_if_behind(context, from, place);
            }
            return self.news_for(from.node);
        }
        if place.index > self.log.base().index && self.log.place(place.index) != Some(place) {
            rare!(MemberHoldsMore);
            // It is durable there, and either this leader sent it in this term or it is committed: one of the two disks was rolled back.
            let what = alloc::format!(
                "{} holds entry {} of term {}, which its leader lacks: a disk was rolled back",
                from.node,
                place.index,
                place.term
            );
            return self.stop(context, what);
        }
        let behind = place.index < progress.matched;
        let news = progress.matched((number, place.index), config, flows, now);
        if context.planted.strikes(Bug::MatchGoesBack, || behind) {
            progress.matched = place.index;
        }
        if waiting && !more {
            progress.pause(number, flows, now);
        } else if more || progress.lost_the_rest() {
            progress.resume(number, flows);
        }
        let retry_at = progress.retry_at();
        if let Some(at) = retry_at {
            self.wake_at(at);
        }
        if news {
            context.out.push_back(Output::Match { group: self.id, node: from.node, index: place.index });
            if place.index > self.commit {
                self.advance_commit(context);
            }
            self.member_advanced(context, from);
        }
        self.round_answered(context, from, round);
        self.news_if_lacking(from.node);
    }

    /// A member holds more than before: what waited for that goes on.
    fn member_advanced(&mut self, context: &mut Context<'_>, member: Member) {
        let Role::Leader(leading) = &self.role else { return };
        if !leading.returning.is_empty() {
            self.promote_returned(context, member);
        }
        let Role::Leader(leading) = &self.role else { return };
        if !leading.newcomers.is_empty() {
            self.witness(member);
        }
        self.hand_over(context);
    }

    /// As [`Self::news_for`], if there can be something to send.
    fn news_if_lacking(&mut self, node: NodeId) {
        let (last, commit) = (self.log.last().index, self.commit);
        let Role::Leader(leading) = &mut self.role else { return };
        let round = leading.rounds.last();
        let Some(progress) = leading.progress.get_mut(&node) else { return };
        if progress.may_lack(last, commit, round) {
            progress.has_news = true;
            if self.news == News::None {
                self.news = News::ForSome;
            }
        }
    }

    pub(super) fn advance_commit(&mut self, context: &mut Context<'_>) {
        let Role::Leader(leading) = &self.role else { return };
        let (own, durable) = (self.member(context.own), self.log.durable());
        let last = self.log.last().index;
        let reached = |member: Member| {
            if member == own {
                if context.planted.strikes(Bug::LeaderCountsUnsynced, || durable < last) {
                    return last;
                }
                return durable;
            }
            let progress = leading.progress.get(&member.node).filter(|progress| progress.member == member);
            progress.map_or(LogIndex(0), |progress| progress.matched)
        };
        let miscounted = self.miscounted(context, &reached);
        let configuration = miscounted.as_ref().unwrap_or_else(|| self.log.configuration());
        let index = committed(configuration, reached, context.planted);
        let own_term = || self.log.term(index) == Some(self.term);
        if index > self.commit && (own_term() || context.planted.has(Bug::OldTermCommit)) {
            // Mostly all that waits is decided together.
            let burden = if index == last { leading.uncommitted } else { self.burden_upto(index) };
            let sizes = || self.log.range(self.commit.next(), index).map(size).sum();
            let other = context.planted.strikes(Bug::OtherMeasureReleased, || burden != sizes());
            let burden = if other { sizes() } else { burden };
            if let Role::Leader(leading) = &mut self.role {
                leading.decided(context.flows, burden);
            }
            self.commit_upto(context, index);
            self.configuration_committed(context);
            self.news_for_all();
        }
    }

    pub(super) fn commit_upto(&mut self, context: &mut Context<'_>, index: LogIndex) {
        if index > self.commit || context.planted.strikes(Bug::CommitGoesBack, || index < self.commit) {
            self.commit = index;
            self.let_go_of_outdated_state(context);
        }
        self.apply(context);
    }

    /// Bytes or room came: the leader may send on behind what this log holds (rule B2).
    pub(super) fn ask_for_more(&mut self, context: &mut Context<'_>) {
        self.ask_for_rest_of_copies(context);
        if let (Standing::Sound, Role::Follower { leader: Some(leader) }, Some((_, from)), Some(number)) =
            (&self.standing, &self.role, self.led_by, self.last_append)
            && *leader == from.node
        {
            let place = self.log.place(self.commit.max(self.log.base().index)).unwrap_or(self.log.base());
            self.acknowledge(context, from, Reply { more: true, ..Reply::matched(number, place, 0) });
        }
    }

    pub(super) fn leader_deadline(&mut self, context: &mut Context<'_>) {
        let Role::Leader(leading) = &mut self.role else { return };
        if leading.quorum_lost.is_some_and(|at| at <= context.now) {
            sometimes!(LeaderGaveUp);
            return self.follow(context, None);
        }
        self.end_transfer(context);
        let Role::Leader(leading) = &mut self.role else { return };
        let (now, config) = (context.now, context.config);
        let mut silent = alloc::vec::Vec::new();
        for (&node, progress) in leading.progress.iter_mut() {
            if progress.retry_at().is_some_and(|at| at <= now) {
                progress.retry(config, context.flows, now);
                silent.push(node);
            }
        }
        for node in silent {
            self.news_for(node);
        }
        self.introduce_unwitnessed(context);
    }
}
