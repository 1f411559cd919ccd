//! Changes of a live stream's members: what is asked for, what is told, and why it is refused.

use alloc::string::String;
use alloc::vec::Vec;

use crate::ends::TARGETS_MAX;
use crate::id::{LogIndex, NodeId, Sequence};

/// Longest reason that an operator may give for a change, in bytes.
pub const REASON_MAX: usize = 256;

/// From which message on a target that is added is handed what there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// From the first that is kept.
    #[default]
    FirstKept,
    /// From the first behind its joining.
    Now,
    /// From this one. If it is not kept any more when the target joins, from the first that is; if the stream has not got so far, from the first behind that.
    At(Sequence),
}

/// What becomes of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// A node that is none becomes one.
    Add(Start),
    /// It is out once it has processed everything up to where that was decided: for one that lives.
    Drain,
    /// It is out at once, whatever it has processed: for one that is gone for good.
    Detach,
}

/// A change that is asked for. Nodes are named by name or id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MembersWish {
    /// The stream's name.
    pub stream: String,
    /// The target.
    pub target: String,
    /// What becomes of it.
    pub kind: ChangeKind,
    /// Why, for people; not empty where a target is taken out.
    pub reason: String,
}

/// A change of a stream's members that is not done yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberChange {
    /// The entry of the control group that began it.
    pub number: LogIndex,
    /// The target.
    pub node: NodeId,
    /// What becomes of it.
    pub kind: ChangeKind,
    /// Why.
    pub reason: String,
}

/// A target that was taken out of a stream. It has no say in it any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakenOut {
    /// Which node.
    pub node: NodeId,
    /// How.
    pub kind: ChangeKind,
    /// Why.
    pub reason: String,
}

/// A target that was added to a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Added {
    /// Which node.
    pub node: NodeId,
    /// The first message that it owes; `None` if it was to be added, and is taken out, or was, before it joined.
    pub first: Option<Sequence>,
}

/// How the members of a stream differ from those it was opened with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamMembers {
    /// The change under way.
    pub change: Option<MemberChange>,
    /// Who was added, in that order.
    pub added: Vec<Added>,
    /// Since it was opened it had one target, and so the source alone voted in its group: who did so in the beginning need not do so any more.
    pub once_alone: bool,
    /// Who was taken out, in that order.
    pub out: Vec<TakenOut>,
}

impl StreamMembers {
    /// How a node was taken out, if it was.
    #[must_use]
    pub fn taken_out(&self, node: NodeId) -> Option<&TakenOut> {
        self.out.iter().find(|out| out.node == node)
    }

    /// Who is a target beside those it was opened with, or is about to be.
    pub fn late(&self) -> impl Iterator<Item = NodeId> + '_ {
        let coming = self.change.as_ref().filter(|change| matches!(change.kind, ChangeKind::Add(_)));
        self.added.iter().map(|added| added.node).chain(coming.map(|change| change.node))
    }
}

/// Why the members of a stream were not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MembersRefusal {
    /// Without it there is no stream.
    #[error(
        "{0} is the source of this stream, and stays that: if it is lost for good, `wattle stream seal`; if it is to be another node, open another stream"
    )]
    Source(String),
    /// A node that has no part in it.
    #[error("{0} is no target of this stream")]
    NotTarget(String),
    /// Nobody would be left to process anything.
    #[error("{0} is the last target of this stream: `wattle stream close` ends the stream")]
    LastTarget(String),
    /// The policy would ask for more than there are.
    #[error(
        "without {target} {left} targets are left, and a message is completed by {needed}: open another stream, or detach it if it is gone for good"
    )]
    BelowCount {
        /// Who was to go.
        target: String,
        /// How many would be left.
        left: usize,
        /// How many the policy asks for.
        needed: u32,
    },
    /// The policy would name nobody.
    #[error(
        "{0} is the last of those by whom a message must be processed: open another stream, or detach it if it is gone for good"
    )]
    LastNamed(String),
    /// One change at a time.
    #[error("another change of this stream's members is under way ({0}): it must come to its end first")]
    UnderWay(String),
    /// Its group is being founded anew.
    #[error("this stream is being sealed: wait until that is settled")]
    BeingSealed,
    /// It counts no more since a seal.
    #[error("{0} was named lost when this stream was sealed, and counts no more since then")]
    Lost(String),
    /// Who is one already is not added.
    #[error("{0} is a target of this stream already")]
    IsTarget(String),
    /// What it let go, and who voted, is remembered under its name.
    #[error(
        "{0} was taken out of this stream, and what was let go since then was not kept for it: it does not come back to this life of the stream. Add another node, or open another stream"
    )]
    WasTarget(String),
    /// No more fit.
    #[error(
        "this stream has had {TARGETS_MAX} targets, those that were taken out included, and has no more: open another stream"
    )]
    TooMany,
    /// Its group was founded anew.
    #[error("this stream was sealed: nobody is added to it any more. Open another stream")]
    Sealed,
    /// Nobody has any of it.
    #[error(
        "message {start} is not kept any more: the first that is kept is {first}. Ask for that, or for `first-kept`"
    )]
    NotKept {
        /// What was asked for.
        start: Sequence,
        /// The first that is.
        first: Sequence,
    },
    /// The stream does not go so far.
    #[error("message {start} is above the end of the stream, which is {end}: ask for {next}, or for `now`", next = end.next())]
    AboveEnd {
        /// What was asked for.
        start: Sequence,
        /// The last message that was accepted.
        end: Sequence,
    },
    /// There is no message 0.
    #[error("messages are counted from 1")]
    NoMessage,
    /// Nobody would know later why.
    #[error("say why, in 1 to {REASON_MAX} bytes: whoever looks at the stream later is told that")]
    NoReason,
}
