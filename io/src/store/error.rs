//! Why the journal cannot be read or written.

use std::io;
use std::path::{Path, PathBuf};

/// What the store says went wrong.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The system refused something.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// What it was about.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is not what it should be.
    #[error("{path} is damaged: {what}", path = path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The journal is one of an earlier version.
    #[error(
        "{path} was written by an earlier version, and this one cannot read it: run the version that wrote it, or start with an empty data \
         directory",
        path = path.display()
    )]
    Earlier {
        /// The file.
        path: PathBuf,
    },
    /// Rows that were durable are to be written anew.
    #[error("row {first} is to be written, though row {marked} and all before it were once safely on disk")]
    Overwrites {
        /// The first of them.
        first: u64,
        /// Everything up to this one was durable.
        marked: u64,
    },
    /// A write failed before.
    #[error("a write failed before, so nothing more is written: start the node again")]
    Failed,
}

/// Why recovery ended early.
#[derive(Debug)]
pub enum RecoveryError<E> {
    /// The store cannot be read.
    Store(StoreError),
    /// Whoever took the rows refused one.
    Refused(E),
}

pub(super) fn about(path: &Path) -> impl FnOnce(io::Error) -> StoreError + use<'_> {
    |source| StoreError::File { path: path.to_owned(), source }
}
