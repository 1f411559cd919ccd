//! How far a handler is, for people and for tests.

use std::fmt;

use wattle_core::id::Sequence;

/// What becomes of the messages of a handler. Up to `done` they are done; then come those that are being processed or failed, and those that wait.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// What the handler is about.
    pub state: State,
    /// The last message that was handed over.
    pub received: Sequence,
    /// The first and the last message of the call under way.
    pub processing: Option<(Sequence, Sequence)>,
    /// The last message whose success was said. The mark of it follows.
    pub done: Sequence,
    /// What failed last and has not succeeded since.
    pub trouble: Option<Trouble>,
}

/// What a handler is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// On its way to be attached.
    #[default]
    Attaching,
    /// It is not attached, for this reason, and is to try again.
    Waiting(String),
    /// It takes messages.
    Attached,
    /// It ended.
    Over(Over),
}

/// A failure, for as long as it is not made up for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// The message that failed; `None` if it is not about one.
    pub message: Option<Sequence>,
    /// How often in a row.
    pub attempts: u64,
    /// What the handler said last.
    pub text: String,
}

/// Why a handler ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Over {
    /// It was stopped.
    Stopped,
    /// Another handler took over: the newest one is served.
    TakenOver,
    /// The stream was closed.
    Closed,
    /// The node stopped.
    NodeStopped,
    /// The handler said that no repetition helps.
    Failed(String),
    /// It panicked, or its runtime ended.
    Broken,
}

impl fmt::Display for Over {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stopped => f.write_str("it was stopped"),
            Self::TakenOver => f.write_str("another handler took over: the newest one is served"),
            Self::Closed => f.write_str("the stream was closed"),
            Self::NodeStopped => f.write_str("the node stopped"),
            Self::Failed(text) => f.write_str(text),
            Self::Broken => f.write_str("it panicked, or its runtime ended"),
        }
    }
}
