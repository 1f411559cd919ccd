//! Replication: appends in windows, their replies, and commitment.

use bytes::Bytes;

use super::group::{Context, Group, Role, Standing};
use super::log::Mismatch;
use super::message::{Append, Body, Entry, EntryKind, Place};
use super::progress::Progress;
use super::quorum::committed;
use super::{Output, RefusedReason};
use crate::configuration::Member;
use crate::id::{GroupId, LogIndex, NodeId, Term};
use crate::planted::Bug;
use crate::rare;
use crate::sometimes;
use crate::when::When;

/// What came of an append; see [`Body::AppendReply`].
pub(super) struct Reply {
    pub(super) number: u64,
    pub(super) matched: bool,
    pub(super) place: Place,
    pub(super) more: bool,
    pub(super) waiting: bool,
}

impl Group {
    pub(super) fn propose(&mut self, context: &mut Context<'_>, data: Bytes, weight: u64, number: u64) {
        let refusal = match (&self.standing, &self.role) {
            (Standing::Stopped { .. }, _) => Some(RefusedReason::Stopped),
            (_, Role::Leader(_)) => {
                let uncommitted = self.log.last().index.0 - self.commit.0;
                (uncommitted >= context.config.uncommitted_entries).then_some(RefusedReason::Full)
            }
            _ => Some(RefusedReason::NotLeader { leader: self.leader(context.own) }),
        };
        if let Some(reason) = refusal {
            rare!(ProposalRefused);
            return context.out.push_back(Output::Refused { group: self.id, context: number, reason });
        }
        let index = self.append_own(context, EntryKind::Command, data, weight);
        let term = self.term;
        context.out.push_back(Output::Proposed { group: self.id, context: number, index, term });
        self.replicate(context);
    }

    /// Appends an entry of the own term.
    pub(super) fn append_own(
        &mut self,
        context: &mut Context<'_>,
        kind: EntryKind,
        data: Bytes,
        weight: u64,
    ) -> LogIndex {
        let index = self.log.last().index.next();
        let entry = Entry { index, term: self.term, kind, data, weight };
        self.log.push(entry.clone());
        self.persist_entries(context, alloc::vec![entry]);
        if kind == EntryKind::Configuration {
            self.tell_configuration(context);
        }
        index
    }

    /// Keeps one progress per other member of the configuration in force.
    pub(super) fn track_members(&mut self, context: &mut Context<'_>) {
        let last = self.log.last().index;
        let Role::Leader(leading) = &mut self.role else { return };
        let configuration = self.log.configuration();
        let config = context.config;
        leading
            .progress
            .retain(|&node, progress| configuration.on(node).any(|member| member == progress.member));
        for node in configuration.members().map(|member| member.node).filter(|&node| node != context.own) {
            // While a replica id is being replaced, the newer one is the one that is there.
            let member = configuration.on(node).last().expect("just listed");
            let progress =
                leading.progress.entry(node).or_insert_with(|| Progress::new(member, last.before(), config));
            if progress.member != member {
                *progress = Progress::new(member, last.before(), config);
            }
            if context.planted.strikes(Bug::MatchAssumed, || progress.matched < last.before()) {
                progress.matched = last.before();
            }
        }
    }

    /// Sends to every member what it lacks and has room for.
    pub(super) fn replicate(&mut self, context: &mut Context<'_>) {
        let Role::Leader(leading) = &self.role else { return };
        let nodes: alloc::vec::Vec<NodeId> = leading.progress.keys().copied().collect();
        for node in nodes {
            self.replicate_to(context, node);
        }
    }

    pub(super) fn replicate_to(&mut self, context: &mut Context<'_>, node: NodeId) {
        if self.waits_for_a_witness(context, node) {
            return;
        }
        loop {
            let last = self.log.last().index;
            let Role::Leader(leading) = &mut self.role else { return };
            let Some(progress) = leading.progress.get_mut(&node) else { return };
            // R10. A mesh has hundreds of learners for each voter: each hears once of what is committed together, instead of every entry and every
            // commitment by itself, and of what came meanwhile when it has answered.
            let follows = self.id == GroupId::CONTROL && !self.log.configuration().votes(progress.member);
            let early =
                context.planted.strikes(Bug::LearnersHearUncommitted, || follows && last > self.commit);
            let last = if follows && !early { last.min(self.commit) } else { last };
            let news = progress.next <= last || progress.is_probing() || progress.told() < self.commit;
            let room = progress.has_room(context.config) && !(follows && progress.is_awaited());
            if !news || !room {
                return;
            }
            if progress.next <= self.log.base().index {
                sometimes!(LogTooShortForMember);
                progress.snapshot_wanted(context.now);
                return context.out.push_back(Output::SnapshotWanted { group: self.id, to: node });
            }
            leading.next_number += 1;
            let number = leading.next_number;
            let previous = self.log.place(progress.next.before()).expect("R2: next lies within the log");
            let config = context.config;
            let entries = self.log.slice(progress.next, last, config.message_entries, config.message_bytes);
            let end = entries.last().map_or(previous.index, |entry| entry.index);
            let decided = !follows || entries.is_empty() || end <= self.commit;
            assert!(decided, "R10: {node} only learns, and hears of entry {end} before it is committed");
            let commit = self.commit.min(end);
            let ahead = context.planted.strikes(Bug::CommitNotClamped, || self.commit > end);
            let commit = if ahead { self.commit } else { commit };
            progress.sent(number, end, commit, context.now);
            // Rule A3 and thesis 10.2.1: only a source must not send what it has not on disk; its records are held by their owner,
            // but its descriptors travel here. So when this arrives, what it carries is on disk, and vouched for (rule C2).
            let alone = self.is_only_voter(context.own);
            let hasty =
                context.planted.strikes(Bug::SourceSendsUnsynced, || alone && end > self.log.durable());
            let when = if alone && !hasty { When::Durable } else { When::Now };
            let sent = if alone { end.max(self.log.durable()) } else { self.log.durable() };
            let durable = self.log.place(sent).unwrap_or(self.log.base());
            let append = Append { previous, commit, durable, entries, number, copy: false, cut: false };
            self.send(context, node, self.term, Body::Append(append), when);
        }
    }

    /// A member of the control group is not heard. Its disk may have been rolled back to before it knew anybody there, so that it knows
    /// of no pair and says nothing: it is spoken to until it answers. Other groups know their members from the start.
    pub(super) fn look_for(&mut self, context: &mut Context<'_>, node: NodeId) {
        let Role::Leader(leading) = &mut self.role else { return };
        if let Some(progress) = leading.progress.get_mut(&node).filter(|_| self.id == GroupId::CONTROL) {
            progress.probe();
            self.replicate_to(context, node);
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
        let shown = (append.previous, &append.entries[..]);
        if self.finds_others(context, from.node, term, shown, append.commit)
            || self.hears_leader_out(context, from, term, &append)
            || !self.accepts_leader(context, from, term)
        {
            return;
        }
        self.vouched(context, from, term, append.durable, None);
        self.last_append = Some((from, append.number));
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
            Standing::Verifying { .. } | Standing::Copying { .. } | Standing::Stopped { .. } => {
                if !self.may_vote(context) {
                    return false;
                }
            }
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
        self.led_by = Some((term, from));
        self.enter_term(context, term, Some(from.node));
        true
    }

    fn take_entries(&mut self, context: &mut Context<'_>, from: Member, append: Append) {
        let Append { previous, commit, entries, number, cut, .. } = append;
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
        let (covered, new) = match self.log.compare(previous, entries) {
            Ok(compared) => compared,
            Err(mismatch) => return self.disagree(context, from, number, previous.index, mismatch),
        };
        if context.planted.strikes(Bug::CutsBehindEqual, || {
            new.is_empty() && (self.commit..self.log.last().index).contains(&covered)
        }) {
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
        let when = if context.planted.has(Bug::AcknowledgedUnsynced) { When::Now } else { When::Durable };
        let reply = Body::AppendReply { number, matched: true, place, more: false, waiting: cut };
        self.answer(context, from, self.term, reply, when);
    }

    /// Puts new entries where they belong, after cutting off what stands there. `false` if that would cut what is committed, or
    /// changes another configuration.
    pub(super) fn replace_suffix(&mut self, context: &mut Context<'_>, new: alloc::vec::Vec<Entry>) -> bool {
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
        for entry in &new {
            self.log.push(entry.clone());
        }
        self.persist_entries(context, new);
        self.tell_configuration(context);
        true
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
        let reply = Body::AppendReply { number, matched: false, place, more: false, waiting: false };
        self.answer(context, to, self.term, reply, When::Durable);
    }

    pub(super) fn handle_append_reply(
        &mut self,
        context: &mut Context<'_>,
        from: Member,
        term: Term,
        reply: Reply,
    ) {
        let Reply { number, matched, place, more, waiting } = reply;
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
        let (now, config, end) = (context.now, context.config, self.log.may_agree_upto(place));
        let equal = place.index <= self.log.base().index || self.log.place(place.index) == Some(place);
        let Role::Leader(leading) = &mut self.role else { return };
        let Some(progress) =
            leading.progress.get_mut(&from.node).filter(|p| p.member == from && term == self.term)
        else {
            return;
        };
        if matched && !equal {
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
        if matched {
            let news = progress.matched(number, place.index, config, now);
            if more {
                progress.resume(number);
            } else if waiting {
                progress.pause(number, now);
            }
            if news {
                context.out.push_back(Output::Match { group: self.id, node: from.node, index: place.index });
                self.advance_commit(context);
                self.promote_returned(context, from);
                self.witness(context, from);
            }
        } else if progress.refused(number, place.index, end) {
            self.remind_if_behind(context, from, place);
        }
        self.replicate_to(context, from.node);
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
        let configuration = self.log.configuration();
        let index = if context.planted.strikes(Bug::LearnersCounted, || !configuration.learners.is_empty()) {
            let mut counted = configuration.clone();
            counted.voters.append(&mut counted.learners);
            committed(&counted, reached, context.planted)
        } else {
            committed(configuration, reached, context.planted)
        };
        let own_term = self.log.term(index) == Some(self.term);
        if index > self.commit && (own_term || context.planted.has(Bug::OldTermCommit)) {
            self.commit_upto(context, index);
            self.configuration_committed(context);
            self.replicate(context);
        }
    }

    pub(super) fn commit_upto(&mut self, context: &mut Context<'_>, index: LogIndex) {
        if index > self.commit {
            self.commit = index;
        }
        self.apply(context);
    }

    /// Bytes or room came: the leader may send on behind what this log holds (rule B2).
    pub(super) fn ask_for_more(&mut self, context: &mut Context<'_>) {
        self.ask_for_rest_of_copies(context);
        if let (Standing::Sound, Role::Follower { leader: Some(leader) }, Some((from, number))) =
            (&self.standing, &self.role, self.last_append)
            && *leader == from.node
        {
            let place = self.log.place(self.commit.max(self.log.base().index)).unwrap_or(self.log.base());
            let reply = Body::AppendReply { number, matched: true, place, more: true, waiting: false };
            self.answer(context, from, self.term, reply, When::Durable);
        }
    }

    pub(super) fn leader_deadline(&mut self, context: &mut Context<'_>) {
        let Role::Leader(leading) = &mut self.role else { return };
        if leading.quorum_lost.is_some_and(|at| at <= context.now) {
            sometimes!(LeaderGaveUp);
            return self.follow(context, None);
        }
        let (now, config) = (context.now, context.config);
        let mut silent = alloc::vec::Vec::new();
        for (&node, progress) in &mut leading.progress {
            if progress.retry_at().is_some_and(|at| at <= now) {
                progress.retry(config);
                silent.push(node);
            }
        }
        for node in silent {
            self.replicate_to(context, node);
        }
        self.introduce_unwitnessed(context);
    }
}
