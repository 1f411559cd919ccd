//! Changes of streams' members in a plan.

use serde::{Deserialize, Serialize};
use wattle_core::id::Sequence;
use wattle_core::members::{ChangeKind, Start};

use super::Plan;
use crate::event::Time;
use crate::text;

/// What an operator wants of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// It is taken out at once.
    Detach,
    /// It is taken out when it has processed all there is.
    Drain,
    /// It becomes a target, and begins with the first message that is kept.
    Add,
    /// The same, and it begins with the next one.
    AddNow,
    /// The same, and it begins with this one.
    AddAt(u64),
}

impl Change {
    /// As it is asked for.
    #[must_use]
    pub fn kind(self) -> ChangeKind {
        match self {
            Self::Detach => ChangeKind::Detach,
            Self::Drain => ChangeKind::Drain,
            Self::Add => ChangeKind::Add(Start::FirstKept),
            Self::AddNow => ChangeKind::Add(Start::Now),
            Self::AddAt(first) => ChangeKind::Add(Start::At(Sequence(first))),
        }
    }

    /// Whether a target comes by it.
    #[must_use]
    pub fn adds(self) -> bool {
        matches!(self, Self::Add | Self::AddNow | Self::AddAt(_))
    }
}

/// A change of a stream's members.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangePlan {
    /// Of the stream of that name.
    pub stream: String,
    /// The node of the target.
    pub node: usize,
    /// What becomes of it.
    pub change: Change,
    /// When an operator asks for it, at the earliest: not before all nodes were members, and the changes before it are done.
    #[serde(with = "text::time")]
    pub at: Time,
    /// The node that is asked.
    pub asked_at: usize,
}

impl Plan {
    /// The place of the stream of that name.
    #[must_use]
    pub fn stream_named(&self, name: &str) -> Option<usize> {
        self.streams.iter().position(|stream| stream.name == name)
    }

    /// Drops changes of streams, or of targets, that there are not.
    pub(crate) fn drop_idle_changes(&mut self) {
        let changes = core::mem::take(&mut self.changes);
        for change in changes {
            self.changes.push(change);
            if self.check_changes().is_err() {
                self.changes.pop();
            }
        }
    }

    pub(super) fn check_changes(&self) -> Result<(), String> {
        for (index, change) in self.changes.iter().enumerate() {
            self.known(change.asked_at, "whom the operator asks for a change of members")?;
            let stream = self.stream_named(&change.stream).map(|index| &self.streams[index]);
            let stream = stream.ok_or_else(|| format!("change {index} is of a stream that there is not"))?;
            let of = |other: &&ChangePlan| other.stream == change.stream;
            let before = || self.changes[..index].iter().filter(of);
            let added: Vec<usize> =
                before().filter(|other| other.change.adds()).map(|other| other.node).collect();
            let out: Vec<usize> =
                before().filter(|other| !other.change.adds()).map(|other| other.node).collect();
            let there = stream.opened().chain(added.iter().copied());
            if change.change.adds() {
                let comes = stream.later.iter().any(|later| later.node == change.node);
                if !comes || added.contains(&change.node) {
                    return Err(format!(
                        "change {index} adds a node that is to come to its stream by no plan, or twice"
                    ));
                }
                continue;
            }
            if !there.clone().any(|node| node == change.node) || out.contains(&change.node) {
                return Err(format!("change {index} is of a node that is no target of its stream then"));
            }
            if out.len() + 2 > there.count() {
                return Err(format!("change {index} leaves its stream no target"));
            }
        }
        if !self.changes.is_empty() && self.recovery.is_some() {
            return Err(
                "members of streams change, or the mesh loses its quorum: not both in one plan".into()
            );
        }
        Ok(())
    }
}
