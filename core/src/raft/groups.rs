//! All groups of a node: who is asked, what is due, which nodes are in doubt, what is written and sent.
//!
//! Replicas note what they have to write and to send. It is given out when everything that was to be told in a step has been told: then a
//! group writes once, sends one append with everything new to each member, and answers once. Groups take turns of one message each.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::ToString as _;
use alloc::vec::Vec;

use bytes::Bytes;

use super::context::{Context, Held};
use super::entries::Entries;
use super::flow::Flows;
use super::group::{Group, News};
use super::message::Place;
use super::neighbours::{Moved, Peers};
use super::receiving::Receiving;
use super::roles::{Role, Standing, Unfit};
use super::sharing::Configurations;
use super::shelf::Shelf;
use super::slots::{Slot, Slots};
use super::store::{Loading, Stored};
use super::trail::Trail;
use super::{Config, GroupPlace, GroupStatus, Input, Output, RefusedReason};
use crate::configuration::Configuration;
use crate::id::{GroupId, LogIndex, NodeId, ReplicaId, Term};
use crate::level::Level;
use crate::planted::{Bug, Planted};
use crate::record::{Damaged, Key};
use crate::rng::{Purpose, Rng};
use crate::time::{At, Instant, Now};

/// Every consensus group that has a replica on this node.
#[derive(Clone, Debug)]
pub struct Groups {
    config: Config,
    own: NodeId,
    rng: Rng,
    histories: Rng,
    pub(super) planted: Planted,
    pub(super) groups: Slots,
    loading: BTreeMap<GroupId, Loading>,
    applied: BTreeMap<GroupId, LogIndex>,
    suspects: BTreeSet<NodeId>,
    configurations: Configurations,
    /// The last moment that was told.
    now: Instant,
    pub(super) out: VecDeque<Output>,
    held: Held,
    flows: Flows,
    pub(super) shelf: Shelf,
    /// Groups that have something to write or to send.
    pub(super) busy: VecDeque<Slot>,
    /// Leaders followed anew, by whatever number of groups.
    follows: BTreeSet<NodeId>,
}

/// How a replica of a group begins at this node.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Begins {
    /// With the group, or as one that was of it all along; `anew` if this node may have forgotten what it vouched for there.
    There { anew: bool },
    /// Later: it is no member yet, and waits to be admitted under a fresh id in place of the one it is told.
    Comes,
}

impl Groups {
    /// No groups yet.
    #[must_use]
    pub fn new(config: Config, own: NodeId, rng: Rng, planted: Planted) -> Self {
        Self {
            flows: Flows::new(config.node_bytes, planted),
            shelf: Shelf::new(config.log_bytes, planted),
            config,
            own,
            histories: rng.beside(Purpose::History),
            rng,
            planted,
            groups: Slots::new(own),
            loading: BTreeMap::new(),
            applied: BTreeMap::new(),
            suspects: BTreeSet::new(),
            configurations: Configurations::default(),
            now: Instant(0),
            out: VecDeque::new(),
            held: Held::default(),
            busy: VecDeque::new(),
            follows: BTreeSet::new(),
        }
    }

    /// Takes a stored record, in the order in which they were written: how long its payload is, and the payload itself where [`recall`](super::recall)
    /// asked for it.
    ///
    /// # Errors
    /// [`Damaged`] if it makes no sense.
    pub fn restore(
        &mut self,
        key: &Key,
        last_slot: u64,
        head: &Bytes,
        (payload_len, payload): (usize, Option<Bytes>),
    ) -> Result<(), Damaged> {
        let loading = self.loading.entry(GroupId(key.id)).or_default();
        let stored = Stored { key, last_slot, head, payload, payload_len };
        loading.take(stored, self.planted).map_err(|error| Damaged { key: *key, what: error.to_string() })
    }

    /// The owner's persisted state reaches up to `index`. Between `restore` and `restored`.
    pub fn set_applied(&mut self, group: GroupId, index: LogIndex) {
        self.applied.insert(group, index);
    }

    /// Lets go of the records of groups that are over. What a group forgot may come back with a restart, until its rows are trimmed.
    /// Between `restore` and `restored`.
    pub fn forget_unless(&mut self, goes_on: impl Fn(GroupId) -> bool) {
        let over: Vec<GroupId> = self.loading.keys().copied().filter(|&id| !goes_on(id)).collect();
        for id in over {
            self.loading.remove(&id);
            self.out.extend(super::store::forget_all(id));
        }
    }

    /// All records are there: the replicas start.
    ///
    /// # Errors
    /// [`Damaged`] if the records of a group do not fit together.
    pub fn restored(&mut self, now: Now) -> Result<(), Damaged> {
        for (id, loading) in core::mem::take(&mut self.loading) {
            let applied = self.applied.get(&id).copied().unwrap_or_default();
            if let Some(mut group) =
                loading.build(id, (self.own, applied), &mut self.configurations, self.planted)?
            {
                let applied = applied.min(group.log.last().index);
                group.applied = applied.max(group.applied);
                group.lets_go(&self.config, applied);
                // What is only stored was known to be committed (R23): it is read again, and given to the owner, whoever leads.
                let stored = group.log.stored_upto().unwrap_or_default();
                let unknown = self.planted.strikes(Bug::StoredTakenForUndecided, || stored > group.applied);
                group.commit = if unknown { group.applied } else { group.applied.max(stored) };
                let end = group.log.last().index;
                if self.planted.strikes(Bug::WholeLogCommittedAtStart, || group.commit < end) {
                    group.commit = end;
                }
                self.shelf.held += group.log.held();
                self.groups.insert(group);
                self.with(now.monotonic, id, |group, context| {
                    if group.era > 0 {
                        context.out.push_back(Output::Era { group: id, era: group.era });
                    }
                    group.tell_configuration(context);
                    group.verify(context);
                    if let Standing::Stopped(stopped) = &group.standing {
                        context.out.push_back(Output::Stopped { group: id, reason: stopped.reason.clone() });
                    } else {
                        group.apply(context);
                    }
                });
            }
        }
        Ok(())
    }

    /// Takes an input.
    pub fn handle(&mut self, now: Now, input: Input) {
        let now = now.monotonic;
        match input {
            Input::Create { group, replica, founding, anew } => {
                self.create(now, group, replica, founding, Begins::There { anew });
            }
            Input::Await { group, replica, founding } => {
                self.create(now, group, replica, founding, Begins::Comes);
            }
            Input::Remove { group } => self.remove(now, group),
            Input::Message { from, group, message } => {
                self.with(now, group, |group, context| group.handle_message(context, from, message));
            }
            Input::AskAgain { group } => self.with(now, group, Group::ask_for_more),
            Input::Propose { group, data, weight, unhurried, context } => {
                if !self.refuse_unknown(group, context) {
                    self.with(now, group, |group, cx| group.propose(cx, data, weight, unhurried, context));
                }
            }
            Input::Read { group, context } => {
                if !self.refuse_unknown(group, context) {
                    self.with(now, group, |group, cx| group.read(cx, context));
                }
            }
            Input::Transfer { group, to, context } => {
                if !self.refuse_unknown(group, context) {
                    self.with(now, group, |group, cx| group.transfer(cx, to, context));
                }
            }
            Input::Change { group, voters, learners, context } => {
                if !self.refuse_unknown(group, context) {
                    self.with(now, group, |group, cx| {
                        group.change(cx, voters, learners, Some(context));
                    });
                }
            }
            Input::Compact { group, upto } => self.with(now, group, |group, context| {
                let before = group.log.base();
                group.log.compact(group.keeps_for_children(upto.min(group.applied)));
                group.lets_go(context.config, upto.min(group.applied));
                if group.log.base() != before {
                    group.write_base(context);
                }
            }),
            Input::Snapshot { group, to, index, data } => {
                self.with(now, group, |group, context| group.send_snapshot(context, to, index, data));
            }
            Input::Installed { group, taken } => {
                self.with(now, group, |group, cx| group.installed(cx, taken))
            }
            Input::Contradicted { group, reason } => self.with(now, group, |group, context| {
                group.state_contradicted(context, reason);
            }),
            Input::Durable(receipt) => {
                self.with(now, receipt.group, |group, context| group.handle_durable(context, receipt));
            }
            Input::PairSuspect { node } => {
                self.suspects.insert(node);
                self.each(now, node, |group, context| {
                    group.leader_in_doubt(context, node);
                    group.check_quorum(context);
                    group.look_for(context, node);
                });
            }
            Input::PairAlive { node } => {
                if !self.planted.has(Bug::SuspicionStays) {
                    self.suspects.remove(&node);
                }
                self.each(now, node, |group, context| {
                    group.check_quorum(context);
                    group.ask_anew(context);
                    group.news_for(node);
                });
            }
            Input::PeerBoot { node, .. } => self.each(now, node, |group, context| {
                group.leader_in_doubt(context, node);
                group.ask_anew(context);
                if let Role::Leader(leading) = &mut group.role
                    && let Some(progress) = leading.progress.on_mut(node)
                {
                    progress.probe(context.flows);
                }
                group.news_for(node);
            }),
            Input::Leads { node, groups } => {
                let led: BTreeMap<GroupId, Term> = groups.into_iter().collect();
                self.each(now, node, |group, context| {
                    if led.get(&group.id).is_none_or(|&term| term < group.term) {
                        group.leader_in_doubt(context, node);
                    }
                });
            }
            Input::Gone { group, node } => self.with(now, group, |group, context| {
                // It will never say more than that it knows nothing.
                let start = group.life;
                group.handle_answer(context, node, 0, start);
            }),
            Input::Fence { group, fence } => self.with(now, group, |group, cx| group.fence(cx, fence)),
            Input::Unfence { group } => self.with(now, group, Group::unfence),
            Input::Found { group, founding } => {
                self.with(now, group, |group, context| group.found(context, &founding));
            }
            Input::Unanswered { group } => self.with(now, group, Group::unanswered),
            Input::Voting { group, nodes } => {
                self.with(now, group, |group, context| group.expect_voters(context, &nodes));
            }
            Input::Known { group, members, out } => {
                self.with(now, group, |group, context| group.known(context, members, out));
            }
            Input::Conform { group, voters, out, learners } => {
                self.with(now, group, |group, context| group.conform(context, &voters, &out, &learners));
            }
            Input::Resign { group, leaves } => {
                let unfit = if leaves { Unfit::Leaves } else { Unfit::Stopped };
                self.with(now, group, |group, cx| group.resign(cx, unfit));
            }
            Input::Stalled { by } => {
                for slot in self.groups.all() {
                    self.act(now, slot, |group, _| group.stalled(by));
                }
            }
            Input::Deadline => {
                while let Some(slot) = self.groups.take_due(now) {
                    self.act(now, slot, |group, context| {
                        group.handle_deadline(context);
                        group.wake = group.next_deadline().map(At::from);
                    });
                }
            }
        }
    }

    /// Whether a replica of that group is here.
    #[must_use]
    pub fn contains(&self, group: GroupId) -> bool {
        self.groups.find(group).is_some()
    }

    /// The next thing wanted. What is written and sent comes once nothing else does: tell all there is to tell, then poll until `None`. Whom
    /// groups follow comes last, each node once.
    pub fn poll(&mut self) -> Option<Output> {
        if self.out.is_empty() && (!self.busy.is_empty() || self.flows.may_have_turns()) {
            self.give_out();
        }
        if let Some(output) = self.out.pop_front() {
            return Some(output);
        }
        if let Some(output) = self.held.pop() {
            return Some(output);
        }
        if self.shelf.is_over() {
            self.make_room();
        }
        self.follows.pop_first().map(|node| Output::Follows { node })
    }

    /// When to come back.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.groups.next_due()
    }

    /// Asserts the invariants R1 to R19.
    pub fn check_invariants(&self, level: Level) {
        for group in self.groups.values() {
            group.check_invariants(&self.config, self.own, level);
        }
        if level == Level::Full {
            self.groups.check();
            self.check_flows();
            self.check_memory();
        }
    }

    /// What states that come in take, and how many are given away.
    #[cfg(test)]
    pub(super) fn states(&self) -> (u64, usize) {
        let given = self.groups.values().filter(|group| group.copying_to.is_some()).count();
        (self.flows.states, given)
    }

    fn check_flows(&self) {
        let (mut under_way, mut uncommitted) = (BTreeMap::<NodeId, u64>::new(), 0);
        let states = || self.groups.values().filter_map(|group| group.receiving.as_deref());
        let coming: u64 = states().map(Receiving::total).sum();
        assert_eq!(self.flows.states, coming, "R16: what states take that come in");
        let most = self.config.node_snapshot_bytes;
        assert!(
            coming <= most || states().filter(|state| state.total() > 0).count() == 1,
            "R16: {coming} bytes of states"
        );
        for group in self.groups.values() {
            let fed = group.relay.iter().flat_map(|relay| relay.progress());
            let led = if let Role::Leader(leading) = &group.role { Some(leading) } else { None };
            uncommitted += led.map_or(0, |leading| leading.uncommitted);
            for progress in led.iter().flat_map(|leading| leading.progress.iter()).chain(fed) {
                if progress.under_way() > 0 {
                    *under_way.entry(progress.member.node).or_default() += progress.under_way();
                }
            }
        }
        assert_eq!(self.flows.uncommitted, uncommitted, "R12: what waits to be committed on this node");
        let same = self.flows.nodes().eq(under_way.keys().copied())
            && under_way.iter().all(|(&node, &bytes)| self.flows.under_way(node) == bytes);
        assert!(same, "R12: what is under way is not what the groups sent");
    }

    /// A group as seen here.
    #[must_use]
    pub fn status(&self, group: GroupId) -> Option<GroupStatus> {
        self.groups.by_id(group).map(|group| group.status(self.own))
    }

    /// Where each replica of this node stands.
    pub fn places(&self) -> impl Iterator<Item = GroupPlace> + '_ {
        self.groups.values().map(|group| group.standpoint(self.own))
    }

    /// Up to where the log of a group is the one that others go on from.
    #[must_use]
    pub fn shared(&self, group: GroupId, trail: &Trail) -> Option<LogIndex> {
        self.groups.by_id(group).map(|group| group.shared(trail))
    }

    /// Whether the log of a group is being read from the disk, because its owner was not given all that is only there.
    #[must_use]
    pub fn is_read_back(&self, group: GroupId) -> bool {
        let reads = |group: &Group| !matches!(group.standing, Standing::Stopped(_)) && group.awaits_stored();
        self.groups.by_id(group).is_some_and(reads)
    }

    /// The terms of a group's log behind `certain`, the last of them, each with its first entry.
    #[must_use]
    pub fn trail(&self, group: GroupId, certain: LogIndex) -> Trail {
        self.groups.by_id(group).map(|group| group.trail(certain)).unwrap_or_default()
    }

    /// What the log of a group holds and its owner was not given yet, as much of it as can be looked through at once, and whether that is all.
    #[must_use]
    pub fn not_applied(&self, group: GroupId) -> (Entries, bool) {
        self.groups.by_id(group).map_or((Entries::new(), true), Group::not_applied)
    }

    /// What the log of a group holds at `index`, if it still holds it.
    #[must_use]
    pub fn place(&self, group: GroupId, index: LogIndex) -> Option<Place> {
        self.groups.by_id(group)?.log.place(index)
    }

    /// The configuration of a group that is in force here.
    #[must_use]
    pub fn configuration(&self, group: GroupId) -> Option<&Configuration> {
        self.groups.by_id(group).map(|group| group.log.configuration())
    }

    /// The other nodes whose liveness matters here.
    #[must_use]
    pub fn peers(&self) -> Peers {
        self.groups.peers()
    }

    /// What changed since the last call, if anything did: whose liveness matters, and what is led for whom.
    pub fn take_moved(&mut self) -> Option<Moved> {
        self.groups.take_moved()
    }

    /// A replica of a group begins here.
    fn create(
        &mut self,
        now: Instant,
        id: GroupId,
        replica: ReplicaId,
        founding: Configuration,
        begins: Begins,
    ) {
        let (anew, comes) = (begins == Begins::There { anew: true }, begins == Begins::Comes);
        if self.contains(id) {
            if anew {
                // It may have ended while it asked.
                self.with(now, id, |group, _| group.ask_all_voters());
            }
            return;
        }
        let founding = self.configurations.shared(founding);
        self.groups.insert(Group::new(id, replica, Place::default(), founding, self.planted));
        self.with(now, id, |group, context| {
            group.begin_history(context, LogIndex(0));
            group.write_base(context);
            if comes && !context.planted.strikes(Bug::ComesUnderKnownId, || true) {
                group.take_fresh_id(context);
            }
            group.persist_state();
            group.tell_configuration(context);
            if comes {
                group.ask_anew(context);
                return group.tell_role(context);
            }
            let founder = group.log.configuration().votes(group.member(context.own));
            if founder && context.config.is_of_stream(group.id) || group.is_only_voter(context.own) {
                // A disk may have been rolled back to before the group was there: the others know (rules C2 and C3).
                group.verify(context);
                if anew {
                    group.ask_all_voters();
                }
            } else {
                group.arm_election(context);
            }
            group.tell_role(context);
        });
    }

    fn remove(&mut self, now: Instant, id: GroupId) {
        self.with(now, id, |group, context| {
            group.set_role(context, Role::Follower { led: false });
            group.end_receiving(context.flows);
            group.end_relay(context);
            context.shelf.forget(group.generation);
        });
        self.shelf.held -= self.groups.by_id(id).map_or(0, |group| group.log.held());
        if self.groups.remove(id) {
            self.out.extend(super::store::forget_all(id));
        }
    }

    pub(super) fn slots(&self) -> Vec<Slot> {
        self.groups.all()
    }

    fn refuse_unknown(&mut self, group: GroupId, context: u64) -> bool {
        let known = self.contains(group);
        if !known {
            self.out.push_back(Output::Refused { group, context, reason: RefusedReason::Stopped });
        }
        !known
    }

    /// Runs `act` on every group that has a member on `node`, or follows it.
    fn each(&mut self, now: Instant, node: NodeId, act: impl Fn(&mut Group, &mut Context<'_>)) {
        for slot in self.groups.with_member_on(node) {
            self.act(now, slot, &act);
        }
    }

    /// Runs `act` on one group, if it is here.
    fn with(&mut self, now: Instant, id: GroupId, act: impl FnOnce(&mut Group, &mut Context<'_>)) {
        if let Some(slot) = self.groups.find(id) {
            self.act(now, slot, act);
        }
    }

    /// Runs `act` on the group in a slot, and notes what it has to write, to send and to wait for.
    pub(super) fn act(&mut self, now: Instant, slot: Slot, act: impl FnOnce(&mut Group, &mut Context<'_>)) {
        self.now = now;
        let Some(group) = self.groups.get_mut(slot) else { return };
        let (term, commit, held) = (group.term, group.commit, group.log.held());
        let mut context = Context {
            now,
            own: self.own,
            config: &self.config,
            rng: &mut self.rng,
            histories: &mut self.histories,
            suspects: &self.suspects,
            planted: self.planted,
            out: &mut self.out,
            held: &mut self.held,
            flows: &mut self.flows,
            shelf: &mut self.shelf,
            follows: &mut self.follows,
        };
        act(group, &mut context);
        assert!(group.term >= term && group.commit >= commit, "R4: term or commit index went back");
        self.shelf.held = self.shelf.held + group.log.held() - held;
        // All others have nothing that can go.
        while self.shelf.exhausted && self.let_go(slot) {}
        let Some(group) = self.groups.get_mut(slot) else { return };
        if !group.busy && (group.has_unwritten() || group.news != News::None) {
            group.busy = true;
            self.busy.push_back(slot);
        }
        self.groups.note(slot);
    }

    /// Gives out what is to be written, then what is to be sent: a message at a time for each group and member. What waits for the writes is
    /// polled behind both.
    fn give_out(&mut self) {
        let now = self.now;
        if let &[slot] = self.busy.as_slices().0
            && self.busy.len() == 1
        {
            self.busy.clear();
            self.act(now, slot, |group, context| {
                group.write(context);
                group.send_news(context);
                group.busy = false;
            });
        }
        for place in 0..self.busy.len() {
            let slot = self.busy[place];
            self.act(now, slot, Group::write);
        }
        while let Some(slot) = self.busy.pop_front() {
            self.act(now, slot, |group, context| {
                group.send_news(context);
                group.busy = false;
            });
        }
        while let Some((node, slot)) = self.flows.next_turn() {
            self.act(now, slot, |group, context| group.take_turn(context, node));
        }
    }
}
