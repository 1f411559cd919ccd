//! Linearizable reads without an entry: ReadIndex (thesis 6.4).
//!
//! A leader that is asked begins a round: it notes its commit index, and sends its members a number that no other round has. Who answers an append
//! that bears this number, or a later one, took it for its leader after the round began. When a majority has, nobody else had decided anything by
//! then, so whoever has applied up to the noted index reads what is true. Reads that come while messages are being put together share a round.
//!
//! Whoever does not lead asks its leader for the index. A question or an answer may be lost: then nothing comes of it, and the owner asks again.
//!
//! Invariant **R14**: a read is answered with an index at which an entry of the leader's own term was committed, and which a quorum confirmed
//! in a round that began after the read was asked for.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use super::context::Context;
use super::group::Group;
use super::message::Body;
use super::quorum::carried;
use super::roles::{Role, Standing};
use super::{Output, RefusedReason};
use crate::configuration::Member;
use crate::id::{LogIndex, NodeId};
use crate::planted::Bug;
use crate::sometimes;
use crate::sorted_map::SortedMap;
use crate::when::When;

/// Who reads.
#[derive(Clone, Copy, Debug)]
enum Reader {
    /// The owner here, under its number.
    Owner(u64),
    /// Another replica, under its number.
    Member(Member, u64),
}

/// A round that is not confirmed.
#[derive(Clone, Debug)]
struct Round {
    number: u64,
    /// What was committed when it began.
    index: LogIndex,
    readers: Vec<Reader>,
}

/// What a leader knows of reads.
#[derive(Clone, Debug, Default)]
pub(super) struct Rounds {
    /// The last one that began; every append bears it.
    last: u64,
    /// Those that are not over, since one was asked for in this term.
    waiting: Option<Box<Waiting>>,
}

/// Rounds that are not over.
#[derive(Clone, Debug, Default)]
struct Waiting {
    /// Who waits for the next.
    next: Vec<Reader>,
    /// Those under way, the oldest first.
    asked: VecDeque<Round>,
    /// The last round that each member answered.
    confirmed: SortedMap<NodeId, u64>,
}

impl Rounds {
    pub(super) const fn last(&self) -> u64 {
        self.last
    }

    fn count(&self) -> usize {
        let count = |waiting: &Waiting| {
            waiting.next.len() + waiting.asked.iter().map(|round| round.readers.len()).sum::<usize>()
        };
        self.waiting.as_deref().map_or(0, count)
    }

    fn waiting(&mut self) -> &mut Waiting {
        self.waiting.get_or_insert_default()
    }

    fn into_readers(self) -> impl Iterator<Item = Reader> {
        let Waiting { next, asked, .. } = self.waiting.map_or_else(Waiting::default, |waiting| *waiting);
        asked.into_iter().flat_map(|round| round.readers).chain(next)
    }
}

/// Reads of the owner that wait here.
#[derive(Clone, Debug, Default)]
pub(super) struct Reads {
    /// For the leader's word, by the number under which it was asked.
    asked: BTreeMap<u64, u64>,
    number: u64,
    /// For entries to be applied up to there.
    confirmed: Vec<(LogIndex, u64)>,
}

impl Group {
    /// The owner wants to read.
    pub(super) fn read(&mut self, context: &mut Context<'_>, number: u64) {
        let (most, followed) = (context.config.reads, self.followed());
        let reads = self.reads.get_or_insert_default();
        let here = reads.asked.len() + reads.confirmed.len();
        let leader = match (&self.standing, &mut self.role) {
            (Standing::Stopped { .. }, _) => {
                return self.refuse_read(context, number, RefusedReason::Stopped);
            }
            (_, Role::Leader(leading)) if leading.rounds.count() + here < most => {
                leading.rounds.waiting().next.push(Reader::Owner(number));
                return self.news_for_all();
            }
            (_, Role::Leader(_)) => return self.refuse_read(context, number, RefusedReason::Full),
            _ => match followed {
                Some(leader) if here < most || !reads.asked.is_empty() => leader,
                Some(_) => return self.refuse_read(context, number, RefusedReason::Full),
                None => {
                    let reason = RefusedReason::NotLeader { leader: None };
                    return self.refuse_read(context, number, reason);
                }
            },
        };
        // Of what was lost nobody hears again: the oldest question gives way.
        let given_up = if here < most { None } else { reads.asked.pop_first() };
        reads.number += 1;
        reads.asked.insert(reads.number, number);
        let number = reads.number;
        if let Some((_, oldest)) = given_up {
            self.refuse_read(context, oldest, RefusedReason::Full);
        }
        let body = Body::Read { number: self.number_of_read(context, number) };
        self.send(context, leader, self.term, body, When::Now);
    }

    /// The number under which a read is asked for: no other life of this replica asks under it, whose answers may still be under way.
    fn number_of_read(&self, context: &Context<'_>, number: u64) -> u64 {
        let alike = context.planted.strikes(Bug::ReadsAlikeInEachLife, || self.life > 0);
        number.wrapping_add(if alike { 0 } else { self.life })
    }

    fn refuse_read(&self, context: &mut Context<'_>, number: u64, reason: RefusedReason) {
        context.out.push_back(Output::Refused { group: self.id, context: number, reason });
    }

    /// Another replica wants to read, and takes this one for its leader. If it is not, the answer it waits for comes when it hears who is.
    pub(super) fn handle_read(&mut self, context: &Context<'_>, from: Member, number: u64) {
        let takes_part = self.log.configuration().on(from.node).any(|member| member == from);
        let most = context.config.reads;
        if let Role::Leader(leading) = &mut self.role
            && takes_part
            && leading.rounds.count() < most
        {
            sometimes!(ReadAskedByMember);
            leading.rounds.waiting().next.push(Reader::Member(from, number));
            self.news_for_all();
        }
    }

    /// The leader confirmed a read.
    pub(super) fn handle_read_reply(&mut self, context: &mut Context<'_>, number: u64, index: LogIndex) {
        let first = self.number_of_read(context, 0);
        let Some(reads) = &mut self.reads else { return };
        if let Some(number) = reads.asked.remove(&number.wrapping_sub(first)) {
            reads.confirmed.push((index, number));
            self.serve_reads(context);
        }
    }

    /// Begins a round for those who wait for one, if this leader has decided something in its term: before that it may not know all that is
    /// committed.
    pub(super) fn begin_round(&mut self, context: &mut Context<'_>) {
        let Role::Leader(leading) = &mut self.role else { return };
        let early = context.planted.strikes(Bug::ReadBeforeOwnTerm, || self.commit < leading.begins);
        let asked = leading.rounds.waiting.as_ref().is_some_and(|waiting| !waiting.next.is_empty());
        if !asked || (self.commit < leading.begins && !early) {
            return;
        }
        let rounds = &mut leading.rounds;
        if !(context.planted.strikes(Bug::ReadRoundReused, || rounds.last > 0)) {
            rounds.last += 1;
        }
        let (number, waiting) = (rounds.last, rounds.waiting());
        let readers = core::mem::take(&mut waiting.next);
        let before = waiting.asked.back().map_or(0, |round| round.number);
        assert!(number > before, "R14: two rounds have number {before}");
        waiting.asked.push_back(Round { number, index: self.commit, readers });
        self.news_for_all();
        self.confirm_rounds(context);
    }

    /// A member answered an append of a round.
    pub(super) fn round_answered(&mut self, context: &mut Context<'_>, from: Member, round: u64) {
        if round == 0 {
            return;
        }
        let Role::Leader(leading) = &mut self.role else { return };
        // What it names must have begun: nobody confirms rounds to come.
        let round = round.min(leading.rounds.last);
        if round == 0 {
            return;
        }
        let confirmed = leading.rounds.waiting().confirmed.get_or_insert_with(from.node, || 0);
        if round > *confirmed {
            *confirmed = round;
            self.confirm_rounds(context);
        }
    }

    fn confirm_rounds(&mut self, context: &mut Context<'_>) {
        let own = context.own;
        loop {
            let configuration = self.log.configuration();
            let Role::Leader(leading) = &self.role else { return };
            let Some(rounds) = leading.rounds.waiting.as_deref() else { return };
            let Some(round) = rounds.asked.front() else { return };
            let answered =
                |node: NodeId| rounds.confirmed.get(&node).is_some_and(|&last| last >= round.number);
            let heard = |member: Member| member.node == own || answered(member.node);
            if !carried(configuration, heard, context.planted) && !context.planted.has(Bug::LeaderReadsAlone)
            {
                return;
            }
            let Role::Leader(leading) = &mut self.role else { return };
            let Some(Round { index, readers, .. }) = leading.rounds.waiting().asked.pop_front() else {
                return;
            };
            sometimes!(ReadsShareARound, readers.len() > 1);
            for reader in readers {
                match reader {
                    Reader::Owner(number) => {
                        self.reads.get_or_insert_default().confirmed.push((index, number));
                    }
                    Reader::Member(member, number) => {
                        let body = Body::ReadReply { number, index };
                        self.answer(context, member, self.term, body, When::Now);
                    }
                }
            }
            self.serve_reads(context);
        }
    }

    /// Answers the reads that waited for what is applied by now.
    #[inline]
    pub(super) fn serve_reads(&mut self, context: &mut Context<'_>) {
        if self.reads.is_some() {
            self.serve_waiting_reads(context);
        }
    }

    fn serve_waiting_reads(&mut self, context: &mut Context<'_>) {
        let (id, applied) = (self.id, self.applied);
        let Some(reads) = &mut self.reads else { return };
        reads.confirmed.retain(|&(index, number)| {
            if index <= applied {
                context.out.push_back(Output::ReadReady { group: id, context: number, index });
            }
            index > applied
        });
        if reads.asked.is_empty() && reads.confirmed.is_empty() && reads.number == 0 {
            self.reads = None;
        }
    }

    /// The leader is another, or none: what was asked of the one before is not answered any more.
    pub(super) fn give_up_reads(&mut self, context: &mut Context<'_>) {
        let leader = self.leader(context.own);
        let Some(reads) = &mut self.reads else { return };
        for (_, number) in core::mem::take(&mut reads.asked) {
            self.refuse_read(context, number, RefusedReason::NotLeader { leader });
        }
    }

    /// Panics unless every round that is under way can be answered with what it noted.
    pub(super) fn check_rounds(&self) {
        let Role::Leader(leading) = &self.role else { return };
        let Some(rounds) = leading.rounds.waiting.as_deref() else { return };
        let began = leading.rounds.last;
        for round in &rounds.asked {
            assert!(
                round.index >= leading.begins,
                "R14: a round at {} knows of no entry of its term",
                round.index
            );
            assert!(round.index <= self.commit, "R14: a round at {} and commit {}", round.index, self.commit);
        }
        assert!(rounds.asked.iter().is_sorted_by_key(|round| round.number), "R14: rounds out of order");
        let last = rounds.asked.back().map_or(0, |round| round.number);
        assert!(last <= began, "R14: round {last} under way, and only {began} began");
        let answered = rounds.confirmed.values().copied().max().unwrap_or(0);
        assert!(answered <= began, "R14: round {answered} is answered, and only {began} began");
    }

    /// This replica leads no longer: nobody confirms what its owner wanted to read. Members ask whoever leads next.
    pub(super) fn end_rounds(&self, context: &mut Context<'_>, rounds: Rounds) {
        for reader in rounds.into_readers() {
            if let Reader::Owner(number) = reader {
                self.refuse_read(context, number, RefusedReason::NotLeader { leader: None });
            }
        }
    }
}
