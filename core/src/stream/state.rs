//! What a stream's log says when it is applied: the same at all ends.

use alloc::boxed::Box;

use super::entry::{Batch, Entry};
use super::parts::{self, Opening};
use super::writers::{WriterAt, Writers};
use crate::ends::{Late, TARGETS_MAX};
use crate::id::{BootId, LogIndex, NodeId, Sequence, SessionEpoch, WriterId};
use crate::retention::Scarce;
use crate::time::Wall;

/// What the log of a stream with a retention says of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct KeepState {
    /// The last stamp.
    pub(super) clock: Wall,
    /// The last message that went before its time.
    pub(super) gone: Sequence,
    /// Because of which member, by its place among all of them, and for want of what.
    pub(super) by: Option<(u8, Scarce)>,
}

/// A target that came while the stream was open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Joined {
    /// Its place among the targets.
    pub(super) place: usize,
    pub(super) node: NodeId,
    /// What it owes.
    pub(super) late: Late,
}

/// The state after the entries up to `applied`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct LogState {
    pub(super) applied: LogIndex,
    pub(super) session: SessionEpoch,
    /// The start of the source that opened the session.
    pub(super) boot: BootId,
    /// The last message taken.
    pub(super) taken: Sequence,
    pub(super) completed: Sequence,
    /// Processed by every target.
    pub(super) released: Sequence,
    pub(super) writers: Writers,
    /// The targets that were taken out: a bit for each, by its place.
    pub(super) out: u64,
    /// The target at that place has to process so much, and no more.
    pub(super) drained: Option<(usize, Sequence)>,
    /// A message of which some parts are taken.
    pub(super) open: Opening,
    /// The targets that came later, in that order; most streams have none.
    pub(super) joined: Box<[Joined]>,
    /// Most streams keep nothing for its own sake.
    pub(super) keeping: Option<Box<KeepState>>,
}

/// What an entry did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// A blank or configuration entry, or a no-op.
    Nothing,
    /// A session began.
    Session { boot: BootId },
    /// A batch was taken at this sequence.
    Taken { first: Sequence },
    /// Processed by whom it must be, and by all.
    Completed { upto: Sequence, released: Sequence },
    /// A writer is closed.
    Closed { writer: WriterId },
    /// The target at that place has to process what was taken so far, and no more.
    Draining { place: usize },
    /// The target at that place is out.
    Detached { place: usize },
    /// A node is a target, at that place; or is none, and out.
    Joined { place: usize, declined: bool },
    /// It is later, or messages go before their time.
    Kept { clock: Wall, gone: Sequence, by: Option<(u8, Scarce)> },
}

impl LogState {
    /// Whether the target at that place was taken out.
    pub(super) fn is_out(&self, place: usize) -> bool {
        place < TARGETS_MAX && self.out & 1 << place != 0
    }

    /// The targets that came later, in that order.
    pub(super) fn joined(&self) -> &[Joined] {
        &self.joined
    }

    /// Another one comes.
    pub(super) fn join(&mut self, joined: Joined) {
        self.joined = self.joined.iter().copied().chain([joined]).collect();
    }

    /// As if nobody had come later.
    pub(super) fn forget_joined(&mut self) {
        self.joined = Box::default();
    }

    /// The targets that came up to one at that place, as a later state of the same log has them.
    pub(super) fn join_as(&mut self, later: &Self, place: usize) {
        later.joined().iter().filter(|joined| joined.place == place).for_each(|joined| self.join(*joined));
    }

    /// A node that joins behind that message, by an entry that follows what is applied here. It stands where a message ends, and not above the end.
    pub(super) fn joining(&self, place: usize, node: NodeId, behind: Option<Sequence>) -> Joined {
        let joined = self.ended();
        let behind = behind.map_or(joined, |behind| behind.min(joined));
        Joined { place, node, late: Late { behind, joined } }
    }

    /// The last message that a target has to process, if it is being drained.
    pub(super) fn drains(&self, place: usize) -> Option<Sequence> {
        self.drained.filter(|(drained, _)| *drained == place).map(|(_, upto)| upto)
    }

    /// Whether what is let go up to here was let go without waiting for that target: it is out, or was drained of less.
    pub(super) fn passes_over(&self, place: usize) -> bool {
        self.is_out(place) || self.drains(place).is_some_and(|upto| upto < self.taken)
    }

    /// What of an earlier state of the same log is not in this one, which is further. There is nothing if the log is the same: what it says only
    /// grows.
    pub(super) fn lacks(&self, earlier: &Self) -> Option<&'static str> {
        let fewer = |&(writer, at): &(WriterId, WriterAt)| self.writers.get(writer).last < at.last;
        let ended = self.completed >= earlier.completed && self.released >= earlier.released;
        let lost = [
            (self.taken < earlier.taken, "messages"),
            (self.session < earlier.session, "a session of the source"),
            (!ended, "completions"),
            (self.joined().len() < earlier.joined().len(), "a target that joined"),
            (earlier.writers.iter().any(|writer| fewer(&writer)), "messages of a writer"),
        ];
        lost.into_iter().find(|(lost, _)| *lost).map(|(_, what)| what)
    }

    /// The last message of which all is taken. Parts behind it may never come to be whole.
    pub(super) fn ended(&self) -> Sequence {
        self.open.as_ref().map_or(self.taken, |open| open.ended)
    }

    /// The last stamp.
    pub(super) fn clock(&self) -> Wall {
        self.keeping.as_ref().map(|keeping| keeping.clock).unwrap_or_default()
    }

    /// The last message that went before its time.
    pub(super) fn gone_short(&self) -> Sequence {
        self.keeping.as_ref().map(|keeping| keeping.gone).unwrap_or_default()
    }

    /// What `entry` does to this state, without doing it. `lenient` leaves the writers' places unchecked.
    pub(super) fn effect(&self, entry: &Entry, lenient: bool) -> Effect {
        match entry {
            Entry::Session { boot, follows, .. } if *follows == self.session => {
                Effect::Session { boot: *boot }
            }
            Entry::Descriptor { epoch, first, batch }
                if *epoch == self.session
                    && *first == self.taken.next()
                    && batch.live() > 0
                    && (lenient || parts::follows(&self.writers, &Writers::default(), &self.open, batch)) =>
            {
                Effect::Taken { first: *first }
            }
            &Entry::Complete { upto, released, .. }
                if released <= upto
                    && (self.completed..=self.taken).contains(&upto)
                    && (upto > self.completed || released > self.released) =>
            {
                Effect::Completed { upto, released }
            }
            Entry::CloseWriter { writer } => Effect::Closed { writer: *writer },
            &Entry::Drain { place }
                if place < TARGETS_MAX && !self.is_out(place) && self.drains(place).is_none() =>
            {
                Effect::Draining { place }
            }
            &Entry::Detach { place } if place < TARGETS_MAX && !self.is_out(place) => {
                Effect::Detached { place }
            }
            &Entry::Keep { clock, gone, by }
                if clock > self.clock() || gone > self.gone_short() && gone <= self.completed =>
            {
                let gone = gone.min(self.completed);
                // What is no stamp makes nothing older.
                let clock = if clock > self.clock() { clock } else { Wall(0) };
                Effect::Kept { clock, gone, by }
            }
            &Entry::Join { place, node, declined, .. }
                if self.joined().iter().all(|joined| joined.node != node)
                    && self.joined().last().is_none_or(|last| last.place + 1 == place) =>
            {
                Effect::Joined { place, declined }
            }
            _ => Effect::Nothing,
        }
    }

    /// Moves on by one entry. `batch` is the one that was taken, if one was; who joined is noted by whoever knows who that is.
    pub(super) fn advance(&mut self, index: LogIndex, effect: Effect, batch: Option<&Batch>) {
        assert!(index > self.applied, "S1: entry {index} is applied after {}", self.applied);
        self.applied = index;
        match effect {
            Effect::Nothing => {}
            Effect::Session { boot } => {
                self.session = self.session.next();
                self.boot = boot;
            }
            Effect::Taken { first } => {
                let batch = batch.expect("whoever takes a batch holds it");
                assert_eq!(first, self.taken.next(), "S1: a batch is taken out of order");
                self.taken = Sequence(self.taken.0 + batch.live());
                self.writers.take(batch);
                parts::advance(&mut self.open, first, batch);
            }
            Effect::Completed { upto, released } => {
                self.completed = self.completed.max(upto).min(self.taken);
                self.released = self.released.max(released).min(self.taken);
            }
            Effect::Closed { writer } => self.writers.close(writer),
            Effect::Kept { clock, gone, by } => {
                let keeping = self.keeping.get_or_insert_default();
                keeping.clock = keeping.clock.max(clock);
                if gone > keeping.gone {
                    (keeping.gone, keeping.by) = (gone, by);
                }
            }
            Effect::Draining { place } => self.drained = Some((place, self.ended())),
            Effect::Joined { place, declined } => self.out |= u64::from(declined) << place,
            Effect::Detached { place } => {
                self.out |= 1 << place;
                self.drained.take_if(|(drained, _)| *drained == place);
            }
        }
    }
}
