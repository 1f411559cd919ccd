//! Updates to all members in a plan: who sends them, and what the handlers at every node do.

use serde::{Deserialize, Serialize};
use wattle_core::update::UpdateKind;

use super::Plan;
use crate::event::Time;
use crate::text;

/// Updates that are sent, and how they are handled at every node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpdatesPlan {
    /// What is sent.
    pub sends: Vec<SendPlan>,
    /// How many updates a handler takes before a verdict is owed: from, to, drawn at each attaching.
    pub window: (u32, u32),
    /// How long one round of work takes: from, to.
    #[serde(with = "text::times")]
    pub service: (Time, Time),
    /// One round of work in so many ends with the end of the handler, which forgets it and comes back later; 0 for none.
    pub crashes_one_in: u64,
}

/// A class of updates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sequence {
    /// Mesh updates.
    Mesh,
    /// Changes of a database.
    Database,
}

impl From<Sequence> for UpdateKind {
    fn from(sequence: Sequence) -> Self {
        match sequence {
            Sequence::Mesh => Self::Mesh,
            Sequence::Database => Self::Database,
        }
    }
}

/// One update, asked for until it is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SendPlan {
    /// When it is asked for.
    #[serde(with = "text::time")]
    pub at: Time,
    /// The node that is asked.
    pub node: usize,
    /// Of which kind.
    pub kind: Sequence,
    /// How long it is.
    pub bytes: u64,
    /// Whether its sender waits for the answer, rather than ask for its fate.
    pub waits: bool,
    /// How often it is sent again, at any node, after it was acknowledged.
    pub repeats: u32,
}

impl Plan {
    /// What is sent to all members.
    #[must_use]
    pub fn sends(&self) -> &[SendPlan] {
        self.updates.as_ref().map_or(&[], |updates| &updates.sends)
    }

    /// About how many bytes all updates together have, each once for every node.
    #[must_use]
    pub fn update_bytes(&self) -> u64 {
        self.sends().iter().map(|send| (send.bytes + 200) * self.nodes.len() as u64).sum()
    }

    /// How often updates are asked for, at the least.
    #[must_use]
    pub fn update_calls(&self) -> u64 {
        self.sends().iter().map(|send| 2 + u64::from(send.repeats)).sum()
    }

    /// What makes the updates of the plan impossible.
    pub(super) fn check_updates(&self) -> Result<(), String> {
        for (index, send) in self.sends().iter().enumerate() {
            self.known(send.node, &format!("whom update {index} is sent at"))?;
            let limit = wattle_core::mesh::updates::UPDATE_BYTES_MAX as u64;
            if !(16..=limit).contains(&send.bytes) {
                return Err(format!("update {index} has 16 to {limit} bytes"));
            }
        }
        match &self.updates {
            Some(updates) if updates.window.0 == 0 || updates.window.0 > updates.window.1 => {
                Err("updates.window goes from the smaller to the larger, and from 1".into())
            }
            _ => Ok(()),
        }
    }
}
