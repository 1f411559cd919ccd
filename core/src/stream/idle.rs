//! Targets that stand still: whose mark does not move, though there is something for them to process.
//!
//! The source and whoever leads see since when. If the stream says so, whoever leads has one detached that stood still for long enough while it led (S43): it tells the control group, again while that lasts, and what
//! becomes of it is decided there (M87). A leader counts from when it began to lead, by its monotonic clock, so a change of the leader, or a start, gives a target all of the time again. Nobody's time
//! runs while a seal asks the members, or while the stream fails by its policy: then its targets wait for an operator. A node that was held up itself, and looks late, gives everybody all of the time again, too.

use alloc::vec::Vec;

use super::Output;
use super::common::Common;
use super::member::{Part, Stream};
use crate::id::{NodeId, Sequence};
use crate::members::ChangeKind;
use crate::planted::Bug;
use crate::rare;
use crate::time::{Instant, Now, Span};

/// Who looks later than this was held up itself, and knows nothing of what happened meanwhile.
const LATE: Span = Span::millis(500);

/// What was seen of a target.
#[derive(Clone, Copy, Debug)]
struct Seen {
    mark: Sequence,
    /// Whether it had something to process.
    owes: bool,
    /// Since then the mark is that, and it has something to process.
    since: Instant,
}

/// What whoever looks at the targets remembers of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Idle {
    /// By place.
    seen: Vec<Seen>,
    /// Since when their time runs.
    runs_since: Option<Instant>,
    /// When one of them may have stood still for long enough, at the earliest.
    pub(super) due: Option<Instant>,
}

impl Idle {
    /// Another one leads, or in another term: their time begins anew.
    pub(super) fn begin_anew(&mut self) {
        (self.runs_since, self.due) = (None, None);
    }
}

impl Stream {
    /// Looks at where the targets stand.
    pub(super) fn watch_targets(&mut self, common: &Common, now: Now) {
        if self.stopped.is_some() || self.part != Part::Source && !self.leading {
            self.idle = None;
            return;
        }
        let places = 0..self.ends.targets.len();
        let anybody = places.clone().any(|place| self.owes_something(place));
        if self.idle.is_none() && !anybody {
            return;
        }
        let mut idle = self.idle.take().unwrap_or_default();
        for place in places {
            let (mark, owes) = (self.mark_at(place), self.owes_something(place));
            let fresh = Seen { mark, owes, since: now.monotonic };
            match idle.seen.get_mut(place) {
                None => idle.seen.push(fresh),
                // What comes to somebody who was up to date is not late already.
                Some(seen) if owes && seen.owes && seen.mark == mark => {}
                Some(seen) if owes && seen.owes && common.planted.strikes(Bug::IdleClockRunsOn, || true) => {
                    seen.mark = mark;
                }
                Some(seen) => *seen = fresh,
            }
        }
        if self.detaches_idle(common) {
            idle.runs_since.get_or_insert(now.monotonic);
            if anybody && idle.due.is_none() {
                idle.due = Some(now.monotonic + self.ends.detach_after);
            }
        } else {
            idle.begin_anew();
        }
        self.idle = Some(idle);
    }

    /// Up to where a target is past what there is, as far as it is known here.
    fn mark_at(&self, place: usize) -> Sequence {
        self.heard.get(place).max(self.ends.owes_behind(place))
    }

    /// Whether a target has something to process.
    fn owes_something(&self, place: usize) -> bool {
        let (node, mark) = (self.ends.targets[place], self.mark_at(place));
        mark < self.head.ended() && !self.is_gone(node) && !self.has_drained(node, Some(mark))
    }

    /// Whether this member is to have targets detached that stand still.
    fn detaches_idle(&self, common: &Common) -> bool {
        self.ends.detach_after > Span::ZERO
            && self.decides_members()
            && self.knows_end()
            && common.flow.rules.failed(self.instance).is_none()
    }

    /// Since when a target stands still, if it does.
    pub(super) fn idle_since(&self, place: usize) -> Option<Instant> {
        let seen = self.idle.as_ref()?.seen.get(place)?;
        self.owes_something(place).then_some(seen.since)
    }

    /// Whether a target can be detached now: no other change is under way, and those who are left can meet the policy.
    fn can_go(&self, common: &Common, node: NodeId) -> bool {
        let free = self
            .changing
            .as_ref()
            .is_none_or(|changing| changing.change.node == node && changing.change.kind == ChangeKind::Drain);
        let left = self.ends.without(|other| other == node || self.is_gone(other));
        let meets = || left.can_meet_policy() || common.planted.strikes(Bug::IdleBelowPolicy, || true);
        free && !left.targets.is_empty() && meets()
    }

    /// Has whoever stood still for longest detached, if that was long enough.
    pub(super) fn detach_idle(&mut self, common: &mut Common, now: Now) {
        let detaches = self.detaches_idle(common);
        let Some(idle) = &mut self.idle else { return };
        let Some(due) = idle.due.filter(|due| *due <= now.monotonic) else { return };
        let Some(mut runs_since) = idle.runs_since.filter(|_| detaches) else { return idle.begin_anew() };
        if now.monotonic.since(due) > LATE {
            // It was this node that stood still: what the targets did meanwhile it has yet to hear, and perhaps that others lead.
            rare!(LookedTooLate);
            runs_since = now.monotonic;
            idle.runs_since = Some(runs_since);
        }
        let bears = self.ends.detach_after;
        let stood = |place: usize| {
            let since = self.idle_since(place)?;
            Some((now.monotonic.since(since.max(runs_since)), self.ends.targets[place]))
        };
        let each = || (0..self.ends.targets.len()).filter_map(stood);
        let ripe = |(idle, node): &(Span, NodeId)| *idle >= bears && self.can_go(common, *node);
        let goes = each().filter(ripe).max_by_key(|(idle, _)| *idle);
        let again = if goes.is_some() { bears.min(common.config.restate_most) } else { bears };
        let left = |(idle, _): (Span, NodeId)| if idle < bears { Span(bears.0 - idle.0) } else { again };
        let next = each().map(left).min().map(|left| now.monotonic + left);
        self.idle.iter_mut().for_each(|idle| idle.due = next);
        if let Some((idle, target)) = goes {
            rare!(TargetStoodStill);
            let (instance, authority) = (self.instance, self.authority());
            common.emit(Output::Idle { instance, authority, target, idle });
        }
    }

    /// Panics if nobody is to look whether a target stands still (S43).
    pub(super) fn check_idle(&self) {
        let Some(idle) = &self.idle else { return };
        let owed = || (0..idle.seen.len()).any(|place| self.idle_since(place).is_some());
        let forgotten = idle.runs_since.is_some() && idle.due.is_none();
        assert!(
            !forgotten || !owed(),
            "S43: nobody looks whether a target of {} stands still",
            self.instance
        );
    }
}
