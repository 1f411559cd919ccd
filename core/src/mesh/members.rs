//! Changes of a live stream's members, in the replicated state (rules C5, D1, D2).
//!
//! The control group records what a stream's members are to be before anything is done about it, and that it was done afterwards; what lies between is the
//! business of the stream's own group (see `stream/changing.rs`). Only one change of a stream is under way at a time. Until its outcome is here, nobody can
//! tell by which members the group decides, and a seal asks all of them.

use alloc::boxed::Box;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use wattle_proto::mesh as proto;

use super::recovery::number;
use super::sealing::StreamGroup;
use super::state::{Effect, State, Stream};
use super::wire::{self, Malformed, TEXT_MAX, id_bytes};
use crate::ends::{Ends, Late, Policy, TARGETS_MAX};
use crate::id::{AuthorityEpoch, LogIndex, NodeId, Sequence, StreamInstance};
use crate::members::{
    Added, ChangeKind, MemberChange, MembersRefusal, MembersWish, REASON_MAX, Start, StreamMembers, TakenOut,
};
use crate::node::command::Refusal;
use crate::planted::Bug;

/// What a change takes of the encoded state beside its reason, at most.
const CHANGE_BYTES: usize = 40;
/// What a target that was added takes.
const ADDED_BYTES: usize = 40;
/// What all of them take besides.
const MEMBERS_BYTES: usize = 12;

/// A change is done: the stream's log says so, and so does the configuration of its group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MembersChanged {
    /// The stream's name.
    pub name: String,
    /// Its life.
    pub instance: StreamInstance,
    /// Under which it was done.
    pub authority: AuthorityEpoch,
    /// The change.
    pub number: LogIndex,
    /// The first message that a target owes which was added. Without it nobody joined.
    pub first: Option<Sequence>,
}

impl Stream {
    /// How its members differ from those it was opened with.
    #[must_use]
    pub fn members(&self) -> StreamMembers {
        self.members.as_deref().cloned().unwrap_or_default()
    }

    /// Whether a node was taken out of it.
    pub(super) fn is_out(&self, node: NodeId) -> bool {
        self.members.as_ref().is_some_and(|members| members.taken_out(node).is_some())
    }

    /// Its ends with those who were added, or are about to be, and without those who were taken out.
    pub(super) fn ends_left(&self) -> Ends {
        let late = self.members.iter().flat_map(|members| members.late());
        let ends = late.fold(self.ends.clone(), |ends, node| ends.with(node, Late::default()));
        ends.without(|node| self.is_out(node))
    }

    /// Whether a node is one of its ends, was, or is about to be.
    pub(super) fn concerns(&self, node: NodeId) -> bool {
        self.ends.has(node) || self.members.iter().any(|members| members.late().any(|late| late == node))
    }

    /// Whether a node is about to be a target, and none yet as far as is recorded.
    pub(super) fn awaits(&self, node: NodeId) -> bool {
        let change = self.members.as_ref().and_then(|members| members.change.as_ref());
        change.is_some_and(|change| change.node == node && matches!(change.kind, ChangeKind::Add(_)))
    }

    /// Who makes up its group by the other side of the change under way, if one is: without whoever is to go, or is about to come.
    pub(super) fn group_to_be(&self) -> Option<StreamGroup> {
        let change = self.members.as_ref()?.change.as_ref()?;
        let mut done = self.clone();
        done.change_done(change.number, None);
        Some(done.group())
    }

    /// The change of that number is done; a target that was to be added owes what there is from `first` on, or did not join. Whether it was under way.
    fn change_done(&mut self, number: LogIndex, first: Option<Sequence>) -> bool {
        let Some(members) = self.members.as_deref_mut() else { return false };
        let Some(MemberChange { node, kind, reason, .. }) =
            members.change.take_if(|change| change.number == number)
        else {
            return false;
        };
        let added = matches!(kind, ChangeKind::Add(_));
        if added {
            members.added.push(Added { node, first });
        }
        if !added || first.is_none() {
            members.out.push(TakenOut { node, kind, reason });
        }
        let alone = self.ends_left().targets.len() == 1;
        self.members.iter_mut().for_each(|members| members.once_alone |= alone);
        true
    }

    /// The most that changes of its members take of the encoded state.
    pub(super) fn members_bytes(&self) -> usize {
        let Some(members) = &self.members else { return 0 };
        let reasons = members.out.iter().map(|out| &out.reason);
        let reasons = reasons.chain(members.change.iter().map(|change| &change.reason));
        let added = members.late().count() * ADDED_BYTES;
        MEMBERS_BYTES + added + reasons.map(|reason| CHANGE_BYTES + reason.len()).sum::<usize>()
    }

    /// Panics if its members break a rule.
    pub(super) fn check_members(&self) {
        let Some(members) = &self.members else { return };
        let name = &self.name;
        let opened = |node: &NodeId| self.ends.place(*node).is_some();
        let added: Vec<NodeId> = members.added.iter().map(|added| added.node).collect();
        let targets = |node: &NodeId| opened(node) || added.contains(node);
        let out: Vec<NodeId> = members.out.iter().map(|out| out.node).collect();
        assert!(out.iter().all(targets), "M75: who was never a target of {name} was taken out of it");
        let twice = |nodes: &[NodeId]| (1..nodes.len()).any(|at| nodes[..at].contains(&nodes[at]));
        assert!(!twice(&out), "M75: a target of {name} was taken out twice");
        let fresh = !added.iter().any(|node| opened(node) || *node == self.ends.source) && !twice(&added);
        assert!(fresh, "M77: who was an end of {name} before was added to it");
        let fits = members.change.as_ref().is_none_or(|change| match change.kind {
            ChangeKind::Add(_) => !targets(&change.node) && change.node != self.ends.source,
            ChangeKind::Drain | ChangeKind::Detach => targets(&change.node) && !out.contains(&change.node),
        });
        assert!(fits, "M74: a change of {name} is under way that can do nothing");
        let undecided =
            members.added.iter().filter(|added| added.first.is_none() && !out.contains(&added.node));
        let leaving = |added: &Added| members.change.as_ref().is_some_and(|change| change.node == added.node);
        assert!(undecided.into_iter().all(leaving), "M77: somebody is a target of {name} and owes nothing");
        let held = self.ends.targets.len() + added.len();
        assert!(held <= TARGETS_MAX, "M77: {name} has had more targets than it can tell apart");
        assert!(out.len() < held, "M75: nobody of {name} is left to process anything");
    }
}

impl State {
    /// The change that a wish asks for; `None` if it is under way, or done.
    fn wished(
        &self,
        stream: &Stream,
        wish: &MembersWish,
        index: LogIndex,
    ) -> Result<Option<MemberChange>, Refusal> {
        let MembersWish { target, kind, .. } = wish;
        let comes = matches!(kind, ChangeKind::Add(_));
        let node = if comes { self.resolve(target) } else { self.resolve_former(target) };
        self.intended(stream, node.ok_or_else(|| Refusal::UnknownNode(target.clone()))?, wish, index)
    }

    /// The same, where it is known which node is meant.
    pub(super) fn intended(
        &self,
        stream: &Stream,
        node: NodeId,
        wish: &MembersWish,
        index: LogIndex,
    ) -> Result<Option<MemberChange>, Refusal> {
        let MembersWish { target, kind, reason, .. } = wish;
        let comes = matches!(kind, ChangeKind::Add(_));
        if node == stream.ends.source {
            return Err(MembersRefusal::Source(target.clone()).into());
        }
        if !comes && !stream.concerns(node) {
            return Err(MembersRefusal::NotTarget(target.clone()).into());
        }
        if stream.is_out(node) {
            return if comes { Err(MembersRefusal::WasTarget(target.clone()).into()) } else { Ok(None) };
        }
        if reason.is_empty() && !comes || reason.len() > REASON_MAX {
            return Err(MembersRefusal::NoReason.into());
        }
        let lost = stream.seal.as_ref().map(|seal| &seal.lost[..]).unwrap_or_default();
        if lost.contains(&node) {
            return Err(MembersRefusal::Lost(target.clone()).into());
        }
        let under_way = stream.members.as_ref().and_then(|members| members.change.as_ref());
        if let Some(change) = under_way {
            // Who was to be drained and is gone before that came to its end can be detached; who is being detached need not be drained. Who is being added can
            // be detached, too: then it does not join, or is out again.
            let same = change.node == node;
            let superseded = *kind == ChangeKind::Detach && change.kind != ChangeKind::Detach;
            let repeated = match (change.kind, kind) {
                (ChangeKind::Add(_), ChangeKind::Add(_)) => true,
                (ChangeKind::Add(_), _) | (_, ChangeKind::Add(_)) => false,
                (before, after) => before == *after || *after == ChangeKind::Drain,
            };
            if same && repeated {
                return Ok(None);
            }
            let name = self.members.get(&change.node).map(|member| member.name.clone());
            let name = name.unwrap_or_else(|| change.node.to_string());
            if !same || !superseded {
                return Err(MembersRefusal::UnderWay(change.words(&name)).into());
            }
        }
        if stream.seal.as_ref().is_some_and(|seal| seal.sequence.is_none()) {
            return Err(MembersRefusal::BeingSealed.into());
        }
        if let ChangeKind::Add(start) = kind {
            return Ok(self.may_add(stream, (node, target), *start)?.then(|| MemberChange {
                number: index,
                node,
                kind: *kind,
                reason: reason.clone(),
            }));
        }
        let left = stream.ends_left().without(|other| other == node || lost.contains(&other));
        if left.targets.is_empty() {
            return Err(MembersRefusal::LastTarget(target.clone()).into());
        }
        if *kind == ChangeKind::Drain {
            policy_stays(target, &left)?;
        }
        Ok(Some(MemberChange { number: index, node, kind: *kind, reason: reason.clone() }))
    }

    /// Whether a node that is no end of a stream may become a target of it (M77); `false` if it was added already.
    fn may_add(
        &self,
        stream: &Stream,
        (node, name): (NodeId, &str),
        start: Start,
    ) -> Result<bool, MembersRefusal> {
        let members = stream.members.as_deref();
        let added = members.map(|members| &members.added[..]).unwrap_or_default();
        if added.iter().any(|added| added.node == node) {
            return Ok(false);
        }
        if stream.ends.place(node).is_some() {
            return Err(MembersRefusal::IsTarget(name.into()));
        }
        if stream.seal.is_some() {
            return Err(MembersRefusal::Sealed);
        }
        if stream.ends.targets.len() + added.len() >= TARGETS_MAX {
            return Err(MembersRefusal::TooMany);
        }
        if start == Start::At(Sequence(0)) {
            return Err(MembersRefusal::NoMessage);
        }
        Ok(true)
    }

    /// The members of a stream are to change.
    pub(super) fn change_members(&mut self, index: LogIndex, wish: &MembersWish) -> Result<Effect, Refusal> {
        let stream = self.streams.get(&wish.stream);
        let stream = stream.ok_or_else(|| Refusal::UnknownStream(wish.stream.clone()))?;
        let change = self.wished(stream, wish, index)?;
        self.intend(&wish.stream, change)
    }

    /// The members of the stream of that name, which is open, are to change in that way, if in any.
    pub(super) fn intend(&mut self, name: &str, change: Option<MemberChange>) -> Result<Effect, Refusal> {
        let stream = self.streams.get(name).ok_or_else(|| Refusal::UnknownStream(name.into()))?;
        let (instance, before) = (stream.instance, stream.bytes());
        let Some(change) = change else {
            return Ok(Effect::Members { instance, changed: false });
        };
        let mut members = stream.members();
        if let Some(before) = members.change.replace(change)
            && matches!(before.kind, ChangeKind::Add(_))
        {
            // It counts as one that was added until it is out: nobody can tell here whether it joined.
            members.added.push(Added { node: before.node, first: None });
        }
        let changed = Stream { members: Some(Box::new(members)), ..stream.clone() };
        let after = changed.bytes();
        self.has_room(before, after).map_err(Refusal::Invalid)?;
        self.bytes = self.bytes - before + after;
        self.streams.insert(name.into(), changed);
        Ok(Effect::Members { instance, changed: true })
    }

    /// A change is done. Whoever leads the stream's group says so until it is seen here.
    pub(super) fn members_changed(
        &mut self,
        origin: NodeId,
        done: &MembersChanged,
    ) -> Result<Effect, Refusal> {
        let instance = done.instance;
        let stream = self.streams.get_mut(&done.name).filter(|stream| stream.instance == instance);
        let stream = stream.ok_or_else(|| Refusal::UnknownStream(done.name.clone()))?;
        // Who makes up the group stays as it is while a seal asks them. Under another authority the group is another, and takes the step again (M74).
        let seal = stream.seal.as_deref();
        let asks = seal.is_some_and(|seal| seal.sequence.is_none() || seal.lost.contains(&origin));
        let asks = asks || stream.authority() != done.authority;
        let asks = asks && !self.planted.strikes(Bug::ChangedWhileSealed, || true);
        if !stream.concerns(origin) || stream.is_out(origin) || asks {
            return Err(Refusal::Busy);
        }
        let before = stream.bytes();
        let changed = stream.change_done(done.number, done.first);
        let after = stream.bytes();
        self.bytes = self.bytes - before + after;
        Ok(Effect::Members { instance, changed })
    }

    /// What to say of a wish to change members that was decided before.
    pub(super) fn recall_members(&self, name: &str, done: bool) -> Result<Effect, Refusal> {
        let stream = self.streams.get(name).filter(|stream| done && stream.members.is_some());
        let instance = stream.map(|stream| stream.instance).ok_or(Refusal::Busy)?;
        Ok(Effect::Members { instance, changed: false })
    }
}

/// Whether a policy can be met by those who are left, as it was meant. Past a seal, or where one is detached, it is met as far as it can be.
pub(super) fn policy_stays(target: &str, left: &Ends) -> Result<(), MembersRefusal> {
    if left.can_meet_policy() {
        return Ok(());
    }
    let target = target.to_string();
    Err(match left.policy {
        Policy::Count(needed) => MembersRefusal::BelowCount { target, left: left.targets.len(), needed },
        Policy::All | Policy::Named(_) => MembersRefusal::LastNamed(target),
    })
}

impl MemberChange {
    fn words(&self, name: &str) -> String {
        match self.kind {
            ChangeKind::Add(_) => alloc::format!("{name} is being added"),
            ChangeKind::Detach => alloc::format!("{name} is being detached"),
            ChangeKind::Drain => alloc::format!("{name} is being drained"),
        }
    }
}

impl ChangeKind {
    /// Its number, and the message that it names.
    fn numbers(self) -> (u32, u64) {
        match self {
            Self::Detach => (1, 0),
            Self::Drain => (2, 0),
            Self::Add(Start::FirstKept) => (3, 0),
            Self::Add(Start::Now) => (4, 0),
            Self::Add(Start::At(start)) => (5, start.0),
        }
    }

    fn of(number: u32, start: u64) -> Result<Self, Malformed> {
        match number {
            1 => Ok(Self::Detach),
            2 => Ok(Self::Drain),
            3 => Ok(Self::Add(Start::FirstKept)),
            4 => Ok(Self::Add(Start::Now)),
            5 => Ok(Self::Add(Start::At(Sequence(self::number(start)?)))),
            _ => Err(Malformed("what becomes of a target")),
        }
    }
}

fn reason_in(reason: String) -> Result<String, Malformed> {
    wire::text(reason, REASON_MAX)
}

fn change_in(change: proto::MemberChange) -> Result<MemberChange, Malformed> {
    Ok(MemberChange {
        number: LogIndex(number(change.number)?),
        node: wire::node(&change.node)?,
        kind: ChangeKind::of(change.kind, change.start)?,
        reason: reason_in(change.reason)?,
    })
}

fn change_out(node: NodeId, kind: ChangeKind, reason: &str, number: LogIndex) -> proto::MemberChange {
    let node = id_bytes(node.to_bytes());
    let (kind, start) = kind.numbers();
    proto::MemberChange { node, kind, reason: reason.into(), number: number.0, start }
}

pub(super) fn members_out(members: &StreamMembers) -> proto::StreamMembers {
    let out = members.out.iter().map(|out| change_out(out.node, out.kind, &out.reason, LogIndex(0)));
    let change = members.change.as_ref();
    let change = change.map(|change| change_out(change.node, change.kind, &change.reason, change.number));
    let added = members.added.iter().map(|added| proto::AddedTarget {
        node: id_bytes(added.node.to_bytes()),
        first: added.first.map(|first| first.0),
    });
    proto::StreamMembers {
        change,
        out: out.collect(),
        added: added.collect(),
        once_alone: members.once_alone,
    }
}

pub(super) fn members_in(members: proto::StreamMembers) -> Result<StreamMembers, Malformed> {
    if members.out.len() > TARGETS_MAX || members.added.len() > TARGETS_MAX {
        return Err(Malformed("too many targets were added to a stream, or taken out of it"));
    }
    let out = members.out.into_iter().map(|out| {
        let MemberChange { node, kind, reason, .. } = change_in(out)?;
        Ok(TakenOut { node, kind, reason })
    });
    let out = out.collect::<Result<_, Malformed>>()?;
    let added = members.added.into_iter().map(|added| {
        let first = added.first.map(|first| number(first).map(Sequence)).transpose()?;
        Ok(Added { node: wire::node(&added.node)?, first })
    });
    let added = added.collect::<Result<_, Malformed>>()?;
    let change = members.change.map(change_in).transpose()?;
    Ok(StreamMembers { change, added, once_alone: members.once_alone, out })
}

pub(super) fn wish_out(wish: &MembersWish) -> proto::ChangeMembers {
    let (kind, start) = wish.kind.numbers();
    let (stream, target) = (wish.stream.clone(), wish.target.clone());
    proto::ChangeMembers { stream, target, kind, reason: wish.reason.clone(), start }
}

pub(super) fn wish_in(wish: proto::ChangeMembers) -> Result<MembersWish, Malformed> {
    Ok(MembersWish {
        stream: wire::text(wish.stream, TEXT_MAX)?,
        target: wire::text(wish.target, TEXT_MAX)?,
        kind: ChangeKind::of(wish.kind, wish.start)?,
        reason: reason_in(wish.reason)?,
    })
}

pub(super) fn changed_out(done: &MembersChanged) -> proto::MembersChanged {
    proto::MembersChanged {
        name: done.name.clone(),
        instance: id_bytes(done.instance.to_bytes()),
        number: done.number.0,
        authority: done.authority.0,
        first: done.first.map(|first| first.0),
    }
}

pub(super) fn changed_in(done: proto::MembersChanged) -> Result<MembersChanged, Malformed> {
    Ok(MembersChanged {
        name: wire::text(done.name, TEXT_MAX)?,
        instance: StreamInstance::from_slice(&done.instance).ok_or(Malformed("stream instance"))?,
        authority: AuthorityEpoch(number(done.authority)?),
        number: LogIndex(number(done.number)?),
        first: done.first.map(|first| number(first).map(Sequence)).transpose()?,
    })
}
