//! Streams that fail, as their policy says (M86): a target's handler failed at a message so often that the stream takes nothing more in until an operator resumes it.
//!
//! The target says so until it is known in the mesh, and from then on it is a rule about that stream like others (see `flow`): a source goes by it, its next start too, and a resume takes
//! it away. A stream fails once for each time that it was resumed, whatever becomes of what was said before: each such word says of how many resumes its target knew, and one that does not
//! know of all of them does nothing. The handler has been told to try again since, or is about to be.

use alloc::boxed::Box;
use alloc::string::String;

use wattle_proto::mesh as proto;

use super::recovery::number;
use super::requests::Purpose;
use super::state::{Effect, State};
use super::wire::{self, Malformed, TEXT_MAX, id_bytes, node};
use super::{Body, Mesh, Output};
use crate::ends::Poison;
use crate::flow::{FAILED_REASON_MAX, Failed, FailedAt, FlowRefusal, RULES_MAX, Rule, Scope, Which};
use crate::id::{LogIndex, NodeId, Sequence, StreamInstance};
use crate::node::command::Refusal;
use crate::planted::Bug;
use crate::rare;
use crate::time::{Now, Wall};

/// For how many streams it is being told at one time that they fail.
pub(super) const FAILURES_AT_ONCE: usize = 16;

/// A target's handler failed at a message as often as the policy of the stream bears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamFailed {
    /// The stream's name.
    pub name: String,
    /// Its life.
    pub instance: StreamInstance,
    /// At what.
    pub at: FailedAt,
}

impl StreamFailed {
    /// What to say of it if it was decided before.
    pub(super) fn recall(&self, done: bool) -> Result<Effect, Refusal> {
        let effect = || Effect::Flow { scope: Scope::Stream(self.instance), changed: false };
        done.then(effect).ok_or(Refusal::Busy)
    }
}

impl State {
    /// A target, `origin`, says that its handler failed.
    pub(super) fn stream_failed(
        &mut self,
        index: LogIndex,
        origin: NodeId,
        report: &StreamFailed,
    ) -> Result<Effect, Refusal> {
        let (scope, at) = (Scope::Stream(report.instance), &report.at);
        let stream = self.streams.get(&report.name).filter(|stream| stream.instance == report.instance);
        let stream = stream.ok_or_else(|| Refusal::UnknownStream(report.name.clone()))?;
        let of_it = stream.ends_left().place(origin).is_some();
        let fails = matches!(stream.ends.poison, Poison::Fail { .. });
        let stale = at.resumed < stream.resumed;
        rare!(StaleFailure, stale);
        let stale = stale && !self.planted.strikes(Bug::StaleFailureCounts, || true);
        let before = self.flow.rules.get(&scope).cloned().unwrap_or_default();
        if !of_it || !fails || stale || before.failed.is_some() {
            return Ok(Effect::Flow { scope, changed: false });
        }
        if self.flow.rules.len() >= RULES_MAX && before.is_empty() {
            return Err(FlowRefusal::TooMany.into());
        }
        let failed = Failed { target: origin, at: at.clone(), time: self.time };
        self.flow.rules.put(scope.clone(), Rule { failed: Some(Box::new(failed)), ..before });
        self.flow.changed = index;
        Ok(Effect::Flow { scope, changed: true })
    }

    /// A stream that failed is resumed. A target may know of more resumes than this state does: a recovery of a lost quorum goes on without its newest entries.
    pub(super) fn resume_failed(&mut self, which: &Which, known: u64) {
        rare!(FailedResumed);
        let Which::Stream(name) = which else { return };
        if let Some(stream) = self.streams.get_mut(name) {
            stream.resumed = stream.resumed.max(known).saturating_add(1);
        }
    }

    /// Whether what a state that came says of a failure is about what is in it.
    pub(super) fn failed_fits(&self, scope: &Scope, rule: &Rule) -> bool {
        let (Some(failed), Scope::Stream(instance)) = (&rule.failed, scope) else {
            return rule.failed.is_none();
        };
        self.stream_of(*instance).is_some_and(|stream| {
            let fails = matches!(stream.ends.poison, Poison::Fail { .. });
            fails && failed.at.resumed >= stream.resumed && stream.concerns(failed.target)
        })
    }

    pub(super) fn check_failed(&self, scope: &Scope, rule: &Rule) {
        let Some(failed) = &rule.failed else { return };
        let stream = if let Scope::Stream(instance) = scope { self.stream_of(*instance) } else { None };
        let stream = stream.expect("M86: what fails is a stream");
        let fails = matches!(stream.ends.poison, Poison::Fail { .. });
        assert!(fails, "M86: {:?} failed, and its policy does not say so", stream.name);
        let known = failed.at.resumed >= stream.resumed || self.planted.has(Bug::StaleFailureCounts);
        assert!(known, "M86: {:?} failed by what was said before it was resumed", stream.name);
        assert!(stream.concerns(failed.target), "M86: {:?} failed at a node that is no target", stream.name);
    }
}

impl Mesh {
    /// The handler of this node failed at a message as often as the policy bears.
    pub(super) fn on_stream_failed(&mut self, now: Now, instance: StreamInstance, at: FailedAt) {
        let under_way = self.requests.count(|purpose| matches!(purpose, Purpose::Failed(_)));
        let purpose = Purpose::Failed(instance);
        let known = self.rules().failed(instance).is_some();
        if self.membership.is_none() || under_way >= FAILURES_AT_ONCE || self.requests.has(&purpose) || known
        {
            return;
        }
        let Some(name) = self.state.stream_of(instance).map(|stream| stream.name.clone()) else { return };
        let deadline = Some(now.monotonic + self.config.request_timeout);
        let report = StreamFailed { name, instance, at };
        self.submit(now, purpose, Body::StreamFailed(Box::new(report)), deadline);
    }

    /// The rule about a stream is another one: it may have been resumed.
    pub(super) fn resumed_changed(&mut self, scope: &Scope) {
        let Scope::Stream(instance) = *scope else { return };
        let resumed = self.state.stream_of(instance).map(|stream| stream.resumed);
        self.announce_resumed(instance, resumed.unwrap_or_default());
    }

    /// Tells the rest of the node how often a stream was resumed.
    pub(super) fn announce_resumed(&mut self, instance: StreamInstance, resumed: u64) {
        if resumed > 0 {
            self.outputs.push_back(Output::StreamResumed { instance, resumed });
        }
    }
}

fn reason_in(reason: String) -> Result<String, Malformed> {
    if reason.len() > FAILED_REASON_MAX {
        return Err(Malformed("what a handler said is too long"));
    }
    Ok(reason)
}

pub(super) fn report_out(report: &StreamFailed) -> proto::StreamFailed {
    let FailedAt { sequence, attempts, reason, resumed } = report.at.clone();
    let (name, instance) = (report.name.clone(), id_bytes(report.instance.to_bytes()));
    proto::StreamFailed { name, instance, sequence: sequence.0, attempts, reason, resumed }
}

pub(super) fn report_in(report: proto::StreamFailed) -> Result<StreamFailed, Malformed> {
    Ok(StreamFailed {
        name: wire::text(report.name, TEXT_MAX)?,
        instance: StreamInstance::from_slice(&report.instance).ok_or(Malformed("stream instance"))?,
        at: FailedAt {
            sequence: Sequence(number(report.sequence)?),
            attempts: report.attempts,
            reason: reason_in(report.reason)?,
            resumed: number(report.resumed)?,
        },
    })
}

pub(super) fn failed_out(failed: &Failed) -> proto::FlowFailed {
    let FailedAt { sequence, attempts, reason, resumed } = failed.at.clone();
    let target = id_bytes(failed.target.to_bytes());
    proto::FlowFailed { target, sequence: sequence.0, attempts, reason, resumed, time: failed.time.0 }
}

pub(super) fn failed_in(failed: proto::FlowFailed) -> Result<Failed, Malformed> {
    let at = FailedAt {
        sequence: Sequence(number(failed.sequence)?),
        attempts: failed.attempts,
        reason: reason_in(failed.reason)?,
        resumed: number(failed.resumed)?,
    };
    Ok(Failed { target: node(&failed.target)?, at, time: Wall(failed.time) })
}
