//! What replicas of a group say to each other.

use alloc::boxed::Box;
use alloc::string::String;

use bytes::Bytes;

use super::entries::Entries;
use crate::configuration::{Configuration, Member};
use crate::digest::Chain;
use crate::id::{LogIndex, ReplicaId, Term};

/// A place in a log, with the chained digest of everything up to it (rule C1). Index 0 is the empty log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Which entry.
    pub index: LogIndex,
    /// Its term.
    pub term: Term,
    /// Everything up to it.
    pub chain: Chain,
}

impl Place {
    /// Raft's order of logs by their last entries: term first, then index (section 5.4.1 of the paper).
    #[must_use]
    pub fn rank(&self) -> (Term, LogIndex) {
        (self.term, self.index)
    }
}

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum EntryKind {
    /// Begins a term.
    Blank = 0,
    /// For the group's owner.
    Command = 1,
    /// A new configuration, in force from its append on.
    Configuration = 2,
}

/// An entry of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it stands.
    pub index: LogIndex,
    /// When it was proposed.
    pub term: Term,
    /// What it is.
    pub kind: EntryKind,
    /// Its content.
    pub data: Bytes,
    /// Bytes of payload it refers to.
    pub weight: u64,
}

/// What a replica once vouched for (rule C2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// Which disk history.
    pub replica: ReplicaId,
    /// Highest term it spoke in.
    pub term: Term,
    /// Whom it voted for in that term, if the rememberer knows.
    pub vote: Option<Member>,
    /// The last place it held durably.
    pub last: Place,
}

/// A message within a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The sender's replica id.
    pub sender: ReplicaId,
    /// The replica it is meant for; `None` if the sender does not know.
    pub addressee: Option<ReplicaId>,
    /// The sender's term (of a pre-vote: the term it would stand in).
    pub term: Term,
    /// Drawn by the sender when it started: what it said in its former lives bears other numbers. 0 in the life in which the group was created there.
    pub life: u64,
    /// The recovery under which the sender goes on; 0 before the first.
    pub era: u64,
    /// What is said.
    pub body: Body,
}

/// What is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// A leader's entries, or its word that there are none.
    Append(Append),
    /// What came of an append or a snapshot.
    AppendReply {
        /// The number of the append.
        number: u64,
        /// `place` is equal at both ends and durable here; otherwise it is where this log ends.
        matched: bool,
        /// See `matched`.
        place: Place,
        /// Send on from `place`: bytes or room came (rule B2).
        more: bool,
        /// Entries behind `place` wait here for their bytes: nothing more is wanted before this end asks.
        waiting: bool,
        /// As in the append.
        round: u64,
        /// Another member sends it what is committed.
        fed: bool,
    },
    /// A learner asks a member to send it what is committed behind `last`, from now on.
    Feed {
        /// Up to where its log is committed.
        last: Place,
        /// What it knows to be committed: who has not got so far cannot help.
        heard: LogIndex,
    },
    /// What is committed, from a member that feeds this one and need not lead.
    Fed(Append),
    /// The sender does not feed the addressee, or is not fed by it.
    Unfed,
    /// A member asks its leader up to where it must have applied the log to read what is true now.
    Read {
        /// Returned in the answer.
        number: u64,
    },
    /// Answers it.
    ReadReply {
        /// As asked.
        number: u64,
        /// Up to there.
        index: LogIndex,
    },
    /// A leader wants the addressee to lead, which holds its whole log.
    Stand,
    /// Asks for a vote.
    Vote {
        /// Whether it is only asked what would be answered.
        pre: bool,
        /// Where the candidate's log ends.
        last: Place,
    },
    /// Answers it.
    VoteReply {
        /// As asked.
        pre: bool,
        /// The answer.
        granted: bool,
        /// Where the voter's log ends.
        last: Place,
    },
    /// What the sender remembers of the addressee.
    Recall {
        /// The memory; `None` if there is none.
        mark: Option<Mark>,
        /// Whether the sender wants to be told the same.
        question: bool,
        /// The asker's life, repeated in the answer: one to a former life does not count. 0 if nobody asked.
        start: u64,
        /// The asker takes itself for the only voter: nothing of its former lives may come in behind the answer.
        alone: bool,
        /// Nothing can be decided without the addressee, who gave up the id of that memory: it is to take it up again, and copy its log back.
        needed: bool,
    },
    /// An amnesic only voter asks its learner for the log.
    Copy {
        /// Where the asker's log ends.
        last: Place,
    },
    /// The sender was amnesic under `old` and goes on under a fresh replica id.
    Renamed {
        /// The replica id that is no more.
        old: ReplicaId,
    },
    /// A chunk of the owner's state at a place, for a log that does not reach back far enough.
    Snapshot(Box<Snapshot>),
    /// How much of a state is here.
    SnapshotReply {
        /// The number of the snapshot.
        number: u64,
        /// Bytes, from its beginning.
        here: u64,
    },
    /// The group must not go on (rule C2).
    Stop {
        /// Why, for people.
        reason: String,
    },
}

/// See [`Body::Append`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append {
    /// The place before the first entry.
    pub previous: Place,
    /// The sender's commit index.
    pub commit: LogIndex,
    /// What the sender itself has on disk.
    pub durable: Place,
    /// The entries, contiguous behind `previous`.
    pub entries: Entries,
    /// Returned in the reply.
    pub number: u64,
    /// The last round of reads that began, returned in the reply.
    pub round: u64,
    /// Gives a log back to an amnesic replica; the sender need not lead.
    pub copy: bool,
    /// Not on the wire: the gate cut entries off.
    pub cut: bool,
}

/// See [`Body::Snapshot`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The place whose state it is.
    pub place: Place,
    /// The configuration in force there; in the first chunk.
    pub configuration: Configuration,
    /// Bytes of the whole state.
    pub total: u64,
    /// Of the whole state (XXH3, 128 bits).
    pub digest: u128,
    /// Where this chunk begins in it.
    pub offset: u64,
    /// The chunk.
    pub data: Bytes,
    /// Returned in the replies; 0 in one that gives a state back.
    pub number: u64,
    /// As in [`Append::copy`].
    pub copy: bool,
}

impl Message {
    /// The append, if it is one.
    #[must_use]
    pub fn append(&self) -> Option<&Append> {
        match &self.body {
            Body::Append(append) => Some(append),
            _ => None,
        }
    }

    /// Takes the first `entries` entries out of an append, as a message of their own whose commit index is clamped to them, and whose
    /// reply says that the rest waits. What is left continues it. `None` if this is no append, or has no more entries than that.
    pub fn split(&mut self, entries: usize) -> Option<Self> {
        let Body::Append(rest) = &mut self.body else { return None };
        if entries >= rest.entries.len() {
            return None;
        }
        let (previous, all) = (rest.previous, core::mem::take(&mut rest.entries));
        let first = all.part(0..entries);
        rest.entries = all.part(entries..all.len());
        rest.previous = first.iter().fold(previous, Place::then);
        let commit = rest.commit.min(rest.previous.index);
        let body = Body::Append(Append { previous, commit, entries: first, cut: true, ..*rest });
        Some(Self { body, ..*self })
    }
}

impl Place {
    /// The place of an entry that follows this one.
    #[must_use]
    pub fn then(self, entry: &Entry) -> Self {
        let chain = self.chain.then(entry.term, entry.index, entry.kind as u8, &entry.data);
        Self { index: entry.index, term: entry.term, chain }
    }
}
