//! One replica of one group: its state, and which of its ideas a message concerns.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::num::NonZeroU64;

use super::context::Context;
use super::force::Fence;
use super::known::Known;
use super::log::Log;
use super::message::{Body, Mark, Message, Place};
use super::neighbours::Listing;
use super::progress::Progress;
use super::read::Reads;
use super::receiving::Receiving;
use super::relay::Relay;
use super::remembered::Remembered;
use super::replication::Reply;
use super::roles::{Led, Role, Standing, Unfit};
use super::segments::RunLimits;
use super::slots::Slot;
use super::snapshot::CopyingTo;
use super::{Output, Receipt, RoleName, Written};
use crate::configuration::{Configuration, Member};
use crate::id::{GroupId, LogIndex, NodeId, ReplicaId, Term};
use crate::planted::{Bug, Planted};
use crate::rare;
use crate::sorted_map::SortedMap;
use crate::time::{At, Instant};
use crate::when::When;

/// Entries handed to the owner at once.
const APPLIED: RunLimits = RunLimits { entries: 1024, bytes: 1 << 20 };

/// What few replicas have behind them: a disk that was rolled back once, and what became of names and log then; a log that goes further back than its
/// entries are given to others; members that came and went.
#[derive(Clone, Debug, Default)]
pub(super) struct Past {
    /// Replica ids given up, oldest first.
    pub(super) former: Vec<ReplicaId>,
    /// The fresh replica id to take with the first entry of the next term (rule C3).
    pub(super) fresh: Option<ReplicaId>,
    /// In which term it led last, if it does not now.
    pub(super) led: Option<Led>,
    /// The last term whose leader replaced entries here by ones of a lower term, as it may: what was vouched for in terms before may have been further on.
    pub(super) set_back: Term,
    /// Held here, but perhaps by this replica alone after its disk forgot the others: the end of the log when it learned of that, until more
    /// is committed.
    pub(super) deluded_upto: LogIndex,
    /// The owner of a stream let go of what entries up to here refer to, though the log may not be cut within a run that is only stored: see
    /// [`Group::given_behind`].
    pub(super) let_go: LogIndex,
    /// What the owner knows of the members beside what the log says; in memory only.
    pub(super) known: Option<Box<Known>>,
}

/// Whom a leader has news for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum News {
    #[default]
    None,
    /// For those members of which it is noted.
    ForSome,
    ForAll,
}

/// What the owner was told last. A term has one leader, so it is enough to know that there was one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Told {
    role: RoleName,
    led: bool,
    term: Term,
}

/// Whether only a leader says that.
pub(super) fn leads(body: &Body) -> bool {
    match body {
        Body::Append(append) => !append.copy,
        Body::Snapshot(snapshot) => !snapshot.copy,
        _ => false,
    }
}

/// One replica.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) id: GroupId,
    pub(super) replica: ReplicaId,
    /// What it has behind it that few have.
    pub(super) past: Option<Box<Past>>,
    pub(super) term: Term,
    /// Whom it voted for in that term, if it did: see [`Self::vote`].
    voted_for: Member,
    voted: bool,
    pub(super) log: Log,
    pub(super) commit: LogIndex,
    /// What an earlier life knew to be committed, as far as it wrote that down.
    pub(super) once_committed: LogIndex,
    /// The history that the log is in: what records say was committed counts for theirs (R30).
    pub(super) history: u64,
    /// Handed to the owner.
    pub(super) applied: LogIndex,
    pub(super) role: Role,
    pub(super) standing: Standing,
    /// What the others vouched for, by node.
    pub(super) marks: SortedMap<NodeId, Remembered>,
    /// Whether some of that is to be written.
    pub(super) unwritten_marks: bool,
    /// Term, vote, replica id or standing are to be written.
    pub(super) unwritten_state: bool,
    /// To whom something is to be sent.
    pub(super) news: News,
    pub(super) election: Option<At>,
    /// Who led last, as far as this life heard, and in which term: see [`Self::led_by`].
    last_leader: Member,
    led_in: Term,
    /// The leader's node was suspected, restarted or disowned since the leader was heard last.
    pub(super) in_doubt: bool,
    /// Its owner is of no use in this life (R34).
    pub(super) unfit: Unfit,
    /// Drawn at the start; 0 in the life in which the group was created here.
    pub(super) life: u64,
    /// The recovery under which this replica goes on; 0 before the first.
    pub(super) era: u64,
    /// What shuts it off from its group.
    pub(super) fence: Option<Box<Fence>>,
    /// An only voter, and the life in which it asked here last: what it led in other lives is not heard.
    pub(super) fenced: Option<Box<(NodeId, u64)>>,
    /// The term whose leader's node was asked anew what it leads since the last doubt.
    pub(super) compared_leader: Option<NonZeroU64>,
    /// Elections since a leader was heard last.
    pub(super) attempts: u8,
    /// When an only voter last heard somebody else out.
    pub(super) heard_out_at: Option<At>,
    /// When to ask again while verifying, copying or renamed.
    pub(super) ask_at: Option<At>,
    /// How often that was put off for longer.
    pub(super) asked: u8,
    /// Until when every other member's word is waited for, in the control group (rule C3).
    pub(super) patience: Option<At>,
    /// A state that comes in chunks, or was offered to the owner.
    pub(super) receiving: Option<Box<Receiving>>,
    /// The number of the last append of whoever led last: where asking for more goes.
    pub(super) last_append: Option<NonZeroU64>,
    /// A member that lost its log and asked for a snapshot of this one (rule C3).
    pub(super) copying_to: Option<Box<CopyingTo>>,
    pub(super) told: Option<Told>,
    /// The configuration that the owner was told of last, and where it stands.
    pub(super) configured: Option<(Arc<Configuration>, LogIndex)>,
    /// Whether it was told that this one is committed.
    told_committed: bool,
    /// The next deadline is not before this moment.
    pub(super) wake: Option<At>,
    /// Whom it feeds, and who feeds it.
    pub(super) relay: Option<Box<Relay>>,
    /// Reads of the owner that wait.
    pub(super) reads: Option<Box<Reads>>,
    /// When it will be woken.
    pub(super) armed: Option<At>,
    /// Where it lives among the groups of its node.
    pub(super) slot: Slot,
    /// Of all replicas that lived there, or elsewhere on this node, in this life of it: no other has this number.
    pub(super) generation: u32,
    /// The nodes by which it is found there.
    pub(super) listing: Listing,
    /// Whether these are the nodes of its members and its leader, and were told whether it leads.
    pub(super) listed: bool,
    /// Waits for its turn to write and to send.
    pub(super) busy: bool,
}

impl Group {
    pub(super) fn new(
        id: GroupId,
        replica: ReplicaId,
        base: Place,
        configuration: Arc<Configuration>,
        planted: Planted,
    ) -> Self {
        Self {
            id,
            replica,
            past: None,
            term: base.term,
            voted_for: Member::NOBODY,
            voted: false,
            log: Log::new(base, configuration, planted),
            commit: base.index,
            once_committed: base.index,
            history: 0,
            applied: base.index,
            role: Role::Follower { led: false },
            standing: Standing::Sound,
            marks: SortedMap::new(),
            unwritten_marks: false,
            unwritten_state: false,
            news: News::None,
            election: None,
            last_leader: Member::NOBODY,
            led_in: Term(0),
            in_doubt: false,
            unfit: Unfit::No,
            life: 0,
            era: 0,
            fence: None,
            fenced: None,
            compared_leader: None,
            attempts: 0,
            heard_out_at: None,
            ask_at: None,
            asked: 0,
            patience: None,
            receiving: None,
            last_append: None,
            copying_to: None,
            told: None,
            configured: None,
            told_committed: false,
            wake: None,
            relay: None,
            reads: None,
            armed: None,
            slot: Slot::NONE,
            generation: 0,
            listing: Listing::default(),
            listed: false,
            busy: false,
        }
    }

    pub(super) fn member(&self, own: NodeId) -> Member {
        Member { node: own, replica: self.replica }
    }

    /// Whom it voted for in its term.
    pub(super) fn vote(&self) -> Option<Member> {
        self.voted.then_some(self.voted_for)
    }

    pub(super) fn set_vote(&mut self, vote: Option<Member>) {
        (self.voted, self.voted_for) = (vote.is_some(), vote.unwrap_or(Member::NOBODY));
    }

    /// Whether that one leads in that term, as far as this life heard: a term has one leader.
    #[inline]
    pub(super) fn is_led_by(&self, term: Term, leader: Member) -> bool {
        self.led_in == term && self.last_leader == leader && term > Term(0)
    }

    /// Who led last, as far as this life heard, and in which term.
    pub(super) fn led_by(&self) -> Option<(Term, Member)> {
        (self.led_in > Term(0)).then_some((self.led_in, self.last_leader))
    }

    /// That one leads in that term.
    pub(super) fn hear_leader(&mut self, term: Term, leader: Member) {
        (self.led_in, self.last_leader) = (term, leader);
    }

    /// What its disk forgot once.
    pub(super) fn past(&self) -> &Past {
        static NOTHING: Past = Past {
            former: Vec::new(),
            fresh: None,
            led: None,
            set_back: Term(0),
            deluded_upto: LogIndex(0),
            let_go: LogIndex(0),
            known: None,
        };
        self.past.as_deref().unwrap_or(&NOTHING)
    }

    pub(super) fn past_mut(&mut self) -> &mut Past {
        self.past.get_or_insert_default()
    }

    /// In which term it led last.
    pub(super) fn led(&self) -> Option<Led> {
        match &self.role {
            Role::Leader(leading) => Some(self.led_from(leading.begins)),
            _ => self.past().led,
        }
    }

    /// The term that began with that entry. Where the log is cut behind it the base stands for what was in front: that is decided.
    fn led_from(&self, begins: LogIndex) -> Led {
        let (base, before) = (self.log.base(), begins.before());
        let term = |index| self.log.term(index).unwrap_or(base.term);
        let behind = (term(before), before.max(base.index));
        Led { term: term(begins), behind, set_back: self.past().set_back }
    }

    pub(super) fn is_voter(&self, own: NodeId) -> bool {
        self.log.configuration().votes(self.member(own))
    }

    pub(super) fn is_only_voter(&self, own: NodeId) -> bool {
        let configuration = self.log.configuration();
        configuration.voters == [self.member(own)] && !configuration.is_joint()
    }

    pub(super) fn leader(&self, own: NodeId) -> Option<NodeId> {
        match &self.role {
            Role::Leader(_) => Some(own),
            Role::Follower { .. } | Role::PreCandidate { .. } | Role::Candidate { .. } => self.followed(),
        }
    }

    /// The other node that is taken to lead.
    pub(super) fn followed(&self) -> Option<NodeId> {
        matches!(self.role, Role::Follower { led: true }).then_some(self.last_leader.node)
    }

    /// The replica that the configuration knows on `node`.
    pub(super) fn replica_on(&self, node: NodeId) -> Option<ReplicaId> {
        self.log.configuration().on(node).last().map(|member| member.replica)
    }

    pub(super) fn send(&self, context: &mut Context<'_>, to: NodeId, term: Term, body: Body, when: When) {
        let addressee = self.replica_on(to);
        let (sender, life, era) = (self.replica, self.life, self.era);
        let message = Box::new(Message { sender, addressee, term, life, era, body });
        context.send(to, self.id, message, when);
    }

    /// Answers the very replica that spoke: the entry that gave it its present id may not have come here yet.
    pub(super) fn answer(&self, context: &mut Context<'_>, to: Member, term: Term, body: Body, when: When) {
        let addressee = Some(to.replica);
        let (sender, life, era) = (self.replica, self.life, self.era);
        let message = Box::new(Message { sender, addressee, term, life, era, body });
        context.send(to.node, self.id, message, when);
    }

    pub(super) fn handle_message(&mut self, context: &mut Context<'_>, from: NodeId, message: Box<Message>) {
        if self.is_next(context, from, &message) {
            self.take_next(context, from, message);
            self.give_up_kept_id(context);
            return;
        }
        if !self.hears_era(context, from, &message) {
            return;
        }
        if let &Body::AppendReply { number, matched, place, more, waiting, round, fed } = &message.body
            && message.addressee == Some(self.replica)
            && !matches!(self.standing, Standing::Stopped { .. })
        {
            let (from, reply) = (
                Member { node: from, replica: message.sender },
                Reply { number, matched, place, more, waiting, round, fed },
            );
            return self.handle_append_reply(context, from, message.term, reply);
        }
        let Message { sender, addressee, term, life, body, .. } = *message;
        if let Standing::Stopped(stopped) = &self.standing {
            // Who speaks has not heard of it (rule C2): word of a stop may be lost. What is said then is bounded by what comes in.
            if !stopped.alone && !matches!(body, Body::Stop { .. }) {
                let stop = Body::Stop { reason: stopped.reason.clone() };
                self.answer(context, Member { node: from, replica: sender }, self.term, stop, When::Now);
            }
            return;
        }
        // What was meant for another disk history is not for this one; that it is another is worth saying.
        let mistaken = addressee.is_some_and(|replica| replica != self.replica);
        if let Some(later) = addressee.filter(|&replica| self.is_superseded_by(from, replica)) {
            let mark = self.mark_of_later(&body, later);
            return self.become_amnesic(context, from, mark);
        }
        match body {
            Body::Stop { reason } => return self.hear_stop(context, from, &reason),
            Body::Recall { mark: Some(mark), needed: true, .. } => {
                return self.take_up_old_id(context, from, mark);
            }
            Body::Recall { mark, question, start, alone, .. } => {
                self.handle_mark(context, from, mark);
                return if question {
                    self.handle_question(context, from, start, alone);
                } else {
                    self.handle_answer(context, from, life, start);
                };
            }
            Body::Copy { last } => {
                let asker = Member { node: from, replica: sender };
                return self.handle_copy(context, asker, life, last);
            }
            Body::Renamed { old } => return self.handle_renamed(context, from, sender, old),
            _ => {}
        }
        if mistaken {
            self.recollect(from, addressee);
            return self.correct(context, from, addressee);
        }
        if leads(&body) && self.is_of_a_former_life(context, from, life) {
            return;
        }
        if addressee == Some(self.replica) && matches!(body, Body::Append(_) | Body::Snapshot(_)) {
            self.admitted(context);
        }
        let from = Member { node: from, replica: sender };
        match body {
            Body::Append(append) => {
                self.handle_append(context, from, term, append);
                self.give_up_kept_id(context);
            }
            Body::Snapshot(snapshot) => self.handle_snapshot(context, from, term, *snapshot),
            Body::SnapshotReply { number, here } => self.handle_snapshot_reply(context, from, number, here),
            Body::AppendReply { number, matched, place, more, waiting, round, fed } => {
                let reply = Reply { number, matched, place, more, waiting, round, fed };
                self.handle_append_reply(context, from, term, reply);
            }
            Body::Feed { last, heard } => self.handle_feed(context, from, last, heard),
            Body::Fed(append) => self.handle_fed(context, from, term, append),
            Body::Unfed => self.handle_unfed(context, from),
            Body::Vote { pre, last } => self.handle_vote(context, from, term, pre, last),
            Body::VoteReply { pre, granted, .. } => {
                self.handle_vote_reply(context, from, term, pre, granted);
            }
            Body::Read { number } => self.handle_read(context, from, number),
            Body::ReadReply { number, index } => self.handle_read_reply(context, number, index),
            Body::Stand => self.handle_stand(context, from.node, term),
            Body::Stop { .. } | Body::Recall { .. } | Body::Copy { .. } | Body::Renamed { .. } => {}
        }
    }

    pub(super) fn handle_durable(&mut self, context: &mut Context<'_>, receipt: Receipt) {
        if receipt.generation != self.generation {
            // What was written for a replica of this group that is no more.
            rare!(ReceiptOfARemovedReplica);
            return;
        }
        match receipt.what {
            Written::Log(serial) => {
                if self.log.written(serial) {
                    self.durable_moved(context);
                }
            }
            Written::Vote(term) => self.own_vote_durable(context, term),
        }
    }

    fn durable_moved(&mut self, context: &mut Context<'_>) {
        let (own, index) = (context.own, self.log.durable());
        if let Role::Leader(_) = self.role {
            context.out.push_back(Output::Match { group: self.id, node: own, index });
            self.advance_commit(context);
            if self.sends_durably(context.config, own) {
                self.news_for_all();
            }
        }
        self.apply(context);
    }

    /// Plays another part from now on.
    pub(super) fn set_role(&mut self, context: &mut Context<'_>, role: Role) {
        if let Role::Leader(mut leading) = core::mem::replace(&mut self.role, role) {
            leading.resign(context);
            let led = self.led_from(leading.begins);
            self.past_mut().led = Some(led);
            self.end_rounds(context, leading.rounds);
        }
    }

    /// Something is due then: the replica is woken at that moment, or earlier.
    pub(super) fn wake_at(&mut self, at: Instant) {
        if self.wake.is_none_or(|wake| at < wake.instant()) {
            self.wake = Some(at.into());
        }
    }

    /// What the replica on `node` vouched for, to this one on `own`.
    pub(super) fn mark(&self, own: NodeId, node: NodeId) -> Option<Mark> {
        self.marks.get(&node).map(|remembered| remembered.mark(self.member(own), node))
    }

    /// A higher term was heard.
    pub(super) fn enter_term(&mut self, context: &mut Context<'_>, term: Term, leader: Option<NodeId>) {
        assert!(term >= self.term, "R4: term {term} after {}", self.term);
        if term > self.term {
            self.term = term;
            self.set_vote(None);
            if !context.planted.has(Bug::HeardTermNotWritten) {
                self.persist_state();
            }
        } else if context.planted.strikes(Bug::StepDownForgetsVote, || self.voted) {
            self.set_vote(None);
        }
        self.follow(context, leader);
    }

    /// Follows from now on; waits for an election unless somebody leads.
    pub(super) fn follow(&mut self, context: &mut Context<'_>, leader: Option<NodeId>) {
        assert!(
            leader.is_none_or(|leader| leader == self.last_leader.node),
            "R1: it follows whom it did not hear"
        );
        self.set_role(context, Role::Follower { led: leader.is_some() });
        if let Some(leader) = leader {
            self.in_doubt = context.suspects.contains(&leader);
            self.compare_leader(context, leader);
            self.attempts = 0;
        }
        match leader {
            Some(leader) if !context.suspects.contains(&leader) => self.election = None,
            Some(_) | None => self.arm_election(context),
        }
        self.tell_role(context);
    }

    /// Sees to it that what the node of a leader says it leads is heard since it is followed: once, until it is doubted.
    fn compare_leader(&mut self, context: &mut Context<'_>, leader: NodeId) {
        let now = NonZeroU64::new(self.term.0);
        if !self.in_doubt && self.compared_leader != now && self.is_voter(context.own) {
            self.compared_leader = now;
            if context.planted.has(Bug::ListNotCompared) {
                return;
            }
            context.follows.insert(leader);
        }
    }

    /// Hands over what is committed and durable here.
    pub(super) fn apply(&mut self, context: &mut Context<'_>) {
        let mut upto = self.commit.min(self.log.durable());
        if context.planted.strikes(Bug::AppliedBeforeDurable, || upto < self.commit) {
            upto = self.commit.min(self.log.last().index);
        }
        while self.applied < upto {
            let entries = match self.log.stored_run(self.applied.next()) {
                None => self.log.slice(self.applied.next(), upto, APPLIED),
                // The rest follows when these were read.
                Some(run) => match self.stored_entries(context, run, (self.applied.next(), upto), APPLIED) {
                    Some((_, entries)) => entries,
                    None => return,
                },
            };
            let Some(last) = entries.last() else { return };
            self.applied = last.index;
            context.out.push_back(Output::Apply { group: self.id, entries });
        }
        self.tell_configuration(context);
        self.serve_reads(context);
    }

    /// Tells the owner of a change of role, term or leader, once.
    pub(super) fn tell_role(&mut self, context: &mut Context<'_>) {
        let (role, term, leader) = (self.role_name(context.own), self.term, self.leader(context.own));
        let now = Told { role, led: leader.is_some(), term };
        if self.told != Some(now) {
            self.told = Some(now);
            self.listed = false;
            self.give_up_reads(context);
            context.out.push_back(Output::Role { group: self.id, role, term, leader });
            self.rearrange(context);
        }
    }

    /// Tells the owner which configuration is in force, and whether it is committed, once each.
    #[inline]
    pub(super) fn tell_configuration(&mut self, context: &mut Context<'_>) {
        match &self.configured {
            Some((configuration, _)) if self.told_committed && self.log.is_configured_by(configuration) => {}
            _ => self.tell_other_configuration(context),
        }
    }

    fn tell_other_configuration(&mut self, context: &mut Context<'_>) {
        let index = self.log.configured_at();
        let committed = index <= self.commit;
        let known = self.configured.as_ref().is_some_and(|(configuration, at)| {
            (*at, self.told_committed) == (index, committed) && self.log.is_configured_by(configuration)
        });
        if !known {
            let in_force = self.log.configuration_at(index);
            let configuration = Arc::clone(&in_force);
            (self.configured, self.told_committed) = (Some((in_force, index)), committed);
            self.listed = false;
            let stands = self.told.is_some() && self.doubts_its_leader();
            if stands && !context.planted.strikes(Bug::NewVoterDoesNotStand, || self.election.is_none()) {
                // It may vote from now on, and then it is to stand: nobody will tell it again that its leader is in doubt.
                self.arm_election(context);
            }
            context.out.push_back(Output::Configured { group: self.id, configuration, index, committed });
            self.rearrange(context);
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let leading = match &self.role {
            Role::Leader(leading) => {
                let retries = leading.progress.iter().filter_map(Progress::due_at);
                let newcomers = leading.newcomers().map(|newcomer| newcomer.until);
                retries
                    .chain(leading.quorum_lost.map(At::instant))
                    .chain(newcomers)
                    .chain(leading.transfer.as_ref().map(|transfer| transfer.until))
                    .chain(leading.unhurried.map(|unhurried| unhurried.at.instant()))
                    .min()
            }
            Role::Follower { .. } | Role::PreCandidate { .. } | Role::Candidate { .. } => None,
        };
        let receiving = self.receiving.as_ref().and_then(|receiving| receiving.until());
        let giving = self.copying_to.as_ref().map(|given| given.until);
        let relaying = self.relay.as_ref().and_then(|relay| relay.next_deadline());
        let states = receiving.into_iter().chain(giving).chain(relaying);
        let waits = [self.election, self.ask_at, self.patience].into_iter().flatten().map(At::instant);
        leading.into_iter().chain(waits).chain(states).min()
    }

    pub(super) fn handle_deadline(&mut self, context: &mut Context<'_>) {
        let now = context.now;
        let due = |at: Option<At>| at.is_some_and(|at| at.instant() <= now);
        if due(self.ask_at) {
            self.ask_again(context);
        }
        if due(self.patience) {
            self.patience = None;
            self.patience_over(context);
        }
        if due(self.election) {
            self.election = None;
            self.election_due(context);
        }
        if self.receiving.as_ref().and_then(|receiving| receiving.until()).is_some_and(|until| until <= now) {
            rare!(HalfStateLetGo);
            self.let_go_of_state(context);
        }
        self.copying_to.take_if(|given| given.until <= now);
        self.relay_deadline(context);
        self.leader_deadline(context);
    }
}
