//! Disks that were rolled back (rules C1 to C5).
//!
//! Peers keep, per replica id, the highest term it spoke in, and what it vouched for in that term: its vote and the last place it held. Terms
//! are persisted before they are spoken in, so a disk whose term is above the mark's is younger than the mark and lacks nothing of it; a disk
//! whose term is below it is older; with equal terms, vote and place decide.
//!
//! A replica that restarts asks its peers for their marks before it does anything that counts. If it finds itself amnesic it either copies the
//! log back (a voter without which nothing can be decided, see `copy`) or takes a fresh replica id and waits until the group has admitted it.

use alloc::boxed::Box;
use alloc::string::String;

use super::Output;
use super::context::Context;
use super::entries::Entries;
use super::group::Group;
use super::message::{Append, Body, Mark, Place};
use super::quorum::carried;
use super::remembered::Remembered;
use super::roles::{Role, Standing, Stopped};
use crate::configuration::Member;
use crate::id::{LogIndex, NodeId, ReplicaId, Term};
use crate::planted::{Bug, Planted};
use crate::rare;
use crate::sometimes;
use crate::when::When;

/// Replica ids that are remembered after they were given up.
const FORMER_MAX: usize = 16;
/// Questions that wait twice as long as the one before, if no limit is reached earlier.
const ASKED_DOUBLED: u8 = 32;
/// How often all voters are asked before it is no use to ask on.
const ASKED_ALL: u8 = 4;

impl Group {
    /// `member` vouched, in `term`, for a vote or a place. Kept in memory now, on disk with the next write (rule C2).
    pub(super) fn vouched(
        &mut self,
        context: &Context<'_>,
        member: Member,
        term: Term,
        last: Place,
        vote: Option<Member>,
    ) {
        if let Some(remembered) = self.marks.get_mut(&member.node)
            && let Some(further) = remembered.takes((member.replica, term), last, vote.is_some())
        {
            self.unwritten_marks |= further;
            return;
        }
        let known = self.marks.get(&member.node).is_some_and(|known| known.replica() == member.replica);
        let takes_part = || self.log.configuration().on(member.node).any(|m| m == member);
        if member.node == context.own || !(known || takes_part()) {
            return;
        }
        let (this, node) = (self.member(context.own), member.node);
        let nothing = || Remembered::new(this, node, Mark::default(), false);
        let remembered = self.marks.get_or_insert_with(node, nothing);
        let before = remembered.mark(this, node);
        let mut mark = before;
        if mark.replica != member.replica || term > mark.term {
            mark = Mark { replica: member.replica, term, vote: None, last: Place::default() };
        }
        if term == mark.term {
            mark.vote = mark.vote.or(vote);
            if last.index > mark.last.index {
                mark.last = last;
            }
        }
        if mark != before {
            *remembered = Remembered::new(this, node, mark, true);
            self.unwritten_marks = true;
        }
    }

    /// After a restart: what must be asked before this replica counts again.
    pub(super) fn verify(&mut self, context: &mut Context<'_>) {
        self.life = context.rng.u64().max(1);
        if let Standing::Renamed(old) = &self.standing {
            self.rename_anew(context, **old);
        }
        if self.standing != Standing::Sound {
            self.be_patient(context);
            return self.ask_again(context);
        }
        let alone = self.is_only_voter(context.own);
        let configuration = self.log.configuration();
        let nobody_to_ask = configuration.is_empty() || (alone && configuration.learners.is_empty());
        if nobody_to_ask || context.planted.strikes(Bug::OnlyVoterAsksNobody, || alone) {
            return self.arm_election(context);
        }
        self.standing = Standing::Verifying(Box::default());
        if alone {
            self.be_patient(context);
        }
        self.ask_again(context);
        self.tell_role(context);
    }

    /// This node was a member before it was taken in anew, and forgot everything of it. The one that knows what it vouched for then may be cut off from a majority that
    /// knows of nothing: so all who vote have to say that they know of nothing, before it counts under an id that it may have borne (rule C5).
    pub(super) fn ask_all_voters(&mut self) {
        let nothing = self.log.last().index == LogIndex(0);
        if let Standing::Verifying(verifying) = &mut self.standing
            && nothing
        {
            verifying.by_all = true;
        }
    }

    /// Somebody leads without it, and somebody who votes does not answer, though asked again and again: it is admitted under a fresh replica id instead.
    pub(super) fn led_while_asking_all(&mut self, context: &mut Context<'_>) -> bool {
        let over = matches!(&self.standing, Standing::Verifying(verifying) if verifying.by_all)
            && self.asked >= ASKED_ALL;
        if over {
            rare!(NotAnsweredByAll);
            self.take_fresh_id(context);
            let what = "not everybody says whether it vouched for anything before it was taken in anew: it waits to be admitted under a fresh replica id";
            self.wait_amnesic(context, String::from(what));
        }
        over
    }

    /// Asks (again) for whatever this replica waits for.
    pub(super) fn ask_again(&mut self, context: &mut Context<'_>) {
        self.ask_at = None;
        match self.standing.clone() {
            Standing::Sound | Standing::Stopped { .. } => return,
            Standing::Verifying(verifying) => {
                let silent = |node: &NodeId| !verifying.answered.contains(node);
                for node in self.others(context.own).into_iter().filter(silent) {
                    self.ask(context, node);
                }
            }
            Standing::Copying(_) => self.ask_for_copies(context),
            Standing::Renamed { .. } => {
                for node in self.others(context.own) {
                    self.say_renamed(context, node);
                }
            }
        }
        let wait = context.config.retry_min.times(1 << self.asked).at_most(context.config.retry_max);
        let at = context.now + wait;
        self.ask_at = Some(at.into());
        self.wake_at(at);
        self.asked = (self.asked + 1).min(ASKED_DOUBLED);
    }

    /// Somebody who may not have heard the question is there (again).
    pub(super) fn ask_anew(&mut self, context: &mut Context<'_>) {
        self.asked = 0;
        self.ask_again(context);
    }

    /// What another member remembers of this replica: more than its disk holds, if that was rolled back.
    pub(super) fn handle_mark(&mut self, context: &mut Context<'_>, from: NodeId, mark: Option<Mark>) {
        if let Some(mark) = mark
            && mark.replica == self.replica
            && matches!(self.standing, Standing::Sound | Standing::Verifying { .. })
            && self.forgot(context.planted, &mark)
        {
            self.become_amnesic(context, from, mark);
        }
    }

    /// Asks a member what this replica vouched for in its former lives.
    fn ask(&self, context: &mut Context<'_>, node: NodeId) {
        let mark = self.mark(context.own, node);
        let alone = self.is_only_voter(context.own);
        let recall = Body::Recall { mark, question: true, start: self.life, alone, needed: false };
        self.send(context, node, self.term, recall, When::Durable);
    }

    /// Another member started anew, and asks what it once vouched for.
    pub(super) fn handle_question(
        &mut self,
        context: &mut Context<'_>,
        asker: NodeId,
        start: u64,
        alone: bool,
    ) {
        self.hears_question(context, asker);
        if alone || self.fenced.as_ref().is_some_and(|fenced| fenced.0 == asker) {
            self.fenced = Some(Box::new((asker, start)));
        }
        let known = self.mark(context.own, asker);
        let mark = known.filter(|_| !context.planted.has(Bug::MarksNotTold));
        let answer = Body::Recall { mark, question: false, start, alone: false, needed: false };
        self.send(context, asker, self.term, answer, When::Now);
    }

    /// Only the answer to this very life tells all that the former ones vouched for.
    pub(super) fn handle_answer(&mut self, context: &mut Context<'_>, from: NodeId, life: u64, start: u64) {
        if start != self.life {
            if start > 0 && self.standing == Standing::Sound {
                // It was asked by a former life last, and may not hear this one.
                rare!(TakenForAFormerLife);
                self.ask(context, from);
            }
            return;
        }
        let alone = self.log.configuration().voters.iter().all(|voter| voter.node == from);
        if let Standing::Verifying(verifying) = &mut self.standing {
            if alone {
                self.fenced = Some(Box::new((from, life)));
            }
            verifying.answered.insert(from);
            self.maybe_verified(context);
        }
    }

    /// What an only voter led in its former lives may be more than its disk holds by now, and decided. Were it to come in behind the answer to
    /// its present life, it would contradict what the voter decides next, and nobody would have told it. No term tells the two
    /// apart: a disk that was taken back may forget terms of which nobody else ever heard.
    pub(super) fn is_of_a_former_life(&self, context: &mut Context<'_>, from: NodeId, life: u64) -> bool {
        let fenced = self.fenced.as_deref().filter(|&&(node, heard)| node == from && heard != life);
        let Some(&(_, heard)) = fenced else { return false };
        if context.planted.has(Bug::FormerLifeNotFenced) {
            return false;
        }
        rare!(FormerLifeShutOut);
        // Were it the other way round, a question of a former life came late: the present one asks again.
        let answer = Body::Recall { mark: None, question: false, start: heard, alone: false, needed: false };
        self.send(context, from, self.term, answer, When::Now);
        true
    }

    pub(super) fn maybe_verified(&mut self, context: &mut Context<'_>) {
        let Standing::Verifying(verifying) = &self.standing else { return };
        let answered = &verifying.answered;
        let (own, configuration) = (context.own, self.log.configuration());
        let heard = |member: Member| member.node == own || answered.contains(&member.node);
        let enough = if self.is_only_voter(own) {
            // One of them may know of a place that the others never heard of.
            self.others(own).iter().all(|node| answered.contains(node))
        } else if verifying.by_all {
            configuration.voters.iter().chain(&configuration.outgoing).copied().all(heard)
        } else {
            carried(configuration, heard, context.planted)
        };
        if enough {
            sometimes!(RestartVerified);
            self.verified(context);
        }
    }

    pub(super) fn verified(&mut self, context: &mut Context<'_>) {
        self.standing = Standing::Sound;
        (self.ask_at, self.patience) = (None, None);
        self.arm_election(context);
        self.tell_role(context);
    }

    /// Whether this disk holds less than what it once vouched for.
    fn forgot(&self, planted: Planted, mark: &Mark) -> bool {
        let led = self.led().is_some_and(|led| led.lacked(mark));
        if led && !planted.has(Bug::LedFromLessBelieved) {
            rare!(LedFromLess);
            return true;
        }
        if self.term != mark.term {
            return self.term < mark.term;
        }
        let place = mark.last;
        let lost = self.log.last().index < place.index
            || (place.index > self.log.base().index && !self.log.holds(place));
        let vote_lost = mark.vote.is_some() && self.vote() != mark.vote;
        lost || vote_lost
    }

    /// Whether a member knows this node under a replica id that this disk has never borne: it was rolled back to before it took that id.
    /// Of a disk that holds nothing yet anybody may say so: it knows no member, and waits for whoever tells it of the group.
    pub(super) fn is_superseded_by(&self, from: NodeId, replica: ReplicaId) -> bool {
        matches!(self.standing, Standing::Sound | Standing::Verifying { .. })
            && self.never_bore(from, replica)
    }

    fn never_bore(&self, from: NodeId, replica: ReplicaId) -> bool {
        replica != self.replica
            && !self.past().former.contains(&replica)
            && self.past().fresh != Some(replica)
            && (self.log.configuration().is_empty() || self.log.configuration().on(from).next().is_some())
    }

    /// What the message says of the later replica, or the least that can be said of it.
    pub(super) fn mark_of_later(&self, body: &Body, later: ReplicaId) -> Mark {
        match body {
            Body::Recall { mark: Some(mark), .. } if mark.replica == later => *mark,
            _ => Mark { replica: later, term: self.term, vote: None, last: Place::default() },
        }
    }

    /// Gives up the present replica id for another.
    pub(super) fn rename(&mut self, own: NodeId, replica: ReplicaId) {
        self.remember_former(self.replica);
        let before = self.member(own);
        self.marks.values_mut().for_each(|remembered| remembered.forgets_its_name(before));
        self.replica = replica;
        (self.past_mut().led, self.past_mut().set_back) = (None, Term(0));
        self.listed = false;
    }

    fn remember_former(&mut self, replica: ReplicaId) {
        let former = &mut self.past_mut().former;
        if former.len() == FORMER_MAX {
            former.remove(0);
        }
        former.push(replica);
    }

    pub(super) fn become_amnesic(&mut self, context: &mut Context<'_>, from: NodeId, mark: Mark) {
        sometimes!(AmnesiaProven);
        if context.planted.has(Bug::AmnesicVotes) {
            let what = String::from("it was told that its disk was rolled back");
            context.out.push_back(Output::Amnesia { group: self.id, node: context.own, what });
            if let Standing::Verifying(verifying) = &mut self.standing {
                verifying.answered.insert(from);
                self.maybe_verified(context);
            }
            return;
        }
        let last = self.log.last();
        let found = alloc::format!(
            "it vouched for entry {} of term {} in term {}, and its disk ends at {} in term {}",
            mark.last.index,
            mark.last.term,
            mark.term,
            last.index,
            self.term
        );
        let needed = self.is_needed(context);
        if mark.replica != self.replica {
            sometimes!(RolledBackBehindItsId);
            // The id under which the others know this node now.
            self.rename(context.own, mark.replica);
        }
        let remedy = if needed {
            sometimes!(CopyBegun);
            self.standing = Standing::copying(mark);
            self.be_patient(context);
            "it copies the log back"
        } else {
            sometimes!(FreshIdTaken);
            self.take_fresh_id(context);
            "it waits to be admitted under a fresh replica id"
        };
        self.wait_amnesic(context, alloc::format!("{found}: {remedy}"));
    }

    /// Goes on under a fresh replica id, once the group has admitted that.
    pub(super) fn take_fresh_id(&mut self, context: &mut Context<'_>) {
        self.standing = Standing::Renamed(Box::new(self.replica));
        self.rename(context.own, ReplicaId(context.rng.u128()));
        self.set_vote(None);
        self.patience = None;
    }

    /// A start with a fresh id that nobody may have admitted yet, or that was admitted, and spoken under, before the disk was taken back to this
    /// moment. It vouched for nothing that it could be asked about: so it takes another one, whatever became of this one (rule C2).
    fn rename_anew(&mut self, context: &mut Context<'_>, old: ReplicaId) {
        if context.planted.has(Bug::RenamedIdKept) {
            return;
        }
        rare!(FreshIdTakenAnew);
        self.rename(context.own, ReplicaId(context.rng.u128()));
        self.standing = Standing::Renamed(Box::new(old));
        self.persist_state();
    }

    /// Does nothing that counts, and asks for what it needs.
    pub(super) fn wait_amnesic(&mut self, context: &mut Context<'_>, what: String) {
        self.set_role(context, Role::Follower { led: false });
        self.let_go_of_state(context);
        self.copying_to = None;
        self.election = None;
        self.persist_state();
        context.out.push_back(Output::Amnesia { group: self.id, node: context.own, what });
        self.ask_anew(context);
        self.tell_role(context);
    }

    /// A leader speaks to a replica that takes itself for the only voter: whether that proves that the group has had more voters since. Where
    /// it is decided that one votes, nobody else can lead in a later term. Others may have been about to vote, and lead for a moment, though nothing
    /// is decided without this replica; so the leader must have committed what is not committed here.
    ///
    /// Then others hold what was committed, and this replica comes back as a rolled-back voter does (rule C5). It must not go on beside them:
    /// each would end the other's terms for ever.
    ///
    /// Who copies its log back is shown less by that: it may have helped to commit it, in a life that it forgot, and be needed still. The leader's log
    /// tells, see [`Self::leader_holds_more`].
    pub(super) fn finds_others(
        &mut self,
        context: &mut Context<'_>,
        leader: NodeId,
        term: Term,
        (previous, entries): (Place, &Entries),
        commit: LogIndex,
    ) -> bool {
        let copying = matches!(self.standing, Standing::Copying(_));
        let in_doubt = copying || self.decided_alone(context, term);
        if !in_doubt || context.planted.has(Bug::AmnesicVotes) {
            return false;
        }
        let further = commit > self.commit;
        let presumed = || context.planted.strikes(Bug::CommitProvesOthers, || true);
        let proven = (further && (!copying || presumed()))
            || self.parts_upto(commit.min(self.commit), previous, entries);
        if proven {
            self.yield_to(context, leader);
        } else if further {
            self.leader_holds_more(context, leader);
        }
        proven
    }

    /// Others decide without this replica: it waits to be admitted again. What it holds beyond what they decided is its own delusion.
    pub(super) fn yield_to(&mut self, context: &mut Context<'_>, leader: NodeId) {
        sometimes!(OthersFound);
        self.past_mut().deluded_upto = self.log.last().index;
        self.take_fresh_id(context);
        let what = alloc::format!(
            "{leader} leads, so it is not the only voter any more: it waits to be admitted under a fresh replica id"
        );
        self.wait_amnesic(context, what);
    }

    /// More came to be committed: once that reaches as far as its delusion may have, nothing of that is left here.
    pub(super) fn outlives_delusion(&mut self) {
        let upto = self.past().deluded_upto;
        if upto > LogIndex(0) && self.commit >= upto {
            rare!(DelusionOver);
            self.past_mut().deluded_upto = LogIndex(0);
            self.persist_state();
        }
    }

    /// Whether it was decided, in an earlier term than this one, that this replica alone votes: as far as its disk knows.
    fn decided_alone(&self, context: &Context<'_>, term: Term) -> bool {
        let decided = self.log.configured_at();
        let since = self.log.term(decided).unwrap_or(self.log.base().term);
        self.standing == Standing::Sound
            && self.is_only_voter(context.own)
            && decided <= self.commit
            && term > since
    }

    /// Whether an append names something, up to there, that stands otherwise here.
    fn parts_upto(&self, index: LogIndex, previous: Place, entries: &Entries) -> bool {
        let behind = entries.iter().scan(previous, |place, entry| {
            *place = place.then(entry);
            Some(*place)
        });
        let mut named = core::iter::once(previous).chain(behind).take_while(|place| place.index <= index);
        named.any(|place| self.log.agrees(place).is_err())
    }

    /// A leader for which this replica did not vote, though it takes itself for the only voter, speaks against what is committed here, and shows
    /// nothing yet that it has committed itself. One of the two has forgotten something. If it is this one, the others can decide without it,
    /// and will: the leader is asked to begin where both must agree, so that the next append says how far that is, and is left to lead
    /// for an election's time.
    pub(super) fn hears_leader_out(
        &mut self,
        context: &mut Context<'_>,
        from: Member,
        term: Term,
        append: &Append,
    ) -> bool {
        let beside = term == self.term && matches!(self.role, Role::Leader(_));
        let helped = term == self.term && self.vote() == Some(from);
        if term < self.term
            || beside
            || helped
            || context.planted.has(Bug::AmnesicVotes)
            || !self.decided_alone(context, term)
            || !self.parts_upto(self.commit, append.previous, &append.entries)
        {
            return false;
        }
        rare!(LeaderHeardOut);
        let waits = self.election.is_some();
        self.enter_term(context, term, None);
        if !waits {
            self.hear_out(context);
        }
        self.vouched(context, from, term, append.durable, None);
        if self.log.agrees(append.previous).is_err() {
            let place = self.log.place_upto(self.log.configured_at());
            self.refuse(context, from, append.number, place);
        }
        // Else it begins where both agree. It repeats that until it is answered, with what it has committed meanwhile.
        true
    }

    /// A leader whose member ends below what it vouched for reminds it.
    pub(super) fn remind_if_behind(&mut self, context: &mut Context<'_>, member: Member, end: Place) {
        let mark = self.mark(context.own, member.node).filter(|mark| mark.replica == member.replica);
        if let Some(mark) = mark.filter(|mark| end.index < mark.last.index) {
            sometimes!(MemberReminded);
            let recall =
                Body::Recall { mark: Some(mark), question: false, start: 0, alone: false, needed: false };
            self.send(context, member.node, self.term, recall, When::Now);
        }
    }

    pub(super) fn say_renamed(&mut self, context: &mut Context<'_>, to: NodeId) {
        if let Standing::Renamed(old) = &self.standing {
            self.send(context, to, self.term, Body::Renamed { old: **old }, When::Durable);
        }
    }

    /// A member speaks to a replica id that was borne in a life which this disk forgot twice: the group knows that one, and not the one
    /// that was given up now.
    pub(super) fn recollect(&mut self, from: NodeId, addressee: Option<ReplicaId>) {
        // Who waits in a group that it did not found knows none of those who came before it.
        let empty = self.log.last().index == LogIndex(0);
        let other = |replica: ReplicaId| replica != self.replica && !self.past().former.contains(&replica);
        let unknown = |&replica: &ReplicaId| self.never_bore(from, replica) || empty && other(replica);
        let Some(later) = addressee.filter(unknown) else { return };
        if matches!(self.standing, Standing::Renamed { .. }) {
            self.remember_former(later);
            rare!(ForgotTwice);
            self.standing = Standing::Renamed(Box::new(later));
            self.persist_state();
        }
    }

    /// Something was said to a replica id that this disk bore once. Whoever said it has not heard of the fresh one, or lost the entry that
    /// admitted it: a leader may fall before that is committed.
    pub(super) fn correct(&self, context: &mut Context<'_>, to: NodeId, addressee: Option<ReplicaId>) {
        let stopped = matches!(self.standing, Standing::Stopped { .. });
        if let Some(old) = addressee.filter(|replica| !stopped && self.past().former.contains(replica)) {
            sometimes!(FormerIdAddressed);
            self.send(context, to, self.term, Body::Renamed { old }, When::Durable);
        }
    }

    /// A leader speaks to the fresh replica id: a configuration entry has admitted it (rule C5).
    pub(super) fn admitted(&mut self, context: &mut Context<'_>) {
        sometimes!(AdmittedUnderFreshId, matches!(self.standing, Standing::Renamed { .. }));
        if matches!(self.standing, Standing::Renamed { .. }) {
            self.standing = Standing::Sound;
            self.ask_at = None;
            self.persist_state();
            self.tell_role(context);
        }
    }

    /// Goes no further, says why, and tells the others (rule C2).
    pub(super) fn stop(&mut self, context: &mut Context<'_>, reason: String) {
        for node in self.others(context.own) {
            self.send(context, node, self.term, Body::Stop { reason: reason.clone() }, When::Now);
        }
        self.halt(context, reason, false);
    }

    /// A leader holds something else at a place that is committed here. If that was committed while this replica alone took itself for the
    /// group, the others are right, and go on without it.
    pub(super) fn contradicted(&mut self, context: &mut Context<'_>, at: LogIndex, reason: String) {
        if at <= self.past().deluded_upto {
            return self.halt(context, alloc::format!("{reason}, by a disk that was rolled back"), true);
        }
        self.stop(context, reason);
    }

    pub(super) fn hear_stop(&mut self, context: &mut Context<'_>, from: NodeId, reason: &str) {
        let member = self.log.configuration().on(from).any(|_| true);
        if member && !matches!(self.standing, Standing::Stopped { .. }) {
            sometimes!(StopHeard);
            // Told from one to the next, the reason stays as long as it is.
            let heard = reason.starts_with("member ");
            let reason =
                if heard { reason.into() } else { alloc::format!("member {from} stopped it: {reason}") };
            self.halt(context, reason, false);
        }
    }

    pub(super) fn halt(&mut self, context: &mut Context<'_>, reason: String, alone: bool) {
        sometimes!(GroupStopped, !alone);
        rare!(StoppedAlone, alone);
        self.standing = Standing::Stopped(Box::new(Stopped { reason: reason.clone(), alone }));
        self.set_role(context, Role::Follower { led: false });
        self.let_go_of_state(context);
        self.copying_to = None;
        self.election = None;
        (self.ask_at, self.patience) = (None, None);
        self.persist_state();
        context.out.push_back(Output::Stopped { group: self.id, reason });
        self.tell_role(context);
    }
}
