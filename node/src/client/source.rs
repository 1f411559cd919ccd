//! Where published lines come from, and how they become messages: one line is one message, without its newline; an empty line is an empty
//! message; a last line without a newline counts as well.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;

use super::publish::record::Checkpoint;

/// Bytes read at once.
const READ_BYTES: usize = 256 << 10;
/// The longest line. What a node takes is less; this only bounds what a file without newlines can make us hold.
pub const LINE_BYTES_MAX: usize = 4 << 20;
/// Bytes in one batch, unless one line alone is longer.
pub const BATCH_BYTES: usize = 256 << 10;

/// Something to read lines from.
#[derive(Debug)]
pub struct Source {
    /// The open file or pipe.
    pub input: File,
    /// Its canonical path, if it is a regular file read from its beginning: only then is line 1 the same line in each run.
    pub path: Option<PathBuf>,
    shown: String,
}

impl Source {
    /// Opens a file, or standard input.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(path: Option<&Path>) -> io::Result<Self> {
        match path {
            Some(path) if path != Path::new("-") => {
                let input = File::open(path)?;
                let kind = input.metadata()?.file_type();
                if kind.is_dir() {
                    return Err(io::Error::other("it is a directory: name a file in it"));
                }
                let shown = path.display().to_string();
                let path = if kind.is_file() { Some(path.canonicalize()?) } else { None };
                Ok(Self { input, path, shown })
            }
            _ => {
                let mut input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
                let path = redirected(&mut input);
                let shown = path
                    .as_ref()
                    .map_or_else(|| "standard input".to_owned(), |path| path.display().to_string());
                Ok(Self { input, path, shown })
            }
        }
    }

    /// For people.
    #[must_use]
    pub fn shown(&self) -> &str {
        &self.shown
    }
}

/// The path of the regular file that standard input was redirected from, if it stands at its beginning.
fn redirected(input: &mut File) -> Option<PathBuf> {
    if !input.metadata().ok()?.is_file() || input.stream_position().ok()? != 0 {
        return None;
    }
    let path = std::fs::read_link("/proc/self/fd/0").or_else(|_| std::fs::read_link("/dev/fd/0")).ok()?;
    // A deleted file has no path under which it could come again.
    path.canonicalize().ok()
}

/// Lines, taken out of what was read without copying them.
#[derive(Debug)]
pub struct Lines<R> {
    input: R,
    buffer: BytesMut,
    searched: usize,
    ended: bool,
}

impl<R: Read> Lines<R> {
    /// The lines of `input`.
    pub fn new(input: R) -> Self {
        Self { input, buffer: BytesMut::new(), searched: 0, ended: false }
    }

    /// A line that needs no reading.
    fn ready(&mut self) -> Option<Bytes> {
        if let Some(found) = self.buffer[self.searched..].iter().position(|&byte| byte == b'\n') {
            let mut line = self.buffer.split_to(self.searched + found + 1);
            line.truncate(line.len() - 1);
            self.searched = 0;
            return Some(line.freeze());
        }
        self.searched = self.buffer.len();
        if self.ended && !self.buffer.is_empty() {
            self.searched = 0;
            return Some(self.buffer.split().freeze());
        }
        None
    }

    /// Reads more; `false` at the end.
    fn read(&mut self) -> io::Result<bool> {
        if self.ended {
            return Ok(false);
        }
        if self.buffer.len() > LINE_BYTES_MAX {
            return Err(io::Error::other(format!("a line is longer than {} MiB", LINE_BYTES_MAX >> 20)));
        }
        let kept = self.buffer.len();
        self.buffer.resize(kept + READ_BYTES, 0);
        let read = loop {
            match self.input.read(&mut self.buffer[kept..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        self.buffer.truncate(kept + *read.as_ref().unwrap_or(&0));
        self.ended = read? == 0;
        Ok(!self.ended || !self.buffer.is_empty())
    }
}

/// What the reader finds.
#[derive(Debug, PartialEq)]
pub enum Found {
    /// Lines to publish.
    Batch(Batch),
    /// There are no more; how many there were in all.
    End {
        /// Lines read, skipped ones included.
        lines: u64,
    },
    /// The part that was accepted before is not what it was; why.
    Changed(String),
    /// The source cannot be read; why.
    Failed(String),
}

/// Lines to publish together.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// The number of the first.
    pub first: u64,
    /// The lines.
    pub messages: Vec<Bytes>,
    /// The digest of everything up to the last.
    pub digest: [u8; 32],
}

impl Batch {
    /// The number of the last line.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.first + self.messages.len() as u64 - 1
    }
}

/// How to read.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// Lines that were accepted before.
    pub skip: u64,
    /// Digests of what was accepted before, by rising number of lines.
    pub checkpoints: Vec<Checkpoint>,
    /// Lines in a batch at most.
    pub batch_lines: usize,
}

/// Reads until the end or until nobody listens. Blocks: runs on a thread of its own.
pub fn read(input: impl Read, reading: &Reading, found: &mpsc::Sender<Found>) {
    let last_word = match read_all(input, reading, found) {
        Ok(Some(word)) => word,
        Ok(None) => return,
        Err(error) => Found::Failed(error.to_string()),
    };
    // Nobody to tell: the publisher has given up.
    let _ = found.blocking_send(last_word);
}

fn read_all(input: impl Read, reading: &Reading, found: &mpsc::Sender<Found>) -> io::Result<Option<Found>> {
    let mut lines = Lines::new(input);
    let mut hasher = blake3::Hasher::new();
    let mut checkpoints = reading.checkpoints.iter().peekable();
    let mut count = 0u64;
    let mut messages = Vec::new();
    let mut size = 0;
    loop {
        let Some(line) = lines.ready() else {
            // What is complete goes now: a pipe may be silent for long.
            if !emit(&mut messages, &mut size, count, &hasher, found) {
                return Ok(None);
            }
            if lines.read()? {
                continue;
            }
            break;
        };
        hasher.update(&line);
        hasher.update(b"\n");
        count += 1;
        if count <= reading.skip {
            if let Some(checkpoint) = checkpoints.next_if(|checkpoint| checkpoint.lines == count)
                && checkpoint.digest != *hasher.finalize().as_bytes()
            {
                return Ok(Some(Found::Changed(format!(
                    "a line among the first {count} is not what it was"
                ))));
            }
            continue;
        }
        size += line.len();
        messages.push(line);
        let full = messages.len() >= reading.batch_lines || size >= BATCH_BYTES;
        if full && !emit(&mut messages, &mut size, count, &hasher, found) {
            return Ok(None);
        }
    }
    if count < reading.skip {
        return Ok(Some(Found::Changed(format!("it has {count} lines now"))));
    }
    Ok(Some(Found::End { lines: count }))
}

/// Hands over what was gathered; `false` if nobody listens.
fn emit(
    messages: &mut Vec<Bytes>,
    size: &mut usize,
    count: u64,
    hasher: &blake3::Hasher,
    found: &mpsc::Sender<Found>,
) -> bool {
    *size = 0;
    let messages = std::mem::take(messages);
    if messages.is_empty() {
        return true;
    }
    let first = count + 1 - messages.len() as u64;
    let batch = Batch { first, messages, digest: *hasher.finalize().as_bytes() };
    found.blocking_send(Found::Batch(batch)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pipe that gives what it has in given pieces.
    struct Pieces(Vec<&'static [u8]>);

    impl Read for Pieces {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.0.is_empty() {
                return Ok(0);
            }
            let piece = self.0.remove(0);
            buffer[..piece.len()].copy_from_slice(piece);
            Ok(piece.len())
        }
    }

    fn all(input: impl Read, reading: &Reading) -> Vec<Found> {
        let (send, mut found) = mpsc::channel(1000);
        read(input, reading, &send);
        drop(send);
        std::iter::from_fn(|| found.blocking_recv()).collect()
    }

    fn lines(input: impl Read) -> Vec<Vec<u8>> {
        let reading = Reading { batch_lines: 3, ..Reading::default() };
        all(input, &reading)
            .into_iter()
            .filter_map(|found| match found {
                Found::Batch(batch) => Some(batch.messages),
                _ => None,
            })
            .flatten()
            .map(|line| line.to_vec())
            .collect()
    }

    #[test]
    fn one_line_is_one_message() {
        assert_eq!(lines(&b""[..]), Vec::<Vec<u8>>::new());
        assert_eq!(lines(&b"\n"[..]), [b""], "an empty line is a message");
        assert_eq!(lines(&b"a\n\nb"[..]), [&b"a"[..], b"", b"b"]);
        assert_eq!(lines(&b"a\r\n\xff\0\n"[..]), [&b"a\r"[..], b"\xff\0"], "bytes are not touched");
        let cut = Pieces(vec![b"al", b"pha\nbe", b"ta\n", b"gam", b"ma"]);
        assert_eq!(lines(cut), [&b"alpha"[..], b"beta", b"gamma"]);
        let long = vec![b'x'; READ_BYTES * 2 + 7];
        assert_eq!(lines(&long[..]), vec![long.clone()]);
    }

    #[test]
    fn batches_are_full_or_as_full_as_the_pipe_allows() {
        let reading = Reading { batch_lines: 2, ..Reading::default() };
        let spans = |input: Pieces| -> Vec<(u64, u64)> {
            all(input, &reading)
                .into_iter()
                .filter_map(|found| match found {
                    Found::Batch(batch) => Some((batch.first, batch.last())),
                    _ => None,
                })
                .collect()
        };
        assert_eq!(spans(Pieces(vec![b"1\n2\n3\n4\n5\n"])), [(1, 2), (3, 4), (5, 5)]);
        assert_eq!(
            spans(Pieces(vec![b"1\n", b"2\n3\n"])),
            [(1, 1), (2, 3)],
            "line 1 does not wait for line 2"
        );
    }

    #[test]
    fn what_was_accepted_is_skipped_if_it_is_what_it_was() {
        let whole = all(&b"a\nb\nc\nd"[..], &Reading { batch_lines: 1, ..Reading::default() });
        let checkpoints: Vec<_> = whole
            .iter()
            .filter_map(|found| match found {
                Found::Batch(batch) => Some(Checkpoint { lines: batch.last(), digest: batch.digest }),
                _ => None,
            })
            .collect();
        assert_eq!(checkpoints.len(), 4);
        let resumed = |input: &'static [u8], skip| {
            let checkpoints =
                checkpoints.iter().copied().filter(|checkpoint| checkpoint.lines <= skip).collect();
            all(input, &Reading { skip, checkpoints, batch_lines: 10 })
        };
        assert_eq!(resumed(b"a\nb\nc\nd", 4), [Found::End { lines: 4 }]);
        assert_eq!(
            resumed(b"a\nb\nc\nd\n", 4),
            [Found::End { lines: 4 }],
            "a newline at the end changes nothing"
        );
        let grown = resumed(b"a\nb\nc\nd\ne\n", 4);
        assert!(matches!(&grown[0], Found::Batch(batch) if batch.first == 5 && batch.messages == ["e"]));
        assert!(matches!(&resumed(b"a\nB\nc\nd", 4)[..], [Found::Changed(_)]), "changed");
        assert!(matches!(&resumed(b"a\nb\nc\ndd", 4)[..], [Found::Changed(_)]), "the last line grew");
        assert!(matches!(&resumed(b"a\nb\n", 4)[..], [Found::Changed(_)]), "shrunk");
        let edited_later = resumed(b"a\nb\nX\n", 2);
        assert!(
            matches!(&edited_later[0], Found::Batch(batch) if batch.messages == ["X"]),
            "not yet accepted"
        );
    }

    #[test]
    fn a_file_is_known_by_its_canonical_path_and_a_pipe_is_not() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("lines");
        std::fs::write(&path, "x\n").unwrap();
        let link = place.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let canonical = path.canonicalize().unwrap();
        assert_eq!(Source::open(Some(&link)).unwrap().path, Some(canonical));
        assert_eq!(Source::open(Some(Path::new("/dev/null"))).unwrap().path, None);
        assert!(Source::open(Some(&place.path().join("none"))).is_err());
        assert!(Source::open(Some(place.path())).unwrap_err().to_string().contains("a directory"));
    }
}
