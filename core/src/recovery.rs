//! The recovery of a mesh that lost its quorum: what is asked, what is told, and where a log ends.

use alloc::string::String;
use alloc::vec::Vec;

use crate::digest::Chain;
use crate::epoch::Epoch;
use crate::id::{LogIndex, NodeId, Term};
use crate::time::Wall;

/// What an operator asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecoverCommand {
    /// Say what a recovery would do, and do nothing.
    Plan {
        /// Names or ids of those who are lost.
        lost: Vec<String>,
    },
    /// Go on without those who are lost.
    Recover {
        /// Names or ids of those who are lost.
        lost: Vec<String>,
    },
    /// Undo a recovery that did not come to an end.
    Withdraw,
}

/// A member, as a recovery sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Its id.
    pub node: NodeId,
    /// Its name.
    pub name: String,
    /// Whether it votes now.
    pub voter: bool,
}

/// What a recovery would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveryPlan {
    /// The attempt it would be.
    pub attempt: u64,
    /// The mesh epoch now.
    pub epoch: Epoch,
    /// The number of the epoch after it.
    pub next: u64,
    /// Where this node's log ends. What survivors hold beyond that stays, too; what only the lost held is void.
    pub last: LogIndex,
    /// The term there.
    pub term: Term,
    /// What this node knows to be decided.
    pub applied: LogIndex,
    /// Who would be evicted.
    pub lost: Vec<Named>,
    /// Who would go on. One of them votes at first: the one whose log goes furthest.
    pub survivors: Vec<Named>,
    /// How many of them would vote in the end.
    pub voters: u64,
}

/// A recovery that came to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// Its attempt.
    pub attempt: u64,
    /// The consensus group goes on under this number.
    pub era: u64,
    /// The node that was asked for it.
    pub asked_at: NodeId,
    /// Whose log is gone on from.
    pub founder: NodeId,
    /// The last entry of that log.
    pub end: LogIndex,
    /// The mesh epoch before it.
    pub before: Epoch,
    /// The number of the epoch after it.
    pub number: u64,
    /// When it was decided.
    pub time: Wall,
    /// Who was evicted: the first of them, at most as many as are remembered.
    pub lost: Vec<(NodeId, String)>,
}

/// How an operator's wish was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecoverReply {
    /// What would be done.
    Plan(RecoveryPlan),
    /// It is done.
    Recovered(Recovered),
    /// It is undone, everywhere.
    Withdrawn {
        /// The attempt that undid it.
        attempt: u64,
    },
}

/// A recovery that this node takes part in, and that has not come to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FencedStatus {
    /// Its attempt.
    pub attempt: u64,
    /// The node that was asked for it.
    pub asked_at: NodeId,
    /// Whether it only undoes an earlier one.
    pub withdraws: bool,
    /// Who is taken for lost.
    pub lost: Vec<NodeId>,
}

/// What a node knows of recoveries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveryStatus {
    /// The one that has not come to its end.
    pub fenced: Option<FencedStatus>,
    /// The last one of this mesh.
    pub last: Option<Recovered>,
    /// Others went on without this node, and it does not follow: what happened, and what to do.
    pub rival: Option<String>,
}

/// What happened with a recovery at a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecoveryStage {
    /// The node said where its log ends, and takes part in no decision until the recovery comes to an end.
    Fenced,
    /// The recovery was withdrawn.
    Withdrawn,
    /// The mesh goes on without the lost.
    Recovered,
    /// This node is one of the lost, and has decided more since: it does not follow.
    Rival,
}

impl RecoveryStage {
    /// The word for it.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Fenced => "fenced",
            Self::Withdrawn => "withdrawn",
            Self::Recovered => "recovered",
            Self::Rival => "rival",
        }
    }
}

/// A place in a log, with the digest of everything up to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogPlace {
    /// Which entry.
    pub index: LogIndex,
    /// Its term.
    pub term: Term,
    /// Everything up to it.
    pub chain: Chain,
}

/// Where the log of a fenced node ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogEnd {
    /// The highest term it entered.
    pub term: Term,
    /// The last entry.
    pub last: LogPlace,
    /// The last entry that it knows to be committed.
    pub certain: LogPlace,
}

/// How many of its last terms a [`LogTrail`] tells of, at most.
pub const TRAIL_TERMS_MAX: usize = 8;

/// The log that survivors go on from, for those who are to find out whether their own holds more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogTrail {
    /// Its last entry.
    pub end: LogPlace,
    /// Up to here a survivor knew it to be committed.
    pub certain: LogIndex,
    /// Its last terms behind that, each with its first entry; oldest first.
    pub terms: Vec<(Term, LogIndex)>,
}

/// Why a recovery was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecoverRefusal {
    /// Nobody was named.
    #[error(
        "name the members that are lost for good, as `wattle status` calls them: nothing is recovered from without them"
    )]
    NobodyLost,
    /// This node cannot be lost.
    #[error(
        "{0} is this very node, so it is not lost: ask a surviving member, and name those that do not survive"
    )]
    SelfLost(String),
    /// There is no need.
    #[error(
        "the members that are not named lost have a quorum of the voters ({voters}): use `wattle mesh evict`, which loses nothing"
    )]
    Quorum {
        /// Those of them who vote.
        voters: String,
    },
    /// A named one lives.
    #[error("{0}, named lost, can be reached now: bring its node to an end for good first, or leave it out")]
    LostReachable(String),
    /// Somebody is neither here nor lost.
    #[error(
        "{names} can not be reached and {} not named lost: {} log might hold what no other does; bring {} back within reach, or name {} lost, too",
        if *several { "are" } else { "is" }, if *several { "their" } else { "its" },
        if *several { "them" } else { "it" }, if *several { "them" } else { "it" }
    )]
    Missing {
        /// Their names.
        names: String,
        /// Whether there are several.
        several: bool,
    },
    /// Somebody lives, perhaps, of whom this node has not heard.
    #[error(
        "{by} knows of members that this node has not heard of yet: {members}. Ask {by} to recover, which asks them, too; or repeat the command and \
         name them lost as well"
    )]
    Strangers {
        /// Who knows them.
        by: String,
        /// Their names and ids.
        members: String,
    },
    /// This node must come to itself first.
    #[error("this node cannot take part in a recovery now: {0}")]
    NotReady(String),
    /// Another one is under way.
    #[error(
        "attempt {attempt} at a recovery is under way, ordered at {asked_at}: wait for its end (`wattle status`), or ask again for a higher one"
    )]
    UnderWay {
        /// Which.
        attempt: u64,
        /// Where it was ordered.
        asked_at: String,
    },
    /// A survivor would not.
    #[error(
        "{name} does not take part: {why}; nothing was decided, and survivors that were fenced stay so: repeat the command, or take it back with --withdraw"
    )]
    Declined {
        /// Who.
        name: String,
        /// Why.
        why: String,
    },
    /// Not all have answered.
    #[error(
        "the recovery did not come to its end in time: {waits}; survivors that were fenced stay so: repeat the command, or take it back with --withdraw"
    )]
    Unfinished {
        /// What it waits for.
        waits: String,
    },
    /// There is none.
    #[error("this node takes part in no recovery: there is nothing to withdraw")]
    NothingToWithdraw,
}
