//! What the journal asks of the file system, so that tests can have one that is full, fails, or forgets what was not synced.

use std::fmt::Debug;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

/// A file system. Every error is what the system said; after that of a write some of it may be written, and after that of a sync nobody
/// knows what is on the disk.
#[expect(clippy::missing_errors_doc, reason = "they are the same for all")]
pub trait Files: Clone + Debug + Send + Sync + 'static {
    /// An open file.
    type File: Debug + Send;

    /// Makes a directory if it is not there.
    fn make_directory(&self, path: &Path) -> io::Result<()>;
    /// What is in a directory, in any order.
    fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>>;
    /// Returns when the names in a directory are on the disk as they are now.
    fn sync_directory(&self, path: &Path) -> io::Result<()>;
    /// All of a file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// A new file to write to. There must be none of that name.
    fn create(&self, path: &Path) -> io::Result<Self::File>;
    /// A file to write to.
    fn open(&self, path: &Path) -> io::Result<Self::File>;
    /// A file to read from.
    fn open_to_read(&self, path: &Path) -> io::Result<Self::File>;
    /// Takes a file away.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Reads as many bytes as there is room for.
    fn read_at(&self, file: &Self::File, bytes: &mut [u8], at: u64) -> io::Result<()>;
    /// Makes a file so long.
    fn set_len(&self, file: &Self::File, bytes: u64) -> io::Result<()>;
    /// Makes a file at least so long, and gives it the blocks for all of it where that can be done.
    fn allocate(&self, file: &Self::File, bytes: u64) -> io::Result<()>;
    /// Gives the blocks of a part of a file back to the disk; zeros are read there then. Whether that could be done.
    fn punch(&self, file: &Self::File, from: u64, bytes: u64) -> bool;
    /// Writes all of `bytes` at a place.
    fn write(&self, file: &Self::File, bytes: &[u8], at: u64) -> io::Result<()>;
    /// Returns when what was written is on the disk, and the file's length with it.
    fn sync(&self, file: &Self::File) -> io::Result<()>;
}

/// The real one.
#[derive(Clone, Copy, Debug, Default)]
pub struct System;

impl Files for System {
    type File = File;

    fn make_directory(&self, path: &Path) -> io::Result<()> {
        if path.is_dir() { Ok(()) } else { DirBuilder::new().mode(0o700).create(path) }
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        fs::read_dir(directory)?.map(|entry| entry.map(|entry| entry.path())).collect()
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read(path)
    }

    fn create(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new().write(true).open(path)
    }

    fn open_to_read(&self, path: &Path) -> io::Result<File> {
        File::open(path)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn read_at(&self, file: &File, bytes: &mut [u8], at: u64) -> io::Result<()> {
        file.read_exact_at(bytes, at)
    }

    fn set_len(&self, file: &File, bytes: u64) -> io::Result<()> {
        file.set_len(bytes)
    }

    fn allocate(&self, file: &File, bytes: u64) -> io::Result<()> {
        match fallocate(file, FallocateFlags::empty(), 0, bytes) {
            Ok(()) => Ok(()),
            // Then a write may find the disk full.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => file.set_len(bytes),
            Err(error) => Err(error.into()),
        }
    }

    fn punch(&self, file: &File, from: u64, bytes: u64) -> bool {
        fallocate(file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, from, bytes).is_ok()
    }

    fn write(&self, file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
        file.write_all_at(bytes, at)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }
}
