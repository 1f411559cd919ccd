//! What a run came to.

use std::fmt;

use wattle_core::time::Span;

/// The judgement of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing wrong happened, and all that was owed was done.
    Pass,
    /// A promise was broken.
    Safety {
        /// Its number.
        checker: String,
        /// What was seen.
        message: String,
        /// When.
        at: Span,
    },
    /// Nothing wrong happened. Something did not happen that is not owed: the group it needs may stand still, because a replica of it that lost
    /// something by a roll-back counted before anybody told it so.
    NotOwed {
        /// What.
        what: String,
    },
    /// Something owed did not happen within its bound.
    NoProgress {
        /// What.
        what: String,
    },
}

/// A run and what it came to. Equal plans give equal outcomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The seed of the plan.
    pub seed: u64,
    /// How many nodes took part.
    pub nodes: usize,
    /// How many events happened.
    pub events: u64,
    /// How many faults happened.
    pub faults: u64,
    /// How much time passed in the simulated world.
    pub simulated: Span,
    /// The hash over everything that happened.
    pub trace: u128,
    /// How many messages were handed to handlers.
    pub deliveries: u64,
    /// The most bytes and the most frames one node sent within a simulated second.
    pub peak_traffic: (u64, u64),
    /// The judgement.
    pub verdict: Verdict,
    /// Readable lines, as many as were asked for.
    pub lines: Vec<String>,
}

impl Verdict {
    /// The exit code of a program that ends with this verdict.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Pass | Self::NotOwed { .. } => 0,
            Self::Safety { .. } => 10,
            Self::NoProgress { .. } => 11,
        }
    }

    /// The number of the broken promise, or a word for a lack of progress.
    #[must_use]
    pub fn broken(&self) -> Option<&str> {
        match self {
            Self::Pass | Self::NotOwed { .. } => None,
            Self::Safety { checker, .. } => Some(checker),
            Self::NoProgress { .. } => Some("progress"),
        }
    }

    /// Whether nothing was wrong.
    #[must_use]
    pub fn is_pass(&self) -> bool {
        matches!(self, Self::Pass | Self::NotOwed { .. })
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pass => f.write_str("pass"),
            Self::NotOwed { what } => {
                write!(f, "pass, though after a rolled-back disk not all went on: {what}")
            }
            Self::Safety { checker, message, at } => write!(f, "SAFETY {checker} at {at}: {message}"),
            Self::NoProgress { what } => write!(f, "NO PROGRESS: {what}"),
        }
    }
}
