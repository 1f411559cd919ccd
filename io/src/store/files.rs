//! What the journal asks of the file system, so that tests can have a disk that is full or fails.

use std::fmt::Debug;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

/// A file system, as far as the journal writes.
pub trait Files: Debug + Send + 'static {
    /// Makes a file so long, and gives it the blocks for all of it where that can be done.
    ///
    /// # Errors
    /// What the system said.
    fn allocate(&self, file: &File, bytes: u64) -> io::Result<()>;
    /// Writes all of `bytes` at a place.
    ///
    /// # Errors
    /// What the system said. Some of it may be written.
    fn write(&self, file: &File, bytes: &[u8], at: u64) -> io::Result<()>;
    /// Returns when what was written is on the disk, and the file's length with it.
    ///
    /// # Errors
    /// What the system said: nobody knows then what is on the disk.
    fn sync(&self, file: &File) -> io::Result<()>;
}

/// The real one.
#[derive(Clone, Copy, Debug, Default)]
pub struct System;

impl Files for System {
    fn allocate(&self, file: &File, bytes: u64) -> io::Result<()> {
        match fallocate(file, FallocateFlags::empty(), 0, bytes) {
            Ok(()) => Ok(()),
            // Then a write may find the disk full.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => file.set_len(bytes),
            Err(error) => Err(error.into()),
        }
    }

    fn write(&self, file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
        file.write_all_at(bytes, at)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }
}

/// Gives the blocks of a part of a file back to the disk. Whether that could be done.
pub(super) fn punch(file: &File, from: u64, bytes: u64) -> bool {
    fallocate(file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, from, bytes).is_ok()
}
