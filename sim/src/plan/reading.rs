//! What streams of a plan keep, and who reads them again.

use serde::{Deserialize, Serialize};
use wattle_core::retention::Retention;
use wattle_core::time::Span;

use crate::event::Time;
use crate::text;

/// What a stream keeps; 0 is no wish.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeepPlan {
    /// The last so many messages.
    #[serde(default)]
    pub messages: u64,
    /// The last so many bytes.
    #[serde(default)]
    pub bytes: u64,
    /// What is so young.
    #[serde(default, with = "text::time")]
    pub span: Time,
}

impl KeepPlan {
    /// Whether it keeps nothing.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// As a node is told.
    #[must_use]
    pub const fn retention(self) -> Retention {
        let span = Span::millis(self.span / 1_000_000);
        Retention { messages: self.messages, bytes: self.bytes, span }
    }
}

/// Somebody who reads a stream again, over and over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReaderPlan {
    /// At the target in that place.
    pub place: usize,
    /// From then on.
    #[serde(with = "text::time")]
    pub starts_at: Time,
    /// How many messages it has at one time, at most.
    pub window: u32,
    /// How long it takes over what it was handed, at most.
    #[serde(with = "text::time")]
    pub service: Time,
    /// Of so many replays one ends with a message in the midst of what there is; 0: none.
    pub ends_one_in: u64,
}
