//! Free space, and a reserve that keeps draining possible on a full disk.
//!
//! The reserve is a file that really occupies its blocks. The node stops accepting when the space beside the reserve runs
//! out; what it has accepted must still be replicated, processed and trimmed, and that writes. When such a write finds no
//! space (something else filled the disk), the reserve is given up and the write is made again. It is taken back when
//! there is room for twice its size.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{FallocateFlags, fallocate, statvfs};
use rustix::io::Errno;

/// Bytes set aside in a file.
#[derive(Debug)]
pub struct Reserve {
    path: PathBuf,
    bytes: u64,
    held: AtomicBool,
}

impl Reserve {
    /// A reserve in that file, not yet taken unless the file holds it already.
    #[must_use]
    pub fn new(path: PathBuf, bytes: u64) -> Self {
        let held = fs::metadata(&path).is_ok_and(|file| file.blocks() * 512 >= bytes && file.len() >= bytes);
        Self { path, bytes, held: AtomicBool::new(held) }
    }

    /// Bytes that are wanted but not held now.
    #[must_use]
    pub fn missing(&self) -> u64 {
        if self.held.load(Ordering::SeqCst) { 0 } else { self.bytes }
    }

    /// Takes the reserve if there is room for twice its size. Tells whether it is held.
    ///
    /// # Errors
    /// What the file system said, except that it is full.
    pub fn take(&self) -> io::Result<bool> {
        if self.missing() == 0 {
            return Ok(true);
        }
        let dir = self.path.parent().unwrap_or(Path::new("."));
        if available(dir)? < self.bytes.saturating_mul(2) {
            return Ok(false);
        }
        match self.allocate() {
            Ok(()) => {
                self.held.store(true, Ordering::SeqCst);
                Ok(true)
            }
            Err(error) => {
                let _ = fs::remove_file(&self.path);
                if is_full(&error) { Ok(false) } else { Err(error) }
            }
        }
    }

    fn allocate(&self) -> io::Result<()> {
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&self.path)?;
        match fallocate(&file, FallocateFlags::empty(), 0, self.bytes) {
            Ok(()) => {}
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
                let zeros = vec![0; 1 << 20];
                let mut left = self.bytes;
                while left > 0 {
                    let piece = left.min(zeros.len() as u64);
                    file.write_all(&zeros[..usize::try_from(piece).unwrap_or(zeros.len())])?;
                    left -= piece;
                }
            }
            Err(error) => return Err(error.into()),
        }
        file.sync_all()
    }

    /// Gives the reserve up. `true` if that freed space.
    pub fn give_up(&self) -> bool {
        if self.bytes == 0 || !self.held.swap(false, Ordering::SeqCst) {
            return false;
        }
        match fs::remove_file(&self.path) {
            Ok(()) => {
                tracing::warn!(
                    bytes = self.bytes,
                    "the disk is full: the reserve is given up so that draining goes on"
                );
                true
            }
            Err(error) => {
                tracing::error!(%error, path = %self.path.display(), "the reserve cannot be given up");
                false
            }
        }
    }
}

/// Measures what the store can still take.
#[derive(Debug)]
pub struct Meter {
    dir: PathBuf,
    limit: Option<u64>,
}

impl Meter {
    /// For a journal in a directory; `limit` pretends a smaller disk.
    #[must_use]
    pub fn new(dir: PathBuf, limit: Option<u64>) -> Self {
        Self { dir, limit }
    }

    /// Bytes the store can still take beside the reserve. `used` is what the store's rows need, `vacant` what its files have beyond that.
    ///
    /// # Errors
    /// What the file system said.
    pub fn measure(&self, used: u64, vacant: u64, reserve: &Reserve) -> io::Result<u64> {
        let sure = available(&self.dir)?.saturating_add(vacant).saturating_sub(reserve.missing());
        Ok(self.limit.map_or(sure, |limit| sure.min(limit.saturating_sub(used))))
    }
}

/// Whether an error means that no space is left.
#[must_use]
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn available(dir: &Path) -> io::Result<u64> {
    let volume = statvfs(dir)?;
    Ok(volume.f_bavail.saturating_mul(volume.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_occupies_its_blocks_until_it_is_given_up() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("reserve");
        let reserve = Reserve::new(path.clone(), 1 << 20);
        assert_eq!(reserve.missing(), 1 << 20);
        assert!(reserve.take().unwrap());
        assert!(fs::metadata(&path).unwrap().blocks() * 512 >= 1 << 20);
        assert_eq!(Reserve::new(path.clone(), 1 << 20).missing(), 0, "found again after a restart");
        assert_eq!(Reserve::new(path.clone(), 2 << 20).missing(), 2 << 20, "too small for a larger wish");
        assert!(reserve.give_up());
        assert!(!path.exists());
        assert!(!reserve.give_up(), "only once");
    }

    #[test]
    fn a_reserve_that_does_not_fit_is_not_taken() {
        let temporary = tempfile::tempdir().unwrap();
        let reserve = Reserve::new(temporary.path().join("reserve"), u64::MAX / 4);
        assert!(!reserve.take().unwrap());
        assert!(!temporary.path().join("reserve").exists());
    }

    #[test]
    fn a_limit_counts_the_journal_and_a_missing_reserve_counts_as_used() {
        let temporary = tempfile::tempdir().unwrap();
        let none = Reserve::new(temporary.path().join("reserve"), 0);
        let meter = Meter::new(temporary.path().to_owned(), Some(1000));
        assert_eq!(meter.measure(400, 0, &none).unwrap(), 600);
        assert_eq!(meter.measure(4000, 0, &none).unwrap(), 0);
        let unbounded = Meter::new(temporary.path().to_owned(), None);
        let huge = Reserve::new(temporary.path().join("reserve"), u64::MAX / 4);
        assert_eq!(unbounded.measure(0, 0, &huge).unwrap(), 0);
        let vast = 1 << 50;
        assert!(unbounded.measure(0, vast, &none).unwrap() > vast, "what its files have is the store's");
    }
}
