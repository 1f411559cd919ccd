//! A run as structured events with their causes, for people: what the page, the ShiViz log and the Perfetto trace are made of.
//!
//! Nothing here decides anything: a run with a recorder has the same trace hash as one without. `hooks` is where the world tells
//! the recorder what it did; [`History`] is what is left of a run.

mod hooks;
mod recorder;
mod words;

pub use self::recorder::History;
pub(crate) use self::recorder::Recorder;

use std::num::NonZeroU32;

use crate::event::Time;

/// The place of a record, counted from 1.
pub type Ordinal = NonZeroU32;

/// The most records that are kept of a run. What breaks a promise is kept in any case.
pub const RECORDS_MOST: usize = 2_000_000;

/// The node of a record that belongs to no node.
pub const NOBODY: u16 = u16::MAX;

/// What kind of thing happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    /// A promise was broken, or what was owed did not happen.
    Broken,
    /// A fault began.
    FaultBegin,
    /// A fault ended.
    FaultEnd,
    /// A node lost its memory.
    Crash,
    /// A node started.
    Boot,
    /// A replica's role in its group changed.
    Role,
    /// A replica learned that entries are committed.
    Commit,
    /// An application asked for something, or a handler reported success.
    Command,
    /// A publish is durable at the source.
    Accepted,
    /// Messages were handed to a handler.
    Delivery,
    /// A stream was opened.
    Stream,
    /// Any other answer to an application.
    Reply,
    /// Bytes left a node.
    Transmit,
    /// Bytes reached a node.
    Arrival,
    /// Bytes that had left a node will never arrive.
    Lost,
    /// A connection: dialled, up, closed, down.
    Lane,
    /// A deadline was reached.
    Timer,
    /// A write, load or trim, and its end.
    Disk,
    /// Heavy work, and its end.
    Work,
    /// Anything else that a node was told.
    Input,
    /// Anything else that a node said.
    Output,
}

impl Kind {
    /// All kinds, in the order of their numbers.
    pub const ALL: [Self; 21] = [
        Self::Broken,
        Self::FaultBegin,
        Self::FaultEnd,
        Self::Crash,
        Self::Boot,
        Self::Role,
        Self::Commit,
        Self::Command,
        Self::Accepted,
        Self::Delivery,
        Self::Stream,
        Self::Reply,
        Self::Transmit,
        Self::Arrival,
        Self::Lost,
        Self::Lane,
        Self::Timer,
        Self::Disk,
        Self::Work,
        Self::Input,
        Self::Output,
    ];

    /// The kind in words.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Broken => "failure",
            Self::FaultBegin => "fault begins",
            Self::FaultEnd => "fault ends",
            Self::Crash => "crash",
            Self::Boot => "start",
            Self::Role => "role change",
            Self::Commit => "commit",
            Self::Command => "command",
            Self::Accepted => "publish accepted",
            Self::Delivery => "delivery",
            Self::Stream => "stream opened",
            Self::Reply => "reply",
            Self::Transmit => "transmit",
            Self::Arrival => "arrival",
            Self::Lost => "lost",
            Self::Lane => "connection",
            Self::Timer => "deadline",
            Self::Disk => "disk",
            Self::Work => "work",
            Self::Input => "other input",
            Self::Output => "other output",
        }
    }
}

/// A key and its value.
pub type Field = (&'static str, String);

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// When.
    pub at: Time,
    /// To which node, or [`NOBODY`].
    pub node: u16,
    /// Its kind.
    pub kind: Kind,
    /// What led to it: first what happened right before, then what it answers.
    pub causes: [Option<Ordinal>; 2],
    /// What happened, in a line.
    pub text: String,
    /// What is known about it.
    pub fields: Vec<Field>,
}

/// What goes on over a stretch of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BandKind {
    /// A fault of the plan.
    Fault,
    /// A node does not run.
    Down,
    /// A node stands still.
    Paused,
    /// A replica leads its group.
    Leads,
}

impl BandKind {
    /// The kind in a word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Fault => "fault",
            Self::Down => "down",
            Self::Paused => "paused",
            Self::Leads => "leads",
        }
    }
}

/// A stretch of time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Band {
    /// What goes on.
    pub kind: BandKind,
    /// The same, closer: the kind of fault, or the group that is led.
    pub name: String,
    /// In words.
    pub label: String,
    /// At which nodes.
    pub nodes: Vec<u16>,
    /// From when.
    pub begin: Time,
    /// Until when; `None` while it goes on.
    pub end: Option<Time>,
    /// The record it begins with, if there is one.
    pub record: Option<Ordinal>,
}

/// How far a stream had come at a moment, as one of its ends showed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// When.
    pub at: Time,
    /// At which node.
    pub node: u16,
    /// The stream's name.
    pub stream: String,
    /// Accepted, replicated, processed, completed.
    pub levels: [u64; 4],
}
