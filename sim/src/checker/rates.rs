//! Streams that are throttled (X35).
//!
//! Known from outside are the moment at which a source said that a rule bounds the rate of streams, when each message was sent first, and when it was told to be accepted. Whatever
//! was sent first and told within some while was let in within that while: all of it together is no more than the rate makes of the while and of one second, and what came
//! together with the last of it. A source that falls forgets what it let in, and begins with another second's worth. Nothing is known of a rule once somebody asks for another rate.

use std::collections::{BTreeMap, BTreeSet};

use wattle_core::flow::{BURST, Rate};
use wattle_core::id::RequestId;

use super::{Checked, Failure};
use crate::event::{SECOND, Time};
use crate::plan::ScopePlan;

const MILLION: u128 = 1_000_000;

/// So many messages, and so many bytes of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Messages.
    pub messages: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Load {
    fn most(self, other: Self) -> Self {
        Self { messages: self.messages.max(other.messages), bytes: self.bytes.max(other.bytes) }
    }
}

/// Messages that a publisher sends together: all of them, or one part of a large one.
#[derive(Clone, Debug)]
pub struct Sent {
    /// The request.
    pub request: RequestId,
    /// When.
    pub at: Time,
    /// The writer's numbers of the first and of the last one.
    pub first: u64,
    /// See there.
    pub last: u64,
    /// How much that is.
    pub load: Load,
}

/// Who sends: the stream, and the writer.
pub(super) type Who = (usize, usize);

/// A message that was let in.
#[derive(Clone, Copy, Debug)]
struct Taken {
    /// Not before.
    sent: Time,
    bytes: u64,
}

/// What a source lets in by one rule.
#[derive(Debug)]
struct Bound {
    rate: Rate,
    streams: BTreeSet<usize>,
    /// How fast the source's clock runs at most, in parts per million above the true rate.
    ppm: u32,
    /// Of each writer, the last message that was sent before the source said so.
    before: BTreeMap<Who, u64>,
    counted: BTreeSet<(Who, u64)>,
    /// In the order of their sending.
    taken: Vec<Taken>,
    /// The most that came in together.
    most: Load,
    falls: Vec<Time>,
}

/// The book of rates.
#[derive(Debug, Default)]
pub(super) struct Rates {
    /// By rule and source.
    bounds: BTreeMap<(ScopePlan, usize), Bound>,
    /// Rates that were asked for without an answer; `None`: that there be none.
    doubtful: BTreeMap<ScopePlan, Vec<Option<Rate>>>,
    /// What was sent while something was bounded, and not refused.
    calls: BTreeMap<Who, Vec<Sent>>,
    /// How often a source said that it goes by a rate.
    pub(super) told: u64,
}

impl Rates {
    /// A source says that a rule bounds these streams of its. `before` is what each writer had sent.
    pub(super) fn throttled(
        &mut self,
        scope: &ScopePlan,
        source: (usize, u32),
        rate: Rate,
        streams: BTreeSet<usize>,
        before: BTreeMap<Who, u64>,
    ) {
        let other = |asked: &Option<Rate>| *asked != Some(rate);
        if streams.is_empty() || self.doubtful.get(scope).is_some_and(|asked| asked.iter().any(other)) {
            return;
        }
        let (node, ppm) = source;
        self.told += 1;
        self.bounds.entry((scope.clone(), node)).or_insert(Bound {
            rate,
            streams,
            ppm,
            before,
            counted: BTreeSet::new(),
            taken: Vec::new(),
            most: Load::default(),
            falls: Vec::new(),
        });
    }

    /// Somebody is about to ask for another rate, or for none.
    pub(super) fn changes(&mut self, scope: &ScopePlan, rate: Option<Rate>) {
        self.bounds.retain(|(of, _), bound| of != scope || rate == Some(bound.rate));
        if self.bounds.is_empty() {
            self.calls.clear();
        }
    }

    /// Nobody knows what became of that.
    pub(super) fn doubts(&mut self, scope: &ScopePlan, rate: Option<Rate>) {
        self.doubtful.entry(scope.clone()).or_default().push(rate);
    }

    /// A node falls.
    pub(super) fn fell(&mut self, now: Time, node: usize) {
        let of = self.bounds.iter_mut().filter(|((_, source), _)| *source == node);
        of.for_each(|(_, bound)| bound.falls.push(now));
    }

    /// Whether one of them is about a stream.
    pub(super) fn are_about(&self, stream: usize) -> bool {
        self.bounds.values().any(|bound| bound.streams.contains(&stream))
    }

    /// A publisher sends.
    pub(super) fn sent(&mut self, who: Who, sent: Sent) {
        if self.are_about(who.0) {
            self.calls.entry(who).or_default().push(sent);
        }
    }

    /// Nothing of what was sent is let in by this.
    pub(super) fn refused(&mut self, who: Who, request: RequestId) {
        if let Some(calls) = self.calls.get_mut(&who) {
            calls.retain(|sent| sent.request != request);
        }
    }

    /// A publisher is told that messages are accepted, each with its bytes.
    ///
    /// # Errors
    /// X35.
    pub(super) fn accepted(&mut self, now: Time, who: Who, messages: &[(u64, u64)]) -> Checked {
        let calls = self.calls.get(&who).map_or(&[][..], Vec::as_slice);
        for ((scope, node), bound) in &mut self.bounds {
            if bound.streams.contains(&who.0) && bound.take(who, calls, messages) {
                bound.check(now).map_err(|what| {
                    let what = format!("{scope:?} bounds stream {} at node {node}: {what}", who.0);
                    Failure::new("X35", what)
                })?;
            }
        }
        Ok(())
    }
}

impl Bound {
    /// Counts what was first sent after the source said that it goes by the rule, each message once.
    fn take(&mut self, who: Who, calls: &[Sent], messages: &[(u64, u64)]) -> bool {
        let before = self.before.get(&who).copied().unwrap_or_default();
        let mut any = false;
        for &(number, bytes) in messages.iter().filter(|(number, _)| *number > before) {
            let with = || calls.iter().filter(|sent| (sent.first..=sent.last).contains(&number));
            let Some(sent) = with().map(|sent| sent.at).min() else { continue };
            if self.counted.insert((who, number)) {
                self.most = with().fold(self.most, |most, sent| most.most(sent.load));
                let place = self.taken.partition_point(|taken| taken.sent <= sent);
                self.taken.insert(place, Taken { sent, bytes });
                any = true;
            }
        }
        any
    }

    /// Whether what was let in since any moment is no more than may be.
    fn check(&self, now: Time) -> Result<(), String> {
        let mut taken = Load::default();
        for (place, one) in self.taken.iter().enumerate().rev() {
            taken = Load { messages: taken.messages + 1, bytes: taken.bytes + one.bytes };
            if place > 0 && self.taken[place - 1].sent == one.sent {
                continue;
            }
            let lives = 1 + self.falls.iter().filter(|fall| **fall >= one.sent).count() as u128;
            let span = (u128::from(now - one.sent) * (MILLION + u128::from(self.ppm))).div_ceil(MILLION) + 1;
            let span = span + lives * u128::from(BURST.as_nanos());
            let may = |rate: u64, together: u64| {
                u128::from(rate) * span / u128::from(SECOND) + lives * u128::from(together)
            };
            for (rate, took, together, what) in [
                (self.rate.messages, taken.messages, self.most.messages, "messages"),
                (self.rate.bytes, taken.bytes, self.most.bytes, "bytes"),
            ] {
                if let Some(rate) = rate
                    && u128::from(took) > may(rate.get(), together)
                {
                    return Err(format!(
                        "{took} {what} that were sent since {} ns are accepted at {now} ns, and {} may be: {} a second, {together} came together, and it fell {} times",
                        one.sent,
                        may(rate.get(), together),
                        rate,
                        lives - 1
                    ));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHO: Who = (0, 1);

    fn scope() -> ScopePlan {
        ScopePlan::Tenant("acme".into())
    }

    fn rates(messages: u64, bytes: u64) -> Rates {
        let mut rates = Rates::default();
        let rate = Rate::new(messages, bytes).unwrap();
        rates.throttled(&scope(), (3, 0), rate, [0].into(), [(WHO, 4)].into());
        rates
    }

    /// Sends that many messages of ten bytes, and has them accepted.
    fn takes(rates: &mut Rates, sent: Time, told: Time, first: u64, count: u64) -> Checked {
        let (last, load) = (first + count - 1, Load { messages: count, bytes: 10 * count });
        let request = RequestId(first);
        rates.sent(WHO, Sent { request, at: sent, first, last, load });
        let messages: Vec<(u64, u64)> = (first..=last).map(|number| (number, 10)).collect();
        rates.accepted(told, WHO, &messages)
    }

    #[test]
    fn a_rate_allows_a_seconds_worth_and_what_came_together_with_the_last_of_it() {
        for (messages, bytes) in [(10, 0), (0, 100), (10, 1000), (1000, 100)] {
            let mut rates = rates(messages, bytes);
            takes(&mut rates, SECOND, SECOND, 5, 5).unwrap();
            takes(&mut rates, SECOND, SECOND, 10, 5).unwrap();
            takes(&mut rates, SECOND, SECOND, 15, 6).unwrap();
            assert_eq!(takes(&mut rates, SECOND, SECOND, 21, 1).unwrap_err().checker, "X35");
        }
    }

    #[test]
    fn what_may_have_been_let_in_before_counts_for_nothing() {
        let mut rates = rates(10, 0);
        takes(&mut rates, SECOND, SECOND, 1, 4).unwrap();
        assert!(rates.bounds.values().all(|bound| bound.taken.is_empty()), "it was sent before");
        for number in 5..=15 {
            takes(&mut rates, SECOND, SECOND, number, 1).unwrap();
            takes(&mut rates, SECOND, 2 * SECOND, number, 1).unwrap();
        }
        assert!(takes(&mut rates, SECOND, SECOND, 17, 1).is_err());
        rates.fell(SECOND, 3);
        takes(&mut rates, SECOND, SECOND, 18, 1).unwrap();
        takes(&mut rates, SECOND, 3 * SECOND, 19, 10).unwrap();
    }

    #[test]
    fn a_refusal_moves_the_sending_of_a_message() {
        let mut rates = rates(10, 0);
        let load = Load { messages: 1, bytes: 10 };
        for number in 5..=18 {
            rates.sent(WHO, Sent { request: RequestId(1), at: 0, first: number, last: number, load });
        }
        rates.refused(WHO, RequestId(1));
        let late = (5..=17).map(|number| takes(&mut rates, 9 * SECOND, 9 * SECOND, number, 1));
        assert!(late.last().expect("some").is_err());
    }

    #[test]
    fn nothing_is_known_of_a_rate_once_another_is_asked_for() {
        let mut rates = rates(10, 0);
        let rate = Rate::new(10, 0).ok();
        rates.changes(&scope(), rate);
        assert_eq!(rates.bounds.len(), 1, "it stays the same");
        rates.changes(&scope(), None);
        assert!(rates.bounds.is_empty() && rates.calls.is_empty());
        rates.doubts(&scope(), rate);
        rates.throttled(&scope(), (3, 0), rate.expect("one"), [0].into(), BTreeMap::new());
        assert_eq!(rates.bounds.len(), 1, "what is in doubt is the same");
        rates.changes(&scope(), None);
        rates.doubts(&scope(), None);
        rates.throttled(&scope(), (3, 0), rate.expect("one"), [0].into(), BTreeMap::new());
        assert!(rates.bounds.is_empty());
    }
}
