//! What is told of the log that a group goes on from without those it lost, so that each of them can find out whether its own log holds more.
//!
//! Two logs are equal up to an entry that has the same index and term in both. So the last terms of a log, each with its first entry, tell where any
//! other log leaves it. Below what a survivor knew to be committed nothing needs to be told: what is committed anywhere is the same there.

use alloc::vec::Vec;

use super::entries::Entries;
use super::group::Group;
use super::message::Place;
use super::segments::RunLimits;
use crate::id::{LogIndex, Term};
use crate::recovery::TRAIL_TERMS_MAX;

/// What is looked through at once of entries that the owner was not given.
const LOOKED_THROUGH: RunLimits = RunLimits { entries: 1 << 14, bytes: 64 << 20 };

/// The log that is gone on from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trail {
    /// Its last entry.
    pub end: Place,
    /// Up to here it was known to be committed.
    pub certain: LogIndex,
    /// Its last terms behind that, [`TRAIL_TERMS_MAX`] at most, each with its first entry; oldest first. Who left it in an earlier one takes it for left
    /// at what was committed for certain.
    pub terms: Vec<(Term, LogIndex)>,
}

impl Group {
    /// What is to be told of this log, of which so much is committed for certain.
    pub(super) fn trail(&self, certain: LogIndex) -> Trail {
        let (base, end) = (self.log.base().index, self.log.last());
        let mut terms = Vec::new();
        let mut at = end.index;
        while at > certain && at > base && terms.len() < TRAIL_TERMS_MAX {
            let Some(term) = self.log.term(at) else { break };
            at = self.log.before_term_at(at).index;
            terms.push((term, at.next()));
        }
        terms.reverse();
        Trail { end, certain, terms }
    }

    /// Up to where this log is that one, as far as it matters: what is committed here and lies below is held there, too.
    pub(super) fn shared(&self, trail: &Trail) -> LogIndex {
        let end = trail.end;
        match self.log.place(end.index) {
            Some(own) if own == end => end.index,
            // Equal by its numbers, and not equal: a disk was rolled back, and numbers tell nothing.
            Some(own) if own.term == end.term => trail.certain,
            _ => self.parts_from(trail).max(trail.certain),
        }
    }

    fn parts_from(&self, trail: &Trail) -> LogIndex {
        let mut upto = trail.end.index;
        for &(term, first) in trail.terms.iter().rev() {
            let at = self.log.may_agree_upto(Place { index: upto, term, ..Place::default() });
            if (first..=upto).contains(&at) && self.log.term(at) == Some(term) {
                return at;
            }
            upto = first.before();
        }
        trail.certain
    }

    /// What is held here and was not given to the owner, and whether that is all of it.
    pub(super) fn not_applied(&self) -> (Entries, bool) {
        let last = self.log.last().index;
        let held = self.log.slice(self.applied.next(), last, LOOKED_THROUGH);
        let whole = self.applied >= last || held.last().is_some_and(|entry| entry.index == last);
        (held, whole)
    }
}

#[cfg(test)]
mod tests {
    use alloc::sync::Arc;

    use super::*;
    use crate::id::{GroupId, ReplicaId};
    use crate::planted::Planted;
    use crate::raft::{Entry, EntryKind};
    use bytes::Bytes;

    fn group(terms: &[u64], text: &'static str) -> Group {
        let replica = ReplicaId(1);
        let mut group =
            Group::new(GroupId::CONTROL, replica, Place::default(), Arc::default(), Planted::none());
        for &term in terms {
            let index = group.log.last().index.next();
            let data = Bytes::from_static(text.as_bytes());
            group.log.push(Entry { index, term: Term(term), kind: EntryKind::Command, data, weight: 0 });
        }
        group
    }

    #[test]
    fn a_trail_tells_where_another_log_leaves_the_one_that_is_gone_on_from() {
        let trail = group(&[1, 1, 2, 2, 3], "").trail(LogIndex(1));
        let terms = [(1, 1), (2, 3), (3, 5)].map(|(term, first)| (Term(term), LogIndex(first)));
        assert_eq!((trail.end.index, &trail.terms[..]), (LogIndex(5), &terms[..]));
        let logs: [(&[u64], u64); 8] = [
            (&[1, 1, 2, 2, 3], 5),
            (&[1, 1, 2, 2, 3, 3, 4], 5),
            (&[1, 1, 2], 3),
            (&[1, 1, 2, 2, 2], 4),
            (&[1, 1, 1], 2),
            (&[1, 1, 1, 4, 4, 4], 2),
            (&[1, 1, 3], 2),
            (&[], 1),
        ];
        for (log, shared) in logs {
            assert_eq!(group(log, "").shared(&trail), LogIndex(shared), "{log:?}");
        }
        assert_eq!(group(&[1, 1, 2, 2, 3, 3], "other").shared(&trail), LogIndex(1), "numbers tell nothing");
    }

    #[test]
    fn of_many_terms_the_last_are_told() {
        let terms: Vec<u64> = (1..=20).collect();
        let trail = group(&terms, "").trail(LogIndex(3));
        assert_eq!(trail.terms.len(), TRAIL_TERMS_MAX);
        assert_eq!(trail.terms.first(), Some(&(Term(13), LogIndex(13))));
        assert_eq!(group(&terms[..15], "").shared(&trail), LogIndex(15));
        assert_eq!(group(&terms[..10], "").shared(&trail), LogIndex(3), "as good as unknown");
        assert!(group(&terms, "").trail(LogIndex(20)).terms.is_empty());
    }
}
