//! What this machine remembers of a file it published: digests of its beginnings, so that a file that changed below the point
//! already accepted is noticed. It is a check, not a promise: what was accepted is known by the node alone.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use wattle_core::id::WriterId;

/// The digest of the first lines of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// How many lines.
    pub lines: u64,
    /// Their digest.
    pub digest: [u8; 32],
}

/// The record of one writer. Held by one process at a time.
#[derive(Debug)]
pub struct Record {
    file: File,
    checkpoints: Vec<Checkpoint>,
}

impl Record {
    /// Opens or makes the record of a writer.
    ///
    /// # Errors
    /// When it cannot be opened, or another process is publishing under it.
    pub fn open(directory: &Path, writer: WriterId) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let path = directory.join(format!("{writer}.lines"));
        let mut file =
            File::options().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(io::Error::other("the same file is being published to this stream already"));
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        // A line cut by a crash is no line; what follows it was never sent.
        let checkpoints = text.lines().map_while(parse).collect();
        Ok(Self { file, checkpoints })
    }

    /// Keeps only what covers the first `lines` lines, and gives it.
    ///
    /// # Errors
    /// When the record cannot be written.
    pub fn keep(&mut self, lines: u64) -> io::Result<Vec<Checkpoint>> {
        self.checkpoints.retain(|checkpoint| checkpoint.lines <= lines);
        self.file.set_len(0)?;
        self.file.rewind()?;
        let text: String = self.checkpoints.iter().map(format_line).collect();
        self.file.write_all(text.as_bytes())?;
        Ok(self.checkpoints.clone())
    }

    /// Adds a digest; called before the lines it covers are sent.
    ///
    /// # Errors
    /// When the record cannot be written.
    pub fn add(&mut self, checkpoint: Checkpoint) -> io::Result<()> {
        self.file.write_all(format_line(&checkpoint).as_bytes())?;
        self.checkpoints.push(checkpoint);
        Ok(())
    }
}

fn format_line(checkpoint: &Checkpoint) -> String {
    format!("{} {}\n", checkpoint.lines, blake3::Hash::from(checkpoint.digest).to_hex())
}

fn parse(line: &str) -> Option<Checkpoint> {
    let (lines, digest) = line.split_once(' ')?;
    let digest = blake3::Hash::from_hex(digest).ok()?;
    Some(Checkpoint { lines: lines.parse().ok()?, digest: digest.into() })
}

/// Where records are: `$XDG_STATE_HOME/wattle/publish`, else `~/.local/state/wattle/publish`, else under `fallback`.
#[must_use]
pub fn directory(fallback: &Path) -> PathBuf {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("XDG_STATE_HOME")
        .or_else(|| set("HOME").map(|home| home.join(".local/state")))
        .map_or_else(|| fallback.join("publish"), |state| state.join("wattle/publish"))
}

/// The writer id of a file: the same for the same stream, machine and path, so that publishing a file again adds nothing.
#[must_use]
pub fn writer_of_file(stream: &str, machine: &str, path: &Path) -> WriterId {
    let path = path.as_os_str().as_encoded_bytes();
    derive("wattle publish: writer of a file", &[stream.as_bytes(), machine.as_bytes(), path])
}

/// The writer id of a name.
#[must_use]
pub fn writer_of_name(stream: &str, name: &str) -> WriterId {
    derive("wattle publish: writer of a name", &[stream.as_bytes(), name.as_bytes()])
}

/// A fresh writer id.
///
/// # Errors
/// When the system gives no random bytes.
pub fn fresh_writer() -> io::Result<WriterId> {
    let mut bytes = [0u8; 16];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(WriterId(u128::from_be_bytes(bytes)))
}

fn derive(context: &str, parts: &[&[u8]]) -> WriterId {
    let mut hasher = blake3::Hasher::new_derive_key(context);
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    let digest = hasher.finalize();
    let half = digest.as_bytes().first_chunk().expect("32 bytes hold 16");
    WriterId(u128::from_be_bytes(*half))
}

/// Something that tells this machine from others: paths mean something only on one of them.
#[must_use]
pub fn machine() -> String {
    ["/etc/machine-id", "/etc/hostname", "/proc/sys/kernel/hostname"]
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .map(|text| text.trim().to_owned())
        .find(|text| !text.is_empty())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint(lines: u64) -> Checkpoint {
        Checkpoint { lines, digest: [lines as u8; 32] }
    }

    #[test]
    fn a_record_outlives_its_process_and_forgets_what_was_not_accepted() {
        let place = tempfile::tempdir().unwrap();
        let mut record = Record::open(place.path(), WriterId(1)).unwrap();
        assert_eq!(record.keep(0).unwrap(), []);
        for lines in [10, 20, 30] {
            record.add(checkpoint(lines)).unwrap();
        }
        drop(record);
        let mut record = Record::open(place.path(), WriterId(1)).unwrap();
        assert_eq!(record.keep(20).unwrap(), [checkpoint(10), checkpoint(20)]);
        record.add(checkpoint(25)).unwrap();
        drop(record);
        let mut record = Record::open(place.path(), WriterId(1)).unwrap();
        assert_eq!(record.keep(u64::MAX).unwrap(), [checkpoint(10), checkpoint(20), checkpoint(25)]);
    }

    #[test]
    fn a_torn_line_is_not_believed() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join(format!("{}.lines", WriterId(1)));
        let torn = format!("{}{}", format_line(&checkpoint(10)), &format_line(&checkpoint(20))[..40]);
        fs::write(path, torn).unwrap();
        let mut record = Record::open(place.path(), WriterId(1)).unwrap();
        assert_eq!(record.keep(u64::MAX).unwrap(), [checkpoint(10)]);
    }

    #[test]
    fn one_file_is_published_by_one_process_at_a_time() {
        let place = tempfile::tempdir().unwrap();
        let _held = Record::open(place.path(), WriterId(1)).unwrap();
        assert!(Record::open(place.path(), WriterId(1)).unwrap_err().to_string().contains("already"));
        assert!(Record::open(place.path(), WriterId(2)).is_ok());
    }

    #[test]
    fn writers_differ_by_stream_machine_and_path() {
        let writers = [
            writer_of_file("s", "m", Path::new("/a")),
            writer_of_file("t", "m", Path::new("/a")),
            writer_of_file("s", "n", Path::new("/a")),
            writer_of_file("s", "m", Path::new("/b")),
            writer_of_file("sm", "", Path::new("/a")),
            writer_of_name("s", "m/a"),
            fresh_writer().unwrap(),
            fresh_writer().unwrap(),
        ];
        for (at, writer) in writers.iter().enumerate() {
            assert!(!writers[..at].contains(writer), "{at}");
        }
        assert_eq!(writers[0], writer_of_file("s", "m", Path::new("/a")));
    }
}
