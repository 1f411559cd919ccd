//! A log that is copied back (rule C3).
//!
//! Where one half of the configuration consists of a single voter, nothing was ever decided without it, and nothing can be while it is away: if
//! its disk was rolled back, there is nobody to admit it again. So it takes back what the others hold, and goes on above every term heard.
//! Each of them may hold what the others lack, for it decided alone; so it hears them all and keeps the log that goes furthest.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;

use super::context::Context;
use super::delta::Delta;
use super::entries::Entries;
use super::group::Group;
use super::log::Mismatch;
use super::message::{Append, Body, Mark, Place};
use super::roles::{Role, Standing};
use super::{Entry, wire};
use crate::configuration::Member;
use crate::id::{GroupId, LogIndex, NodeId, ReplicaId, Term};
use crate::planted::Bug;
use crate::rare;
use crate::sometimes;
use crate::when::When;

/// A member's question for the log behind a place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question {
    pub(super) asker: Member,
    life: u64,
    last: Place,
}

/// What a replica knows of its copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Copying {
    /// What the log must reach at least.
    pub(super) mark: Mark,
    /// From whom it has all they hold.
    done: BTreeSet<NodeId>,
    /// From the others it waits for what follows this place.
    next: BTreeMap<NodeId, LogIndex>,
    /// Whose last answer was cut, because bytes of its entries are not here yet.
    cut: BTreeSet<NodeId>,
    /// Who asked something meanwhile, and so is not silent.
    spoke: BTreeSet<NodeId>,
    /// Who said that its log goes on behind what came from it.
    behind: BTreeSet<NodeId>,
    /// Who led meanwhile, and had committed more than was here.
    leaders: BTreeSet<NodeId>,
}

impl Standing {
    /// It begins to copy its log back; nobody was asked yet.
    pub(super) fn copying(mark: Mark) -> Self {
        Self::Copying(Box::new(Copying {
            mark,
            done: BTreeSet::new(),
            next: BTreeMap::new(),
            cut: BTreeSet::new(),
            spoke: BTreeSet::new(),
            behind: BTreeSet::new(),
            leaders: BTreeSet::new(),
        }))
    }
}

impl Group {
    /// Whether the others may be unable to decide anything without this replica: by the configuration of what is committed here, or by one that was
    /// appended since. That a later one would free them is of no use before it is decided, which may take this replica; and they may not even
    /// hold it.
    pub(super) fn is_needed(&self, context: &Context<'_>) -> bool {
        self.needs(context, self.member(context.own))
    }

    fn needs(&self, context: &Context<'_>, this: Member) -> bool {
        let needed = self.log.configuration().needs(this);
        let may_be =
            || self.log.configurations_since(self.commit).any(|configuration| configuration.needs(this));
        needed || (!context.planted.strikes(Bug::AppendedFreesOthers, may_be) && may_be())
    }

    /// Somebody gave up an id without which nothing can be decided: it forgot that it came to be the only voter, and waits to be admitted by itself. Only in a
    /// group that is changed by its owner the voters become fewer and never more, so that whoever lags tells nothing else (C3).
    pub(super) fn recalls_needed(&self, context: &mut Context<'_>, old: Member) -> bool {
        let needed = self.id != GroupId::CONTROL && self.needs(context, old);
        if !needed || context.planted.strikes(Bug::NeededIdGivenUp, || true) {
            return false;
        }
        let known = self.mark(context.own, old.node).filter(|mark| mark.replica == old.replica);
        let least = Mark { replica: old.replica, term: self.term, vote: None, last: Place::default() };
        let (mark, question, start, alone) = (Some(known.unwrap_or(least)), false, 0, false);
        let recall = Body::Recall { mark, question, start, alone, needed };
        self.send(context, old.node, self.term, recall, When::Now);
        true
    }

    /// The id that was given up is needed: it was not spoken under another since, for nobody could admit that.
    pub(super) fn take_up_old_id(&mut self, context: &mut Context<'_>, from: NodeId, mark: Mark) {
        if !matches!(&self.standing, Standing::Renamed(old) if **old == mark.replica) {
            return;
        }
        rare!(NeededAfterAll);
        self.rename(context.own, mark.replica);
        self.past_mut().former.retain(|former| *former != mark.replica);
        self.standing = Standing::copying(mark);
        let what =
            alloc::format!("by the log of {from} nothing is decided without it: it copies the log back");
        self.wait_amnesic(context, what);
    }

    /// What it knows of its copy, if it makes one.
    fn copying(&self) -> Option<&Copying> {
        if let Standing::Copying(copying) = &self.standing { Some(copying) } else { None }
    }

    fn copying_mut(&mut self) -> Option<&mut Copying> {
        if let Standing::Copying(copying) = &mut self.standing { Some(copying) } else { None }
    }

    /// A mesh must not stand still because one other member is away: in the control group the word of all is waited for, and not for ever.
    pub(super) fn be_patient(&mut self, context: &Context<'_>) {
        let waits = matches!(self.standing, Standing::Verifying { .. } | Standing::Copying(_));
        if waits && self.id == GroupId::CONTROL && self.patience.is_none() {
            let until = context.now + context.config.alone_patience;
            self.patience = Some(until.into());
            self.wake_at(until);
        }
    }

    /// Somebody answers. The others may be about to say something, too, or this one more: it is the silent ones for whom patience ends.
    pub(super) fn be_patient_anew(&mut self, context: &Context<'_>) {
        self.patience = None;
        self.be_patient(context);
    }

    /// A member that starts anew asks: it may give a copy as soon as it is verified. It is waited for, once, though it was silent until now.
    pub(super) fn hears_question(&mut self, context: &mut Context<'_>, asker: NodeId) {
        if self.copies_from(asker)
            && let Some(copying) = self.copying_mut()
            && copying.spoke.insert(asker)
        {
            sometimes!(CopyAskedOfStarting);
            self.be_patient_anew(context);
            self.ask_for_copy(context, asker);
        }
    }

    /// A leader has committed more than is here. Either others decide by now without this replica, or it helped to commit that in a life that it
    /// forgot, and nothing more is decided before it is back. The leader's log tells the two apart, for it names who decides: it is asked for
    /// it, whether or not it was known to be a member, and waited for without limit. To go on without it would fork in the first case.
    pub(super) fn leader_holds_more(&mut self, context: &mut Context<'_>, leader: NodeId) {
        if self.is_known_out(leader) {
            return;
        }
        let Some(copying) = self.copying_mut() else { return };
        copying.leaders.insert(leader);
        copying.done.remove(&leader);
        if copying.behind.insert(leader) {
            rare!(LeaderAskedForItsLog);
            self.be_patient_anew(context);
            self.ask_for_copy(context, leader);
        }
    }

    /// Who has not answered by now is waited for no longer.
    pub(super) fn patience_over(&mut self, context: &mut Context<'_>) {
        sometimes!(PatienceOver, matches!(self.standing, Standing::Verifying { .. }));
        match self.standing {
            Standing::Verifying { .. } if self.is_only_voter(context.own) => self.verified(context),
            Standing::Copying(_) => self.consider_copied(context),
            _ => {}
        }
    }

    /// Asks all from whom not everything came yet. Not while a state comes in: whoever is asked sends the beginning of its own again.
    pub(super) fn ask_for_copies(&mut self, context: &mut Context<'_>) {
        if self.takes_in_a_state() {
            return;
        }
        let behind = self.copying().map(|copying| copying.behind.clone()).unwrap_or_default();
        let nodes: BTreeSet<NodeId> = self.others(context.own).into_iter().chain(behind).collect();
        for node in nodes {
            if self.copies_from(node) {
                self.ask_for_copy(context, node);
            }
        }
    }

    /// Bytes or room came: what was cut off an answer may pass now, and is asked for at once (rule B2).
    pub(super) fn ask_for_rest_of_copies(&mut self, context: &mut Context<'_>) {
        let Some(copying) = self.copying_mut() else { return };
        if context.planted.strikes(Bug::RestOfCopyNotAsked, || !copying.cut.is_empty()) {
            return;
        }
        for node in core::mem::take(&mut copying.cut) {
            sometimes!(RestOfCopyAskedFor);
            self.ask_for_copy(context, node);
        }
    }

    /// Asks a member for what follows what came from it, and at first for what follows the commit index: what lies behind that may
    /// differ from what it holds.
    fn ask_for_copy(&mut self, context: &mut Context<'_>, node: NodeId) {
        let committed = self.commit.min(self.log.durable());
        let Standing::Copying(copying) = &mut self.standing else { return };
        copying.cut.remove(&node);
        let upto = *copying.next.entry(node).or_insert(committed);
        let last = self.log.place_upto(upto);
        copying.next.insert(node, last.index);
        self.send(context, node, self.term, Body::Copy { last }, When::Durable);
    }

    /// Whether an answer is the one that is waited for. Were each of several answers to one question followed by another question, they would
    /// soon be thousands: a question is asked again when it is not answered in time, and its answer may come in pieces.
    fn awaits(&self, from: NodeId, append: &Append) -> bool {
        let Some(copying) = self.copying() else { return false };
        let ends_before = append.entries.is_empty() && append.durable == append.previous;
        let at = append.previous.index;
        self.copies_from(from)
            && copying.next.get(&from).is_some_and(|&next| at == next || (ends_before && at < next))
    }

    fn goes_on_from(&mut self, from: NodeId, upto: LogIndex) {
        if let Some(copying) = self.copying_mut() {
            copying.next.insert(from, upto);
        }
    }

    /// Whether a copy from that node is of use.
    pub(super) fn copies_from(&self, from: NodeId) -> bool {
        !self.is_known_out(from) && self.copying().is_some_and(|copying| !copying.done.contains(&from))
    }

    /// A member asks for its log back. It may be known here under another replica id than it bears, and need not be the only voter any more:
    /// what follows from this log is for the asker to see.
    pub(super) fn handle_copy(&mut self, context: &mut Context<'_>, asker: Member, life: u64, last: Place) {
        let configuration = self.log.configuration();
        let known = configuration.is_empty() || configuration.on(asker.node).next().is_some();
        sometimes!(CopyAsked, known);
        // Who came to the group and waits to be admitted holds nothing, and says so: whoever would admit it may have to hear that first.
        let empty = matches!(self.standing, Standing::Renamed(_)) && self.log.last().index == LogIndex(0);
        if !known || self.standing != Standing::Sound && !empty {
            return;
        }
        // What the asker sent in its former lives and is still under way must not come in behind the copy.
        self.fenced = Some(Box::new((asker.node, life)));
        let durable = self.log.durable_place();
        let from = last.index.min(durable.index);
        let (base, mut behind) = (self.log.base().index, self.given_behind());
        if context.planted.strikes(Bug::CopyNamesWhatIsGone, || base <= from && from < behind) {
            behind = base;
        }
        if from < behind {
            return self.give_state(context, asker, life, last.index);
        }
        self.copying_to = None;
        // Where the two logs part at a place the asker has committed, it will see that and stop.
        let limits = context.config.message();
        let found = match self.log.stored_run(from.next()) {
            None => Some((self.log.place_upto(from), self.log.slice(from.next(), durable.index, limits))),
            Some(run) => self.stored_entries(context, run, (from.next(), durable.index), limits),
        };
        let Some((previous, entries)) = found else {
            // It is answered when they were read.
            return context.shelf.ask(self.generation, Question { asker, life, last });
        };
        let end = entries.last().map_or(previous.index, |entry| entry.index);
        let commit = self.commit.min(end);
        let append =
            Append { previous, commit, durable, entries, number: 0, round: 0, copy: true, cut: false };
        self.answer(context, asker, self.term, Body::Append(append), When::Durable);
    }

    /// Answers those who asked for what had to be read.
    pub(super) fn give_copies_again(&mut self, context: &mut Context<'_>) {
        for Question { asker, life, last } in context.shelf.take_questions(self.generation) {
            sometimes!(StoredCopied);
            self.handle_copy(context, asker, life, last);
        }
    }

    pub(super) fn handle_copied(
        &mut self,
        context: &mut Context<'_>,
        from: NodeId,
        term: Term,
        append: Append,
    ) {
        if !self.awaits(from, &append) {
            return;
        }
        self.be_patient_anew(context);
        if term > self.term {
            self.term = term;
            self.set_vote(None);
            self.persist_state();
        }
        let Append { previous, commit, entries, durable, cut, .. } = append;
        // The end of an older log. What its own member does not call committed says nothing against what others have committed.
        let older = durable.rank() <= self.log.last().rank();
        let agrees = self.log.agrees(previous);
        let lags = agrees == Err(Mismatch::Differs) && older && commit < previous.index;
        let lags = lags && !context.planted.has(Bug::OlderTailStopsCopy);
        if agrees.is_err() && previous.index > self.commit {
            rare!(CopyGaveWay);
            // What it goes on from gave way to another member's later entries. It is asked again, from what is committed.
            return self.goes_on_from(from, self.commit);
        }
        if agrees.is_err() && !lags {
            let what = alloc::format!("its log and {from}'s part at {} or before", previous.index);
            return self.copy_contradicted(context, from, what);
        }
        let entries = if lags { Entries::new() } else { entries };
        let Ok((covered, new)) = self.log.compare(previous, &entries) else {
            let what = alloc::format!("its log and {from}'s part behind {}", previous.index);
            return self.copy_contradicted(context, from, what);
        };
        let planted = context.planted;
        let uncommitted = |first: &Entry| commit < first.index && !planted.has(Bug::OlderTailStopsCopy);
        let says_nothing = |first: &Entry| first.index > self.commit || uncommitted(first);
        let outdated = lags || (older && new.first().is_some_and(says_nothing));
        rare!(CopyOutdated, outdated);
        if !outdated {
            if !new.is_empty() && !self.replace_suffix(context, new) {
                return;
            }
            self.commit_upto(context, commit.min(covered));
            self.goes_on_from(from, covered);
            if covered < durable.index {
                if let Some(copying) = self.copying_mut() {
                    copying.behind.insert(from);
                    if cut {
                        copying.cut.insert(from);
                        return;
                    }
                }
                return self.ask_for_copy(context, from);
            }
        }
        // It may lag: what stands here beyond its log stays. What was lost beyond all logs is gone, for nobody else ever had it.
        if let Some(copying) = self.copying_mut() {
            copying.behind.remove(&from);
            copying.done.insert(from);
        }
        self.consider_copied(context);
    }

    /// What is committed here stands otherwise in a member's log. If that one leads, and has committed more, this replica decided alone what the
    /// others never heard of.
    pub(super) fn copy_contradicted(&mut self, context: &mut Context<'_>, from: NodeId, reason: String) {
        if self.copying().is_some_and(|copying| copying.leaders.contains(&from)) {
            rare!(CopyContradictedByALeader);
            return self.yield_to(context, from);
        }
        self.stop(context, reason);
    }

    /// A member's state was taken, or more than it is committed here: what follows is asked for.
    pub(super) fn copied_state(&mut self, context: &mut Context<'_>, from: NodeId, upto: LogIndex) {
        self.goes_on_from(from, upto);
        self.ask_for_copy(context, from);
    }

    /// Whether enough others were heard to go on. Those who may have decided something together with this replica must be among them; of those
    /// whom it told only, the control group does without whoever stays silent; but not without one that said that it holds more.
    pub(super) fn consider_copied(&mut self, context: &mut Context<'_>) {
        let Some(Copying { mark, done, behind, leaders, .. }) = self.copying() else { return };
        let (mark, configuration) = (*mark, self.log.configuration());
        let heard = |member: &&Member| done.contains(&member.node);
        let decided = |half: &[Member]| {
            half.iter().all(|member| member.node == context.own)
                || 2 * half.iter().filter(heard).count() > half.len()
        };
        let all = self.others(context.own).iter().all(|node| done.contains(node));
        let waited = self.id == GroupId::CONTROL && self.patience.is_none() && !done.is_empty();
        let waited = waited && decided(&configuration.voters) && decided(&configuration.outgoing);
        let known =
            behind.iter().all(|&node| self.is_known_out(node)) || context.planted.has(Bug::RestOfCopyGivenUp);
        // By the log of one who leads others decide: none of these has to be waited for.
        let led = !leaders.is_disjoint(done) && !self.is_needed(context);
        if led || (known && (all || waited)) {
            self.copied(context, mark);
        }
    }

    /// Everything the others hold is here again: go on, above every term heard, under a fresh replica id.
    fn copied(&mut self, context: &mut Context<'_>, mark: Mark) {
        let known = self.log.configuration().on(context.own).last().map(|member| member.replica);
        if let Some(known) = known.filter(|&known| known != self.replica) {
            rare!(CopiedUnderOlderName);
            // Somebody whose log ended earlier called it by an older name.
            self.rename(context.own, known);
        }
        self.let_go_of_state(context);
        if !self.is_needed(context) {
            rare!(OthersVoteByNow);
            self.take_fresh_id(context);
            let what = String::from("others vote by now: it waits to be admitted under a fresh replica id");
            return self.wait_amnesic(context, what);
        }
        // Only now: a leader that is to admit it must not hear of a term in which nobody stands.
        self.term = self.term.max(mark.term).max(self.log.last().term).next();
        self.set_vote(None);
        sometimes!(CopyDone);
        self.past_mut().fresh = Some(ReplicaId(context.rng.u128()));
        self.standing = Standing::Sound;
        self.persist_state();
        self.verified(context);
    }

    /// Others go on without it by now, for what it copied did not show yet that they could: so it need not keep the id that it is amnesic under until it leads,
    /// and gives it up as any voter does (R38).
    pub(super) fn give_up_kept_id(&mut self, context: &mut Context<'_>) -> bool {
        let owes = self.past.as_ref().is_some_and(|past| past.fresh.is_some());
        let over = owes
            && self.standing == Standing::Sound
            && !matches!(self.role, Role::Leader(_))
            && !self.is_needed(context);
        if !over || context.planted.strikes(Bug::KeptIdLeads, || true) {
            return false;
        }
        rare!(OthersVoteSince);
        self.past_mut().fresh = None;
        self.take_fresh_id(context);
        let what =
            String::from("it is not needed any more: it waits to be admitted under a fresh replica id");
        self.wait_amnesic(context, what);
        true
    }

    /// The first entry of the new term names the fresh replica id wherever the old one stood.
    pub(super) fn under_fresh_id(&mut self, context: &Context<'_>) -> Option<bytes::Bytes> {
        let old = self.member(context.own);
        let fresh = self.past.as_mut().and_then(|past| past.fresh.take())?;
        assert!(
            self.is_needed(context),
            "R38: a replica begins to lead under an id that it is amnesic under"
        );
        self.rename(context.own, fresh);
        let new = self.member(context.own);
        let before = self.log.configuration();
        let mut configuration = before.clone();
        for half in [&mut configuration.voters, &mut configuration.outgoing] {
            for member in half.iter_mut().filter(|member| **member == old) {
                *member = new;
            }
            half.sort_unstable();
        }
        Some(wire::encode_delta(&Delta::between(before, &configuration)))
    }
}
