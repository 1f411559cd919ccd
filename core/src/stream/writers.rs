//! Who wrote how much: the table that makes repeating harmless. No time window; a writer's place dies only with the stream.

use alloc::collections::BTreeMap;

use super::entry::Batch;
use crate::id::{WriterId, WriterSequence};

/// A writer's place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct WriterAt {
    /// The last of its messages; 0 for none.
    pub(super) last: u64,
    /// It writes no more.
    pub(super) closed: bool,
}

/// All writers of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Writers(BTreeMap<WriterId, WriterAt>);

impl Writers {
    pub(super) fn get(&self, writer: WriterId) -> WriterAt {
        self.0.get(&writer).copied().unwrap_or_default()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (WriterId, WriterAt)> + '_ {
        self.0.iter().map(|(&id, &at)| (id, at))
    }

    pub(super) fn restore(&mut self, writer: WriterId, last: u64, closed: bool) {
        self.0.insert(writer, WriterAt { last, closed });
    }

    /// Raises a writer's place; never lowers it.
    pub(super) fn reach(&mut self, writer: WriterId, last: WriterSequence) {
        let at = self.0.entry(writer).or_default();
        at.last = at.last.max(last.0);
    }

    /// Lets go of all writers but those that `keep` names.
    pub(super) fn retain(&mut self, keep: impl Fn(WriterId) -> bool) {
        self.0.retain(|&writer, _| keep(writer));
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn knows(&self, writer: WriterId) -> bool {
        self.0.contains_key(&writer)
    }

    /// Lets go of the places of `batch`'s writers that `other` has reached.
    pub(super) fn hand_on(&mut self, batch: &Batch, other: &Self) {
        for span in &batch.spans {
            if self.get(span.writer).last <= other.get(span.writer).last {
                self.0.remove(&span.writer);
            }
        }
    }

    pub(super) fn close(&mut self, writer: WriterId) {
        self.0.entry(writer).or_default().closed = true;
    }

    /// Whether every live message of `batch` is the next of its writer (rule A7, apply's last word). Closed or not: a source whose disk
    /// was rolled back may have accepted of a writer that its log had closed, and what was accepted is not dropped.
    ///
    /// Writers may be further in `ahead`.
    pub(super) fn continued_by(&self, ahead: &Self, batch: &Batch) -> bool {
        let reached = |writer| self.get(writer).last.max(ahead.get(writer).last);
        let mut places: BTreeMap<WriterId, u64> = BTreeMap::new();
        batch.spans.iter().filter(|span| !span.void).all(|span| {
            let last = places.entry(span.writer).or_insert_with(|| reached(span.writer));
            let fits = span.first.0 == *last + 1;
            *last = span.last().0;
            fits
        })
    }

    /// Raises the places of all writers of `batch`; not by a part that others follow.
    pub(super) fn take(&mut self, batch: &Batch) {
        if !batch.ends() {
            return;
        }
        for span in batch.spans.iter().filter(|span| !span.void) {
            self.reach(span.writer, span.last());
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::digest::Digest;
    use crate::id::{BootId, MessageId, Sequence};
    use crate::stream::entry::{Identity, Span};
    use crate::time::Wall;

    fn batch(spans: &[(u128, u64, u64)]) -> Batch {
        let span = |&(writer, first, count)| Span {
            writer: WriterId(writer),
            first: WriterSequence(first),
            count,
            void: false,
        };
        let spans: alloc::vec::Vec<Span> = spans.iter().map(span).collect();
        let messages: u64 = spans.iter().map(|span| span.count).sum();
        let identity = Identity { boot: BootId(1), first: Sequence(1), digest: Digest::default() };
        Batch {
            identity,
            lengths: vec![1; messages as usize],
            spans,
            base: MessageId(0),
            wall: Wall(0),
            part: None,
        }
    }

    #[test]
    fn a_batch_must_continue_each_of_its_writers() {
        let mut writers = Writers::default();
        assert!(writers.continued_by(&Writers::default(), &batch(&[(1, 1, 2), (2, 1, 1), (1, 3, 1)])));
        assert!(!writers.continued_by(&Writers::default(), &batch(&[(1, 2, 1)])), "a gap");
        writers.take(&batch(&[(1, 1, 3)]));
        assert!(!writers.continued_by(&Writers::default(), &batch(&[(1, 3, 2)])), "a repetition");
        assert!(writers.continued_by(&Writers::default(), &batch(&[(1, 4, 2)])));
        writers.close(WriterId(1));
        assert!(
            writers.continued_by(&Writers::default(), &batch(&[(1, 4, 2)])),
            "accepted before it was known that the writer is closed"
        );
        assert!(!writers.continued_by(&Writers::default(), &batch(&[(1, 3, 2)])), "a repetition still");
    }

    #[test]
    fn what_was_taken_turns_void_and_the_rest_stays() {
        let mut batch = batch(&[(1, 1, 4), (2, 5, 2)]);
        assert!(batch.void_covered(|writer| if writer == WriterId(1) { 3 } else { 0 }));
        assert_eq!(batch.live(), 3);
        let left: alloc::vec::Vec<u64> = batch.messages().map(|at| at.writer_sequence.0).collect();
        assert_eq!(left, [4, 5, 6]);
        assert_eq!(batch.messages().next().map(|at| at.offset), Some(3));
        assert!(!batch.void_covered(|_| 0), "nothing more to void");
    }

    #[test]
    fn the_places_of_all_writers_a_stream_may_have_can_be_sent() {
        let config = crate::stream::Config::default();
        let mut state = crate::stream::state::LogState::default();
        for writer in 0..1_000 {
            state.writers.restore(WriterId(u128::MAX - writer), (1 << 62) - 1, true);
        }
        let stored = crate::stream::wire::Stored { state, marks: Default::default(), slot_floor: 0 };
        let each = crate::stream::wire::encode_state(&stored).len().div_ceil(1_000);
        assert!(each * config.writers <= config.snapshot_bytes, "{each} bytes each");
        assert!(config.snapshot_bytes < wattle_proto::frame::MAX_FRAME, "a frame must hold them");
    }

    #[test]
    fn a_place_is_handed_on_when_the_log_has_reached_it() {
        let (mut places, mut taken) = (Writers::default(), Writers::default());
        places.reach(WriterId(1), WriterSequence(5));
        places.reach(WriterId(2), WriterSequence(1));
        taken.take(&batch(&[(1, 1, 3), (2, 1, 1)]));
        places.hand_on(&batch(&[(1, 1, 3), (2, 1, 1)]), &taken);
        assert!(places.knows(WriterId(1)) && !places.knows(WriterId(2)));
    }
}
