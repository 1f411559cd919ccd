//! Why a client command failed, and the exit code that says so.

use std::fmt;
use std::process::ExitCode;
use std::time::Duration;

use tonic::{Code, Status};
use wattle_proto::api::{ErrorDetail, Reason, Refused};

use crate::api::errors;

/// Why a command failed.
#[derive(Clone, Debug, PartialEq)]
pub enum Failure {
    /// The arguments do not make sense. Exit code 2.
    Usage(String),
    /// A node said no. Exit code 1.
    Refused {
        /// What it said.
        message: String,
        /// The same for programs.
        detail: Box<ErrorDetail>,
    },
    /// Something on this side failed. Exit code 1.
    Failed(String),
    /// No node answers. Exit code 3.
    Unreachable(String),
    /// The node of this process exists twice, or another copy of it is the only one. Exit code 4.
    Duplicate(String),
}

impl Failure {
    /// The reason a node gave.
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        match self {
            Self::Refused { detail, .. } => Some(detail.reason()),
            _ => None,
        }
    }

    /// Whether another node, or the same one a little later, may answer what this one could not.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable(_) => true,
            Self::Refused { detail, .. } => detail.retriable || self.may_settle(),
            Self::Usage(_) | Self::Failed(_) | Self::Duplicate(_) => false,
        }
    }

    /// Whether a node that has only just started, or just been told, may say otherwise in a moment.
    #[must_use]
    pub fn may_settle(&self) -> bool {
        matches!(self.reason(), Some(Reason::NotMember | Reason::UnknownStream))
    }

    /// After how long the same may be taken, where the node says so.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { detail, .. } => detail.retry_after_millis.map(Duration::from_millis),
            _ => None,
        }
    }

    /// What to do about it, if the message does not say.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Refused { detail, .. } if !detail.hint.is_empty() => Some(&detail.hint),
            _ => None,
        }
    }

    /// 1 refused or failed, 2 usage, 3 no node answers, 4 the node exists twice.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Refused { .. } | Self::Failed(_) => 1,
            Self::Usage(_) => 2,
            Self::Unreachable(_) => 3,
            Self::Duplicate(_) => 4,
        })
    }

    /// The refusal of one array of messages.
    #[must_use]
    pub fn of_refused(refused: Refused) -> Self {
        let detail = refused.detail.unwrap_or_default();
        if detail.reason() == Reason::NodeStopped {
            return Self::Unreachable(refused.message);
        }
        Self::Refused { message: refused.message, detail: Box::new(detail) }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(what) | Self::Failed(what) | Self::Unreachable(what) | Self::Duplicate(what) => {
                f.write_str(what)
            }
            Self::Refused { message, .. } => f.write_str(message),
        }
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        match (errors::detail_of(&status), status.code()) {
            (Some(detail), _) if detail.reason() == Reason::NodeStopped => {
                Self::Unreachable(status.message().to_owned())
            }
            (Some(detail), _) => {
                Self::Refused { message: status.message().to_owned(), detail: Box::new(detail) }
            }
            // What a dying node, a cut connection and HTTP/2 itself end a call with.
            (
                None,
                Code::Unavailable | Code::Unknown | Code::Internal | Code::Cancelled | Code::DeadlineExceeded,
            ) => Self::Unreachable(format!("the connection to the node broke: {}", status.message())),
            (None, code) => Self::Failed(format!("{code:?}: {}", status.message())),
        }
    }
}
