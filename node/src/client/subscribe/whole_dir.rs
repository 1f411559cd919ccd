//! Each message becomes a file: written under a temporary name, piece by piece, and renamed when it is whole and on disk.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use wattle_proto::api::{Message, Piece, Position};

use super::sink::Sink;
use crate::api::convert;

/// A folder of messages. A file bears the sequence and the id of its message, so one that comes again after a crash replaces itself.
#[derive(Debug)]
pub struct WholeDir {
    folder: PathBuf,
    current: Option<Current>,
}

/// The message of which pieces came.
#[derive(Debug)]
struct Current {
    sequence: u64,
    path: PathBuf,
    file: File,
    hasher: blake3::Hasher,
    bytes: u64,
}

impl WholeDir {
    /// Writes to that folder, which is made if it is not there.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        Ok(Self { folder: folder.to_owned(), current: None })
    }

    fn name(message: &Message) -> String {
        format!("{:020}-{}", message.sequence, convert::id_text(&message.id))
    }

    fn begin(&self, message: &Message) -> io::Result<Current> {
        let path = self.folder.join(format!(".{}.part", Self::name(message)));
        let file = File::create(&path)?;
        Ok(Current { sequence: message.sequence, path, file, hasher: blake3::Hasher::new(), bytes: 0 })
    }

    fn piece(&mut self, message: &Message, piece: &Piece) -> io::Result<()> {
        if piece.offset == 0 {
            self.current = Some(self.begin(message)?);
        }
        let fits =
            |current: &&mut Current| (current.sequence, current.bytes) == (message.sequence, piece.offset);
        let Some(current) = self.current.as_mut().filter(fits) else {
            return Err(io::Error::other(format!("a piece of message {} is missing", message.sequence)));
        };
        current.file.write_all(&message.data)?;
        current.hasher.update(&message.data);
        current.bytes += message.data.len() as u64;
        if current.bytes < piece.total {
            return Ok(());
        }
        let Some(current) = self.current.take() else { return Ok(()) };
        if current.hasher.finalize().as_bytes()[..] != piece.digest[..] {
            let what =
                format!("message {} is not what it is called: {}", message.sequence, current.path.display());
            return Err(io::Error::other(what));
        }
        self.keep(&current, message)
    }

    fn keep(&self, current: &Current, message: &Message) -> io::Result<()> {
        current.file.sync_all()?;
        fs::rename(&current.path, self.folder.join(Self::name(message)))?;
        File::open(&self.folder)?.sync_all()
    }
}

impl Sink for WholeDir {
    fn presented(&self) -> Option<Position> {
        None
    }

    fn takes_pieces(&self) -> bool {
        true
    }

    fn take(&mut self, messages: &[Message], _: &Position) -> io::Result<()> {
        for message in messages {
            match &message.piece {
                Some(piece) => self.piece(message, piece)?,
                None => {
                    let mut current = self.begin(message)?;
                    current.file.write_all(&message.data)?;
                    self.keep(&current, message)?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn pieces(text: &[u8], size: usize) -> Vec<Message> {
        let digest = Bytes::copy_from_slice(blake3::hash(text).as_bytes());
        let piece = |(place, data): (usize, &[u8])| Message {
            sequence: 9,
            id: Bytes::from_static(&[1; 16]),
            data: Bytes::copy_from_slice(data),
            piece: Some(Piece {
                offset: (place * size) as u64,
                total: text.len() as u64,
                digest: digest.clone(),
            }),
            ..Message::default()
        };
        text.chunks(size).enumerate().map(piece).collect()
    }

    #[test]
    fn a_message_is_a_file_once_it_is_whole_and_right() {
        let folder = tempfile::tempdir().unwrap();
        let files =
            || fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().path()).collect::<Vec<_>>();
        let whole = |path: &PathBuf| !path.file_name().unwrap().to_string_lossy().starts_with('.');
        let mut sink = WholeDir::open(folder.path()).unwrap();
        let text = b"a text of several pieces";
        let all = pieces(text, 5);
        sink.take(&all[..2], &Position::default()).unwrap();
        assert!(!files().iter().any(whole), "half a message is none");
        // The connection broke: it begins again.
        sink.take(&all, &Position::default()).unwrap();
        let found: Vec<PathBuf> = files();
        assert_eq!(found.len(), 1);
        assert_eq!(fs::read(&found[0]).unwrap(), text);
        assert!(sink.take(&all[2..3], &Position::default()).is_err(), "its beginning is missing");
        let mut other = pieces(text, 5);
        other[1].data = Bytes::from_static(b"wrong");
        assert!(
            sink.take(&other, &Position::default())
                .unwrap_err()
                .to_string()
                .contains("not what it is called")
        );
        let plain = Message { sequence: 10, data: Bytes::from_static(b"plain"), ..Message::default() };
        sink.take(&[plain], &Position::default()).unwrap();
        assert_eq!(files().iter().filter(|path| whole(path)).count(), 2);
    }
}
