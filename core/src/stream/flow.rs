//! Whether, and how fast, the streams of this node take messages in (S30, S31).
//!
//! A rate is kept by the time that it has been paid for: each message and each byte that is let in moves a moment on by what the rate gives it, and nothing is let in while
//! that moment lies more than a second ahead. So a rest gives one second's worth at once, what comes in together is let in or refused together, however much it is, and after
//! it everybody waits until it is made up for. Whoever is refused is told for how long. A rule about several streams is one such moment for all of them at this source: they
//! have no share each, and who comes first is served first. A start begins with nothing paid for.

use alloc::collections::BTreeMap;
use core::num::NonZeroU64;

use super::common::Common;
use super::member::Stream;
use super::streams::Streams;
use crate::flow::{BURST, FlowRefusal, Rank, Rate, Rules, Scope, Tenant};
use crate::id::StreamInstance;
use crate::planted::{Bug, Planted};
use crate::rare;
use crate::sometimes;
use crate::time::{Instant, Now, Span};

/// What comes in together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    pub(super) messages: u64,
    pub(super) bytes: u64,
}

/// What a rate has let in.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    rate: Rate,
    /// Up to when that is paid for, in messages and in bytes.
    messages: Instant,
    bytes: Instant,
}

impl Bucket {
    fn new(rate: Rate) -> Self {
        Self { rate, messages: Instant::ZERO, bytes: Instant::ZERO }
    }

    /// How long it lets nothing in.
    fn wait(&self, now: Instant) -> Span {
        self.messages.max(self.bytes).since(now + BURST)
    }

    fn charge(&mut self, now: Instant, load: Load) {
        assert_eq!(self.wait(now), Span(0), "S31: more is let in than {}", self.rate.words());
        self.messages = paid(self.messages, now, load.messages, self.rate.messages);
        self.bytes = paid(self.bytes, now, load.bytes, self.rate.bytes);
    }
}

/// Up to when is paid for once so much more came in.
fn paid(before: Instant, now: Instant, count: u64, rate: Option<NonZeroU64>) -> Instant {
    let Some(rate) = rate else { return before };
    let nanos = (u128::from(count) * 1_000_000_000).div_ceil(u128::from(rate.get()));
    before.max(now) + Span(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// The rules, and what those that bound a rate have let in.
#[derive(Clone, Debug, Default)]
pub(super) struct Flow {
    pub(super) rules: Rules,
    /// How often streams were resumed after they had failed; those that were.
    pub(super) resumed: BTreeMap<StreamInstance, u64>,
    buckets: BTreeMap<Scope, Bucket>,
}

impl Flow {
    /// These are the rules from now on. What was let in by those that stay the same stays counted.
    pub(super) fn told(&mut self, rules: Rules, planted: Planted) {
        let rate = |scope: &Scope| rules.get(scope).and_then(|rule| rule.rate).map(|(rate, _)| rate);
        let anew = planted.strikes(Bug::RatesBeginAnew, || !self.buckets.is_empty());
        self.buckets.retain(|scope, bucket| rate(scope) == Some(bucket.rate) && !anew);
        self.rules = rules;
    }

    /// Which of the rates about a stream lets nothing in for longest, if one does.
    fn throttled(&self, now: Now, instance: StreamInstance, rank: &Rank) -> Option<(Scope, Rate, Span)> {
        let waits = self.rules.throttling(instance, rank).filter_map(|(scope, rate)| {
            let wait = self.buckets.get(scope)?.wait(now.monotonic);
            (wait > Span(0)).then_some((scope, rate, wait))
        });
        let longest = waits.max_by_key(|(_, _, wait)| *wait);
        longest.map(|(scope, rate, wait)| (scope.clone(), rate, wait))
    }

    /// So much of a stream is let in.
    pub(super) fn charge(&mut self, now: Now, instance: StreamInstance, rank: &Rank, load: Load) {
        for (scope, rate) in self.rules.throttling(instance, rank) {
            let bucket = match self.buckets.get_mut(scope) {
                Some(bucket) => bucket,
                None => self.buckets.entry(scope.clone()).or_insert(Bucket::new(rate)),
            };
            bucket.charge(now.monotonic, load);
        }
    }
}

impl Stream {
    /// Whether something may come in now.
    ///
    /// # Errors
    /// Why not, and until when.
    pub(super) fn may_come(&self, common: &Common, now: Now, load: Load) -> Result<(), FlowRefusal> {
        let (instance, rank) = (self.instance, &self.ends.rank);
        let name = || self.name.clone();
        if let Some(failed) = common.flow.rules.failed(instance)
            && !common.planted.strikes(Bug::FailedTakesIn, || true)
        {
            rare!(FailedRefused);
            return Err(FlowRefusal::Failed { stream: name(), failed: failed.clone().into(), name: None });
        }
        let paused = common.flow.rules.pausing(instance, rank);
        // Parts of large messages come with at most one of them.
        let forgotten = || paused.is_some();
        if let Some((scope, said)) = paused
            && !(load.messages == 0 && common.planted.strikes(Bug::PartsNotPaused, forgotten))
        {
            sometimes!(PausedRefused);
            rare!(PartOfPausedRefused, load.messages == 0);
            return Err(FlowRefusal::Paused { stream: name(), scope: scope.clone(), said, name: None });
        }
        if let Some((scope, rate, again)) = common.flow.throttled(now, instance, rank) {
            sometimes!(ThrottledRefused);
            return Err(FlowRefusal::Throttled { stream: name(), scope, rate, again });
        }
        Ok(())
    }

    /// Whether a rule has it take nothing in.
    pub(super) fn is_paused(&self, common: &Common) -> bool {
        common.flow.rules.pausing(self.instance, &self.ends.rank).is_some()
    }

    /// Lets something in, if it may come now.
    ///
    /// # Errors
    /// Why not, and until when.
    pub(super) fn let_in(&self, common: &mut Common, now: Now, load: Load) -> Result<(), FlowRefusal> {
        self.may_come(common, now, load)?;
        common.flow.charge(now, self.instance, &self.ends.rank, load);
        Ok(())
    }
}

impl Streams {
    /// Whose the open stream of that name is, as far as this node knows.
    #[must_use]
    pub fn tenant_of(&self, name: &str) -> Option<&Tenant> {
        let open = self.directory.get(self.names.get(name)?)?;
        Some(&open.ends.rank.tenant)
    }
}
