//! Streams that are paused (X34), and throttled (X35).
//!
//! Known from outside are the moments at which a source said that streams are paused, to an operator or to a publisher whom it refused, and those at which somebody asked for them
//! to be resumed. What a publisher sends for the first time between such a moment and the next is not taken in. Nothing is known of a rule once a request to take it away was left without an answer: it may be
//! done at any time, also after it is asked for anew.

use std::collections::{BTreeMap, BTreeSet};

use wattle_core::flow::{Rate, Said};
use wattle_core::id::RequestId;

use super::rates::{Rates, Sent};
use super::{Checked, ensure};
use crate::event::Time;
use crate::plan::ScopePlan;

/// The book of pauses.
#[derive(Debug, Default)]
pub struct Flows {
    /// By stream: the rules by which its source said that it is paused.
    held: BTreeMap<usize, BTreeSet<ScopePlan>>,
    /// Those of which only a refusal told that their source goes by them: what has come to it may not be on its disk yet.
    heard: BTreeSet<(usize, ScopePlan)>,
    /// By which word rules pause streams that nobody asked to be resumed since.
    agreed: BTreeMap<ScopePlan, Said>,
    /// Rules of which it is not known what becomes of a request to take them away.
    doubtful: BTreeSet<ScopePlan>,
    /// Of each writer of a stream, the last message that was sent, and the last one that was sent while the stream was not known to be paused.
    sent: BTreeMap<(usize, usize), Reached>,
    /// Parts of large messages that were sent while their stream was paused.
    parts: BTreeMap<RequestId, usize>,
    /// How often a pause was told at a source.
    pub told: u64,
    rates: Rates,
}

#[derive(Clone, Copy, Debug, Default)]
struct Reached {
    last: u64,
    freely: u64,
}

impl Flows {
    /// The source of a stream says that this rule pauses it.
    pub fn paused(&mut self, stream: usize, scope: &ScopePlan) {
        if self.doubtful.contains(scope) {
            return;
        }
        self.told += 1;
        self.heard.remove(&(stream, scope.clone()));
        self.held.entry(stream).or_default().insert(scope.clone());
    }

    /// A node says that this rule pauses streams, by that word. When a source hears of it is not known.
    pub fn agreed(&mut self, scope: &ScopePlan, said: Said) {
        self.agreed.insert(scope.clone(), said);
    }

    /// The source of a stream refuses messages, for by that word it is paused.
    pub fn refuses(&mut self, stream: usize, scope: &ScopePlan, said: Said) {
        let known = self.held.get(&stream).is_some_and(|held| held.contains(scope));
        if self.agreed.get(scope) == Some(&said) && !known && !self.doubtful.contains(scope) {
            self.held.entry(stream).or_default().insert(scope.clone());
            self.heard.insert((stream, scope.clone()));
        }
    }

    /// The source of a stream refuses messages, for it failed, and nothing that was asked for may undo that.
    pub fn failed(&mut self, stream: usize, scope: &ScopePlan) {
        let held = self.held.entry(stream).or_default();
        if held.insert(scope.clone()) {
            self.heard.insert((stream, scope.clone()));
        }
    }

    /// Somebody is about to ask for a rule to be taken away.
    pub fn resumes(&mut self, scope: &ScopePlan) {
        self.agreed.remove(scope);
        let held: Vec<usize> = self.held.keys().copied().collect();
        held.into_iter().for_each(|stream| self.release(stream, scope));
    }

    /// Nothing is known any more of whether this rule pauses a stream.
    fn release(&mut self, stream: usize, scope: &ScopePlan) {
        self.heard.remove(&(stream, scope.clone()));
        let Some(scopes) = self.held.get_mut(&stream) else { return };
        if !scopes.remove(scope) || !scopes.is_empty() {
            return;
        }
        self.held.remove(&stream);
        for (_, sent) in self.sent.iter_mut().filter(|((of, _), _)| *of == stream) {
            sent.freely = sent.last;
        }
        self.parts.retain(|_, of| *of != stream);
    }

    /// Nobody knows what became of that.
    pub fn doubts(&mut self, scope: &ScopePlan) {
        self.doubtful.insert(scope.clone());
    }

    /// Whether the source of a stream said that it is paused, and nobody asked for anything else.
    #[must_use]
    pub fn is_paused(&self, stream: usize) -> bool {
        self.held.contains_key(&stream)
    }

    /// A source says that a rule bounds the rate of these streams of its. Its clock runs no more than so many parts per million too fast.
    pub fn throttled(
        &mut self,
        scope: &ScopePlan,
        (node, ppm): (usize, u32),
        rate: Rate,
        streams: BTreeSet<usize>,
    ) {
        let before = self.sent.iter().map(|(who, sent)| (*who, sent.last)).collect();
        self.rates.throttled(scope, (node, ppm), rate, streams, before);
    }

    /// Somebody is about to ask for a rule to have another rate, or none.
    pub fn changes_rate(&mut self, scope: &ScopePlan, rate: Option<Rate>) {
        self.rates.changes(scope, rate);
    }

    /// Nobody knows what became of that.
    pub fn doubts_rate(&mut self, scope: &ScopePlan, rate: Option<Rate>) {
        self.rates.doubts(scope, rate);
    }

    /// A node falls, the source of these streams.
    pub fn fell(&mut self, now: Time, node: usize, streams: &[usize]) {
        self.rates.fell(now, node);
        let heard: Vec<_> = self.heard.iter().filter(|(of, _)| streams.contains(of)).cloned().collect();
        heard.into_iter().for_each(|(stream, scope)| self.release(stream, &scope));
    }

    /// A publisher sends messages, or a part of one.
    pub fn sent(&mut self, stream: usize, writer: usize, calls: Sent) {
        let paused = self.is_paused(stream);
        let sent = self.sent.entry((stream, writer)).or_default();
        sent.last = sent.last.max(calls.last);
        if !paused {
            sent.freely = sent.last;
        }
        self.rates.sent((stream, writer), calls);
    }

    /// It is refused: nothing comes in by it.
    pub fn refused(&mut self, stream: usize, writer: usize, request: RequestId) {
        self.rates.refused((stream, writer), request);
    }

    /// Whether it matters how much of a stream is let in.
    #[must_use]
    pub fn is_bounded(&self, stream: usize) -> bool {
        self.rates.are_about(stream)
    }

    /// A publisher is told that messages of these numbers and bytes are accepted.
    ///
    /// # Errors
    /// X35.
    pub fn let_in(&mut self, now: Time, stream: usize, writer: usize, messages: &[(u64, u64)]) -> Checked {
        self.rates.accepted(now, (stream, writer), messages)
    }

    /// A publisher sends a part of a message.
    pub fn sent_part(&mut self, stream: usize, request: RequestId) {
        if self.is_paused(stream) {
            self.parts.insert(request, stream);
        }
    }

    /// A publisher is told that messages up to that one are accepted.
    ///
    /// # Errors
    /// X34.
    pub fn accepted(&self, stream: usize, writer: usize, upto: u64) -> Checked {
        let sent = self.sent.get(&(stream, writer)).copied().unwrap_or_default();
        ensure!(
            !self.is_paused(stream) || upto <= sent.freely,
            "X34",
            "stream {stream} is paused by {:?}, and message {upto} of writer {writer} is accepted, though it was first sent after that was told: {sent:?}",
            self.held.get(&stream)
        );
        Ok(())
    }

    /// A publisher is told that a part is held.
    ///
    /// # Errors
    /// X34.
    pub fn staged(&mut self, stream: usize, request: RequestId) -> Checked {
        let sent = self.parts.remove(&request).is_some();
        ensure!(
            !sent || !self.is_paused(stream),
            "X34",
            "stream {stream} is paused by {:?}, and takes in a part of a message that was sent after that was told",
            self.held.get(&stream)
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use wattle_core::id::NodeId;
    use wattle_core::time::Wall;

    use super::super::rates::Load;
    use super::*;

    fn tenant() -> ScopePlan {
        ScopePlan::Tenant("acme".into())
    }

    fn sends(flows: &mut Flows, stream: usize, writer: usize, last: u64) {
        let (request, load) = (RequestId(0), Load { messages: 1, bytes: 1 });
        flows.sent(stream, writer, Sent { request, at: 0, first: last, last, load });
    }

    fn stream() -> ScopePlan {
        ScopePlan::Stream("words".into())
    }

    #[test]
    fn what_was_sent_after_a_pause_was_told_is_not_accepted_before_a_resume_is_asked_for() {
        let mut flows = Flows::default();
        sends(&mut flows, 0, 1, 5);
        flows.paused(0, &tenant());
        flows.paused(0, &stream());
        sends(&mut flows, 0, 1, 7);
        sends(&mut flows, 2, 1, 7);
        assert!(flows.accepted(0, 1, 5).is_ok(), "it was under way, or is repeated");
        assert!(flows.accepted(2, 1, 7).is_ok(), "another stream");
        for upto in [6, 7] {
            assert_eq!(flows.accepted(0, 1, upto).unwrap_err().checker, "X34");
        }
        flows.sent_part(0, RequestId(3));
        assert!(flows.staged(0, RequestId(2)).is_ok());
        assert!(flows.staged(0, RequestId(3)).is_err());
        flows.resumes(&stream());
        assert!(flows.accepted(0, 1, 6).is_err(), "its tenant is paused");
        flows.resumes(&tenant());
        assert!(flows.accepted(0, 1, 7).is_ok());
        flows.paused(0, &tenant());
        assert!(flows.accepted(0, 1, 7).is_ok(), "it was sent before that");
        sends(&mut flows, 0, 1, 8);
        assert!(flows.accepted(0, 1, 8).is_err());
    }

    #[test]
    fn a_refusal_tells_that_a_pause_has_come_to_the_source() {
        let said = |time| Said { at: NodeId(1), time: Wall(time) };
        let mut flows = Flows::default();
        flows.agreed(&tenant(), said(1));
        assert!(!flows.is_paused(0), "the source may not know");
        flows.refuses(0, &tenant(), said(1));
        assert!(flows.is_paused(0) && !flows.is_paused(1));
        flows.resumes(&tenant());
        flows.refuses(0, &tenant(), said(1));
        assert!(!flows.is_paused(0), "it may be about to hear of the resume");
        flows.agreed(&tenant(), said(2));
        flows.refuses(0, &tenant(), said(1));
        assert!(!flows.is_paused(0));
        flows.refuses(0, &tenant(), said(2));
        assert!(flows.is_paused(0));
        flows.fell(0, 7, &[1]);
        assert!(flows.is_paused(0), "that was another one");
        flows.fell(0, 7, &[0]);
        assert!(!flows.is_paused(0), "it may not have been on its disk");
        flows.paused(0, &tenant());
        flows.refuses(0, &tenant(), said(2));
        flows.fell(0, 7, &[0]);
        assert!(flows.is_paused(0), "it was, when the operator was told");
    }

    #[test]
    fn a_request_without_an_answer_leaves_a_rule_in_doubt() {
        let mut flows = Flows::default();
        flows.paused(0, &tenant());
        flows.resumes(&tenant());
        flows.doubts(&tenant());
        flows.paused(0, &tenant());
        assert!(!flows.is_paused(0));
        flows.paused(0, &stream());
        assert!(flows.is_paused(0));
    }
}
