//! Messages of several parts: which part follows which in the log, and where such a message begins and ends.
//!
//! Whoever applies the log merges the digests of the parts that it takes. A message of which not all parts come (its source lost them with its disk) is left
//! behind when anything else is taken: nobody is handed any of it.

use alloc::boxed::Box;

use super::entry::{Batch, Part};
use super::member::Stream;
use super::writers::Writers;
use crate::digest::Digest;
use crate::id::{Sequence, WriterId, WriterSequence};
use crate::whole::Tree;

/// A message of which the log has taken some parts, and not the last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Open {
    pub(super) writer: WriterId,
    pub(super) number: WriterSequence,
    pub(super) total: u64,
    pub(super) whole: Digest,
    /// The sequence of its first part.
    pub(super) first: Sequence,
    /// The last message in front of it. Between the two may stand parts of others that were left behind, or of itself, from an attempt before.
    pub(super) ended: Sequence,
    /// Bytes of each part but the last.
    pub(super) size: u64,
    /// Bytes of the parts so far.
    pub(super) bytes: u64,
    pub(super) tree: Tree,
}

impl Open {
    /// Whether a batch is the next part.
    fn continued_by(&self, batch: &Batch, part: &Part) -> bool {
        let len = batch.bytes();
        let of_it = batch.written() == Some((self.writer, self.number))
            && (part.total, part.whole) == (self.total, self.whole);
        of_it && part.offset == self.bytes && (len == self.size || batch.ends() && len < self.size)
    }

    /// Whether it ends with this batch, which continues it, and is not what it is called.
    fn forged_by(&self, batch: &Batch) -> bool {
        let mut tree = self.tree.clone();
        tree.push(batch.identity.digest);
        batch.ends() && tree.root() != Some(self.whole)
    }
}

/// What is open, if anything is. Most streams never have such a message.
pub(super) type Opening = Option<Box<Open>>;

/// Whether a batch continues its writers, and the message that is open if it is a part of one.
pub(super) fn follows(writers: &Writers, ahead: &Writers, open: &Opening, batch: &Batch) -> bool {
    match &batch.part {
        Some(part) if part.offset > 0 => open.as_ref().is_some_and(|open| open.continued_by(batch, part)),
        _ => writers.continued_by(ahead, batch),
    }
}

/// Whether a batch that is taken ends a message whose parts are not what the whole is called.
pub(super) fn forged(open: &Opening, batch: &Batch) -> bool {
    batch.part.as_ref().is_some_and(|part| part.offset > 0)
        && open.as_ref().is_some_and(|open| open.forged_by(batch))
}

/// What is open after a batch was taken at `first`.
pub(super) fn advance(open: &mut Opening, first: Sequence, batch: &Batch) {
    let (Some(part), Some((writer, number)), false) = (&batch.part, batch.written(), batch.ends()) else {
        *open = None;
        return;
    };
    if part.offset == 0 {
        let (total, whole, size) = (part.total, part.whole, batch.bytes());
        let (tree, ended) = (Tree::default(), open.as_ref().map_or(first.before(), |before| before.ended));
        *open = Some(Box::new(Open { writer, number, total, whole, first, ended, size, bytes: 0, tree }));
    }
    if let Some(open) = open {
        open.bytes += batch.bytes();
        open.tree.push(batch.identity.digest);
    }
}

/// Where a run of parts ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Run {
    /// With its last part, at this sequence.
    Whole(Sequence),
    /// Its other parts are to come.
    Coming,
    /// They never came: what stands at this sequence is something else.
    Broken(Sequence),
}

impl Stream {
    /// Parts at the end of a log that goes on without its source: the others will never come. The last message in front of them.
    ///
    /// While a later seal is open nobody can tell where that one ends the log. Where that was known before, a mark behind parts says so: nothing else puts
    /// one there (S25).
    pub(super) fn dead_tail(&self) -> Option<Sequence> {
        let end = self.seal.as_ref().filter(|_| self.sourceless())?.sequence;
        let taken = self.head.taken;
        let dead = end == Some(taken) || self.target.mark == taken;
        self.head.open.as_ref().filter(|_| dead).map(|open| open.ended)
    }

    /// Where the run of parts ends that begins at `first`, where a part stands, as far as `upto` is known.
    pub(super) fn run_from(&self, first: Sequence, upto: Sequence) -> Run {
        let batch_at =
            |at| self.store.holding(at).and_then(|slot| self.store.get(slot)).map(|kept| &kept.batch);
        let begun = batch_at(first);
        let Some((begun, part)) = begun.and_then(|batch| Some((batch, batch.part.as_ref()?))) else {
            return Run::Coming;
        };
        // Of several in a row each bears the next number: so if the last one is in its place, all are.
        let last = Sequence(first.0 + (part.total.div_ceil(begun.bytes().max(1)) - 1));
        let of_it = |batch: &Batch| {
            batch.written() == begun.written()
                && batch.part.as_ref().is_some_and(|other| other.whole == part.whole)
        };
        let ends = |batch: &Batch| of_it(batch) && batch.ends();
        if part.offset == 0 && last <= upto && batch_at(last).is_some_and(ends) {
            return Run::Whole(last);
        }
        if part.offset == 0 && self.head.open.as_ref().is_some_and(|open| open.first == first) {
            return Run::Coming;
        }
        let mut next = first.next();
        while next <= upto {
            match batch_at(next) {
                Some(batch) if !batch.begins() => next = next.next(),
                _ => return Run::Broken(next),
            }
        }
        Run::Coming
    }

    /// The last message that ends at or below a sequence, if that lies inside a message of several parts; the sequence itself otherwise.
    pub(super) fn whole_up_to(&self, sequence: Sequence) -> Sequence {
        let mut upto = sequence;
        if upto == self.head.taken && self.dead_tail().is_some() {
            return upto;
        }
        while let Some(slot) = self.store.holding(upto)
            && let Some(kept) = self.store.get(slot)
            && !kept.batch.ends()
        {
            upto = kept.first.before();
        }
        upto
    }
}

#[cfg(test)]
mod tests {
    use super::super::entry::Entry;
    use super::super::heads::Whole;
    use super::super::marks::Marks;
    use super::super::state::LogState;
    use super::super::wire::{Stored, decode_state, encode_state};
    use super::*;
    use crate::id::{BootId, LogIndex, MessageId, SessionEpoch};
    use crate::time::Wall;

    #[test]
    fn a_drain_ends_with_a_message_and_not_with_parts_that_may_never_be_whole() {
        let whole = |first| Whole {
            upload: 5,
            first: Sequence(first),
            boot: BootId(3),
            writer: WriterId(4),
            number: WriterSequence(1),
            total: 3000,
            size: 1024,
            digest: Digest([8; 32]),
            base: MessageId(2),
            wall: Wall(1),
        };
        // So many parts of each attempt.
        let drained_behind = |attempts: &[u64]| {
            let mut state = LogState { session: SessionEpoch(1), ..LogState::default() };
            for &parts in attempts {
                let begin = state.taken.next();
                for place in 0..parts {
                    let (first, batch) = (state.taken.next(), whole(begin.0).part(place, Digest::default()));
                    let entry = Entry::Descriptor { epoch: SessionEpoch(1), first, batch: batch.clone() };
                    let effect = state.effect(&entry, false);
                    state.advance(state.applied.next(), effect, Some(&batch));
                }
            }
            let effect = state.effect(&Entry::Drain { place: 0 }, false);
            state.advance(LogIndex(9), effect, None);
            let stored = Stored { state: state.clone(), marks: Marks::default(), slot_floor: 1 };
            assert_eq!(decode_state(&encode_state(&stored)), Ok(stored));
            (state.taken, state.drained.map(|(_, upto)| upto))
        };
        assert_eq!(drained_behind(&[2]), (Sequence(2), Some(Sequence(0))));
        assert_eq!(drained_behind(&[3]), (Sequence(3), Some(Sequence(3))));
        assert_eq!(drained_behind(&[2, 1, 2]), (Sequence(5), Some(Sequence(0))), "of no attempt all came");
        assert_eq!(drained_behind(&[2, 3]), (Sequence(5), Some(Sequence(5))));
    }
}
