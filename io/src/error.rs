//! Why a node cannot start, and why it stopped.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::identity::IdentityError;
use crate::store::StoreError;
use crate::tls::TlsError;

/// Why a node did not start. Each message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory cannot be made or written.
    #[error("cannot use the data directory {path}: {source}; choose one this user can write", path = path.display())]
    DataDir {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process runs a node in this directory.
    #[error(
        "another process is running a node in {path}: stop it, or give this node a data directory of its own",
        path = path.display()
    )]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// The key file.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// An address cannot be listened on.
    #[error("{}", listen_message(address, source))]
    Listen {
        /// The address as given.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// The store cannot be opened or read.
    #[error("the journal {path} cannot be read: {source}", path = path.display())]
    Store {
        /// The journal's directory.
        path: PathBuf,
        /// What the store said.
        source: StoreError,
    },
    /// The rows of the journal do not add up.
    #[error("{what} (in {path}). {MEND_JOURNAL}", path = path.display())]
    Damaged {
        /// The journal's directory.
        path: PathBuf,
        /// What the node found.
        what: String,
    },
    /// The node's certificate cannot be made.
    #[error("the node's certificate cannot be made: {0}")]
    Tls(#[from] TlsError),
    /// Threads, entropy or free space: the system refuses something basic.
    #[error("the system refuses {what}: {source}")]
    System {
        /// What was asked.
        what: &'static str,
        /// What it said.
        source: io::Error,
    },
    /// A bug: an assertion failed while the node came up.
    #[error("the node stopped while it came up: {0}")]
    Stopped(StopReason),
}

/// What to do about a damaged journal.
const MEND_JOURNAL: &str = "The disk lost or changed data; nothing was modified. Restore the data directory from a good copy \
    or a backup, or move it away and let this node join the mesh again as a new one, under a new name: its peers keep what \
    they hold";

fn listen_message(address: &str, source: &io::Error) -> String {
    match source.kind() {
        io::ErrorKind::AddrInUse => format!(
            "cannot listen on {address}: another program has this port; stop it, or choose another port (0 takes any free one)"
        ),
        io::ErrorKind::AddrNotAvailable => {
            format!(
                "cannot listen on {address}: this machine has no such address; 0.0.0.0 listens on all it has"
            )
        }
        io::ErrorKind::PermissionDenied => {
            format!("cannot listen on {address}: this user may not; choose a port from 1024 up")
        }
        _ => format!("cannot listen on {address}: {source}"),
    }
}

/// Why a node that was running is no longer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// It was asked to, or its last handle was dropped.
    Asked,
    /// A write failed, so nothing more can be promised.
    WriteFailed(String),
    /// A row that was read again does not add up.
    Damaged(String),
    /// A bug: an assertion failed.
    Panicked(String),
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asked => f.write_str("stopped as asked"),
            Self::WriteFailed(reason) => write!(
                f,
                "stopped because a write failed: {reason}; what was accepted is safe; mend the disk and start again in a \
                 new process"
            ),
            Self::Damaged(what) => {
                write!(f, "stopped because the journal is damaged: {what}. {MEND_JOURNAL}")
            }
            Self::Panicked(what) => write!(f, "stopped by a bug, please report it: {what}"),
        }
    }
}
