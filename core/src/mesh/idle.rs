//! Targets that stand still are detached, if their stream says so (M87): whoever leads its group saw one process nothing for as long as that bears, though there was something to process.
//!
//! The word is judged where it is applied, as a wish of an operator would be, and asks for less: nobody goes who is the last, or without whom the policy cannot be met. What follows is a change of members like others
//! (see `members`).

use alloc::boxed::Box;
use alloc::string::{String, ToString as _};

use wattle_proto::mesh as proto;

use super::members::policy_stays;
use super::recovery::number;
use super::requests::Purpose;
use super::state::{Effect, State};
use super::wire::{self, Malformed, TEXT_MAX, id_bytes};
use super::{Body, Mesh};
use crate::id::{AuthorityEpoch, LogIndex, NodeId, StreamInstance};
use crate::members::{ChangeKind, MembersWish};
use crate::node::command::Refusal;
use crate::planted::Bug;
use crate::rare;
use crate::time::{Now, Span};

/// For how many streams it is being told at one time that a target stands still.
pub(super) const IDLE_AT_ONCE: usize = 16;

/// How long one word is asked for.
const ASKED_FOR: Span = Span::secs(2);

/// A target processed nothing for that long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetIdle {
    /// The stream's name.
    pub name: String,
    /// Its life.
    pub instance: StreamInstance,
    /// Under which whoever says so leads.
    pub authority: AuthorityEpoch,
    /// Who.
    pub target: NodeId,
    /// For how long, while that member led.
    pub idle: Span,
}

impl State {
    /// Whoever leads a stream's group, `origin`, says that a target stands still.
    pub(super) fn target_idle(
        &mut self,
        index: LogIndex,
        origin: NodeId,
        report: &TargetIdle,
    ) -> Result<Effect, Refusal> {
        let TargetIdle { name, instance, target, idle, .. } = report;
        let stream = self.streams.get(name).filter(|stream| stream.instance == *instance);
        let stream = stream.ok_or_else(|| Refusal::UnknownStream(name.clone()))?;
        let (bears, left) = (stream.ends.detach_after, stream.ends_left());
        let lost = stream.seal.as_ref().map(|seal| &seal.lost[..]).unwrap_or_default();
        if !left.has(origin) || lost.contains(&origin) || stream.authority() != report.authority {
            return Err(Refusal::Busy);
        }
        // Of a stream that fails targets wait for an operator.
        let fails = self.flow.rules.failed(*instance).is_some();
        if bears == Span::ZERO || *idle < bears || left.place(*target).is_none() || fails {
            return Ok(Effect::Members { instance: *instance, changed: false });
        }
        let known = self.members.get(target).map(|member| member.name.clone());
        let called = known.unwrap_or_else(|| target.to_string());
        let left = left.without(|other| other == *target || lost.contains(&other));
        if !self.planted.strikes(Bug::IdleBelowPolicy, || !left.can_meet_policy()) {
            policy_stays(&called, &left)?;
        }
        let reason = alloc::format!("it processed nothing for {}", bears.words());
        let wish = MembersWish { stream: name.clone(), target: called, kind: ChangeKind::Detach, reason };
        let change = self.intended(stream, *target, &wish, index)?;
        let meets = left.can_meet_policy() || self.planted.has(Bug::IdleBelowPolicy);
        assert!(
            change.is_none() || meets,
            "M87: {target} stood still, and without it the policy of {name} cannot be met"
        );
        rare!(IdleTargetDetached, change.is_some());
        self.intend(name, change)
    }
}

impl Mesh {
    /// This node leads the group of a stream, and a target stands still for longer than that bears.
    pub(super) fn on_target_idle(
        &mut self,
        now: Now,
        instance: StreamInstance,
        authority: AuthorityEpoch,
        (target, idle): (NodeId, Span),
    ) {
        let under_way = self.requests.count(|purpose| matches!(purpose, Purpose::Idle(_)));
        let purpose = Purpose::Idle(instance);
        if self.membership.is_none() || under_way >= IDLE_AT_ONCE || self.requests.has(&purpose) {
            return;
        }
        let Some(name) = self.state.stream_of(instance).map(|stream| stream.name.clone()) else { return };
        // It is said again while it holds, and is not to be asked for longer than that.
        let deadline = Some(now.monotonic + ASKED_FOR);
        let report = TargetIdle { name, instance, authority, target, idle };
        self.submit(now, purpose, Body::TargetIdle(Box::new(report)), deadline);
    }
}

pub(super) fn report_out(report: &TargetIdle) -> proto::TargetIdle {
    let TargetIdle { name, instance, authority, target, idle } = report;
    proto::TargetIdle {
        name: name.clone(),
        instance: id_bytes(instance.to_bytes()),
        authority: authority.0,
        target: id_bytes(target.to_bytes()),
        nanos: idle.as_nanos(),
    }
}

pub(super) fn report_in(report: proto::TargetIdle) -> Result<TargetIdle, Malformed> {
    Ok(TargetIdle {
        name: wire::text(report.name, TEXT_MAX)?,
        instance: StreamInstance::from_slice(&report.instance).ok_or(Malformed("stream instance"))?,
        authority: AuthorityEpoch(number(report.authority)?),
        target: wire::node(&report.target)?,
        idle: Span(report.nanos),
    })
}
