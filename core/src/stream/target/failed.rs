//! A stream that fails by its policy (S41): a handler here failed at a message as often as that bears.
//!
//! The message stays where it is, and nothing is handed over any more. Once the last attempt is durable the mesh is told, again and again until a rule says that the stream failed; its source
//! goes by that rule as by others. An operator who resumes the stream takes the rule away, and from then on the attempts count anew. Each attempt bears how often the stream had been resumed by then, so that
//! neither a word that comes late nor a start fails the stream by attempts that are settled, or forgets those that are not. A target that lost its disk holds still by the rule.

use alloc::vec::Vec;

use super::super::Output;
use super::super::common::Common;
use super::super::member::{Part, Stream};
use super::super::streams::Streams;
use super::failing::Failure;
use crate::ends::Poison;
use crate::flow::{FAILED_REASON_MAX, FailedAt, Rules};
use crate::id::{Sequence, StreamInstance};
use crate::planted::Bug;
use crate::rare;
use crate::text::cut;
use crate::time::{Now, Span};

impl Stream {
    /// Whether the stream is one that fails by what its handlers fail at.
    pub(super) fn may_fail(&self) -> bool {
        matches!(self.ends.poison, Poison::Fail { .. })
    }

    /// Whether a message failed as often as the stream bears, and it was not resumed since.
    pub(super) fn fails_stream(&self, common: &Common, failure: &Failure) -> bool {
        let Poison::Fail { attempts } = self.ends.poison else { return false };
        let resumed = common.flow.resumed.get(&self.instance).copied().unwrap_or_default();
        failure.attempts >= attempts && failure.resumed >= resumed
    }

    /// What failed the stream here, if something did that is still to be processed. A handler may have presented a position in front of that.
    fn exhausted(&self, common: &Common) -> Option<&Failure> {
        let failure = self.failing().filter(|failure| self.fails_stream(common, failure))?;
        let ahead = failure.sequence > self.done();
        let head = self.head_behind(self.whole_up_to(failure.sequence.before())).filter(|_| ahead)?;
        (head.sequence == failure.sequence && head.id == failure.id).then_some(failure)
    }

    /// The last message that whoever handles is done with.
    pub(super) fn done(&self) -> Sequence {
        self.target.handler.as_ref().map_or(self.target.mark, |handler| handler.done)
    }

    /// Whether nothing is handed over until the stream is resumed.
    pub(super) fn is_held(&self, common: &Common) -> bool {
        if !self.may_fail() {
            return false;
        }
        let agreed = common.flow.rules.failed(self.instance);
        let agreed =
            agreed.is_some_and(|failed| failed.target == common.own && failed.at.sequence > self.done());
        let own = self.exhausted(common).is_some();
        rare!(HeldByRuleAlone, agreed && !own);
        (own || agreed) && !common.planted.strikes(Bug::FailedTriesOn, || true)
    }

    /// Whether the mesh has yet to hear that the stream failed.
    pub(in crate::stream) fn owes_failure(&self, common: &Common) -> bool {
        self.may_fail()
            && self.part == Part::Target
            && common.flow.rules.failed(self.instance).is_none()
            && self.exhausted(common).is_some_and(|failure| failure.durable)
    }

    /// Says that the stream failed, if that is owed.
    pub(in crate::stream) fn tell_failure(&self, common: &mut Common) {
        if !self.owes_failure(common) {
            return;
        }
        let Some(Failure { sequence, attempts, reason, resumed, .. }) = self.failing().cloned() else {
            return;
        };
        let failed = FailedAt { sequence, attempts, reason: cut(reason, FAILED_REASON_MAX), resumed };
        common.emit(Output::Failed { instance: self.instance, failed });
    }

    /// That the handler failed so often is written down.
    pub(in crate::stream) fn failure_durable(&mut self, common: &mut Common, sequence: Sequence) {
        let failing = self.target.troubles.as_mut().and_then(|troubles| troubles.failing.as_mut());
        if let Some(failing) = failing.filter(|failing| failing.sequence == sequence) {
            failing.durable = true;
        }
        if self.stopped.is_none() {
            self.tell_failure(common);
        }
    }

    pub(in crate::stream) fn check_failing(&self) {
        let (Poison::Fail { attempts }, Some(failure)) = (self.ends.poison, self.failing()) else { return };
        assert!(
            failure.attempts <= attempts,
            "S41: message {} of {} was tried {} times, and fails it after {attempts}",
            failure.sequence,
            self.instance,
            failure.attempts
        );
    }
}

impl Streams {
    /// These are the rules from now on.
    pub(in crate::stream) fn rules(&mut self, now: Now, rules: Rules) {
        let (own, common) = (self.common.own, &self.common);
        let held = |stream: &Stream| {
            let failed = common.flow.rules.failed(stream.instance);
            stream.may_fail() && failed.is_some_and(|failed| failed.target == own)
        };
        let held: Vec<StreamInstance> =
            self.streams.values().filter(|stream| held(stream)).map(|stream| stream.instance).collect();
        self.common.flow.told(rules, self.common.planted);
        for instance in held {
            self.with(instance, |stream, common| stream.pump_target(common, now));
        }
        let detaches = |stream: &Stream| stream.leading && stream.ends.detach_after > Span::ZERO;
        let detaches = self.streams.values().filter(|stream| detaches(stream));
        for instance in detaches.map(|stream| stream.instance).collect::<Vec<_>>() {
            self.with(instance, |stream, common| stream.watch_targets(common, now));
        }
    }

    /// A stream was resumed after it had failed.
    pub(in crate::stream) fn resumed(&mut self, now: Now, instance: StreamInstance, resumed: u64) {
        let before = self.common.flow.resumed.insert(instance, resumed);
        if before != Some(resumed) {
            self.with(instance, |stream, common| stream.pump_target(common, now));
        }
    }
}
