//! Elections: pre-vote (thesis 9.6), votes, check-quorum.
//!
//! An election deadline is armed while nobody is known to lead, and stays armed until a leader of the current term is heard (rule E3).

use alloc::boxed::Box;
use alloc::collections::BTreeSet;

use super::Written;
use super::context::Context;
use super::group::Group;
use super::message::{Body, EntryKind, Place};
use super::quorum::{carried, is_majority};
use super::roles::{Granted, Leading, Role, Standing, Unfit};
use crate::configuration::Member;
use crate::id::{NodeId, Term};
use crate::planted::Bug;
use crate::rare;
use crate::sometimes;
use crate::time::{At, Instant, Span};
use crate::when::When;

/// Elections that wait twice as long as the one before.
const ATTEMPTS_DOUBLED: u8 = 4;

impl Group {
    pub(super) fn may_vote(&self, context: &Context<'_>) -> bool {
        // Who votes was made a voter when its log was known to hold the configuration that took it in. One that knows of none has lost that with
        // its disk, and what it voted before, and knows nobody whom it could ask; whoever leads will tell it.
        let knows_the_group = !self.log.configuration().is_empty();
        (self.standing == Standing::Sound && knows_the_group)
            || (context.planted.has(Bug::AmnesicVotes) && !matches!(self.standing, Standing::Stopped { .. }))
    }

    pub(super) fn arm_election(&mut self, context: &mut Context<'_>) {
        if self.standing != Standing::Sound || !self.is_electable(context) {
            self.election = None;
        } else if self.election.is_none() {
            let alone = self.is_only_voter(context.own);
            let wait = if alone { Span::ZERO } else { self.election_wait(context) };
            self.hold_election_at(context.now + wait);
        }
    }

    /// Whether it follows nobody, or somebody who may not lead any more.
    pub(super) fn doubts_its_leader(&self) -> bool {
        matches!(self.role, Role::Follower { led } if !led || self.in_doubt)
    }

    fn hold_election_at(&mut self, at: Instant) {
        self.election = Some(at.into());
        self.wake_at(at);
    }

    fn election_wait(&self, context: &mut Context<'_>) -> Span {
        let (min, max) = (context.config.election_min.0, context.config.election_max.0);
        // Where votes come too late again and again, the round trip is longer than was thought.
        Span(context.rng.between(min, max)).times(1 << self.attempts.min(ATTEMPTS_DOUBLED))
    }

    /// Somebody seems not to lead any more: its node is suspect, restarted, or says so itself.
    pub(super) fn leader_in_doubt(&mut self, context: &mut Context<'_>, node: NodeId) {
        if self.followed() == Some(node) {
            self.in_doubt = true;
            self.compared_leader = None;
            sometimes!(LeaderDoubted);
            self.arm_election(context);
        }
    }

    pub(super) fn election_due(&mut self, context: &mut Context<'_>) {
        if !self.may_stand(context) || self.give_up_kept_id(context) {
            return;
        }
        sometimes!(OnlyVoterElectedItself, self.is_only_voter(context.own));
        if self.is_only_voter(context.own) {
            return self.campaign(context);
        }
        self.compared_leader = None;
        self.attempts = self.attempts.saturating_add(1);
        sometimes!(ElectionHeldAgain, self.attempts > 1);
        sometimes!(ElectionTimedOut);
        let granted = Granted { by: BTreeSet::from([self.member(context.own)]) };
        self.set_role(context, Role::PreCandidate { granted: Box::new(granted) });
        self.ask_for_votes(context, true, self.term.next());
        if !context.planted.has(Bug::ElectionNotRearmed) {
            self.arm_election(context);
        }
        self.tell_role(context);
    }

    /// Whether it may ask for votes.
    pub(super) fn may_stand(&self, context: &Context<'_>) -> bool {
        self.standing == Standing::Sound
            && self.is_electable(context)
            && !matches!(self.role, Role::Leader(_))
    }

    /// Whether it can be elected: a voter, or one that a change takes out which is not known to be committed. Such a leader may hold that
    /// change alone: whoever votes by it would need its vote, and could not get it (thesis 4.2.2). It asks the voters of the change.
    fn is_electable(&self, context: &Context<'_>) -> bool {
        let at = self.log.configured_at();
        let member = self.member(context.own);
        let taken_out = || {
            at > self.commit
                && at > self.log.base().index
                && self.log.configuration_at(at.before()).votes(member)
        };
        let votes = self.is_voter(context.own)
            || (taken_out()
                && !context.planted.strikes(Bug::TakenOutNeverStands, || self.leader(context.own).is_none()));
        votes && self.fence.is_none() && !self.gives_way(context.own)
    }

    /// Whether it leaves it to others to lead (R34).
    pub(super) fn gives_way(&self, own: NodeId) -> bool {
        self.unfit != Unfit::No && !self.is_only_voter(own)
    }

    /// Its owner is of no use any more. Whoever has no part in a group leads nothing in it; where nobody else votes, it goes on keeping the log.
    pub(super) fn resign(&mut self, context: &mut Context<'_>, unfit: Unfit) {
        self.unfit = self.unfit.max(unfit);
        let follows = matches!(self.role, Role::Follower { led: true });
        if self.gives_way(context.own) && !matches!(self.standing, Standing::Stopped { .. }) && !follows {
            rare!(LeaderResigned, matches!(self.role, Role::Leader(_)));
            self.follow(context, None);
        }
        self.election = self.election.filter(|_| !self.gives_way(context.own));
    }

    pub(super) fn campaign(&mut self, context: &mut Context<'_>) {
        self.term = self.term.next();
        self.set_vote(Some(self.member(context.own)));
        self.set_role(context, Role::Candidate { granted: Box::default() });
        if context.planted.has(Bug::OwnVoteNotWritten) {
            let vote = self.vote();
            self.set_vote(None);
            self.write_state(context);
            self.set_vote(vote);
        } else {
            self.persist_state();
        }
        context.notify(self, Written::Vote(self.term));
        self.ask_for_votes(context, false, self.term);
        self.election = None;
        if !self.is_only_voter(context.own) {
            self.arm_election(context);
        }
        self.tell_role(context);
        if context.planted.has(Bug::OwnVoteBeforeDurable) {
            self.own_vote_durable(context, self.term);
        }
    }

    fn ask_for_votes(&mut self, context: &mut Context<'_>, pre: bool, term: Term) {
        let last = self.log.last();
        let when =
            if pre || context.planted.has(Bug::OwnVoteBeforeDurable) { When::Now } else { When::Durable };
        let configuration = self.log.configuration().clone();
        let voters: BTreeSet<NodeId> =
            configuration.voters.iter().chain(&configuration.outgoing).map(|member| member.node).collect();
        let own = context.own;
        for node in voters.into_iter().filter(|&node| node != own) {
            self.send(context, node, term, Body::Vote { pre, last }, when);
        }
    }

    pub(super) fn own_vote_durable(&mut self, context: &mut Context<'_>, term: Term) {
        let own = self.member(context.own);
        if term == self.term
            && self.vote() == Some(own)
            && let Role::Candidate { granted } = &mut self.role
        {
            granted.by.insert(own);
            self.count_votes(context);
        }
    }

    pub(super) fn handle_vote(
        &mut self,
        context: &mut Context<'_>,
        from: Member,
        term: Term,
        pre: bool,
        last: Place,
    ) {
        if !pre {
            // It spoke in that term, and voted for itself (rule C2).
            self.vouched(context, from, term, Place::default(), Some(from));
        }
        if !self.may_vote(context) {
            sometimes!(ForgetfulAskedForVote);
            return;
        }
        let end = self.log.last();
        let up_to_date = last.rank() >= end.rank();
        let up_to_date = up_to_date
            || context.planted.has(Bug::VoteForOlderLog)
            || context.planted.strikes(Bug::VoteByLength, || last.index >= end.index);
        if pre {
            // Who hears a leader does not help to depose it (thesis 9.6).
            let leader_lives = match &self.role {
                Role::Leader(leading) => leading.quorum_lost.is_none(),
                _ => self.followed().is_some_and(|leader| !self.in_doubt && leader != from.node),
            };
            let granted = term > self.term && up_to_date && !leader_lives;
            if granted && context.planted.strikes(Bug::PreVoteTakesVote, || self.vote() != Some(from)) {
                self.set_vote(Some(from));
                self.persist_state();
            }
            sometimes!(PreVoteBehind, !up_to_date);
            sometimes!(PreVoteRefusedForALeader, leader_lives);
            let answered = if granted { term } else { self.term };
            let last = self.log.last();
            self.answer(context, from, answered, Body::VoteReply { pre, granted, last }, When::Now);
            return self.reassure(context, from.node);
        }
        let risen = term > self.term;
        if risen {
            self.enter_term(context, term, None);
        }
        let own = self.member(context.own);
        let free = self.vote().is_none_or(|vote| vote == from)
            || context
                .planted
                .strikes(Bug::CandidateVotesAgain, || term == self.term && self.vote() == Some(own));
        sometimes!(VoteSpent, term == self.term && !free);
        let granted = term == self.term && up_to_date && free;
        sometimes!(VoteRefused, !up_to_date);
        let last = self.log.last();
        let mut when = When::Durable;
        let newly = granted && self.vote().is_none();
        if granted {
            if context.planted.has(Bug::VoteNotPersisted) {
                when = When::Now;
                self.set_vote(Some(from));
            } else if self.vote().is_none() {
                if context.planted.strikes(Bug::VoteMissesTermsRow, || risen) {
                    self.write_state(context);
                } else {
                    self.persist_state();
                }
                self.set_vote(Some(from));
            }
        }
        if newly {
            self.election = None;
            self.arm_election(context);
        }
        if risen || newly {
            self.hear_out(context);
        }
        self.answer(context, from, self.term, Body::VoteReply { pre, granted, last }, when);
    }

    /// Somebody else leads in a later term, or wants to. Who takes itself for the only voter may have forgotten that others vote: were it to lead at
    /// once, above their term, they would never come to decide anything that proves it. So it waits as every voter does, longer each time.
    pub(super) fn hear_out(&mut self, context: &mut Context<'_>) {
        if self.standing == Standing::Sound && self.is_only_voter(context.own) && self.fence.is_none() {
            rare!(OnlyVoterHeardOut);
            let quiet = context.config.election_max.times(2 << ATTEMPTS_DOUBLED);
            if self.heard_out_at.is_some_and(|at| context.now > at.instant() + quiet) {
                self.attempts = 0;
            }
            self.heard_out_at = Some(context.now.into());
            self.attempts = self.attempts.saturating_add(1);
            let wait = self.election_wait(context);
            self.hold_election_at(context.now + wait);
        }
    }

    /// A member asks for votes though this replica leads: it hears so at once, for nothing else may be said for long.
    fn reassure(&mut self, context: &mut Context<'_>, node: NodeId) {
        if let Role::Leader(leading) = &mut self.role
            && leading.quorum_lost.is_none()
            && let Some(progress) = leading.progress.on_mut(node)
        {
            sometimes!(LeaderReassured);
            progress.probe(context.flows);
            self.news_for(node);
        }
    }

    pub(super) fn handle_vote_reply(
        &mut self,
        context: &mut Context<'_>,
        from: Member,
        term: Term,
        pre: bool,
        granted: bool,
    ) {
        if granted && !pre {
            // Where the voter's log ended is not vouched for: the leader of the new term may cut it.
            self.vouched(context, from, term, Place::default(), Some(self.member(context.own)));
        }
        if !self.may_vote(context) {
            // An answer to what it asked in its former life: the term it forgot comes with the marks, and is not to be overtaken.
            return;
        }
        if context.planted.strikes(Bug::PreVoteTermIgnored, || pre && !granted && term > self.term) {
            return;
        }
        if !granted && term > self.term {
            sometimes!(CandidateHeardHigherTerm);
            return self.enter_term(context, term, None);
        }
        let expected = if pre { self.term.next() } else { self.term };
        let preliminary = pre && matches!(self.role, Role::Candidate { .. });
        let fits = term == expected
            || context.planted.strikes(Bug::StaleVoteCounted, || !pre && term < expected)
            || context.planted.strikes(Bug::PreVoteCounted, || preliminary && term == self.term);
        sometimes!(VoteTooLate, granted && !fits);
        if !granted || !fits || self.replica_on(from.node) != Some(from.replica) {
            return;
        }
        let (first, count) = match &mut self.role {
            Role::PreCandidate { granted } if pre => (granted.by.insert(from), granted.by.len()),
            Role::Candidate { granted } if !pre || context.planted.has(Bug::PreVoteCounted) => {
                (granted.by.insert(from), granted.by.len())
            }
            _ => return,
        };
        let twice = !first && !pre && 2 * (count + 1) > self.log.configuration().voters.len();
        if context.planted.strikes(Bug::SecondAnswerCounted, || twice) {
            return self.lead(context);
        }
        self.count_votes(context);
    }

    fn count_votes(&mut self, context: &mut Context<'_>) {
        let former = self.former_configuration(context.planted);
        let configuration = former.as_deref().unwrap_or_else(|| self.log.configuration());
        let won = |granted: &Granted| {
            carried(configuration, |member| granted.by.contains(&member), context.planted)
        };
        match &self.role {
            Role::PreCandidate { granted } if won(granted) => self.campaign(context),
            Role::Candidate { granted } if won(granted) => self.lead(context),
            Role::Candidate { granted }
                if context.planted.strikes(Bug::OwnVoteTwice, || {
                    2 * (granted.by.len() + 1) > self.log.configuration().voters.len()
                }) =>
            {
                self.lead(context);
            }
            _ => {}
        }
    }

    /// Wins: begins the term with an entry of its own.
    fn lead(&mut self, context: &mut Context<'_>) {
        assert!(self.may_vote(context), "R8: a replica leads that must not");
        let voted = |member: Member| match &self.role {
            Role::Candidate { granted } => granted.by.contains(&member),
            _ => false,
        };
        assert!(is_majority(self.log.configuration(), voted), "R31: a replica leads by the votes of too few");
        self.election = None;
        if !self.is_only_voter(context.own) {
            self.attempts = 0;
        }
        let begins = self.log.last().index.next();
        let uncommitted = self.burden_upto(begins.before());
        context.flows.uncommitted += uncommitted;
        self.set_role(context, Role::Leader(Box::new(Leading { begins, uncommitted, ..Leading::default() })));
        let entry = match self.under_fresh_id(context) {
            None => (EntryKind::Blank, bytes::Bytes::new()),
            Some(configuration) => (EntryKind::Configuration, configuration),
        };
        self.append_own(context, entry.0, entry.1);
        if entry.0 == EntryKind::Configuration {
            sometimes!(LedUnderFreshId);
        }
        self.persist_state();
        self.track_members(context);
        self.introduce_all(context);
        self.check_quorum(context);
        self.tell_role(context);
        self.news_for_all();
    }

    /// Check-quorum (thesis 6.2): a leader that does not hear a quorum for an election's time stops leading.
    pub(super) fn check_quorum(&mut self, context: &mut Context<'_>) {
        let own = context.own;
        let heard = |member: Member| member.node == own || !context.suspects.contains(&member.node);
        let quorum = carried(self.log.configuration(), heard, context.planted);
        let limit = context.now + context.config.election_max;
        if let Role::Leader(leading) = &mut self.role {
            sometimes!(QuorumMissed, !quorum);
            leading.quorum_lost = if quorum { None } else { leading.quorum_lost.or(Some(limit.into())) };
            if let Some(at) = leading.quorum_lost {
                self.wake_at(at.instant());
            }
        }
    }

    pub(super) fn stalled(&mut self, by: Span) {
        let later = |at: At| At::from(at.instant() + by);
        self.election = self.election.map(later);
        sometimes!(ElectionPutOff, self.election.is_some());
        self.patience = self.patience.map(later);
        if let Some(receiving) = &mut self.receiving {
            receiving.put_off(by);
        }
        if let Some(given) = &mut self.copying_to {
            given.until += by;
        }
        if let Role::Leader(leading) = &mut self.role {
            leading.quorum_lost = leading.quorum_lost.map(later);
        }
    }
}
