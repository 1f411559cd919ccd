//! What a leader knows of one member, and what is under way to it.

use alloc::boxed::Box;

use super::config::Config;
use super::flow::Flows;
use super::owed::Owed;
use super::slots::Slot;
use super::snapshot::Sending;
use super::under_way::{Flight, UnderWay};
use crate::configuration::Member;
use crate::id::LogIndex;
use crate::planted::Bug;
use crate::rare;
use crate::sometimes;
use crate::time::{At, Instant, Span};

/// An append as it leaves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    pub(super) number: u64,
    /// The last entry in it, or the one before if it holds none.
    pub(super) last: LogIndex,
    pub(super) commit: LogIndex,
    /// What its entries take on their way.
    pub(super) bytes: u64,
}

/// How fast appends leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    /// One at a time until one matches: nobody knows yet where the logs agree.
    Probe,
    /// As many as the window holds.
    Stream,
    /// None: the other end holds entries that wait for their bytes, and answers when they came (rule B2).
    Pause,
    /// None: a snapshot was asked of the owner or is under way.
    Snapshot,
}

/// Replication towards one member.
///
/// Answers change the pace only if what they answer was sent since the pace changed last. What comes later to older appends tells how
/// far the logs agree, and nothing more: were each of a window of outdated answers followed by another window of appends,
/// every one of them answered again, two sound nodes would keep each other busy for ever.
#[derive(Clone, Debug)]
pub(super) struct Progress {
    pub(super) member: Member,
    /// Durable there and equal to this log.
    pub(super) matched: LogIndex,
    /// Where the next append begins.
    pub(super) next: LogIndex,
    pace: Pace,
    /// The last message sent.
    last_sent: u64,
    /// Answers to messages up to this one are outdated.
    outdated: u64,
    /// The commit index it is known to have heard.
    pub(super) heard: LogIndex,
    /// Appends that were not answered.
    under_way: Option<Box<UnderWay>>,
    /// A state that is sent.
    sending: Option<Box<Sending>>,
    /// The last round of reads that was sent.
    pub(super) round: u64,
    /// Waits in line for the budget of its node.
    in_line: bool,
    /// What it is sent next is read from the disk.
    reading: bool,
    /// It is to be sent what it lacks and has room for.
    pub(super) has_news: bool,
    /// It says that another member sends it what is committed.
    fed: bool,
    /// When it is looked at whether it has that.
    review: Option<At>,
    /// That moment has come.
    review_due: bool,
    retry_at: Option<At>,
    backoff: Span,
}

impl Progress {
    pub(super) fn new(member: Member, last: LogIndex, config: &Config) -> Self {
        Self {
            member,
            matched: LogIndex(0),
            next: last.next(),
            pace: Pace::Probe,
            last_sent: 0,
            outdated: 0,
            heard: LogIndex(0),
            under_way: None,
            sending: None,
            round: 0,
            in_line: false,
            reading: false,
            has_news: true,
            fed: false,
            review: None,
            review_due: false,
            retry_at: None,
            backoff: config.retry_min,
        }
    }

    /// Whether an append is to leave whether or not there is news: it finds out where the logs agree.
    pub(super) fn is_probing(&self) -> bool {
        self.pace == Pace::Probe
    }

    /// Whether appends leave as they come to be: it is known where the logs agree.
    pub(super) fn is_streaming(&self) -> bool {
        self.pace == Pace::Stream
    }

    /// Whether something will be sent to it, whatever it answers.
    pub(super) fn is_attended(&self) -> bool {
        self.due_at().is_some() || self.is_in_line() || self.reading
    }

    /// What it is sent next is not here: it is told when that was read.
    pub(super) fn begins_reading(&mut self) {
        self.reading = true;
    }

    /// Something was read. Whether it waited for that.
    pub(super) fn ends_reading(&mut self) -> bool {
        core::mem::take(&mut self.reading)
    }

    /// Whether it waits for something that is read.
    pub(super) fn is_reading(&self) -> bool {
        self.reading
    }

    /// It says whether another member sends it what is committed.
    pub(super) fn says_fed(&mut self, fed: bool) {
        self.fed = fed;
        if !fed {
            self.end_review();
        }
    }

    /// Whether another member sends it what is committed, as far as is known.
    pub(super) fn is_fed(&self) -> bool {
        self.fed && self.is_streaming()
    }

    /// The moment at which it is looked at whether it has that, which `settle` says if nothing is settled yet.
    pub(super) fn review_at(&mut self, settle: impl FnOnce() -> Instant) -> Instant {
        self.review.get_or_insert_with(|| settle().into()).instant()
    }

    /// Whether that moment has come, and it is not known to have what was committed long enough ago, and to know that.
    pub(super) fn takes_review(&mut self, settled: LogIndex) -> bool {
        core::mem::take(&mut self.review_due) && (self.matched < settled || self.heard < settled)
    }

    /// Whether the moment comes now. It comes once.
    pub(super) fn review_comes(&mut self, now: Instant) -> bool {
        self.review_due |= self.review.take_if(|at| at.instant() <= now).is_some();
        self.review_due
    }

    /// It has everything.
    pub(super) fn end_review(&mut self) {
        (self.review, self.review_due) = (None, false);
    }

    /// Whether a snapshot was asked for or is under way.
    pub(super) fn awaits_snapshot(&self) -> bool {
        self.pace == Pace::Snapshot
    }

    /// Whether another append may leave now.
    pub(super) fn has_room(&self, config: &Config) -> bool {
        let most = match self.pace {
            Pace::Probe => 1,
            Pace::Stream => config.window,
            Pace::Pause | Pace::Snapshot => 0,
        };
        match &self.under_way {
            None => most > 0 && config.window_bytes > 0,
            Some(under_way) => under_way.flights.len() < most && under_way.bytes < config.window_bytes,
        }
    }

    /// What is under way to it, in bytes of entries or of a state.
    pub(super) fn under_way(&self) -> u64 {
        let appends = self.under_way.as_ref().map_or(0, |under_way| under_way.bytes);
        appends + self.sending.as_ref().map_or(0, |sending| sending.under_way())
    }

    /// Whether it waits in line for the budget of its node. Who has nothing under way need not: nothing would call it.
    pub(super) fn is_in_line(&self) -> bool {
        self.in_line && self.under_way() > 0
    }

    /// Whether the budget of its node is spent, so that its group in `slot` waits in line from now on.
    pub(super) fn must_wait(&mut self, flows: &mut Flows, slot: Slot) -> bool {
        let waits = flows.is_full(self.member.node) && self.under_way() > 0;
        if waits {
            rare!(GroupWaitedInLine);
            self.in_line = true;
            flows.wait(self.member.node, slot);
        }
        waits
    }

    /// Its turn has come.
    pub(super) fn leave_line(&mut self) {
        self.in_line = false;
    }

    /// Whether there may be something to send to it: of what it is owed, or of a round of reads.
    pub(super) fn may_lack(&self, owed: Owed, round: u64) -> bool {
        self.next <= owed.last
            || !self.is_streaming()
            || self.sending.is_some()
            || self.told() < owed.commit
            || self.round < round
    }

    /// Whether an append was sent and not answered yet.
    pub(super) fn is_awaited(&self) -> bool {
        self.under_way.as_ref().is_some_and(|under_way| !under_way.flights.is_empty())
    }

    /// An append with entries up to `last` leaves; they take so many bytes on their way.
    pub(super) fn sent(&mut self, sent: Sent, flows: &mut Flows, now: Instant) {
        let Sent { number, last, commit, bytes } = sent;
        self.last_sent = number;
        let under_way = self.under_way.get_or_insert_with(|| flows.spare.take());
        under_way.flights.push(Flight { number, commit, bytes });
        under_way.bytes += bytes;
        flows.sent(self.member.node, bytes);
        if self.pace == Pace::Stream {
            self.next = last.next();
        }
        self.arm(now);
    }

    /// The highest commit index that was sent or heard.
    pub(super) fn told(&self) -> LogIndex {
        let last = self.under_way.as_ref().and_then(|under_way| under_way.flights.last());
        last.map_or(self.heard, |flight| flight.commit.max(self.heard))
    }

    /// A snapshot was asked for.
    pub(super) fn snapshot_wanted(&mut self, flows: &mut Flows, now: Instant) {
        self.change(Pace::Snapshot, flows);
        self.arm(now);
    }

    /// The owner gave the state that was asked for.
    pub(super) fn send_state(&mut self, sending: Sending, now: Instant) {
        self.last_sent = sending.number();
        self.sending = Some(Box::new(sending));
        self.arm(now);
    }

    /// Whether a state is sent.
    pub(super) fn is_sending_state(&self) -> bool {
        self.sending.is_some()
    }

    /// The state that is sent.
    pub(super) fn sending(&mut self) -> Option<&mut Sending> {
        self.sending.as_deref_mut()
    }

    /// A chunk of it leaves.
    pub(super) fn chunk_sent(&mut self, bytes: u64, flows: &mut Flows, now: Instant) {
        flows.sent(self.member.node, bytes);
        self.arm(now);
    }

    /// It answers: what it is sent next is waited for anew.
    pub(super) fn answered(&mut self, config: &Config, now: Instant) {
        self.backoff = config.retry_min;
        self.retry_at = None;
        self.arm(now);
    }

    /// An append matched up to `index`. Whether that is news.
    pub(super) fn matched(
        &mut self,
        (number, index): (u64, LogIndex),
        config: &Config,
        flows: &mut Flows,
        now: Instant,
    ) -> bool {
        let news = index > self.matched;
        self.matched = self.matched.max(index);
        self.next = self.next.max(self.matched.next());
        // Over a path slower than the resending, an outdated answer is all that ever comes to a probe.
        if number <= self.outdated && !(news && self.is_probing()) {
            sometimes!(MatchOutdated);
            return news;
        }
        if self.answers_another(number) {
            return news;
        }
        self.flights_answered(number, flows);
        self.end_state(flows);
        self.pace = Pace::Stream;
        self.backoff = config.retry_min;
        self.retry_at = None;
        if self.is_awaited() {
            self.arm(now);
        }
        news
    }

    /// All appends up to that one are under way no longer.
    fn flights_answered(&mut self, number: u64, flows: &mut Flows) {
        let Some(under_way) = &mut self.under_way else { return };
        let (mut answered, mut bytes) = (0, 0);
        for flight in under_way.flights.iter().take_while(|flight| flight.number <= number) {
            self.heard = self.heard.max(flight.commit);
            bytes += flight.bytes;
            answered += 1;
        }
        flows.arrived(self.member.node, bytes);
        if answered < under_way.flights.len() {
            under_way.flights.drain(..answered);
            under_way.bytes -= bytes;
        } else if let Some(under_way) = self.under_way.take() {
            flows.spare.put_back(under_way);
        }
    }

    /// Whether that answers what was sent in another part: to feed it, to lead it, or before this replica forgot what it had sent.
    fn answers_another(&self, number: u64) -> bool {
        rare!(AnswerToAnotherPart, number > self.last_sent);
        number > self.last_sent
    }

    /// An append did not match: go back to where the other log may agree. Whether the answer counts.
    pub(super) fn refused(
        &mut self,
        number: u64,
        other_end: LogIndex,
        own_end: LogIndex,
        flows: &mut Flows,
    ) -> bool {
        if number <= self.outdated {
            sometimes!(RefusalOutdated);
            return false;
        }
        if self.answers_another(number) {
            return false;
        }
        let lower = self.next.before().min(other_end.next()).min(own_end.next());
        self.next = lower.max(self.matched.next());
        self.probe(flows);
        true
    }

    /// Begins anew from what is known for certain: the answers are lost, or the peer restarted.
    pub(super) fn probe(&mut self, flows: &mut Flows) {
        if self.sending.is_some() {
            return self.rewind_state(flows);
        }
        self.change(Pace::Probe, flows);
    }

    /// Append `number` waits for bytes, and all behind it: nothing is sent before it is answered for good, or seems to have been lost.
    pub(super) fn pause(&mut self, number: u64, flows: &mut Flows, now: Instant) {
        if number <= self.outdated {
            return;
        }
        self.change(Pace::Pause, flows);
        sometimes!(MemberPaused);
        // The rest of that very append is answered under the same number, once its bytes are there.
        self.outdated = number.min(self.last_sent).saturating_sub(1);
        self.next = self.matched.next();
        self.arm(now);
    }

    /// The peer asks for what it could not hold of append `number`. That it had to wait may have been lost on the way.
    pub(super) fn resume(&mut self, number: u64, flows: &mut Flows) {
        let unheard = self.pace == Pace::Stream && number > self.outdated && self.next > self.matched.next();
        rare!(MemberResumedUnheard, unheard);
        if self.pace == Pace::Pause || unheard {
            sometimes!(MemberResumed);
            self.change(Pace::Stream, flows);
            self.next = self.matched.next();
        }
    }

    /// Whether all that was sent is answered, and more of it was sent than it holds now.
    pub(super) fn lost_the_rest(&self) -> bool {
        self.is_streaming() && !self.is_awaited() && self.next > self.matched.next()
    }

    pub(super) fn retry_at(&self) -> Option<Instant> {
        self.retry_at.map(At::instant)
    }

    /// When something is to be done for it.
    pub(super) fn due_at(&self) -> Option<Instant> {
        self.retry_at().into_iter().chain(self.review.map(At::instant)).min()
    }

    /// Nothing was answered in time.
    pub(super) fn retry(&mut self, config: &Config, flows: &mut Flows, now: Instant) {
        self.backoff = self.backoff.times(2).at_most(config.retry_max);
        if self.sending.is_some() {
            sometimes!(ChunkUnanswered);
            self.rewind_state(flows);
            return self.arm(now);
        }
        sometimes!(AppendUnanswered);
        self.says_fed(false);
        if !self.is_probing() {
            self.next = self.matched.next();
        }
        self.probe(flows);
    }

    /// Behind which place it is sent what follows, if what is under way is lost.
    pub(super) fn resumes_behind(&self) -> LogIndex {
        if self.is_probing() { self.next.before() } else { self.matched }
    }

    /// Another pace: what is under way counts no longer.
    fn change(&mut self, pace: Pace, flows: &mut Flows) {
        self.pace = pace;
        self.outdated = self.last_sent;
        self.retry_at = None;
        self.give_up(flows);
    }

    /// What is under way of a state is taken for lost.
    fn rewind_state(&mut self, flows: &mut Flows) {
        if let Some(sending) = &mut self.sending {
            flows.arrived(self.member.node, sending.under_way());
            sending.rewind();
            self.retry_at = None;
        }
    }

    /// The state that is sent is of no use: it is found out anew what is.
    pub(super) fn give_up_state(&mut self, flows: &mut Flows) {
        self.change(Pace::Probe, flows);
    }

    /// No state is sent any more.
    fn end_state(&mut self, flows: &mut Flows) {
        if let Some(sending) = self.sending.take() {
            flows.arrived(self.member.node, sending.under_way());
        }
    }

    /// Nothing that is under way is waited for any more.
    pub(super) fn give_up(&mut self, flows: &mut Flows) {
        self.end_state(flows);
        let Some(mut under_way) = self.under_way.take() else { return };
        if flows.planted.strikes(Bug::BytesStayUnderWay, || under_way.bytes > 0) {
            under_way.flights.clear();
            self.under_way = Some(under_way);
            return;
        }
        flows.arrived(self.member.node, under_way.bytes);
        flows.spare.put_back(under_way);
    }

    /// What is under way by the messages themselves, for checks.
    pub(super) fn count_under_way(&self) -> u64 {
        let flights = self.under_way.iter().flat_map(|under_way| &under_way.flights);
        flights.map(|flight| flight.bytes).sum::<u64>()
            + self.sending.as_ref().map_or(0, |sending| sending.under_way())
    }

    fn arm(&mut self, now: Instant) {
        if self.retry_at.is_none() {
            self.retry_at = Some((now + self.backoff).into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{NodeId, ReplicaId};
    use crate::planted::Planted;

    const NOW: Instant = Instant(0);

    fn sent(number: u64, last: u64) -> Sent {
        Sent { number, last: LogIndex(last), commit: LogIndex(0), bytes: 10 }
    }

    fn streaming(config: &Config, flows: &mut Flows) -> Progress {
        let member = Member { node: NodeId(1), replica: ReplicaId(1) };
        let mut progress = Progress::new(member, LogIndex(10), config);
        progress.sent(sent(1, 10), flows, NOW);
        assert!(progress.matched((1, LogIndex(10)), config, flows, NOW));
        for number in 2..=5 {
            progress.sent(sent(number, 9 + number), flows, NOW);
        }
        assert_eq!((progress.under_way(), flows.under_way(NodeId(1))), (40, 40));
        progress
    }

    #[test]
    fn a_paused_member_is_sent_to_again_as_soon_as_what_it_waits_for_is_answered() {
        let (config, flows) = (Config::default(), &mut Flows::new(u64::MAX, Planted::none()));
        for answered in [3, 5] {
            let mut progress = streaming(&config, flows);
            progress.matched((3, LogIndex(11)), &config, flows, NOW);
            progress.pause(3, flows, NOW);
            assert!(!progress.has_room(&config));
            progress.matched((2, LogIndex(11)), &config, flows, NOW);
            assert!(!progress.has_room(&config), "an older append was answered");
            progress.matched((answered, LogIndex(12)), &config, flows, NOW);
            assert!(progress.has_room(&config));
            assert_eq!(progress.next, LogIndex(13));
        }
    }

    #[test]
    fn a_member_that_asks_for_more_is_sent_it_though_nobody_heard_that_it_waited() {
        let (config, flows) = (Config::default(), &mut Flows::new(u64::MAX, Planted::none()));
        let mut progress = streaming(&config, flows);
        // It held the first entry of the last append; its answer that the others wait for bytes was lost.
        progress.sent(sent(6, 17), flows, NOW);
        progress.matched((6, LogIndex(15)), &config, flows, NOW);
        assert!(!progress.is_awaited() && progress.retry_at().is_none() && progress.lost_the_rest());
        progress.resume(6, flows);
        assert_eq!(progress.next, LogIndex(16));
        progress.sent(sent(7, 17), flows, NOW);
        progress.resume(6, flows);
        assert_eq!(
            (progress.next, progress.is_awaited()),
            (LogIndex(18), true),
            "it asked twice, and was sent it"
        );
    }

    #[test]
    fn outdated_refusals_do_not_send_the_window_again() {
        let (config, flows) = (Config::default(), &mut Flows::new(u64::MAX, Planted::none()));
        let mut progress = streaming(&config, flows);
        assert!(progress.refused(2, LogIndex(8), LogIndex(14), flows));
        assert!(progress.is_probing());
        progress.sent(sent(6, 14), flows, NOW);
        for stale in 3..=5 {
            assert!(!progress.refused(stale, LogIndex(8), LogIndex(14), flows));
            assert!(!progress.has_room(&config), "the probe is still under way");
        }
    }

    #[test]
    fn an_answer_to_what_was_not_sent_answers_nothing() {
        let (config, flows) = (Config::default(), &mut Flows::new(u64::MAX, Planted::none()));
        let mut progress = streaming(&config, flows);
        progress.matched((6, LogIndex(12)), &config, flows, NOW);
        assert_eq!((progress.matched, progress.under_way()), (LogIndex(12), 40));
        assert!(progress.is_awaited() && progress.retry_at().is_some());
        assert!(!progress.refused(6, LogIndex(12), LogIndex(14), flows));
        assert!(progress.is_streaming());
    }

    #[test]
    fn what_is_given_up_is_no_longer_under_way() {
        let (config, flows) =
            (Config { window_bytes: 45, ..Config::default() }, &mut Flows::new(u64::MAX, Planted::none()));
        let mut progress = streaming(&config, flows);
        assert!(progress.has_room(&config));
        progress.sent(sent(6, 15), flows, NOW);
        assert!(!progress.has_room(&config), "the window is spent by bytes");
        progress.matched((3, LogIndex(12)), &config, flows, NOW);
        assert_eq!((progress.under_way(), flows.under_way(NodeId(1))), (30, 30));
        progress.retry(&config, flows, NOW);
        assert_eq!((progress.under_way(), flows.under_way(NodeId(1))), (0, 0));
        progress.matched((4, LogIndex(13)), &config, flows, NOW);
        assert_eq!(progress.under_way(), 0, "it does not arrive twice");
    }
}
