//! The parts a replica plays, and what it keeps for each of them only.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;

use super::copy::Copying;
use super::introduction::Newcomer;
use super::members::Members;
use super::message::Mark;
use super::read::Rounds;
use super::transfer::Transfer;
use crate::configuration::Member;
use crate::id::{LogIndex, NodeId, ReplicaId, Term};
use crate::time::At;

/// The part of the paper a replica plays.
#[derive(Clone, Debug)]
pub(super) enum Role {
    /// Of whoever led last, if that one leads still.
    Follower {
        led: bool,
    },
    PreCandidate {
        granted: Box<Granted>,
    },
    Candidate {
        granted: Box<Granted>,
    },
    Leader(Box<Leading>),
}

/// Who would vote, or did, for a candidate.
#[derive(Clone, Debug, Default)]
pub(super) struct Granted {
    pub(super) by: BTreeSet<Member>,
}

/// Whether the owner of a replica is of any use in this life (R34).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Unfit {
    No,
    /// It is to leave the group, and is as good as ever until then.
    Leaves,
    Stopped,
}

/// Whether a replica's memory can be trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It may vote, lead and acknowledge.
    Sound,
    /// It restarted, and waits for the word of others (rules C2, C3).
    Verifying(Box<Verifying>),
    /// Nothing can be decided without it, it lost part of its log, and it copies it back from the other members (rule C3).
    Copying(Box<Copying>),
    /// It lost part of its log or a vote under that replica id, took a fresh one, and waits to be admitted under it (rule C5).
    Renamed(Box<ReplicaId>),
    /// It goes no further.
    Stopped(Box<Stopped>),
}

/// See [`Standing::Verifying`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Verifying {
    /// Who answered. These are to be joined by more.
    pub(super) answered: BTreeSet<NodeId>,
    /// By all who vote: it was here before, and forgot everything.
    pub(super) by_all: bool,
}

/// See [`Standing::Stopped`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stopped {
    pub(super) reason: String,
    /// It was wrong, and the others were right.
    pub(super) alone: bool,
}

/// A term in which a replica led. It appended to what it had, and that was everything it had vouched for since its log had last been set back: so whoever
/// remembers more of it shows that its disk was rolled back in front of that (rule C2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Led {
    pub(super) term: Term,
    /// Where its log ended.
    pub(super) behind: (Term, LogIndex),
    /// See [`Past::set_back`](super::group::Past::set_back).
    pub(super) set_back: Term,
}

impl Led {
    /// Whether it lacked something that it had vouched for.
    pub(super) fn lacked(&self, mark: &Mark) -> bool {
        (self.set_back..self.term).contains(&mark.term) && mark.last.rank() > self.behind
    }
}

/// What a leader keeps.
#[derive(Clone, Debug, Default)]
pub(super) struct Leading {
    pub(super) progress: Members,
    /// Where its term begins.
    pub(super) begins: LogIndex,
    pub(super) next_number: u64,
    /// Steps down then, unless a quorum is heard again.
    pub(super) quorum_lost: Option<At>,
    /// Who is on the way to its full part, if anybody is.
    pub(super) entering: Option<Box<Entering>>,
    /// Reads that are to be confirmed.
    pub(super) rounds: Rounds,
    /// Another is to lead.
    pub(super) transfer: Option<Box<Transfer>>,
    /// What learners need not hear of at once.
    pub(super) unhurried: Option<Unhurried>,
    /// What was proposed and is not committed, by [`burden`](super::flow::burden).
    pub(super) uncommitted: u64,
}

/// Entries in a row of which learners hear with whatever follows, or at that time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unhurried {
    pub(super) from: LogIndex,
    pub(super) upto: LogIndex,
    pub(super) at: At,
}

/// Members that do not take their full part yet. Nobody keeps it while there are none.
#[derive(Clone, Debug, Default)]
pub(super) struct Entering {
    /// Former voters under fresh replica ids, to be promoted once they have caught up (rule C5).
    pub(super) returning: BTreeSet<Member>,
    /// Learners that never vouched for anything, and wait for another to hold the entry that names them (rule C3).
    pub(super) newcomers: BTreeMap<NodeId, Newcomer>,
}

impl Leading {
    /// Learners that are told nothing yet.
    pub(super) fn newcomers(&self) -> impl Iterator<Item = &Newcomer> {
        self.entering.iter().flat_map(|entering| entering.newcomers.values())
    }

    /// Whether the member on that node is told nothing yet.
    pub(super) fn is_newcomer(&self, node: NodeId) -> bool {
        self.entering.as_ref().is_some_and(|entering| entering.newcomers.contains_key(&node))
    }
}

impl Entering {
    /// Changes who is on the way.
    pub(super) fn change(entering: &mut Option<Box<Self>>, change: impl FnOnce(&mut Self)) {
        let present = entering.get_or_insert_default();
        change(present);
        if present.returning.is_empty() && present.newcomers.is_empty() {
            *entering = None;
        }
    }
}
