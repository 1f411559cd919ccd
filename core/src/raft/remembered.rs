//! What a replica keeps of what the others vouched for (rule C2).

use alloc::boxed::Box;

use super::message::{Mark, Place};
use crate::configuration::Member;
use crate::id::{NodeId, ReplicaId, Term};

/// Whom a replica voted for, as far as another one knows.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Vote {
    Unknown,
    ForItself,
    /// For the replica that remembers it.
    ForThis,
    For(Box<Member>),
}

/// What another replica vouched for: a [`Mark`], in less room.
#[derive(Clone, Debug)]
pub(super) struct Remembered {
    replica: ReplicaId,
    term: Term,
    last: Place,
    vote: Vote,
    /// It goes to the disk with the next write.
    pub(super) unwritten: bool,
}

impl Remembered {
    /// What the replica on `node` vouched for; `this` remembers it.
    pub(super) fn new(this: Member, node: NodeId, mark: Mark, unwritten: bool) -> Self {
        let Mark { replica, term, vote, last } = mark;
        let vote = match vote {
            None => Vote::Unknown,
            Some(vote) if vote == this => Vote::ForThis,
            Some(vote) if vote == (Member { node, replica }) => Vote::ForItself,
            Some(other) => Vote::For(Box::new(other)),
        };
        Self { replica, term, last, vote, unwritten }
    }

    /// See [`Self::new`].
    pub(super) fn mark(&self, this: Member, node: NodeId) -> Mark {
        let vote = match &self.vote {
            Vote::Unknown => None,
            Vote::ForItself => Some(Member { node, replica: self.replica }),
            Vote::ForThis => Some(this),
            Vote::For(other) => Some(**other),
        };
        Mark { replica: self.replica, term: self.term, vote, last: self.last }
    }

    /// The replica that remembers it was `this`, and is another now.
    pub(super) fn forgets_its_name(&mut self, this: Member) {
        if self.vote == Vote::ForThis {
            self.vote = Vote::For(Box::new(this));
        }
    }

    /// Which disk history it is of.
    pub(super) const fn replica(&self) -> ReplicaId {
        self.replica
    }

    /// Takes what that replica vouches for in a term, if it is no more than a place in the term that is known of it, or a vote that is known. Whether
    /// that place is further than the last.
    pub(super) fn takes(
        &mut self,
        (replica, term): (ReplicaId, Term),
        last: Place,
        votes: bool,
    ) -> Option<bool> {
        if (self.replica, self.term) != (replica, term) || (votes && self.vote == Vote::Unknown) {
            return None;
        }
        let further = last.index > self.last.index;
        if further {
            self.last = last;
            self.unwritten = true;
        }
        Some(further)
    }
}
