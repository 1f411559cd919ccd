//! What is done with messages.

use std::fs::{self, File, TryLockError};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use wattle_core::id::{NodeId, StreamInstance};
use wattle_proto::api::{Message, Position};

use crate::api::convert;

/// How a message is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Its bytes and a newline.
    Text,
    /// A line of JSON.
    Json,
}

impl Format {
    fn write(self, message: &Message, out: &mut Vec<u8>) {
        match self {
            Self::Text => out.extend_from_slice(&message.data),
            Self::Json => {
                let mut line = serde_json::json!({
                    "sequence": message.sequence,
                    "id": convert::id_text(&message.id),
                    "writer": convert::id_text(&message.writer),
                    "writer_sequence": message.writer_sequence,
                });
                // A message is bytes; most are text.
                match std::str::from_utf8(&message.data) {
                    Ok(text) => line["text"] = text.into(),
                    Err(_) => line["hex"] = hex(&message.data).into(),
                }
                out.extend_from_slice(line.to_string().as_bytes());
            }
        }
        out.push(b'\n');
    }

    fn write_all(self, messages: &[Message]) -> Vec<u8> {
        let mut out = Vec::with_capacity(messages.iter().map(|message| message.data.len() + 1).sum());
        for message in messages {
            self.write(message, &mut out);
        }
        out
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)]))
        .collect()
}

/// What is done with messages. Whatever `take` returned `Ok` for is acknowledged.
pub trait Sink: Send + 'static {
    /// The position to present when attaching, if it is kept here.
    fn presented(&self) -> Option<Position>;

    /// Whether it takes large messages piece by piece; otherwise they are put together for it in memory, up to a limit.
    fn takes_pieces(&self) -> bool {
        false
    }

    /// Whether it takes messages that were parked and come out of their order.
    fn takes_parked(&self) -> bool {
        false
    }

    /// Does it. `at` tells the stream's life and authority.
    ///
    /// # Errors
    /// When it could not be done; nothing of it is acknowledged then.
    fn take(&mut self, messages: &[Message], at: &Position) -> io::Result<()>;
}

/// Prints messages. The node keeps the position; what was printed and not yet acknowledged when everything was killed comes again.
#[derive(Debug)]
pub struct Stdout {
    format: Format,
}

impl Stdout {
    /// Prints in that format.
    #[must_use]
    pub const fn new(format: Format) -> Self {
        Self { format }
    }
}

impl Sink for Stdout {
    fn takes_parked(&self) -> bool {
        true
    }

    fn presented(&self) -> Option<Position> {
        None
    }

    fn take(&mut self, messages: &[Message], _: &Position) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(&self.format.write_all(messages))?;
        stdout.flush()
    }
}

/// Appends messages to a file and keeps the position beside it, so that both move together: exactly once, whatever is killed.
///
/// The position file holds the length that the output had at that position. Messages are appended and synced, then the position file is
/// replaced by rename and synced, then they are acknowledged. After a crash between the two the output is longer than recorded: it is cut
/// back, and what was cut off comes again, because the position presented says that it is missing.
#[derive(Debug)]
pub struct PositionFile {
    path: PathBuf,
    output: File,
    format: Format,
    stored: Stored,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    stream: String,
    /// `None` until the first message.
    instance: Option<String>,
    authority: u64,
    sequence: u64,
    output_bytes: u64,
}

impl Stored {
    /// Reads a position file; `None` if there is none yet.
    fn read(path: &Path) -> io::Result<Option<Self>> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(named(&error, path)),
        };
        let parsed = serde_json::from_str(&text);
        parsed.map(Some).map_err(|error| {
            io::Error::other(format!(
                "{} is not a position file: {error}; give another path, or remove it together with the output to begin anew",
                path.display()
            ))
        })
    }
}

/// Opens or makes the output, for this process alone.
fn lock_output(path: &Path) -> io::Result<File> {
    let mut how = File::options();
    let output = how.read(true).write(true).create(true).truncate(false).open(path);
    let output = output.map_err(|error| named(&error, path))?;
    match output.try_lock() {
        Ok(()) => Ok(output),
        Err(TryLockError::WouldBlock) => Err(io::Error::other(format!(
            "another subscriber writes to {}: stop it, or give this one an output of its own",
            path.display()
        ))),
        Err(TryLockError::Error(error)) => Err(named(&error, path)),
    }
}

fn named(error: &io::Error, path: &Path) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

impl PositionFile {
    /// Opens or makes both files.
    ///
    /// # Errors
    /// When they cannot be used, do not belong together, belong to another stream, or another process uses them.
    pub fn open(path: &Path, output_path: &Path, stream: &str, format: Format) -> io::Result<Self> {
        let mut output = lock_output(output_path)?;
        let length = output.metadata()?.len();
        let (stored, fresh) = match Stored::read(path)? {
            Some(stored) => (stored, false),
            None => {
                let stream = stream.to_owned();
                (Stored { stream, instance: None, authority: 0, sequence: 0, output_bytes: length }, true)
            }
        };
        if stored.stream != stream {
            return Err(io::Error::other(format!(
                "{} holds a position in stream {}, not in {stream}: give each stream a position file of its own",
                path.display(),
                stored.stream
            )));
        }
        if length < stored.output_bytes {
            return Err(io::Error::other(format!(
                "{} has {length} bytes, but {} says that {} were written: bring it back, or begin anew with both files removed",
                output_path.display(),
                path.display(),
                stored.output_bytes
            )));
        }
        if length > stored.output_bytes {
            output.set_len(stored.output_bytes)?;
            output.sync_all()?;
        }
        output.seek(SeekFrom::Start(stored.output_bytes))?;
        let mut opened = Self { path: path.to_owned(), output, format, stored };
        if fresh {
            // Before the first message: what stands in the output now is not ours to cut.
            opened.output.sync_all()?;
            let stored = opened.stored.clone();
            opened.store(stored)?;
        }
        Ok(opened)
    }

    fn store(&mut self, stored: Stored) -> io::Result<()> {
        let folder =
            self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        name.push(".new");
        let new = folder.join(name);
        let mut file = File::options().write(true).create(true).truncate(true).mode(0o644).open(&new)?;
        file.write_all(serde_json::to_string(&stored)?.as_bytes())?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        fs::rename(&new, &self.path)?;
        File::open(folder)?.sync_all()?;
        self.stored = stored;
        Ok(())
    }
}

impl Sink for PositionFile {
    fn presented(&self) -> Option<Position> {
        let instance = StreamInstance::parse(self.stored.instance.as_deref()?)?;
        let position = wattle_core::node::command::Position {
            instance,
            authority: wattle_core::id::AuthorityEpoch(self.stored.authority),
            sequence: wattle_core::id::Sequence(self.stored.sequence),
        };
        Some(convert::position(position))
    }

    fn take(&mut self, messages: &[Message], at: &Position) -> io::Result<()> {
        let Some(last) = messages.last() else { return Ok(()) };
        let bytes = self.format.write_all(messages);
        self.output.write_all(&bytes)?;
        self.output.sync_data()?;
        self.store(Stored {
            stream: self.stored.stream.clone(),
            instance: NodeId::from_slice(&at.instance).map(|instance| instance.to_string()),
            authority: at.authority,
            sequence: last.sequence,
            output_bytes: self.stored.output_bytes + bytes.len() as u64,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    struct Files(tempfile::TempDir);

    impl Files {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }
        fn position(&self) -> PathBuf {
            self.0.path().join("position")
        }
        fn output(&self) -> PathBuf {
            self.0.path().join("out")
        }
        fn open(&self) -> io::Result<PositionFile> {
            PositionFile::open(&self.position(), &self.output(), "words", Format::Text)
        }
        fn written(&self) -> String {
            fs::read_to_string(self.output()).unwrap()
        }
    }

    fn messages(range: std::ops::RangeInclusive<u64>) -> Vec<Message> {
        range
            .map(|sequence| Message { sequence, data: format!("m{sequence}").into(), ..Message::default() })
            .collect()
    }

    fn at() -> Position {
        Position { instance: Bytes::from_static(&[9; 16]), authority: 4, sequence: 0 }
    }

    #[test]
    fn the_position_is_presented_after_a_restart() {
        let files = Files::new();
        let mut sink = files.open().unwrap();
        assert_eq!(sink.presented(), None, "nothing yet: the node's own mark decides");
        sink.take(&messages(1..=3), &at()).unwrap();
        assert!(files.open().unwrap_err().to_string().contains("another subscriber"));
        drop(sink);
        let mut sink = files.open().unwrap();
        assert_eq!(sink.presented(), Some(Position { sequence: 3, ..at() }));
        sink.take(&messages(4..=4), &at()).unwrap();
        assert_eq!(files.written(), "m1\nm2\nm3\nm4\n");
    }

    #[test]
    fn what_was_written_beyond_the_position_is_cut_off() {
        let files = Files::new();
        let mut sink = files.open().unwrap();
        sink.take(&messages(1..=3), &at()).unwrap();
        drop(sink);
        // Killed after the append and before the rename; also in the middle of a line.
        let mut output = File::options().append(true).open(files.output()).unwrap();
        output.write_all(b"m4\nm5\nm").unwrap();
        fs::write(files.0.path().join("position.new"), "{\"stre").unwrap();
        drop(output);
        let mut sink = files.open().unwrap();
        assert_eq!(sink.presented().unwrap().sequence, 3);
        assert_eq!(files.written(), "m1\nm2\nm3\n");
        sink.take(&messages(4..=5), &at()).unwrap();
        assert_eq!(files.written(), "m1\nm2\nm3\nm4\nm5\n");
    }

    #[test]
    fn what_stood_in_the_output_before_stays_even_if_killed_before_the_first_position() {
        let files = Files::new();
        fs::write(files.output(), "before\n").unwrap();
        drop(files.open().unwrap());
        let mut output = File::options().append(true).open(files.output()).unwrap();
        output.write_all(b"m1\n").unwrap();
        drop(output);
        let mut sink = files.open().unwrap();
        assert_eq!((files.written().as_str(), sink.presented()), ("before\n", None));
        sink.take(&messages(1..=1), &at()).unwrap();
        assert_eq!(files.written(), "before\nm1\n");
    }

    #[test]
    fn files_that_do_not_belong_together_are_refused() {
        let files = Files::new();
        let mut sink = files.open().unwrap();
        sink.take(&messages(1..=3), &at()).unwrap();
        drop(sink);
        let other = PositionFile::open(&files.position(), &files.output(), "other", Format::Text);
        assert!(other.unwrap_err().to_string().contains("stream words"));
        fs::write(files.output(), "m1\n").unwrap();
        assert!(files.open().unwrap_err().to_string().contains("bring it back"));
        fs::write(files.position(), "nonsense").unwrap();
        assert!(files.open().unwrap_err().to_string().contains("not a position file"));
    }

    #[test]
    fn json_lines_carry_any_bytes() {
        let line = |data: &'static [u8]| -> serde_json::Value {
            let message = Message { sequence: 7, data: data.into(), ..Message::default() };
            serde_json::from_slice(&Format::Json.write_all(&[message])).unwrap()
        };
        assert_eq!(line(b"a\nb")["text"], "a\nb");
        assert_eq!(line(b"\xff\x01")["hex"], "ff01");
        assert_eq!(line(b"")["sequence"], 7);
    }
}
