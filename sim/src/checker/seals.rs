//! Streams whose group lost its quorum for good (X28). From outside three things are known: what the operator asked for, how far each node says that a stream is
//! sealed, and what publishers and handlers were told. Where a stream ends is said once; without its source nothing behind that end is handed over, and what was
//! told *replicated* lies in front of it as long as survivors held it; who comes back of the lost stops, and a source keeps what it accepted.

use std::collections::{BTreeMap, BTreeSet};

use wattle_core::id::NodeId;
use wattle_core::node::status::StreamStatus;
use wattle_core::sealing::Sealed;

use super::{Checked, ensure};

/// The book of seals.
#[derive(Debug, Default)]
pub struct Seals {
    asked: BTreeSet<usize>,
    told: BTreeMap<usize, Sealed>,
}

impl Seals {
    /// An operator asks for a stream to be sealed.
    pub fn asked(&mut self, stream: usize) {
        self.asked.insert(stream);
    }

    /// The last message in front of a stream's end, once anybody knows it.
    #[must_use]
    pub fn end(&self, stream: usize) -> Option<u64> {
        self.told.get(&stream).and_then(|sealed| sealed.sequence).map(|sequence| sequence.0)
    }

    /// Whether anybody knows of a seal of that stream.
    #[must_use]
    pub fn begun(&self, stream: usize) -> bool {
        self.told.contains_key(&stream)
    }

    /// Who was lost when a stream was sealed, as far as anybody knows of that.
    #[must_use]
    pub fn lost(&self, stream: usize) -> &[NodeId] {
        self.told.get(&stream).map_or(&[], |sealed| &sealed.lost)
    }

    /// Whether a stream goes on from the log of that node: it can do without it only once it is lost, too.
    #[must_use]
    pub fn goes_on_from(&self, stream: usize, node: NodeId) -> bool {
        let end = self.told.get(&stream).and_then(|sealed| sealed.end);
        end.is_some_and(|(founder, _)| founder == node)
    }

    /// Somebody says how far a stream is sealed.
    ///
    /// # Errors
    /// X28.
    pub fn told(&mut self, stream: usize, sealed: &Sealed) -> Checked {
        ensure!(self.asked.contains(&stream), "X28", "stream {stream} is sealed, and nobody asked for that");
        ensure!(
            sealed.authority.0 == 1,
            "X28",
            "stream {stream} was sealed once, and goes on under authority {}",
            sealed.authority
        );
        let known = self.told.entry(stream).or_insert_with(|| sealed.clone());
        ensure!(
            known.lost == sealed.lost,
            "X28",
            "stream {stream} lost {:?} and {:?}",
            known.lost,
            sealed.lost
        );
        let differ = known.end.zip(sealed.end).is_some_and(|(one, other)| one != other);
        ensure!(!differ, "X28", "stream {stream} goes on from {:?} and from {:?}", known.end, sealed.end);
        let differ = known.sequence.zip(sealed.sequence).is_some_and(|(one, other)| one != other);
        ensure!(
            !differ,
            "X28",
            "stream {stream} was sealed at {:?} and at {:?}",
            known.sequence,
            sealed.sequence
        );
        known.end = known.end.or(sealed.end);
        known.sequence = known.sequence.or(sealed.sequence);
        Ok(())
    }

    /// What a sealed stream still owes, by what its ends show that were not taken out of it; `void` messages were told accepted by the lost source and are void.
    /// Where its source is left, what that accepted is judged as ever.
    #[must_use]
    pub fn owed(
        &self,
        stream: usize,
        void: u64,
        source: NodeId,
        shown: &[(NodeId, &StreamStatus)],
    ) -> Option<String> {
        let sealed = self.told.get(&stream)?;
        let Some(end) = sealed.sequence else {
            return Some(format!("stream {stream}: its seal is not settled: {sealed:?}"));
        };
        let sourceless = sealed.lost.contains(&source);
        for (node, status) in shown {
            if sealed.lost.contains(node) {
                let kept = status.orphaned.filter(|_| status.stopped.is_some());
                let least = if *node == source { void } else { 0 };
                if kept.is_none_or(|kept| kept < least) {
                    return Some(format!(
                        "stream {stream}: {node}, which was lost, keeps {kept:?} messages as orphaned, and {least} are void; it says {:?}",
                        status.stopped
                    ));
                }
            } else if sourceless && status.completed != end {
                return Some(format!(
                    "stream {stream}: sealed at {end}, and completed up to {}: waits for {:?}",
                    status.completed, status.waiting_for
                ));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::stream;
    use super::*;
    use wattle_core::id::{AuthorityEpoch, Sequence};

    fn sealed(sequence: Option<u64>) -> Sealed {
        Sealed {
            authority: AuthorityEpoch(1),
            lost: vec![NodeId(1)],
            waits_for: Vec::new(),
            end: None,
            sequence: sequence.map(Sequence),
            heard: Sequence(0),
            former: Vec::new(),
        }
    }

    fn book() -> Seals {
        let mut seals = Seals::default();
        seals.asked(0);
        seals.told(0, &sealed(None)).unwrap();
        seals.told(0, &sealed(Some(7))).unwrap();
        seals
    }

    #[test]
    fn a_stream_ends_where_it_was_said_to_end() {
        let mut seals = book();
        assert_eq!(seals.end(0), Some(7));
        seals.told(0, &sealed(None)).unwrap();
        assert!(seals.told(0, &sealed(Some(8))).is_err(), "elsewhere");
        assert!(seals.told(1, &sealed(None)).is_err(), "nobody asked");
        let again = Sealed { authority: AuthorityEpoch(2), ..sealed(Some(7)) };
        assert!(seals.told(0, &again).is_err(), "sealed twice");
    }

    #[test]
    fn a_lost_source_stops_and_keeps_what_is_void_and_the_target_completes_the_rest() {
        let seals = book();
        let (source, target) = (NodeId(1), NodeId(2));
        let mut back = stream(9);
        let mut on = stream(9);
        let owed = |back: &StreamStatus, on: &StreamStatus| {
            seals.owed(0, 2, source, &[(source, back), (target, on)]).is_some()
        };
        on.completed = Sequence(7);
        assert!(owed(&back, &on), "it goes on");
        back.stopped = Some("sealed".into());
        assert!(owed(&back, &on), "it does not say what it keeps");
        back.orphaned = Some(1);
        assert!(owed(&back, &on), "it dropped one");
        back.orphaned = Some(2);
        assert!(!owed(&back, &on));
        on.completed = Sequence(6);
        assert!(owed(&back, &on), "one is not processed");
    }
}
