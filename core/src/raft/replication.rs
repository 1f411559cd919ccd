//! Replication as its leader does it: appends in windows, their replies, and commitment. The other end is in `following`.

use bytes::Bytes;

use super::context::Context;
use super::entries::Entries;
use super::flow::{Flows, burden, size};
use super::group::{Group, News};
use super::message::{Append, Body, Entry, EntryKind, Place};
use super::owed::Owed;
use super::progress::{Progress, Sent};
use super::quorum::{committed, is_majority};
use super::relay;
use super::roles::{Leading, Role, Standing};
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
    pub(super) fed: bool,
}

impl Reply {
    /// The end of that append is equal at both ends, and durable here.
    pub(super) const fn matched(number: u64, place: Place, round: u64) -> Self {
        Self { number, matched: true, place, more: false, waiting: false, round, fed: false }
    }
}

impl Leading {
    /// Leads no longer: nothing is under way, nothing waits to be committed.
    pub(super) fn resign(&mut self, context: &mut Context<'_>) {
        for progress in self.progress.iter_mut() {
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
    pub(super) fn propose(
        &mut self,
        context: &mut Context<'_>,
        data: Bytes,
        weight: u64,
        unhurried: bool,
        number: u64,
    ) {
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
        if unhurried {
            self.may_wait(context);
        }
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
        if entry.kind == EntryKind::Blank {
            // It stands alone, and most groups are given nothing more for long: no room is made for another.
            return self.log.append(Entries::from(alloc::vec![entry]));
        }
        self.log.push(entry);
    }

    /// What the entries weigh that wait to be committed, up to `upto`.
    pub(super) fn burden_upto(&self, upto: LogIndex) -> u64 {
        self.log.range(self.commit.next(), upto).map(burden).sum()
    }

    /// Keeps one progress per other member of the configuration in force.
    pub(super) fn track_members(&mut self, context: &mut Context<'_>) {
        let last = self.log.last().index;
        let Role::Leader(leading) = &mut self.role else { return };
        let configuration = self.log.configuration();
        let (config, flows) = (context.config, &mut *context.flows);
        leading.progress.retain(|progress| {
            let stays = configuration.on(progress.member.node).any(|member| member == progress.member);
            if !stays {
                progress.give_up(flows);
            }
            stays
        });
        for node in configuration.members().map(|member| member.node).filter(|&node| node != context.own) {
            // While a replica id is being replaced, the newer one is the one that is there.
            let member = configuration.on(node).last().expect("just listed");
            let anew = || Progress::new(member, last.before(), config);
            let progress = leading.progress.on_or(anew());
            if progress.member != member {
                progress.give_up(flows);
                *progress = anew();
                context.out.push_back(Output::Match { group: self.id, node, index: LogIndex(0) });
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
        if let Some(progress) = leading.progress.on_mut(node) {
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
        if !matches!(self.role, Role::Leader(_)) {
            self.news = News::None;
            return self.feed_all(context);
        }
        self.begin_round(context);
        let all = core::mem::take(&mut self.news) == News::ForAll;
        for place in 0.. {
            let Role::Leader(leading) = &mut self.role else { return };
            let Some(progress) = leading.progress.at_mut(place) else { return };
            let has_news = core::mem::take(&mut progress.has_news);
            if has_news || all {
                self.send_to(context, place);
            }
        }
    }

    /// Its turn towards that node has come, for the budget of which it waited.
    pub(super) fn take_turn(&mut self, context: &mut Context<'_>, node: NodeId) {
        let Role::Leader(leading) = &mut self.role else { return };
        let Some(place) = leading.progress.position(node) else { return };
        let Some(progress) = leading.progress.at_mut(place) else { return };
        progress.leave_line();
        self.send_to(context, place);
    }

    /// Sends the member at that place one message, if there is news and room.
    fn send_to(&mut self, context: &mut Context<'_>, place: usize) {
        if self.append_to(context, place) {
            self.news_if_lacking(context, place);
        }
    }

    /// The member at that place is to be sent what it lacks, if there can be anything.
    fn news_if_lacking(&mut self, context: &Context<'_>, place: usize) {
        let Role::Leader(leading) = &self.role else { return };
        let Some(progress) = leading.progress.at(place) else { return };
        let owed = self.owed(context.config, context.own, leading, progress);
        let Role::Leader(leading) = &mut self.role else { return };
        let round = leading.rounds.last();
        let Some(progress) = leading.progress.at_mut(place) else { return };
        if !progress.may_lack(owed, round) {
            return progress.end_review();
        }
        progress.has_news = true;
        if self.news == News::None {
            self.news = News::ForSome;
        }
    }

    /// Sends an append to the member at that place if there is news and room. Whether one was sent, so that there may be more.
    fn append_to(&mut self, context: &mut Context<'_>, place: usize) -> bool {
        let Role::Leader(leading) = &self.role else { return false };
        let (round, waits) = (leading.rounds.last(), leading.entering.is_some());
        let Some(progress) = leading.progress.at(place) else { return false };
        let node = progress.member.node;
        if waits && self.waits_for_a_witness(context, node) {
            return false;
        }
        if progress.is_sending_state() {
            return !progress.is_in_line() && self.send_chunk(context, node);
        }
        // R10. A mesh has hundreds of learners for each voter: each hears once of what is committed together, instead of every entry and every
        // commitment by itself, and of what came meanwhile when it has answered.
        let follows = self.follows(progress);
        let Owed { mut last, commit } = self.owed(context.config, context.own, leading, progress);
        let end = self.log.last().index;
        let durably = self.sends_durably(context.config, context.own);
        if context.planted.strikes(Bug::LearnersHearUncommitted, || follows && end > self.commit)
            || context.planted.strikes(Bug::SourceSendsUnsynced, || durably && end > self.log.durable())
        {
            last = end;
        }
        let asked = progress.round < round && !follows;
        let news = progress.next <= last || progress.is_probing() || progress.told() < commit || asked;
        let in_line = progress.is_in_line();
        let room = progress.has_room(context.config) && !(follows && progress.is_awaited());
        if !news || !room || in_line {
            return false;
        }
        let fed = follows && progress.is_fed() && relay::may_relay(self.log.configuration());
        let found = if fed { self.review(context, place) } else { self.found_for(context, place, last) };
        let Some((previous, entries)) = found else { return false };
        let end = entries.last().map_or(previous.index, |entry| entry.index);
        let decided = !follows || entries.is_empty() || end <= self.commit;
        assert!(decided, "R10: {node} only learns, and hears of entry {end} before it is committed");
        self.send_append(context, place, (previous, entries));
        true
    }

    /// What the member at that place lacks of a log that ends at `last`, as far as one message holds it, and the place in front of it. `None` if it
    /// is a state that it lacks, or must be read first, or has to wait.
    fn found_for(
        &mut self,
        context: &mut Context<'_>,
        place: usize,
        last: LogIndex,
    ) -> Option<(Place, Entries)> {
        let base = self.given_behind();
        let Role::Leader(leading) = &mut self.role else { return None };
        let progress = leading.progress.at_mut(place)?;
        let (node, next) = (progress.member.node, progress.next);
        if next <= base {
            if context.planted.strikes(Bug::CutLogNotSent, || last == base) {
                return None;
            }
            sometimes!(LogTooShortForMember);
            progress.snapshot_wanted(context.flows, context.now);
            context.out.push_back(Output::SnapshotWanted { group: self.id, to: node });
            self.wake_for(node);
            return None;
        }
        if next <= last && progress.must_wait(context.flows, self.slot) {
            return None;
        }
        let limits = context.config.message();
        let Some(run) = self.log.stored_run(next) else {
            let previous = self.log.place(next.before()).expect("R2: next lies within the log");
            return Some((previous, self.log.slice(next, last, limits)));
        };
        if progress.is_awaited() && progress.under_way() >= context.shelf.for_one() {
            // What is lost on the way is to be here still when it is sent again.
            return None;
        }
        let found = self.stored_entries(context, run, (next, last), limits);
        sometimes!(StoredSent, found.is_some());
        if found.is_none() {
            self.waits_for_entries(place);
        }
        found
    }

    /// Sends an append to the member at that place.
    fn send_append(
        &mut self,
        context: &mut Context<'_>,
        place: usize,
        (previous, entries): (Place, Entries),
    ) {
        let durably = self.sends_durably(context.config, context.own);
        let Role::Leader(leading) = &mut self.role else { return };
        let Some(progress) = leading.progress.at_mut(place) else { return };
        leading.next_number += 1;
        let begins = leading.begins;
        let (number, round) = (leading.next_number, leading.rounds.last());
        let end = entries.last().map_or(previous.index, |entry| entry.index);
        let commit = self.commit.min(end);
        let ahead = context.planted.strikes(Bug::CommitNotClamped, || self.commit > end);
        let commit = if ahead { self.commit } else { commit };
        let bytes = entries.iter().map(size).sum();
        progress.round = round;
        progress.sent(Sent { number, last: end, commit, bytes }, context.flows, context.now);
        let (to, retry_at) = (progress.member, progress.retry_at());
        // A founder leads before its disk knows of that; it does with the first entry of its term. And a member may hold more than its leader has on disk:
        // when this arrives, what it carries is vouched for (rule C2).
        let begun = self.log.durable() >= end.max(begins) || context.planted.has(Bug::SourceSendsUnsynced);
        let when = if durably && !begun { When::Durable } else { When::Now };
        let durable = self.log.durable();
        let durable = self.log.place(if durably { end.max(durable) } else { durable });
        let durable = durable.unwrap_or(self.log.base());
        let append = Append { previous, commit, durable, entries, number, round, copy: false, cut: false };
        self.answer(context, to, self.term, Body::Append(append), when);
        if let Some(at) = retry_at {
            self.wake_at(at);
        }
    }

    /// What was sent to a member is sent again if it is not answered.
    pub(super) fn wake_for(&mut self, node: NodeId) {
        let Role::Leader(leading) = &self.role else { return };
        if let Some(at) = leading.progress.on(node).and_then(Progress::retry_at) {
            self.wake_at(at);
        }
    }

    /// A member of the control group is not heard. Its disk may have been rolled back to before it knew anybody there, so that it knows
    /// of no pair and says nothing: it is spoken to until it answers. Other groups know their members from the start.
    pub(super) fn look_for(&mut self, context: &mut Context<'_>, node: NodeId) {
        let Role::Leader(leading) = &mut self.role else { return };
        if let Some(progress) = leading.progress.on_mut(node).filter(|_| self.id == GroupId::CONTROL) {
            progress.probe(context.flows);
            self.news_for(node);
        }
    }

    pub(super) fn handle_append_reply(
        &mut self,
        context: &mut Context<'_>,
        from: Member,
        term: Term,
        reply: Reply,
    ) {
        if let Some(relay) = self.relay.as_deref()
            && relay.feeds(from)
        {
            return self.handle_fed_reply(context, from, term, reply);
        }
        let Reply { number, matched, place, more, waiting, round, fed } = reply;
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
        self.hear_whether_fed(context, fed);
        let (now, config, flows) = (context.now, context.config, &mut *context.flows);
        let Role::Leader(leading) = &mut self.role else { return };
        let Some(progress) = leading.progress.on_mut(from.node).filter(|p| {
            let older = context.planted.strikes(Bug::OlderAnswerCounted, || term < self.term);
            p.member == from && (term == self.term || older)
        }) else {
            return;
        };
        progress.says_fed(fed);
        if !matched {
            if progress.refused(number, place.index, self.log.may_agree_upto(place), flows) {
                if self.log.place(place.index) == Some(place) {
                    // Others sent it what this leader does not know to be there, and may have cut off.
                    progress.next = progress.next.max(place.index.next());
                }
                self.remind_if_behind(context, from, place);
            }
            return self.news_for(from.node);
        }
        if place.index > self.log.base().index && !self.log.holds(place) {
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
        assert_eq!(term, self.term, "R32: what was said in another term counts");
        let before = progress.matched;
        let news = progress.matched((number, place.index), config, flows, now);
        if context.planted.strikes(Bug::MatchGoesBack, || place.index < before) {
            progress.matched = place.index;
        }
        assert!(progress.matched >= before, "R33: what {} holds goes back to {}", from.node, place.index);
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
        let Role::Leader(leading) = &self.role else { return };
        if let Some(place) = leading.progress.position(from.node) {
            self.news_if_lacking(context, place);
        }
    }

    /// A member holds more than before: what waited for that goes on.
    fn member_advanced(&mut self, context: &mut Context<'_>, member: Member) {
        let Role::Leader(leading) = &self.role else { return };
        if leading.entering.is_some() {
            self.promote_returned(context, member);
            self.witness(member);
        }
        self.hand_over(context);
    }

    pub(super) fn advance_commit(&mut self, context: &mut Context<'_>) {
        let Role::Leader(leading) = &self.role else { return };
        let (own, durable) = (self.member(context.own), self.log.durable());
        let last = self.log.last().index;
        let reached = |member: Member| {
            if member == own {
                return durable;
            }
            let progress = leading.progress.on(member.node).filter(|progress| progress.member == member);
            progress.map_or(LogIndex(0), |progress| progress.matched)
        };
        let unsynced = context.planted.strikes(Bug::LeaderCountsUnsynced, || durable < last);
        let counted = |member: Member| if unsynced && member == own { last } else { reached(member) };
        let miscounted = self.miscounted(context, &counted);
        let configuration = miscounted.as_ref().unwrap_or_else(|| self.log.configuration());
        let index = committed(configuration, counted, context.planted);
        let own_term = || self.log.term(index) == Some(self.term);
        if index > self.commit && (own_term() || context.planted.has(Bug::OldTermCommit)) {
            let held = |member| reached(member) >= index;
            assert!(is_majority(self.log.configuration(), held), "R32: too few hold what a leader commits");
            // Mostly all that waits is decided together.
            let burden = if index == last { leading.uncommitted } else { self.burden_upto(index) };
            let sizes = || self.log.range(self.commit.next(), index).map(size).sum();
            let other = context.planted.strikes(Bug::OtherMeasureReleased, || burden != sizes());
            let burden = if other { sizes() } else { burden };
            if let Role::Leader(leading) = &mut self.role {
                leading.decided(context.flows, burden);
            }
            self.commit_upto(context, index);
            self.note_past(context);
            self.configuration_committed(context);
            self.news_for_all();
            self.promote_all_returned(context);
        }
    }

    pub(super) fn commit_upto(&mut self, context: &mut Context<'_>, index: LogIndex) {
        if index > self.commit || context.planted.strikes(Bug::CommitGoesBack, || index < self.commit) {
            self.commit = index;
            self.outlives_delusion();
            self.let_go_of_outdated_state(context);
            if self.relay.is_some() {
                self.news_for_all();
            }
        }
        self.apply(context);
    }

    pub(super) fn leader_deadline(&mut self, context: &mut Context<'_>) {
        let Role::Leader(leading) = &mut self.role else { return };
        if leading.quorum_lost.is_some_and(|at| at.instant() <= context.now) {
            sometimes!(LeaderGaveUp);
            return self.follow(context, None);
        }
        self.end_transfer(context);
        self.end_waiting(context);
        let Role::Leader(leading) = &mut self.role else { return };
        let (now, config) = (context.now, context.config);
        let mut silent = alloc::vec::Vec::new();
        for progress in leading.progress.iter_mut() {
            let unanswered = progress.retry_at().is_some_and(|at| at <= now);
            if unanswered {
                progress.retry(config, context.flows, now);
            }
            if progress.review_comes(now) || unanswered {
                silent.push(progress.member.node);
            }
        }
        for node in silent {
            self.news_for(node);
        }
        self.introduce_unwitnessed(context);
    }
}
