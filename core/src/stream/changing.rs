//! Members of a live stream change (rules C5, D1; decision 21).
//!
//! The control group says what is intended, to everybody. Whoever leads the stream's group goes on from wherever the leader before it came to: an entry takes the
//! target out of the policy, and of what must be kept (S21); once it is applied the group's configuration goes on without the target's replica; once that is committed
//! the control group is told. Each step is seen in the log or in the configuration, so nobody remembers how far a change has come.
//!
//! What most members hold is counted by the old members and by the new ones while a change is known. The entry, and after it the configuration, waits until those
//! who stay hold what was told replicated.

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use super::Output;
use super::common::Common;
use super::entry::Entry;
use super::joining::CatchingUp;
use super::member::{Part, Stream};
use super::state::{Effect, LogState};
use super::store::{forget, forget_staged, space};
use super::streams::Streams;
use crate::id::{LogIndex, NodeId, Sequence, StreamInstance};
use crate::members::{ChangeKind, MemberChange, StreamMembers, TakenOut};
use crate::node::command::Refusal;
use crate::planted::{Bug, Planted};
use crate::rare;
use crate::time::Now;

/// The number of the proposal that takes a target out.
pub(super) const CHANGE: u64 = u64::MAX - 4;

/// A change of the members that is not done yet.
#[derive(Clone, Debug)]
pub(super) struct Changing {
    pub(super) change: MemberChange,
    /// Its entry is proposed, under the present leader.
    pub(super) proposed: bool,
    /// How far whoever is to join has come.
    pub(super) catching_up: CatchingUp,
}

impl Streams {
    /// The members of a stream are to change, or did.
    pub(super) fn members(&mut self, now: Now, instance: StreamInstance, members: StreamMembers) {
        if let Some(out) = members.taken_out(self.common.own) {
            return self.taken_out(instance, out);
        }
        self.more_ends(instance, &members);
        self.take_part(now, instance);
        self.with(instance, |stream, common| stream.members(common, now, members));
    }

    /// This node has no part in a stream any more: all that it kept of it goes.
    fn taken_out(&mut self, instance: StreamInstance, out: &TakenOut) {
        if self.out.insert(instance, out.reason.clone()).is_some() && !self.streams.contains_key(&instance) {
            return;
        }
        rare!(TakenOutTold);
        if let Some(stream) = self.streams.get_mut(&instance) {
            stream.refuse_handlers(&mut self.common, &Refusal::TakenOut(out.reason.clone()));
        }
        self.drop_stream(instance);
    }

    /// Why this node has no part in a stream that it was a target of.
    pub(super) fn out_of(&self, instance: StreamInstance) -> Option<Refusal> {
        self.out.get(&instance).map(|reason| Refusal::TakenOut(reason.clone()))
    }

    /// Whether this node was taken out of a stream.
    #[must_use]
    pub fn is_out(&self, instance: StreamInstance) -> bool {
        self.out.contains_key(&instance)
    }

    /// Lets go of all that is kept of a stream.
    pub(super) fn drop_stream(&mut self, instance: StreamInstance) {
        let Some(mut stream) = self.take_stream(instance) else { return };
        if stream.stopped.take().is_none() {
            stream.refuse_waiting(&mut self.common);
        }
        for slot in stream.store.iter().map(|(slot, _)| slot).collect::<Vec<_>>() {
            self.common.cache.remove(instance, slot);
        }
        stream.drop_parked(&mut self.common);
        self.common.reserved -= stream.source.staging.to_come();
        let kept = stream.store.iter().filter_map(|(_, kept)| kept.origin.map(|(upload, _)| upload));
        let uploads: BTreeSet<u128> = kept.chain(stream.source.staging.ids()).collect();
        for upload in uploads {
            self.common.emit(Output::Forget(forget_staged(upload, u64::MAX)));
        }
        for space in space::ALL {
            self.common.emit(Output::Forget(forget(instance, space, u64::MAX)));
        }
    }
}

impl Stream {
    /// Whether a member was taken out of the stream, by an entry that is applied here. If a seal goes on from its log it is in again, until it is lost, too: nobody
    /// else has all that is in there.
    pub(super) fn is_out(&self, node: NodeId) -> bool {
        self.ends.place(node).is_some_and(|place| self.head.is_out(place)) && !self.founds(node)
    }

    /// Whether a seal goes on from the log of that member.
    fn founds(&self, node: NodeId) -> bool {
        self.seal.as_ref().is_some_and(|seal| seal.end.is_some_and(|(founder, _)| founder == node))
    }

    /// Whether a member counts no more: it was named lost, or taken out.
    pub(super) fn is_gone(&self, node: NodeId) -> bool {
        self.is_lost(node) || self.is_out(node)
    }

    /// The same for what targets processed.
    pub(super) fn passed_over(&self, common: &Common, node: NodeId) -> bool {
        if self.leaving().is_some_and(|leaving| leaving == node && !self.is_gone(node))
            && common.planted.strikes(Bug::MembersBeforeEntry, || true)
        {
            return true;
        }
        if self.has_drained(node, self.ends.place(node).map(|place| self.heard.get(place)))
            || self.drains(node).is_some() && common.planted.strikes(Bug::DrainForgetsLast, || true)
        {
            return true;
        }
        let back = || self.is_out(node) && self.peer(node).is_some_and(|peer| peer.standing.is_some());
        self.is_gone(node) && !common.planted.strikes(Bug::TakenOutCounts, back)
    }

    /// The last message that a target has to process, if it is being drained.
    fn drains(&self, node: NodeId) -> Option<Sequence> {
        self.head.drains(self.ends.place(node)?)
    }

    /// Whether a target that is being drained has processed what it has to, by this mark.
    pub(super) fn has_drained(&self, node: NodeId, mark: Option<Sequence>) -> bool {
        self.drains(node).zip(mark).is_some_and(|(upto, mark)| mark >= upto)
    }

    /// The target that is on its way out.
    pub(super) fn leaving(&self) -> Option<NodeId> {
        let change = self.changing.as_ref().map(|changing| &changing.change)?;
        (!matches!(change.kind, ChangeKind::Add(_))).then_some(change.node)
    }

    /// The control group told how the members are to change, or did.
    fn members(&mut self, common: &mut Common, now: Now, members: StreamMembers) {
        let known = self.changing.as_ref().map(|changing| changing.change.number);
        self.recorded(&members);
        if members.change.as_ref().map(|change| change.number) != known {
            let catching_up = CatchingUp::default();
            self.changing =
                members.change.map(|change| Box::new(Changing { change, proposed: false, catching_up }));
            self.meet(common.own);
        }
        self.tell_known(common);
        self.go_on_changing(common);
        self.pump(common, now);
        self.arm(common, now);
    }

    /// Another leader, or another term: what was proposed may have come to nothing.
    pub(super) fn change_again(&mut self, common: &Common) {
        let proposed = || self.changing.as_ref().is_some_and(|changing| changing.proposed);
        if common.planted.strikes(Bug::ChangeProposedOnce, proposed) {
            return;
        }
        self.recorded_again();
        if let Some(changing) = &mut self.changing {
            changing.proposed = false;
            changing.catching_up = CatchingUp::default();
        }
    }

    /// Whether this member leads, and a change is to go on.
    pub(super) fn changes(&self) -> bool {
        self.changing.is_some() && self.decides_members()
    }

    /// Whether this member leads, and may have the log say who the members are.
    pub(super) fn decides_members(&self) -> bool {
        let sealing = self.seal.as_ref().is_some_and(|seal| seal.sequence.is_none());
        self.leading && self.stopped.is_none() && !sealing
    }

    /// Takes the next step of the change that is under way.
    pub(super) fn go_on_changing(&mut self, common: &mut Common) {
        if !self.decides_members() || !self.knows_end() || self.says_recorded(common) {
            return;
        }
        let (instance, own) = (self.instance, common.own);
        let Some((node, kind)) = self.changing.as_ref().map(|c| (c.change.node, c.change.kind)) else {
            return;
        };
        let place = self.ends.place(node);
        if let ChangeKind::Add(_) = kind {
            return if place.is_some() { self.conform(common) } else { self.go_on_joining(common, node) };
        }
        let Some(place) = place else {
            // It was to be added, and never joined.
            return self.decline(common, node);
        };
        if node == own {
            // Whoever is to go does not decide about it. One that lives goes on until then, and hands over to its source as ever.
            if kind == ChangeKind::Detach {
                common.emit(Output::Resign { instance, leaves: true });
            }
            return;
        }
        let drained = || self.has_drained(node, Some(self.heard.get(place)));
        let entry = match kind {
            _ if self.head.is_out(place) => None,
            // It cannot process any more.
            ChangeKind::Drain if self.is_lost(node) => Some(Entry::Detach { place }),
            ChangeKind::Drain if self.drains(node).is_none() => Some(Entry::Drain { place }),
            ChangeKind::Drain if !drained() && !common.planted.has(Bug::DrainForgetsLast) => return,
            ChangeKind::Drain | ChangeKind::Detach | ChangeKind::Add(_) => Some(Entry::Detach { place }),
        };
        rare!(TargetDrained, kind == ChangeKind::Drain && drained());
        let leaves = entry.as_ref().is_none_or(|entry| matches!(entry, Entry::Detach { .. }));
        if leaves && !self.copied(node, common.planted) {
            return rare!(ChangeWaitsForCopies);
        }
        match entry {
            Some(entry) => self.propose_change(common, &entry),
            None => self.conform(common),
        }
    }

    /// Who is to vote in its group: as at its begin, of those who are left; as it is, once it was founded anew.
    pub(super) fn voters(&self) -> Vec<NodeId> {
        match self.seal {
            Some(_) => Vec::new(),
            None => self.ends.without(|node| self.is_out(node)).voters(),
        }
    }

    /// Whether most of those who stay hold what was told to be held by most, or to be completed (rule D1). The target that leaves may be the only one that
    /// processed it. What was told under other leaders, or to an earlier start of this one, nobody remembers here: it was committed then, and so stands in front
    /// of where this one began.
    fn copied(&self, leaving: NodeId, planted: Planted) -> bool {
        let (replicated, completed) = self.told();
        let stays = |node: NodeId| node != leaving && self.is_member(node) && !self.is_gone(node);
        let held = self.held_by_most(true, |node| !stays(node));
        held >= replicated
            && (held >= completed || planted.strikes(Bug::CopiedWithoutCompleted, || true))
            && (held >= self.led_behind || planted.strikes(Bug::ToldForgotten, || true))
    }

    /// What most of the members have to hold before others count.
    pub(super) fn owed_to_copies(&self) -> LogIndex {
        let (replicated, completed) = self.told();
        replicated.max(completed).max(self.led_behind)
    }

    /// Where that stands which was told replicated, and completed.
    fn told(&self) -> (LogIndex, LogIndex) {
        let index_of = |upto: Sequence| {
            let slot = self.store.holding(upto).and_then(|slot| self.store.get(slot));
            slot.and_then(|kept| kept.taken).unwrap_or_default()
        };
        let replicated = self.source.replicated.max(self.source.told_replicated).min(self.head.taken);
        (index_of(replicated), index_of(self.head.completed))
    }

    /// The last entry that most of the members hold durably of whom `gone` does not hold, as far as the leader knows; it may be one of them `itself`.
    pub(super) fn held_by_most(&self, itself: bool, gone: impl Fn(NodeId) -> bool) -> LogIndex {
        let left = || self.peers.iter().filter(|peer| !gone(peer.node));
        let members = left().count() + usize::from(itself);
        let others = members / 2 + usize::from(!itself);
        if others == 0 {
            return self.head.applied;
        }
        let enough = |index: &LogIndex| left().filter(|peer| peer.matched >= *index).count() >= others;
        left().map(|peer| peer.matched).filter(enough).max().unwrap_or_default()
    }

    /// The group's configuration is as the log has it: the change is done.
    pub(super) fn conforms(&mut self, common: &mut Common) {
        let Some(MemberChange { node, kind, number, .. }) =
            self.changing.as_ref().map(|changing| changing.change.clone())
        else {
            return;
        };
        let joined = || self.head.joined().iter().find(|joined| joined.node == node && !self.is_out(node));
        let first =
            joined().filter(|_| matches!(kind, ChangeKind::Add(_))).map(|joined| joined.late.behind.next());
        if self.changes() && (self.is_out(node) || first.is_some()) {
            let (instance, authority) = (self.instance, self.authority());
            common.emit(Output::MembersChanged { instance, authority, number, first });
        }
    }

    /// What an entry that takes a target out means to this member.
    pub(super) fn detached(&mut self, common: &mut Common, effect: Effect) {
        if let Effect::Draining { .. } = effect {
            rare!(TargetDraining);
            // Its next entry is another one.
            if let Some(changing) = &mut self.changing {
                changing.proposed = false;
            }
        }
        let Effect::Detached { place } = effect else { return };
        rare!(TargetDetached);
        self.recorded_again();
        let Some(&node) = self.ends.targets.get(place) else { return };
        if let Some(peer) = self.peer_mut(node) {
            peer.standing = None;
        }
        self.left_out(common);
    }

    /// The log says that this member is out: it does nothing more, and keeps what it has until the control group says so, too.
    pub(super) fn left_out(&mut self, common: &mut Common) {
        if self.is_out_itself() {
            self.stop(common, String::from("its log says so"));
        }
    }

    /// Whether this member was taken out, or passed over on its way out.
    pub(super) fn is_out_itself(&self) -> bool {
        self.own_target().is_some_and(|own| self.is_out(own) || self.is_passed() && !self.founds(own))
    }

    /// Whether this target took over a state from behind messages that it did not process, and has not to (S22). Its records say so: nobody else lets go of what is
    /// not marked.
    pub(super) fn is_passed(&self) -> bool {
        self.floor.taken > self.target.mark
            && self
                .own_target()
                .and_then(|own| self.ends.place(own))
                .is_some_and(|own| self.floor.passes_over(own))
    }

    /// This node, if it is a target.
    pub(super) fn own_target(&self) -> Option<NodeId> {
        let own = || self.ends.targets.iter().copied().find(|&node| self.peer(node).is_none());
        (self.part == Part::Target).then(own).flatten()
    }

    /// Whether this target may be passed over by a state: who is out, or was drained of less, was not waited for when that let go of bytes. One from whose log a seal
    /// goes on was, since then, and is owed nothing of before.
    pub(super) fn may_be_passed(&self, own: NodeId, state: &LogState) -> bool {
        let place = self.ends_by(state).place(own).filter(|_| !self.founds(own));
        place.is_some_and(|place| state.passes_over(place))
    }

    /// Whether it does nothing any more. Whoever was taken out follows its log, and takes the bytes that appends wait for, until it is no member of the group: others
    /// may need its vote until then, and a seal may go on from its log. Nobody needs that of one that others go on without.
    pub(super) fn rests(&self) -> bool {
        self.stopped.is_some() && (self.shut_out || !self.is_out_itself())
    }

    /// What a change waits for, as far as it is known here.
    pub(super) fn change_waits(&self) -> Option<String> {
        if let Some(what) = self.joining_waits() {
            return Some(what);
        }
        let node = self.leaving()?;
        let out = self.is_out(node);
        let drained = self.has_drained(node, self.ends.place(node).map(|place| self.heard.get(place)));
        Some(match self.leader {
            None => {
                "the change of its members: nobody leads its group, which needs most of those who vote".into()
            }
            Some(leader) if leader == node && !out => {
                "the change of its members: another than the one who is to go must lead".into()
            }
            _ if !self.leading => return None,
            _ if !drained && let Some(upto) = self.drains(node) => {
                format!("the change of its members: target {node} is to process everything up to {upto}")
            }
            _ if !self.copied(node, Planted::none()) => {
                "the change of its members: those who stay are to hold what was told replicated".into()
            }
            Some(leader) if out && self.voters().len() == 1 && leader != self.ends.source => {
                format!("the change of its members: its source {} must lead", self.ends.source)
            }
            _ if out => "the change of its members: those who stay are to agree on it".to_string(),
            _ => "the change of its members: its log is to say so".to_string(),
        })
    }
}

impl Stream {
    /// Panics if an entry that is about to be applied lets go of what a target has not processed that is in. Where a seal changes who counts, members may
    /// hear of that at different moments.
    pub(super) fn check_let_go(&self, entry: Option<&Entry>) {
        let Some(Entry::Complete { released, marks, .. }) = entry.filter(|_| self.seal.is_none()) else {
            return;
        };
        let drained = |node| self.has_drained(node, self.ends.place(node).map(|place| marks.get(place)));
        let all = self.ends.released(|place| marks.get(place), |node| self.is_out(node) || drained(node));
        assert!(
            *released <= all.max(self.head.released),
            "S21: {} lets go of what a target that is in has not processed",
            self.instance
        );
    }
}
